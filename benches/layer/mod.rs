//! The least that comparing a layer can cost.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

use flate2::bufread::MultiGzDecoder;
use reprove::digest::{Digest, Hasher};

/// Bytes read or inflated at a time, as when layers are read.
const BUFFER: usize = 1 << 17;

/// Hashes what is read through it.
struct Hashed<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

/// Inflates a gzip layer, and returns its digest and the hash of what it holds.
pub(crate) fn hashed(path: &Path) -> io::Result<(Digest, Digest)> {
    let compressed = Hashed {
        inner: File::open(path)?,
        hasher: Hasher::default(),
    };
    let mut tar = MultiGzDecoder::new(BufReader::with_capacity(BUFFER, compressed));
    let mut uncompressed = Hasher::default();
    let mut buffer = vec![0; BUFFER];
    loop {
        match tar.read(&mut buffer)? {
            0 => break,
            count => uncompressed.update(&buffer[..count]),
        }
    }
    let compressed = tar.into_inner().into_inner().hasher;
    Ok((compressed.finish(), uncompressed.finish()))
}
