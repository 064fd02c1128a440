//! The report as Markdown, for the summary page of a CI run.
//!
//! Always below 60 KB, since GitHub takes no more than 1 MB of all steps together and
//! comments on GitHub and GitLab no more than 64 KB. Foreign text is written so that
//! none of it means anything to Markdown.

use std::fmt::Write as _;

use super::{
    model::{FindingRecord, Report},
    outline::{self, Bytes, Judged, counted, plain, thousands},
};
use crate::verdict::Verdict;

/// The most bytes that are written.
const MOST: usize = 60_000;

/// What is kept of them for the sections after the findings.
const RESERVED: usize = 12_000;

/// How many places are shown with what differs in them.
const SHOWN: usize = 20;

/// How many rows a table has.
const ROWS: usize = 40;

/// How many characters of a foreign text are shown.
const WIDTH: usize = 200;

/// Returns the report as GitHub Flavored Markdown.
pub fn render(report: &Report) -> String {
    let mut page = Page::default();
    page.add(&verdict(report));
    page.add(&facts(report));
    page.most = MOST - RESERVED;
    page.places(report);
    page.most = MOST;
    waivers(report, &mut page);
    causes(report, &mut page);
    packages(report, &mut page);
    trust(report, &mut page);
    if !report.rerun.is_empty() {
        let again = code(&outline::rerun(report), 4 * WIDTH);
        page.add(&format!("Again: {again}\n"));
    }
    page.text
}

/// Text that grows only as far as it may.
struct Page {
    text: String,
    most: usize,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            text: String::new(),
            most: MOST,
        }
    }
}

impl Page {
    /// Adds all of a text, or nothing of it where it does not fit.
    fn add(&mut self, text: &str) -> bool {
        let fits = self.text.len() + text.len() <= self.most;
        if fits {
            self.text.push_str(text);
        }
        fits
    }

    /// Returns whether a table fits with one row more, and what ends it.
    fn has_room(&self, table: &str, row: &str) -> bool {
        self.text.len() + table.len() + row.len() + 200 <= self.most
    }

    /// Adds the places with a finding that was not accepted, the worst first.
    fn places(&mut self, report: &Report) {
        let places = outline::places(report);
        let rejected: Vec<_> = places
            .iter()
            .filter(|place| place.judged == Judged::Rejected)
            .collect();
        if rejected.is_empty() {
            return;
        }
        let count = counted(rejected.len(), "place");
        let policy = code(&report.policy.name, WIDTH);
        let verb = if rejected.len() == 1 {
            "differs and is"
        } else {
            "differ and are"
        };
        self.add(&format!(
            "### {count} {verb} not accepted by policy {policy}\n\n"
        ));
        let mut told = 0;
        for place in rejected.iter().take(SHOWN) {
            let mut text = String::new();
            let location = code(&place.worst().location, WIDTH);
            let attributes = code(&place.attributes(), WIDTH);
            let risks = place.risks();
            let marked = if risks.is_empty() {
                String::new()
            } else {
                format!(" **{}**", risks.join(", "))
            };
            put(
                &mut text,
                &format!("<details><summary>{location} {attributes}{marked}</summary>\n\n"),
            );
            for finding in &place.findings {
                put(&mut text, &one(finding, report));
            }
            put(&mut text, "\n</details>\n\n");
            if !self.add(&text) {
                break;
            }
            told += 1;
        }
        let more = rejected.len() - told;
        if more > 0 {
            let more = thousands(more as u64);
            self.add(&format!("… and {more} more places.\n\n"));
        }
    }
}

fn verdict(report: &Report) -> String {
    let mark = match report.verdict {
        Verdict::Reproduced => "✅",
        Verdict::ReproducedWithWaivers => "☑️",
        Verdict::NotReproduced => "❌",
        Verdict::Inconclusive => "❔",
    };
    let mut text = format!("## {mark} {}\n\n", report.verdict);
    put(
        &mut text,
        &format!("{}\n\n", escaped(&report.summary, 4 * WIDTH)),
    );
    if let Some(headline) = outline::headline(report) {
        put(
            &mut text,
            &format!("**{}.**\n\n", escaped(&headline, 2 * WIDTH)),
        );
    }
    for unmet in outline::unmet(report).iter().take(SHOWN) {
        put(
            &mut text,
            &format!("- **required:** {}\n", escaped(unmet, WIDTH)),
        );
    }
    for stale in outline::stale(report).iter().take(SHOWN) {
        put(
            &mut text,
            &format!("- **waiver of no use:** {}\n", escaped(stale, WIDTH)),
        );
    }
    for obstacle in report.obstacles.iter().take(SHOWN) {
        let what = escaped(&obstacle.what, WIDTH);
        let remedy = escaped(&obstacle.remedy, WIDTH);
        put(
            &mut text,
            &format!("- **open:** {what} — to settle it: {remedy}\n"),
        );
    }
    // A list ends with an empty line, as paragraphs do already.
    if !text.ends_with("\n\n") {
        put(&mut text, "\n");
    }
    text
}

fn facts(report: &Report) -> String {
    let mut text = "| | |\n|---|---|\n".to_owned();
    for fact in outline::facts(report).iter().take(ROWS) {
        let row = format!("| {} | {} |\n", fact.name, code(&fact.text, WIDTH));
        put(&mut text, &row);
    }
    let entries = &report.coverage.entries;
    if entries.total > 0 {
        put(
            &mut text,
            &format!(
                "| entries | {} identical, {} explained, {} waived, {} unexplained of {} |\n",
                thousands(entries.identical),
                thousands(entries.explained),
                thousands(entries.waived),
                thousands(entries.unexplained),
                thousands(entries.total)
            ),
        );
    }
    put(&mut text, "\n");
    text
}

fn one(finding: &FindingRecord, report: &Report) -> String {
    let mut text = String::new();
    let attribute = code(&outline::attribute(finding), WIDTH);
    put(&mut text, &format!("- {attribute}"));
    let whose = [outline::owner(finding), outline::layer(finding, report)];
    for of in whose.into_iter().flatten() {
        put(&mut text, &format!(" of {}", code(&of, WIDTH)));
    }
    put(&mut text, "\n");
    let values = outline::values(finding, 72);
    put(
        &mut text,
        &format!(
            "  - published {}, rebuilt {}\n",
            code(&values.published, WIDTH),
            code(&values.rebuilt, WIDTH)
        ),
    );
    if let Some(content) = &finding.content {
        for line in outline::inside(content, 6, 120, Bytes::Brief) {
            put(&mut text, &format!("  - {}\n", code(line.trim(), WIDTH)));
        }
    }
    match &finding.cause {
        Some(cause) => {
            let title = escaped(outline::title(&cause.id, report), WIDTH);
            let evidence = escaped(&cause.evidence, WIDTH);
            put(&mut text, &format!("  - {title}: {evidence}\n"));
        }
        None => put(&mut text, "  - no known cause\n"),
    }
    for tried in finding.tried.iter().take(4) {
        let refused = escaped(&tried.refused, WIDTH);
        let cause = code(&tried.cause, WIDTH);
        put(&mut text, &format!("  - not {cause}: {refused}\n"));
    }
    if let Some(waived) = outline::waived(finding, report) {
        put(&mut text, &format!("  - {}\n", escaped(&waived, WIDTH)));
    }
    text
}

/// Adds what waivers accept, with their reasons.
fn waivers(report: &Report, page: &mut Page) {
    let waivers = outline::waivers(report);
    if waivers.is_empty() {
        return;
    }
    let count = waivers.iter().map(|waiver| waiver.findings.len()).sum();
    let mut text = format!(
        "<details><summary>{} accepted by waivers</summary>\n\n| differences | reason | whose word | such as |\n|---|---|---|---|\n",
        counted(count, "difference")
    );
    let mut told = 0;
    for waiver in waivers.iter().take(ROWS) {
        let row = format!(
            "| {} | {} | {} | {} |\n",
            escaped(&waiver.what(), WIDTH),
            escaped(&waiver.reason(), WIDTH),
            escaped(&waiver.word(), WIDTH),
            code(&waiver.findings[0].location, WIDTH)
        );
        if !page.has_room(&text, &row) {
            break;
        }
        put(&mut text, &row);
        told += 1;
    }
    and_more(waivers.len() - told, &mut text);
    put(&mut text, "\n</details>\n\n");
    page.add(&text);
}

/// Says how many rows are not told.
fn and_more(more: usize, text: &mut String) {
    if more > 0 {
        put(text, &format!("\n… and {} more.\n", thousands(more as u64)));
    }
}

/// Adds what lies behind the explained differences, folded.
fn causes(report: &Report, page: &mut Page) {
    for (judged, word) in [
        (Judged::Rejected, "not accepted"),
        (Judged::Accepted, "accepted"),
    ] {
        let roots = outline::roots(report, judged);
        if roots.is_empty() {
            continue;
        }
        let count = roots.iter().map(outline::RootGroup::count).sum();
        let mut text = format!(
            "<details><summary>{} {word}</summary>\n\n| differences | what lies behind | cause | to avoid it |\n|--:|---|---|---|\n",
            counted(count, "explained difference")
        );
        let causes = roots.iter().flat_map(|root| {
            let root_cause = root.root;
            root.causes.iter().map(move |cause| (root_cause, cause))
        });
        let all: usize = roots.iter().map(|root| root.causes.len()).sum();
        let mut told = 0;
        for (root, cause) in causes.take(ROWS) {
            let row = format!(
                "| {} | {} | {} {} | {} |\n",
                thousands(cause.findings.len() as u64),
                outline::root(root),
                escaped(&cause.cause.title, WIDTH),
                code(&cause.cause.id, WIDTH),
                escaped(&cause.cause.advice, WIDTH)
            );
            if !page.has_room(&text, &row) {
                break;
            }
            put(&mut text, &row);
            told += 1;
        }
        and_more(all - told, &mut text);
        put(&mut text, "\n</details>\n\n");
        page.add(&text);
    }
}

fn packages(report: &Report, page: &mut Page) {
    if report.packages.is_empty() {
        return;
    }
    let mut text = format!(
        "<details><summary>{} not the same on both sides</summary>\n\n| package | published | rebuilt |\n|---|---|---|\n",
        counted(report.packages.len(), "package")
    );
    let mut told = 0;
    for drift in report.packages.iter().take(ROWS) {
        let version = drift.version.as_ref().map(|version| match version {
            Some(version) => code(version, 60),
            None => "–".to_owned(),
        });
        let name = code(&drift.name, 60);
        let row = format!("| {name} | {} | {} |\n", version.published, version.rebuilt);
        if !page.has_room(&text, &row) {
            break;
        }
        put(&mut text, &row);
        told += 1;
    }
    and_more(report.packages.len() - told, &mut text);
    put(&mut text, "\n</details>\n\n");
    page.add(&text);
}

fn trust(report: &Report, page: &mut Page) {
    if report.trust.is_empty() {
        return;
    }
    let mut text = "<details><summary>What remains to be trusted</summary>\n\n".to_owned();
    for line in report.trust.iter().take(SHOWN) {
        put(&mut text, &format!("- {}\n", escaped(line, WIDTH)));
    }
    put(&mut text, "\n</details>\n\n");
    page.add(&text);
}

fn put(text: &mut String, more: &str) {
    write!(text, "{more}").expect("a String takes all that is written to it");
}

/// Returns text as code, in which nothing means anything.
///
/// An element and not backticks: in a table, a bar ends a cell even between backticks,
/// and whether a backslash keeps it from doing so hangs on the one before it.
fn code(text: &str, most: usize) -> String {
    format!("<code>{}</code>", escaped(text, most))
}

/// Returns plain text in which all that could mean something is a character reference.
///
/// Source: `CommonMark` 0.31, 2.5: references cannot be used in place of symbols that
/// indicate structure; GFM, 6.9: what is made a link by itself.
fn escaped(text: &str, most: usize) -> String {
    let mut escaped = String::new();
    let mut before = '\0';
    for character in plain(text, most).chars() {
        let harmless = character.is_alphanumeric()
            || !character.is_ascii()
            || matches!(character, ' ' | ',' | '/' | '%' | ';' | '(' | ')')
            // `www.` begins a link; a point or hyphen at the start of a line an item.
            || matches!(character, '.' | '-' | '+') && before.is_alphanumeric() && before != 'w';
        if harmless {
            escaped.push(character);
        } else {
            put(&mut escaped, &format!("&#{};", u32::from(character)));
        }
        before = character;
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_means_nothing_to_markdown() {
        let cases = [
            ("/usr/bin/a-b.c", "/usr/bin/a-b.c"),
            ("a|b`c", "a&#124;b&#96;c"),
            ("a\\|b", "a&#92;&#124;b"),
            ("</code><img>", "&#60;/code&#62;&#60;img&#62;"),
            ("[x](http://y)", "&#91;x&#93;(http&#58;//y)"),
            ("@all #1 www.x.y", "&#64;all &#35;1 www&#46;x.y"),
            ("a\n# b", "a&#92;n&#35; b"),
            ("1. a", "1. a"),
            ("&lt;", "&#38;lt;"),
        ];
        for (text, expected) in cases {
            assert_eq!(escaped(text, WIDTH), expected, "{text}");
        }
    }
}
