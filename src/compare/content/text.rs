//! Text: the lines that differ, with some equal ones around them.
//!
//! Encodings: UTF-8, UTF-16 with a byte order mark, and Latin-1 for what is
//! neither and has no control characters of a binary. Each is read without loss,
//! so texts that read the same are in another encoding, which is then said.
//! Work is bounded by counts, never by a clock.

use std::{borrow::Cow, collections::HashMap, fmt, ops::Range};

use similar::{Algorithm, DiffOp, capture_diff_slices};

use super::{
    Change, Content, Limits, Line, On,
    listed::{Listed, cut},
};
use crate::{image::entry::misleads, pair::Pair};

/// What it is called in reports.
pub(super) const NAME: &str = "text";

/// How many equal lines are shown around those that differ.
const CONTEXT: usize = 3;

/// How many lines of either side are shown of one stretch that differs.
const SHOWN: usize = 40;

/// How many lines may lie between the first and the last that differ; of more, only the first are shown.
const MOST_LINES: usize = 400_000;

/// How much work the search for equal lines may be: the sum of the squares of the lines compared.
const MOST_WORK: usize = 64_000_000;

/// What a text is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Utf16Le,
    Utf16Be,
    Latin1,
}

/// Lines of both sides that differ: published ones and the rebuilt ones in their place.
type Stretch = Pair<Range<usize>>;

/// Returns whether the bytes are text.
pub(super) fn is(_path: &[u8], bytes: &[u8]) -> bool {
    decode(bytes).is_some()
}

/// Returns the lines that differ.
pub(super) fn compare(sides: Pair<&[u8]>, limits: &mut Limits) -> Option<Content> {
    let (published, rebuilt) = (decode(sides.published)?, decode(sides.rebuilt)?);
    let mut listed = Listed::new(NAME, limits);
    let encodings = Pair::new(published.0, rebuilt.0);
    listed.value(
        "encoding",
        encodings.map(|encoding| Some(encoding.to_string())),
    );
    let texts = Pair::new(&*published.1, &*rebuilt.1);
    let of = if encodings.is_equal() && encodings.published != Encoding::Utf8 {
        format!(" ({})", encodings.published)
    } else {
        String::new()
    };
    if !texts.is_equal() {
        hunks(texts, &of, &mut listed);
    }
    Some(listed.finish())
}

fn decode(bytes: &[u8]) -> Option<(Encoding, Cow<'_, str>)> {
    let utf16 = |of: fn([u8; 2]) -> u16| {
        let units = bytes.chunks_exact(2).map(|unit| of([unit[0], unit[1]]));
        let text: Option<String> = char::decode_utf16(units).map(Result::ok).collect();
        text.filter(|text| bytes.len().is_multiple_of(2) && !text.contains('\0'))
            .map(Cow::Owned)
    };
    if bytes.starts_with(b"\xff\xfe") {
        return Some((Encoding::Utf16Le, utf16(u16::from_le_bytes)?));
    }
    if bytes.starts_with(b"\xfe\xff") {
        return Some((Encoding::Utf16Be, utf16(u16::from_be_bytes)?));
    }
    if bytes.contains(&0) {
        return None;
    }
    if let Ok(text) = str::from_utf8(bytes) {
        return Some((Encoding::Utf8, Cow::Borrowed(text)));
    }
    let binary = |&byte: &u8| matches!(byte, 0..=8 | 14..=26 | 28..=31 | 0x7f..=0x9f);
    (!bytes.iter().any(binary)).then(|| {
        let text = bytes.iter().map(|&byte| char::from(byte)).collect();
        (Encoding::Latin1, Cow::Owned(text))
    })
}

fn hunks(texts: Pair<&str>, of: &str, listed: &mut Listed<'_>) {
    let (before, region) = region(texts);
    let counts = region.map(|text| text.bytes().filter(|&byte| byte == b'\n').count());
    if counts.published.max(counts.rebuilt) > MOST_LINES {
        let mut lines = Vec::new();
        for (on, text) in [
            (On::Published, region.published),
            (On::Rebuilt, region.rebuilt),
        ] {
            for line in text.split_inclusive('\n').take(SHOWN) {
                push_line(&mut lines, on, line, &cut(Pair::new(line, line)).published);
            }
        }
        listed.push(
            format!("hunk 1{of}"),
            Change::Lines {
                from: Pair::new(before + 1, before + 1),
                lines,
            },
        );
        listed.leave_out((counts.published + counts.rebuilt).saturating_sub(2 * SHOWN) as u64);
        return;
    }
    let lines = region.map(|text| text.split_inclusive('\n').collect::<Vec<&str>>());
    let lines = lines.as_ref().map(Vec::as_slice);
    let stretches = stretches(lines);
    let mut number = 0;
    let mut rest = stretches.as_slice();
    while let Some(first) = rest.first() {
        let mut count = 1;
        while count < rest.len()
            && rest[count].published.start - rest[count - 1].published.end <= 2 * CONTEXT
        {
            count += 1;
        }
        let (these, others) = rest.split_at(count);
        rest = others;
        number += 1;
        let context = first.published.start.min(CONTEXT);
        let from = Pair::new(
            before + (first.published.start - context) as u64 + 1,
            before + (first.rebuilt.start - context) as u64 + 1,
        );
        let mut left_out = 0;
        let shown = hunk(lines, these, &mut left_out);
        listed.push(
            format!("hunk {number}{of}"),
            Change::Lines { from, lines: shown },
        );
        listed.leave_out(left_out);
    }
}

/// Returns how many lines come before, and the lines between the first and the last that
/// differ, with the context around them.
fn region(texts: Pair<&str>) -> (u64, Pair<&str>) {
    let bytes = texts.map(str::as_bytes);
    let same = bytes
        .published
        .iter()
        .zip(bytes.rebuilt)
        .take_while(|(published, rebuilt)| published == rebuilt)
        .count();
    let mut start = line_start(bytes.published, same);
    for _ in 0..CONTEXT {
        start = line_start(bytes.published, start.saturating_sub(1));
    }
    let ends = bytes.map(|side| &side[start..]);
    let shortest = ends.published.len().min(ends.rebuilt.len());
    let same_end = ends
        .published
        .iter()
        .rev()
        .zip(ends.rebuilt.iter().rev())
        .take_while(|(published, rebuilt)| published == rebuilt)
        .count()
        .min(shortest);
    // To the end of the line in which the last difference is, and the context after it.
    let tail = &ends.published[ends.published.len() - same_end..];
    let mut end = 0;
    for _ in 0..=CONTEXT {
        end += tail[end..]
            .iter()
            .position(|&byte| byte == b'\n')
            .map_or(tail.len() - end, |found| found + 1);
    }
    let cut_off = tail.len() - end;
    let before = texts.published[..start].matches('\n').count() as u64;
    // All cuts are at line feeds, which are characters of their own in UTF-8, or at an end.
    (before, texts.map(|text| &text[start..text.len() - cut_off]))
}

/// Returns where the line begins that the byte at `at` is in.
fn line_start(bytes: &[u8], at: usize) -> usize {
    bytes[..at]
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |found| found + 1)
}

fn hunk(lines: Pair<&[&str]>, stretches: &[Stretch], left_out: &mut u64) -> Vec<Line> {
    let mut shown = Vec::new();
    let both = |shown: &mut Vec<Line>, range: Range<usize>| {
        for line in &lines.published[range] {
            push_line(shown, On::Both, line, &cut(Pair::new(line, line)).published);
        }
    };
    let mut end = stretches[0].published.start.saturating_sub(CONTEXT);
    for stretch in stretches {
        both(&mut shown, end..stretch.published.start);
        end = stretch.published.end;
        let of = Pair::new(
            &lines.published[stretch.published.clone()],
            &lines.rebuilt[stretch.rebuilt.clone()],
        );
        // Lines that stand in for each other are cut to where these two differ.
        let pairs = of.published.len() == of.rebuilt.len();
        for (on, side, other) in [
            (On::Published, of.published, of.rebuilt),
            (On::Rebuilt, of.rebuilt, of.published),
        ] {
            for (index, line) in side.iter().take(SHOWN).enumerate() {
                let other = if pairs { other[index] } else { line };
                push_line(&mut shown, on, line, &cut(Pair::new(line, other)).published);
            }
            *left_out += side.len().saturating_sub(SHOWN) as u64;
        }
    }
    let last = (end + CONTEXT).min(lines.published.len());
    both(&mut shown, end..last);
    shown
}

/// Adds a line as `text` shows it; where the whole line has no end, that is said.
fn push_line(shown: &mut Vec<Line>, on: On, line: &str, text: &str) {
    shown.push(Line {
        on,
        text: visible(text.strip_suffix('\n').unwrap_or(text)),
    });
    if !line.ends_with('\n') {
        // No line reads like this: a backslash of its own would be doubled.
        shown.push(Line {
            on,
            text: "\\ no newline at the end".to_owned(),
        });
    }
}

/// Returns a text in which every character is seen, and that no other text reads like.
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => shown.push_str("\\\\"),
            '\t' => shown.push_str("\\t"),
            '\r' => shown.push_str("\\r"),
            character if misleads(character) => shown.extend(character.escape_unicode()),
            character => shown.push(character),
        }
    }
    shown
}

/// Returns the stretches in which lines differ, in order.
fn stretches(lines: Pair<&[&str]>) -> Vec<Stretch> {
    // Which lines are held to be the same must not depend on which side is which.
    if lines.published > lines.rebuilt {
        let swapped = stretches_of_ordered(lines.swapped());
        return swapped.into_iter().map(Pair::swapped).collect();
    }
    stretches_of_ordered(lines)
}

fn stretches_of_ordered(lines: Pair<&[&str]>) -> Vec<Stretch> {
    let mut ids: HashMap<&str, u32> = HashMap::new();
    let numbered = lines.map(|lines| {
        lines
            .iter()
            .map(|line| {
                let next = u32::try_from(ids.len()).unwrap_or(u32::MAX);
                *ids.entry(line).or_insert(next)
            })
            .collect::<Vec<u32>>()
    });
    let mut search = Search {
        lines: numbered.as_ref().map(Vec::as_slice),
        work: MOST_WORK,
        found: Vec::new(),
    };
    let all = lines.map(|lines| 0..lines.len());
    search.between(all, Anchors::Search);
    // Touching stretches are one.
    let mut joined: Vec<Stretch> = Vec::new();
    for stretch in search.found {
        match joined.last_mut() {
            Some(last)
                if last.published.end == stretch.published.start
                    && last.rebuilt.end == stretch.rebuilt.start =>
            {
                last.published.end = stretch.published.end;
                last.rebuilt.end = stretch.rebuilt.end;
            }
            _ => joined.push(stretch),
        }
    }
    joined
}

/// Whether lines that occur once may be searched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Anchors {
    Search,
    Done,
}

struct Search<'a> {
    lines: Pair<&'a [u32]>,
    work: usize,
    found: Vec<Stretch>,
}

impl Search<'_> {
    /// Finds the stretches that differ between two places where both sides are equal.
    fn between(&mut self, mut range: Stretch, anchors: Anchors) {
        let lines = self.lines;
        while !range.published.is_empty()
            && !range.rebuilt.is_empty()
            && lines.published[range.published.start] == lines.rebuilt[range.rebuilt.start]
        {
            range.published.start += 1;
            range.rebuilt.start += 1;
        }
        while !range.published.is_empty()
            && !range.rebuilt.is_empty()
            && lines.published[range.published.end - 1] == lines.rebuilt[range.rebuilt.end - 1]
        {
            range.published.end -= 1;
            range.rebuilt.end -= 1;
        }
        if range.published.is_empty() && range.rebuilt.is_empty() {
            return;
        }
        if range.published.is_empty() || range.rebuilt.is_empty() {
            self.found.push(range);
            return;
        }
        let length = range.published.len() + range.rebuilt.len();
        if let Some(left) = length
            .checked_mul(length)
            .and_then(|work| self.work.checked_sub(work))
        {
            self.work = left;
            self.diff(&range);
            return;
        }
        if anchors == Anchors::Search {
            let mut start = Pair::new(range.published.start, range.rebuilt.start);
            for anchor in self.unique(&range) {
                let gap = Pair::new(
                    start.published..anchor.published,
                    start.rebuilt..anchor.rebuilt,
                );
                self.between(gap, Anchors::Done);
                start = anchor.map(|at| at + 1);
            }
            let last = Pair::new(
                start.published..range.published.end,
                start.rebuilt..range.rebuilt.end,
            );
            self.between(last, Anchors::Done);
            return;
        }
        self.found.push(range);
    }

    fn diff(&mut self, range: &Stretch) {
        let sides = Pair::new(
            &self.lines.published[range.published.clone()],
            &self.lines.rebuilt[range.rebuilt.clone()],
        );
        for op in capture_diff_slices(Algorithm::Myers, sides.published, sides.rebuilt) {
            if matches!(op, DiffOp::Equal { .. }) {
                continue;
            }
            let (published, rebuilt) = (op.old_range(), op.new_range());
            self.found.push(Pair::new(
                range.published.start + published.start..range.published.start + published.end,
                range.rebuilt.start + rebuilt.start..range.rebuilt.start + rebuilt.end,
            ));
        }
    }

    /// Returns the longest run of lines that occur once on each side, in the order of both.
    fn unique(&self, range: &Stretch) -> Vec<Pair<usize>> {
        let mut seen: HashMap<u32, (Pair<usize>, Pair<usize>)> = HashMap::new();
        for at in range.published.clone() {
            let (count, place) = seen.entry(self.lines.published[at]).or_default();
            count.published += 1;
            place.published = at;
        }
        for at in range.rebuilt.clone() {
            if let Some((count, place)) = seen.get_mut(&self.lines.rebuilt[at]) {
                count.rebuilt += 1;
                place.rebuilt = at;
            }
        }
        let mut once: Vec<Pair<usize>> = seen
            .into_values()
            .filter(|(count, _)| *count == Pair::new(1, 1))
            .map(|(_, place)| place)
            .collect();
        once.sort_unstable();
        // The longest increasing subsequence of the rebuilt places, by patience sorting.
        let mut tops: Vec<usize> = Vec::new();
        let mut before: Vec<Option<usize>> = Vec::with_capacity(once.len());
        for (index, place) in once.iter().enumerate() {
            let pile = tops.partition_point(|&top| once[top].rebuilt < place.rebuilt);
            before.push(pile.checked_sub(1).map(|left| tops[left]));
            if pile == tops.len() {
                tops.push(index);
            } else {
                tops[pile] = index;
            }
        }
        let mut run = Vec::with_capacity(tops.len());
        let mut next = tops.last().copied();
        while let Some(index) = next {
            run.push(once[index]);
            next = before[index];
        }
        run.reverse();
        run
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Utf8 => "UTF-8",
            Self::Utf16Le => "UTF-16, little endian",
            Self::Utf16Be => "UTF-16, big endian",
            Self::Latin1 => "Latin-1",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the parts as a unified diff.
    fn diff(published: &[u8], rebuilt: &[u8]) -> String {
        use fmt::Write as _;
        let content = compare(Pair::new(published, rebuilt), &mut Limits::default()).unwrap();
        let mut text = String::new();
        for part in content.parts {
            match part.change {
                Change::Lines { from, lines } => {
                    writeln!(text, "@ {} {} {}", part.place, from.published, from.rebuilt).unwrap();
                    for line in lines {
                        let sign = match line.on {
                            On::Both => ' ',
                            On::Published => '-',
                            On::Rebuilt => '+',
                        };
                        writeln!(text, "{sign}{}", line.text).unwrap();
                    }
                }
                Change::Value { published, rebuilt } => {
                    writeln!(text, "{} {published:?} {rebuilt:?}", part.place).unwrap();
                }
                other => panic!("{other:?}"),
            }
        }
        text
    }

    #[test]
    fn lines_that_differ_are_shown_among_those_that_do_not() {
        let cases: [(&str, &[u8], &[u8], &str); 8] = [
            (
                "in the middle",
                b"1\n2\n3\n4\n5\n6\n7\n8\n9\n",
                b"1\n2\n3\n4\nfive\n6\n7\n8\n9\n",
                "@ hunk 1 2 2\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n",
            ),
            (
                "far from each other",
                b"a\n1\n2\n3\n4\n5\n6\n7\nb\n",
                b"A\n1\n2\n3\n4\n5\n6\n7\nB\nC\n",
                "@ hunk 1 1 1\n-a\n+A\n 1\n 2\n 3\n@ hunk 2 6 6\n 5\n 6\n 7\n-b\n+B\n+C\n",
            ),
            (
                "no newline at the end",
                b"a\n",
                b"a",
                "@ hunk 1 1 1\n-a\n+a\n+\\ no newline at the end\n",
            ),
            ("all of it", b"", b"a\n", "@ hunk 1 1 1\n+a\n"),
            (
                "what is not seen",
                b"a\tb\r\n",
                "a\\tb\u{202e}\n".as_bytes(),
                "@ hunk 1 1 1\n-a\\tb\\r\n+a\\\\tb\\u{202e}\n",
            ),
            (
                "Latin-1",
                b"caf\xe9\n",
                b"caf\xe8\n",
                "@ hunk 1 (Latin-1) 1 1\n-caf\u{e9}\n+caf\u{e8}\n",
            ),
            (
                "another encoding",
                b"caf\xe9\n",
                "caf\u{e9}\n".as_bytes(),
                "encoding Some(\"Latin-1\") Some(\"UTF-8\")\n",
            ),
            (
                "UTF-16",
                b"\xff\xfea\0\n\0",
                b"\xff\xfeb\0\n\0",
                "@ hunk 1 (UTF-16, little endian) 1 1\n-\\u{feff}a\n+\\u{feff}b\n",
            ),
        ];
        for (case, published, rebuilt, expected) in cases {
            assert_eq!(diff(published, rebuilt), expected, "{case}");
        }
    }

    #[test]
    fn bytes_of_binaries_are_no_text() {
        for bytes in [&b"a\0b"[..], b"\xff\x01", b"\xff\xfea", b"\x7fELF\x80"] {
            assert!(!is(b"", bytes), "{bytes:?}");
        }
    }

    #[test]
    fn much_text_is_compared_with_bounded_work() {
        let lines = |step: usize, odd: &str| {
            (0..60_000).fold(String::new(), |text, number| {
                if number % step == 0 {
                    text + odd
                } else {
                    text + &number.to_string() + "\n"
                }
            })
        };
        let content = compare(
            Pair::new(lines(1000, "a\n").as_bytes(), lines(1000, "b\n").as_bytes()),
            &mut Limits::default(),
        )
        .unwrap();
        assert_eq!((content.parts.len(), content.left_out), (60, 0));

        let alike = |text: &str| text.repeat(200_000);
        let content = compare(
            Pair::new(alike("a\nb\n").as_bytes(), alike("b\na\nc\n").as_bytes()),
            &mut Limits::default(),
        )
        .unwrap();
        assert!(!content.parts.is_empty() && content.left_out > 0);
    }
}
