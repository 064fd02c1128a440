//! Patterns: file names in COPY, lines of `.dockerignore`, and `${name#pattern}`.
//!
//! Source: Go `path/filepath.Match`; moby/patternmatcher; moby/buildkit
//! `frontend/dockerfile/shell/lex.go`.

use std::collections::BTreeSet;

/// One element of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Element {
    /// This character.
    Literal(char),
    /// One character; not a slash where names are matched.
    Any,
    /// Any number of characters; no slash where names are matched.
    Many,
    /// Any number of characters, slashes too.
    Everything,
    /// Nothing, or any number of characters up to and including a slash.
    Folders,
    /// One character in, or not in, these ranges.
    Class {
        /// Whether the ranges are what it must not be in.
        negated: bool,
        /// First and last character of each range.
        ranges: Vec<(char, char)>,
    },
}

/// What `*` and `?` stop at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Span {
    /// A slash.
    Name,
    /// Nothing.
    Text,
}

/// Returns whether `pattern` has a wildcard in it.
pub(crate) fn has_wildcards(pattern: &str) -> bool {
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => drop(characters.next()),
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

/// A pattern as Go's `filepath.Match` has it: wildcards match no slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamePattern(Vec<Element>);

impl NamePattern {
    /// Parses the pattern; `None` where Go says that it is malformed.
    pub(crate) fn new(pattern: &str) -> Option<Self> {
        let mut elements = Vec::new();
        let mut rest = pattern.chars().peekable();
        while let Some(character) = rest.next() {
            elements.push(match character {
                '*' => Element::Many,
                '?' => Element::Any,
                '[' => class(&mut rest)?,
                '\\' => Element::Literal(rest.next()?),
                other => Element::Literal(other),
            });
        }
        Some(Self(elements))
    }

    /// Returns whether the whole of `text` matches.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        ends(&self.0, &text, Span::Name).last() == Some(&text.len())
    }
}

/// Reads a class after its `[`.
fn class(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Element> {
    let negated = rest.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && rest.next_if_eq(&']').is_some() {
            return Some(Element::Class { negated, ranges });
        }
        let mut bound = || match rest.next()? {
            '-' | ']' => None,
            '\\' => rest.next(),
            other => Some(other),
        };
        let first = bound()?;
        let last = if rest.next_if_eq(&'-').is_some() {
            match rest.next()? {
                '-' | ']' => return None,
                '\\' => rest.next()?,
                other => other,
            }
        } else {
            first
        };
        ranges.push((first, last));
    }
}

/// Returns where in `text` a match of `elements` from its beginning can end, ascending.
///
/// All ends are followed at once, so that no pattern takes more than the product
/// of both lengths.
fn ends(elements: &[Element], text: &[char], span: Span) -> Vec<usize> {
    let mut reached = vec![0];
    for element in elements {
        let mut next = Vec::new();
        match element {
            Element::Many | Element::Everything => {
                let stops = span == Span::Name && *element == Element::Many;
                let mut covered = 0;
                for &from in &reached {
                    // Up to the next slash, all ends are there already.
                    if from < covered {
                        continue;
                    }
                    for at in from..=text.len() {
                        next.push(at);
                        covered = at + 1;
                        if stops && text.get(at) == Some(&'/') {
                            break;
                        }
                    }
                }
            }
            Element::Folders => {
                let first = reached.first().copied();
                next.extend_from_slice(&reached);
                if let Some(first) = first {
                    next.extend(
                        (first..text.len())
                            .filter(|&at| text[at] == '/')
                            .map(|at| at + 1),
                    );
                }
                next.sort_unstable();
            }
            single => {
                next.extend(
                    reached
                        .iter()
                        .filter(|&&at| text.get(at).is_some_and(|&next| fits(single, next, span)))
                        .map(|at| at + 1),
                );
            }
        }
        next.dedup();
        reached = next;
    }
    reached
}

fn fits(element: &Element, character: char, span: Span) -> bool {
    match element {
        Element::Literal(literal) => *literal == character,
        Element::Any => span == Span::Text || character != '/',
        Element::Class { negated, ranges } => {
            ranges
                .iter()
                .any(|&(first, last)| (first..=last).contains(&character))
                != *negated
        }
        Element::Many | Element::Everything | Element::Folders => false,
    }
}

/// Patterns of what is left out: the lines of a `.dockerignore`, or each `--exclude`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ignored {
    patterns: Vec<IgnorePattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct IgnorePattern {
    exception: bool,
    kind: IgnoreKind,
}

/// How moby/patternmatcher compares a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum IgnoreKind {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Elements(Vec<Element>),
}

impl Ignored {
    /// Parses the file; says which line is malformed.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut patterns = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let (exception, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            let cleaned = super::paths::clean(pattern);
            let cleaned = match cleaned.strip_prefix('/') {
                Some(rest) if !rest.is_empty() => rest,
                _ => &cleaned,
            };
            if pattern.is_empty() {
                return Err(format!("{line:?} is no pattern"));
            }
            patterns.push(IgnorePattern::new(exception, cleaned, line)?);
        }
        Ok(Self { patterns })
    }

    /// Parses patterns as they stand in `--exclude`; says which one is malformed.
    pub(crate) fn excluded(texts: &[String]) -> Result<Self, String> {
        let texts = texts.iter().map(|text| text.trim());
        let patterns = texts.filter(|text| !text.is_empty()).map(|text| {
            let cleaned = super::paths::clean(text);
            match cleaned.strip_prefix('!') {
                Some("") => Err(format!("{text:?} is no pattern")),
                Some(pattern) => IgnorePattern::new(true, pattern, text),
                None => IgnorePattern::new(false, &cleaned, text),
            }
        });
        Ok(Self {
            patterns: patterns.collect::<Result<_, _>>()?,
        })
    }

    /// Returns those of the paths that are not left out, and the directories that they are in.
    pub(crate) fn left<'a>(&self, paths: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
        let mut left = BTreeSet::new();
        for path in paths.filter(|path| !self.covers(path)) {
            left.insert(path);
            left.extend(path.match_indices('/').map(|(at, _)| &path[..at]));
        }
        left
    }

    /// Returns whether the context lacks what is at `path`, or a directory it is in.
    ///
    /// Later lines win over earlier ones.
    pub(crate) fn covers(&self, path: &str) -> bool {
        let mut covered = false;
        for pattern in &self.patterns {
            if pattern.exception != covered {
                continue;
            }
            let folders = path.match_indices('/').map(|(at, _)| &path[..at]);
            if std::iter::once(path)
                .chain(folders)
                .any(|path| pattern.kind.matches(path))
            {
                covered = !pattern.exception;
            }
        }
        covered
    }

    /// Returns whether something below a directory that is left out may be kept after all.
    pub(crate) fn has_exceptions(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.exception)
    }
}

impl IgnorePattern {
    /// `text` is what is said to be malformed.
    fn new(exception: bool, pattern: &str, text: &str) -> Result<Self, String> {
        let malformed = || format!("{text:?} is no pattern");
        NamePattern::new(pattern).ok_or_else(malformed)?;
        Ok(Self {
            exception,
            kind: ignore_kind(pattern).ok_or_else(malformed)?,
        })
    }
}

impl IgnoreKind {
    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(pattern) => path == pattern,
            Self::Prefix(prefix) => path.starts_with(prefix),
            Self::Suffix(suffix) => {
                path.ends_with(suffix) || suffix.strip_prefix('/').is_some_and(|name| name == path)
            }
            Self::Elements(elements) => {
                let text: Vec<char> = path.chars().collect();
                ends(elements, &text, Span::Name).last() == Some(&text.len())
            }
        }
    }
}

/// Finds out how a pattern is compared; `None` where it is malformed.
fn ignore_kind(pattern: &str) -> Option<IgnoreKind> {
    let mut elements = Vec::new();
    let mut kind = IgnoreKind::Exact(pattern.to_owned());
    let mut rest = pattern.chars().peekable();
    let mut first = true;
    let by_elements = || IgnoreKind::Elements(Vec::new());
    while let Some(character) = rest.next() {
        match character {
            '*' if rest.next_if_eq(&'*').is_some() => {
                rest.next_if_eq(&'/');
                if rest.peek().is_some() {
                    elements.push(Element::Folders);
                    kind = by_elements();
                } else if matches!(kind, IgnoreKind::Exact(_)) {
                    kind = IgnoreKind::Prefix(pattern[..pattern.len() - 2].to_owned());
                } else {
                    elements.push(Element::Everything);
                    kind = by_elements();
                }
                if first {
                    kind = IgnoreKind::Suffix(pattern[2..].to_owned());
                }
            }
            '*' => {
                elements.push(Element::Many);
                kind = by_elements();
            }
            '?' => {
                elements.push(Element::Any);
                kind = by_elements();
            }
            '[' => {
                elements.push(class(&mut rest)?);
                kind = by_elements();
            }
            '\\' => match rest.next() {
                Some(escaped) => {
                    elements.push(Element::Literal(escaped));
                    kind = by_elements();
                }
                None => elements.push(Element::Literal('\\')),
            },
            other => elements.push(Element::Literal(other)),
        }
        first = false;
    }
    Some(match kind {
        IgnoreKind::Elements(_) => IgnoreKind::Elements(elements),
        other => other,
    })
}

/// Parses the pattern of a substitution: only `*`, `?` and their escapes mean something.
fn text_pattern(pattern: &str) -> Result<Vec<Element>, String> {
    let mut elements = Vec::new();
    let mut rest = pattern.chars();
    while let Some(character) = rest.next() {
        elements.push(match character {
            '*' => Element::Many,
            '?' => Element::Any,
            '\\' => match rest.next() {
                Some(escaped @ ('*' | '?' | '\\' | '}' | '/')) => Element::Literal(escaped),
                _ => return Err(format!("invalid pattern ({pattern}) in substitution")),
            },
            other => Element::Literal(other),
        });
    }
    Ok(elements)
}

/// Returns `value` without the shortest, or longest, beginning that matches.
pub(crate) fn without_prefix(pattern: &str, value: &str, longest: bool) -> Result<String, String> {
    let text: Vec<char> = value.chars().collect();
    let ends = ends(&text_pattern(pattern)?, &text, Span::Text);
    let end = if longest { ends.last() } else { ends.first() };
    Ok(text[end.copied().unwrap_or(0)..].iter().collect())
}

/// Returns `value` without the shortest, or longest, end that matches.
pub(crate) fn without_suffix(pattern: &str, value: &str, longest: bool) -> Result<String, String> {
    let mut elements = text_pattern(pattern)?;
    elements.reverse();
    let text: Vec<char> = value.chars().rev().collect();
    let ends = ends(&elements, &text, Span::Text);
    let end = if longest { ends.last() } else { ends.first() };
    Ok(text[end.copied().unwrap_or(0)..].iter().rev().collect())
}

/// Returns `value` with the first match, or all, replaced; each match as long as can be.
pub(crate) fn replace(
    pattern: &str,
    value: &str,
    replacement: &str,
    all: bool,
) -> Result<String, String> {
    let elements = text_pattern(pattern)?;
    let text: Vec<char> = value.chars().collect();
    let mut result = String::new();
    let mut at = 0;
    let mut done = false;
    while at <= text.len() {
        let end = (!done)
            .then(|| ends(&elements, &text[at..], Span::Text))
            .and_then(|ends| ends.last().copied());
        if let Some(length) = end {
            result.push_str(replacement);
            done = !all;
            at += length;
            if length > 0 {
                continue;
            }
        }
        result.extend(text.get(at));
        at += 1;
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Rows of Go's own table, path/filepath/match_test.go.
    #[test]
    fn names_match_as_they_do_in_go() {
        let cases = [
            ("abc", "abc", Some(true)),
            ("*", "abc", Some(true)),
            ("*c", "abc", Some(true)),
            ("a*", "a", Some(true)),
            ("a*", "ab/c", Some(false)),
            ("a*/b", "abc/b", Some(true)),
            ("a*/b", "a/c/b", Some(false)),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", Some(true)),
            ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", Some(false)),
            ("a*b?c*x", "abxbbxdbxebxczzx", Some(true)),
            ("a*b?c*x", "abxbbxdbxebxczzy", Some(false)),
            ("ab[c]", "abc", Some(true)),
            ("ab[b-d]", "abc", Some(true)),
            ("ab[e-g]", "abc", Some(false)),
            ("ab[^c]", "abc", Some(false)),
            ("ab[^e-g]", "abc", Some(true)),
            (r"a\*b", "a*b", Some(true)),
            (r"a\*b", "ab", Some(false)),
            ("a?b", "a☺b", Some(true)),
            ("a[^a]b", "a☺b", Some(true)),
            ("a???b", "a☺b", Some(false)),
            ("[a-ζ]*", "α", Some(true)),
            ("*[a-ζ]", "A", Some(false)),
            ("a?b", "a/b", Some(false)),
            ("a*b", "a/b", Some(false)),
            (r"[\]a]", "]", Some(true)),
            (r"[\-x]", "x", Some(true)),
            ("[]a]", "]", None),
            ("[-]", "-", None),
            ("[x-]", "x", None),
            ("[a-b-c]", "a", None),
            ("[", "a", None),
            ("[^bc", "a", None),
            ("a[", "ab", None),
            ("*x", "xxx", Some(true)),
        ];
        for (pattern, text, expected) in cases {
            let actual = NamePattern::new(pattern).map(|pattern| pattern.matches(text));
            assert_eq!(actual, expected, "{pattern} {text}");
        }
    }

    // Rows of moby/patternmatcher's own table.
    #[test]
    fn ignore_patterns_match_as_they_do_in_docker() {
        let cases = [
            ("**", "file", true),
            ("**", "dir/file", true),
            ("**/", "file", true),
            ("**/**", "dir/file", true),
            ("dir/**", "dir/file", true),
            ("dir/**", "dir/dir2/file", true),
            ("**/dir", "dir/file", true),
            ("**/dir2/*", "dir/dir2/file", true),
            ("**/dir2/**", "dir/dir2/dir2/file", true),
            ("**file", "file", true),
            ("**file", "dir/file", true),
            ("**/file", "dir/dir/file", true),
            ("**/file*", "dir/dir/file.txt", true),
            ("**/file*txt", "dir/dir/file.txt", true),
            ("**/**/*.txt", "dir/dir/file.txt", true),
            ("**/*.txt2", "dir/dir/file.txt", false),
            ("a**/*.txt", "a/file.txt", true),
            ("a**/*.txt", "a/dir/file.txt", true),
            ("a/*.txt", "a/dir/file.txt", false),
            ("a[b-d]e", "ace", true),
            ("a[^b-d]e", "aze", true),
            ("abc.def", "abcdef", false),
            ("abc.def", "abcZdef", false),
            ("abc?def", "abcZdef", true),
            (r"a\\", r"a\", true),
            (r"a\*b", "a*b", true),
            ("**/foo/bar", "foo/bar", true),
            ("**/foo/bar", "dir/foo/bar", true),
            ("abc/**", "abc", false),
            ("**/.foo", "bar.foo", false),
            ("a(b)c/def", "a(b)c/def", true),
            ("a.|)$(}+{bc", "a.|)$(}+{bc", true),
            ("docs", "docs/a/b", true),
            ("/docs", "docs", true),
            ("docs\n!docs/README", "docs/README", false),
            ("docs\n!docs/README", "docs/other", true),
            ("!docs\ndocs", "docs", true),
            ("# docs", "docs", false),
        ];
        for (text, path, expected) in cases {
            assert_eq!(
                Ignored::parse(text).unwrap().covers(path),
                expected,
                "{text} {path}"
            );
        }
        assert!(Ignored::parse("a[").is_err());
        assert!(Ignored::parse("!").is_err());
    }
}
