//! Rebuilding: recipe and source → an OCI layout, and what is known of how it came about.
//!
//! Comes in: a recipe made out for a platform, the source, and the encoding to
//! write. Goes out: a new layout, or why the source's own instructions lead to
//! none. Nothing of the published image is used but that encoding, and nothing
//! is run or fetched by the recipe kinds here.

mod base;
mod clock;
mod commands;
pub(crate) mod dockerfile;
mod git_layout;
mod instructions;
mod kept;
mod layer;
mod origins;
mod output;
mod outside;
pub mod replay;
pub mod sandbox;
mod scratch;
mod spool;
mod stages;
mod toolchain;
mod tree;
mod unpack;
mod workshop;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use base::BaseLayer;
pub use clock::Clock;
pub use dockerfile::SyntaxError;
pub use kept::{Reuse, Stages};
pub use output::Output;
pub use outside::Outside;
use serde::Serialize;
pub use workshop::Conditions;

use crate::{
    dialect::{
        Compressor,
        json::{self, BlobName, ImageConfig, LayerForm},
    },
    digest::Digest,
    facts::{
        BuildFailure, Built, BuiltLayer, Counterfactual, CounterfactualLayer, Encoding, Origin,
        Outcome, Provider,
    },
    image::{self, EntryPath, MediaType, Platform},
    progress::{Progress, Task},
    recipe::{self, Build, SourceDateEpoch},
    source::{self, Source},
    store,
};

/// What to rebuild.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// How, as the recipe says for the platform.
    pub build: &'a Build,
    /// The source at the revision; `None` where the recipe needs none.
    pub source: Option<&'a Source>,
    /// What the image is to run on.
    pub platform: &'a Platform,
    /// What to write layers, config and manifest with, where they are made here.
    pub encoding: Encoding,
    /// How the builder got at the source's files.
    pub context: Context,
    /// What commands are run with; `None` where none are to be run.
    pub outside: Option<&'a Outside<'a>>,
}

/// How a builder gets at the source's files, which decides their modes.
///
/// Times are the builder's own in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
pub enum Context {
    /// As a working tree with umask 022, or from a git URL: files 0644 or 0755,
    /// `.dockerignore` heeded.
    #[default]
    Checkout,
    /// As `git archive` packs it, sent to the builder as a tar: files 0664 or
    /// 0775, `.dockerignore` without effect. So Docker Official Images were
    /// built until they moved to `BuildKit`.
    Archive,
}

/// Why it could not be found out what a rebuild gives.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source could not be read.
    #[error("cannot read the source")]
    Source(#[from] source::Error),
    /// The Dockerfile does what this kind of recipe has no means for.
    #[error(
        "{dockerfile} line {line} {what}: recipes of kind scratch run nothing and fetch nothing"
    )]
    NotScratch {
        /// The Dockerfile's path in the source.
        dockerfile: String,
        /// Counted from 1.
        line: usize,
        /// What it does there, as the rest of a sentence.
        what: String,
    },
    /// The Dockerfile does what is not done here.
    #[error("{dockerfile} line {line} {what}, which is not supported")]
    NotSupported {
        /// The Dockerfile's path in the source.
        dockerfile: String,
        /// Counted from 1.
        line: usize,
        /// What it does there, as the rest of a sentence.
        what: String,
    },
    /// The temporary file for contents could not be used.
    #[error("cannot put files aside in the temporary directory")]
    Spool {
        /// What the system said.
        source: io::Error,
    },
    /// A layer could not be written.
    #[error("cannot write the layer of {step}")]
    Layer {
        /// What makes the layer.
        step: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file that a build takes in could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The output could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is something where the output is to go.
    #[error("{} exists already", path.display())]
    OutputExists {
        /// The file or directory.
        path: PathBuf,
    },
    /// The recipe's kind needs a source, and there is none.
    #[error("builds of kind {kind} need a source")]
    NoSource {
        /// The kind.
        kind: &'static str,
    },
    /// The recipe's kind runs commands, and there is nothing to run them with.
    #[error("builds of kind {kind} need a sandbox")]
    NoSandbox {
        /// The kind.
        kind: &'static str,
    },
    /// The store failed.
    #[error("cannot use the cache")]
    Store(#[source] store::Error),
    /// Bytes could not be brought into the store, or out of it.
    #[error("cannot move bytes to or from the cache")]
    Keep {
        /// What the system said.
        source: io::Error,
    },
    /// What is pinned is not in the store.
    #[error("{what} is not in the cache")]
    NotKept {
        /// What it is.
        what: String,
    },
    /// What is known of an earlier build could not be read or written.
    #[error("cannot use {}", path.display())]
    Stage {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A base image could not be read.
    #[error("cannot read the base image {name}")]
    Base {
        /// Its name, with its digest.
        name: String,
        /// What is wrong with it.
        source: image::Error,
    },
    /// The layers of a base image make no file system.
    #[error("cannot put together the files of the base image {name}")]
    BaseFiles {
        /// Its name, with its digest.
        name: String,
        /// Why not.
        source: image::overlay::Error,
    },
    /// A package could not be unpacked.
    #[error("cannot unpack the package {package}")]
    Package {
        /// Its name and version.
        package: String,
        /// What is wrong with it, or what the system said.
        source: io::Error,
    },
    /// The requests of a command cannot be answered.
    #[error("cannot answer the requests of the build")]
    Replay(#[source] replay::Error),
    /// A request of a command is for locked bytes, which could not be given.
    #[error("cannot answer {request}")]
    Unanswered {
        /// The request and why.
        request: String,
    },
    /// The processors that a command may use could not be chosen.
    #[error("cannot choose the processors that a command may use")]
    Processors {
        /// What the system said.
        source: io::Error,
    },
    /// A command's clock is to be another, and cannot be.
    #[error("programs of {step} do not see another time: {said}")]
    Clock {
        /// What was to be run.
        step: String,
        /// What came of asking for the time there.
        said: String,
    },
    /// A command could not be run, which says nothing of how it would end.
    #[error("cannot run the commands of the build")]
    Sandbox(#[source] sandbox::Error),
    /// A layout in the source is not what it says it is.
    #[error("{path} in the source {problem}")]
    Layout {
        /// The file's path in the source.
        path: String,
        /// What is wrong with it, as the rest of a sentence.
        problem: String,
    },
}

/// Why a build went no further.
#[derive(Debug)]
enum Stop {
    /// We could not find out.
    Error(Error),
    /// The source's own instructions do not work.
    Failed(BuildFailure),
}

impl Stop {
    fn failed(problem: impl Into<String>) -> Self {
        Self::Failed(BuildFailure {
            step: String::new(),
            problem: problem.into(),
            log: None,
        })
    }

    /// Says where all that the build's commands wrote is kept.
    fn with_log(self, log: Digest) -> Self {
        match self {
            Self::Failed(failure) => Self::Failed(BuildFailure {
                log: Some(log),
                ..failure
            }),
            other @ Self::Error(_) => other,
        }
    }

    /// Says what was being done, unless that is known already.
    fn at(self, step: &str) -> Self {
        match self {
            Self::Failed(failure) if failure.step.is_empty() => Self::Failed(BuildFailure {
                step: step.to_owned(),
                ..failure
            }),
            other => other,
        }
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<source::Error> for Stop {
    fn from(error: source::Error) -> Self {
        Self::Error(Error::Source(error))
    }
}

impl From<tree::PathError> for Stop {
    fn from(error: tree::PathError) -> Self {
        Self::failed(error.to_string())
    }
}

/// Returns how many instructions a Dockerfile has; for the fuzz target, which asks whether
/// it can be parsed.
#[doc(hidden)]
pub fn instructions(text: &str) -> Result<usize, SyntaxError> {
    dockerfile::parse(text).map(|file| file.instructions.len())
}

/// Returns the images that FROM names in a Dockerfile of the source, as it is written there.
///
/// ARGs have the values that the Dockerfile itself gives them. What no builder
/// would accept names nothing.
pub fn bases(
    source: &Source,
    dockerfile: &str,
    platform: &Platform,
) -> Result<BTreeSet<String>, Error> {
    match stages::bases(source, dockerfile, platform) {
        Ok(bases) => Ok(bases),
        Err(Stop::Failed(_)) => Ok(BTreeSet::new()),
        Err(Stop::Error(error)) => Err(error),
    }
}

/// Rebuilds the image into `output`, which must not exist yet.
///
/// The output appears whole or not at all. Fails with [`Error::NotScratch`]
/// where the Dockerfile needs more than its recipe's kind has.
pub fn rebuild(
    request: &Request<'_>,
    output: &Output,
    progress: &dyn Progress,
) -> Result<Outcome, Error> {
    let task = progress.begin("rebuilding the image", None);
    let mut writer = output.create()?;
    let built = made(request, &mut writer, task.as_ref(), progress);
    match built {
        Ok(mut built) => {
            writer.finish()?;
            let Built {
                inputs, providers, ..
            } = &mut built;
            // What was built in place of a file of the source is not what the source has.
            for (path, input) in inputs
                .iter()
                .filter(|(_, input)| input.origin != Origin::Built)
            {
                providers
                    .entry(input.digest)
                    .or_insert_with(|| Provider::Source { path: path.clone() });
            }
            Ok(Outcome::Built(built))
        }
        Err(Stop::Failed(failure)) => Ok(Outcome::Failed(failure)),
        Err(Stop::Error(error)) => Err(error),
    }
}

fn made(
    request: &Request<'_>,
    writer: &mut output::Writer,
    task: &dyn Task,
    progress: &dyn Progress,
) -> Result<Built, Stop> {
    match request.build {
        Build::GitLayout { layout, tag } => {
            let place = git_layout::Place::Tree(source(request)?, layout);
            let all = |_: &_| Ok(origins::Origins::All(Origin::Opaque));
            git_layout::copy(place, request.platform, tag.as_deref(), &all, writer, task)
        }
        Build::Scratch { .. } => match scratch_plan(request, &BTreeMap::new())? {
            Some(plan) => scratch_image(plan, writer, task),
            None => Err(Stop::failed("there is nothing to be built")),
        },
        Build::Dockerfile { commands, .. } | Build::Steps(commands) => {
            let kind = request.build.kind();
            commands::Build {
                request,
                outside: request.outside.ok_or(Error::NoSandbox { kind })?,
                commands,
                now: now(&commands.source_date_epoch, request)?,
                progress,
            }
            .build(writer, task)
        }
    }
}

fn source<'a>(request: &Request<'a>) -> Result<&'a Source, Error> {
    let kind = request.build.kind();
    request.source.ok_or(Error::NoSource { kind })
}

/// Returns what the build calls now, in seconds since the epoch.
fn now(rule: &SourceDateEpoch, request: &Request<'_>) -> Result<i64, Stop> {
    match rule {
        SourceDateEpoch::Commit => Ok(source(request)?.committed_at()),
        SourceDateEpoch::Fixed(seconds) => Ok(*seconds),
        SourceDateEpoch::File(path) => {
            let bytes = source(request)?.read(path)?;
            let text = String::from_utf8_lossy(&bytes);
            let seconds: Option<i64> = text.trim().parse().ok();
            seconds.filter(|seconds| *seconds >= 0).ok_or_else(|| {
                Stop::failed("it does not say a time in seconds since the epoch").at(path)
            })
        }
    }
}

/// Says what the layers would be if made times were the published ones.
///
/// `published` has, for each layer, the published mtimes in seconds by path;
/// only entries in [`BuiltLayer::made_times`] take them; `replaced` is that of
/// what was built. Nothing is written. `None` where the recipe's kind makes up no
/// times or the build fails.
pub fn counterfactual(
    request: &Request<'_>,
    replaced: &BTreeMap<String, Vec<u8>>,
    published: &[BTreeMap<EntryPath, i64>],
) -> Result<Option<Counterfactual>, Error> {
    let built = match scratch_plan(request, replaced) {
        Ok(Some(plan)) => scratch::build(plan, &mut HashedLayers { published }),
        Ok(None) => return Ok(None),
        Err(stop) => Err(stop),
    };
    match built {
        Ok(image) => Ok(Some(Counterfactual {
            layers: image
                .layers
                .iter()
                .enumerate()
                .map(|(index, layer)| CounterfactualLayer {
                    diff_id: layer.diff_id,
                    digest: layer.digest,
                    times_taken: published.get(index).map_or(0, |times| {
                        let made = layer.made_times.iter();
                        made.filter(|path| times.contains_key(*path)).count()
                    }),
                })
                .collect(),
        })),
        Err(Stop::Failed(_)) => Ok(None),
        Err(Stop::Error(error)) => Err(error),
    }
}

/// Returns the Dockerfile of `FROM scratch` that the image is made by, `None` where by none.
fn scratch_plan<'a>(
    request: &Request<'a>,
    replaced: &'a BTreeMap<String, Vec<u8>>,
) -> Result<Option<scratch::Plan<'a>>, Stop> {
    let (dockerfile, context, rule) = match request.build {
        Build::Scratch {
            dockerfile,
            context,
            source_date_epoch,
        } => (dockerfile, context, source_date_epoch),
        Build::Dockerfile { commands, .. } | Build::Steps(commands) => match &commands.output {
            recipe::Output::Files {
                dockerfile,
                context,
                ..
            } => (dockerfile, context, &commands.source_date_epoch),
            recipe::Output::Rootfs { .. }
            | recipe::Output::Tar { .. }
            | recipe::Output::Layout { .. }
            | recipe::Output::Image { .. } => return Ok(None),
        },
        Build::GitLayout { .. } => return Ok(None),
    };
    Ok(Some(scratch::Plan {
        source: source(request)?,
        dockerfile,
        context,
        context_kind: request.context,
        platform: request.platform,
        encoding: request.encoding,
        now: now(rule, request)?,
        replaced,
    }))
}

/// Builds the image and writes config, manifest and index beside its layers.
fn scratch_image(
    plan: scratch::Plan<'_>,
    writer: &mut output::Writer,
    task: &dyn Task,
) -> Result<Built, Stop> {
    let image = scratch::build(plan, &mut WrittenLayers { writer, task })?;
    let (manifest, config) = write_image(
        writer,
        &image.config,
        &[],
        &image.layers,
        plan.encoding,
        plan.platform,
    )?;
    Ok(Built {
        manifest,
        config,
        layers: image.layers,
        encoding: Some(plan.encoding),
        inputs: image.inputs,
        environment: None,
        replaced: BTreeMap::new(),
        providers: BTreeMap::new(),
        scanned: Vec::new(),
    })
}

/// Writes config, manifest and index of layers that are written, and of those of the base below
/// them; returns the digests of the manifest and the config.
fn write_image(
    writer: &mut output::Writer,
    config: &ImageConfig,
    base: &[BaseLayer],
    layers: &[BuiltLayer],
    encoding: Encoding,
    platform: &Platform,
) -> Result<(Digest, Digest), Error> {
    let dialect = encoding.dialect;
    let config = config.bytes(dialect);
    let config_digest = writer.blob(&config)?;
    let layers: Vec<BlobName> = layers
        .iter()
        .map(|layer| BlobName {
            digest: layer.digest,
            size: layer.size,
        })
        .collect();
    let base: Vec<(&MediaType, BlobName)> = base
        .iter()
        .map(|layer| {
            let BaseLayer { digest, size, .. } = *layer;
            (&layer.media_type, BlobName { digest, size })
        })
        .collect();
    let form = match encoding.compressor {
        Compressor::Uncompressed => LayerForm::Tar,
        Compressor::GoGzip(_) => LayerForm::Gzip,
    };
    let name = BlobName {
        digest: config_digest,
        size: config.len() as u64,
    };
    let (manifest, media_type) = json::manifest(dialect, name, &base, &layers, form);
    let manifest_digest = writer.blob(&manifest)?;
    writer.index(&output::ManifestName {
        media_type: &media_type,
        digest: manifest_digest,
        size: manifest.len() as u64,
        platform,
    })?;
    Ok((manifest_digest, config_digest))
}

/// Writes layers into the output.
struct WrittenLayers<'a> {
    writer: &'a mut output::Writer,
    task: &'a dyn Task,
}

impl scratch::Layers for WrittenLayers<'_> {
    type Sink = output::BlobFile;

    fn begin(&mut self) -> Result<Self::Sink, Error> {
        self.writer.begin_blob()
    }

    fn end(&mut self, sink: Self::Sink, layer: &BuiltLayer) -> Result<(), Error> {
        self.task.advance(layer.uncompressed_size);
        self.writer.end_blob(sink, layer.digest)
    }

    fn times(&self, _: usize) -> Option<&BTreeMap<EntryPath, i64>> {
        None
    }
}

/// Only hashes layers, with published times in place of made ones.
struct HashedLayers<'a> {
    published: &'a [BTreeMap<EntryPath, i64>],
}

impl scratch::Layers for HashedLayers<'_> {
    type Sink = io::Sink;

    fn begin(&mut self) -> Result<Self::Sink, Error> {
        Ok(io::sink())
    }

    fn end(&mut self, _: Self::Sink, _: &BuiltLayer) -> Result<(), Error> {
        Ok(())
    }

    fn times(&self, index: usize) -> Option<&BTreeMap<EntryPath, i64>> {
        self.published.get(index)
    }
}

/// Fails where a digest is not the expected one.
fn verified(path: &str, actual: Digest, expected: Digest) -> Result<(), Error> {
    if actual == expected {
        Ok(())
    } else {
        Err(Error::Layout {
            path: path.to_owned(),
            problem: format!("should be {expected} but is {actual}"),
        })
    }
}

fn cannot_write(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Write { path, source }
}

/// Returns what an error says, and what that comes of.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", with_causes(source)),
        None => error.to_string(),
    }
}
