//! What a container sees of layers, worked out a second time.
//!
//! Enough for the images made here: no path goes through a symbolic link, no
//! layer has a path twice.

use std::collections::BTreeMap;

use super::{archive::Member, image::Layer};

/// The layer and the number of a member in it.
pub(crate) type At = (usize, usize);

pub(crate) struct View<'a> {
    layers: &'a [Layer],
    /// By path: the member that made it, and the one whose file it names.
    pub(crate) nodes: BTreeMap<String, (At, At)>,
}

const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";

impl<'a> View<'a> {
    pub(crate) fn of(layers: &'a [Layer]) -> Self {
        let mut view = Self {
            layers,
            nodes: BTreeMap::new(),
        };
        for number in 0..layers.len() {
            view.whiteouts(number);
            view.members(number);
        }
        view
    }

    /// Takes away what the layer's whiteouts hide of those below it.
    fn whiteouts(&mut self, number: usize) {
        for member in &self.layers[number].archive.members {
            let path = member.path();
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
            if name == OPAQUE {
                self.nodes.retain(|path, _| !is_below(path, folder));
            } else if let Some(name) = name.strip_prefix(WHITEOUT) {
                let target = if folder.is_empty() {
                    name.to_owned()
                } else {
                    format!("{folder}/{name}")
                };
                self.nodes
                    .retain(|path, _| *path != target && !is_below(path, &target));
            }
        }
    }

    fn members(&mut self, number: usize) {
        for (index, member) in self.layers[number].archive.members.iter().enumerate() {
            let path = member.path();
            if is_whiteout(&path) {
                continue;
            }
            if member.flag() != b'5' {
                self.nodes.retain(|other, _| !is_below(other, &path));
            }
            let at = (number, index);
            let file = match member.flag() {
                b'1' => self.nodes[&member.target()].1,
                _ => at,
            };
            self.nodes.insert(path, (at, file));
        }
    }

    pub(crate) fn member(&self, (layer, index): At) -> &'a Member {
        &self.layers[layer].archive.members[index]
    }

    /// Returns the visible paths that one member made, and how many names its file has;
    /// of whatever `fits`.
    pub(crate) fn visible(&self, fits: impl Fn(&Member) -> bool) -> Vec<At> {
        let of = self.nodes.values().map(|&(at, _)| at);
        of.filter(|&at| fits(self.member(at))).collect()
    }

    /// Returns every path that names the file of this member.
    pub(crate) fn names(&self, at: At) -> Vec<String> {
        let Some(&(_, file)) = self.nodes.values().find(|(own, _)| *own == at) else {
            return Vec::new();
        };
        let names = self.nodes.iter().filter(|(_, (_, other))| *other == file);
        names.map(|(path, _)| path.clone()).collect()
    }

    /// Returns the members that no container sees, whiteouts left out.
    pub(crate) fn hidden(&self) -> Vec<At> {
        let all = self.layers.iter().enumerate().flat_map(|(number, layer)| {
            (0..layer.archive.members.len()).map(move |index| (number, index))
        });
        all.filter(|&at| {
            !is_whiteout(&self.member(at).path())
                && self
                    .nodes
                    .values()
                    .all(|(own, file)| *own != at && *file != at)
        })
        .collect()
    }

    /// Returns the directories above a path that have no entry of their own, as locations;
    /// they come and go with what they hold.
    pub(crate) fn implied(&self, path: &str) -> Vec<String> {
        let above = path.match_indices('/').map(|(end, _)| &path[..end]);
        above
            .filter(|above| !self.nodes.contains_key(*above))
            .map(|above| format!("/{above}"))
            .collect()
    }

    /// Returns whether anything lies in this folder, in any layer.
    pub(crate) fn is_used(&self, folder: &str) -> bool {
        self.layers
            .iter()
            .flat_map(|layer| &layer.archive.members)
            .any(|member| is_below(&member.path(), folder))
    }

    /// Returns whether several members are at the path, or another layer hides it.
    pub(crate) fn is_touched_twice(&self, path: &str) -> bool {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let whiteout = format!("{folder}/{WHITEOUT}{name}");
        let paths = self
            .layers
            .iter()
            .flat_map(|layer| &layer.archive.members)
            .map(Member::path);
        paths
            .filter(|other| other == path || *other == whiteout)
            .count()
            > 1
    }
}

pub(crate) fn is_whiteout(path: &str) -> bool {
    path.rsplit('/')
        .next()
        .is_some_and(|name| name.starts_with(WHITEOUT))
}

pub(crate) fn is_below(path: &str, folder: &str) -> bool {
    folder.is_empty() && !path.is_empty()
        || path
            .strip_prefix(folder)
            .is_some_and(|rest| rest.starts_with('/'))
}
