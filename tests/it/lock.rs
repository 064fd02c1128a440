//! Locks: from a small archive made and signed here, and from this host's real mirror.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

use reprove::{
    digest::Digest,
    image::{self, Access},
    lock::{Coverage, Error, Expired, Request, Tools, coverage, installed, lock},
    material::{Mirrors, fetch},
    progress::Silent,
    recipe::{
        Recipe,
        lockfile::{FileGrade, Grade, Locked, Lockfile, PackageGrade, Validity},
    },
    store::Store,
};

use crate::support::{
    registry::{has, run},
    reprove, said, skip,
};

const TOOLCHAIN: &str = r#"
[toolchain]
suites = ["debian/one", "debian/two"]
packages = ["tool"]
recommends = false
"#;

fn recipe(parts: &str) -> Recipe {
    let text = format!(
        "schema = 1\nname = \"thing\"\n{parts}\n[build]\nkind = \"scratch\"\ndockerfile = \"Dockerfile\"\n"
    );
    Recipe::parse(&text, "it").unwrap()
}

/// An archive of packages behind a web server, and the key that signs it.
struct Archive {
    folder: tempfile::TempDir,
    url: String,
}

impl Archive {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let archive = Self {
            url: serve(folder.path().join("debian")),
            folder,
        };
        for name in ["ours", "theirs"] {
            let home = archive.path(name);
            fs::create_dir(&home).unwrap();
            run(archive
                .gpg(name)
                .args(["--quick-gen-key", name, "ed25519", "sign", "never"]));
            run(archive
                .gpg(name)
                .arg("--output")
                .arg(archive.keyring(name))
                .arg("--export"));
        }
        archive
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn keyring(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.gpg"))
    }

    fn gpg(&self, name: &str) -> Command {
        let mut gpg = Command::new("gpg");
        gpg.args(["--batch", "--quiet", "--passphrase", "", "--homedir"])
            .arg(self.path(name));
        gpg
    }

    /// Writes a suite that is valid through the year 2026.
    fn suite(&self, name: &str, packages: &str) {
        self.signed(name, name, packages);
    }

    /// Writes a suite that calls itself by another name.
    fn signed(&self, name: &str, codename: &str, packages: &str) {
        let folder = self.path("debian/dists").join(name);
        let list = folder.join("main/binary-amd64/Packages.xz");
        fs::create_dir_all(list.parent().unwrap()).unwrap();
        let mut packed = Vec::new();
        liblzma::read::XzEncoder::new(packages.as_bytes(), 0)
            .read_to_end(&mut packed)
            .unwrap();
        fs::write(&list, &packed).unwrap();
        let release = format!(
            "Origin: Test\nSuite: {codename}\nCodename: {codename}\nDate: Sat, 21 Nov 2026 09:15:44 UTC\n\
             Valid-Until: Thu, 31 Dec 2026 00:00:00 UTC\nArchitectures: amd64\nComponents: main\nSHA256:\n \
             {} {} main/binary-amd64/Packages\n {} {} main/binary-amd64/Packages.xz\n",
            Digest::of(packages.as_bytes()).hex(),
            packages.len(),
            Digest::of(&packed).hex(),
            packed.len()
        );
        let plain = folder.join("Release");
        fs::write(&plain, release).unwrap();
        run(self
            .gpg("ours")
            .args(["--yes", "--clearsign", "--output"])
            .args([&folder.join("InRelease"), &plain]));
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        for name in ["ours", "theirs"] {
            // Each folder has an agent that would wait for more to sign.
            let _ = Command::new("gpgconf")
                .arg("--homedir")
                .arg(self.path(name))
                .args(["--kill", "all"])
                .output();
        }
    }
}

/// Serves the files of a folder on 127.0.0.1, and returns where.
pub(crate) fn serve(folder: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // Lives as long as the test program.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut path = String::new();
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
                if path.is_empty() {
                    path.push_str(line.split(' ').nth(1).unwrap_or_default());
                }
                line.clear();
            }
            let (status, body) = match fs::read(folder.join(path.trim_start_matches('/'))) {
                Ok(body) => ("200 OK", body),
                Err(_) => ("404 Not Found", Vec::new()),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let answer = [head.as_bytes(), &body].concat();
            // A failed connection is the client's to notice.
            let _ = stream.write_all(&answer);
        }
    });
    url
}

fn package(name: &str, version: &str, rest: &str) -> String {
    let hash = Digest::of(format!("{name} {version}").as_bytes()).hex();
    format!(
        "Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: nobody\n{rest}\
         Filename: pool/{name}_{version}_amd64.deb\nSize: 7\nSHA256: {hash}\nDescription: a package\n\n"
    )
}

/// What the archive's suites hold where a test says nothing else.
fn packages() -> [(&'static str, String); 2] {
    [
        (
            "one",
            [
                package("base", "1", "Essential: yes\n"),
                package("extra", "1", ""),
                package("libtool", "1:2.0+b1", ""),
                package(
                    "tool",
                    "1",
                    "Depends: libtool (>= 1:2)\nRecommends: extra\n",
                ),
            ]
            .concat(),
        ),
        ("two", package("libtool", "1:2.0+b2", "")),
    ]
}

/// A folder to work in, and what a lock is made with.
struct Bench {
    folder: tempfile::TempDir,
    scratch: PathBuf,
    mirrors: Mirrors,
    store: Store,
}

impl Bench {
    fn new(archive: &Archive) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let scratch = folder.path().join("a folder [to work in]");
        fs::create_dir(&scratch).unwrap();
        Self {
            folder,
            scratch,
            mirrors: Mirrors {
                given: vec![format!("debian={}", archive.url).parse().unwrap()],
                ..Mirrors::default()
            },
            store,
        }
    }

    fn tools(&self) -> Tools<'_> {
        Tools {
            mirrors: &self.mirrors,
            store: &self.store,
            scratch: &self.scratch,
            progress: &Silent,
        }
    }

    fn lock(
        &self,
        recipe: &Recipe,
        previous: &Lockfile,
        keyring: &Path,
        now: &str,
        expired: Expired,
    ) -> Result<Lockfile, Error> {
        let request = Request {
            recipe,
            platform: &"linux/amd64".parse().unwrap(),
            previous,
            keyring: Some(keyring),
            at: None,
            installed: &[],
            expired,
            now: now.parse().unwrap(),
        };
        lock(&request, &self.tools())
    }
}

const NOW: &str = "2026-11-23T00:00:00Z";

/// Returns the archive and a bench; `None` and a skip where programs are missing.
fn archive() -> Option<(Archive, Bench)> {
    if !has(&["gpg", "gpgv", "apt-get"]) {
        return None;
    }
    let archive = Archive::new();
    for (suite, packages) in packages() {
        archive.suite(suite, &packages);
    }
    let bench = Bench::new(&archive);
    Some((archive, bench))
}

fn chosen(lock: &Lockfile) -> Vec<String> {
    let locked = lock.platforms.values().next().unwrap();
    locked
        .packages
        .iter()
        .map(|package| match &package.grade {
            PackageGrade::SignedIndex { suite } => {
                format!("{} {} {suite}", package.name, package.version)
            }
            PackageGrade::Recorded | PackageGrade::FromImage => package.name.clone(),
        })
        .collect()
}

#[test]
fn packages_are_chosen_from_signed_indexes_with_what_they_depend_on() {
    let Some((archive, bench)) = archive() else {
        return;
    };
    let lock = |parts: &str| {
        let keyring = archive.keyring("ours");
        let none = Lockfile::default();
        bench.lock(&recipe(parts), &none, &keyring, NOW, Expired::Refused)
    };
    let tool = "tool 1 debian/one";
    let newer = "libtool 1:2.0+b2 debian/two";
    let base = "base 1 debian/one";
    for (parts, expected) in [
        (TOOLCHAIN.to_owned(), vec![base, newer, tool]),
        (
            TOOLCHAIN.replace("recommends = false", "essential = false"),
            vec!["extra 1 debian/one", newer, tool],
        ),
        (
            TOOLCHAIN.replace(", \"debian/two\"", ""),
            vec![base, "libtool 1:2.0+b1 debian/one", tool],
        ),
    ] {
        let lock = lock(&parts).unwrap();
        assert_eq!(chosen(&lock), expected, "{parts}");
        let written = lock.to_string();
        assert_eq!(Lockfile::parse(&written, "it").unwrap(), lock, "{written}");
        assert!(!written.contains("127.0.0.1"), "{written}");
        let locked = lock.platforms.values().next().unwrap();
        let snapshot = locked.snapshot.as_ref().unwrap();
        assert_eq!(snapshot.to_string(), "20261121T141544Z");
        let left: Vec<_> = fs::read_dir(&bench.scratch).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
    let none = TOOLCHAIN.replace("\"tool\"", "\"nothing\"");
    let error = lock(&none).unwrap_err().to_string();
    assert_eq!(
        error,
        "apt cannot choose the packages: E: Unable to locate package nothing"
    );
    archive.suite("one", &package("tool", "2", "Depends: gone\n"));
    let error = lock(TOOLCHAIN).unwrap_err().to_string();
    assert!(
        error.contains("tool : Depends: gone but it is not installable"),
        "{error}"
    );
}

#[test]
fn an_index_that_is_not_signed_by_the_right_key_for_the_suite_and_in_time_is_refused() {
    let Some((archive, bench)) = archive() else {
        return;
    };
    let lock = |keyring: &str, now: &str, expired: Expired| {
        let keyring = archive.keyring(keyring);
        let none = Lockfile::default();
        bench.lock(&recipe(TOOLCHAIN), &none, &keyring, now, expired)
    };
    let error = |keyring: &str, now: &str| {
        let error = lock(keyring, now, Expired::Refused).unwrap_err();
        error.to_string()
    };
    assert_eq!(
        error("theirs", NOW),
        format!(
            "the signed index of debian/one has no good signature by a key of {}: \
             using EDDSA key {}, Can't check signature: No public key",
            fs::canonicalize(archive.keyring("theirs"))
                .unwrap()
                .display(),
            key(&archive, "ours")
        )
    );
    let later = "2027-01-01T00:00:00Z";
    assert_eq!(
        error("ours", later),
        "the signed index of debian/one was valid until 2026-12-31T00:00:00Z; \
         --accept-expired takes it all the same, and the lock will say so"
    );
    let accepted = lock("ours", later, Expired::Accepted).unwrap();
    let locked = accepted.platforms.values().next().unwrap();
    let mut releases = locked.releases.iter();
    assert!(releases.all(|release| release.validity == Validity::ExpiredAccepted));

    let signed = archive.path("debian/dists/one/InRelease");
    let good = fs::read_to_string(&signed).unwrap();
    for (case, bad, problem) in [
        (
            "a changed byte",
            good.replace("Origin: Test", "Origin: Tost"),
            "a signature is wrong",
        ),
        (
            "something before",
            format!("Suite: one\n{good}"),
            "it is not one clear-signed text",
        ),
        (
            "something after",
            format!("{good}SHA256:\n"),
            "it is not one clear-signed text",
        ),
        (
            "no signature",
            fs::read_to_string(signed.with_file_name("Release")).unwrap(),
            "it is not one clear-signed text",
        ),
    ] {
        fs::write(&signed, bad).unwrap();
        assert!(error("ours", NOW).ends_with(problem), "{case}");
    }
    let [(_, packages), _] = packages();
    archive.signed("one", "another", &packages);
    assert_eq!(
        error("ours", NOW),
        "the signed index of debian/one is of the suite another or another"
    );
    archive.suite("one", &packages);
    let list = archive.path("debian/dists/one/main/binary-amd64/Packages.xz");
    let size = fs::metadata(&list).unwrap().len();
    fs::write(&list, vec![0; usize::try_from(size).unwrap()]).unwrap();
    // What was kept from before is not what is tested.
    let bench = Bench::new(&archive);
    let error = bench
        .lock(
            &recipe(TOOLCHAIN),
            &Lockfile::default(),
            &archive.keyring("ours"),
            NOW,
            Expired::Refused,
        )
        .unwrap_err()
        .to_string();
    assert!(error.contains("has other bytes"), "{error}");
}

/// Returns the fingerprint of a key.
fn key(archive: &Archive, name: &str) -> String {
    let keys = run(archive.gpg(name).args(["--with-colons", "--list-keys"]));
    let line = keys.lines().find(|line| line.starts_with("fpr:")).unwrap();
    line.split(':').nth(9).unwrap().to_owned()
}

#[test]
fn signatures_are_checked_again_from_what_is_kept() {
    let Some((archive, bench)) = archive() else {
        return;
    };
    let ours = archive.keyring("ours");
    let none = Lockfile::default();
    let lock = bench.lock(&recipe(TOOLCHAIN), &none, &ours, NOW, Expired::Refused);
    let locked = lock.unwrap().platforms.into_values().next().unwrap();
    let covered = |locked: &_, keyring: &Path, store: &Store| {
        coverage(locked, Some(keyring), store, &bench.scratch)
    };
    let signed = |suite: &str| Coverage::Signed {
        suite: suite.parse().unwrap(),
        by: vec![key(&archive, "ours").parse().unwrap()],
    };
    let whole = vec![
        signed("debian/one"),
        signed("debian/two"),
        signed("debian/one"),
    ];
    assert_eq!(covered(&locked, &ours, &bench.store), whole);

    let problem = |coverage: &Coverage| match coverage {
        Coverage::NotShown { problem } => problem.clone(),
        Coverage::Signed { .. } | Coverage::NotClaimed(_) => panic!("{coverage:?}"),
    };
    let mut changed = locked.clone();
    changed.packages[0].sha256 = Digest::of(b"other");
    changed.packages[1].grade = PackageGrade::Recorded;
    let found = covered(&changed, &ours, &bench.store);
    assert_eq!(problem(&found[0]), "no signed list of debian/one has it");
    assert_eq!(found[1], Coverage::NotClaimed(Grade::Recorded));
    assert_eq!(found[2], whole[2]);

    let mut changed = locked.clone();
    changed.releases[0].signed_by = vec![key(&archive, "theirs").parse().unwrap()];
    let found = covered(&changed, &ours, &bench.store);
    assert!(problem(&found[0]).ends_with("it is signed by other keys than the lock says"));

    // A list that the signed index does not name shows nothing, whatever is in it.
    let mut changed = locked.clone();
    changed.indexes[0].path = "main/binary-arm64/Packages.xz".to_owned();
    let found = covered(&changed, &ours, &bench.store);
    assert_eq!(problem(&found[0]), "no signed list of debian/one has it");

    let found = covered(&locked, &archive.keyring("theirs"), &bench.store);
    assert!(problem(&found[0]).contains("No public key"));

    let empty = Bench::new(&archive);
    let found = covered(&locked, &ours, &empty.store);
    assert!(problem(&found[0]).ends_with("it is not in the cache"));
    let fetched = fetch(&locked.index_pins(), &empty.mirrors, &empty.store, &Silent);
    assert_eq!(fetched.unwrap().gone, []);
    assert_eq!(covered(&locked, &ours, &empty.store), whole);

    // The lists are kept uncompressed, and made again where they are not what is signed.
    let packed = archive.path("debian/dists/one/main/binary-amd64/Packages.xz");
    let mut plain = String::new();
    liblzma::read::XzDecoder::new(File::open(packed).unwrap())
        .read_to_string(&mut plain)
        .unwrap();
    let list = empty.store.path(&Digest::of(plain.as_bytes()));
    assert_eq!(fs::read_to_string(&list).unwrap(), plain);
    let mut poisoned = locked.clone();
    poisoned.packages[0].sha256 = Digest::of(b"other");
    let hash = |locked: &Locked| locked.packages[0].sha256.hex();
    let text = plain.replacen(&hash(&locked), &hash(&poisoned), 1);
    assert_ne!(text, plain);
    fs::write(&list, text).unwrap();
    let found = covered(&poisoned, &ours, &empty.store);
    assert_eq!(problem(&found[0]), "no signed list of debian/one has it");
    assert_eq!(fs::read_to_string(&list).unwrap(), plain);
    assert_eq!(covered(&locked, &ours, &empty.store), whole);
}

#[test]
fn a_file_keeps_its_pin_and_a_new_one_is_pinned_as_it_is_served() {
    let Some((archive, bench)) = archive() else {
        return;
    };
    fs::write(archive.path("debian/one"), "one").unwrap();
    let parts = |names: &[&str]| {
        let files = names.iter().map(|name| {
            format!(
                "[[file]]\nname = \"{name}\"\nurls = [\"{}/{name}\"]\n",
                archive.url
            )
        });
        files.collect::<String>()
    };
    let lock = |names: &[&str], previous: &Lockfile| {
        let keyring = archive.keyring("ours");
        bench.lock(
            &recipe(&parts(names)),
            previous,
            &keyring,
            NOW,
            Expired::Refused,
        )
    };
    let mut first = lock(&["one"], &Lockfile::default()).unwrap();
    assert_eq!(first.files[0].sha256, Digest::of(b"one"));
    assert_eq!(first.files[0].grade, FileGrade::Recorded);
    first.files[0].grade = FileGrade::SourceTree;

    fs::write(archive.path("debian/two"), "two").unwrap();
    let second = lock(&["two", "one"], &first).unwrap();
    let graded: Vec<_> = second
        .files
        .iter()
        .map(|file| (file.name.as_str(), file.sha256, file.grade.grade()))
        .collect();
    assert_eq!(
        graded,
        [
            ("two", Digest::of(b"two"), Grade::Recorded),
            ("one", Digest::of(b"one"), Grade::SourceTree),
        ]
    );

    fs::write(archive.path("debian/one"), "new").unwrap();
    let empty = Bench::new(&archive);
    let keyring = archive.keyring("ours");
    let error = empty
        .lock(
            &recipe(&parts(&["one"])),
            &second,
            &keyring,
            NOW,
            Expired::Refused,
        )
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        format!(
            "one is gone: {}/one has other bytes, {}",
            archive.url,
            Digest::of(b"new")
        )
    );
    assert_eq!(
        lock(&[], &second).unwrap_err().to_string(),
        "the recipe thing calls for nothing from outside: it has no [toolchain] and no [[file]]"
    );
}

#[test]
fn packages_are_chosen_as_of_a_time_from_the_snapshots_of_the_archive() {
    let Some((archive, mut bench)) = archive() else {
        return;
    };
    // Stands for the snapshots; the rest of an archive is the same at any time.
    let snapshot = "https://snapshot.debian.org/archive/debian/20261122T120000Z/";
    let mirror = format!("{snapshot}={}/", archive.url);
    bench.mirrors.given.push(mirror.parse().unwrap());
    let lock = |at: &str| {
        let request = Request {
            recipe: &recipe(TOOLCHAIN),
            platform: &"linux/amd64".parse().unwrap(),
            previous: &Lockfile::default(),
            keyring: Some(&archive.keyring("ours")),
            at: Some(at.parse().unwrap()),
            installed: &[],
            expired: Expired::Refused,
            now: "2030-01-01T00:00:00Z".parse().unwrap(),
        };
        lock(&request, &bench.tools())
    };
    // Valid at that time, though not now.
    let lock = lock("2026-11-22T12:00:00Z").unwrap();
    let locked = lock.platforms.values().next().unwrap();
    assert_eq!(
        locked.snapshot.as_ref().map(ToString::to_string),
        Some("20261122T120000Z".to_owned())
    );
    assert_eq!(locked.releases[0].validity, Validity::Valid);
    assert_eq!(locked.packages.len(), 3);
}

/// Writes an image whose only file is dpkg's database.
fn image_with(folder: &Path, status: &str) {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let blob = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::write(blobs.join(digest.hex()), bytes).unwrap();
        format!("\"digest\":\"{digest}\",\"size\":{}", bytes.len())
    };
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(status.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    tar.append_data(&mut header, "var/lib/dpkg/status", status.as_bytes())
        .unwrap();
    let layer = tar.into_inner().unwrap();
    let config = format!(
        "{{\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[\"{}\"]}}}}",
        Digest::of(&layer)
    );
    let media = "\"mediaType\":\"application/vnd.oci.image";
    let manifest = format!(
        "{{\"schemaVersion\":2,{media}.manifest.v1+json\",\"config\":{{{media}.config.v1+json\",{}}},\
         \"layers\":[{{{media}.layer.v1.tar\",{}}}]}}",
        blob(config.as_bytes()),
        blob(&layer)
    );
    let index = format!(
        "{{\"schemaVersion\":2,\"manifests\":[{{{media}.manifest.v1+json\",{}}}]}}",
        blob(manifest.as_bytes())
    );
    fs::write(folder.join("index.json"), index).unwrap();
    fs::write(
        folder.join("oci-layout"),
        "{\"imageLayoutVersion\":\"1.0.0\"}",
    )
    .unwrap();
}

#[test]
fn versions_are_taken_from_an_image_listed_or_still_in_the_archive() {
    if !has(&["dpkg-deb"]) {
        return;
    }
    let Some((archive, bench)) = archive() else {
        return;
    };
    let folder = bench.folder.path().join("image");
    let entry = |name: &str, version: &str| {
        format!(
            "Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n\n"
        )
    };
    let status = [
        entry("libtool", "1:2.0+b1"),
        entry("tool", "1:0.9"),
        entry("unrelated", "1"),
    ];
    image_with(&folder, &status.concat());
    let name = format!("oci:{}", folder.display()).parse().unwrap();
    let image = image::resolve(&name, None, &Access::default(), &Silent).unwrap();
    let versions = installed(&*image, &Silent).unwrap();
    let lock = || {
        let request = Request {
            recipe: &recipe(TOOLCHAIN),
            platform: &"linux/amd64".parse().unwrap(),
            previous: &Lockfile::default(),
            keyring: Some(&archive.keyring("ours")),
            at: None,
            installed: &versions,
            expired: Expired::Refused,
            now: NOW.parse().unwrap(),
        };
        lock(&request, &bench.tools())
    };
    let package = |name: &str| {
        let tree = bench.folder.path().join("package");
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        let control = format!(
            "Package: {name}\nVersion: 1:0.9\nArchitecture: amd64\nMaintainer: nobody\nDescription: it\n"
        );
        fs::write(tree.join("DEBIAN/control"), control).unwrap();
        let file = archive.path("debian/pool/tool_0.9_amd64.deb");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        run(Command::new("dpkg-deb")
            .args(["--root-owner-group", "--build"])
            .args([&tree, &file]));
        file
    };
    // Or "cannot fetch", where the archive's snapshots cannot be reached.
    let error = lock().unwrap_err().to_string();
    let said = format!(
        "tool 1:0.9 (amd64), which the image has: {}/pool/tool_0.9_amd64.deb answers 404",
        archive.url
    );
    assert!(error.contains(&said), "{error}");

    package("other");
    assert_eq!(
        lock().unwrap_err().to_string(),
        "pool/tool_0.9_amd64.deb should be the package tool 1:0.9 (amd64) \
         but is other 1:0.9 (amd64)"
    );
    let file = package("tool");
    let locked = lock().unwrap();
    assert_eq!(
        chosen(&locked),
        ["base 1 debian/one", "libtool 1:2.0+b1 debian/one", "tool"]
    );
    let tool = &locked.platforms.values().next().unwrap().packages[2];
    assert_eq!(
        (tool.version.as_str(), tool.sha256, tool.grade.grade()),
        (
            "1:0.9",
            Digest::of(&fs::read(file).unwrap()),
            Grade::FromImage
        )
    );
}

#[test]
fn the_command_locks_from_the_mirrors_of_this_host() {
    if !has(&["gpgv", "apt-get"]) {
        return;
    }
    let keyring = Path::new("/usr/share/keyrings/debian-archive-keyring.gpg");
    if !keyring.exists() {
        skip("debian-archive-keyring is not installed");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("recipe");
    fs::create_dir(&folder).unwrap();
    let text = "schema = 1\nname = \"thing\"\n[toolchain]\nsuites = [\"debian/bookworm\"]\n\
        packages = [\"make\"]\nrecommends = false\nessential = false\n\
        [build]\nkind = \"scratch\"\ndockerfile = \"Dockerfile\"\n";
    fs::write(folder.join("recipe.toml"), text).unwrap();
    let first = said(reprove(home.path()).arg("lock").arg(&folder));
    if first.status == Some(2)
        && ["cannot be asked", "no mirror of the archive"]
            .iter()
            .any(|trouble| first.stderr.contains(trouble))
    {
        skip(&format!("no mirror of Debian: {}", first.stderr));
        return;
    }
    assert_eq!((first.status, &*first.stderr), (Some(0), ""));
    let written = fs::read_to_string(folder.join("recipe.lock")).unwrap();
    let lock = Lockfile::parse(&written, "recipe.lock").unwrap();
    let names: Vec<String> = chosen(&lock)
        .iter()
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["gcc-12-base", "libc6", "libgcc-s1", "make"]);

    let again = said(reprove(home.path()).arg("lock").arg(&folder));
    assert_eq!(again, first);
    assert_eq!(
        fs::read_to_string(folder.join("recipe.lock")).unwrap(),
        written
    );
    let locked = lock.platforms.values().next().unwrap();
    let store = Store::open(&home.path().join(".cache/reprove/blobs")).unwrap();
    let covered = coverage(locked, None, &store, home.path());
    assert!(
        covered
            .iter()
            .all(|coverage| matches!(coverage, Coverage::Signed { .. })),
        "{covered:?}"
    );
}
