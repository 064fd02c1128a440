//! Workshop: where the commands of a build are run, and what is remembered of each.
//!
//! A step of a build comes in with the root file system that it changes; its
//! failure goes out as the build's, with the last lines that it wrote. The whole
//! output of all steps is kept in one log, and of every step the digest of the
//! bundle that it ran as.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use rustix::{
    io::Errno,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use serde::Serialize;

use super::{
    Clock, Error, Stop, cannot_write,
    replay::{Recording, Replay, Why},
    sandbox::{self, Finished, Job, Limits, Mount, Network, RootDirectory, Runtime, User},
};
use crate::{digest::Digest, facts, progress::Progress, store::Store};

/// What a command sees of the machine that it runs on.
///
/// Every rebuild has the same; `reprove check` varies it, to see what depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conditions {
    /// The host's name.
    pub hostname: String,
    /// Variables, such as `TZ`, for every command; what a recipe sets itself wins.
    pub environment: BTreeMap<String, String>,
    /// Where root file systems are made, `None` for the scratch directory.
    pub roots: Option<PathBuf>,
    /// How many processors there are, `None` for all that this program may use.
    pub processors: Option<u32>,
    /// What the time of day is, `None` for the machine's own.
    pub clock: Option<Clock>,
    /// What runs the commands, `None` for what the build is given.
    #[serde(skip)]
    pub runtime: Option<Runtime>,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            hostname: "reprove".to_owned(),
            environment: BTreeMap::new(),
            roots: None,
            processors: None,
            clock: None,
            runtime: None,
        }
    }
}

/// Where commands are run.
pub(super) struct Workshop<'a> {
    runtime: &'a Runtime,
    scratch: &'a Path,
    conditions: &'a Conditions,
    limits: Limits,
    progress: &'a dyn Progress,
    log: RefCell<File>,
    steps: RefCell<Vec<facts::Step>>,
    /// Where requests go; nowhere where it is `None`.
    answers: Option<Answering<'a>>,
}

/// What answers the requests of commands.
pub(super) enum Answering<'a> {
    /// The lock, and nothing else: any other request fails the build.
    Lock(Replay),
    /// The outside, which is written down.
    Outside(&'a Recording),
}

/// One command of a build.
#[derive(Clone, Copy)]
pub(super) struct Step<'a> {
    /// What a person calls it, such as `Dockerfile line 3: RUN make`.
    pub(super) name: &'a str,
    /// The root file system, which it changes.
    pub(super) root: &'a Path,
    pub(super) arguments: &'a [String],
    pub(super) environment: &'a BTreeMap<String, String>,
    /// Absolute, inside.
    pub(super) directory: &'a str,
    pub(super) user: User,
    pub(super) mounts: &'a [Mount<'a>],
}

impl<'a> Workshop<'a> {
    /// Makes a workshop that puts what it needs into `scratch`.
    pub(super) fn new(
        runtime: &'a Runtime,
        scratch: &'a Path,
        conditions: &'a Conditions,
        limits: Limits,
        progress: &'a dyn Progress,
    ) -> Result<Self, Error> {
        let log = tempfile::tempfile_in(scratch).map_err(|source| Error::Write {
            path: scratch.to_owned(),
            source,
        })?;
        Ok(Self {
            runtime,
            scratch,
            conditions,
            limits,
            progress,
            log: RefCell::new(log),
            steps: RefCell::default(),
            answers: None,
        })
    }

    /// Has the requests of the commands that follow answered.
    pub(super) fn connect(&mut self, answers: Answering<'a>) {
        self.answers = Some(answers);
    }

    pub(super) fn runtime(&self) -> &Runtime {
        self.runtime
    }

    /// Returns the directory for what is needed meanwhile.
    pub(super) fn scratch(&self) -> &Path {
        self.scratch
    }

    /// Makes an empty root file system.
    pub(super) fn root(&self) -> Result<RootDirectory, Error> {
        let folder = self.conditions.roots.as_deref().unwrap_or(self.scratch);
        RootDirectory::new(self.runtime, folder).map_err(Error::Sandbox)
    }

    /// Makes a root file system of a tar that is in the store.
    pub(super) fn unpacked(&self, tar: &Digest, store: &Store) -> Result<RootDirectory, Error> {
        let root = self.root()?;
        let path = self.scratch.join(format!("{}.tar", tar.hex()));
        let blob = store.read(tar).map_err(Error::Store)?;
        let mut blob = blob.ok_or_else(|| Error::NotKept {
            what: format!("the root file system {tar}"),
        })?;
        let mut file = File::create(&path).map_err(cannot_write(&path))?;
        io::copy(&mut blob, &mut file).map_err(|source| Error::Keep { source })?;
        let unpacked = self.runtime.unpack(&path, root.path(), self.scratch);
        fs::remove_file(&path).map_err(cannot_write(&path))?;
        unpacked.map_err(Error::Sandbox)?;
        Ok(root)
    }

    /// Returns the requests that were answered from the lock so far.
    pub(super) fn answered(&self) -> Vec<facts::Answered> {
        let Some(Answering::Lock(replay)) = &self.answers else {
            return Vec::new();
        };
        let served = replay.served().into_iter();
        served
            .map(|served| facts::Answered {
                url: served.url,
                digest: served.digest,
            })
            .collect()
    }

    /// Runs a step to its end.
    ///
    /// [`Stop::Failed`] where it does not succeed, naming it and its last lines.
    pub(super) fn run(&self, step: &Step<'_>) -> Result<(), Stop> {
        let _task = self.progress.begin(step.name, None);
        let mut log = self.log.borrow_mut();
        writeln!(log, "==> {}", step.name).map_err(|source| self.cannot_log(source))?;
        let mut environment = self.conditions.environment.clone();
        let mut mounts = step.mounts.to_vec();
        if let Some(clock) = &self.conditions.clock {
            environment.extend(clock.environment());
            mounts.push(clock.mount());
        }
        let relay = match &self.answers {
            None => None,
            Some(Answering::Lock(replay)) => Some(replay.relay()),
            Some(Answering::Outside(recording)) => Some(recording.replay.relay()),
        };
        if relay.is_some() {
            environment.extend(Replay::environment());
        }
        environment.extend(
            step.environment
                .iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
        let job = Job {
            root: step.root,
            arguments: step.arguments,
            environment: &environment,
            directory: step.directory,
            user: step.user,
            mounts: &mounts,
            network: relay.map_or(Network::Loopback, Network::Relayed),
            hostname: &self.conditions.hostname,
            limits: self.limits,
        };
        if let Some(clock) = &self.conditions.clock {
            self.ask(clock, step, &job)?;
        }
        let ran = match self.conditions.processors {
            None => self.runtime.run(&job, self.scratch, &mut *log, &|| false),
            Some(count) => with_processors(count, || {
                self.runtime.run(&job, self.scratch, &mut *log, &|| false)
            })?,
        }
        .map_err(Error::Sandbox)?;
        self.steps.borrow_mut().push(facts::Step {
            name: step.name.to_owned(),
            bundle: ran.bundle.digest,
        });
        if let Some(Answering::Lock(replay)) = &self.answers
            && let Some(refusal) = replay.refused().first()
        {
            return Err(match refusal.why {
                Why::NotKept(_) | Why::Rotten(_) | Why::Unreadable(_) | Why::Unreachable(_) => {
                    Error::Unanswered {
                        request: refusal.to_string(),
                    }
                    .into()
                }
                // Also where the command makes do without: it asked for what nobody pinned.
                Why::NotLocked
                | Why::Method
                | Why::Malformed
                | Why::NoTls(_)
                | Why::NothingAsked => Stop::failed(format!("it asks for {refusal}")).at(step.name),
            });
        }
        match ran.outcome {
            Finished::Succeeded => Ok(()),
            // The machine's trouble or the user's wish is no answer about the source.
            Finished::Cancelled => Err(Error::Sandbox(sandbox::Error::Cancelled).into()),
            outcome => {
                let mut problem = format!("it {outcome}");
                for line in &ran.last_lines {
                    problem.push_str("\n    ");
                    problem.push_str(line);
                }
                Err(Stop::failed(problem).at(step.name))
            }
        }
    }

    /// Makes sure that programs of a job's root see this clock.
    fn ask(&self, clock: &Clock, step: &Step<'_>, job: &Job<'_>) -> Result<(), Error> {
        let arguments = Clock::question();
        let question = Job {
            arguments: &arguments,
            directory: "/",
            network: Network::None,
            ..*job
        };
        let mut output = Vec::new();
        let ran = self
            .runtime
            .run(&question, self.scratch, &mut output, &|| false)
            .map_err(Error::Sandbox)?;
        match ran.outcome {
            Finished::Succeeded if clock.is_shown(&output) => Ok(()),
            Finished::Cancelled => Err(Error::Sandbox(sandbox::Error::Cancelled)),
            outcome => Err(Error::Clock {
                step: step.name.to_owned(),
                said: match ran.last_lines.first() {
                    Some(line) => format!("{line:?}"),
                    None => format!("date {outcome}"),
                },
            }),
        }
    }

    /// Returns the steps that were run since this was last asked.
    pub(super) fn take_steps(&self) -> Vec<facts::Step> {
        self.steps.take()
    }

    /// Returns the log of all steps.
    pub(super) fn into_log(self) -> File {
        self.log.into_inner()
    }

    fn cannot_log(&self, source: io::Error) -> Error {
        Error::Write {
            path: self.scratch.to_owned(),
            source,
        }
    }
}

/// Does something while this thread, and what it starts, may use the first so many of its processors.
fn with_processors<T>(count: u32, work: impl FnOnce() -> T) -> Result<T, Error> {
    let failed = |errno: Errno| Error::Processors {
        source: errno.into(),
    };
    let all = sched_getaffinity(None).map_err(failed)?;
    let mut some = CpuSet::new();
    let allowed = (0..CpuSet::MAX_CPU).filter(|&number| all.is_set(number));
    for number in allowed.take(usize::try_from(count).unwrap_or(usize::MAX)) {
        some.set(number);
    }
    sched_setaffinity(None, &some).map_err(failed)?;
    let result = work();
    sched_setaffinity(None, &all).map_err(failed)?;
    Ok(result)
}
