//! Archives cut into pieces: every byte of the file is in exactly one of them.
//!
//! That is what makes a proof of "only these fields differ": where all other
//! pieces are equal, in the same order, nothing else in the file differs.
//! Crates that read archives drop what they have no field for, and so cannot
//! show it; this is why the cutting is done here.

use std::{collections::BTreeMap, ops::Range};

use super::{Content, Limits, ar, cpio, gzip, inflate, listed::Listed, pyc, tar, zip};
use crate::{image::entry::Printable, pair::Pair};

/// The most members of an archive that is taken apart.
const MOST_MEMBERS: usize = 100_000;

/// What a piece of an archive is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// What says which format it is, and where a header is.
    Magic,
    /// A member's name, or a part of how it is recorded.
    Name,
    /// Where a link leads.
    LinkTarget,
    /// What a member is.
    Kind,
    /// Permissions.
    Mode,
    /// The owner's number.
    Owner,
    /// The group's number.
    Group,
    /// The owner's name.
    OwnerName,
    /// The group's name.
    GroupName,
    /// The number of bytes in a member or of a link's target.
    Size,
    /// When a member was changed last.
    Mtime,
    /// When a member was read, or its status changed, or the archive was made.
    OtherTime,
    /// The numbers of a device.
    Device,
    /// The numbers of a file on the disk that it was packed from.
    Inode,
    /// How a reader is to take the rest.
    Flags,
    /// The program, its version, or the system that wrote it.
    Writer,
    /// How a member is compressed.
    Method,
    /// An extension, by its number.
    Extra(u16),
    /// An extension, by its name being in its bytes.
    Extension,
    /// A remark.
    Comment,
    /// A checksum of the header alone, which was verified.
    HeaderSum,
    /// The number of bytes in a part of the header, where it was found to be so.
    HeaderSize,
    /// Where something lies, where it was found to be so.
    Offset,
    /// A checksum of the content.
    ContentSum,
    /// The number of compressed bytes.
    PackedSize,
    /// A member's content, as it is packed.
    Content,
    /// Zeros up to the next multiple of a block.
    Zeros,
    /// Bytes of no meaning that are not all zero, or should not be there.
    Stray,
    /// What follows the last member.
    End,
}

/// An archive cut into pieces.
#[derive(Debug)]
pub struct Pieces<'a> {
    bytes: &'a [u8],
    all: Vec<Piece>,
    members: Vec<Member>,
    /// Where each member's content lies.
    contents: Vec<Range<usize>>,
    /// Writes a field as reports show it.
    show: fn(Field, &[u8]) -> String,
}

/// A stretch of an archive.
#[derive(Debug, Clone)]
struct Piece {
    /// The member that it belongs to, by position; `None` for the archive's own.
    member: Option<usize>,
    field: Field,
    range: Range<usize>,
}

/// A piece that must be equal: its member's name, its field, its bytes.
type Kept<'a> = (Option<&'a [u8]>, Field, &'a [u8]);

/// A member of an archive.
#[derive(Debug)]
pub(super) struct Member {
    /// Its name as the archive's readers take it.
    pub(super) name: Vec<u8>,
    /// How its content is packed.
    pub(super) packing: Packing,
}

/// How a member's content is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    /// As it is.
    Stored,
    /// By deflate, without a header.
    Deflated,
    /// In a way that is not read here.
    Unknown,
}

/// Whether members may be in another order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// They must be in the same.
    Same,
    /// They may be in any.
    Any,
}

/// The formats that are cut into pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// tar.
    Tar,
    /// zip, and so jar and whl.
    Zip,
    /// ar: static libraries and .deb.
    Ar,
    /// cpio, the portable format ("newc").
    Cpio,
    /// gzip.
    Gzip,
    /// Compiled Python.
    Pyc,
}

/// Cuts a file into pieces.
pub(super) struct Cutter<'a> {
    bytes: &'a [u8],
    at: usize,
    pieces: Vec<Piece>,
    pub(super) members: Vec<Member>,
}

impl<'a> Pieces<'a> {
    /// Cuts a file of a kind into its pieces; `None` if it is none, or cannot be read to its end.
    ///
    /// Inflates no more than `limits` allow, and only where the format says in no
    /// other way where something ends.
    pub fn of(kind: Kind, bytes: &'a [u8], limits: &mut Limits) -> Option<Self> {
        match kind {
            Kind::Tar => tar::pieces(bytes),
            Kind::Zip => zip::pieces(bytes),
            Kind::Ar => ar::pieces(bytes),
            Kind::Cpio => cpio::pieces(bytes),
            Kind::Gzip => gzip::pieces(bytes, limits),
            Kind::Pyc => pyc::pieces(bytes),
        }
    }

    /// Returns the first piece that differs and is not `allowed` to; `None` if there is none.
    ///
    /// With [`Order::Any`], two members of one name are never taken for the same.
    pub fn beyond(
        sides: Pair<&Self>,
        order: Order,
        allowed: impl Fn(&[u8], Field) -> bool,
    ) -> Option<String> {
        let mut kept = sides.map(|side| side.kept(&allowed));
        if order == Order::Any {
            for (side, kept) in [
                (sides.published, &mut kept.published),
                (sides.rebuilt, &mut kept.rebuilt),
            ] {
                let mut names: Vec<&[u8]> = side.names().collect();
                names.sort_unstable();
                if let Some(twice) = names.windows(2).find(|names| names[0] == names[1]) {
                    return Some(format!("there are two members {}", Printable(twice[0])));
                }
                // Stable: pieces of one member stay in order.
                kept.sort_by_key(|(name, _, _)| *name);
            }
        }
        let names = sides.map(|side| {
            let mut names: Vec<&[u8]> = side.names().collect();
            if order == Order::Any {
                names.sort_unstable();
            }
            names
        });
        if !names.is_equal() {
            return Some("the members are others, or in another order".to_owned());
        }
        let both = kept.published.iter().zip(&kept.rebuilt);
        for (published, rebuilt) in both {
            if published != rebuilt {
                let (name, field, _) = published;
                return Some(place(*name, *field));
            }
        }
        (kept.published.len() != kept.rebuilt.len())
            .then(|| "a member has more fields on one side".to_owned())
    }

    fn kept(&self, allowed: &impl Fn(&[u8], Field) -> bool) -> Vec<Kept<'_>> {
        self.all
            .iter()
            .map(|piece| {
                let name = piece.member.map(|member| &*self.members[member].name);
                (name, piece.field, &self.bytes[piece.range.clone()])
            })
            .filter(|(name, field, _)| !allowed(name.unwrap_or_default(), *field))
            .collect()
    }

    /// Returns the members' names, in order.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.members.iter().map(|member| &*member.name)
    }

    /// Returns a member's content, unpacked; `None` if it cannot be, or not within the limits.
    pub fn content(&self, member: usize, limits: &mut Limits) -> Option<Vec<u8>> {
        let packed = self.packed(member);
        match self.members[member].packing {
            Packing::Stored => Some(packed.to_vec()),
            Packing::Deflated => {
                let (content, consumed) = inflate::deflate(packed, limits)?;
                (consumed == packed.len()).then_some(content)
            }
            Packing::Unknown => None,
        }
    }

    /// Returns the bytes of every field of a kind that a member has, in order.
    pub fn fields(&self, member: usize, field: Field) -> impl Iterator<Item = &'a [u8]> {
        self.all
            .iter()
            .filter(move |piece| piece.member == Some(member) && piece.field == field)
            .map(|piece| &self.bytes[piece.range.clone()])
    }

    /// Returns a member's content as it is packed.
    pub fn packed(&self, member: usize) -> &'a [u8] {
        &self.bytes[self.contents[member].clone()]
    }

    /// Returns each member's fields, and under `None` the archive's own.
    fn by_member(&self) -> BTreeMap<Option<usize>, Vec<(Field, &'a [u8])>> {
        let mut fields: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for piece in &self.all {
            let field = (piece.field, &self.bytes[piece.range.clone()]);
            fields.entry(piece.member).or_default().push(field);
        }
        fields
    }

    /// Returns the members by their names, and by how many of the name came before.
    fn by_name(&self) -> BTreeMap<(&[u8], usize), usize> {
        let mut counts: BTreeMap<&[u8], usize> = BTreeMap::new();
        let mut named = BTreeMap::new();
        for (index, name) in self.names().enumerate() {
            let count = counts.entry(name).or_default();
            named.insert((name, *count), index);
            *count += 1;
        }
        named
    }
}

/// Returns where a field is, in words.
fn place(name: Option<&[u8]>, field: Field) -> String {
    match name {
        Some(name) => format!("member {}: {}", Printable(name), field.name()),
        None => field.name(),
    }
}

/// Returns what differs between two archives.
pub(super) fn compare(
    format: &'static str,
    sides: Pair<&Pieces<'_>>,
    limits: &mut Limits,
) -> Content {
    let mut listed = Listed::new(format, limits);
    let fields = sides.map(Pieces::by_member);
    let own = fields
        .as_ref()
        .map(|fields| fields.get(&None).map_or(&[][..], Vec::as_slice));
    values(None, own, sides, &mut listed);
    let names = sides.map(Pieces::by_name);
    let mut all: Vec<_> = names
        .published
        .keys()
        .chain(names.rebuilt.keys())
        .copied()
        .collect();
    // In the order of the published archive, and what only the other has after it.
    all.sort_by_key(|key| {
        let at = |index: Option<&usize>| index.copied().unwrap_or(usize::MAX);
        let places = (at(names.published.get(key)), at(names.rebuilt.get(key)));
        (places.0.min(places.1), *key)
    });
    all.dedup();
    for key in all {
        let place = match key {
            (name, 0) => format!("member {}", Printable(name)),
            (name, before) => format!("member {} ({})", Printable(name), before + 1),
        };
        let found = Pair::new(
            names.published.get(&key).copied(),
            names.rebuilt.get(&key).copied(),
        );
        let (Some(published), Some(rebuilt)) = (found.published, found.rebuilt) else {
            let size = |side: &Pieces<'_>, index: Option<usize>| {
                index.map(|index| format!("{} bytes", side.packed(index).len()))
            };
            listed.value(
                &place,
                Pair::new(
                    size(sides.published, found.published),
                    size(sides.rebuilt, found.rebuilt),
                ),
            );
            continue;
        };
        let of_member = Pair::new(
            fields.published.get(&Some(published)),
            fields.rebuilt.get(&Some(rebuilt)),
        );
        let of_member = of_member.map(|fields| fields.map_or(&[][..], Vec::as_slice));
        if of_member.is_equal() {
            continue;
        }
        values(Some(&place), of_member, sides, &mut listed);
        member(
            &place,
            key.0,
            sides,
            Pair::new(published, rebuilt),
            &mut listed,
        );
    }
    let common = |names: &BTreeMap<(&[u8], usize), usize>,
                  other: &BTreeMap<(&[u8], usize), usize>| {
        let mut order: Vec<_> = names
            .iter()
            .filter(|(key, _)| other.contains_key(*key))
            .map(|(key, &index)| (index, key.0.to_vec()))
            .collect();
        order.sort_unstable();
        order.into_iter().map(|(_, name)| name).collect::<Vec<_>>()
    };
    let order = Pair::new(
        common(&names.published, &names.rebuilt),
        common(&names.rebuilt, &names.published),
    );
    if let Some(first) = order
        .published
        .iter()
        .zip(&order.rebuilt)
        .position(|(published, rebuilt)| published != rebuilt)
    {
        let from = |order: &Vec<Vec<u8>>| {
            let names: Vec<String> = order[first..]
                .iter()
                .take(4)
                .map(|name| Printable(name).to_string())
                .collect();
            Some(names.join(", "))
        };
        listed.value("order of members", order.as_ref().map(from));
    }
    if listed.is_empty() {
        listed.all_ranges(sides.map(|side| side.bytes));
    }
    listed.finish()
}

/// Lists the fields that differ, other than content and what follows from it.
fn values(
    place: Option<&str>,
    fields: Pair<&[(Field, &[u8])]>,
    sides: Pair<&Pieces<'_>>,
    listed: &mut Listed<'_>,
) {
    let numbered = fields.map(|fields| {
        let mut counts: BTreeMap<Field, usize> = BTreeMap::new();
        let mut numbered = BTreeMap::new();
        for &(field, bytes) in fields {
            let count = counts.entry(field).or_default();
            numbered.insert((field, *count), bytes);
            *count += 1;
        }
        numbered
    });
    let mut keys: Vec<_> = numbered
        .published
        .keys()
        .chain(numbered.rebuilt.keys())
        .copied()
        .collect();
    keys.sort_unstable();
    keys.dedup();
    let mut shown: Vec<(Field, Pair<Option<String>>)> = Vec::new();
    for key in keys {
        let field = key.0;
        let bytes = Pair::new(
            numbered.published.get(&key).copied(),
            numbered.rebuilt.get(&key).copied(),
        );
        if bytes.is_equal() || field.is_derived() || field == Field::Content {
            continue;
        }
        let at = match place {
            Some(place) => format!("{place}: {}", field.name()),
            None => field.name(),
        };
        if matches!(field, Field::End | Field::Stray) {
            listed.ranges(&at, bytes.map(Option::unwrap_or_default));
            continue;
        }
        let values = bytes.map(|bytes| bytes.map(|bytes| (sides.published.show)(field, bytes)));
        // A zip says most things twice.
        if shown
            .iter()
            .any(|shown| shown.0 == field && shown.1 == values)
        {
            continue;
        }
        if values.is_equal() {
            // The same value, written in another way.
            let raw = bytes.map(|bytes| bytes.map(|bytes| Printable(bytes).to_string()));
            listed.value(&format!("{at}, as written"), raw);
        } else {
            listed.value(&at, values.clone());
        }
        shown.push((field, values));
    }
}

/// Lists what differs in a member's content.
fn member(
    place: &str,
    name: &[u8],
    sides: Pair<&Pieces<'_>>,
    at: Pair<usize>,
    listed: &mut Listed<'_>,
) {
    let packed = Pair::new(
        sides.published.packed(at.published),
        sides.rebuilt.packed(at.rebuilt),
    );
    let packings = Pair::new(
        sides.published.members[at.published].packing,
        sides.rebuilt.members[at.rebuilt].packing,
    );
    if packed.is_equal() && packings.is_equal() {
        return;
    }
    if packings == Pair::new(Packing::Stored, Packing::Stored) {
        listed.inside(place, name, packed);
        return;
    }
    let published = sides.published.content(at.published, listed.limits);
    let rebuilt = sides.rebuilt.content(at.rebuilt, listed.limits);
    match (published, rebuilt) {
        (Some(published), Some(rebuilt)) if published == rebuilt => {
            let size = |bytes: &[u8]| Some(format!("{} bytes for the same content", bytes.len()));
            let lengths = packed.map(size);
            if lengths.is_equal() {
                listed.ranges(&format!("{place}: compressed"), packed);
            } else {
                listed.value(&format!("{place}: compressed"), lengths);
            }
        }
        (Some(published), Some(rebuilt)) => {
            listed.inside(place, name, Pair::new(&published, &rebuilt));
        }
        _ => {
            listed.leave_out(1);
            listed.ranges(&format!("{place}: compressed"), packed);
        }
    }
}

impl Field {
    /// Returns whether the field follows from others, as its parser has verified,
    /// or from the content that is compared by itself.
    const fn is_derived(self) -> bool {
        match self {
            Self::HeaderSum
            | Self::HeaderSize
            | Self::Offset
            | Self::Zeros
            | Self::ContentSum
            | Self::PackedSize => true,
            Self::Magic
            | Self::Name
            | Self::LinkTarget
            | Self::Kind
            | Self::Mode
            | Self::Owner
            | Self::Group
            | Self::OwnerName
            | Self::GroupName
            | Self::Size
            | Self::Mtime
            | Self::OtherTime
            | Self::Device
            | Self::Inode
            | Self::Flags
            | Self::Writer
            | Self::Method
            | Self::Extra(_)
            | Self::Extension
            | Self::Comment
            | Self::Content
            | Self::Stray
            | Self::End => false,
        }
    }

    /// Returns what the field is called in reports.
    fn name(self) -> String {
        let name = match self {
            Self::Extra(id) => return format!("extra field {id:#06x}"),
            Self::Magic => "magic",
            Self::Name => "name",
            Self::LinkTarget => "link target",
            Self::Kind => "type",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Group => "group",
            Self::OwnerName => "owner's name",
            Self::GroupName => "group's name",
            Self::Size => "size",
            Self::Mtime => "mtime",
            Self::OtherTime => "other time",
            Self::Device => "device",
            Self::Inode => "inode",
            Self::Flags => "flags",
            Self::Writer => "written by",
            Self::Method => "compression",
            Self::Extension => "extension",
            Self::Comment => "comment",
            Self::HeaderSum => "header checksum",
            Self::HeaderSize => "header size",
            Self::Offset => "offset",
            Self::ContentSum => "checksum",
            Self::PackedSize => "compressed size",
            Self::Content => "content",
            Self::Zeros => "padding",
            Self::Stray => "bytes without a meaning",
            Self::End => "after the last member",
        };
        name.to_owned()
    }
}

impl<'a> Cutter<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            pieces: Vec::new(),
            members: Vec::new(),
        }
    }

    /// Returns the bytes that are not cut off yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// Returns where the next piece begins.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// Returns the position that the next member will have.
    #[expect(clippy::unnecessary_wraps, reason = "pieces are cut off for it")]
    pub(super) const fn next(&self) -> Option<usize> {
        Some(self.members.len())
    }

    /// Cuts off a piece; `None` if there are not so many bytes.
    pub(super) fn take(
        &mut self,
        length: usize,
        member: Option<usize>,
        field: Field,
    ) -> Option<&'a [u8]> {
        let range = self.at..self.at.checked_add(length)?;
        let bytes = self.bytes.get(range.clone())?;
        if length > 0 {
            self.pieces.push(Piece {
                member,
                field,
                range,
            });
            self.at += length;
        }
        Some(bytes)
    }

    /// Cuts off padding, which is zeros or else stray bytes.
    pub(super) fn pad(&mut self, length: usize, member: Option<usize>) -> Option<()> {
        let bytes = self.rest().get(..length)?;
        let zeros = bytes.iter().all(|&byte| byte == 0);
        let field = if zeros { Field::Zeros } else { Field::Stray };
        self.take(length, member, field).map(drop)
    }

    /// Adds a member; `None` if there are too many.
    pub(super) fn member(&mut self, name: Vec<u8>, packing: Packing) -> Option<()> {
        if self.members.len() == MOST_MEMBERS {
            return None;
        }
        self.members.push(Member { name, packing });
        Some(())
    }

    /// Returns the pieces, the last of them what is left.
    pub(super) fn finish(mut self, show: fn(Field, &[u8]) -> String) -> Pieces<'a> {
        self.take(self.rest().len(), None, Field::End);
        let mut contents = vec![0..0; self.members.len()];
        for piece in &self.pieces {
            if let (Field::Content, Some(member)) = (piece.field, piece.member)
                && let Some(content) = contents.get_mut(member)
            {
                *content = piece.range.clone();
            }
        }
        Pieces {
            contents,
            bytes: self.bytes,
            all: self.pieces,
            members: self.members,
            show,
        }
    }
}

/// Returns a field's bytes as text without what pads it.
pub(super) fn trimmed(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .rposition(|byte| !matches!(byte, 0 | b' '))
        .map_or(0, |last| last + 1);
    Printable(&bytes[..end]).to_string()
}

/// Returns what is different in two files of a kind.
pub(super) fn compare_kind(
    format: &'static str,
    kind: Kind,
    sides: Pair<&[u8]>,
    limits: &mut Limits,
) -> Option<Content> {
    let published = Pieces::of(kind, sides.published, limits)?;
    let rebuilt = Pieces::of(kind, sides.rebuilt, limits)?;
    Some(compare(format, Pair::new(&published, &rebuilt), limits))
}

#[cfg(test)]
pub(super) fn places(content: &Content) -> Vec<String> {
    use super::Change;
    let mut found = Vec::new();
    for part in &content.parts {
        match &part.change {
            Change::Inside { content } => {
                let inner = places(content).into_iter();
                found.extend(
                    inner.map(|inner| format!("{} > {} {inner}", part.place, content.format)),
                );
            }
            Change::Value { published, rebuilt } => {
                let of = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
                found.push(format!(
                    "{}: {} | {}",
                    part.place,
                    of(published),
                    of(rebuilt)
                ));
            }
            Change::Lines { .. } | Change::Bytes { .. } => found.push(part.place.clone()),
        }
    }
    found
}
