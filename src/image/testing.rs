//! Layers built from text, so that a test shows the difference that matters.

use std::sync::Arc;

use super::{Compression, Entry, EntryKind, EntryPath, Layer, Timestamp, entry::Details};
use crate::digest::{DiffId, Digest};

/// Returns a layer of these entries, one a line:
///
/// `TYPE MODE PATH[>TARGET] @MTIME [CONTENT…]` with TYPE one of `f` file, `d`
/// directory, `l` symbolic link, `h` hard link, `c` character device (its
/// content is `MAJOR,MINOR`), `p` pipe; MODE in octal; a content of `name=value`
/// words after `;` are extended attributes.
pub(crate) fn layer<'a>(lines: impl IntoIterator<Item = &'a str>) -> Arc<Layer> {
    let entries: Vec<Entry> = lines.into_iter().map(entry).collect();
    // Enough of an identity for a layer that has no bytes.
    let text = format!("{entries:?}");
    Arc::new(Layer {
        descriptor: None,
        digest: Digest::of(text.as_bytes()),
        size: text.len() as u64,
        diff_id: DiffId::of(text.as_bytes()),
        uncompressed_size: text.len() as u64,
        compression: Compression::None,
        end_padding: 1024,
        entries,
        oddities: Vec::new(),
    })
}

pub(super) fn entry(line: &str) -> Entry {
    let (line, xattrs) = line.split_once(" ; ").unwrap_or((line, ""));
    let mut words = line.splitn(5, ' ');
    let mut word = || words.next().unwrap_or("");
    let (flag, mode, name, time, content) = (word(), word(), word(), word(), word());
    let (path, target) = name.split_once('>').unwrap_or((name, ""));
    let kind = match flag {
        "f" => EntryKind::File {
            size: content.len() as u64,
            content: Digest::of(content.as_bytes()),
        },
        "d" => EntryKind::Directory,
        "l" => EntryKind::Symlink {
            target: target.as_bytes().into(),
        },
        "h" => EntryKind::HardLink {
            target: EntryPath::of(target.as_bytes()),
        },
        "c" => {
            let (major, minor) = content.split_once(',').unwrap();
            EntryKind::CharDevice {
                major: major.parse().unwrap(),
                minor: minor.parse().unwrap(),
            }
        }
        "p" => EntryKind::Fifo,
        other => panic!("{other:?} is no type of entry"),
    };
    let xattrs = xattrs
        .split_whitespace()
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap();
            (name.as_bytes().into(), value.as_bytes().into())
        })
        .collect();
    Entry {
        path: EntryPath::of(path.as_bytes()),
        kind,
        mode: u32::from_str_radix(mode, 8).unwrap(),
        uid: 0,
        gid: 0,
        mtime: Timestamp::from_seconds(time.strip_prefix('@').unwrap().parse().unwrap()),
        details: Some(Arc::new(Details {
            xattrs,
            ..Details::default()
        })),
        header: Digest::of(line.as_bytes()),
    }
}
