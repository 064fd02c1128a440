//! Sources: what is read of a repository, and what is refused.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something unexpected is"
)]

mod http;
mod local;
mod tree;

use std::path::Path;

use reprove::{
    progress::Silent,
    source::{Error, Request, Source},
};

fn request(location: &Path, revision: &str) -> Request {
    Request {
        location: location.to_str().unwrap().to_owned(),
        revision: revision.to_owned(),
        mirrors: Vec::new(),
    }
}

/// Checks a local repository out. It needs no cache, so one that cannot be is given.
fn checkout(location: &Path, revision: &str) -> Result<Source, Error> {
    Source::checkout(
        &request(location, revision),
        Path::new("/nonexistent"),
        &Silent,
    )
}

/// Returns an error with all its causes, as the command line shows it.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
