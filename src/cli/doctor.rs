//! `reprove doctor`: what this machine has that reprove uses, and what to mend.

use std::{
    env, fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anstyle::{AnsiColor, Style};
use reprove::{
    facts::{self, LimitedBy, Privileges},
    image::Platform,
    rebuild::{
        Clock,
        sandbox::{self, Runtime, Subordinate, Unusable},
    },
};
use serde::Serialize;

use super::{
    Status,
    context::{self, Context},
    interrupt,
    output::{self, Page},
};

/// Less free space than this is said to be a problem: a large image and its rebuild fill it.
const ENOUGH_SPACE: u64 = 2 << 30;

/// Says what this machine has that reprove uses, and how to mend what is amiss.
///
/// Nothing is asked over the network, and nothing is changed but that the cache's
/// folder is made. The exit status is 0 where nothing is amiss, and 2 otherwise.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  reprove doctor
  reprove doctor --json | jq '.checks[] | select(.state == \"problem\")'")]
pub(super) struct Arguments {
    /// Prints the checks as JSON.
    #[arg(long)]
    json: bool,
}

/// All that was looked at.
#[derive(Debug, Serialize)]
struct Checkup {
    /// Version of this program.
    version: &'static str,
    /// What an image without `--platform` is taken for.
    platform: Platform,
    checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Check {
    /// What was looked at.
    name: &'static str,
    state: State,
    /// What was found.
    found: String,
    /// What mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// There, and as it should be.
    Good,
    /// Not there, and not needed for everything.
    Absent,
    /// Something will not work.
    Problem,
}

impl Check {
    fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            state: State::Good,
            found: found.into(),
            remedy: None,
        }
    }

    fn absent(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            state: State::Absent,
            ..Self::good(name, found)
        }
    }

    fn problem(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            state: State::Problem,
            remedy: Some(remedy.into()),
            ..Self::good(name, found)
        }
    }
}

impl Arguments {
    pub(super) fn run(&self, context: &Context) -> anyhow::Result<Status> {
        let mut checks = match context.cache_directory() {
            Ok(directory) => {
                let mut checks = cache(&directory);
                // Where it would be used, since much depends on the file system.
                let make = || tempfile::tempdir_in(&directory);
                if let Ok((scratch, unfinished)) = interrupt::unfinished(make) {
                    checks.extend(sandboxes(sandbox::find_each(scratch.path())));
                    drop(unfinished);
                }
                checks
            }
            Err(error) => vec![Check::problem(
                "cache",
                error.to_string(),
                "set --cache-dir",
            )],
        };
        checks.push(relaying(&sandbox::can_relay()));
        checks.push(varying(&search_path(), Clock::ahead(1).is_some()));
        checks.extend(subordinate_ids());
        checks.push(certificates());
        checks.extend(credentials(&context::login_files(), &search_path()));
        checks.extend(proxies());
        let checkup = Checkup {
            version: env!("CARGO_PKG_VERSION"),
            platform: Platform::host(),
            checks,
        };
        if self.json {
            output::print_json(&checkup)?;
        } else {
            checkup.page().print()?;
        }
        Ok(checkup.status())
    }
}

impl Checkup {
    fn status(&self) -> Status {
        if self
            .checks
            .iter()
            .any(|check| check.state == State::Problem)
        {
            Status::Trouble
        } else {
            Status::Done
        }
    }

    fn page(&self) -> Page {
        const GOOD: Style = AnsiColor::Green.on_default();
        const PROBLEM: Style = AnsiColor::Red.on_default().bold();
        const ABSENT: Style = Style::new().dimmed();

        let mut page = Page::default();
        page.line(format!("reprove {} for {}", self.version, self.platform));
        for check in &self.checks {
            let (style, word) = match check.state {
                State::Good => (GOOD, "good"),
                State::Absent => (ABSENT, "absent"),
                State::Problem => (PROBLEM, "problem"),
            };
            let Check { name, found, .. } = check;
            page.line(format!("{style}{word:<7}{style:#}  {name:<12}  {found}"));
            if let Some(remedy) = &check.remedy {
                page.line(format!("{:23}to mend it: {remedy}", ""));
            }
        }
        page
    }
}

/// Looks at the cache's folder: that it can be written, is private, and has room.
fn cache(directory: &Path) -> Vec<Check> {
    let shown = directory.display();
    let made = fs::create_dir_all(directory)
        .and_then(|()| tempfile::tempfile_in(directory))
        .and_then(|_| fs::metadata(directory));
    let metadata = match made {
        Ok(metadata) => metadata,
        Err(error) => {
            return vec![Check::problem(
                "cache",
                format!("{shown} cannot be written: {error}"),
                "make it writable, or name another with --cache-dir",
            )];
        }
    };
    let mut checks = Vec::new();
    let user = rustix::process::geteuid().as_raw();
    let writable_by_others = metadata.permissions().mode() & 0o022 != 0;
    if metadata.uid() != user || writable_by_others {
        checks.push(Check::problem(
            "cache",
            format!("{shown} can be written by others"),
            format!("chown {user} {shown}; chmod 700 {shown}"),
        ));
    } else {
        checks.push(Check::good(
            "cache",
            format!("{shown} can be written, by you alone"),
        ));
    }
    match rustix::fs::statvfs(directory) {
        Ok(about) => {
            let free = about.f_bavail.saturating_mul(about.f_frsize);
            let found = format!("{} free in {shown}", indicatif::BinaryBytes(free));
            checks.push(if free < ENOUGH_SPACE {
                Check::problem(
                    "space",
                    found,
                    "reprove cache prune, or another --cache-dir",
                )
            } else {
                Check::good("space", found)
            });
        }
        Err(error) => checks.push(Check::problem(
            "space",
            format!("the free space of {shown} is not known: {error}"),
            "name another folder with --cache-dir",
        )),
    }
    checks
}

/// Says which OCI runtime commands are run by, and why the others that are there are not used.
fn sandboxes(tried: Vec<(&'static str, Result<Runtime, Unusable>)>) -> Vec<Check> {
    let mut checks: Vec<Check> = Vec::new();
    let works = tried.iter().any(|(_, result)| result.is_ok());
    let mut missing = Vec::new();
    let mut without_ids = Vec::new();
    for (name, result) in tried {
        checks.push(match result {
            Ok(runtime) => Check::good("sandbox", told(&runtime.facts())),
            Err(Unusable::NotInstalled) => {
                missing.push(name);
                continue;
            }
            Err(why) if works => Check::absent("sandbox", format!("{name} {why}")),
            // Why there are none is a check of its own.
            Err(Unusable::NoIds(_)) => {
                without_ids.push(name);
                continue;
            }
            Err(why @ (Unusable::Broken(_) | Unusable::Wrong { .. })) => Check::problem(
                "sandbox",
                format!("{name} {why}"),
                "install another of runc, crun and youki, or a later version",
            ),
        });
    }
    if !without_ids.is_empty() {
        checks.push(Check::problem(
            "sandbox",
            format!(
                "without root, {} cannot be used without subordinate ids",
                without_ids.join(" and ")
            ),
            "give the user subordinate ids, or run reprove as root",
        ));
    }
    if checks.is_empty() {
        let found = format!(
            "none of {} is installed: no commands can be run",
            missing.join(", ")
        );
        checks.push(Check::absent("sandbox", found));
    }
    checks
}

fn told(facts: &facts::Sandbox) -> String {
    let facts::Sandbox {
        runtime, version, ..
    } = facts;
    let privileges = match facts.privileges {
        Privileges::Root => "as root",
        Privileges::Rootless => "in a user namespace, where no device nodes can be made",
    };
    let limits = match facts.limited_by {
        LimitedBy::ControlGroup => "a control group limits memory and processes",
        LimitedBy::ControlGroupWithoutSwap => {
            "a control group limits memory without swap, and processes"
        }
        LimitedBy::ResourceLimits => "processes are limited, memory is not",
    };
    format!("{runtime} {version} runs commands {privileges}; {limits}")
}

/// Says whether requests of a build can be answered, for which the host's programs are needed.
fn relaying(can: &Result<(), sandbox::Error>) -> Check {
    match can {
        Ok(()) => Check::good("replay", "requests of a build can be answered from a lock"),
        Err(missing) => Check::absent(
            "replay",
            format!("no requests of a build can be answered: {missing}"),
        ),
    }
}

/// Says what `reprove check` can vary, for which alone others' programs are needed.
fn varying(path: &[PathBuf], has_faketime: bool) -> Check {
    let has_disorderfs = path
        .iter()
        .any(|folder| folder.join("disorderfs").is_file());
    let missing: Vec<&str> = [
        (
            has_disorderfs,
            "the order of directories without disorderfs",
        ),
        (has_faketime, "the clock without libfaketime"),
    ]
    .into_iter()
    .filter_map(|(has, what)| (!has).then_some(what))
    .collect();
    if missing.is_empty() {
        Check::good(
            "check",
            "disorderfs and libfaketime are there for `reprove check` as root",
        )
    } else {
        let missing = missing.join(", nor ");
        Check::absent("check", format!("`reprove check` cannot vary {missing}"))
    }
}

/// Looks for the ids that a sandbox without root needs; nothing as root.
fn subordinate_ids() -> Option<Check> {
    if rustix::process::geteuid().is_root() {
        return None;
    }
    Some(match Subordinate::of_this_user() {
        Ok(ids) => Check::good(
            "ids",
            format!(
                "{} users and {} groups are yours in a sandbox",
                ids.uids.size(),
                ids.gids.size()
            ),
        ),
        Err(error) => Check::problem(
            "ids",
            error.to_string(),
            "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER, as root",
        ),
    })
}

/// Looks for the certificate authorities that registries and sources over HTTPS are checked with.
fn certificates() -> Check {
    let loaded = rustls_native_certs::load_native_certs();
    if loaded.certs.is_empty() {
        Check::problem(
            "certificates",
            "no certificate authorities: nothing can be fetched over HTTPS",
            "install the package ca-certificates, or set SSL_CERT_FILE",
        )
    } else {
        Check::good(
            "certificates",
            format!("{} certificate authorities", loaded.certs.len()),
        )
    }
}

/// Looks at the files that registry logins are read from, and the programs they name.
fn credentials(files: &[PathBuf], path: &[PathBuf]) -> Vec<Check> {
    let mut checks = Vec::new();
    for file in files {
        let shown = file.display();
        let text = match fs::read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                checks.push(Check::problem(
                    "logins",
                    format!("{shown} cannot be read: {error}"),
                    format!("make {shown} readable, or remove it"),
                ));
                continue;
            }
        };
        let document: serde_json::Value = match serde_json::from_slice(&text) {
            Ok(document) => document,
            Err(error) => {
                checks.push(Check::problem(
                    "logins",
                    format!("{shown} is not JSON: {error}"),
                    format!("mend or remove {shown}"),
                ));
                continue;
            }
        };
        let registries: Vec<&str> = document["auths"]
            .as_object()
            .into_iter()
            .chain(document["credHelpers"].as_object())
            .flat_map(|object| object.keys().map(String::as_str))
            .collect();
        checks.push(Check::good(
            "logins",
            if registries.is_empty() {
                format!("{shown} names no registry")
            } else {
                format!("{shown} has logins for {}", registries.join(", "))
            },
        ));
        let helpers = document["credHelpers"]
            .as_object()
            .into_iter()
            .flat_map(|object| object.values())
            .chain([&document["credsStore"]])
            .filter_map(|helper| helper.as_str());
        for helper in helpers {
            let program = format!("docker-credential-{helper}");
            if !path.iter().any(|folder| folder.join(&program).is_file()) {
                checks.push(Check::problem(
                    "logins",
                    format!("{shown} names the program {program}, which is not there"),
                    format!("install {program}"),
                ));
            }
        }
    }
    if checks.is_empty() {
        checks.push(Check::absent(
            "logins",
            "no registry logins: only public images can be fetched",
        ));
    }
    checks
}

fn search_path() -> Vec<PathBuf> {
    env::var_os("PATH")
        .map(|path| env::split_paths(&path).collect())
        .unwrap_or_default()
}

/// Says which variables send requests through a proxy; not their values, which may hold passwords.
fn proxies() -> Option<Check> {
    let set: Vec<&str> = [
        "HTTPS_PROXY",
        "https_proxy",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
        "NO_PROXY",
        "no_proxy",
    ]
    .into_iter()
    .filter(|name| env::var_os(name).is_some_and(|value| !value.is_empty()))
    .collect();
    (!set.is_empty()).then(|| Check::good("proxy", format!("set by {}", set.join(", "))))
}

#[cfg(test)]
mod tests {
    use reprove::rebuild::sandbox::{Finished, NoIds};

    use super::*;

    fn states(checks: &[Check]) -> Vec<(&'static str, State)> {
        checks
            .iter()
            .map(|check| (check.name, check.state))
            .collect()
    }

    #[test]
    fn a_private_cache_is_good_and_one_that_others_write_is_a_problem() {
        let directory = tempfile::tempdir().unwrap();
        let cache_directory = directory.path().join("cache");
        for (mode, state) in [(0o700, State::Good), (0o777, State::Problem)] {
            fs::create_dir_all(&cache_directory).unwrap();
            fs::set_permissions(&cache_directory, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(
                states(&cache(&cache_directory))[0],
                ("cache", state),
                "{mode:o}"
            );
        }
    }

    #[test]
    fn a_cache_that_cannot_be_made_is_a_problem() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let checks = cache(&file.path().join("cache"));
        assert_eq!(states(&checks), [("cache", State::Problem)]);
    }

    #[test]
    fn what_a_check_cannot_vary_is_no_problem_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = [folder.path().to_owned()];
        assert_eq!(
            varying(&path, false),
            Check::absent(
                "check",
                "`reprove check` cannot vary the order of directories without disorderfs, \
                 nor the clock without libfaketime"
            )
        );
        fs::write(folder.path().join("disorderfs"), "").unwrap();
        assert_eq!(
            varying(&path, false),
            Check::absent(
                "check",
                "`reprove check` cannot vary the clock without libfaketime"
            )
        );
        assert_eq!(
            varying(&path, true),
            // Without root neither the order of directories nor the user is varied.
            Check::good(
                "check",
                "disorderfs and libfaketime are there for `reprove check` as root"
            )
        );
    }

    #[test]
    fn why_a_sandbox_is_not_used_is_a_problem_where_there_is_no_other() {
        let wrong = || Unusable::Wrong {
            outcome: Finished::Failed { status: 1 },
            said: vec!["first".to_owned(), "no cgroup".to_owned()],
        };
        assert_eq!(
            sandboxes(vec![
                ("runc", Err(Unusable::NotInstalled)),
                ("crun", Err(Unusable::NotInstalled)),
            ]),
            [Check::absent(
                "sandbox",
                "none of runc, crun is installed: no commands can be run"
            )]
        );
        let no_ids = || NoIds::TooFew {
            path: "/etc/subuid",
            user: "ann".to_owned(),
            size: 0,
        };
        assert_eq!(
            sandboxes(vec![
                ("runc", Err(Unusable::NoIds(no_ids()))),
                ("crun", Err(Unusable::NoIds(no_ids()))),
            ]),
            [Check::problem(
                "sandbox",
                "without root, runc and crun cannot be used without subordinate ids",
                "give the user subordinate ids, or run reprove as root",
            )]
        );
        assert_eq!(
            sandboxes(vec![
                ("runc", Err(Unusable::NotInstalled)),
                ("crun", Err(wrong())),
            ]),
            [Check::problem(
                "sandbox",
                "crun does not work: true in a container ended with status 1: no cgroup",
                "install another of runc, crun and youki, or a later version",
            )]
        );
    }

    #[test]
    fn logins_are_named_and_a_helper_that_is_missing_is_a_problem() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.json");
        let bin = directory.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let texts = [
            (r#"{"auths": {"registry.example": {}}}"#, vec![State::Good]),
            (
                r#"{"credHelpers": {"registry.example": "here"}, "credsStore": "gone"}"#,
                vec![State::Good, State::Problem],
            ),
            ("{", vec![State::Problem]),
        ];
        fs::write(bin.join("docker-credential-here"), "").unwrap();
        for (text, expected) in texts {
            fs::write(&file, text).unwrap();
            let checks = credentials(std::slice::from_ref(&file), std::slice::from_ref(&bin));
            let found: Vec<State> = checks.iter().map(|check| check.state).collect();
            assert_eq!(found, expected, "{text}");
        }
        fs::remove_file(&file).unwrap();
        assert_eq!(
            states(&credentials(&[file], &[])),
            [("logins", State::Absent)]
        );
    }

    #[test]
    fn any_problem_makes_the_exit_status_trouble() {
        let checkup = |checks| Checkup {
            version: "0",
            platform: Platform::host(),
            checks,
        };
        assert_eq!(
            checkup(vec![Check::absent("logins", "")]).status(),
            Status::Done
        );
        assert_eq!(
            checkup(vec![Check::good("a", ""), Check::problem("b", "", "")]).status(),
            Status::Trouble
        );
    }
}
