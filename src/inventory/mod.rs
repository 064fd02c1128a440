//! Inventory: which package of an image a file belongs to, as its own databases say.
//!
//! Pure over the bytes of the databases passed in. What an image says of its
//! packages is a claim of that image: it tells who a file is said to belong to,
//! and proves nothing of the file.

mod apk;
mod berkeley;
mod dpkg;
mod ndb;
pub(crate) mod rpm;
pub(crate) mod sqlite;
mod stretches;
#[cfg(test)]
pub(crate) mod testing;

use std::{
    cmp::Ordering,
    collections::{BTreeMap, btree_map},
    fmt,
};

use md5::{Digest as _, Md5};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha1::Sha1;

use crate::{
    digest::Digest,
    image::{EntryPath, entry::Printable},
    pair::Pair,
};

/// How many packages are read of one image; the largest distributions have some 100,000.
const MAX_PACKAGES: usize = 200_000;

/// How many paths are read of one image: a line of three bytes takes a hundred in memory.
const MAX_PATHS: usize = 2_000_000;

/// How long a path may be: Linux takes none that is longer.
const MAX_PATH: usize = 4096;

/// How many bytes all paths of one image may have: one folder's name may stand before many.
const MAX_PATH_BYTES: usize = 256 << 20;

/// Folders that a merged `/usr` makes one with those of the same name below it.
///
/// Source: systemd's `file-hierarchy(7)`; Debian's usrmerge.
const MERGED: [&[u8]; 6] = [b"bin", b"sbin", b"lib", b"lib32", b"lib64", b"libx32"];

/// The packages of an image, and whose each file is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    packages: Vec<Package>,
    paths: BTreeMap<EntryPath, Owned>,
    problems: Vec<String>,
}

/// What the databases say of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owned {
    /// The position of the owner in the list of packages; `None` where several claim the path.
    owner: Option<usize>,
    recorded: Option<Recorded>,
}

/// The checksum that a database records of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// Debian's.
    Md5([u8; 16]),
    /// Alpine's, up to apk 2.
    Sha1([u8; 20]),
    /// That of apk 3 and rpm.
    Sha256([u8; 32]),
}

/// A package as a database records it.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct Package {
    /// Whose database it is in.
    pub manager: Manager,
    /// Its name.
    pub name: String,
    /// Its version, with epoch and revision.
    pub version: String,
    /// Its architecture, in the manager's words.
    pub architecture: String,
}

/// What installs packages.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Manager {
    /// Debian's.
    Dpkg,
    /// Alpine's.
    Apk,
    /// Fedora's and its kin's.
    Rpm,
}

/// A package that the two images have in other versions, or only one has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Drift {
    /// Whose database it is in.
    pub manager: Manager,
    /// Its name.
    pub name: String,
    /// Its architecture.
    pub architecture: String,
    /// The version on each side; `null` where a side has it not.
    pub version: Pair<Option<String>>,
}

impl Inventory {
    /// Returns whether a file of this path is a part of a package database.
    pub fn wants(path: &EntryPath) -> bool {
        let path = path.as_bytes();
        dpkg::wants(path) || apk::wants(path) || rpm::wants(path)
    }

    /// Reads the databases of one image, files by path.
    ///
    /// What cannot be read is left out and named in [`Self::problems`].
    pub fn read(files: &BTreeMap<EntryPath, Vec<u8>>) -> Self {
        let mut found = Found::default();
        dpkg::read(files, &mut found);
        apk::read(files, &mut found);
        rpm::read(files, &mut found);
        found.inventory()
    }

    /// Names a database that was too large to be read.
    pub fn leave_out(&mut self, path: &EntryPath) {
        self.problems.push(format!(
            "{path}: it is larger than what is read of package databases"
        ));
    }

    /// Returns the packages, in order of manager and name.
    pub fn packages(&self) -> &[Package] {
        &self.packages
    }

    /// Returns the package that a file is said to belong to; `None` where several claim it.
    pub fn owner(&self, path: &EntryPath) -> Option<&Package> {
        Some(&self.packages[self.at(path)?.owner?])
    }

    /// Returns the checksum that the database records of a file.
    pub fn recorded(&self, path: &EntryPath) -> Option<&Recorded> {
        self.at(path)?.recorded.as_ref()
    }

    /// Returns what could not be read.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Returns what is said of a path, or of its other name where `/usr` is merged.
    fn at(&self, path: &EntryPath) -> Option<&Owned> {
        self.paths
            .get(path)
            .or_else(|| self.paths.get(&other_name(path)?))
    }
}

/// Returns the path with `usr/` before it or without, where a merged `/usr` makes them one.
fn other_name(path: &EntryPath) -> Option<EntryPath> {
    let path = path.as_bytes();
    let below = path.strip_prefix(b"usr/");
    let first = below.unwrap_or(path).split(|&byte| byte == b'/').next()?;
    MERGED.contains(&first).then(|| match below {
        Some(below) => EntryPath::of(below),
        None => EntryPath::of(&[b"usr/", path].concat()),
    })
}

impl Recorded {
    /// Returns whether a file of these bytes has the checksum.
    pub fn is_of(&self, bytes: &[u8]) -> bool {
        match self {
            Self::Md5(sum) => Md5::digest(bytes)[..] == sum[..],
            Self::Sha1(sum) => Sha1::digest(bytes)[..] == sum[..],
            Self::Sha256(sum) => Digest::of(bytes).hex() == hex::encode(sum),
        }
    }

    /// Reads a checksum of which the length tells the kind.
    fn hexadecimal(digits: &[u8]) -> Option<Self> {
        let sum = hex::decode(digits).ok()?;
        match sum.len() {
            16 => Some(Self::Md5(sum.try_into().ok()?)),
            20 => Some(Self::Sha1(sum.try_into().ok()?)),
            32 => Some(Self::Sha256(sum.try_into().ok()?)),
            _ => None,
        }
    }

    fn md5(hexadecimal: &[u8]) -> Option<Self> {
        let mut sum = [0; 16];
        hex::decode_to_slice(hexadecimal, &mut sum).ok()?;
        Some(Self::Md5(sum))
    }
}

impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Md5(sum) => write!(f, "MD5 {}", hex::encode(sum)),
            Self::Sha1(sum) => write!(f, "SHA-1 {}", hex::encode(sum)),
            Self::Sha256(sum) => write!(f, "SHA-256 {}", hex::encode(sum)),
        }
    }
}

/// What a database says of a path that it claims for a package.
enum Claim {
    /// It is a file, with this checksum if one is recorded.
    File(Option<Recorded>),
    /// It is a file or a folder; a folder may be claimed by many.
    Listed,
}

/// What was read so far.
#[derive(Default)]
struct Found {
    packages: Vec<Package>,
    paths: BTreeMap<EntryPath, Owned>,
    problems: Vec<String>,
    /// How many bytes the paths have.
    path_bytes: usize,
    /// How many packages and paths were more than are kept.
    left_out: usize,
}

impl Found {
    /// Adds a package and returns its number; the last one stands for those beyond the limit.
    fn package(&mut self, package: Package) -> usize {
        if self.packages.len() < MAX_PACKAGES {
            self.packages.push(package);
        } else {
            self.left_out += 1;
        }
        self.packages.len() - 1
    }

    /// Records what a package's database says of a path.
    fn claim(&mut self, path: EntryPath, package: usize, claim: Claim) {
        let path_bytes = self.path_bytes + path.as_bytes().len();
        let is_full = self.paths.len() >= MAX_PATHS || path_bytes > MAX_PATH_BYTES;
        let mut entry = match self.paths.entry(path) {
            btree_map::Entry::Occupied(entry) => entry,
            btree_map::Entry::Vacant(_) if is_full => {
                self.left_out += 1;
                return;
            }
            btree_map::Entry::Vacant(entry) => {
                self.path_bytes = path_bytes;
                let recorded = match claim {
                    Claim::File(recorded) => recorded,
                    Claim::Listed => None,
                };
                entry.insert(Owned {
                    owner: Some(package),
                    recorded,
                });
                return;
            }
        };
        let owned = entry.get_mut();
        // The libraries of two architectures share their documentation.
        let is_same = owned
            .owner
            .is_some_and(|owner| self.packages[owner].name == self.packages[package].name);
        match (claim, owned.recorded) {
            (Claim::Listed | Claim::File(None), None) if !is_same => owned.owner = None,
            (Claim::File(recorded @ Some(_)), None) => {
                *owned = Owned {
                    owner: Some(package),
                    recorded,
                };
            }
            // A diverted file is recorded by two packages, and cannot have both checksums.
            (Claim::File(Some(recorded)), Some(before)) if recorded != before => {
                *owned = Owned {
                    owner: owned.owner.filter(|_| is_same),
                    recorded: None,
                };
            }
            (Claim::Listed | Claim::File(_), _) => {}
        }
    }

    fn problem(&mut self, problem: String) {
        self.problems.push(problem);
    }

    fn inventory(mut self) -> Inventory {
        if self.left_out > 0 {
            self.problems.push(format!(
                "{} packages and paths are more than are read",
                self.left_out
            ));
        }
        let mut order: Vec<usize> = (0..self.packages.len()).collect();
        order.sort_by(|&one, &other| self.packages[one].cmp(&self.packages[other]));
        let mut places = vec![0; order.len()];
        for (place, &number) in order.iter().enumerate() {
            places[number] = place;
        }
        for owned in self.paths.values_mut() {
            owned.owner = owned.owner.map(|number| places[number]);
        }
        self.packages.sort();
        Inventory {
            packages: self.packages,
            paths: self.paths,
            problems: self.problems,
        }
    }
}

/// Returns a word of a database as text in which every byte can be told.
fn text(bytes: &[u8]) -> String {
    Printable(bytes).to_string()
}

/// Returns the packages that differ between two images, in order.
///
/// Of packages that an image has in several versions, those that both have are left
/// out and the others paired in order.
pub fn drift(sides: Pair<&Inventory>) -> Vec<Drift> {
    type Versions<'a> = Pair<Vec<&'a str>>;
    let mut all: BTreeMap<(Manager, &str, &str), Versions<'_>> = BTreeMap::new();
    for package in &sides.published.packages {
        all.entry(package.key())
            .or_default()
            .published
            .push(&package.version);
    }
    for package in &sides.rebuilt.packages {
        all.entry(package.key())
            .or_default()
            .rebuilt
            .push(&package.version);
    }
    let mut drift = Vec::new();
    for ((manager, name, architecture), mut versions) in all {
        // Both are sorted, as the packages are.
        let both = common(versions.as_ref().map(Vec::as_slice));
        for versions in [&mut versions.published, &mut versions.rebuilt] {
            let mut both = both.iter().peekable();
            versions.retain(|version| both.next_if(|other| *other == version).is_none());
        }
        let count = versions.published.len().max(versions.rebuilt.len());
        drift.extend((0..count).map(|index| {
            Drift {
                manager,
                name: name.to_owned(),
                architecture: architecture.to_owned(),
                version: versions
                    .as_ref()
                    .map(|versions| versions.get(index).map(|&version| version.to_owned())),
            }
        }));
    }
    drift
}

/// Returns what two sorted lists have in common, in order.
fn common<'a>(sides: Pair<&[&'a str]>) -> Vec<&'a str> {
    let Pair {
        mut published,
        mut rebuilt,
    } = sides;
    let mut both = Vec::new();
    while let ([one, ..], [other, ..]) = (published, rebuilt) {
        match one.cmp(other) {
            Ordering::Less => published = &published[1..],
            Ordering::Greater => rebuilt = &rebuilt[1..],
            Ordering::Equal => {
                both.push(*one);
                (published, rebuilt) = (&published[1..], &rebuilt[1..]);
            }
        }
    }
    both
}

impl Package {
    /// Returns what stays the same when a package is upgraded.
    fn key(&self) -> (Manager, &str, &str) {
        (self.manager, &self.name, &self.architecture)
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        testing::{BERKELEY, Endian, NDB, SQLITE},
        *,
    };

    const STATUS: &str = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\n\
        Multi-Arch: same\nVersion: 2.36-9\nConffiles:\n /etc/ld.so.conf.d/x.conf \
        0123456789abcdef0123456789abcdef\nDescription: the C library\n more of it\n\n\
        Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n\n\
        Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2-1\n";

    fn inventory(files: &[(&str, &str)]) -> Inventory {
        let files: BTreeMap<EntryPath, Vec<u8>> = files
            .iter()
            .map(|(path, text)| (EntryPath::of(path.as_bytes()), text.as_bytes().to_vec()))
            .collect();
        assert!(files.keys().all(Inventory::wants));
        Inventory::read(&files)
    }

    fn owner(inventory: &Inventory, path: &str) -> Option<String> {
        inventory
            .owner(&EntryPath::of(path.as_bytes()))
            .map(ToString::to_string)
    }

    #[test]
    fn a_files_package_is_the_one_that_lists_it() {
        let debian = inventory(&[
            ("var/lib/dpkg/status", STATUS),
            (
                "var/lib/dpkg/info/bash.list",
                "/.\n/bin\n/bin/bash\n/usr\n/usr/share\n",
            ),
            (
                "var/lib/dpkg/info/libc6:amd64.list",
                "/.\n/lib\n/lib/libc.so.6\n/usr\n/usr/share\n",
            ),
            ("var/lib/dpkg/info/gone.list", "/etc/gone\n"),
            (
                "var/lib/dpkg/info/bash.md5sums",
                "d41d8cd98f00b204e9800998ecf8427e  bin/bash\n",
            ),
        ]);
        let distroless = inventory(&[
            (
                "var/lib/dpkg/status.d/base",
                "Package: base-files\nVersion: 12\nArchitecture: amd64\n",
            ),
            (
                "var/lib/dpkg/status.d/base.md5sums",
                "d41d8cd98f00b204e9800998ecf8427e  etc/os-release\n",
            ),
        ]);
        let alpine = inventory(&[(
            "lib/apk/db/installed",
            "C:Q1x\nP:busybox\nV:1.36-r0\nA:x86_64\nF:bin\nR:busybox\na:0:0:755\n\
             Z:Q12jmj7l5rSw0yVb/vlWAYkK/YBwk=\nF:etc\nR:securetty\n\n",
        )]);
        let bash = "bash 5.2-1";
        let cases = [
            ("listed", &debian, "bin/bash", Some(bash)),
            ("through a merged /usr", &debian, "usr/bin/bash", Some(bash)),
            (
                "a package of one architecture",
                &debian,
                "usr/lib/libc.so.6",
                Some("libc6 2.36-9"),
            ),
            (
                "a conffile",
                &debian,
                "etc/ld.so.conf.d/x.conf",
                Some("libc6 2.36-9"),
            ),
            ("a folder of both", &debian, "usr/share", None),
            ("of what was removed", &debian, "etc/gone", None),
            ("of nobody", &debian, "bin/sh", None),
            (
                "distroless",
                &distroless,
                "etc/os-release",
                Some("base-files 12"),
            ),
            ("apk", &alpine, "bin/busybox", Some("busybox 1.36-r0")),
            (
                "apk, the next folder",
                &alpine,
                "etc/securetty",
                Some("busybox 1.36-r0"),
            ),
        ];
        for (case, inventory, path, expected) in cases {
            assert_eq!(owner(inventory, path).as_deref(), expected, "{case}");
            assert_eq!(inventory.problems(), [""; 0], "{case}");
        }
        let empty = |inventory: &Inventory, path: &str| {
            inventory
                .recorded(&EntryPath::of(path.as_bytes()))
                .map(|recorded| recorded.is_of(b""))
        };
        assert_eq!(empty(&debian, "usr/bin/bash"), Some(true));
        assert_eq!(empty(&debian, "etc/ld.so.conf.d/x.conf"), Some(false));
        assert_eq!(empty(&debian, "lib/libc.so.6"), None);
        assert_eq!(empty(&alpine, "bin/busybox"), Some(true));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let inventory = inventory(&[
            (
                "var/lib/dpkg/status",
                "Version: 1\n\nPackage: a\nVersion: 1\n",
            ),
            ("var/lib/dpkg/info/a.md5sums", "no sum\n"),
            ("lib/apk/db/installed", "V:1\n\nP:b\nV:2\n"),
        ]);
        assert_eq!(
            inventory.problems(),
            [
                "/var/lib/dpkg/status: 1 stanzas name no package",
                "/var/lib/dpkg/info/a.md5sums: 1 lines hold no MD5 sum and path",
                "/lib/apk/db/installed: 1 records or lines cannot be read",
            ]
        );
        assert_eq!(inventory.packages().len(), 2);
    }

    #[test]
    fn packages_in_other_versions_are_named_with_both() {
        let of = |packages: &[(&str, &str)]| {
            let mut text = String::new();
            for (name, version) in packages {
                text.extend(["Package: ", name, "\nVersion: ", version, "\n\n"]);
            }
            inventory(&[("var/lib/dpkg/status", &text)])
        };
        let published = of(&[("a", "1"), ("b", "1"), ("c", "1"), ("k", "1"), ("k", "2")]);
        let rebuilt = of(&[("a", "1"), ("b", "2"), ("d", "1"), ("k", "2"), ("k", "3")]);
        let found: Vec<_> = drift(Pair::new(&published, &rebuilt))
            .into_iter()
            .map(|drift| {
                let version = drift.version.map(Option::unwrap_or_default);
                (drift.name, version.published, version.rebuilt)
            })
            .collect();
        let row = |name: &str, published: &str, rebuilt: &str| {
            (name.to_owned(), published.to_owned(), rebuilt.to_owned())
        };
        assert_eq!(
            found,
            [
                row("b", "1", "2"),
                row("c", "1", ""),
                row("d", "", "1"),
                row("k", "1", "3"),
            ]
        );
        assert_eq!(drift(Pair::new(&published, &published)), []);
    }

    #[test]
    fn rpms_databases_are_read_page_by_page() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let package = |name: &str, epoch: Option<u32>, files: &[&str]| {
            let numbers = epoch.map(|epoch| [epoch]);
            let mut all: Vec<(u32, &[u32])> = Vec::new();
            if let Some(epoch) = &numbers {
                all.push((1003, epoch));
            }
            let folders = vec![0; files.len()];
            let digests = vec![empty; files.len()];
            all.push((1116, &folders));
            testing::header(
                &[
                    (1000, &[name]),
                    (1001, &["1.0"]),
                    (1002, &["2.fc40"]),
                    (1022, &["x86_64"]),
                    (1117, files),
                    (1118, &["/usr/bin/"]),
                    (1035, &digests),
                ],
                &all,
            )
        };
        let many: Vec<String> = (0..40).map(|number| format!("tool-{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let headers = [
            package("bash", Some(1), &["bash"]),
            package("tools", None, &many),
            vec![0xff; 30],
        ];
        let databases = [
            (SQLITE, testing::sqlite(&headers)),
            (BERKELEY, testing::berkeley(Endian::Little, &headers)),
            (BERKELEY, testing::berkeley(Endian::Big, &headers)),
            (NDB, testing::ndb(&headers)),
        ];
        let tool = EntryPath::of(b"usr/bin/tool-39");
        for (name, bytes) in databases {
            let path = EntryPath::of(name.as_bytes());
            assert!(Inventory::wants(&path));
            let read = |bytes: Vec<u8>| Inventory::read(&[(path.clone(), bytes)].into());
            let inventory = read(bytes.clone());
            assert_eq!(
                owner(&inventory, "bin/bash").as_deref(),
                Some("bash 1:1.0-2.fc40"),
                "{name}"
            );
            assert_eq!(
                owner(&inventory, "usr/bin/tool-39").as_deref(),
                Some("tools 1.0-2.fc40")
            );
            assert!(inventory.recorded(&tool).unwrap().is_of(b""));
            assert_eq!(
                inventory.problems(),
                [format!("/{name}: 1 headers cannot be read")]
            );
            // Every third byte of some thousands is enough, and takes seconds.
            for at in (0..bytes.len()).step_by(3) {
                let mut changed = bytes.clone();
                changed[at] ^= 0x55;
                read(changed);
                read(bytes[..at].to_vec());
            }
        }
    }

    #[test]
    fn changes_that_are_not_in_rpms_database_yet_are_named() {
        let rows = [
            ("wal", "changes that are not in the database yet"),
            ("journal", "changes that are to be taken back"),
        ];
        for (kind, what) in rows {
            let path = format!("usr/lib/sysimage/rpm/rpmdb.sqlite-{kind}");
            assert_eq!(inventory(&[(&path, "")]).problems(), [""; 0]);
            assert_eq!(
                inventory(&[(&path, "x")]).problems(),
                [format!("/{path}: {what} are not read")]
            );
        }
    }

    #[test]
    fn paths_that_are_longer_than_there_are_are_counted_and_not_kept() {
        let folder = "x".repeat(MAX_PATH);
        let alpine = format!(
            "P:a\nV:1\nF:bin\nR:b\nF:{folder}\nR:c\nZ:Q1{}=\nR:d\n\n",
            "A".repeat(27)
        );
        let header = testing::header(
            &[
                (1000, &["a"]),
                (1001, &["1"]),
                (1002, &["1"]),
                (1117, &["b", "c"]),
                (1118, &["/bin/", &folder]),
            ],
            &[(1116, &[0, 1])],
        );
        let of = |path: &str, bytes| {
            let files = [(EntryPath::of(path.as_bytes()), bytes)];
            Inventory::read(&files.into())
        };
        let rows = [
            (of("lib/apk/db/installed", alpine.into_bytes()), 2, 3),
            (of(SQLITE, testing::sqlite(&[header])), 1, 1),
        ];
        for (read, left_out, kept) in rows {
            let told = format!("{left_out} packages and paths are more than are read");
            assert_eq!(read.problems(), [told]);
            assert_eq!(read.paths.len(), kept);
            let file = EntryPath::of(b"bin/b");
            assert!(read.owner(&file).is_some());
            assert_eq!(read.recorded(&file), None);
        }
    }

    #[test]
    fn rows_and_tables_that_lie_over_each_other_are_refused() {
        let right = testing::row("trans", &[1, 2, 3], "dnf");
        let of = |bytes: &[u8]| {
            let numbers = sqlite::numbers(bytes, b"trans", 1, b"dt_begin");
            (
                sqlite::lie_apart(bytes),
                numbers.map(|numbers| numbers.len()),
            )
        };
        assert_eq!(of(&right), (true, Some(1)));
        assert_eq!(sqlite::numbers(&right, b"trans", 2, b"dt_begin"), None);
        assert!(sqlite::numbers(&right, b"trans", 2, b"dt_end").is_some());
        let page = testing::PAGE;
        // A second pointer to the same cell, and one to a part of it.
        for less in [0, 1] {
            let mut twice = right.clone();
            twice[page + 4] = 2;
            let at = u16::from_be_bytes([right[page + 8], right[page + 9]]) + less;
            twice[page + 10..page + 12].copy_from_slice(&at.to_be_bytes());
            assert_eq!(of(&twice), (false, None), "{less}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(
            status in "(Package|Version|Conffiles|P|V|F|R|Z| /a)?[:\n ]{0,3}[ -~\n]{0,200}",
            other in proptest::collection::vec(any::<u8>(), 0..200),
            (path, seed) in proptest::sample::select(testing::seeds()),
            at in any::<proptest::sample::Index>(),
        ) {
            let mut changed = seed.clone();
            changed[at.index(seed.len())] ^= 0x41;
            for bytes in [status.into_bytes(), other, changed] {
                let read = Inventory::read(&[(EntryPath::of(path.as_bytes()), bytes)].into());
                prop_assert_eq!(drift(Pair::new(&read, &read)), []);
            }
        }
    }
}
