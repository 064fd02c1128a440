//! Store: blobs on disk, named by their digest.
//!
//! Verified when written and again when read, since disks rot and others may
//! write where we read. A blob appears whole or not at all, so several
//! processes can share one store. Private to the user.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, BufWriter, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use tempfile::NamedTempFile;

use crate::digest::{Digest, Hasher};

/// A folder of blobs.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// Why the store could not keep or give a blob.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was being done, such as `write`.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What was written is not what was to be kept.
    #[error("the blob should be {expected} but is {actual}")]
    Mismatch {
        /// The digest asked for.
        expected: Digest,
        /// The digest of what was written.
        actual: Digest,
    },
    /// Others could write to the store, so nothing in it can be relied on.
    #[error("{} is open to other users (mode {mode:04o}); make it private with chmod 700", path.display())]
    NotPrivate {
        /// The store's folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

/// A blob in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last written or read.
    pub used: SystemTime,
}

impl Store {
    /// Opens the store in this folder, which is made if it is not there.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let blobs = root.join("sha256");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&blobs)
            .map_err(io_error("make", &blobs))?;
        let mode = fs::metadata(root)
            .map_err(io_error("look at", root))?
            .permissions()
            .mode();
        if mode & 0o022 != 0 {
            return Err(Error::NotPrivate {
                path: root.to_owned(),
                mode: mode & 0o7777,
            });
        }
        Ok(Self {
            root: root.to_owned(),
        })
    }

    /// Returns a place to write a blob to; nothing is kept until it is finished.
    pub fn writer(&self) -> Result<BlobWriter, Error> {
        let directory = self.root.join("sha256");
        let file = NamedTempFile::with_prefix_in(PARTIAL, &directory)
            .map_err(io_error("write in", &directory))?;
        Ok(BlobWriter {
            store: self.clone(),
            file: BufWriter::with_capacity(BUFFER, file),
            hasher: Hasher::default(),
        })
    }

    /// Returns the blob, `None` where it is not kept.
    ///
    /// The reader fails at its end if the bytes are no longer the ones that were
    /// kept; the blob is then gone from the store, to be fetched again, unless
    /// another process has already put the right bytes in its place.
    pub fn read(&self, digest: &Digest) -> Result<Option<BlobReader>, Error> {
        let path = self.path(digest);
        match File::open(&path) {
            Ok(file) => {
                // Only a hint for pruning, so a store that cannot be written is still read.
                let _ = rustix::fs::futimens(&file, &USED_NOW);
                Ok(Some(BlobReader {
                    file,
                    path,
                    expected: *digest,
                    hasher: Hasher::default(),
                }))
            }
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(io_error("read", &path)(source)),
        }
    }

    /// Returns all blobs, by digest.
    pub fn list(&self) -> Result<Vec<Kept>, Error> {
        let mut kept = Vec::new();
        self.visit(|path, metadata| {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if let Ok(digest) = format!("sha256:{name}").parse() {
                let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                kept.push(Kept {
                    digest,
                    size: metadata.len(),
                    used,
                });
            }
            Ok(())
        })?;
        kept.sort_unstable_by_key(|kept| kept.digest);
        Ok(kept)
    }

    /// Removes blobs not used for `age`, and what interrupted runs of that age left.
    ///
    /// Returns how many bytes that frees.
    pub fn prune(&self, age: Duration, now: SystemTime) -> Result<u64, Error> {
        let mut freed = 0;
        self.visit(|path, metadata| {
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            if now.duration_since(used).is_ok_and(|unused| unused >= age) {
                match fs::remove_file(path) {
                    Ok(()) => freed += metadata.len(),
                    // Another process pruned it first.
                    Err(source) if source.kind() == io::ErrorKind::NotFound => {}
                    Err(source) => return Err(io_error("remove", path)(source)),
                }
            }
            Ok(())
        })?;
        Ok(freed)
    }

    fn visit(
        &self,
        mut with: impl FnMut(&Path, &fs::Metadata) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let directory = self.root.join("sha256");
        for entry in fs::read_dir(&directory).map_err(io_error("list", &directory))? {
            let path = entry.map_err(io_error("list", &directory))?.path();
            match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_file() => with(&path, &metadata)?,
                Ok(_) => {}
                Err(source) if source.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(io_error("look at", &path)(source)),
            }
        }
        Ok(())
    }

    /// Returns where a blob is, or would be; for people, since whoever reads it there
    /// does not have it verified.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.root.join("sha256").join(digest.hex())
    }
}

/// Sets the modification time to the system's, which thus need not be asked for here.
const USED_NOW: Timestamps = Timestamps {
    last_access: Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_OMIT,
    },
    last_modification: Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    },
};

/// How the names of unfinished blobs begin.
const PARTIAL: &str = "partial-";

/// Bytes gathered before they go to the disk.
const BUFFER: usize = 1 << 16;

/// A blob being written; dropped unfinished, it leaves nothing behind.
#[derive(Debug)]
pub struct BlobWriter {
    store: Store,
    file: BufWriter<NamedTempFile>,
    hasher: Hasher,
}

impl BlobWriter {
    /// Keeps what was written, and returns its digest.
    ///
    /// Fails with [`Error::Mismatch`], keeping nothing, if it is not `expected`.
    pub fn finish(self, expected: Option<&Digest>) -> Result<Digest, Error> {
        let actual = self.hasher.finish();
        if let Some(&expected) = expected.filter(|&&expected| expected != actual) {
            return Err(Error::Mismatch { expected, actual });
        }
        let path = self.store.path(&actual);
        let file = self
            .file
            .into_inner()
            .map_err(|error| io_error("write", &path)(error.into_error()))?;
        file.as_file()
            .sync_data()
            .map_err(io_error("write", &path))?;
        file.persist(&path)
            .map_err(|error| io_error("write", &path)(error.error))?;
        Ok(actual)
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hasher")
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

/// A blob being read.
#[derive(Debug)]
pub struct BlobReader {
    file: File,
    path: PathBuf,
    expected: Digest,
    hasher: Hasher,
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        if count > 0 || buffer.is_empty() {
            self.hasher.update(&buffer[..count]);
            return Ok(count);
        }
        let actual = self.hasher.clone().finish();
        if actual == self.expected {
            return Ok(0);
        }
        self.remove()?;
        let error = Error::Mismatch {
            expected: self.expected,
            actual,
        };
        Err(io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

impl BlobReader {
    /// Removes the file that was read; what another process put in its place stays.
    fn remove(&self) -> io::Result<()> {
        let read = self.file.metadata()?;
        let is_gone = |source: &io::Error| source.kind() == io::ErrorKind::NotFound;
        match fs::symlink_metadata(&self.path) {
            Ok(there) if (there.dev(), there.ino()) != (read.dev(), read.ino()) => Ok(()),
            Ok(_) => fs::remove_file(&self.path).or_else(|source| {
                // Another process found the rot at the same time.
                if is_gone(&source) {
                    Ok(())
                } else {
                    Err(source)
                }
            }),
            Err(source) if is_gone(&source) => Ok(()),
            Err(source) => Err(source),
        }
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        (directory, store)
    }

    fn keep(store: &Store, bytes: &[u8]) -> Digest {
        let mut writer = store.writer().unwrap();
        writer.write_all(bytes).unwrap();
        writer.finish(None).unwrap()
    }

    fn read(store: &Store, digest: &Digest) -> Option<io::Result<Vec<u8>>> {
        let mut reader = store.read(digest).unwrap()?;
        let mut bytes = Vec::new();
        Some(reader.read_to_end(&mut bytes).map(|_| bytes))
    }

    #[test]
    fn what_is_kept_is_given_back() {
        let (_directory, store) = store();
        let digest = keep(&store, b"blob");
        assert_eq!(digest, Digest::of(b"blob"));
        assert_eq!(read(&store, &digest).unwrap().unwrap(), b"blob");
        assert!(read(&store, &Digest::of(b"other")).is_none());
    }

    #[test]
    fn a_blob_that_is_not_the_one_wanted_is_not_kept() {
        let (_directory, store) = store();
        let expected = Digest::of(b"wanted");
        let mut writer = store.writer().unwrap();
        writer.write_all(b"served").unwrap();
        let error = writer.finish(Some(&expected)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "the blob should be {expected} but is {}",
                Digest::of(b"served")
            )
        );
        assert_eq!(store.list().unwrap(), []);
    }

    #[test]
    fn a_blob_that_rotted_is_an_error_once_and_then_gone() {
        let (_directory, store) = store();
        let digest = keep(&store, b"blob");
        fs::write(store.path(&digest), b"rot").unwrap();
        let error = read(&store, &digest).unwrap().unwrap_err().to_string();
        assert!(error.contains(&digest.to_string()), "{error}");
        assert!(read(&store, &digest).is_none());
    }

    #[test]
    fn good_bytes_put_in_place_of_a_rotten_blob_while_it_is_read_stay() {
        let (_directory, store) = store();
        let digest = keep(&store, b"blob");
        fs::write(store.path(&digest), b"rot").unwrap();
        let mut rotten = store.read(&digest).unwrap().unwrap();
        keep(&store, b"blob");
        let error = rotten.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(read(&store, &digest).unwrap().unwrap(), b"blob");
    }

    #[test]
    fn a_rotten_blob_that_another_process_removed_is_told_as_rotten() {
        let (_directory, store) = store();
        let digest = keep(&store, b"blob");
        fs::write(store.path(&digest), b"rot").unwrap();
        let mut rotten = store.read(&digest).unwrap().unwrap();
        fs::remove_file(store.path(&digest)).unwrap();
        let error = rotten.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn reading_a_blob_marks_it_as_used() {
        let (_directory, store) = store();
        let digest = keep(&store, b"blob");
        let file = File::open(store.path(&digest)).unwrap();
        let year = Duration::from_secs(365 * 86_400);
        let long_ago = SystemTime::now() - year;
        file.set_modified(long_ago).unwrap();
        assert_eq!(store.list().unwrap()[0].used, long_ago);
        read(&store, &digest).unwrap().unwrap();
        let age = SystemTime::now().duration_since(store.list().unwrap()[0].used);
        assert!(age.unwrap_or_default() < year / 2);
    }

    #[test]
    fn a_writer_dropped_unfinished_leaves_nothing() {
        let (_directory, store) = store();
        let mut writer = store.writer().unwrap();
        writer.write_all(b"half").unwrap();
        drop(writer);
        assert_eq!(fs::read_dir(store.root.join("sha256")).unwrap().count(), 0);
    }

    #[test]
    fn pruning_takes_what_was_not_used_for_so_long() {
        let (_directory, store) = store();
        keep(&store, b"blob");
        let now = SystemTime::now();
        let day = Duration::from_secs(86_400);
        assert_eq!(store.prune(day, now).unwrap(), 0);
        assert_eq!(store.prune(day, now + 2 * day).unwrap(), 4);
        assert_eq!(store.list().unwrap(), []);
    }

    #[test]
    fn a_store_that_others_can_write_to_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("store");
        Store::open(&root).unwrap();
        assert_eq!(
            fs::metadata(&root).unwrap().permissions().mode() & 0o777,
            0o700
        );
        fs::set_permissions(&root, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(
            Store::open(&root),
            Err(Error::NotPrivate { mode: 0o777, .. })
        ));
    }
}
