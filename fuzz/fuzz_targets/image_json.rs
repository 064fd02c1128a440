//! An index, a manifest or a config of any bytes, in a layout that is otherwise right.
//!
//! The first byte says which of the three. Must hold, or it is an error, never a panic:
//! - what is read is JSON by another parser too;
//! - the bytes kept are the bytes served, and their digest is theirs;
//! - what the image says of its layers is what the config says.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reprove_fuzz::image_json(bytes));
