//! `reprove schema`: the format of what is written for programs.

use reprove::report;

use super::{Status, output};

/// Prints the JSON schema of reports, or of what `--files` writes.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  reprove schema > report.schema.json
  reprove schema --files > entry.schema.json")]
pub(super) struct Arguments {
    /// Prints the schema of each line that `--files` of `reprove verify` and `reprove diff` writes.
    #[arg(long)]
    files: bool,
}

impl Arguments {
    pub(super) fn run(&self) -> anyhow::Result<Status> {
        let schema = if self.files {
            report::entry_schema()
        } else {
            report::schema()
        };
        output::print_json(&schema)?;
        Ok(Status::Done)
    }
}
