//! Running: a bundle is given to the runtime, watched, ended where need be, and cleared away.
//!
//! The runtime starts the container and goes, so that the command itself holds
//! the ends of the log: a runtime that stays would pass on standard output and
//! standard error one apart from the other. What it leaves becomes a child of
//! this process, which for that becomes the reaper of all its descendants
//! (`PR_SET_CHILD_SUBREAPER`); so the true exit status is known.
//!
//! The first process of the container is that of its process namespace, so
//! that the kernel ends all others with it; and all mounts are in a namespace
//! that ends with them. So there is one thing to see to: that this process
//! ends. Here it is ended when the job is over its limits or cancelled; by
//! [`stop`] when the program is interrupted; and by a guard, which is a process
//! of its own, when the program is killed.

use std::{
    collections::{BTreeMap, VecDeque},
    ffi::OsString,
    fs,
    io::{self, PipeReader, Read, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{self, RecvTimeoutError, SyncSender},
    },
    thread,
    time::Duration,
};

use super::{
    AUTHORITY, Bundle, DISTRIBUTION_AUTHORITIES, Error, Finished, Job, Network, Ran,
    bundle::{self, MOUNT_POINTS, Places, RelayPlaces},
    cannot_use,
    points::{Kind, MountPoints},
    relay::{self, Entering},
    runtime::Runtime,
};

/// How often it is asked whether a job is cancelled.
const TICK: Duration = Duration::from_millis(50);
/// How long the jobs have to end by themselves when the program is interrupted.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a container is asked to go before the runtime itself is killed: it may not
/// have made the container yet.
const MOST_DELETIONS: usize = 40;
/// Lines of output that are kept for an error message.
const LAST_LINES: usize = 20;
/// Bytes of a line that are kept.
const LINE_LENGTH: usize = 1000;

/// What runs now, in all threads.
static RUNNING: Mutex<Running> = Mutex::new(Running {
    stopping: false,
    containers: BTreeMap::new(),
    roots: BTreeMap::new(),
});
/// Told when a container is gone.
static GONE: Condvar = Condvar::new();

struct Running {
    /// No job is begun any more.
    stopping: bool,
    containers: BTreeMap<String, Container>,
    /// Directories to be removed where the program is interrupted, and by what.
    roots: BTreeMap<PathBuf, (Runtime, PathBuf)>,
}

/// What a job is for, which decides whether [`stop`] ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Work,
    /// Clearing up, which is what an interrupted program still does.
    Tidying,
}

/// Ends every running job, begins no more, and removes every [`super::RootDirectory`].
///
/// Returns when that is done; for a program that is about to exit since it
/// was interrupted. The jobs' own threads see [`Finished::Cancelled`].
pub fn stop() {
    let mut running = running();
    running.stopping = true;
    let (mut running, _) = GONE
        .wait_timeout_while(running, PATIENCE, |running| !running.containers.is_empty())
        .unwrap_or_else(PoisonError::into_inner);
    // Their threads are held up, such as by a terminal that takes no output.
    for container in running.containers.values() {
        container.delete();
    }
    let roots = std::mem::take(&mut running.roots);
    drop(running);
    for (root, (runtime, scratch)) in roots {
        // There is nobody left to tell; what stays is in a scratch directory.
        let _ = runtime.remove_tree(&root, &scratch);
    }
}

fn running() -> MutexGuard<'static, Running> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has `root` removed by [`stop`].
pub(super) fn register_root(root: &Path, runtime: &Runtime, scratch: &Path) {
    let by = (runtime.clone(), scratch.to_owned());
    running().roots.insert(root.to_owned(), by);
}

/// Says whether `root` is still the caller's to remove.
pub(super) fn take_back_root(root: &Path) -> bool {
    running().roots.remove(root).is_some()
}

/// A container by what it takes to end it.
#[derive(Debug, Clone)]
struct Container {
    runtime: Runtime,
    /// The bundle, with the runtime's own state beside.
    folder: PathBuf,
    id: String,
}

impl Container {
    /// Returns the runtime's command up to its subcommand.
    fn command(&self) -> Command {
        self.runtime.command(&self.folder.join("state"))
    }

    fn deletion(&self) -> Command {
        let mut command = self.command();
        command.args(["delete", "--force", &self.id]);
        command
    }

    /// Ends all its processes and removes it; that there is none is no error.
    fn delete(&self) {
        // It is seen by the caller whether the container ends.
        let _ = self
            .deletion()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .status();
    }
}

/// A container that [`stop`] ends.
struct Registered(String);

impl Registered {
    /// `None` where no job is begun any more.
    fn new(container: &Container) -> Option<Self> {
        let mut running = running();
        if running.stopping {
            return None;
        }
        let id = container.id.clone();
        running.containers.insert(id.clone(), container.clone());
        Some(Self(id))
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        running().containers.remove(&self.0);
        GONE.notify_all();
    }
}

/// A process that ends the container where this program does not live to do it.
struct Guard(Child);

impl Guard {
    /// Waits for its input to end: the system closes it, whatever ends this program.
    ///
    /// More than once, since the runtime may just be making the container.
    const SCRIPT: &'static str =
        "read -r done && exit; for time in 0 1 2 4; do sleep $time; \"$@\"; done";

    fn of(container: &Container) -> Result<Self, Error> {
        let deletion = container.deletion();
        let mut command = Command::new("sh");
        command
            .args(["-c", Self::SCRIPT, "reprove-guard"])
            .arg(deletion.get_program())
            .args(deletion.get_args())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C is not for it.
            .process_group(0);
        command.spawn().map(Self).map_err(|source| Error::Program {
            program: "sh".to_owned(),
            source,
        })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Where it cannot be told it deletes what is gone already.
        if let Some(mut input) = self.0.stdin.take() {
            let _ = input.write_all(b"done\n");
        }
        let _ = self.0.wait();
    }
}

/// What happens while a container runs.
enum Event {
    Output(Vec<u8>),
    /// Every process that could write has ended.
    Closed,
    Unreadable(io::Error),
    TimedOut,
    /// The first process of the container has ended, or there was none.
    Exited(Result<Exit, Error>),
}

/// How the first process of a container ended.
enum Exit {
    With(Finished),
    /// The runtime ended in this way without having started it.
    NotStarted(ExitStatus),
}

impl Runtime {
    /// Runs a command and waits until it and all its processes have ended.
    ///
    /// Its output goes to `log` as it comes, standard error included. What is
    /// needed meanwhile is put into the directory `scratch`. The job is ended
    /// soon after `cancelled` says so.
    ///
    /// No other job may use the same root at the same time.
    pub fn run(
        &self,
        job: &Job<'_>,
        scratch: &Path,
        log: &mut dyn Write,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Ran, Error> {
        self.run_for(Purpose::Work, job, scratch, log, cancelled)
    }

    pub(super) fn run_for(
        &self,
        purpose: Purpose,
        job: &Job<'_>,
        scratch: &Path,
        log: &mut dyn Write,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Ran, Error> {
        check(job)?;
        let folder = tempfile::Builder::new()
            .prefix("reprove-")
            .tempdir_in(scratch)
            .map_err(cannot_use(scratch))?;
        // A runtime takes no path with links in it.
        let path = fs::canonicalize(folder.path()).map_err(cannot_use(folder.path()))?;
        let container = Container {
            runtime: self.clone(),
            folder: path.clone(),
            id: id_of(&path),
        };
        let mut points = MountPoints::in_root(job.root);
        let authorities = authorities(job, &points)?;
        let bundle = Bundle::of(job, self.means(), &authorities)?;
        let relay_folder = path.join("relay");
        let places = self.places(job, &authorities, &relay_folder, &mut points)?;
        let config = path.join("config.json");
        fs::write(&config, bundle::config(job, self.limits(), &places)?)
            .map_err(cannot_use(&config))?;

        let registered = Registered::new(&container);
        if registered.is_none() && purpose == Purpose::Work {
            return Ok(Ran {
                outcome: Finished::Cancelled,
                bundle,
                last_lines: Vec::new(),
            });
        }
        let cancelled = || cancelled() || (purpose == Purpose::Work && running().stopping);
        let relay = match job.network {
            Network::Relayed(relay) => Some(relay::Planned::new(
                relay,
                &relay_folder,
                match self.ids() {
                    None => Entering::Network,
                    Some(_) => Entering::UserAndNetwork,
                },
            )?),
            Network::None | Network::Loopback => None,
        };
        let mut tail = LastLines::default();
        let outcome = self.watch(&container, job, relay, log, &mut tail, &cancelled);
        points.remove()?;
        drop(registered);
        Ok(Ran {
            outcome: outcome?,
            bundle,
            last_lines: tail.finish(),
        })
    }

    /// Makes the mount points, and says where everything is.
    fn places(
        &self,
        job: &Job<'_>,
        authorities: &[&str],
        relay_folder: &Path,
        points: &mut MountPoints,
    ) -> Result<Places<'_>, Error> {
        for destination in MOUNT_POINTS {
            if points.make(destination, Kind::Directory)? != Path::new(destination) {
                return Err(Error::MountPoint {
                    root: job.root.to_owned(),
                    destination: destination.to_owned(),
                    problem: "there is a link in the way".to_owned(),
                });
            }
        }
        let mut mounts = Vec::new();
        for mount in job.mounts {
            let source = fs::canonicalize(mount.source).map_err(cannot_use(mount.source))?;
            let kind = if source.is_dir() {
                Kind::Directory
            } else {
                Kind::File
            };
            mounts.push((source, points.make(mount.destination, kind)?));
        }
        let relay = match job.network {
            Network::Relayed(relay) => Some(RelayPlaces {
                folder: relay_folder.to_owned(),
                authority: fs::canonicalize(relay.authority)
                    .map_err(cannot_use(relay.authority))?,
                destinations: authorities
                    .iter()
                    .map(|destination| points.make(destination, Kind::File))
                    .collect::<Result<_, _>>()?,
            }),
            Network::None | Network::Loopback => None,
        };
        Ok(Places {
            root: fs::canonicalize(job.root).map_err(cannot_use(job.root))?,
            mounts,
            relay,
            ids: self.ids(),
        })
    }

    /// Starts the container and waits for its end; it is gone when this returns.
    fn watch(
        &self,
        container: &Container,
        job: &Job<'_>,
        relay: Option<relay::Planned>,
        log: &mut dyn Write,
        tail: &mut LastLines,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Finished, Error> {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(|errno| {
            Error::Reaper {
                source: errno.into(),
            }
        })?;
        let runtime_log = container.folder.join("log");
        let pid_file = container.folder.join("pid");
        let (reader, writer) = io::pipe().map_err(|source| Error::Log { source })?;
        let second = writer.try_clone().map_err(|source| Error::Log { source })?;
        // Before there is a container, which then is never without it.
        let guard = Guard::of(container)?;
        let mut command = container.command();
        command
            .arg("--log")
            .arg(&runtime_log)
            .args(["--log-format", "json", "run", "--detach", "--bundle"])
            .arg(&container.folder)
            .arg("--pid-file")
            .arg(&pid_file)
            .arg(&container.id)
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(second)
            // Ctrl-C is not for it.
            .process_group(0);
        let child = command.spawn().map_err(|source| Error::Program {
            program: self.program().display().to_string(),
            source,
        })?;
        // The command holds the ends that are written to, which would keep the pipe open.
        drop(command);
        let watched = Watch {
            container,
            job,
            cancelled,
        }
        .until_over(child, relay, &pid_file, reader, log, tail);
        let out_of_memory = out_of_memory(&container.id);
        container.delete();
        drop(guard);

        let status = match watched? {
            Exit::With(Finished::Failed { .. } | Finished::Signalled { .. }) if out_of_memory => {
                return Ok(Finished::OutOfMemory);
            }
            Exit::With(outcome) => return Ok(outcome),
            Exit::NotStarted(status) => status,
        };
        let said = error_in(&runtime_log)?.unwrap_or_else(|| status.to_string());
        // The words of runc and crun for a program that is not there or cannot be run.
        if said.contains("exec: \"") || said.contains("executable file") {
            tail.add(format!("{said}\n").as_bytes());
            return Ok(Finished::Failed { status: 127 });
        }
        Err(Error::Runtime {
            runtime: self.name(),
            said,
        })
    }
}

struct Watch<'a> {
    container: &'a Container,
    job: &'a Job<'a>,
    cancelled: &'a dyn Fn() -> bool,
}

impl Watch<'_> {
    /// Passes the output on until there is no more and the container has ended.
    fn until_over(
        &self,
        mut runtime: Child,
        relay: Option<relay::Planned>,
        pid_file: &Path,
        reader: PipeReader,
        log: &mut dyn Write,
        tail: &mut LastLines,
    ) -> Result<Exit, Error> {
        let duration = self.job.limits.duration;
        let runtime_id = rustix::process::Pid::from_child(&runtime);
        let (sender, events) = mpsc::sync_channel(16);
        let (over, timer) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let from_timer = sender.clone();
            scope.spawn(move || {
                if timer.recv_timeout(duration) == Err(RecvTimeoutError::Timeout) {
                    // Nobody hears it where the container has just ended.
                    let _ = from_timer.send(Event::TimedOut);
                }
            });
            let from_wait = sender.clone();
            scope.spawn(move || {
                let exit = exit(&mut runtime, relay, pid_file);
                // It is waited for below.
                let _ = from_wait.send(Event::Exited(exit));
            });
            scope.spawn(move || read(reader, &sender));

            let mut ended = None;
            let mut broken = None;
            let mut exit = None;
            let mut open = true;
            let mut left = self.job.limits.log_in_bytes;
            let mut deletions = 0;
            while open || exit.is_none() {
                match events.recv_timeout(TICK) {
                    Ok(Event::Output(bytes)) if ended.is_none() => {
                        let taken =
                            usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
                        left -= taken as u64;
                        tail.add(&bytes[..taken]);
                        if let Err(source) = log.write_all(&bytes[..taken]) {
                            broken = Some(source);
                            ended = Some(Finished::Cancelled);
                        } else if taken < bytes.len() {
                            ended = Some(Finished::LogFull);
                        }
                    }
                    Ok(Event::TimedOut) if exit.is_none() => {
                        ended = ended.or(Some(Finished::TimedOut));
                    }
                    Ok(Event::Output(_) | Event::TimedOut) | Err(RecvTimeoutError::Timeout) => {}
                    Ok(Event::Unreadable(source)) => {
                        open = false;
                        broken = Some(source);
                        ended = Some(Finished::Cancelled);
                    }
                    Ok(Event::Closed) => open = false,
                    Ok(Event::Exited(how)) => exit = Some(how),
                    Err(RecvTimeoutError::Disconnected) => break,
                }
                if ended.is_none() && exit.is_none() && (self.cancelled)() {
                    ended = Some(Finished::Cancelled);
                }
                if ended.is_some() && exit.is_none() {
                    self.container.delete();
                    deletions += 1;
                    if deletions == MOST_DELETIONS {
                        // Where it has ended already, its container is what is waited for.
                        let _ = rustix::process::kill_process(
                            runtime_id,
                            rustix::process::Signal::KILL,
                        );
                    }
                }
            }
            drop(over);
            // A thread may be waiting for room to say what is of no interest now.
            drop(events);
            if let Some(source) = broken {
                return Err(Error::Log { source });
            }
            match (ended, exit) {
                (Some(outcome), _) => Ok(Exit::With(outcome)),
                (None, Some(exit)) => exit,
                (None, None) => Err(Error::Log {
                    source: io::ErrorKind::UnexpectedEof.into(),
                }),
            }
        })
    }
}

/// Waits for the runtime, which starts the container, and then for the container.
fn exit(
    runtime: &mut Child,
    relay: Option<relay::Planned>,
    pid_file: &Path,
) -> Result<Exit, Error> {
    let lost = |source| Error::Reaper { source };
    let relay = relay.map(|relay| relay.set_up(runtime)).transpose();
    let started = runtime.wait().map_err(lost)?;
    // It listens for as long as the container is there.
    let _listening = relay?;
    if !started.success() {
        return Ok(Exit::NotStarted(started));
    }
    let text = fs::read_to_string(pid_file).map_err(cannot_use(pid_file))?;
    let pid = text.trim().parse().ok();
    let pid = pid.and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or_else(|| lost(io::ErrorKind::InvalidData.into()))?;
    loop {
        match rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()) {
            Ok(Some((_, status))) => {
                let number = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
                return Ok(Exit::With(
                    match (status.exit_status(), status.terminating_signal()) {
                        (Some(0), _) => Finished::Succeeded,
                        (Some(status), _) => Finished::Failed {
                            status: number(status),
                        },
                        (None, Some(signal)) => Finished::Signalled {
                            signal: number(signal),
                        },
                        (None, None) => continue,
                    },
                ));
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(lost(errno.into())),
        }
    }
}

/// Reads until everyone has closed the other end.
fn read(mut reader: PipeReader, sender: &SyncSender<Event>) {
    let mut buffer = vec![0; 1 << 14];
    loop {
        let event = match reader.read(&mut buffer) {
            Ok(0) => Event::Closed,
            Ok(count) => Event::Output(buffer[..count].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Event::Unreadable(error),
        };
        let last = !matches!(event, Event::Output(_));
        if sender.send(event).is_err() || last {
            return;
        }
    }
}

/// Refuses what a runtime would understand otherwise than it is meant.
fn check(job: &Job<'_>) -> Result<(), Error> {
    let bad = |what, expected, actual: &str| Error::BadJob {
        what,
        expected,
        actual: actual.to_owned(),
    };
    if job.arguments.is_empty() {
        return Err(bad("the arguments", "a program at least", ""));
    }
    let absolute = |what, path: &str| {
        if path.starts_with('/') {
            Ok(())
        } else {
            Err(bad(what, "an absolute path", path))
        }
    };
    absolute("the working directory", job.directory)?;
    for mount in job.mounts {
        absolute("the destination of a mount", mount.destination)?;
    }
    for name in job.environment.keys() {
        if name.is_empty() || name.contains('=') {
            return Err(bad("the name of a variable", "without =", name));
        }
    }
    let texts = job
        .arguments
        .iter()
        .chain(job.environment.values())
        .chain(job.environment.keys());
    for text in texts {
        if text.contains('\0') {
            return Err(bad("an argument or variable", "without NUL", text));
        }
    }
    Ok(())
}

/// Returns where the certificates of a job's relay are seen inside.
fn authorities(job: &Job<'_>, points: &MountPoints) -> Result<Vec<&'static str>, Error> {
    let mut authorities = Vec::new();
    if let Network::Relayed(_) = job.network {
        authorities.push(AUTHORITY);
        if points.has_file(DISTRIBUTION_AUTHORITIES)? {
            authorities.push(DISTRIBUTION_AUTHORITIES);
        }
    }
    Ok(authorities)
}

/// Returns the name of the container, which is that of its scratch directory without odd characters.
fn id_of(path: &Path) -> String {
    let name = path.file_name().map(OsString::from).unwrap_or_default();
    name.to_string_lossy().replace('.', "-")
}

/// Returns the first error that the runtime wrote into its own log; `None` where it ran the command.
fn error_in(path: &Path) -> Result<Option<String>, Error> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(Error::File {
                path: path.to_owned(),
                source,
            });
        }
    };
    Ok(String::from_utf8_lossy(&text).lines().find_map(|line| {
        let entry: serde_json::Value = serde_json::from_str(line).ok()?;
        let level = entry["level"].as_str()?;
        if !["error", "fatal"].contains(&level.to_lowercase().as_str()) {
            return None;
        }
        // youki has its message among other fields.
        let message = entry["msg"]
            .as_str()
            .or(entry["fields"]["message"].as_str());
        Some(message.unwrap_or(line).to_owned())
    }))
}

/// Says whether the kernel ended a process of the container for want of memory.
///
/// Runtimes make the container's control group, which has its name, below their own one
/// or one above that.
fn out_of_memory(id: &str) -> bool {
    let Ok(own) = fs::read_to_string("/proc/self/cgroup") else {
        return false;
    };
    own.lines().any(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            return false;
        };
        let (mount, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.events"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.oom_control")
            }
            _ => return false,
        };
        Path::new(path.trim_start_matches('/'))
            .ancestors()
            .map(|group| Path::new(mount).join(group).join(id).join(file))
            .filter_map(|file| fs::read_to_string(file).ok())
            .any(|text| {
                text.lines()
                    .filter_map(|line| line.strip_prefix("oom_kill "))
                    .any(|count| count != "0")
            })
    })
}

/// The end of a text, by lines.
#[derive(Default)]
struct LastLines {
    whole: VecDeque<Vec<u8>>,
    begun: Vec<u8>,
}

impl LastLines {
    fn add(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let line = piece.strip_suffix(b"\n").unwrap_or(piece);
            let room = LINE_LENGTH.saturating_sub(self.begun.len());
            self.begun.extend(&line[..line.len().min(room)]);
            if line.len() < piece.len() {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        if self.whole.len() == LAST_LINES {
            self.whole.pop_front();
        }
        self.whole.push_back(std::mem::take(&mut self.begun));
    }

    fn finish(mut self) -> Vec<String> {
        if !self.begun.is_empty() {
            self.end_line();
        }
        let lines = self.whole.iter();
        lines
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_long_ones_are_cut() {
        let mut tail = LastLines::default();
        for number in 0..100 {
            tail.add(format!("line {number}").as_bytes());
            tail.add(b"\n");
        }
        tail.add(&[b'x'; 5000]);
        tail.add(b"\nlast");
        let lines = tail.finish();
        assert_eq!(lines.len(), LAST_LINES);
        assert_eq!(lines[0], "line 82");
        assert_eq!(lines[18], "x".repeat(LINE_LENGTH));
        assert_eq!(lines[19], "last");
    }

    #[test]
    fn only_an_error_of_the_runtime_counts_as_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let cases = [
            ("", None),
            (r#"{"level":"warning","msg":"w"}"#, None),
            (
                "{\"level\":\"info\",\"msg\":\"i\"}\n{\"level\":\"error\",\"msg\":\"e\"}",
                Some("e"),
            ),
            (r#"{"level":"ERROR","fields":{"message":"y"}}"#, Some("y")),
        ];
        for (log, expected) in cases {
            fs::write(file.path(), log).unwrap();
            assert_eq!(error_in(file.path()).unwrap().as_deref(), expected, "{log}");
        }
    }
}
