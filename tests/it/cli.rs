//! The command line as a user meets it: statuses, streams, texts.

use std::{fs, path::Path, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    git::Repository,
    support::{assert_golden, reprove, said},
};

/// Every way to ask for help; the golden file bears the words' name.
const COMMANDS: &[&[&str]] = &[
    &[],
    &["cache"],
    &["cache", "list"],
    &["cache", "prune"],
    &["cache", "size"],
    &["check"],
    &["completions"],
    &["diff"],
    &["doctor"],
    &["inspect"],
    &["listing"],
    &["lock"],
    &["man"],
    &["policy"],
    &["policy", "check"],
    &["rebuild"],
    &["recipe"],
    &["recipe", "list"],
    &["recipe", "show"],
    &["report"],
    &["schema"],
    &["verify"],
];

#[test]
fn help_is_what_was_reviewed() {
    let home = tempfile::tempdir().unwrap();
    for words in COMMANDS {
        let help = said(reprove(home.path()).args(*words).arg("--help"));
        assert_eq!(help.status, Some(0), "{words:?}");
        assert_eq!(help.stderr, "", "{words:?}");
        let name = [&["reprove"], *words].concat().join("-");
        assert_golden(&format!("help/{name}.txt"), &help.stdout);
    }
}

#[test]
fn every_subcommand_has_reviewed_help() {
    let home = tempfile::tempdir().unwrap();
    let pages = home.path().join("man");
    let man = said(reprove(home.path()).arg("man").arg(&pages));
    assert_eq!((man.status, &*man.stdout, &*man.stderr), (Some(0), "", ""));
    let mut found: Vec<String> = fs::read_dir(pages)
        .unwrap()
        .map(|page| page.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    let mut expected: Vec<String> = COMMANDS
        .iter()
        .map(|words| format!("{}.1", [&["reprove"], *words].concat().join("-")))
        .collect();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn wrong_usage_is_trouble_and_says_what_was_meant() {
    let home = tempfile::tempdir().unwrap();
    let cases: [(&[&str], &str); 9] = [
        (&["doctr"], "a similar subcommand exists: 'doctor'"),
        (
            &["doctor", "--jason"],
            "a similar argument exists: '--json'",
        ),
        (&["doctor", "--quiet", "--verbose"], "cannot be used with"),
        (&["verify"], "<IMAGE>"),
        (&["verify", "oci:"], "names no OCI layout: write oci:PATH"),
        (&["verify", "a", "--platform", "linux"], "is not a platform"),
        (&["verify", "a", "--set", "x"], "write NAME=VALUE"),
        (
            &["verify", "a", "--gzip", "go-10"],
            "write none, or go-0 to go-9",
        ),
        (
            &["rebuild", "--output", "here"],
            "write oci:DIR or oci-archive:FILE",
        ),
    ];
    for (arguments, words) in cases {
        let said = said(reprove(home.path()).args(arguments));
        assert_eq!(said.status, Some(2), "{arguments:?}");
        assert_eq!(said.stdout, "", "{arguments:?}");
        assert!(
            said.stderr.contains(words),
            "{arguments:?}: {}",
            said.stderr
        );
    }
}

#[test]
fn each_shell_gets_completions_that_know_the_subcommands() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = said(reprove(home.path()).args(["completions", shell]));
        assert_eq!((said.status, &*said.stderr), (Some(0), ""), "{shell}");
        assert!(said.stdout.contains("doctor"), "{shell}");
    }
}

#[test]
fn colours_are_for_terminals_unless_asked_for() {
    let home = tempfile::tempdir().unwrap();
    for (option, coloured) in [("auto", false), ("never", false), ("always", true)] {
        let said = said(reprove(home.path()).args(["doctor", "--color", option]));
        assert_eq!(said.stdout.contains('\u{1b}'), coloured, "{option}");
    }
}

#[test]
fn the_doctor_says_where_the_cache_is_and_what_is_amiss() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".docker")).unwrap();
    let config = home.path().join(".docker/config.json");
    fs::write(&config, r#"{"credsStore": "nowhere"}"#).unwrap();

    let said = said(reprove(home.path()).args(["doctor", "--json"]));
    assert_eq!(said.status, Some(2), "{}", said.stderr);
    let checkup: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    let check = |name: &str, state: &str| {
        checkup["checks"]
            .as_array()
            .unwrap()
            .iter()
            .find(|check| check["name"] == name && check["state"] == state)
            .unwrap_or_else(|| panic!("{name} {state} in {checkup:#}"))["found"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(checkup["version"], env!("CARGO_PKG_VERSION"));
    assert!(check("cache", "good").contains(&shown(&home.path().join(".cache/reprove"))));
    assert_eq!(
        check("logins", "problem"),
        format!(
            "{} names the program docker-credential-nowhere, which is not there",
            shown(&config)
        )
    );
}

#[test]
fn a_closed_pipe_does_not_hide_the_exit_status() {
    let home = tempfile::tempdir().unwrap();
    let mut child = reprove(home.path())
        .args(["completions", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn trouble_is_one_line_with_its_causes() {
    let home = tempfile::tempdir().unwrap();
    let said = said(reprove(home.path()).args(["inspect", "oci:nowhere"]));
    assert_eq!(said.status, Some(2));
    assert_eq!(said.stdout, "");
    assert_eq!(
        said.stderr,
        "error: cannot read nowhere/oci-layout: No such file or directory (os error 2)\n"
    );
}

#[test]
fn an_interrupted_rebuild_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let repository = Repository::new();
    let megabytes = 96;
    let mut noise: u32 = 1;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        noise ^= noise << 13;
        noise ^= noise >> 17;
        noise ^= noise << 5;
        noise.to_le_bytes()[0]
    })
    .take(megabytes << 20)
    .collect();
    repository.write("big", bytes);
    repository.write("Dockerfile", "FROM scratch\nCOPY big /big\n");
    repository.commit("big");

    let output = home.path().join("output");
    let mut child = reprove(home.path())
        .args(["rebuild", "--recipe", "scratch", "--source"])
        .arg(repository.path())
        .args(["--revision", "HEAD", "--output", "oci:output/image"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Once the folder beside the output is there, the rebuild is under way.
    while fs::read_dir(&output).map_or(0, Iterator::count) == 0 {
        assert_eq!(
            child.try_wait().unwrap(),
            None,
            "the rebuild ended too early"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::INT).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130));
    assert_eq!(String::from_utf8(ended.stderr).unwrap(), "interrupted\n");
    assert_eq!(fs::read_dir(&output).unwrap().count(), 0);
    let scratch = home.path().join(".cache/reprove/scratch");
    assert_eq!(fs::read_dir(scratch).unwrap().count(), 0);
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
