//! Manifests: the bytes served, and what of them is needed to reach config and layers.
//!
//! Nothing is guessed: a document whose media type and fields disagree, a size
//! that no blob has, embedded data other than what its digest names, and
//! whatever is no image are errors. See [OCI image-spec] `manifest.md`,
//! `image-index.md` and `descriptor.md`.
//!
//! [OCI image-spec]: https://github.com/opencontainers/image-spec

use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

use super::{
    Error, Platform,
    json::{self, Document},
};
use crate::digest::Digest;

/// The largest manifest or index that is read, in bytes; the distribution
/// specification names 4 MiB as what registries should take.
pub const MAX_MANIFEST: u64 = 4 << 20;

/// A platform's manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The digest of `bytes`.
    pub digest: Digest,
    /// The manifest exactly as served.
    pub bytes: Vec<u8>,
    /// What kind of manifest it is.
    pub media_type: MediaType,
    /// The config.
    pub config: Descriptor,
    /// The layers, base first.
    pub layers: Vec<Descriptor>,
}

/// What names a blob: its media type, digest and size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// What the bytes are said to be.
    pub media_type: MediaType,
    /// The digest of the bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// The bytes themselves, where the descriptor embeds them (already checked).
    pub data: Option<Vec<u8>>,
}

/// A media type as written in a document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediaType(pub String);

impl MediaType {
    /// OCI image index.
    pub const OCI_INDEX: &'static str = "application/vnd.oci.image.index.v1+json";
    /// OCI image manifest.
    pub const OCI_MANIFEST: &'static str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image config.
    pub const OCI_CONFIG: &'static str = "application/vnd.oci.image.config.v1+json";
    /// OCI layer, uncompressed.
    pub const OCI_LAYER: &'static str = "application/vnd.oci.image.layer.v1.tar";
    /// OCI layer, gzip.
    pub const OCI_LAYER_GZIP: &'static str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// OCI layer, zstd.
    pub const OCI_LAYER_ZSTD: &'static str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// Docker manifest list.
    pub const DOCKER_INDEX: &'static str =
        "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker image manifest, version 2 schema 2.
    pub const DOCKER_MANIFEST: &'static str =
        "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker image config.
    pub const DOCKER_CONFIG: &'static str = "application/vnd.docker.container.image.v1+json";
    /// Docker layer, gzip.
    pub const DOCKER_LAYER_GZIP: &'static str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Docker layer, uncompressed.
    pub const DOCKER_LAYER: &'static str = "application/vnd.docker.image.rootfs.diff.tar";

    /// OCI layer that registries need not keep, uncompressed.
    pub const OCI_FOREIGN_LAYER: &'static str =
        "application/vnd.oci.image.layer.nondistributable.v1.tar";
    /// Docker layer that lies elsewhere, gzip.
    pub const DOCKER_FOREIGN_LAYER_GZIP: &'static str =
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    /// Docker layer that lies elsewhere, uncompressed.
    pub const DOCKER_FOREIGN_LAYER: &'static str =
        "application/vnd.docker.image.rootfs.foreign.diff.tar";
    /// Docker image manifest, version 2 schema 1: history in place of a config, not supported.
    pub const DOCKER_SCHEMA_1: &'static str =
        "application/vnd.docker.distribution.manifest.v1+json";
    /// The same, signed.
    pub const DOCKER_SCHEMA_1_SIGNED: &'static str =
        "application/vnd.docker.distribution.manifest.v1+prettyjws";

    /// Returns whether this is an index or manifest list.
    pub fn is_index(&self) -> bool {
        [Self::OCI_INDEX, Self::DOCKER_INDEX].contains(&self.0.as_str())
    }

    /// Returns whether this is a manifest of one platform.
    pub fn is_manifest(&self) -> bool {
        [Self::OCI_MANIFEST, Self::DOCKER_MANIFEST].contains(&self.0.as_str())
    }

    /// Returns whether this is the config of an image, and not of some other artifact.
    pub fn is_config(&self) -> bool {
        [Self::OCI_CONFIG, Self::DOCKER_CONFIG].contains(&self.0.as_str())
    }

    /// Returns whether this is a layer of an image, however compressed.
    ///
    /// containerd takes what follows `+` as the compression, and Docker's types
    /// with `+zstd` are seen in the wild.
    pub fn is_layer(&self) -> bool {
        let (kind, compression) = self.0.split_once('+').unwrap_or((&self.0, ""));
        ["", "gzip", "zstd"].contains(&compression)
            && [
                Self::OCI_LAYER,
                Self::OCI_FOREIGN_LAYER,
                Self::DOCKER_LAYER,
                Self::DOCKER_LAYER_GZIP,
                Self::DOCKER_FOREIGN_LAYER,
                Self::DOCKER_FOREIGN_LAYER_GZIP,
            ]
            .contains(&kind)
    }

    /// Returns whether this is a manifest of the first Docker format.
    pub fn is_schema_1(&self) -> bool {
        [Self::DOCKER_SCHEMA_1, Self::DOCKER_SCHEMA_1_SIGNED].contains(&self.0.as_str())
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a document that a digest or tag led to turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Served {
    /// An index, with its entries.
    Index(Vec<IndexEntry>),
    /// A manifest.
    Manifest(Manifest),
}

/// One entry of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IndexEntry {
    /// What it names.
    pub(super) descriptor: Descriptor,
    /// What platform it is said to be for.
    pub(super) platform: StatedPlatform,
    /// Its annotations.
    pub(super) annotations: BTreeMap<String, String>,
}

/// What an index says of an entry's platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StatedPlatform {
    /// Nothing: the config says it.
    Unstated,
    /// That it is none: `unknown/unknown`, as BuildKit marks attestations.
    Unknown,
    /// This one.
    Is(Platform),
}

impl IndexEntry {
    /// Returns whether this is an attestation, which nothing runs.
    ///
    /// The annotation alone does not do: runtimes choose by platform, and would
    /// run an entry so annotated that states a real one.
    pub(super) fn is_attestation(&self) -> bool {
        self.platform == StatedPlatform::Unknown
            && self
                .annotations
                .get("vnd.docker.reference.type")
                .map(String::as_str)
                == Some("attestation-manifest")
    }

    /// Returns the tag that a layout gives this entry.
    pub(super) fn ref_name(&self) -> Option<&str> {
        self.annotations
            .get("org.opencontainers.image.ref.name")
            .map(String::as_str)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    schema_version: Option<serde_json::Number>,
    media_type: Option<String>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    manifests: Option<Vec<RawDescriptor>>,
    fs_layers: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    media_type: Option<String>,
    digest: String,
    size: serde_json::Number,
    urls: Option<Vec<String>>,
    data: Option<String>,
    platform: Option<RawPlatform>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct RawPlatform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    variant: Option<String>,
}

impl RawDescriptor {
    fn check(&self, what: &str) -> Result<Descriptor, Error> {
        let invalid = |problem: String| Error::Invalid {
            what: what.to_owned(),
            problem,
        };
        let digest: Digest = self.digest.parse().map_err(|source| Error::Digest {
            what: what.to_owned(),
            source,
        })?;
        // Go reads sizes as int64; a larger one is negative or an error there.
        let size = self
            .size
            .as_u64()
            .filter(|&size| i64::try_from(size).is_ok())
            .ok_or_else(|| invalid(format!("states a size of {}, which no blob has", self.size)))?;
        let data = match &self.data {
            None => None,
            Some(text) => {
                let data = STANDARD
                    .decode(text)
                    .map_err(|error| invalid(format!("embeds data that is not base64: {error}")))?;
                let embedded = format!("the data embedded for {what}");
                if data.len() as u64 != size {
                    return Err(Error::SizeMismatch {
                        what: embedded,
                        expected: size,
                        actual: data.len() as u64,
                    });
                }
                if Digest::of(&data) != digest {
                    return Err(Error::DigestMismatch {
                        what: embedded,
                        expected: digest.to_string(),
                        actual: Digest::of(&data).to_string(),
                    });
                }
                Some(data)
            }
        };
        Ok(Descriptor {
            media_type: MediaType(self.media_type.clone().unwrap_or_default()),
            digest,
            size,
            data,
        })
    }
}

impl Served {
    /// Reads a manifest or index; `stated` is the media type that led to it, where there was one.
    pub(super) fn parse(
        what: &str,
        bytes: &[u8],
        stated: Option<&MediaType>,
    ) -> Result<Self, Error> {
        let invalid = |problem: String| Error::Invalid {
            what: what.to_owned(),
            problem,
        };
        let raw: RawDocument = json::parse(Document::Manifest, what, bytes)?;
        let own = raw.media_type.clone().map(MediaType);
        let stated = stated.filter(|stated| !stated.0.is_empty());
        if raw.fs_layers.is_some() || own.as_ref().or(stated).is_some_and(MediaType::is_schema_1) {
            return Err(invalid(
                "is of Docker's schema 1, which has no config and is not supported".to_owned(),
            ));
        }
        if raw
            .schema_version
            .as_ref()
            .and_then(serde_json::Number::as_u64)
            != Some(2)
        {
            return Err(invalid("does not say schemaVersion 2".to_owned()));
        }
        if let (Some(own), Some(stated)) = (&own, stated)
            && own != stated
        {
            return Err(invalid(format!(
                "says it is {own} but was named as {stated}"
            )));
        }
        let is_index = match own.as_ref().or(stated) {
            Some(media_type) if media_type.is_index() => true,
            Some(media_type) if media_type.is_manifest() => false,
            Some(media_type) => {
                return Err(invalid(format!(
                    "is of type {media_type}, not an image or index"
                )));
            }
            None => raw.manifests.is_some(),
        };
        // A document with the fields of both is taken for the one by some and for the other by
        // others: CVE-2021-41190.
        if raw.manifests.is_some() && (raw.layers.is_some() || raw.config.is_some()) {
            return Err(invalid(
                "has the fields of an index and of a manifest".to_owned(),
            ));
        }
        if is_index {
            return Ok(Self::Index(entries(
                what,
                raw.manifests.unwrap_or_default(),
            )?));
        }
        if raw.manifests.is_some() {
            return Err(invalid(
                "is named as a manifest but has the fields of an index".to_owned(),
            ));
        }
        let config = raw
            .config
            .ok_or_else(|| invalid("has no config".to_owned()))?
            .check(&format!("the config of {what}"))?;
        let layers: Vec<Descriptor> = raw
            .layers
            .unwrap_or_default()
            .iter()
            .enumerate()
            .map(|(index, layer)| layer.check(&format!("layer {} of {what}", index + 1)))
            .collect::<Result<_, _>>()?;
        let media_type = own
            .or_else(|| stated.cloned())
            .unwrap_or_else(|| MediaType(MediaType::OCI_MANIFEST.to_owned()));
        Ok(Self::Manifest(Manifest {
            digest: Digest::of(bytes),
            bytes: bytes.to_vec(),
            media_type,
            config,
            layers,
        }))
    }
}

fn entries(what: &str, raw: Vec<RawDescriptor>) -> Result<Vec<IndexEntry>, Error> {
    raw.into_iter()
        .enumerate()
        .map(|(index, raw)| {
            let descriptor = raw.check(&format!("entry {} of {what}", index + 1))?;
            let platform = match raw.platform {
                None => StatedPlatform::Unstated,
                Some(RawPlatform {
                    os, architecture, ..
                }) if os.is_empty() && architecture.is_empty() => StatedPlatform::Unstated,
                Some(RawPlatform {
                    os, architecture, ..
                }) if os == "unknown" || architecture == "unknown" => StatedPlatform::Unknown,
                Some(RawPlatform {
                    os,
                    architecture,
                    variant,
                }) => StatedPlatform::Is(Platform {
                    os,
                    architecture,
                    variant: variant.filter(|variant| !variant.is_empty()),
                }),
            };
            Ok(IndexEntry {
                descriptor,
                platform,
                annotations: raw.annotations.unwrap_or_default(),
            })
        })
        .collect()
}

impl Manifest {
    /// Reads a manifest that `stated` named; fails on an index and on anything that is no image.
    pub(super) fn parse(
        what: &str,
        bytes: &[u8],
        stated: Option<&MediaType>,
    ) -> Result<Self, Error> {
        match Served::parse(what, bytes, stated)? {
            Served::Index(_) => Err(Error::Invalid {
                what: what.to_owned(),
                problem: "is an index where a manifest should be".to_owned(),
            }),
            Served::Manifest(manifest) => manifest.check_runnable(what).map(|()| manifest),
        }
    }

    /// Fails unless the manifest is that of an image: an image's config, and layers of files.
    pub(super) fn check_runnable(&self, what: &str) -> Result<(), Error> {
        let invalid = |problem| {
            Err(Error::Invalid {
                what: what.to_owned(),
                problem,
            })
        };
        if !self.config.media_type.is_config() {
            return invalid(format!(
                "is an artifact with a config of type {:?}, not an image",
                self.config.media_type.0
            ));
        }
        match self
            .layers
            .iter()
            .position(|layer| !layer.media_type.is_layer())
        {
            Some(index) => invalid(format!(
                "has a layer {} of type {:?}, which is no layer of an image",
                index + 1,
                self.layers[index].media_type.0
            )),
            None => Ok(()),
        }
    }

    /// Returns the addresses that the manifest gives for layer `index`; mostly none.
    pub(super) fn urls(&self, index: usize) -> Vec<String> {
        serde_json::from_slice::<RawDocument>(&self.bytes)
            .ok()
            .and_then(|raw| raw.layers?.into_iter().nth(index)?.urls)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn foreign_bytes_never_panic(
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..80),
            text in "[{}\\[\\]\",:0-9a-zA-Z ]{0,80}",
            field in "schemaVersion|mediaType|config|layers|manifests|digest|size|data|platform",
            value in "null|\\[\\]|\\{\\}|-1|\"x\"|1e999|\\[\\{\\}\\]|\\[null\\]",
        ) {
            let texts = [
                format!("{{\"schemaVersion\":2,\"config\":{{\"{field}\":{value}}}}}"),
                format!("{{\"schemaVersion\":2,\"manifests\":[{{\"{field}\":{value}}}]}}"),
                format!("{{\"{field}\":{value}}}"),
                text,
            ];
            for bytes in texts.iter().map(String::as_bytes).chain([bytes.as_slice()]) {
                if let Ok(Served::Manifest(manifest)) = Served::parse("it", bytes, None) {
                    proptest::prop_assert_eq!(manifest.bytes, bytes);
                }
            }
        }
    }
}
