//! Debian's database: stanzas of packages, and for each the files that it installed.
//!
//! Source: dpkg-query(1), deb-control(5), deb-md5sums(5); images built by
//! `rules_distroless` keep one stanza a file in `status.d`.

use std::collections::BTreeMap;

use super::{Claim, Found, Manager, Package, Recorded, text};
use crate::image::EntryPath;

const STATUS: &[u8] = b"var/lib/dpkg/status";
const STATUS_FOLDER: &[u8] = b"var/lib/dpkg/status.d/";
const INFO_FOLDER: &[u8] = b"var/lib/dpkg/info/";
const LIST: &[u8] = b".list";
const SUMS: &[u8] = b".md5sums";

pub(super) fn wants(path: &[u8]) -> bool {
    let in_folder = |folder: &[u8]| {
        path.strip_prefix(folder)
            .filter(|name| !name.is_empty() && !name.contains(&b'/'))
    };
    path == STATUS
        || in_folder(STATUS_FOLDER).is_some()
        || in_folder(INFO_FOLDER).is_some_and(|name| name.ends_with(LIST) || name.ends_with(SUMS))
}

pub(super) fn read(files: &BTreeMap<EntryPath, Vec<u8>>, found: &mut Found) {
    // The names under which a package's lists are filed, and its number.
    let mut names: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for (path, bytes) in files {
        let bytes = bytes.as_slice();
        let file = path.as_bytes();
        let stem = file
            .strip_prefix(STATUS_FOLDER)
            .filter(|name| !name.ends_with(SUMS));
        if file != STATUS && stem.is_none() {
            continue;
        }
        let mut unreadable = 0;
        for stanza in stanzas(bytes) {
            let Some(entry) = entry(stanza) else {
                unreadable += 1;
                continue;
            };
            if !entry.is_installed {
                continue;
            }
            let package = found.package(entry.package);
            let name = found.packages[package].name.as_bytes();
            let architecture = found.packages[package].architecture.as_bytes();
            let qualified = [name, b":", architecture].concat();
            let own = [qualified, name.to_vec()];
            for name in own.into_iter().chain(stem.map(<[u8]>::to_vec)) {
                names.entry(name).or_insert(package);
            }
            for (path, sum) in entry.conffiles {
                found.claim(path, package, Claim::File(Some(sum)));
            }
        }
        if unreadable > 0 {
            found.problem(format!("{path}: {unreadable} stanzas name no package"));
        }
    }
    for (path, bytes) in files {
        let file = path.as_bytes();
        let name = file
            .strip_prefix(INFO_FOLDER)
            .or_else(|| file.strip_prefix(STATUS_FOLDER));
        let Some(name) = name else {
            continue;
        };
        let (name, is_list) = match (name.strip_suffix(LIST), name.strip_suffix(SUMS)) {
            (Some(name), _) if file.starts_with(INFO_FOLDER) => (name, true),
            (_, Some(name)) => (name, false),
            _ => continue,
        };
        let Some(&package) = names.get(name) else {
            // What was removed leaves its list behind, with its configuration.
            continue;
        };
        let mut unreadable = 0;
        for line in bytes.split(|&byte| byte == b'\n') {
            if line.is_empty() {
                continue;
            }
            if is_list {
                found.claim(EntryPath::of(line), package, Claim::Listed);
            } else if let Some((sum, path)) = sum_line(line) {
                found.claim(path, package, Claim::File(Some(sum)));
            } else {
                unreadable += 1;
            }
        }
        if unreadable > 0 {
            found.problem(format!(
                "{path}: {unreadable} lines hold no MD5 sum and path"
            ));
        }
    }
}

/// What a stanza says.
struct Entry {
    package: Package,
    is_installed: bool,
    conffiles: Vec<(EntryPath, Recorded)>,
}

/// Returns the paragraphs of a file, in order.
fn stanzas(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        while let Some(after) = rest.strip_prefix(b"\n") {
            rest = after;
        }
        if rest.is_empty() {
            return None;
        }
        let end = rest
            .windows(2)
            .position(|pair| pair == b"\n\n")
            .unwrap_or(rest.len());
        let (stanza, after) = rest.split_at(end);
        rest = after;
        Some(stanza)
    })
}

fn entry(stanza: &[u8]) -> Option<Entry> {
    let mut field: &[u8] = b"";
    let mut values: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
    let mut conffiles = Vec::new();
    for line in stanza.split(|&byte| byte == b'\n') {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            if field.eq_ignore_ascii_case(b"Conffiles") {
                conffiles.extend(conffile(line));
            }
            continue;
        }
        let colon = line.iter().position(|&byte| byte == b':');
        if let Some(colon) = colon {
            field = &line[..colon];
            values
                .entry(field)
                .or_insert_with(|| line[colon + 1..].trim_ascii());
        }
    }
    let value = |name: &[u8]| values.get(name).copied();
    Some(Entry {
        package: Package {
            manager: Manager::Dpkg,
            name: text(value(b"Package")?),
            version: text(value(b"Version").unwrap_or_default()),
            architecture: text(value(b"Architecture").unwrap_or_default()),
        },
        // `status.d` has no such field. "config-files" ends otherwise.
        is_installed: value(b"Status").is_none_or(|status| {
            status
                .rsplit(|&byte| byte == b' ')
                .next()
                .is_some_and(|word| word != b"config-files" && word != b"not-installed")
        }),
        conffiles,
    })
}

/// Reads ` /path md5`, with ` obsolete` or ` remove-on-upgrade` after it at times.
fn conffile(line: &[u8]) -> Option<(EntryPath, Recorded)> {
    let mut words = line.trim_ascii().split(|&byte| byte == b' ');
    let path = words.next()?;
    let sum = words.next()?;
    (words.next().is_none() && path.starts_with(b"/"))
        .then(|| Some((EntryPath::of(path), Recorded::md5(sum)?)))
        .flatten()
}

/// Reads `md5  path`.
fn sum_line(line: &[u8]) -> Option<(Recorded, EntryPath)> {
    let (sum, path) = line.split_at_checked(32)?;
    let path = path
        .strip_prefix(b"  ")
        .or_else(|| path.strip_prefix(b" *"))?;
    Some((Recorded::md5(sum)?, EntryPath::of(path)))
}
