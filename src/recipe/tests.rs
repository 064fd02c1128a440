use super::*;

const PLAIN: &str = r#"schema = 1
name = "thing"
images = ["registry.example/thing"]
source = "https://example.org/thing"

[variables]
flavour = "plain"
folder = { description = "where it is" }

[platforms]
"linux/amd64" = { arch = "x86_64" }
"linux/arm64/v8" = { arch = "aarch64" }

[[tag]]
match = "{major:digits}.{minor:digits}-{kind}"
revision = "v{major}.{minor}-{arch}"
set = { flavour = "{kind}" }

[build]
kind = "scratch"
dockerfile = "{arch}/{flavour}/{architecture}.dockerfile"
"#;

fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}

fn set<const N: usize>(values: [(&str, &str); N]) -> BTreeMap<String, String> {
    values
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

fn error(text: &str) -> String {
    Recipe::parse(text, "recipe.toml").unwrap_err().to_string()
}

#[test]
fn a_recipe_is_made_out_for_a_platform() {
    let recipe = Recipe::parse(PLAIN, "recipe.toml").unwrap();
    let resolved = recipe
        .for_platform(&platform("linux/arm64"), Some("3.20-slim"), &set([]))
        .unwrap();
    let value = |text: &str, from| Value {
        text: text.to_owned(),
        from,
    };
    let expected = Resolved {
        recipe: "thing".to_owned(),
        digest: Digest::of(PLAIN.as_bytes()),
        source: Some("https://example.org/thing".to_owned()),
        revision: Some(ProposedRevision {
            revision: "v3.20-aarch64".to_owned(),
            rule: "{major:digits}.{minor:digits}-{kind}".to_owned(),
        }),
        values: [
            ("arch", value("aarch64", ValueOrigin::Platform)),
            ("architecture", value("arm64", ValueOrigin::Platform)),
            ("flavour", value("slim", ValueOrigin::Tag)),
            ("os", value("linux", ValueOrigin::Platform)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into(),
        build: Build::Scratch {
            dockerfile: "aarch64/slim/arm64.dockerfile".to_owned(),
            context: "aarch64/slim".to_owned(),
            source_date_epoch: SourceDateEpoch::Commit,
        },
    };
    assert_eq!(resolved, expected);
}

#[test]
fn the_user_wins_over_the_tag_and_the_tag_over_the_default() {
    let recipe = Recipe::parse(PLAIN, "recipe.toml").unwrap();
    let cases = [
        (None, set([]), "plain", ValueOrigin::Default),
        (Some("latest"), set([]), "plain", ValueOrigin::Default),
        (Some("1.2-slim"), set([]), "slim", ValueOrigin::Tag),
        (
            Some("1.2-slim"),
            set([("flavour", "fat")]),
            "fat",
            ValueOrigin::User,
        ),
    ];
    for (tag, set, text, from) in cases {
        let resolved = recipe
            .for_platform(&platform("linux/amd64"), tag, &set)
            .unwrap();
        let value = &resolved.values["flavour"];
        assert_eq!((value.text.as_str(), value.from), (text, from), "{tag:?}");
    }
}

#[test]
fn what_has_no_value_is_refused_when_it_is_made_out() {
    let needs_folder = PLAIN.replace("{flavour}/", "{folder}/");
    let recipe = Recipe::parse(&needs_folder, "recipe.toml").unwrap();
    let cases = [
        (
            "linux/amd64",
            set([]),
            "the recipe thing needs a value for folder (where it is): give --set folder=…",
        ),
        (
            "linux/riscv64",
            set([]),
            "the recipe thing has no platform linux/riscv64; it has linux/amd64, linux/arm64/v8",
        ),
        (
            "linux/amd64",
            set([("floder", "x")]),
            "the recipe thing has no variable \"floder\", did you mean \"folder\"?",
        ),
        (
            "linux/amd64",
            set([("x", "x")]),
            "the recipe thing has no variable \"x\", there is flavour, folder",
        ),
        (
            "linux/amd64",
            set([("arch", "x")]),
            "the recipe thing has no variable \"arch\", there is flavour, folder",
        ),
    ];
    for (wanted, set, message) in cases {
        let error = recipe
            .for_platform(&platform(wanted), None, &set)
            .unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    let two = PLAIN.replace("linux/amd64", "linux/arm64/v9");
    let error = Recipe::parse(&two, "recipe.toml")
        .unwrap()
        .for_platform(&platform("linux/arm64"), None, &set([]))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the recipe thing has several platforms that are linux/arm64: linux/arm64/v9, linux/arm64/v8"
    );
}

#[test]
fn every_mistake_is_told_with_its_line() {
    let with = |from: &str, to: &str| {
        assert!(PLAIN.contains(from), "{from}");
        PLAIN.replacen(from, to, 1)
    };
    let cases = [
        (
            with("schema = 1", "schema = 2"),
            "line 1 of recipe.toml: schema 2 is not known, this reprove reads schema 1",
        ),
        (
            with("schema = 1\n", ""),
            "line 1 of recipe.toml: the recipe needs the key \"schema\"",
        ),
        (
            with("schema = 1", "schema = \"1\""),
            "line 1 of recipe.toml: \"schema\" of the recipe should be an integer of 64 bits but is of type string",
        ),
        (
            with("name = \"thing\"", "name = \"Thing\""),
            "line 2 of recipe.toml: \"Thing\" is not a name (a-z, 0-9, -)",
        ),
        (
            with("images =", "image ="),
            "line 3 of recipe.toml: the recipe has no key \"image\", did you mean \"images\"?",
        ),
        (
            with("images =", "sorcery = 1\nimages ="),
            "line 3 of recipe.toml: the recipe has no key \"sorcery\", there is schema, name, description, images, source, platforms, variables, tag, toolchain, file, override, build",
        ),
        (
            with("registry.example/thing", "thing"),
            "line 3 of recipe.toml: \"thing\" is not an image repository (registry/path without a tag, such as docker.io/library/alpine)",
        ),
        (
            with("registry.example/thing", "registry.example/thing:1"),
            "line 3 of recipe.toml: \"registry.example/thing:1\" is not an image repository (registry/path without a tag, such as docker.io/library/alpine)",
        ),
        (
            with("https://example.org/thing", "git@example.org:thing"),
            "line 4 of recipe.toml: \"git@example.org:thing\" is not a URL (https://…)",
        ),
        (
            with("folder = {", "arch = {"),
            "line 8 of recipe.toml: \"arch\" is a word of [platforms] too",
        ),
        (
            with("folder = {", "os = {"),
            "line 8 of recipe.toml: \"os\" always stands for the platform's own",
        ),
        (
            with("folder = {", "Folder = {"),
            "line 8 of recipe.toml: \"Folder\" is not the name of a placeholder (a-z, 0-9, _)",
        ),
        (
            with("description = \"where", "desciption = \"where"),
            "line 8 of recipe.toml: folder of [variables] has no key \"desciption\", did you mean \"description\"?",
        ),
        (
            with("\"plain\"", "[1]"),
            "line 7 of recipe.toml: \"flavour\" of [variables] should be a table but is of type array",
        ),
        (
            with("\"linux/amd64\"", "\"linux\""),
            "line 11 of recipe.toml: \"linux\" is not a platform (os/architecture or os/architecture/variant, such as linux/amd64)",
        ),
        (
            with("{ arch = \"aarch64\" }", "{ arhc = \"aarch64\" }"),
            "line 12 of recipe.toml: every platform needs the same words: linux/arm64/v8 has arhc, linux/amd64 has arch",
        ),
        (
            with("match =", "math ="),
            "line 14 of recipe.toml: [[tag]] needs the key \"match\"",
        ),
        (
            with("{minor:digits}", "{minor:digit}"),
            "line 15 of recipe.toml: \"{major:digits}.{minor:digit}-{kind}\" has the unknown class \"digit\" (digits or letters)",
        ),
        (
            with("-{kind}", "-{arch}"),
            "line 15 of recipe.toml: {arch} stands for the platform, or twice in the pattern",
        ),
        (
            with("\"v{major}", "\"v{mayor}"),
            "line 16 of recipe.toml: there is no placeholder \"mayor\", did you mean \"major\"?",
        ),
        (
            with("set = { flavour", "set = { flavor"),
            "line 17 of recipe.toml: there is no variable \"flavor\", did you mean \"flavour\"?",
        ),
        (
            with("kind = \"scratch\"", "kind = \"spell\""),
            "line 20 of recipe.toml: there is no kind \"spell\", there is scratch, git-layout, dockerfile, steps",
        ),
        (
            with("kind = \"scratch\"", "kind = \"scrath\""),
            "line 20 of recipe.toml: there is no kind \"scrath\", did you mean \"scratch\"?",
        ),
        (
            with("dockerfile = ", "layout = "),
            "line 19 of recipe.toml: [build] needs the key \"dockerfile\"",
        ),
        (
            with("{arch}/", "{acrh}/"),
            "line 21 of recipe.toml: there is no placeholder \"acrh\", did you mean \"arch\"?",
        ),
        (
            with("{arch}/", "{arch:letters}/"),
            "line 21 of recipe.toml: \"{arch:letters}/{flavour}/{architecture}.dockerfile\" has {arch:…}, which only the tag of a [[tag]] rule may have",
        ),
        (
            with("{arch}/", "{arch/"),
            "line 21 of recipe.toml: \"{arch/{flavour}/{architecture}.dockerfile\" has the placeholder \"arch/{flavour\", which is no name (a-z, 0-9, _)",
        ),
        (
            format!("{PLAIN}tag = \"x\"\n"),
            "line 22 of recipe.toml: [build] has no key \"tag\", there is kind, dockerfile, context, source_date_epoch",
        ),
        (
            format!("{PLAIN}source_date_epoch = -1\n"),
            "line 22 of recipe.toml: source_date_epoch is \"commit\", \"file:PATH\" or seconds since the epoch",
        ),
        (
            format!("{PLAIN}source_date_epoch = \"comit\"\n"),
            "line 22 of recipe.toml: source_date_epoch is \"commit\", \"file:PATH\" or seconds since the epoch",
        ),
        (
            format!("{PLAIN}source_date_epoch = 1.5\n"),
            "line 22 of recipe.toml: \"source_date_epoch\" of [build] should be a text or an integer but is of type float",
        ),
        (
            with("[build]\n", "[bulid]\n"),
            "line 1 of recipe.toml: the recipe needs the key \"build\"",
        ),
        (
            with("name = ", "name = \"a\"\nname = "),
            "line 3 of recipe.toml: duplicate key",
        ),
        (
            with("[build]", "[build"),
            "line 19 of recipe.toml: unclosed table, expected `]`",
        ),
        (
            String::new(),
            "line 1 of recipe.toml: the recipe needs the key \"schema\"",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(error(&text), message);
    }
}

#[test]
fn the_time_of_a_build_is_the_commits_or_fixed_or_in_a_file() {
    let fixed = format!("{PLAIN}source_date_epoch = 1_600_000_000\n");
    let file = format!("{PLAIN}source_date_epoch = \"file:VERSION/time\"\n");
    let cases = [
        (PLAIN, SourceDateEpoch::Commit),
        (&fixed, SourceDateEpoch::Fixed(1_600_000_000)),
        (&file, SourceDateEpoch::File("VERSION/time".to_owned())),
    ];
    for (text, expected) in cases {
        let resolved = Recipe::parse(text, "recipe.toml")
            .unwrap()
            .for_platform(&platform("linux/amd64"), None, &set([]))
            .unwrap();
        let Build::Scratch {
            source_date_epoch, ..
        } = resolved.build
        else {
            panic!("{:?}", resolved.build);
        };
        assert_eq!(source_date_epoch, expected);
    }
}

#[test]
fn an_image_of_a_dockerfile_is_on_pinned_bases_and_says_what_becomes_of_times() {
    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let recipe = |more: &str, base: &str| {
        let text = format!(
            "schema = 1\nname = \"it\"\n[build]\nkind = \"dockerfile\"\ndockerfile = \"Dockerfile\"\n\
             output = \"image\"\n{more}\n[build.bases]\n\"debian:13\" = \"{base}\"\n"
        );
        let recipe = Recipe::parse(&text, "recipe.toml").map_err(|error| error.to_string())?;
        let resolved = recipe.for_platform(&platform("linux/amd64"), None, &set([]));
        match resolved.unwrap().build {
            Build::Dockerfile {
                bases,
                commands:
                    Commands {
                        output: Output::Image { timestamps },
                        ..
                    },
                ..
            } => Ok((bases["debian:13"].clone(), timestamps)),
            other => panic!("{other:?}"),
        }
    };
    let name = format!("docker.io/library/debian@{digest}");
    let image = Base::Image(name.clone());
    for (more, timestamps) in [
        ("", Timestamps::Kept),
        ("rewrite_timestamps = false", Timestamps::Kept),
        ("rewrite_timestamps = true", Timestamps::Rewritten),
    ] {
        assert_eq!(recipe(more, &name), Ok((image.clone(), timestamps)));
    }
    assert_eq!(
        recipe("", "toolchain"),
        Ok((Base::Toolchain, Timestamps::Kept))
    );
    for base in ["debian:13", "oci:place", "debian@sha256:12"] {
        let expected = format!(
            "line 9 of recipe.toml: {base:?} is neither \"toolchain\" nor an image by its digest (name@sha256:…)"
        );
        assert_eq!(recipe("", base), Err(expected));
    }
    let expected = "line 7 of recipe.toml: the image is what the Dockerfile makes: with output \"image\", run has nothing to do";
    assert_eq!(recipe("run = [\"true\"]", &name), Err(expected.to_owned()));
}

#[test]
fn built_in_recipes_are_read_and_called_as_they_are_found() {
    for recipe in built_in() {
        let found = named(recipe.name()).unwrap();
        assert_eq!(
            found,
            Found {
                recipe: recipe.clone(),
                origin: Origin::BuiltIn,
                lock: found.lock.clone(),
            }
        );
        assert!(recipe.description().is_some(), "{}", recipe.name());
        for image in recipe.images() {
            let found = for_image(image).unwrap().unwrap();
            assert_eq!(found.recipe.name(), recipe.name());
        }
    }
    assert_eq!(for_image("docker.io/library/nothing").unwrap(), None);
}

#[test]
fn every_recipe_in_the_documentation_can_be_read() {
    let text = include_str!("../../recipes/README.md");
    let recipes: Vec<&str> = text
        .split("```toml\n")
        .skip(1)
        .filter_map(|after| after.split("```").next())
        .collect();
    assert!(!recipes.is_empty());
    for recipe in recipes {
        Recipe::parse(recipe, "recipes/README.md").unwrap();
    }
}

#[test]
fn the_documentation_names_every_built_in_recipe_and_key() {
    let text = include_str!("../../recipes/README.md");
    for recipe in built_in() {
        assert!(text.contains(&format!("| `{}` |", recipe.name())));
    }
    let keys =
        error("schema = 1\nname = \"x\"\n[build]\nkind = \"scratch\"\ndockerfile = \"\"\n[x]");
    let (_, keys) = keys.split_once("there is ").unwrap();
    for key in keys.split(", ") {
        assert!(
            text.contains(&format!("`{key}")) || text.contains(&format!("[{key}]")),
            "{key}"
        );
    }
}

/// Returns what a built-in recipe makes of a platform and tag: the proposed revision and the path.
fn made(name: &str, wanted: &str, tag: &str, set: &BTreeMap<String, String>) -> String {
    let resolved = match named(name)
        .unwrap()
        .recipe
        .for_platform(&platform(wanted), Some(tag), set)
    {
        Ok(resolved) => resolved,
        Err(error) => return error.to_string(),
    };
    let path = match resolved.build {
        Build::Scratch {
            dockerfile,
            context,
            ..
        } => format!("{dockerfile} in {context:?}"),
        Build::GitLayout { layout, .. } => layout,
        Build::Dockerfile { dockerfile, .. } => dockerfile,
        Build::Steps(_) => String::new(),
    };
    let revision = resolved.revision.map(|proposed| proposed.revision);
    format!("{} {path}", revision.as_deref().unwrap_or("?"))
}

#[test]
fn built_in_recipes_lead_to_the_paths_of_the_real_repositories() {
    let cases = [
        (
            "alpine",
            "linux/amd64",
            "3.20",
            set([]),
            "v3.20 x86_64/Dockerfile in \"x86_64\"",
        ),
        (
            "alpine",
            "linux/arm64",
            "edge",
            set([]),
            "edge aarch64/Dockerfile in \"aarch64\"",
        ),
        (
            "alpine",
            "linux/arm/v6",
            "3.20.3",
            set([]),
            "? armhf/Dockerfile in \"armhf\"",
        ),
        (
            "busybox-git",
            "linux/amd64",
            "glibc",
            set([]),
            "dist-amd64 latest/glibc/amd64",
        ),
        (
            "busybox-git",
            "linux/arm64",
            "musl",
            set([("release", "latest-1")]),
            "dist-arm64v8 latest-1/musl/arm64v8",
        ),
        (
            "busybox-git",
            "linux/386",
            "1.37.0",
            set([("libc", "uclibc")]),
            "? latest/uclibc/i386",
        ),
        (
            "debian-git",
            "linux/amd64",
            "bookworm",
            set([]),
            "dist-amd64 bookworm/oci",
        ),
        (
            "debian-git",
            "linux/amd64",
            "bookworm-slim",
            set([]),
            "dist-amd64 bookworm/slim/oci",
        ),
        (
            "debian-git",
            "linux/amd64",
            "latest",
            set([]),
            "the recipe debian-git needs a value for suite (the suite's folder: bookworm, or bookworm/slim): give --set suite=…",
        ),
        (
            "debian-git",
            "linux/amd64",
            "bookworm-20241202-slim",
            set([("suite", "bookworm/slim")]),
            "? bookworm/slim/oci",
        ),
        (
            "scratch",
            "linux/amd64",
            "x",
            set([]),
            "? Dockerfile in \"\"",
        ),
        (
            "scratch",
            "windows/amd64",
            "x",
            set([("dockerfile", "a/b"), ("context", "a")]),
            "? a/b in \"a\"",
        ),
        (
            "git-layout",
            "linux/amd64",
            "x",
            set([("layout", ".")]),
            "? ",
        ),
    ];
    for (name, wanted, tag, set, expected) in cases {
        assert_eq!(
            made(name, wanted, tag, &set),
            expected,
            "{name} {wanted} {tag}"
        );
    }
}

#[test]
fn a_recipe_is_named_by_name_or_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recipe.toml");
    std::fs::write(&path, PLAIN).unwrap();
    let expected = Found {
        recipe: Recipe::parse(PLAIN, "").unwrap(),
        origin: Origin::File {
            path: path.display().to_string(),
        },
        lock: None,
    };
    for given in [folder.path(), &path] {
        assert_eq!(named(given.to_str().unwrap()).unwrap(), expected);
    }
    std::fs::write(&path, b"\xff").unwrap();
    let absent = folder.path().join("absent.toml");
    let cases = [
        ("alpin", "there is no recipe \"alpin\", did you mean \"alpine\"? (a path has a slash or ends in .toml)".to_owned()),
        ("nothing", "there is no recipe \"nothing\", there is alpine, busybox, busybox-git, debian-11, debian-13, debian-git, git-layout, hello-world, scratch (a path has a slash or ends in .toml)".to_owned()),
        (absent.to_str().unwrap(), format!("cannot read the recipe {}", absent.display())),
        (path.to_str().unwrap(), format!("the recipe {} is not UTF-8", path.display())),
    ];
    for (given, message) in cases {
        assert_eq!(named(given).unwrap_err().to_string(), message);
    }
}

proptest::proptest! {
    #[test]
    fn arbitrary_text_never_panics(text: String) {
        let _ = Recipe::parse(&text, "recipe.toml");
    }

    #[test]
    fn a_recipe_with_anything_put_in_never_panics(at in 0..PLAIN.len(), length in 0..40_usize, put: String) {
        let end = (at + length).min(PLAIN.len());
        let text = format!("{}{put}{}", &PLAIN[..at], &PLAIN[end..]);
        if let Ok(recipe) = Recipe::parse(&text, "recipe.toml") {
            let _ = recipe.for_platform(&platform("linux/amd64"), Some("1.2-slim"), &set([]));
        }
    }
}

#[test]
fn what_a_build_that_runs_commands_cannot_mean_is_told_with_its_line() {
    const STEPS: &str = "schema = 1\nname = \"x\"\n[build]\nkind = \"steps\"\nrun = [\"true\"]\noutput = \"layout\"\npath = \"/out\"\n";
    assert!(Recipe::parse(STEPS, "it").is_ok());
    let cases = [
        (
            STEPS.replace("[\"true\"]", "[]"),
            "line 3 of it: steps needs commands: give run",
        ),
        (
            STEPS.replace("\"layout\"", "\"image\""),
            "line 6 of it: there is no output \"image\", there is rootfs, tar, layout, files",
        ),
        (
            STEPS.replace("/out", "out"),
            "line 7 of it: \"out\" is not an absolute path below /",
        ),
        (
            STEPS.replace("/out", "/a/../b"),
            "line 7 of it: \"/a/../b\" is not an absolute path below /",
        ),
        (
            format!("{STEPS}[[override]]\ninstruction = \"a\"\nreason = \"b\"\n"),
            "line 8 of it: [[override]] is for builds of kind \"dockerfile\"",
        ),
        (
            format!(
                "{}[build.bases]\ndebian = \"debian:11\"\n",
                STEPS.replace("\"steps\"", "\"dockerfile\"\ndockerfile = \"Dockerfile\"")
            ),
            "line 10 of it: \"debian:11\" is neither \"toolchain\" nor an image by its digest (name@sha256:…)",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(
            Recipe::parse(&text, "it").unwrap_err().to_string(),
            expected
        );
    }
}
