//! Facts: what a rebuild was, as plain data for whoever judges and reports it.
//!
//! Nothing here is computed: [`crate::rebuild`] fills it in.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::dialect::Inferred;
use crate::{
    dialect::{Compressor, TarDialect},
    digest::{DiffId, Digest},
    image::{EntryPath, Layer},
};

/// How a rebuild ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// There is an image.
    Built(Built),
    /// The source's own instructions do not lead to an image.
    Failed(BuildFailure),
}

/// Why there is no image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BuildFailure {
    /// What was being done, such as `x86_64/Dockerfile line 2: COPY a /`.
    pub step: String,
    /// Why it could not be done.
    pub problem: String,
    /// The digest of all that the build's commands wrote, which is in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Digest>,
}

/// An image that was made, and what is known of how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The platform's manifest.
    pub manifest: Digest,
    /// The config.
    pub config: Digest,
    /// The layers, base first.
    pub layers: Vec<BuiltLayer>,
    /// What the layers were written with; `None` where they were taken as they are.
    pub encoding: Option<Encoding>,
    /// The files of the source that went into the image, by path from the top of the tree.
    pub inputs: BTreeMap<String, Input>,
    /// What commands were run in; `None` where none were.
    pub environment: Option<Box<Environment>>,
    /// Files that were built in place of those that the source tree has, by path there.
    pub replaced: BTreeMap<String, Vec<u8>>,
    /// What the contents of its files equal, where that was looked for.
    pub providers: BTreeMap<Digest, Provider>,
    /// The layers that were read on the way, out of the very bytes that the image has, so that
    /// they need not be read again; none where the layers were written here.
    pub scanned: Vec<Arc<Layer>>,
}

/// What a file's content was seen to equal, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Provider {
    /// A file of a package that the build was given.
    Package {
        /// The package's name.
        name: String,
        /// Its version.
        version: String,
    },
    /// A file of the source tree.
    Source {
        /// Its path from the top of the tree.
        path: String,
    },
    /// A file that the lock pins.
    Pinned {
        /// Its name there.
        name: String,
    },
}

impl std::fmt::Display for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Package { name, version } => write!(f, "{name} {version}"),
            Self::Source { path } => write!(f, "{path} of the source tree"),
            Self::Pinned { name } => write!(f, "{name}, which the lock pins"),
        }
    }
}

/// What the commands of a build were run in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Environment {
    /// What isolates them.
    pub sandbox: Sandbox,
    /// The root file system of the lock's packages; `None` where none are pinned.
    pub toolchain: Option<Toolchain>,
    /// The commands, in order; those that make the toolchain first.
    pub steps: Vec<Step>,
    /// The requests of the commands that were answered from the lock, by name of the pin.
    #[serde(default)]
    pub requests: Vec<Answered>,
    /// The digest of all that they wrote, which is in the store.
    pub log: Digest,
    /// Whether they were run now.
    pub freshness: Freshness,
}

/// A request of a command that was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answered {
    /// The URL that was asked for.
    pub url: String,
    /// The digest of what was given.
    pub digest: Digest,
}

/// The root file system that commands were run in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Toolchain {
    /// The digest of its tar, which is in the store.
    pub root: Digest,
    /// Whether it was made now.
    pub freshness: Freshness,
}

/// Whether something was done in this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Freshness {
    /// It was.
    Fresh,
    /// The result of an earlier run with the same inputs was taken.
    Cached,
}

/// What layers are written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    /// The tar writer and with it the JSON writer.
    pub dialect: TarDialect,
    /// The compressor.
    pub compressor: Compressor,
}

/// A file of the source that went into the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Input {
    /// The hash of its bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// What it counts as.
    pub origin: Origin,
}

/// One layer that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltLayer {
    /// The hash of its compressed bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// The hash of its tar.
    pub diff_id: DiffId,
    /// The tar's size in bytes.
    pub uncompressed_size: u64,
    /// What made it, such as `x86_64/Dockerfile line 2: ADD a.tar.gz /`.
    pub step: String,
    /// Where each of its entries comes from.
    pub origins: BTreeMap<EntryPath, Origin>,
    /// Bytes of file content by where they come from; a hard link's count once.
    pub bytes: BTreeMap<Origin, u64>,
    /// The entries whose mtime a builder makes up: the time of its checkout or
    /// of the build itself. Here it is the commit's time.
    pub made_times: BTreeSet<EntryPath>,
}

/// Where bytes come from: design section 3, question 2.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Made by the build here.
    Built,
    /// Text in the source tree.
    Tree,
    /// Unchanged from a distribution's package, which a signed index was seen to lead to.
    Packaged,
    /// Unchanged from a distribution's package, for which no signature was seen.
    PackagedUnsigned,
    /// A binary, archive or layout committed to the tree or pinned by hash alone.
    Opaque,
    /// A base image taken as it is.
    Base,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Built => "built",
            Self::Tree => "tree",
            Self::Packaged => "packaged",
            Self::PackagedUnsigned => "packaged (unsigned)",
            Self::Opaque => "opaque",
            Self::Base => "base",
        })
    }
}

/// A command that was run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// What it is called, such as `Dockerfile line 3: RUN make`.
    pub name: String,
    /// The digest of the bundle that it ran as: all that it was given.
    pub bundle: Digest,
}

/// What commands were run in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sandbox {
    /// The OCI runtime, such as `runc`.
    pub runtime: String,
    /// What it says of its version.
    pub version: String,
    /// With what rights on the host.
    pub privileges: Privileges,
    /// What holds memory and processes to their limits.
    pub limited_by: LimitedBy,
}

/// With what rights on the host a sandbox is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Privileges {
    /// As root, without a user namespace: device nodes can be made.
    Root,
    /// As a user, with subordinate ids in a user namespace: none can be made.
    Rootless,
}

/// What holds a command to its limits of memory and processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LimitedBy {
    /// Both by a control group; swap is not used.
    ControlGroup,
    /// Both by a control group, which does not count swap.
    ControlGroupWithoutSwap,
    /// The processes by their user's resource limit; memory by nothing.
    ResourceLimits,
}

/// What would be if the builder's own times had been known; never a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counterfactual {
    /// For each layer, what it is with the published times in place of the made ones.
    pub layers: Vec<CounterfactualLayer>,
}

/// One layer with the published times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CounterfactualLayer {
    /// The hash of its tar.
    pub diff_id: DiffId,
    /// The hash of its compressed bytes.
    pub digest: Digest,
    /// How many entries took a published time.
    pub times_taken: usize,
}
