//! Two files of any bytes where a file of a system lies: accounts, package databases,
//! caches, keys, logs. The first byte says where, the next two where the first file ends.
//!
//! Must hold, never a panic:
//! - what differs is listed or counted exactly if the bytes differ;
//! - no more is listed than the limits say;
//! - exchanging the sides lists as much;
//! - a cause that is found has evidence, and one that is refused a reason.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reprove_fuzz::system(bytes));
