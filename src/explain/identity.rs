//! Causes in files that are drawn at random, once for each machine.

use std::collections::BTreeSet;

use super::{Cause, File, Recogniser, Recognition, Root, order};

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        id: "machine-id",
        root: Root::Randomness,
        title: "the machine's id is drawn at random when systemd or dbus is installed",
        advice: "leave /etc/machine-id empty in an image, and delete /var/lib/dbus/machine-id",
        recognise: Recogniser::File(machine_id),
    },
    Cause {
        id: "random-seed",
        root: Root::Randomness,
        title: "random bytes are kept for the next start of the machine",
        advice: "delete the seed: every machine started from the image would share it",
        recognise: Recogniser::File(random_seed),
    },
    Cause {
        id: "generated-id",
        root: Root::Randomness,
        title: "an id is drawn at random when the package is installed",
        advice: "delete the file in an image",
        recognise: Recogniser::File(generated_id),
    },
    Cause {
        id: "crontab-random",
        root: Root::Randomness,
        title: "the minute of a job is drawn at random when the package is installed",
        advice: "fix the minute",
        recognise: Recogniser::File(crontab),
    },
];

fn machine_id(file: &File<'_>) -> Recognition {
    if ![&b"etc/machine-id"[..], b"var/lib/dbus/machine-id"].contains(&file.path.as_bytes()) {
        return Recognition::Elsewhere;
    }
    let is_id = |bytes: &[u8]| {
        let id = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        id.is_empty()
            || id == b"uninitialized"
            || id.len() == 32
                && id
                    .iter()
                    .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte))
    };
    if is_id(file.bytes.published) && is_id(file.bytes.rebuilt) {
        Recognition::Explained(
            "both sides hold 32 hexadecimal digits or none, and nothing else".into(),
        )
    } else {
        Recognition::Refused("a side holds something else than 32 hexadecimal digits".into())
    }
}

/// How long a seed may be: 512 bytes are written by systemd, and up to 4096 by others.
const SEED: std::ops::RangeInclusive<usize> = 256..=4096;

/// How many different values random bytes of 256 or more have at least: some 160 of 256 are
/// to be expected, and text has less than 96.
const VALUES: usize = 128;

fn random_seed(file: &File<'_>) -> Recognition {
    let paths: [&[u8]; 3] = [
        b"var/lib/systemd/random-seed",
        b"var/lib/urandom/random-seed",
        b"var/lib/random-seed",
    ];
    if !paths.contains(&file.path.as_bytes()) {
        return Recognition::Elsewhere;
    }
    let sizes = file.bytes.map(<[u8]>::len);
    if !sizes.is_equal() || !SEED.contains(&sizes.published) {
        return Recognition::Refused(
            "the sides are not equally long, or no seed is so long".into(),
        );
    }
    let values = file
        .bytes
        .map(|bytes| bytes.iter().collect::<BTreeSet<_>>().len());
    if values.published.min(values.rebuilt) < VALUES {
        return Recognition::Refused("a side has too few different bytes to be random".into());
    }
    Recognition::Explained(
        format!("both sides are {} bytes that look random", sizes.published).into(),
    )
}

/// Says whether a text has the form of an id.
type Form = fn(&[u8]) -> bool;

fn generated_id(file: &File<'_>) -> Recognition {
    let (before, form): (&[u8], Form) = match file.path.as_bytes() {
        b"var/lib/yum/uuid" | b"etc/nvme/hostid" => (b"", is_uuid),
        b"etc/nvme/hostnqn" => (b"nqn.2014-08.org.nvmexpress:uuid:", is_uuid),
        b"etc/iscsi/initiatorname.iscsi" => (b"InitiatorName=iqn.", is_iscsi),
        _ => return Recognition::Elsewhere,
    };
    // Comments may stand before the id, and must be the same.
    let split = file.bytes.map(|bytes| {
        let lines = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let from = lines
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        let id = lines[from..].strip_prefix(before).filter(|id| form(id));
        id.map(|id| (&bytes[..from], id.len()))
    });
    match (split.published, split.rebuilt) {
        (Some(published), Some(rebuilt)) if published.0 == rebuilt.0 => Recognition::Explained(
            "both sides hold one id of this kind, and nothing else differs".into(),
        ),
        _ => Recognition::Refused("a side holds something else than one id of this kind".into()),
    }
}

fn is_uuid(id: &[u8]) -> bool {
    id.len() == 36
        && id.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Returns whether the text is such as `1993-08.org.debian:01:9b1c2d3e4f5a`.
fn is_iscsi(id: &[u8]) -> bool {
    let Some(colon) = id.iter().rposition(|&byte| byte == b':') else {
        return false;
    };
    let authorities: [&[u8]; 3] = [
        b"1993-08.org.debian:01",
        b"2004-10.com.ubuntu:01",
        b"1994-05.com.redhat",
    ];
    authorities.contains(&&id[..colon])
        && (1..=12).contains(&(id.len() - colon - 1))
        && id[colon + 1..].iter().all(u8::is_ascii_hexdigit)
}

fn crontab(file: &File<'_>) -> Recognition {
    let path = file.path.as_bytes();
    if !path.starts_with(b"etc/cron.d/") && path != b"etc/crontab" {
        return Recognition::Elsewhere;
    }
    if let Some(refused) = order::too_many_lines(file.bytes) {
        return refused;
    }
    let lines = file.bytes.map(order::lines);
    if !lines.as_ref().map(Vec::len).is_equal() {
        return Recognition::Refused("one side has more lines than the other".into());
    }
    for (published, rebuilt) in lines.published.iter().zip(&lines.rebuilt) {
        if published != rebuilt
            && after_time(published).is_none_or(|job| Some(job) != after_time(rebuilt))
        {
            return Recognition::Refused(
                format!(
                    "more differs than minute and hour in {}",
                    order::shown(rebuilt)
                )
                .into(),
            );
        }
    }
    Recognition::Explained("only the minutes and hours of jobs differ, each a number".into())
}

/// Returns what follows the minute and the hour in a line of crontab(5).
///
/// The hour must be a number too, or the same on both sides and then part of what follows.
fn after_time(line: &[u8]) -> Option<&[u8]> {
    let number = |line: &'_ [u8], limit: u8| -> Option<usize> {
        let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let value: u8 = std::str::from_utf8(&line[..digits]).ok()?.parse().ok()?;
        (value < limit && line.get(digits) == Some(&b' ')).then_some(digits)
    };
    let line = &line[number(line, 60)?..];
    match number(&line[1..], 24) {
        Some(digits) => Some(&line[1 + digits..]),
        None => Some(line),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Row, examined, told};

    #[test]
    fn a_machine_id_explains_only_ids() {
        let id = b"0123456789abcdef0123456789abcdef\n";
        let cases = [
            (
                "two ids",
                "etc/machine-id",
                &b"ffffffffffffffffffffffffffffffff\n"[..],
                Some("machine-id"),
            ),
            ("none", "etc/machine-id", b"", Some("machine-id")),
            (
                "a script after it",
                "etc/machine-id",
                b"ffffffffffffffffffffffffffffffff\nrm -rf /\n",
                None,
            ),
            (
                "another file",
                "etc/passwd",
                b"ffffffffffffffffffffffffffffffff\n",
                None,
            ),
        ];
        for (case, path, other, cause) in cases {
            assert_eq!(examined(path, id, other), cause, "{case}");
            assert_eq!(examined(path, other, id), cause, "{case}, swapped");
        }
    }

    #[test]
    fn what_is_drawn_at_random_is_explained_only_by_its_form() {
        let random = |seed: u32| -> Vec<u8> {
            let next =
                |state: &u32| Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
            let numbers = std::iter::successors(Some(seed), next);
            numbers
                .skip(1)
                .take(512)
                .map(|number| number.to_be_bytes()[0])
                .collect()
        };
        let script = b"#!/bin/sh\n".repeat(52)[..512].to_vec();
        let seed = "var/lib/systemd/random-seed";
        let cron = "# at night\n17 3 * * * root job\n";
        let iscsi = "## DO NOT EDIT\nInitiatorName=iqn.1993-08.org.debian:01:9b1c2d3e4f5a\n";
        let uuid = "01234567-89ab-cdef-0123-456789abcdef";
        let rows: [Row<'_>; 9] = [
            ("a seed", seed, random(1), random(2), "random-seed"),
            (
                "a script for a seed",
                seed,
                random(1),
                script,
                "random-seed: a side has too few different bytes to be random",
            ),
            (
                "bytes after a seed",
                seed,
                random(1),
                [random(2), vec![0]].concat(),
                "random-seed: the sides are not equally long, or no seed is so long",
            ),
            (
                "an id",
                "etc/iscsi/initiatorname.iscsi",
                iscsi.into(),
                iscsi.replace("9b1c", "ffff").into(),
                "generated-id",
            ),
            (
                "another comment",
                "etc/iscsi/initiatorname.iscsi",
                iscsi.into(),
                iscsi.replace("DO NOT", "DO").into(),
                "generated-id: a side holds something else than one id of this kind",
            ),
            (
                "a uuid",
                "var/lib/yum/uuid",
                uuid.into(),
                uuid.replace("01", "ff").into(),
                "generated-id",
            ),
            (
                "a minute",
                "etc/cron.d/x",
                cron.into(),
                cron.replace("17 3", "4 21").into(),
                "crontab-random",
            ),
            (
                "a job",
                "etc/cron.d/x",
                cron.into(),
                cron.replace("job", "evil").into(),
                "crontab-random: more differs than minute and hour in “17 3 * * * root evil”",
            ),
            (
                "every minute",
                "etc/cron.d/x",
                cron.into(),
                cron.replace("17 3", "* *").into(),
                "crontab-random: more differs than minute and hour in “* * * * * root job”",
            ),
        ];
        for (case, path, published, rebuilt, expected) in rows {
            assert_eq!(told(path, &published, &rebuilt), expected, "{case}");
        }
    }
}
