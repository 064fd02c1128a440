//! A saved report of any bytes.
//!
//! Must hold, or it is an error, never a panic:
//! - every form of it is written, twice the same;
//! - no text of it gets out of the page's own elements, at the terminal but for the report's own
//!   styles, or into a link or placeholder of a SARIF message;
//! - the SARIF of a verdict that is not good has a failing result;
//! - what is read and written again reads as the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reprove_fuzz::report(bytes));
