//! Detection: a published image's own bytes → the dialect and compressor they are in.
//!
//! Only what fits a row of our tables is inferred, each with what it was seen
//! from; all else is left open, and said. What fits is not proven: that takes
//! writing the same bytes again.

use std::borrow::Borrow;

use serde::Deserialize;

use super::{
    Compressor, TarDialect,
    gzip::{Candidates, candidates},
};
use crate::image::{Compression, Entry, EntryKind, Layer};

/// What a published image tells of how it was written: design section 3.5.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inferred {
    /// The tar writer; `None` where it is none of ours or cannot be told.
    pub dialect: Option<TarDialect>,
    /// The likeliest compressor; `None` where it is none of ours or cannot be told.
    pub compressor: Option<Compressor>,
    /// What was seen, a sentence each, the dialect's first.
    pub evidence: Vec<String>,
}

/// Finds out what wrote the layers; `config` is the image's config as served.
pub fn detect<L: Borrow<Layer>>(layers: &[L], config: &[u8]) -> Inferred {
    let layers: Vec<&Layer> = layers.iter().map(Borrow::borrow).collect();
    let (mut dialect, seen) = tar_dialect(&layers);
    let mut evidence = vec![seen];
    // A config that is no JSON tells nothing; whoever reads it for itself says so.
    if let Ok(config) = serde_json::from_slice::<Config>(config) {
        evidence.extend(config.builder_evidence());
        if dialect == Some(TarDialect::BuildKit) && config.lacks_args_escaped() {
            dialect = Some(TarDialect::BuildKitOfficial);
            evidence.push(
                "the config has a command and no ArgsEscaped, as the BuildKit of Docker Official Images writes it"
                    .to_owned(),
            );
        }
    }
    let (compressor, seen) = compressor(&layers);
    evidence.push(seen);
    Inferred {
        dialect,
        compressor,
        evidence,
    }
}

/// What of a config tells its builder.
#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    history: Vec<Step>,
    #[serde(default)]
    config: Option<Run>,
}

#[derive(Deserialize)]
struct Step {
    #[serde(default)]
    created_by: String,
    #[serde(default)]
    comment: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Run {
    #[serde(default)]
    cmd: Option<Vec<String>>,
    #[serde(default)]
    args_escaped: bool,
}

impl Config {
    fn is_buildkit(&self) -> bool {
        let mut comments = self.history.iter().map(|step| &step.comment);
        comments.any(|comment| comment == "buildkit.dockerfile.v0")
    }

    /// Says what the history has of either builder.
    fn builder_evidence(&self) -> Option<String> {
        let mut steps = self.history.iter().map(|step| &step.created_by);
        if self.is_buildkit() {
            Some("the history has the comment buildkit.dockerfile.v0".to_owned())
        } else if steps.any(|step| step.contains("#(nop) ")) {
            Some("the history has the #(nop) of Docker's classic builder, or of buildah".to_owned())
        } else {
            None
        }
    }

    /// Returns whether `BuildKit` left out what it writes with every CMD.
    fn lacks_args_escaped(&self) -> bool {
        self.is_buildkit()
            && self.config.as_ref().is_some_and(|run| {
                !run.args_escaped && run.cmd.as_ref().is_some_and(|command| !command.is_empty())
            })
    }
}

/// What the entries of an archive have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TypeBits {
    /// The mode says what the file is.
    Present,
    /// The mode has permission bits only.
    Absent,
}

fn tar_dialect(layers: &[&Layer]) -> (Option<TarDialect>, String) {
    let mut common = None;
    for (index, layer) in layers.iter().enumerate() {
        if layer.end_padding != 1024 {
            return (
                None,
                format!(
                    "layer {index} ends in {} zero bytes, and not in the 1024 of Docker and BuildKit",
                    layer.end_padding
                ),
            );
        }
        for entry in &layer.entries {
            if let Some(oddness) = foreign(entry) {
                return (
                    None,
                    format!(
                        "{} in layer {index} {oddness}, as neither Docker nor BuildKit writes",
                        entry.path
                    ),
                );
            }
            let bits = match entry.mode & 0o170_000 {
                0 => TypeBits::Absent,
                bits if bits == expected_bits(&entry.kind).unwrap_or(bits) => TypeBits::Present,
                _ => {
                    return (
                        None,
                        format!(
                            "{} in layer {index} has the mode {:o}, whose type bits are another file's",
                            entry.path, entry.mode
                        ),
                    );
                }
            };
            // Whiteouts are written without type bits by all.
            if entry.path.file_name().starts_with(b".wh.") {
                continue;
            }
            if common.is_some_and(|common| common != bits) {
                return (
                    None,
                    format!(
                        "file-type bits are in the modes of some entries and not of others, such as {} in layer {index}",
                        entry.path
                    ),
                );
            }
            common = Some(bits);
        }
    }
    match common {
        Some(TypeBits::Present) => (
            Some(TarDialect::DockerClassic),
            "the modes in the layers have file-type bits, as Docker's classic builder writes them"
                .to_owned(),
        ),
        Some(TypeBits::Absent) => (
            Some(TarDialect::BuildKit),
            "the modes in the layers have no file-type bits, as BuildKit and containerd write them"
                .to_owned(),
        ),
        None => (
            None,
            "the layers have no entries to tell a tar writer by".to_owned(),
        ),
    }
}

/// Says what about an entry neither builder would write.
fn foreign(entry: &Entry) -> Option<String> {
    let details = entry.details.as_deref()?;
    if !details.uname.is_empty() || !details.gname.is_empty() {
        return Some("has an owner's name".to_owned());
    }
    if details.raw_name.is_some() {
        return Some("has a name with decoration".to_owned());
    }
    if details.atime.is_some() || details.ctime.is_some() {
        return Some("has times other than mtime".to_owned());
    }
    if entry.mtime.nanoseconds != 0 {
        return Some("has a time finer than a second".to_owned());
    }
    None
}

const fn expected_bits(kind: &EntryKind) -> Option<u32> {
    match kind {
        EntryKind::File { .. } => Some(0o100_000),
        EntryKind::Symlink { .. } => Some(0o120_000),
        EntryKind::CharDevice { .. } => Some(0o020_000),
        EntryKind::BlockDevice { .. } => Some(0o060_000),
        EntryKind::Directory => Some(0o040_000),
        EntryKind::Fifo => Some(0o010_000),
        // A link has the type of what it links to.
        EntryKind::HardLink { .. } | EntryKind::Other { .. } => None,
    }
}

fn compressor(layers: &[&Layer]) -> (Option<Compressor>, String) {
    let mut common: Option<(Candidates, String)> = None;
    for (index, layer) in layers.iter().enumerate() {
        let opening = match &layer.compression {
            Compression::None => Vec::new(),
            Compression::Gzip { members, header } => {
                if *members != 1 {
                    return (
                        None,
                        format!("layer {index} is a gzip of {members} members, Go writes one"),
                    );
                }
                let mut opening = vec![0x1f, 0x8b, 8, 0];
                opening.extend(header.mtime.to_le_bytes());
                opening.extend([header.extra_flags, header.operating_system]);
                opening
            }
            Compression::Zstd { .. } => vec![0x28, 0xb5, 0x2f, 0xfd],
        };
        let of_layer = candidates(&opening);
        let shown = describe(&layer.compression);
        match &common {
            None => common = Some((of_layer, shown)),
            Some((known, _)) if *known == of_layer => {}
            Some((_, known)) => {
                return (
                    None,
                    format!("layer {index} is {shown}, and layers before it are {known}"),
                );
            }
        }
    }
    match common {
        None => (
            None,
            "there are no layers to tell a compressor by".to_owned(),
        ),
        Some((candidates, shown)) => match candidates.reproducible.first() {
            Some(&compressor) => (
                Some(compressor),
                format!("the layers are {shown}, which fits {compressor}"),
            ),
            None => (
                None,
                format!(
                    "the layers are {shown}, which fits no compressor that can be written here"
                ),
            ),
        },
    }
}

fn describe(compression: &Compression) -> String {
    match compression {
        Compression::None => "plain tar".to_owned(),
        Compression::Gzip { header, .. } => format!(
            "gzip with the time {}, the extra flags {} and the system {}",
            header.mtime, header.extra_flags, header.operating_system
        ),
        Compression::Zstd { .. } => "zstd".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        digest::{DiffId, Digest},
        image::{EntryPath, Timestamp, entry::Details, layer::GzipHeader},
    };

    fn layer(entries: Vec<Entry>) -> Layer {
        Layer {
            descriptor: None,
            digest: Digest::of(b""),
            size: 0,
            diff_id: DiffId::of(b""),
            uncompressed_size: 0,
            compression: Compression::Gzip {
                members: 1,
                header: GzipHeader {
                    mtime: 0,
                    extra_flags: 0,
                    operating_system: 255,
                },
            },
            end_padding: 1024,
            entries,
            oddities: Vec::new(),
        }
    }

    fn directory(mode: u32) -> Entry {
        Entry {
            path: EntryPath::of(b"etc"),
            kind: EntryKind::Directory,
            mode,
            uid: 0,
            gid: 0,
            mtime: Timestamp::from_seconds(0),
            details: None,
            header: Digest::of(b""),
        }
    }

    #[test]
    fn the_bytes_of_a_layer_tell_its_dialect_or_why_not() {
        let named = Entry {
            details: Some(Arc::new(Details {
                uname: (*b"root").into(),
                ..Details::default()
            })),
            ..directory(0o755)
        };
        let padded = Layer {
            end_padding: 10_240,
            ..layer(vec![directory(0o755)])
        };
        let cases = [
            (
                layer(vec![directory(0o040_755)]),
                Some(TarDialect::DockerClassic),
                "file-type bits",
            ),
            (
                layer(vec![directory(0o755)]),
                Some(TarDialect::BuildKit),
                "no file-type bits",
            ),
            (
                layer(vec![directory(0o755), directory(0o040_755)]),
                None,
                "some entries and not of others",
            ),
            (layer(vec![directory(0o100_755)]), None, "another file's"),
            (layer(vec![named]), None, "an owner's name"),
            (padded, None, "10240 zero bytes"),
            (layer(vec![]), None, "no entries"),
        ];
        for (layer, dialect, evidence) in cases {
            let inferred = detect(&[layer], b"{}");
            assert_eq!(inferred.dialect, dialect, "{evidence}");
            assert!(
                inferred.evidence[0].contains(evidence),
                "{evidence}: {:?}",
                inferred.evidence
            );
        }
    }

    #[test]
    fn a_command_without_its_mark_is_the_build_kit_of_official_images() {
        let layers = [layer(vec![directory(0o755)])];
        let config = |run: &str| {
            format!(r#"{{"config":{run},"history":[{{"comment":"buildkit.dockerfile.v0"}}]}}"#)
        };
        let cases = [
            (
                config(r#"{"Cmd":["/hello"]}"#),
                TarDialect::BuildKitOfficial,
            ),
            (
                config(r#"{"Cmd":["/hello"],"ArgsEscaped":true}"#),
                TarDialect::BuildKit,
            ),
            (config("{}"), TarDialect::BuildKit),
            (
                r#"{"config":{"Cmd":["/hello"]}}"#.to_owned(),
                TarDialect::BuildKit,
            ),
            ("not JSON".to_owned(), TarDialect::BuildKit),
        ];
        for (config, dialect) in cases {
            assert_eq!(
                detect(&layers, config.as_bytes()).dialect,
                Some(dialect),
                "{config}"
            );
        }
    }

    #[test]
    fn the_compressor_is_the_likeliest_that_fits_every_layer() {
        let go = layer(vec![directory(0o755)]);
        let plain = Layer {
            compression: Compression::None,
            ..go.clone()
        };
        let zstd = Layer {
            compression: Compression::Zstd { frames: 1 },
            ..go.clone()
        };
        let config = br#"{"history":[{"comment":"buildkit.dockerfile.v0"}]}"#;
        let of = |layers: &[Layer]| detect(layers, config).compressor;
        let default_go = super::super::gzip::GoLevel::new(6).map(Compressor::GoGzip);
        assert_eq!(of(&[go.clone(), go.clone()]), default_go);
        assert_eq!(
            of(std::slice::from_ref(&plain)),
            Some(Compressor::Uncompressed)
        );
        assert_eq!(of(&[go.clone(), plain]), None);
        assert_eq!(of(&[zstd]), None);
        assert_eq!(
            detect(&[go], config).evidence[1],
            "the history has the comment buildkit.dockerfile.v0"
        );
    }
}
