//! `reprove rebuild`: the image that a source gives, without a published one.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use indicatif::BinaryBytes;
use reprove::{
    dialect::{Compressor, TarDialect, gzip::GoLevel},
    digest::{DiffId, Digest},
    facts::{Built, Encoding, Input, Origin, Outcome},
    image::Platform,
    progress::Progress,
    rebuild::{self, Output},
    recipe::{self, Found, Resolved, TreeTrust},
    source::{self, Source},
    verify,
};
use rustix::{
    fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with},
    process::geteuid,
};
use serde::Serialize;

use super::{
    Status,
    context::Context,
    interrupt, options,
    output::{self, Page},
};

/// Rebuilds an image from its source into an OCI layout or archive.
///
/// No published image is needed and none is looked at, so what wrote its bytes cannot
/// be inferred: it is written as --dialect and --gzip say, which are docker-classic and
/// go-6 where they are left out. A recipe and a revision must be named. The output
/// appears whole or not at all; it is made in a hidden folder beside its place, where what
/// a killed run has left is removed first.
///
/// The exit status is 3 where the source's own instructions lead to no image.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  reprove rebuild --recipe alpine --source ./docker-alpine --revision v3.20 \\
      --platform linux/arm64 --output oci:./rebuilt
  reprove rebuild --recipe scratch --source https://git.example/app --revision v1.2 \\
      --dialect buildkit --output oci-archive:app.tar --json")]
pub(super) struct Arguments {
    /// Where the image goes; nothing may be there yet.
    #[arg(long, value_name = "oci:DIR|oci-archive:FILE", value_parser = parse_output)]
    output: Output,
    /// The platform, as os/architecture[/variant] [default: this machine's].
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
    #[command(flatten)]
    source: options::Source,
    #[command(flatten)]
    building: options::Building,
    #[command(flatten)]
    making: options::Making,
    #[command(flatten)]
    registries: options::Registries,
    /// Prints what was built as JSON.
    #[arg(long)]
    json: bool,
}

/// What was built, as JSON tells it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    output: &'a Path,
    platform: &'a Platform,
    recipe: ToldRecipe<'a>,
    source: Option<&'a source::Facts>,
    manifest_digest: Digest,
    config_digest: Digest,
    dialect: Option<TarDialect>,
    compressor: Option<String>,
    layers: Vec<ToldLayer<'a>>,
    inputs: &'a BTreeMap<String, Input>,
}

#[derive(Debug, Serialize)]
struct ToldRecipe<'a> {
    name: &'a str,
    digest: Digest,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ToldLayer<'a> {
    digest: Digest,
    size: u64,
    diff_id: DiffId,
    uncompressed_size: u64,
    step: &'a str,
    bytes: &'a BTreeMap<Origin, u64>,
}

impl Arguments {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Status> {
        if fs::symlink_metadata(self.output.path()).is_ok() {
            bail!("{} exists already", self.output.path().display());
        }
        let folders = context.folders()?;
        let platform = self.platform.clone().unwrap_or_else(Platform::host);
        let (found, resolved, source) =
            self.recipe_and_source(context, folders.cache(), &platform)?;
        let encoding = Encoding {
            dialect: self.building.dialect.unwrap_or(TarDialect::DockerClassic),
            compressor: self
                .building
                .gzip
                .unwrap_or(Compressor::GoGzip(GoLevel::DEFAULT)),
        };
        let made = self.making.made(&folders, &self.registries);
        let workplace = made.workplace(&folders);
        let inputs = verify::inputs(
            &found,
            &resolved,
            &platform,
            &workplace,
            folders.scratch(),
            &context.progress,
        )?;
        let inputs = match inputs {
            Ok(inputs) => inputs,
            Err(obstacle) => {
                output::print_obstacle("no image", &obstacle)?;
                return Ok(Status::Inconclusive);
            }
        };
        let outside = inputs
            .as_ref()
            .map(|inputs| inputs.outside(&resolved, &workplace, folders.scratch()));
        let request = rebuild::Request {
            build: &resolved.build,
            source: source.as_ref(),
            platform: &platform,
            encoding,
            context: self.building.context.into(),
            outside: outside.as_ref(),
        };
        let staged = Staged::beside(&self.output)?;
        let outcome = rebuild::rebuild(&request, &staged.output, &context.progress)
            .context("cannot rebuild the image")?;
        match outcome {
            Outcome::Failed(failure) => {
                output::print_failure("no image", &failure)?;
                Ok(Status::Inconclusive)
            }
            Outcome::Built(built) => {
                staged.publish(&self.output)?;
                self.tell(&built, &found, source.as_ref(), &platform)?;
                Ok(Status::Done)
            }
        }
    }

    /// Finds the recipe, and the source that it or the user names.
    fn recipe_and_source(
        &self,
        context: &Context,
        cache: &Path,
        platform: &Platform,
    ) -> anyhow::Result<(Found, Resolved, Option<Source>)> {
        let set = self.building.set.iter().cloned().collect();
        if let Some(name) = &self.building.recipe {
            let progress = &context.progress;
            return named_recipe(name, &self.source, &set, platform, cache, progress);
        }
        let revision = self.source.revision.clone();
        let (Some(location), Some(revision)) = (self.source.location.clone(), revision) else {
            bail!("nobody says how to build: name a recipe with --recipe");
        };
        if !self.building.trust_tree_recipe {
            bail!("nobody says how to build: name a recipe with --recipe, or --trust-tree-recipe");
        }
        let source = check_out(location, revision, &self.source, cache, &context.progress)?;
        let found =
            recipe::in_tree(&source, TreeTrust::Trusted).context("cannot use the recipe")?;
        let Some(found) = found else {
            bail!("the source has no {}", recipe::TREE_RECIPE)
        };
        let resolved = made_out(&found, platform, &set)?;
        Ok((found, resolved, Some(source)))
    }

    fn tell(
        &self,
        built: &Built,
        found: &Found,
        source: Option<&Source>,
        platform: &Platform,
    ) -> anyhow::Result<()> {
        if self.json {
            return output::print_json(&Told {
                output: self.output.path(),
                platform,
                recipe: ToldRecipe {
                    name: found.recipe.name(),
                    digest: found.recipe.digest(),
                },
                source: source.map(Source::facts),
                manifest_digest: built.manifest,
                config_digest: built.config,
                dialect: built.encoding.map(|encoding| encoding.dialect),
                compressor: built
                    .encoding
                    .map(|encoding| encoding.compressor.to_string()),
                layers: built
                    .layers
                    .iter()
                    .map(|layer| ToldLayer {
                        digest: layer.digest,
                        size: layer.size,
                        diff_id: layer.diff_id,
                        uncompressed_size: layer.uncompressed_size,
                        step: &layer.step,
                        bytes: &layer.bytes,
                    })
                    .collect(),
                inputs: &built.inputs,
            });
        }
        let mut page = Page::default();
        let output = self.output.path().display();
        page.row("rebuilt", format!("{output} for {platform}"));
        if let Some(facts) = source.map(Source::facts) {
            page.row("source", format!("{} at {}", facts.contacted, facts.commit));
        }
        page.row("recipe", found.recipe.name());
        page.row(
            "encoding",
            match built.encoding {
                Some(Encoding {
                    dialect,
                    compressor,
                }) => format!("{dialect}, {compressor}"),
                None => "as the source has it".to_owned(),
            },
        );
        page.row("manifest", built.manifest.to_string());
        page.row("config", built.config.to_string());
        for (number, layer) in built.layers.iter().enumerate() {
            page.row(&format!("layer {number}"), layer.digest.to_string());
            page.row("", format!("diffID {}", layer.diff_id));
            let size = BinaryBytes(layer.uncompressed_size);
            page.row(
                "",
                format!("{} bytes of {size}, from {}", layer.size, layer.step),
            );
        }
        page.print()
    }
}

/// Finds the recipe of that name or path, and the source that the user names, or else the recipe.
pub(super) fn named_recipe(
    name: &str,
    source: &options::Source,
    set: &BTreeMap<String, String>,
    platform: &Platform,
    cache: &Path,
    progress: &dyn Progress,
) -> anyhow::Result<(Found, Resolved, Option<Source>)> {
    let found = recipe::named(name).context("cannot use the recipe")?;
    let (resolved, source) = source_for(&found, source, set, platform, cache, progress)?;
    Ok((found, resolved, source))
}

/// Makes the recipe out, and checks out the source that the user names, or else the recipe.
pub(super) fn source_for(
    found: &Found,
    source: &options::Source,
    set: &BTreeMap<String, String>,
    platform: &Platform,
    cache: &Path,
    progress: &dyn Progress,
) -> anyhow::Result<(Resolved, Option<Source>)> {
    let resolved = made_out(found, platform, set)?;
    let location = source.location.clone().or_else(|| resolved.source.clone());
    let source = match (location, source.revision.clone()) {
        (None, None) if found.recipe.is_self_contained() => None,
        (Some(location), Some(revision)) => {
            Some(check_out(location, revision, source, cache, progress)?)
        }
        (None, _) => bail!("nobody says where the source is: name it with --source"),
        (_, None) => bail!("nobody says which revision to build: name it with --revision"),
    };
    Ok((resolved, source))
}

fn made_out(
    found: &Found,
    platform: &Platform,
    set: &BTreeMap<String, String>,
) -> anyhow::Result<Resolved> {
    let resolved = found.recipe.for_platform(platform, None, set);
    resolved.context("cannot use the recipe")
}

fn check_out(
    location: String,
    revision: String,
    options: &options::Source,
    cache: &Path,
    progress: &dyn Progress,
) -> anyhow::Result<Source> {
    let request = source::Request {
        location,
        revision,
        mirrors: options.mirrors.clone(),
    };
    Source::checkout(&request, cache, progress).context("cannot check out the source")
}

/// How the name of a folder begins in which an output is made.
const STAGED: &str = ".reprove-output-";

/// An output that is made in a folder of its own, to appear whole in its place.
struct Staged {
    output: Output,
    _folder: tempfile::TempDir,
    _unfinished: interrupt::Unfinished,
    /// Says that it is worked in, to whoever looks for what was abandoned.
    _held: fs::File,
}

impl Staged {
    /// Makes a folder beside the output, which is then moved without being copied.
    fn beside(output: &Output) -> anyhow::Result<Self> {
        let parent = match output.path().parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let cannot_write = || format!("cannot write to {}", parent.display());
        fs::create_dir_all(parent).with_context(cannot_write)?;
        sweep(parent);
        let make = || tempfile::Builder::new().prefix(STAGED).tempdir_in(parent);
        let (folder, unfinished, held) = loop {
            let (folder, unfinished) = interrupt::unfinished(make).with_context(cannot_write)?;
            // Before it was held, another run may have taken it for abandoned.
            if let Some(held) = held(folder.path()).with_context(cannot_write)? {
                break (folder, unfinished, held);
            }
        };
        let path = folder.path().join("image");
        Ok(Self {
            output: match output {
                Output::Layout(_) => Output::Layout(path),
                Output::Archive(_) => Output::Archive(path),
            },
            _folder: folder,
            _unfinished: unfinished,
            _held: held,
        })
    }

    /// Moves what was made to its place, where nothing may have come up meanwhile.
    fn publish(self, output: &Output) -> anyhow::Result<()> {
        let (made, place) = (self.output.path(), output.path());
        renameat_with(CWD, made, CWD, place, RenameFlags::NOREPLACE)
            .with_context(|| format!("cannot write {}", place.display()))
    }
}

/// Holds a folder until the returned file is dropped; `None` where the folder is gone or another.
fn held(folder: &Path) -> io::Result<Option<fs::File>> {
    let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let file = match fs::File::open(folder) {
        Ok(file) => file,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    // Where there are no locks, nothing is found abandoned.
    let _ = flock(&file, FlockOperation::LockExclusive);
    let held = file.metadata()?;
    match fs::metadata(folder) {
        Ok(there) => Ok((there.dev() == held.dev() && there.ino() == held.ino()).then_some(file)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes what killed runs of this user have left in a folder: nobody holds it.
///
/// Whatever cannot be looked at or removed is in nobody's way.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_staged = entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(STAGED.as_bytes());
        let is_own = |found: fs::Metadata| found.is_dir() && found.uid() == geteuid().as_raw();
        if is_staged
            && entry.metadata().is_ok_and(is_own)
            && let Ok(file) = fs::File::open(entry.path())
            && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            output::log(&format!(
                "cannot remove {}: {error}",
                entry.path().display()
            ));
        }
    }
}

/// Reads `oci:DIR` or `oci-archive:FILE`.
fn parse_output(text: &str) -> Result<Output, String> {
    match text.split_once(':') {
        Some(("oci", path)) if !path.is_empty() => Ok(Output::Layout(PathBuf::from(path))),
        Some(("oci-archive", path)) if !path.is_empty() => Ok(Output::Archive(PathBuf::from(path))),
        _ => Err("write oci:DIR or oci-archive:FILE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_killed_runs_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let output = Output::Layout(folder.path().join("out"));
        let staged = Staged::beside(&output).unwrap();
        let abandoned = folder.path().join(format!("{STAGED}old"));
        let others = [".reprove-other", "own"].map(|name| folder.path().join(name));
        for path in others.iter().chain([&abandoned]) {
            fs::create_dir_all(path.join("image")).unwrap();
        }
        drop(Staged::beside(&output).unwrap());
        assert!(!abandoned.exists());
        assert!(others.iter().all(|path| path.join("image").exists()));
        assert!(staged.output.path().parent().unwrap().exists());
    }

    #[test]
    fn an_output_is_a_layout_or_an_archive() {
        let cases = [
            ("oci:a", Ok(Output::Layout("a".into()))),
            ("oci-archive:/b:c", Ok(Output::Archive("/b:c".into()))),
            ("oci:", Err("write oci:DIR or oci-archive:FILE".to_owned())),
            (
                "docker-archive:a",
                Err("write oci:DIR or oci-archive:FILE".to_owned()),
            ),
            ("a", Err("write oci:DIR or oci-archive:FILE".to_owned())),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_output(text), expected, "{text}");
        }
    }

    #[test]
    fn what_was_made_never_replaces_what_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let place = Output::Layout(directory.path().join("image"));
        let staged = Staged::beside(&place).unwrap();
        fs::create_dir(staged.output.path()).unwrap();
        fs::create_dir(place.path()).unwrap();
        assert!(staged.publish(&place).is_err());
        let left: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(left.len(), 1);
    }
}
