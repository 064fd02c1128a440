//! Java's key stores, JKS and JCEKS.
//!
//! Source: `sun.security.provider.JavaKeyStore` and
//! `com.sun.crypto.provider.JceKeyStore`, of Java's own sources.

use sha1::{Digest as _, Sha1};

use super::{
    super::Format,
    certificates,
    records::{self, Record},
};
use crate::pair::Pair;

const JKS: [u8; 4] = 0xfeed_feed_u32.to_be_bytes();
const JCEKS: [u8; 4] = 0xcece_cece_u32.to_be_bytes();

/// The password of every store of certificates that a distribution ships; it keeps nothing secret.
const PASSWORD: &str = "changeit";

/// How many entries are read, and how many certificates of all.
const MAX_ENTRIES: u32 = 100_000;

pub(super) const FORMAT: Format = Format {
    name: "key-store",
    is: |_, bytes| bytes.starts_with(&JKS) || bytes.starts_with(&JCEKS),
    compare: |sides, limits| {
        let sides = Pair::new(parse(sides.published)?, parse(sides.rebuilt)?);
        let sides = sides.map(|store| records(&store));
        let sides = sides.as_ref().map(Vec::as_slice);
        Some(records::compare(FORMAT.name, sides, limits))
    },
};

/// A store, of which every byte is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyStore<'a> {
    /// The first four bytes: JKS or JCEKS.
    pub(crate) magic: &'a [u8],
    /// 1 or 2.
    pub(crate) version: u32,
    /// The entries, in order.
    pub(crate) entries: Vec<Entry<'a>>,
    /// The hash over the password and all before it.
    pub(crate) digest: &'a [u8],
    /// Whether that is right for the password that such stores have.
    pub(crate) has_right_digest: bool,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// Its name.
    pub(crate) alias: &'a [u8],
    /// When it was made, in milliseconds since the epoch.
    pub(crate) created_at: u64,
    /// The private key; `None` for a certificate that is only trusted.
    pub(crate) key: Option<&'a [u8]>,
    /// Certificates: their type, which is empty in version 1, and bytes.
    pub(crate) certificates: Vec<(&'a [u8], &'a [u8])>,
}

/// Reads a store; `None` where it is none, or goes on after its end.
pub(crate) fn parse(bytes: &[u8]) -> Option<KeyStore<'_>> {
    let content = bytes.len().checked_sub(20)?;
    let (content, digest) = bytes.split_at(content);
    let mut rest = content;
    let magic = take(&mut rest, 4)?;
    let version = number(&mut rest)?;
    let count = number(&mut rest)?;
    if (magic != JKS && magic != JCEKS) || !(1..=2).contains(&version) || count > MAX_ENTRIES {
        return None;
    }
    let mut entries = Vec::new();
    let mut certificates_left = MAX_ENTRIES;
    for _ in 0..count {
        let tag = number(&mut rest)?;
        let alias = text(&mut rest)?;
        let created_at = u64::from_be_bytes(take(&mut rest, 8)?.try_into().ok()?);
        let (key, certificates) = match tag {
            1 => {
                let length = number(&mut rest)?;
                (Some(take(&mut rest, length)?), number(&mut rest)?)
            }
            2 => (None, 1),
            _ => return None,
        };
        let mut entry = Entry {
            alias,
            created_at,
            key,
            certificates: Vec::new(),
        };
        certificates_left = certificates_left.checked_sub(certificates)?;
        for _ in 0..certificates {
            let kind = match version {
                1 => &b""[..],
                _ => text(&mut rest)?,
            };
            let length = number(&mut rest)?;
            entry.certificates.push((kind, take(&mut rest, length)?));
        }
        entries.push(entry);
    }
    let mut hash = Sha1::new();
    for unit in PASSWORD.encode_utf16() {
        hash.update(unit.to_be_bytes());
    }
    hash.update(b"Mighty Aphrodite");
    hash.update(content);
    rest.is_empty().then(|| KeyStore {
        magic,
        version,
        entries,
        digest,
        has_right_digest: hash.finalize()[..] == *digest,
    })
}

fn take<'a>(rest: &mut &'a [u8], length: u32) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = after;
    Some(taken)
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(take(rest, 4)?.try_into().ok()?))
}

/// Reads a text in Java's modified UTF-8, after its length in two bytes.
fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u16::from_be_bytes(take(rest, 2)?.try_into().ok()?);
    take(rest, u32::from(length))
}

fn records(store: &KeyStore<'_>) -> Vec<Record> {
    let mut header = Record::new(b"store");
    header.field("type", hex::encode(store.magic).as_bytes());
    header.field("version", store.version.to_string().as_bytes());
    let entries = store.entries.iter().map(|entry| {
        let mut record = Record::new(entry.alias);
        record.field("created", time(entry.created_at).as_bytes());
        if let Some(key) = entry.key {
            record.field("private key", certificates::fingerprint(key).as_bytes());
        }
        for (kind, certificate) in &entry.certificates {
            if let Some(subject) = certificates::subject(certificate) {
                record.field("subject", subject.as_bytes());
            }
            record.field("certificate type", kind);
            let fingerprint = certificates::fingerprint(certificate);
            record.field("certificate", fingerprint.as_bytes());
        }
        record
    });
    let mut end = Record::new(b"digest");
    end.field("SHA-1", hex::encode(store.digest).as_bytes());
    let right = if store.has_right_digest {
        "fits the usual password"
    } else {
        "does not fit the usual password"
    };
    end.field("check", right.as_bytes());
    std::iter::once(header)
        .chain(entries)
        .chain([end])
        .collect()
}

fn time(milliseconds: u64) -> String {
    i64::try_from(milliseconds)
        .ok()
        .and_then(|milliseconds| jiff::Timestamp::from_millisecond(milliseconds).ok())
        .map_or_else(|| milliseconds.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::{super::testing::values, *};
    use crate::compare::content::testing::key_store;

    #[test]
    fn entries_are_compared_by_alias() {
        let published = key_store(&[("one", 0, b"1"), ("two", 0, b"2")]);
        let rebuilt = key_store(&[("one", 1000, b"1"), ("two", 0, b"2"), ("evil", 0, b"3")]);
        let (format, found) = values("etc/ssl/certs/java/cacerts", &published, &rebuilt);
        assert_eq!(format, FORMAT.name);
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(
            found[0],
            "one created: 1970-01-01T00:00:00Z | 1970-01-01T00:00:01Z"
        );
        assert!(found[1].starts_with("digest SHA-1: "), "{found:?}");
        assert_eq!(
            found[2],
            format!(
                "evil: - | created: 1970-01-01T00:00:00Z, certificate type: X.509, certificate: {}",
                certificates::fingerprint(b"3")
            )
        );
        let mut wrong = rebuilt.clone();
        *wrong.last_mut().unwrap() ^= 1;
        assert!(!parse(&wrong).unwrap().has_right_digest);
        let mut longer = rebuilt;
        longer.push(0);
        assert_eq!(parse(&longer), None);
    }
}
