//! Images that the tests change: read or made, sealed, written as OCI layouts.

use std::{fs, io::Write, path::Path};

use flate2::{Compression, write::GzEncoder};
use reprove::digest::Digest;

use super::{
    archive::{Archive, Member},
    json,
};
use crate::support;

/// An image as its documents' text and its layers' archives.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) layers: Vec<Layer>,
    pub(crate) config: String,
    pub(crate) manifest: String,
    /// The index; its entry 0 is the manifest.
    pub(crate) index: String,
    /// Whether `index.json` names the index instead of being it.
    pub(crate) nested: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) archive: Archive,
    /// The blob; `None` to have it compressed from the archive.
    pub(crate) blob: Option<Vec<u8>>,
}

/// The blobs of an image by the digests that name them, and its `index.json`.
pub(crate) struct Written {
    pub(crate) blobs: Vec<(String, Vec<u8>)>,
    pub(crate) index_json: String,
}

/// Returns the digest of the bytes as documents write it.
pub(crate) fn digest(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}

/// Returns what errors call a layer; they count from 1.
pub(crate) fn called(layer: usize) -> String {
    format!("layer {} ", layer + 1)
}

/// Returns the bytes as one gzip member with a header without time or name.
pub(crate) fn gzip(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

impl Layer {
    pub(crate) fn new(members: Vec<Member>) -> Self {
        Self {
            archive: Archive::new(members),
            blob: None,
        }
    }

    pub(crate) fn blob(&self) -> Vec<u8> {
        self.blob
            .clone()
            .unwrap_or_else(|| gzip(&self.archive.bytes(), 1))
    }
}

impl Image {
    /// Returns an image of these layers with the plainest documents.
    pub(crate) fn plain(layers: Vec<Layer>) -> Self {
        let descriptors = vec![
            r#"{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"","size":0}"#;
            layers.len()
        ];
        let mut image = Self {
            config: format!(
                r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
                vec!["\"\""; layers.len()].join(",")
            ),
            manifest: format!(
                r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"","size":0}},"layers":[{}]}}"#,
                descriptors.join(",")
            ),
            index: r#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"","size":0,"platform":{"architecture":"amd64","os":"linux"}}]}"#.to_owned(),
            layers,
            nested: false,
        };
        image.seal();
        image
    }

    /// Returns what is to be written, every digest and size being right.
    ///
    /// Descriptors are set in the text, so that only their digests and sizes change.
    pub(crate) fn seal(&mut self) -> Written {
        let diff_ids = self
            .layers
            .iter()
            .map(|layer| digest(&layer.archive.bytes()));
        let diff_ids: Vec<String> = diff_ids.collect();
        self.seal_with(&diff_ids)
    }

    /// As [`Self::seal`], of layers whose blobs do not hold their archives.
    pub(crate) fn seal_with(&mut self, diff_ids: &[String]) -> Written {
        let mut blobs = Vec::new();
        for (number, (layer, diff_id)) in self.layers.iter().zip(diff_ids).enumerate() {
            let diff_id = format!("{diff_id:?}");
            self.config = json::set(
                &self.config,
                &format!("/rootfs/diff_ids/{number}"),
                &diff_id,
            );
            let blob = layer.blob();
            self.manifest = describe(&self.manifest, &format!("/layers/{number}"), &blob);
            blobs.push((digest(&blob), blob));
        }
        self.manifest = describe(&self.manifest, "/config", self.config.as_bytes());
        self.index = describe(&self.index, "/manifests/0", self.manifest.as_bytes());
        for document in [&self.config, &self.manifest] {
            blobs.push((digest(document.as_bytes()), document.clone().into_bytes()));
        }
        let mut index_json = self.index.clone();
        if self.nested {
            let bytes = self.index.as_bytes();
            blobs.push((digest(bytes), bytes.to_vec()));
            index_json = describe(
                r#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"","size":0}]}"#,
                "/manifests/0",
                bytes,
            );
        }
        Written { blobs, index_json }
    }

    /// Writes the image, sealed, as an OCI layout.
    pub(crate) fn write(&mut self, directory: &Path) {
        self.seal().write(directory);
    }

    /// Returns config, manifest and index with every digest and size blanked that sealing sets.
    fn blanked(&self) -> [String; 3] {
        let mut config = self.config.clone();
        let mut manifest = describe(&self.manifest, "/config", b"");
        for number in 0..self.layers.len() {
            config = json::set(&config, &format!("/rootfs/diff_ids/{number}"), "\"\"");
            manifest = describe(&manifest, &format!("/layers/{number}"), b"");
        }
        [config, manifest, describe(&self.index, "/manifests/0", b"")]
    }

    /// Returns the sealed image with the bytes of `changed`, another sealed image, wherever
    /// more differs in them than what sealing sets; and what names those bytes to a reader.
    ///
    /// `None` where only bytes differ that no digest names.
    pub(crate) fn unsealed(&mut self, changed: &mut Self) -> Option<(Written, Vec<String>)> {
        let mut written = self.seal();
        let other = changed.seal();
        if self.layers.len() != changed.layers.len() || self.nested != changed.nested {
            return None;
        }
        let layers = self.layers.len();
        let mut names = Vec::new();
        let blanked = self.blanked().into_iter().zip(changed.blanked());
        let differs: Vec<bool> = blanked.map(|(one, other)| one != other).collect();
        for (position, (name, bytes)) in written.blobs.iter_mut().enumerate() {
            let is_changed = match position.checked_sub(layers) {
                None => *name != other.blobs[position].0,
                Some(document) => differs[document],
            };
            if is_changed {
                names.push(match position.checked_sub(layers) {
                    None => called(position),
                    Some(0) => "config".to_owned(),
                    Some(_) => name.clone(),
                });
                bytes.clone_from(&other.blobs[position].1);
            }
        }
        (!names.is_empty()).then_some((written, names))
    }
}

impl Written {
    /// Writes the layout.
    pub(crate) fn write(&self, directory: &Path) {
        let blobs = directory.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        fs::write(
            directory.join("oci-layout"),
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        )
        .unwrap();
        fs::write(directory.join("index.json"), &self.index_json).unwrap();
        for (name, bytes) in &self.blobs {
            fs::write(blobs.join(name.strip_prefix("sha256:").unwrap()), bytes).unwrap();
        }
    }
}

/// Returns the document with the descriptor at `pointer` naming these bytes.
fn describe(document: &str, pointer: &str, bytes: &[u8]) -> String {
    let named = json::set(
        document,
        &format!("{pointer}/digest"),
        &format!("{:?}", digest(bytes)),
    );
    let sized = json::set(&named, &format!("{pointer}/size"), &bytes.len().to_string());
    if json::at(&sized, &format!("{pointer}/data")).is_some() {
        use base64::prelude::{BASE64_STANDARD, Engine as _};
        let data = format!("{:?}", BASE64_STANDARD.encode(bytes));
        return json::set(&sized, &format!("{pointer}/data"), &data);
    }
    sized
}

/// Returns the published busybox, its layer packed anew; `None` without test data.
pub(crate) fn busybox() -> Option<Image> {
    let layout = support::test_image("busybox-1.37.0-glibc-amd64")?;
    let index = fs::read_to_string(layout.join("index.json")).unwrap();
    let blob = |document: &str, pointer: &str| {
        let digest: String = serde_json::from_str(json::at(document, pointer).unwrap()).unwrap();
        fs::read(layout.join("blobs/sha256").join(&digest["sha256:".len()..])).unwrap()
    };
    let manifest = String::from_utf8(blob(&index, "/manifests/0/digest")).unwrap();
    let config = String::from_utf8(blob(&manifest, "/config/digest")).unwrap();
    let layer = blob(&manifest, "/layers/0/digest");
    let mut image = Image {
        layers: vec![Layer {
            archive: Archive::parse(&inflate(&layer)),
            blob: None,
        }],
        config,
        manifest,
        index,
        nested: false,
    };
    image.seal();
    Some(image)
}

/// Returns Alpine's root file system as an image of one layer; `None` without test data.
pub(crate) fn alpine() -> Option<Image> {
    let tarball = support::test_image("alpine/alpine-minirootfs-3.20.3-x86_64.tar.gz")?;
    let tar = inflate(&fs::read(tarball).unwrap());
    Some(Image::plain(vec![Layer {
        archive: Archive::parse(&tar),
        blob: None,
    }]))
}

fn inflate(gzip: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(gzip), &mut bytes).unwrap();
    bytes
}

/// Returns an image of three layers with one of everything that an image can have.
pub(crate) fn synthetic() -> Image {
    let long = format!(
        "usr/share/{}/{}",
        "a-long-folder-name/".repeat(6),
        "a-long-file-name"
    );
    let sparse_content = {
        // GNU sparse format 1.0: the map of two pieces, in a block, then the pieces.
        let mut content = b"2\n0\n512\n4096\n512\n".to_vec();
        content.resize(512, 0);
        content.extend([b'1'; 512]);
        content.extend([b'2'; 512]);
        content
    };
    let base = vec![
        Member::directory("bin/"),
        Member::file("bin/tool", b"a program\n").with_mode(0o755),
        Member::file("bin/su", b"sets its owner\n").with_mode(0o4755),
        Member::file("bin/ping", b"has a capability\n")
            .with_mode(0o755)
            .with_pax(&[(
                "SCHILY.xattr.security.capability",
                &[
                    1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                ],
            )]),
        Member::link(b'1', "bin/tool-alias", "bin/tool").with_mode(0o755),
        Member::link(b'1', "bin/tool-other", "bin/tool").with_mode(0o755),
        Member::directory("dev/"),
        Member::new(b'3', "dev/null").with_mode(0o666),
        Member::new(b'4', "dev/loop0").with_mode(0o660),
        Member::new(b'6', "dev/initctl"),
        Member::directory("etc/"),
        Member::file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n"),
        Member::file("etc/shadow", b"root:*:19000:0:99999:7:::\n").with_mode(0o640),
        Member::file("etc/hostname", b"build-7f3a\n"),
        Member::file("etc/removed", b"a secret of the builder\n"),
        Member::file("etc/overwritten", b"first\n"),
        Member::link(b'2', "etc/mtab", "../proc/mounts"),
        Member::file("etc/stamp", b"a time with nanoseconds\n")
            .with_pax(&[("mtime", b"1700000000.123456789")]),
        Member::directory("lib/"),
        Member::file("lib/libc.so", &[0x7f; 1500]).with_mode(0o755),
        Member::link(b'2', "lib/libc.so.6", "libc.so"),
        Member::directory("tmp/").with_mode(0o1777),
        Member::directory("usr/"),
        Member::directory("usr/share/"),
        Member::file(&long, b"found by a PAX record\n"),
        Member::file("usr/share/sparse", &sparse_content).with_pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"usr/share/sparse"),
            ("GNU.sparse.realsize", b"8192"),
        ]),
        Member::file("usr/share/empty", b""),
        Member::directory("var/"),
        Member::directory("var/cache/"),
        Member::file("var/cache/old", b"what a later layer makes opaque\n"),
        Member::file("var/cache/older", b"this too\n"),
    ];
    let middle = vec![
        Member::directory("etc/"),
        Member::file("etc/.wh.removed", b""),
        Member::file("etc/overwritten", b"second\n"),
        Member::directory("var/"),
        Member::directory("var/cache/"),
        Member::file("var/cache/.wh..wh..opq", b""),
        Member::file("var/cache/new", b"new\n"),
        Member::directory("srv/"),
        Member::file("srv/index.html", b"<p>here\n"),
    ];
    let last = vec![
        Member::directory("app/"),
        Member::file("app/run", b"#!/bin/sh\nexec /bin/tool\n").with_mode(0o755),
        Member::file("app/data", &[b'.'; 700]),
        Member::link(b'2', "app/current", "data"),
        Member::file("etc/overwritten", b"third\n"),
    ];
    let layers = vec![Layer::new(base), Layer::new(middle), Layer::new(last)];
    let mut image = Image::plain(layers);
    CONFIG.clone_into(&mut image.config);
    MANIFEST.clone_into(&mut image.manifest);
    INDEX.clone_into(&mut image.index);
    image.nested = true;
    image.seal();
    image
}

const CONFIG: &str = r##"{
  "architecture": "amd64",
  "author": "An Author",
  "config": {
    "Hostname": "0123456789ab",
    "Domainname": "",
    "User": "app",
    "AttachStdin": false,
    "ExposedPorts": {"80/tcp": {}},
    "Env": ["PATH=/usr/bin:/bin", "MODE=plain"],
    "Cmd": ["--serve"],
    "Healthcheck": {"Test": ["CMD", "/app/check"], "Interval": 30000000000},
    "Image": "sha256:5535fda0356bb3eff348b2f618314a47946d7ccfbeb880b3fc910dd7375ae140",
    "Volumes": {"/data": {}},
    "WorkingDir": "/app",
    "Entrypoint": ["/app/run"],
    "OnBuild": ["RUN true"],
    "Labels": {"org.opencontainers.image.title": "synthetic", "stage": "one"},
    "StopSignal": "SIGTERM",
    "Shell": ["/bin/sh", "-c"]
  },
  "container": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
  "container_config": {"Hostname": "0123456789ab", "Cmd": ["/bin/sh", "-c", "#(nop) CMD"]},
  "created": "2024-01-01T00:00:00Z",
  "docker_version": "20.10.23",
  "history": [
    {"created": "2024-01-01T00:00:00Z", "created_by": "ADD rootfs.tar.gz / # buildkit", "comment": "buildkit.dockerfile.v0"},
    {"created": "2024-01-01T00:00:00Z", "created_by": "RUN true"},
    {"created": "2024-01-01T00:00:00Z", "created_by": "COPY app /app", "author": "An Author"},
    {"created": "2024-01-01T00:00:00Z", "created_by": "CMD [\"--serve\"]", "empty_layer": true}
  ],
  "os": "linux",
  "rootfs": {"type": "layers", "diff_ids": ["", "", ""]}
}
"##;

const MANIFEST: &str = r#"{
  "schemaVersion": 2,
  "mediaType": "application/vnd.oci.image.manifest.v1+json",
  "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "", "size": 0},
  "layers": [
    {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": "", "size": 0},
    {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": "", "size": 0},
    {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": "", "size": 0}
  ],
  "annotations": {"org.opencontainers.image.created": "2024-01-01T00:00:00Z"}
}
"#;

/// Beside the image an image for another platform and an attestation, neither of which is there.
const INDEX: &str = r#"{
  "schemaVersion": 2,
  "mediaType": "application/vnd.oci.image.index.v1+json",
  "manifests": [
    {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "", "size": 0, "platform": {"architecture": "amd64", "os": "linux"}},
    {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha256:a815f2ceb3b0c8e16829cfa5c6b5a96dad4d17f5e35be3d52ee81ce2e3cc0ced", "size": 453, "platform": {"architecture": "arm64", "os": "linux", "variant": "v8"}},
    {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha256:b73bf02f32434c9be21adf83b9aedf33e731784d8d2dacbbd3ce5f4993f2a2de", "size": 1021, "platform": {"architecture": "unknown", "os": "unknown"}, "annotations": {"vnd.docker.reference.digest": "sha256:b73bf02f32434c9be21adf83b9aedf33e731784d8d2dacbbd3ce5f4993f2a2de", "vnd.docker.reference.type": "attestation-manifest"}}
  ],
  "annotations": {"org.opencontainers.image.ref.name": "1.0"}
}
"#;
