//! Recipes: how an image was built, as a small text file says it.
//!
//! A recipe's text comes in; out comes a [`Recipe`] with the digest of that
//! text, and for one platform a [`Resolved`] one with every placeholder filled.
//! What is not understood is refused with its line: a recipe that is read is
//! one that can be followed. Nothing is built and no source is read here.
//!
//! The format is described in `recipes/README.md`.

mod document;
mod find;
pub mod lockfile;
mod parse;
mod template;
mod toolchain;

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use find::{Found, Origin, TREE_RECIPE, TreeTrust, built_in, for_image, in_tree, named};

use self::template::Template;
pub use self::toolchain::{Essential, OutsideFile, Recommends, Toolchain};
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

/// How it is built, placeholders not filled.
#[derive(Debug, Clone, PartialEq, Eq)]
enum BuildTemplate {
    Scratch {
        dockerfile: Template,
        context: Option<Template>,
        source_date_epoch: SourceDateEpoch,
    },
    GitLayout {
        layout: Template,
        tag: Option<Template>,
    },
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

/// How an image is built; all paths are paths of the source tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Build {
    /// A Dockerfile of `FROM scratch` and instructions that run nothing.
    #[serde(rename_all = "camelCase")]
    Scratch {
        /// The Dockerfile.
        dockerfile: String,
        /// The directory that `ADD` and `COPY` take files from; empty for the top of the tree.
        context: String,
        /// What the build calls now.
        source_date_epoch: SourceDateEpoch,
    },
    /// An OCI image layout that lies in the tree.
    GitLayout {
        /// The layout's directory; empty for the top of the tree.
        layout: String,
        /// The name of the image within the layout, `None` where it holds one only.
        tag: Option<String>,
    },
}

/// What a build calls now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SourceDateEpoch {
    /// When the source's commit was made.
    #[default]
    Commit,
    /// This many seconds after the epoch.
    Fixed(i64),
}

impl SourceDateEpoch {
    /// Returns the time in seconds since the epoch, given when the commit was made.
    pub const fn at(self, committed_at: i64) -> i64 {
        match self {
            Self::Commit => committed_at,
            Self::Fixed(seconds) => seconds,
        }
    }
}

/// A deviation from the source's own instructions.
///
/// It is for the one instruction of the Dockerfile that has the words in it,
/// which is left out where neither `replacement` nor `edits` says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Override {
    /// Words that are in exactly one instruction, continuation lines joined or as written.
    pub instruction: String,
    /// One or more instructions in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replacement: Option<String>,
    /// Changes within its text, comments and continuation lines included; not beside a replacement.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<Edit>,
    /// Why it is needed.
    pub reason: String,
    /// What check of the source's own is thereby not made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skips: Option<String>,
}

/// A change within the text of an instruction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Edit {
    /// Text that is in it exactly once.
    pub replace: String,
    /// Text in its place.
    pub with: String,
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

    /// Returns the kind of build, as the recipe writes it.
    pub const fn kind(&self) -> &'static str {
        match self.build {
            BuildTemplate::Scratch { .. } => parse::SCRATCH,
            BuildTemplate::GitLayout { .. } => parse::GIT_LAYOUT,
        }
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
        let build = match &self.build {
            BuildTemplate::Scratch {
                dockerfile,
                context,
                source_date_epoch,
            } => {
                let dockerfile = fill(dockerfile)?;
                let context = match context {
                    Some(context) => fill(context)?,
                    None => directory_of(&dockerfile).to_owned(),
                };
                Build::Scratch {
                    context: top_as_empty(context),
                    dockerfile,
                    source_date_epoch: *source_date_epoch,
                }
            }
            BuildTemplate::GitLayout { layout, tag } => Build::GitLayout {
                layout: top_as_empty(fill(layout)?),
                tag: tag.as_ref().map(fill).transpose()?,
            },
        };
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

fn directory_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

fn top_as_empty(path: String) -> String {
    match path.as_str() {
        "." | "./" => String::new(),
        _ => path,
    }
}

#[cfg(test)]
mod tests;
