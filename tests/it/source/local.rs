//! Repositories on this machine.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt, path::Path};

use reprove::source::{Error, Facts, History, Reachability, Resolution, Signature, Source};

use super::{checkout, whole};
use crate::git::{self, FIRST_COMMIT_AT, Repository};

fn from(reference: &str) -> Reachability {
    Reachability::From {
        reference: reference.to_owned(),
    }
}

#[test]
fn every_way_to_name_a_commit_leads_to_it() {
    let repository = Repository::new();
    repository.write("file", "one");
    let first = repository.commit("one");
    repository.git(&["tag", "plain"]);
    repository.git(&["tag", "--annotate", "--message", "x", "annotated"]);
    repository.git(&["tag", "--annotate", "--message", "x", "nested", "annotated"]);
    repository.git(&["branch", "release/1.0"]);
    repository.write("file", "two");
    let second = repository.commit("two");
    let branch = |name: &str| Resolution::Branch {
        name: name.to_owned(),
    };
    let tag = |name: &str| Resolution::Tag {
        name: name.to_owned(),
    };
    let nested = repository.id("nested");
    let cases = [
        ("main", &second, branch("main")),
        ("refs/heads/main", &second, branch("main")),
        ("heads/main", &second, branch("main")),
        (
            "HEAD",
            &second,
            Resolution::Head {
                branch: Some("main".to_owned()),
            },
        ),
        ("release/1.0", &first, branch("release/1.0")),
        ("plain", &first, tag("plain")),
        ("annotated", &first, tag("annotated")),
        ("nested", &first, tag("nested")),
        ("refs/tags/nested", &first, tag("nested")),
        (&first[..7], &first, Resolution::AbbreviatedCommit),
        (&first, &first, Resolution::Commit),
        (&first.to_uppercase(), &first, Resolution::Commit),
        (&nested, &first, Resolution::Commit),
    ];
    for (revision, commit, resolution) in cases {
        let source = checkout(repository.path(), revision).unwrap();
        let facts = source.facts();
        assert_eq!(facts.commit.to_string(), *commit, "{revision}");
        assert_eq!(facts.resolution, resolution, "{revision}");
        assert_eq!(facts.revision, revision);
    }
}

#[test]
fn the_facts_are_those_of_the_commit() {
    let repository = Repository::new();
    repository.write("file", "one");
    let commit = repository.commit("one");
    let source = checkout(repository.path(), "main").unwrap();
    let location = repository.path().to_str().unwrap();
    let expected = Facts {
        named: location.to_owned(),
        contacted: location.to_owned(),
        revision: "main".to_owned(),
        resolution: Resolution::Branch {
            name: "main".to_owned(),
        },
        commit: commit.parse().unwrap(),
        tree: repository.id("main^{tree}").parse().unwrap(),
        committed_at: FIRST_COMMIT_AT,
        author: "Ada <ada@example.org>".to_owned(),
        reachability: from("refs/heads/main"),
        history: History::Complete,
        submodules: Vec::new(),
        signature: Signature::Absent,
    };
    assert_eq!(*source.facts(), expected);
    let json = serde_json::to_value(source.facts()).unwrap();
    assert_eq!(json["commit"], commit);
    assert_eq!(
        json["reachability"],
        serde_json::json!({"kind": "from", "reference": "refs/heads/main"})
    );
}

#[test]
fn a_name_that_could_be_two_things_is_refused_with_both() {
    let repository = Repository::new();
    let first = repository.commit("one");
    repository.git(&["tag", "v1"]);
    let second = repository.commit("two");
    repository.git(&["branch", "v1"]);
    let error = checkout(repository.path(), "v1").unwrap_err();
    let place = repository.path().display();
    assert_eq!(
        error.to_string(),
        format!("v1 is ambiguous in {place}: refs/heads/v1 ({second}), refs/tags/v1 ({first})")
    );
    for (revision, commit) in [("refs/heads/v1", second), ("refs/tags/v1", first)] {
        let source = checkout(repository.path(), revision).unwrap();
        assert_eq!(source.commit().to_string(), commit);
    }
}

#[test]
fn forty_digits_are_a_commit_whatever_branches_are_called() {
    let repository = Repository::new();
    let first = repository.commit("one");
    repository.commit("two");
    repository.git(&["update-ref", &format!("refs/heads/{first}"), "HEAD"]);
    let source = checkout(repository.path(), &first).unwrap();
    assert_eq!(source.commit().to_string(), first);
}

#[test]
fn what_names_no_commit_says_why() {
    let repository = Repository::new();
    repository.write("file", "one");
    let commit = repository.commit("one");
    let tree = repository.id("HEAD^{tree}");
    let blob = repository.id("HEAD:file");
    repository.git(&["tag", "release-1.2"]);
    repository.git(&["tag", "of-blob", &blob]);
    let absent = "0123456789abcdef0123456789abcdef01234567";
    let place = repository.path().display();
    let cases = [
        (
            "relaese-1.2",
            format!("{place} has no branch, tag or commit relaese-1.2 (there is release-1.2)"),
        ),
        ("", format!("{place} has no branch, tag or commit ")),
        (
            "nothing",
            format!("{place} has no branch, tag or commit nothing"),
        ),
        (
            absent,
            format!("{place} has no branch, tag or commit {absent}"),
        ),
        (
            &absent[..12],
            format!("{place} has no branch, tag or commit {}", &absent[..12]),
        ),
        (
            &commit[..6],
            format!(
                "{} is no branch or tag, and too short for a commit: give at least 7 digits",
                &commit[..6]
            ),
        ),
        (&tree, format!("{tree} is a tree, not a commit")),
        ("of-blob", format!("{blob} is a blob, not a commit")),
    ];
    for (revision, message) in cases {
        let error = checkout(repository.path(), revision).unwrap_err();
        assert_eq!(error.to_string(), message, "{revision}");
    }
}

#[test]
fn an_abbreviation_that_fits_two_objects_is_ambiguous() {
    let repository = Repository::new();
    repository.commit("one");
    // Two blobs whose ids begin with the same seven digits, found by trial.
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let (one, other) = (0_u32..)
        .find_map(|number| {
            let text = format!("{number}\n");
            let id = git2::Oid::hash_object(git2::ObjectType::Blob, text.as_bytes()).unwrap();
            seen.insert(id.to_string()[..7].to_owned(), text.clone())
                .map(|earlier| (earlier, text))
        })
        .unwrap();
    let mut id = String::new();
    for text in [one, other] {
        id = repository.git_with_input(&["hash-object", "-w", "--stdin"], text.as_bytes());
    }
    let error = checkout(repository.path(), &id[..7]).unwrap_err();
    assert!(matches!(error, Error::AmbiguousRevision { .. }), "{error}");
}

#[test]
fn every_kind_of_repository_gives_the_same_files() {
    let repository = Repository::new();
    repository.write("file", "one");
    repository.commit("one");
    repository.write("file", "two");
    let commit = repository.commit("two");
    repository.git(&["gc", "--quiet"]);
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let source = repository.path().to_str().unwrap();
    let url = format!("file://{source}");
    let clone = |arguments: &[&str], name: &str| {
        let target = at(name);
        let mut all = vec!["clone", "--quiet"];
        all.extend(arguments);
        all.push(target.to_str().unwrap());
        git::git(place.path(), &all, b"", 0);
    };
    clone(&["--bare", source], "bare");
    clone(&["--mirror", source], "mirror");
    clone(&["--depth=1", &url], "shallow");
    clone(&["--shared", source], "alternates");
    repository.git(&[
        "worktree",
        "add",
        "--quiet",
        "--detach",
        at("worktree").to_str().unwrap(),
    ]);
    let cases = [
        ("bare", History::Complete, from("refs/heads/main")),
        ("mirror", History::Complete, from("refs/heads/main")),
        ("shallow", History::Shallow, from("refs/heads/main")),
        ("alternates", History::Complete, from("refs/heads/main")),
        ("worktree", History::Complete, from("refs/heads/main")),
    ];
    for (name, history, reachability) in cases {
        let source = checkout(&at(name), "HEAD").unwrap();
        assert_eq!(source.commit().to_string(), commit, "{name}");
        assert_eq!(source.facts().history, history, "{name}");
        assert_eq!(source.facts().reachability, reachability, "{name}");
        assert_eq!(source.read("file").unwrap(), b"two", "{name}");
    }
}

/// Returns every file below a folder with its contents and times.
fn state(folder: &Path) -> BTreeMap<String, (i64, i64, Vec<u8>)> {
    let mut state = BTreeMap::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(path) = pending.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let contents = if metadata.is_dir() {
            pending.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
            Vec::new()
        } else {
            fs::read(&path).unwrap()
        };
        let times = (metadata.mtime(), metadata.mtime_nsec());
        state.insert(path.display().to_string(), (times.0, times.1, contents));
    }
    state
}

#[test]
fn a_local_repository_is_left_as_it_is() {
    let repository = Repository::new();
    repository.write("folder/file", "one");
    repository.commit("one");
    // Stale: git itself would refresh the index when asked for its status.
    repository.write("folder/file", "new");
    let before = state(repository.path());
    let source = checkout(repository.path(), "main").unwrap();
    source.walk("").unwrap();
    assert_eq!(source.read("folder/file").unwrap(), b"one");
    assert_eq!(state(repository.path()), before);
}

#[test]
fn replaced_and_grafted_commits_are_read_as_they_are() {
    let repository = Repository::new();
    repository.write("file", "one");
    let first = repository.commit("one");
    repository.write("file", "two");
    let second = repository.commit("two");
    repository.write("file", "evil");
    let evil = repository.commit("evil");
    repository.git(&["reset", "--quiet", "--hard", &second]);
    repository.git(&["replace", &second, &evil]);
    repository.write(".git/info/grafts", format!("{second}\n"));
    assert_eq!(repository.git(&["show", "HEAD:file"]), "evil", "git obeys");
    let source = checkout(repository.path(), "main").unwrap();
    assert_eq!(source.read("file").unwrap(), b"two");
    let source = checkout(repository.path(), &first).unwrap();
    assert_eq!(source.facts().reachability, from("refs/heads/main"));
}

#[test]
fn settings_of_the_repository_have_no_say() {
    let repository = Repository::new();
    repository.write(
        ".gitattributes",
        "* text eol=crlf filter=evil ident export-subst\n",
    );
    repository.write("file", "one $Id$ $Format:%H$\n");
    repository.commit("one");
    repository.git(&["config", "filter.evil.smudge", "false"]);
    repository.git(&["config", "filter.evil.required", "true"]);
    repository.git(&["config", "core.autocrlf", "true"]);
    repository.git(&["config", "core.hooksPath", "/nonexistent"]);
    repository.git(&["config", "core.worktree", "/nonexistent"]);
    let source = checkout(repository.path(), "main").unwrap();
    assert_eq!(source.read("file").unwrap(), b"one $Id$ $Format:%H$\n");
}

#[test]
fn only_branches_and_tags_make_a_commit_reachable() {
    let repository = Repository::new();
    repository.write("file", "one");
    let first = repository.commit("one");
    repository.commit("two");
    let dangling = repository.git(&["commit-tree", "-m", "x", "HEAD^{tree}"]);
    let pulled = repository.git(&["commit-tree", "-m", "pull", "HEAD^{tree}"]);
    repository.git(&["update-ref", "refs/pull/1/head", &pulled]);
    let tagged = repository.git(&["commit-tree", "-m", "tag", "HEAD^{tree}"]);
    repository.git(&["tag", "--annotate", "--message", "x", "v1", &tagged]);
    // A tag that leads to no commit is no hindrance.
    repository.git(&["tag", "a-tree", "HEAD^{tree}"]);
    let cases = [
        (first, from("refs/heads/main")),
        (tagged, from("refs/tags/v1")),
        (dangling, Reachability::Unreachable),
        (pulled, Reachability::Unreachable),
    ];
    for (commit, reachability) in cases {
        let source = checkout(repository.path(), &commit).unwrap();
        assert_eq!(source.facts().reachability, reachability);
    }
}

#[test]
fn a_history_that_is_cut_off_says_so_instead_of_no() {
    let repository = Repository::new();
    repository.commit("one");
    repository.commit("two");
    let place = tempfile::tempdir().unwrap();
    let shallow = place.path().join("shallow");
    let url = format!("file://{}", repository.path().display());
    git::git(
        place.path(),
        &[
            "clone",
            "--quiet",
            "--depth=1",
            &url,
            shallow.to_str().unwrap(),
        ],
        b"",
        0,
    );
    let dangling = git::git(&shallow, &["commit-tree", "-m", "x", "HEAD^{tree}"], b"", 0);
    let source = checkout(&shallow, &dangling).unwrap();
    assert_eq!(source.facts().reachability, Reachability::HistoryCutOff);
    assert_eq!(source.facts().history, History::Shallow);
}

#[test]
fn an_object_that_is_not_what_its_id_says_is_an_error() {
    let repository = Repository::new();
    repository.write("file", "honest");
    repository.commit("one");
    let honest = repository.id("HEAD:file");
    let evil = repository.git_with_input(&["hash-object", "-w", "--stdin"], b"evil!!");
    let place = repository.loose(&honest);
    fs::remove_file(&place).unwrap();
    fs::copy(repository.loose(&evil), &place).unwrap();
    let source = checkout(repository.path(), "main").unwrap();
    let error = source.read("file").unwrap_err();
    assert!(matches!(error, Error::Git { .. }), "{error}");
    let text = whole(&error);
    assert!(
        text.contains(&honest) && text.contains("hash mismatch"),
        "{text}"
    );
}

#[test]
fn an_object_that_is_missing_is_named() {
    let repository = Repository::new();
    repository.write("file", "one");
    repository.commit("one");
    let id = repository.id("HEAD:file");
    fs::remove_file(repository.loose(&id)).unwrap();
    let source = checkout(repository.path(), "main").unwrap();
    assert_eq!(
        source.read("file").unwrap_err().to_string(),
        format!("{} lacks blob {id}", repository.path().display())
    );
}

#[test]
fn a_signature_is_noticed_and_not_believed() {
    let repository = Repository::new();
    repository.commit("one");
    let plain = repository.git(&["cat-file", "commit", "HEAD"]);
    let cases = [
        ("-----BEGIN PGP SIGNATURE-----", Signature::OpenPgp),
        ("-----BEGIN SSH SIGNATURE-----", Signature::Ssh),
        ("-----BEGIN SIGNED MESSAGE-----", Signature::X509),
        ("-----BEGIN SOMETHING ELSE-----", Signature::Unknown),
    ];
    for (first_line, signature) in cases {
        let signed = plain.replacen("\n\n", &format!("\ngpgsig {first_line}\n abc\n\n"), 1);
        let id = repository.git_with_input(
            &["hash-object", "-w", "-t", "commit", "--stdin"],
            signed.as_bytes(),
        );
        let source = checkout(repository.path(), &id).unwrap();
        assert_eq!(source.facts().signature, signature);
    }
}

#[test]
fn what_is_no_readable_repository_says_why() {
    let empty = tempfile::tempdir().unwrap();
    let error = checkout(empty.path(), "main").unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{} is not a git repository (give the top of a working tree, or a bare repository)",
            empty.path().display()
        )
    );
    let error = checkout(Path::new("/nonexistent/repository"), "main").unwrap_err();
    assert_eq!(
        whole(&error),
        "cannot use /nonexistent/repository: No such file or directory (os error 2)"
    );
    let new = Repository::new();
    let error = checkout(new.path(), "HEAD").unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{} has no branch, tag or commit HEAD", new.path().display())
    );
    for (option, cause) in [
        ("--object-format=sha256", "unknown object format 'sha256'"),
        (
            "--ref-format=reftable",
            "unsupported extension name extensions.refstorage",
        ),
    ] {
        let other = Repository::with(&[option]);
        assert_eq!(
            whole(&checkout(other.path(), "main").unwrap_err()),
            format!(
                "cannot read the repository {}: {cause}",
                other.path().display()
            )
        );
    }
}

#[test]
fn several_threads_may_read_one_source() {
    let repository = Repository::new();
    for number in 0..20 {
        repository.write(&format!("file{number}"), number.to_string());
    }
    repository.commit("one");
    let source: Source = checkout(repository.path(), "main").unwrap();
    std::thread::scope(|scope| {
        for number in 0..20 {
            let source = &source;
            scope.spawn(move || {
                let bytes = source.read(format!("file{number}")).unwrap();
                assert_eq!(bytes, number.to_string().as_bytes());
            });
        }
    });
}

#[test]
fn the_published_alpine_commit_is_the_tip_of_its_branch() {
    let Some(path) = crate::support::test_source("alpinelinux", "docker-alpine") else {
        return;
    };
    let commit = "7d63673353bd39d92ba42f6effcc199aeebd45ee";
    let source = checkout(&path, commit).unwrap();
    assert_eq!(source.facts().reachability, from("refs/heads/v3.20"));
    assert_eq!(checkout(&path, "v3.20").unwrap().commit(), source.commit());
    assert_eq!(source.read("VERSION").unwrap(), b"3.20.3");
    let tarball = source
        .entry("x86_64/alpine-minirootfs-3.20.3-x86_64.tar.gz")
        .unwrap();
    assert_eq!(
        tarball.id.to_string(),
        "61208a10ca0fe7488868988803e399d06a1f4007"
    );
}

#[test]
fn the_blobs_of_a_layout_in_the_tree_are_found_behind_its_links() {
    let Some(path) = crate::support::test_source("docker-library", "busybox") else {
        return;
    };
    let source = checkout(&path, "70ce0fb98bee360bbcce132660d727bf6ce55a99").unwrap();
    assert_eq!(source.facts().reachability, from("refs/heads/dist-amd64"));
    let layer = "436a1b1fd078ee8e117111472724c2827077657189af7a781829d0825d48d2ab";
    let path = format!("latest-1/glibc/amd64/blobs/sha256/{layer}");
    let bytes = source.read(&path).unwrap();
    assert_eq!(reprove::digest::Digest::of(&bytes).hex(), layer);
    assert_eq!(
        source.resolve(&path).unwrap().path,
        b"latest-1/glibc/amd64/rootfs.tar.gz"
    );
}

#[test]
fn a_repository_of_another_owner_is_read_all_the_same() {
    let repository = Repository::new();
    repository.write("file", "one");
    repository.commit("one");
    let owner = fs::metadata(repository.path()).unwrap().uid();
    for path in state(repository.path()).keys() {
        if let Err(error) = std::os::unix::fs::lchown(path, Some(owner + 1), None) {
            crate::support::skip(&format!("cannot give files away: {error}"));
            return;
        }
    }
    let source = checkout(repository.path(), "main").unwrap();
    assert_eq!(source.read("file").unwrap(), b"one");
}
