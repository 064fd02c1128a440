//! `SQLite` databases: the fields of the header, and the pages that differ.
//!
//! Rows are not read: no well-kept crate reads them without `SQLite` itself.

use super::{Content, Limits, listed::Listed};
use crate::pair::Pair;

/// What it is called in reports.
pub(super) const NAME: &str = "sqlite";

const MAGIC: &[u8] = b"SQLite format 3\0";

/// The bytes of the header.
const HEADER: usize = 100;

/// Fields of the header: offset and length in bytes, big endian (`SQLite`, "Database File Format" 1.3).
const FIELDS: [(usize, usize, &str); 19] = [
    (16, 2, "page size"),
    (18, 1, "write version"),
    (19, 1, "read version"),
    (20, 1, "reserved bytes of each page"),
    (24, 4, "change counter"),
    (28, 4, "pages"),
    (32, 4, "first free page"),
    (36, 4, "free pages"),
    (40, 4, "schema cookie"),
    (44, 4, "schema format"),
    (48, 4, "suggested cache size"),
    (52, 4, "largest root page"),
    (56, 4, "encoding"),
    (60, 4, "user version"),
    (64, 4, "vacuum mode"),
    (68, 4, "application id"),
    (92, 4, "version-valid-for"),
    (96, 4, "SQLite version"),
    (21, 3, "payload fractions"),
];

pub(super) fn is(_path: &[u8], bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC) && bytes.len() >= HEADER
}

#[expect(clippy::unnecessary_wraps, reason = "a format's function")]
pub(super) fn compare(sides: Pair<&[u8]>, limits: &mut Limits) -> Option<Content> {
    let mut listed = Listed::new(NAME, limits);
    for (offset, length, name) in FIELDS {
        let number = |bytes: &[u8]| {
            let field = &bytes[offset..offset + length];
            field
                .iter()
                .fold(0_u64, |number, &byte| number << 8 | u64::from(byte))
        };
        listed.value(name, sides.map(|side| Some(number(side).to_string())));
    }
    listed.ranges("header", sides.map(|side| &side[72..92]));
    let page = |bytes: &[u8]| match u16::from_be_bytes([bytes[16], bytes[17]]) {
        1 => Some(1 << 16),
        size if size.is_power_of_two() && size >= 512 => Some(usize::from(size)),
        _ => None,
    };
    let page_sizes = sides.map(page);
    let (Some(size), true) = (page_sizes.published, page_sizes.is_equal()) else {
        listed.all_ranges(sides);
        return Some(listed.finish());
    };
    let count = sides.map(<[u8]>::len);
    let count = count.published.max(count.rebuilt).div_ceil(size);
    for number in 0..count {
        let of = |bytes: &'_ [u8]| {
            let start = (number * size).min(bytes.len());
            let end = (start + size).min(bytes.len());
            // The header is in the first page, and listed above.
            (start.max(HEADER.min(end)), end)
        };
        let ranges = sides.map(of);
        listed.ranges(
            &format!("page {}", number + 1),
            Pair::new(
                &sides.published[ranges.published.0..ranges.published.1],
                &sides.rebuilt[ranges.rebuilt.0..ranges.rebuilt.1],
            ),
        );
    }
    Some(listed.finish())
}
