//! `reprove lock`: pins what a recipe calls for from outside.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use reprove::{
    dialect::{Compressor, TarDialect, gzip::GoLevel},
    digest::Digest,
    facts::{Encoding, Outcome},
    image::{self, ImageName, Platform},
    lock::{Expired, Request, Tools, installed, lock},
    material::Network,
    progress::Progress as _,
    rebuild::{self, Outside, replay::Replay},
    recipe::{
        self, Found, FoundLock, Origin,
        lockfile::{File, FileGrade, Grade, Lockfile, Pin},
    },
    verify,
};

use super::{
    Status,
    context::{Context, Folders},
    options,
    output::{self, Page},
    rebuild::source_for,
};

/// Pins what a recipe calls for from outside, by hash, size and identity.
///
/// Writes the recipe's recipe.lock, or updates it. The packages of its toolchain are
/// chosen anew: signed indexes are fetched and their signatures checked, and apt chooses
/// from the lists that they name. Other files keep the pins that they have, whose bytes
/// must still be there; new ones are pinned as they are served. Needs apt-get and gpgv.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  reprove lock ./recipes/mine
  reprove lock ./recipes/mine --platform linux/arm64 --at 2026-07-14")]
pub(super) struct Arguments {
    /// The recipe: a file or its folder; or a built-in one's name, with --output.
    #[arg(value_name = "NAME|PATH")]
    recipe: String,
    /// The platform whose packages are pinned; may be given several times
    /// [default: each that the recipe has, or else this machine's].
    #[arg(long, value_name = "PLATFORM")]
    platform: Vec<Platform>,
    /// Reads and writes the lock here [default: recipe.lock beside the recipe].
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Chooses packages as they were at this time, from the archives' snapshots.
    #[arg(long, value_name = "DATE|TIME", value_parser = time)]
    at: Option<Timestamp>,
    /// Takes the versions of this image's packages, by its own database, where the recipe calls
    /// for them. What no list has any more is looked for in the archive, and no signature covers it.
    #[arg(long, value_name = "IMAGE")]
    from_image: Option<ImageName>,
    /// The OpenPGP keys that may sign indexes, not armoured [default: the distribution's on this host].
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,
    /// Takes indexes that are past their own Valid-Until; the lock says so.
    #[arg(long)]
    accept_expired: bool,
    /// Runs the build once with its requests answered from outside, and pins what it fetched.
    ///
    /// The build's commands still have no network of their own. Read the lock before you rely
    /// on it: what was fetched is pinned as it was served, and nobody vouches for it.
    #[arg(long)]
    record: bool,
    /// Sets a variable of the recipe, for --record.
    #[arg(long, value_name = "NAME=VALUE", value_parser = options::assignment, requires = "record")]
    set: Vec<(String, String)>,
    #[command(flatten)]
    source: options::Source,
    #[command(flatten)]
    mirroring: options::Mirroring,
    #[command(flatten)]
    registries: options::Registries,
}

impl Arguments {
    pub(super) fn run(&self, context: &Context) -> anyhow::Result<Status> {
        let found = recipe::named(&self.recipe).context("cannot use the recipe")?;
        let output = match (&self.output, &found.origin) {
            (Some(output), _) => output.clone(),
            (None, Origin::File { path }) => Path::new(path).with_file_name("recipe.lock"),
            (None, Origin::BuiltIn | Origin::SourceTree { .. }) => {
                bail!("a built-in recipe has no file beside it: name one with --output")
            }
        };
        let before = Lockfile::read(&output)
            .context("cannot use the lock")?
            .unwrap_or_default();
        let mut platforms = self.platform.clone();
        if platforms.is_empty() {
            platforms = found.recipe.platforms().cloned().collect();
        }
        if platforms.is_empty() {
            platforms.push(Platform::host());
        }
        let folders = context.folders()?;
        let mirrors = self.mirroring.mirrors(Network::Online)?;
        let tools = Tools {
            mirrors: &mirrors,
            store: folders.store(),
            scratch: folders.scratch(),
            progress: &context.progress,
        };
        let access = self.registries.access(&folders);
        let mut after = before.clone();
        for platform in &platforms {
            let installed = match &self.from_image {
                Some(name) => {
                    let image = image::resolve(name, Some(platform), &access, &context.progress)?;
                    installed(&*image, &context.progress)?
                }
                None => Vec::new(),
            };
            let request = Request {
                recipe: &found.recipe,
                platform,
                previous: &after,
                keyring: self.keyring.as_deref(),
                at: self.at,
                installed: &installed,
                expired: if self.accept_expired {
                    Expired::Accepted
                } else {
                    Expired::Refused
                },
                now: Timestamp::now(),
            };
            after = lock(&request, &tools).with_context(|| format!("cannot lock {platform}"))?;
        }
        if self.record {
            for platform in &platforms {
                let text = after.to_string();
                let found = Found {
                    lock: Some(FoundLock {
                        digest: Digest::of(text.as_bytes()),
                        lock: after.clone(),
                    }),
                    ..found.clone()
                };
                if !self.recorded(&found, platform, &mut after, context, &folders)? {
                    return Ok(Status::Inconclusive);
                }
            }
        }
        output::write_file(&output, after.to_string().as_bytes())?;
        told(&output, &before, &after).print()?;
        Ok(Status::Done)
    }
}

impl Arguments {
    /// Runs the build once, and adds what it fetched to the lock.
    ///
    /// Returns whether it got through; where it did not, that is printed.
    fn recorded(
        &self,
        found: &Found,
        platform: &Platform,
        lock: &mut Lockfile,
        context: &Context,
        folders: &Folders,
    ) -> anyhow::Result<bool> {
        let set = self.set.iter().cloned().collect();
        let (resolved, source) = source_for(
            found,
            &self.source,
            &set,
            platform,
            folders.cache(),
            &context.progress,
        )?;
        let registries = self.registries.access(folders);
        let made = options::Made::fresh(&self.mirroring, folders, registries);
        let workplace = made.workplace(folders);
        let scratch = folders.scratch();
        let progress = &context.progress;
        let inputs =
            match verify::inputs(found, &resolved, platform, &workplace, scratch, progress)? {
                Ok(Some(inputs)) => inputs,
                Ok(None) => bail!("the recipe runs nothing, so that there is nothing to record"),
                Err(obstacle) => {
                    output::print_obstacle("not recorded", &obstacle)?;
                    return Ok(false);
                }
            };
        let recording = Replay::record(folders.store(), scratch)?;
        let outside = Outside {
            recording: Some(&recording),
            ..inputs.outside(&resolved, &workplace, scratch)
        };
        let place =
            rebuild::Output::Layout(scratch.join(format!("recorded-{}", platform.architecture)));
        let request = rebuild::Request {
            build: &resolved.build,
            source: source.as_ref(),
            platform,
            encoding: ANY_ENCODING,
            context: rebuild::Context::default(),
            outside: Some(&outside),
        };
        let outcome =
            rebuild::rebuild(&request, &place, progress).context("cannot rebuild the image")?;
        for not in recording.not_recorded() {
            progress.note(&format!(
                "{} answers {}, which no lock can have",
                not.url, not.status
            ));
        }
        for refusal in recording.replay.refused() {
            progress.note(&format!("not answered: {refusal}"));
        }
        if let Outcome::Failed(failure) = outcome {
            output::print_failure("not recorded", &failure)?;
            return Ok(false);
        }
        // What was recorded before and is not fetched any more goes.
        let called_for = found.recipe.files();
        lock.files.retain(|file| {
            called_for
                .iter()
                .any(|called_for| called_for.name == file.name)
        });
        for fetched in recording.recorded() {
            let known = |file: &File| file.urls.contains(&fetched.url);
            if !lock.files.iter().any(known) {
                lock.files.push(File {
                    name: name_of(&fetched.url),
                    size: fetched.size,
                    sha256: fetched.digest,
                    grade: FileGrade::Recorded,
                    urls: vec![fetched.url],
                    pool: None,
                });
            }
        }
        lock.files.sort();
        Ok(true)
    }
}

/// Returns what a fetched file is called: its URL as a relative path.
fn name_of(url: &str) -> String {
    let parts = url.split('/').map(|part| part.trim_end_matches(':'));
    parts
        .filter(|part| !["", ".", ".."].contains(part))
        .collect::<Vec<_>>()
        .join("/")
}

/// A recording is for what is fetched, and not for the image.
const ANY_ENCODING: Encoding = Encoding {
    dialect: TarDialect::BuildKit,
    compressor: Compressor::GoGzip(GoLevel::DEFAULT),
};

/// Says what the lock holds, and what changed where there was one before.
fn told(output: &Path, before: &Lockfile, after: &Lockfile) -> Page {
    let mut page = Page::default();
    page.row("lock", output.display().to_string());
    page.row("files", graded(&after.file_pins()));
    for (platform, locked) in &after.platforms {
        page.row(
            "packages",
            format!("{platform}: {}", graded(&locked.package_pins())),
        );
        for release in &locked.releases {
            let keys: Vec<String> = release.signed_by.iter().map(ToString::to_string).collect();
            let expired = match release.validity {
                recipe::lockfile::Validity::Valid => "",
                recipe::lockfile::Validity::ExpiredAccepted => ", expired",
            };
            page.row(
                "",
                format!("{} signed by {}{expired}", release.suite, keys.join(", ")),
            );
        }
    }
    if *before == Lockfile::default() {
        return page;
    }
    let (before, after) = (versions(before), versions(after));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        match (before.get(name), after.get(name)) {
            (None, Some(version)) => page.row("new", format!("{name} {version}")),
            (Some(version), None) => page.row("gone", format!("{name} {version}")),
            (Some(before), Some(after)) if before != after => {
                page.row("changed", format!("{name} {before} → {after}"));
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
    page
}

/// Counts pins by whose word their hash is.
fn graded(pins: &[Pin]) -> String {
    let mut counts: BTreeMap<Grade, usize> = BTreeMap::new();
    for grade in pins.iter().filter_map(|pin| pin.grade) {
        *counts.entry(grade).or_default() += 1;
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(grade, count)| format!("{count} {grade}"))
        .collect();
    if counts.is_empty() {
        "none".to_owned()
    } else {
        counts.join(", ")
    }
}

/// Returns what a person compares: names with versions, or hashes of what has none.
fn versions(lock: &Lockfile) -> BTreeMap<String, String> {
    let files = lock
        .files
        .iter()
        .map(|file| (file.name.clone(), file.sha256.to_string()));
    let packages = lock.platforms.iter().flat_map(|(platform, locked)| {
        locked.packages.iter().map(move |package| {
            let name = format!("{platform} {}:{}", package.name, package.architecture);
            (name, package.version.clone())
        })
    });
    files.chain(packages).collect()
}

/// Reads a day, which means its beginning in UTC, or a time.
fn time(text: &str) -> Result<Timestamp, String> {
    let day = || {
        let day: Date = text.parse().ok()?;
        TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0)).ok()
    };
    text.parse().ok().or_else(day).ok_or_else(|| {
        "write a day such as 2026-07-14, or a time such as 2026-07-14T06:00:00Z".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_day_or_a_time_with_its_zone() {
        let at = |text: &str| Ok(text.parse::<Timestamp>().unwrap());
        assert_eq!(time("2026-07-14"), at("2026-07-14T00:00:00Z"));
        assert_eq!(
            time("2026-07-14T06:00:00+02:00"),
            at("2026-07-14T04:00:00Z")
        );
        assert!(time("yesterday").is_err());
    }
}
