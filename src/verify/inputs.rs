//! Inputs: what a recipe takes from outside → bytes in the store, graded, or what is missing.

use std::{collections::BTreeSet, path::Path};

use super::Error;
use crate::{
    digest::{DiffId, Digest},
    image::{self, Access, ImageName, Platform, registry::Refusal},
    lock::{self, Coverage},
    material::{self, Fetched, Mirrors, Network},
    progress::Progress,
    rebuild::{
        self, Conditions, Stages,
        sandbox::{Limits, Runtime},
    },
    recipe::{
        Base, Build, Found, Resolved,
        lockfile::{Grade, Locked, Lockfile, Pin, Suite, Validity},
    },
    report::model::{Material, MaterialUse, Signature},
    source::Source,
    store::Store,
    verdict::{Obstacle, ObstacleKind},
};

/// What builds that run commands are made with.
#[derive(Clone, Copy)]
pub struct Workplace<'a> {
    /// Keeps materials and results.
    pub store: &'a Store,
    /// What was built before.
    pub stages: &'a Stages,
    /// Says where materials are asked for, where there are any.
    pub mirrors: &'a dyn Fn() -> Result<Mirrors, NoMirrors>,
    /// How registries are asked for base images.
    pub registries: &'a Access,
    /// The keys that may sign indexes; `None` for the distributions' on this host.
    pub keyring: Option<&'a Path>,
    /// What commands see of the machine.
    pub conditions: &'a Conditions,
    /// What commands may use up.
    pub limits: Limits,
}

/// Why it is not known where to ask for materials.
pub type NoMirrors = Box<dyn std::error::Error + Send + Sync>;

/// All that a build takes from outside, at hand.
#[derive(Debug)]
pub struct Inputs {
    lock: Lockfile,
    runtime: Runtime,
    signed: BTreeSet<Digest>,
    /// The pins, as the report has them.
    pub materials: Vec<Material>,
    bases: Vec<BaseImage>,
}

/// An image that the recipe has for one that a Dockerfile names.
#[derive(Debug)]
struct BaseImage {
    /// As FROM names it.
    named: String,
    /// The image, with its digest.
    image: ImageName,
    layers: Vec<(Digest, DiffId)>,
}

/// Brings in what the recipe takes from outside; `None` where its kind takes nothing.
///
/// That a pin is missing or its bytes are gone is an obstacle, which the inner
/// `Err` is. That no runtime works here is an error.
pub fn inputs(
    found: &Found,
    resolved: &Resolved,
    platform: &Platform,
    workplace: &Workplace<'_>,
    scratch: &Path,
    progress: &dyn Progress,
) -> Result<Result<Option<Inputs>, Obstacle>, Error> {
    if resolved.build.commands().is_none() {
        return Ok(Ok(None));
    }
    let host = Platform::host();
    if (&host.os, &host.architecture) != (&platform.os, &platform.architecture) {
        return Ok(Err(Obstacle {
            kind: ObstacleKind::ForeignPlatform,
            what: format!("this machine, which is {host}, cannot run a build for {platform}"),
            remedy: format!("run it on a machine that is {platform}"),
        }));
    }
    let takes_nothing = found.recipe.toolchain().is_none() && found.recipe.files().is_empty();
    let lock = match &found.lock {
        Some(lock) => lock.lock.clone(),
        // Bases are pinned by the recipe itself.
        None if takes_nothing => Lockfile::default(),
        None => return Ok(Err(not_locked(found, "has no lock"))),
    };
    if let Some(missing) = not_pinned(found, &lock, platform) {
        return Ok(Err(not_locked(found, &missing)));
    }
    let fetch = |pins: &[Pin]| fetched(pins, workplace, progress);
    let fetched = fetch(&lock.pins(platform))?;
    if let Some(gone) = fetched.gone.first() {
        let answers: Vec<String> = gone.answers.iter().map(ToString::to_string).collect();
        return Ok(Err(Obstacle {
            kind: ObstacleKind::MaterialGone,
            what: format!(
                "{} ({}) is gone: {}",
                gone.pin.name,
                gone.pin.digest,
                answers.join("; ")
            ),
            remedy: "name a mirror that has it with --mirror".to_owned(),
        }));
    }
    let mut materials: Vec<Material> = lock.file_pins().iter().map(file).collect();
    if let Some(locked) = lock.platform(platform) {
        materials.extend(packages(locked, &fetch, workplace, scratch, progress));
    }
    let mut images = Vec::new();
    for (named, image) in base_names(&resolved.build) {
        match base(named, image, platform, workplace.registries, progress)? {
            Ok((base, material)) => {
                images.push(base);
                materials.push(material);
            }
            Err(gone) => return Ok(Err(gone)),
        }
    }
    let runtime = Runtime::find(scratch).map_err(Error::NoRuntime)?;
    let signed = materials
        .iter()
        .filter(|material| matches!(material.signature, Signature::Good { .. }))
        .map(|material| material.digest)
        .collect();
    Ok(Ok(Some(Inputs {
        lock,
        runtime,
        signed,
        materials,
        bases: images,
    })))
}

/// Returns the images that the recipe has for those that a Dockerfile names.
fn base_names(build: &Build) -> impl Iterator<Item = (&str, &str)> {
    let bases = match build {
        Build::Dockerfile { bases, .. } => Some(bases),
        Build::Scratch { .. } | Build::GitLayout { .. } | Build::Steps(_) => None,
    };
    bases
        .into_iter()
        .flatten()
        .filter_map(|(named, base)| match base {
            Base::Image(image) => Some((named.as_str(), image.as_str())),
            Base::Toolchain => None,
        })
}

/// Returns that a base image is gone, where that is what the error says.
fn gone(base: &str, error: &image::Error) -> Option<Obstacle> {
    let image::Error::Registry {
        source, registry, ..
    } = error
    else {
        return None;
    };
    let (why, remedy) = match source.downcast_ref()? {
        Refusal::NotFound => (
            format!("{registry} does not have it"),
            "name a registry that has it with --registry-mirror",
        ),
        offline @ Refusal::Offline => (offline.to_string(), "run it once without --offline"),
        Refusal::Unauthorized { .. }
        | Refusal::Forbidden { .. }
        | Refusal::TooManyRequests { .. }
        | Refusal::Status { .. }
        | Refusal::UnknownChallenge { .. }
        | Refusal::NoToken { .. }
        | Refusal::Connection(_) => return None,
    };
    Some(Obstacle {
        kind: ObstacleKind::MaterialGone,
        what: format!("the base image {base} cannot be had: {why}"),
        remedy: remedy.to_owned(),
    })
}

/// Reads manifest and config of a base image; the inner `Err` is that it is gone.
fn base(
    named: &str,
    text: &str,
    platform: &Platform,
    access: &Access,
    progress: &dyn Progress,
) -> Result<Result<(BaseImage, Material), Obstacle>, Error> {
    let failed = |source| Error::Base {
        name: text.to_owned(),
        source,
    };
    let name: ImageName = text
        .parse()
        .map_err(|error| failed(image::Error::Reference(error)))?;
    let image = match image::resolve(&name, Some(platform), access, progress) {
        Ok(image) => image,
        Err(error) => {
            return match gone(text, &error) {
                Some(obstacle) => Ok(Err(obstacle)),
                None => Err(failed(error)),
            };
        }
    };
    let manifest = image.manifest().ok_or_else(|| {
        failed(image::Error::Invalid {
            what: text.to_owned(),
            problem: "has no manifest".to_owned(),
        })
    })?;
    let config = image.config().parse("the config").map_err(failed)?;
    let layers = manifest.layers.iter();
    let blobs = layers.clone().chain([&manifest.config]);
    let size = manifest.bytes.len() as u64 + blobs.map(|blob| blob.size).sum::<u64>();
    let material = Material {
        name: text.to_owned(),
        purl: None,
        digest: manifest.digest,
        size,
        used_as: MaterialUse::Base,
        grade: Some(Grade::Recorded),
        signature: Signature::NotClaimed,
    };
    let base = BaseImage {
        named: named.to_owned(),
        image: name,
        layers: layers
            .map(|layer| layer.digest)
            .zip(config.diff_ids)
            .collect(),
    };
    Ok(Ok((base, material)))
}

/// Brings pinned bytes into the store; where they are all there, nobody is asked.
fn fetched(
    pins: &[Pin],
    workplace: &Workplace<'_>,
    progress: &dyn Progress,
) -> Result<Fetched, Error> {
    let kept = Mirrors {
        network: Network::Offline,
        ..Mirrors::default()
    };
    match material::fetch(pins, &kept, workplace.store, progress) {
        Err(material::Error::Offline { .. }) => {
            // Finding out which mirrors there are takes longer than many a build.
            let mirrors = (workplace.mirrors)().map_err(Error::Mirrors)?;
            material::fetch(pins, &mirrors, workplace.store, progress).map_err(Error::Material)
        }
        fetched => fetched.map_err(Error::Material),
    }
}

fn not_locked(found: &Found, problem: &str) -> Obstacle {
    let name = found.recipe.name();
    Obstacle {
        kind: ObstacleKind::NotLocked,
        what: format!("the recipe {name} {problem}"),
        remedy: format!("pin what it takes from outside with `reprove lock {name}`"),
    }
}

/// Says what the recipe calls for and the lock does not have.
fn not_pinned(found: &Found, lock: &Lockfile, platform: &Platform) -> Option<String> {
    let recipe = &found.recipe;
    let has_packages = |locked: &Locked| !locked.packages.is_empty();
    if recipe.toolchain().is_some() && !lock.platform(platform).is_some_and(has_packages) {
        return Some(format!("has no packages locked for {platform}"));
    }
    let mut files = recipe.files().iter();
    let missing = files.find(|file| !lock.files.iter().any(|pin| pin.name == file.name))?;
    Some(format!("has no pin for {}", missing.name))
}

fn file(pin: &Pin) -> Material {
    Material {
        name: pin.name.clone(),
        purl: None,
        digest: pin.digest,
        size: pin.size,
        used_as: MaterialUse::File,
        grade: pin.grade,
        signature: Signature::NotClaimed,
    }
}

/// Returns the packages as the report has them, each signature that the lock claims checked again.
fn packages(
    locked: &Locked,
    fetch: &dyn Fn(&[Pin]) -> Result<Fetched, Error>,
    workplace: &Workplace<'_>,
    scratch: &Path,
    progress: &dyn Progress,
) -> Vec<Material> {
    // Where the evidence is gone the hashes still hold; that no signature is shown is said.
    match fetch(&locked.index_pins()) {
        Ok(fetched) => {
            for gone in fetched.gone {
                progress.note(&format!("{} is gone", gone.pin.name));
            }
        }
        Err(error) => progress.note(&format!("the signed indexes cannot be fetched: {error}")),
    }
    let task = progress.begin("checking the signatures of the lock", None);
    let coverage = lock::coverage(locked, workplace.keyring, workplace.store, scratch);
    drop(task);
    let expired = |suite: &Suite| {
        let mut releases = locked.releases.iter();
        releases
            .any(|release| &release.suite == suite && release.validity == Validity::ExpiredAccepted)
    };
    let pins = locked.package_pins();
    pins.into_iter()
        .zip(coverage)
        .map(|(pin, coverage)| Material {
            signature: match coverage {
                Coverage::Signed { suite, by } => Signature::Good {
                    by: by.iter().map(ToString::to_string).collect(),
                    expired: expired(&suite),
                    suite: suite.to_string(),
                },
                Coverage::NotClaimed(_) => Signature::NotClaimed,
                Coverage::NotShown { problem } => Signature::NotShown { problem },
            },
            purl: pin.purl,
            used_as: MaterialUse::Package,
            grade: pin.grade,
            name: pin.name,
            digest: pin.digest,
            size: pin.size,
        })
        .collect()
}

impl Inputs {
    /// Returns what a rebuild is given.
    pub fn outside<'a>(
        &'a self,
        resolved: &'a Resolved,
        workplace: &Workplace<'a>,
        scratch: &'a Path,
    ) -> rebuild::Outside<'a> {
        rebuild::Outside {
            lock: &self.lock,
            signed: &self.signed,
            values: &resolved.values,
            access: workplace.registries,
            store: workplace.store,
            stages: workplace.stages,
            runtime: &self.runtime,
            scratch,
            conditions: workplace.conditions,
            limits: workplace.limits,
            recording: None,
        }
    }
}

/// Returns why a rebuild from these pins shows nothing: one of them is a published layer.
pub(super) fn circular(materials: &[Material], published: &[(Digest, DiffId)]) -> Option<Obstacle> {
    let found = materials.iter().find(|material| {
        published.iter().any(|(digest, diff_id)| {
            material.digest == *digest || material.digest.hex() == diff_id.hex()
        })
    })?;
    Some(Obstacle {
        kind: ObstacleKind::Circular,
        what: format!(
            "the material {} is a layer of the published image itself",
            found.name
        ),
        remedy: "take a lock whose pins come from elsewhere".to_owned(),
    })
}

/// Returns why a rebuild on these bases shows nothing: a layer of one is a published layer, and it
/// is the recipe alone that brings it in.
///
/// It is the source that names a base where a FROM of its own Dockerfile does, overrides and
/// the recipe's arguments aside: by the digest that the recipe has for it, or by a tag.
pub(super) fn circular_base(
    inputs: &Inputs,
    build: &Build,
    source: Option<&Source>,
    platform: &Platform,
    published: &[(Digest, DiffId)],
) -> Result<Option<Obstacle>, rebuild::Error> {
    let has_published = |base: &&BaseImage| {
        base.layers.iter().any(|(digest, diff_id)| {
            let mut layers = published.iter();
            layers.any(|(other, other_diff_id)| digest == other || diff_id == other_diff_id)
        })
    };
    let mut shared = inputs.bases.iter().filter(has_published).peekable();
    if shared.peek().is_none() {
        return Ok(None);
    }
    let named = match (build, source) {
        (Build::Dockerfile { dockerfile, .. }, Some(source)) => {
            rebuild::bases(source, dockerfile, platform)?
        }
        _ => BTreeSet::new(),
    };
    let by_source = |base: &BaseImage| {
        let digest = base
            .named
            .rsplit_once('@')
            .map(|(_, digest)| digest.parse());
        let same = digest.is_none_or(|digest| digest.ok() == base.image.digest());
        named.contains(&base.named) && same
    };
    let found = shared.find(|base| !by_source(base));
    Ok(found.map(|base| Obstacle {
        kind: ObstacleKind::Circular,
        what: format!(
            "the base image {} has a layer of the published image itself, and no FROM of the source names it",
            base.image
        ),
        remedy: "take a recipe whose bases are those of the source".to_owned(),
    }))
}
