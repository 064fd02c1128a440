//! The report for a terminal: the verdict first, then why, the worst on top.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use anstyle::{AnsiColor, Style};

use super::{
    model::{FindingRecord, Report},
    outline::{self, Bytes, CauseGroup, Judged, Place, Rank, counted, plain, thousands},
};
use crate::verdict::Verdict;

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// What fits a screen.
    Brief,
    /// Every finding, and what differs inside of each file.
    Full,
}

/// How many places are listed before they are only counted.
const LISTED: usize = 5;

/// How many packages that differ are named.
const PACKAGES: usize = 6;

/// How many lines are shown of what differs inside of a file.
const INSIDE: usize = 4;

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
        report.verdict,
        plain(&report.summary, usize::MAX)
    )?;
    if let Some(culprits) = outline::culprits(report) {
        writeln!(out, "  {BOLD}{culprits}{BOLD:#}")?;
    }
    for obstacle in &report.obstacles {
        let (what, remedy) = (&obstacle.what, &obstacle.remedy);
        writeln!(out, "  {OPEN}open{OPEN:#}  {}", plain(what, usize::MAX))?;
        let remedy = plain(remedy, usize::MAX);
        writeln!(out, "        {DIM}to settle it: {remedy}{DIM:#}")?;
    }
    writeln!(out)?;
    for fact in outline::facts(report) {
        writeln!(out, "  {DIM}{:<10}{DIM:#}{}", fact.name, fact.text)?;
    }
    packages(report, detail, out)?;
    let unmet = outline::unmet(report);
    if !unmet.is_empty() {
        writeln!(out)?;
        let count = counted(unmet.len(), "requirement");
        writeln!(
            out,
            "{BOLD}{count} of policy {} not met{BOLD:#}",
            report.policy.name
        )?;
        for line in unmet {
            writeln!(out, "  {line}")?;
        }
    }
    unexplained(report, detail, out)?;
    explained(report, detail, Judged::Rejected, out)?;
    waived(report, detail, out)?;
    explained(report, detail, Judged::Accepted, out)?;
    let of_no_use = outline::stale(report);
    if !of_no_use.is_empty() {
        writeln!(out)?;
        writeln!(
            out,
            "{BOLD}{} of no use{BOLD:#}",
            counted(of_no_use.len(), "waiver")
        )?;
        for line in of_no_use {
            writeln!(out, "  {line}")?;
        }
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
            writeln!(out, "  {}", plain(line, usize::MAX))?;
        }
    }
    if !report.rerun.is_empty() {
        writeln!(out)?;
        writeln!(out, "{DIM}again: {}{DIM:#}", outline::rerun(report))?;
    }
    Ok(())
}

/// Names the packages that are not the same on both sides.
fn packages(report: &Report, detail: Detail, out: &mut String) -> fmt::Result {
    let most = match detail {
        Detail::Brief => PACKAGES,
        Detail::Full => usize::MAX,
    };
    for (index, drift) in report.packages.iter().take(most).enumerate() {
        let name = if index == 0 { "packages" } else { "" };
        let text = plain(&outline::drifted(drift), 2 * SHOWN);
        writeln!(out, "  {DIM}{name:<10}{DIM:#}{text}")?;
    }
    let more = report.packages.len().saturating_sub(most);
    if more > 0 {
        writeln!(out, "  {:<10}… and {} more", "", thousands(more as u64))?;
    }
    Ok(())
}

/// Lists the places of which something has no known cause, the worst first.
fn unexplained(report: &Report, detail: Detail, out: &mut String) -> fmt::Result {
    let places = outline::places(report);
    // Where one thing is accepted and another is not, the place is among those that are not.
    let listed = |place: &&Place<'_>, judged| match judged {
        Judged::Rejected => place.has_unexplained(Judged::Rejected),
        Judged::Waived | Judged::Accepted => {
            place.has_unexplained(judged) && !place.has_unexplained(Judged::Rejected)
        }
    };
    for judged in [Judged::Rejected, Judged::Accepted] {
        let places: Vec<_> = (places.iter())
            .filter(|place| listed(place, judged))
            .collect();
        if places.is_empty() {
            continue;
        }
        let count = counted(places.len(), "place");
        let differ = if places.len() == 1 {
            "differs"
        } else {
            "differ"
        };
        let accepted = match judged {
            Judged::Rejected => String::new(),
            Judged::Waived | Judged::Accepted => {
                format!(", accepted by policy {}", plain(&report.policy.name, SHOWN))
            }
        };
        writeln!(out)?;
        writeln!(
            out,
            "{BOLD}{count} {differ} for no known reason{accepted}{BOLD:#}"
        )?;
        let most = match (detail, judged) {
            (Detail::Full, _) => usize::MAX,
            (Detail::Brief, Judged::Rejected) => LISTED,
            (Detail::Brief, Judged::Waived | Judged::Accepted) => 1,
        };
        for place in places.iter().take(most) {
            one(place, report, detail, out)?;
        }
        let more: Vec<_> = places.iter().skip(most).collect();
        if !more.is_empty() {
            let mut owners: BTreeMap<Option<String>, usize> = BTreeMap::new();
            for place in &more {
                *owners.entry(outline::owner(place.worst())).or_default() += 1;
            }
            let mut owners: Vec<_> = owners.into_iter().collect();
            owners.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            let of = if owners.iter().all(|(owner, _)| owner.is_none()) {
                String::new()
            } else {
                let words = owners.iter().take(3).map(|(owner, count)| {
                    let owner = owner.as_deref().unwrap_or("no package");
                    format!("{} of {}", thousands(*count as u64), plain(owner, SHOWN))
                });
                let rest = if owners.len() > 3 { ", …" } else { "" };
                format!(": {}{rest}", words.collect::<Vec<_>>().join(", "))
            };
            let count = thousands(more.len() as u64);
            writeln!(
                out,
                "  … and {count} more{of} {DIM}(--full lists all){DIM:#}"
            )?;
        }
    }
    Ok(())
}

/// Lists what is explained by what lies behind it, what explains most on top.
fn explained(report: &Report, detail: Detail, judged: Judged, out: &mut String) -> fmt::Result {
    let roots = outline::roots(report, judged);
    if roots.is_empty() {
        return Ok(());
    }
    let count: usize = roots.iter().map(outline::RootGroup::count).sum();
    let word = match judged {
        Judged::Rejected => "not accepted",
        Judged::Waived | Judged::Accepted => "accepted",
    };
    let count = counted(count, "explained difference");
    let policy = plain(&report.policy.name, SHOWN);
    writeln!(out)?;
    writeln!(out, "{BOLD}{count} {word} by policy {policy}{BOLD:#}")?;
    for root in &roots {
        let all = counted(root.count(), "difference");
        writeln!(out, "  {} explains {all}", outline::root(root.root))?;
        for cause in &root.causes {
            match (detail, judged) {
                (Detail::Brief, Judged::Waived | Judged::Accepted) => {}
                (Detail::Brief, Judged::Rejected) | (Detail::Full, _) => {
                    a_cause(cause, report, detail, out)?;
                }
            }
        }
    }
    Ok(())
}

/// Lists what waivers accept, with their reasons.
fn waived(report: &Report, detail: Detail, out: &mut String) -> fmt::Result {
    let waivers = outline::waivers(report);
    if waivers.is_empty() {
        return Ok(());
    }
    let count = waivers.iter().map(|waiver| waiver.findings.len()).sum();
    let count = counted(count, "difference");
    let policy = plain(&report.policy.name, SHOWN);
    writeln!(out)?;
    writeln!(
        out,
        "{BOLD}{count} accepted by waivers of policy {policy}{BOLD:#}"
    )?;
    let most = match detail {
        Detail::Brief => LISTED,
        Detail::Full => usize::MAX,
    };
    for waiver in waivers.iter().take(most) {
        writeln!(out, "  {} {DIM}({}){DIM:#}", waiver.reason(), waiver.word())?;
        writeln!(out, "    {}", waiver.what())?;
        match detail {
            Detail::Brief => {
                let examples = examples(&waiver.findings);
                writeln!(out, "      {DIM}such as {examples}{DIM:#}")?;
            }
            Detail::Full => in_full(&waiver.findings, report, out)?,
        }
    }
    let more = waivers.len().saturating_sub(most);
    if more > 0 {
        let count = counted(more, "more waiver");
        writeln!(out, "  … and {count} {DIM}(--full lists all){DIM:#}")?;
    }
    Ok(())
}

/// Writes findings with where they are and all that is known of them.
fn in_full(findings: &[&FindingRecord], report: &Report, out: &mut String) -> fmt::Result {
    findings.iter().try_for_each(|finding| {
        heading(finding, &outline::attribute(finding), report, out)?;
        inner(finding, report, Detail::Full, out)
    })
}

/// Returns where the worst of some findings are.
fn examples(findings: &[&FindingRecord]) -> String {
    let mut examples = findings.to_vec();
    examples.sort_by_key(|finding| Rank::of(finding));
    let examples = examples.iter().take(3);
    let examples: Vec<String> = examples.map(|it| plain(&it.location, SHOWN)).collect();
    examples.join(", ")
}

fn a_cause(
    cause: &CauseGroup<'_>,
    report: &Report,
    detail: Detail,
    out: &mut String,
) -> fmt::Result {
    let CauseGroup { cause, findings } = cause;
    let (title, id) = (plain(&cause.title, 2 * SHOWN), plain(&cause.id, SHOWN));
    let what = outline::by_attribute(findings);
    writeln!(
        out,
        "    {}: {title} {DIM}[{id}]{DIM:#}",
        plain(&what, SHOWN)
    )?;
    match detail {
        Detail::Brief => {
            let risky = findings.iter().filter(|finding| !finding.risks.is_empty());
            let risky = risky.count();
            let marked = match risky {
                0 => String::new(),
                count => format!("; {BAD}{} deserve a look{BAD:#}", thousands(count as u64)),
            };
            let examples = examples(findings);
            let advice = plain(&cause.advice, 2 * SHOWN);
            writeln!(out, "      {DIM}such as {examples}{DIM:#}{marked}")?;
            writeln!(out, "      {DIM}to avoid it: {advice}{DIM:#}")
        }
        Detail::Full => {
            let advice = plain(&cause.advice, usize::MAX);
            writeln!(out, "      {DIM}to avoid it: {advice}{DIM:#}")?;
            in_full(findings, report, out)
        }
    }
}

/// Writes where a finding is, and whose.
fn heading(
    finding: &FindingRecord,
    attributes: &str,
    report: &Report,
    out: &mut String,
) -> fmt::Result {
    let risks: Vec<&str> = finding.risks.iter().copied().map(outline::risk).collect();
    let marked = if risks.is_empty() {
        String::new()
    } else {
        format!(" {BAD}[{}]{BAD:#}", risks.join(", "))
    };
    let location = plain(&finding.location, usize::MAX);
    let attributes = plain(attributes, 2 * SHOWN);
    writeln!(out, "  {location} {BOLD}{attributes}{BOLD:#}{marked}")?;
    let whose = [outline::owner(finding), outline::layer(finding, report)];
    let whose: Vec<String> = whose.into_iter().flatten().collect();
    if !whose.is_empty() {
        writeln!(
            out,
            "      {DIM}of {}{DIM:#}",
            plain(&whose.join(", "), 2 * SHOWN)
        )?;
    }
    Ok(())
}

fn one(place: &Place<'_>, report: &Report, detail: Detail, out: &mut String) -> fmt::Result {
    heading(place.worst(), &place.attributes(), report, out)?;
    match detail {
        Detail::Brief => inner(place.worst(), report, detail, out),
        Detail::Full => place.findings.iter().try_for_each(|finding| {
            if place.findings.len() > 1 {
                let attribute = plain(&outline::attribute(finding), 2 * SHOWN);
                writeln!(out, "    {BOLD}{attribute}{BOLD:#}")?;
            }
            inner(finding, report, detail, out)
        }),
    }
}

/// Writes what a finding's sides have, and why.
fn inner(
    finding: &FindingRecord,
    report: &Report,
    detail: Detail,
    out: &mut String,
) -> fmt::Result {
    let most = match detail {
        Detail::Brief => INSIDE,
        Detail::Full => usize::MAX,
    };
    // Two hashes say no more than that they differ, which what is inside says better.
    if finding.content.is_none() || detail == Detail::Full {
        let values = outline::values(finding, SHOWN);
        writeln!(out, "      published {}", values.published)?;
        writeln!(out, "      rebuilt   {}", values.rebuilt)?;
    }
    if let Some(content) = &finding.content {
        writeln!(out, "      {}", plain(&content.format, SHOWN))?;
        let bytes = match detail {
            Detail::Brief => Bytes::Brief,
            Detail::Full => Bytes::Rows,
        };
        for line in outline::inside(content, most, 2 * SHOWN, bytes) {
            writeln!(out, "        {line}")?;
        }
    }
    if let Some(why) = &finding.not_looked_into {
        writeln!(out, "      not looked into: {}", plain(why, usize::MAX))?;
    }
    if let Some(waived) = outline::waived(finding, report) {
        writeln!(out, "      {waived}")?;
    }
    match &finding.cause {
        Some(cause) => {
            let title = plain(outline::title(&cause.id, report), usize::MAX);
            let evidence = plain(&cause.evidence, usize::MAX);
            let id = plain(&cause.id, SHOWN);
            writeln!(out, "      {DIM}{title}: {evidence} [{id}]{DIM:#}")?;
        }
        None if detail == Detail::Full || finding.tried.is_empty() => {
            writeln!(out, "      {OPEN}no known cause{OPEN:#}")?;
        }
        None => {}
    }
    for tried in finding.tried.iter().take(most) {
        let text = format!("not {}: {}", tried.cause, tried.refused);
        writeln!(out, "      {OPEN}{}{OPEN:#}", plain(&text, 2 * SHOWN))?;
    }
    Ok(())
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
