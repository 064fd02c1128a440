//! The files of a commit, read from the object database.
//!
//! What comes out are the bytes that git stores: no line endings are changed,
//! no filters run, no Git LFS contents fetched, no submodules entered.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{Cursor, Read},
};

use git2::Oid;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Error, ObjectId, Source, objects::Objects, show};

/// What an entry of a tree is, by its mode.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum TreeEntryKind {
    /// A regular file, mode 100644; also the historic 100664.
    File,
    /// A regular file that may be run, mode 100755.
    Executable,
    /// A symbolic link, mode 120000; its blob is the target.
    Symlink,
    /// A directory, mode 040000.
    Directory,
    /// The commit of another repository, mode 160000; its files are not here.
    Submodule,
}

impl std::fmt::Display for TreeEntryKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::File => "a file",
            Self::Executable => "an executable file",
            Self::Symlink => "a symbolic link",
            Self::Directory => "a directory",
            Self::Submodule => "a submodule",
        })
    }
}

/// One file, directory, link or submodule of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// Where it is, from the top of the tree, with `/` between names; empty for the top itself.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: TreeEntryKind,
    /// The object that it points at.
    pub id: ObjectId,
    /// How many bytes a file has, or a link's target; `None` for directories and submodules.
    pub size: Option<u64>,
}

impl TreeEntry {
    /// Returns the last name of the path.
    pub fn name(&self) -> &[u8] {
        match self.path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => &self.path[slash + 1..],
            None => &self.path,
        }
    }
}

/// How many symbolic links one path may lead through; as Linux has it.
pub(super) const MOST_LINKS: usize = 40;

/// The size below which a file may be a Git LFS pointer, and how one begins.
///
/// Source: git-lfs `docs/spec.md#the-pointer`.
const LFS_POINTER: (usize, &[u8]) = (1024, b"version https://git-lfs.github.com/spec/v1\n");

impl Source {
    /// Returns the entry at `path`, following no symbolic link, or `None` where there is none.
    ///
    /// An empty path or `.` is the top. A path may begin with `./`, have double
    /// slashes and end in one; `..` and a slash in front are errors, since they
    /// lead out of the tree.
    pub fn find(&self, path: impl AsRef<[u8]>) -> Result<Option<TreeEntry>, Error> {
        let names = names(path.as_ref(), path.as_ref())?;
        let mut entry = self.top();
        for name in names {
            if entry.kind != TreeEntryKind::Directory {
                return Ok(None);
            }
            match self.child(&entry, name)? {
                Some(child) => entry = child,
                None => return Ok(None),
            }
        }
        self.sized(entry).map(Some)
    }

    /// Returns the entry at `path`, following no symbolic link.
    ///
    /// Fails with [`Error::NoSuchPath`] where there is none; otherwise as [`Self::find`].
    pub fn entry(&self, path: impl AsRef<[u8]>) -> Result<TreeEntry, Error> {
        let path = path.as_ref();
        self.find(path)?.ok_or_else(|| self.no_such_path(path))
    }

    /// Returns what `path` leads to once every symbolic link in it is followed.
    ///
    /// The entry has the path of where it really is. Fails where a link leads
    /// out of the tree, in a circle, or to nothing.
    pub fn resolve(&self, path: impl AsRef<[u8]>) -> Result<TreeEntry, Error> {
        let asked = path.as_ref();
        let mut pending: VecDeque<Vec<u8>> = names(asked, asked)?
            .into_iter()
            .map(<[u8]>::to_vec)
            .collect();
        let mut passed = vec![self.top()];
        let mut links = 0;
        while let Some(name) = pending.pop_front() {
            if name == b".." {
                passed.pop();
                if passed.is_empty() {
                    return Err(Error::PathEscapes { path: show(asked) });
                }
                continue;
            }
            let here = passed.last().expect("the top is never popped");
            let child = match here.kind {
                TreeEntryKind::Directory => self.child(here, &name)?,
                _ => None,
            };
            let child = child.ok_or_else(|| self.no_such_path(asked))?;
            if child.kind != TreeEntryKind::Symlink {
                passed.push(child);
                continue;
            }
            links += 1;
            if links > MOST_LINKS {
                return Err(Error::TooManyLinks { path: show(asked) });
            }
            let target = self.blob(child.id)?;
            if target.starts_with(b"/") {
                return Err(Error::PathEscapes { path: show(asked) });
            }
            for name in link_names(&target).into_iter().rev() {
                pending.push_front(name.to_vec());
            }
        }
        let entry = passed.pop().expect("the top is never popped");
        self.sized(entry)
    }

    /// Returns the entries of the directory at `path`, in git's order.
    ///
    /// Follows symbolic links on the way to the directory, not in it. Git sorts
    /// by bytes, a directory as if its name ended in a slash.
    pub fn list(&self, path: impl AsRef<[u8]>) -> Result<Vec<TreeEntry>, Error> {
        let directory = self.resolve(path.as_ref())?;
        self.children(&directory)?
            .into_iter()
            .map(|entry| self.sized(entry))
            .collect()
    }

    /// Returns everything below the directory at `path`, each directory before what is in it.
    ///
    /// Sorted as git sorts: the same as sorting full paths by bytes where each
    /// directory ends in a slash. The directory itself is not among them.
    /// Symbolic links are entries and are not followed.
    pub fn walk(&self, path: impl AsRef<[u8]>) -> Result<Vec<TreeEntry>, Error> {
        let directory = self.resolve(path.as_ref())?;
        let mut found = Vec::new();
        let mut pending = self.children(&directory)?;
        pending.reverse();
        while let Some(entry) = pending.pop() {
            if entry.kind == TreeEntryKind::Directory {
                pending.extend(self.children(&entry)?.into_iter().rev());
            }
            found.push(self.sized(entry)?);
        }
        Ok(found)
    }

    /// Returns the bytes of the file at `path`, following symbolic links.
    ///
    /// Fails with [`Error::LfsPointer`] where the tree has only a Git LFS
    /// pointer; [`Self::blob`] gives the pointer itself.
    pub fn read(&self, path: impl AsRef<[u8]>) -> Result<Vec<u8>, Error> {
        let asked = path.as_ref();
        let entry = self.resolve(asked)?;
        match entry.kind {
            TreeEntryKind::File | TreeEntryKind::Executable => {}
            kind => {
                return Err(Error::WrongKind {
                    path: show(asked),
                    expected: TreeEntryKind::File,
                    actual: kind,
                });
            }
        }
        let bytes = self.blob(entry.id)?;
        match lfs_pointer(&bytes) {
            Some((oid, size)) => Err(Error::LfsPointer {
                path: show(&entry.path),
                oid,
                size,
            }),
            None => Ok(bytes),
        }
    }

    /// Opens the file at `path`, as [`Self::read`] does.
    ///
    /// The file is held in memory as a whole: git keeps it as a difference to
    /// another, and its id can only be checked once all of it is there.
    pub fn open(&self, path: impl AsRef<[u8]>) -> Result<Box<dyn Read + Send>, Error> {
        Ok(Box::new(Cursor::new(self.read(path)?)))
    }

    /// Returns the bytes of a blob, whatever they are.
    pub fn blob(&self, id: ObjectId) -> Result<Vec<u8>, Error> {
        self.objects.blob(id.oid())
    }

    /// Returns the target of the symbolic link at `path`, as it is written.
    pub fn link_target(&self, path: impl AsRef<[u8]>) -> Result<Vec<u8>, Error> {
        let entry = self.entry(path)?;
        match entry.kind {
            TreeEntryKind::Symlink => self.blob(entry.id),
            kind => Err(Error::WrongKind {
                path: show(&entry.path),
                expected: TreeEntryKind::Symlink,
                actual: kind,
            }),
        }
    }

    fn top(&self) -> TreeEntry {
        TreeEntry {
            path: Vec::new(),
            kind: TreeEntryKind::Directory,
            id: ObjectId::new(self.facts.tree.oid()),
            size: None,
        }
    }

    fn no_such_path(&self, path: &[u8]) -> Error {
        Error::NoSuchPath {
            path: show(path),
            commit: self.facts.commit,
        }
    }

    fn sized(&self, mut entry: TreeEntry) -> Result<TreeEntry, Error> {
        entry.size = match entry.kind {
            TreeEntryKind::File | TreeEntryKind::Executable | TreeEntryKind::Symlink => {
                Some(self.objects.size(entry.id.oid())?)
            }
            TreeEntryKind::Directory | TreeEntryKind::Submodule => None,
        };
        Ok(entry)
    }

    fn child(&self, directory: &TreeEntry, name: &[u8]) -> Result<Option<TreeEntry>, Error> {
        Ok(self
            .children(directory)?
            .into_iter()
            .find(|entry| entry.name() == name))
    }

    fn children(&self, directory: &TreeEntry) -> Result<Vec<TreeEntry>, Error> {
        if directory.kind != TreeEntryKind::Directory {
            return Err(Error::WrongKind {
                path: show(&directory.path),
                expected: TreeEntryKind::Directory,
                actual: directory.kind,
            });
        }
        children(&self.objects, directory.id.oid(), &directory.path)
    }
}

/// Returns the entries of one tree object, sizes left out.
pub(super) fn children(objects: &Objects, tree: Oid, path: &[u8]) -> Result<Vec<TreeEntry>, Error> {
    let repository = objects.lock();
    let tree = repository
        .find_tree(tree)
        .map_err(|source| objects.failed(format!("tree {tree} ({})", show(path)), source))?;
    let mut entries = Vec::with_capacity(tree.len());
    for entry in &tree {
        let name = entry.name_bytes();
        // Git refuses to make such names; only a forged tree has them.
        if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') {
            return Err(Error::ForgedTree {
                path: show(path),
                name: show(name),
            });
        }
        let kind = match entry.filemode_raw() & 0o170_000 {
            0o040_000 => TreeEntryKind::Directory,
            0o120_000 => TreeEntryKind::Symlink,
            0o160_000 => TreeEntryKind::Submodule,
            0o100_000 if entry.filemode_raw() & 0o100 != 0 => TreeEntryKind::Executable,
            0o100_000 => TreeEntryKind::File,
            _ => {
                return Err(Error::ForgedTree {
                    path: show(path),
                    name: show(name),
                });
            }
        };
        let mut full = path.to_vec();
        if !full.is_empty() {
            full.push(b'/');
        }
        full.extend_from_slice(name);
        entries.push(TreeEntry {
            path: full,
            kind,
            id: ObjectId::new(entry.id()),
            size: None,
        });
    }
    Ok(entries)
}

/// Returns whether everything that `tree` leads to is in the database.
pub(super) fn is_complete(objects: &Objects, tree: Oid) -> Result<bool, Error> {
    let mut pending = vec![tree];
    while let Some(tree) = pending.pop() {
        let entries = match children(objects, tree, b"") {
            Ok(entries) => entries,
            Err(Error::MissingObject { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        for entry in entries {
            match entry.kind {
                TreeEntryKind::Directory => pending.push(entry.id.oid()),
                TreeEntryKind::Submodule => {}
                _ if !objects.has(entry.id.oid()) => return Ok(false),
                _ => {}
            }
        }
    }
    Ok(true)
}

/// Splits a path that the caller gave.
fn names<'a>(path: &'a [u8], asked: &[u8]) -> Result<Vec<&'a [u8]>, Error> {
    let names = link_names(path);
    if path.starts_with(b"/") || names.contains(&&b".."[..]) {
        return Err(Error::PathEscapes { path: show(asked) });
    }
    Ok(names)
}

/// Splits the target of a link, `..` kept.
fn link_names(path: &[u8]) -> Vec<&[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
        .collect()
}

/// Returns what a Git LFS pointer points at: the object and its size.
fn lfs_pointer(bytes: &[u8]) -> Option<(String, u64)> {
    let (most, beginning) = LFS_POINTER;
    if bytes.len() >= most || !bytes.starts_with(beginning) {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
    Some((value("oid ")?.to_owned(), value("size ")?.parse().ok()?))
}

/// Returns the commit's submodules, by path.
pub(super) fn submodules(source: &Source) -> Result<Vec<super::Submodule>, Error> {
    let mut links = Vec::new();
    let mut pending = vec![source.top()];
    while let Some(directory) = pending.pop() {
        for entry in source.children(&directory)? {
            match entry.kind {
                TreeEntryKind::Directory => pending.push(entry),
                TreeEntryKind::Submodule => links.push(entry),
                _ => {}
            }
        }
    }
    if links.is_empty() {
        return Ok(Vec::new());
    }
    links.sort_by(|one, other| one.path.cmp(&other.path));
    let urls = submodule_urls(source)?;
    Ok(links
        .into_iter()
        .map(|link| {
            let path = show(&link.path);
            super::Submodule {
                url: urls.get(&path).map(|url| super::redacted(url)),
                path,
                commit: link.id,
            }
        })
        .collect())
}

/// Reads `.gitmodules`: the URL by path.
///
/// Only what git itself writes there is understood: sections of one line, `key
/// = value`, quotes and comments. libgit2's parser would follow `[include]` to
/// files of this machine.
fn submodule_urls(source: &Source) -> Result<BTreeMap<String, String>, Error> {
    match source.find(".gitmodules")? {
        Some(entry) if matches!(entry.kind, TreeEntryKind::File | TreeEntryKind::Executable) => {
            let bytes = source.blob(entry.id)?;
            Ok(parse_gitmodules(&String::from_utf8_lossy(&bytes)))
        }
        _ => Ok(BTreeMap::new()),
    }
}

fn parse_gitmodules(text: &str) -> BTreeMap<String, String> {
    let mut urls = BTreeMap::new();
    let mut path = None;
    let mut url = None;
    for line in text.lines().chain(["["]) {
        let line = line.trim();
        if line.starts_with('[') {
            if let (Some(path), Some(url)) = (path.take(), url.take()) {
                urls.insert(path, url);
            }
        } else if let Some((key, value)) = line.split_once('=') {
            let value = config_value(value);
            match key.trim().to_ascii_lowercase().as_str() {
                "path" => path = Some(value),
                "url" => url = Some(value),
                _ => {}
            }
        }
    }
    urls
}

/// Takes quotes, escapes and a comment off a value.
fn config_value(text: &str) -> String {
    let mut value = String::new();
    let mut quoted = false;
    let mut letters = text.trim().chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => quoted = !quoted,
            '\\' => value.extend(letters.next()),
            '#' | ';' if !quoted => break,
            _ => value.push(letter),
        }
    }
    if quoted {
        value
    } else {
        value.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_recognised_only_in_its_whole_shape() {
        let oid = "sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";
        let pointer =
            format!("version https://git-lfs.github.com/spec/v1\noid {oid}\nsize 12345\n");
        assert_eq!(
            lfs_pointer(pointer.as_bytes()),
            Some((oid.to_owned(), 12345))
        );
        for other in [
            pointer.replace("size 12345\n", ""),
            pointer.replace("version", "Version"),
            format!("{pointer}{}", "x".repeat(1024)),
        ] {
            assert_eq!(lfs_pointer(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn submodule_urls_are_read_as_git_writes_them() {
        let text = "[submodule \"a\"]\n\tpath = lib/a\n\turl = https://x/a.git\n\
                    # [submodule \"no\"]\n[submodule \"b\"]\n\tURL = \"../b;c\" ; said twice\n\tpath = lib/b\n\
                    [submodule \"c\"]\n\tpath = lib/c\n";
        let urls = [("lib/a", "https://x/a.git"), ("lib/b", "../b;c")]
            .map(|(path, url)| (path.to_owned(), url.to_owned()));
        assert_eq!(parse_gitmodules(text), BTreeMap::from(urls));
    }
}
