//! A policy file of any text.
//!
//! Must hold, or it is an error, never a panic:
//! - it is read the same a second time;
//! - every finding is judged, and accepted only by the rules or a waiver of its attribute;
//! - a waiver of paths covers no finding that is a risk;
//! - nothing is reproduced where a finding or a requirement is open.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reprove_fuzz::policy(bytes));
