//! Manifests and indexes, compared as JSON.

use serde_json::Value as Json;

use super::{Attribute, Bearing, Difference, Location, Side, Value, json};
use crate::{
    digest::Digest,
    image::{Manifest, MediaType, RawIndex},
    pair::Pair,
};

/// The media types of layers that every runtime unpacks.
const LAYER_TYPES: [&str; 5] = [
    MediaType::OCI_LAYER,
    MediaType::OCI_LAYER_GZIP,
    MediaType::OCI_LAYER_ZSTD,
    MediaType::DOCKER_LAYER,
    MediaType::DOCKER_LAYER_GZIP,
];

/// The media types of image configs.
const CONFIG_TYPES: [&str; 2] = [MediaType::OCI_CONFIG, MediaType::DOCKER_CONFIG];

/// The media types of image manifests.
const MANIFEST_TYPES: [&str; 2] = [MediaType::OCI_MANIFEST, MediaType::DOCKER_MANIFEST];

/// Compares two manifests.
///
/// Digests and sizes of config and layers follow from those, which are compared
/// themselves; so do the descriptors of layers that have no counterpart.
pub(super) fn manifest(
    manifests: Pair<&Manifest>,
    layers: &[Pair<Option<usize>>],
    differences: &mut Vec<Difference>,
) {
    if manifests.map(|manifest| manifest.digest).is_equal() {
        return;
    }
    let by_position = layers.iter().all(|pair| pair.published == pair.rebuilt);
    let documents = Documents {
        bytes: manifests.map(|manifest| manifest.bytes.as_slice()),
        digests: manifests.map(|manifest| manifest.digest),
        location: |pointer| Location::Manifest { pointer },
    };
    documents.compare(differences, Bearing::ManifestUnknown, |difference| {
        let path: Vec<&str> = difference.pointer.split('/').skip(1).collect();
        match path[..] {
            ["config", "digest" | "size"] | ["layers", _, "digest" | "size"] => None,
            // Layers are matched by diffID then, and their number is a difference of its own.
            ["layers", _] | ["layers", _, "mediaType"] if !by_position => None,
            ["mediaType"] => Some(known(difference, &MANIFEST_TYPES)),
            ["config", "mediaType"] => Some(known(difference, &CONFIG_TYPES)),
            ["layers", _, "mediaType"] => Some(known(difference, &LAYER_TYPES)),
            // Embedded data was checked against the descriptor's digest when it was read.
            ["annotations", ..]
            | ["config", "annotations" | "data", ..]
            | ["layers", _, "annotations" | "data", ..] => Some(Bearing::Encoding),
            _ => Some(Bearing::ManifestUnknown),
        }
    });
}

/// Returns `Encoding` where both media types are known ones, or one is left out.
fn known(difference: &json::JsonDifference, types: &[&str]) -> Bearing {
    let fits = |value: &Option<Json>| {
        value
            .as_ref()
            .is_none_or(|value| value.as_str().is_some_and(|text| types.contains(&text)))
    };
    if fits(&difference.values.published) && fits(&difference.values.rebuilt) {
        Bearing::Encoding
    } else {
        Bearing::ManifestUnknown
    }
}

/// Compares two indexes.
///
/// The entry of the compared manifest says which platform it is offered for;
/// anything else in an index is reported and not judged.
pub(super) fn index(
    indexes: Pair<&RawIndex>,
    sides: Pair<Side<'_>>,
    differences: &mut Vec<Difference>,
) {
    if indexes.map(|index| index.digest).is_equal() {
        return;
    }
    let chosen = Pair::new(
        position(indexes.published, sides.published.manifest),
        position(indexes.rebuilt, sides.rebuilt.manifest),
    );
    let documents = Documents {
        bytes: indexes.map(|index| index.bytes.as_slice()),
        digests: indexes.map(|index| index.digest),
        location: |pointer| Location::Index { pointer },
    };
    let same_manifest = sides
        .map(|side| side.manifest.map(|manifest| manifest.digest))
        .is_equal();
    documents.compare(differences, Bearing::Index, |difference| {
        let path: Vec<&str> = difference.pointer.split('/').skip(1).collect();
        let is_chosen = |position: &&str| {
            chosen
                .published
                .is_some_and(|chosen| chosen.to_string() == **position)
                && chosen.is_equal()
        };
        match path[..] {
            ["manifests", position, "digest" | "size"]
                if is_chosen(&position) && !same_manifest =>
            {
                None
            }
            ["manifests", position, "data"] if is_chosen(&position) && !same_manifest => None,
            ["manifests", position, "platform", ..] if is_chosen(&position) => {
                Some(Bearing::Platform)
            }
            _ => Some(Bearing::Index),
        }
    });
}

/// Returns at which position the index names the manifest.
fn position(index: &RawIndex, manifest: Option<&Manifest>) -> Option<usize> {
    let digest = manifest?.digest.to_string();
    let document: Json = serde_json::from_slice(&index.bytes).ok()?;
    document
        .get("manifests")?
        .as_array()?
        .iter()
        .position(|entry| entry.get("digest").and_then(Json::as_str) == Some(&digest))
}

/// Two documents of one kind.
struct Documents<'a> {
    bytes: Pair<&'a [u8]>,
    digests: Pair<Digest>,
    location: fn(String) -> Location,
}

impl Documents<'_> {
    /// Adds every difference to which `bearing` gives one; the others follow from elsewhere.
    fn compare(
        &self,
        differences: &mut Vec<Difference>,
        whole: Bearing,
        bearing: impl Fn(&json::JsonDifference) -> Option<Bearing>,
    ) {
        let mut add_whole = |attribute, bearing| {
            differences.push(Difference {
                location: (self.location)(String::new()),
                attribute,
                values: self.digests.map(|digest| Some(Value::Digest(digest))),
                bearing,
            });
        };
        let parsed = self.bytes.map(serde_json::from_slice::<Json>);
        let (Ok(published), Ok(rebuilt)) = (parsed.published, parsed.rebuilt) else {
            add_whole(Attribute::Bytes, whole);
            return;
        };
        if json::has_inexact_number(&published) || json::has_inexact_number(&rebuilt) {
            add_whole(Attribute::Bytes, whole);
        }
        let found = json::differences(Pair::new(&published, &rebuilt));
        if found.is_empty() || !self.bytes.map(json::layout).is_equal() {
            // An index is reported and never judged; a manifest's bytes are.
            let bearing = if whole == Bearing::Index {
                whole
            } else {
                Bearing::Encoding
            };
            add_whole(Attribute::Serialisation, bearing);
        }
        for difference in found {
            if let Some(bearing) = bearing(&difference) {
                differences.push(Difference {
                    location: (self.location)(difference.pointer.clone()),
                    attribute: Attribute::Json,
                    values: difference.into_values(),
                    bearing,
                });
            }
        }
    }
}
