//! Coverage: every entry and byte of the published image is accounted for, in sum and by folder.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    compare::Location,
    explain::Finding,
    image::{EntryPath, Layer, overlay::FileSystem},
    verdict::Acceptance,
};

/// How much of the published image is the same, and what became of the rest.
///
/// The sums close: the four parts of each add up to its total.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Coverage {
    /// Entries of all layers.
    pub entries: Shares,
    /// Bytes of content of all entries.
    pub bytes: Shares,
}

/// What became of the entries that lie directly in one folder, over all layers.
///
/// Summed over all folders these are [`Coverage::entries`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Folder {
    /// The folder, as findings name it; `/` is the top, which counts itself too.
    pub path: String,
    /// Entries that no finding is about.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub identical: u64,
    /// Entries of which every finding has a known cause.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub explained: u64,
    /// Entries of which a waiver accepts a finding, the others having a known cause.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub waived: u64,
    /// Entries of which some finding has no known cause and no waiver.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unexplained: u64,
    /// Paths that only the rebuilt image has; no part of the published image.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub only_rebuilt: u64,
    /// How many folders below are counted in this one, there being more than are listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub folded: u64,
}

/// How many folders are listed; an image of a distribution has a few thousand.
const MAX_FOLDERS: usize = 10_000;

/// Parts of a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Shares {
    /// No finding is about it.
    pub identical: u64,
    /// Every finding about it has a known cause.
    pub explained: u64,
    /// A waiver accepts a finding about it, and the others have a known cause.
    pub waived: u64,
    /// Some finding about it has no known cause and no waiver.
    pub unexplained: u64,
    /// All of it.
    pub total: u64,
}

/// What became of an entry; the worst finding counts.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// No finding is about it.
    #[default]
    Identical,
    /// Every finding about it has a known cause.
    Explained,
    /// A waiver accepts a finding about it, and the others have a known cause.
    Waived,
    /// Some finding about it has no known cause and no waiver.
    Unexplained,
}

/// What is found about a path, in all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fate {
    /// What became of it.
    pub state: State,
    /// In what it differs.
    pub differs: BTreeSet<&'static str>,
    /// Why.
    pub causes: BTreeSet<&'static str>,
}

impl Fate {
    fn add(&mut self, other: &Self) {
        self.state = self.state.max(other.state);
        self.differs.extend(&other.differs);
        self.causes.extend(&other.causes);
    }
}

/// Returns what became of the paths that findings are about.
///
/// A finding about a path is held against every entry of that path.
pub fn fates<'a>(
    findings: &'a [Finding],
    acceptances: &[Acceptance],
) -> BTreeMap<&'a EntryPath, Fate> {
    let mut fates: BTreeMap<&EntryPath, Fate> = BTreeMap::new();
    for (finding, acceptance) in findings.iter().zip(acceptances) {
        let Location::Entry { path, .. } = &finding.difference.location else {
            continue;
        };
        let cause = finding.explanation.as_ref().map(|it| it.cause.id);
        let state = match (acceptance, cause) {
            (Acceptance::Waived(_), _) => State::Waived,
            (_, Some(_)) => State::Explained,
            (_, None) => State::Unexplained,
        };
        let fate = fates.entry(path).or_default();
        fate.state = fate.state.max(state);
        fate.differs.insert(finding.difference.attribute.name());
        fate.causes.extend(cause);
    }
    fates
}

/// Holds what is found at a place against the published entries that lie there by a link.
///
/// An entry `lib/a` lies at `usr/lib/a` where `lib` is a link, and that is where findings say
/// that it differs.
pub(crate) fn follow_links<'a>(
    fates: &mut BTreeMap<&'a EntryPath, Fate>,
    layers: &'a [Arc<Layer>],
    system: &FileSystem,
) {
    let placed = system.paths().filter_map(|(place, node)| {
        let id = node.entry?;
        let path = &layers[id.layer].entries[id.index].path;
        (path != place).then_some((path, place))
    });
    let elsewhere: Vec<(&EntryPath, &EntryPath)> = placed.collect();
    if elsewhere.is_empty() {
        return;
    }
    let entries = layers.iter().flat_map(|layer| &layer.entries);
    let named: BTreeSet<&EntryPath> = entries.map(|entry| &entry.path).collect();
    for (path, place) in elsewhere {
        let fate = if named.contains(place) {
            fates.get(place).cloned()
        } else {
            fates.remove(place)
        };
        if let Some(fate) = fate {
            fates.entry(path).or_default().add(&fate);
        }
    }
}

/// Accounts for every entry of the published layers, in sum and by folder.
pub fn account(
    layers: &[Arc<Layer>],
    fates: &BTreeMap<&EntryPath, Fate>,
) -> (Coverage, Vec<Folder>) {
    let mut coverage = Coverage::default();
    let mut folders = BTreeMap::new();
    let mut published = BTreeSet::new();
    for entry in layers.iter().flat_map(|layer| &layer.entries) {
        let state = match fates.get(&entry.path) {
            Some(fate) => {
                published.insert(&entry.path);
                fate.state
            }
            None => State::Identical,
        };
        coverage.entries.add(state, 1);
        coverage.bytes.add(state, entry.kind.size());
        folder_of(&entry.path, &mut folders).add(state);
    }
    for path in fates.keys().filter(|path| !published.contains(*path)) {
        folder_of(path, &mut folders).only_rebuilt += 1;
    }
    (coverage, listed(&folders, MAX_FOLDERS))
}

fn folder_of<'a>(path: &EntryPath, folders: &'a mut BTreeMap<EntryPath, Folder>) -> &'a mut Folder {
    let parent = path.parent().unwrap_or_else(|| path.clone());
    folders.entry(parent).or_default()
}

/// Returns no more than `most` folders, what lies deeper being counted in the folder above.
fn listed(folders: &BTreeMap<EntryPath, Folder>, most: usize) -> Vec<Folder> {
    let count = |depth: usize| {
        let above = folders.keys().map(|path| above(path, depth));
        above.collect::<BTreeSet<&[u8]>>().len()
    };
    // The deeper paths are kept the more of them there are: halving finds the last depth that fits.
    let (mut fits, mut beyond) = (0, folders.keys().map(depth).max().unwrap_or(0) + 1);
    if folders.len() <= most {
        fits = beyond;
    }
    while fits + 1 < beyond {
        let middle = fits.midpoint(beyond);
        if count(middle) <= most {
            fits = middle;
        } else {
            beyond = middle;
        }
    }
    let mut kept: BTreeMap<&[u8], Folder> = BTreeMap::new();
    for (path, folder) in folders {
        let above = above(path, fits);
        let folded = u64::from(above != path.as_bytes());
        kept.entry(above).or_default().take(folder, folded);
    }
    kept.into_iter()
        .map(|(path, folder)| Folder {
            path: EntryPath::of(path).to_string(),
            ..folder
        })
        .collect()
}

fn depth(path: &EntryPath) -> usize {
    if path.is_root() {
        0
    } else {
        path.as_bytes().split(|&byte| byte == b'/').count()
    }
}

/// Returns the folder at that depth on the way to a path, or the path where it is not as deep.
fn above(path: &EntryPath, depth: usize) -> &[u8] {
    let bytes = path.as_bytes();
    let Some(slash) = depth.checked_sub(1) else {
        return &[];
    };
    let mut slashes = (0..bytes.len()).filter(|&at| bytes[at] == b'/');
    &bytes[..slashes.nth(slash).unwrap_or(bytes.len())]
}

impl Folder {
    fn add(&mut self, state: State) {
        *match state {
            State::Identical => &mut self.identical,
            State::Explained => &mut self.explained,
            State::Waived => &mut self.waived,
            State::Unexplained => &mut self.unexplained,
        } += 1;
    }

    /// Counts the entries of a folder as this one's own.
    fn take(&mut self, other: &Self, folded: u64) {
        self.identical += other.identical;
        self.explained += other.explained;
        self.waived += other.waived;
        self.unexplained += other.unexplained;
        self.only_rebuilt += other.only_rebuilt;
        self.folded += other.folded + folded;
    }
}

impl Shares {
    fn add(&mut self, state: State, amount: u64) {
        self.total += amount;
        *match state {
            State::Identical => &mut self.identical,
            State::Explained => &mut self.explained,
            State::Waived => &mut self.waived,
            State::Unexplained => &mut self.unexplained,
        } += amount;
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_beyond_the_limit_are_counted_in_the_one_above() {
        let folders = || -> BTreeMap<EntryPath, Folder> {
            let paths = ["", "a", "a-b", "a/b", "a/b/c", "a/b/d", "e/f/g"];
            let one = |path: &str| {
                let folder = Folder {
                    identical: 1,
                    ..Folder::default()
                };
                (EntryPath::of(path.as_bytes()), folder)
            };
            paths.into_iter().map(one).collect()
        };
        let cases: [(usize, &[&str]); 4] = [
            (
                7,
                &[
                    "/ 1 0",
                    "/a 1 0",
                    "/a-b 1 0",
                    "/a/b 1 0",
                    "/a/b/c 1 0",
                    "/a/b/d 1 0",
                    "/e/f/g 1 0",
                ],
            ),
            (6, &["/ 1 0", "/a 1 0", "/a-b 1 0", "/a/b 3 2", "/e/f 1 1"]),
            (4, &["/ 1 0", "/a 4 3", "/a-b 1 0", "/e 1 1"]),
            (3, &["/ 7 6"]),
        ];
        for (most, expected) in cases {
            let told: Vec<String> = listed(&folders(), most)
                .iter()
                .map(|folder| format!("{} {} {}", folder.path, folder.identical, folder.folded))
                .collect();
            assert_eq!(told, expected, "{most}");
        }
    }
}
