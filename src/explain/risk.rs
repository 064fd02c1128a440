//! What is worth a look whatever explains it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    compare::{Attribute, Bearing, Difference, Location, Value, Visibility},
    pair::Pair,
};

/// Why a difference deserves a look even when its cause is known; the worst first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Risk {
    /// A file runs with its owner's or group's rights.
    Setuid,
    /// A file has or loses capabilities.
    Capability,
    /// A device node.
    Device,
    /// A program or library is new or other than it was.
    Executable,
    /// Accounts, groups or their passwords.
    Account,
    /// Keys or certificates.
    Key,
    /// Where software is installed from.
    PackageSource,
    /// A link leads elsewhere.
    Link,
    /// Something that starts by itself, or that decides what does.
    Service,
    /// What the container runs, or how.
    Running,
    /// Bytes that are in the image and that a container does not see.
    Hidden,
}

/// Folders and files with a meaning, by the start of their path.
const PLACES: &[(&str, Risk)] = &[
    ("etc/passwd", Risk::Account),
    ("etc/shadow", Risk::Account),
    ("etc/group", Risk::Account),
    ("etc/gshadow", Risk::Account),
    ("etc/subuid", Risk::Account),
    ("etc/subgid", Risk::Account),
    ("etc/sudoers", Risk::Account),
    ("etc/sudo.conf", Risk::Account),
    ("etc/doas", Risk::Account),
    ("etc/pam.", Risk::Account),
    ("etc/security/", Risk::Account),
    ("etc/login.defs", Risk::Account),
    ("etc/nsswitch.conf", Risk::Account),
    ("etc/polkit-1/", Risk::Account),
    ("usr/share/polkit-1/", Risk::Account),
    ("usr/lib/sysusers.d/", Risk::Account),
    ("etc/ssh/", Risk::Key),
    ("root/.gnupg/", Risk::Key),
    ("etc/ssl/", Risk::Key),
    ("usr/lib/ssl/", Risk::Key),
    ("etc/pki/", Risk::Key),
    ("usr/share/pki/", Risk::Key),
    ("etc/ca-certificates", Risk::Key),
    ("usr/share/ca-certificates/", Risk::Key),
    ("usr/local/share/ca-certificates/", Risk::Key),
    ("usr/share/keyrings/", Risk::Key),
    ("etc/apt/keyrings/", Risk::Key),
    ("etc/apt/trusted.gpg", Risk::Key),
    ("etc/apk/keys/", Risk::Key),
    ("usr/share/apk/keys/", Risk::Key),
    ("etc/dovecot/private/", Risk::Key),
    ("etc/exim4/exim.", Risk::Key),
    ("var/lib/systemd/random-seed", Risk::Key),
    ("var/lib/urandom/random-seed", Risk::Key),
    ("var/lib/random-seed", Risk::Key),
    ("etc/apt/", Risk::PackageSource),
    ("etc/apk/", Risk::PackageSource),
    ("etc/yum", Risk::PackageSource),
    ("etc/dnf/", Risk::PackageSource),
    ("etc/zypp/", Risk::PackageSource),
    ("etc/pip.conf", Risk::PackageSource),
    ("etc/npmrc", Risk::PackageSource),
    ("root/.npmrc", Risk::PackageSource),
    ("root/.config/pip/", Risk::PackageSource),
    ("root/.cargo/config", Risk::PackageSource),
    ("etc/systemd/", Risk::Service),
    ("lib/systemd/", Risk::Service),
    ("usr/lib/systemd/", Risk::Service),
    ("usr/local/lib/systemd/", Risk::Service),
    ("etc/init", Risk::Service),
    ("etc/rc", Risk::Service),
    ("etc/cron", Risk::Service),
    ("etc/anacrontab", Risk::Service),
    ("var/spool/cron/", Risk::Service),
    ("etc/logrotate.", Risk::Service),
    // The loader runs what these name in every program.
    ("etc/ld.so.", Risk::Service),
    ("etc/ld-musl-", Risk::Service),
    ("etc/profile", Risk::Service),
    ("etc/bash", Risk::Service),
    ("etc/zsh", Risk::Service),
    ("etc/environment", Risk::Service),
    ("etc/udev/", Risk::Service),
    ("lib/udev/", Risk::Service),
    ("usr/lib/udev/", Risk::Service),
    ("etc/modprobe.d/", Risk::Service),
    ("etc/modules", Risk::Service),
    ("etc/sysctl", Risk::Service),
    ("etc/tmpfiles.d/", Risk::Service),
    ("usr/lib/tmpfiles.d/", Risk::Service),
    ("etc/binfmt.d/", Risk::Service),
    ("etc/xdg/autostart/", Risk::Service),
    ("etc/dbus-1/", Risk::Service),
    ("usr/share/dbus-1/", Risk::Service),
    ("etc/network/if-", Risk::Service),
    ("etc/NetworkManager/dispatcher.d/", Risk::Service),
    // What a shell or another program of root's reads when it starts.
    ("root/.", Risk::Service),
];

/// Folders of programs, with and without `usr/` or `usr/local/` before them.
const PROGRAMS: [&str; 3] = ["bin/", "sbin/", "libexec/"];

/// Folders of libraries, with and without `usr/` or `usr/local/` before them.
const LIBRARIES: [&str; 4] = ["lib/", "lib32/", "lib64/", "libx32/"];

/// The kinds of script that dpkg runs as root.
const MAINTAINER_SCRIPTS: [&str; 5] = ["preinst", "postinst", "prerm", "postrm", "config"];

/// Returns why the difference deserves a look, worst first.
pub(super) fn risks(difference: &Difference) -> Vec<Risk> {
    let mut risks = Vec::new();
    // Times alone never are a risk, seen or hidden.
    if matches!(
        difference.attribute,
        Attribute::Mtime | Attribute::Atime | Attribute::Ctime
    ) {
        return risks;
    }
    match &difference.location {
        Location::Config { .. } if difference.bearing == Bearing::Running => {
            risks.push(Risk::Running);
        }
        Location::Entry {
            path, visibility, ..
        } if difference.bearing != Bearing::Encoding => {
            if *visibility == Visibility::Hidden {
                risks.push(Risk::Hidden);
            }
            of_entry(path.as_bytes(), difference, &mut risks);
        }
        Location::Layer { .. } if difference.bearing == Bearing::LayerOddity => {
            risks.push(Risk::Hidden);
        }
        Location::Index { .. }
        | Location::Manifest { .. }
        | Location::Config { .. }
        | Location::Layer { .. }
        | Location::Entry { .. } => {}
    }
    risks.sort_unstable();
    risks.dedup();
    risks
}

/// Returns why a file deserves a look for what its bytes are, wherever it lies: a program that
/// differs in no more than a date or a path is another program all the same.
pub(super) fn of_bytes(sides: Pair<&[u8]>) -> Vec<Risk> {
    let is_program = sides.map(|bytes| bytes.starts_with(b"\x7fELF"));
    match is_program {
        Pair {
            published: false,
            rebuilt: false,
        } => Vec::new(),
        Pair { .. } => vec![Risk::Executable],
    }
}

fn of_entry(path: &[u8], difference: &Difference, risks: &mut Vec<Risk>) {
    let values = [&difference.values.published, &difference.values.rebuilt];
    let bits = |value: &&Option<Value>, mask: u32| match value {
        Some(Value::Octal(mode)) => mode & mask,
        // A whole entry, as `compare` describes it: the mode is the octal word.
        Some(Value::Text(text)) => text
            .split(' ')
            .find_map(|word| {
                (word.len() == 4)
                    .then(|| u32::from_str_radix(word, 8).ok())
                    .flatten()
            })
            .map_or(0, |mode| mode & mask),
        _ => 0,
    };
    let has_mode = matches!(difference.attribute, Attribute::Mode | Attribute::Presence);
    if has_mode && bits(&values[0], 0o6000) != bits(&values[1], 0o6000) {
        risks.push(Risk::Setuid);
    }
    if has_mode && bits(&values[0], 0o111) != bits(&values[1], 0o111) && is_file(&values) {
        risks.push(Risk::Executable);
    }
    if let Attribute::Xattr(name) = &difference.attribute
        && **name == *b"security.capability"
    {
        risks.push(Risk::Capability);
    }
    let described = |word: &str| {
        values
            .iter()
            .any(|value| matches!(value, Some(Value::Text(text)) if text.contains(word)))
    };
    if difference.attribute == Attribute::Device || described(" device ") {
        risks.push(Risk::Device);
    }
    let is_new = matches!(
        difference.attribute,
        Attribute::Presence | Attribute::Type | Attribute::Content | Attribute::LinkTarget
    );
    let is_reachable = matches!(
        difference.attribute,
        Attribute::Mode | Attribute::Uid | Attribute::Gid
    );
    if (is_new || is_reachable) && is_program(path) {
        risks.push(Risk::Executable);
    }
    let is_link = difference.attribute == Attribute::LinkTarget || described("symbolic link ");
    if is_link {
        risks.push(Risk::Link);
    }
    for &(place, risk) in PLACES {
        if path.starts_with(place.as_bytes()) {
            risks.push(risk);
        }
    }
    let has = |part: &[u8]| path.windows(part.len()).any(|window| window == part);
    if has(b"/.ssh/") || path.starts_with(b".ssh/") {
        risks.push(Risk::Key);
    }
    let script = path
        .strip_prefix(b"var/lib/dpkg/info/")
        .and_then(|name| name.rsplit(|&byte| byte == b'.').next());
    let is_script = script.is_some_and(|kind| {
        MAINTAINER_SCRIPTS
            .iter()
            .any(|name| name.as_bytes() == kind)
    });
    // Python runs these whenever it starts.
    let is_python = has(b"/python")
        && (path.ends_with(b".pth")
            || path.ends_with(b"/sitecustomize.py")
            || path.ends_with(b"/usercustomize.py"));
    if is_script || is_python || path.ends_with(b"lib/apk/db/scripts.tar") {
        risks.push(Risk::Service);
    }
}

/// Returns whether a path is a program's or a library's.
fn is_program(path: &[u8]) -> bool {
    let local = path.strip_prefix(b"usr/local/");
    let below = local.or_else(|| path.strip_prefix(b"usr/")).unwrap_or(path);
    let is_below = |folders: &[&str]| {
        folders
            .iter()
            .any(|folder| below.starts_with(folder.as_bytes()))
    };
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let is_library = name.ends_with(b".so")
        || name.windows(4).any(|window| window == b".so.")
        || name.ends_with(b".ko")
        || name.windows(4).any(|window| window == b".ko.");
    is_below(&PROGRAMS) || is_below(&LIBRARIES) && is_library
}

/// Returns whether a mode is a file's: a directory's execute bit runs nothing.
fn is_file(values: &[&Option<Value>; 2]) -> bool {
    values.iter().all(|value| match value {
        Some(Value::Text(text)) => text.starts_with("file "),
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::EntryPath;

    fn of(path: &str, attribute: Attribute, values: Pair<Option<Value>>) -> Vec<Risk> {
        risks(&Difference {
            location: Location::Entry {
                layer: Pair::new(Some(0), Some(0)),
                path: EntryPath::of(path.as_bytes()),
                visibility: Visibility::Visible,
            },
            attribute,
            values,
            bearing: Bearing::Files,
        })
    }

    #[test]
    fn what_gives_rights_or_runs_is_a_risk_and_a_time_never() {
        let text = |text: &str| Pair::new(None, Some(Value::Text(text.to_owned())));
        let mode = |one, other| Pair::new(Some(Value::Octal(one)), Some(Value::Octal(other)));
        let none = || Pair::new(None, None);
        let capability = Attribute::Xattr((*b"security.capability").into());
        let label = Attribute::Xattr((*b"security.selinux").into());
        let rows = [
            (
                "srv/x",
                Attribute::Mode,
                mode(0o755, 0o4755),
                vec![Risk::Setuid],
            ),
            (
                "srv/x",
                Attribute::Mode,
                mode(0o644, 0o755),
                vec![Risk::Executable],
            ),
            ("srv/x", Attribute::Mode, mode(0o644, 0o600), vec![]),
            (
                "usr/bin/x",
                Attribute::Mode,
                mode(0o755, 0o777),
                vec![Risk::Executable],
            ),
            (
                "usr/bin/x",
                Attribute::Presence,
                text("file 4755 0:0, 9 bytes, sha256:00"),
                vec![Risk::Setuid, Risk::Executable],
            ),
            (
                "bin/sh",
                Attribute::LinkTarget,
                none(),
                vec![Risk::Executable, Risk::Link],
            ),
            (
                "usr/lib/x/y",
                Attribute::Presence,
                text("symbolic link 0777 0:0 to /tmp"),
                vec![Risk::Link],
            ),
            (
                "dev/x",
                Attribute::Presence,
                text("block device 0600 0:0 8,0"),
                vec![Risk::Device],
            ),
            ("bin/ping", capability, none(), vec![Risk::Capability]),
            ("bin/ping", label, none(), vec![]),
            (
                "usr/lib/x86_64/libc.so.6",
                Attribute::Content,
                none(),
                vec![Risk::Executable],
            ),
            (
                "usr/libexec/x",
                Attribute::Content,
                none(),
                vec![Risk::Executable],
            ),
            ("usr/lib/x/data", Attribute::Content, none(), vec![]),
            (
                "etc/passwd",
                Attribute::Content,
                none(),
                vec![Risk::Account],
            ),
            (
                "etc/ssl/certs/java/cacerts",
                Attribute::Content,
                none(),
                vec![Risk::Key],
            ),
            (
                "home/me/.ssh/authorized_keys",
                Attribute::Content,
                none(),
                vec![Risk::Key],
            ),
            (
                "etc/apk/repositories",
                Attribute::Content,
                none(),
                vec![Risk::PackageSource],
            ),
            (
                "etc/apk/keys/x.pub",
                Attribute::Content,
                none(),
                vec![Risk::Key, Risk::PackageSource],
            ),
            (
                "etc/ld.so.conf.d/x.conf",
                Attribute::Content,
                none(),
                vec![Risk::Service],
            ),
            (
                "etc/profile.d/x.sh",
                Attribute::Content,
                none(),
                vec![Risk::Service],
            ),
            (
                "root/.bashrc",
                Attribute::Content,
                none(),
                vec![Risk::Service],
            ),
            (
                "usr/lib/python3/dist-packages/x.pth",
                Attribute::Content,
                none(),
                vec![Risk::Service],
            ),
            (
                "var/lib/dpkg/info/x.postinst",
                Attribute::Content,
                none(),
                vec![Risk::Service],
            ),
            (
                "var/lib/dpkg/info/x.list",
                Attribute::Content,
                none(),
                vec![],
            ),
            ("etc/shadow", Attribute::Mtime, none(), vec![]),
        ];
        for (path, attribute, values, expected) in rows {
            let case = format!("{path} {}", attribute.name());
            assert_eq!(of(path, attribute, values), expected, "{case}");
        }
    }
}
