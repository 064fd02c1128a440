//! Strict JSON: documents that two readers could take differently are refused.
//!
//! A key given twice is read as its first or its last value, and Go's
//! `encoding/json`, which every container runtime uses, takes `Layers` for
//! `layers`. Whoever writes both shows one image to one tool and another to the
//! next, so either is an error that names the key.

use std::{collections::BTreeSet, fmt};

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor,
};

use super::Error;

/// What a document is, and thereby which keys mean something in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Document {
    /// A manifest, an index or the `index.json` of a layout.
    Manifest,
    /// An image config.
    Config,
    /// `manifest.json` of a docker-archive.
    DockerArchive,
    /// `oci-layout` of a layout.
    Layout,
}

/// Returns `bytes` as a `T`, or why they are not one, naming `what` they are.
pub(super) fn parse<T: DeserializeOwned>(
    document: Document,
    what: &str,
    bytes: &[u8],
) -> Result<T, Error> {
    let error = |source| Error::Json {
        what: what.to_owned(),
        source,
    };
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Place::Root(document)
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end())
        .map_err(error)?;
    serde_json::from_slice(bytes).map_err(error)
}

const DESCRIPTOR: &[&str] = &[
    "mediaType",
    "digest",
    "size",
    "urls",
    "annotations",
    "data",
    "artifactType",
    "platform",
];
const PLATFORM: &[&str] = &[
    "architecture",
    "os",
    "os.version",
    "os.features",
    "variant",
    "features",
];
const MANIFEST: &[&str] = &[
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "manifests",
    "fsLayers",
    "subject",
    "annotations",
];
const CONFIG: &[&str] = &[
    "created",
    "author",
    "architecture",
    "os",
    "os.version",
    "os.features",
    "variant",
    "config",
    "rootfs",
    "history",
    "container",
    "container_config",
    "docker_version",
    "parent",
    "id",
];
const RUNNING: &[&str] = &[
    "Hostname",
    "Domainname",
    "User",
    "AttachStdin",
    "AttachStdout",
    "AttachStderr",
    "ExposedPorts",
    "Tty",
    "OpenStdin",
    "StdinOnce",
    "Env",
    "Cmd",
    "Healthcheck",
    "ArgsEscaped",
    "Image",
    "Volumes",
    "WorkingDir",
    "Entrypoint",
    "NetworkDisabled",
    "MacAddress",
    "OnBuild",
    "Labels",
    "StopSignal",
    "StopTimeout",
    "Shell",
    "Memory",
    "MemorySwap",
    "CpuShares",
];
const HEALTHCHECK: &[&str] = &[
    "Test",
    "Interval",
    "Timeout",
    "StartPeriod",
    "StartInterval",
    "Retries",
];
const ROOTFS: &[&str] = &["type", "diff_ids"];
const HISTORY: &[&str] = &["created", "created_by", "author", "comment", "empty_layer"];
const LAYOUT: &[&str] = &["imageLayoutVersion"];
const DOCKER_ARCHIVE: &[&str] = &["Config", "RepoTags", "Layers", "LayerSources", "Parent"];

/// Where in a document a value stands; decides which keys of an object mean something.
#[derive(Debug, Clone, Copy)]
enum Place {
    Root(Document),
    Descriptor,
    Platform,
    Running,
    Healthcheck,
    Rootfs,
    History,
    Elsewhere,
}

impl Place {
    /// Returns the keys that a reader looks for here; none where every key is data.
    const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Root(Document::Manifest) => MANIFEST,
            Self::Root(Document::Config) => CONFIG,
            Self::Root(Document::DockerArchive) => DOCKER_ARCHIVE,
            Self::Root(Document::Layout) => LAYOUT,
            Self::Descriptor => DESCRIPTOR,
            Self::Platform => PLATFORM,
            Self::Running => RUNNING,
            Self::Healthcheck => HEALTHCHECK,
            Self::Rootfs => ROOTFS,
            Self::History => HISTORY,
            Self::Elsewhere => &[],
        }
    }

    /// Returns the place of the value of `key`.
    fn of(self, key: &str) -> Self {
        match (self, key) {
            (Self::Root(Document::Manifest), "manifests" | "layers" | "config" | "subject") => {
                Self::Descriptor
            }
            (Self::Descriptor, "platform") => Self::Platform,
            (Self::Root(Document::Config), "config" | "container_config") => Self::Running,
            (Self::Root(Document::Config), "rootfs") => Self::Rootfs,
            (Self::Root(Document::Config), "history") => Self::History,
            (Self::Running, "Healthcheck") => Self::Healthcheck,
            _ => Self::Elsewhere,
        }
    }
}

/// Returns `key` as Go's `encoding/json` compares it to the names of fields.
///
/// Source: Go `encoding/json/fold.go`; the two letters outside of ASCII are those
/// that Unicode folds to one of ASCII.
fn folded(key: &str) -> String {
    key.chars()
        .map(|character| match character {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            other => other.to_ascii_lowercase(),
        })
        .collect()
}

impl<'de> DeserializeSeed<'de> for Place {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        while sequence.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if !self.keys().contains(&key.as_str()) {
                let meant = folded(&key);
                if let Some(meant) = self.keys().iter().find(|known| folded(known) == meant) {
                    return Err(A::Error::custom(format_args!(
                        "key {key:?} is one that Go programs read as {meant:?}, and others do not"
                    )));
                }
            }
            map.next_value_seed(self.of(&key))?;
            if let Some(key) = seen.replace(key) {
                return Err(A::Error::custom(format_args!("key {key:?} is given twice")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_that_readers_take_differently_is_refused_by_the_name_of_the_key() {
        let cases = [
            (
                Document::Manifest,
                r#"{"layers":[],"layers":[]}"#,
                r#"key "layers" is given twice"#,
            ),
            (
                Document::Manifest,
                r#"{"layers":[],"lay\u0065rs":[]}"#,
                r#"key "layers" is given twice"#,
            ),
            (
                Document::Manifest,
                r#"{"Layers":[]}"#,
                r#"key "Layers" is one that Go programs read as "layers""#,
            ),
            (
                Document::Manifest,
                r#"{"layer\u017f":[]}"#,
                r#"programs read as "layers""#,
            ),
            (
                Document::Manifest,
                r#"{"layers":[{"Digest":""}]}"#,
                r#"programs read as "digest""#,
            ),
            (
                Document::Manifest,
                r#"{"manifests":[{"platform":{"OS":"linux"}}]}"#,
                r#"programs read as "os""#,
            ),
            (
                Document::Config,
                r#"{"config":{"cmd":[]}}"#,
                r#"programs read as "Cmd""#,
            ),
            (
                Document::Config,
                r#"{"rootfs":{"diff_ids":[],"Diff_IDs":[]}}"#,
                r#"programs read as "diff_ids""#,
            ),
            (
                Document::Config,
                r#"{"config":{"Labels":{"a":"1","a":"2"}}}"#,
                r#"key "a" is given twice"#,
            ),
            (
                Document::Config,
                r#"{"x":{"y":[{"z":1,"z":1}]}}"#,
                r#"key "z" is given twice"#,
            ),
            (Document::Config, "{} {}", "trailing characters"),
            (Document::Config, "{\"a\":\"\u{1}\"}", "control character"),
        ];
        for (document, text, problem) in cases {
            let error = parse::<serde_json::Value>(document, "it", text.as_bytes()).unwrap_err();
            let Error::Json { source, .. } = error else {
                panic!("{text}: {error}")
            };
            assert!(source.to_string().contains(problem), "{text}: {source}");
        }
    }

    #[test]
    fn names_that_are_data_may_differ_in_case_only() {
        let text = r#"{"annotations":{"A":"1","a":"2","Digest":""},"schemaVersion":2}"#;
        parse::<serde_json::Value>(Document::Manifest, "it", text.as_bytes()).unwrap();
        let text = r#"{"config":{"Labels":{"A":"1","a":"2"},"Env":null},"Moby.Buildkit":1e9}"#;
        parse::<serde_json::Value>(Document::Config, "it", text.as_bytes()).unwrap();
    }

    #[test]
    fn nesting_without_end_is_an_error() {
        let text = "[".repeat(100_000);
        parse::<serde_json::Value>(Document::Config, "it", text.as_bytes()).unwrap_err();
    }
}
