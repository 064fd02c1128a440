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

/// 1.2.840.113549.1.9.20, the attribute that Java takes for an alias.
const FRIENDLY_NAME: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 20];

const INTEGER: u8 = 0x02;
/// Text of UTF-16, the higher byte first.
const BMP_TEXT: u8 = 0x1e;
const SET: u8 = 0x31;

/// The tag of a value that is told by its number 0.
const ZERO: u8 = 0xa0;

/// The most certificates of a store that are looked at.
const MAX_BAGS: usize = 100_000;

/// One certificate of a store: its alias as Java looks it up, and all of its bytes.
type Bag<'a> = (String, &'a [u8]);

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
    let slices = Pair::new(&published, &rebuilt).map(|bags| bags.iter().collect::<Vec<_>>());
    if let Some((side, (alias, _))) = order::only_one(slices.as_ref().map(Vec::as_slice)) {
        return Recognition::Refused(
            format!(
                "only the {side} store trusts just this certificate as {}",
                order::shown(alias.as_bytes())
            )
            .into(),
        );
    }
    // Java keeps the later of them.
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

/// Returns the certificates in order of their aliases; says what else there is if not.
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
    let safe = next(&mut safes, SEQUENCE).ok_or(NO_STORE)?;
    // Which certificate is in which part would not be compared.
    if !safes.is_empty() {
        return Err("has several parts");
    }
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
        let attributes = only(rest, SET).ok_or(NO_STORE)?;
        if found.len() == MAX_BAGS {
            return Err("holds more certificates than are looked at");
        }
        let alias = alias(attributes).ok_or("has a certificate that has not just one alias")?;
        found.push((alias, bag));
    }
    found.sort_unstable();
    Ok(found)
}

/// Returns the one alias among attributes, in the form in which Java compares it.
///
/// Source: `OpenJDK`, `sun/security/pkcs12/PKCS12KeyStore.java`, which looks an entry up by
/// `alias.toLowerCase(Locale.ENGLISH)`.
fn alias(mut attributes: &[u8]) -> Option<String> {
    let mut found = None;
    while !attributes.is_empty() {
        let mut attribute = next(&mut attributes, SEQUENCE)?;
        let kind = next(&mut attribute, OBJECT)?;
        let values = only(attribute, SET)?;
        if kind == FRIENDLY_NAME {
            let text = only(values, BMP_TEXT).filter(|text| text.len() % 2 == 0)?;
            let units = text.chunks_exact(2);
            let units: Vec<u16> = units
                .map(|unit| u16::from_be_bytes([unit[0], unit[1]]))
                .collect();
            let alias = String::from_utf16(&units).ok()?.to_lowercase();
            if found.replace(alias).is_some() {
                return None;
            }
        }
    }
    found
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

    /// Names a certificate; an empty alias is none.
    fn named(alias: &str) -> Vec<u8> {
        let text: Vec<u8> = alias.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let name = [der(OBJECT, FRIENDLY_NAME), der(SET, &der(BMP_TEXT, &text))];
        match alias {
            "" => der(SET, b""),
            _ => der(SET, &der(SEQUENCE, &name.concat())),
        }
    }

    fn store(kind: &[u8], entries: &[(&str, &[u8])], after: &[u8]) -> Vec<u8> {
        parts(kind, entries, after, 1)
    }

    fn parts(kind: &[u8], entries: &[(&str, &[u8])], after: &[u8], count: usize) -> Vec<u8> {
        let bags: Vec<Vec<u8>> = entries
            .iter()
            .map(|(alias, certificate)| {
                let parts = [
                    der(OBJECT, CERTIFICATE_BAG),
                    der(ZERO, certificate),
                    named(alias),
                ];
                der(SEQUENCE, &parts.concat())
            })
            .collect();
        let mut safe = info(kind, &der(SEQUENCE, &bags.concat()));
        for _ in 1..count {
            safe.extend(info(DATA, &der(SEQUENCE, b"")));
        }
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
                "java-cacerts: only the rebuilt store trusts just this certificate as “evil”",
            ),
            (
                "another under an alias",
                store(DATA, &[("two", &[3; 200]), one], b""),
                "java-cacerts: only the published store trusts just this certificate as “two”",
            ),
            (
                "two parts",
                parts(DATA, &[two, one], b"", 2),
                "java-cacerts: the rebuilt store has several parts",
            ),
            (
                "no alias",
                store(DATA, &[("", &second), one], b""),
                "java-cacerts: the rebuilt store has a certificate that has not just one alias",
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
        let (lower, upper) = (("ca", &first[..]), ("CA", &second[..]));
        let found = told(
            "etc/pki/java/cacerts",
            &store(DATA, &[lower, upper], b""),
            &store(DATA, &[upper, lower], b""),
        );
        assert_eq!(found, "java-cacerts: two entries of a store have one alias");
    }
}
