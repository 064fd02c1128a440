//! Roots: the root file system of a stage on disk, as it is looked at and changed.
//!
//! Its files belong to users inside, so the host's own programs list, pack and
//! change it in the sandbox. What is listed stays known until a command ran.
//! Only the accounts are read directly: no link leads out of the root there.

use std::{
    cell::OnceCell,
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read as _, Write as _},
    path::Path,
};

use rustix::{
    fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2},
    io::Errno,
};

use super::differ::Snapshot;
use crate::{
    dialect::{
        TarDialect,
        tar::{TarWriter, walk_order},
    },
    facts::Origin,
    image::{Entry, EntryKind, EntryPath, tar::Reader},
    rebuild::{
        Error, Stop,
        instructions::copy::{Brought, Elsewhere},
        layer,
        sandbox::{Access, Mount, RootDirectory},
        spool::Spool,
        tree::{Node, NodeId, NodeKind, Time, Tree},
        workshop::Workshop,
    },
};

/// Accounts are not read past this.
const LARGEST_ACCOUNTS: u64 = 16 << 20;

/// A root file system on disk.
pub(super) struct Root<'a> {
    directory: RootDirectory,
    workshop: &'a Workshop<'a>,
    /// What its files count as where they are copied from it.
    origin: Origin,
    listed: OnceCell<Tree>,
    /// What there was when it was last packed and has not changed since.
    seen: Option<Snapshot>,
}

impl<'a> Root<'a> {
    pub(super) const fn new(
        directory: RootDirectory,
        workshop: &'a Workshop<'a>,
        origin: Origin,
    ) -> Self {
        Self {
            directory,
            workshop,
            origin,
            listed: OnceCell::new(),
            seen: None,
        }
    }

    /// Makes another with the same files in it.
    pub(super) fn copied(&self) -> Result<Self, Stop> {
        let copy = self.workshop.root()?;
        let (runtime, scratch) = (self.workshop.runtime(), self.workshop.scratch());
        let folder = tempfile::tempdir_in(scratch).map_err(cannot_write(scratch))?;
        let tar = folder.path().join("tar");
        runtime
            .pack(self.path(), &tar, None, scratch)
            .map_err(Error::Sandbox)?;
        runtime
            .unpack(&tar, copy.path(), scratch)
            .map_err(Error::Sandbox)?;
        Ok(Self::new(copy, self.workshop, self.origin))
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn into_directory(self) -> RootDirectory {
        self.directory
    }

    /// Forgets what was listed, since a command may have changed it.
    pub(super) fn forget(&mut self) {
        self.listed = OnceCell::new();
        self.seen = None;
    }

    /// Returns all that there is, contents by their hashes.
    pub(super) fn snapshot(&mut self) -> Result<Snapshot, Stop> {
        if let Some(seen) = self.seen.take() {
            return Ok(seen);
        }
        let scratch = self.workshop.scratch();
        let folder = tempfile::tempdir_in(scratch).map_err(cannot_write(scratch))?;
        let tar = folder.path().join("tar");
        self.workshop
            .runtime()
            .pack(self.path(), &tar, None, scratch)
            .map_err(Error::Sandbox)?;
        Snapshot::read(&tar)
    }

    /// Remembers what there is, until it changes.
    pub(super) fn keep(&mut self, tree: Tree, seen: Snapshot) {
        self.listed = OnceCell::from(tree);
        self.seen = Some(seen);
    }

    /// Makes sure that what there is has been listed.
    pub(super) fn list(&self) -> Result<&Tree, Stop> {
        if let Some(tree) = self.listed.get() {
            return Ok(tree);
        }
        let tree = self.listing()?;
        Ok(self.listed.get_or_init(|| tree))
    }

    /// Returns what there is, to be changed by a step and then [`Self::apply`].
    pub(super) fn take(&mut self) -> Result<Tree, Stop> {
        match self.listed.take() {
            Some(tree) => Ok(tree),
            None => self.listing(),
        }
    }

    /// Reads a file, links followed within the root; `None` where there is none.
    pub(super) fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Stop> {
        let cannot_read = |source: io::Error| Error::Read {
            path: self.path().join(path),
            source,
        };
        let root = File::open(self.path()).map_err(cannot_read)?;
        let opened = openat2(
            &root,
            path,
            // Whatever is there, to open it must not wait.
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        );
        let file = match opened {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => return Ok(None),
            Err(errno) => return Err(cannot_read(errno.into()).into()),
        };
        let found = fstat(&file).map_err(|errno| cannot_read(errno.into()))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        File::from(file)
            .take(LARGEST_ACCOUNTS)
            .read_to_end(&mut bytes)
            .map_err(cannot_read)?;
        Ok(Some(bytes))
    }

    /// Does to the files what the present step did to the tree, which is kept.
    pub(super) fn apply(&mut self, mut tree: Tree, spool: &Spool, now: i64) -> Result<(), Stop> {
        let changed = tree.changed();
        if !changed.is_empty() {
            self.seen = None;
            self.remove(tree.removed_directories().iter())?;
            let scratch = self.workshop.scratch();
            let tar = tempfile::NamedTempFile::new_in(scratch).map_err(cannot_write(scratch))?;
            write(&changed, spool, now, tar.as_file()).map_err(cannot_write(tar.path()))?;
            self.workshop
                .runtime()
                .unpack(tar.path(), self.path(), scratch)
                .map_err(Error::Sandbox)?;
        }
        tree.end_step();
        self.listed = OnceCell::from(tree);
        Ok(())
    }

    /// Removes directories with all that is in them; those that are not there are no error.
    fn remove<'b>(&self, paths: impl Iterator<Item = &'b EntryPath>) -> Result<(), Stop> {
        let paths: Vec<String> = paths
            .map(|path| {
                std::str::from_utf8(path.as_bytes())
                    .map(|path| format!("/tree/{path}"))
                    .map_err(|_| Stop::failed(format!("{path} is replaced and is not UTF-8")))
            })
            .collect::<Result<_, _>>()?;
        if paths.is_empty() {
            return Ok(());
        }
        let mut arguments = vec!["rm", "-rf", "--"];
        arguments.extend(paths.iter().map(String::as_str));
        self.tool("remove files", &arguments, Access::Writable, None)
    }

    fn listing(&self) -> Result<Tree, Stop> {
        let scratch = self.workshop.scratch();
        let list = tempfile::NamedTempFile::new_in(scratch).map_err(cannot_write(scratch))?;
        let arguments = [
            "find",
            "/tree",
            "-fprintf",
            "/out",
            // Type, mode, owner, group, time, path, target.
            "%y %m %U %G %T@ %P\\0%l\\0",
        ];
        self.tool(
            "list a root file system",
            &arguments,
            Access::ReadOnly,
            Some(list.path()),
        )?;
        let bytes = fs::read(list.path()).map_err(|source| Error::Read {
            path: list.path().to_owned(),
            source,
        })?;
        tree_of(&bytes, self.origin).ok_or_else(|| {
            Error::Read {
                path: list.path().to_owned(),
                source: io::Error::new(
                    io::ErrorKind::InvalidData,
                    "find has not listed the files as GNU find does",
                ),
            }
            .into()
        })
    }

    /// Runs a program of the host that sees the root at `/tree`, and may write `/out`.
    fn tool(
        &self,
        what: &str,
        arguments: &[&str],
        access: Access,
        out: Option<&Path>,
    ) -> Result<(), Stop> {
        let mut mounts = vec![Mount {
            source: self.path(),
            destination: "/tree",
            access,
        }];
        mounts.extend(out.map(|source| Mount {
            source,
            destination: "/out",
            access: Access::Writable,
        }));
        self.workshop
            .runtime()
            .tool(what, arguments, &mounts, self.workshop.scratch())
            .map_err(|error| Error::Sandbox(error).into())
    }
}

/// What comes with a directory that is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// All that is below it.
    Whole,
    /// Nothing.
    Alone,
}

impl Elsewhere for Root<'_> {
    fn tree(&self) -> Result<&Tree, Stop> {
        self.list()
    }

    fn bring(
        &self,
        paths: &[EntryPath],
        spool: &mut Spool,
    ) -> Result<Vec<(EntryPath, Brought)>, Stop> {
        self.contents(
            outermost(paths).into_iter(),
            Depth::Whole,
            self.origin,
            spool,
        )
    }
}

impl Root<'_> {
    /// Puts what is at these paths aside; in archive order.
    pub(super) fn contents<'b>(
        &self,
        paths: impl Iterator<Item = &'b EntryPath>,
        depth: Depth,
        origin: Origin,
        spool: &mut Spool,
    ) -> Result<Vec<(EntryPath, Brought)>, Stop> {
        let scratch = self.workshop.scratch();
        let tar = tempfile::NamedTempFile::new_in(scratch).map_err(cannot_write(scratch))?;
        let names = tempfile::NamedTempFile::new_in(scratch).map_err(cannot_write(scratch))?;
        let mut list = Vec::new();
        for path in paths {
            list.extend_from_slice(b"./");
            list.extend_from_slice(path.as_bytes());
            list.push(0);
        }
        fs::write(names.path(), list).map_err(cannot_write(names.path()))?;
        let mounts = [
            (self.path(), "/tree", Access::ReadOnly),
            (names.path(), "/names", Access::ReadOnly),
            (tar.path(), "/out", Access::Writable),
        ]
        .map(|(source, destination, access)| Mount {
            source,
            destination,
            access,
        });
        let arguments = [
            "tar",
            "--create",
            "--file=/out",
            "--directory=/tree",
            "--format=posix",
            "--numeric-owner",
            "--sort=name",
            "--xattrs",
            "--xattrs-include=*",
            match depth {
                Depth::Whole => "--recursion",
                Depth::Alone => "--no-recursion",
            },
            "--null",
            "--verbatim-files-from",
            "--files-from=/names",
        ];
        self.workshop
            .runtime()
            .tool("pack files of a stage", &arguments, &mounts, scratch)
            .map_err(Error::Sandbox)?;
        let file = File::open(tar.path()).map_err(|source| Error::Read {
            path: tar.path().to_owned(),
            source,
        })?;
        read(file, origin, spool)
    }
}

/// Returns the paths that lie below none of the others.
fn outermost(paths: &[EntryPath]) -> Vec<&EntryPath> {
    let mut sorted: Vec<&EntryPath> = paths.iter().collect();
    sorted.sort_by(|one, other| walk_order(one.as_bytes(), other.as_bytes()));
    let mut kept: Vec<&EntryPath> = Vec::new();
    for path in sorted {
        let within = kept.last().is_some_and(|last| {
            last.is_root()
                || path == *last
                || (path.as_bytes().starts_with(last.as_bytes())
                    && path.as_bytes().get(last.as_bytes().len()) == Some(&b'/'))
        });
        if !within {
            kept.push(path);
        }
    }
    kept
}

/// Reads what `find` listed; `None` where it is not in that form.
fn tree_of(bytes: &[u8], origin: Origin) -> Option<Tree> {
    let mut tree = Tree::new();
    let mut fields = bytes.split(|&byte| byte == 0);
    loop {
        let head = fields.next()?;
        if head.is_empty() {
            return Some(tree);
        }
        let target = fields.next()?;
        let mut parts = head.splitn(6, |&byte| byte == b' ');
        let mut part = || std::str::from_utf8(parts.next()?).ok();
        let kind = match part()? {
            "d" => NodeKind::Directory,
            "f" => NodeKind::Earlier,
            "l" => NodeKind::Symlink(target.into()),
            "p" => NodeKind::Fifo,
            // Their numbers are not needed to look paths up.
            "c" => NodeKind::CharDevice(0, 0),
            "b" => NodeKind::BlockDevice(0, 0),
            // A socket is in no layer.
            _ => continue,
        };
        let mode = u32::from_str_radix(part()?, 8).ok()?;
        let uid = part()?.parse().ok()?;
        let gid = part()?.parse().ok()?;
        let seconds = part()?.split('.').next()?.parse().ok()?;
        let path = parts.next()?;
        tree.add_earlier(
            EntryPath::of(path),
            Node {
                kind,
                mode,
                uid,
                gid,
                time: Time::Known(seconds),
                capability: None,
                origin,
            },
        );
    }
}

/// Reads the files of an archive that `tar` packed, and puts their contents aside.
fn read(
    archive: File,
    origin: Origin,
    spool: &mut Spool,
) -> Result<Vec<(EntryPath, Brought)>, Stop> {
    let mut reader = Reader::new(BufReader::new(archive), "the archive of copied files");
    let mut brought = Vec::new();
    loop {
        let begun = spool.begin();
        let Some(entry) = spool.entry(&mut reader)? else {
            break;
        };
        let what = if let EntryKind::HardLink { target } = &entry.kind {
            Brought::Link(target.clone())
        } else {
            let content = NodeKind::File(spool.end(begun));
            Brought::Node(node_of(&entry, content, origin)?)
        };
        brought.push((entry.path, what));
    }
    spool.settle()?;
    Ok(brought)
}

/// Makes a node of what an archive says; `file` stands for a regular file's content.
pub(super) fn node_of(entry: &Entry, file: NodeKind, origin: Origin) -> Result<Node, Stop> {
    let kind = match &entry.kind {
        EntryKind::File { .. } | EntryKind::HardLink { .. } => file,
        EntryKind::Symlink { target } => NodeKind::Symlink(target.clone()),
        EntryKind::CharDevice { major, minor } => NodeKind::CharDevice(*major, *minor),
        EntryKind::BlockDevice { major, minor } => NodeKind::BlockDevice(*major, *minor),
        EntryKind::Directory => NodeKind::Directory,
        EntryKind::Fifo => NodeKind::Fifo,
        EntryKind::Other { flag, .. } => {
            return Err(Stop::failed(format!(
                "{} is of the type {:?}, which is in no layer",
                entry.path,
                char::from(*flag)
            )));
        }
    };
    let id = |id: i64| {
        u32::try_from(id)
            .map_err(|_| Stop::failed(format!("{} belongs to {id}, which no file can", entry.path)))
    };
    Ok(Node {
        kind,
        mode: entry.mode & 0o7777,
        uid: id(entry.uid)?,
        gid: id(entry.gid)?,
        time: Time::Known(entry.mtime.seconds),
        capability: entry.xattrs().get(&b"security.capability"[..]).cloned(),
        origin,
    })
}

/// Writes what a step changed as a tar to be unpacked over what is there.
fn write(
    changed: &BTreeMap<&EntryPath, (NodeId, &Node)>,
    spool: &Spool,
    now: i64,
    file: &File,
) -> io::Result<()> {
    let mut order: Vec<&EntryPath> = changed.keys().copied().collect();
    order.sort_by(|one, other| walk_order(one.as_bytes(), other.as_bytes()));
    let mut tar = TarWriter::new(BufWriter::new(file), TarDialect::BuildKit);
    let mut seen: BTreeMap<NodeId, &EntryPath> = BTreeMap::new();
    for path in order {
        let (id, node) = changed[path];
        let mtime = match node.time {
            Time::Known(seconds) => seconds,
            Time::Made => now,
        };
        layer::member(&mut tar, path, node, mtime, seen.get(&id).copied(), spool)?;
        if !matches!(node.kind, NodeKind::Directory) {
            seen.entry(id).or_insert(path);
        }
    }
    tar.finish()?.flush()
}

/// Says which file could not be written.
pub(super) fn cannot_write(path: &Path) -> impl Fn(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::Write {
        path: path.clone(),
        source,
    }
}
