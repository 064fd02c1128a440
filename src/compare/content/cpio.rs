//! cpio in its portable format: initial RAM file systems and the payload of RPM packages.

use super::{
    Content, Limits,
    pieces::{Cutter, Field, Kind, Packing, Pieces, compare_kind, trimmed},
};
use crate::pair::Pair;

/// What it is called in reports.
pub(super) const NAME: &str = "cpio";

/// The fields of a header after its magic, each of eight hexadecimal digits (cpio(5), "newc").
const FIELDS: [Field; 13] = [
    Field::Inode,
    Field::Mode,
    Field::Owner,
    Field::Group,
    Field::Kind,
    Field::Mtime,
    Field::Size,
    Field::Inode,
    Field::Inode,
    Field::Device,
    Field::Device,
    Field::HeaderSize,
    Field::ContentSum,
];

pub(super) fn is(_path: &[u8], bytes: &[u8]) -> bool {
    bytes.starts_with(b"070701") || bytes.starts_with(b"070702")
}

pub(super) fn compare(sides: Pair<&[u8]>, limits: &mut Limits) -> Option<Content> {
    compare_kind(NAME, Kind::Cpio, sides, limits)
}

pub(super) fn pieces(bytes: &[u8]) -> Option<Pieces<'_>> {
    let mut cutter = Cutter::new(bytes);
    loop {
        let member = cutter.next();
        if !is(b"", cutter.take(6, member, Field::Magic)?) {
            return None;
        }
        let (mut name_size, mut size) = (0, 0);
        for field in FIELDS {
            let digits = str::from_utf8(cutter.take(8, member, field)?).ok()?;
            let number = usize::try_from(u32::from_str_radix(digits, 16).ok()?).ok()?;
            match field {
                Field::Size => size = number,
                Field::HeaderSize => name_size = number,
                _ => {}
            }
        }
        let name = cutter.take(name_size, member, Field::Name)?;
        let name = name.strip_suffix(b"\0").unwrap_or(name);
        let at = cutter.at();
        cutter.pad(at.next_multiple_of(4) - at, member)?;
        cutter.member(name.to_vec(), Packing::Stored)?;
        cutter.take(size, member, Field::Content)?;
        if name == b"TRAILER!!!" {
            return Some(cutter.finish(show));
        }
        let at = cutter.at();
        cutter.pad(at.next_multiple_of(4) - at, member)?;
    }
}

fn show(field: Field, bytes: &[u8]) -> String {
    let number = str::from_utf8(bytes)
        .ok()
        .and_then(|digits| u32::from_str_radix(digits, 16).ok());
    match (field, number) {
        (Field::Name | Field::Magic, _) | (_, None) => trimmed(bytes),
        (Field::Mode, Some(number)) => format!("{number:06o}"),
        (_, Some(number)) => number.to_string(),
    }
}
