//! A lock of any text.
//!
//! Must hold, or it is an error, never a panic:
//! - a lock that is read is written so that it is read the same again;
//! - each of its pins may be had somewhere.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reprove_fuzz::lock(bytes));
