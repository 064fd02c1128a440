//! Compiled Python: what the header says of the source, and the code.

use super::{
    Content, Limits,
    pieces::{Cutter, Field, Kind, Packing, Pieces, compare_kind, trimmed},
};
use crate::pair::Pair;

/// What it is called in reports.
pub(super) const NAME: &str = "pyc";

pub(super) fn is(_path: &[u8], bytes: &[u8]) -> bool {
    bytes.get(2..4) == Some(b"\r\n") && pieces(bytes).is_some()
}

pub(super) fn compare(sides: Pair<&[u8]>, limits: &mut Limits) -> Option<Content> {
    compare_kind(NAME, Kind::Pyc, sides, limits)
}

/// Cuts the header from the code.
///
/// Source: `CPython`, `Lib/importlib/_bootstrap_external.py`, `MAGIC_NUMBER` and
/// `_classify_pyc`, and PEP 552 for the flags since 3.7.
pub(super) fn pieces(bytes: &[u8]) -> Option<Pieces<'_>> {
    let mut cutter = Cutter::new(bytes);
    let magic = cutter.take(4, None, Field::Magic)?;
    if magic[2..] != *b"\r\n" {
        return None;
    }
    match u16::from_le_bytes([magic[0], magic[1]]) {
        // 3.7 and later.
        3390..4000 => {
            let flags = cutter.take(4, None, Field::Flags)?;
            match u32::from_le_bytes([flags[0], flags[1], flags[2], flags[3]]) {
                0 => {
                    cutter.take(4, None, Field::Mtime)?;
                    cutter.take(4, None, Field::Size)?;
                }
                1 | 3 => {
                    cutter.take(8, None, Field::ContentSum)?;
                }
                _ => return None,
            }
        }
        // 3.3 to 3.6.
        3200..3390 => {
            cutter.take(4, None, Field::Mtime)?;
            cutter.take(4, None, Field::Size)?;
        }
        // 2.0 to 2.7, and 3.0 to 3.2.
        3000..3200 | 50823..=62211 => {
            cutter.take(4, None, Field::Mtime)?;
        }
        _ => return None,
    }
    // Marshalled code begins with its type, with or without the flag of a reference.
    if cutter.rest().first()? & 0x7f != b'c' {
        return None;
    }
    let code = cutter.rest().len();
    cutter.take(code, cutter.next(), Field::Content)?;
    cutter.member(b"code".to_vec(), Packing::Stored)?;
    Some(cutter.finish(show))
}

fn show(field: Field, bytes: &[u8]) -> String {
    match (field, bytes) {
        (Field::Mtime | Field::Size | Field::Flags, &[a, b, c, d]) => {
            u32::from_le_bytes([a, b, c, d]).to_string()
        }
        (Field::Magic, &[a, b, ..]) => u16::from_le_bytes([a, b]).to_string(),
        (Field::ContentSum, _) => hex::encode(bytes),
        _ => trimmed(bytes),
    }
}
