//! A layer's blob of any bytes: compressed or not, a tar or not.
//!
//! Must hold, or it is an error that names the layer, never a panic:
//! - the digest and size are those of all the bytes;
//! - of an uncompressed blob the diffID is too;
//! - no path leads out of the root;
//! - the file system that the entries make can be worked out;
//! - two readings say the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reprove_fuzz::tar(bytes));
