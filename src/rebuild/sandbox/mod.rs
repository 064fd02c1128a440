//! Sandbox: one command in a root file system → how it ended and what it wrote.
//!
//! Comes in: the directory of a root file system, a command, and what it may
//! use. Goes out: how the command ended, its last lines, and the digest of the
//! bundle that it ran as. The directory then holds what the command made of it,
//! and none of the mount points.
//!
//! What isolates is an OCI runtime of the host: runc, crun or youki, whichever
//! proves to work. It is given a bundle whose `config.json` says everything:
//! nothing of the host's environment, files, network or names is inside but
//! what the job asks for. As root the container has no user namespace, so that
//! device nodes can be made; without root it has one with subordinate ids.
//!
//! A job that asks for it reaches one socket of the host by a port on loopback
//! (the module `relay`), and nothing else outside.
//!
//! Not done here: making the root file system and reading the result; answering
//! requests, which is `replay`'s.

mod bundle;
mod host;
mod ids;
mod points;
mod relay;
mod run;
mod runtime;
mod seccomp;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

pub use bundle::Bundle;
pub use host::RootDirectory;
pub use ids::{IdMap, IdRange, NoIds, Subordinate};
pub use relay::can_relay;
pub use run::stop;
pub use runtime::{NoRuntime, Runtime, Unusable, find_each};

/// A command to run, and all that it may use.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// The directory of the root file system, which the command changes.
    pub root: &'a Path,
    /// The program and its arguments; a name without `/` is looked for in `PATH` of `environment`.
    pub arguments: &'a [String],
    /// The variables; `TZ`, `LC_ALL` and `HOME` are added where they are not among them.
    pub environment: &'a BTreeMap<String, String>,
    /// The working directory inside, absolute; made where it is missing.
    pub directory: &'a str,
    /// As whom it runs.
    pub user: User,
    /// What of the host is seen inside.
    pub mounts: &'a [Mount<'a>],
    /// What sockets it has.
    pub network: Network<'a>,
    /// The name of the machine that it sees.
    pub hostname: &'a str,
    /// What it may use up.
    pub limits: Limits,
}

/// As whom a command runs, by the ids inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct User {
    /// The user; 0 has the capabilities that a Docker build gives.
    pub uid: u32,
    /// The group; there are no supplementary groups.
    pub gid: u32,
}

/// A directory or file of the host that is seen inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mount<'a> {
    /// The directory or file on the host.
    pub source: &'a Path,
    /// Where it is inside, absolute; links there are followed within the root.
    pub destination: &'a str,
    /// Whether it may be changed.
    pub access: Access,
}

/// Whether a mount may be changed from inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing can be changed; programs are not set-user-ID there.
    ReadOnly,
    /// Changes are made on the host.
    Writable,
}

/// What sockets there are inside; never any to the outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network<'a> {
    /// Unix sockets only: the internet protocols are not there at all.
    None,
    /// Also 127.0.0.1 and `::1` of the container's own, as in a Docker build without network.
    Loopback,
    /// As [`Self::Loopback`], and what is sent to [`RELAY_PORT`] comes to a socket of this host.
    Relayed(Relay<'a>),
}

/// Where requests from inside are passed on to, and whom they are to trust there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relay<'a> {
    /// A Unix socket of this host that takes connections; its name has letters and digits only.
    pub socket: &'a Path,
    /// A PEM file of certificates, which is seen inside at [`AUTHORITY`].
    ///
    /// It is also put over [`DISTRIBUTION_AUTHORITIES`], where the root has that
    /// file, since programs that use `GnuTLS` take no other. A command that
    /// replaces that file, such as `update-ca-certificates`, fails with it.
    pub authority: &'a Path,
}

/// The port of 127.0.0.1 inside that is relayed.
pub const RELAY_PORT: u16 = 3128;
/// Where the certificates of a [`Relay`] are inside.
pub const AUTHORITY: &str = "/run/reprove/ca.pem";
/// Where Debian, Ubuntu and Alpine have the certificates that all programs trust.
pub const DISTRIBUTION_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What a command may use up before it is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Memory of all processes together; swap is not used.
    pub memory_in_bytes: u64,
    /// Processes and threads at one time.
    pub processes: u32,
    /// From start to end.
    pub duration: Duration,
    /// What is written to standard output and standard error together.
    pub log_in_bytes: u64,
}

impl Default for Limits {
    /// Room for a large compilation: 8 GiB, 4096 processes, two hours, 64 MiB of output.
    fn default() -> Self {
        Self {
            memory_in_bytes: 8 << 30,
            processes: 4096,
            duration: Duration::from_secs(2 * 60 * 60),
            log_in_bytes: 64 << 20,
        }
    }
}

/// A command that was run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// How it ended.
    pub outcome: Finished,
    /// All that it was given, equal for equal jobs wherever they run.
    pub bundle: Bundle,
    /// The last lines of its output, for an error message; long ones are cut.
    pub last_lines: Vec<String>,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// With status 0.
    Succeeded,
    /// With another status; 127 also where the program is not there or is none.
    Failed {
        /// The exit status.
        status: u8,
    },
    /// By a signal; a shell that tells of one does so by a status above 128.
    Signalled {
        /// The signal's number.
        signal: u8,
    },
    /// [`Limits::duration`] went by.
    TimedOut,
    /// It failed after the kernel ended a process of it for [`Limits::memory_in_bytes`].
    OutOfMemory,
    /// More than [`Limits::log_in_bytes`] was written.
    LogFull,
    /// The caller, or [`stop`], wanted no more of it.
    Cancelled,
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Succeeded => f.write_str("succeeded"),
            Self::Failed { status } => write!(f, "ended with status {status}"),
            Self::Signalled { signal } => write!(f, "was ended by signal {signal}"),
            Self::TimedOut => f.write_str("took too long"),
            Self::OutOfMemory => f.write_str("ran out of memory"),
            Self::LogFull => f.write_str("wrote too much output"),
            Self::Cancelled => f.write_str("was cancelled"),
        }
    }
}

/// Why it could not be found out how a command ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that the sandbox needs could not be used.
    #[error("cannot use {}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The job asks for what cannot be.
    #[error("{what} should be {expected} but is {actual:?}")]
    BadJob {
        /// The part of the job.
        what: &'static str,
        /// What is asked of it.
        expected: &'static str,
        /// What it is.
        actual: String,
    },
    /// A mount cannot be put where it should go.
    #[error("cannot mount at {destination} in {}: {problem}", root.display())]
    MountPoint {
        /// The directory of the root file system.
        root: PathBuf,
        /// The place inside.
        destination: String,
        /// What is in the way.
        problem: String,
    },
    /// The bundle could not be described.
    #[error("cannot write config.json of the bundle")]
    Config(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A program could not be started.
    #[error("cannot start {program}")]
    Program {
        /// Its name or path.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program of the host that the job needs is not there.
    #[error(
        "{program} is not installed (Debian package {package}), \
         and a job whose requests are answered needs it"
    )]
    NoProgram {
        /// Its name.
        program: &'static str,
        /// The package that has it.
        package: &'static str,
    },
    /// Nothing of the container would come to the socket.
    #[error("cannot relay requests out of the container: {said}")]
    Relay {
        /// What the relay said.
        said: String,
    },
    /// The runtime did not get as far as the command.
    #[error("{runtime} cannot run the container: {said}")]
    Runtime {
        /// Its name.
        runtime: &'static str,
        /// What it said.
        said: String,
    },
    /// What was run to handle files by their owners inside did not work.
    #[error("cannot {what}: it {outcome}: {said}")]
    Tool {
        /// What it was to do.
        what: String,
        /// How it ended.
        outcome: Finished,
        /// What it said last.
        said: String,
    },
    /// The program was interrupted.
    #[error("it was interrupted")]
    Cancelled,
    /// The command could not be waited for.
    #[error("cannot wait for the command to end")]
    Reaper {
        /// What the system said.
        source: io::Error,
    },
    /// The output of the command could not be read or passed on.
    #[error("cannot pass on the output of the command")]
    Log {
        /// What the system said.
        source: io::Error,
    },
}

/// Says which file the system's error is about.
fn cannot_use(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { path, source }
}
