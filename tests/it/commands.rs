//! Builds that run commands: from locked packages of this host's mirror to a verdict.
//!
//! The toolchain is that of the built-in recipe `debian-13`, fetched and made
//! once for all of these tests.

use std::{
    fs,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use serde_json::Value;

use reprove::{dialect::gzip::GoGzipWriter, digest::Digest};

use crate::{
    changes::{
        archive::{Archive, MTIME},
        image::{Image, Layer, digest},
    },
    git::Repository,
    support::{
        Said,
        registry::{has, run},
        reprove, said, test_image, test_source,
    },
};

const LOCK: &str = include_str!("../../recipes/debian-13/recipe.lock");

const TOOLCHAIN: &str = r#"
[toolchain]
suites = ["debian/trixie"]
packages = ["apt"]
"#;

/// Where the cache is that all of these tests share; one at a time uses two cores well enough.
static CACHE: Mutex<Option<PathBuf>> = Mutex::new(None);

/// A home with a recipe in it, and the cache.
struct Home {
    folder: tempfile::TempDir,
    cache: PathBuf,
    _alone: std::sync::MutexGuard<'static, Option<PathBuf>>,
}

impl Home {
    /// `None` and a skip where no runtime works, or no mirror is known.
    fn new() -> Option<Self> {
        let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
        if !has(&["runc", "socat", "nsenter", "gpgv"]) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = cache.get_or_insert_with(|| {
            // Gone with the target directory's own.
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("commands");
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            path
        });
        let home = Self {
            folder,
            cache: path.clone(),
            _alone: cache,
        };
        Some(home)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Writes a recipe and its lock, whose files are `files`.
    fn recipe(&self, build: &str, files: &str) {
        self.write(
            build,
            &LOCK.replacen("schema = 1\n", &format!("schema = 1\n{files}"), 1),
        );
    }

    fn write(&self, build: &str, lock: &str) {
        fs::create_dir_all(self.path("recipe")).unwrap();
        let text = format!("schema = 1\nname = \"thing\"\n{TOOLCHAIN}\n{build}");
        fs::write(self.path("recipe/recipe.toml"), text).unwrap();
        fs::write(self.path("recipe/recipe.lock"), lock).unwrap();
    }

    fn reprove(&self, arguments: &[&str]) -> Said {
        let mut command = reprove(self.folder.path());
        said(command.args(arguments).arg("--cache-dir").arg(&self.cache))
    }

    /// Rebuilds the recipe into `output` and returns what is told of it.
    fn rebuilt(&self, output: &str, more: &[&str]) -> Value {
        let output = format!("oci:{output}");
        let arguments = [
            "rebuild", "--recipe", "./recipe", "--json", "--output", &output,
        ];
        let said = self.reprove(&[&arguments[..], more].concat());
        assert_eq!(said.status, Some(0), "{said:#?}");
        serde_json::from_str(&said.stdout).unwrap()
    }

    fn verified(&self, image: &str, more: &[&str]) -> (Option<i32>, Value) {
        let arguments = ["verify", image, "--recipe", "./recipe", "--json"];
        let said = self.reprove(&[&arguments[..], more].concat());
        let report = serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{said:#?}"));
        (said.status, report)
    }
}

/// A build of a few files: one out of a package, one made here, with links and owners.
const STEPS: &str = r#"
[build]
kind = "steps"
source_date_epoch = 1700000000
output = "rootfs"
path = "/image"
environment = { GREETING = "hello" }
run = ['''
  mkdir -p /image/bin /image/etc
  cp -p /usr/bin/true /image/bin/true
  ln /image/bin/true /image/bin/also
  ln -s true /image/bin/link
  echo "$GREETING at $SOURCE_DATE_EPOCH" > /image/etc/greeting
  chown 7:8 /image/etc/greeting
  chmod 0640 /image/etc/greeting
''']

[build.image]
command = ["/bin/true"]
labels = { maker = "us" }
history = "steps"
dialect = "buildkit"
gzip = "go-6"
"#;

#[test]
fn steps_give_an_image_that_is_verified_and_whose_result_is_kept() {
    let Some(home) = Home::new() else { return };
    home.recipe(STEPS, "");
    let told = home.rebuilt("one", &["--fresh"]);
    let listing = home.reprove(&["listing", "oci:one"]);
    let greeting = listing
        .stdout
        .lines()
        .find(|line| line.starts_with("./etc/greeting "));
    let greeting = greeting.unwrap();
    assert!(
        greeting.contains(" mode=0640 uid=7 gid=8 time=1700000000.000000000 "),
        "{greeting}"
    );

    fs::write(home.path("listing.txt"), &listing.stdout).unwrap();

    let (status, report) = home.verified("listing:listing.txt", &[]);
    assert_eq!(status, Some(0), "{report:#}");
    assert_eq!(report["equality"]["strongest"], "manifest");
    assert_eq!(report["rebuilt"]["manifestDigest"], told["manifestDigest"]);
    let build = &report["environment"]["build"];
    assert_eq!(build["freshness"], "cached");
    assert_eq!(build["steps"].as_array().unwrap().len(), 2);
    // /usr/bin/true is out of coreutils as it was shipped, the greeting was made here.
    let packaged = report["origin"]["packaged"].as_u64();
    assert!(packaged.unwrap() > 10_000, "{}", report["origin"]);
    assert_eq!(report["origin"]["built"], 20);
    let materials = report["materials"].as_array().unwrap();
    assert_eq!(materials.len(), 89);
    assert!(
        materials
            .iter()
            .all(|material| material["signature"]["result"] == "good")
    );

    let (status, report) = home.verified("listing:listing.txt", &["--fresh", "--offline"]);
    assert_eq!(status, Some(0), "{report:#}");
    assert_eq!(report["environment"]["build"]["freshness"], "fresh");
}

#[test]
fn another_published_image_gives_the_same_rebuild() {
    let Some(home) = Home::new() else { return };
    home.recipe(STEPS, "");
    let told = home.rebuilt("one", &[]);
    let other = STEPS.replace("hello", "goodbye");
    home.recipe(&other, "");
    home.rebuilt("other", &[]);
    home.recipe(STEPS, "");
    for (image, status) in [("oci:one", 0), ("oci:other", 1)] {
        let (ended, report) = home.verified(image, &["--fresh"]);
        assert_eq!(ended, Some(status), "{image}");
        assert_eq!(
            report["rebuilt"]["manifestDigest"], told["manifestDigest"],
            "{image}"
        );
    }
}

#[test]
fn a_step_that_fails_is_inconclusive_with_its_last_lines_and_the_whole_log() {
    let Some(home) = Home::new() else { return };
    home.recipe(STEPS, "");
    home.rebuilt("one", &[]);
    let failing = STEPS.replace(
        "mkdir -p /image/bin",
        "seq 3; echo no such luck >&2; exit 7; mkdir",
    );
    home.recipe(&failing, "");
    let (status, report) = home.verified("oci:one", &[]);
    assert_eq!(status, Some(3));
    assert_eq!(report["obstacles"][0]["kind"], "build-failed");
    let what = report["obstacles"][0]["what"].as_str().unwrap();
    assert!(what.contains("it ended with status 7"), "{what}");
    assert!(what.ends_with("no such luck"), "{what}");
    let log = fs::read_to_string(report["run"]["log"].as_str().unwrap()).unwrap();
    assert!(log.contains("\n1\n2\n3\nno such luck\n"), "{log}");
}

#[test]
fn a_request_for_what_is_not_locked_fails_the_build_and_is_named() {
    let Some(home) = Home::new() else { return };
    let build = |url: &str| {
        STEPS.replace(
            "mkdir -p /image/bin /image/etc",
            &format!("/usr/lib/apt/apt-helper download-file {url} /tmp/it || true; mkdir -p /image/bin /image/etc; cat /tmp/it"),
        )
    };
    let content = b"locked\n";
    fs::create_dir(home.path("served")).unwrap();
    fs::write(home.path("served/it"), content).unwrap();
    let url = format!("{}/it", crate::lock::serve(home.path("served")));
    let files = format!(
        "files = [\n  {{ name = \"it\", size = {}, sha256 = \"{}\", grade = \"recorded\", urls = [\"{url}\"] }},\n]\n",
        content.len(),
        reprove::digest::Digest::of(content).hex()
    );
    home.recipe(&build(&url), &files);
    home.rebuilt("one", &[]);
    home.recipe(&build(&format!("{url}?x=1")), &files);
    let (status, report) = home.verified("oci:one", &[]);
    assert_eq!(status, Some(3));
    let what = report["obstacles"][0]["what"].as_str().unwrap();
    assert!(
        what.ends_with(&format!("it asks for GET {url}?x=1: it is not in the lock")),
        "{what}"
    );
    // Nobody has it: that is an answer too, and names it.
    let gone = files.replace(&reprove::digest::Digest::of(content).hex(), &"0".repeat(64));
    home.recipe(&build(&url), &gone);
    let (status, report) = home.verified("oci:one", &[]);
    assert_eq!(status, Some(3));
    assert_eq!(report["obstacles"][0]["kind"], "material-gone");
    let what = report["obstacles"][0]["what"].as_str().unwrap();
    assert!(what.starts_with("it (sha256:000000"), "{what}");
}

#[test]
fn what_a_build_fetches_can_be_recorded_and_is_then_replayed() {
    let Some(home) = Home::new() else { return };
    fs::create_dir(home.path("served")).unwrap();
    fs::write(home.path("served/it"), "recorded\n").unwrap();
    let url = format!("{}/it", crate::lock::serve(home.path("served")));
    let build = STEPS.replace(
        "mkdir -p /image/bin /image/etc",
        &format!("mkdir -p /image/bin /image/etc; /usr/lib/apt/apt-helper download-file {url} /image/etc/it"),
    );
    home.recipe(&build, "");
    let said = home.reprove(&["lock", "./recipe", "--record"]);
    assert_eq!(said.status, Some(0), "{said:#?}");
    let lock = fs::read_to_string(home.path("recipe/recipe.lock")).unwrap();
    let pin = lock.lines().find(|line| line.contains(&url)).unwrap();
    assert!(pin.contains("grade = \"recorded\""), "{pin}");
    fs::remove_file(home.path("served/it")).unwrap();
    home.rebuilt("one", &["--fresh", "--offline"]);
}

#[test]
fn a_lock_that_pins_the_published_layer_is_circular() {
    let Some(home) = Home::new() else { return };
    home.recipe(STEPS, "");
    let told = home.rebuilt("one", &[]);
    let layer = told["layers"][0]["digest"].as_str().unwrap();
    let hex = layer.strip_prefix("sha256:").unwrap();
    fs::create_dir(home.path("served")).unwrap();
    fs::copy(
        home.path(&format!("one/blobs/sha256/{hex}")),
        home.path("served/it"),
    )
    .unwrap();
    let mirror = format!(
        "http://files.example/={}/",
        crate::lock::serve(home.path("served"))
    );
    home.recipe(
        STEPS,
        &format!(
            "files = [\n  {{ name = \"it\", size = {}, sha256 = \"{hex}\", grade = \"recorded\", urls = [\"http://files.example/it\"] }},\n]\n",
            told["layers"][0]["size"]
        ),
    );
    let (status, report) = home.verified("oci:one", &["--mirror", &mirror]);
    assert_eq!(status, Some(3), "{report:#}");
    assert_eq!(report["obstacles"][0]["kind"], "circular");
}

#[test]
fn what_was_kept_and_rotted_is_not_used() {
    let Some(home) = Home::new() else { return };
    home.recipe(STEPS, "");
    let told = home.rebuilt("one", &[]);
    let layer = told["layers"][0]["digest"].as_str().unwrap();
    let kept = home
        .cache
        .join("blobs/sha256")
        .join(layer.strip_prefix("sha256:").unwrap());
    let mut bytes = fs::read(&kept).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&kept, bytes).unwrap();
    let arguments = ["rebuild", "--recipe", "./recipe", "--output", "oci:two"];
    let said = home.reprove(&arguments);
    assert_eq!(said.status, Some(2), "{said:#?}");
    assert!(said.stderr.contains(layer), "{}", said.stderr);
    assert!(!home.path("two").exists());
    // It is gone now, and made anew.
    assert_eq!(
        home.rebuilt("two", &[])["manifestDigest"],
        told["manifestDigest"]
    );
}

#[test]
fn a_recipe_without_a_lock_is_inconclusive() {
    let Some(home) = Home::new() else { return };
    home.recipe(STEPS, "");
    home.rebuilt("one", &[]);
    fs::remove_file(home.path("recipe/recipe.lock")).unwrap();
    let (status, report) = home.verified("oci:one", &[]);
    assert_eq!(status, Some(3));
    assert_eq!(report["obstacles"][0]["kind"], "not-locked");
}

#[test]
fn a_check_makes_the_toolchain_anew_and_keeps_nothing_of_it() {
    let Some(home) = Home::new() else { return };
    home.recipe(STEPS, "");
    home.rebuilt("one", &[]);
    let stages = home.cache.join("stages");
    let kept = || {
        let mut kept: Vec<_> = fs::read_dir(&stages)
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                (fs::read(&path).unwrap(), path)
            })
            .collect();
        kept.sort();
        kept
    };
    // What is kept of the toolchain leads to no root file system now, but the result of the
    // build is kept too. So only the second build needs a toolchain.
    let (text, path) = kept()
        .into_iter()
        .find(|(text, _)| String::from_utf8_lossy(text).contains(r#"{\"root\":"#))
        .unwrap();
    let mut record: Value = serde_json::from_slice(&text).unwrap();
    let mut toolchain: Value = serde_json::from_str(record["value"].as_str().unwrap()).unwrap();
    toolchain["root"] = toolchain["contents"].clone();
    let value = toolchain.to_string();
    record["digest"] = Digest::of(value.as_bytes()).to_string().into();
    record["value"] = value.into();
    fs::write(&path, record.to_string()).unwrap();
    let before = kept();
    let said = home.reprove(&["check", "./recipe", "--json"]);
    let after = kept();
    fs::write(&path, text).unwrap();
    assert_eq!(said.status, Some(0), "{said:#?}");
    let checked: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(checked["stable"], true);
    assert!(after == before, "something was kept");
}

#[test]
fn files_that_a_dockerfile_compiles_stand_for_those_that_are_committed() {
    let Some(home) = Home::new() else { return };
    let repository = Repository::new();
    repository.write(
        "Dockerfile.build",
        "FROM builder\nCOPY . /src\nRUN tr a-z A-Z < /src/text > /src/out/upper\n",
    );
    repository.write("out/Dockerfile", "FROM scratch\nCOPY upper /\n");
    repository.write("out/upper", "COMMITTED");
    repository.write("text", "compiled");
    let commit = repository.commit("all");
    home.recipe(
        r#"
[build]
kind = "dockerfile"
dockerfile = "Dockerfile.build"
output = "files"
files = { "out/upper" = "/src/out/upper" }
image_dockerfile = "out/Dockerfile"

[build.bases]
builder = "toolchain"
"#,
        "",
    );
    let source = repository.path().display().to_string();
    let told = home.rebuilt("one", &["--source", &source, "--revision", &commit]);
    let layer = told["layers"][0]["digest"].as_str().unwrap();
    let tar = home.path(&format!("one/blobs/sha256/{}", &layer[7..]));
    let content = Command::new("tar")
        .arg("-xzOf")
        .arg(tar)
        .arg("upper")
        .output();
    assert_eq!(content.unwrap().stdout, b"COMPILED");
    assert_eq!(told["layers"][0]["bytes"]["built"], 8);
}

#[test]
fn busybox_is_reproduced_from_its_source() {
    let Some(materials) = test_image("busybox-materials/system") else {
        return;
    };
    let Some(image) = test_image("busybox-1.37.0-glibc-amd64") else {
        return;
    };
    let Some(source) = test_source("docker-library", "busybox") else {
        return;
    };
    let Some(home) = Home::new() else { return };
    fs::create_dir_all(home.path("served/2026.05.1")).unwrap();
    run(Command::new("cp")
        .arg("-r")
        .arg(&materials)
        .arg(home.path("served/2026.05.1/")));
    let mirror = format!(
        "https://gitlab.com/buildroot.org/buildroot/-/raw/={}/",
        crate::lock::serve(home.path("served"))
    );
    let said = home.reprove(&[
        "verify",
        &format!("oci:{}", image.display()),
        "--recipe",
        "busybox",
        "--source-mirror",
        &format!(
            "https://github.com/docker-library/busybox={}",
            source.display()
        ),
        "--revision",
        "70ce0fb98bee360bbcce132660d727bf6ce55a99",
        "--mirror",
        &mirror,
        "--json",
    ]);
    assert_eq!(said.status, Some(0), "{said:#?}");
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(report["equality"]["strongest"], "manifest");
    assert_eq!(
        report["rebuilt"]["manifestDigest"],
        "sha256:7a3ebe5bfd1a4a19797d20b0c0bb39d44393e9a03fd852c0865b0f540d868df0"
    );
}

#[test]
fn hello_world_is_compiled_to_the_committed_binary() {
    let Some(source) = test_source("docker-library", "hello-world") else {
        return;
    };
    let Some(home) = Home::new() else { return };
    let source = source.display().to_string();
    let revision = "a1942f2745e7ad88e348b6d6cf304fc8261d0575";
    let said = home.reprove(&[
        "rebuild",
        "--recipe",
        "hello-world",
        "--source",
        &source,
        "--revision",
        revision,
        "--dialect",
        "buildkit-official",
        "--output",
        "oci:compiled",
        "--json",
    ]);
    assert_eq!(said.status, Some(0), "{said:#?}");
    let compiled: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(compiled["layers"][0]["bytes"]["built"], 10_072);
    let said = home.reprove(&[
        "rebuild",
        "--recipe",
        "scratch",
        "--set",
        "dockerfile=amd64/Dockerfile",
        "--set",
        "context=amd64",
        "--source",
        &source,
        "--revision",
        revision,
        "--dialect",
        "buildkit-official",
        "--output",
        "oci:committed",
        "--json",
    ]);
    let committed: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(compiled["manifestDigest"], committed["manifestDigest"]);
}

/// When the published hello-world was built, which its source records nowhere.
const HELLO_BUILT_AT: u64 = 1_755_123_432;

#[test]
fn hello_world_differs_in_its_build_time_alone() {
    let Some(source) = test_source("docker-library", "hello-world") else {
        return;
    };
    let Some(home) = Home::new() else { return };
    let source = source.display().to_string();
    let from = [
        "--recipe",
        "hello-world",
        "--source",
        &source,
        "--revision",
        "a1942f2745e7ad88e348b6d6cf304fc8261d0575",
    ];
    let words = [
        "rebuild",
        "--dialect",
        "buildkit-official",
        "--output",
        "oci:rebuilt",
        "--json",
    ];
    let said = home.reprove(&[&words[..], &from].concat());
    assert_eq!(said.status, Some(0), "{said:#?}");
    let rebuilt: Value = serde_json::from_str(&said.stdout).unwrap();
    let blob = |digest: &Value| {
        let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
        fs::read(home.path(&format!("rebuilt/blobs/sha256/{hex}"))).unwrap()
    };

    // The published image, made of the rebuilt one's documents and of its file at the time of then.
    let mut tar = Vec::new();
    flate2::read::GzDecoder::new(&blob(&rebuilt["layers"][0]["digest"])[..])
        .read_to_end(&mut tar)
        .unwrap();
    let mut archive = Archive::parse(&tar);
    for member in &mut archive.members {
        member.set(MTIME, HELLO_BUILT_AT);
    }
    let tar = archive.bytes();
    let mut layer = Layer::new(Vec::new());
    let mut gzip = GoGzipWriter::new(Vec::new());
    gzip.write_all(&tar).unwrap();
    layer.blob = Some(gzip.finish().unwrap());
    let mut published = Image::plain(vec![layer]);
    published.config = String::from_utf8(blob(&rebuilt["configDigest"])).unwrap();
    published
        .seal_with(&[digest(&tar)])
        .write(&home.path("published"));
    assert!(
        home.path(
            "published/blobs/sha256/17eec7bbc9d79fa397ac95c7283ecd04d1fe6978516932a3db110c6206430809"
        )
        .is_file(),
        "the layer is the one that Docker publishes"
    );

    for (policy, status) in [("ignore-times", 0), ("standard", 1)] {
        let verify = ["verify", "oci:published", "--policy", policy, "--json"];
        let said = home.reprove(&[&verify[..], &from].concat());
        assert_eq!(said.status, Some(status), "{said:#?}");
        let report: Value = serde_json::from_str(&said.stdout).unwrap();
        assert_eq!(report["equality"]["strongest"], "contents");
        let findings = report["findings"].as_array().unwrap();
        let places: Vec<&str> = findings
            .iter()
            .filter(|finding| finding["within"] == "entry")
            .map(|finding| finding["attribute"].as_str().unwrap())
            .collect();
        assert_eq!(places, ["mtime"]);
        let what_if = &report["counterfactual"];
        assert_eq!(what_if["layers"], true, "{what_if}");
        assert_eq!(what_if["blobs"], true, "{what_if}");
        assert_eq!(report["origin"]["built"], 10_072);
    }
}
