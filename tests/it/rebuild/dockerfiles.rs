//! Dockerfiles of every instruction, held against `buildah` where it is there.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    path::Path,
    process::Command,
};

use reprove::{
    dialect::{Compressor, TarDialect},
    facts::{BuildFailure, Built, Encoding, Origin, Outcome},
    image::EntryPath,
    progress::Silent,
    rebuild::{Context, Error, Output, Request, rebuild},
};
use serde_json::{Value, json};

use super::{blob, checkout, encoding, has_program, rebuilt, run, scratch};
use crate::git::Repository;

/// A root file system with what is easily got wrong, as a plain tar.
fn root_file_system() -> Vec<u8> {
    use tar::EntryType::{Directory, Link, Regular, Symlink};

    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |kind, path: &str, mode, link: Option<&str>, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_600_000_000);
        header.set_size(content.len() as u64);
        match link {
            Some(link) => tar.append_link(&mut header, path, link).unwrap(),
            None => tar.append_data(&mut header, path, content).unwrap(),
        }
    };
    add(Directory, "usr/", 0o755, None, b"");
    add(Directory, "usr/bin/", 0o755, None, b"");
    add(Symlink, "bin", 0o777, Some("usr/bin"), b"");
    // Lands in usr/bin, through the link.
    add(Regular, "bin/tool", 0o4755, None, b"tool");
    add(Link, "usr/bin/alias", 0o4755, Some("usr/bin/tool"), b"");
    add(Directory, "etc/", 0o750, None, b"");
    add(Regular, "etc/twice", 0o600, None, b"first");
    add(Regular, "etc/twice", 0o644, None, b"second");
    add(
        Regular,
        "etc/passwd",
        0o644,
        None,
        b"app:x:1000:1001::/:/bin/sh\n",
    );
    add(Regular, "etc/group", 0o644, None, b"staff:x:50:\n");
    // Its directory has no entry of its own.
    add(Regular, "var/lib/deep/file", 0o644, None, b"deep");
    add(Regular, ".wh.plain", 0o644, None, b"");
    add(Directory, "tmp/", 0o1777, None, b"");
    tar.into_inner().unwrap()
}

/// Files of a source: path and content.
type Files<'a> = &'a [(&'a str, &'a [u8])];

/// A source with one Dockerfile in it.
fn source(dockerfile: &str, files: Files<'_>) -> Repository {
    let repository = Repository::new();
    repository.write("Dockerfile", dockerfile);
    for (path, content) in files {
        repository.write(path, content);
    }
    repository.commit("the source");
    repository
}

fn built(repository: &Repository, dialect: TarDialect) -> (tempfile::TempDir, Built) {
    rebuilt(
        &checkout(repository.path(), "HEAD"),
        &scratch("Dockerfile", ""),
        "linux/amd64",
        dialect,
        Context::Checkout,
    )
}

/// Says why a source leads to no image.
fn refused(dockerfile: &str, files: Files<'_>, dialect: TarDialect) -> String {
    let repository = source(dockerfile, files);
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("layout");
    let request = Request {
        build: &scratch("Dockerfile", ""),
        source: Some(&checkout(repository.path(), "HEAD")),
        platform: &"linux/amd64".parse().unwrap(),
        encoding: encoding(dialect),
        context: Context::Checkout,
        outside: None,
    };
    let outcome = rebuild(&request, &Output::Layout(output.clone()), &Silent);
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        0,
        "nothing is left behind"
    );
    match outcome {
        Ok(Outcome::Built(_)) => panic!("{dockerfile} was built"),
        Ok(Outcome::Failed(BuildFailure { step, problem, .. })) => format!("{step}: {problem}"),
        Err(error @ Error::NotScratch { .. }) => error.to_string(),
        Err(error) => panic!("{error:?}"),
    }
}

/// Lists the files of an image as they are once all its layers are unpacked, mtimes aside.
fn files(folder: &Path) -> BTreeMap<EntryPath, String> {
    let read = |digest: &str| {
        fs::read(
            folder
                .join("blobs/sha256")
                .join(digest.strip_prefix("sha256:").unwrap()),
        )
        .unwrap()
    };
    let index: Value =
        serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap();
    let manifest: Value =
        serde_json::from_slice(&read(index["manifests"][0]["digest"].as_str().unwrap())).unwrap();
    let mut files: BTreeMap<EntryPath, String> = BTreeMap::new();
    for layer in manifest["layers"].as_array().unwrap() {
        let bytes = read(layer["digest"].as_str().unwrap());
        let mut archive = tar::Archive::new(flate2::read::MultiGzDecoder::new(bytes.as_slice()));
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = EntryPath::of(&entry.path_bytes());
            let header = entry.header().clone();
            let link = entry.link_name_bytes().unwrap_or_default().into_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let what = if header.entry_type().is_hard_link() {
                files[&EntryPath::of(&link)].clone()
            } else {
                format!(
                    "{:?} {:o} {}:{} {} {}",
                    header.entry_type(),
                    header.mode().unwrap(),
                    header.uid().unwrap(),
                    header.gid().unwrap(),
                    String::from_utf8_lossy(&link),
                    String::from_utf8_lossy(&content),
                )
            };
            files.insert(path, what);
        }
    }
    files
}

/// Every instruction. Where `buildah` has its own way, another is taken: it gives
/// a WORKDIR that a later COPY --chown makes to that owner, Docker to root; it
/// keeps a range of ports as one.
const EVERYTHING: &str = r#"ARG BASE=scratch
FROM ${BASE} AS image
MAINTAINER Someone <some@one>
ADD rootfs.tar /
ARG VERSION=1.0
ENV VERSION=${VERSION:-none} GREETING="hello \"you\"" EMPTY=
ENV OLD  form of   it
LABEL one="1 < 2 & 3" two=$VERSION
WORKDIR /srv
WORKDIR app
COPY --chown=app:staff script.sh /usr/
COPY data/*.txt notes/ /srv/data/
COPY data /copied
COPY --chown=5:6 data/a.txt /new/place/renamed
COPY link /linked
ADD rootfs.tar.gz unpacked/
EXPOSE 80 443/udp 8001
VOLUME ["/data", "/more"]
VOLUME /cache
USER app
STOPSIGNAL SIGQUIT
SHELL ["/bin/bash", "-c"]
HEALTHCHECK --interval=30s --timeout=5s --retries=3 CMD check --it
ENTRYPOINT ["/bin/tool", "-x"]
CMD run $VERSION
ONBUILD COPY . /app
"#;

fn everything() -> Repository {
    let rootfs = root_file_system();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&rootfs).unwrap();
    let gzip = gzip.finish().unwrap();
    let repository = source(
        EVERYTHING,
        &[
            ("rootfs.tar", &rootfs),
            ("rootfs.tar.gz", &gzip),
            ("script.sh", b"#!/bin/sh\n"),
            ("data/a.txt", b"a"),
            ("data/b.txt", b"b"),
            ("data/sub/c", b"c\0"),
            ("data/left-out", b"x"),
            ("notes/n", b"n"),
            (".dockerignore", b"data/left-out\n"),
        ],
    );
    repository.git(&["update-index", "--chmod=+x", "script.sh"]);
    std::os::unix::fs::symlink("data/a.txt", repository.path().join("link")).unwrap();
    repository.git(&["add", "link"]);
    repository.git(&["commit", "--quiet", "--message=more"]);
    repository.git(&["checkout", "--quiet", "--force", "HEAD"]);
    repository
}

#[test]
fn every_instruction_gives_the_files_and_config_that_buildah_gives() {
    if !has_program("buildah") {
        return;
    }
    let repository = everything();
    let (ours, built) = built(&repository, TarDialect::DockerClassic);
    let theirs = tempfile::tempdir().unwrap();
    let storage = tempfile::tempdir().unwrap();
    let layout = theirs.path().join("layout");
    let buildah = || {
        let mut command = Command::new("buildah");
        command
            .args(["--storage-driver", "vfs", "--root"])
            .arg(storage.path().join("root"))
            .arg("--runroot")
            .arg(storage.path().join("run"));
        command
    };
    // Whether this machine lets buildah work at all is not what is tested.
    if !buildah().arg("info").output().unwrap().status.success() {
        crate::support::skip("buildah does not work here");
        return;
    }
    run(buildah()
        .args(["build", "--format", "docker", "--isolation", "chroot"])
        .args(["--disable-compression=false", "--layers", "--tag", "it"])
        .arg(repository.path()));
    run(buildah()
        .args(["push", "it"])
        .arg(format!("oci:{}", layout.display())));

    assert_eq!(files(&ours.path().join("layout")), files(&layout));

    let index: Value =
        serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let read = |digest: &Value| -> Value {
        let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
        serde_json::from_slice(&fs::read(layout.join("blobs/sha256").join(hex)).unwrap()).unwrap()
    };
    let manifest = read(&index["manifests"][0]["digest"]);
    let their_config = read(&manifest["config"]["digest"]);
    let our_config: Value = serde_json::from_slice(&blob(&ours, &built.config)).unwrap();
    // Not Cmd: for the text of CMD, buildah does not heed SHELL.
    for key in [
        "Env",
        "Entrypoint",
        "WorkingDir",
        "User",
        "ExposedPorts",
        "Volumes",
        "StopSignal",
    ] {
        assert_eq!(
            our_config["config"][key], their_config["config"][key],
            "{key}"
        );
    }
    for (name, value) in our_config["config"]["Labels"].as_object().unwrap() {
        assert_eq!(their_config["config"]["Labels"][name], *value, "{name}");
    }
}

#[test]
fn every_instruction_is_in_the_config_of_either_builder() {
    let repository = everything();
    let (layout, buildkit) = built(&repository, TarDialect::BuildKit);
    let config = blob(&layout, &buildkit.config);
    let text = String::from_utf8(config.clone()).unwrap();
    assert!(text.contains(r#""one":"1 \u003c 2 \u0026 3""#), "{text}");
    let config: Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(
        config["config"],
        json!({
            "User": "app",
            "ExposedPorts": {"443/udp": {}, "80/tcp": {}, "8001/tcp": {}},
            "Env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "VERSION=1.0",
                "GREETING=hello \"you\"",
                "EMPTY=",
                "OLD=form of   it",
            ],
            "Entrypoint": ["/bin/tool", "-x"],
            "Cmd": ["/bin/bash", "-c", "run $VERSION"],
            "Volumes": {"/cache": {}, "/data": {}, "/more": {}},
            "WorkingDir": "/srv/app",
            "Labels": {"one": "1 < 2 & 3", "two": "1.0"},
            "StopSignal": "SIGQUIT",
            "ArgsEscaped": true,
            "Healthcheck": {
                "Test": ["CMD-SHELL", "check --it"],
                "Interval": 30_000_000_000_i64,
                "Timeout": 5_000_000_000_i64,
                "Retries": 3,
            },
            "OnBuild": ["COPY . /app"],
            "Shell": ["/bin/bash", "-c"],
        })
    );
    assert_eq!(config["author"], "Someone <some@one>");
    let created_by = |config: &Value| -> Vec<String> {
        let history = config["history"].as_array().unwrap().iter();
        history
            .map(|step| step["created_by"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        created_by(&config),
        [
            "MAINTAINER Someone <some@one>",
            "ADD rootfs.tar / # buildkit",
            "ARG VERSION=1.0",
            "ENV VERSION=1.0 GREETING=hello \"you\" EMPTY=",
            "ENV OLD=form of   it",
            "LABEL one=1 < 2 & 3 two=1.0",
            "WORKDIR /srv",
            "WORKDIR /srv/app",
            "COPY --chown=app:staff script.sh /usr/ # buildkit",
            "COPY data/*.txt notes/ /srv/data/ # buildkit",
            "COPY data /copied # buildkit",
            "COPY --chown=5:6 data/a.txt /new/place/renamed # buildkit",
            "COPY link /linked # buildkit",
            "ADD rootfs.tar.gz unpacked/ # buildkit",
            "EXPOSE map[443/udp:{} 80/tcp:{} 8001/tcp:{}]",
            "VOLUME [/data /more]",
            "VOLUME [/cache]",
            "USER app",
            "STOPSIGNAL SIGQUIT",
            "SHELL [/bin/bash -c]",
            "HEALTHCHECK &{[\"CMD-SHELL\" \"check --it\"] \"30s\" \"5s\" \"0s\" \"0s\" '\\x03'}",
            "ENTRYPOINT [\"/bin/tool\" \"-x\"]",
            "CMD [\"/bin/bash\" \"-c\" \"run $VERSION\"]",
        ]
    );
    let layers = buildkit.layers.len();
    let made = config["history"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|step| step["empty_layer"] != true)
        .count();
    assert_eq!(
        (
            layers,
            made,
            config["rootfs"]["diff_ids"].as_array().unwrap().len()
        ),
        (9, 9, 9)
    );

    let (layout, classic) = built(&repository, TarDialect::DockerClassic);
    let config: Value = serde_json::from_slice(&blob(&layout, &classic.config)).unwrap();
    let history = created_by(&config);
    assert_eq!(history[2], "/bin/sh -c #(nop)  ARG VERSION=1.0");
    assert_eq!(history[6], "/bin/sh -c #(nop) WORKDIR /srv");
    assert!(history[8].starts_with("/bin/sh -c #(nop) COPY --chown=app:staff file:"));
    assert!(history[9].starts_with("/bin/sh -c #(nop) COPY multi:"));
    assert!(history[10].starts_with("/bin/sh -c #(nop) COPY dir:"));
    assert_eq!(history[14], "/bin/sh -c #(nop)  EXPOSE 443/udp 80 8001");
    // SHELL changes the shell of its own comment.
    assert_eq!(history[19], "/bin/bash -c #(nop)  SHELL [/bin/bash -c]");
    assert_eq!(history[23], "/bin/bash -c #(nop)  ONBUILD COPY . /app");
    assert_eq!(
        config["container_config"]["Cmd"],
        json!(["/bin/bash", "-c", "#(nop) ", "ONBUILD COPY . /app"])
    );
}

#[test]
fn an_archive_is_unpacked_whatever_it_is_compressed_with_and_a_copy_is_not() {
    let rootfs = root_file_system();
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&rootfs).unwrap();
        encoder.finish().unwrap()
    };
    let bzip2 = {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        encoder.write_all(&rootfs).unwrap();
        encoder.finish().unwrap()
    };
    let xz = {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
        encoder.write_all(&rootfs).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = zstd::encode_all(rootfs.as_slice(), 1).unwrap();
    let plain = built(
        &source("FROM scratch\nADD rootfs /\n", &[("rootfs", &rootfs)]),
        TarDialect::BuildKit,
    )
    .1;
    assert_eq!(
        plain.layers[0].bytes.keys().collect::<Vec<_>>(),
        [&Origin::Opaque]
    );
    for (name, bytes) in [("gzip", gzip), ("bzip2", bzip2), ("xz", xz), ("zstd", zstd)] {
        let repository = source("FROM scratch\nADD rootfs /\n", &[("rootfs", &bytes)]);
        let unpacked = built(&repository, TarDialect::BuildKit).1;
        assert_eq!(
            unpacked.layers[0].diff_id, plain.layers[0].diff_id,
            "{name}"
        );
        let repository = source("FROM scratch\nCOPY rootfs /\n", &[("rootfs", &bytes)]);
        let copied = built(&repository, TarDialect::BuildKit).1;
        let paths: Vec<&EntryPath> = copied.layers[0].origins.keys().collect();
        assert_eq!(paths, [&EntryPath::of(b"rootfs")], "{name}");
    }
}

#[test]
fn origins_and_made_times_are_told_by_path() {
    let repository = source(
        "FROM scratch\nADD rootfs.tar /\nCOPY text binary /bin/\n",
        &[
            ("rootfs.tar", &root_file_system()),
            ("text", b"text"),
            ("binary", b"\x7fELF\0"),
        ],
    );
    let built = built(&repository, TarDialect::BuildKit).1;
    let path = |text: &str| EntryPath::of(text.as_bytes());
    // /var and what is below it have no entries in the archive.
    assert_eq!(
        built.layers[0].made_times.iter().collect::<Vec<_>>(),
        [&path("var"), &path("var/lib"), &path("var/lib/deep")]
    );
    assert_eq!(built.layers[0].origins[&path("var")], Origin::Built);
    assert_eq!(built.layers[0].origins[&path("etc/twice")], Origin::Opaque);
    // /bin is a link; the directory that gets new names has a new time.
    let second = &built.layers[1];
    assert_eq!(
        second.origins,
        BTreeMap::from([
            (path("usr"), Origin::Opaque),
            (path("usr/bin"), Origin::Opaque),
            (path("usr/bin/text"), Origin::Tree),
            (path("usr/bin/binary"), Origin::Opaque),
        ])
    );
    assert_eq!(
        second.made_times.iter().collect::<Vec<_>>(),
        [
            &path("usr/bin"),
            &path("usr/bin/binary"),
            &path("usr/bin/text")
        ]
    );
    assert_eq!(
        second.bytes,
        BTreeMap::from([(Origin::Tree, 4), (Origin::Opaque, 5)])
    );
}

#[test]
fn a_here_document_is_a_file_to_buildkit_and_unknown_to_the_classic_builder() {
    let dockerfile =
        "FROM scratch\nARG WHO=you\nCOPY <<one <<'two' /texts/\nhello $WHO\none\nhello $WHO\ntwo\n";
    let repository = source(dockerfile, &[]);
    let (folder, _) = built(&repository, TarDialect::BuildKit);
    let files = files(&folder.path().join("layout"));
    let contents: Vec<&str> = files
        .values()
        .map(|what| what.rsplit("  ").next().unwrap())
        .collect();
    assert_eq!(contents, ["", "hello you\n", "hello $WHO\n"]);
    assert!(refused(dockerfile, &[], TarDialect::DockerClassic).contains("require BuildKit"));
}

#[test]
fn what_needs_more_than_this_kind_of_recipe_is_refused_by_line() {
    let cases = [
        ("FROM alpine\n", "line 1 builds on the image alpine"),
        ("FROM scratch\n\nRUN true\n", "line 3 runs a command"),
        (
            "FROM scratch\nFROM scratch\n",
            "line 2 begins a second stage",
        ),
        (
            "FROM scratch\nADD https://example.org/x /\n",
            "line 2 fetches https://example.org/x",
        ),
        ("FROM scratch\nCOPY --from=other a /\n", "line 2 has --from"),
    ];
    for (dockerfile, expected) in cases {
        let said = refused(dockerfile, &[], TarDialect::BuildKit);
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn a_build_that_fails_says_at_which_step_and_leaves_nothing_behind() {
    let member = |name: &str, link: Option<&str>| {
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        // Past the checks of the `tar` crate, which writes no such names.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        if let Some(link) = link {
            header.set_entry_type(tar::EntryType::Link);
            header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        }
        header.set_cksum();
        let mut tar = header.as_bytes().to_vec();
        tar.extend([0; 1024]);
        tar
    };
    let escaping = member("a/../../b", None);
    let dangling = member("a", Some("nothing"));
    let mut cut = root_file_system();
    cut.truncate(3000);
    let add = "FROM scratch\nADD a /\n";
    let cases: [(&str, Files<'_>, &str); 9] = [
        ("CMD x\n", &[], "there is no FROM before it"),
        (
            "FROM scratch\nBREW x\n",
            &[],
            "Dockerfile line 2: unknown instruction: BREW",
        ),
        (
            "FROM scratch\nCOPY a /\n",
            &[],
            "Dockerfile line 2: COPY a /: a is not in the build context or excluded by .dockerignore",
        ),
        (
            "FROM scratch\nCOPY a /\n",
            &[("a", b""), (".dockerignore", b"a")],
            "excluded by .dockerignore",
        ),
        (
            "FROM scratch\nCOPY a /x\nCOPY b /x/y\n",
            &[("a", b""), ("b", b"")],
            "/x is not a directory",
        ),
        (
            add,
            &[("a", &escaping)],
            "a/../../b leads out of the directory",
        ),
        (
            add,
            &[("a", &dangling)],
            "is a hard link to /nothing, which is not there",
        ),
        (
            add,
            &[("a", &cut)],
            "Dockerfile line 2: ADD a /: the archive cannot be read",
        ),
        (
            "FROM scratch\nSTOPSIGNAL SIGNOTHING\n",
            &[],
            "there is no signal SIGNOTHING",
        ),
    ];
    for (dockerfile, files, expected) in cases {
        let said = refused(dockerfile, files, TarDialect::BuildKit);
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn git_archive_contexts_have_its_modes_and_no_dockerignore() {
    let repository = source(
        "FROM scratch\nCOPY dir /dir\n",
        &[("dir/file", b"x"), (".dockerignore", b"dir/file")],
    );
    let (folder, _) = rebuilt(
        &checkout(repository.path(), "HEAD"),
        &scratch("Dockerfile", ""),
        "linux/amd64",
        TarDialect::BuildKit,
        Context::Archive,
    );
    let files = files(&folder.path().join("layout"));
    assert_eq!(
        files.into_iter().collect::<Vec<_>>(),
        [
            (EntryPath::of(b"dir"), "Directory 755 0:0  ".to_owned()),
            (EntryPath::of(b"dir/file"), "Regular 664 0:0  x".to_owned()),
        ]
    );
}

#[test]
fn an_uncompressed_layer_is_its_own_diff_id() {
    let repository = source("FROM scratch\nCOPY a /\n", &[("a", b"a")]);
    let folder = tempfile::tempdir().unwrap();
    let request = Request {
        build: &scratch("Dockerfile", ""),
        source: Some(&checkout(repository.path(), "HEAD")),
        platform: &"linux/amd64".parse().unwrap(),
        encoding: Encoding {
            dialect: TarDialect::BuildKit,
            compressor: Compressor::Uncompressed,
        },
        context: Context::Checkout,
        outside: None,
    };
    let output = Output::Layout(folder.path().join("layout"));
    let Outcome::Built(built) = rebuild(&request, &output, &Silent).unwrap() else {
        panic!("it was not built");
    };
    assert_eq!(built.layers[0].digest.hex(), built.layers[0].diff_id.hex());
    let manifest: Value = serde_json::from_slice(&blob(&folder, &built.manifest)).unwrap();
    assert_eq!(
        manifest["layers"][0]["mediaType"],
        "application/vnd.oci.image.layer.v1.tar"
    );
}
