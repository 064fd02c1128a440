//! Spool: file contents put aside on disk, to be read again in any order.
//!
//! One unlinked file in the temporary directory, so that nothing is left behind
//! and memory does not grow with what is built.

use std::{
    fs::File,
    io::{self, BufRead, BufWriter, Read, Write},
    os::unix::fs::FileExt,
};

use super::{Error, Stop};
use crate::image::{Entry, tar::Reader};

/// Where a content lies in the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Extent {
    offset: u64,
    /// Bytes.
    pub(super) size: u64,
}

/// Contents put aside.
pub(super) struct Spool {
    file: BufWriter<File>,
    end: u64,
}

impl Spool {
    /// Makes an empty spool.
    pub(super) fn new() -> Result<Self, Error> {
        let file = tempfile::tempfile().map_err(|source| Error::Spool { source })?;
        Ok(Self {
            file: BufWriter::new(file),
            end: 0,
        })
    }

    /// Says where the next content begins.
    pub(super) const fn begin(&self) -> Begun {
        Begun(self.end)
    }

    /// Adds a piece to the content.
    pub(super) fn write(&mut self, piece: &[u8]) -> Result<(), Error> {
        self.file
            .write_all(piece)
            .map_err(|source| Error::Spool { source })?;
        self.end += piece.len() as u64;
        Ok(())
    }

    /// Reads the next entry of an archive, whose content is added; `None` at its end.
    pub(super) fn entry<R: BufRead>(
        &mut self,
        reader: &mut Reader<'_, R>,
    ) -> Result<Option<Entry>, Stop> {
        let mut written = Ok(());
        let entry = reader
            .entry_with(|piece| {
                if written.is_ok() {
                    written = self.write(piece);
                }
            })
            .map_err(|error| Stop::failed(error.to_string()))?;
        written?;
        Ok(entry)
    }

    /// Returns the content written since it was begun.
    pub(super) const fn end(&self, begun: Begun) -> Extent {
        Extent {
            offset: begun.0,
            size: self.end - begun.0,
        }
    }

    /// Puts aside a whole content.
    pub(super) fn put(&mut self, content: &[u8]) -> Result<Extent, Error> {
        let begun = self.begin();
        self.write(content)?;
        Ok(self.end(begun))
    }

    /// Makes everything put aside readable.
    pub(super) fn settle(&mut self) -> Result<(), Error> {
        self.file.flush().map_err(|source| Error::Spool { source })
    }

    /// Returns the bytes of a content, which are small.
    pub(super) fn read(&self, extent: Extent) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.open(extent)
            .read_to_end(&mut bytes)
            .map_err(|source| Error::Spool { source })?;
        Ok(bytes)
    }

    /// Opens a content; what was put since [`Self::settle`] is not there yet.
    pub(super) fn open(&self, extent: Extent) -> ExtentReader<'_> {
        ExtentReader {
            file: self.file.get_ref(),
            at: extent.offset,
            left: extent.size,
        }
    }
}

/// Where a content that is being written begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun(u64);

/// Reads one content.
pub(super) struct ExtentReader<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for ExtentReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}
