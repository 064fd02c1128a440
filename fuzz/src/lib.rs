//! What must hold for any bytes that come from outside.
//!
//! The fuzz targets call these with what libFuzzer finds, and `tests/it/fuzz_seeds.rs`
//! with seeds that it changes at random.

use std::{
    collections::BTreeMap,
    fmt::{Debug, Display},
    io::{Cursor, Read},
    str::FromStr,
};

use reprove::{
    compare::content::{self, Change, Content, Limits},
    digest::{DiffId, Digest},
    explain,
    image::{
        Compression, EntryPath, Error, Image, ImageName, Platform,
        layer::scan_reader,
        layout::{self, Files},
        overlay::FileSystem,
    },
    inventory::{self, Inventory},
    pair::Pair,
    progress::Silent,
    recipe::{Recipe, lockfile::Lockfile},
};

/// Reads a layer's blob.
pub fn tar(bytes: &[u8]) {
    let scanned = scan_reader(bytes, "layer 0", &Silent);
    let layer = match scanned {
        Ok(layer) => layer,
        Err(error) => {
            assert!(error.to_string().contains("layer 0"), "{error}");
            return;
        }
    };
    assert_eq!(layer.digest, Digest::of(bytes));
    assert_eq!(layer.size, bytes.len() as u64);
    if layer.compression == Compression::None {
        assert_eq!(layer.diff_id, DiffId::of(bytes));
        assert_eq!(layer.uncompressed_size, bytes.len() as u64);
    }
    for entry in &layer.entries {
        let path = entry.path.as_bytes();
        assert!(!path.starts_with(b"/") && !path.ends_with(b"/"));
        assert!(
            path.split(|&byte| byte == b'/')
                .all(|part| part != b".." && part != b".")
        );
    }
    // Too many implied directories is the only reason why there may be none.
    if let Ok(system) = FileSystem::flatten(&[&layer, &layer]) {
        for (path, node) in system.paths() {
            assert_eq!(system.at(path), Some(node));
        }
    }
    assert_eq!(scan_reader(bytes, "layer 0", &Silent).unwrap(), layer);
}

/// Compares two files; the first two bytes say how long the first is.
pub fn content(bytes: &[u8]) {
    let Some((length, bytes)) = bytes.split_first_chunk() else {
        return;
    };
    let length = usize::from(u16::from_le_bytes(*length)).min(bytes.len());
    let (published, rebuilt) = bytes.split_at(length);
    let bytes = Pair::new(published, rebuilt);
    let limits = Limits {
        depth: 4,
        parts: 30,
        bytes: 4 << 20,
    };
    let mut left = limits;
    let content = content::content(b"", bytes, &mut left);
    let is_empty = content.parts.is_empty() && content.left_out == 0;
    assert_eq!(is_empty, published == rebuilt);
    assert_eq!(parts(&content), limits.parts - left.parts);
    let other = content::content(b"", bytes.swapped(), &mut { limits });
    assert_eq!(parts(&other), parts(&content));
    if is_empty {
        return;
    }
    let inventory = Inventory::default();
    for path in ["usr/bin/a", "usr/share/man/man1/a.1.gz", "a.pyc"] {
        explain::examine(&explain::File {
            path: &EntryPath::of(path.as_bytes()),
            bytes,
            content: &content,
            inventories: Pair::new(&inventory, &inventory),
        });
    }
}

/// Where package databases lie.
const DATABASES: [&str; 7] = [
    "var/lib/rpm/Packages",
    "usr/lib/sysimage/rpm/Packages.db",
    "var/lib/rpm/rpmdb.sqlite",
    "var/lib/dnf/history.sqlite",
    "var/lib/dpkg/status",
    "var/lib/dpkg/info/a.list",
    "lib/apk/db/installed",
];

/// Returns what [`inventory`] starts from: the database of this path.
pub fn database(path: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    let which = DATABASES.iter().position(|other| *other == path)?;
    Some([&[u8::try_from(which).ok()?], bytes].concat())
}

/// Reads a package database; the first byte says which.
pub fn inventory(bytes: &[u8]) {
    let Some((&which, bytes)) = bytes.split_first() else {
        return;
    };
    let path = DATABASES[usize::from(which) % DATABASES.len()];
    let path = EntryPath::of(path.as_bytes());
    let read = Inventory::read(&[(path.clone(), bytes.to_vec())].into());
    assert_eq!(inventory::drift(Pair::new(&read, &read)), []);
    assert!(read.packages().len() <= bytes.len());
    let mut other = bytes.to_vec();
    if let Some(last) = other.last_mut() {
        *last ^= 1;
    }
    explain::examine(&explain::File {
        path: &path,
        bytes: Pair::new(bytes, &other),
        content: &content::content(
            path.as_bytes(),
            Pair::new(bytes, &other),
            &mut Limits::default(),
        ),
        inventories: Pair::new(&read, &read),
    });
}

/// Returns how many parts are listed, those inside of others included.
fn parts(content: &Content) -> usize {
    let inside = content.parts.iter().map(|part| match &part.change {
        Change::Inside { content } => parts(content),
        Change::Value { .. } | Change::Lines { .. } | Change::Bytes { .. } => 0,
    });
    content.parts.len() + inside.sum::<usize>()
}

/// Files by their paths.
struct Memory(BTreeMap<String, Vec<u8>>);

impl Files for Memory {
    fn open(&self, path: &str) -> Result<Box<dyn Read + Send>, Error> {
        let bytes = self.0.get(path).ok_or_else(|| Error::File {
            path: path.to_owned(),
            source: std::io::ErrorKind::NotFound.into(),
        })?;
        Ok(Box::new(Cursor::new(bytes.clone())))
    }
}

impl Memory {
    /// Adds a blob and returns its descriptor.
    fn blob(&mut self, kind: &str, bytes: &[u8]) -> String {
        let digest = Digest::of(bytes);
        self.0
            .insert(format!("blobs/sha256/{}", digest.hex()), bytes.to_vec());
        let kind = format!("application/vnd.oci.image.{kind}");
        format!(
            r#"{{"mediaType":"{kind}","digest":"{digest}","size":{}}}"#,
            bytes.len()
        )
    }

    fn index(&mut self, manifest: &[u8]) -> Vec<u8> {
        let manifest = self.blob("manifest.v1+json", manifest);
        format!(r#"{{"schemaVersion":2,"manifests":[{manifest}]}}"#).into_bytes()
    }

    fn manifest(&mut self, config: &[u8]) -> Vec<u8> {
        let layer = self.blob("layer.v1.tar", &[0; 1024]);
        let config = self.blob("config.v1+json", config);
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]}}"#).into_bytes()
    }
}

/// A config of one layer that is an empty archive.
pub const CONFIG: &str = r#"{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"]}}"#;

/// Returns the documents of a right layout: what `image_json` starts from.
pub fn documents() -> [Vec<u8>; 3] {
    let mut files = Memory(BTreeMap::new());
    let manifest = files.manifest(CONFIG.as_bytes());
    let index = files.index(&manifest);
    [index, manifest, CONFIG.into()]
}

/// Reads an index (first byte 0), a manifest (1) or a config (2).
pub fn image_json(bytes: &[u8]) {
    let Some((kind, document)) = bytes.split_first() else {
        return;
    };
    let mut files = Memory(BTreeMap::new());
    let manifest = files.manifest(CONFIG.as_bytes());
    let right = files.index(&manifest);
    let index = match kind % 3 {
        0 => document.to_vec(),
        1 => files.index(document),
        _ => {
            let manifest = files.manifest(document);
            files.index(&manifest)
        }
    };
    files.0.insert("index.json".into(), index.clone());
    files.0.insert(
        "oci-layout".into(),
        br#"{"imageLayoutVersion":"1.0.0"}"#.into(),
    );
    let name: ImageName = "oci:memory".parse().expect("this is a name");
    let image = match layout::from_files(Box::new(files), name, None) {
        Ok(image) => image,
        Err(error) => {
            assert!(index != right, "{error}");
            return;
        }
    };
    serde_json::from_slice::<serde_json::Value>(document).expect("what was read is JSON");
    let served = image.index().expect("a layout has one");
    assert_eq!((&served.bytes, served.digest), (&index, Digest::of(&index)));
    let manifest = image.manifest().expect("a layout has one");
    assert_eq!(manifest.digest, Digest::of(&manifest.bytes));
    let config = image.config();
    assert_eq!(config.digest, Digest::of(&config.bytes));
    match kind % 3 {
        0 => {}
        1 => assert_eq!(manifest.bytes, document),
        _ => assert_eq!(config.bytes, document),
    }
    let parsed = config.parse("the config").expect("it was parsed before");
    assert_eq!(parsed.diff_ids.len(), image.layer_count());
    for layer in 0..image.layer_count() {
        assert!(image.layer_descriptor(layer).is_some());
        // Blobs that the documents name may not be there.
        if let Ok(layer) = image.layer(layer, &Silent) {
            assert!(parsed.diff_ids.contains(&layer.diff_id));
        }
    }
}

/// Reads a recipe.
pub fn recipe(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let recipe = match Recipe::parse(text, "recipe") {
        Ok(recipe) => recipe,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    assert_eq!(recipe.text(), text);
    assert!(!recipe.name().is_empty());
    let again = Recipe::parse(recipe.text(), "recipe").expect("it was read before");
    assert_eq!(format!("{again:?}"), format!("{recipe:?}"));
    let platform: Platform = "linux/amd64".parse().expect("this is a platform");
    for platform in recipe.platforms().chain([&platform]) {
        for tag in [None, Some("latest"), Some("3.20.3-slim")] {
            if let Err(error) = recipe.for_platform(platform, tag, &BTreeMap::new()) {
                assert!(!error.to_string().is_empty());
            }
        }
    }
}

/// Reads a lock.
pub fn lock(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let lock = match Lockfile::parse(text, "lock") {
        Ok(lock) => lock,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let written = lock.to_string();
    let again = Lockfile::parse(&written, "lock").expect("what is written can be read");
    assert_eq!(again, lock, "{written}");
    for locked in lock.platforms.values() {
        for pin in locked.package_pins().into_iter().chain(locked.index_pins()) {
            assert!(!pin.places.is_empty());
        }
    }
    for pin in lock.file_pins() {
        assert!(!pin.places.is_empty());
    }
}

/// Reads a Dockerfile.
pub fn dockerfile(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let lines = text.split('\n').count();
    match reprove::rebuild::instructions(text) {
        Ok(count) => assert!(count <= lines, "{count} instructions on {lines} lines"),
        Err(error) => assert!(
            (1..=lines).contains(&error.line),
            "{error}, of {lines} lines"
        ),
    }
}

/// Reads names.
pub fn reference(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    round_trip::<ImageName>(text);
    round_trip::<Platform>(text);
    round_trip::<Digest>(text);
    round_trip::<DiffId>(text);
}

fn round_trip<T: FromStr<Err: Display> + Display + PartialEq + Debug>(text: &str) {
    match text.parse::<T>() {
        Ok(value) => {
            let written = value.to_string();
            match written.parse::<T>() {
                Ok(again) => assert_eq!(again, value, "{text:?} is written as {written:?}"),
                Err(error) => panic!("{text:?} is written as {written:?}: {error}"),
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
