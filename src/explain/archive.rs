//! Causes in archives and compiled files that record when, and by whom, they were packed.
//!
//! Each takes both files apart into pieces that cover every byte, and accepts
//! nothing unless all pieces but the named ones are equal.

use super::{Cause, File, Recogniser, Recognition, Root};
use crate::{
    compare::content::{
        Limits,
        pieces::{Field, Kind, Order, Pieces},
    },
    image::{EntryPath, entry::Printable},
    pair::Pair,
};

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        id: "gz-in-fs",
        root: Root::Clock,
        title: "gzip records the time and name of what it packed",
        advice: "compress with gzip -n",
        recognise: Recogniser::File(gzip_header),
    },
    Cause {
        id: "tar-in-fs",
        root: Root::Clock,
        title: "a tar archive in the image records its files' times",
        advice: "clamp times (GNU tar: --mtime=@$SOURCE_DATE_EPOCH --clamp-mtime)",
        recognise: Recogniser::File(|file| through_gzip(file, tar_times)),
    },
    Cause {
        id: "cpio-time",
        root: Root::Clock,
        title: "a cpio archive records its files' times",
        advice: "set the files' times before packing them, or strip them afterwards",
        recognise: Recogniser::File(|file| through_gzip(file, cpio_times)),
    },
    Cause {
        id: "ar-time",
        root: Root::Clock,
        title: "ar records when its members were made, and by whom",
        advice: "make static libraries with ar D (binutils: --enable-deterministic-archives)",
        recognise: Recogniser::File(ar_times),
    },
    Cause {
        id: "jar-zip",
        root: Root::Clock,
        title: "a zip or jar records times, order and the tools that made it",
        advice: "set project.build.outputTimestamp, or run strip-nondeterminism",
        recognise: Recogniser::File(jar),
    },
    Cause {
        id: "pyc",
        root: Root::Clock,
        title: "compiled Python records its source's time",
        advice: "compile with --invalidation-mode unchecked-hash, or leave compiled files out",
        recognise: Recogniser::File(pyc),
    },
];

/// What may differ in a gzip header without another byte being unpacked.
const GZIP_HEADER: [Field; 4] = [Field::Mtime, Field::Name, Field::Writer, Field::Flags];

/// FNAME in a gzip header: that a name is there, which is compared by itself.
const NAME_FLAG: u8 = 8;

/// Extra fields of a zip that record times and numeric owners, or nothing (APPNOTE 4.5.2;
/// `0xcafe` marks a jar).
const ZIP_EXTRA: [u16; 6] = [0x5455, 0x000a, 0x5855, 0x7855, 0x7875, 0xcafe];

/// The lines of a jar's manifest that say who made it, when, and with what.
const MANIFEST_LINES: [&[u8]; 4] = [
    b"Build-Jdk",
    b"Built-By",
    b"Bnd-LastModified",
    b"Created-By",
];

const MANIFEST: &[u8] = b"META-INF/MANIFEST.MF";

fn pieces<'a>(kind: Kind, file: &File<'a>, limits: &mut Limits) -> Option<Pair<Pieces<'a>>> {
    let published = Pieces::of(kind, file.bytes.published, limits)?;
    let rebuilt = Pieces::of(kind, file.bytes.rebuilt, limits)?;
    Some(Pair::new(published, rebuilt))
}

/// Recognises what differs only in the fields named, all members being in the same order.
fn only_fields(
    file: &File<'_>,
    kind: Kind,
    fields: &[Field],
    evidence: &'static str,
) -> Recognition {
    let Some(sides) = pieces(kind, file, &mut Limits::default()) else {
        return Recognition::Elsewhere;
    };
    match Pieces::beyond(sides.as_ref(), Order::Same, |_, field| {
        fields.contains(&field)
    }) {
        None => Recognition::Explained(evidence.into()),
        Some(place) => Recognition::Refused(format!("this differs too: {place}").into()),
    }
}

fn ar_times(file: &File<'_>) -> Recognition {
    only_fields(
        file,
        Kind::Ar,
        &[Field::Mtime, Field::Owner, Field::Group],
        "the members' names, order, modes and content are equal; only their times and numeric owners differ",
    )
}

fn tar_times(file: &File<'_>) -> Recognition {
    only_fields(
        file,
        Kind::Tar,
        &[
            Field::Mtime,
            Field::OtherTime,
            // These follow from the times: the checksum of each header was verified,
            // and the size of a PAX extension changes with the digits of a time.
            Field::HeaderSum,
            Field::HeaderSize,
            Field::Zeros,
        ],
        "the members' names, order, modes, owners, links and content are equal; only their times differ",
    )
}

fn cpio_times(file: &File<'_>) -> Recognition {
    only_fields(
        file,
        Kind::Cpio,
        &[Field::Mtime],
        "the members' names, order, modes, owners and content are equal; only their times differ",
    )
}

fn pyc(file: &File<'_>) -> Recognition {
    if !file.path.as_bytes().ends_with(b".pyc") && !file.path.as_bytes().ends_with(b".pyo") {
        return Recognition::Elsewhere;
    }
    only_fields(
        file,
        Kind::Pyc,
        &[Field::Mtime],
        "the version, the source's size and the code are equal; only the source's time differs",
    )
}

fn gzip_header(file: &File<'_>) -> Recognition {
    match gzip(file) {
        None => Recognition::Elsewhere,
        Some(Err(place)) => Recognition::Refused(place.into()),
        Some(Ok(inside)) if inside.is_equal() => Recognition::Explained(
            "the inflated bytes are equal; only the header, or how they were deflated, differs"
                .into(),
        ),
        Some(Ok(_)) => Recognition::Refused("the inflated bytes differ".into()),
    }
}

/// Returns what two gzip files hold, where their headers differ in nothing that matters;
/// else what does. `None` if they are none.
fn gzip(file: &File<'_>) -> Option<Result<Pair<Vec<u8>>, String>> {
    let mut limits = Limits::default();
    let sides = pieces(Kind::Gzip, file, &mut limits)?;
    let allowed = |_: &[u8], field| {
        GZIP_HEADER.contains(&field)
            || matches!(field, Field::Content | Field::ContentSum | Field::Size)
    };
    if let Some(place) = Pieces::beyond(sides.as_ref(), Order::Same, allowed) {
        return Some(Err(format!("this differs too: {place}")));
    }
    let count = sides.published.names().count();
    let mut inside = Pair::new(Vec::new(), Vec::new());
    for member in 0..count {
        let flags = sides.as_ref().map(|side| {
            let flags = side.fields(member, Field::Flags).next();
            flags
                .and_then(|flags| flags.first())
                .map(|flags| flags & !NAME_FLAG)
        });
        if !flags.is_equal() {
            return Some(Err("the flags differ".to_owned()));
        }
        let published = sides.published.content(member, &mut limits);
        let rebuilt = sides.rebuilt.content(member, &mut limits);
        let (Some(published), Some(rebuilt)) = (published, rebuilt) else {
            return Some(Err("too much is inside to be compared".to_owned()));
        };
        inside.published.extend(published);
        inside.rebuilt.extend(rebuilt);
    }
    Some(Ok(inside))
}

/// Asks `recognise` of what a gzip file holds, or else of the file itself.
pub(super) fn through_gzip(
    file: &File<'_>,
    recognise: fn(&File<'_>) -> Recognition,
) -> Recognition {
    let inside = match gzip(file) {
        None => return recognise(file),
        Some(Ok(inside)) if !inside.is_equal() => inside,
        Some(_) => return Recognition::Elsewhere,
    };
    let path = file.path.as_bytes();
    let path = path.strip_suffix(b".gz").unwrap_or(path);
    let inner = File {
        path: &EntryPath::of(path),
        bytes: inside.as_ref().map(Vec::as_slice),
        ..*file
    };
    match recognise(&inner) {
        Recognition::Elsewhere => Recognition::Elsewhere,
        Recognition::Refused(what) => {
            Recognition::Refused(format!("inside of the gzip file: {what}").into())
        }
        Recognition::Explained(evidence) => {
            Recognition::Explained(format!("inside of the gzip file: {evidence}").into())
        }
    }
}

fn jar(file: &File<'_>) -> Recognition {
    let mut limits = Limits::default();
    let Some(sides) = pieces(Kind::Zip, file, &mut limits) else {
        return Recognition::Elsewhere;
    };
    let allowed = |name: &[u8], field| match field {
        // Where members lie and how long their headers are was found to be so.
        Field::Mtime | Field::HeaderSize | Field::Offset => true,
        Field::Extra(id) => ZIP_EXTRA.contains(&id),
        Field::Content | Field::ContentSum | Field::PackedSize | Field::Size => name == MANIFEST,
        _ => false,
    };
    if let Some(place) = Pieces::beyond(sides.as_ref(), Order::Any, allowed) {
        return Recognition::Refused(format!("this differs too: {place}").into());
    }
    let contents = sides.as_ref().map(|side| manifest(side, &mut limits));
    match (contents.published, contents.rebuilt) {
        (Some(Err(what)), _) | (_, Some(Err(what))) => Recognition::Refused(what.into()),
        (Some(Ok(published)), Some(Ok(rebuilt))) if kept(&published) != kept(&rebuilt) => {
            let name = Printable(MANIFEST);
            Recognition::Refused(format!("{name} differs in more than who built it").into())
        }
        _ => Recognition::Explained(
            "every member's name, mode and content are equal; only times, order, and what the manifest says of the build differ"
                .into(),
        ),
    }
}

/// Returns a jar's manifest, if it has one and all that the zip says of it is right.
fn manifest(zip: &Pieces<'_>, limits: &mut Limits) -> Option<Result<Vec<u8>, String>> {
    let member = zip.names().position(|name| name == MANIFEST)?;
    let wrong = || {
        Some(Err(
            "the manifest is not as long as the zip says, or damaged".to_owned(),
        ))
    };
    let Some(content) = zip.content(member, limits) else {
        return wrong();
    };
    // Zero in a local header whose values follow the content.
    let is = |bytes: &[u8], number: usize| {
        bytes.iter().all(|&byte| byte == 0) || bytes == (number as u64).to_le_bytes().split_at(4).0
    };
    let crc = crc32fast::hash(&content) as usize;
    let right = zip
        .fields(member, Field::ContentSum)
        .all(|bytes| is(bytes, crc))
        && zip
            .fields(member, Field::Size)
            .all(|bytes| is(bytes, content.len()))
        && zip
            .fields(member, Field::PackedSize)
            .all(|bytes| is(bytes, zip.packed(member).len()));
    if right { Some(Ok(content)) } else { wrong() }
}

/// Returns the lines of a manifest other than those that say who made it.
fn kept(manifest: &[u8]) -> Vec<&[u8]> {
    let mut dropped = false;
    manifest
        .split_inclusive(|&byte| byte == b'\n')
        .filter(|line| {
            // A line that goes on begins with a space.
            if !line.starts_with(b" ") {
                let key = line.split(|&byte| byte == b':').next().unwrap_or_default();
                dropped = MANIFEST_LINES.contains(&key);
            }
            !dropped
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::examined;
    use crate::compare::content::testing::{ar, cpio, gzip, pyc, tar, zip};

    type Case = (
        &'static str,
        &'static str,
        Vec<u8>,
        Vec<u8>,
        Option<&'static str>,
    );

    #[test]
    fn times_in_an_archive_explain_only_themselves() {
        let page = |day: u8| format!(".TH A 1 \"{day} March 2024\"\n").into_bytes();
        let cases: [Case; 24] = [
            (
                "gzip time and name",
                "a.gz",
                gzip(b"a", 1, Some("a")),
                gzip(b"a", 2, None),
                Some("gz-in-fs"),
            ),
            (
                "gzip content",
                "a.gz",
                gzip(b"a", 1, None),
                gzip(b"b", 2, None),
                None,
            ),
            (
                "after gzip",
                "a.gz",
                gzip(b"a", 1, None),
                [gzip(b"a", 2, None), vec![1]].concat(),
                None,
            ),
            (
                "another gzip member",
                "a.gz",
                gzip(b"a", 1, None),
                [gzip(b"a", 2, None), gzip(b"", 2, None)].concat(),
                None,
            ),
            (
                "manual page in gzip",
                "usr/share/man/man1/a.1.gz",
                gzip(&page(1), 1, None),
                gzip(&page(2), 2, None),
                Some("doc-time"),
            ),
            (
                "tar in gzip",
                "a.tar.gz",
                gzip(&tar(&[("a", 1, b"x")]), 1, None),
                gzip(&tar(&[("a", 2, b"x")]), 2, None),
                Some("tar-in-fs"),
            ),
            (
                "tar",
                "a.tar",
                tar(&[("a", 1, b"x")]),
                tar(&[("a", 2, b"x")]),
                Some("tar-in-fs"),
            ),
            (
                "tar content",
                "a.tar",
                tar(&[("a", 1, b"x")]),
                tar(&[("a", 2, b"y")]),
                None,
            ),
            (
                "tar name",
                "a.tar",
                tar(&[("a", 1, b"x")]),
                tar(&[("b", 2, b"x")]),
                None,
            ),
            (
                "after tar",
                "a.tar",
                tar(&[("a", 1, b"x")]),
                [tar(&[("a", 2, b"x")]), vec![1]].concat(),
                None,
            ),
            (
                "cpio",
                "a.cpio",
                cpio(&[("a", 1, b"x")]),
                cpio(&[("a", 2, b"x")]),
                Some("cpio-time"),
            ),
            (
                "cpio content",
                "a.cpio",
                cpio(&[("a", 1, b"x")]),
                cpio(&[("a", 2, b"y")]),
                None,
            ),
            (
                "ar",
                "a.a",
                ar(&[("a.o", 1, b"x")]),
                ar(&[("a.o", 2, b"x")]),
                Some("ar-time"),
            ),
            (
                "ar content",
                "a.a",
                ar(&[("a.o", 1, b"x")]),
                ar(&[("a.o", 2, b"y")]),
                None,
            ),
            (
                "ar order",
                "a.a",
                ar(&[("a.o", 1, b"x"), ("b.o", 1, b"x")]),
                ar(&[("b.o", 1, b"x"), ("a.o", 1, b"x")]),
                None,
            ),
            (
                "ar padding",
                "a.a",
                ar(&[("a.o", 1, b"x"), ("b.o", 1, b"")]),
                {
                    let mut other = ar(&[("a.o", 2, b"x"), ("b.o", 1, b"")]);
                    other[69] = b' ';
                    other
                },
                None,
            ),
            (
                "zip time and order",
                "a.jar",
                zip(&[("a", 1, b"x"), ("b", 1, b"y")]),
                zip(&[("b", 2, b"y"), ("a", 2, b"x")]),
                Some("jar-zip"),
            ),
            (
                "zip content",
                "a.jar",
                zip(&[("a", 1, b"x"), ("b", 1, b"y")]),
                zip(&[("a", 2, b"x"), ("b", 2, b"z")]),
                None,
            ),
            (
                "zip with one member twice",
                "a.jar",
                zip(&[("a", 1, b"x"), ("a", 1, b"y")]),
                zip(&[("a", 1, b"y"), ("a", 1, b"x")]),
                None,
            ),
            (
                "zip member",
                "a.jar",
                zip(&[("a", 1, b"x")]),
                zip(&[("a", 1, b"x"), ("b", 1, b"")]),
                None,
            ),
            (
                "manifest",
                "a.jar",
                zip(&[(
                    "META-INF/MANIFEST.MF",
                    1,
                    b"Built-By: me\r\nMain-Class: A\r\n",
                )]),
                zip(&[(
                    "META-INF/MANIFEST.MF",
                    2,
                    b"Built-By: you\r\n and me\r\nMain-Class: A\r\n",
                )]),
                Some("jar-zip"),
            ),
            (
                "manifest's class",
                "a.jar",
                zip(&[(
                    "META-INF/MANIFEST.MF",
                    1,
                    b"Built-By: me\r\nMain-Class: A\r\n",
                )]),
                zip(&[(
                    "META-INF/MANIFEST.MF",
                    2,
                    b"Built-By: you\r\nMain-Class: B\r\n",
                )]),
                None,
            ),
            ("pyc", "a.pyc", pyc(1, b"x"), pyc(2, b"x"), Some("pyc")),
            ("pyc code", "a.pyc", pyc(1, b"x"), pyc(2, b"y"), None),
        ];
        for (case, path, published, rebuilt, cause) in cases {
            assert_eq!(examined(path, &published, &rebuilt), cause, "{case}");
            assert_eq!(
                examined(path, &rebuilt, &published),
                cause,
                "{case}, swapped"
            );
        }
    }

    #[test]
    fn no_byte_may_change_beside_a_time() {
        let files: [(&str, u64, &[u8]); 2] = [("a", 11, b"one"), ("b", 11, b"two")];
        let later: [(&str, u64, &[u8]); 2] = [("a", 22, b"one"), ("b", 22, b"two")];
        let zipped = |mtime| zip(&[("a", mtime, b"one"), ("b", mtime, b"two")]);
        let cases = [
            ("a.gz", gzip(b"one", 11, None), gzip(b"one", 22, None)),
            ("a.tar", tar(&files), tar(&later)),
            ("a.cpio", cpio(&files), cpio(&later)),
            ("a.a", ar(&files), ar(&later)),
            ("a.zip", zipped(11), zipped(22)),
            ("a.pyc", pyc(11, b"x"), pyc(22, b"x")),
        ];
        for (path, published, rebuilt) in cases {
            let cause = examined(path, &published, &rebuilt);
            assert!(cause.is_some(), "{path}");
            for at in 0..rebuilt.len() {
                // What is a time, an owner or a header that does not matter may be any.
                if published[at] != rebuilt[at] {
                    continue;
                }
                let mut other = rebuilt.clone();
                other[at] ^= 0x40;
                if examined(path, &published, &other).is_some() {
                    assert!(
                        is_free(path, at, &rebuilt),
                        "{path}: {at:#x} may be changed"
                    );
                }
            }
        }
    }

    /// Returns whether a byte is in a field that the cause lets be anything.
    fn is_free(path: &str, at: usize, bytes: &[u8]) -> bool {
        match path {
            // MTIME, XFL and OS; the last deflated byte has bits that mean nothing.
            "a.gz" => (4..10).contains(&at) || at == bytes.len() - 9,
            "a.tar" | "a.cpio" => false,
            // Times and owners.
            "a.a" => (16..40).contains(&((at - 8) % 64)),
            // Times, in headers and in the extra field.
            "a.zip" => [
                (&b"PK\x03\x04"[..], 10..14),
                (b"PK\x01\x02", 12..16),
                (b"UT\x05\0", 4..9),
            ]
            .into_iter()
            .any(|(magic, time)| {
                let mut starts = time.filter_map(|offset| at.checked_sub(offset));
                starts.any(|start| bytes[start..].starts_with(magic))
            }),
            "a.pyc" => (8..12).contains(&at),
            other => panic!("{other}"),
        }
    }
}
