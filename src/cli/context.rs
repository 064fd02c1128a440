//! What commands get from the process: folders, environment, clock, a voice.

use std::{
    env,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};
use reprove::{
    image::registry::Access, recipe::lockfile::Archive, source::redacted, store::Store,
    verify::World,
};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::{
    interrupt,
    progress::{Bars, Verbosity},
};

/// What every command is run with.
pub(super) struct Context {
    /// What is said while work goes on.
    pub(super) progress: Bars,
    /// How much is said.
    pub(super) verbosity: Verbosity,
    /// What `--cache-dir` or its variable says.
    cache_option: Option<PathBuf>,
}

/// The folders that a command works in.
pub(super) struct Folders {
    /// Where repositories are kept between runs.
    cache: PathBuf,
    /// What registries served.
    store: Store,
    /// What was built before; made when something is.
    stages: PathBuf,
    /// Removed when dropped, and where the program is interrupted.
    scratch: tempfile::TempDir,
    _unfinished: interrupt::Unfinished,
    _in_use: fs::File,
}

/// How the cache is held while something is done in it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lock {
    /// Together with any number of other processes.
    Shared,
    /// By this process alone.
    Alone,
}

/// The folder of the cache that scratch folders are made in.
pub(super) const SCRATCH: &str = "scratch";
/// The folder of the cache that repositories are kept in.
pub(super) const SOURCES: &str = "sources";
/// The folder of the cache that blobs are kept in.
pub(super) const BLOBS: &str = "blobs";
/// The folder of the cache that says what was built before.
pub(super) const STAGES: &str = "stages";

impl Folders {
    /// Returns where repositories are kept.
    pub(super) fn cache(&self) -> &Path {
        &self.cache
    }

    /// Returns an empty folder that is gone when the command ends.
    pub(super) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Returns where it is kept what was built before.
    pub(super) fn stages(&self) -> &Path {
        &self.stages
    }

    /// Returns where blobs are kept.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }
}

impl Context {
    pub(super) fn new(verbosity: Verbosity, cache_option: Option<PathBuf>) -> Self {
        Self {
            progress: Bars::on_standard_error(verbosity),
            verbosity,
            cache_option,
        }
    }

    /// Returns the folder of the cache; it need not exist.
    pub(super) fn cache_directory(&self) -> anyhow::Result<PathBuf> {
        match cache_directory(self.cache_option.clone(), |name| env::var_os(name)) {
            Some(directory) => Ok(directory),
            None => bail!("there is no home directory to keep the cache in"),
        }
    }

    /// Makes the folders that a command works in.
    pub(super) fn folders(&self) -> anyhow::Result<Folders> {
        let root = self.cache_directory()?;
        let made = |path: PathBuf| -> anyhow::Result<PathBuf> {
            private_folder(&path)
                .with_context(|| format!("cannot make the folder {}", path.display()))?;
            Ok(path)
        };
        let in_use = lock(&made(root.clone())?, Lock::Shared)?;
        let cache = made(root.join(SOURCES))?;
        let store = Store::open(&root.join(BLOBS)).context("cannot use the cache")?;
        let scratch_root = made(root.join(SCRATCH))?;
        let scratch_folder = || {
            tempfile::Builder::new()
                .prefix("")
                .tempdir_in(&scratch_root)
        };
        let (scratch, unfinished) = interrupt::unfinished(scratch_folder)
            .with_context(|| format!("cannot make a folder in {}", scratch_root.display()))?;
        interrupt::sweeping(&root, &in_use)?;
        Ok(Folders {
            cache,
            store,
            stages: root.join(STAGES),
            scratch,
            _unfinished: unfinished,
            _in_use: in_use,
        })
    }

    /// Returns what the library needs of the world around it.
    pub(super) fn world<'a>(&'a self, folders: &'a Folders, access: &'a Access) -> World<'a> {
        World {
            cache: &folders.cache,
            scratch: folders.scratch.path(),
            access,
            progress: &self.progress,
            clock: jiff::Timestamp::now,
        }
    }
}

/// Holds the cache until the returned file is dropped; `Alone` does not wait for others.
pub(super) fn lock(root: &Path, lock: Lock) -> anyhow::Result<fs::File> {
    let folder = fs::File::open(root).with_context(|| format!("cannot open {}", root.display()))?;
    let operation = match lock {
        // Who prunes is soon done.
        Lock::Shared => FlockOperation::LockShared,
        Lock::Alone => FlockOperation::NonBlockingLockExclusive,
    };
    match flock(&folder, operation) {
        Ok(()) => Ok(folder),
        Err(Errno::WOULDBLOCK) => bail!("{} is in use by another reprove", root.display()),
        Err(error) => Err(error).with_context(|| format!("cannot lock {}", root.display())),
    }
}

/// Makes a folder, and those above it, that only the user may look into.
fn private_folder(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// Returns the command line for reports, without passwords.
pub(super) fn command_line() -> Vec<String> {
    let words = env::args_os()
        .skip(1)
        .map(|word| redacted(&word.to_string_lossy()));
    std::iter::once("reprove".to_owned()).chain(words).collect()
}

/// Returns the files that Podman and Docker keep logins in, the first to be asked first.
///
/// They need not exist. Source: containers-auth.json(5), and `docker login`.
pub(super) fn login_files() -> Vec<PathBuf> {
    let folder = |name: &str| env::var_os(name).map(PathBuf::from);
    let home = folder("HOME");
    let config = folder("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
    let docker = folder("DOCKER_CONFIG").or_else(|| Some(home?.join(".docker")));
    [
        folder("REGISTRY_AUTH_FILE"),
        folder("XDG_RUNTIME_DIR").map(|run| run.join("containers/auth.json")),
        config.map(|config| config.join("containers/auth.json")),
        docker.map(|docker| docker.join("config.json")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Returns the mirrors of archives that this host's apt is set up with, in apt's order.
///
/// Empty where there is no apt. Only what is served over HTTP is returned: apt
/// knows other ways too. A mirror's archive is told from the last word of its URL.
pub(super) fn apt_mirrors() -> anyhow::Result<Vec<(Archive, String)>> {
    let output = Command::new("apt-get")
        .args(["indextargets", "--format", "$(REPO_URI)"])
        .env("LC_ALL", "C.UTF-8")
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context("cannot run apt-get"),
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "cannot ask apt-get for this host's mirrors: {}",
            said.trim()
        );
    }
    Ok(mirrors(&String::from_utf8_lossy(&output.stdout)))
}

/// Reads URLs of repositories, one a line.
fn mirrors(urls: &str) -> Vec<(Archive, String)> {
    let mut mirrors = Vec::new();
    for url in urls.lines().map(|line| line.trim_end_matches('/')) {
        let is_http = url.starts_with("http://") || url.starts_with("https://");
        let name = url.rsplit('/').next().unwrap_or_default();
        if let (true, Ok(archive)) = (is_http, name.parse()) {
            let mirror = (archive, url.to_owned());
            if !mirrors.contains(&mirror) {
                mirrors.push(mirror);
            }
        }
    }
    mirrors
}

/// Returns where the cache is, by the option and the XDG base directory specification.
fn cache_directory(
    option: Option<PathBuf>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Option<PathBuf> {
    // The specification wants relative paths ignored.
    let absolute = |name| {
        variable(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    option
        .or_else(|| absolute("XDG_CACHE_HOME").map(|base| base.join("reprove")))
        .or_else(|| absolute("HOME").map(|home| home.join(".cache/reprove")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_told_by_the_last_word_of_their_url() {
        let urls = "http://one.example/debian/\nhttp://one.example/debian\n\
            cdrom:[Debian]/debian\nhttps://two.example/x/debian-security/\n\
            https://three.example/apt\nhttp://four.example/ubuntu/\n";
        let mirror = |archive, url: &str| (archive, url.to_owned());
        assert_eq!(
            mirrors(urls),
            [
                mirror(Archive::Debian, "http://one.example/debian"),
                mirror(
                    Archive::DebianSecurity,
                    "https://two.example/x/debian-security"
                ),
                mirror(Archive::Ubuntu, "http://four.example/ubuntu"),
            ]
        );
    }

    #[test]
    fn the_cache_is_where_the_option_or_the_xdg_variables_say() {
        let cases = [
            (
                "option",
                Some("here"),
                Some("/xdg"),
                Some("/home/u"),
                Some("here"),
            ),
            (
                "xdg",
                None,
                Some("/xdg"),
                Some("/home/u"),
                Some("/xdg/reprove"),
            ),
            (
                "relative xdg",
                None,
                Some("xdg"),
                Some("/home/u"),
                Some("/home/u/.cache/reprove"),
            ),
            (
                "home",
                None,
                None,
                Some("/home/u"),
                Some("/home/u/.cache/reprove"),
            ),
            ("nothing", None, None, None, None),
        ];
        for (case, option, xdg, home, expected) in cases {
            let found = cache_directory(option.map(PathBuf::from), |name| match name {
                "XDG_CACHE_HOME" => xdg.map(OsString::from),
                "HOME" => home.map(OsString::from),
                _ => None,
            });
            assert_eq!(found, expected.map(PathBuf::from), "{case}");
        }
    }
}
