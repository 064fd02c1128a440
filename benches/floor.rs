//! The least that comparing a layer can cost: inflating it, and hashing it both ways.
//!
//! Run as a program on one gzip layer; prints the digest and the diffID. Two of
//! these side by side are what `benches/pair` measures `reprove diff` against.

use std::{
    error::Error,
    fs::File,
    io::{self, BufReader, Read, Write},
};

use flate2::bufread::MultiGzDecoder;
use reprove::digest::Hasher;

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

fn main() -> Result<(), Box<dyn Error>> {
    // `cargo test` and `cargo bench` start every bench target without a layer.
    let Some(path) = std::env::args()
        .skip(1)
        .find(|word| !word.starts_with("--"))
    else {
        return Ok(());
    };
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
    writeln!(
        io::stdout(),
        "{} {}",
        compressed.finish(),
        uncompressed.finish()
    )?;
    Ok(())
}
