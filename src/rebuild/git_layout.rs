//! Layouts in the source: blobs in git → the same layout, every digest checked.
//!
//! The layout is not changed, so its manifest stays what it is; only the index
//! is made out for the one image. Blobs may be symbolic links within the tree,
//! and small ones may be embedded in their descriptors, as Docker's official
//! debian and busybox have them.

use std::collections::{BTreeMap, BTreeSet};

use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest};

use super::{
    Error, Stop,
    output::{ManifestName, Writer},
    verified,
};
use crate::{
    digest::{DiffId, Digest},
    facts::{Built, BuiltLayer, Input, Origin},
    image::{Entry, EntryKind, MediaType, Platform, tar::Reader},
    progress::Task,
    rebuild::unpack,
    source::Source,
};

/// Indexes may lead to indexes, so deep.
const DEEPEST: usize = 4;

/// Copies the image for `platform`, named `tag` where there are several, into `writer`.
pub(super) fn copy(
    source: &Source,
    platform: &Platform,
    layout: &str,
    tag: Option<&str>,
    writer: &mut Writer,
    task: &dyn Task,
) -> Result<Built, Stop> {
    let mut tree = LayoutTree {
        source,
        top: layout.trim_end_matches('/'),
        inputs: BTreeMap::new(),
    };
    tree.read("oci-layout")?;
    let index_path = tree.path("index.json");
    let index: ImageIndex = parse(&index_path, &tree.read("index.json")?)?;
    let named: Vec<Descriptor> = index
        .manifests()
        .iter()
        .filter(|descriptor| tag.is_none_or(|tag| name_of(descriptor) == Some(tag)))
        .cloned()
        .collect();
    let mut found = Vec::new();
    tree.manifests(&named, platform, DEEPEST, &mut found)?;
    let mut digests = BTreeSet::new();
    found.retain(|(descriptor, _)| digests.insert(descriptor.digest().to_string()));
    let (descriptor, bytes) = match &found[..] {
        [one] => one,
        [] => {
            return Err(Stop::failed(format!(
                "{index_path} has no image for {platform}{}",
                tag.map_or_else(String::new, |tag| format!(" named {tag}"))
            )));
        }
        several => {
            let candidates: Vec<String> = several
                .iter()
                .map(|(descriptor, _)| descriptor.digest().to_string())
                .collect();
            return Err(Stop::failed(format!(
                "{index_path} has several images for {platform}: {}",
                candidates.join(", ")
            )));
        }
    };
    let manifest: ImageManifest = parse(&index_path, bytes)?;
    let manifest_digest = writer.blob(bytes)?;
    let config = tree.blob(manifest.config())?;
    let config_digest = writer.blob(&config)?;
    let configuration: ImageConfiguration = parse(&tree.path("the config"), &config)?;
    let diff_ids = configuration.rootfs().diff_ids();
    if diff_ids.len() != manifest.layers().len() {
        return Err(Stop::Error(Error::Layout {
            path: tree.path("the config"),
            problem: format!(
                "has {} diffIDs for {} layers",
                diff_ids.len(),
                manifest.layers().len()
            ),
        }));
    }
    let mut layers = Vec::new();
    for (descriptor, diff_id) in manifest.layers().iter().zip(diff_ids) {
        let bytes = tree.blob(descriptor)?;
        let digest = writer.blob(&bytes)?;
        let path = tree.path(&format!("blobs/sha256/{}", digest.hex()));
        let layer = layer(&path, digest, &bytes)?;
        if layer.diff_id.to_string() != *diff_id {
            return Err(Stop::Error(Error::Layout {
                path,
                problem: format!("should have the diffID {diff_id} but has {}", layer.diff_id),
            }));
        }
        task.advance(layer.uncompressed_size);
        layers.push(layer);
    }
    let media_type = MediaType(descriptor.media_type().to_string());
    writer.index(&ManifestName {
        media_type: &media_type,
        digest: manifest_digest,
        size: bytes.len() as u64,
        platform,
    })?;
    Ok(Built {
        manifest: manifest_digest,
        config: config_digest,
        layers,
        encoding: None,
        inputs: tree.inputs,
    })
}

/// Returns what a layer that is taken as it is has in it; all of it is opaque.
fn layer(path: &str, digest: Digest, bytes: &[u8]) -> Result<BuiltLayer, Error> {
    let broken = |problem: String| Error::Layout {
        path: path.to_owned(),
        problem,
    };
    let tar = super::layer::HashingReader::new(unpack::decompressed(bytes));
    let mut reader = Reader::new(std::io::BufReader::new(tar), path);
    let mut origins = BTreeMap::new();
    let mut size = 0;
    loop {
        let entry = reader
            .entry_with(|_| {})
            .map_err(|error| broken(format!("is not a layer: {error}")))?;
        let Some(Entry { path, kind, .. }) = entry else {
            break;
        };
        if let EntryKind::File { size: bytes, .. } = kind {
            size += bytes;
        }
        origins.insert(path, Origin::Opaque);
    }
    let (_, input) = reader.finish();
    let hasher = input
        .into_inner()
        .finish()
        .map_err(|error| broken(format!("cannot be read to its end: {error}")))?;
    Ok(BuiltLayer {
        digest,
        size: bytes.len() as u64,
        uncompressed_size: hasher.size(),
        diff_id: DiffId::from_uncompressed(hasher.finish()),
        step: path.to_owned(),
        origins,
        bytes: BTreeMap::from([(Origin::Opaque, size)]),
        made_times: BTreeSet::new(),
    })
}

fn parse<T: serde::de::DeserializeOwned>(path: &str, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::Layout {
        path: path.to_owned(),
        problem: format!("is not valid: {error}"),
    })
}

fn name_of(descriptor: &Descriptor) -> Option<&str> {
    descriptor
        .annotations()
        .as_ref()?
        .get("org.opencontainers.image.ref.name")
        .map(String::as_str)
}

/// The layout as it lies in the tree.
struct LayoutTree<'a> {
    source: &'a Source,
    top: &'a str,
    inputs: BTreeMap<String, Input>,
}

impl LayoutTree<'_> {
    fn path(&self, name: &str) -> String {
        if self.top.is_empty() {
            name.to_owned()
        } else {
            format!("{}/{name}", self.top)
        }
    }

    fn read(&mut self, name: &str) -> Result<Vec<u8>, Error> {
        let path = self.path(name);
        let entry = self.source.resolve(&path)?;
        let bytes = self.source.read(&path)?;
        self.inputs.insert(
            String::from_utf8_lossy(&entry.path).into_owned(),
            Input {
                digest: Digest::of(&bytes),
                size: bytes.len() as u64,
                origin: Origin::Opaque,
            },
        );
        Ok(bytes)
    }

    /// Reads what a descriptor names and checks that it is that.
    fn blob(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        let text = descriptor.digest().to_string();
        let digest: Digest = text.parse().map_err(|error| Error::Layout {
            path: self.path("index.json"),
            problem: format!("has a digest that cannot be checked: {error}"),
        })?;
        let name = format!("blobs/sha256/{}", digest.hex());
        let path = self.path(&name);
        let bytes = self.read(&name)?;
        verified(&path, &bytes, digest)?;
        if bytes.len() as u64 != descriptor.size() {
            return Err(Error::Layout {
                path,
                problem: format!(
                    "should have {} bytes but has {}",
                    descriptor.size(),
                    bytes.len()
                ),
            });
        }
        Ok(bytes)
    }

    /// Finds the manifests for `platform` behind the descriptors.
    fn manifests(
        &mut self,
        descriptors: &[Descriptor],
        platform: &Platform,
        depth: usize,
        found: &mut Vec<(Descriptor, Vec<u8>)>,
    ) -> Result<(), Error> {
        for descriptor in descriptors {
            let media_type = MediaType(descriptor.media_type().to_string());
            let fits = match descriptor.platform() {
                Some(offered) => platform.accepts(&Platform {
                    os: offered.os().to_string(),
                    architecture: offered.architecture().to_string(),
                    variant: offered.variant().clone(),
                }),
                None => true,
            };
            if media_type.is_index() {
                if depth == 0 {
                    return Err(Error::Layout {
                        path: self.path("index.json"),
                        problem: "leads through too many indexes".to_owned(),
                    });
                }
                let bytes = self.blob(descriptor)?;
                let index: ImageIndex = parse(&self.path("index.json"), &bytes)?;
                self.manifests(index.manifests(), platform, depth - 1, found)?;
            } else if media_type.is_manifest() && fits {
                let bytes = self.blob(descriptor)?;
                if descriptor.platform().is_none() && !self.config_fits(&bytes, platform)? {
                    continue;
                }
                found.push((descriptor.clone(), bytes));
            }
        }
        Ok(())
    }

    /// Returns whether the config says the platform, where the descriptor does not.
    fn config_fits(&mut self, manifest: &[u8], platform: &Platform) -> Result<bool, Error> {
        let path = self.path("index.json");
        let manifest: ImageManifest = parse(&path, manifest)?;
        let config = self.blob(manifest.config())?;
        let config: ImageConfiguration = parse(&path, &config)?;
        Ok(platform.accepts(&Platform {
            os: config.os().to_string(),
            architecture: config.architecture().to_string(),
            variant: config.variant().clone(),
        }))
    }
}
