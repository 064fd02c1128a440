//! gzip: what the header says, and what is inside.

use flate2::Crc;

use super::{
    Content, Limits, inflate,
    listed::Listed,
    pieces::{Cutter, Field, Kind, Packing, Pieces, compare as compare_pieces, trimmed},
};
use crate::pair::Pair;

/// What it is called in reports.
pub(super) const NAME: &str = "gzip";

pub(super) fn is(_path: &[u8], bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x1f\x8b\x08")
}

pub(super) fn compare(sides: Pair<&[u8]>, limits: &mut Limits) -> Option<Content> {
    let published = Pieces::of(Kind::Gzip, sides.published, limits)?;
    let rebuilt = Pieces::of(Kind::Gzip, sides.rebuilt, limits)?;
    let pieces = Pair::new(&published, &rebuilt);
    if pieces.map(|side| side.names().count()) == Pair::new(1, 1) {
        return Some(compare_pieces(NAME, pieces, limits));
    }
    // Members make one stream, wherever they are cut.
    let mut listed = Listed::new(NAME, limits);
    listed.value(
        "members",
        pieces.map(|side| Some(side.names().count().to_string())),
    );
    let published = inflate::gzip(sides.published, listed.limits);
    let rebuilt = inflate::gzip(sides.rebuilt, listed.limits);
    if let (Some(published), Some(rebuilt)) = (published, rebuilt) {
        listed.inside("inflated", b"", Pair::new(&published, &rebuilt));
    }
    if listed.is_empty() {
        listed.all_ranges(sides);
    }
    Some(listed.finish())
}

/// Cuts at the fields of RFC 1952, section 2.3; checksums are verified.
pub(super) fn pieces<'a>(bytes: &'a [u8], limits: &mut Limits) -> Option<Pieces<'a>> {
    let mut cutter = Cutter::new(bytes);
    while is(b"", cutter.rest()) {
        let member = cutter.next();
        cutter.take(2, member, Field::Magic)?;
        cutter.take(1, member, Field::Method)?;
        let flags = cutter.take(1, member, Field::Flags)?[0];
        cutter.take(4, member, Field::Mtime)?;
        cutter.take(2, member, Field::Writer)?;
        if flags & 4 != 0 {
            let length = cutter.take(2, member, Field::HeaderSize)?;
            let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
            cutter.take(length, member, Field::Extension)?;
        }
        for (flag, field) in [(8, Field::Name), (16, Field::Comment)] {
            if flags & flag != 0 {
                let end = cutter.rest().iter().position(|&byte| byte == 0)?;
                cutter.take(end + 1, member, field)?;
            }
        }
        if flags & 2 != 0 {
            cutter.take(2, member, Field::HeaderSum)?;
        }
        let (content, packed) = inflate::deflate(cutter.rest(), limits)?;
        cutter.take(packed, member, Field::Content)?;
        let mut crc = Crc::new();
        crc.update(&content);
        let sum = cutter.take(4, member, Field::ContentSum)?;
        let size = cutter.take(4, member, Field::Size)?;
        if sum != crc.sum().to_le_bytes() || size != crc.amount().to_le_bytes() {
            return None;
        }
        cutter.member(b"stream".to_vec(), Packing::Deflated)?;
    }
    (!cutter.members.is_empty()).then(|| cutter.finish(show))
}

fn show(field: Field, bytes: &[u8]) -> String {
    match (field, bytes) {
        (Field::Mtime | Field::Size, &[a, b, c, d]) => u32::from_le_bytes([a, b, c, d]).to_string(),
        (Field::Flags, &[flags]) => format!("{flags:#04x}"),
        (Field::Writer, &[extra_flags, system]) => {
            format!("XFL {extra_flags}, OS {system}")
        }
        _ => trimmed(bytes),
    }
}
