//! Mounts: what a RUN sees besides its root, and leaves no trace of.
//!
//! Source: moby/buildkit `frontend/dockerfile/instructions/commands_runmount.go`,
//! `executor/oci/hosts.go` and `resolvconf.go`.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::{Timespec, Timestamps, futimens};
use tempfile::TempDir;

use super::root::{Root, cannot_write};
use crate::rebuild::{
    Error, Stop,
    dockerfile::{Run, RunLine, paths},
    instructions::{Rules, SCRIPTS, Stage},
    sandbox::{Access, Mount},
    workshop::Workshop,
};

/// Where a copy of the context is within its root.
pub(super) const CONTEXT: &str = "/context";
/// Where an empty directory is within its root.
pub(super) const EMPTY: &str = "/cache";

const HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";
const RESOLVER: &str = "# There is no network.\n";

/// The files that a Docker build has besides those of the image.
pub(super) struct Surroundings {
    folder: TempDir,
}

impl Surroundings {
    pub(super) fn new(workshop: &Workshop<'_>, now: i64) -> Result<Self, Stop> {
        let scratch = workshop.scratch();
        let folder = tempfile::tempdir_in(scratch).map_err(cannot_write(scratch))?;
        for (name, text) in [("hosts", HOSTS), ("resolv.conf", RESOLVER)] {
            file(&folder.path().join(name), text, 0o644, now)?;
        }
        Ok(Self { folder })
    }
}

/// Writes a file whose mode and time are known.
fn file(path: &Path, text: &str, mode: u32, now: i64) -> Result<(), Error> {
    fs::write(path, text).map_err(cannot_write(path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(cannot_write(path))?;
    let time = Timespec {
        tv_sec: now,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    let file = fs::File::open(path).map_err(cannot_write(path))?;
    futimens(&file, &times).map_err(|errno| cannot_write(path)(errno.into()))
}

/// One `--mount`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) kind: Kind,
    /// The stage or image, `None` for the context.
    pub(super) from: Option<String>,
    /// Absolute.
    pub(super) target: String,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// What is at this path; what is changed of it is lost with the command.
    Bind { source: String, access: Access },
    /// An empty directory, for the one command.
    Empty { mode: u32, owner: (u32, u32) },
}

/// Reads the flags of a RUN.
pub(super) fn requests(
    run: &Run,
    rules: Rules<'_>,
    stage: &Stage<'_>,
    line: usize,
) -> Result<Vec<Request>, Stop> {
    let mut requests = Vec::new();
    for flag in &run.flags {
        let value = stage.word(flag.value.as_deref().unwrap_or_default())?;
        match (flag.name.as_str(), value.as_str()) {
            // There is no network but the container's own in either case.
            ("network", "default" | "none") | ("security", "sandbox") => {}
            ("mount", _) => requests.push(request(&value, rules, stage, line)?),
            (name, value) => {
                return Err(rules.unsupported(line, format!("has --{name}={value}")));
            }
        }
    }
    Ok(requests)
}

fn request(text: &str, rules: Rules<'_>, stage: &Stage<'_>, line: usize) -> Result<Request, Stop> {
    let unsupported = || rules.unsupported(line, format!("has --mount={text}"));
    let mut kind = "bind";
    let mut from = None;
    let mut source = "/";
    let mut target = None;
    let mut writable = None;
    let mut ids = [None; 2];
    let mut mode = None;
    for option in text.split(',') {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        match (name.to_lowercase().as_str(), value) {
            ("type", Some(value)) => kind = value,
            ("from", Some(value)) => from = Some(value.to_owned()),
            ("source" | "src", Some(value)) => source = value,
            ("target" | "dst" | "destination", Some(value)) => target = Some(value),
            ("readonly" | "ro", None | Some("true")) | ("readwrite" | "rw", Some("false")) => {
                writable = Some(false);
            }
            ("readwrite" | "rw", None | Some("true")) | ("readonly" | "ro", Some("false")) => {
                writable = Some(true);
            }
            // They say with whom a cache is shared, and here it is with nobody.
            ("id" | "sharing", Some(_)) if kind == "cache" => {}
            ("size", Some(_)) if kind == "tmpfs" => {}
            ("uid", Some(value)) => ids[0] = Some(value.parse().map_err(|_| unsupported())?),
            ("gid", Some(value)) => ids[1] = Some(value.parse().map_err(|_| unsupported())?),
            ("mode", Some(value)) => match u32::from_str_radix(value, 8) {
                Ok(value) if value <= 0o7777 => mode = Some(value),
                _ => return Err(unsupported()),
            },
            _ => return Err(unsupported()),
        }
    }
    let is_owned = mode.is_some() || ids.iter().any(Option::is_some);
    let bind = |access| Kind::Bind {
        source: source.to_owned(),
        access,
    };
    let kind = match kind {
        "bind" if !is_owned => bind(match writable {
            Some(true) => Access::Writable,
            Some(false) | None => Access::ReadOnly,
        }),
        // An empty cache has what it is begun with.
        "cache" if from.is_some() && !is_owned && writable != Some(false) => bind(Access::Writable),
        "cache" if from.is_none() && writable != Some(false) => Kind::Empty {
            mode: mode.unwrap_or(0o755),
            owner: (ids[0].unwrap_or(0), ids[1].unwrap_or(0)),
        },
        "tmpfs" if from.is_none() && !is_owned => Kind::Empty {
            mode: 0o1777,
            owner: (0, 0),
        },
        _ => return Err(unsupported()),
    };
    let target = target.ok_or_else(|| Stop::failed(format!("--mount={text} has no target")))?;
    Ok(Request {
        kind,
        from,
        target: paths::absolute(&stage.run.working_directory, target),
    })
}

/// The mounts of one RUN, and what is there for them alone.
pub(super) struct Mounts<'a> {
    places: Vec<(PathBuf, String, Access)>,
    folders: Vec<TempDir>,
    roots: Vec<Root<'a>>,
}

impl<'a> Mounts<'a> {
    pub(super) fn new(surroundings: &Surroundings) -> Self {
        let folder = surroundings.folder.path();
        let mount = |name: &str| (folder.join(name), format!("/etc/{name}"), Access::ReadOnly);
        Self {
            places: vec![mount("hosts"), mount("resolv.conf")],
            folders: Vec::new(),
            roots: Vec::new(),
        }
    }

    /// Adds the script that is run, if it is one of the Dockerfile.
    pub(super) fn script(&mut self, line: &RunLine, workshop: &Workshop<'_>) -> Result<(), Stop> {
        let RunLine::Script { name, content } = line else {
            return Ok(());
        };
        if name.contains('/') {
            return Err(Stop::failed(format!(
                "the here-document {name:?} cannot be a file of that name"
            )));
        }
        let scratch = workshop.scratch();
        let folder = tempfile::tempdir_in(scratch).map_err(cannot_write(scratch))?;
        let path = folder.path();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(cannot_write(path))?;
        file(&path.join(name), content, 0o755, 0)?;
        self.places
            .push((path.to_owned(), SCRIPTS.to_owned(), Access::ReadOnly));
        self.folders.push(folder);
        Ok(())
    }

    /// Adds what is at `source` of another root, not to be changed.
    pub(super) fn bind(&mut self, root: &Root<'_>, source: &str, target: &str) -> Result<(), Stop> {
        let path = place(root, source)?;
        self.places
            .push((path, target.to_owned(), Access::ReadOnly));
        Ok(())
    }

    /// Adds what is at `source` of a root that is there for the command alone.
    pub(super) fn own(
        &mut self,
        root: Root<'a>,
        source: &str,
        access: Access,
        target: &str,
    ) -> Result<(), Stop> {
        let path = place(&root, source)?;
        self.places.push((path, target.to_owned(), access));
        self.roots.push(root);
        Ok(())
    }

    pub(super) fn all(&self) -> Vec<Mount<'_>> {
        self.places
            .iter()
            .map(|(source, destination, access)| Mount {
                source,
                destination,
                access: *access,
            })
            .collect()
    }
}

/// Returns where on this machine what is at `source` of a root is.
fn place(root: &Root<'_>, source: &str) -> Result<PathBuf, Stop> {
    let tree = root.list()?;
    let path = tree.follow(source.as_bytes())?;
    if tree.get(&path).is_none() {
        return Err(Stop::failed(format!("there is no {path} to mount")));
    }
    let relative = std::str::from_utf8(path.as_bytes())
        .map_err(|_| Stop::failed(format!("{path} is not UTF-8, and cannot be mounted")))?;
    Ok(root.path().join(relative))
}
