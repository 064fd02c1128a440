//! Stages: a Dockerfile of any instructions → the root file system of its last stage, or another,
//! and the image of it.
//!
//! The stages that the target needs are built one after the other, each on a
//! root file system on disk. Commands run in the workshop, without network;
//! ADD, COPY and WORKDIR are worked out in memory and then unpacked over the
//! root. What a recipe changes of the source's own instructions is taken up
//! before anything is followed.
//!
//! Not done here: bases are made, and URLs fetched, by whoever calls.
//!
//! Source: moby/buildkit `frontend/dockerfile/dockerfile2llb/convert.go`.

mod differ;
mod mounts;
mod overrides;
mod parts;
mod root;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
};

use differ::Changes;
use mounts::{Mounts, Surroundings};
use parts::{Beginning, Part};
use root::{Depth, Root};

use super::{
    Context, Error, Stop,
    base::BaseLayer,
    dockerfile::{self, Instruction, Run},
    instructions::{
        Globals, Means, Rules, Stage, Work, accounts,
        context::BuildContext,
        copy::{self, Copier, Onto},
    },
    layer::{self, MadeTimes},
    sandbox::{Access, RootDirectory, User},
    scratch::{self, Layers},
    spool::Spool,
    tree::Tree,
    workshop::{Step, Workshop},
};
use crate::{
    dialect::{
        Builder, TarDialect,
        json::{self, ImageConfig, RunConfig, StepLayer},
    },
    facts::{BuiltLayer, Encoding, Input, Origin},
    image::{EntryPath, Platform},
    recipe::{Override, Timestamps},
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
    /// The stage to build, by name or number; `None` for the last.
    pub(super) target: Option<&'a str>,
    /// Values for ARG, as given by `--build-arg`.
    pub(super) arguments: &'a BTreeMap<String, String>,
    pub(super) platform: &'a Platform,
    pub(super) encoding: Encoding,
    /// What the build calls now, in seconds since the epoch; also `SOURCE_DATE_EPOCH`.
    pub(super) now: i64,
    pub(super) overrides: &'a [Override],
    pub(super) workshop: &'a Workshop<'a>,
    pub(super) bases: &'a dyn Bases,
}

/// Where what a Dockerfile takes from outside comes from.
pub(super) trait Bases {
    /// Makes a root file system of the image that FROM, or COPY, calls by this name.
    ///
    /// `None` where the recipe says nothing of it.
    fn base(&self, name: &str) -> Result<Option<Base>, Stop>;

    /// Returns the locked file of a URL, `None` where the lock has none.
    fn fetched(&self, url: &str) -> Result<Option<PathBuf>, Stop>;
}

/// An image to build on.
pub(super) struct Base {
    /// Its files, for the build alone.
    pub(super) root: RootDirectory,
    pub(super) config: RunConfig,
    /// The maintainer, where there is one.
    pub(super) author: Option<String>,
    pub(super) history: Vec<json::Step>,
    /// Its layers, the lowest first; `None` where its files are in no layers.
    pub(super) layers: Option<Vec<BaseLayer>>,
}

/// A stage that was built.
pub(super) struct Built {
    pub(super) root: RootDirectory,
    /// Its history and diffIDs begin with those of the base.
    pub(super) config: ImageConfig,
    /// The base's layers, the lowest first.
    pub(super) base: Vec<BaseLayer>,
    /// The layers above the base's, the lowest first; none where only the files were asked for.
    pub(super) layers: Vec<BuiltLayer>,
    /// What was read of the source, by path, and of what is locked, by URL.
    pub(super) inputs: BTreeMap<String, Input>,
}

/// Builds the files of the target, and the stages that it needs.
pub(super) fn build(plan: &Plan<'_>) -> Result<Built, Stop> {
    follow::<Nowhere>(plan, None)
}

/// Builds the image of the target, writing a layer for each ADD, COPY, RUN and WORKDIR as they come.
pub(super) fn build_image<L: Layers>(
    plan: &Plan<'_>,
    timestamps: Timestamps,
    layers: &mut L,
) -> Result<Built, Stop> {
    follow(
        plan,
        Some(Output {
            layers,
            timestamps,
            written: Vec::new(),
            of: BTreeSet::new(),
        }),
    )
}

/// Returns what every FROM names that names no stage, the recipe aside.
pub(super) fn bases(
    source: &Source,
    dockerfile: &str,
    platform: &Platform,
) -> Result<BTreeSet<String>, Stop> {
    let file = scratch::dockerfile_of(source, dockerfile, &mut BTreeMap::new())?;
    let nothing_given = BTreeMap::new();
    let rules = Rules {
        dockerfile,
        escape: file.escape,
        dialect: TarDialect::BuildKit,
        platform,
        given: &nothing_given,
        means: Means::Commands,
    };
    let parts = parts::split(file.instructions, rules, &mut Globals::new(rules))?;
    Ok(parts
        .into_iter()
        .filter_map(|part| match part.beginning {
            Beginning::Image(name) => Some(name),
            Beginning::Scratch | Beginning::Stage(_) => None,
        })
        .collect())
}

/// Where layers go that nobody asks for.
struct Nowhere;

impl Layers for Nowhere {
    type Sink = io::Sink;

    fn begin(&mut self) -> Result<Self::Sink, Error> {
        Ok(io::sink())
    }

    fn end(&mut self, _: Self::Sink, _: &BuiltLayer) -> Result<(), Error> {
        Ok(())
    }

    fn times(&self, _: usize) -> Option<&BTreeMap<EntryPath, i64>> {
        None
    }
}

/// The layers of an image being written.
struct Output<'a, L> {
    layers: &'a mut L,
    timestamps: Timestamps,
    written: Vec<BuiltLayer>,
    /// The target and those that it begins with, one after the other.
    of: BTreeSet<usize>,
}

fn follow<L: Layers>(plan: &Plan<'_>, mut output: Option<Output<'_, L>>) -> Result<Built, Stop> {
    let mut inputs = BTreeMap::new();
    let file = scratch::dockerfile_of(plan.source, plan.dockerfile, &mut inputs)?;
    let file = overrides::apply(file, plan.dockerfile, plan.overrides)?;
    let in_dockerfile = |stop: Stop| stop.at(plan.dockerfile);
    let nothing_replaced = BTreeMap::new();
    let context = BuildContext::open(
        plan.source,
        plan.context,
        plan.dockerfile,
        plan.context_kind,
        &nothing_replaced,
    )
    .map_err(in_dockerfile)?;
    let mut given = plan.arguments.clone();
    given
        .entry("SOURCE_DATE_EPOCH".to_owned())
        .or_insert_with(|| plan.now.to_string());
    let rules = Rules {
        dockerfile: plan.dockerfile,
        escape: file.escape,
        dialect: plan.encoding.dialect,
        platform: plan.platform,
        given: &given,
        means: Means::Commands,
    };
    let mut globals = Globals::new(rules);
    let parts = parts::split(file.instructions, rules, &mut globals)?;
    let target = parts::target(&parts, plan.target).map_err(in_dockerfile)?;
    let needed = parts::needed(&parts, target);
    if let Some(output) = &mut output {
        output.of = parts::chain(&parts, target);
    }
    let mut work = Building {
        plan,
        rules,
        globals: &globals,
        context: &context,
        surroundings: Surroundings::new(plan.workshop, plan.now)?,
        parts: &parts,
        done: BTreeMap::new(),
        images: BTreeMap::new(),
        inputs,
        output,
    };
    for index in needed.iter().copied() {
        let current = work.stage(index, target, &needed)?;
        work.done.insert(index, current);
    }
    let Some(Current { root, stage, base }) = work.done.remove(&target) else {
        return Err(in_dockerfile(Stop::failed("there is no FROM")));
    };
    let layers = work.output.map_or_else(Vec::new, |output| output.written);
    let below = base.iter().map(|layer| layer.diff_id);
    Ok(Built {
        root: root.into_directory(),
        config: ImageConfig {
            platform: plan.platform.clone(),
            created: plan.now,
            author: stage.author,
            run: stage.run,
            history: stage.history,
            diff_ids: below
                .chain(layers.iter().map(|layer| layer.diff_id))
                .collect(),
        },
        base,
        layers,
        inputs: work.inputs,
    })
}

/// A stage, as far as it is built.
struct Current<'a> {
    root: Root<'a>,
    stage: Stage<'a>,
    /// The layers of the image that the first of its stages is built on.
    base: Vec<BaseLayer>,
}

impl Current<'_> {
    /// Returns the user and group that a name stands for in the root.
    fn owner(&self, rules: Rules<'_>, name: &str) -> Result<(u32, u32), Stop> {
        accounts::owner(rules.builder(), name, &|file| self.root.read(file))
    }
}

/// A Dockerfile being followed.
struct Building<'a, L> {
    plan: &'a Plan<'a>,
    rules: Rules<'a>,
    globals: &'a Globals,
    context: &'a BuildContext<'a>,
    surroundings: Surroundings,
    parts: &'a [Part],
    done: BTreeMap<usize, Current<'a>>,
    /// Images that files are taken from, by name.
    images: BTreeMap<String, Root<'a>>,
    inputs: BTreeMap<String, Input>,
    /// `None` where only the files are asked for.
    output: Option<Output<'a, L>>,
}

impl<'a, L: Layers> Building<'a, L> {
    /// Builds one stage, those that it needs being built.
    fn stage(
        &mut self,
        index: usize,
        target: usize,
        needed: &BTreeSet<usize>,
    ) -> Result<Current<'a>, Stop> {
        let part = &self.parts[index];
        let mut current = self
            .begin(index, target, needed)
            .map_err(|stop| stop.at(&part.step))?;
        let triggers = current.stage.take_triggers();
        let triggers = self
            .triggers(part, &triggers)
            .map_err(|stop| stop.at(&part.step))?;
        for instruction in triggers.iter().chain(&part.instructions) {
            let step = step_name(self.rules.dockerfile, instruction);
            self.instruction(index, instruction, &step, &mut current)
                .map_err(|stop| stop.at(&step))?;
        }
        Ok(current)
    }

    /// Returns the instructions that a stage begins with since what it is built on has them for it.
    fn triggers(&self, part: &Part, texts: &[String]) -> Result<Vec<Instruction>, Stop> {
        let mut instructions = Vec::new();
        for text in texts {
            let parsed = dockerfile::parse(text).map_err(|error| {
                Stop::failed(format!("its trigger ONBUILD {text}: {}", error.problem))
            })?;
            let [instruction] = &parsed.instructions[..] else {
                return Err(Stop::failed(format!(
                    "its trigger ONBUILD {text} is not one instruction"
                )));
            };
            // What a stage needs is found out before any base is looked at.
            if parts::froms(&instruction.command).next().is_some() {
                return Err(self.rules.unsupported(
                    part.line,
                    format!("has the trigger ONBUILD {text}, which takes files from elsewhere"),
                ));
            }
            instructions.push(Instruction {
                line: part.line,
                text: format!("ONBUILD {}", instruction.text),
                ..instruction.clone()
            });
        }
        Ok(instructions)
    }

    fn begin(
        &mut self,
        index: usize,
        target: usize,
        needed: &BTreeSet<usize>,
    ) -> Result<Current<'a>, Stop> {
        let part = &self.parts[index];
        match &part.beginning {
            Beginning::Scratch => Ok(Current {
                root: Root::new(
                    self.plan.workshop.root()?,
                    self.plan.workshop,
                    Origin::Built,
                ),
                stage: Stage::on_scratch(self.rules, self.globals),
                base: Vec::new(),
            }),
            Beginning::Stage(base) => {
                let stage = self.done[base].stage.on_stage();
                let layers = self.done[base].base.clone();
                let used_later = *base == target
                    || needed
                        .range(index..)
                        .any(|&other| parts::uses(self.parts, other, *base, index));
                let root = if used_later {
                    self.done[base].root.copied()?
                } else {
                    // Nobody else looks at its files.
                    match self.done.remove(base) {
                        Some(current) => current.root,
                        None => return Err(Stop::failed(format!("there is no stage {base}"))),
                    }
                };
                Ok(Current {
                    root,
                    stage,
                    base: layers,
                })
            }
            Beginning::Image(name) => {
                let base = self.base(name, part.line)?;
                if base.layers.is_none() && self.is_written(index) {
                    return Err(Stop::failed(format!(
                        "what stands for {name} has no layers that an image could be made on: \
                         give an image by its digest"
                    )));
                }
                let mut stage =
                    Stage::on_image(self.rules, self.globals, base.config, base.history);
                // The classic builder forgets who maintains the base.
                if self.rules.builder() == Builder::BuildKit {
                    stage.author = base.author;
                }
                Ok(Current {
                    root: Root::new(base.root, self.plan.workshop, Origin::Base),
                    stage,
                    base: base.layers.unwrap_or_default(),
                })
            }
        }
    }

    /// Returns whether the layers of a stage are the image's.
    fn is_written(&self, index: usize) -> bool {
        self.output
            .as_ref()
            .is_some_and(|output| output.of.contains(&index))
    }

    /// Writes the layer of the present step, if it is one of the image's.
    fn layer(
        &mut self,
        index: usize,
        step: &str,
        tree: &Tree,
        gone: &BTreeSet<EntryPath>,
        spool: &Spool,
    ) -> Result<(), Stop> {
        let Some(output) = &mut self.output else {
            return Ok(());
        };
        if !output.of.contains(&index) {
            return Ok(());
        }
        let sink = output.layers.begin()?;
        let now = self.plan.now;
        let times = MadeTimes {
            default: now,
            known: output.layers.times(output.written.len()),
            latest: match output.timestamps {
                Timestamps::Kept => None,
                Timestamps::Rewritten => Some(now),
            },
        };
        let encoding = self.plan.encoding;
        let (sink, layer) = layer::write(&tree.layer(), gone, spool, step, encoding, &times, sink)?;
        output.layers.end(sink, &layer)?;
        output.written.push(layer);
        Ok(())
    }

    fn base(&self, name: &str, line: usize) -> Result<Base, Stop> {
        self.plan.bases.base(name)?.ok_or_else(|| {
            Stop::failed(format!(
                "line {line} takes the image {name}, of which the recipe says nothing"
            ))
        })
    }

    fn instruction(
        &mut self,
        index: usize,
        instruction: &Instruction,
        step: &str,
        current: &mut Current<'a>,
    ) -> Result<(), Stop> {
        let line = instruction.line;
        let command = instruction.command.clone();
        match current.stage.instruction(command, line)? {
            Work::None => Ok(()),
            Work::Copy(instruction) => self.copy(index, line, &instruction, step, current),
            Work::Directory(path) => self.directory(index, &path, step, current),
            Work::Run(run) => self.run(index, line, &run, step, current),
        }
    }

    fn directory(
        &mut self,
        index: usize,
        path: &str,
        step: &str,
        current: &mut Current<'a>,
    ) -> Result<(), Stop> {
        let owner = match current.stage.directory_owner() {
            Some(owner) => current.owner(self.rules, owner)?,
            None => (0, 0),
        };
        let mut tree = current.root.take()?;
        let directory = tree.follow(path.as_bytes())?;
        tree.make_directories(&directory, &copy::made_directory(0o755, Some(owner)))?;
        let spool = Spool::new()?;
        self.layer(index, step, &tree, &BTreeSet::new(), &spool)?;
        current.root.apply(tree, &spool, self.plan.now)?;
        current.stage.note_directory(path, StepLayer::Made);
        Ok(())
    }

    fn copy(
        &mut self,
        index: usize,
        line: usize,
        instruction: &copy::Instruction,
        step: &str,
        current: &mut Current<'a>,
    ) -> Result<(), Stop> {
        let owner = match (&instruction.chown, instruction.onto) {
            (Some(chown), Onto::Stage) => Some(current.owner(self.rules, chown)?),
            (Some(chown), Onto::Nothing) => {
                let nobody = |_: &str| {
                    let what = format!("has --link and --chown={chown}, and no accounts for that");
                    Err(self.rules.unsupported(line, what))
                };
                Some(accounts::owner(self.rules.builder(), chown, &nobody)?)
            }
            (None, _) => None,
        };
        if let Some(from) = &instruction.from {
            self.load(index, line, from)?;
        }
        let mut spool = Spool::new()?;
        let mut tree = current.root.take()?;
        let mut alone = Tree::new();
        let mut copier = Copier {
            context: self.context,
            kind: self.plan.context_kind,
            builder: self.rules.builder(),
            tree: match instruction.onto {
                Onto::Stage => &mut tree,
                Onto::Nothing => &mut alone,
            },
            spool: &mut spool,
            inputs: &mut self.inputs,
        };
        let mut sum = String::new();
        match &instruction.from {
            None => {
                let fetched = |url: &str| self.plan.bases.fetched(url);
                sum = copier.copy_context(instruction, owner, &fetched)?;
            }
            Some(from) => {
                let root = match parts::stage_of(self.parts, index, from) {
                    Some(stage) => &self.done[&stage].root,
                    None => &self.images[from],
                };
                copier.copy_elsewhere(instruction, owner, root)?;
            }
        }
        let made = match instruction.onto {
            Onto::Stage => &tree,
            Onto::Nothing => {
                tree.lay(&alone);
                &alone
            }
        };
        self.layer(index, step, made, &BTreeSet::new(), &spool)?;
        current.root.apply(tree, &spool, self.plan.now)?;
        current.stage.note_copy(instruction, &sum, StepLayer::Made);
        Ok(())
    }

    /// Makes sure that the files of a stage or image are there.
    fn load(&mut self, index: usize, line: usize, from: &str) -> Result<(), Stop> {
        if parts::stage_of(self.parts, index, from).is_some() || self.images.contains_key(from) {
            return Ok(());
        }
        let base = self.base(from, line)?;
        let root = Root::new(base.root, self.plan.workshop, Origin::Base);
        self.images.insert(from.to_owned(), root);
        Ok(())
    }

    fn run(
        &mut self,
        index: usize,
        line: usize,
        run: &Run,
        step: &str,
        current: &mut Current<'a>,
    ) -> Result<(), Stop> {
        let stage = &current.stage;
        let requests = mounts::requests(run, self.rules, stage, line)?;
        for request in &requests {
            if let Some(from) = &request.from {
                self.load(index, line, from)?;
            }
        }
        let mut mounts = Mounts::new(&self.surroundings);
        mounts.script(&run.line, self.plan.workshop)?;
        for request in &requests {
            match (&request.kind, &request.from) {
                (mounts::Kind::Bind { source, access }, None) => {
                    let copied = self.context_at(source)?;
                    mounts.own(copied, mounts::CONTEXT, *access, &request.target)?;
                }
                (mounts::Kind::Bind { source, access }, Some(from)) => {
                    let root = match parts::stage_of(self.parts, index, from) {
                        Some(stage) => &self.done[&stage].root,
                        None => &self.images[from],
                    };
                    match access {
                        Access::ReadOnly => mounts.bind(root, source, &request.target)?,
                        // What is written is seen by nobody else.
                        Access::Writable => {
                            mounts.own(root.copied()?, source, *access, &request.target)?;
                        }
                    }
                }
                (mounts::Kind::Empty { mode, owner }, _) => {
                    let empty = self.empty(*mode, *owner)?;
                    mounts.own(empty, mounts::EMPTY, Access::Writable, &request.target)?;
                }
            }
        }
        let before = if self.is_written(index) {
            Some(current.root.snapshot()?)
        } else {
            None
        };
        let runner = accounts::runner(&stage.run.user, &|file| current.root.read(file))?;
        let arguments = stage.run_arguments(&run.line);
        let mut environment = stage.variables().clone();
        environment.entry("HOME".to_owned()).or_insert(runner.home);
        let directory = match stage.run.working_directory.as_str() {
            "" => "/",
            directory => directory,
        };
        self.plan.workshop.run(&Step {
            name: step,
            root: current.root.path(),
            arguments: &arguments,
            environment: &environment,
            directory,
            user: User {
                uid: runner.uid,
                gid: runner.gid,
            },
            mounts: &mounts.all(),
        })?;
        drop(mounts);
        current.root.forget();
        if let Some(before) = before {
            let after = current.root.snapshot()?;
            let changes = Changes::between(&before, &after);
            let mut spool = Spool::new()?;
            let contents = current.root.contents(
                changes.files.iter(),
                Depth::Alone,
                Origin::Built,
                &mut spool,
            )?;
            let mut tree = after.tree(&changes, contents)?;
            self.layer(index, step, &tree, &changes.gone, &spool)?;
            tree.end_step();
            current.root.keep(tree, after);
        }
        current.stage.note_run(&arguments, StepLayer::Made);
        Ok(())
    }

    /// Makes a root with nothing but an empty directory, `/cache`, in it.
    fn empty(&self, mode: u32, owner: (u32, u32)) -> Result<Root<'a>, Stop> {
        let workshop = self.plan.workshop;
        let mut root = Root::new(workshop.root()?, workshop, Origin::Built);
        let mut tree = root.take()?;
        let directory = copy::made_directory(mode, Some(owner));
        tree.make_directories(&EntryPath::of(mounts::EMPTY.as_bytes()), &directory)?;
        root.apply(tree, &Spool::new()?, self.plan.now)?;
        Ok(root)
    }

    /// Makes a root with what is at `source` of the context as `/context` in it.
    fn context_at(&mut self, source: &str) -> Result<Root<'a>, Stop> {
        let workshop = self.plan.workshop;
        let mut root = Root::new(workshop.root()?, workshop, Origin::Tree);
        let mut spool = Spool::new()?;
        let mut tree = root.take()?;
        let instruction = copy::Instruction {
            keyword: "COPY",
            sources: vec![source.to_owned()],
            destination: mounts::CONTEXT.to_owned(),
            working_directory: "/".to_owned(),
            ..copy::Instruction::default()
        };
        Copier {
            context: self.context,
            kind: self.plan.context_kind,
            builder: self.rules.builder(),
            tree: &mut tree,
            spool: &mut spool,
            inputs: &mut self.inputs,
        }
        .copy_context(&instruction, None, &|_| Ok(None))?;
        root.apply(tree, &spool, self.plan.now)?;
        Ok(root)
    }
}

/// Characters of an instruction that its step is called by.
const LONGEST_NAME: usize = 120;

/// What a person calls an instruction.
fn step_name(dockerfile: &str, instruction: &Instruction) -> String {
    let words: Vec<&str> = instruction.text.split_whitespace().collect();
    let text = words.join(" ");
    let mut shown: String = text.chars().take(LONGEST_NAME).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{dockerfile} line {}: {shown}", instruction.line)
}
