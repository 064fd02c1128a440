//! Layouts that are there: blobs in git or in the store → the same layout, every digest checked.
//!
//! The layout is not changed, so its manifest stays what it is; only the index
//! is made out for the one image. Blobs may be symbolic links within the tree,
//! and small ones may be embedded in their descriptors, as Docker's official
//! debian and busybox have them.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read, Write as _},
    sync::Arc,
};

use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest};

use super::{
    Error, Stop, cannot_write,
    layer::HashingReader,
    origins::Origins,
    output::{BlobFile, ManifestName, Writer},
    verified,
};
use crate::{
    digest::Digest,
    facts::{Built, BuiltLayer, Input, Origin},
    image::{EntryKind, Layer, MediaType, Platform, layer::scan_reader},
    progress::Task,
    source::Source,
    store::Store,
};

/// Where a layout lies.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    /// In the source tree, below this path.
    Tree(&'a Source, &'a str),
    /// In the store, the blob of each file by its path in the layout.
    Store(&'a Store, &'a BTreeMap<String, Digest>),
}

/// Says where contents come from, given the sizes that there are.
pub(super) type Telling<'a> = &'a dyn Fn(&BTreeSet<u64>) -> Result<Origins, Error>;

/// Indexes may lead to indexes, so deep.
const DEEPEST: usize = 4;

/// Copies the image for `platform`, named `tag` where there are several, into `writer`.
pub(super) fn copy(
    place: Place<'_>,
    platform: &Platform,
    tag: Option<&str>,
    origins: Telling<'_>,
    writer: &mut Writer,
    task: &dyn Task,
) -> Result<Built, Stop> {
    let mut tree = LayoutTree {
        place,
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
        let (path, layer) = tree.layer(descriptor, writer, task)?;
        if layer.diff_id.to_string() != *diff_id {
            return Err(Stop::Error(Error::Layout {
                path,
                problem: format!("should have the diffID {diff_id} but has {}", layer.diff_id),
            }));
        }
        layers.push((path, Arc::new(layer)));
    }
    let sizes = layers.iter().flat_map(|(_, layer)| &layer.entries);
    let origins = origins(&sizes.map(|entry| entry.kind.size()).collect())?;
    let providers = layers
        .iter()
        .flat_map(|(_, layer)| &layer.entries)
        .filter_map(|entry| match &entry.kind {
            EntryKind::File { content, .. } => Some((*content, origins.provider(content)?.clone())),
            _ => None,
        })
        .collect();
    let scanned = layers.iter().map(|(_, layer)| Arc::clone(layer)).collect();
    let layers = layers
        .into_iter()
        .map(|(path, layer)| described(path, &layer, &origins))
        .collect();
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
        environment: None,
        replaced: BTreeMap::new(),
        providers,
        scanned,
    })
}

/// Returns what a layer that is taken as it is has in it.
fn described(path: String, layer: &Layer, origins: &Origins) -> BuiltLayer {
    let mut bytes: BTreeMap<Origin, u64> = BTreeMap::new();
    let mut by_path = BTreeMap::new();
    let whole = origins.of_layer(layer.diff_id);
    for entry in &layer.entries {
        let origin = match &entry.kind {
            EntryKind::File { content, size, .. } => {
                let origin = whole.unwrap_or_else(|| origins.of(content));
                *bytes.entry(origin).or_default() += size;
                origin
            }
            _ => whole.unwrap_or(Origin::Built),
        };
        by_path.insert(entry.path.clone(), origin);
    }
    BuiltLayer {
        digest: layer.digest,
        size: layer.size,
        uncompressed_size: layer.uncompressed_size,
        diff_id: layer.diff_id,
        step: path,
        origins: by_path,
        bytes,
        made_times: BTreeSet::new(),
    }
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

/// Writes what is read through it.
struct Copying<'a> {
    from: Box<dyn Read + 'a>,
    to: &'a mut BlobFile,
    /// Why it could not be read or written.
    failed: &'a mut Option<Error>,
}

impl Copying<'_> {
    fn fail(&mut self, error: Error) -> io::Error {
        *self.failed = Some(error);
        io::Error::other("it could not be copied")
    }
}

impl Read for Copying<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match self.from.read(buffer) {
            Err(source) if source.kind() != io::ErrorKind::Interrupted => {
                return Err(self.fail(Error::Keep { source }));
            }
            read => read?,
        };
        match self.to.write_all(&buffer[..count]) {
            Ok(()) => Ok(count),
            Err(source) => {
                let error = cannot_write(self.to.get_ref().path())(source);
                Err(self.fail(error))
            }
        }
    }
}

/// The layout as it lies there.
struct LayoutTree<'a> {
    place: Place<'a>,
    inputs: BTreeMap<String, Input>,
}

impl LayoutTree<'_> {
    fn path(&self, name: &str) -> String {
        match self.place {
            Place::Tree(_, top) if !top.is_empty() => {
                format!("{}/{name}", top.trim_end_matches('/'))
            }
            Place::Tree(..) | Place::Store(..) => name.to_owned(),
        }
    }

    fn open(&self, name: &str) -> Result<Box<dyn Read + '_>, Error> {
        let path = self.path(name);
        match self.place {
            Place::Tree(source, _) => Ok(source.open(&path)?),
            Place::Store(store, files) => {
                let digest = files.get(name).ok_or_else(|| Error::Layout {
                    path: path.clone(),
                    problem: "is not there".to_owned(),
                })?;
                let blob = store.read(digest).map_err(Error::Store)?;
                Ok(Box::new(blob.ok_or(Error::NotKept { what: path })?))
            }
        }
    }

    /// Remembers a file of the source tree that was read.
    fn note(&mut self, name: &str, digest: Digest, size: u64) -> Result<(), Error> {
        if let Place::Tree(source, _) = self.place {
            let entry = source.resolve(self.path(name))?;
            self.inputs.insert(
                String::from_utf8_lossy(&entry.path).into_owned(),
                Input {
                    digest,
                    size,
                    origin: Origin::Opaque,
                },
            );
        }
        Ok(())
    }

    fn read(&mut self, name: &str) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let read = self.open(name)?.read_to_end(&mut bytes);
        read.map_err(|source| Error::Keep { source })?;
        self.note(name, Digest::of(&bytes), bytes.len() as u64)?;
        Ok(bytes)
    }

    /// Copies the layer that a descriptor names and returns its path and what is in it.
    fn layer(
        &mut self,
        descriptor: &Descriptor,
        writer: &mut Writer,
        task: &dyn Task,
    ) -> Result<(String, Layer), Error> {
        let expected = self.digest(descriptor)?;
        let name = format!("blobs/sha256/{}", expected.hex());
        let path = self.path(&name);
        let mut blob = writer.begin_blob()?;
        let mut failed = None;
        let mut copying = Copying {
            from: self.open(&name)?,
            to: &mut blob,
            failed: &mut failed,
        };
        let scanned = scan_reader(&mut copying, &path, task);
        drop(copying);
        if let Some(error) = failed {
            return Err(error);
        }
        let layer = match scanned {
            Ok(layer) => layer,
            Err(error) => {
                // That these are other bytes than were named says more than what is wrong with them.
                let hasher = HashingReader::new(self.open(&name)?)
                    .finish()
                    .map_err(|source| Error::Keep { source })?;
                let size = hasher.size();
                Self::check(&path, descriptor, (expected, hasher.finish()), size)?;
                return Err(Error::Layout {
                    path,
                    problem: format!("is not a layer: {error}"),
                });
            }
        };
        Self::check(&path, descriptor, (expected, layer.digest), layer.size)?;
        self.note(&name, layer.digest, layer.size)?;
        writer.end_blob(blob, layer.digest)?;
        Ok((path, layer))
    }

    fn digest(&self, descriptor: &Descriptor) -> Result<Digest, Error> {
        let text = descriptor.digest().to_string();
        text.parse().map_err(|error| Error::Layout {
            path: self.path("index.json"),
            problem: format!("has a digest that cannot be checked: {error}"),
        })
    }

    fn check(
        path: &str,
        descriptor: &Descriptor,
        (expected, actual): (Digest, Digest),
        size: u64,
    ) -> Result<(), Error> {
        verified(path, actual, expected)?;
        if size == descriptor.size() {
            return Ok(());
        }
        Err(Error::Layout {
            path: path.to_owned(),
            problem: format!("should have {} bytes but has {size}", descriptor.size()),
        })
    }

    /// Reads what a descriptor names and checks that it is that.
    fn blob(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        let digest = self.digest(descriptor)?;
        let name = format!("blobs/sha256/{}", digest.hex());
        let path = self.path(&name);
        let bytes = self.read(&name)?;
        let actual = Digest::of(&bytes);
        Self::check(&path, descriptor, (digest, actual), bytes.len() as u64)?;
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
