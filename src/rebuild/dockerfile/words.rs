//! Dockerfile words: quotes, escapes, `$variables` and `${…}` forms, as `BuildKit` takes them.
//!
//! Source: moby/buildkit `frontend/dockerfile/shell/lex.go`.

use std::{iter::Peekable, str::Chars};

use super::glob;

/// How a text is taken apart.
#[derive(Debug, Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the settings are those of BuildKit's lexer, independent of each other"
)]
pub(crate) struct Lexer {
    /// The character that takes the meaning from the next: `\` or a backquote.
    pub(crate) escape: char,
    /// Whether quotes stay in the result.
    pub(crate) raw_quotes: bool,
    /// Whether escape characters stay in the result.
    pub(crate) raw_escapes: bool,
    /// Whether quotes are characters like any other.
    pub(crate) plain_quotes: bool,
    /// Whether variables that are not set stay as written.
    pub(crate) keep_unset: bool,
}

/// Looks a variable up.
pub(crate) type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Lexer {
    /// Returns the lexer of instruction arguments.
    pub(crate) const fn new(escape: char) -> Self {
        Self {
            escape,
            raw_quotes: false,
            raw_escapes: false,
            plain_quotes: false,
            keep_unset: false,
        }
    }

    /// Returns the text with variables put in and quotes taken off.
    pub(crate) fn word(self, text: &str, variables: Variables<'_>) -> Result<String, String> {
        self.process(text, variables).map(|(word, _)| word)
    }

    /// Returns the text split at spaces that are not quoted, after variables are put in.
    pub(crate) fn words(self, text: &str, variables: Variables<'_>) -> Result<Vec<String>, String> {
        self.process(text, variables).map(|(_, words)| words)
    }

    fn process(
        self,
        text: &str,
        variables: Variables<'_>,
    ) -> Result<(String, Vec<String>), String> {
        let mut state = State {
            lexer: self,
            rest: text.chars().peekable(),
            variables,
        };
        state
            .until(None, self.raw_escapes)
            .map_err(|problem| format!("cannot take {text:?} apart: {problem}"))
    }
}

/// Words being collected.
#[derive(Default)]
struct Words {
    word: String,
    words: Vec<String>,
}

impl Words {
    fn character(&mut self, character: char) {
        if !character.is_whitespace() {
            self.word.push(character);
        } else if !self.word.is_empty() {
            self.words.push(std::mem::take(&mut self.word));
        }
    }

    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.words.push(self.word);
        }
        self.words
    }
}

struct State<'a> {
    lexer: Lexer,
    rest: Peekable<Chars<'a>>,
    variables: Variables<'a>,
}

impl State<'_> {
    /// Reads to `stop` or, without one, to the end.
    fn until(
        &mut self,
        stop: Option<char>,
        raw_escapes: bool,
    ) -> Result<(String, Vec<String>), String> {
        let before = std::mem::replace(&mut self.lexer.raw_escapes, raw_escapes);
        let result = self.read_until(stop);
        self.lexer.raw_escapes = before;
        result
    }

    fn read_until(&mut self, stop: Option<char>) -> Result<(String, Vec<String>), String> {
        let mut result = String::new();
        let mut words = Words::default();
        while let Some(&character) = self.rest.peek() {
            if stop == Some(character) {
                self.rest.next();
                return Ok((result, words.finish()));
            }
            match character {
                '$' => {
                    let value = self.variable()?;
                    result.push_str(&value);
                    value.chars().for_each(|each| words.character(each));
                }
                '\'' | '"' if !self.lexer.plain_quotes => {
                    let quoted = if character == '\'' {
                        self.single_quoted()?
                    } else {
                        self.double_quoted()?
                    };
                    result.push_str(&quoted);
                    words.word.push_str(&quoted);
                }
                '<' => {
                    let marker = self.here_marker();
                    result.push_str(&marker);
                    words.word.push_str(&marker);
                }
                _ if character == self.lexer.escape => {
                    self.rest.next();
                    if self.lexer.raw_escapes {
                        words.word.push(character);
                        result.push(character);
                    }
                    // At the end of the text an escape character means nothing.
                    let Some(escaped) = self.rest.next() else {
                        break;
                    };
                    words.word.push(escaped);
                    result.push(escaped);
                }
                _ => {
                    self.rest.next();
                    words.character(character);
                    result.push(character);
                }
            }
        }
        match stop {
            Some(stop) => Err(format!("no matching {stop}")),
            None => Ok((result, words.finish())),
        }
    }

    fn single_quoted(&mut self) -> Result<String, String> {
        let mut result = String::new();
        self.quote(&mut result);
        loop {
            match self.rest.peek() {
                None => return Err("no matching single quote".to_owned()),
                Some('\'') => {
                    self.quote(&mut result);
                    return Ok(result);
                }
                Some(&character) => {
                    self.rest.next();
                    result.push(character);
                }
            }
        }
    }

    fn double_quoted(&mut self) -> Result<String, String> {
        let mut result = String::new();
        self.quote(&mut result);
        loop {
            match self.rest.peek().copied() {
                None => return Err("no matching double quote".to_owned()),
                Some('"') => {
                    self.quote(&mut result);
                    return Ok(result);
                }
                Some('$') => result.push_str(&self.variable()?),
                Some(character) if character == self.lexer.escape => {
                    self.rest.next();
                    if self.lexer.raw_escapes {
                        result.push(character);
                    }
                    match self.rest.peek().copied() {
                        None => {}
                        Some(next) if next == '"' || next == '$' || next == self.lexer.escape => {
                            self.rest.next();
                            result.push(next);
                        }
                        Some(_) => result.push(character),
                    }
                }
                Some(character) => {
                    self.rest.next();
                    result.push(character);
                }
            }
        }
    }

    /// Passes over a quote, which stays only where quotes are raw.
    fn quote(&mut self, result: &mut String) {
        if let Some(quote) = self.rest.next()
            && self.lexer.raw_quotes
        {
            result.push(quote);
        }
    }

    /// Reads `<` or `<<` with the blanks after it, which belong to one word.
    fn here_marker(&mut self) -> String {
        let mut marker = String::from("<");
        self.rest.next();
        if self.rest.next_if_eq(&'<').is_none() {
            return marker;
        }
        marker.push('<');
        while let Some(blank) = self.rest.next_if(|&next| matches!(next, '\t' | '\r' | ' ')) {
            marker.push(blank);
        }
        marker
    }

    fn variable(&mut self) -> Result<String, String> {
        self.rest.next();
        if self.rest.next_if_eq(&'{').is_none() {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match (self.variables)(&name) {
                None if self.lexer.keep_unset => format!("${name}"),
                value => value.unwrap_or_default(),
            });
        }
        match self.rest.peek() {
            None => return Err("missing '}'".to_owned()),
            Some('{' | '}' | ':') => return Err("bad substitution".to_owned()),
            Some(_) => {}
        }
        let name = self.name();
        let value = (self.variables)(&name);
        let keep = self.lexer.keep_unset && value.is_none();
        let Some(modifier) = self.rest.next() else {
            return Err("missing '}'".to_owned());
        };
        match modifier {
            '}' if keep => Ok(format!("${{{name}}}")),
            '}' => Ok(value.unwrap_or_default()),
            ':' => {
                let modifier = self.rest.next().ok_or("missing '}'")?;
                self.modified(&name, value.as_deref(), modifier, true)
            }
            '+' | '-' | '?' | '#' | '%' => self.modified(&name, value.as_deref(), modifier, false),
            '/' => {
                let all = self.rest.next_if_eq(&'/').is_some();
                let (pattern, _) = self.until(Some('/'), true)?;
                let (replacement, _) = self.until(Some('}'), true)?;
                if keep {
                    return Ok(format!("${{{name}/{pattern}/{replacement}}}"));
                }
                glob::replace(&pattern, &value.unwrap_or_default(), &replacement, all)
            }
            other => Err(format!("unsupported modifier ({other}) in substitution")),
        }
    }

    /// Reads the rest of `${name:-word}` and its kin.
    fn modified(
        &mut self,
        name: &str,
        value: Option<&str>,
        modifier: char,
        empty_is_unset: bool,
    ) -> Result<String, String> {
        let shown = if empty_is_unset {
            format!(":{modifier}")
        } else {
            modifier.to_string()
        };
        let pattern = matches!(modifier, '#' | '%');
        if !matches!(modifier, '+' | '-' | '?' | '#' | '%') || (empty_is_unset && pattern) {
            return Err(format!("unsupported modifier ({shown}) in substitution"));
        }
        let (word, _) = self.until(Some('}'), pattern)?;
        if self.lexer.keep_unset && value.is_none() {
            return Ok(format!("${{{name}{shown}{word}}}"));
        }
        let missing = value.is_none_or(|value| empty_is_unset && value.is_empty());
        let value_or_empty = value.unwrap_or_default();
        match modifier {
            '-' => Ok(if missing {
                word
            } else {
                value_or_empty.to_owned()
            }),
            '+' => Ok(if missing { String::new() } else { word }),
            '?' if missing => {
                let reason = match (word.is_empty(), value.is_none()) {
                    (false, _) => word,
                    (true, true) => "is not allowed to be unset".to_owned(),
                    (true, false) => "is not allowed to be empty".to_owned(),
                };
                Err(format!("{name}: {reason}"))
            }
            '?' => Ok(value_or_empty.to_owned()),
            _ => {
                let (longest, word) = match word.strip_prefix(modifier) {
                    Some(word) => (true, word),
                    None => (false, word.as_str()),
                };
                if modifier == '#' {
                    glob::without_prefix(word, value_or_empty, longest)
                } else {
                    glob::without_suffix(word, value_or_empty, longest)
                }
            }
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(&character) = self.rest.peek() {
            if name.is_empty() && character.is_numeric() {
                while let Some(digit) = self.rest.next_if(|next| next.is_numeric()) {
                    name.push(digit);
                }
                return name;
            }
            if name.is_empty() && matches!(character, '@' | '*' | '#' | '?' | '-' | '$' | '!' | '0')
            {
                self.rest.next();
                return character.to_string();
            }
            if !character.is_alphanumeric() && character != '_' {
                break;
            }
            self.rest.next();
            name.push(character);
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(name: &str) -> Option<String> {
        match name {
            "PWD" => Some("/home".to_owned()),
            "EMPTY" => Some(String::new()),
            "SPACES" => Some("a b".to_owned()),
            "FILE" => Some("/a/b.tar.gz".to_owned()),
            _ => None,
        }
    }

    // The rows come from buildkit's own table, frontend/dockerfile/shell/envVarTest.
    #[test]
    fn words_come_out_as_they_do_in_buildkit() {
        let cases = [
            ("hello", "hello"),
            ("he'll'o", "hello"),
            ("he'llo", "error"),
            (r"he\'llo", "he'llo"),
            (r"he\\'llo", "error"),
            (r"abc\tdef", "abctdef"),
            (r#""abc\tdef""#, r"abc\tdef"),
            (r#""abc\\tdef""#, r"abc\tdef"),
            (r"'abc\tdef'", r"abc\tdef"),
            ("hello   ", "hello   "),
            ("hello\\", "hello"),
            ("hello\\\\", "hello\\"),
            ("\"hello", "error"),
            ("\"hell'o\"", "hell'o"),
            ("hello'", "error"),
            ("$PWD", "/home"),
            ("'$PWD'", "$PWD"),
            (r#""$PWD""#, "/home"),
            (r"\$PWD", "$PWD"),
            ("hello$", "hello$"),
            ("hello$PWD_", "hello"),
            ("hello${}xx", "error"),
            ("hello${xx}", "hello"),
            ("hello${xx:-000}xx", "hello000xx"),
            ("hello${PWD:-000}xx", "hello/homexx"),
            ("hello${xx:-$PWD}xx", "hello/homexx"),
            ("hello${xx:-${PWD:-yyy}}xx", "hello/homexx"),
            ("hello${xx:-${yyy:=0}}", "error"),
            ("hello${EMPTY:-x}", "hellox"),
            ("hello${EMPTY-x}", "hello"),
            ("hello${PWD:+x}", "hellox"),
            ("hello${EMPTY:+x}", "hello"),
            ("hello${EMPTY+x}", "hellox"),
            ("hello${xx:+x}", "hello"),
            ("${xx:?no}", "error"),
            ("${xx", "error"),
            ("$0", ""),
            ("${FILE#*/}", "a/b.tar.gz"),
            ("${FILE##*/}", "b.tar.gz"),
            ("${FILE%.*}", "/a/b.tar"),
            ("${FILE%%.*}", "/a/b"),
            ("${FILE/a/x}", "/x/b.tar.gz"),
            ("${FILE//a/x}", "/x/b.txr.gz"),
            ("안녕$PWD", "안녕/home"),
        ];
        for (text, expected) in cases {
            let actual = Lexer::new('\\').word(text, &variables);
            match actual {
                Ok(word) => assert_eq!(word, expected, "{text}"),
                Err(problem) => assert_eq!("error", expected, "{text}: {problem}"),
            }
        }
    }

    #[test]
    fn a_variable_with_spaces_is_several_words_unless_quoted() {
        let cases: [(&str, &[&str]); 3] = [
            ("80 $SPACES", &["80", "a", "b"]),
            ("\"$SPACES\"", &["a b"]),
            (r"a\ b", &["a b"]),
        ];
        for (text, expected) in cases {
            assert_eq!(
                Lexer::new('\\').words(text, &variables).unwrap(),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn the_backquote_can_be_the_escape_character() {
        assert_eq!(
            Lexer::new('`').word(r"C:\x`$PWD", &variables).unwrap(),
            r"C:\x$PWD"
        );
    }
}
