//! `reprove cache`: what is kept between runs, how much, and away with it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use indicatif::BinaryBytes;
use reprove::rebuild::sandbox::Runtime;
use serde::Serialize;

use super::{
    Status,
    context::{BLOBS, Context, Lock, SCRATCH, SOURCES, STAGES, lock},
    output::{self, Page},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Shows what is kept between runs, or removes it.
///
/// Kept are the git repositories that sources were fetched from, what registries and
/// mirrors served, and what was built. Removing it costs nothing but the time to fetch
/// and build it again.
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(disable_help_subcommand = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Lists what is kept, the largest first.
    List(Output),
    /// Says where the cache is and how much it takes.
    Size(Output),
    /// Removes what was not used for some time, and what runs that were killed left.
    Prune(Prune),
}

#[derive(Debug, clap::Args)]
struct Output {
    /// Prints it as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Prune {
    /// Keeps what was used within so many days; 0 removes all.
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    unused_for: u32,
}

/// One thing that is kept.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    kind: Kind,
    #[serde(skip)]
    path: PathBuf,
    name: String,
    size_in_bytes: u64,
    days_unused: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// A repository.
    Source,
    /// A blob or manifest of an image.
    Blob,
    /// What a build came to, by the digest of all that went into it.
    Stage,
    /// What a run left that was killed, or works on now.
    Scratch,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Source, Self::Blob, Self::Stage, Self::Scratch];

    fn folder(self, root: &Path) -> PathBuf {
        match self {
            Self::Source => root.join(SOURCES),
            Self::Blob => root.join(BLOBS).join("sha256"),
            Self::Stage => root.join(STAGES),
            Self::Scratch => root.join(SCRATCH),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Blob => "blob",
            Self::Stage => "stage",
            Self::Scratch => "scratch",
        }
    }
}

impl Arguments {
    pub(super) fn run(&self, context: &Context) -> anyhow::Result<Status> {
        let root = context.cache_directory()?;
        match &self.command {
            Command::List(output) => output.list(&root)?,
            Command::Size(output) => output.size(&root)?,
            Command::Prune(prune) => {
                let freed = prune.run(&root, SystemTime::now())?;
                output::print(&format!("{} freed\n", BinaryBytes(freed)))?;
            }
        }
        Ok(Status::Done)
    }
}

impl Output {
    fn list(&self, root: &Path) -> anyhow::Result<()> {
        let kept = kept(root, SystemTime::now())?;
        if self.json {
            return output::print_json(&kept);
        }
        let mut page = Page::default();
        for kept in &kept {
            let size = BinaryBytes(kept.size_in_bytes).to_string();
            let used = match kept.days_unused {
                0 => "today".to_owned(),
                1 => "yesterday".to_owned(),
                days => format!("{days} days ago"),
            };
            let kind = kept.kind.name();
            page.line(format!("{size:>10}  {kind:<7}  {}, used {used}", kept.name));
        }
        page.print()
    }

    fn size(&self, root: &Path) -> anyhow::Result<()> {
        let kept = kept(root, SystemTime::now())?;
        let total: u64 = kept.iter().map(|kept| kept.size_in_bytes).sum();
        if self.json {
            return output::print_json(&serde_json::json!({
                "path": root,
                "sizeInBytes": total,
            }));
        }
        output::print(&format!("{} in {}\n", BinaryBytes(total), root.display()))
    }
}

impl Prune {
    /// Removes what is old enough; returns how many bytes that frees.
    fn run(&self, root: &Path, now: SystemTime) -> anyhow::Result<u64> {
        if !root.exists() {
            return Ok(0);
        }
        let _alone = lock(root, Lock::Alone)?;
        let mut freed = sweep(root).with_context(|| format!("cannot tidy {}", root.display()))?;
        for kept in kept(root, now)? {
            if kept.days_unused >= u64::from(self.unused_for) {
                freed += remove(&kept.path)
                    .with_context(|| format!("cannot remove {}", kept.path.display()))?;
            }
        }
        Ok(freed)
    }
}

/// Removes what is half-written, which nobody may be writing; returns how many bytes that frees.
pub(super) fn sweep(root: &Path) -> io::Result<u64> {
    // How names begin: of a run's folder, of an unfinished blob, of a pack that is
    // being received, of a list of branches that is being written.
    let unfinished = [
        (0, SCRATCH, ""),
        (1, BLOBS, "partial-"),
        (1, SOURCES, "incoming-"),
        (1, SOURCES, ".tmp"),
        (0, STAGES, ".tmp"),
    ];
    let mut freed = 0;
    for (depth, folder, prefix) in unfinished {
        freed += sweep_folder(&root.join(folder), depth, prefix)?;
    }
    Ok(freed)
}

/// Removes what begins with `prefix`, so many folders down.
fn sweep_folder(folder: &Path, depth: usize, prefix: &str) -> io::Result<u64> {
    let mut freed = 0;
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if depth > 0 {
            if entry.file_type()?.is_dir() {
                freed += sweep_folder(&entry.path(), depth - 1, prefix)?;
            }
        } else if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(prefix.as_bytes())
        {
            freed += remove(&entry.path())?;
        }
    }
    Ok(freed)
}

/// Removes a file or folder; returns how many bytes that frees.
fn remove(path: &Path) -> io::Result<u64> {
    let (size, _) = size_and_use(path)?;
    if !path.is_dir() {
        fs::remove_file(path)?;
    } else if let Err(error) = fs::remove_dir_all(path) {
        if error.kind() != io::ErrorKind::PermissionDenied {
            return Err(error);
        }
        // A root file system of a build without root, whose files belong to subordinate ids.
        let scratch = tempfile::tempdir()?;
        let runtime = Runtime::find(scratch.path()).map_err(io::Error::other)?;
        runtime
            .remove_tree(path, scratch.path())
            .map_err(io::Error::other)?;
    }
    Ok(size)
}

/// Returns what is kept, the largest first.
fn kept(root: &Path, now: SystemTime) -> anyhow::Result<Vec<Kept>> {
    let mut all = Vec::new();
    for kind in Kind::ALL {
        let folder = kind.folder(root);
        let read = || format!("cannot read {}", folder.display());
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(read),
        };
        for entry in entries {
            let path = entry.with_context(read)?.path();
            let (size_in_bytes, used) = size_and_use(&path).with_context(read)?;
            let unused = now.duration_since(used).unwrap_or_default();
            all.push(Kept {
                kind,
                name: path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
                path,
                size_in_bytes,
                days_unused: unused.as_secs() / DAY.as_secs(),
            });
        }
    }
    all.sort_by(|one, other| {
        let key = |kept: &Kept| (std::cmp::Reverse(kept.size_in_bytes), kept.kind);
        key(one)
            .cmp(&key(other))
            .then_with(|| one.name.cmp(&other.name))
    });
    Ok(all)
}

/// Returns the bytes of all files below `path`, and when the last of them was written.
fn size_and_use(path: &Path) -> io::Result<(u64, SystemTime)> {
    let metadata = fs::symlink_metadata(path)?;
    let mut size = if metadata.is_file() {
        metadata.len()
    } else {
        0
    };
    let mut used = metadata.modified()?;
    if metadata.is_dir() {
        let entries = match fs::read_dir(path) {
            // Of a build without root: a user's inside, which only that one looks into.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok((0, used)),
            entries => entries?,
        };
        for entry in entries {
            // Another run may be taking away what it made.
            match size_and_use(&entry?.path()) {
                Ok((inner_size, inner_used)) => {
                    size += inner_size;
                    used = used.max(inner_used);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok((size, used))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let files = [
            ("sources/one/file", 10),
            ("sources/two/file", 20),
            ("sources/two/incoming-x/file", 1),
            ("blobs/sha256/abc", 7),
            ("blobs/sha256/partial-x", 2),
            ("scratch/x/file", 5),
        ];
        for (path, size) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vec![0; size]).unwrap();
        }
        root
    }

    fn names(root: &Path) -> Vec<(String, u64)> {
        let kept = kept(root, SystemTime::now()).unwrap();
        kept.into_iter()
            .map(|kept| (kept.name, kept.size_in_bytes))
            .collect()
    }

    fn owned(names: &[(&str, u64)]) -> Vec<(String, u64)> {
        let owned = |&(name, size): &(&str, u64)| (name.to_owned(), size);
        names.iter().map(owned).collect()
    }

    #[test]
    fn what_is_kept_is_listed_the_largest_first() {
        let root = cache();
        let expected = [
            ("two", 21),
            ("one", 10),
            ("abc", 7),
            ("x", 5),
            ("partial-x", 2),
        ];
        assert_eq!(names(root.path()), owned(&expected));
        assert_eq!(names(&root.path().join("nowhere")), []);
    }

    #[test]
    fn pruning_takes_what_is_old_and_all_that_killed_runs_left() {
        let root = cache();
        let prune = Prune { unused_for: 30 };
        assert_eq!(prune.run(root.path(), SystemTime::now()).unwrap(), 8);
        let kept = owned(&[("two", 20), ("one", 10), ("abc", 7)]);
        assert_eq!(names(root.path()), kept);
        let later = |days| SystemTime::now() + days * DAY;
        assert_eq!(prune.run(root.path(), later(29)).unwrap(), 0);
        assert_eq!(prune.run(root.path(), later(31)).unwrap(), 37);
        assert_eq!(names(root.path()), []);
    }

    #[test]
    fn a_cache_in_use_is_not_pruned() {
        let root = cache();
        let _running = lock(root.path(), Lock::Shared).unwrap();
        let error = Prune { unused_for: 0 }
            .run(root.path(), SystemTime::now())
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{} is in use by another reprove", root.path().display())
        );
        assert_eq!(names(root.path()).len(), 5);
    }
}
