//! xz, bzip2 and zstd: what is inside.

use super::{Content, Limits, inflate, listed::Listed};
use crate::pair::Pair;

/// What they are called in reports.
pub(super) const XZ: &str = "xz";
pub(super) const BZIP2: &str = "bzip2";
pub(super) const ZSTD: &str = "zstd";

pub(super) fn is_xz(_path: &[u8], bytes: &[u8]) -> bool {
    bytes.starts_with(b"\xfd7zXZ\0")
}

pub(super) fn is_bzip2(_path: &[u8], bytes: &[u8]) -> bool {
    bytes.starts_with(b"BZh") && bytes.get(4..10) == Some(b"1AY&SY")
}

pub(super) fn is_zstd(_path: &[u8], bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x28\xb5\x2f\xfd")
}

pub(super) fn compare_xz(sides: Pair<&[u8]>, limits: &mut Limits) -> Option<Content> {
    compare(XZ, inflate::xz, sides, limits)
}

pub(super) fn compare_bzip2(sides: Pair<&[u8]>, limits: &mut Limits) -> Option<Content> {
    compare(BZIP2, inflate::bzip2, sides, limits)
}

pub(super) fn compare_zstd(sides: Pair<&[u8]>, limits: &mut Limits) -> Option<Content> {
    compare(ZSTD, inflate::zstd, sides, limits)
}

fn compare(
    format: &'static str,
    inflate: fn(&[u8], &mut Limits) -> Option<Vec<u8>>,
    sides: Pair<&[u8]>,
    limits: &mut Limits,
) -> Option<Content> {
    let published = inflate(sides.published, limits)?;
    let rebuilt = inflate(sides.rebuilt, limits)?;
    let mut listed = Listed::new(format, limits);
    if published == rebuilt {
        let size = |bytes: &[u8]| Some(format!("{} bytes for the same content", bytes.len()));
        listed.value("compressed", sides.map(size));
        listed.all_ranges(sides);
    } else {
        listed.inside("inflated", b"", Pair::new(&published, &rebuilt));
    }
    Some(listed.finish())
}
