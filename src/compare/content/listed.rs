//! The parts of a file so far, and what is left of the limits.

use super::{Change, Content, Limits, Part, content, data};
use crate::pair::Pair;

/// How many characters of a value are shown.
const LONGEST_VALUE: usize = 400;

/// The differences found in one file so far.
pub(super) struct Listed<'l> {
    format: &'static str,
    parts: Vec<Part>,
    left_out: u64,
    pub(super) limits: &'l mut Limits,
}

impl<'l> Listed<'l> {
    /// Returns an empty list for a file of a format.
    pub(super) const fn new(format: &'static str, limits: &'l mut Limits) -> Self {
        Self {
            format,
            parts: Vec::new(),
            left_out: 0,
            limits,
        }
    }

    /// Returns whether nothing was found to differ.
    pub(super) const fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.left_out == 0
    }

    /// Adds a difference, or counts it where the limit is reached.
    pub(super) fn push(&mut self, place: String, change: Change) {
        if self.limits.parts == 0 {
            self.left_out += 1;
        } else {
            self.limits.parts -= 1;
            self.parts.push(Part { place, change });
        }
    }

    /// Counts differences that are not shown.
    pub(super) const fn leave_out(&mut self, count: u64) {
        self.left_out = self.left_out.saturating_add(count);
    }

    /// Lets `list` add no more than `most` parts, those inside of others included.
    pub(super) fn few(&mut self, most: usize, list: impl FnOnce(&mut Self)) {
        let aside = self.limits.parts.saturating_sub(most);
        self.limits.parts -= aside;
        list(self);
        self.limits.parts += aside;
    }

    /// Adds a value if it differs.
    pub(super) fn value(&mut self, place: &str, sides: Pair<Option<String>>) {
        if !sides.is_equal() {
            let (published, rebuilt) = match (sides.published, sides.rebuilt) {
                (Some(published), Some(rebuilt)) => {
                    let cut = cut(Pair::new(&published, &rebuilt));
                    (Some(cut.published), Some(cut.rebuilt))
                }
                (published, rebuilt) => (published.map(head), rebuilt.map(head)),
            };
            self.push(place.to_owned(), Change::Value { published, rebuilt });
        }
    }

    /// Adds what differs inside of something that lies in the file, if anything does.
    pub(super) fn inside(&mut self, place: &str, path: &[u8], sides: Pair<&[u8]>) {
        if sides.is_equal() {
            return;
        }
        // The part itself is paid for first, so that its inside cannot use up what it needs.
        if self.limits.parts == 0 {
            self.left_out += 1;
            return;
        }
        self.limits.parts -= 1;
        self.limits.depth -= 1;
        let content = content(path, sides, self.limits);
        self.limits.depth += 1;
        self.parts.push(Part {
            place: place.to_owned(),
            change: Change::Inside { content },
        });
    }

    /// Adds the ranges in which two stretches of the file differ, if they do.
    pub(super) fn ranges(&mut self, place: &str, sides: Pair<&[u8]>) {
        if sides.is_equal() {
            return;
        }
        if self.limits.parts == 0 {
            self.left_out += 1;
            return;
        }
        self.limits.parts -= 1;
        let content = data::compare(sides, self.limits);
        self.parts.push(Part {
            place: place.to_owned(),
            change: Change::Inside { content },
        });
    }

    /// Adds the ranges in which the whole file differs.
    pub(super) fn all_ranges(&mut self, sides: Pair<&[u8]>) {
        let content = data::compare(sides, self.limits);
        self.parts.extend(content.parts);
        self.left_out += content.left_out;
    }

    /// Returns the list.
    pub(super) fn finish(self) -> Content {
        Content {
            format: self.format.to_owned(),
            parts: self.parts,
            left_out: self.left_out,
        }
    }
}

/// Returns the beginning of a text.
pub(super) fn head(text: String) -> String {
    match text.char_indices().nth(LONGEST_VALUE) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// Returns two texts cut to where they differ, where they are long.
///
/// `…` stands for what was cut off. Of texts that are equal, the beginning.
pub(super) fn cut(sides: Pair<&str>) -> Pair<String> {
    /// How long lines are shown whole, in characters.
    const WHOLE: usize = 200;
    /// How many characters are shown before and after what differs.
    const AROUND: usize = 40;
    if sides.map(|side| side.chars().nth(WHOLE).is_none()) == Pair::new(true, true) {
        return sides.map(str::to_owned);
    }
    let same = sides
        .published
        .char_indices()
        .zip(sides.rebuilt.chars())
        .take_while(|((_, published), rebuilt)| published == rebuilt)
        .last()
        .map_or(0, |((at, character), _)| at + character.len_utf8());
    let start = sides.published[..same]
        .char_indices()
        .rev()
        .nth(AROUND - 1)
        .map_or(0, |(at, _)| at);
    let ends = sides.map(|side| side[same..].chars());
    let same_end: usize = ends
        .published
        .rev()
        .zip(ends.rebuilt.rev())
        .take_while(|(published, rebuilt)| published == rebuilt)
        .map(|(character, _)| character.len_utf8())
        .sum();
    sides.map(|side| {
        let after = &side[side.len() - same_end..];
        let after = after
            .char_indices()
            .nth(AROUND)
            .map_or(after.len(), |(at, _)| at);
        let mut end = side.len() - same_end + after;
        if let Some((at, _)) = side[start..end].char_indices().nth(WHOLE) {
            end = start + at;
        }
        format!(
            "{}{}{}",
            if start > 0 { "…" } else { "" },
            &side[start..end],
            if end < side.len() { "…" } else { "" },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_to_where_they_differ() {
        let long = |middle: &str| format!("{}{middle}{}", "é".repeat(500), "b".repeat(500));
        let shown = cut(Pair::new(&long("one"), &long("another")));
        let expected = |middle: &str| format!("…{}{middle}{}…", "é".repeat(40), "b".repeat(40));
        assert_eq!(shown, Pair::new(expected("one"), expected("another")));
        let cases = [("short", "a", "b"), ("empty", "", "b")];
        for (case, published, rebuilt) in cases {
            let sides = Pair::new(published, rebuilt);
            assert_eq!(cut(sides), sides.map(str::to_owned), "{case}");
        }
    }
}
