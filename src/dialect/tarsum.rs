//! tarsum: the hash that Docker's classic builder writes into the history of ADD and COPY.
//!
//! It covers the file as it stands in the build context's tar, all but its
//! mtime, and so ties an image's config to a file in the source without any
//! rebuild. It does not say what became of the file afterwards.
//!
//! Source: moby `daemon/builder/remotecontext/internal/tarsum` (version 1) and
//! `daemon/builder/dockerfile/copy.go`; checked against the published config of
//! docker.io/library/alpine:3.20.3.

use std::io::{self, Read, Write};

use crate::digest::Hasher;

/// One regular file or symbolic link of a build context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContextFile<'a> {
    /// Its path in the context's tar, without `./`.
    pub path: &'a [u8],
    /// Its mode there: 0664 or 0775 as `git archive` packs files, 0644 or 0755
    /// (with file-type bits, where an old client set them) as a checkout has them.
    pub mode: u32,
    /// What it holds.
    pub kind: ContextKind<'a>,
}

/// What a member of a build context is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContextKind<'a> {
    /// A regular file of this many bytes.
    File {
        /// The number of bytes.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// Its target.
        target: &'a [u8],
    },
    /// A directory; its path ends in a slash.
    Directory,
}

/// Returns the 64 hex digits after `file:` in the history, for one file added alone.
///
/// Owner and group are 0, as in every context that comes from git.
pub fn of_file(file: &ContextFile<'_>, mut content: impl Read) -> io::Result<String> {
    let (size, flag, target) = match file.kind {
        ContextKind::File { size } => (size, '0', &b""[..]),
        ContextKind::Symlink { target } => (0, '2', target),
        ContextKind::Directory => (0, '5', &b""[..]),
    };
    let mut hasher = Hasher::default();
    hasher.update(b"name");
    hasher.update(file.path);
    write!(
        hasher,
        "mode{}uid0gid0size{size}typeflag{flag}linkname",
        file.mode
    )?;
    hasher.update(target);
    hasher.update(b"unamegnamedevmajor0devminor0");
    if let ContextKind::File { .. } = file.kind {
        io::copy(&mut content, &mut hasher)?;
    }
    Ok(hasher.finish().hex())
}

/// Returns what the history says of a directory added alone: `dir:` and a hash.
///
/// `members` are the sums of the directory itself and of all that is below it,
/// in any order.
pub fn of_directory(mut members: Vec<String>) -> String {
    members.sort();
    format!("dir:{}", sum_of(&members))
}

/// Returns what the history says of several sources: `multi:` and a hash.
///
/// `sources` are what it would say of each, `file:…` or `dir:…`, in the order
/// of the instruction.
pub fn of_several(sources: &[String]) -> String {
    format!("multi:{}", sum_of(sources))
}

fn sum_of(sums: &[String]) -> String {
    crate::digest::Digest::of(sums.join(",").as_bytes()).hex()
}

/// Returns what a classic history line says was added: the word before the colon and the hash.
///
/// `None` for any other line.
pub fn in_history(created_by: &str) -> Option<(&str, &str)> {
    let comment = created_by.split_once("#(nop) ")?.1;
    let arguments = comment
        .strip_prefix("ADD ")
        .or_else(|| comment.strip_prefix("COPY "))?;
    let (sum, _) = arguments
        .split(' ')
        .skip_while(|word| word.starts_with("--"))
        .collect::<Vec<_>>()
        .split_first()
        .map(|(first, rest)| (*first, rest.len()))?;
    let (kind, hash) = sum.split_once(':')?;
    let known = ["file", "dir", "multi"].contains(&kind);
    (known && hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .then_some((kind, hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_that_is_hashed_changes_the_sum() {
        let file = ContextFile {
            path: b"a",
            mode: 0o664,
            kind: ContextKind::File { size: 1 },
        };
        let plain = of_file(&file, &b"x"[..]).unwrap();
        let others = [
            (ContextFile { path: b"b", ..file }, &b"x"[..]),
            (
                ContextFile {
                    mode: 0o644,
                    ..file
                },
                b"x",
            ),
            (file, b"y"),
            (
                ContextFile {
                    kind: ContextKind::Symlink { target: b"x" },
                    ..file
                },
                b"",
            ),
            (
                ContextFile {
                    kind: ContextKind::Directory,
                    ..file
                },
                b"",
            ),
        ];
        for (other, content) in others {
            assert_ne!(of_file(&other, content).unwrap(), plain, "{other:?}");
        }
    }

    #[test]
    fn only_lines_of_the_classic_builder_carry_a_sum() {
        let hash = "5".repeat(64);
        let cases = [
            (
                format!("/bin/sh -c #(nop) COPY dir:{hash} in /app "),
                Some(("dir", hash.as_str())),
            ),
            (
                format!("/bin/sh -c #(nop) ADD --chown=1:2 multi:{hash} in /app "),
                Some(("multi", &hash)),
            ),
            ("ADD alpine.tar.gz / # buildkit".to_owned(), None),
            ("/bin/sh -c #(nop)  CMD [\"/bin/sh\"]".to_owned(), None),
            ("/bin/sh -c #(nop) ADD file:12 in / ".to_owned(), None),
        ];
        for (line, expected) in &cases {
            assert_eq!(in_history(line), *expected, "{line}");
        }
    }
}
