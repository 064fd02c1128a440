//! A saved report of any bytes.
//!
//! Must hold, or it is an error, never a panic:
//! - every form of it is written, twice the same;
//! - no text of it gets out of the page's own elements or at the terminal;
//! - what is read and written again reads as the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reprove_fuzz::report(bytes));
