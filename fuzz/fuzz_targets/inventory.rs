//! A package database of any bytes: the first byte says in which format.
//!
//! Must hold, never a panic:
//! - there are no more packages than bytes;
//! - a database does not drift from itself;
//! - what a changed byte is explained by is found, or not, without a panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reprove_fuzz::inventory(bytes));
