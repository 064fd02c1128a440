//! Rebuilding: recipe and source → an OCI layout, and what is known of how it came about.
//!
//! Comes in: a recipe made out for a platform, the source, and the encoding to
//! write. Goes out: a new layout, or why the source's own instructions lead to
//! none. Nothing of the published image is used but that encoding, and nothing
//! is run or fetched by the recipe kinds here.

pub(crate) mod dockerfile;
mod git_layout;
mod layer;
mod output;
pub mod replay;
pub mod sandbox;
mod scratch;
mod spool;
mod tree;
mod unpack;

use std::{collections::BTreeMap, io, path::PathBuf};

pub use dockerfile::SyntaxError;
pub use output::Output;

use crate::{
    dialect::{
        Compressor,
        json::{self, BlobName, LayerForm},
    },
    digest::Digest,
    facts::{
        BuildFailure, Built, BuiltLayer, Counterfactual, CounterfactualLayer, Encoding, Outcome,
    },
    image::{EntryPath, Platform},
    progress::Progress,
    recipe::Build,
    source::{self, Source},
};

/// What to rebuild.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// How, as the recipe says for the platform.
    pub build: &'a Build,
    /// The source at the revision.
    pub source: &'a Source,
    /// What the image is to run on.
    pub platform: &'a Platform,
    /// What to write layers, config and manifest with, where they are made here.
    pub encoding: Encoding,
    /// How the builder got at the source's files.
    pub context: Context,
}

/// How a builder gets at the source's files, which decides their modes.
///
/// Times are the builder's own in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
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
        })
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
    let built = match request.build {
        Build::GitLayout { layout, tag } => git_layout::copy(
            request.source,
            request.platform,
            layout,
            tag.as_deref(),
            &mut writer,
            task.as_ref(),
        ),
        Build::Scratch {
            dockerfile,
            context,
            source_date_epoch,
        } => {
            let plan = plan(
                request,
                dockerfile,
                context,
                source_date_epoch.at(request.source.facts().committed_at),
            );
            scratch_image(plan, &mut writer, task.as_ref())
        }
    };
    match built {
        Ok(built) => {
            writer.finish()?;
            Ok(Outcome::Built(built))
        }
        Err(Stop::Failed(failure)) => Ok(Outcome::Failed(failure)),
        Err(Stop::Error(error)) => Err(error),
    }
}

/// Says what the layers would be if made times were the published ones.
///
/// `published` has, for each layer, the published mtimes in seconds by path;
/// only entries in [`BuiltLayer::made_times`] take them. Nothing is written.
/// `None` where the recipe's kind makes up no times or the build fails.
pub fn counterfactual(
    request: &Request<'_>,
    published: &[BTreeMap<EntryPath, i64>],
) -> Result<Option<Counterfactual>, Error> {
    let Build::Scratch {
        dockerfile,
        context,
        source_date_epoch,
    } = request.build
    else {
        return Ok(None);
    };
    let plan = plan(
        request,
        dockerfile,
        context,
        source_date_epoch.at(request.source.facts().committed_at),
    );
    match scratch::build(plan, &mut HashedLayers { published }) {
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

fn plan<'a>(
    request: &Request<'a>,
    dockerfile: &'a str,
    context: &'a str,
    now: i64,
) -> scratch::Plan<'a> {
    scratch::Plan {
        source: request.source,
        dockerfile,
        context,
        context_kind: request.context,
        platform: request.platform,
        encoding: request.encoding,
        now,
    }
}

/// Builds the image and writes config, manifest and index beside its layers.
fn scratch_image(
    plan: scratch::Plan<'_>,
    writer: &mut output::Writer,
    task: &dyn crate::progress::Task,
) -> Result<Built, Stop> {
    let image = scratch::build(plan, &mut WrittenLayers { writer, task })?;
    let dialect = plan.encoding.dialect;
    let config = image.config.bytes(dialect);
    let config_digest = writer.blob(&config)?;
    let layers: Vec<BlobName> = image
        .layers
        .iter()
        .map(|layer| BlobName {
            digest: layer.digest,
            size: layer.size,
        })
        .collect();
    let form = match plan.encoding.compressor {
        Compressor::Uncompressed => LayerForm::Tar,
        Compressor::GoGzip(_) => LayerForm::Gzip,
    };
    let name = BlobName {
        digest: config_digest,
        size: config.len() as u64,
    };
    let (manifest, media_type) = json::manifest(dialect, name, &layers, form);
    let manifest_digest = writer.blob(&manifest)?;
    writer.index(&output::ManifestName {
        media_type: &media_type,
        digest: manifest_digest,
        size: manifest.len() as u64,
        platform: plan.platform,
    })?;
    Ok(Built {
        manifest: manifest_digest,
        config: config_digest,
        layers: image.layers,
        encoding: Some(plan.encoding),
        inputs: image.inputs,
    })
}

/// Writes layers into the output.
struct WrittenLayers<'a> {
    writer: &'a mut output::Writer,
    task: &'a dyn crate::progress::Task,
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

/// Returns the digest of `bytes` where it is `expected`.
fn verified(path: &str, bytes: &[u8], expected: Digest) -> Result<(), Error> {
    let actual = Digest::of(bytes);
    if actual == expected {
        Ok(())
    } else {
        Err(Error::Layout {
            path: path.to_owned(),
            problem: format!("should be {expected} but is {actual}"),
        })
    }
}
