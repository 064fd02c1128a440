//! Java's newer stores of trusted certificates, PKCS #12, as far as they are not encrypted.
//!
//! Source: RFC 7292, sections 4 and 4.2.

use super::{
    Recognition,
    keys::{OBJECT, OCTETS, SEQUENCE, next, only},
    order,
};
use crate::pair::Pair;

/// 1.2.840.113549.1.7.1 and 1.7.6.
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
const ENCRYPTED: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 6];

/// 1.2.840.113549.1.12.10.1.3.
const CERTIFICATE_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 3];

const INTEGER: u8 = 0x02;
const SET: u8 = 0x31;

/// The tag of a value that is told by its number 0.
const ZERO: u8 = 0xa0;

/// The most certificates of a store that are looked at.
const MAX_BAGS: usize = 100_000;

/// One certificate of a store: its attributes, its alias among them, and all of its bytes.
type Bag<'a> = (&'a [u8], &'a [u8]);

/// Returns whether bytes begin as such a store does.
pub(super) fn is(bytes: &[u8]) -> bool {
    only(bytes, SEQUENCE).is_some_and(|mut store| next(&mut store, INTEGER) == Some(&[3]))
}

/// Recognises two stores of the same certificates in another order.
pub(super) fn in_another_order(sides: Pair<&[u8]>) -> Recognition {
    let (published, rebuilt) = match (bags(sides.published), bags(sides.rebuilt)) {
        (Ok(published), Ok(rebuilt)) => (published, rebuilt),
        (Err(why), _) => {
            return Recognition::Refused(format!("the published store {why}").into());
        }
        (_, Err(why)) => return Recognition::Refused(format!("the rebuilt store {why}").into()),
    };
    let slices = Pair::new(published.as_slice(), rebuilt.as_slice());
    if let Some((side, (attributes, _))) = order::only_one(slices) {
        return Recognition::Refused(
            format!(
                "only the {side} store trusts just this certificate as {}",
                order::shown(attributes)
            )
            .into(),
        );
    }
    if published.windows(2).any(|two| two[0].0 == two[1].0) {
        return Recognition::Refused("two entries of a store have one alias".into());
    }
    Recognition::Explained(
        format!(
            "both stores trust the same {} certificates under the same aliases, in another order",
            published.len()
        )
        .into(),
    )
}

/// Returns the certificates in order of their attributes; says what else there is if not.
fn bags(store: &[u8]) -> Result<Vec<Bag<'_>>, &'static str> {
    const NO_STORE: &str = "is no PKCS #12 in which every byte is known";
    let mut rest = only(store, SEQUENCE).ok_or(NO_STORE)?;
    if next(&mut rest, INTEGER) != Some(&[3]) {
        return Err(NO_STORE);
    }
    let safes = next(&mut rest, SEQUENCE).ok_or(NO_STORE)?;
    if !rest.is_empty() {
        return Err("has a checksum under a password, which is not verified");
    }
    let safes = data(safes).ok_or(NO_STORE)?;
    let mut safes = only(safes, SEQUENCE).ok_or(NO_STORE)?;
    let mut found = Vec::new();
    while !safes.is_empty() {
        let safe = next(&mut safes, SEQUENCE).ok_or(NO_STORE)?;
        if next(&mut { safe }, OBJECT) == Some(ENCRYPTED) {
            return Err("is encrypted");
        }
        let mut bags = data(safe)
            .and_then(|safe| only(safe, SEQUENCE))
            .ok_or(NO_STORE)?;
        while !bags.is_empty() {
            let bag = next(&mut bags, SEQUENCE).ok_or(NO_STORE)?;
            let mut rest = bag;
            if next(&mut rest, OBJECT) != Some(CERTIFICATE_BAG) {
                return Err("holds something else than certificates");
            }
            next(&mut rest, ZERO).ok_or(NO_STORE)?;
            only(rest, SET).ok_or(NO_STORE)?;
            if found.len() == MAX_BAGS {
                return Err("holds more certificates than are looked at");
            }
            found.push((rest, bag));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Returns what is in a `ContentInfo` of plain data.
fn data(mut info: &[u8]) -> Option<&[u8]> {
    let is_data = next(&mut info, OBJECT)? == DATA;
    let content = only(info, ZERO)?;
    is_data.then(|| only(content, OCTETS))?
}

#[cfg(test)]
mod tests {
    use super::{super::testing::told, *};

    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap();
        let length = match length {
            0..0x80 => vec![u8::try_from(length).unwrap()],
            0x80..0x100 => vec![0x81, u8::try_from(length).unwrap()],
            _ => [&[0x82], &length.to_be_bytes()[..]].concat(),
        };
        [&[tag], &length[..], content].concat()
    }

    fn info(kind: &[u8], content: &[u8]) -> Vec<u8> {
        let content = der(ZERO, &der(OCTETS, content));
        der(SEQUENCE, &[der(OBJECT, kind), content].concat())
    }

    fn store(kind: &[u8], entries: &[(&str, &[u8])], after: &[u8]) -> Vec<u8> {
        let bags: Vec<Vec<u8>> = entries
            .iter()
            .map(|(alias, certificate)| {
                let parts = [
                    der(OBJECT, CERTIFICATE_BAG),
                    der(ZERO, certificate),
                    der(SET, alias.as_bytes()),
                ];
                der(SEQUENCE, &parts.concat())
            })
            .collect();
        let safe = info(kind, &der(SEQUENCE, &bags.concat()));
        let safes = info(DATA, &der(SEQUENCE, &safe));
        der(SEQUENCE, &[&der(INTEGER, &[3])[..], &safes, after].concat())
    }

    #[test]
    fn a_store_is_explained_only_by_the_order_of_its_certificates() {
        let (first, second) = ([1; 200], [2; 200]);
        let (one, two) = (("one", &first[..]), ("two", &second[..]));
        let published = store(DATA, &[one, two], b"");
        let rows = [
            (
                "another order",
                store(DATA, &[two, one], b""),
                "java-cacerts",
            ),
            (
                "one more",
                store(DATA, &[two, one, ("evil", &[3; 200])], b""),
                "java-cacerts: only the rebuilt store trusts just this certificate as “1\\004evil”",
            ),
            (
                "another under an alias",
                store(DATA, &[("two", &[3; 200]), one], b""),
                "java-cacerts: only the published store trusts just this certificate as “1\\003two”",
            ),
            (
                "a checksum",
                store(DATA, &[two, one], &der(SEQUENCE, b"")),
                "java-cacerts: the rebuilt store has a checksum under a password, which is not verified",
            ),
            (
                "encrypted",
                store(ENCRYPTED, &[two, one], b""),
                "java-cacerts: the rebuilt store is encrypted",
            ),
            (
                "bytes after the end",
                [store(DATA, &[two, one], b""), vec![0]].concat(),
                "java-cacerts: a side is neither JKS nor PKCS #12, or goes on after its end",
            ),
        ];
        for (case, rebuilt, expected) in rows {
            let found = told("etc/pki/java/cacerts", &published, &rebuilt);
            assert_eq!(found, expected, "{case}");
        }
    }
}
