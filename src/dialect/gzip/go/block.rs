//! Blocks: literals and matches → the bits of stored, fixed or dynamic blocks.
//!
//! Where DEFLATE leaves a choice (which kind of block, how the code lengths are
//! run-length encoded), the choice here is Go's. Nothing here searches for
//! matches or decides where a block ends.

use super::bits::BitWriter;
use super::huffman::{Code, LONGEST_CODE, LONGEST_LENGTH_CODE, canonical, code_for, size_in_bits};

/// The most bytes a stored block can hold (its length field has 16 bits).
pub(super) const LARGEST_STORED_BLOCK: usize = 65_535;

/// The shortest match DEFLATE can express; lengths are written less this.
const SHORTEST_MATCH: u32 = 3;

const LITERALS_AND_LENGTHS: usize = 286;
const DISTANCES: usize = 30;
const LENGTH_SYMBOLS: usize = 19;

const END_OF_BLOCK: usize = 256;
const FIRST_LENGTH: usize = 257;

/// The symbols for code lengths: repeat the last one 3-6 times (two more bits) …
const REPEAT: u8 = 16;
/// … or zero 3-10 times (three more bits) …
const ZEROS: u8 = 17;
/// … or zero 11-138 times (seven more bits).
const MANY_ZEROS: u8 = 18;

/// The order in which the lengths of the code for code lengths are written (RFC 1951 section 3.2.7).
const LENGTH_SYMBOL_ORDER: [usize; LENGTH_SYMBOLS] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];

/// Two of the 288 symbols of the fixed code never occur, but shape it (RFC 1951 section 3.2.6).
static FIXED_LITERALS: [Code; 288] = canonical(fixed_lengths());
static FIXED_DISTANCES: [Code; DISTANCES] = canonical([5; DISTANCES]);

const fn fixed_lengths() -> [u8; 288] {
    let mut lengths = [8; 288];
    let mut symbol = 144;
    while symbol < 280 {
        lengths[symbol] = if symbol < 256 { 9 } else { 7 };
        symbol += 1;
    }
    lengths
}

/// How the kind of a block is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// The smallest: stored if smaller than both others, dynamic if smaller than fixed.
    Smallest,
    /// Dynamic, but stored unless that saves a sixteenth.
    DynamicIfWorthwhile,
}

/// Something to be written in a block.
#[derive(Clone, Copy, Debug)]
enum Token {
    Literal(u8),
    /// The length less [`SHORTEST_MATCH`], the distance less 1.
    Match {
        length: u8,
        distance: u16,
    },
}

/// A length or distance as DEFLATE writes it: a symbol, and bits that follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Split {
    symbol: u8,
    extra_bits: u8,
    extra: u16,
}

static LENGTHS: [Split; 256] = {
    let mut lengths = [split(0, 2); 256];
    let mut length = 0;
    while length < 255 {
        lengths[length as usize] = split(length, 2);
        length += 1;
    }
    // The longest match has a symbol to itself.
    lengths[255] = Split {
        symbol: 28,
        extra_bits: 0,
        extra: 0,
    };
    lengths
};

/// Splits a number into its leading bits, for which there is a symbol, and the rest.
///
/// After the first one bit, `shown` more bits choose the symbol: two for
/// lengths, one for distances.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a symbol is below 30, and a distance has 15 bits"
)]
const fn split(value: u32, shown: u32) -> Split {
    if value < 1 << (shown + 1) {
        return Split {
            symbol: value as u8,
            extra_bits: 0,
            extra: 0,
        };
    }
    let extra_bits = value.ilog2() - shown;
    Split {
        symbol: ((extra_bits << shown) + (value >> extra_bits)) as u8,
        extra_bits: extra_bits as u8,
        extra: (value & ((1 << extra_bits) - 1)) as u16,
    }
}

/// Collects the tokens of one block after the other and writes them as bits.
pub(super) struct Blocks {
    pub(super) output: BitWriter,
    tokens: Vec<Token>,
    literals: [u32; LITERALS_AND_LENGTHS],
    distances: [u32; DISTANCES],
}

impl Blocks {
    pub(super) fn new() -> Self {
        Self {
            output: BitWriter::default(),
            tokens: Vec::new(),
            literals: [0; LITERALS_AND_LENGTHS],
            distances: [0; DISTANCES],
        }
    }

    /// Returns how many literals and matches the block has so far.
    #[inline]
    pub(super) fn tokens(&self) -> usize {
        self.tokens.len()
    }

    #[inline]
    pub(super) fn push_literal(&mut self, literal: u8) {
        self.literals[usize::from(literal)] += 1;
        self.tokens.push(Token::Literal(literal));
    }

    pub(super) fn push_literals(&mut self, literals: &[u8]) {
        for &literal in literals {
            self.push_literal(literal);
        }
    }

    /// Adds a match; `length` is 3 to 258, `distance` 1 to 32768.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "in the ranges named, they fit"
    )]
    pub(super) fn push_match(&mut self, length: u32, distance: u32) {
        debug_assert!((3..=258).contains(&length) && (1..=32_768).contains(&distance));
        let length = (length - SHORTEST_MATCH) as u8;
        let distance = (distance - 1) as u16;
        self.literals[FIRST_LENGTH + usize::from(LENGTHS[usize::from(length)].symbol)] += 1;
        self.distances[usize::from(split(distance.into(), 1).symbol)] += 1;
        self.tokens.push(Token::Match { length, distance });
    }

    /// Forgets the tokens of the block.
    pub(super) fn clear_tokens(&mut self) {
        self.tokens.clear();
        self.literals.fill(0);
        self.distances.fill(0);
    }

    /// Writes the tokens as one block, and begins the next.
    ///
    /// `raw` are the bytes they stand for, `None` if those are gone: then, or
    /// if they are too many, the block is not stored whatever its size.
    pub(super) fn write(&mut self, choice: Choice, raw: Option<&[u8]>) {
        self.literals[END_OF_BLOCK] += 1;
        if self.distances.iter().all(|&count| count == 0) {
            // A block without matches counts one all the same: there must be a code.
            self.distances[0] = 1;
        }
        let dynamic = DynamicCode::new(&self.literals, &self.distances);
        let dynamic_size = dynamic.size_in_bits
            + size_in_bits(&self.literals, &dynamic.literals)
            + size_in_bits(&self.distances, &dynamic.distances);
        let stored = raw
            .filter(|raw| raw.len() <= LARGEST_STORED_BLOCK)
            .map(|raw| (raw, (raw.len() + 5) * 8));

        let (use_fixed, stored) = match choice {
            Choice::Smallest => {
                let extra_size = self.extra_size_in_bits();
                let dynamic_size = dynamic_size + extra_size;
                let fixed_size = 3
                    + size_in_bits(&self.literals, &FIXED_LITERALS)
                    + size_in_bits(&self.distances, &FIXED_DISTANCES)
                    + extra_size;
                (
                    fixed_size <= dynamic_size,
                    stored.filter(|&(_, size)| size < fixed_size.min(dynamic_size)),
                )
            }
            // Go leaves the extra bits of lengths and distances out of this sum.
            Choice::DynamicIfWorthwhile => (
                false,
                stored.filter(|&(_, size)| size < dynamic_size + (dynamic_size >> 4)),
            ),
        };
        if let Some((raw, _)) = stored {
            self.write_stored(raw);
        } else if use_fixed {
            self.output.put(0b01 << 1, 3);
            self.write_tokens(&FIXED_LITERALS, &FIXED_DISTANCES);
        } else {
            self.output.put(0b10 << 1, 3);
            dynamic.write(&mut self.output);
            self.write_tokens(&dynamic.literals, &dynamic.distances);
        }
        self.clear_tokens();
    }

    /// Writes a stored block of at most [`LARGEST_STORED_BLOCK`] bytes.
    pub(super) fn write_stored(&mut self, raw: &[u8]) {
        self.write_stored_header(0, raw.len());
        self.output.put_bytes(raw);
    }

    /// Writes the last block: an empty stored one, whatever came before.
    pub(super) fn write_end(&mut self) {
        self.write_stored_header(1, 0);
        self.output.align();
    }

    fn write_stored_header(&mut self, last: u32, length: usize) {
        let length = u16::try_from(length).expect("a stored block is at most 65535 bytes");
        self.output.put(last, 3);
        self.output.align();
        self.output.put(length.into(), 16);
        self.output.put((!length).into(), 16);
    }

    /// Returns the bits that follow the symbols, the same whatever the code.
    fn extra_size_in_bits(&self) -> usize {
        let per_token = |token: &Token| match *token {
            Token::Literal(_) => 0,
            Token::Match { length, distance } => {
                usize::from(LENGTHS[usize::from(length)].extra_bits)
                    + usize::from(split(distance.into(), 1).extra_bits)
            }
        };
        self.tokens.iter().map(per_token).sum()
    }

    fn write_tokens(&mut self, literals: &[Code], distances: &[Code; DISTANCES]) {
        let literals: &[Code; LITERALS_AND_LENGTHS] = literals
            .first_chunk()
            .expect("a code for every literal and length");
        let put = |output: &mut BitWriter, code: Code, split: Split| {
            output.put(
                u32::from(code.bits) | u32::from(split.extra) << code.length,
                u32::from(code.length + split.extra_bits),
            );
        };
        for &token in &self.tokens {
            match token {
                Token::Literal(literal) => {
                    let code = literals[usize::from(literal)];
                    self.output.put(code.bits.into(), code.length.into());
                }
                Token::Match { length, distance } => {
                    let length = LENGTHS[usize::from(length)];
                    put(
                        &mut self.output,
                        literals[FIRST_LENGTH + usize::from(length.symbol)],
                        length,
                    );
                    let distance = split(distance.into(), 1);
                    put(
                        &mut self.output,
                        distances[usize::from(distance.symbol)],
                        distance,
                    );
                }
            }
        }
        let end = literals[END_OF_BLOCK];
        self.output.put(end.bits.into(), end.length.into());
    }
}

/// The codes of a dynamic block, and how they are described in its header.
struct DynamicCode {
    literals: [Code; LITERALS_AND_LENGTHS],
    distances: [Code; DISTANCES],
    /// How many of the codes are described; the rest do not occur.
    described_literals: usize,
    described_distances: usize,
    runs: Vec<Run>,
    length_code: [Code; LENGTH_SYMBOLS],
    described_length_symbols: usize,
    /// Of the header, the block's first three bits included.
    size_in_bits: usize,
}

impl DynamicCode {
    fn new(literals: &[u32; LITERALS_AND_LENGTHS], distances: &[u32; DISTANCES]) -> Self {
        let described = |counts: &[u32]| {
            1 + counts
                .iter()
                .rposition(|&count| count > 0)
                .expect("something is in every block")
        };
        let described_literals = described(literals);
        let described_distances = described(distances);
        let literals = code_for(literals, LONGEST_CODE);
        let distances = code_for(distances, LONGEST_CODE);

        let lengths: Vec<u8> = literals[..described_literals]
            .iter()
            .chain(&distances[..described_distances])
            .map(|code| code.length)
            .collect();
        let runs = runs(&lengths);
        let mut counts = [0; LENGTH_SYMBOLS];
        let mut extra_size = 0;
        for run in &runs {
            counts[usize::from(run.symbol)] += 1;
            extra_size += run.extra_bits() as usize;
        }
        let length_code = code_for(&counts, LONGEST_LENGTH_CODE);
        let described_length_symbols = LENGTH_SYMBOL_ORDER
            .iter()
            .rposition(|&symbol| counts[symbol] > 0)
            .map_or(0, |last| last + 1)
            .max(4);

        Self {
            literals,
            distances,
            described_literals,
            described_distances,
            runs,
            length_code,
            described_length_symbols,
            size_in_bits: 3
                + 5
                + 5
                + 4
                + 3 * described_length_symbols
                + size_in_bits(&counts, &length_code)
                + extra_size,
        }
    }

    /// Writes what follows the block's first three bits.
    fn write(&self, output: &mut BitWriter) {
        let mut put_count = |count: usize, less: usize, bits: u32| {
            output.put(u32::try_from(count - less).expect("few symbols"), bits);
        };
        put_count(self.described_literals, 257, 5);
        put_count(self.described_distances, 1, 5);
        put_count(self.described_length_symbols, 4, 4);
        for &symbol in &LENGTH_SYMBOL_ORDER[..self.described_length_symbols] {
            output.put(self.length_code[symbol].length.into(), 3);
        }
        for run in &self.runs {
            let code = self.length_code[usize::from(run.symbol)];
            output.put(code.bits.into(), code.length.into());
            output.put(run.extra.into(), run.extra_bits());
        }
    }
}

/// A code length, or a run of equal ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    symbol: u8,
    extra: u8,
}

impl Run {
    fn extra_bits(self) -> u32 {
        match self.symbol {
            REPEAT => 2,
            ZEROS => 3,
            MANY_ZEROS => 7,
            _ => 0,
        }
    }
}

/// Returns the code lengths run-length encoded, the longest possible run first.
///
/// Literals and distances are one sequence: a run may go from one to the other.
fn runs(lengths: &[u8]) -> Vec<Run> {
    let mut runs = Vec::new();
    for equal in lengths.chunk_by(|one, next| one == next) {
        let length = equal[0];
        let single = Run {
            symbol: length,
            extra: 0,
        };
        let mut left = equal.len();
        let take = |runs: &mut Vec<Run>, left: &mut usize, symbol, least: usize, most: usize| {
            while *left >= least {
                let taken = (*left).min(most);
                let extra = u8::try_from(taken - least).expect("a run is at most 138");
                runs.push(Run { symbol, extra });
                *left -= taken;
            }
        };
        if length == 0 {
            take(&mut runs, &mut left, MANY_ZEROS, 11, 138);
            take(&mut runs, &mut left, ZEROS, 3, 10);
        } else {
            runs.push(single);
            left -= 1;
            take(&mut runs, &mut left, REPEAT, 3, 6);
        }
        runs.extend(std::iter::repeat_n(single, left));
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_distances_split_as_rfc_1951_says() {
        let length = |length: usize| {
            let split = LENGTHS[length - 3];
            (257 + u16::from(split.symbol), split.extra_bits, split.extra)
        };
        let cases = [
            (3, (257, 0, 0)),
            (10, (264, 0, 0)),
            (11, (265, 1, 0)),
            (12, (265, 1, 1)),
            (114, (279, 4, 15)),
            (115, (280, 4, 0)),
            (257, (284, 5, 30)),
            (258, (285, 0, 0)),
        ];
        for (value, expected) in cases {
            assert_eq!(length(value), expected, "length {value}");
        }
        let distance = |distance: u32| {
            let split = split(distance - 1, 1);
            (split.symbol, split.extra_bits, split.extra)
        };
        let cases = [
            (1, (0, 0, 0)),
            (4, (3, 0, 0)),
            (5, (4, 1, 0)),
            (8, (5, 1, 1)),
            (257, (16, 7, 0)),
            (24_576, (28, 13, 8191)),
            (24_577, (29, 13, 0)),
            (32_768, (29, 13, 8191)),
        ];
        for (value, expected) in cases {
            assert_eq!(distance(value), expected, "distance {value}");
        }
    }

    #[test]
    fn runs_are_as_long_as_they_can_be_and_the_rest_is_written_out() {
        let single = |symbol| Run { symbol, extra: 0 };
        let run = |symbol, extra| Run { symbol, extra };
        let cases = [
            ("two zeros", vec![0; 2], vec![single(0); 2]),
            ("ten zeros", vec![0; 10], vec![run(ZEROS, 7)]),
            ("eleven zeros", vec![0; 11], vec![run(MANY_ZEROS, 0)]),
            (
                "140 zeros",
                vec![0; 140],
                vec![run(MANY_ZEROS, 127), single(0), single(0)],
            ),
            (
                "141 zeros",
                vec![0; 141],
                vec![run(MANY_ZEROS, 127), run(ZEROS, 0)],
            ),
            ("three fives", vec![5; 3], vec![single(5); 3]),
            ("four fives", vec![5; 4], vec![single(5), run(REPEAT, 0)]),
            (
                "nine fives",
                vec![5; 9],
                vec![single(5), run(REPEAT, 3), single(5), single(5)],
            ),
        ];
        for (case, lengths, expected) in cases {
            assert_eq!(runs(&lengths), expected, "{case}");
        }
    }

    #[test]
    fn the_fixed_code_is_the_one_of_rfc_1951() {
        let bits = |code: Code| (code.bits.reverse_bits() >> (16 - code.length), code.length);
        let cases = [
            (0, (0b0011_0000, 8)),
            (143, (0b1011_1111, 8)),
            (144, (0b1_1001_0000, 9)),
            (255, (0b1_1111_1111, 9)),
            (256, (0, 7)),
            (279, (0b001_0111, 7)),
            (280, (0b1100_0000, 8)),
            (287, (0b1100_0111, 8)),
        ];
        for (symbol, expected) in cases {
            assert_eq!(bits(FIXED_LITERALS[symbol]), expected, "symbol {symbol}");
        }
    }

    #[test]
    fn a_block_is_stored_only_if_its_bytes_are_at_hand_and_few_enough() {
        let noise: Vec<u8> = (0..=255).collect();
        let kind_of = |raw: Option<&[u8]>| {
            let mut blocks = Blocks::new();
            blocks.push_literals(&noise);
            blocks.write(Choice::Smallest, raw);
            blocks.output.bytes()[0] >> 1 & 0b11
        };
        assert_eq!(kind_of(Some(&noise)), 0b00, "at hand");
        assert_ne!(kind_of(None), 0b00, "gone");
        assert_ne!(
            kind_of(Some(&vec![0; LARGEST_STORED_BLOCK + 1])),
            0b00,
            "too many"
        );
    }
}
