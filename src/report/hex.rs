//! Rows of bytes side by side: what differs, between what is equal before and after it.
//!
//! A report that is read back may hold any text in place of hexadecimal digits, and
//! offsets of any size: what cannot be read is shown as nothing.

use std::fmt::Write as _;

use crate::{compare::content::Change, pair::Pair};

/// How many bytes stand in a row.
const WIDTH: u64 = 16;

/// The bytes of one range, as far as the report has them.
struct Bytes {
    offset: Pair<u64>,
    /// The bytes from [`Self::offset`] on, those before and after the range included.
    shown: Vec<Pair<Option<u8>>>,
    /// Where bytes are left out, and how many.
    gap: Option<(usize, u64)>,
}

/// Returns the rows of a range of bytes, such as `- 00000040  62 75 69  |bui|`.
///
/// A row that both sides have is there once; else the published one begins with `-`
/// and the rebuilt one with `+`. Empty for what is no range of bytes.
pub(super) fn rows(change: &Change) -> Vec<String> {
    let Some(bytes) = Bytes::of(change) else {
        return Vec::new();
    };
    let Bytes { offset, shown, gap } = bytes;
    let mut rows = Vec::new();
    let (before, after) = shown.split_at(gap.map_or(shown.len(), |(at, _)| at));
    stretch(offset, before, &mut rows);
    if let Some((at, left_out)) = gap {
        rows.push(format!(
            "  … {left_out} bytes that the report does not hold"
        ));
        let skipped = left_out.saturating_add(at as u64);
        stretch(
            offset.map(|at| at.saturating_add(skipped)),
            after,
            &mut rows,
        );
    }
    rows
}

impl Bytes {
    fn of(change: &Change) -> Option<Self> {
        let Change::Bytes {
            offset,
            length,
            hex,
            before,
            after,
            ..
        } = change
        else {
            return None;
        };
        let read = |text: &str| hex::decode(text).unwrap_or_default();
        let (before, after) = (read(before), read(after));
        let differing = hex.as_ref().map(|hex| read(hex));
        let longest = differing.published.len().max(differing.rebuilt.len());
        let both = |byte: &u8| Pair::new(Some(*byte), Some(*byte));
        let mut shown: Vec<_> = before.iter().map(both).collect();
        shown.extend((0..longest).map(|at| differing.as_ref().map(|side| side.get(at).copied())));
        let left_out = (length.published.max(length.rebuilt)).saturating_sub(longest as u64);
        let gap = (left_out > 0).then_some((shown.len(), left_out));
        shown.extend(after.iter().map(both));
        Some(Self {
            offset: offset.map(|at| at.saturating_sub(before.len() as u64)),
            shown,
            gap,
        })
    }
}

/// Adds the rows of bytes that follow each other.
fn stretch(offset: Pair<u64>, bytes: &[Pair<Option<u8>>], rows: &mut Vec<String>) {
    // Rows begin at multiples of their width, so that they are those of any other viewer.
    let lead = offset.published % WIDTH;
    let (mut rest, mut at) = (bytes, 0);
    while !rest.is_empty() {
        let room = if at == 0 { WIDTH - lead } else { WIDTH };
        let (row, more) = rest.split_at(rest.len().min(usize::try_from(room).unwrap_or(1)));
        let line = |offset: u64, sign: char, side: fn(&Pair<Option<u8>>) -> Option<u8>| {
            let blank = if at == 0 { lead } else { 0 };
            let cells: Vec<_> = row.iter().map(side).collect();
            line(sign, offset.saturating_add(at), blank, &cells)
        };
        if row.iter().all(Pair::is_equal) {
            rows.extend(line(offset.published, ' ', |pair| pair.published));
        } else {
            rows.extend(line(offset.published, '-', |pair| pair.published));
            rows.extend(line(offset.rebuilt, '+', |pair| pair.rebuilt));
        }
        at += row.len() as u64;
        rest = more;
    }
}

/// Returns one row of one side; `None` where the file has ended before.
fn line(sign: char, offset: u64, blank: u64, cells: &[Option<u8>]) -> Option<String> {
    cells.iter().flatten().next()?;
    let mut hex = String::new();
    let mut letters = String::new();
    for _ in 0..blank {
        hex.push_str("   ");
        letters.push(' ');
    }
    for byte in cells.iter().flatten() {
        write!(hex, " {byte:02x}").expect("a String takes all that is written to it");
        letters.push(match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '.',
        });
    }
    Some(format!("{sign} {offset:08x} {hex:<48}  |{letters}|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(before: &[u8], hex: Pair<&[u8]>, length: Pair<u64>, after: &[u8]) -> Change {
        Change::Bytes {
            offset: Pair::new(0x1c, 0x1c),
            length,
            hex: hex.map(hex::encode),
            before: hex::encode(before),
            after: hex::encode(after),
            entropy: Pair::new(0, 0),
        }
    }

    #[test]
    fn a_range_is_shown_between_what_is_equal_in_rows_of_sixteen() {
        let whole = change(
            b"0123456789abcdef",
            Pair::new(b"made on monday", b"made on friday"),
            Pair::new(14, 14),
            b"\0\x01same\xff",
        );
        let cut = change(
            b"same",
            Pair::new(b"aaaa", b"bbbb"),
            Pair::new(0x104, 0x104),
            b"then",
        );
        let ended = change(b"", Pair::new(b"to the end", b""), Pair::new(10, 0), b"");
        let cases: [(&str, &Change, &[&str]); 3] = [
            (
                "whole",
                &whole,
                &[
                    "  0000000c                                      30 31 32 33  |            0123|",
                    "  00000010  34 35 36 37 38 39 61 62 63 64 65 66 6d 61 64 65  |456789abcdefmade|",
                    "- 00000020  20 6f 6e 20 6d 6f 6e 64 61 79 00 01 73 61 6d 65  | on monday..same|",
                    "+ 00000020  20 6f 6e 20 66 72 69 64 61 79 00 01 73 61 6d 65  | on friday..same|",
                    "  00000030  ff                                               |.|",
                ],
            ),
            (
                "cut",
                &cut,
                &[
                    "- 00000018                          73 61 6d 65 61 61 61 61  |        sameaaaa|",
                    "+ 00000018                          73 61 6d 65 62 62 62 62  |        samebbbb|",
                    "  … 256 bytes that the report does not hold",
                    "  00000120  74 68 65 6e                                      |then|",
                ],
            ),
            (
                "ended",
                &ended,
                &[
                    "- 0000001c                                      74 6f 20 74  |            to t|",
                    "- 00000020  68 65 20 65 6e 64                                |he end|",
                ],
            ),
        ];
        for (case, change, expected) in cases {
            assert_eq!(rows(change), expected, "{case}");
        }
    }
}
