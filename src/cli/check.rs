//! `reprove check`: what the result of a recipe depends on, besides its source.

use std::{
    collections::BTreeMap,
    fs, io,
    num::NonZero,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::Context as _;
use reprove::{
    compare::Visibility,
    dialect::{Compressor, TarDialect, gzip::GoLevel},
    facts::{Encoding, Privileges},
    image::Platform,
    rebuild::{self, Clock, Conditions, Output, Outside, Reuse, Stages, sandbox::Runtime},
    verify::{
        self,
        check::{Change, Checked, Condition, NotVaried, Request, Variation, check},
    },
};
use rustix::fs::statfs;
use tempfile::TempDir;

use super::{
    Status,
    context::Context,
    interrupt, options,
    output::{self, Page},
    rebuild::named_recipe,
};

/// Says what the result of a recipe depends on, besides its source.
///
/// The image is built twice: once as ever, and once on a machine that has another name,
/// time zone, language, date and number of processors, and another file system with
/// directories in another order, by a user who may do less, as far as this machine
/// allows. The second time everything is made anew, the toolchain's root file system
/// too. Where the results differ, the image is built a third time, as ever, to say what
/// differs each time; and then each of these is varied alone, to say which file depends
/// on which.
///
/// The exit status is 0 where the results are the same to the manifest, 1 where they are
/// not, and 3 where a build fails. A build that fails only on a file system with another
/// order of directories, with another clock or as another user is built without that; the
/// status is then that of the results, also 0, and what it fails under is told.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  reprove check debian-13
  reprove check ./recipes/mine --source ./checkout --revision HEAD --json")]
pub(super) struct Arguments {
    /// The recipe: a built-in one's name (`reprove recipe list`) or a file.
    #[arg(value_name = "NAME|PATH")]
    recipe: String,
    /// The platform, as os/architecture[/variant] [default: this machine's].
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
    #[command(flatten)]
    source: options::Source,
    /// Sets a variable of the recipe.
    #[arg(long, value_name = "NAME=VALUE", value_parser = options::assignment)]
    set: Vec<(String, String)>,
    #[command(flatten)]
    making: options::Making,
    #[command(flatten)]
    registries: options::Registries,
    /// Prints what was found as JSON.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Status> {
        let folders = context.folders()?;
        let platform = self.platform.clone().unwrap_or_else(Platform::host);
        let variables: BTreeMap<String, String> = self.set.iter().cloned().collect();
        let (found, resolved, source) = named_recipe(
            &self.recipe,
            &self.source,
            &variables,
            &platform,
            folders.cache(),
            &context.progress,
        )?;
        let made = self.making.made(&folders, &self.registries);
        let workplace = made.workplace(&folders);
        let access = self.registries.access(&folders);
        let inputs = verify::inputs(
            &found,
            &resolved,
            &platform,
            &workplace,
            folders.scratch(),
            &context.progress,
        )?;
        let inputs = match inputs {
            Ok(inputs) => inputs,
            Err(obstacle) => {
                output::print_obstacle("not checked", &obstacle)?;
                return Ok(Status::Inconclusive);
            }
        };
        let outside = inputs
            .as_ref()
            .map(|inputs| inputs.outside(&resolved, &workplace, folders.scratch()));
        // What was made under other conditions is for no other build.
        let apart = Stages::new(folders.scratch().join("stages"), Reuse::Refused);
        let build = |conditions: &Conditions, reuse, directory: PathBuf| {
            let outside = outside.map(|outside| Outside {
                conditions,
                stages: match reuse {
                    Reuse::Allowed => outside.stages,
                    Reuse::Refused => &apart,
                },
                ..outside
            });
            let request = rebuild::Request {
                build: &resolved.build,
                source: source.as_ref(),
                platform: &platform,
                encoding: Encoding {
                    dialect: TarDialect::BuildKit,
                    compressor: Compressor::GoGzip(GoLevel::DEFAULT),
                },
                context: rebuild::Context::default(),
                outside: outside.as_ref(),
            };
            rebuild::rebuild(&request, &Output::Layout(directory), &context.progress)
        };
        let mut elsewhere = Elsewhere::new(folders.scratch())?;
        let runtime = outside.map(|outside| outside.runtime);
        let (variations, not_varied) = variations(&mut elsewhere, runtime, folders.scratch());
        let results = folders.scratch().join("results");
        fs::create_dir(&results)
            .with_context(|| format!("cannot make the folder {}", results.display()))?;
        let checked = check(&Request {
            build: &build,
            variations: &variations,
            not_varied: &not_varied,
            platform: &platform,
            scratch: &results,
            access: &access,
            progress: &context.progress,
        })?;
        match checked {
            Ok(checked) => self.tell(&checked),
            Err((conditions, failure)) => {
                output::print_failure(&format!("the build fails under {conditions}"), &failure)?;
                Ok(Status::Inconclusive)
            }
        }
    }

    fn tell(&self, checked: &Checked) -> anyhow::Result<Status> {
        let status = if checked.stable {
            Status::Done
        } else {
            Status::NotReproduced
        };
        if self.json {
            output::print_json(checked)?;
            return Ok(status);
        }
        page(checked).print()?;
        Ok(status)
    }
}

/// Returns what was found, for a reader.
fn page(checked: &Checked) -> Page {
    let listed = |conditions: &[Condition]| {
        let names: Vec<String> = conditions.iter().map(ToString::to_string).collect();
        names.join(", ")
    };
    let mut page = Page::default();
    let outcome = match (checked.stable, checked.dependences.len()) {
        (true, _) => format!(
            "stable: the same manifest both times, {}",
            checked.manifest_digest
        ),
        (false, 1) => "not stable: 1 difference".to_owned(),
        (false, count) => format!("not stable: {count} differences"),
    };
    page.line(match &checked.not_through[..] {
        [] => outcome,
        conditions => format!(
            "{outcome}; but the build fails under: {}",
            listed(conditions)
        ),
    });
    for variation in &checked.varied {
        let change = format!("{} / {}", variation.usual, variation.varied);
        page.row("varied", format!("{}: {change}", variation.condition));
    }
    for not_varied in &checked.not_varied {
        let NotVaried { condition, why } = not_varied;
        page.row("not varied", format!("{condition}: {why}"));
    }
    for dependence in &checked.dependences {
        let on = if dependence.each_time {
            "chance, or the moment: it differs each time".to_owned()
        } else if dependence.conditions.is_empty() {
            "several conditions together, or chance".to_owned()
        } else {
            listed(&dependence.conditions)
        };
        let hidden = match dependence.visibility {
            Some(Visibility::Hidden) => " (hidden)",
            Some(Visibility::Visible) | None => "",
        };
        let cause = dependence
            .cause
            .as_ref()
            .map_or_else(String::new, |cause| format!(" [{}]", cause.id));
        page.line(format!(
            "  {}{hidden} {} depends on: {on}{cause}",
            output::escaped(&dependence.location),
            output::escaped(&dependence.attribute)
        ));
    }
    page
}

/// A folder elsewhere for root file systems, gone when dropped.
struct Elsewhere {
    /// What disorderfs is mounted at.
    mounted: Option<PathBuf>,
    _unfinished: interrupt::Unfinished,
    folder: TempDir,
    /// The file system that it is on, where it is another than the usual one.
    other: Option<(String, String)>,
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        if let Some(place) = &self.mounted {
            // Where it cannot be taken away, the folder that it is in stays too.
            let _ = Command::new("umount")
                .arg(place)
                .stderr(Stdio::null())
                .status();
        }
    }
}

/// Where most machines have a file system in memory that any user may write to.
const IN_MEMORY: &str = "/dev/shm";
/// A build takes up to so many bytes there.
const ENOUGH_SPACE: u64 = 4 << 30;

impl Elsewhere {
    /// Makes a folder on another file system than `scratch` is on, or else in it.
    fn new(scratch: &Path) -> anyhow::Result<Self> {
        let usual = file_system(scratch);
        let other = file_system(Path::new(IN_MEMORY));
        let place = match (&usual, &other) {
            (Some((usual, _)), Some((other, free))) if usual != other && *free >= ENOUGH_SPACE => {
                Path::new(IN_MEMORY)
            }
            _ => scratch,
        };
        let make = || {
            tempfile::Builder::new()
                .prefix("reprove-")
                .tempdir_in(place)
        };
        let (folder, unfinished) = interrupt::unfinished(make)
            .with_context(|| format!("cannot make a folder in {}", place.display()))?;
        let other = match (usual, other) {
            (Some((usual, _)), Some((other, _))) if place != scratch => Some((usual, other)),
            _ => None,
        };
        Ok(Self {
            mounted: None,
            _unfinished: unfinished,
            folder,
            other,
        })
    }

    /// Mounts disorderfs on a folder in it; fails with the reason why that cannot be.
    fn disorder(&mut self) -> Result<PathBuf, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root can have disorderfs show the files of several users".to_owned());
        }
        let folder = |name| {
            let path = self.folder.path().join(name);
            fs::create_dir(&path).map_err(|error| error.to_string())?;
            Ok::<_, String>(path)
        };
        let (plain, reversed) = (folder("plain")?, folder("reversed")?);
        let output = Command::new("disorderfs")
            // Another file system's own order, reversed, may be the usual one's.
            .args(["--sort-dirents=yes", "--reverse-dirents=yes"])
            // As a rule it adds to how many blocks a file has, which is another condition.
            .args(["--multi-user=yes", "--pad-blocks=0", "--quiet"])
            .args([&plain, &reversed])
            .stdin(Stdio::null())
            .output();
        match output {
            Ok(output) if output.status.success() => {
                self.mounted = Some(reversed.clone());
                Ok(reversed)
            }
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                Err(format!("disorderfs does not work here: {}", said.trim()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err("disorderfs is not installed".to_owned())
            }
            Err(error) => Err(format!("disorderfs cannot be run: {error}")),
        }
    }
}

/// Returns what kind of file system a folder is on, and how many bytes are free there.
fn file_system(folder: &Path) -> Option<(String, u64)> {
    // Source: statfs(2).
    const KNOWN: [(u64, &str); 5] = [
        (0xef53, "ext4"),
        (0x0102_1994, "tmpfs"),
        (0x794c_7630, "overlay"),
        (0x9123_683e, "btrfs"),
        (0x5846_5342, "xfs"),
    ];
    let found = statfs(folder).ok()?;
    let kind = found.f_type.unsigned_abs();
    let known = KNOWN.iter().find(|(number, _)| *number == kind);
    let name = known.map_or_else(|| format!("{kind:#x}"), |(_, name)| (*name).to_owned());
    let block = found.f_bsize.unsigned_abs();
    Some((name, found.f_bavail.saturating_mul(block)))
}

/// How far the clock is put: another year, month, day, hour and minute.
const AHEAD_IN_SECONDS: u32 = (398 * 24 * 60 + 6 * 60 + 23) * 60;
/// What is said where a recipe's kind leads to no command.
const NOTHING_RUN: &str = "no commands are run";

/// Returns a runtime by which commands are another user's; fails with the reason why there is none.
fn user(runtime: &Runtime, scratch: &Path) -> Result<Runtime, String> {
    if runtime.ids().is_some() {
        return Err("there is no other way without root: run this as root too".to_owned());
    }
    runtime
        .in_user_namespace(scratch)
        .map_err(|why| format!("a user namespace cannot be had: {why}"))
}

/// All conditions, in the order in which they are told.
const ALL: [Condition; 8] = [
    Condition::HostName,
    Condition::TimeZone,
    Condition::Locale,
    Condition::Processors,
    Condition::FileSystem,
    Condition::DirectoryOrder,
    Condition::User,
    Condition::Clock,
];

/// Returns what can be varied on this machine, and what cannot.
fn variations(
    elsewhere: &mut Elsewhere,
    runtime: Option<&Runtime>,
    scratch: &Path,
) -> (Vec<Variation>, Vec<NotVaried>) {
    // Nothing sees what the machine is like, and nothing is mounted for it.
    let Some(runtime) = runtime else {
        let not = |condition| NotVaried {
            condition,
            why: NOTHING_RUN.to_owned(),
        };
        return (Vec::new(), ALL.map(not).into());
    };
    let environment = |pairs: &[(&str, &str)]| {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        Change::Environment(pairs.iter().map(owned).collect())
    };
    let variation = |condition, usual: &str, varied: &str, change| Variation {
        condition,
        usual: usual.to_owned(),
        varied: varied.to_owned(),
        change,
    };
    let usual = Conditions::default();
    let mut variations = vec![
        variation(
            Condition::HostName,
            &usual.hostname,
            "elsewhere",
            Change::HostName("elsewhere".to_owned()),
        ),
        variation(
            Condition::TimeZone,
            "UTC",
            "14 hours ahead of it",
            // Written out, since the root may have no database of time zones.
            environment(&[("TZ", "<+14>-14")]),
        ),
        variation(
            Condition::Locale,
            "C.UTF-8",
            "C, and French messages",
            environment(&[("LC_ALL", "C"), ("LANGUAGE", "fr")]),
        ),
    ];
    let mut not_varied = Vec::new();
    let mut not = |condition, why: String| not_varied.push(NotVaried { condition, why });
    match thread::available_parallelism().map_or(1, NonZero::get) {
        1 => not(Condition::Processors, "there is only one here".to_owned()),
        count => variations.push(variation(
            Condition::Processors,
            &count.to_string(),
            "1",
            Change::Processors(1),
        )),
    }
    match &elsewhere.other {
        Some((usual, other)) => variations.push(variation(
            Condition::FileSystem,
            usual,
            other,
            Change::Roots(elsewhere.folder.path().to_owned()),
        )),
        None => not(
            Condition::FileSystem,
            format!("{IN_MEMORY} is no other one, or has too little room"),
        ),
    }
    // On that file system, so that both are varied together.
    let on = match &elsewhere.other {
        Some((_, other)) => format!(" on {other}"),
        None => String::new(),
    };
    match elsewhere.disorder() {
        Ok(place) => variations.push(variation(
            Condition::DirectoryOrder,
            "the file system's own",
            &format!("by name, the last first, by disorderfs{on}"),
            Change::Roots(place),
        )),
        Err(why) => not(Condition::DirectoryOrder, why),
    }
    match user(runtime, scratch) {
        Ok(other) => variations.push(variation(
            Condition::User,
            // That of a container may be one of a user namespace itself.
            match runtime.facts().privileges {
                Privileges::Root => "the machine's root",
                Privileges::Rootless => "root of the user namespace that this is run in",
            },
            "root of a user namespace",
            Change::Runtime(other),
        )),
        Err(why) => not(Condition::User, why),
    }
    match Clock::ahead(AHEAD_IN_SECONDS) {
        Some(clock) => variations.push(variation(
            Condition::Clock,
            "the machine's",
            "398 days, 6 hours and 23 minutes ahead, for programs that are linked dynamically, by libfaketime",
            Change::Clock(clock),
        )),
        None => not(Condition::Clock, "libfaketime was not found".to_owned()),
    }
    (variations, not_varied)
}

#[cfg(test)]
mod tests {
    use reprove::{digest::Digest, verify::check::Dependence};

    use super::*;

    #[test]
    fn what_was_found_is_said_and_no_more() {
        let on = |conditions: &[Condition], each_time, visibility| Dependence {
            location: "/a\u{1b}[2J".to_owned(),
            layer: None,
            visibility,
            attribute: "xattr b\u{1b}c".to_owned(),
            usual: None,
            varied: None,
            conditions: conditions.to_vec(),
            each_time,
            cause: None,
        };
        let digest = Digest::of(b"");
        let checked = |stable, not_through: &[Condition], dependences: Vec<Dependence>| Checked {
            stable,
            manifest_digest: digest,
            varied: Vec::new(),
            not_varied: Vec::new(),
            not_through: not_through.to_vec(),
            dependences,
        };
        let stable = format!("stable: the same manifest both times, {digest}");
        let at = r"  /a\u{1b}[2J";
        let of = r"xattr b\u{1b}c depends on:";
        let hidden = Some(Visibility::Hidden);
        let cases = [
            (checked(true, &[], vec![]), format!("{stable}\n")),
            (
                checked(true, &[Condition::Clock, Condition::User], vec![]),
                format!("{stable}; but the build fails under: clock, user\n"),
            ),
            (
                checked(false, &[], vec![on(&[], true, None)]),
                format!(
                    "not stable: 1 difference\n{at} {of} chance, or the moment: it differs each time\n"
                ),
            ),
            (
                checked(
                    false,
                    &[],
                    vec![on(&[], false, None), on(&[Condition::Clock], false, hidden)],
                ),
                format!(
                    "not stable: 2 differences\n{at} {of} several conditions together, or chance\n{at} (hidden) {of} clock\n"
                ),
            ),
        ];
        for (checked, expected) in cases {
            assert_eq!(page(&checked).text(), expected);
        }
    }

    #[test]
    fn for_a_recipe_that_runs_nothing_nothing_is_varied() {
        let scratch = tempfile::tempdir().unwrap();
        let mut elsewhere = Elsewhere::new(scratch.path()).unwrap();
        let (varied, not_varied) = variations(&mut elsewhere, None, scratch.path());
        assert_eq!(varied, []);
        let told = not_varied.iter().map(|not| (not.condition, &*not.why));
        assert!(told.eq(ALL.map(|condition| (condition, NOTHING_RUN))));
        assert_eq!(elsewhere.mounted, None);
    }
}
