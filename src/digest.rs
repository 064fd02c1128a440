//! Hashes of bytes, kept apart by what was hashed.
//!
//! [`Digest`] names the exact bytes served; [`DiffId`] names an uncompressed
//! layer. Only SHA-256 exists here: any other algorithm is a named error, so
//! that no value is ever compared by a hash that was not computed.

use std::{fmt, io, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// The SHA-256 of the exact bytes served: a blob, a manifest, a config, a file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// The SHA-256 of a layer's uncompressed tar; never interchangeable with [`Digest`].
///
/// Source: OCI image-spec `config.md#layer-diffid`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DiffId(Digest);

/// Why a text is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The algorithm is one that reprove does not compute.
    #[error("digest {text:?} uses the algorithm {algorithm}, only sha256 is supported")]
    UnsupportedAlgorithm {
        /// The digest as written.
        text: String,
        /// The part before the colon.
        algorithm: String,
    },
    /// The text does not have the shape `sha256:` and 64 lower-case hex digits.
    #[error("{text:?} is not a digest (sha256: and 64 lower-case hex digits)")]
    Malformed {
        /// The digest as written.
        text: String,
    },
}

impl Digest {
    /// Returns the digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Returns the digest made of an already computed SHA-256.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 64 lower-case hex digits, without the algorithm.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// Returns the 32 bytes of the hash.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl DiffId {
    /// Returns the diffID of an uncompressed layer held in memory.
    pub fn of(tar: &[u8]) -> Self {
        Self(Digest::of(tar))
    }

    /// Calls the hash of an uncompressed layer its diffID.
    pub const fn from_uncompressed(digest: Digest) -> Self {
        Self(digest)
    }

    /// Returns the 64 lower-case hex digits, without the algorithm.
    pub fn hex(&self) -> String {
        self.0.hex()
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let malformed = || Error::Malformed {
            text: text.to_owned(),
        };
        let (algorithm, encoded) = text.split_once(':').ok_or_else(malformed)?;
        if algorithm != "sha256" {
            return Err(Error::UnsupportedAlgorithm {
                text: text.to_owned(),
                algorithm: algorithm.to_owned(),
            });
        }
        let lower_case = encoded
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let mut bytes = [0; 32];
        if !lower_case || hex::decode_to_slice(encoded, &mut bytes).is_err() {
            return Err(malformed());
        }
        Ok(Self(bytes))
    }
}

impl FromStr for DiffId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        text.parse().map(Self)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Display for DiffId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for DiffId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Writes the text form, reads it back, and says so in the schema.
macro_rules! as_text {
    ($type:ty, $name:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": "^sha256:[0-9a-f]{64}$" })
            }
        }
    };
}

as_text!(Digest, "Digest");
as_text!(DiffId, "DiffId");

/// Hashes what is written to it.
#[derive(Clone, Default)]
pub struct Hasher {
    state: Sha256,
    size: u64,
}

impl Hasher {
    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.state.update(bytes);
        self.size += bytes.len() as u64;
    }

    /// Returns the number of bytes hashed so far.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Returns the digest of all that was added.
    pub fn finish(self) -> Digest {
        Digest(self.state.finalize().into())
    }
}

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_only_in_its_one_spelling() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(format!("sha256:{hex}").parse(), Ok(Digest::of(b"")));
        let malformed = |text: &str| Error::Malformed {
            text: text.to_owned(),
        };
        for text in [
            hex.to_owned(),
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha256:{}", &hex[1..]),
            format!("sha256:{hex}0"),
            String::new(),
        ] {
            assert_eq!(text.parse::<Digest>(), Err(malformed(&text)), "{text}");
        }
        assert_eq!(
            "sha512:00".parse::<Digest>(),
            Err(Error::UnsupportedAlgorithm {
                text: "sha512:00".into(),
                algorithm: "sha512".into()
            })
        );
    }
}
