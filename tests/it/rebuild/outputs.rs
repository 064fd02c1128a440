//! What is written: whole or not at all, the same every time, and readable by others.

use std::{fs, process::Command};

use reprove::{
    dialect::TarDialect,
    facts::Outcome,
    progress::Silent,
    rebuild::{Context, Error, Output, Request, rebuild},
};

use super::{checkout, encoding, has_program, run, scratch};
use crate::git::Repository;

#[test]
fn layouts_and_archives_are_the_same_every_time_and_others_read_them() {
    let repository = Repository::new();
    repository.write(
        "Dockerfile",
        "FROM scratch\nCOPY hello /\nCMD [\"/hello\"]\n",
    );
    repository.write("hello", "hello");
    repository.commit("the source");
    let source = checkout(repository.path(), "HEAD");
    let folder = tempfile::tempdir().unwrap();
    for dialect in TarDialect::ALL {
        let request = Request {
            build: &scratch("Dockerfile", ""),
            source: Some(&source),
            platform: &"linux/amd64".parse().unwrap(),
            encoding: encoding(dialect),
            context: Context::Checkout,
            outside: None,
        };
        let write = |output: &Output| match rebuild(&request, output, &Silent).unwrap() {
            Outcome::Built(built) => built,
            Outcome::Failed(failure) => panic!("{failure:?}"),
        };
        let path = |name: &str| folder.path().join(format!("{dialect}-{name}"));
        let layout = write(&Output::Layout(path("layout")));
        let first = write(&Output::Archive(path("first.tar")));
        let second = write(&Output::Archive(path("second.tar")));
        assert_eq!((&layout, &first), (&first, &second));
        assert_eq!(
            fs::read(path("first.tar")).unwrap(),
            fs::read(path("second.tar")).unwrap()
        );
        if has_program("skopeo") {
            for name in [
                format!("oci:{}", path("layout").display()),
                format!("oci-archive:{}", path("first.tar").display()),
            ] {
                let said = run(Command::new("skopeo").args(["inspect", "--raw", &name]));
                assert_eq!(
                    reprove::digest::Digest::of(said.as_bytes()),
                    layout.manifest,
                    "{name}"
                );
                let copied = folder.path().join("copied");
                run(Command::new("skopeo")
                    .args(["copy", "--insecure-policy", "--quiet", &name])
                    .arg(format!("dir:{}", copied.display())));
                fs::remove_dir_all(copied).unwrap();
            }
        }
    }
}

#[test]
fn nothing_that_exists_is_overwritten() {
    let repository = Repository::new();
    repository.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    repository.commit("the source");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("there");
    fs::write(&path, "precious").unwrap();
    let request = Request {
        build: &scratch("Dockerfile", ""),
        source: Some(&checkout(repository.path(), "HEAD")),
        platform: &"linux/amd64".parse().unwrap(),
        encoding: encoding(TarDialect::BuildKit),
        context: Context::Checkout,
        outside: None,
    };
    for output in [Output::Layout(path.clone()), Output::Archive(path.clone())] {
        let error = rebuild(&request, &output, &Silent).unwrap_err();
        assert!(matches!(error, Error::OutputExists { .. }), "{error}");
    }
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}
