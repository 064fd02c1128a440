//! JSON: the values that differ, by their pointers.
//!
//! Only documents that can be read in one way: with a key given twice, or a
//! number that a double does not keep, a document is compared as text.

use std::{collections::BTreeSet, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;

use super::{Content, Limits, listed::Listed};
use crate::{
    compare::json::{differences, has_inexact_number, layout},
    image::entry::Printable,
    pair::Pair,
};

/// What it is called in reports.
pub(super) const NAME: &str = "json";

/// The longest document that is read: in memory it takes many times its size.
const LONGEST: usize = 8 << 20;

pub(super) fn is(_path: &[u8], bytes: &[u8]) -> bool {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    bytes.len() <= LONGEST && matches!(first, Some(b'{' | b'['))
}

pub(super) fn compare(sides: Pair<&[u8]>, limits: &mut Limits) -> Option<Content> {
    let (published, rebuilt) = (parse(sides.published)?, parse(sides.rebuilt)?);
    let mut listed = Listed::new(NAME, limits);
    for difference in differences(Pair::new(&published, &rebuilt)) {
        let values = difference
            .values
            .map(|value| value.map(|value| Printable(value.to_string().as_bytes()).to_string()));
        let place = Printable(difference.pointer.as_bytes()).to_string();
        listed.value(if place.is_empty() { "/" } else { &place }, values);
    }
    if listed.is_empty() {
        let size = |bytes: &[u8]| Some(format!("the same values in {} bytes", bytes.len()));
        listed.value("serialisation", sides.map(size));
        listed.all_ranges(sides);
    } else {
        let layouts = sides.map(|side| {
            let spaces = layout(side).map(|space| Printable(space).to_string());
            Some(format!("white space {spaces:?}"))
        });
        listed.value("serialisation", layouts);
    }
    Some(listed.finish())
}

fn parse(bytes: &[u8]) -> Option<Json> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    KeysOnce.deserialize(&mut deserializer).ok()?;
    let value: Json = serde_json::from_slice(bytes).ok()?;
    (!has_inexact_number(&value)).then_some(value)
}

/// Reads a document in which no object has a key twice.
struct KeysOnce;

impl<'de> DeserializeSeed<'de> for KeysOnce {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for KeysOnce {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while elements.next_element_seed(Self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut keys = BTreeSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            if !keys.insert(key) {
                return Err(A::Error::custom("a key is given twice"));
            }
            entries.next_value_seed(Self)?;
        }
        Ok(())
    }
}
