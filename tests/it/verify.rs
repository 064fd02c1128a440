//! The whole flow, from a published image and a repository to a report.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use reprove::{
    compare::{ConfigGrade, Equality},
    facts::{Origin, Provider},
    image::{Access, Platform},
    progress::Silent,
    rebuild::Context,
    recipe::{Build, SourceDateEpoch, TreeTrust},
    report::{EntryRecord, EntryType, Report, Shares, State, model::NamedBy},
    verdict::{ObstacleKind, Policy, Rules, Verdict},
    verify::{DiffRequest, Listed, Listing, Request, World, diff, verify_listed},
};

use crate::{
    git::{self, Repository},
    images::busybox,
    support::{Making, sums::closed, test_image},
};

/// Verifies with everything below `folder`, at a fixed time.
fn verified(request: &Request, folder: &Path) -> Report {
    listed(request, Listing::NotAsked, folder).report
}

/// Verifies as [`verified`] does, and lists the entries of the published image.
fn listed(request: &Request, listing: Listing, folder: &Path) -> Listed {
    let scratch = tempfile::tempdir_in(folder).unwrap();
    let world = World {
        cache: &folder.join("cache"),
        scratch: scratch.path(),
        access: &Access::default(),
        progress: &Silent,
        clock: || jiff::Timestamp::constant(1_764_000_000, 0),
    };
    let making = Making::new(&folder.join("cache"));
    let listed = verify_listed(request, listing, &making.workplace(), &world).unwrap();
    Listed {
        report: closed(listed.report),
        ..listed
    }
}

/// Asks for an image with everything else left open.
fn request(image: &str) -> Request {
    Request {
        image: image.parse().unwrap(),
        source: None,
        revision: None,
        recipe: None,
        tree_recipe: TreeTrust::Untrusted,
        variables: BTreeMap::new(),
        platform: Some("linux/amd64".parse().unwrap()),
        policy: Policy::builtin(Rules::Standard),
        dialect: None,
        compressor: None,
        context: Context::Checkout,
        source_mirrors: Vec::new(),
        rerun: Vec::new(),
    }
}

/// A repository whose `Dockerfile` copies one file and adds one archive.
fn repository() -> (Repository, String) {
    let repository = Repository::new();
    let folder = repository.path();
    fs::create_dir_all(folder.join("root/etc")).unwrap();
    fs::write(folder.join("root/etc/os-release"), "ID=test\n").unwrap();
    fs::write(folder.join("root/tool"), [0x7f, b'E', b'L', b'F', 0, 1]).unwrap();
    let tar = std::process::Command::new("tar")
        .args([
            "--sort=name",
            "--mtime=@1600000000",
            "--owner=0",
            "--group=0",
            "-czf",
            "rootfs.tar.gz",
            "-C",
            "root",
            ".",
        ])
        .current_dir(folder)
        .status()
        .unwrap();
    assert!(tar.success());
    fs::remove_dir_all(folder.join("root")).unwrap();
    repository.write("hello", "#!/bin/sh\necho hello\n");
    repository.write(
        "Dockerfile",
        "FROM scratch\nADD rootfs.tar.gz /\nCOPY hello /\nCMD [\"/hello\"]\n",
    );
    let commit = repository.commit("first");
    (repository, commit)
}

/// Publishes what the repository gives at that commit, and returns its name.
fn published(repository: &Repository, commit: &str, folder: &Path) -> String {
    published_from(Context::Checkout, repository, commit, folder)
}

fn published_from(
    context: Context,
    repository: &Repository,
    commit: &str,
    folder: &Path,
) -> String {
    let source = crate::rebuild::checkout(repository.path(), commit);
    let directory = folder.join("published");
    let build = Build::Scratch {
        dockerfile: "Dockerfile".to_owned(),
        context: String::new(),
        source_date_epoch: SourceDateEpoch::Commit,
    };
    let asked = reprove::rebuild::Request {
        build: &build,
        source: Some(&source),
        platform: &"linux/amd64".parse::<Platform>().unwrap(),
        encoding: crate::rebuild::encoding(reprove::dialect::TarDialect::DockerClassic),
        context,
        outside: None,
    };
    let output = reprove::rebuild::Output::Layout(directory.clone());
    reprove::rebuild::rebuild(&asked, &output, &Silent).unwrap();
    format!("oci:{}", directory.display())
}

fn asked(repository: &Repository, commit: &str, image: &str) -> Request {
    Request {
        source: Some(repository.path().display().to_string()),
        revision: Some(commit.to_owned()),
        recipe: Some("scratch".to_owned()),
        ..request(image)
    }
}

fn kinds(report: &Report) -> Vec<ObstacleKind> {
    report
        .obstacles
        .iter()
        .map(|obstacle| obstacle.kind)
        .collect()
}

#[test]
fn how_the_builder_got_at_the_files_decides_their_modes() {
    let folder = tempfile::tempdir().unwrap();
    let (repository, commit) = repository();
    let image = published_from(Context::Archive, &repository, &commit, folder.path());
    let cases = [
        (Context::Archive, Verdict::Reproduced, vec![]),
        (
            Context::Checkout,
            Verdict::NotReproduced,
            vec![("/hello".to_owned(), "0664".to_owned(), "0644".to_owned())],
        ),
    ];
    for (context, verdict, modes) in cases {
        let request = Request {
            context,
            ..asked(&repository, &commit, &image)
        };
        let report = verified(&request, folder.path());
        assert_eq!(report.verdict, verdict, "{context:?}: {}", report.summary);
        let json = serde_json::to_value(&report).unwrap();
        let found: Vec<(String, String, String)> = json["findings"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|finding| finding["attribute"] == "mode")
            .map(|finding| {
                let text =
                    |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
                (
                    text(&finding["location"]),
                    text(&finding["published"]),
                    text(&finding["rebuilt"]),
                )
            })
            .collect();
        assert_eq!(found, modes, "{context:?}");
    }
}

#[test]
fn the_published_busybox_is_the_layout_in_its_git_tree() {
    let folder = tempfile::tempdir().unwrap();
    let Some(layout) = busybox(folder.path()) else {
        return;
    };
    let repository = Repository::new();
    copy(&layout, &repository.path().join("latest-1/glibc/amd64"));
    let commit = repository.commit("dist");
    let report = verified(
        &Request {
            source: Some(repository.path().display().to_string()),
            revision: Some(commit),
            recipe: Some("git-layout".to_owned()),
            variables: [("layout".to_owned(), "latest-1/glibc/amd64".to_owned())].into(),
            policy: Policy::builtin(Rules::BitForBit),
            ..request(&format!("oci:{}", layout.display()))
        },
        folder.path(),
    );
    assert_eq!(report.verdict, Verdict::Reproduced, "{}", report.summary);
    assert_eq!(report.equality.unwrap().strongest, Equality::Manifest);
    assert_eq!(
        report.origin.keys().copied().collect::<Vec<_>>(),
        [Origin::Opaque]
    );
    assert!(
        report.summary.contains("opaque 100 %"),
        "{}",
        report.summary
    );
    assert_eq!(report.findings, []);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn the_published_alpine_layers_come_out_of_their_git_tree() {
    let folder = tempfile::tempdir().unwrap();
    let name = "alpine-minirootfs-3.20.3-x86_64.tar.gz";
    let Some(tarball) = test_image(&format!("alpine/{name}")) else {
        return;
    };
    let repository = Repository::new();
    repository.write(&format!("x86_64/{name}"), fs::read(tarball).unwrap());
    repository.write(
        "x86_64/Dockerfile",
        format!("FROM scratch\nADD {name} /\nCMD [\"/bin/sh\"]\n"),
    );
    let commit = repository.commit("3.20.3");
    let output = folder.path().join("alpine");
    let mut command = crate::support::reprove(folder.path());
    command
        .args([
            "rebuild",
            "--recipe",
            "alpine",
            "--platform",
            "linux/amd64",
            "--source",
        ])
        .arg(repository.path())
        .args([
            "--revision",
            &commit,
            "--output",
            &format!("oci:{}", output.display()),
        ]);
    let said = crate::support::said(&mut command);
    assert_eq!(said.status, Some(0), "{}", said.stderr);
    let blob = output
        .join("blobs/sha256/43c4264eed91be63b206e17d93e75256a6097070ce643c5e8f0379998b44f170");
    assert_eq!(fs::metadata(blob).unwrap().len(), 3_623_807);
    let report = verified(
        &Request {
            source: Some(repository.path().display().to_string()),
            revision: Some(commit),
            recipe: Some("alpine".to_owned()),
            ..request(&format!("oci:{}", output.display()))
        },
        folder.path(),
    );
    assert_eq!(report.verdict, Verdict::Reproduced, "{}", report.summary);
    assert_eq!(report.equality.unwrap().strongest, Equality::Manifest);
    assert_eq!(
        report.subject.layers[0].diff_id.to_string(),
        "sha256:63ca1fbb43ae5034640e5e6cb3e083e05c290072c5366fcaa9d62435a4cced85"
    );
}

#[test]
fn a_revision_that_gives_other_files_is_not_reproduced_and_they_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (repository, commit) = repository();
    let image = published(&repository, &commit, folder.path());
    let report = verified(&asked(&repository, &commit, &image), folder.path());
    assert_eq!(report.verdict, Verdict::Reproduced, "{}", report.summary);
    assert_eq!(report.equality.unwrap().strongest, Equality::Manifest);
    assert_eq!(
        report.origin.keys().copied().collect::<Vec<_>>(),
        [Origin::Tree, Origin::Opaque]
    );
    assert!(
        report
            .history
            .iter()
            .all(|binding| binding.source_file.is_some()),
        "{:?}",
        report.history
    );

    repository.write("hello", "#!/bin/sh\necho goodbye\n");
    let changed = repository.commit("second");
    let report = verified(&asked(&repository, &changed, &image), folder.path());
    assert_eq!(report.verdict, Verdict::NotReproduced);
    let rejected: Vec<(&str, &str)> = report
        .findings
        .iter()
        .filter(|finding| finding.acceptance == reprove::verdict::Acceptance::Rejected)
        .map(|finding| (finding.location.as_str(), finding.attribute.as_str()))
        .collect();
    assert_eq!(
        rejected,
        [
            ("/hello", "size"),
            ("/hello", "content"),
            ("/hello", "mtime")
        ]
    );
    assert_eq!(report.equality.unwrap().config_grade, ConfigGrade::Running);
}

#[test]
fn a_file_that_only_a_checkout_dates_is_explained_and_counterfactually_equal() {
    let folder = tempfile::tempdir().unwrap();
    let (repository, commit) = repository();
    let image = published(&repository, &commit, folder.path());
    // The same files in a later commit: git gives no other time than that one.
    git::git(
        repository.path(),
        &["commit", "-q", "--allow-empty", "-m", "later"],
        b"",
        60,
    );
    let later = repository.id("HEAD");
    let standard = verified(&asked(&repository, &later, &image), folder.path());
    assert_eq!(
        standard.verdict,
        Verdict::NotReproduced,
        "{}",
        standard.summary
    );
    assert_eq!(standard.equality.unwrap().strongest, Equality::Contents);
    let finding = standard
        .findings
        .iter()
        .find(|finding| finding.location == "/hello")
        .unwrap();
    assert_eq!(finding.cause.as_ref().unwrap().id, "git.checkout-time");
    let counterfactual = standard.counterfactual.unwrap();
    assert!(
        counterfactual.layers && counterfactual.blobs,
        "{counterfactual}"
    );
    let lenient = Request {
        policy: Policy::builtin(Rules::IgnoreTimes),
        ..asked(&repository, &later, &image)
    };
    assert_eq!(
        verified(&lenient, folder.path()).verdict,
        Verdict::Reproduced
    );
}

#[test]
fn a_source_that_does_not_build_is_inconclusive_and_says_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let (repository, commit) = repository();
    let image = published(&repository, &commit, folder.path());
    repository.write("Dockerfile", "FROM scratch\nCOPY missing /\n");
    let broken = repository.commit("broken");
    let report = verified(&asked(&repository, &broken, &image), folder.path());
    assert_eq!(report.verdict, Verdict::Inconclusive);
    assert_eq!(kinds(&report), [ObstacleKind::BuildFailed]);
    assert!(report.summary.contains("missing"), "{}", report.summary);
}

#[test]
fn without_a_recipe_or_a_source_it_is_inconclusive_and_says_what_would_help() {
    let folder = tempfile::tempdir().unwrap();
    let (repository, commit) = repository();
    let image = published(&repository, &commit, folder.path());
    let cases = [
        (
            Request {
                recipe: None,
                ..asked(&repository, &commit, &image)
            },
            ObstacleKind::NoRecipe,
            "--recipe",
        ),
        (
            Request {
                source: None,
                ..asked(&repository, &commit, &image)
            },
            ObstacleKind::NoSource,
            "--source",
        ),
        (
            Request {
                revision: None,
                ..asked(&repository, &commit, &image)
            },
            ObstacleKind::NoSource,
            "--revision",
        ),
    ];
    for (request, kind, remedy) in cases {
        let report = verified(&request, folder.path());
        assert_eq!(report.verdict, Verdict::Inconclusive);
        assert_eq!(kinds(&report), [kind]);
        assert!(
            report.obstacles[0].remedy.contains(remedy),
            "{:?}",
            report.obstacles
        );
    }
}

#[test]
fn a_source_that_only_the_image_names_is_inconclusive_even_where_it_fits() {
    let folder = tempfile::tempdir().unwrap();
    let (repository, commit) = repository();
    let label = format!(
        "FROM scratch\nADD rootfs.tar.gz /\nLABEL org.opencontainers.image.source={} org.opencontainers.image.revision={commit}\n",
        repository.path().display(),
    );
    repository.write("Dockerfile", label);
    let labelled = repository.commit("labels");
    let image = published(&repository, &labelled, folder.path());
    let declared = Request {
        recipe: Some("scratch".to_owned()),
        revision: Some(labelled.clone()),
        ..request(&image)
    };
    let report = verified(&declared, folder.path());
    assert_eq!(report.verdict, Verdict::Inconclusive, "{}", report.summary);
    assert_eq!(kinds(&report), [ObstacleKind::SelfDeclared]);
    assert_eq!(
        report.source.as_ref().unwrap().repository_named_by,
        NamedBy::Image
    );
    assert_eq!(report.equality.unwrap().strongest, Equality::Manifest);
    let named = verified(&asked(&repository, &labelled, &image), folder.path());
    assert_eq!(named.verdict, Verdict::Reproduced);
}

#[test]
fn a_commit_that_no_branch_leads_to_must_be_named_by_the_user() {
    let folder = tempfile::tempdir().unwrap();
    let (repository, _) = repository();
    let branch = repository.id("HEAD");
    let parentless = git::git(
        repository.path(),
        &["commit-tree", "-m", "fork", "HEAD^{tree}"],
        b"",
        0,
    );
    let fork = parentless.trim();
    let labels = format!(
        "FROM scratch\nADD rootfs.tar.gz /\nLABEL org.opencontainers.image.revision={fork}\n"
    );
    repository.write("Dockerfile", labels);
    repository.commit("labels");
    let image = published(&repository, "HEAD", folder.path());
    let proposed = Request {
        revision: None,
        ..asked(&repository, &branch, &image)
    };
    let report = verified(&proposed, folder.path());
    assert!(
        kinds(&report).contains(&ObstacleKind::Unreachable),
        "{:?}",
        report.obstacles
    );
    let named = verified(&asked(&repository, fork, &image), folder.path());
    assert!(!kinds(&named).contains(&ObstacleKind::Unreachable));
}

#[test]
fn two_runs_give_the_same_report_and_an_image_is_no_different_from_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (repository, commit) = repository();
    let image = published(&repository, &commit, folder.path());
    let report = || {
        serde_json::to_string(&verified(
            &asked(&repository, &commit, &image),
            folder.path(),
        ))
        .unwrap()
    };
    assert_eq!(report(), report());
    let scratch = tempfile::tempdir().unwrap();
    let world = World {
        cache: &PathBuf::from("/nonexistent"),
        scratch: scratch.path(),
        access: &Access::default(),
        progress: &Silent,
        clock: || jiff::Timestamp::constant(1_764_000_000, 0),
    };
    let request = DiffRequest {
        published: image.parse().unwrap(),
        rebuilt: image.parse().unwrap(),
        platform: None,
        policy: Policy::builtin(Rules::BitForBit),
        rerun: Vec::new(),
    };
    let same = closed(diff(&request, &world).unwrap());
    assert_eq!((same.verdict, same.findings), (Verdict::Reproduced, vec![]));
    assert_eq!(same.coverage.entries.identical, same.coverage.entries.total);
    assert!(same.coverage.entries.total > 0);
    let listed: u64 = same.tree.iter().map(|folder| folder.identical).sum();
    assert_eq!(listed, same.coverage.entries.total);
}

#[track_caller]
fn assert_valid(validator: &jsonschema::Validator, json: &serde_json::Value) {
    let errors = validator.iter_errors(json).map(|error| error.to_string());
    assert_eq!(errors.collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn a_report_is_what_its_schema_says() {
    let folder = tempfile::tempdir().unwrap();
    let (repository, commit) = repository();
    let image = published(&repository, &commit, folder.path());
    repository.write("hello", "other\n");
    let changed = repository.commit("second");
    let schema = serde_json::to_value(reprove::report::schema()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for revision in [&commit, &changed] {
        let report = verified(&asked(&repository, revision, &image), folder.path());
        let json = serde_json::to_value(&report).unwrap();
        assert_valid(&validator, &json);
        let again: Report = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(&again).unwrap(), json);
    }
}

#[test]
fn the_entries_add_up_to_what_the_report_counts() {
    let folder = tempfile::tempdir().unwrap();
    let (repository, commit) = repository();
    let image = published(&repository, &commit, folder.path());
    repository.write("hello", "#!/bin/sh\necho goodbye\n");
    let changed = repository.commit("second");
    let schema = serde_json::to_value(reprove::report::entry_schema()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for (revision, verdict) in [
        (&commit, Verdict::Reproduced),
        (&changed, Verdict::NotReproduced),
    ] {
        let asked = asked(&repository, revision, &image);
        let Listed { report, entries } = listed(&asked, Listing::Asked, folder.path());
        assert_eq!(report.verdict, verdict, "{}", report.summary);
        let records: Vec<EntryRecord> = entries.unwrap().records().collect();
        for record in &records {
            let json = serde_json::to_value(record).unwrap();
            assert_valid(&validator, &json);
            assert_eq!(
                &serde_json::from_value::<EntryRecord>(json).unwrap(),
                record
            );
        }
        assert!(records.is_sorted_by_key(|record| record.path.clone()));
        let sums = |size: fn(&EntryRecord) -> u64| {
            let sum = |state| {
                let of_state = records.iter().filter(|record| record.state == state);
                of_state.map(size).sum::<u64>()
            };
            [
                sum(State::Identical),
                sum(State::Explained),
                sum(State::Waived),
                sum(State::Unexplained),
            ]
        };
        for (shares, sums) in [
            (report.coverage.entries, sums(|_| 1)),
            (report.coverage.bytes, sums(|record| record.size)),
        ] {
            let Shares {
                identical,
                explained,
                waived,
                unexplained,
                total,
            } = shares;
            assert_eq!(sums, [identical, explained, waived, unexplained]);
            assert_eq!(sums.iter().sum::<u64>(), total);
        }

        // No path is in two layers here, and so each file is counted once by the report.
        let mut same: BTreeMap<Origin, u64> = BTreeMap::new();
        for record in records.iter().filter(|it| it.kind == EntryType::File) {
            let differs = ["content", "presence", "type"]
                .iter()
                .any(|&word| record.differs.iter().any(|it| it == word));
            *same.entry(record.origin.unwrap()).or_default() += u64::from(!differs);
        }
        let counted = report.files.iter().map(|(origin, it)| (*origin, it.same));
        assert_eq!(same, counted.collect());

        let hello = records.iter().find(|it| it.path == "/hello").unwrap();
        let path = "hello".to_owned();
        let expected = (verdict == Verdict::Reproduced).then_some(Provider::Source { path });
        assert_eq!(hello.provided_by, expected);
        assert_eq!(hello.origin, Some(Origin::Tree));
        assert!(hello.instruction.as_ref().unwrap().contains("COPY"));
    }
    let nothing = Request {
        recipe: None,
        ..asked(&repository, &commit, &image)
    };
    let nothing = listed(&nothing, Listing::Asked, folder.path());
    assert_eq!(nothing.report.verdict, Verdict::Inconclusive);
    assert!(nothing.entries.is_none(), "nothing was compared");
}

#[test]
fn the_closed_list_of_build_metadata_is_published() {
    let mut page = String::from(
        "# Config fields that nothing runs by\n\n\
         Configs that differ only here have the grade `running`: the closed list of build\n\
         metadata, each field with the values it may take on both sides (it may always be\n\
         absent). `*` is any position in a list. Every other field, known or not, counts as\n\
         one that a container is run by. The diffIDs are judged with the layers.\n\n\
         | JSON pointer | values |\n|---|---|\n",
    );
    let rows = reprove::compare::config::BUILD_METADATA
        .iter()
        .map(|field| format!("| `{}` | {} |\n", field.pointer, field.grammar));
    page.extend(rows);
    crate::support::assert_golden("changes/build-metadata.md", &page);
}

#[test]
fn a_listing_that_contradicts_its_own_diff_id_is_an_error_and_no_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let (repository, commit) = repository();
    let image = published(&repository, &commit, folder.path());
    let said = |arguments: &[&str]| {
        crate::support::said(crate::support::reprove(folder.path()).args(arguments))
    };
    let text = said(&["listing", &image]).stdout;
    let changed = text.replacen("644 uid=", "666 uid=", 1);
    assert_ne!(text, changed);
    for (name, text, status) in [("true", &text, 0), ("changed", &changed, 2)] {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        let listing = format!("listing:{}", path.display());
        let source = repository.path().to_str().unwrap();
        let verify = [
            "verify",
            &listing,
            "--recipe",
            "scratch",
            "--source",
            source,
            "--revision",
            &commit,
        ];
        // What is built is read by itself: a listing's word is never taken for it.
        for arguments in [&["diff", &listing, &image][..], &verify] {
            let said = said(arguments);
            assert_eq!(said.status, Some(status), "{said:#?}");
        }
    }
}
