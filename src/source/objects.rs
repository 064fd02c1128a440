//! The object database by itself, and the references beside it.
//!
//! libgit2 reads objects here through a database that has no repository around
//! it. So by construction nothing is read of grafts, replace references,
//! attributes, filters, hooks, the index, a working tree or any configuration,
//! and nothing is written. Alternates are followed, as the objects would be
//! missing otherwise; whatever they hold is checked against its id like
//! everything else.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use git2::{ErrorCode, Odb, Oid, Repository};

use super::Error;

/// An object database; every object is hashed again as it is read.
pub(super) struct Objects {
    // libgit2's repositories may move between threads but not be shared.
    repository: Mutex<Repository>,
    /// What messages call the repository.
    name: String,
}

impl Objects {
    /// Opens the database in `folder`, which is a repository's `objects`.
    pub(super) fn open(folder: &Path, name: &str) -> Result<Self, Error> {
        // The default; said here since all our trust in objects hangs on it.
        git2::opts::strict_hash_verification(true);
        let failed = |source: git2::Error| Error::Git {
            what: format!("the objects of {name}"),
            source: source.into(),
        };
        let path = folder.to_str().ok_or_else(|| Error::UnreadablePath {
            path: folder.to_owned(),
        })?;
        let database = Odb::new().map_err(failed)?;
        database.add_disk_alternate(path).map_err(failed)?;
        Ok(Self {
            repository: Mutex::new(Repository::from_odb(database).map_err(failed)?),
            name: name.to_owned(),
        })
    }

    /// Returns what messages call the repository.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the repository to read from.
    pub(super) fn lock(&self) -> MutexGuard<'_, Repository> {
        // Reading leaves nothing half done that a panic elsewhere could expose.
        self.repository
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Says why `what` could not be read.
    pub(super) fn failed(&self, what: String, source: git2::Error) -> Error {
        match source.code() {
            ErrorCode::NotFound => Error::MissingObject {
                what,
                repository: self.name.clone(),
            },
            _ => Error::Git {
                what: format!("{what} of {}", self.name),
                source: source.into(),
            },
        }
    }

    /// Returns the bytes of a blob.
    pub(super) fn blob(&self, id: Oid) -> Result<Vec<u8>, Error> {
        let repository = self.lock();
        let failed = |source| self.failed(format!("blob {id}"), source);
        let database = repository.odb().map_err(failed)?;
        let object = database.read(id).map_err(failed)?;
        if object.kind() != git2::ObjectType::Blob {
            return Err(self.failed(
                format!("blob {id}"),
                git2::Error::from_str("the object is of another type"),
            ));
        }
        Ok(object.data().to_vec())
    }

    /// Returns the number of bytes of an object.
    pub(super) fn size(&self, id: Oid) -> Result<u64, Error> {
        let repository = self.lock();
        let header = repository
            .odb()
            .and_then(|database| database.read_header(id))
            .map_err(|source| self.failed(format!("blob {id}"), source))?;
        Ok(header.0 as u64)
    }

    /// Returns whether the object is there.
    pub(super) fn has(&self, id: Oid) -> bool {
        self.lock().odb().is_ok_and(|database| database.exists(id))
    }
}

/// The branches and tags of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct References {
    /// What `HEAD` points at: a branch, or nothing where it points at a commit.
    pub(super) head: Option<Head>,
    /// By full name, `refs/heads/…`, `refs/tags/…` and, of a local repository, `refs/remotes/…`.
    pub(super) by_name: BTreeMap<String, Target>,
}

/// What `HEAD` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// The full name of the branch, `None` where `HEAD` is detached.
    pub(super) branch: Option<String>,
    /// The commit.
    pub(super) id: Oid,
}

/// What a reference points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    /// The object itself, a tag object for an annotated tag.
    pub(super) id: Oid,
    /// What the tag object leads to, where the server said so or it was read.
    pub(super) peeled: Option<Oid>,
}

impl Target {
    /// Returns the object at the end of all tags.
    pub(super) fn end(&self) -> Oid {
        self.peeled.unwrap_or(self.id)
    }
}

/// A repository on this machine.
pub(super) struct Local {
    /// Its objects.
    pub(super) objects: Objects,
    /// Its branches and tags.
    pub(super) references: References,
    /// Whether its history is cut off.
    pub(super) shallow: bool,
}

impl Local {
    /// Opens the repository at `path`: a bare one, a working tree, or a linked working tree.
    ///
    /// The references are read through libgit2's `open_bare`, which looks into
    /// the repository's configuration (and, unavoidably, the user's and the
    /// system's) for nothing but the repository format. It runs nothing, so the
    /// owner of the folder does not matter, and is not asked for.
    pub(super) fn open(path: &Path, name: &str) -> Result<Self, Error> {
        let folder = git_folder(path)?;
        let failed = |source: git2::Error| match source.code() {
            ErrorCode::NotFound => Error::NotARepository {
                path: path.to_owned(),
            },
            _ => Error::Git {
                what: format!("the repository {name}"),
                source: source.into(),
            },
        };
        let repository = Repository::open_bare(&folder).map_err(failed)?;
        let shallow_file = repository.commondir().join("shallow");
        let shallow = match fs::metadata(&shallow_file) {
            Ok(metadata) => metadata.len() > 0,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(source) => {
                return Err(Error::File {
                    path: shallow_file,
                    source,
                });
            }
        };
        let objects = Objects::open(&repository.commondir().join("objects"), name)?;
        let references = read_references(&repository, name)?;
        Ok(Self {
            objects,
            references,
            shallow,
        })
    }
}

/// Returns the folder that has `HEAD`, `refs` and `objects`, or leads to them.
fn git_folder(path: &Path) -> Result<PathBuf, Error> {
    let dot_git = path.join(".git");
    let metadata = match fs::metadata(&dot_git) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return match fs::metadata(path) {
                Ok(_) => Ok(path.to_owned()),
                Err(source) => Err(Error::File {
                    path: path.to_owned(),
                    source,
                }),
            };
        }
        Err(source) => {
            return Err(Error::File {
                path: dot_git,
                source,
            });
        }
    };
    if metadata.is_dir() {
        return Ok(dot_git);
    }
    // A linked working tree or submodule: a file that says where.
    let text = fs::read_to_string(&dot_git).map_err(|source| Error::File {
        path: dot_git.clone(),
        source,
    })?;
    match text.strip_prefix("gitdir: ") {
        Some(target) => Ok(path.join(target.trim_end_matches(['\n', '\r']))),
        None => Err(Error::NotARepository {
            path: path.to_owned(),
        }),
    }
}

fn read_references(repository: &Repository, name: &str) -> Result<References, Error> {
    let failed = |source: git2::Error| Error::Git {
        what: format!("the branches and tags of {name}"),
        source: source.into(),
    };
    let mut references = References::default();
    for reference in repository.references().map_err(failed)? {
        let reference = reference.map_err(failed)?;
        let full_name = String::from_utf8_lossy(reference.name_bytes()).into_owned();
        let wanted = ["refs/heads/", "refs/tags/", "refs/remotes/"];
        if !wanted.iter().any(|prefix| full_name.starts_with(prefix)) {
            continue;
        }
        // A symbolic reference such as refs/remotes/origin/HEAD may lead nowhere.
        let resolved = match reference.resolve() {
            Ok(resolved) => resolved,
            Err(error) if error.code() == ErrorCode::NotFound => continue,
            Err(source) => return Err(failed(source)),
        };
        if let Some(id) = resolved.target() {
            references
                .by_name
                .insert(full_name, Target { id, peeled: None });
        }
    }
    references.head = match repository.find_reference("HEAD") {
        Ok(head) => {
            let branch = head
                .symbolic_target_bytes()
                .map(|name| String::from_utf8_lossy(name).into_owned());
            match head.resolve() {
                Ok(resolved) => resolved.target().map(|id| Head { branch, id }),
                // The branch of a new repository is not born yet.
                Err(error) if error.code() == ErrorCode::NotFound => None,
                Err(source) => return Err(failed(source)),
            }
        }
        Err(error) if error.code() == ErrorCode::NotFound => None,
        Err(source) => return Err(failed(source)),
    };
    Ok(references)
}
