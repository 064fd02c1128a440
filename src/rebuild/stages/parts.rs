//! Parts: the instructions of a Dockerfile → its stages, and which of them another needs.

use std::collections::BTreeSet;

use super::step_name;
use crate::{
    image::Platform,
    rebuild::{
        Stop,
        dockerfile::{Command, From, Instruction},
        instructions::{Globals, Rules},
    },
};

/// The instructions of one stage.
pub(super) struct Part {
    /// In lower case.
    pub(super) name: Option<String>,
    /// Of FROM, counted from 1.
    pub(super) line: usize,
    /// What a person calls the FROM.
    pub(super) step: String,
    pub(super) beginning: Beginning,
    pub(super) instructions: Vec<Instruction>,
}

/// What a stage begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Beginning {
    /// Nothing.
    Scratch,
    /// An earlier stage.
    Stage(usize),
    /// An image of this name.
    Image(String),
}

/// Splits a Dockerfile at every FROM; the ARGs before the first become the globals.
pub(super) fn split(
    instructions: Vec<Instruction>,
    rules: Rules<'_>,
    globals: &mut Globals,
) -> Result<Vec<Part>, Stop> {
    let mut parts: Vec<Part> = Vec::new();
    for instruction in instructions {
        let step = step_name(rules.dockerfile, &instruction);
        let at = |stop: Stop| stop.at(&step);
        match (instruction.command, parts.last_mut()) {
            (Command::From(from), _) => {
                let beginning = beginning(&parts, &from, rules, globals).map_err(at)?;
                parts.push(Part {
                    name: from.stage,
                    line: instruction.line,
                    beginning,
                    instructions: Vec::new(),
                    step,
                });
            }
            (Command::Arg(pairs), None) => globals.argument(rules, pairs).map_err(at)?,
            (_, None) => return Err(at(Stop::failed("there is no FROM before it"))),
            (command, Some(part)) => part.instructions.push(Instruction {
                command,
                ..instruction
            }),
        }
    }
    Ok(parts)
}

fn beginning(
    parts: &[Part],
    from: &From,
    rules: Rules<'_>,
    globals: &Globals,
) -> Result<Beginning, Stop> {
    if let Some(platform) = &from.platform {
        let platform = globals.word(rules, platform)?;
        let same = platform
            .parse::<Platform>()
            .is_ok_and(|platform| platform.normalized() == rules.platform.normalized());
        if !platform.is_empty() && !same {
            return Err(Stop::failed(format!(
                "it is for the platform {platform}, and the build for {}",
                rules.platform
            )));
        }
    }
    let image = globals.word(rules, &from.image)?;
    Ok(match named(parts, &image) {
        _ if image.is_empty() => {
            return Err(Stop::failed(format!(
                "the name of the base, {:?}, is empty",
                from.image
            )));
        }
        Some(stage) => Beginning::Stage(stage),
        None if image == "scratch" => Beginning::Scratch,
        None => Beginning::Image(image),
    })
}

/// Returns the last stage of this name.
fn named(parts: &[Part], name: &str) -> Option<usize> {
    let name = name.to_lowercase();
    parts
        .iter()
        .rposition(|part| part.name.as_deref() == Some(&name))
}

/// Returns the stage before `index` that `--from` or `from=` means; `None` for an image.
pub(super) fn stage_of(parts: &[Part], index: usize, name: &str) -> Option<usize> {
    match name.parse::<usize>() {
        Ok(number) => (number < index).then_some(number),
        Err(_) => named(&parts[..index], name),
    }
}

/// Returns the stage to build.
pub(super) fn target(parts: &[Part], name: Option<&str>) -> Result<usize, Stop> {
    let Some(last) = parts.len().checked_sub(1) else {
        return Err(Stop::failed("there is no FROM"));
    };
    let Some(name) = name else {
        return Ok(last);
    };
    let found = named(parts, name).or_else(|| name.parse().ok().filter(|&number| number <= last));
    found.ok_or_else(|| Stop::failed(format!("there is no stage {name}")))
}

/// Returns the target and all stages that it needs, each after those that it needs.
pub(super) fn needed(parts: &[Part], target: usize) -> BTreeSet<usize> {
    let mut needed = BTreeSet::new();
    let mut left = vec![target];
    while let Some(index) = left.pop() {
        if !needed.insert(index) {
            continue;
        }
        if let Beginning::Stage(base) = parts[index].beginning {
            left.push(base);
        }
        left.extend(sources(parts, index));
    }
    needed
}

/// Returns the target and the stages that it begins with, one on the other.
pub(super) fn chain(parts: &[Part], target: usize) -> BTreeSet<usize> {
    let mut chain = BTreeSet::from([target]);
    let mut last = target;
    while let Beginning::Stage(base) = parts[last].beginning {
        chain.insert(base);
        last = base;
    }
    chain
}

/// Returns whether stage `index` uses the files of `base`, unless it is `but` that begins with them.
pub(super) fn uses(parts: &[Part], index: usize, base: usize, but: usize) -> bool {
    (index != but && parts[index].beginning == Beginning::Stage(base))
        || sources(parts, index).any(|source| source == base)
}

/// Returns the stages that a stage takes files of.
fn sources(parts: &[Part], index: usize) -> impl Iterator<Item = usize> {
    parts[index]
        .instructions
        .iter()
        .flat_map(|instruction| froms(&instruction.command))
        .filter_map(move |name| stage_of(parts, index, &name))
}

/// Returns the stages and images that an instruction takes files of, as it names them.
pub(super) fn froms(command: &Command) -> impl Iterator<Item = String> {
    let flags = match command {
        Command::Copy(transfer) => &transfer.flags[..],
        Command::Run(run) => &run.flags,
        _ => &[],
    };
    flags.iter().flat_map(|flag| {
        let value = flag.value.as_deref().unwrap_or_default();
        let names: Vec<String> = match flag.name.as_str() {
            "from" => vec![value.to_owned()],
            "mount" => value
                .split(',')
                .filter_map(|option| option.strip_prefix("from="))
                .map(str::to_owned)
                .collect(),
            _ => Vec::new(),
        };
        names
    })
}
