//! Two files of any bytes and of any format: the first two bytes say where the first ends.
//!
//! Must hold, never a panic:
//! - what differs is listed or counted exactly if the bytes differ;
//! - no more is listed than the limits say;
//! - exchanging the sides lists as much;
//! - a cause is found, or not, without a panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reprove_fuzz::content(bytes));
