//! Policies: what may differ, and what has been accepted, by whom, until when.

use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr};

use globset::{GlobBuilder, GlobMatcher};
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    compare::{Bearing, ConfigGrade, Equality},
    digest::Digest,
    explain::{Finding, causes},
    facts::{Freshness, Origin},
    pair::Pair,
    recipe::lockfile::Grade,
};

/// What an image must satisfy to count as reproduced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The policy's name.
    pub name: String,
    /// The digest of the policy file's bytes; `None` for a built-in policy.
    pub digest: Option<Digest>,
    /// The rules that decide.
    pub rules: Rules,
    /// What is asked besides.
    pub require: Requirements,
    /// Differences that somebody accepted.
    pub waivers: Vec<Waiver>,
}

/// What a policy asks of how the image came about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Requirements {
    /// The repositories that the source may be; any, if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// The worst grade that a pin may have; any, if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pins: Option<Grade>,
    /// How much of the image's bytes may come from where.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub origin: BTreeMap<Origin, Bounds>,
    /// Whether the commands of the build must have been run now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freshness: Option<Freshness>,
    /// What becomes of an image where a waiver has expired or covers nothing.
    #[serde(skip_serializing_if = "Stale::is_reported")]
    pub stale_waivers: Stale,
}

/// What becomes of an image where a waiver has expired or covers nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stale {
    /// The report says so, and nothing else changes.
    #[default]
    Reported,
    /// It does not satisfy the policy.
    Refused,
}

impl Stale {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    const fn is_reported(&self) -> bool {
        matches!(self, Self::Reported)
    }
}

/// The bounds of a share of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Bounds {
    /// No less than this, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_least: Option<Percent>,
    /// No more than this, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_most: Option<Percent>,
}

/// A share from 0 to 100 percent, to a thousandth of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(try_from = "f64")]
#[schemars(with = "f64")]
pub struct Percent(u32);

impl Percent {
    /// Returns the share in thousandths of a percent.
    pub const fn thousandths(self) -> u32 {
        self.0
    }
}

impl TryFrom<f64> for Percent {
    type Error = String;

    fn try_from(percent: f64) -> Result<Self, String> {
        let thousandths = (percent * 1000.0).round();
        // Not exactly equal, since most decimal fractions are no binary ones.
        let is_exact = (percent * 1000.0 - thousandths).abs() < 1e-6;
        if !is_exact || !(0.0..=100_000.0).contains(&thousandths) {
            return Err(format!(
                "{percent} is no share from 0 to 100 percent, in thousandths of a percent at most"
            ));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number from 0 to 100,000, as was just checked"
        )]
        Ok(Self(thousandths as u32))
    }
}

impl Serialize for Percent {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (f64::from(self.0) / 1000.0).serialize(serializer)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", f64::from(self.0) / 1000.0)
    }
}

/// The built-in rules, one of which every policy stands on.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Rules {
    /// The same manifest.
    BitForBit,
    /// The same file system and the same way of running.
    Standard,
    /// As `standard`, but modification times may differ.
    IgnoreTimes,
}

/// Differences that somebody accepts: one exactly as it is, or all of one cause at some paths.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Waiver {
    /// Where: a path (`/etc/hostname`), `config /created`, `manifest /annotations/x`, `layer 0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// In place of `location`: which paths, where `*` stands for a part of a name and `**` for
    /// any number of directories. Covers no finding that is flagged as a risk, and wants a cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<String>,
    /// What: the attribute's name as in the report, such as `content`.
    pub attribute: String,
    /// Which, for attributes that have a name of their own, such as an xattr's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The published value as in the report; absent where the report has none. Not with `paths`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<serde_json::Value>,
    /// The rebuilt value as in the report; absent where the report has none. Not with `paths`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuilt: Option<serde_json::Value>,
    /// The cause that must have been found; absent where any may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Why it is accepted.
    pub reason: String,
    /// Who answers for it.
    pub owner: String,
    /// The last day on which it holds, as 2027-01-31.
    #[schemars(with = "String")]
    pub expires: Date,
}

/// Why a policy could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is no policy.
    #[error("policy {name} is not valid: {problem}")]
    Invalid {
        /// The policy's name.
        name: String,
        /// What the parser said, with the line.
        problem: String,
    },
    /// A waiver says nothing, or what cannot be.
    #[error("waiver {number} of policy {name} {problem}")]
    Waiver {
        /// The policy's name.
        name: String,
        /// Counted from 1.
        number: usize,
        /// What is wrong, as the rest of a sentence.
        problem: String,
    },
    /// A requirement can never hold.
    #[error("policy {name} requires {problem}")]
    Requirement {
        /// The policy's name.
        name: String,
        /// What is wrong, as the rest of a sentence.
        problem: String,
    },
}

/// A policy file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "schema")]
    _schema: Schema,
    name: String,
    rules: Rules,
    #[serde(default)]
    require: Requirements,
    #[serde(default)]
    waiver: Vec<Waiver>,
}

/// The version of the file format.
struct Schema;

impl<'de> Deserialize<'de> for Schema {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            1 => Ok(Self),
            other => Err(serde::de::Error::custom(format!(
                "schema {other} is not known, only 1 is"
            ))),
        }
    }
}

impl Policy {
    /// Returns the built-in policy of these rules.
    pub fn builtin(rules: Rules) -> Self {
        Self {
            name: rules.to_string(),
            digest: None,
            rules,
            require: Requirements::default(),
            waivers: Vec::new(),
        }
    }

    /// Reads a policy file; `name` is what errors call it.
    pub fn parse(text: &str, name: &str) -> Result<Self, Error> {
        let file: File = toml::from_str(text).map_err(|source| Error::Invalid {
            name: name.to_owned(),
            problem: source.to_string().trim_end().to_owned(),
        })?;
        for (index, waiver) in file.waiver.iter().enumerate() {
            if let Some(problem) = waiver.problem() {
                return Err(Error::Waiver {
                    name: name.to_owned(),
                    number: index + 1,
                    problem,
                });
            }
        }
        if let Some(problem) = file.require.problem() {
            return Err(Error::Requirement {
                name: name.to_owned(),
                problem,
            });
        }
        Ok(Self {
            name: file.name,
            digest: Some(Digest::of(text.as_bytes())),
            rules: file.rules,
            require: file.require,
            waivers: file.waiver,
        })
    }
}

impl Requirements {
    /// Returns why these can never hold, where they cannot.
    fn problem(&self) -> Option<String> {
        let reversed = self.origin.iter().find(|(_, bounds)| {
            matches!((bounds.at_least, bounds.at_most), (Some(least), Some(most)) if least > most)
        });
        if let Some((origin, _)) = reversed {
            return Some(format!("more of origin {origin} than it allows"));
        }
        let sum: u32 = (self.origin.values().filter_map(|bounds| bounds.at_least))
            .map(Percent::thousandths)
            .sum();
        if sum > 100_000 {
            return Some("origins that come to more than 100 %".to_owned());
        }
        let bare = self
            .origin
            .iter()
            .find(|(_, bounds)| **bounds == Bounds::default());
        bare.map(|(origin, _)| format!("nothing of origin {origin}: give it at-least or at-most"))
    }

    /// Returns what is asked, a line each.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.sources.is_empty() {
            lines.push(the_source_is(&self.sources));
        }
        lines.extend(self.pins.map(pins_are));
        for (&origin, bounds) in &self.origin {
            lines.extend(bounds.at_least.map(|least| at_least(least, origin)));
            lines.extend(bounds.at_most.map(|most| at_most(most, origin)));
        }
        if self.freshness == Some(Freshness::Fresh) {
            lines.push(RUN_NOW.to_owned());
        }
        if self.stale_waivers == Stale::Refused {
            lines.push("every waiver is of use".to_owned());
        }
        lines
    }

    /// Returns what is asked and does not hold.
    pub(super) fn unmet(&self, evidence: &Evidence<'_>) -> Vec<Unmet> {
        let mut unmet = Vec::new();
        if !self.sources.is_empty() {
            let is_one = |found: &str| self.sources.iter().any(|source| source == found);
            if !evidence.source.is_some_and(is_one) {
                unmet.push(Unmet {
                    requirement: the_source_is(&self.sources),
                    found: evidence.source.unwrap_or("no source was read").to_owned(),
                });
            }
        }
        if let Some(worst) = self.pins {
            let worse: Vec<&str> = (evidence.pins.iter())
                .filter(|(_, grade)| grade.is_none_or(|grade| grade > worst))
                .map(|(name, _)| *name)
                .collect();
            if let Some(first) = worse.first() {
                unmet.push(Unmet {
                    requirement: pins_are(worst),
                    found: format!("{} are not, such as {first}", worse.len()),
                });
            }
        }
        for (&origin, bounds) in &self.origin {
            unmet.extend(share_unmet(origin, *bounds, evidence.origin));
        }
        if let (Some(Freshness::Fresh), Some(Freshness::Cached)) =
            (self.freshness, evidence.freshness)
        {
            unmet.push(Unmet {
                requirement: RUN_NOW.to_owned(),
                found: "the result of an earlier run was taken; --fresh runs them".to_owned(),
            });
        }
        unmet
    }
}

const RUN_NOW: &str = "the commands of the build were run now";

fn the_source_is(sources: &[String]) -> String {
    format!("the source is {}", sources.join(" or "))
}

fn pins_are(worst: Grade) -> String {
    format!("every pin is {worst} or better")
}

fn at_least(least: Percent, origin: Origin) -> String {
    format!("at least {least} of the bytes are {origin}")
}

fn at_most(most: Percent, origin: Origin) -> String {
    format!("at most {most} of the bytes are {origin}")
}

/// Returns which bound the share of an origin does not keep.
fn share_unmet(origin: Origin, bounds: Bounds, all: &BTreeMap<Origin, u64>) -> Option<Unmet> {
    let total: u128 = all.values().map(|&bytes| u128::from(bytes)).sum();
    let bytes = u128::from(all.get(&origin).copied().unwrap_or(0));
    // Multiplied out, so that no rounding decides.
    let is_under = |least: Percent| bytes * 100_000 < u128::from(least.0) * total;
    let is_over = |most: Percent| bytes * 100_000 > u128::from(most.0) * total;
    let requirement = match (bounds.at_least, bounds.at_most) {
        (Some(least), _) if total == 0 || is_under(least) => at_least(least, origin),
        (_, Some(most)) if total == 0 || is_over(most) => at_most(most, origin),
        _ => return None,
    };
    let found = if total == 0 {
        "nothing was rebuilt".to_owned()
    } else {
        format!("{bytes} of {total} bytes are")
    };
    Some(Unmet { requirement, found })
}

/// What requirements are held against.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The repository, as it was named.
    pub source: Option<&'a str>,
    /// The pins of all materials, by name; `None` is no grade at all.
    pub pins: &'a [(&'a str, Option<Grade>)],
    /// Where the rebuilt image's bytes come from.
    pub origin: &'a BTreeMap<Origin, u64>,
    /// Whether the build's commands were run now; `None` where none were.
    pub freshness: Option<Freshness>,
}

/// A requirement that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unmet {
    /// What is required.
    pub requirement: String,
    /// What was found instead.
    pub found: String,
}

impl Rules {
    /// All built-in rules, the strictest first.
    pub const ALL: [Self; 3] = [Self::BitForBit, Self::Standard, Self::IgnoreTimes];

    /// Returns the weakest equality that these rules take.
    pub const fn equality(self) -> Equality {
        match self {
            Self::BitForBit => Equality::Manifest,
            Self::Standard => Equality::Files,
            Self::IgnoreTimes => Equality::Contents,
        }
    }

    /// Returns the weakest config grade that these rules take.
    pub const fn config(self) -> ConfigGrade {
        match self {
            Self::BitForBit => ConfigGrade::Bytes,
            Self::Standard | Self::IgnoreTimes => ConfigGrade::Running,
        }
    }

    /// Returns whether these rules let something of this bearing differ.
    pub const fn accepts(self, bearing: Bearing) -> bool {
        match bearing {
            // Attestations hang on the index, so it changes while the image does not.
            Bearing::Index => true,
            Bearing::Encoding | Bearing::BuildMetadata => !matches!(self, Self::BitForBit),
            Bearing::Times => matches!(self, Self::IgnoreTimes),
            Bearing::Files
            | Bearing::Running
            | Bearing::Platform
            | Bearing::LayerOddity
            | Bearing::ManifestUnknown => false,
        }
    }
}

/// A finding as waivers see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim<'a> {
    /// Where, in the words of the report.
    pub location: Cow<'a, str>,
    /// In what.
    pub attribute: &'a str,
    /// Which.
    pub detail: Option<Cow<'a, str>>,
    /// The values, as the report has them.
    pub values: Pair<Option<Cow<'a, serde_json::Value>>>,
    /// The cause that explains it.
    pub cause: Option<&'a str>,
    /// What it bears on.
    pub bearing: Bearing,
    /// Whether it is flagged as a risk.
    pub is_risk: bool,
}

impl<'a> Claim<'a> {
    /// Returns a finding as waivers see it.
    pub fn of(finding: &'a Finding) -> Self {
        let difference = &finding.difference;
        let value = |value: &Option<crate::compare::Value>| {
            let json = serde_json::to_value(value.as_ref()?);
            Some(Cow::Owned(
                json.expect("numbers, strings and JSON can be written as JSON"),
            ))
        };
        Self {
            location: Cow::Owned(difference.location.to_string()),
            attribute: difference.attribute.name(),
            detail: difference.attribute.detail().map(Cow::Owned),
            values: difference.values.as_ref().map(value),
            cause: (finding.explanation.as_ref()).map(|explanation| explanation.cause.id),
            bearing: difference.bearing,
            is_risk: !finding.risks.is_empty(),
        }
    }
}

/// A waiver that is ready to be held against findings.
pub(super) struct Reach<'a> {
    pub(super) waiver: &'a Waiver,
    glob: Option<GlobMatcher>,
}

impl<'a> Reach<'a> {
    pub(super) fn of(waiver: &'a Waiver) -> Self {
        let glob = waiver.paths.as_deref().map(glob);
        Self {
            waiver,
            glob: glob.and_then(Result::ok),
        }
    }

    /// Returns whether the waiver is about this finding.
    pub(super) fn covers(&self, claim: &Claim<'_>) -> bool {
        let waiver = self.waiver;
        let place = match (&waiver.location, &self.glob) {
            (Some(location), _) => {
                *location == claim.location
                    && waiver.published.as_ref() == claim.values.published.as_deref()
                    && waiver.rebuilt.as_ref() == claim.values.rebuilt.as_deref()
            }
            (None, Some(glob)) => {
                !claim.is_risk && claim.location.starts_with('/') && glob.is_match(&*claim.location)
            }
            (None, None) => false,
        };
        place
            && waiver.attribute == claim.attribute
            && waiver.detail.as_deref() == claim.detail.as_deref()
            && waiver
                .cause
                .as_deref()
                .is_none_or(|cause| claim.cause == Some(cause))
    }
}

impl Waiver {
    /// Returns where it holds, as it is written.
    pub fn place(&self) -> &str {
        let place = self.location.as_ref().or(self.paths.as_ref());
        place.map_or("", String::as_str)
    }

    /// Returns what is wrong with it, as the rest of a sentence.
    fn problem(&self) -> Option<String> {
        for (field, text) in [
            ("location", self.location.as_ref()),
            ("paths", self.paths.as_ref()),
            ("attribute", Some(&self.attribute)),
            ("reason", Some(&self.reason)),
            ("owner", Some(&self.owner)),
        ] {
            if text.is_some_and(|text| text.trim().is_empty()) {
                return Some(format!("has an empty {field}"));
            }
        }
        if let Some(cause) = &self.cause
            && !causes().any(|known| known.id == cause)
        {
            return Some(format!("names the cause {cause}, which is not known"));
        }
        match (&self.location, &self.paths) {
            (None, None) => Some("has neither a location nor paths".to_owned()),
            (Some(_), Some(_)) => Some("has a location and paths: one of them".to_owned()),
            (Some(_), None) => None,
            (None, Some(paths)) => {
                if !paths.starts_with('/') {
                    return Some(format!("has paths {paths}, which do not begin with /"));
                }
                if let Err(error) = glob(paths) {
                    return Some(format!("has paths that cannot be read: {error}"));
                }
                if self.published.is_some() || self.rebuilt.is_some() {
                    return Some("has paths and a value: name one location for it".to_owned());
                }
                let no_cause = self.cause.is_none();
                no_cause.then(|| {
                    "has paths and no cause: what nothing explains is accepted one by one"
                        .to_owned()
                })
            }
        }
    }
}

fn glob(paths: &str) -> Result<GlobMatcher, globset::Error> {
    let glob = GlobBuilder::new(paths).literal_separator(true).build()?;
    Ok(glob.compile_matcher())
}

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BitForBit => "bit-for-bit",
            Self::Standard => "standard",
            Self::IgnoreTimes => "ignore-times",
        })
    }
}

/// The text names no built-in rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no built-in policy {0:?}; there are bit-for-bit, standard and ignore-times")]
pub struct UnknownRules(pub String);

impl FromStr for Rules {
    type Err = UnknownRules;

    fn from_str(text: &str) -> Result<Self, UnknownRules> {
        Self::ALL
            .into_iter()
            .find(|rules| rules.to_string() == text)
            .ok_or_else(|| UnknownRules(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIVER: &str = "schema = 1\nname = \"ours\"\nrules = \"standard\"\n[[waiver]]\n\
        location = \"/etc/hostname\"\nattribute = \"content\"\nreason = \"r\"\nowner = \"o\"\n\
        expires = \"2027-01-31\"\n";

    #[test]
    fn a_policy_with_a_misspelt_or_empty_field_is_refused() {
        assert_eq!(Policy::parse(WAIVER, "p").unwrap().waivers.len(), 1);
        let with = |line: &str| format!("{WAIVER}{line}\n");
        let requiring =
            |line: &str| WAIVER.replace("[[waiver]]", &format!("[require]\n{line}\n[[waiver]]"));
        let cases = [
            ("unknown key", WAIVER.replace("owner", "ower"), "ower"),
            ("empty", WAIVER.replace("\"r\"", "\" \""), "empty reason"),
            (
                "schema",
                WAIVER.replace("schema = 1", "schema = 2"),
                "schema 2",
            ),
            (
                "date",
                WAIVER.replace("2027-01-31", "2027-02-31"),
                "expires",
            ),
            (
                "no place",
                WAIVER.replace("location = \"/etc/hostname\"\n", ""),
                "neither a location nor paths",
            ),
            ("two places", with("paths = \"/etc/*\""), "one of them"),
            (
                "paths alone",
                WAIVER.replace("location", "paths"),
                "no cause",
            ),
            (
                "paths from nowhere",
                WAIVER.replace("location = \"/etc", "paths = \"etc"),
                "begin with /",
            ),
            (
                "paths with a value",
                WAIVER.replace("location", "rebuilt = 1\npaths"),
                "a value",
            ),
            (
                "unknown cause",
                with("cause = \"tar.mtimes\""),
                "tar.mtimes",
            ),
            (
                "no share",
                requiring("origin.built.at-least = 101"),
                "101 is no share",
            ),
            (
                "bounds that cross",
                requiring("origin.built = { at-least = 50, at-most = 40 }"),
                "more of origin built",
            ),
            (
                "more than all",
                requiring("origin = { built.at-least = 60, tree.at-least = 50 }"),
                "more than 100 %",
            ),
            (
                "no bounds",
                requiring("origin.built = {}"),
                "nothing of origin built",
            ),
            ("rules", WAIVER.replace("standard", "lenient"), "lenient"),
        ];
        for (case, text, problem) in cases {
            let error = Policy::parse(&text, "p").unwrap_err().to_string();
            assert!(error.contains(problem), "{case}: {error}");
        }
    }

    #[test]
    fn the_readme_shows_a_policy_that_can_be_read() {
        let readme = include_str!("../../README.md");
        let example = readme.split("```toml\n").nth(1).unwrap();
        let policy = Policy::parse(example.split("```").next().unwrap(), "README.md").unwrap();
        assert_eq!((policy.rules, policy.waivers.len()), (Rules::Standard, 2));
        assert_eq!(policy.require.lines().len(), 6);
    }

    #[test]
    fn stricter_rules_never_accept_more() {
        use Bearing::*;
        let all = [
            Files,
            Times,
            Running,
            Platform,
            LayerOddity,
            ManifestUnknown,
            BuildMetadata,
            Encoding,
            Index,
        ];
        for bearing in all {
            let accepted = Rules::ALL.map(|rules| rules.accepts(bearing));
            assert!(accepted.is_sorted(), "{bearing:?}: {accepted:?}");
        }
        assert!(
            Rules::ALL
                .map(Rules::equality)
                .is_sorted_by(|one, other| one >= other)
        );
    }
}
