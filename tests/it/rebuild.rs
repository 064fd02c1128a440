//! Rebuilding real sources, and reading back what was written with other people's programs.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something unexpected is"
)]

mod alpine;
mod dockerfiles;
mod go_tar;
mod outputs;
mod tarsum;

use std::{fs, path::Path};

use reprove::{
    dialect::{Compressor, TarDialect, gzip::GoLevel},
    facts::{Built, Encoding, Outcome},
    image::Platform,
    progress::Silent,
    rebuild::{Context, Output, Request, rebuild},
    recipe::{Build, SourceDateEpoch},
    source::{self, Source},
};

use crate::support;

/// Checks out a revision of a repository on this machine.
pub(crate) fn checkout(repository: &Path, revision: &str) -> Source {
    let request = source::Request {
        location: repository.to_str().unwrap().to_owned(),
        revision: revision.to_owned(),
        mirrors: Vec::new(),
    };
    let cache = tempfile::tempdir().unwrap();
    Source::checkout(&request, cache.path(), &Silent).unwrap()
}

/// Returns how Docker's classic builder or `BuildKit` writes.
pub(crate) fn encoding(dialect: TarDialect) -> Encoding {
    Encoding {
        dialect,
        compressor: Compressor::GoGzip(GoLevel::DEFAULT),
    }
}

/// Returns the recipe of a Dockerfile in a folder of the source.
pub(crate) fn scratch(dockerfile: &str, context: &str) -> Build {
    Build::Scratch {
        dockerfile: dockerfile.to_owned(),
        context: context.to_owned(),
        source_date_epoch: SourceDateEpoch::Commit,
    }
}

/// Rebuilds into a folder of its own and returns both.
pub(crate) fn rebuilt(
    source: &Source,
    build: &Build,
    platform: &str,
    dialect: TarDialect,
    context: Context,
) -> (tempfile::TempDir, Built) {
    let folder = tempfile::tempdir().unwrap();
    let request = Request {
        build,
        source: Some(source),
        platform: &platform.parse::<Platform>().unwrap(),
        encoding: encoding(dialect),
        context,
        outside: None,
    };
    let output = Output::Layout(folder.path().join("layout"));
    match rebuild(&request, &output, &Silent).unwrap() {
        Outcome::Built(image) => (folder, image),
        Outcome::Failed(failure) => panic!("{}: {}", failure.step, failure.problem),
    }
}

/// Reads a blob of a layout.
pub(crate) fn blob(folder: &tempfile::TempDir, digest: &impl std::fmt::Display) -> Vec<u8> {
    let digest = digest.to_string();
    let hex = digest.strip_prefix("sha256:").unwrap();
    fs::read(folder.path().join("layout/blobs/sha256").join(hex)).unwrap()
}

/// Runs a program to its end and returns what it printed; panics where it fails.
pub(crate) fn run(command: &mut std::process::Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Returns whether a program is there, or says that the test is skipped.
pub(crate) fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    if !found {
        support::skip(&format!("there is no {name}"));
    }
    found
}
