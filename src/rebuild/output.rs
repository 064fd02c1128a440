//! Output: blobs → an OCI layout, as a directory or as one archive.
//!
//! Everything is written beside its place and moved there in the end, so that
//! what is there is whole. An archive is written from the layout, its entries
//! sorted and without anything of this machine or moment.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use oci_spec::image::{Arch, ImageIndexBuilder, MediaType as OciMediaType, Os, PlatformBuilder};
use tempfile::{NamedTempFile, TempDir};

use super::{Error, cannot_write};
use crate::{
    dialect::{
        TarDialect,
        json::{self, BlobName},
        tar::{FileType, Member, MemberKind, TarWriter},
    },
    digest::Digest,
    image::{MediaType, Platform},
};

/// Where the image goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// An OCI layout: a directory that does not exist yet.
    Layout(PathBuf),
    /// The same as a tar: a file that does not exist yet.
    Archive(PathBuf),
}

/// A manifest as an index names it.
pub(super) struct ManifestName<'a> {
    pub(super) media_type: &'a MediaType,
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) platform: &'a Platform,
}

/// A layout being written; gone when dropped, unless finished.
pub(super) struct Writer {
    output: Output,
    folder: TempDir,
}

/// A blob being written.
pub(super) type BlobFile = BufWriter<NamedTempFile>;

impl Output {
    /// Returns where the image goes.
    pub fn path(&self) -> &Path {
        match self {
            Self::Layout(path) | Self::Archive(path) => path,
        }
    }

    /// Begins to write a layout beside its place.
    pub(super) fn create(&self) -> Result<Writer, Error> {
        let path = self.path();
        if fs::symlink_metadata(path).is_ok() {
            return Err(Error::OutputExists {
                path: path.to_owned(),
            });
        }
        let parent = parent(path);
        fs::create_dir_all(parent).map_err(cannot_write(parent))?;
        let folder = tempfile::Builder::new()
            .prefix(".reprove-")
            .tempdir_in(parent)
            .map_err(cannot_write(parent))?;
        let blobs = folder.path().join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(cannot_write(&blobs))?;
        Ok(Writer {
            output: self.clone(),
            folder,
        })
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

impl Writer {
    /// Begins a blob whose digest is not known yet.
    pub(super) fn begin_blob(&self) -> Result<BlobFile, Error> {
        let folder = self.folder.path();
        let file = NamedTempFile::new_in(folder).map_err(cannot_write(folder))?;
        Ok(BufWriter::with_capacity(256 * 1024, file))
    }

    /// Gives a blob its name.
    pub(super) fn end_blob(&self, blob: BlobFile, digest: Digest) -> Result<(), Error> {
        let path = self.blob_path(digest);
        let file = blob
            .into_inner()
            .map_err(|error| cannot_write(&path)(error.into_error()))?;
        readable(file.as_file()).map_err(cannot_write(&path))?;
        match file.persist(&path) {
            Ok(_) => Ok(()),
            Err(error) => Err(cannot_write(&path)(error.error)),
        }
    }

    /// Writes a whole blob and returns its digest.
    pub(super) fn blob(&self, bytes: &[u8]) -> Result<Digest, Error> {
        let digest = Digest::of(bytes);
        let mut blob = self.begin_blob()?;
        blob.write_all(bytes)
            .map_err(cannot_write(&self.blob_path(digest)))?;
        self.end_blob(blob, digest)?;
        Ok(digest)
    }

    /// Writes an index that names one manifest.
    pub(super) fn index(&self, manifest: &ManifestName<'_>) -> Result<(), Error> {
        let mut platform = PlatformBuilder::default()
            .architecture(Arch::from(manifest.platform.architecture.as_str()))
            .os(Os::from(manifest.platform.os.as_str()));
        if let Some(variant) = &manifest.platform.variant {
            platform = platform.variant(variant.as_str());
        }
        let mut descriptor = json::oci_descriptor(
            OciMediaType::from(manifest.media_type.0.as_str()),
            BlobName {
                digest: manifest.digest,
                size: manifest.size,
            },
        );
        descriptor.set_platform(Some(platform.build().expect("every required field is set")));
        let index = ImageIndexBuilder::default()
            .schema_version(2u32)
            .media_type(OciMediaType::ImageIndex)
            .manifests([descriptor])
            .build()
            .expect("every required field is set");
        self.index_bytes(&json::compact(&index))
    }

    /// Writes an index that was written before.
    pub(super) fn index_bytes(&self, index: &[u8]) -> Result<(), Error> {
        self.file("index.json", index)?;
        self.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).map_err(cannot_write(&path))
    }

    fn blob_path(&self, digest: Digest) -> PathBuf {
        self.folder.path().join("blobs/sha256").join(digest.hex())
    }

    /// Moves the layout, or its archive, to its place.
    pub(super) fn finish(self) -> Result<(), Error> {
        let path = self.output.path().to_owned();
        match &self.output {
            Output::Layout(_) => {
                let folder = self.folder.path();
                set_mode(folder, 0o755).map_err(cannot_write(folder))?;
                fs::rename(folder, &path).map_err(cannot_write(&path))
            }
            Output::Archive(_) => {
                let parent = parent(&path);
                let file = NamedTempFile::new_in(parent).map_err(cannot_write(parent))?;
                let mut file = BufWriter::with_capacity(256 * 1024, file);
                self.archive(&mut file).map_err(cannot_write(&path))?;
                let file = file
                    .into_inner()
                    .map_err(|error| cannot_write(&path)(error.into_error()))?;
                readable(file.as_file()).map_err(cannot_write(&path))?;
                file.persist_noclobber(&path)
                    .map(drop)
                    .map_err(|error| cannot_write(&path)(error.error))
            }
        }
    }

    fn archive(&self, sink: &mut impl Write) -> io::Result<()> {
        let folder = self.folder.path();
        let mut tar = TarWriter::new(sink, TarDialect::BuildKit);
        let mut blobs: Vec<String> = fs::read_dir(folder.join("blobs/sha256"))?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<_>>()?;
        blobs.sort();
        let mut names = vec!["blobs".to_owned(), "blobs/sha256".to_owned()];
        names.extend(blobs.iter().map(|blob| format!("blobs/sha256/{blob}")));
        names.extend(["index.json".to_owned(), "oci-layout".to_owned()]);
        for name in &names {
            let path = folder.join(name);
            let metadata = fs::metadata(&path)?;
            let (kind, file_type, mode) = if metadata.is_dir() {
                (MemberKind::Directory, FileType::Directory, 0o755)
            } else {
                let size = metadata.len();
                (MemberKind::File { size }, FileType::File, 0o644)
            };
            let member = Member {
                path: name.as_bytes(),
                kind,
                file_type,
                mode,
                uid: 0,
                gid: 0,
                mtime: 0,
                device: (0, 0),
                capability: None,
            };
            if metadata.is_dir() {
                tar.member(&member, io::empty())?;
            } else {
                tar.member(&member, File::open(&path)?)?;
            }
        }
        tar.finish().map(drop)
    }
}

/// Temporary files are private; what is left in the end is not.
fn readable(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}
