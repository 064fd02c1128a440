//! Locks: the bytes from outside that a recipe needs, each by hash, size and identity.
//!
//! The text of a `recipe.lock` comes in, a [`Lockfile`] goes out, and back: the
//! same lock is always the same text, sorted and with one pin a line, so that a
//! person can review what changed. Nothing is fetched and no signature is
//! checked here; a grade is only what whoever wrote the lock says.
//!
//! The format is described in `recipes/README.md`.

use std::{collections::BTreeMap, fmt, fmt::Write as _, fs, io, path::Path, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Error,
    document::{At, Document, Section, hint},
};
use crate::{digest::Digest, image::Platform};

/// The version of the format that is read and written.
const SCHEMA: i64 = 1;

/// The pins of a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lockfile {
    /// Files that are no packages, for every platform.
    pub files: Vec<File>,
    /// What is pinned for one platform only.
    pub platforms: BTreeMap<Platform, Locked>,
}

/// The pins for one platform.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Locked {
    /// A time at which snapshot archives have all of this, `None` where that is not known.
    pub snapshot: Option<Snapshot>,
    /// The signed indexes that packages were found by.
    pub releases: Vec<Release>,
    /// The lists of packages that those name.
    pub indexes: Vec<Index>,
    /// The packages.
    pub packages: Vec<Package>,
}

/// A file named by its URLs, such as a tarball of a project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct File {
    /// What it is called, unique in the lock.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its hash.
    pub sha256: Digest,
    /// Whose word the hash is.
    pub grade: FileGrade,
    /// Where it is, the first to be asked first.
    pub urls: Vec<String>,
    /// Where a distribution keeps the same bytes.
    pub pool: Option<PoolFile>,
}

/// A binary package of a distribution.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Its name, such as `libc6`.
    pub name: String,
    /// The version in full, such as `1:9.7-3`.
    pub version: String,
    /// The distribution's word for the architecture, such as `amd64`, or `all`.
    pub architecture: String,
    /// Where it is.
    pub pool: PoolFile,
    /// Its size in bytes.
    pub size: u64,
    /// Its hash.
    pub sha256: Digest,
    /// Whose word the hash is.
    pub grade: PackageGrade,
}

/// A file of a distribution's archive, whatever mirror serves it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolFile {
    /// The archive.
    pub archive: Archive,
    /// The path within it, such as `pool/main/b/bash/bash_5.2.37-2+b10_amd64.deb`.
    pub path: String,
}

/// An archive of packages.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Archive {
    /// Debian.
    Debian,
    /// Debian's security updates, which are an archive of their own.
    DebianSecurity,
    /// Ubuntu for amd64 and i386, security updates included.
    Ubuntu,
    /// Ubuntu for every other architecture.
    UbuntuPorts,
}

/// A signed index: an `InRelease` file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    /// The suite that it is of.
    pub suite: Suite,
    /// Its size in bytes.
    pub size: u64,
    /// Its hash.
    pub sha256: Digest,
    /// The fingerprints of the primary keys whose signatures were found good.
    pub signed_by: Vec<Fingerprint>,
    /// Whether it was past its own `Valid-Until` when the lock was written.
    pub validity: Validity,
}

/// A suite of an archive, written `debian/trixie`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Suite {
    /// The archive.
    pub archive: Archive,
    /// The suite's folder under `dists`, such as `trixie-updates`.
    pub name: String,
}

/// Whether a signed index was still valid when it was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Validity {
    /// It was, or says nothing of when it ends.
    Valid,
    /// It had expired, which the user accepted.
    ExpiredAccepted,
}

/// A list of packages that a signed index names: a `Packages` file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Index {
    /// The suite whose signed index names it.
    pub suite: Suite,
    /// The path as the signed index has it, such as `main/binary-amd64/Packages.xz`.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its hash.
    pub sha256: Digest,
}

/// The fingerprint of an OpenPGP key: 40 or 64 upper-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

/// A time that snapshot archives are asked for, such as `20260714T000000Z`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Snapshot(String);

/// Whose word a file's hash is, the best first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileGrade {
    /// Its maker's signature was checked.
    UpstreamSignature {
        /// By this key.
        signed_by: Fingerprint,
    },
    /// The source tree names the hash.
    SourceTree,
    /// It is what was served when the lock was written.
    Recorded,
}

/// Whose word a package's hash is, the best first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PackageGrade {
    /// A signed index of this suite leads to it.
    SignedIndex {
        /// The suite, one of the lock's `releases`.
        suite: Suite,
    },
    /// It is what was served when the lock was written.
    Recorded,
    /// The published image has this version, and the bytes are what was served for it.
    FromImage,
}

/// Whose word the hash of a pin is, the best first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Grade {
    /// A signed index's of a distribution.
    SignedIndex,
    /// Its maker's, by a signature.
    UpstreamSignature,
    /// The source tree's.
    SourceTree,
    /// Nobody's: it is what was served when it was first used.
    Recorded,
    /// The published image's, as far as the version goes.
    FromImage,
}

/// Bytes from outside: what they are, and where they may be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// What a person calls it, unique among the pins for a platform.
    pub name: String,
    /// The package URL, `None` for what is no package.
    pub purl: Option<String>,
    /// Its size in bytes.
    pub size: u64,
    /// Its hash.
    pub digest: Digest,
    /// Whose word the hash is; `None` for signed indexes, which are evidence and no input.
    pub grade: Option<Grade>,
    /// Where it may be had, the first to be asked first.
    pub places: Vec<Place>,
}

/// Where bytes may be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At this URL.
    Url(String),
    /// At every mirror of an archive, and in its snapshots.
    Pool {
        /// The file.
        file: PoolFile,
        /// When snapshots have it.
        snapshot: Option<Snapshot>,
    },
}

/// Makes the words of an enum readable and writable.
macro_rules! words {
    ($type:ident, $what:literal, $($variant:ident = $word:literal),+) => {
        impl $type {
            /// All there are.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the word for it.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }

        impl FromStr for $type {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let found = Self::ALL.iter().find(|one| one.word() == text);
                found.copied().ok_or_else(|| {
                    let words = Self::ALL.iter().map(|one| one.word());
                    format!("there is no {} {text:?}, {}", $what, hint(text, words))
                })
            }
        }
    };
}

words!(
    Archive,
    "archive",
    Debian = "debian",
    DebianSecurity = "debian-security",
    Ubuntu = "ubuntu",
    UbuntuPorts = "ubuntu-ports"
);
words!(
    Grade,
    "grade",
    SignedIndex = "signed-index",
    UpstreamSignature = "upstream-signature",
    SourceTree = "source-tree",
    Recorded = "recorded",
    FromImage = "from-image"
);

impl Archive {
    /// Returns the namespace of its packages in package URLs.
    const fn distribution(self) -> &'static str {
        match self {
            Self::Debian | Self::DebianSecurity => "debian",
            Self::Ubuntu | Self::UbuntuPorts => "ubuntu",
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.archive, self.name)
    }
}

impl FromStr for Suite {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (archive, name) = text.split_once('/').unwrap_or_default();
        if name.is_empty() || !is_path(name) {
            return Err(format!(
                "{text:?} is not a suite (archive/suite, such as debian/trixie)"
            ));
        }
        Ok(Self {
            archive: archive.parse()?,
            name: name.to_owned(),
        })
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Fingerprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'));
        // Versions 4 and 6 of OpenPGP keys.
        if digits && [40, 64].contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "{text:?} is not a key's fingerprint (40 or 64 digits of 0-9, A-F)"
            ))
        }
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Snapshot {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape: String = text
            .chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        if shape == "00000000T000000Z" {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "{text:?} is not the time of a snapshot (such as 20260714T000000Z)"
            ))
        }
    }
}

impl FileGrade {
    /// Returns whose word it is.
    pub const fn grade(&self) -> Grade {
        match self {
            Self::UpstreamSignature { .. } => Grade::UpstreamSignature,
            Self::SourceTree => Grade::SourceTree,
            Self::Recorded => Grade::Recorded,
        }
    }
}

impl PackageGrade {
    /// Returns whose word it is.
    pub const fn grade(&self) -> Grade {
        match self {
            Self::SignedIndex { .. } => Grade::SignedIndex,
            Self::Recorded => Grade::Recorded,
            Self::FromImage => Grade::FromImage,
        }
    }
}

impl Package {
    /// Returns the package URL, such as `pkg:deb/debian/libc6@2.41-12%2Bdeb13u3?arch=amd64`.
    ///
    /// Source: package-url/purl-spec, `types-doc/deb-definition.md`.
    pub fn purl(&self) -> String {
        let mut purl = format!(
            "pkg:deb/{}/{}@",
            self.pool.archive.distribution(),
            percent_encoded(&self.name)
        );
        purl += &percent_encoded(&self.version);
        purl += "?arch=";
        purl += &percent_encoded(&self.architecture);
        purl
    }
}

/// Encodes all but what package URLs leave as it is.
fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

impl Locked {
    /// Returns the packages as what is to be fetched, by name.
    pub fn package_pins(&self) -> Vec<Pin> {
        self.packages
            .iter()
            .map(|package| Pin {
                name: format!(
                    "{} {} ({})",
                    package.name, package.version, package.architecture
                ),
                purl: Some(package.purl()),
                size: package.size,
                digest: package.sha256,
                grade: Some(package.grade.grade()),
                places: vec![self.place(package.pool.clone())],
            })
            .collect()
    }

    /// Returns the signed indexes, and the lists that they name, as what is to be fetched.
    ///
    /// They prove the packages' hashes and are no input of a build. An archive
    /// keeps them only until its next update, snapshots keep them for good.
    pub fn index_pins(&self) -> Vec<Pin> {
        let pin = |suite: &Suite, path: String, size, digest| {
            let file = PoolFile {
                archive: suite.archive,
                path: format!("dists/{}/{path}", suite.name),
            };
            Pin {
                name: format!("{} of {}", file.path, file.archive),
                purl: None,
                size,
                digest,
                grade: None,
                places: vec![self.place(file)],
            }
        };
        let releases = self.releases.iter().map(|release| {
            let path = "InRelease".to_owned();
            pin(&release.suite, path, release.size, release.sha256)
        });
        let indexes = self.indexes.iter().map(|index| {
            let mut pin = pin(&index.suite, index.path.clone(), index.size, index.sha256);
            let folder = index.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            // Kept through a few updates. Source: wiki.debian.org/DebianRepository/Format,
            // Acquire-By-Hash.
            let by_hash = PoolFile {
                archive: index.suite.archive,
                path: format!(
                    "dists/{}/{folder}/by-hash/SHA256/{}",
                    index.suite.name,
                    index.sha256.hex()
                ),
            };
            pin.places.insert(0, self.place(by_hash));
            pin
        });
        releases.chain(indexes).collect()
    }

    fn place(&self, file: PoolFile) -> Place {
        Place::Pool {
            file,
            snapshot: self.snapshot.clone(),
        }
    }
}

impl Lockfile {
    /// Returns what is pinned for a platform, `None` where nothing is.
    ///
    /// A variant that either side leaves out fits.
    pub fn platform(&self, platform: &Platform) -> Option<&Locked> {
        self.platforms.get(platform).or_else(|| {
            self.platforms
                .iter()
                .find(|(offered, _)| platform.accepts(offered))
                .map(|(_, locked)| locked)
        })
    }

    /// Returns the files as what is to be fetched.
    pub fn file_pins(&self) -> Vec<Pin> {
        // Files are for every platform, so any platform's time will do.
        let snapshot = self
            .platforms
            .values()
            .find_map(|locked| locked.snapshot.clone());
        self.files
            .iter()
            .map(|file| {
                let mut places: Vec<Place> = file.urls.iter().cloned().map(Place::Url).collect();
                places.extend(file.pool.iter().map(|pool| Place::Pool {
                    file: pool.clone(),
                    snapshot: snapshot.clone(),
                }));
                Pin {
                    name: file.name.clone(),
                    purl: None,
                    size: file.size,
                    digest: file.sha256,
                    grade: Some(file.grade.grade()),
                    places,
                }
            })
            .collect()
    }

    /// Returns all that a build for the platform takes: the files and the platform's packages.
    pub fn pins(&self, platform: &Platform) -> Vec<Pin> {
        let mut pins = self.file_pins();
        if let Some(locked) = self.platform(platform) {
            pins.extend(locked.package_pins());
        }
        pins
    }

    /// Reads the lock in this file, `None` where there is no such file.
    pub fn read(path: &Path) -> Result<Option<Self>, Error> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, &path.display().to_string()).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::File {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Reads a lock; `called` is what messages call it, a path or name.
    pub fn parse(text: &str, called: &str) -> Result<Self, Error> {
        let mut top = Document::parse(text, called, "the lock")?;
        let schema = top
            .integer("schema")?
            .ok_or_else(|| top.missing("schema"))?;
        if schema.value != SCHEMA {
            let problem = format!(
                "schema {} is not known, this reprove reads schema {SCHEMA}",
                schema.value
            );
            return Err(top.invalid(schema.line, problem));
        }
        let files = list(&mut top, "files", file, |file| file.name.clone())?;
        let mut platforms = BTreeMap::new();
        if let Some(section) = top.section("platforms")? {
            for (key, entry) in section.all() {
                let platform = parsed(&top, &key)?;
                platforms.insert(platform, locked(entry.section(&key.value)?)?);
            }
        }
        top.finish()?;
        Ok(Self { files, platforms })
    }
}

/// Reads a list of tables, no two of which may be of the same name.
fn list<'t, T: Ord>(
    section: &mut Section<'t>,
    key: &'static str,
    read: impl Fn(&mut Section<'t>) -> Result<T, Error>,
    name: impl Fn(&T) -> String,
) -> Result<Vec<T>, Error> {
    let mut seen = BTreeMap::new();
    let mut found = Vec::new();
    for mut item in section.sections(key)? {
        let line = item.line;
        let value = read(&mut item)?;
        item.finish()?;
        let name = name(&value);
        if let Some(first) = seen.insert(name.clone(), line) {
            return Err(section.invalid(line, format!("{name} is in line {first} already")));
        }
        found.push(value);
    }
    found.sort();
    Ok(found)
}

fn locked(mut section: Section<'_>) -> Result<Locked, Error> {
    let snapshot = section.text("snapshot")?;
    let snapshot = snapshot.map(|found| parsed(&section, &found)).transpose()?;
    let releases = list(&mut section, "releases", release, |release| {
        release.suite.to_string()
    })?;
    let indexes = list(&mut section, "indexes", index, |index| {
        format!("{} {}", index.suite, index.path)
    })?;
    let line = section.line;
    let packages = list(&mut section, "packages", package, |package| {
        format!("{}:{}", package.name, package.architecture)
    })?;
    let known = |suite: &Suite| releases.iter().any(|release| &release.suite == suite);
    let of_packages = packages.iter().filter_map(|package| match &package.grade {
        PackageGrade::SignedIndex { suite } => Some((suite, &package.name)),
        PackageGrade::Recorded | PackageGrade::FromImage => None,
    });
    let of_indexes = indexes.iter().map(|index| (&index.suite, &index.path));
    for (suite, what) in of_packages.chain(of_indexes) {
        if !known(suite) {
            let problem = format!("{what} is of the suite {suite}, which is none of releases");
            return Err(section.invalid(line, problem));
        }
    }
    section.finish()?;
    Ok(Locked {
        snapshot,
        releases,
        indexes,
        packages,
    })
}

/// Reads the name of a file, which is also where builds find it.
pub(super) fn file_name(section: &mut Section<'_>) -> Result<At<String>, Error> {
    let name = section.required_text("name")?;
    let is_plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    if name.value.split('/').all(is_plain) && !name.value.contains('\0') {
        return Ok(name);
    }
    let problem = format!("{:?} is not a relative path without . and ..", name.value);
    Err(section.invalid(name.line, problem))
}

fn file(section: &mut Section<'_>) -> Result<File, Error> {
    let name = file_name(section)?.value;
    let (size, sha256) = size_and_hash(section)?;
    let grade = section.required_text("grade")?;
    let signed_by = section.text("signed_by")?;
    let graded = match (parsed(section, &grade)?, signed_by) {
        (Grade::UpstreamSignature, Some(key)) => FileGrade::UpstreamSignature {
            signed_by: parsed(section, &key)?,
        },
        (Grade::UpstreamSignature, None) => return Err(section.missing("signed_by")),
        (_, Some(key)) => {
            let problem = format!("signed_by is for the grade {}", Grade::UpstreamSignature);
            return Err(section.invalid(key.line, problem));
        }
        (Grade::SourceTree, None) => FileGrade::SourceTree,
        (Grade::Recorded, None) => FileGrade::Recorded,
        (Grade::SignedIndex | Grade::FromImage, None) => {
            let problem = format!("{:?} is a grade of packages only", grade.value);
            return Err(section.invalid(grade.line, problem));
        }
    };
    let (urls, pool) = places(section)?;
    Ok(File {
        name,
        size,
        sha256,
        grade: graded,
        urls,
        pool,
    })
}

/// Takes the URLs of a file, and where a distribution keeps the same bytes; one must be there.
pub(super) fn places(section: &mut Section<'_>) -> Result<(Vec<String>, Option<PoolFile>), Error> {
    let mut urls = Vec::new();
    for url in section.texts("urls")? {
        urls.push(checked_url(section, url)?);
    }
    let pool = match section.text("archive")? {
        Some(archive) => Some(PoolFile {
            archive: parsed(section, &archive)?,
            path: pool_path(section)?,
        }),
        None => None,
    };
    if urls.is_empty() && pool.is_none() {
        return Err(section.missing("urls"));
    }
    Ok((urls, pool))
}

/// Takes a text that is a URL which can be fetched, and holds no password.
fn checked_url(section: &Section<'_>, url: At<String>) -> Result<String, Error> {
    let rest = ["https://", "http://"]
        .iter()
        .find_map(|scheme| url.value.strip_prefix(scheme));
    let host = rest.map(|rest| rest.split('/').next().unwrap_or_default());
    match host {
        Some(host) if !host.is_empty() && !host.contains('@') => Ok(url.value),
        Some(_) | None => Err(section.invalid(
            url.line,
            format!("{:?} is not a URL (https://…, without a user)", url.value),
        )),
    }
}

fn package(section: &mut Section<'_>) -> Result<Package, Error> {
    let name = section.required_text("name")?.value;
    let version = section.required_text("version")?.value;
    let architecture = section.required_text("architecture")?.value;
    let archive = section.required_text("archive")?;
    let pool = PoolFile {
        archive: parsed(section, &archive)?,
        path: pool_path(section)?,
    };
    let (size, sha256) = size_and_hash(section)?;
    let grade = section.required_text("grade")?;
    let suite = section.text("suite")?;
    let graded = match (parsed(section, &grade)?, suite) {
        (Grade::SignedIndex, Some(suite)) => PackageGrade::SignedIndex {
            suite: parsed(section, &suite)?,
        },
        (Grade::SignedIndex, None) => return Err(section.missing("suite")),
        (_, Some(suite)) => {
            let problem = format!("suite is for the grade {}", Grade::SignedIndex);
            return Err(section.invalid(suite.line, problem));
        }
        (Grade::Recorded, None) => PackageGrade::Recorded,
        (Grade::FromImage, None) => PackageGrade::FromImage,
        (Grade::UpstreamSignature | Grade::SourceTree, None) => {
            let problem = format!("{:?} is a grade of files only", grade.value);
            return Err(section.invalid(grade.line, problem));
        }
    };
    Ok(Package {
        name,
        version,
        architecture,
        pool,
        size,
        sha256,
        grade: graded,
    })
}

fn release(section: &mut Section<'_>) -> Result<Release, Error> {
    let suite = section.required_text("suite")?;
    let (size, sha256) = size_and_hash(section)?;
    let mut signed_by = Vec::new();
    for key in section.texts("signed_by")? {
        signed_by.push(parsed(section, &key)?);
    }
    if signed_by.is_empty() {
        return Err(section.missing("signed_by"));
    }
    signed_by.sort();
    let validity = match section.text("expired")? {
        None => Validity::Valid,
        Some(word) if word.value == ACCEPTED => Validity::ExpiredAccepted,
        Some(word) => {
            let problem = format!("expired can only be {ACCEPTED:?}");
            return Err(section.invalid(word.line, problem));
        }
    };
    Ok(Release {
        suite: parsed(section, &suite)?,
        size,
        sha256,
        signed_by,
        validity,
    })
}

/// What `expired` says of an index that was used though it had expired.
const ACCEPTED: &str = "accepted";

fn index(section: &mut Section<'_>) -> Result<Index, Error> {
    let suite = section.required_text("suite")?;
    let path = pool_path(section)?;
    let (size, sha256) = size_and_hash(section)?;
    Ok(Index {
        suite: parsed(section, &suite)?,
        path,
        size,
        sha256,
    })
}

fn size_and_hash(section: &mut Section<'_>) -> Result<(u64, Digest), Error> {
    let size = section
        .integer("size")?
        .ok_or_else(|| section.missing("size"))?;
    let hash = section.required_text("sha256")?;
    let bytes = u64::try_from(size.value)
        .map_err(|_| section.invalid(size.line, "a size is not negative".to_owned()))?;
    let digest = format!("sha256:{}", hash.value).parse().map_err(|_| {
        let problem = format!("{:?} is not a SHA-256 (64 digits of 0-9, a-f)", hash.value);
        section.invalid(hash.line, problem)
    })?;
    Ok((bytes, digest))
}

fn pool_path(section: &mut Section<'_>) -> Result<String, Error> {
    let path = section.required_text("path")?;
    if is_path(&path.value) {
        Ok(path.value)
    } else {
        let problem = format!("{:?} is not a path of an archive", path.value);
        Err(section.invalid(path.line, problem))
    }
}

/// Returns whether the text is a relative path that leads down only, and can be put into a URL.
fn is_path(text: &str) -> bool {
    text.split('/').all(|part| !["", ".", ".."].contains(&part))
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"/.+-_~:".contains(&byte))
}

/// Reads a text that must be one of a type.
pub(super) fn parsed<T: FromStr<Err: fmt::Display>>(
    section: &Section<'_>,
    text: &At<String>,
) -> Result<T, Error> {
    text.value
        .parse()
        .map_err(|problem: T::Err| section.invalid(text.line, problem.to_string()))
}

/// Says what the file is to whoever opens it.
const HEADER: &str = "\
# Every byte from outside that this recipe needs; recipes/README.md describes the format.
";

/// Writes the text that [`Lockfile::parse`] reads: sorted, and one pin a line.
impl fmt::Display for Lockfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}schema = {SCHEMA}")?;
        lines(f, "files", &self.files, |file| {
            let mut line = Line::default();
            line.text("name", &file.name);
            line.size_and_hash(file.size, &file.sha256);
            line.text("grade", file.grade.grade());
            match &file.grade {
                FileGrade::UpstreamSignature { signed_by } => line.text("signed_by", signed_by),
                FileGrade::SourceTree | FileGrade::Recorded => {}
            }
            if !file.urls.is_empty() {
                line.texts("urls", &file.urls);
            }
            if let Some(pool) = &file.pool {
                line.text("archive", pool.archive);
                line.text("path", &pool.path);
            }
            line
        })?;
        for (platform, locked) in &self.platforms {
            writeln!(f, "\n[platforms.{}]", quoted(&platform.to_string()))?;
            if let Some(snapshot) = &locked.snapshot {
                writeln!(f, "snapshot = {}", quoted(&snapshot.0))?;
            }
            lines(f, "releases", &locked.releases, |release| {
                let mut line = Line::default();
                line.text("suite", &release.suite);
                line.size_and_hash(release.size, &release.sha256);
                line.texts("signed_by", &release.signed_by);
                match release.validity {
                    Validity::Valid => {}
                    Validity::ExpiredAccepted => line.text("expired", ACCEPTED),
                }
                line
            })?;
            lines(f, "indexes", &locked.indexes, |index| {
                let mut line = Line::default();
                line.text("suite", &index.suite);
                line.text("path", &index.path);
                line.size_and_hash(index.size, &index.sha256);
                line
            })?;
            lines(f, "packages", &locked.packages, |package| {
                let mut line = Line::default();
                line.text("name", &package.name);
                line.text("version", &package.version);
                line.text("architecture", &package.architecture);
                line.text("archive", package.pool.archive);
                line.text("path", &package.pool.path);
                line.size_and_hash(package.size, &package.sha256);
                line.text("grade", package.grade.grade());
                match &package.grade {
                    PackageGrade::SignedIndex { suite } => line.text("suite", suite),
                    PackageGrade::Recorded | PackageGrade::FromImage => {}
                }
                line
            })?;
        }
        Ok(())
    }
}

/// Writes a list of inline tables, each on a line of its own; nothing for an empty one.
fn lines<T: Ord>(
    f: &mut fmt::Formatter<'_>,
    key: &str,
    items: &[T],
    line: impl Fn(&T) -> Line,
) -> fmt::Result {
    if items.is_empty() {
        return Ok(());
    }
    let mut sorted: Vec<&T> = items.iter().collect();
    sorted.sort();
    writeln!(f, "{key} = [")?;
    for item in sorted {
        writeln!(f, "  {{ {} }},", line(item).0.join(", "))?;
    }
    writeln!(f, "]")
}

/// The keys of an inline table.
#[derive(Default)]
struct Line(Vec<String>);

impl Line {
    fn text(&mut self, key: &str, value: impl fmt::Display) {
        self.0
            .push(format!("{key} = {}", quoted(&value.to_string())));
    }

    fn texts(&mut self, key: &str, values: &[impl fmt::Display]) {
        let values: Vec<String> = values
            .iter()
            .map(|value| quoted(&value.to_string()))
            .collect();
        self.0.push(format!("{key} = [{}]", values.join(", ")));
    }

    fn size_and_hash(&mut self, size: u64, sha256: &Digest) {
        self.0.push(format!("size = {size}"));
        self.text("sha256", sha256.hex());
    }
}

/// Returns a TOML basic string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            control if control.is_control() => {
                write!(quoted, "\\u{:04X}", u32::from(control)).expect("a string takes any text");
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "4CB50190207B4758A3F73A796ED0E7B82643E131";

    fn text() -> String {
        let hash = |digit: &str| digit.repeat(64);
        format!(
            r#"{HEADER}schema = 1
files = [
  {{ name = "a.tar.bz2", size = 1, sha256 = "{a}", grade = "source-tree", urls = ["https://example.org/a.tar.bz2"], archive = "debian", path = "pool/main/a/a_1.orig.tar.bz2" }},
  {{ name = "b \"c\"", size = 2, sha256 = "{b}", grade = "upstream-signature", signed_by = "{KEY}", urls = ["https://example.org/b", "http://example.net/b"] }},
]

[platforms."linux/amd64"]
snapshot = "20260714T000000Z"
releases = [
  {{ suite = "debian/trixie", size = 3, sha256 = "{c}", signed_by = ["{KEY}"] }},
  {{ suite = "debian-security/trixie-security", size = 4, sha256 = "{d}", signed_by = ["{KEY}"], expired = "accepted" }},
]
indexes = [
  {{ suite = "debian/trixie", path = "main/binary-amd64/Packages.xz", size = 5, sha256 = "{e}" }},
]
packages = [
  {{ name = "bash", version = "5.2.37-2+b10", architecture = "amd64", archive = "debian", path = "pool/main/b/bash/bash_5.2.37-2+b10_amd64.deb", size = 6, sha256 = "{f}", grade = "signed-index", suite = "debian/trixie" }},
  {{ name = "libc6", version = "1:2.41-12", architecture = "amd64", archive = "debian", path = "pool/main/g/glibc/libc6_2.41-12_amd64.deb", size = 7, sha256 = "{a}", grade = "recorded" }},
]

[platforms."linux/arm64"]
packages = [
  {{ name = "bash", version = "5", architecture = "arm64", archive = "ubuntu-ports", path = "pool/bash.deb", size = 8, sha256 = "{b}", grade = "from-image" }},
]
"#,
            a = hash("a"),
            b = hash("b"),
            c = hash("c"),
            d = hash("d"),
            e = hash("e"),
            f = hash("f"),
        )
    }

    #[test]
    fn a_lock_is_written_as_it_is_read_and_sorted() {
        let text = text();
        let mut lock = Lockfile::parse(&text, "recipe.lock").unwrap();
        assert_eq!(lock.to_string(), text);
        lock.files.reverse();
        for locked in lock.platforms.values_mut() {
            locked.releases.reverse();
            locked.packages.reverse();
        }
        assert_eq!(lock.to_string(), text);
        assert_eq!(
            Lockfile::parse(&Lockfile::default().to_string(), "empty").unwrap(),
            Lockfile::default()
        );
    }

    #[test]
    fn the_lock_in_the_documentation_can_be_read() {
        let text = include_str!("../../recipes/README.md");
        let (_, lock) = text.split_once("```toml recipe.lock\n").unwrap();
        let (lock, _) = lock.split_once("```").unwrap();
        let written = Lockfile::parse(lock, "recipes/README.md").unwrap();
        assert_eq!(written.to_string(), format!("{HEADER}{lock}"));
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_line() {
        let cases = [
            (
                "schema = 1",
                "schema = 2",
                "line 2 of it: schema 2 is not known, this reprove reads schema 1",
            ),
            (
                "sha256 = \"aaaa",
                "sha526 = \"aaaa",
                "line 4 of it: [[files]] needs the key \"sha256\"",
            ),
            (
                "urls = [\"https://example.org/a.tar.bz2\"]",
                "url = \"https://example.org\"",
                "line 4 of it: [[files]] has no key \"url\", did you mean \"urls\"?",
            ),
            (
                "https://example.org/b",
                "https://me:pw@example.org/b",
                "line 5 of it: \"https://me:pw@example.org/b\" is not a URL (https://…, without a user)",
            ),
            (
                "size = 1",
                "size = -1",
                "line 4 of it: a size is not negative",
            ),
            (
                "\"source-tree\"",
                "\"source-tee\"",
                "line 4 of it: there is no grade \"source-tee\", did you mean \"source-tree\"?",
            ),
            (
                "\"source-tree\"",
                "\"from-image\"",
                "line 4 of it: \"from-image\" is a grade of packages only",
            ),
            (
                "name = \"a.tar.bz2\"",
                "name = \"b \\\"c\\\"\"",
                "line 5 of it: b \"c\" is in line 4 already",
            ),
            (
                "[platforms.\"linux/amd64\"]",
                "[platforms.linux]",
                "line 8 of it: \"linux\" is not a platform (os/architecture or os/architecture/variant, such as linux/amd64)",
            ),
            (
                "20260714T000000Z",
                "2026-07-14",
                "line 9 of it: \"2026-07-14\" is not the time of a snapshot (such as 20260714T000000Z)",
            ),
            (
                "\"debian/trixie\", size = 3",
                "\"trixie\", size = 3",
                "line 11 of it: \"trixie\" is not a suite (archive/suite, such as debian/trixie)",
            ),
            (
                "expired = \"accepted\"",
                "expired = \"yes\"",
                "line 12 of it: expired can only be \"accepted\"",
            ),
            (
                "pool/main/b/bash",
                "pool/../b/bash",
                "line 18 of it: \"pool/../b/bash/bash_5.2.37-2+b10_amd64.deb\" is not a path of an archive",
            ),
            (
                "suite = \"debian/trixie\" },\n  { name = \"libc6\"",
                "suite = \"debian/sid\" },\n  { name = \"libc6\"",
                "line 8 of it: bash is of the suite debian/sid, which is none of releases",
            ),
            (
                ", suite = \"debian/trixie\" },\n  { name = \"libc6\"",
                " },\n  { name = \"libc6\"",
                "line 18 of it: [[packages]] needs the key \"suite\"",
            ),
        ];
        for (written, instead, expected) in cases {
            let text = text();
            assert!(text.contains(written), "{written}");
            let error = Lockfile::parse(&text.replacen(written, instead, 1), "it").unwrap_err();
            assert_eq!(error.to_string(), expected, "{instead}");
        }
    }

    #[test]
    fn pins_say_what_they_are_and_where_they_may_be_had() {
        let lock = Lockfile::parse(&text(), "recipe.lock").unwrap();
        let locked = lock.platform(&"linux/amd64".parse().unwrap()).unwrap();
        let purls: Vec<_> = locked
            .package_pins()
            .into_iter()
            .map(|pin| pin.purl)
            .collect();
        assert_eq!(
            purls,
            [
                Some("pkg:deb/debian/bash@5.2.37-2%2Bb10?arch=amd64".to_owned()),
                Some("pkg:deb/debian/libc6@1:2.41-12?arch=amd64".to_owned()),
            ]
        );
        let pool = |archive, path: &str| Place::Pool {
            file: PoolFile {
                archive,
                path: path.to_owned(),
            },
            snapshot: Some("20260714T000000Z".parse().unwrap()),
        };
        assert_eq!(
            lock.file_pins()[0].places,
            [
                Place::Url("https://example.org/a.tar.bz2".to_owned()),
                pool(Archive::Debian, "pool/main/a/a_1.orig.tar.bz2"),
            ]
        );
        let places: Vec<_> = locked
            .index_pins()
            .into_iter()
            .map(|pin| pin.places)
            .collect();
        let by_hash = format!(
            "dists/trixie/main/binary-amd64/by-hash/SHA256/{}",
            "e".repeat(64)
        );
        assert_eq!(
            places,
            [
                vec![pool(Archive::Debian, "dists/trixie/InRelease")],
                vec![pool(
                    Archive::DebianSecurity,
                    "dists/trixie-security/InRelease"
                )],
                vec![
                    pool(Archive::Debian, &by_hash),
                    pool(
                        Archive::Debian,
                        "dists/trixie/main/binary-amd64/Packages.xz"
                    ),
                ],
            ]
        );
        let names = |platform: &str| -> Vec<String> {
            let pins = lock.pins(&platform.parse().unwrap());
            pins.into_iter().map(|pin| pin.name).collect()
        };
        let files = ["a.tar.bz2", "b \"c\""];
        assert_eq!(names("linux/s390x"), files);
        assert_eq!(
            names("linux/arm64/v8"),
            [&files[..], &["bash 5 (arm64)"]].concat()
        );
    }
}
