//! `reprove recipe`: the built-in recipes, and what a recipe says.

use std::collections::BTreeMap;

use anyhow::Context as _;
use reprove::{
    digest::Digest,
    image::Platform,
    recipe::{self, Recipe},
};
use serde::Serialize;

use super::{
    Status,
    output::{self, Page},
};

/// Lists the built-in recipes, or shows one.
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(disable_help_subcommand = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Lists the built-in recipes and the images that they are for.
    List(List),
    /// Prints a recipe as it is written: a built-in one, or a file that is checked.
    Show(Show),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Prints the list as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  reprove recipe show alpine
  reprove recipe show ./recipes/mine/recipe.toml --json")]
struct Show {
    /// A built-in recipe's name, or a file.
    #[arg(value_name = "NAME|PATH")]
    recipe: String,
    /// Prints what was understood as JSON, with the recipe's digest.
    #[arg(long)]
    json: bool,
}

/// What is told of a recipe.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    name: &'a str,
    digest: Digest,
    description: Option<&'a str>,
    images: &'a [String],
    source: Option<&'a str>,
    platforms: Vec<&'a Platform>,
    variables: BTreeMap<&'a str, ToldVariable<'a>>,
}

#[derive(Debug, Serialize)]
struct ToldVariable<'a> {
    description: Option<&'a str>,
    default: Option<&'a str>,
}

impl Arguments {
    pub(super) fn run(&self) -> anyhow::Result<Status> {
        match &self.command {
            Command::List(list) => list.run()?,
            Command::Show(show) => show.run()?,
        }
        Ok(Status::Done)
    }
}

impl List {
    fn run(&self) -> anyhow::Result<()> {
        let recipes: Vec<Recipe> = recipe::built_in().collect();
        if self.json {
            return output::print_json(&recipes.iter().map(told).collect::<Vec<_>>());
        }
        let width = recipes
            .iter()
            .map(|recipe| recipe.name().len())
            .max()
            .unwrap_or(0);
        let mut page = Page::default();
        for recipe in &recipes {
            let name = recipe.name();
            let description = recipe.description().unwrap_or_default();
            page.line(format!("{name:<width$}  {description}"));
            for image in recipe.images() {
                page.line(format!("{:width$}  for {image}", ""));
            }
        }
        page.print()
    }
}

impl Show {
    fn run(&self) -> anyhow::Result<()> {
        let found = recipe::named(&self.recipe).context("cannot use the recipe")?;
        if self.json {
            output::print_json(&told(&found.recipe))
        } else {
            output::print_bytes(found.recipe.text().as_bytes())
        }
    }
}

fn told(recipe: &Recipe) -> Told<'_> {
    Told {
        name: recipe.name(),
        digest: recipe.digest(),
        description: recipe.description(),
        images: recipe.images(),
        source: recipe.source(),
        platforms: recipe.platforms().collect(),
        variables: recipe
            .variables()
            .iter()
            .map(|(name, variable)| {
                let told = ToldVariable {
                    description: variable.description.as_deref(),
                    default: variable.default.as_deref(),
                };
                (name.as_str(), told)
            })
            .collect(),
    }
}
