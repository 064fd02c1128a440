//! Layers: what a step changed → tar, compressed, hashed both ways in one pass.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read, Write},
};

use super::{
    Error,
    spool::{Extent, Spool},
    tree::{Node, NodeId, NodeKind, Time},
};
use crate::{
    dialect::tar::{Member, MemberKind, TarWriter, walk_order},
    digest::{DiffId, Hasher},
    facts::{BuiltLayer, Encoding, Origin},
    image::EntryPath,
};

/// Hashes and counts what it passes on.
pub(super) struct Hashing<W> {
    sink: W,
    hasher: Hasher,
}

impl<W: Write> Hashing<W> {
    pub(super) fn new(sink: W) -> Self {
        Self {
            sink,
            hasher: Hasher::default(),
        }
    }

    pub(super) fn into_parts(self) -> (W, Hasher) {
        (self.sink, self.hasher)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.sink.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// What stands in for times that the builder makes up.
pub(super) struct MadeTimes<'a> {
    /// The time of any entry that `known` does not have.
    pub(super) default: i64,
    /// Times by path, in seconds.
    pub(super) known: Option<&'a BTreeMap<EntryPath, i64>>,
    /// What any later time is replaced by.
    pub(super) latest: Option<i64>,
}

/// Writes a step's layer into `sink`, which is not flushed.
///
/// `files` is [`super::tree::Tree::layer`] of the step, `gone` what the layers
/// before have and the step removed.
pub(super) fn write<W: Write>(
    files: &BTreeMap<&EntryPath, (NodeId, &Node)>,
    gone: &BTreeSet<EntryPath>,
    spool: &Spool,
    step: &str,
    encoding: Encoding,
    times: &MadeTimes<'_>,
    sink: W,
) -> Result<(W, BuiltLayer), Error> {
    let mut order: Vec<&EntryPath> = files.keys().copied().chain(gone).collect();
    order.sort_by(|one, other| walk_order(one.as_bytes(), other.as_bytes()));

    let failed = |source| Error::Layer {
        step: step.to_owned(),
        source,
    };
    let compressor = encoding.compressor.writer(Hashing::new(sink));
    let mut tar = TarWriter::new(Hashing::new(compressor), encoding.dialect);
    let mut seen: BTreeMap<NodeId, &EntryPath> = BTreeMap::new();
    let mut origins = BTreeMap::new();
    let mut bytes: BTreeMap<Origin, u64> = BTreeMap::new();
    let mut made_times = BTreeSet::new();
    for path in order {
        let Some(&(id, node)) = files.get(path) else {
            let path = whiteout(path);
            let node = Node {
                kind: NodeKind::File(Extent::default()),
                mode: 0,
                uid: 0,
                gid: 0,
                time: Time::Made,
                capability: None,
                origin: Origin::Built,
            };
            member(&mut tar, &path, &node, times.default, None, spool).map_err(failed)?;
            made_times.insert(path.clone());
            origins.insert(path, node.origin);
            continue;
        };
        let mtime = match node.time {
            Time::Known(seconds) => times.latest.map_or(seconds, |latest| seconds.min(latest)),
            Time::Made => {
                made_times.insert(path.clone());
                times
                    .known
                    .and_then(|known| known.get(path).copied())
                    .unwrap_or(times.default)
            }
        };
        let first = match node.kind {
            NodeKind::Directory => None,
            _ => seen.get(&id).copied(),
        };
        if let (NodeKind::File(extent), None) = (&node.kind, first) {
            *bytes.entry(node.origin).or_default() += extent.size;
        }
        member(&mut tar, path, node, mtime, first, spool).map_err(failed)?;
        seen.entry(id).or_insert(path);
        origins.insert(path.clone(), node.origin);
    }
    let (compressor, tar_hash) = tar.finish().map_err(failed)?.into_parts();
    let (sink, blob_hash) = compressor.finish().map_err(failed)?.into_parts();
    let (size, uncompressed_size) = (blob_hash.size(), tar_hash.size());
    Ok((
        sink,
        BuiltLayer {
            digest: blob_hash.finish(),
            size,
            diff_id: DiffId::from_uncompressed(tar_hash.finish()),
            uncompressed_size,
            step: step.to_owned(),
            origins,
            bytes,
            made_times,
        },
    ))
}

/// Writes a tar as it is as a layer into `sink`, which is not flushed.
///
/// Where its entries come from is not looked at.
pub(super) fn compressed<W: Write>(
    tar: &mut impl Read,
    step: &str,
    encoding: Encoding,
    sink: W,
) -> Result<(W, BuiltLayer), Error> {
    let failed = |source| Error::Layer {
        step: step.to_owned(),
        source,
    };
    let mut output = Hashing::new(encoding.compressor.writer(Hashing::new(sink)));
    io::copy(tar, &mut output).map_err(failed)?;
    let (compressor, tar_hash) = output.into_parts();
    let (sink, blob_hash) = compressor.finish().map_err(failed)?.into_parts();
    let (size, uncompressed_size) = (blob_hash.size(), tar_hash.size());
    Ok((
        sink,
        BuiltLayer {
            digest: blob_hash.finish(),
            size,
            diff_id: DiffId::from_uncompressed(tar_hash.finish()),
            uncompressed_size,
            step: step.to_owned(),
            origins: BTreeMap::new(),
            bytes: BTreeMap::new(),
            made_times: BTreeSet::new(),
        },
    ))
}

/// Returns the path of the empty file that says that something is gone.
///
/// Source: OCI image-spec `layer.md#whiteouts`.
fn whiteout(path: &EntryPath) -> EntryPath {
    let name = [b".wh.", path.file_name()].concat();
    path.parent()
        .unwrap_or_else(|| EntryPath::of(b""))
        .join(&name)
}

/// Writes a file as a member of the tar; `first` is the name it was written by before.
///
/// The root's own name is `.`.
pub(super) fn member<W: Write>(
    tar: &mut TarWriter<W>,
    path: &EntryPath,
    node: &Node,
    mtime: i64,
    first: Option<&EntryPath>,
    spool: &Spool,
) -> io::Result<()> {
    let device = match node.kind {
        NodeKind::CharDevice(major, minor) | NodeKind::BlockDevice(major, minor) => (major, minor),
        _ => (0, 0),
    };
    let kind = match (&node.kind, first) {
        (_, Some(first)) => MemberKind::HardLink {
            target: first.as_bytes(),
        },
        (NodeKind::File(extent), None) => MemberKind::File { size: extent.size },
        (NodeKind::Earlier, None) => {
            return Err(io::Error::other(format!(
                "the content of {path} is in an earlier layer"
            )));
        }
        (NodeKind::Symlink(target), None) => MemberKind::Symlink { target },
        (NodeKind::Directory, None) => MemberKind::Directory,
        (NodeKind::CharDevice(..), None) => MemberKind::CharDevice,
        (NodeKind::BlockDevice(..), None) => MemberKind::BlockDevice,
        (NodeKind::Fifo, None) => MemberKind::Fifo,
    };
    let member = Member {
        path: if path.is_root() {
            b"."
        } else {
            path.as_bytes()
        },
        kind,
        file_type: node.kind.file_type(),
        mode: node.mode,
        uid: node.uid,
        gid: node.gid,
        mtime,
        device,
        capability: node.capability.as_deref(),
    };
    match (&node.kind, first) {
        (NodeKind::File(extent), None) => tar.member(&member, spool.open(*extent)),
        _ => tar.member(&member, io::empty()),
    }
}

/// Hashes and counts what is read through it.
pub(super) struct HashingReader<R> {
    input: R,
    hasher: Hasher,
}

impl<R: Read> HashingReader<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            hasher: Hasher::default(),
        }
    }

    /// Reads to the end and returns the hash of all.
    pub(super) fn finish(mut self) -> io::Result<Hasher> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(self.hasher)
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
