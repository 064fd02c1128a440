//! Huffman codes of limited length: counts of symbols → the code Go gives them.
//!
//! Several codes can be equally short in total; which one is taken shows in the
//! bytes. Two rules settle it: symbols of equal count are ordered by value, and
//! where a single symbol and a pair weigh the same, the pair is taken first.

/// The longest code for literals, lengths and distances (RFC 1951 section 3.2.7).
pub(super) const LONGEST_CODE: usize = 15;

/// The longest code for the lengths of codes (three bits hold a length).
pub(super) const LONGEST_LENGTH_CODE: usize = 7;

/// The bits that stand for one symbol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Code {
    /// The code, its first bit lowest, as DEFLATE wants it written.
    pub(super) bits: u16,
    /// How many bits, 0 for a symbol that does not occur.
    pub(super) length: u8,
}

/// Returns the code for symbols that occur as often as `counts` says.
///
/// One or two symbols get one bit each, also if it could be none.
///
/// `longest` must leave room for all symbols: 2^`longest` of them at most.
pub(super) fn code_for<const SYMBOLS: usize>(
    counts: &[u32; SYMBOLS],
    longest: usize,
) -> [Code; SYMBOLS] {
    let mut by_weight: Vec<(u32, usize)> = counts
        .iter()
        .enumerate()
        .filter(|&(_, &count)| count > 0)
        .map(|(symbol, &count)| (count, symbol))
        .collect();
    let mut lengths = [0; SYMBOLS];
    if by_weight.len() <= 2 {
        for (_, symbol) in by_weight {
            lengths[symbol] = 1;
        }
        return canonical(lengths);
    }
    by_weight.sort_unstable();
    let weights: Vec<u32> = by_weight.iter().map(|&(count, _)| count).collect();
    let mut heaviest_first = by_weight.iter().rev();
    for (length, symbols) in (1..).zip(symbols_by_length(&weights, longest)) {
        for &(_, symbol) in heaviest_first.by_ref().take(symbols) {
            lengths[symbol] = length;
        }
    }
    canonical(lengths)
}

/// Returns how many symbols get a code of one bit, of two bits, and so on.
///
/// `weights` are sorted, lightest first, and at least three. This is the
/// package-merge method: each row holds all symbols and the pairs of the row
/// below, and what the top row's lightest items consist of tells the lengths.
fn symbols_by_length(weights: &[u32], longest: usize) -> Vec<usize> {
    #[derive(Clone, Copy, PartialEq)]
    enum Item {
        Symbol,
        Pair,
    }
    // No code needs more bits than this, so more rows would change nothing.
    let longest = longest.min(weights.len() - 1);

    let mut row = weights.to_vec();
    let mut rows = vec![vec![Item::Symbol; row.len()]];
    for _ in 1..longest {
        let mut pairs = row.chunks_exact(2).map(|pair| pair[0] + pair[1]).peekable();
        let mut symbols = weights.iter().copied().peekable();
        let mut next_row = Vec::with_capacity(2 * weights.len());
        let mut items = Vec::with_capacity(2 * weights.len());
        loop {
            let item = match (symbols.peek(), pairs.peek()) {
                (Some(symbol), Some(pair)) if symbol < pair => Item::Symbol,
                (_, Some(_)) => Item::Pair,
                (Some(_), None) => Item::Symbol,
                (None, None) => break,
            };
            next_row.extend(match item {
                Item::Symbol => symbols.next(),
                Item::Pair => pairs.next(),
            });
            items.push(item);
        }
        row = next_row;
        rows.push(items);
    }

    let mut wanted = 2 * weights.len() - 2;
    let mut at_least = Vec::with_capacity(longest + 1);
    for items in rows.iter().rev() {
        let symbols = items[..wanted]
            .iter()
            .filter(|&&item| item == Item::Symbol)
            .count();
        at_least.push(symbols);
        wanted = 2 * (wanted - symbols);
    }
    at_least.push(0);
    at_least
        .windows(2)
        .map(|longer| longer[0] - longer[1])
        .collect()
}

/// Returns the canonical code with these lengths (RFC 1951 section 3.2.2).
pub(super) const fn canonical<const SYMBOLS: usize>(lengths: [u8; SYMBOLS]) -> [Code; SYMBOLS] {
    let mut codes = [Code { bits: 0, length: 0 }; SYMBOLS];
    let mut next = 0_u16;
    let mut length = 1;
    while length <= LONGEST_CODE {
        next <<= 1;
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if lengths[symbol] as usize == length {
                codes[symbol] = Code {
                    bits: next.reverse_bits() >> (16 - length),
                    length: lengths[symbol],
                };
                // The last code of 15 bits may be all ones; nothing follows it.
                next = next.wrapping_add(1);
            }
            symbol += 1;
        }
        length += 1;
    }
    codes
}

/// Returns how many bits symbols that occur as often as `counts` says take.
pub(super) fn size_in_bits(counts: &[u32], code: &[Code]) -> usize {
    counts
        .iter()
        .zip(code)
        .map(|(&count, code)| count as usize * usize::from(code.length))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths<const SYMBOLS: usize>(counts: [u32; SYMBOLS], longest: usize) -> [u8; SYMBOLS] {
        code_for(&counts, longest).map(|code| code.length)
    }

    #[test]
    fn a_lone_symbol_and_a_pair_get_one_bit_each() {
        assert_eq!(lengths([0, 0, 0], 15), [0, 0, 0]);
        assert_eq!(lengths([0, 7, 0], 15), [0, 1, 0]);
        assert_eq!(lengths([9, 0, 1], 15), [1, 0, 1]);
    }

    #[test]
    fn a_pair_is_taken_before_a_symbol_of_the_same_weight() {
        // 1+1 weighs as much as 2: both {2,2,2,2} and {1,2,3,3} are shortest.
        assert_eq!(lengths([1, 1, 2, 2], 15), [3, 3, 2, 1]);
    }

    #[test]
    fn equal_counts_give_the_longer_code_to_the_smaller_symbol() {
        assert_eq!(lengths([5, 5, 5], 15), [2, 2, 1]);
    }

    #[test]
    fn no_code_is_longer_than_allowed() {
        let mut fibonacci = [1_u32; 19];
        for n in 2..fibonacci.len() {
            fibonacci[n] = fibonacci[n - 1] + fibonacci[n - 2];
        }
        for longest in 5..=15 {
            let lengths = lengths(fibonacci, longest);
            assert_eq!(
                usize::from(*lengths.iter().max().unwrap()),
                longest,
                "{longest}"
            );
            let kraft: u32 = lengths.iter().map(|&length| 1 << (15 - length)).sum();
            assert_eq!(kraft, 1 << 15, "a full code of at most {longest} bits");
        }
    }

    #[test]
    fn codes_of_one_length_count_up_in_the_order_of_their_symbols() {
        let bits = |code: Code| code.bits.reverse_bits() >> (16 - code.length);
        // The example of RFC 1951 section 3.2.2.
        assert_eq!(
            canonical([3, 3, 3, 3, 3, 2, 4, 4]).map(bits),
            [0b010, 0b011, 0b100, 0b101, 0b110, 0b00, 0b1110, 0b1111]
        );
    }
}
