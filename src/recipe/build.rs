//! `[build]` and `[[override]]`: the kinds of build, with placeholders and made out.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Error,
    document::{At, Section},
    parse::{template, unknown},
    template::Template,
};
use crate::{
    dialect::{Compressor, TarDialect},
    image::ImageName,
};

/// The kinds of build that can be followed.
const SCRATCH: &str = "scratch";
const GIT_LAYOUT: &str = "git-layout";
const DOCKERFILE: &str = "dockerfile";
const STEPS: &str = "steps";
const KINDS: [&str; 4] = [SCRATCH, GIT_LAYOUT, DOCKERFILE, STEPS];

/// How an image is built; all paths are paths of the source tree, but for those that say otherwise.
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
    /// A Dockerfile whose commands are run in a sandbox.
    #[serde(rename_all = "camelCase")]
    Dockerfile {
        /// The Dockerfile.
        dockerfile: String,
        /// The directory that `ADD` and `COPY` take files from; empty for the top of the tree.
        context: String,
        /// The stage to be built, `None` for the last.
        target: Option<String>,
        /// Values of `ARG`s.
        arguments: BTreeMap<String, String>,
        /// What stands for the images that `FROM` names.
        bases: BTreeMap<String, Base>,
        /// Where the Dockerfile is not followed.
        overrides: Vec<Override>,
        /// What is run after it, and what of the result is the image.
        #[serde(flatten)]
        commands: Commands,
    },
    /// Commands in a root file system of the toolchain's packages.
    Steps(Commands),
}

/// Commands that are run in a sandbox, and what becomes of their result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Commands {
    /// Texts for the shell, one after the other.
    pub run: Vec<String>,
    /// Variables for them.
    pub environment: BTreeMap<String, String>,
    /// What the build calls now.
    pub source_date_epoch: SourceDateEpoch,
    /// What of the file system that they leave is the image.
    pub output: Output,
}

/// What stands for an image that a Dockerfile is based on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Base {
    /// The root file system of the toolchain's packages.
    Toolchain,
    /// An image, by digest.
    Image(String),
}

/// What of a file system is the image; all paths are absolute and in that file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Output {
    /// All below this directory, as the image's one layer.
    ///
    /// Entries are sorted, and times later than the build's now are that.
    Rootfs {
        /// The directory.
        path: String,
        /// What else the image says.
        image: ImageFields,
    },
    /// This tar, exactly, as the image's one layer.
    Tar {
        /// The file.
        path: String,
        /// What else the image says.
        image: ImageFields,
    },
    /// The OCI layout in this directory.
    Layout {
        /// The directory.
        path: String,
    },
    /// Everything, in layers as the Dockerfile makes them above those of its base.
    Image {
        /// What becomes of the times in them.
        timestamps: Timestamps,
    },
    /// Files that take the place of others in the source tree, from which a
    /// Dockerfile of `FROM scratch` then makes the image.
    Files {
        /// The files of the tree by their paths there, and what takes their place.
        files: BTreeMap<String, String>,
        /// The Dockerfile, a path of the source tree.
        dockerfile: String,
        /// What it takes files from, a path of the source tree.
        context: String,
    },
}

/// What becomes of times that are in the layers of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Timestamps {
    /// They stay: what commands make has the time at which they are run.
    #[default]
    Kept,
    /// Those after the time of the build become that, as `BuildKit` has it with
    /// `rewrite-timestamp`.
    Rewritten,
}

/// What an image says beside its layer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageFields {
    /// `Cmd`.
    pub command: Vec<String>,
    /// `Entrypoint`.
    pub entrypoint: Vec<String>,
    /// `Env`, by name.
    pub environment: BTreeMap<String, String>,
    /// `Labels`.
    pub labels: BTreeMap<String, String>,
    /// `User`.
    pub user: Option<String>,
    /// `WorkingDir`.
    pub working_directory: Option<String>,
    /// What the history says of the layer.
    pub history: Option<String>,
    /// Who writes config, manifest and, for `rootfs`, the layer's tar; as for the published
    /// image where it is not said.
    pub dialect: Option<TarDialect>,
    /// What compresses the layer; as for the published image where it is not said.
    #[schemars(with = "Option<String>")]
    pub gzip: Option<Compressor>,
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

/// What a build calls now.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SourceDateEpoch {
    /// When the source's commit was made.
    #[default]
    Commit,
    /// This many seconds after the epoch.
    Fixed(i64),
    /// As many as this file of the source tree says.
    File(String),
}

impl Build {
    /// Returns the word for the kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Scratch { .. } => SCRATCH,
            Self::GitLayout { .. } => GIT_LAYOUT,
            Self::Dockerfile { .. } => DOCKERFILE,
            Self::Steps(_) => STEPS,
        }
    }

    /// Returns whether there must be a source tree.
    pub const fn needs_source(&self) -> bool {
        match self {
            Self::Scratch { .. } | Self::GitLayout { .. } | Self::Dockerfile { .. } => true,
            Self::Steps(commands) => {
                !matches!(commands.source_date_epoch, SourceDateEpoch::Fixed(_))
                    || matches!(commands.output, Output::Files { .. })
            }
        }
    }

    /// Returns whether it is for whoever asks to say what writes layers and config.
    pub const fn takes_encoding(&self) -> bool {
        match self {
            Self::Scratch { .. } => true,
            Self::GitLayout { .. } => false,
            Self::Dockerfile { commands, .. } | Self::Steps(commands) => match &commands.output {
                Output::Rootfs { image, .. } | Output::Tar { image, .. } => {
                    image.dialect.is_none() || image.gzip.is_none()
                }
                Output::Layout { .. } => false,
                Output::Image { .. } | Output::Files { .. } => true,
            },
        }
    }

    /// Returns the commands that are run, `None` where none are.
    pub const fn commands(&self) -> Option<&Commands> {
        match self {
            Self::Scratch { .. } | Self::GitLayout { .. } => None,
            Self::Dockerfile { commands, .. } | Self::Steps(commands) => Some(commands),
        }
    }

    /// Returns where the source's own instructions are not followed.
    pub fn overrides(&self) -> &[Override] {
        match self {
            Self::Dockerfile { overrides, .. } => overrides,
            Self::Scratch { .. } | Self::GitLayout { .. } | Self::Steps(_) => &[],
        }
    }
}

/// How it is built, placeholders not filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BuildTemplate {
    /// Texts with placeholders, by the place in `build` that they are for.
    build: Build,
    paths: BTreeMap<Place, Template>,
}

/// A text of a build that may have placeholders.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Dockerfile,
    Context,
    Layout,
    Tag,
    Target,
    Argument(String),
    /// A file of [`Output::Files`], by the number of its line there; path in the tree and inside.
    File(usize, Side),
    /// What [`Output`] names inside.
    Path,
    ImageDockerfile,
    ImageContext,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Tree,
    Inside,
}

impl BuildTemplate {
    /// Returns the word for the kind.
    pub(super) const fn kind(&self) -> &'static str {
        self.build.kind()
    }

    /// Returns whether there must be a source tree.
    pub(super) const fn needs_source(&self) -> bool {
        self.build.needs_source()
    }

    /// Returns the build with `fill` applied to all that may have placeholders.
    pub(super) fn made_out(
        &self,
        fill: &dyn Fn(&Template) -> Result<String, Error>,
    ) -> Result<Build, Error> {
        let text = |place: &Place| self.paths.get(place).map(fill).transpose();
        let required = |place: Place| Ok::<_, Error>(text(&place)?.unwrap_or_default());
        let context = |dockerfile: &str| {
            let given = text(&Place::Context)?;
            let context = given.unwrap_or_else(|| directory_of(dockerfile).to_owned());
            Ok::<_, Error>(top_as_empty(context))
        };
        let mut build = self.build.clone();
        match &mut build {
            Build::Scratch {
                dockerfile,
                context: directory,
                ..
            } => {
                *dockerfile = required(Place::Dockerfile)?;
                *directory = context(dockerfile)?;
            }
            Build::GitLayout { layout, tag } => {
                *layout = top_as_empty(required(Place::Layout)?);
                *tag = text(&Place::Tag)?;
            }
            Build::Dockerfile {
                dockerfile,
                context: directory,
                target,
                arguments,
                commands,
                ..
            } => {
                *dockerfile = required(Place::Dockerfile)?;
                *directory = context(dockerfile)?;
                *target = text(&Place::Target)?;
                for (name, value) in arguments {
                    *value = required(Place::Argument(name.clone()))?;
                }
                self.make_output_out(&mut commands.output, &required)?;
            }
            Build::Steps(commands) => self.make_output_out(&mut commands.output, &required)?,
        }
        Ok(build)
    }

    fn make_output_out(
        &self,
        output: &mut Output,
        required: &dyn Fn(Place) -> Result<String, Error>,
    ) -> Result<(), Error> {
        match output {
            Output::Rootfs { path, .. } | Output::Tar { path, .. } | Output::Layout { path } => {
                *path = required(Place::Path)?;
            }
            Output::Image { .. } => {}
            Output::Files {
                files,
                dockerfile,
                context,
            } => {
                let places = self.paths.keys().filter_map(|place| match place {
                    Place::File(number, Side::Tree) => Some(*number),
                    _ => None,
                });
                *files = places
                    .map(|number| {
                        let at = |side| required(Place::File(number, side));
                        Ok((at(Side::Tree)?, at(Side::Inside)?))
                    })
                    .collect::<Result<_, Error>>()?;
                *dockerfile = required(Place::ImageDockerfile)?;
                *context = if self.paths.contains_key(&Place::ImageContext) {
                    top_as_empty(required(Place::ImageContext)?)
                } else {
                    directory_of(dockerfile).to_owned()
                };
            }
        }
        Ok(())
    }
}

/// Reads `[build]`, and `[[override]]` which is for it.
pub(super) fn build(
    top: &mut Section<'_>,
    placeholders: &BTreeSet<String>,
) -> Result<BuildTemplate, Error> {
    let overrides = overrides(top)?;
    let mut section = top.section("build")?.ok_or_else(|| top.missing("build"))?;
    let kind = section.required_text("kind")?;
    let mut reader = Reader {
        section: &mut section,
        placeholders,
        paths: BTreeMap::new(),
    };
    if let (Some(first), true) = (overrides.first(), kind.value != DOCKERFILE) {
        let problem = format!("[[override]] is for builds of kind {DOCKERFILE:?}");
        return Err(reader.section.invalid(first.line, problem));
    }
    let overrides = overrides.into_iter().map(|found| found.value).collect();
    let build = match kind.value.as_str() {
        SCRATCH => {
            reader.required("dockerfile", Place::Dockerfile)?;
            reader.optional("context", Place::Context)?;
            Build::Scratch {
                dockerfile: String::new(),
                context: String::new(),
                source_date_epoch: source_date_epoch(reader.section)?,
            }
        }
        GIT_LAYOUT => {
            reader.required("layout", Place::Layout)?;
            reader.optional("tag", Place::Tag)?;
            Build::GitLayout {
                layout: String::new(),
                tag: None,
            }
        }
        DOCKERFILE => {
            reader.required("dockerfile", Place::Dockerfile)?;
            reader.optional("context", Place::Context)?;
            reader.optional("target", Place::Target)?;
            Build::Dockerfile {
                dockerfile: String::new(),
                context: String::new(),
                target: None,
                arguments: reader.arguments()?,
                bases: reader.bases()?,
                overrides,
                commands: reader.commands(&[IMAGE, ROOTFS, TAR, LAYOUT, FILES])?,
            }
        }
        STEPS => {
            let line = reader.section.line;
            let commands = reader.commands(&[ROOTFS, TAR, LAYOUT, FILES])?;
            if commands.run.is_empty() {
                let problem = "steps needs commands: give run".to_owned();
                return Err(reader.section.invalid(line, problem));
            }
            Build::Steps(commands)
        }
        other => return Err(section.invalid(kind.line, unknown("kind", other, &KINDS))),
    };
    let paths = reader.paths;
    section.finish()?;
    Ok(BuildTemplate { build, paths })
}

/// The words for outputs.
const IMAGE: &str = "image";
const ROOTFS: &str = "rootfs";
const TAR: &str = "tar";
const LAYOUT: &str = "layout";
const FILES: &str = "files";

/// Reads `[build]`, gathering what has placeholders.
struct Reader<'s, 't> {
    section: &'s mut Section<'t>,
    placeholders: &'s BTreeSet<String>,
    paths: BTreeMap<Place, Template>,
}

impl Reader<'_, '_> {
    fn required(&mut self, key: &'static str, place: Place) -> Result<(), Error> {
        let text = self.section.required_text(key)?;
        let template = template(self.section, &text, self.placeholders)?;
        self.paths.insert(place, template);
        Ok(())
    }

    fn optional(&mut self, key: &'static str, place: Place) -> Result<(), Error> {
        if let Some(text) = self.section.text(key)? {
            let template = template(self.section, &text, self.placeholders)?;
            self.paths.insert(place, template);
        }
        Ok(())
    }

    fn arguments(&mut self) -> Result<BTreeMap<String, String>, Error> {
        let mut arguments = BTreeMap::new();
        if let Some(section) = self.section.section("arguments")? {
            for (name, value) in section.all() {
                let value = value.text(&name.value)?;
                let template = template(self.section, &value, self.placeholders)?;
                let place = Place::Argument(name.value.clone());
                self.paths.insert(place, template);
                arguments.insert(name.value, String::new());
            }
        }
        Ok(arguments)
    }

    fn bases(&mut self) -> Result<BTreeMap<String, Base>, Error> {
        let mut bases = BTreeMap::new();
        if let Some(section) = self.section.section("bases")? {
            for (name, value) in section.all() {
                let value = value.text(&name.value)?;
                let is_pinned = |image: &str| {
                    let image = image.parse::<ImageName>();
                    image.is_ok_and(|image| image.digest().is_some())
                };
                let base = match value.value.as_str() {
                    "toolchain" => Base::Toolchain,
                    image if is_pinned(image) => Base::Image(value.value),
                    other => {
                        let problem = format!(
                            "{other:?} is neither \"toolchain\" nor an image by its digest (name@sha256:…)"
                        );
                        return Err(self.section.invalid(value.line, problem));
                    }
                };
                bases.insert(name.value, base);
            }
        }
        Ok(bases)
    }

    fn commands(&mut self, outputs: &[&str]) -> Result<Commands, Error> {
        let run = self.section.texts("run")?;
        let environment = pairs(self.section, "environment")?;
        let source_date_epoch = source_date_epoch(self.section)?;
        let output = self.output(outputs)?;
        if let (Output::Image { .. }, Some(first)) = (&output, run.first()) {
            let problem = "the image is what the Dockerfile makes: with output \"image\", run \
                           has nothing to do"
                .to_owned();
            return Err(self.section.invalid(first.line, problem));
        }
        Ok(Commands {
            run: run.into_iter().map(|found| found.value).collect(),
            environment,
            source_date_epoch,
            output,
        })
    }

    fn output(&mut self, outputs: &[&str]) -> Result<Output, Error> {
        let kind = self.section.required_text("output")?;
        if !outputs.contains(&kind.value.as_str()) {
            let problem = unknown("output", &kind.value, outputs);
            return Err(self.section.invalid(kind.line, problem));
        }
        let path = String::new();
        Ok(match kind.value.as_str() {
            ROOTFS => {
                self.inside("path", Place::Path)?;
                let image = self.image()?;
                Output::Rootfs { path, image }
            }
            TAR => {
                self.inside("path", Place::Path)?;
                let image = self.image()?;
                Output::Tar { path, image }
            }
            LAYOUT => {
                self.inside("path", Place::Path)?;
                Output::Layout { path }
            }
            FILES => self.files()?,
            _ => Output::Image {
                timestamps: match self.section.boolean("rewrite_timestamps")? {
                    Some(true) => Timestamps::Rewritten,
                    Some(false) | None => Timestamps::Kept,
                },
            },
        })
    }

    /// Reads a path of the file system that the commands leave.
    fn inside(&mut self, key: &'static str, place: Place) -> Result<(), Error> {
        let text = self.section.required_text(key)?;
        self.checked_inside(&text)?;
        let template = template(self.section, &text, self.placeholders)?;
        self.paths.insert(place, template);
        Ok(())
    }

    fn checked_inside(&self, text: &At<String>) -> Result<(), Error> {
        let parts = || text.value.split('/');
        if text.value.starts_with('/') && text.value != "/" && !parts().any(|part| part == "..") {
            return Ok(());
        }
        let problem = format!("{:?} is not an absolute path below /", text.value);
        Err(self.section.invalid(text.line, problem))
    }

    fn files(&mut self) -> Result<Output, Error> {
        let section = self
            .section
            .section("files")?
            .ok_or_else(|| self.section.missing("files"))?;
        for (number, (tree, inside)) in section.all().into_iter().enumerate() {
            let inside = inside.text(&tree.value)?;
            self.checked_inside(&inside)?;
            for (side, text) in [(Side::Tree, &tree), (Side::Inside, &inside)] {
                let template = template(self.section, text, self.placeholders)?;
                self.paths.insert(Place::File(number, side), template);
            }
        }
        self.required("image_dockerfile", Place::ImageDockerfile)?;
        self.optional("image_context", Place::ImageContext)?;
        Ok(Output::Files {
            files: BTreeMap::new(),
            dockerfile: String::new(),
            context: String::new(),
        })
    }

    fn image(&mut self) -> Result<ImageFields, Error> {
        let Some(mut section) = self.section.section("image")? else {
            return Ok(ImageFields::default());
        };
        let texts = |section: &mut Section<'_>, key| {
            let found = section.texts(key)?;
            Ok::<_, Error>(found.into_iter().map(|found| found.value).collect())
        };
        let text = |section: &mut Section<'_>, key| {
            Ok::<_, Error>(section.text(key)?.map(|found| found.value))
        };
        let fields = ImageFields {
            command: texts(&mut section, "command")?,
            entrypoint: texts(&mut section, "entrypoint")?,
            environment: pairs(&mut section, "environment")?,
            labels: pairs(&mut section, "labels")?,
            user: text(&mut section, "user")?,
            working_directory: text(&mut section, "working_directory")?,
            history: text(&mut section, "history")?,
            dialect: parsed(&mut section, "dialect")?,
            gzip: parsed(&mut section, "gzip")?,
        };
        section.finish()?;
        Ok(fields)
    }
}

fn parsed<T: std::str::FromStr<Err: ToString>>(
    section: &mut Section<'_>,
    key: &'static str,
) -> Result<Option<T>, Error> {
    let Some(found) = section.text(key)? else {
        return Ok(None);
    };
    let value = found.value.parse();
    let value = value.map_err(|error: T::Err| section.invalid(found.line, error.to_string()))?;
    Ok(Some(value))
}

/// Reads a table of texts.
fn pairs(section: &mut Section<'_>, key: &'static str) -> Result<BTreeMap<String, String>, Error> {
    let Some(table) = section.section(key)? else {
        return Ok(BTreeMap::new());
    };
    table
        .all()
        .into_iter()
        .map(|(name, value)| {
            let value = value.text(&name.value)?;
            Ok((name.value, value.value))
        })
        .collect()
}

fn overrides(top: &mut Section<'_>) -> Result<Vec<At<Override>>, Error> {
    let mut overrides = Vec::new();
    for mut section in top.sections("override")? {
        let instruction = section.required_text("instruction")?.value;
        let replacement = section.text("replacement")?;
        let mut edits = Vec::new();
        for mut edit in section.sections("edit")? {
            if replacement.is_some() {
                let problem = "an override has a replacement or edits, not both".to_owned();
                return Err(edit.invalid(edit.line, problem));
            }
            edits.push(Edit {
                replace: edit.required_text("replace")?.value,
                with: edit
                    .text("with")?
                    .map(|found| found.value)
                    .unwrap_or_default(),
            });
            edit.finish()?;
        }
        let value = Override {
            instruction,
            replacement: replacement.map(|found| found.value),
            edits,
            reason: section.required_text("reason")?.value,
            skips: section.text("skips")?.map(|found| found.value),
        };
        let line = section.line;
        section.finish()?;
        overrides.push(At { line, value });
    }
    Ok(overrides)
}

fn source_date_epoch(section: &mut Section<'_>) -> Result<SourceDateEpoch, Error> {
    let Some(found) = section.text_or_integer("source_date_epoch")? else {
        return Ok(SourceDateEpoch::default());
    };
    match found.value {
        Ok(word) if word == "commit" => Ok(SourceDateEpoch::Commit),
        Ok(word) => match word.strip_prefix("file:") {
            Some(path) if !path.is_empty() => Ok(SourceDateEpoch::File(path.to_owned())),
            Some(_) | None => Err(section.invalid(found.line, NO_EPOCH.to_owned())),
        },
        Err(seconds) if seconds >= 0 => Ok(SourceDateEpoch::Fixed(seconds)),
        Err(_) => Err(section.invalid(found.line, NO_EPOCH.to_owned())),
    }
}

const NO_EPOCH: &str = "source_date_epoch is \"commit\", \"file:PATH\" or seconds since the epoch";

fn directory_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

fn top_as_empty(path: String) -> String {
    match path.as_str() {
        "." | "./" => String::new(),
        _ => path,
    }
}
