//! Integration tests: what the stations do together and with real programs; one
//! binary, a module per subject.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "all of this is test code, which clippy.toml lets do so only inside of #[test]"
)]

#[expect(clippy::similar_names, reason = "a build and what it built")]
mod bases;
#[expect(
    clippy::needless_pass_by_value,
    clippy::type_complexity,
    clippy::unnecessary_wraps,
    reason = "every maker of a change has one signature"
)]
mod changes;
mod check;
mod cli;
mod commands;
mod fat;
mod fuzz_seeds;
mod git;
mod hostile;
mod images;
mod layering;
mod lock;
mod material;
mod packages;
mod peers;
mod policy;
mod rebuild;
mod recipe;
mod registry;
mod replay;
mod report;
mod sandbox;
mod source;
mod support;
mod tar_readers;
mod truth;
mod verify;
