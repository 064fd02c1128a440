//! JSON writing: an image's config and manifest → the exact bytes of each builder.
//!
//! Go's `encoding/json` differs from others in what it escapes, and each
//! builder in its order of keys, its indentation and what it leaves out. Left
//! out here are what no rebuild can know: Docker's version, the identifiers of
//! its temporary containers and of the images of its intermediate steps.
//!
//! Source: moby 23 `image/image.go` and `api/types/container/config.go`;
//! docker/distribution `manifest/schema2`; moby/buildkit
//! `exporter/containerimage/writer.go`; the published configs of
//! docker.io/library/hello-world.

use std::collections::{BTreeMap, BTreeSet};

use oci_spec::image::{DescriptorBuilder, ImageManifestBuilder, MediaType as OciMediaType};
use serde::Serialize;

use super::{Builder, TarDialect};
use crate::{
    digest::{DiffId, Digest},
    image::{MediaType, Platform},
};

/// An image's config, without the form it is written in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageConfig {
    /// What the image runs on.
    pub platform: Platform,
    /// When it was made, in seconds since the epoch; for every step of the history too.
    pub created: i64,
    /// The maintainer, where there is one.
    pub author: Option<String>,
    /// How to run it.
    pub run: RunConfig,
    /// How it was made, first step first.
    pub history: Vec<Step>,
    /// Its layers, base first.
    pub diff_ids: Vec<DiffId>,
}

/// How a container of the image is run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunConfig {
    /// USER.
    pub user: String,
    /// EXPOSE, as `80/tcp`; empty and present once the instruction was there.
    pub exposed_ports: Option<Set>,
    /// ENV, as `name=value`.
    pub environment: Vec<String>,
    /// ENTRYPOINT.
    pub entrypoint: Option<Vec<String>>,
    /// CMD.
    pub command: Option<Vec<String>>,
    /// VOLUME.
    pub volumes: Option<Set>,
    /// WORKDIR.
    pub working_directory: String,
    /// LABEL.
    pub labels: Option<BTreeMap<String, String>>,
    /// STOPSIGNAL.
    pub stop_signal: String,
    /// Whether `BuildKit` marks the command as escaped, as it does after every CMD.
    pub arguments_escaped: bool,
    /// HEALTHCHECK.
    pub healthcheck: Option<Healthcheck>,
    /// ONBUILD.
    pub on_build: Vec<String>,
    /// SHELL.
    pub shell: Vec<String>,
}

/// The value of each key of a set.
#[derive(Serialize)]
struct Empty {}

/// A set as Go has it: a map to nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Set(pub BTreeSet<String>);

impl Set {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Set {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|member| (member, Empty {})))
    }
}

/// HEALTHCHECK; times in nanoseconds, 0 for not said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// What to run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Time between checks.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// Time after which a check has failed.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Time in which failures do not count.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Time between checks within that time.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make a container unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
const fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// One step of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// When, as a base image says it; `None` for the time of the build.
    pub created: Option<String>,
    /// The instruction, in the builder's words.
    pub created_by: String,
    /// The maintainer, where the builder writes one here.
    pub author: Option<String>,
    /// The builder's mark.
    pub comment: Option<String>,
    /// Whether the step made a layer.
    pub layer: StepLayer,
}

/// Whether a step of the history made a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepLayer {
    /// It made the next layer.
    Made,
    /// It made none.
    None,
}

/// A layer's or config's name in a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobName {
    /// The hash of its bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
}

impl ImageConfig {
    /// Returns the config's bytes as the builder writes them, without a line end.
    pub fn bytes(&self, dialect: TarDialect) -> Vec<u8> {
        match dialect.builder() {
            Builder::Classic => self.classic(),
            Builder::BuildKit => self.buildkit(),
        }
    }

    fn buildkit(&self) -> Vec<u8> {
        let run = &self.run;
        compact(&BuildKitImage {
            architecture: &self.platform.architecture,
            author: self.author.as_deref(),
            config: BuildKitRun {
                user: &run.user,
                exposed_ports: non_empty(run.exposed_ports.as_ref(), Set::is_empty),
                env: &run.environment,
                entrypoint: run.entrypoint.as_deref().unwrap_or_default(),
                cmd: run.command.as_deref().unwrap_or_default(),
                volumes: non_empty(run.volumes.as_ref(), Set::is_empty),
                working_dir: &run.working_directory,
                labels: non_empty(run.labels.as_ref(), BTreeMap::is_empty),
                stop_signal: &run.stop_signal,
                args_escaped: run.arguments_escaped,
                healthcheck: run.healthcheck.as_ref(),
                on_build: &run.on_build,
                shell: &run.shell,
            },
            created: &time(self.created),
            history: self.history(),
            os: &self.platform.os,
            rootfs: self.root_file_system(),
            variant: self.platform.variant.as_deref(),
        })
    }

    fn classic(&self) -> Vec<u8> {
        // The container of the last step had the step's comment for a command.
        let mut container = ClassicRun::of(&self.run);
        let shell: &[String] = &self.run.shell;
        let default_shell = ["/bin/sh".to_owned(), "-c".to_owned()];
        let shell = if shell.is_empty() {
            &default_shell
        } else {
            shell
        };
        let comment = self.history.last().map_or("", |step| {
            step.created_by
                .strip_prefix(&format!("{} ", shell.join(" ")))
                .unwrap_or(&step.created_by)
        });
        let mut command = shell.to_vec();
        match comment.strip_prefix("#(nop)  ") {
            Some(text) => command.extend(["#(nop) ".to_owned(), text.to_owned()]),
            None => command.push(comment.to_owned()),
        }
        container.cmd = Some(&command);
        let no_labels = BTreeMap::new();
        container.labels = container.labels.or(Some(&no_labels));
        compact(&ClassicImage {
            architecture: &self.platform.architecture,
            author: self.author.as_deref(),
            config: ClassicRun::of(&self.run),
            container_config: container,
            created: &time(self.created),
            history: self.history(),
            os: &self.platform.os,
            rootfs: self.root_file_system(),
            variant: self.platform.variant.as_deref(),
        })
    }

    fn history(&self) -> Vec<HistoryEntry<'_>> {
        self.history
            .iter()
            .map(|step| HistoryEntry {
                created: step.created.clone().unwrap_or_else(|| time(self.created)),
                created_by: &step.created_by,
                author: step.author.as_deref(),
                comment: step.comment.as_deref(),
                empty_layer: match step.layer {
                    StepLayer::Made => false,
                    StepLayer::None => true,
                },
            })
            .collect()
    }

    fn root_file_system(&self) -> RootFileSystem<'_> {
        RootFileSystem {
            kind: "layers",
            diff_ids: &self.diff_ids,
        }
    }
}

/// Returns a manifest's bytes as the builder's exporter or push writes them, and its media type.
///
/// `base` are the layers below `layers`, with the media types that they keep;
/// `compressed` says whether `layers` are gzip or plain tar.
pub fn manifest(
    dialect: TarDialect,
    config: BlobName,
    base: &[(&MediaType, BlobName)],
    layers: &[BlobName],
    compressed: LayerForm,
) -> (Vec<u8>, MediaType) {
    match dialect.builder() {
        Builder::Classic => {
            let layer_type = match compressed {
                LayerForm::Gzip => MediaType::DOCKER_LAYER_GZIP,
                LayerForm::Tar => MediaType::DOCKER_LAYER,
            };
            let below = base
                .iter()
                .map(|&(media_type, blob)| docker_descriptor(&media_type.0, blob));
            let manifest = DockerManifest {
                schema_version: 2,
                media_type: MediaType::DOCKER_MANIFEST,
                config: docker_descriptor(MediaType::DOCKER_CONFIG, config),
                layers: below
                    .chain(
                        layers
                            .iter()
                            .map(|&blob| docker_descriptor(layer_type, blob)),
                    )
                    .collect(),
            };
            (
                indented(&manifest, b"   "),
                MediaType(MediaType::DOCKER_MANIFEST.to_owned()),
            )
        }
        Builder::BuildKit => {
            let layer_type = match compressed {
                LayerForm::Gzip => OciMediaType::ImageLayerGzip,
                LayerForm::Tar => OciMediaType::ImageLayer,
            };
            let below = base.iter().map(|&(media_type, blob)| {
                oci_descriptor(OciMediaType::from(media_type.0.as_str()), blob)
            });
            let above = layers.iter();
            let manifest = ImageManifestBuilder::default()
                .schema_version(2u32)
                .media_type(OciMediaType::ImageManifest)
                .config(oci_descriptor(OciMediaType::ImageConfig, config))
                .layers(
                    below
                        .chain(above.map(|&blob| oci_descriptor(layer_type.clone(), blob)))
                        .collect::<Vec<_>>(),
                )
                .build()
                .expect("every required field is set");
            (
                indented(&manifest, b"  "),
                MediaType(MediaType::OCI_MANIFEST.to_owned()),
            )
        }
    }
}

/// Whether layers are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerForm {
    /// gzip.
    Gzip,
    /// The tar as it is.
    Tar,
}

const fn docker_descriptor(media_type: &str, blob: BlobName) -> DockerDescriptor<'_> {
    DockerDescriptor {
        media_type,
        size: blob.size,
        digest: blob.digest,
    }
}

/// Returns an OCI descriptor with nothing but what is required.
pub fn oci_descriptor(media_type: OciMediaType, blob: BlobName) -> oci_spec::image::Descriptor {
    DescriptorBuilder::default()
        .media_type(media_type)
        .size(blob.size)
        .digest(
            blob.digest
                .to_string()
                .parse::<oci_spec::image::Digest>()
                .expect("our digests are OCI digests"),
        )
        .build()
        .expect("every required field is set")
}

/// Writes JSON as Go's `json.Marshal` does.
pub fn compact<T: Serialize>(value: &T) -> Vec<u8> {
    escaped(&serde_json::to_string(value).expect("our types have string keys and no failing parts"))
}

/// Writes JSON as Go's `json.MarshalIndent` does.
pub fn indented<T: Serialize>(value: &T, indentation: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indentation);
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    value
        .serialize(&mut serializer)
        .expect("our types have string keys and no failing parts");
    escaped(&String::from_utf8(bytes).expect("serde_json writes UTF-8"))
}

/// Escapes what Go escapes and `serde_json` does not.
///
/// These characters are only ever inside strings. Go before 1.22 has no short
/// form for backspace and form feed.
fn escaped(json: &str) -> Vec<u8> {
    let mut result = String::with_capacity(json.len());
    let mut characters = json.chars();
    while let Some(character) = characters.next() {
        match character {
            '<' => result.push_str("\\u003c"),
            '>' => result.push_str("\\u003e"),
            '&' => result.push_str("\\u0026"),
            '\u{2028}' => result.push_str("\\u2028"),
            '\u{2029}' => result.push_str("\\u2029"),
            '\\' => match characters.next() {
                Some('b') => result.push_str("\\u0008"),
                Some('f') => result.push_str("\\u000c"),
                next => {
                    result.push('\\');
                    result.extend(next);
                }
            },
            other => result.push(other),
        }
    }
    result.into_bytes()
}

/// Writes a time as Go writes whole seconds in UTC.
fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .unwrap_or(if seconds < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        })
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

fn non_empty<T>(value: Option<&T>, is_empty: impl Fn(&T) -> bool) -> Option<&T> {
    value.filter(|value| !is_empty(value))
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[derive(Serialize)]
struct BuildKitImage<'a> {
    architecture: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<&'a str>,
    config: BuildKitRun<'a>,
    created: &'a str,
    history: Vec<HistoryEntry<'a>>,
    os: &'a str,
    rootfs: RootFileSystem<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct BuildKitRun<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exposed_ports: Option<&'a Set>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    env: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    entrypoint: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    cmd: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    volumes: Option<&'a Set>,
    #[serde(skip_serializing_if = "str::is_empty")]
    working_dir: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<&'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    stop_signal: &'a str,
    #[serde(skip_serializing_if = "is_false")]
    args_escaped: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    healthcheck: Option<&'a Healthcheck>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    on_build: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    shell: &'a [String],
}

#[derive(Serialize)]
struct ClassicImage<'a> {
    architecture: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<&'a str>,
    config: ClassicRun<'a>,
    container_config: ClassicRun<'a>,
    created: &'a str,
    history: Vec<HistoryEntry<'a>>,
    os: &'a str,
    rootfs: RootFileSystem<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "these are the keys that Docker writes"
)]
struct ClassicRun<'a> {
    hostname: &'a str,
    domainname: &'a str,
    user: &'a str,
    attach_stdin: bool,
    attach_stdout: bool,
    attach_stderr: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    exposed_ports: Option<&'a Set>,
    tty: bool,
    open_stdin: bool,
    stdin_once: bool,
    env: &'a [String],
    cmd: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    healthcheck: Option<&'a Healthcheck>,
    image: &'a str,
    volumes: Option<&'a Set>,
    working_dir: &'a str,
    entrypoint: Option<&'a [String]>,
    on_build: Option<&'a [String]>,
    labels: Option<&'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    stop_signal: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    shell: &'a [String],
}

impl<'a> ClassicRun<'a> {
    fn of(run: &'a RunConfig) -> Self {
        Self {
            hostname: "",
            domainname: "",
            user: &run.user,
            attach_stdin: false,
            attach_stdout: false,
            attach_stderr: false,
            exposed_ports: non_empty(run.exposed_ports.as_ref(), Set::is_empty),
            tty: false,
            open_stdin: false,
            stdin_once: false,
            env: &run.environment,
            cmd: run.command.as_deref(),
            healthcheck: run.healthcheck.as_ref(),
            image: "",
            volumes: run.volumes.as_ref(),
            working_dir: &run.working_directory,
            entrypoint: run.entrypoint.as_deref(),
            on_build: (!run.on_build.is_empty()).then_some(&run.on_build),
            labels: run.labels.as_ref(),
            stop_signal: &run.stop_signal,
            shell: &run.shell,
        }
    }
}

#[derive(Serialize)]
struct HistoryEntry<'a> {
    created: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    created_by: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<&'a str>,
    #[serde(skip_serializing_if = "is_false")]
    empty_layer: bool,
}

#[derive(Serialize)]
struct RootFileSystem<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    diff_ids: &'a [DiffId],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DockerManifest<'a> {
    schema_version: u32,
    media_type: &'static str,
    config: DockerDescriptor<'a>,
    layers: Vec<DockerDescriptor<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DockerDescriptor<'a> {
    media_type: &'a str,
    size: u64,
    digest: Digest,
}
