//! Policies: what may differ, and what has been accepted, by whom, until when.

use std::{fmt, str::FromStr};

use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    compare::{Bearing, ConfigGrade, Equality},
    digest::Digest,
    explain::Finding,
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
    /// Single differences that somebody accepted.
    pub waivers: Vec<Waiver>,
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

/// One difference that somebody accepts, exactly as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Waiver {
    /// Where: a path (`/etc/hostname`), `config /created`, `manifest /annotations/x`, `layer 0`.
    pub location: String,
    /// What: the attribute's name as in the report, such as `content`.
    pub attribute: String,
    /// Which, for attributes that have a name of their own, such as an xattr's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The published value as in the report; absent where the report has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<serde_json::Value>,
    /// The rebuilt value as in the report; absent where the report has none.
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
    /// A field that must say something is empty.
    #[error("waiver {number} of policy {name} has an empty {field}")]
    Empty {
        /// The policy's name.
        name: String,
        /// Counted from 1.
        number: usize,
        /// The field.
        field: &'static str,
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
            for (field, text) in [
                ("location", &waiver.location),
                ("attribute", &waiver.attribute),
                ("reason", &waiver.reason),
                ("owner", &waiver.owner),
            ] {
                if text.trim().is_empty() {
                    return Err(Error::Empty {
                        name: name.to_owned(),
                        number: index + 1,
                        field,
                    });
                }
            }
        }
        Ok(Self {
            name: file.name,
            digest: Some(Digest::of(text.as_bytes())),
            rules: file.rules,
            waivers: file.waiver,
        })
    }
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

impl Waiver {
    /// Returns whether the waiver is about just this finding, with just these values.
    pub fn covers(&self, finding: &Finding) -> bool {
        let difference = &finding.difference;
        let value = |value: &Option<crate::compare::Value>| {
            value
                .as_ref()
                .map(|value| serde_json::to_value(value).unwrap_or_default())
        };
        self.location == difference.location.to_string()
            && self.attribute == difference.attribute.name()
            && self.detail == difference.attribute.detail()
            && self.published == value(&difference.values.published)
            && self.rebuilt == value(&difference.values.rebuilt)
            && self.cause.as_ref().is_none_or(|cause| {
                finding
                    .explanation
                    .as_ref()
                    .is_some_and(|found| found.cause.id == cause)
            })
    }
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
        let cases = [
            ("unknown key", WAIVER.replace("owner", "ower"), "ower"),
            (
                "glob for a path has no meaning",
                WAIVER.replace("\"r\"", "\" \""),
                "empty reason",
            ),
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
        assert_eq!((policy.rules, policy.waivers.len()), (Rules::Standard, 1));
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
