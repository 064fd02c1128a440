//! Which packages an image has, by its own database.

use std::{collections::BTreeMap, io::Read};

use super::Error;
use crate::{
    image::{self, EntryPath, Image, layer, overlay::FileSystem, read_layers},
    progress::Progress,
};

/// A package that an image says to have installed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Installed {
    /// Its name.
    pub name: String,
    /// The version in full.
    pub version: String,
    /// The distribution's word for the architecture, or `all`.
    pub architecture: String,
}

/// dpkg's database.
const STATUS: &[u8] = b"var/lib/dpkg/status";
/// Where images without dpkg have an entry of its database for each package.
const STATUS_FOLDER: &[u8] = b"var/lib/dpkg/status.d";
/// The most bytes that are read of a database.
const MOST: u64 = 64 << 20;

/// Returns the packages that an image has by dpkg's database, sorted.
///
/// Nothing but the image's word stands for it.
pub fn installed(image: &dyn Image, progress: &dyn Progress) -> Result<Vec<Installed>, Error> {
    let failed = |source: image::Error| Error::Image {
        image: image.name().to_string(),
        source,
    };
    let layers = read_layers(&[image], progress).map_err(failed)?.remove(0);
    let files = FileSystem::flatten(&layers).map_err(|source| Error::FileSystem {
        image: image.name().to_string(),
        source,
    })?;
    let (status, folder) = (EntryPath::of(STATUS), EntryPath::of(STATUS_FOLDER));
    // Where each database is: its layer, and its position there.
    let mut wanted: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (path, node) in files.paths() {
        let is_database = *path == status || path.parent().as_ref() == Some(&folder);
        if let (true, Some(file)) = (is_database, node.file) {
            wanted.entry(file.layer).or_default().push(file.index);
        }
    }
    let mut found = Vec::new();
    for (number, positions) in wanted {
        let what = format!("layer {number} of {}", image.name());
        let task = progress.begin(&format!("reading {what}"), None);
        let reader = image.open(number).map_err(failed)?;
        layer::contents(
            reader,
            &layers[number],
            &what,
            &*task,
            |position, _| positions.contains(&position),
            |_, _, content| {
                let mut text = Vec::new();
                content
                    .take(MOST)
                    .read_to_end(&mut text)
                    .map_err(|source| image::Error::File {
                        path: what.clone(),
                        source,
                    })?;
                found.extend(parse(&String::from_utf8_lossy(&text)));
                Ok(())
            },
        )
        .map_err(failed)?;
    }
    if found.is_empty() {
        return Err(Error::NothingInstalled {
            image: image.name().to_string(),
        });
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// Reads the entries of a database.
fn parse(text: &str) -> Vec<Installed> {
    text.split("\n\n")
        .filter_map(|text| entry(text.trim_start_matches('\n')))
        .collect()
}

fn entry(text: &str) -> Option<Installed> {
    let field = |name: &str| {
        text.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(field, _)| *field == name)
            .map(|(_, value)| value.trim().to_owned())
    };
    // What was removed and left its configuration is in the database too.
    let is_installed = field("Status").is_none_or(|status| status.ends_with(" installed"));
    let installed = Installed {
        name: field("Package")?,
        version: field("Version")?,
        architecture: field("Architecture")?,
    };
    // An image can say anything, and this goes into apt's preferences and into paths.
    // Source: Debian Policy, 5.6.1 and 5.6.12.
    let made_of = |text: &str, also: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || also.contains(c))
    };
    let is_sane = made_of(&installed.name, "+-.")
        && made_of(&installed.version, ".+-~:")
        && made_of(&installed.architecture, "-");
    (is_installed && is_sane).then_some(installed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_installed_is_read_from_dpkgs_database() {
        let text = "Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2-1+b1\n\
            Description: a shell\n Version: 7\n\n\
            Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n\n\
            Package: odd\nArchitecture: all\nVersion: 1/../2\n\n\
            Package: *\nArchitecture: all\nVersion: 1\n\n\
            Package: tzdata\nArchitecture: all\nVersion: 1:2\n";
        let package = |name: &str, version: &str, architecture: &str| Installed {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: architecture.to_owned(),
        };
        assert_eq!(
            parse(text),
            [
                package("bash", "5.2-1+b1", "amd64"),
                package("tzdata", "1:2", "all")
            ]
        );
    }
}
