//! JSON changed as text: whatever is not changed keeps its bytes.

use std::ops::Range;

/// Where a value stands in a document.
struct Place {
    /// From the key's first quote, or the element's first byte.
    member: Range<usize>,
    value: Range<usize>,
}

/// Returns the text of the value at a JSON pointer.
pub(crate) fn at<'a>(document: &'a str, pointer: &str) -> Option<&'a str> {
    place(document, pointer).map(|place| &document[place.value])
}

/// Returns the document with the value at `pointer` written anew; where there is none,
/// it is added to the object or array that should have it, which must be there.
pub(crate) fn set(document: &str, pointer: &str, value: &str) -> String {
    if let Some(place) = place(document, pointer) {
        return splice(document, place.value, value);
    }
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let container = place_or_panic(document, parent).value;
    let key = key.replace("~1", "/").replace("~0", "~");
    let is_object = document[container.clone()].starts_with('{');
    let members = members(document, container.start);
    let Some((_, last)) = members.last() else {
        let member = if is_object {
            format!("{key:?}:{value}")
        } else {
            value.to_owned()
        };
        return splice(document, container.start + 1..container.end - 1, &member);
    };
    // The new member is written as the one before it.
    let before = document[..last.member.start]
        .rfind(|character: char| !character.is_whitespace())
        .map_or(0, |found| found + 1);
    let space = &document[before..last.member.start];
    let member = if is_object {
        let key_end = string_end(document, last.member.start);
        let colon = &document[key_end..last.value.start];
        format!(",{space}{key:?}{colon}{value}")
    } else {
        format!(",{space}{value}")
    };
    splice(document, last.value.end..last.value.end, &member)
}

/// Returns the document without the member or element at `pointer`.
pub(crate) fn remove(document: &str, pointer: &str) -> String {
    let (parent, _) = pointer.rsplit_once('/').unwrap();
    let container = place_or_panic(document, parent).value;
    let removed = place_or_panic(document, pointer).member;
    let all = members(document, container.start);
    let number = all
        .iter()
        .position(|(_, place)| place.member == removed)
        .unwrap();
    let range = if let Some((_, next)) = all.get(number + 1) {
        removed.start..next.member.start
    } else if let Some((_, before)) = number.checked_sub(1).map(|before| &all[before]) {
        before.member.end..removed.end
    } else {
        container.start + 1..container.end - 1
    };
    splice(document, range, "")
}

/// Returns the keys, or the numbers of the elements, of the value at `pointer`.
pub(crate) fn keys(document: &str, pointer: &str) -> Vec<String> {
    place(document, pointer)
        .filter(|place| document[place.value.clone()].starts_with(['{', '[']))
        .map(|place| {
            members(document, place.value.start)
                .into_iter()
                .map(|(key, _)| key)
                .collect()
        })
        .unwrap_or_default()
}

fn splice(document: &str, range: Range<usize>, text: &str) -> String {
    [&document[..range.start], text, &document[range.end..]].concat()
}

fn place_or_panic(document: &str, pointer: &str) -> Place {
    place(document, pointer).unwrap_or_else(|| panic!("{pointer} is in {document}"))
}

fn place(document: &str, pointer: &str) -> Option<Place> {
    let start = space_end(document, 0);
    let end = value_end(document, start);
    let mut found = Place {
        member: start..end,
        value: start..end,
    };
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        if !document[found.value.clone()].starts_with(['{', '[']) {
            return None;
        }
        let mut members = members(document, found.value.start).into_iter();
        found = members.find(|(key, _)| *key == step)?.1;
    }
    Some(found)
}

/// Returns the members of the object, or the elements of the array, that starts at `start`.
fn members(document: &str, start: usize) -> Vec<(String, Place)> {
    let is_object = document[start..].starts_with('{');
    let mut members = Vec::new();
    let mut next = space_end(document, start + 1);
    while !document[next..].starts_with(['}', ']']) {
        let (key, value) = if is_object {
            let end = string_end(document, next);
            let key = serde_json::from_str(&document[next..end]).unwrap();
            let colon = space_end(document, end);
            (key, space_end(document, colon + 1))
        } else {
            (members.len().to_string(), next)
        };
        let end = value_end(document, value);
        members.push((
            key,
            Place {
                member: next..end,
                value: value..end,
            },
        ));
        next = space_end(document, end);
        if document[next..].starts_with(',') {
            next = space_end(document, next + 1);
        }
    }
    members
}

fn space_end(document: &str, start: usize) -> usize {
    let rest = &document[start..];
    start + (rest.len() - rest.trim_start().len())
}

fn string_end(document: &str, start: usize) -> usize {
    let mut escaped = false;
    for (offset, byte) in document.bytes().enumerate().skip(start + 1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return offset + 1,
            _ => {}
        }
    }
    panic!("a string ends")
}

fn value_end(document: &str, start: usize) -> usize {
    match document.as_bytes()[start] {
        b'"' => string_end(document, start),
        b'{' | b'[' => {
            let last = members(document, start)
                .last()
                .map_or(start + 1, |(_, last)| last.value.end);
            space_end(document, last) + 1
        }
        _ => {
            let rest = &document[start..];
            start
                + rest
                    .find([',', '}', ']', ' ', '\n', '\t', '\r'])
                    .unwrap_or(rest.len())
        }
    }
}

#[test]
fn one_value_is_changed_and_every_other_byte_kept() {
    let document = "{\n\t\"a\": {\"x/y\": [1, \"}\"]},\n\t\"b\": {}\n}\n";
    let cases = [
        (
            set(document, "/a/x~1y/1", "2"),
            document.replace("\"}\"", "2"),
        ),
        (
            set(document, "/c", "3"),
            document.replace("{}", "{},\n\t\"c\": 3"),
        ),
        (
            set(document, "/b/k", "true"),
            document.replace("{}", "{\"k\":true}"),
        ),
        (
            set(document, "/a/x~1y/2", "0"),
            document.replace("\"}\"", "\"}\", 0"),
        ),
        (
            remove(document, "/b"),
            document.replace(",\n\t\"b\": {}", ""),
        ),
        (
            remove(document, "/a"),
            document.replace("\"a\": {\"x/y\": [1, \"}\"]},\n\t", ""),
        ),
        (
            remove(document, "/a/x~1y"),
            document.replace("\"x/y\": [1, \"}\"]", ""),
        ),
    ];
    for (changed, expected) in cases {
        assert_eq!(changed, expected);
    }
    assert_eq!(at(document, "/a/x~1y"), Some("[1, \"}\"]"));
    assert_eq!(at(document, "/a/z"), None);
    assert_eq!(keys(document, ""), ["a", "b"]);
}
