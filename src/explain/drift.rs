//! Causes that follow from other versions of packages, as the images' own databases tell.
//!
//! What an image says of its packages is that image's word: it explains, and accepts nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::{Alone, Cause, File, Recogniser, Recognition, Root, order};
use crate::{
    compare::content::system::ld_cache::{self, Library},
    image::EntryPath,
    inventory::{self, Inventory, Manager},
    pair::Pair,
};

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        id: "snapshot-drift",
        root: Root::Versions,
        title: "another version of the file's package was installed",
        advice: "install from a snapshot of the archive, such as snapshot.debian.org, or pin versions",
        recognise: Recogniser::File(file_of_package),
    },
    Cause {
        id: "snapshot-drift.database",
        root: Root::Versions,
        title: "the package database tells of other versions",
        advice: "install from a snapshot of the archive, such as snapshot.debian.org, or pin versions",
        recognise: Recogniser::File(database),
    },
    Cause {
        id: "snapshot-drift.ld-cache",
        root: Root::Versions,
        title: "the loader's cache lists the libraries of other versions",
        advice: "install from a snapshot of the archive, such as snapshot.debian.org, or pin versions",
        recognise: Recogniser::File(loader),
    },
    Cause {
        id: "snapshot-drift.one-sided",
        root: Root::Versions,
        title: "the file's package is on one side only, or in a version that has no such file",
        advice: "install from a snapshot of the archive, such as snapshot.debian.org, or pin versions",
        recognise: Recogniser::Alone(alone),
    },
];

fn alone(file: &Alone<'_>) -> Recognition {
    let listed = file.path.as_bytes().strip_prefix(INFORMATION);
    let owner = match listed {
        // Where several are meant, none is known to be.
        Some(name) => match packages_of(name, file.inventory)[..] {
            [owner] => Some(owner),
            _ => None,
        },
        None => file.inventory.owner(file.path),
    };
    let Some(owner) = owner else {
        return Recognition::Elsewhere;
    };
    let others = named(file.other, owner.manager, &owner.name);
    if others.contains(owner) {
        return Recognition::Refused(
            format!("{owner} is on both sides, and this file of it on one only").into(),
        );
    }
    let shown = match (file.bytes, listed) {
        (None, Some(_)) => {
            return Recognition::Refused("it is a folder, and dpkg keeps none there".into());
        }
        (None, None) if file.inventory.recorded(file.path).is_some() => {
            return Recognition::Refused(
                format!("it is a folder, and a file in the database of {owner}").into(),
            );
        }
        (None, None) => "is a folder that only this package lists",
        (Some(bytes), Some(name)) => match is_list(name, bytes) {
            Some(true) => "only lists the package's paths",
            Some(false) => {
                return Recognition::Refused("it has a line that does not belong there".into());
            }
            // Scripts run as root: nothing records what they should be.
            None => {
                return Recognition::Refused(
                    format!("no database records a checksum of this file of {owner}").into(),
                );
            }
        },
        (Some(bytes), None) => match file.inventory.recorded(file.path) {
            Some(recorded) if recorded.is_of(bytes) => "has the checksum that its database records",
            Some(_) => {
                return Recognition::Refused(
                    format!(
                        "it has not the checksum that its database records of this file of {owner}"
                    )
                    .into(),
                );
            }
            None => {
                return Recognition::Refused(
                    format!("no database records a checksum of this file of {owner}").into(),
                );
            }
        },
    };
    let is_of_kind = |other: &&inventory::Package| other.architecture == owner.architecture;
    let elsewhere = match (others.iter().find(is_of_kind), others.first()) {
        (Some(other), _) => format!("{} in the other image", other.version),
        (None, Some(other)) => format!(
            "{} of {} instead of {} in the other image",
            other.version, other.architecture, owner.architecture
        ),
        (None, None) => "not in the other image".to_owned(),
    };
    Recognition::Explained(
        format!("it belongs to {owner}, which is {elsewhere}, and {shown}").into(),
    )
}

fn file_of_package(file: &File<'_>) -> Recognition {
    let owners = file.inventories.map(|inventory| inventory.owner(file.path));
    let (Some(published), Some(rebuilt)) = (owners.published, owners.rebuilt) else {
        return Recognition::Elsewhere;
    };
    let recorded = file
        .inventories
        .map(|inventory| inventory.recorded(file.path));
    let fits = |recorded: Option<&inventory::Recorded>, bytes| {
        recorded.map(|recorded| recorded.is_of(bytes))
    };
    let fit = Pair::new(
        fits(recorded.published, file.bytes.published),
        fits(recorded.rebuilt, file.bytes.rebuilt),
    );
    let unfit = match (fit.published, fit.rebuilt) {
        (Some(true), Some(true)) => None,
        (Some(false), Some(false)) => Some("neither side's bytes have"),
        (Some(false), _) => Some("the published bytes have not"),
        (_, Some(false)) => Some("the rebuilt bytes have not"),
        (None, _) | (_, None) => {
            return Recognition::Refused(
                format!("the database of a side records no checksum of this file of {published}")
                    .into(),
            );
        }
    };
    if let Some(unfit) = unfit {
        return Recognition::Refused(
            format!("{unfit} the checksum that the side's own database records of this file of {published}").into(),
        );
    }
    if published.name != rebuilt.name || published.manager != rebuilt.manager {
        return Recognition::Refused(
            format!("the file belongs to {published} on one side, to {rebuilt} on the other")
                .into(),
        );
    }
    if published.version == rebuilt.version {
        return Recognition::Refused(
            format!("{published} is on both sides, with this file in two forms").into(),
        );
    }
    Recognition::Explained(
        format!(
            "it belongs to {}, which is {} in the published and {} in the rebuilt image, and has \
             the checksum that the database of either side records",
            published.name, published.version, rebuilt.version
        )
        .into(),
    )
}

fn database(file: &File<'_>) -> Recognition {
    let path = file.path.as_bytes();
    let stanzas: [&[u8]; 4] = [
        b"var/lib/dpkg/status",
        b"var/lib/dpkg/status-old",
        b"var/lib/dpkg/available",
        b"var/lib/apt/extended_states",
    ];
    let information = path.strip_prefix(INFORMATION);
    let is_debian = stanzas.contains(&path) || path.starts_with(b"var/lib/dpkg/status.d/");
    if let Some(name) = information {
        return info(file, name);
    }
    let (manager, field, architecture_field) = if is_debian {
        (Manager::Dpkg, "Package", "Architecture")
    } else if path.ends_with(b"lib/apk/db/installed") {
        (Manager::Apk, "P", "A")
    } else {
        return Recognition::Elsewhere;
    };
    let drift = inventory::drift(file.inventories);
    let mut drifted: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for drift in drift.iter().filter(|drift| drift.manager == manager) {
        let architectures = drifted.entry(drift.name.as_str()).or_default();
        architectures.insert(drift.architecture.as_str());
    }
    // apt writes the machine's own architecture of packages that have none.
    let is_any = path.ends_with(b"extended_states");
    if drifted.is_empty() {
        return Recognition::Elsewhere;
    }
    if let Some(refused) = order::too_many_lines(file.bytes) {
        return refused;
    }
    let mut rest = Pair::new(Vec::new(), Vec::new());
    let mut count = 0;
    for (side, rest) in [
        (file.bytes.published, &mut rest.published),
        (file.bytes.rebuilt, &mut rest.rebuilt),
    ] {
        for paragraph in order::paragraphs(side) {
            let value = |field| {
                let value = order::field(paragraph, field).unwrap_or_default();
                std::str::from_utf8(value).ok()
            };
            let architecture = value(architecture_field);
            let is_drifted = value(field)
                .and_then(|name| drifted.get(name))
                .is_some_and(|of| is_any || architecture.is_some_and(|one| of.contains(one)));
            if is_drifted {
                count += 1;
            } else {
                rest.push(paragraph);
            }
        }
        rest.sort_unstable();
    }
    if let Some((side, paragraph)) = order::only_one(rest.as_ref().map(Vec::as_slice)) {
        return Recognition::Refused(
            format!(
                "only the {side} database has the entry {}, and that package is in the same version on both sides",
                order::shown(paragraph)
            )
            .into(),
        );
    }
    let mut names = BTreeSet::new();
    let mut others = rest.published.iter().copied();
    if !others.all(|paragraph| {
        names.insert([field, architecture_field].map(|field| order::field(paragraph, field)))
    }) {
        return Recognition::Refused(
            "two entries are of one package, and the order decides which counts".into(),
        );
    }
    Recognition::Explained(
        format!(
            "all other entries are equal; {count} are of packages that are in other versions \
             or on one side only, such as {}",
            drifted.keys().next().copied().unwrap_or_default()
        )
        .into(),
    )
}

/// Recognises what dpkg keeps of a package that is in another version.
fn info(file: &File<'_>, name: &[u8]) -> Recognition {
    let packages = file.inventories.map(|side| packages_of(name, side));
    // Where either side's is meant that the other has too, this is none of it.
    let is_on_both = (packages.published.iter()).any(|one| packages.rebuilt.contains(one));
    let Some(package) = packages.published.first().filter(|_| !is_on_both) else {
        return Recognition::Elsewhere;
    };
    if packages.rebuilt.is_empty() {
        return Recognition::Elsewhere;
    }
    let package = &package.name;
    let lists = file.bytes.map(|bytes| is_list(name, bytes));
    match (lists.published, lists.rebuilt) {
        (Some(true), Some(true)) => {}
        (Some(_), Some(_)) => {
            return Recognition::Refused(
                "a side has a line that does not belong in such a list".into(),
            );
        }
        // Scripts run as root, and templates are shown: nothing records what they should be.
        (None, _) | (_, None) => {
            return Recognition::Refused(
                format!("{package} is in another version, and its database records no checksum of this file").into(),
            );
        }
    }
    Recognition::Explained(
        format!("{package} is in another version on each side; both files only list its paths")
            .into(),
    )
}

/// Where dpkg keeps what it knows of each package.
const INFORMATION: &[u8] = b"var/lib/dpkg/info/";

/// Returns the packages that a file of that folder is about: `libc6:i386.list` is about that
/// of one architecture, and `bash.list` about any.
fn packages_of<'a>(name: &[u8], inventory: &'a Inventory) -> Vec<&'a inventory::Package> {
    let end = name.iter().rposition(|&byte| byte == b'.').unwrap_or(0);
    let Ok(stem) = std::str::from_utf8(&name[..end]) else {
        return Vec::new();
    };
    let (name, architecture) = match stem.split_once(':') {
        Some((name, architecture)) => (name, Some(architecture)),
        None => (stem, None),
    };
    let packages = named(inventory, Manager::Dpkg, name).iter();
    packages
        .filter(|package| architecture.is_none_or(|one| package.architecture == one))
        .collect()
}

/// Returns the packages of a name, which lie together in their order.
fn named<'a>(inventory: &'a Inventory, manager: Manager, name: &str) -> &'a [inventory::Package] {
    let packages = inventory.packages();
    let key = (manager, name);
    let from = packages.partition_point(|other| (other.manager, other.name.as_str()) < key);
    let to = packages.partition_point(|other| (other.manager, other.name.as_str()) <= key);
    &packages[from..to]
}

/// Returns whether a file of that folder is a list of the package's paths in each of its
/// lines; `None` where it is of a kind that is no such list.
fn is_list(name: &[u8], bytes: &[u8]) -> Option<bool> {
    let is_well_formed: fn(&[u8]) -> bool = match name.rsplit(|&byte| byte == b'.').next()? {
        b"list" | b"conffiles" => |line| line.starts_with(b"/"),
        b"md5sums" => |line| {
            line.len() > 34
                && line[..32].iter().all(u8::is_ascii_hexdigit)
                && line[32..34] == *b"  "
        },
        _ => return None,
    };
    let lines = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    Some(bytes.is_empty() || lines.split(|&byte| byte == b'\n').all(is_well_formed))
}

/// Recognises a cache that differs only in libraries of packages in other versions, and in
/// the version of the C library that wrote it.
fn loader(file: &File<'_>) -> Recognition {
    if file.path.as_bytes() != b"etc/ld.so.cache" {
        return Recognition::Elsewhere;
    }
    let drift = inventory::drift(file.inventories);
    if drift.is_empty() {
        return Recognition::Elsewhere;
    }
    let drifted: BTreeSet<(Manager, &str)> = drift
        .iter()
        .map(|drift| (drift.manager, drift.name.as_str()))
        .collect();
    let (Some(published), Some(rebuilt)) = (
        ld_cache::parse(file.bytes.published),
        ld_cache::parse(file.bytes.rebuilt),
    ) else {
        return Recognition::Refused("a side is no cache of which every byte is known".into());
    };
    let of_drifted = |library: &Library<'_>, inventory: &Inventory| {
        let owner = inventory.owner(&EntryPath::of(library.path));
        owner.is_some_and(|owner| drifted.contains(&(owner.manager, owner.name.as_str())))
    };
    let mut names = BTreeSet::new();
    let mut count = 0;
    let mut rest = Pair::new(Vec::new(), Vec::new());
    for (cache, inventory, rest) in [
        (&published, file.inventories.published, &mut rest.published),
        (&rebuilt, file.inventories.rebuilt, &mut rest.rebuilt),
    ] {
        for library in &cache.libraries {
            if of_drifted(library, inventory) {
                count += 1;
                names.insert((library.table, library.name));
            } else {
                rest.push(*library);
            }
        }
        // The sort is stable: of one name, the order in the cache decides.
        rest.sort_by_key(|library| (library.table, library.name));
    }
    let mut others = rest.published.iter().chain(&rest.rebuilt);
    if rest.published != rest.rebuilt
        || others.any(|library| names.contains(&(library.table, library.name)))
    {
        return Recognition::Refused(
            "libraries differ that belong to no package in another version".into(),
        );
    }
    let writers = [(Manager::Dpkg, "libc-bin"), (Manager::Rpm, "glibc")];
    let is_writer_same = !writers.iter().any(|writer| drifted.contains(writer));
    if published.generator != rebuilt.generator && is_writer_same {
        return Recognition::Refused(
            "another ldconfig wrote a side, and its package is in the same version".into(),
        );
    }
    if published.padding != rebuilt.padding {
        return Recognition::Refused("one cache has more zero bytes in no field".into());
    }
    if published.flags != rebuilt.flags || published.subfolders != rebuilt.subfolders {
        return Recognition::Refused("the caches are for other processors".into());
    }
    Recognition::Explained(
        format!(
            "{count} entries are of packages in other versions, and the other {} are the same",
            rest.published.len()
        )
        .into(),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{
        Alone, examine_alone,
        testing::{Row, told_with},
    };
    use crate::{
        compare::content::testing::ld_cache, image::EntryPath, inventory::Inventory, pair::Pair,
    };

    fn inventory(version: &str, sum: &str) -> Inventory {
        let files = [
            (
                "var/lib/dpkg/status",
                format!(
                    "Package: tzdata\nStatus: install ok installed\nVersion: {version}\nArchitecture: all\n\n\
                     Package: bash\nStatus: install ok installed\nVersion: 5\nArchitecture: all\n"
                ),
            ),
            (
                "var/lib/dpkg/info/tzdata.md5sums",
                format!("{sum}  usr/share/zoneinfo/UTC\n"),
            ),
            (
                "var/lib/dpkg/info/bash.md5sums",
                "0cc175b9c0f1b6a831c399e269772661  bin/bash\n".to_owned(),
            ),
        ];
        let files: BTreeMap<EntryPath, Vec<u8>> = files
            .into_iter()
            .map(|(path, text)| (EntryPath::of(path.as_bytes()), text.into_bytes()))
            .collect();
        Inventory::read(&files)
    }

    #[test]
    fn a_files_drift_is_shown_by_both_databases() {
        // The MD5 sums of "a" and "b".
        let published = inventory("2024a", "0cc175b9c0f1b6a831c399e269772661");
        let rebuilt = inventory("2025b", "92eb5ffee6ae2fec3ad71c777531578f");
        let status = |version: &str, uid: &str| {
            format!(
                "Package: tzdata\nVersion: {version}\nArchitecture: all\n\n\
                 Package: bash\nVersion: 5\nX: {uid}\n\n"
            )
        };
        let status = [
            status("2024a", "1"),
            status("2025b", "1"),
            status("2025b", "2"),
        ];
        let zone = "usr/share/zoneinfo/UTC";
        let rows: [Row<'_>; 11] = [
            (
                "a file of a drifted package",
                zone,
                b"a".into(),
                b"b".into(),
                "snapshot-drift",
            ),
            (
                "a changed file of one",
                zone,
                b"x".into(),
                b"b".into(),
                "snapshot-drift: the published bytes have not the checksum that the side's own \
                 database records of this file of tzdata 2024a",
            ),
            (
                "a changed file of another package",
                "usr/bin/bash",
                b"a".into(),
                b"x".into(),
                "snapshot-drift: the rebuilt bytes have not the checksum that the side's own \
                 database records of this file of bash 5",
            ),
            ("nobody's file", "srv/x", b"a".into(), b"b".into(), ""),
            (
                "the database",
                "var/lib/dpkg/status",
                status[0].clone().into(),
                status[1].clone().into(),
                "snapshot-drift.database",
            ),
            (
                "another change in the database",
                "var/lib/dpkg/status",
                status[0].clone().into(),
                status[2].clone().into(),
                "snapshot-drift.database: only the published database has the entry “Package: \
                 bash\\012Version: 5\\012X: 1”, and that package is in the same version on both sides",
            ),
            (
                "two entries of one package",
                "var/lib/dpkg/status",
                format!("{}Package: bash\nVersion: 6\n\n", status[0]).into(),
                format!("Package: bash\nVersion: 6\n\n{}", status[1]).into(),
                "snapshot-drift.database: two entries are of one package, and the order decides \
                 which counts",
            ),
            (
                "a list of another architecture",
                "var/lib/dpkg/info/tzdata:i386.list",
                b"/a\n".into(),
                b"/b\n".into(),
                "",
            ),
            (
                "its sums",
                "var/lib/dpkg/info/tzdata.md5sums",
                b"0cc175b9c0f1b6a831c399e269772661  a\n".into(),
                b"92eb5ffee6ae2fec3ad71c777531578f  a\n".into(),
                "snapshot-drift.database",
            ),
            (
                "its script",
                "var/lib/dpkg/info/tzdata.postinst",
                b"#!/bin/sh\n".into(),
                b"#!/bin/sh\nid\n".into(),
                "snapshot-drift.database: tzdata is in another version, and its database records \
                 no checksum of this file",
            ),
            (
                "the script of a package that is the same",
                "var/lib/dpkg/info/bash.postinst",
                b"#!/bin/sh\n".into(),
                b"#!/bin/sh\nid\n".into(),
                "",
            ),
        ];
        for (case, path, one, other, expected) in rows {
            let sides = Pair::new(&published, &rebuilt);
            let found = told_with(sides, path, &one, &other);
            // Other causes may have been tried too.
            let found = found
                .split("; ")
                .find(|told| told.starts_with("snapshot"))
                .unwrap_or("");
            assert_eq!(found, expected, "{case}");
        }
    }

    /// A case, a path, its bytes, the packages of the other side, and what is told.
    type One<'a> = (&'a str, &'a str, Option<&'a [u8]>, &'a Inventory, &'a str);

    #[test]
    fn what_one_side_has_follows_its_package() {
        let inventory = |packages: &[(&str, &str)]| {
            let mut files = BTreeMap::new();
            let mut status = String::new();
            for (name, version) in packages {
                status.extend(["Package: ", name, "\nVersion: ", version, "\n\n"]);
                let list =
                    format!("/usr\n/usr/lib/{name}\n/usr/lib/{name}/a\n/usr/lib/{name}/link\n");
                // The MD5 sum of "a".
                let sums = format!("0cc175b9c0f1b6a831c399e269772661  usr/lib/{name}/a\n");
                for (kind, text) in [("list", list), ("md5sums", sums)] {
                    let path = format!("var/lib/dpkg/info/{name}.{kind}");
                    files.insert(EntryPath::of(path.as_bytes()), text.into_bytes());
                }
            }
            files.insert(EntryPath::of(b"var/lib/dpkg/status"), status.into_bytes());
            Inventory::read(&files)
        };
        let with = inventory(&[("x", "2"), ("y", "1")]);
        let older = inventory(&[("x", "1"), ("y", "1")]);
        let without = inventory(&[("y", "1")]);
        let other_kind = Inventory::read(&BTreeMap::from([(
            EntryPath::of(b"var/lib/dpkg/status"),
            b"Package: x\nVersion: 2\nArchitecture: all\n".to_vec(),
        )]));
        let explained = "snapshot-drift.one-sided";
        let rows: [One<'_>; 15] = [
            ("a file", "usr/lib/x/a", Some(b"a"), &without, explained),
            (
                "of another version",
                "usr/lib/x/a",
                Some(b"a"),
                &older,
                explained,
            ),
            ("a folder", "usr/lib/x", None, &without, explained),
            (
                "a list",
                "var/lib/dpkg/info/x.list",
                Some(b"/usr\n"),
                &without,
                explained,
            ),
            (
                "another file in its place",
                "usr/lib/x/a",
                Some(b"b"),
                &without,
                "it has not the checksum that its database records of this file of x 2",
            ),
            (
                "a file of a package that both have",
                "usr/lib/y/a",
                Some(b"a"),
                &without,
                "y 1 is on both sides, and this file of it on one only",
            ),
            (
                "a file without a checksum",
                "usr/lib/x/link",
                Some(b"a"),
                &without,
                "no database records a checksum of this file of x 2",
            ),
            (
                "a script",
                "var/lib/dpkg/info/x.postinst",
                Some(b"#!/bin/sh\n"),
                &without,
                "no database records a checksum of this file of x 2",
            ),
            (
                "a script in a list",
                "var/lib/dpkg/info/x.list",
                Some(b"/usr\nid\n"),
                &without,
                "it has a line that does not belong there",
            ),
            ("nobody's file", "usr/lib/z", Some(b"a"), &without, ""),
            (
                "a list of another architecture",
                "var/lib/dpkg/info/x:i386.list",
                Some(b"/usr\n"),
                &without,
                "",
            ),
            (
                "a folder among the lists",
                "var/lib/dpkg/info/x.postinst",
                None,
                &without,
                "it is a folder, and dpkg keeps none there",
            ),
            (
                "a folder in the place of a file",
                "usr/lib/x/a",
                None,
                &without,
                "it is a folder, and a file in the database of x 2",
            ),
            (
                "a file of a package of another architecture",
                "usr/lib/x/a",
                Some(b"a"),
                &other_kind,
                explained,
            ),
            (
                "a program that is none of the database's",
                "usr/lib/x/a",
                Some(b"\x7fELF"),
                &without,
                "it has not the checksum that its database records of this file of x 2",
            ),
        ];
        for (case, path, bytes, other, expected) in rows {
            let examined = examine_alone(&Alone {
                path: &EntryPath::of(path.as_bytes()),
                bytes,
                inventory: &with,
                other,
            });
            let told = match (&examined.explanation, &examined.tried[..]) {
                (Some(explanation), _) => explanation.cause.id,
                (None, [tried]) => &*tried.refused,
                (None, _) => "",
            };
            assert_eq!(told, expected, "{case}");
            let is_program = bytes.is_some_and(|bytes| bytes.starts_with(b"\x7fELF"));
            assert_eq!(!examined.risks.is_empty(), is_program, "{case}");
            if case.ends_with("of another architecture") && !told.is_empty() {
                let evidence = &examined.explanation.unwrap().evidence;
                assert!(
                    evidence.contains("2 of all instead of  in the"),
                    "{evidence}"
                );
            }
        }
    }

    #[test]
    fn the_loaders_cache_follows_its_libraries() {
        let inventory = |version: &str, listed: &str| {
            let files = [
                (
                    "var/lib/dpkg/status",
                    format!("Package: libx1\nVersion: {version}\n\nPackage: libc6\nVersion: 1\n"),
                ),
                ("var/lib/dpkg/info/libx1.list", format!("{listed}\n")),
                (
                    "var/lib/dpkg/info/libc6.list",
                    "/lib/libc.so.6\n".to_owned(),
                ),
            ];
            let files = files.map(|(path, text)| (EntryPath::of(path.as_bytes()), text.into()));
            Inventory::read(&files.into())
        };
        let published = inventory("1", "/usr/lib/libx.so.1");
        let rebuilt = inventory("2", "/usr/lib/libx.so.2");
        let libc = ("libc.so.6", "/lib/libc.so.6");
        let old = ld_cache(&[("libx.so.1", "/lib/libx.so.1"), libc], "ldconfig 2.36");
        let new = ("libx.so.2", "/lib/libx.so.2");
        let mut padded = ld_cache(&[new, libc], "ldconfig 2.36");
        padded.push(0);
        let rows = [
            (
                "another version",
                ld_cache(&[new, libc], "ldconfig 2.36"),
                true,
            ),
            ("zeros after the end", padded, false),
            (
                "nobody's library",
                ld_cache(&[new, libc, ("libe.so", "/tmp/libe.so")], "ldconfig 2.36"),
                false,
            ),
            (
                "one more of a name that is taken",
                ld_cache(&[("libc.so.6", "/lib/libx.so.2"), libc], "ldconfig 2.36"),
                false,
            ),
            (
                "another writer",
                ld_cache(&[new, libc], "ldconfig 2.37"),
                false,
            ),
        ];
        for (case, other, is_explained) in rows {
            let sides = Pair::new(&published, &rebuilt);
            let found = told_with(sides, "etc/ld.so.cache", &old, &other);
            let is_one = found == "snapshot-drift.ld-cache";
            assert_eq!(is_one, is_explained, "{case}: {found}");
        }
    }
}
