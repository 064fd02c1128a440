//! Tar writing: members → bytes, as Go's `archive/tar` under Docker and containerd has them.
//!
//! Both builders hand Go a header that asks for PAX and get plain ustar wherever
//! ustar can say everything. They differ in one point: Docker's classic builder
//! keeps the file-type bits in the mode. Neither writes owner names, times other
//! than whole seconds of mtime, or extended attributes other than capabilities.
//! The order of members is the caller's business: see [`walk_order`].
//!
//! Go since 1.10 (Docker 17.12 and later) writes these bytes; the tests hold
//! them against Go itself. Source: Go `src/archive/tar/writer.go`; moby
//! `go-archive`; containerd `pkg/archive/tar.go`.

use std::{
    cmp::Ordering,
    io::{self, Read, Write},
};

use super::{Builder, TarDialect};

const BLOCK: usize = 512;
const NAME: usize = 100;
const PREFIX: usize = 155;

/// What one member says about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    /// The path from the root, without a slash at either end.
    pub path: &'a [u8],
    /// What the file is.
    pub kind: MemberKind<'a>,
    /// What the file is, where `kind` is a hard link to it; decides the type bits.
    pub file_type: FileType,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Modification time in seconds since the epoch.
    pub mtime: i64,
    /// Major and minor number of a device; zeros for anything else.
    pub device: (u32, u32),
    /// The extended attribute `security.capability`.
    pub capability: Option<&'a [u8]>,
}

/// How a member carries its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberKind<'a> {
    /// A regular file; this many bytes follow.
    File {
        /// The number of bytes.
        size: u64,
    },
    /// Another name of a member written before.
    HardLink {
        /// That member's path.
        target: &'a [u8],
    },
    /// A symbolic link.
    Symlink {
        /// The target as it is in the file system.
        target: &'a [u8],
    },
    /// A directory.
    Directory,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
}

/// The type of a file, as `stat` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileType {
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A directory.
    Directory,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
}

impl FileType {
    /// The bits that Docker's classic builder adds to the mode (`fillGo18FileTypeBits`).
    const fn bits(self) -> u32 {
        match self {
            Self::Fifo => 0o010_000,
            Self::CharDevice => 0o020_000,
            Self::Directory => 0o040_000,
            Self::BlockDevice => 0o060_000,
            Self::File => 0o100_000,
            Self::Symlink => 0o120_000,
        }
    }
}

/// Compares two paths as the builders' walk meets them: each directory's names
/// by bytes, a directory before what is in it.
///
/// Not the order of the whole paths' bytes: `a/b` comes before `a-b`.
pub fn walk_order(one: &[u8], other: &[u8]) -> Ordering {
    one.split(|&byte| byte == b'/')
        .cmp(other.split(|&byte| byte == b'/'))
}

/// Writes members in a dialect.
pub struct TarWriter<W> {
    sink: W,
    dialect: TarDialect,
}

impl<W: Write> TarWriter<W> {
    /// Returns a writer into `sink`.
    pub const fn new(sink: W, dialect: TarDialect) -> Self {
        Self { sink, dialect }
    }

    /// Writes a member; `content` is read only for a [`MemberKind::File`].
    ///
    /// Fails with [`io::ErrorKind::InvalidData`] where `content` has fewer or
    /// more bytes than the member says, and with
    /// [`io::ErrorKind::InvalidInput`] where Go would refuse the header too.
    pub fn member(&mut self, member: &Member<'_>, mut content: impl Read) -> io::Result<()> {
        self.header(member)?;
        let MemberKind::File { size } = member.kind else {
            return Ok(());
        };
        let copied = io::copy(&mut (&mut content).take(size), &mut self.sink)?;
        if copied != size || content.read(&mut [0])? != 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the content of a file does not have the {size} bytes it should have"),
            ));
        }
        self.padding(size)
    }

    /// Ends the archive and returns the sink, which is not flushed.
    pub fn finish(mut self) -> io::Result<W> {
        self.sink.write_all(&[0; 2 * BLOCK])?;
        Ok(self.sink)
    }

    fn header(&mut self, member: &Member<'_>) -> io::Result<()> {
        let mut name = member.path.to_vec();
        if member.kind == MemberKind::Directory {
            name.push(b'/');
        }
        let (flag, link, size) = match member.kind {
            MemberKind::File { size } => (b'0', &b""[..], size),
            MemberKind::HardLink { target } => (b'1', target, 0),
            MemberKind::Symlink { target } => (b'2', target, 0),
            MemberKind::CharDevice => (b'3', &b""[..], 0),
            MemberKind::BlockDevice => (b'4', &b""[..], 0),
            MemberKind::Directory => (b'5', &b""[..], 0),
            MemberKind::Fifo => (b'6', &b""[..], 0),
        };
        let mode = match self.dialect.builder() {
            Builder::Classic => member.mode | member.file_type.bits(),
            Builder::BuildKit => member.mode,
        };
        let mtime = u64::try_from(member.mtime);

        // The records, in the order Go sorts them: by the bytes of the keyword.
        let mut records: Vec<(&[u8], Vec<u8>)> = Vec::new();
        let mut ustar = true;
        if let Some(capability) = member.capability {
            ustar = false;
            records.push((b"SCHILY.xattr.security.capability", capability.to_vec()));
        }
        if !fits(member.gid.into(), 8) {
            ustar = false;
            records.push((b"gid", member.gid.to_string().into()));
        }
        if !is_ascii(link) || link.len() > NAME {
            ustar = false;
            records.push((b"linkpath", link.to_vec()));
        }
        if !mtime.is_ok_and(|mtime| fits(mtime, 12)) {
            ustar = false;
            records.push((b"mtime", member.mtime.to_string().into()));
        }
        if !is_ascii(&name) || name.len() > NAME {
            ustar &= split(&name).is_some();
            records.push((b"path", name.clone()));
        }
        if !fits(size, 12) {
            ustar = false;
            records.push((b"size", size.to_string().into()));
        }
        if !fits(member.uid.into(), 8) {
            ustar = false;
            records.push((b"uid", member.uid.to_string().into()));
        }
        let unwritable = name.contains(&0)
            || link.contains(&0)
            || [mode, member.device.0, member.device.1]
                .into_iter()
                .any(|number| !fits(number.into(), 8));
        if unwritable {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a name has a zero byte or a device number is too big for a tar header",
            ));
        }

        let mut prefix: &[u8] = b"";
        let mut short = name.clone();
        let mut short_link = link.to_vec();
        if ustar {
            if let Some((before, after)) = split(&name) {
                prefix = before;
                short = after.to_vec();
            }
        } else {
            self.extension(&name, &records)?;
            short = ascii_of(&short);
            short_link = ascii_of(&short_link);
        }

        let mut block = Block::new(flag);
        block.text(0, NAME, &short);
        block.octal(100, 8, mode.into());
        block.octal(108, 8, member.uid.into());
        block.octal(116, 8, member.gid.into());
        block.octal(124, 12, size);
        block.octal(136, 12, mtime.unwrap_or(0));
        block.text(157, NAME, &short_link);
        block.octal(329, 8, member.device.0.into());
        block.octal(337, 8, member.device.1.into());
        block.text(345, PREFIX, prefix);
        self.sink.write_all(&block.sealed())
    }

    /// Writes the extended header that precedes a member which ustar cannot describe.
    fn extension(&mut self, name: &[u8], records: &[(&[u8], Vec<u8>)]) -> io::Result<()> {
        let body: Vec<u8> = records
            .iter()
            .flat_map(|(keyword, value)| record(keyword, value))
            .collect();
        // path.Join(dir, "PaxHeaders.0", file): a directory's own name is in dir.
        let slash = name.iter().rposition(|&byte| byte == b'/');
        let (directory, file) = slash.map_or((&b""[..], name), |at| (&name[..at], &name[at + 1..]));
        let mut own_name = Vec::new();
        for part in [directory, b"PaxHeaders.0", file] {
            if !part.is_empty() {
                if !own_name.is_empty() {
                    own_name.push(b'/');
                }
                own_name.extend_from_slice(part);
            }
        }
        let mut own_name = ascii_of(&own_name);
        own_name.truncate(NAME);
        while own_name.last() == Some(&b'/') {
            own_name.pop();
        }

        let mut block = Block::new(b'x');
        block.text(0, NAME, &own_name);
        for (at, length) in [(100, 8), (108, 8), (116, 8), (136, 12)] {
            block.octal(at, length, 0);
        }
        block.octal(124, 12, body.len() as u64);
        self.sink.write_all(&block.sealed())?;
        self.sink.write_all(&body)?;
        self.padding(body.len() as u64)
    }

    fn padding(&mut self, size: u64) -> io::Result<()> {
        let missing = size.wrapping_neg() % BLOCK as u64;
        io::copy(&mut io::repeat(0).take(missing), &mut self.sink).map(drop)
    }
}

/// One header block being filled in.
struct Block([u8; BLOCK]);

impl Block {
    fn new(flag: u8) -> Self {
        let mut block = [0; BLOCK];
        block[156] = flag;
        block[257..265].copy_from_slice(b"ustar\x0000");
        Self(block)
    }

    /// Writes text, cut off at the field's end; no slash is left at the cut.
    fn text(&mut self, at: usize, length: usize, text: &[u8]) {
        let field = &mut self.0[at..at + length];
        let copied = text.len().min(length);
        field[..copied].copy_from_slice(&text[..copied]);
        if text.len() > length && field[length - 1] == b'/' {
            let end = field
                .iter()
                .rposition(|&byte| byte != b'/')
                .map_or(0, |last| last + 1);
            field[end] = 0;
        }
    }

    /// Writes a number in octal with leading zeros and a NUL; zero where it does not fit.
    fn octal(&mut self, at: usize, length: usize, number: u64) {
        let number = if fits(number, length) { number } else { 0 };
        let digits = format!("{number:0width$o}", width = length - 1);
        self.0[at..at + length - 1].copy_from_slice(digits.as_bytes());
    }

    /// Returns the block with its checksum.
    fn sealed(mut self) -> [u8; BLOCK] {
        self.0[148..156].fill(b' ');
        let sum: u64 = self.0.iter().map(|&byte| u64::from(byte)).sum();
        self.0[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}

/// Returns whether `number` can be written in octal in a field of this length.
const fn fits(number: u64, length: usize) -> bool {
    number < 1 << ((length - 1) * 3)
}

fn is_ascii(text: &[u8]) -> bool {
    text.iter().all(|byte| (1..0x80).contains(byte))
}

fn ascii_of(text: &[u8]) -> Vec<u8> {
    text.iter()
        .copied()
        .filter(|byte| (1..0x80).contains(byte))
        .collect()
}

/// Splits a long name into ustar's prefix and name, where that is possible.
///
/// Go's `splitUSTARPath`: at the last slash that leaves both short enough.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= NAME || !is_ascii(name) {
        return None;
    }
    let searched = if name.len() > PREFIX + 1 {
        PREFIX + 1
    } else if name.last() == Some(&b'/') {
        name.len() - 1
    } else {
        name.len()
    };
    let slash = name[..searched].iter().rposition(|&byte| byte == b'/')?;
    let (before, after) = (&name[..slash], &name[slash + 1..]);
    let possible = slash > 0 && !after.is_empty() && after.len() <= NAME && before.len() <= PREFIX;
    possible.then_some((before, after))
}

/// Returns a PAX record: its own length in decimal, a space, `keyword=value` and a line end.
fn record(keyword: &[u8], value: &[u8]) -> Vec<u8> {
    let bare = keyword.len() + value.len() + 3;
    let mut length = bare + bare.to_string().len();
    length = bare + length.to_string().len();
    [
        length.to_string().as_bytes(),
        b" ",
        keyword,
        b"=",
        value,
        b"\n",
    ]
    .concat()
}
