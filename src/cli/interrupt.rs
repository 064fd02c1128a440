//! Ctrl-C: nothing half-written, no temporary file and no container stays behind.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::Context;
use reprove::rebuild::sandbox;
use rustix::fs::{FlockOperation, flock};

use super::{cache, output, status::INTERRUPTED};

/// Whether the program is being interrupted.
static BEGUN: AtomicBool = AtomicBool::new(false);

/// What is to be removed where the program is interrupted.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// The cache that is worked in, and the file that holds it.
static CACHE: Mutex<Option<(PathBuf, fs::File)>> = Mutex::new(None);

/// Takes SIGINT, SIGTERM and SIGHUP from now on: what is unfinished goes, the exit status is 130.
pub(crate) fn watch() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        BEGUN.store(true, Ordering::SeqCst);
        // First, since what runs in a sandbox still writes to what is removed next.
        sandbox::stop();
        // The lock is kept until the end, so that nothing new is begun meanwhile.
        let unfinished = locked();
        for path in &*unfinished {
            remove(path);
        }
        sweep();
        output::log("interrupted");
        std::process::exit(INTERRUPTED);
    })
    .context("cannot watch for Ctrl-C")
}

/// Does not return once the program is being interrupted: the one who tidies up ends it.
///
/// What ran in a sandbox was cancelled, which is no error to be told of.
pub(crate) fn wait_where_begun() {
    while BEGUN.load(Ordering::SeqCst) {
        thread::park();
    }
}

/// Makes a temporary file or folder, which is removed where the program is interrupted before
/// the returned value is dropped.
pub(crate) fn unfinished<T: AsRef<Path>>(
    make: impl FnOnce() -> io::Result<T>,
) -> io::Result<(T, Unfinished)> {
    // Held while it is made: an interruption in between would not know of it.
    let mut unfinished = locked();
    let temporary = make()?;
    let path = temporary.as_ref().to_owned();
    unfinished.insert(path.clone());
    Ok((temporary, Unfinished(path)))
}

/// Has what is half-written in the cache removed too where the program is interrupted.
///
/// `held` is the file that `root` is held by, together with others.
pub(crate) fn sweeping(root: &Path, held: &fs::File) -> anyhow::Result<()> {
    let held = held.try_clone().context("cannot hold the cache")?;
    *CACHE.lock().unwrap_or_else(PoisonError::into_inner) = Some((root.to_owned(), held));
    Ok(())
}

/// Removes what is half-written in the cache, unless another process works there too.
///
/// That one's files look the same; `reprove cache prune` takes what is left.
fn sweep() {
    let cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((root, held)) = &*cache
        && flock(held, FlockOperation::NonBlockingLockExclusive).is_ok()
        && let Err(error) = cache::sweep(root)
    {
        output::log(&format!("cannot tidy {}: {error}", root.display()));
    }
}

/// A file or folder that is not whole yet.
pub(crate) struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        locked().remove(&self.0);
    }
}

fn locked() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes a file or folder, also while another thread still writes into it.
fn remove(path: &Path) {
    // A file made between listing the folder and removing it makes the first try fail.
    for _ in 0..10 {
        let removed = if path.is_dir() {
            fs::remove_dir_all(path)
        } else {
            fs::remove_file(path)
        };
        if removed.is_ok() || !path.exists() {
            return;
        }
    }
    output::log(&format!("cannot remove {}", path.display()));
}
