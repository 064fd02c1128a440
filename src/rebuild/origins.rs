//! Origins: the content of a file → where its bytes come from.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use serde::{Deserialize, Serialize};

use super::{Error, Outside, base::BaseFiles, layer::HashingReader, toolchain::Toolchain};
use crate::{
    digest::{DiffId, Digest},
    facts::{Origin, Provider},
    recipe::lockfile::Package,
    source::{Source, TreeEntryKind},
};

/// Says where bytes come from.
pub(super) enum Origins {
    /// All from there.
    All(Origin),
    /// Told by content.
    ByContent {
        /// These contents from there, and everything else from the build.
        contents: BTreeMap<Digest, (Origin, Option<Provider>)>,
        /// Layers that were taken as they are.
        base_layers: BTreeSet<DiffId>,
    },
}

/// A base image that a build took files or layers of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UsedBase {
    pub(super) files: BaseFiles,
    pub(super) diff_ids: Vec<DiffId>,
}

impl Origins {
    /// Tells by content: files of the toolchain's packages, of the source tree, of the lock and of
    /// base images, the first of which counts.
    ///
    /// Only files of the given sizes are looked for in the source tree. In a layer of a base all
    /// is the base's.
    pub(super) fn by_content(
        toolchain: Option<(&Toolchain, &[Package])>,
        bases: &[UsedBase],
        outside: &Outside<'_>,
        source: Option<&Source>,
        sizes: &BTreeSet<u64>,
    ) -> Result<Self, Error> {
        let mut found = BTreeMap::new();
        for base in bases {
            let contents = base.files.contents(outside.store)?;
            found.extend(
                contents
                    .into_iter()
                    .map(|digest| (digest, (Origin::Base, None))),
            );
        }
        for file in &outside.lock.files {
            let provider = Provider::Pinned {
                name: file.name.clone(),
            };
            found.insert(file.sha256, (Origin::Opaque, Some(provider)));
        }
        if let Some(source) = source {
            for entry in source.walk("")? {
                let is_file = matches!(entry.kind, TreeEntryKind::File | TreeEntryKind::Executable);
                if is_file && entry.size.is_none_or(|size| sizes.contains(&size)) {
                    let (digest, origin) = of_tree(source, &entry.path)?;
                    let provider = Provider::Source {
                        path: String::from_utf8_lossy(&entry.path).into_owned(),
                    };
                    found.insert(digest, (origin, Some(provider)));
                }
            }
        }
        if let Some((toolchain, packages)) = toolchain {
            let packages: BTreeMap<Digest, &Package> = packages
                .iter()
                .map(|package| (package.sha256, package))
                .collect();
            for (digest, contents) in toolchain.contents(outside.store)? {
                let origin = if outside.signed.contains(&digest) {
                    Origin::Packaged
                } else {
                    Origin::PackagedUnsigned
                };
                let provider = packages.get(&digest).map(|package| Provider::Package {
                    name: package.name.clone(),
                    version: package.version.clone(),
                });
                for content in contents {
                    // What a signature covers counts, whatever else has the same content.
                    let known = found.get(&content).map(|(origin, _)| *origin);
                    if known != Some(Origin::Packaged) {
                        found.insert(content, (origin, provider.clone()));
                    }
                }
            }
        }
        Ok(Self::ByContent {
            contents: found,
            base_layers: bases
                .iter()
                .flat_map(|base| &base.diff_ids)
                .copied()
                .collect(),
        })
    }

    /// Returns where a file with this content comes from.
    pub(super) fn of(&self, content: &Digest) -> Origin {
        match self {
            Self::All(origin) => *origin,
            Self::ByContent { contents, .. } => contents
                .get(content)
                .map_or(Origin::Built, |(origin, _)| *origin),
        }
    }

    /// Returns what a file with this content equals, where that was looked for.
    pub(super) fn provider(&self, content: &Digest) -> Option<&Provider> {
        match self {
            Self::All(_) => None,
            Self::ByContent { contents, .. } => contents.get(content)?.1.as_ref(),
        }
    }

    /// Returns where all of a layer comes from; `None` where its files differ in that.
    pub(super) fn of_layer(&self, layer: DiffId) -> Option<Origin> {
        match self {
            Self::All(origin) => Some(*origin),
            Self::ByContent { base_layers, .. } => {
                base_layers.contains(&layer).then_some(Origin::Base)
            }
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
