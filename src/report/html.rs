//! The report as one HTML page that needs nothing else: no network, no other file.
//!
//! What matters most is in the page's own text; the findings are also in it as JSON,
//! of which a script shows those that are asked for. Foreign text gets in by maud,
//! which escapes it, or inside of that JSON, in which no tag can begin; the script
//! only ever sets text. A Content-Security-Policy lets nothing else run or load.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use super::{
    coverage::Shares,
    model::{Report, Signature},
    outline::{self, Bytes, Judged, Place, Station, counted, plain, thousands},
};
use crate::{
    facts::Origin,
    verdict::{Acceptance, Verdict},
};

const STYLE: &str = include_str!("html/style.css");
const SCRIPT: &str = include_str!("html/script.js");

/// How many places are written out for readers without JavaScript.
const WRITTEN: usize = 25;

/// How many places without a known cause are named in the overview.
const WORST: usize = 5;

/// How many rows a table has; the rest is in the JSON report.
const ROWS: usize = 1000;

/// How many characters of a value are written out.
const WIDTH: usize = 300;

/// How many lines are written out of what differs inside of a file.
const INSIDE: usize = 20;

/// Returns the page.
pub fn render(report: &Report) -> String {
    let title = format!("{}: {}", report.verdict, plain(&report.subject.name, WIDTH));
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#findings" { "Skip to the differences" }
                (head(report))
                main {
                    (chain(report))
                    (equality(report))
                    (why(report))
                    (packages(report))
                    (differences(report))
                    (judged_by(report))
                    (inputs(report))
                    (remains(report))
                }
                footer {
                    p {
                        "Written by " (report.environment.tool) " " (report.environment.version)
                        " from a report of " time { (report.run.started_at) } "."
                    }
                }
                script type="application/json" id="report" { (PreEscaped(data(report))) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// Returns what the page may do: apply this style, run this script, and nothing else.
fn policy() -> String {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

/// Returns the report as JSON in which no tag can end or begin.
fn data(report: &Report) -> String {
    let json = serde_json::to_string(report).expect("a report can be written as JSON");
    // Outside of strings JSON has none of these, and inside it may escape them.
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
}

/// Returns the class that colours a verdict.
const fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Reproduced => "good",
        Verdict::ReproducedWithWaivers | Verdict::Inconclusive => "open",
        Verdict::NotReproduced => "bad",
    }
}

fn head(report: &Report) -> Markup {
    let said = match report.verdict {
        Verdict::Reproduced => "Reproduced",
        Verdict::ReproducedWithWaivers => "Reproduced, with waivers",
        Verdict::NotReproduced => "Not reproduced",
        Verdict::Inconclusive => "Inconclusive",
    };
    html! {
        header class=(class(report.verdict)) {
            p.image { (plain(&report.subject.name, WIDTH)) }
            h1 #verdict { (said) }
            @if let Some(headline) = outline::headline(report) {
                p.headline { (capital(&headline)) "." }
            }
            p.summary { (plain(&report.summary, usize::MAX)) }
            @if !report.obstacles.is_empty() {
                ul.obstacles {
                    @for obstacle in &report.obstacles {
                        li {
                            strong { "Open: " } (plain(&obstacle.what, usize::MAX))
                            br; span.remedy { "To settle it: " (plain(&obstacle.remedy, usize::MAX)) }
                        }
                    }
                }
            }
            @if !report.findings.is_empty() {
                p { a href="#findings" { "To the differences" } }
            }
        }
    }
}

/// Writes the way from source to image, station by station.
fn chain(report: &Report) -> Markup {
    let facts = outline::facts(report);
    let diff = report.source.is_none() && report.recipe.is_none();
    let stations = [
        (Station::Source, "Source", "no source was read"),
        (
            Station::Inputs,
            "Inputs",
            "nothing was taken from outside of the source",
        ),
        (Station::Build, "Build", "nothing was built"),
        (Station::Image, "Image", "no image was read"),
    ];
    html! {
        section aria-labelledby="chain" {
            h2 #chain { @if diff { "What was compared" } @else { "From source to image" } }
            ol.chain {
                @for (station, name, nothing) in stations {
                    @let facts: Vec<_> = facts.iter().filter(|fact| fact.station == station).collect();
                    @if !diff || !facts.is_empty() {
                        li {
                            h3 { (name) }
                            @if facts.is_empty() {
                                p.nothing { (nothing) }
                            } @else {
                                dl {
                                    @for fact in facts {
                                        @if !fact.name.is_empty() { dt { (fact.name) } }
                                        dd { (fact.text) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn equality(report: &Report) -> Markup {
    let Some(equality) = &report.equality else {
        return html! {};
    };
    let holds = &equality.holds;
    let ladder = [
        ("manifest", holds.manifest, "the same bytes everywhere"),
        ("config", Some(holds.config), "the same config, and layers"),
        (
            "layers",
            Some(holds.layers),
            "the same layers once unpacked",
        ),
        (
            "files",
            Some(holds.files),
            "the same files, with their times",
        ),
        (
            "contents",
            Some(holds.contents),
            "the same files, whatever their times",
        ),
    ];
    html! {
        section aria-labelledby="equality" {
            h2 #equality { "How equal they are" }
            div.columns {
                div {
                    ol.ladder {
                        @for (name, held, meaning) in ladder {
                            @let (class, mark, word) = match held {
                                Some(true) => ("good", "✓", "holds"),
                                Some(false) => ("bad", "✗", "does not hold"),
                                None => ("open", "–", "cannot be told"),
                            };
                            li class=(class) {
                                span.mark aria-hidden="true" { (mark) }
                                strong { (name) } " " span.meaning { (meaning) }
                                span.hidden { ": " (word) }
                            }
                        }
                    }
                    p { "Config: " strong { (equality.config_grade) } }
                }
                div {
                    (coverage("Entries of the published image", &report.coverage.entries, ""))
                    (coverage("Bytes of their content", &report.coverage.bytes, " B"))
                    (origins(report))
                }
            }
        }
    }
}

fn coverage(name: &str, shares: &Shares, unit: &str) -> Markup {
    let parts = [
        ("identical", shares.identical),
        ("explained", shares.explained),
        ("waived", shares.waived),
        ("unexplained", shares.unexplained),
    ];
    bar(name, &parts, unit)
}

fn origins(report: &Report) -> Markup {
    let parts: Vec<(&str, u64)> = report
        .origin
        .iter()
        .map(|(origin, &bytes)| {
            let name = match origin {
                Origin::Built => "built",
                Origin::Tree => "tree",
                Origin::Packaged => "packaged",
                Origin::PackagedUnsigned => "unsigned",
                Origin::Opaque => "opaque",
                Origin::Base => "base",
            };
            (name, bytes)
        })
        .collect();
    bar("Where the rebuilt bytes come from", &parts, " B")
}

/// Writes parts of a whole as a bar of SVG, with the numbers below.
fn bar(name: &str, parts: &[(&str, u64)], unit: &str) -> Markup {
    let total: u128 = parts.iter().map(|&(_, part)| u128::from(part)).sum();
    if total == 0 {
        return html! {};
    }
    let share = |part: u64| u128::from(part) * 1000 / total;
    let mut start = 0;
    let mut rectangles = Vec::new();
    for &(part, amount) in parts {
        if amount > 0 {
            // What is there is seen, however little of it there is.
            let width = share(amount).max(4);
            rectangles.push((part, start, width));
            start += width;
        }
    }
    html! {
        figure.bar {
            figcaption { (name) }
            svg viewBox={ "0 0 " (start) " 10" } preserveAspectRatio="none" aria-hidden="true" {
                @for (part, start, width) in rectangles {
                    rect class={ "part-" (part) } x=(start) y="0" width=(width) height="10" {}
                }
            }
            ul {
                @for &(part, amount) in parts {
                    @if amount > 0 {
                        li {
                            span class={ "key part-" (part) } aria-hidden="true" {}
                            (part) " " strong { (thousands(amount)) (unit) }
                        }
                    }
                }
            }
        }
    }
}

/// Writes what lies behind the differences, and what would avoid them.
fn why(report: &Report) -> Markup {
    let unexplained = |judged: Judged| {
        let findings = report.findings.iter();
        findings
            .filter(|it| it.cause.is_none() && Judged::of(it) == judged)
            .count()
    };
    let places = outline::places(report);
    html! {
        @if !report.findings.is_empty() {
            section aria-labelledby="why" {
                h2 #why { "Why they differ" }
                @for (judged, word) in [(Judged::Rejected, "Not accepted"), (Judged::Accepted, "Accepted")] {
                    @if judged == Judged::Accepted { (waivers(report)) }
                    @let roots = outline::roots(report, judged);
                    @let unexplained = unexplained(judged);
                    @if unexplained > 0 || !roots.is_empty() {
                        h3 { (word) " by policy " (plain(&report.policy.name, WIDTH)) }
                        ul.roots {
                            @if unexplained > 0 {
                                li.unexplained {
                                    p.root { strong { "No known reason" } " for " (counted(unexplained, "difference")) }
                                    @let places: Vec<_> = places.iter().filter(|it| it.has_unexplained(judged)).collect();
                                    ul {
                                        @for place in places.iter().take(WORST) { li { (named(place)) } }
                                        @if places.len() > WORST { li { a href="#findings" { "… and " (counted(places.len() - WORST, "more place")) } } }
                                    }
                                }
                            }
                            @for root in &roots {
                                li {
                                    p.root {
                                        strong { (capital(outline::root(root.root))) } " explains "
                                        (counted(root.count(), "difference"))
                                    }
                                    ul {
                                        @for cause in &root.causes {
                                            li {
                                                (plain(&cause.cause.title, WIDTH)) ": "
                                                (plain(&outline::by_attribute(&cause.findings), WIDTH))
                                                " " code { (plain(&cause.cause.id, WIDTH)) }
                                                br; span.remedy { "To avoid it: " (plain(&cause.cause.advice, WIDTH)) }
                                            }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
                @if let Some(counterfactual) = &report.counterfactual {
                    p { strong { "What if: " } (counterfactual) "." }
                }
            }
        }
    }
}

/// Writes where a place is, what differs there, and why it deserves a look.
fn named(place: &Place<'_>) -> Markup {
    html! {
        code.path { (plain(&place.worst().location, usize::MAX)) }
        " " span.attributes { (plain(&place.attributes(), WIDTH)) }
        @for risk in place.risks() { " " span.risk { (risk) } }
        @if let Some(owner) = outline::owner(place.worst()) {
            " " span.owner { (plain(&owner, WIDTH)) }
        }
    }
}

/// Writes what waivers accept, with their reasons.
fn waivers(report: &Report) -> Markup {
    let waivers = outline::waivers(report);
    html! {
        @if !waivers.is_empty() {
            h3 { "Accepted by waivers of policy " (plain(&report.policy.name, WIDTH)) }
            ul.roots {
                @for waiver in waivers.iter().take(ROWS) {
                    li.waived {
                        p.root { strong { (capital(&waiver.reason())) } ": " (waiver.what()) }
                        p.root { span.remedy { (waiver.word()) } }
                    }
                }
                @let more = waivers.len().saturating_sub(ROWS);
                @if more > 0 { li { "… and " (counted(more, "more waiver")) ", which the JSON report lists." } }
            }
        }
    }
}

/// Returns a phrase as a sentence begins.
fn capital(phrase: &str) -> String {
    let mut characters = phrase.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(characters).collect()
}

fn packages(report: &Report) -> Markup {
    html! {
        @if !report.packages.is_empty() {
            section aria-labelledby="packages" {
                h2 #packages { (counted(report.packages.len(), "package")) " not the same on both sides" }
                (table(&["Package", "Published", "Rebuilt"], report.packages.iter().map(|drift| {
                    let version = drift.version.as_ref().map(|version| version.clone().unwrap_or_else(|| "none".to_owned()));
                    vec![format!("{} ({})", drift.name, drift.architecture), version.published, version.rebuilt]
                })))
            }
        }
    }
}

/// Writes a table that scrolls by itself, cut to what a browser shows with ease.
fn table(heads: &[&str], rows: impl ExactSizeIterator<Item = Vec<String>>) -> Markup {
    let more = rows.len().saturating_sub(ROWS);
    html! {
        div.scroll tabindex="0" role="region" aria-label=(heads[0]) {
            table {
                thead { tr { @for head in heads { th scope="col" { (head) } } } }
                tbody {
                    @for row in rows.take(ROWS) {
                        tr { @for cell in row { td { (plain(&cell, WIDTH)) } } }
                    }
                }
            }
        }
        @if more > 0 { p { "… and " (thousands(more as u64)) " more in the JSON report." } }
    }
}

/// Writes the worst places; the script puts all of them in their stead.
fn differences(report: &Report) -> Markup {
    let places = outline::places(report);
    let more = places.len().saturating_sub(WRITTEN);
    html! {
        section aria-labelledby="findings" {
            h2 #findings tabindex="-1" { "Differences" }
            @if places.is_empty() {
                @if report.equality.is_some() {
                    p { "There are none." }
                } @else {
                    p { "Nothing was compared." }
                }
            }
            div #explorer {
                @if !places.is_empty() {
                    noscript {
                        p { "Searching, filtering and the tree of the image need JavaScript; these are the worst differences." }
                    }
                }
                @for place in places.iter().take(WRITTEN) { (written(place, report)) }
                @if more > 0 { p { "… and " (counted(more, "more place")) ", which the JSON report lists." } }
            }
        }
    }
}

fn written(place: &Place<'_>, report: &Report) -> Markup {
    let state = State::of(place);
    html! {
        details.place {
            summary {
                span class={ "state " (state.class()) } { (state.word()) }
                " " (named(place))
                @if place.judged == Judged::Accepted { " " span.accepted { "accepted" } }
            }
            @for finding in &place.findings {
                @let values = outline::values(finding, WIDTH);
                div.finding {
                    h4 { (plain(&outline::attribute(finding), WIDTH)) }
                    dl {
                        dt { "published" } dd { code { (values.published) } }
                        dt { "rebuilt" } dd { code { (values.rebuilt) } }
                        @if let Some(layer) = outline::layer(finding, report) {
                            dt { "layer" } dd { (plain(&layer, WIDTH)) }
                        }
                        @if let Some(waived) = outline::waived(finding, report) {
                            dt { "policy" } dd { (waived) }
                        }
                        dt { "cause" }
                        dd {
                            @match &finding.cause {
                                Some(cause) => {
                                    (plain(outline::title(&cause.id, report), WIDTH)) ": "
                                    (plain(&cause.evidence, WIDTH))
                                }
                                None => "none that is known",
                            }
                        }
                        @for tried in &finding.tried {
                            dt { "not " (plain(&tried.cause, WIDTH)) } dd { (plain(&tried.refused, WIDTH)) }
                        }
                        @if let Some(why) = &finding.not_looked_into {
                            dt { "not looked into" } dd { (plain(why, WIDTH)) }
                        }
                    }
                    @if let Some(content) = &finding.content {
                        pre { (outline::inside(content, INSIDE, WIDTH, Bytes::Rows).join("\n")) }
                    }
                }
            }
        }
    }
}

/// What became of all findings at a place, as the script says it too; the worst is last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Explained,
    Waived,
    Unexplained,
}

impl State {
    fn of(place: &Place<'_>) -> Self {
        let states = (place.findings.iter()).map(|it| match (it.acceptance, &it.cause) {
            (Acceptance::Waived(_), _) => Self::Waived,
            (_, Some(_)) => Self::Explained,
            (_, None) => Self::Unexplained,
        });
        states.max().unwrap_or(Self::Explained)
    }

    const fn class(self) -> &'static str {
        match self {
            Self::Explained => "explained",
            Self::Waived => "waived",
            Self::Unexplained => "unexplained",
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Explained => "explained",
            Self::Waived => "accepted by waiver",
            Self::Unexplained => "no known cause",
        }
    }
}

fn judged_by(report: &Report) -> Markup {
    let policy = &report.policy;
    let (unmet, stale) = (outline::unmet(report), outline::stale(report));
    html! {
        section aria-labelledby="policy" {
            h2 #policy { "Policy" }
            p {
                strong { (plain(&policy.name, WIDTH)) }
                ", which stands on the rules " (policy.rules)
                @if let Some(digest) = &policy.digest { ", file " code { (digest) } }
                "."
            }
            @if !policy.waivers.is_empty() {
                h3 { (counted(policy.waivers.len(), "waiver")) }
                (table(&["Where", "What", "Reason", "Owner", "Until"], policy.waivers.iter().map(|waiver| vec![
                    waiver.place().to_owned(),
                    waiver.attribute.clone(),
                    waiver.reason.clone(),
                    waiver.owner.clone(),
                    waiver.expires.to_string(),
                ])))
            }
            @if !unmet.is_empty() {
                h3 { (counted(unmet.len(), "requirement")) " not met" }
                ul { @for line in unmet { li { (line) } } }
            }
            @if !stale.is_empty() {
                h3 { (counted(stale.len(), "waiver")) " of no use" }
                ul { @for line in stale { li { (line) } } }
            }
        }
    }
}

fn inputs(report: &Report) -> Markup {
    html! {
        @if !report.materials.is_empty() {
            section aria-labelledby="materials" {
                h2 #materials { "Materials" }
                details {
                    summary { (counted(report.materials.len(), "material")) " from outside of the source" }
                    (table(&["Name", "Bytes", "Whose word", "SHA-256"], report.materials.iter().map(|material| {
                        let word = match &material.signature {
                            Signature::NotShown { problem } => format!("{}: {problem}", outline::covered(material)),
                            Signature::Good { .. } | Signature::NotClaimed => outline::covered(material).to_owned(),
                        };
                        vec![material.name.clone(), thousands(material.size), word, material.digest.hex()]
                    })))
                }
            }
        }
        @if !report.inferred.is_empty() || !report.history.is_empty() {
            section aria-labelledby="inferred" {
                h2 #inferred { "What the published image told the rebuild" }
                ul {
                    @for inference in &report.inferred {
                        li {
                            (plain(&inference.to_string(), WIDTH))
                            @for evidence in &inference.evidence { br; span.remedy { (plain(evidence, WIDTH)) } }
                        }
                    }
                    @for binding in &report.history {
                        li {
                            code { (plain(&binding.line, WIDTH)) } " names "
                            @match &binding.source_file {
                                Some(file) => { code { (plain(file, WIDTH)) } " of the source" }
                                None => "no file of the source",
                            }
                        }
                    }
                }
            }
        }
    }
}

fn remains(report: &Report) -> Markup {
    html! {
        @if !report.trust.is_empty() {
            section aria-labelledby="trust" {
                h2 #trust { "What remains to be trusted" }
                ul { @for line in &report.trust { li { (plain(line, usize::MAX)) } } }
            }
        }
        @if !report.rerun.is_empty() {
            section aria-labelledby="again" {
                h2 #again { "How to run it again" }
                pre.again tabindex="0" { (outline::rerun(report)) }
            }
        }
    }
}
