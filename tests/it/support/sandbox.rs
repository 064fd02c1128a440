//! A root file system of busybox in a real runtime, for tests that look from inside.

use std::{
    fs,
    os::{
        linux::fs::MetadataExt as _,
        unix::fs::{PermissionsExt as _, symlink},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use reprove::rebuild::sandbox::{
    Error, Finished, Job, Limits, Mount, Network, Ran, RootDirectory, Runtime, User,
};

pub(crate) use super::machine::{BUSYBOX, is_static, without_root};
use super::skip;

/// What a test gives a job.
pub(crate) struct Setup<'a> {
    pub(crate) environment: &'a [(&'a str, &'a str)],
    pub(crate) directory: &'a str,
    pub(crate) user: User,
    pub(crate) mounts: &'a [Mount<'a>],
    pub(crate) network: Network<'a>,
    pub(crate) hostname: &'a str,
    pub(crate) limits: Limits,
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
pub(crate) struct Inside {
    pub(crate) runtime: Runtime,
    pub(crate) root: RootDirectory,
    pub(crate) scratch: tempfile::TempDir,
}

/// What a script did.
pub(crate) struct Done {
    pub(crate) ran: Ran,
    pub(crate) log: String,
}

impl Inside {
    /// `None` and a skip where there is no runtime or no busybox.
    pub(crate) fn new() -> Option<Self> {
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

    pub(crate) fn run(&self, setup: &Setup<'_>, arguments: &[&str]) -> Result<Done, Error> {
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
    pub(crate) fn sh(&self, script: &str) -> String {
        self.sh_with(&Setup::default(), script)
    }

    #[track_caller]
    pub(crate) fn sh_with(&self, setup: &Setup<'_>, script: &str) -> String {
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

/// Returns every path below `root` with its mode and time of change.
pub(crate) fn listing(root: &Path) -> Vec<(PathBuf, u32, i64, i64)> {
    let mut found = Vec::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = path.symlink_metadata().unwrap();
        if metadata.is_dir() {
            left.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
        found.push((
            path,
            metadata.st_mode(),
            metadata.st_mtime(),
            metadata.st_mtime_nsec(),
        ));
    }
    found.sort();
    found
}

/// Says whether a process with this argument runs anywhere on this machine.
pub(crate) fn is_running(argument: &str) -> bool {
    fs::read_dir("/proc").unwrap().any(|entry| {
        let line = fs::read(entry.unwrap().path().join("cmdline")).unwrap_or_default();
        line.split(|&byte| byte == 0)
            .any(|word| word == argument.as_bytes())
    })
}

/// Waits for something to become so.
#[track_caller]
pub(crate) fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Returns a number of seconds to sleep that no other process sleeps for.
pub(crate) fn odd_time() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("9{:07}{count:02}", std::process::id())
}
