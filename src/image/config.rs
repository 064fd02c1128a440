//! Image configs: what of their bytes is needed to read layers and to find the source.
//!
//! The bytes stay the identity; what is compared is compared on them. Unknown
//! fields are left alone here. See OCI image-spec `config.md`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    Error, Platform, RawConfig,
    json::{self, Document},
};
use crate::digest::{DiffId, Digest};

/// The largest config that is read, in bytes; the largest ones seen have some hundred KiB.
pub const MAX_CONFIG: u64 = 8 << 20;

/// What an image config says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What the image runs on.
    pub platform: Platform,
    /// The layers' diffIDs, base first.
    pub diff_ids: Vec<DiffId>,
    /// When the image was made, as written; RFC 3339 by the specification.
    pub created: Option<String>,
    /// How each layer came to be, base first; steps that made no layer included.
    pub history: Vec<History>,
    /// The labels.
    pub labels: BTreeMap<String, String>,
}

/// One step of an image's making, as its builder tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct History {
    /// When, as written.
    pub created: Option<String>,
    /// The command.
    pub created_by: Option<String>,
    /// Who.
    pub author: Option<String>,
    /// The builder's remark.
    pub comment: Option<String>,
    /// Whether the step made no layer.
    #[serde(default)]
    pub empty_layer: bool,
}

#[derive(Deserialize)]
struct RawFields {
    architecture: Option<String>,
    os: Option<String>,
    variant: Option<String>,
    created: Option<String>,
    rootfs: Option<RawRootfs>,
    history: Option<Vec<History>>,
    config: Option<RawRunning>,
}

#[derive(Deserialize)]
struct RawRootfs {
    r#type: Option<String>,
    diff_ids: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct RawRunning {
    #[serde(rename = "Labels")]
    labels: Option<BTreeMap<String, String>>,
}

impl RawConfig {
    /// Returns the config with these bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self {
            digest: Digest::of(&bytes),
            bytes,
        }
    }

    /// Returns what the config says; `what` names it in errors.
    pub fn parse(&self, what: &str) -> Result<Config, Error> {
        let invalid = |problem: &str| Error::Invalid {
            what: what.to_owned(),
            problem: problem.to_owned(),
        };
        let raw: RawFields = json::parse(Document::Config, what, &self.bytes)?;
        let rootfs = raw.rootfs.ok_or_else(|| invalid("has no rootfs"))?;
        if rootfs
            .r#type
            .as_deref()
            .is_some_and(|kind| kind != "layers")
        {
            return Err(invalid("has a rootfs that is not of layers"));
        }
        let diff_ids = rootfs
            .diff_ids
            .unwrap_or_default()
            .iter()
            .map(|text| text.parse())
            .collect::<Result<_, _>>()
            .map_err(|source| Error::Digest {
                what: what.to_owned(),
                source,
            })?;
        let architecture = raw.architecture.filter(|text| !text.is_empty());
        let os = raw.os.filter(|text| !text.is_empty());
        Ok(Config {
            platform: Platform {
                os: os.ok_or_else(|| invalid("names no operating system"))?,
                architecture: architecture.ok_or_else(|| invalid("names no architecture"))?,
                variant: raw.variant.filter(|text| !text.is_empty()),
            },
            diff_ids,
            created: raw.created,
            history: raw.history.unwrap_or_default(),
            labels: raw
                .config
                .and_then(|running| running.labels)
                .unwrap_or_default(),
        })
    }
}
