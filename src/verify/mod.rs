//! The flow: from a published image and its source to a report.

pub mod check;
mod contents;
mod inputs;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use contents::{Contents, Databases, Inside};
pub use inputs::{Inputs, NoMirrors, Workplace, inputs};

use crate::{
    compare::{self, Attribute, Bearing, Comparison, Side},
    dialect::{
        Compressor, TarDialect,
        detect::{Inferred, detect},
        gzip::GoLevel,
        tarsum::{self, ContextFile, ContextKind},
    },
    digest::Digest,
    explain,
    facts::{Built, Encoding, Origin, Outcome, Provider},
    image::{
        self, Access, EntryKind, EntryPath, Image, ImageName, Layer, Platform,
        config::Config,
        meeting::{Kept, Meeting},
        overlay::FileSystem,
        read_both, read_knowing, read_layers,
        reference::Selection,
    },
    inventory::{self, Inventory},
    material,
    pair::Pair,
    progress::Progress,
    rebuild,
    recipe::{self, Found, Resolved, TreeTrust},
    report::{
        Entries, Known, Report, account, fates, follow_links,
        model::{
            Counterfactual, EqualityFacts, Files, HistoryBinding, Inference, InferredFrom,
            MaterialUse, NamedBy, Owners, PolicyFacts, Proposal, RecipeFacts, Signature,
            SourceFacts, Subject, records,
        },
        text::shares,
    },
    source::{self, Mirror, Reachability, Source},
    verdict::{Acceptance, Case, Claim, Obstacle, ObstacleKind, Policy, Verdict, judge},
};

/// What the flow needs of the world around it.
pub struct World<'a> {
    /// Where repositories are kept between runs.
    pub cache: &'a Path,
    /// Where rebuilt images are made; emptied by whoever made it.
    pub scratch: &'a Path,
    /// How registries are reached, and the store for what they serve.
    pub access: &'a Access,
    /// Hears what goes on.
    pub progress: &'a dyn Progress,
    /// Tells the time.
    pub clock: fn() -> jiff::Timestamp,
}

/// What to compare.
pub struct DiffRequest {
    /// The first image.
    pub published: ImageName,
    /// The second image.
    pub rebuilt: ImageName,
    /// The platform; `None` for this machine's.
    pub platform: Option<Platform>,
    /// What may differ.
    pub policy: Policy,
    /// The command line, for the report.
    pub rerun: Vec<String>,
}

/// What to verify, and on whose word.
pub struct Request {
    /// The published image.
    pub image: ImageName,
    /// The repository, where the user names it.
    pub source: Option<String>,
    /// The revision, where the user names it.
    pub revision: Option<String>,
    /// The recipe, where the user names it: a built-in one's name, or a file.
    pub recipe: Option<String>,
    /// Whether a recipe that lies in the source tree may be followed.
    pub tree_recipe: TreeTrust,
    /// Values for the recipe's variables.
    pub variables: BTreeMap<String, String>,
    /// The platform; `None` for this machine's.
    pub platform: Option<Platform>,
    /// What may differ.
    pub policy: Policy,
    /// The tar dialect, where the user knows better than the published bytes.
    pub dialect: Option<TarDialect>,
    /// The compressor, where the user knows better than the published bytes.
    pub compressor: Option<Compressor>,
    /// Where repositories are to be read instead.
    pub source_mirrors: Vec<Mirror>,
    /// How the builder got at the source's files.
    pub context: rebuild::Context,
    /// The command line, for the report.
    pub rerun: Vec<String>,
}

/// Why there is no report: we could not find out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The published image could not be read.
    #[error("cannot read the published image")]
    Published(#[source] image::Error),
    /// The rebuilt image, or the second one, could not be read.
    #[error("cannot read the rebuilt image")]
    Rebuilt(#[source] image::Error),
    /// One of two images could not be read.
    #[error("cannot compare the images")]
    Images(#[source] image::Error),
    /// Two images could be read, and not be compared.
    #[error("cannot compare the images")]
    Compare(#[source] compare::Error),
    /// The recipe could not be read.
    #[error("cannot use the recipe")]
    Recipe(#[source] recipe::Error),
    /// The source could not be read.
    #[error("cannot check out the source")]
    Source(#[source] source::Error),
    /// It could not be found out where to ask for what the recipe takes from outside.
    #[error("cannot find out which mirrors to ask")]
    Mirrors(#[source] NoMirrors),
    /// What the recipe takes from outside could not be fetched.
    #[error("cannot fetch what the recipe takes from outside")]
    Material(#[source] material::Error),
    /// A base image could not be read.
    #[error("cannot read the base image {name}")]
    Base {
        /// Its name, with its digest.
        name: String,
        /// What is wrong with it.
        source: image::Error,
    },
    /// Commands cannot be run here.
    #[error("cannot run the commands of the build")]
    NoRuntime(#[source] rebuild::sandbox::NoRuntime),
    /// The rebuild could not be carried out.
    #[error("cannot rebuild the image")]
    Rebuild(#[source] rebuild::Error),
}

/// A report, and the entries that it accounts for.
#[derive(Debug)]
pub struct Listed {
    /// The report.
    pub report: Report,
    /// The entries of the published image; `None` where it was compared with nothing, or
    /// where they were not asked for.
    pub entries: Option<Entries>,
}

/// Whether [`Listed::entries`] are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// They are; the package databases are then read also where no file differs.
    Asked,
    /// They are not.
    NotAsked,
}

/// Compares two images that both exist, and judges what differs.
///
/// Nothing is said of any source: the verdict `reproduced` means that the second
/// image satisfies the policy as a copy of the first.
pub fn diff(request: &DiffRequest, world: &World<'_>) -> Result<Report, Error> {
    diff_listed(request, Listing::NotAsked, world).map(|listed| listed.report)
}

/// Does as [`diff`], and lists the entries of the first image where that is asked for.
pub fn diff_listed(
    request: &DiffRequest,
    listing: Listing,
    world: &World<'_>,
) -> Result<Listed, Error> {
    let mut report = Report::begun((world.clock)(), &request.policy, &request.rerun);
    let resolve = |name| {
        image::resolve(
            name,
            request.platform.as_ref(),
            world.access,
            world.progress,
        )
    };
    let images = Pair::new(
        resolve(&request.published).map_err(Error::Published)?,
        resolve(&request.rebuilt).map_err(Error::Rebuilt)?,
    );
    let images = images.as_ref().map(|image| &**image);
    let meeting = Meeting::new(Inventory::wants);
    let layers = read_both(images, world.progress, &meeting).map_err(Error::Images)?;
    let met = meeting.end();
    report.subject = subject(images.published, &layers.published).map_err(Error::Published)?;
    report.rebuilt = Some(subject(images.rebuilt, &layers.rebuilt).map_err(Error::Rebuilt)?);
    let comparison = compare::compare(Pair::new(
        Side {
            index: images.published.index(),
            ..side(images.published, &layers.published)
        },
        Side {
            index: images.rebuilt.index(),
            ..side(images.rebuilt, &layers.rebuilt)
        },
    ))
    .map_err(Error::Compare)?;
    let contents = contents(
        images,
        layers.as_ref().map(Vec::as_slice),
        &comparison,
        met.as_ref(),
        listing,
        world.progress,
    )?;
    let compared = Compared {
        comparison,
        contents,
        providers: BTreeMap::new(),
        chosen_times: &|_| false,
        listing: match listing {
            Listing::Asked => Some(Known::default()),
            Listing::NotAsked => None,
        },
    };
    conclude(report, compared, &layers.published, &request.policy, world)
}

/// Rebuilds a published image from its source, compares the two, and judges what differs.
///
/// Whatever keeps the source from being rebuilt is an answer: an inconclusive
/// report that says what would settle it.
pub fn verify(
    request: &Request,
    workplace: &Workplace<'_>,
    world: &World<'_>,
) -> Result<Report, Error> {
    verify_listed(request, Listing::NotAsked, workplace, world).map(|listed| listed.report)
}

/// Does as [`verify`], and lists the entries of the published image where that is asked for.
pub fn verify_listed(
    request: &Request,
    listing: Listing,
    workplace: &Workplace<'_>,
    world: &World<'_>,
) -> Result<Listed, Error> {
    let mut report = Report::begun((world.clock)(), &request.policy, &request.rerun);
    let resolved = image::resolve(
        &request.image,
        request.platform.as_ref(),
        world.access,
        world.progress,
    );
    let published = match resolved {
        Ok(image) => image,
        Err(
            error @ (image::Error::AmbiguousPlatform { .. } | image::Error::RunnableUnknown { .. }),
        ) => {
            report.subject.name = request.image.to_string();
            report.obstacles.push(Obstacle {
                kind: ObstacleKind::AmbiguousPlatform,
                what: error.to_string(),
                remedy: "name the manifest by its digest".to_owned(),
            });
            return Ok(inconclusive(report, world));
        }
        Err(error) => return Err(Error::Published(error)),
    };
    let config = published
        .config()
        .parse("the config")
        .map_err(Error::Published)?;
    let layers = read_layers(&[&*published], world.progress)
        .map_err(Error::Published)?
        .remove(0);
    report.subject = subject(&*published, &layers).map_err(Error::Published)?;
    report.proposed = proposal(&*published, &config);

    let mut checked_out = None;
    let Some(found) = find_recipe(request, &mut report, &mut checked_out, world)? else {
        return Ok(inconclusive(report, world));
    };
    let resolved = found
        .recipe
        .for_platform(&config.platform, request.image.tag(), &request.variables)
        .map_err(Error::Recipe)?;
    report.recipe = Some(RecipeFacts::of(&found, &resolved));
    let is_self_contained = request.source.is_none() && found.recipe.is_self_contained();
    let source = match checked_out {
        Some(source) => Some(source),
        None if is_self_contained => None,
        None => match check_out(request, Some(&resolved), &mut report, world)? {
            Some(source) => Some(source),
            None => return Ok(inconclusive(report, world)),
        },
    };
    let inputs = inputs(
        &found,
        &resolved,
        &config.platform,
        workplace,
        world.scratch,
        world.progress,
    )?;
    let inputs = match inputs {
        Ok(inputs) => inputs,
        Err(obstacle) => {
            report.obstacles.push(obstacle);
            return Ok(inconclusive(report, world));
        }
    };
    if let Some(inputs) = &inputs {
        report.materials.clone_from(&inputs.materials);
        let layers = layers.iter().map(|layer| (layer.digest, layer.diff_id));
        let layers: Vec<_> = layers.collect();
        let base = inputs::circular_base(
            inputs,
            &resolved.build,
            source.as_ref(),
            &config.platform,
            &layers,
        );
        let circular = inputs::circular(&inputs.materials, &layers);
        if let Some(obstacle) = circular.or(base.map_err(Error::Rebuild)?) {
            report.obstacles.push(obstacle);
            return Ok(inconclusive(report, world));
        }
    }
    let outside = inputs
        .as_ref()
        .map(|inputs| inputs.outside(&resolved, workplace, world.scratch));
    rebuilt(
        request,
        &resolved,
        &Given {
            source: source.as_ref(),
            outside: outside.as_ref(),
        },
        &Published {
            image: &*published,
            layers: &layers,
            config: &config,
        },
        report,
        listing,
        world,
    )
}

/// The published image, read.
struct Published<'a> {
    image: &'a dyn Image,
    layers: &'a [Arc<Layer>],
    config: &'a Config,
}

/// What the image is rebuilt from.
struct Given<'a> {
    source: Option<&'a Source>,
    outside: Option<&'a rebuild::Outside<'a>>,
}

/// Returns the recipe to follow: the user's, the one for the image, or the source tree's.
///
/// The last one needs the source, which is then left in `checked_out`. `None`
/// where there is none; the report says what would settle it.
fn find_recipe(
    request: &Request,
    report: &mut Report,
    checked_out: &mut Option<Source>,
    world: &World<'_>,
) -> Result<Option<Found>, Error> {
    if let Some(name) = &request.recipe {
        return recipe::named(name).map(Some).map_err(Error::Recipe);
    }
    if let Some(repository) = request.image.repository()
        && let Some(found) = recipe::for_image(&repository).map_err(Error::Recipe)?
    {
        return Ok(Some(found));
    }
    if request.tree_recipe == TreeTrust::Trusted {
        let Some(source) = check_out(request, None, report, world)? else {
            return Ok(None);
        };
        let found = recipe::in_tree(&source, request.tree_recipe).map_err(Error::Recipe)?;
        if found.is_some() {
            *checked_out = Some(source);
            return Ok(found);
        }
    }
    report.obstacles.push(Obstacle {
        kind: ObstacleKind::NoRecipe,
        what: format!("no recipe says how {} is built", request.image),
        remedy: "name one with --recipe; `reprove recipe list` shows the built-in ones".to_owned(),
    });
    Ok(None)
}

/// Checks out the source that the user names, or else the recipe, or else the image.
///
/// `None` where nobody names one; the report says what would settle it.
fn check_out(
    request: &Request,
    recipe: Option<&Resolved>,
    report: &mut Report,
    world: &World<'_>,
) -> Result<Option<Source>, Error> {
    let proposed = &report.proposed;
    let repository = (request
        .source
        .clone()
        .map(|location| (location, NamedBy::User)))
    .or_else(|| Some((recipe?.source.clone()?, NamedBy::Recipe)))
    .or_else(|| Some((proposed.source.clone()?, NamedBy::Image)));
    let revision = (request
        .revision
        .clone()
        .map(|revision| (revision, NamedBy::User)))
    .or_else(|| Some((proposed.revision.clone()?, NamedBy::Image)))
    .or_else(|| Some((recipe?.revision.as_ref()?.revision.clone(), NamedBy::Recipe)));
    let missing = |what: &str, remedy: &str| Obstacle {
        kind: ObstacleKind::NoSource,
        what: what.to_owned(),
        remedy: remedy.to_owned(),
    };
    let Some((location, repository_named_by)) = repository else {
        report.obstacles.push(missing(
            "nobody says where the source of this image is",
            "name the repository with --source",
        ));
        return Ok(None);
    };
    let Some((revision, revision_named_by)) = revision else {
        report.obstacles.push(missing(
            "nobody says which revision this image was built from",
            "name the commit, tag or branch with --revision",
        ));
        return Ok(None);
    };
    let asked = source::Request {
        location,
        revision,
        mirrors: request.source_mirrors.clone(),
    };
    let source = Source::checkout(&asked, world.cache, world.progress).map_err(Error::Source)?;
    let facts = SourceFacts {
        facts: source.facts().clone(),
        repository_named_by,
        revision_named_by,
    };
    report.obstacles.extend(word_obstacles(&facts));
    report.source = Some(facts);
    Ok(Some(source))
}

/// Returns why the source may not be the one, whatever the rebuild gives.
fn word_obstacles(source: &SourceFacts) -> Vec<Obstacle> {
    let mut obstacles = Vec::new();
    if source.repository_named_by == NamedBy::Image {
        obstacles.push(Obstacle {
            kind: ObstacleKind::SelfDeclared,
            what: format!(
                "only the image itself says that it comes from {}",
                source.facts.named
            ),
            remedy: "name the repository with --source, if you trust it to be the one".to_owned(),
        });
    }
    if source.revision_named_by == NamedBy::Recipe {
        obstacles.push(Obstacle {
            kind: ObstacleKind::GuessedRevision,
            what: format!(
                "that {} is the revision is a guess from the image's tag",
                source.facts.revision
            ),
            remedy: "name the commit that the image was built from with --revision".to_owned(),
        });
    }
    let commit = source.facts.commit;
    let unreachable = match source.facts.reachability {
        Reachability::From { .. } => None,
        Reachability::Unreachable => Some("no branch or tag of the repository leads to"),
        Reachability::HistoryCutOff => Some(
            "the repository's history is cut off before it could be seen whether a branch or tag leads to",
        ),
    };
    if let (Some(unreachable), NamedBy::Recipe | NamedBy::Image) =
        (unreachable, source.revision_named_by)
    {
        obstacles.push(Obstacle {
            kind: ObstacleKind::Unreachable,
            what: format!("{unreachable} {commit}: hosts also serve commits of forks"),
            remedy: format!(
                "name the commit with --revision {commit}, if you trust it to be the one"
            ),
        });
    }
    obstacles
}

/// Rebuilds the image, compares it with the published one, and judges.
fn rebuilt(
    request: &Request,
    resolved: &Resolved,
    given: &Given<'_>,
    published: &Published<'_>,
    mut report: Report,
    listing: Listing,
    world: &World<'_>,
) -> Result<Listed, Error> {
    let inferred = detect(published.layers, &published.image.config().bytes);
    let encoding = Encoding {
        dialect: request
            .dialect
            .or(inferred.dialect)
            .unwrap_or(TarDialect::BuildKit),
        compressor: request
            .compressor
            .or(inferred.compressor)
            .unwrap_or(Compressor::GoGzip(GoLevel::DEFAULT)),
    };
    if resolved.build.takes_encoding() {
        report.inferred = inferences(request, &inferred, encoding);
    }
    let asked = rebuild::Request {
        build: &resolved.build,
        source: given.source,
        platform: &published.config.platform,
        encoding,
        context: request.context,
        outside: given.outside,
    };
    let directory = world.scratch.join("rebuilt");
    let output = rebuild::Output::Layout(directory.clone());
    let built = match rebuild::rebuild(&asked, &output, world.progress).map_err(Error::Rebuild)? {
        Outcome::Built(built) => built,
        Outcome::Failed(failure) => {
            report.run.log = failure.log.and_then(|log| self::log(log, given));
            report.obstacles.push(Obstacle {
                kind: ObstacleKind::BuildFailed,
                what: format!("{}: {}", failure.step, failure.problem),
                remedy: "see whether the revision and the recipe are the right ones".to_owned(),
            });
            return Ok(inconclusive(report, world));
        }
    };
    let name = ImageName::Layout {
        directory,
        selection: Selection::default(),
    };
    let image = image::resolve(
        &name,
        Some(&published.config.platform),
        world.access,
        world.progress,
    )
    .map_err(Error::Rebuilt)?;
    let of_published = if published.image.name().has_bytes() {
        published.layers
    } else {
        &[]
    };
    let known = [of_published, &built.scanned].concat();
    let layers = read_knowing(&*image, &known, world.progress).map_err(Error::Rebuilt)?;
    let rebuilt = subject(&*image, &layers).map_err(Error::Rebuilt)?;
    // Where it was made says nothing of what it is.
    report.rebuilt = Some(Subject {
        name: REBUILT.to_owned(),
        index_digest: None,
        ..rebuilt
    });
    for layer in &built.layers {
        for (&origin, bytes) in &layer.bytes {
            *report.origin.entry(origin).or_default() += bytes;
        }
    }
    if let Some(environment) = &built.environment {
        report.run.log = log(environment.log, given);
        report.environment.build = Some((**environment).clone());
    }
    if let Some(source) = given.source {
        report.history =
            history_bindings(published.config, &built, source).map_err(Error::Source)?;
    }
    let comparison = compare::compare(Pair::new(
        side(published.image, published.layers),
        side(&*image, &layers),
    ))
    .map_err(Error::Compare)?;
    report.files = files(&layers, &built, &comparison, &resolved.recipe);
    let made_time = |path: &EntryPath| {
        built
            .layers
            .iter()
            .any(|layer| layer.made_times.contains(path))
    };
    let contents = contents(
        Pair::new(published.image, &*image),
        Pair::new(published.layers, &layers),
        &comparison,
        None,
        listing,
        world.progress,
    )?;
    if !comparison.equality.layers
        && built
            .layers
            .iter()
            .any(|layer| !layer.made_times.is_empty())
    {
        report.counterfactual =
            counterfactual(&asked, &built.replaced, published.layers).map_err(Error::Rebuild)?;
    }
    report.trust = trust(&report, &inferred);
    let listing = match listing {
        Listing::Asked => {
            let systems = comparison.systems.as_ref();
            let system = systems.map(|systems| &systems.rebuilt);
            Some(Known {
                origins: origins(&layers, system, &built).map_err(Error::Compare)?,
                providers: equal_to(&built),
                ..Known::default()
            })
        }
        Listing::NotAsked => None,
    };
    let compared = Compared {
        comparison,
        contents,
        providers: providers(&layers, &built),
        chosen_times: &made_time,
        listing,
    };
    conclude(report, compared, published.layers, &request.policy, world)
}

/// Returns where what a container sees of the rebuilt image comes from, by path.
///
/// `system` is what the layers make, where that was worked out.
fn origins(
    layers: &[Arc<Layer>],
    system: Option<&FileSystem>,
    built: &Built,
) -> Result<BTreeMap<EntryPath, Origin>, compare::Error> {
    let system = FileSystem::known(system, layers).map_err(compare::Error::Rebuilt)?;
    let origins = system.paths().filter_map(|(path, node)| {
        let made = built.layers.get(node.entry?.layer)?;
        Some((path.clone(), *made.origins.get(path)?))
    });
    Ok(origins.collect())
}

/// Returns what contents equal, as far as the rebuild knows.
///
/// Of source files with the same content the first is told; that of empty ones says nothing.
fn equal_to(built: &Built) -> BTreeMap<Digest, Provider> {
    let inputs = built.inputs.iter().filter(|(_, input)| input.size > 0);
    let inputs = inputs.rev().map(|(path, input)| {
        let path = path.clone();
        (input.digest, Provider::Source { path })
    });
    let mut equal: BTreeMap<_, _> = inputs.collect();
    let known = built.providers.iter();
    equal.extend(known.map(|(digest, provider)| (*digest, provider.clone())));
    equal
}

/// Counts the rebuilt image's files by origin, and those that the published image has too.
///
/// Where a file has several names it is called as the recipe is, if one of them is that.
fn files(
    layers: &[Arc<Layer>],
    built: &Built,
    comparison: &Comparison,
    recipe: &str,
) -> BTreeMap<Origin, Files> {
    let differing: BTreeSet<&EntryPath> = (comparison.differences.iter())
        .filter(|difference| match difference.attribute {
            Attribute::Presence | Attribute::Type => difference.bearing == Bearing::Files,
            Attribute::Content => true,
            _ => false,
        })
        .filter_map(|difference| difference.path())
        .collect();
    let mut files: BTreeMap<Origin, Files> = BTreeMap::new();
    let mut largest: BTreeMap<Origin, (u64, &EntryPath)> = BTreeMap::new();
    let mut called: BTreeMap<&EntryPath, &EntryPath> = BTreeMap::new();
    for (layer, made) in layers.iter().zip(&built.layers) {
        for entry in &layer.entries {
            let size = match &entry.kind {
                EntryKind::File { size, .. } => *size,
                EntryKind::HardLink { target } if entry.path.file_name() == recipe.as_bytes() => {
                    called.insert(target, &entry.path);
                    continue;
                }
                _ => continue,
            };
            let Some(&origin) = made.origins.get(&entry.path) else {
                continue;
            };
            let of_origin = files.entry(origin).or_default();
            of_origin.all += 1;
            if differing.contains(&entry.path) {
                continue;
            }
            of_origin.same += 1;
            let known = largest.entry(origin).or_insert((size, &entry.path));
            if size > known.0 {
                *known = (size, &entry.path);
            }
        }
    }
    for (origin, (_, path)) in largest {
        let path = called.get(path).copied().unwrap_or(path);
        files.entry(origin).or_default().largest = Some(path.to_string());
    }
    files
}

/// Returns what each file of the rebuilt image equals, where that is known.
fn providers<'a>(
    layers: &'a [Arc<Layer>],
    built: &'a Built,
) -> BTreeMap<&'a EntryPath, &'a Provider> {
    let entries = layers.iter().flat_map(|layer| &layer.entries);
    entries
        .filter_map(|entry| match &entry.kind {
            EntryKind::File { content, .. } => Some((&entry.path, built.providers.get(content)?)),
            _ => None,
        })
        .collect()
}

/// Returns the file with all that commands wrote.
fn log(digest: Digest, given: &Given<'_>) -> Option<String> {
    let store = given.outside?.store;
    Some(store.path(&digest).display().to_string())
}

/// What the report calls the image that was made.
const REBUILT: &str = "rebuilt";

/// Returns what the rebuild was told by the published image, or by the user in its stead.
fn inferences(request: &Request, inferred: &Inferred, encoding: Encoding) -> Vec<Inference> {
    let from = |given: bool, seen: bool| match (given, seen) {
        (true, _) => InferredFrom::User,
        (false, true) => InferredFrom::Published,
        (false, false) => InferredFrom::Default,
    };
    vec![
        Inference {
            what: "tar dialect".to_owned(),
            value: encoding.dialect.to_string(),
            from: from(request.dialect.is_some(), inferred.dialect.is_some()),
            evidence: inferred.evidence.clone(),
        },
        Inference {
            what: "compressor".to_owned(),
            value: encoding.compressor.to_string(),
            from: from(request.compressor.is_some(), inferred.compressor.is_some()),
            evidence: Vec::new(),
        },
    ]
}

/// Returns, for every published history line with a hash, whether a file of the source has it.
///
/// The classic builder hashes a file as it stands in the context: with the modes
/// of a checkout, or of `git archive`.
fn history_bindings(
    config: &Config,
    built: &Built,
    source: &Source,
) -> Result<Vec<HistoryBinding>, source::Error> {
    const MODES: [u32; 8] = [
        0o644, 0o755, 0o664, 0o775, 0o100_644, 0o100_755, 0o100_664, 0o100_775,
    ];
    let mut bindings = Vec::new();
    for line in config
        .history
        .iter()
        .filter_map(|step| step.created_by.as_deref())
    {
        let Some(("file", hash)) = tarsum::in_history(line) else {
            continue;
        };
        let mut file = None;
        'inputs: for (path, input) in &built.inputs {
            // The context may be a folder of the tree, and its files are named from there.
            let name = path.rsplit('/').next().unwrap_or(path);
            for mode in MODES {
                let context_file = ContextFile {
                    path: name.as_bytes(),
                    mode,
                    kind: ContextKind::File { size: input.size },
                };
                let content = source.open(path)?;
                let sum = tarsum::of_file(&context_file, content)
                    .expect("an object that was read whole can be read again");
                if sum == hash {
                    file = Some(path.clone());
                    break 'inputs;
                }
            }
        }
        bindings.push(HistoryBinding {
            line: line.to_owned(),
            source_file: file,
        });
    }
    Ok(bindings)
}

/// Returns what the layers would be with the published times in place of made-up ones.
fn counterfactual(
    asked: &rebuild::Request<'_>,
    replaced: &BTreeMap<String, Vec<u8>>,
    published: &[Arc<Layer>],
) -> Result<Option<Counterfactual>, rebuild::Error> {
    let times: Vec<BTreeMap<EntryPath, i64>> = published
        .iter()
        .map(|layer| {
            let times = layer.entries.iter();
            times
                .map(|entry| (entry.path.clone(), entry.mtime.seconds))
                .collect()
        })
        .collect();
    let Some(made) = rebuild::counterfactual(asked, replaced, &times)? else {
        return Ok(None);
    };
    let same = |layer: &dyn Fn(usize) -> bool| {
        made.layers.len() == published.len() && (0..published.len()).all(layer)
    };
    Ok(Some(Counterfactual {
        times_taken: made.layers.iter().map(|layer| layer.times_taken).sum(),
        layers: same(&|index| made.layers[index].diff_id == published[index].diff_id),
        blobs: same(&|index| made.layers[index].digest == published[index].digest),
    }))
}

/// Returns what has still to be trusted, whatever the verdict.
fn trust(report: &Report, inferred: &Inferred) -> Vec<String> {
    let mut lines = Vec::new();
    let share = |origin| report.origin.get(&origin).copied().unwrap_or(0);
    if share(Origin::Opaque) > 0 {
        lines.push(
            "binaries and archives committed to the source tree or pinned by hash alone: who made them, and from what, is not shown here"
                .to_owned(),
        );
    }
    if let Some(build) = &report.environment.build {
        let packages = report
            .materials
            .iter()
            .filter(|material| material.used_as == MaterialUse::Package)
            .count();
        lines.push(format!(
            "the {packages} packages that it was built with, compilers among them: the distribution's word for them was taken, and they were not rebuilt"
        ));
        let mut bases: Vec<&str> = report
            .materials
            .iter()
            .filter(|material| material.used_as == MaterialUse::Base)
            .map(|material| material.name.as_str())
            .collect();
        bases.dedup();
        if !bases.is_empty() {
            lines.push(format!(
                "the base images, which were taken as they are: {}",
                bases.join(", ")
            ));
        }
        let unsigned = report
            .materials
            .iter()
            .filter(|material| !matches!(material.signature, Signature::Good { .. }));
        match unsigned.count() {
            0 => {}
            count => lines.push(format!(
                "{count} of {} materials, which no signature was seen to cover",
                report.materials.len()
            )),
        }
        lines.push(format!(
            "{} {} and this machine's kernel, which kept the build to itself",
            build.sandbox.runtime, build.sandbox.version
        ));
    }
    if let Some(recipe) = &report.recipe {
        for skipped in recipe
            .build
            .overrides()
            .iter()
            .filter_map(|it| it.skips.as_ref())
        {
            lines.push(format!(
                "what the source would have checked itself, and an override left out: {skipped}"
            ));
        }
    }
    if share(Origin::Tree) > 0 {
        lines.push("the source's own honesty: what its text does was not judged".to_owned());
    }
    if inferred.dialect.is_some() && !report.inferred.is_empty() {
        lines.push(
            "nothing for the inferred encodings: they choose among known ways of packing the same files"
                .to_owned(),
        );
    }
    match &report.source {
        Some(_) => lines.push("git's SHA-1 for the identity of the source".to_owned()),
        None => lines.push("the recipe itself, which is all the source that there is".to_owned()),
    }
    lines.push(format!(
        "{} {}, and the machine that it ran on",
        report.environment.tool, report.environment.version
    ));
    lines
}

/// Two images, compared as far as files and their insides.
struct Compared<'a> {
    comparison: Comparison,
    contents: Contents,
    /// What each file of the rebuilt image equals, where that is known.
    providers: BTreeMap<&'a EntryPath, &'a Provider>,
    /// Says of which paths the rebuild had to choose the modification time.
    chosen_times: &'a dyn Fn(&EntryPath) -> bool,
    /// What the rebuild knows of the entries, where they are to be listed.
    listing: Option<Known>,
}

/// Fills in what a comparison found and what the policy makes of it.
fn conclude(
    mut report: Report,
    compared: Compared<'_>,
    published: &[Arc<Layer>],
    policy: &Policy,
    world: &World<'_>,
) -> Result<Listed, Error> {
    let Compared {
        mut comparison,
        contents,
        providers,
        chosen_times,
        listing,
    } = compared;
    let findings = explain::findings(
        std::mem::take(&mut comparison.differences),
        &explain::Known {
            chosen_times,
            examined: &|location| contents.examined(location),
        },
    );
    let equality = comparison.equality.strongest();
    let today = (world.clock)()
        .to_zoned_datetime(jiff::tz::TimeZone::UTC)
        .date();
    let judgement = {
        let claims: Vec<Claim<'_>> = findings.iter().map(Claim::of).collect();
        let pins = report.pins();
        let case = Case {
            equality,
            config: comparison.config,
            claims: &claims,
            obstacles: &report.obstacles,
            evidence: report.evidence(&pins),
        };
        judge(&case, policy, today)
    };
    report.verdict = judgement.verdict;
    if matches!(
        judgement.verdict,
        Verdict::Reproduced | Verdict::ReproducedWithWaivers
    ) {
        report
            .obstacles
            .retain(|obstacle| obstacle.kind != ObstacleKind::GuessedRevision);
    }
    report.equality = Some(EqualityFacts {
        strongest: equality,
        holds: comparison.equality,
        config_grade: comparison.config,
    });
    report.layers.clone_from(&comparison.layers);
    let mut fates = fates(&findings, &judgement.acceptances);
    let system = comparison.systems.take().map(|systems| systems.published);
    if let Some(system) = &system {
        follow_links(&mut fates, published, system);
    }
    // It is large where there are many files.
    let system = system.filter(|_| listing.is_some());
    (report.coverage, report.tree) = account(published, &fates);
    let owned = |(path, fate): (&EntryPath, _)| (path.clone(), fate);
    let listing = listing.map(|known| Known {
        fates: fates.into_iter().map(owned).collect(),
        ..known
    });
    report.policy = PolicyFacts::of(policy, Some(&judgement));
    let Contents {
        mut files,
        inventories,
    } = contents;
    report.packages = inventory::drift(inventories.as_ref());
    report.unread = inventories
        .as_ref()
        .map(|inventory| inventory.problems().to_vec());
    (report.findings, report.causes) = records(
        findings,
        &judgement,
        |location| match files.remove(location) {
            Some(Inside::Seen { content, .. }) => (Some(content), None),
            Some(Inside::NotSeen(why)) => (None, Some(why)),
            Some(Inside::Alone(_)) | None => (None, None),
        },
        &Owners {
            inventories: inventories.as_ref(),
            providers,
        },
    );
    report.summary = summary(&report);
    finish(&mut report, world);
    let entries = listing.map(|known| {
        let known = Known {
            made: report.subject.layers.clone(),
            inventory: inventories.published,
            ..known
        };
        Entries::of(published, system, known)
    });
    let entries = entries.transpose();
    let entries = entries.map_err(|error| Error::Compare(compare::Error::Published(error)))?;
    Ok(Listed { report, entries })
}

/// Reads again what is needed to say what differs inside of files, and whose they are.
fn contents(
    images: Pair<&dyn Image>,
    layers: Pair<&[Arc<Layer>]>,
    comparison: &Comparison,
    met: Option<&Kept>,
    listing: Listing,
    progress: &dyn Progress,
) -> Result<Contents, Error> {
    let databases = match listing {
        Listing::Asked => Databases::Always,
        Listing::NotAsked => Databases::WhereFilesDiffer,
    };
    contents::contents(images, layers, comparison, met, databases, progress).map_err(|failed| {
        match failed {
            contents::Failed::Published(error) => Error::Published(error),
            contents::Failed::Rebuilt(error) => Error::Rebuilt(error),
        }
    })
}

/// Returns a report without a comparison.
fn inconclusive(mut report: Report, world: &World<'_>) -> Listed {
    report.verdict = Verdict::Inconclusive;
    report.summary = summary(&report);
    finish(&mut report, world);
    Listed {
        report,
        entries: None,
    }
}

fn finish(report: &mut Report, world: &World<'_>) {
    let elapsed = (world.clock)().duration_since(report.run.started_at);
    report.run.duration_in_milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(0);
}

/// Returns the verdict's qualifications in one sentence.
fn summary(report: &Report) -> String {
    let mut parts = Vec::new();
    match &report.equality {
        None => parts.extend(
            report
                .obstacles
                .first()
                .map(|obstacle| obstacle.what.clone()),
        ),
        Some(equality) => {
            parts.push(format!(
                "equality {}, config {}, policy {}",
                equality.strongest, equality.config_grade, report.policy.name
            ));
            let rejected = report.findings.iter().filter(|finding| {
                matches!(
                    finding.acceptance,
                    Acceptance::Rejected | Acceptance::Expired(_)
                )
            });
            match (rejected.count(), report.findings.len()) {
                (_, 0) => {}
                (0, all) => parts.push(format!("{all} accepted differences")),
                (rejected, all) => {
                    parts.push(format!("{rejected} of {all} differences not accepted"));
                }
            }
            if let Some(first) = report.policy.unmet.first() {
                parts.push(format!(
                    "{} of the policy's requirements not met: {}",
                    report.policy.unmet.len(),
                    first.requirement
                ));
            }
        }
    }
    if !report.origin.is_empty() {
        parts.push(format!("origin {}", shares(&report.origin)));
    }
    if !report.inferred.is_empty() {
        let inferred: Vec<String> = report.inferred.iter().map(ToString::to_string).collect();
        parts.push(format!("inferred {}", inferred.join(" and ")));
    }
    parts.join("; ")
}

/// Returns what is compared of an image.
fn side<'a>(image: &'a dyn Image, layers: &'a [Arc<Layer>]) -> Side<'a> {
    Side {
        index: None,
        manifest: image.manifest(),
        config: image.config(),
        layers,
    }
}

/// Returns what the report says of an image.
fn subject(image: &dyn Image, layers: &[Arc<Layer>]) -> Result<Subject, image::Error> {
    let config = image
        .config()
        .parse(&format!("the config of {}", image.name()))?;
    Ok(Subject::of(image, config, layers))
}

/// Returns what the image itself says of its source: annotations first, then labels.
pub fn proposal(image: &dyn Image, config: &Config) -> Proposal {
    let manifest: serde_json::Value = image
        .manifest()
        .and_then(|manifest| serde_json::from_slice(&manifest.bytes).ok())
        .unwrap_or_default();
    let index: serde_json::Value = image
        .index()
        .and_then(|index| serde_json::from_slice(&index.bytes).ok())
        .unwrap_or_default();
    let digest = image.manifest().map(|manifest| manifest.digest.to_string());
    let entry = index["manifests"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|entry| entry["digest"].as_str() == digest.as_deref());
    let said = |key: &str| {
        let annotation =
            |of: &serde_json::Value| of.get("annotations")?.get(key)?.as_str().map(str::to_owned);
        entry
            .and_then(annotation)
            .or_else(|| annotation(&manifest))
            .or_else(|| config.labels.get(key).cloned())
            .filter(|text| !text.is_empty())
    };
    // Docker Official Images write REPOSITORY#COMMIT:DIRECTORY.
    let repository = |text: String| {
        text.split_once('#')
            .map_or_else(|| text.clone(), |(repository, _)| repository.to_owned())
    };
    Proposal {
        source: said("org.opencontainers.image.source").map(repository),
        revision: said("org.opencontainers.image.revision"),
    }
}
