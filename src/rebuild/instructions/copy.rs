//! ADD and COPY: files of the build context or of another root → files of the tree,
//! by either builder's rules.
//!
//! Source: moby `daemon/builder/dockerfile/copy.go`; moby/buildkit
//! `frontend/dockerfile/dockerfile2llb/convert_copy.go`, `solver/llbsolver/file`
//! and tonistiigi/fsutil `copy`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use super::context::{BuildContext, ContextEntry};
use crate::{
    dialect::{
        Builder,
        tar::walk_order,
        tarsum::{self, ContextFile, ContextKind},
    },
    digest::Digest,
    facts::{Input, Origin},
    image::EntryPath,
    rebuild::{
        Context, Error, Stop,
        dockerfile::{
            HereDocument,
            glob::{Ignored, NamePattern, has_wildcards},
            paths,
        },
        spool::Spool,
        tree::{Node, NodeKind, Time, Tree},
        unpack::{self, Owner},
    },
    source::TreeEntryKind,
};

/// What an ADD or COPY works on.
pub(in crate::rebuild) struct Copier<'a> {
    pub(in crate::rebuild) context: &'a BuildContext<'a>,
    pub(in crate::rebuild) kind: Context,
    pub(in crate::rebuild) builder: Builder,
    pub(in crate::rebuild) tree: &'a mut Tree,
    pub(in crate::rebuild) spool: &'a mut Spool,
    /// What was read of the source; added to.
    pub(in crate::rebuild) inputs: &'a mut BTreeMap<String, Input>,
}

/// An ADD or COPY, variables put in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::rebuild) struct Instruction {
    /// `ADD` or `COPY`.
    pub(in crate::rebuild) keyword: &'static str,
    /// The stage or image to copy from, `None` for the context.
    pub(in crate::rebuild) from: Option<String>,
    pub(in crate::rebuild) sources: Vec<String>,
    pub(in crate::rebuild) documents: Vec<HereDocument>,
    pub(in crate::rebuild) destination: String,
    pub(in crate::rebuild) working_directory: String,
    pub(in crate::rebuild) chown: Option<String>,
    /// The mode, and as it is written.
    pub(in crate::rebuild) chmod: Option<(u32, String)>,
    /// What the one URL should hold.
    pub(in crate::rebuild) checksum: Option<String>,
    /// What of the directories that are copied is left out.
    pub(in crate::rebuild) excluded: Ignored,
    pub(in crate::rebuild) onto: Onto,
}

/// What files are copied onto.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::rebuild) enum Onto {
    /// What there is: links there are followed.
    #[default]
    Stage,
    /// Nothing, and the result is laid over what there is, as `--link` has it.
    Nothing,
}

impl Instruction {
    fn ends_in_slash(&self) -> bool {
        let destination = &self.destination;
        destination.is_empty()
            || destination == "."
            || destination.ends_with('/')
            || destination.ends_with("/.")
    }

    /// Fails where a file that is itself a source is one to be left out.
    ///
    /// `BuildKit` holds patterns against what is below a source and so copies it, and its
    /// documentation says that it is left out.
    fn keeps(&self, name: &str) -> Result<(), Stop> {
        if self.excluded.covers(name) {
            return Err(Stop::failed(format!(
                "--exclude of {name}, which is a source itself, is not supported"
            )));
        }
        Ok(())
    }

    /// Returns where files go, now that `tree` is as it is.
    fn target(&self, owner: Option<(u32, u32)>, tree: &Tree) -> Result<Target, Stop> {
        let absolute = paths::absolute(&self.working_directory, &self.destination);
        Ok(Target {
            path: tree.follow(absolute.as_bytes())?,
            ends_in_slash: self.ends_in_slash(),
            owner,
            chmod: self.chmod.as_ref().map(|(mode, _)| *mode),
        })
    }
}

/// Returns whether a source of ADD is fetched by HTTP.
pub(in crate::rebuild) fn is_url(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

/// Returns the file that is locked for a URL.
pub(in crate::rebuild) type Fetched<'a> = &'a dyn Fn(&str) -> Result<Option<PathBuf>, Stop>;

/// A root file system that files are copied from.
pub(in crate::rebuild) trait Elsewhere {
    /// Returns what there is, contents aside.
    fn tree(&self) -> Result<&Tree, Stop>;

    /// Puts what is at these paths and below them aside; in archive order.
    fn bring(
        &self,
        paths: &[EntryPath],
        spool: &mut Spool,
    ) -> Result<Vec<(EntryPath, Brought)>, Stop>;
}

/// A file of another root.
#[derive(Debug, Clone)]
pub(in crate::rebuild) enum Brought {
    Node(Node),
    /// Another name of the file that was brought by this one.
    Link(EntryPath),
}

/// Where files go and what they become.
struct Target {
    path: EntryPath,
    ends_in_slash: bool,
    owner: Option<(u32, u32)>,
    chmod: Option<u32>,
}

impl Copier<'_> {
    /// Follows the instruction; returns what the classic builder's history calls its sources.
    pub(in crate::rebuild) fn copy_context(
        &mut self,
        instruction: &Instruction,
        owner: Option<(u32, u32)>,
        fetched: Fetched<'_>,
    ) -> Result<String, Stop> {
        let mut names = Vec::new();
        for source in &instruction.sources {
            if is_url(source) {
                names.push(source.clone());
            } else {
                names.extend(self.context.matches(&inside_context(source))?);
            }
        }
        if self.builder == Builder::Classic {
            if names.is_empty() {
                return Err(Stop::failed("no source files were specified"));
            }
            if names.len() > 1 && !instruction.destination.ends_with('/') {
                return Err(Stop::failed(
                    "with more than one source the destination must be a directory and end with a /",
                ));
            }
        }
        let mut sums = Vec::new();
        for name in &names {
            // Earlier sources may have made what this leads through.
            let target = instruction.target(owner, self.tree)?;
            if is_url(name) {
                let content = self.fetch(name, instruction.checksum.as_deref(), fetched)?;
                let kind = NodeKind::File(self.spool.put(&content)?);
                self.file(kind, 0o600, Origin::Opaque, name_of_url(name), &target)?;
                continue;
            }
            let entry = self.context.follow(name)?;
            if self.builder == Builder::Classic {
                sums.push(self.sum(&entry)?);
            }
            let base = name.rsplit('/').next().unwrap_or(name);
            if entry.kind == TreeEntryKind::Directory {
                self.directory(&entry, &instruction.excluded, &target)?;
                continue;
            }
            instruction.keeps(base)?;
            let content = self.context.read(&entry)?;
            if instruction.keyword == "ADD" && unpack::is_archive(&content) {
                self.note(&entry, &content, Origin::Opaque);
                self.archive(&content, &target)?;
            } else {
                let origin = self.context.origin(&entry, &content);
                self.note(&entry, &content, origin);
                let kind = NodeKind::File(self.spool.put(&content)?);
                let mode = self.context.mode(entry.kind);
                self.file(kind, mode, origin, base, &target)?;
            }
        }
        for document in &instruction.documents {
            let target = instruction.target(owner, self.tree)?;
            let kind = NodeKind::File(self.spool.put(document.content.as_bytes())?);
            let base = document.name.rsplit('/').next().unwrap_or(&document.name);
            self.file(kind, 0o644, Origin::Tree, base, &target)?;
        }
        self.spool.settle()?;
        Ok(match &sums[..] {
            [sum] => sum.clone(),
            sums => tarsum::of_several(sums),
        })
    }

    /// Reads what is locked for a URL.
    fn fetch(
        &mut self,
        url: &str,
        checksum: Option<&str>,
        fetched: Fetched<'_>,
    ) -> Result<Vec<u8>, Stop> {
        let path = fetched(url)?
            .ok_or_else(|| Stop::failed(format!("fetches {url}, which the lock does not have")))?;
        let content = fs::read(&path).map_err(|source| Error::Read { path, source })?;
        let digest = Digest::of(&content);
        if let Some(checksum) = checksum
            && checksum != digest.to_string()
        {
            return Err(Stop::failed(format!(
                "{url} should be {checksum} but is {digest}"
            )));
        }
        self.inputs.insert(
            url.to_owned(),
            Input {
                digest,
                size: content.len() as u64,
                origin: Origin::Opaque,
            },
        );
        Ok(content)
    }

    /// Follows a COPY of files of another root.
    ///
    /// Without `--chown` they keep their owners. Their times are those of the
    /// build, as `BuildKit` has it where it is given `SOURCE_DATE_EPOCH`.
    pub(in crate::rebuild) fn copy_elsewhere(
        &mut self,
        instruction: &Instruction,
        owner: Option<(u32, u32)>,
        from: &dyn Elsewhere,
    ) -> Result<(), Stop> {
        let tree = from.tree()?;
        let mut sources = Vec::new();
        for source in &instruction.sources {
            for name in matches(tree, source)? {
                let path = tree.follow(name.as_bytes())?;
                if tree.get(&path).is_none() {
                    let of = instruction.from.as_deref().unwrap_or_default();
                    return Err(Stop::failed(format!("{path} is not in {of}")));
                }
                sources.push((name, path));
            }
        }
        let paths: Vec<EntryPath> = sources.iter().map(|(_, path)| path.clone()).collect();
        let brought = from.bring(&paths, self.spool)?;
        let by_path: BTreeMap<&EntryPath, &Brought> = brought
            .iter()
            .map(|(path, brought)| (path, brought))
            .collect();
        for (name, source) in &sources {
            let target = instruction.target(owner, self.tree)?;
            let directory = tree.is_directory(source);
            let path = if directory {
                self.make_target(&target)?;
                target.path.clone()
            } else {
                self.place(&target, name.file_name())?
            };
            let left = if directory {
                left(source, by_path.keys().copied(), &instruction.excluded)?
            } else {
                instruction.keeps(&String::from_utf8_lossy(name.file_name()))?;
                BTreeSet::from([source])
            };
            // Names of one file stay so within a directory that is copied.
            let mut copied: BTreeMap<&EntryPath, EntryPath> = BTreeMap::new();
            for (at, what) in by_path.iter().filter(|(at, _)| left.contains(**at)) {
                let Some(below) = below(source, at) else {
                    continue;
                };
                if directory && below.is_empty() {
                    continue;
                }
                let path = if below.is_empty() {
                    path.clone()
                } else {
                    path.join(below)
                };
                let (first, node) = match what {
                    Brought::Node(node) => (*at, node),
                    Brought::Link(first) => match by_path.get(first) {
                        Some(Brought::Node(node)) => (first, node),
                        _ => {
                            return Err(Stop::failed(format!(
                                "{at} is another name of {first}, which was not copied"
                            )));
                        }
                    },
                };
                if let Some(there) = copied.get(first)
                    && let Some((id, _)) = self.tree.get(there)
                {
                    self.tree.link(&path, there, id);
                    continue;
                }
                let (uid, gid) = target.owner.unwrap_or((node.uid, node.gid));
                let is_link = matches!(node.kind, NodeKind::Symlink(_));
                let mode = target.chmod.filter(|_| !is_link).unwrap_or(node.mode);
                let node = Node {
                    mode,
                    uid,
                    gid,
                    time: Time::Made,
                    ..node.clone()
                };
                if !matches!(node.kind, NodeKind::Directory) {
                    copied.insert(first, path.clone());
                }
                self.replace(&path, node)?;
            }
        }
        self.spool.settle()?;
        Ok(())
    }

    /// Unpacks an archive into the directory at `target`.
    fn archive(&mut self, content: &[u8], target: &Target) -> Result<(), Stop> {
        // The classic builder has no owner for what it unpacks, whatever --chown says.
        let owner = match self.builder {
            Builder::Classic => None,
            Builder::BuildKit => target.owner,
        };
        let directory = made_directory(0o755, owner);
        self.tree.make_directories(&target.path, &directory)?;
        let owner = owner.map_or(Owner::AsArchived, |(uid, gid)| Owner::Given(uid, gid));
        unpack::unpack(content, &target.path, owner, self.tree, self.spool)
    }

    /// Puts one file at, or into, `target`.
    fn file(
        &mut self,
        kind: NodeKind,
        mode: u32,
        origin: Origin,
        name: &str,
        target: &Target,
    ) -> Result<(), Stop> {
        let path = self.place(target, name.as_bytes())?;
        let (uid, gid) = target.owner.unwrap_or((0, 0));
        self.replace(
            &path,
            Node {
                kind,
                mode: target.chmod.unwrap_or(mode),
                uid,
                gid,
                time: Time::Made,
                capability: None,
                origin,
            },
        )
    }

    /// Returns where a file of this name goes, whose directory is made where it is missing.
    fn place(&mut self, target: &Target, name: &[u8]) -> Result<EntryPath, Stop> {
        let directory = made_directory(target.chmod.unwrap_or(0o755), target.owner);
        let mut path = target.path.clone();
        if target.ends_in_slash {
            self.tree.make_directories(&path, &directory)?;
        }
        if target.ends_in_slash || self.tree.is_directory(&path) {
            path = path.join(name);
        }
        if let Some(parent) = path.parent() {
            self.tree.make_directories(&parent, &directory)?;
        }
        Ok(path)
    }

    /// Makes `target` a directory that another's files are put into.
    fn make_target(&mut self, target: &Target) -> Result<(), Stop> {
        let directory = made_directory(target.chmod.unwrap_or(0o755), target.owner);
        match self.builder {
            Builder::BuildKit => {
                self.tree.make_directories(&target.path, &directory)?;
                if !target.path.is_root() {
                    self.tree
                        .update(&target.path, |node| node.time = Time::Made);
                }
            }
            Builder::Classic => {
                let made = self
                    .tree
                    .make_directories(&target.path, &made_directory(0o755, None))?;
                if let (Some((uid, gid)), false) = (target.owner, made.is_empty()) {
                    self.tree
                        .update(&target.path, |node| (node.uid, node.gid) = (uid, gid));
                }
            }
        }
        Ok(())
    }

    /// Puts what is in a directory into `target`.
    fn directory(
        &mut self,
        entry: &ContextEntry,
        excluded: &Ignored,
        target: &Target,
    ) -> Result<(), Stop> {
        self.make_target(target)?;
        let (uid, gid) = target.owner.unwrap_or((0, 0));
        let children = self.context.walk(entry)?;
        let below = |child: &'_ ContextEntry| {
            child.path[entry.path.len()..]
                .trim_start_matches('/')
                .to_owned()
        };
        let paths: Vec<String> = children.iter().map(below).collect();
        let left = excluded.left(paths.iter().map(String::as_str));
        for (child, below) in children.iter().zip(&paths) {
            if !left.contains(below.as_str()) {
                continue;
            }
            let path = target.path.join(below.as_bytes());
            let mut mode = self.context.mode(child.kind);
            let (kind, origin) = match child.kind {
                TreeEntryKind::Directory => (NodeKind::Directory, Origin::Built),
                TreeEntryKind::Symlink => {
                    let link = self.context.link_target(child)?;
                    (NodeKind::Symlink(link.into()), Origin::Tree)
                }
                TreeEntryKind::File | TreeEntryKind::Executable => {
                    let content = self.context.read(child)?;
                    let origin = self.context.origin(child, &content);
                    self.note(child, &content, origin);
                    (NodeKind::File(self.spool.put(&content)?), origin)
                }
                TreeEntryKind::Submodule => {
                    return Err(Stop::failed(format!("{} is a submodule", child.path)));
                }
            };
            if child.kind != TreeEntryKind::Symlink {
                mode = target.chmod.unwrap_or(mode);
            }
            self.replace(
                &path,
                Node {
                    kind,
                    mode,
                    uid,
                    gid,
                    time: Time::Made,
                    capability: None,
                    origin,
                },
            )?;
        }
        Ok(())
    }

    /// Puts a node in the place of what is there, if the builder would.
    fn replace(&mut self, path: &EntryPath, node: Node) -> Result<(), Stop> {
        let there = self
            .tree
            .get(path)
            .map(|(_, node)| matches!(node.kind, NodeKind::Directory));
        let directory = matches!(node.kind, NodeKind::Directory);
        match (self.builder, there) {
            (Builder::BuildKit, Some(is_directory)) if is_directory != directory => {
                let (old, new) = if directory {
                    ("file", "directory")
                } else {
                    ("directory", "file")
                };
                Err(Stop::failed(format!(
                    "cannot replace the {old} {path} with a {new}"
                )))
            }
            _ => {
                self.tree.put(path, node)?;
                Ok(())
            }
        }
    }

    fn note(&mut self, entry: &ContextEntry, content: &[u8], origin: Origin) {
        self.inputs.insert(
            String::from_utf8_lossy(&entry.source_path).into_owned(),
            Input {
                digest: Digest::of(content),
                size: content.len() as u64,
                origin,
            },
        );
    }

    /// Returns what the classic builder's history calls a source.
    fn sum(&self, entry: &ContextEntry) -> Result<String, Stop> {
        if entry.kind != TreeEntryKind::Directory {
            return Ok(format!("file:{}", self.sum_of(entry)?));
        }
        let mut members = Vec::new();
        if !entry.path.is_empty() {
            members.push(self.sum_of(entry)?);
        }
        for child in self.context.walk(entry)? {
            // A link counts as what it leads to; one that leads nowhere as its path.
            members.push(match child.kind {
                TreeEntryKind::Symlink => match self.context.follow(&child.path) {
                    Ok(followed) => self.sum_of(&followed)?,
                    Err(Stop::Failed(_)) => child.path.clone(),
                    Err(error) => return Err(error),
                },
                _ => self.sum_of(&child)?,
            });
        }
        Ok(tarsum::of_directory(members))
    }

    fn sum_of(&self, entry: &ContextEntry) -> Result<String, Stop> {
        let mode = self.context.mode(entry.kind);
        let (content, kind, path, file_type) = if entry.kind == TreeEntryKind::Directory {
            let path = format!("{}/", entry.path);
            (Vec::new(), ContextKind::Directory, path, 0o040_000)
        } else {
            let content = self.context.read(entry)?;
            let size = content.len() as u64;
            let path = entry.path.clone();
            (content, ContextKind::File { size }, path, 0o100_000)
        };
        let mode = match self.kind {
            Context::Archive => mode,
            // Docker packs a checkout with its own tar writer, type bits and all.
            Context::Checkout => mode | file_type,
        };
        let file = ContextFile {
            path: path.as_bytes(),
            mode,
            kind,
        };
        tarsum::of_file(&file, content.as_slice())
            .map_err(|error| Stop::failed(format!("{} cannot be read: {error}", entry.path)))
    }
}

/// A directory that the builder makes on the way.
pub(in crate::rebuild) fn made_directory(mode: u32, owner: Option<(u32, u32)>) -> Node {
    let (uid, gid) = owner.unwrap_or((0, 0));
    Node {
        kind: NodeKind::Directory,
        mode,
        uid,
        gid,
        time: Time::Made,
        capability: None,
        origin: Origin::Built,
    }
}

/// Returns the path of a source from the top of the context; it cannot lead out of it.
fn inside_context(source: &str) -> String {
    paths::absolute("/", source)
        .trim_start_matches('/')
        .to_owned()
}

/// Returns what `BuildKit` calls the file of a URL.
fn name_of_url(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    match path.trim_end_matches('/').rsplit_once('/') {
        Some((_, name)) if !name.is_empty() => name,
        _ => "__unnamed__",
    }
}

/// Returns the part of `path` below `directory`, empty for itself; `None` elsewhere.
fn below<'a>(directory: &EntryPath, path: &'a EntryPath) -> Option<&'a [u8]> {
    let path = path.as_bytes();
    if directory.is_root() {
        return Some(path);
    }
    match path.strip_prefix(directory.as_bytes())? {
        [] => Some(b""),
        [b'/', rest @ ..] => Some(rest),
        _ => None,
    }
}

/// Returns those of the paths that lie below a directory and are not left out of it.
fn left<'a>(
    directory: &EntryPath,
    paths: impl Iterator<Item = &'a EntryPath>,
    excluded: &Ignored,
) -> Result<BTreeSet<&'a EntryPath>, Stop> {
    let paths = paths.filter_map(|path| Some((below(directory, path)?, path)));
    if *excluded == Ignored::default() {
        return Ok(paths.map(|(_, path)| path).collect());
    }
    let by_name: BTreeMap<&str, &EntryPath> = paths
        .map(|(name, path)| match std::str::from_utf8(name) {
            Ok(name) => Ok((name, path)),
            Err(_) => Err(Stop::failed(format!(
                "{path} is not UTF-8, which --exclude cannot be held against"
            ))),
        })
        .collect::<Result<_, _>>()?;
    let left = excluded.left(by_name.keys().copied());
    Ok(left
        .into_iter()
        .filter_map(|name| by_name.get(name).copied())
        .collect())
}

/// Returns the paths that a source stands for, in the order of a walk; itself without wildcards.
fn matches(tree: &Tree, source: &str) -> Result<Vec<EntryPath>, Stop> {
    let source = inside_context(source);
    if !has_wildcards(&source) {
        return Ok(vec![EntryPath::of(source.as_bytes())]);
    }
    let names: Vec<&str> = source.split('/').collect();
    let fixed = names
        .iter()
        .position(|name| has_wildcards(name))
        .unwrap_or(0);
    let (before, pattern) = (names[..fixed].join("/"), names[fixed..].join("/"));
    let Some(pattern) = NamePattern::new(&pattern) else {
        return Err(Stop::failed(format!("{source:?} is no pattern")));
    };
    let top = tree.follow(before.as_bytes())?;
    let mut found: Vec<EntryPath> = tree
        .below(&top)
        .filter(|path| {
            below(&top, path)
                .and_then(|below| std::str::from_utf8(below).ok())
                .is_some_and(|below| pattern.matches(below))
        })
        .cloned()
        .collect();
    found.sort_by(|one, other| walk_order(one.as_bytes(), other.as_bytes()));
    Ok(found)
}
