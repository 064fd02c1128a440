//! The report in each of its forms, made of one failing comparison.

mod browser;

use std::{collections::BTreeMap, fs, path::Path};

use reprove::{
    compare::content::{Change, Content, Line, On, Part},
    digest::Digest,
    explain::{Risk, Tried},
    image::Access,
    inventory::{Drift, Manager, Package},
    pair::Pair,
    progress::Silent,
    report::{
        Report, html, markdown,
        model::{FindingRecord, Within},
        sarif, text,
    },
    verdict::{Acceptance, Policy, Verdict},
    verify::{DiffRequest, World, diff},
};

use crate::{
    changes::{
        archive::{BUILT, MTIME, Member},
        image::{Image, Layer},
    },
    support::{assert_golden, reprove, said, sums::closed},
};

/// What a hostile image would call a file.
const HOSTILE: &str = "srv/</script><img src=x onerror=alert(1)>`|a|`<!--";

/// Writes two images: one of a few packages, and what a later build of it gave.
fn images(folder: &Path) -> Pair<String> {
    let member = |name: &str, content: &str| Member::file(name, content.as_bytes());
    let late = |mut member: Member, time: u64| {
        member.set(MTIME, BUILT + time);
        member
    };
    let image = |rebuilt: bool| {
        let pick =
            |published: &'static str, other: &'static str| if rebuilt { other } else { published };
        let time = u64::from(rebuilt) * 86_400;
        let mut base: Vec<Member> = [
            "bin",
            "etc",
            "usr",
            "usr/bin",
            "usr/lib",
            "usr/share",
            "usr/share/doc",
        ]
        .map(Member::directory)
        .into();
        for number in 0..120 {
            let folder = format!("usr/share/doc/package-{number:03}");
            base.push(Member::directory(&folder));
            base.push(member(&format!("{folder}/copyright"), "MIT\n"));
            base.push(late(member(&format!("{folder}/changelog"), "new\n"), time));
        }
        base.push(member("etc/passwd", "root:x:0:0::/root:/bin/sh\n"));
        base.push(member(
            "etc/os-release",
            pick("ID=debian\nVERSION=12\n", "ID=debian\nVERSION=12.1\n"),
        ));
        base.push(
            member(
                "usr/lib/libc.so.6",
                pick("\u{7f}ELF of u9", "\u{7f}ELF of u10"),
            )
            .with_mode(0o755),
        );
        base.push(
            member(
                "usr/bin/ldd",
                pick("#!/bin/sh\n# u9\n", "#!/bin/sh\n# u10\n"),
            )
            .with_mode(0o755),
        );
        base.push(member("usr/bin/true", "true\n").with_mode(0o755));
        let mut app = vec![Member::directory("srv"), Member::directory("app")];
        app.push(
            member("app/tool", pick("tool 1", "tool 2"))
                .with_mode(pick("0", "1").parse::<u64>().unwrap() * 0o4000 + 0o755),
        );
        app.push(member(
            "app/settings.json",
            pick(
                "{\n  \"built\": \"mon\"\n}\n",
                "{\n  \"built\": \"tue\"\n}\n",
            ),
        ));
        app.push(member(HOSTILE, pick("a", "b")));
        app.push(member(pick("app/cache.bin", "app/cache.tmp"), "cache"));
        let layers = vec![Layer::new(base), Layer::new(app)];
        let mut image = Image::plain(layers);
        let history = format!(
            r#"{{"architecture":"amd64","os":"linux","created":"2023-11-{}T00:00:00Z","config":{{}},"history":[{{"created_by":"RUN apt-get install libc6"}},{{"created_by":"COPY app /app"}}],"#,
            pick("14", "15")
        );
        image.config = image.config.replacen(
            r#"{"architecture":"amd64","os":"linux","config":{},"#,
            &history,
            1,
        );
        image
    };
    Pair::new("published", "rebuilt").map(|side| {
        let directory = folder.join(side);
        image(side == "rebuilt").write(&directory);
        format!("oci:{}", directory.display())
    })
}

/// Returns what `reprove diff` reports of the images, with packages and the insides of files.
fn sample(folder: &Path) -> Report {
    let names = images(folder);
    let cache = Digest::of(b"cache");
    let policy = format!(
        r#"
        schema = 1
        name = "ours"
        rules = "standard"
        [[waiver]]
        location = "/app/cache.bin"
        attribute = "presence"
        published = "file 0644 0:0, 5 bytes, {cache}"
        reason = "the cache is made | at random"
        owner = "images team"
        expires = "2027-01-31"
    "#
    );
    let request = DiffRequest {
        published: names.published.parse().unwrap(),
        rebuilt: names.rebuilt.parse().unwrap(),
        platform: None,
        policy: Policy::parse(&policy, "ours.toml").unwrap(),
        rerun: ["reprove", "diff", "oci:it's", "oci:other"]
            .map(str::to_owned)
            .into(),
    };
    let world = World {
        cache: Path::new("/nonexistent"),
        scratch: folder,
        access: &Access::default(),
        progress: &Silent,
        clock: || jiff::Timestamp::constant(1_764_000_000, 0),
    };
    let mut report = closed(diff(&request, &world).unwrap());
    "registry.example/app:1.2".clone_into(&mut report.subject.name);
    "oci:rebuilt".clone_into(&mut report.rebuilt.as_mut().unwrap().name);
    let package = |version: &str| Package {
        manager: Manager::Dpkg,
        name: "libc6".to_owned(),
        version: version.to_owned(),
        architecture: "amd64".to_owned(),
    };
    let versions = Pair::new("2.36-9+deb12u9", "2.36-9+deb12u10");
    report.packages = vec![Drift {
        manager: Manager::Dpkg,
        name: "libc6".to_owned(),
        architecture: "amd64".to_owned(),
        version: versions.map(|version| Some(version.to_owned())),
    }];
    let contents = contents();
    for finding in &mut report.findings {
        if ["/usr/lib/libc.so.6", "/usr/bin/ldd"].contains(&&*finding.location) {
            finding.owner = Some(versions.map(|version| Some(package(version))));
        }
        if finding.attribute == "content" {
            finding.content = contents.get(&*finding.location).cloned();
            finding.tried = vec![Tried {
                cause: "elf.build-id".into(),
                refused: "section .text differs too".into(),
            }];
        }
    }
    report
}

/// Returns one content of each kind of change, by file.
fn contents() -> BTreeMap<&'static str, Content> {
    let content = |format: &str, parts| Content {
        format: format.to_owned(),
        parts,
        left_out: 0,
    };
    let part = |place: &str, change| Part {
        place: place.to_owned(),
        change,
    };
    let line = |on, text: &str| Line {
        on,
        text: text.to_owned(),
    };
    let bytes = Change::Bytes {
        offset: Pair::new(70, 70),
        length: Pair::new(180, 180),
        hex: Pair::new(hex::encode("7f3a <script>\n"), hex::encode("91c2 <b>")),
        before: hex::encode("\0\0GCC: build-"),
        after: hex::encode("\0.shstrtab\0"),
        entropy: Pair::new(3821, 3418),
    };
    let value = Change::Value {
        published: Some("5a1f0c".to_owned()),
        rebuilt: None,
    };
    let text = Change::Lines {
        from: Pair::new(1, 1),
        lines: vec![
            line(On::Both, "{"),
            line(On::Published, "  \"built\": \"mon\""),
            line(On::Rebuilt, "  \"built\": \"tue\""),
            line(On::Both, "}</script><b>"),
        ],
    };
    let inside = Change::Inside {
        content: content("text", vec![part("lines", text.clone())]),
    };
    BTreeMap::from([
        (
            "/app/settings.json",
            content("text", vec![part("lines", text)]),
        ),
        (
            "/usr/lib/libc.so.6",
            Content {
                left_out: 7,
                ..content(
                    "elf",
                    vec![
                        part("note .note.gnu.build-id", value),
                        part("section .text", bytes),
                    ],
                )
            },
        ),
        (
            "/app/tool",
            content("tar", vec![part("member <b>a</b>", inside)]),
        ),
    ])
}

#[test]
fn texts_are_what_was_reviewed() {
    let folder = tempfile::tempdir().unwrap();
    let report = sample(folder.path());
    assert_eq!(report.verdict, Verdict::NotReproduced);
    let brief = plain(&text::render(&report, text::Detail::Brief));
    assert!(brief.lines().count() <= 60, "{brief}");
    assert_golden("report/brief.txt", &brief);
    assert_golden(
        "report/full.txt",
        &plain(&text::render(&report, text::Detail::Full)),
    );
    assert_golden("report/summary.md", &markdown::render(&report));
}

/// Returns text without its colours.
fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[test]
fn the_tree_counts_what_the_coverage_counts() {
    let folder = tempfile::tempdir().unwrap();
    let report = sample(folder.path());
    let sum = |of: fn(&reprove::report::Folder) -> u64| report.tree.iter().map(of).sum::<u64>();
    let entries = &report.coverage.entries;
    let sums = [
        sum(|folder| folder.identical),
        sum(|folder| folder.explained),
        sum(|folder| folder.waived),
        sum(|folder| folder.unexplained),
    ];
    assert_eq!(
        sums,
        [
            entries.identical,
            entries.explained,
            entries.waived,
            entries.unexplained
        ]
    );
    assert!(sums.iter().all(|&count| count > 0), "{sums:?}");
    assert_eq!(sums.iter().sum::<u64>(), entries.total);
    assert_eq!(sum(|folder| folder.only_rebuilt), 1);
}

#[test]
fn an_entry_below_a_link_is_held_to_what_is_found_where_it_lies() {
    // What the lower layer has there, and how many of that folder are unexplained then: what
    // is overwritten has the name of the place that differs.
    for (lower, identical, unexplained) in [("usr/lib/b", 1, 0), ("usr/lib/a", 0, 1)] {
        let folder = tempfile::tempdir().unwrap();
        let [published, rebuilt] = ["one", "two"].map(|content| {
            let base = vec![
                Member::directory("usr"),
                Member::directory("usr/lib"),
                Member::link(b'2', "lib", "usr/lib"),
                Member::file(lower, b"below"),
            ];
            let upper = vec![Member::file("lib/a", content.as_bytes())];
            let path = folder.path().join(content);
            Image::plain(vec![Layer::new(base), Layer::new(upper)]).write(&path);
            path
        });
        let report = crate::fat::report(Pair::new(&*published, &*rebuilt), folder.path());
        let place = |finding: &&FindingRecord| finding.within == Within::Entry;
        let found: Vec<&str> = (report.findings.iter().filter(place))
            .map(|finding| finding.location.as_str())
            .collect();
        assert_eq!(found, ["/usr/lib/a", "/lib/a"], "{lower}");
        let told: Vec<_> = (report.tree.iter())
            .map(|it| (&*it.path, it.identical, it.unexplained, it.only_rebuilt))
            .collect();
        let expected = [
            ("/", 2, 0, 0),
            ("/lib", 0, 1, 0),
            ("/usr", 1, 0, 0),
            ("/usr/lib", identical, unexplained, 0),
        ];
        assert_eq!(told, expected, "{lower}");
    }
}

#[test]
fn waivers_that_a_table_has_no_room_for_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut report = sample(folder.path());
    let is_waived = |it: &&FindingRecord| matches!(it.acceptance, Acceptance::Waived(_));
    let waived = report.findings.iter().find(is_waived).unwrap().clone();
    report.findings.retain(|it| !is_waived(&it));
    let first = report.policy.waivers[0].clone();
    report.policy.waivers = vec![first; 1100];
    for number in 0..1100 {
        let mut finding = waived.clone();
        finding.acceptance = Acceptance::Waived(number);
        report.findings.push(finding);
    }
    let page = markdown::render(&report);
    let table = page.split("accepted by waivers").nth(1).unwrap();
    let (table, _) = table.split_once("</details>").unwrap();
    let told = table
        .lines()
        .filter(|line| line.contains("images team"))
        .count();
    let more = format!("\n… and {} more.\n", thousands(1100 - told));
    assert!(told > 0 && table.ends_with(&format!("{more}\n")), "{table}");
    let page = html::render(&report);
    assert!(page.contains("… and 100 more waivers, which the JSON report lists."));
}

/// Returns a number up to a few thousand as reports write it.
fn thousands(number: usize) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", number / 1000, number % 1000),
    }
}

#[test]
fn a_failure_of_one_package_is_said_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let mut report = sample(folder.path());
    let whole = report.findings.clone();
    report.findings.retain(|finding| finding.owner.is_some());
    let brief = plain(&text::render(&report, text::Detail::Brief));
    let sentence =
        "2 files of libc6 2.36-9+deb12u9 / 2.36-9+deb12u10 differ; everything else is identical";
    assert_eq!(brief.lines().nth(1).unwrap().trim(), sentence);
    assert!(html::render(&report).contains(sentence));
    report.findings = whole;
    assert!(!text::render(&report, text::Detail::Brief).contains("everything else"));
}

#[test]
fn of_two_places_the_one_with_the_worse_risk_comes_first() {
    let folder = tempfile::tempdir().unwrap();
    let mut report = sample(folder.path());
    for finding in &mut report.findings {
        match &*finding.location {
            "/app/tool" => finding.risks = vec![Risk::Executable],
            "/usr/lib/libc.so.6" => finding.risks = vec![Risk::Setuid],
            _ => {}
        }
    }
    let page = html::render(&report);
    let (page, _) = page.split_once("id=\"report\">").unwrap();
    let forms = [
        plain(&text::render(&report, text::Detail::Brief)),
        page.to_owned(),
        markdown::render(&report),
    ];
    for form in forms {
        let at = |path: &str| form.find(path).unwrap();
        assert!(at("/usr/lib/libc") < at("/app/tool"), "{form}");
    }
}

#[test]
fn what_a_waiver_accepts_is_said_to_be_accepted_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let mut report = sample(folder.path());
    report.findings.retain(|it| it.location == "/app/cache.bin");
    let [finding] = &report.findings[..] else {
        panic!("{:?}", report.findings);
    };
    assert_eq!(finding.acceptance, Acceptance::Waived(0));
    assert_eq!(finding.cause, None);
    let page = html::render(&report);
    let (page, _) = page.split_once("id=\"report\">").unwrap();
    let forms = [
        plain(&text::render(&report, text::Detail::Brief)),
        plain(&text::render(&report, text::Detail::Full)),
        page.to_owned(),
        markdown::render(&report).replace("&#124;", "|"),
    ];
    for form in forms {
        let accepted = form.find("by waivers").unwrap();
        let reason = form.to_lowercase().find("the cache is made | at random");
        assert!(accepted < reason.unwrap(), "{form}");
        for word in ["place differs for no known", "No known reason</strong>"] {
            assert!(!form.contains(word), "{word}: {form}");
        }
    }
    assert!(page.contains("accepted by waiver</span>"), "{page}");
}

#[test]
fn a_layer_of_several_steps_is_said_to_be_of_no_single_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut report = sample(folder.path());
    let cases: [(&[&str], &str); 3] = [
        (
            &["RUN make", "COPY app /app", "CMD app"],
            "layer 1: one of 3 steps, from RUN make to CMD app, or several of them; the history does not tell",
        ),
        (
            &["RUN make"],
            "layer 1: squashed, RUN make among what made it",
        ),
        (&[], "layer 1: the history does not tell what made it"),
    ];
    for (steps, expected) in cases {
        let layer = &mut report.subject.layers[1];
        layer.instruction = None;
        layer.steps = steps.iter().map(|&step| step.to_owned()).collect();
        let saved = serde_json::to_vec(&report).unwrap();
        let read = reprove::report::read(&saved).unwrap();
        assert_eq!(read.subject.layers, report.subject.layers, "{expected}");
        let forms = [
            plain(&text::render(&report, text::Detail::Brief)),
            html::render(&report),
            markdown::render(&report).replace("&#58;", ":"),
        ];
        for form in forms {
            assert!(form.contains(expected), "{expected}: {form}");
        }
    }
}

#[test]
fn nothing_foreign_gets_out_of_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let mut report = sample(folder.path());
    let evil =
        "\u{1b}[2J\nreproduced: \u{202e}</script><img src=x onerror=alert(1)>`|`\\|**b** @all";
    report.summary = evil.to_owned();
    report.trust = vec![evil.to_owned()];
    report.subject.name = evil.to_owned();
    for finding in &mut report.findings {
        finding.detail = Some(evil.to_owned());
        if let Some(cause) = &mut finding.cause {
            cause.evidence = evil.to_owned();
        }
    }
    for cause in &mut report.causes {
        cause.title = evil.to_owned();
    }

    let page = html::render(&report);
    assert!(!page.contains("<img"), "no element of theirs");
    assert_eq!(page.matches("</script>").count(), 2);
    assert_eq!(page, html::render(&report), "the same each time");
    assert!(
        !page.contains('\u{202e}')
            || page.matches('\u{202e}').count() == data(&page).matches('\u{202e}').count()
    );

    let markdown = markdown::render(&report);
    for word in [
        "<img",
        "**b**",
        "`",
        "@all",
        "\u{202e}",
        "\u{1b}",
        "\nreproduced",
    ] {
        assert!(!markdown.contains(word), "{word}");
    }
    for detail in [text::Detail::Brief, text::Detail::Full] {
        let text = plain(&text::render(&report, detail));
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'));
        assert!(
            !text.lines().any(|line| line.starts_with("reproduced")),
            "{text}"
        );
    }
}

/// Returns the JSON that lies in a page.
fn data(page: &str) -> &str {
    let (_, rest) = page.split_once("id=\"report\">").unwrap();
    rest.split_once("</script>").unwrap().0
}

#[test]
fn a_report_that_points_nowhere_is_shown_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let mut report = sample(folder.path());
    report.policy.unused_waivers = vec![usize::MAX];
    report.rebuilt = None;
    report.coverage.entries.identical = u64::MAX;
    report.coverage.entries.unexplained = u64::MAX;
    for (number, finding) in report.findings.iter_mut().enumerate() {
        finding.layer = Some(Pair::new(None, Some(usize::MAX)));
        finding.acceptance = match number % 2 {
            0 => Acceptance::Waived(usize::MAX),
            _ => Acceptance::Expired(usize::MAX),
        };
    }
    let saved = serde_json::to_vec(&report).unwrap();
    let report = reprove::report::read(&saved).unwrap();
    for detail in [text::Detail::Brief, text::Detail::Full] {
        assert!(text::render(&report, detail).contains("not reproduced"));
    }
    assert!(html::render(&report).contains("Not reproduced"));
    assert!(markdown::render(&report).contains("not reproduced"));

    let mut report = report;
    report.causes.clear();
    let saved = serde_json::to_vec(&report).unwrap();
    let error = reprove::report::read(&saved).unwrap_err().to_string();
    assert!(error.starts_with("it names the cause \""), "{error}");
}

#[test]
fn a_page_holds_the_whole_report() {
    let folder = tempfile::tempdir().unwrap();
    let report = sample(folder.path());
    let read = reprove::report::read(data(&html::render(&report)).as_bytes()).unwrap();
    assert_eq!(
        serde_json::to_value(&read).unwrap(),
        serde_json::to_value(&report).unwrap()
    );
}

#[test]
fn markdown_fits_a_summary_page_however_much_differs() {
    let folder = tempfile::tempdir().unwrap();
    let mut report = many(sample(folder.path()), 20_000);
    for finding in &mut report.findings {
        finding.detail = Some("|".repeat(5000));
    }
    report.packages = vec![report.packages[0].clone(); 5000];
    report.trust = vec!["|".repeat(5000); 500];
    let markdown = markdown::render(&report);
    assert!(markdown.len() <= 60_000, "{}", markdown.len());
    assert!(
        markdown.contains("more places"),
        "what is left out is counted"
    );
    assert_eq!(
        markdown.matches("<details>").count(),
        markdown.matches("</details>").count()
    );
}

/// Returns the report with so many more findings.
fn many(mut report: Report, count: usize) -> Report {
    let known = report
        .findings
        .iter()
        .find(|it| it.attribute == "mtime")
        .unwrap();
    let findings = (0..count).map(|number| {
        let mut finding = known.clone();
        finding.location = format!("/var/folder-{:02}/file-{number:05}", number % 40);
        finding
    });
    report.findings.extend(findings.collect::<Vec<_>>());
    report
}

#[test]
fn a_saved_report_is_shown_in_every_form() {
    let home = tempfile::tempdir().unwrap();
    let images = images(home.path());
    let diff = said(
        reprove(home.path())
            .args(["diff", &images.published, &images.rebuilt])
            .args([
                "--report",
                "report.json",
                "--html",
                "direct.html",
                "--markdown",
                "direct.md",
            ]),
    );
    assert_eq!((diff.status, &*diff.stderr), (Some(1), ""));
    let shown = said(reprove(home.path()).args(["report", "report.json"]));
    assert_eq!((shown.status, &*shown.stderr), (Some(0), ""));
    assert_eq!(shown.stdout, diff.stdout);

    let saved = |name: &str| fs::read_to_string(home.path().join(name)).unwrap();
    for (format, name) in [
        ("html", "direct.html"),
        ("markdown", "direct.md"),
        ("json", "report.json"),
    ] {
        let arguments = ["report", "report.json", "--format", format];
        let printed = said(reprove(home.path()).args(arguments));
        assert_eq!(
            (printed.status, &*printed.stderr),
            (Some(0), ""),
            "{format}"
        );
        assert!(
            printed.stdout == saved(name),
            "{format} is the same as was written at once"
        );
        let written = said(
            reprove(home.path())
                .args(arguments)
                .args(["--output", "out"]),
        );
        assert_eq!(
            (written.status, &*written.stdout),
            (Some(0), ""),
            "{format}"
        );
        assert!(saved("out") == printed.stdout, "{format}");
    }
    let printed = said(reprove(home.path()).args(["report", "report.json", "--format", "sarif"]));
    let log: serde_json::Value = serde_json::from_str(&printed.stdout).unwrap();
    let report = reprove::report::read(saved("report.json").as_bytes()).unwrap();
    assert!(log == sarif::log(&report));
    let piped = reprove(home.path())
        .args(["report", "-", "--full"])
        .stdin(fs::File::open(home.path().join("report.json")).unwrap())
        .output()
        .unwrap();
    assert!(piped.status.success());
    let verbose = said(reprove(home.path()).args(["report", "report.json", "-v"]));
    assert_eq!(verbose.stdout.as_bytes(), piped.stdout);
    assert!(verbose.stdout.len() > shown.stdout.len());
}

#[test]
fn every_file_has_its_owner_in_what_files_writes() {
    const STATUS: &str = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\n\
        Version: 2.36-9\n";
    let home = tempfile::tempdir().unwrap();
    let image = |name: &str, motd: &str| {
        let member = |name: &str, content: &str| Member::file(name, content.as_bytes());
        let base = vec![
            Member::directory("etc"),
            member("etc/motd", "first\n"),
            Member::directory("usr"),
            Member::directory("usr/lib"),
            member("usr/lib/libc.so.6", "libc").with_mode(0o755),
            Member::link(b'1', "usr/lib/libc.so", "usr/lib/libc.so.6"),
            Member::link(b'2', "lib", "usr/lib"),
            member("var/lib/dpkg/status", STATUS),
            member(
                "var/lib/dpkg/info/libc6:amd64.list",
                "/.\n/usr\n/usr/lib\n/usr/lib/libc.so.6\n",
            ),
        ];
        let top = vec![
            member("etc/motd", motd),
            member("etc/.wh.issue", ""),
            member("srv/\u{1b}[2J", "odd"),
        ];
        let mut image = Image::plain(vec![Layer::new(base), Layer::new(top)]);
        image.config = image.config.replacen(
            r#""config":{},"#,
            r#""config":{},"history":[{"created_by":"RUN mmdebstrap"},{"created_by":"RUN make","empty_layer":true},{"created_by":"COPY motd /etc"}],"#,
            1,
        );
        image.write(&home.path().join(name));
        format!("oci:{name}")
    };
    let published = image("published", "second\n");
    let rebuilt = image("rebuilt", "third\n");
    let listed = |other: &str, status: i32| {
        let diff = said(
            reprove(home.path())
                .args(["diff", &published, other, "--files", "files.jsonl"])
                .args(["--report", "report.json"]),
        );
        assert_eq!((diff.status, &*diff.stderr), (Some(status), ""));
        let saved = |name: &str| fs::read_to_string(home.path().join(name)).unwrap();
        let report = reprove::report::read(saved("report.json").as_bytes()).unwrap();
        let lines = saved("files.jsonl");
        assert_eq!(
            lines.lines().count() as u64,
            report.coverage.entries.total,
            "{other}"
        );
        lines
    };
    // The owners are known also where nothing differs, for which nothing is read again.
    let same = listed(&published, 0);
    assert!(same.contains(r#""name":"libc6""#), "{same}");
    assert_golden("report/files.jsonl", &listed(&rebuilt, 1));
}

#[test]
fn a_name_is_visible_where_it_is_there_and_what_lies_by_a_link_is_told_of_as_it_lies() {
    const STATUS: &str = "Package: a\nStatus: install ok installed\nArchitecture: amd64\n\
        Version: 1\n";
    let file = |name: &str, content: &str| Member::file(name, content.as_bytes());
    let base = vec![
        file("c", "one"),
        Member::link(b'1', "d", "c"),
        file("e", "two"),
        Member::link(b'1', "f", "e"),
        Member::directory("usr"),
        Member::directory("usr/lib"),
        Member::link(b'2', "lib", "usr/lib"),
        file("var/lib/dpkg/status", STATUS),
        file("var/lib/dpkg/info/a.list", "/usr/lib/a\n/usr/lib/b\n"),
    ];
    let upper = vec![
        file(".wh.c", ""),
        file("e", "three"),
        file("lib/a", "four"),
        Member::link(b'1', "lib/b", "lib/a"),
    ];
    let home = tempfile::tempdir().unwrap();
    let mut image = Image::plain(vec![Layer::new(base), Layer::new(upper)]);
    image.write(&home.path().join("image"));
    let diff = said(reprove(home.path()).args([
        "diff",
        "oci:image",
        "oci:image",
        "--files",
        "files.jsonl",
    ]));
    assert_eq!((diff.status, &*diff.stderr), (Some(0), ""));
    let lines = fs::read_to_string(home.path().join("files.jsonl")).unwrap();
    let records: Vec<serde_json::Value> = (lines.lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let cases = [
        ("/c", 0, "hidden", Some("one"), false),
        ("/d", 0, "visible", Some("one"), false),
        ("/e", 0, "hidden", Some("two"), false),
        ("/e", 1, "visible", Some("three"), false),
        ("/f", 0, "visible", Some("two"), false),
        ("/lib/a", 1, "visible", Some("four"), true),
        ("/lib/b", 1, "visible", Some("four"), true),
    ];
    for (path, layer, visibility, content, is_owned) in cases {
        let is_it = |it: &&serde_json::Value| it["path"] == path && it["layer"] == layer;
        let record = records.iter().find(is_it).unwrap();
        assert_eq!(record["visibility"], visibility, "{record}");
        let digest = content.map(|content| Digest::of(content.as_bytes()).to_string());
        assert_eq!(record["digest"].as_str(), digest.as_deref(), "{record}");
        assert_eq!(record["owner"]["name"] == "a", is_owned, "{record}");
    }
}

#[test]
fn sarif_has_a_result_for_each_difference_and_a_suppression_for_each_waiver() {
    let folder = tempfile::tempdir().unwrap();
    let report = sample(folder.path());
    let log = sarif::log(&report);
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let rules: Vec<&str> = (run["tool"]["driver"]["rules"].as_array().unwrap().iter())
        .map(|rule| rule["id"].as_str().unwrap())
        .collect();
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), report.findings.len());
    let mut prints: Vec<&str> = Vec::new();
    for (result, finding) in results.iter().zip(&report.findings) {
        let rule = result["ruleId"].as_str().unwrap();
        assert!(rules.contains(&rule), "{rule}");
        let suppressions = result["suppressions"].as_array().unwrap().len();
        let is_waived = matches!(finding.acceptance, Acceptance::Waived(_));
        assert_eq!(suppressions, usize::from(is_waived), "{result}");
        let expected = match (&finding.cause, finding.acceptance, finding.risks.is_empty()) {
            (_, Acceptance::Accepted, _) => ("informational", "none"),
            (Some(_), _, true) => ("fail", "warning"),
            _ => ("fail", "error"),
        };
        let seen = (&result["kind"], &result["level"]);
        assert_eq!(seen, (&expected.0.into(), &expected.1.into()), "{result}");
        let uri = &result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
        assert!(!uri.as_str().unwrap().is_empty(), "{result}");
        prints.push(
            result["partialFingerprints"]["difference/v1"]
                .as_str()
                .unwrap(),
        );
    }
    prints.sort_unstable();
    assert!(prints.windows(2).all(|two| two[0] != two[1]));

    let of = |location: &str| {
        let at = report
            .findings
            .iter()
            .position(|it| it.location == location);
        &results[at.unwrap()]
    };
    let waived = of("/app/cache.bin");
    let text = waived["suppressions"][0]["justification"].as_str().unwrap();
    assert_eq!(
        text,
        "the cache is made | at random (images team, until 2027-01-31)"
    );
    assert_eq!(waived["ruleId"], "unexplained");
    let place = &waived["locations"][0];
    assert_eq!(
        place["physicalLocation"]["artifactLocation"]["uri"],
        "app/cache.bin"
    );
    let layer = &place["logicalLocations"][0]["fullyQualifiedName"];
    assert_eq!(layer, "layer 1: COPY app /app");
    let config = &of("config /created")["locations"][0]["physicalLocation"]["artifactLocation"];
    let digest = report.subject.config_digest.unwrap().hex();
    assert_eq!(config["uri"], format!("blobs/sha256/{digest}"));
}

#[test]
fn what_is_no_report_is_trouble_that_says_why() {
    let home = tempfile::tempdir().unwrap();
    let cases = [
        (
            "no",
            "it is not JSON: expected",
            "hint: `reprove verify IMAGE --report FILE` writes one",
        ),
        (
            "{}",
            "it is JSON but no report: it has no schemaVersion",
            "hint: `reprove verify",
        ),
        (
            "{\"schemaVersion\": 9}",
            "its schemaVersion is 9, and only 1 is known",
            "hint: show it with the version",
        ),
        (
            "{\"schemaVersion\": 1}",
            "it is not a whole report: missing field `verdict`",
            "",
        ),
    ];
    for (content, problem, hint) in cases {
        fs::write(home.path().join("file"), content).unwrap();
        let said = said(reprove(home.path()).args(["report", "file"]));
        assert_eq!((said.status, &*said.stdout), (Some(2), ""), "{content}");
        let problem = format!("error: cannot take file for a report: {problem}");
        assert!(said.stderr.starts_with(&problem), "{}", said.stderr);
        assert!(said.stderr.contains(hint), "{}", said.stderr);
    }
}
