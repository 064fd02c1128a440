//! `reprove man`: the manual pages, made from the same texts as `--help`.

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use clap::CommandFactory;

use super::{Cli, Status, output};

/// Prints the manual page, or writes those of all subcommands to a folder.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  reprove man | man -l -
  reprove man ~/.local/share/man/man1")]
pub(super) struct Arguments {
    /// Where to write reprove.1 and one page per subcommand; made where it is missing.
    directory: Option<PathBuf>,
}

impl Arguments {
    pub(super) fn run(&self) -> anyhow::Result<Status> {
        let mut command = Cli::command();
        // Gives the subcommands the options that they inherit.
        command.build();
        let Some(directory) = &self.directory else {
            output::print_bytes(&page(command)?)?;
            return Ok(Status::Done);
        };
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot make the folder {}", directory.display()))?;
        for (name, bytes) in pages(&command)? {
            output::write_file(&directory.join(name), &bytes)?;
        }
        Ok(Status::Done)
    }
}

/// Returns the pages of `command` and of all below it, with their file names.
fn pages(command: &clap::Command) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let mut below = Vec::new();
    for subcommand in command.get_subcommands() {
        below.extend(pages(subcommand)?);
    }
    let name = command.get_display_name().unwrap_or(command.get_name());
    let mut all = vec![(format!("{name}.1"), page(command.clone())?)];
    all.append(&mut below);
    Ok(all)
}

fn page(command: clap::Command) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut bytes)
        .context("cannot write a manual page")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subcommand_has_a_page_that_names_it() {
        let mut command = Cli::command();
        command.build();
        let pages = pages(&command).unwrap();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["reprove.1", "reprove-verify.1", "reprove-recipe-show.1"] {
            assert!(names.contains(&name), "{name} in {names:?}");
        }
        for (name, bytes) in &pages {
            let text = String::from_utf8(bytes.clone()).unwrap();
            assert!(text.contains(".SH SYNOPSIS"), "{name}");
        }
    }
}
