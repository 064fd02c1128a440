//! Clock: a library that tells programs another time → what a command is given to load it.
//!
//! No kernel moves the time of day for some processes only, so it is libfaketime that
//! does, where the root's own C library can load it. Whether it can is seen by asking
//! `date` in that root; that it was loaded by a shell says nothing of programs that are
//! linked statically or that run in a root within the root, which keep the machine's time.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::sandbox::{Access, Mount};

/// A clock that is ahead of the machine's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Clock {
    library: PathBuf,
    ahead_in_seconds: u32,
}

/// Where the library is inside.
const INSIDE: &str = "/run/reprove/faketime.so";
/// Between the two times that are asked for, so many seconds may go by.
const SLACK: i64 = 600;

impl Clock {
    /// Finds the library of libfaketime that this machine has; `None` where it has none.
    pub fn ahead(seconds: u32) -> Option<Self> {
        Some(Self {
            library: Self::find(Path::new("/"))?,
            ahead_in_seconds: seconds,
        })
    }

    /// Finds the library below a root.
    fn find(root: &Path) -> Option<PathBuf> {
        let mut folders: Vec<PathBuf> = [
            // Debian and Ubuntu.
            &*format!("usr/lib/{}-linux-gnu/faketime", std::env::consts::ARCH),
            // Fedora and its like.
            "usr/lib64/faketime",
            "usr/lib/faketime",
            "usr/local/lib/faketime",
        ]
        .map(|folder| root.join(folder))
        .into();
        // Debian's word for some architectures is another, such as arm-linux-gnueabihf. One that
        // is not the root's own is found out by asking for the time.
        let others = fs::read_dir(root.join("usr/lib")).into_iter().flatten();
        let mut others: Vec<PathBuf> = others
            .filter_map(|folder| Some(folder.ok()?.path().join("faketime")))
            .collect();
        others.sort();
        folders.append(&mut others);
        // The one for programs with threads, of which make has none and its children many.
        let libraries = folders.iter().map(|it| it.join("libfaketimeMT.so.1"));
        libraries.into_iter().find(|library| library.is_file())
    }

    /// Returns the library's place on this machine.
    pub fn library(&self) -> &Path {
        &self.library
    }

    pub(super) fn mount(&self) -> Mount<'_> {
        Mount {
            source: &self.library,
            destination: INSIDE,
            access: Access::ReadOnly,
        }
    }

    /// Returns the variables that have programs load the library, and that say what it is to do.
    ///
    /// Source: libfaketime 0.9.10, README, sections 4 and 5.
    pub(super) fn environment(&self) -> BTreeMap<String, String> {
        let ahead = format!("+{}", self.ahead_in_seconds);
        [
            ("LD_PRELOAD", INSIDE),
            ("FAKETIME", &ahead),
            // Time that is only measured is what it is.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            // The times of files are read as they are.
            ("NO_FAKE_STAT", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// Returns a command that prints the time twice, first with the library and then without.
    pub(super) fn question() -> Vec<String> {
        let ask = "date +%s && LD_PRELOAD= date +%s";
        ["/bin/sh", "-c", ask].map(str::to_owned).into()
    }

    /// Says whether that command's output shows this clock.
    pub(super) fn is_shown(&self, output: &[u8]) -> bool {
        let text = String::from_utf8_lossy(output);
        let mut times = text.lines().map(|line| line.trim().parse::<i64>());
        let (Some(Ok(with)), Some(Ok(without)), None) = (times.next(), times.next(), times.next())
        else {
            return false;
        };
        let off = without
            .checked_add(self.ahead_in_seconds.into())
            .and_then(|expected| expected.checked_sub(with));
        off.is_some_and(|off| (-SLACK..=SLACK).contains(&off))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_found_under_any_architecture_s_name_its_own_first() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Clock::find(root.path()), None);
        let own = format!("{}-linux-gnu", std::env::consts::ARCH);
        for name in ["a-linux-gnueabihf", &*own] {
            let folder = root.path().join("usr/lib").join(name).join("faketime");
            fs::create_dir_all(&folder).unwrap();
            let library = folder.join("libfaketimeMT.so.1");
            fs::write(&library, "").unwrap();
            assert_eq!(Clock::find(root.path()), Some(library), "{name}");
        }
    }

    #[test]
    fn a_clock_is_shown_by_two_times_that_are_so_far_apart() {
        let clock = Clock {
            library: PathBuf::from("/library"),
            ahead_in_seconds: 34_387_200,
        };
        let cases = [
            ("1734387200\n1700000000\n", true),
            ("1734387200\n1700000003\n", true),
            // Not loaded.
            ("1700000000\n1700000000\n", false),
            ("1665612800\n1700000000\n", false),
            // What the loader says comes first.
            ("ERROR: ld.so\n1734387200\n1700000000\n", false),
            ("1734387200\n", false),
            ("9223372036854775807\n-9223372036854775808\n", false),
            ("", false),
        ];
        for (output, shown) in cases {
            assert_eq!(clock.is_shown(output.as_bytes()), shown, "{output}");
        }
    }
}
