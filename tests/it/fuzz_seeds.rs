//! The fuzz targets on seeds that are changed at random: a little of what libFuzzer does,
//! in every run. `REPROVE_FUZZ_RUNS` says how many inputs each gets.

#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "this is a library to the fuzz targets")]
mod targets;

#[path = "../../src/compare/content/testing.rs"]
pub(crate) mod content;

#[path = "../../src/inventory/testing.rs"]
#[expect(dead_code, reason = "tests beside the code use more of it")]
mod database;

use std::{env, fs, panic, path::Path};

use reprove::pair::Pair;

use crate::changes::{
    archive::{Archive, Member, extension},
    image::{self, gzip},
    random::Random,
};

/// How many inputs each target gets where the environment does not say.
const RUNS: usize = 1500;

/// Calls the target with the seeds, and with what random changes make of them.
fn feed(target: fn(&[u8]), seeds: &[Vec<u8>], words: &[&[u8]]) {
    let runs = env::var("REPROVE_FUZZ_RUNS").map_or(RUNS, |text| text.parse().unwrap());
    for seed in seeds {
        target(seed);
    }
    let mut random = Random::new(7);
    let mut input = Vec::new();
    for run in 0..runs {
        if run % 4 == 0 {
            input.clone_from(random.pick(seeds).unwrap());
        }
        change(&mut input, seeds, words, &mut random);
        if panic::catch_unwind(|| target(&input)).is_err() {
            let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("input-{run}"));
            fs::write(&file, &input).unwrap();
            panic!(
                "run {run} breaks what must hold; its input is {}",
                file.display()
            );
        }
    }
}

fn change(input: &mut Vec<u8>, seeds: &[Vec<u8>], words: &[&[u8]], random: &mut Random) {
    for _ in 0..=random.below(3) {
        let place = random.below(input.len() + 1);
        let end = place + random.below(input.len() - place + 1).min(600);
        match random.below(7) {
            0 if place < input.len() => input[place] ^= 1 << random.below(8),
            1 if place < input.len() => {
                input[place] = *random.pick(b"\0\xff 0917=/\"{}[]:\\\n").unwrap();
            }
            2 => input.truncate(place),
            3 => drop(input.drain(place..end)),
            4 => {
                let copy = input[place..end].to_vec();
                let to = random.below(input.len() + 1);
                input.splice(to..to, copy);
            }
            5 => {
                let other = random.pick(seeds).unwrap();
                let from = random.below(other.len() + 1);
                let piece = &other[from..other.len().min(from + random.below(700))];
                input.splice(place..place, piece.iter().copied());
            }
            _ => {
                let word = random.pick(words).unwrap();
                input.splice(place..end.min(place + word.len()), word.iter().copied());
            }
        }
        input.truncate(64 << 10);
    }
}

/// Whole headers, each with its right checksum, are too rare to come about by chance.
fn with_right_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for block in bytes.chunks_exact_mut(512) {
        if block[257..262] == *b"ustar" {
            let mut member = Member::new(b'0', "");
            member.header.copy_from_slice(block);
            member.sum();
            block.copy_from_slice(&member.header);
        }
    }
    bytes
}

#[test]
fn what_must_hold_of_tars_holds() {
    let synthetic = image::synthetic();
    let mut seeds: Vec<Vec<u8>> = synthetic
        .layers
        .iter()
        .map(|layer| layer.archive.bytes())
        .collect();
    let small = Archive::new(vec![
        Member::file("a", b"content"),
        Member::link(b'1', "b", "a"),
    ]);
    seeds.push(small.bytes());
    let mut gnu = Member::file("short", b"1");
    gnu.extensions = [extension(b'L', &[b'n'; 200]), extension(b'K', b"link\0")].concat();
    seeds.push(Archive::new(vec![gnu]).bytes());
    let words: [&[u8]; 14] = [
        b"ustar  \0",
        b"ustar\x0000",
        b"77777777777\0",
        b"\x80\0\0\0\xff",
        b"\xff\xff\xff\xff",
        b"path=",
        b"size=",
        b"SCHILY.xattr.",
        b"GNU.sparse.map=",
        b"../../",
        b".wh.",
        b".wh..wh..opq",
        b"18 size=99999999\n",
        b"\x1f\x8b\x08\0",
    ];
    feed(
        |bytes| targets::tar(&with_right_checksums(bytes)),
        &seeds,
        &words,
    );
    let packed: Vec<Vec<u8>> = seeds
        .iter()
        .flat_map(|tar| [gzip(tar, 1), zstd::encode_all(&**tar, 3).unwrap()])
        .collect();
    feed(targets::tar, &packed, &words);
}

#[test]
fn what_must_hold_of_contents_holds() {
    let files = content::seeds();
    let mut seeds = Vec::new();
    for file in &files {
        for other in [file, files.last().unwrap()] {
            let length = u16::try_from(file.len()).unwrap().to_le_bytes();
            seeds.push([&length[..], file, other].concat());
        }
    }
    let words: [&[u8]; 16] = [
        b"\x1f\x8b\x08\0",
        b"PK\x03\x04",
        b"PK\x01\x02",
        b"PK\x05\x06",
        b"\x7fELF\x02\x01",
        b"!<arch>\n",
        b"070701",
        b"TRAILER!!!",
        b"\xff\xff\xff\xff",
        b"\x28\xb5\x2f\xfd",
        b"\xfd7zXZ\0",
        b"BZh91AY&SY",
        b"#1/20",
        b"2024-03-05",
        b"/build/one/",
        b"\xff\xfe",
    ];
    feed(targets::content, &seeds, &words);
}

/// Returns two files at a place of `targets::SYSTEM` as one input.
fn at_place(path: &str, published: &[u8], rebuilt: &[u8]) -> Vec<u8> {
    let number = targets::SYSTEM.iter().position(|other| *other == path);
    let number = u8::try_from(number.unwrap()).unwrap();
    let length = u16::try_from(published.len()).unwrap().to_le_bytes();
    [&[number], &length[..], published, rebuilt].concat()
}

/// The stanzas of two packages, as dpkg and as apk write them.
const STANZAS: [&[u8]; 2] = [
    b"Package: a\nStatus: install ok installed\nArchitecture: all\nVersion: 1\nConffiles:\n \
      /etc/a 0123456789abcdef0123456789abcdef\n\nPackage: b\nStatus: deinstall ok config-files\n\n",
    b"C:Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=\nP:a\nV:1\nA:x86_64\nF:etc\nR:a\n\
      Z:Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\nP:b\nV:2\n\n",
];

#[test]
fn what_must_hold_of_a_systems_files_holds() {
    let known = crate::fat::known();
    let mut seeds: Vec<Vec<u8>> = known
        .iter()
        .filter(|file| targets::SYSTEM.contains(&file.path))
        .map(|file| at_place(file.path, &file.published, &file.rebuilt))
        .collect();
    assert!(seeds.len() > 8, "most known causes are of such files");
    let certificate = b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let texts: [(&str, &[u8], &[u8]); 8] = [
        ("etc/gshadow", b"root:*::\n", b"root:!::a,b\n"),
        ("etc/subuid", b"a:1:2\n", b"a:1:65536\n"),
        ("var/lib/dpkg/status", STANZAS[0], b"Package: a\n\n"),
        ("lib/apk/db/installed", STANZAS[1], b"P:a\n\n"),
        (
            "etc/ssl/certs/ca-certificates.crt",
            certificate,
            &certificate.repeat(2),
        ),
        ("etc/machine-id", b"uninitialized\n", b""),
        (
            "var/lib/rpm/rpmdb.sqlite",
            b"SQLite format 3\0\x02\0\x01\x01\0\x40\x20\x20",
            b"SQLite format 3\0",
        ),
        (
            "var/lib/apt/extended_states",
            b"Package: a\nAuto-Installed: 1\n\n",
            b"Package: b\n\n",
        ),
    ];
    for (path, published, rebuilt) in texts {
        seeds.push(at_place(path, published, rebuilt));
    }
    let words: [&[u8]; 16] = [
        b":0:0:",
        b"root:",
        b"\n\n",
        b"Package: ",
        b"Conffiles:\n ",
        b"Q1",
        b"\xfe\xed\xfe\xed\0\0\0\x02",
        b"\0\0\0\x02",
        b"X.509",
        b"glibc-ld.so.cache1.1",
        b"-----BEGIN CERTIFICATE-----\n",
        b"-----END CERTIFICATE-----\n",
        b"ssh-ed25519 ",
        b"2026-11-26 01:35:24 ",
        b"SQLite format 3\0",
        b"\xff\xff\xff\xff",
    ];
    feed(targets::system, &seeds, &words);
}

#[test]
fn what_must_hold_of_package_databases_holds() {
    let mut seeds: Vec<Vec<u8>> = database::seeds()
        .into_iter()
        .filter_map(|(path, bytes)| targets::database(path, &bytes))
        .collect();
    assert!(seeds.len() > 7, "a format has no seed");
    let texts: [(&str, &[u8]); 4] = [
        ("var/lib/dpkg/status", STANZAS[0]),
        ("var/lib/dpkg/status.d/a", STANZAS[0]),
        (
            "var/lib/dpkg/info/a.md5sums",
            b"d41d8cd98f00b204e9800998ecf8427e  usr/bin/a\n",
        ),
        ("lib/apk/db/installed", STANZAS[1]),
    ];
    for (path, bytes) in texts {
        seeds.push(targets::database(path, bytes).unwrap());
    }
    let words: [&[u8]; 18] = [
        b"Package: a\n",
        b"Status: install ok installed\n",
        b"\n\n",
        b"\n ",
        b"/usr/bin/a",
        b"../",
        b"F:",
        b"R:",
        b"Z:Q1",
        b"\0\0\x03\xe8\0\0\0\x06",
        b"\x8e\xad\xe8\x01",
        b"\xff\xff\xff\xff",
        b"\0\0\0\x01",
        b"\x01\0\0\0",
        b"\0\x02",
        b"\x0d",
        b"Slot",
        b"BlbS",
    ];
    feed(targets::inventory, &seeds, &words);
}

#[test]
fn what_must_hold_of_saved_reports_holds() {
    let folder = tempfile::tempdir().unwrap();
    let file = |content: &[u8]| image::Layer::new(vec![Member::file("var/log/dpkg.log", content)]);
    let mut sides = [
        &b"2026-11-26 01:36:24 startup archives install\n"[..],
        b"2026-11-26 01:37:24 startup archives install\n",
        b"$(id)\n",
    ]
    .map(|content| image::Image::plain(vec![file(content)]));
    let paths = ["one", "later", "evil"].map(|name| folder.path().join(name));
    for (image, path) in sides.iter_mut().zip(&paths) {
        image.write(path);
    }
    let seeds: Vec<Vec<u8>> = paths[1..]
        .iter()
        .map(|other| {
            let report = crate::fat::report(Pair::new(&*paths[0], &**other), folder.path());
            serde_json::to_vec(&report).unwrap()
        })
        .collect();
    let words: [&[u8]; 14] = [
        b"null",
        b"-1",
        b"18446744073709551615",
        b"9223372036854775807",
        b"\"\"",
        b"[]",
        b"{}",
        b"\\u001b[2J",
        b"</script><b>",
        b"\\u202e",
        b"\"cause\":null",
        b"\"risks\":[\"setuid\"]",
        b"{\"waived\":7}",
        b"\"reproduced\"",
    ];
    feed(targets::report, &seeds, &words);
}

#[test]
fn what_must_hold_of_policies_holds() {
    let head = "schema = 1\nname = \"ours\"\nrules = \"standard\"\n";
    let waiver = |place: &str| {
        format!("[[waiver]]\n{place}\nreason = \"r\"\nowner = \"o\"\nexpires = \"2027-01-31\"\n")
    };
    let seeds = [
        format!(
            "{head}{}{}",
            waiver("paths = \"/**\"\nattribute = \"content\"\ncause = \"dpkg-log\""),
            waiver("location = \"layer 0\"\nattribute = \"bytes\"\npublished = 1\nrebuilt = 2"),
        ),
        format!(
            "{head}[require]\nsources = [\"https://git.example/a\"]\npins = \"recorded\"\n\
             freshness = \"fresh\"\nstale-waivers = \"refused\"\n[require.origin]\n\
             built = {{ at-least = 50.5 }}\nopaque = {{ at-most = 0 }}\n"
        ),
        head.replace("standard", "ignore-times"),
    ];
    for seed in &seeds {
        reprove::verdict::Policy::parse(seed, "seed").unwrap();
    }
    let seeds: Vec<Vec<u8>> = seeds.map(String::into_bytes).to_vec();
    let words: [&[u8]; 14] = [
        b"bit-for-bit",
        b"ignore-times",
        b"\"/etc/**\"",
        b"\"[\"",
        b"\"{a,b\"",
        b"\"**/**\"",
        b"\"xattr\"\ndetail = \"user.a\"",
        b"\"mtime\"",
        b"2026-11-25",
        b"9999-99-99",
        b"1e400",
        b"nan",
        b"-0.0",
        b"[[waiver]]\n",
    ];
    feed(targets::policy, &seeds, &words);
}

#[test]
fn what_must_hold_of_image_json_holds() {
    let made = image::synthetic();
    let real = [made.index, made.manifest, made.config].map(String::into_bytes);
    let documents = targets::documents().into_iter().zip(0..);
    let seeds: Vec<Vec<u8>> = documents
        .chain(real.into_iter().zip(0..))
        .map(|(document, kind)| [&[kind], &*document].concat())
        .collect();
    let words: [&[u8]; 14] = [
        b"null",
        b"true",
        b"-1",
        b"1e400",
        b"18446744073709551616",
        b"\"\"",
        b"[]",
        b"{}",
        b"\\u0000",
        b"\\ud800",
        b"\"layers\":",
        b"\"manifests\":",
        b"\"data\":\"AAAA\",",
        b"\"platform\":{\"os\":\"linux\"},",
    ];
    feed(targets::image_json, &seeds, &words);
}

#[test]
fn what_must_hold_of_recipes_holds() {
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
    let mut seeds = Vec::new();
    for entry in fs::read_dir(recipes).unwrap() {
        if let Ok(text) = fs::read(entry.unwrap().path().join("recipe.toml")) {
            seeds.push(text);
        }
    }
    assert!(!seeds.is_empty());
    let words: [&[u8]; 14] = [
        b"schema = 2",
        b"[build]",
        b"[[tag]]",
        b"[platforms]",
        b"kind = \"scratch\"",
        b"{arch}",
        b"{}",
        b"{{",
        b"\"\"\"",
        b"= [",
        b"../",
        b"/",
        b"source-date-epoch = \"commit\"",
        b"1979-05-27",
    ];
    feed(targets::recipe, &seeds, &words);
}

#[test]
fn what_must_hold_of_locks_holds() {
    let text = include_str!("../../recipes/README.md");
    let (_, seed) = text.split_once("```toml recipe.lock\n").unwrap();
    let (seed, _) = seed.split_once("```").unwrap();
    let seeds = [seed.as_bytes().to_vec(), b"schema = 1\n".to_vec()];
    let words: [&[u8]; 12] = [
        b"files = [\n",
        b"[platforms.\"linux/arm64/v8\"]\n",
        b"\"recorded\"",
        b"\"upstream-signature\"",
        b"\"from-image\"",
        b", expired = \"accepted\"",
        b", signed_by = [",
        b"\\u0000",
        b"\\\"",
        b"\"\"",
        b"9223372036854775807",
        b"\xc2\x85",
    ];
    feed(targets::lock, &seeds, &words);
}

#[test]
fn what_must_hold_of_dockerfiles_holds() {
    let seeds = [
        "FROM scratch\nADD alpine-minirootfs-3.20.3-x86_64.tar.gz /\nCMD [\"/bin/sh\"]\n",
        "# syntax=docker/dockerfile:1\n# escape=`\nARG A=b\nFROM scratch AS x\nCOPY --chown=1:2 --chmod=0755 [\"a b\", \"/c/\"]\nENV A=\"b c\" D=e\\ f\nENV old style\n",
        "FROM scratch\nCOPY <<EOF <<-\"OTHER\" /dir/\nhello $A\nEOF\n\ttext\n\tOTHER\nLABEL a=b \"c d\"='e'\nEXPOSE 80 90/udp\nVOLUME [\"/data\"]\n",
        "FROM scratch\nHEALTHCHECK --interval=5m --timeout=3s --retries=3 CMD [\"x\"]\nHEALTHCHECK NONE\nONBUILD RUN x\nSHELL [\"/bin/sh\", \"-c\"]\nSTOPSIGNAL 9\nUSER a:b\nWORKDIR /x\nMAINTAINER me\nENTRYPOINT x \\\n  y \\\n# comment\n  z\n",
    ];
    let seeds: Vec<Vec<u8>> = seeds.iter().map(|text| text.as_bytes().to_vec()).collect();
    let words: [&[u8]; 14] = [
        b"\\\n",
        b"`\n",
        b"<<EOF",
        b"<<'EOF'",
        b"EOF\n",
        b"${A:-b}",
        b"${A:?",
        b"$",
        b"--from=",
        b"[\"",
        b"\"]",
        b"\xef\xbb\xbf",
        b"\r\n",
        b"\nONBUILD ONBUILD ",
    ];
    feed(targets::dockerfile, &seeds, &words);
}

#[test]
fn what_must_hold_of_names_holds() {
    let digest = "sha256:7a3ebe5bfd1a4a19797d20b0c0bb39d44393e9a03fd852c0865b0f540d868df0";
    let seeds = [
        "busybox",
        "docker://localhost:5000/a/b:1",
        "oci:dir:tag",
        "oci:/a b/c:d/e:1.0",
        "oci-archive:file.tar:1",
        "docker-archive:file:library/busybox:1",
        "listing:golden/listing.txt",
        "[::1]:5000/a",
        "linux/arm64/v8",
        digest,
        &format!("quay.io/a/b:1@{digest}"),
        &format!("oci:d:t@{digest}"),
    ];
    let seeds: Vec<Vec<u8>> = seeds.iter().map(|text| text.as_bytes().to_vec()).collect();
    let words: [&[u8]; 12] = [
        b"oci:",
        b"docker://",
        b":",
        b"@",
        b"@sha256:",
        b"//",
        b"docker.io/",
        b"library/",
        b"latest",
        b"A",
        "\u{e9}".as_bytes(),
        b"\0",
    ];
    feed(targets::reference, &seeds, &words);
}
