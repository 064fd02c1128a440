//! Mount points: places in a root file system to mount at, made and taken away again.
//!
//! A runtime makes what is missing and leaves it; which of that was there
//! before is then no longer known. So it is made here. The times of the
//! directories around it are put back as they were.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, FileTimes},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{DirBuilderExt, OpenOptionsExt},
    },
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, openat2, statat, unlinkat},
    io::Errno,
};

use super::{Error, cannot_use};

/// What was made in a root file system; taken away when dropped, or by [`Self::remove`].
pub(super) struct MountPoints {
    root: PathBuf,
    /// Below the root, without links; each after what it lies in.
    made: Vec<(PathBuf, Kind)>,
}

/// What is mounted, and so what it must be mounted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
}

/// As many as the kernel follows.
const MOST_LINKS: usize = 40;

impl MountPoints {
    pub(super) fn in_root(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            made: Vec::new(),
        }
    }

    /// Makes sure that there is something to mount at; returns where, links followed.
    ///
    /// To be called while nothing runs in the root, which could change what is looked at.
    pub(super) fn make(&mut self, destination: &str, kind: Kind) -> Result<PathBuf, Error> {
        let root = self.root.clone();
        let problem = |problem: &str| Error::MountPoint {
            root: root.clone(),
            destination: destination.to_owned(),
            problem: problem.to_owned(),
        };
        let mut links = 0;
        let mut at = PathBuf::new();
        let mut left: Vec<OsString> = Vec::new();
        push(&mut left, Path::new(destination));
        while let Some(name) = left.pop() {
            if name == ".." {
                at.pop();
                continue;
            }
            let inside = at.join(&name);
            let path = self.root.join(&inside);
            let wanted = if left.is_empty() {
                kind
            } else {
                Kind::Directory
            };
            match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_symlink() => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(problem("too many links"));
                    }
                    let target = fs::read_link(&path).map_err(cannot_use(&path))?;
                    if target.is_absolute() {
                        at = PathBuf::new();
                    }
                    push(&mut left, &target);
                    continue;
                }
                Ok(metadata) if metadata.is_dir() != (wanted == Kind::Directory) => {
                    return Err(problem(match wanted {
                        Kind::Directory => "there is a file in the way",
                        Kind::File => "there is a directory in the way",
                    }));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.place(&inside, wanted).map_err(cannot_use(&path))?;
                }
                Err(source) => return Err(Error::File { path, source }),
            }
            at = inside;
        }
        Ok(Path::new("/").join(at))
    }

    /// Says whether the root has a file at a place, links followed within the root.
    ///
    /// What cannot be looked at counts as not there.
    pub(super) fn has_file(&self, destination: &str) -> Result<bool, Error> {
        let directory = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&self.root, directory, Mode::empty())
            .and_then(|root| {
                openat2(
                    root,
                    destination,
                    flags,
                    Mode::empty(),
                    ResolveFlags::IN_ROOT,
                )
            })
            .and_then(|file| rustix::fs::fstat(&file));
        match opened {
            Ok(found) => Ok(FileType::from_raw_mode(found.st_mode) == FileType::RegularFile),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => Ok(false),
            Err(errno) => Err(cannot_use(&self.root)(errno.into())),
        }
    }

    /// Makes one file or directory.
    fn place(&mut self, inside: &Path, kind: Kind) -> io::Result<()> {
        let path = self.root.join(inside);
        let parent = File::open(path.parent().unwrap_or(&self.root))?;
        let times = times(&parent)?;
        match kind {
            // The mode is the whole one only where the umask leaves it.
            Kind::Directory => DirBuilder::new().mode(0o755).create(&path)?,
            Kind::File => drop(
                File::options()
                    .write(true)
                    .create_new(true)
                    .mode(0o644)
                    .open(&path)?,
            ),
        }
        self.made.push((inside.to_owned(), kind));
        parent.set_times(times)
    }

    /// Takes away what was made, unless something is in it.
    pub(super) fn remove(mut self) -> Result<(), Error> {
        self.take_away()
    }

    fn take_away(&mut self) -> Result<(), Error> {
        let mut first = Ok(());
        for (inside, kind) in std::mem::take(&mut self.made).into_iter().rev() {
            let path = self.root.join(&inside);
            let taken = take_away(&self.root, &inside, kind).map_err(|errno| Error::File {
                path,
                source: errno.into(),
            });
            first = first.and(taken);
        }
        first
    }
}

impl Drop for MountPoints {
    fn drop(&mut self) {
        // Whoever drops this has an error to tell already.
        let _ = self.take_away();
    }
}

/// Removes one file or directory, if it is still what was made.
///
/// The command may have put links in the way, which would lead out of the
/// root; so none is followed.
fn take_away(root: &Path, inside: &Path, kind: Kind) -> Result<(), Errno> {
    let root = rustix::fs::open(root, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let Some(name) = inside.file_name() else {
        return Ok(());
    };
    let parent = match inside.parent() {
        Some(parent) if parent != Path::new("") => match openat2(
            &root,
            parent,
            OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        ) {
            Ok(parent) => parent,
            // The command moved it: what it made of it is its own.
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => return Ok(()),
            Err(errno) => return Err(errno),
        },
        _ => root,
    };
    let removed = match kind {
        Kind::Directory => removed(&parent, name, AtFlags::REMOVEDIR),
        Kind::File => match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if found.st_size > 0 => return Ok(()),
            Ok(_) => removed(&parent, name, AtFlags::empty()),
            Err(errno) => Err(errno),
        },
    };
    match removed {
        Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::NOTDIR | Errno::ISDIR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn removed(parent: &OwnedFd, name: &std::ffi::OsStr, flags: AtFlags) -> Result<(), Errno> {
    let before = rustix::fs::fstat(parent)?;
    unlinkat(parent, name, flags)?;
    let time = |seconds, nanoseconds: i64| rustix::fs::Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    #[expect(clippy::cast_possible_wrap, reason = "nanoseconds are below 10^9")]
    let times = rustix::fs::Timestamps {
        last_access: time(before.st_atime, before.st_atime_nsec as i64),
        last_modification: time(before.st_mtime, before.st_mtime_nsec as i64),
    };
    rustix::fs::futimens(parent.as_fd(), &times)
}

/// Adds the parts of a path, so that the first is taken first.
fn push(left: &mut Vec<OsString>, path: &Path) {
    for part in path.components().rev() {
        match part {
            Component::Normal(name) => left.push(name.to_owned()),
            Component::ParentDir => left.push("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
}

fn times(directory: &File) -> io::Result<FileTimes> {
    let metadata = directory.metadata()?;
    Ok(FileTimes::new()
        .set_accessed(metadata.accessed()?)
        .set_modified(metadata.modified()?))
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, time::SystemTime};

    use super::*;

    fn listing(root: &Path) -> Vec<(PathBuf, SystemTime)> {
        let mut found = Vec::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            found.push((
                folder.clone(),
                folder.metadata().unwrap().modified().unwrap(),
            ));
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let metadata = path.symlink_metadata().unwrap();
                if metadata.is_dir() {
                    folders.push(path);
                } else {
                    found.push((path, metadata.modified().unwrap()));
                }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn what_was_made_is_gone_afterwards_and_the_times_are_as_before() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("etc/deep")).unwrap();
        fs::create_dir(root.join("dev")).unwrap();
        fs::write(root.join("etc/hosts"), "").unwrap();
        symlink("../run/systemd/resolv.conf", root.join("etc/resolv.conf")).unwrap();
        symlink("/../../etc/deep", root.join("out")).unwrap();
        let before = listing(root);

        let mut points = MountPoints::in_root(root);
        let cases = [
            ("/proc", Kind::Directory, "/proc"),
            ("/dev", Kind::Directory, "/dev"),
            ("/etc/hosts", Kind::File, "/etc/hosts"),
            ("/etc/resolv.conf", Kind::File, "/run/systemd/resolv.conf"),
            ("/out/../new/./file", Kind::File, "/etc/new/file"),
        ];
        for (destination, kind, expected) in cases {
            assert_eq!(
                points.make(destination, kind).unwrap(),
                Path::new(expected),
                "{destination}"
            );
            assert!(root.join(&expected[1..]).exists(), "{destination}");
        }
        points.remove().unwrap();
        assert_eq!(listing(root), before);
    }

    #[test]
    fn a_link_put_in_the_way_does_not_lead_out_when_taking_away() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        let outside = directory.path().join("outside");
        fs::create_dir(&root).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "").unwrap();
        let mut points = MountPoints::in_root(&root);
        points.make("/etc/file", Kind::File).unwrap();
        fs::rename(root.join("etc"), root.join("moved")).unwrap();
        symlink(&outside, root.join("etc")).unwrap();
        points.remove().unwrap();
        assert!(outside.join("file").exists());
        assert!(root.join("moved/file").exists());
    }

    #[test]
    fn what_has_become_more_than_a_mount_point_stays() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let mut points = MountPoints::in_root(root);
        points.make("/etc/resolv.conf", Kind::File).unwrap();
        fs::write(root.join("etc/passwd"), "root").unwrap();
        points.remove().unwrap();
        assert!(root.join("etc/passwd").exists());
        assert!(!root.join("etc/resolv.conf").exists());
    }

    #[test]
    fn a_link_in_circles_and_a_file_in_the_way_are_errors() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        symlink("circle", root.join("circle")).unwrap();
        fs::write(root.join("proc"), "").unwrap();
        let mut points = MountPoints::in_root(root);
        for (destination, problem) in [
            ("/circle", "too many links"),
            ("/proc", "there is a file in the way"),
        ] {
            let error = points.make(destination, Kind::Directory).unwrap_err();
            assert!(error.to_string().ends_with(problem), "{error}");
        }
    }
}
