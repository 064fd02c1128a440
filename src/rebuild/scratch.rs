//! Scratch: a Dockerfile of FROM scratch and instructions that run nothing → layers and a config.
//!
//! Each instruction does to files and config what the builder of the chosen
//! dialect does. What neither could build without running something, fetching
//! something or a base image is refused by name and line.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
};

use super::{
    Context, Error, Stop,
    dockerfile::{self, Command, Dockerfile, Instruction},
    instructions::{
        Globals, Means, Rules, Stage, Work, accounts,
        context::BuildContext,
        copy::{self, Copier},
    },
    layer::{self, MadeTimes},
    spool::Spool,
    tree::{NodeKind, Tree},
};
use crate::{
    dialect::{
        Builder,
        json::{ImageConfig, StepLayer},
    },
    facts::{BuiltLayer, Encoding, Input, Origin},
    image::{EntryPath, Platform},
    source::Source,
};

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
    /// Files that take the place of the source's, by path there.
    pub(super) replaced: &'a BTreeMap<String, Vec<u8>>,
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
    let mut inputs = BTreeMap::new();
    let Dockerfile {
        escape,
        instructions,
    } = dockerfile_of(plan.source, plan.dockerfile, &mut inputs)?;
    let in_dockerfile = |stop: Stop| stop.at(plan.dockerfile);
    let context = BuildContext::open(
        plan.source,
        plan.context,
        plan.dockerfile,
        plan.context_kind,
        plan.replaced,
    )
    .map_err(in_dockerfile)?;
    let nothing_given = BTreeMap::new();
    let rules = Rules {
        dockerfile: plan.dockerfile,
        escape,
        dialect: plan.encoding.dialect,
        platform: plan.platform,
        given: &nothing_given,
        means: Means::Files,
    };
    let mut globals = Globals::new(rules);
    let mut instructions = instructions.into_iter();
    let mut begun = false;
    for instruction in instructions.by_ref() {
        let step = step(plan.dockerfile, &instruction);
        begun = before_stage(rules, &mut globals, instruction).map_err(|stop| stop.at(&step))?;
        if begun {
            break;
        }
    }
    if !begun {
        return Err(in_dockerfile(Stop::failed("there is no FROM")));
    }
    let mut build = Build {
        plan,
        rules,
        context: &context,
        tree: Tree::new(),
        spool: Spool::new()?,
        stage: Stage::on_scratch(rules, &globals),
        layers: Vec::new(),
        inputs,
    };
    for instruction in instructions {
        let step = step(plan.dockerfile, &instruction);
        build
            .instruction(instruction, &step, layers)
            .map_err(|stop| stop.at(&step))?;
    }
    Ok(Image {
        config: ImageConfig {
            platform: plan.platform.clone(),
            created: plan.now,
            author: build.stage.author,
            run: build.stage.run,
            history: build.stage.history,
            diff_ids: build.layers.iter().map(|layer| layer.diff_id).collect(),
        },
        layers: build.layers,
        inputs: build.inputs,
    })
}

/// Reads and parses a Dockerfile, and notes that it was read.
pub(super) fn dockerfile_of(
    source: &Source,
    path: &str,
    inputs: &mut BTreeMap<String, Input>,
) -> Result<Dockerfile, Stop> {
    let bytes = source.read(path)?;
    inputs.insert(
        path.to_owned(),
        Input {
            digest: crate::digest::Digest::of(&bytes),
            size: bytes.len() as u64,
            origin: Origin::Tree,
        },
    );
    let text =
        String::from_utf8(bytes).map_err(|_| Stop::failed("the file is not UTF-8").at(path))?;
    dockerfile::parse(&text)
        .map_err(|error| Stop::failed(error.problem).at(&format!("{path} line {}", error.line)))
}

/// What a person calls an instruction.
fn step(dockerfile: &str, instruction: &Instruction) -> String {
    format!(
        "{dockerfile} line {}: {}",
        instruction.line, instruction.text
    )
}

/// Follows an instruction before the stage; returns whether it begins it.
fn before_stage(
    rules: Rules<'_>,
    globals: &mut Globals,
    instruction: Instruction,
) -> Result<bool, Stop> {
    match instruction.command {
        Command::Arg(pairs) => globals.argument(rules, pairs).map(|()| false),
        Command::From(from) => {
            let image = globals.word(rules, &from.image)?;
            if image != "scratch" {
                let what = format!("builds on the image {image}");
                return Err(rules.unsupported(instruction.line, what));
            }
            Ok(true)
        }
        _ => Err(Stop::failed("there is no FROM before it")),
    }
}

struct Build<'a> {
    plan: Plan<'a>,
    rules: Rules<'a>,
    context: &'a BuildContext<'a>,
    tree: Tree,
    spool: Spool,
    stage: Stage<'a>,
    layers: Vec<BuiltLayer>,
    inputs: BTreeMap<String, Input>,
}

impl Build<'_> {
    fn instruction<L: Layers>(
        &mut self,
        instruction: Instruction,
        step: &str,
        layers: &mut L,
    ) -> Result<(), Stop> {
        let line = instruction.line;
        match self.stage.instruction(instruction.command, line)? {
            Work::None => Ok(()),
            Work::Run(_) => Err(self.rules.unsupported(line, "runs a command")),
            Work::Copy(instruction) => self.copy(&instruction, step, layers),
            Work::Directory(path) => self.directory(&path, step, layers),
        }
    }

    fn directory<L: Layers>(&mut self, path: &str, step: &str, layers: &mut L) -> Result<(), Stop> {
        let owner = match self.stage.directory_owner() {
            Some(owner) => self.owner(owner)?,
            None => (0, 0),
        };
        self.tree.begin_step();
        let directory = self.tree.follow(path.as_bytes())?;
        self.tree
            .make_directories(&directory, &copy::made_directory(0o755, Some(owner)))?;
        let made = self.layer(step, layers)?;
        self.stage.note_directory(path, made);
        Ok(())
    }

    fn copy<L: Layers>(
        &mut self,
        instruction: &copy::Instruction,
        step: &str,
        layers: &mut L,
    ) -> Result<(), Stop> {
        let owner = match &instruction.chown {
            Some(chown) => Some(self.owner(chown)?),
            None => None,
        };
        self.tree.begin_step();
        let mut copier = Copier {
            context: self.context,
            kind: self.plan.context_kind,
            builder: self.rules.builder(),
            tree: &mut self.tree,
            spool: &mut self.spool,
            inputs: &mut self.inputs,
        };
        let sum = copier.copy_context(instruction, owner, &|_| Ok(None))?;
        let made = self.layer(step, layers)?;
        self.stage.note_copy(instruction, &sum, made);
        Ok(())
    }

    /// Returns the user and group that a name stands for in the tree so far.
    fn owner(&self, name: &str) -> Result<(u32, u32), Stop> {
        accounts::owner(self.rules.builder(), name, &|file| {
            let path = self.tree.follow(file.as_bytes())?;
            match self.tree.get(&path) {
                Some((_, node)) => match node.kind {
                    NodeKind::File(extent) => Ok(Some(self.spool.read(extent)?)),
                    _ => Ok(None),
                },
                None => Ok(None),
            }
        })
    }

    /// Writes the layer of the present step, if the builder would have one.
    fn layer<L: Layers>(&mut self, step: &str, layers: &mut L) -> Result<StepLayer, Stop> {
        let unchanged = self.tree.layer().is_empty();
        if unchanged && self.rules.builder() == Builder::Classic {
            return Ok(StepLayer::None);
        }
        let sink = layers.begin()?;
        let times = MadeTimes {
            default: self.plan.now,
            known: layers.times(self.layers.len()),
            latest: None,
        };
        let (sink, layer) = layer::write(
            &self.tree.layer(),
            &BTreeSet::new(),
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
}
