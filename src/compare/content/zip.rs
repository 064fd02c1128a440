//! zip: archives of Java, Python and others.
//!
//! Read as its directory at the end says, and only where the members lie as it
//! says: neither over each other nor with another header than their own. Zip64
//! is not read.

use super::{
    Content, Limits,
    pieces::{Cutter, Field, Kind, Packing, Pieces, compare_kind, trimmed},
};
use crate::pair::Pair;

/// What it is called in reports.
pub(super) const NAME: &str = "zip";

const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";

/// The bytes of the record at the end, without its comment.
const END_LENGTH: usize = 22;

/// The fields of a local header after its magic, up to its name (APPNOTE 4.3.7).
const LOCAL_FIELDS: [(usize, Field); 9] = [
    (2, Field::Writer),
    (2, Field::Flags),
    (2, Field::Method),
    (4, Field::Mtime),
    (4, Field::ContentSum),
    (4, Field::PackedSize),
    (4, Field::Size),
    (2, Field::HeaderSize),
    (2, Field::HeaderSize),
];

/// The fields of a header in the directory after its magic, up to its name (APPNOTE 4.3.12).
const CENTRAL_FIELDS: [(usize, Field); 15] = [
    (2, Field::Writer),
    (2, Field::Writer),
    (2, Field::Flags),
    (2, Field::Method),
    (4, Field::Mtime),
    (4, Field::ContentSum),
    (4, Field::PackedSize),
    (4, Field::Size),
    (2, Field::HeaderSize),
    (2, Field::HeaderSize),
    (2, Field::HeaderSize),
    (2, Field::Device),
    (2, Field::Kind),
    (4, Field::Mode),
    (4, Field::Offset),
];

/// A member as the directory has it.
struct Listing {
    name: Vec<u8>,
    offset: usize,
    packed: usize,
    flags: u16,
    method: u16,
}

pub(super) fn is(_path: &[u8], bytes: &[u8]) -> bool {
    bytes.starts_with(LOCAL) || (bytes.len() >= END_LENGTH && end(bytes).is_some())
}

pub(super) fn compare(sides: Pair<&[u8]>, limits: &mut Limits) -> Option<Content> {
    compare_kind(NAME, Kind::Zip, sides, limits)
}

/// Returns where the record at the end begins: the last whose comment ends with the file.
fn end(bytes: &[u8]) -> Option<usize> {
    let last = bytes.len().checked_sub(END_LENGTH)?;
    let first = last.saturating_sub(usize::from(u16::MAX));
    (first..=last).rev().find(|&at| {
        bytes[at..].starts_with(END)
            && usize::from(number16(&bytes[at + 20..])) == bytes.len() - at - END_LENGTH
    })
}

pub(super) fn pieces(bytes: &[u8]) -> Option<Pieces<'_>> {
    let end = end(bytes)?;
    let count = usize::from(number16(&bytes[end + 10..]));
    let directory = number32(&bytes[end + 16..]);
    if directory.checked_add(number32(&bytes[end + 12..]))? != end {
        return None;
    }
    let listings = listings(bytes.get(directory..end)?, count)?;
    let mut cutter = Cutter::new(bytes);
    let mut by_offset: Vec<usize> = (0..listings.len()).collect();
    by_offset.sort_by_key(|&index| listings[index].offset);
    for listing in &listings {
        let packing = match listing.method {
            _ if listing.flags & 1 != 0 => Packing::Unknown,
            0 => Packing::Stored,
            8 => Packing::Deflated,
            _ => Packing::Unknown,
        };
        cutter.member(listing.name.clone(), packing)?;
    }
    for (position, &index) in by_offset.iter().enumerate() {
        let listing = &listings[index];
        let next = by_offset
            .get(position + 1)
            .map_or(directory, |&next| listings[next].offset);
        local(&mut cutter, index, listing, next)?;
    }
    let gap = directory.checked_sub(cutter.at())?;
    cutter.take(gap, None, Field::Stray)?;
    for index in 0..listings.len() {
        central(&mut cutter, index)?;
    }
    cutter.take(4, None, Field::Magic)?;
    cutter.take(4, None, Field::Device)?;
    // How many members there are, twice.
    let counts = cutter.take(4, None, Field::HeaderSize)?;
    if counts[..2] != counts[2..] {
        return None;
    }
    cutter.take(8, None, Field::Offset)?;
    cutter.take(2, None, Field::HeaderSize)?;
    let comment = cutter.rest().len();
    cutter.take(comment, None, Field::Comment)?;
    Some(cutter.finish(show))
}

/// Reads the directory, which must hold `count` members and nothing else.
fn listings(directory: &[u8], count: usize) -> Option<Vec<Listing>> {
    let mut listings = Vec::new();
    let mut rest = directory;
    while !rest.is_empty() {
        let header = rest.get(..46)?;
        if !header.starts_with(CENTRAL) {
            return None;
        }
        let [name, extra, comment] = [28, 30, 32].map(|at| usize::from(number16(&header[at..])));
        listings.push(Listing {
            name: rest.get(46..46 + name)?.to_vec(),
            offset: number32(&header[42..]),
            packed: number32(&header[20..]),
            flags: number16(&header[8..]),
            method: number16(&header[10..]),
        });
        rest = rest.get(46 + name + extra + comment..)?;
    }
    (listings.len() == count).then_some(listings)
}

fn local(cutter: &mut Cutter<'_>, index: usize, listing: &Listing, next: usize) -> Option<()> {
    let member = Some(index);
    // A program may stand before the first member.
    let gap = listing.offset.checked_sub(cutter.at())?;
    cutter.take(gap, None, Field::Stray)?;
    if cutter.take(4, member, Field::Magic)? != LOCAL {
        return None;
    }
    let mut sizes = Vec::new();
    for (length, field) in LOCAL_FIELDS {
        let bytes = cutter.take(length, member, field)?;
        match field {
            Field::HeaderSize => sizes.push(usize::from(number16(bytes))),
            Field::Method if number16(bytes) != listing.method => return None,
            Field::Flags if number16(bytes) != listing.flags => return None,
            _ => {}
        }
    }
    if cutter.take(sizes[0], member, Field::Name)? != listing.name {
        return None;
    }
    extra(cutter, index, sizes[1])?;
    cutter.take(listing.packed, member, Field::Content)?;
    let left = next.checked_sub(cutter.at())?;
    if listing.flags & 8 != 0 {
        // A data descriptor, with or without its magic (APPNOTE 4.3.9).
        if left >= 16 && cutter.rest().starts_with(b"PK\x07\x08") {
            cutter.take(4, member, Field::Magic)?;
        } else if left < 12 {
            return None;
        }
        cutter.take(4, member, Field::ContentSum)?;
        cutter.take(4, member, Field::PackedSize)?;
        cutter.take(4, member, Field::Size)?;
    }
    Some(())
}

fn central(cutter: &mut Cutter<'_>, index: usize) -> Option<()> {
    let member = Some(index);
    cutter.take(4, member, Field::Magic)?;
    let mut sizes = Vec::new();
    for (length, field) in CENTRAL_FIELDS {
        let bytes = cutter.take(length, member, field)?;
        if field == Field::HeaderSize {
            sizes.push(usize::from(number16(bytes)));
        }
    }
    cutter.take(sizes[0], member, Field::Name)?;
    extra(cutter, index, sizes[1])?;
    cutter.take(sizes[2], member, Field::Comment)?;
    Some(())
}

/// Cuts extra fields (APPNOTE 4.5), each with its number and length.
fn extra(cutter: &mut Cutter<'_>, index: usize, length: usize) -> Option<()> {
    let mut left = length;
    while left > 0 {
        let rest = cutter.rest().get(..left)?;
        let whole = rest
            .get(..4)
            .map(|head| 4 + usize::from(number16(&head[2..])))
            .filter(|&whole| whole <= left);
        // Some writers pad with fewer bytes than a field needs.
        let (taken, field) = match whole {
            Some(whole) => (whole, Field::Extra(number16(rest))),
            None => (left, Field::Stray),
        };
        cutter.take(taken, Some(index), field)?;
        left -= taken;
    }
    Some(())
}

/// Reads two bytes; there are as many wherever it is called.
fn number16(bytes: &[u8]) -> u16 {
    u16::from_le_bytes([bytes[0], bytes[1]])
}

fn number32(bytes: &[u8]) -> usize {
    usize::from(number16(bytes)) | usize::from(number16(&bytes[2..])) << 16
}

fn show(field: Field, bytes: &[u8]) -> String {
    match field {
        Field::Mtime => {
            let (time, date) = (number16(bytes), number16(&bytes[2..]));
            format!(
                "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
                1980 + (date >> 9),
                date >> 5 & 15,
                date & 31,
                time >> 11,
                time >> 5 & 63,
                (time & 31) * 2,
            )
        }
        Field::Mode => {
            let attributes = number32(bytes);
            format!("{:06o} {:#06x}", attributes >> 16, attributes & 0xffff)
        }
        Field::Size => number32(bytes).to_string(),
        Field::Method => match number16(bytes) {
            0 => "stored".to_owned(),
            8 => "deflate".to_owned(),
            other => format!("method {other}"),
        },
        Field::Extra(_) => hex::encode(&bytes[4.min(bytes.len())..]),
        Field::Name | Field::Comment => trimmed(bytes),
        _ => hex::encode(bytes),
    }
}
