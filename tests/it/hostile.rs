//! Hostile, broken and huge images: a clear error or a finding, never a panic, nothing
//! written, and no more memory than the entries need.

use std::{
    env, fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use reprove::{
    compare::Comparison,
    digest::{Digest, Hasher},
    image::Error,
    pair::Pair,
    verdict::Verdict,
};

use crate::{
    changes::{
        archive::{Archive, BLOCK, MODE, MTIME, Member, SIZE, extension, pax_content},
        chain, compared,
        image::{Image, Layer, called, digest, gzip},
        json,
        random::Random,
        verdicts,
    },
    support,
};

/// Longer than any of these inputs may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn small() -> Vec<Member> {
    vec![
        Member::directory("etc/"),
        Member::file("etc/passwd", b"root:x:0:0::/:/bin/sh\n"),
        Member::link(b'1', "etc/link", "etc/passwd"),
        Member::link(b'2', "etc/symlink", "passwd"),
        Member::new(b'3', "null").with_pax(&[("SCHILY.xattr.user.a", b"b")]),
        Member::file("long", &[b'.'; 700]).with_pax(&[("mtime", b"1.5")]),
    ]
}

/// Compares two images that are written here, in a thread that may not take long.
#[track_caller]
fn diff(mut published: Image, rebuilt: impl Into<Rebuilt>) -> Result<Comparison, String> {
    let rebuilt = rebuilt.into();
    let (sender, receiver) = mpsc::channel();
    let work = move || {
        let folder = tempfile::tempdir().unwrap();
        let sides = Pair::new(
            folder.path().join("published"),
            folder.path().join("rebuilt"),
        );
        published.write(&sides.published);
        match rebuilt {
            Rebuilt::Image(mut image) => image.write(&sides.rebuilt),
            Rebuilt::Tar(tar) => written(&tar, gzip(&tar, 1)).write(&sides.rebuilt),
            Rebuilt::Blob(tar, blob) => written(&tar, blob).write(&sides.rebuilt),
        }
        let before = listing(folder.path());
        let result = compared(sides.as_ref().map(|side| &**side), None);
        assert_eq!(listing(folder.path()), before, "nothing is written");
        sender
            .send(result.map_err(|error: Error| chain(&error)))
            .unwrap();
    };
    let worker = thread::spawn(work);
    let Ok(result) = receiver.recv_timeout(PATIENCE) else {
        assert!(worker.is_finished(), "it takes longer than {PATIENCE:?}");
        panic!("it panicked: {:?}", worker.join());
    };
    worker.join().unwrap();
    result
}

/// What an image is compared with.
enum Rebuilt {
    Image(Image),
    /// The plainest image whose layer is of these bytes.
    Tar(Vec<u8>),
    /// The same with this blob, whatever it inflates to.
    Blob(Vec<u8>, Vec<u8>),
}

impl From<Image> for Rebuilt {
    fn from(image: Image) -> Self {
        Self::Image(image)
    }
}

impl From<Vec<u8>> for Rebuilt {
    fn from(tar: Vec<u8>) -> Self {
        Self::Tar(tar)
    }
}

fn written(tar: &[u8], blob: Vec<u8>) -> crate::changes::image::Written {
    let mut layer = Layer::new(Vec::new());
    layer.blob = Some(blob);
    Image::plain(vec![layer]).seal_with(&[digest(tar)])
}

/// Returns every path below a folder.
fn listing(folder: &Path) -> Vec<String> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        paths.push(path.display().to_string());
        if path.is_dir() {
            paths.extend(listing(&path));
        }
    }
    paths.sort();
    paths
}

fn plain(members: Vec<Member>) -> Image {
    Image::plain(vec![Layer::new(members)])
}

/// Demands that an image be refused by naming its layer, or be told from the other one.
#[track_caller]
fn assert_not_unseen(case: &str, result: Result<Comparison, String>) {
    match result {
        Ok(comparison) => {
            assert!(!comparison.differences.is_empty(), "{case}");
            assert_eq!(verdicts(&comparison)[0], Verdict::NotReproduced, "{case}");
        }
        Err(text) => assert!(text.contains(&called(0)), "{case}: {text}"),
    }
}

#[test]
fn an_archive_cut_anywhere_is_refused_or_told_from_the_whole() {
    let image = plain(small());
    let whole = image.layers[0].archive.bytes();
    for end in (0..whole.len()).step_by(83) {
        assert_not_unseen(
            &format!("cut at {end}"),
            diff(image.clone(), whole[..end].to_vec()),
        );
    }
}

#[test]
fn a_blob_cut_anywhere_is_refused_though_its_digest_is_right() {
    let image = plain(small());
    let tar = image.layers[0].archive.bytes();
    for blob in [gzip(&tar, 1), zstd::encode_all(&*tar, 3).unwrap()] {
        for end in (1..blob.len()).step_by(29) {
            let cut = Rebuilt::Blob(tar.clone(), blob[..end].to_vec());
            let text = diff(image.clone(), cut).unwrap_err();
            assert!(text.contains(&called(0)), "cut at {end}: {text}");
        }
    }
}

#[test]
fn a_document_cut_anywhere_is_refused_though_its_digest_is_right() {
    let image = plain(small());
    let cuts: [fn(&mut Image, usize); 3] = [
        |image, end| image.config.truncate(end),
        |image, end| image.manifest.truncate(end),
        |image, end| image.index.truncate(end),
    ];
    for (number, cut) in cuts.into_iter().enumerate() {
        let mut sealed = image.clone();
        let folder = tempfile::tempdir().unwrap();
        let length = [&image.config, &image.manifest, &image.index][number].len();
        for end in (0..length).step_by(7) {
            let mut broken = sealed.clone();
            cut(&mut broken, end);
            // Sealed by hand: the documents can no longer be edited as JSON.
            let mut written = sealed.seal();
            let document = [&broken.config, &broken.manifest][number.min(1)].as_bytes();
            match number {
                0 => {
                    written.blobs[1] = (digest(document), document.to_vec());
                    let digest = format!("{:?}", digest(document));
                    let manifest = json::set(&sealed.manifest, "/config/digest", &digest);
                    let manifest = json::set(&manifest, "/config/size", &end.to_string());
                    written.blobs[2] = (self::digest(manifest.as_bytes()), manifest.clone().into());
                    written.index_json = named(&sealed.index, manifest.as_bytes());
                }
                1 => {
                    written.blobs[2] = (digest(document), document.to_vec());
                    written.index_json = named(&sealed.index, document);
                }
                _ => written.index_json = broken.index,
            }
            written.write(folder.path());
            let error = compared(Pair::new(folder.path(), folder.path()), None).unwrap_err();
            let word = ["config", "manifest", "index"][number];
            assert!(
                chain(&error).contains(word),
                "{word} cut at {end}: {}",
                chain(&error)
            );
        }
    }
}

/// Returns the index naming this manifest.
fn named(index: &str, manifest: &[u8]) -> String {
    let digest = format!("{:?}", digest(manifest));
    let index = json::set(index, "/manifests/0/digest", &digest);
    json::set(&index, "/manifests/0/size", &manifest.len().to_string())
}

#[test]
fn no_bit_of_an_archive_or_blob_can_be_turned_unseen() {
    let image = plain(small());
    let tar = image.layers[0].archive.bytes();
    let blob = gzip(&tar, 1);
    let mut random = Random::new(1);
    for _ in 0..700 {
        let (position, bit) = (random.below(tar.len()), 1 << random.below(8));
        let mut turned = tar.clone();
        turned[position] ^= bit;
        assert_not_unseen(
            &format!("byte {position} ^ {bit}"),
            diff(image.clone(), turned),
        );
    }
    for _ in 0..300 {
        let (position, bit) = (random.below(blob.len()), 1 << random.below(8));
        let mut turned = blob.clone();
        turned[position] ^= bit;
        let result = diff(image.clone(), Rebuilt::Blob(tar.clone(), turned));
        assert_not_unseen(&format!("blob byte {position} ^ {bit}"), result);
    }
}

#[test]
fn absurd_sizes_are_refused_or_said_and_never_believed() {
    let with_size = |written: &[u8]| {
        let mut member = Member::file("etc/passwd", b"short");
        member.header[SIZE].copy_from_slice(written);
        member.sum();
        member
    };
    let base_256 = |value: i128| {
        let mut bytes = value.to_be_bytes()[4..].to_vec();
        bytes[0] |= 0x80;
        bytes
    };
    let pax = |key: &str, value: &str| {
        Member::file("etc/passwd", b"short").with_pax(&[(key, value.as_bytes())])
    };
    let extended = |flag, size: &[u8]| {
        let mut member = Member::file("etc/passwd", b"short");
        let mut header = extension(flag, b"x");
        header[SIZE].copy_from_slice(size);
        let mut sealed = Member::new(flag, "x");
        sealed.header.copy_from_slice(&header[..BLOCK]);
        sealed.sum();
        member.extensions = sealed.header.to_vec();
        member.extensions.extend([0; BLOCK]);
        member
    };
    let sparse = |map: &str, size: &str| {
        let mut content = map.as_bytes().to_vec();
        content.resize(BLOCK, 0);
        Member::file("etc/passwd", &content).with_pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"etc/passwd"),
            ("GNU.sparse.realsize", size.as_bytes()),
        ])
    };
    let broken_record = |content: &[u8]| {
        let mut member = Member::file("etc/passwd", b"short");
        member.extensions = extension(b'x', content);
        member
    };
    let cases = [
        ("8 GiB", with_size(b"77777777777\0")),
        ("twelve digits", with_size(b"777777777777")),
        ("not a number", with_size(b"12345678x90\0")),
        ("2^62", with_size(&base_256(1 << 62))),
        ("2^90", with_size(&base_256(1 << 90))),
        ("-1", with_size(&[0xff; 12])),
        ("size of 20 digits", pax("size", "99999999999999999999")),
        ("negative size", pax("size", "-5")),
        ("mtime of 40 digits", pax("mtime", &"9".repeat(40))),
        ("uid of 40 digits", pax("uid", &"9".repeat(40))),
        ("extension of 8 GiB", extended(b'x', b"77777777777\0")),
        ("long name of 8 GiB", extended(b'L', b"77777777777\0")),
        ("long link of 2^62", extended(b'K', &base_256(1 << 62))),
        ("global header of 8 GiB", extended(b'g', b"77777777777\0")),
        (
            "sparse of 8 EiB",
            sparse("1\n0\n0\n", "9223372036854775807"),
        ),
        (
            "sparse with a piece past its end",
            sparse("1\n4096\n512\n", "100"),
        ),
        (
            "sparse with pieces that overlap",
            sparse("2\n0\n512\n256\n512\n", "1000"),
        ),
        (
            "sparse of a billion pieces",
            sparse("1000000000\n0\n0\n", "1000"),
        ),
        ("sparse without a map", sparse("", "1000")),
        (
            "sparse with a number too large",
            sparse("1\n99999999999999999999\n1\n", "1000"),
        ),
        (
            "record longer than the header",
            broken_record(b"999999 path=x\n"),
        ),
        ("record of length 0", broken_record(b"0 path=x\n")),
        ("record without a length", broken_record(b"path=x\n")),
        ("record without a value", broken_record(b"7 path\n")),
        ("record with a long length", broken_record(&[b'9'; 400])),
        ("record of zeros", broken_record(&[0; 40])),
    ];
    let ordinary = plain(vec![
        Member::file("etc/passwd", b"short"),
        Member::file("next", b"n"),
    ]);
    for (case, member) in cases {
        let tar = Archive::new(vec![member, Member::file("next", b"n")]).bytes();
        assert_not_unseen(case, diff(ordinary.clone(), tar));
    }
}

#[test]
fn names_and_links_that_lead_out_or_in_circles_are_told_and_followed_nowhere() {
    let file = |name: &str| Member::file(name, b"content");
    let cases: [(&str, Vec<Member>); 22] = [
        ("absolute", vec![file("/etc/passwd")]),
        ("parent", vec![file("../../../../etc/passwd")]),
        ("parent in the middle", vec![file("a/../../b")]),
        ("nothing", vec![file("")]),
        ("dot", vec![file(".")]),
        ("dots", vec![file("..")]),
        ("slashes", vec![file("///")]),
        (
            "symbolic links in a circle",
            vec![Member::link(b'2', "a", "b"), Member::link(b'2', "b", "a")],
        ),
        (
            "symbolic link to itself",
            vec![Member::link(b'2', "a", "a"), file("a/b")],
        ),
        (
            "file below a link that leads out",
            vec![Member::link(b'2', "a", "/tmp"), file("a/b")],
        ),
        (
            "hard links in a circle",
            vec![Member::link(b'1', "a", "b"), Member::link(b'1', "b", "a")],
        ),
        ("hard link to itself", vec![Member::link(b'1', "a", "a")]),
        (
            "hard link out",
            vec![Member::link(b'1', "a", "../../etc/shadow")],
        ),
        (
            "hard link to a directory",
            vec![Member::directory("d/"), Member::link(b'1', "a", "d")],
        ),
        ("hard link to the root", vec![Member::link(b'1', "a", "/")]),
        (
            "file below a file",
            vec![file("a"), file("a/b"), file("a/b/c")],
        ),
        (
            "directory over a file",
            vec![file("a"), Member::directory("a/"), file("a/b")],
        ),
        (
            "file over a directory",
            vec![Member::directory("a/"), file("a/b"), file("a")],
        ),
        ("whiteout of nothing", vec![file(".wh."), file("a/.wh.")]),
        (
            "whiteout of dots",
            vec![file(".wh.."), file(".wh..."), file("a/.wh...")],
        ),
        (
            "whiteout of a whiteout",
            vec![file(".wh..wh.a"), file(".wh..wh..wh..opq")],
        ),
        ("root that is a file", vec![Member::new(b'0', "./")]),
    ];
    let ordinary = plain(vec![file("passwd")]);
    for (case, members) in cases {
        let image = plain(members.clone());
        assert_not_unseen(case, diff(ordinary.clone(), image.clone()));
        // Beside itself there is nothing to find, whichever way the names lead.
        match diff(image.clone(), image) {
            Ok(same) => assert_eq!(verdicts(&same), [Verdict::Reproduced; 3], "{case}"),
            Err(text) => assert!(text.contains(&called(0)), "{case}: {text}"),
        }
        // As an upper layer it meets the files of another.
        let upper = Image::plain(vec![Layer::new(small()), Layer::new(members)]);
        let ordinary = Image::plain(vec![Layer::new(small()), Layer::new(vec![file("passwd")])]);
        match diff(ordinary, upper) {
            Ok(comparison) => {
                assert_eq!(verdicts(&comparison)[0], Verdict::NotReproduced, "{case}");
            }
            Err(text) => assert!(text.contains(&called(1)), "{case}: {text}"),
        }
    }
}

#[test]
fn names_as_deep_and_as_long_as_an_archive_can_have_them_are_read() {
    let deep = "d/".repeat(60_000) + "f";
    let long = "n".repeat(500_000);
    let record = |key: &str, value: &str| {
        let mut member = Member::file("short", b"content");
        member.extensions = extension(
            b'x',
            &pax_content(&[(key.to_owned(), value.as_bytes().to_vec())]),
        );
        member
    };
    for name in [&deep, &long] {
        let image = plain(vec![record("path", name)]);
        let mut other = image.clone();
        other.layers[0].archive.members[0].content[0] = b'C';
        match diff(image, other) {
            Ok(comparison) => {
                let places: Vec<String> = comparison
                    .differences
                    .iter()
                    .map(|found| found.location.to_string())
                    .collect();
                assert!(places == [format!("/{name}")], "{} places", places.len());
            }
            Err(text) => assert!(
                text.contains(&called(0)),
                "{}",
                &text[..200.min(text.len())]
            ),
        }
    }
}

#[test]
fn names_of_more_directories_than_memory_should_hold_are_refused() {
    let deep = |number: u64| Member::file(&format!("{number}/{}f", "a/".repeat(2000)), b"");
    let folder = tempfile::tempdir().unwrap();
    plain((0..100).map(deep).collect()).write(&folder.path().join("published"));
    plain(small()).write(&folder.path().join("rebuilt"));
    let said = support::said(support::reprove(folder.path()).args([
        "diff",
        "oci:published",
        "oci:rebuilt",
    ]));
    assert_eq!(said.status, Some(2), "{said:?}");
    assert!(
        said.stderr.contains(
            "cannot work out the file system of the published image: the layers up to 1 of 1 have files in directories that no entry makes"
        ),
        "{said:?}"
    );
}

#[test]
fn a_layer_of_more_or_fewer_bytes_than_its_descriptor_says_is_refused() {
    let mut image = plain(small());
    for change in [-1_i64, 1, 1 << 40] {
        let folder = tempfile::tempdir().unwrap();
        let mut written = image.seal();
        let size: i64 = json::at(&image.manifest, "/layers/0/size")
            .unwrap()
            .parse()
            .unwrap();
        let manifest = json::set(
            &image.manifest,
            "/layers/0/size",
            &(size + change).to_string(),
        );
        written.blobs[2] = (digest(manifest.as_bytes()), manifest.clone().into_bytes());
        written.index_json = named(&image.index, manifest.as_bytes());
        written.write(folder.path());
        let error = compared(Pair::new(folder.path(), folder.path()), None).unwrap_err();
        assert!(chain(&error).contains(&called(0)), "{}", chain(&error));
    }
}

#[test]
fn documents_that_nest_without_end_are_refused() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    for (document, pointer) in [("config", "/x"), ("manifest", "/x")] {
        let mut image = plain(small());
        image.seal();
        let text = if document == "config" {
            &mut image.config
        } else {
            &mut image.manifest
        };
        let start = text.find('{').unwrap() + 1;
        text.insert_str(start, &format!("\"{}\":{deep},", &pointer[1..]));
        // The editor of the tests would go as deep itself, so this is sealed by hand.
        let folder = tempfile::tempdir().unwrap();
        let mut written = plain(small()).seal();
        let clean = plain(small());
        let (config, manifest) = if document == "config" {
            let digest = format!("{:?}", digest(image.config.as_bytes()));
            let manifest = json::set(&clean.manifest, "/config/digest", &digest);
            let size = image.config.len().to_string();
            (
                image.config.clone(),
                json::set(&manifest, "/config/size", &size),
            )
        } else {
            (clean.config.clone(), image.manifest.clone())
        };
        written.blobs[1] = (digest(config.as_bytes()), config.into_bytes());
        written.index_json = named(&clean.index, manifest.as_bytes());
        written.blobs[2] = (digest(manifest.as_bytes()), manifest.into_bytes());
        written.write(folder.path());
        let error = compared(Pair::new(folder.path(), folder.path()), None).unwrap_err();
        assert!(chain(&error).contains(document), "{}", chain(&error));
    }
}

/// Names two folders with layouts to compare in a process of its own, which prints the most
/// memory that it needed.
const MEASURED: &str = "REPROVE_TEST_MEASURED";

/// Not a test by itself: the process that [`peak`] measures.
#[test]
fn measured() {
    let Some(folder) = env::var_os(MEASURED) else {
        return;
    };
    let folder = Path::new(&folder);
    let sides = Pair::new(folder.join("published"), folder.join("rebuilt"));
    let comparison = compared(sides.as_ref().map(|side| &**side), None).unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    println!("measured {} {}", comparison.differences.len(), peak.trim());
}

/// Compares the layouts `published` and `rebuilt` in a folder; returns how many differences
/// there are and the most memory that it took, in bytes.
fn peak(folder: &Path) -> (usize, u64) {
    let output = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "hostile::measured",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(MEASURED, folder)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, line) = text
        .lines()
        .find_map(|line| line.rsplit_once("measured "))
        .unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    let [differences, kilobytes, "kB"] = words[..] else {
        panic!("{line}")
    };
    (
        differences.parse().unwrap(),
        kilobytes.parse::<u64>().unwrap() * 1024,
    )
}

/// Returns what comparing two small images takes.
fn floor() -> u64 {
    let folder = tempfile::tempdir().unwrap();
    plain(small()).write(&folder.path().join("published"));
    plain(vec![Member::file("a", b"a")]).write(&folder.path().join("rebuilt"));
    peak(folder.path()).1
}

fn has_proc() -> bool {
    let there = Path::new("/proc/self/status").exists();
    if !there {
        support::skip("there is no /proc to read peak memory from");
    }
    there
}

#[test]
fn a_layer_that_inflates_a_thousandfold_takes_no_more_memory_than_a_small_one() {
    const ZEROS: usize = 16 << 20;
    const TIMES: u64 = 64;
    if !has_proc() {
        return;
    }
    // A gigabyte of zeros as many gzip members, so that it is quickly made.
    let size = ZEROS as u64 * TIMES;
    let mut member = Member::file("zeros", b"");
    member.set(SIZE, size);
    let zeros = vec![0; ZEROS];
    let packed = gzip(&zeros, 9);
    let mut blob = gzip(&member.header, 9);
    let mut hasher = Hasher::default();
    hasher.update(&member.header);
    for _ in 0..TIMES {
        blob.extend_from_slice(&packed);
        hasher.update(&zeros);
    }
    let end = [0; 2 * BLOCK];
    blob.extend(gzip(&end, 9));
    hasher.update(&end);
    assert!((blob.len() as u64) < size / 900, "{} bytes", blob.len());

    let folder = tempfile::tempdir().unwrap();
    let mut layer = Layer::new(Vec::new());
    layer.blob = Some(blob);
    let diff_id: Digest = hasher.finish();
    let written = Image::plain(vec![layer]).seal_with(&[diff_id.to_string()]);
    written.write(&folder.path().join("published"));
    plain(small()).write(&folder.path().join("rebuilt"));
    let (differences, bytes) = peak(folder.path());
    assert!(differences > 0);
    let floor = floor();
    eprintln!("{size} bytes of zeros: {bytes} bytes of memory, {floor} for a small image");
    assert!(bytes < floor + (8 << 20), "{bytes} bytes against {floor}");
}

/// How many entries the large images have; `REPROVE_TEST_ENTRIES` says otherwise.
const ENTRIES: u64 = 100_000;

/// The most bytes an entry of one side may take, its path of some 35 bytes included.
const BYTES_PER_ENTRY: u64 = 400;

#[test]
fn a_large_number_of_entries_takes_a_few_hundred_bytes_each() {
    if !has_proc() {
        return;
    }
    let entries = env::var("REPROVE_TEST_ENTRIES").map_or(ENTRIES, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    for (side, changed) in [("published", u64::MAX), ("rebuilt", entries / 2)] {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(1));
        let mut hasher = Hasher::default();
        let mut member = Member::directory("x");
        for number in 0..entries {
            // One directory for every hundred empty files.
            let name = match number % 100 {
                0 => format!("usr/share/folder-{:08}/", number / 100),
                _ => format!("usr/share/folder-{:08}/file-{number:08}", number / 100),
            };
            member.header[..100].fill(0);
            member.header[..name.len()].copy_from_slice(name.as_bytes());
            member.set_flag(if number % 100 == 0 { b'5' } else { b'0' });
            member.set(MODE, 0o755);
            member.set(MTIME, if number == changed { 1 } else { 2 });
            encoder.write_all(&member.header).unwrap();
            hasher.update(&member.header);
        }
        let end = [0; 2 * BLOCK];
        encoder.write_all(&end).unwrap();
        hasher.update(&end);
        let mut layer = Layer::new(Vec::new());
        layer.blob = Some(encoder.finish().unwrap());
        let diff_id: Digest = hasher.finish();
        Image::plain(vec![layer])
            .seal_with(&[diff_id.to_string()])
            .write(&folder.path().join(side));
    }
    let (differences, bytes) = peak(folder.path());
    assert_eq!(differences, 1);
    let floor = floor();
    let each = bytes.saturating_sub(floor) / (2 * entries);
    eprintln!("2 x {entries} entries: {bytes} bytes of memory, {each} each above {floor}");
    assert!(each < BYTES_PER_ENTRY, "{each} bytes an entry");
}
