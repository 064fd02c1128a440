//! Decompression of what lies in a file, within the limits.
//!
//! What is inflated is paid for whether or not it can be used, so that many
//! streams which each go too far end as soon as one does.

use std::io::Read;

use flate2::{Decompress, FlushDecompress, Status};

use super::Limits;

/// How much is inflated at a time.
const BLOCK: usize = 64 << 10;

/// The window that zstd may ask for, as a power of two: 128 MiB, what the reference decoder accepts.
const LARGEST_ZSTD_WINDOW: u32 = 27;

/// The memory that xz may ask for: above what `xz -9` needs.
const XZ_MEMORY: u64 = 128 << 20;

/// Returns what a deflate stream (RFC 1951) at the beginning of `bytes` holds, and its length.
pub(super) fn deflate(bytes: &[u8], limits: &mut Limits) -> Option<(Vec<u8>, usize)> {
    let mut inflater = Decompress::new(false);
    let mut content = Vec::new();
    let mut block = vec![0; BLOCK];
    loop {
        let (consumed, made) = (inflater.total_in(), inflater.total_out());
        let rest = &bytes[usize::try_from(consumed).ok()?..];
        let status = inflater.decompress(rest, &mut block, FlushDecompress::None);
        let count = inflater.total_out() - made;
        limits.bytes = limits.bytes.checked_sub(count).or_else(|| {
            limits.bytes = 0;
            None
        })?;
        content.extend_from_slice(&block[..usize::try_from(count).ok()?]);
        match status.ok()? {
            Status::StreamEnd => {
                return Some((content, usize::try_from(inflater.total_in()).ok()?));
            }
            Status::Ok | Status::BufError => {
                if count == 0 && inflater.total_in() == consumed {
                    return None;
                }
            }
        }
    }
}

/// Returns what all members of a gzip file hold.
pub(super) fn gzip(bytes: &[u8], limits: &mut Limits) -> Option<Vec<u8>> {
    read(flate2::bufread::MultiGzDecoder::new(bytes), limits)
}

/// Returns what an xz file holds.
pub(super) fn xz(bytes: &[u8], limits: &mut Limits) -> Option<Vec<u8>> {
    let stream =
        liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)
            .ok()?;
    read(
        liblzma::bufread::XzDecoder::new_stream(bytes, stream),
        limits,
    )
}

/// Returns what a bzip2 file holds.
pub(super) fn bzip2(bytes: &[u8], limits: &mut Limits) -> Option<Vec<u8>> {
    read(bzip2::bufread::MultiBzDecoder::new(bytes), limits)
}

/// Returns what a zstd file holds.
pub(super) fn zstd(bytes: &[u8], limits: &mut Limits) -> Option<Vec<u8>> {
    let mut decoder = zstd::Decoder::with_buffer(bytes).ok()?;
    decoder.window_log_max(LARGEST_ZSTD_WINDOW).ok()?;
    read(decoder, limits)
}

fn read(mut reader: impl Read, limits: &mut Limits) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    let read = reader
        .by_ref()
        .take(limits.bytes.saturating_add(1))
        .read_to_end(&mut content);
    let size = content.len() as u64;
    let within = size <= limits.bytes;
    limits.bytes = limits.bytes.saturating_sub(size);
    (read.is_ok() && within).then_some(content)
}
