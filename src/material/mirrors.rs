//! Where bytes are asked for.

use std::str::FromStr;

use super::Error;
use crate::recipe::lockfile::{Archive, Place, PoolFile, Snapshot};

/// Whether anything but the store may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Network {
    /// It may.
    #[default]
    Online,
    /// The store alone.
    Offline,
}

/// The places to ask, besides those that the pins name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mirrors {
    /// What the user gave, asked first and in this order.
    pub given: Vec<Mirror>,
    /// What this machine's package manager is set up with, asked next and in this order.
    pub host: Vec<(Archive, String)>,
    /// Whether any of them may be asked.
    pub network: Network,
}

/// A place that has what another one has, as `--mirror` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mirror {
    /// The archive lies below this URL.
    Archive {
        /// The archive.
        archive: Archive,
        /// The URL of the folder with `dists` and `pool`.
        url: String,
    },
    /// URLs that begin so are asked for with another beginning.
    Prefix {
        /// How they begin.
        from: String,
        /// What to put in its place.
        to: String,
    },
}

impl FromStr for Mirror {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_url = |text: &str| text.starts_with("http://") || text.starts_with("https://");
        match text.split_once('=') {
            Some((from, to)) if is_url(to) && is_url(from) => Ok(Self::Prefix {
                from: from.to_owned(),
                to: to.to_owned(),
            }),
            Some((archive, url)) if is_url(url) => Ok(Self::Archive {
                archive: archive.parse()?,
                url: url.to_owned(),
            }),
            Some(_) | None => {
                Err("write ARCHIVE=URL, such as debian=https://…, or URL=URL".to_owned())
            }
        }
    }
}

impl Mirrors {
    /// Returns all URLs under which something may be had, the first to be asked first.
    ///
    /// Snapshots come last: they are slow, and few.
    pub(super) fn urls(&self, what: &str, places: &[Place]) -> Result<Vec<String>, Error> {
        let mut urls = Vec::new();
        let mut snapshots = Vec::new();
        let mut without = None;
        for place in places {
            match place {
                Place::Url(url) => urls.push(url.clone()),
                Place::Pool { file, snapshot } => {
                    let before = urls.len() + snapshots.len();
                    urls.extend(
                        self.of(file.archive).map(|mirror| {
                            format!("{}/{}", mirror.trim_end_matches('/'), file.path)
                        }),
                    );
                    snapshots.extend(
                        snapshot
                            .as_ref()
                            .and_then(|snapshot| snapshot_url(file, snapshot)),
                    );
                    if urls.len() + snapshots.len() == before {
                        without = Some(file.archive);
                    }
                }
            }
        }
        urls.append(&mut snapshots);
        if let (true, Some(archive)) = (urls.is_empty(), without) {
            let what = what.to_owned();
            return Err(Error::NoMirror { what, archive });
        }
        let mut asked = Vec::new();
        for url in urls.into_iter().flat_map(|url| self.rewritten(url)) {
            if !asked.contains(&url) {
                asked.push(url);
            }
        }
        Ok(asked)
    }

    /// Returns the mirrors of an archive.
    fn of(&self, archive: Archive) -> impl Iterator<Item = &str> {
        let given = self.given.iter().filter_map(move |mirror| match mirror {
            Mirror::Archive { archive: of, url } => (*of == archive).then_some(url.as_str()),
            Mirror::Prefix { .. } => None,
        });
        let host = self.host.iter();
        given.chain(host.filter_map(move |(of, url)| (*of == archive).then_some(url.as_str())))
    }

    /// Returns what is asked in place of a URL, and the URL itself.
    fn rewritten(&self, url: String) -> Vec<String> {
        let mut urls: Vec<String> = self
            .given
            .iter()
            .filter_map(|mirror| match mirror {
                Mirror::Prefix { from, to } => {
                    Some(format!("{to}{}", url.strip_prefix(from.as_str())?))
                }
                Mirror::Archive { .. } => None,
            })
            .collect();
        urls.push(url);
        urls
    }
}

/// Returns where the snapshots of an archive have a file, `None` where there are none.
///
/// Source: <https://snapshot.debian.org/> and <https://snapshot.ubuntu.com/>, which
/// lead each time to the last snapshot before it.
fn snapshot_url(file: &PoolFile, snapshot: &Snapshot) -> Option<String> {
    Some(format!(
        "{}/{}",
        snapshot_of(file.archive, snapshot)?,
        file.path
    ))
}

/// Returns the URL of an archive as it was at a time, `None` where there are no snapshots of it.
pub fn snapshot_of(archive: Archive, snapshot: &Snapshot) -> Option<String> {
    match archive {
        Archive::Debian | Archive::DebianSecurity => Some(format!(
            "https://snapshot.debian.org/archive/{archive}/{snapshot}"
        )),
        Archive::Ubuntu => Some(format!("https://snapshot.ubuntu.com/ubuntu/{snapshot}")),
        Archive::UbuntuPorts => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_asked_in_order_and_snapshots_last() {
        let places = [
            Place::Pool {
                file: PoolFile {
                    archive: Archive::Debian,
                    path: "pool/a".to_owned(),
                },
                snapshot: Some("20260714T000000Z".parse().unwrap()),
            },
            Place::Url("https://example.org/a".to_owned()),
        ];
        let mirrors = Mirrors {
            given: [
                "debian=http://one.example/debian/",
                "https://example.org/=http://two.example/x/",
                "ubuntu=http://three.example",
            ]
            .map(|text| text.parse().unwrap())
            .into(),
            host: vec![
                (Archive::DebianSecurity, "http://four.example".to_owned()),
                (Archive::Debian, "http://five.example".to_owned()),
                (Archive::Debian, "http://one.example/debian".to_owned()),
            ],
            network: Network::Online,
        };
        assert_eq!(
            mirrors.urls("a", &places).unwrap(),
            [
                "http://one.example/debian/pool/a",
                "http://five.example/pool/a",
                "http://two.example/x/a",
                "https://example.org/a",
                "https://snapshot.debian.org/archive/debian/20260714T000000Z/pool/a",
            ]
        );
    }

    #[test]
    fn a_mirror_is_of_an_archive_or_of_urls() {
        assert_eq!(
            "https://a/=https://b/c?d=e".parse(),
            Ok(Mirror::Prefix {
                from: "https://a/".to_owned(),
                to: "https://b/c?d=e".to_owned()
            })
        );
        for (text, problem) in [
            (
                "debain=https://a",
                "there is no archive \"debain\", did you mean \"debian\"?",
            ),
            (
                "https://a",
                "write ARCHIVE=URL, such as debian=https://…, or URL=URL",
            ),
        ] {
            assert_eq!(text.parse::<Mirror>(), Err(problem.to_owned()));
        }
    }
}
