//! The dynamic loader's cache of libraries.
//!
//! Source: glibc, `sysdeps/generic/dl-cache.h` and `elf/cache.c`; both the table of
//! libc 5 and 6 and the one of glibc 2.2 are read, the second with its extensions.

use super::{
    super::{Content, Format, Limits},
    records::{self, Record},
};
use crate::pair::Pair;

const OLD: &[u8] = b"ld.so-1.7.0\0";
const NEW: &[u8] = b"glibc-ld.so.cache1.1";
const EXTENSION: u32 = 0xeaa4_2174;

/// How large a cache is read; the largest distributions' are below 1 MiB.
const MAX_SIZE: usize = 16 << 20;

/// How many bytes of names are read, since entries may share them.
const MAX_NAMES: usize = 16 << 20;

/// How long a name may be, as `PATH_MAX`.
const MAX_NAME: usize = 4096;

pub(super) const FORMAT: Format = Format {
    name: "ld.so.cache",
    is: |_, bytes| bytes.starts_with(OLD) || bytes.starts_with(NEW),
    compare: |sides, limits| compare(sides, limits),
};

/// A cache of which every byte is known.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct LdCache<'a> {
    /// The libraries, in order of the search.
    pub(crate) libraries: Vec<Library<'a>>,
    /// Byte order and reserved bits.
    pub(crate) flags: u8,
    /// The program that wrote it, as it calls itself.
    pub(crate) generator: Option<&'a [u8]>,
    /// Names of sub-folders for processors, in order.
    pub(crate) subfolders: Vec<&'a [u8]>,
    /// How many zero bytes are in no field: before the names, and to align what follows them.
    pub(crate) padding: usize,
}

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Library<'a> {
    /// Which table it is in.
    pub(crate) table: &'static str,
    /// What it is looked up as.
    pub(crate) name: &'a [u8],
    /// Where it is.
    pub(crate) path: &'a [u8],
    /// Kind and machine.
    pub(crate) flags: u32,
    /// The oldest kernel that it is for, or 0.
    pub(crate) os_version: u32,
    /// What it needs of the processor.
    pub(crate) hwcap: u64,
}

fn compare(sides: Pair<&[u8]>, limits: &mut Limits) -> Option<Content> {
    let sides = Pair::new(parse(sides.published)?, parse(sides.rebuilt)?);
    let sides = sides.map(|cache| records(&cache));
    let sides = sides.as_ref().map(Vec::as_slice);
    Some(records::compare(FORMAT.name, sides, limits))
}

fn records(cache: &LdCache<'_>) -> Vec<Record> {
    let mut header = Record::new(b"header");
    header.field("flags", cache.flags.to_string().as_bytes());
    if let Some(generator) = cache.generator {
        header.field("generator", generator);
    }
    for name in &cache.subfolders {
        header.field("processor folder", name);
    }
    header.field("padding", cache.padding.to_string().as_bytes());
    let libraries = cache.libraries.iter().map(|library| {
        let mut record = Record::new(library.name);
        record.field("path", library.path);
        record.field("flags", format!("{:#06x}", library.flags).as_bytes());
        record.field("kernel", library.os_version.to_string().as_bytes());
        record.field("hwcap", format!("{:#x}", library.hwcap).as_bytes());
        if library.table != "new" {
            record.field("table", library.table.as_bytes());
        }
        record
    });
    std::iter::once(header).chain(libraries).collect()
}

/// Reads a cache; `None` where a byte is left over that is not zero, or names overlap too much.
pub(crate) fn parse(bytes: &[u8]) -> Option<LdCache<'_>> {
    if bytes.len() > MAX_SIZE {
        return None;
    }
    let mut reader = Reader {
        bytes,
        seen: vec![false; bytes.len()],
        names: MAX_NAMES,
    };
    let mut cache = LdCache::default();
    let mut base = 0;
    if bytes.starts_with(OLD) {
        reader.see(0, OLD.len())?;
        let count = usize::try_from(reader.word(12)?).ok()?;
        let table_end = count.checked_mul(12)?.checked_add(16)?;
        reader.see(16, table_end - 16)?;
        for index in 0..count {
            let at = 16 + 12 * index;
            cache.libraries.push(Library {
                table: "old",
                flags: reader.word(at)?,
                name: reader.name(table_end, at + 4)?,
                path: reader.name(table_end, at + 8)?,
                os_version: 0,
                hwcap: 0,
            });
        }
        // The new table is aligned as its widest field.
        base = table_end.next_multiple_of(8);
    }
    if bytes.get(base..).is_some_and(|rest| rest.starts_with(NEW)) {
        new_table(&mut reader, base, &mut cache)?;
    }
    let mut unseen = bytes.iter().zip(&reader.seen).filter(|(_, seen)| !**seen);
    cache.padding = unseen.clone().count();
    unseen.all(|(&byte, _)| byte == 0).then_some(cache)
}

fn new_table<'a>(reader: &mut Reader<'a>, base: usize, cache: &mut LdCache<'a>) -> Option<()> {
    const HEADER: usize = 48;
    const ENTRY: usize = 24;
    reader.see(base, NEW.len())?;
    let count = usize::try_from(reader.word(base + 20)?).ok()?;
    // The length of the names is not needed to find them; a wrong one is no cache of glibc's.
    let names_length = usize::try_from(reader.word(base + 24)?).ok()?;
    let table_end = count.checked_mul(ENTRY)?.checked_add(base + HEADER)?;
    reader
        .bytes
        .get(table_end..table_end.checked_add(names_length)?)?;
    reader.see(base + 28, 1)?;
    cache.flags = reader.bytes[base + 28];
    let extension = usize::try_from(reader.word(base + 32)?).ok()?;
    reader.see(base + HEADER, count.checked_mul(ENTRY)?)?;
    for index in 0..count {
        let at = base + HEADER + ENTRY * index;
        cache.libraries.push(Library {
            table: "new",
            flags: reader.word(at)?,
            name: reader.name(base, at + 4)?,
            path: reader.name(base, at + 8)?,
            os_version: reader.word(at + 12)?,
            hwcap: u64::from(reader.word(at + 16)?) | u64::from(reader.word(at + 20)?) << 32,
        });
    }
    if extension == 0 {
        return Some(());
    }
    let at = extension.checked_add(base)?;
    if reader.word(at)? != EXTENSION {
        return None;
    }
    let sections = usize::try_from(reader.word(at.checked_add(4)?)?).ok()?;
    for index in 0..sections {
        let at = index.checked_mul(16)?.checked_add(at + 8)?;
        let tag = reader.word(at)?;
        let flags = reader.word(at.checked_add(4)?)?;
        let from = usize::try_from(reader.word(at.checked_add(8)?)?)
            .ok()?
            .checked_add(base)?;
        let length = usize::try_from(reader.word(at.checked_add(12)?)?).ok()?;
        reader.see(from, length)?;
        match (tag, flags) {
            (0, 0) if cache.generator.is_none() => {
                cache.generator = Some(&reader.bytes[from..from + length]);
            }
            (1, 0) if cache.subfolders.is_empty() && length % 4 == 0 => {
                for index in 0..length / 4 {
                    cache.subfolders.push(reader.name(base, from + 4 * index)?);
                }
            }
            _ => return None,
        }
    }
    Some(())
}

/// Reads numbers in the byte order of all machines that we run images of, and remembers where.
struct Reader<'a> {
    bytes: &'a [u8],
    seen: Vec<bool>,
    /// How many bytes of names may still be read.
    names: usize,
}

impl<'a> Reader<'a> {
    fn see(&mut self, from: usize, length: usize) -> Option<()> {
        self.seen
            .get_mut(from..from.checked_add(length)?)?
            .fill(true);
        Some(())
    }

    fn word(&mut self, at: usize) -> Option<u32> {
        let bytes = self.bytes.get(at..at.checked_add(4)?)?;
        self.see(at, 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    /// Returns the name whose offset from `base` stands at `at`.
    fn name(&mut self, base: usize, at: usize) -> Option<&'a [u8]> {
        let from = usize::try_from(self.word(at)?).ok()?.checked_add(base)?;
        let rest = self.bytes.get(from..)?;
        let rest = &rest[..rest.len().min(MAX_NAME)];
        let length = rest.iter().position(|&byte| byte == 0)?;
        self.names = self.names.checked_sub(length + 1)?;
        self.see(from, length + 1)?;
        Some(&rest[..length])
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::values, *};
    use crate::compare::content::testing::ld_cache;

    #[test]
    fn libraries_are_compared_by_name() {
        let (libc, maths) = (
            ("libc.so.6", "/lib/libc.so.6"),
            ("libm.so.6", "/lib/libm.so.6"),
        );
        let published = ld_cache(&[libc, maths], "ldconfig 2.36");
        let spare = [&published[..], b"\x01"].concat();
        let zeros = [&published[..], b"\0\0"].concat();
        let evil = ld_cache(&[libc, ("libm.so.6", "/tmp/libm.so.6")], "ldconfig 2.36");
        let cases: [(&str, Vec<u8>, &str, &[&str]); 6] = [
            (
                "a path",
                evil,
                "ld.so.cache",
                &["libm.so.6 path: /lib/libm.so.6 | /tmp/libm.so.6"],
            ),
            (
                "the program",
                ld_cache(&[libc, maths], "ldconfig 2.37"),
                "ld.so.cache",
                &["header generator: ldconfig 2.36 | ldconfig 2.37"],
            ),
            (
                "a library less",
                ld_cache(&[libc], "ldconfig 2.36"),
                "ld.so.cache",
                &[
                    // What follows the names is aligned.
                    "header padding: 17 | 18",
                    "libm.so.6: path: /lib/libm.so.6, flags: 0x0303, kernel: 0, hwcap: 0x0 | -",
                ],
            ),
            (
                "another order",
                ld_cache(&[maths, libc], "ldconfig 2.36"),
                "ld.so.cache",
                &["order, from no. 2: libc.so.6 | libm.so.6"],
            ),
            ("a byte more", spare, "data", &[]),
            (
                "zeros after the end",
                zeros,
                "ld.so.cache",
                &["header padding: 17 | 19"],
            ),
        ];
        for (case, rebuilt, format, expected) in cases {
            let (found_format, found) = values("etc/ld.so.cache", &published, &rebuilt);
            assert_eq!(found_format, format, "{case}");
            if format == FORMAT.name {
                assert_eq!(found, expected, "{case}");
            } else {
                let end = published.len();
                assert!(
                    found[0].starts_with(&format!("offset {end:#x}")),
                    "{case}: {found:?}"
                );
            }
        }
    }

    #[test]
    fn a_cache_cut_short_is_none() {
        let whole = ld_cache(&[("libc.so.6", "/lib/libc.so.6")], "ldconfig 2.36");
        assert!(parse(&whole).is_some());
        for end in 0..whole.len() {
            assert_ne!(parse(&whole[..end]), parse(&whole), "{end}");
        }
    }
}
