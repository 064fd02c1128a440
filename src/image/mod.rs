//! Images: a name becomes a pinned image, an image becomes raw bytes and entries.
//!
//! Whatever is read is checked against the digest and size that named it, and
//! nothing is normalised: an [`Entry`] keeps what the archive said, also where
//! that is odd. Nothing is written here but blobs into the store.

pub mod archive;
pub mod config;
pub mod entry;
mod json;
pub mod layer;
pub mod layout;
pub mod listing;
pub mod manifest;
pub mod meeting;
pub mod overlay;
mod pinned;
pub mod platform;
mod read;
pub mod reference;
pub mod registry;
pub(crate) mod tar;
#[cfg(test)]
pub(crate) mod testing;

use std::io::Read;

pub use entry::{Entry, EntryKind, EntryPath, Oddity, Timestamp};
pub use layer::{Compression, Layer};
pub use manifest::{Descriptor, Manifest, MediaType};
pub use platform::Platform;
pub use read::{read_both, read_knowing, read_layers};
pub use reference::ImageName;
pub use registry::Access;

pub use pinned::PinnedImage;

use self::meeting::Attending;
use crate::{digest::Digest, progress::Progress};

/// Finds the image that `name` leads to, and reads its manifest and config.
///
/// `platform` chooses where the name leads to several; it is this machine's
/// where `None`, except that the only image of a layout is taken whatever it is
/// for. Layers are read later. What was read is checked: see [`Image::open`].
///
/// Fails with [`Error::AmbiguousPlatform`] or [`Error::RunnableUnknown`] where a
/// runtime might run another image than the one found.
pub fn resolve(
    name: &ImageName,
    platform: Option<&Platform>,
    access: &Access,
    progress: &dyn Progress,
) -> Result<Box<dyn Image>, Error> {
    let owned = name.clone();
    Ok(match name {
        ImageName::Registry(name) => Box::new(registry::open(name, platform, access)?),
        ImageName::Layout { directory, .. } => {
            let files = Box::new(layout::Directory(directory.clone()));
            Box::new(layout::from_files(files, owned, platform)?)
        }
        ImageName::OciArchive { file, .. } => {
            Box::new(archive::open_oci(file, owned, platform, progress)?)
        }
        ImageName::DockerArchive { file, reference } => Box::new(archive::open_docker(
            file,
            owned,
            reference.as_deref(),
            platform,
            progress,
        )?),
        ImageName::Listing { file } => Box::new(listing::open(file, owned, platform)?),
    })
}

/// One image for one platform, pinned by the digests of its manifest or config.
///
/// There are several real kinds: an OCI layout, an archive, a registry's
/// repository, a listing.
pub trait Image: Send + Sync {
    /// Returns the image's name as the user would type it.
    fn name(&self) -> &ImageName;

    /// Returns the outermost index that was gone through to reach the manifest, as served.
    ///
    /// `None` where the name led straight to a manifest. Of an OCI layout, its
    /// `index.json` where that names the manifest itself: a table of contents,
    /// whose digest identifies no image.
    fn index(&self) -> Option<&RawIndex>;

    /// Returns the manifest; `None` for a docker-archive, which has none.
    fn manifest(&self) -> Option<&Manifest>;

    /// Returns the config's bytes, exactly as served.
    fn config(&self) -> &RawConfig;

    /// Returns how many layers the image has.
    fn layer_count(&self) -> usize;

    /// Returns the descriptor of layer `index` (0 is the base), `None` in a docker-archive.
    fn layer_descriptor(&self, index: usize) -> Option<&Descriptor>;

    /// Opens layer `index` as served, still compressed.
    ///
    /// The reader fails with [`Error::DigestMismatch`] or [`Error::SizeMismatch`]
    /// (wrapped in an [`std::io::Error`]) at its end, so what it gave must not be
    /// trusted before it ends. A listing has no bytes: [`Error::OnlyListed`].
    fn open(&self, index: usize) -> Result<Box<dyn Read + Send + '_>, Error>;

    /// Returns the entries of layer `index` and what its bytes are.
    ///
    /// Reads the whole layer once, streaming; checks its digest, size and diffID.
    fn layer(&self, index: usize, progress: &dyn Progress) -> Result<Layer, Error> {
        layer::scan(self, index, progress, None)
    }

    /// Returns the same as [`Self::layer`], and gives the files to a meeting.
    fn layer_met(
        &self,
        index: usize,
        progress: &dyn Progress,
        attending: &Attending<'_>,
    ) -> Result<Layer, Error> {
        layer::scan(self, index, progress, Some(attending))
    }
}

/// The bytes of an index, and which entries it offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawIndex {
    /// The digest of `bytes`.
    pub digest: Digest,
    /// The index exactly as served.
    pub bytes: Vec<u8>,
}

/// The bytes of a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawConfig {
    /// The digest of `bytes`, also called the image ID.
    pub digest: Digest,
    /// The config exactly as served.
    pub bytes: Vec<u8>,
}

/// Why an image could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text names no image.
    #[error(transparent)]
    Reference(#[from] reference::Error),
    /// A file of a layout or archive could not be read.
    #[error("cannot read {path}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The bytes are others than the ones named.
    #[error("{what} should be {expected} but is {actual}")]
    DigestMismatch {
        /// What was read, as a reader would call it.
        what: String,
        /// The digest that named it.
        expected: String,
        /// The digest of what was served.
        actual: String,
    },
    /// There are more or fewer bytes than the descriptor says.
    #[error("{what} should have {expected} bytes but has {}", actual_size(*.expected, *.actual))]
    SizeMismatch {
        /// What was read, as a reader would call it.
        what: String,
        /// The size that the descriptor states.
        expected: u64,
        /// The bytes that were served; counted no further than one past `expected`.
        actual: u64,
    },
    /// A JSON document is not what its media type says.
    #[error("{what} is not valid")]
    Json {
        /// The document.
        what: String,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A document says something that cannot be right.
    #[error("{what} {problem}")]
    Invalid {
        /// The document.
        what: String,
        /// What is wrong with it, as the rest of a sentence.
        problem: String,
    },
    /// A digest in a document cannot be used.
    #[error("{what} names a digest that cannot be checked")]
    Digest {
        /// The document.
        what: String,
        /// What is wrong with the digest.
        source: crate::digest::Error,
    },
    /// The index has nothing for the platform.
    #[error("{name} has no image for {platform}; it has {}", available.join(", "))]
    NoSuchPlatform {
        /// The image's name.
        name: String,
        /// The platform asked for.
        platform: Platform,
        /// The platforms that the index has.
        available: Vec<String>,
    },
    /// The index has several runnable entries that fit the platform.
    #[error("{name} has {} images for {platform}, so what would run is not settled: {}", digests.len(), digests.join(", "))]
    AmbiguousPlatform {
        /// The image's name.
        name: String,
        /// The platform asked for.
        platform: Platform,
        /// The digests of the entries.
        digests: Vec<String>,
    },
    /// The index has runnable images that it marks as being for no platform.
    ///
    /// BuildKit marks attestations so; what looks like one and runs is a way to
    /// hide an image.
    #[error("{name} has runnable images marked unknown/unknown, so what would run is not settled: {}", digests.join(", "))]
    RunnableUnknown {
        /// The image's name.
        name: String,
        /// The digests of the entries.
        digests: Vec<String>,
    },
    /// The layer's bytes cannot be inflated or are no tar.
    #[error("{what} cannot be read at byte {offset} of its {}: {problem}", stream)]
    Corrupt {
        /// The layer.
        what: String,
        /// Which stream: "compressed bytes" or "tar".
        stream: &'static str,
        /// Where in that stream.
        offset: u64,
        /// What is wrong there.
        problem: String,
    },
    /// The image is a listing, which has hashes but no bytes.
    #[error("{name} is a listing: the bytes of its layers are not available")]
    OnlyListed {
        /// The listing's name.
        name: String,
    },
    /// A listing has a line that cannot be read.
    #[error("line {line} of {name} {problem}")]
    Listing {
        /// The listing's name.
        name: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong, as the rest of a sentence.
        problem: String,
    },
    /// The registry could not be asked, or said no.
    #[error("cannot get {what} from {registry}")]
    Registry {
        /// What was asked for.
        what: String,
        /// The registry's host and port.
        registry: String,
        /// What the registry or the network said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store could not keep a blob.
    #[error("cannot keep {what} in the store")]
    Store {
        /// The blob.
        what: String,
        /// What the store said.
        source: crate::store::Error,
    },
}

/// Says how many bytes there are, or that there are more than are wanted.
fn actual_size(expected: u64, actual: u64) -> String {
    if actual > expected {
        "more".to_owned()
    } else {
        actual.to_string()
    }
}
