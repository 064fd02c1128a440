//! ELF: headers, dynamic entries, symbols and sections.
//!
//! Every byte is in a header, in a section or outside of both, and is compared.

use std::{collections::BTreeMap, fmt, ops::Range};

use object::{
    Endianness,
    elf::{self, FileHeader32, FileHeader64},
    read::elf::{FileHeader, ProgramHeader, SectionHeader, SectionTable, Sym},
};

use super::{Content, Limits, listed::Listed};
use crate::{image::entry::Printable, pair::Pair};

/// What it is called in reports.
pub(super) const NAME: &str = "elf";

/// How many parts one section, or the list of symbols, may take.
const PARTS_EACH: usize = 24;

/// The most symbols of a table that are listed; of a larger one the bytes are compared.
const MOST_SYMBOLS: usize = 500_000;

/// The most sections; compilers write one for each function, and no more than this.
const MOST_SECTIONS: usize = 100_000;

/// The most dynamic entries that are listed; programs have a few dozen.
const MOST_DYNAMIC: usize = 4096;

/// The longest name: each is searched for its end as often as something refers to it.
const LONGEST_NAME: usize = 64 << 10;

/// How many bytes all names may have that something refers to, of sections and of symbols.
const ALL_NAMES: usize = 16 << 20;

/// Sections that are short and shown as a value, in whole.
const VALUES: [&[u8]; 3] = [b".interp", b".comment", b".gnu_debuglink"];

/// An ELF file, read.
struct Elf<'a> {
    header: Vec<(&'static str, u64)>,
    segments: Vec<String>,
    sections: Vec<Read<'a>>,
    dynamic: Vec<String>,
    symbols: Vec<Symbol<'a>>,
    headers: [Range<usize>; 3],
    /// The stretches that are in no header and no section, in order.
    outside: Vec<u8>,
}

/// A section with its header's fields.
struct Read<'a> {
    section: Section<'a>,
    fields: [(&'static str, u64); 9],
}

/// A section of an ELF file.
#[derive(Debug, Clone)]
pub struct Section<'a> {
    /// Its name; empty where it has none that can be read.
    pub name: &'a [u8],
    /// Where its bytes lie in the file; empty for one that has none.
    pub range: Range<usize>,
    /// What a program may do with it once it is loaded.
    pub access: Access,
}

/// What a program may do with a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It is not loaded.
    None,
    /// Read it, and maybe write it.
    Data,
    /// Run it.
    Code,
}

/// A symbol: name, and what makes two of a name the same one; addresses aside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Symbol<'a> {
    name: &'a [u8],
    dynamic: bool,
    info: u8,
    other: u8,
    section: &'a [u8],
    size: u64,
}

pub(super) fn is(_path: &[u8], bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF")
}

/// Where the parts of an ELF file lie.
#[derive(Debug)]
pub struct Layout<'a> {
    /// The sections, in the order of their table.
    pub sections: Vec<Section<'a>>,
    /// The file's header, the program headers and the section headers.
    pub headers: [Range<usize>; 3],
}

/// Returns where the parts of an ELF file lie; `None` if it cannot be read.
pub fn layout(bytes: &[u8]) -> Option<Layout<'_>> {
    if !is(b"", bytes) {
        return None;
    }
    let read = read(bytes)?;
    Some(Layout {
        sections: read.sections.into_iter().map(|read| read.section).collect(),
        headers: read.headers,
    })
}

pub(super) fn compare(sides: Pair<&[u8]>, limits: &mut Limits) -> Option<Content> {
    let elves = Pair::new(read(sides.published)?, read(sides.rebuilt)?);
    let elves = elves.as_ref();
    let mut listed = Listed::new(NAME, limits);
    let (published, rebuilt) = (elves.published, elves.rebuilt);
    for (&(name, published), &(_, rebuilt)) in published.header.iter().zip(&rebuilt.header) {
        let values = Pair::new(published, rebuilt);
        listed.value(
            &format!("header: {name}"),
            values.map(|value| Some(format!("{value:#x}"))),
        );
    }
    for index in 0..published.segments.len().max(rebuilt.segments.len()) {
        let segments = elves.map(|side| side.segments.get(index).cloned());
        listed.value(&format!("program header {index}"), segments);
    }
    only_one_side(
        elves.map(|side| side.dynamic.iter().map(String::as_str)),
        |listed, entry, values| {
            let values = values.map(|value| value.map(|()| entry.to_owned()));
            listed.value("dynamic entry", values);
        },
        &mut listed,
    );
    listed.few(PARTS_EACH, |listed| {
        only_one_side(
            elves.map(|side| side.symbols.iter()),
            |listed, symbol, values| {
                let name = Printable(symbol.name);
                let values = values.map(|value| value.map(|()| symbol.to_string()));
                listed.value(&format!("symbol {name}"), values);
            },
            listed,
        );
    });
    sections_apart(elves, sides, &mut listed);
    listed.few(PARTS_EACH, |listed| {
        listed.ranges(
            "outside of sections",
            elves.map(|side| side.outside.as_slice()),
        );
    });
    if listed.is_empty() {
        listed.all_ranges(sides);
    }
    Some(listed.finish())
}

/// Calls `list` for what only one side has, or has more often, in order.
fn only_one_side<T: Ord + Copy>(
    sides: Pair<impl Iterator<Item = T>>,
    mut list: impl FnMut(&mut Listed<'_>, T, Pair<Option<()>>),
    listed: &mut Listed<'_>,
) {
    let mut counts: BTreeMap<T, i64> = BTreeMap::new();
    for item in sides.published {
        *counts.entry(item).or_default() += 1;
    }
    for item in sides.rebuilt {
        *counts.entry(item).or_default() -= 1;
    }
    for (item, count) in counts {
        if count != 0 {
            let there = |is: bool| is.then_some(());
            list(listed, item, Pair::new(there(count > 0), there(count < 0)));
        }
    }
}

/// Lists the sections that one side has not, and what differs in those that both have.
fn sections_apart(elves: Pair<&Elf<'_>>, sides: Pair<&[u8]>, listed: &mut Listed<'_>) {
    let numbered = |elf: &Elf<'_>| {
        let mut counts: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        let mut numbered = BTreeMap::new();
        for (index, read) in elf.sections.iter().enumerate() {
            let count = counts.entry(read.section.name.to_vec()).or_default();
            numbered.insert((read.section.name.to_vec(), *count), index);
            *count += 1;
        }
        numbered
    };
    let found = elves.map(numbered);
    let mut keys: Vec<_> = found
        .published
        .iter()
        .chain(&found.rebuilt)
        .map(|(key, _)| key)
        .collect();
    keys.sort_unstable_by_key(|key| {
        let at = |index: Option<&usize>| index.copied().unwrap_or(usize::MAX);
        let places = (at(found.published.get(*key)), at(found.rebuilt.get(*key)));
        (places.0.min(places.1), *key)
    });
    keys.dedup();
    for key in keys {
        let place = match key {
            (name, 0) => format!("section {}", Printable(name)),
            (name, before) => format!("section {} ({})", Printable(name), before + 1),
        };
        let published = found.published.get(key);
        let rebuilt = found.rebuilt.get(key);
        let (Some(&published), Some(&rebuilt)) = (published, rebuilt) else {
            let size = |elf: &Elf<'_>, index: Option<&usize>| {
                index.map(|&index| format!("{} bytes", elf.sections[index].section.range.len()))
            };
            let lengths = Pair::new(
                size(elves.published, published),
                size(elves.rebuilt, rebuilt),
            );
            listed.value(&place, lengths);
            continue;
        };
        let both = Pair::new(
            &elves.published.sections[published],
            &elves.rebuilt.sections[rebuilt],
        );
        section(&place, &key.0, both, sides, listed);
    }
}

/// Lists what differs in a section that both sides have.
fn section(
    place: &str,
    name: &[u8],
    both: Pair<&Read<'_>>,
    sides: Pair<&[u8]>,
    listed: &mut Listed<'_>,
) {
    if both.published.fields != both.rebuilt.fields {
        let (mut published, mut rebuilt) = (Vec::new(), Vec::new());
        for (&(name, one), &(_, other)) in both.published.fields.iter().zip(&both.rebuilt.fields) {
            if one != other {
                published.push(format!("{name} {one:#x}"));
                rebuilt.push(format!("{name} {other:#x}"));
            }
        }
        let fields = Pair::new(published, rebuilt);
        listed.value(
            &format!("{place}: header"),
            fields.map(|fields| Some(fields.join(", "))),
        );
    }
    let bytes = Pair::new(
        &sides.published[both.published.section.range.clone()],
        &sides.rebuilt[both.rebuilt.section.range.clone()],
    );
    if VALUES.contains(&name) {
        let text = |bytes: &[u8]| Some(Printable(bytes).to_string());
        listed.value(place, bytes.map(text));
    } else if name.starts_with(b".note") && bytes.published.len().max(bytes.rebuilt.len()) <= 128 {
        listed.value(place, bytes.map(|bytes| Some(hex::encode(bytes))));
    } else {
        listed.few(PARTS_EACH, |listed| listed.inside(place, b"", bytes));
    }
}

fn read(bytes: &[u8]) -> Option<Elf<'_>> {
    match bytes.get(4)? {
        1 => read_as::<FileHeader32<Endianness>>(bytes),
        2 => read_as::<FileHeader64<Endianness>>(bytes),
        _ => None,
    }
}

fn read_as<H: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Option<Elf<'_>> {
    let header = H::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    let programs = header.program_headers(endian, bytes).ok()?;
    let table = header.sections(endian, bytes).ok()?;
    if table.len() > MOST_SECTIONS {
        return None;
    }
    let ident = bytes.get(..16)?;
    let header_fields = vec![
        ("class", u64::from(ident[4])),
        ("byte order", u64::from(ident[5])),
        ("identity's version", u64::from(ident[6])),
        ("system", u64::from(ident[7])),
        ("system's version", u64::from(ident[8])),
        (
            "padding",
            ident[9..]
                .iter()
                .fold(0, |all, &byte| all << 8 | u64::from(byte)),
        ),
        ("type", u64::from(header.e_type(endian).0)),
        ("machine", u64::from(header.e_machine(endian).0)),
        ("version", u64::from(header.e_version(endian))),
        ("entry", header.e_entry(endian).into()),
        ("program headers' offset", header.e_phoff(endian).into()),
        ("section headers' offset", header.e_shoff(endian).into()),
        ("flags", u64::from(header.e_flags(endian).0)),
        ("header's size", u64::from(header.e_ehsize(endian))),
        (
            "program header's size",
            u64::from(header.e_phentsize(endian)),
        ),
        ("program headers", u64::from(header.e_phnum(endian))),
        (
            "section header's size",
            u64::from(header.e_shentsize(endian)),
        ),
        ("section headers", u64::from(header.e_shnum(endian))),
        ("names' section", u64::from(header.e_shstrndx(endian).0)),
    ];
    let segments = programs
        .iter()
        .map(|program| {
            format!(
                "type {:#x} flags {:#x} offset {:#x} vaddr {:#x} paddr {:#x} filesz {:#x} memsz {:#x} align {:#x}",
                program.p_type(endian).0,
                program.p_flags(endian).0,
                program.p_offset(endian).into(),
                program.p_vaddr(endian).into(),
                program.p_paddr(endian).into(),
                program.p_filesz(endian).into(),
                program.p_memsz(endian).into(),
                program.p_align(endian).into(),
            )
        })
        .collect();
    let names = table
        .section(header.section_strings_index(endian, bytes).ok()?)
        .and_then(|header| header.data(endian, bytes));
    if !names.is_ok_and(short_names) && !table.is_empty() {
        return None;
    }
    let mut sections: Vec<Read<'_>> = Vec::new();
    let mut names = ALL_NAMES;
    for header in table.iter() {
        let read = section_of::<H>(&table, header, endian, bytes)?;
        names = names.checked_sub(read.section.name.len())?;
        sections.push(read);
    }
    let stretch = |offset: u64, each: u16, count: usize| {
        let start = usize::try_from(offset).ok()?.min(bytes.len());
        let end = start.checked_add(usize::from(each).checked_mul(count)?)?;
        Some(start..end.min(bytes.len()))
    };
    let headers = [
        stretch(0, header.e_ehsize(endian), 1)?,
        stretch(
            header.e_phoff(endian).into(),
            header.e_phentsize(endian),
            programs.len(),
        )?,
        stretch(
            header.e_shoff(endian).into(),
            header.e_shentsize(endian),
            table.len(),
        )?,
    ];
    let covered = sections
        .iter()
        .map(|read| read.section.range.clone())
        .chain(headers.clone())
        .collect();
    Some(Elf {
        header: header_fields,
        segments,
        dynamic: dynamic::<H>(&table, endian, bytes),
        symbols: symbols::<H>(&table, &sections, endian, bytes),
        sections,
        headers,
        outside: outside(covered, bytes),
    })
}

fn section_of<'a, H: FileHeader<Endian = Endianness>>(
    table: &SectionTable<'a, H>,
    header: &H::SectionHeader,
    endian: Endianness,
    bytes: &'a [u8],
) -> Option<Read<'a>> {
    let range = match header.file_range(endian) {
        None => 0..0,
        Some((offset, size)) => {
            let start = usize::try_from(offset).ok()?;
            let end = start.checked_add(usize::try_from(size).ok()?)?;
            if end > bytes.len() {
                return None;
            }
            start..end
        }
    };
    let flags = header.sh_flags(endian).0;
    let access = if flags & elf::SHF_EXECINSTR.0 != 0 {
        Access::Code
    } else if flags & elf::SHF_ALLOC.0 != 0 {
        Access::Data
    } else {
        Access::None
    };
    Some(Read {
        section: Section {
            name: table.section_name(endian, header).unwrap_or_default(),
            range,
            access,
        },
        fields: [
            ("type", u64::from(header.sh_type(endian).0)),
            ("flags", flags),
            ("addr", header.sh_addr(endian).into()),
            ("offset", header.sh_offset(endian).into()),
            ("size", header.sh_size(endian).into()),
            ("link", u64::from(header.sh_link(endian))),
            ("info", u64::from(header.sh_info(endian))),
            ("align", header.sh_addralign(endian).into()),
            ("entsize", header.sh_entsize(endian).into()),
        ],
    })
}

fn dynamic<H: FileHeader<Endian = Endianness>>(
    table: &SectionTable<'_, H>,
    endian: Endianness,
    bytes: &[u8],
) -> Vec<String> {
    if !names_are_short::<H>(table, elf::SHT_DYNAMIC, endian, bytes) {
        return Vec::new();
    }
    let Ok(entries) = table.dynamic_table(endian, bytes) else {
        return Vec::new();
    };
    entries
        .iter()
        .take(MOST_DYNAMIC)
        .map(|entry| {
            let name = match entry.tag {
                elf::DT_NEEDED => "NEEDED".to_owned(),
                elf::DT_SONAME => "SONAME".to_owned(),
                elf::DT_RPATH => "RPATH".to_owned(),
                elf::DT_RUNPATH => "RUNPATH".to_owned(),
                elf::DT_FLAGS => "FLAGS".to_owned(),
                elf::DT_FLAGS_1 => "FLAGS_1".to_owned(),
                tag => format!("{:#x}", tag.0),
            };
            match entry.is_string().then(|| entries.string(entry)) {
                Some(Ok(text)) => format!("{name} {}", Printable(text)),
                Some(Err(_)) | None => format!("{name} {:#x}", entry.val),
            }
        })
        .collect()
}

/// Returns whether no name is longer than is searched for.
fn short_names(strings: &[u8]) -> bool {
    strings
        .split(|&byte| byte == 0)
        .all(|name| name.len() <= LONGEST_NAME)
}

/// Returns whether the names are short that the first section of a kind refers to.
fn names_are_short<H: FileHeader<Endian = Endianness>>(
    table: &SectionTable<'_, H>,
    kind: elf::SectionType,
    endian: Endianness,
    bytes: &[u8],
) -> bool {
    table
        .iter()
        .find(|header| header.sh_type(endian) == kind)
        .and_then(|header| table.section(header.link(endian)).ok())
        .and_then(|header| header.data(endian, bytes).ok())
        .is_none_or(short_names)
}

fn symbols<'a, H: FileHeader<Endian = Endianness>>(
    table: &SectionTable<'a, H>,
    sections: &[Read<'a>],
    endian: Endianness,
    bytes: &'a [u8],
) -> Vec<Symbol<'a>> {
    let mut found = Vec::new();
    let mut names = ALL_NAMES;
    for (kind, is_dynamic) in [(elf::SHT_DYNSYM, true), (elf::SHT_SYMTAB, false)] {
        if !names_are_short::<H>(table, kind, endian, bytes) {
            continue;
        }
        let Ok(symbols) = table.symbols(endian, bytes, kind) else {
            continue;
        };
        if symbols.len() > MOST_SYMBOLS {
            continue;
        }
        for symbol in symbols.iter() {
            let name = symbol.name(endian, symbols.strings()).unwrap_or_default();
            let section = sections.get(usize::from(symbol.st_shndx(endian).0));
            let Some(left) = names.checked_sub(name.len()) else {
                return Vec::new();
            };
            names = left;
            found.push(Symbol {
                name,
                dynamic: is_dynamic,
                info: symbol.st_info().0,
                other: symbol.st_other().0,
                section: section.map_or(b"", |read| read.section.name),
                size: symbol.st_size(endian).into(),
            });
        }
    }
    found
}

/// Returns the bytes that no range covers.
fn outside(mut covered: Vec<Range<usize>>, bytes: &[u8]) -> Vec<u8> {
    covered.sort_unstable_by_key(|range| range.start);
    let mut outside = Vec::new();
    let mut at = 0;
    for range in covered {
        if range.start > at {
            outside.extend_from_slice(&bytes[at..range.start]);
        }
        at = at.max(range.end);
    }
    outside.extend_from_slice(&bytes[at..]);
    outside
}

impl fmt::Display for Symbol<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.info & 15 {
            0 => "untyped".to_owned(),
            1 => "object".to_owned(),
            2 => "function".to_owned(),
            3 => "section".to_owned(),
            4 => "file".to_owned(),
            6 => "thread-local".to_owned(),
            other => format!("type {other}"),
        };
        let binding = match self.info >> 4 {
            0 => "local".to_owned(),
            1 => "global".to_owned(),
            2 => "weak".to_owned(),
            other => format!("binding {other}"),
        };
        let table = if self.dynamic { "dynamic " } else { "" };
        let (size, section) = (self.size, Printable(self.section));
        write!(
            f,
            "{table}{binding} {kind} of {size} bytes in \"{section}\", visibility {}",
            self.other
        )
    }
}
