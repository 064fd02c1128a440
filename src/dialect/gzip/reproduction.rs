//! Reproduction: a tar and a published layer → whether a compressor leads from one to the other.

use std::io::{self, Read, Write};

use super::Compressor;

/// How much of the tar is compressed before the outcome so far is looked at.
const STEP: usize = 1 << 16;

/// Whether compressing again has given the published bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reproduction {
    /// It has, to the last byte.
    Exact,
    /// It has not.
    DiffersAt {
        /// Where in the compressed bytes the first differing one is, or where one side ends.
        offset: u64,
    },
}

/// Compresses the tar and compares with what was published, while reading both.
///
/// Stops soon after the first difference. What [`super::candidates`] offers
/// can be tried one after the other, each with fresh readers.
///
/// # Errors
///
/// Fails as either reader does.
pub fn reproduce(
    compressor: Compressor,
    mut uncompressed: impl Read,
    published: impl Read,
) -> io::Result<Reproduction> {
    let mut writer = compressor.writer(Comparison {
        published,
        piece: Vec::new(),
        equal_bytes: 0,
        outcome: Reproduction::Exact,
    });
    let mut step = vec![0; STEP];
    while let Reproduction::Exact = writer.sink().outcome {
        let length = match uncompressed.read(&mut step) {
            Ok(0) => return writer.finish()?.at_end(),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        writer.write_all(&step[..length])?;
    }
    Ok(writer.sink().outcome)
}

/// A sink that compares what it is given with what was published.
struct Comparison<R> {
    published: R,
    piece: Vec<u8>,
    equal_bytes: u64,
    outcome: Reproduction,
}

impl<R: Read> Comparison<R> {
    fn at_end(mut self) -> io::Result<Reproduction> {
        if let Reproduction::Exact = self.outcome
            && self.read(1)? > 0
        {
            self.outcome = Reproduction::DiffersAt {
                offset: self.equal_bytes,
            };
        }
        Ok(self.outcome)
    }

    /// Reads the next published bytes into `piece`, fewer only if there are no more.
    fn read(&mut self, length: usize) -> io::Result<usize> {
        self.piece.clear();
        self.published
            .by_ref()
            .take(length as u64)
            .read_to_end(&mut self.piece)
    }
}

impl<R: Read> Write for Comparison<R> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Reproduction::Exact = self.outcome {
            self.read(bytes.len())?;
            let equal = bytes
                .iter()
                .zip(&self.piece)
                .take_while(|(ours, theirs)| ours == theirs)
                .count();
            self.equal_bytes += equal as u64;
            if equal < bytes.len() {
                self.outcome = Reproduction::DiffersAt {
                    offset: self.equal_bytes,
                };
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::gzip::GoLevel;

    fn gzip(input: &[u8]) -> Vec<u8> {
        let mut writer = Compressor::GoGzip(GoLevel::DEFAULT).writer(Vec::new());
        writer.write_all(input).unwrap();
        writer.finish().unwrap()
    }

    /// Noise, so that many compressed bytes come out.
    fn tar() -> Vec<u8> {
        (0..300_000_u32)
            .map(|n| n.wrapping_mul(n).wrapping_mul(0x9e37_79b9).to_be_bytes()[1])
            .collect()
    }

    #[test]
    fn the_first_differing_byte_is_found_wherever_it_is() {
        let tar = tar();
        let published = gzip(&tar);
        let end = published.len() as u64;
        let changed = |offset: usize| {
            let mut changed = published.clone();
            changed[offset] ^= 1;
            changed
        };
        let differs_at = |offset| Reproduction::DiffersAt { offset };
        let cases = [
            ("equal", published.clone(), Reproduction::Exact),
            ("header", changed(9), differs_at(9)),
            ("middle", changed(150_000), differs_at(150_000)),
            (
                "last byte",
                changed(published.len() - 1),
                differs_at(end - 1),
            ),
            (
                "cut off",
                published[..published.len() - 3].to_vec(),
                differs_at(end - 3),
            ),
            (
                "more after the end",
                [&published[..], b"\0"].concat(),
                differs_at(end),
            ),
            ("empty", Vec::new(), differs_at(0)),
        ];
        for (case, published, expected) in cases {
            let compressor = Compressor::GoGzip(GoLevel::DEFAULT);
            let outcome = reproduce(compressor, &tar[..], &published[..]).unwrap();
            assert_eq!(outcome, expected, "{case}");
        }
    }

    #[test]
    fn an_uncompressed_layer_is_compared_as_it_is() {
        let reproduced =
            |published: &[u8]| reproduce(Compressor::Uncompressed, &b"abc"[..], published);
        assert_eq!(reproduced(b"abc").unwrap(), Reproduction::Exact);
        assert_eq!(
            reproduced(b"abd").unwrap(),
            Reproduction::DiffersAt { offset: 2 }
        );
    }

    #[test]
    fn little_is_read_after_a_difference() {
        struct Endless(u64);
        impl Read for Endless {
            fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
                bytes.fill(b'x');
                self.0 += bytes.len() as u64;
                Ok(bytes.len())
            }
        }
        let mut tar = Endless(0);
        let compressor = Compressor::GoGzip(GoLevel::new(0).unwrap());
        let outcome = reproduce(compressor, &mut tar, &b"nothing of the kind"[..]).unwrap();
        assert_eq!(outcome, Reproduction::DiffersAt { offset: 0 });
        assert!(tar.0 <= 4 << 16, "{} bytes were read", tar.0);
    }

    #[test]
    fn a_reader_that_fails_is_an_error_and_no_difference() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
        let compressor = Compressor::GoGzip(GoLevel::DEFAULT);
        let kind = |outcome: io::Result<Reproduction>| outcome.unwrap_err().kind();
        let reset = io::ErrorKind::ConnectionReset;
        assert_eq!(
            kind(reproduce(compressor, Broken, io::empty())),
            reset,
            "tar"
        );
        assert_eq!(
            kind(reproduce(compressor, io::empty(), Broken)),
            reset,
            "published"
        );
    }
}
