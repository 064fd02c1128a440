//! The sandbox, seen from inside: a root file system of busybox, and a real runtime.
//!
//! Run by root, all of this is run once more without root, by a user that is
//! there in a mount namespace only.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    time::Duration,
};

use reprove::rebuild::sandbox::{
    Error, Finished, Job, Limits, Mount, Network, Ran, RootDirectory, Runtime, User,
};

use crate::support::skip;

/// A small program that is no link to a library, for all that is run inside.
const BUSYBOX: &str = "/bin/busybox";

/// What a test gives a job.
struct Setup<'a> {
    environment: &'a [(&'a str, &'a str)],
    directory: &'a str,
    user: User,
    mounts: &'a [Mount<'a>],
    network: Network,
    hostname: &'a str,
    limits: Limits,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self {
            environment: &[("PATH", "/bin")],
            directory: "/",
            user: User::default(),
            mounts: &[],
            network: Network::None,
            hostname: "builder",
            limits: Limits {
                memory_in_bytes: 256 << 20,
                duration: Duration::from_secs(60),
                ..Limits::default()
            },
        }
    }
}

/// A root file system and what runs in it.
struct Inside {
    runtime: Runtime,
    root: RootDirectory,
    scratch: tempfile::TempDir,
}

/// What a script did.
struct Done {
    ran: Ran,
    log: String,
}

impl Inside {
    /// `None` and a skip where there is no runtime or no busybox.
    fn new() -> Option<Self> {
        let scratch = tempfile::tempdir().unwrap();
        let runtime = match Runtime::find(scratch.path()) {
            Ok(runtime) => runtime,
            Err(error) => {
                skip(&error.to_string());
                return None;
            }
        };
        if !is_static(Path::new(BUSYBOX)) {
            skip(&format!("{BUSYBOX} is not there or not linked statically"));
            return None;
        }
        let root = RootDirectory::new(&runtime, scratch.path()).unwrap();
        let bin = root.path().join("bin");
        fs::create_dir(&bin).unwrap();
        fs::copy(BUSYBOX, bin.join("busybox")).unwrap();
        let applets = std::process::Command::new(BUSYBOX)
            .arg("--list")
            .output()
            .unwrap()
            .stdout;
        for applet in String::from_utf8(applets).unwrap().lines() {
            if applet != "busybox" {
                symlink("busybox", bin.join(applet)).unwrap();
            }
        }
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(
            root.path().join("etc/passwd"),
            "root:x:0:0::/wrong:/bin/sh\nann:x:1000:1000::/wrong:/bin/sh\n",
        )
        .unwrap();
        fs::create_dir(root.path().join("tmp")).unwrap();
        let mode = fs::Permissions::from_mode(0o1777);
        fs::set_permissions(root.path().join("tmp"), mode).unwrap();
        Some(Self {
            runtime,
            root,
            scratch,
        })
    }

    fn run(&self, setup: &Setup<'_>, arguments: &[&str]) -> Result<Done, Error> {
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        let environment = setup.environment.iter();
        let environment = environment
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let job = Job {
            root: self.root.path(),
            arguments: &arguments,
            environment: &environment,
            directory: setup.directory,
            user: setup.user,
            mounts: setup.mounts,
            network: setup.network,
            hostname: setup.hostname,
            limits: setup.limits,
        };
        let mut log = Vec::new();
        let ran = self
            .runtime
            .run(&job, self.scratch.path(), &mut log, &|| false)?;
        Ok(Done {
            ran,
            log: String::from_utf8_lossy(&log).into_owned(),
        })
    }

    /// Runs a script; its output.
    #[track_caller]
    fn sh(&self, script: &str) -> String {
        self.sh_with(&Setup::default(), script)
    }

    #[track_caller]
    fn sh_with(&self, setup: &Setup<'_>, script: &str) -> String {
        let done = self.run(setup, &["sh", "-c", script]).unwrap();
        assert_eq!(
            done.ran.outcome,
            Finished::Succeeded,
            "{script}: {}",
            done.log
        );
        done.log
    }
}

/// Says whether a program names no interpreter, which is what loads libraries.
fn is_static(program: &Path) -> bool {
    const INTERPRETER: &[u8] = b"/ld-linux";
    fs::read(program).is_ok_and(|bytes| {
        !bytes[..bytes.len().min(4096)]
            .windows(INTERPRETER.len())
            .any(|window| window == INTERPRETER)
    })
}

#[test]
fn host_name_ids_umask_and_environment_are_as_promised() {
    let Some(inside) = Inside::new() else { return };
    let script = "hostname; id -u; id -g; id -G; umask; pwd; env | sort; \
        touch /tmp/made; stat -c %a /tmp/made";
    assert_eq!(
        inside.sh(script),
        "builder\n0\n0\n0\n0022\n/\nHOME=/root\nLC_ALL=C.UTF-8\nPATH=/bin\nPWD=/\nSHLVL=1\nTZ=UTC\n644\n"
    );
    let ann = User {
        uid: 1000,
        gid: 1001,
    };
    let setup = Setup {
        user: ann,
        hostname: "other",
        directory: "/tmp",
        ..Setup::default()
    };
    assert_eq!(
        inside.sh_with(
            &setup,
            "hostname; id -u; id -g; id -G; pwd; grep Cap[IPE] /proc/self/status"
        ),
        "other\n1000\n1001\n1001\n/tmp\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\n\
         CapEff:\t0000000000000000\n"
    );
    let setup = Setup {
        environment: &[
            ("PATH", "/bin"),
            ("HOME", "/home/ann"),
            ("TZ", "CET"),
            ("A", "b=c\nd"),
        ],
        ..setup
    };
    assert_eq!(
        inside.run(&setup, &["env"]).unwrap().log,
        "A=b=c\nd\nHOME=/home/ann\nLC_ALL=C.UTF-8\nPATH=/bin\nTZ=CET\n"
    );
}
