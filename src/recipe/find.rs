//! Which recipe is followed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Error, Recipe, document::hint};
use crate::source::{self, Source};

/// The recipes compiled into the program, by name.
const BUILT_IN: [(&str, &str); 5] = [
    ("alpine", include_str!("../../recipes/alpine/recipe.toml")),
    (
        "busybox-git",
        include_str!("../../recipes/busybox-git/recipe.toml"),
    ),
    (
        "debian-git",
        include_str!("../../recipes/debian-git/recipe.toml"),
    ),
    (
        "git-layout",
        include_str!("../../recipes/git-layout/recipe.toml"),
    ),
    ("scratch", include_str!("../../recipes/scratch/recipe.toml")),
];

/// Where a source tree keeps its own recipe.
pub const TREE_RECIPE: &str = ".reprove/recipe.toml";

/// A recipe and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The recipe.
    pub recipe: Recipe,
    /// Where it was found.
    pub origin: Origin,
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
    BUILT_IN
        .iter()
        .map(|(name, text)| Recipe::parse(text, name).expect("a test reads every built-in recipe"))
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
    built_in()
        .find(|recipe| recipe.name() == name_or_path)
        .map(|recipe| Found {
            recipe,
            origin: Origin::BuiltIn,
        })
        .ok_or_else(|| Error::NoSuchRecipe {
            name: name_or_path.to_owned(),
            hint: hint(name_or_path, BUILT_IN.iter().map(|(name, _)| *name)),
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
    Ok(Found {
        recipe: parse_bytes(&bytes, &called)?,
        origin: Origin::File { path: called },
    })
}

fn parse_bytes(bytes: &[u8], called: &str) -> Result<Recipe, Error> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::NotText {
        recipe: called.to_owned(),
    })?;
    Recipe::parse(text, called)
}

/// Returns the built-in recipe for an image repository, such as `docker.io/library/alpine`.
///
/// `None` where there is none. Where there are several, the user must choose:
/// they answer different questions (from which bytes, from which code).
pub fn for_image(repository: &str) -> Result<Option<Found>, Error> {
    let mut fitting: Vec<Recipe> = built_in()
        .filter(|recipe| recipe.images().iter().any(|image| image == repository))
        .collect();
    if fitting.len() > 1 {
        return Err(Error::SeveralRecipes {
            repository: repository.to_owned(),
            candidates: fitting
                .iter()
                .map(|recipe| match recipe.description() {
                    Some(description) => format!("{} ({description})", recipe.name()),
                    None => recipe.name().to_owned(),
                })
                .collect(),
        });
    }
    Ok(fitting.pop().map(|recipe| Found {
        recipe,
        origin: Origin::BuiltIn,
    }))
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
    let bytes = match source.read(TREE_RECIPE) {
        Ok(bytes) => bytes,
        Err(source::Error::NoSuchPath { .. }) => return Ok(None),
        Err(source) => return Err(failed(source)),
    };
    Ok(Some(Found {
        recipe: parse_bytes(&bytes, TREE_RECIPE)?,
        origin: Origin::SourceTree {
            path: TREE_RECIPE.to_owned(),
        },
    }))
}
