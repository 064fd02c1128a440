//! Listings: all that is to be known of an image but its bytes, as text.
//!
//! A listing is small enough to commit and to review, and an image can be
//! verified against it when the image itself is not at hand. It holds the
//! manifest and config to the byte, and one line per entry in the words of
//! mtree(5), with `header=` and what else a tar says added. What was written is
//! read back equal, and each value has one spelling only, so that two listings
//! of one image are the same text.
//!
//! A listing proves nothing of the layers by itself: their digests are those
//! that the manifest and config name, but whether a line is true of a layer's
//! bytes, only these bytes tell.
//!
//! ```text
//! #reprove-listing 1
//! image docker.io/library/busybox:1.37.0-glibc
//! manifest mediatype=application/vnd.oci.image.manifest.v1+json digest=sha256:… size=610
//! | {
//! |     "schemaVersion": 2,
//! config digest=sha256:… size=459
//! | {"config":{"Cmd":["sh"], …
//! layer digest=sha256:… size=2211507 diffid=sha256:… uncompressed=4507648 compression=gzip,1,0,2,255 padding=1024
//! ./bin type=dir mode=0755 uid=0 gid=0 time=1727386302.000000000 header=…
//! ./bin/[ type=file size=1034576 sha256digest=… mode=0755 uid=0 gid=0 time=1727386302.000000000 header=…
//! end layers=1 entries=452
//! ```
//!
//! The lines of a document stand after `| ` as they are; one with characters
//! that cannot be seen stands after `= ` in base64. In words, such characters,
//! white space, and the backslash are written as `\ooo`, byte by byte.

use std::{
    borrow::Borrow,
    fmt::{Display, Write as _},
    io::{self, BufRead, Read, Write},
    path::Path,
    str::FromStr,
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    Compression, Descriptor, Entry, EntryKind, EntryPath, Error, Image, ImageName, Layer, Manifest,
    MediaType, Oddity, Platform, RawConfig, RawIndex, Timestamp,
    config::MAX_CONFIG,
    entry::{Details, Printable, RawName, Suffix, misleads},
    layer::GzipHeader,
    manifest::MAX_MANIFEST,
    meeting::Attending,
    pinned::check_platform,
};
use crate::digest::{DiffId, Digest};

/// The first line; the number rises when older readers would misread what follows.
const FIRST_LINE: &str = "#reprove-listing 1";

/// The longest line that is read, in bytes; names and attributes stay far below it.
const MAX_LINE: u64 = 64 << 20;

/// An image of which only a listing is at hand.
pub struct ListingImage {
    name: ImageName,
    listed: String,
    index: Option<RawIndex>,
    manifest: Option<Manifest>,
    config: RawConfig,
    layers: Vec<Layer>,
}

/// Writes the listing of an image, of which `layers` are all the layers, base first.
pub fn write(
    image: &dyn Image,
    layers: &[impl Borrow<Layer>],
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(
        out,
        "{FIRST_LINE}\nimage {}",
        word(image.name().to_string().as_bytes())
    )?;
    if let Some(index) = image.index() {
        writeln!(
            out,
            "index digest={} size={}",
            index.digest,
            index.bytes.len()
        )?;
        write_document(&index.bytes, out)?;
    }
    if let Some(manifest) = image.manifest() {
        let media_type = word(manifest.media_type.0.as_bytes());
        let size = manifest.bytes.len();
        writeln!(
            out,
            "manifest mediatype={media_type} digest={} size={size}",
            manifest.digest
        )?;
        write_document(&manifest.bytes, out)?;
    }
    let config = image.config();
    writeln!(
        out,
        "config digest={} size={}",
        config.digest,
        config.bytes.len()
    )?;
    write_document(&config.bytes, out)?;
    let mut entries = 0;
    for layer in layers {
        let layer = layer.borrow();
        writeln!(out, "{}", layer_line(layer))?;
        for entry in &layer.entries {
            writeln!(out, "{}", entry_line(entry))?;
        }
        entries += layer.entries.len();
    }
    writeln!(out, "end layers={} entries={entries}", layers.len())
}

/// Writes a document's lines so that joining them with line feeds gives its bytes.
fn write_document(bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
    for line in bytes.split(|&byte| byte == b'\n') {
        writeln!(out, "{}", document_line(line))?;
    }
    Ok(())
}

fn document_line(line: &[u8]) -> String {
    match std::str::from_utf8(line) {
        Ok("") => "|".to_owned(),
        Ok(text)
            if text
                .chars()
                .all(|character| character == '\t' || !misleads(character))
                && !text.ends_with(char::is_whitespace) =>
        {
            format!("| {text}")
        }
        _ => format!("= {}", STANDARD.encode(line)),
    }
}

/// Returns bytes as one word, which only they are written as.
fn word(bytes: &[u8]) -> String {
    escaped(bytes, char::is_whitespace)
}

/// Returns bytes as what may stand before a `=`.
fn key(bytes: &[u8]) -> String {
    escaped(bytes, |character| {
        character == '=' || character.is_whitespace()
    })
}

fn escaped(bytes: &[u8], too: impl Fn(char) -> bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    for character in Printable(bytes).to_string().chars() {
        if too(character) {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                write!(text, "\\{byte:03o}").expect("a string takes all");
            }
        } else {
            text.push(character);
        }
    }
    text
}

/// Returns the bytes that were written as `text`; what it does not undo stays as it is.
fn unescaped(text: &str) -> Box<[u8]> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|digits| {
            byte == b'\\'
                && digits[0] <= b'3'
                && digits.iter().all(|digit| matches!(digit, b'0'..=b'7'))
        });
        if let Some(digits) = octal {
            bytes.push(
                digits
                    .iter()
                    .fold(0, |value, digit| (value << 3) | (digit - b'0')),
            );
            rest = &after[3..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    bytes.into()
}

/// Returns a layer's own line.
fn layer_line(layer: &Layer) -> String {
    let mut line = format!(
        "layer digest={} size={} diffid={} uncompressed={} compression=",
        layer.digest, layer.size, layer.diff_id, layer.uncompressed_size,
    );
    match &layer.compression {
        Compression::None => line.push_str("none"),
        Compression::Gzip { members, header } => add(
            &mut line,
            format_args!(
                "gzip,{members},{},{},{}",
                header.mtime, header.extra_flags, header.operating_system
            ),
        ),
        Compression::Zstd { frames } => add(&mut line, format_args!("zstd,{frames}")),
    }
    add(&mut line, format_args!(" padding={}", layer.end_padding));
    add_oddities(&mut line, &layer.oddities);
    line
}

/// Returns an entry's line.
fn entry_line(entry: &Entry) -> String {
    let mut line = path(&entry.path);
    match &entry.kind {
        EntryKind::File { size, content } => {
            add(
                &mut line,
                format_args!(" type=file size={size} sha256digest={}", content.hex()),
            );
        }
        EntryKind::HardLink { target } => {
            add(
                &mut line,
                format_args!(" type=hardlink link={}", path(target)),
            );
        }
        EntryKind::Symlink { target } => {
            add(&mut line, format_args!(" type=link link={}", word(target)));
        }
        EntryKind::CharDevice { major, minor } => {
            add(
                &mut line,
                format_args!(" type=char device=linux,{major},{minor}"),
            );
        }
        EntryKind::BlockDevice { major, minor } => {
            add(
                &mut line,
                format_args!(" type=block device=linux,{major},{minor}"),
            );
        }
        EntryKind::Directory => line.push_str(" type=dir"),
        EntryKind::Fifo => line.push_str(" type=fifo"),
        EntryKind::Other {
            flag,
            size,
            content,
        } => add(
            &mut line,
            format_args!(
                " type=other flag={flag} size={size} sha256digest={}",
                content.hex()
            ),
        ),
    }
    add(
        &mut line,
        format_args!(
            " mode={:04o} uid={} gid={} time={} header={}",
            entry.mode,
            entry.uid,
            entry.gid,
            entry.mtime,
            entry.header.hex()
        ),
    );
    if let Some(details) = &entry.details {
        add_details(&mut line, entry, details);
    }
    line
}

fn add(line: &mut String, text: std::fmt::Arguments<'_>) {
    line.write_fmt(text).expect("a string takes all");
}

fn path(path: &EntryPath) -> String {
    if path.is_root() {
        ".".to_owned()
    } else {
        format!("./{}", word(path.as_bytes()))
    }
}

fn add_details(line: &mut String, entry: &Entry, details: &Details) {
    for (key, name) in [("name", entry.raw_name()), ("target", entry.raw_target())] {
        if let Some(name) = name {
            add(line, format_args!(" {key}={}", word(&name)));
        }
    }
    for (key, name) in [("uname", &details.uname), ("gname", &details.gname)] {
        if !name.is_empty() {
            add(line, format_args!(" {key}={}", word(name)));
        }
    }
    for (key, time) in [("atime", &details.atime), ("ctime", &details.ctime)] {
        if let Some(time) = time {
            add(line, format_args!(" {key}={time}"));
        }
    }
    for (name, value) in &details.xattrs {
        add(line, format_args!(" xattr.{}={}", key(name), word(value)));
    }
    for (name, value) in &details.pax {
        add(line, format_args!(" pax.{}={}", key(name), word(value)));
    }
    for (offset, size) in &details.sparse {
        add(line, format_args!(" data={offset},{size}"));
    }
    add_oddities(line, &details.oddities);
}

fn add_oddities(line: &mut String, oddities: &[Oddity]) {
    for oddity in oddities {
        line.push_str(" odd=");
        match oddity {
            Oddity::AbsoluteName => line.push_str("absolute-name"),
            Oddity::ParentInName => line.push_str("parent-in-name"),
            Oddity::TrailingSlash => line.push_str("trailing-slash"),
            Oddity::EmptyName => line.push_str("empty-name"),
            Oddity::PrefixInGnuHeader => line.push_str("prefix-in-gnu-header"),
            Oddity::ContentPadding(content) => {
                add(line, format_args!("content-padding,{}", content.hex()));
            }
            Oddity::HeaderPadding => line.push_str("header-padding"),
            Oddity::ConflictingPax(keyword) => {
                add(line, format_args!("conflicting-pax,{}", word(keyword)));
            }
            Oddity::UnreadableField(field) => {
                add(line, format_args!("unreadable-field,{}", word(field)));
            }
            Oddity::UnknownType(flag) => add(line, format_args!("unknown-type,{flag}")),
            Oddity::IgnoredSize(size) => add(line, format_args!("ignored-size,{size}")),
            Oddity::DanglingHardLink => line.push_str("dangling-hard-link"),
            Oddity::GlobalPax(content) => add(line, format_args!("global-pax,{}", word(content))),
            Oddity::RepeatedExtension(flag) => add(line, format_args!("repeated-extension,{flag}")),
            Oddity::LostExtension(flag) => add(line, format_args!("lost-extension,{flag}")),
            Oddity::NoEndOfArchive => line.push_str("no-end-of-archive"),
            Oddity::LoneZeroBlock => line.push_str("lone-zero-block"),
            Oddity::AfterEndOfArchive { size, content } => {
                add(
                    line,
                    format_args!("after-end-of-archive,{size},{}", content.hex()),
                );
            }
            Oddity::AfterCompressedStream { size, content } => {
                add(
                    line,
                    format_args!("after-compressed-stream,{size},{}", content.hex()),
                );
            }
            Oddity::GzipExtra(bytes) => add(line, format_args!("gzip-extra,{}", word(bytes))),
            Oddity::GzipName(bytes) => add(line, format_args!("gzip-name,{}", word(bytes))),
            Oddity::GzipComment(bytes) => add(line, format_args!("gzip-comment,{}", word(bytes))),
            Oddity::GzipReservedFlags(flags) => {
                add(line, format_args!("gzip-reserved-flags,{flags}"));
            }
            Oddity::GzipText => line.push_str("gzip-text"),
            Oddity::GzipHeaderChecksum(sum) => {
                add(line, format_args!("gzip-header-checksum,{sum}"));
            }
            Oddity::SkippableFrame { size, content } => {
                add(
                    line,
                    format_args!("skippable-frame,{size},{}", content.hex()),
                );
            }
        }
    }
}

/// What is wrong with a line, as the rest of a sentence.
type Problem = String;

fn oddity(text: &str) -> Result<Oddity, Problem> {
    let (kind, rest) = text.split_once(',').unwrap_or((text, ""));
    let sized = || -> Result<(u64, Digest), Problem> {
        let (size, content) = rest.split_once(',').unwrap_or((rest, ""));
        Ok((number("odd", size)?, digest("odd", content)?))
    };
    Ok(match kind {
        "absolute-name" => Oddity::AbsoluteName,
        "parent-in-name" => Oddity::ParentInName,
        "trailing-slash" => Oddity::TrailingSlash,
        "empty-name" => Oddity::EmptyName,
        "prefix-in-gnu-header" => Oddity::PrefixInGnuHeader,
        "content-padding" => Oddity::ContentPadding(digest("odd", rest)?),
        "header-padding" => Oddity::HeaderPadding,
        "conflicting-pax" => Oddity::ConflictingPax(unescaped(rest)),
        "unreadable-field" => Oddity::UnreadableField(unescaped(rest)),
        "unknown-type" => Oddity::UnknownType(number("odd", rest)?),
        "ignored-size" => Oddity::IgnoredSize(number("odd", rest)?),
        "dangling-hard-link" => Oddity::DanglingHardLink,
        "global-pax" => Oddity::GlobalPax(unescaped(rest)),
        "repeated-extension" => Oddity::RepeatedExtension(number("odd", rest)?),
        "lost-extension" => Oddity::LostExtension(number("odd", rest)?),
        "no-end-of-archive" => Oddity::NoEndOfArchive,
        "lone-zero-block" => Oddity::LoneZeroBlock,
        "after-end-of-archive" => {
            let (size, content) = sized()?;
            Oddity::AfterEndOfArchive { size, content }
        }
        "after-compressed-stream" => {
            let (size, content) = sized()?;
            Oddity::AfterCompressedStream { size, content }
        }
        "gzip-extra" => Oddity::GzipExtra(unescaped(rest)),
        "gzip-name" => Oddity::GzipName(unescaped(rest)),
        "gzip-comment" => Oddity::GzipComment(unescaped(rest)),
        "gzip-reserved-flags" => Oddity::GzipReservedFlags(number("odd", rest)?),
        "gzip-text" => Oddity::GzipText,
        "gzip-header-checksum" => Oddity::GzipHeaderChecksum(number("odd", rest)?),
        "skippable-frame" => {
            let (size, content) = sized()?;
            Oddity::SkippableFrame { size, content }
        }
        other => return Err(format!("has an unknown oddity {other:?}")),
    })
}

fn number<T: FromStr>(name: &str, text: &str) -> Result<T, Problem> {
    text.parse()
        .map_err(|_| format!("has {text:?} for {name}, which is no such number"))
}

fn digest(name: &str, hex: &str) -> Result<Digest, Problem> {
    format!("sha256:{hex}")
        .parse()
        .map_err(|error| format!("has a bad {name}: {error}"))
}

fn parsed<T: FromStr<Err: Display>>(name: &str, text: &str) -> Result<T, Problem> {
    text.parse()
        .map_err(|error| format!("has a bad {name}: {error}"))
}

fn timestamp(name: &str, text: &str) -> Result<Timestamp, Problem> {
    let (seconds, nanoseconds) = text.split_once('.').unwrap_or((text, ""));
    Ok(Timestamp {
        seconds: number(name, seconds)?,
        nanoseconds: number(name, nanoseconds)?,
    })
}

fn entry_path(text: &str) -> EntryPath {
    EntryPath::of(&unescaped(text))
}

/// The `key=value` words of a line, in order.
struct Words<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Words<'a> {
    fn of(text: &'a str) -> Result<Self, Problem> {
        text.split(' ')
            .filter(|word| !word.is_empty())
            .map(|word| {
                word.split_once('=')
                    .ok_or_else(|| format!("has {word:?} where KEY=VALUE should be"))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    fn get(&self, name: &str) -> Result<&'a str, Problem> {
        self.find(name)
            .ok_or_else(|| format!("does not say {name}="))
    }

    fn find(&self, name: &str) -> Option<&'a str> {
        self.all(name).next()
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, _)| *key == name)
            .map(|(_, value)| *value)
    }

    fn named(&self, prefix: &str) -> impl Iterator<Item = (Box<[u8]>, Box<[u8]>)> {
        self.0.iter().filter_map(move |(key, value)| {
            Some((unescaped(key.strip_prefix(prefix)?), unescaped(value)))
        })
    }

    fn oddities(&self) -> Result<Vec<Oddity>, Problem> {
        self.all("odd").map(oddity).collect()
    }
}

/// Reads an entry's line.
///
/// What is read must be written as the same line again: so that each entry has
/// one spelling, nothing is given twice, and no unknown word is passed over.
fn entry(line: &str) -> Result<Entry, Problem> {
    let (path, rest) = line.split_once(' ').unwrap_or((line, ""));
    let words = Words::of(rest)?;
    let size = || number("size", words.get("size")?);
    let content = || digest("sha256digest", words.get("sha256digest")?);
    let device = || -> Result<(u32, u32), Problem> {
        let text = words.get("device")?;
        let (major, minor) = text
            .strip_prefix("linux,")
            .and_then(|text| text.split_once(','))
            .unwrap_or((text, ""));
        Ok((number("device", major)?, number("device", minor)?))
    };
    let kind = match words.get("type")? {
        "file" => EntryKind::File {
            size: size()?,
            content: content()?,
        },
        "hardlink" => EntryKind::HardLink {
            target: entry_path(words.get("link")?),
        },
        "link" => EntryKind::Symlink {
            target: unescaped(words.get("link")?),
        },
        "char" => {
            let (major, minor) = device()?;
            EntryKind::CharDevice { major, minor }
        }
        "block" => {
            let (major, minor) = device()?;
            EntryKind::BlockDevice { major, minor }
        }
        "dir" => EntryKind::Directory,
        "fifo" => EntryKind::Fifo,
        "other" => EntryKind::Other {
            flag: number("flag", words.get("flag")?)?,
            size: size()?,
            content: content()?,
        },
        other => return Err(format!("has an unknown type {other:?}")),
    };
    let mode = words.get("mode")?;
    let time = |name: &str| {
        words
            .find(name)
            .map(|text| timestamp(name, text))
            .transpose()
    };
    let pair = |text: &str| -> Result<(u64, u64), Problem> {
        let (offset, size) = text.split_once(',').unwrap_or((text, ""));
        Ok((number("data", offset)?, number("data", size)?))
    };
    let path = entry_path(path);
    let raw_name = words.find("name").map(unescaped);
    let raw_target = words.find("target").map(unescaped);
    let details = Details {
        raw_name: raw_name.and_then(|name| RawName::of(&name, &path, Suffix::of(&kind))),
        raw_target: raw_target.and_then(|name| match &kind {
            EntryKind::HardLink { target } => RawName::of(&name, target, Suffix::None),
            _ => None,
        }),
        uname: unescaped(words.find("uname").unwrap_or_default()),
        gname: unescaped(words.find("gname").unwrap_or_default()),
        xattrs: words.named("xattr.").collect(),
        atime: time("atime")?,
        ctime: time("ctime")?,
        pax: words.named("pax.").collect(),
        sparse: words.all("data").map(pair).collect::<Result<_, _>>()?,
        oddities: words.oddities()?,
    };
    let entry = Entry {
        path,
        kind,
        mode: u32::from_str_radix(mode, 8)
            .map_err(|_| format!("has {mode:?} for mode, which is no octal number"))?,
        uid: number("uid", words.get("uid")?)?,
        gid: number("gid", words.get("gid")?)?,
        mtime: timestamp("time", words.get("time")?)?,
        details: (details != Details::default()).then(|| Arc::new(details)),
        header: digest("header", words.get("header")?)?,
    };
    canonical(line, &entry_line(&entry))?;
    Ok(entry)
}

/// Fails unless what was read is written as the line that it was read from.
fn canonical(line: &str, written: &str) -> Result<(), Problem> {
    if line == written {
        return Ok(());
    }
    let same = line
        .bytes()
        .zip(written.bytes())
        .take_while(|(read, written)| read == written)
        .count();
    Err(format!(
        "is not written as reprove writes it, from column {} on",
        same + 1
    ))
}

/// Reads a layer's own line; `descriptor` is what the manifest says of it.
fn layer(text: &str, descriptor: Option<&Descriptor>) -> Result<Layer, Problem> {
    let words = Words::of(text)?;
    let compression = words.get("compression")?;
    let numbers: Vec<&str> = compression.split(',').collect();
    let number_at = |index: usize| numbers[index];
    let compression = match (numbers[0], numbers.len()) {
        ("none", 1) => Compression::None,
        ("gzip", 5) => Compression::Gzip {
            members: number("compression", number_at(1))?,
            header: GzipHeader {
                mtime: number("compression", number_at(2))?,
                extra_flags: number("compression", number_at(3))?,
                operating_system: number("compression", number_at(4))?,
            },
        },
        ("zstd", 2) => Compression::Zstd {
            frames: number("compression", number_at(1))?,
        },
        _ => return Err(format!("has an unknown compression {compression:?}")),
    };
    let layer = Layer {
        descriptor: descriptor.cloned(),
        digest: parsed("digest", words.get("digest")?)?,
        size: number("size", words.get("size")?)?,
        diff_id: parsed("diffid", words.get("diffid")?)?,
        uncompressed_size: number("uncompressed", words.get("uncompressed")?)?,
        compression,
        end_padding: number("padding", words.get("padding")?)?,
        entries: Vec::new(),
        oddities: words.oddities()?,
    };
    canonical(&format!("layer {text}"), &layer_line(&layer))?;
    Ok(layer)
}

/// The lines of a listing, with one line looked ahead.
struct Lines<'a> {
    name: String,
    reader: Box<dyn BufRead + 'a>,
    number: usize,
    line: String,
}

impl Lines<'_> {
    /// Goes on to the next line; there is none after the listing's end.
    fn next(&mut self) -> Result<(), Error> {
        let mut bytes = Vec::new();
        (&mut self.reader)
            .take(MAX_LINE)
            .read_until(b'\n', &mut bytes)
            .map_err(|source| Error::File {
                path: self.name.clone(),
                source,
            })?;
        self.number += 1;
        if bytes.pop() != Some(b'\n') {
            return Err(self.error("is missing: the listing is cut off".to_owned()));
        }
        self.line = String::from_utf8(bytes).map_err(|_| self.error("is not text".to_owned()))?;
        Ok(())
    }

    fn error(&self, problem: Problem) -> Error {
        Error::Listing {
            name: self.name.clone(),
            line: self.number,
            problem,
        }
    }

    /// Returns what follows `word` where the line begins with it.
    fn after(&self, word: &str) -> Option<String> {
        self.line
            .strip_prefix(word)?
            .strip_prefix(' ')
            .map(str::to_owned)
    }

    /// Reads a document whose first line, with these words, was just read.
    fn document(&mut self, words: &str, limit: u64) -> Result<Vec<u8>, Error> {
        let (digest, size) = Words::of(words)
            .and_then(|words| {
                let digest: Digest = parsed("digest", words.get("digest")?)?;
                Ok((digest, number::<u64>("size", words.get("size")?)?))
            })
            .map_err(|problem| self.error(problem))?;
        let start = self.number;
        let at_start = |problem| Error::Listing {
            name: self.name.clone(),
            line: start,
            problem,
        };
        if size > limit {
            return Err(at_start(format!(
                "states {size} bytes; at most {limit} are read"
            )));
        }
        let mut bytes: Option<Vec<u8>> = None;
        loop {
            self.next()?;
            let line = if self.line == "|" {
                Vec::new()
            } else if let Some(text) = self.line.strip_prefix("| ") {
                text.as_bytes().to_vec()
            } else if let Some(text) = self.line.strip_prefix("= ") {
                STANDARD
                    .decode(text)
                    .map_err(|error| self.error(format!("is not base64: {error}")))?
            } else {
                break;
            };
            if document_line(&line) != self.line {
                return Err(self.error("is not written as reprove writes it".to_owned()));
            }
            match &mut bytes {
                None => bytes = Some(line),
                Some(bytes) => {
                    bytes.push(b'\n');
                    bytes.extend(line);
                }
            }
            if bytes
                .as_ref()
                .is_some_and(|bytes| bytes.len() as u64 > size)
            {
                return Err(self.error(format!("goes past the {size} bytes that are stated")));
            }
        }
        let bytes = bytes.unwrap_or_default();
        let at_start = |problem| Error::Listing {
            name: self.name.clone(),
            line: start,
            problem,
        };
        if bytes.len() as u64 != size {
            return Err(at_start(format!(
                "states {size} bytes, but {} follow",
                bytes.len()
            )));
        }
        if Digest::of(&bytes) != digest {
            return Err(at_start(format!(
                "states {digest}, but {} follows",
                Digest::of(&bytes)
            )));
        }
        Ok(bytes)
    }
}

/// Reads the listing in a file.
pub(super) fn open(
    file: &Path,
    name: ImageName,
    platform: Option<&Platform>,
) -> Result<ListingImage, Error> {
    let error = |source| Error::File {
        path: file.display().to_string(),
        source,
    };
    if !std::fs::metadata(file).map_err(error)?.is_file() {
        return Err(error(io::Error::other("it is not a regular file")));
    }
    let reader = io::BufReader::new(std::fs::File::open(file).map_err(error)?);
    let image = read(reader, name)?;
    let what = format!("the config of {}", image.name);
    check_platform(&what, &image.config.parse(&what)?, None, platform)?;
    Ok(image)
}

/// Reads a listing; `name` is what it is called.
///
/// Fails with [`Error::Listing`], which names the line, unless the text is just
/// what [`write()`] writes, and its parts agree with each other.
pub fn read(reader: impl BufRead, name: ImageName) -> Result<ListingImage, Error> {
    let mut lines = Lines {
        name: name.to_string(),
        reader: Box::new(reader),
        number: 0,
        line: String::new(),
    };
    lines.next()?;
    if lines.line != FIRST_LINE {
        return Err(lines.error(format!("should be {FIRST_LINE:?}")));
    }
    lines.next()?;
    let listed = lines
        .after("image")
        .ok_or_else(|| lines.error("should begin with \"image\"".to_owned()))?;
    let original = String::from_utf8(unescaped(&listed).into_vec())
        .ok()
        .filter(|text| word(text.as_bytes()) == listed)
        .ok_or_else(|| lines.error("is not written as reprove writes it".to_owned()))?;
    lines.next()?;

    let mut index = None;
    if let Some(words) = lines.after("index") {
        let line = lines.line.clone();
        let number = lines.number;
        let bytes = lines.document(&words, MAX_MANIFEST)?;
        let raw = RawIndex {
            digest: Digest::of(&bytes),
            bytes,
        };
        canonical(
            &line,
            &format!("index digest={} size={}", raw.digest, raw.bytes.len()),
        )
        .map_err(|problem| Error::Listing {
            name: lines.name.clone(),
            line: number,
            problem,
        })?;
        index = Some(raw);
    }
    let mut manifest = None;
    if let Some(words) = lines.after("manifest") {
        let (line, number) = (lines.line.clone(), lines.number);
        let at = |problem| Error::Listing {
            name: name.to_string(),
            line: number,
            problem,
        };
        let media_type = Words::of(&words)
            .and_then(|words| words.get("mediatype").map(unescaped))
            .map_err(at)?;
        let media_type = String::from_utf8(media_type.into_vec())
            .map(MediaType)
            .map_err(|_| at("has a media type that is no text".to_owned()))?;
        let bytes = lines.document(&words, MAX_MANIFEST)?;
        let read = Manifest::parse(
            &format!("the manifest of {name}"),
            &bytes,
            Some(&media_type),
        )?;
        let written = format!(
            "manifest mediatype={} digest={} size={}",
            word(media_type.0.as_bytes()),
            read.digest,
            bytes.len()
        );
        canonical(&line, &written).map_err(at)?;
        manifest = Some(read);
    }
    let Some(words) = lines.after("config") else {
        return Err(lines.error("should begin with \"config\"".to_owned()));
    };
    let (line, number) = (lines.line.clone(), lines.number);
    let config = RawConfig::new(lines.document(&words, MAX_CONFIG)?);
    let at = |problem| Error::Listing {
        name: name.to_string(),
        line: number,
        problem,
    };
    canonical(
        &line,
        &format!(
            "config digest={} size={}",
            config.digest,
            config.bytes.len()
        ),
    )
    .map_err(at)?;
    if let Some(manifest) = &manifest
        && (manifest.config.digest != config.digest
            || manifest.config.size != config.bytes.len() as u64)
    {
        return Err(at(format!(
            "is another config than the manifest's, {}",
            manifest.config.digest
        )));
    }
    let diff_ids = config.parse(&format!("the config of {name}"))?.diff_ids;
    let layers = read_layers(&mut lines, manifest.as_ref(), &diff_ids)?;
    Ok(ListingImage {
        name,
        listed: original,
        index,
        manifest,
        config,
        layers,
    })
}

/// Reads the layers and the last line.
fn read_layers(
    lines: &mut Lines<'_>,
    manifest: Option<&Manifest>,
    diff_ids: &[DiffId],
) -> Result<Vec<Layer>, Error> {
    let count = manifest.map_or(diff_ids.len(), |manifest| manifest.layers.len());
    if count != diff_ids.len() {
        return Err(lines.error(format!(
            "follows a config of {} diffIDs and a manifest of {count} layers",
            diff_ids.len()
        )));
    }
    let mut layers: Vec<Layer> = Vec::new();
    let mut entries = 0_usize;
    while let Some(words) = lines.after("layer") {
        let number = layers.len();
        if number == count {
            return Err(lines.error(format!("is one layer more than the image's {count}")));
        }
        let descriptor = manifest.map(|manifest| &manifest.layers[number]);
        let mut read = layer(&words, descriptor).map_err(|problem| lines.error(problem))?;
        if let Some(descriptor) = descriptor
            && (descriptor.digest, descriptor.size) != (read.digest, read.size)
        {
            return Err(lines.error(format!(
                "is another layer than the manifest's, {} of {} bytes",
                descriptor.digest, descriptor.size
            )));
        }
        if read.diff_id != diff_ids[number] {
            return Err(lines.error(format!(
                "is another layer than the config's, {}",
                diff_ids[number]
            )));
        }
        loop {
            lines.next()?;
            if !lines.line.starts_with('.') {
                break;
            }
            read.entries
                .push(entry(&lines.line).map_err(|problem| lines.error(problem))?);
        }
        entries += read.entries.len();
        layers.push(read);
    }
    let end = format!("end layers={count} entries={entries}");
    if layers.len() != count || lines.line != end {
        return Err(lines.error(format!("should be the next layer's or {end:?}")));
    }
    let mut rest = [0];
    let more = lines.reader.read(&mut rest);
    if more.map_err(|source| Error::File {
        path: lines.name.clone(),
        source,
    })? > 0
    {
        return Err(lines.error("is not the last one".to_owned()));
    }
    Ok(layers)
}

impl ListingImage {
    /// Returns the name of the image that was listed, as it was then.
    pub fn listed(&self) -> &str {
        &self.listed
    }
}

impl Image for ListingImage {
    fn name(&self) -> &ImageName {
        &self.name
    }

    fn index(&self) -> Option<&RawIndex> {
        self.index.as_ref()
    }

    fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    fn config(&self) -> &RawConfig {
        &self.config
    }

    fn layer_count(&self) -> usize {
        self.layers.len()
    }

    fn layer_descriptor(&self, index: usize) -> Option<&Descriptor> {
        self.manifest.as_ref()?.layers.get(index)
    }

    fn open(&self, _: usize) -> Result<Box<dyn Read + Send + '_>, Error> {
        Err(Error::OnlyListed {
            name: self.name.to_string(),
        })
    }

    fn layer(&self, index: usize, _: &dyn crate::progress::Progress) -> Result<Layer, Error> {
        Ok(self.layers[index].clone())
    }

    fn layer_met(
        &self,
        index: usize,
        progress: &dyn crate::progress::Progress,
        _: &Attending<'_>,
    ) -> Result<Layer, Error> {
        self.layer(index, progress)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection, option, prelude::*};

    use super::*;

    fn bytes() -> impl Strategy<Value = Box<[u8]>> {
        prop_oneof![
            "[ -~]{0,12}".prop_map(|text| text.into_bytes().into()),
            "\\PC{0,6}".prop_map(|text| text.into_bytes().into()),
            collection::vec(any::<u8>(), 0..12).prop_map(Into::into),
        ]
    }

    fn digests() -> impl Strategy<Value = Digest> {
        any::<[u8; 32]>().prop_map(Digest::from_bytes)
    }

    fn timestamps() -> impl Strategy<Value = Timestamp> {
        (any::<i64>(), 0..1_000_000_000_u32).prop_map(|(seconds, nanoseconds)| Timestamp {
            seconds,
            nanoseconds,
        })
    }

    fn kinds() -> impl Strategy<Value = EntryKind> {
        prop_oneof![
            (any::<u64>(), digests()).prop_map(|(size, content)| EntryKind::File { size, content }),
            bytes().prop_map(|name| EntryKind::HardLink {
                target: EntryPath::of(&name)
            }),
            bytes().prop_map(|target| EntryKind::Symlink { target }),
            (any::<u32>(), any::<u32>())
                .prop_map(|(major, minor)| EntryKind::CharDevice { major, minor }),
            (any::<u32>(), any::<u32>())
                .prop_map(|(major, minor)| EntryKind::BlockDevice { major, minor }),
            Just(EntryKind::Directory),
            Just(EntryKind::Fifo),
            (any::<u8>(), any::<u64>(), digests()).prop_map(|(flag, size, content)| {
                EntryKind::Other {
                    flag,
                    size,
                    content,
                }
            }),
        ]
    }

    fn oddities() -> impl Strategy<Value = Vec<Oddity>> {
        let one = prop_oneof![
            prop_oneof![
                Just(Oddity::AbsoluteName),
                Just(Oddity::ParentInName),
                Just(Oddity::TrailingSlash),
                Just(Oddity::EmptyName),
                Just(Oddity::PrefixInGnuHeader),
                Just(Oddity::HeaderPadding),
                Just(Oddity::DanglingHardLink),
                Just(Oddity::NoEndOfArchive),
                Just(Oddity::LoneZeroBlock),
                Just(Oddity::GzipText),
            ],
            prop_oneof![
                bytes().prop_map(Oddity::ConflictingPax),
                bytes().prop_map(Oddity::UnreadableField),
                bytes().prop_map(Oddity::GlobalPax),
                bytes().prop_map(Oddity::GzipExtra),
                bytes().prop_map(Oddity::GzipName),
                bytes().prop_map(Oddity::GzipComment),
            ],
            prop_oneof![
                any::<u8>().prop_map(Oddity::UnknownType),
                any::<u64>().prop_map(Oddity::IgnoredSize),
                any::<u8>().prop_map(Oddity::RepeatedExtension),
                any::<u8>().prop_map(Oddity::LostExtension),
                any::<u8>().prop_map(Oddity::GzipReservedFlags),
                any::<u16>().prop_map(Oddity::GzipHeaderChecksum),
                digests().prop_map(Oddity::ContentPadding),
            ],
            (any::<u64>(), digests())
                .prop_map(|(size, content)| Oddity::AfterEndOfArchive { size, content }),
            (any::<u64>(), digests())
                .prop_map(|(size, content)| Oddity::AfterCompressedStream { size, content }),
            (any::<u64>(), digests())
                .prop_map(|(size, content)| Oddity::SkippableFrame { size, content }),
        ];
        collection::vec(one, 0..4)
    }

    fn details() -> impl Strategy<Value = Details> {
        (
            (option::of(bytes()), option::of(bytes()), bytes(), bytes()),
            collection::btree_map(bytes(), bytes(), 0..3),
            (option::of(timestamps()), option::of(timestamps())),
            collection::vec((bytes(), bytes()), 0..3),
            collection::vec((any::<u64>(), any::<u64>()), 0..3),
            oddities(),
        )
            .prop_map(
                |(names, xattrs, (atime, ctime), pax, sparse, oddities)| Details {
                    raw_name: names.0.map(RawName::Written),
                    raw_target: names.1.map(RawName::Written),
                    uname: names.2,
                    gname: names.3,
                    xattrs,
                    atime,
                    ctime,
                    pax,
                    sparse,
                    oddities,
                },
            )
    }

    /// Makes of any bytes the way of writing a name that they are.
    fn settle(details: &mut Details, path: &EntryPath, kind: &EntryKind) {
        let raw = |name: Option<RawName>, path, suffix| match name {
            Some(RawName::Written(name)) => RawName::of(&name, path, suffix),
            other => other,
        };
        details.raw_name = raw(details.raw_name.take(), path, Suffix::of(kind));
        details.raw_target = match kind {
            EntryKind::HardLink { target } => raw(details.raw_target.take(), target, Suffix::None),
            _ => None,
        };
    }

    fn entries() -> impl Strategy<Value = Entry> {
        (
            bytes(),
            kinds(),
            any::<u32>(),
            any::<i64>(),
            any::<i64>(),
            timestamps(),
            option::of(details()),
            digests(),
        )
            .prop_map(|(path, kind, mode, uid, gid, mtime, mut details, header)| {
                let path = EntryPath::of(&path);
                if let Some(details) = &mut details {
                    settle(details, &path, &kind);
                }
                Entry {
                    path,
                    kind,
                    mode,
                    uid,
                    gid,
                    mtime,
                    details: details
                        .filter(|details| *details != Details::default())
                        .map(Arc::new),
                    header,
                }
            })
    }

    fn compressions() -> impl Strategy<Value = Compression> {
        prop_oneof![
            Just(Compression::None),
            any::<u64>().prop_map(|frames| Compression::Zstd { frames }),
            (any::<u64>(), any::<u32>(), any::<u8>(), any::<u8>()).prop_map(
                |(members, mtime, extra_flags, operating_system)| {
                    Compression::Gzip {
                        members,
                        header: GzipHeader {
                            mtime,
                            extra_flags,
                            operating_system,
                        },
                    }
                }
            ),
        ]
    }

    fn layers() -> impl Strategy<Value = Layer> {
        (
            (
                digests(),
                0..=u64::MAX >> 1,
                digests(),
                any::<u64>(),
                any::<u64>(),
            ),
            compressions(),
            collection::vec(entries(), 0..4),
            oddities(),
        )
            .prop_map(|(sizes, compression, entries, oddities)| Layer {
                descriptor: None,
                digest: sizes.0,
                size: sizes.1,
                diff_id: DiffId::from_uncompressed(sizes.2),
                uncompressed_size: sizes.3,
                compression,
                end_padding: sizes.4,
                entries,
                oddities,
            })
    }

    /// Returns an image of these layers; `with_manifest` decides whether it has one.
    fn image(mut layers: Vec<Layer>, remark: &str, with_manifest: bool) -> ListingImage {
        let diff_ids: Vec<DiffId> = layers.iter().map(|layer| layer.diff_id).collect();
        let config = serde_json::json!({
            "os": "linux", "architecture": "amd64", "comment": remark,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = RawConfig::new(config.to_string().into_bytes());
        let manifest = with_manifest.then(|| {
            let descriptors: Vec<_> = layers
                .iter()
                .map(|layer| serde_json::json!({
                    "mediaType": MediaType::OCI_LAYER, "digest": layer.digest, "size": layer.size,
                }))
                .collect();
            let manifest = serde_json::json!({
                "schemaVersion": 2,
                "config": {
                    "mediaType": MediaType::OCI_CONFIG, "digest": config.digest,
                    "size": config.bytes.len(),
                },
                "layers": descriptors,
                "annotations": { "remark": remark },
            });
            let text = format!("{}\n", serde_json::to_string_pretty(&manifest).unwrap());
            Manifest::parse("it", text.as_bytes(), None).unwrap()
        });
        if let Some(manifest) = &manifest {
            for (layer, descriptor) in layers.iter_mut().zip(&manifest.layers) {
                layer.descriptor = Some(descriptor.clone());
            }
        }
        ListingImage {
            name: "oci:some where\u{202e}".parse().unwrap(),
            listed: "oci:some where\u{202e}".to_owned(),
            index: with_manifest.then(|| RawIndex {
                digest: Digest::of(b"{\r\n}\x00"),
                bytes: b"{\r\n}\x00".to_vec(),
            }),
            manifest,
            config,
            layers,
        }
    }

    fn written(image: &ListingImage) -> String {
        let mut text = Vec::new();
        write(image, &image.layers, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    fn reread(text: &[u8]) -> Result<ListingImage, Error> {
        read(text, "listing:it".parse().unwrap())
    }

    proptest! {
        #[test]
        fn a_listing_is_read_back_equal(
            layers in collection::vec(layers(), 0..3),
            remark in "\\PC{0,9}|[ \\t\\n\\r\\\\]{0,5}",
            with_manifest: bool,
        ) {
            let image = image(layers, &remark, with_manifest);
            let text = written(&image);
            let again = reread(text.as_bytes()).unwrap();
            prop_assert_eq!(&again.layers, &image.layers);
            prop_assert_eq!(&again.manifest, &image.manifest);
            prop_assert_eq!(&again.config, &image.config);
            prop_assert_eq!(&again.index, &image.index);
            prop_assert_eq!(&again.listed, &image.listed);
            prop_assert!(text.chars().all(|character| !misleads(character) || "\n\t".contains(character)));
        }

        #[test]
        fn a_changed_listing_is_another_image_or_an_error(
            layers in collection::vec(layers(), 1..3),
            position: prop::sample::Index,
            byte: u8,
        ) {
            let image = image(layers, "remark", true);
            let mut text = written(&image).into_bytes();
            let position = position.index(text.len());
            prop_assume!(text[position] != byte);
            text[position] = byte;
            if let Ok(again) = reread(&text) {
                prop_assert!(again.layers != image.layers || again.listed != image.listed);
                let mut rewritten = Vec::new();
                // The name is the new listing's; all else must be the text that was read.
                write(&again, &again.layers, &mut rewritten).unwrap();
                let tail = |text: &[u8]| {
                    text.splitn(3, |&byte| byte == b'\n').nth(2).map(<[u8]>::to_vec)
                };
                prop_assert_eq!(tail(&rewritten), tail(&text));
            }
        }

        #[test]
        fn foreign_bytes_never_panic(text in "\\PC{0,40}", tail in collection::vec(any::<u8>(), 0..40)) {
            let _ = entry(&text);
            let _ = layer(&text, None);
            let mut bytes = format!("{FIRST_LINE}\nimage x\nconfig {text}\n").into_bytes();
            bytes.extend(tail);
            prop_assert!(reread(&bytes).is_err());
        }
    }

    #[test]
    fn a_listing_that_is_wrong_names_the_line() {
        let digest = Digest::of(b"x");
        let layer = Layer {
            descriptor: None,
            digest,
            size: 7,
            diff_id: DiffId::of(b"x"),
            uncompressed_size: 0,
            compression: Compression::None,
            end_padding: 1024,
            entries: vec![Entry {
                path: EntryPath::of(b"etc/host name"),
                kind: EntryKind::File {
                    size: 3,
                    content: digest,
                },
                mode: 0o644,
                uid: 0,
                gid: -1,
                mtime: Timestamp::from_seconds(-5),
                details: None,
                header: digest,
            }],
            oddities: vec![],
        };
        let text = written(&image(vec![layer], "remark", false));
        assert!(text.ends_with(&format!(
            "./etc/host\\040name type=file size=3 sha256digest={0} mode=0644 uid=0 gid=-1 time=-5.000000000 header={0}\nend layers=1 entries=1\n",
            digest.hex()
        )));
        let cases = [
            (
                "mode=0644",
                "mode=644",
                "line 6 of listing:it is not written as reprove writes it, from column 120 on",
            ),
            (
                "uid=0",
                "uid=0 uid=1",
                "line 6 of listing:it is not written as reprove writes it",
            ),
            (
                "uid=0",
                "uid=0 nlink=2",
                "line 6 of listing:it is not written as reprove writes it",
            ),
            (
                "uid=0",
                "uid=+0",
                "line 6 of listing:it is not written as reprove writes it",
            ),
            (
                "uid=0",
                "uid=x",
                "line 6 of listing:it has \"x\" for uid, which is no such number",
            ),
            (
                "type=file",
                "type=door",
                "line 6 of listing:it has an unknown type \"door\"",
            ),
            ("gid=-1 ", "", "line 6 of listing:it does not say gid="),
            (
                "./etc",
                "./etc/../etc",
                "line 6 of listing:it is not written as reprove writes it",
            ),
            (
                "size=7",
                "size=x",
                "line 5 of listing:it has \"x\" for size",
            ),
            ("linux", "plan9", "line 3 of listing:it states sha256:"),
            ("| {", "|  {", "line 4 of listing:it goes past the"),
            (
                "listing 1",
                "listing 2",
                "line 1 of listing:it should be \"#reprove-listing 1\"",
            ),
            (
                "end layers=1 entries=1\n",
                "",
                "line 7 of listing:it is missing: the listing is cut off",
            ),
            (
                "entries=1\n",
                "entries=1",
                "line 7 of listing:it is missing: the listing is cut off",
            ),
            (
                "entries=1\n",
                "entries=2\n",
                "line 7 of listing:it should be the next layer's or \"end layers=1 entries=1\"",
            ),
            (
                "entries=1\n",
                "entries=1\n\n",
                "line 7 of listing:it is not the last one",
            ),
            (
                "padding=1024",
                "padding=1024 odd=what",
                "line 5 of listing:it has an unknown oddity \"what\"",
            ),
        ];
        for (old, new, problem) in cases {
            let changed = text.replacen(old, new, 1);
            assert_ne!(changed, text, "{old}");
            let error = reread(changed.as_bytes())
                .map(|_| ())
                .unwrap_err()
                .to_string();
            assert!(error.starts_with(problem), "{old} -> {new}: {error}");
        }
    }

    #[test]
    fn the_layers_of_a_listing_are_those_that_its_manifest_and_config_name() {
        let layer = |content: &[u8]| Layer {
            descriptor: None,
            digest: Digest::of(content),
            size: 7,
            diff_id: DiffId::of(content),
            uncompressed_size: 0,
            compression: Compression::Zstd { frames: 1 },
            end_padding: 0,
            entries: vec![],
            oddities: vec![],
        };
        let good = image(vec![layer(b"one"), layer(b"two")], "", true);
        reread(written(&good).as_bytes()).unwrap();
        let lines = |text: String| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let text = lines(written(&good));
        let first = text
            .iter()
            .position(|line| line.starts_with("layer "))
            .unwrap();
        let check = |text: Vec<String>, problem: &str| {
            let error = reread((text.join("\n") + "\n").as_bytes())
                .map(|_| ())
                .unwrap_err();
            assert!(error.to_string().contains(problem), "{error}");
        };
        let mut swapped = text.clone();
        swapped.swap(first, first + 1);
        check(swapped, "is another layer than the manifest's");
        let mut dropped = text.clone();
        dropped.remove(first + 1);
        check(dropped, "should be the next layer's or");
        let mut doubled = text.clone();
        doubled.insert(first, text[first + 1].clone());
        check(doubled, "is another layer than the manifest's");
        let diff_id = |text: &str, other: DiffId| {
            let start = text.find("diffid=").unwrap();
            let end = start + text[start..].find(' ').unwrap();
            format!("{}diffid={other}{}", &text[..start], &text[end..])
        };
        let mut changed = text;
        changed[first] = diff_id(&changed[first], DiffId::of(b"other"));
        check(changed, "is another layer than the config's");
    }
}
