//! The host's own programs, run inside: what handles files by their owners there.
//!
//! Without root, the files of a root file system belong to subordinate ids,
//! which only root inside may give, read and remove. So `tar`, `find`, `rm`, `sh` and
//! `true` of the host are run there, with nothing but the files they are for.
//! Nothing of a build is ever run in this way.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use tempfile::TempDir;

use super::{
    Access, Error, Finished, Job, Limits, Mount, Network, Ran, User, cannot_use,
    run::{self, Purpose},
    runtime::Runtime,
};

/// Where a host keeps programs and the libraries that they need.
const FOLDERS: [&str; 7] = ["bin", "lib", "lib32", "lib64", "libx32", "sbin", "usr"];

const LIMITS: Limits = Limits {
    memory_in_bytes: 1 << 30,
    processes: 256,
    duration: Duration::from_secs(60 * 60),
    log_in_bytes: 1 << 20,
};

/// A directory for a root file system; removed when dropped, whoever its files belong to.
#[derive(Debug)]
pub struct RootDirectory {
    /// What the root is in, which no other user gets into.
    _folder: TempDir,
    path: PathBuf,
    runtime: Runtime,
    scratch: PathBuf,
}

impl RootDirectory {
    /// Makes an empty directory in `scratch`.
    pub fn new(runtime: &Runtime, scratch: &Path) -> Result<Self, Error> {
        let folder = tempfile::Builder::new()
            .prefix("root-")
            .tempdir_in(scratch)
            .map_err(cannot_use(scratch))?;
        let path = folder.path().join("rootfs");
        fs::create_dir(&path).map_err(cannot_use(&path))?;
        // Users inside must get through it, whatever the umask is here.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(cannot_use(&path))?;
        run::register_root(&path, runtime, scratch);
        Ok(Self {
            _folder: folder,
            path,
            runtime: runtime.clone(),
            scratch: scratch.to_owned(),
        })
    }

    /// Returns the directory; it is called `rootfs`, and no other user of the host gets to it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it, which dropping it does without a word.
    pub fn remove(self) -> Result<(), Error> {
        self.clear()
    }

    fn clear(&self) -> Result<(), Error> {
        if run::take_back_root(&self.path) {
            self.runtime.remove_tree(&self.path, &self.scratch)?;
        }
        Ok(())
    }
}

impl Drop for RootDirectory {
    fn drop(&mut self) {
        // What stays is in the scratch directory, which whoever sweeps that sees to.
        let _ = self.clear();
    }
}

/// How often a directory is packed in all where it changes while it is read.
///
/// No process is left in it then, but a file system of a user program, such as disorderfs,
/// removes what had been open a moment after the last process is gone.
const MOST_PACKINGS: usize = 5;
/// How long it is left alone before it is packed again.
const SETTLING: Duration = Duration::from_millis(200);

impl Runtime {
    /// Runs a program that does nothing.
    pub(super) fn try_out(&self, limits: Limits, scratch: &Path) -> Result<Ran, Error> {
        self.host_program(&["true"], &[], limits, scratch)
    }

    /// Removes a directory with files that may belong to any user inside.
    pub fn remove_tree(&self, path: &Path, scratch: &Path) -> Result<(), Error> {
        match fs::remove_dir_all(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            Err(source) => {
                return Err(Error::File {
                    path: path.to_owned(),
                    source,
                });
            }
        }
        let tree = Mount {
            source: path,
            destination: "/tree",
            access: Access::Writable,
        };
        let arguments = ["find", "/tree", "-mindepth", "1", "-delete"];
        self.tool("remove files", &arguments, &[tree], scratch)?;
        fs::remove_dir(path).map_err(cannot_use(path))
    }

    /// Unpacks a tar, compressed or not, into a directory, with the owners it names as they are inside.
    ///
    /// Modes, times, links and extended attributes are as archived. Without
    /// root a device node is an error, so the caller leaves those out: inside,
    /// `/dev` is another one anyhow.
    pub fn unpack(&self, tar: &Path, into: &Path, scratch: &Path) -> Result<(), Error> {
        let mounts = [
            Mount {
                source: tar,
                destination: "/tar",
                access: Access::ReadOnly,
            },
            Mount {
                source: into,
                destination: "/tree",
                access: Access::Writable,
            },
        ];
        let arguments = [
            "tar",
            "--extract",
            "--file=/tar",
            "--directory=/tree",
            "--preserve-permissions",
            "--same-owner",
            "--numeric-owner",
            "--xattrs",
            "--xattrs-include=*",
            // What is put into a directory after it changes its time.
            "--delay-directory-restore",
        ];
        self.tool("unpack a root file system", &arguments, &mounts, scratch)
    }

    /// Unpacks tars that are not compressed into a directory, one after the other.
    ///
    /// As [`Self::unpack`] does, but where a symbolic link to a directory is in the place of
    /// a directory, it stays. All tars lie in one folder. What is at a path of `without`, as
    /// the tars have it, is left out.
    pub(in crate::rebuild) fn unpack_onto(
        &self,
        tars: &[PathBuf],
        without: &[&'static str],
        into: &Path,
        scratch: &Path,
    ) -> Result<(), Error> {
        let Some(folder) = tars.first().and_then(|tar| tar.parent()) else {
            return Ok(());
        };
        let names: Vec<String> = tars
            .iter()
            .filter_map(|tar| Some(tar.file_name()?.to_string_lossy().into_owned()))
            .collect();
        let excluded: Vec<String> = without
            .iter()
            .map(|path| format!("--exclude={path}"))
            .collect();
        // Words of the script, so the paths are ones that a shell takes as they are.
        let each = format!(
            "for tar; do tar --extract --file=\"/tars/$tar\" --directory=/tree \
             --preserve-permissions --same-owner --numeric-owner --xattrs --xattrs-include='*' \
             --keep-directory-symlink --anchored --no-wildcards {} || exit; done",
            excluded.join(" ")
        );
        let mut arguments = vec!["sh", "-c", &each, "unpack"];
        arguments.extend(names.iter().map(String::as_str));
        let mounts = [
            Mount {
                source: folder,
                destination: "/tars",
                access: Access::ReadOnly,
            },
            Mount {
                source: into,
                destination: "/tree",
                access: Access::Writable,
            },
        ];
        self.tool("unpack packages", &arguments, &mounts, scratch)
    }

    /// Packs a directory into the file `tar`, with the owners as they are inside.
    ///
    /// Names begin with `./`, entries are sorted, times have nanoseconds and
    /// extended attributes are kept. Times later than `latest`, in seconds since the
    /// epoch, are written as that. It is for reading, not for publishing.
    pub fn pack(
        &self,
        tree: &Path,
        tar: &Path,
        latest: Option<i64>,
        scratch: &Path,
    ) -> Result<(), Error> {
        fs::File::create(tar).map_err(cannot_use(tar))?;
        let mounts = [
            Mount {
                source: tree,
                destination: "/tree",
                access: Access::ReadOnly,
            },
            Mount {
                source: tar,
                destination: "/tar",
                access: Access::Writable,
            },
        ];
        let mut arguments = vec![
            "tar",
            "--create",
            "--file=/tar",
            "--directory=/tree",
            "--format=posix",
            // The names of extended headers have a process id in them otherwise.
            "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
            "--numeric-owner",
            "--sort=name",
            "--xattrs",
            "--xattrs-include=*",
        ];
        let latest = latest.map(|seconds| format!("--mtime=@{seconds}"));
        if let Some(latest) = &latest {
            arguments.extend([latest, "--clamp-mtime"]);
        }
        arguments.push(".");
        let pack = || self.tool("pack a root file system", &arguments, &mounts, scratch);
        for _ in 1..MOST_PACKINGS {
            match pack() {
                // Some file changed while it was read (GNU tar manual, section 3.1).
                Err(Error::Tool {
                    outcome: Finished::Failed { status: 1 },
                    ..
                }) => thread::sleep(SETTLING),
                done => return done,
            }
        }
        pack()
    }

    /// Runs a program of the host on files that it sees by `mounts`, as root inside.
    pub(in crate::rebuild) fn tool(
        &self,
        what: &str,
        arguments: &[&str],
        mounts: &[Mount<'_>],
        scratch: &Path,
    ) -> Result<(), Error> {
        let ran = self.host_program(arguments, mounts, LIMITS, scratch)?;
        match ran.outcome {
            Finished::Succeeded => Ok(()),
            outcome => Err(Error::Tool {
                what: what.to_owned(),
                outcome,
                said: ran.last_lines.join("; "),
            }),
        }
    }

    /// Runs a program of the host, as root inside.
    fn host_program(
        &self,
        arguments: &[&str],
        mounts: &[Mount<'_>],
        limits: Limits,
        scratch: &Path,
    ) -> Result<Ran, Error> {
        let root = tempfile::Builder::new()
            .prefix("host-")
            .tempdir_in(scratch)
            .map_err(cannot_use(scratch))?;
        let mut programs = Vec::new();
        for folder in FOLDERS {
            let on_host = Path::new("/").join(folder);
            if let Ok(target) = fs::read_link(&on_host) {
                let link = root.path().join(folder);
                symlink(target, &link).map_err(cannot_use(&link))?;
            } else if on_host.is_dir() {
                programs.push((on_host, format!("/{folder}")));
            }
        }
        let all: Vec<Mount<'_>> = programs
            .iter()
            .map(|(source, destination)| Mount {
                source,
                destination,
                access: Access::ReadOnly,
            })
            .chain(mounts.iter().copied())
            .collect();
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        let path = "/usr/bin:/bin:/usr/sbin:/sbin".to_owned();
        let environment = BTreeMap::from([("PATH".to_owned(), path)]);
        self.run_for(
            Purpose::Tidying,
            &Job {
                root: root.path(),
                arguments: &arguments,
                environment: &environment,
                directory: "/",
                user: User::default(),
                mounts: &all,
                network: Network::None,
                hostname: "host",
                limits,
            },
            scratch,
            &mut io::sink(),
            &|| false,
        )
    }
}
