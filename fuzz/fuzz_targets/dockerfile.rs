//! A Dockerfile of any text.
//!
//! Must hold, or it is an error, never a panic:
//! - there are no more instructions than lines;
//! - an error names a line that the file has.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reprove_fuzz::dockerfile(bytes));
