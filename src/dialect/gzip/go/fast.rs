//! Level 1: bytes → literals and matches, trying one earlier place per position.
//!
//! The input is cut into blocks of 65535 bytes. A table remembers the last place
//! for each hash of four bytes; the longer nothing matches, the more positions
//! are skipped.

use super::block::{Blocks, Choice, LARGEST_STORED_BLOCK};

/// How far back a match may reach; so much of the last block is kept.
const REACH: usize = 1 << 15;

const TABLE_BITS: u32 = 14;

/// The longest match that DEFLATE can express.
const LONGEST: usize = 258;

/// No match is begun so near to a block's end.
const MARGIN: usize = 15;

/// A last block shorter than this is not searched for matches …
const SEARCHED: usize = 128;

/// … and one no longer than this is stored as it is.
const STORED: usize = 16;

/// Places are counted from here, so that those never entered are out of reach.
const FIRST_STAMP: u32 = 65_535;

/// Places are counted anew when they pass this; any limit that fits would do.
const RECOUNT_AT: u32 = 1 << 24;

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    stamp: u32,
    word: u32,
}

/// A compressor of level 1.
pub(super) struct Fast {
    /// The end of the last block up to [`REACH`], then the current block.
    buffer: Vec<u8>,
    table: Vec<Place>,
    /// The stamp of the first byte of the current block.
    block_stamp: u32,
}

impl Fast {
    pub(super) fn new() -> Self {
        Self {
            buffer: vec![0; REACH],
            table: vec![Place::default(); 1 << TABLE_BITS],
            block_stamp: FIRST_STAMP,
        }
    }

    pub(super) fn write(&mut self, mut input: &[u8], blocks: &mut Blocks) {
        while !input.is_empty() {
            let room = REACH + LARGEST_STORED_BLOCK - self.buffer.len();
            let (taken, left) = input.split_at(room.min(input.len()));
            self.buffer.extend_from_slice(taken);
            input = left;
            if taken.len() == room {
                self.write_block(blocks);
                self.next_block();
            }
        }
    }

    pub(super) fn finish(&mut self, blocks: &mut Blocks) {
        let last = &self.buffer[REACH..];
        match last.len() {
            0 => {}
            1..=STORED => blocks.write_stored(last),
            length if length < SEARCHED => {
                blocks.push_literals(last);
                blocks.write(Choice::DynamicIfWorthwhile, Some(last));
            }
            _ => self.write_block(blocks),
        }
    }

    fn write_block(&mut self, blocks: &mut Blocks) {
        self.search(blocks);
        let block = &self.buffer[REACH..];
        if blocks.tokens() > block.len() - block.len() / 16 {
            // Too few matches to be worth their codes.
            blocks.clear_tokens();
            blocks.push_literals(block);
        }
        blocks.write(Choice::DynamicIfWorthwhile, Some(block));
    }

    fn next_block(&mut self) {
        self.buffer.drain(..LARGEST_STORED_BLOCK);
        self.block_stamp += FIRST_STAMP;
        if self.block_stamp > RECOUNT_AT {
            let excess = self.block_stamp - FIRST_STAMP;
            self.block_stamp = FIRST_STAMP;
            for place in &mut self.table {
                place.stamp = place.stamp.saturating_sub(excess);
            }
        }
    }

    /// Puts the whole block into `blocks` as literals and matches.
    fn search(&mut self, blocks: &mut Blocks) {
        let end = self.buffer.len();
        let last_start = end - MARGIN;
        let mut emitted = REACH;
        let mut at = REACH;
        'block: loop {
            let mut skipping = 32;
            let mut next = at;
            let mut earlier = loop {
                at = next;
                next += skipping >> 5;
                skipping += skipping >> 5;
                if next > last_start {
                    break 'block;
                }
                if let Some(earlier) = self.enter(at) {
                    break earlier;
                }
            };
            blocks.push_literals(&self.buffer[emitted..at]);

            loop {
                let length = self.common_length(earlier, at);
                #[expect(clippy::cast_possible_truncation, reason = "at most 258 and 32768")]
                blocks.push_match(length as u32, (at - earlier) as u32);
                at += length;
                emitted = at;
                if at >= last_start {
                    break 'block;
                }
                self.enter(at - 1);
                match self.enter(at) {
                    Some(place) => earlier = place,
                    None => break,
                }
            }
            at += 1;
        }
        blocks.push_literals(&self.buffer[emitted..]);
    }

    /// Enters a place into the table; returns the one it replaces if that has the same four bytes.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the buffer is below 100 KiB"
    )]
    fn enter(&mut self, at: usize) -> Option<usize> {
        let bytes = self.buffer[at..]
            .first_chunk()
            .expect("four bytes begin here");
        let word = u32::from_le_bytes(*bytes);
        let hash = word.wrapping_mul(0x1e35_a7bd) >> (32 - TABLE_BITS);
        let stamp = self.block_stamp + (at - REACH) as u32;
        let before = std::mem::replace(&mut self.table[hash as usize], Place { stamp, word });
        let distance = (stamp - before.stamp) as usize;
        (distance <= REACH && before.word == word).then(|| at - distance)
    }

    fn common_length(&self, earlier: usize, at: usize) -> usize {
        let ahead = &self.buffer[at..];
        self.buffer[earlier..]
            .iter()
            .zip(&ahead[..ahead.len().min(LONGEST)])
            .take_while(|(one, other)| one == other)
            .count()
    }
}
