//! Our tar writer against Go's, on names, owners, times and links that need every form of header.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};
use reprove::dialect::{
    TarDialect,
    tar::{FileType, Member, MemberKind, TarWriter},
};

use super::has_program;

/// Writes headers as Docker and containerd have Go write them: fields in hex, one member a line.
const PROGRAM: &str = r#"package main

import (
	"archive/tar"
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<26)
	out := bufio.NewWriter(os.Stdout)
	w := tar.NewWriter(out)
	for in.Scan() {
		f := strings.Split(in.Text(), " ")
		text := func(i int) string { b, _ := hex.DecodeString(f[i]); return string(b) }
		num := func(i int) int64 { n, _ := strconv.ParseInt(f[i], 10, 64); return n }
		content := text(9)
		h := &tar.Header{
			Typeflag: f[0][0], Name: text(1), Linkname: text(2), Mode: num(3),
			Uid: int(num(4)), Gid: int(num(5)), ModTime: time.Unix(num(6), 0),
			Devmajor: num(7), Devminor: num(8), Size: int64(len(content)), Format: tar.FormatPAX,
		}
		if f[10] != "-" {
			h.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": text(10)}
		}
		if err := w.WriteHeader(h); err != nil {
			fmt.Fprintln(os.Stderr, err, f)
			os.Exit(1)
		}
		w.Write([]byte(content))
	}
	w.Close()
	out.Flush()
}
"#;

#[derive(Debug, Clone)]
struct Case {
    path: Vec<u8>,
    kind: u8,
    link: Vec<u8>,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: i64,
    device: (u32, u32),
    content: Vec<u8>,
    capability: Option<Vec<u8>>,
}

impl Case {
    fn member(&self) -> Member<'_> {
        let (kind, file_type) = match self.kind {
            b'0' => {
                let size = self.content.len() as u64;
                (MemberKind::File { size }, FileType::File)
            }
            b'1' => (MemberKind::HardLink { target: &self.link }, FileType::File),
            b'2' => (
                MemberKind::Symlink { target: &self.link },
                FileType::Symlink,
            ),
            b'3' => (MemberKind::CharDevice, FileType::CharDevice),
            b'4' => (MemberKind::BlockDevice, FileType::BlockDevice),
            b'5' => (MemberKind::Directory, FileType::Directory),
            _ => (MemberKind::Fifo, FileType::Fifo),
        };
        Member {
            path: &self.path,
            kind,
            file_type,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            mtime: self.mtime,
            device: self.device,
            capability: self.capability.as_deref(),
        }
    }

    /// The line that the Go program reads.
    fn line(&self, dialect: TarDialect) -> String {
        let type_bits = match (dialect, self.kind) {
            (TarDialect::BuildKit | TarDialect::BuildKitOfficial, _) => 0,
            (_, b'0' | b'1') => 0o100_000,
            (_, b'2') => 0o120_000,
            (_, b'3') => 0o020_000,
            (_, b'4') => 0o060_000,
            (_, b'5') => 0o040_000,
            (_, _) => 0o010_000,
        };
        let mut name = self.path.clone();
        if self.kind == b'5' {
            name.push(b'/');
        }
        let linked = matches!(self.kind, b'1' | b'2');
        let link = if linked { &self.link[..] } else { b"" };
        let content = if self.kind == b'0' {
            &self.content[..]
        } else {
            b""
        };
        format!(
            "{} {} {} {} {} {} {} {} {} {} {}",
            char::from(self.kind),
            hex::encode(name),
            hex::encode(link),
            self.mode | type_bits,
            self.uid,
            self.gid,
            self.mtime,
            self.device.0,
            self.device.1,
            hex::encode(content),
            self.capability.as_ref().map_or("-".to_owned(), hex::encode),
        )
    }
}

/// Paths of every length around the limits of ustar, some with bytes that are not ASCII.
fn path() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        8 => "[a-z.+-]{1,120}".prop_map(String::into_bytes),
        1 => "[a-zé☺]{1,60}".prop_map(String::into_bytes),
        1 => vec(0x80_u8..=0xff, 1..10),
    ];
    let name = name.prop_map(|mut name: Vec<u8>| {
        // `.` and `..` are no names.
        if name.iter().all(|&byte| byte == b'.') {
            name.push(b'n');
        }
        name
    });
    vec(name, 1..6).prop_map(|names| names.join(&b'/'))
}

fn case() -> impl Strategy<Value = Case> {
    let id = prop_oneof![Just(0), 0..3_000_000_u32, any::<u32>()];
    let time = prop_oneof![
        Just(0),
        0..2_000_000_000_i64,
        Just(8_589_934_591),
        8_589_934_592..9_223_372_036_i64
    ];
    (
        (
            path(),
            0..7_u8,
            path(),
            0..0o10_000_u32,
            id.clone(),
            id,
            time,
        ),
        (0..0o7_777_777_u32, 0..0o7_777_777_u32),
        vec(any::<u8>(), 0..1500),
        proptest::option::weighted(0.2, vec(any::<u8>(), 1..40)),
    )
        .prop_map(
            |((path, kind, link, mode, uid, gid, mtime), device, content, capability)| {
                let kind = b'0' + kind;
                Case {
                    path,
                    kind,
                    link,
                    mode,
                    uid,
                    gid,
                    mtime,
                    device: if matches!(kind, b'3' | b'4') {
                        device
                    } else {
                        (0, 0)
                    },
                    content,
                    capability,
                }
            },
        )
}

#[test]
fn tars_are_what_go_writes() {
    if !has_program("go") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("main.go");
    let program = folder.path().join("go-tar");
    fs::write(&source, PROGRAM).unwrap();
    super::run(
        Command::new("go")
            .args(["build", "-o"])
            .args([&program, &source])
            .env("HOME", folder.path())
            .env("GO111MODULE", "off"),
    );
    let mut runner = TestRunner::new(Config {
        cases: 40,
        ..Config::default()
    });
    let result = runner.run(&vec(case(), 1..60), |cases| {
        for dialect in TarDialect::ALL {
            let mut lines = String::new();
            let mut ours = TarWriter::new(Vec::new(), dialect);
            for case in &cases {
                writeln!(lines, "{}", case.line(dialect)).unwrap();
                ours.member(&case.member(), case.content.as_slice())
                    .unwrap();
            }
            let ours = ours.finish().unwrap();
            let mut child = Command::new(&program)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut input = child.stdin.take().unwrap();
            let writing = std::thread::spawn(move || input.write_all(lines.as_bytes()));
            let output = child.wait_with_output().unwrap();
            writing.join().unwrap().unwrap();
            prop_assert!(output.status.success());
            let differs = ours
                .iter()
                .zip(&output.stdout)
                .position(|(ours, go)| ours != go);
            prop_assert_eq!(differs, None, "{}", dialect);
            prop_assert_eq!(ours.len(), output.stdout.len());
        }
        Ok(())
    });
    result.unwrap();
}
