//! Causes that come of the machine on which the image was built.

use std::net::IpAddr;

use super::{Cause, File, Recogniser, Recognition, Root, keys::is_host, order};

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        id: "resolv",
        root: Root::Machine,
        title: "the file was taken over from the machine that built the image",
        advice: "empty /etc/resolv.conf, /etc/hostname and /etc/hosts: the runtime writes its own",
        recognise: Recogniser::File(network),
    },
    Cause {
        id: "mtab",
        root: Root::Machine,
        title: "what was mounted during the build was written down",
        advice: "make /etc/mtab a link to /proc/self/mounts",
        recognise: Recogniser::File(|file| {
            if file.path.as_bytes() == b"etc/mtab" {
                own_lines(file, mounted, "a line of mtab(5)")
            } else {
                Recognition::Elsewhere
            }
        }),
    },
];

/// Returns whether a line says what is mounted where.
///
/// Source: fstab(5), which escapes spaces in names.
fn mounted(line: &[u8]) -> bool {
    let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let [device, place, kind, options, dump, pass] = words[..] else {
        return false;
    };
    let is_word = |word: &[u8], more: &[u8]| {
        let fits = |byte: &u8| byte.is_ascii_alphanumeric() || more.contains(byte);
        !word.is_empty() && word.iter().all(fits)
    };
    is_word(device, b"/._-:@%+\\[]")
        && place.starts_with(b"/")
        && is_word(place, b"/._-:@%+\\")
        && is_word(kind, b"._-")
        && is_word(options, b"=,/._-:@%+\\")
        && [dump, pass]
            .iter()
            .all(|word| matches!(word, [b'0'..=b'9']))
}

fn network(file: &File<'_>) -> Recognition {
    let is_own: fn(&[u8]) -> bool = match file.path.as_bytes() {
        b"etc/hostname" => is_host,
        b"etc/resolv.conf" => resolver,
        b"etc/hosts" => own_address,
        _ => return Recognition::Elsewhere,
    };
    own_lines(file, is_own, "what a machine has of its own")
}

/// Recognises two files that are the same, in order, but for lines of this kind.
///
/// Of lines that are not, the order counts: a name has the address of its first line.
fn own_lines(file: &File<'_>, is_own: fn(&[u8]) -> bool, kind: &str) -> Recognition {
    if let Some(refused) = order::too_many_lines(file.bytes) {
        return refused;
    }
    let rest = file.bytes.map(|bytes| {
        let lines = bytes.split(|&byte| byte == b'\n');
        let rest = lines.filter(|line| !line.is_empty() && !is_own(line));
        rest.collect::<Vec<&[u8]>>()
    });
    let (published, rebuilt) = (&rest.published, &rest.rebuilt);
    let same = published.iter().zip(rebuilt);
    let same = same.take_while(|(one, other)| one == other).count();
    let odd = match (published.get(same), rebuilt.get(same)) {
        (Some(odd), _) => Some(("published", odd)),
        (None, odd) => odd.map(|odd| ("rebuilt", odd)),
    };
    if let Some((side, odd)) = odd {
        let odd = order::shown(odd);
        return Recognition::Refused(format!("{odd} in the {side} file is not {kind}").into());
    }
    Recognition::Explained(format!("the files are the same but for lines that are {kind}").into())
}

/// Returns whether a line is one of resolv.conf(5) with addresses or domains, and no comment.
fn resolver(line: &[u8]) -> bool {
    let Ok(line) = std::str::from_utf8(line) else {
        return false;
    };
    let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
    let address = |text: &str| {
        let text = text.split('%').next().unwrap_or(text);
        text.parse::<IpAddr>().is_ok()
    };
    match words.next() {
        Some("nameserver") => words.next().is_some_and(address) && words.next().is_none(),
        Some("search" | "domain") => words.all(|word| word == "." || is_host(word.as_bytes())),
        Some("options") => words.all(|word| {
            word.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-:".contains(&byte))
        }),
        _ => false,
    }
}

/// Returns whether a line of hosts(5) gives a machine without a domain an address of its own
/// network: a name with a domain may be anybody's.
fn own_address(line: &[u8]) -> bool {
    let Ok(line) = std::str::from_utf8(line) else {
        return false;
    };
    let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
    let is_private = match words.next().map(str::parse::<IpAddr>) {
        Some(Ok(IpAddr::V4(address))) => {
            address.is_private() || address.is_loopback() || address.is_link_local()
        }
        Some(Ok(IpAddr::V6(address))) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
        Some(Err(_)) | None => false,
    };
    let is_name = |word: &str| {
        is_host(word.as_bytes()) && !word.contains('.') && !word.eq_ignore_ascii_case("localhost")
    };
    let names: Vec<&str> = words.collect();
    is_private && !names.is_empty() && names.into_iter().all(is_name)
}

#[cfg(test)]
mod tests {
    use super::super::testing::told;

    #[test]
    fn what_a_machine_has_of_its_own_is_explained_and_nothing_else() {
        let hosts = "127.0.0.1 localhost\n172.17.0.2 7f3ab2c9d001\n";
        let resolv = "# written by hand\nnameserver 10.0.2.3\nsearch lan\n";
        let rows = [
            (
                "a name",
                "etc/hostname",
                "vm\n",
                "7f3ab2c9d001\n".to_owned(),
                "resolv",
            ),
            (
                "no name",
                "etc/hostname",
                "vm\n",
                "$(id)\n".to_owned(),
                "resolv: “$(id)” in the rebuilt file is not what a machine has of its own",
            ),
            (
                "an address",
                "etc/hosts",
                hosts,
                hosts.replace("172.17.0.2 7f3ab2c9d001", "10.88.0.5 0a0b0c0d0e0f"),
                "resolv",
            ),
            (
                "somebody else's name",
                "etc/hosts",
                hosts,
                format!("{hosts}10.0.0.1 packages.example\n"),
                "resolv: “10.0.0.1 packages.example” in the rebuilt file is not what a machine has of its own",
            ),
            (
                "another localhost",
                "etc/hosts",
                hosts,
                hosts.replace("127.0.0.1", "10.0.0.1"),
                "resolv: “127.0.0.1 localhost” in the published file is not what a machine has of its own",
            ),
            (
                "another order of two addresses of a name",
                "etc/hosts",
                "127.0.0.1 localhost\n10.0.0.66 localhost\n",
                "10.0.0.66 localhost\n127.0.0.1 localhost\n".to_owned(),
                "resolv: “127.0.0.1 localhost” in the published file is not what a machine has of its own",
            ),
            (
                "name servers",
                "etc/resolv.conf",
                resolv,
                resolv.replace(
                    "nameserver 10.0.2.3",
                    "nameserver fe80::1%eth0\noptions edns0 ndots:0",
                ),
                "resolv",
            ),
            (
                "another comment",
                "etc/resolv.conf",
                resolv,
                resolv.replace("hand", "curl"),
                "resolv: “# written by hand” in the published file is not what a machine has of its own",
            ),
            (
                "mounts",
                "etc/mtab",
                "overlay / overlay rw,lowerdir=/var/l/A:/var/l/B 0 0\n",
                "/dev/loop0 / ext4 rw 0 0\nproc /proc proc rw 0 0\n".to_owned(),
                "mtab",
            ),
            (
                "no mount",
                "etc/mtab",
                "proc /proc proc rw 0 0\n",
                "proc /proc proc rw 0 0\n$(id) /proc proc rw 0 0\n".to_owned(),
                "mtab: “$(id) /proc proc rw 0 0” in the rebuilt file is not a line of mtab(5)",
            ),
        ];
        for (case, path, published, rebuilt, expected) in rows {
            let found = told(path, published.as_bytes(), rebuilt.as_bytes());
            assert_eq!(found, expected, "{case}");
        }
    }
}
