//! What is worth a look whatever explains it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::compare::{Attribute, Bearing, Difference, Location, Value, Visibility};

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
    /// Accounts, groups or their passwords.
    Account,
    /// Keys or certificates.
    Key,
    /// Where software is installed from.
    PackageSource,
    /// Something that starts by itself.
    Service,
    /// A program is new or other than it was.
    Executable,
    /// What the container runs, or how.
    Running,
    /// Bytes that are in the image and that a container does not see.
    Hidden,
}

/// Files that hold accounts.
const ACCOUNTS: [&str; 8] = [
    "etc/passwd",
    "etc/shadow",
    "etc/group",
    "etc/gshadow",
    "etc/passwd-",
    "etc/shadow-",
    "etc/subuid",
    "etc/subgid",
];

/// Folders and files with a meaning, by the start of their path.
const PLACES: [(&str, Risk); 20] = [
    ("etc/sudoers", Risk::Account),
    ("etc/pam.d/", Risk::Account),
    ("etc/ssh/", Risk::Key),
    ("root/.ssh/", Risk::Key),
    ("etc/ssl/", Risk::Key),
    ("etc/pki/", Risk::Key),
    ("etc/ca-certificates", Risk::Key),
    ("usr/share/ca-certificates/", Risk::Key),
    ("usr/local/share/ca-certificates/", Risk::Key),
    ("usr/share/keyrings/", Risk::Key),
    ("etc/apk/keys/", Risk::Key),
    ("etc/apt/", Risk::PackageSource),
    ("etc/apk/repositories", Risk::PackageSource),
    ("etc/yum.repos.d/", Risk::PackageSource),
    ("etc/systemd/", Risk::Service),
    ("lib/systemd/system/", Risk::Service),
    ("usr/lib/systemd/system/", Risk::Service),
    ("etc/init.d/", Risk::Service),
    ("etc/cron", Risk::Service),
    ("etc/ld.so.preload", Risk::Service),
];

/// Returns why the difference deserves a look, worst first.
pub(super) fn risks(difference: &Difference) -> Vec<Risk> {
    let mut risks = Vec::new();
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
        && name.starts_with(b"security.")
    {
        risks.push(Risk::Capability);
    }
    if difference.attribute == Attribute::Device
        || values
            .iter()
            .any(|value| matches!(value, Some(Value::Text(text)) if text.contains(" device ")))
    {
        risks.push(Risk::Device);
    }
    if difference.bearing == Bearing::Times {
        return;
    }
    if ACCOUNTS.iter().any(|account| account.as_bytes() == path) {
        risks.push(Risk::Account);
    }
    for (place, risk) in PLACES {
        if path.starts_with(place.as_bytes()) {
            risks.push(risk);
        }
    }
    if matches!(
        difference.attribute,
        Attribute::Content | Attribute::LinkTarget
    ) && [
        "bin/",
        "sbin/",
        "lib/",
        "usr/bin/",
        "usr/sbin/",
        "usr/lib/",
        "usr/local/bin/",
    ]
    .iter()
    .any(|place| path.starts_with(place.as_bytes()))
    {
        risks.push(Risk::Executable);
    }
}

/// Returns whether a mode is a file's: a directory's execute bit runs nothing.
fn is_file(values: &[&Option<Value>; 2]) -> bool {
    values.iter().all(|value| match value {
        Some(Value::Text(text)) => text.starts_with("file "),
        _ => true,
    })
}
