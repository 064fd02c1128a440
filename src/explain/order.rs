//! Files that hold the same pieces in another order.

use std::collections::BTreeSet;

use super::Recognition;
use crate::{image::entry::Printable, pair::Pair};

/// How many bytes of a piece are shown.
const SHOWN: usize = 80;

/// How many lines a file may have that is looked into line by line: each takes some hundred
/// bytes of memory, and the longest log of a build has some 100,000.
const MAX_LINES: usize = 1_000_000;

/// Refuses files with more lines than are looked at.
pub(super) fn too_many_lines(sides: Pair<&[u8]>) -> Option<Recognition> {
    let has_more = |bytes: &[u8]| bytes.split(|&byte| byte == b'\n').nth(MAX_LINES).is_some();
    (sides.map(has_more) != Pair::new(false, false))
        .then(|| Recognition::Refused("a side has more lines than are looked at".into()))
}

/// Recognises a file that has the same pieces on both sides, byte for byte.
///
/// `cut` cuts a file into pieces that make it up again, with nothing in between.
/// `name` returns what a reader looks a piece up by: where two have one name, the
/// order decides which counts, and is no mere order.
pub(super) fn in_another_order(
    sides: Pair<&[u8]>,
    what: &str,
    cut: fn(&[u8]) -> Vec<&[u8]>,
    name: fn(&[u8]) -> Option<Vec<u8>>,
) -> Recognition {
    if let Some(refused) = too_many_lines(sides) {
        return refused;
    }
    let pieces = sides.map(|bytes| {
        let mut pieces = cut(bytes);
        pieces.sort_unstable();
        pieces
    });
    if let Some((side, piece)) = only_one(pieces.as_ref().map(Vec::as_slice)) {
        let piece = shown(piece);
        return Recognition::Refused(format!("only the {side} file has {piece}").into());
    }
    let mut names = BTreeSet::new();
    for piece in &pieces.published {
        if let Some(name) = name(piece)
            && !names.insert(name)
        {
            let piece = shown(piece);
            return Recognition::Refused(
                format!("the order decides which counts of two with the name of {piece}").into(),
            );
        }
    }
    let count = pieces.published.len();
    Recognition::Explained(
        format!("both sides have the same {count} {what}, byte for byte, in another order").into(),
    )
}

/// Returns the first piece that only one of two sorted lists has, and which.
pub(super) fn only_one<T: Ord + Copy>(sides: Pair<&[T]>) -> Option<(&'static str, T)> {
    let Pair {
        mut published,
        mut rebuilt,
    } = sides;
    loop {
        match (published, rebuilt) {
            ([one, after @ ..], [other, others @ ..]) if one == other => {
                (published, rebuilt) = (after, others);
            }
            ([one, ..], [other, ..]) if one > other => return Some(("rebuilt", *other)),
            ([one, ..], _) => return Some(("published", *one)),
            ([], [other, ..]) => return Some(("rebuilt", *other)),
            ([], []) => return None,
        }
    }
}

/// Returns the beginning of a piece, without what could harm a terminal.
pub(super) fn shown(piece: &[u8]) -> String {
    let piece = piece.trim_ascii_end();
    match piece.split_at_checked(SHOWN) {
        Some((start, rest)) if !rest.is_empty() => format!("“{}…”", Printable(start)),
        _ => format!("“{}”", Printable(piece)),
    }
}

/// Cuts a file into lines, their ends included.
pub(super) fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|&byte| byte == b'\n').collect()
}

/// Cuts a file into paragraphs, the empty lines after each included.
pub(super) fn paragraphs(bytes: &[u8]) -> Vec<&[u8]> {
    let mut paragraphs = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let mut end = rest
            .windows(2)
            .position(|pair| pair == b"\n\n")
            .map_or(rest.len(), |at| at + 2);
        end += rest[end..]
            .iter()
            .take_while(|&&byte| byte == b'\n')
            .count();
        let (paragraph, after) = rest.split_at(end);
        paragraphs.push(paragraph);
        rest = after;
    }
    paragraphs
}

/// Returns the value of a field in a paragraph such as dpkg writes.
pub(super) fn field<'a>(paragraph: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let value = paragraph
        .split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b":"))?;
    Some(value.trim_ascii())
}
