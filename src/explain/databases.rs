//! Causes in what package managers keep besides the packages themselves.

use super::{Cause, File, Recogniser, Recognition, Root, order};

const SORT: &str = "install the same packages in the same order";

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        id: "dpkg-status",
        root: Root::Order,
        title: "dpkg lists the same packages in another order",
        advice: SORT,
        recognise: Recogniser::File(|file| {
            let paths: [&[u8]; 3] = [
                b"var/lib/dpkg/status",
                b"var/lib/dpkg/status-old",
                b"var/lib/dpkg/available",
            ];
            paragraphs(file, &paths)
        }),
    },
    Cause {
        id: "apt-extended",
        root: Root::Order,
        title: "apt lists the same packages in another order",
        advice: SORT,
        recognise: Recogniser::File(|file| paragraphs(file, &[b"var/lib/apt/extended_states"])),
    },
    Cause {
        id: "debconf",
        root: Root::Order,
        title: "debconf lists the same questions in another order",
        advice: "delete /var/cache/debconf/*-old, and install the same packages in the same order",
        recognise: Recogniser::File(|file| {
            let paths: [&[u8]; 6] = [
                b"var/cache/debconf/config.dat",
                b"var/cache/debconf/config.dat-old",
                b"var/cache/debconf/templates.dat",
                b"var/cache/debconf/templates.dat-old",
                b"var/cache/debconf/passwords.dat",
                b"var/cache/debconf/passwords.dat-old",
            ];
            paragraphs(file, &paths)
        }),
    },
    Cause {
        id: "dpkg-info",
        root: Root::Order,
        title: "dpkg lists the same paths of a package in another order",
        advice: SORT,
        recognise: Recogniser::File(|file| {
            let name = file.path.as_bytes().strip_prefix(b"var/lib/dpkg/info/");
            let is_list = name.is_some_and(|name| {
                [&b".list"[..], b".md5sums", b".conffiles"]
                    .iter()
                    .any(|end| name.ends_with(end))
            });
            if is_list {
                order::in_another_order(file.bytes, "lines", order::lines, |_| None)
            } else {
                Recognition::Elsewhere
            }
        }),
    },
    Cause {
        id: "dpkg-statoverride",
        root: Root::Order,
        title: "dpkg lists the same diversions, overrides and triggers in another order",
        advice: SORT,
        recognise: Recogniser::File(|file| {
            let path = file.path.as_bytes();
            match path.strip_prefix(b"var/lib/dpkg/").unwrap_or_default() {
                b"diversions" | b"diversions-old" => {
                    order::in_another_order(file.bytes, "diversions", diversions, |diversion| {
                        // What is diverted; where to and by whom follow.
                        order::lines(diversion).first().map(|line| line.to_vec())
                    })
                }
                b"statoverride" | b"statoverride-old" => {
                    order::in_another_order(file.bytes, "lines", order::lines, last_word)
                }
                b"triggers/File" => {
                    order::in_another_order(file.bytes, "lines", order::lines, |_| None)
                }
                _ => Recognition::Elsewhere,
            }
        }),
    },
    Cause {
        id: "ucf",
        root: Root::Order,
        title: "ucf lists the same configuration files in another order",
        advice: "delete /var/lib/ucf/*.[0-9], and install the same packages in the same order",
        recognise: Recogniser::File(|file| match file.path.as_bytes() {
            b"var/lib/ucf/hashfile" | b"var/lib/ucf/registry" => {
                order::in_another_order(file.bytes, "lines", order::lines, last_word)
            }
            _ => Recognition::Elsewhere,
        }),
    },
    Cause {
        id: "apk-world",
        root: Root::Order,
        title: "apk lists the packages that were asked for in another order",
        advice: SORT,
        recognise: Recogniser::File(|file| match file.path.as_bytes() {
            b"etc/apk/world" => {
                order::in_another_order(file.bytes, "lines", order::lines, |line| {
                    // A name, and what is asked of its version.
                    let end = line.iter().position(|byte| b"=<>~@\n".contains(byte));
                    end.map(|end| line[..end].to_vec())
                })
            }
            _ => Recognition::Elsewhere,
        }),
    },
    Cause {
        id: "apk-installed",
        root: Root::Order,
        title: "apk lists the same packages in another order",
        advice: SORT,
        recognise: Recogniser::File(|file| {
            if file.path.as_bytes().ends_with(b"lib/apk/db/installed") {
                order::in_another_order(file.bytes, "packages", order::paragraphs, |paragraph| {
                    order::field(paragraph, "P").map(<[u8]>::to_vec)
                })
            } else {
                Recognition::Elsewhere
            }
        }),
    },
    Cause {
        id: "apk-scripts",
        root: Root::Clock,
        title: "apk keeps its packages' scripts in an archive, with times",
        advice: "set SOURCE_DATE_EPOCH, or install with --no-scripts",
        recognise: Recogniser::File(scripts),
    },
    Cause {
        id: "apt-lists",
        root: Root::Versions,
        title: "apt's lists of packages are of another date",
        advice: "delete /var/lib/apt/lists, or install from a snapshot of the archive",
        recognise: Recogniser::File(lists),
    },
];

/// Says what apt's lists tell of the archive's state: that they are the archive's own is said
/// by signatures, which are not verified here, so nothing is explained.
fn lists(file: &File<'_>) -> Recognition {
    let Some(name) = file.path.as_bytes().strip_prefix(b"var/lib/apt/lists/") else {
        return Recognition::Elsewhere;
    };
    if !name.ends_with(b"_InRelease") && !name.ends_with(b"_Release") {
        return Recognition::Elsewhere;
    }
    let date = |bytes: &[u8]| {
        let date = order::field(bytes, "Date");
        date.map_or_else(|| "no date".to_owned(), order::shown)
    };
    let dates = file.bytes.map(date);
    Recognition::Refused(
        format!(
            "the archive's index is of {} in the published and of {} in the rebuilt image, and \
             its signature was not verified",
            dates.published, dates.rebuilt
        )
        .into(),
    )
}

/// Cuts dpkg's diversions: of three lines each.
///
/// Source: dpkg, `lib/dpkg/db-fsys-divert.c`.
fn diversions(bytes: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let mut start = 0;
    let ends = bytes.iter().enumerate();
    for (end, _) in ends.filter(|(_, byte)| **byte == b'\n').skip(2).step_by(3) {
        found.push(&bytes[start..=end]);
        start = end + 1;
    }
    if start < bytes.len() {
        found.push(&bytes[start..]);
    }
    found
}

/// Returns the path that stands at the end of a line.
fn last_word(line: &[u8]) -> Option<Vec<u8>> {
    // ucf's lines have a tab before it as well as spaces.
    let line = line.trim_ascii_end();
    let word = line.rsplit(u8::is_ascii_whitespace).next()?;
    Some(word.to_vec())
}

fn paragraphs(file: &File<'_>, paths: &[&[u8]]) -> Recognition {
    if !paths.contains(&file.path.as_bytes()) {
        return Recognition::Elsewhere;
    }
    order::in_another_order(file.bytes, "entries", order::paragraphs, |paragraph| {
        let name = order::field(paragraph, "Package").or(order::field(paragraph, "Name"))?;
        let architecture = order::field(paragraph, "Architecture").unwrap_or_default();
        Some([name, b":", architecture].concat())
    })
}

/// Recognises a tar of scripts in which only modification times, and with them the sums of
/// the headers, differ.
///
/// Source: pax(1), "ustar Interchange Format".
fn scripts(file: &File<'_>) -> Recognition {
    const BLOCK: usize = 512;
    if !file.path.as_bytes().ends_with(b"lib/apk/db/scripts.tar") {
        return Recognition::Elsewhere;
    }
    let (published, rebuilt) = (file.bytes.published, file.bytes.rebuilt);
    let refused = |why: &'static str| Recognition::Refused(why.into());
    if published.len() != rebuilt.len() || published.len() % BLOCK != 0 {
        return refused("the archives are not equally long");
    }
    let octal = |field: &[u8]| {
        let digits = field
            .split(|byte| b" \0".contains(byte))
            .find(|part| !part.is_empty());
        let digits = std::str::from_utf8(digits?).ok()?;
        u64::from_str_radix(digits, 8).ok()
    };
    let sum_is_right = |header: &[u8]| {
        let sum: u64 = header
            .iter()
            .enumerate()
            .map(|(at, &byte)| u64::from(if (148..156).contains(&at) { b' ' } else { byte }))
            .sum();
        octal(&header[148..156]) == Some(sum)
    };
    let mut members = 0;
    let mut at = 0;
    while at < published.len() {
        let headers = [&published[at..at + BLOCK], &rebuilt[at..at + BLOCK]];
        if headers[0].iter().chain(headers[1]).all(|&byte| byte == 0) {
            at += BLOCK;
            continue;
        }
        let [one, other] = headers;
        if one[..136] != other[..136] || one[156..] != other[156..] {
            return refused("a header differs in more than its time");
        }
        let times = [octal(&one[136..148]), octal(&other[136..148])];
        if times.contains(&None) || !sum_is_right(one) || !sum_is_right(other) {
            return refused("a header has no time, or a wrong sum");
        }
        let Some(size) = octal(&one[124..136]).and_then(|size| usize::try_from(size).ok()) else {
            return refused("a header has no size");
        };
        let end = size
            .checked_next_multiple_of(BLOCK)
            .and_then(|size| size.checked_add(at + BLOCK))
            .filter(|&end| end <= published.len());
        let Some(end) = end else {
            return refused("a member goes on after the end");
        };
        if published[at + BLOCK..end] != rebuilt[at + BLOCK..end] {
            return refused("a script differs");
        }
        members += 1;
        at = end;
    }
    Recognition::Explained(
        format!("the same {members} members, of which only the times and the headers' sums differ")
            .into(),
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::told;

    #[test]
    fn databases_are_explained_only_by_their_order() {
        let status = "Package: a\nArchitecture: all\nVersion: 1\n\nPackage: b\nArchitecture: all\nVersion: 1\n\n";
        let turned = "Package: b\nArchitecture: all\nVersion: 1\n\nPackage: a\nArchitecture: all\nVersion: 1\n\n";
        let apk = "P:a\nV:1\n\nP:b\nV:1\n\n";
        let rows = [
            (
                "dpkg",
                "var/lib/dpkg/status",
                status,
                turned.to_owned(),
                "dpkg-status",
            ),
            (
                "a version",
                "var/lib/dpkg/status",
                status,
                turned.replacen("Version: 1", "Version: 2", 1),
                "dpkg-status: only the published file has “Package: b\\012Architecture: all\\012Version: 1”",
            ),
            (
                "a package twice",
                "var/lib/dpkg/status",
                "Package: a\nVersion: 1\n\nPackage: a\nVersion: 2\n\n",
                "Package: a\nVersion: 2\n\nPackage: a\nVersion: 1\n\n".to_owned(),
                "dpkg-status: the order decides which counts of two with the name of “Package: a\\012Version: 2”",
            ),
            (
                "debconf",
                "var/cache/debconf/config.dat",
                "Name: a\nValue: 1\n\nName: b\n\n",
                "Name: b\n\nName: a\nValue: 1\n\n".to_owned(),
                "debconf",
            ),
            (
                "a list",
                "var/lib/dpkg/info/a.list",
                "/a\n/b\n",
                "/b\n/a\n".to_owned(),
                "dpkg-info",
            ),
            (
                "a script",
                "var/lib/dpkg/info/a.postinst",
                "a\nb\n",
                "b\na\n".to_owned(),
                "",
            ),
            (
                "apk",
                "lib/apk/db/installed",
                apk,
                "P:b\nV:1\n\nP:a\nV:1\n\n".to_owned(),
                "apk-installed",
            ),
            (
                "apk's version",
                "lib/apk/db/installed",
                apk,
                apk.replace("V:1", "V:2"),
                "apk-installed: only the published file has “P:a\\012V:1”",
            ),
            (
                "diversions",
                "var/lib/dpkg/diversions",
                "/a\n/a.x\nx\n/b\n/b.x\nx\n",
                "/b\n/b.x\nx\n/a\n/a.x\nx\n".to_owned(),
                "dpkg-statoverride",
            ),
            (
                "another diversion of the same lines",
                "var/lib/dpkg/diversions",
                "/a\n/a.x\nx\n/b\n/b.x\nx\n",
                "/a\n/b.x\nx\n/b\n/a.x\nx\n".to_owned(),
                "dpkg-statoverride: only the published file has “/a\\012/a.x\\012x”",
            ),
            (
                "an override twice",
                "var/lib/dpkg/statoverride",
                "root root 755 /a\nroot root 4755 /a\n",
                "root root 4755 /a\nroot root 755 /a\n".to_owned(),
                "dpkg-statoverride: the order decides which counts of two with the name of \
                 “root root 755 /a”",
            ),
            (
                "ucf",
                "var/lib/ucf/hashfile",
                "0a  /etc/a\n0b  /etc/b\n",
                "0b  /etc/b\n0a  /etc/a\n".to_owned(),
                "ucf",
            ),
            (
                "two of ucf's lines for one file",
                "var/lib/ucf/registry",
                "x\t/etc/a\ny\t/etc/a\n",
                "y\t/etc/a\nx\t/etc/a\n".to_owned(),
                "ucf: the order decides which counts of two with the name of “y\\011/etc/a”",
            ),
            (
                "ucf's other hash",
                "var/lib/ucf/hashfile",
                "0a  /etc/a\n0b  /etc/b\n",
                "0b  /etc/b\n0c  /etc/a\n".to_owned(),
                "ucf: only the published file has “0a  /etc/a”",
            ),
            (
                "what was asked for",
                "etc/apk/world",
                "a\nb=1\n",
                "b=1\na\n".to_owned(),
                "apk-world",
            ),
            (
                "what else was asked for",
                "etc/apk/world",
                "a\nb=1\n",
                "b=1\na\nevil\n".to_owned(),
                "apk-world: only the rebuilt file has “evil”",
            ),
            (
                "another state of the archive",
                "var/lib/apt/lists/deb.example_dists_x_InRelease",
                "Origin: x\nDate: Sat, 01 Nov 2025 10:00:00 UTC\n",
                "Origin: y\n".to_owned(),
                "apt-lists: the archive's index is of “Sat, 01 Nov 2025 10:00:00 UTC” in the \
                 published and of no date in the rebuilt image, and its signature was not verified",
            ),
        ];
        for (case, path, published, rebuilt, expected) in rows {
            let found = told(path, published.as_bytes(), rebuilt.as_bytes());
            assert_eq!(found, expected, "{case}");
        }
    }

    fn archive(time: u64, script: &[u8]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(script.len() as u64);
        header.set_mtime(time);
        header.set_cksum();
        builder
            .append_data(&mut header, "a.post-install", script)
            .unwrap();
        builder.into_inner().unwrap()
    }

    #[test]
    fn apks_scripts_are_explained_only_by_their_times() {
        let published = archive(1, b"#!/bin/sh\n");
        let mut sum = archive(2, b"#!/bin/sh\n");
        sum[136] = b'7';
        let rows = [
            ("times", archive(2, b"#!/bin/sh\n"), "apk-scripts"),
            (
                "a script",
                archive(2, b"#!/bin/ash"),
                "apk-scripts: a script differs",
            ),
            (
                "a wrong sum",
                sum,
                "apk-scripts: a header has no time, or a wrong sum",
            ),
            (
                "bytes after the end",
                [archive(2, b"#!/bin/sh\n"), vec![0; 512]].concat(),
                "apk-scripts: the archives are not equally long",
            ),
        ];
        for (case, rebuilt, expected) in rows {
            assert_eq!(
                // What other causes say of it is theirs.
                told("lib/apk/db/scripts.tar", &published, &rebuilt)
                    .split("; ")
                    .next(),
                Some(expected),
                "{case}"
            );
        }
    }
}
