//! What must hold for any bytes that come from outside.
//!
//! The fuzz targets call these with what libFuzzer finds, and `tests/it/fuzz_seeds.rs`
//! with seeds that it changes at random.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt::{Debug, Display},
    io::{Cursor, Read},
    str::FromStr,
};

use jiff::civil::Date;
use reprove::{
    compare::{
        Bearing, ConfigGrade, Equality,
        content::{self, Change, Content, Limits},
    },
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
    report::{self, Report, text::Detail},
    verdict::{Acceptance, Case, Claim, Evidence, Policy, Verdict, judge},
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

/// Compares two files that only their bytes tell; the first two bytes say how long the
/// first is.
pub fn content(bytes: &[u8]) {
    let causes = ["usr/bin/a", "usr/share/man/man1/a.1.gz", "a.pyc"];
    two_files("", &causes, bytes);
}

/// Where the files lie whose format their path tells, or whose cause looks at it.
pub const SYSTEM: [&str; 26] = [
    "etc/passwd",
    "etc/shadow",
    "etc/group-",
    "etc/gshadow",
    "etc/subuid",
    "var/lib/dpkg/status",
    "var/lib/dpkg/info/a.list",
    "lib/apk/db/installed",
    "lib/apk/db/scripts.tar",
    "etc/ld.so.cache",
    "etc/ssl/certs/java/cacerts",
    "etc/ssl/certs/ca-certificates.crt",
    "etc/ssl/certs/ssl-cert-snakeoil.pem",
    "etc/ssl/private/ssl-cert-snakeoil.key",
    "etc/ssh/ssh_host_ed25519_key",
    "etc/ssh/ssh_host_rsa_key.pub",
    "var/log/dpkg.log",
    "var/log/alternatives.log",
    "var/log/apt/history.log",
    "var/log/apt/term.log",
    "var/lib/apt/extended_states",
    "var/cache/debconf/config.dat",
    "var/cache/fontconfig/0-le64.cache-8",
    "var/cache/ldconfig/aux-cache",
    "var/lib/rpm/rpmdb.sqlite",
    "etc/machine-id",
];

/// Compares two files of a system; the first byte says which of [`SYSTEM`].
pub fn system(bytes: &[u8]) {
    let Some((number, bytes)) = bytes.split_first() else {
        return;
    };
    let path = SYSTEM[usize::from(*number) % SYSTEM.len()];
    two_files(path, &[path], bytes);
}

/// Compares two files at a path, and looks for a cause of it as if it lay at each of these.
fn two_files(path: &str, causes: &[&str], bytes: &[u8]) {
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
    let content = content::content(path.as_bytes(), bytes, &mut left);
    let is_empty = content.parts.is_empty() && content.left_out == 0;
    assert_eq!(is_empty, published == rebuilt);
    assert_eq!(parts(&content), limits.parts - left.parts);
    let other = content::content(path.as_bytes(), bytes.swapped(), &mut { limits });
    assert_eq!(parts(&other), parts(&content));
    if is_empty {
        return;
    }
    let inventory = Inventory::default();
    for path in causes {
        let examined = explain::examine(&explain::File {
            path: &EntryPath::of(path.as_bytes()),
            bytes,
            content: &content,
            inventories: Pair::new(&inventory, &inventory),
        });
        let is_told = |text: &str| !text.is_empty();
        if let Some(explanation) = &examined.explanation {
            assert!(is_told(&explanation.evidence), "{path}");
        }
        assert!(examined.tried.iter().all(|tried| is_told(&tried.refused)));
    }
}

/// The files of package databases.
pub const DATABASES: [&str; 9] = [
    "var/lib/dpkg/status",
    "var/lib/dpkg/status.d/a",
    "var/lib/dpkg/info/a.list",
    "var/lib/dpkg/info/a.md5sums",
    "lib/apk/db/installed",
    "var/lib/rpm/Packages",
    "var/lib/rpm/rpmdb.sqlite",
    "usr/lib/sysimage/rpm/Packages.db",
    "var/lib/dnf/history.sqlite",
];

/// Returns what [`inventory`] starts from: the database of this path.
pub fn database(path: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    let which = DATABASES.iter().position(|other| *other == path)?;
    Some([&[u8::try_from(which).ok()?], bytes].concat())
}

/// Reads a file of a package database; the first byte says which of [`DATABASES`].
pub fn inventory(bytes: &[u8]) {
    let Some((number, bytes)) = bytes.split_first() else {
        return;
    };
    let path = EntryPath::of(DATABASES[usize::from(*number) % DATABASES.len()].as_bytes());
    // dnf's history tells no files or packages: only the causes read it.
    let is_history = path.as_bytes() == b"var/lib/dnf/history.sqlite";
    assert_eq!(Inventory::wants(&path), !is_history, "{path}");
    // What lists files of a package says nothing without that package.
    let status = b"Package: a\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n";
    let mut files = BTreeMap::from([(EntryPath::of(b"var/lib/dpkg/status"), status.to_vec())]);
    files.insert(path.clone(), bytes.to_vec());
    let inventory = Inventory::read(&files);
    assert_eq!(
        format!("{inventory:?}"),
        format!("{:?}", Inventory::read(&files))
    );
    assert!(
        inventory
            .problems()
            .iter()
            .all(|problem| !problem.is_empty())
    );
    let packages = inventory.packages();
    assert!(packages.is_sorted_by_key(|package| (package.manager, &package.name)));
    assert_eq!(inventory::drift(Pair::new(&inventory, &inventory)), []);
    assert!(packages.len() <= bytes.len() + 1);
    let mut other = bytes.to_vec();
    if let Some(last) = other.last_mut() {
        *last ^= 1;
    }
    let sides = Pair::new(bytes, &*other);
    explain::examine(&explain::File {
        path: &path,
        bytes: sides,
        content: &content::content(path.as_bytes(), sides, &mut Limits::default()),
        inventories: Pair::new(&inventory, &inventory),
    });
    for line in bytes.split(|&byte| byte == b'\n').take(50) {
        let path = EntryPath::of(line);
        if let Some(owner) = inventory.owner(&path) {
            assert!(packages.contains(owner), "{path}");
        }
        if let Some(recorded) = inventory.recorded(&path) {
            assert!(!recorded.is_of(b"no file has these bytes"), "{path}");
        }
    }
}

/// Reads a report that was saved.
pub fn report(bytes: &[u8]) {
    let report = match report::read(bytes) {
        Ok(report) => report,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    for form in [
        |report: &Report| report::text::render(report, Detail::Brief),
        |report: &Report| report::text::render(report, Detail::Full),
        |report: &Report| report::markdown::render(report),
    ] {
        let text = form(&report);
        assert_eq!(text, form(&report));
        let left = without_styles(&text);
        let is_shown = |character: char| !character.is_control() || character == '\n';
        assert!(left.chars().all(is_shown), "{left:?}");
    }
    let log = report::sarif::log(&report);
    assert_eq!(log, report::sarif::log(&report));
    assert_plain(&log);
    let results = log["runs"][0]["results"].as_array();
    let is_failing = |result: &serde_json::Value| {
        let suppressions = result["suppressions"].as_array();
        result["kind"] == "fail" && suppressions.is_none_or(Vec::is_empty)
    };
    let fails = results.expect("a run has results").iter().any(is_failing);
    let is_good = matches!(
        report.verdict,
        Verdict::Reproduced | Verdict::ReproducedWithWaivers
    );
    assert!(fails || is_good, "{log}");
    let page = report::html::render(&report);
    assert_eq!(page.matches("</script").count(), 2, "{page}");
    assert_eq!(page.matches("<script").count(), 2, "{page}");
    let written = serde_json::to_vec(&report).expect("it was read as JSON");
    let again = report::read(&written).expect("what is written can be read");
    assert_eq!(
        serde_json::to_vec(&again).expect("it was written before"),
        written
    );
}

/// Returns text without the styles that reports have at the terminal, such as `ESC [1m`.
fn without_styles(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut left = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let numbers = part.trim_start_matches(|it: char| it.is_ascii_digit() || it == ';');
        match numbers.strip_prefix('m') {
            Some(rest) => left.push_str(rest),
            None => left.extend(["\u{1b}[", part]),
        }
    }
    left
}

/// Asserts that no message of a log can move a cursor or has a link or placeholder.
fn assert_plain(log: &serde_json::Value) {
    match log {
        serde_json::Value::Array(values) => values.iter().for_each(assert_plain),
        serde_json::Value::Object(values) => {
            for key in ["message", "shortDescription", "help", "description"] {
                if let Some(text) = values.get(key).and_then(|it| it["text"].as_str()) {
                    assert!(!text.chars().any(char::is_control), "{text:?}");
                    let left = text
                        .replace("\\\\", "")
                        .replace("\\[", "")
                        .replace("\\]", "");
                    assert!(!left.contains(['[', ']', '\\']), "{text:?}");
                    let left = left.replace("{{", "").replace("}}", "");
                    assert!(!left.contains(['{', '}']), "{text:?}");
                }
            }
            values.values().for_each(assert_plain);
        }
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
}

/// Reads a policy file, and judges findings of every kind under it.
pub fn policy(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let policy = match Policy::parse(text, "policy") {
        Ok(policy) => policy,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    assert_eq!(
        Policy::parse(text, "policy").expect("it was read before"),
        policy
    );
    policy.require.lines();
    let claims = claims();
    let case = Case {
        equality: Equality::None,
        config: ConfigGrade::Differs,
        claims: &claims,
        obstacles: &[],
        evidence: Evidence {
            source: None,
            pins: &[],
            origin: &BTreeMap::new(),
            freshness: None,
        },
    };
    let judgement = judge(&case, &policy, Date::constant(2026, 11, 26));
    assert_eq!(judgement.acceptances.len(), claims.len());
    for (claim, acceptance) in claims.iter().zip(&judgement.acceptances) {
        match acceptance {
            Acceptance::Accepted => assert!(policy.rules.accepts(claim.bearing)),
            Acceptance::Rejected => assert!(!policy.rules.accepts(claim.bearing)),
            Acceptance::Waived(number) | Acceptance::Expired(number) => {
                let waiver = &policy.waivers[*number];
                assert_eq!(waiver.attribute, claim.attribute);
                assert!(waiver.paths.is_none() || !claim.is_risk, "{waiver:?}");
            }
        }
    }
    let is_open = |acceptance: &Acceptance| {
        matches!(acceptance, Acceptance::Rejected | Acceptance::Expired(_))
    };
    let is_waived = |acceptance: &Acceptance| matches!(acceptance, Acceptance::Waived(_));
    match judgement.verdict {
        Verdict::Reproduced => {
            assert!(judgement.unmet.is_empty());
            assert!(
                !judgement
                    .acceptances
                    .iter()
                    .any(|it| is_open(it) || is_waived(it))
            );
        }
        Verdict::ReproducedWithWaivers => {
            assert!(judgement.unmet.is_empty());
            assert!(!judgement.acceptances.iter().any(is_open));
        }
        Verdict::NotReproduced | Verdict::Inconclusive => {}
    }
}

/// Returns a finding of every bearing.
fn claims() -> Vec<Claim<'static>> {
    let claim = |location: &'static str, attribute, bearing| Claim {
        location: location.into(),
        attribute,
        detail: (attribute == "xattr").then(|| "user.a".into()),
        values: Pair::new(1, 2).map(|value| Some(Cow::Owned(value.into()))),
        cause: location.starts_with("/var").then_some("dpkg-log"),
        bearing,
        is_risk: location.starts_with("/etc"),
    };
    vec![
        claim("/var/log/dpkg.log", "content", Bearing::Files),
        claim("/etc/passwd", "content", Bearing::Files),
        claim("/a", "xattr", Bearing::Files),
        claim("/a", "mtime", Bearing::Times),
        claim("config /config/Env", "json", Bearing::Running),
        claim("config /created", "json", Bearing::BuildMetadata),
        claim("index /manifests/0/platform", "json", Bearing::Platform),
        claim("layer 0", "bytes", Bearing::LayerOddity),
        claim("manifest /future", "json", Bearing::ManifestUnknown),
        claim("layer 0", "order", Bearing::Encoding),
        claim("index", "json", Bearing::Index),
    ]
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
