//! `reprove completions`: what a shell needs to complete the command line.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Status, output};

/// Prints a shell's completion script.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  reprove completions bash > ~/.local/share/bash-completion/completions/reprove
  reprove completions zsh > ~/.zfunc/_reprove
  reprove completions fish > ~/.config/fish/completions/reprove.fish")]
pub(super) struct Arguments {
    /// The shell.
    shell: Shell,
}

impl Arguments {
    pub(super) fn run(&self) -> anyhow::Result<Status> {
        // Written to memory first: clap_complete panics where a pipe is closed early.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "reprove", &mut script);
        output::print_bytes(&script)?;
        Ok(Status::Done)
    }
}
