//! The flattened file system: what a container sees of a list of layers.
//!
//! Comes in: layers, base first. Goes out: every path with the entries that made
//! it, which paths are one file, which entries nothing is left of, and where the
//! engines that unpack images disagree with each other or refuse. Pure, and
//! small: content and attributes stay in the layers.
//!
//! Source: OCI image-spec `layer.md`; where it is silent, containerd's
//! `archive/tar.go`.

use std::{
    borrow::{Borrow, Cow},
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    ops::Bound,
};

use super::{EntryKind, EntryPath, Layer};

/// What the name of a whiteout begins with.
const WHITEOUT: &[u8] = b".wh.";

/// The whiteout that hides all a directory has in lower layers.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What the names of AUFS' own files in the root directory begin with.
const AUFS: &[u8] = b".wh..wh.";

/// Where AUFS keeps files with several names; links to them are copies.
const AUFS_LINKS: &[u8] = b".wh..wh.plnk";

/// How many symbolic links a path may go through, as in containerd's `fs.RootPath`.
const MOST_LINKS: usize = 255;

/// The longest path that Linux takes (`PATH_MAX`).
///
/// No name is longer, but links that lead to links add up.
const LONGEST_PATH: usize = 4096;

/// How many bytes the paths of directories without an entry may have in all.
///
/// A name of four thousand bytes can stand for two thousand directories with
/// paths half as long: a layer of a few kilobytes would fill any memory. Images
/// that leave directories out at all have some ten thousand of a hundred bytes.
const LARGEST_IMPLIED: u64 = 64 << 20;

/// What a directory takes besides its path.
const IMPLIED: u64 = 64;

/// Why there is no file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The layers' names go through more directories than memory should hold.
    #[error(
        "the layers up to {layer} of {layers} have files in directories that no entry makes and whose paths have more than {LARGEST_IMPLIED} bytes"
    )]
    TooManyImpliedDirectories {
        /// The layer in which there were too many; 1 is the base.
        layer: usize,
        /// How many layers there are.
        layers: usize,
    },
}

/// Which entry of which layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// Position in the list of layers; 0 is the base.
    pub layer: usize,
    /// Position in [`Layer::entries`].
    pub index: usize,
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// The entry of this name; `None` for a directory that no entry makes.
    pub entry: Option<EntryId>,
    /// The entry that says what it is: of a hard link, the file linked to.
    pub file: Option<EntryId>,
    /// The entry with mode, owner and time: engines give a file those of the last link to it.
    pub attributes: Option<EntryId>,
    /// Which file it is: equal for the names of one file. Counted in the order of paths.
    pub inode: usize,
    /// How many names the file has.
    pub links: usize,
}

/// Something about an entry that engines refuse, or take differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Irregularity {
    /// A symbolic link leads to the directory in which the entry lands.
    ThroughSymlink,
    /// What should be the entry's directory is something else, or its links go in circles
    /// or make its path longer than Linux takes.
    NoDirectory,
    /// A hard link to what does not exist, or to a directory.
    DanglingHardLink,
    /// A hard link to a file of a lower layer; engines that unpack layers apart refuse it.
    HardLinkAcrossLayers,
    /// A whiteout of what no lower layer has.
    WhiteoutOfNothing,
    /// A whiteout beside an entry for the same path in its layer: the order decides in containerd.
    WhiteoutBesideEntry,
    /// A whiteout without a name.
    NamelessWhiteout,
    /// AUFS' own data, which is not unpacked.
    AufsMetadata,
    /// A type that is not unpacked.
    UnknownType,
    /// An entry other than a directory for the root.
    RootIsNoDirectory,
}

impl fmt::Display for Irregularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ThroughSymlink => "reached through a symbolic link",
            Self::NoDirectory => "in something that is no directory",
            Self::DanglingHardLink => "hard link to nothing",
            Self::HardLinkAcrossLayers => "hard link into a lower layer",
            Self::WhiteoutOfNothing => "whiteout of nothing",
            Self::WhiteoutBesideEntry => "whiteout beside an entry for the same path",
            Self::NamelessWhiteout => "whiteout without a name",
            Self::AufsMetadata => "metadata of AUFS",
            Self::UnknownType => "type that is not unpacked",
            Self::RootIsNoDirectory => "root that is no directory",
        })
    }
}

/// The file system that a list of layers makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystem {
    nodes: BTreeMap<EntryPath, Slot>,
    inodes: Vec<Inode>,
    hidden: Vec<EntryId>,
    irregularities: Vec<(EntryId, Irregularity)>,
}

/// An [`EntryId`] in half the space: there is one for every path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Id {
    layer: u32,
    index: u32,
}

/// What is at a path, in little space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    entry: Option<Id>,
    inode: u32,
}

/// What the names of a file share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Inode {
    file: Option<Id>,
    attributes: Option<Id>,
    links: u32,
}

impl FileSystem {
    /// Returns the file system of these layers, base first.
    ///
    /// Whiteouts hide what lower layers have, never an entry of their own
    /// layer, wherever they stand in it. Of entries for one path the last counts.
    ///
    /// Fails only where directories that no entry makes would fill the memory.
    pub fn flatten(layers: &[impl Borrow<Layer>]) -> Result<Self, Error> {
        let layers: Vec<&Layer> = layers.iter().map(Borrow::borrow).collect();
        let mut builder = Builder::new(&layers);
        for layer in 0..layers.len() {
            builder.apply(layer);
            if builder.implied > LARGEST_IMPLIED {
                return Err(Error::TooManyImpliedDirectories {
                    layer: layer + 1,
                    layers: layers.len(),
                });
            }
        }
        Ok(builder.finish())
    }

    /// Returns the file system of these layers as it was worked out before, or else works it out.
    pub fn known<'a>(
        before: Option<&'a Self>,
        layers: &[impl Borrow<Layer>],
    ) -> Result<Cow<'a, Self>, Error> {
        match before {
            Some(system) => Ok(Cow::Borrowed(system)),
            None => Self::flatten(layers).map(Cow::Owned),
        }
    }

    /// Returns every path, sorted by its bytes; the root is the first.
    pub fn paths(&self) -> impl Iterator<Item = (&EntryPath, Node)> {
        self.nodes
            .iter()
            .map(|(path, slot)| (path, self.node(*slot)))
    }

    /// Returns what is at a path; symbolic links are not followed.
    pub fn at(&self, path: &EntryPath) -> Option<Node> {
        self.nodes.get(path).map(|slot| self.node(*slot))
    }

    /// Returns every entry of which nothing is left to be seen, sorted.
    ///
    /// Overwritten, earlier of two for one path, removed by a whiteout, the
    /// whiteouts themselves, and what is not unpacked. An entry whose path is
    /// gone and whose file has another name is not among them.
    pub fn hidden(&self) -> &[EntryId] {
        &self.hidden
    }

    /// Returns what engines refuse or take differently, sorted by entry.
    pub fn irregularities(&self) -> &[(EntryId, Irregularity)] {
        &self.irregularities
    }

    fn node(&self, slot: Slot) -> Node {
        let inode = &self.inodes[slot.inode as usize];
        Node {
            entry: slot.entry.map(EntryId::from),
            file: inode.file.map(EntryId::from),
            attributes: inode.attributes.map(EntryId::from),
            inode: slot.inode as usize,
            links: inode.links as usize,
        }
    }
}

impl From<Id> for EntryId {
    fn from(id: Id) -> Self {
        Self {
            layer: id.layer as usize,
            index: id.index as usize,
        }
    }
}

impl Id {
    fn new(layer: usize, index: usize) -> Self {
        let small =
            |number| u32::try_from(number).expect("four thousand million entries fit no memory");
        Self {
            layer: small(layer),
            index: small(index),
        }
    }
}

/// A file system that is being put together.
struct Builder<'a> {
    layers: &'a [&'a Layer],
    nodes: BTreeMap<EntryPath, Slot>,
    inodes: Vec<Inode>,
    irregularities: BTreeSet<(Id, Irregularity)>,
    /// Files with several names under AUFS, of the layer at hand.
    aufs_links: HashMap<&'a EntryPath, Id>,
    /// Bytes of the directories that no entry has made, as they were made.
    implied: u64,
    /// The directory resolved last, as most entries stand beside the one before.
    resolved: Option<(EntryPath, Resolved)>,
}

/// Where a directory's path leads.
#[derive(Clone)]
struct Resolved {
    path: EntryPath,
    through_symlink: bool,
}

/// What a name stands for in a layer.
enum Meaning<'n> {
    /// Itself.
    Entry,
    /// Its directory has nothing of lower layers.
    Opaque,
    /// This name is gone from its directory.
    Whiteout(&'n [u8]),
    /// Nothing.
    Aufs,
}

/// Returns what an entry with this path stands for.
fn meaning(path: &EntryPath) -> Meaning<'_> {
    let name = path.file_name();
    // Docker and containerd look for AUFS' own files in the root alone.
    if path.as_bytes().starts_with(AUFS) && path.as_bytes() != OPAQUE {
        Meaning::Aufs
    } else if name == OPAQUE {
        Meaning::Opaque
    } else if let Some(hidden) = name.strip_prefix(WHITEOUT) {
        Meaning::Whiteout(hidden)
    } else {
        Meaning::Entry
    }
}

impl<'a> Builder<'a> {
    fn new(layers: &'a [&'a Layer]) -> Self {
        let mut builder = Self {
            layers,
            nodes: BTreeMap::new(),
            inodes: Vec::new(),
            irregularities: BTreeSet::new(),
            aufs_links: HashMap::new(),
            implied: 0,
            resolved: None,
        };
        builder.insert(&EntryPath::of(b""), None, None);
        builder
    }

    /// Puts a layer over what there is.
    fn apply(&mut self, layer: usize) {
        let entries = &self.layers[layer].entries;
        self.aufs_links.clear();
        // First all whiteouts: they speak of lower layers, and may stand anywhere.
        let mut emptied = Vec::new();
        let mut removed = BTreeMap::new();
        for (index, entry) in entries.iter().enumerate() {
            let id = Id::new(layer, index);
            let name = match meaning(&entry.path) {
                Meaning::Entry => continue,
                Meaning::Aufs => {
                    self.note(id, Irregularity::AufsMetadata);
                    if let EntryKind::File { .. } = entry.kind {
                        self.aufs_links.insert(&entry.path, id);
                    }
                    continue;
                }
                Meaning::Opaque => None,
                Meaning::Whiteout(name) => Some(name),
            };
            let directory = entry.path.parent().and_then(|path| self.resolve(&path));
            let Some(directory) = directory else {
                self.note(id, Irregularity::NoDirectory);
                continue;
            };
            if directory.through_symlink {
                self.note(id, Irregularity::ThroughSymlink);
            }
            let Some(name) = name else {
                emptied.push(directory.path);
                continue;
            };
            let path = directory.path.join(name);
            // `.wh.`, `.wh..` and `.wh...` would name the directory or what holds it.
            if path.parent().as_ref() != Some(&directory.path) {
                self.note(id, Irregularity::NamelessWhiteout);
                continue;
            }
            if !self.nodes.contains_key(&path) {
                self.note(id, Irregularity::WhiteoutOfNothing);
            }
            removed.insert(path, id);
        }
        for directory in &emptied {
            self.remove_below(directory);
        }
        for path in removed.keys() {
            self.remove(path);
        }
        for (index, entry) in entries.iter().enumerate() {
            if self.implied > LARGEST_IMPLIED {
                return;
            }
            let id = Id::new(layer, index);
            match meaning(&entry.path) {
                Meaning::Aufs => {}
                Meaning::Entry => {
                    if let Some(path) = self.place(id)
                        && let Some(whiteout) = removed.get(&path)
                    {
                        self.note(*whiteout, Irregularity::WhiteoutBesideEntry);
                    }
                }
                // Engines make the directory a whiteout stands in, also where that is all it does.
                Meaning::Opaque | Meaning::Whiteout(_) => {
                    let directory = entry.path.parent().and_then(|path| self.resolve(&path));
                    let made =
                        directory.is_some_and(|directory| self.make_directories(&directory.path));
                    if !made {
                        self.note(id, Irregularity::NoDirectory);
                    }
                }
            }
        }
    }

    /// Puts an entry where it belongs and returns that path, if it has one.
    fn place(&mut self, id: Id) -> Option<EntryPath> {
        let entry = &self.layers[id.layer as usize].entries[id.index as usize];
        if let EntryKind::Other { .. } = entry.kind {
            self.note(id, Irregularity::UnknownType);
            return None;
        }
        let Some(parent) = entry.path.parent() else {
            if entry.kind != EntryKind::Directory {
                self.note(id, Irregularity::RootIsNoDirectory);
                return None;
            }
            self.insert(&entry.path, Some(id), Some(id));
            return Some(entry.path.clone());
        };
        let parent = self
            .resolve(&parent)
            .filter(|parent| self.make_directories(&parent.path));
        let Some(parent) = parent else {
            self.note(id, Irregularity::NoDirectory);
            return None;
        };
        if parent.through_symlink {
            self.note(id, Irregularity::ThroughSymlink);
        }
        let path = parent.path.join(entry.path.file_name());
        let is_directory = entry.kind == EntryKind::Directory;
        if !(is_directory && self.is_directory(&path)) {
            self.remove(&path);
        }
        let EntryKind::HardLink { target } = &entry.kind else {
            self.insert(&path, Some(id), Some(id));
            return Some(path);
        };
        if target.as_bytes().starts_with(AUFS_LINKS)
            && let Some(&file) = self.aufs_links.get(target)
        {
            self.insert(&path, Some(id), Some(file));
            return Some(path);
        }
        let target = target
            .parent()
            .and_then(|parent| self.resolve(&parent))
            .map(|parent| parent.path.join(target.file_name()))
            .filter(|target| !self.is_directory(target));
        let Some(&Slot { inode, .. }) = target.and_then(|target| self.nodes.get(&target)) else {
            self.note(id, Irregularity::DanglingHardLink);
            return None;
        };
        let shared = &mut self.inodes[inode as usize];
        shared.links += 1;
        shared.attributes = Some(id);
        if shared.file.is_some_and(|file| file.layer != id.layer) {
            self.note(id, Irregularity::HardLinkAcrossLayers);
        }
        let entry = Some(id);
        self.put(&path, Slot { entry, inode });
        Some(path)
    }

    /// Returns where a directory's path leads, links followed inside the root.
    ///
    /// What does not exist is taken as it is written; `None` where links go in
    /// circles or their targets add up to more than the longest path.
    fn resolve(&mut self, path: &EntryPath) -> Option<Resolved> {
        if let Some((last, resolved)) = &self.resolved
            && last == path
        {
            return Some(resolved.clone());
        }
        let mut resolved = EntryPath::of(b"");
        let mut left: Vec<&[u8]> = path.as_bytes().rsplit(|&byte| byte == b'/').collect();
        let mut links = 0;
        while let Some(component) = left.pop() {
            match component {
                b"" | b"." => {}
                b".." => resolved = resolved.parent().unwrap_or(resolved),
                name => {
                    if resolved.as_bytes().len() + 1 + name.len() > LONGEST_PATH {
                        return None;
                    }
                    let next = resolved.join(name);
                    let Some(target) = self.symlink_at(&next) else {
                        resolved = next;
                        continue;
                    };
                    links += 1;
                    if links > MOST_LINKS {
                        return None;
                    }
                    if target.starts_with(b"/") {
                        resolved = EntryPath::of(b"");
                    }
                    left.extend(target.rsplit(|&byte| byte == b'/'));
                }
            }
        }
        let resolved = Resolved {
            path: resolved,
            through_symlink: links > 0,
        };
        self.resolved = Some((path.clone(), resolved.clone()));
        Some(resolved)
    }

    /// Returns the target of the symbolic link at a path, if one is there.
    fn symlink_at(&self, path: &EntryPath) -> Option<&'a [u8]> {
        match self.kind(self.nodes.get(path)?.inode)? {
            EntryKind::Symlink { target } => Some(target),
            _ => None,
        }
    }

    /// Returns what a file is; `None` for a directory that no entry makes.
    fn kind(&self, inode: u32) -> Option<&'a EntryKind> {
        let file = self.inodes[inode as usize].file?;
        Some(&self.layers[file.layer as usize].entries[file.index as usize].kind)
    }

    /// Returns whether there is a directory at a path.
    fn is_directory(&self, path: &EntryPath) -> bool {
        (self.nodes.get(path)).is_some_and(|slot| self.is_directory_inode(slot.inode))
    }

    /// Returns whether a file is a directory.
    fn is_directory_inode(&self, inode: u32) -> bool {
        (self.kind(inode)).is_none_or(|kind| *kind == EntryKind::Directory)
    }

    /// Makes the directories of a path that no entry has made, and says whether all are directories.
    fn make_directories(&mut self, path: &EntryPath) -> bool {
        let mut missing = Vec::new();
        let mut path = path.clone();
        let inode = loop {
            if let Some(slot) = self.nodes.get(&path) {
                break slot.inode;
            }
            let parent = path.parent().expect("the root exists");
            missing.push(path);
            path = parent;
        };
        if !self.is_directory_inode(inode) {
            return false;
        }
        for path in missing {
            self.implied += path.as_bytes().len() as u64 + IMPLIED;
            self.insert(&path, None, None);
        }
        true
    }

    /// Puts a file of its own at a path; the children of a directory that was there stay.
    fn insert(&mut self, path: &EntryPath, entry: Option<Id>, file: Option<Id>) {
        let links = 1;
        let attributes = file;
        let inode = u32::try_from(self.inodes.len()).expect("no memory holds as many entries");
        self.inodes.push(Inode {
            file,
            attributes,
            links,
        });
        self.put(path, Slot { entry, inode });
    }

    /// Puts a name of a file at a path.
    fn put(&mut self, path: &EntryPath, slot: Slot) {
        self.nodes.insert(path.clone(), slot);
        // What is new may lead elsewhere whatever was said to lie behind it.
        if let Some(EntryKind::Symlink { .. }) = self.kind(slot.inode) {
            self.resolved = None;
        }
    }

    /// Removes what is at a path and below.
    fn remove(&mut self, path: &EntryPath) {
        let Some(slot) = self.nodes.get(path).copied() else {
            return;
        };
        if self.is_directory_inode(slot.inode) {
            self.remove_below(path);
        }
        self.nodes.remove(path);
        self.inodes[slot.inode as usize].links -= 1;
        self.resolved = None;
    }

    /// Removes what is below a path.
    fn remove_below(&mut self, path: &EntryPath) {
        let below: Vec<EntryPath> = if path.is_root() {
            self.nodes
                .keys()
                .filter(|path| !path.is_root())
                .cloned()
                .collect()
        } else {
            // '0' is the byte after '/'.
            let (start, end) = (
                [path.as_bytes(), b"/"].concat(),
                [path.as_bytes(), b"0"].concat(),
            );
            let range = (Bound::Excluded(&start[..]), Bound::Excluded(&end[..]));
            self.nodes
                .range::<[u8], _>(range)
                .map(|(path, _)| path.clone())
                .collect()
        };
        for path in below {
            if let Some(slot) = self.nodes.remove(&path) {
                self.inodes[slot.inode as usize].links -= 1;
            }
        }
        self.resolved = None;
    }

    fn note(&mut self, id: Id, irregularity: Irregularity) {
        self.irregularities.insert((id, irregularity));
    }

    /// Counts inodes anew, in the order of paths, and finds what is hidden.
    fn finish(mut self) -> FileSystem {
        let mut seen: Vec<Vec<bool>> = self
            .layers
            .iter()
            .map(|layer| vec![false; layer.entries.len()])
            .collect();
        let mut numbers: Vec<Option<u32>> = vec![None; self.inodes.len()];
        let mut inodes = Vec::new();
        for slot in self.nodes.values_mut() {
            let inode = self.inodes[slot.inode as usize];
            for id in [slot.entry, inode.file, inode.attributes]
                .into_iter()
                .flatten()
            {
                seen[id.layer as usize][id.index as usize] = true;
            }
            slot.inode = *numbers[slot.inode as usize].get_or_insert_with(|| {
                inodes.push(inode);
                u32::try_from(inodes.len() - 1).expect("no memory holds as many entries")
            });
        }
        let hidden = seen.iter().enumerate().flat_map(|(layer, seen)| {
            let hidden = seen.iter().enumerate().filter(|(_, seen)| !**seen);
            hidden.map(move |(index, _)| EntryId { layer, index })
        });
        FileSystem {
            hidden: hidden.collect(),
            nodes: self.nodes,
            inodes,
            irregularities: self
                .irregularities
                .into_iter()
                .map(|(id, irregularity)| (id.into(), irregularity))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        digest::{DiffId, Digest},
        image::{Compression, Entry, Timestamp},
    };

    /// Returns a layer of entries written as `kind path [target]`.
    fn layer<S: AsRef<str>>(lines: &[S]) -> Layer {
        let entry = |line: &S| {
            let mut words = line.as_ref().split(' ');
            let kind = words.next().unwrap();
            let path = words.next().unwrap();
            let target = words.next().unwrap_or_default().as_bytes();
            Entry {
                path: EntryPath::of(path.as_bytes()),
                kind: match kind {
                    "f" => EntryKind::File {
                        size: 0,
                        content: Digest::of(b""),
                    },
                    "d" => EntryKind::Directory,
                    "s" => EntryKind::Symlink {
                        target: target.into(),
                    },
                    "h" => EntryKind::HardLink {
                        target: EntryPath::of(target),
                    },
                    "?" => EntryKind::Other {
                        flag: b'V',
                        size: 0,
                        content: Digest::of(b""),
                    },
                    kind => panic!("{kind} is no kind"),
                },
                mode: 0o644,
                uid: 0,
                gid: 0,
                mtime: Timestamp::default(),
                details: None,
                header: Digest::of(line.as_ref().as_bytes()),
            }
        };
        Layer {
            descriptor: None,
            digest: Digest::of(b""),
            size: 0,
            diff_id: DiffId::of(b""),
            uncompressed_size: 0,
            compression: Compression::None,
            end_padding: 0,
            entries: lines.iter().map(entry).collect(),
            oddities: Vec::new(),
        }
    }

    /// Returns every path as `path=entry`, with `>file` and `#attributes` where they are others.
    fn seen(file_system: &FileSystem) -> Vec<String> {
        let name = |id: Option<EntryId>| {
            id.map_or("implicit".to_owned(), |id| {
                format!("{}.{}", id.layer, id.index)
            })
        };
        let paths = file_system.paths().skip(1).map(|(path, node)| {
            let part = |mark: &str, id, than: Option<EntryId>| {
                if id == than {
                    String::new()
                } else {
                    format!("{mark}{}", name(id))
                }
            };
            [
                format!("{}={}", &path.to_string()[1..], name(node.entry)),
                part(">", node.file, node.entry),
                part("#", node.attributes, node.file),
            ]
            .concat()
        });
        paths.collect()
    }

    fn flattened(layers: &[&[&str]]) -> FileSystem {
        let layers: Vec<Layer> = layers.iter().map(|lines| layer(lines)).collect();
        FileSystem::flatten(&layers).unwrap()
    }

    #[test]
    fn directories_that_no_entry_makes_cannot_fill_the_memory() {
        let deep = |number: usize| format!("f {number}/{}f", "a/".repeat(2000));
        let few: Vec<String> = (0..10).map(deep).collect();
        let (few, base) = (layer(&few), layer(&["f a/b"]));
        assert!(FileSystem::flatten(&[&base, &few]).is_ok());
        let many: Vec<String> = (0..5000).map(deep).collect();
        assert_eq!(
            FileSystem::flatten(&[&base, &layer(&many), &base]),
            Err(Error::TooManyImpliedDirectories {
                layer: 2,
                layers: 3
            })
        );
        // Those that stand there with an entry of their own are paid for by it.
        let directories: Vec<String> = (0..100_000).map(|number| format!("d d{number}")).collect();
        let files: Vec<String> = (0..100_000)
            .map(|number| format!("f d{number}/f"))
            .collect();
        assert!(FileSystem::flatten(&[&layer(&directories), &layer(&files)]).is_ok());
    }

    #[test]
    fn links_cannot_lead_to_a_longer_path_than_linux_takes() {
        let target = "a/".repeat(1500);
        let lines = [
            format!("s s {target}"),
            format!("s s/s {target}"),
            "f s/s/f".to_owned(),
            "f s/f".to_owned(),
        ];
        let layer = layer(&lines);
        let file_system = FileSystem::flatten(&[&layer]).unwrap();
        let id = |index| EntryId { layer: 0, index };
        assert_eq!(
            file_system.irregularities(),
            [
                (id(1), Irregularity::ThroughSymlink),
                (id(2), Irregularity::NoDirectory),
                (id(3), Irregularity::ThroughSymlink),
            ]
        );
        assert_eq!(file_system.hidden(), [id(2)]);
    }

    #[test]
    fn layers_are_put_over_each_other_as_a_union_file_system_does() {
        type Case = (
            &'static str,
            &'static [&'static [&'static str]],
            &'static [&'static str],
        );
        let cases: [Case; 20] = [
            (
                "an implicit parent",
                &[&["f a/b"]],
                &["a=implicit", "a/b=0.0"],
            ),
            (
                "a parent after its child",
                &[&["f a/b", "d a"]],
                &["a=0.1", "a/b=0.0"],
            ),
            (
                "a whiteout",
                &[&["d a", "f a/b", "f a/c"], &["f a/.wh.b"]],
                &["a=0.0", "a/c=0.2"],
            ),
            (
                "a whiteout of a tree",
                &[&["d a", "f a/b", "f ab"], &["f .wh.a"]],
                &["ab=0.2"],
            ),
            (
                "an opaque directory",
                &[
                    &["d a", "f a/b", "d a/c", "f a/c/d", "f a-b"],
                    &["f a/e", "d a", "f a/.wh..wh..opq"],
                ],
                &["a=1.1", "a-b=0.4", "a/e=1.0"],
            ),
            (
                "an opaque root",
                &[&["d a", "f a/b"], &["f .wh..wh..opq", "f c"]],
                &["c=1.1"],
            ),
            (
                "a whiteout hides nothing of its own layer",
                &[&["f a"], &["f a", "f .wh.a"]],
                &["a=1.0"],
            ),
            (
                "a whiteout before the same name makes a directory anew",
                &[&["d a", "f a/b"], &["f .wh.a", "d a", "f a/c"]],
                &["a=1.1", "a/c=1.2"],
            ),
            (
                "a directory over a directory",
                &[&["d a", "f a/b"], &["d a"]],
                &["a=1.0", "a/b=0.1"],
            ),
            (
                "a file over a directory",
                &[&["d a", "f a/b"], &["f a"]],
                &["a=1.0"],
            ),
            (
                "a directory over a file",
                &[&["f a"], &["d a", "f a/b"]],
                &["a=1.0", "a/b=1.1"],
            ),
            (
                "a directory over a link",
                &[&["d b", "f b/c", "s a b"], &["d a"]],
                &["a=1.0", "b=0.0", "b/c=0.1"],
            ),
            (
                "a duplicate",
                &[&["f a", "f b", "f a"]],
                &["a=0.2", "b=0.1"],
            ),
            (
                "hard links share a file and the last header's attributes",
                &[&["f a", "h b a", "h c b"]],
                &["a=0.0#0.2", "b=0.1>0.0#0.2", "c=0.2>0.0#0.2"],
            ),
            (
                "a link keeps the file whose name is written over",
                &[&["f a", "h b a"], &["f a"]],
                &["a=1.0", "b=0.1>0.0#0.1"],
            ),
            (
                "a link to a lower layer's file",
                &[&["f a"], &["h b a"]],
                &["a=0.0#1.0", "b=1.0>0.0#1.0"],
            ),
            (
                "entries land where the links of their directory lead",
                &[
                    &["d usr", "d usr/lib", "s lib usr/lib", "s abs /usr"],
                    &["f lib/x", "f abs/lib/y", "f abs/../z"],
                ],
                &[
                    "abs=0.3",
                    "lib=0.2",
                    "usr=0.0",
                    "usr/lib=0.1",
                    "usr/lib/x=1.0",
                    "usr/lib/y=1.1",
                    "z=1.2",
                ],
            ),
            (
                "a link that climbs out of the root stays in it",
                &[&["s a ../../b", "f a/c"]],
                &["a=0.0", "b=implicit", "b/c=0.1"],
            ),
            (
                "links between files of AUFS are copies",
                &[&[
                    "d .wh..wh.plnk",
                    "f .wh..wh.plnk/1.2",
                    "h a .wh..wh.plnk/1.2",
                    "h b .wh..wh.plnk/1.2",
                ]],
                &["a=0.2>0.1", "b=0.3>0.1"],
            ),
            (
                "a whiteout makes the directory it stands in",
                &[&["f a/.wh.b"]],
                &["a=implicit"],
            ),
        ];
        for (case, layers, paths) in cases {
            assert_eq!(seen(&flattened(layers)), paths, "{case}");
        }
    }

    #[test]
    fn what_engines_refuse_or_take_differently_is_noted() {
        use Irregularity as I;
        type Case = (
            &'static [&'static [&'static str]],
            &'static [((usize, usize), I)],
        );
        let cases: [Case; 12] = [
            (&[&["s a b", "f a/c"]], &[((0, 1), I::ThroughSymlink)]),
            (&[&["f a", "f a/c"]], &[((0, 1), I::NoDirectory)]),
            (&[&["s a b", "s b a", "f a/c"]], &[((0, 2), I::NoDirectory)]),
            (
                &[&["h a b"], &["h a a"]],
                &[((0, 0), I::DanglingHardLink), ((1, 0), I::DanglingHardLink)],
            ),
            (&[&["d b", "h a b"]], &[((0, 1), I::DanglingHardLink)]),
            (
                &[&["f b"], &["h a b"]],
                &[((1, 0), I::HardLinkAcrossLayers)],
            ),
            (&[&["f .wh.b"]], &[((0, 0), I::WhiteoutOfNothing)]),
            (
                &[&["f b"], &["f b", "f .wh.b"]],
                &[((1, 1), I::WhiteoutBesideEntry)],
            ),
            (
                &[&["d a"], &["f a/.wh.", "f a/.wh..", "f a/.wh..."]],
                &[
                    ((1, 0), I::NamelessWhiteout),
                    ((1, 1), I::NamelessWhiteout),
                    ((1, 2), I::NamelessWhiteout),
                ],
            ),
            (&[&["f .wh..wh.aufs"]], &[((0, 0), I::AufsMetadata)]),
            (&[&["? a"]], &[((0, 0), I::UnknownType)]),
            (&[&["f /"]], &[((0, 0), I::RootIsNoDirectory)]),
        ];
        for (layers, noted) in cases {
            let noted: Vec<_> = noted
                .iter()
                .map(|&((layer, index), irregularity)| (EntryId { layer, index }, irregularity))
                .collect();
            assert_eq!(flattened(layers).irregularities(), noted, "{layers:?}");
        }
    }

    #[test]
    fn hidden_is_every_entry_that_left_nothing() {
        let file_system = flattened(&[
            &["d a", "f a/b", "f c", "h d c", "f e", "f e", "? v"],
            &["f a/.wh.b", "f c", "d a", "h x nowhere"],
        ]);
        let hidden: Vec<_> = file_system
            .hidden()
            .iter()
            .map(|id| (id.layer, id.index))
            .collect();
        assert_eq!(hidden, [(0, 0), (0, 1), (0, 4), (0, 6), (1, 0), (1, 3)]);
    }

    #[test]
    fn inodes_are_numbered_by_path_whatever_the_order_of_entries() {
        let number = |lines: &[&str]| -> Vec<(usize, usize)> {
            let file_system = flattened(&[lines]);
            file_system
                .paths()
                .map(|(_, node)| (node.inode, node.links))
                .collect()
        };
        let expected = [(0, 1), (1, 2), (2, 1), (1, 2)];
        assert_eq!(number(&["f a", "f b", "h c a"]), expected);
        assert_eq!(number(&["f b", "f c", "h a c"]), expected);
    }

    /// Puts layers over each other in a real directory, where each file holds its entry's name.
    fn unpack(root: &Path, layers: &[Layer]) {
        // The directories of the test's links are relative and never climb, so that
        // following them by hand to what does not exist yet is all that is left to do.
        fn follow(root: &Path, path: &str, left: usize) -> Option<String> {
            let mut done: Vec<String> = Vec::new();
            for (position, name) in path.split('/').filter(|name| !name.is_empty()).enumerate() {
                let here = root.join(done.join("/")).join(name);
                if let Ok(target) = fs::read_link(&here) {
                    let rest = path
                        .split('/')
                        .skip(position + 1)
                        .collect::<Vec<_>>()
                        .join("/");
                    let next = format!("{}/{}/{rest}", done.join("/"), target.display());
                    return follow(root, next.trim_matches('/'), left.checked_sub(1)?);
                }
                done.push(name.to_owned());
            }
            Some(done.join("/"))
        }
        let remove = |path: &Path| match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path).unwrap(),
            Ok(_) => fs::remove_file(path).unwrap(),
            Err(_) => {}
        };
        let split = |path: &EntryPath| {
            let text = String::from_utf8(path.as_bytes().to_vec()).unwrap();
            match text.rsplit_once('/') {
                Some((parent, name)) => (parent.to_owned(), name.to_owned()),
                None => (String::new(), text),
            }
        };
        for (number, layer) in layers.iter().enumerate() {
            let mut doomed = Vec::new();
            for entry in &layer.entries {
                let (parent, name) = split(&entry.path);
                let Some(parent) = follow(root, &parent, 255) else {
                    continue;
                };
                if name == ".wh..wh..opq" {
                    if let Ok(children) = fs::read_dir(root.join(&parent)) {
                        doomed.extend(children.map(|child| child.unwrap().path()));
                    }
                } else if let Some(name) = name.strip_prefix(".wh.") {
                    doomed.push(root.join(&parent).join(name));
                }
            }
            for path in &doomed {
                remove(path);
            }
            for (index, entry) in layer.entries.iter().enumerate() {
                let (parent, name) = split(&entry.path);
                let Some(parent) = follow(root, &parent, 255) else {
                    continue;
                };
                let parent = root.join(parent);
                if fs::create_dir_all(&parent).is_err() || name.starts_with(".wh.") {
                    continue;
                }
                let path = parent.join(name);
                let is_directory = entry.kind == EntryKind::Directory;
                if !(is_directory && fs::symlink_metadata(&path).is_ok_and(|at| at.is_dir())) {
                    remove(&path);
                }
                match &entry.kind {
                    EntryKind::File { .. } => {
                        fs::write(&path, format!("{number}.{index}")).unwrap();
                    }
                    EntryKind::Directory => fs::create_dir_all(&path).unwrap(),
                    EntryKind::Symlink { target } => {
                        let target = std::str::from_utf8(target).unwrap();
                        std::os::unix::fs::symlink(target, &path).unwrap();
                    }
                    EntryKind::HardLink { target } => {
                        let (parent, name) = split(target);
                        if let Some(parent) = follow(root, &parent, 255) {
                            drop(fs::hard_link(root.join(parent).join(name), &path));
                        }
                    }
                    kind => panic!("{kind:?} is not in this test"),
                }
            }
        }
    }

    /// Returns what a real directory holds: path, kind or content, and the first name of each file.
    fn on_disk(root: &Path) -> Vec<String> {
        fn visit(directory: &Path, found: &mut Vec<std::path::PathBuf>) {
            for child in fs::read_dir(directory).unwrap() {
                let path = child.unwrap().path();
                if fs::symlink_metadata(&path).unwrap().is_dir() {
                    visit(&path, found);
                }
                found.push(path);
            }
        }
        let mut found = Vec::new();
        visit(root, &mut found);
        let name = |path: &Path| {
            path.strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        };
        found.sort_by_key(|path| name(path));
        let mut first_names = BTreeMap::new();
        let lines = found.iter().map(|path| {
            let metadata = fs::symlink_metadata(path).unwrap();
            let first = first_names
                .entry(metadata.ino())
                .or_insert_with(|| name(path));
            let what = if metadata.is_dir() {
                "directory".to_owned()
            } else if metadata.is_symlink() {
                format!("to {}", fs::read_link(path).unwrap().display())
            } else {
                fs::read_to_string(path).unwrap()
            };
            format!(
                "{} {what} {first} {}",
                name(path),
                if metadata.is_dir() {
                    1
                } else {
                    metadata.nlink()
                }
            )
        });
        lines.collect()
    }

    /// Returns the same of a flattened file system.
    fn in_memory(layers: &[Layer]) -> Vec<String> {
        let file_system = FileSystem::flatten(layers).unwrap();
        let mut first_names = BTreeMap::new();
        let lines = file_system.paths().skip(1).map(|(path, node)| {
            let name = path.to_string()[1..].to_owned();
            let first = first_names
                .entry(node.inode)
                .or_insert_with(|| name.clone());
            let what = node.file.map_or("directory".to_owned(), |id| {
                match &layers[id.layer].entries[id.index].kind {
                    EntryKind::Directory => "directory".to_owned(),
                    EntryKind::Symlink { target } => {
                        format!("to {}", String::from_utf8_lossy(target))
                    }
                    _ => format!("{}.{}", id.layer, id.index),
                }
            });
            format!("{name} {what} {first} {}", node.links)
        });
        lines.collect()
    }

    /// Returns random entries of a few names, so that they meet each other often.
    fn entries() -> impl Strategy<Value = Vec<String>> {
        let name = || prop::sample::select(vec!["a", "b", "c"]);
        let path = move || prop::collection::vec(name(), 1..4).prop_map(|names| names.join("/"));
        let whiteout = (
            prop::option::of(path()),
            prop::sample::select(vec![".wh.a", ".wh.b", ".wh..wh..opq"]),
        );
        let entry = prop_oneof![
            4 => path().prop_map(|path| format!("f {path}")),
            3 => path().prop_map(|path| format!("d {path}")),
            2 => (path(), path()).prop_map(|(path, target)| format!("s {path} {target}")),
            2 => (path(), path()).prop_map(|(path, target)| format!("h {path} {target}")),
            1 => whiteout.prop_map(|(directory, name)| match directory {
                Some(directory) => format!("f {directory}/{name}"),
                None => format!("f {name}"),
            }),
        ];
        prop::collection::vec(entry, 0..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn random_layers_make_the_file_system_that_they_make_on_a_disk(
            layers in prop::collection::vec(entries(), 1..4),
        ) {
            let layers: Vec<Layer> = layers.iter().map(|lines| layer(lines)).collect();
            let root = tempfile::tempdir().unwrap();
            unpack(root.path(), &layers);
            prop_assert_eq!(in_memory(&layers), on_disk(root.path()));
        }
    }
}
