//! Inventory: which package of an image a file belongs to, as its own databases say.
//!
//! Pure over the bytes of the databases passed in. What an image says of its
//! packages is a claim of that image: it tells who a file is said to belong to,
//! and proves nothing of the file.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{image::EntryPath, pair::Pair};

/// The packages of an image, and whose each file is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    packages: Vec<Package>,
    /// The position in `packages` of each file's owner.
    owners: BTreeMap<EntryPath, usize>,
    /// The MD5 sums, in hexadecimal, that a database records of files.
    sums: BTreeMap<EntryPath, String>,
    problems: Vec<String>,
}

/// A package as a database records it.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct Package {
    /// Whose database it is in.
    pub manager: Manager,
    /// Its name.
    pub name: String,
    /// Its version, with epoch and revision.
    pub version: String,
    /// Its architecture, in the manager's words.
    pub architecture: String,
}

/// What installs packages.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Manager {
    /// Debian's.
    Dpkg,
    /// Alpine's.
    Apk,
    /// Fedora's and its kin's.
    Rpm,
}

/// A package that the two images have in other versions, or only one has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Drift {
    /// Whose database it is in.
    pub manager: Manager,
    /// Its name.
    pub name: String,
    /// Its architecture.
    pub architecture: String,
    /// The version on each side; `null` where a side has it not.
    pub version: Pair<Option<String>>,
}

impl Inventory {
    /// Returns whether a file of this path is a part of a package database.
    pub fn wants(_path: &EntryPath) -> bool {
        false
    }

    /// Reads the databases of one image, files by path.
    ///
    /// What cannot be read is left out and named in [`Self::problems`].
    pub fn read(_files: &BTreeMap<EntryPath, Vec<u8>>) -> Self {
        Self::default()
    }

    /// Returns the packages, in order of manager and name.
    pub fn packages(&self) -> &[Package] {
        &self.packages
    }

    /// Returns the package that a file is said to belong to.
    pub fn owner(&self, path: &EntryPath) -> Option<&Package> {
        self.owners.get(path).map(|&index| &self.packages[index])
    }

    /// Returns the MD5 sum that the database records of a file, in hexadecimal.
    pub fn recorded_md5(&self, path: &EntryPath) -> Option<&str> {
        self.sums.get(path).map(String::as_str)
    }

    /// Returns what could not be read.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

/// Returns the packages that differ between two images, in order.
pub fn drift(_sides: Pair<&Inventory>) -> Vec<Drift> {
    Vec::new()
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}
