//! Relay: port 3128 on the container's loopback → a Unix socket of this host.
//!
//! The relay is socat, run by the host in the container's network namespace
//! and no other of its namespaces, so that nothing inside sees it. It must be
//! there before the command is, and the namespaces can be entered only as long
//! as the first process of the container is not another user's. So the runtime
//! is held up by a hook once it has made them, and let go on when socat listens.
//!
//! The hook ends with an error when this program is gone, by which the runtime
//! gives up; socat is ended by a shell that waits for the same.
//!
//! Source: runtime-spec `config.md#createruntime-hooks`; nsenter(1), socat(1).

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    process::{Pid, WaitOptions},
};

use super::{Error, RELAY_PORT, Relay, cannot_use};

/// What the hook is: it says what container it is of, and waits for a word.
///
/// The fifo is opened first: this program may be gone afterwards, and then
/// nobody would open its other end.
pub(super) const HOOK: &str =
    "cd \"$1\" && exec 3<go && cat >part && mv part state && read -r go <&3";
/// The only environment of the hook.
pub(super) const HOOK_ENVIRONMENT: &str = "PATH=/usr/bin:/bin";
/// After this the runtime ends the hook, which has long been answered.
pub(super) const HOOK_SECONDS: i64 = 60;

/// Runs the relay in a folder and ends it, and all that it started, when the input ends.
///
/// Only the relay holds the output, which so tells when it has ended.
const GUARD: &str =
    "cd \"$1\" && shift || exit; \"$@\" 2>&1 & exec >/dev/null; read -r done; kill -KILL 0";

/// How long something is waited for at a time.
const TICK: Duration = Duration::from_millis(5);
/// How many times it is looked whether the relay listens: for ten seconds.
const MOST_LOOKS: usize = 2000;
/// Bytes of what the relay says that are kept.
const MOST_SAID: u64 = 4096;

/// The programs that are needed, each with a way to see that it is there, and its Debian package.
const PROGRAMS: [(&str, &str, &str); 2] = [
    ("nsenter", "--version", "util-linux"),
    ("socat", "-V", "socat"),
];

/// Finds out whether requests of a build can be answered here; the error names what is missing.
pub fn can_relay() -> Result<(), Error> {
    PROGRAMS
        .iter()
        .try_for_each(|&(program, argument, package)| is_there(program, argument, package))
}

/// Whose namespaces the relay enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entering {
    /// The network namespace, as root.
    Network,
    /// Also the user namespace, whose root then is this user.
    UserAndNetwork,
}

/// A relay that is to be set up.
pub(super) struct Planned {
    /// What the hook and this program share.
    folder: PathBuf,
    /// Held open for both directions, so that opening it never waits.
    go: File,
    /// The socket that all is passed on to.
    socket: PathBuf,
    entering: Entering,
}

/// A relay that listens; ended when dropped.
pub(super) struct Listening {
    guard: Child,
    said: Option<JoinHandle<String>>,
}

impl Planned {
    /// Makes what the hook needs in `folder`, which is made too.
    pub(super) fn new(relay: Relay<'_>, folder: &Path, entering: Entering) -> Result<Self, Error> {
        can_relay()?;
        let socket = fs::canonicalize(relay.socket).map_err(cannot_use(relay.socket))?;
        fs::create_dir(folder).map_err(cannot_use(folder))?;
        let fifo = folder.join("go");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .map_err(io::Error::from)
            .and_then(|()| File::options().read(true).write(true).open(&fifo))
            .map(|go| Self {
                folder: folder.to_owned(),
                go,
                socket,
                entering,
            })
            .map_err(cannot_use(&fifo))
    }

    /// Waits for the hook, starts the relay and lets the runtime go on.
    ///
    /// `None` where the runtime ended before. After an error the runtime gives up.
    pub(super) fn set_up(mut self, runtime: &mut Child) -> Result<Option<Listening>, Error> {
        let state = self.folder.join("state");
        while !state.exists() {
            let ended = runtime.try_wait();
            if ended.map_err(|source| Error::Reaper { source })?.is_some() {
                return Ok(None);
            }
            thread::sleep(TICK);
        }
        let pid = pid_in(&state)?;
        let listening = Listening::start(pid, &self.socket, self.entering)?;
        let go = self.folder.join("go");
        self.go.write_all(b"go\n").map_err(cannot_use(&go))?;
        Ok(Some(listening))
    }
}

impl Listening {
    fn start(pid: Pid, socket: &Path, entering: Entering) -> Result<Self, Error> {
        let namespaces: &[&str] = match entering {
            Entering::Network => &["--net"],
            Entering::UserAndNetwork => &["--user", "--net", "--preserve-credentials"],
        };
        let unusable = || Error::Relay {
            said: format!("{} is no path of a socket", socket.display()),
        };
        let folder = socket.parent().ok_or_else(unusable)?;
        let name = socket.file_name().and_then(|name| name.to_str());
        // Other characters mean something in socat's addresses. A name alone also
        // keeps clear of the limit of 107 bytes for a socket's path.
        let name = name
            .filter(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric()))
            .ok_or_else(unusable)?;
        let mut command = Command::new("sh");
        command
            .args(["-c", GUARD, "reprove-relay"])
            .arg(folder)
            .args(["nsenter", "--target"])
            .arg(pid.as_raw_nonzero().to_string())
            .args(namespaces)
            // So long may a client that has said all wait for the rest of an answer.
            .args(["socat", "-t", "600"])
            .arg(format!(
                "TCP4-LISTEN:{RELAY_PORT},bind=127.0.0.1,reuseaddr,fork,max-children=128,backlog=128"
            ))
            .arg(format!("UNIX-CONNECT:{name}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Ctrl-C is not for it, and it is ended as a group.
            .process_group(0);
        let mut guard = command.spawn().map_err(|source| Error::Program {
            program: "sh".to_owned(),
            source,
        })?;
        let output = guard.stdout.take();
        let said = thread::spawn(move || output.map_or_else(String::new, beginning));
        let listening = Self {
            guard,
            said: Some(said),
        };
        listening.wait_until_it_does(pid)
    }

    fn wait_until_it_does(mut self, pid: Pid) -> Result<Self, Error> {
        let sockets = PathBuf::from(format!("/proc/{}/net/tcp", pid.as_raw_nonzero()));
        for _ in 0..MOST_LOOKS {
            if self.said.as_ref().is_none_or(JoinHandle::is_finished) {
                break;
            }
            let text = fs::read_to_string(&sockets).map_err(cannot_use(&sockets))?;
            if listens(&text) {
                return Ok(self);
            }
            thread::sleep(TICK);
        }
        self.end();
        let said = self.said.take().and_then(|said| said.join().ok());
        let said = said.map(|said| said.trim().replace('\n', "; "));
        Err(Error::Relay {
            said: said
                .filter(|said| !said.is_empty())
                .unwrap_or_else(|| "socat does not listen".to_owned()),
        })
    }

    /// Ends the relay with all its connections; they are gone when this returns.
    fn end(&mut self) {
        drop(self.guard.stdin.take());
        let group = i32::try_from(self.guard.id()).ok();
        let Some(group) = group.and_then(Pid::from_raw) else {
            return;
        };
        // What the shell leaves become this process's children, which is their reaper.
        while rustix::process::waitpgid(group, WaitOptions::empty()).is_ok() {}
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.end();
    }
}

/// Says whether a program is installed.
fn is_there(program: &'static str, argument: &str, package: &'static str) -> Result<(), Error> {
    let ran = Command::new(program)
        .arg(argument)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match ran {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Error::NoProgram { program, package })
        }
        Err(source) => Err(Error::Program {
            program: program.to_owned(),
            source,
        }),
    }
}

/// Returns the first process of the container that the hook was given the state of.
fn pid_in(state: &Path) -> Result<Pid, Error> {
    let text = fs::read(state).map_err(cannot_use(state))?;
    serde_json::from_slice::<serde_json::Value>(&text)
        .ok()
        .and_then(|state| i32::try_from(state["pid"].as_i64()?).ok())
        .and_then(Pid::from_raw)
        .ok_or_else(|| cannot_use(state)(io::ErrorKind::InvalidData.into()))
}

/// Reads to the end, and returns the beginning.
fn beginning(mut output: impl Read) -> String {
    let mut said = Vec::new();
    // An error is an end like any other: there is nobody else to tell of it.
    let _ = output.by_ref().take(MOST_SAID).read_to_end(&mut said);
    let _ = io::copy(&mut output, &mut io::sink());
    String::from_utf8_lossy(&said).into_owned()
}

/// Says whether a socket in this `/proc/net/tcp` listens at the relay's port.
fn listens(sockets: &str) -> bool {
    const LISTENING: &str = "0A";
    let port = format!(":{RELAY_PORT:04X}");
    sockets.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next();
        local.is_some_and(|local| local.ends_with(&port)) && fields.nth(1) == Some(LISTENING)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_socket_that_listens_at_the_port_counts() {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue\n";
        let cases = [
            ("nothing", "", false),
            ("it", "   0: 0100007F:0C38 00000000:0000 0A 0:0", true),
            (
                "another port",
                "   0: 0100007F:0C39 00000000:0000 0A 0:0",
                false,
            ),
            (
                "a connection",
                "   0: 0100007F:0C38 0100007F:9A3C 01 0:0",
                false,
            ),
            (
                "one to it",
                "   0: 0100007F:9A3C 0100007F:0C38 0A 0:0",
                false,
            ),
        ];
        for (case, line, expected) in cases {
            assert_eq!(listens(&format!("{head}{line}\n")), expected, "{case}");
        }
    }

    #[test]
    fn a_program_that_is_missing_is_named_with_its_package() {
        let error = is_there("reprove-no-such-program", "-V", "socat").unwrap_err();
        assert_eq!(
            error.to_string(),
            "reprove-no-such-program is not installed (Debian package socat), \
             and a job whose requests are answered needs it"
        );
    }
}
