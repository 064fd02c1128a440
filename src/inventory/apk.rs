//! Alpine's database: paragraphs of one-letter fields, files among them.
//!
//! Source: apk-tools, `src/database.c` (`apk_db_fdb_read`).

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Claim, Found, MAX_PATH, MAX_PATH_BYTES, MAX_PATHS, Manager, Package, Recorded, text};
use crate::image::EntryPath;

/// Where it lies; since apk 3 below `usr`.
const INSTALLED: [&[u8]; 2] = [b"lib/apk/db/installed", b"usr/lib/apk/db/installed"];

pub(super) fn wants(path: &[u8]) -> bool {
    INSTALLED.contains(&path)
}

pub(super) fn read(files: &BTreeMap<EntryPath, Vec<u8>>, found: &mut Found) {
    for (path, bytes) in files {
        if !wants(path.as_bytes()) {
            continue;
        }
        let mut record = Record::default();
        let mut unreadable = 0;
        for line in bytes.split(|&byte| byte == b'\n').chain([&b""[..]]) {
            match line {
                [] => unreadable += usize::from(!std::mem::take(&mut record).end(found)),
                [letter, b':', value @ ..] => record.field(*letter, value),
                _ => unreadable += 1,
            }
        }
        if unreadable > 0 {
            found.problem(format!(
                "{path}: {unreadable} records or lines cannot be read"
            ));
        }
    }
}

/// One package, as far as it was read.
#[derive(Default)]
struct Record {
    name: Option<String>,
    version: String,
    architecture: String,
    folder: Vec<u8>,
    files: Vec<(EntryPath, Claim)>,
    /// How many bytes their paths have.
    path_bytes: usize,
    /// How many files are more than are kept, or have longer paths than there are.
    left_out: usize,
    /// Whether the last file was left out, and its checksum with it.
    is_left_out: bool,
    is_begun: bool,
}

impl Record {
    fn field(&mut self, letter: u8, value: &[u8]) {
        self.is_begun = true;
        match letter {
            b'P' => self.name = Some(text(value)),
            b'V' => self.version = text(value),
            b'A' => self.architecture = text(value),
            b'F' => {
                self.folder = value.to_vec();
                self.file(&[value], Claim::Listed);
            }
            b'R' => {
                let folder = std::mem::take(&mut self.folder);
                self.file(&[&folder, b"/", value], Claim::File(None));
                self.folder = folder;
            }
            b'Z' if self.is_left_out => {}
            b'Z' => {
                if let Some((_, Claim::File(recorded))) = self.files.last_mut() {
                    *recorded = checksum(value);
                }
            }
            _ => {}
        }
    }

    /// Adds a file, or counts it: one folder's long name may stand before many files.
    fn file(&mut self, path: &[&[u8]], claim: Claim) {
        let length: usize = path.iter().map(|part| part.len()).sum();
        self.is_left_out = length > MAX_PATH
            || self.files.len() >= MAX_PATHS
            || self.path_bytes + length > MAX_PATH_BYTES;
        if self.is_left_out {
            self.left_out += 1;
        } else {
            self.path_bytes += length;
            self.files.push((EntryPath::of(&path.concat()), claim));
        }
    }

    /// Adds the package; returns whether there was one, or nothing at all.
    fn end(self, found: &mut Found) -> bool {
        let Some(name) = self.name else {
            return !self.is_begun;
        };
        found.left_out += self.left_out;
        let package = found.package(Package {
            manager: Manager::Apk,
            name,
            version: self.version,
            architecture: self.architecture,
        });
        for (path, claim) in self.files {
            found.claim(path, package, claim);
        }
        true
    }
}

/// Reads `Q1` and a SHA-1 in base 64, or `Q2` and a SHA-256.
fn checksum(value: &[u8]) -> Option<Recorded> {
    let (kind, value) = value.split_at_checked(2)?;
    let bytes = STANDARD.decode(value).ok()?;
    match kind {
        b"Q1" => Some(Recorded::Sha1(bytes.try_into().ok()?)),
        b"Q2" => Some(Recorded::Sha256(bytes.try_into().ok()?)),
        _ => None,
    }
}
