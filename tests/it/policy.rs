//! Policy files: what `reprove diff` makes of them, and what `reprove policy check` says.

use std::{fs, path::Path};

use crate::{
    changes::{
        archive::{BUILT, MTIME, Member},
        image::{Image, Layer},
    },
    support::{Said, reprove, said},
};

/// Writes two images whose logs and one program differ in their times.
fn images(folder: &Path) {
    for (side, late) in [("one", 0), ("other", 60)] {
        let file = |name: &str, mode: u64| {
            let mut member = Member::file(name, b"same\n").with_mode(mode);
            member.set(MTIME, BUILT + late);
            member
        };
        let folders = ["var", "var/log", "var/log/app"].map(Member::directory);
        let files = [
            file("var/log/a.log", 0o644),
            file("var/log/app/b.log", 0o644),
        ];
        let layer = Layer::new(folders.into_iter().chain(files).collect());
        Image::plain(vec![layer]).write(&folder.join(side));
    }
}

/// Writes a policy and compares the images under it.
fn compared(folder: &Path, policy: &str) -> Said {
    fs::write(folder.join("ours.toml"), policy).unwrap();
    said(reprove(folder).args([
        "diff",
        "oci:one",
        "oci:other",
        "--policy",
        "ours.toml",
        "--report",
        "report.json",
    ]))
}

fn checked(folder: &Path, words: &[&str]) -> Said {
    said(
        reprove(folder)
            .args(["policy", "check", "ours.toml"])
            .args(words),
    )
}

fn policy(head: &str, paths: &str, expires: &str) -> String {
    format!(
        "schema = 1\nname = \"ours\"\nrules = \"standard\"\n{head}\n[[waiver]]\npaths = \"{paths}\"\n\
         attribute = \"mtime\"\ncause = \"tar.mtime\"\nreason = \"logs\"\nowner = \"images team\"\n\
         expires = \"{expires}\"\n"
    )
}

#[test]
fn paths_waive_times_until_they_expire_and_the_check_says_so() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path();
    images(folder);
    let cases = [
        (
            "all",
            "",
            "/var/log/**",
            "2999-12-31",
            "reproduced with waivers",
            0,
        ),
        (
            "one level",
            "",
            "/var/log/*",
            "2999-12-31",
            "not reproduced",
            1,
        ),
        (
            "expired",
            "",
            "/var/log/**",
            "2020-01-01",
            "not reproduced",
            1,
        ),
        (
            "a requirement",
            "[require]\nsources = [\"https://git.example/x\"]",
            "/var/log/**",
            "2999-12-31",
            "not reproduced",
            1,
        ),
    ];
    for (case, head, paths, expires, verdict, status) in cases {
        let compared = compared(folder, &policy(head, paths, expires));
        assert!(
            compared.stdout.starts_with(verdict),
            "{case}: {}",
            compared.stdout
        );
        let alone = checked(folder, &[]);
        assert_eq!(
            alone.status,
            Some(i32::from(case == "expired")),
            "{case}: {}",
            alone.stdout
        );
        let against = checked(folder, &["--report", "report.json"]);
        assert_eq!(against.status, Some(status), "{case}: {}", against.stdout);
        let judged = format!("{verdict} under this policy");
        assert!(
            against.stdout.contains(&judged),
            "{case}: {}",
            against.stdout
        );
    }
}

#[test]
fn a_saved_report_is_judged_under_another_policy() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path();
    images(folder);
    compared(folder, &policy("", "/var/log/**", "2999-12-31"));
    fs::write(
        folder.join("ours.toml"),
        policy(
            "[require]\norigin.built.at-least = 10",
            "/etc/**",
            "2999-12-31",
        ),
    )
    .unwrap();
    let said = checked(folder, &["--report", "report.json", "--json"]);
    assert_eq!(said.status, Some(1), "{}", said.stderr);
    let told: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(told["report"]["verdict"], "not-reproduced");
    assert_eq!(told["report"]["rejected"], 2);
    assert_eq!(told["report"]["unmet"][0]["found"], "nothing was rebuilt");
    assert_eq!(told["waivers"][0]["covers"], 0);
}

#[test]
fn what_is_no_policy_is_refused_with_its_line() {
    let home = tempfile::tempdir().unwrap();
    fs::write(
        home.path().join("ours.toml"),
        "schema = 1\nname = \"x\"\nrule = \"standard\"\n",
    )
    .unwrap();
    let said = checked(home.path(), &[]);
    assert_eq!(said.status, Some(2));
    assert!(
        said.stderr.contains("ours.toml") && said.stderr.contains("rule"),
        "{}",
        said.stderr
    );
}
