//! Locking: what a recipe calls for becomes pins, for one platform.
//!
//! A recipe comes in, the lock goes out, updated. For packages the way is:
//! signed index, whose signature is checked here; the lists of packages that
//! it names, by hash; apt, which chooses versions from those lists and nothing
//! else; the chosen packages' hashes, again from the lists. apt itself meets no
//! network. Besides [`crate::material`], which is used for it, this is the only
//! station that asks what is current outside.

mod apt;
mod coverage;
mod installed;
mod packages;
mod release;

use std::{
    io,
    path::{Path, PathBuf},
    process::Command,
};

use jiff::{Span, Timestamp};

pub use self::{
    coverage::{Coverage, coverage},
    installed::{Installed, installed},
};
use self::{packages::Listed, release::Verified};
use crate::{
    digest::Digest,
    image::{self, Platform, overlay},
    material::{self, Answer, Mirrors, fetch, fetch_unpinned, snapshot_of},
    progress::Progress,
    recipe::{
        OutsideFile, Recipe, Toolchain,
        lockfile::{
            Archive, File, FileGrade, Index, Locked, Lockfile, Package, PackageGrade, Place,
            PoolFile, Release, Snapshot, Suite, Validity,
        },
    },
    store::{self, Store},
};

/// What is to be locked, and how.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What calls for bytes from outside.
    pub recipe: &'a Recipe,
    /// For which platform its packages are locked.
    pub platform: &'a Platform,
    /// What was locked before; files keep their pins, other platforms theirs.
    pub previous: &'a Lockfile,
    /// The keys that may sign; `None` for the distribution's on this host.
    pub keyring: Option<&'a Path>,
    /// The time as of which packages are chosen, by the archive's snapshots; `None` for now.
    pub at: Option<Timestamp>,
    /// The packages whose versions are taken where the recipe calls for them; may be empty.
    pub installed: &'a [Installed],
    /// Whether an index may be past its own `Valid-Until`.
    pub expired: Expired,
    /// What time it is.
    pub now: Timestamp,
}

/// What is done with an index that is past its own `Valid-Until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expired {
    /// It is refused: newer packages may be kept from us.
    #[default]
    Refused,
    /// It is taken, and the lock says so.
    Accepted,
}

/// What the work is done with.
#[derive(Clone, Copy)]
pub struct Tools<'a> {
    /// Where files are asked for.
    pub mirrors: &'a Mirrors,
    /// Keeps them.
    pub store: &'a Store,
    /// An empty folder to work in.
    pub scratch: &'a Path,
    /// Hears what is done.
    pub progress: &'a dyn Progress,
}

/// Why nothing was locked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The recipe needs no lock.
    #[error(
        "the recipe {recipe} calls for nothing from outside: it has no [toolchain] and no [[file]]"
    )]
    NothingToLock {
        /// The recipe's name.
        recipe: String,
    },
    /// An image's layers do not make a file system.
    #[error("cannot put the layers of {image} together")]
    FileSystem {
        /// The image.
        image: String,
        /// Why not.
        source: overlay::Error,
    },
    /// Something could not be fetched.
    #[error(transparent)]
    Material(#[from] material::Error),
    /// The store failed.
    #[error("cannot use the cache for {what}")]
    Store {
        /// What was read.
        what: String,
        /// What the store said.
        source: store::Error,
    },
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
    /// A program could not be started.
    #[error("cannot run {program}, which Debian and Ubuntu have in the package {package}")]
    Program {
        /// The program.
        program: &'static str,
        /// The package that has it.
        package: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The distribution has no packages for the platform.
    #[error("no distribution has packages for {platform}")]
    UnknownArchitecture {
        /// The platform.
        platform: Platform,
    },
    /// The keys that may sign are not here.
    #[error("there are no keys to check {archive} with: give --keyring FILE, or install what has {}", looked.join(" or "))]
    NoKeyring {
        /// The archive.
        archive: Archive,
        /// Where keys were looked for.
        looked: Vec<String>,
    },
    /// No key that may sign has signed.
    #[error("{what} has no good signature by a key of {}: {problem}", keyring.display())]
    BadSignature {
        /// The signed index.
        what: String,
        /// The keys that may sign.
        keyring: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A signed index is not what its format says.
    #[error("{what} cannot be read: {problem}")]
    Malformed {
        /// The index.
        what: String,
        /// What is wrong.
        problem: String,
    },
    /// A signed index is of another suite than was asked for.
    #[error("the signed index of {suite} is of the suite {actual}")]
    OtherSuite {
        /// The suite.
        suite: Suite,
        /// What it calls itself.
        actual: String,
    },
    /// A signed index is no longer valid.
    #[error(
        "the signed index of {suite} was valid until {until}; --accept-expired takes it all the same, and the lock will say so"
    )]
    Expired {
        /// The suite.
        suite: Suite,
        /// Until when.
        until: Timestamp,
    },
    /// A suite has no list of the packages asked for.
    #[error("the suite {suite} has no packages of {component} for {architecture}")]
    NoSuchIndex {
        /// The suite.
        suite: Suite,
        /// The component.
        component: String,
        /// The distribution's word for the architecture.
        architecture: String,
    },
    /// There are no snapshots of the archive.
    #[error("there are no snapshots of the archive {archive}")]
    NoSnapshots {
        /// The archive.
        archive: Archive,
    },
    /// apt found no set of packages, or failed.
    #[error("apt cannot choose the packages: {said}")]
    Apt {
        /// What it said.
        said: String,
    },
    /// apt chose a package that no list has; they were made from the same lists.
    #[error("apt chose {package}, which is in none of the lists it was given")]
    NotListed {
        /// Name, version, architecture.
        package: String,
    },
    /// The image whose versions are to be taken could not be read.
    #[error("cannot read which packages {image} has")]
    Image {
        /// The image.
        image: String,
        /// What is wrong.
        source: image::Error,
    },
    /// The image has no database of packages.
    #[error("{image} has no packages in var/lib/dpkg")]
    NothingInstalled {
        /// The image.
        image: String,
    },
    /// Where a package was looked for lies another.
    #[error("{path} should be the package {expected} but is {actual}")]
    OtherPackage {
        /// The path within the archive.
        path: String,
        /// Name, version, architecture.
        expected: String,
        /// What the package says of itself.
        actual: String,
    },
    /// What was pinned before, or what a signed index names, is gone.
    #[error("{what} is gone: {}", answers.iter().map(Answer::to_string).collect::<Vec<_>>().join("; "))]
    Gone {
        /// What it is.
        what: String,
        /// What each place answered.
        answers: Vec<Answer>,
    },
}

/// The most bytes of a signed index that are taken; the largest there are have a few hundred KiB.
const MOST_OF_RELEASE: u64 = 16 << 20;

/// The most bytes that are taken for a file which was not pinned before.
const MOST_OF_FILE: u64 = 8 << 30;

/// How long after an index was made snapshots have it, and nothing later, in hours.
///
/// Debian's archive changes every six hours, and its snapshots follow within a few.
const SNAPSHOT_LAG: i64 = 5;

/// Pins what the recipe calls for, for one platform, and returns the whole lock.
///
/// Packages are chosen anew. A file that was pinned before keeps its pin, whose
/// bytes must still be there, and its grade; a new one is pinned as it is served.
pub fn lock(request: &Request<'_>, tools: &Tools<'_>) -> Result<Lockfile, Error> {
    let recipe = request.recipe;
    if recipe.toolchain().is_none() && recipe.files().is_empty() {
        let recipe = recipe.name().to_owned();
        return Err(Error::NothingToLock { recipe });
    }
    let mut lock = request.previous.clone();
    match recipe.toolchain() {
        Some(toolchain) => {
            let locked = packages(toolchain, request, tools)?;
            lock.platforms.insert(request.platform.clone(), locked);
        }
        None => lock.platforms.clear(),
    }
    lock.files = files(recipe.files(), &lock, tools)?;
    Ok(lock)
}

/// Pins the files, in the order called for.
fn files(wanted: &[OutsideFile], lock: &Lockfile, tools: &Tools<'_>) -> Result<Vec<File>, Error> {
    let mut pinned = Lockfile {
        files: Vec::new(),
        platforms: lock.platforms.clone(),
    };
    for file in wanted {
        let before = lock.files.iter().find(|before| before.name == file.name);
        let (size, sha256, grade) = if let Some(before) = before {
            (before.size, before.sha256, before.grade.clone())
        } else {
            let mut places: Vec<Place> = file.urls.iter().cloned().map(Place::Url).collect();
            places.extend(file.pool.iter().map(|pool| Place::Pool {
                file: pool.clone(),
                snapshot: None,
            }));
            let served = fetch_unpinned(
                &file.name,
                &places,
                MOST_OF_FILE,
                tools.mirrors,
                tools.store,
                tools.progress,
            )?;
            (served.size, served.digest, FileGrade::Recorded)
        };
        pinned.files.push(File {
            name: file.name.clone(),
            size,
            sha256,
            grade,
            urls: file.urls.clone(),
            pool: file.pool.clone(),
        });
    }
    // What a build was seen to fetch stays until it is recorded again.
    let is_called_for = |file: &File| wanted.iter().any(|wanted| wanted.name == file.name);
    let recorded = lock.files.iter().filter(|file| !is_called_for(file));
    pinned.files.extend(recorded.cloned());
    let fetched = fetch(
        &pinned.file_pins(),
        tools.mirrors,
        tools.store,
        tools.progress,
    )?;
    none_gone(fetched)?;
    Ok(pinned.files)
}

fn none_gone(fetched: material::Fetched) -> Result<(), Error> {
    match fetched.gone.into_iter().next() {
        None => Ok(()),
        Some(gone) => Err(Error::Gone {
            what: gone.pin.name,
            answers: gone.answers,
        }),
    }
}

/// Chooses and pins the packages of a toolchain.
fn packages(
    toolchain: &Toolchain,
    request: &Request<'_>,
    tools: &Tools<'_>,
) -> Result<Locked, Error> {
    let architecture =
        architecture(request.platform).ok_or_else(|| Error::UnknownArchitecture {
            platform: request.platform.clone(),
        })?;
    let mut locked = Locked::default();
    let mut repositories = Vec::new();
    let mut newest: Option<Timestamp> = None;
    for suite in &toolchain.suites {
        let suite = Suite {
            archive: archive_for(suite.archive, architecture),
            name: suite.name.clone(),
        };
        let keyring = keyring(request.keyring, suite.archive)?;
        let (release, verified) = release(&suite, &keyring, request, tools)?;
        newest = newest.max(verified.date);
        for component in &toolchain.components {
            let index = verified.index(&suite, component, architecture)?;
            locked.indexes.push(index);
        }
        locked.releases.push(release);
        repositories.push(apt::Repository { suite, keyring });
    }
    let snapshot = match (request.at, newest) {
        (Some(at), _) => Some(at),
        (None, Some(newest)) => newest
            .checked_add(Span::new().hours(SNAPSHOT_LAG))
            .ok()
            .map(|lagging| lagging.min(request.now)),
        (None, None) => None,
    };
    locked.snapshot = snapshot.map(snapshot_time);
    none_gone(fetch(
        &locked.index_pins(),
        tools.mirrors,
        tools.store,
        tools.progress,
    )?)?;

    let chosen = {
        let _task = tools.progress.begin("choosing packages", None);
        let versions = request.installed;
        apt::solve(
            toolchain,
            architecture,
            &repositories,
            &locked,
            versions,
            tools,
        )?
    };
    let listed = pinned(&chosen, &repositories, &locked, tools.store)?;
    for package in listed {
        let package = as_installed(package, request.installed, locked.snapshot.as_ref(), tools)?;
        locked.packages.push(package);
    }
    locked.packages.sort();
    Ok(locked)
}

/// Returns the package in the version that the image has of it, if it has it.
///
/// apt takes that version where a list has it. Where none has, the archive's
/// folder may still have the file, under a name that follows from the version;
/// what is served there must be that package by its own word.
fn as_installed(
    package: Package,
    installed: &[Installed],
    snapshot: Option<&Snapshot>,
    tools: &Tools<'_>,
) -> Result<Package, Error> {
    let found = installed.iter().find(|installed| {
        installed.name == package.name && installed.architecture == package.architecture
    });
    let wanted = match found {
        Some(wanted) if wanted.version != package.version => wanted,
        Some(_) | None => return Ok(package),
    };
    let (folder, _) = package.pool.path.rsplit_once('/').unwrap_or_default();
    // Source: Debian Policy, 5.6.12; names of files have no epoch.
    let (_, version) = wanted
        .version
        .split_once(':')
        .unwrap_or(("", &wanted.version));
    let pool = PoolFile {
        archive: package.pool.archive,
        path: format!(
            "{folder}/{}_{version}_{}.deb",
            wanted.name, wanted.architecture
        ),
    };
    let place = Place::Pool {
        file: pool.clone(),
        snapshot: snapshot.cloned(),
    };
    let what = format!(
        "{} {} ({}), which the image has",
        wanted.name, wanted.version, wanted.architecture
    );
    let served = fetch_unpinned(
        &what,
        &[place],
        MOST_OF_FILE,
        tools.mirrors,
        tools.store,
        tools.progress,
    )?;
    let said = packages::said(&kept(&what, &served.digest, tools.store)?, tools.scratch)?;
    if said != *wanted {
        let named = |package: &Installed| {
            format!(
                "{} {} ({})",
                package.name, package.version, package.architecture
            )
        };
        return Err(Error::OtherPackage {
            path: pool.path,
            expected: named(wanted),
            actual: named(&said),
        });
    }
    Ok(Package {
        name: package.name,
        version: wanted.version.clone(),
        architecture: package.architecture,
        pool,
        size: served.size,
        sha256: served.digest,
        grade: PackageGrade::FromImage,
    })
}

/// Returns the time as snapshot archives write it.
fn snapshot_time(time: Timestamp) -> Snapshot {
    let text = time.strftime("%Y%m%dT%H%M%SZ").to_string();
    text.parse().expect("the format is that of a snapshot")
}

/// Fetches the signed index of a suite, and checks it.
fn release(
    suite: &Suite,
    keyring: &Path,
    request: &Request<'_>,
    tools: &Tools<'_>,
) -> Result<(Release, Verified), Error> {
    let path = format!("dists/{}/InRelease", suite.name);
    let place = match request.at {
        None => Place::Pool {
            file: PoolFile {
                archive: suite.archive,
                path,
            },
            snapshot: None,
        },
        Some(at) => {
            let archive = snapshot_of(suite.archive, &snapshot_time(at));
            let archive = archive.ok_or(Error::NoSnapshots {
                archive: suite.archive,
            })?;
            Place::Url(format!("{archive}/{path}"))
        }
    };
    let what = format!("the signed index of {suite}");
    let served = fetch_unpinned(
        &what,
        &[place],
        MOST_OF_RELEASE,
        tools.mirrors,
        tools.store,
        tools.progress,
    )?;
    let bytes = kept(&what, &served.digest, tools.store)?;
    let verified = release::verify(suite, &bytes, keyring, tools.scratch)?;
    let validity = match verified.valid_until {
        Some(until) if until < request.at.unwrap_or(request.now) => match request.expired {
            Expired::Refused => {
                let suite = suite.clone();
                return Err(Error::Expired { suite, until });
            }
            Expired::Accepted => Validity::ExpiredAccepted,
        },
        Some(_) | None => Validity::Valid,
    };
    let release = Release {
        suite: suite.clone(),
        size: served.size,
        sha256: served.digest,
        signed_by: verified.signed_by.clone(),
        validity,
    };
    Ok((release, verified))
}

/// Finds the hashes of what apt chose in the lists that it chose from.
fn pinned(
    chosen: &[apt::Chosen],
    repositories: &[apt::Repository],
    locked: &Locked,
    store: &Store,
) -> Result<Vec<Package>, Error> {
    let mut found: Vec<Option<Package>> = vec![None; chosen.len()];
    // In the order of the suites, the first of which counts.
    let indexes = repositories.iter().flat_map(|repository| {
        let of_suite = |index: &&Index| index.suite == repository.suite;
        locked.indexes.iter().filter(of_suite)
    });
    for index in indexes {
        let what = index_name(index);
        let bytes = kept(&what, &index.sha256, store)?;
        let list = packages::uncompressed(&index.path, &bytes);
        packages::each(&what, list, |listed: &Listed| {
            let number = chosen.iter().position(|chosen| {
                chosen.name == listed.name
                    && chosen.version == listed.version
                    && chosen.architecture == listed.architecture
            });
            if let Some(number) = number
                && found[number].is_none()
            {
                found[number] = Some(Package {
                    name: listed.name.clone(),
                    version: listed.version.clone(),
                    architecture: listed.architecture.clone(),
                    pool: PoolFile {
                        archive: index.suite.archive,
                        path: listed.path.clone(),
                    },
                    size: listed.size,
                    sha256: listed.sha256,
                    grade: PackageGrade::SignedIndex {
                        suite: index.suite.clone(),
                    },
                });
            }
        })?;
    }
    let mut packages = Vec::new();
    for (chosen, found) in chosen.iter().zip(found) {
        packages.push(found.ok_or_else(|| Error::NotListed {
            package: format!(
                "{} {} ({})",
                chosen.name, chosen.version, chosen.architecture
            ),
        })?);
    }
    Ok(packages)
}

fn index_name(index: &Index) -> String {
    format!("{} of {}", index.path, index.suite)
}

/// Reads what should be in the store.
fn kept(what: &str, digest: &Digest, store: &Store) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Store {
        what: what.to_owned(),
        source,
    };
    let gone = || Error::Malformed {
        what: what.to_owned(),
        problem: "it is not in the cache".to_owned(),
    };
    let mut reader = store.read(digest).map_err(failed)?.ok_or_else(gone)?;
    let mut bytes = Vec::new();
    match io::Read::read_to_end(&mut reader, &mut bytes) {
        Ok(_) => Ok(bytes),
        Err(_) => Err(gone()),
    }
}

/// Returns the distributions' word for an architecture.
///
/// Source: Debian's `dpkg-architecture --list-known`, Go's `GOARCH`.
fn architecture(platform: &Platform) -> Option<&'static str> {
    let platform = platform.normalized();
    let variant = platform.variant.as_deref();
    Some(match (platform.architecture.as_str(), variant) {
        ("amd64", _) => "amd64",
        ("386", _) => "i386",
        ("arm64", _) => "arm64",
        ("arm", Some("v5" | "v6")) => "armel",
        ("arm", _) => "armhf",
        ("ppc64le", _) => "ppc64el",
        ("s390x", _) => "s390x",
        ("riscv64", _) => "riscv64",
        ("mips64le", _) => "mips64el",
        ("loong64", _) => "loong64",
        (_, _) => return None,
    })
}

/// Returns the archive that has the architecture, where a distribution has two.
fn archive_for(archive: Archive, architecture: &str) -> Archive {
    match archive {
        Archive::Ubuntu if !["amd64", "i386"].contains(&architecture) => Archive::UbuntuPorts,
        Archive::Debian | Archive::DebianSecurity | Archive::Ubuntu | Archive::UbuntuPorts => {
            archive
        }
    }
}

/// Returns the keys that may sign an archive's indexes: those given, or else the host's.
fn keyring(given: Option<&Path>, archive: Archive) -> Result<PathBuf, Error> {
    let files: &[&str] = match archive {
        Archive::Debian | Archive::DebianSecurity => &[
            "/usr/share/keyrings/debian-archive-keyring.gpg",
            "/usr/share/keyrings/debian-archive-keyring.pgp",
        ],
        Archive::Ubuntu | Archive::UbuntuPorts => {
            &["/usr/share/keyrings/ubuntu-archive-keyring.gpg"]
        }
    };
    let candidate = match given {
        Some(given) => Some(given),
        None => files.iter().map(Path::new).find(|path| path.exists()),
    };
    let Some(path) = candidate else {
        let looked = files.iter().map(|&file| file.to_owned()).collect();
        return Err(Error::NoKeyring { archive, looked });
    };
    // gpgv looks for relative names in the user's own folder.
    std::fs::canonicalize(path).map_err(io_error("read", path))
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io {
        action,
        path,
        source,
    }
}

/// Returns a command that gets nothing of the user's environment.
fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
        .env("LC_ALL", "C.UTF-8")
        .stdin(std::process::Stdio::null());
    command
}
