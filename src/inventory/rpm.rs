//! rpm's database: a header for each package, in one of three formats of files.
//!
//! Source: rpm, `docs/manual/format_header.md` and `include/rpm/rpmtag.h`.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use super::{
    Claim, Found, MAX_PATH, Manager, Package, Recorded, berkeley, ndb, sqlite,
    stretches::Stretches, text,
};
use crate::image::EntryPath;

/// Where it lies; newer systems keep it below `usr`.
const FOLDERS: [&[u8]; 3] = [
    b"var/lib/rpm/",
    b"usr/lib/sysimage/rpm/",
    // Of images that are updated as a whole.
    b"usr/share/rpm/",
];

/// A format of the file that holds the headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Fedora's since 33, RHEL's since 9.
    Sqlite,
    /// Berkeley DB, of all before.
    Berkeley,
    /// rpm's own, openSUSE's since Leap 15.
    Ndb,
}

impl Format {
    /// Returns the format of the file of this path; `None` if it holds no headers.
    pub(crate) fn of(path: &[u8]) -> Option<Self> {
        match in_folder(path)? {
            b"rpmdb.sqlite" => Some(Self::Sqlite),
            b"Packages" => Some(Self::Berkeley),
            b"Packages.db" => Some(Self::Ndb),
            _ => None,
        }
    }

    /// Reads where the headers lie in a file.
    pub(crate) fn headers(self, bytes: &[u8]) -> Result<Vec<Stretches>, &'static str> {
        match self {
            Self::Sqlite => {
                sqlite::blobs(bytes, b"Packages").ok_or("the table of packages cannot be read")
            }
            Self::Berkeley => berkeley::values(bytes),
            Self::Ndb => {
                let blobs = ndb::blobs(bytes)?.into_iter();
                Ok(blobs.map(|blob| blob.header).collect())
            }
        }
    }

    /// Returns what the file holds besides the headers of when it was written, given the
    /// transactions that they name: places that may differ, each checked.
    pub(crate) fn times(
        self,
        bytes: &[u8],
        transactions: &BTreeSet<u32>,
    ) -> Result<Vec<Range<usize>>, &'static str> {
        match self {
            Self::Sqlite => {
                if !sqlite::lie_apart(bytes) {
                    return Err("tables lie over each other, or cannot be read");
                }
                // Where there is no such table, no more of the file may differ.
                let keys = sqlite::blobs(bytes, b"Installtid").unwrap_or_default();
                let is_one = |key: &Stretches| {
                    let key: Option<[u8; 4]> = key.bytes(bytes).try_into().ok();
                    key.is_some_and(|key| {
                        // In the order of the machine that wrote it.
                        [u32::from_le_bytes(key), u32::from_be_bytes(key)]
                            .iter()
                            .any(|number| transactions.contains(number))
                    })
                };
                if !keys.iter().all(is_one) {
                    return Err("the table of transactions has one that no package names");
                }
                Ok(keys.iter().flat_map(Stretches::ranges).collect())
            }
            Self::Berkeley => Ok(vec![berkeley::FILE_ID]),
            Self::Ndb => {
                let blobs = ndb::blobs(bytes)?;
                if !blobs.iter().all(|blob| blob.has_right_sum) {
                    return Err("a header has not the checksum that stands behind it");
                }
                let blobs = blobs.into_iter();
                Ok(blobs.flat_map(|blob| [blob.time, blob.sum]).collect())
            }
        }
    }
}

impl Format {
    /// Returns what [`Self::times`] leaves out.
    pub(crate) fn left_out(self) -> &'static str {
        match self {
            Self::Sqlite => "the same times as keys of the transactions",
            Self::Berkeley => "the 20 bytes of the file's id",
            Self::Ndb => "when each header was written, and its checksum, which is right",
        }
    }
}

/// Returns the name of a file in the database's folder.
pub(crate) fn in_folder(path: &[u8]) -> Option<&[u8]> {
    FOLDERS.iter().find_map(|folder| path.strip_prefix(*folder))
}

/// How many files one package is taken to have; the largest have some 50,000.
const MAX_FILES: usize = 1_000_000;

/// Changes that `SQLite` has not written to the database yet.
const LOG: &[u8] = b"rpmdb.sqlite-wal";

/// What `SQLite` changes back when it opens the database next.
const JOURNAL: &[u8] = b"rpmdb.sqlite-journal";

pub(super) fn wants(path: &[u8]) -> bool {
    Format::of(path).is_some() || beside(path).is_some()
}

/// Returns what is not read where this file lies beside the database; `None` for other files.
fn beside(path: &[u8]) -> Option<&'static str> {
    match in_folder(path)? {
        LOG => Some("changes that are not in the database yet are not read"),
        JOURNAL => Some("changes that are to be taken back are not read"),
        _ => None,
    }
}

pub(super) fn read(files: &BTreeMap<EntryPath, Vec<u8>>, found: &mut Found) {
    for (path, bytes) in files {
        if let Some(problem) = beside(path.as_bytes())
            && !bytes.is_empty()
        {
            found.problem(format!("{path}: {problem}"));
        }
        let Some(format) = Format::of(path.as_bytes()) else {
            continue;
        };
        let headers = match format.headers(bytes) {
            Ok(headers) => headers,
            Err(problem) => {
                found.problem(format!("{path}: {problem}"));
                continue;
            }
        };
        let mut unreadable = 0;
        for header in headers {
            let header = header.bytes(bytes);
            let is_read =
                Header::of(&header).is_some_and(|header| package(&header, found).is_some());
            unreadable += usize::from(!is_read);
        }
        if unreadable > 0 {
            found.problem(format!("{path}: {unreadable} headers cannot be read"));
        }
    }
}

/// Adds a package and its files; `None` where it has no name.
fn package(header: &Header<'_>, found: &mut Found) -> Option<()> {
    const FILE_DIGESTS: u32 = 1035;
    const FOLDER_OF: u32 = 1116;
    const FILE_NAMES: u32 = 1117;
    const FOLDERS: u32 = 1118;
    let number = found.package(header.package()?);
    let (Some(names), Some(folders), Some(of)) = (
        header.texts(FILE_NAMES),
        header.texts(FOLDERS),
        header.numbers(FOLDER_OF),
    ) else {
        return Some(());
    };
    let digests = header.texts(FILE_DIGESTS).unwrap_or_default();
    for (index, (name, folder)) in names.iter().zip(of).enumerate() {
        let folder = folders.get(usize::try_from(folder).ok()?)?;
        // One long folder may be that of many files.
        if folder.len() + name.len() > MAX_PATH {
            found.left_out += 1;
            continue;
        }
        let path = EntryPath::of(&[*folder, *name].concat());
        // Folders and links have an empty digest.
        let claim = match digests.get(index).copied() {
            Some(b"") | None => Claim::Listed,
            Some(digest) => Claim::File(Recorded::hexadecimal(digest)),
        };
        found.claim(path, number, claim);
    }
    Some(())
}

/// The kind of a number of 32 bits.
const INT32: u32 = 4;

/// The kinds of a text, and of several.
const STRING: u32 = 6;
const STRINGS: u32 = 8;
const TRANSLATED: u32 = 9;

/// One package's header: an index of tags, and the data that it points into.
pub(crate) struct Header<'a> {
    /// Type, offset and count by tag; the first of each.
    index: BTreeMap<u32, [u32; 3]>,
    /// The tag, type, offset and count of all of them, in order.
    entries: Vec<[u32; 4]>,
    data: &'a [u8],
    /// Where the data begins.
    data_from: usize,
}

impl<'a> Header<'a> {
    /// Returns the package that it is of; `None` where it has no name.
    pub(crate) fn package(&self) -> Option<Package> {
        const NAME: u32 = 1000;
        const VERSION: u32 = 1001;
        const RELEASE: u32 = 1002;
        const EPOCH: u32 = 1003;
        const ARCHITECTURE: u32 = 1022;
        let one = |tag| self.texts(tag).and_then(|texts| texts.first().copied());
        let mut version = String::new();
        if let Some(&[epoch, ..]) = self.numbers(EPOCH).as_deref() {
            version = format!("{epoch}:");
        }
        version.push_str(&text(one(VERSION)?));
        version.push('-');
        version.push_str(&text(one(RELEASE)?));
        Some(Package {
            manager: Manager::Rpm,
            name: text(one(NAME)?),
            version,
            // Keys are packages too, and have none.
            architecture: text(one(ARCHITECTURE).unwrap_or_default()),
        })
    }

    pub(crate) fn of(bytes: &'a [u8]) -> Option<Self> {
        let word = |at: usize| {
            let word = bytes.get(at..at.checked_add(4)?)?;
            Some(u32::from_be_bytes(word.try_into().ok()?))
        };
        let entries = usize::try_from(word(0)?).ok()?;
        let size = usize::try_from(word(4)?).ok()?;
        let data_from = entries.checked_mul(16)?.checked_add(8)?;
        let data = bytes.get(data_from..data_from.checked_add(size)?)?;
        let mut index = BTreeMap::new();
        let mut all = Vec::new();
        for at in (8..data_from).step_by(16) {
            let entry = [word(at + 4)?, word(at + 8)?, word(at + 12)?];
            index.entry(word(at)?).or_insert(entry);
            all.push([word(at)?, entry[0], entry[1], entry[2]]);
        }
        Some(Self {
            index,
            entries: all,
            data,
            data_from,
        })
    }

    /// Returns where in the header the one number of 32 bits under a tag lies; `None` too where
    /// it is also a part of something else, such as a script.
    pub(crate) fn place(&self, tag: u32) -> Option<Range<usize>> {
        let &[kind, from, count] = self.index.get(&tag)?;
        let from = usize::try_from(from).ok()?;
        let place = from..from.checked_add(4)?;
        let is_one = kind == INT32 && count == 1 && place.end <= self.data.len();
        (is_one && self.is_alone(tag, &place))
            .then(|| self.data_from + place.start..self.data_from + place.end)
    }

    /// Returns whether nothing else than the one entry of a tag leads to a place in the data.
    fn is_alone(&self, tag: u32, place: &Range<usize>) -> bool {
        let mut before = Vec::new();
        let mut own = 0;
        for &[other, kind, from, count] in &self.entries {
            let (Ok(from), Ok(count)) = (usize::try_from(from), usize::try_from(count)) else {
                return false;
            };
            if other == tag {
                own += 1;
            } else if from < place.end {
                before.push((from, kind, count));
            }
        }
        before.sort_unstable();
        // Backwards, so that the data are read once however many texts there are.
        let mut zeros = 0;
        let mut counted_from = place.start;
        let reaches = |&(from, kind, count): &(usize, u32, usize)| {
            if from >= place.start {
                return count > 0;
            }
            zeros += self.data[from..counted_from]
                .iter()
                .map(|&byte| usize::from(byte == 0))
                .sum::<usize>();
            counted_from = from;
            let width = match kind {
                // Nothing.
                0 => 0,
                // Characters, bytes and what is binary.
                1 | 2 | 7 => 1,
                3 => 2,
                INT32 => 4,
                5 => 8,
                // Texts, each of which ends in a zero byte.
                STRING | STRINGS | TRANSLATED => return zeros < count,
                _ => return true,
            };
            count.saturating_mul(width) > place.start - from
        };
        own == 1 && !before.iter().rev().any(reaches)
    }

    /// Returns the numbers of 32 bits under a tag.
    pub(crate) fn numbers(&self, tag: u32) -> Option<Vec<u32>> {
        let &[kind, from, count] = self.index.get(&tag)?;
        let from = usize::try_from(from).ok()?;
        let length = usize::try_from(count).ok()?.checked_mul(4)?;
        let words = self.data.get(from..from.checked_add(length)?)?;
        (kind == INT32).then(|| {
            let words = words.chunks_exact(4);
            words
                .map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]))
                .collect()
        })
    }

    /// Returns the texts under a tag, each of which ends in a zero byte.
    fn texts(&self, tag: u32) -> Option<Vec<&'a [u8]>> {
        let &[kind, from, count] = self.index.get(&tag)?;
        let count = usize::try_from(count).ok()?;
        if ![STRING, STRINGS, TRANSLATED].contains(&kind) || count > MAX_FILES {
            return None;
        }
        let mut rest = self.data.get(usize::try_from(from).ok()?..)?;
        let mut texts = Vec::new();
        for _ in 0..count {
            let end = rest.iter().position(|&byte| byte == 0)?;
            texts.push(&rest[..end]);
            rest = &rest[end + 1..];
        }
        Some(texts)
    }
}
