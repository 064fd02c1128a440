//! A file of a package database of any bytes; the first byte says which.
//!
//! Must hold, never a panic:
//! - two readings say the same, and nothing drifts between them;
//! - the packages are in order, no more than bytes, and what belongs to one belongs to one
//!   of them;
//! - no checksum fits bytes that it was not taken of;
//! - what a changed byte is explained by is found, or not, without a panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reprove_fuzz::inventory(bytes));
