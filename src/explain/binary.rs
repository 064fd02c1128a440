//! Causes in programs: ids, dates and paths that the build puts into them.
//!
//! Both files must be equally long, and equal in every byte outside of the
//! strings that the cause accounts for. Where sections lie is read from headers
//! that are themselves among the equal bytes, and no such string may lie in
//! code or over another part of the file.

use std::ops::Range;

use super::{
    Cause, File, Recogniser, Recognition, Root,
    dates::{self, Only, same},
};
use crate::{
    compare::content::elf::{self, Access, Layout},
    image::entry::Printable,
    pair::Pair,
};

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        id: "elf-buildid",
        root: Root::Machine,
        title: "the program's build id differs and nothing else of it",
        advice: "the id is a hash of the program before it was stripped: build with -ffile-prefix-map, or with --build-id=none",
        recognise: Recogniser::File(build_id),
    },
    Cause {
        id: "date-macro",
        root: Root::Clock,
        title: "the compiler put the time of the build in",
        advice: "set SOURCE_DATE_EPOCH, or compile with -Werror=date-time",
        recognise: Recogniser::File(date_macro),
    },
    Cause {
        id: "buildpath",
        root: Root::Machine,
        title: "the path of the build was put in",
        advice: "build at the same path, or with -ffile-prefix-map or -trimpath",
        recognise: Recogniser::File(build_path),
    },
    Cause {
        id: "go-buildinfo",
        root: Root::Clock,
        title: "Go recorded the time of the commit that it was built from",
        advice: "build with -trimpath -buildvcs=false",
        recognise: Recogniser::File(go_time),
    },
];

/// Where builds are done, and nothing is installed.
const BUILD_ROOTS: [&str; 14] = [
    "/build/",
    "/builds/",
    "/tmp/",
    "/var/tmp/",
    "/home/",
    "/root/",
    "/usr/src/",
    "/usr/local/src/",
    "/src/",
    "/workspace/",
    "/github/workspace/",
    "/__w/",
    "/var/lib/jenkins/",
    "/var/lib/buildkite-agent/",
];

/// The longest path that is looked at, in bytes (Linux: `PATH_MAX`).
const LONGEST_PATH: usize = 4096;

/// A file in which strings of a kind may differ.
struct Program<'a> {
    sides: Pair<&'a [u8]>,
    /// `None` if it is text.
    layout: Option<Layout<'a>>,
    /// Where build ids lie, in order.
    ids: Vec<Range<usize>>,
}

impl<'a> Program<'a> {
    /// Reads an ELF file of the same length on both sides.
    fn elf(file: &File<'a>) -> Option<Self> {
        let sides = file.bytes;
        if !sides.map(<[u8]>::len).is_equal() {
            return None;
        }
        let layout = elf::layout(sides.published)?;
        let mut ids: Vec<_> = layout
            .sections
            .iter()
            .filter_map(|section| ids_in(section, sides))
            .filter(|range| layout.alone(range))
            .collect();
        ids.sort_unstable_by_key(|range| range.start);
        ids.dedup();
        Some(Self {
            sides,
            layout: Some(layout),
            ids,
        })
    }

    /// Takes two texts.
    fn text(file: &File<'a>) -> Option<Self> {
        let is_text = file.bytes.map(|bytes| !bytes.contains(&0));
        (is_text == Pair::new(true, true)).then_some(Self {
            sides: file.bytes,
            layout: None,
            ids: Vec::new(),
        })
    }

    /// Returns both sides with the ids of the rebuilt one in both.
    fn without_ids(&self) -> Pair<std::borrow::Cow<'a, [u8]>> {
        let differs = |range: &&Range<usize>| {
            self.sides.published[(*range).clone()] != self.sides.rebuilt[(*range).clone()]
        };
        let mut published = std::borrow::Cow::Borrowed(self.sides.published);
        for range in self.ids.iter().filter(differs) {
            let id = &self.sides.rebuilt[range.clone()];
            published.to_mut()[range.clone()].copy_from_slice(id);
        }
        Pair::new(published, self.sides.rebuilt.into())
    }

    /// Returns whether a string may lie here: in text anywhere, else in a section of data.
    fn may_hold(&self, range: &Range<usize>) -> bool {
        let Some(layout) = &self.layout else {
            return true;
        };
        layout.alone(range)
            && layout.sections.iter().any(|section| {
                section.access != Access::Code
                    && section.range.start <= range.start
                    && range.end <= section.range.end
                    && !is_structure(section.name)
            })
    }
}

impl Layout<'_> {
    /// Returns whether a range lies over no header, and over no more than one section.
    fn alone(&self, range: &Range<usize>) -> bool {
        let over = |other: &&Range<usize>| other.start < range.end && range.start < other.end;
        let sections = self.sections.iter().map(|section| &section.range);
        self.headers.iter().filter(over).count() == 0 && sections.filter(over).count() <= 1
    }
}

/// Returns whether a section tells the loader where things are.
fn is_structure(name: &[u8]) -> bool {
    [
        &b".dynamic"[..],
        b".dynsym",
        b".dynstr",
        b".symtab",
        b".strtab",
        b".shstrtab",
        b".interp",
        b".got",
        b".got.plt",
        b".init_array",
        b".fini_array",
    ]
    .contains(&name)
        || name.starts_with(b".rel")
        || name.starts_with(b".gnu.version")
}

/// Returns where a section holds an id, if it is such a section on both sides.
fn ids_in(section: &elf::Section<'_>, sides: Pair<&[u8]>) -> Option<Range<usize>> {
    let bytes = sides.map(|side| &side[section.range.clone()]);
    let start = section.range.start;
    match section.name {
        b".note.gnu.build-id" => {
            let note = |bytes: &[u8]| note_id(bytes, *b"GNU\0", 3);
            (bytes.map(note) == Pair::new(true, true)).then_some(start + 16..section.range.end)
        }
        b".note.go.buildid" => {
            let id = |bytes: &[u8]| {
                note_id(bytes, *b"Go\0\0", 4)
                    && bytes[16..].iter().all(|byte| {
                        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/' | 0)
                    })
            };
            (bytes.map(id) == Pair::new(true, true)).then_some(start + 16..section.range.end)
        }
        // A file's name, zeros, and the checksum of that file; the name must be the same.
        b".gnu_debuglink" => section
            .range
            .end
            .checked_sub(4)
            .filter(|&sum| sum > start)
            .map(|sum| sum..section.range.end),
        _ => None,
    }
}

/// Returns whether a section is one note of this name and type, and how long it says its id is.
fn note_id(bytes: &[u8], name: [u8; 4], kind: u32) -> bool {
    let Some((header, id)) = bytes.split_at_checked(16) else {
        return false;
    };
    let words = |of: fn([u8; 4]) -> u32| {
        let mut words = header
            .chunks_exact(4)
            .map(|word| of([word[0], word[1], word[2], word[3]]));
        let [name_size, id_size, kind_word] =
            std::array::from_fn(|_| words.next().unwrap_or_default());
        name_size == 4
            && usize::try_from(id_size).is_ok_and(|size| size.next_multiple_of(4) == id.len())
            && kind_word == kind
    };
    header[12..] == name
        && (8..=128).contains(&id.len())
        && (words(u32::from_le_bytes) || words(u32::from_be_bytes))
}

fn build_id(file: &File<'_>) -> Recognition {
    let Some(program) = Program::elf(file) else {
        return Recognition::Elsewhere;
    };
    let without = program.without_ids();
    let sides = without.as_ref().map(|side| &**side);
    if sides.is_equal() {
        return Recognition::Explained(
            "all headers and all other sections are equal byte by byte".into(),
        );
    }
    if *sides.published == *program.sides.published {
        // No id differs.
        return Recognition::Elsewhere;
    }
    let at = same(sides);
    Recognition::Refused(format!("besides the build id, the bytes at {at:#x} differ").into())
}

/// Returns what is added to the evidence of a cause that the id may differ beside.
fn beside_ids(program: &Program<'_>, sides: Pair<&[u8]>) -> &'static str {
    if *sides.published == *program.sides.published {
        ""
    } else {
        ", and in the build id that follows from them"
    }
}

fn date_macro(file: &File<'_>) -> Recognition {
    let Some(program) = Program::elf(file).or_else(|| Program::text(file)) else {
        return Recognition::Elsewhere;
    };
    let without = program.without_ids();
    let sides = without.as_ref().map(|side| &**side);
    let only = dates::only_dates(sides, dates::COMPILER, |range| {
        range.is_equal() && program.may_hold(&range.published)
    });
    match only {
        Only::Dates(dates) if dates.is_empty() => Recognition::Elsewhere,
        Only::Dates(dates) => Recognition::Explained(
            format!(
                "the files differ in {} strings in the form of __DATE__ or __TIME__, the first of them {} in the published file{}; what the program says of itself differs",
                dates.len(),
                first_date(sides.published, &dates),
                beside_ids(&program, sides),
            )
            .into(),
        ),
        Only::More { dates: 0, .. } => Recognition::Elsewhere,
        Only::More { dates, at } => Recognition::Refused(Only::refusal(dates, at)),
    }
}

/// Quotes the first of some dates, which lie where the offsets say.
fn first_date(bytes: &[u8], dates: &[usize]) -> String {
    let date = dates.first().and_then(|&at| {
        let bytes = bytes.get(at..)?;
        let length = dates::COMPILER.iter().find_map(|shape| shape(bytes))?;
        bytes.get(..length)
    });
    format!("“{}”", Printable(date.unwrap_or_default()))
}

fn go_time(file: &File<'_>) -> Recognition {
    const KEY: &[u8] = b"vcs.time=";
    /// RFC 3339 in UTC, as `go build` writes it.
    const LENGTH: usize = "2006-01-02T15:04:05Z".len();
    let Some(program) = Program::elf(file) else {
        return Recognition::Elsewhere;
    };
    let is_go = |section: &elf::Section<'_>| section.name == b".go.buildinfo";
    if !program
        .layout
        .as_ref()
        .is_some_and(|layout| layout.sections.iter().any(is_go))
    {
        return Recognition::Elsewhere;
    }
    let without = program.without_ids();
    let sides = without.as_ref().map(|side| &**side);
    let only = dates::only_dates(sides, dates::DOCUMENT, |range| {
        range.is_equal()
            && range.published.len() == LENGTH
            && sides.published[..range.published.start].ends_with(KEY)
            && program.may_hold(&range.published)
    });
    match only {
        Only::Dates(dates) if dates.is_empty() => Recognition::Elsewhere,
        Only::Dates(dates) => Recognition::Explained(
            format!(
                "the files differ in vcs.time, at {} places{}; the revision is the same",
                dates.len(),
                beside_ids(&program, sides),
            )
            .into(),
        ),
        Only::More { dates: 0, .. } => Recognition::Elsewhere,
        Only::More { dates, at } => Recognition::Refused(
            format!("besides vcs.time at {dates} places, the bytes at {at:#x} differ").into(),
        ),
    }
}

fn build_path(file: &File<'_>) -> Recognition {
    let Some(program) = Program::elf(file).or_else(|| Program::text(file)) else {
        return Recognition::Elsewhere;
    };
    let without = program.without_ids();
    let sides = without.as_ref().map(|side| &**side);
    let mut at = Pair::new(0, 0);
    let mut prefixes: Option<Pair<&[u8]>> = None;
    let mut count = 0;
    loop {
        let rest = Pair::new(
            &sides.published[at.published..],
            &sides.rebuilt[at.rebuilt..],
        );
        let same = same(rest);
        if rest.map(|rest| rest.len() == same) == Pair::new(true, true) {
            break;
        }
        let here = at.map(|at| at + same);
        let found = path_around(sides, here, same).filter(|(range, prefix)| {
            prefixes.is_none_or(|prefixes| prefixes == *prefix)
                && (program.layout.is_none() || range.is_equal())
                && program.may_hold(&range.published)
        });
        let Some((range, prefix)) = found else {
            if count == 0 {
                return Recognition::Elsewhere;
            }
            return Recognition::Refused(
                format!(
                    "besides {count} paths, the bytes at {:#x} differ",
                    here.published
                )
                .into(),
            );
        };
        prefixes = Some(prefix);
        count += 1;
        at = range.map(|range| range.end);
    }
    let Some(prefixes) = prefixes else {
        return Recognition::Elsewhere;
    };
    // In a script the path may be one that is run.
    if program.layout.is_none() && sides.published.starts_with(b"#!") {
        return Recognition::Refused("it is a script, which may run what lies there".into());
    }
    let [published, rebuilt] = [prefixes.published, prefixes.rebuilt].map(Printable);
    Recognition::Explained(
        format!(
            "the files differ in {count} paths, where one has {published} and the other {rebuilt}{}",
            beside_ids(&program, sides),
        )
        .into(),
    )
}

/// Where paths lie, and how they begin.
type Paths<'a> = (Pair<Range<usize>>, Pair<&'a [u8]>);

/// Returns the paths of a build that the first bytes which differ are in, and how they begin.
///
/// `before` says how many bytes before `at` are equal.
fn path_around(sides: Pair<&[u8]>, at: Pair<usize>, before: usize) -> Option<Paths<'_>> {
    let is_path = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+~@%".contains(byte);
    let back = sides.published[..at.published]
        .iter()
        .rev()
        .take(before.min(LONGEST_PATH))
        .take_while(|byte| is_path(byte))
        .count();
    // The run may begin with an option, as in `-I/build/include`.
    let run = &sides.published[at.published - back..at.published];
    let slash = run.iter().position(|&byte| byte == b'/')?;
    if slash > 0 && !run.starts_with(b"-") {
        return None;
    }
    let path = |bytes: &[u8], at: usize| {
        let start = at - back + slash;
        let length = bytes[start..]
            .iter()
            .take(LONGEST_PATH)
            .take_while(|byte| is_path(byte))
            .count();
        start..start + length
    };
    let range = Pair::new(
        path(sides.published, at.published),
        path(sides.rebuilt, at.rebuilt),
    );
    let paths = Pair::new(
        &sides.published[range.published.clone()],
        &sides.rebuilt[range.rebuilt.clone()],
    );
    let end: usize = paths
        .published
        .iter()
        .rev()
        .zip(paths.rebuilt.iter().rev())
        .take_while(|(published, rebuilt)| published == rebuilt)
        .count();
    // Whole components only.
    let tail = &paths.published[paths.published.len() - end..];
    let tail = tail
        .iter()
        .position(|&byte| byte == b'/')
        .map_or(0, |slash| tail.len() - slash);
    let prefixes = paths.map(|path| &path[..path.len() - tail]);
    let is_build = |prefix: &[u8]| {
        BUILD_ROOTS
            .iter()
            .any(|root| prefix.len() > root.len() && prefix.starts_with(root.as_bytes()))
            && !prefix.windows(3).any(|part| part == b"/..")
    };
    (prefixes.map(is_build) == Pair::new(true, true)).then_some((range, prefixes))
}

#[cfg(test)]
mod tests {
    use super::super::testing::examined;
    use crate::compare::content::testing::{elf, note};

    const ONE: &[u8; 20] = b"11111111111111111111";
    const TWO: &[u8; 20] = b"22222222222222222222";

    /// Returns a program with a build id, code and data.
    fn program(id: &[u8; 20], code: &[u8], data: &str) -> Vec<u8> {
        elf(&[
            (".note.gnu.build-id", 2, &note(id)),
            (".text", 6, code),
            (".rodata", 2, data.as_bytes()),
        ])
    }

    type Case = (&'static str, Vec<u8>, Vec<u8>, Option<&'static str>);

    #[test]
    fn what_a_build_leaves_in_a_program_explains_only_itself() {
        let code = b"\x90\xc3";
        let go = |id, time: &str, revision: &str| {
            let info = format!("vcs.time={time}\nvcs.revision={revision}\0");
            elf(&[
                (".note.gnu.build-id", 2, &note(id)),
                (".go.buildinfo", 3, info.as_bytes()),
            ])
        };
        let (date, later) = ("at Mar  5 2024 10:11:12\0", "at Mar 16 2024 09:11:12\0");
        let (path, other) = ("/build/one/src/a.c\0x", "/build/two/src/a.c\0x");
        let text = |text: &str| text.as_bytes().to_vec();
        let cases: [Case; 19] = [
            (
                "id",
                program(ONE, code, ""),
                program(TWO, code, ""),
                Some("elf-buildid"),
            ),
            (
                "id and code",
                program(ONE, code, ""),
                program(TWO, b"\x90\xc2", ""),
                None,
            ),
            (
                "id and data",
                program(ONE, code, "a"),
                program(TWO, code, "b"),
                None,
            ),
            (
                "date",
                program(ONE, code, date),
                program(ONE, code, later),
                Some("date-macro"),
            ),
            (
                "date and id",
                program(ONE, code, date),
                program(TWO, code, later),
                Some("date-macro"),
            ),
            (
                "date and code",
                program(ONE, code, date),
                program(TWO, b"\x90\xc2", later),
                None,
            ),
            (
                "date in code",
                program(ONE, date.as_bytes(), ""),
                program(ONE, later.as_bytes(), ""),
                None,
            ),
            (
                "date and more",
                program(ONE, code, "10:11:12 a"),
                program(ONE, code, "10:11:13 b"),
                None,
            ),
            (
                "date in text",
                text("built Mar  5 2024\n"),
                text("built Mar  6 2024\n"),
                Some("date-macro"),
            ),
            (
                "date and words",
                text("built Mar  5 2024 a\n"),
                text("built Mar  6 2024 b\n"),
                None,
            ),
            (
                "path",
                program(ONE, code, path),
                program(TWO, code, other),
                Some("buildpath"),
            ),
            (
                "path and code",
                program(ONE, code, path),
                program(ONE, b"\x90\xc2", other),
                None,
            ),
            (
                "installed path",
                program(ONE, code, "/usr/bin/a"),
                program(ONE, code, "/usr/bin/b"),
                None,
            ),
            (
                "path in text",
                text("a=/build/one/x\n"),
                text("a=/tmp/another/x\n"),
                Some("buildpath"),
            ),
            (
                "two kinds of paths",
                text("/tmp/a/x /tmp/b/y\n"),
                text("/tmp/c/x /tmp/d/y\n"),
                None,
            ),
            (
                "script",
                text("#!/build/one/sh\n"),
                text("#!/build/two/sh\n"),
                None,
            ),
            (
                "out of the build",
                text("/tmp/../bin/a\n"),
                text("/tmp/../bin/b\n"),
                None,
            ),
            (
                "Go",
                go(ONE, "2024-03-05T10:11:12Z", "a"),
                go(TWO, "2024-03-06T10:11:12Z", "a"),
                Some("go-buildinfo"),
            ),
            (
                "Go revision",
                go(ONE, "2024-03-05T10:11:12Z", "a"),
                go(TWO, "2024-03-06T10:11:12Z", "b"),
                None,
            ),
        ];
        for (case, published, rebuilt, cause) in cases {
            assert_eq!(examined("usr/bin/a", &published, &rebuilt), cause, "{case}");
            assert_eq!(
                examined("usr/bin/a", &rebuilt, &published),
                cause,
                "{case}, swapped"
            );
        }
    }

    #[test]
    fn no_byte_may_change_beside_an_id() {
        let (published, rebuilt) = (
            program(ONE, b"\x90\xc3", "a"),
            program(TWO, b"\x90\xc3", "a"),
        );
        for at in 0..rebuilt.len() {
            if published[at] == rebuilt[at] {
                let mut other = rebuilt.clone();
                other[at] ^= 0x40;
                assert_eq!(examined("a", &published, &other), None, "{at:#x}");
            }
        }
    }

    #[test]
    fn an_id_does_not_lie_over_code() {
        let with = |id: &[u8; 20]| {
            let mut bytes = program(id, b"\x90\xc3", "");
            // The second section's offset becomes the first one's.
            let headers = bytes.len() - 5 * 64;
            let first = bytes[headers + 64 + 24..][..16].to_vec();
            bytes[headers + 128 + 24..][..16].copy_from_slice(&first);
            bytes
        };
        assert_eq!(examined("a", &with(ONE), &with(TWO)), None);
    }
}
