//! What holds of all formats, and what each of them shows.

use proptest::prelude::*;

use super::{
    pieces::places,
    testing::{ar, cpio, elf, gzip, note, pyc, seeds, tar, zip},
    *,
};

fn shown(published: &[u8], rebuilt: &[u8]) -> (String, Vec<String>) {
    let content = content(b"", Pair::new(published, rebuilt), &mut Limits::default());
    let places = places(&content);
    (content.format, places)
}

#[test]
fn each_format_shows_what_differs_in_its_own_words() {
    type Case = (
        &'static str,
        Vec<u8>,
        Vec<u8>,
        &'static str,
        &'static [&'static str],
    );
    let cases: [Case; 16] = [
        (
            "tar time and content",
            tar(&[("a", 1, b"x"), ("b", 1, b"one\n")]),
            tar(&[("a", 2, b"x"), ("b", 1, b"two\n")]),
            "tar",
            &["member a: mtime: 1 | 2", "member b > text hunk 1"],
        ),
        (
            "tar members",
            tar(&[("a", 1, b"x"), ("b", 1, b"y"), ("d", 1, b"")]),
            tar(&[("c", 1, b"z"), ("b", 1, b"y"), ("a", 1, b"x")]),
            "tar",
            &[
                "member c: - | 1 bytes",
                "member d: 0 bytes | -",
                "order of members: a, b | b, a",
            ],
        ),
        (
            "a tar's end",
            tar(&[("a", 1, b"x")]),
            [tar(&[("a", 1, b"x")]), vec![0; 512]].concat(),
            "tar",
            &["after the last member > data offset 0x400"],
        ),
        (
            "ar time",
            ar(&[("a.o", 1, b"x"), ("b.o", 1, b"y")]),
            ar(&[("a.o", 2, b"x"), ("b.o", 1, b"y")]),
            "ar",
            &["member a.o: mtime: 1 | 2"],
        ),
        (
            "cpio time",
            cpio(&[("a", 1, b"x")]),
            cpio(&[("a", 2, b"x")]),
            "cpio",
            &["member a: mtime: 1 | 2"],
        ),
        (
            "gzip header",
            gzip(b"text", 1, Some("a")),
            gzip(b"text", 2, None),
            "gzip",
            &[
                "member stream: name: a | -",
                "member stream: mtime: 1 | 2",
                "member stream: flags: 0x08 | 0x00",
            ],
        ),
        (
            "inside of inside",
            gzip(&tar(&[("a.gz", 1, &gzip(b"1\n", 0, None))]), 0, None),
            gzip(&tar(&[("a.gz", 1, &gzip(b"2\n", 0, None))]), 0, None),
            "gzip",
            &["member stream > tar member a.gz > gzip member stream > text hunk 1"],
        ),
        (
            "zstd",
            zstd::encode_all(&b"1\n"[..], 1).unwrap(),
            zstd::encode_all(&b"2\n"[..], 1).unwrap(),
            "zstd",
            &["inflated > text hunk 1"],
        ),
        (
            "zip time",
            zip(&[("a", 0x5865_5183, b"x")]),
            zip(&[("a", 0x5865_5184, b"x")]),
            "zip",
            &[
                "member a: mtime: 2024-03-05 10:12:06 | 2024-03-05 10:12:08",
                "member a: extra field 0x5455: 0183516558 | 0184516558",
            ],
        ),
        (
            "zip content and order",
            zip(&[("a", 0, b"1\n"), ("b", 0, b"x")]),
            zip(&[("b", 0, b"x"), ("a", 0, b"2\n")]),
            "zip",
            &["member a > text hunk 1", "order of members: a, b | b, a"],
        ),
        (
            "pyc",
            pyc(1, b"x\0"),
            pyc(2, b"y\0"),
            "pyc",
            &["mtime: 1 | 2", "member code > data offset 0x1"],
        ),
        (
            "ELF",
            elf(&[
                (".note.gnu.build-id", 2, &note(b"aaaaaaaaaaaaaaaaaaaa")),
                (".text", 6, b"\x90\xff\0"),
                (".one", 0, b""),
            ]),
            elf(&[
                (".note.gnu.build-id", 2, &note(b"baaaaaaaaaaaaaaaaaaa")),
                (".text", 6, b"\x90\xfe\0"),
                (".two", 0, b""),
            ]),
            "elf",
            &[
                "section .note.gnu.build-id: 040000001400000003000000474e55006161616161616161616161616161616161616161 | 040000001400000003000000474e55006261616161616161616161616161616161616161",
                "section .text > data offset 0x1",
                "section .one: 0 bytes | -",
                "section .two: - | 0 bytes",
                "section .shstrtab > data offset 0x1b",
            ],
        ),
        (
            "JSON",
            b"{\"a\": [1, 2], \"b\": null}".to_vec(),
            b"{\"a\": [1, 3], \"b\": null}".to_vec(),
            "json",
            &["/a/1: 2 | 3"],
        ),
        (
            "JSON, written in another way",
            b"{\"a\": 1}".to_vec(),
            b"{\"a\":1}".to_vec(),
            "json",
            &[
                "serialisation: the same values in 8 bytes | the same values in 7 bytes",
                "offset 0x5",
            ],
        ),
        (
            "JSON with a key given twice",
            b"{\"a\": 1, \"a\": 2}".to_vec(),
            b"{\"a\": 3, \"a\": 2}".to_vec(),
            "text",
            &["hunk 1"],
        ),
        (
            "a little of both",
            b"text".to_vec(),
            b"\0".to_vec(),
            "data",
            &["offset 0x0"],
        ),
    ];
    for (case, published, rebuilt, format, places) in cases {
        let found = shown(&published, &rebuilt);
        assert_eq!(
            (found.0.as_str(), found.1),
            (
                format,
                places.iter().map(|&place| place.to_owned()).collect()
            ),
            "{case}"
        );
    }
}

fn swapped(content: Content) -> Content {
    let parts = content.parts.into_iter().map(|part| Part {
        change: match part.change {
            Change::Value { published, rebuilt } => Change::Value {
                published: rebuilt,
                rebuilt: published,
            },
            Change::Bytes {
                offset,
                length,
                hex,
                before,
                after,
                entropy,
            } => Change::Bytes {
                offset: offset.swapped(),
                length: length.swapped(),
                hex: hex.swapped(),
                before,
                after,
                entropy: entropy.swapped(),
            },
            // Which line comes first is told apart by its side; their order is the other one's.
            Change::Lines { from, mut lines } => {
                for line in &mut lines {
                    line.on = match line.on {
                        On::Both => On::Both,
                        On::Published => On::Rebuilt,
                        On::Rebuilt => On::Published,
                    };
                }
                Change::Lines {
                    from: from.swapped(),
                    lines: sorted(lines),
                }
            }
            Change::Inside { content } => Change::Inside {
                content: swapped(content),
            },
        },
        ..part
    });
    Content {
        parts: parts.collect(),
        ..content
    }
}

/// Puts the published lines of each stretch before the rebuilt ones.
fn sorted(mut lines: Vec<Line>) -> Vec<Line> {
    for stretch in lines.split_mut(|line| line.on == On::Both) {
        stretch.sort_by_key(|line| line.on == On::Rebuilt);
    }
    lines
}

fn count(content: &Content) -> usize {
    let inside = |part: &Part| match &part.change {
        Change::Inside { content } => 1 + count(content),
        Change::Value { .. } | Change::Lines { .. } | Change::Bytes { .. } => 1,
    };
    content.parts.iter().map(inside).sum()
}

fn holds(published: &[u8], rebuilt: &[u8]) {
    let sides = Pair::new(published, rebuilt);
    let small = Limits {
        depth: 3,
        parts: 12,
        bytes: 1 << 20,
    };
    for limits in [Limits::default(), small] {
        let mut left = limits;
        let found = content(b"", sides, &mut left);
        assert_eq!(
            found.parts.is_empty() && found.left_out == 0,
            sides.is_equal()
        );
        assert!(count(&found) <= limits.parts && left.depth == limits.depth);
        assert_eq!(count(&found), limits.parts - left.parts);
        let other = content(b"", sides.swapped(), &mut { limits });
        assert_eq!(swapped(other), found);
    }
}

proptest! {
    #[test]
    fn any_bytes_can_be_compared(
        published in prop::collection::vec(any::<u8>(), 0..300),
        rebuilt in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        holds(&published, &rebuilt);
    }

    #[test]
    fn any_damage_to_a_file_can_be_compared(
        seed in prop::sample::select(seeds()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut other = seed.clone();
        for (at, byte) in changes {
            let at = at.index(other.len());
            other[at] = byte;
        }
        if let Some(cut) = cut {
            other.truncate(cut.index(seed.len()));
        }
        holds(&seed, &other);
    }

    #[test]
    fn lines_in_any_order_can_be_compared(
        published in prop::collection::vec("[abc]{0,2}\n", 0..40),
        rebuilt in prop::collection::vec("[abc]{0,2}\n", 0..40),
    ) {
        holds(published.concat().as_bytes(), rebuilt.concat().as_bytes());
    }
}

#[test]
fn what_grows_without_end_is_cut_off() {
    let zeros = vec![0; 8 << 20];
    let mut bomb = gzip(&zeros, 0, None);
    let mut other = gzip(&[&zeros[..], b"1"].concat(), 0, None);
    for _ in 0..8 {
        bomb = gzip(&bomb, 0, None);
        other = gzip(&other, 0, None);
    }
    let sides = Pair::new(&*bomb, &*other);
    let mut limits = Limits {
        bytes: 1 << 20,
        ..Limits::default()
    };
    assert!(count(&content(b"", sides, &mut limits)) > 1);

    let zipped = |last: &[u8]| {
        let many: Vec<_> = (0..40).map(|name| name.to_string()).collect();
        let content = [&zeros[..], last].concat();
        let members: Vec<_> = many.iter().map(|name| (&**name, 0, &*content)).collect();
        zip(&members)
    };
    let (bomb, other) = (zipped(b"1"), zipped(b"2"));
    let mut limits = Limits {
        bytes: 1 << 20,
        ..Limits::default()
    };
    let found = content(b"", Pair::new(&bomb, &other), &mut limits);
    assert_eq!((found.format.as_str(), limits.bytes), ("zip", 0));
    assert!(found.left_out > 0);
}
