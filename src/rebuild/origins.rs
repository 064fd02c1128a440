//! Origins: the content of a file → where its bytes come from.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use super::{Error, Outside, layer::HashingReader, toolchain::Toolchain};
use crate::{
    digest::Digest,
    facts::Origin,
    source::{Source, TreeEntryKind},
};

/// Says where bytes come from.
pub(super) enum Origins {
    /// All from there.
    All(Origin),
    /// These contents from there, and everything else from the build.
    ByContent(BTreeMap<Digest, Origin>),
}

impl Origins {
    /// Tells by content: files of the toolchain's packages, of the source tree and of the lock.
    ///
    /// Only files of the given sizes are looked for in the source tree.
    pub(super) fn by_content(
        toolchain: Option<&Toolchain>,
        outside: &Outside<'_>,
        source: Option<&Source>,
        sizes: &BTreeSet<u64>,
    ) -> Result<Self, Error> {
        let mut found = BTreeMap::new();
        for file in &outside.lock.files {
            found.insert(file.sha256, Origin::Opaque);
        }
        if let Some(source) = source {
            for entry in source.walk("")? {
                let is_file = matches!(entry.kind, TreeEntryKind::File | TreeEntryKind::Executable);
                if is_file && entry.size.is_none_or(|size| sizes.contains(&size)) {
                    let (digest, origin) = of_tree(source, &entry.path)?;
                    found.insert(digest, origin);
                }
            }
        }
        if let Some(toolchain) = toolchain {
            for (package, contents) in toolchain.contents(outside.store)? {
                let is_signed = outside.signed.contains(&package);
                for content in contents {
                    if is_signed {
                        found.insert(content, Origin::Packaged);
                    } else if found.get(&content) != Some(&Origin::Packaged) {
                        found.insert(content, Origin::PackagedUnsigned);
                    }
                }
            }
        }
        Ok(Self::ByContent(found))
    }

    /// Returns where a file with this content comes from.
    pub(super) fn of(&self, content: &Digest) -> Origin {
        match self {
            Self::All(origin) => *origin,
            Self::ByContent(found) => found.get(content).copied().unwrap_or(Origin::Built),
        }
    }
}

/// Hashes a file of the source tree: text is the tree's, everything else opaque.
fn of_tree(source: &Source, path: &[u8]) -> Result<(Digest, Origin), Error> {
    let mut reader = HashingReader::new(source.open(path)?);
    let mut text = Text::default();
    io::copy(&mut reader, &mut text).map_err(|source| Error::Keep { source })?;
    let digest = reader
        .finish()
        .map_err(|source| Error::Keep { source })?
        .finish();
    Ok((digest, text.origin()))
}

/// Sees whether what is written to it is text: UTF-8 without a zero byte.
#[derive(Default)]
struct Text {
    /// The beginning of a character whose end has not come yet.
    pending: Vec<u8>,
    is_binary: bool,
}

impl io::Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.is_binary {
            self.pending.extend_from_slice(bytes);
            let whole = match std::str::from_utf8(&self.pending) {
                Ok(text) => text.len(),
                Err(error) if error.error_len().is_none() => error.valid_up_to(),
                Err(_) => {
                    self.is_binary = true;
                    0
                }
            };
            self.is_binary |= self.pending.contains(&0);
            self.pending.drain(..whole);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Text {
    fn origin(&self) -> Origin {
        if self.is_binary || !self.pending.is_empty() {
            Origin::Opaque
        } else {
            Origin::Tree
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn text_is_told_from_binaries_however_it_is_cut() {
        let cases: [(&str, &[&[u8]], Origin); 6] = [
            ("nothing", &[], Origin::Tree),
            ("text", &[b"text\n"], Origin::Tree),
            ("a character in two", &[b"gr\xc3", b"\xbcn"], Origin::Tree),
            ("half a character", &[b"gr\xc3"], Origin::Opaque),
            ("a zero", &[b"a", b"\0"], Origin::Opaque),
            ("no UTF-8", &[b"\xff\xfe", b"a"], Origin::Opaque),
        ];
        for (case, pieces, origin) in cases {
            let mut text = Text::default();
            for piece in pieces {
                text.write_all(piece).unwrap();
            }
            assert_eq!(text.origin(), origin, "{case}");
        }
    }
}
