//! Source: a URL or path and a revision become a commit, and the commit its files.
//!
//! The revision is resolved to a commit and a tree id before anything else is
//! read. Everything then comes from the object database, each object hashed
//! again as it is read: no working tree, index, hook, filter, attribute,
//! replace reference or graft has a say, and nothing of the source is run. A
//! repository on this machine is read where it lies and never written to; a
//! remote one is kept in a cache folder.
//!
//! git2 is used here and nowhere else, and for objects and local references
//! only: what goes over the network is spoken by the `remote` module, so no
//! second TLS library, credential helper or `insteadOf` rule is in play.
//!
//! Says who a commit claims to be from, and judges none of it: whether a source
//! is to be believed is the verdict's question.

mod id;
mod location;
mod objects;
mod pkt_line;
mod remote;
mod revision;
mod server;
mod tree;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use id::{CommitId, MalformedId, ObjectId, TreeId};
pub use location::{MalformedMirror, Mirror, redacted};
pub use tree::{TreeEntry, TreeEntryKind};

use self::{
    location::Location,
    objects::{Local, Objects, References},
    revision::Named,
};
use crate::progress::Progress;

/// What to check out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The repository: an `https`, `http` or `file` URL, or a path.
    ///
    /// A path leads to a bare repository, the top of a working tree, or a
    /// linked working tree.
    pub location: String,
    /// A branch, a tag, a full or abbreviated commit, `HEAD`, or a full name such as `refs/tags/v1`.
    pub revision: String,
    /// Beginnings of locations to be replaced; the longest that fits counts.
    pub mirrors: Vec<Mirror>,
}

/// A commit of a repository, and its files.
pub struct Source {
    objects: Objects,
    facts: Facts,
}

/// What the report says of the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// The repository as it was named, without a password.
    pub named: String,
    /// The repository that was read, after mirrors and redirections, without a password.
    pub contacted: String,
    /// The revision as it was asked for.
    pub revision: String,
    /// What the revision turned out to be.
    pub resolution: Resolution,
    /// The commit.
    pub commit: CommitId,
    /// The commit's tree.
    pub tree: TreeId,
    /// When the commit says that it was committed, in seconds since the epoch.
    pub committed_at: i64,
    /// Who the commit says wrote it, as `name <address>`; anyone can write anything here.
    pub author: String,
    /// Whether a branch or tag of the repository leads to the commit.
    pub reachability: Reachability,
    /// Whether the repository's history is cut off.
    pub history: History,
    /// The submodules of the tree, by path; their files are not read.
    pub submodules: Vec<Submodule>,
    /// Whether the commit carries a signature.
    pub signature: Signature,
}

/// What a revision turned out to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Resolution {
    /// A branch, which may move.
    Branch {
        /// Its name, without `refs/heads/` or `refs/remotes/`.
        name: String,
    },
    /// A tag, which should not move.
    Tag {
        /// Its name, without `refs/tags/`.
        name: String,
    },
    /// What the repository shows first.
    Head {
        /// The branch it is, `None` where it is no branch.
        branch: Option<String>,
    },
    /// A commit by its full id.
    Commit,
    /// A commit by the beginning of its id.
    AbbreviatedCommit,
}

/// Whether a branch or tag of the repository leads to the commit.
///
/// Hosts also serve commits of forks and pull requests under the repository's
/// name, so a commit that none leads to may be anybody's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Reachability {
    /// One does.
    From {
        /// Its full name, such as `refs/heads/main`.
        reference: String,
    },
    /// None does.
    Unreachable,
    /// None does as far as history goes, but it is cut off.
    HistoryCutOff,
}

/// How much of its history a repository has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum History {
    /// All of it.
    Complete,
    /// It is shallow: commits before some are left out.
    Shallow,
}

/// Another repository's commit within the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Submodule {
    /// Where it belongs, from the top of the tree.
    pub path: String,
    /// Where `.gitmodules` says that it comes from, without a password.
    pub url: Option<String>,
    /// The commit of that repository.
    pub commit: ObjectId,
}

/// Whether a commit carries a signature. None is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Signature {
    /// It carries none.
    Absent,
    /// An `OpenPGP` signature, unverified.
    OpenPgp,
    /// An SSH signature, unverified.
    Ssh,
    /// A CMS (X.509) signature, unverified.
    X509,
    /// A signature of another kind, unverified.
    Unknown,
}

/// Why a source could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No source was named.
    #[error("the source is empty: give a URL or a path")]
    EmptyLocation,
    /// The text has the look of a URL and is none.
    #[error("{url} is not a URL")]
    MalformedUrl {
        /// The text, without a password.
        url: String,
        /// What the parser said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file URL names another machine.
    #[error("{url} names no file of this machine (file:///path)")]
    RemoteFileUrl {
        /// The URL.
        url: String,
    },
    /// The location is reached in a way that is not supported.
    #[error(
        "{location} is reached by {scheme}, which reprove does not speak: clone it and give the path, by itself or with a source mirror"
    )]
    UnsupportedScheme {
        /// The location, without a password.
        location: String,
        /// The way.
        scheme: String,
    },
    /// A path is not UTF-8, which libgit2 cannot open.
    #[error("{} cannot be opened: the path is not UTF-8", path.display())]
    UnreadablePath {
        /// The path.
        path: PathBuf,
    },
    /// There is something at the path, but no repository.
    #[error("{} is not a git repository (give the top of a working tree, or a bare repository)", path.display())]
    NotARepository {
        /// The path.
        path: PathBuf,
    },
    /// A file of the repository or the cache could not be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// libgit2 could not read something that is there.
    #[error("cannot read {what}")]
    Git {
        /// What was read.
        what: String,
        /// What libgit2 said.
        source: GitError,
    },
    /// An object that something else names is not there.
    #[error("{repository} lacks {what}")]
    MissingObject {
        /// The object.
        what: String,
        /// The repository.
        repository: String,
    },
    /// The server could not be reached, or broke off.
    #[error("cannot get {url}")]
    Http {
        /// The URL, without a password.
        url: String,
        /// What the client said.
        source: reqwest::Error,
    },
    /// The server answered with something else than success.
    #[error("{url} answers {status}{}", advice(*.status))]
    Status {
        /// The URL, without a password.
        url: String,
        /// The HTTP status.
        status: reqwest::StatusCode,
    },
    /// The server answers, but not as a git server.
    #[error("{url} is not served by git's smart HTTP: it answers with {content_type}")]
    NotAGitServer {
        /// The URL, without a password.
        url: String,
        /// The content type of the answer.
        content_type: String,
    },
    /// The server does not keep to the protocol.
    #[error("{url} answers with {problem}")]
    Protocol {
        /// The URL, without a password.
        url: String,
        /// What is wrong, as the rest of a sentence.
        problem: String,
    },
    /// The answer ended early.
    #[error("the answer of {url} breaks off")]
    Interrupted {
        /// The URL, without a password.
        url: String,
        /// What the system or client said.
        source: std::io::Error,
    },
    /// The server refused the request in git's own words.
    #[error("{url} refuses: {message}")]
    Refused {
        /// The URL, without a password.
        url: String,
        /// What the server said.
        message: String,
    },
    /// No branch, tag or commit has that name.
    #[error(
        "{repository} has no branch, tag or commit {revision}{}",
        did_you_mean(similar)
    )]
    NoSuchRevision {
        /// The revision as asked for.
        revision: String,
        /// The repository, without a password.
        repository: String,
        /// Names that come near.
        similar: Vec<String>,
    },
    /// Several things have that name.
    #[error("{revision} is ambiguous in {repository}: {}", candidates.join(", "))]
    AmbiguousRevision {
        /// The revision as asked for.
        revision: String,
        /// The repository, without a password.
        repository: String,
        /// What it could be.
        candidates: Vec<String>,
    },
    /// The revision looks like a commit, with too few digits.
    #[error("{revision} is no branch or tag, and too short for a commit: give at least 7 digits")]
    ShortRevision {
        /// The revision as asked for.
        revision: String,
    },
    /// The revision leads to no commit.
    #[error("{id} is a {kind}, not a commit")]
    NotACommit {
        /// The object's id.
        id: String,
        /// What it is.
        kind: String,
    },
    /// The commit has no such file.
    #[error("commit {commit} has no {path}")]
    NoSuchPath {
        /// The path as asked for.
        path: String,
        /// The commit.
        commit: CommitId,
    },
    /// A path leads to something of another kind.
    #[error("{path} is {actual}, not {expected}")]
    WrongKind {
        /// The path.
        path: String,
        /// What was wanted.
        expected: TreeEntryKind,
        /// What is there.
        actual: TreeEntryKind,
    },
    /// A path leads out of the tree.
    #[error("{path} leads out of the source tree")]
    PathEscapes {
        /// The path as asked for.
        path: String,
    },
    /// A path leads through too many symbolic links, or round in a circle.
    #[error("{path} leads through more than {} symbolic links", tree::MOST_LINKS)]
    TooManyLinks {
        /// The path as asked for.
        path: String,
    },
    /// A tree holds a name or mode that git does not make.
    #[error("the directory {path:?} of the source has an entry {name:?} that git does not make")]
    ForgedTree {
        /// The directory.
        path: String,
        /// The name of the entry.
        name: String,
    },
    /// The tree has a Git LFS pointer where the file should be.
    #[error(
        "{path} is kept in Git LFS ({oid}, {size} bytes): its contents are not in the repository"
    )]
    LfsPointer {
        /// The file.
        path: String,
        /// The object as the pointer names it.
        oid: String,
        /// Its size in bytes.
        size: u64,
    },
}

/// What libgit2 said, without its numbers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct GitError {
    message: String,
}

impl From<git2::Error> for GitError {
    fn from(error: git2::Error) -> Self {
        Self {
            message: error.message().to_owned(),
        }
    }
}

fn did_you_mean(similar: &[String]) -> String {
    if similar.is_empty() {
        String::new()
    } else {
        format!(" (there is {})", similar.join(", "))
    }
}

fn advice(status: reqwest::StatusCode) -> &'static str {
    match status.as_u16() {
        401 | 403 => {
            ": it may be private, then clone it and give the path, or put user and password into the URL"
        }
        404 => ": there is no such repository, or it is private",
        _ => "",
    }
}

/// Returns how a path or name of the tree is shown.
fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Source {
    /// Resolves the revision and makes its files available.
    ///
    /// A remote repository is kept below `cache`, by its URL; several processes
    /// may use one cache at once. The remote is always asked what its branches
    /// and tags are; files are fetched once.
    ///
    /// The commit is not judged: [`Facts::reachability`] may be
    /// [`Reachability::Unreachable`].
    pub fn checkout(
        request: &Request,
        cache: &Path,
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        let contacted = location::mirrored(&request.location, &request.mirrors);
        let named = redacted(&request.location);
        match Location::parse(&contacted)? {
            Location::Local(path) => {
                let contacted = redacted(&contacted);
                let local = Local::open(&path, &contacted)?;
                let (commit, resolution) = local.resolve(&request.revision)?;
                let history = if local.shallow {
                    History::Shallow
                } else {
                    History::Complete
                };
                Self::assemble(
                    local.objects,
                    &local.references,
                    Checked {
                        named,
                        contacted,
                        revision: request.revision.clone(),
                        resolution,
                        commit,
                        history,
                    },
                    progress,
                )
            }
            Location::Http(url) => {
                let fetched = remote::fetch(
                    &url,
                    &redacted(&contacted),
                    &request.revision,
                    cache,
                    progress,
                )?;
                Self::assemble(
                    fetched.objects,
                    &fetched.references,
                    Checked {
                        named,
                        contacted: fetched.contacted,
                        revision: request.revision.clone(),
                        resolution: fetched.resolution,
                        commit: fetched.commit,
                        history: fetched.history,
                    },
                    progress,
                )
            }
        }
    }

    fn assemble(
        objects: Objects,
        references: &References,
        checked: Checked,
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        let reachability = revision::reachability(&objects, checked.commit, references, progress)?;
        let facts = {
            let repository = objects.lock();
            let commit = repository
                .find_commit(checked.commit)
                .map_err(|source| objects.failed(format!("commit {}", checked.commit), source))?;
            let author = commit.author();
            Facts {
                named: checked.named,
                contacted: checked.contacted,
                revision: checked.revision,
                resolution: checked.resolution,
                commit: CommitId::new(checked.commit),
                tree: TreeId::new(commit.tree_id()),
                committed_at: commit.time().seconds(),
                author: format!(
                    "{} <{}>",
                    show(author.name_bytes()),
                    show(author.email_bytes())
                ),
                reachability,
                history: checked.history,
                submodules: Vec::new(),
                signature: signature(&commit),
            }
        };
        let mut source = Self { objects, facts };
        source.facts.submodules = tree::submodules(&source)?;
        Ok(source)
    }

    /// Returns what the report says of this source.
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Returns the commit.
    pub const fn commit(&self) -> CommitId {
        self.facts.commit
    }

    /// Returns the commit's tree.
    pub const fn tree(&self) -> TreeId {
        self.facts.tree
    }

    /// Returns when the commit says that it was committed, in seconds since the epoch.
    pub const fn committed_at(&self) -> i64 {
        self.facts.committed_at
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}

/// What is known of a source once its revision is resolved.
struct Checked {
    named: String,
    contacted: String,
    revision: String,
    resolution: Resolution,
    commit: git2::Oid,
    history: History,
}

impl Local {
    fn resolve(&self, revision: &str) -> Result<(git2::Oid, Resolution), Error> {
        match revision::name(revision, &self.references, self.objects.name())? {
            Named::Reference { resolution, id } => {
                Ok((revision::peel(&self.objects, id)?, resolution))
            }
            Named::Full(id) if self.objects.has(id) => {
                Ok((revision::peel(&self.objects, id)?, Resolution::Commit))
            }
            Named::Full(_) => Err(revision::no_such(
                revision,
                &self.references,
                self.objects.name(),
            )),
            Named::Abbreviated(digits) => {
                let commit = revision::complete(&self.objects, &digits, &self.references)?;
                Ok((commit, Resolution::AbbreviatedCommit))
            }
        }
    }
}

fn signature(commit: &git2::Commit<'_>) -> Signature {
    let Ok(field) = commit.header_field_bytes("gpgsig") else {
        return Signature::Absent;
    };
    let starts = |beginning: &[u8]| field.trim_ascii_start().starts_with(beginning);
    if starts(b"-----BEGIN PGP") {
        Signature::OpenPgp
    } else if starts(b"-----BEGIN SSH SIGNATURE") {
        Signature::Ssh
    } else if starts(b"-----BEGIN SIGNED MESSAGE") {
        Signature::X509
    } else {
        Signature::Unknown
    }
}
