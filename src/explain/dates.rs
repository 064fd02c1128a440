//! Dates as programs write them into files.

use std::borrow::Cow;

use crate::pair::Pair;

/// Returns the length of the date that bytes begin with, if they do.
pub(super) type Shape = fn(&[u8]) -> Option<usize>;

/// How far before the first byte that differs a date may begin, in bytes.
const LONGEST: usize = 48;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

/// Dates of documents: the shapes of people and of protocols.
pub(super) const DOCUMENT: &[Shape] = &[
    |bytes| matched(bytes, "D, d m Y T Z"),
    |bytes| matched(bytes, "D, d m Y T"),
    |bytes| matched(bytes, "D m d T Z Y"),
    |bytes| matched(bytes, "D m d T Y"),
    |bytes| matched(bytes, "D d m Y T Z"),
    |bytes| matched(bytes, "D, M d, Y"),
    |bytes| matched(bytes, "d M Y"),
    |bytes| matched(bytes, "d m Y"),
    |bytes| matched(bytes, "M d, Y"),
    |bytes| matched(bytes, "m d, Y"),
    |bytes| matched(bytes, "m d Y"),
    |bytes| matched(bytes, "M Y"),
    |bytes| matched(bytes, "Y-n-NtTz"),
    |bytes| matched(bytes, "Y-n-N T Z"),
    |bytes| matched(bytes, "Y-n-N T"),
    |bytes| matched(bytes, "Y-n-N H"),
    |bytes| matched(bytes, "Y-n-N"),
    |bytes| matched(bytes, "D:YnNhhhp"),
    |bytes| matched(bytes, "T"),
];

/// What a C compiler puts for `__DATE__`, `__TIME__` and `__TIMESTAMP__` (C11 6.10.8.1, GCC manual).
pub(super) const COMPILER: &[Shape] = &[
    |bytes| matched(bytes, "D m e T Y"),
    |bytes| matched(bytes, "m e Y"),
    |bytes| matched(bytes, "T"),
];

/// Returns the length of what bytes begin with, if it is as `pattern` says.
///
/// `Y` year, `n` and `N` month and day in two digits, `m` and `M` month's short and
/// long name, `d` day, `e` day padded with a space, `D` day's name, `T` time with
/// seconds, `H` without, `h` two digits up to 59, `t` the letter T or a space, `z` an
/// offset or `Z` or nothing, `Z` an offset or a zone's name, `p` an offset as in PDF;
/// `D:` and all else stand for themselves.
fn matched(bytes: &[u8], pattern: &str) -> Option<usize> {
    let mut rest = bytes;
    let mut pattern = pattern;
    if let Some(after) = pattern.strip_prefix("D:") {
        rest = rest.strip_prefix(b"D:")?;
        pattern = after;
    }
    for sign in pattern.bytes() {
        let length = match sign {
            b'Y' => number(rest, 4, 1970..=2099)?,
            b'n' => number(rest, 2, 1..=12)?,
            b'N' => number(rest, 2, 1..=31)?,
            b'm' => name(rest, &MONTHS, 3)?,
            b'M' => name(rest, &MONTHS, usize::MAX)?,
            b'D' => name(rest, &DAYS, usize::MAX).or_else(|| name(rest, &DAYS, 3))?,
            b'd' => number(rest, 2, 1..=31)
                .or_else(|| number(rest.strip_prefix(b" ")?, 1, 1..=9).map(|one| one + 1))
                .or_else(|| number(rest, 1, 1..=9))?,
            b'e' if rest.first() == Some(&b' ') => number(&rest[1..], 1, 1..=9)? + 1,
            b'e' => number(rest, 2, 10..=31)?,
            b'h' => number(rest, 2, 0..=59)?,
            b'H' => time(rest, 2)?,
            b'T' => time(rest, 3)?,
            b't' => usize::from(matches!(rest.first()?, b'T' | b' ')),
            b'z' => offset(rest).unwrap_or(0),
            b'Z' => offset(rest).or_else(|| zone(rest))?,
            b'p' => pdf_offset(rest),
            sign => usize::from(*rest.first()? == sign),
        };
        if length == 0 && !matches!(sign, b'z' | b'p') {
            return None;
        }
        rest = &rest[length..];
    }
    Some(bytes.len() - rest.len())
}

fn number(bytes: &[u8], digits: usize, range: std::ops::RangeInclusive<u32>) -> Option<usize> {
    let number = bytes.get(..digits)?;
    let number = number.iter().try_fold(0, |sum, byte| {
        byte.is_ascii_digit()
            .then(|| sum * 10 + u32::from(byte - b'0'))
    })?;
    let more = bytes.get(digits).is_some_and(u8::is_ascii_digit);
    // A year stands alone, unless it is one of the digits of a PDF's date.
    (range.contains(&number) && (digits > 1 || !more)).then_some(digits)
}

fn name(bytes: &[u8], names: &[&str], length: usize) -> Option<usize> {
    names
        .iter()
        .map(|name| &name.as_bytes()[..name.len().min(length)])
        .find(|name| bytes.starts_with(name))
        .map(<[u8]>::len)
}

/// Matches hours, minutes and maybe seconds.
fn time(bytes: &[u8], parts: usize) -> Option<usize> {
    let mut length = 0;
    for part in 0..parts {
        if part > 0 {
            if bytes.get(length) != Some(&b':') {
                return None;
            }
            length += 1;
        }
        let most = if part == 0 { 23 } else { 60 };
        length += number(bytes.get(length..)?, 2, 0..=most)?;
    }
    // A fraction of a second.
    if parts == 3 && bytes.get(length) == Some(&b'.') {
        let digits = bytes[length + 1..]
            .iter()
            .take(9)
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if digits > 0 {
            length += 1 + digits;
        }
    }
    Some(length)
}

fn offset(bytes: &[u8]) -> Option<usize> {
    match bytes.first()? {
        b'Z' => Some(1),
        b'+' | b'-' => {
            number(&bytes[1..], 2, 0..=23)?;
            let colon = usize::from(bytes.get(3) == Some(&b':'));
            number(bytes.get(3 + colon..)?, 2, 0..=59)?;
            Some(5 + colon)
        }
        _ => None,
    }
}

fn pdf_offset(bytes: &[u8]) -> usize {
    let quoted = || {
        matches!(bytes.first()?, b'+' | b'-' | b'Z').then_some(())?;
        number(bytes.get(1..)?, 2, 0..=23)?;
        (bytes.get(3)? == &b'\'').then_some(())?;
        number(bytes.get(4..)?, 2, 0..=59)?;
        Some(6 + usize::from(bytes.get(6) == Some(&b'\'')))
    };
    quoted().unwrap_or_else(|| usize::from(bytes.first() == Some(&b'Z')))
}

/// Matches a zone's name, such as `UTC` or `CEST`.
fn zone(bytes: &[u8]) -> Option<usize> {
    let length = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_uppercase())
        .count();
    (2..=5).contains(&length).then_some(length)
}

/// What two files differ in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Only {
    /// Dates, at these offsets in the published file.
    Dates(Vec<usize>),
    /// Dates, if any, and something else: the offset in the published file.
    More {
        /// How many dates came before it.
        dates: usize,
        /// Where the first other difference is.
        at: usize,
    },
}

impl Only {
    /// Returns what is said of a difference that no date accounts for.
    pub(super) fn refusal(dates: usize, at: usize) -> Cow<'static, str> {
        format!("besides {dates} dates, the bytes at {at:#x} differ").into()
    }
}

/// Finds out whether two files differ in dates only.
///
/// A date is one of `shapes` on both sides, with no letter or digit before or after
/// it, at a place where `allowed` says that one may be, all before it being equal.
pub(super) fn only_dates(
    sides: Pair<&[u8]>,
    shapes: &[Shape],
    allowed: impl Fn(Pair<std::ops::Range<usize>>) -> bool,
) -> Only {
    let mut at = Pair::new(0, 0);
    let mut dates = Vec::new();
    loop {
        let rest = Pair::new(
            &sides.published[at.published..],
            &sides.rebuilt[at.rebuilt..],
        );
        let same = same(rest);
        if rest.map(|rest| same == rest.len()) == Pair::new(true, true) {
            return Only::Dates(dates);
        }
        // Not before the date found last: what it holds is accounted for.
        let found = (0..=same.min(LONGEST)).rev().find_map(|back| {
            let start = Pair::new(at.published + same - back, at.rebuilt + same - back);
            shapes.iter().find_map(|shape| {
                let date = |bytes: &[u8], start: usize| {
                    let length = shape(&bytes[start..])?;
                    let end = start + length;
                    let alone = !start
                        .checked_sub(1)
                        .is_some_and(|before| bytes[before].is_ascii_alphanumeric())
                        && !bytes.get(end).is_some_and(u8::is_ascii_alphanumeric);
                    (alone && length >= back).then_some(start..end)
                };
                let range = Pair::new(
                    date(sides.published, start.published)?,
                    date(sides.rebuilt, start.rebuilt)?,
                );
                // It has to reach over the byte that differs.
                let reaches = range.published.len() > back || range.rebuilt.len() > back;
                (reaches && allowed(range.clone())).then_some(range)
            })
        });
        let Some(range) = found else {
            return Only::More {
                dates: dates.len(),
                at: at.published + same,
            };
        };
        dates.push(range.published.start);
        at = range.map(|range| range.end);
    }
}

/// Returns how many bytes two stretches begin with that are equal.
pub(super) fn same(sides: Pair<&[u8]>) -> usize {
    /// Compared at once; a loop over bytes would take most of the time.
    const BLOCK: usize = 1024;
    let blocks = sides
        .published
        .chunks_exact(BLOCK)
        .zip(sides.rebuilt.chunks_exact(BLOCK))
        .take_while(|(published, rebuilt)| published == rebuilt)
        .count()
        * BLOCK;
    let rest = sides.published[blocks..]
        .iter()
        .zip(&sides.rebuilt[blocks..]);
    blocks
        + rest
            .take_while(|(published, rebuilt)| published == rebuilt)
            .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_known_by_their_shape() {
        let is = |shapes: &[Shape], text: &str| {
            shapes
                .iter()
                .any(|shape| shape(text.as_bytes()) == Some(text.len()))
        };
        let cases = [
            ("Tue, 05 Mar 2024 10:11:12 +0100", true, false),
            ("Tue Mar  5 10:11:12 UTC 2024", true, false),
            ("Tue Mar  5 10:11:12 2024", true, true),
            ("5 March 2024", true, false),
            ("March 5, 2024", true, false),
            ("May 2024", true, false),
            ("2024-03-05", true, false),
            ("2024-03-05T10:11:12.123Z", true, false),
            ("2024-03-05 10:11", true, false),
            ("D:20240305101112+01'00'", true, false),
            ("D:20240305101112Z", true, false),
            ("Mar  5 2024", true, true),
            ("10:11:12", true, true),
            ("2024-13-05", false, false),
            ("Mar 32 2024", false, false),
            ("24:00:00", false, false),
            ("1.2.3", false, false),
            ("20240305", false, false),
        ];
        for (text, document, compiler) in cases {
            assert_eq!(is(DOCUMENT, text), document, "{text}");
            assert_eq!(is(COMPILER, text), compiler, "{text}");
        }
    }

    #[test]
    fn nothing_but_dates_may_differ() {
        let cases = [
            (
                "one",
                "on 2024-03-05.",
                "on 2025-03-06.",
                Only::Dates(vec![3]),
            ),
            (
                "longer",
                "5 May 2024",
                "15 March 2024",
                Only::Dates(vec![0]),
            ),
            (
                "within a word",
                "a10:11:12",
                "a10:11:13",
                Only::More { dates: 0, at: 8 },
            ),
            (
                "a number after it",
                "10:11:12 7",
                "10:11:13 8",
                Only::More { dates: 1, at: 9 },
            ),
            (
                "more after it",
                "10:11:12",
                "10:11:13 ",
                Only::More { dates: 1, at: 8 },
            ),
        ];
        for (case, published, rebuilt, expected) in cases {
            let sides = Pair::new(published.as_bytes(), rebuilt.as_bytes());
            assert_eq!(only_dates(sides, DOCUMENT, |_| true), expected, "{case}");
        }
    }
}
