//! The sums of a report close: asserted of every image that a test compares.

use std::{collections::BTreeSet, sync::Arc};

use reprove::{
    compare::{Comparison, Location},
    explain::Finding,
    image::{EntryPath, Layer},
    report::{
        Report, account, fates,
        model::{FindingRecord, Within},
    },
    verdict::Acceptance,
};
use serde_json::Value;

/// Returns the report, once its sums are seen to close.
#[track_caller]
pub(crate) fn closed(report: Report) -> Report {
    let written = serde_json::to_value(&report).unwrap();
    sums_close(&written["coverage"]);
    let entries = &report.coverage.entries;
    let layers = report.layers.iter();
    let listed: usize = layers.filter_map(|layer| layer.entries.published).sum();
    assert_eq!(entries.total, listed as u64, "every entry of every layer");
    let sum = |of: fn(&reprove::report::Folder) -> u64| report.tree.iter().map(of).sum::<u64>();
    let parts = [
        (sum(|folder| folder.identical), entries.identical),
        (sum(|folder| folder.explained), entries.explained),
        (sum(|folder| folder.waived), entries.waived),
        (sum(|folder| folder.unexplained), entries.unexplained),
    ];
    for (folders, whole) in parts {
        assert_eq!(folders, whole, "the folders are the whole: {parts:?}");
    }
    // A part is there where the findings about the published image's entries say so.
    let is_of_published = |finding: &&FindingRecord| {
        finding.within == Within::Entry && finding.layer.is_some_and(|it| it.published.is_some())
    };
    let about = || report.findings.iter().filter(is_of_published);
    let is_waived = |finding: &FindingRecord| matches!(finding.acceptance, Acceptance::Waived(_));
    let unexplained = about().any(|finding| finding.cause.is_none() && !is_waived(finding));
    assert!(
        !unexplained || entries.unexplained > 0,
        "an entry of an unexplained finding is unexplained"
    );
    assert_eq!(about().next().is_none(), entries.identical == entries.total);
    report
}

/// Asserts the sums of a report that was printed as JSON, if it is one of a comparison.
#[track_caller]
pub(super) fn printed(stdout: &str) {
    if !stdout.starts_with('{') || !stdout.contains("\"coverage\"") {
        return;
    }
    let document: Value = serde_json::from_str(stdout).unwrap();
    if document.get("coverage").is_some() {
        closed(serde_json::from_value(document).unwrap());
    }
}

/// Asserts that what becomes of the published layers' entries under these findings is all
/// of them, counted here a second time.
#[track_caller]
pub(crate) fn account_closes(
    layers: &[Arc<Layer>],
    comparison: &Comparison,
    findings: &[Finding],
    acceptances: &[Acceptance],
) {
    let (coverage, tree) = account(layers, &fates(findings, acceptances));
    let written = serde_json::to_value(coverage).unwrap();
    sums_close(&written);
    let paths: BTreeSet<&EntryPath> = comparison
        .differences
        .iter()
        .filter_map(|difference| match &difference.location {
            Location::Entry { path, .. } => Some(path),
            Location::Index { .. }
            | Location::Manifest { .. }
            | Location::Config { .. }
            | Location::Layer { .. } => None,
        })
        .collect();
    let (mut entries, mut bytes) = ([0, 0], [0, 0]);
    for entry in layers.iter().flat_map(|layer| &layer.entries) {
        let differs = usize::from(paths.contains(&entry.path));
        entries[differs] += 1;
        bytes[differs] += entry.kind.size();
    }
    let counted = |shares: &Value| {
        let identical = shares["identical"].as_u64().unwrap();
        [identical, shares["total"].as_u64().unwrap() - identical]
    };
    assert_eq!(counted(&written["entries"]), entries);
    assert_eq!(counted(&written["bytes"]), bytes);
    let listed: u64 = tree
        .iter()
        .map(|it| it.identical + it.explained + it.waived + it.unexplained)
        .sum();
    assert_eq!(listed, entries.iter().sum::<u64>());
}

#[track_caller]
fn sums_close(coverage: &Value) {
    for of in ["entries", "bytes"] {
        let parts = coverage[of].as_object().unwrap();
        let number = |part: &Value| part.as_u64().unwrap();
        let sum: u64 = parts
            .iter()
            .filter(|(name, _)| *name != "total")
            .map(|(_, part)| number(part))
            .sum();
        assert_eq!(sum, number(&parts["total"]), "{of}: {parts:?}");
    }
}
