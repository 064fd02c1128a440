//! Tables of an SQLite database, as far as rpm's needs it: the blobs of one table.
//!
//! One table of blobs is all that is needed, for which the whole of SQLite's library would
//! run on a file that may be hostile. Only tables are read; what lies in a write-ahead log
//! beside the file is not part of it.
//!
//! Source: SQLite, "Database File Format", sections 1.3, 1.5, 1.6 and 2.1.

use std::collections::BTreeSet;

const MAGIC: &[u8] = b"SQLite format 3\0";

/// Where the first page's own header begins, after the file's.
const FILE_HEADER: usize = 100;

/// Returns the blobs in the rows of a table, in order of the rows.
///
/// `None` where the file or the table cannot be read. Each page is read once at most, so
/// that time and memory are bounded by the file.
pub(super) fn blobs(bytes: &[u8], table: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut database = Database::of(bytes)?;
    let root = database.rows(1)?.into_iter().find_map(|row| {
        // type, name, tbl_name, rootpage, sql
        let columns = columns(&row)?;
        let is_it = columns.first()?.1 == b"table" && columns.get(1)?.1 == table;
        let root = number(columns.get(3)?.1)?;
        is_it.then_some(root)
    })?;
    database.seen.clear();
    let rows = database.rows(root)?;
    Some(
        rows.into_iter()
            .filter_map(|row| {
                let columns = columns(&row)?;
                let (_, blob) = columns
                    .iter()
                    .find(|(kind, _)| *kind >= 12 && kind % 2 == 0)?;
                Some(blob.to_vec())
            })
            .collect(),
    )
}

struct Database<'a> {
    bytes: &'a [u8],
    page_size: usize,
    /// The bytes of a page that are used.
    usable: usize,
    seen: BTreeSet<usize>,
}

impl<'a> Database<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let page_size = match u16::from_be_bytes(bytes.get(16..18)?.try_into().ok()?) {
            1 => 65_536,
            size => usize::from(size),
        };
        let reserved = usize::from(*bytes.get(20)?);
        let is_one = bytes.starts_with(MAGIC) && page_size.is_power_of_two() && page_size >= 512;
        let usable = page_size
            .checked_sub(reserved)
            .filter(|&usable| usable >= 480)?;
        is_one.then_some(Self {
            bytes,
            page_size,
            usable,
            seen: BTreeSet::new(),
        })
    }

    /// Returns a page by its number from 1; `None` too where it was read before.
    fn page(&mut self, number: usize) -> Option<&'a [u8]> {
        let from = number.checked_sub(1)?.checked_mul(self.page_size)?;
        let page = self.bytes.get(from..from.checked_add(self.page_size)?)?;
        self.seen.insert(number).then_some(page)
    }

    /// Returns the records of a table in order, given its first page.
    fn rows(&mut self, root: usize) -> Option<Vec<Vec<u8>>> {
        const INTERIOR: u8 = 5;
        const LEAF: u8 = 13;
        let mut rows = Vec::new();
        // A stack instead of a recursion: a page is read once, so it ends.
        let mut left = vec![root];
        while let Some(number) = left.pop() {
            let page = self.page(number)?;
            let header = if number == 1 { FILE_HEADER } else { 0 };
            let kind = *page.get(header)?;
            let cells = usize::from(short(page, header + 3)?);
            let cells_from = header + if kind == INTERIOR { 12 } else { 8 };
            let cell = |index: usize| Some(usize::from(short(page, cells_from + 2 * index)?));
            match kind {
                INTERIOR => {
                    left.push(word(page, header + 8)?);
                    for index in (0..cells).rev() {
                        left.push(word(page, cell(index)?)?);
                    }
                }
                LEAF => {
                    for index in 0..cells {
                        let at = cell(index)?;
                        let row = self.record(page, at)?;
                        rows.push(row);
                    }
                }
                _ => return None,
            }
        }
        Some(rows)
    }

    /// Returns a cell's record, with what overflows into other pages.
    fn record(&mut self, page: &[u8], at: usize) -> Option<Vec<u8>> {
        let mut rest = page.get(at..self.usable)?;
        let length = usize::try_from(varint(&mut rest)?).ok()?;
        varint(&mut rest)?;
        if length > self.bytes.len() {
            return None;
        }
        let most = self.usable - 35;
        if length <= most {
            return Some(rest.get(..length)?.to_vec());
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let fitting = least + (length - least) % (self.usable - 4);
        let local = if fitting <= most { fitting } else { least };
        let mut record = rest.get(..local)?.to_vec();
        let mut next = word(rest, local)?;
        while record.len() < length {
            let page = self.page(next)?;
            next = word(page, 0)?;
            let count = (length - record.len()).min(self.usable - 4);
            record.extend_from_slice(page.get(4..4 + count)?);
        }
        Some(record)
    }
}

/// Returns each column's type and bytes.
fn columns(record: &[u8]) -> Option<Vec<(u64, &[u8])>> {
    let mut rest = record;
    let header = usize::try_from(varint(&mut rest)?).ok()?;
    let mut kinds = record.get(record.len() - rest.len()..header)?;
    let mut values = record.get(header..)?;
    let mut columns = Vec::new();
    while !kinds.is_empty() {
        let kind = varint(&mut kinds)?;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            _ => (kind - 12) / 2,
        };
        let (value, after) = values.split_at_checked(usize::try_from(length).ok()?)?;
        columns.push((kind, value));
        values = after;
    }
    Some(columns)
}

/// Returns a column's bytes as the number of a page.
fn number(bytes: &[u8]) -> Option<usize> {
    (1..=4).contains(&bytes.len()).then(|| {
        bytes
            .iter()
            .fold(0, |sum, &byte| sum << 8 | usize::from(byte))
    })
}

fn short(page: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(page.get(at..at + 2)?.try_into().ok()?))
}

fn word(page: &[u8], at: usize) -> Option<usize> {
    let word = page.get(at..at.checked_add(4)?)?;
    usize::try_from(u32::from_be_bytes(word.try_into().ok()?)).ok()
}

/// Reads a number of up to nine bytes, seven bits each but for the last.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for position in 0..9 {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        if position == 8 {
            return Some(value << 8 | u64::from(byte));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte < 0x80 {
            break;
        }
    }
    Some(value)
}
