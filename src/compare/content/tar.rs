//! tar, block by block: ustar, GNU and PAX.

use super::{
    Content, Limits,
    pieces::{Cutter, Field, Kind, Packing, Pieces, compare_kind, trimmed},
};
use crate::pair::Pair;

/// What it is called in reports.
pub(super) const NAME: &str = "tar";

const BLOCK: usize = 512;

/// The fields of a header, and their lengths in bytes (POSIX pax, "ustar Interchange Format").
const FIELDS: [(usize, Field); 17] = [
    (100, Field::Name),
    (8, Field::Mode),
    (8, Field::Owner),
    (8, Field::Group),
    (12, Field::Size),
    (12, Field::Mtime),
    (8, Field::HeaderSum),
    (1, Field::Kind),
    (100, Field::LinkTarget),
    (8, Field::Magic),
    (32, Field::OwnerName),
    (32, Field::GroupName),
    (8, Field::Device),
    (8, Field::Device),
    // A GNU header has its times here and no prefix; either is shown as it is written.
    (131, Field::Name),
    (24, Field::Name),
    (12, Field::Stray),
];

pub(super) fn is(_path: &[u8], bytes: &[u8]) -> bool {
    header(bytes).is_some()
}

pub(super) fn compare(sides: Pair<&[u8]>, limits: &mut Limits) -> Option<Content> {
    compare_kind(NAME, Kind::Tar, sides, limits)
}

/// Returns the header at the beginning of `bytes`, if its checksum is right.
fn header(bytes: &[u8]) -> Option<&::tar::Header> {
    let block = bytes.get(..BLOCK)?;
    let header = ::tar::Header::from_byte_slice(block);
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, &byte)| u32::from(if (148..156).contains(&at) { b' ' } else { byte }))
        .sum();
    (header.cksum().ok()? == sum && sum != 8 * 32).then_some(header)
}

pub(super) fn pieces(bytes: &[u8]) -> Option<Pieces<'_>> {
    let mut cutter = Cutter::new(bytes);
    let mut name = None;
    let mut size = None;
    while let Some(header) = header(cutter.rest()) {
        let member = cutter.next();
        let kind = header.as_bytes()[156];
        let extends = matches!(kind, b'x' | b'g' | b'L' | b'K');
        for (length, field) in FIELDS {
            match field {
                // An extension's own size follows from its records, which are compared.
                Field::Size if extends => cutter.take(length, member, Field::HeaderSize)?,
                Field::Stray => {
                    cutter.pad(length, member)?;
                    continue;
                }
                _ => cutter.take(length, member, field)?,
            };
        }
        let mut length = usize::try_from(header.entry_size().ok()?).ok()?;
        match kind {
            b'x' | b'g' => {
                let records = cutter.rest().get(..length)?;
                let mut at = 0;
                while at < length {
                    let (record, key, value) = record(&records[at..])?;
                    let field = match key {
                        b"mtime" => Field::Mtime,
                        b"atime" | b"ctime" => Field::OtherTime,
                        _ => Field::Extension,
                    };
                    if kind == b'x' && key == b"path" {
                        name = Some(value.to_vec());
                    }
                    if kind == b'x' && key == b"size" {
                        size = Some(str::from_utf8(value).ok()?.parse().ok()?);
                    }
                    cutter.take(record, member, field)?;
                    at += record;
                }
            }
            b'L' | b'K' => {
                let long = cutter.take(length, member, Field::Extension)?;
                if kind == b'L' {
                    let end = long.iter().position(|&byte| byte == 0);
                    name = Some(long[..end.unwrap_or(long.len())].to_vec());
                }
            }
            _ => {
                if let Some(size) = size.take() {
                    length = size;
                }
                if kind == b'S' && header.as_bytes()[482] != 0 {
                    // More of the map of a sparse file follows; the last block of it says so.
                    while cutter.take(BLOCK, member, Field::Extension)?[504] != 0 {}
                }
                // Of these, whatever the size says, no content follows.
                if matches!(kind, b'1'..=b'6') {
                    length = 0;
                }
                let path = name
                    .take()
                    .unwrap_or_else(|| header.path_bytes().into_owned());
                cutter.member(path, Packing::Stored)?;
                cutter.take(length, member, Field::Content)?;
            }
        }
        cutter.pad(length.next_multiple_of(BLOCK) - length, member)?;
    }
    // Anything but zeros here is no end of an archive that was read right.
    let ends = cutter.rest().iter().take(BLOCK).all(|&byte| byte == 0);
    (ends && !cutter.members.is_empty()).then(|| cutter.finish(show))
}

/// Returns the length of the PAX record that `bytes` begin with, its key and its value.
fn record(bytes: &[u8]) -> Option<(usize, &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|&byte| byte == b' ')?;
    let length: usize = str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    let record = bytes.get(..length)?.get(space + 1..)?;
    let record = record.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    Some((length, &record[..equals], &record[equals + 1..]))
}

fn show(field: Field, bytes: &[u8]) -> String {
    let text = trimmed(bytes);
    match field {
        Field::Size | Field::Mtime if bytes.len() == 12 => {
            u64::from_str_radix(text.trim_start(), 8).map_or(text, |number| number.to_string())
        }
        Field::Mode | Field::Owner | Field::Group => {
            let digits = text.trim_start().trim_start_matches('0');
            let all_octal = digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
            match u64::from_str_radix(digits, 8) {
                Ok(number) if field != Field::Mode => number.to_string(),
                Ok(number) => format!("{number:04o}"),
                Err(_) if all_octal => "0".to_owned(),
                Err(_) => text,
            }
        }
        _ => text,
    }
}
