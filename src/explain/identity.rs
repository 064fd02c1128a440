//! Causes in files that are drawn at random, once for each machine.

use super::{Cause, File, Recogniser, Recognition, Root};

pub(super) const CAUSES: &[Cause] = &[Cause {
    id: "machine-id",
    root: Root::Randomness,
    title: "the machine's id is drawn at random when systemd or dbus is installed",
    advice: "leave /etc/machine-id empty in an image, and delete /var/lib/dbus/machine-id",
    recognise: Recogniser::File(machine_id),
}];

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

#[cfg(test)]
mod tests {
    use super::super::testing::examined;

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
}
