//! Bytes of no known format: the ranges in which they differ.

use std::io::{self, Read};

use super::{Change, Content, Limits, Part};
use crate::pair::Pair;

/// What it is called in reports.
const NAME: &str = "data";

/// How many bytes of a range are shown.
const SHOWN: usize = 64;

/// How many equal bytes end a range: fewer are part of it.
const GAP: usize = 16;

/// How many equal bytes are skipped at once; no fewer than end a range.
const CHUNK: usize = 64;

/// How much is read at a time.
const BLOCK: usize = 64 << 10;

/// Returns the ranges in which two files differ, offset by offset.
pub(super) fn compare(sides: Pair<&[u8]>, limits: &mut Limits) -> Content {
    let mut readers = sides;
    ranges(
        Pair::new(&mut readers.published, &mut readers.rebuilt),
        limits,
    )
    .expect("memory can be read")
}

/// Returns the ranges in which two streams differ, offset by offset, in bounded memory.
pub fn ranges(sides: Pair<&mut dyn Read>, limits: &mut Limits) -> io::Result<Content> {
    let Pair { published, rebuilt } = sides;
    let mut found = Found {
        parts: Vec::new(),
        left_out: 0,
        limits,
        open: None,
    };
    let mut offset = 0;
    loop {
        let mut blocks = Pair::new(Vec::new(), Vec::new());
        (&mut *published)
            .take(BLOCK as u64)
            .read_to_end(&mut blocks.published)?;
        (&mut *rebuilt)
            .take(BLOCK as u64)
            .read_to_end(&mut blocks.rebuilt)?;
        let longest = blocks.published.len().max(blocks.rebuilt.len());
        if longest == 0 {
            break;
        }
        if blocks.is_equal() {
            found.equal(longest);
        } else {
            let mut index = 0;
            while index < longest {
                let chunks = blocks.as_ref().map(|block| block.get(index..index + CHUNK));
                if chunks.published.is_some() && chunks.is_equal() {
                    found.equal(CHUNK);
                    index += CHUNK;
                    continue;
                }
                let bytes = blocks.as_ref().map(|block| block.get(index).copied());
                if bytes.is_equal() {
                    found.equal(1);
                } else {
                    found.differs(offset + index as u64, bytes);
                }
                index += 1;
            }
        }
        offset += longest as u64;
    }
    found.close();
    Ok(Content {
        format: NAME.to_owned(),
        parts: found.parts,
        left_out: found.left_out,
    })
}

/// The ranges so far.
struct Found<'a> {
    parts: Vec<Part>,
    left_out: u64,
    limits: &'a mut Limits,
    open: Option<Range>,
}

/// A range that may go on.
struct Range {
    offset: u64,
    sides: Pair<Bytes>,
    /// The equal bytes since the last that differ.
    equal: usize,
}

/// One side of a range.
#[derive(Default)]
struct Bytes {
    length: u64,
    shown: Vec<u8>,
    counts: Counts,
}

/// How often each byte occurs.
struct Counts([u64; 256]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; 256])
    }
}

impl Found<'_> {
    fn differs(&mut self, offset: u64, bytes: Pair<Option<u8>>) {
        let range = self.open.get_or_insert_with(|| Range {
            offset,
            sides: Pair::new(Bytes::default(), Bytes::default()),
            equal: 0,
        });
        let skipped = range.equal as u64;
        range.equal = 0;
        for (side, byte) in [
            (&mut range.sides.published, bytes.published),
            (&mut range.sides.rebuilt, bytes.rebuilt),
        ] {
            if let Some(byte) = byte {
                // Equal bytes in between are part of the range's length and not of what is shown.
                side.length += skipped + 1;
                side.counts.0[usize::from(byte)] += 1;
                if side.shown.len() < SHOWN {
                    side.shown.push(byte);
                }
            }
        }
    }

    fn equal(&mut self, count: usize) {
        if let Some(range) = &mut self.open {
            range.equal += count;
            if range.equal >= GAP {
                self.close();
            }
        }
    }

    fn close(&mut self) {
        let Some(range) = self.open.take() else {
            return;
        };
        if self.limits.parts == 0 {
            self.left_out += 1;
            return;
        }
        self.limits.parts -= 1;
        let sides = range.sides.as_ref();
        self.parts.push(Part {
            place: format!("offset {:#x}", range.offset),
            change: Change::Bytes {
                offset: Pair::new(range.offset, range.offset),
                length: sides.map(|side| side.length),
                hex: sides.map(|side| hex::encode(&side.shown)),
                entropy: sides.map(|side| side.counts.entropy()),
            },
        });
    }
}

impl Counts {
    /// Returns the Shannon entropy in thousandths of a bit per byte.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rounded figure between 0 and 8000"
    )]
    fn entropy(&self) -> u32 {
        let total: u64 = self.0.iter().sum();
        let bits: f64 = self
            .0
            .iter()
            .filter(|&&count| count > 0)
            .map(|&count| {
                let share = count as f64 / total as f64;
                -share * share.log2()
            })
            .sum();
        (bits * 1000.0).round() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(published: &[u8], rebuilt: &[u8]) -> Vec<(String, Pair<u64>)> {
        let content = compare(Pair::new(published, rebuilt), &mut Limits::default());
        content
            .parts
            .into_iter()
            .map(|part| match part.change {
                Change::Bytes { length, .. } => (part.place, length),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn ranges_are_told_apart_by_enough_equal_bytes() {
        let mut published = vec![0; 200];
        let mut rebuilt = published.clone();
        (published[3], published[5], published[100]) = (1, 1, 1);
        rebuilt.extend([7; 3]);
        assert_eq!(
            places(&published, &rebuilt),
            [
                ("offset 0x3".to_owned(), Pair::new(3, 3)),
                ("offset 0x64".to_owned(), Pair::new(1, 1)),
                ("offset 0xc8".to_owned(), Pair::new(0, 3)),
            ]
        );
    }

    #[test]
    fn what_a_limit_cuts_off_is_counted() {
        let (published, mut rebuilt) = (vec![0; 100_000], vec![0; 100_000]);
        rebuilt.iter_mut().step_by(100).for_each(|byte| *byte = 1);
        let mut limits = Limits {
            parts: 10,
            ..Limits::default()
        };
        let content = compare(Pair::new(&published, &rebuilt), &mut limits);
        assert_eq!((content.parts.len(), content.left_out), (10, 990));
    }
}
