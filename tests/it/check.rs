//! `reprove check`: Dockerfiles whose results depend on this or that of the machine.
//!
//! Run by root, all of this is run once more without root, by a user that is
//! there in a mount namespace only.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use reprove::rebuild::{Clock, sandbox::Runtime};
use serde_json::Value;

use crate::{
    bases::image_of,
    git::Repository,
    support::{
        registry::has,
        reprove, said,
        sandbox::{BUSYBOX, is_static, without_root},
        skip,
    },
};

const RECIPE: &str = r#"
schema = 1
name = "thing"

[build]
kind = "dockerfile"
dockerfile = "Dockerfile"
output = "image"
rewrite_timestamps = true

[build.bases]
base = "BASE"
"#;

/// What a base has for programs that ask for the time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Library {
    /// This machine's C library, that its `sh` and `date` are linked to.
    Loaded,
    /// Nothing: all programs are linked statically.
    Absent,
}

/// A folder with a recipe.
struct Home(tempfile::TempDir);

impl Home {
    /// `None` and a skip where no runtime works or no busybox is here.
    fn new(library: Library) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        if let Err(error) = Runtime::find(folder.path()) {
            skip(&error.to_string());
            return None;
        }
        if !is_static(Path::new(BUSYBOX)) {
            skip(&format!("{BUSYBOX} is not there or not linked statically"));
            return None;
        }
        let root = folder.path().join("root");
        let program = |path: &str, of: &Path| {
            let path = root.join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::copy(of, &path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        program("bin/busybox", Path::new(BUSYBOX));
        fs::create_dir(root.join("tmp")).unwrap();
        for applet in [
            "cat", "find", "hostname", "mkdir", "mknod", "nproc", "stat", "touch",
        ] {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        for name in ["sh", "date"] {
            match library {
                Library::Absent => symlink("busybox", root.join("bin").join(name)).unwrap(),
                Library::Loaded => {
                    let of = fs::canonicalize(Path::new("/bin").join(name)).unwrap();
                    for library in libraries(&of) {
                        program(library.to_str().unwrap(), &library);
                    }
                    program(&format!("bin/{name}"), &of);
                }
            }
        }
        if let (Library::Loaded, Some(clock)) = (library, Clock::ahead(1)) {
            for library in libraries(clock.library()) {
                program(library.to_str().unwrap(), &library);
            }
        }
        let base = image_of(&root, &folder.path().join("base"));
        fs::create_dir(folder.path().join("recipe")).unwrap();
        let recipe = RECIPE.replace("BASE", &base);
        fs::write(folder.path().join("recipe/recipe.toml"), recipe).unwrap();
        Some(Self(folder))
    }

    /// Checks what a Dockerfile on the base makes; returns the exit status and what is told.
    fn checked(&self, dockerfile: &str) -> (Option<i32>, Value) {
        let repository = Repository::new();
        repository.write("Dockerfile", dockerfile);
        let commit = repository.commit("all");
        let mut command = reprove(self.0.path());
        let said = said(
            command
                .args(["check", "./recipe", "--json", "--revision", &commit])
                .arg("--source")
                .arg(repository.path()),
        );
        let told = serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{said:#?}"));
        (said.status, told)
    }
}

/// Returns the libraries that a program or library of this machine is linked to, and its loader.
fn libraries(of: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(of).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let words = text.split_whitespace();
    words
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

/// Returns the conditions that `list` of what was told names.
fn named<'a>(told: &'a Value, list: &str) -> Vec<&'a str> {
    let list = told[list].as_array().unwrap().iter();
    list.map(|one| one["condition"].as_str().unwrap()).collect()
}

/// Returns why a condition was not varied; `None` where it was.
fn why<'a>(told: &'a Value, condition: &str) -> Option<&'a str> {
    let mut list = told["notVaried"].as_array().unwrap().iter();
    let found = list.find(|one| one["condition"] == condition)?;
    found["why"].as_str()
}

/// Returns the conditions that the content of a file depends on, and whether it differs each time.
#[track_caller]
fn on<'a>(told: &'a Value, path: &str) -> (Vec<&'a str>, bool) {
    let found = told["dependences"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["location"] == path && one["attribute"] == "content");
    let found = found.unwrap_or_else(|| panic!("{path}: {told:#}"));
    let conditions = found["conditions"].as_array().unwrap().iter();
    let conditions = conditions.map(|condition| condition.as_str().unwrap());
    (conditions.collect(), found["eachTime"].as_bool().unwrap())
}

const DEPENDING: &str = r#"FROM base
RUN mkdir /out /out/entries
RUN hostname > /out/host-name; \
    date -d @0 +%z > /out/time-zone; \
    echo "$LANGUAGE" > /out/locale; \
    nproc > /out/processors; \
    stat -f -c %T /out > /out/file-system; \
    for it in c a e b d f; do touch /out/entries/$it; done; \
    find /out/entries -type f > /out/directory-order; \
    if mknod /tmp/null c 1 3; then echo root; else echo user; fi > /out/user; \
    date +%Y > /out/clock; \
    cat /proc/sys/kernel/random/uuid > /out/chance; \
    cat /etc/hosts > /out/nothing
"#;

#[test]
fn what_a_file_depends_on_is_named() {
    let Some(home) = Home::new(Library::Loaded) else {
        return;
    };
    let (status, told) = home.checked(DEPENDING);
    assert_eq!(status, Some(1), "{told:#}");
    let varied = named(&told, "varied");
    // Both of these are told by where the root file system is.
    let places = ["file-system", "directory-order"];
    for condition in &varied {
        let (found, each_time) = on(&told, &format!("/out/{condition}"));
        assert!(!each_time, "{condition}: {told:#}");
        if places.contains(condition) {
            assert!(found.contains(condition), "{condition}: {told:#}");
        } else {
            assert_eq!(found, [*condition], "{told:#}");
        }
    }
    assert_eq!(on(&told, "/out/chance"), (Vec::new(), true));
    let nothing = told["dependences"].as_array().unwrap().iter();
    assert!(nothing.clone().all(|one| one["location"] != "/out/nothing"));

    assert!(
        ["host-name", "time-zone", "locale"]
            .iter()
            .all(|it| varied.contains(it))
    );
    assert_eq!(
        why(&told, "user"),
        if rustix::process::geteuid().is_root() {
            None
        } else {
            Some("there is no other way without root: run this as root too")
        }
    );
    match Clock::ahead(1) {
        Some(_) => assert_eq!(why(&told, "clock"), None),
        None => skip("libfaketime is not there, and the clock was not varied"),
    }
}

#[test]
fn what_depends_on_nothing_is_stable_also_where_the_clock_cannot_be_varied() {
    if !has(&["date", "sh", "ldd"]) {
        return;
    }
    for library in [Library::Loaded, Library::Absent] {
        let Some(home) = Home::new(library) else {
            return;
        };
        let (status, told) = home.checked("FROM base\nRUN mkdir /out; date -d @0 +%Y > /out/it\n");
        assert_eq!(status, Some(0), "{told:#}");
        assert_eq!(told["stable"], true);
        let varied = named(&told, "varied");
        let clock = Clock::ahead(1).is_some() && library == Library::Loaded;
        assert_eq!(varied.contains(&"clock"), clock, "{told:#}");
        if let (Some(_), Library::Absent) = (Clock::ahead(1), library) {
            let why = why(&told, "clock").unwrap();
            assert!(why.contains("do not see another time"), "{why}");
        }
    }
}

#[test]
fn a_build_that_needs_what_only_the_machine_s_root_may_is_told_so() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let Some(home) = Home::new(Library::Absent) else {
        return;
    };
    let (status, told) = home.checked("FROM base\nRUN mknod /tmp/null c 1 3\n");
    assert_eq!(status, Some(0), "{told:#}");
    let why = why(&told, "user").unwrap();
    assert!(why.contains("Operation not permitted"), "{why}");
    assert!(named(&told, "varied").contains(&"host-name"), "{told:#}");
}

#[test]
fn every_condition_is_told_of_one_way_or_the_other() {
    let Some(home) = Home::new(Library::Absent) else {
        return;
    };
    let (_, told) = home.checked("FROM base\nRUN touch /it\n");
    let mut all = [named(&told, "varied"), named(&told, "notVaried")].concat();
    all.sort_unstable();
    let expected = [
        "clock",
        "directory-order",
        "file-system",
        "host-name",
        "locale",
        "processors",
        "time-zone",
        "user",
    ];
    assert_eq!(all, expected);
}

#[test]
fn without_root_the_same_is_told() {
    without_root("check::");
}
