//! JSON documents, compared value by value from their bytes.

use serde_json::Value as Json;

use super::Value;
use crate::pair::Pair;

/// One value that differs, and where.
pub(super) struct JsonDifference {
    /// JSON pointer.
    pub(super) pointer: String,
    /// What each side has; `None` where the key or element is absent.
    pub(super) values: Pair<Option<Json>>,
}

/// Returns every value that differs, deepest first named: a container is descended
/// into where both sides have one of the same kind.
pub(super) fn differences(documents: Pair<&Json>) -> Vec<JsonDifference> {
    let mut found = Vec::new();
    descend(String::new(), documents.map(Some), &mut found);
    found
}

fn descend(pointer: String, values: Pair<Option<&Json>>, found: &mut Vec<JsonDifference>) {
    match (values.published, values.rebuilt) {
        (Some(Json::Object(published)), Some(Json::Object(rebuilt))) => {
            let mut keys: Vec<&String> = published.keys().chain(rebuilt.keys()).collect();
            keys.sort_unstable();
            keys.dedup();
            for key in keys {
                let step = key.replace('~', "~0").replace('/', "~1");
                let values = Pair::new(published.get(key), rebuilt.get(key));
                descend(format!("{pointer}/{step}"), values, found);
            }
        }
        (Some(Json::Array(published)), Some(Json::Array(rebuilt))) => {
            for index in 0..published.len().max(rebuilt.len()) {
                let values = Pair::new(published.get(index), rebuilt.get(index));
                descend(format!("{pointer}/{index}"), values, found);
            }
        }
        (published, rebuilt) if published == rebuilt => {}
        _ => found.push(JsonDifference {
            pointer,
            values: values.map(Option::<&Json>::cloned),
        }),
    }
}

impl JsonDifference {
    /// Returns the values as they go into a difference.
    pub(super) fn into_values(self) -> Pair<Option<Value>> {
        self.values.map(|value| value.map(Value::Json))
    }
}

/// Returns whether a document holds a number that a double cannot be trusted to keep.
///
/// Two such numbers can be equal once parsed and different as written.
pub(super) fn has_inexact_number(value: &Json) -> bool {
    match value {
        Json::Number(number) => number.is_f64(),
        Json::Array(values) => values.iter().any(has_inexact_number),
        Json::Object(map) => map.values().any(has_inexact_number),
        Json::Null | Json::Bool(_) | Json::String(_) => false,
    }
}

/// Returns how a document is laid out: white space after the first brace, around the
/// first colon, and after the last brace.
pub(super) fn layout(document: &[u8]) -> [&[u8]; 4] {
    let spaces = |bytes: &[u8]| {
        bytes
            .iter()
            .take_while(|byte| byte.is_ascii_whitespace())
            .count()
    };
    let after = |byte: u8| {
        let start = document
            .iter()
            .position(|&other| other == byte)
            .map_or(0, |found| found + 1);
        let rest = &document[start..];
        (start, &rest[..spaces(rest)])
    };
    let (_, indent) = after(b'{');
    let (colon, behind_colon) = after(b':');
    let before_colon = document[..colon.saturating_sub(1)]
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_whitespace())
        .count();
    let before = &document[colon.saturating_sub(1 + before_colon)..colon.saturating_sub(1)];
    let end = document
        .iter()
        .rposition(|byte| !byte.is_ascii_whitespace())
        .map_or(0, |last| last + 1);
    [indent, before, behind_colon, &document[end..]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_that_differs_is_named_by_its_pointer() {
        let published =
            serde_json::json!({"a/b": 1, "list": [1, 2], "same": {"x": null}, "gone": 0});
        let rebuilt = serde_json::json!({"a/b": 2, "list": [1], "same": {"x": null}, "new": "~"});
        let pointers: Vec<String> = differences(Pair::new(&published, &rebuilt))
            .into_iter()
            .map(|difference| difference.pointer)
            .collect();
        assert_eq!(pointers, ["/a~1b", "/gone", "/list/1", "/new"]);
    }

    #[test]
    fn a_number_beyond_64_bits_is_not_trusted() {
        let exact = |text: &str| !has_inexact_number(&serde_json::from_str(text).unwrap());
        assert!(exact("[1, -5, 18446744073709551615]"));
        assert!(!exact("{\"a\": [18446744073709551616]}"));
        assert!(!exact("1.0"));
    }
}
