//! From a root document to one image: choosing by platform, and checking every byte.
//!
//! What the kinds of images have in common once something can open blobs by
//! descriptor. Nothing is chosen where a runtime might choose otherwise.

use std::{
    collections::BTreeMap,
    io::{self, Cursor, Read},
};

use super::{
    Descriptor, Error, Image, ImageName, Manifest, Platform, RawConfig, RawIndex,
    config::{Config, MAX_CONFIG},
    manifest::{IndexEntry, MAX_MANIFEST, Served, StatedPlatform},
    reference::Selection,
};
use crate::digest::{Digest, Hasher};

/// How deep indexes may lie in indexes; the deepest seen is two (`index.json` and buildx's own).
const MAX_DEPTH: usize = 8;

/// How many entries of an index are looked into to learn what they are.
const MAX_PROBED: usize = 64;

/// Something that holds blobs by their digest.
pub(super) trait Blobs: Send + Sync {
    /// Opens a manifest or index; nothing is checked yet.
    fn open_manifest(
        &self,
        what: &str,
        descriptor: &Descriptor,
    ) -> Result<Box<dyn Read + Send + '_>, Error>;

    /// Opens a config or layer; nothing is checked yet.
    ///
    /// `urls` are where a layer may lie that its repository need not keep.
    fn open_blob(
        &self,
        what: &str,
        descriptor: &Descriptor,
        urls: &[String],
    ) -> Result<Box<dyn Read + Send + '_>, Error>;
}

/// An image whose blobs are reached by descriptor.
pub struct PinnedImage {
    name: ImageName,
    blobs: Box<dyn Blobs>,
    index: Option<RawIndex>,
    manifest: Manifest,
    config: RawConfig,
}

/// The document that a name leads to.
pub(super) struct Root {
    /// What it is, as a reader would call it.
    pub(super) what: String,
    /// Its bytes.
    pub(super) bytes: Vec<u8>,
    /// What it turned out to be.
    pub(super) served: Served,
    /// Whether it is a layout's `index.json`, a table of contents that no digest names.
    pub(super) contents: Contents,
}

/// Whether a root document is an image or index of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contents {
    /// A layout's `index.json`.
    OfLayout,
    /// A document that a registry serves.
    Own,
}

impl PinnedImage {
    /// Follows `root` to the one image for `platform`, and reads its manifest and config.
    pub(super) fn pin(
        name: ImageName,
        blobs: Box<dyn Blobs>,
        root: Root,
        selection: &Selection,
        platform: Option<&Platform>,
    ) -> Result<Self, Error> {
        let host = Platform::host();
        let choice = Choice {
            blobs: &*blobs,
            name: &name,
            wanted: platform.unwrap_or(&host),
        };
        let (index, manifest, stated) = match root.served {
            Served::Manifest(manifest) => {
                manifest.check_runnable(&root.what)?;
                (None, manifest, None)
            }
            Served::Index(entries) => {
                let entries = match root.contents {
                    Contents::OfLayout => select(&name, &root.what, entries, selection)?,
                    Contents::Own => entries,
                };
                let lone = root.contents == Contents::OfLayout && platform.is_none();
                let chosen = choice.choose(entries, lone)?;
                let own = (root.contents == Contents::Own || chosen.through.is_none()).then(|| {
                    RawIndex {
                        digest: Digest::of(&root.bytes),
                        bytes: root.bytes.clone(),
                    }
                });
                (own.or(chosen.through), chosen.manifest, chosen.stated)
            }
        };
        let config = choice.config(&manifest)?;
        let what = format!("the config of {name}");
        let parsed = config.parse(&what)?;
        check_platform(&what, &parsed, stated.as_ref(), platform)?;
        if parsed.diff_ids.len() != manifest.layers.len() {
            return Err(Error::Invalid {
                what,
                problem: format!(
                    "has {} diffIDs for a manifest of {} layers",
                    parsed.diff_ids.len(),
                    manifest.layers.len()
                ),
            });
        }
        Ok(Self {
            name,
            blobs,
            index,
            manifest,
            config,
        })
    }
}

impl Image for PinnedImage {
    fn name(&self) -> &ImageName {
        &self.name
    }

    fn index(&self) -> Option<&RawIndex> {
        self.index.as_ref()
    }

    fn manifest(&self) -> Option<&Manifest> {
        Some(&self.manifest)
    }

    fn config(&self) -> &RawConfig {
        &self.config
    }

    fn layer_count(&self) -> usize {
        self.manifest.layers.len()
    }

    fn layer_descriptor(&self, index: usize) -> Option<&Descriptor> {
        self.manifest.layers.get(index)
    }

    fn open(&self, index: usize) -> Result<Box<dyn Read + Send + '_>, Error> {
        let what = format!("layer {} of {}", index + 1, self.name);
        let descriptor = &self.manifest.layers[index];
        let inner: Box<dyn Read + Send> = match &descriptor.data {
            Some(data) => Box::new(Cursor::new(data.as_slice())),
            None => self
                .blobs
                .open_blob(&what, descriptor, &self.manifest.urls(index))?,
        };
        Ok(Box::new(VerifiedReader::new(
            inner,
            what,
            descriptor.digest,
            descriptor.size,
        )))
    }
}

/// Keeps of a layout's entries those that are meant.
fn select(
    name: &ImageName,
    what: &str,
    entries: Vec<IndexEntry>,
    selection: &Selection,
) -> Result<Vec<IndexEntry>, Error> {
    let invalid = |problem| Error::Invalid {
        what: what.to_owned(),
        problem,
    };
    let mut by_digest: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
    for entry in &entries {
        let tag = entry.ref_name().unwrap_or("(untagged)").to_owned();
        by_digest
            .entry(entry.descriptor.digest)
            .or_default()
            .push(tag);
    }
    let mut tags: Vec<String> = entries
        .iter()
        .filter_map(IndexEntry::ref_name)
        .map(str::to_owned)
        .collect();
    tags.sort();
    tags.dedup();
    let has = if tags.is_empty() {
        "nothing with a tag".to_owned()
    } else {
        tags.join(", ")
    };
    if selection.tag.is_none()
        && selection.digest.is_none()
        && tags.len() > 1
        && by_digest.len() > 1
    {
        return Err(invalid(format!(
            "has several images; name one as {name}:TAG: it has {has}"
        )));
    }
    let kept: Vec<IndexEntry> = entries
        .into_iter()
        .filter(|entry| {
            selection
                .tag
                .as_deref()
                .is_none_or(|tag| entry.ref_name() == Some(tag))
                && selection
                    .digest
                    .is_none_or(|digest| entry.descriptor.digest == digest)
        })
        .collect();
    if kept.is_empty() {
        return Err(invalid(match (&selection.tag, &selection.digest) {
            (None, None) => "has no images".to_owned(),
            (Some(tag), None) => format!("has no image {tag}; it has {has}"),
            (None, Some(digest)) => format!("does not name {digest}"),
            (Some(tag), Some(digest)) => {
                format!("has no image {tag} that is {digest}; it has {has}")
            }
        }));
    }
    Ok(kept)
}

/// Fails where the config is for another platform than the index says or the user asked for.
pub(super) fn check_platform(
    what: &str,
    config: &Config,
    stated: Option<&Platform>,
    asked: Option<&Platform>,
) -> Result<(), Error> {
    let is = &config.platform;
    let problem = if let Some(stated) = stated.filter(|stated| !stated.accepts(is)) {
        format!("is for {is}, but the index says {stated}")
    } else if let Some(asked) = asked.filter(|asked| !asked.accepts(is)) {
        format!("is for {is}, not for {asked}")
    } else {
        return Ok(());
    };
    Err(Error::Invalid {
        what: what.to_owned(),
        problem,
    })
}

struct Choice<'a> {
    blobs: &'a dyn Blobs,
    name: &'a ImageName,
    wanted: &'a Platform,
}

/// A runnable image that an index offers, directly or through other indexes.
struct Offer {
    platform: Platform,
    /// What the entry says, where it says something.
    stated: Option<Platform>,
    descriptor: Descriptor,
    manifest: Option<Manifest>,
    through: Option<RawIndex>,
}

struct Chosen {
    manifest: Manifest,
    stated: Option<Platform>,
    through: Option<RawIndex>,
}

impl Choice<'_> {
    /// Returns the one entry that fits; `lone` takes the only one there is, whatever it fits.
    fn choose(&self, entries: Vec<IndexEntry>, lone: bool) -> Result<Chosen, Error> {
        let mut offers = Vec::new();
        let mut marked_unknown = Vec::new();
        let mut probed = 0;
        self.collect(
            entries,
            None,
            0,
            &mut probed,
            &mut offers,
            &mut marked_unknown,
        )?;
        if !marked_unknown.is_empty() {
            return Err(Error::RunnableUnknown {
                name: self.name.to_string(),
                digests: marked_unknown,
            });
        }
        let is_one = offers
            .iter()
            .all(|offer| offer.descriptor.digest == offers[0].descriptor.digest);
        let chosen = if lone && is_one && !offers.is_empty() {
            offers.swap_remove(0)
        } else {
            self.fitting(offers)?
        };
        let manifest = match chosen.manifest {
            Some(manifest) => manifest,
            None => self.manifest(&chosen.descriptor)?,
        };
        manifest.check_runnable(&self.manifest_name(&chosen.descriptor))?;
        Ok(Chosen {
            manifest,
            stated: chosen.stated,
            through: chosen.through,
        })
    }

    fn fitting(&self, mut offers: Vec<Offer>) -> Result<Offer, Error> {
        let wanted = self.wanted.normalized();
        let mut available: Vec<String> = offers
            .iter()
            .map(|offer| offer.platform.to_string())
            .collect();
        available.sort();
        available.dedup();
        let exactly: Vec<bool> = offers
            .iter()
            .map(|offer| offer.platform.normalized() == wanted)
            .collect();
        let is_exact = exactly.contains(&true);
        let mut fits = exactly.into_iter();
        offers.retain(|offer| {
            let exact = fits.next() == Some(true);
            if is_exact {
                exact
            } else {
                self.wanted.accepts(&offer.platform)
            }
        });
        let mut digests: Vec<String> = offers
            .iter()
            .map(|offer| offer.descriptor.digest.to_string())
            .collect();
        digests.sort();
        digests.dedup();
        match digests.len() {
            0 => Err(Error::NoSuchPlatform {
                name: self.name.to_string(),
                platform: self.wanted.clone(),
                available,
            }),
            1 => Ok(offers.swap_remove(0)),
            _ => Err(Error::AmbiguousPlatform {
                name: self.name.to_string(),
                platform: self.wanted.clone(),
                digests,
            }),
        }
    }

    fn collect(
        &self,
        entries: Vec<IndexEntry>,
        through: Option<&RawIndex>,
        depth: usize,
        probed: &mut usize,
        offers: &mut Vec<Offer>,
        marked_unknown: &mut Vec<String>,
    ) -> Result<(), Error> {
        let invalid = |problem: &str| {
            Err(Error::Invalid {
                what: self.name.to_string(),
                problem: problem.to_owned(),
            })
        };
        if depth > MAX_DEPTH {
            return invalid("has indexes in indexes too deep to follow");
        }
        for entry in entries {
            let descriptor = entry.descriptor.clone();
            let offer = |platform: Platform, stated, manifest| Offer {
                platform,
                stated,
                descriptor: descriptor.clone(),
                manifest,
                through: through.cloned(),
            };
            let may_be_index =
                descriptor.media_type.is_index() || descriptor.media_type.0.is_empty();
            match &entry.platform {
                _ if entry.is_attestation() => continue,
                StatedPlatform::Is(platform) if !may_be_index => {
                    // An artifact beside the image (a signature, say) is none, whatever it is for.
                    if descriptor.media_type.is_manifest() {
                        offers.push(offer(platform.clone(), Some(platform.clone()), None));
                    }
                    continue;
                }
                _ if !may_be_index && !descriptor.media_type.is_manifest() => continue,
                StatedPlatform::Is(_) | StatedPlatform::Unstated | StatedPlatform::Unknown => {}
            }
            *probed += 1;
            if *probed > MAX_PROBED {
                return invalid("has too many entries that do not say what they are");
            }
            let what = self.manifest_name(&descriptor);
            let bytes = self.read_manifest(&what, &descriptor)?;
            match Served::parse(&what, &bytes, Some(&descriptor.media_type))? {
                Served::Index(entries) => {
                    let raw = RawIndex {
                        digest: descriptor.digest,
                        bytes,
                    };
                    let through = through.unwrap_or(&raw);
                    self.collect(
                        entries,
                        Some(through),
                        depth + 1,
                        probed,
                        offers,
                        marked_unknown,
                    )?;
                }
                Served::Manifest(manifest) => match entry.platform {
                    StatedPlatform::Is(platform) => {
                        offers.push(offer(platform.clone(), Some(platform), Some(manifest)));
                    }
                    // An artifact beside the image, such as a signature.
                    _ if manifest.check_runnable(&what).is_err() => {}
                    StatedPlatform::Unknown => marked_unknown.push(descriptor.digest.to_string()),
                    StatedPlatform::Unstated => {
                        let config = self.config(&manifest)?;
                        let platform = config.parse(&format!("the config of {what}"))?.platform;
                        offers.push(offer(platform, None, Some(manifest)));
                    }
                },
            }
        }
        Ok(())
    }

    fn manifest_name(&self, descriptor: &Descriptor) -> String {
        format!("the manifest {} of {}", descriptor.digest, self.name)
    }

    fn read_manifest(&self, what: &str, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        read_all(what, descriptor, MAX_MANIFEST, || {
            self.blobs.open_manifest(what, descriptor)
        })
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest, Error> {
        let what = self.manifest_name(descriptor);
        let bytes = self.read_manifest(&what, descriptor)?;
        Manifest::parse(&what, &bytes, Some(&descriptor.media_type))
    }

    fn config(&self, manifest: &Manifest) -> Result<RawConfig, Error> {
        let what = format!("the config of {}", self.name);
        let descriptor = &manifest.config;
        read_all(&what, descriptor, MAX_CONFIG, || {
            self.blobs.open_blob(&what, descriptor, &[])
        })
        .map(RawConfig::new)
    }
}

/// Reads a whole document of a known size that may not be larger than `limit`, and checks it.
fn read_all<'a>(
    what: &str,
    descriptor: &Descriptor,
    limit: u64,
    open: impl FnOnce() -> Result<Box<dyn Read + Send + 'a>, Error>,
) -> Result<Vec<u8>, Error> {
    if descriptor.size > limit {
        return Err(Error::Invalid {
            what: what.to_owned(),
            problem: format!(
                "is said to have {} bytes; at most {limit} are read",
                descriptor.size
            ),
        });
    }
    if let Some(data) = &descriptor.data {
        return Ok(data.clone());
    }
    let mut bytes = Vec::new();
    VerifiedReader::new(open()?, what.to_owned(), descriptor.digest, descriptor.size)
        .read_to_end(&mut bytes)
        .map_err(|error| from_io(what, error))?;
    Ok(bytes)
}

/// Reads `what` whole, unless it is larger than `limit`; what names it has no size.
pub(super) fn read_limited(what: &str, reader: impl Read, limit: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    reader
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| from_io(what, error))?;
    if bytes.len() as u64 > limit {
        return Err(Error::Invalid {
            what: what.to_owned(),
            problem: format!("has more than the {limit} bytes that are read"),
        });
    }
    Ok(bytes)
}

/// Returns the error that an [`io::Error`] carries; otherwise that `path` could not be read.
pub(super) fn from_io(path: &str, error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(source) => Error::File {
            path: path.to_owned(),
            source,
        },
    }
}

/// Gives the bytes of a blob, and an error in place of its end unless they are the ones named.
///
/// Bytes past the stated size are never given. Every error stays: reading on
/// after one gives it again, so that nothing that retries takes it for an end.
pub(super) struct VerifiedReader<R> {
    inner: R,
    hasher: Hasher,
    what: String,
    expected: Digest,
    size: u64,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    Reading,
    Verified,
    Wrong { actual: Option<Digest> },
}

impl<R: Read> VerifiedReader<R> {
    pub(super) fn new(inner: R, what: String, expected: Digest, size: u64) -> Self {
        Self {
            inner,
            hasher: Hasher::default(),
            what,
            expected,
            size,
            state: State::Reading,
        }
    }

    fn wrong(&mut self, actual: Option<Digest>) -> io::Error {
        self.state = State::Wrong { actual };
        io::Error::other(match actual {
            Some(actual) => Error::DigestMismatch {
                what: self.what.clone(),
                expected: self.expected.to_string(),
                actual: actual.to_string(),
            },
            None => Error::SizeMismatch {
                what: self.what.clone(),
                expected: self.size,
                actual: self.hasher.size(),
            },
        })
    }
}

impl<R: Read> Read for VerifiedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.state {
            State::Verified => return Ok(0),
            State::Wrong { actual } => return Err(self.wrong(actual)),
            State::Reading if buffer.is_empty() => return Ok(0),
            State::Reading => {}
        }
        // One byte more than is left is asked for, so that one too many is seen.
        let left = self.size - self.hasher.size();
        let wanted = usize::try_from(left.saturating_add(1)).unwrap_or(usize::MAX);
        let wanted = wanted.min(buffer.len());
        let count = self.inner.read(&mut buffer[..wanted])?;
        self.hasher.update(&buffer[..count]);
        if count as u64 > left || (count == 0 && left > 0) {
            return Err(self.wrong(None));
        }
        if count == 0 {
            let actual = std::mem::take(&mut self.hasher).finish();
            if actual != self.expected {
                return Err(self.wrong(Some(actual)));
            }
            self.state = State::Verified;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_ends_only_after_the_bytes_that_were_named() {
        type Case = (
            &'static str,
            &'static [u8],
            &'static [u8],
            Option<&'static str>,
        );
        let cases: [Case; 5] = [
            ("same", b"bytes", b"bytes", None),
            ("empty", b"", b"", None),
            (
                "other",
                b"bytes",
                b"bytez",
                Some("it should be sha256:277089d9"),
            ),
            (
                "short",
                b"bytes",
                b"byte",
                Some("it should have 5 bytes but has 4"),
            ),
            (
                "long",
                b"bytes",
                b"bytes!",
                Some("it should have 5 bytes but has more"),
            ),
        ];
        for (case, named, served, problem) in cases {
            for step in [1, 2, 5, 64] {
                let mut reader =
                    VerifiedReader::new(served, "it".into(), Digest::of(named), named.len() as u64);
                let mut given = Vec::new();
                let mut buffer = vec![0; step];
                let result = loop {
                    match reader.read(&mut buffer) {
                        Ok(0) => break Ok(()),
                        Ok(count) => given.extend_from_slice(&buffer[..count]),
                        Err(error) => break Err(from_io("it", error).to_string()),
                    }
                };
                assert!(given.len() <= named.len(), "{case}");
                match (result, problem) {
                    (Ok(()), None) => assert_eq!(given, named, "{case}"),
                    (Err(error), Some(problem)) => {
                        assert!(error.starts_with(problem), "{case}: {error}");
                        let again = from_io("it", reader.read(&mut buffer).unwrap_err());
                        assert_eq!(again.to_string(), error, "{case}");
                    }
                    (result, _) => panic!("{case}: {result:?}"),
                }
            }
        }
    }
}
