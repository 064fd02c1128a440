//! The build context: the directory of the source that ADD and COPY take files from.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    facts::Origin,
    rebuild::{
        Context, Stop,
        dockerfile::glob::{Ignored, NamePattern, has_wildcards},
    },
    source::{self, Source, TreeEntry, TreeEntryKind},
};

/// A directory of the source as a builder is given it.
pub(in crate::rebuild) struct BuildContext<'a> {
    source: &'a Source,
    top: String,
    ignored: Ignored,
    kind: Context,
    /// Files that take the place of the source's, by path there.
    replaced: &'a BTreeMap<String, Vec<u8>>,
}

/// One file, link or directory of the context.
#[derive(Debug, Clone)]
pub(in crate::rebuild) struct ContextEntry {
    /// Its path from the top of the context.
    pub(in crate::rebuild) path: String,
    /// Its path from the top of the source, not in need of following.
    pub(in crate::rebuild) source_path: Vec<u8>,
    pub(in crate::rebuild) kind: TreeEntryKind,
}

impl<'a> BuildContext<'a> {
    /// Opens the context in the directory `top` of the source, for this Dockerfile.
    pub(in crate::rebuild) fn open(
        source: &'a Source,
        top: &str,
        dockerfile: &str,
        kind: Context,
        replaced: &'a BTreeMap<String, Vec<u8>>,
    ) -> Result<Self, Stop> {
        let mut ignored = Ignored::default();
        if kind == Context::Checkout {
            let candidates = [
                format!("{dockerfile}.dockerignore"),
                joined(top, ".dockerignore"),
            ];
            for path in candidates {
                let Some(entry) = source.find(&path)? else {
                    continue;
                };
                if entry.kind == TreeEntryKind::Directory {
                    continue;
                }
                let bytes = source.read(&path)?;
                let text = String::from_utf8(bytes)
                    .map_err(|_| Stop::failed(format!("{path} is not UTF-8")))?;
                ignored = Ignored::parse(&text)
                    .map_err(|problem| Stop::failed(format!("{path}: {problem}")))?;
                break;
            }
        }
        Ok(Self {
            source,
            top: top.trim_matches('/').to_owned(),
            ignored,
            kind,
            replaced,
        })
    }

    /// Returns the mode that a builder sees.
    pub(in crate::rebuild) fn mode(&self, kind: TreeEntryKind) -> u32 {
        match (kind, self.kind) {
            (TreeEntryKind::Symlink, _) => 0o777,
            (TreeEntryKind::File, Context::Checkout) => 0o644,
            (TreeEntryKind::File, Context::Archive) => 0o664,
            (_, Context::Checkout) => 0o755,
            (_, Context::Archive) => 0o775,
        }
    }

    /// Returns what is at `path`, every symbolic link followed.
    pub(in crate::rebuild) fn follow(&self, path: &str) -> Result<ContextEntry, Stop> {
        let not_there = || {
            Stop::failed(format!(
                "{path} is not in the build context or excluded by .dockerignore"
            ))
        };
        if self.ignored.covers(path) && !self.ignored.has_exceptions() {
            return Err(not_there());
        }
        let entry = match self.source.resolve(joined(&self.top, path)) {
            Ok(entry) => entry,
            Err(source::Error::NoSuchPath { .. }) => return Err(not_there()),
            Err(source::Error::PathEscapes { .. } | source::Error::TooManyLinks { .. }) => {
                return Err(Stop::failed(format!(
                    "{path} is a symbolic link that leads nowhere in the build context"
                )));
            }
            Err(error) => return Err(error.into()),
        };
        let entry = self.entry(&entry)?.ok_or_else(|| {
            Stop::failed(format!(
                "{path} is a symbolic link that leads out of the build context"
            ))
        })?;
        if self.ignored.covers(&entry.path)
            && (entry.kind != TreeEntryKind::Directory || self.walk(&entry)?.is_empty())
        {
            return Err(not_there());
        }
        Ok(entry)
    }

    /// Returns everything below a directory that `.dockerignore` leaves, each
    /// directory before what is in it.
    pub(in crate::rebuild) fn walk(
        &self,
        directory: &ContextEntry,
    ) -> Result<Vec<ContextEntry>, Stop> {
        let mut found = Vec::new();
        for entry in self.source.walk(&directory.source_path)? {
            found.extend(self.entry(&entry)?);
        }
        // A directory that is left out is there all the same if something in it is not.
        let paths = found.iter().map(|entry: &ContextEntry| entry.path.as_str());
        let left: BTreeSet<String> = self
            .ignored
            .left(paths)
            .into_iter()
            .map(str::to_owned)
            .collect();
        found.retain(|entry| left.contains(&entry.path));
        Ok(found)
    }

    /// Returns the paths that a source of ADD or COPY stands for, sorted; itself without wildcards.
    pub(in crate::rebuild) fn matches(&self, pattern: &str) -> Result<Vec<String>, Stop> {
        if !has_wildcards(pattern) {
            return Ok(vec![pattern.to_owned()]);
        }
        let Some(names) = NamePattern::new(pattern) else {
            return Err(Stop::failed(format!("{pattern:?} is no pattern")));
        };
        let top = ContextEntry {
            path: String::new(),
            source_path: self.top.clone().into_bytes(),
            kind: TreeEntryKind::Directory,
        };
        let mut matches: Vec<String> = self
            .walk(&top)?
            .into_iter()
            .map(|entry| entry.path)
            .filter(|path| names.matches(path))
            .collect();
        matches.sort_by(|one, other| {
            crate::dialect::tar::walk_order(one.as_bytes(), other.as_bytes())
        });
        Ok(matches)
    }

    /// Returns the bytes of a file.
    pub(in crate::rebuild) fn read(&self, entry: &ContextEntry) -> Result<Vec<u8>, Stop> {
        match self.replacement(entry) {
            Some(content) => Ok(content.clone()),
            None => Ok(self.source.read(&entry.source_path)?),
        }
    }

    /// Returns where a file's bytes come from: text is the tree's, everything else in it opaque.
    pub(in crate::rebuild) fn origin(&self, entry: &ContextEntry, content: &[u8]) -> Origin {
        if self.replacement(entry).is_some() {
            Origin::Built
        } else if !content.contains(&0) && std::str::from_utf8(content).is_ok() {
            Origin::Tree
        } else {
            Origin::Opaque
        }
    }

    fn replacement(&self, entry: &ContextEntry) -> Option<&Vec<u8>> {
        let path = std::str::from_utf8(&entry.source_path).ok()?;
        self.replaced.get(path)
    }

    /// Returns the target of a symbolic link.
    pub(in crate::rebuild) fn link_target(&self, entry: &ContextEntry) -> Result<Vec<u8>, Stop> {
        Ok(self.source.link_target(&entry.source_path)?)
    }

    /// Says where in the context an entry of the source is; `None` where it is outside.
    fn entry(&self, entry: &TreeEntry) -> Result<Option<ContextEntry>, Stop> {
        let shown = String::from_utf8_lossy(&entry.path).into_owned();
        let Ok(path) = String::from_utf8(entry.path.clone()) else {
            return Err(Stop::failed(format!(
                "the name {shown} is not UTF-8, which is not supported in a build context"
            )));
        };
        if entry.kind == TreeEntryKind::Submodule {
            return Err(Stop::failed(format!(
                "{shown} is a submodule, whose files are in another repository"
            )));
        }
        let path = if self.top.is_empty() {
            Some(path.as_str())
        } else {
            path.strip_prefix(&self.top).and_then(|rest| {
                if rest.is_empty() {
                    Some(rest)
                } else {
                    rest.strip_prefix('/')
                }
            })
        };
        Ok(path.map(|path| ContextEntry {
            path: path.to_owned(),
            source_path: entry.path.clone(),
            kind: entry.kind,
        }))
    }
}

fn joined(directory: &str, name: &str) -> String {
    if directory.is_empty() {
        name.to_owned()
    } else {
        format!("{directory}/{name}")
    }
}
