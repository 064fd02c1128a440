//! What is written: whole or not at all, the same every time, and readable by others.

use std::{fs, path::Path, process::Command};

use reprove::{
    dialect::TarDialect,
    digest::Digest,
    facts::Outcome,
    progress::Silent,
    rebuild::{Context, Error, Output, Request, rebuild},
    recipe::Build,
    source::Source,
};

use super::{checkout, encoding, has_program, run, scratch};
use crate::{
    git::Repository,
    images::{Layout, said},
};

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

/// Copies the layout at the top of the source.
fn copied(source: &Source, output: &Path) -> Result<Outcome, String> {
    let request = Request {
        build: &Build::GitLayout {
            layout: String::new(),
            tag: None,
        },
        source: Some(source),
        platform: &"linux/amd64".parse().unwrap(),
        encoding: encoding(TarDialect::BuildKit),
        context: Context::Checkout,
        outside: None,
    };
    let output = Output::Layout(output.to_owned());
    rebuild(&request, &output, &Silent).map_err(|error| said(&error))
}

#[test]
fn a_layout_in_the_tree_is_copied_as_it_is_or_not_at_all() {
    let repository = Repository::new();
    let layout = Layout::create(repository.path());
    layout.write(&[layout.image("linux/amd64", "content")]);
    let whole = repository.commit("whole");
    let source = checkout(repository.path(), &whole);
    let folder = tempfile::tempdir().unwrap();
    let Outcome::Built(built) = copied(&source, &folder.path().join("whole")).unwrap() else {
        panic!("it is copied");
    };
    let name = format!("blobs/sha256/{}", built.layers[0].digest.hex());
    let good = fs::read(repository.path().join(&name)).unwrap();
    assert_eq!(
        fs::read(folder.path().join("whole").join(&name)).unwrap(),
        good
    );
    assert_eq!(built.scanned[0].entries.len(), 1);

    let mut damaged = good.clone();
    damaged[600] ^= 1;
    // What makes no tar is told by its digest all the same.
    let cases: [(&str, &[u8]); 3] = [
        ("changed", &damaged),
        ("cut off", &good[..700]),
        ("something else", b"no layer"),
    ];
    for (case, bytes) in cases {
        repository.write(&name, bytes);
        let source = checkout(repository.path(), &repository.commit(case));
        let expected = format!(
            "{name} in the source should be {} but is {}",
            built.layers[0].digest,
            Digest::of(bytes)
        );
        let output = folder.path().join(case);
        assert_eq!(copied(&source, &output).unwrap_err(), expected, "{case}");
        assert!(!output.exists(), "{case}");
    }
}

#[test]
fn a_blob_that_is_the_one_named_and_no_layer_is_said_to_be_none() {
    let repository = Repository::new();
    let layout = Layout::create(repository.path());
    layout.write(&[layout.image_of("linux/amd64", b"no layer")]);
    let source = checkout(repository.path(), &repository.commit("no layer"));
    let folder = tempfile::tempdir().unwrap();
    let error = copied(&source, &folder.path().join("out")).unwrap_err();
    assert!(error.contains(" is not a layer: "), "{error}");
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
