//! Package databases that rpm itself wrote, in each of its formats, and images that differ in
//! their packages.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use reprove::{
    explain::Risk, image::EntryPath, inventory::Inventory, pair::Pair, report::model::FindingRecord,
};

use crate::{
    changes::{
        archive::Member,
        image::{Image, Layer},
    },
    fat::report,
    support,
};

/// Runs a program that must succeed, and returns what it wrote.
fn run(folder: &Path, program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("HOME", folder)
        .env_remove("SOURCE_DATE_EPOCH")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {errors}");
    output.stdout
}

/// Builds a package of many files.
fn package(folder: &Path, name: &str, epoch: &str) {
    let spec = format!(
        "Name: {name}\nVersion: 1.0\nRelease: 2.el7\nSummary: a test\nLicense: MIT\n{epoch}\
         BuildArch: noarch\n%description\na test\n%install\n\
         mkdir -p %{{buildroot}}/usr/share/{name}\n\
         for n in $(seq 200); do echo $n > %{{buildroot}}/usr/share/{name}/file-$n; done\n\
         %files\n/usr/share/{name}\n"
    );
    fs::write(folder.join(format!("{name}.spec")), spec).unwrap();
    let top = format!("_topdir {}/built", folder.display());
    run(
        folder,
        "rpmbuild",
        &["--define", &top, "-bb", &format!("{name}.spec")],
    );
}

/// Has rpm record the packages as installed, and returns the database.
fn sqlite(folder: &Path, name: &str) -> Vec<u8> {
    let database = folder.join(name);
    let path = database.to_str().unwrap();
    let package = |name: &str| format!("built/RPMS/noarch/{name}-1.0-2.el7.noarch.rpm");
    let install = ["--dbpath", path, "-i", "--justdb", "--nodeps"];
    let packages = [package("one"), package("two")];
    let packages = packages.iter().map(String::as_str);
    run(
        folder,
        "rpm",
        &install.into_iter().chain(packages).collect::<Vec<_>>(),
    );
    // What is still in the log is written to the database when it is rebuilt or closed.
    let log = fs::metadata(database.join("rpmdb.sqlite-wal"));
    assert!(log.is_err() || log.unwrap().len() == 0);
    fs::read(database.join("rpmdb.sqlite")).unwrap()
}

/// Puts the headers of such a database into Berkeley DB's format, as rpm had it until 2020.
fn berkeley(folder: &Path, name: &str) -> Vec<u8> {
    let database = folder.join(name);
    let headers = run(
        folder,
        "rpmdb",
        &["--dbpath", database.to_str().unwrap(), "--exportdb"],
    );
    let mut dump =
        "VERSION=3\nformat=bytevalue\ntype=hash\ndb_pagesize=4096\nHEADER=END\n".to_owned();
    let mut row = |key: u32, value: &[u8]| {
        let (key, value) = (hex::encode(key.to_le_bytes()), hex::encode(value));
        dump.extend([" ", &key, "\n ", &value, "\n"]);
    };
    let mut rest = &headers[..];
    let mut number = 0_u32;
    while let Some(after) = rest.strip_prefix(b"\x8e\xad\xe8\x01\0\0\0\0") {
        let word = |at: usize| {
            let word = after[at..at + 4].try_into().unwrap();
            usize::try_from(u32::from_be_bytes(word)).unwrap()
        };
        let (header, others) = after.split_at(8 + 16 * word(0) + word(4));
        number += 1;
        row(number, header);
        rest = others;
    }
    assert!(rest.is_empty());
    row(0, &(number + 1).to_le_bytes());
    dump += "DATA=END\n";
    let written = folder.join(format!("{name}.dump"));
    fs::write(&written, dump).unwrap();
    let target = folder.join(format!("{name}.berkeley"));
    fs::create_dir(&target).unwrap();
    let target = target.to_str().unwrap();
    run(
        folder,
        "db5.3_load",
        &[
            "-f",
            written.to_str().unwrap(),
            &format!("{target}/Packages"),
        ],
    );
    // rpm itself takes it for its own.
    let listed = run(
        folder,
        "rpm",
        &[
            "--define",
            "_db_backend bdb_ro",
            "--dbpath",
            target,
            "-qa",
            "--qf",
            "%{NAME}\n",
        ],
    );
    let mut listed: Vec<_> = std::str::from_utf8(&listed).unwrap().lines().collect();
    listed.sort_unstable();
    assert_eq!(listed, ["one", "two"]);
    fs::read(Path::new(target).join("Packages")).unwrap()
}

/// Compares two images, each of one layer, and returns the findings.
fn findings(folder: &Path, sides: Pair<Vec<Member>>) -> Vec<FindingRecord> {
    let folder = tempfile::tempdir_in(folder).unwrap();
    let paths = Pair::new("published", "rebuilt").map(|name| folder.path().join(name));
    Image::plain(vec![Layer::new(sides.published)]).write(&paths.published);
    Image::plain(vec![Layer::new(sides.rebuilt)]).write(&paths.rebuilt);
    report(paths.as_ref().map(PathBuf::as_path), folder.path()).findings
}

#[test]
fn databases_that_rpm_wrote_are_read_and_explained_by_their_times() {
    let is_there = |program| Command::new(program).arg("--version").output().is_ok();
    if !is_there("rpmbuild") || Command::new("db5.3_load").arg("-V").output().is_err() {
        support::skip("there is no rpmbuild, or no db5.3_load");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    package(folder, "one", "Epoch: 1\n");
    package(folder, "two", "");
    let first = sqlite(folder, "first");
    // rpm counts in seconds.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let later = sqlite(folder, "later");
    let formats = [
        ("var/lib/rpm/rpmdb.sqlite", first.clone(), later),
        (
            "var/lib/rpm/Packages",
            berkeley(folder, "first"),
            berkeley(folder, "later"),
        ),
    ];
    for (path, published, rebuilt) in formats {
        for database in [&published, &rebuilt] {
            let files = [(EntryPath::of(path.as_bytes()), database.clone())];
            let inventory = Inventory::read(&BTreeMap::from(files));
            assert_eq!(inventory.problems(), [""; 0], "{path}");
            let packages = inventory.packages().iter().map(ToString::to_string);
            let packages: Vec<_> = packages.collect();
            assert_eq!(packages, ["one 1:1.0-2.el7", "two 1.0-2.el7"], "{path}");
            let file = EntryPath::of(b"usr/share/two/file-200");
            assert_eq!(inventory.owner(&file).unwrap().name, "two");
            assert!(inventory.recorded(&file).unwrap().is_of(b"200\n"));
        }
        let sides = Pair::new(published, rebuilt);
        let found = findings(folder, sides.map(|bytes| vec![Member::file(path, &bytes)]));
        let found = found
            .iter()
            .find(|finding| finding.attribute == "content")
            .unwrap();
        let cause = found.cause.as_ref().map(|cause| cause.id.as_str());
        if path.ends_with("Packages") {
            // Berkeley DB leaves in its pages what lay in its memory.
            let told = &found.tried[0].refused;
            assert_eq!(cause, None);
            assert!(told.starts_with("both have the same 2 headers"), "{told}");
        } else {
            assert_eq!(cause, Some("rpmdb"), "{:?}", found.tried);
        }
    }
}

#[test]
fn what_only_one_image_has_is_explained_by_a_package_that_only_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let status = |packages: &[&str]| {
        let packages = packages.iter();
        let stanzas = packages.map(|name| format!("Package: {name}\nVersion: 1\n\n"));
        Member::file(
            "var/lib/dpkg/status",
            stanzas.collect::<String>().as_bytes(),
        )
    };
    // The MD5 sum of "a".
    let sums = b"0cc175b9c0f1b6a831c399e269772661  usr/bin/tool\n\
        0cc175b9c0f1b6a831c399e269772661  usr/bin/other\n\
        0cc175b9c0f1b6a831c399e269772661  usr/bin/first\n\
        0cc175b9c0f1b6a831c399e269772661  usr/bin/root\n";
    let published = vec![status(&["bash"])];
    let rebuilt = vec![
        status(&["bash", "tools"]),
        Member::file("var/lib/dpkg/info/tools.md5sums", sums),
        Member::file("usr/bin/tool", b"a").with_mode(0o755),
        Member::file("usr/bin/other", b"b").with_mode(0o755),
        Member::file("usr/bin/root", b"a").with_mode(0o4755),
        Member::file("usr/bin/nobodys", b"a").with_mode(0o755),
        // The mode of the last link is the file's.
        Member::file("usr/bin/first", b"a").with_mode(0o755),
        Member::link(b'1', "usr/bin/last", "usr/bin/first").with_mode(0o4755),
    ];
    for is_swapped in [false, true] {
        let sides = Pair::new(published.clone(), rebuilt.clone());
        let sides = if is_swapped { sides.swapped() } else { sides };
        let found = findings(folder.path(), sides);
        let cause = |path: &str| {
            let finding = found.iter().find(|finding| finding.location == path);
            let finding = finding.unwrap();
            assert_eq!(finding.risks.is_empty(), !path.starts_with("/usr/bin"));
            let is_setuid = ["/usr/bin/root", "/usr/bin/first", "/usr/bin/last"].contains(&path);
            assert_eq!(finding.risks.contains(&Risk::Setuid), is_setuid, "{path}");
            finding.cause.as_ref().map(|cause| cause.id.as_str())
        };
        let one_sided = Some("snapshot-drift.one-sided");
        assert_eq!(cause("/usr/bin/tool"), one_sided);
        assert_eq!(cause("/var/lib/dpkg/info/tools.md5sums"), one_sided);
        assert_eq!(
            cause("/var/lib/dpkg/status"),
            Some("snapshot-drift.database")
        );
        for name in ["other", "root", "nobodys", "first", "last"] {
            let path = format!("/usr/bin/{name}");
            assert_eq!(cause(&path), None, "{path}");
        }
    }
}
