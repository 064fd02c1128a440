//! Platforms: what an image runs on.

use std::{fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An operating system, a processor architecture and its variant, in Go's words.
///
/// Source: OCI image-spec `image-index.md#image-index-property-descriptions`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    /// Operating system, such as `linux`.
    pub os: String,
    /// Processor architecture, such as `amd64`.
    pub architecture: String,
    /// Variant of the architecture, such as `v8`; `None` where it is not said.
    pub variant: Option<String>,
}

/// The text names no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a platform (os/architecture or os/architecture/variant, such as linux/amd64)"
)]
pub struct Error {
    /// The text as written.
    pub text: String,
}

impl Platform {
    /// Returns the platform of this machine, by the architecture this program was compiled for.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "x86" => ("386", None),
            "aarch64" => ("arm64", None),
            "arm" => ("arm", Some("v7")),
            "powerpc64" => ("ppc64le", None),
            "loongarch64" => ("loong64", None),
            other => (other, None),
        };
        Self {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    /// Returns the one spelling of this platform that containerd compares.
    ///
    /// Other names of an architecture are replaced, and a variant that is what
    /// the architecture means anyway is left out or, for `arm`, filled in.
    ///
    /// Source: containerd/platforms `database.go`, `normalizeArch`.
    #[must_use]
    pub fn normalized(&self) -> Self {
        let os = self.os.to_lowercase();
        let architecture = self.architecture.to_lowercase();
        let variant = self.variant.as_deref().unwrap_or_default().to_lowercase();
        let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
            ("i386", _) => ("386", ""),
            ("x86_64" | "x86-64" | "amd64", "" | "v1") => ("amd64", ""),
            ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
            ("aarch64" | "arm64", "" | "8" | "v8" | "v8.0") => ("arm64", ""),
            ("aarch64" | "arm64", variant) => ("arm64", variant),
            ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
            ("armel", _) | ("arm", "6") => ("arm", "v6"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "8") => ("arm", "v8"),
            (architecture, variant) => (architecture, variant),
        };
        Self {
            os: if os == "macos" {
                "darwin".to_owned()
            } else {
                os
            },
            architecture: architecture.to_owned(),
            variant: (!variant.is_empty()).then(|| variant.to_owned()),
        }
    }

    /// Returns whether an image for `offered` is what someone who asks for `self` means.
    ///
    /// A variant that either side leaves out fits, as `arm64` and `arm64/v8`
    /// are the same; two variants that are given must agree.
    pub fn accepts(&self, offered: &Self) -> bool {
        let (wanted, normalized) = (self.normalized(), offered.normalized());
        wanted.os == normalized.os
            && wanted.architecture == normalized.architecture
            && (self.variant.is_none()
                || offered.variant.is_none()
                || wanted.variant == normalized.variant)
    }
}

impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let error = || Error {
            text: text.to_owned(),
        };
        let valid = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(|part| valid(part)) {
            return Err(error());
        }
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => return Err(error()),
        };
        Ok(Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant
            .as_ref()
            .map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

impl Serialize for Platform {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Platform {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Platform {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Platform".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[^/]+/[^/]+(/[^/]+)?$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_left_out_fits_and_two_variants_must_agree() {
        let cases = [
            ("linux/arm64", "linux/arm64/v8", true),
            ("linux/arm64/v8", "linux/arm64", true),
            ("linux/arm/v7", "linux/arm/v6", false),
            ("linux/arm", "linux/arm/v6", true),
            ("linux/amd64/v1", "linux/x86_64", true),
            ("linux/amd64/v3", "linux/amd64/v1", false),
            ("linux/amd64", "linux/arm64", false),
            ("windows/amd64", "linux/amd64", false),
        ];
        for (wanted, offered, fits) in cases {
            let platform = |text: &str| text.parse::<Platform>().unwrap();
            assert_eq!(
                platform(wanted).accepts(&platform(offered)),
                fits,
                "{wanted} {offered}"
            );
        }
    }

    #[test]
    fn a_platform_has_two_or_three_words() {
        for text in [
            "linux",
            "linux/",
            "/amd64",
            "linux/arm/v7/x",
            "linux/a md64",
            "",
        ] {
            assert_eq!(
                text.parse::<Platform>(),
                Err(Error {
                    text: text.to_owned()
                })
            );
        }
        assert_eq!(
            "linux/arm/v7".parse::<Platform>().unwrap().to_string(),
            "linux/arm/v7"
        );
    }
}
