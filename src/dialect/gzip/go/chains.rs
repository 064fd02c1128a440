//! Levels 2 to 9: bytes → literals and matches, found through chains of positions.
//!
//! Every position is linked to the last one whose four bytes have the same hash.
//! Walking such a chain gives the earlier places worth comparing, nearest first;
//! how far it is walked, and whether a match is put off in the hope of a longer
//! one a byte later, is what the levels differ in.

use super::block::{Blocks, Choice};

/// How far back a match may reach, and how far the window moves at a time.
const REACH: usize = 1 << 15;
const FARTHEST: u32 = 1 << 15;

/// The bytes at hand: what matches may reach back to, and what is to be compressed.
const WINDOW: usize = 2 * REACH;

/// Room behind the window, so that eight bytes can be read at any place in it.
const SLACK: usize = 8;

/// The most literals and matches in a block.
const FULL_BLOCK: usize = 1 << 14;

/// The shortest match that is looked for, though DEFLATE allows 3.
const SHORTEST: u32 = 4;

/// The longest match that DEFLATE can express.
const LONGEST: u32 = 258;

/// With fewer bytes than this ahead, nothing is decided until the input ends.
const MARGIN: usize = (SHORTEST + LONGEST) as usize;

/// The shortest match is worth its distance only up to here.
const FARTHEST_SHORTEST: u32 = 4096;

const HASH_BITS: u32 = 17;

/// Positions are counted from anew when they pass this.
///
/// Any limit that fits would do: this one is small enough that ordinary layers reach it.
const RECOUNT_AT: u32 = 1 << 24;

/// How hard a level tries.
#[derive(Clone, Copy, Debug)]
struct Effort {
    patience: Patience,
    /// A match this long ends the search.
    satisfied_by: u32,
    /// The most earlier places that are compared.
    candidates: u32,
}

#[derive(Clone, Copy, Debug)]
enum Patience {
    /// A match is taken at once; the places within it are linked if it is no longer than this.
    Greedy { link_up_to: u32 },
    /// A match shorter than this is put off to see whether the next byte begins a longer one.
    Lazy { below: u32 },
}

impl Effort {
    fn of_level(level: u8) -> Self {
        let greedy = |link_up_to| Patience::Greedy { link_up_to };
        let lazy = |below| Patience::Lazy { below };
        let (patience, satisfied_by, candidates) = match level {
            2 => (greedy(5), 16, 8),
            3 => (greedy(6), 32, 32),
            4 => (lazy(4), 16, 16),
            5 => (lazy(16), 32, 32),
            6 => (lazy(16), 128, 128),
            7 => (lazy(32), 128, 256),
            8 => (lazy(128), 258, 1024),
            9 => (lazy(258), 258, 4096),
            _ => unreachable!("levels 0 and 1 do not search chains, and there is none above 9"),
        };
        Self {
            patience,
            satisfied_by,
            candidates,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Match {
    length: u32,
    distance: u32,
}

/// What has been read but not yet put into the block.
#[derive(Clone, Copy, Debug)]
enum Deferred {
    Nothing,
    /// The byte before the current one.
    Literal,
    /// A match that begins a byte before the current one.
    Match(Match),
}

/// Whether more bytes will follow those in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    Continues,
    Ends,
}

/// The places seen, each with the distance to the last one before it of the same hash.
///
/// The newest place of each hash is stamped with its position in the window
/// plus `origin`; since that grows as the window moves, stamps stay valid.
struct Links {
    newest: Box<[u32; 1 << HASH_BITS]>,
    /// By position modulo [`REACH`]; distances too large for a match are all the same.
    distances: Box<[u16; REACH]>,
    /// At least 1: stamp 0, of no place, is then before the window.
    origin: u32,
}

impl Links {
    /// Links the place, and returns the distance to the one before it with the same hash.
    ///
    /// If there is none, the distance leads out of the window.
    #[inline]
    fn link(&mut self, window: &[u8; WINDOW + SLACK], at: u32) -> u32 {
        let hash = u32::from_be_bytes(bytes_at(window, at)).wrapping_mul(0x1e35_a7bd);
        let newest = &mut self.newest[(hash >> (32 - HASH_BITS)) as usize];
        let stamp = at + self.origin;
        let distance = stamp - std::mem::replace(newest, stamp);
        self.distances[at as usize % REACH] = u16::try_from(distance).unwrap_or(u16::MAX);
        distance
    }

    /// Returns the distance from this place to the one before it in its chain, as [`Links::link`] does.
    #[inline]
    fn distance(&self, at: u32) -> u32 {
        self.distances[at as usize % REACH].into()
    }

    /// Follows the window, which has moved by [`REACH`].
    fn slide(&mut self) {
        self.origin += FARTHEST;
        if self.origin > RECOUNT_AT {
            let excess = self.origin - 1;
            self.origin = 1;
            for stamp in &mut *self.newest {
                *stamp = stamp.saturating_sub(excess);
            }
        }
    }
}

/// A compressor of one of the levels 2 to 9.
pub(super) struct Chains {
    effort: Effort,
    window: Box<[u8; WINDOW + SLACK]>,
    filled: usize,
    /// The current byte: those before it are in the block, or deferred.
    at: u32,
    /// Where the current block began, `None` once that has left the window.
    block_start: Option<usize>,
    deferred: Deferred,
    links: Links,
}

impl Chains {
    pub(super) fn new(level: u8) -> Self {
        Self {
            effort: Effort::of_level(level),
            window: zeroed(),
            filled: 0,
            at: 0,
            block_start: Some(0),
            deferred: Deferred::Nothing,
            links: Links {
                newest: zeroed(),
                distances: zeroed(),
                origin: 1,
            },
        }
    }

    /// Takes in bytes, compressing when the window is full and there are more.
    ///
    /// That the window is always filled first makes the outcome depend on the
    /// bytes alone, and not on the calls that brought them.
    pub(super) fn write(&mut self, mut input: &[u8], blocks: &mut Blocks) {
        while !input.is_empty() {
            if self.filled == WINDOW {
                self.advance(Input::Continues, blocks);
                self.slide();
            }
            let taken = input.len().min(WINDOW - self.filled);
            self.window[self.filled..][..taken].copy_from_slice(&input[..taken]);
            self.filled += taken;
            input = &input[taken..];
        }
    }

    /// Compresses what is left and writes the last block that holds anything.
    pub(super) fn finish(&mut self, blocks: &mut Blocks) {
        self.advance(Input::Ends, blocks);
        if let Deferred::Literal = std::mem::replace(&mut self.deferred, Deferred::Nothing) {
            blocks.push_literal(self.window[self.at as usize - 1]);
        }
        if blocks.tokens() > 0 {
            self.write_block(self.at, blocks);
        }
    }

    fn advance(&mut self, input: Input, blocks: &mut Blocks) {
        match self.effort.patience {
            Patience::Greedy { link_up_to } => self.advance_greedily(input, link_up_to, blocks),
            Patience::Lazy { below } => self.advance_lazily(input, below, blocks),
        }
    }

    fn advance_greedily(&mut self, input: Input, link_up_to: u32, blocks: &mut Blocks) {
        while self.continues(input) {
            let at = self.at;
            let found = self
                .link_if_followed(at)
                .and_then(|nearest| self.search(at, nearest, SHORTEST - 1));
            if let Some(found) = found {
                blocks.push_match(found.length, found.distance);
                self.at += found.length;
                if found.length <= link_up_to {
                    self.link_all(at + 1, self.at);
                }
            } else {
                blocks.push_literal(self.window[at as usize]);
                self.at += 1;
            }
            if blocks.tokens() == FULL_BLOCK {
                self.write_block(self.at, blocks);
            }
        }
    }

    fn advance_lazily(&mut self, input: Input, below: u32, blocks: &mut Blocks) {
        while self.continues(input) {
            let at = self.at;
            let to_beat = match self.deferred {
                Deferred::Nothing | Deferred::Literal => SHORTEST - 1,
                Deferred::Match(deferred) => deferred.length,
            };
            let found = self
                .link_if_followed(at)
                .filter(|_| to_beat < below)
                .and_then(|nearest| self.search(at, nearest, to_beat));
            // What a full block covers: a literal put off to here is not yet in it.
            let covered = match (self.deferred, found) {
                (Deferred::Match(deferred), None) => {
                    blocks.push_match(deferred.length, deferred.distance);
                    self.at = at - 1 + deferred.length;
                    self.link_all(at + 1, self.at);
                    self.deferred = Deferred::Nothing;
                    self.at
                }
                (before, found) => {
                    if let Deferred::Literal | Deferred::Match(_) = before {
                        blocks.push_literal(self.window[at as usize - 1]);
                    }
                    self.at += 1;
                    self.deferred = found.map_or(Deferred::Literal, Deferred::Match);
                    at
                }
            };
            if blocks.tokens() == FULL_BLOCK {
                self.write_block(covered, blocks);
            }
        }
    }

    #[inline]
    fn continues(&self, input: Input) -> bool {
        let ahead = self.filled - self.at as usize;
        match input {
            Input::Continues => ahead >= MARGIN,
            Input::Ends => ahead > 0,
        }
    }

    /// Links a place if four bytes begin there, and returns the distance to the one before it.
    #[inline]
    fn link_if_followed(&mut self, at: u32) -> Option<u32> {
        (at as usize + SHORTEST as usize <= self.filled).then(|| self.links.link(&self.window, at))
    }

    /// Links all places from `from` up to but without `to` at which four bytes begin.
    #[inline]
    fn link_all(&mut self, from: u32, to: u32) {
        for at in from..to {
            self.link_if_followed(at);
        }
    }

    /// Returns the longest match that is longer than `to_beat`; of equally long ones the nearest.
    ///
    /// `nearest` is the distance to the first place of the chain to compare with.
    #[inline]
    fn search(&self, at: u32, nearest: u32, to_beat: u32) -> Option<Match> {
        let window = &*self.window;
        let farthest = at.min(FARTHEST);
        #[expect(clippy::cast_possible_truncation, reason = "positions are below 65536")]
        let limit = LONGEST.min(self.filled as u32 - at);
        if limit <= to_beat {
            return None;
        }
        let satisfied_by = self.effort.satisfied_by.min(limit);

        let mut found = None;
        let mut longest = to_beat;
        // A longer match agrees in these bytes; most candidates fail here.
        let mut telling = bytes_at::<4>(window, at + longest - 3);
        let mut distance = nearest;
        for _ in 0..self.effort.candidates {
            if distance > farthest {
                break;
            }
            let candidate = at - distance;
            if bytes_at(window, candidate + longest - 3) == telling {
                let length = common_length(window, candidate, at, limit);
                if length > longest && (length > SHORTEST || distance <= FARTHEST_SHORTEST) {
                    found = Some(Match { length, distance });
                    if length >= satisfied_by {
                        break;
                    }
                    longest = length;
                    telling = bytes_at(window, at + longest - 3);
                }
            }
            // The link of the farthest place has been overwritten by the current
            // one's, but any step from there is one too far.
            distance += self.links.distance(candidate);
        }
        found
    }

    fn write_block(&mut self, end: u32, blocks: &mut Blocks) {
        let raw = self
            .block_start
            .map(|start| &self.window[start..end as usize]);
        blocks.write(Choice::Smallest, raw);
        self.block_start = Some(end as usize);
    }

    /// Moves the window on, keeping its second half.
    fn slide(&mut self) {
        self.window.copy_within(REACH..WINDOW, 0);
        self.filled -= REACH;
        self.at -= FARTHEST;
        // A block that began in the half that is gone is never stored, even if small.
        self.block_start = self.block_start.and_then(|start| start.checked_sub(REACH));
        self.links.slide();
    }
}

#[expect(
    clippy::unnecessary_box_returns,
    reason = "half a megabyte does not belong on the stack"
)]
fn zeroed<T: Copy + Default, const LENGTH: usize>() -> Box<[T; LENGTH]> {
    match vec![T::default(); LENGTH].into_boxed_slice().try_into() {
        Ok(zeroed) => zeroed,
        Err(_) => unreachable!("it was made with this length"),
    }
}

#[inline]
fn bytes_at<const COUNT: usize>(window: &[u8; WINDOW + SLACK], at: u32) -> [u8; COUNT] {
    // The remainder changes nothing, but shows the compiler that no check is needed.
    *window[at as usize % WINDOW..]
        .first_chunk()
        .expect("there is slack behind the window")
}

/// Returns how many bytes are the same at both places, `limit` at most.
#[inline]
fn common_length(window: &[u8; WINDOW + SLACK], one: u32, other: u32, limit: u32) -> u32 {
    let mut length = 0;
    while length < limit {
        let differing = u64::from_le_bytes(bytes_at(window, one + length))
            ^ u64::from_le_bytes(bytes_at(window, other + length));
        if differing != 0 {
            return limit.min(length + differing.trailing_zeros() / 8);
        }
        length += 8;
    }
    limit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_length_stops_at_the_first_difference_and_at_the_limit() {
        let mut window = zeroed();
        window[..40].fill(7);
        window[100..140].fill(7);
        for (difference, limit, expected) in [
            (40, 258, 40),
            (0, 258, 0),
            (19, 19, 19),
            (23, 20, 20),
            (9, 258, 9),
        ] {
            let mut window: Box<[u8; WINDOW + SLACK]> = Box::clone(&window);
            window[100 + difference] = 8;
            assert_eq!(
                common_length(&window, 0, 100, limit),
                expected,
                "{difference} {limit}"
            );
        }
    }

    #[test]
    fn recounting_keeps_the_places_in_the_window_and_forgets_the_others() {
        let mut links = Links {
            newest: zeroed(),
            distances: zeroed(),
            origin: RECOUNT_AT - 5,
        };
        let mut window = zeroed();
        window[50_000] = 1;
        assert!(
            links.link(&window, 40_000) > 40_000,
            "nothing before the first"
        );
        links.link(&window, 40_001);
        links.link(&window, 50_000);
        links.slide();
        assert_eq!(links.origin, 1);
        assert_eq!(links.link(&window, 8000), 8000 - (40_001 - 32_768));
        assert_eq!(links.distance(40_001 - 32_768), 1);

        links.origin = RECOUNT_AT;
        links.slide();
        assert!(
            links.link(&window, 50_000) > 50_000,
            "the last one has left the window"
        );
    }
}
