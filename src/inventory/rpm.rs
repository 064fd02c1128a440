//! rpm's database in SQLite: a table of package headers.
//!
//! The older ones, Berkeley DB (`Packages`) and ndb (`Packages.db`), are not read.
//!
//! Source: rpm, `docs/manual/format_header.md` and `include/rpm/rpmtag.h`.

use std::collections::BTreeMap;

use super::{Claim, Found, Manager, Package, Recorded, sqlite, text};
use crate::image::EntryPath;

/// Where it lies; newer systems keep it below `usr`.
const DATABASES: [&[u8]; 2] = [
    b"var/lib/rpm/rpmdb.sqlite",
    b"usr/lib/sysimage/rpm/rpmdb.sqlite",
];

/// How many files one package is taken to have; the largest have some 50,000.
const MAX_FILES: usize = 1_000_000;

pub(super) fn wants(path: &[u8]) -> bool {
    DATABASES.contains(&path)
}

pub(super) fn read(files: &BTreeMap<EntryPath, Vec<u8>>, found: &mut Found) {
    for (path, bytes) in files {
        if !wants(path.as_bytes()) {
            continue;
        }
        let Some(headers) = sqlite::blobs(bytes, b"Packages") else {
            found.problem(format!("{path}: the table of packages cannot be read"));
            continue;
        };
        let mut unreadable = 0;
        for header in headers {
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
    const NAME: u32 = 1000;
    const VERSION: u32 = 1001;
    const RELEASE: u32 = 1002;
    const EPOCH: u32 = 1003;
    const ARCHITECTURE: u32 = 1022;
    const FILE_DIGESTS: u32 = 1035;
    const FOLDER_OF: u32 = 1116;
    const FILE_NAMES: u32 = 1117;
    const FOLDERS: u32 = 1118;
    let one = |tag| header.texts(tag).and_then(|texts| texts.first().copied());
    let mut version = String::new();
    if let Some(&[epoch, ..]) = header.numbers(EPOCH).as_deref() {
        version = format!("{epoch}:");
    }
    version.push_str(&text(one(VERSION)?));
    version.push('-');
    version.push_str(&text(one(RELEASE)?));
    let number = found.package(Package {
        manager: Manager::Rpm,
        name: text(one(NAME)?),
        version,
        // Keys are packages too, and have none.
        architecture: text(one(ARCHITECTURE).unwrap_or_default()),
    });
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

/// One package's header: an index of tags, and the data that it points into.
struct Header<'a> {
    /// Type, offset and count by tag; the first of each.
    index: BTreeMap<u32, [u32; 3]>,
    data: &'a [u8],
}

impl<'a> Header<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let word = |at: usize| {
            let word = bytes.get(at..at.checked_add(4)?)?;
            Some(u32::from_be_bytes(word.try_into().ok()?))
        };
        let entries = usize::try_from(word(0)?).ok()?;
        let size = usize::try_from(word(4)?).ok()?;
        let data_from = entries.checked_mul(16)?.checked_add(8)?;
        let data = bytes.get(data_from..data_from.checked_add(size)?)?;
        let mut index = BTreeMap::new();
        for at in (8..data_from).step_by(16) {
            let entry = [word(at + 4)?, word(at + 8)?, word(at + 12)?];
            index.entry(word(at)?).or_insert(entry);
        }
        Some(Self { index, data })
    }

    /// Returns the numbers of 32 bits under a tag.
    fn numbers(&self, tag: u32) -> Option<Vec<u32>> {
        const INT32: u32 = 4;
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
        const STRING: u32 = 6;
        const STRINGS: u32 = 8;
        const TRANSLATED: u32 = 9;
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

#[cfg(test)]
pub(super) mod tests {
    /// Writes a header of texts and numbers.
    pub(in super::super) fn header(texts: &[(u32, &[&str])], numbers: &[(u32, &[u32])]) -> Vec<u8> {
        let word = |number: usize| u32::try_from(number).unwrap().to_be_bytes();
        let mut index = Vec::new();
        let mut data = Vec::new();
        for (tag, texts) in texts {
            index.extend([
                tag.to_be_bytes(),
                8_u32.to_be_bytes(),
                word(data.len()),
                word(texts.len()),
            ]);
            for text in *texts {
                data.extend(text.bytes().chain([0]));
            }
        }
        for (tag, numbers) in numbers {
            index.extend([
                tag.to_be_bytes(),
                4_u32.to_be_bytes(),
                word(data.len()),
                word(numbers.len()),
            ]);
            data.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
        }
        let head = [word(index.len() / 4), word(data.len())].concat();
        [head, index.concat(), data].concat()
    }
}
