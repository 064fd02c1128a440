//! Answers: a URL → the pinned bytes that the lock has for it.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use reqwest::Url;

use super::Error;
use crate::{
    digest::Digest,
    recipe::lockfile::{Archive, Pin, Place, Snapshot},
};

/// What every URL is answered with.
///
/// A URL of the lock is answered by itself alone, its query included. A file of
/// a distribution's archive is answered on any host, below a folder that has
/// the archive's name: `http://mirror.example/debian/pool/…` and
/// `https://snapshot.debian.org/archive/debian/20260714T000000Z/pool/…` are
/// the same file.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    urls: BTreeMap<String, Answer>,
    pool: BTreeMap<(Archive, String), Answer>,
}

/// Some pinned bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// What a person calls them.
    pub(super) name: String,
    pub(super) digest: Digest,
    /// In bytes.
    pub(super) size: u64,
}

impl Answers {
    /// Takes the places of all pins.
    ///
    /// Fails with [`Error::TwoAnswers`] where one URL would have two.
    pub fn of(pins: &[Pin]) -> Result<Self, Error> {
        let mut answers = Self::default();
        for pin in pins {
            for place in &pin.places {
                let answer = Answer {
                    name: pin.name.clone(),
                    digest: pin.digest,
                    size: pin.size,
                };
                match place {
                    Place::Url(url) => {
                        // What is no URL cannot be asked for either.
                        let url = canonical(url).unwrap_or_else(|| url.clone());
                        put(&mut answers.urls, url, answer, String::clone)?;
                    }
                    Place::Pool { file, snapshot: _ } => {
                        let key = (file.archive, file.path.clone());
                        put(&mut answers.pool, key, answer, |(archive, path)| {
                            format!("{archive}/{path}")
                        })?;
                    }
                }
            }
        }
        Ok(answers)
    }

    /// Returns the answer to a URL in its canonical form.
    pub(super) fn to(&self, url: &str) -> Option<&Answer> {
        self.urls.get(url).or_else(|| self.in_pool(url))
    }

    /// Says whether a host is named by the lock; `root` is its URL and ends with `/`.
    pub(super) fn name(&self, root: &str) -> bool {
        self.urls.keys().any(|url| url.starts_with(root))
    }

    fn in_pool(&self, url: &str) -> Option<&Answer> {
        let url = Url::parse(url).ok()?;
        if url.query().is_some() || !["http", "https"].contains(&url.scheme()) {
            return None;
        }
        // apt writes `+` and `~` as `%2b` and `%7e`.
        let segments: Vec<String> = url
            .path_segments()?
            .map(|segment| {
                percent_decode_str(segment)
                    .decode_utf8()
                    .ok()
                    .map(String::from)
            })
            .collect::<Option<_>>()?;
        if segments.iter().any(|segment| segment.contains('/')) {
            return None;
        }
        (0..segments.len()).find_map(|at| {
            let archive: Archive = segments[at].parse().ok()?;
            let below = &segments[at + 1..];
            let find = |path: &[String]| self.pool.get(&(archive, path.join("/")));
            find(below).or_else(|| {
                let (first, rest) = below.split_first()?;
                first.parse::<Snapshot>().ok()?;
                find(rest)
            })
        })
    }
}

fn put<K: Ord>(
    map: &mut BTreeMap<K, Answer>,
    key: K,
    answer: Answer,
    shown: impl FnOnce(&K) -> String,
) -> Result<(), Error> {
    match map.get(&key) {
        Some(other) if other.digest != answer.digest => Err(Error::TwoAnswers {
            url: shown(&key),
            one: other.name.clone(),
            other: answer.name,
        }),
        Some(_) => Ok(()),
        None => {
            map.insert(key, answer);
            Ok(())
        }
    }
}

/// Returns a URL in the one form in which it is compared and shown.
///
/// Without fragment, user and password, which are no part of what is asked for;
/// the host in small letters, the usual port left out, `..` followed.
pub(super) fn canonical(url: &str) -> Option<String> {
    let mut url = Url::parse(url).ok()?;
    url.set_fragment(None);
    url.host_str()?;
    // A URL with a host can have a user, so it can have none.
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Some(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::lockfile::PoolFile;

    fn pin(name: &str, bytes: &[u8], places: Vec<Place>) -> Pin {
        Pin {
            name: name.to_owned(),
            purl: None,
            size: bytes.len() as u64,
            digest: Digest::of(bytes),
            grade: None,
            places,
        }
    }

    fn url(text: &str) -> Place {
        Place::Url(text.to_owned())
    }

    fn pool(archive: Archive, path: &str) -> Place {
        Place::Pool {
            file: PoolFile {
                archive,
                path: path.to_owned(),
            },
            snapshot: None,
        }
    }

    #[test]
    fn a_url_is_answered_by_itself_alone_and_a_pool_file_on_any_host() {
        let answers = Answers::of(&[
            pin(
                "file",
                b"1",
                vec![url("https://ann:pw@Example.org:443/a?b=c#d")],
            ),
            pin("plain", b"2", vec![url("http://example.org/x+y")]),
            pin(
                "deb",
                b"3",
                vec![pool(Archive::Debian, "pool/a/a_1+b~2_all.deb")],
            ),
            pin(
                "sec",
                b"4",
                vec![pool(Archive::DebianSecurity, "pool/s.deb")],
            ),
        ])
        .unwrap();
        let cases = [
            ("https://example.org/a?b=c", Some("file")),
            ("https://EXAMPLE.org/a?b=c", Some("file")),
            ("https://example.org/a?b=d", None),
            ("https://example.org/a", None),
            ("https://example.org:444/a?b=c", None),
            ("http://example.org/a?b=c", None),
            ("http://example.org:80/x+y", Some("plain")),
            ("http://example.org/x+y?", None),
            ("http://example.org/x%2By", None),
            (
                "http://mirror.example/debian/pool/a/a_1%2bb%7e2_all.deb",
                Some("deb"),
            ),
            (
                "https://mirror:8080/some/debian/pool/a/a_1+b~2_all.deb",
                Some("deb"),
            ),
            (
                "http://snapshot.debian.org/archive/debian/20260714T000000Z/pool/a/a_1+b~2_all.deb",
                Some("deb"),
            ),
            ("http://x/archive/debian/today/pool/a/a_1+b~2_all.deb", None),
            ("http://x/ubuntu/pool/a/a_1+b~2_all.deb", None),
            ("http://x/debian/pool%2Fa/a_1+b~2_all.deb", None),
            ("http://x/debian/pool/a/a_1+b~2_all.deb?v=2", None),
            ("http://x/pool/a/a_1+b~2_all.deb", None),
            ("ftp://x/debian/pool/a/a_1+b~2_all.deb", None),
            ("http://x/debian-security/pool/s.deb", Some("sec")),
            ("http://x/debian/pool/s.deb", None),
        ];
        for (url, expected) in cases {
            let answer = answers.to(&canonical(url).unwrap());
            assert_eq!(answer.map(|answer| &*answer.name), expected, "{url}");
        }
    }

    #[test]
    fn two_kinds_of_bytes_for_one_url_are_an_error() {
        let same = [
            pin("one", b"1", vec![url("https://example.org/a")]),
            pin("two", b"1", vec![url("https://example.org:443/a")]),
        ];
        assert!(Answers::of(&same).is_ok());
        let other = [
            pin("one", b"1", vec![pool(Archive::Debian, "pool/a")]),
            pin("two", b"2", vec![pool(Archive::Debian, "pool/a")]),
        ];
        assert_eq!(
            Answers::of(&other).unwrap_err().to_string(),
            "debian/pool/a is both one and two in the lock"
        );
    }
}
