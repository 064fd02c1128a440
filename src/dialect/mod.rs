//! Dialects: files → the exact bytes that a known builder writes, and bytes → who wrote them.
//!
//! A layer's bytes depend on the tar writer and the compressor, an image's on
//! the JSON writer too. All are out of finite tables. Knows nothing of sources
//! and recipes, and never changes a file: what differs, differs.

pub mod detect;
pub mod gzip;
pub mod json;
pub mod tar;
pub mod tarsum;

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use detect::Inferred;
pub use gzip::Compressor;

/// Which builder's tar and JSON to write.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum TarDialect {
    /// Docker's classic builder (`DOCKER_BUILDKIT=0`): file-type bits in the mode, no owner names.
    ///
    /// `buildah build` writes the same tar, but another config.
    DockerClassic,
    /// `BuildKit` and containerd: permission bits only in the mode, no owner names.
    #[serde(rename = "buildkit")]
    BuildKit,
    /// `BuildKit` as Docker Official Images patch it since November 2024: its
    /// config has no `ArgsEscaped`.
    ///
    /// Source: tianon/dockerfiles pull request 846.
    #[serde(rename = "buildkit-official")]
    BuildKitOfficial,
}

/// Which builder's rules a dialect follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builder {
    /// Docker's classic builder.
    Classic,
    /// `BuildKit`, patched or not.
    BuildKit,
}

/// The text names no dialect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a dialect (docker-classic, buildkit or buildkit-official)")]
pub struct UnknownDialect {
    /// The text as written.
    pub text: String,
}

impl TarDialect {
    /// Every dialect that can be written.
    pub const ALL: [Self; 3] = [Self::DockerClassic, Self::BuildKit, Self::BuildKitOfficial];

    /// Returns the builder whose rules the dialect follows.
    pub const fn builder(self) -> Builder {
        match self {
            Self::DockerClassic => Builder::Classic,
            Self::BuildKit | Self::BuildKitOfficial => Builder::BuildKit,
        }
    }
}

impl fmt::Display for TarDialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DockerClassic => "docker-classic",
            Self::BuildKit => "buildkit",
            Self::BuildKitOfficial => "buildkit-official",
        })
    }
}

impl FromStr for TarDialect {
    type Err = UnknownDialect;

    fn from_str(text: &str) -> Result<Self, UnknownDialect> {
        Self::ALL
            .into_iter()
            .find(|dialect| dialect.to_string() == text)
            .ok_or_else(|| UnknownDialect {
                text: text.to_owned(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialect_is_read_as_it_is_written() {
        for dialect in TarDialect::ALL {
            assert_eq!(dialect.to_string().parse(), Ok(dialect));
            assert_eq!(
                serde_json::to_string(&dialect).unwrap(),
                format!("\"{dialect}\"")
            );
        }
        assert_eq!(
            "gnu".parse::<TarDialect>().unwrap_err().to_string(),
            "\"gnu\" is not a dialect (docker-classic, buildkit or buildkit-official)"
        );
    }
}
