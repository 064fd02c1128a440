//! Comparison: every difference between two images, unjudged and unexplained.
//!
//! Pure: reads two images, returns a value, knows nothing of policies.
//! Nothing is normalised before it is compared, so nothing can be hidden here:
//! wherever two digests differ and no reading of the bytes says why, the bytes
//! themselves are the difference ([`Attribute::Bytes`]).
//!
//! A digest that differs only because what it names differs is no difference of
//! its own: it stands in [`LayerPair`] and [`Comparison::equality`], and what made
//! it differ is listed.

mod capabilities;
pub mod config;
pub mod content;
mod json;
mod layer;
mod manifest;
mod overlay;
mod text;

use std::{fmt, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    digest::{DiffId, Digest},
    image::{
        EntryPath, Layer, Manifest, Oddity, RawConfig, RawIndex, Timestamp,
        entry::Printable,
        overlay::{self as file_system, FileSystem, Irregularity},
    },
    pair::Pair,
};

pub use capabilities::capabilities;
pub use config::ConfigGrade;
pub use text::excerpts;

/// Why two images could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The published image's layers make no file system that can be worked out.
    #[error("cannot work out the file system of the published image")]
    Published(#[source] file_system::Error),
    /// The rebuilt image's layers, or the second one's, do not.
    #[error("cannot work out the file system of the rebuilt image")]
    Rebuilt(#[source] file_system::Error),
    /// Two layers are said to be the same, and have other entries: a listing was changed.
    #[error(
        "layer {layer} has the diffID {diff_id} in both images but not the same entries: a listing of it was changed, at {path}"
    )]
    Contradiction {
        /// The layer's number in the published image, from 0.
        layer: usize,
        /// What both are said to be.
        diff_id: DiffId,
        /// The first entry that is another.
        path: String,
    },
}

/// What is read of one image.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// The index gone through, where it is to be compared.
    pub index: Option<&'a RawIndex>,
    /// The manifest; a docker-archive has none.
    pub manifest: Option<&'a Manifest>,
    /// The config.
    pub config: &'a RawConfig,
    /// The layers, base first.
    pub layers: &'a [Arc<Layer>],
}

/// All that was seen when two images were compared.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// How equal they are.
    pub equality: Equalities,
    /// How equal their configs are.
    pub config: ConfigGrade,
    /// The layers, side by side.
    pub layers: Vec<LayerPair>,
    /// Every difference, in the order index, manifest, config, layers, paths.
    pub differences: Vec<Difference>,
    /// The file systems that the layers make; `None` where the layers are the same.
    pub systems: Option<Pair<FileSystem>>,
}

/// Which of the five equalities hold, each by itself.
#[expect(
    clippy::struct_excessive_bools,
    reason = "five independent facts, each said by itself in the report"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Equalities {
    /// The manifests have the same digest; `null` where a side has no manifest.
    pub manifest: Option<bool>,
    /// The configs have the same bytes, the layers the same diffIDs.
    pub config: bool,
    /// The layers have the same diffIDs.
    pub layers: bool,
    /// The flattened file systems are the same.
    pub files: bool,
    /// The flattened file systems are the same but for modification times.
    pub contents: bool,
}

/// The strongest equality that holds; a stronger one is greater.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Equality {
    /// Not even the contents of the files are the same.
    None,
    /// Every path, type, mode, owner, size, content, link, device and xattr.
    Contents,
    /// As `contents`, and every modification time.
    Files,
    /// Every diffID.
    Layers,
    /// Every diffID and the config's bytes.
    Config,
    /// The manifest's digest, and with it everything.
    Manifest,
}

impl Equalities {
    /// Returns the strongest equality that holds.
    pub fn strongest(&self) -> Equality {
        if self.manifest == Some(true) {
            Equality::Manifest
        } else if self.config {
            Equality::Config
        } else if self.layers {
            Equality::Layers
        } else if self.files {
            Equality::Files
        } else if self.contents {
            Equality::Contents
        } else {
            Equality::None
        }
    }
}

impl fmt::Display for Equality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Contents => "contents",
            Self::Files => "files",
            Self::Layers => "layers",
            Self::Config => "config",
            Self::Manifest => "manifest",
        })
    }
}

/// One layer position: what stands there on each side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LayerPair {
    /// The layers' numbers from 0, the base; `null` where a side has no counterpart.
    pub layer: Pair<Option<usize>>,
    /// The digests of the blobs.
    pub digest: Pair<Option<Digest>>,
    /// The sizes of the blobs in bytes.
    pub size: Pair<Option<u64>>,
    /// The hashes of the uncompressed tars.
    pub diff_id: Pair<Option<DiffId>>,
    /// The sizes of the uncompressed tars in bytes.
    pub uncompressed_size: Pair<Option<u64>>,
    /// How many entries the tars have.
    pub entries: Pair<Option<usize>>,
}

/// One difference: where, in what, and what each side has there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where.
    pub location: Location,
    /// In what.
    pub attribute: Attribute,
    /// What each side has; `None` where it has nothing of the kind.
    pub values: Pair<Option<Value>>,
    /// What it bears on.
    pub bearing: Bearing,
}

/// Where two images differ.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    /// In the index.
    Index {
        /// JSON pointer (RFC 6901); empty for the whole document.
        pointer: String,
    },
    /// In the manifest.
    Manifest {
        /// JSON pointer; empty for the whole document.
        pointer: String,
    },
    /// In the config.
    Config {
        /// JSON pointer; empty for the whole document.
        pointer: String,
    },
    /// In a layer as a whole.
    Layer {
        /// Its number on each side, from 0.
        layer: Pair<Option<usize>>,
    },
    /// In an entry of a layer.
    Entry {
        /// The number of the layer that holds the entry on each side.
        layer: Pair<Option<usize>>,
        /// The entry's path.
        path: EntryPath,
        /// Whether a container would see it.
        visibility: Visibility,
    },
}

/// Whether an entry is in the flattened file system.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Visibility {
    /// A container sees it.
    Visible,
    /// It lies in the layer's bytes only: overwritten, deleted by a later layer, or a whiteout.
    Hidden,
}

/// What differs at a location.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attribute {
    /// One side has it, the other has not.
    Presence,
    /// File, directory, symbolic link, …
    Type,
    /// Permission, setuid, setgid and sticky bits.
    Mode,
    /// Numeric owner.
    Uid,
    /// Numeric group.
    Gid,
    /// Size of the content in bytes.
    Size,
    /// The content's SHA-256.
    Content,
    /// Where a symbolic or hidden hard link points.
    LinkTarget,
    /// Which names share one file.
    HardLinks,
    /// Device number.
    Device,
    /// The extended attribute of this name.
    Xattr(Box<[u8]>),
    /// Modification time.
    Mtime,
    /// Name of the owner.
    OwnerName,
    /// Name of the group.
    GroupName,
    /// The name as the archive writes it.
    RawName,
    /// A hard link's target as the archive writes it.
    RawTarget,
    /// File-type bits in the header's mode field.
    TypeBits,
    /// Access time.
    Atime,
    /// Status change time.
    Ctime,
    /// The PAX record of this keyword.
    Pax(Box<[u8]>),
    /// Where a sparse file has its data.
    Sparse,
    /// The header's bytes, all fields being equal.
    Header,
    /// Something that one side's bytes have and no well-behaved builder writes.
    Oddity(Oddity),
    /// Something that engines refuse to unpack or take differently.
    Irregularity(Irregularity),
    /// The order of the entries in the archive.
    Order,
    /// Zero bytes after the last entry.
    EndPadding,
    /// Whether and how the blob is compressed.
    Compression,
    /// The fixed fields of the gzip header.
    GzipHeader,
    /// The number of gzip members or zstd frames.
    Members,
    /// The bytes themselves, where no field says what differs in them.
    Bytes,
    /// How many layers there are.
    LayerCount,
    /// A value in a JSON document.
    Json,
    /// White space, key order or escapes of a JSON document, all values being equal.
    Serialisation,
}

/// What a difference bears on, whatever a policy makes of it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Bearing {
    /// The file system that a container sees, modification times aside.
    Files,
    /// Modification times in the file system that a container sees.
    Times,
    /// How a container is run, or a config field of which that is not known.
    Running,
    /// Which platform the image is offered for.
    Platform,
    /// Bytes in a layer that a container does not see but that a reader may trip over.
    LayerOddity,
    /// A part of the manifest of which it is not known what it does.
    ManifestUnknown,
    /// Who built the image and when, in config fields that nothing runs by.
    BuildMetadata,
    /// How the same files are packed: compression, media type, tar encoding, order, layering.
    Encoding,
    /// The index outside of this platform's own entry.
    Index,
}

/// One side's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A word of ours.
    Word(&'static str),
    /// Text in which every byte can be told.
    Text(String),
    /// Bytes of a name or attribute.
    Bytes(Box<[u8]>),
    /// A count or an id.
    Number(i64),
    /// Bits in octal.
    Octal(u32),
    /// A time.
    Time(Timestamp),
    /// A hash.
    Digest(Digest),
    /// A JSON value.
    Json(serde_json::Value),
}

impl Difference {
    /// Returns the path the difference is at, where it is at one.
    pub fn path(&self) -> Option<&EntryPath> {
        match &self.location {
            Location::Entry { path, .. } => Some(path),
            Location::Index { .. }
            | Location::Manifest { .. }
            | Location::Config { .. }
            | Location::Layer { .. } => None,
        }
    }
}

impl Location {
    /// Returns whether the location is in the layer that stands at this pair.
    fn touches(&self, pair: Pair<Option<usize>>) -> bool {
        match self {
            Self::Layer { layer } | Self::Entry { layer, .. } => {
                layer.published.is_some() && layer.published == pair.published
                    || layer.rebuilt.is_some() && layer.rebuilt == pair.rebuilt
            }
            Self::Index { .. } | Self::Manifest { .. } | Self::Config { .. } => false,
        }
    }
}

impl Attribute {
    /// Returns the attribute's name in reports and policies.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Presence => "presence",
            Self::Type => "type",
            Self::Mode => "mode",
            Self::Uid => "uid",
            Self::Gid => "gid",
            Self::Size => "size",
            Self::Content => "content",
            Self::LinkTarget => "link-target",
            Self::HardLinks => "hard-links",
            Self::Device => "device",
            Self::Xattr(_) => "xattr",
            Self::Mtime => "mtime",
            Self::OwnerName => "owner-name",
            Self::GroupName => "group-name",
            Self::RawName => "raw-name",
            Self::RawTarget => "raw-target",
            Self::TypeBits => "type-bits",
            Self::Atime => "atime",
            Self::Ctime => "ctime",
            Self::Pax(_) => "pax",
            Self::Sparse => "sparse",
            Self::Header => "header",
            Self::Oddity(_) => "oddity",
            Self::Irregularity(_) => "irregularity",
            Self::Order => "order",
            Self::EndPadding => "end-padding",
            Self::Compression => "compression",
            Self::GzipHeader => "gzip-header",
            Self::Members => "members",
            Self::Bytes => "bytes",
            Self::LayerCount => "layer-count",
            Self::Json => "json",
            Self::Serialisation => "serialisation",
        }
    }

    /// Returns what the name leaves open: which xattr, which PAX keyword, which oddity.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Xattr(name) | Self::Pax(name) => Some(Printable(name).to_string()),
            Self::Oddity(oddity) => Some(oddity.to_string()),
            Self::Irregularity(what) => Some(what.to_string()),
            _ => None,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let document = |f: &mut fmt::Formatter<'_>, name: &str, pointer: &str| {
            write!(f, "{name}")?;
            if pointer.is_empty() {
                Ok(())
            } else {
                write!(f, " {pointer}")
            }
        };
        match self {
            Self::Index { pointer } => document(f, "index", pointer),
            Self::Manifest { pointer } => document(f, "manifest", pointer),
            Self::Config { pointer } => document(f, "config", pointer),
            Self::Layer { layer } => match (layer.published, layer.rebuilt) {
                (Some(published), Some(rebuilt)) if published != rebuilt => {
                    write!(f, "layer {published} (rebuilt: {rebuilt})")
                }
                (Some(layer), _) => write!(f, "layer {layer}"),
                (None, Some(layer)) => write!(f, "layer {layer} of the rebuilt image"),
                (None, None) => write!(f, "layers"),
            },
            Self::Entry { path, .. } => path.fmt(f),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.write_str(word),
            Self::Text(text) => f.write_str(text),
            Self::Bytes(bytes) => Printable(bytes).fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Octal(bits) => write!(f, "{bits:04o}"),
            Self::Time(time) => time.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
            Self::Json(value) => value.fmt(f),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => number.serialize(serializer),
            Self::Json(value) => value.serialize(serializer),
            other => serializer.collect_str(other),
        }
    }
}

/// Fails where two layers have one diffID and not the same entries, which bytes cannot have.
fn agree(layer: usize, layers: Pair<&Arc<Layer>>) -> Result<(), Error> {
    let Pair { published, rebuilt } = layers;
    if published.diff_id != rebuilt.diff_id || published.entries == rebuilt.entries {
        return Ok(());
    }
    let mut both = published.entries.iter().zip(&rebuilt.entries);
    let other = both.find(|(published, rebuilt)| published != rebuilt);
    Err(Error::Contradiction {
        layer,
        diff_id: published.diff_id,
        path: other.map_or_else(
            || "its end".to_owned(),
            |(published, _)| published.path.to_string(),
        ),
    })
}

/// Compares two images, completely.
///
/// Layers are paired by position where both have as many, else by equal diffID
/// in order; what has no counterpart is compared in the flattened file system,
/// and by what lies hidden.
///
/// Fails where the layers' file system is too large to be worked out, and where
/// a listing contradicts the diffID that it gives.
pub fn compare(sides: Pair<Side<'_>>) -> Result<Comparison, Error> {
    let pairing = layer::pairing(sides.map(|side| side.layers));
    for pair in &pairing {
        if let (Some(published), Some(rebuilt)) = (pair.published, pair.rebuilt) {
            let layers = Pair::new(
                &sides.published.layers[published],
                &sides.rebuilt.layers[rebuilt],
            );
            agree(published, layers)?;
        }
    }
    let same_layers = pairing
        .iter()
        .all(|pair| match (pair.published, pair.rebuilt) {
            (Some(published), Some(rebuilt)) => {
                sides.published.layers[published].diff_id == sides.rebuilt.layers[rebuilt].diff_id
            }
            (Some(_), None) | (None, _) => false,
        });
    let mut differences = Vec::new();
    if let (Some(published), Some(rebuilt)) = (sides.published.index, sides.rebuilt.index) {
        manifest::index(Pair::new(published, rebuilt), sides, &mut differences);
    }
    let manifests = match (sides.published.manifest, sides.rebuilt.manifest) {
        (Some(published), Some(rebuilt)) => Some(Pair::new(published, rebuilt)),
        (Some(_), None) | (None, _) => None,
    };
    if let Some(manifests) = manifests {
        manifest::manifest(manifests, &pairing, &mut differences);
    }
    let grade = config::compare(sides.map(|side| side.config), &mut differences);
    for &pair in &pairing {
        layer::blobs(pair, sides.map(|side| side.layers), &mut differences);
    }
    let systems = if same_layers {
        None
    } else {
        Some(file_systems(sides.map(|side| side.layers))?)
    };
    let (files, contents) = match &systems {
        None => (true, true),
        Some(systems) => {
            let layers = sides.map(|side| side.layers);
            layer::archives(&pairing, layers, systems.as_ref(), &mut differences)
        }
    };
    let equality = Equalities {
        manifest: manifests.map(|pair| pair.map(|manifest| manifest.digest).is_equal()),
        config: same_layers && grade == ConfigGrade::Bytes,
        layers: same_layers,
        files,
        contents,
    };
    Ok(Comparison {
        equality,
        config: grade,
        layers: pairing
            .iter()
            .map(|&pair| layer_pair(pair, sides))
            .collect(),
        differences,
        systems,
    })
}

/// Flattens both images.
fn file_systems(layers: Pair<&[Arc<Layer>]>) -> Result<Pair<FileSystem>, Error> {
    let systems = layers.map_at_once(FileSystem::flatten);
    Ok(Pair::new(
        systems.published.map_err(Error::Published)?,
        systems.rebuilt.map_err(Error::Rebuilt)?,
    ))
}

/// Returns the facts of both layers of a pair.
fn layer_pair(layer: Pair<Option<usize>>, sides: Pair<Side<'_>>) -> LayerPair {
    let layers = Pair::new(
        layer
            .published
            .map(|number| &sides.published.layers[number]),
        layer.rebuilt.map(|number| &sides.rebuilt.layers[number]),
    );
    LayerPair {
        layer,
        digest: layers.map(|layer| layer.map(|layer| layer.digest)),
        size: layers.map(|layer| layer.map(|layer| layer.size)),
        diff_id: layers.map(|layer| layer.map(|layer| layer.diff_id)),
        uncompressed_size: layers.map(|layer| layer.map(|layer| layer.uncompressed_size)),
        entries: layers.map(|layer| layer.map(|layer| layer.entries.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::testing::layer;

    fn config(layers: &[Arc<Layer>]) -> RawConfig {
        let bytes = serde_json::to_vec(&serde_json::json!({
            "rootfs": { "diff_ids": layers.iter().map(|layer| layer.diff_id).collect::<Vec<_>>() }
        }))
        .unwrap();
        RawConfig {
            digest: Digest::of(&bytes),
            bytes,
        }
    }

    fn compared(published: &[Arc<Layer>], rebuilt: &[Arc<Layer>]) -> Comparison {
        let configs = Pair::new(config(published), config(rebuilt));
        let side = |layers, config| Side {
            index: None,
            manifest: None,
            config,
            layers,
        };
        compare(Pair::new(
            side(published, &configs.published),
            side(rebuilt, &configs.rebuilt),
        ))
        .unwrap()
    }

    /// Returns `location attribute bearing` of every difference.
    fn seen(published: &[Arc<Layer>], rebuilt: &[Arc<Layer>]) -> Vec<String> {
        compared(published, rebuilt)
            .differences
            .iter()
            .map(|found| {
                let bearing = serde_json::to_value(found.bearing).unwrap();
                format!(
                    "{} {} {}",
                    found.location,
                    found.attribute.name(),
                    bearing.as_str().unwrap()
                )
            })
            .collect()
    }

    #[test]
    fn an_image_has_no_difference_to_itself() {
        let image = [layer([
            "d 0755 etc @0",
            "f 0644 etc/hostname @0 build",
            "h 0644 etc/h>etc/hostname @0",
        ])];
        let comparison = compared(&image, &image);
        assert_eq!(comparison.differences, []);
        assert_eq!(comparison.equality.strongest(), Equality::Config);
    }

    #[test]
    fn each_field_of_a_visible_entry_is_a_difference_of_its_own() {
        let base = [
            "d 0755 a @0",
            "f 0644 a/f @0 x",
            "l 0777 a/l>f @0",
            "c 0600 a/c @0 1,3",
        ];
        let with = |index: usize, line: &'static str| {
            let mut lines = base;
            lines[index] = line;
            [layer(lines)]
        };
        let cases = [
            (
                "content",
                with(1, "f 0644 a/f @0 y"),
                vec!["/a/f content files"],
            ),
            (
                "size",
                with(1, "f 0644 a/f @0 xy"),
                vec!["/a/f size files", "/a/f content files"],
            ),
            ("mode", with(1, "f 4755 a/f @0 x"), vec!["/a/f mode files"]),
            ("time", with(1, "f 0644 a/f @9 x"), vec!["/a/f mtime times"]),
            (
                "target",
                with(2, "l 0777 a/l>/f @0"),
                vec!["/a/l link-target files"],
            ),
            (
                "device",
                with(3, "c 0600 a/c @0 1,5"),
                vec!["/a/c device files"],
            ),
            ("type", with(3, "p 0600 a/c @0"), vec!["/a/c type files"]),
            (
                "xattr",
                with(1, "f 0644 a/f @0 x ; security.capability=1"),
                vec!["/a/f xattr files"],
            ),
            ("directory", with(0, "d 0700 a @0"), vec!["/a mode files"]),
            (
                "renamed",
                with(1, "f 0644 a/g @0 x"),
                vec!["/a/f presence files", "/a/g presence files"],
            ),
        ];
        for (case, changed, expected) in cases {
            assert_eq!(seen(&[layer(base)], &changed), expected, "{case}");
        }
    }

    #[test]
    fn what_a_later_layer_hides_is_compared_too() {
        let upper = layer(["f 0644 f @0 new", "f 0000 .wh.gone @0"]);
        let published = [
            layer(["f 0644 f @0 old", "f 0644 gone @0 x"]),
            Arc::clone(&upper),
        ];
        let rebuilt = [layer(["f 0644 f @0 older", "f 0644 gone @0 x"]), upper];
        assert_eq!(
            seen(&published, &rebuilt),
            ["/f size layer-oddity", "/f content layer-oddity"]
        );
        assert!(compared(&published, &rebuilt).equality.files);
    }

    #[test]
    fn a_name_that_is_gone_is_not_where_its_file_differs() {
        // Its mode is that of the last link to it, also where that name is gone.
        let upper = layer(["f 0000 .wh.b @0"]);
        let published = [
            layer(["f 0644 a @0 x", "h 0644 b>a @0"]),
            Arc::clone(&upper),
        ];
        let rebuilt = [layer(["f 0644 a @0 x", "h 0600 b>a @0"]), upper];
        assert_eq!(
            seen(&published, &rebuilt),
            ["/a mode files", "/b mode layer-oddity"]
        );
    }

    #[test]
    fn an_entry_whose_name_is_gone_is_missed_though_its_file_is_not() {
        let uppers = [
            ("deleted", layer(["f 0000 .wh.b @0"]), 2),
            ("overwritten", layer(["f 0644 b @0 y"]), 1),
        ];
        for (case, upper, count) in uppers {
            let published = [
                layer(["f 0644 a @0 x", "h 0644 b>a @0", "f 0644 c @0 z"]),
                Arc::clone(&upper),
            ];
            let rebuilt = [layer(["f 0644 a @0 x", "f 0644 c @0 z"]), upper];
            let found = seen(&published, &rebuilt);
            assert_eq!(found[0], "/b presence layer-oddity", "{case}");
            assert_eq!(found.len(), count, "{case}: {found:?}");
        }
    }

    #[test]
    fn a_second_entry_for_one_path_is_seen() {
        let once = [layer(["f 0644 f @0 x"])];
        let twice = [layer(["f 0644 f @0 x", "f 0644 f @0 x"])];
        assert_eq!(seen(&once, &twice), ["/f presence layer-oddity"]);
    }

    #[test]
    fn moved_entries_are_the_fewest_that_explain_the_order() {
        let published = [layer([
            "f 0644 a @0 1",
            "f 0644 b @0 2",
            "f 0644 c @0 3",
            "f 0644 d @0 4",
        ])];
        let rebuilt = [layer([
            "f 0644 b @0 2",
            "f 0644 c @0 3",
            "f 0644 a @0 1",
            "f 0644 d @0 4",
        ])];
        let found = compared(&published, &rebuilt);
        assert_eq!(found.differences.len(), 1);
        let values = found.differences[0]
            .values
            .clone()
            .map(|value| value.unwrap().to_string());
        assert_eq!(values, Pair::new("/a first".into(), "/a after /c".into()));
        assert!(found.equality.files);
    }

    #[test]
    fn the_same_files_in_other_layers_are_equal_but_packed_differently() {
        let published = [
            layer(["d 0755 a @0", "f 0644 a/f @0 x"]),
            layer(["f 0644 a/g @0 y", "f 0644 a/h @0 z"]),
        ];
        let rebuilt = [layer([
            "d 0755 a @0",
            "f 0644 a/f @0 x",
            "f 0644 a/g @0 y",
            "f 0644 a/h @0 z",
        ])];
        assert_eq!(seen(&published, &rebuilt), ["layers layer-count encoding"]);
        assert!(compared(&published, &rebuilt).equality.files);
    }

    #[test]
    fn a_name_that_leaves_its_hard_links_is_named_alone() {
        let published = [layer(["f 0644 a @0 x", "h 0644 b>a @0", "h 0644 c>a @0"])];
        let rebuilt = [layer(["f 0644 a @0 x", "f 0644 b @0 x", "h 0644 c>a @0"])];
        let found = seen(&published, &rebuilt);
        assert!(
            found.contains(&"/b hard-links files".to_owned()),
            "{found:?}"
        );
        assert!(
            found.iter().all(|difference| difference.starts_with("/b ")),
            "{found:?}"
        );
    }

    #[test]
    fn swapping_the_sides_swaps_the_values() {
        let published = [layer(["f 0644 a @0 x", "f 0644 b @0 y"])];
        let rebuilt = [layer(["f 0600 a @3 z"])];
        let there = compared(&published, &rebuilt).differences;
        let back = compared(&rebuilt, &published).differences;
        let swapped: Vec<_> = there
            .iter()
            .map(|found| found.values.clone().swapped())
            .collect();
        assert_eq!(
            swapped,
            back.iter()
                .map(|found| found.values.clone())
                .collect::<Vec<_>>()
        );
    }
}
