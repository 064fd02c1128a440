//! The command line: arguments in, text and an exit status out.
//!
//! Only here are arguments, environment and clock read and is anything printed.
//! One file per subcommand, each with its arguments and a `run` that returns a
//! [`Status`]; what goes wrong on the way is one line on standard error.

mod cache;
mod check;
mod completions;
mod context;
mod diff;
mod doctor;
mod hint;
mod inspect;
mod interrupt;
mod listing;
mod lock;
mod man;
mod options;
mod output;
mod policy;
mod progress;
mod rebuild;
mod recipe;
mod report;
mod schema;
mod status;
mod verify;

use clap::{Parser, Subcommand, ValueEnum};
use context::Context;
use progress::Verbosity;
pub(crate) use status::Status;

const EXIT_STATUSES: &str = "\
Exit statuses:
  0  the image is reproduced; or the command did what it was asked
  1  the image is not reproduced, or only with waivers and without --allow-waivers
  2  trouble: usage, broken input, network, this machine
  3  inconclusive: there is no verdict, and the report says what would settle it";

/// Proves, or refutes, that a published container image is what its source gives.
///
/// Rebuilds the image from the git revision that it claims to come from, compares
/// both down to each file, names the likely cause of every difference, and judges
/// them under a policy. A difference is never hidden, normalised away or dropped:
/// what a policy accepts is listed too.
///
/// Reports and listings go to standard output, everything else to standard error.
#[derive(Debug, Parser)]
#[command(
    name = "reprove",
    version,
    max_term_width = 100,
    after_help = EXIT_STATUSES,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
}

/// Options that every subcommand takes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Common options")]
struct Global {
    /// Where sources and blobs are kept between runs [default: reprove in the user's cache folder].
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "REPROVE_CACHE_DIR",
        hide_env_values = true
    )]
    cache_dir: Option<std::path::PathBuf>,
    /// When to use colours; `auto` means on a terminal, and honours `NO_COLOR`.
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t)]
    color: Color,
    /// Prints nothing on standard error but errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Says on standard error what is being done, and lists every difference in reports.
    #[arg(short, long, global = true)]
    verbose: bool,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    Verify(Box<verify::Arguments>),
    Rebuild(Box<rebuild::Arguments>),
    Diff(diff::Arguments),
    Inspect(inspect::Arguments),
    Listing(listing::Arguments),
    Lock(lock::Arguments),
    Check(Box<check::Arguments>),
    Recipe(recipe::Arguments),
    Report(report::Arguments),
    Policy(policy::Arguments),
    Schema(schema::Arguments),
    Doctor(doctor::Arguments),
    Cache(cache::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

/// Runs what the arguments of this process say.
pub(crate) fn main() -> Status {
    let cli = Cli::parse();
    match cli.global.color {
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Never => anstream::ColorChoice::Never.write_global(),
    }
    let verbosity = match (cli.global.quiet, cli.global.verbose) {
        (true, _) => Verbosity::Quiet,
        (false, false) => Verbosity::Normal,
        (false, true) => Verbosity::Verbose,
    };
    let context = Context::new(verbosity, cli.global.cache_dir);
    interrupt::watch()
        .and_then(|()| {
            let status = cli.command.run(&context);
            interrupt::wait_where_begun();
            status
        })
        .unwrap_or_else(|error| {
            output::error(&error);
            Status::Trouble
        })
}

impl Command {
    fn run(self, context: &Context) -> anyhow::Result<Status> {
        match self {
            Self::Verify(arguments) => arguments.run(context),
            Self::Rebuild(arguments) => arguments.run(context),
            Self::Diff(arguments) => arguments.run(context),
            Self::Inspect(arguments) => arguments.run(context),
            Self::Listing(arguments) => arguments.run(context),
            Self::Lock(arguments) => arguments.run(context),
            Self::Check(arguments) => arguments.run(context),
            Self::Recipe(arguments) => arguments.run(),
            Self::Report(arguments) => arguments.run(context),
            Self::Policy(arguments) => arguments.run(),
            Self::Schema(arguments) => arguments.run(),
            Self::Doctor(arguments) => arguments.run(context),
            Self::Cache(arguments) => arguments.run(context),
            Self::Completions(arguments) => arguments.run(),
            Self::Man(arguments) => arguments.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_of_the_command_line_holds_together() {
        Cli::command().debug_assert();
    }
}
