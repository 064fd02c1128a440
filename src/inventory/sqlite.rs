//! Tables of an SQLite database, as far as rpm's and dnf's need it: a column of one table.
//!
//! A table's blobs or numbers are all that is needed, for which the whole of SQLite's library would
//! run on a file that may be hostile. Only tables are read; what lies in a write-ahead log
//! beside the file is not part of it.
//!
//! Source: SQLite, "Database File Format", sections 1.3, 1.5, 1.6 and 2.1.

use std::{collections::BTreeSet, ops::Range};

use super::{MAX_PACKAGES, stretches::Stretches};

const MAGIC: &[u8] = b"SQLite format 3\0";

/// Where the first page's own header begins, after the file's.
const FILE_HEADER: usize = 100;

/// Returns where the first blob of each row of a table lies, in order of the rows.
///
/// `None` where the file or the table cannot be read.
pub(super) fn blobs(bytes: &[u8], table: &[u8]) -> Option<Vec<Stretches>> {
    let rows = rows(bytes, table)?.into_iter();
    let blob = |row: Stretches| {
        let (_, blob) =
            Columns::of(&row.bytes(bytes))?.find(|(kind, _)| *kind >= 12 && kind % 2 == 0)?;
        row.part(blob)
    };
    Some(rows.filter_map(blob).collect())
}

/// Returns where the whole number of 32 bits lies that each row of a table has in a column,
/// counted from 0 and of this name; rows that have another value there are left out.
///
/// `None` where the file or the table cannot be read, or does not have that column there.
pub(crate) fn numbers(
    bytes: &[u8],
    table: &[u8],
    column: usize,
    name: &[u8],
) -> Option<Vec<Stretches>> {
    const INT32: u64 = 4;
    let mut database = Database::of(bytes)?;
    let (root, sql) = database.table(table)?;
    if !is_column(&sql, column, name) {
        return None;
    }
    database.seen.clear();
    let rows = database.rows(root)?.into_iter();
    let number = |row: Stretches| {
        let (kind, number) = Columns::of(&row.bytes(bytes))?.nth(column)?;
        (kind == INT32).then(|| row.part(number))?
    };
    Some(rows.filter_map(number).collect())
}

/// Returns where the records of a table lie, in order.
///
/// Each page is read once at most, and no two records of the table lie over each other, so
/// that time and memory are bounded by the file.
fn rows(bytes: &[u8], table: &[u8]) -> Option<Vec<Stretches>> {
    let mut database = Database::of(bytes)?;
    let (root, _) = database.table(table)?;
    database.seen.clear();
    database.rows(root)
}

/// Returns whether no two tables have a name, a page or a byte in common: what lies in a row
/// of one is then in no other.
///
/// Of indexes, only the first page is looked at.
pub(crate) fn lie_apart(bytes: &[u8]) -> bool {
    /// The number 1, which takes up no bytes: no table but the schema begins there.
    const ONE: u64 = 9;
    let apart = || {
        let mut database = Database::of(bytes)?;
        let mut names = BTreeSet::new();
        for row in database.rows(1)? {
            let row = row.bytes(bytes);
            let mut columns = Columns::of(&row)?.map(|(kind, place)| (kind, &row[place]));
            let (kind, name) = (columns.next()?.1, columns.next()?.1);
            let (root_kind, root) = columns.nth(1)?;
            if root_kind == ONE {
                return None;
            }
            match kind {
                b"table" => {
                    // SQLite does not tell upper and lower case apart.
                    names.insert(name.to_ascii_lowercase()).then_some(())?;
                    // A virtual table has no pages.
                    if let Some(root) = number(root).filter(|&root| root != 0) {
                        database.walk(root, &mut |_| Some(()))?;
                    }
                }
                b"index" => {
                    database.page(number(root)?)?;
                }
                _ => {}
            }
        }
        Some(())
    };
    apart().is_some()
}

/// Returns whether the statement that makes a table has a column of this name at a place.
///
/// Only names and plain words may stand before it, so that each comma ends a column.
fn is_column(sql: &[u8], column: usize, name: &[u8]) -> bool {
    /// Far more than there is before a column that is asked for.
    const MAX_STATEMENT: usize = 8192;
    let Some(sql) = (sql.len() <= MAX_STATEMENT)
        .then(|| without_comments(sql))
        .flatten()
    else {
        return false;
    };
    let Some(from) = sql.iter().position(|&byte| byte == b'(') else {
        return false;
    };
    let mut columns = sql[from + 1..].split(|&byte| byte == b',');
    let is_plain = |column: &[u8]| {
        !is_open(column, b'"')
            && column.iter().all(|&byte| {
                byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() || b"_\"".contains(&byte)
            })
    };
    let before = columns.by_ref().take(column).all(is_plain);
    let first = columns.next().and_then(|column| {
        let mut words = column.split(u8::is_ascii_whitespace);
        words.find(|word| !word.is_empty())
    });
    let bare = |word: &'_ [u8]| {
        let bare = word
            .strip_prefix(b"\"")
            .and_then(|word| word.strip_suffix(b"\""));
        bare.unwrap_or(word) == name
    };
    before && first.is_some_and(bare)
}

/// Returns whether an odd number of a quote stands there.
fn is_open(sql: &[u8], quote: u8) -> bool {
    sql.iter()
        .fold(false, |is_open, &byte| is_open != (byte == quote))
}

/// Returns a statement without `/* */` and `--`; `None` where one of them stands in quotes.
fn without_comments(sql: &[u8]) -> Option<Vec<u8>> {
    let mut rest = sql;
    let mut found = Vec::new();
    while let [first, after @ ..] = rest {
        let end: &[u8] = match rest {
            [b'/', b'*', ..] => b"*/",
            [b'-', b'-', ..] => b"\n",
            _ => {
                found.push(*first);
                rest = after;
                continue;
            }
        };
        let is_quoted = [b'"', b'\'', b'`']
            .iter()
            .any(|&quote| is_open(&found, quote));
        if is_quoted {
            return None;
        }
        rest = &rest[2..];
        let at = rest.windows(end.len()).position(|window| window == end)?;
        rest = &rest[at + end.len()..];
        found.push(b' ');
    }
    Some(found)
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

    /// Returns a table's first page and the statement that makes it.
    fn table(&mut self, table: &[u8]) -> Option<(usize, Vec<u8>)> {
        self.rows(1)?.into_iter().find_map(|row| {
            let row = row.bytes(self.bytes);
            // type, name, tbl_name, rootpage, sql
            let mut columns = Columns::of(&row)?.map(|(_, place)| &row[place]);
            let is_it = columns.next()? == b"table" && columns.next()? == table;
            let root = number(columns.nth(1)?)?;
            let sql = columns.next().unwrap_or_default();
            is_it.then(|| (root, sql.to_vec()))
        })
    }

    /// Returns where the records of a table lie, in order, given its first page; `None` too
    /// where they are more than an image has packages.
    fn rows(&mut self, root: usize) -> Option<Vec<Stretches>> {
        let mut rows = Vec::new();
        self.walk(root, &mut |row| {
            rows.push(row);
            (rows.len() <= MAX_PACKAGES).then_some(())
        })?;
        Some(rows)
    }

    /// Calls `with` for each record of a table, in order, given its first page.
    fn walk(&mut self, root: usize, with: &mut dyn FnMut(Stretches) -> Option<()>) -> Option<()> {
        const INTERIOR: u8 = 5;
        const LEAF: u8 = 13;
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
                    let mut taken = Vec::new();
                    for index in 0..cells {
                        let (row, place) = self.record(number, page, cell(index)?)?;
                        with(row)?;
                        taken.push(place);
                    }
                    // Cells that lie over each other would make much out of one page, and a
                    // time out of a part of another row.
                    taken.sort_unstable_by_key(|place| place.start);
                    let first = taken.first().map_or(self.usable, |place| place.start);
                    let is_apart = taken.windows(2).all(|two| two[0].end <= two[1].start);
                    if !is_apart || first < cells_from + 2 * cells {
                        return None;
                    }
                }
                _ => return None,
            }
        }
        Some(())
    }

    /// Returns where a cell's record lies, with what overflows into other pages, and where
    /// the cell lies in this page.
    fn record(
        &mut self,
        number: usize,
        page: &[u8],
        at: usize,
    ) -> Option<(Stretches, Range<usize>)> {
        /// The fewest bytes that a cell takes up.
        const CELL: usize = 4;
        const POINTER: usize = 4;
        let mut rest = page.get(at..self.usable)?;
        let length = usize::try_from(varint(&mut rest)?).ok()?;
        varint(&mut rest)?;
        if length > self.bytes.len() {
            return None;
        }
        let most = self.usable - 35;
        let local = if length <= most {
            length
        } else {
            let least = (self.usable - 12) * 32 / 255 - 23;
            let fitting = least + (length - least) % (self.usable - 4);
            if fitting <= most { fitting } else { least }
        };
        rest.get(..local)?;
        let start = self.usable - rest.len();
        let from = (number - 1) * self.page_size + start;
        let pointer = if local < length { POINTER } else { 0 };
        let end = (start + local + pointer).max(at + CELL);
        let mut record = Stretches::default();
        record.push(from..from + local);
        let mut left = length - local;
        let mut next = if left > 0 { word(rest, local)? } else { 0 };
        while left > 0 {
            let from = next.checked_sub(1)?.checked_mul(self.page_size)? + 4;
            next = word(self.page(next)?, 0)?;
            let count = left.min(self.usable - 4);
            record.push(from..from + count);
            left -= count;
        }
        Some((record, at..end))
    }
}

/// Each column's type, and where in the record its bytes lie; ends where they do not go on.
struct Columns<'a> {
    record: &'a [u8],
    /// The types that are left.
    kinds: &'a [u8],
    /// Where the next column begins.
    from: usize,
}

impl<'a> Columns<'a> {
    fn of(record: &'a [u8]) -> Option<Self> {
        let mut rest = record;
        let header = usize::try_from(varint(&mut rest)?).ok()?;
        Some(Self {
            record,
            kinds: record.get(record.len() - rest.len()..header)?,
            from: header,
        })
    }
}

impl Iterator for Columns<'_> {
    type Item = (u64, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        let kind = varint(&mut self.kinds)?;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            _ => (kind - 12) / 2,
        };
        let to = self.from.checked_add(usize::try_from(length).ok()?)?;
        self.record.get(self.from..to)?;
        let place = self.from..to;
        self.from = to;
        Some((kind, place))
    }
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
