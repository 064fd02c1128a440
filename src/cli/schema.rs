//! `reprove schema`: the report's format.

use reprove::report;

use super::{Status, output};

/// Prints the JSON schema of reports.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  reprove schema > report.schema.json")]
pub(super) struct Arguments;

impl Arguments {
    pub(super) fn run() -> anyhow::Result<Status> {
        output::print_json(&report::schema())?;
        Ok(Status::Done)
    }
}
