//! Recipes: how an image was built, as a small text file says it.
//!
//! A recipe's text comes in; out comes a [`Recipe`] with the digest of that
//! text, and for one platform a [`Resolved`] one with every placeholder filled.
//! What is not understood is refused with its line: a recipe that is read is
//! one that can be followed. Nothing is built and no source is read here.
//!
//! The format is described in `recipes/README.md`.

mod build;
mod document;
mod find;
pub mod lockfile;
mod parse;
mod template;
mod toolchain;

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use find::{
    Found, FoundLock, LOCK, Origin, TREE_RECIPE, TreeTrust, built_in, for_image, in_tree, named,
};

pub use build::{
    Base, Build, Commands, Edit, ImageFields, Output, Override, SourceDateEpoch, Timestamps,
};

pub use self::toolchain::{Essential, OutsideFile, Recommends, Toolchain};
use self::{build::BuildTemplate, template::Template};
use crate::{digest::Digest, image::Platform};

/// How one image, or a family of images, is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    digest: Digest,
    text: String,
    name: String,
    description: Option<String>,
    images: Vec<String>,
    source: Option<String>,
    platforms: Vec<(Platform, BTreeMap<String, String>)>,
    variables: BTreeMap<String, Variable>,
    tags: Vec<TagRule>,
    toolchain: Option<Toolchain>,
    files: Vec<OutsideFile>,
    build: BuildTemplate,
}

/// A value that the user may choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// What it is for.
    pub description: Option<String>,
    /// Its value where the user names none.
    pub default: Option<String>,
}

/// What an image's tag proposes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TagRule {
    written: String,
    pattern: Template,
    revision: Option<Template>,
    set: BTreeMap<String, Template>,
}

/// A recipe made out for one platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resolved {
    /// The recipe's name.
    pub recipe: String,
    /// The digest of the recipe's text.
    pub digest: Digest,
    /// Where the recipe says that the source is.
    pub source: Option<String>,
    /// What the image's tag proposes as revision, if no one names another.
    pub revision: Option<ProposedRevision>,
    /// Every value that a placeholder may take, by name.
    pub values: BTreeMap<String, Value>,
    /// How it is built.
    pub build: Build,
}

/// A revision that a tag stands for, as a rule of the recipe has it.
///
/// A guess: the image may have been published before the branch moved on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProposedRevision {
    /// The branch or tag.
    pub revision: String,
    /// The pattern of the rule that the image's tag fits.
    pub rule: String,
}

/// A value and who chose it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Value {
    /// The value.
    pub text: String,
    /// Who chose it.
    pub from: ValueOrigin,
}

/// Who chose a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ValueOrigin {
    /// The user, by `--set`.
    User,
    /// The image's tag, by a rule of the recipe.
    Tag,
    /// The recipe, as default.
    Default,
    /// The platform.
    Platform,
}

/// Why there is no recipe to follow.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("cannot read the recipe {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The recipe in the source tree could not be read.
    #[error("cannot read the recipe {path} of the source tree")]
    Tree {
        /// The path within the tree.
        path: String,
        /// What the source said.
        source: crate::source::Error,
    },
    /// The recipe is not text.
    #[error("the recipe {recipe} is not UTF-8")]
    NotText {
        /// What the recipe is called.
        recipe: String,
    },
    /// The text is not TOML.
    #[error("line {line} of {recipe}: {problem}")]
    Syntax {
        /// What the recipe is called.
        recipe: String,
        /// Counted from 1.
        line: usize,
        /// What the parser said.
        problem: String,
    },
    /// There is a key that means nothing.
    #[error("line {line} of {recipe}: {section} has no key {key:?}, {hint}")]
    UnknownKey {
        /// What the recipe is called.
        recipe: String,
        /// Counted from 1.
        line: usize,
        /// The table.
        section: String,
        /// The key.
        key: String,
        /// What was probably meant, or else what there is.
        hint: String,
    },
    /// A key that is needed is not there.
    #[error("line {line} of {recipe}: {section} needs the key {key:?}")]
    MissingKey {
        /// What the recipe is called.
        recipe: String,
        /// Where the table begins, counted from 1.
        line: usize,
        /// The table.
        section: String,
        /// The key.
        key: &'static str,
    },
    /// A value is of another type.
    #[error(
        "line {line} of {recipe}: {key:?} of {section} should be {expected} but is of type {actual}"
    )]
    WrongType {
        /// What the recipe is called.
        recipe: String,
        /// Counted from 1.
        line: usize,
        /// The table.
        section: String,
        /// The key.
        key: String,
        /// What was wanted.
        expected: &'static str,
        /// What TOML calls what is there.
        actual: &'static str,
    },
    /// A value cannot be right.
    #[error("line {line} of {recipe}: {problem}")]
    Invalid {
        /// What the recipe is called.
        recipe: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// The recipe says nothing of the platform.
    #[error("the recipe {recipe} has no platform {platform}; it has {}", available.join(", "))]
    NoSuchPlatform {
        /// The recipe's name.
        recipe: String,
        /// The platform asked for.
        platform: Platform,
        /// The platforms of the recipe.
        available: Vec<String>,
    },
    /// Several platforms of the recipe are what was asked for.
    #[error("the recipe {recipe} has several platforms that are {platform}: {}", candidates.join(", "))]
    AmbiguousPlatform {
        /// The recipe's name.
        recipe: String,
        /// The platform asked for.
        platform: Platform,
        /// The platforms that fit.
        candidates: Vec<String>,
    },
    /// A placeholder has no value.
    #[error("the recipe {recipe} needs a value for {variable}{}: give --set {variable}=…", explained(description.as_ref()))]
    NoValue {
        /// The recipe's name.
        recipe: String,
        /// The variable.
        variable: String,
        /// What the recipe says of it.
        description: Option<String>,
    },
    /// The user set a variable that the recipe does not have.
    #[error("the recipe {recipe} has no variable {variable:?}, {hint}")]
    UnknownVariable {
        /// The recipe's name.
        recipe: String,
        /// The variable.
        variable: String,
        /// What was probably meant, or else what there is.
        hint: String,
    },
    /// No recipe has that name.
    #[error("there is no recipe {name:?}, {hint} (a path has a slash or ends in .toml)")]
    NoSuchRecipe {
        /// The name.
        name: String,
        /// What was probably meant, or else what there is.
        hint: String,
    },
    /// Several built-in recipes are for the image.
    #[error("several recipes are for {repository}: {}: name one with --recipe", candidates.join("; "))]
    SeveralRecipes {
        /// The image's repository.
        repository: String,
        /// The recipes' names, each with what it does.
        candidates: Vec<String>,
    },
}

fn explained(description: Option<&String>) -> String {
    description.map_or_else(String::new, |text| format!(" ({text})"))
}

impl Recipe {
    /// Reads a recipe; `called` is what messages call it, a path or name.
    pub fn parse(text: &str, called: &str) -> Result<Self, Error> {
        parse::parse(text, called)
    }

    /// Returns the SHA-256 of the recipe's exact bytes.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns the recipe exactly as it is written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the name that the recipe gives itself.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what the recipe says of itself.
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// Returns the image repositories that it is for, such as `docker.io/library/alpine`.
    pub fn images(&self) -> &[String] {
        &self.images
    }

    /// Returns where the source is, `None` where the user must say.
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// Returns the platforms that it is for in the order written; empty for any platform.
    pub fn platforms(&self) -> impl Iterator<Item = &Platform> {
        self.platforms.iter().map(|(platform, _)| platform)
    }

    /// Returns what the user may set, by name.
    pub const fn variables(&self) -> &BTreeMap<String, Variable> {
        &self.variables
    }

    /// Returns the packages that the build is run in, `None` where nothing is run.
    pub const fn toolchain(&self) -> Option<&Toolchain> {
        self.toolchain.as_ref()
    }

    /// Returns the files from outside that are no packages, in the order written.
    pub fn files(&self) -> &[OutsideFile] {
        &self.files
    }

    /// Returns whether the recipe and its lock are all that the image is made from.
    pub const fn is_self_contained(&self) -> bool {
        self.source.is_none() && !self.build.needs_source()
    }

    /// Returns the kind of build, as the recipe writes it.
    pub const fn kind(&self) -> &'static str {
        self.build.kind()
    }

    /// Makes the recipe out for one platform, with every placeholder filled.
    ///
    /// `tag` is the tag that the user named the image by; the first `[[tag]]`
    /// rule that it fits may propose a revision and values. `set` is what the
    /// user chose, and wins.
    pub fn for_platform(
        &self,
        platform: &Platform,
        tag: Option<&str>,
        set: &BTreeMap<String, String>,
    ) -> Result<Resolved, Error> {
        let mut values = BTreeMap::new();
        let mut put = |name: &str, text: &str, from| {
            let text = text.to_owned();
            values.insert(name.to_owned(), Value { text, from });
        };
        for (name, variable) in &self.variables {
            if let Some(default) = &variable.default {
                put(name, default, ValueOrigin::Default);
            }
        }
        put("os", &platform.os, ValueOrigin::Platform);
        put(
            "architecture",
            &platform.architecture,
            ValueOrigin::Platform,
        );
        for (word, value) in self.words(platform)? {
            put(word, value, ValueOrigin::Platform);
        }
        let rule = tag.and_then(|tag| {
            self.tags
                .iter()
                .find_map(|rule| Some((rule, rule.pattern.fit(tag)?)))
        });
        let mut revision = None;
        if let Some((rule, captured)) = rule {
            for (name, template) in &rule.set {
                let text = self.fill(template, &values, &captured)?;
                let from = ValueOrigin::Tag;
                values.insert(name.clone(), Value { text, from });
            }
            if let Some(template) = &rule.revision {
                revision = Some(ProposedRevision {
                    revision: self.fill(template, &values, &captured)?,
                    rule: rule.written.clone(),
                });
            }
        }
        for (name, text) in set {
            if !self.variables.contains_key(name) {
                return Err(Error::UnknownVariable {
                    recipe: self.name.clone(),
                    variable: name.clone(),
                    hint: document::hint(name, self.variables.keys().map(String::as_str)),
                });
            }
            let value = Value {
                text: text.clone(),
                from: ValueOrigin::User,
            };
            values.insert(name.clone(), value);
        }
        let fill = |template: &Template| self.fill(template, &values, &BTreeMap::new());
        let build = self.build.made_out(&fill)?;
        Ok(Resolved {
            recipe: self.name.clone(),
            digest: self.digest,
            source: self.source.clone(),
            revision,
            values,
            build,
        })
    }

    /// Returns the words that stand for the platform.
    fn words(
        &self,
        platform: &Platform,
    ) -> Result<impl Iterator<Item = (&String, &String)>, Error> {
        let exact = self
            .platforms
            .iter()
            .find(|(offered, _)| offered == platform);
        let fitting: Vec<_> = match exact {
            Some(exact) => vec![exact],
            None => self
                .platforms
                .iter()
                .filter(|(offered, _)| platform.accepts(offered))
                .collect(),
        };
        let names = |platforms: &mut dyn Iterator<Item = &Platform>| -> Vec<String> {
            platforms.map(Platform::to_string).collect()
        };
        match fitting[..] {
            [(_, words)] => Ok(Some(words)),
            [] if self.platforms.is_empty() => Ok(None),
            [] => Err(Error::NoSuchPlatform {
                recipe: self.name.clone(),
                platform: platform.clone(),
                available: names(&mut self.platforms()),
            }),
            _ => Err(Error::AmbiguousPlatform {
                recipe: self.name.clone(),
                platform: platform.clone(),
                candidates: names(&mut fitting.iter().map(|(offered, _)| offered)),
            }),
        }
        .map(|words| words.into_iter().flatten())
    }

    fn fill(
        &self,
        template: &Template,
        values: &BTreeMap<String, Value>,
        captured: &BTreeMap<String, String>,
    ) -> Result<String, Error> {
        template
            .fill(|name| {
                captured
                    .get(name)
                    .or_else(|| values.get(name).map(|value| &value.text))
                    .map(String::as_str)
            })
            .map_err(|variable| Error::NoValue {
                recipe: self.name.clone(),
                description: self
                    .variables
                    .get(&variable)
                    .and_then(|variable| variable.description.clone()),
                variable,
            })
    }
}

#[cfg(test)]
mod tests;
