//! Ground truth: pairs of images with hundreds of injected changes each, against a list of
//! all that differs that another program worked out by brute force.
//!
//! `truth/pair.py` makes the images and the list; it shares nothing with `reprove`. Every
//! difference on the list must be found, with its attribute, values and layer, and nothing
//! else: in the file system that a container sees, and in each layer's own entries.
//! `REPROVE_TRUTH=100` makes so many pairs of each kind, `REPROVE_TRUTH_SEED=n` only those
//! of that seed.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::Path,
    process::Command,
};

use reprove::{
    compare::{Attribute, Bearing, Comparison, Difference, Location, Value, Visibility},
    pair::Pair,
};
use serde::Deserialize;

use crate::{
    changes::compared,
    rebuild::{has_program, run},
};

/// What the rebuilt image is to the published one, and how many pairs are made where the
/// environment does not say.
const PAIRS: [(&str, u64); 3] = [("changed", 8), ("squashed", 3), ("same", 1)];

/// What must have come up in some pair: that the program still injects it.
const ATTRIBUTES: [&str; 18] = [
    "content",
    "device",
    "gid",
    "group-name",
    "hard-links",
    "irregularity",
    "layer-count",
    "link-target",
    "mode",
    "mtime",
    "oddity",
    "order",
    "owner-name",
    "presence",
    "size",
    "type",
    "uid",
    "xattr",
];

/// An attribute, its detail, and its values.
type Field = (String, String, Option<String>, Option<String>);

/// What the other program says. Paths, names and targets are in hex.
#[derive(Deserialize)]
struct Truth {
    /// How often each kind of change was made.
    done: BTreeMap<String, usize>,
    /// How many layers each side has.
    layers: [usize; 2],
    /// What a container sees: path, file, what differs.
    #[serde(rename = "final")]
    seen: Vec<(String, Option<String>, Field)>,
    /// Of entries that both layers have: layer, path, what differs.
    fields: Vec<(usize, String, Field)>,
    /// Entries that one layer has: side, layer, path, and whether the file system shows it.
    alone: Vec<(usize, usize, String, bool)>,
    /// The layers whose entries stand in another order.
    moved: Vec<usize>,
    /// Which file each path leads to.
    groups: [BTreeMap<String, String>; 2],
    /// What engines take differently: path, what.
    irregular: [Vec<(String, String)>; 2],
}

/// What was found, in the words of the truth.
#[derive(Default)]
struct Found {
    /// By path: of what a container sees.
    seen: BTreeMap<String, BTreeSet<Field>>,
    /// By layer and path.
    fields: BTreeMap<(usize, String), BTreeSet<Field>>,
    /// Paths that a container sees on one side.
    presence: Vec<String>,
    /// Side, layer and path of other entries that one side has.
    alone: Vec<(usize, usize, String)>,
    moved: Vec<usize>,
    regrouped: BTreeSet<String>,
    irregular: [Vec<(String, String)>; 2],
    /// Whether the number of layers was named.
    count: bool,
    attributes: BTreeSet<&'static str>,
    /// What is found and cannot be true.
    faults: Vec<String>,
}

fn told(value: &Value) -> String {
    match value {
        Value::Bytes(bytes) => hex::encode(bytes),
        // Capabilities are told in words, and in hex after them.
        Value::Text(text) => match text.rsplit_once(" (") {
            Some((_, value)) => value.trim_end_matches(')').to_owned(),
            None => text.clone(),
        },
        other => other.to_string(),
    }
}

impl Found {
    fn of(comparison: &Comparison) -> Self {
        let mut found = Self::default();
        for difference in &comparison.differences {
            if difference.values.is_equal() {
                found.faults.push(format!("equal values: {difference:?}"));
            }
            found.attributes.insert(difference.attribute.name());
            if !found.add(difference) {
                found.faults.push(format!("a false alarm: {difference:?}"));
            }
        }
        found
    }

    /// Sorts a difference in; `false` where it is of no kind that there is.
    fn add(&mut self, difference: &Difference) -> bool {
        let (layer, path, visibility) = match &difference.location {
            Location::Layer { layer } => match (&difference.attribute, layer.published) {
                (Attribute::LayerCount, None) => {
                    self.count = true;
                    return true;
                }
                (Attribute::Order, Some(number)) if layer.rebuilt == Some(number) => {
                    self.moved.push(number);
                    return true;
                }
                _ => return false,
            },
            Location::Entry {
                layer,
                path,
                visibility,
            } => (layer, hex::encode(path.as_bytes()), visibility),
            Location::Index { .. } | Location::Manifest { .. } | Location::Config { .. } => {
                return false;
            }
        };
        let side = usize::from(difference.values.published.is_none());
        let is_seen = difference.bearing == Bearing::Files;
        let detail = difference.attribute.detail().unwrap_or_default();
        match &difference.attribute {
            Attribute::Irregularity(_) => self.irregular[side].push((path, detail)),
            Attribute::HardLinks => return self.regrouped.insert(path),
            Attribute::Presence if is_seen => self.presence.push(path),
            Attribute::Presence => {
                let Some(number) = [layer.published, layer.rebuilt][side] else {
                    return false;
                };
                self.alone.push((side, number, path));
            }
            attribute => {
                let values = difference.values.as_ref();
                let values = values.map(|value| value.as_ref().map(told));
                let name = attribute.name().to_owned();
                let field = (name, detail, values.published, values.rebuilt);
                // A time bears on times wherever it is; where it is seen both views may name it.
                if is_seen || difference.bearing == Bearing::Times {
                    if *visibility == Visibility::Hidden && is_seen {
                        return false;
                    }
                    self.seen
                        .entry(path.clone())
                        .or_default()
                        .insert(field.clone());
                }
                if !is_seen {
                    let Some(number) = layer.published.filter(|it| layer.rebuilt == Some(*it))
                    else {
                        return difference.bearing == Bearing::Times;
                    };
                    let fields = self.fields.entry((number, path)).or_default();
                    return fields.insert(field) || difference.bearing == Bearing::Times;
                }
            }
        }
        true
    }

    /// Returns all in which this is not the truth.
    fn faults(mut self, truth: &Truth, comparison: &Comparison) -> Vec<String> {
        let mut faults = std::mem::take(&mut self.faults);
        self.fields_are_true(truth, &mut faults);
        let mut presence = Vec::new();
        for (path, _, field) in &truth.seen {
            if field.0 == "presence" {
                presence.push(path.clone());
            }
        }
        same(
            "presence in the file system",
            presence,
            self.presence,
            &mut faults,
        );
        let alone = truth.alone.iter().filter(|(.., is_seen)| !is_seen);
        let alone = alone.map(|(side, layer, path, _)| (*side, *layer, path.clone()));
        same(
            "entries of one side",
            alone.collect(),
            self.alone,
            &mut faults,
        );
        same(
            "layers in another order",
            truth.moved.clone(),
            self.moved,
            &mut faults,
        );
        let irregular = one_sided(truth.irregular.clone());
        for (side, (expected, found)) in irregular.into_iter().zip(self.irregular).enumerate() {
            same(
                &format!("irregularities of side {side}"),
                expected,
                found,
                &mut faults,
            );
        }
        regrouped(&truth.groups, &self.regrouped, &mut faults);
        let by_hand = [
            (
                "layer count",
                self.count,
                truth.layers[0] != truth.layers[1],
            ),
            (
                "files equal",
                comparison.equality.files,
                truth.seen.is_empty() && self.regrouped.is_empty(),
            ),
            (
                "contents equal",
                comparison.equality.contents,
                truth.seen.iter().all(|(.., field)| field.0 == "mtime")
                    && self.regrouped.is_empty(),
            ),
        ];
        for (what, found, expected) in by_hand {
            if found != expected {
                faults.push(format!("{what}: {found}"));
            }
        }
        faults
    }

    fn fields_are_true(&self, truth: &Truth, faults: &mut Vec<String>) {
        // A file's differences are said once, at any of its names.
        let mut names: BTreeMap<&String, BTreeSet<&String>> = BTreeMap::new();
        let mut files: BTreeMap<&String, &String> = BTreeMap::new();
        let mut seen: BTreeMap<&String, BTreeSet<Field>> = BTreeMap::new();
        for (path, file, field) in &truth.seen {
            if let Some(file) = file {
                names.entry(file).or_default().insert(path);
                files.insert(path, file);
                seen.entry(path).or_default().insert(field.clone());
            }
        }
        let is_said = |path: &String, field: &Field| {
            let of = files.get(path).map(|file| &names[file]);
            let all = of.into_iter().flatten().copied().chain([path]);
            all.into_iter().any(|name| {
                self.seen
                    .get(name)
                    .is_some_and(|fields| fields.contains(field))
            })
        };
        for (path, fields) in &seen {
            for field in fields.iter().filter(|field| !is_said(path, field)) {
                faults.push(format!("missed in the file system at {path}: {field:?}"));
            }
        }
        let mut layers: BTreeMap<(usize, String), BTreeSet<Field>> = BTreeMap::new();
        for (layer, path, field) in &truth.fields {
            let key = (*layer, path.clone());
            let found = self.fields.get(&key);
            if !found.is_some_and(|fields| fields.contains(field)) && !is_said(path, field) {
                faults.push(format!("missed in layer {layer} at {path}: {field:?}"));
            }
            layers.entry(key).or_default().insert(field.clone());
        }
        for (path, fields) in &self.seen {
            for field in fields {
                let is_seen = seen.get(path).is_some_and(|fields| fields.contains(field));
                let is_time = field.0 == "mtime"
                    && layers
                        .iter()
                        .any(|((_, of), fields)| of == path && fields.contains(field));
                if !is_seen && !is_time {
                    faults.push(format!("no difference of files at {path}: {field:?}"));
                }
            }
        }
        for (key, fields) in &self.fields {
            for field in fields {
                let is_entry = layers.get(key).is_some_and(|fields| fields.contains(field));
                let is_time = field.0 == "mtime"
                    && seen
                        .get(&key.1)
                        .is_some_and(|fields| fields.contains(field));
                if !is_entry && !is_time {
                    faults.push(format!("no difference of entries at {key:?}: {field:?}"));
                }
            }
        }
    }
}

/// Adds what one list has and the other has not; both may have the same several times.
fn same<T: Ord + std::fmt::Debug>(
    what: &str,
    mut truth: Vec<T>,
    mut found: Vec<T>,
    faults: &mut Vec<String>,
) {
    truth.sort();
    found.sort();
    let (missed, false_alarms) = (without(&truth, &found), without(&found, &truth));
    if !missed.is_empty() || !false_alarms.is_empty() {
        faults.push(format!(
            "{what}: missed {missed:?}, false alarms {false_alarms:?}"
        ));
    }
}

/// Returns the items of a sorted list that another has not, or not as often.
fn without<'a, T: Ord>(items: &'a [T], others: &[T]) -> Vec<&'a T> {
    let mut others = others.iter().peekable();
    let mut left = Vec::new();
    for item in items {
        while others.next_if(|other| *other < item).is_some() {}
        if others.next_if(|other| *other == item).is_none() {
            left.push(item);
        }
    }
    left
}

/// Returns of each list what the other has not as often.
fn one_sided<T: Ord + Clone>(mut lists: [Vec<T>; 2]) -> [Vec<T>; 2] {
    for list in &mut lists {
        list.sort();
    }
    let [one, other] = &lists;
    [without(one, other), without(other, one)].map(|list| list.into_iter().cloned().collect())
}

/// Adds a fault unless the paths found, and no others, share their file with other names.
fn regrouped(
    groups: &[BTreeMap<String, String>; 2],
    found: &BTreeSet<String>,
    faults: &mut Vec<String>,
) {
    let is_common = |path: &&String| groups.iter().all(|files| files.contains_key(*path));
    let files_names = |without: &BTreeSet<String>| {
        groups.each_ref().map(|files| {
            let mut names: BTreeMap<&String, BTreeSet<&String>> = BTreeMap::new();
            let paths = files.keys().filter(is_common);
            for path in paths.filter(|path| !without.contains(*path)) {
                names.entry(&files[path]).or_default().insert(path);
            }
            names
        })
    };
    let [one, other] = files_names(found).map(|names| names.into_values().collect::<BTreeSet<_>>());
    if one != other {
        let missed: Vec<_> = one.symmetric_difference(&other).collect();
        faults.push(format!("missed hard links: {missed:?}"));
    }
    let all = files_names(&BTreeSet::new());
    for path in found {
        let of = [0, 1].map(|side| {
            let file = groups[side].get(path);
            file.and_then(|file| all[side].get(file))
        });
        if of[0] == of[1] {
            faults.push(format!("{path} has the same hard links"));
        }
    }
}

#[test]
fn what_is_found_of_hundreds_of_changes_is_the_truth() {
    if !has_program("python3") {
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/truth/pair.py");
    let number = |name| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let (only, count) = (number("REPROVE_TRUTH_SEED"), number("REPROVE_TRUTH"));
    let mut attributes = BTreeSet::new();
    for (kind, seeds) in PAIRS {
        let seeds = match only {
            Some(seed) => seed..seed + 1,
            None => 0..count.unwrap_or(seeds),
        };
        for seed in seeds {
            let folder = tempfile::tempdir().unwrap();
            let seed_text = seed.to_string();
            run(Command::new("python3")
                .arg(&script)
                .args([&seed_text, kind])
                .arg(folder.path()));
            let truth = fs::read(folder.path().join("truth.json")).unwrap();
            let truth: Truth = serde_json::from_slice(&truth).unwrap();
            let sides = Pair::new("published", "rebuilt").map(|name| folder.path().join(name));
            let comparison = compared(sides.as_ref().map(|side| &**side), None).unwrap();
            let found = Found::of(&comparison);
            attributes.extend(found.attributes.iter().copied());
            let faults = found.faults(&truth, &comparison);
            assert!(
                faults.is_empty(),
                "REPROVE_TRUTH_SEED={seed} ({kind}; {:?}): {} faults\n{}",
                truth.done,
                faults.len(),
                faults[..faults.len().min(20)].join("\n")
            );
        }
    }
    if only.is_none() {
        assert_eq!(attributes, ATTRIBUTES.into());
    }
}
