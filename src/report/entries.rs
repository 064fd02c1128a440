//! Entries: every entry of the published image, whose it is and what became of it.
//!
//! One record each, in order of their paths, made as they are asked for: an image has
//! more entries than a report should hold. Their sums are the report's coverage.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    coverage::{Fate, State},
    model::LayerFacts,
};
use crate::{
    compare::Visibility,
    digest::Digest,
    facts::{Origin, Provider},
    image::{
        EntryKind, EntryPath, Layer,
        entry::Printable,
        overlay::{self, EntryId, FileSystem},
    },
    inventory::{Inventory, Package},
};

/// One entry of the published image.
///
/// What a container sees are the records that are `visible`; what lies in a layer's
/// bytes only is `hidden`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntryRecord {
    /// The path, as findings name it: bytes that are not printable are written as `\ooo` in octal.
    pub path: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: EntryType,
    /// Bytes of content that the entry itself has; 0 for further names of a file.
    pub size: u64,
    /// The content's digest, of a further name that of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Where a link leads, written as `path` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The number of its layer, from 0, the base.
    pub layer: usize,
    /// The instruction that the image's history says made the layer; absent where it does not say of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
    /// The instructions that may each have made some of the layer, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<String>,
    /// Whether a container sees it under this name.
    pub visibility: Visibility,
    /// The package that it is said to belong to, by the image's own database; absent where none says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Package>,
    /// Where the bytes of its counterpart in the rebuilt image come from, where it was rebuilt and is visible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// What its content equals, byte for byte, where the rebuild knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provided_by: Option<Provider>,
    /// What became of it.
    pub state: State,
    /// In what it differs, as findings name it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differs: Vec<String>,
    /// The names of the causes that explain it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
}

/// What an entry is, by the types of tar.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum EntryType {
    /// A regular file.
    File,
    /// A further name of a file.
    HardLink,
    /// A symbolic link.
    SymbolicLink,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A named pipe.
    NamedPipe,
    /// A type that no runtime makes a file of.
    Other,
}

/// The entries of a published image, and what is known of each.
#[derive(Debug)]
pub struct Entries {
    layers: Vec<Arc<Layer>>,
    system: FileSystem,
    /// The entries that a container sees under their names, and where each of them lies that
    /// lies elsewhere, by a link.
    ///
    /// Others are seen nowhere, or their file has another name only.
    places: BTreeMap<EntryId, Option<EntryPath>>,
    known: Known,
}

/// What is known of the entries of a published image.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// What the report says of the layers.
    pub(crate) made: Vec<LayerFacts>,
    /// The packages of the image.
    pub(crate) inventory: Inventory,
    /// What became of the entries of which something differs.
    pub(crate) fates: BTreeMap<EntryPath, Fate>,
    /// Where what the rebuilt image has at a path comes from.
    pub(crate) origins: BTreeMap<EntryPath, Origin>,
    /// What contents equal.
    pub(crate) providers: BTreeMap<Digest, Provider>,
}

impl Entries {
    /// Returns the entries of these layers, base first; `system` is what they make, where that
    /// was worked out.
    ///
    /// Fails where the layers make no file system that can be worked out.
    pub(crate) fn of(
        layers: &[Arc<Layer>],
        system: Option<FileSystem>,
        known: Known,
    ) -> Result<Self, overlay::Error> {
        let system = match system {
            Some(system) => system,
            None => FileSystem::flatten(layers)?,
        };
        let placed = system.paths().filter_map(|(place, node)| {
            let id = node.entry?;
            let is_own = layers[id.layer].entries[id.index].path == *place;
            Some((id, (!is_own).then(|| place.clone())))
        });
        Ok(Self {
            places: placed.collect(),
            system,
            layers: layers.to_vec(),
            known,
        })
    }

    /// Returns a record of each entry of each layer, in order of their paths, the base's first.
    pub fn records(&self) -> impl Iterator<Item = EntryRecord> + '_ {
        let layers = self.layers.iter().enumerate();
        let mut ids: Vec<EntryId> = layers
            .flat_map(|(layer, it)| {
                (0..it.entries.len()).map(move |index| EntryId { layer, index })
            })
            .collect();
        ids.sort_by_key(|id| (&self.layers[id.layer].entries[id.index].path, *id));
        ids.into_iter().map(|id| self.record(id))
    }

    fn record(&self, id: EntryId) -> EntryRecord {
        let Known {
            made,
            inventory,
            fates,
            origins,
            providers,
        } = &self.known;
        let entry = &self.layers[id.layer].entries[id.index];
        let path = &entry.path;
        let place = self.places.get(&id).map(|it| it.as_ref().unwrap_or(path));
        let visibility = match place {
            Some(_) => Visibility::Visible,
            None => Visibility::Hidden,
        };
        let digest = content(&entry.kind).or_else(|| {
            let file = self.system.at(place?)?.file?;
            content(&self.layers[file.layer].entries[file.index].kind)
        });
        let (kind, target) = match &entry.kind {
            EntryKind::File { .. } => (EntryType::File, None),
            EntryKind::HardLink { target } => (EntryType::HardLink, Some(target.to_string())),
            EntryKind::Symlink { target } => {
                let target = Printable(target).to_string();
                (EntryType::SymbolicLink, Some(target))
            }
            EntryKind::CharDevice { .. } => (EntryType::CharacterDevice, None),
            EntryKind::BlockDevice { .. } => (EntryType::BlockDevice, None),
            EntryKind::Directory => (EntryType::Directory, None),
            EntryKind::Fifo => (EntryType::NamedPipe, None),
            EntryKind::Other { .. } => (EntryType::Other, None),
        };
        let layer = made.get(id.layer);
        let fate = fates.get(path).cloned().unwrap_or_default();
        let words =
            |words: &BTreeSet<&'static str>| words.iter().map(|&word| word.to_owned()).collect();
        EntryRecord {
            path: path.to_string(),
            kind,
            size: entry.kind.size(),
            digest,
            target,
            layer: id.layer,
            instruction: layer.and_then(|layer| layer.instruction.clone()),
            steps: layer.map_or_else(Vec::new, |layer| layer.steps.clone()),
            visibility,
            // A package may list either name of what lies elsewhere by a link.
            owner: (place.and_then(|place| inventory.owner(place)))
                .or_else(|| inventory.owner(path))
                .cloned(),
            origin: place.and_then(|place| origins.get(place).copied()),
            provided_by: digest.and_then(|digest| providers.get(&digest).cloned()),
            state: fate.state,
            differs: words(&fate.differs),
            causes: words(&fate.causes),
        }
    }
}

fn content(kind: &EntryKind) -> Option<Digest> {
    match kind {
        EntryKind::File { content, .. } | EntryKind::Other { content, .. } => Some(*content),
        EntryKind::HardLink { .. }
        | EntryKind::Symlink { .. }
        | EntryKind::CharDevice { .. }
        | EntryKind::BlockDevice { .. }
        | EntryKind::Directory
        | EntryKind::Fifo => None,
    }
}
