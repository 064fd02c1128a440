//! Whether a signature covers what is pinned, checked again.

use std::{
    collections::BTreeMap,
    io::{self, Read as _},
    path::Path,
};

use super::{
    Error, index_name, kept, keyring,
    packages::{self, Listed},
    release,
};
use crate::{
    recipe::lockfile::{Fingerprint, Grade, Index, Locked, Package, PackageGrade, Suite},
    store::Store,
};

/// Whether a signature covers a package's hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Coverage {
    /// A signed index leads to it.
    Signed {
        /// The suite that the index is of.
        suite: Suite,
        /// The primary keys that signed it.
        by: Vec<Fingerprint>,
    },
    /// The lock claims no signature.
    NotClaimed(Grade),
    /// The lock claims one that could not be checked, or does not hold.
    NotShown {
        /// Why.
        problem: String,
    },
}

/// Checks for each package of a lock, in their order, whether a signature covers its hash.
///
/// The signed indexes and the lists of packages must be in the store; what is
/// not there shows nothing. `given` are the keys that may sign, `None` for the
/// distribution's on this host. A key that the lock does not name does not count.
pub fn coverage(
    locked: &Locked,
    given: Option<&Path>,
    store: &Store,
    scratch: &Path,
) -> Vec<Coverage> {
    let mut suites: BTreeMap<&Suite, Result<Listing, String>> = BTreeMap::new();
    let claims = |package: &Package| match &package.grade {
        PackageGrade::SignedIndex { suite } => Some(suite.clone()),
        PackageGrade::Recorded | PackageGrade::FromImage => None,
    };
    for release in &locked.releases {
        let of_suite = |package: &&Package| claims(package).as_ref() == Some(&release.suite);
        if locked.packages.iter().any(|package| of_suite(&package)) {
            let listing = listing(&release.suite, locked, given, store, scratch);
            suites.insert(&release.suite, listing.map_err(|error| error.to_string()));
        }
    }
    let covered = |package: &Package| {
        let PackageGrade::SignedIndex { suite } = &package.grade else {
            return Coverage::NotClaimed(package.grade.grade());
        };
        let problem = match suites.get(suite) {
            Some(Ok(listing)) if listing.packages.contains(package) => {
                return Coverage::Signed {
                    suite: suite.clone(),
                    by: listing.by.clone(),
                };
            }
            Some(Ok(_)) => format!("no signed list of {suite} has it"),
            Some(Err(problem)) => problem.clone(),
            None => format!("the lock has no signed index of {suite}"),
        };
        Coverage::NotShown { problem }
    };
    locked.packages.iter().map(covered).collect()
}

/// What of a lock a suite's signed index leads to.
struct Listing {
    by: Vec<Fingerprint>,
    packages: Vec<Package>,
}

/// Calls `with` for each package of a list that a signed index names.
///
/// Uncompressing takes most of the time, so the list is kept as it was before it was
/// compressed, by the hash that the signed index has for it then.
fn each(
    index: &Index,
    verified: &release::Verified,
    store: &Store,
    with: impl FnMut(&Listed),
) -> Result<(), Error> {
    let what = index_name(index);
    let failed = |source| Error::Store {
        what: what.clone(),
        source,
    };
    let Some(plain) = verified.uncompressed(index) else {
        let bytes = kept(&what, &index.sha256, store)?;
        return packages::each(&what, packages::uncompressed(&index.path, &bytes), with);
    };
    // Read once more than needed, so that one that has rotted is made again.
    let is_kept = match store.read(&plain).map_err(failed)? {
        Some(mut list) => io::copy(&mut list, &mut io::sink()).is_ok(),
        None => false,
    };
    if !is_kept {
        let bytes = kept(&what, &index.sha256, store)?;
        let mut writer = store.writer().map_err(failed)?;
        // What inflates to more has another hash than the index says, and is not kept.
        let list = packages::uncompressed(&index.path, &bytes);
        io::copy(&mut list.take(packages::MOST + 1), &mut writer).map_err(|error| {
            Error::Malformed {
                what: what.clone(),
                problem: error.to_string(),
            }
        })?;
        writer.finish(Some(&plain)).map_err(failed)?;
    }
    let list = store.read(&plain).map_err(failed)?;
    let list = list.ok_or_else(|| Error::Malformed {
        what: what.clone(),
        problem: "it is not in the cache".to_owned(),
    })?;
    packages::each(&what, list, with)
}

fn listing(
    suite: &Suite,
    locked: &Locked,
    given: Option<&Path>,
    store: &Store,
    scratch: &Path,
) -> Result<Listing, Error> {
    let what = format!("the signed index of {suite}");
    let keyring = keyring(given, suite.archive)?;
    let mut by = Vec::new();
    let mut found = Vec::new();
    for release in &locked.releases {
        if &release.suite != suite {
            continue;
        }
        let bytes = kept(&what, &release.sha256, store)?;
        let verified = release::verify(suite, &bytes, &keyring, scratch)?;
        let known = |key: &&Fingerprint| release.signed_by.contains(key);
        by = verified.signed_by.iter().filter(known).cloned().collect();
        if by.is_empty() {
            return Err(Error::BadSignature {
                what,
                keyring,
                problem: "it is signed by other keys than the lock says".to_owned(),
            });
        }
        let of_release = |index: &&_| verified.names(index);
        for index in locked.indexes.iter().filter(|index| &index.suite == suite) {
            if !of_release(&index) {
                continue;
            }
            each(index, &verified, store, |listed| {
                let is_listed = |package: &&Package| {
                    package.sha256 == listed.sha256
                        && package.size == listed.size
                        && package.name == listed.name
                        && package.version == listed.version
                        && package.architecture == listed.architecture
                        && package.pool.path == listed.path
                        && package.pool.archive == suite.archive
                };
                found.extend(locked.packages.iter().filter(is_listed).cloned());
            })?;
        }
    }
    Ok(Listing {
        by,
        packages: found,
    })
}
