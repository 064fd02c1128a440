//! `reprove report`: a saved report in another form.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::ValueEnum;
use reprove::report::{self, html, markdown, sarif, text};
use serde::Serialize;

use super::{Status, context::Context, options, output};

/// Shows a saved report as text, HTML, Markdown or SARIF.
///
/// The report is what `--report` or `--json` of `reprove verify` and `reprove diff`
/// wrote. Nothing is judged again: the exit status says whether it could be shown.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  reprove report app.json
  reprove report app.json --format html --output app.html
  reprove diff one.tar other.tar --json | reprove report - --format markdown")]
pub(super) struct Arguments {
    /// The report's JSON; `-` is standard input.
    #[arg(value_name = "FILE")]
    report: PathBuf,
    /// What to make of it.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Writes it to a file instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Lists every difference in text, and not only the worst ones; -v does so too.
    #[arg(long)]
    full: bool,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Format {
    /// For a terminal.
    #[default]
    Text,
    /// One page that needs nothing else, to look into with a browser.
    Html,
    /// For the summary page of a CI run; always below 60 KB.
    Markdown,
    /// SARIF 2.1.0, for code scanning pages: each difference with its cause as the rule.
    Sarif,
    /// For programs.
    Json,
}

impl Arguments {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Status> {
        let report = read(&self.report)?;
        let text = match self.format {
            Format::Text => text::render(&report, options::detail(self.full, context)),
            Format::Html => html::render(&report),
            Format::Markdown => markdown::render(&report),
            Format::Sarif => return self.json(&sarif::log(&report)),
            Format::Json => return self.json(&report),
        };
        match (&self.output, self.format) {
            (Some(path), Format::Text) => {
                output::write_file(path, output::colourless(&text).as_bytes())?;
            }
            (Some(path), _) => output::write_file(path, text.as_bytes())?,
            (None, Format::Text) => output::print(&text)?,
            (None, _) => output::print_bytes(text.as_bytes())?,
        }
        Ok(Status::Done)
    }

    fn json(&self, value: &impl Serialize) -> anyhow::Result<Status> {
        match &self.output {
            Some(path) => output::write_json(path, value)?,
            None => output::print_json(value)?,
        }
        Ok(Status::Done)
    }
}

/// Reads a report from a file, or from standard input where it is called `-`.
pub(super) fn read(path: &Path) -> anyhow::Result<report::Report> {
    let (name, bytes) = if path == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin()
            .read_to_end(&mut bytes)
            .context("cannot read standard input")?;
        ("standard input".to_owned(), bytes)
    } else {
        let name = path.display().to_string();
        let bytes = fs::read(path).with_context(|| format!("cannot read {name}"))?;
        (name, bytes)
    };
    report::read(&bytes).with_context(|| format!("cannot take {name} for a report"))
}
