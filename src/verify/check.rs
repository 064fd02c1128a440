//! Checking: a build, run under varied conditions → what its result depends on.
//!
//! Comes in: a function that builds under given conditions, and what can be
//! varied here. Two builds are compared, one under the usual conditions and one
//! with all of them varied. Where they differ, a third one shows what differs
//! under the usual conditions too, from one build to the next; and each condition is
//! varied alone, which says what it is that any other difference depends on. Nothing is
//! said of any published image.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use super::side;
use crate::{
    compare::{self, Difference, Location, Visibility},
    digest::Digest,
    explain,
    facts::{BuildFailure, Outcome},
    image::{self, Access, ImageName, Platform, read_layers, reference::Selection},
    pair::Pair,
    progress::Progress,
    rebuild::{self, Clock, Conditions, Reuse, sandbox::Runtime, with_causes},
    report::model::CauseEvidence,
};

/// A condition of the machine that a build may depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// The machine's name.
    HostName,
    /// The time zone, by `TZ`.
    TimeZone,
    /// The language, by `LC_ALL` and `LANGUAGE`.
    Locale,
    /// How many processors there are.
    Processors,
    /// The file system that the root file system is on.
    FileSystem,
    /// The order in which directories list their entries.
    DirectoryOrder,
    /// Whom the users inside stand for on the host.
    User,
    /// The time of day.
    Clock,
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::HostName => "host name",
            Self::TimeZone => "time zone",
            Self::Locale => "locale",
            Self::Processors => "processors",
            Self::FileSystem => "file system",
            Self::DirectoryOrder => "directory order",
            Self::User => "user",
            Self::Clock => "clock",
        })
    }
}

/// What is changed of the usual conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The machine has this name.
    HostName(String),
    /// These variables are set.
    Environment(BTreeMap<String, String>),
    /// There are so many processors.
    Processors(u32),
    /// Root file systems are made here.
    Roots(PathBuf),
    /// Commands are run by this.
    Runtime(Runtime),
    /// The time of day is this clock's.
    Clock(Clock),
}

/// One condition, and how it is varied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Variation {
    /// The condition.
    pub condition: Condition,
    /// What it is as a rule.
    pub usual: String,
    /// What it was instead.
    pub varied: String,
    /// What brings that about.
    #[serde(skip)]
    #[schemars(skip)]
    pub change: Change,
}

/// A condition that was not varied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NotVaried {
    /// The condition.
    pub condition: Condition,
    /// Why it was not.
    pub why: String,
}

/// What a build's result depends on.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// Whether the result was the same, to the manifest, under all conditions.
    pub stable: bool,
    /// The manifest under the usual conditions.
    pub manifest_digest: Digest,
    /// What was varied.
    pub varied: Vec<Variation>,
    /// What was not.
    pub not_varied: Vec<NotVaried>,
    /// Those of them under which the build was tried and does not get through.
    pub not_through: Vec<Condition>,
    /// Every difference that came of it.
    pub dependences: Vec<Dependence>,
}

/// A difference, and what it depends on.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Dependence {
    /// Where, as reports name it.
    pub location: String,
    /// The number of the layer on each side, from 0, where it is in one.
    pub layer: Option<Pair<Option<usize>>>,
    /// Whether a container sees it, where it is at a path.
    pub visibility: Option<Visibility>,
    /// In what.
    pub attribute: String,
    /// What is there under the usual conditions; `null` where nothing of the kind is.
    pub usual: Option<serde_json::Value>,
    /// What is there instead.
    pub varied: Option<serde_json::Value>,
    /// The conditions that bring it about, each alone; empty where none does alone, so that
    /// it takes several together, or chance, or where it is there each time.
    pub conditions: Vec<Condition>,
    /// Whether two builds under the usual conditions differ in it too, by chance or since the
    /// second was later.
    pub each_time: bool,
    /// Its likely cause; `null` where nothing known explains it.
    pub cause: Option<CauseEvidence>,
}

/// Why it could not be found out what a build depends on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A build could not be carried out.
    #[error("cannot rebuild the image")]
    Rebuild(#[source] rebuild::Error),
    /// A result could not be read.
    #[error("cannot read what was built")]
    Image(#[source] image::Error),
    /// Two results could not be compared.
    #[error("cannot compare what was built")]
    Compare(#[source] compare::Error),
}

/// Builds an image under conditions into an OCI layout that does not exist yet.
///
/// Where nothing may be reused, nothing of the build may be either: what it was made under
/// is not what others are made under.
pub type Build<'a> = &'a dyn Fn(&Conditions, Reuse, PathBuf) -> Result<Outcome, rebuild::Error>;

/// What is checked, and with what.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Builds the image.
    pub build: Build<'a>,
    /// What is varied.
    pub variations: &'a [Variation],
    /// What is not, and why.
    pub not_varied: &'a [NotVaried],
    /// What the image is to run on.
    pub platform: &'a Platform,
    /// An empty folder to work in.
    pub scratch: &'a std::path::Path,
    /// How images are read.
    pub access: &'a Access,
    /// Hears what is done.
    pub progress: &'a dyn Progress,
}

/// The conditions that a build may not get through under at all, by what brings them about: a
/// file system and a library of others', and a user who may do less.
const FRAGILE: [Condition; 3] = [Condition::DirectoryOrder, Condition::Clock, Condition::User];

/// Finds out what the result of a build depends on; the inner `Err` is a build that failed,
/// and the name of the conditions under which it did.
pub fn check(request: &Request<'_>) -> Result<Result<Checked, (String, BuildFailure)>, Error> {
    let usual = Conditions::default();
    let first = match built(request, &usual, Reuse::Allowed, "usual")? {
        Ok(built) => built,
        Err(failure) => return Ok(Err(("the usual conditions".to_owned(), failure))),
    };
    let mut checked = Checked {
        stable: true,
        manifest_digest: first.manifest,
        varied: request.variations.to_vec(),
        not_varied: request.not_varied.to_vec(),
        not_through: Vec::new(),
        dependences: Vec::new(),
    };
    let second = match second(request, &mut checked)? {
        Ok(built) => built,
        Err(failure) => return Ok(Err(("all conditions varied".to_owned(), failure))),
    };
    if first.manifest == second.manifest {
        return Ok(Ok(checked));
    }
    checked.stable = false;
    let mut found: BTreeMap<Key, Dependence> = BTreeMap::new();
    for (difference, cause) in differences(request, &first, &second)? {
        let dependence = dependence(difference, cause);
        found.entry(key(&dependence)).or_insert(dependence);
    }
    let again = match built(request, &usual, Reuse::Refused, "usual again")? {
        Ok(built) => built,
        Err(failure) => return Ok(Err(("the usual conditions, again".to_owned(), failure))),
    };
    for (difference, cause) in differences(request, &first, &again)? {
        let dependence = dependence(difference, cause);
        let known = found.entry(key(&dependence)).or_insert(dependence);
        known.each_time = true;
    }
    for variation in checked.varied.clone() {
        let one = varied(std::slice::from_ref(&variation));
        let name = variation.condition.to_string();
        let other = match built(request, &one, Reuse::Refused, &name)? {
            Ok(built) => built,
            Err(failure) => return Ok(Err((format!("another {name}"), failure))),
        };
        if other.manifest == first.manifest {
            continue;
        }
        for (difference, cause) in differences(request, &first, &other)? {
            let dependence = dependence(difference, cause);
            let known = found.entry(key(&dependence)).or_insert(dependence);
            // A layer may have several entries of one path.
            if !known.each_time && !known.conditions.contains(&variation.condition) {
                known.conditions.push(variation.condition);
            }
        }
    }
    checked.dependences = found.into_values().collect();
    Ok(Ok(checked))
}

/// Builds under as many varied conditions together as the build gets through under.
///
/// A condition that it does not get through under goes over to those that are not varied.
/// Trouble that says nothing of the build, such as a full disk, is no reason to leave one out.
fn second(
    request: &Request<'_>,
    checked: &mut Checked,
) -> Result<Result<BuiltImage, BuildFailure>, Error> {
    let mut count = 0;
    let mut build = |varying: &[Variation]| {
        count += 1;
        let name = format!("varied {count}");
        built(request, &varied(varying), Reuse::Refused, &name)
    };
    let mut failed = build(&checked.varied);
    if let Err(Error::Rebuild(error @ rebuild::Error::Clock { .. })) = &failed {
        let why = with_causes(error);
        leave_out(checked, &[Condition::Clock], &why);
        failed = build(&checked.varied);
    }
    let Some(why) = not_through(&failed) else {
        return failed;
    };
    let fragile: Vec<Condition> = checked
        .varied
        .iter()
        .map(|variation| variation.condition)
        .filter(|condition| FRAGILE.contains(condition))
        .collect();
    // One of them alone is the likely reason; or else all are left out.
    let alone = fragile.iter().map(std::slice::from_ref);
    let all = (fragile.len() > 1).then_some(&fragile[..]);
    for left_out in alone.chain(all) {
        let varying: Vec<Variation> = checked
            .varied
            .iter()
            .filter(|variation| !left_out.contains(&variation.condition))
            .cloned()
            .collect();
        let result = build(&varying);
        if not_through(&result).is_some() {
            continue;
        }
        let image = result?;
        let why = match left_out {
            [_] => format!("the build does not get through with it: {why}"),
            _ => format!("the build does not get through with such conditions: {why}"),
        };
        leave_out(checked, left_out, &why);
        checked.not_through.extend(left_out);
        return Ok(image);
    }
    failed
}

/// Returns why a build did not get through under its conditions; `None` where it did, or where
/// there was trouble that another condition would be no remedy of.
fn not_through(result: &Result<Result<BuiltImage, BuildFailure>, Error>) -> Option<String> {
    match result {
        Ok(Err(failure)) => {
            let last = failure.problem.lines().next_back().unwrap_or_default();
            Some(format!("{}: {}", failure.step, last.trim()))
        }
        Err(error @ Error::Rebuild(rebuild::Error::Clock { .. } | rebuild::Error::Sandbox(_))) => {
            Some(with_causes(error))
        }
        Ok(Ok(_)) | Err(Error::Rebuild(_) | Error::Image(_) | Error::Compare(_)) => None,
    }
}

/// Says of these conditions that they were not varied.
fn leave_out(checked: &mut Checked, conditions: &[Condition], why: &str) {
    let is_left_out = |condition: Condition| conditions.contains(&condition);
    checked
        .varied
        .retain(|variation| !is_left_out(variation.condition));
    let not_varied = conditions.iter().map(|&condition| NotVaried {
        condition,
        why: why.to_owned(),
    });
    checked.not_varied.extend(not_varied);
}

/// What a difference is known by: where it is, in what, whether a container sees it, and the
/// layer on each side where none does.
type Key = (
    String,
    String,
    Option<Visibility>,
    Option<[Option<usize>; 2]>,
);

/// Returns what a difference is known by.
fn key(dependence: &Dependence) -> Key {
    // What is seen at a path is one thing, whichever layer it comes from.
    let hidden = dependence.visibility == Some(Visibility::Hidden);
    let layer = dependence.layer.filter(|_| hidden);
    (
        dependence.location.clone(),
        dependence.attribute.clone(),
        dependence.visibility,
        layer.map(|layer| [layer.published, layer.rebuilt]),
    )
}

/// Returns the usual conditions with these changes.
fn varied(variations: &[Variation]) -> Conditions {
    let mut conditions = Conditions::default();
    for variation in variations {
        match &variation.change {
            Change::HostName(name) => conditions.hostname.clone_from(name),
            Change::Environment(variables) => conditions.environment.extend(variables.clone()),
            Change::Processors(count) => conditions.processors = Some(*count),
            Change::Roots(folder) => conditions.roots = Some(folder.clone()),
            Change::Runtime(runtime) => conditions.runtime = Some(runtime.clone()),
            Change::Clock(clock) => conditions.clock = Some(clock.clone()),
        }
    }
    conditions
}

/// A result that was built.
struct BuiltImage {
    manifest: Digest,
    directory: PathBuf,
}

fn built(
    request: &Request<'_>,
    conditions: &Conditions,
    reuse: Reuse,
    name: &str,
) -> Result<Result<BuiltImage, BuildFailure>, Error> {
    let directory = request.scratch.join(name.replace(' ', "-"));
    let outcome = (request.build)(conditions, reuse, directory.clone()).map_err(Error::Rebuild)?;
    Ok(match outcome {
        Outcome::Built(built) => Ok(BuiltImage {
            manifest: built.manifest,
            directory,
        }),
        Outcome::Failed(failure) => Err(failure),
    })
}

/// Returns every difference of two results, with its likely cause.
fn differences(
    request: &Request<'_>,
    first: &BuiltImage,
    second: &BuiltImage,
) -> Result<Vec<(Difference, Option<CauseEvidence>)>, Error> {
    let resolve = |built: &BuiltImage| {
        let name = ImageName::Layout {
            directory: built.directory.clone(),
            selection: Selection::default(),
        };
        image::resolve(
            &name,
            Some(request.platform),
            request.access,
            request.progress,
        )
        .map_err(Error::Image)
    };
    let images = Pair::new(resolve(first)?, resolve(second)?);
    let mut layers = read_layers(&[&*images.published, &*images.rebuilt], request.progress)
        .map_err(Error::Image)?;
    let layers = Pair::new(layers.remove(0), layers.remove(0));
    let comparison = compare::compare(Pair::new(
        side(&*images.published, &layers.published),
        side(&*images.rebuilt, &layers.rebuilt),
    ))
    .map_err(Error::Compare)?;
    let findings = explain::findings(comparison.differences, &explain::Known::default());
    Ok(findings
        .into_iter()
        .map(|finding| {
            let cause = finding.explanation.map(|explanation| CauseEvidence {
                id: explanation.cause.id.to_owned(),
                evidence: explanation.evidence.into_owned(),
            });
            (finding.difference, cause)
        })
        .collect())
}

fn dependence(difference: Difference, cause: Option<CauseEvidence>) -> Dependence {
    let json = |value: compare::Value| {
        serde_json::to_value(value).expect("numbers, strings and JSON can be written as JSON")
    };
    let values = difference.values.map(|value| value.map(json));
    let (layer, visibility) = match &difference.location {
        Location::Index { .. } | Location::Manifest { .. } | Location::Config { .. } => {
            (None, None)
        }
        Location::Layer { layer } => (Some(*layer), None),
        Location::Entry {
            layer, visibility, ..
        } => (Some(*layer), Some(*visibility)),
    };
    Dependence {
        location: difference.location.to_string(),
        layer,
        visibility,
        attribute: match difference.attribute.detail() {
            Some(detail) => format!("{} {detail}", difference.attribute.name()),
            None => difference.attribute.name().to_owned(),
        },
        usual: values.published,
        varied: values.rebuilt,
        conditions: Vec::new(),
        each_time: false,
        cause,
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, io, path::Path};

    use super::*;
    use crate::{compare::Attribute, facts::Built, image::EntryPath, progress::Silent};

    fn image() -> Outcome {
        let digest = Digest::of(b"the same each time");
        Outcome::Built(Built {
            manifest: digest,
            config: digest,
            layers: Vec::new(),
            encoding: None,
            inputs: BTreeMap::new(),
            environment: None,
            replaced: BTreeMap::new(),
            providers: BTreeMap::new(),
            scanned: Vec::new(),
        })
    }

    fn failure() -> Outcome {
        Outcome::Failed(BuildFailure {
            step: "line 2".to_owned(),
            problem: "first\nlast".to_owned(),
            log: None,
        })
    }

    /// What another build than the first comes to, by whether directories are in another order.
    type Elsewhere = fn(bool) -> Result<Outcome, rebuild::Error>;

    #[test]
    fn only_what_the_build_does_not_get_through_is_a_reason_to_leave_a_condition_out() {
        let disk: Elsewhere = |_| {
            let source = io::Error::other("no space left");
            Err(rebuild::Error::Spool { source })
        };
        let clock: Elsewhere = |_| {
            Err(rebuild::Error::Clock {
                step: "line 2".to_owned(),
                said: String::new(),
            })
        };
        let order: Elsewhere = |is_other| Ok(if is_other { failure() } else { image() });
        let always: Elsewhere = |_| Ok(failure());
        let cases = [
            ("all well", (|_| Ok(image())) as Elsewhere, Some(vec![]), 2),
            ("disk", disk, None, 2),
            ("clock", clock, None, 4),
            ("order", order, Some(vec![Condition::DirectoryOrder]), 3),
            ("always", always, None, 3),
        ];
        let variations = [
            Variation {
                condition: Condition::HostName,
                usual: "one".to_owned(),
                varied: "other".to_owned(),
                change: Change::HostName("other".to_owned()),
            },
            Variation {
                condition: Condition::DirectoryOrder,
                usual: "one".to_owned(),
                varied: "other".to_owned(),
                change: Change::Roots(PathBuf::from("/elsewhere")),
            },
        ];
        for (case, elsewhere, left_out, builds) in cases {
            let count = Cell::new(0);
            let build = |conditions: &Conditions, _: Reuse, _: PathBuf| {
                count.set(count.get() + 1);
                if count.get() == 1 {
                    return Ok(image());
                }
                elsewhere(conditions.roots.is_some())
            };
            let checked = check(&Request {
                build: &build,
                variations: &variations,
                not_varied: &[],
                platform: &Platform::host(),
                scratch: Path::new("/scratch"),
                access: &Access::default(),
                progress: &Silent,
            });
            let checked = checked.ok().and_then(Result::ok);
            assert_eq!(count.get(), builds, "{case}");
            let seen = checked.map(|checked| {
                assert!(checked.stable, "{case}");
                let not_varied = checked.not_varied.iter().map(|it| it.condition);
                assert!(not_varied.eq(checked.not_through.iter().copied()), "{case}");
                checked.not_through
            });
            assert_eq!(seen, left_out, "{case}");
        }
    }

    #[test]
    fn what_is_hidden_in_a_layer_is_another_thing_than_what_is_seen() {
        let at = |layer, visibility| {
            let difference = Difference {
                location: Location::Entry {
                    layer: Pair::new(Some(layer), Some(layer)),
                    path: EntryPath::of(b"it"),
                    visibility,
                },
                attribute: Attribute::Mtime,
                values: Pair::new(None, None),
                bearing: compare::Bearing::Times,
            };
            key(&dependence(difference, None))
        };
        let (hidden, visible) = (Visibility::Hidden, Visibility::Visible);
        let cases = [
            ((0, hidden), (0, hidden), true),
            ((0, hidden), (1, hidden), false),
            ((1, hidden), (1, visible), false),
            ((0, visible), (1, visible), true),
        ];
        for (one, other, is_same) in cases {
            assert_eq!(
                at(one.0, one.1) == at(other.0, other.1),
                is_same,
                "{one:?} {other:?}"
            );
        }
    }
}
