//! The flattened file systems, compared path by path, and what lies hidden under them.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use super::{Attribute, Bearing, Difference, Value, Visibility, layer};
use crate::{
    image::{
        Entry, EntryPath, Layer,
        overlay::{EntryId, FileSystem, Irregularity, Node},
    },
    pair::Pair,
};

/// Both images' layers and the file systems they make.
pub(super) struct Views<'a> {
    layers: Pair<&'a [Arc<Layer>]>,
    systems: Pair<&'a FileSystem>,
    /// The paths that share their file with other names than on the other side.
    regrouped: BTreeSet<EntryPath>,
}

/// One path on one side: its name, and what stands there.
type Named<'a> = (&'a EntryPath, Node);

impl<'a> Views<'a> {
    /// Looks at the file systems that these layers make.
    pub(super) const fn new(layers: Pair<&'a [Arc<Layer>]>, systems: Pair<&'a FileSystem>) -> Self {
        Self {
            layers,
            systems,
            regrouped: BTreeSet::new(),
        }
    }

    /// Adds every difference between the flattened file systems, by path.
    pub(super) fn compare(&mut self, differences: &mut Vec<Difference>) {
        // Names that share a file share its differences; they are said once.
        let mut compared = BTreeSet::new();
        let mut groups = Groups::default();
        let mut published = self.systems.published.paths().peekable();
        let mut rebuilt = self.systems.rebuilt.paths().peekable();
        loop {
            let ordering = match (published.peek(), rebuilt.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((one, _)), Some((other, _))) => one.cmp(other),
            };
            let left = if ordering == Ordering::Greater {
                None
            } else {
                published.next()
            };
            let right = if ordering == Ordering::Less {
                None
            } else {
                rebuilt.next()
            };
            match (left, right) {
                (Some(left), Some(right)) => {
                    if left.1.links > 1 || right.1.links > 1 {
                        groups.add(left.0, Pair::new(left.1.inode, right.1.inode));
                    }
                    if compared.insert((left.1.inode, right.1.inode)) {
                        self.both(left, right, differences);
                    }
                }
                (Some(left), None) => {
                    self.presence(left.0, Pair::new(Some(left.1), None), differences);
                }
                (None, Some(right)) => {
                    self.presence(right.0, Pair::new(None, Some(right.1)), differences);
                }
                (None, None) => break,
            }
        }
        let moved = groups.moved();
        self.regrouped = moved.iter().map(|(path, _)| path.clone()).collect();
        self.regroupings(moved, differences);
    }

    /// Adds what differs at a path that both file systems have.
    fn both(&self, published: Named<'_>, rebuilt: Named<'_>, differences: &mut Vec<Difference>) {
        let path = published.0;
        let nodes = Pair::new(published.1, rebuilt.1);
        let files = Pair::new(self.file(0, &nodes.published), self.file(1, &nodes.rebuilt));
        match (files.published, files.rebuilt) {
            (Some(one), Some(other)) => {
                let files = Pair::new(one, other);
                for (attribute, values) in layer::content_fields(files) {
                    differences.push(Difference {
                        location: layer::at(layer_of(nodes), path, Visibility::Visible),
                        attribute,
                        values,
                        bearing: Bearing::Files,
                    });
                }
                // The last link to a file sets its mode, owner and times, and is then where they differ.
                let setters = Pair::new(
                    self.setter(0, &nodes.published).unwrap_or(one),
                    self.setter(1, &nodes.rebuilt).unwrap_or(other),
                );
                let both_set_by = setters.map(|setter| &setter.path);
                let path = if both_set_by.is_equal()
                    && self.inodes_at(both_set_by.published) == nodes.map(|node| Some(node.inode))
                {
                    both_set_by.published
                } else {
                    path
                };
                for (attribute, values) in layer::attribute_fields(setters) {
                    let bearing = if attribute == Attribute::Mtime {
                        Bearing::Times
                    } else {
                        Bearing::Files
                    };
                    differences.push(Difference {
                        location: layer::at(layer_of(nodes), path, Visibility::Visible),
                        attribute,
                        values,
                        bearing,
                    });
                }
            }
            (None, None) => {}
            (Some(_), None) => {
                self.presence(path, Pair::new(Some(nodes.published), None), differences);
            }
            (None, Some(_)) => {
                self.presence(path, Pair::new(None, Some(nodes.rebuilt)), differences);
            }
        }
    }

    /// Adds that one side has a path, or an entry for it, and the other has not.
    fn presence(
        &self,
        path: &EntryPath,
        nodes: Pair<Option<Node>>,
        differences: &mut Vec<Difference>,
    ) {
        // The file, and what sets its mode and owner: the last link to it may make it setuid.
        let entry = |side, node: &Node| {
            let file = self.file(side, node)?;
            Some((file, self.setter(side, node).unwrap_or(file)))
        };
        let entries = Pair::new(
            nodes.published.as_ref().map(|node| entry(0, node)),
            nodes.rebuilt.as_ref().map(|node| entry(1, node)),
        );
        let values = entries.map(|entry| {
            entry.map(|entry| {
                entry.map_or(
                    Value::Word("directory implied by what it holds"),
                    |(file, setter)| layer::described(file, setter),
                )
            })
        });
        // An archive need not have an entry for the root, which is then as runtimes make it.
        let plain_root = path.is_root()
            && [entries.published, entries.rebuilt]
                .into_iter()
                .flatten()
                .flatten()
                .all(|(_, setter)| {
                    setter.mode & 0o7777 == 0o755
                        && setter.uid == 0
                        && setter.gid == 0
                        && setter.xattrs().is_empty()
                });
        let layers = nodes.map(|node| node.and_then(|node| node.entry).map(|id| id.layer));
        differences.push(Difference {
            location: layer::at(layers, path, Visibility::Visible),
            attribute: Attribute::Presence,
            values,
            bearing: if plain_root {
                Bearing::Encoding
            } else {
                Bearing::Files
            },
        });
    }

    /// Adds every path that shares its file with other names than on the other side.
    fn regroupings(
        &self,
        moved: Vec<(EntryPath, Pair<String>)>,
        differences: &mut Vec<Difference>,
    ) {
        for (path, names) in moved {
            let nodes = self.systems.as_ref().map(|system| system.at(&path));
            let layers = nodes.map(|node| node.and_then(|node| node.entry).map(|id| id.layer));
            differences.push(Difference {
                location: layer::at(layers, &path, Visibility::Visible),
                attribute: Attribute::HardLinks,
                values: names.map(|names| Some(Value::Text(names))),
                bearing: Bearing::Files,
            });
        }
    }

    /// Adds what differs in the form of two paired entries, and in what they say where
    /// the flattened view does not show it.
    pub(super) fn form(
        &self,
        layers: Pair<Option<usize>>,
        indexes: Pair<Option<usize>>,
        both: Pair<&Entry>,
        differences: &mut Vec<Difference>,
    ) {
        let ids = Self::ids(layers, indexes);
        let shown = Pair::new(
            self.shown(0, ids.published, both.published),
            self.shown(1, ids.rebuilt, both.rebuilt),
        );
        let visible = Pair::new(
            self.is_visible(0, ids.published),
            self.is_visible(1, ids.rebuilt),
        );
        let visibility = if visible == Pair::new(false, false) {
            Visibility::Hidden
        } else {
            Visibility::Visible
        };
        let content = layer::content_fields(both);
        let attributes = layer::attribute_fields(both);
        let known = !content.is_empty() || !attributes.is_empty();
        let mut add = |attribute, values, bearing| {
            differences.push(Difference {
                location: layer::at(layers, &both.published.path, visibility),
                attribute,
                values,
                bearing,
            });
        };
        // Which file a name leads to shows in the flattened view; which of its names is
        // written as the file and which as a link to it is a way of writing.
        let links = both.map(Entry::is_hard_link);
        let same_file = (links.published || links.rebuilt)
            && shown.published.named
            && shown.rebuilt.named
            && !self.regrouped.contains(&both.published.path);
        let content_shown = shown.published.content && shown.rebuilt.content;
        let attributes_shown = shown.published.attributes && shown.rebuilt.attributes;
        let unseen = content
            .into_iter()
            .filter(|_| !content_shown)
            .chain(attributes.into_iter().filter(|_| !attributes_shown));
        for (attribute, values) in unseen {
            let bearing = match attribute {
                Attribute::Mtime => Bearing::Times,
                Attribute::Type | Attribute::LinkTarget if same_file => Bearing::Encoding,
                _ => Bearing::LayerOddity,
            };
            add(attribute, values, bearing);
        }
        layer::form_fields(both, known, add);
    }

    /// Adds an entry that one of two paired archives has and the other has not, unless
    /// the flattened view shows just that.
    pub(super) fn alone(
        &self,
        layers: Pair<Option<usize>>,
        indexes: Pair<Option<usize>>,
        sides: Pair<&Layer>,
        differences: &mut Vec<Difference>,
    ) {
        let ids = Self::ids(layers, indexes);
        let (side, id) = match (ids.published, ids.rebuilt) {
            (Some(id), _) => (0, id),
            (None, Some(id)) => (1, id),
            (None, None) => return,
        };
        let entry = if side == 0 {
            &sides.published.entries[id.index]
        } else {
            &sides.rebuilt.entries[id.index]
        };
        let visible = self.names(side, id, entry);
        let other = self.system(1 - side);
        let other_has_entry = other
            .at(&entry.path)
            .is_some_and(|node| node.entry.is_some());
        if visible && !other_has_entry {
            return;
        }
        let value = Some(layer::described(entry, entry));
        differences.push(Difference {
            location: layer::at(
                layers,
                &entry.path,
                if visible {
                    Visibility::Visible
                } else {
                    Visibility::Hidden
                },
            ),
            attribute: Attribute::Presence,
            values: if side == 0 {
                Pair::new(value, None)
            } else {
                Pair::new(None, value)
            },
            // Visible: the path comes from another layer on the other side, where it is compared.
            bearing: if visible {
                Bearing::Encoding
            } else {
                Bearing::LayerOddity
            },
        });
    }

    /// Adds what is hidden or odd in layers that have no counterpart.
    pub(super) fn unpaired(
        &self,
        pairing: &[Pair<Option<usize>>],
        differences: &mut Vec<Difference>,
    ) {
        let alone = Pair::new(
            pairing
                .iter()
                .filter(|pair| pair.rebuilt.is_none())
                .filter_map(|pair| pair.published)
                .collect::<Vec<_>>(),
            pairing
                .iter()
                .filter(|pair| pair.published.is_none())
                .filter_map(|pair| pair.rebuilt)
                .collect::<Vec<_>>(),
        );
        let hidden = |system: &FileSystem, layers: &[Arc<Layer>], alone: &[usize]| {
            let mut by_path: BTreeMap<EntryPath, Vec<EntryId>> = BTreeMap::new();
            for id in system
                .hidden()
                .iter()
                .filter(|id| alone.contains(&id.layer))
            {
                let path = layers[id.layer].entries[id.index].path.clone();
                by_path.entry(path).or_default().push(*id);
            }
            by_path
        };
        let published = hidden(
            self.systems.published,
            self.layers.published,
            &alone.published,
        );
        let mut rebuilt = hidden(self.systems.rebuilt, self.layers.rebuilt, &alone.rebuilt);
        for (path, ids) in published {
            let others = rebuilt.remove(&path).unwrap_or_default();
            for position in 0..ids.len().max(others.len()) {
                let pair = Pair::new(ids.get(position).copied(), others.get(position).copied());
                self.hidden_pair(&path, pair, differences);
            }
        }
        for (path, ids) in rebuilt {
            for id in ids {
                self.hidden_pair(&path, Pair::new(None, Some(id)), differences);
            }
        }
        let oddities = |layers: &[Arc<Layer>], alone: &[usize]| {
            let mut all = Vec::new();
            for &number in alone {
                all.extend(layers[number].oddities.iter().cloned());
                all.extend(
                    layers[number]
                        .entries
                        .iter()
                        .flat_map(|entry| entry.oddities().to_vec()),
                );
            }
            all
        };
        let oddities = Pair::new(
            oddities(self.layers.published, &alone.published),
            oddities(self.layers.rebuilt, &alone.rebuilt),
        );
        layer::one_sided(
            Pair::new(&oddities.published, &oddities.rebuilt),
            |oddity, values| {
                let bearing = layer::oddity_bearing(&oddity);
                differences.push(Difference {
                    location: super::Location::Layer {
                        layer: Pair::default(),
                    },
                    attribute: Attribute::Oddity(oddity),
                    values,
                    bearing,
                });
            },
        );
    }

    /// Adds what differs between two hidden entries of one path.
    fn hidden_pair(
        &self,
        path: &EntryPath,
        ids: Pair<Option<EntryId>>,
        differences: &mut Vec<Difference>,
    ) {
        let entries = Pair::new(
            ids.published
                .map(|id| &self.layers.published[id.layer].entries[id.index]),
            ids.rebuilt
                .map(|id| &self.layers.rebuilt[id.layer].entries[id.index]),
        );
        let location = layer::at(
            ids.map(|id| id.map(|id| id.layer)),
            path,
            Visibility::Hidden,
        );
        let fields = match (entries.published, entries.rebuilt) {
            (Some(published), Some(rebuilt)) => {
                let both = Pair::new(published, rebuilt);
                let mut fields = layer::content_fields(both);
                fields.extend(layer::attribute_fields(both));
                fields
            }
            (Some(_), None) | (None, _) => {
                vec![(
                    Attribute::Presence,
                    entries.map(|entry| entry.map(|entry| layer::described(entry, entry))),
                )]
            }
        };
        for (attribute, values) in fields {
            let bearing = if attribute == Attribute::Mtime {
                Bearing::Times
            } else {
                Bearing::LayerOddity
            };
            differences.push(Difference {
                location: location.clone(),
                attribute,
                values,
                bearing,
            });
        }
    }

    fn ids(layers: Pair<Option<usize>>, indexes: Pair<Option<usize>>) -> Pair<Option<EntryId>> {
        let id = |layer: Option<usize>, index: Option<usize>| {
            Some(EntryId {
                layer: layer?,
                index: index?,
            })
        };
        Pair::new(
            id(layers.published, indexes.published),
            id(layers.rebuilt, indexes.rebuilt),
        )
    }

    /// Returns the file system of the published image (0) or the rebuilt one (1).
    fn system(&self, side: usize) -> &FileSystem {
        if side == 0 {
            self.systems.published
        } else {
            self.systems.rebuilt
        }
    }

    fn is_visible(&self, side: usize, id: Option<EntryId>) -> bool {
        let system = self.system(side);
        id.is_some_and(|id| system.hidden().binary_search(&id).is_err())
    }

    /// Returns whether an entry made a name that is still there.
    ///
    /// One that did not may be visible all the same: the file that it is, or whose mode and
    /// owner it set, has another name.
    fn names(&self, side: usize, id: EntryId, entry: &Entry) -> bool {
        let system = self.system(side);
        let is_at_path = system
            .at(&entry.path)
            .is_some_and(|node| node.entry == Some(id));
        let through_symlink = (id, Irregularity::ThroughSymlink);
        is_at_path
            || self.is_visible(side, Some(id))
                && system
                    .irregularities()
                    .binary_search(&through_symlink)
                    .is_ok()
    }

    /// Returns the entry that has a node's content; `None` for an implied directory.
    fn file(&self, side: usize, node: &Node) -> Option<&'a Entry> {
        node.file.map(|id| self.entry(side, id))
    }

    /// Returns the entry that set a node's mode, owner and times; `None` for an implied directory.
    fn setter(&self, side: usize, node: &Node) -> Option<&'a Entry> {
        node.attributes.map(|id| self.entry(side, id))
    }

    /// Returns which file is at a path on each side.
    fn inodes_at(&self, path: &EntryPath) -> Pair<Option<usize>> {
        let systems = self.systems.as_ref();
        systems.map(|system| system.at(path).map(|node| node.inode))
    }

    fn entry(&self, side: usize, id: EntryId) -> &'a Entry {
        let layers = if side == 0 {
            self.layers.published
        } else {
            self.layers.rebuilt
        };
        &layers[id.layer].entries[id.index]
    }

    /// Returns what of an entry the flattened view shows.
    fn shown(&self, side: usize, id: Option<EntryId>, entry: &Entry) -> Shown {
        let system = self.system(side);
        let node = system
            .at(&entry.path)
            .filter(|node| node.entry == id && id.is_some());
        Shown {
            named: node.is_some(),
            content: node.is_some_and(|node| node.file == id),
            attributes: node.is_some_and(|node| node.attributes == id),
        }
    }

    /// Adds what engines refuse or take differently on one side only.
    pub(super) fn irregular(&self, differences: &mut Vec<Difference>) {
        let named = |side: usize, system: &FileSystem| {
            let mut all: Vec<_> = system
                .irregularities()
                .iter()
                .map(|&(id, what)| (self.entry(side, id).path.clone(), what, id.layer))
                .collect();
            all.sort_unstable();
            all
        };
        let sides = Pair::new(
            named(0, self.systems.published),
            named(1, self.systems.rebuilt),
        );
        let (mut left, mut right) = (&sides.published[..], &sides.rebuilt[..]);
        loop {
            let ordering = match (left.first(), right.first()) {
                (None, None) => return,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(one), Some(other)) => (&one.0, one.1).cmp(&(&other.0, other.1)),
            };
            let present = Some(Value::Word("present"));
            let ((path, what, layer), values) = match ordering {
                Ordering::Less => (&left[0], Pair::new(present, None)),
                Ordering::Greater => (&right[0], Pair::new(None, present)),
                Ordering::Equal => {
                    (left, right) = (&left[1..], &right[1..]);
                    continue;
                }
            };
            let layers = match ordering {
                Ordering::Less => Pair::new(Some(*layer), None),
                Ordering::Equal | Ordering::Greater => Pair::new(None, Some(*layer)),
            };
            differences.push(Difference {
                location: layer::at(layers, path, Visibility::Visible),
                attribute: Attribute::Irregularity(*what),
                values,
                bearing: Bearing::LayerOddity,
            });
            if ordering == Ordering::Less {
                left = &left[1..];
            } else {
                right = &right[1..];
            }
        }
    }
}

/// What of an entry the flattened view shows.
struct Shown {
    /// That it is what the path leads to.
    named: bool,
    /// Its type, content, target or device number.
    content: bool,
    /// Its mode, owner, times and extended attributes.
    attributes: bool,
}

fn layer_of(nodes: Pair<Node>) -> Pair<Option<usize>> {
    nodes.map(|node| node.file.map(|id| id.layer))
}

/// Which paths share a file, on both sides, among the paths that both have.
#[derive(Default)]
struct Groups {
    members: BTreeMap<Pair<usize>, Vec<EntryPath>>,
}

impl Groups {
    fn add(&mut self, path: &EntryPath, inodes: Pair<usize>) {
        self.members.entry(inodes).or_default().push(path.clone());
    }

    /// Returns the paths that left the larger part of their group, with the names each
    /// side's file has.
    fn moved(&self) -> Vec<(EntryPath, Pair<String>)> {
        let mut files: Pair<BTreeMap<usize, SharedFile>> = Pair::default();
        for (inodes, paths) in &self.members {
            files
                .published
                .entry(inodes.published)
                .or_default()
                .add(*inodes, paths);
            files
                .rebuilt
                .entry(inodes.rebuilt)
                .or_default()
                .add(*inodes, paths);
        }
        let mut moved = Vec::new();
        for (inodes, paths) in &self.members {
            let of = Pair::new(
                &files.published[&inodes.published],
                &files.rebuilt[&inodes.rebuilt],
            );
            if of.map(|file| file.largest == Some(*inodes)) != Pair::new(true, true) {
                let names = of.map(ToString::to_string);
                moved.extend(paths.iter().map(|path| (path.clone(), names.clone())));
            }
        }
        moved.sort();
        moved
    }
}

/// How many names of a file are listed; the rest are counted.
const NAMED: usize = 5;

/// The names of one side's file.
#[derive(Default)]
struct SharedFile {
    names: Vec<String>,
    count: usize,
    /// The pair of inodes under which most of the names stand together.
    largest: Option<Pair<usize>>,
    largest_count: usize,
}

impl SharedFile {
    fn add(&mut self, inodes: Pair<usize>, paths: &[EntryPath]) {
        let wanted = NAMED.saturating_sub(self.names.len());
        self.names
            .extend(paths.iter().take(wanted).map(ToString::to_string));
        self.count += paths.len();
        if paths.len() > self.largest_count {
            self.largest = Some(inodes);
            self.largest_count = paths.len();
        }
    }
}

impl fmt::Display for SharedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.names.join(", "))?;
        match self.count - self.names.len() {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
        }
    }
}
