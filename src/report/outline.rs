//! Outline: what every form of a report tells and in which order, whatever it looks like.
//!
//! Text that goes out of here may still hold foreign characters of any kind, unless it
//! is said to be plain; each form keeps them from meaning something to it.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    hex,
    model::{
        CauseRecord, Files, FindingRecord, LayerFacts, Material, NamedBy, Report, Signature,
        Subject, Within,
    },
    text::shares,
};
use crate::{
    compare::{
        content::{Change, Content, On},
        excerpts,
    },
    explain::{Risk, Root},
    facts::{Environment, Freshness, Origin, Privileges, Provider},
    image::entry::misleads,
    inventory::{Drift, Package},
    pair::Pair,
    recipe::{self, Override},
    source::Resolution,
    verdict::{Acceptance, Waiver},
};

/// How many packages may be behind a verdict for it to be said in a sentence.
const FEW: usize = 2;

/// How many bytes or characters of two texts are compared word by word.
const COMPARED: usize = 2000;

/// How many bytes are kept of what two long texts begin with.
const AROUND: usize = 24;

/// A part of the way from source to image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Station {
    Source,
    Inputs,
    Build,
    Image,
}

/// One line about a station.
pub(super) struct Fact {
    pub(super) station: Station,
    /// A word; empty where it goes on with the one before.
    pub(super) name: &'static str,
    /// Plain text.
    pub(super) text: String,
}

/// Returns what is known of the way from source to image, in the order it is told in.
pub(super) fn facts(report: &Report) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut add = |station, name, text: &str| {
        facts.push(Fact {
            station,
            name,
            text: plain(text, usize::MAX),
        });
    };
    add(Station::Image, "published", &subject(&report.subject));
    if let Some(source) = &report.source {
        let facts = &source.facts;
        let revision = match &facts.resolution {
            Resolution::Tag { name } => format!(" (tag {name})"),
            Resolution::Branch { name } | Resolution::Head { branch: Some(name) } => {
                format!(" (branch {name})")
            }
            Resolution::Head { branch: None }
            | Resolution::Commit
            | Resolution::AbbreviatedCommit => String::new(),
        };
        let contacted = if facts.contacted == facts.named {
            String::new()
        } else {
            format!(", read from {}", facts.contacted)
        };
        let word = match source.repository_named_by {
            NamedBy::User => "",
            NamedBy::Recipe => ", named by the recipe",
            NamedBy::Image => ", named by the image alone",
        };
        let text = format!(
            "{} at {}{revision}{contacted}{word}",
            facts.named, facts.commit
        );
        add(Station::Source, "source", &text);
        for submodule in &facts.submodules {
            let text = format!("submodule {} is not read", submodule.path);
            add(Station::Source, "", &text);
        }
    }
    if let Some(recipe) = &report.recipe {
        let found = match &recipe.found {
            recipe::Origin::BuiltIn => "built in".to_owned(),
            recipe::Origin::File { path } => path.clone(),
            recipe::Origin::SourceTree { path } => format!("{path} of the source tree"),
        };
        let text = format!("{} ({}, {found})", recipe.name, recipe.kind);
        add(Station::Build, "recipe", &text);
        for departure in recipe.build.overrides() {
            add(Station::Build, "override", &overridden(departure));
        }
    }
    if !report.materials.is_empty() {
        add(Station::Inputs, "materials", &materials(&report.materials));
        let not_shown = |material: &Material| match &material.signature {
            Signature::NotShown { problem } => Some(format!(
                "no signature was seen of {}: {problem}",
                material.name
            )),
            Signature::Good { .. } | Signature::NotClaimed => None,
        };
        if let Some(text) = report.materials.iter().find_map(not_shown) {
            add(Station::Inputs, "", &text);
        }
    }
    if let Some(build) = &report.environment.build {
        add(Station::Build, "sandbox", &sandbox(build));
        if let [first, more @ ..] = &build.requests[..] {
            let text = match more.len() {
                0 => format!("1 answered from the lock: {}", first.url),
                count => format!(
                    "{} answered from the lock, such as {}",
                    count + 1,
                    first.url
                ),
            };
            add(Station::Build, "requests", &text);
        }
    }
    if let Some(log) = &report.run.log {
        add(Station::Build, "log", log);
    }
    for inference in &report.inferred {
        add(Station::Build, "inferred", &inference.to_string());
    }
    if let Some(rebuilt) = &report.rebuilt {
        add(Station::Image, "rebuilt", &subject(rebuilt));
    }
    if report.origin.values().any(|&bytes| bytes > 0) {
        add(Station::Image, "origin", &shares(&report.origin));
    }
    for (side, problems) in [
        ("published", &report.unread.published),
        ("rebuilt", &report.unread.rebuilt),
    ] {
        for problem in problems {
            let text = format!("of the {side} image: {problem}");
            add(Station::Image, "not read", &text);
        }
    }
    let not_equal = (report.equality.as_ref()).is_some_and(|equality| !equality.holds.contents);
    if not_equal && !report.files.is_empty() {
        add(Station::Image, "same", &same(&report.files));
    }
    if let Some(equality) = &report.equality {
        let text = format!("{} (config: {})", equality.strongest, equality.config_grade);
        add(Station::Image, "equality", &text);
    }
    facts
}

fn subject(subject: &Subject) -> String {
    let digest = match (subject.manifest_digest, subject.config_digest) {
        (Some(manifest), _) => format!(", manifest {manifest}"),
        (None, Some(config)) => format!(", config {config}"),
        (None, None) => String::new(),
    };
    let platform = subject
        .platform
        .as_ref()
        .map(|platform| format!(" ({platform})"))
        .unwrap_or_default();
    format!("{}{platform}{digest}", subject.name)
}

fn overridden(departure: &Override) -> String {
    let what = if departure.replacement.is_none() && departure.edits.is_empty() {
        "leaves out"
    } else {
        "changes"
    };
    let what = format!("{what} “{}”", departure.instruction);
    let skips = match &departure.skips {
        Some(check) => format!("; not checked: {check}"),
        None => String::new(),
    };
    format!("{what}: {}{skips}", departure.reason)
}

/// Says how many files of each origin are the published ones.
fn same(files: &BTreeMap<Origin, Files>) -> String {
    let parts = files.iter().map(|(origin, files)| {
        let largest = match &files.largest {
            Some(largest) => format!(" ({largest})"),
            None => String::new(),
        };
        let of = counted(usize::try_from(files.all).unwrap_or(usize::MAX), "file");
        format!("{origin} {} of {of}{largest}", thousands(files.same))
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// Counts materials by what was seen of a signature for them.
fn materials(materials: &[Material]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for material in materials {
        *counts.entry(covered(material)).or_default() += 1;
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(word, count)| format!("{count} {word}"))
        .collect();
    format!("{}: {}", materials.len(), counts.join(", "))
}

/// Returns what was seen of a signature for a material, in words.
pub(super) fn covered(material: &Material) -> &'static str {
    match (&material.signature, material.grade) {
        (Signature::Good { expired: false, .. }, _) => "covered by a signed index",
        (Signature::Good { expired: true, .. }, _) => "covered by a signed index that had expired",
        (Signature::NotShown { .. }, _) => "said to be signed, which was not seen",
        (Signature::NotClaimed, Some(grade)) => grade.word(),
        (Signature::NotClaimed, None) => "by hash alone",
    }
}

fn sandbox(build: &Environment) -> String {
    let sandbox = &build.sandbox;
    let privileges = match sandbox.privileges {
        Privileges::Root => "as root",
        Privileges::Rootless => "without root",
    };
    let fresh = match (build.freshness, &build.toolchain) {
        (Freshness::Cached, _) => "taken from an earlier run",
        (Freshness::Fresh, Some(toolchain)) if toolchain.freshness == Freshness::Cached => {
            "run now, in a toolchain of an earlier run"
        }
        (Freshness::Fresh, _) => "run now",
    };
    format!(
        "{} {} {privileges}, no network; {}, {fresh}",
        sandbox.runtime,
        sandbox.version,
        counted(build.steps.len(), "step")
    )
}

/// Whether the policy lets a finding be; what it does not comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Judged {
    Rejected,
    /// By one of its waivers.
    Waived,
    /// By its rules.
    Accepted,
}

impl Judged {
    pub(super) fn of(finding: &FindingRecord) -> Self {
        match finding.acceptance {
            Acceptance::Rejected | Acceptance::Expired(_) => Self::Rejected,
            Acceptance::Waived(_) => Self::Waived,
            Acceptance::Accepted => Self::Accepted,
        }
    }
}

/// How bad a finding is; the worst is least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    RiskyUnexplained,
    Unexplained,
    Risky,
    Explained,
}

impl Rank {
    pub(super) fn of(finding: &FindingRecord) -> Self {
        match (finding.risks.is_empty(), finding.cause.is_some()) {
            (false, false) => Self::RiskyUnexplained,
            (true, false) => Self::Unexplained,
            (false, true) => Self::Risky,
            (true, true) => Self::Explained,
        }
    }
}

/// All findings at one place, the worst first.
pub(super) struct Place<'a> {
    pub(super) judged: Judged,
    pub(super) rank: Rank,
    pub(super) findings: Vec<&'a FindingRecord>,
}

/// Returns the findings by place; what was not accepted first, then the worst first, by their risks.
pub(super) fn places(report: &Report) -> Vec<Place<'_>> {
    let mut by_place: BTreeMap<_, Vec<&FindingRecord>> = BTreeMap::new();
    for finding in &report.findings {
        let hidden = finding.visibility == Some(crate::compare::Visibility::Hidden);
        let layer = finding
            .layer
            .map(|layer| (layer.published, layer.rebuilt))
            .filter(|_| hidden);
        let key = (finding.within, finding.location.as_str(), layer);
        by_place.entry(key).or_default().push(finding);
    }
    let mut places: Vec<Place<'_>> = by_place
        .into_values()
        .filter_map(|mut findings| {
            findings.sort_by_key(|finding| {
                // Of a file's content and size, the content says more.
                let size = finding.attribute == "size";
                (Judged::of(finding), Rank::of(finding), size)
            });
            let first = *findings.first()?;
            Some(Place {
                judged: Judged::of(first),
                rank: Rank::of(first),
                findings,
            })
        })
        .collect();
    places.sort_by_key(|place| {
        let worst = place.all_risks().next();
        (place.judged, place.rank, worst.is_none(), worst)
    });
    places
}

impl<'a> Place<'a> {
    /// Returns the finding that stands for all.
    pub(super) fn worst(&self) -> &'a FindingRecord {
        self.findings[0]
    }

    /// Returns what differs, each once.
    pub(super) fn attributes(&self) -> String {
        let names: Vec<String> = self.findings.iter().map(|it| attribute(it)).collect();
        names.join(", ")
    }

    /// Returns whether the policy lets a finding be for which no cause is known.
    pub(super) fn has_unexplained(&self, judged: Judged) -> bool {
        (self.findings.iter()).any(|it| it.cause.is_none() && Judged::of(it) == judged)
    }

    /// Returns the risks of all findings, the worst first.
    pub(super) fn risks(&self) -> Vec<&'static str> {
        self.all_risks().map(risk).collect()
    }

    fn all_risks(&self) -> impl Iterator<Item = Risk> {
        let risks = self.findings.iter().flat_map(|it| it.risks.iter().copied());
        risks.collect::<BTreeSet<Risk>>().into_iter()
    }
}

/// Returns the name of what differs, with what the name leaves open.
pub(super) fn attribute(finding: &FindingRecord) -> String {
    match &finding.detail {
        Some(detail) => format!("{} {detail}", finding.attribute),
        None => finding.attribute.clone(),
    }
}

/// Returns the word that reports use for a risk.
pub(super) const fn risk(risk: Risk) -> &'static str {
    match risk {
        Risk::Setuid => "setuid",
        Risk::Capability => "capability",
        Risk::Device => "device",
        Risk::Account => "account",
        Risk::Key => "key",
        Risk::PackageSource => "package-source",
        Risk::Link => "link",
        Risk::Service => "service",
        Risk::Executable => "executable",
        Risk::Running => "running",
        Risk::Hidden => "hidden",
    }
}

/// What lies behind several causes, and all that it explains.
pub(super) struct RootGroup<'a> {
    pub(super) root: Root,
    pub(super) causes: Vec<CauseGroup<'a>>,
}

/// A cause and what it explains.
pub(super) struct CauseGroup<'a> {
    pub(super) cause: &'a CauseRecord,
    pub(super) findings: Vec<&'a FindingRecord>,
}

impl RootGroup<'_> {
    pub(super) fn count(&self) -> usize {
        self.causes.iter().map(|cause| cause.findings.len()).sum()
    }
}

/// Returns the explained findings that were judged so, by root; what explains most comes first.
pub(super) fn roots(report: &Report, judged: Judged) -> Vec<RootGroup<'_>> {
    let mut by_cause: BTreeMap<&str, Vec<&FindingRecord>> = BTreeMap::new();
    for finding in &report.findings {
        if let Some(cause) = &finding.cause
            && Judged::of(finding) == judged
        {
            by_cause.entry(&cause.id).or_default().push(finding);
        }
    }
    let mut by_root: BTreeMap<Root, Vec<CauseGroup<'_>>> = BTreeMap::new();
    for cause in &report.causes {
        if let Some(findings) = by_cause.remove(cause.id.as_str()) {
            let causes = by_root.entry(cause.root).or_default();
            causes.push(CauseGroup { cause, findings });
        }
    }
    let mut roots: Vec<RootGroup<'_>> = by_root
        .into_iter()
        .map(|(root, mut causes)| {
            causes.sort_by_key(|cause| std::cmp::Reverse(cause.findings.len()));
            RootGroup { root, causes }
        })
        .collect();
    roots.sort_by_key(|root| std::cmp::Reverse(root.count()));
    roots
}

/// A waiver and what it accepts, whatever is known of why.
pub(super) struct WaiverGroup<'a> {
    /// `None` where a report that is read back has it not.
    waiver: Option<&'a Waiver>,
    pub(super) findings: Vec<&'a FindingRecord>,
}

/// Returns the waivers that accept something, in the policy's order.
pub(super) fn waivers(report: &Report) -> Vec<WaiverGroup<'_>> {
    let mut by_number: BTreeMap<usize, Vec<&FindingRecord>> = BTreeMap::new();
    for finding in &report.findings {
        if let Acceptance::Waived(number) = finding.acceptance {
            by_number.entry(number).or_default().push(finding);
        }
    }
    let groups = by_number.into_iter().map(|(number, findings)| WaiverGroup {
        waiver: report.policy.waivers.get(number),
        findings,
    });
    groups.collect()
}

impl WaiverGroup<'_> {
    /// Returns why its findings are accepted; plain text.
    pub(super) fn reason(&self) -> String {
        let reason = self.waiver.map(|waiver| waiver.reason.as_str());
        plain(reason.unwrap_or("a waiver that the report has not"), 400)
    }

    /// Returns who says so, and until when; plain text.
    pub(super) fn word(&self) -> String {
        let word = self
            .waiver
            .map(|Waiver { owner, expires, .. }| format!("{owner}, until {expires}"));
        plain(&word.unwrap_or_default(), 400)
    }

    /// Returns what it accepts, such as `9 mtime, 1 content; 2 for no known reason`; plain text.
    pub(super) fn what(&self) -> String {
        let what = by_attribute(&self.findings);
        let unexplained = self.findings.iter().filter(|it| it.cause.is_none()).count();
        let unexplained = match unexplained {
            0 => String::new(),
            count => format!("; {} for no known reason", thousands(count as u64)),
        };
        plain(&format!("{what}{unexplained}"), 400)
    }
}

/// Returns what a root cause comes to, as a phrase.
pub(super) const fn root(root: Root) -> &'static str {
    match root {
        Root::Clock => "no SOURCE_DATE_EPOCH, or a tool that ignores it",
        Root::Randomness => "something drawn at random",
        Root::Machine => "something of the machine that built it",
        Root::Order => "things done or listed in another order",
        Root::Versions => "other versions of the same packages",
        Root::Builder => "another builder, or another version of it",
        Root::Packing => "the same files packed in another way",
    }
}

/// Counts findings by what differs, most first: `17,380 mtime, 9 content`.
pub(super) fn by_attribute(findings: &[&FindingRecord]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for finding in findings {
        *counts.entry(&finding.attribute).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|&(name, count)| (std::cmp::Reverse(count), name));
    let words = counts
        .iter()
        .map(|(name, count)| format!("{} {name}", thousands(*count as u64)));
    words.collect::<Vec<_>>().join(", ")
}

/// Returns the sentence that names the one or two packages that a failed verdict comes from.
///
/// `None` where other things fail as well, but for package databases, which record
/// the versions. Plain text.
pub(super) fn culprits(report: &Report) -> Option<String> {
    let mut by_owner: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    let mut recorded: BTreeSet<&str> = BTreeSet::new();
    let mut accepted = false;
    for finding in &report.findings {
        if Judged::of(finding) != Judged::Rejected {
            accepted = true;
            continue;
        }
        if finding.within != Within::Entry {
            return None;
        }
        if let Some(owner) = owner(finding) {
            let files = by_owner.entry(owner).or_default();
            files.insert(&finding.location);
        } else if has_root(finding, report, Root::Versions) {
            recorded.insert(&finding.location);
        } else {
            return None;
        }
    }
    if by_owner.is_empty() || by_owner.len() > FEW {
        return None;
    }
    let files: Vec<String> = by_owner
        .iter()
        .map(|(owner, files)| format!("{} of {owner}", counted(files.len(), "file")))
        .collect();
    let differ = match by_owner.values().map(BTreeSet::len).sum() {
        1usize => "differs",
        _ => "differ",
    };
    let recorded = match recorded.len() {
        0 => String::new(),
        count => format!(", and {} that say so", counted(count, "package list")),
    };
    let rest = if accepted {
        "everything else is identical or accepted by the policy"
    } else {
        "everything else is identical"
    };
    let sentence = format!("{} {differ}{recorded}; {rest}", files.join(" and "));
    Some(plain(&sentence, 400))
}

/// Returns the sentence that tells a stranger what is wrong; `None` where nothing is. Plain text.
pub(super) fn headline(report: &Report) -> Option<String> {
    if let Some(culprits) = culprits(report) {
        return Some(culprits);
    }
    let places = places(report);
    let unexplained: Vec<&Place<'_>> = (places.iter())
        .filter(|place| place.judged == Judged::Rejected)
        .filter(|place| matches!(place.rank, Rank::RiskyUnexplained | Rank::Unexplained))
        .collect();
    let mut parts = Vec::new();
    if let Some(worst) = unexplained.first() {
        let (verb, of) = match unexplained.len() {
            1 => ("differs", ":"),
            _ => ("differ", ", the worst of them"),
        };
        let mut about = vec![worst.attributes()];
        about.extend(worst.risks().into_iter().map(str::to_owned));
        parts.push(format!(
            "{} {verb} for no known reason{of} {} ({})",
            counted(unexplained.len(), "place"),
            plain(&worst.worst().location, 100),
            plain(&about.join(", "), 100)
        ));
    }
    if let Some(first) = roots(report, Judged::Rejected).first() {
        let count = counted(first.count(), "difference");
        parts.push(format!("{} explains {count}", root(first.root)));
    }
    if let (true, Some(unmet)) = (parts.is_empty(), unmet(report).first()) {
        parts.push(format!("the policy requires more: {unmet}"));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Returns what the policy requires and does not hold, a line each. Plain text.
pub(super) fn unmet(report: &Report) -> Vec<String> {
    let lines = report.policy.unmet.iter().map(|unmet| {
        let line = format!("{}: {}", unmet.requirement, unmet.found);
        plain(&line, 400)
    });
    lines.collect()
}

/// Returns which waivers are of no use any more, a line each. Plain text.
pub(super) fn stale(report: &Report) -> Vec<String> {
    let policy = &report.policy;
    let of = |numbers: &[usize], why: &str| -> Vec<String> {
        let known = numbers
            .iter()
            .filter_map(|&number| policy.waivers.get(number));
        known
            .map(|waiver| {
                let line = format!("{} {} {why}", waiver.place(), waiver.attribute);
                plain(&line, 400)
            })
            .collect()
    };
    let mut lines = of(&policy.expired_waivers, "has expired");
    lines.extend(of(&policy.unused_waivers, "covers nothing"));
    lines
}

fn has_root(finding: &FindingRecord, report: &Report, root: Root) -> bool {
    finding.cause.as_ref().is_some_and(|cause| {
        let known = report.causes.iter().find(|known| known.id == cause.id);
        known.is_some_and(|known| known.root == root)
    })
}

/// Returns the package that a file is said to belong to, such as `libc6 2.36-9 / 2.36-10`.
///
/// Where the images have no package database, what the rebuilt file equals says it.
pub(super) fn owner(finding: &FindingRecord) -> Option<String> {
    let Some(owner) = &finding.owner else {
        return match &finding.provided_by {
            Some(package @ Provider::Package { .. }) => Some(format!("{package} in the rebuild")),
            Some(Provider::Source { .. } | Provider::Pinned { .. }) | None => None,
        };
    };
    let name = |package: &Package| package.to_string();
    Some(match (&owner.published, &owner.rebuilt) {
        (Some(published), Some(rebuilt)) if published == rebuilt => name(published),
        (Some(published), Some(rebuilt)) if published.name == rebuilt.name => {
            format!("{} / {}", name(published), rebuilt.version)
        }
        (Some(published), Some(rebuilt)) => format!("{} / {}", name(published), name(rebuilt)),
        (Some(published), None) => format!("{} / none", name(published)),
        (None, Some(rebuilt)) => format!("none / {}", name(rebuilt)),
        (None, None) => return None,
    })
}

/// Returns what became of a package: `libc6 2.36-9 → 2.36-10`, `tzdata 2024a → none`.
pub(super) fn drifted(drift: &Drift) -> String {
    let version = drift
        .version
        .as_ref()
        .map(|version| version.as_deref().unwrap_or("none"));
    format!("{} {} → {}", drift.name, version.published, version.rebuilt)
}

/// Returns the layer that a finding is in and what made it: `layer 1: RUN …`.
pub(super) fn layer(finding: &FindingRecord, report: &Report) -> Option<String> {
    let layer = finding.layer?;
    let (number, subject) = match (layer.published, layer.rebuilt) {
        (Some(number), _) => (number, Some(&report.subject)),
        (None, Some(number)) => (number, report.rebuilt.as_ref()),
        (None, None) => return None,
    };
    // A report that is read back may name a layer that it has not.
    let made = subject.and_then(|subject| subject.layers.get(number));
    Some(match made.map(made_by) {
        Some(made) => format!("layer {number}: {made}"),
        None => format!("layer {number}"),
    })
}

/// Returns the instruction that made a layer, or how far the history tells.
fn made_by(layer: &LayerFacts) -> String {
    match (&layer.instruction, &layer.steps[..]) {
        (Some(instruction), _) => instruction.clone(),
        (None, []) => "the history does not tell what made it".to_owned(),
        (None, [step]) => format!("squashed, {step} among what made it"),
        (None, [first, .., last]) => format!(
            "one of {}, from {first} to {last}, or several of them; the history does not tell",
            counted(layer.steps.len(), "step")
        ),
    }
}

/// Returns what a waiver has to say of a finding; plain text.
pub(super) fn waived(finding: &FindingRecord, report: &Report) -> Option<String> {
    // A report that is read back may name a waiver that it has not.
    let waiver = |number: usize| report.policy.waivers.get(number);
    let text = match finding.acceptance {
        Acceptance::Waived(number) => {
            let Waiver {
                owner,
                expires,
                reason,
                ..
            } = waiver(number)?;
            format!("accepted by a waiver of {owner} until {expires}: {reason}")
        }
        Acceptance::Expired(number) => {
            let Waiver { owner, expires, .. } = waiver(number)?;
            format!("the waiver of {owner} expired on {expires}")
        }
        Acceptance::Accepted | Acceptance::Rejected => return None,
    };
    Some(plain(&text, 400))
}

/// Returns the title of a cause, or its name where the report does not say.
pub(super) fn title<'a>(id: &'a str, report: &'a Report) -> &'a str {
    let known = report.causes.iter().find(|known| known.id == id);
    known.map_or(id, |known| &known.title)
}

/// Returns both values on a line each, cut to where they differ; plain text.
pub(super) fn values(finding: &FindingRecord, most: usize) -> Pair<String> {
    let values = Pair::new(finding.published.as_ref(), finding.rebuilt.as_ref());
    let texts = values.map(|value| match value {
        None => "–".to_owned(),
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    });
    excerpt(&texts, most).map(|text| plain(&text, most))
}

/// Returns the parts in which two texts of any length differ.
///
/// What both begin with is cut off first, and what is left is cut to a length that is
/// compared in no time: long values are many, and a report is the same on any machine.
fn excerpt(texts: &Pair<String>, most: usize) -> Pair<String> {
    let Pair { published, rebuilt } = texts.as_ref().map(String::as_str);
    if published.len().max(rebuilt.len()) <= COMPARED {
        return excerpts(Pair::new(published, rebuilt), most);
    }
    let both = published.char_indices().zip(rebuilt.chars());
    let same = both
        .take_while(|((_, one), other)| one == other)
        .last()
        .map_or(0, |((at, character), _)| at + character.len_utf8());
    let from = (0..=same.saturating_sub(AROUND))
        .rev()
        .find(|&at| published.is_char_boundary(at))
        .unwrap_or(0);
    let cut = texts.as_ref().map(|text| {
        let left: String = text[from..].chars().take(COMPARED).collect();
        if from > 0 { format!("…{left}") } else { left }
    });
    excerpts(Pair::new(&cut.published, &cut.rebuilt), most)
}

/// How bytes are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bytes {
    /// The first ones of both sides on one line.
    Brief,
    /// Row by row, with some that are equal around them.
    Rows,
}

/// Returns what differs inside of a file, line by line, no more than `most`; plain text.
pub(super) fn inside(content: &Content, most: usize, width: usize, bytes: Bytes) -> Vec<String> {
    let mut inside = Inside {
        lines: Vec::new(),
        most,
        width,
        bytes,
        left_out: 0,
    };
    inside.content(content, 0);
    let Inside {
        mut lines,
        left_out,
        ..
    } = inside;
    if left_out > 0 {
        lines.push(format!("… and {} more", counted_u64(left_out, "line")));
    }
    if content.left_out > 0 {
        let count = counted_u64(content.left_out, "further place");
        lines.push(format!(
            "… and at least {count} that the report does not list"
        ));
    }
    lines
}

/// The lines so far.
struct Inside {
    lines: Vec<String>,
    most: usize,
    width: usize,
    bytes: Bytes,
    left_out: u64,
}

impl Inside {
    fn push(&mut self, depth: usize, text: &str) {
        if self.lines.len() < self.most {
            let text = plain(text, self.width);
            self.lines.push(format!("{:1$}{text}", "", 2 * depth));
        } else {
            self.left_out += 1;
        }
    }

    /// Contents lie in each other only as deep as a JSON reader or `compare` goes.
    fn content(&mut self, content: &Content, depth: usize) {
        for part in &content.parts {
            let place = &part.place;
            match &part.change {
                Change::Value { published, rebuilt } => {
                    let word = |value: &Option<String>| value.clone().unwrap_or("–".to_owned());
                    let texts = Pair::new(word(published), word(rebuilt));
                    let most = self.width.saturating_sub(place.chars().count()) / 2;
                    let shown = excerpt(&texts, most);
                    let line = format!("{place}: {} → {}", shown.published, shown.rebuilt);
                    self.push(depth, &line);
                }
                Change::Lines { from, lines } => {
                    self.push(depth, &format!("{place}, from line {}", from.published));
                    for line in lines {
                        match line.on {
                            On::Both => {}
                            On::Published => self.push(depth + 1, &format!("- {}", line.text)),
                            On::Rebuilt => self.push(depth + 1, &format!("+ {}", line.text)),
                        }
                    }
                }
                change @ Change::Bytes {
                    offset,
                    length,
                    hex,
                    ..
                } => {
                    let bytes = if length.is_equal() {
                        counted_u64(length.published, "byte")
                    } else {
                        let length = length.map(thousands);
                        format!("{} / {} bytes", length.published, length.rebuilt)
                    };
                    match self.bytes {
                        Bytes::Brief => {
                            let hex = hex.as_ref().map(|hex| match hex.as_str() {
                                "" => "–".to_owned(),
                                hex => plain(hex, 24),
                            });
                            let (one, other) = (hex.published, hex.rebuilt);
                            self.push(depth, &format!("{place}, {bytes}: {one} → {other}"));
                        }
                        Bytes::Rows => {
                            let at = offset.published;
                            self.push(depth, &format!("{place}, {bytes} at {at:#x}"));
                            for row in hex::rows(change) {
                                self.push(depth + 1, &row);
                            }
                        }
                    }
                }
                Change::Inside { content } => {
                    self.push(depth, &format!("{place} ({}):", content.format));
                    self.content(content, depth + 1);
                }
            }
        }
    }
}

/// Returns text on one line with nothing that moves a cursor or hides itself, cut to `most` characters.
pub(super) fn plain(text: &str, most: usize) -> String {
    let mut plain = String::new();
    let mut characters = text.chars();
    for character in characters.by_ref().take(most) {
        match character {
            '\t' => plain.push(' '),
            character if misleads(character) => plain.extend(character.escape_default()),
            character => plain.push(character),
        }
    }
    if characters.next().is_some() {
        plain.push('…');
    }
    plain
}

/// Returns a number and a noun: `1 file`, `17,389 files`.
pub(super) fn counted(count: usize, noun: &str) -> String {
    counted_u64(count as u64, noun)
}

pub(super) fn counted_u64(count: u64, noun: &str) -> String {
    if count == 1 {
        format!("1 {noun}")
    } else {
        format!("{} {noun}s", thousands(count))
    }
}

/// Returns a number in groups of three digits.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Returns the command that does it all again, as a shell takes it; plain text.
pub(super) fn rerun(report: &Report) -> String {
    let words: Vec<String> = report.rerun.iter().map(|word| quoted(word)).collect();
    plain(&words.join(" "), usize::MAX)
}

/// Returns a word as a shell takes it.
fn quoted(word: &str) -> String {
    let simple = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@+,%".contains(&byte);
    if !word.is_empty() && word.bytes().all(simple) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_shown_where_they_differ() {
        let text = |word: &str| format!("{}{word}{}", "é ".repeat(50_000), " so on".repeat(50_000));
        let shown = excerpt(&Pair::new(text("here"), text("there")), 72);
        assert!(shown.published.contains(" here"), "{}", shown.published);
        assert!(shown.rebuilt.contains(" there"), "{}", shown.rebuilt);
        assert!(shown.published.len() < 200, "{}", shown.published);
    }

    #[test]
    fn numbers_are_read_in_groups_of_three() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (17_389_000, "17,389,000"),
        ];
        for (number, expected) in cases {
            assert_eq!(thousands(number), expected);
        }
    }
}
