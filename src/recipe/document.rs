//! A TOML document read key by key, so that every complaint has its line.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::Error;

/// The text of a recipe and what it is called.
#[derive(Clone, Copy)]
pub(super) struct Document<'t> {
    /// What messages call it: a path, or the name of a built-in recipe.
    pub(super) called: &'t str,
    text: &'t str,
}

impl<'t> Document<'t> {
    /// Reads the whole text as one table, which messages call `title`.
    pub(super) fn parse(text: &'t str, called: &'t str, title: &str) -> Result<Section<'t>, Error> {
        let document = Self { called, text };
        let table = DeTable::parse(text).map_err(|error| Error::Syntax {
            recipe: called.to_owned(),
            line: document.line(error.span().map_or(0, |span| span.start)),
            problem: error.message().lines().collect::<Vec<_>>().join(", "),
        })?;
        Ok(Section {
            document,
            line: 1,
            title: title.to_owned(),
            known: Vec::new(),
            table: table.into_inner(),
        })
    }

    fn line(&self, offset: usize) -> usize {
        let before = self.text.get(..offset).unwrap_or(self.text);
        1 + before.matches('\n').count()
    }
}

/// A value and the line it stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At<T> {
    /// Counted from 1.
    pub(super) line: usize,
    /// What stands there.
    pub(super) value: T,
}

/// A table of which every key must be asked for.
pub(super) struct Section<'t> {
    document: Document<'t>,
    /// Where the table begins.
    pub(super) line: usize,
    title: String,
    known: Vec<&'static str>,
    table: DeTable<'t>,
}

impl<'t> Section<'t> {
    fn take_value(&mut self, key: &'static str) -> Option<At<DeValue<'t>>> {
        self.known.push(key);
        let (_, value) = self.table.remove_entry(key)?;
        Some(At {
            line: self.document.line(value.span().start),
            value: value.into_inner(),
        })
    }

    /// Takes a text.
    pub(super) fn text(&mut self, key: &'static str) -> Result<Option<At<String>>, Error> {
        self.take_value(key)
            .map(|found| self.as_text(key, found))
            .transpose()
    }

    /// Takes a text that must be there.
    pub(super) fn required_text(&mut self, key: &'static str) -> Result<At<String>, Error> {
        self.text(key)?.ok_or_else(|| self.missing(key))
    }

    /// Takes an integer.
    pub(super) fn integer(&mut self, key: &'static str) -> Result<Option<At<i64>>, Error> {
        match self.take_value(key) {
            Some(found) => self.as_integer(key, &found).map(Some),
            None => Ok(None),
        }
    }

    /// Takes `true` or `false`.
    pub(super) fn boolean(&mut self, key: &'static str) -> Result<Option<bool>, Error> {
        match self.take_value(key) {
            None => Ok(None),
            Some(found) => match found.value {
                DeValue::Boolean(value) => Ok(Some(value)),
                other => Err(self.wrong_type(key, found.line, "true or false", &other)),
            },
        }
    }

    /// Takes a text or an integer.
    pub(super) fn text_or_integer(
        &mut self,
        key: &'static str,
    ) -> Result<Option<At<Result<String, i64>>>, Error> {
        let Some(found) = self.take_value(key) else {
            return Ok(None);
        };
        let line = found.line;
        let value = match &found.value {
            DeValue::String(text) => Ok(text.to_string()),
            DeValue::Integer(_) => Err(self.as_integer(key, &found)?.value),
            other => return Err(self.wrong_type(key, line, "a text or an integer", other)),
        };
        Ok(Some(At { line, value }))
    }

    /// Takes a list of texts, empty where the key is absent.
    pub(super) fn texts(&mut self, key: &'static str) -> Result<Vec<At<String>>, Error> {
        let Some(found) = self.take_value(key) else {
            return Ok(Vec::new());
        };
        let DeValue::Array(items) = found.value else {
            return Err(self.wrong_type(key, found.line, "a list of texts", &found.value));
        };
        items
            .into_iter()
            .map(|item| {
                let line = self.document.line(item.span().start);
                let value = item.into_inner();
                self.as_text(key, At { line, value })
            })
            .collect()
    }

    /// Takes a table, empty where the key is absent.
    pub(super) fn section(&mut self, key: &'static str) -> Result<Option<Self>, Error> {
        let Some(found) = self.take_value(key) else {
            return Ok(None);
        };
        let title = format!("[{key}]");
        self.as_section(key, title, found).map(Some)
    }

    /// Takes a list of tables, empty where the key is absent.
    pub(super) fn sections(&mut self, key: &'static str) -> Result<Vec<Self>, Error> {
        let Some(found) = self.take_value(key) else {
            return Ok(Vec::new());
        };
        let DeValue::Array(items) = found.value else {
            return Err(self.wrong_type(key, found.line, "a list of tables", &found.value));
        };
        items
            .into_iter()
            .map(|item| {
                let line = self.document.line(item.span().start);
                let value = item.into_inner();
                self.as_section(key, format!("[[{key}]]"), At { line, value })
            })
            .collect()
    }

    /// Takes everything, for tables whose keys the recipe's author chooses; in the author's order.
    pub(super) fn all(mut self) -> Vec<(At<String>, Entry<'t>)> {
        let document = self.document;
        let table = std::mem::take(&mut self.table);
        let mut pairs: Vec<(Spanned<_>, Spanned<DeValue<'t>>)> = table.into_iter().collect();
        pairs.sort_by_key(|(key, _)| key.span().start);
        pairs
            .into_iter()
            .map(|(key, value)| {
                let key = At {
                    line: document.line(key.span().start),
                    value: key.get_ref().to_string(),
                };
                let entry = Entry {
                    title: format!("{} of {}", key.value, self.title),
                    holder: Self {
                        document,
                        line: self.line,
                        title: self.title.clone(),
                        known: Vec::new(),
                        table: DeTable::new(),
                    },
                    found: At {
                        line: document.line(value.span().start),
                        value: value.into_inner(),
                    },
                };
                (key, entry)
            })
            .collect()
    }

    /// Complains of a key that nobody asked for, the first one in the text.
    pub(super) fn finish(self) -> Result<(), Error> {
        let first = self
            .table
            .iter()
            .map(|(key, _)| key)
            .min_by_key(|key| key.span().start);
        match first {
            None => Ok(()),
            Some(key) => Err(Error::UnknownKey {
                recipe: self.document.called.to_owned(),
                line: self.document.line(key.span().start),
                key: key.get_ref().to_string(),
                section: self.title,
                hint: hint(key.get_ref(), self.known.iter().copied()),
            }),
        }
    }

    /// Says that a key is not there.
    pub(super) fn missing(&self, key: &'static str) -> Error {
        Error::MissingKey {
            recipe: self.document.called.to_owned(),
            line: self.line,
            key,
            section: self.title.clone(),
        }
    }

    /// Says that a value cannot be right.
    pub(super) fn invalid(&self, line: usize, problem: String) -> Error {
        Error::Invalid {
            recipe: self.document.called.to_owned(),
            line,
            problem,
        }
    }

    fn as_text(&self, key: &str, found: At<DeValue<'t>>) -> Result<At<String>, Error> {
        match found.value {
            DeValue::String(text) => Ok(At {
                line: found.line,
                value: text.into_owned(),
            }),
            other => Err(self.wrong_type(key, found.line, "a text", &other)),
        }
    }

    fn as_integer(&self, key: &str, found: &At<DeValue<'t>>) -> Result<At<i64>, Error> {
        let value = found
            .value
            .as_integer()
            .and_then(|integer| i64::from_str_radix(integer.as_str(), integer.radix()).ok())
            .ok_or_else(|| {
                self.wrong_type(key, found.line, "an integer of 64 bits", &found.value)
            })?;
        Ok(At {
            line: found.line,
            value,
        })
    }

    fn as_section(&self, key: &str, title: String, found: At<DeValue<'t>>) -> Result<Self, Error> {
        match found.value {
            DeValue::Table(table) => Ok(Self {
                document: self.document,
                line: found.line,
                title,
                known: Vec::new(),
                table,
            }),
            other => Err(self.wrong_type(key, found.line, "a table", &other)),
        }
    }

    fn wrong_type(
        &self,
        key: &str,
        line: usize,
        expected: &'static str,
        actual: &DeValue<'_>,
    ) -> Error {
        Error::WrongType {
            recipe: self.document.called.to_owned(),
            line,
            key: key.to_owned(),
            section: self.title.clone(),
            expected,
            actual: actual.type_str(),
        }
    }
}

/// A value under a key that the author chose.
pub(super) struct Entry<'t> {
    title: String,
    holder: Section<'t>,
    found: At<DeValue<'t>>,
}

impl<'t> Entry<'t> {
    /// Reads a text.
    pub(super) fn text(self, key: &str) -> Result<At<String>, Error> {
        self.holder.as_text(key, self.found)
    }

    /// Reads a table.
    pub(super) fn section(self, key: &str) -> Result<Section<'t>, Error> {
        self.holder.as_section(key, self.title, self.found)
    }

    /// Reads a text, or else a table.
    pub(super) fn text_or_section(
        self,
        key: &str,
    ) -> Result<Result<At<String>, Section<'t>>, Error> {
        if self.found.value.is_str() {
            self.text(key).map(Ok)
        } else {
            self.section(key).map(Err)
        }
    }
}

/// Says which of `words` was probably meant by `written`, or else which there are.
pub(super) fn hint<'a>(written: &str, words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.into_iter().collect();
    let nearest = words
        .iter()
        .map(|word| (strsim::damerau_levenshtein(written, word), word))
        // A slip is one letter in three, and one in a short word.
        .filter(|(distance, word)| *distance <= word.chars().count().max(3) / 3)
        .min();
    match nearest {
        Some((_, word)) => format!("did you mean {word:?}?"),
        None if words.is_empty() => "there is none".to_owned(),
        None => format!("there is {}", words.join(", ")),
    }
}
