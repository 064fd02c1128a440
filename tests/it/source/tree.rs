//! The files of a commit.

use std::io::Read;

use reprove::source::{Error, ObjectId, Submodule, TreeEntryKind};

use super::checkout;
use crate::git::Repository;

#[test]
fn a_tree_is_listed_and_walked_in_gits_order() {
    let repository = Repository::new();
    repository.write("a/file", "12345");
    repository.write("a.txt", "1");
    repository.write("a0", "");
    repository.write("b/c/d", "123");
    repository.write("run", "#!");
    repository.git(&["add", "--all"]);
    repository.git(&["update-index", "--chmod=+x", "run"]);
    repository.link("link", "a/file");
    repository.git(&["add", "link"]);
    repository.git(&["commit", "--quiet", "--message", "x"]);
    let source = checkout(repository.path(), "main").unwrap();
    let shown = |entries: Vec<reprove::source::TreeEntry>| -> Vec<String> {
        entries
            .iter()
            .map(|entry| {
                let path = String::from_utf8(entry.path.clone()).unwrap();
                format!("{path} {:?} {:?}", entry.kind, entry.size)
            })
            .collect()
    };
    assert_eq!(
        shown(source.list(".").unwrap()),
        [
            "a.txt File Some(1)",
            "a Directory None",
            "a0 File Some(0)",
            "b Directory None",
            "link Symlink Some(6)",
            "run Executable Some(2)",
        ]
    );
    assert_eq!(
        shown(source.walk("").unwrap()),
        [
            "a.txt File Some(1)",
            "a Directory None",
            "a/file File Some(5)",
            "a0 File Some(0)",
            "b Directory None",
            "b/c Directory None",
            "b/c/d File Some(3)",
            "link Symlink Some(6)",
            "run Executable Some(2)",
        ]
    );
    assert_eq!(
        shown(source.walk("b/").unwrap()),
        ["b/c Directory None", "b/c/d File Some(3)"]
    );
    assert_eq!(source.entry("./b//c/").unwrap().name(), b"c");
    assert_eq!(source.link_target("link").unwrap(), b"a/file");
    let mut bytes = Vec::new();
    source
        .open("link")
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    assert_eq!(bytes, b"12345");
}

#[test]
fn links_are_followed_within_the_tree_and_nowhere_else() {
    let repository = Repository::new();
    repository.write("real/deep/file", "here");
    repository.link("folder", "real/deep");
    repository.link("real/up", "../real/./deep//file");
    repository.link("top", ".");
    repository.link("chain", "folder/../up");
    repository.link("outside", "../../etc/passwd");
    repository.link("absolute", "/etc/passwd");
    repository.link("self", "self");
    repository.link("one", "other");
    repository.link("other", "one");
    repository.link("dangling", "nothing");
    repository.link("through-file", "real/deep/file/x");
    let commit = repository.commit("x");
    let source = checkout(repository.path(), "main").unwrap();
    for (path, found) in [
        ("folder/file", "real/deep/file"),
        ("real/up", "real/deep/file"),
        ("chain", "real/deep/file"),
        ("top/top/folder", "real/deep"),
        ("top", ""),
    ] {
        assert_eq!(
            source.resolve(path).unwrap().path,
            found.as_bytes(),
            "{path}"
        );
    }
    for (path, message) in [
        ("outside", "outside leads out of the source tree".to_owned()),
        (
            "absolute",
            "absolute leads out of the source tree".to_owned(),
        ),
        ("../x", "../x leads out of the source tree".to_owned()),
        ("/etc", "/etc leads out of the source tree".to_owned()),
        (
            "self",
            "self leads through more than 40 symbolic links".to_owned(),
        ),
        (
            "one",
            "one leads through more than 40 symbolic links".to_owned(),
        ),
        ("dangling", format!("commit {commit} has no dangling")),
        (
            "through-file",
            format!("commit {commit} has no through-file"),
        ),
        ("real", "real is a directory, not a file".to_owned()),
    ] {
        assert_eq!(source.read(path).unwrap_err().to_string(), message);
    }
    // Without following, a link is just an entry.
    assert_eq!(
        source.entry("outside").unwrap().kind,
        TreeEntryKind::Symlink
    );
    assert_eq!(source.find("folder/file").unwrap(), None);
    assert_eq!(source.find("real/deep/file/x").unwrap(), None);
    assert_eq!(
        source.list("real/deep/file").unwrap_err().to_string(),
        "real/deep/file is a file, not a directory"
    );
}

#[test]
fn as_many_links_are_followed_as_linux_follows() {
    let repository = Repository::new();
    repository.write("0", "end");
    for number in 1..=41 {
        repository.link(&number.to_string(), &(number - 1).to_string());
    }
    repository.commit("x");
    let source = checkout(repository.path(), "main").unwrap();
    assert_eq!(source.read("40").unwrap(), b"end");
    let error = source.read("41").unwrap_err();
    assert!(matches!(error, Error::TooManyLinks { .. }), "{error}");
}

#[test]
fn a_git_lfs_pointer_is_not_taken_for_the_file() {
    let repository = Repository::new();
    let oid = format!("sha256:{}", "ab".repeat(32));
    let pointer = format!("version https://git-lfs.github.com/spec/v1\noid {oid}\nsize 4096\n");
    repository.write("rootfs.tar", &pointer);
    repository.commit("x");
    let source = checkout(repository.path(), "main").unwrap();
    assert_eq!(
        source.read("rootfs.tar").unwrap_err().to_string(),
        format!(
            "rootfs.tar is kept in Git LFS ({oid}, 4096 bytes): its contents are not in the repository"
        )
    );
    let id = source.entry("rootfs.tar").unwrap().id;
    assert_eq!(source.blob(id).unwrap(), pointer.as_bytes());
}

#[test]
fn submodules_are_said_and_not_entered() {
    let repository = Repository::new();
    let first = repository.commit("x");
    repository.write(
        ".gitmodules",
        "[submodule \"known\"]\n\tpath = lib/known\n\turl = https://user:secret@example.org/known\n",
    );
    for path in ["lib/known", "unknown"] {
        repository.git(&[
            "update-index",
            "--add",
            "--cacheinfo",
            &format!("160000,{first},{path}"),
        ]);
    }
    repository.git(&["add", ".gitmodules"]);
    repository.git(&["commit", "--quiet", "--message", "y"]);
    let source = checkout(repository.path(), "main").unwrap();
    let commit: ObjectId = first.parse().unwrap();
    let submodule = |path: &str, url: Option<&str>| Submodule {
        path: path.to_owned(),
        url: url.map(str::to_owned),
        commit,
    };
    assert_eq!(
        source.facts().submodules,
        [
            submodule("lib/known", Some("https://example.org/known")),
            submodule("unknown", None)
        ]
    );
    assert_eq!(
        source.entry("unknown").unwrap().kind,
        TreeEntryKind::Submodule
    );
    assert_eq!(
        source.read("unknown").unwrap_err().to_string(),
        "unknown is a submodule, not a file"
    );
}

#[test]
fn names_are_bytes() {
    let repository = Repository::new();
    let blob = repository.git_with_input(&["hash-object", "-w", "--stdin"], b"x");
    let entry = [format!("100644 blob {blob}\t").as_bytes(), b"\xff\xfe\n"].concat();
    let tree = repository.git_with_input(&["mktree"], &entry);
    let commit = repository.git(&["commit-tree", "-m", "x", &tree]);
    let source = checkout(repository.path(), &commit).unwrap();
    assert_eq!(source.list("").unwrap()[0].path, b"\xff\xfe");
    assert_eq!(source.read(b"\xff\xfe").unwrap(), b"x");
}

#[test]
fn a_forged_tree_is_an_error() {
    let repository = Repository::new();
    let blob = repository.git_with_input(&["hash-object", "-w", "--stdin"], b"x");
    let id = git2::Oid::from_str(&blob).unwrap();
    for (mode, name) in [
        ("100644", ".."),
        ("100644", "."),
        ("100644", "a/b"),
        ("060000", "dev"),
    ] {
        let object = [format!("{mode} {name}\0").as_bytes(), id.as_bytes()].concat();
        let tree = repository.git_with_input(
            &["hash-object", "-w", "-t", "tree", "--literally", "--stdin"],
            &object,
        );
        let commit = repository.git(&["commit-tree", "-m", "x", &tree]);
        let error = checkout(repository.path(), &commit).unwrap_err();
        assert!(
            matches!(&error, Error::ForgedTree { name: found, .. } if found == name),
            "{mode} {name}: {error}"
        );
    }
}
