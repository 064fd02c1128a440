//! Long texts, shown where they differ.

use similar::TextDiff;

use crate::pair::Pair;

/// How many words are shown around each difference.
const AROUND: usize = 2;

/// Returns the parts in which two texts differ, with a few words around each.
///
/// Texts of up to `width` characters are returned whole. `…` stands for what both
/// have; the result may still be longer than `width`. Time grows with the square of
/// the texts' length where they have nothing in common, so cut long ones first.
pub fn excerpts(texts: Pair<&str>, width: usize) -> Pair<String> {
    let short = texts.map(|text| text.chars().nth(width).is_none());
    if short == Pair::new(true, true) {
        return texts.map(str::to_owned);
    }
    let diff = TextDiff::configure().diff_words(texts.published, texts.rebuilt);
    let words = Pair::new(
        diff.iter_old_slices().collect::<Vec<&str>>(),
        diff.iter_new_slices().collect::<Vec<&str>>(),
    );
    let mut excerpts = Pair::new(String::new(), String::new());
    let mut ends = Pair::new(0, 0);
    for group in diff.grouped_ops(AROUND) {
        for op in &group {
            for (excerpt, words, end, range) in [
                (
                    &mut excerpts.published,
                    &words.published,
                    &mut ends.published,
                    op.old_range(),
                ),
                (
                    &mut excerpts.rebuilt,
                    &words.rebuilt,
                    &mut ends.rebuilt,
                    op.new_range(),
                ),
            ] {
                if range.start > *end {
                    excerpt.push('…');
                }
                *end = range.end;
                excerpt.extend(words[range].iter().copied());
            }
        }
    }
    if ends.published < words.published.len() {
        excerpts.published.push('…');
    }
    if ends.rebuilt < words.rebuilt.len() {
        excerpts.rebuilt.push('…');
    }
    excerpts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_shown_where_it_differs() {
        let text = |word: &str| {
            format!(
                "{}{word} and {}",
                "so on ".repeat(20),
                "so forth ".repeat(20)
            )
        };
        let texts = Pair::new(text("here"), text("there"));
        let shown = excerpts(Pair::new(&texts.published, &texts.rebuilt), 72);
        for (shown, word) in [(shown.published, " here "), (shown.rebuilt, " there ")] {
            assert!(
                shown.contains(word) && shown.chars().count() < 40,
                "{shown}"
            );
            assert!(shown.starts_with('…') && shown.ends_with('…'), "{shown}");
        }
    }

    #[test]
    fn short_texts_are_shown_whole() {
        assert_eq!(
            excerpts(Pair::new("a b", "a c"), 72),
            Pair::new("a b".into(), "a c".into())
        );
    }
}
