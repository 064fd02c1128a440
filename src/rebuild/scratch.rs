//! Scratch: a Dockerfile of FROM scratch and instructions that run nothing → layers and a config.
//!
//! Each instruction does to files and config what the builder of the chosen
//! dialect does. What neither could build without running something, fetching
//! something or a base image is refused by name and line.
//!
//! Source: moby/buildkit `frontend/dockerfile/dockerfile2llb`; moby
//! `daemon/builder/dockerfile`.

mod context;
mod copy;
mod go;

use std::{collections::BTreeMap, io::Write};

use context::BuildContext;
use copy::Copier;

use super::{
    Context, Error, Stop,
    dockerfile::{
        self, Command, CommandLine, Dockerfile, Healthcheck, Transfer, paths, words::Lexer,
    },
    layer::{self, MadeTimes},
    spool::Spool,
    tree::{Node, NodeKind, Time, Tree},
};
use crate::{
    dialect::{
        Builder, TarDialect, json,
        json::{ImageConfig, RunConfig, Step, StepLayer},
    },
    facts::{BuiltLayer, Encoding, Input, Origin},
    image::{EntryPath, Platform},
    source::Source,
};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What to build.
#[derive(Clone, Copy)]
pub(super) struct Plan<'a> {
    pub(super) source: &'a Source,
    /// The Dockerfile's path in the source.
    pub(super) dockerfile: &'a str,
    /// The context's path in the source; empty for the top.
    pub(super) context: &'a str,
    pub(super) context_kind: Context,
    pub(super) platform: &'a Platform,
    pub(super) encoding: Encoding,
    /// What the build calls now, in seconds since the epoch.
    pub(super) now: i64,
}

impl Plan<'_> {
    const fn builder(&self) -> Builder {
        self.encoding.dialect.builder()
    }
}

/// Where layers go, one after the other.
pub(super) trait Layers {
    /// What one layer is written into.
    type Sink: Write;

    /// Begins a layer.
    fn begin(&mut self) -> Result<Self::Sink, Error>;

    /// Ends it, now that it is known what it is.
    fn end(&mut self, sink: Self::Sink, layer: &BuiltLayer) -> Result<(), Error>;

    /// Returns published times of layer `index`, to be taken in place of made ones.
    fn times(&self, index: usize) -> Option<&BTreeMap<EntryPath, i64>>;
}

/// What was built.
pub(super) struct Image {
    pub(super) config: ImageConfig,
    pub(super) layers: Vec<BuiltLayer>,
    pub(super) inputs: BTreeMap<String, Input>,
}

/// Builds the image, writing its layers as they come.
pub(super) fn build<L: Layers>(plan: Plan<'_>, layers: &mut L) -> Result<Image, Stop> {
    let bytes = plan.source.read(plan.dockerfile)?;
    let in_dockerfile = |stop: Stop| stop.at(plan.dockerfile);
    let mut inputs = BTreeMap::new();
    inputs.insert(
        plan.dockerfile.to_owned(),
        Input {
            digest: crate::digest::Digest::of(&bytes),
            size: bytes.len() as u64,
            origin: Origin::Tree,
        },
    );
    let text = String::from_utf8(bytes)
        .map_err(|_| in_dockerfile(Stop::failed("the file is not UTF-8")))?;
    let parsed = dockerfile::parse(&text).map_err(|error| {
        Stop::failed(error.problem).at(&format!("{} line {}", plan.dockerfile, error.line))
    })?;
    let context = BuildContext::open(
        plan.source,
        plan.context,
        plan.dockerfile,
        plan.context_kind,
    )
    .map_err(in_dockerfile)?;
    let Dockerfile {
        escape,
        instructions,
    } = parsed;
    let mut build = Build {
        plan,
        context: &context,
        lexer: Lexer::new(escape),
        tree: Tree::new(),
        spool: Spool::new()?,
        stage: Stage::Before,
        arguments: BTreeMap::new(),
        global_arguments: platform_arguments(plan),
        variables: BTreeMap::new(),
        author: None,
        run: RunConfig::default(),
        history: Vec::new(),
        layers: Vec::new(),
        inputs,
    };
    for instruction in instructions {
        let step = format!(
            "{} line {}: {}",
            plan.dockerfile, instruction.line, instruction.text
        );
        build
            .instruction(instruction.command, instruction.line, &step, layers)
            .map_err(|stop| stop.at(&step))?;
    }
    if build.stage == Stage::Before {
        return Err(in_dockerfile(Stop::failed("there is no FROM")));
    }
    Ok(Image {
        config: ImageConfig {
            platform: plan.platform.clone(),
            created: plan.now,
            author: build.author,
            run: build.run,
            history: build.history,
            diff_ids: build.layers.iter().map(|layer| layer.diff_id).collect(),
        },
        layers: build.layers,
        inputs: build.inputs,
    })
}

/// The arguments that `BuildKit` sets by itself; the build is taken for a native one.
fn platform_arguments(plan: Plan<'_>) -> BTreeMap<String, String> {
    let platform = plan.platform;
    match plan.builder() {
        Builder::Classic => BTreeMap::new(),
        Builder::BuildKit => ["BUILD", "TARGET"]
            .into_iter()
            .flat_map(|of| {
                [
                    (format!("{of}PLATFORM"), platform.to_string()),
                    (format!("{of}OS"), platform.os.clone()),
                    (format!("{of}ARCH"), platform.architecture.clone()),
                    (
                        format!("{of}VARIANT"),
                        platform.variant.clone().unwrap_or_default(),
                    ),
                ]
            })
            .collect(),
    }
}

/// How far the Dockerfile is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Before FROM.
    Before,
    /// After it.
    Scratch,
}

struct Build<'a> {
    plan: Plan<'a>,
    context: &'a BuildContext<'a>,
    lexer: Lexer,
    tree: Tree,
    spool: Spool,
    stage: Stage,
    /// ARGs of the stage that have a value.
    arguments: BTreeMap<String, String>,
    /// ARGs before FROM, and those that the builder sets.
    global_arguments: BTreeMap<String, String>,
    /// What `BuildKit` puts in for `$name`: ARG and ENV, whichever came last.
    variables: BTreeMap<String, String>,
    author: Option<String>,
    run: RunConfig,
    history: Vec<Step>,
    layers: Vec<BuiltLayer>,
    inputs: BTreeMap<String, Input>,
}

impl Build<'_> {
    fn instruction<L: Layers>(
        &mut self,
        command: Command,
        line: usize,
        step: &str,
        layers: &mut L,
    ) -> Result<(), Stop> {
        let unsupported = |what: &str| {
            Stop::Error(Error::NotScratch {
                dockerfile: self.plan.dockerfile.to_owned(),
                line,
                what: what.to_owned(),
            })
        };
        if self.stage == Stage::Before {
            return match command {
                Command::Arg(pairs) => self.global_argument(pairs),
                Command::From { image } => {
                    let image = self.word(&image)?;
                    if image != "scratch" {
                        return Err(unsupported(&format!("builds on the image {image}")));
                    }
                    self.begin_stage();
                    Ok(())
                }
                _ => Err(Stop::failed("there is no FROM before it")),
            };
        }
        match command {
            Command::From { .. } => Err(unsupported("begins a second stage")),
            Command::Run => Err(unsupported("runs a command")),
            Command::Add(transfer) => self.transfer("ADD", transfer, line, step, layers),
            Command::Copy(transfer) => self.transfer("COPY", transfer, line, step, layers),
            Command::Arg(pairs) => self.argument(pairs),
            Command::Env(pairs) => {
                let mut message = String::from("ENV");
                for (name, value) in self.pairs(pairs)? {
                    let pair = format!("{name}={value}");
                    message.push(' ');
                    message.push_str(&pair);
                    let prefix = format!("{name}=");
                    match self
                        .run
                        .environment
                        .iter_mut()
                        .find(|known| known.starts_with(&prefix))
                    {
                        Some(known) => *known = pair,
                        None => self.run.environment.push(pair),
                    }
                    self.variables.insert(name, value);
                }
                self.note(message);
                Ok(())
            }
            Command::Label(pairs) => {
                let pairs = self.pairs(pairs)?;
                let mut message = String::from("LABEL");
                for (name, value) in &pairs {
                    message.extend([" ", name, "=", value]);
                }
                self.run.labels.get_or_insert_default().extend(pairs);
                self.note(message);
                Ok(())
            }
            Command::Cmd(line) => {
                let command = self.command_line(line);
                self.note(format!("CMD {}", go::quoted_list(&command)));
                self.run.command = Some(command);
                self.run.arguments_escaped = self.plan.encoding.dialect == TarDialect::BuildKit;
                Ok(())
            }
            Command::Entrypoint(line) => {
                let empty = match &line {
                    CommandLine::Exec(words) => words.is_empty(),
                    CommandLine::Shell(text) => text.is_empty(),
                };
                let command = self.command_line(line);
                self.note(format!("ENTRYPOINT {}", go::quoted_list(&command)));
                self.run.entrypoint = (!empty).then_some(command);
                Ok(())
            }
            Command::Workdir(path) => self.working_directory(&path, step, layers),
            Command::User(user) => {
                let user = self.word(&user)?;
                self.note(format!("USER {user}"));
                self.run.user = user;
                Ok(())
            }
            Command::Expose(ports) => self.expose(&ports),
            Command::Volume(volumes) => {
                let volumes = volumes
                    .iter()
                    .map(|volume| self.word(volume))
                    .collect::<Result<Vec<_>, _>>()?;
                if volumes.iter().any(String::is_empty) {
                    return Err(Stop::failed("VOLUME cannot be an empty string"));
                }
                self.note(format!("VOLUME {}", go::list(&volumes)));
                let known = self.run.volumes.get_or_insert_default();
                known.0.extend(volumes);
                Ok(())
            }
            Command::StopSignal(signal) => {
                let signal = self.word(&signal)?;
                if !go::is_signal(&signal) {
                    return Err(Stop::failed(format!("there is no signal {signal}")));
                }
                self.note(format!("STOPSIGNAL {signal}"));
                self.run.stop_signal = signal;
                Ok(())
            }
            Command::Maintainer(name) => {
                self.author = Some(name.clone());
                self.note(format!("MAINTAINER {name}"));
                Ok(())
            }
            Command::Healthcheck(check) => {
                self.healthcheck(check);
                Ok(())
            }
            Command::Onbuild(trigger) => {
                // BuildKit leaves it out of the history.
                if self.plan.builder() == Builder::Classic {
                    self.note(format!("ONBUILD {trigger}"));
                }
                self.run.on_build.push(trigger);
                Ok(())
            }
            Command::Shell(shell) => {
                self.run.shell = shell;
                self.note(format!("SHELL {}", go::list(&self.run.shell)));
                Ok(())
            }
        }
    }

    fn begin_stage(&mut self) {
        self.stage = Stage::Scratch;
        self.run.environment = vec![format!("PATH={DEFAULT_PATH}")];
        self.variables = BTreeMap::from([("PATH".to_owned(), DEFAULT_PATH.to_owned())]);
        if self.plan.builder() == Builder::BuildKit {
            "/".clone_into(&mut self.run.working_directory);
        }
    }

    /// Puts variables in and takes quotes off.
    fn word(&self, text: &str) -> Result<String, Stop> {
        self.lexer
            .word(text, &|name| self.variable(name))
            .map_err(Stop::failed)
    }

    fn variable(&self, name: &str) -> Option<String> {
        if self.stage == Stage::Before {
            return self.global_arguments.get(name).cloned();
        }
        match self.plan.builder() {
            Builder::BuildKit => self.variables.get(name).cloned(),
            // In the classic builder ENV always wins over ARG.
            Builder::Classic => {
                let prefix = format!("{name}=");
                self.run
                    .environment
                    .iter()
                    .find_map(|known| known.strip_prefix(&prefix))
                    .map(str::to_owned)
                    .or_else(|| self.arguments.get(name).cloned())
            }
        }
    }

    fn pairs(&self, pairs: Vec<(String, String)>) -> Result<Vec<(String, String)>, Stop> {
        pairs
            .into_iter()
            .map(|(name, value)| Ok((self.word(&name)?, self.word(&value)?)))
            .collect()
    }

    fn global_argument(&mut self, pairs: Vec<(String, Option<String>)>) -> Result<(), Stop> {
        for (name, value) in pairs {
            if let Some(value) = value {
                let value = self.word(&value)?;
                self.global_arguments.insert(name, value);
            }
        }
        Ok(())
    }

    fn argument(&mut self, pairs: Vec<(String, Option<String>)>) -> Result<(), Stop> {
        let mut words = vec!["ARG".to_owned()];
        for (name, value) in pairs {
            let name = self.word(&name)?;
            let value = match value {
                Some(value) => Some(self.word(&value)?),
                None => self.global_arguments.get(&name).cloned(),
            };
            words.push(match &value {
                Some(value) => format!("{name}={value}"),
                None => name.clone(),
            });
            if let Some(value) = value {
                self.arguments.insert(name.clone(), value.clone());
                self.variables.insert(name, value);
            }
        }
        self.note(words.join(" "));
        Ok(())
    }

    /// Puts the shell in front of a command that is text.
    fn command_line(&self, line: CommandLine) -> Vec<String> {
        match line {
            CommandLine::Exec(words) => words,
            CommandLine::Shell(text) => {
                let mut words = self.shell();
                let classic = self.plan.builder() == Builder::Classic;
                if !(classic && text.is_empty()) {
                    words.push(text);
                }
                words
            }
        }
    }

    fn shell(&self) -> Vec<String> {
        if self.run.shell.is_empty() {
            vec!["/bin/sh".to_owned(), "-c".to_owned()]
        } else {
            self.run.shell.clone()
        }
    }

    fn healthcheck(&mut self, check: Healthcheck) {
        let check = match check {
            Healthcheck::None => json::Healthcheck {
                test: vec!["NONE".to_owned()],
                interval: 0,
                timeout: 0,
                start_period: 0,
                start_interval: 0,
                retries: 0,
            },
            Healthcheck::Check {
                command,
                interval,
                timeout,
                start_period,
                start_interval,
                retries,
            } => {
                let mut words = vec![];
                match command {
                    CommandLine::Exec(command) => {
                        words.push("CMD".to_owned());
                        words.extend(command);
                    }
                    CommandLine::Shell(text) => words.extend(["CMD-SHELL".to_owned(), text]),
                }
                json::Healthcheck {
                    test: words,
                    interval,
                    timeout,
                    start_period,
                    start_interval,
                    retries: retries.into(),
                }
            }
        };
        let text = go::healthcheck(&check, self.plan.builder());
        self.run.healthcheck = Some(check);
        self.note(format!("HEALTHCHECK {text}"));
    }

    fn expose(&mut self, ports: &[String]) -> Result<(), Stop> {
        let mut words = Vec::new();
        for port in ports {
            let expanded = self.lexer.words(port, &|name| self.variable(name));
            words.extend(expanded.map_err(Stop::failed)?);
        }
        let mut specifications = Vec::new();
        for word in &words {
            specifications.extend(go::ports(word).map_err(Stop::failed)?);
        }
        self.note(match self.plan.builder() {
            Builder::Classic => format!("EXPOSE {}", words.join(" ")),
            Builder::BuildKit => format!("EXPOSE {}", go::port_map(&specifications)),
        });
        let known = self.run.exposed_ports.get_or_insert_default();
        known.0.extend(specifications);
        Ok(())
    }

    fn working_directory<L: Layers>(
        &mut self,
        path: &str,
        step: &str,
        layers: &mut L,
    ) -> Result<(), Stop> {
        let path = self.word(path)?;
        let path = if path.is_empty() {
            paths::absolute("/", &self.run.working_directory)
        } else {
            paths::absolute(&self.run.working_directory, &path)
        };
        self.run.working_directory.clone_from(&path);
        let message = format!("WORKDIR {path}");
        if path == "/" {
            self.note_single(message, StepLayer::None);
            return Ok(());
        }
        // BuildKit gives a new directory to the user of the moment, Docker to root.
        let (uid, gid) = match self.plan.builder() {
            Builder::BuildKit if !self.run.user.is_empty() => {
                let user = self.run.user.clone();
                self.copier().owner(&user)?
            }
            _ => (0, 0),
        };
        self.tree.begin_step();
        let directory = self.tree.follow(path.as_bytes())?;
        self.tree.make_directories(
            &directory,
            &Node {
                kind: NodeKind::Directory,
                mode: 0o755,
                uid,
                gid,
                time: Time::Made,
                capability: None,
                origin: Origin::Built,
            },
        )?;
        let made = self.layer(step, layers)?;
        self.note_single(message, made);
        Ok(())
    }

    fn copier(&mut self) -> Copier<'_> {
        Copier {
            context: self.context,
            kind: self.plan.context_kind,
            builder: self.plan.builder(),
            tree: &mut self.tree,
            spool: &mut self.spool,
            inputs: &mut self.inputs,
        }
    }

    fn transfer<L: Layers>(
        &mut self,
        keyword: &str,
        transfer: Transfer,
        line: usize,
        step: &str,
        layers: &mut L,
    ) -> Result<(), Stop> {
        let unsupported = |what: String| {
            Stop::Error(Error::NotScratch {
                dockerfile: self.plan.dockerfile.to_owned(),
                line,
                what,
            })
        };
        let mut instruction = copy::Instruction {
            unpacks: keyword == "ADD",
            working_directory: self.run.working_directory.clone(),
            ..copy::Instruction::default()
        };
        let mut chmod_text = None;
        for flag in &transfer.flags {
            let value = match &flag.value {
                Some(value) => self.word(value)?,
                None => String::new(),
            };
            match flag.name.as_str() {
                "chown" => instruction.chown = Some(value),
                "chmod" => {
                    if self.plan.builder() == Builder::Classic {
                        return Err(Stop::failed("the --chmod option requires BuildKit"));
                    }
                    instruction.chmod = match u32::from_str_radix(&value, 8) {
                        Ok(mode) if mode <= 0o7777 => Some(mode),
                        Ok(_) => {
                            return Err(Stop::failed(format!(
                                "--chmod={value} is not between 0 and 07777"
                            )));
                        }
                        Err(_) => return Err(unsupported(format!("has --chmod={value}"))),
                    };
                    chmod_text = Some(value);
                }
                other => return Err(unsupported(format!("has --{other}"))),
            }
        }
        for source in &transfer.sources {
            let source = self.word(source)?;
            let elsewhere = ["http://", "https://", "git://", "ssh://", "git@"];
            if elsewhere.iter().any(|prefix| source.starts_with(prefix)) {
                return Err(unsupported(format!("fetches {source}")));
            }
            instruction.sources.push(source);
        }
        if self.plan.builder() == Builder::Classic && !transfer.documents.is_empty() {
            return Err(Stop::failed("here-documents require BuildKit"));
        }
        for mut document in transfer.documents {
            if document.expand {
                let lexer = Lexer {
                    plain_quotes: true,
                    ..Lexer::new('\\')
                };
                document.content = lexer
                    .word(&document.content, &|name| self.variable(name))
                    .map_err(Stop::failed)?;
            }
            instruction.documents.push(document);
        }
        instruction.destination = self.word(&transfer.destination)?;

        self.tree.begin_step();
        let sum = self.copier().run(&instruction)?;
        let made = self.layer(step, layers)?;
        let chown = instruction.chown.as_ref();
        let message = match self.plan.builder() {
            Builder::Classic => {
                let chown = chown.map_or_else(String::new, |chown| format!("--chown={chown} "));
                format!("{keyword} {chown}{sum} in {} ", instruction.destination)
            }
            Builder::BuildKit => {
                let mut words = vec![keyword.to_owned()];
                words.extend(chown.map(|chown| format!("--chown={chown}")));
                words.extend(chmod_text.map(|chmod| format!("--chmod={chmod}")));
                words.extend(instruction.sources.iter().cloned());
                let documents = instruction.documents.iter();
                words.extend(documents.map(|document| format!("<<{}", document.name)));
                words.push(instruction.destination.clone());
                words.push("# buildkit".to_owned());
                words.join(" ")
            }
        };
        self.note_single(message, made);
        Ok(())
    }

    /// Writes the layer of the present step, if the builder would have one.
    fn layer<L: Layers>(&mut self, step: &str, layers: &mut L) -> Result<StepLayer, Stop> {
        let unchanged = self.tree.layer().is_empty();
        if unchanged && self.plan.builder() == Builder::Classic {
            return Ok(StepLayer::None);
        }
        let sink = layers.begin()?;
        let times = MadeTimes {
            default: self.plan.now,
            known: layers.times(self.layers.len()),
        };
        let (sink, layer) = layer::write(
            &self.tree,
            &self.spool,
            step,
            self.plan.encoding,
            &times,
            sink,
        )?;
        layers.end(sink, &layer)?;
        self.layers.push(layer);
        Ok(StepLayer::Made)
    }

    /// Adds a step that changed no file to the history.
    fn note(&mut self, message: String) {
        let message = match self.plan.builder() {
            // Two words to Docker, hence two blanks.
            Builder::Classic => format!(" {message}"),
            Builder::BuildKit => message,
        };
        self.note_single(message, StepLayer::None);
    }

    fn note_single(&mut self, message: String, layer: StepLayer) {
        let (created_by, comment, author) = match self.plan.builder() {
            Builder::Classic => (
                format!("{} #(nop) {message}", self.shell().join(" ")),
                None,
                self.author.clone(),
            ),
            Builder::BuildKit => (message, Some("buildkit.dockerfile.v0".to_owned()), None),
        };
        self.history.push(Step {
            created_by,
            author,
            comment,
            layer,
        });
    }
}
