//! The second pass: what differs inside of files, and the packages of both images.
//!
//! Only files whose bytes differ and package databases are read again, and put
//! aside on disk; memory does not grow with them.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read},
    sync::Arc,
};

use crate::{
    compare::{
        Attribute, Bearing, Comparison, Difference, Location, Value, Visibility,
        content::{self, Content, Limits},
    },
    digest::Digest,
    explain::{self, Examined},
    image::{
        self, EntryKind, EntryPath, Image, Layer,
        layer::{self, read_error},
        meeting::{Keeping, Kept, KeptReader},
        overlay::FileSystem,
    },
    inventory::{self, Inventory},
    pair::Pair,
    progress::Progress,
};

/// The largest file that is taken apart; of larger ones the ranges that differ are shown.
const MAX_READ: u64 = 64 << 20;

/// How many bytes of package databases are read of each image; the rest has no owners.
const MAX_DATABASES: u64 = 256 << 20;

/// How many bytes of differing files are put aside of each image, the smallest files first.
const MAX_ASIDE: u64 = 4 << 30;

/// How many parts of files one report lists.
const MAX_PARTS: usize = 20_000;

/// How many parts of a file are listed however many others had before it.
const FEW_PARTS: usize = 3;

/// What was found out in the second pass.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// The files whose bytes differ, by where.
    pub(super) files: BTreeMap<Location, Inside>,
    /// The packages of each image.
    pub(super) inventories: Pair<Inventory>,
}

/// What is known of the inside of a file whose bytes differ.
#[derive(Debug)]
pub(super) enum Inside {
    /// It was looked into.
    Seen {
        /// What differs.
        content: Content,
        /// Why.
        examined: Examined,
    },
    /// It was not looked into, for this reason.
    NotSeen(String),
    /// Only one side has it, and its package was looked at.
    Alone(Examined),
}

/// Which image could not be read again.
pub(super) enum Failed {
    Published(image::Error),
    Rebuilt(image::Error),
}

impl Contents {
    /// Returns what was found out of the file at a place.
    pub(super) fn examined(&self, location: &Location) -> Option<&Examined> {
        match self.files.get(location)? {
            Inside::Seen { examined, .. } | Inside::Alone(examined) => Some(examined),
            Inside::NotSeen(_) => None,
        }
    }
}

/// When the package databases are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Databases {
    /// Where something differs at a path.
    WhereFilesDiffer,
    /// In any case.
    Always,
}

/// Reads what is needed of both images a second time, and compares it.
///
/// What was kept when both were read together is taken from there.
pub(super) fn contents(
    images: Pair<&dyn Image>,
    layers: Pair<&[Arc<Layer>]>,
    comparison: &Comparison,
    met: Option<&Kept>,
    databases: Databases,
    progress: &dyn Progress,
) -> Result<Contents, Failed> {
    let differing = differing(&comparison.differences);
    if databases == Databases::WhereFilesDiffer
        && comparison
            .differences
            .iter()
            .all(|difference| difference.path().is_none())
    {
        return Ok(Contents::default());
    }
    let systems = match &comparison.systems {
        Some(systems) => systems.as_ref().map(Some),
        None => Pair::default(),
    };
    let wanted = differing.values().copied();
    let sides = Pair::new(
        (
            images.published,
            layers.published,
            systems.published,
            wanted.clone().map(|pair| pair.published).collect(),
        ),
        (
            images.rebuilt,
            layers.rebuilt,
            systems.rebuilt,
            wanted.map(|pair| pair.rebuilt).collect(),
        ),
    );
    let sides = sides.map_at_once(|(image, layers, system, digests)| {
        let Found { read, too_large } = found_databases(layers, system);
        let aside = Aside::read(image, layers, &digests, read, met, progress)?;
        let mut inventory = Inventory::read(&aside.databases);
        for path in too_large {
            inventory.leave_out(&path);
        }
        Ok((aside, inventory))
    });
    let (sides, inventories) = match (sides.published, sides.rebuilt) {
        (Ok(published), Ok(rebuilt)) => (
            Pair::new(published.0, rebuilt.0),
            Pair::new(published.1, rebuilt.1),
        ),
        (Err(error), _) => return Err(Failed::Published(error)),
        (_, Err(error)) => return Err(Failed::Rebuilt(error)),
    };
    let mut contents = Contents {
        files: BTreeMap::new(),
        inventories,
    };
    let mut parts = MAX_PARTS;
    for (location, digests) in differing {
        let limits = Limits {
            parts: Limits::default().parts.min(parts).max(FEW_PARTS),
            ..Limits::default()
        };
        let inside = inside(
            &location,
            digests,
            sides.as_ref(),
            contents.inventories.as_ref(),
            limits,
        );
        if let Inside::Seen { content, .. } = &inside {
            parts = parts.saturating_sub(content.parts.len());
        }
        contents.files.insert(location, inside);
    }
    if let Some(systems) = &comparison.systems
        && !inventory::drift(contents.inventories.as_ref()).is_empty()
    {
        let differences = &comparison.differences;
        let published = alone(
            images.published,
            (layers.published, &systems.published),
            one_sided(differences, |pair| {
                pair.published.is_some() && pair.rebuilt.is_none()
            }),
            contents.inventories.as_ref(),
            (met, progress),
        )
        .map_err(Failed::Published)?;
        let rebuilt = alone(
            images.rebuilt,
            (layers.rebuilt, &systems.rebuilt),
            one_sided(differences, |pair| {
                pair.published.is_none() && pair.rebuilt.is_some()
            }),
            contents.inventories.as_ref().swapped(),
            (met, progress),
        )
        .map_err(Failed::Rebuilt)?;
        contents.files.extend(published);
        contents.files.extend(rebuilt);
    }
    Ok(contents)
}

/// Returns where one side has what the other has not, by path.
fn one_sided(
    differences: &[Difference],
    is_so: impl Fn(&Pair<Option<Value>>) -> bool,
) -> BTreeMap<&EntryPath, &Location> {
    let mut found = BTreeMap::new();
    for difference in differences {
        if let (
            Attribute::Presence,
            Location::Entry {
                path,
                visibility: Visibility::Visible,
                ..
            },
        ) = (&difference.attribute, &difference.location)
            // Elsewhere both sides have the path, in other layers.
            && difference.bearing == Bearing::Files
            && is_so(&difference.values)
        {
            found.insert(path, &difference.location);
        }
    }
    found
}

/// Looks at what one image has alone, and at its packages: the first of `inventories` is its own.
fn alone(
    image: &dyn Image,
    (layers, system): (&[Arc<Layer>], &FileSystem),
    wanted: BTreeMap<&EntryPath, &Location>,
    inventories: Pair<&Inventory>,
    (met, progress): (Option<&Kept>, &dyn Progress),
) -> Result<Vec<(Location, Inside)>, image::Error> {
    let mut found = Vec::new();
    let mut inside = Vec::new();
    for (path, location) in wanted {
        let is_of_package = inventories.published.owner(path).is_some()
            || path.as_bytes().starts_with(b"var/lib/dpkg/info/");
        if !is_of_package {
            continue;
        }
        let Some(node) = system.at(path) else {
            continue;
        };
        let Some(id) = node.entry else {
            continue;
        };
        let entry = &layers[id.layer].entries[id.index];
        // The last link to a file sets its mode and its owner.
        let setter = node.attributes.unwrap_or(id);
        let setter = &layers[setter.layer].entries[setter.index];
        // What the databases say of modes and owners is not read.
        let is_plain = setter.mode & 0o7022 == 0
            && setter.uid == 0
            && setter.gid == 0
            && setter.xattrs().is_empty();
        let why = match &entry.kind {
            EntryKind::HardLink { .. } => "it is another name of a file".to_owned(),
            EntryKind::File { .. } | EntryKind::Directory if !is_plain => {
                "its mode, its owner or its attributes are not those of a plain file".to_owned()
            }
            EntryKind::File { size, .. } if *size > MAX_READ => {
                format!("it has {size} bytes, which is more than is looked into")
            }
            EntryKind::File { content, .. } => {
                found.push((path, location, Some(*content)));
                continue;
            }
            EntryKind::Directory => {
                found.push((path, location, None));
                continue;
            }
            // They have no bytes that a database records.
            EntryKind::Symlink { .. }
            | EntryKind::CharDevice { .. }
            | EntryKind::BlockDevice { .. }
            | EntryKind::Fifo
            | EntryKind::Other { .. } => continue,
        };
        inside.push((location.clone(), Inside::NotSeen(why)));
    }
    let digests = found.iter().filter_map(|(_, _, digest)| *digest).collect();
    let aside = Aside::read(image, layers, &digests, BTreeMap::new(), met, progress)?;
    for (path, location, digest) in found {
        let mut bytes = Vec::new();
        if let Some(digest) = digest {
            let why = match aside.open(&digest) {
                Err(why) => Some(why.to_owned()),
                Ok(mut reader) => (reader.read_to_end(&mut bytes).err())
                    .map(|error| format!("it could not be read again: {error}")),
            };
            if let Some(why) = why {
                inside.push((location.clone(), Inside::NotSeen(why)));
                continue;
            }
        }
        let examined = explain::examine_alone(&explain::Alone {
            path,
            bytes: digest.map(|_| bytes.as_slice()),
            inventory: inventories.published,
            other: inventories.rebuilt,
        });
        inside.push((location.clone(), Inside::Alone(examined)));
    }
    Ok(inside)
}

/// Returns where files differ in their bytes, and the digests of both.
fn differing(differences: &[Difference]) -> BTreeMap<Location, Pair<Digest>> {
    let mut found = BTreeMap::new();
    for difference in differences {
        if let (
            Attribute::Content,
            Pair {
                published: Some(Value::Digest(published)),
                rebuilt: Some(Value::Digest(rebuilt)),
            },
        ) = (&difference.attribute, &difference.values)
        {
            found.insert(difference.location.clone(), Pair::new(*published, *rebuilt));
        }
    }
    found
}

/// Looks into one file.
fn inside(
    location: &Location,
    digests: Pair<Digest>,
    sides: Pair<&Aside<'_>>,
    inventories: Pair<&Inventory>,
    mut limits: Limits,
) -> Inside {
    let Location::Entry { path, .. } = location else {
        return Inside::NotSeen("it is no file".to_owned());
    };
    let opened = Pair::new(
        sides.published.open(&digests.published),
        sides.rebuilt.open(&digests.rebuilt),
    );
    let mut readers = match (opened.published, opened.rebuilt) {
        (Ok(published), Ok(rebuilt)) => Pair::new(published, rebuilt),
        (Err(why), _) => return Inside::NotSeen(format!("{why} of the published image")),
        (_, Err(why)) => return Inside::NotSeen(format!("{why} of the rebuilt image")),
    };
    let problem =
        |error: io::Error| Inside::NotSeen(format!("it could not be read again: {error}"));
    if readers.published.size().max(readers.rebuilt.size()) > MAX_READ {
        let ranges = content::ranges(
            Pair::new(&mut readers.published, &mut readers.rebuilt),
            &mut limits,
        );
        return match ranges {
            Ok(content) => Inside::Seen {
                content,
                examined: Examined::default(),
            },
            Err(error) => problem(error),
        };
    }
    let mut bytes = Pair::new(Vec::new(), Vec::new());
    let read = (readers.published.read_to_end(&mut bytes.published))
        .and_then(|_| readers.rebuilt.read_to_end(&mut bytes.rebuilt));
    if let Err(error) = read {
        return problem(error);
    }
    let bytes = bytes.as_ref().map(Vec::as_slice);
    let content = content::content(path.as_bytes(), bytes, &mut limits);
    let examined = explain::examine(&explain::File {
        path,
        bytes,
        content: &content,
        inventories,
    });
    Inside::Seen { content, examined }
}

/// Files of one image put aside on disk.
struct Aside<'a> {
    /// What was kept when the images were read first.
    met: Option<&'a Kept>,
    /// What was read again; `None` where the image has no bytes.
    read: Option<Kept>,
    /// The package databases, by path.
    databases: BTreeMap<EntryPath, Vec<u8>>,
}

impl<'a> Aside<'a> {
    /// Reads the files of these digests, and package databases.
    fn read(
        image: &dyn Image,
        layers: &[Arc<Layer>],
        digests: &BTreeSet<Digest>,
        mut databases: BTreeMap<(usize, usize), EntryPath>,
        met: Option<&'a Kept>,
        progress: &dyn Progress,
    ) -> Result<Self, image::Error> {
        let set_aside = |source| image::Error::File {
            path: "a temporary file for what differs".to_owned(),
            source,
        };
        let mut aside = Self {
            met,
            read: None,
            databases: BTreeMap::new(),
        };
        let was_met = |digest: &Digest| met.and_then(|met| met.open(digest));
        let mut files = files(layers, digests);
        files.retain(|_, digest| was_met(digest).is_none());
        for (&(layer, index), path) in &databases {
            if let EntryKind::File { content, .. } = &layers[layer].entries[index].kind
                && let Some(mut reader) = was_met(content)
            {
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes).map_err(set_aside)?;
                aside.databases.insert(path.clone(), bytes);
            }
        }
        databases.retain(|_, path| !aside.databases.contains_key(path));
        let mut keeping = Keeping::new().map_err(set_aside)?;
        for (number, layer) in layers.iter().enumerate() {
            let wanted: BTreeSet<usize> = files
                .keys()
                .chain(databases.keys())
                .filter(|(at, _)| *at == number)
                .map(|&(_, index)| index)
                .collect();
            if wanted.is_empty() {
                continue;
            }
            let blob = match image.open(number) {
                Ok(blob) => blob,
                Err(image::Error::OnlyListed { .. }) => return Ok(aside),
                Err(error) => return Err(error),
            };
            let what = format!("layer {} of {}", number + 1, layers.len());
            let task = progress.begin(&format!("differing files of {what}"), Some(layer.size));
            layer::files(blob, layer, &what, &*task, &wanted, |index, _, content| {
                let at = (number, index);
                let mut bytes = Vec::new();
                if databases.contains_key(&at) {
                    content
                        .read_to_end(&mut bytes)
                        .map_err(|error| read_error(error, &what))?;
                }
                if let Some(&digest) = files.get(&at) {
                    let mut taken = bytes.as_slice();
                    let mut all = (&mut taken).chain(content);
                    copy(&mut all, digest, &mut keeping, &what).map_err(|stop| match stop {
                        Copying::Read(error) => error,
                        Copying::Write(error) => set_aside(error),
                    })?;
                }
                if let Some(path) = databases.get(&at) {
                    aside.databases.insert(path.clone(), bytes);
                }
                Ok(())
            })?;
        }
        aside.read = Some(keeping.finish().map_err(set_aside)?);
        Ok(aside)
    }

    /// Opens a file, or says why it is not there.
    fn open(&self, digest: &Digest) -> Result<KeptReader<'_>, &'static str> {
        let met = self.met.and_then(|met| met.open(digest));
        match (met, &self.read) {
            (Some(reader), _) => Ok(reader),
            (None, None) => Err("the bytes are not available, only a listing"),
            (None, Some(read)) => read
                .open(digest)
                .ok_or("there is more that differs than is looked into"),
        }
    }
}

/// Why a copy was not made.
enum Copying {
    Read(image::Error),
    Write(io::Error),
}

fn copy(from: &mut dyn Read, digest: Digest, to: &mut Keeping, what: &str) -> Result<(), Copying> {
    let mut block = vec![0; 64 << 10];
    let mut size = 0;
    loop {
        let count = match from.read(&mut block) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Copying::Read(read_error(error, what))),
        };
        to.write(&block[..count]).map_err(Copying::Write)?;
        size += count as u64;
    }
    to.written(digest, size);
    Ok(())
}

/// Returns an entry for each digest, by layer and position; no more than may be put aside.
fn files(layers: &[Arc<Layer>], digests: &BTreeSet<Digest>) -> BTreeMap<(usize, usize), Digest> {
    let mut found: BTreeMap<Digest, (u64, (usize, usize))> = BTreeMap::new();
    for (number, layer) in layers.iter().enumerate() {
        for (index, entry) in layer.entries.iter().enumerate() {
            if let EntryKind::File { size, content } | EntryKind::Other { size, content, .. } =
                &entry.kind
                && digests.contains(content)
            {
                found.entry(*content).or_insert((*size, (number, index)));
            }
        }
    }
    let mut by_size: Vec<_> = found.into_iter().collect();
    by_size.sort_by_key(|&(digest, (size, _))| (size, digest));
    let mut sum = 0;
    by_size
        .into_iter()
        .take_while(|(_, (size, _))| {
            sum += size;
            sum <= MAX_ASIDE
        })
        .map(|(digest, (_, at))| (at, digest))
        .collect()
}

/// The package databases of an image.
#[derive(Default)]
struct Found {
    /// Those that are read, by layer and position.
    read: BTreeMap<(usize, usize), EntryPath>,
    /// Those that are larger than what may still be read.
    too_large: Vec<EntryPath>,
}

/// Returns where the package databases lie that a container sees.
///
/// `system` is what the layers make, where that was worked out.
fn found_databases(layers: &[Arc<Layer>], system: Option<&FileSystem>) -> Found {
    let mut found = Found::default();
    let wanted = |path: &EntryPath| Inventory::wants(path);
    let any = layers
        .iter()
        .any(|layer| layer.entries.iter().any(|entry| wanted(&entry.path)));
    if !any {
        return found;
    }
    // What cannot be worked out has no databases that a container sees.
    let Ok(system) = FileSystem::known(system, layers) else {
        return found;
    };
    let mut left = MAX_DATABASES;
    for (path, node) in system.paths().filter(|(path, _)| wanted(path)) {
        let Some(id) = node.entry else {
            continue;
        };
        let size = layers[id.layer].entries[id.index].kind.size();
        match left.checked_sub(size) {
            Some(rest) => {
                left = rest;
                found.read.insert((id.layer, id.index), path.clone());
            }
            None => found.too_large.push(path.clone()),
        }
    }
    found
}
