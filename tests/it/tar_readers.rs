//! Tars as Go's `archive/tar` reads them, which is what Docker, containerd and Podman
//! unpack: where it reads one to its end our entries are the same, and where it refuses
//! one we fail or say that something is odd.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use reprove::{
    image::{Entry, EntryKind, Layer, Oddity, Timestamp, layer::scan_reader},
    progress::Silent,
};
use serde::Deserialize;

use crate::{
    changes::{
        archive::{Archive, BLOCK, Member},
        random::Random,
    },
    rebuild::{has_program, run},
    support,
};

/// Prints what each archive named on a line of the input is, a JSON document a line.
///
/// Names and values are in hex: JSON has no bytes that are not UTF-8.
const PROGRAM: &str = r#"package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"time"
)

const largest = 1 << 28

type stamp struct {
	Seconds     int64  `json:"seconds"`
	Nanoseconds uint32 `json:"nanoseconds"`
}

type entry struct {
	Name    string            `json:"name"`
	Flag    byte              `json:"flag"`
	Mode    int64             `json:"mode"`
	Uid     int               `json:"uid"`
	Gid     int               `json:"gid"`
	Uname   string            `json:"uname"`
	Gname   string            `json:"gname"`
	Size    int64             `json:"size"`
	Mtime   stamp             `json:"mtime"`
	Atime   *stamp            `json:"atime"`
	Ctime   *stamp            `json:"ctime"`
	Link    string            `json:"link"`
	Major   int64             `json:"major"`
	Minor   int64             `json:"minor"`
	Pax     map[string]string `json:"pax"`
	Content string            `json:"content"`
}

type archive struct {
	Entries []entry `json:"entries"`
	Error   string  `json:"error"`
	Large   bool    `json:"large"`
}

func text(s string) string { return hex.EncodeToString([]byte(s)) }

func at(t time.Time) stamp { return stamp{t.Unix(), uint32(t.Nanosecond())} }

func maybe(t time.Time) *stamp {
	if t.IsZero() {
		return nil
	}
	s := at(t)
	return &s
}

func read(name string) (a archive) {
	a.Entries = []entry{}
	b, err := os.ReadFile(name)
	if err != nil {
		a.Error = err.Error()
		return
	}
	r := tar.NewReader(bytes.NewReader(b))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			a.Error = err.Error()
			return
		}
		if h.Size > largest {
			a.Large = true
		}
		sum := sha256.New()
		if !a.Large {
			if _, err := io.Copy(sum, r); err != nil {
				a.Error = err.Error()
				return
			}
		}
		pax := map[string]string{}
		for k, v := range h.PAXRecords {
			pax[text(k)] = text(v)
		}
		a.Entries = append(a.Entries, entry{
			text(h.Name), h.Typeflag, h.Mode, h.Uid, h.Gid, text(h.Uname), text(h.Gname), h.Size,
			at(h.ModTime), maybe(h.AccessTime), maybe(h.ChangeTime), text(h.Linkname),
			h.Devmajor, h.Devminor, pax, hex.EncodeToString(sum.Sum(nil)),
		})
	}
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	out := bufio.NewWriter(os.Stdout)
	for in.Scan() {
		b, _ := json.Marshal(read(in.Text()))
		out.Write(append(b, '\n'))
	}
	out.Flush()
}
"#;

/// An archive as Go reads it.
#[derive(Debug, Deserialize)]
struct GoArchive {
    entries: Vec<GoEntry>,
    error: String,
    /// A sparse file in it is too large to be hashed in a test.
    large: bool,
}

/// An entry as Go reads it; or as it would read what ours says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct GoEntry {
    name: String,
    flag: u8,
    mode: i64,
    uid: i64,
    gid: i64,
    uname: String,
    gname: String,
    size: i64,
    mtime: Time,
    atime: Option<Time>,
    ctime: Option<Time>,
    link: String,
    major: i64,
    minor: i64,
    pax: BTreeMap<String, String>,
    content: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
struct Time {
    seconds: i64,
    nanoseconds: u32,
}

impl From<Timestamp> for Time {
    fn from(time: Timestamp) -> Self {
        Self {
            seconds: time.seconds,
            nanoseconds: time.nanoseconds,
        }
    }
}

/// An archive to read, and what to call it when readers disagree.
struct Input {
    name: String,
    bytes: Vec<u8>,
}

impl Input {
    fn new(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        let name = name.into();
        Self { name, bytes }
    }
}

/// Compiles the program; `None` and a skip where there is no Go.
fn compiled(folder: &Path) -> Option<PathBuf> {
    if !has_program("go") {
        return None;
    }
    let source = folder.join("main.go");
    let program = folder.join("read-tar");
    fs::write(&source, PROGRAM).unwrap();
    run(Command::new("go")
        .args(["build", "-o"])
        .args([&program, &source])
        .env("HOME", folder)
        .env("GO111MODULE", "off"));
    Some(program)
}

/// Returns what Go makes of the archives.
fn go(program: &Path, folder: &Path, inputs: &[Input]) -> Vec<GoArchive> {
    let mut lines = String::new();
    for (number, input) in inputs.iter().enumerate() {
        let file = folder.join(format!("{number}.tar"));
        fs::write(&file, &input.bytes).unwrap();
        lines.push_str(file.to_str().unwrap());
        lines.push('\n');
    }
    let list = folder.join("list");
    fs::write(&list, lines).unwrap();
    let output = Command::new(program)
        .stdin(Stdio::from(fs::File::open(list).unwrap()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    output
        .stdout
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

/// What we refuse and Go reads, by what we say, each with the reason.
const REFUSED_HERE: &[(&str, &str)] = &[(
    "a name is longer than the 4096 bytes that Linux takes",
    "nothing unpacks it",
)];

/// The PAX records whose values are fields of an entry.
const IN_FIELDS: [&str; 10] = [
    "path", "linkpath", "size", "uid", "gid", "uname", "gname", "mtime", "atime", "ctime",
];

/// The PAX records of a sparse file, whose map and content are compared.
const OF_SPARSE: [&str; 7] = [
    "GNU.sparse.map",
    "GNU.sparse.offset",
    "GNU.sparse.numbytes",
    "GNU.sparse.numblocks",
    "GNU.sparse.name",
    "GNU.sparse.size",
    "GNU.sparse.realsize",
];

/// Returns our entry as Go would say it.
///
/// What ours does not have, since the entry's type has no use for it, is taken
/// from Go's where an oddity says that something is there.
fn as_go(entry: &Entry, go: &GoEntry) -> GoEntry {
    let details = entry.details.clone().unwrap_or_default();
    let odd = |field: &str| {
        let field = Oddity::UnreadableField(field.as_bytes().into());
        details.oddities.contains(&field)
    };
    let unused = details.oddities.contains(&Oddity::HeaderPadding);
    let name = entry.raw_name();
    let name = hex::encode(name.as_deref().unwrap_or(entry.path.as_bytes()));
    let mut link = if unused {
        go.link.clone()
    } else {
        String::new()
    };
    let (mut major, mut minor) = if unused { (go.major, go.minor) } else { (0, 0) };
    let mut content = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(b""));
    let mut size = details
        .oddities
        .iter()
        .find_map(|oddity| match oddity {
            Oddity::IgnoredSize(size) => Some(i64::try_from(*size).unwrap()),
            _ => None,
        })
        .unwrap_or_default();
    if odd("size") {
        size = go.size;
    }
    let flag = match &entry.kind {
        EntryKind::File {
            size: bytes,
            content: digest,
        } => {
            size = i64::try_from(*bytes).unwrap();
            content = digest.hex();
            if details.oddities.contains(&Oddity::UnknownType(b'S')) {
                b'S'
            } else {
                b'0'
            }
        }
        EntryKind::Other {
            flag,
            size: bytes,
            content: digest,
        } => {
            size = i64::try_from(*bytes).unwrap();
            content = digest.hex();
            *flag
        }
        EntryKind::HardLink { target } => {
            let written = entry.raw_target();
            link = hex::encode(written.as_deref().unwrap_or(target.as_bytes()));
            b'1'
        }
        EntryKind::Symlink { target } => {
            link = hex::encode(target);
            b'2'
        }
        EntryKind::CharDevice {
            major: one,
            minor: two,
        }
        | EntryKind::BlockDevice {
            major: one,
            minor: two,
        } => {
            (major, minor) = ((*one).into(), (*two).into());
            if odd("devmajor") {
                major = go.major;
            }
            if odd("devminor") {
                minor = go.minor;
            }
            match entry.kind {
                EntryKind::CharDevice { .. } => b'3',
                _ => b'4',
            }
        }
        EntryKind::Directory => b'5',
        EntryKind::Fifo => b'6',
    };
    let mut pax: BTreeMap<String, String> = details
        .pax
        .iter()
        .map(|(key, value)| (hex::encode(key), hex::encode(value)))
        .collect();
    for (name, value) in &details.xattrs {
        let key = [b"SCHILY.xattr.", &**name].concat();
        pax.insert(hex::encode(key), hex::encode(value));
    }
    // What is in another field of ours, where its value was compared.
    let is_elsewhere = |key: &str| {
        IN_FIELDS.iter().any(|field| key == hex::encode(field))
            || (entry.kind.size() > 0 && OF_SPARSE.iter().any(|field| key == hex::encode(field)))
    };
    let applied = go.pax.iter().filter(|(key, _)| is_elsewhere(key));
    for (key, value) in applied {
        pax.entry(key.clone()).or_insert_with(|| value.clone());
    }
    GoEntry {
        name,
        flag,
        mode: if odd("mode") {
            go.mode
        } else {
            entry.mode.into()
        },
        uid: entry.uid,
        gid: entry.gid,
        uname: hex::encode(&details.uname),
        gname: hex::encode(&details.gname),
        size,
        mtime: entry.mtime.into(),
        atime: details.atime.map(Time::from),
        ctime: details.ctime.map(Time::from),
        link,
        major,
        minor,
        pax,
        content,
    }
}

/// Returns an entry's name without the slash behind a directory's, which ours keeps nowhere.
fn plain(mut entry: GoEntry) -> GoEntry {
    if entry.flag == b'5'
        && let Some(name) = entry.name.strip_suffix("2f")
        && name.len() % 2 == 0
    {
        entry.name = name.to_owned();
    }
    entry
}

/// Returns what is wrong, if anything is.
fn judged(go: &GoArchive, bytes: &[u8]) -> Result<(), String> {
    if go.large {
        // Both would hash for minutes.
        return Ok(());
    }
    let ours = scan_reader(bytes, "layer 1", &Silent);
    let layer = match (ours, go.error.as_str()) {
        (Ok(layer), "") => layer,
        (Ok(layer), error) => {
            return if is_odd(&layer) {
                Ok(())
            } else {
                Err(format!("Go says {error:?}, and we nothing"))
            };
        }
        (Err(_), error) if !error.is_empty() => return Ok(()),
        (Err(error), _) => {
            let mut text = error.to_string();
            if let Some(source) = std::error::Error::source(&error) {
                text = format!("{text}: {source}");
            }
            let known = REFUSED_HERE
                .iter()
                .any(|(problem, _)| text.contains(problem));
            return if known {
                Ok(())
            } else {
                Err(format!("Go reads it, and we say {text}"))
            };
        }
    };
    // A global header is an entry to Go, and an oddity of the next here.
    let (globals, entries): (Vec<&GoEntry>, Vec<&GoEntry>) =
        go.entries.iter().partition(|entry| entry.flag == b'g');
    let oddities = layer
        .entries
        .iter()
        .flat_map(Entry::oddities)
        .chain(&layer.oddities);
    let said: BTreeSet<&Oddity> = oddities
        .filter(|oddity| matches!(oddity, Oddity::GlobalPax(_)))
        .collect();
    if said.is_empty() != globals.is_empty() {
        return Err(format!(
            "{} global headers, and we say {said:?}",
            globals.len()
        ));
    }
    if entries.len() != layer.entries.len() {
        return Err(format!(
            "Go has {} entries, and we {}",
            entries.len(),
            layer.entries.len()
        ));
    }
    for (go, ours) in entries.into_iter().zip(&layer.entries) {
        let seen = plain(as_go(ours, go));
        let go = plain(go.clone());
        if seen != go {
            return Err(format!("Go has\n{go:?}\nand we\n{seen:?}\nof {ours:?}"));
        }
    }
    Ok(())
}

/// Returns whether anything at all is said to be odd.
fn is_odd(layer: &Layer) -> bool {
    !layer.oddities.is_empty()
        || layer
            .entries
            .iter()
            .any(|entry| !entry.oddities().is_empty())
}

/// Reads all with both; panics with every disagreement.
#[track_caller]
fn assert_agree(inputs: &[Input]) {
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = compiled(folder.path()) else {
        return;
    };
    let read = go(&program, folder.path(), inputs);
    assert_eq!(read.len(), inputs.len());
    let wrong: Vec<String> = read
        .iter()
        .zip(inputs)
        .filter_map(|(go, input)| {
            let problem = judged(go, &input.bytes).err()?;
            Some(format!("{}: {problem}", input.name))
        })
        .collect();
    let refused = read.iter().filter(|go| !go.error.is_empty()).count();
    let large = read.iter().filter(|go| go.large).count();
    eprintln!(
        "{} archives; Go refuses {refused}, and {large} are too large to hash",
        inputs.len()
    );
    assert!(
        wrong.is_empty(),
        "{} disagreements:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn gos_own_test_archives_are_read_as_go_reads_them() {
    if !has_program("go") {
        return;
    }
    let root = run(Command::new("go")
        .args(["env", "GOROOT"])
        .env("HOME", "/nonexistent"));
    let folder = Path::new(root.trim()).join("src/archive/tar/testdata");
    let Ok(files) = fs::read_dir(&folder) else {
        support::skip("Go is installed without its test data");
        return;
    };
    let mut inputs: Vec<Input> = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "tar"))
        .map(|path| {
            let name = String::from_utf8_lossy(path.file_name().unwrap().as_bytes());
            Input::new(name, fs::read(&path).unwrap())
        })
        .collect();
    inputs.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    assert!(inputs.len() > 20, "{} archives", inputs.len());
    assert_agree(&inputs);
}

#[test]
fn what_is_refused_here_alone_is_in_the_table() {
    let name = "n".repeat(5000);
    let member = Member::file("f", b"").with_pax(&[("path", name.as_bytes())]);
    let bytes = Archive::new(vec![member]).bytes();
    let error = scan_reader(&bytes[..], "layer 1", &Silent).unwrap_err();
    assert!(error.to_string().contains(REFUSED_HERE[0].0), "{error}");
    assert_agree(&[Input::new("a long name", bytes)]);
}

/// Makes a folder with everything that a tar can hold, as far as this machine lets us.
fn tree(folder: &Path) {
    let long = "n".repeat(120);
    let deep = folder.join("deep").join(&long).join(&long).join(&long);
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("file"), "deep").unwrap();
    fs::write(folder.join("empty"), "").unwrap();
    fs::write(folder.join("two-blocks"), [b'x'; 600]).unwrap();
    fs::write(
        folder.join(std::ffi::OsStr::from_bytes(b"not-utf8-\xff\xfe")),
        "1",
    )
    .unwrap();
    fs::write(folder.join("\u{e9}t\u{e9}"), "2").unwrap();
    fs::hard_link(folder.join("two-blocks"), folder.join("z-hard-link")).unwrap();
    fs::hard_link(deep.join("file"), folder.join("z-long-hard-link")).unwrap();
    std::os::unix::fs::symlink("empty", folder.join("link")).unwrap();
    std::os::unix::fs::symlink(format!("{long}/{long}"), folder.join("long-link")).unwrap();
    run(Command::new("mkfifo").arg(folder.join("pipe")));
    // Data, a hole, data, and a hole at the end, in more pieces than an old header holds.
    let sparse = fs::File::create(folder.join("sparse")).unwrap();
    for piece in 0..30 {
        std::os::unix::fs::FileExt::write_all_at(&sparse, &[b's'; 4096], piece * 65_536).unwrap();
    }
    sparse.set_len(3 << 20).unwrap();
    for (kind, name) in [("c", "char"), ("b", "block")] {
        let made = Command::new("mknod")
            .arg(folder.join(name))
            .args([kind, "7", "300"])
            .output();
        if !made.is_ok_and(|output| output.status.success()) {
            support::skip("no devices can be made here");
        }
    }
    let flags = rustix::fs::XattrFlags::empty();
    let set = rustix::fs::setxattr(
        folder.join("two-blocks"),
        "user.some",
        b"value\0\xff",
        flags,
    );
    if set.is_err() {
        support::skip("no extended attributes can be set here");
    }
}

/// Returns what GNU tar makes of the tree; it may leave out what the format cannot hold.
fn gnu_tar(folder: &Path, arguments: &str) -> Vec<u8> {
    let output = Command::new("tar")
        .args(["--create", "--sort=name", "--file=-", "--directory"])
        .arg(folder)
        .args(arguments.split(' '))
        .arg(".")
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .output()
        .unwrap();
    assert!(output.stdout.len() > 10_240, "{arguments}: {output:?}");
    output.stdout
}

/// How GNU tar is called.
const WRITERS: [&str; 14] = [
    "--format=v7",
    "--format=ustar",
    "--format=oldgnu",
    "--format=oldgnu --sparse",
    "--format=gnu --owner=some:3000000 --group=other:4000000",
    "--format=gnu --sparse --mtime=@-5",
    "--format=gnu --mtime=@99999999999",
    "--format=gnu --incremental",
    "--format=posix",
    "--format=posix --xattrs --mtime=@1.123456789",
    "--format=posix --sparse --sparse-version=0.0",
    "--format=posix --sparse --sparse-version=0.1",
    "--format=posix --sparse --sparse-version=1.0",
    "--format=posix --pax-option=globexthdr.name=g,comment=all,mtime:=1",
];

#[test]
fn what_gnu_tar_writes_in_each_format_is_read_as_go_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    tree(folder.path());
    let inputs: Vec<Input> = WRITERS
        .iter()
        .map(|writer| Input::new(*writer, gnu_tar(folder.path(), writer)))
        .collect();
    assert_agree(&inputs);
}

/// How many changed archives are made of each.
const MUTANTS: usize = 150;

/// What stands in a number's field now and then.
const NUMBERS: [&[u8]; 10] = [
    b"none",
    b"8",
    b"-1",
    b"\x80\0\0\0\0\0\0\x01",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
    b"7777777\0",
    b"0\0hidden",
    b" 17 \0\0\0\0",
    b"0x1\0",
];

/// Where numbers stand: extension headers have them too.
const FIELDS: [usize; 10] = [100, 108, 116, 124, 136, 329, 337, 345, 357, 483];

/// GNU's, that of POSIX, and none.
const MAGICS: [&[u8; 8]; 3] = [b"ustar  \0", b"ustar\x0000", b"\0\0\0\0\0\0\0\0"];

/// Returns a block with the right checksum for a header.
fn summed(block: &[u8]) -> [u8; BLOCK] {
    let mut member = Member::new(b'0', "");
    member.header.copy_from_slice(block);
    member.sum();
    member.header
}

/// Changes an archive in a place or two, and puts right the checksums of its headers.
fn mutant(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let headers: Vec<usize> = (0..seed.len())
        .step_by(BLOCK)
        .filter(|&start| seed[start..start + BLOCK] == summed(&seed[start..start + BLOCK]))
        .collect();
    let mut bytes = seed.to_vec();
    let mut end = None;
    for _ in 0..=random.below(2) {
        let header = *random.pick(&headers).unwrap();
        match random.below(8) {
            0 | 1 => {
                let place = header + *random.pick(&FIELDS).unwrap();
                let number = random.pick(&NUMBERS).unwrap();
                bytes[place..place + number.len()].copy_from_slice(number);
            }
            2 => bytes[header + random.below(BLOCK)] ^= 1 << random.below(8),
            3 => bytes[header + 156] = *random.pick(b"\x000123456789xgLKSVD").unwrap(),
            4 => {
                let magic = random.pick(&MAGICS).unwrap();
                bytes[header + 257..header + 265].copy_from_slice(*magic);
            }
            // Often in a PAX record, or in a map.
            5 => {
                let place = header + random.below((bytes.len() - header).min(3 * BLOCK));
                bytes[place] = *random.pick(b"\0 =0129.,-\n/\xff").unwrap();
            }
            6 => {
                let from = *random.pick(&headers).unwrap();
                let block = seed[from..from + BLOCK].to_vec();
                bytes.splice(header..header, block);
            }
            _ => end = Some(header + random.below(2 * BLOCK)),
        }
    }
    for start in headers {
        if let Some(block) = bytes.get_mut(start..start + BLOCK) {
            let header = summed(block);
            block.copy_from_slice(&header);
        }
    }
    bytes.truncate(end.unwrap_or(bytes.len()));
    bytes
}

#[test]
fn changed_archives_are_read_as_go_reads_them_or_said_to_be_odd() {
    let folder = tempfile::tempdir().unwrap();
    let long = "n".repeat(120);
    fs::create_dir(folder.path().join("folder")).unwrap();
    fs::write(folder.path().join("folder/file"), "content").unwrap();
    fs::write(folder.path().join(&long), "long").unwrap();
    fs::hard_link(
        folder.path().join("folder/file"),
        folder.path().join("hard"),
    )
    .unwrap();
    std::os::unix::fs::symlink(format!("{long}/{long}"), folder.path().join("link")).unwrap();
    run(Command::new("mkfifo").arg(folder.path().join("pipe")));
    let sparse = fs::File::create(folder.path().join("sparse")).unwrap();
    for piece in 0..6 {
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"s", piece * 8192).unwrap();
    }
    sparse.set_len(1 << 16).unwrap();
    let device = Member::new(b'3', "device");
    let seeds: Vec<Vec<u8>> = WRITERS
        .iter()
        .map(|writer| {
            let writer = format!("{writer} --blocking-factor=1");
            let mut archive = gnu_tar(folder.path(), &writer);
            let devices = Archive::new(vec![device.clone()]).bytes();
            archive.splice(0..0, devices[..BLOCK].to_vec());
            archive
        })
        .collect();
    let mut random = Random::new(11);
    let mut inputs = Vec::new();
    for (seed, writer) in seeds.iter().zip(WRITERS) {
        for number in 0..MUTANTS {
            inputs.push(Input::new(
                format!("{writer} {number}"),
                mutant(seed, &mut random),
            ));
        }
    }
    assert_agree(&inputs);
}
