//! Compressors: tar bytes → the exact layer bytes that a known compressor writes.
//!
//! What a layer was compressed with is guessed from its first bytes, and known
//! only once compressing its tar again has given the published bytes. The table
//! is finite; a compressor is in it when its bytes can be written here, all
//! others are merely recognised. Does not inflate and knows nothing of tar.

mod go;
mod reproduction;

use std::{
    fmt,
    io::{self, Write},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

pub use go::{GoGzipWriter, GoLevel};
pub use reproduction::{Reproduction, reproduce};

/// A way to compress a layer whose bytes can be written here.
///
/// Written `none`, or `go-LEVEL` as Go's gzip at a level of 0 to 9.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Compressor {
    /// The tar as it is.
    Uncompressed,
    /// `compress/gzip` of Go before 1.27, as in Docker, BuildKit and containerd.
    GoGzip(GoLevel),
}

impl Compressor {
    /// Returns a writer that compresses what it is given into `sink`.
    pub fn writer<W: Write>(self, sink: W) -> CompressingWriter<W> {
        CompressingWriter(match self {
            Self::Uncompressed => Writer::Uncompressed(sink),
            Self::GoGzip(level) => Writer::GoGzip(Box::new(GoGzipWriter::with_level(sink, level))),
        })
    }
}

impl FromStr for Compressor {
    type Err = UnknownCompressor;

    fn from_str(text: &str) -> Result<Self, UnknownCompressor> {
        let level = |digits: &str| GoLevel::new(digits.parse().ok()?);
        match text.strip_prefix("go-") {
            None if text == "none" => Some(Self::Uncompressed),
            None => None,
            Some(digits) => level(digits).map(Self::GoGzip),
        }
        .ok_or(UnknownCompressor)
    }
}

/// The text names no compressor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write none, or go-0 to go-9")]
pub struct UnknownCompressor;

impl TryFrom<String> for Compressor {
    type Error = UnknownCompressor;

    fn try_from(text: String) -> Result<Self, UnknownCompressor> {
        text.parse()
    }
}

impl From<Compressor> for String {
    fn from(compressor: Compressor) -> Self {
        match compressor {
            Compressor::Uncompressed => "none".to_owned(),
            Compressor::GoGzip(level) => format!("go-{level}"),
        }
    }
}

impl fmt::Display for Compressor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uncompressed => formatter.write_str("uncompressed"),
            Self::GoGzip(level) => write!(formatter, "gzip of Go before 1.27, level {level}"),
        }
    }
}

/// A way to compress a layer that is recognised, but whose bytes cannot be written here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ForeignCompressor {
    /// A gzip that names a Unix system: GNU gzip, pigz, BusyBox, or anything using zlib's own header.
    UnixGzip(Effort),
    /// A gzip that leaves the system open: Go since 1.27, klauspost/compress, pgzip, Python, flate2.
    UnnamedSystemGzip(Effort),
    /// Any other gzip, or one cut off in its header.
    OtherGzip,
    /// Zstandard.
    Zstd,
}

impl fmt::Display for ForeignCompressor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnixGzip(effort) => write!(formatter, "a Unix gzip{effort}"),
            Self::UnnamedSystemGzip(effort) => {
                write!(formatter, "a gzip that names no system{effort}")
            }
            Self::OtherGzip => formatter.write_str("an unknown gzip"),
            Self::Zstd => formatter.write_str("zstd"),
        }
    }
}

/// How hard a gzip header says the compressor tried (RFC 1952 section 2.3.1, XFL).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effort {
    /// As hard as it can, usually level 9.
    Most,
    /// As fast as it can, usually level 1.
    Least,
    /// Not said: any level between, usually 6.
    Unstated,
}

impl fmt::Display for Effort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Most => ", smallest",
            Self::Least => ", fastest",
            Self::Unstated => "",
        })
    }
}

/// What a layer may have been compressed with, going by its first bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    /// Those that can be tried with [`reproduce`], likeliest first.
    pub reproducible: Vec<Compressor>,
    /// Those that cannot.
    pub foreign: Vec<ForeignCompressor>,
}

/// Returns what may have compressed a layer that begins with these bytes.
///
/// Ten bytes tell all there is to tell. Bytes of no known format count as
/// uncompressed. Later members of a stream may come from another compressor.
#[must_use]
pub fn candidates(opening: &[u8]) -> Candidates {
    const GZIP: [u8; 2] = [0x1f, 0x8b];
    const DEFLATE: u8 = 8;
    const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    const UNIX: u8 = 3;
    const UNNAMED: u8 = 255;

    if opening.starts_with(&ZSTD) {
        return Candidates {
            foreign: vec![ForeignCompressor::Zstd],
            ..Candidates::default()
        };
    }
    if !opening.starts_with(&GZIP) {
        return Candidates {
            reproducible: vec![Compressor::Uncompressed],
            ..Candidates::default()
        };
    }
    let foreign = match *opening {
        [_, _, DEFLATE, _flags, _, _, _, _, extra_flags, system, ..] => {
            let effort = match extra_flags {
                2 => Effort::Most,
                4 => Effort::Least,
                _ => Effort::Unstated,
            };
            match system {
                UNIX => ForeignCompressor::UnixGzip(effort),
                UNNAMED => ForeignCompressor::UnnamedSystemGzip(effort),
                _ => ForeignCompressor::OtherGzip,
            }
        }
        _ => ForeignCompressor::OtherGzip,
    };
    let reproducible = [6, 9, 1, 5, 7, 4, 8, 3, 2, 0]
        .into_iter()
        .filter_map(GoLevel::new)
        .filter(|level| opening.starts_with(&level.header()))
        .map(Compressor::GoGzip)
        .collect();
    Candidates {
        reproducible,
        foreign: vec![foreign],
    }
}

/// Compresses what is written to it; see [`Compressor::writer`].
pub struct CompressingWriter<W: Write>(Writer<W>);

enum Writer<W: Write> {
    Uncompressed(W),
    GoGzip(Box<GoGzipWriter<W>>),
}

impl<W: Write> CompressingWriter<W> {
    /// Returns where the compressed bytes go; it has not yet seen all of them.
    pub fn sink(&self) -> &W {
        match &self.0 {
            Writer::Uncompressed(sink) => sink,
            Writer::GoGzip(writer) => writer.sink(),
        }
    }

    /// Completes the stream and returns the sink, which is not flushed.
    ///
    /// # Errors
    ///
    /// Fails as the sink does.
    pub fn finish(self) -> io::Result<W> {
        match self.0 {
            Writer::Uncompressed(sink) => Ok(sink),
            Writer::GoGzip(writer) => writer.finish(),
        }
    }
}

impl<W: Write> Write for CompressingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Writer::Uncompressed(sink) => sink.write(bytes),
            Writer::GoGzip(writer) => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Writer::Uncompressed(sink) => sink.flush(),
            Writer::GoGzip(writer) => writer.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_which_compressors_to_try() {
        let go = |levels: &[u8]| -> Vec<Compressor> {
            levels
                .iter()
                .map(|&level| Compressor::GoGzip(GoLevel::new(level).unwrap()))
                .collect()
        };
        let gzip = |modified: u8, extra_flags, system| {
            vec![
                0x1f,
                0x8b,
                8,
                0,
                modified,
                0,
                0,
                0,
                extra_flags,
                system,
                0xec,
            ]
        };
        let cases = [
            (
                "Docker",
                gzip(0, 0, 255),
                go(&[6, 5, 7, 4, 8, 3, 2, 0]),
                vec![ForeignCompressor::UnnamedSystemGzip(Effort::Unstated)],
            ),
            (
                "BuildKit at level 9",
                gzip(0, 2, 255),
                go(&[9]),
                vec![ForeignCompressor::UnnamedSystemGzip(Effort::Most)],
            ),
            (
                "BuildKit at level 1",
                gzip(0, 4, 255),
                go(&[1]),
                vec![ForeignCompressor::UnnamedSystemGzip(Effort::Least)],
            ),
            (
                "Python with a time",
                gzip(7, 2, 255),
                vec![],
                vec![ForeignCompressor::UnnamedSystemGzip(Effort::Most)],
            ),
            (
                "gzip -n9",
                gzip(0, 2, 3),
                vec![],
                vec![ForeignCompressor::UnixGzip(Effort::Most)],
            ),
            (
                "gzip -n",
                gzip(0, 0, 3),
                vec![],
                vec![ForeignCompressor::UnixGzip(Effort::Unstated)],
            ),
            (
                "a gzip of Windows",
                gzip(0, 0, 11),
                vec![],
                vec![ForeignCompressor::OtherGzip],
            ),
            (
                "a cut header",
                vec![0x1f, 0x8b, 8, 0, 0],
                vec![],
                vec![ForeignCompressor::OtherGzip],
            ),
            (
                "zstd",
                vec![0x28, 0xb5, 0x2f, 0xfd, 4],
                vec![],
                vec![ForeignCompressor::Zstd],
            ),
            (
                "a tar",
                b"bin/".to_vec(),
                vec![Compressor::Uncompressed],
                vec![],
            ),
            ("nothing", vec![], vec![Compressor::Uncompressed], vec![]),
        ];
        for (case, opening, reproducible, foreign) in cases {
            assert_eq!(
                candidates(&opening),
                Candidates {
                    reproducible,
                    foreign
                },
                "{case}"
            );
        }
    }

    #[test]
    fn every_compressor_is_a_candidate_for_what_it_writes() {
        let all = (0..=9).map(|level| Compressor::GoGzip(GoLevel::new(level).unwrap()));
        for compressor in all.chain([Compressor::Uncompressed]) {
            let mut writer = compressor.writer(Vec::new());
            writer.write_all(&[b'x'; 600]).unwrap();
            let written = writer.finish().unwrap();
            assert!(
                candidates(&written).reproducible.contains(&compressor),
                "{compressor}"
            );
        }
    }
}
