//! A name of an image, a platform or a digest of any text.
//!
//! Must hold, or it is an error, never a panic:
//! - what was read and written again reads as the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reprove_fuzz::reference(bytes));
