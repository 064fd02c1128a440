//! Tar: blocks become entries, and every byte is somewhere.
//!
//! Comes in: an uncompressed layer. Goes out: its entries, each with the hash of
//! its header bytes and of its content, and what is odd about them. Where
//! readers disagree, an entry is what Go's `archive/tar` makes of it, since
//! that is what Docker, containerd and Podman unpack; the disagreement is an
//! oddity. Nothing is allocated by a number in the archive: memory grows with
//! the entries only.

mod header;
mod pax;
mod sparse;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io::{self, BufRead, Read},
    sync::Arc,
};

use header::{BLOCK, Format, Header, is_zero};
use sparse::Map;

use super::{
    Entry, EntryKind, EntryPath, Error, Oddity, Timestamp,
    entry::{Details, RawName, Suffix},
    layer::read_error,
};
use crate::digest::{Digest, Hasher};

/// The longest name: Linux has no longer path (`PATH_MAX`), and each folder on the
/// way to a deeper one would take memory.
const MAX_NAME: usize = 4096;

/// The largest content of an extension header: Go's and libarchive's limit.
const LARGEST_EXTENSION: u64 = 1 << 20;

/// How many bytes of names, attributes, their headers and sparse maps a layer may have in all,
/// apart from [`KEPT_PER_ENTRY`].
///
/// Each extension may have a megabyte, so that without an end the memory would
/// grow with the layer.
const LARGEST_KEPT: u64 = 64 << 20;

/// See [`LARGEST_KEPT`]; a path of the longest length that Linux knows.
const KEPT_PER_ENTRY: u64 = 4096;

/// How many bytes the holes of a layer's sparse files may have in all.
///
/// They are hashed as the zeros that they unpack to, and cost no byte in the
/// archive: a file of 8 EiB fits into a kilobyte.
const LARGEST_HOLES: u64 = 64 << 30;

/// How many entries' details are kept to be shared with later ones: owners are few.
const RECENT: usize = 8;

/// What the holes of sparse files read as.
static ZEROS: [u8; 16 * 1024] = [0; 16 * 1024];

/// Reads a tar entry by entry.
pub(crate) struct Reader<'a, R> {
    input: R,
    what: &'a str,
    position: u64,
    entries: u64,
    kept: u64,
    holes: u64,
    recent: VecDeque<Arc<Details>>,
    body: Body,
    ended: bool,
    end_padding: u64,
    oddities: Vec<Oddity>,
}

/// What follows the last entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    /// Zero bytes up to the first that is not, or to the end.
    pub(super) padding: u64,
    /// What is odd about the archive as a whole.
    pub(super) oddities: Vec<Oddity>,
}

/// A header with its extensions, before the content is read.
struct Member {
    kind: MemberKind,
    path: EntryPath,
    mode: u32,
    uid: i64,
    gid: i64,
    mtime: Timestamp,
    details: Details,
    header: Digest,
}

/// What a member is, as far as its header says.
enum MemberKind {
    File,
    Other(u8),
    WithoutContent(EntryKind),
}

/// The content that is being read.
#[derive(Default)]
struct Body {
    /// Bytes of content, holes included.
    size: u64,
    /// How many of them were read.
    position: u64,
    /// Where the data is; all of it is for a file that is not sparse.
    map: Map,
    /// The piece of `map` that comes next.
    piece: usize,
    /// Bytes left in the archive.
    stored: u64,
    /// Bytes up to the next block after that.
    padding: usize,
    /// Whether the bytes given last are a hole's.
    in_hole: bool,
}

/// Extension headers that wait for their entry.
#[derive(Default)]
struct Extensions {
    pax: Option<Vec<u8>>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    oddities: Vec<Oddity>,
}

impl<'a, R: BufRead> Reader<'a, R> {
    /// Returns a reader of the archive in `input`; `what` names the layer in errors.
    pub(crate) fn new(input: R, what: &'a str) -> Self {
        Self {
            input,
            what,
            position: 0,
            entries: 0,
            kept: 0,
            holes: 0,
            recent: VecDeque::with_capacity(RECENT),
            body: Body::default(),
            ended: false,
            end_padding: 0,
            oddities: Vec::new(),
        }
    }

    /// Reads the next entry, its content included.
    pub(super) fn entry(&mut self) -> Result<Option<Entry>, Error> {
        self.entry_with(|_| {})
    }

    /// Reads the next entry; `content` gets its content piece by piece, holes as zeros.
    pub(crate) fn entry_with(
        &mut self,
        mut content: impl FnMut(&[u8]),
    ) -> Result<Option<Entry>, Error> {
        let Some(mut member) = self.member()? else {
            return Ok(None);
        };
        let mut hasher = Hasher::default();
        loop {
            let bytes = self.content()?;
            if bytes.is_empty() {
                break;
            }
            hasher.update(bytes);
            content(bytes);
            let size = bytes.len();
            self.consume_content(size);
        }
        let size = hasher.size();
        let kind = match member.kind {
            MemberKind::WithoutContent(kind) => kind,
            MemberKind::File => EntryKind::File {
                size,
                content: hasher.finish(),
            },
            MemberKind::Other(flag) => EntryKind::Other {
                flag,
                size,
                content: hasher.finish(),
            },
        };
        member.details.oddities.extend(self.leave()?);
        member.details.oddities.sort_unstable();
        member.details.oddities.dedup();
        let details = self.shared(member.details);
        Ok(Some(Entry {
            path: member.path,
            kind,
            mode: member.mode,
            uid: member.uid,
            gid: member.gid,
            mtime: member.mtime,
            details,
            header: member.header,
        }))
    }

    /// Returns the details as an entry holds them: the ones of a recent entry, where they are the same.
    fn shared(&mut self, details: Details) -> Option<Arc<Details>> {
        if details == Details::default() {
            return None;
        }
        if let Some(known) = self.recent.iter().find(|known| ***known == details) {
            return Some(known.clone());
        }
        let details = Arc::new(details);
        self.recent.truncate(RECENT - 1);
        self.recent.push_front(details.clone());
        Some(details)
    }

    /// Returns whether there is an entry, going by its headers alone.
    pub(crate) fn has_entry(&mut self) -> bool {
        matches!(self.member(), Ok(Some(_)))
    }

    /// Reads the next entry's header and gives its content to `read`, if there is an entry.
    ///
    /// What `read` leaves is passed over.
    pub(super) fn visit(
        &mut self,
        read: impl FnOnce(Digest, &mut dyn Read) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let Some(member) = self.member()? else {
            return Ok(false);
        };
        read(member.header, &mut Content(self))?;
        self.leave()?;
        Ok(true)
    }

    /// Returns what follows the last entry, and the input; `entry` must have returned `None`.
    pub(crate) fn finish(mut self) -> (End, R) {
        self.oddities.sort_unstable();
        let end = End {
            padding: self.end_padding,
            oddities: self.oddities,
        };
        (end, self.input)
    }

    /// Returns the input, to look into why it failed.
    pub(super) fn into_input(self) -> R {
        self.input
    }

    /// Reads headers up to the next entry's content.
    fn member(&mut self) -> Result<Option<Member>, Error> {
        if self.ended {
            return Ok(None);
        }
        let mut extensions = Extensions::default();
        let mut hasher = Hasher::default();
        loop {
            let start = self.position;
            let Some(block) = self.block()? else {
                self.oddities.push(Oddity::NoEndOfArchive);
                self.end(extensions);
                return Ok(None);
            };
            if is_zero(&block) {
                self.end_of_archive()?;
                self.end(extensions);
                return Ok(None);
            }
            hasher.update(&block);
            let Some(mut header) = Header::read(&block) else {
                let problem = if start == 0 {
                    "it is no tar: the first header's checksum is wrong"
                } else {
                    "a header's checksum is wrong"
                };
                return Err(self.corrupt_at(start, problem));
            };
            let flag = header.flag;
            if !matches!(flag, b'x' | b'g' | b'L' | b'K') {
                self.entries += 1;
                let member = self.assemble(start, &block, header, extensions, hasher)?;
                return Ok(Some(member));
            }
            let content = self.extension(&header, &mut hasher, &mut extensions)?;
            header.tell(&mut extensions.oddities);
            if flag == b'g' {
                // The records are not applied, but must be such, as in Go.
                self.records(start, &content)?;
                extensions.lose();
                let oddity = Oddity::GlobalPax(content.into());
                extensions.oddities.push(oddity);
                continue;
            }
            let place = match flag {
                b'x' => &mut extensions.pax,
                b'L' => &mut extensions.long_name,
                _ => &mut extensions.long_link,
            };
            if place.replace(content).is_some() {
                extensions.oddities.push(Oddity::RepeatedExtension(flag));
            }
        }
    }

    /// Ends the archive.
    fn end(&mut self, mut extensions: Extensions) {
        self.ended = true;
        extensions.lose();
        self.oddities.append(&mut extensions.oddities);
    }

    /// Reads the content of an extension header and the padding after it.
    fn extension(
        &mut self,
        header: &Header,
        hasher: &mut Hasher,
        extensions: &mut Extensions,
    ) -> Result<Vec<u8>, Error> {
        let size = header
            .size
            .ok_or_else(|| self.corrupt("the size of an extension header cannot be read"))?;
        if size > LARGEST_EXTENSION {
            return Err(self.corrupt(&format!(
                "an extension header has {size} bytes, more than {LARGEST_EXTENSION}"
            )));
        }
        // Headers without content leave oddities behind, if nothing else.
        self.keep(BLOCK as u64 + size)?;
        let padding = padding_after(size);
        let mut content = Vec::new();
        self.exactly(size, |bytes| content.extend_from_slice(bytes))?;
        hasher.update(&content);
        let (padding, read) = self.padding(padding)?;
        hasher.update(&padding[..read]);
        if !is_zero(&padding[..read]) {
            extensions.oddities.push(Oddity::HeaderPadding);
        }
        Ok(content)
    }

    /// Counts bytes that stay in memory.
    fn keep(&mut self, bytes: u64) -> Result<(), Error> {
        self.kept += bytes;
        if self.kept > LARGEST_KEPT + KEPT_PER_ENTRY * self.entries {
            return Err(self.corrupt(&format!(
                "names, attributes and sparse maps have more than {LARGEST_KEPT} bytes, and {KEPT_PER_ENTRY} for each entry"
            )));
        }
        Ok(())
    }

    /// Puts header and extensions together, as Go does it.
    fn assemble(
        &mut self,
        start: u64,
        block: &[u8; BLOCK],
        mut header: Header,
        extensions: Extensions,
        mut hasher: Hasher,
    ) -> Result<Member, Error> {
        let mut details = Details {
            oddities: extensions.oddities,
            ..Details::default()
        };
        header.tell(&mut details.oddities);
        details.atime = header.atime.map(Timestamp::from_seconds);
        details.ctime = header.ctime.map(Timestamp::from_seconds);
        let mut mtime = Timestamp::from_seconds(header.mtime);

        let pax = extensions.pax.unwrap_or_default();
        let records = self.records(start, &pax)?;
        let sparse = self.apply(start, &records, &mut header, &mut mtime, &mut details)?;
        for (key, long, field) in [
            ("path", extensions.long_name, &mut header.name),
            ("linkpath", extensions.long_link, &mut header.link_name),
        ] {
            let Some(long) = long else { continue };
            let (text, hidden) = header::text(&long);
            if hidden {
                details.oddities.push(Oddity::HeaderPadding);
            }
            if text.is_empty() {
                continue;
            }
            // Go prefers the GNU name to the PAX one, GNU tar does not.
            let key = key.as_bytes();
            if field.as_slice() != text && records.iter().any(|record| record.0 == key) {
                details.oddities.push(Oddity::ConflictingPax(key.into()));
            }
            *field = text.to_vec();
        }

        let is_directory = header.flag == b'5' || (header.flag == 0 && header.name.ends_with(b"/"));
        let without_content = is_directory || matches!(header.flag, b'1'..=b'6');
        let stored = match header.size {
            Some(0) => 0,
            Some(size) if without_content => {
                details.oddities.push(Oddity::IgnoredSize(size));
                0
            }
            Some(size) => size,
            None if without_content => {
                let field = b"size"[..].into();
                details.oddities.push(Oddity::UnreadableField(field));
                0
            }
            None => {
                return Err(self.corrupt_at(start, "the size of an entry cannot be read"));
            }
        };
        self.body = Body {
            size: stored,
            map: vec![(0, stored)],
            stored,
            padding: padding_after(stored),
            ..Body::default()
        };
        let sparse = if header.flag == b'S' {
            Some(self.old_sparse(start, block, header.format, &mut hasher)?)
        } else if let Some(sparse) = sparse {
            if !sparse.name.is_empty() {
                header.name = sparse.name.to_vec();
            }
            Some(self.pax_sparse(start, &sparse, &mut hasher, &mut details)?)
        } else {
            None
        };
        if let Some((map, size)) = sparse {
            if without_content {
                return Err(self.corrupt_at(start, "an entry that is no file has a sparse map"));
            }
            self.sparse(start, &map, size)?;
            details.sparse = map;
        }

        let name = header.name;
        let target = header.link_name;
        if name.len().max(target.len()) > MAX_NAME {
            return Err(self.corrupt_at(
                start,
                "a name is longer than the 4096 bytes that Linux takes",
            ));
        }
        let path = EntryPath::of(&name);
        if name.is_empty() {
            details.oddities.push(Oddity::EmptyName);
        }
        if !target.is_empty() && !matches!(header.flag, b'1' | b'2') {
            details.oddities.push(Oddity::HeaderPadding);
        }
        if name.starts_with(b"/") {
            details.oddities.push(Oddity::AbsoluteName);
        }
        if has_parent(&name) || (header.flag == b'1' && has_parent(&target)) {
            details.oddities.push(Oddity::ParentInName);
        }
        let suffix = if is_directory {
            Suffix::Slash
        } else {
            Suffix::None
        };
        details.raw_name = RawName::of(&name, &path, suffix);
        let (major, minor) = (header.major, header.minor);
        let kind = match header.flag {
            _ if is_directory => MemberKind::WithoutContent(EntryKind::Directory),
            b'0' | 0 | b'S' => {
                if name.ends_with(b"/") {
                    details.oddities.push(Oddity::TrailingSlash);
                }
                MemberKind::File
            }
            b'1' => {
                let path = EntryPath::of(&target);
                details.raw_target = RawName::of(&target, &path, Suffix::None);
                MemberKind::WithoutContent(EntryKind::HardLink { target: path })
            }
            b'2' => {
                let target = target.into();
                MemberKind::WithoutContent(EntryKind::Symlink { target })
            }
            b'3' => MemberKind::WithoutContent(EntryKind::CharDevice { major, minor }),
            b'4' => MemberKind::WithoutContent(EntryKind::BlockDevice { major, minor }),
            b'6' => MemberKind::WithoutContent(EntryKind::Fifo),
            flag => MemberKind::Other(flag),
        };
        // Go reads old GNU sparse files, and both engines refuse their type.
        if header.flag == b'S' || matches!(kind, MemberKind::Other(_)) {
            details.oddities.push(Oddity::UnknownType(header.flag));
        }
        details.uname = header.uname.into();
        details.gname = header.gname.into();
        Ok(Member {
            kind,
            path,
            mode: header.mode,
            uid: header.uid,
            gid: header.gid,
            mtime,
            details,
            header: hasher.finish(),
        })
    }

    /// Returns the records of an extended header.
    fn records<'p>(&self, start: u64, content: &'p [u8]) -> Result<Vec<pax::Record<'p>>, Error> {
        pax::records(content).map_err(|offset| {
            self.corrupt_at(
                start,
                &format!("byte {offset} of the PAX header before it begins no valid record"),
            )
        })
    }

    /// Puts PAX records into the fields that they stand for.
    fn apply<'p>(
        &self,
        start: u64,
        records: &[pax::Record<'p>],
        header: &mut Header,
        mtime: &mut Timestamp,
        details: &mut Details,
    ) -> Result<Option<PaxSparse<'p>>, Error> {
        if records.is_empty() {
            return Ok(None);
        }
        let mut values = BTreeMap::new();
        let mut conflicting = BTreeSet::new();
        let mut pieces: Vec<&[u8]> = Vec::new();
        for &(key, value) in records {
            if let b"GNU.sparse.offset" | b"GNU.sparse.numbytes" = key {
                let is_offset = key == b"GNU.sparse.offset";
                if is_offset != pieces.len().is_multiple_of(2) || value.contains(&b',') {
                    return Err(self.corrupt_at(start, "the sparse map is out of order"));
                }
                pieces.push(value);
            } else if values
                .insert(key, value)
                .is_some_and(|before| before != value)
            {
                conflicting.insert(key);
            }
        }
        let conflicting = conflicting.into_iter().map(Box::from);
        details
            .oddities
            .extend(conflicting.map(Oddity::ConflictingPax));

        let sparse = PaxSparse::of(&values, &pieces);
        for &(key, value) in records {
            let is_elsewhere = is_applied(key) || (sparse.is_some() && is_sparse_map(key));
            if !is_elsewhere {
                details.pax.push((key.into(), value.into()));
            }
        }
        for (key, value) in values {
            if let Some(name) = key.strip_prefix(XATTR) {
                details.xattrs.insert(name.into(), value.into());
                continue;
            }
            // Go keeps the header's value where PAX has an empty one.
            if value.is_empty() {
                continue;
            }
            let read = match key {
                b"path" => put(&mut header.name, Some(value.to_vec())),
                b"linkpath" => put(&mut header.link_name, Some(value.to_vec())),
                b"uname" => put(&mut header.uname, Some(value.to_vec())),
                b"gname" => put(&mut header.gname, Some(value.to_vec())),
                b"uid" => put(&mut header.uid, pax::decimal(value)),
                b"gid" => put(&mut header.gid, pax::decimal(value)),
                b"mtime" => put(mtime, pax::time(value)),
                b"atime" => put(&mut details.atime, pax::time(value).map(Some)),
                b"ctime" => put(&mut details.ctime, pax::time(value).map(Some)),
                b"size" => {
                    header.size = sparse::unsigned(value);
                    true
                }
                _ => true,
            };
            if !read {
                details.oddities.push(Oddity::UnreadableField(key.into()));
            }
        }
        Ok(sparse)
    }

    /// Reads an old GNU map: four pieces in the header, more in blocks after it.
    fn old_sparse(
        &mut self,
        start: u64,
        block: &[u8; BLOCK],
        format: Format,
        hasher: &mut Hasher,
    ) -> Result<(Map, u64), Error> {
        const IN_HEADER: std::ops::Range<usize> = 386..482;
        const REAL_SIZE: std::ops::Range<usize> = 483..495;
        const IN_EXTENSION: std::ops::Range<usize> = 0..504;
        let unreadable = |reader: &Self| reader.corrupt_at(start, "a sparse map cannot be read");

        // star uses the same type flag with another layout.
        if format != Format::Gnu {
            return Err(unreadable(self));
        }
        let size =
            header::numeric(&block[REAL_SIZE]).and_then(|(size, _)| u64::try_from(size).ok());
        let size = size.ok_or_else(|| unreadable(self))?;
        let mut map = Map::new();
        sparse::old_entries(&block[IN_HEADER], &mut map).ok_or_else(|| unreadable(self))?;
        let mut extended = block[IN_HEADER.end] != 0;
        while extended {
            let Some(block) = self.block()? else {
                return Err(self.truncated("a sparse map"));
            };
            hasher.update(&block);
            self.keep(BLOCK as u64)?;
            sparse::old_entries(&block[IN_EXTENSION], &mut map).ok_or_else(|| unreadable(self))?;
            extended = block[IN_EXTENSION.end] != 0;
        }
        Ok((map, size))
    }

    /// Reads the map that PAX records hold or announce.
    fn pax_sparse(
        &mut self,
        start: u64,
        sparse: &PaxSparse<'_>,
        hasher: &mut Hasher,
        details: &mut Details,
    ) -> Result<(Map, u64), Error> {
        let unreadable = |reader: &Self| reader.corrupt_at(start, "a sparse map cannot be read");

        let size = match sparse.size {
            Some(size) => sparse::unsigned(size).ok_or_else(|| unreadable(self))?,
            None => self.body.stored,
        };
        if let Some((map, count)) = &sparse.map {
            let map = sparse::comma_separated(map, count).ok_or_else(|| unreadable(self))?;
            self.keep((map.len() * size_of::<(u64, u64)>()) as u64)?;
            return Ok((map, size));
        }
        let mut lines = sparse::Lines::default();
        loop {
            if self.body.stored < BLOCK as u64 {
                return Err(unreadable(self));
            }
            let Some(block) = self.block()? else {
                return Err(self.truncated("a sparse map"));
            };
            hasher.update(&block);
            self.body.stored -= BLOCK as u64;
            let before = lines.pieces();
            let step = lines.add(&block);
            self.keep(((lines.pieces() - before) * size_of::<(u64, u64)>()) as u64)?;
            match step {
                sparse::Step::Continues => {}
                sparse::Step::Unreadable => return Err(unreadable(self)),
                sparse::Step::Ended(end) => {
                    if !is_zero(&block[end..]) {
                        details.oddities.push(Oddity::HeaderPadding);
                    }
                    return Ok((lines.finish(), size));
                }
            }
        }
    }

    /// Makes the content that comes next a sparse file's.
    fn sparse(&mut self, start: u64, map: &Map, size: u64) -> Result<(), Error> {
        let Some(data) = sparse::data_size(map, size) else {
            return Err(self.corrupt_at(
                start,
                "a sparse map has pieces outside of the file or out of order",
            ));
        };
        if data != self.body.stored {
            let stored = self.body.stored;
            return Err(self.corrupt_at(
                start,
                &format!("a sparse map tells of {data} bytes, but {stored} are stored"),
            ));
        }
        self.holes = self.holes.saturating_add(size - data);
        if self.holes > LARGEST_HOLES {
            return Err(self.corrupt_at(
                start,
                &format!("the holes of sparse files have more than {LARGEST_HOLES} bytes"),
            ));
        }
        self.body.map.clone_from(map);
        self.body.size = size;
        Ok(())
    }

    /// Returns the next bytes of the content, a hole's as zeros; empty at its end.
    fn content(&mut self) -> Result<&[u8], Error> {
        let body = &mut self.body;
        let left = body.size - body.position;
        if left == 0 {
            return Ok(&[]);
        }
        while let Some(&(offset, size)) = body.map.get(body.piece)
            && offset + size <= body.position
        {
            body.piece += 1;
        }
        let (hole, data) = match body.map.get(body.piece) {
            None => (left, 0),
            Some(&(offset, size)) if offset <= body.position => (0, offset + size - body.position),
            Some(&(offset, _)) => (offset - body.position, 0),
        };
        body.in_hole = hole > 0;
        if hole > 0 {
            return Ok(&ZEROS[..at_most(ZEROS.len(), hole)]);
        }
        if self.fill()?.is_empty() {
            return Err(self.truncated("the content of an entry"));
        }
        let bytes = self.fill()?;
        Ok(&bytes[..at_most(bytes.len(), data)])
    }

    /// Says that so many bytes of what [`Self::content`] gave were used.
    fn consume_content(&mut self, size: usize) {
        self.body.position += size as u64;
        if !self.body.in_hole {
            self.body.stored -= size as u64;
            self.consume(size);
        }
    }

    /// Passes over what is left of the content, and over the padding after it.
    fn leave(&mut self) -> Result<Option<Oddity>, Error> {
        while self.body.stored > 0 {
            let available = self.fill()?.len();
            if available == 0 {
                return Err(self.truncated("the content of an entry"));
            }
            let size = at_most(available, self.body.stored);
            self.body.stored -= size as u64;
            self.consume(size);
        }
        let (padding, size) = self.padding(self.body.padding)?;
        self.body = Body::default();
        let padding = &padding[..size];
        Ok((!is_zero(padding)).then(|| Oddity::ContentPadding(Digest::of(padding))))
    }

    /// Reads the bytes up to the next block, and says how many there are.
    ///
    /// An archive that ends in there is one without an end to Go.
    fn padding(&mut self, wanted: usize) -> Result<([u8; BLOCK], usize), Error> {
        let mut padding = [0; BLOCK];
        let mut size = 0;
        while size < wanted {
            let bytes = self.fill()?;
            if bytes.is_empty() {
                break;
            }
            let part = bytes.len().min(wanted - size);
            padding[size..size + part].copy_from_slice(&bytes[..part]);
            self.consume(part);
            size += part;
        }
        Ok((padding, size))
    }

    /// Reads from behind the first zero block to the end of the input.
    fn end_of_archive(&mut self) -> Result<(), Error> {
        self.end_padding = BLOCK as u64;
        let Some(second) = self.block()? else {
            self.oddities.push(Oddity::NoEndOfArchive);
            return Ok(());
        };
        if !is_zero(&second) {
            self.oddities.push(Oddity::LoneZeroBlock);
        }
        let mut after = Hasher::default();
        let mut padding = self.end_padding;
        let mut add = |bytes: &[u8]| {
            let zeros = if after.size() > 0 {
                0
            } else if is_zero(bytes) {
                bytes.len()
            } else {
                bytes.iter().take_while(|&&byte| byte == 0).count()
            };
            padding += zeros as u64;
            after.update(&bytes[zeros..]);
        };
        add(&second);
        loop {
            let bytes = self.fill()?;
            let size = bytes.len();
            if size == 0 {
                break;
            }
            add(bytes);
            self.consume(size);
        }
        self.end_padding = padding;
        let size = after.size();
        if size > 0 {
            let content = after.finish();
            self.oddities
                .push(Oddity::AfterEndOfArchive { size, content });
        }
        Ok(())
    }

    /// Reads a block; `None` at the end.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        let bytes = self.fill()?;
        if bytes.is_empty() {
            return Ok(None);
        }
        if let Some(&block) = bytes.first_chunk() {
            self.consume(BLOCK);
            return Ok(Some(block));
        }
        let mut block = [0; BLOCK];
        let mut size = 0;
        self.exactly(BLOCK as u64, |bytes| {
            block[size..size + bytes.len()].copy_from_slice(bytes);
            size += bytes.len();
        })?;
        Ok(Some(block))
    }

    /// Gives the next `size` bytes to `take`, part by part.
    fn exactly(&mut self, size: u64, mut take: impl FnMut(&[u8])) -> Result<(), Error> {
        let mut left = size;
        while left > 0 {
            let bytes = self.fill()?;
            if bytes.is_empty() {
                return Err(self.truncated("a header"));
            }
            let part = at_most(bytes.len(), left);
            take(&bytes[..part]);
            self.consume(part);
            left -= part as u64;
        }
        Ok(())
    }

    fn fill(&mut self) -> Result<&[u8], Error> {
        let what = self.what;
        self.input
            .fill_buf()
            .map_err(|error| read_error(error, what))
    }

    fn consume(&mut self, size: usize) {
        self.input.consume(size);
        self.position += size as u64;
    }

    fn corrupt(&self, problem: &str) -> Error {
        self.corrupt_at(self.position, problem)
    }

    fn corrupt_at(&self, offset: u64, problem: &str) -> Error {
        Error::Corrupt {
            what: self.what.to_owned(),
            stream: "tar",
            offset,
            problem: problem.to_owned(),
        }
    }

    fn truncated(&self, what: &str) -> Error {
        self.corrupt_at(self.position, &format!("it ends inside of {what}"))
    }
}

/// The content of an entry, for those who want to read it themselves.
struct Content<'r, 'a, R>(&'r mut Reader<'a, R>);

impl<R: BufRead> Read for Content<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut bytes = self.0.content().map_err(io::Error::other)?;
        let size = bytes.read(buffer)?;
        self.0.consume_content(size);
        Ok(size)
    }
}

impl Extensions {
    /// Gives up extensions that no entry follows.
    fn lose(&mut self) {
        for (flag, lost) in [
            (b'x', self.pax.take()),
            (b'L', self.long_name.take()),
            (b'K', self.long_link.take()),
        ] {
            if lost.is_some() {
                self.oddities.push(Oddity::LostExtension(flag));
            }
        }
    }
}

/// What PAX records say of a sparse file.
struct PaxSparse<'p> {
    name: &'p [u8],
    size: Option<&'p [u8]>,
    /// The map and the number of its pieces; `None` where the map stands before the data.
    map: Option<(Vec<u8>, &'p [u8])>,
}

impl<'p> PaxSparse<'p> {
    /// Returns what the records say, if they speak of a sparse file in a version that Go knows.
    fn of(values: &BTreeMap<&'p [u8], &'p [u8]>, pieces: &[&[u8]]) -> Option<Self> {
        let value = |key: &str| {
            values
                .get(key.as_bytes())
                .copied()
                .filter(|value| !value.is_empty())
        };
        // Version 0.0 has a record for each number, 0.1 one for all.
        let map = if pieces.is_empty() {
            value("GNU.sparse.map").unwrap_or_default().to_vec()
        } else {
            pieces.join(&b',')
        };
        let in_records = match (value("GNU.sparse.major"), value("GNU.sparse.minor")) {
            (Some(b"0"), Some(b"0" | b"1")) => true,
            (Some(b"1"), Some(b"0")) => false,
            (None, None) if !map.is_empty() => true,
            _ => return None,
        };
        let count = value("GNU.sparse.numblocks").unwrap_or_default();
        Some(Self {
            name: value("GNU.sparse.name").unwrap_or_default(),
            size: value("GNU.sparse.size").or_else(|| value("GNU.sparse.realsize")),
            map: in_records.then_some((map, count)),
        })
    }
}

/// What the keywords of extended attributes begin with; their values are bytes.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// Returns whether a record's value is in another field of an entry.
fn is_applied(key: &[u8]) -> bool {
    matches!(
        key,
        b"path"
            | b"linkpath"
            | b"size"
            | b"uid"
            | b"gid"
            | b"uname"
            | b"gname"
            | b"mtime"
            | b"atime"
            | b"ctime"
    ) || key.starts_with(XATTR)
}

/// Returns whether a record of a sparse file is in another field of its entry.
fn is_sparse_map(key: &[u8]) -> bool {
    matches!(
        key,
        b"GNU.sparse.map"
            | b"GNU.sparse.offset"
            | b"GNU.sparse.numbytes"
            | b"GNU.sparse.numblocks"
            | b"GNU.sparse.name"
            | b"GNU.sparse.size"
            | b"GNU.sparse.realsize"
    )
}

/// Puts a value where there is one, and says whether there is.
fn put<T>(place: &mut T, value: Option<T>) -> bool {
    value.map(|value| *place = value).is_some()
}

/// Returns whether a name has a `..` in it.
fn has_parent(name: &[u8]) -> bool {
    name.split(|&byte| byte == b'/')
        .any(|component| component == b"..")
}

/// Returns how many bytes there are up to the next block.
fn padding_after(size: u64) -> usize {
    let over = size % BLOCK as u64;
    usize::try_from((BLOCK as u64 - over) % BLOCK as u64).expect("less than a block")
}

/// Returns the smaller of a number of bytes at hand and one in the archive.
fn at_most(available: usize, wanted: u64) -> usize {
    usize::try_from(wanted).map_or(available, |wanted| available.min(wanted))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::image::layer::Layer;

    /// Returns a header block; `change` is made before the checksum.
    fn header(name: &str, flag: u8, size: u64, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut header = ::tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.as_mut_bytes()[156] = flag;
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        change(header.as_mut_bytes());
        header.set_cksum();
        header.as_bytes().to_vec()
    }

    /// Returns a header with its content, padded.
    fn member(name: &str, flag: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = header(name, flag, content.len() as u64, |_| {});
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }

    /// Returns an extended header with these records.
    fn pax(records: &[(&str, &str)]) -> Vec<u8> {
        let content: Vec<String> = records
            .iter()
            .map(|(key, value)| {
                let rest = key.len() + value.len() + 3;
                let length =
                    (rest..rest + 9).find(|length| length - length.to_string().len() == rest);
                format!("{} {key}={value}\n", length.unwrap())
            })
            .collect();
        member("pax", b'x', content.concat().as_bytes())
    }

    fn gnu(block: &mut [u8]) {
        block[257..265].copy_from_slice(b"ustar  \0");
    }

    fn scanned(parts: &[&[u8]]) -> Result<Layer, Error> {
        let bytes = parts.concat();
        crate::image::layer::scan_reader(&bytes[..], "layer 1", &crate::progress::Silent)
    }

    /// Returns the one entry of an archive.
    fn only(parts: &[&[u8]]) -> Entry {
        let mut entries = scanned(parts).unwrap().entries;
        assert_eq!(entries.len(), 1);
        entries.remove(0)
    }

    const END: [u8; 1024] = [0; 1024];

    #[test]
    fn whatever_is_odd_about_an_entry_is_said() {
        let oddity = |name: &str| Box::<[u8]>::from(name.as_bytes());
        let file = member("f", b'0', b"x");
        let with_padding = [&file[..1023], b"p"].concat();
        let padding = [&[0; 510][..], b"p"].concat();
        let no_change = |_: &mut [u8]| {};
        let long = |flag, text: &str| member("././@LongLink", flag, text.as_bytes());
        let cases: Vec<(&str, Vec<u8>, Vec<Oddity>)> = vec![
            ("nothing", file.clone(), vec![]),
            (
                "absolute",
                member("/etc/f", b'0', b""),
                vec![Oddity::AbsoluteName],
            ),
            (
                "parent",
                member("a/../f", b'0', b""),
                vec![Oddity::ParentInName],
            ),
            (
                "trailing slash",
                member("a/", b'0', b""),
                vec![Oddity::TrailingSlash],
            ),
            ("an old directory", member("a/", 0, b""), vec![]),
            ("empty name", member("", b'0', b""), vec![Oddity::EmptyName]),
            (
                "padding",
                with_padding,
                vec![Oddity::ContentPadding(Digest::of(&padding))],
            ),
            (
                "after a name",
                header("f", b'0', 0, |block| block[9] = 1),
                vec![Oddity::HeaderPadding],
            ),
            (
                "after the header",
                header("f", b'0', 0, |block| block[511] = 1),
                vec![Oddity::HeaderPadding],
            ),
            (
                "a link name",
                header("f", b'0', 0, |block| block[157] = b'x'),
                vec![Oddity::HeaderPadding],
            ),
            (
                "a link name in PAX",
                [pax(&[("linkpath", "x")]), file.clone()].concat(),
                vec![Oddity::HeaderPadding],
            ),
            (
                "a device number",
                header("f", b'0', 0, |block| block[329] = b'7'),
                vec![Oddity::HeaderPadding],
            ),
            (
                "a version",
                header("f", b'0', 0, |block| block[263..265].copy_from_slice(b"99")),
                vec![Oddity::HeaderPadding],
            ),
            ("nothing in GNU's header", header("f", b'0', 0, gnu), vec![]),
            (
                "a sparse map of no sparse file",
                header("f", b'0', 0, |block| {
                    gnu(block);
                    block[390] = b'1';
                }),
                vec![Oddity::HeaderPadding],
            ),
            (
                "a prefix in GNU's header",
                header("f", b'0', 0, |block| {
                    gnu(block);
                    block[345..349].copy_from_slice(b"some");
                }),
                vec![Oddity::PrefixInGnuHeader],
            ),
            (
                "a number",
                header("f", b'0', 0, |block| {
                    block[108..112].copy_from_slice(b"none");
                }),
                vec![Oddity::UnreadableField(oddity("uid"))],
            ),
            (
                "a PAX number",
                [pax(&[("gid", "none")]), file.clone()].concat(),
                vec![Oddity::UnreadableField(oddity("gid"))],
            ),
            (
                "a device's number",
                header("f", b'3', 0, |block| block[329] = b'x'),
                vec![Oddity::UnreadableField(oddity("devmajor"))],
            ),
            (
                "a device number of a file, that is none",
                header("f", b'0', 0, |block| block[337] = b'x'),
                vec![Oddity::UnreadableField(oddity("devminor"))],
            ),
            (
                "a size that PAX overrides",
                [
                    pax(&[("size", "0")]),
                    header("f", b'0', 0, |block| block[124..136].fill(0xff)),
                ]
                .concat(),
                vec![Oddity::UnreadableField(oddity("size"))],
            ),
            (
                "numbers of a PAX header",
                [
                    header("x", b'x', 0, |block| {
                        block[100] = b'x';
                        block[329] = b'8';
                    }),
                    file.clone(),
                ]
                .concat(),
                vec![
                    Oddity::UnreadableField(oddity("mode")),
                    Oddity::UnreadableField(oddity("devmajor")),
                ],
            ),
            (
                "a number of a global header",
                [
                    header("g", b'g', 0, |block| block[136] = b'-'),
                    file.clone(),
                ]
                .concat(),
                vec![
                    Oddity::GlobalPax(oddity("")),
                    Oddity::UnreadableField(oddity("mtime")),
                ],
            ),
            (
                "a number and a prefix of a GNU header's extension",
                [
                    header("././@LongLink", b'L', 0, |block| {
                        gnu(block);
                        block[116] = b'x';
                        block[345..349].copy_from_slice(b"some");
                    }),
                    file.clone(),
                ]
                .concat(),
                vec![
                    Oddity::PrefixInGnuHeader,
                    Oddity::UnreadableField(oddity("gid")),
                ],
            ),
            (
                "PAX twice",
                [
                    pax(&[("mtime", "1"), ("a.b", "1"), ("mtime", "2"), ("a.b", "1")]),
                    file.clone(),
                ]
                .concat(),
                vec![Oddity::ConflictingPax(oddity("mtime"))],
            ),
            (
                "two names",
                [pax(&[("path", "one")]), long(b'L', "two\0"), file.clone()].concat(),
                vec![Oddity::ConflictingPax(oddity("path"))],
            ),
            (
                "behind a long name",
                [long(b'L', "name\0hidden"), file.clone()].concat(),
                vec![Oddity::HeaderPadding],
            ),
            (
                "type V",
                header("f", b'V', 0, no_change),
                vec![Oddity::UnknownType(b'V')],
            ),
            (
                "type 7",
                header("f", b'7', 0, no_change),
                vec![Oddity::UnknownType(b'7')],
            ),
            (
                "a size",
                header("f/", b'5', 3, no_change),
                vec![Oddity::IgnoredSize(3)],
            ),
            (
                "a dangling link",
                header("f", b'1', 0, |block| block[157] = b'x'),
                vec![Oddity::DanglingHardLink],
            ),
            (
                "a global header",
                [member("g", b'g', b"6 a=b\n"), file.clone()].concat(),
                vec![Oddity::GlobalPax(oddity("6 a=b\n"))],
            ),
            (
                "a repeated extension",
                [
                    long(b'K', "one\0"),
                    long(b'K', "two\0"),
                    header("f", b'2', 0, no_change),
                ]
                .concat(),
                vec![Oddity::RepeatedExtension(b'K')],
            ),
            (
                "an extension that Go loses",
                [
                    pax(&[("path", "other")]),
                    member("g", b'g', b""),
                    file.clone(),
                ]
                .concat(),
                vec![Oddity::GlobalPax(oddity("")), Oddity::LostExtension(b'x')],
            ),
        ];
        for (case, bytes, mut oddities) in cases {
            oddities.sort_unstable();
            let entry = only(&[&bytes, &END]);
            let found = entry
                .details
                .map(|details| details.oddities.clone())
                .unwrap_or_default();
            assert_eq!(found, oddities, "{case}");
        }
    }

    #[test]
    fn whatever_is_odd_about_the_end_is_said() {
        type Case<'a> = (&'a str, Vec<&'a [u8]>, u64, Vec<Oddity>);
        let file = member("f", b'0', b"x");
        let zeros = [0; 3000];
        let after = |bytes: &[u8]| Oddity::AfterEndOfArchive {
            size: bytes.len() as u64,
            content: Digest::of(bytes),
        };
        let tail = [b"x", &zeros[..100]].concat();
        let cases: [Case<'_>; 8] = [
            ("two blocks", vec![&file, &END], 1024, vec![]),
            ("more zeros", vec![&file, &END, &zeros], 4024, vec![]),
            ("nothing", vec![&file], 0, vec![Oddity::NoEndOfArchive]),
            (
                "cut padding",
                vec![&file[..600]],
                0,
                vec![Oddity::NoEndOfArchive],
            ),
            (
                "one block",
                vec![&file, &END[..512]],
                512,
                vec![Oddity::NoEndOfArchive],
            ),
            ("no byte at all", vec![], 0, vec![Oddity::NoEndOfArchive]),
            (
                "something",
                vec![&file, &END, &zeros, &tail],
                4024,
                vec![after(&tail)],
            ),
            (
                "a lone zero block",
                vec![&file, &END[..512], &file, &END],
                512,
                vec![Oddity::LoneZeroBlock, after(&[&file[..], &END].concat())],
            ),
        ];
        for (case, parts, padding, oddities) in cases {
            let layer = scanned(&parts).unwrap();
            assert_eq!(
                (layer.end_padding, layer.oddities),
                (padding, oddities),
                "{case}"
            );
        }
        let lost = scanned(&[&file, &pax(&[("path", "x")]), &END]).unwrap();
        assert_eq!(lost.oddities, [Oddity::LostExtension(b'x')]);
        let cut = scanned(&[&file, &pax(&[("path", "x")])[..600]]).unwrap();
        assert_eq!(
            cut.oddities,
            [Oddity::LostExtension(b'x'), Oddity::NoEndOfArchive]
        );
    }

    #[test]
    fn what_cannot_be_parsed_is_an_error_with_its_place() {
        let sized = |field: &[u8], flag| {
            header("f", flag, 0, |block| {
                block[124..124 + field.len()].copy_from_slice(field);
            })
        };
        let sparse = |size: &[u8], map: &[u8]| {
            header("f", b'S', 0, |block| {
                gnu(block);
                block[386..386 + map.len()].copy_from_slice(map);
                block[483..483 + size.len()].copy_from_slice(size);
            })
        };
        let file = member("f", b'0', b"x");
        let numbers = |records: &[(&str, &str)]| [&pax(records)[..], &file, &END].concat();
        let eib_8 = b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff";
        let cases: Vec<(&str, Vec<u8>, u64, &str)> = vec![
            (
                "size of text",
                sized(b"size", b'0'),
                0,
                "the size of an entry cannot be read",
            ),
            (
                "size below zero",
                sized(&[0xff; 12], b'0'),
                0,
                "the size of an entry cannot be read",
            ),
            (
                "size of 2^63-1",
                sized(eib_8, b'0'),
                512,
                "it ends inside of the content of an entry",
            ),
            (
                "cut content",
                file[..512].to_vec(),
                512,
                "it ends inside of the content of an entry",
            ),
            (
                "cut header",
                [&file[..], &file[..100]].concat(),
                1124,
                "it ends inside of a header",
            ),
            (
                "wrong checksum",
                [&file[..], &[1; 512]].concat(),
                1024,
                "a header's checksum is wrong",
            ),
            (
                "an extension of a gigabyte",
                header("f", b'x', 1 << 30, |_| {}),
                512,
                "an extension header has 1073741824 bytes, more than 1048576",
            ),
            (
                "cut extension",
                pax(&[("path", "x")])[..518].to_vec(),
                518,
                "it ends inside of a header",
            ),
            (
                "a record",
                [member("f", b'x', b"99 a=b\n"), file.clone()].concat(),
                1024,
                "byte 0 of the PAX header before it begins no valid record",
            ),
            (
                "a PAX size",
                numbers(&[("size", "-1")]),
                1024,
                "the size of an entry cannot be read",
            ),
            (
                "a hole of 8 EiB",
                sparse(eib_8, b""),
                0,
                "the holes of sparse files have more than 68719476736 bytes",
            ),
            (
                "an overlapping map",
                sparse(
                    b"100",
                    b"00000000010\x0000000000010\x0000000000011\x0000000000001\0",
                ),
                0,
                "a sparse map has pieces outside of the file or out of order",
            ),
            (
                "a map beyond the file",
                sparse(b"7", b"00000000010\x0000000000010\0"),
                0,
                "a sparse map has pieces outside of the file or out of order",
            ),
            (
                "a map beyond what is stored",
                sparse(b"100", b"00000000010\x0000000000010\0"),
                0,
                "a sparse map tells of 8 bytes, but 0 are stored",
            ),
            (
                "a million pieces that are not there",
                numbers(&[
                    ("GNU.sparse.major", "0"),
                    ("GNU.sparse.minor", "1"),
                    ("GNU.sparse.numblocks", "9999999999"),
                    ("GNU.sparse.map", "0,1"),
                ]),
                1024,
                "a sparse map cannot be read",
            ),
            (
                "a map that is no number",
                numbers(&[("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0")]),
                1024,
                "a sparse map cannot be read",
            ),
        ];
        for (case, bytes, place, expected) in cases {
            match scanned(&[&bytes]) {
                Err(Error::Corrupt {
                    stream: "tar",
                    offset,
                    problem,
                    ..
                }) => {
                    assert_eq!((offset, &problem[..]), (place, expected), "{case}");
                }
                other => panic!("{case}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_bomb_of_extension_headers_is_refused() {
        let large = "v".repeat(1_000_000);
        let bomb = [pax(&[("comment", &large)]), member("f", b'0', b"")].concat();
        let error = scanned(&[&bomb[..]; 70]).unwrap_err().to_string();
        assert!(error.ends_with(
            "names, attributes and sparse maps have more than 67108864 bytes, and 4096 for each entry"
        ), "{error}");
        let empty = header("x", b'x', 0, |block| block[100] = b'x');
        let error = scanned(&vec![&empty[..]; 140_000]).unwrap_err().to_string();
        assert!(error.contains("more than 67108864 bytes"), "{error}");
    }

    #[test]
    fn a_byte_anywhere_in_headers_and_padding_is_seen_in_the_entry() {
        let bytes = [
            pax(&[("comment", "text"), ("SCHILY.xattr.user.a", "b")]),
            member("f", b'0', b"content"),
        ]
        .concat();
        let entry = only(&[&bytes, &END]);
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            for block in [0, 1024] {
                let mut header = ::tar::Header::new_old();
                header
                    .as_mut_bytes()
                    .copy_from_slice(&changed[block..block + BLOCK]);
                if !(148..156).contains(&(place % BLOCK)) {
                    header.set_cksum();
                }
                changed[block..block + BLOCK].copy_from_slice(header.as_bytes());
            }
            if let Ok(layer) = scanned(&[&changed, &END]) {
                assert_ne!(layer.entries, std::slice::from_ref(&entry), "{place}");
            }
        }
    }

    /// An entry as someone may want to write it.
    #[derive(Debug, Clone)]
    struct Wanted {
        name: String,
        flag: u8,
        target: String,
        content: Vec<u8>,
        mode: u32,
        id: u64,
        mtime: u64,
        pax: bool,
    }

    fn wanted() -> impl Strategy<Value = Wanted> {
        (
            "[a-z\u{e9}]{1,8}(/[a-z.]{1,60}x){0,5}",
            prop::sample::select(b"0123456".to_vec()),
            "[a-z]{1,150}",
            prop::collection::vec(any::<u8>(), 0..1500),
            0_u32..0o10000,
            prop_oneof![0_u64..0o10_000_000, Just(1 << 40)],
            prop_oneof![0_u64..1 << 33, Just(1 << 50)],
            any::<bool>(),
        )
            .prop_map(
                |(name, flag, target, content, mode, id, mtime, pax)| Wanted {
                    name,
                    flag,
                    target,
                    content,
                    mode,
                    id,
                    mtime,
                    pax,
                },
            )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn what_another_writer_wrote_is_read_back(entries in prop::collection::vec(wanted(), 0..8)) {
            let mut builder = ::tar::Builder::new(Vec::new());
            for entry in &entries {
                let mut header = ::tar::Header::new_gnu();
                header.set_entry_type(::tar::EntryType::new(entry.flag));
                header.set_mode(entry.mode);
                header.set_uid(entry.id);
                header.set_gid(entry.id);
                header.set_mtime(entry.mtime);
                header.set_size(0);
                if entry.pax {
                    builder
                        .append_pax_extensions([("SCHILY.xattr.user.x", &entry.content[..])])
                        .unwrap();
                }
                match entry.flag {
                    b'0' => {
                        header.set_size(entry.content.len() as u64);
                        builder.append_data(&mut header, &entry.name, &entry.content[..]).unwrap();
                    }
                    b'1' | b'2' => builder.append_link(&mut header, &entry.name, &entry.target).unwrap(),
                    _ => {
                        header.set_device_major(7).unwrap();
                        header.set_device_minor(9).unwrap();
                        builder.append_data(&mut header, &entry.name, &b""[..]).unwrap();
                    }
                }
            }
            let bytes = builder.into_inner().unwrap();
            let layer = scanned(&[&bytes]).unwrap();
            prop_assert_eq!(&layer.oddities, &[]);
            prop_assert_eq!(layer.entries.len(), entries.len());
            for (entry, wanted) in layer.entries.iter().zip(&entries) {
                let kind = match wanted.flag {
                    b'0' => EntryKind::File {
                        size: wanted.content.len() as u64,
                        content: Digest::of(&wanted.content),
                    },
                    b'1' => EntryKind::HardLink { target: EntryPath::of(wanted.target.as_bytes()) },
                    b'2' => EntryKind::Symlink { target: wanted.target.as_bytes().into() },
                    b'3' => EntryKind::CharDevice { major: 7, minor: 9 },
                    b'4' => EntryKind::BlockDevice { major: 7, minor: 9 },
                    b'5' => EntryKind::Directory,
                    _ => EntryKind::Fifo,
                };
                prop_assert_eq!(&entry.kind, &kind);
                prop_assert_eq!(&entry.path, &EntryPath::of(wanted.name.as_bytes()));
                let id = i64::try_from(wanted.id).unwrap();
                let mtime = Timestamp::from_seconds(i64::try_from(wanted.mtime).unwrap());
                prop_assert_eq!((entry.mode, entry.uid, entry.gid, entry.mtime), (wanted.mode, id, id, mtime));
                let xattrs = entry.details.as_ref().map(|details| details.xattrs.clone());
                let value = xattrs.unwrap_or_default().remove(&b"user.x"[..]);
                prop_assert_eq!(value, wanted.pax.then(|| wanted.content.clone().into()));
            }
        }

        #[test]
        fn mutated_archives_never_panic(
            entries in prop::collection::vec(
                (prop::sample::select(b"0125xgLKSV7\0".to_vec()), prop::collection::vec(any::<u8>(), 0..700)),
                1..5,
            ),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = Vec::new();
            for (flag, content) in &entries {
                bytes.extend(member("name", *flag, content));
            }
            let headers: Vec<usize> = (0..bytes.len()).step_by(BLOCK)
                .filter(|&start| Header::read(bytes[start..start + BLOCK].try_into().unwrap()).is_some())
                .collect();
            for (place, value) in changes {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
            for start in headers {
                let mut header = ::tar::Header::new_old();
                header.as_mut_bytes().copy_from_slice(&bytes[start..start + BLOCK]);
                // Holes within the limit take minutes to hash.
                if header.as_bytes()[156] != b'S' {
                    header.set_cksum();
                }
                bytes[start..start + BLOCK].copy_from_slice(header.as_bytes());
            }
            bytes.truncate(cut.index(bytes.len() + 1).max(BLOCK));
            if let Ok(layer) = scanned(&[&bytes]) {
                prop_assert_eq!(layer.uncompressed_size, bytes.len() as u64);
            }
        }
    }
}
