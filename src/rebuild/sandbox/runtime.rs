//! Runtimes: the OCI runtimes of this host, and which of them really works.
//!
//! That a runtime is installed says little: crun 1.8 fails where control
//! groups are of both versions, and without root all depends on subordinate
//! ids. So each is given a small job, as much of it limited as can be.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use super::{
    Error, Finished, Limits,
    bundle::Means,
    ids::{NoIds, Subordinate},
};
use crate::{
    facts::{self, LimitedBy},
    rebuild::with_causes,
};

/// The runtimes that are looked for, the most used first.
const NAMES: [&str; 3] = ["runc", "crun", "youki"];
/// Where a user's PATH may not lead.
const FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// What the job that tries a runtime may use up.
const SMALL: Limits = Limits {
    memory_in_bytes: 64 << 20,
    processes: 64,
    duration: Duration::from_secs(20),
    log_in_bytes: 1 << 16,
};

/// An OCI runtime that has run a job here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    name: &'static str,
    program: PathBuf,
    version: String,
    ids: Option<Subordinate>,
    namespace: Namespace,
    limits: LimitedBy,
}

/// Whose root a process with user 0 is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Namespace {
    /// The machine's.
    Initial,
    /// That of a user namespace, such as a rootless container.
    User,
}

/// Why a runtime is of no use here.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// There is no such program, or none that this user may run.
    #[error("is not installed")]
    NotInstalled,
    /// Without root there must be subordinate ids.
    #[error("cannot be used without root: {0}")]
    NoIds(NoIds),
    /// It cannot be run, or it cannot run a container.
    #[error("does not work: {}", with_causes(.0))]
    Broken(Error),
    /// The container did not do what it should.
    #[error("does not work: true in a container {outcome}{}", after_colon(.said))]
    Wrong {
        /// How `true` ended.
        outcome: Finished,
        /// What was said last.
        said: Vec<String>,
    },
}

/// Why there is no runtime to use.
#[derive(Debug)]
pub struct NoRuntime(pub Vec<(&'static str, Unusable)>);

impl fmt::Display for NoRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no OCI runtime works here")?;
        for (index, (name, why)) in self.0.iter().enumerate() {
            let separator = if index == 0 { ": " } else { "; " };
            write!(f, "{separator}{name} {why}")?;
        }
        Ok(())
    }
}

impl std::error::Error for NoRuntime {}

fn after_colon(said: &[String]) -> String {
    said.last()
        .map_or_else(String::new, |said| format!(": {said}"))
}

/// Tries each runtime that reprove knows; `scratch` is a directory to do that in.
pub fn find_each(scratch: &Path) -> Vec<(&'static str, Result<Runtime, Unusable>)> {
    NAMES
        .into_iter()
        .map(|name| (name, Runtime::named(name, scratch)))
        .collect()
}

impl Runtime {
    /// Returns the first runtime that works; `scratch` is a directory to try in.
    pub fn find(scratch: &Path) -> Result<Self, NoRuntime> {
        let mut unusable = Vec::new();
        for name in NAMES {
            match Self::named(name, scratch) {
                Ok(runtime) => return Ok(runtime),
                Err(why) => unusable.push((name, why)),
            }
        }
        Err(NoRuntime(unusable))
    }

    /// Tries one runtime.
    fn named(name: &'static str, scratch: &Path) -> Result<Self, Unusable> {
        let (program, version) = installed(name)?;
        let root = rustix::process::geteuid().is_root();
        let ids = if root {
            None
        } else {
            Some(Subordinate::of_this_user().map_err(Unusable::NoIds)?)
        };
        Self {
            name,
            version,
            ids,
            namespace: namespace(),
            limits: LimitedBy::ControlGroup,
            program,
        }
        .tried(scratch)
    }

    /// Returns it in a user namespace, as it is where there is no root to run it.
    ///
    /// Root inside stays this user, and the others are subordinate ids; where this is root, whom
    /// nobody need give any, they are ids that nobody is given as a rule.
    pub fn in_user_namespace(&self, scratch: &Path) -> Result<Self, Unusable> {
        let ids = match Subordinate::of_this_user() {
            Err(NoIds::TooFew { .. }) if rustix::process::geteuid().is_root() => {
                Subordinate::of_nobody()
            }
            ids => ids.map_err(Unusable::NoIds)?,
        };
        Self {
            ids: Some(ids),
            limits: LimitedBy::ControlGroup,
            ..self.clone()
        }
        .tried(scratch)
    }

    /// Tries it with what limits memory and processes best first.
    fn tried(mut self, scratch: &Path) -> Result<Self, Unusable> {
        let works = |runtime: &Self| match runtime.try_out(SMALL, scratch) {
            Ok(ran) if ran.outcome == Finished::Succeeded => Ok(()),
            Ok(ran) => Err(Unusable::Wrong {
                outcome: ran.outcome,
                said: ran.last_lines,
            }),
            Err(error) => Err(Unusable::Broken(error)),
        };
        let Err(why) = works(&self) else {
            return Ok(self);
        };
        let others: &[LimitedBy] = if self.ids.is_none() && self.namespace == Namespace::Initial {
            // The control group is also what keeps root from the host's devices.
            &[LimitedBy::ControlGroupWithoutSwap]
        } else {
            &[
                LimitedBy::ControlGroupWithoutSwap,
                LimitedBy::ResourceLimits,
            ]
        };
        for &limits in others {
            self.limits = limits;
            if works(&self).is_ok() {
                return Ok(self);
            }
        }
        Err(why)
    }

    /// Returns what a report says of the sandbox.
    pub fn facts(&self) -> facts::Sandbox {
        facts::Sandbox {
            runtime: self.name.to_owned(),
            version: self.version.clone(),
            privileges: match (&self.ids, self.namespace) {
                (None, Namespace::Initial) => facts::Privileges::Root,
                (Some(_), _) | (None, Namespace::User) => facts::Privileges::Rootless,
            },
            limited_by: self.limits,
        }
    }

    /// Returns what the ids inside stand for; `None` where they stand for themselves.
    pub const fn ids(&self) -> Option<&Subordinate> {
        self.ids.as_ref()
    }

    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    pub(super) const fn limits(&self) -> LimitedBy {
        self.limits
    }

    pub(super) fn means(&self) -> Means<'_> {
        Means {
            ids: self.ids(),
            limits: self.limits,
        }
    }

    /// Returns the runtime's command up to its subcommand.
    pub(super) fn command(&self, state: &Path) -> Command {
        let mut command = Command::new(&self.program);
        // A runtime passes on what a service manager gave this program.
        for name in [
            "NOTIFY_SOCKET",
            "LISTEN_FDS",
            "LISTEN_FDNAMES",
            "LISTEN_PID",
        ] {
            command.env_remove(name);
        }
        command.arg("--root").arg(state);
        command
    }
}

/// Returns the program's path or name, and its version.
fn installed(name: &'static str) -> Result<(PathBuf, String), Unusable> {
    let elsewhere = FOLDERS.iter().map(|folder| Path::new(folder).join(name));
    for program in std::iter::once(PathBuf::from(name)).chain(elsewhere) {
        let output = Command::new(&program)
            .arg("--version")
            .stdin(Stdio::null())
            .output();
        match output {
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stdout);
                let first = text.lines().next().unwrap_or_default();
                let version = first.rsplit(' ').next().unwrap_or_default();
                return Ok((program, version.to_owned()));
            }
            // PATH may name a directory that this user does not get into.
            Err(error)
                if [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied]
                    .contains(&error.kind()) => {}
            Err(source) => {
                return Err(Unusable::Broken(Error::Program {
                    program: program.display().to_string(),
                    source,
                }));
            }
        }
    }
    Err(Unusable::NotInstalled)
}

fn namespace() -> Namespace {
    // The initial namespace maps all ids to themselves.
    match fs::read_to_string("/proc/self/uid_map") {
        Ok(map) if !map.split_whitespace().eq(["0", "0", "4294967295"]) => Namespace::User,
        Ok(_) | Err(_) => Namespace::Initial,
    }
}
