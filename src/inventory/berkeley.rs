//! Tables of Berkeley DB, as far as rpm's needs them: the values of a hash table.
//!
//! The library is no longer kept by anybody, and rpm's own reader of this format is not one
//! that can be called. Only what a reader finds by its key is read: pages that no bucket leads
//! to are not part of the table.
//!
//! Source: Berkeley DB 5.3, `dbinc/db_page.h` (`DBMETA`, `HMETA`, `PAGE`, `HOFFPAGE`) and
//! `dbinc/hash.h` (`BUCKET_TO_PAGE`); rpm, `lib/backend/bdb_ro.c`.

use super::{MAX_PACKAGES, stretches::Stretches};

/// What a table is called that cannot be read.
type Problem = &'static str;

/// What a hash table's first page has after its number.
const MAGIC: u32 = 0x0006_1561;

/// The bytes of a page's header; its index follows.
const PAGE_HEADER: usize = 26;

/// Where the first page has an id of the file, made of its inode, its device and the time.
pub(super) const FILE_ID: std::ops::Range<usize> = 52..72;

/// Where the first page says which page each doubling of the table begins at.
const SPARES: usize = 96;

/// How many of those there are.
const MAX_SPARES: usize = 32;

/// Reads the value of every key that is no zero, in the order of the buckets.
///
/// The key zero is rpm's: its value is the number of the next header. Each page is read once
/// at most, so that time and memory are bounded by the file.
pub(super) fn values(bytes: &[u8]) -> Result<Vec<Stretches>, Problem> {
    let mut table = Table::of(bytes)?;
    let mut values = Vec::new();
    let last_bucket = table.word(72)?;
    for bucket in 0..=last_bucket {
        let mut next = table.bucket(bucket)?;
        loop {
            next = table.items(next, &mut values)?;
            // The first page is the table's own: no chain leads there.
            if next == 0 {
                break;
            }
        }
    }
    Ok(values)
}

struct Table<'a> {
    bytes: &'a [u8],
    page_size: usize,
    is_big_endian: bool,
    /// Whether each page was read.
    seen: Vec<bool>,
}

impl<'a> Table<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self, Problem> {
        const HASH_META: u8 = 8;
        const CHECKSUMS: u8 = 1;
        /// 8 is Berkeley DB 4.2's, 9 that of 4.6 to 5.3, 10 that of 6.
        const VERSIONS: std::ops::RangeInclusive<usize> = 8..=10;
        let no_table = "it is no hash table of Berkeley DB";
        let mut table = Self {
            bytes,
            page_size: 0,
            is_big_endian: false,
            seen: Vec::new(),
        };
        let magic = bytes.get(12..16).ok_or(no_table)?;
        table.is_big_endian = magic == MAGIC.to_be_bytes();
        if !table.is_big_endian && magic != MAGIC.to_le_bytes() {
            return Err(no_table);
        }
        table.page_size = table.word(20)?;
        if !table.page_size.is_power_of_two() || !(512..=65_536).contains(&table.page_size) {
            return Err("its pages are of a size that there is not");
        }
        let [encryption, kind, flags] =
            [24, 25, 26].map(|at| bytes.get(at).copied().unwrap_or_default());
        if kind != HASH_META || !VERSIONS.contains(&table.word(16)?) {
            return Err("it is no hash table of a known version");
        }
        if encryption != 0 || flags & CHECKSUMS != 0 || table.word(36)? != 0 {
            return Err("it is encrypted, has checksums, or is in several files");
        }
        table.seen = vec![false; bytes.len() / table.page_size];
        table.page(0)?;
        Ok(table)
    }

    /// Returns where a page begins that was not read before.
    fn page(&mut self, number: usize) -> Result<usize, Problem> {
        let seen = self.seen.get_mut(number);
        let seen = seen.ok_or("a page lies outside of the file")?;
        if std::mem::replace(seen, true) {
            return Err("a page is in two places");
        }
        Ok(number * self.page_size)
    }

    /// Returns a bucket's first page: those of each doubling lie together.
    fn bucket(&self, bucket: usize) -> Result<usize, Problem> {
        let doublings = match bucket {
            0 => 0,
            _ => usize::try_from(bucket.ilog2()).map_or(MAX_SPARES, |log| log + 1),
        };
        if doublings >= MAX_SPARES {
            return Err("it has more buckets than there can be");
        }
        let page = bucket.checked_add(self.word(SPARES + 4 * doublings)?);
        page.ok_or("a page lies outside of the file")
    }

    /// Adds the values on a page of a bucket, and returns the next page; zero if there is none.
    fn items(&mut self, page: usize, values: &mut Vec<Stretches>) -> Result<usize, Problem> {
        const NEVER_USED: u8 = 0;
        const UNSORTED_HASH: u8 = 2;
        const HASH: u8 = 13;
        let start = self.page(page)?;
        let next = self.word(start + 16)?;
        let count = self.short(start + 20)?;
        match self.bytes.get(start + 25) {
            Some(&NEVER_USED) if count == 0 && next == 0 => return Ok(0),
            Some(&(UNSORTED_HASH | HASH)) => {}
            _ => return Err("a bucket's page is of another kind"),
        }
        if count % 2 == 1 {
            return Err("a key has no value");
        }
        // Items lie from the page's end to its beginning, each up to the one before.
        let floor = PAGE_HEADER + 2 * count;
        let mut end = self.page_size;
        let mut items = Vec::new();
        for index in 0..count {
            let from = self.short(start + PAGE_HEADER + 2 * index)?;
            if !(floor..end).contains(&from) {
                return Err("an item lies outside of its page, or over another");
            }
            items.push(start + from..start + end);
            end = from;
        }
        for item in items.chunks_exact(2) {
            let key = self.item(item[0].clone())?;
            let is_counter = key.len() == 4 && key.bytes(self.bytes) == [0; 4];
            let value = self.item(item[1].clone())?;
            if !is_counter {
                values.push(value);
            }
            // A value of one byte in the file is some hundred in memory.
            if values.len() > MAX_PACKAGES {
                return Err("it has more values than an image has packages");
            }
        }
        Ok(next)
    }

    /// Returns where a key or a value lies.
    fn item(&mut self, item: std::ops::Range<usize>) -> Result<Stretches, Problem> {
        const HERE: u8 = 1;
        const ELSEWHERE: u8 = 3;
        /// Its kind, three bytes of no meaning, a page and a length.
        const REFERENCE: usize = 12;
        let mut found = Stretches::default();
        match self.bytes.get(item.start) {
            Some(&HERE) => found.push(item.start + 1..item.end),
            Some(&ELSEWHERE) if item.len() == REFERENCE => {
                let next = self.word(item.start + 4)?;
                let length = self.word(item.start + 8)?;
                self.overflow(next, length, &mut found)?;
            }
            _ => return Err("an item is neither on its page nor on pages of its own"),
        }
        Ok(found)
    }

    /// Follows the pages of a value that is too long for one.
    fn overflow(
        &mut self,
        mut next: usize,
        length: usize,
        found: &mut Stretches,
    ) -> Result<(), Problem> {
        const OVERFLOW: u8 = 7;
        let mut left = length;
        while next != 0 {
            let start = self.page(next)?;
            if self.bytes.get(start + 25) != Some(&OVERFLOW) {
                return Err("a value's page is of another kind");
            }
            next = self.word(start + 16)?;
            let count = self.short(start + 22)?;
            left = left
                .checked_sub(count)
                .filter(|_| count <= self.page_size - PAGE_HEADER)
                .ok_or("a value's pages hold more than its length")?;
            found.push(start + PAGE_HEADER..start + PAGE_HEADER + count);
        }
        match left {
            0 => Ok(()),
            _ => Err("a value's pages hold less than its length"),
        }
    }

    fn short(&self, at: usize) -> Result<usize, Problem> {
        let bytes: [u8; 2] = self.at(at)?;
        Ok(usize::from(if self.is_big_endian {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        }))
    }

    fn word(&self, at: usize) -> Result<usize, Problem> {
        let bytes = self.at(at)?;
        let word = if self.is_big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        };
        usize::try_from(word).map_err(|_| "a number is too large")
    }

    fn at<const N: usize>(&self, at: usize) -> Result<[u8; N], Problem> {
        let bytes = self.bytes.get(at..).and_then(|bytes| bytes.first_chunk());
        bytes.copied().ok_or("it ends in the middle of a page")
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{Endian, PAGE, berkeley, put},
        *,
    };

    fn read(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Problem> {
        Ok(values(bytes)?
            .iter()
            .map(|value| value.bytes(bytes))
            .collect())
    }

    #[test]
    fn values_are_found_in_buckets_chains_and_pages_of_their_own() {
        let values = [
            b"short".to_vec(),
            vec![b'x'; 3 * PAGE],
            b"other".to_vec(),
            b"in the same bucket as the first".to_vec(),
        ];
        let mut expected = values.to_vec();
        expected.swap(1, 3);
        expected.swap(2, 3);
        for endian in [Endian::Little, Endian::Big] {
            assert_eq!(read(&berkeley(endian, &values)), Ok(expected.clone()));
        }
    }

    #[test]
    fn a_hostile_table_is_refused_by_what_is_wrong_with_it() {
        let right = berkeley(Endian::Little, &[vec![b'x'; 3 * PAGE]]);
        assert_eq!(read(&right).map(|values| values.len()), Ok(1));
        // The value's first page is the fifth, its key is in the second bucket.
        let bucket = 2 * PAGE;
        let item = bucket + PAGE - 5 - 12;
        let cases: [(&str, usize, &[u8], Problem); 12] = [
            ("no magic", 12, b"\0", "it is no hash table of Berkeley DB"),
            (
                "a page of no bytes",
                20,
                &[0, 0],
                "its pages are of a size that there is not",
            ),
            (
                "another version",
                16,
                &[7],
                "it is no hash table of a known version",
            ),
            (
                "encrypted",
                24,
                &[1],
                "it is encrypted, has checksums, or is in several files",
            ),
            (
                "buckets without end",
                72,
                &[0xff; 4],
                "a page is in two places",
            ),
            (
                "a bucket that leads to itself",
                bucket + 16,
                &[2],
                "a page is in two places",
            ),
            (
                "a value that leads to itself",
                5 * PAGE + 16,
                &[5],
                "a page is in two places",
            ),
            (
                "a value that leads out of the file",
                5 * PAGE + 16,
                &[0xff, 0xff],
                "a page lies outside of the file",
            ),
            (
                "a value longer than its pages",
                item + 8,
                &[0xff, 0xff],
                "a value's pages hold less than its length",
            ),
            (
                "a value shorter than its pages",
                item + 8,
                &[1, 0],
                "a value's pages hold more than its length",
            ),
            (
                "an item out of its page",
                bucket + PAGE_HEADER,
                &[0xff, 0xff],
                "an item lies outside of its page, or over another",
            ),
            (
                "an item over the index",
                bucket + PAGE_HEADER + 2,
                &[0, 0],
                "an item lies outside of its page, or over another",
            ),
        ];
        for (case, at, bytes, problem) in cases {
            let mut wrong = right.clone();
            put(&mut wrong, at, bytes);
            assert_eq!(read(&wrong), Err(problem), "{case}");
        }
        for at in 0..right.len() {
            let mut changed = right.clone();
            changed[at] ^= 0x55;
            drop(read(&changed));
            drop(read(&right[..at]));
        }
    }
}
