//! Bases: an image that FROM names, by its digest → its files as a root file system, and what
//! its config says.
//!
//! The layers are brought into the store and read twice: once for what there is
//! of entries, and once for the contents that are seen. What is seen, whiteouts
//! applied, is told in memory as `compare` tells it, so that one tar has every
//! file once and nothing that a lower layer hides; GNU tar, given layer after
//! layer, would follow links out of the root and fail where a file takes the
//! place of a directory. That tar is kept by the layers' diffIDs.
//!
//! Nothing is run here, and no name is taken for an image: a digest names it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufReader, BufWriter, Read, Write},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Error, Stop,
    kept::{Key, Stages},
    sandbox::RootDirectory,
    toolchain::{self, is_kept},
    workshop::Workshop,
};
use crate::{
    dialect::{
        json::{Healthcheck, RunConfig, Set, Step, StepLayer},
        tar::walk_order,
    },
    digest::{DiffId, Digest},
    facts::Privileges,
    image::{
        self, Access, Descriptor, Entry, EntryKind, EntryPath, Image, ImageName, Layer, MediaType,
        Platform, Timestamp, layer,
        overlay::{EntryId, FileSystem},
    },
    progress::Progress,
    store::{BlobReader, Store},
};

/// The mode of a directory that no layer has an entry for.
const IMPLIED_DIRECTORY: u32 = 0o755;

/// The longest name that a tar header has room for; longer ones are in an extension of it.
const LONGEST_NAME: usize = 100;

/// An image to build on: its manifest and its config.
pub(super) struct BaseImage {
    name: String,
    image: Box<dyn Image>,
    /// Its layers, the lowest first.
    pub(super) layers: Vec<BaseLayer>,
    pub(super) run: RunConfig,
    /// The maintainer, where there is one.
    pub(super) author: Option<String>,
    pub(super) history: Vec<Step>,
}

/// A layer of a base, which stays what it is in what is built on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BaseLayer {
    /// What the base's manifest says that it is.
    pub(super) media_type: MediaType,
    pub(super) digest: Digest,
    /// Bytes of the blob.
    pub(super) size: u64,
    pub(super) diff_id: DiffId,
}

/// The files of a base, in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BaseFiles {
    /// The tar of the root.
    root: Digest,
    /// The list of what the files of its layers hold, to tell what comes from them.
    contents: Digest,
}

/// Which files can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum Devices {
    Made,
    /// Without root there are none.
    LeftOut,
}

/// What a config says of how its image is run; what is not here no instruction changes.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Running {
    user: Option<String>,
    exposed_ports: Option<serde_json::Map<String, Value>>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    volumes: Option<serde_json::Map<String, Value>>,
    working_dir: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    stop_signal: Option<String>,
    args_escaped: Option<bool>,
    healthcheck: Option<Check>,
    on_build: Option<Vec<String>>,
    shell: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Check {
    test: Option<Vec<String>>,
    interval: i64,
    timeout: i64,
    start_period: i64,
    start_interval: i64,
    retries: i64,
}

#[derive(Deserialize)]
struct Config {
    author: Option<String>,
    config: Option<Running>,
}

impl BaseImage {
    /// Finds the image; `name` has its digest, or that of an index that leads to it.
    pub(super) fn find(
        name: &str,
        platform: &Platform,
        access: &Access,
        progress: &dyn Progress,
    ) -> Result<Self, Stop> {
        let failed = |source| Error::Base {
            name: name.to_owned(),
            source,
        };
        let parsed: ImageName = name
            .parse()
            .map_err(|error| Stop::failed(format!("{name} is no base: {error}")))?;
        if parsed.digest().is_none() {
            return Err(Stop::failed(format!(
                "{name} does not say by a digest which image it is"
            )));
        }
        let image = image::resolve(&parsed, Some(platform), access, progress).map_err(failed)?;
        let what = format!("the config of {name}");
        let config = image.config().parse(&what).map_err(failed)?;
        let raw: Config = serde_json::from_slice(&image.config().bytes).map_err(|source| {
            failed(image::Error::Json {
                what: what.clone(),
                source,
            })
        })?;
        if config.diff_ids.len() != image.layer_count() {
            let problem = format!(
                "has {} diffIDs for {} layers",
                config.diff_ids.len(),
                image.layer_count()
            );
            return Err(failed(image::Error::Invalid { what, problem }).into());
        }
        let layers = config
            .diff_ids
            .iter()
            .enumerate()
            .map(|(index, &diff_id)| {
                let Descriptor {
                    media_type,
                    digest,
                    size,
                    ..
                } = image.layer_descriptor(index)?;
                Some(BaseLayer {
                    media_type: media_type.clone(),
                    digest: *digest,
                    size: *size,
                    diff_id,
                })
            })
            .collect::<Option<_>>()
            .ok_or_else(|| Stop::failed(format!("{name} has no manifest")))?;
        let history = config.history.into_iter();
        Ok(Self {
            name: name.to_owned(),
            layers,
            run: raw.config.unwrap_or_default().into(),
            author: raw.author.filter(|author| !author.is_empty()),
            history: history
                .map(|step| Step {
                    created: step.created,
                    created_by: step.created_by.unwrap_or_default(),
                    author: step.author.filter(|author| !author.is_empty()),
                    comment: step.comment.filter(|comment| !comment.is_empty()),
                    layer: if step.empty_layer {
                        StepLayer::None
                    } else {
                        StepLayer::Made
                    },
                })
                .collect(),
            image,
        })
    }

    /// Brings the layers into the store, as they are.
    pub(super) fn keep(&self, store: &Store, progress: &dyn Progress) -> Result<(), Error> {
        for (index, layer) in self.layers.iter().enumerate() {
            if is_kept(&layer.digest, store)? {
                continue;
            }
            let what = self.what(index);
            let task = progress.begin(&format!("fetching {what}"), Some(layer.size));
            let failed = |source| Error::Base {
                name: self.name.clone(),
                source,
            };
            let mut blob = self.image.open(index).map_err(failed)?;
            let mut writer = store.writer().map_err(Error::Store)?;
            let mut buffer = vec![0; 1 << 17];
            loop {
                match blob.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => {
                        writer
                            .write_all(&buffer[..count])
                            .map_err(|source| Error::Keep { source })?;
                        task.advance(count as u64);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // The reader checks what it gives, and its errors say what is wrong with it.
                    Err(error) => {
                        return Err(failed(layer::read_error(error, &what)));
                    }
                }
            }
            writer.finish(Some(&layer.digest)).map_err(Error::Store)?;
        }
        Ok(())
    }

    /// Returns the files, made of the layers or taken from the store.
    pub(super) fn files(
        &self,
        workshop: &Workshop<'_>,
        store: &Store,
        stages: &Stages,
        progress: &dyn Progress,
    ) -> Result<BaseFiles, Stop> {
        let devices = match workshop.runtime().facts().privileges {
            Privileges::Root => Devices::Made,
            Privileges::Rootless => Devices::LeftOut,
        };
        let diff_ids: Vec<DiffId> = self.layers.iter().map(|layer| layer.diff_id).collect();
        let key = Key::of("base", &(diff_ids, devices));
        if let Some(files) = stages.get::<BaseFiles>(key)?
            && files.are_kept(store)?
        {
            return Ok(files);
        }
        self.keep(store, progress)?;
        let files = self.unpacked(devices, store, progress)?;
        stages.put(key, &files)?;
        Ok(files)
    }

    /// Writes one tar of what is seen of the layers, which are in the store.
    fn unpacked(
        &self,
        devices: Devices,
        store: &Store,
        progress: &dyn Progress,
    ) -> Result<BaseFiles, Stop> {
        let layers: Vec<Layer> = (0..self.layers.len())
            .map(|index| self.scanned(index, store, progress))
            .collect::<Result<_, _>>()?;
        let seen = FileSystem::flatten(&layers).map_err(|source| Error::BaseFiles {
            name: self.name.clone(),
            source,
        })?;
        let order = Order::of(&seen, &layers, devices);

        let writer = store.writer().map_err(Error::Store)?;
        let mut tar = Tar(tar::Builder::new(BufWriter::with_capacity(1 << 18, writer)));
        for (path, entry) in &order.directories {
            let entry = entry.map(|id| &layers[id.layer].entries[id.index]);
            tar.member(path, &EntryKind::Directory, entry, None, io::empty())?;
        }
        for (index, layer) in layers.iter().enumerate() {
            let Some(files) = order.files.get(&index) else {
                continue;
            };
            let what = self.what(index);
            let task = progress.begin(&format!("unpacking {what}"), Some(layer.size));
            let mut written = Ok(());
            let read = layer::contents(
                BufReader::with_capacity(1 << 18, self.blob(index, store)?),
                layer,
                &what,
                &*task,
                |position, _| files.contains_key(&position),
                |position, entry, content| {
                    if written.is_ok() {
                        let (path, attributes) = &files[&position];
                        let attributes = &layers[attributes.layer].entries[attributes.index];
                        let more = Some(entry);
                        written = tar.member(path, &entry.kind, Some(attributes), more, content);
                    }
                    Ok(())
                },
            );
            read.map_err(|source| Error::Base {
                name: self.name.clone(),
                source,
            })?;
            written?;
        }
        for (path, target) in order.links {
            let kind = EntryKind::HardLink { target };
            tar.member(&path, &kind, None, None, io::empty())?;
        }
        let writer = tar.0.into_inner().and_then(|buffered| {
            let writer = buffered.into_inner();
            writer.map_err(io::IntoInnerError::into_error)
        });
        let writer = writer.map_err(|source| Error::Keep { source })?;
        let root = writer.finish(None).map_err(Error::Store)?;

        let entries = layers.iter().flat_map(|layer| &layer.entries);
        let contents: BTreeSet<Digest> = entries
            .filter_map(|entry| match entry.kind {
                EntryKind::File { content, .. } => Some(content),
                _ => None,
            })
            .collect();
        let text = serde_json::to_vec(&contents).expect("digests can be written as JSON");
        Ok(BaseFiles {
            root,
            contents: toolchain::keep(&text[..], store)?,
        })
    }

    /// Reads a layer once, and checks that it is the one that the config names.
    fn scanned(
        &self,
        index: usize,
        store: &Store,
        progress: &dyn Progress,
    ) -> Result<Layer, Error> {
        let expected = &self.layers[index];
        let what = self.what(index);
        let task = progress.begin(&format!("reading {what}"), Some(expected.size));
        let blob = BufReader::with_capacity(1 << 18, self.blob(index, store)?);
        let failed = |source| Error::Base {
            name: self.name.clone(),
            source,
        };
        let layer = layer::scan_reader(blob, &what, &*task).map_err(failed)?;
        if layer.diff_id != expected.diff_id {
            return Err(failed(image::Error::DigestMismatch {
                what: format!("the diffID of {what}"),
                expected: expected.diff_id.to_string(),
                actual: layer.diff_id.to_string(),
            }));
        }
        Ok(layer)
    }

    fn blob(&self, index: usize, store: &Store) -> Result<BlobReader, Error> {
        let blob = store
            .read(&self.layers[index].digest)
            .map_err(Error::Store)?;
        blob.ok_or_else(|| Error::NotKept {
            what: self.what(index),
        })
    }

    /// Returns what a person calls a layer.
    fn what(&self, index: usize) -> String {
        format!("layer {} of {}", index + 1, self.name)
    }
}

impl BaseFiles {
    /// Returns whether the store has them; the bytes are checked when they are read.
    pub(super) fn are_kept(&self, store: &Store) -> Result<bool, Error> {
        Ok(is_kept(&self.root, store)? && is_kept(&self.contents, store)?)
    }

    /// Makes a root file system of them.
    pub(super) fn root(
        &self,
        workshop: &Workshop<'_>,
        store: &Store,
    ) -> Result<RootDirectory, Error> {
        workshop.unpacked(&self.root, store)
    }

    /// Returns what the files of all layers hold, seen or hidden.
    pub(super) fn contents(&self, store: &Store) -> Result<BTreeSet<Digest>, Error> {
        let blob = store.read(&self.contents).map_err(Error::Store)?;
        let blob = blob.ok_or_else(|| Error::NotKept {
            what: format!("the root file system {}", self.root),
        })?;
        serde_json::from_reader(BufReader::new(blob)).map_err(|error| Error::Keep {
            source: error.into(),
        })
    }
}

impl From<Running> for RunConfig {
    fn from(running: Running) -> Self {
        let set = |named: serde_json::Map<String, Value>| {
            Set(named.into_iter().map(|(name, _)| name).collect())
        };
        Self {
            user: running.user.unwrap_or_default(),
            exposed_ports: running.exposed_ports.map(set),
            environment: running.env.unwrap_or_default(),
            entrypoint: running.entrypoint,
            command: running.cmd,
            volumes: running.volumes.map(set),
            working_directory: running.working_dir.unwrap_or_default(),
            labels: running.labels,
            stop_signal: running.stop_signal.unwrap_or_default(),
            arguments_escaped: running.args_escaped.unwrap_or_default(),
            healthcheck: running.healthcheck.map(|check| Healthcheck {
                test: check.test.unwrap_or_default(),
                interval: check.interval,
                timeout: check.timeout,
                start_period: check.start_period,
                start_interval: check.start_interval,
                retries: check.retries,
            }),
            on_build: running.on_build.unwrap_or_default(),
            shell: running.shell.unwrap_or_default(),
        }
    }
}

/// In which order what is seen is written: directories, files as their layers have them, and
/// further names of these.
#[derive(Default)]
struct Order {
    /// With the entry that says what mode, owner and time they have, where there is one.
    directories: Vec<(EntryPath, Option<EntryId>)>,
    /// By layer, and by position there: the path, and the entry that says mode, owner and time.
    files: BTreeMap<usize, BTreeMap<usize, (EntryPath, EntryId)>>,
    /// Path, and the path that is written before.
    links: Vec<(EntryPath, EntryPath)>,
}

impl Order {
    fn of(seen: &FileSystem, layers: &[Layer], devices: Devices) -> Self {
        let mut order = Self::default();
        let mut first: BTreeMap<usize, &EntryPath> = BTreeMap::new();
        for (path, node) in seen.paths() {
            let Some(file) = node.file else {
                order.directories.push((path.clone(), None));
                continue;
            };
            match layers[file.layer].entries[file.index].kind {
                EntryKind::Directory => {
                    let attributes = node.attributes.unwrap_or(file);
                    order.directories.push((path.clone(), Some(attributes)));
                    continue;
                }
                EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. }
                    if devices == Devices::LeftOut =>
                {
                    continue;
                }
                EntryKind::CharDevice { .. }
                | EntryKind::BlockDevice { .. }
                | EntryKind::File { .. }
                | EntryKind::Symlink { .. }
                | EntryKind::Fifo
                | EntryKind::HardLink { .. }
                | EntryKind::Other { .. } => {}
            }
            if let Some(&first) = first.get(&node.inode) {
                order.links.push((path.clone(), first.clone()));
                continue;
            }
            first.insert(node.inode, path);
            let attributes = node.attributes.unwrap_or(file);
            let of_layer = order.files.entry(file.layer).or_default();
            of_layer.insert(file.index, (path.clone(), attributes));
        }
        let walk =
            |one: &EntryPath, other: &EntryPath| walk_order(one.as_bytes(), other.as_bytes());
        order
            .directories
            .sort_by(|(one, _), (other, _)| walk(one, other));
        order
    }
}

/// A tar being written, as GNU tar unpacks it with all that files have.
struct Tar<W: Write>(tar::Builder<W>);

impl<W: Write> Tar<W> {
    /// Writes a file; `attributes` says mode, owner and time, and both entries may have
    /// extended attributes.
    fn member(
        &mut self,
        path: &EntryPath,
        kind: &EntryKind,
        attributes: Option<&Entry>,
        file: Option<&Entry>,
        content: impl Read,
    ) -> Result<(), Stop> {
        let id = |id: i64| {
            u32::try_from(id)
                .map(u64::from)
                .map_err(|_| Stop::failed(format!("{path} belongs to {id}, which no file can")))
        };
        let mut header = tar::Header::new_ustar();
        let (uid, gid) = attributes.map_or((0, 0), |entry| (entry.uid, entry.gid));
        header.set_uid(id(uid)?);
        header.set_gid(id(gid)?);
        let mode = attributes.map_or(IMPLIED_DIRECTORY, |entry| entry.mode & 0o7777);
        header.set_mode(mode);
        header.set_size(kind.size());
        let mtime = attributes.map_or(Timestamp::default(), |entry| entry.mtime);
        header.set_mtime(u64::try_from(mtime.seconds).unwrap_or(0));

        let mut extensions: Vec<(String, Vec<u8>)> = Vec::new();
        if mtime.nanoseconds != 0 || mtime.seconds < 0 {
            extensions.push(("mtime".to_owned(), in_decimals(mtime).into_bytes()));
        }
        let mut target: &[u8] = b"";
        header.set_entry_type(match kind {
            EntryKind::File { .. } => tar::EntryType::Regular,
            EntryKind::HardLink { target: other } => {
                target = other.as_bytes();
                tar::EntryType::Link
            }
            EntryKind::Symlink { target: other } => {
                target = other;
                tar::EntryType::Symlink
            }
            EntryKind::CharDevice { .. } => tar::EntryType::Char,
            EntryKind::BlockDevice { .. } => tar::EntryType::Block,
            EntryKind::Directory => tar::EntryType::Directory,
            EntryKind::Fifo => tar::EntryType::Fifo,
            // What no runtime makes a file of is seen nowhere.
            EntryKind::Other { .. } => return Ok(()),
        });
        let failed = |source| Stop::from(Error::Keep { source });
        if let EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } =
            kind
        {
            header.set_device_major(*major).map_err(failed)?;
            header.set_device_minor(*minor).map_err(failed)?;
        }
        let name: &[u8] = if path.is_root() {
            b"./"
        } else {
            path.as_bytes()
        };
        let fields = header.as_old_mut();
        for (text, field, key) in [
            (name, &mut fields.name, "path"),
            (target, &mut fields.linkname, "linkpath"),
        ] {
            let short = &text[..text.len().min(LONGEST_NAME)];
            field[..short.len()].copy_from_slice(short);
            if text.len() > LONGEST_NAME {
                extensions.push((key.to_owned(), text.to_vec()));
            }
        }
        let mut known = BTreeMap::new();
        for entry in [file, attributes].into_iter().flatten() {
            known.extend(entry.xattrs());
        }
        for (name, value) in known {
            let name = std::str::from_utf8(name).map_err(|_| {
                Stop::failed(format!("{path} has an attribute whose name is not UTF-8"))
            })?;
            extensions.push((format!("SCHILY.xattr.{name}"), value.to_vec()));
        }
        let extensions = extensions
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_slice()));
        self.0.append_pax_extensions(extensions).map_err(failed)?;
        header.set_cksum();
        self.0.append(&header, content).map_err(failed)
    }
}

/// Returns a time in seconds, as extended headers have it.
fn in_decimals(time: Timestamp) -> String {
    const IN_A_SECOND: u128 = 1_000_000_000;
    let whole = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds);
    let sign = if whole < 0 { "-" } else { "" };
    let whole = whole.unsigned_abs();
    format!("{sign}{}.{:09}", whole / IN_A_SECOND, whole % IN_A_SECOND)
}

#[cfg(test)]
pub(super) mod testing {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::{
        dialect::json::{BlobName, compact, manifest},
        dialect::{TarDialect, json::LayerForm},
        rebuild::output::{ManifestName, Output},
    };

    /// One member of a layer.
    pub(in crate::rebuild) struct File<'a> {
        pub(in crate::rebuild) kind: tar::EntryType,
        pub(in crate::rebuild) path: &'a str,
        pub(in crate::rebuild) mode: u32,
        /// Content, target, or minor number of a device whose major number is 1.
        pub(in crate::rebuild) content: &'a str,
    }

    /// Makes members, one of each line `TYPE MODE PATH [CONTENT]`, with the types of `ls`, and `h`
    /// for a hard link.
    pub(in crate::rebuild) fn layer(lines: &[&str]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for line in lines {
            let mut words = line.splitn(4, ' ');
            let mut word = || words.next().unwrap_or("");
            let (kind, mode, path, content) = (word(), word(), word(), word());
            let file = File {
                kind: match kind {
                    "-" => tar::EntryType::Regular,
                    "d" => tar::EntryType::Directory,
                    "l" => tar::EntryType::Symlink,
                    "h" => tar::EntryType::Link,
                    "c" => tar::EntryType::Char,
                    other => panic!("{other:?} is no type"),
                },
                path,
                mode: u32::from_str_radix(mode, 8).unwrap(),
                content,
            };
            append(&mut builder, &file, file.content.as_bytes());
        }
        builder.into_inner().unwrap()
    }

    /// Adds a member; what is no regular file has no `content`.
    pub(in crate::rebuild) fn append(
        builder: &mut tar::Builder<Vec<u8>>,
        file: &File<'_>,
        content: &[u8],
    ) {
        let is_file = file.kind == tar::EntryType::Regular;
        let content = if is_file { content } else { b"" };
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(file.kind);
        header.set_path(file.path).unwrap();
        header.set_mode(file.mode);
        header.set_uid(3);
        header.set_gid(4);
        header.set_mtime(1_600_000_000);
        header.set_size(content.len() as u64);
        match file.kind {
            tar::EntryType::Symlink | tar::EntryType::Link => {
                header.set_link_name(file.content).unwrap();
            }
            tar::EntryType::Char => {
                header.set_device_major(1).unwrap();
                header
                    .set_device_minor(file.content.parse().unwrap())
                    .unwrap();
            }
            _ => {}
        }
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }

    /// Writes a layout of these layers, which are not compressed, and returns the image's name by
    /// its digest; `diff_ids` are the layers' own where `None`.
    pub(in crate::rebuild) fn layout(
        folder: &Path,
        layers: &[Vec<u8>],
        diff_ids: Option<&[DiffId]>,
        running: &Value,
    ) -> String {
        let place = folder.join("base");
        let writer = Output::Layout(place.clone()).create().unwrap();
        let own: Vec<DiffId> = layers.iter().map(|layer| DiffId::of(layer)).collect();
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "author": "Ada",
            "config": running,
            "rootfs": { "type": "layers", "diff_ids": diff_ids.unwrap_or(&own) },
            "history": [
                { "created": "2020-01-01T00:00:00.5Z", "created_by": "first" },
                { "comment": "no command", "empty_layer": true },
            ],
        });
        let blob = |bytes: &[u8]| BlobName {
            digest: writer.blob(bytes).unwrap(),
            size: bytes.len() as u64,
        };
        let config = blob(&compact(&config));
        let layers: Vec<BlobName> = layers.iter().map(|layer| blob(layer)).collect();
        let form = LayerForm::Tar;
        let (bytes, media_type) = manifest(TarDialect::BuildKit, config, &[], &layers, form);
        let manifest = blob(&bytes);
        let platform = "linux/amd64".parse().unwrap();
        writer
            .index(&ManifestName {
                media_type: &media_type,
                digest: manifest.digest,
                size: manifest.size,
                platform: &platform,
            })
            .unwrap();
        writer.finish().unwrap();
        format!("oci:{}@{}", place.display(), manifest.digest)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::{
        testing::{layer, layout},
        *,
    };
    use crate::{image::tar::Reader, progress::Silent};

    fn found(name: &str) -> Result<BaseImage, String> {
        let platform = "linux/amd64".parse().unwrap();
        BaseImage::find(name, &platform, &Access::default(), &Silent).map_err(said)
    }

    fn said(stop: Stop) -> String {
        match stop {
            Stop::Failed(failure) => failure.problem,
            Stop::Error(error) => {
                let mut text = error.to_string();
                let mut source = std::error::Error::source(&error);
                while let Some(error) = source {
                    text = format!("{text}: {error}");
                    source = error.source();
                }
                text
            }
        }
    }

    /// Reads what was made of a base.
    fn files(image: &BaseImage, devices: Devices) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        image
            .keep(&store, &Silent)
            .map_err(|error| said(error.into()))?;
        let files = image.unpacked(devices, &store, &Silent).map_err(said)?;
        assert!(files.are_kept(&store).unwrap());
        assert!(
            files
                .contents(&store)
                .unwrap()
                .contains(&Digest::of(b"hidden"))
        );
        let blob = store.read(&files.root).unwrap().unwrap();
        let mut reader = Reader::new(BufReader::new(blob), "the root");
        let mut lines = Vec::new();
        loop {
            let mut content = Vec::new();
            let entry = reader
                .entry_with(|piece| content.extend_from_slice(piece))
                .unwrap();
            let Some(entry) = entry else {
                return Ok(lines);
            };
            let what = match &entry.kind {
                EntryKind::File { .. } => format!("- {}", String::from_utf8_lossy(&content)),
                EntryKind::HardLink { target } => format!("h {target}"),
                EntryKind::Symlink { target } => format!("l {}", String::from_utf8_lossy(target)),
                EntryKind::CharDevice { major, minor } => format!("c {major},{minor}"),
                EntryKind::Directory => "d".to_owned(),
                other => format!("{other:?}"),
            };
            let owner = (entry.uid, entry.gid, entry.mtime.seconds);
            assert!(
                [(3, 4, 1_600_000_000), (0, 0, 0)].contains(&owner),
                "{entry:?}"
            );
            lines.push(format!("{} {:o} {what}", entry.path, entry.mode));
        }
    }

    #[test]
    fn a_root_has_every_file_that_is_seen_once_and_nothing_that_is_hidden() {
        let long = format!("usr/lib/{}", "long/".repeat(30));
        let layers = [
            layer(&[
                "d 700 etc",
                "- 644 etc/old hidden",
                "- 640 etc/kept 1",
                "d 755 data",
                "- 644 data/a a",
                "d 755 data/sub",
                "- 644 data/sub/x x",
                "d 755 swap",
                "- 644 swap/in in",
                "d 755 usr/lib",
                "- 4755 usr/lib/so so",
                "l 777 lib /usr/lib",
                "h 640 etc/second etc/kept",
                "c 666 null 3",
                "h 666 null-too null",
            ]),
            layer(&[
                "d 711 etc",
                "- 0 etc/.wh.old",
                "- 0 data/.wh..wh..opq",
                "- 644 data/new new",
                "- 600 swap file",
                "- 644 lib/two two",
                "h 755 so usr/lib/so",
                &format!("d 755 {}", long.trim_end_matches('/')),
            ]),
        ];
        let folder = tempfile::tempdir().unwrap();
        let running = json!({
            "User": "ann",
            "ExposedPorts": { "80/tcp": {} },
            "Env": ["A=b"],
            "Cmd": null,
            "Entrypoint": ["/x"],
            "Volumes": { "/data": {} },
            "WorkingDir": "/etc",
            "Labels": { "one": "two" },
            "StopSignal": "SIGINT",
            "Healthcheck": { "Test": ["NONE"], "Interval": 5 },
            "OnBuild": ["RUN true"],
            "Shell": ["/bin/ash"],
            "Unknown": 1,
        });
        let name = layout(folder.path(), &layers, None, &running);
        let image = found(&name).unwrap();
        let directories = [
            "/ 755 d",
            "/data 755 d",
            "/etc 711 d",
            "/usr 755 d",
            "/usr/lib 755 d",
        ];
        let made = files(&image, Devices::Made).unwrap();
        let (short, rest): (Vec<String>, Vec<String>) =
            made.into_iter().partition(|line| !line.contains("/long"));
        assert_eq!(rest.len(), 30);
        assert_eq!(short[..5], directories);
        let others = [
            "/etc/kept 640 - 1",
            "/so 755 - so",
            "/lib 777 l /usr/lib",
            "/null 666 c 1,3",
            "/data/new 644 - new",
            "/swap 600 - file",
            "/usr/lib/two 644 - two",
            "/etc/second 755 h /etc/kept",
            "/null-too 755 h /null",
            "/usr/lib/so 755 h /so",
        ];
        assert_eq!(short[5..], others);
        let without: Vec<String> = files(&image, Devices::LeftOut)
            .unwrap()
            .into_iter()
            .filter(|line| !line.contains("/long"))
            .collect();
        let others = others.iter().filter(|line| !line.contains("null"));
        assert_eq!(
            without,
            directories
                .iter()
                .chain(others)
                .copied()
                .collect::<Vec<_>>()
        );

        assert_eq!(image.author.as_deref(), Some("Ada"));
        assert_eq!(
            image.run,
            RunConfig {
                user: "ann".to_owned(),
                exposed_ports: Some(Set(["80/tcp".to_owned()].into())),
                environment: vec!["A=b".to_owned()],
                entrypoint: Some(vec!["/x".to_owned()]),
                command: None,
                volumes: Some(Set(["/data".to_owned()].into())),
                working_directory: "/etc".to_owned(),
                labels: Some([("one".to_owned(), "two".to_owned())].into()),
                stop_signal: "SIGINT".to_owned(),
                arguments_escaped: false,
                healthcheck: Some(Healthcheck {
                    test: vec!["NONE".to_owned()],
                    interval: 5,
                    timeout: 0,
                    start_period: 0,
                    start_interval: 0,
                    retries: 0,
                }),
                on_build: vec!["RUN true".to_owned()],
                shell: vec!["/bin/ash".to_owned()],
            }
        );
        let step = |created: Option<&str>, by: &str, comment: Option<&str>, layer| Step {
            created: created.map(str::to_owned),
            created_by: by.to_owned(),
            author: None,
            comment: comment.map(str::to_owned),
            layer,
        };
        assert_eq!(
            image.history,
            [
                step(
                    Some("2020-01-01T00:00:00.5Z"),
                    "first",
                    None,
                    StepLayer::Made
                ),
                step(None, "", Some("no command"), StepLayer::None),
            ]
        );
    }

    #[test]
    fn a_layer_that_is_not_the_one_that_is_named_is_an_error() {
        let layers = [layer(&["- 644 a hidden"]), layer(&["- 644 b b"])];
        let folder = tempfile::tempdir().unwrap();
        let name = layout(folder.path(), &layers, None, &json!({}));
        let digest = Digest::of(&layers[1]);
        let path = folder.path().join("base/blobs/sha256").join(digest.hex());
        let mut bytes = fs::read(&path).unwrap();
        bytes[600] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let image = found(&name).unwrap();
        let actual = Digest::of(&bytes);
        assert_eq!(
            files(&image, Devices::Made).unwrap_err(),
            format!(
                "cannot read the base image {name}: layer 2 of {name} should be {digest} but is {actual}"
            )
        );

        let other = tempfile::tempdir().unwrap();
        let wrong = [DiffId::of(&layers[0]), DiffId::of(b"other")];
        let name = layout(other.path(), &layers, Some(&wrong), &json!({}));
        let image = found(&name).unwrap();
        assert_eq!(
            files(&image, Devices::Made).unwrap_err(),
            format!(
                "cannot read the base image {name}: the diffID of layer 2 of {name} should be {} but is {digest}",
                wrong[1]
            )
        );
    }

    #[test]
    fn what_no_digest_names_is_no_base() {
        let folder = tempfile::tempdir().unwrap();
        let name = layout(
            folder.path(),
            &[layer(&["- 644 a hidden"])],
            None,
            &json!({}),
        );
        let (without, _) = name.split_once('@').unwrap();
        assert_eq!(
            found(without).err().unwrap(),
            format!("{without} does not say by a digest which image it is")
        );
        let other = format!("{without}@{}", Digest::of(b"other"));
        let error = found(&other).err().unwrap();
        assert!(error.contains("does not name"), "{error}");
    }

    #[test]
    fn times_are_written_to_the_nanosecond() {
        let cases = [
            ((0, 5), "0.000000005"),
            ((7, 250_000_000), "7.250000000"),
            ((-1, 0), "-1.000000000"),
            ((-2, 500_000_000), "-1.500000000"),
        ];
        for ((seconds, nanoseconds), expected) in cases {
            let time = Timestamp {
                seconds,
                nanoseconds,
            };
            assert_eq!(in_decimals(time), expected);
        }
    }
}
