//! The cause in a git checkout that was left in the image: what git remembers of the disk.

use std::ops::Range;

use sha1::{Digest as _, Sha1};

use super::{Cause, File, Recogniser, Recognition, Root};
use crate::pair::Pair;

pub(super) const CAUSES: &[Cause] = &[Cause {
    id: "git-meta",
    root: Root::Machine,
    title: "git's index remembers times and inodes of the files on the disk",
    advice: "leave .git out of the image",
    recognise: Recogniser::File(index),
}];

/// Recognises an index in which only what stat(2) told of times, inodes and owners differs,
/// and the hash over all of it.
fn index(file: &File<'_>) -> Recognition {
    let path = file.path.as_bytes();
    if !path.ends_with(b".git/index") {
        return Recognition::Elsewhere;
    }
    let varying = file.bytes.map(varying);
    let (Some(published), Some(rebuilt)) = (varying.published, varying.rebuilt) else {
        return Recognition::Refused(
            "a side is no index of version 2 or 3 that ends in its own hash".into(),
        );
    };
    let count = published.len() / 2;
    let places = Pair::new(published, rebuilt);
    if !places.is_equal() {
        return Recognition::Refused("the indexes list other paths".into());
    }
    let rest = file.bytes.map(|bytes| {
        let mut rest = bytes[..bytes.len() - HASH].to_vec();
        for place in &places.published {
            rest[place.clone()].fill(0);
        }
        rest
    });
    if !rest.is_equal() {
        return Recognition::Refused(
            "more differs than times, inodes and owners on the disk: a path, a mode, or a hash"
                .into(),
        );
    }
    Recognition::Explained(
        format!("the same {count} paths with the same contents; times, inodes and owners on the disk differ, and the hash over all of it is right").into(),
    )
}

/// The bytes of the hash at the end.
const HASH: usize = 20;

/// Returns where an index says of each file what stat(2) told; `None` where it is no index.
///
/// Source: git, `Documentation/gitformat-index.txt`.
fn varying(bytes: &[u8]) -> Option<Vec<Range<usize>>> {
    const HEADER: usize = 12;
    /// Times, device and inode, which the mode follows.
    const DISK: usize = 24;
    /// The fixed part of an entry; two bytes more where it is extended.
    const ENTRY: usize = 62;
    const EXTENDED: u16 = 0x4000;
    let content = bytes.len().checked_sub(HASH)?;
    let (content, hash) = bytes.split_at(content);
    if Sha1::digest(content)[..] != *hash {
        return None;
    }
    let word = |at: usize| {
        let word = content.get(at..)?.first_chunk()?;
        Some(u32::from_be_bytes(*word))
    };
    let is_index = content.starts_with(b"DIRC") && matches!(word(4)?, 2 | 3);
    let count = is_index.then(|| word(8))??;
    let mut places = Vec::new();
    let mut at = HEADER;
    for _ in 0..count {
        let flags = content.get(at + ENTRY - 2..)?.first_chunk()?;
        let extended = u16::from_be_bytes(*flags) & EXTENDED != 0;
        let name = at + ENTRY + if extended { 2 } else { 0 };
        let length = content.get(name..)?.iter().position(|&byte| byte == 0)?;
        places.push(at..at + DISK);
        places.push(at + DISK + 4..at + DISK + 12);
        // One to eight zeros end an entry, so that the next begins at a multiple of eight.
        at += (name + length - at + 8) & !7;
        if at > content.len() {
            return None;
        }
    }
    Some(places)
}

#[cfg(test)]
mod tests {
    use sha1::{Digest as _, Sha1};

    use super::super::testing::told;

    fn index(disk: u8, owner: u8, entries: &[(&str, u8)]) -> Vec<u8> {
        let mut bytes = b"DIRC\0\0\0\x02\0\0\0".to_vec();
        bytes.push(u8::try_from(entries.len()).unwrap());
        for (name, hash) in entries {
            let start = bytes.len();
            bytes.extend([disk; 24]);
            bytes.extend(0o100_644_u32.to_be_bytes());
            bytes.extend([owner; 8]);
            bytes.extend(9_u32.to_be_bytes());
            bytes.extend([*hash; 20]);
            bytes.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
            bytes.extend(name.bytes());
            let length = bytes.len() - start;
            bytes.resize(start + ((length + 8) & !7), 0);
        }
        let hash = Sha1::digest(&bytes);
        bytes.extend(hash);
        bytes
    }

    #[test]
    fn an_index_is_explained_only_by_what_the_disk_told() {
        let published = index(1, 0, &[("a", 1), ("long/name", 2)]);
        let mut unhashed = index(2, 3, &[("a", 1), ("long/name", 2)]);
        *unhashed.last_mut().unwrap() ^= 1;
        let more = "git-meta: more differs than times, inodes and owners on the disk: a path, a mode, or a hash";
        let none = "git-meta: a side is no index of version 2 or 3 that ends in its own hash";
        let rows = [
            (
                "the disk",
                index(2, 3, &[("a", 1), ("long/name", 2)]),
                "git-meta",
            ),
            (
                "a content",
                index(2, 3, &[("a", 9), ("long/name", 2)]),
                more,
            ),
            ("a path", index(2, 3, &[("b", 1), ("long/name", 2)]), more),
            (
                "a path more",
                index(2, 3, &[("a", 1), ("long/name", 2), ("x", 3)]),
                "git-meta: the indexes list other paths",
            ),
            ("a wrong hash", unhashed, none),
        ];
        for (case, rebuilt, expected) in rows {
            let found = told("srv/app/.git/index", &published, &rebuilt);
            assert_eq!(found, expected, "{case}");
        }
    }
}
