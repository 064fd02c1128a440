//! Toolchains: locked packages of a distribution → a root file system to build in.
//!
//! The packages are unpacked in parallel, laid out by the sandbox's tar, and
//! then installed and configured inside by their own dpkg, as on any machine.
//! What installing leaves of the moment (logs, caches, times) is taken away, so
//! that the same packages always give the same root; it is kept in the store by
//! the digest of its packages.

mod deb;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs::{self, File},
    io::{self, BufReader, Read},
    num::NonZero,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use serde::{Deserialize, Serialize};

use self::deb::Deb;
use super::{
    Error, Stop, cannot_write,
    kept::{Key, Stages},
    sandbox::{Access, Mount, RootDirectory, User},
    workshop::{Step, Workshop},
};
use crate::{
    digest::Digest,
    facts::{self, Freshness},
    recipe::lockfile::Package,
    store::{BlobReader, Store},
};

/// A root file system of locked packages, in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Toolchain {
    /// The tar of the root.
    pub(super) root: Digest,
    /// The list of its packages' contents, to tell what comes from them.
    contents: Digest,
    /// What was run to make it.
    pub(super) steps: Vec<facts::Step>,
    /// Whether it was made now; a record that is read says otherwise.
    #[serde(skip, default = "cached")]
    pub(super) freshness: Freshness,
}

const fn cached() -> Freshness {
    Freshness::Cached
}

/// Where the packages are inside while they are installed.
const PACKAGES: &str = "/run/reprove/packages";

/// Where distributions keep programs.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Installs what is in [`PACKAGES`] and takes away what it leaves of this moment.
///
/// The lists of dpkg are there before it runs, since packages are read in any order.
/// The day of the last change in `/etc/shadow` is today's unless the package heeds
/// `SOURCE_DATE_EPOCH`.
const INSTALL: &str = r#"
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true DEBCONF_NOWARNINGS=yes
mkdir -p /var/lib/dpkg/info /var/lib/dpkg/updates /var/lib/dpkg/triggers
touch /var/lib/dpkg/status /var/lib/dpkg/available
dpkg --force-depends --force-unsafe-io --force-confold --install --recursive "$1"
dpkg --audit
rm -rf /tmp/* /var/tmp/* /var/log/dpkg.log /var/log/alternatives.log /var/log/bootstrap.log \
    /var/cache/ldconfig/aux-cache /var/cache/debconf/*-old /var/lib/dpkg/*-old \
    /var/lib/dpkg/lock /var/lib/dpkg/lock-frontend /var/lib/dpkg/triggers/Lock
if [ -e /etc/shadow ]; then
    day=$((SOURCE_DATE_EPOCH / 86400))
    for file in /etc/shadow /etc/shadow-; do
        [ ! -e "$file" ] || sed -i "s/^\([^:]*:[^:]*\):[0-9][0-9]*:/\1:$day:/" "$file"
    done
fi
"#;

/// Names that packages need a merged `/usr` by: without the links they refuse to be installed.
///
/// Source: debootstrap, `scripts/debian-common`.
const MERGED_USR: [&str; 2] = ["usr-is-merged", "usrmerge"];

/// What no package needs of another to be installed, left to dpkg: nearly half of all files.
const NOT_RUN: [&str; 4] = [
    "./usr/share/doc",
    "./usr/share/info",
    "./usr/share/locale",
    "./usr/share/man",
];

/// Returns the root of these packages, whose bytes are in the store.
pub(super) fn make(
    packages: &[Package],
    workshop: &Workshop<'_>,
    store: &Store,
    stages: &Stages,
) -> Result<Toolchain, Stop> {
    let mut hashes: Vec<&Digest> = packages.iter().map(|package| &package.sha256).collect();
    hashes.sort();
    let key = Key::of("toolchain", &(INSTALL, hashes));
    if let Some(toolchain) = stages.get::<Toolchain>(key)?
        && is_kept(&toolchain.root, store)?
        && is_kept(&toolchain.contents, store)?
    {
        return Ok(toolchain);
    }
    let toolchain = made(packages, workshop, store)?;
    stages.put(key, &toolchain)?;
    Ok(toolchain)
}

/// Returns whether the store has the blob; its bytes are checked when it is read.
pub(super) fn is_kept(digest: &Digest, store: &Store) -> Result<bool, Error> {
    let reader = store.read(digest).map_err(Error::Store)?;
    Ok(reader.is_some())
}

fn made(packages: &[Package], workshop: &Workshop<'_>, store: &Store) -> Result<Toolchain, Stop> {
    let folder = tempfile::Builder::new()
        .prefix("packages-")
        .tempdir_in(workshop.scratch())
        .map_err(cannot_write(workshop.scratch()))?;
    let (debs, data) = (folder.path().join("deb"), folder.path().join("data"));
    for path in [&debs, &data] {
        fs::create_dir(path).map_err(cannot_write(path))?;
    }
    let found = unpacked(packages, store, &debs, &data)?;
    let latest = found.iter().map(|deb| deb.latest).max().unwrap_or(0);

    let root = workshop.root()?;
    merge_usr(&found, root.path())?;
    let first: Vec<PathBuf> = needed_first(&found)
        .into_iter()
        .map(|number| data.join(number.to_string()))
        .collect();
    workshop
        .runtime()
        .unpack_onto(&first, &NOT_RUN, root.path(), workshop.scratch())
        .map_err(Error::Sandbox)?;
    fs::remove_dir_all(&data).map_err(cannot_write(&data))?;
    let name = format!("installing {} packages", packages.len());
    let arguments = ["/bin/sh", "-euc", INSTALL, "install", PACKAGES].map(str::to_owned);
    workshop.run(&Step {
        name: &name,
        root: root.path(),
        arguments: &arguments,
        environment: &BTreeMap::from([
            ("PATH".to_owned(), PATH.to_owned()),
            ("SOURCE_DATE_EPOCH".to_owned(), latest.to_string()),
        ]),
        directory: "/",
        user: User::default(),
        mounts: &[Mount {
            source: &debs,
            destination: PACKAGES,
            access: Access::ReadOnly,
        }],
    })?;
    let tar = folder.path().join("root.tar");
    workshop
        .runtime()
        .pack(root.path(), &tar, Some(latest), workshop.scratch())
        .map_err(Error::Sandbox)?;
    root.remove().map_err(Error::Sandbox)?;
    let contents: Vec<(Digest, &Vec<Digest>)> = found
        .iter()
        .zip(packages)
        .map(|(deb, package)| (package.sha256, &deb.contents))
        .collect();
    let text = serde_json::to_vec(&contents).expect("digests can be written as JSON");
    Ok(Toolchain {
        root: keep(File::open(&tar).map_err(cannot_write(&tar))?, store)?,
        contents: keep(&text[..], store)?,
        steps: workshop.take_steps(),
        freshness: Freshness::Fresh,
    })
}

/// Puts bytes into the store.
pub(super) fn keep(mut bytes: impl Read, store: &Store) -> Result<Digest, Error> {
    let mut writer = store.writer().map_err(Error::Store)?;
    io::copy(&mut bytes, &mut writer).map_err(|source| Error::Keep { source })?;
    writer.finish(None).map_err(Error::Store)
}

/// Uncompresses every package, in parallel, under its number.
fn unpacked(
    packages: &[Package],
    store: &Store,
    debs: &Path,
    data: &Path,
) -> Result<Vec<Deb>, Error> {
    // The largest first, so that the last to end is a small one.
    let mut order: Vec<usize> = (0..packages.len()).collect();
    order.sort_by_key(|&number| std::cmp::Reverse(packages[number].size));
    let next = AtomicUsize::new(0);
    let results = Mutex::new(BTreeMap::new());
    let work = || {
        while let Some(&number) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            let package = &packages[number];
            let deb = debs.join(format!("{number}.deb"));
            let result = one(package, store, &deb, &data.join(number.to_string()));
            let failed = result.is_err();
            results
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(number, result);
            if failed {
                next.store(order.len(), Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        for _ in 1..threads.min(packages.len()) {
            scope.spawn(work);
        }
        work();
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.into_values().collect()
}

fn one(package: &Package, store: &Store, deb: &Path, data: &Path) -> Result<Deb, Error> {
    let what = || format!("{} {}", package.name, package.version);
    let blob = store.read(&package.sha256).map_err(Error::Store)?;
    let blob = blob.ok_or_else(|| Error::NotKept { what: what() })?;
    let mut blob = BufReader::with_capacity(1 << 18, blob);
    let unpacked = deb::unpack(&mut blob, deb, data)
        // What is behind the last member is read too, so that the whole hash is checked.
        .and_then(|unpacked| io::copy(&mut blob, &mut io::sink()).map(|_| unpacked));
    unpacked.map_err(|source| Error::Package {
        package: what(),
        source,
    })
}

/// Makes the links of a merged `/usr` where a package wants them and none brings them.
fn merge_usr(packages: &[Deb], root: &Path) -> Result<(), Error> {
    let wants = |deb: &Deb| MERGED_USR.contains(&deb.name());
    if !packages.iter().any(wants) {
        return Ok(());
    }
    for folder in ["bin", "sbin", "lib", "lib64"] {
        let target = format!("usr/{folder}");
        let path = root.join(&target);
        fs::create_dir_all(&path).map_err(cannot_write(&path))?;
        let link = root.join(folder);
        std::os::unix::fs::symlink(&target, &link).map_err(cannot_write(&link))?;
    }
    Ok(())
}

/// Returns the packages without which none can be installed: the essential ones, and all that
/// these need.
fn needed_first(packages: &[Deb]) -> Vec<usize> {
    let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (number, deb) in packages.iter().enumerate() {
        for name in deb.names() {
            by_name.entry(name).or_default().push(number);
        }
    }
    let essential = packages.iter().enumerate();
    let mut pending: VecDeque<usize> = essential
        .filter(|(_, deb)| deb.is_essential())
        .map(|(number, _)| number)
        .collect();
    let mut needed: BTreeSet<usize> = pending.iter().copied().collect();
    while let Some(number) = pending.pop_front() {
        for name in packages[number].needs() {
            for &other in by_name.get(name).into_iter().flatten() {
                if needed.insert(other) {
                    pending.push_back(other);
                }
            }
        }
    }
    // Those that bring links in place of directories come before what lies behind the links.
    let mut order: Vec<usize> = needed.into_iter().collect();
    order.sort_by_key(|&number| packages[number].name() != "base-files");
    order
}

impl Toolchain {
    /// Makes a root file system of it.
    pub(super) fn root(
        &self,
        workshop: &Workshop<'_>,
        store: &Store,
    ) -> Result<RootDirectory, Error> {
        workshop.unpacked(&self.root, store)
    }

    /// Returns for each package, by its digest, the contents of its files.
    pub(super) fn contents(&self, store: &Store) -> Result<Vec<(Digest, Vec<Digest>)>, Error> {
        let blob = self.read(&self.contents, store)?;
        serde_json::from_reader(BufReader::new(blob)).map_err(|error| Error::Keep {
            source: error.into(),
        })
    }

    fn read(&self, digest: &Digest, store: &Store) -> Result<BlobReader, Error> {
        let blob = store.read(digest).map_err(Error::Store)?;
        blob.ok_or_else(|| Error::NotKept {
            what: format!("the root file system {}", self.root),
        })
    }
}
