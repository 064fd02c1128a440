//! Which recipe is followed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Error, Recipe, document::hint, lockfile::Lockfile};
use crate::{
    digest::Digest,
    source::{self, Source},
};

/// A recipe compiled into the program.
struct BuiltIn {
    name: &'static str,
    text: &'static str,
    lock: Option<&'static str>,
}

/// The recipes compiled into the program, by name.
const BUILT_IN: [BuiltIn; 9] = [
    BuiltIn {
        name: "alpine",
        text: include_str!("../../recipes/alpine/recipe.toml"),
        lock: None,
    },
    BuiltIn {
        name: "busybox",
        text: include_str!("../../recipes/busybox/recipe.toml"),
        lock: Some(include_str!("../../recipes/busybox/recipe.lock")),
    },
    BuiltIn {
        name: "busybox-git",
        text: include_str!("../../recipes/busybox-git/recipe.toml"),
        lock: None,
    },
    BuiltIn {
        name: "debian-11",
        text: include_str!("../../recipes/debian-11/recipe.toml"),
        lock: Some(include_str!("../../recipes/debian-11/recipe.lock")),
    },
    BuiltIn {
        name: "debian-13",
        text: include_str!("../../recipes/debian-13/recipe.toml"),
        lock: Some(include_str!("../../recipes/debian-13/recipe.lock")),
    },
    BuiltIn {
        name: "debian-git",
        text: include_str!("../../recipes/debian-git/recipe.toml"),
        lock: None,
    },
    BuiltIn {
        name: "git-layout",
        text: include_str!("../../recipes/git-layout/recipe.toml"),
        lock: None,
    },
    BuiltIn {
        name: "hello-world",
        text: include_str!("../../recipes/hello-world/recipe.toml"),
        lock: Some(include_str!("../../recipes/hello-world/recipe.lock")),
    },
    BuiltIn {
        name: "scratch",
        text: include_str!("../../recipes/scratch/recipe.toml"),
        lock: None,
    },
];

/// What a recipe's lock is called, beside it.
pub const LOCK: &str = "recipe.lock";

/// Where a source tree keeps its own recipe.
pub const TREE_RECIPE: &str = ".reprove/recipe.toml";
/// Where it keeps that recipe's lock.
const TREE_LOCK: &str = ".reprove/recipe.lock";

/// A recipe and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The recipe.
    pub recipe: Recipe,
    /// Where it was found.
    pub origin: Origin,
    /// The lock beside it.
    pub lock: Option<FoundLock>,
}

/// A lock and what it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundLock {
    /// The pins.
    pub lock: Lockfile,
    /// The digest of its text.
    pub digest: Digest,
}

impl FoundLock {
    fn parse(text: &str, called: &str) -> Result<Self, Error> {
        Ok(Self {
            lock: Lockfile::parse(text, called)?,
            digest: Digest::of(text.as_bytes()),
        })
    }
}

/// Where a recipe was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Origin {
    /// In the program.
    BuiltIn,
    /// In a file that the user named.
    File {
        /// The file.
        path: String,
    },
    /// In the source tree: the one under test says how it is tested.
    SourceTree {
        /// The file within the tree.
        path: String,
    },
}

/// Whether a recipe of the source tree may be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TreeTrust {
    /// The user said so, by `--trust-tree-recipe`.
    Trusted,
    /// Nobody said so.
    Untrusted,
}

/// Returns the recipes compiled into the program, by name.
pub fn built_in() -> impl Iterator<Item = Recipe> {
    BUILT_IN.iter().map(|built_in| built_in.found().recipe)
}

impl BuiltIn {
    fn found(&self) -> Found {
        let Self { name, text, lock } = *self;
        Found {
            recipe: Recipe::parse(text, name).expect("a test reads every built-in recipe"),
            origin: Origin::BuiltIn,
            lock: lock.map(|text| {
                FoundLock::parse(text, name).expect("a test reads every built-in lock")
            }),
        }
    }
}

/// Returns the recipe that the user named: a built-in one, or a file.
///
/// A path has a slash or ends in `.toml`; a folder stands for its
/// `recipe.toml`. Anything else is a name, whatever files lie about.
pub fn named(name_or_path: &str) -> Result<Found, Error> {
    let is_path = name_or_path.contains('/')
        || Path::new(name_or_path)
            .extension()
            .is_some_and(|extension| extension == "toml");
    if is_path {
        return file(Path::new(name_or_path));
    }
    BUILT_IN
        .iter()
        .find(|built_in| built_in.name == name_or_path)
        .map(BuiltIn::found)
        .ok_or_else(|| Error::NoSuchRecipe {
            name: name_or_path.to_owned(),
            hint: hint(name_or_path, BUILT_IN.iter().map(|built_in| built_in.name)),
        })
}

fn file(path: &Path) -> Result<Found, Error> {
    let path = if path.is_dir() {
        path.join("recipe.toml")
    } else {
        PathBuf::from(path)
    };
    let called = path.display().to_string();
    let bytes = fs::read(&path).map_err(|source| Error::File {
        path: path.clone(),
        source,
    })?;
    let lock = path.with_file_name(LOCK);
    let lock = match fs::read_to_string(&lock) {
        Ok(text) => Some(FoundLock::parse(&text, &lock.display().to_string())?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(Error::File { path: lock, source }),
    };
    Ok(Found {
        recipe: parse_bytes(&bytes, &called)?,
        origin: Origin::File { path: called },
        lock,
    })
}

fn parse_bytes(bytes: &[u8], called: &str) -> Result<Recipe, Error> {
    Recipe::parse(text_of(bytes, called)?, called)
}

fn text_of<'b>(bytes: &'b [u8], called: &str) -> Result<&'b str, Error> {
    std::str::from_utf8(bytes).map_err(|_| Error::NotText {
        recipe: called.to_owned(),
    })
}

/// Returns the built-in recipe for an image repository, such as `docker.io/library/alpine`.
///
/// `None` where there is none. Where there are several, the user must choose:
/// they answer different questions (from which bytes, from which code).
pub fn for_image(repository: &str) -> Result<Option<Found>, Error> {
    let mut fitting: Vec<Found> = BUILT_IN
        .iter()
        .map(BuiltIn::found)
        .filter(|found| {
            found
                .recipe
                .images()
                .iter()
                .any(|image| image == repository)
        })
        .collect();
    if fitting.len() > 1 {
        return Err(Error::SeveralRecipes {
            repository: repository.to_owned(),
            candidates: fitting
                .iter()
                .map(|found| &found.recipe)
                .map(|recipe| match recipe.description() {
                    Some(description) => format!("{} ({description})", recipe.name()),
                    None => recipe.name().to_owned(),
                })
                .collect(),
        });
    }
    Ok(fitting.pop())
}

/// Returns the source tree's own recipe, `None` where there is none or it is not trusted.
pub fn in_tree(source: &Source, trust: TreeTrust) -> Result<Option<Found>, Error> {
    if trust == TreeTrust::Untrusted {
        return Ok(None);
    }
    let failed = |source| Error::Tree {
        path: TREE_RECIPE.to_owned(),
        source,
    };
    let read = |path| match source.read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(source::Error::NoSuchPath { .. }) => Ok(None),
        Err(source) => Err(failed(source)),
    };
    let Some(bytes) = read(TREE_RECIPE)? else {
        return Ok(None);
    };
    let lock = match read(TREE_LOCK)? {
        Some(bytes) => Some(FoundLock::parse(text_of(&bytes, TREE_LOCK)?, TREE_LOCK)?),
        None => None,
    };
    Ok(Some(Found {
        recipe: parse_bytes(&bytes, TREE_RECIPE)?,
        origin: Origin::SourceTree {
            path: TREE_RECIPE.to_owned(),
        },
        lock,
    }))
}
