//! Layers: one streaming pass over a blob gives its hashes, entries and oddities.

mod decompress;

use std::{
    collections::BTreeSet,
    io::{self, Read},
    sync::Arc,
};

use decompress::{Hashing, Stream};
use serde::Deserialize;

use super::{
    Descriptor, Entry, EntryKind, Error, Image, Oddity,
    meeting::{self, Attending},
    tar,
};
use crate::{
    digest::{DiffId, Digest, Hasher},
    progress::{Progress, Task},
};

/// A layer, read once from its first byte to its last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The blob as the manifest names it; `None` in a docker-archive, and where none was asked.
    pub descriptor: Option<Descriptor>,
    /// The hash of the blob's bytes, computed, or checked by what they were read from.
    pub digest: Digest,
    /// The blob's size in bytes, counted.
    pub size: u64,
    /// The hash of the uncompressed tar, computed and equal to what the config says.
    pub diff_id: DiffId,
    /// Bytes of the uncompressed tar.
    pub uncompressed_size: u64,
    /// How the blob is compressed.
    pub compression: Compression,
    /// Zero bytes after the last entry: the two blocks that end an archive, and padding.
    pub end_padding: u64,
    /// The entries in archive order; duplicate paths are kept.
    pub entries: Vec<Entry>,
    /// What is odd about the layer as a whole; about an entry: see its details.
    pub oddities: Vec<Oddity>,
}

/// How a blob is compressed, as its own bytes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, of one or more members.
    Gzip {
        /// How many members.
        members: u64,
        /// The first member's header.
        header: GzipHeader,
    },
    /// zstd, of one or more frames.
    Zstd {
        /// How many frames.
        frames: u64,
    },
}

/// The fixed fields of a gzip header (RFC 1952 section 2.3); optional ones are oddities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GzipHeader {
    /// MTIME: seconds since the epoch, 0 for none.
    pub mtime: u32,
    /// XFL: 2 for best compression, 4 for fastest.
    pub extra_flags: u8,
    /// OS: 3 for Unix, 255 for unknown.
    pub operating_system: u8,
}

/// Reads layer `index` of `image` once and returns all that is to be known of it.
pub(super) fn scan<I: Image + ?Sized>(
    image: &I,
    index: usize,
    progress: &dyn Progress,
    attending: Option<&Attending<'_>>,
) -> Result<Layer, Error> {
    let what = format!("layer {} of {}", index + 1, image.layer_count());
    let expected = expected_diff_id(image, index)?;
    let descriptor = image.layer_descriptor(index).cloned();
    let task = progress.begin(&what, descriptor.as_ref().map(|descriptor| descriptor.size));
    // What an image opens checks its own bytes against the descriptor.
    let digest = descriptor.as_ref().map(|descriptor| descriptor.digest);
    let mut layer = scan_checked(image.open(index)?, digest, &what, &*task, attending)?;
    if layer.diff_id != expected {
        return Err(Error::DigestMismatch {
            what: format!("the diffID of {what}"),
            expected: expected.to_string(),
            actual: layer.diff_id.to_string(),
        });
    }
    layer.descriptor = descriptor;
    Ok(layer)
}

/// Returns the diffID that the config has for layer `index`.
fn expected_diff_id<I: Image + ?Sized>(image: &I, index: usize) -> Result<DiffId, Error> {
    #[derive(Deserialize)]
    struct Config {
        rootfs: RootFs,
    }
    #[derive(Deserialize)]
    struct RootFs {
        diff_ids: Vec<String>,
    }
    let what = || "the config".to_owned();
    let config: Config =
        serde_json::from_slice(&image.config().bytes).map_err(|source| Error::Json {
            what: what(),
            source,
        })?;
    let diff_ids = config.rootfs.diff_ids;
    let diff_id = diff_ids.get(index).ok_or_else(|| Error::Invalid {
        what: what(),
        problem: format!(
            "has {} diffIDs, and the image {} layers",
            diff_ids.len(),
            image.layer_count()
        ),
    })?;
    diff_id.parse().map_err(|source| Error::Digest {
        what: what(),
        source,
    })
}

/// Reads a layer's bytes once and returns all that they say; `what` names them in errors.
///
/// The layer's `descriptor` is `None`, and its hashes are compared with nothing.
pub fn scan_reader(reader: impl Read, what: &str, task: &dyn Task) -> Result<Layer, Error> {
    scan_checked(reader, None, what, task, None)
}

/// Reads a layer whose bytes have the digest `checked`, where the reader itself checks that.
fn scan_checked(
    mut reader: impl Read,
    checked: Option<Digest>,
    what: &str,
    task: &dyn Task,
    attending: Option<&Attending<'_>>,
) -> Result<Layer, Error> {
    let hashing = match checked {
        Some(_) => Hashing::Tar,
        None => Hashing::Both,
    };
    let mut tar = tar::Reader::new(Stream::new(&mut reader, what, task, hashing), what);
    let mut entries = Vec::new();
    loop {
        let mut content = Vec::new();
        let entry = match attending {
            None => tar.entry(),
            Some(_) => tar.entry_with(|piece| {
                if content.len() + piece.len() <= meeting::LARGEST {
                    content.extend_from_slice(piece);
                }
            }),
        };
        match entry {
            Ok(Some(entry)) => {
                if let Some(attending) = attending {
                    attending.give(&entry, content);
                }
                entries.push(entry);
            }
            Ok(None) => break,
            Err(error) => return Err(cause(error, tar.into_input())),
        }
    }
    let (end, stream) = tar.finish();
    let totals = stream.finish()?;
    let mut oddities = totals.oddities;
    oddities.extend(end.oddities);
    oddities.sort_unstable();
    note_dangling(&mut entries);
    entries.shrink_to_fit();
    Ok(Layer {
        descriptor: None,
        digest: (checked.or(totals.digest)).expect("a blob that nobody checks is hashed"),
        size: totals.size,
        diff_id: totals.diff_id,
        uncompressed_size: totals.uncompressed_size,
        compression: totals.compression,
        end_padding: end.padding,
        entries,
        oddities,
    })
}

/// Reads a layer a second time, for the content of some of its entries.
///
/// `each` is called for every entry that `wanted` picks, in archive order, with
/// its position in `layer.entries` and a reader of its content (a sparse file's
/// holes are zeros; of what has no content, nothing). It may stop reading early.
/// Memory does not depend on the content.
///
/// Fails with [`Error::DigestMismatch`] once all is read, if these are not the
/// bytes that `layer` was made of: what `each` saw must not be trusted before
/// this returns.
pub fn contents(
    mut reader: impl Read,
    layer: &Layer,
    what: &str,
    task: &dyn Task,
    mut wanted: impl FnMut(usize, &Entry) -> bool,
    mut each: impl FnMut(usize, &Entry, &mut dyn Read) -> Result<(), Error>,
) -> Result<(), Error> {
    // The tar is what must be the same; how it is compressed is not looked at again.
    let stream = Stream::new(&mut reader, what, task, Hashing::Tar);
    let mut tar = tar::Reader::new(stream, what);
    for position in 0.. {
        let visited = tar.visit(|header, content| match layer.entries.get(position) {
            Some(entry) if entry.header == header && wanted(position, entry) => {
                each(position, entry, content)
            }
            // Other bytes than before are found at the end, by their hash.
            _ => Ok(()),
        });
        match visited {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => return Err(cause(error, tar.into_input())),
        }
    }
    let totals = tar.finish().1.finish()?;
    if totals.diff_id != layer.diff_id {
        return Err(Error::DigestMismatch {
            what: format!("{what}, read again,"),
            expected: layer.diff_id.to_string(),
            actual: totals.diff_id.to_string(),
        });
    }
    Ok(())
}

/// Reads some files of a layer a second time, and no further than the last of them.
///
/// `each` is called for the entries at the positions `wanted`, in archive order,
/// with a reader of the content, and must read all of it.
///
/// Fails with [`Error::DigestMismatch`] if the content of one is not what it was
/// when `layer` was made: what `each` saw must not be trusted before this returns.
pub fn files(
    mut reader: impl Read,
    layer: &Layer,
    what: &str,
    task: &dyn Task,
    wanted: &BTreeSet<usize>,
    mut each: impl FnMut(usize, &Entry, &mut dyn Read) -> Result<(), Error>,
) -> Result<(), Error> {
    let Some(&last) = wanted.last() else {
        return Ok(());
    };
    let mut tar = tar::Reader::new(Stream::new(&mut reader, what, task, Hashing::Neither), what);
    let mut seen = 0;
    for position in 0..=last {
        let visited = tar.visit(|_, content| match layer.entries.get(position) {
            Some(entry) if wanted.contains(&position) => {
                let mut hashed = Hashed {
                    reader: content,
                    hasher: Hasher::default(),
                };
                each(position, entry, &mut hashed)?;
                seen += 1;
                let actual = hashed.hasher.finish();
                match &entry.kind {
                    EntryKind::File { content, .. } | EntryKind::Other { content, .. }
                        if *content != actual =>
                    {
                        Err(Error::DigestMismatch {
                            what: format!("{} of {what}, read again,", entry.path),
                            expected: content.to_string(),
                            actual: actual.to_string(),
                        })
                    }
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        });
        match visited {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => return Err(cause(error, tar.into_input())),
        }
    }
    if seen < wanted.len() {
        return Err(Error::Invalid {
            what: what.to_owned(),
            problem: "has fewer entries than when it was read first".to_owned(),
        });
    }
    Ok(())
}

/// Hashes what is read through it.
struct Hashed<'a> {
    reader: &'a mut dyn Read,
    hasher: Hasher,
}

impl Read for Hashed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

/// Returns why a layer could not be read.
///
/// Bytes that were damaged on their way are told so by their digest, which says
/// more than where the tar stopped making sense: the reader's own checks at its
/// end come first.
fn cause(error: Error, mut stream: Stream<'_>) -> Error {
    match error {
        Error::Corrupt { .. } => stream.drain().err().unwrap_or(error),
        error => error,
    }
}

/// Returns what a reader's error is about.
pub(crate) fn read_error(error: io::Error, what: &str) -> Error {
    error.downcast().unwrap_or_else(|source| Error::File {
        path: what.to_owned(),
        source,
    })
}

/// Says of each hard link whether its target is an entry before it.
fn note_dangling(entries: &mut [Entry]) {
    let target_of = |entry: &Entry| match &entry.kind {
        EntryKind::HardLink { target } => Some(target.clone()),
        _ => None,
    };
    if !entries.iter().any(|entry| target_of(entry).is_some()) {
        return;
    }
    // Sorted positions take four bytes an entry, where a set of paths would hold them all again.
    let mut by_path: Vec<usize> = (0..entries.len()).collect();
    by_path.sort_by(|&one, &other| {
        entries[one]
            .path
            .cmp(&entries[other].path)
            .then(one.cmp(&other))
    });
    for position in 0..entries.len() {
        let Some(target) = target_of(&entries[position]) else {
            continue;
        };
        let first = by_path.partition_point(|&other| entries[other].path < target);
        let found = by_path
            .get(first)
            .is_some_and(|&other| other < position && entries[other].path == target);
        if !found {
            let details = entries[position].details.get_or_insert_default();
            let details = Arc::make_mut(details);
            details.oddities.push(Oddity::DanglingHardLink);
            details.oddities.sort_unstable();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression as Level, GzBuilder, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;
    use crate::{image::EntryPath, progress::Silent};

    /// Returns a tar of some size, a good part of it not compressible.
    fn some_tar() -> Vec<u8> {
        let mut builder = ::tar::Builder::new(Vec::new());
        let mut state = 1_u32;
        let content: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_le_bytes()[3]
        })
        .take(300_000)
        .collect();
        for (name, content) in [
            ("big", &content[..]),
            ("empty", b""),
            ("small", b"content\n"),
        ] {
            let mut header = ::tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(bytes, 1).unwrap()
    }

    fn scanned(bytes: &[u8]) -> Result<Layer, Error> {
        scan_reader(bytes, "layer 1", &Silent)
    }

    fn problem(bytes: &[u8]) -> String {
        scanned(bytes).unwrap_err().to_string()
    }

    #[test]
    fn every_compression_gives_the_same_tar_and_says_what_it_is() {
        let tar = some_tar();
        let (first, second) = tar.split_at(tar.len() / 2);
        let skippable = [&b"\x53\x2a\x4d\x18\x03\0\0\0"[..], b"abc"].concat();
        let gzip_of = |members| Compression::Gzip {
            members,
            header: GzipHeader {
                mtime: 0,
                extra_flags: 4,
                operating_system: 255,
            },
        };
        let skipped = Oddity::SkippableFrame {
            size: 3,
            content: Digest::of(b"abc"),
        };
        let after = Oddity::AfterCompressedStream {
            size: 4,
            content: Digest::of(b"\0\0\x1f\x8b"),
        };
        let cases = [
            ("plain", tar.clone(), Compression::None, vec![]),
            ("gzip", gzip(&tar), gzip_of(1), vec![]),
            (
                "members",
                [gzip(first), gzip(b""), gzip(second)].concat(),
                gzip_of(3),
                vec![],
            ),
            (
                "trailing",
                [gzip(&tar), b"\0\0\x1f\x8b".to_vec()].concat(),
                gzip_of(1),
                vec![after.clone()],
            ),
            ("zstd", zstd(&tar), Compression::Zstd { frames: 1 }, vec![]),
            (
                "frames",
                [zstd(first), zstd(second)].concat(),
                Compression::Zstd { frames: 2 },
                vec![],
            ),
            (
                "skippable",
                [&skippable[..], &zstd(&tar), &skippable].concat(),
                Compression::Zstd { frames: 1 },
                vec![skipped.clone(), skipped],
            ),
            (
                "trailing zstd",
                [zstd(&tar), b"\0\0\x1f\x8b".to_vec()].concat(),
                Compression::Zstd { frames: 1 },
                vec![after],
            ),
        ];
        let entries = scanned(&tar).unwrap().entries;
        assert_eq!(entries.len(), 3);
        assert_eq!(
            entries[2].kind,
            EntryKind::File {
                size: 8,
                content: Digest::of(b"content\n")
            }
        );
        for (case, blob, compression, oddities) in cases {
            let layer = Layer {
                descriptor: None,
                digest: Digest::of(&blob),
                size: blob.len() as u64,
                diff_id: DiffId::of(&tar),
                uncompressed_size: tar.len() as u64,
                compression,
                end_padding: 1024,
                entries: entries.clone(),
                oddities,
            };
            assert_eq!(scanned(&blob).unwrap(), layer, "{case}");
        }
    }

    #[test]
    fn whatever_a_gzip_header_holds_is_told() {
        let mut encoder = GzBuilder::new()
            .mtime(7)
            .operating_system(3)
            .extra(b"ex".to_vec())
            .filename("name")
            .comment("comment")
            .write(Vec::new(), Level::best());
        encoder.write_all(&some_tar()).unwrap();
        let mut blob = encoder.finish().unwrap();
        blob[3] |= 0x81;
        let layer = scanned(&blob).unwrap();
        let header = GzipHeader {
            mtime: 7,
            extra_flags: 2,
            operating_system: 3,
        };
        assert_eq!(layer.compression, Compression::Gzip { members: 1, header });
        assert_eq!(
            layer.oddities,
            [
                Oddity::GzipExtra(b"ex"[..].into()),
                Oddity::GzipName(b"name"[..].into()),
                Oddity::GzipComment(b"comment"[..].into()),
                Oddity::GzipReservedFlags(0x80),
                Oddity::GzipText,
            ]
        );
    }

    #[test]
    fn damage_to_the_compressed_bytes_is_named_with_its_place() {
        let tar = some_tar();
        let (gz, zst) = (gzip(&tar), zstd(&tar));
        let at = |blob: &[u8], problem: &str| {
            format!(
                "layer 1 cannot be read at byte {} of its compressed bytes: {problem}",
                blob.len()
            )
        };
        for cut in [3, 9, 10, 100, gz.len() / 2, gz.len() - 9, gz.len() - 1] {
            assert_eq!(
                problem(&gz[..cut]),
                at(&gz[..cut], "it ends too early"),
                "{cut}"
            );
        }
        for cut in [5, 20, zst.len() / 2, zst.len() - 1] {
            assert_eq!(
                problem(&zst[..cut]),
                at(&zst[..cut], "it ends too early"),
                "{cut}"
            );
        }
        for (from_end, what) in [(1, "size at the end"), (5, "checksum")] {
            let mut blob = gz.clone();
            let place = blob.len() - from_end;
            blob[place] ^= 1;
            assert_eq!(
                problem(&blob),
                at(&blob, &format!("the {what} of a gzip member is wrong"))
            );
        }
        assert_eq!(
            problem(b"BZh91AY&SY"),
            "layer 1 cannot be read at byte 0 of its compressed bytes: it is compressed with bzip2, which layers cannot be"
        );
        assert_eq!(
            problem(&[b'x'; 512]),
            "layer 1 cannot be read at byte 0 of its tar: it is no tar: the first header's checksum is wrong"
        );
    }

    #[test]
    fn a_zstd_window_beyond_reason_is_refused() {
        // A frame header with window descriptor 0xf8: 2^41 bytes.
        let blob = b"\x28\xb5\x2f\xfd\x00\xf8\x01\0\0\0\0\0\0\0\0\0";
        assert_eq!(
            problem(blob),
            "layer 1 cannot be read at byte 0 of its compressed bytes: a zstd frame cannot be read (Frame requires too much memory for decoding)"
        );
    }

    #[test]
    fn a_damaged_blob_is_told_by_its_digest_even_where_it_makes_no_tar() {
        struct Verifying<'a>(&'a [u8]);
        impl Read for Verifying<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                if self.0.is_empty() {
                    return Err(io::Error::other(Error::DigestMismatch {
                        what: "layer 1".into(),
                        expected: "one".into(),
                        actual: "another".into(),
                    }));
                }
                self.0.read(buffer)
            }
        }
        let mut blob = gzip(&some_tar());
        let middle = blob.len() / 2;
        blob[middle..middle + 64].fill(0);
        let error = scan_reader(Verifying(&blob), "layer 1", &Silent).unwrap_err();
        assert_eq!(error.to_string(), "layer 1 should be one but is another");
    }

    #[test]
    fn contents_are_read_again_and_must_be_those_of_the_first_pass() {
        let tar = some_tar();
        let blob = gzip(&tar);
        let layer = scanned(&blob).unwrap();
        let mut seen = Vec::new();
        let mut read = |blob: &[u8]| {
            contents(
                blob,
                &layer,
                "layer 1",
                &Silent,
                |position, _| position != 1,
                |position, entry, content| {
                    let mut bytes = Vec::new();
                    content.take(5).read_to_end(&mut bytes).unwrap();
                    seen.push((position, entry.path.clone(), bytes));
                    Ok(())
                },
            )
        };
        read(&blob).unwrap();
        let mut other = tar.clone();
        let last = other.iter().rposition(|&byte| byte == b'\n').unwrap();
        other[last] = b' ';
        assert!(matches!(read(&other), Err(Error::DigestMismatch { .. })));
        seen.truncate(2);
        assert_eq!(
            seen,
            [
                (0, EntryPath::of(b"big"), tar[512..517].to_vec()),
                (2, EntryPath::of(b"small"), b"conte".to_vec())
            ]
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let _ = scanned(&bytes);
            let _ = scanned(&[&b"\x1f\x8b\x08"[..], &bytes].concat());
            let _ = scanned(&[&b"\x28\xb5\x2f\xfd"[..], &bytes].concat());
        }

        #[test]
        fn a_changed_byte_of_a_compressed_layer_is_an_error_or_another_digest(
            place in any::<prop::sample::Index>(),
            change in 1_u8..,
        ) {
            let whole = scanned(&gzip(&some_tar())).unwrap();
            let mut blob = gzip(&some_tar());
            let place = place.index(blob.len());
            blob[place] ^= change;
            if let Ok(layer) = scanned(&blob) {
                prop_assert_ne!(layer.digest, whole.digest);
                prop_assert_eq!(layer.diff_id, whole.diff_id);
            }
        }
    }
}
