//! Accounts and groups: lines of fields with colons between them.
//!
//! Source: passwd(5), shadow(5), group(5), gshadow(5), subuid(5), subgid(5).

use super::{
    super::{Content, Format, Limits},
    records::{self, Record},
};
use crate::pair::Pair;

pub(super) const PASSWD: Format = Format {
    name: "passwd",
    is: |path, _| [&b"etc/passwd"[..], b"etc/passwd-"].contains(&path),
    compare: |sides, limits| {
        let fields = ["password", "uid", "gid", "comment", "home", "login shell"];
        compare("passwd", &fields, sides, limits)
    },
};

pub(super) const SHADOW: Format = Format {
    name: "shadow",
    is: |path, _| [&b"etc/shadow"[..], b"etc/shadow-"].contains(&path),
    compare: |sides, limits| {
        let fields = [
            "password",
            "day of last change",
            "minimum age",
            "maximum age",
            "warning period",
            "inactivity period",
            "expiry day",
            "reserved",
        ];
        compare("shadow", &fields, sides, limits)
    },
};

pub(super) const GROUP: Format = Format {
    name: "group",
    is: |path, _| [&b"etc/group"[..], b"etc/group-"].contains(&path),
    compare: |sides, limits| {
        let fields = ["password", "gid", "members"];
        compare("group", &fields, sides, limits)
    },
};

pub(super) const GSHADOW: Format = Format {
    name: "gshadow",
    is: |path, _| [&b"etc/gshadow"[..], b"etc/gshadow-"].contains(&path),
    compare: |sides, limits| {
        let fields = ["password", "administrators", "members"];
        compare("gshadow", &fields, sides, limits)
    },
};

pub(super) const SUBORDINATE: Format = Format {
    name: "subid",
    is: |path, _| {
        let paths: [&[u8]; 4] = [b"etc/subuid", b"etc/subuid-", b"etc/subgid", b"etc/subgid-"];
        paths.contains(&path)
    },
    compare: |sides, limits| {
        let fields = ["first id", "count"];
        compare("subid", &fields, sides, limits)
    },
};

fn compare(
    format: &str,
    names: &[&str],
    sides: Pair<&[u8]>,
    limits: &mut Limits,
) -> Option<Content> {
    if sides.map(records::has_too_many_lines) != Pair::new(false, false) {
        return None;
    }
    let sides = sides.map(|bytes| records(names, bytes));
    let sides = sides.as_ref().map(Vec::as_slice);
    Some(records::compare(format, sides, limits))
}

fn records(names: &[&str], bytes: &[u8]) -> Vec<Record> {
    let (lines, is_ended) = match bytes.strip_suffix(b"\n") {
        Some(lines) => (lines, true),
        None => (bytes, bytes.is_empty()),
    };
    let mut records = Vec::new();
    if !bytes.is_empty() {
        for line in lines.split(|&byte| byte == b'\n') {
            let mut fields = line.split(|&byte| byte == b':');
            let mut record = Record::new(fields.next().unwrap_or_default());
            for (number, value) in fields.enumerate() {
                match names.get(number) {
                    Some(&name) => record.field(name, value),
                    None => record.field(format!("field {}", number + 2), value),
                }
            }
            records.push(record);
        }
    }
    if !is_ended {
        let mut end = Record::new(b"end of file");
        end.field("line end", b"missing");
        records.push(end);
    }
    records
}

#[cfg(test)]
mod tests {
    use super::super::testing::values;

    #[test]
    fn accounts_are_compared_field_by_field() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/:/bin/false\n";
        let cases: [(&str, &str, String, &[&str]); 5] = [
            (
                "a login shell",
                "etc/passwd",
                passwd.replace("/bin/bash", "/bin/sh"),
                &["root login shell: /bin/bash | /bin/sh"],
            ),
            (
                "a second root",
                "etc/passwd",
                format!("{passwd}toor:x:0:0::/root:/bin/sh\n"),
                &[
                    "toor: - | password: x, uid: 0, gid: 0, comment: , home: /root, login shell: /bin/sh",
                ],
            ),
            (
                "the same name twice",
                "etc/passwd",
                format!("{passwd}root:x:0:0:root:/root:/bin/bash\n"),
                &[
                    "root (no. 2): - | password: x, uid: 0, gid: 0, comment: root, home: /root, login shell: /bin/bash",
                ],
            ),
            (
                "another order",
                "etc/passwd-",
                "daemon:x:1:1::/:/bin/false\nroot:x:0:0:root:/root:/bin/bash\n".to_owned(),
                &["order, from no. 1: root | daemon"],
            ),
            (
                "no line end",
                "etc/passwd",
                passwd.trim_end().to_owned(),
                &["end of file: - | line end: missing"],
            ),
        ];
        for (case, path, other, expected) in cases {
            let (format, found) = values(path, passwd.as_bytes(), other.as_bytes());
            assert_eq!(
                (format.as_str(), found),
                (
                    "passwd",
                    expected.iter().map(|&text| text.to_owned()).collect()
                ),
                "{case}"
            );
        }
    }
}
