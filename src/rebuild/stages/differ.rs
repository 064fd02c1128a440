//! Differences: a root before and after a command → what a layer of it has.
//!
//! A file differs by type, mode, owner, size, time, content or target,
//! capability or device; a directory by mode, owner and capability alone. So do
//! `BuildKit` and containerd tell what to put into a layer. Of a file with
//! several names all are in it where one is.
//!
//! Source: moby/buildkit `util/overlay/overlay_linux.go`; containerd/continuity
//! `fs/diff.go`; containerd `pkg/archive/tar.go`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::BufReader,
    path::Path,
};

use super::root::node_of;
use crate::{
    facts::Origin,
    image::{Entry, EntryKind, EntryPath, tar::Reader},
    rebuild::{
        Error, Stop,
        instructions::copy::Brought,
        tree::{NodeKind, Tree},
    },
};

/// What there is in a root at one time.
pub(super) struct Snapshot(BTreeMap<EntryPath, Entry>);

/// Says whether `BuildKit` would leave a file out of the layer.
fn same(before: &Entry, after: &Entry) -> bool {
    const CAPABILITY: &[u8] = b"security.capability";
    before.kind == after.kind
        && (before.mode, before.uid, before.gid) == (after.mode, after.uid, after.gid)
        && before.xattrs().get(CAPABILITY) == after.xattrs().get(CAPABILITY)
        // A directory's changes with every name in it, even one that is gone again.
        && (before.mtime == after.mtime || after.kind == EntryKind::Directory)
}

impl Snapshot {
    /// Reads what a tar of the whole root has.
    pub(super) fn read(tar: &Path) -> Result<Self, Stop> {
        let file = File::open(tar).map_err(|source| Error::Read {
            path: tar.to_owned(),
            source,
        })?;
        let mut reader = Reader::new(BufReader::new(file), "the archive of a root");
        let mut entries = BTreeMap::new();
        while let Some(entry) = reader
            .entry_with(|_| {})
            .map_err(|error| Stop::failed(error.to_string()))?
        {
            entries.insert(entry.path.clone(), entry);
        }
        Ok(Self(entries))
    }

    /// Returns what is at a path; of a hard link what it is a name of.
    fn get(&self, path: &EntryPath) -> Option<&Entry> {
        self.0.get(self.first_name(path))
    }

    fn first_name<'a>(&'a self, path: &'a EntryPath) -> &'a EntryPath {
        match self.0.get(path).map(|entry| &entry.kind) {
            Some(EntryKind::HardLink { target }) => target,
            _ => path,
        }
    }

    fn is_directory(&self, path: &EntryPath) -> bool {
        self.0
            .get(path)
            .is_some_and(|entry| entry.kind == EntryKind::Directory)
    }

    /// Makes a tree in which what changed is the present step, its contents as brought.
    pub(super) fn tree(
        &self,
        changes: &Changes,
        brought: Vec<(EntryPath, Brought)>,
    ) -> Result<Tree, Stop> {
        let mut tree = Tree::new();
        let mut links = Vec::new();
        for (path, entry) in &self.0 {
            if let EntryKind::HardLink { target } = &entry.kind {
                links.push((path, target));
            } else {
                let node = node_of(entry, NodeKind::Earlier, Origin::Built)?;
                tree.add_earlier(path.clone(), node);
            }
        }
        for (path, target) in links {
            tree.add_earlier_name(path.clone(), target);
        }
        tree.begin_step();
        for (path, brought) in brought {
            tree.update(&path, |node| {
                if let Brought::Node(brought) = brought {
                    *node = brought;
                }
            });
        }
        for parent in changes.gone.iter().filter_map(EntryPath::parent) {
            tree.update(&parent, |_| {});
        }
        Ok(tree)
    }
}

/// What changed between two snapshots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// What is new or different, all names of a file.
    pub(super) files: BTreeSet<EntryPath>,
    /// What is no longer there, without what was below it.
    pub(super) gone: BTreeSet<EntryPath>,
}

impl Changes {
    pub(super) fn between(before: &Snapshot, after: &Snapshot) -> Self {
        let differs = |path: &EntryPath| match (before.get(path), after.get(path)) {
            (Some(before), Some(after)) => !same(before, after),
            (None, _) | (_, None) => true,
        };
        let changed: BTreeSet<&EntryPath> = after
            .0
            .keys()
            .filter(|path| !path.is_root() && differs(path))
            .map(|path| after.first_name(path))
            .collect();
        let files = after
            .0
            .keys()
            .filter(|path| changed.contains(after.first_name(path)))
            .cloned()
            .collect();
        let gone = before
            .0
            .keys()
            .filter(|path| !after.0.contains_key(*path))
            // Below what is gone, or is no directory now, it is known already.
            .filter(|path| path.parent().is_none_or(|parent| after.is_directory(&parent)))
            .cloned()
            .collect();
        Self { files, gone }
    }
}
