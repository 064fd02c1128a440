//! Real git repositories for tests, made the same on every machine.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something unexpected is"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// When the first commit of a test is made; each later one a minute after.
pub(crate) const FIRST_COMMIT_AT: i64 = 1_700_000_000;

/// A working tree in a temporary folder.
pub(crate) struct Repository {
    folder: tempfile::TempDir,
    commits: std::cell::Cell<i64>,
}

impl Repository {
    /// Makes an empty repository whose branch is `main`.
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// Makes an empty repository with more options of `git init`.
    pub(crate) fn with(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repository = Self {
            folder,
            commits: std::cell::Cell::new(0),
        };
        let mut arguments = vec!["init", "--quiet", "--initial-branch=main"];
        arguments.extend(options);
        repository.git(&arguments);
        repository
    }

    /// Returns the top of the working tree.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs git in the working tree and returns what it says.
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        self.git_with_input(arguments, b"")
    }

    /// Runs git with something to read.
    pub(crate) fn git_with_input(&self, arguments: &[&str], input: &[u8]) -> String {
        git(self.path(), arguments, input, self.commits.get())
    }

    /// Writes a file, with the folders above it.
    pub(crate) fn write(&self, path: &str, contents: impl AsRef<[u8]>) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    /// Makes a symbolic link.
    pub(crate) fn link(&self, path: &str, target: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    }

    /// Commits everything and returns the commit's id.
    pub(crate) fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.commits.set(self.commits.get() + 1);
        self.id("HEAD")
    }

    /// Returns the id of whatever `revision` names.
    pub(crate) fn id(&self, revision: &str) -> String {
        self.git(&["rev-parse", "--verify", revision])
    }

    /// Returns the path of the loose object.
    pub(crate) fn loose(&self, id: &str) -> PathBuf {
        self.path()
            .join(".git/objects")
            .join(&id[..2])
            .join(&id[2..])
    }
}

/// Returns a command that knows nothing of this machine's or user's settings.
pub(crate) fn command(folder: &Path, minutes: i64) -> Command {
    let mut command = Command::new("git");
    let date = format!("{} +0000", FIRST_COMMIT_AT + 60 * minutes);
    command
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", "/nonexistent")
        .env("TZ", "UTC")
        .env("LC_ALL", "C")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env("GIT_AUTHOR_NAME", "Ada")
        .env("GIT_AUTHOR_EMAIL", "ada@example.org")
        .env("GIT_AUTHOR_DATE", &date)
        .env("GIT_COMMITTER_NAME", "Ada")
        .env("GIT_COMMITTER_EMAIL", "ada@example.org")
        .env("GIT_COMMITTER_DATE", &date);
    command
}

/// Runs git in `folder` and returns what it says, without the last line's end.
pub(crate) fn git(folder: &Path, arguments: &[&str], input: &[u8], minutes: i64) -> String {
    let mut child = command(folder, minutes)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}
