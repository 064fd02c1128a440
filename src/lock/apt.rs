//! apt as solver: it chooses versions from verified lists on this disk, and fetches nothing.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use super::{Error, Installed, Locked, Suite, Tools, command, index_name, io_error, kept};
use crate::recipe::{Essential, Recommends, Toolchain};

/// A suite that apt may choose from.
pub(super) struct Repository {
    pub(super) suite: Suite,
    /// The keys that may sign its index: apt checks that too.
    pub(super) keyring: PathBuf,
}

/// A package that apt chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) architecture: String,
}

/// Has apt choose what is installed where nothing is installed yet.
///
/// Of what `installed` has, that version is taken where a list has it.
pub(super) fn solve(
    toolchain: &Toolchain,
    architecture: &str,
    repositories: &[Repository],
    locked: &Locked,
    installed: &[Installed],
    tools: &Tools<'_>,
) -> Result<Vec<Chosen>, Error> {
    let folder =
        tempfile::tempdir_in(tools.scratch).map_err(io_error("make a folder in", tools.scratch))?;
    let root = folder.path();
    let write = |path: &Path, bytes: &[u8]| -> Result<(), Error> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(io_error("make", parent))?;
        }
        fs::write(path, bytes).map_err(io_error("write", path))
    };
    let archives = root.join("archives");
    let in_suite = |suite: &Suite, path: &str| {
        archives
            .join(suite.archive.word())
            .join("dists")
            .join(&suite.name)
            .join(path)
    };
    for release in &locked.releases {
        let what = format!("the signed index of {}", release.suite);
        let bytes = kept(&what, &release.sha256, tools.store)?;
        write(&in_suite(&release.suite, "InRelease"), &bytes)?;
    }
    for index in &locked.indexes {
        let bytes = kept(&index_name(index), &index.sha256, tools.store)?;
        write(&in_suite(&index.suite, &index.path), &bytes)?;
    }
    let mut sources = String::new();
    for (number, Repository { suite, keyring }) in repositories.iter().enumerate() {
        // By files of the root's own, since paths in sources.list cannot have spaces.
        let keys = fs::read(keyring).map_err(io_error("read", keyring))?;
        write(&root.join(format!("etc/trusted.gpg.d/{number}.gpg")), &keys)?;
        let line = writeln!(
            sources,
            "deb [arch={architecture}] {} {} {}",
            file_url(&archives.join(suite.archive.word())),
            suite.name,
            toolchain.components.join(" ")
        );
        line.expect("a string takes any text");
    }
    write(&root.join("etc/sources.list"), sources.as_bytes())?;
    for folder in [
        "etc/apt.conf.d",
        "etc/preferences.d",
        "state/lists/partial",
        "cache/archives/partial",
    ] {
        let folder = root.join(folder);
        fs::create_dir_all(&folder).map_err(io_error("make", &folder))?;
    }
    let mut preferences = String::new();
    for package in installed {
        // Above 1000: also where that is older than what else there is. See apt_preferences(5).
        let entry = writeln!(
            preferences,
            "Package: {}\nPin: version {}\nPin-Priority: 1001\n",
            package.name, package.version
        );
        entry.expect("a string takes any text");
    }
    write(&root.join("etc/preferences"), preferences.as_bytes())?;
    write(&root.join("status"), b"")?;
    let configuration = root.join("apt.conf");
    write(
        &configuration,
        configured(root, architecture, toolchain.recommends).as_bytes(),
    )?;

    run(&configuration, &["update".as_ref()])?;
    // Nothing is downloaded: what would be installed is only said.
    let mut arguments: Vec<&OsStr> = ["install", "--simulate", "--yes", "--"]
        .map(OsStr::new)
        .into();
    arguments.extend(toolchain.packages.iter().map(OsStr::new));
    match toolchain.essential {
        Essential::Taken => arguments.push("?essential".as_ref()),
        Essential::LeftOut => {}
    }
    let output = run(&configuration, &arguments)?;
    let said = String::from_utf8_lossy(&output.stdout);
    Ok(said
        .lines()
        .filter_map(|line| chosen(line, architecture))
        .collect())
}

/// Returns the URL of a file or folder on this disk.
fn file_url(path: &Path) -> String {
    let path = path.as_os_str().as_encoded_bytes();
    let encoded: String = path
        .iter()
        .map(|&byte| {
            if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect();
    format!("file:{encoded}")
}

/// Returns apt's whole configuration; the host's is not read.
fn configured(root: &Path, architecture: &str, recommends: Recommends) -> String {
    let root = root.display();
    let recommends = match recommends {
        Recommends::Taken => "true",
        Recommends::LeftOut => "false",
    };
    // The validity of indexes was judged before, as of the right time. The lists
    // are whole files beside their index, so apt need not look for others. apt
    // calls itself essential where it is not told otherwise; no package does.
    format!(
        r#"Dir "{root}";
Dir::State "{root}/state";
Dir::State::status "{root}/status";
Dir::Cache "{root}/cache";
Dir::Etc "{root}/etc";
Dir::Etc::sourceparts "-";
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "{recommends}";
APT::Install-Suggests "false";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::By-Hash "no";
Acquire::PDiffs "false";
Acquire::Check-Valid-Until "false";
pkgCacheGen::ForceEssential ",";
"#
    )
}

fn run(configuration: &Path, arguments: &[&OsStr]) -> Result<Output, Error> {
    let output = command("apt-get")
        .env("APT_CONFIG", configuration)
        .arg("--quiet=1")
        .args(arguments)
        .output()
        .map_err(|source| Error::Program {
            program: "apt-get",
            package: "apt",
            source,
        })?;
    if output.status.success() {
        return Ok(output);
    }
    // Broken dependencies are listed on standard output, after much that is of no use.
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    let unmet = stdout
        .lines()
        .skip_while(|line| !line.starts_with("The following packages have unmet dependencies"))
        .skip(1);
    let said: Vec<&str> = unmet
        .chain(stderr.lines())
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    Err(Error::Apt {
        said: said.join("; "),
    })
}

/// Reads a line such as `Inst libc6 (2.41-12 Debian:13.8/stable [amd64]) []`.
fn chosen(line: &str, native: &str) -> Option<Chosen> {
    let (name, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
    let (_, rest) = rest.split_once('(')?;
    let (inside, _) = rest.split_once(')')?;
    let (version, rest) = inside.split_once(' ')?;
    let (_, architecture) = rest.rsplit_once('[')?;
    let architecture = architecture.strip_suffix(']')?;
    let (name, _) = name.split_once(':').unwrap_or((name, native));
    Some(Chosen {
        name: name.to_owned(),
        version: version.to_owned(),
        architecture: architecture.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apt_would_install_is_read_from_its_simulation() {
        let cases = [
            (
                "Inst libc6 (2.41-12+deb13u5 Debian:13.8/stable [amd64]) []",
                Some(("libc6", "2.41-12+deb13u5", "amd64")),
            ),
            (
                "Inst tzdata (2026c-0 Debian:13.8/stable, Debian-Security:13/stable-security [all])",
                Some(("tzdata", "2026c-0", "all")),
            ),
            ("Conf libc6 (2.41-12 Debian:13.8/stable [amd64])", None),
            ("Reading package lists...", None),
        ];
        for (line, expected) in cases {
            let expected = expected.map(|(name, version, architecture)| Chosen {
                name: name.to_owned(),
                version: version.to_owned(),
                architecture: architecture.to_owned(),
            });
            assert_eq!(chosen(line, "amd64"), expected, "{line}");
        }
    }
}
