//! Checking: a build, run under varied conditions → what its result depends on.
//!
//! Comes in: a function that builds under given conditions, and what can be
//! varied here. Two builds are compared, one under the usual conditions and one
//! with all of them varied. Where they differ, each condition is varied alone,
//! which says what it is that a difference depends on. Nothing is said of any
//! published image.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use super::side;
use crate::{
    compare::{self, Difference},
    digest::Digest,
    explain,
    facts::{BuildFailure, Outcome},
    image::{self, Access, ImageName, Platform, read_layers, reference::Selection},
    pair::Pair,
    progress::Progress,
    rebuild::{self, Conditions, with_causes},
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
    /// Which user of the host runs the build.
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
    /// Every difference that came of it.
    pub dependences: Vec<Dependence>,
}

/// A difference, and what it depends on.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Dependence {
    /// Where, as reports name it.
    pub location: String,
    /// In what.
    pub attribute: String,
    /// What is there under the usual conditions; `null` where nothing of the kind is.
    pub usual: Option<serde_json::Value>,
    /// What is there instead.
    pub varied: Option<serde_json::Value>,
    /// The conditions that bring it about, each alone; empty where none does alone, so that
    /// it takes several together or comes of chance.
    pub conditions: Vec<Condition>,
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
pub type Build<'a> = &'a dyn Fn(&Conditions, PathBuf) -> Result<Outcome, rebuild::Error>;

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

/// Finds out what the result of a build depends on; the inner `Err` is a build that failed,
/// and the name of the conditions under which it did.
pub fn check(request: &Request<'_>) -> Result<Result<Checked, (String, BuildFailure)>, Error> {
    let usual = Conditions::default();
    let all = request.variations;
    let first = match built(request, &usual, "usual")? {
        Ok(built) => built,
        Err(failure) => return Ok(Err(("the usual conditions".to_owned(), failure))),
    };
    let mut checked = Checked {
        stable: true,
        manifest_digest: first.manifest,
        varied: all.to_vec(),
        not_varied: request.not_varied.to_vec(),
        dependences: Vec::new(),
    };
    let mut varying = all.to_vec();
    let mut second = built(request, &varied(&varying), "varied");
    let disordered = |variation: &Variation| variation.condition == Condition::DirectoryOrder;
    let why = match &second {
        Ok(Ok(_)) => None,
        Ok(Err(failure)) => {
            let last = failure.problem.lines().next_back().unwrap_or_default();
            Some(format!("{}: {}", failure.step, last.trim()))
        }
        Err(error) => Some(with_causes(error)),
    };
    if let (Some(why), true) = (why, varying.iter().any(disordered)) {
        // What orders directories anew is a file system that lacks some things itself.
        checked.not_varied.push(NotVaried {
            condition: Condition::DirectoryOrder,
            why: format!("the build does not get through on such a file system: {why}"),
        });
        varying.retain(|variation| !disordered(variation));
        second = built(request, &varied(&varying), "varied again");
    }
    let second = second?;
    checked.varied.clone_from(&varying);
    let second = match second {
        Ok(built) => built,
        Err(failure) => return Ok(Err(("all conditions varied".to_owned(), failure))),
    };
    if first.manifest == second.manifest {
        return Ok(Ok(checked));
    }
    checked.stable = false;
    let mut found: BTreeMap<(String, String), Dependence> = BTreeMap::new();
    for (difference, cause) in differences(request, &first, &second)? {
        let dependence = dependence(difference, cause);
        let key = (dependence.location.clone(), dependence.attribute.clone());
        found.entry(key).or_insert(dependence);
    }
    for variation in &varying {
        let one = std::slice::from_ref(variation);
        let name = variation.condition.to_string();
        let other = match built(request, &varied(one), &name)? {
            Ok(built) => built,
            Err(failure) => return Ok(Err((format!("another {name}"), failure))),
        };
        if other.manifest == first.manifest {
            continue;
        }
        for (difference, cause) in differences(request, &first, &other)? {
            let dependence = dependence(difference, cause);
            let key = (dependence.location.clone(), dependence.attribute.clone());
            let conditions = &mut found.entry(key).or_insert(dependence).conditions;
            conditions.push(variation.condition);
        }
    }
    checked.dependences = found.into_values().collect();
    Ok(Ok(checked))
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
    name: &str,
) -> Result<Result<BuiltImage, BuildFailure>, Error> {
    let directory = request.scratch.join(name.replace(' ', "-"));
    let outcome = (request.build)(conditions, directory.clone()).map_err(Error::Rebuild)?;
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
    Dependence {
        location: difference.location.to_string(),
        attribute: match difference.attribute.detail() {
            Some(detail) => format!("{} {detail}", difference.attribute.name()),
            None => difference.attribute.name().to_owned(),
        },
        usual: values.published,
        varied: values.rebuilt,
        conditions: Vec::new(),
        cause,
    }
}
