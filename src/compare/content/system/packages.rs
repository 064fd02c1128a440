//! Databases of dpkg, apk and debconf: paragraphs of fields.
//!
//! Source: deb-control(5); apk-tools, `src/database.c`; debconf,
//! `Debconf/Format/822.pm`.

use super::{
    super::{Content, Format, Limits},
    records::{self, Record},
};
use crate::pair::Pair;

pub(super) const DPKG: Format = Format {
    name: "dpkg",
    is: |path, _| {
        let paths: [&[u8]; 4] = [
            b"var/lib/dpkg/status",
            b"var/lib/dpkg/status-old",
            b"var/lib/dpkg/available",
            b"var/lib/apt/extended_states",
        ];
        paths.contains(&path) || path.starts_with(b"var/lib/dpkg/status.d/")
    },
    compare: |sides, limits| compare("dpkg", debian, sides, limits),
};

pub(super) const DEBCONF: Format = Format {
    name: "debconf",
    is: |path, _| {
        path.strip_prefix(b"var/cache/debconf/")
            .is_some_and(|name| name.ends_with(b".dat") || name.ends_with(b".dat-old"))
    },
    compare: |sides, limits| compare("debconf", debian, sides, limits),
};

pub(super) const APK: Format = Format {
    name: "apk",
    is: |path, _| path.ends_with(b"lib/apk/db/installed"),
    compare: |sides, limits| compare("apk", alpine, sides, limits),
};

fn compare(
    format: &str,
    record: fn(&[u8]) -> Option<Record>,
    sides: Pair<&[u8]>,
    limits: &mut Limits,
) -> Option<Content> {
    let sides = Pair::new(
        records(sides.published, record)?,
        records(sides.rebuilt, record)?,
    );
    let sides = sides.as_ref().map(Vec::as_slice);
    Some(records::compare(format, sides, limits))
}

/// Reads paragraphs with one empty line after each, which the last need not have.
fn records(bytes: &[u8], record: fn(&[u8]) -> Option<Record>) -> Option<Vec<Record>> {
    if records::has_too_many_lines(bytes) {
        return None;
    }
    let mut records = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = rest.windows(2).position(|pair| pair == b"\n\n");
        let (paragraph, after) = match end {
            Some(end) => (&rest[..end], &rest[end + 2..]),
            None => (rest.strip_suffix(b"\n")?, &b""[..]),
        };
        records.push(record(paragraph)?);
        if end.is_none() {
            let mut end = Record::new(b"end of file");
            end.field("empty line", b"missing");
            records.push(end);
        }
        rest = after;
    }
    Some(records)
}

/// Reads `Name: value` and the lines that go on with it.
fn debian(paragraph: &[u8]) -> Option<Record> {
    let mut fields: Vec<(String, Vec<u8>)> = Vec::new();
    for line in paragraph.split(|&byte| byte == b'\n') {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            let (_, value) = fields.last_mut()?;
            value.push(b'\n');
            value.extend_from_slice(line);
            continue;
        }
        let colon = line.iter().position(|&byte| byte == b':')?;
        let name = std::str::from_utf8(&line[..colon]).ok()?;
        let (name, value) = match line[colon + 1..].strip_prefix(b" ") {
            Some(value) => (name.to_owned(), value),
            // No space after the colon is a difference of its own.
            None if line.len() == colon + 1 => (name.to_owned(), &b""[..]),
            None => (format!("{name}:"), &line[colon + 1..]),
        };
        fields.push((name, value.to_vec()));
    }
    let value = |name: &str| {
        let field = fields.iter().find(|(field, _)| field == name);
        field.map(|(_, value)| value.as_slice())
    };
    let mut record = match value("Architecture") {
        Some(architecture) => Record::new(&[value("Package")?, b":", architecture].concat()),
        // debconf has questions, which it names.
        None => Record::new(value("Package").or(value("Name"))?),
    };
    for (name, value) in fields {
        record.field(name, &value);
    }
    Some(record)
}

/// Reads `X:value`; what is said of a file is named after it.
fn alpine(paragraph: &[u8]) -> Option<Record> {
    let mut record = Record::new(b"");
    let mut folder: &[u8] = b"";
    let mut at: Vec<u8> = Vec::new();
    let mut is_named = false;
    for line in paragraph.split(|&byte| byte == b'\n') {
        let [letter, b':', value @ ..] = line else {
            return None;
        };
        let of = |what: &str, at: &[u8]| format!("{} {what}", crate::image::entry::Printable(at));
        let name = match letter {
            b'P' if !is_named => {
                record.name = crate::image::entry::Printable(value).to_string();
                is_named = true;
                "name".to_owned()
            }
            b'V' => "version".to_owned(),
            b'A' => "architecture".to_owned(),
            b'C' => "checksum".to_owned(),
            b'S' => "size".to_owned(),
            b'I' => "installed size".to_owned(),
            b'T' => "description".to_owned(),
            b'U' => "URL".to_owned(),
            b'L' => "licence".to_owned(),
            b'D' => "depends".to_owned(),
            b'p' => "provides".to_owned(),
            b'o' => "origin".to_owned(),
            b'm' => "maintainer".to_owned(),
            b't' => "build time".to_owned(),
            b'c' => "commit".to_owned(),
            b'F' => {
                folder = value;
                at = value.to_vec();
                "folder".to_owned()
            }
            b'R' => {
                at = [folder, b"/", value].concat();
                "file".to_owned()
            }
            b'M' => of("folder mode", &at),
            b'a' => of("mode", &at),
            b'Z' => of("checksum", &at),
            &other if other.is_ascii_graphic() => char::from(other).to_string(),
            _ => return None,
        };
        record.field(name, value);
    }
    is_named.then_some(record)
}

#[cfg(test)]
mod tests {
    use super::super::testing::values;

    #[test]
    fn packages_are_compared_field_by_field() {
        let status = "Package: a\nArchitecture: all\nVersion: 1\nDescription: one\n two\n\n\
            Package: b\nArchitecture: all\nVersion: 1\n\n";
        let apk = "C:Q1x=\nP:musl\nV:1\nF:lib\nR:libc.so\na:0:0:755\nZ:Q1y=\n\n";
        let cases: [(&str, &str, &str, String, &[&str]); 6] = [
            (
                "a version",
                "var/lib/dpkg/status",
                status,
                status.replacen("Version: 1", "Version: 2", 1),
                &["a:all Version: 1 | 2"],
            ),
            (
                "a longer description",
                "var/lib/dpkg/status",
                status,
                status.replace(" two", " three"),
                &["a:all Description: one\\012 two | one\\012 three"],
            ),
            (
                "no space after a colon",
                "var/lib/dpkg/status",
                status,
                status.replacen("Version: 1", "Version:1", 1),
                &["a:all Version: 1 | -", "a:all Version:: - | 1"],
            ),
            (
                "another order",
                "var/lib/dpkg/status",
                status,
                "Package: b\nArchitecture: all\nVersion: 1\n\nPackage: a\nArchitecture: all\n\
                 Version: 1\nDescription: one\n two\n\n"
                    .to_owned(),
                &["order, from no. 1: a:all | b:all"],
            ),
            (
                "an answer",
                "var/cache/debconf/config.dat",
                "Name: a/b\nTemplate: a/b\nValue: no\nOwners: a\nVariables:\n x = y\n\n",
                "Name: a/b\nTemplate: a/b\nValue: yes\nOwners: a\nVariables:\n x = z\n\n"
                    .to_owned(),
                &[
                    "a/b Value: no | yes",
                    "a/b Variables: \\012 x = y | \\012 x = z",
                ],
            ),
            (
                "a file of apk",
                "lib/apk/db/installed",
                apk,
                apk.replace("Q1y=", "Q1z="),
                &["musl lib/libc.so checksum: Q1y= | Q1z="],
            ),
        ];
        for (case, path, published, rebuilt, expected) in cases {
            let (_, found) = values(path, published.as_bytes(), rebuilt.as_bytes());
            assert_eq!(found, expected, "{case}");
        }
    }
}
