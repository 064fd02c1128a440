//! Header blocks: 512 bytes become fields, as Go's `archive/tar` takes them.
//!
//! Source: POSIX pax "ustar Interchange Format", GNU tar manual "Basic Tar
//! Format", and Go's `archive/tar`, which decides what Docker and containerd see.

use crate::image::Oddity;

/// The unit of a tar.
pub(super) const BLOCK: usize = 512;

/// The dialect of one header block, by its magic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    V7,
    Ustar,
    Star,
    Gnu,
}

/// One header block, taken apart.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) format: Format,
    pub(super) flag: u8,
    pub(super) name: Vec<u8>,
    pub(super) link_name: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: i64,
    pub(super) gid: i64,
    /// `None` where it cannot be read or is negative.
    pub(super) size: Option<u64>,
    pub(super) mtime: i64,
    pub(super) uname: Vec<u8>,
    pub(super) gname: Vec<u8>,
    pub(super) major: u32,
    pub(super) minor: u32,
    pub(super) atime: Option<i64>,
    pub(super) ctime: Option<i64>,
    /// The fields that cannot be read; they are zero here.
    unreadable: Vec<&'static str>,
    /// Bytes are set where nobody looks.
    padding: bool,
    /// The GNU header has a prefix where its times should be.
    prefix_in_gnu: bool,
}

impl Header {
    /// Reads a block; `None` when its checksum is wrong.
    pub(super) fn read(block: &[u8; BLOCK]) -> Option<Self> {
        if !has_right_checksum(block) {
            return None;
        }
        let format = match (&block[257..263], &block[263..265], &block[508..512]) {
            (b"ustar\0", _, b"tar\0") => Format::Star,
            (b"ustar\0", _, _) => Format::Ustar,
            (b"ustar ", b" \0", _) => Format::Gnu,
            _ => Format::V7,
        };
        let mut fields = Fields {
            block,
            unreadable: Vec::new(),
            padding: false,
        };
        let flag = block[156];
        let mut header = Self {
            format,
            flag,
            name: fields.text(0, 100).to_vec(),
            link_name: fields.text(157, 100).to_vec(),
            mode: fields.small("mode", 100, 8),
            uid: fields.number("uid", 108, 8),
            gid: fields.number("gid", 116, 8),
            size: fields.size(124, 12),
            mtime: fields.number("mtime", 136, 12),
            uname: Vec::new(),
            gname: Vec::new(),
            major: 0,
            minor: 0,
            atime: None,
            ctime: None,
            unreadable: Vec::new(),
            padding: false,
            prefix_in_gnu: false,
        };
        if format == Format::V7 {
            fields.unused(257, BLOCK);
        } else {
            header.uname = fields.text(265, 32).to_vec();
            header.gname = fields.text(297, 32).to_vec();
            if matches!(flag, b'3' | b'4') {
                header.major = fields.small("devmajor", 329, 8);
                header.minor = fields.small("devminor", 337, 8);
            } else {
                // Go refuses what is no number here, of whatever type the entry is.
                let major = fields.number("devmajor", 329, 8);
                let minor = fields.number("devminor", 337, 8);
                fields.padding |= (major, minor) != (0, 0);
            }
        }
        match format {
            Format::V7 => {}
            Format::Ustar => {
                header.prefix(fields.text(345, 155));
                fields.unused(500, 512);
                fields.padding |= &block[263..265] != b"00";
            }
            Format::Star => {
                header.prefix(fields.text(345, 131));
                header.atime = Some(fields.number("atime", 476, 12));
                header.ctime = Some(fields.number("ctime", 488, 12));
                fields.unused(500, 508);
            }
            Format::Gnu => {
                let mut time = |offset: usize| match block[offset] {
                    0 => Some(None),
                    _ => fields.numeric(offset, 12).map(Some),
                };
                if let (Some(atime), Some(ctime)) = (time(345), time(357)) {
                    header.atime = atime;
                    header.ctime = ctime;
                    fields.unused(369, 386);
                    if flag != b'S' {
                        fields.unused(386, 495);
                    }
                    fields.unused(495, 512);
                } else {
                    // https://go.dev/issue/12594: Go before 1.8 wrote GNU headers
                    // with a prefix, and reads them to this day.
                    let prefix = fields.text(345, 155);
                    if prefix.is_ascii() {
                        header.prefix(prefix);
                    }
                    header.prefix_in_gnu = true;
                    fields.unused(500, 512);
                }
            }
        }
        header.unreadable = fields.unreadable;
        header.padding = fields.padding;
        Some(header)
    }

    /// Moves what is odd about the block itself to `oddities`.
    pub(super) fn tell(&mut self, oddities: &mut Vec<Oddity>) {
        if self.padding {
            oddities.push(Oddity::HeaderPadding);
        }
        if self.prefix_in_gnu {
            oddities.push(Oddity::PrefixInGnuHeader);
        }
        let unreadable = std::mem::take(&mut self.unreadable).into_iter();
        oddities.extend(unreadable.map(|field| Oddity::UnreadableField(field.as_bytes().into())));
    }

    /// Puts the first part of a long name before the second.
    fn prefix(&mut self, prefix: &[u8]) {
        if !prefix.is_empty() {
            self.name = [prefix, &self.name].join(&b'/');
        }
    }
}

/// Returns whether a header's checksum holds, as POSIX sums bytes or as Sun did.
fn has_right_checksum(block: &[u8; BLOCK]) -> bool {
    const FIELD: std::ops::Range<usize> = 148..156;
    let sums = |bytes: &[u8]| {
        bytes.iter().fold((0_u32, 0_u32), |(sum, high), &byte| {
            (sum + u32::from(byte), high + u32::from(byte >> 7))
        })
    };
    let (sum, high) = sums(block);
    let (field_sum, field_high) = sums(&block[FIELD]);
    let unsigned = i64::from(sum - field_sum) + 8 * i64::from(b' ');
    let signed = unsigned - 256 * i64::from(high - field_high);
    octal(&block[FIELD]).is_some_and(|(stated, _)| stated == unsigned || stated == signed)
}

/// Reads the fields of a block and remembers what was odd about them.
struct Fields<'a> {
    block: &'a [u8; BLOCK],
    unreadable: Vec<&'static str>,
    padding: bool,
}

impl<'a> Fields<'a> {
    /// Returns a text up to its first zero.
    fn text(&mut self, offset: usize, size: usize) -> &'a [u8] {
        let (text, hidden) = text(&self.block[offset..offset + size]);
        self.padding |= hidden;
        text
    }

    /// Returns a number, `None` where it cannot be read.
    fn numeric(&mut self, offset: usize, size: usize) -> Option<i64> {
        let (value, hidden) = numeric(&self.block[offset..offset + size])?;
        self.padding |= hidden;
        Some(value)
    }

    /// Returns a number, 0 where it cannot be read.
    fn number(&mut self, name: &'static str, offset: usize, size: usize) -> i64 {
        self.numeric(offset, size).unwrap_or_else(|| {
            self.unreadable.push(name);
            0
        })
    }

    /// Returns a number of 32 bits, 0 where it cannot be read.
    fn small(&mut self, name: &'static str, offset: usize, size: usize) -> u32 {
        let value = self.numeric(offset, size);
        value
            .and_then(|value| u32::try_from(value).ok())
            .unwrap_or_else(|| {
                self.unreadable.push(name);
                0
            })
    }

    /// Returns a size, `None` where it cannot be read or is negative.
    fn size(&mut self, offset: usize, size: usize) -> Option<u64> {
        let value = self.numeric(offset, size);
        let value = value.and_then(|value| u64::try_from(value).ok());
        if value.is_none() {
            self.unreadable.push("size");
        }
        value
    }

    /// Checks that bytes that no reader looks at are zero.
    fn unused(&mut self, start: usize, end: usize) {
        self.padding |= !is_zero(&self.block[start..end]);
    }
}

/// Returns whether all bytes are zero.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    // Folding instead of stopping at the first lets the compiler use vectors.
    bytes
        .chunks(256)
        .all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
}

/// Splits a text off at its first zero; also says whether anything is set behind that.
pub(super) fn text(field: &[u8]) -> (&[u8], bool) {
    field
        .iter()
        .position(|&byte| byte == 0)
        .map_or((field, false), |end| {
            (&field[..end], !is_zero(&field[end..]))
        })
}

/// Reads a number in octal or base 256; also says whether anything is hidden in its field.
///
/// Negative numbers exist in base 256 only. `None` for what is no number, or
/// none of 64 bits.
pub(super) fn numeric(field: &[u8]) -> Option<(i64, bool)> {
    let &first = field.first()?;
    if first & 0x80 == 0 {
        return octal(field);
    }
    // Two's complement, the highest bit being the mark.
    let inverted = if first & 0x40 == 0 { 0 } else { 0xff };
    let mut value: u64 = 0;
    for (position, byte) in field.iter().enumerate() {
        let mut byte = byte ^ inverted;
        if position == 0 {
            byte &= 0x7f;
        }
        if value >> 56 > 0 {
            return None;
        }
        value = value << 8 | u64::from(byte);
    }
    let value = i64::try_from(value).ok()?;
    Some((if inverted == 0 { value } else { !value }, false))
}

/// Reads an octal number; spaces and zeros around it are no part of it.
fn octal(field: &[u8]) -> Option<(i64, bool)> {
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let Some(start) = field.iter().position(|byte| !blank(byte)) else {
        return Some((0, false));
    };
    let end = field.iter().rposition(|byte| !blank(byte)).unwrap_or(start);
    let (digits, hidden) = text(&field[start..=end]);
    let mut value: i64 = 0;
    for digit in digits {
        if !matches!(digit, b'0'..=b'7') {
            return None;
        }
        value = value.checked_mul(8)? | i64::from(digit - b'0');
    }
    Some((value, hidden))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        type Case = (&'static [u8], Option<(i64, bool)>);
        let cases: [Case; 15] = [
            (b"0000644\0", Some((0o644, false))),
            (b"0000644 ", Some((0o644, false))),
            (b" 644 \0\0\0", Some((0o644, false))),
            (b"\0\x000644", Some((0o644, false))),
            (b"77777777", Some((0o77_777_777, false))),
            (b"\0\0\0\0\0\0\0\0", Some((0, false))),
            (b"644\0hide", Some((0o644, true))),
            (b"6 44\0\0\0\0", None),
            (b"00008\0\0\0", None),
            (b"-1\0\0\0\0\0\0", None),
            (b"\x80\0\0\0\0\0\x01\x02", Some((258, false))),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some((-2, false))),
            (
                b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff",
                Some((i64::MAX, false)),
            ),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (
                b"\xff\xff\xff\xff\x80\0\0\0\0\0\0\0",
                Some((i64::MIN, false)),
            ),
        ];
        for (field, value) in cases {
            assert_eq!(numeric(field), value, "{field:?}");
        }
    }
}
