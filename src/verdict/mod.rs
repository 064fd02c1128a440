//! Verdict: findings and a policy become an answer.
//!
//! Pure and total: every finding is judged, none is dropped. The rules are
//! applied twice over, to the equality that was computed and to each finding by
//! itself, and both must agree.

mod policy;

use std::fmt;

use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use policy::{Error, Policy, Rules, UnknownRules, Waiver};

use crate::{
    compare::{ConfigGrade, Equality},
    explain::Finding,
};

/// The answer.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The rebuild is the published image, as far as the policy asks.
    Reproduced,
    /// The same, but for differences that waivers accept one by one.
    ReproducedWithWaivers,
    /// Something differs that nothing accepts.
    NotReproduced,
    /// It could not be settled; the obstacles say why and what would settle it.
    Inconclusive,
}

/// Why a rebuild settles nothing, and what would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Obstacle {
    /// What stands in the way.
    pub kind: ObstacleKind,
    /// What happened.
    pub what: String,
    /// What would settle it.
    pub remedy: String,
}

/// What can stand in the way of a verdict.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum ObstacleKind {
    /// The source could not be built.
    BuildFailed,
    /// No recipe says how the image is built.
    NoRecipe,
    /// Nobody says what the source is.
    NoSource,
    /// Only the image itself says what its source is.
    SelfDeclared,
    /// The commit is on no branch or tag of the repository, and the user did not name it.
    Unreachable,
    /// The revision is what a recipe's rule makes of the image's tag, and does not give the image.
    GuessedRevision,
    /// The index has several images that would run on the platform.
    AmbiguousPlatform,
    /// The recipe takes something from outside that no lock pins.
    NotLocked,
    /// Nobody has the bytes of a pin any more.
    MaterialGone,
    /// A pin of the lock is the published image's own layer, so that equality shows nothing.
    Circular,
    /// This machine cannot run the build's commands.
    ForeignPlatform,
}

impl ObstacleKind {
    /// Returns whether there is no rebuild to compare with.
    pub const fn prevents_rebuild(self) -> bool {
        match self {
            Self::BuildFailed
            | Self::NoRecipe
            | Self::NoSource
            | Self::AmbiguousPlatform
            | Self::NotLocked
            | Self::MaterialGone
            | Self::Circular
            | Self::ForeignPlatform => true,
            Self::SelfDeclared | Self::Unreachable | Self::GuessedRevision => false,
        }
    }
}

/// What a policy makes of one finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Acceptance {
    /// The policy's rules let it differ.
    Accepted,
    /// The policy's waiver of this number, from 0, accepts it.
    Waived(usize),
    /// A waiver would have accepted it, but has expired.
    Expired(usize),
    /// Nothing accepts it.
    Rejected,
}

/// The verdict, and what each finding was judged to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The answer.
    pub verdict: Verdict,
    /// One for each finding, in the same order.
    pub acceptances: Vec<Acceptance>,
    /// The policy's waivers that covered nothing, by number from 0.
    pub unused_waivers: Vec<usize>,
}

/// Judges findings under a policy, as of a day.
///
/// A difference that nothing accepts stays one, whatever else is open; an
/// obstacle keeps everything else from being more than inconclusive.
pub fn judge(
    equality: Equality,
    config: ConfigGrade,
    findings: &[Finding],
    policy: &Policy,
    obstacles: &[Obstacle],
    today: Date,
) -> Judgement {
    let acceptances: Vec<Acceptance> = findings
        .iter()
        .map(|finding| acceptance(finding, policy, today))
        .collect();
    let rejected = acceptances
        .iter()
        .any(|acceptance| matches!(acceptance, Acceptance::Rejected | Acceptance::Expired(_)));
    let waived = acceptances
        .iter()
        .any(|acceptance| matches!(acceptance, Acceptance::Waived(_)));
    let satisfied = equality >= policy.rules.equality() && config >= policy.rules.config();
    let prevented = obstacles
        .iter()
        .any(|obstacle| obstacle.kind.prevents_rebuild());
    // A guess that gives the image was right; one that does not says nothing about it.
    let (guesses, others): (Vec<&Obstacle>, Vec<&Obstacle>) = obstacles
        .iter()
        .partition(|obstacle| obstacle.kind == ObstacleKind::GuessedRevision);
    let verdict = if prevented {
        Verdict::Inconclusive
    } else if rejected || !satisfied && !waived {
        if guesses.is_empty() {
            Verdict::NotReproduced
        } else {
            Verdict::Inconclusive
        }
    } else if !others.is_empty() {
        Verdict::Inconclusive
    } else if waived {
        Verdict::ReproducedWithWaivers
    } else {
        Verdict::Reproduced
    };
    let used = |number: &usize| {
        acceptances.iter().any(|acceptance| match acceptance {
            Acceptance::Waived(used) | Acceptance::Expired(used) => used == number,
            Acceptance::Accepted | Acceptance::Rejected => false,
        })
    };
    let unused_waivers = (0..policy.waivers.len())
        .filter(|number| !used(number))
        .collect();
    Judgement {
        verdict,
        acceptances,
        unused_waivers,
    }
}

fn acceptance(finding: &Finding, policy: &Policy, today: Date) -> Acceptance {
    if policy.rules.accepts(finding.difference.bearing) {
        return Acceptance::Accepted;
    }
    let covering = || {
        policy
            .waivers
            .iter()
            .enumerate()
            .filter(|(_, waiver)| waiver.covers(finding))
    };
    let valid = covering().find(|(_, waiver)| waiver.expires >= today);
    match (valid, covering().next()) {
        (Some((number, _)), _) => Acceptance::Waived(number),
        (None, Some((number, _))) => Acceptance::Expired(number),
        (None, None) => Acceptance::Rejected,
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reproduced => "reproduced",
            Self::ReproducedWithWaivers => "reproduced with waivers",
            Self::NotReproduced => "not reproduced",
            Self::Inconclusive => "inconclusive",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compare::{Attribute, Bearing, Difference, Location, Value, Visibility},
        image::EntryPath,
        pair::Pair,
    };

    const TODAY: Date = Date::constant(2026, 11, 23);

    fn finding(bearing: Bearing) -> Finding {
        let layer = Pair::new(Some(0), Some(0));
        let path = EntryPath::of(b"etc/hostname");
        Finding {
            difference: Difference {
                location: Location::Entry {
                    layer,
                    path,
                    visibility: Visibility::Visible,
                },
                attribute: Attribute::Uid,
                values: Pair::new(Some(Value::Number(0)), Some(Value::Number(1000))),
                bearing,
            },
            explanation: None,
            tried: Vec::new(),
            risks: Vec::new(),
        }
    }

    fn waiver(change: impl FnOnce(&mut Waiver)) -> Policy {
        let mut waiver = Waiver {
            location: "/etc/hostname".into(),
            attribute: "uid".into(),
            detail: None,
            published: Some(0.into()),
            rebuilt: Some(1000.into()),
            cause: None,
            reason: "agreed".into(),
            owner: "someone".into(),
            expires: TODAY,
        };
        change(&mut waiver);
        let mut policy = Policy::builtin(Rules::Standard);
        policy.waivers.push(waiver);
        policy
    }

    #[test]
    fn a_waiver_covers_one_difference_with_its_values_until_the_day_it_expires() {
        let yesterday = TODAY.yesterday().unwrap();
        let cases = [
            ("covered", waiver(|_| {}), Acceptance::Waived(0)),
            (
                "elsewhere",
                waiver(|waiver| waiver.location = "/etc".into()),
                Acceptance::Rejected,
            ),
            (
                "other attribute",
                waiver(|waiver| waiver.attribute = "gid".into()),
                Acceptance::Rejected,
            ),
            (
                "other value",
                waiver(|waiver| waiver.rebuilt = Some(1001.into())),
                Acceptance::Rejected,
            ),
            (
                "value left out",
                waiver(|waiver| waiver.published = None),
                Acceptance::Rejected,
            ),
            (
                "other cause",
                waiver(|waiver| waiver.cause = Some("tar.mtime".into())),
                Acceptance::Rejected,
            ),
            (
                "expired",
                waiver(|waiver| waiver.expires = yesterday),
                Acceptance::Expired(0),
            ),
        ];
        for (case, policy, expected) in cases {
            let judged = judge(
                Equality::None,
                ConfigGrade::Running,
                &[finding(Bearing::Files)],
                &policy,
                &[],
                TODAY,
            );
            assert_eq!(judged.acceptances, [expected], "{case}");
            let verdict = match expected {
                Acceptance::Waived(_) => Verdict::ReproducedWithWaivers,
                _ => Verdict::NotReproduced,
            };
            assert_eq!(judged.verdict, verdict, "{case}");
        }
    }

    #[test]
    fn an_obstacle_keeps_a_verdict_from_being_more_than_it_allows() {
        let obstacle = |kind| Obstacle {
            kind,
            what: String::new(),
            remedy: String::new(),
        };
        let cases = [
            (ObstacleKind::SelfDeclared, vec![], Verdict::Inconclusive),
            (
                ObstacleKind::SelfDeclared,
                vec![finding(Bearing::Files)],
                Verdict::NotReproduced,
            ),
            (
                ObstacleKind::BuildFailed,
                vec![finding(Bearing::Files)],
                Verdict::Inconclusive,
            ),
            (
                ObstacleKind::GuessedRevision,
                vec![finding(Bearing::Files)],
                Verdict::Inconclusive,
            ),
            // What gives the image was no wrong guess.
            (ObstacleKind::GuessedRevision, vec![], Verdict::Reproduced),
        ];
        for (kind, findings, verdict) in cases {
            let judged = judge(
                Equality::Manifest,
                ConfigGrade::Bytes,
                &findings,
                &Policy::builtin(Rules::Standard),
                &[obstacle(kind)],
                TODAY,
            );
            assert_eq!(judged.verdict, verdict, "{kind:?}");
        }
    }

    #[test]
    fn an_equality_that_falls_short_is_not_reproduced_even_with_no_finding() {
        let judged = judge(
            Equality::Contents,
            ConfigGrade::Bytes,
            &[],
            &Policy::builtin(Rules::Standard),
            &[],
            TODAY,
        );
        assert_eq!(judged.verdict, Verdict::NotReproduced);
    }
}
