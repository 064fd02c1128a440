//! Where a repository is said to be, and where it is looked for instead.

use std::{fmt, path::PathBuf, str::FromStr};

use reqwest::Url;

use super::Error;

/// A prefix of repository names to be replaced, for use without the internet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    from: String,
    to: String,
}

/// The text names no mirror.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a mirror (FROM=TO, the beginning of a name and what takes its place)")]
pub struct MalformedMirror {
    /// The text as written.
    pub text: String,
}

impl FromStr for Mirror {
    type Err = MalformedMirror;

    fn from_str(text: &str) -> Result<Self, MalformedMirror> {
        match text.split_once('=') {
            Some((from, to)) if !from.is_empty() && !to.is_empty() => Ok(Self {
                from: from.to_owned(),
                to: to.to_owned(),
            }),
            _ => Err(MalformedMirror {
                text: text.to_owned(),
            }),
        }
    }
}

impl fmt::Display for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.from, self.to)
    }
}

/// Returns `named` with the longest mirrored beginning replaced; of equally long ones the first counts.
pub(super) fn mirrored(named: &str, mirrors: &[Mirror]) -> String {
    let mut best: Option<(&Mirror, &str)> = None;
    for mirror in mirrors {
        if let Some(rest) = named.strip_prefix(&mirror.from)
            && best.is_none_or(|(other, _)| other.from.len() < mirror.from.len())
        {
            best = Some((mirror, rest));
        }
    }
    best.map_or_else(
        || named.to_owned(),
        |(mirror, rest)| format!("{}{rest}", mirror.to),
    )
}

/// A place that a repository can be read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Location {
    /// A repository on this machine, read where it lies.
    Local(PathBuf),
    /// A repository behind git's smart HTTP.
    Http(Url),
}

impl Location {
    /// Reads a URL or path; `ssh`, `git` and scp-like names are refused by name.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Err(Error::EmptyLocation);
        }
        if let Some((scheme, _)) = text.split_once("://") {
            let url = Url::parse(text).map_err(|source| Error::MalformedUrl {
                url: redacted(text),
                source: Box::new(source),
            })?;
            return match url.scheme() {
                "https" | "http" => Ok(Self::Http(url)),
                "file" => url
                    .to_file_path()
                    .map(Self::Local)
                    .map_err(|()| Error::RemoteFileUrl {
                        url: text.to_owned(),
                    }),
                _ => Err(Error::UnsupportedScheme {
                    location: redacted(text),
                    scheme: scheme.to_owned(),
                }),
            };
        }
        // As git has it: a colon before the first slash means host:path.
        let scp_like = text
            .find(':')
            .is_some_and(|colon| !text[..colon].contains('/'));
        if scp_like {
            return Err(Error::UnsupportedScheme {
                location: text.to_owned(),
                scheme: "ssh".to_owned(),
            });
        }
        Ok(Self::Local(PathBuf::from(text)))
    }
}

/// Returns `location` without the user and password that a URL may carry.
///
/// They are used to log in, and have no place in a report or message.
pub fn redacted(location: &str) -> String {
    let Some((scheme, rest)) = location.split_once("://") else {
        return location.to_owned();
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    match authority.rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => location.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mirrored_beginning_is_replaced() {
        let mirrors = [
            "https://github.com/=https://git.example/".parse().unwrap(),
            "https://github.com/docker-library/=/srv/git/"
                .parse()
                .unwrap(),
        ];
        let cases = [
            (
                "https://github.com/docker-library/busybox",
                "/srv/git/busybox",
            ),
            (
                "https://github.com/alpinelinux/docker-alpine",
                "https://git.example/alpinelinux/docker-alpine",
            ),
            ("https://gitlab.com/x/y", "https://gitlab.com/x/y"),
        ];
        for (named, contacted) in cases {
            assert_eq!(mirrored(named, &mirrors), contacted, "{named}");
        }
    }

    #[test]
    fn a_mirror_has_two_sides() {
        for text in ["", "=", "a=", "=b", "a"] {
            assert_eq!(
                text.parse::<Mirror>(),
                Err(MalformedMirror {
                    text: text.to_owned()
                })
            );
        }
    }

    #[test]
    fn a_location_is_a_path_a_file_url_or_smart_http() {
        let http = |text: &str| Location::Http(text.parse().unwrap());
        let cases = [
            ("https://github.com/x/y", http("https://github.com/x/y")),
            (
                "http://127.0.0.1:8080/y.git",
                http("http://127.0.0.1:8080/y.git"),
            ),
            ("file:///srv/a%20b", Location::Local("/srv/a b".into())),
            ("../here", Location::Local("../here".into())),
            ("./a:b", Location::Local("./a:b".into())),
        ];
        for (text, location) in cases {
            assert_eq!(Location::parse(text).unwrap(), location, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_name() {
        let cases = [
            (
                "ssh://git@github.com/x/y",
                "ssh://github.com/x/y is reached by ssh, which reprove does not speak: clone it and give the path, by itself or with a source mirror",
            ),
            (
                "git@github.com:x/y",
                "git@github.com:x/y is reached by ssh, which reprove does not speak: clone it and give the path, by itself or with a source mirror",
            ),
            (
                "git://example.org/y",
                "git://example.org/y is reached by git, which reprove does not speak: clone it and give the path, by itself or with a source mirror",
            ),
            ("", "the source is empty: give a URL or a path"),
            ("https://", "https:// is not a URL"),
        ];
        for (text, message) in cases {
            assert_eq!(
                Location::parse(text).unwrap_err().to_string(),
                message,
                "{text}"
            );
        }
    }

    #[test]
    fn a_password_is_taken_out_of_a_url() {
        let cases = [
            ("https://user:p@ss@host/x@y", "https://host/x@y"),
            ("https://token@host", "https://host"),
            ("https://host/x@y", "https://host/x@y"),
            ("/srv/a@b", "/srv/a@b"),
        ];
        for (location, shown) in cases {
            assert_eq!(redacted(location), shown);
        }
    }
}
