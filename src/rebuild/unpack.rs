//! Unpacking: the archive of an ADD → files of the tree, as Docker unpacks it.
//!
//! A later member wins over an earlier one of the same name, names that begin
//! with `.wh.` are plain files, directories get their times after what is in
//! them. What Docker does not put on disk is not here either: owner names, times
//! finer than a second, attributes other than capabilities.
//!
//! Source: moby `go-archive` `archive.go` (`Unpack`, `createTarFile`) and
//! `compression`; the same code is in `BuildKit`.

use std::io::{self, BufReader, Read};

use super::{
    Stop,
    spool::Spool,
    tree::{Node, NodeKind, Time, Tree},
};
use crate::{
    facts::Origin,
    image::{Entry, EntryKind, EntryPath, tar::Reader},
};

/// The mode of a directory that is in an archive only as part of a name.
const IMPLIED_DIRECTORY: u32 = 0o755;

/// An archive may inflate to this size, or to [`LARGEST_RATIO`] times its own.
///
/// Far above every real root file system; without an end, a few kilobytes could
/// fill the disk.
const LARGEST_ARCHIVE: u64 = 16 << 30;

/// See [`LARGEST_ARCHIVE`].
const LARGEST_RATIO: u64 = 1024;

/// Returns a reader of what is inside a compressed file, told by its first bytes.
///
/// Anything that is no known compression is taken as it is.
pub(super) fn decompressed(bytes: &[u8]) -> impl Read + '_ {
    let size = bytes.len() as u64;
    Bounded {
        input: inflated(bytes),
        left: LARGEST_ARCHIVE.max(size.saturating_mul(LARGEST_RATIO)),
    }
}

/// Fails where there is more than there may be.
struct Bounded<R> {
    input: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it inflates to more than {LARGEST_ARCHIVE} bytes and {LARGEST_RATIO} times its size"),
            )
        })?;
        Ok(count)
    }
}

fn inflated(bytes: &[u8]) -> Box<dyn Read + '_> {
    const GZIP: &[u8] = &[0x1f, 0x8b, 0x08];
    const BZIP2: &[u8] = b"BZh";
    const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];
    const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
    // The sixteen magic numbers of skippable frames end in these bytes.
    const ZSTD_SKIPPABLE: &[u8] = &[0x2a, 0x4d, 0x18];

    if bytes.starts_with(GZIP) {
        Box::new(flate2::bufread::MultiGzDecoder::new(bytes))
    } else if bytes.starts_with(BZIP2) {
        Box::new(bzip2::bufread::MultiBzDecoder::new(bytes))
    } else if bytes.starts_with(XZ) {
        Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(bytes))
    } else if bytes.starts_with(ZSTD)
        || (bytes.len() >= 8 && bytes[0] & 0xf0 == 0x50 && bytes[1..].starts_with(ZSTD_SKIPPABLE))
    {
        match zstd::stream::read::Decoder::with_buffer(bytes) {
            Ok(decoder) => Box::new(decoder),
            Err(error) => Box::new(FailingReader(Some(error))),
        }
    } else {
        Box::new(bytes)
    }
}

/// Fails once with an error that came up before anything was read.
struct FailingReader(Option<io::Error>);

impl Read for FailingReader {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// Returns whether Docker would unpack this file: whether a tar header is inside.
pub(super) fn is_archive(bytes: &[u8]) -> bool {
    // A look at the first header must not read the content behind it.
    let opening = decompressed(bytes).take(LONGEST_OPENING);
    let mut reader = Reader::new(BufReader::new(opening), "the file");
    reader.has_entry()
}

/// How far into a file its first tar header is looked for; extension headers may precede it.
const LONGEST_OPENING: u64 = 4 << 20;

/// Who the files shall belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// Whoever the archive says.
    AsArchived,
    /// This user and group.
    Given(u32, u32),
}

/// Unpacks the archive into the directory `destination`, which exists.
pub(super) fn unpack(
    bytes: &[u8],
    destination: &EntryPath,
    owner: Owner,
    tree: &mut Tree,
    spool: &mut Spool,
) -> Result<(), Stop> {
    unpack_plain(&mut decompressed(bytes), destination, owner, tree, spool)
}

/// Unpacks an archive that is not compressed into the directory `destination`, which exists.
pub(super) fn unpack_plain(
    tar: &mut dyn Read,
    destination: &EntryPath,
    owner: Owner,
    tree: &mut Tree,
    spool: &mut Spool,
) -> Result<(), Stop> {
    let input = BufReader::with_capacity(64 * 1024, tar);
    let mut reader = Reader::new(input, "the archive");
    let mut directory_times: Vec<(EntryPath, Time)> = Vec::new();
    loop {
        let begun = spool.begin();
        let Some(entry) = spool.entry(&mut reader)? else {
            break;
        };
        let content = spool.end(begun);
        let name = entry.raw_name();
        let name = name.as_deref().unwrap_or(entry.path.as_bytes());
        let Some(path) = inside(name)? else {
            continue;
        };
        let path = tree.follow_parent(destination, &path)?;
        if let Some(parent) = path.parent() {
            tree.make_directories(&parent, &implied_directory())?;
        }
        let node = node(&entry, &path, owner, content);
        match node? {
            Unpacked::File(node) => {
                if let NodeKind::Directory = node.kind {
                    directory_times.push((path.clone(), node.time));
                }
                tree.put(&path, node)?;
            }
            Unpacked::Link { target, node } => {
                let written = entry.raw_target();
                let target = written.as_deref().unwrap_or(target.as_bytes());
                let target = inside(target)?.unwrap_or_else(|| EntryPath::of(b""));
                link(
                    tree,
                    &path,
                    &tree.follow_parent(destination, &target)?,
                    node,
                )?;
            }
        }
    }
    for (path, time) in directory_times {
        if tree.is_directory(&path) {
            tree.set_time(&path, time);
        }
    }
    spool.settle()?;
    Ok(())
}

/// What one entry becomes.
enum Unpacked {
    /// A file of its own.
    File(Node),
    /// Another name of one, whose metadata it may change.
    Link { target: EntryPath, node: Node },
}

fn implied_directory() -> Node {
    Node {
        kind: NodeKind::Directory,
        mode: IMPLIED_DIRECTORY,
        uid: 0,
        gid: 0,
        time: Time::Made,
        capability: None,
        origin: Origin::Built,
    }
}

/// Makes a node of what an entry says.
fn node(
    entry: &Entry,
    path: &EntryPath,
    owner: Owner,
    content: super::spool::Extent,
) -> Result<Unpacked, Stop> {
    // Docker's boundTime: what the kernel cannot keep in nanoseconds becomes 0.
    const LATEST: i64 = i64::MAX / 1_000_000_000;
    let mut link_target = None;
    let kind = match &entry.kind {
        EntryKind::File { .. } => NodeKind::File(content),
        EntryKind::HardLink { target } => {
            link_target = Some(target.clone());
            NodeKind::File(content)
        }
        EntryKind::Symlink { target } => NodeKind::Symlink(target.clone()),
        EntryKind::CharDevice { major, minor } => NodeKind::CharDevice(*major, *minor),
        EntryKind::BlockDevice { major, minor } => NodeKind::BlockDevice(*major, *minor),
        EntryKind::Directory => NodeKind::Directory,
        EntryKind::Fifo => NodeKind::Fifo,
        EntryKind::Other { flag, .. } => {
            return Err(Stop::failed(format!(
                "{path} is of the type {:?}, which Docker does not unpack",
                char::from(*flag)
            )));
        }
    };
    let (uid, gid) = match owner {
        Owner::Given(uid, gid) => (uid, gid),
        Owner::AsArchived => {
            let id = |id: i64| {
                u32::try_from(id)
                    .map_err(|_| Stop::failed(format!("{path} belongs to {id}, which no file can")))
            };
            (id(entry.uid)?, id(entry.gid)?)
        }
    };
    let seconds = entry.mtime.seconds;
    let node = Node {
        mode: match kind {
            NodeKind::Symlink(_) => 0o777,
            _ => entry.mode & 0o7777,
        },
        kind,
        uid,
        gid,
        time: Time::Known(if (0..=LATEST).contains(&seconds) {
            seconds
        } else {
            0
        }),
        capability: entry
            .details
            .as_ref()
            .and_then(|details| details.xattrs.get(&b"security.capability"[..]).cloned()),
        origin: Origin::Opaque,
    };
    Ok(match link_target {
        Some(target) => Unpacked::Link { target, node },
        None => Unpacked::File(node),
    })
}

/// Makes `path` another name of what is at `target`.
fn link(tree: &mut Tree, path: &EntryPath, target: &EntryPath, metadata: Node) -> Result<(), Stop> {
    let Some((id, node)) = tree.get(target) else {
        return Err(Stop::failed(format!(
            "{path} is a hard link to {target}, which is not there"
        )));
    };
    if matches!(node.kind, NodeKind::Directory) || target == path {
        return Err(Stop::failed(format!(
            "{path} is a hard link to {target}, which no file can be"
        )));
    }
    if matches!(node.kind, NodeKind::Earlier) {
        return Err(Stop::failed(format!(
            "{path} is a hard link to {target} of an earlier layer, which is not supported"
        )));
    }
    let to_symlink = matches!(node.kind, NodeKind::Symlink(_));
    tree.link(path, target, id);
    tree.update(path, |node| {
        (node.uid, node.gid) = (metadata.uid, metadata.gid);
        // Docker leaves mode and time of a symbolic link's other names alone.
        if !to_symlink {
            node.mode = metadata.mode;
            node.time = metadata.time;
        }
        if metadata.capability.is_some() {
            node.capability = metadata.capability;
        }
    });
    Ok(())
}

/// Returns where a member's name is below the directory unpacked into.
///
/// `None` for that directory itself. Fails where the name leads out of it.
fn inside(name: &[u8]) -> Result<Option<EntryPath>, Stop> {
    let mut depth = 0_usize;
    for part in name.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => match depth.checked_sub(1) {
                Some(above) => depth = above,
                None => {
                    return Err(Stop::failed(format!(
                        "{} leads out of the directory it is unpacked into",
                        String::from_utf8_lossy(name)
                    )));
                }
            },
            _ => depth += 1,
        }
    }
    Ok((depth > 0).then(|| EntryPath::of(name)))
}
