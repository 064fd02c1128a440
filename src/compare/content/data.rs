//! Bytes of no known format: the ranges in which they differ.

use std::{
    io::{self, Read},
    mem,
};

use super::{Change, Content, Limits, Part};
use crate::pair::Pair;

/// What it is called in reports.
const NAME: &str = "data";

/// How many bytes of a range are shown.
const SHOWN: usize = 64;

/// How many equal bytes end a range: fewer are part of it.
const GAP: usize = 16;

/// How many equal bytes are shown before a range and after it; no more than end a range.
const AROUND: usize = GAP;

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
        before: Vec::new(),
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
            found.equal(&blocks.published);
        } else {
            let mut index = 0;
            while index < longest {
                let chunks = blocks.as_ref().map(|block| block.get(index..index + CHUNK));
                if let (Some(chunk), true) = (chunks.published, chunks.is_equal()) {
                    found.equal(chunk);
                    index += CHUNK;
                    continue;
                }
                let bytes = blocks.as_ref().map(|block| block.get(index).copied());
                if let (Some(byte), true) = (bytes.published, bytes.is_equal()) {
                    found.equal(&[byte]);
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
    /// The equal bytes before what comes next, as many as are shown.
    before: Vec<u8>,
}

/// A range that may go on.
struct Range {
    offset: u64,
    before: Vec<u8>,
    sides: Pair<Bytes>,
    /// The equal bytes since the last that differ; fewer than end a range.
    equal: Vec<u8>,
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
            before: mem::take(&mut self.before),
            sides: Pair::new(Bytes::default(), Bytes::default()),
            equal: Vec::new(),
        });
        let between = mem::take(&mut range.equal);
        for (side, byte) in [
            (&mut range.sides.published, bytes.published),
            (&mut range.sides.rebuilt, bytes.rebuilt),
        ] {
            if let Some(byte) = byte {
                side.length += between.len() as u64 + 1;
                side.counts.0[usize::from(byte)] += 1;
                let shown = between.iter().chain([&byte]);
                side.shown.extend(shown.take(SHOWN - side.shown.len()));
            }
        }
    }

    fn equal(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        if let Some(range) = &mut self.open {
            let (more, after) = bytes.split_at(bytes.len().min(GAP - range.equal.len()));
            range.equal.extend(more);
            rest = after;
            if range.equal.len() < GAP {
                return;
            }
            self.close();
        }
        self.before
            .extend(&rest[rest.len().saturating_sub(AROUND)..]);
        self.before
            .drain(..self.before.len().saturating_sub(AROUND));
    }

    fn close(&mut self) {
        let Some(range) = self.open.take() else {
            return;
        };
        self.before = range.equal;
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
                before: hex::encode(&range.before),
                after: hex::encode(&self.before),
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
    fn a_range_is_shown_whole_between_what_is_equal() {
        let published: Vec<u8> = (0..200).collect();
        let mut rebuilt = published.clone();
        (rebuilt[20], rebuilt[24], rebuilt[60]) = (0xff, 0xff, 0xff);
        rebuilt.truncate(190);
        let bytes = |range: std::ops::Range<u8>| hex::encode(range.collect::<Vec<u8>>());
        let expected = [
            (
                bytes(4..20),
                Pair::new(bytes(20..25), "ff151617ff".to_owned()),
                bytes(25..41),
            ),
            (
                bytes(44..60),
                Pair::new(bytes(60..61), "ff".to_owned()),
                bytes(61..77),
            ),
            (
                bytes(174..190),
                Pair::new(bytes(190..200), String::new()),
                String::new(),
            ),
        ];
        let content = compare(Pair::new(&published, &rebuilt), &mut Limits::default());
        let seen = content.parts.into_iter().map(|part| match part.change {
            Change::Bytes {
                hex, before, after, ..
            } => (before, hex, after),
            other => panic!("{other:?}"),
        });
        assert_eq!(seen.collect::<Vec<_>>(), expected);
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
