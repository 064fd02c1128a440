//! Tree: the file system that a build is making, and what the present step changed in it.
//!
//! Paths are looked up as inside a chroot: symbolic links are followed on the
//! way, absolute ones from the root, and nothing leads out of it.

use std::collections::{BTreeMap, BTreeSet};

use super::spool::Extent;
use crate::{dialect::tar::FileType, facts::Origin, image::EntryPath};

/// How many symbolic links one path may lead through; as Linux has it.
const MOST_LINKS: usize = 40;

/// One file; several paths may be names of it.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) kind: NodeKind,
    /// Permission bits with setuid, setgid and sticky.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) time: Time,
    pub(super) capability: Option<Box<[u8]>>,
    pub(super) origin: Origin,
}

/// What a file is.
#[derive(Debug, Clone)]
pub(super) enum NodeKind {
    File(Extent),
    /// A regular file of an earlier layer, whose content is not at hand.
    Earlier,
    Symlink(Box<[u8]>),
    Directory,
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
    Fifo,
}

/// When a file was last changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Time {
    /// Known: seconds since the epoch.
    Known(i64),
    /// Whenever the builder ran.
    Made,
}

impl NodeKind {
    pub(super) fn file_type(&self) -> FileType {
        match self {
            Self::File(_) | Self::Earlier => FileType::File,
            Self::Symlink(_) => FileType::Symlink,
            Self::Directory => FileType::Directory,
            Self::CharDevice(..) => FileType::CharDevice,
            Self::BlockDevice(..) => FileType::BlockDevice,
            Self::Fifo => FileType::Fifo,
        }
    }
}

/// A path that cannot be followed or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PathError {
    #[error("{0} leads through too many symbolic links")]
    TooManyLinks(EntryPath),
    #[error("{0} is not a directory")]
    NotADirectory(EntryPath),
    #[error(
        "{0} takes the place of a file of an earlier layer that is no directory, which is not supported"
    )]
    ReplacesLowerFile(EntryPath),
}

/// Identifies a node of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NodeId(usize);

/// A file system being made.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    paths: BTreeMap<EntryPath, NodeId>,
    /// What the present step made or touched.
    changed: BTreeSet<EntryPath>,
    /// What is no directory in the layers before the present step and was removed in it.
    removed: BTreeSet<EntryPath>,
    /// Directories of the layers before the present step that were removed in it.
    removed_directories: BTreeSet<EntryPath>,
}

impl Tree {
    /// Returns a tree with nothing but a root.
    pub(super) fn new() -> Self {
        let root = Node {
            kind: NodeKind::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            time: Time::Made,
            capability: None,
            origin: Origin::Built,
        };
        Self {
            nodes: vec![root],
            paths: BTreeMap::from([(EntryPath::of(b""), NodeId(0))]),
            changed: BTreeSet::new(),
            removed: BTreeSet::new(),
            removed_directories: BTreeSet::new(),
        }
    }

    /// Adds what an earlier layer has at `path`, which takes the place of nothing.
    ///
    /// The root's metadata is replaced by what `node` says.
    pub(super) fn add_earlier(&mut self, path: EntryPath, node: Node) {
        let id = NodeId(self.nodes.len());
        self.nodes.push(node);
        self.paths.insert(path, id);
    }

    /// Adds another name that an earlier layer has of the file at `target`, which is there.
    pub(super) fn add_earlier_name(&mut self, path: EntryPath, target: &EntryPath) {
        if let Some(&id) = self.paths.get(target) {
            self.paths.insert(path, id);
        }
    }

    /// Begins a step: nothing is changed yet.
    pub(super) fn begin_step(&mut self) {
        self.changed.clear();
        self.removed.clear();
        self.removed_directories.clear();
    }

    /// Ends a step whose changes were carried out: contents are no longer at hand.
    pub(super) fn end_step(&mut self) {
        for path in std::mem::take(&mut self.changed) {
            if let Some(&id) = self.paths.get(&path)
                && let NodeKind::File(_) = self.node(id).kind
            {
                self.nodes[id.0].kind = NodeKind::Earlier;
            }
        }
        self.begin_step();
    }

    /// Returns what the present step made or touched, the root too.
    pub(super) fn changed(&self) -> BTreeMap<&EntryPath, (NodeId, &Node)> {
        self.changed
            .iter()
            .filter_map(|path| Some((path, self.get(path)?)))
            .collect()
    }

    /// Returns the directories of earlier layers that the present step put something else at.
    pub(super) const fn removed_directories(&self) -> &BTreeSet<EntryPath> {
        &self.removed_directories
    }

    /// Returns the paths of the present step's layer and their nodes: what it
    /// changed and every directory on the way there, without the root.
    pub(super) fn layer(&self) -> BTreeMap<&EntryPath, (NodeId, &Node)> {
        let mut layer = BTreeMap::new();
        for path in &self.changed {
            let mut path = path.clone();
            while !path.is_root() {
                let Some((path_here, &id)) = self.paths.get_key_value(&path) else {
                    break;
                };
                if layer.insert(path_here, (id, self.node(id))).is_some() {
                    break;
                }
                path = path.parent().unwrap_or_else(|| EntryPath::of(b""));
            }
        }
        layer
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// Returns what is at `path` itself; no link is followed.
    pub(super) fn get(&self, path: &EntryPath) -> Option<(NodeId, &Node)> {
        self.paths.get(path).map(|&id| (id, self.node(id)))
    }

    /// Returns whether there is a directory at `path` itself.
    pub(super) fn is_directory(&self, path: &EntryPath) -> bool {
        matches!(self.get(path), Some((_, node)) if matches!(node.kind, NodeKind::Directory))
    }

    /// Returns where `path` leads once every symbolic link in it is followed,
    /// the last name's too. What does not exist is taken as it is written.
    pub(super) fn follow(&self, path: &[u8]) -> Result<EntryPath, PathError> {
        self.follow_within(&EntryPath::of(b""), path)
    }

    /// Returns where `path`, taken inside the directory `root`, leads; its last
    /// name is taken as it is.
    ///
    /// Absolute links begin at `root` and nothing leads out of it.
    pub(super) fn follow_parent(
        &self,
        root: &EntryPath,
        path: &EntryPath,
    ) -> Result<EntryPath, PathError> {
        match path.parent() {
            None => Ok(root.clone()),
            Some(parent) => Ok(self
                .follow_within(root, parent.as_bytes())?
                .join(path.file_name())),
        }
    }

    fn follow_within(&self, root: &EntryPath, path: &[u8]) -> Result<EntryPath, PathError> {
        let mut pending: Vec<Vec<u8>> = names(path).rev().map(<[u8]>::to_vec).collect();
        let mut here = root.clone();
        let mut links = 0;
        while let Some(name) = pending.pop() {
            if name == b".." {
                if here != *root {
                    here = here.parent().unwrap_or(here);
                }
                continue;
            }
            let next = here.join(&name);
            let target = match self.get(&next) {
                Some((_, node)) => match &node.kind {
                    NodeKind::Symlink(target) => Some(target.clone()),
                    _ => None,
                },
                None => None,
            };
            let Some(target) = target else {
                here = next;
                continue;
            };
            links += 1;
            if links > MOST_LINKS {
                return Err(PathError::TooManyLinks(EntryPath::of(path)));
            }
            if target.starts_with(b"/") {
                here = root.clone();
            }
            pending.extend(names(&target).rev().map(<[u8]>::to_vec));
        }
        Ok(here)
    }

    /// Makes the directory at `path` and those above it where they are missing.
    ///
    /// `path` has no symbolic links in it. Returns those that were made.
    pub(super) fn make_directories(
        &mut self,
        path: &EntryPath,
        like: &Node,
    ) -> Result<Vec<EntryPath>, PathError> {
        let mut missing = Vec::new();
        let mut above = Some(path.clone());
        while let Some(path) = above {
            match self.get(&path) {
                Some((_, node)) if matches!(node.kind, NodeKind::Directory) => break,
                Some(_) => return Err(PathError::NotADirectory(path)),
                None => {
                    above = path.parent();
                    missing.push(path);
                }
            }
        }
        missing.reverse();
        for path in &missing {
            self.put(path, like.clone())?;
        }
        Ok(missing)
    }

    /// Puts a file at `path`, in place of whatever is there, in a directory that exists.
    ///
    /// A directory put where one is takes only its metadata from `node`.
    pub(super) fn put(&mut self, path: &EntryPath, node: Node) -> Result<NodeId, PathError> {
        let directory = matches!(node.kind, NodeKind::Directory);
        let id = self.set(path, node);
        if directory && self.removed.contains(path) {
            return Err(PathError::ReplacesLowerFile(path.clone()));
        }
        Ok(id)
    }

    fn set(&mut self, path: &EntryPath, node: Node) -> NodeId {
        if matches!(node.kind, NodeKind::Directory) && self.is_directory(path) {
            let id = self.paths[path];
            self.nodes[id.0] = node;
            self.changed.insert(path.clone());
            return id;
        }
        self.remove(path);
        let id = NodeId(self.nodes.len());
        self.nodes.push(node);
        self.name(path, id);
        id
    }

    /// Lays what the present step made in another tree over this one, as a layer lies on others.
    pub(super) fn lay(&mut self, above: &Self) {
        let mut names: BTreeMap<NodeId, &EntryPath> = BTreeMap::new();
        for (path, (id, node)) in above.layer() {
            let first = names.get(&id).copied();
            if let Some(first) = first
                && let Some(&here) = self.paths.get(first)
            {
                self.link(path, first, here);
            } else {
                self.set(path, node.clone());
                names.insert(id, path);
            }
        }
    }

    /// Gives a file that is there another name, in place of whatever has it.
    pub(super) fn link(&mut self, path: &EntryPath, target: &EntryPath, id: NodeId) {
        self.remove(path);
        // A link to a file of an earlier layer brings that file into this one.
        self.changed.insert(target.clone());
        self.name(path, id);
    }

    /// Sets when a directory was changed, after what is in it.
    pub(super) fn set_time(&mut self, path: &EntryPath, time: Time) {
        if let Some(&id) = self.paths.get(path) {
            self.nodes[id.0].time = time;
        }
    }

    /// Changes a file's metadata.
    pub(super) fn update(&mut self, path: &EntryPath, change: impl FnOnce(&mut Node)) {
        if let Some(&id) = self.paths.get(path) {
            change(&mut self.nodes[id.0]);
            self.changed.insert(path.clone());
        }
    }

    fn name(&mut self, path: &EntryPath, id: NodeId) {
        self.paths.insert(path.clone(), id);
        self.changed.insert(path.clone());
        self.touch_parent(path);
    }

    /// Removes what is at `path` and below it.
    fn remove(&mut self, path: &EntryPath) {
        let Some(id) = self.paths.remove(path) else {
            return;
        };
        let directory = matches!(self.node(id).kind, NodeKind::Directory);
        if !self.changed.remove(path) && !directory {
            self.removed.insert(path.clone());
        }
        if directory {
            self.removed_directories.insert(path.clone());
        }
        if directory {
            let below: Vec<EntryPath> = self.below(path).cloned().collect();
            for path in below {
                self.paths.remove(&path);
                self.changed.remove(&path);
            }
        }
        self.touch_parent(path);
    }

    /// Returns every path below `path`.
    pub(super) fn below<'a>(
        &'a self,
        path: &EntryPath,
    ) -> impl Iterator<Item = &'a EntryPath> + use<'a> {
        let mut prefix = path.as_bytes().to_vec();
        if !path.is_root() {
            prefix.push(b'/');
        }
        let first = path.join(b"\0");
        self.paths
            .range(first..)
            .map(|(path, _)| path)
            .take_while(move |path| path.as_bytes().starts_with(&prefix))
    }

    /// A directory is changed whenever a name in it is.
    fn touch_parent(&mut self, path: &EntryPath) {
        if let Some(parent) = path.parent()
            && let Some(&id) = self.paths.get(&parent)
        {
            self.nodes[id.0].time = Time::Made;
            self.changed.insert(parent);
        }
    }
}

/// Returns the names of a path; `..` is one of them.
fn names(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(kind: NodeKind) -> Node {
        Node {
            kind,
            mode: 0o755,
            uid: 0,
            gid: 0,
            time: Time::Known(1),
            capability: None,
            origin: Origin::Opaque,
        }
    }

    fn tree(links: &[(&str, &str)], directories: &[&str]) -> Tree {
        let mut tree = Tree::new();
        for path in directories {
            tree.make_directories(&EntryPath::of(path.as_bytes()), &node(NodeKind::Directory))
                .unwrap();
        }
        for (path, target) in links {
            let target = target.as_bytes().into();
            tree.put(
                &EntryPath::of(path.as_bytes()),
                node(NodeKind::Symlink(target)),
            )
            .unwrap();
        }
        tree
    }

    #[test]
    fn links_are_followed_as_inside_a_chroot() {
        let tree = tree(
            &[
                ("bin", "usr/bin"),
                ("usr/lib64", "/usr/lib"),
                ("up", "../../../usr"),
                ("loop", "loop"),
            ],
            &["usr/bin", "usr/lib"],
        );
        let cases = [
            ("bin/sh", "usr/bin/sh"),
            ("/usr/lib64/x", "usr/lib/x"),
            ("up/bin", "usr/bin"),
            ("bin/../../../etc", "etc"),
            ("nothing/../bin", "usr/bin"),
            ("", ""),
        ];
        for (path, expected) in cases {
            assert_eq!(
                tree.follow(path.as_bytes()).unwrap(),
                EntryPath::of(expected.as_bytes()),
                "{path}"
            );
        }
        assert_eq!(
            tree.follow(b"loop/x"),
            Err(PathError::TooManyLinks(EntryPath::of(b"loop/x")))
        );
    }

    #[test]
    fn a_layer_has_what_changed_and_the_directories_above_it() {
        let mut tree = tree(&[], &["a/b/c", "d"]);
        tree.begin_step();
        tree.put(
            &EntryPath::of(b"a/b/file"),
            node(NodeKind::File(Extent::default())),
        )
        .unwrap();
        let layer: Vec<(String, Time)> = tree
            .layer()
            .into_iter()
            .map(|(path, (_, node))| (path.to_string(), node.time))
            .collect();
        // Only the directory that got the new name has a new time.
        assert_eq!(
            layer,
            [
                ("/a".to_owned(), Time::Made),
                ("/a/b".to_owned(), Time::Made),
                ("/a/b/file".to_owned(), Time::Known(1)),
            ]
        );
    }

    #[test]
    fn replacing_a_directory_removes_what_is_below_it() {
        let mut tree = tree(&[], &["a/b", "a-b"]);
        tree.put(
            &EntryPath::of(b"a"),
            node(NodeKind::File(Extent::default())),
        )
        .unwrap();
        let paths: Vec<String> = tree.layer().keys().map(ToString::to_string).collect();
        assert_eq!(paths, ["/a", "/a-b"]);
        tree.begin_step();
        assert_eq!(
            tree.put(&EntryPath::of(b"a"), node(NodeKind::Directory))
                .unwrap_err(),
            PathError::ReplacesLowerFile(EntryPath::of(b"a"))
        );
    }
}
