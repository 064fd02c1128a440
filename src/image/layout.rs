//! OCI layouts: `oci-layout`, `index.json` and `blobs/`, wherever these files lie.
//!
//! In a directory, in a tar or in a git tree: whatever can open a file by its
//! path is a [`Files`]. Blobs may be symbolic links, as Docker's official debian
//! has them. See OCI image-spec `image-layout.md`.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::PathBuf,
};

use serde::Deserialize;

use super::{
    Descriptor, Error, ImageName, Platform,
    json::{self, Document},
    manifest::{MAX_MANIFEST, MediaType, Served},
    pinned::{Blobs, Contents, PinnedImage, Root, read_limited},
    reference::Selection,
};

/// Something that has files under paths, such as a directory.
pub trait Files: Send + Sync {
    /// Opens the regular file at `path`, which is relative and has `/` in it.
    ///
    /// Symbolic links are followed. Fails with [`Error::File`] where there is
    /// none; nothing is checked of what it holds.
    fn open(&self, path: &str) -> Result<Box<dyn Read + Send>, Error>;
}

/// An image in an OCI layout.
pub type LayoutImage = PinnedImage;

/// The blobs of a layout.
struct LayoutBlobs(Box<dyn Files>);

/// A directory.
#[derive(Debug, Clone)]
pub struct Directory(pub PathBuf);

/// The largest `oci-layout` file that is read, in bytes; it has one short field.
const MAX_OCI_LAYOUT: u64 = 64 << 10;

#[derive(Deserialize)]
struct OciLayout {
    #[serde(rename = "imageLayoutVersion")]
    version: String,
}

impl Files for Directory {
    fn open(&self, path: &str) -> Result<Box<dyn Read + Send>, Error> {
        let path = self.0.join(path);
        let error = |source| Error::File {
            path: path.display().to_string(),
            source,
        };
        // Opening a pipe would wait for a writer.
        if !fs::metadata(&path).map_err(error)?.is_file() {
            return Err(error(io::Error::other("it is not a regular file")));
        }
        Ok(Box::new(File::open(&path).map_err(error)?))
    }
}

/// Returns the image that `name` selects of the layout in `files`.
///
/// `name` says which image is meant, by tag or digest, and how it is called in
/// errors and reports; its path is not looked at. `platform` chooses where the
/// layout has several; without one, the only image is taken whatever it is for,
/// and of several the one for this machine.
///
/// [`Image::index`](super::Image::index) is the outermost index that a digest
/// names; where there is none, it is `index.json` itself, whose digest is a hash
/// of a table of contents and identifies no image.
pub fn from_files(
    files: Box<dyn Files>,
    name: ImageName,
    platform: Option<&Platform>,
) -> Result<LayoutImage, Error> {
    let selection = match &name {
        ImageName::Layout { selection, .. } | ImageName::OciArchive { selection, .. } => {
            selection.clone()
        }
        ImageName::Registry(_) | ImageName::DockerArchive { .. } | ImageName::Listing { .. } => {
            Selection::default()
        }
    };
    read(files, name, &selection, platform)
}

fn read(
    files: Box<dyn Files>,
    name: ImageName,
    selection: &Selection,
    platform: Option<&Platform>,
) -> Result<LayoutImage, Error> {
    let what = format!("oci-layout of {name}");
    let bytes = read_limited(&what, files.open("oci-layout")?, MAX_OCI_LAYOUT)?;
    let layout: OciLayout = json::parse(Document::Layout, &what, &bytes)?;
    // The specification has only ever had this version; a reader must not guess at others.
    if layout.version != "1.0.0" {
        return Err(Error::Invalid {
            what,
            problem: format!("states version {:?}, only 1.0.0 is known", layout.version),
        });
    }
    let what = format!("index.json of {name}");
    let bytes = read_limited(&what, files.open("index.json")?, MAX_MANIFEST)?;
    let served = Served::parse(
        &what,
        &bytes,
        Some(&MediaType(MediaType::OCI_INDEX.to_owned())),
    )?;
    let root = Root {
        what,
        bytes,
        served,
        contents: Contents::OfLayout,
    };
    PinnedImage::pin(
        name,
        Box::new(LayoutBlobs(files)),
        root,
        selection,
        platform,
    )
}

impl Blobs for LayoutBlobs {
    fn open_manifest(
        &self,
        what: &str,
        descriptor: &Descriptor,
    ) -> Result<Box<dyn Read + Send + '_>, Error> {
        self.open_blob(what, descriptor, &[])
    }

    fn open_blob(
        &self,
        _what: &str,
        descriptor: &Descriptor,
        _urls: &[String],
    ) -> Result<Box<dyn Read + Send + '_>, Error> {
        let path = format!("blobs/sha256/{}", descriptor.digest.hex());
        self.0
            .open(&path)
            .map(|reader| reader as Box<dyn Read + Send + '_>)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fmt::Write as _};

    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use serde_json::{Value, json};

    use super::*;
    use crate::{digest::Digest, image::Image as _};

    /// A layout held in memory.
    #[derive(Clone, Default)]
    struct Sample(BTreeMap<String, Vec<u8>>);

    impl Files for Sample {
        fn open(&self, path: &str) -> Result<Box<dyn Read + Send>, Error> {
            let bytes = self.0.get(path).cloned().ok_or_else(|| Error::File {
                path: path.to_owned(),
                source: io::ErrorKind::NotFound.into(),
            })?;
            Ok(Box::new(io::Cursor::new(bytes)))
        }
    }

    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

    impl Sample {
        /// Adds a blob and returns its descriptor.
        fn blob(&mut self, media_type: &str, bytes: &[u8]) -> Value {
            let digest = Digest::of(bytes);
            self.0
                .insert(format!("blobs/sha256/{}", digest.hex()), bytes.to_vec());
            json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
        }

        /// Adds an image of one layer that holds `content`, and returns the manifest's descriptor.
        fn image(&mut self, platform: &str, content: &str) -> Value {
            let layer = self.blob("application/vnd.oci.image.layer.v1.tar", content.as_bytes());
            let platform: Platform = platform.parse().unwrap();
            let config = json!({
                "os": platform.os, "architecture": platform.architecture, "variant": platform.variant,
                "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
            });
            let config = self.blob(
                "application/vnd.oci.image.config.v1+json",
                config.to_string().as_bytes(),
            );
            self.manifest(&json!({ "schemaVersion": 2, "config": config, "layers": [layer] }))
        }

        fn manifest(&mut self, manifest: &Value) -> Value {
            self.blob(MANIFEST, manifest.to_string().as_bytes())
        }

        fn index(&mut self, entries: &[Value]) -> Value {
            let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
            self.blob(INDEX, index.to_string().as_bytes())
        }

        fn read_as(
            &self,
            entries: &[Value],
            name: &str,
            platform: Option<&str>,
        ) -> Result<LayoutImage, Error> {
            let mut files = self.clone();
            files
                .0
                .entry("oci-layout".into())
                .or_insert(br#"{"imageLayoutVersion":"1.0.0"}"#.into());
            let index = json!({ "schemaVersion": 2, "manifests": entries });
            files
                .0
                .entry("index.json".into())
                .or_insert(index.to_string().into());
            let platform = platform.map(|platform| platform.parse().unwrap());
            from_files(Box::new(files), name.parse().unwrap(), platform.as_ref())
        }

        /// Returns the content of the layer that is found, or the error.
        fn read(&self, entries: &[Value], platform: Option<&str>) -> String {
            content(self.read_as(entries, "oci:x", platform))
        }
    }

    fn content(image: Result<LayoutImage, Error>) -> String {
        let mut content = String::new();
        match image.and_then(|image| {
            image
                .open(0)?
                .read_to_string(&mut content)
                .map_err(|error| super::super::pinned::from_io("layer", error))
        }) {
            Ok(_) => content,
            Err(error) => {
                let mut text = error.to_string();
                let mut cause = std::error::Error::source(&error);
                while let Some(error) = cause {
                    write!(text, ": {error}").unwrap();
                    cause = error.source();
                }
                text
            }
        }
    }

    /// Returns `descriptor` with `changes` merged into it.
    fn with(mut descriptor: Value, changes: &Value) -> Value {
        for (key, value) in changes.as_object().unwrap() {
            descriptor[key] = value.clone();
        }
        descriptor
    }

    fn on(platform: &str, descriptor: Value) -> Value {
        let platform: Vec<&str> = platform.split('/').collect();
        let mut stated = json!({ "os": platform[0], "architecture": platform[1] });
        if let Some(variant) = platform.get(2) {
            stated["variant"] = json!(variant);
        }
        with(descriptor, &json!({ "platform": stated }))
    }

    fn tagged(tag: &str, descriptor: Value) -> Value {
        with(
            descriptor,
            &json!({ "annotations": { "org.opencontainers.image.ref.name": tag } }),
        )
    }

    #[test]
    fn the_only_image_is_taken_whatever_it_is_for_unless_a_platform_is_asked_for() {
        let mut sample = Sample::default();
        let image = sample.image("linux/s390x", "the layer");
        assert_eq!(sample.read(std::slice::from_ref(&image), None), "the layer");
        assert_eq!(
            sample.read(&[on("linux/s390x", image.clone())], None),
            "the layer"
        );
        assert_eq!(
            sample.read(&[image.clone(), tagged("a", image.clone())], None),
            "the layer"
        );
        assert_eq!(
            sample.read(&[image], Some("linux/amd64")),
            "oci:x has no image for linux/amd64; it has linux/s390x"
        );
    }

    #[test]
    fn an_image_is_chosen_by_platform_through_nested_indexes() {
        let mut sample = Sample::default();
        let amd64 = on("linux/amd64", sample.image("linux/amd64", "amd64"));
        let arm64 = on("linux/arm64/v8", sample.image("linux/arm64/v8", "arm64"));
        let v6 = on("linux/arm/v6", sample.image("linux/arm/v6", "v6"));
        let v7 = on("linux/arm/v7", sample.image("linux/arm/v7", "v7"));
        let attestation = with(
            on(
                "unknown/unknown",
                sample.image("unknown/unknown", "attestation"),
            ),
            &json!({ "annotations": { "vnd.docker.reference.type": "attestation-manifest" } }),
        );
        let inner = sample.index(&[amd64, arm64, v6, v7, attestation]);
        let inner_digest = inner["digest"].clone();
        let outer = sample.index(std::slice::from_ref(&inner));
        for (platform, chosen) in [
            ("linux/amd64", "amd64"),
            ("linux/arm64", "arm64"),
            ("linux/arm/v6", "v6"),
            ("linux/arm", "v7"),
            (
                "linux/riscv64",
                "oci:x has no image for linux/riscv64; it has linux/amd64, linux/arm/v6, linux/arm/v7, linux/arm64/v8",
            ),
        ] {
            assert_eq!(
                sample.read(std::slice::from_ref(&inner), Some(platform)),
                chosen,
                "{platform}"
            );
            assert_eq!(
                sample.read(std::slice::from_ref(&outer), Some(platform)),
                chosen,
                "{platform}"
            );
        }
        let image = sample
            .read_as(&[inner], "oci:x", Some("linux/amd64"))
            .unwrap();
        assert_eq!(image.index().unwrap().digest.to_string(), inner_digest);
        let image = sample
            .read_as(std::slice::from_ref(&outer), "oci:x", Some("linux/amd64"))
            .unwrap();
        assert_eq!(image.index().unwrap().digest.to_string(), outer["digest"]);
    }

    #[test]
    fn what_would_run_must_be_settled() {
        let mut sample = Sample::default();
        let one = sample.image("linux/amd64", "one");
        let two = sample.image("linux/amd64", "two");
        let digests = |mut digests: Vec<&Value>| {
            digests.sort_by_key(|digest| digest.as_str().unwrap().to_owned());
            digests
                .iter()
                .map(|digest| digest.as_str().unwrap())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let both = digests(vec![&one["digest"], &two["digest"]]);
        let ambiguous =
            format!("oci:x has 2 images for linux/amd64, so what would run is not settled: {both}");
        let unknown = format!(
            "oci:x has runnable images marked unknown/unknown, so what would run is not settled: {}",
            two["digest"].as_str().unwrap()
        );
        let amd64 = Some("linux/amd64");
        let one = on("linux/amd64", one);
        let annotated = |descriptor| {
            with(
                descriptor,
                &json!({ "annotations": { "vnd.docker.reference.type": "attestation-manifest" } }),
            )
        };
        let nested = sample.index(&[on("linux/amd64", two.clone())]);
        let cases = [
            ("stated", on("linux/amd64", two.clone()), ambiguous.as_str()),
            (
                "by another name",
                on("linux/x86_64/v1", two.clone()),
                &ambiguous,
            ),
            ("unstated", two.clone(), &ambiguous),
            ("nested", nested, &ambiguous),
            (
                "annotated as an attestation, with a platform",
                annotated(on("linux/amd64", two.clone())),
                &ambiguous,
            ),
            (
                "marked unknown",
                on("unknown/unknown", two.clone()),
                &unknown,
            ),
            (
                "attestation",
                annotated(on("unknown/unknown", two.clone())),
                "one",
            ),
            ("other variant", on("linux/amd64/v3", two), "one"),
            ("the same twice", one.clone(), "one"),
        ];
        for (case, other, result) in cases {
            assert_eq!(
                sample.read(&[one.clone(), other.clone()], amd64),
                result,
                "{case}"
            );
            assert_eq!(sample.read(&[other, one.clone()], amd64), result, "{case}");
        }
    }

    #[test]
    fn one_of_several_images_is_taken_by_tag_or_digest() {
        let mut sample = Sample::default();
        let one = tagged("one:1", sample.image("linux/amd64", "one"));
        let two = tagged("two", sample.image("linux/amd64", "two"));
        let digest = two["digest"].as_str().unwrap();
        let absent = Digest::of(b"absent");
        for (name, result) in [
            ("oci:x:one:1".to_owned(), "one".to_owned()),
            ("oci:x:two".to_owned(), "two".to_owned()),
            (format!("oci:x@{digest}"), "two".to_owned()),
            (format!("oci:x:two@{digest}"), "two".to_owned()),
            (
                format!("oci:x:one:1@{digest}"),
                format!(
                    "index.json of oci:x:one:1@{digest} has no image one:1 that is {digest}; it has one:1, two"
                ),
            ),
            (
                "oci:x:three".to_owned(),
                "index.json of oci:x:three has no image three; it has one:1, two".to_owned(),
            ),
            (
                format!("oci:x@{absent}"),
                format!("index.json of oci:x@{absent} does not name {absent}"),
            ),
            (
                "oci:x".to_owned(),
                "index.json of oci:x has several images; name one as oci:x:TAG: it has one:1, two"
                    .to_owned(),
            ),
        ] {
            let entries = [one.clone(), two.clone()];
            assert_eq!(
                content(sample.read_as(&entries, &name, None)),
                result,
                "{name}"
            );
        }
    }

    #[test]
    fn embedded_data_stands_for_the_blob_and_must_be_it() {
        let mut sample = Sample::default();
        let image = sample.image("linux/amd64", "layer");
        let digest: Digest = image["digest"].as_str().unwrap().parse().unwrap();
        let bytes = sample
            .0
            .remove(&format!("blobs/sha256/{}", digest.hex()))
            .unwrap();
        let embedding =
            |bytes: &[u8]| with(image.clone(), &json!({ "data": STANDARD.encode(bytes) }));
        let mut changed = bytes.clone();
        changed[9] ^= 1;
        let cases = [
            (embedding(&bytes), "layer".to_owned()),
            (embedding(&changed), format!("the data embedded for entry 1 of index.json of oci:x should be {digest} but is {}", Digest::of(&changed))),
            (embedding(&bytes[1..]), format!("the data embedded for entry 1 of index.json of oci:x should have {} bytes but has {}", bytes.len(), bytes.len() - 1)),
            (with(image.clone(), &json!({ "data": "?" })), "entry 1 of index.json of oci:x embeds data that is not base64: Invalid symbol 63, offset 0.".to_owned()),
        ];
        for (entry, result) in cases {
            assert_eq!(sample.read(&[entry], None), result);
        }
    }

    #[test]
    fn documents_that_cannot_be_right_are_refused_by_name() {
        let mut sample = Sample::default();
        let image = sample.image("linux/amd64", "layer");
        let manifest_of = |sample: &Sample, image: &Value| -> Value {
            let digest: Digest = image["digest"].as_str().unwrap().parse().unwrap();
            serde_json::from_slice(&sample.0[&format!("blobs/sha256/{}", digest.hex())]).unwrap()
        };
        let manifest = manifest_of(&sample, &image);
        let descriptor = |changes| with(manifest["layers"][0].clone(), &changes);
        let changed = |changes| with(manifest.clone(), &changes);
        let mut artifact = manifest.clone();
        artifact["config"]["mediaType"] = json!("application/vnd.oci.empty.v1+json");
        let manifests = [
            (
                changed(json!({ "layers": [descriptor(json!({ "size": -5 }))] })),
                "layer 1 of the manifest DIGEST of oci:x states a size of -5, which no blob has",
            ),
            (
                changed(json!({ "layers": [descriptor(json!({ "size": u64::MAX }))] })),
                "states a size of 18446744073709551615, which no blob has",
            ),
            (
                changed(json!({ "layers": [descriptor(json!({ "size": 1.0 }))] })),
                "states a size of 1.0, which no blob has",
            ),
            (
                changed(json!({ "layers": [descriptor(json!({ "size": 6 }))] })),
                "layer 1 of oci:x should have 6 bytes but has 5",
            ),
            (
                changed(json!({ "layers": [descriptor(json!({ "size": 4 }))] })),
                "layer 1 of oci:x should have 4 bytes but has more",
            ),
            (
                changed(json!({ "layers": [descriptor(json!({ "digest": "sha512:00" }))] })),
                "uses the algorithm sha512, only sha256 is supported",
            ),
            (
                changed(json!({ "layers": [descriptor(json!({ "digest": "sha256:00" }))] })),
                "names a digest that cannot be checked",
            ),
            (
                changed(
                    json!({ "layers": [descriptor(json!({ "digest": Digest::of(b"absent") }))] }),
                ),
                "entity not found",
            ),
            (
                changed(json!({ "layers": [] })),
                "the config of oci:x has 1 diffIDs for a manifest of 0 layers",
            ),
            (
                changed(json!({ "manifests": [] })),
                "has the fields of an index and of a manifest",
            ),
            (
                changed(json!({ "schemaVersion": 1 })),
                "does not say schemaVersion 2",
            ),
            (
                changed(json!({ "schemaVersion": 1, "fsLayers": [] })),
                "is of Docker's schema 1, which has no config and is not supported",
            ),
            (
                changed(json!({ "mediaType": INDEX })),
                "says it is application/vnd.oci.image.index.v1+json but was named as",
            ),
            (json!({ "schemaVersion": 2, "layers": [] }), "has no config"),
            (
                artifact,
                "is an artifact with a config of type \"application/vnd.oci.empty.v1+json\", not an image",
            ),
            (
                changed(
                    json!({ "layers": [descriptor(json!({ "mediaType": "application/vnd.in-toto+json" }))] }),
                ),
                "has a layer 1 of type \"application/vnd.in-toto+json\", which is no layer of an image",
            ),
        ];
        for (manifest, problem) in manifests {
            let mut sample = sample.clone();
            let entry = on("linux/amd64", sample.manifest(&manifest));
            let problem = problem.replace("DIGEST", entry["digest"].as_str().unwrap());
            let result = sample.read(&[entry], None);
            assert!(result.contains(&problem), "{problem}: {result}");
        }
        let cases = [
            (
                "oci-layout",
                r#"{"imageLayoutVersion":"2.0.0"}"#,
                "oci-layout of oci:x states version \"2.0.0\", only 1.0.0 is known",
            ),
            (
                "oci-layout",
                "{}",
                "oci-layout of oci:x is not valid: missing field `imageLayoutVersion`",
            ),
            (
                "index.json",
                r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#,
                r#"index.json of oci:x is not valid: key "manifests" is given twice"#,
            ),
            (
                "index.json",
                r#"{"schemaVersion":2,"manifests":null}"#,
                "index.json of oci:x has no images",
            ),
            (
                "index.json",
                r#"{"schemaVersion":2,"manifests":[]}"#,
                "index.json of oci:x has no images",
            ),
            ("index.json", "", "is not valid: EOF"),
        ];
        for (path, text, problem) in cases {
            let mut sample = sample.clone();
            sample.0.insert(path.into(), text.into());
            let result = sample.read(std::slice::from_ref(&image), None);
            assert!(result.contains(problem), "{problem}: {result}");
        }
        let huge = with(image.clone(), &json!({ "size": 5 << 20 }));
        let result = sample.read(&[huge], None);
        assert!(
            result.contains("is said to have 5242880 bytes; at most 4194304 are read"),
            "{result}"
        );
    }

    #[test]
    fn the_config_must_be_for_the_platform_that_was_chosen() {
        let mut sample = Sample::default();
        let arm64 = sample.image("linux/arm64", "arm64");
        assert_eq!(
            sample.read(&[on("linux/amd64", arm64)], Some("linux/amd64")),
            "the config of oci:x is for linux/arm64, but the index says linux/amd64"
        );
    }

    #[test]
    fn indexes_in_indexes_end() {
        let mut sample = Sample::default();
        let mut index = on("linux/amd64", sample.image("linux/amd64", "layer"));
        for _ in 0..20 {
            index = sample.index(&[index]);
        }
        assert_eq!(
            sample.read(&[index], None),
            "oci:x has indexes in indexes too deep to follow"
        );
        let image = sample.image("linux/s390x", "layer");
        let many = vec![image; 100];
        assert_eq!(
            sample.read(&many, Some("linux/amd64")),
            "oci:x has too many entries that do not say what they are"
        );
    }

    #[test]
    fn blobs_may_be_symbolic_links() {
        let mut sample = Sample::default();
        let image = sample.image("linux/amd64", "layer");
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("blobs/sha256")).unwrap();
        let index = json!({ "schemaVersion": 2, "manifests": [image] });
        sample.0.insert(
            "oci-layout".into(),
            br#"{"imageLayoutVersion":"1.0.0"}"#.into(),
        );
        sample
            .0
            .insert("index.json".into(), index.to_string().into());
        for (number, (path, bytes)) in sample.0.iter().enumerate() {
            if path.starts_with("blobs/") {
                let target = format!("file-{number}");
                fs::write(directory.path().join("blobs").join(&target), bytes).unwrap();
                std::os::unix::fs::symlink(format!("../{target}"), directory.path().join(path))
                    .unwrap();
            } else {
                fs::write(directory.path().join(path), bytes).unwrap();
            }
        }
        let name: ImageName = format!("oci:{}", directory.path().display())
            .parse()
            .unwrap();
        let read = from_files(Box::new(Directory(directory.path().to_owned())), name, None);
        assert_eq!(content(read), "layer");
    }
}
