//! Sparse maps: where a file has data, in the four ways GNU tar ever said it.
//!
//! Source: GNU tar manual, "Storing Sparse Files".

use super::{
    header::{BLOCK, numeric},
    pax::decimal,
};

/// Where a sparse file has data: (offset, size), in order, without overlap.
pub(super) type Map = Vec<(u64, u64)>;

/// Bytes of an entry in an old GNU map.
const ENTRY: usize = 24;

/// Reads the entries of an old GNU map, in a header or an extension block.
///
/// The map ends at the first entry that begins with a zero, as in GNU tar.
/// `None` where a number cannot be read.
pub(super) fn old_entries(fields: &[u8], map: &mut Map) -> Option<()> {
    for entry in fields.chunks_exact(ENTRY) {
        if entry[0] == 0 {
            break;
        }
        let number = |field: &[u8]| u64::try_from(numeric(field)?.0).ok();
        let (offset, size) = entry.split_at(ENTRY / 2);
        map.push((number(offset)?, number(size)?));
    }
    Some(())
}

/// Reads a map of format 0.1: numbers with commas between.
pub(super) fn comma_separated(text: &[u8], count: &[u8]) -> Option<Map> {
    let mut map = Map::new();
    if !text.is_empty() {
        let mut numbers = text.split(|&byte| byte == b',');
        while let Some(offset) = numbers.next() {
            map.push((unsigned(offset)?, unsigned(numbers.next()?)?));
        }
    }
    (unsigned(count)? == map.len() as u64).then_some(map)
}

/// Reads the map of format 1.0, which stands before the data: numbers, each with a newline.
#[derive(Default)]
pub(super) struct Lines {
    number: Vec<u8>,
    count: Option<u64>,
    offset: Option<u64>,
    map: Map,
}

/// What a block of a map of format 1.0 was.
pub(super) enum Step {
    /// The map goes on in the next block.
    Continues,
    /// The map has ended, before this position in the block.
    Ended(usize),
    /// Something in it is no number.
    Unreadable,
}

impl Lines {
    /// Takes the next block.
    pub(super) fn add(&mut self, block: &[u8; BLOCK]) -> Step {
        // No 64-bit number is longer; leading zeros beyond that are nothing GNU tar writes.
        const LONGEST: usize = 32;
        for (position, &byte) in block.iter().enumerate() {
            if byte != b'\n' {
                self.number.push(byte);
                if self.number.len() > LONGEST {
                    return Step::Unreadable;
                }
                continue;
            }
            let Some(number) = unsigned(&self.number) else {
                return Step::Unreadable;
            };
            self.number.clear();
            match (self.count, self.offset.take()) {
                (None, _) => self.count = Some(number),
                (Some(_), None) => self.offset = Some(number),
                (Some(_), Some(offset)) => self.map.push((offset, number)),
            }
            if self.offset.is_none() && self.count == Some(self.map.len() as u64) {
                return Step::Ended(position + 1);
            }
        }
        Step::Continues
    }

    /// Returns how many pieces were read so far.
    pub(super) fn pieces(&self) -> usize {
        self.map.len()
    }

    /// Returns the map.
    pub(super) fn finish(self) -> Map {
        self.map
    }
}

/// Returns how many bytes of data a map has, if it is one for a file of `size` bytes.
///
/// Pieces must be in order, apart and inside the file, as Go demands.
pub(super) fn data_size(map: &Map, size: u64) -> Option<u64> {
    let mut end = 0;
    let mut data: u64 = 0;
    for &(offset, length) in map {
        if offset < end {
            return None;
        }
        end = offset.checked_add(length)?;
        if end > size {
            return None;
        }
        data += length;
    }
    Some(data)
}

/// Reads a decimal number that is not negative.
pub(super) fn unsigned(text: &[u8]) -> Option<u64> {
    u64::try_from(decimal(text)?).ok()
}
