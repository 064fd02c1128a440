//! The least that comparing a layer can cost: inflating it, and hashing it both ways.
//!
//! Run as a program on one gzip layer; prints the digest and the diffID. Two of
//! these side by side are what `benches/pair` measures `reprove diff` against.

mod layer;

use std::{
    io::{self, Write},
    path::Path,
};

fn main() -> io::Result<()> {
    // `cargo test` and `cargo bench` start every bench target without a layer.
    let Some(path) = std::env::args()
        .skip(1)
        .find(|word| !word.starts_with("--"))
    else {
        return Ok(());
    };
    let (digest, diff_id) = layer::hashed(Path::new(&path))?;
    writeln!(io::stdout(), "{digest} {diff_id}")
}
