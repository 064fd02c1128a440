//! Names that git gives to objects.

use std::{fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The text is no object id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an object id (40 lower-case hex digits)")]
pub struct MalformedId {
    /// The text as written.
    pub text: String,
}

macro_rules! object_id {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type([u8; 20]);

        impl $type {
            /// Returns the 20 bytes of the id.
            pub const fn as_bytes(&self) -> &[u8; 20] {
                &self.0
            }

            pub(super) fn new(oid: git2::Oid) -> Self {
                Self(oid.as_bytes().try_into().expect("git2 is built for ids of 20 bytes"))
            }
        }

        impl FromStr for $type {
            type Err = MalformedId;

            fn from_str(text: &str) -> Result<Self, MalformedId> {
                let mut bytes = [0; 20];
                let lower_case = !text.bytes().any(|byte| byte.is_ascii_uppercase());
                if lower_case && hex::decode_to_slice(text, &mut bytes).is_ok() {
                    Ok(Self(bytes))
                } else {
                    Err(MalformedId { text: text.to_owned() })
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

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
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": "^[0-9a-f]{40}$" })
            }
        }
    };
}

object_id! {
    /// The id of a commit: the SHA-1 of its header and text.
    CommitId
}
object_id! {
    /// The id of a tree: it covers every name, mode and byte below it, but no times.
    TreeId
}
object_id! {
    /// The id of whatever a tree's entry points at: a blob, a tree, a submodule's commit.
    ObjectId
}

impl TreeId {
    pub(super) fn oid(self) -> git2::Oid {
        git2::Oid::from_bytes(&self.0).expect("20 bytes are an id")
    }
}

impl ObjectId {
    pub(super) fn oid(self) -> git2::Oid {
        git2::Oid::from_bytes(&self.0).expect("20 bytes are an id")
    }
}
