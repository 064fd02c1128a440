//! Stages: what parts of a build came to, kept by the digest of all that went into them.
//!
//! A record names its result by digest, and the bytes themselves are in the
//! store, which verifies them on reading; a record says its own digest too. So
//! what rotted or was put there by mistake is made anew, never used.

use std::{
    fs::{self, DirBuilder},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::Error;
use crate::digest::Digest;

/// Whether results of earlier builds may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reuse {
    /// They may.
    #[default]
    Allowed,
    /// Everything is made anew.
    Refused,
}

/// Records of what was built before.
#[derive(Debug, Clone)]
pub struct Stages {
    folder: PathBuf,
    reuse: Reuse,
}

/// The digest of all that goes into a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key(Digest);

impl Key {
    /// Returns the key of a stage of this kind made from `inputs`.
    ///
    /// The program's version is among them: another one may make it otherwise.
    pub(super) fn of(kind: &str, inputs: &impl Serialize) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let text = serde_json::to_vec(&(kind, version, inputs))
            .expect("what goes into a stage can be written as JSON");
        Self(Digest::of(&text))
    }
}

/// A record as it stands in its file.
#[derive(Serialize, Deserialize)]
struct Record {
    /// The digest of `value`.
    digest: Digest,
    /// What the stage came to, as JSON text.
    value: String,
}

impl Stages {
    /// Keeps records in this folder, which is made when there is one.
    pub const fn new(folder: PathBuf, reuse: Reuse) -> Self {
        Self { folder, reuse }
    }

    /// Returns what a stage came to before; `None` where that is not known or not to be used.
    pub(super) fn get<T: DeserializeOwned>(&self, key: Key) -> Result<Option<T>, Error> {
        if self.reuse == Reuse::Refused {
            return Ok(None);
        }
        let path = self.path(key);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Stage { path, source }),
        };
        let read = || {
            let record: Record = serde_json::from_slice(&bytes).ok()?;
            let is_whole = Digest::of(record.value.as_bytes()) == record.digest;
            is_whole.then(|| serde_json::from_str(&record.value).ok())?
        };
        Ok(read())
    }

    /// Remembers what a stage came to.
    pub(super) fn put(&self, key: Key, value: &impl Serialize) -> Result<(), Error> {
        let value = serde_json::to_string(value).expect("a stage's result can be written as JSON");
        let record = Record {
            digest: Digest::of(value.as_bytes()),
            value,
        };
        let text = serde_json::to_vec(&record).expect("two texts can be written as JSON");
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Stage { path, source }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(failed(&self.folder))?;
        let path = self.path(key);
        let mut file =
            tempfile::NamedTempFile::new_in(&self.folder).map_err(failed(&self.folder))?;
        file.write_all(&text).map_err(failed(&path))?;
        file.persist(&path)
            .map(drop)
            .map_err(|error| failed(&path)(error.error))
    }

    fn path(&self, key: Key) -> PathBuf {
        self.folder.join(key.0.hex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_given_back_unless_it_rotted_or_is_not_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let stages = Stages::new(folder.path().join("stages"), Reuse::Allowed);
        let key = Key::of("test", &("one", 1));
        let get = |stages: &Stages| stages.get::<String>(key).unwrap();
        assert_eq!(get(&stages), None);
        stages.put(key, &"result").unwrap();
        assert_eq!(get(&stages), Some("result".to_owned()));
        assert_eq!(
            get(&Stages::new(stages.folder.clone(), Reuse::Refused)),
            None
        );
        let other = Key::of("test", &("one", 2));
        assert_eq!(stages.get::<String>(other).unwrap(), None);

        let path = stages.path(key);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("result", "poison")).unwrap();
        assert_eq!(get(&stages), None);
    }
}
