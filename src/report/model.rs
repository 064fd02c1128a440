//! The report as data: what is written as JSON and what every other form is made of.

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Coverage, Folder, steps};
use crate::{
    compare::{
        Attribute, Bearing, ConfigGrade, Equalities, Equality, LayerPair, Location, Visibility,
        content::Content,
    },
    digest::{DiffId, Digest},
    explain::{self, Risk, Root, Tried},
    facts,
    image::{EntryPath, Image, Layer, Platform, config::Config},
    inventory::{Drift, Inventory, Package},
    pair::Pair,
    recipe::{self, lockfile::Grade},
    source,
    verdict::{
        self, Acceptance, Claim, Evidence, Obstacle, Policy, Requirements, Rules, Unmet, Verdict,
        Waiver,
    },
};

/// The version of the report's format; raised when a field changes its meaning or goes.
pub const SCHEMA_VERSION: u32 = 1;

/// All that was found about one image.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// [`SCHEMA_VERSION`] of the program that wrote it.
    pub schema_version: u32,
    /// The answer.
    pub verdict: Verdict,
    /// The answer in one sentence, with all that qualifies it.
    pub summary: String,
    /// What stands in the way of a better answer.
    pub obstacles: Vec<Obstacle>,
    /// The published image, or the first one of `reprove diff`.
    pub subject: Subject,
    /// What the image itself says of its source.
    pub proposed: Proposal,
    /// Where the image comes from; `null` where no source was read.
    pub source: Option<SourceFacts>,
    /// How it was built; `null` where nothing was rebuilt.
    pub recipe: Option<RecipeFacts>,
    /// What the published image told the rebuild.
    pub inferred: Vec<Inference>,
    /// Whether the files named by hash in the published history are files of the source.
    pub history: Vec<HistoryBinding>,
    /// What was taken from outside of the source tree, by its pins.
    pub materials: Vec<Material>,
    /// What did the work.
    pub environment: Environment,
    /// The rebuilt image, or the second one of `reprove diff`.
    pub rebuilt: Option<Subject>,
    /// Which equalities hold; `null` where there is nothing to compare with.
    pub equality: Option<EqualityFacts>,
    /// Where the bytes of the rebuilt image come from, in bytes of content.
    pub origin: BTreeMap<facts::Origin, u64>,
    /// The rebuilt image's files by where they come from, and how many the published image has too.
    #[serde(default)]
    pub files: BTreeMap<facts::Origin, Files>,
    /// The layers, side by side.
    pub layers: Vec<LayerPair>,
    /// The packages that are not the same on both sides; empty where no file differs.
    pub packages: Vec<Drift>,
    /// What of the package databases could not be read.
    #[serde(default)]
    pub unread: Pair<Vec<String>>,
    /// Every difference, judged.
    pub findings: Vec<FindingRecord>,
    /// The causes found, the most frequent first.
    pub causes: Vec<CauseRecord>,
    /// What would make the bytes equal, though nothing else speaks for it.
    pub counterfactual: Option<Counterfactual>,
    /// Every entry and byte of the published image, accounted for.
    pub coverage: Coverage,
    /// The same by folder: those that have entries directly in them, in order of their path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tree: Vec<Folder>,
    /// What was asked of the image.
    pub policy: PolicyFacts,
    /// What has still to be trusted.
    pub trust: Vec<String>,
    /// The command that does it all again.
    pub rerun: Vec<String>,
    /// What differs from one run to the next.
    pub run: Run,
}

/// One image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// The name as given.
    pub name: String,
    /// The platform.
    pub platform: Option<Platform>,
    /// The digest of the index gone through; reported and never required.
    pub index_digest: Option<Digest>,
    /// The manifest's digest; `null` for a docker-archive, which has none.
    pub manifest_digest: Option<Digest>,
    /// The manifest's media type.
    pub media_type: Option<String>,
    /// The config's digest, also called the image ID; `null` where no image was settled on.
    pub config_digest: Option<Digest>,
    /// The layers, base first.
    pub layers: Vec<LayerFacts>,
}

/// One layer as the manifest names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LayerFacts {
    /// Its media type; `null` in a docker-archive.
    pub media_type: Option<String>,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its diffID.
    pub diff_id: DiffId,
    /// The instruction that the image's history says made it; `null` where it does not say of one.
    pub instruction: Option<String>,
    /// The instructions that may each have made some of it, where the history tells several
    /// and gives them one layer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<String>,
}

/// The source and whose word says that it is the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceFacts {
    /// What was checked out.
    #[serde(flatten)]
    pub facts: source::Facts,
    /// Who names the repository.
    pub repository_named_by: NamedBy,
    /// Who names the revision.
    pub revision_named_by: NamedBy,
}

/// What an image says of its source; nobody else vouches for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Proposal {
    /// The repository, from `org.opencontainers.image.source`.
    pub source: Option<String>,
    /// The revision, from `org.opencontainers.image.revision`.
    pub revision: Option<String>,
}

/// Whose word something is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum NamedBy {
    /// The user's.
    User,
    /// The recipe's, built in or given by the user.
    Recipe,
    /// The image's own: annotations and labels, which only propose.
    Image,
}

/// The recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecipeFacts {
    /// Its name.
    pub name: String,
    /// The digest of its file.
    pub digest: Digest,
    /// Where it was found.
    pub found: recipe::Origin,
    /// Its kind of build.
    pub kind: String,
    /// Every value that a placeholder could take, and who chose it.
    pub values: BTreeMap<String, recipe::Value>,
    /// What it comes to, with placeholders filled.
    pub build: recipe::Build,
    /// The digest of its lock; `null` where it has none.
    pub lock: Option<Digest>,
}

/// One thing that the rebuild did not settle by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Inference {
    /// What was to be settled.
    pub what: String,
    /// What it was taken to be.
    pub value: String,
    /// On whose word.
    pub from: InferredFrom,
    /// What was seen that says so.
    pub evidence: Vec<String>,
}

/// On whose word something was inferred.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum InferredFrom {
    /// The published image's own bytes fit it.
    Published,
    /// The user said so.
    User,
    /// Nothing fits or says anything; it is what is tried first.
    Default,
}

impl fmt::Display for Inference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, value, .. } = self;
        match self.from {
            InferredFrom::Published => write!(f, "{what} {value}"),
            InferredFrom::User => write!(f, "{what} {value} (given)"),
            InferredFrom::Default => write!(f, "{what} {value} (by default)"),
        }
    }
}

/// A line of the published history that names a file by hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryBinding {
    /// The line.
    pub line: String,
    /// The file of the source that has this hash; `null` where none has.
    pub source_file: Option<String>,
}

/// What would be if the builder's own times had been known. It never raises a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counterfactual {
    /// How many entries took their time from the published image.
    pub times_taken: usize,
    /// Whether all diffIDs would be the published ones.
    pub layers: bool,
    /// Whether all layer digests would be the published ones.
    pub blobs: bool,
}

impl fmt::Display for Counterfactual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let result = match (self.layers, self.blobs) {
            (_, true) => "the layers would be the published ones, compressed bytes included",
            (true, false) => "the layers would have the published diffIDs",
            (false, false) => "the layers would differ all the same",
        };
        write!(
            f,
            "with the published times of {} files copied from the source, {result}",
            self.times_taken
        )
    }
}

/// An input from outside of the source tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Material {
    /// What it is.
    pub name: String,
    /// The package URL; `null` for what is no package.
    pub purl: Option<String>,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What it is for.
    pub used_as: MaterialUse,
    /// Whose word its digest is, as the lock says.
    pub grade: Option<Grade>,
    /// What came of checking that again.
    pub signature: Signature,
}

/// What a material is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MaterialUse {
    /// A package of the toolchain.
    Package,
    /// A file.
    File,
    /// A base image: the digest is its manifest's, the size that of manifest, config and layers.
    Base,
}

/// Whether a signature was seen to cover a material.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "result")]
pub enum Signature {
    /// A signed index leads to it.
    Good {
        /// The suite that the index is of.
        suite: String,
        /// The fingerprints of the keys that signed it.
        by: Vec<String>,
        /// Whether the index was past its own `Valid-Until` when the lock was written.
        expired: bool,
    },
    /// The lock does not say that there is one.
    NotClaimed,
    /// The lock says that there is one, which could not be seen.
    NotShown {
        /// Why not.
        problem: String,
    },
}

/// What did the work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Environment {
    /// This program.
    pub tool: String,
    /// Its version.
    pub version: String,
    /// What commands were run in; `null` where none were.
    pub build: Option<facts::Environment>,
}

/// Files of one origin; names that share a file count once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Files {
    /// How many have the published content at the published place.
    pub same: u64,
    /// How many there are.
    pub all: u64,
    /// The largest of those that are the same.
    pub largest: Option<String>,
}

/// How equal the two images are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EqualityFacts {
    /// The strongest equality that holds.
    pub strongest: Equality,
    /// Each by itself.
    pub holds: Equalities,
    /// How equal the configs are.
    pub config_grade: ConfigGrade,
}

/// One difference, with its cause and what the policy makes of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FindingRecord {
    /// Where, as waivers name it.
    pub location: String,
    /// In what kind of thing.
    pub within: Within,
    /// The number of the layer on each side, from 0, where it is in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<Pair<Option<usize>>>,
    /// Whether a container sees it, where it is at a path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
    /// In what.
    pub attribute: String,
    /// Which, for attributes that have a name of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What the published image has; `null` where it has nothing of the kind.
    pub published: Option<serde_json::Value>,
    /// What the rebuilt image has; `null` where it has nothing of the kind.
    pub rebuilt: Option<serde_json::Value>,
    /// What the difference bears on.
    pub bearing: Bearing,
    /// What differs inside, where it is a file whose bytes differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// Why the file was not looked into, where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_looked_into: Option<String>,
    /// The package that the file is said to belong to on each side, where it is said of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Pair<Option<Package>>>,
    /// What the rebuilt file equals, byte for byte, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provided_by: Option<facts::Provider>,
    /// Why; `null` where nothing known explains it.
    pub cause: Option<CauseEvidence>,
    /// The causes that were tried in vain, where nothing explains it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<Tried>,
    /// Why it deserves a look whatever its cause; the worst first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub risks: Vec<Risk>,
    /// What the policy makes of it.
    pub acceptance: Acceptance,
}

/// What a finding is in.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Within {
    /// The index.
    Index,
    /// The manifest.
    Manifest,
    /// The config.
    Config,
    /// A layer as a whole.
    Layer,
    /// An entry.
    Entry,
}

/// A cause and what was seen that says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CauseEvidence {
    /// The cause's name.
    pub id: String,
    /// The evidence.
    pub evidence: String,
}

/// A cause and how many findings it explains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CauseRecord {
    /// The cause's name.
    pub id: String,
    /// What lies behind it.
    pub root: Root,
    /// What happened.
    pub title: String,
    /// What would have avoided it.
    pub advice: String,
    /// How many findings it explains.
    pub findings: usize,
}

/// The policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyFacts {
    /// Its name.
    pub name: String,
    /// The digest of its file; `null` for a built-in one.
    pub digest: Option<Digest>,
    /// The rules it stands on.
    pub rules: Rules,
    /// What it requires besides.
    pub require: Requirements,
    /// What of that does not hold.
    pub unmet: Vec<Unmet>,
    /// Its waivers.
    pub waivers: Vec<Waiver>,
    /// The waivers that covered nothing, by number from 0.
    pub unused_waivers: Vec<usize>,
    /// The waivers that had expired, by number from 0.
    pub expired_waivers: Vec<usize>,
}

/// What differs from one run to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// When it began.
    #[schemars(with = "String")]
    pub started_at: jiff::Timestamp,
    /// How long it took, in milliseconds.
    pub duration_in_milliseconds: u64,
    /// The file with all that the commands of the build wrote; `null` where none were run.
    #[serde(default)]
    pub log: Option<String>,
}

impl Report {
    /// Returns a report that has nothing in it yet.
    pub(crate) fn begun(started_at: jiff::Timestamp, policy: &Policy, rerun: &[String]) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            verdict: Verdict::Inconclusive,
            summary: String::new(),
            obstacles: Vec::new(),
            subject: Subject::default(),
            proposed: Proposal::default(),
            source: None,
            recipe: None,
            inferred: Vec::new(),
            history: Vec::new(),
            materials: Vec::new(),
            environment: Environment {
                tool: env!("CARGO_PKG_NAME").to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                build: None,
            },
            rebuilt: None,
            equality: None,
            origin: BTreeMap::new(),
            files: BTreeMap::new(),
            layers: Vec::new(),
            packages: Vec::new(),
            unread: Pair::default(),
            findings: Vec::new(),
            causes: Vec::new(),
            counterfactual: None,
            coverage: Coverage::default(),
            tree: Vec::new(),
            policy: PolicyFacts::of(policy, None),
            trust: Vec::new(),
            rerun: rerun.to_vec(),
            run: Run {
                started_at,
                duration_in_milliseconds: 0,
                log: None,
            },
        }
    }
}

impl Report {
    /// Returns the pins by name with their grades, a claimed signature that was not seen being none.
    pub fn pins(&self) -> Vec<(&str, Option<Grade>)> {
        let grade = |material: &Material| match &material.signature {
            Signature::NotShown { .. } => None,
            Signature::Good { .. } | Signature::NotClaimed => material.grade,
        };
        (self.materials.iter())
            .map(|material| (material.name.as_str(), grade(material)))
            .collect()
    }

    /// Returns what requirements are held against; `pins` are [`Self::pins`].
    pub fn evidence<'a>(&'a self, pins: &'a [(&'a str, Option<Grade>)]) -> Evidence<'a> {
        Evidence {
            source: (self.source.as_ref()).map(|source| source.facts.named.as_str()),
            pins,
            origin: &self.origin,
            freshness: (self.environment.build.as_ref()).map(|build| build.freshness),
        }
    }
}

impl Subject {
    /// Returns what the report says of an image whose layers were read.
    pub(crate) fn of(image: &dyn Image, config: Config, layers: &[Arc<Layer>]) -> Self {
        let made = steps::made(config.history, layers.len());
        let layers = layers
            .iter()
            .zip(made)
            .enumerate()
            .map(|(index, (layer, made))| {
                let descriptor = image.layer_descriptor(index);
                LayerFacts {
                    media_type: descriptor.map(|descriptor| descriptor.media_type.to_string()),
                    digest: layer.digest,
                    size: layer.size,
                    diff_id: layer.diff_id,
                    instruction: made.instruction,
                    steps: made.steps,
                }
            });
        let layers = layers.collect();
        Self {
            name: image.name().to_string(),
            platform: Some(config.platform),
            index_digest: image.index().map(|index| index.digest),
            manifest_digest: image.manifest().map(|manifest| manifest.digest),
            media_type: image
                .manifest()
                .map(|manifest| manifest.media_type.to_string()),
            config_digest: Some(image.config().digest),
            layers,
        }
    }
}

impl RecipeFacts {
    /// Returns what the report says of a recipe that was found and made out.
    pub(crate) fn of(found: &recipe::Found, resolved: &recipe::Resolved) -> Self {
        Self {
            name: resolved.recipe.clone(),
            digest: resolved.digest,
            found: found.origin.clone(),
            kind: found.recipe.kind().to_owned(),
            values: resolved.values.clone(),
            build: resolved.build.clone(),
            lock: found.lock.as_ref().map(|lock| lock.digest),
        }
    }
}

impl FindingRecord {
    /// Returns the finding as waivers see it.
    pub fn claim(&self) -> Claim<'_> {
        Claim {
            location: Cow::Borrowed(&self.location),
            attribute: &self.attribute,
            detail: self.detail.as_deref().map(Cow::Borrowed),
            values: Pair::new(
                self.published.as_ref().map(Cow::Borrowed),
                self.rebuilt.as_ref().map(Cow::Borrowed),
            ),
            cause: self.cause.as_ref().map(|cause| cause.id.as_str()),
            bearing: self.bearing,
            is_risk: !self.risks.is_empty(),
        }
    }
}

impl PolicyFacts {
    /// Returns what the report says of a policy, and of what came of it.
    pub fn of(policy: &Policy, judgement: Option<&verdict::Judgement>) -> Self {
        let judged = |of: fn(&verdict::Judgement) -> &[usize]| {
            judgement.map_or_else(Vec::new, |judgement| of(judgement).to_vec())
        };
        Self {
            name: policy.name.clone(),
            digest: policy.digest,
            rules: policy.rules,
            require: policy.require.clone(),
            unmet: judgement.map_or_else(Vec::new, |judgement| judgement.unmet.clone()),
            waivers: policy.waivers.clone(),
            unused_waivers: judged(|judgement| &judgement.unused_waivers),
            expired_waivers: judged(|judgement| &judgement.expired_waivers),
        }
    }
}

/// Whose the files of both images are.
pub struct Owners<'a> {
    /// The packages of each image.
    pub inventories: Pair<&'a Inventory>,
    /// What each file of the rebuilt image equals, by path.
    pub providers: BTreeMap<&'a EntryPath, &'a facts::Provider>,
}

impl Owners<'_> {
    fn owner(&self, path: &EntryPath) -> Pair<Option<Package>> {
        self.inventories
            .map(|inventory| inventory.owner(path).cloned())
    }

    fn provider(&self, path: &EntryPath) -> Option<&facts::Provider> {
        self.providers.get(path).copied()
    }
}

/// Returns the records of judged findings, and of the causes among them.
///
/// `inside` is asked once for each file whose bytes differ: what differs in it, or
/// why it was not looked into.
pub fn records(
    findings: Vec<explain::Finding>,
    judgement: &verdict::Judgement,
    mut inside: impl FnMut(&Location) -> (Option<Content>, Option<String>),
    owners: &Owners<'_>,
) -> (Vec<FindingRecord>, Vec<CauseRecord>) {
    let mut counts: BTreeMap<&'static str, (&'static explain::Cause, usize)> = BTreeMap::new();
    for explanation in findings
        .iter()
        .filter_map(|finding| finding.explanation.as_ref())
    {
        counts
            .entry(explanation.cause.id)
            .or_insert((explanation.cause, 0))
            .1 += 1;
    }
    let mut causes: Vec<CauseRecord> = counts
        .into_values()
        .map(|(cause, findings)| CauseRecord {
            id: cause.id.to_owned(),
            root: cause.root,
            title: cause.title.to_owned(),
            advice: cause.advice.to_owned(),
            findings,
        })
        .collect();
    causes.sort_by(|one, other| {
        other
            .findings
            .cmp(&one.findings)
            .then(one.id.cmp(&other.id))
    });
    let records = findings
        .into_iter()
        .zip(&judgement.acceptances)
        .map(|(finding, &acceptance)| {
            let (content, not_looked_into) = match finding.difference.attribute {
                Attribute::Content => inside(&finding.difference.location),
                _ => (None, None),
            };
            let path = finding.difference.path();
            let owner = path
                .map(|path| owners.owner(path))
                .filter(|pair| pair.published.is_some() || pair.rebuilt.is_some());
            let provided_by = path.and_then(|path| owners.provider(path)).cloned();
            FindingRecord {
                content,
                not_looked_into,
                owner,
                provided_by,
                ..record(finding, acceptance)
            }
        });
    (records.collect(), causes)
}

fn record(finding: explain::Finding, acceptance: Acceptance) -> FindingRecord {
    let difference = finding.difference;
    let (within, layer, visibility) = match &difference.location {
        Location::Index { .. } => (Within::Index, None, None),
        Location::Manifest { .. } => (Within::Manifest, None, None),
        Location::Config { .. } => (Within::Config, None, None),
        Location::Layer { layer } => (Within::Layer, Some(*layer), None),
        Location::Entry {
            layer, visibility, ..
        } => (Within::Entry, Some(*layer), Some(*visibility)),
    };
    let json = |value: crate::compare::Value| {
        serde_json::to_value(value).expect("numbers, strings and JSON can be written as JSON")
    };
    let values = difference.values.map(|value| value.map(json));
    FindingRecord {
        location: difference.location.to_string(),
        within,
        layer,
        visibility,
        attribute: difference.attribute.name().to_owned(),
        detail: difference.attribute.detail(),
        published: values.published,
        rebuilt: values.rebuilt,
        bearing: difference.bearing,
        content: None,
        not_looked_into: None,
        owner: None,
        provided_by: None,
        tried: finding.tried,
        cause: finding.explanation.map(|explanation| CauseEvidence {
            id: explanation.cause.id.to_owned(),
            evidence: explanation.evidence.into_owned(),
        }),
        risks: finding.risks,
        acceptance,
    }
}
