//! Instructions: one of a Dockerfile, and what is known so far → what it asks to be done to files.
//!
//! Variables are put in, the image's config and history are kept; so far that
//! is the same for every kind of recipe. What is to become of files is handed
//! back: each kind does what it has the means for, and refuses the rest by name
//! and line.
//!
//! Source: moby/buildkit `frontend/dockerfile/dockerfile2llb`; moby
//! `daemon/builder/dockerfile`.

pub(super) mod accounts;
pub(super) mod context;
pub(super) mod copy;
mod go;

use std::collections::BTreeMap;

use super::{
    Error, Stop,
    dockerfile::{
        Command, CommandLine, Healthcheck, Run, RunLine, Transfer, glob::Ignored, paths,
        words::Lexer,
    },
};
use crate::{
    dialect::{
        Builder, TarDialect, json,
        json::{RunConfig, Step, StepLayer},
    },
    image::Platform,
};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is the same for all stages of a Dockerfile.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    /// The Dockerfile's path in the source.
    pub(super) dockerfile: &'a str,
    /// The escape character in force.
    pub(super) escape: char,
    pub(super) dialect: TarDialect,
    pub(super) platform: &'a Platform,
    /// Values given for ARG, as by `--build-arg`.
    pub(super) given: &'a BTreeMap<String, String>,
    pub(super) means: Means,
}

/// What a kind of recipe can do to files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    /// Put files of the context into layers.
    Files,
    /// Also run commands, and take files from other stages and from what is locked.
    Commands,
}

impl Rules<'_> {
    pub(super) const fn builder(&self) -> Builder {
        self.dialect.builder()
    }

    const fn lexer(&self) -> Lexer {
        Lexer::new(self.escape)
    }

    /// Says that an instruction asks for what there are no means for; `what` ends the sentence.
    pub(super) fn unsupported(&self, line: usize, what: impl Into<String>) -> Stop {
        let (dockerfile, what) = (self.dockerfile.to_owned(), what.into());
        Stop::Error(match self.means {
            Means::Files => Error::NotScratch {
                dockerfile,
                line,
                what,
            },
            Means::Commands => Error::NotSupported {
                dockerfile,
                line,
                what,
            },
        })
    }
}

/// The ARGs before the first FROM, and those that the builder sets.
#[derive(Debug, Clone)]
pub(super) struct Globals(BTreeMap<String, String>);

impl Globals {
    /// Returns the arguments that `BuildKit` sets by itself; the build is taken for a native one.
    pub(super) fn new(rules: Rules<'_>) -> Self {
        let platform = rules.platform;
        Self(match rules.builder() {
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
        })
    }

    /// Follows an ARG before the first FROM.
    pub(super) fn argument(
        &mut self,
        rules: Rules<'_>,
        pairs: Vec<(String, Option<String>)>,
    ) -> Result<(), Stop> {
        for (name, value) in pairs {
            let value = match (rules.given.get(&name), value) {
                (Some(given), _) => given.clone(),
                (None, Some(value)) => self.word(rules, &value)?,
                (None, None) => continue,
            };
            self.0.insert(name, value);
        }
        Ok(())
    }

    /// Puts variables in and takes quotes off, as in the words of FROM.
    pub(super) fn word(&self, rules: Rules<'_>, text: &str) -> Result<String, Stop> {
        rules
            .lexer()
            .word(text, &|name| self.0.get(name).cloned())
            .map_err(Stop::failed)
    }
}

/// What an instruction asks to be done to files, variables put in.
pub(super) enum Work {
    /// Nothing: only config and history were changed.
    None,
    /// To copy files.
    Copy(copy::Instruction),
    /// To make this directory, an absolute path; not the root.
    Directory(String),
    /// To run a command.
    Run(Run),
}

/// A stage, as far as its instructions were followed; its files aside.
#[derive(Clone)]
pub(super) struct Stage<'a> {
    rules: Rules<'a>,
    globals: &'a Globals,
    /// ARGs of the stage that have a value.
    arguments: BTreeMap<String, String>,
    /// ARGs of the stage in their order, for the history of RUN.
    declared: Vec<(String, Option<String>)>,
    /// What `BuildKit` puts in for `$name`: ARG and ENV, whichever came last.
    variables: BTreeMap<String, String>,
    command: CommandFrom,
    pub(super) author: Option<String>,
    pub(super) run: RunConfig,
    pub(super) history: Vec<Step>,
}

/// Where the CMD of a stage is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CommandFrom {
    /// What the stage begins with, if it is there at all.
    Base,
    /// The stage's own instructions.
    Stage,
}

impl<'a> Stage<'a> {
    /// Begins a stage on nothing.
    pub(super) fn on_scratch(rules: Rules<'a>, globals: &'a Globals) -> Self {
        Self::on_image(rules, globals, RunConfig::default(), Vec::new())
    }

    /// Begins a stage on an image with this config and history.
    pub(super) fn on_image(
        rules: Rules<'a>,
        globals: &'a Globals,
        mut run: RunConfig,
        history: Vec<Step>,
    ) -> Self {
        if !run
            .environment
            .iter()
            .any(|known| known.starts_with("PATH="))
        {
            run.environment.push(format!("PATH={DEFAULT_PATH}"));
        }
        if rules.builder() == Builder::BuildKit && run.working_directory.is_empty() {
            "/".clone_into(&mut run.working_directory);
        }
        let variables = run
            .environment
            .iter()
            .filter_map(|known| known.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self {
            rules,
            globals,
            arguments: BTreeMap::new(),
            declared: Vec::new(),
            variables,
            command: CommandFrom::Base,
            author: None,
            run,
            history,
        }
    }

    /// Begins a stage on this one, whose ARGs it inherits.
    pub(super) fn on_stage(&self) -> Self {
        Self {
            command: CommandFrom::Base,
            ..self.clone()
        }
    }

    /// Returns the triggers that what the stage begins with has for it, which it hands on to none.
    pub(super) fn take_triggers(&mut self) -> Vec<String> {
        std::mem::take(&mut self.run.on_build)
    }

    /// Returns the variables that a RUN has.
    pub(super) const fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    /// Follows an instruction that is no FROM, as far as it changes no files.
    pub(super) fn instruction(&mut self, command: Command, line: usize) -> Result<Work, Stop> {
        match command {
            Command::From(_) => return Err(self.rules.unsupported(line, "begins a second stage")),
            Command::Run(run) => return Ok(Work::Run(run)),
            Command::Add(transfer) => return self.transfer("ADD", transfer, line),
            Command::Copy(transfer) => return self.transfer("COPY", transfer, line),
            Command::Workdir(path) => return self.working_directory(&path),
            Command::Arg(pairs) => self.argument(pairs)?,
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
            }
            Command::Label(pairs) => {
                let pairs = self.pairs(pairs)?;
                let mut message = String::from("LABEL");
                for (name, value) in &pairs {
                    message.extend([" ", name, "=", value]);
                }
                self.run.labels.get_or_insert_default().extend(pairs);
                self.note(message);
            }
            Command::Cmd(line) => {
                let command = self.command_line(line);
                self.note(format!("CMD {}", go::quoted_list(&command)));
                self.run.command = Some(command);
                self.run.arguments_escaped = self.rules.dialect == TarDialect::BuildKit;
                self.command = CommandFrom::Stage;
            }
            Command::Entrypoint(line) => {
                let empty = match &line {
                    CommandLine::Exec(words) => words.is_empty(),
                    CommandLine::Shell(text) => text.is_empty(),
                };
                let command = self.command_line(line);
                self.note(format!("ENTRYPOINT {}", go::quoted_list(&command)));
                self.run.entrypoint = (!empty).then_some(command);
                // What the base gave its own entrypoint means nothing to another.
                if self.command == CommandFrom::Base {
                    self.run.command = None;
                }
            }
            Command::User(user) => {
                let user = self.word(&user)?;
                self.note(format!("USER {user}"));
                self.run.user = user;
            }
            Command::Expose(ports) => self.expose(&ports)?,
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
            }
            Command::StopSignal(signal) => {
                let signal = self.word(&signal)?;
                if !go::is_signal(&signal) {
                    return Err(Stop::failed(format!("there is no signal {signal}")));
                }
                self.note(format!("STOPSIGNAL {signal}"));
                self.run.stop_signal = signal;
            }
            Command::Maintainer(name) => {
                self.author = Some(name.clone());
                self.note(format!("MAINTAINER {name}"));
            }
            Command::Healthcheck(check) => self.healthcheck(check),
            Command::Onbuild(trigger) => {
                // BuildKit leaves it out of the history.
                if self.rules.builder() == Builder::Classic {
                    self.note(format!("ONBUILD {trigger}"));
                }
                self.run.on_build.push(trigger);
            }
            Command::Shell(shell) => {
                self.run.shell = shell;
                self.note(format!("SHELL {}", go::list(&self.run.shell)));
            }
        }
        Ok(Work::None)
    }

    /// Puts variables in and takes quotes off.
    pub(super) fn word(&self, text: &str) -> Result<String, Stop> {
        self.rules
            .lexer()
            .word(text, &|name| self.variable(name))
            .map_err(Stop::failed)
    }

    fn variable(&self, name: &str) -> Option<String> {
        match self.rules.builder() {
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

    fn argument(&mut self, pairs: Vec<(String, Option<String>)>) -> Result<(), Stop> {
        let mut words = vec!["ARG".to_owned()];
        for (name, value) in pairs {
            let name = self.word(&name)?;
            let value = match (self.rules.given.get(&name), value) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(value)) => Some(self.word(&value)?),
                (None, None) => self.globals.0.get(&name).cloned(),
            };
            words.push(match &value {
                Some(value) => format!("{name}={value}"),
                None => name.clone(),
            });
            self.declared.push((name.clone(), value.clone()));
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
                let classic = self.rules.builder() == Builder::Classic;
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

    /// Returns the program that a RUN runs, with its arguments.
    ///
    /// A script of the Dockerfile is expected in the directory [`SCRIPTS`].
    pub(super) fn run_arguments(&self, line: &RunLine) -> Vec<String> {
        let text = match line {
            RunLine::Exec(words) => return words.clone(),
            RunLine::Shell(text) => text.clone(),
            RunLine::Script { name, .. } => format!("{SCRIPTS}/{name}"),
        };
        let mut words = self.shell();
        words.push(text);
        words
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
        let text = go::healthcheck(&check, self.rules.builder());
        self.run.healthcheck = Some(check);
        self.note(format!("HEALTHCHECK {text}"));
    }

    fn expose(&mut self, ports: &[String]) -> Result<(), Stop> {
        let mut words = Vec::new();
        for port in ports {
            let expanded = self.rules.lexer().words(port, &|name| self.variable(name));
            words.extend(expanded.map_err(Stop::failed)?);
        }
        let mut specifications = Vec::new();
        for word in &words {
            specifications.extend(go::ports(word).map_err(Stop::failed)?);
        }
        self.note(match self.rules.builder() {
            Builder::Classic => format!("EXPOSE {}", words.join(" ")),
            Builder::BuildKit => format!("EXPOSE {}", go::port_map(&specifications)),
        });
        let known = self.run.exposed_ports.get_or_insert_default();
        known.0.extend(specifications);
        Ok(())
    }

    fn working_directory(&mut self, path: &str) -> Result<Work, Stop> {
        let path = self.word(path)?;
        let path = if path.is_empty() {
            paths::absolute("/", &self.run.working_directory)
        } else {
            paths::absolute(&self.run.working_directory, &path)
        };
        self.run.working_directory.clone_from(&path);
        if path == "/" {
            self.note_directory(&path, StepLayer::None);
            return Ok(Work::None);
        }
        Ok(Work::Directory(path))
    }

    /// Returns whose a directory is that WORKDIR makes, as `--chown` would name them.
    ///
    /// `BuildKit` gives it to the user of the moment, Docker to root.
    pub(super) fn directory_owner(&self) -> Option<&str> {
        match self.rules.builder() {
            Builder::BuildKit if !self.run.user.is_empty() => Some(&self.run.user),
            Builder::BuildKit | Builder::Classic => None,
        }
    }

    fn transfer(
        &mut self,
        keyword: &'static str,
        transfer: Transfer,
        line: usize,
    ) -> Result<Work, Stop> {
        let unsupported = |what: String| self.rules.unsupported(line, what);
        let can_run = self.rules.means == Means::Commands;
        let mut instruction = copy::Instruction {
            keyword,
            working_directory: self.run.working_directory.clone(),
            ..copy::Instruction::default()
        };
        let mut excluded = Vec::new();
        let mut linked = false;
        for flag in &transfer.flags {
            let value = match &flag.value {
                Some(value) => self.word(value)?,
                None => String::new(),
            };
            match flag.name.as_str() {
                "chown" => instruction.chown = Some(value),
                "chmod" => {
                    if self.rules.builder() == Builder::Classic {
                        return Err(Stop::failed("the --chmod option requires BuildKit"));
                    }
                    instruction.chmod = match u32::from_str_radix(&value, 8) {
                        Ok(mode) if mode <= 0o7777 => Some((mode, value)),
                        Ok(_) => {
                            return Err(Stop::failed(format!(
                                "--chmod={value} is not between 0 and 07777"
                            )));
                        }
                        Err(_) => return Err(unsupported(format!("has --chmod={value}"))),
                    };
                }
                "from" if keyword == "COPY" && can_run => {
                    // BuildKit takes no variables here.
                    instruction.from.clone_from(&flag.value);
                }
                "checksum" if keyword == "ADD" && can_run => instruction.checksum = Some(value),
                "exclude" if can_run => excluded.push(value),
                "link" if can_run => {
                    linked = match flag.value.as_deref() {
                        None | Some("true") => true,
                        Some("false") => false,
                        Some(other) => {
                            return Err(Stop::failed(format!(
                                "--link={other} is neither true nor false"
                            )));
                        }
                    };
                }
                other => return Err(unsupported(format!("has --{other}"))),
            }
        }
        if (linked || !excluded.is_empty()) && self.rules.builder() == Builder::Classic {
            return Err(Stop::failed("--link and --exclude require BuildKit"));
        }
        instruction.excluded = Ignored::excluded(&excluded).map_err(Stop::failed)?;
        // BuildKit does not link where it also changes modes.
        if linked && instruction.chmod.is_none() {
            instruction.onto = copy::Onto::Nothing;
        }
        for source in &transfer.sources {
            let source = self.word(source)?;
            let fetched = copy::is_url(&source);
            let elsewhere = ["git://", "ssh://", "git@"];
            if (fetched && !can_run) || elsewhere.iter().any(|prefix| source.starts_with(prefix)) {
                return Err(unsupported(format!("fetches {source}")));
            }
            if fetched && keyword == "COPY" {
                return Err(Stop::failed("source cannot be a URL for COPY"));
            }
            instruction.sources.push(source);
        }
        if instruction.checksum.is_some()
            && !matches!(&instruction.sources[..], [source] if copy::is_url(source))
        {
            return Err(Stop::failed("--checksum is for one URL only"));
        }
        if self.rules.builder() == Builder::Classic && !transfer.documents.is_empty() {
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
        Ok(Work::Copy(instruction))
    }

    /// Adds an ADD or COPY to the history; `sum` is what the classic builder calls its sources.
    pub(super) fn note_copy(
        &mut self,
        instruction: &copy::Instruction,
        sum: &str,
        layer: StepLayer,
    ) {
        let keyword = instruction.keyword;
        let chown = instruction.chown.as_ref();
        let message = match self.rules.builder() {
            Builder::Classic => {
                let chown = chown.map_or_else(String::new, |chown| format!("--chown={chown} "));
                format!("{keyword} {chown}{sum} in {} ", instruction.destination)
            }
            Builder::BuildKit => {
                let mut words = vec![keyword.to_owned()];
                words.extend(chown.map(|chown| format!("--chown={chown}")));
                let chmod = instruction.chmod.as_ref();
                words.extend(chmod.map(|(_, chmod)| format!("--chmod={chmod}")));
                words.extend(instruction.sources.iter().cloned());
                let documents = instruction.documents.iter();
                words.extend(documents.map(|document| format!("<<{}", document.name)));
                words.push(instruction.destination.clone());
                words.push("# buildkit".to_owned());
                words.join(" ")
            }
        };
        self.note_single(message, layer);
    }

    /// Adds a WORKDIR to the history.
    pub(super) fn note_directory(&mut self, path: &str, layer: StepLayer) {
        self.note_single(format!("WORKDIR {path}"), layer);
    }

    /// Adds a RUN of this program to the history, as made by `BuildKit`.
    pub(super) fn note_run(&mut self, arguments: &[String], layer: StepLayer) {
        let mut declared: Vec<(&str, String)> = Vec::new();
        for (name, value) in &self.declared {
            let value = self
                .variables
                .get(name)
                .or(value.as_ref())
                .cloned()
                .unwrap_or_default();
            let pair = format!("{name}={value}");
            match declared.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => *known = pair,
                None => declared.push((name, pair)),
            }
        }
        let mut words = vec!["RUN".to_owned()];
        if !declared.is_empty() {
            words.push(format!("|{}", declared.len()));
            words.extend(declared.into_iter().map(|(_, pair)| pair));
        }
        words.extend(arguments.iter().cloned());
        words.push("# buildkit".to_owned());
        self.note_step(words.join(" "), layer);
    }

    /// Adds a step that changed no file to the history.
    fn note(&mut self, message: String) {
        let message = match self.rules.builder() {
            // Two words to Docker, hence two blanks.
            Builder::Classic => format!(" {message}"),
            Builder::BuildKit => message,
        };
        self.note_single(message, StepLayer::None);
    }

    fn note_single(&mut self, message: String, layer: StepLayer) {
        let message = match self.rules.builder() {
            Builder::Classic => format!("{} #(nop) {message}", self.shell().join(" ")),
            Builder::BuildKit => message,
        };
        self.note_step(message, layer);
    }

    fn note_step(&mut self, created_by: String, layer: StepLayer) {
        let (comment, author) = match self.rules.builder() {
            Builder::Classic => (None, self.author.clone()),
            Builder::BuildKit => (Some("buildkit.dockerfile.v0".to_owned()), None),
        };
        self.history.push(Step {
            created: None,
            created_by,
            author,
            comment,
            layer,
        });
    }
}

/// The directory that `BuildKit` mounts the scripts of a Dockerfile at.
pub(super) const SCRIPTS: &str = "/dev/pipes";
