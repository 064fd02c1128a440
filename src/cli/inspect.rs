//! `reprove inspect`: what an image is, and what its bytes tell of its making.

use std::{collections::BTreeMap, sync::Arc};

use indicatif::{BinaryBytes, HumanCount};
use reprove::{
    dialect::{Compressor, Inferred, detect},
    digest::{DiffId, Digest},
    image::{self, Compression, Image, ImageName, Layer, Platform, read_layers},
    report::model::Proposal,
    verify::proposal,
};
use serde::Serialize;
use serde_json::Value;

use super::{
    Status,
    context::Context,
    options,
    output::{self, Page},
};

/// Says what an image is: its digests, layers and config, and what wrote its bytes.
///
/// Reads every layer to its end, so what is said of them was seen and not copied from
/// the manifest. What the image says of its own source is shown as its own word.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Images are named as in `reprove verify --help`.

Examples:
  reprove inspect alpine:3.20.3
  reprove inspect oci-archive:image.tar --json | jq .layers")]
pub(super) struct Arguments {
    /// The image.
    image: ImageName,
    #[command(flatten)]
    reading: options::Reading,
    /// Prints it as JSON.
    #[arg(long)]
    json: bool,
}

/// All that is said of an image.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Inspection {
    name: String,
    platform: Platform,
    index_digest: Option<Digest>,
    manifest_digest: Option<Digest>,
    media_type: Option<String>,
    config_digest: Digest,
    created: Option<String>,
    layers: Vec<InspectedLayer>,
    /// Which dialect and compressor the layers are in.
    dialect: Option<String>,
    compressor: Option<String>,
    /// What the two were seen from.
    evidence: Vec<String>,
    /// What the image itself says of its source.
    proposed: Proposal,
    /// The part of the config that says what runs.
    config: BTreeMap<String, Value>,
    history: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct InspectedLayer {
    media_type: Option<String>,
    digest: Digest,
    diff_id: DiffId,
    size: u64,
    uncompressed_size: u64,
    compression: String,
    entries: usize,
    oddities: Vec<InspectedOddity>,
}

#[derive(Debug, Serialize)]
struct InspectedOddity {
    /// The entry that is odd; `null` where the layer as a whole is.
    path: Option<String>,
    what: String,
}

impl Arguments {
    pub(super) fn run(&self, context: &Context) -> anyhow::Result<Status> {
        let platform = self.reading.platform.as_ref();
        let folders = context.folders()?;
        let access = self.reading.registries.access(&folders);
        let image = image::resolve(&self.image, platform, &access, &context.progress)?;
        let layers = read_layers(&[&*image], &context.progress)?.remove(0);
        let inspection = Inspection::of(&*image, &layers)?;
        if self.json {
            output::print_json(&inspection)?;
        } else {
            inspection.page().print()?;
        }
        Ok(Status::Done)
    }
}

impl Inspection {
    fn of(image: &dyn Image, layers: &[Arc<Layer>]) -> anyhow::Result<Self> {
        let config = image
            .config()
            .parse(&format!("the config of {}", image.name()))?;
        let raw: Value = serde_json::from_slice(&image.config().bytes).unwrap_or_default();
        let running = raw["config"].as_object().into_iter().flatten();
        let Inferred {
            dialect,
            compressor,
            evidence,
        } = detect::detect(layers, &image.config().bytes);
        let manifest = image.manifest();
        Ok(Self {
            name: image.name().to_string(),
            platform: config.platform.clone(),
            index_digest: image.index().map(|index| index.digest),
            manifest_digest: manifest.map(|manifest| manifest.digest),
            media_type: manifest.map(|manifest| manifest.media_type.to_string()),
            config_digest: image.config().digest,
            created: config.created.clone(),
            layers: layers
                .iter()
                .map(|layer| InspectedLayer::of(layer))
                .collect(),
            dialect: dialect.map(|dialect| dialect.to_string()),
            compressor: compressor.as_ref().map(Compressor::to_string),
            evidence,
            proposed: proposal(image, &config),
            config: running
                .filter(|(_, value)| !is_empty(value))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            history: config
                .history
                .iter()
                .map(|step| step.created_by.clone().unwrap_or_default())
                .collect(),
        })
    }

    fn page(&self) -> Page {
        let mut page = Page::default();
        page.row("image", &self.name);
        page.row("platform", self.platform.to_string());
        if let Some(index_digest) = &self.index_digest {
            page.row("index", index_digest.to_string());
        }
        if let Some(manifest_digest) = &self.manifest_digest {
            page.row("manifest", manifest_digest.to_string());
        }
        if let Some(media_type) = &self.media_type {
            page.row("", media_type);
        }
        page.row("config", self.config_digest.to_string());
        if let Some(created) = &self.created {
            page.row("created", created);
        }
        for (key, value) in &self.config {
            page.row("", format!("{key} {value}"));
        }
        for (number, layer) in self.layers.iter().enumerate() {
            page.row(&format!("layer {number}"), layer.digest.to_string());
            page.row("", format!("diffID {}", layer.diff_id));
            page.row(
                "",
                format!(
                    "{} in {} of {}, {} entries",
                    BinaryBytes(layer.uncompressed_size),
                    BinaryBytes(layer.size),
                    layer.compression,
                    HumanCount(layer.entries as u64),
                ),
            );
            for oddity in &layer.oddities {
                let path = oddity.path.as_deref().unwrap_or("the layer");
                page.row("", format!("odd: {path}: {}", oddity.what));
            }
        }
        for step in &self.history {
            page.row("history", step);
        }
        page.row(
            "dialect",
            self.dialect.as_deref().unwrap_or("none that is known"),
        );
        page.row(
            "compressor",
            self.compressor.as_deref().unwrap_or("none that is known"),
        );
        for seen in &self.evidence {
            page.row("", seen);
        }
        match &self.proposed.source {
            Some(source) => {
                page.row("source", format!("{source}, by the image's own word"));
            }
            None => page.row("source", "not said by the image"),
        }
        if let Some(revision) = &self.proposed.revision {
            page.row("revision", format!("{revision}, by the image's own word"));
        }
        page
    }
}

impl InspectedLayer {
    fn of(layer: &Layer) -> Self {
        let of_layer = layer.oddities.iter().map(|oddity| InspectedOddity {
            path: None,
            what: oddity.to_string(),
        });
        let of_entries = layer.entries.iter().flat_map(|entry| {
            let details = entry.details.iter();
            details
                .flat_map(|details| &details.oddities)
                .map(|oddity| InspectedOddity {
                    path: Some(entry.path.to_string()),
                    what: oddity.to_string(),
                })
        });
        Self {
            media_type: layer
                .descriptor
                .as_ref()
                .map(|blob| blob.media_type.to_string()),
            digest: layer.digest,
            diff_id: layer.diff_id,
            size: layer.size,
            uncompressed_size: layer.uncompressed_size,
            compression: match &layer.compression {
                Compression::None => "plain tar".to_owned(),
                Compression::Gzip { members: 1, .. } => "gzip".to_owned(),
                Compression::Gzip { members, .. } => format!("gzip ({members} members)"),
                Compression::Zstd { frames: 1 } => "zstd".to_owned(),
                Compression::Zstd { frames } => format!("zstd ({frames} frames)"),
            },
            entries: layer.entries.len(),
            oddities: of_layer.chain(of_entries).collect(),
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(_) => false,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.is_empty(),
    }
}
