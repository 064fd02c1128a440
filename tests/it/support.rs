//! What tests share: the program in a fixed environment, test data, golden files, skipping.

pub(crate) mod machine;
pub(crate) mod registry;
pub(crate) mod sandbox;
pub(crate) mod sums;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

pub(crate) use machine::skip;
use reprove::{
    image::Access,
    material::Mirrors,
    rebuild::{Conditions, Reuse, Stages, sandbox::Limits},
    store::Store,
    verify::Workplace,
};

/// Returns a command that runs the program with nothing of this machine's environment.
///
/// `home` becomes `HOME`; the cache goes below it.
pub(crate) fn reprove(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reprove"));
    command
        .env_clear()
        .env("HOME", home)
        .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
        .env("TZ", "UTC")
        .env("LC_ALL", "C.UTF-8")
        .env("COLUMNS", "100")
        .current_dir(home)
        .stdin(std::process::Stdio::null());
    command
}

/// What a command said and how it ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// The exit status; `None` where a signal ended it.
    pub(crate) status: Option<i32>,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

/// Runs the command to its end; a report that it prints as JSON is one whose sums close.
pub(crate) fn said(command: &mut Command) -> Said {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let stdout = String::from_utf8(stdout).unwrap();
    sums::printed(&stdout);
    Said {
        status: status.code(),
        stdout,
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

/// What builds that run commands are made with in a test.
pub(crate) struct Making {
    pub(crate) store: Store,
    pub(crate) stages: Stages,
    pub(crate) conditions: Conditions,
    pub(crate) registries: Access,
}

impl Making {
    /// Keeps everything below `cache`, which is made.
    pub(crate) fn new(cache: &Path) -> Self {
        Self {
            store: Store::open(&cache.join("blobs")).unwrap(),
            stages: Stages::new(cache.join("stages"), Reuse::Allowed),
            conditions: Conditions::default(),
            registries: Access::default(),
        }
    }

    /// Returns what a build is made with; no mirror is known.
    pub(crate) fn workplace(&self) -> Workplace<'_> {
        Workplace {
            store: &self.store,
            stages: &self.stages,
            mirrors: &|| Ok(Mirrors::default()),
            registries: &self.registries,
            keyring: None,
            conditions: &self.conditions,
            limits: Limits::default(),
        }
    }
}

/// Returns a path below the folder of real images, `None` and a skip where there is none.
pub(crate) fn test_image(path: &str) -> Option<PathBuf> {
    test_data("REPROVE_TEST_IMAGES", &[path])
}

/// Returns a bare clone of a GitHub repository, `None` and a skip where there is none.
pub(crate) fn test_source(owner: &str, name: &str) -> Option<PathBuf> {
    test_data(
        "REPROVE_TEST_SOURCES",
        &[
            &format!("{owner}+{name}/repo"),
            &format!("{owner}/{name}.git"),
        ],
    )
}

fn test_data(variable: &str, paths: &[&str]) -> Option<PathBuf> {
    let Some(folder) = env::var_os(variable).map(PathBuf::from) else {
        skip(&format!("{variable} is not set"));
        return None;
    };
    let found = paths
        .iter()
        .map(|path| folder.join(path))
        .find(|path| path.exists());
    if found.is_none() {
        skip(&format!("{variable} has no {}", paths.join(" or ")));
    }
    found
}

/// Compares with the file `golden/<name>`; `UPDATE_GOLDEN=1` writes it instead.
#[track_caller]
pub(crate) fn assert_golden(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("golden")
        .join(name);
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, actual).unwrap();
        return;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == actual,
        "golden/{name} is not what came out (UPDATE_GOLDEN=1 cargo test rewrites it):\n{}",
        similar::TextDiff::from_lines(&expected, actual).unified_diff()
    );
}
