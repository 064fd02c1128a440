//! Bytes → the gzip stream that Go's `compress/gzip` writes for them.
//!
//! Docker, BuildKit and containerd compress layers with it, so a published
//! layer's digest is reached only with its exact choices: which matches, where
//! blocks end, which codes. This is an implementation of our own of what Go does
//! before 1.27, compared with Go 1.19 and with layers published since 2019.
//! Go 1.27 brought another compressor (golang/go#75624): its bytes differ, and
//! are not written here.
//!
//! Does not flush in the middle of a stream, and takes no preset dictionary.

mod bits;
mod block;
mod chains;
mod fast;
mod huffman;

use std::fmt;
use std::io::{self, Write};

use block::{Blocks, LARGEST_STORED_BLOCK};
use chains::Chains;
use fast::Fast;

/// The most input taken at once, so that memory stays bounded.
const LARGEST_INPUT: usize = 1 << 16;

/// Compressed bytes are passed on when there are this many.
const PASS_ON_AT: usize = 1 << 15;

/// A compression level of Go's `compress/gzip`, 0 to 9.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoLevel(u8);

impl GoLevel {
    /// What Go uses when no level is asked for.
    pub const DEFAULT: Self = Self(6);

    /// Returns the level with this number, `None` above 9.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        match number {
            0..=9 => Some(Self(number)),
            _ => None,
        }
    }

    /// Returns the level's number, 0 to 9.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Returns the ten bytes with which Go begins a stream: no name, no time, system unknown.
    #[must_use]
    pub const fn header(self) -> [u8; 10] {
        let extra_flags = match self.0 {
            1 => 4,
            9 => 2,
            _ => 0,
        };
        [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, extra_flags, 0xff]
    }
}

impl Default for GoLevel {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Display for GoLevel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Compresses what is written to it as Go's `gzip.Writer` does.
///
/// The stream depends on the bytes alone, not on how many calls bring them:
/// it is what Go gives when they come in one call. Go itself can differ when a
/// call ends within the last 261 bytes before its window of 64 KiB is full,
/// that is not at a multiple of 512 bytes, *and* there is a match farther back
/// than 32506 bytes just there.
///
/// Dropping it without [`GoGzipWriter::finish`] leaves the stream incomplete.
/// Once the sink has failed, every later call fails.
pub struct GoGzipWriter<W: Write> {
    sink: W,
    encoder: Encoder,
    blocks: Blocks,
    checksum: crc32fast::Hasher,
    /// Modulo 2^32, as the trailer has it.
    size_in_bytes: u32,
    failed: Option<io::ErrorKind>,
}

enum Encoder {
    Stored(Vec<u8>),
    Fast(Fast),
    Chains(Chains),
}

impl<W: Write> GoGzipWriter<W> {
    /// Returns a writer that compresses at the default level.
    pub fn new(sink: W) -> Self {
        Self::with_level(sink, GoLevel::DEFAULT)
    }

    /// Returns a writer that compresses at a level of choice.
    pub fn with_level(sink: W, level: GoLevel) -> Self {
        let mut blocks = Blocks::new();
        blocks.output.put_bytes(&level.header());
        let encoder = match level.number() {
            0 => Encoder::Stored(Vec::with_capacity(LARGEST_STORED_BLOCK)),
            1 => Encoder::Fast(Fast::new()),
            number => Encoder::Chains(Chains::new(number)),
        };
        Self {
            sink,
            encoder,
            blocks,
            checksum: crc32fast::Hasher::new(),
            size_in_bytes: 0,
            failed: None,
        }
    }

    /// Returns where the compressed bytes go.
    ///
    /// It has not yet seen all of them.
    pub fn sink(&self) -> &W {
        &self.sink
    }

    /// Completes the stream and returns the sink, which is not flushed.
    ///
    /// # Errors
    ///
    /// Fails as the sink does.
    pub fn finish(mut self) -> io::Result<W> {
        match &mut self.encoder {
            Encoder::Stored(block) => {
                if !block.is_empty() {
                    self.blocks.write_stored(block);
                }
            }
            Encoder::Fast(fast) => fast.finish(&mut self.blocks),
            Encoder::Chains(chains) => chains.finish(&mut self.blocks),
        }
        self.blocks.write_end();
        let checksum = self.checksum.clone().finalize();
        self.blocks.output.put_bytes(&checksum.to_le_bytes());
        self.blocks
            .output
            .put_bytes(&self.size_in_bytes.to_le_bytes());
        self.pass_on()?;
        Ok(self.sink)
    }

    fn pass_on(&mut self) -> io::Result<()> {
        if let Some(kind) = self.failed {
            return Err(io::Error::new(
                kind,
                "an earlier part of the gzip stream was not written",
            ));
        }
        let written = self.sink.write_all(self.blocks.output.bytes());
        self.blocks.output.clear_bytes();
        self.failed = written.as_ref().err().map(io::Error::kind);
        written
    }
}

impl<W: Write> Write for GoGzipWriter<W> {
    #[expect(clippy::cast_possible_truncation, reason = "at most 64 KiB are taken")]
    fn write(&mut self, input: &[u8]) -> io::Result<usize> {
        let input = &input[..input.len().min(LARGEST_INPUT)];
        match &mut self.encoder {
            Encoder::Stored(block) => store(block, input, &mut self.blocks),
            Encoder::Fast(fast) => fast.write(input, &mut self.blocks),
            Encoder::Chains(chains) => chains.write(input, &mut self.blocks),
        }
        self.checksum.update(input);
        self.size_in_bytes = self.size_in_bytes.wrapping_add(input.len() as u32);
        if self.failed.is_some() || self.blocks.output.bytes().len() >= PASS_ON_AT {
            self.pass_on()?;
        }
        Ok(input.len())
    }

    /// Flushes the sink only.
    ///
    /// Bytes not yet compressed stay here: Go's `Flush` would change the stream.
    fn flush(&mut self) -> io::Result<()> {
        self.pass_on()?;
        self.sink.flush()
    }
}

/// Level 0: cuts the input into stored blocks as large as can be.
fn store(block: &mut Vec<u8>, mut input: &[u8], blocks: &mut Blocks) {
    while !input.is_empty() {
        let (taken, left) = input.split_at(input.len().min(LARGEST_STORED_BLOCK - block.len()));
        block.extend_from_slice(taken);
        input = left;
        if block.len() == LARGEST_STORED_BLOCK {
            blocks.write_stored(block);
            block.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(input: &[u8]) -> Vec<u8> {
        let mut writer = GoGzipWriter::new(Vec::new());
        writer.write_all(input).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn an_empty_input_gives_header_empty_last_block_and_trailer() {
        let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
        let end = [1, 0, 0, 0xff, 0xff];
        assert_eq!(gzip(b""), [&header[..], &end, &[0; 8]].concat());
    }

    #[test]
    fn only_levels_0_to_9_exist_and_only_the_ends_show_in_the_header() {
        let extra_flags = |number| GoLevel::new(number).map(|level| level.header()[8]);
        assert_eq!(
            [0, 1, 2, 6, 8, 9, 10].map(extra_flags),
            [Some(0), Some(4), Some(0), Some(0), Some(0), Some(2), None]
        );
    }

    /// Takes a few bytes and then fails.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_sink_that_has_failed_fails_every_later_call() {
        let mut writer = GoGzipWriter::with_level(Full(5), GoLevel::new(0).unwrap());
        let kinds = [
            writer.write_all(&vec![7; 200_000]).unwrap_err().kind(),
            writer.write_all(b"more").unwrap_err().kind(),
            writer.flush().unwrap_err().kind(),
            writer.finish().err().unwrap().kind(),
        ];
        assert_eq!(kinds, [io::ErrorKind::StorageFull; 4]);
    }
}
