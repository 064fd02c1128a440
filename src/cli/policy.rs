//! `reprove policy`: policy files, before they are relied on.

use std::path::PathBuf;

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use reprove::{
    digest::Digest,
    report::Report,
    verdict::{
        Acceptance, Case, Claim, Judgement, Policy, Requirements, Rules, Unmet, Verdict, Waiver,
        judge,
    },
};
use serde::Serialize;

use super::{
    Status, options,
    output::{self, Page},
    report,
};

/// Checks policy files.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Check(Check),
}

/// Says whether a policy file is valid, and which of its waivers are of no use any more.
///
/// With a saved report, it also says what that image's verdict would be under the
/// policy, and which waivers cover something in it. Nothing is compared again.
///
/// The exit status is 0 where all is well, 1 where a waiver has expired or covers
/// nothing in the report, or where the image does not satisfy the policy, 2 where the
/// file is not valid, and 3 where the report settles nothing.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  reprove policy check ours.toml
  reprove policy check ours.toml --report app.json --json")]
struct Check {
    /// The policy file, or the name of a built-in policy.
    #[arg(value_name = "FILE|NAME")]
    policy: String,
    /// Judges this saved report under the policy; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Prints what was found as JSON.
    #[arg(long)]
    json: bool,
}

/// What was found out of a policy.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Checked<'a> {
    name: &'a str,
    digest: Option<Digest>,
    rules: Rules,
    require: &'a Requirements,
    waivers: Vec<CheckedWaiver<'a>>,
    /// `None` where no report was given.
    report: Option<CheckedReport>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CheckedWaiver<'a> {
    /// Counted from 1.
    number: usize,
    place: &'a str,
    attribute: &'a str,
    owner: &'a str,
    expires: Date,
    expired: bool,
    /// How many differences of the report it covers, also where it has expired.
    covers: Option<usize>,
}

/// What becomes of a report under the policy.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CheckedReport {
    verdict: Verdict,
    rejected: usize,
    unmet: Vec<Unmet>,
}

impl Arguments {
    pub(super) fn run(self) -> anyhow::Result<Status> {
        match self.command {
            Command::Check(check) => check.run(),
        }
    }
}

impl Check {
    fn run(self) -> anyhow::Result<Status> {
        let policy = options::policy(&self.policy)?;
        let today = TimeZone::UTC.to_datetime(Timestamp::now()).date();
        let saved = self.report.as_deref().map(report::read).transpose()?;
        let judgement = saved.as_ref().map(|report| judged(report, &policy, today));
        let checked = checked(&policy, judgement.as_ref(), today);
        if self.json {
            output::print_json(&checked)?;
        } else {
            checked.page().print()?;
        }
        Ok(checked.status())
    }
}

/// Judges a saved report; what was not compared then is not compared now.
fn judged(report: &Report, policy: &Policy, today: Date) -> Judgement {
    let claims: Vec<Claim<'_>> = report.findings.iter().map(|it| it.claim()).collect();
    let pins = report.pins();
    let Some(equality) = &report.equality else {
        return Judgement {
            verdict: Verdict::Inconclusive,
            acceptances: Vec::new(),
            unmet: Vec::new(),
            unused_waivers: Vec::new(),
            expired_waivers: Vec::new(),
        };
    };
    let case = Case {
        equality: equality.strongest,
        config: equality.config_grade,
        claims: &claims,
        obstacles: &report.obstacles,
        evidence: report.evidence(&pins),
    };
    judge(&case, policy, today)
}

fn checked<'a>(policy: &'a Policy, judgement: Option<&Judgement>, today: Date) -> Checked<'a> {
    let waiver = |(index, waiver): (usize, &'a Waiver)| CheckedWaiver {
        number: index + 1,
        place: waiver.place(),
        attribute: &waiver.attribute,
        owner: &waiver.owner,
        expires: waiver.expires,
        expired: waiver.expires < today,
        covers: judgement.map(|judgement| {
            let acceptances = judgement.acceptances.iter();
            let by_it = acceptances.filter(|acceptance| match acceptance {
                Acceptance::Waived(by) | Acceptance::Expired(by) => *by == index,
                Acceptance::Accepted | Acceptance::Rejected => false,
            });
            by_it.count()
        }),
    };
    let rejected = |judgement: &Judgement| {
        let acceptances = judgement.acceptances.iter();
        let rejected = acceptances.filter(|acceptance| match acceptance {
            Acceptance::Rejected | Acceptance::Expired(_) => true,
            Acceptance::Accepted | Acceptance::Waived(_) => false,
        });
        rejected.count()
    };
    Checked {
        name: &policy.name,
        digest: policy.digest,
        rules: policy.rules,
        require: &policy.require,
        waivers: policy.waivers.iter().enumerate().map(waiver).collect(),
        report: judgement.map(|judgement| CheckedReport {
            verdict: judgement.verdict,
            rejected: rejected(judgement),
            unmet: judgement.unmet.clone(),
        }),
    }
}

impl Checked<'_> {
    fn status(&self) -> Status {
        let stale = |waiver: &CheckedWaiver<'_>| waiver.expired || waiver.covers == Some(0);
        match self.report.as_ref().map(|report| report.verdict) {
            Some(Verdict::Inconclusive) => Status::Inconclusive,
            Some(Verdict::NotReproduced) => Status::NotReproduced,
            Some(Verdict::Reproduced | Verdict::ReproducedWithWaivers) | None => {
                if self.waivers.iter().any(stale) {
                    Status::NotReproduced
                } else {
                    Status::Done
                }
            }
        }
    }

    fn page(&self) -> Page {
        let mut page = Page::default();
        page.row("policy", self.name);
        page.row("rules", self.rules.to_string());
        for line in self.require.lines() {
            page.row("requires", line);
        }
        for waiver in &self.waivers {
            let CheckedWaiver {
                number,
                place,
                attribute,
                owner,
                expires,
                ..
            } = waiver;
            page.row(
                "waiver",
                format!("{number}: {place} {attribute}, {owner} until {expires}"),
            );
            if waiver.expired {
                page.row("", "has expired");
            }
            match waiver.covers {
                Some(0) => page.row("", "covers nothing in the report"),
                Some(1) => page.row("", "covers 1 difference"),
                Some(count) => page.row("", format!("covers {count} differences")),
                None => {}
            }
        }
        if let Some(report) = &self.report {
            page.row("verdict", format!("{} under this policy", report.verdict));
            if report.rejected > 0 {
                page.row("", format!("{} differences not accepted", report.rejected));
            }
            for Unmet { requirement, found } in &report.unmet {
                page.row("not met", format!("{requirement}: {found}"));
            }
        }
        page
    }
}
