//! The report for a terminal: the verdict first, then why, the worst on top.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use anstyle::{AnsiColor, Style};

use super::model::{FindingRecord, Material, NamedBy, Report, Signature, Subject};
use crate::{
    compare::excerpts,
    facts::{Environment, Freshness, Privileges},
    image::entry::misleads,
    pair::Pair,
    recipe::{self, Override},
    source::Resolution,
    verdict::{Acceptance, Verdict},
};

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// What fits a screen.
    Brief,
    /// Every finding.
    Full,
}

/// How many findings of a kind are listed before they are only counted.
const LISTED: usize = 12;

/// How many characters of a value are shown.
const SHOWN: usize = 72;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const OPEN: Style = AnsiColor::Yellow.on_default().bold();

/// Returns the report as text with colours; who prints it strips them where they do not belong.
pub fn render(report: &Report, detail: Detail) -> String {
    let mut text = String::new();
    write(report, detail, &mut text).expect("a String takes all that is written to it");
    text
}

fn write(report: &Report, detail: Detail, out: &mut String) -> fmt::Result {
    let style = match report.verdict {
        Verdict::Reproduced => GOOD,
        Verdict::ReproducedWithWaivers | Verdict::Inconclusive => OPEN,
        Verdict::NotReproduced => BAD,
    };
    writeln!(
        out,
        "{style}{}{style:#}: {}",
        report.verdict, report.summary
    )?;
    for obstacle in &report.obstacles {
        writeln!(out, "  {OPEN}open{OPEN:#}  {}", obstacle.what)?;
        writeln!(out, "        {DIM}to settle it: {}{DIM:#}", obstacle.remedy)?;
    }
    writeln!(out)?;
    chain(report, out)?;
    let (accepted, rejected): (Vec<_>, Vec<_>) = report.findings.iter().partition(|finding| {
        matches!(
            finding.acceptance,
            Acceptance::Accepted | Acceptance::Waived(_)
        )
    });
    if !rejected.is_empty() {
        writeln!(out)?;
        let count = counted(rejected.len(), "difference");
        writeln!(
            out,
            "{BOLD}{count} not accepted by policy {}{BOLD:#}",
            report.policy.name
        )?;
        listed(&rejected, report, detail, LISTED, out)?;
    }
    if !accepted.is_empty() {
        writeln!(out)?;
        let count = counted(accepted.len(), "difference");
        writeln!(out, "{BOLD}{count} accepted{BOLD:#}")?;
        listed(&accepted, report, detail, 1, out)?;
    }
    for &number in &report.policy.unused_waivers {
        let waiver = &report.policy.waivers[number];
        writeln!(
            out,
            "  unused waiver: {} {}",
            waiver.place(),
            waiver.attribute
        )?;
    }
    if let Some(counterfactual) = &report.counterfactual {
        writeln!(out)?;
        writeln!(out, "{BOLD}what if{BOLD:#}  {counterfactual}")?;
    }
    if !report.trust.is_empty()
        && (detail == Detail::Full || report.verdict != Verdict::NotReproduced)
    {
        writeln!(out)?;
        writeln!(out, "{BOLD}what remains to be trusted{BOLD:#}")?;
        for line in &report.trust {
            writeln!(out, "  {line}")?;
        }
    }
    if !report.rerun.is_empty() {
        writeln!(out)?;
        writeln!(
            out,
            "{DIM}again: {}{DIM:#}",
            report
                .rerun
                .iter()
                .map(|word| quoted(word))
                .collect::<Vec<_>>()
                .join(" ")
        )?;
    }
    Ok(())
}

/// Writes the way from source to image.
fn chain(report: &Report, out: &mut String) -> fmt::Result {
    let mut line = |name: &str, text: &str| writeln!(out, "  {DIM}{name:<10}{DIM:#}{text}");
    line("published", &subject(&report.subject))?;
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
        line(
            "source",
            &format!(
                "{} at {}{revision}{contacted}{word}",
                facts.named, facts.commit
            ),
        )?;
        for submodule in &facts.submodules {
            line("", &format!("submodule {} is not read", submodule.path))?;
        }
    }
    if let Some(recipe) = &report.recipe {
        let found = match &recipe.found {
            recipe::Origin::BuiltIn => "built in".to_owned(),
            recipe::Origin::File { path } => path.clone(),
            recipe::Origin::SourceTree { path } => format!("{path} of the source tree"),
        };
        line(
            "recipe",
            &format!("{} ({}, {found})", recipe.name, recipe.kind),
        )?;
    }
    if let Some(recipe) = &report.recipe {
        for departure in recipe.build.overrides() {
            line("override", &overridden(departure))?;
        }
    }
    if !report.materials.is_empty() {
        line("materials", &materials(&report.materials))?;
        let not_shown =
            |material: &&Material| matches!(material.signature, Signature::NotShown { .. });
        if let Some(first) = report.materials.iter().find(not_shown)
            && let Signature::NotShown { problem } = &first.signature
        {
            line(
                "",
                &format!("no signature was seen of {}: {problem}", first.name),
            )?;
        }
    }
    if let Some(build) = &report.environment.build {
        line("sandbox", &sandbox(build))?;
    }
    if let Some(log) = &report.run.log {
        line("log", log)?;
    }
    for inference in &report.inferred {
        line("inferred", &inference.to_string())?;
    }
    if let Some(rebuilt) = &report.rebuilt {
        line("rebuilt", &subject(rebuilt))?;
    }
    let total: u64 = report.origin.values().sum();
    if total > 0 {
        line("origin", &shares(&report.origin))?;
    }
    if let Some(equality) = &report.equality {
        line(
            "equality",
            &format!("{} (config: {})", equality.strongest, equality.config_grade),
        )?;
    }
    Ok(())
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

/// Counts materials by what was seen of a signature for them.
fn materials(materials: &[Material]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for material in materials {
        let word = match (&material.signature, material.grade) {
            (Signature::Good { expired: false, .. }, _) => "covered by a signed index",
            (Signature::Good { expired: true, .. }, _) => {
                "covered by a signed index that had expired"
            }
            (Signature::NotShown { .. }, _) => "said to be signed, which was not seen",
            (Signature::NotClaimed, Some(grade)) => grade.word(),
            (Signature::NotClaimed, None) => "by hash alone",
        };
        *counts.entry(word).or_default() += 1;
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(word, count)| format!("{count} {word}"))
        .collect();
    format!("{}: {}", materials.len(), counts.join(", "))
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

/// Returns the origins and their shares, such as `tree 0.1 %, opaque 99.9 %`.
///
/// A share is rounded down to a tenth, so that what is not whole never reads 100 %.
pub fn shares(origin: &BTreeMap<crate::facts::Origin, u64>) -> String {
    let total: u128 = origin.values().map(|&bytes| u128::from(bytes)).sum();
    let share = |bytes: u64| {
        let tenths = (u128::from(bytes) * 1000).checked_div(total).unwrap_or(0);
        match (tenths, bytes) {
            (0, 1..) => "less than 0.1 %".to_owned(),
            (tenths, _) if tenths % 10 == 0 => format!("{} %", tenths / 10),
            (tenths, _) => format!("{}.{} %", tenths / 10, tenths % 10),
        }
    };
    let parts: Vec<String> = origin
        .iter()
        .filter(|&(_, &bytes)| bytes > 0)
        .map(|(origin, &bytes)| format!("{origin} {}", share(bytes)))
        .collect();
    parts.join(", ")
}

/// Lists findings, the worst first; more than `most` of one cause and kind as one line.
fn listed(
    findings: &[&FindingRecord],
    report: &Report,
    detail: Detail,
    most: usize,
    out: &mut String,
) -> fmt::Result {
    let mut groups: BTreeMap<(Rank, &str, &str), Vec<&FindingRecord>> = BTreeMap::new();
    for finding in findings {
        let cause = finding.cause.as_ref().map_or("", |cause| cause.id.as_str());
        groups
            .entry((Rank::of(finding), cause, &finding.attribute))
            .or_default()
            .push(finding);
    }
    for ((_, cause, attribute), group) in groups {
        let many = group.len() > most;
        if many && detail == Detail::Brief && !cause.is_empty() {
            let known = report.causes.iter().find(|known| known.id == cause);
            let title = known.map_or(cause, |known| known.title.as_str());
            let examples: Vec<&str> = group
                .iter()
                .take(3)
                .map(|finding| finding.location.as_str())
                .collect();
            writeln!(
                out,
                "  {} × {attribute}: {title} {DIM}[{cause}]{DIM:#}",
                group.len()
            )?;
            writeln!(out, "      {DIM}such as {}{DIM:#}", examples.join(", "))?;
            continue;
        }
        let limit = if detail == Detail::Full {
            group.len()
        } else {
            LISTED
        };
        for finding in group.iter().take(limit) {
            one(finding, report, out)?;
        }
        if group.len() > limit {
            writeln!(
                out,
                "  … and {} more of {attribute} (--full lists all)",
                group.len() - limit
            )?;
        }
    }
    Ok(())
}

fn one(finding: &FindingRecord, report: &Report, out: &mut String) -> fmt::Result {
    let risks: Vec<String> = finding
        .risks
        .iter()
        .map(|risk| {
            serde_json::to_value(risk)
                .ok()
                .and_then(|word| word.as_str().map(str::to_owned))
                .unwrap_or_default()
        })
        .collect();
    let marked = if risks.is_empty() {
        String::new()
    } else {
        format!(" {BAD}[{}]{BAD:#}", risks.join(", "))
    };
    let attribute = match &finding.detail {
        Some(detail) => format!("{} {detail}", finding.attribute),
        None => finding.attribute.clone(),
    };
    writeln!(
        out,
        "  {} {BOLD}{attribute}{BOLD:#}{marked}",
        finding.location
    )?;
    let values = shown(finding);
    writeln!(out, "      published {}", values.published)?;
    writeln!(out, "      rebuilt   {}", values.rebuilt)?;
    match &finding.cause {
        Some(cause) => {
            let title = report
                .causes
                .iter()
                .find(|known| known.id == cause.id)
                .map_or(cause.id.as_str(), |known| known.title.as_str());
            writeln!(
                out,
                "      {DIM}{title}: {} [{}]{DIM:#}",
                cause.evidence, cause.id
            )?;
        }
        None => writeln!(out, "      {OPEN}no known cause{OPEN:#}")?,
    }
    match finding.acceptance {
        Acceptance::Waived(number) => {
            let waiver = &report.policy.waivers[number];
            writeln!(
                out,
                "      waived by {} until {}: {}",
                waiver.owner, waiver.expires, waiver.reason
            )
        }
        Acceptance::Expired(number) => {
            let waiver = &report.policy.waivers[number];
            writeln!(
                out,
                "      the waiver of {} expired on {}",
                waiver.owner, waiver.expires
            )
        }
        Acceptance::Accepted | Acceptance::Rejected => Ok(()),
    }
}

/// How bad a finding is; the worst is least.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    RiskyUnexplained,
    Unexplained,
    Risky,
    Explained,
}

impl Rank {
    fn of(finding: &FindingRecord) -> Self {
        match (finding.risks.is_empty(), finding.cause.is_some()) {
            (false, false) => Self::RiskyUnexplained,
            (true, false) => Self::Unexplained,
            (false, true) => Self::Risky,
            (true, true) => Self::Explained,
        }
    }
}

/// Returns both values on a line each, cut to where they differ, with nothing that
/// moves the cursor.
fn shown(finding: &FindingRecord) -> Pair<String> {
    let values = Pair::new(finding.published.as_ref(), finding.rebuilt.as_ref());
    let texts = values.map(|value| match value {
        None => "–".to_owned(),
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    });
    excerpts(Pair::new(&texts.published, &texts.rebuilt), SHOWN).map(|text| {
        let mut shown = String::new();
        for character in text.chars().take(SHOWN) {
            if misleads(character) {
                shown.extend(character.escape_default());
            } else {
                shown.push(character);
            }
        }
        if text.chars().nth(SHOWN).is_some() {
            shown.push('…');
        }
        shown
    })
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 {
        format!("1 {noun}")
    } else {
        format!("{count} {noun}s")
    }
}

/// Returns a word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@+,%".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}
