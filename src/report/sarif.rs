//! The report as SARIF, the form in which code scanning pages take what tools find.
//!
//! A finding is a result, its cause the rule. A path is a location in the image's root
//! file system; what is in no file is one in the blob that holds it, where an OCI layout
//! has it. What a waiver accepts is suppressed with the waiver's reason; what the rules of
//! the policy accept is for information. What else keeps an image from being reproduced,
//! an obstacle or what the policy requires, is a result too: a page that shows none looks clean.
//!
//! Source: OASIS, Static Analysis Results Interchange Format 2.1.0, by section below.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde_json::{Value, json};

use super::{
    model::{FindingRecord, Report, Subject, Within},
    outline::{self, plain},
};
use crate::{
    digest::Digest,
    pair::Pair,
    verdict::{Acceptance, Verdict, Waiver},
};

/// The rule that what stands in the way of a verdict is a result of.
const INCONCLUSIVE: &str = "inconclusive";

/// The rule that what the policy requires and does not hold is a result of.
const REQUIREMENT: &str = "requirement";

/// The rule that what has no known cause is a result of.
const UNEXPLAINED: &str = "unexplained";

/// What paths in the image are relative to.
const ROOT: &str = "ROOTFS";

/// What names of blobs are relative to.
const LAYOUT: &str = "OCILAYOUT";

/// What stands in a path as it is (RFC 3986, 2.3); a colon would begin a scheme.
const IN_PATHS: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// How many characters of a value are shown.
const WIDTH: usize = 200;

/// Returns the log file (3.13) with one run.
pub fn log(report: &Report) -> Value {
    let name = plain(&report.subject.name, WIDTH);
    let base = |what: String| json!({ "description": message(&what) });
    let shortfalls = shortfalls(report);
    let results = shortfalls.iter().map(Shortfall::result);
    let results = results.chain(report.findings.iter().map(|it| result(it, report)));
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": report.environment.tool,
                "version": report.environment.version,
                "rules": rules(report, &shortfalls),
            } },
            "invocations": [{ "executionSuccessful": report.verdict != Verdict::Inconclusive }],
            "originalUriBaseIds": {
                ROOT: base(format!("the root file system of {name}")),
                LAYOUT: base(format!("an OCI layout that holds {name}")),
            },
            "versionControlProvenance": provenance(report),
            "results": results.collect::<Vec<_>>(),
            "properties": {
                "verdict": report.verdict,
                "summary": plain(&report.summary, usize::MAX),
            },
        }],
    })
}

/// Returns text as a message (3.11) in which nothing means anything.
///
/// A bracket may begin a link to anywhere (3.11.6), and a brace a placeholder (3.11.5).
fn message(text: &str) -> Value {
    let mut literal = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '[' | ']' | '\\' => literal.push('\\'),
            '{' | '}' => literal.push(character),
            _ => {}
        }
        literal.push(character);
    }
    json!({ "text": literal })
}

/// What keeps an image from being reproduced and is no finding.
struct Shortfall {
    rule: &'static str,
    text: String,
}

/// Returns what stands in the way of a verdict, and what the policy requires and does not hold.
fn shortfalls(report: &Report) -> Vec<Shortfall> {
    let obstacles = report.obstacles.iter().map(|obstacle| Shortfall {
        rule: INCONCLUSIVE,
        text: format!(
            "{}; to settle it: {}",
            plain(&obstacle.what, 2 * WIDTH),
            plain(&obstacle.remedy, 2 * WIDTH)
        ),
    });
    let unmet = outline::unmet(report).into_iter().map(|unmet| Shortfall {
        rule: REQUIREMENT,
        text: format!("the policy requires more: {unmet}"),
    });
    let mut shortfalls: Vec<Shortfall> = obstacles.chain(unmet).collect();
    let rule = match report.verdict {
        Verdict::Reproduced | Verdict::ReproducedWithWaivers => return shortfalls,
        Verdict::NotReproduced => REQUIREMENT,
        Verdict::Inconclusive => INCONCLUSIVE,
    };
    // A report that is read back may hold nothing that its verdict comes of.
    let rejected = |finding: &FindingRecord| match finding.acceptance {
        Acceptance::Rejected | Acceptance::Expired(_) => true,
        Acceptance::Accepted | Acceptance::Waived(_) => false,
    };
    if shortfalls.is_empty() && !report.findings.iter().any(rejected) {
        shortfalls.push(Shortfall {
            rule,
            text: plain(&report.summary, 4 * WIDTH),
        });
    }
    shortfalls
}

impl Shortfall {
    /// Returns it as a result, of the image as a whole.
    fn result(&self) -> Value {
        json!({
            "ruleId": self.rule,
            "kind": "fail",
            "level": "error",
            "message": message(&self.text),
            "locations": [{ "physicalLocation": { "artifactLocation": in_layout(None) } }],
            "partialFingerprints": {
                "shortfall/v1": Digest::of(json!([self.rule, self.text]).to_string().as_bytes()).hex(),
            },
        })
    }
}

/// Returns a rule (3.49) for each cause found, one for what has none, and those of what is no finding.
fn rules(report: &Report, shortfalls: &[Shortfall]) -> Vec<Value> {
    let mut rules: Vec<Value> = (report.causes.iter())
        .map(|cause| {
            json!({
                "id": cause.id,
                "shortDescription": message(&plain(&cause.title, WIDTH)),
                "help": message(&format!("To avoid it: {}", plain(&cause.advice, 2 * WIDTH))),
            })
        })
        .collect();
    let has = |rule| shortfalls.iter().any(|it| it.rule == rule);
    let unexplained = report.findings.iter().any(|it| it.cause.is_none());
    for (id, text, is_met) in [
        (
            UNEXPLAINED,
            "a difference without a known cause",
            unexplained,
        ),
        (
            INCONCLUSIVE,
            "what stands in the way of a verdict",
            has(INCONCLUSIVE),
        ),
        (
            REQUIREMENT,
            "what the policy requires and does not hold",
            has(REQUIREMENT),
        ),
    ] {
        if is_met {
            rules.push(json!({ "id": id, "shortDescription": message(text) }));
        }
    }
    rules
}

/// Returns the source (3.23), where it has a URL.
fn provenance(report: &Report) -> Vec<Value> {
    let source = report.source.iter().map(|source| &source.facts);
    let with_url = source.filter(|facts| facts.named.contains("://"));
    with_url
        .map(
            |facts| json!({ "repositoryUri": facts.named, "revisionId": facts.commit.to_string() }),
        )
        .collect()
}

/// Returns a finding as a result (3.27).
fn result(finding: &FindingRecord, report: &Report) -> Value {
    let rule = match &finding.cause {
        Some(cause) => &cause.id,
        None => UNEXPLAINED,
    };
    // What is for information has no level (3.27.10); that of what is suppressed is what it would be.
    let (kind, level) = match finding.acceptance {
        Acceptance::Accepted => ("informational", "none"),
        Acceptance::Rejected | Acceptance::Expired(_) | Acceptance::Waived(_) => {
            match (&finding.cause, &finding.risks[..]) {
                (Some(_), []) => ("fail", "warning"),
                (Some(_), [_, ..]) | (None, _) => ("fail", "error"),
            }
        }
    };
    json!({
        "ruleId": rule,
        "kind": kind,
        "level": level,
        "message": message(&told(finding, report)),
        "locations": [location(finding, report)],
        "partialFingerprints": { "difference/v1": fingerprint(finding) },
        "suppressions": suppressions(finding, report),
        "properties": {
            "attribute": outline::attribute(finding),
            "owner": finding.owner,
            "risks": finding.risks,
        },
    })
}

fn told(finding: &FindingRecord, report: &Report) -> String {
    let Pair { published, rebuilt } = outline::values(finding, WIDTH);
    let cause = match &finding.cause {
        Some(cause) => {
            let title = plain(outline::title(&cause.id, report), WIDTH);
            format!("{title}: {}", plain(&cause.evidence, 2 * WIDTH))
        }
        None => "no known cause".to_owned(),
    };
    let of = match outline::owner(finding) {
        Some(owner) => format!(" of {}", plain(&owner, WIDTH)),
        None => String::new(),
    };
    format!(
        "{} of {}{of} differs: published {published}, rebuilt {rebuilt}; {cause}",
        plain(&outline::attribute(finding), WIDTH),
        plain(&finding.location, WIDTH),
    )
}

/// Returns where a finding is (3.28): the file or blob, and the layer or the place in the document.
fn location(finding: &FindingRecord, report: &Report) -> Value {
    let logical = match outline::layer(finding, report) {
        Some(layer) => plain(&layer, 2 * WIDTH),
        None => plain(&finding.location, 2 * WIDTH),
    };
    json!({
        "physicalLocation": { "artifactLocation": artifact(finding, report) },
        "logicalLocations": [{ "fullyQualifiedName": logical }],
    })
}

/// Returns the file or blob that a finding is in (3.4).
fn artifact(finding: &FindingRecord, report: &Report) -> Value {
    let blob = |of: fn(&Subject) -> Option<Digest>| {
        let digest = of(&report.subject).or_else(|| report.rebuilt.as_ref().and_then(of));
        in_layout(digest)
    };
    match finding.within {
        Within::Entry => {
            let path = bytes(&finding.location);
            let relative = path.strip_prefix(b"/").unwrap_or(&path);
            // The root itself: a reference may not be empty here.
            let relative = if relative.is_empty() { b"." } else { relative };
            json!({ "uri": percent_encode(relative, IN_PATHS).to_string(), "uriBaseId": ROOT })
        }
        Within::Index => json!({ "uri": "index.json", "uriBaseId": LAYOUT }),
        Within::Manifest => blob(|subject| subject.manifest_digest),
        Within::Config => blob(|subject| subject.config_digest),
        Within::Layer => {
            let numbers = finding.layer.unwrap_or(Pair::new(None, None));
            let digest = |subject: &Subject, number: Option<usize>| {
                subject.layers.get(number?).map(|layer| layer.digest)
            };
            let rebuilt = || digest(report.rebuilt.as_ref()?, numbers.rebuilt);
            in_layout(digest(&report.subject, numbers.published).or_else(rebuilt))
        }
    }
}

/// Returns where a blob is in a layout; the layout's index where the image has no such blob.
///
/// Source: OCI image-spec `image-layout.md`.
fn in_layout(digest: Option<Digest>) -> Value {
    let uri = match digest {
        Some(digest) => format!("blobs/sha256/{}", digest.hex()),
        None => "index.json".to_owned(),
    };
    json!({ "uri": uri, "uriBaseId": LAYOUT })
}

/// Returns the bytes of a path that findings name: `\ooo` stands for a byte in octal.
fn bytes(location: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = location.as_bytes();
    while let [first, more @ ..] = rest {
        let octal = (*first == b'\\').then(|| more.get(..3)).flatten();
        let byte = octal
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &more[3..] } else { more };
    }
    bytes
}

/// Returns what stays the same from one run to the next (3.27.17), whatever the values are.
fn fingerprint(finding: &FindingRecord) -> String {
    let parts = json!([
        finding.location,
        finding.attribute,
        finding.detail,
        finding.layer,
        finding.visibility,
    ]);
    Digest::of(parts.to_string().as_bytes()).hex()
}

/// Returns the waiver that accepts a finding (3.35); none where no waiver does.
fn suppressions(finding: &FindingRecord, report: &Report) -> Vec<Value> {
    let Acceptance::Waived(number) = finding.acceptance else {
        return Vec::new();
    };
    // A report that is read back may name a waiver that it has not.
    let reason = report.policy.waivers.get(number).map(
        |Waiver {
             owner,
             expires,
             reason,
             ..
         }| plain(&format!("{reason} ({owner}, until {expires})"), 400),
    );
    vec![
        json!({ "kind": "external", "status": "accepted", "justification": reason.unwrap_or_default() }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Obstacle, ObstacleKind, Policy, Rules, Unmet};

    #[test]
    fn nothing_in_a_message_means_anything() {
        let cases = [
            (
                "/a [here](https://evil.example)",
                r"/a \[here\](https://evil.example)",
            ),
            (r"\[x](1)", r"\\\[x\](1)"),
            ("{0} and }", "{{0}} and }}"),
        ];
        for (text, expected) in cases {
            assert_eq!(message(text)["text"], expected, "{text}");
        }
    }

    #[test]
    fn a_verdict_that_is_not_good_has_a_failing_result() {
        let policy = Policy::builtin(Rules::Standard);
        let unmet = Unmet {
            requirement: "no opaque bytes".to_owned(),
            found: "3".to_owned(),
        };
        let obstacle = Obstacle {
            kind: ObstacleKind::NoRecipe,
            what: "there is no recipe".to_owned(),
            remedy: "write one".to_owned(),
        };
        let cases = [
            ("nothing", Verdict::Reproduced, vec![], vec![], None),
            (
                "waived",
                Verdict::ReproducedWithWaivers,
                vec![],
                vec![],
                None,
            ),
            (
                "obstacle",
                Verdict::Inconclusive,
                vec![obstacle],
                vec![],
                Some(INCONCLUSIVE),
            ),
            (
                "unmet",
                Verdict::NotReproduced,
                vec![],
                vec![unmet],
                Some(REQUIREMENT),
            ),
            (
                "read back",
                Verdict::Inconclusive,
                vec![],
                vec![],
                Some(INCONCLUSIVE),
            ),
            (
                "read back, too",
                Verdict::NotReproduced,
                vec![],
                vec![],
                Some(REQUIREMENT),
            ),
        ];
        for (case, verdict, obstacles, unmet, rule) in cases {
            let mut report = Report::begun(jiff::Timestamp::UNIX_EPOCH, &policy, &[]);
            report.verdict = verdict;
            report.obstacles = obstacles;
            report.policy.unmet = unmet;
            let run = &log(&report)["runs"][0];
            let results = run["results"].as_array().unwrap();
            let seen = results
                .iter()
                .map(|it| (&it["ruleId"], &it["kind"], &it["level"]));
            let failing = rule.map(|rule| (rule.into(), "fail".into(), "error".into()));
            let expected = failing
                .iter()
                .map(|(rule, kind, level)| (rule, kind, level));
            assert!(seen.eq(expected), "{case}: {results:#?}");
            let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
            assert_eq!(
                rules.first().map(|it| &it["id"]),
                rule.map(Value::from).as_ref(),
                "{case}"
            );
            let done = &run["invocations"][0]["executionSuccessful"];
            assert_eq!(*done, verdict != Verdict::Inconclusive, "{case}");
        }
    }

    #[test]
    fn a_path_is_a_reference_in_which_nothing_means_anything() {
        let cases = [
            ("/usr/bin/a-b_c.d~e", "usr/bin/a-b_c.d~e"),
            ("/a b:c?d#e%f", "a%20b%3Ac%3Fd%23e%25f"),
            ("/\\033[2J\\134n", "%1B%5B2J%5Cn"),
            ("/\\777\\9", "%5C777%5C9"),
            ("/é", "%C3%A9"),
        ];
        for (location, uri) in cases {
            let path = bytes(location);
            let encoded = percent_encode(&path[1..], IN_PATHS).to_string();
            assert_eq!(encoded, uri, "{location}");
        }
    }
}
