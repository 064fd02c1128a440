//! Dockerfiles on a base image of busybox, from a git repository to an image and a report.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something unexpected is"
)]

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use flate2::{Compression, write::GzEncoder};
use reprove::{
    dialect::TarDialect,
    digest::{DiffId, Digest},
    facts::{Built, Freshness, Origin, Outcome},
    image::{Access, MediaType, Platform},
    progress::Silent,
    rebuild::{
        self, Context, Output, Outside, rebuild,
        sandbox::{Limits, Runtime},
    },
    recipe::{
        Base, Build, Commands, Output as RecipeOutput, SourceDateEpoch, Timestamps, TreeTrust,
        lockfile::Lockfile,
    },
    report::{Report, model::MaterialUse},
    verdict::{ObstacleKind, Policy, Rules, Verdict},
    verify::{Request, World, verify},
};
use serde_json::{Value, json};

use crate::{
    git::{FIRST_COMMIT_AT, Repository},
    images::said,
    rebuild::encoding,
    support::{
        Making,
        registry::{Readers, Registry, has},
        sandbox::BUSYBOX,
        skip,
        sums::closed,
    },
};

/// Packs a folder as a layer.
fn layer(folder: &Path) -> Vec<u8> {
    let output = Command::new("tar")
        .args(["--sort=name", "--mtime=@1600000000", "--numeric-owner"])
        .args(["--owner=0", "--group=0", "-cf", "-", "-C"])
        .arg(folder)
        .arg(".")
        .output()
        .unwrap();
    assert!(output.status.success());
    output.stdout
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Writes an OCI layout of these layers, each with its media type; returns the manifest's digest.
fn write_layout(folder: &Path, config: &Value, layers: &[(&str, &[u8])]) -> Digest {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let blob = |media_type: &str, bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::write(blobs.join(digest.hex()), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len() })
    };
    let layers = layers.iter();
    let layers: Vec<Value> = layers.map(|(kind, bytes)| blob(kind, bytes)).collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "config": blob(MediaType::OCI_CONFIG, config.to_string().as_bytes()),
        "layers": layers,
    });
    let manifest = manifest.to_string();
    let descriptor = blob(MediaType::OCI_MANIFEST, manifest.as_bytes());
    let index = json!({ "schemaVersion": 2, "manifests": [descriptor] });
    fs::write(folder.join("index.json"), index.to_string()).unwrap();
    let layout = r#"{"imageLayoutVersion":"1.0.0"}"#;
    fs::write(folder.join("oci-layout"), layout).unwrap();
    Digest::of(manifest.as_bytes())
}

/// Makes an image of one layer of these files, and returns its name by its digest.
pub(crate) fn image_of(root: &Path, folder: &Path) -> String {
    let layer = layer(root);
    let config = json!({
        "architecture": Platform::host().architecture,
        "os": "linux",
        "config": { "Env": ["PATH=/bin"] },
        "rootfs": { "type": "layers", "diff_ids": [DiffId::of(&layer)] },
    });
    let manifest = write_layout(folder, &config, &[(MediaType::OCI_LAYER, &layer)]);
    format!("oci:{}@{manifest}", folder.display())
}

/// A base image: busybox and a file, and a layer of a kind of its own that takes the file away.
struct BaseImage {
    folder: tempfile::TempDir,
    manifest: Digest,
    /// Digest, diffID and media type.
    layers: [(Digest, DiffId, &'static str); 2],
}

impl BaseImage {
    /// `None` and a skip where there is no busybox.
    fn new() -> Option<Self> {
        if !Path::new(BUSYBOX).exists() {
            skip(&format!("{BUSYBOX} is not there"));
            return None;
        }
        let root = tempfile::tempdir().unwrap();
        for folder in ["bin", "etc", "tmp", "data"] {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        let program = root.path().join("bin/busybox");
        fs::copy(BUSYBOX, &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        for applet in ["sh", "ls", "cat", "echo", "rm", "find", "sort"] {
            std::os::unix::fs::symlink("busybox", root.path().join("bin").join(applet)).unwrap();
        }
        fs::write(root.path().join("etc/base"), "of the base\n").unwrap();
        fs::write(root.path().join("data/old"), "old\n").unwrap();
        let first = layer(root.path());
        let upper = tempfile::tempdir().unwrap();
        fs::create_dir(upper.path().join("data")).unwrap();
        fs::write(upper.path().join("data/.wh..wh..opq"), "").unwrap();
        fs::write(upper.path().join("data/new"), "new\n").unwrap();
        let second = layer(upper.path());
        let (first_blob, second_blob) = (gzip(&first), second.clone());

        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "Env": ["PATH=/bin", "FROM_BASE=yes"],
                "Cmd": ["sh"],
                "Labels": { "base": "it" },
            },
            "rootfs": { "type": "layers", "diff_ids": [DiffId::of(&first), DiffId::of(&second)] },
            "history": [
                { "created": "2020-01-01T00:00:00Z", "created_by": "one" },
                { "created": "2020-01-02T00:00:00Z", "created_by": "two" },
            ],
        });
        let layers = [
            (
                Digest::of(&first_blob),
                DiffId::of(&first),
                MediaType::DOCKER_LAYER_GZIP,
            ),
            (
                Digest::of(&second_blob),
                DiffId::of(&second),
                MediaType::OCI_LAYER,
            ),
        ];
        let folder = tempfile::tempdir().unwrap();
        let blobs = [(layers[0].2, &first_blob[..]), (layers[1].2, &second_blob)];
        let manifest = write_layout(folder.path(), &config, &blobs);
        Some(Self {
            folder,
            manifest,
            layers,
        })
    }

    fn name(&self) -> String {
        format!("oci:{}@{}", self.folder.path().display(), self.manifest)
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.folder.path().join("blobs/sha256").join(digest.hex())
    }
}

/// What a build is made with.
struct Bench {
    runtime: Runtime,
    folder: tempfile::TempDir,
    making: Making,
}

impl Bench {
    /// `None` and a skip where no runtime works.
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        match Runtime::find(folder.path()) {
            Ok(runtime) => Some(Self {
                runtime,
                making: Making::new(&folder.path().join("cache")),
                folder,
            }),
            Err(error) => {
                skip(&error.to_string());
                None
            }
        }
    }

    /// Rebuilds what `HEAD` is into `to`.
    fn rebuilt(
        &self,
        repository: &Repository,
        build: &Build,
        to: &Path,
    ) -> Result<Outcome, rebuild::Error> {
        let scratch = tempfile::tempdir_in(self.folder.path()).unwrap();
        let source = crate::rebuild::checkout(repository.path(), "HEAD");
        let nothing_signed = std::collections::BTreeSet::new();
        let outside = Outside {
            signed: &nothing_signed,
            lock: &Lockfile::default(),
            values: &BTreeMap::new(),
            access: &Access::default(),
            store: &self.making.store,
            stages: &self.making.stages,
            runtime: &self.runtime,
            scratch: scratch.path(),
            conditions: &self.making.conditions,
            limits: Limits {
                memory_in_bytes: 256 << 20,
                ..Limits::default()
            },
            recording: None,
        };
        let request = rebuild::Request {
            build,
            source: Some(&source),
            platform: &"linux/amd64".parse().unwrap(),
            encoding: encoding(TarDialect::BuildKit),
            context: Context::Checkout,
            outside: Some(&outside),
        };
        rebuild(&request, &Output::Layout(to.to_owned()), &Silent)
    }

    #[track_caller]
    fn built(&self, repository: &Repository, build: &Build, to: &Path) -> Built {
        match self.rebuilt(repository, build, to) {
            Ok(Outcome::Built(built)) => built,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn failure(&self, repository: &Repository, build: &Build) -> String {
        match self.rebuilt(repository, build, &self.folder.path().join("nothing")) {
            Ok(Outcome::Failed(failure)) => format!("{}: {}", failure.step, failure.problem),
            other => panic!("{other:?}"),
        }
    }
}

/// The recipe of an image that a Dockerfile makes.
fn image<const N: usize>(bases: [(&str, Base); N]) -> Build {
    Build::Dockerfile {
        dockerfile: "Dockerfile".to_owned(),
        context: String::new(),
        target: None,
        arguments: BTreeMap::new(),
        bases: bases.map(|(name, base)| (name.to_owned(), base)).into(),
        overrides: Vec::new(),
        commands: Commands {
            run: Vec::new(),
            environment: BTreeMap::new(),
            source_date_epoch: SourceDateEpoch::Commit,
            output: RecipeOutput::Image {
                timestamps: Timestamps::Rewritten,
            },
        },
    }
}

fn repository(dockerfile: &str) -> Repository {
    let repository = Repository::new();
    repository.write("Dockerfile", dockerfile);
    repository.write("greeting", "hello\n");
    repository.commit("first");
    repository
}

fn read_json(layout: &Path, digest: &Digest) -> Value {
    let bytes = fs::read(layout.join("blobs/sha256").join(digest.hex())).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

const DOCKERFILE: &str = "\
FROM base:1
COPY greeting /data/
RUN find /data /etc/base | sort >/found && cat /etc/base >/copy && rm /data/new
ENV MORE=$FROM_BASE
";

#[test]
fn an_image_has_the_layers_of_its_base_as_they_are_and_one_of_each_instruction() {
    let (Some(base), Some(bench)) = (BaseImage::new(), Bench::new()) else {
        return;
    };
    let repository = repository(DOCKERFILE);
    let build = image([("base:1", Base::Image(base.name()))]);
    let layout = bench.folder.path().join("one");
    let built = bench.built(&repository, &build, &layout);

    let manifest = read_json(&layout, &built.manifest);
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 4);
    for (layer, (digest, _, media_type)) in layers.iter().zip(&base.layers) {
        assert_eq!(layer["digest"], digest.to_string());
        assert_eq!(layer["mediaType"], *media_type);
        let copied = fs::read(layout.join("blobs/sha256").join(digest.hex())).unwrap();
        assert_eq!(copied, fs::read(base.blob(digest)).unwrap());
        assert_eq!(layer["size"], copied.len());
    }
    assert_eq!(layers[2]["mediaType"], MediaType::OCI_LAYER_GZIP);

    let config = read_json(&layout, &built.config);
    let diff_ids: Vec<String> = built
        .layers
        .iter()
        .map(|layer| layer.diff_id.to_string())
        .collect();
    assert_eq!(config["rootfs"]["diff_ids"], json!(diff_ids));
    assert_eq!(diff_ids[..2], base.layers.map(|(_, id, _)| id.to_string()));
    assert_eq!(
        config["config"],
        json!({
            "Env": ["PATH=/bin", "FROM_BASE=yes", "MORE=yes"],
            "Cmd": ["sh"],
            "Labels": { "base": "it" },
            "WorkingDir": "/",
        })
    );
    let history: Vec<(&str, &str)> = config["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| {
            (
                step["created"].as_str().unwrap(),
                step["created_by"]
                    .as_str()
                    .unwrap()
                    .split(' ')
                    .next()
                    .unwrap(),
            )
        })
        .collect();
    let now = "2023-11-14T22:13:20Z";
    assert_eq!(FIRST_COMMIT_AT, 1_700_000_000);
    assert_eq!(
        history,
        [
            ("2020-01-01T00:00:00Z", "one"),
            ("2020-01-02T00:00:00Z", "two"),
            (now, "COPY"),
            (now, "RUN"),
            (now, "ENV"),
        ]
    );

    let steps: Vec<&str> = built
        .layers
        .iter()
        .map(|layer| layer.step.split(": ").last().unwrap())
        .collect();
    assert_eq!(
        steps[..3],
        [
            "layer 1 of the base",
            "layer 2 of the base",
            "COPY greeting /data/",
        ]
    );
    let bytes: Vec<Vec<Origin>> = built
        .layers
        .iter()
        .map(|layer| layer.bytes.keys().copied().collect())
        .collect();
    assert_eq!(
        bytes,
        [
            vec![Origin::Base],
            vec![Origin::Base],
            vec![Origin::Tree],
            // One file is made, and one has what a file of the base has.
            vec![Origin::Built, Origin::Base],
        ]
    );
    let paths: Vec<String> = built.layers[3]
        .origins
        .keys()
        .map(ToString::to_string)
        .collect();
    assert_eq!(paths, ["/copy", "/data", "/data/.wh.new", "/found"]);
    assert!(
        built.layers[2]
            .made_times
            .iter()
            .any(|path| path.as_bytes() == b"data/greeting")
    );
    let inputs: Vec<&str> = built.inputs.keys().map(String::as_str).collect();
    assert_eq!(inputs, ["Dockerfile", "greeting"]);
    assert_eq!(built.encoding, Some(encoding(TarDialect::BuildKit)));
    assert_eq!(
        built.environment.as_ref().unwrap().freshness,
        Freshness::Fresh
    );

    // Neither the base nor its layers are needed once more.
    let elsewhere = bench.folder.path().join("gone");
    fs::rename(base.folder.path(), &elsewhere).unwrap();
    let again = bench.built(&repository, &build, &bench.folder.path().join("two"));
    assert_eq!(
        again.environment.as_ref().unwrap().freshness,
        Freshness::Cached
    );
    fs::rename(&elsewhere, base.folder.path()).unwrap();
    let environment = built.environment.clone();
    assert_eq!(
        Built {
            environment,
            ..again
        },
        built
    );
}

#[test]
fn another_commit_takes_the_same_root_and_a_registry_serves_the_base_too() {
    let (Some(base), Some(bench)) = (BaseImage::new(), Bench::new()) else {
        return;
    };
    let Some(registry) = Registry::start(Readers::All) else {
        return;
    };
    if !has(&["skopeo"]) {
        return;
    }
    registry.push(&format!("oci:{}", base.folder.path().display()), "base:1");
    let name = format!("{}@{}", registry.name("base"), base.manifest);
    let build = image([("base:1", Base::Image(name))]);
    let repository = repository("FROM base:1\nCOPY greeting /\n");
    let first = bench.built(&repository, &build, &bench.folder.path().join("one"));
    repository.write("greeting", "good morning\n");
    repository.commit("second");
    let second = bench.built(&repository, &build, &bench.folder.path().join("two"));
    assert_ne!(first.manifest, second.manifest);
    let below = |built: &Built| -> Vec<Digest> {
        built
            .layers
            .iter()
            .map(|layer| layer.digest)
            .take(2)
            .collect()
    };
    assert_eq!(below(&first), base.layers.map(|(digest, _, _)| digest));
    assert_eq!(below(&second), below(&first));
}

#[test]
fn what_a_base_cannot_be_is_said_by_its_name() {
    let (Some(base), Some(bench)) = (BaseImage::new(), Bench::new()) else {
        return;
    };
    let repository = repository("FROM base:1\nRUN echo\n");
    let cases = [
        (
            image([("other", Base::Image(base.name()))]),
            "Dockerfile line 1: FROM base:1: line 1 takes the image base:1, of which the recipe says nothing",
        ),
        (
            image([("base:1", Base::Toolchain)]),
            "Dockerfile line 1: FROM base:1: base:1 is the toolchain, and the recipe has no [toolchain]",
        ),
        (
            image([("base:1", Base::Image("busybox:1".to_owned()))]),
            "Dockerfile line 1: FROM base:1: busybox:1 does not say by a digest which image it is",
        ),
    ];
    for (build, expected) in cases {
        assert_eq!(bench.failure(&repository, &build), expected);
    }

    let (digest, ..) = base.layers[1];
    let mut bytes = fs::read(base.blob(&digest)).unwrap();
    bytes[600] ^= 1;
    fs::write(base.blob(&digest), &bytes).unwrap();
    let build = image([("base:1", Base::Image(base.name()))]);
    let to = bench.folder.path().join("broken");
    let error = bench.rebuilt(&repository, &build, &to).unwrap_err();
    let name = base.name();
    assert_eq!(
        said(&error),
        format!(
            "cannot read the base image {name}: layer 2 of {name} should be {digest} but is {}",
            Digest::of(&bytes)
        )
    );
    assert!(!to.exists());
}

/// Verifies what was published from a repository, with a recipe of this `[build]`.
fn verified(bench: &Bench, published: &Path, repository: &Repository, build: &str) -> Report {
    let recipe = bench.folder.path().join("recipe.toml");
    let text = format!("schema = 1\nname = \"it\"\nimages = [\"registry.example/it\"]\n{build}");
    fs::write(&recipe, text).unwrap();
    let scratch = tempfile::tempdir_in(bench.folder.path()).unwrap();
    let access = Access::default();
    let world = World {
        cache: &bench.folder.path().join("cache"),
        scratch: scratch.path(),
        access: &access,
        progress: &Silent,
        clock: || jiff::Timestamp::constant(1_764_000_000, 0),
    };
    let request = Request {
        image: format!("oci:{}", published.display()).parse().unwrap(),
        source: Some(repository.path().display().to_string()),
        revision: Some("HEAD".to_owned()),
        recipe: Some(recipe.display().to_string()),
        tree_recipe: TreeTrust::Untrusted,
        variables: BTreeMap::new(),
        platform: Some("linux/amd64".parse().unwrap()),
        policy: Policy::builtin(Rules::BitForBit),
        dialect: Some(TarDialect::BuildKit),
        compressor: None,
        context: Context::Checkout,
        source_mirrors: Vec::new(),
        rerun: Vec::new(),
    };
    closed(verify(&request, &bench.making.workplace(), &world).unwrap())
}

#[test]
fn a_base_is_a_material_and_circular_where_only_the_recipe_names_it() {
    let (Some(base), Some(bench)) = (BaseImage::new(), Bench::new()) else {
        return;
    };
    let dockerfile = "ARG BASE=base:1\nFROM ${BASE}\nCOPY greeting /\nWORKDIR /data\n";
    let repository = repository(dockerfile);
    let published = bench.folder.path().join("published");
    let build = image([("base:1", Base::Image(base.name()))]);
    bench.built(&repository, &build, &published);

    let recipe = |more: &str, named: &str, tables: &str| {
        format!(
            "[build]\nkind = \"dockerfile\"\ndockerfile = \"Dockerfile\"\noutput = \"image\"\n\
             rewrite_timestamps = true\n{more}[build.bases]\n\"{named}\" = \"{}\"\n{tables}",
            base.name()
        )
    };
    let report = verified(&bench, &published, &repository, &recipe("", "base:1", ""));
    assert_eq!(report.verdict, Verdict::Reproduced, "{report:#?}");
    assert_eq!(report.obstacles, []);
    let [material] = &report.materials[..] else {
        panic!("{:?}", report.materials);
    };
    let all: u64 = fs::read_dir(base.folder.path().join("blobs/sha256"))
        .unwrap()
        .map(|blob| blob.unwrap().metadata().unwrap().len())
        .sum();
    assert_eq!(
        (
            &material.name,
            material.digest,
            material.size,
            material.used_as
        ),
        (&base.name(), base.manifest, all, MaterialUse::Base)
    );
    assert!(report.origin[&Origin::Base] > 100_000);

    let wrong_digest = format!("base@{}", Digest::of(b"other"));
    let overridden = "[[override]]\ninstruction = \"FROM\"\nreason = \"it\"\n";
    let cases = [
        (
            "an argument of the recipe",
            recipe("arguments = { BASE = \"mine\" }\n", "mine", ""),
        ),
        (
            "an override",
            recipe(
                "",
                "mine",
                &format!("{overridden}replacement = \"FROM mine\"\n"),
            ),
        ),
        (
            "another digest",
            recipe(
                "",
                &wrong_digest,
                &format!("{overridden}replacement = \"FROM {wrong_digest}\"\n"),
            ),
        ),
    ];
    for (case, recipe) in cases {
        let report = verified(&bench, &published, &repository, &recipe);
        assert_eq!(report.verdict, Verdict::Inconclusive, "{case}");
        let kinds: Vec<ObstacleKind> = report.obstacles.iter().map(|it| it.kind).collect();
        assert_eq!(kinds, [ObstacleKind::Circular], "{case}");
    }

    // By the digest that the source names itself it is its own; by another it is not.
    for (digest, kinds) in [
        (base.manifest, vec![]),
        (Digest::of(b"other"), vec![ObstacleKind::Circular]),
    ] {
        let named = format!("base@{digest}");
        repository.write(
            "Dockerfile",
            format!("FROM {named}\nCOPY greeting /\nWORKDIR /data\n"),
        );
        repository.commit("by digest");
        let report = verified(&bench, &published, &repository, &recipe("", &named, ""));
        let found: Vec<ObstacleKind> = report.obstacles.iter().map(|it| it.kind).collect();
        assert_eq!(found, kinds, "{named}");
    }
}
