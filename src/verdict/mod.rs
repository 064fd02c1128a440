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

use policy::Reach;
pub use policy::{
    Bounds, Claim, Error, Evidence, Percent, Policy, Requirements, Rules, Stale, UnknownRules,
    Unmet, Waiver,
};

use crate::compare::{ConfigGrade, Equality};

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

/// All that is judged.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The strongest equality that holds.
    pub equality: Equality,
    /// How equal the configs are.
    pub config: ConfigGrade,
    /// Every finding.
    pub claims: &'a [Claim<'a>],
    /// What stands in the way.
    pub obstacles: &'a [Obstacle],
    /// How the image came about.
    pub evidence: Evidence<'a>,
}

/// The verdict, and what each finding was judged to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The answer.
    pub verdict: Verdict,
    /// One for each finding, in the same order.
    pub acceptances: Vec<Acceptance>,
    /// What the policy requires and does not hold.
    pub unmet: Vec<Unmet>,
    /// The policy's waivers that covered nothing, by number from 0.
    pub unused_waivers: Vec<usize>,
    /// The policy's waivers that have expired, by number from 0.
    pub expired_waivers: Vec<usize>,
}

/// Judges findings under a policy, as of a day.
///
/// A difference that nothing accepts stays one, whatever else is open; an
/// obstacle keeps everything else from being more than inconclusive.
pub fn judge(case: &Case<'_>, policy: &Policy, today: Date) -> Judgement {
    let waivers: Vec<Reach<'_>> = policy.waivers.iter().map(Reach::of).collect();
    let acceptances: Vec<Acceptance> = (case.claims.iter())
        .map(|claim| acceptance(claim, policy.rules, &waivers, today))
        .collect();
    let used = |number: &usize| {
        acceptances.iter().any(|acceptance| match acceptance {
            Acceptance::Waived(used) | Acceptance::Expired(used) => used == number,
            Acceptance::Accepted | Acceptance::Rejected => false,
        })
    };
    let numbers = 0..policy.waivers.len();
    let unused_waivers: Vec<usize> = numbers.clone().filter(|number| !used(number)).collect();
    let expired_waivers: Vec<usize> = numbers
        .filter(|&number| policy.waivers[number].expires < today)
        .collect();
    let mut unmet = policy.require.unmet(&case.evidence);
    if policy.require.stale_waivers == Stale::Refused {
        unmet.extend(stale(policy, &unused_waivers, "covers nothing"));
        unmet.extend(stale(policy, &expired_waivers, "has expired"));
    }
    let rejected = acceptances
        .iter()
        .any(|acceptance| matches!(acceptance, Acceptance::Rejected | Acceptance::Expired(_)));
    let waived = acceptances
        .iter()
        .any(|acceptance| matches!(acceptance, Acceptance::Waived(_)));
    let satisfied =
        case.equality >= policy.rules.equality() && case.config >= policy.rules.config();
    let prevented = case
        .obstacles
        .iter()
        .any(|obstacle| obstacle.kind.prevents_rebuild());
    // A guess that gives the image was right; one that does not says nothing about it.
    let (guesses, others): (Vec<&Obstacle>, Vec<&Obstacle>) = case
        .obstacles
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
    } else if !unmet.is_empty() {
        Verdict::NotReproduced
    } else if waived {
        Verdict::ReproducedWithWaivers
    } else {
        Verdict::Reproduced
    };
    Judgement {
        verdict,
        acceptances,
        unmet,
        unused_waivers,
        expired_waivers,
    }
}

/// Returns that waivers of these numbers are of no use.
fn stale(policy: &Policy, numbers: &[usize], why: &'static str) -> impl Iterator<Item = Unmet> {
    numbers.iter().map(move |&number| {
        let waiver = &policy.waivers[number];
        Unmet {
            requirement: "every waiver is of use".to_owned(),
            found: format!(
                "waiver {} ({} {}) {why}",
                number + 1,
                waiver.place(),
                waiver.attribute
            ),
        }
    })
}

fn acceptance(claim: &Claim<'_>, rules: Rules, waivers: &[Reach<'_>], today: Date) -> Acceptance {
    if rules.accepts(claim.bearing) {
        return Acceptance::Accepted;
    }
    let covering = || {
        let waivers = waivers.iter().enumerate();
        waivers.filter(|(_, reach)| reach.covers(claim))
    };
    let valid = covering().find(|(_, reach)| reach.waiver.expires >= today);
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
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        compare::{Attribute, Bearing, Difference, Location, Value, Visibility},
        explain::{Explanation, Finding, Risk, causes},
        facts::{Freshness, Origin},
        image::EntryPath,
        pair::Pair,
        recipe::lockfile::Grade,
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

    fn judged(
        equality: Equality,
        findings: &[Finding],
        obstacles: &[Obstacle],
        policy: &Policy,
    ) -> Judgement {
        let claims: Vec<Claim<'_>> = findings.iter().map(Claim::of).collect();
        let case = Case {
            equality,
            config: ConfigGrade::Bytes,
            claims: &claims,
            obstacles,
            evidence: Evidence {
                source: None,
                pins: &[],
                origin: &BTreeMap::new(),
                freshness: None,
            },
        };
        judge(&case, policy, TODAY)
    }

    fn waiver(change: impl FnOnce(&mut Waiver)) -> Policy {
        let mut waiver = Waiver {
            location: Some("/etc/hostname".into()),
            attribute: "uid".into(),
            published: Some(0.into()),
            rebuilt: Some(1000.into()),
            reason: "agreed".into(),
            owner: "someone".into(),
            expires: TODAY,
            ..Waiver::default()
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
                waiver(|waiver| waiver.location = Some("/etc".into())),
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
            let judged = judged(Equality::None, &[finding(Bearing::Files)], &[], &policy);
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
            let policy = Policy::builtin(Rules::Standard);
            let judged = judged(Equality::Manifest, &findings, &[obstacle(kind)], &policy);
            assert_eq!(judged.verdict, verdict, "{kind:?}");
        }
    }

    #[test]
    fn an_equality_that_falls_short_is_not_reproduced_even_with_no_finding() {
        let policy = Policy::builtin(Rules::Standard);
        let judged = judged(Equality::Contents, &[], &[], &policy);
        assert_eq!(judged.verdict, Verdict::NotReproduced);
    }

    #[test]
    fn paths_cover_one_cause_where_nothing_is_flagged() {
        let at = |path: &str, cause: Option<&'static str>, risks: &[Risk]| {
            let mut finding = finding(Bearing::Times);
            finding.difference.location = Location::Entry {
                layer: Pair::new(Some(0), Some(0)),
                path: EntryPath::of(path.as_bytes()),
                visibility: Visibility::Visible,
            };
            finding.difference.attribute = Attribute::Mtime;
            finding.explanation = cause.map(|id| Explanation {
                cause: causes().find(|cause| cause.id == id).unwrap(),
                evidence: "seen".into(),
            });
            finding.risks = risks.to_vec();
            finding
        };
        let time = Some("tar.mtime");
        let cases = [
            (
                "below",
                at("var/log/a/b.log", time, &[]),
                Acceptance::Waived(0),
            ),
            (
                "elsewhere",
                at("var/lib/a", time, &[]),
                Acceptance::Rejected,
            ),
            ("no cause", at("var/log/a", None, &[]), Acceptance::Rejected),
            (
                "another cause",
                at("var/log/a", Some("git.checkout-time"), &[]),
                Acceptance::Rejected,
            ),
            (
                "flagged",
                at("var/log/a", time, &[Risk::Setuid]),
                Acceptance::Rejected,
            ),
        ];
        let policy = Policy::parse(
            "schema = 1\nname = \"p\"\nrules = \"standard\"\n[[waiver]]\npaths = \"/var/log/**\"\n\
             attribute = \"mtime\"\ncause = \"tar.mtime\"\nreason = \"r\"\nowner = \"o\"\n\
             expires = \"2026-11-23\"\n",
            "p",
        )
        .unwrap();
        for (case, finding, expected) in cases {
            let judged = judged(Equality::Contents, &[finding], &[], &policy);
            assert_eq!(judged.acceptances, [expected], "{case}");
        }
    }

    #[test]
    fn a_requirement_that_does_not_hold_keeps_an_image_from_being_reproduced() {
        let origin = BTreeMap::from([(Origin::Built, 231), (Origin::Opaque, 769)]);
        let pins = [
            ("a", Some(Grade::SignedIndex)),
            ("b", Some(Grade::Recorded)),
        ];
        let evidence = Evidence {
            source: Some("https://git.example/one"),
            pins: &pins,
            origin: &origin,
            freshness: Some(Freshness::Cached),
        };
        let cases = [
            ("", None),
            ("sources = [\"https://git.example/one\"]", None),
            (
                "sources = [\"https://git.example/two\"]",
                Some("the source is"),
            ),
            ("pins = \"recorded\"", None),
            (
                "pins = \"source-tree\"",
                Some("every pin is source-tree or better"),
            ),
            ("origin.built.at-least = 23.1", None),
            (
                "origin.built.at-least = 23.101",
                Some("at least 23.101 % of the bytes are built"),
            ),
            ("origin.opaque.at-most = 76.9", None),
            (
                "origin.opaque.at-most = 76.899",
                Some("at most 76.899 % of the bytes are opaque"),
            ),
            ("origin.base.at-most = 0", None),
            ("freshness = \"cached\"", None),
            ("freshness = \"fresh\"", Some("were run now")),
        ];
        for (require, expected) in cases {
            let text =
                format!("schema = 1\nname = \"p\"\nrules = \"standard\"\n[require]\n{require}\n");
            let policy = Policy::parse(&text, "p").unwrap();
            let case = Case {
                equality: Equality::Manifest,
                config: ConfigGrade::Bytes,
                claims: &[],
                obstacles: &[],
                evidence,
            };
            let judged = judge(&case, &policy, TODAY);
            let unmet: Vec<&str> = judged
                .unmet
                .iter()
                .map(|unmet| unmet.requirement.as_str())
                .collect();
            match expected {
                None => assert_eq!(
                    (unmet.len(), judged.verdict),
                    (0, Verdict::Reproduced),
                    "{require}"
                ),
                Some(expected) => {
                    assert!(
                        unmet.len() == 1 && unmet[0].contains(expected),
                        "{require}: {unmet:?}"
                    );
                    assert_eq!(judged.verdict, Verdict::NotReproduced, "{require}");
                }
            }
        }
    }

    #[test]
    fn stale_waivers_are_said_and_refused_where_that_is_asked() {
        let mut policy = waiver(|waiver| waiver.location = Some("/other".into()));
        policy.waivers[0].expires = TODAY.yesterday().unwrap();
        let before = judged(Equality::Manifest, &[], &[], &policy);
        assert_eq!(before.verdict, Verdict::Reproduced);
        assert_eq!(
            (before.unused_waivers, before.expired_waivers),
            (vec![0], vec![0])
        );
        policy.require.stale_waivers = Stale::Refused;
        let judged = judged(Equality::Manifest, &[], &[], &policy);
        assert_eq!(
            (judged.verdict, judged.unmet.len()),
            (Verdict::NotReproduced, 2)
        );
    }
}
