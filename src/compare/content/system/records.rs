//! Records with fields, compared by their names.

use std::collections::BTreeMap;

use super::super::{Change, Content, Limits, Part};
use crate::{image::entry::Printable, pair::Pair};

/// How many characters of a value are shown.
const SHOWN: usize = 400;

/// How many characters before the first that differs are shown of a longer value.
const BEFORE: usize = 20;

/// How many lines are read into records: each takes some hundred bytes of memory.
const MAX_LINES: usize = 1_000_000;

/// Returns whether a file has more lines than are read into records.
pub(super) fn has_too_many_lines(bytes: &[u8]) -> bool {
    bytes.split(|&byte| byte == b'\n').nth(MAX_LINES).is_some()
}

/// One thing in a file.
pub(super) struct Record {
    /// What it is called; several may be called the same.
    pub(super) name: String,
    /// Its fields by name, in the file's order.
    pub(super) fields: Vec<(String, String)>,
}

impl Record {
    /// Returns a record with its name in a form that any report can show.
    pub(super) fn new(name: &[u8]) -> Self {
        Self {
            name: Printable(name).to_string(),
            fields: Vec::new(),
        }
    }

    pub(super) fn field(&mut self, name: impl Into<String>, value: &[u8]) {
        self.fields
            .push((name.into(), Printable(value).to_string()));
    }

    /// Returns all fields in one line.
    fn summary(&self) -> String {
        let mut summary = String::new();
        for (name, value) in &self.fields {
            if summary.len() > SHOWN {
                break;
            }
            if !summary.is_empty() {
                summary.push_str(", ");
            }
            summary.extend([name, ": ", value]);
        }
        summary
    }
}

/// Returns what differs between the records of two files.
///
/// A record or field that occurs twice is compared with the one that occurs as the
/// same in number on the other side. Order is compared where both sides have a name.
pub(super) fn compare(format: &str, sides: Pair<&[Record]>, limits: &mut Limits) -> Content {
    let mut found = Found {
        parts: Vec::new(),
        left_out: 0,
        limits,
    };
    let names = sides.map(|side| numbered(side.iter().map(|record| record.name.as_str())));
    let places = names.as_ref().map(|names| places(names));
    for (&name, record) in names.published.iter().zip(sides.published) {
        match places.rebuilt.get(&name) {
            Some(&at) => found.fields(&shown(name), Pair::new(record, &sides.rebuilt[at])),
            None => found.value(shown(name), Pair::new(Some(record.summary()), None)),
        }
    }
    for (&name, record) in names.rebuilt.iter().zip(sides.rebuilt) {
        if !places.published.contains_key(&name) {
            found.value(shown(name), Pair::new(None, Some(record.summary())));
        }
    }
    let orders = Pair::new(
        in_both(&names.published, &places.rebuilt),
        in_both(&names.rebuilt, &places.published),
    );
    found.order("order", orders.as_ref().map(Vec::as_slice));
    Content {
        format: format.to_owned(),
        parts: found.parts,
        left_out: found.left_out,
    }
}

/// A name, and how often it occurred before.
type Numbered<'a> = (&'a str, usize);

fn numbered<'a>(names: impl Iterator<Item = &'a str>) -> Vec<Numbered<'a>> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    names
        .map(|name| {
            let count = counts.entry(name).or_default();
            *count += 1;
            (name, *count - 1)
        })
        .collect()
}

fn places<'a>(names: &[Numbered<'a>]) -> BTreeMap<Numbered<'a>, usize> {
    names
        .iter()
        .enumerate()
        .map(|(at, &name)| (name, at))
        .collect()
}

fn in_both<'a>(
    names: &[Numbered<'a>],
    others: &BTreeMap<Numbered<'_>, usize>,
) -> Vec<Numbered<'a>> {
    let both = names.iter().filter(|name| others.contains_key(name));
    both.copied().collect()
}

fn shown((name, before): Numbered<'_>) -> String {
    match before {
        0 => name.to_owned(),
        _ => format!("{name} (no. {})", before + 1),
    }
}

/// The differences so far.
struct Found<'a> {
    parts: Vec<Part>,
    left_out: u64,
    limits: &'a mut Limits,
}

impl Found<'_> {
    fn value(&mut self, place: String, values: Pair<Option<String>>) {
        if self.limits.parts == 0 {
            self.left_out += 1;
            return;
        }
        self.limits.parts -= 1;
        let Pair { published, rebuilt } = excerpt(values);
        self.parts.push(Part {
            place,
            change: Change::Value { published, rebuilt },
        });
    }

    fn fields(&mut self, record: &str, sides: Pair<&Record>) {
        if sides.published.fields == sides.rebuilt.fields {
            return;
        }
        let fields = sides.map(|side| side.fields.as_slice());
        let names = fields.map(|fields| numbered(fields.iter().map(|(name, _)| name.as_str())));
        let places = names.as_ref().map(|names| places(names));
        let place = |name| match shown(name) {
            name if record.is_empty() => name,
            name => format!("{record} {name}"),
        };
        for (&name, (_, value)) in names.published.iter().zip(fields.published) {
            let other = places.rebuilt.get(&name).map(|&at| &fields.rebuilt[at].1);
            if other != Some(value) {
                let values = Pair::new(Some(value.clone()), other.cloned());
                self.value(place(name), values);
            }
        }
        for (&name, (_, value)) in names.rebuilt.iter().zip(fields.rebuilt) {
            if !places.published.contains_key(&name) {
                self.value(place(name), Pair::new(None, Some(value.clone())));
            }
        }
        let orders = Pair::new(
            in_both(&names.published, &places.rebuilt),
            in_both(&names.rebuilt, &places.published),
        );
        self.order(
            &format!("{record} order"),
            orders.as_ref().map(Vec::as_slice),
        );
    }

    /// Says where two orders of the same names part.
    fn order(&mut self, place: &str, orders: Pair<&[Numbered<'_>]>) {
        let parting = orders
            .published
            .iter()
            .zip(orders.rebuilt)
            .position(|(published, rebuilt)| published != rebuilt);
        if let Some(at) = parting {
            self.value(
                format!("{place}, from no. {}", at + 1),
                orders.map(|order| Some(shown(order[at]))),
            );
        }
    }
}

/// Cuts long values down to where they differ.
fn excerpt(values: Pair<Option<String>>) -> Pair<Option<String>> {
    let long = |value: &Option<String>| {
        value
            .as_ref()
            .is_some_and(|value| value.chars().nth(SHOWN).is_some())
    };
    if !long(&values.published) && !long(&values.rebuilt) {
        return values;
    }
    let equal = match &values {
        Pair {
            published: Some(published),
            rebuilt: Some(rebuilt),
        } => published
            .chars()
            .zip(rebuilt.chars())
            .take_while(|(one, other)| one == other)
            .count(),
        _ => 0,
    };
    let from = equal.saturating_sub(BEFORE);
    values.map(|value| {
        value.map(|value| {
            let mut shown: String = value.chars().skip(from).take(SHOWN).collect();
            if value.chars().nth(from + SHOWN).is_some() {
                shown.push('…');
            }
            if from > 0 {
                shown.insert(0, '…');
            }
            shown
        })
    })
}
