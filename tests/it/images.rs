//! Images as real tools write them, read by each of their names.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use reprove::{
    digest::{DiffId, Digest},
    image::{self, Access, Image, ImageName, Layer, Platform, listing, read_knowing},
    progress::Silent,
};
use serde_json::{Value, json};

use super::support::{
    registry::{has, run},
    test_image,
};

/// Returns the image of a name.
pub(super) fn open(
    name: &str,
    platform: Option<&str>,
    access: &Access,
) -> Result<Box<dyn Image>, String> {
    let name: ImageName = name.parse().map_err(|error| said(&error))?;
    let platform: Option<Platform> = platform.map(|platform| platform.parse().unwrap());
    image::resolve(&name, platform.as_ref(), access, &Silent).map_err(|error| said(&error))
}

/// Returns an error and its causes on one line.
pub(super) fn said(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(text, ": {error}").unwrap();
        cause = error.source();
    }
    text
}

/// Reads all layers, or returns what was wrong.
pub(super) fn layers(image: &dyn Image) -> Result<Vec<Layer>, String> {
    (0..image.layer_count())
        .map(|index| image.layer(index, &Silent).map_err(|error| said(&error)))
        .collect()
}

/// Opens an image that is there and reads it whole.
#[track_caller]
pub(super) fn read(name: &str, access: &Access) -> (Box<dyn Image>, Vec<Layer>) {
    let image = open(name, None, access).unwrap();
    let layers = layers(&*image).unwrap();
    (image, layers)
}

/// A layout that a test writes blob by blob.
pub(super) struct Layout(pub(super) PathBuf);

impl Layout {
    pub(super) fn create(path: &Path) -> Self {
        fs::create_dir_all(path.join("blobs/sha256")).unwrap();
        fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self(path.to_owned())
    }

    pub(super) fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        fs::write(self.0.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    /// Adds an image of one layer with one file that holds `content`.
    pub(super) fn image(&self, platform: &str, content: &str) -> Value {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, "etc/hostname", content.as_bytes())
            .unwrap();
        self.image_of(platform, &tar.into_inner().unwrap())
    }

    /// Adds an image of one layer with these bytes.
    pub(super) fn image_of(&self, platform: &str, layer: &[u8]) -> Value {
        let layer = self.blob("application/vnd.oci.image.layer.v1.tar", layer);
        let (os, architecture) = platform.split_once('/').unwrap();
        let config = json!({
            "os": os, "architecture": architecture, "config": {},
            "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
        });
        let config = self.blob(
            "application/vnd.oci.image.config.v1+json",
            config.to_string().as_bytes(),
        );
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config, "layers": [layer],
        });
        let mut descriptor = self.blob(
            "application/vnd.oci.image.manifest.v1+json",
            manifest.to_string().as_bytes(),
        );
        descriptor["platform"] = json!({ "os": os, "architecture": architecture });
        descriptor
    }

    /// Adds what BuildKit adds to an index for provenance.
    pub(super) fn attestation(&self, of: &Value) -> Value {
        let statement = self.blob("application/vnd.in-toto+json", b"{}");
        let config = json!({
            "os": "unknown", "architecture": "unknown", "config": {},
            "rootfs": { "type": "layers", "diff_ids": [statement["digest"]] },
        });
        let config = self.blob(
            "application/vnd.oci.image.config.v1+json",
            config.to_string().as_bytes(),
        );
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config, "layers": [statement],
        });
        let mut descriptor = self.blob(
            "application/vnd.oci.image.manifest.v1+json",
            manifest.to_string().as_bytes(),
        );
        descriptor["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
        descriptor["annotations"] = json!({
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": of["digest"],
        });
        descriptor
    }

    pub(super) fn index(&self, entries: &[Value]) -> Value {
        let media_type = "application/vnd.oci.image.index.v1+json";
        let index = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": entries });
        self.blob(media_type, index.to_string().as_bytes())
    }

    pub(super) fn write(&self, entries: &[Value]) {
        let index = json!({ "schemaVersion": 2, "manifests": entries });
        fs::write(self.0.join("index.json"), index.to_string()).unwrap();
    }
}

/// The published busybox, copied so that a test may change it.
pub(super) fn busybox(to: &Path) -> Option<PathBuf> {
    let from = test_image("busybox-1.37.0-glibc-amd64")?;
    let copy = to.join("busybox");
    run(Command::new("cp").arg("-r").arg(from).arg(&copy));
    run(Command::new("chmod").args(["-R", "u+w"]).arg(&copy));
    Some(copy)
}

const BUSYBOX_LAYER: &str = "436a1b1fd078ee8e117111472724c2827077657189af7a781829d0825d48d2ab";
const BUSYBOX_DIFF_ID: &str = "412f8a616e1efb03d4ab94ce18ebddf3f068b637f1c7ae8dbc82306a852de408";

#[test]
fn the_published_busybox_is_read_with_the_hashes_it_was_published_with() {
    let Some(path) = test_image("busybox-1.37.0-glibc-amd64") else {
        return;
    };
    let (image, layers) = read(&format!("oci:{}", path.display()), &Access::default());
    assert_eq!(
        image.manifest().unwrap().digest.hex(),
        "7a3ebe5bfd1a4a19797d20b0c0bb39d44393e9a03fd852c0865b0f540d868df0"
    );
    assert_eq!(
        image.config().digest.hex(),
        "db287cb6be81219cd18c1d82b70908f5d33eb028568b456f78eedff2ff2930e4"
    );
    assert_eq!(layers.len(), 1);
    assert_eq!(layers[0].digest.hex(), BUSYBOX_LAYER);
    assert_eq!(layers[0].diff_id.hex(), BUSYBOX_DIFF_ID);
    assert_eq!(layers[0].size, 2_211_507);
}

#[test]
fn one_image_has_the_same_layers_under_each_of_its_names() {
    let temporary = tempfile::tempdir().unwrap();
    let Some(layout) = busybox(temporary.path()) else {
        return;
    };
    if !has(&["skopeo", "tar", "zstd", "xz", "bzip2"]) {
        return;
    }
    let at = |name: &str| temporary.path().join(name).display().to_string();
    let tag = "busybox:1.37.0-glibc";
    let access = Access::default();
    let oci = format!("oci:{}", layout.display());
    let (published, expected) = read(&oci, &access);

    run(Command::new("tar")
        .arg("-C")
        .arg(&layout)
        .args(["-cf", &at("dot.tar"), "."]));
    run(Command::new("tar").arg("-C").arg(&layout).args([
        "-cf",
        &at("plain.tar"),
        "oci-layout",
        "index.json",
        "blobs",
    ]));
    let mut names = vec![format!("{oci}:{tag}")];
    for name in ["dot.tar", "plain.tar"] {
        names.push(format!("oci-archive:{}", at(name)));
        names.push(format!("oci-archive:{}:{tag}", at(name)));
    }
    for (compress, ending) in [
        ("gzip", "gz"),
        ("zstd", "zst"),
        ("xz", "xz"),
        ("bzip2", "bz2"),
    ] {
        run(Command::new(compress).args(["-k", "-q", &at("dot.tar")]));
        names.push(format!("oci-archive:{}", at(&format!("dot.tar.{ending}"))));
    }
    for name in names {
        let (image, layers) = read(&name, &access);
        assert_eq!(layers, expected, "{name}");
        assert_eq!(image.manifest(), published.manifest(), "{name}");
        assert_eq!(image.config(), published.config(), "{name}");
        assert_eq!(image.index(), published.index(), "{name}");
    }

    let archive = format!("docker-archive:{}:example.com/busybox:1", at("docker.tar"));
    run(Command::new("skopeo").args([
        "--insecure-policy",
        "copy",
        "--quiet",
        &format!("{oci}:{tag}"),
        &archive,
    ]));
    for name in [format!("docker-archive:{}", at("docker.tar")), archive] {
        let (image, layers) = read(&name, &access);
        assert_eq!(image.config(), published.config(), "{name}");
        assert_eq!((image.manifest(), image.index()), (None, None), "{name}");
        assert_eq!(layers[0].diff_id, expected[0].diff_id, "{name}");
        assert_eq!(layers[0].entries, expected[0].entries, "{name}");
        assert_eq!(layers[0].descriptor, None, "{name}");
    }

    let path = temporary.path().join("busybox.listing");
    let mut file = fs::File::create(&path).unwrap();
    listing::write(&*published, &expected, &mut file).unwrap();
    let (image, layers) = read(&format!("listing:{}", path.display()), &access);
    assert_eq!(layers, expected);
    assert_eq!(image.manifest(), published.manifest());
    assert_eq!(image.config(), published.config());
    let error = image.open(0).err().unwrap().to_string();
    assert!(
        error.ends_with("is a listing: the bytes of its layers are not available"),
        "{error}"
    );
    eprintln!(
        "the listing of busybox has {} bytes",
        fs::metadata(&path).unwrap().len()
    );
}

/// A folder with a file of each of the plain kinds.
fn folder(at: &Path) -> PathBuf {
    let folder = at.join("folder");
    fs::create_dir_all(folder.join("etc")).unwrap();
    fs::write(folder.join("etc/hostname"), "one\n").unwrap();
    std::os::unix::fs::symlink("hostname", folder.join("etc/link")).unwrap();
    folder
}

/// Returns the paths of a layer, sorted, without directories.
fn files(layer: &Layer) -> Vec<String> {
    let mut paths: Vec<String> = layer
        .entries
        .iter()
        .filter(|entry| entry.kind != image::EntryKind::Directory)
        .map(|entry| entry.path.to_string())
        .collect();
    paths.sort();
    paths
}

#[test]
fn images_written_by_umoci_are_read() {
    if !has(&["umoci", "skopeo"]) {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let folder = folder(temporary.path());
    let layout = temporary.path().join("layout");
    let image = format!("{}:made", layout.display());
    run(Command::new("umoci")
        .args(["init", "--layout"])
        .arg(&layout));
    run(Command::new("umoci").args(["new", "--image", &image]));
    run(Command::new("umoci")
        .args(["insert", "--rootless", "--image", &image])
        .arg(folder.join("etc"))
        .arg("/etc"));
    run(Command::new("umoci")
        .args(["insert", "--rootless", "--image", &image])
        .arg(folder.join("etc/hostname"))
        .arg("/hostname"));
    let access = Access::default();
    let (read_image, layers) = read(&format!("oci:{image}"), &access);
    assert_eq!(layers.len(), 2);
    assert_eq!(files(&layers[0]), ["/etc/hostname", "/etc/link"]);
    assert_eq!(files(&layers[1]), ["/hostname"]);

    let archive = temporary.path().join("made.tar").display().to_string();
    run(Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--quiet"])
        .args([format!("oci:{image}"), format!("docker-archive:{archive}")]));
    let (again, layers_again) = read(&format!("docker-archive:{archive}"), &access);
    assert_eq!(again.config(), read_image.config());
    let entries = |layers: Vec<Layer>| {
        layers
            .into_iter()
            .map(|layer| layer.entries)
            .collect::<Vec<_>>()
    };
    assert_eq!(entries(layers_again), entries(layers));
}

#[test]
fn images_written_by_buildah_are_read_in_each_format() {
    if !has(&["buildah"]) {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let folder = folder(temporary.path());
    let at = |name: &str| temporary.path().join(name).display().to_string();
    let buildah = |args: &[&str]| {
        let mut command = Command::new("buildah");
        command
            .args([
                "--root",
                &at("root"),
                "--runroot",
                &at("run"),
                "--storage-driver",
                "vfs",
            ])
            .args(args);
        run(&mut command).trim().to_owned()
    };
    let container = buildah(&["from", "scratch"]);
    buildah(&["copy", &container, &folder.display().to_string(), "/"]);
    let mut layers_by_name = Vec::new();
    for (format, name) in [
        ("oci", format!("oci:{}:made", at("layout"))),
        ("docker", format!("oci-archive:{}:made", at("made-oci.tar"))),
        (
            "docker",
            format!(
                "docker-archive:{}:example.com/made:1",
                at("made-docker.tar")
            ),
        ),
    ] {
        buildah(&[
            "commit",
            "--quiet",
            "--timestamp",
            "0",
            "--format",
            format,
            &container,
            &name,
        ]);
        let (_, layers) = read(&name, &Access::default());
        assert_eq!(layers.len(), 1, "{name}");
        assert_eq!(files(&layers[0]), ["/etc/hostname", "/etc/link"], "{name}");
        layers_by_name.push((layers[0].diff_id, layers[0].entries.clone()));
    }
    assert!(layers_by_name.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn what_is_wrong_with_a_layout_names_the_blob() {
    let temporary = tempfile::tempdir().unwrap();
    let Some(layout) = busybox(temporary.path()) else {
        return;
    };
    let name = format!("oci:{}", layout.display());
    let blob = layout.join("blobs/sha256").join(BUSYBOX_LAYER);
    let good = fs::read(&blob).unwrap();
    let mut flipped = good.clone();
    flipped[1_000_000] ^= 1;
    // The time in the gzip header: what it inflates to is the same.
    let mut dated = good.clone();
    dated[4] ^= 1;
    let mut extended = good.clone();
    extended.push(0);
    let cases: [(&str, Option<&[u8]>, &str); 5] = [
        ("dated", Some(&dated), "should be sha256:436a1b1fd0"),
        ("flipped", Some(&flipped), "should be sha256:436a1b1fd0"),
        (
            "cut off",
            Some(&good[..good.len() - 1]),
            "should have 2211507 bytes but has 2211506",
        ),
        (
            "extended",
            Some(&extended),
            "should have 2211507 bytes but has more",
        ),
        ("missing", None, "No such file or directory"),
    ];
    for (case, bytes, problem) in cases {
        match bytes {
            Some(bytes) => fs::write(&blob, bytes).unwrap(),
            None => fs::remove_file(&blob).unwrap(),
        }
        let image = open(&name, None, &Access::default()).unwrap();
        let error = layers(&*image).unwrap_err();
        assert!(error.contains(problem), "{case}: {error}");
    }
}

#[test]
fn a_layer_read_before_is_taken_as_it_was_read_and_its_bytes_are_checked_all_the_same() {
    let temporary = tempfile::tempdir().unwrap();
    let layout = Layout::create(temporary.path());
    layout.write(&[layout.image("linux/amd64", "content")]);
    let name = format!("oci:{}", temporary.path().display());
    let (image, mut layers) = read(&name, &Access::default());
    let right = layers.remove(0);
    // Marked, so that it is seen whether it is what is returned.
    let marked = |layer: &Layer| {
        let mut layer = layer.clone();
        layer.entries.clear();
        Arc::new(layer)
    };
    let of_other = Layer {
        diff_id: DiffId::of(b"other"),
        ..right.clone()
    };
    for (case, known, entries) in [
        ("the same", vec![marked(&right)], 0),
        ("another diffID", vec![marked(&of_other)], 1),
        ("nothing", vec![], 1),
    ] {
        let read = read_knowing(&*image, &known, &Silent).unwrap();
        assert_eq!(read[0].entries.len(), entries, "{case}");
    }
    let blob = (temporary.path().join("blobs/sha256")).join(right.digest.hex());
    let mut bytes = fs::read(&blob).unwrap();
    bytes[600] ^= 1;
    fs::write(&blob, bytes).unwrap();
    let error = read_knowing(&*image, &[marked(&right)], &Silent).unwrap_err();
    let expected = format!("should be {} but is ", right.digest);
    assert!(said(&error).contains(&expected), "{}", said(&error));
}

#[test]
fn an_archive_that_cannot_be_right_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("archive.tar");
    let name = format!("oci-archive:{}", path.display());
    let archive = |members: &[(&str, tar::EntryType, &str)]| {
        let mut tar = tar::Builder::new(Vec::new());
        for (member, kind, text) in members {
            let mut header = tar::Header::new_ustar();
            header.as_mut_bytes()[..member.len()].copy_from_slice(member.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            if kind.is_file() {
                header.set_size(text.len() as u64);
                header.set_cksum();
                tar.append(&header, text.as_bytes()).unwrap();
            } else {
                header.set_size(0);
                header.set_link_name_literal(text).unwrap();
                header.set_cksum();
                tar.append(&header, std::io::empty()).unwrap();
            }
        }
        tar.into_inner().unwrap()
    };
    let file = tar::EntryType::Regular;
    let link = tar::EntryType::Symlink;
    let layout = r#"{"imageLayoutVersion":"1.0.0"}"#;
    let cut = {
        let mut bytes = archive(&[
            ("oci-layout", file, layout),
            ("index.json", file, &" ".repeat(5000)),
        ]);
        bytes.truncate(3000);
        bytes
    };
    let cases = [
        (
            "twice",
            archive(&[("oci-layout", file, layout), ("./oci-layout", file, layout)]),
            "has two entries ./oci-layout",
        ),
        (
            "out",
            archive(&[("../oci-layout", file, layout)]),
            "has a path that leads out of it: ../oci-layout",
        ),
        (
            "circle",
            archive(&[("oci-layout", link, "a"), ("a", link, "oci-layout")]),
            "its links lead in a circle",
        ),
        (
            "link out",
            archive(&[("oci-layout", link, "../../etc/passwd")]),
            "its link leads out of the archive",
        ),
        ("empty", archive(&[]), "oci-layout in "),
        (
            "pipe",
            archive(&[("oci-layout", tar::EntryType::Fifo, "")]),
            "has an entry of type '6'",
        ),
        ("cut", cut, "index.json"),
        ("no tar", b"not a tar".repeat(200), "cannot read "),
    ];
    for (case, bytes, problem) in cases {
        fs::write(&path, bytes).unwrap();
        let error = open(&name, None, &Access::default())
            .map(|_| ())
            .unwrap_err();
        assert!(error.contains(problem), "{case}: {error}");
    }
    let linked = archive(&[
        ("oci-layout", link, "./x/../real"),
        ("real", file, layout),
        ("index.json", file, r#"{"schemaVersion":2,"manifests":[]}"#),
    ]);
    fs::write(&path, linked).unwrap();
    let error = open(&name, None, &Access::default())
        .map(|_| ())
        .unwrap_err();
    assert!(error.contains("has no images"), "{error}");
}
