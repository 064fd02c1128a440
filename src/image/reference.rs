//! Image names: what a user types, and where it leads.
//!
//! A name may move; what it leads to is pinned when the image is read. Names of
//! registries follow Docker's rules (`docker.io`, `library/` and `latest` are
//! filled in); the others begin with what they name, as skopeo writes them.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use oci_client::Reference;

use crate::digest::{self, Digest};

/// The name of an image, as the user types it.
///
/// ```
/// use reprove::image::ImageName;
///
/// let name: ImageName = "busybox".parse()?;
/// assert_eq!(name.to_string(), "docker.io/library/busybox:latest");
/// # Ok::<(), reprove::image::reference::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageName {
    /// `NAME[:TAG][@DIGEST]`, also after `docker://`: a registry's repository.
    Registry(RegistryName),
    /// `oci:DIRECTORY[:TAG][@DIGEST]`: an OCI layout.
    Layout {
        /// Where the layout lies.
        directory: PathBuf,
        /// Which of its images.
        selection: Selection,
    },
    /// `oci-archive:FILE[:TAG][@DIGEST]`: a tar of an OCI layout.
    OciArchive {
        /// The tar.
        file: PathBuf,
        /// Which of its images.
        selection: Selection,
    },
    /// `docker-archive:FILE[:REFERENCE]`: what `docker save` writes.
    DockerArchive {
        /// The tar.
        file: PathBuf,
        /// Which of its images, as in `RepoTags`; `None` for the only one.
        reference: Option<String>,
    },
    /// `listing:FILE`: a listing, which has hashes but no bytes.
    Listing {
        /// The listing.
        file: PathBuf,
    },
}

/// Which of a layout's images is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// The one that the layout calls so; `None` for the only one.
    pub tag: Option<String>,
    /// The one with this manifest or index; together with a tag, both must fit.
    pub digest: Option<Digest>,
}

/// An image in a registry, with all that Docker would fill in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryName {
    /// Host, and port where one is given, such as `docker.io`.
    pub registry: String,
    /// Repository, such as `library/busybox`.
    pub repository: String,
    /// Tag; `None` only where a digest is given without one.
    pub tag: Option<String>,
    /// Digest; it settles which image is meant, and a tag beside it is only shown.
    pub digest: Option<Digest>,
}

/// Why a text names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing is there where a path should be.
    #[error("{text:?} names no {kind}: write {prefix}PATH")]
    NoPath {
        /// The text as written.
        text: String,
        /// What the path should lead to.
        kind: &'static str,
        /// What begins such names.
        prefix: &'static str,
    },
    /// The text is a path that exists, but does not say what lies there.
    #[error("{text:?} is a path, not the name of an image: did you mean {meant}?")]
    Path {
        /// The text as written.
        text: String,
        /// The name that probably was meant.
        meant: String,
    },
    /// The text begins like a name of another tool's that is not supported.
    #[error("{text:?} begins with {prefix}, which is none of {}", KINDS.join(", "))]
    UnknownKind {
        /// The text as written.
        text: String,
        /// What it begins with.
        prefix: String,
    },
    /// The text is not a registry's name either.
    #[error("{text:?} is not the name of an image: {problem}")]
    Malformed {
        /// The text as written.
        text: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The digest in the text cannot be used.
    #[error("{text:?} names an image by a digest that cannot be checked")]
    Digest {
        /// The text as written.
        text: String,
        /// What is wrong with the digest.
        source: digest::Error,
    },
}

/// What names may begin with.
const KINDS: [&str; 5] = [
    "oci:",
    "oci-archive:",
    "docker-archive:",
    "listing:",
    "docker://",
];

/// What begins other tools' names of images, none of which is a registry's name.
const UNSUPPORTED: [&str; 5] = [
    "containers-storage:",
    "dir:",
    "docker-daemon:",
    "ostree:",
    "sif:",
];

impl ImageName {
    /// Returns the repository with its registry, such as `docker.io/library/busybox`.
    ///
    /// `None` for what lies in a file.
    pub fn repository(&self) -> Option<String> {
        match self {
            Self::Registry(name) => Some(format!("{}/{}", name.registry, name.repository)),
            Self::Layout { .. }
            | Self::OciArchive { .. }
            | Self::DockerArchive { .. }
            | Self::Listing { .. } => None,
        }
    }

    /// Returns whether the image's bytes are behind the name.
    ///
    /// A listing only says what they are: that is nobody's reading of them.
    pub const fn has_bytes(&self) -> bool {
        match self {
            Self::Registry(_)
            | Self::Layout { .. }
            | Self::OciArchive { .. }
            | Self::DockerArchive { .. } => true,
            Self::Listing { .. } => false,
        }
    }

    /// Returns the digest of the manifest or index, where the name has one.
    pub const fn digest(&self) -> Option<Digest> {
        match self {
            Self::Registry(name) => name.digest,
            Self::Layout { selection, .. } | Self::OciArchive { selection, .. } => selection.digest,
            Self::DockerArchive { .. } | Self::Listing { .. } => None,
        }
    }

    /// Returns the tag that the user named, where there is one.
    pub fn tag(&self) -> Option<&str> {
        match self {
            Self::Registry(name) => name.tag.as_deref(),
            Self::Layout { selection, .. } | Self::OciArchive { selection, .. } => {
                selection.tag.as_deref()
            }
            Self::DockerArchive { .. } | Self::Listing { .. } => None,
        }
    }
}

impl FromStr for ImageName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let path = |rest: &str, kind, prefix| match rest {
            "" => Err(Error::NoPath {
                text: text.to_owned(),
                kind,
                prefix,
            }),
            path => Ok(PathBuf::from(path)),
        };
        if let Some(rest) = text.strip_prefix("oci:") {
            let (directory, selection) = selected(text, rest)?;
            Ok(Self::Layout {
                directory: path(directory, "OCI layout", "oci:")?,
                selection,
            })
        } else if let Some(rest) = text.strip_prefix("oci-archive:") {
            let (file, selection) = selected(text, rest)?;
            Ok(Self::OciArchive {
                file: path(file, "archive", "oci-archive:")?,
                selection,
            })
        } else if let Some(rest) = text.strip_prefix("docker-archive:") {
            let (file, reference) = match rest.split_once(':') {
                Some((file, reference)) => (file, Some(reference.to_owned())),
                None => (rest, None),
            };
            let reference = reference.filter(|reference| !reference.is_empty());
            Ok(Self::DockerArchive {
                file: path(file, "archive", "docker-archive:")?,
                reference,
            })
        } else if let Some(rest) = text.strip_prefix("listing:") {
            Ok(Self::Listing {
                file: path(rest, "listing", "listing:")?,
            })
        } else if let Some(prefix) = UNSUPPORTED.iter().find(|prefix| text.starts_with(**prefix)) {
            Err(Error::UnknownKind {
                text: text.to_owned(),
                prefix: (*prefix).to_owned(),
            })
        } else {
            text.strip_prefix("docker://")
                .unwrap_or(text)
                .parse()
                .map(Self::Registry)
        }
    }
}

/// Splits `PATH[:TAG][@DIGEST]`; a path has no colon in it, as in skopeo.
fn selected<'a>(text: &str, rest: &'a str) -> Result<(&'a str, Selection), Error> {
    let algorithm = |text: &str| {
        text.split_once(':').is_some_and(|(algorithm, encoded)| {
            !algorithm.is_empty()
                && algorithm
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"+._-".contains(&byte))
                && encoded.len() >= 32
                && encoded.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    };
    let (rest, digest) = match rest.rsplit_once('@') {
        Some((rest, digest)) if algorithm(digest) => (
            rest,
            Some(digest.parse().map_err(|source| Error::Digest {
                text: text.to_owned(),
                source,
            })?),
        ),
        _ => (rest, None),
    };
    let (path, tag) = match rest.split_once(':') {
        Some((path, tag)) => (path, Some(tag.to_owned()).filter(|tag| !tag.is_empty())),
        None => (rest, None),
    };
    Ok((path, Selection { tag, digest }))
}

impl FromStr for RegistryName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let malformed = |problem: &str| {
            suggestion(text).unwrap_or_else(|| Error::Malformed {
                text: text.to_owned(),
                problem: problem.to_owned(),
            })
        };
        // The crate knows no addresses of IPv6, which Docker takes in brackets.
        let (address, rest) = match text
            .starts_with('[')
            .then(|| text.split_once('/'))
            .flatten()
        {
            Some((address, rest)) if is_ipv6(address) => {
                (Some(address), format!("ipv6.invalid/{rest}"))
            }
            _ => (None, text.to_owned()),
        };
        let reference = Reference::try_from(rest.as_str()).map_err(|error| {
            malformed(&if rest.chars().any(char::is_uppercase) {
                "a repository is written in lower case, as NAME[:TAG][@DIGEST]".to_owned()
            } else {
                format!("{error}; it is written NAME[:TAG][@DIGEST]")
            })
        })?;
        let repository = reference.repository();
        if repository.chars().any(char::is_uppercase) {
            return Err(malformed("a repository is written in lower case"));
        }
        // Docker's rule: it could be an image ID.
        if repository.strip_prefix("library/").is_some_and(|name| {
            name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
        }) {
            return Err(malformed(
                "64 hexadecimal digits are an ID, not a repository",
            ));
        }
        let digest = reference
            .digest()
            .map(str::parse)
            .transpose()
            .map_err(|source| Error::Digest {
                text: text.to_owned(),
                source,
            })?;
        Ok(Self {
            registry: address.unwrap_or(reference.registry()).to_owned(),
            repository: repository.to_owned(),
            tag: reference.tag().map(str::to_owned),
            digest,
        })
    }
}

/// Returns whether `text` is an address of IPv6 in brackets, and perhaps a port.
fn is_ipv6(text: &str) -> bool {
    let Some((address, port)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) else {
        return false;
    };
    let port_is_fine = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|port| port.parse::<u16>().is_ok());
    port_is_fine && address.parse::<std::net::Ipv6Addr>().is_ok()
}

/// Returns what may have been meant by a path; `None` where nothing lies there.
fn suggestion(text: &str) -> Option<Error> {
    let path = Path::new(text.split_once(':').map_or(text, |(path, _)| path));
    let is_tar = path.extension().is_some_and(|extension| extension == "tar");
    let kind = if path.is_dir() {
        "oci:"
    } else if path.is_file() && is_tar {
        "oci-archive:"
    } else if path.is_file() {
        "listing:"
    } else {
        return None;
    };
    Some(Error::Path {
        text: text.to_owned(),
        meant: format!("{kind}{text}"),
    })
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(name) => name.fmt(f),
            Self::Layout {
                directory,
                selection,
            } => {
                write!(f, "oci:{}{selection}", directory.display())
            }
            Self::OciArchive { file, selection } => {
                write!(f, "oci-archive:{}{selection}", file.display())
            }
            Self::DockerArchive { file, reference } => {
                write!(f, "docker-archive:{}", file.display())?;
                reference
                    .as_ref()
                    .map_or(Ok(()), |reference| write!(f, ":{reference}"))
            }
            Self::Listing { file } => write!(f, "listing:{}", file.display()),
        }
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest
            .as_ref()
            .map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

impl fmt::Display for RegistryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest
            .as_ref()
            .map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_are_completed_as_docker_does_and_read_back() {
        let cases = [
            (
                "busybox".to_owned(),
                "docker.io/library/busybox:latest".to_owned(),
            ),
            (
                "docker://busybox:1.37".to_owned(),
                "docker.io/library/busybox:1.37".to_owned(),
            ),
            (
                "docker.io/busybox".to_owned(),
                "docker.io/library/busybox:latest".to_owned(),
            ),
            (
                "index.docker.io/a/b".to_owned(),
                "docker.io/a/b:latest".to_owned(),
            ),
            ("localhost/x".to_owned(), "localhost/x:latest".to_owned()),
            (
                "localhost:5000/x".to_owned(),
                "localhost:5000/x:latest".to_owned(),
            ),
            ("[::1]:5000/x:y".to_owned(), "[::1]:5000/x:y".to_owned()),
            (
                "ghcr.io/a/b/c:Tag".to_owned(),
                "ghcr.io/a/b/c:Tag".to_owned(),
            ),
            (
                format!("a@sha256:{HEX}"),
                format!("docker.io/library/a@sha256:{HEX}"),
            ),
            (
                format!("a:1@sha256:{HEX}"),
                format!("docker.io/library/a:1@sha256:{HEX}"),
            ),
            ("oci:/a/b".to_owned(), "oci:/a/b".to_owned()),
            ("oci:b:x:1.37".to_owned(), "oci:b:x:1.37".to_owned()),
            (format!("oci:b@sha256:{HEX}"), format!("oci:b@sha256:{HEX}")),
            (
                format!("oci:b:@sha256:{HEX}"),
                format!("oci:b@sha256:{HEX}"),
            ),
            (
                format!("oci-archive:b.tar:t@sha256:{HEX}"),
                format!("oci-archive:b.tar:t@sha256:{HEX}"),
            ),
            ("oci:a@b".to_owned(), "oci:a@b".to_owned()),
            (
                "docker-archive:b.tar:a/b:c".to_owned(),
                "docker-archive:b.tar:a/b:c".to_owned(),
            ),
            ("listing:a:b".to_owned(), "listing:a:b".to_owned()),
        ];
        for (text, shown) in cases {
            let name: ImageName = text.parse().unwrap();
            assert_eq!(name.to_string(), shown, "{text}");
            assert_eq!(shown.parse::<ImageName>(), Ok(name), "{text}");
        }
    }

    #[test]
    fn a_text_that_names_no_image_is_told_why() {
        let cases = [
            (String::new(), "is not the name of an image"),
            ("BusyBox".to_owned(), "lower case"),
            ("Foo/bar".to_owned(), "lower case"),
            ("example.com/Foo".to_owned(), "lower case"),
            (HEX.to_owned(), "an ID"),
            ("a:".to_owned(), "NAME[:TAG][@DIGEST]"),
            ("a@sha256:12".to_owned(), "NAME[:TAG][@DIGEST]"),
            ("http://a/b".to_owned(), "NAME[:TAG][@DIGEST]"),
            (format!("a@sha512:{HEX}{HEX}"), "cannot be checked"),
            (format!("oci:a@sha512:{HEX}{HEX}"), "cannot be checked"),
            ("oci:".to_owned(), "write oci:PATH"),
            ("oci::tag".to_owned(), "write oci:PATH"),
            ("listing:".to_owned(), "write listing:PATH"),
            (
                "docker-daemon:busybox:latest".to_owned(),
                "which is none of",
            ),
        ];
        for (text, problem) in cases {
            let error = text.parse::<ImageName>().unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn a_path_without_a_kind_is_told_which_kind_it_may_be() {
        let directory = tempfile::tempdir().unwrap();
        let tar = directory.path().join("a.tar");
        std::fs::write(&tar, b"").unwrap();
        for (path, kind) in [(directory.path(), "oci:"), (tar.as_path(), "oci-archive:")] {
            let text = path.to_str().unwrap();
            let meant = format!("{kind}{text}");
            assert_eq!(
                text.parse::<ImageName>(),
                Err(Error::Path {
                    text: text.to_owned(),
                    meant
                })
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic_and_what_it_shows_is_read_back(text in "\\PC{0,80}") {
            if let Ok(name) = text.parse::<ImageName>() {
                proptest::prop_assert_eq!(name.to_string().parse::<ImageName>(), Ok(name));
            }
        }

        #[test]
        fn texts_like_names_are_read_back(text in "(oci:|docker-archive:|docker://)?[a-z]{1,3}[:/@a-zA-Z0-9.-]{0,80}") {
            if let Ok(name) = text.parse::<ImageName>() {
                proptest::prop_assert_eq!(name.to_string().parse::<ImageName>(), Ok(name));
            }
        }
    }
}
