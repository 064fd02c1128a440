//! A recipe of any text.
//!
//! Must hold, or it is an error, never a panic:
//! - a recipe that is read has a name, and is read the same a second time;
//! - it can be made out for a platform, or says why not.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reprove_fuzz::recipe(bytes));
