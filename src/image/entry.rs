//! One entry of a layer's tar, as the archive said it.
//!
//! Nothing is dropped: fields that mean something have a place of their own,
//! [`Entry::header`] is the hash of all the header bytes, so that two entries
//! which agree in every field and differ in a byte are still told apart.

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

use crate::digest::Digest;

/// One entry: a header with all its extensions, and the hash of what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where the entry lands in the file system.
    pub path: EntryPath,
    /// What it is.
    pub kind: EntryKind,
    /// The mode field as written, with file-type bits where the writer sets them.
    pub mode: u32,
    /// Numeric owner; a negative one can be written in base 256.
    pub uid: i64,
    /// Numeric group.
    pub gid: i64,
    /// Modification time.
    pub mtime: Timestamp,
    /// What most entries lack, shared among those that have the same.
    pub details: Option<Arc<Details>>,
    /// The hash of every header block, extension headers and their content and padding included.
    pub header: Digest,
}

impl Entry {
    /// Returns the extended attributes, by name.
    pub fn xattrs(&self) -> &BTreeMap<Box<[u8]>, Box<[u8]>> {
        static NONE: BTreeMap<Box<[u8]>, Box<[u8]>> = BTreeMap::new();
        self.details
            .as_ref()
            .map_or(&NONE, |details| &details.xattrs)
    }

    /// Returns the name as written, `None` where it is the path without decoration.
    pub fn raw_name(&self) -> Option<Cow<'_, [u8]>> {
        let name = self.details.as_ref()?.raw_name.as_ref()?;
        Some(name.bytes(&self.path, Suffix::of(&self.kind)))
    }

    /// Returns a hard link's target as written, `None` where it is the path without decoration.
    pub fn raw_target(&self) -> Option<Cow<'_, [u8]>> {
        let name = self.details.as_ref()?.raw_target.as_ref()?;
        match &self.kind {
            EntryKind::HardLink { target } => Some(name.bytes(target, Suffix::None)),
            _ => None,
        }
    }

    /// Returns whether the entry is another name of a file written earlier.
    pub const fn is_hard_link(&self) -> bool {
        matches!(self.kind, EntryKind::HardLink { .. })
    }

    /// Returns what is odd about the entry.
    pub fn oddities(&self) -> &[Oddity] {
        self.details
            .as_ref()
            .map_or(&[], |details| &details.oddities)
    }
}

impl EntryKind {
    /// Returns the bytes of content; 0 for what has none.
    pub const fn size(&self) -> u64 {
        match self {
            Self::File { size, .. } | Self::Other { size, .. } => *size,
            Self::HardLink { .. }
            | Self::Symlink { .. }
            | Self::CharDevice { .. }
            | Self::BlockDevice { .. }
            | Self::Directory
            | Self::Fifo => 0,
        }
    }
}

/// The parts of an entry that most entries lack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// How the name was written, where it is not the path without decoration
    /// (no leading `/` or `./`, a `/` after a directory's name).
    pub raw_name: Option<RawName>,
    /// How a hard link's target was written, where it is not the path without decoration.
    pub raw_target: Option<RawName>,
    /// Owner's name; empty in images made by Docker.
    pub uname: Box<[u8]>,
    /// Group's name.
    pub gname: Box<[u8]>,
    /// Extended attributes, by name.
    pub xattrs: BTreeMap<Box<[u8]>, Box<[u8]>>,
    /// Access time, from PAX or a GNU header.
    pub atime: Option<Timestamp>,
    /// Status change time, from PAX or a GNU header.
    pub ctime: Option<Timestamp>,
    /// PAX records that are in no other field, in the order written; local ones only.
    pub pax: Vec<PaxRecord>,
    /// The holes' counterpart: where a sparse file has data, as (offset, size).
    pub sparse: Vec<(u64, u64)>,
    /// What is odd about this entry.
    pub oddities: Vec<Oddity>,
}

/// How a name was written that is more than its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RawName {
    /// With `./` before it: so GNU tar writes all that it finds in `.`.
    ///
    /// Apart from the rest because it says nothing of its own entry, so that
    /// the entries of a whole archive can share their [`Details`].
    Dotted,
    /// In any other way: these bytes.
    Written(Box<[u8]>),
}

impl RawName {
    /// Returns how this name of `path` is written; `None` where it is the path and the suffix.
    pub(crate) fn of(name: &[u8], path: &EntryPath, suffix: Suffix) -> Option<Self> {
        if *name == *suffix.after(path.as_bytes()) {
            None
        } else if *name == *Self::Dotted.bytes(path, suffix) {
            Some(Self::Dotted)
        } else {
            Some(Self::Written(name.into()))
        }
    }

    fn bytes(&self, path: &EntryPath, suffix: Suffix) -> Cow<'_, [u8]> {
        match self {
            Self::Dotted if path.is_root() => Cow::Borrowed(b"./"),
            Self::Dotted => {
                let name = [b"./", path.as_bytes()].concat();
                Cow::Owned(suffix.after(&name).into_owned())
            }
            Self::Written(name) => Cow::Borrowed(name),
        }
    }
}

/// What stands after an entry's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suffix {
    /// A slash, after a directory's.
    Slash,
    /// Nothing.
    None,
}

impl Suffix {
    pub(crate) const fn of(kind: &EntryKind) -> Self {
        match kind {
            EntryKind::Directory => Self::Slash,
            EntryKind::File { .. }
            | EntryKind::HardLink { .. }
            | EntryKind::Symlink { .. }
            | EntryKind::CharDevice { .. }
            | EntryKind::BlockDevice { .. }
            | EntryKind::Fifo
            | EntryKind::Other { .. } => Self::None,
        }
    }

    fn after(self, name: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Self::Slash => Cow::Owned([name, b"/"].concat()),
            Self::None => Cow::Borrowed(name),
        }
    }
}

/// A PAX keyword and its value.
pub type PaxRecord = (Box<[u8]>, Box<[u8]>);

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Bytes of content; of a sparse file with its holes.
        size: u64,
        /// The hash of the content, a sparse file's holes read as zeros.
        content: Digest,
    },
    /// Another name of a file written earlier.
    HardLink {
        /// The path linked to.
        target: EntryPath,
    },
    /// A symbolic link.
    Symlink {
        /// The target, exactly as written.
        target: Box<[u8]>,
    },
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
    /// A type that no runtime makes a file of.
    Other {
        /// The header's type flag.
        flag: u8,
        /// Bytes that follow.
        size: u64,
        /// Their hash.
        content: Digest,
    },
}

/// A time, as exactly as a tar can say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Whole seconds since the epoch, rounded down.
    pub seconds: i64,
    /// Nanoseconds after `seconds`.
    pub nanoseconds: u32,
}

/// Something in a layer's bytes that no well-behaved builder writes, or that one
/// reader may take otherwise than another.
///
/// Where one side has it and the other has not, it is a difference of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Oddity {
    /// The name begins with a slash.
    AbsoluteName,
    /// The name, or a hard link's target, has a `..` in it.
    ParentInName,
    /// A regular file's name ends with a slash: GNU tar makes it a directory, Go does not.
    TrailingSlash,
    /// The name is empty.
    EmptyName,
    /// A GNU header has a prefix in place of its times, as Go wrote before 1.8; only Go reads it so.
    PrefixInGnuHeader,
    /// The bytes between the content and the next header are not all zero.
    ContentPadding(Digest),
    /// The header, or one of its extensions, has bytes set where readers look for nothing.
    ///
    /// After the zero that ends a name, in fields that the type or format has no
    /// use for, between an extension and the next block.
    HeaderPadding,
    /// A PAX keyword is given more than once, with different values.
    ConflictingPax(Box<[u8]>),
    /// A PAX record or header field cannot be read as what it should be.
    UnreadableField(Box<[u8]>),
    /// The type flag is one that Docker and containerd refuse to unpack.
    UnknownType(u8),
    /// The entry is of a type without content, yet says that this many bytes follow.
    ///
    /// Go takes the next block as a header, as is done here; a reader that
    /// believes the size skips it.
    IgnoredSize(u64),
    /// A hard link's target is not among the entries before it in the same layer.
    DanglingHardLink,
    /// The content of a PAX global header before the entry; Docker and containerd ignore it.
    GlobalPax(Box<[u8]>),
    /// The same kind of extension header precedes the entry more than once; Go takes the last.
    RepeatedExtension(u8),
    /// An extension header is not followed by the entry it extends; Go drops it.
    LostExtension(u8),
    /// The archive ends without two zero blocks.
    NoEndOfArchive,
    /// A single zero block stands where two should end the archive; what follows is not read as entries.
    LoneZeroBlock,
    /// There is something other than zeros after the end of the archive.
    AfterEndOfArchive {
        /// How many bytes from the first that is not zero to the last, zeros included.
        size: u64,
        /// Their hash.
        content: Digest,
    },
    /// There are bytes after the last member of the compressed stream.
    AfterCompressedStream {
        /// How many.
        size: u64,
        /// Their hash.
        content: Digest,
    },
    /// A gzip header has an extra field.
    GzipExtra(Box<[u8]>),
    /// A gzip header has a file name.
    GzipName(Box<[u8]>),
    /// A gzip header has a comment.
    GzipComment(Box<[u8]>),
    /// A gzip header sets reserved flags.
    GzipReservedFlags(u8),
    /// A gzip header says that the content is text.
    GzipText,
    /// A gzip header has a checksum of its own.
    GzipHeaderChecksum(u16),
    /// A zstd stream has a skippable frame.
    SkippableFrame {
        /// The frame's size.
        size: u64,
        /// The hash of its content.
        content: Digest,
    },
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AbsoluteName => f.write_str("absolute name"),
            Self::ParentInName => f.write_str(".. in a name"),
            Self::TrailingSlash => f.write_str("slash after a file's name"),
            Self::EmptyName => f.write_str("empty name"),
            Self::PrefixInGnuHeader => f.write_str("prefix in a GNU header"),
            Self::ContentPadding(digest) => write!(f, "bytes after the content: {digest}"),
            Self::HeaderPadding => f.write_str("bytes in unused header fields"),
            Self::ConflictingPax(key) => write!(f, "conflicting PAX {}", Printable(key)),
            Self::UnreadableField(field) => write!(f, "unreadable field {}", Printable(field)),
            Self::UnknownType(flag) => write!(f, "unknown type flag {flag}"),
            Self::IgnoredSize(size) => write!(f, "{size} bytes of an entry without content"),
            Self::DanglingHardLink => f.write_str("hard link to nothing before it"),
            Self::GlobalPax(records) => write!(f, "PAX global header {}", Printable(records)),
            Self::RepeatedExtension(flag) => {
                write!(
                    f,
                    "repeated extension header {}",
                    char::from(*flag).escape_default()
                )
            }
            Self::LostExtension(flag) => {
                write!(
                    f,
                    "extension header {} of no entry",
                    char::from(*flag).escape_default()
                )
            }
            Self::NoEndOfArchive => f.write_str("no end of the archive"),
            Self::LoneZeroBlock => f.write_str("a single zero block for an end"),
            Self::AfterEndOfArchive { size, content } => {
                write!(f, "{size} bytes after the end of the archive: {content}")
            }
            Self::AfterCompressedStream { size, content } => {
                write!(f, "{size} bytes after the compressed stream: {content}")
            }
            Self::GzipExtra(field) => write!(f, "gzip extra field {}", Printable(field)),
            Self::GzipName(name) => write!(f, "gzip file name {}", Printable(name)),
            Self::GzipComment(text) => write!(f, "gzip comment {}", Printable(text)),
            Self::GzipReservedFlags(flags) => write!(f, "gzip reserved flags {flags:#04x}"),
            Self::GzipText => f.write_str("gzip text flag"),
            Self::GzipHeaderChecksum(checksum) => write!(f, "gzip header checksum {checksum:#06x}"),
            Self::SkippableFrame { size, content } => {
                write!(f, "zstd skippable frame of {size} bytes: {content}")
            }
        }
    }
}

/// Where an entry lands: components joined by `/`, relative to the root.
///
/// Empty for the root itself. Bytes, since tar promises no UTF-8. `.` and empty
/// components are gone, `..` is resolved and never leaves the root, as
/// containerd and Docker do; the name as written is in [`Details::raw_name`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryPath(Box<[u8]>);

impl EntryPath {
    /// Returns where a member with this name lands.
    pub fn of(name: &[u8]) -> Self {
        let mut components: Vec<&[u8]> = Vec::new();
        for component in name.split(|&byte| byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => drop(components.pop()),
                name => components.push(name),
            }
        }
        Self(components.join(&b'/').into())
    }

    /// Returns the bytes, without a leading or trailing slash.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns whether this is the root directory.
    pub const fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the directory that holds this path; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        Some(Self(self.0[..end].into()))
    }

    /// Returns the last component; empty for the root.
    pub fn file_name(&self) -> &[u8] {
        let start = self
            .0
            .iter()
            .rposition(|&byte| byte == b'/')
            .map_or(0, |slash| slash + 1);
        &self.0[start..]
    }

    /// Returns the path of `name` inside this directory.
    #[must_use]
    pub fn join(&self, name: &[u8]) -> Self {
        if self.is_root() {
            Self::of(name)
        } else {
            Self::of(&[&self.0, name].join(&b'/'))
        }
    }
}

/// Lets a map of paths be searched by bytes, for all that begins with a path.
impl std::borrow::Borrow<[u8]> for EntryPath {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", Printable(&self.0))
    }
}

impl fmt::Debug for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Prints bytes so that they can be told from any others and do no harm to a terminal.
///
/// Printable UTF-8 stands for itself; control characters, bytes that are no
/// UTF-8, characters that reorder or hide text, and the backslash are written as
/// `\ooo` in octal, byte by byte.
#[derive(Debug, Clone, Copy)]
pub struct Printable<'a>(pub &'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        let octal = |f: &mut fmt::Formatter<'_>, bytes: &[u8]| {
            bytes.iter().try_for_each(|byte| write!(f, "\\{byte:03o}"))
        };
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if character == '\\' || misleads(character) {
                    octal(f, character.encode_utf8(&mut [0; 4]).as_bytes())?;
                } else {
                    f.write_char(character)?;
                }
            }
            octal(f, chunk.invalid())?;
        }
        Ok(())
    }
}

/// Returns whether a character would not be seen, or would move others, on a terminal or page.
pub(crate) fn misleads(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

impl Timestamp {
    /// Returns the time of whole `seconds` since the epoch.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self {
            seconds,
            nanoseconds: 0,
        }
    }
}

impl fmt::Display for Timestamp {
    /// Writes mtree's form: seconds, a point, nine digits of nanoseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.seconds, self.nanoseconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_lands_inside_the_root_whatever_it_says() {
        let cases: [(&[u8], &[u8]); 8] = [
            (b"etc/passwd", b"etc/passwd"),
            (b"./etc/", b"etc"),
            (b"/etc//./passwd", b"etc/passwd"),
            (b"etc/../bin/sh", b"bin/sh"),
            (b"../../etc", b"etc"),
            (b"./", b""),
            (b"", b""),
            (b"a\xff/b", b"a\xff/b"),
        ];
        for (name, path) in cases {
            assert_eq!(EntryPath::of(name).as_bytes(), path, "{}", Printable(name));
        }
    }

    #[test]
    fn printed_bytes_can_be_told_from_any_others() {
        let cases: [(&[u8], &str); 5] = [
            (b"plain name", "plain name"),
            (b"a\\b", "a\\134b"),
            (b"\x1b[31m\xff", "\\033[31m\\377"),
            ("caf\u{e9}".as_bytes(), "caf\u{e9}"),
            ("\u{202e}".as_bytes(), "\\342\\200\\256"),
        ];
        for (bytes, printed) in cases {
            assert_eq!(Printable(bytes).to_string(), printed);
        }
    }
}
