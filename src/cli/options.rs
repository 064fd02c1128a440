//! Options that several subcommands share.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::ValueEnum;
use reprove::{
    dialect::{Compressor, TarDialect},
    image::{
        Platform,
        registry::{self, Access, Reach},
    },
    material::{self, Mirrors, Network},
    rebuild::{self, Conditions, Reuse, Stages, sandbox::Limits},
    report::{Entries, html, markdown, text},
    source,
    verdict::{Policy, Rules, Verdict},
    verify::{Listed, Listing, NoMirrors, Workplace},
};

use super::{
    Status,
    context::{self, Context, Folders},
    output,
    progress::Verbosity,
};

/// Which image, where a name leads to several, and how registries are spoken to.
#[derive(Debug, clap::Args)]
pub(super) struct Reading {
    /// The platform, as os/architecture[/variant] [default: this machine's].
    #[arg(long, value_name = "PLATFORM")]
    pub(super) platform: Option<Platform>,
    #[command(flatten)]
    pub(super) registries: Registries,
}

/// How registries are spoken to.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Registries {
    /// Speaks plain HTTP to this registry (HOST[:PORT]); registries on loopback need no saying.
    #[arg(long, value_name = "HOST")]
    plain_http: Vec<String>,
    /// Asks HOST[/PREFIX] for images of the registry before the registry itself.
    #[arg(long, value_name = "REGISTRY=HOST[/PREFIX]", value_parser = registry_mirror)]
    registry_mirror: Vec<registry::Mirror>,
}

impl Registries {
    /// Returns how registries are reached: as the options say, with this user's logins.
    pub(super) fn access(&self, folders: &Folders) -> Access {
        Access {
            plain_http: self.plain_http.iter().cloned().collect(),
            mirrors: self.registry_mirror.clone(),
            credentials: Some(registry::logins(context::login_files())),
            store: Some(folders.store().clone()),
            reach: Reach::default(),
        }
    }
}

/// Where the source is.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Source")]
pub(super) struct Source {
    /// The git repository: a URL or a path [default: the recipe's].
    #[arg(long = "source", value_name = "URL|PATH")]
    pub(super) location: Option<String>,
    /// The branch, tag or commit.
    #[arg(long, value_name = "REV")]
    pub(super) revision: Option<String>,
    /// Reads sources that begin with FROM from TO instead; the report says which URL was contacted.
    #[arg(long = "source-mirror", value_name = "FROM=TO")]
    pub(super) mirrors: Vec<source::Mirror>,
}

/// Where what a lock pins is asked for.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Materials")]
pub(super) struct Mirroring {
    /// Asks here first: for files of an archive (debian, debian-security, ubuntu, ubuntu-ports),
    /// or for URLs that begin so; this host's apt mirrors and snapshots come after.
    #[arg(long, value_name = "ARCHIVE=URL|URL=URL")]
    mirror: Vec<material::Mirror>,
}

impl Mirroring {
    /// Returns all mirrors, in the order that they are asked in.
    pub(super) fn mirrors(&self, network: Network) -> anyhow::Result<Mirrors> {
        Ok(Mirrors {
            given: self.mirror.clone(),
            host: match network {
                Network::Online => context::apt_mirrors()?,
                Network::Offline => Vec::new(),
            },
            network,
        })
    }
}

/// What builds that run commands are made with.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Materials and sandbox")]
pub(super) struct Making {
    #[command(flatten)]
    mirroring: Mirroring,
    /// Takes materials and base images from the cache alone.
    #[arg(long)]
    offline: bool,
    /// The OpenPGP keys that may sign indexes, not armoured [default: the distribution's on this host].
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,
    /// Takes nothing that was built before: every command is run now.
    #[arg(long)]
    fresh: bool,
    /// The most memory that the commands of a build may use together, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 8192)]
    memory: u64,
    /// The longest that one command of a build may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 7200)]
    time_out: u64,
}

/// What [`Making`] comes to.
pub(super) struct Made {
    stages: Stages,
    conditions: Conditions,
    keyring: Option<PathBuf>,
    limits: Limits,
    registries: Access,
    mirrors: Box<dyn Fn() -> Result<Mirrors, NoMirrors>>,
}

impl Making {
    /// Returns what the options come to, with results kept in the folders.
    pub(super) fn made(&self, folders: &Folders, registries: &Registries) -> Made {
        let reuse = if self.fresh {
            Reuse::Refused
        } else {
            Reuse::Allowed
        };
        let (network, reach) = if self.offline {
            (Network::Offline, Reach::StoreOnly)
        } else {
            (Network::Online, Reach::Registries)
        };
        let mirroring = self.mirroring.clone();
        Made {
            stages: Stages::new(folders.stages().to_owned(), reuse),
            conditions: Conditions::default(),
            keyring: self.keyring.clone(),
            limits: Limits {
                memory_in_bytes: self.memory << 20,
                duration: Duration::from_secs(self.time_out),
                ..Limits::default()
            },
            registries: Access {
                reach,
                ..registries.access(folders)
            },
            mirrors: Box::new(move || Ok(mirroring.mirrors(network)?)),
        }
    }
}

impl Made {
    /// Takes nothing that was built before, and the usual limits.
    pub(super) fn fresh(mirroring: &Mirroring, folders: &Folders, registries: Access) -> Self {
        let mirroring = mirroring.clone();
        Self {
            stages: Stages::new(folders.stages().to_owned(), Reuse::Refused),
            conditions: Conditions::default(),
            keyring: None,
            limits: Limits::default(),
            registries,
            mirrors: Box::new(move || Ok(mirroring.mirrors(Network::Online)?)),
        }
    }

    /// Returns what a build is made with.
    pub(super) fn workplace<'a>(&'a self, folders: &'a Folders) -> Workplace<'a> {
        Workplace {
            store: folders.store(),
            stages: &self.stages,
            mirrors: &*self.mirrors,
            registries: &self.registries,
            keyring: self.keyring.as_deref(),
            conditions: &self.conditions,
            limits: self.limits,
        }
    }
}

/// How the image is rebuilt.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Rebuild")]
pub(super) struct Building {
    /// The recipe: a built-in one's name (`reprove recipe list`) or a file.
    #[arg(long, value_name = "NAME|PATH")]
    pub(super) recipe: Option<String>,
    /// Sets a variable of the recipe.
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    pub(super) set: Vec<(String, String)>,
    /// Takes a recipe that lies in the source tree, which whoever writes the source also writes.
    #[arg(long)]
    pub(super) trust_tree_recipe: bool,
    /// Writes layers and config as this builder does: docker-classic or buildkit.
    #[arg(long, value_name = "DIALECT")]
    pub(super) dialect: Option<TarDialect>,
    /// Compresses layers so: none, or go-LEVEL as Go's gzip at a level of 0 to 9.
    #[arg(long, value_name = "COMPRESSOR")]
    pub(super) gzip: Option<Compressor>,
    /// How the builder gets at the source's files, which decides their modes.
    #[arg(long, value_enum, default_value_t)]
    pub(super) context: BuildContext,
}

/// The words for [`rebuild::Context`].
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(super) enum BuildContext {
    /// From a checkout: files 0644 or 0755.
    #[default]
    Checkout,
    /// From a tar of `git archive`: files 0664 or 0775.
    Archive,
}

impl From<BuildContext> for rebuild::Context {
    fn from(context: BuildContext) -> Self {
        match context {
            BuildContext::Checkout => Self::Checkout,
            BuildContext::Archive => Self::Archive,
        }
    }
}

/// What the images are judged by, and where the report goes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Judgement and report")]
pub(super) struct Judging {
    /// The policy: bit-for-bit, standard, ignore-times, or a policy file.
    #[arg(long, value_name = "NAME|FILE", default_value = "standard")]
    pub(super) policy: String,
    /// Exits with 0 also where the image is reproduced only with waivers.
    #[arg(long)]
    pub(super) allow_waivers: bool,
    /// Prints the report as JSON (`reprove schema`) instead of text.
    #[arg(long)]
    pub(super) json: bool,
    /// Writes the report as JSON to a file too.
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
    /// Writes the report as one HTML page to a file too.
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
    /// Writes the report as Markdown to a file too, for the summary page of a CI run.
    #[arg(long, value_name = "FILE")]
    pub(super) markdown: Option<PathBuf>,
    /// Writes a line of JSON (`reprove schema --files`) for each entry of the published image:
    /// whose it is, where it comes from and what became of it. No lines where nothing was
    /// compared.
    #[arg(long, value_name = "FILE")]
    pub(super) files: Option<PathBuf>,
    /// Lists every difference, and not only the worst ones; -v does so too.
    #[arg(long, conflicts_with = "json")]
    pub(super) full: bool,
}

impl Judging {
    /// Returns whether the entries of the published image are to be listed.
    pub(super) const fn listing(&self) -> Listing {
        match self.files {
            Some(_) => Listing::Asked,
            None => Listing::NotAsked,
        }
    }

    /// Gives out the report, and returns the status that says what it found.
    pub(super) fn conclude(&self, listed: &Listed, context: &Context) -> anyhow::Result<Status> {
        let Listed { report, entries } = listed;
        if let Some(path) = &self.files {
            let records = entries.iter().flat_map(Entries::records);
            output::write_json_lines(path, records)?;
        }
        if let Some(path) = &self.report {
            output::write_json(path, report)?;
        }
        if let Some(path) = &self.html {
            output::write_file(path, html::render(report).as_bytes())?;
        }
        if let Some(path) = &self.markdown {
            output::write_file(path, markdown::render(report).as_bytes())?;
        }
        if self.json {
            output::print_json(report)?;
        } else {
            output::print(&text::render(report, detail(self.full, context)))?;
        }
        Ok(status(report.verdict, self.allow_waivers))
    }
}

/// Returns how much of a report is printed, as `--full` and `-v` say.
pub(super) fn detail(full: bool, context: &Context) -> text::Detail {
    if full || context.verbosity == Verbosity::Verbose {
        text::Detail::Full
    } else {
        text::Detail::Brief
    }
}

/// Returns the built-in policy of that name, or reads the file.
pub(super) fn policy(name: &str) -> anyhow::Result<Policy> {
    if let Ok(rules) = name.parse::<Rules>() {
        return Ok(Policy::builtin(rules));
    }
    let text = fs::read_to_string(name).with_context(|| {
        let built_in = Rules::ALL.map(|rules| rules.to_string()).join(", ");
        format!("cannot read the policy {name} (built in are {built_in})")
    })?;
    Ok(Policy::parse(&text, name)?)
}

/// Returns what the process exits with after such a verdict.
fn status(verdict: Verdict, allow_waivers: bool) -> Status {
    match verdict {
        Verdict::Reproduced => Status::Done,
        Verdict::ReproducedWithWaivers if allow_waivers => Status::Done,
        Verdict::ReproducedWithWaivers | Verdict::NotReproduced => Status::NotReproduced,
        Verdict::Inconclusive => Status::Inconclusive,
    }
}

/// Reads `NAME=VALUE`.
pub(super) fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// Reads `REGISTRY=HOST[/PREFIX]`.
fn registry_mirror(text: &str) -> Result<registry::Mirror, String> {
    let (registry, place) = text.split_once('=').unwrap_or_default();
    let (host, prefix) = place.split_once('/').unwrap_or((place, ""));
    if registry.is_empty() || host.is_empty() {
        return Err("write REGISTRY=HOST or REGISTRY=HOST/PREFIX".to_owned());
    }
    Ok(registry::Mirror {
        registry: registry.to_owned(),
        host: host.to_owned(),
        prefix: prefix.trim_end_matches('/').to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waivers_are_a_success_only_where_they_are_allowed() {
        let cases = [
            (Verdict::Reproduced, false, Status::Done),
            (Verdict::ReproducedWithWaivers, false, Status::NotReproduced),
            (Verdict::ReproducedWithWaivers, true, Status::Done),
            (Verdict::NotReproduced, true, Status::NotReproduced),
            (Verdict::Inconclusive, true, Status::Inconclusive),
        ];
        for (verdict, allow_waivers, expected) in cases {
            assert_eq!(
                status(verdict, allow_waivers),
                expected,
                "{verdict:?} {allow_waivers}"
            );
        }
    }

    #[test]
    fn a_mirror_is_a_registry_a_host_and_maybe_a_prefix() {
        let mirror = |registry: &str, host: &str, prefix: &str| {
            Ok(registry::Mirror {
                registry: registry.to_owned(),
                host: host.to_owned(),
                prefix: prefix.to_owned(),
            })
        };
        let refused = || Err("write REGISTRY=HOST or REGISTRY=HOST/PREFIX".to_owned());
        let cases = [
            ("docker.io=m:5000", mirror("docker.io", "m:5000", "")),
            ("docker.io=m/a/b/", mirror("docker.io", "m", "a/b")),
            ("docker.io", refused()),
            ("=m", refused()),
            ("docker.io=/a", refused()),
        ];
        for (text, expected) in cases {
            assert_eq!(registry_mirror(text), expected, "{text}");
        }
    }
}
