//! ADD and COPY: files of the build context → files of the tree, by either builder's rules.
//!
//! Source: moby `daemon/builder/dockerfile/copy.go`; moby/buildkit
//! `solver/llbsolver/file` and tonistiigi/fsutil `copy`.

use std::collections::BTreeMap;

use super::context::{BuildContext, ContextEntry};
use crate::{
    dialect::{
        Builder,
        tarsum::{self, ContextFile, ContextKind},
    },
    digest::Digest,
    facts::{Input, Origin},
    image::EntryPath,
    rebuild::{
        Context, Stop,
        dockerfile::{HereDocument, paths},
        spool::Spool,
        tree::{Node, NodeKind, Time, Tree},
        unpack::{self, Owner},
    },
    source::TreeEntryKind,
};

/// What an ADD or COPY works on.
pub(super) struct Copier<'a> {
    pub(super) context: &'a BuildContext<'a>,
    pub(super) kind: Context,
    pub(super) builder: Builder,
    pub(super) tree: &'a mut Tree,
    pub(super) spool: &'a mut Spool,
    /// What was read of the source; added to.
    pub(super) inputs: &'a mut BTreeMap<String, Input>,
}

/// An ADD or COPY, variables put in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) unpacks: bool,
    pub(super) sources: Vec<String>,
    pub(super) documents: Vec<HereDocument>,
    pub(super) destination: String,
    pub(super) working_directory: String,
    pub(super) chown: Option<String>,
    pub(super) chmod: Option<u32>,
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
    pub(super) fn run(&mut self, instruction: &Instruction) -> Result<String, Stop> {
        let owner = match &instruction.chown {
            Some(chown) => Some(self.owner(chown)?),
            None => None,
        };
        let destination = &instruction.destination;
        let ends_in_slash = destination.is_empty()
            || destination == "."
            || destination.ends_with('/')
            || destination.ends_with("/.");
        let absolute = paths::absolute(&instruction.working_directory, destination);
        let mut names = Vec::new();
        for source in &instruction.sources {
            names.extend(self.context.matches(&inside_context(source))?);
        }
        if self.builder == Builder::Classic {
            if names.is_empty() {
                return Err(Stop::failed("no source files were specified"));
            }
            if names.len() > 1 && !destination.ends_with('/') {
                return Err(Stop::failed(
                    "with more than one source the destination must be a directory and end with a /",
                ));
            }
        }
        let mut sums = Vec::new();
        for name in &names {
            let entry = self.context.follow(name)?;
            let target = Target {
                // Earlier sources may have made what this leads through.
                path: self.tree.follow(absolute.as_bytes())?,
                ends_in_slash,
                owner,
                chmod: instruction.chmod,
            };
            if self.builder == Builder::Classic {
                sums.push(self.sum(&entry)?);
            }
            let base = name.rsplit('/').next().unwrap_or(name);
            if entry.kind == TreeEntryKind::Directory {
                self.directory(&entry, &target)?;
                continue;
            }
            let content = self.context.read(&entry)?;
            if instruction.unpacks && unpack::is_archive(&content) {
                self.note(&entry, &content, Origin::Opaque);
                self.archive(&content, &target)?;
            } else {
                let origin = origin_of(&content);
                self.note(&entry, &content, origin);
                let kind = NodeKind::File(self.spool.put(&content)?);
                let mode = self.context.mode(entry.kind);
                self.file(kind, mode, origin, base, &target)?;
            }
        }
        for document in &instruction.documents {
            let target = Target {
                path: self.tree.follow(absolute.as_bytes())?,
                ends_in_slash,
                owner,
                chmod: instruction.chmod,
            };
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
        let directory = made_directory(target.chmod.unwrap_or(0o755), target.owner);
        let mut path = target.path.clone();
        if target.ends_in_slash {
            self.tree.make_directories(&path, &directory)?;
        }
        if target.ends_in_slash || self.tree.is_directory(&path) {
            path = path.join(name.as_bytes());
        }
        if let Some(parent) = path.parent() {
            self.tree.make_directories(&parent, &directory)?;
        }
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

    /// Puts what is in a directory into `target`.
    fn directory(&mut self, entry: &ContextEntry, target: &Target) -> Result<(), Stop> {
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
        let (uid, gid) = target.owner.unwrap_or((0, 0));
        for child in self.context.walk(entry)? {
            let below = child.path[entry.path.len()..].trim_start_matches('/');
            let path = target.path.join(below.as_bytes());
            let mut mode = self.context.mode(child.kind);
            let (kind, origin) = match child.kind {
                TreeEntryKind::Directory => (NodeKind::Directory, Origin::Built),
                TreeEntryKind::Symlink => {
                    let link = self.context.link_target(&child)?;
                    (NodeKind::Symlink(link.into()), Origin::Tree)
                }
                TreeEntryKind::File | TreeEntryKind::Executable => {
                    let content = self.context.read(&child)?;
                    let origin = origin_of(&content);
                    self.note(&child, &content, origin);
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

    /// Returns the user and group that `--chown` names.
    pub(super) fn owner(&self, chown: &str) -> Result<(u32, u32), Stop> {
        let (user, group) = match chown.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (chown, None),
        };
        match self.builder {
            Builder::Classic => {
                let group = group.unwrap_or(user);
                let uid = match user.parse() {
                    Ok(uid) => uid,
                    Err(_) => {
                        self.account("etc/passwd", user)?
                            .ok_or_else(|| Stop::failed(format!("there is no user {user}")))?
                            .0
                    }
                };
                let gid = match group.parse() {
                    Ok(gid) => gid,
                    Err(_) => {
                        self.account("etc/group", group)?
                            .ok_or_else(|| Stop::failed(format!("there is no group {group}")))?
                            .0
                    }
                };
                Ok((uid, gid))
            }
            Builder::BuildKit => {
                let number = |text: &str| match text {
                    "root" => Some(0),
                    text => text.parse().ok(),
                };
                let (uid, mut gid) = match number(user) {
                    Some(id) => (id, id),
                    // BuildKit takes a user that is not there for root.
                    None => self.account("etc/passwd", user)?.unwrap_or((0, 0)),
                };
                if let Some(group) = group {
                    match number(group) {
                        Some(id) => gid = id,
                        None => {
                            if let Some((id, _)) = self.account("etc/group", group)? {
                                gid = id;
                            }
                        }
                    }
                }
                Ok((uid, gid))
            }
        }
    }

    /// Looks a name up in `/etc/passwd` or `/etc/group` of the tree: the third and fourth field.
    fn account(&self, file: &str, name: &str) -> Result<Option<(u32, u32)>, Stop> {
        let path = self.tree.follow(file.as_bytes())?;
        let Some((_, node)) = self.tree.get(&path) else {
            return Ok(None);
        };
        let NodeKind::File(extent) = node.kind else {
            return Ok(None);
        };
        let text = self.spool.read(extent)?;
        let text = String::from_utf8_lossy(&text);
        Ok(text.lines().find_map(|line| {
            let fields: Vec<&str> = line.trim().split(':').collect();
            let number = |at: usize| fields.get(at).and_then(|field| field.parse().ok());
            (fields.first() == Some(&name))
                .then(|| (number(2).unwrap_or(0), number(3).unwrap_or(0)))
        }))
    }
}

/// A directory that the builder makes on the way.
fn made_directory(mode: u32, owner: Option<(u32, u32)>) -> Node {
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

/// Text in the tree can be read by whoever reviews it; anything else is opaque.
fn origin_of(content: &[u8]) -> Origin {
    if !content.contains(&0) && std::str::from_utf8(content).is_ok() {
        Origin::Tree
    } else {
        Origin::Opaque
    }
}
