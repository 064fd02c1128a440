//! ar: static libraries and Debian packages.

use super::{
    Content, Limits,
    pieces::{Cutter, Field, Kind, Packing, Pieces, compare_kind, trimmed},
};
use crate::pair::Pair;

/// What it is called in reports.
pub(super) const NAME: &str = "ar";

const MAGIC: &[u8] = b"!<arch>\n";

/// The fields of a member's header, and their lengths in bytes (ar(5)).
const FIELDS: [(usize, Field); 7] = [
    (16, Field::Name),
    (12, Field::Mtime),
    (6, Field::Owner),
    (6, Field::Group),
    (8, Field::Mode),
    (10, Field::Size),
    (2, Field::Magic),
];

pub(super) fn is(_path: &[u8], bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

pub(super) fn compare(sides: Pair<&[u8]>, limits: &mut Limits) -> Option<Content> {
    compare_kind(NAME, Kind::Ar, sides, limits)
}

pub(super) fn pieces(bytes: &[u8]) -> Option<Pieces<'_>> {
    let mut cutter = Cutter::new(bytes);
    if cutter.take(MAGIC.len(), None, Field::Magic)? != MAGIC {
        return None;
    }
    let mut long_names: &[u8] = &[];
    while !cutter.rest().is_empty() {
        let member = cutter.next();
        let mut size = 0;
        let mut raw_name: &[u8] = &[];
        for (length, field) in FIELDS {
            let bytes = cutter.take(length, member, field)?;
            match field {
                Field::Name => raw_name = bytes,
                Field::Size => size = str::from_utf8(bytes).ok()?.trim_end().parse().ok()?,
                Field::Magic if bytes != b"`\n" => return None,
                _ => {}
            }
        }
        let raw_name = raw_name.trim_ascii_end();
        let name = if let Some(length) = raw_name.strip_prefix(b"#1/") {
            // BSD: the name comes before the content, and is counted with it.
            let length: usize = str::from_utf8(length).ok()?.parse().ok()?;
            size = usize::checked_sub(size, length)?;
            let name = cutter.take(length, member, Field::Name)?;
            name.split(|&byte| byte == 0)
                .next()
                .unwrap_or_default()
                .to_vec()
        } else if let Some(offset) = raw_name
            .strip_prefix(b"/")
            .and_then(|digits| str::from_utf8(digits).ok()?.parse::<usize>().ok())
        {
            // GNU: the name is a line in a member before.
            let name = long_names.get(offset..)?;
            let end = name.iter().position(|&byte| byte == b'\n')?;
            let name = &name[..end];
            name.strip_suffix(b"/").unwrap_or(name).to_vec()
        } else if raw_name.starts_with(b"/") {
            raw_name.to_vec()
        } else {
            raw_name.strip_suffix(b"/").unwrap_or(raw_name).to_vec()
        };
        cutter.member(name, Packing::Stored)?;
        let content = cutter.take(size, member, Field::Content)?;
        if raw_name == b"//" {
            long_names = content;
        }
        // Two members begin at even offsets; the last needs no padding.
        if cutter.at() % 2 == 1 && !cutter.rest().is_empty() {
            cutter.take(1, member, Field::Stray)?;
        }
    }
    Some(cutter.finish(show))
}

fn show(_field: Field, bytes: &[u8]) -> String {
    trimmed(bytes)
}
