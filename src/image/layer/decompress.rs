//! Decompression: a blob's bytes become its tar, hashed on the way as far as nobody else does.
//!
//! What the bytes are is decided by the bytes, as Docker and containerd do it,
//! never by the media type. Every byte is accounted for: headers of members,
//! skippable frames, and what follows the last member. Memory is two buffers
//! and what the decoder needs.

use std::io::{self, BufRead, Read};

use flate2::{Decompress, FlushDecompress, Status};
use zstd::{
    stream::raw::{Decoder as ZstdDecoder, InBuffer, Operation as _, OutBuffer},
    zstd_safe::DParameter,
};

use super::{Compression, GzipHeader};
use crate::{
    digest::{DiffId, Digest, Hasher},
    image::{Error, Oddity},
    progress::Task,
};

/// How many compressed bytes are read at once.
const INPUT_BUFFER: usize = 64 * 1024;

/// How many bytes of tar are made at once: few calls, and still in the cache when they are hashed.
const OUTPUT_BUFFER: usize = 128 * 1024;

/// The longest name or comment of a gzip header that is read; no limit is specified.
const LONGEST_GZIP_FIELD: usize = 64 * 1024;

/// How many oddities of a compressed stream are kept; hostile streams have one every few bytes.
const MOST_ODDITIES: usize = 4096;

/// The window that zstd may ask for, as a power of two: 128 MiB, what the reference decoder accepts.
const LARGEST_ZSTD_WINDOW: u32 = 27;

/// A layer may inflate to this size, or to `LARGEST_RATIO` times its own.
///
/// Far above every real layer; without an end, a few megabytes of zstd keep
/// the reader busy for days.
const LARGEST_TAR: u64 = 64 << 30;

/// See [`LARGEST_TAR`]; gzip reaches 1032, with zeros only.
const LARGEST_RATIO: u64 = 256;

/// What is known of a blob once all of it was read.
pub(super) struct Totals {
    /// `None` where the blob was not hashed.
    pub(super) digest: Option<Digest>,
    pub(super) size: u64,
    pub(super) diff_id: DiffId,
    pub(super) uncompressed_size: u64,
    pub(super) compression: Compression,
    pub(super) oddities: Vec<Oddity>,
}

/// The tar inside a blob.
///
/// Errors of [`BufRead`] carry an [`Error`] inside the [`io::Error`].
pub(super) struct Stream<'a> {
    input: Input<'a>,
    state: State,
    compression: Compression,
    // Kept from member to member and frame to frame: hostile streams have millions.
    inflater: Option<Box<Decompress>>,
    zstd: Option<ZstdDecoder<'static>>,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    made: u64,
    hashing: Hashing,
    hasher: Hasher,
    oddities: Vec<Oddity>,
}

/// Which bytes are hashed.
#[derive(Clone, Copy)]
pub(super) enum Hashing {
    /// The blob and the tar.
    Both,
    /// The tar only.
    Tar,
    /// None; the stream cannot be finished.
    Neither,
}

/// What comes next in the compressed bytes.
enum State {
    /// The first byte of the blob.
    Beginning,
    /// Bytes of a tar that is not compressed.
    Plain,
    /// A gzip member or the end.
    BetweenMembers,
    /// Deflated data of a member; the checksum and size of what it gave so far.
    Member(crc32fast::Hasher, u32),
    /// A zstd frame or the end.
    BetweenFrames,
    /// A zstd frame's data.
    Frame,
    /// Nothing.
    Ended,
}

impl<'a> Stream<'a> {
    /// Returns the tar inside the blob that `reader` gives; `what` names it in errors.
    pub(super) fn new(
        reader: &'a mut dyn Read,
        what: &'a str,
        task: &'a dyn Task,
        hashing: Hashing,
    ) -> Self {
        let blob_hasher = matches!(hashing, Hashing::Both).then(Hasher::default);
        Self {
            input: Input::new(reader, what, task, blob_hasher),
            state: State::Beginning,
            compression: Compression::None,
            inflater: None,
            zstd: None,
            buffer: vec![0; OUTPUT_BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
            made: 0,
            hashing,
            hasher: Hasher::default(),
            oddities: Vec::new(),
        }
    }

    /// Reads what is left and returns what is known of the whole, which must not be read again.
    pub(super) fn finish(mut self) -> Result<Totals, Error> {
        while self.start < self.end || !matches!(self.state, State::Ended) {
            self.start = self.end;
            self.refill()?;
        }
        self.oddities.sort_unstable();
        let size = self.input.offset;
        let is_tar_hashed = self.is_tar_hashed();
        let digest = self.input.hasher.map(Hasher::finish);
        let diff_id = if is_tar_hashed {
            self.hasher.finish()
        } else {
            digest.expect("a stream is finished only where its bytes are hashed")
        };
        Ok(Totals {
            digest,
            size,
            diff_id: DiffId::from_uncompressed(diff_id),
            uncompressed_size: self.made,
            compression: self.compression,
            oddities: self.oddities,
        })
    }

    /// Reads the blob to its end without looking at it, for the reader's own checks.
    pub(super) fn drain(&mut self) -> Result<(), Error> {
        while !self.input.fill()?.is_empty() {
            self.input.consume(self.input.end - self.input.start);
        }
        Ok(())
    }

    /// Fills the empty buffer; it stays empty at the end of the tar.
    fn refill(&mut self) -> Result<(), Error> {
        self.start = 0;
        self.end = 0;
        while self.end < self.buffer.len() {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Beginning => self.state = self.begin()?,
                State::Plain => {
                    let bytes = self.input.fill()?;
                    let size = bytes.len().min(self.buffer.len() - self.end);
                    self.buffer[self.end..self.end + size].copy_from_slice(&bytes[..size]);
                    self.input.consume(size);
                    self.end += size;
                    if size > 0 {
                        self.state = State::Plain;
                    }
                }
                State::BetweenMembers => {
                    if self.input.at_least(2)?.starts_with(&GZIP_MAGIC) {
                        self.gzip_header()?;
                        self.state = State::Member(crc32fast::Hasher::new(), 0);
                    } else {
                        self.rest()?;
                    }
                }
                State::Member(checksum, size) => self.state = self.inflate(checksum, size)?,
                State::BetweenFrames => self.state = self.next_frame()?,
                State::Frame => self.state = self.zstd()?,
                State::Ended => break,
            }
        }
        self.made += self.end as u64;
        if self.is_tar_hashed() {
            self.hasher.update(&self.buffer[..self.end]);
        }
        let limit = LARGEST_TAR.max(self.input.offset.saturating_mul(LARGEST_RATIO));
        if self.made > limit {
            return Err(self.input.corrupt(format!(
                "it inflates to more than {LARGEST_TAR} bytes and {LARGEST_RATIO} times its size"
            )));
        }
        Ok(())
    }

    /// Returns whether the tar is hashed by itself: one that is not compressed is the blob.
    fn is_tar_hashed(&self) -> bool {
        match self.hashing {
            Hashing::Both => self.compression != Compression::None,
            Hashing::Tar => true,
            Hashing::Neither => false,
        }
    }

    /// Decides by the first bytes how the blob is compressed.
    fn begin(&mut self) -> Result<State, Error> {
        // bzip2 and xz are what Docker also detects; no specification has layers of them.
        const NOT_FOR_LAYERS: [(&[u8], &str); 2] = [(b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz")];
        let magic = self.input.at_least(6)?;
        if magic.starts_with(&[GZIP_MAGIC[0], GZIP_MAGIC[1], DEFLATE]) {
            let header = GzipHeader {
                mtime: 0,
                extra_flags: 0,
                operating_system: 0,
            };
            self.compression = Compression::Gzip { members: 0, header };
            return Ok(State::BetweenMembers);
        }
        if is_zstd_frame(magic) || is_skippable_frame(magic) {
            self.compression = Compression::Zstd { frames: 0 };
            return Ok(State::BetweenFrames);
        }
        for (start, name) in NOT_FOR_LAYERS {
            if magic.starts_with(start) {
                return Err(self.input.corrupt(format!(
                    "it is compressed with {name}, which layers cannot be"
                )));
            }
        }
        Ok(State::Plain)
    }

    /// Reads a member's header (RFC 1952 section 2.3).
    fn gzip_header(&mut self) -> Result<(), Error> {
        const TEXT: u8 = 1;
        const HEADER_CHECKSUM: u8 = 2;
        const EXTRA: u8 = 4;
        const NAME: u8 = 8;
        const COMMENT: u8 = 16;
        const RESERVED: u8 = 0xe0;

        let mut checksum = crc32fast::Hasher::new();
        let fixed: [u8; 10] = self.input.take()?;
        checksum.update(&fixed);
        if fixed[2] != DEFLATE {
            return Err(self.input.corrupt(format!(
                "a gzip member has the unknown compression method {}",
                fixed[2]
            )));
        }
        let flags = fixed[3];
        if flags & RESERVED != 0 {
            self.odd(Oddity::GzipReservedFlags(flags & RESERVED))?;
        }
        if flags & TEXT != 0 {
            self.odd(Oddity::GzipText)?;
        }
        if flags & EXTRA != 0 {
            let size: [u8; 2] = self.input.take()?;
            checksum.update(&size);
            let size = usize::from(u16::from_le_bytes(size));
            let mut extra = Vec::new();
            while extra.len() < size {
                let bytes = self.input.some()?;
                let part = bytes.len().min(size - extra.len());
                extra.extend_from_slice(&bytes[..part]);
                self.input.consume(part);
            }
            checksum.update(&extra);
            self.odd(Oddity::GzipExtra(extra.into()))?;
        }
        for (flag, oddity) in [
            (NAME, Oddity::GzipName as fn(Box<[u8]>) -> Oddity),
            (COMMENT, Oddity::GzipComment),
        ] {
            if flags & flag != 0 {
                let text = self.gzip_text()?;
                checksum.update(&text);
                checksum.update(&[0]);
                self.odd(oddity(text.into()))?;
            }
        }
        if flags & HEADER_CHECKSUM != 0 {
            let stated = u16::from_le_bytes(self.input.take()?);
            let computed = (checksum.finalize() & 0xffff) as u16;
            if stated != computed {
                return Err(self
                    .input
                    .corrupt("the checksum of a gzip header is wrong".to_owned()));
            }
            self.odd(Oddity::GzipHeaderChecksum(stated))?;
        }
        if let Compression::Gzip { members, header } = &mut self.compression {
            if *members == 0 {
                *header = GzipHeader {
                    mtime: u32::from_le_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
                    extra_flags: fixed[8],
                    operating_system: fixed[9],
                };
            }
            *members += 1;
        }
        Ok(())
    }

    /// Reads a gzip header's text up to its zero, which is not returned.
    fn gzip_text(&mut self) -> Result<Vec<u8>, Error> {
        let mut text = Vec::new();
        loop {
            let bytes = self.input.some()?;
            let zero = bytes.iter().position(|&byte| byte == 0);
            let part = zero.unwrap_or(bytes.len());
            text.extend_from_slice(&bytes[..part]);
            self.input.consume(part + usize::from(zero.is_some()));
            if text.len() > LONGEST_GZIP_FIELD {
                return Err(self.input.corrupt(format!(
                    "a gzip header has a text of more than {LONGEST_GZIP_FIELD} bytes"
                )));
            }
            if zero.is_some() {
                return Ok(text);
            }
        }
    }

    /// Inflates into the buffer; after the last byte of a member checks its trailer.
    fn inflate(&mut self, mut checksum: crc32fast::Hasher, size: u32) -> Result<State, Error> {
        let decoder = self
            .inflater
            .get_or_insert_with(|| Box::new(Decompress::new(false)));
        let (read, made) = (decoder.total_in(), decoder.total_out());
        let input = self.input.fill()?;
        let ended = input.is_empty();
        let status = decoder.decompress(input, &mut self.buffer[self.end..], FlushDecompress::None);
        let read = count(decoder.total_in() - read);
        let made = count(decoder.total_out() - made);
        self.input.consume(read);
        let status = status.map_err(|error| {
            let reason = error.message().unwrap_or("it is no deflate stream");
            self.input
                .corrupt(format!("a gzip member cannot be inflated ({reason})"))
        })?;
        checksum.update(&self.buffer[self.end..self.end + made]);
        self.end += made;
        // RFC 1952: ISIZE is the size modulo 2^32.
        let size = size.wrapping_add(u32::try_from(made).expect("made fits the buffer"));
        if status == Status::StreamEnd {
            decoder.reset(false);
            let trailer: [u8; 8] = self.input.take()?;
            let (stated_checksum, stated_size) = trailer.split_at(4);
            if stated_checksum != checksum.finalize().to_le_bytes() {
                return Err(self
                    .input
                    .corrupt("the checksum of a gzip member is wrong".to_owned()));
            }
            if stated_size != size.to_le_bytes() {
                return Err(self
                    .input
                    .corrupt("the size at the end of a gzip member is wrong".to_owned()));
            }
            return Ok(State::BetweenMembers);
        }
        if read == 0 && made == 0 {
            return Err(if ended {
                self.input.truncated()
            } else {
                self.input
                    .corrupt("a gzip member cannot be inflated".to_owned())
            });
        }
        Ok(State::Member(checksum, size))
    }

    /// Begins a zstd frame, passes a skippable one, or ends.
    fn next_frame(&mut self) -> Result<State, Error> {
        let magic = self.input.at_least(4)?;
        if is_zstd_frame(magic) {
            if let Compression::Zstd { frames } = &mut self.compression {
                *frames += 1;
            }
            if self.zstd.is_none() {
                let failed = |error: io::Error| self.input.corrupt(format!("zstd says: {error}"));
                let mut decoder = ZstdDecoder::new().map_err(failed)?;
                decoder
                    .set_parameter(DParameter::WindowLogMax(LARGEST_ZSTD_WINDOW))
                    .map_err(failed)?;
                self.zstd = Some(decoder);
            }
            return Ok(State::Frame);
        }
        if is_skippable_frame(magic) {
            let [_, _, _, _, size @ ..]: [u8; 8] = self.input.take()?;
            let size = u64::from(u32::from_le_bytes(size));
            let mut hasher = Hasher::default();
            while hasher.size() < size {
                let bytes = self.input.some()?;
                let part = bytes.len().min(count(size - hasher.size()));
                hasher.update(&bytes[..part]);
                self.input.consume(part);
            }
            let content = hasher.finish();
            self.odd(Oddity::SkippableFrame { size, content })?;
            return Ok(State::BetweenFrames);
        }
        self.rest()?;
        Ok(State::Ended)
    }

    /// Decompresses a part of a zstd frame into the buffer.
    fn zstd(&mut self) -> Result<State, Error> {
        let decoder = self.zstd.as_mut().expect("a frame begins with a decoder");
        let bytes = self.input.fill()?;
        let ended = bytes.is_empty();
        let mut input = InBuffer::around(bytes);
        let mut output = OutBuffer::around(&mut self.buffer[self.end..]);
        let left = decoder.run(&mut input, &mut output);
        let (read, made) = (input.pos(), output.pos());
        self.input.consume(read);
        let left = left.map_err(|error| {
            self.input
                .corrupt(format!("a zstd frame cannot be read ({error})"))
        })?;
        self.end += made;
        if left == 0 {
            return Ok(State::BetweenFrames);
        }
        if read == 0 && made == 0 && self.end < self.buffer.len() {
            return Err(if ended {
                self.input.truncated()
            } else {
                self.input.corrupt("a zstd frame cannot be read".to_owned())
            });
        }
        Ok(State::Frame)
    }

    /// Reads what follows the last member or frame.
    fn rest(&mut self) -> Result<(), Error> {
        let mut hasher = Hasher::default();
        loop {
            let bytes = self.input.fill()?;
            let size = bytes.len();
            if size == 0 {
                break;
            }
            hasher.update(bytes);
            self.input.consume(size);
        }
        let size = hasher.size();
        if size > 0 {
            let content = hasher.finish();
            self.odd(Oddity::AfterCompressedStream { size, content })?;
        }
        Ok(())
    }

    /// Keeps an oddity.
    fn odd(&mut self, oddity: Oddity) -> Result<(), Error> {
        if self.oddities.len() == MOST_ODDITIES {
            return Err(self.input.corrupt(format!(
                "its compressed stream has more than {MOST_ODDITIES} oddities"
            )));
        }
        self.oddities.push(oddity);
        Ok(())
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut available = self.fill_buf()?;
        let size = available.read(buffer)?;
        self.consume(size);
        Ok(size)
    }
}

impl BufRead for Stream<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.refill().map_err(io::Error::other)?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, size: usize) {
        debug_assert!(
            size <= self.end - self.start,
            "only what was given is consumed"
        );
        self.start += size;
    }
}

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The one compression method of gzip.
const DEFLATE: u8 = 8;

/// Returns whether these bytes begin a zstd frame (RFC 8878 section 3.1.1).
fn is_zstd_frame(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
}

/// Returns whether these bytes begin a skippable frame (RFC 8878 section 3.1.2).
fn is_skippable_frame(bytes: &[u8]) -> bool {
    matches!(bytes, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

/// Returns a count of bytes that lie in a buffer.
fn count(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The compressed bytes: counted, hashed as they come in where they are to be, and reported as progress.
struct Input<'a> {
    reader: &'a mut dyn Read,
    what: &'a str,
    task: &'a dyn Task,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    offset: u64,
    hasher: Option<Hasher>,
}

impl<'a> Input<'a> {
    fn new(
        reader: &'a mut dyn Read,
        what: &'a str,
        task: &'a dyn Task,
        hasher: Option<Hasher>,
    ) -> Self {
        Self {
            reader,
            what,
            task,
            buffer: vec![0; INPUT_BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
            offset: 0,
            hasher,
        }
    }

    /// Returns the bytes at hand, at least one before the end.
    fn fill(&mut self) -> Result<&[u8], Error> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            self.read()?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    /// Returns the bytes at hand, at least one.
    fn some(&mut self) -> Result<&[u8], Error> {
        if self.fill()?.is_empty() {
            return Err(self.truncated());
        }
        self.fill()
    }

    /// Returns the bytes at hand, at least `size` before the end.
    fn at_least(&mut self, size: usize) -> Result<&[u8], Error> {
        while self.end - self.start < size {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.read()? == 0 {
                break;
            }
        }
        Ok(&self.buffer[self.start..self.end])
    }

    /// Takes the next bytes.
    fn take<const SIZE: usize>(&mut self) -> Result<[u8; SIZE], Error> {
        let Some(&bytes) = self.at_least(SIZE)?.first_chunk() else {
            return Err(self.truncated());
        };
        self.consume(SIZE);
        Ok(bytes)
    }

    /// Reads once behind the bytes at hand.
    fn read(&mut self) -> Result<usize, Error> {
        let size = loop {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(super::read_error(error, self.what)),
                Ok(size) => break size,
            }
        };
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&self.buffer[self.end..self.end + size]);
        }
        self.end += size;
        self.task.advance(size as u64);
        Ok(size)
    }

    fn consume(&mut self, size: usize) {
        self.start += size;
        self.offset += size as u64;
    }

    fn corrupt(&self, problem: String) -> Error {
        Error::Corrupt {
            what: self.what.to_owned(),
            stream: "compressed bytes",
            offset: self.offset,
            problem,
        }
    }

    fn truncated(&self) -> Error {
        Error::Corrupt {
            what: self.what.to_owned(),
            stream: "compressed bytes",
            offset: self.offset + (self.end - self.start) as u64,
            problem: "it ends too early".to_owned(),
        }
    }
}
