//! What a file may do beyond its owner's rights, as its extended attribute says.

use std::collections::BTreeMap;

/// The kernel's names, by number.
///
/// Source: Linux, `include/uapi/linux/capability.h`.
const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// Returns what a value of `security.capability` grants, in the words of `getcap`.
///
/// `cap_net_raw=ep` stands for one that is effective and permitted; `=` for none.
/// `None` where the value is not of a form that the kernel takes.
///
/// Source: capabilities(7); Linux, `struct vfs_ns_cap_data`.
pub fn capabilities(value: &[u8]) -> Option<String> {
    let words: Vec<u32> = value
        .chunks(4)
        .map(|word| Some(u32::from_le_bytes(word.try_into().ok()?)))
        .collect::<Option<_>>()?;
    let (&head, words) = words.split_first()?;
    let (is_effective, revision) = (head & 1 == 1, head & !1);
    let (permitted, inheritable, root) = match (revision, words) {
        (0x0100_0000, &[permitted, inheritable]) => {
            (u64::from(permitted), u64::from(inheritable), None)
        }
        (0x0200_0000, &[low, low_i, high, high_i]) => (wide(low, high), wide(low_i, high_i), None),
        (0x0300_0000, &[low, low_i, high, high_i, root]) => {
            (wide(low, high), wide(low_i, high_i), Some(root))
        }
        _ => return None,
    };
    // By their flags, as getcap groups them.
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for number in 0..64 {
        let has = |set: u64| set >> number & 1 == 1;
        if !has(permitted) && !has(inheritable) {
            continue;
        }
        let flags = [
            (is_effective, "e"),
            (has(inheritable), "i"),
            (has(permitted), "p"),
        ];
        let flags = flags
            .into_iter()
            .filter_map(|(is_set, flag)| is_set.then_some(flag))
            .collect();
        let name = match NAMES.get(number) {
            Some(name) => format!("cap_{name}"),
            None => format!("{number}"),
        };
        groups.entry(flags).or_default().push(name);
    }
    let groups: Vec<String> = groups
        .into_iter()
        .map(|(flags, names)| format!("{}={flags}", names.join(",")))
        .collect();
    let text = match groups.is_empty() {
        true if is_effective => "=e".to_owned(),
        true => "=".to_owned(),
        false => groups.join(" "),
    };
    Some(match root {
        Some(root) => format!("{text} [rootid={root}]"),
        None => text,
    })
}

fn wide(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_told_by_their_names() {
        let value = |words: &[u32]| -> Vec<u8> {
            words.iter().flat_map(|word| word.to_le_bytes()).collect()
        };
        let rows = [
            (
                "ping",
                value(&[0x0200_0001, 1 << 13, 0, 0, 0]),
                Some("cap_net_raw=ep"),
            ),
            (
                "not effective, one inherited",
                value(&[0x0200_0000, 1 << 13, 1 << 10, 1 << 7, 0]),
                Some("cap_net_bind_service=i cap_net_raw,cap_bpf=p"),
            ),
            (
                "of a user namespace",
                value(&[0x0300_0001, 1, 0, 0, 0, 1000]),
                Some("cap_chown=ep [rootid=1000]"),
            ),
            (
                "the oldest form",
                value(&[0x0100_0001, 1 << 21, 0]),
                Some("cap_sys_admin=ep"),
            ),
            (
                "one without a name",
                value(&[0x0200_0000, 0, 0, 1 << 31, 0]),
                Some("63=p"),
            ),
            ("none", value(&[0x0200_0000, 0, 0, 0, 0]), Some("=")),
            ("a word more", value(&[0x0200_0001, 0, 0, 0, 0, 0]), None),
            ("cut short", vec![1, 0, 0], None),
            ("nothing", Vec::new(), None),
        ];
        for (case, value, expected) in rows {
            assert_eq!(capabilities(&value).as_deref(), expected, "{case}");
        }
    }
}
