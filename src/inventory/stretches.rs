//! Where something lies in a file, when it lies in several places.

use std::ops::Range;

/// The ranges of a file that make up one thing, in order; none of them is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stretches(Vec<Range<usize>>);

impl Stretches {
    /// Adds a range after the others.
    pub(super) fn push(&mut self, range: Range<usize>) {
        if !range.is_empty() {
            self.0.push(range);
        }
    }

    /// Returns how many bytes it has.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(ExactSizeIterator::len).sum()
    }

    /// Returns the bytes; what the file does not have is left out.
    pub(crate) fn bytes(&self, file: &[u8]) -> Vec<u8> {
        let ranges = self.0.iter();
        ranges
            .filter_map(|range| file.get(range.clone()))
            .flatten()
            .copied()
            .collect()
    }

    /// Returns where a part of it lies; `None` where it does not go so far.
    pub(crate) fn part(&self, part: Range<usize>) -> Option<Self> {
        let mut found = Self::default();
        let mut before = 0;
        for range in &self.0 {
            let from = part.start.max(before) - before;
            let to = part.end.saturating_sub(before).min(range.len());
            if from < to {
                found.push(range.start + from..range.start + to);
            }
            before += range.len();
        }
        (part.start <= part.end && part.end <= before).then_some(found)
    }

    /// Returns the ranges in order.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        self.0.iter().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_lies_where_its_bytes_are() {
        let file = b"..abc.de...f";
        let mut whole = Stretches::default();
        for range in [2..5, 6..8, 8..8, 11..12] {
            whole.push(range);
        }
        assert_eq!(whole.bytes(file), b"abcdef");
        for from in 0..=whole.len() {
            for to in from..=whole.len() {
                let part = whole.part(from..to).unwrap();
                assert_eq!(part.bytes(file), b"abcdef"[from..to], "{from}..{to}");
            }
        }
        assert_eq!(whole.part(3..7), None);
    }
}
