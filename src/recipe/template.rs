//! Texts with placeholders, and tags taken apart by them.

use std::collections::BTreeMap;

/// A text with `{placeholders}`; `{{` and `}}` are braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Placeholder { name: String, class: Class },
}

/// What a placeholder of a tag pattern may stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// `{name}`: letters, digits and `_`.
    Word,
    /// `{name:digits}`
    Digits,
    /// `{name:letters}`
    Letters,
}

impl Class {
    fn fits(self, letter: char) -> bool {
        match self {
            Self::Word => letter.is_ascii_alphanumeric() || letter == '_',
            Self::Digits => letter.is_ascii_digit(),
            Self::Letters => letter.is_ascii_alphabetic(),
        }
    }
}

/// Returns whether a word may be the name of a placeholder.
pub(super) fn is_name(word: &str) -> bool {
    word.starts_with(|letter: char| letter.is_ascii_lowercase())
        && word
            .chars()
            .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
}

impl Template {
    /// Reads a text with placeholders. The error is the rest of a sentence.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let template = Self::parse_pattern(text)?;
        for part in &template.0 {
            if let Part::Placeholder { name, class } = part
                && *class != Class::Word
            {
                return Err(format!(
                    "{text:?} has {{{name}:…}}, which only the tag of a [[tag]] rule may have"
                ));
            }
        }
        Ok(template)
    }

    /// Reads the pattern of a tag.
    pub(super) fn parse_pattern(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(brace) = rest.find(['{', '}']) {
            plain.push_str(&rest[..brace]);
            rest = &rest[brace..];
            if let Some(after) = rest.strip_prefix("{{") {
                plain.push('{');
                rest = after;
            } else if let Some(after) = rest.strip_prefix("}}") {
                plain.push('}');
                rest = after;
            } else if let Some((inside, after)) =
                rest.strip_prefix('{').and_then(|rest| rest.split_once('}'))
            {
                let (name, class) = match inside.split_once(':') {
                    None => (inside, Class::Word),
                    Some((name, "digits")) => (name, Class::Digits),
                    Some((name, "letters")) => (name, Class::Letters),
                    Some((_, class)) => {
                        return Err(format!(
                            "{text:?} has the unknown class {class:?} (digits or letters)"
                        ));
                    }
                };
                if !is_name(name) {
                    return Err(format!(
                        "{text:?} has the placeholder {inside:?}, which is no name (a-z, 0-9, _)"
                    ));
                }
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                }
                parts.push(Part::Placeholder {
                    name: name.to_owned(),
                    class,
                });
                rest = after;
            } else {
                return Err(format!(
                    "{text:?} has a brace without its partner (write {{{{ or }}}} for the letter)"
                ));
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }

    /// Returns the names of the placeholders, in order, repeated ones too.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Placeholder { name, .. } => Some(name.as_str()),
        })
    }

    /// Puts values in; the error is the first name without one.
    pub(super) fn fill<'v>(
        &self,
        value: impl Fn(&str) -> Option<&'v str>,
    ) -> Result<String, String> {
        let mut filled = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Placeholder { name, .. } => {
                    filled.push_str(value(name).ok_or_else(|| name.clone())?);
                }
            }
        }
        Ok(filled)
    }

    /// Takes a tag apart; `None` where the whole of it does not fit.
    ///
    /// Each placeholder takes as much as it can. Nothing is tried twice, so a
    /// placeholder should be followed by a letter that it cannot take.
    pub(super) fn fit(&self, tag: &str) -> Option<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        let mut rest = tag;
        for part in &self.0 {
            match part {
                Part::Text(text) => rest = rest.strip_prefix(text.as_str())?,
                Part::Placeholder { name, class } => {
                    let end = rest
                        .find(|letter| !class.fits(letter))
                        .unwrap_or(rest.len());
                    if end == 0 {
                        return None;
                    }
                    found.insert(name.clone(), rest[..end].to_owned());
                    rest = &rest[end..];
                }
            }
        }
        rest.is_empty().then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_and_braces_kept() {
        let template = Template::parse("{arch}/{{x}}-{arch}{b_2}").unwrap();
        let value = |name: &str| match name {
            "arch" => Some("x86_64"),
            "b_2" => Some(""),
            _ => None,
        };
        assert_eq!(template.fill(value), Ok("x86_64/{x}-x86_64".to_owned()));
        assert_eq!(template.fill(|_| None), Err("arch".to_owned()));
    }

    #[test]
    fn a_tag_is_taken_apart_as_a_whole_or_not_at_all() {
        type Found = Option<&'static [(&'static str, &'static str)]>;
        let cases: [(&str, &str, Found); 7] = [
            (
                "{major:digits}.{minor:digits}",
                "3.20",
                Some(&[("major", "3"), ("minor", "20")]),
            ),
            ("{major:digits}.{minor:digits}", "3.20.3", None),
            ("{major:digits}.{minor:digits}", "3.", None),
            (
                "{suite:letters}-slim",
                "bookworm-slim",
                Some(&[("suite", "bookworm")]),
            ),
            ("{suite:letters}-slim", "12-slim", None),
            ("edge", "edge", Some(&[])),
            ("edge", "edge2", None),
        ];
        for (pattern, tag, found) in cases {
            let expected = found.map(|pairs| {
                pairs
                    .iter()
                    .map(|&(name, value)| (name.to_owned(), value.to_owned()))
                    .collect()
            });
            let pattern = Template::parse_pattern(pattern).unwrap();
            assert_eq!(pattern.fit(tag), expected, "{tag}");
        }
    }

    #[test]
    fn what_is_no_template_says_why() {
        let cases = [
            (
                "{",
                "\"{\" has a brace without its partner (write {{ or }} for the letter)",
            ),
            (
                "a}",
                "\"a}\" has a brace without its partner (write {{ or }} for the letter)",
            ),
            (
                "{}",
                "\"{}\" has the placeholder \"\", which is no name (a-z, 0-9, _)",
            ),
            (
                "{A}",
                "\"{A}\" has the placeholder \"A\", which is no name (a-z, 0-9, _)",
            ),
            (
                "{a:hex}",
                "\"{a:hex}\" has the unknown class \"hex\" (digits or letters)",
            ),
            (
                "{a:digits}",
                "\"{a:digits}\" has {a:…}, which only the tag of a [[tag]] rule may have",
            ),
        ];
        for (text, problem) in cases {
            assert_eq!(Template::parse(text), Err(problem.to_owned()), "{text}");
        }
    }
}
