//! Tar archives as blocks: read, changed and written without any tar library.
//!
//! The tests' own, so that a mistake in how `reprove` reads a tar is not made
//! here a second time. Whatever is not changed keeps its bytes.

use std::ops::Range;

pub(crate) const BLOCK: usize = 512;
/// The modification time of what [`Member::new`] makes.
pub(crate) const BUILT: u64 = 1_700_000_000;

const NAME: Range<usize> = 0..100;
pub(crate) const MODE: Range<usize> = 100..108;
pub(crate) const UID: Range<usize> = 108..116;
pub(crate) const GID: Range<usize> = 116..124;
pub(crate) const SIZE: Range<usize> = 124..136;
pub(crate) const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const FLAG: usize = 156;
const LINK: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..265;
pub(crate) const UNAME: Range<usize> = 265..297;
pub(crate) const GNAME: Range<usize> = 297..329;
pub(crate) const MAJOR: Range<usize> = 329..337;
pub(crate) const MINOR: Range<usize> = 337..345;
const PREFIX: Range<usize> = 345..500;
/// The bytes that a ustar header does not use.
pub(crate) const UNUSED: Range<usize> = 500..512;

/// An archive: its members, and all bytes that come after the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Archive {
    pub(crate) members: Vec<Member>,
    pub(crate) end: Vec<u8>,
}

/// A header, the extension headers before it, and the content after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// PAX and GNU extension headers with their content and padding.
    pub(crate) extensions: Vec<u8>,
    pub(crate) header: [u8; BLOCK],
    pub(crate) content: Vec<u8>,
    pub(crate) padding: Vec<u8>,
}

/// PAX records in the order written.
pub(crate) type Records = Vec<(String, Vec<u8>)>;

impl Archive {
    /// Returns an archive of these members, ended as GNU tar and Docker do.
    pub(crate) fn new(members: Vec<Member>) -> Self {
        Self {
            members,
            end: vec![0; 2 * BLOCK],
        }
    }

    /// Reads a well-formed archive.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let mut members = Vec::new();
        let mut rest = bytes;
        let mut extensions = Vec::new();
        while rest.len() >= BLOCK && rest[..BLOCK].iter().any(|&byte| byte != 0) {
            let header: [u8; BLOCK] = rest[..BLOCK].try_into().unwrap();
            let size = usize::try_from(octal(&header[SIZE])).unwrap();
            let has_content = !(b'1'..=b'6').contains(&header[FLAG]);
            let size = if has_content { size } else { 0 };
            let padded = BLOCK + size.next_multiple_of(BLOCK);
            if b"xgLK".contains(&header[FLAG]) {
                extensions.extend_from_slice(&rest[..padded]);
            } else {
                members.push(Member {
                    extensions: std::mem::take(&mut extensions),
                    header,
                    content: rest[BLOCK..BLOCK + size].to_vec(),
                    padding: rest[BLOCK + size..padded].to_vec(),
                });
            }
            rest = &rest[padded..];
        }
        Self {
            members,
            end: rest.to_vec(),
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for member in &self.members {
            bytes.extend_from_slice(&member.extensions);
            bytes.extend_from_slice(&member.header);
            bytes.extend_from_slice(&member.content);
            bytes.extend_from_slice(&member.padding);
        }
        bytes.extend_from_slice(&self.end);
        bytes
    }
}

impl Member {
    /// Returns a member without content: 0644 or 0755, owned by root.
    pub(crate) fn new(flag: u8, name: &str) -> Self {
        let mut member = Self {
            extensions: Vec::new(),
            header: [0; BLOCK],
            content: Vec::new(),
            padding: Vec::new(),
        };
        member.header[MAGIC].copy_from_slice(b"ustar\x0000");
        member.header[FLAG] = flag;
        member.set(MODE, if flag == b'5' { 0o755 } else { 0o644 });
        for field in [UID, GID, SIZE] {
            member.set(field, 0);
        }
        if matches!(flag, b'3' | b'4') {
            member.set(MAJOR, 1);
            member.set(MINOR, 3);
        }
        member.set(MTIME, BUILT);
        if name.len() <= NAME.len() {
            member.set_text(NAME, name.as_bytes());
        } else {
            member.set_text(NAME, &name.as_bytes()[..NAME.len()]);
            member.set_pax(&[("path".to_owned(), name.as_bytes().to_vec())]);
        }
        member
    }

    pub(crate) fn directory(name: &str) -> Self {
        Self::new(b'5', name)
    }

    pub(crate) fn file(name: &str, content: &[u8]) -> Self {
        Self::new(b'0', name).with_content(content)
    }

    /// Returns a hard link (`1`) or symbolic link (`2`).
    pub(crate) fn link(flag: u8, name: &str, target: &str) -> Self {
        let mut member = Self::new(flag, name);
        if flag == b'2' {
            member.set(MODE, 0o777);
        }
        member.set_text(LINK, target.as_bytes());
        member
    }

    pub(crate) fn with_mode(mut self, mode: u64) -> Self {
        self.set(MODE, mode);
        self
    }

    pub(crate) fn with_content(mut self, content: &[u8]) -> Self {
        self.set_content(content.to_vec());
        self
    }

    pub(crate) fn with_pax(mut self, records: &[(&str, &[u8])]) -> Self {
        let mut all = self.pax();
        all.extend(
            records
                .iter()
                .map(|(key, value)| ((*key).to_owned(), value.to_vec())),
        );
        self.set_pax(&all);
        self
    }

    /// Returns the member's type flag, with the old one for files as the new one.
    pub(crate) fn flag(&self) -> u8 {
        match self.header[FLAG] {
            0 => b'0',
            flag => flag,
        }
    }

    pub(crate) fn set_flag(&mut self, flag: u8) {
        self.header[FLAG] = flag;
        self.sum();
    }

    pub(crate) fn number(&self, field: Range<usize>) -> u64 {
        octal(&self.header[field])
    }

    /// Writes a number as the field's other writers did: as wide, ended with NUL.
    pub(crate) fn set(&mut self, field: Range<usize>, value: u64) {
        let width = field.len() - 1;
        let text = format!("{value:0width$o}\0");
        assert_eq!(text.len(), field.len(), "{value:o} fits into the field");
        self.header[field].copy_from_slice(text.as_bytes());
        self.sum();
    }

    pub(crate) fn set_text(&mut self, field: Range<usize>, text: &[u8]) {
        self.header[field.clone()].fill(0);
        self.header[field.start..][..text.len()].copy_from_slice(text);
        self.sum();
    }

    /// Writes the checksum over the header as it stands.
    pub(crate) fn sum(&mut self) {
        self.header[CHECKSUM].fill(b' ');
        let sum: u32 = self.header.iter().map(|&byte| u32::from(byte)).sum();
        self.header[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }

    pub(crate) fn set_content(&mut self, content: Vec<u8>) {
        self.set(SIZE, content.len() as u64);
        self.padding = vec![0; content.len().next_multiple_of(BLOCK) - content.len()];
        self.content = content;
    }

    /// Returns the name as written.
    pub(crate) fn raw_name(&self) -> String {
        if let Some(name) = self.long(b'L').or_else(|| self.record("path")) {
            return name;
        }
        let name = text(&self.header[NAME]);
        let prefix = text(&self.header[PREFIX]);
        if &self.header[MAGIC] == b"ustar\x0000" && !prefix.is_empty() {
            format!("{prefix}/{name}")
        } else {
            name
        }
    }

    /// Writes the name into the header; a longer one goes where the old one was.
    pub(crate) fn set_name(&mut self, name: &str) {
        assert!(self.extensions.is_empty(), "the name is in the header");
        self.header[PREFIX].fill(0);
        self.set_text(NAME, name.as_bytes());
    }

    /// Returns the path that the name leads to, without a slash at either end.
    pub(crate) fn path(&self) -> String {
        let name = self.raw_name();
        let parts: Vec<&str> = name
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".")
            .collect();
        parts.join("/")
    }

    pub(crate) fn target(&self) -> String {
        self.long(b'K')
            .or_else(|| self.record("linkpath"))
            .unwrap_or_else(|| text(&self.header[LINK]))
    }

    pub(crate) fn set_target(&mut self, target: &str) {
        self.set_text(LINK, target.as_bytes());
    }

    /// Returns whether a PAX record or GNU header says what this header field should.
    pub(crate) fn overrides(&self, keyword: &str) -> bool {
        self.record(keyword).is_some()
    }

    fn record(&self, keyword: &str) -> Option<String> {
        let (_, value) = self.pax().into_iter().rfind(|(key, _)| key == keyword)?;
        Some(String::from_utf8(value).unwrap())
    }

    /// Returns the content of the GNU extension header of this type.
    fn long(&self, flag: u8) -> Option<String> {
        self.extension(flag).map(text)
    }

    fn extension(&self, flag: u8) -> Option<&[u8]> {
        let mut rest = self.extensions.as_slice();
        while !rest.is_empty() {
            let size = usize::try_from(octal(&rest[SIZE])).unwrap();
            if rest[FLAG] == flag {
                return Some(&rest[BLOCK..BLOCK + size]);
            }
            rest = &rest[BLOCK + size.next_multiple_of(BLOCK)..];
        }
        None
    }

    /// Returns the PAX records before the member.
    pub(crate) fn pax(&self) -> Records {
        let mut records = Vec::new();
        let mut rest = self.extension(b'x').unwrap_or_default();
        while !rest.is_empty() {
            let space = rest.iter().position(|&byte| byte == b' ').unwrap();
            let length: usize = std::str::from_utf8(&rest[..space])
                .unwrap()
                .parse()
                .unwrap();
            let record = &rest[space + 1..length - 1];
            let equals = record.iter().position(|&byte| byte == b'=').unwrap();
            let key = String::from_utf8(record[..equals].to_vec()).unwrap();
            records.push((key, record[equals + 1..].to_vec()));
            rest = &rest[length..];
        }
        records
    }

    /// Replaces all extension headers by one PAX header with these records; none by none.
    pub(crate) fn set_pax(&mut self, records: &[(String, Vec<u8>)]) {
        self.extensions = if records.is_empty() {
            Vec::new()
        } else {
            extension(b'x', &pax_content(records))
        };
    }
}

/// Returns an extension header with its content.
pub(crate) fn extension(flag: u8, content: &[u8]) -> Vec<u8> {
    Archive {
        members: vec![Member::new(flag, "PaxHeaders.0/extension").with_content(content)],
        end: Vec::new(),
    }
    .bytes()
}

/// Returns records as a PAX header has them.
pub(crate) fn pax_content(records: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut content = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        // The length counts its own digits.
        let length = (1..8)
            .map(|digits| rest + digits)
            .find(|length| length.to_string().len() + rest == *length)
            .unwrap();
        content.extend_from_slice(format!("{length} {key}=").as_bytes());
        content.extend_from_slice(value);
        content.push(b'\n');
    }
    content
}

fn octal(field: &[u8]) -> u64 {
    let digits = text(field);
    let digits = digits.trim();
    if digits.is_empty() {
        0
    } else {
        u64::from_str_radix(digits, 8).unwrap()
    }
}

fn text(field: &[u8]) -> String {
    let end = field
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(field.len());
    String::from_utf8(field[..end].to_vec()).unwrap()
}
