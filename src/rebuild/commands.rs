//! Commands: the kinds of build that run something → an OCI layout.
//!
//! The root file system is that of the toolchain's packages, or what a
//! Dockerfile makes. The recipe's commands are run in it with the source and
//! the locked files beside them, read-only; what they leave at the place that the
//! recipe names is the image. Or else the image is what the Dockerfile makes, layer
//! by layer. Origins are told by content: what is in a locked package is packaged,
//! what is in the source tree, the lock or a base image is that, and everything
//! else was built.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs::{self, DirBuilder, File},
    io::{self, BufReader, Read, Seek as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{DirBuilderExt as _, PermissionsExt as _, symlink},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags, ResolveFlags, Timespec, openat2};
use serde::{Deserialize, Serialize};

use super::{
    Error, Outside, Request, Stop, WrittenLayers,
    base::BaseImage,
    cannot_write, git_layout,
    kept::Key,
    layer::{self, MadeTimes},
    origins::{Origins, UsedBase},
    output::{self, Writer},
    replay::{Answers, Replay},
    sandbox::{Access, Mount, RootDirectory, User},
    spool::Spool,
    stages::{self, Base, Bases},
    toolchain::{self, Toolchain},
    tree::Tree,
    unpack::{self, Owner},
    workshop::{Answering, Step, Workshop},
};
use crate::{
    dialect::json::{ImageConfig, RunConfig, Step as HistoryStep, StepLayer},
    digest::Digest,
    facts::{self, Built, BuiltLayer, Encoding, Environment, Freshness, Input},
    image::EntryPath,
    progress::{Progress, Task},
    recipe::{
        self, Commands, ImageFields, Output, Timestamps,
        lockfile::{self, Lockfile},
    },
    source::{Source, TreeEntryKind},
    store::BlobReader,
};

/// Where commands find the source tree, with the modes of a checkout and the commit's time.
const SOURCE: &str = "/run/reprove/source";
/// Where they find the locked files by name, and the locked packages as their archive has them.
const MATERIALS: &str = "/run/reprove/materials";

/// What a build came to, as it is kept for the next time.
#[derive(Serialize, Deserialize)]
struct Kept {
    environment: Environment,
    yielded: Yielded,
}

/// What following the recipe leads to.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Yielded {
    product: Product,
    /// What a Dockerfile read of the source, by path from the top of the tree.
    inputs: BTreeMap<String, Input>,
    /// The images that a Dockerfile took something of.
    bases: Vec<UsedBase>,
}

/// What commands leave.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Product {
    /// The files of an OCI layout by their paths in it.
    Layout(BTreeMap<String, Digest>),
    /// The same, of layers that are made by instructions.
    Image {
        files: BTreeMap<String, Digest>,
        /// The layers of the image, the lowest first.
        layers: Vec<LayerMaking>,
    },
    /// Files that take the place of others in the source tree.
    Files(BTreeMap<String, Digest>),
}

/// How a layer was made, which its bytes do not say.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct LayerMaking {
    step: String,
    /// The paths of the entries whose time the builder makes up.
    made_times: Vec<Vec<u8>>,
}

/// A root file system that commands are run in.
struct Made {
    root: RootDirectory,
    environment: BTreeMap<String, String>,
    /// Empty for the root.
    directory: String,
}

/// A build that runs commands.
pub(super) struct Build<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) outside: &'a Outside<'a>,
    pub(super) commands: &'a Commands,
    /// What the build calls now, in seconds since the epoch.
    pub(super) now: i64,
    pub(super) progress: &'a dyn Progress,
}

impl<'a> Build<'a> {
    /// Builds the image into `writer`, or takes it from an earlier build of the same.
    pub(super) fn build(&self, writer: &mut Writer, task: &dyn Task) -> Result<Built, Stop> {
        let workshop = Workshop::new(
            self.outside.in_force(),
            self.outside.scratch,
            self.outside.conditions,
            self.outside.limits,
            self.progress,
        )?;
        let toolchain = self.toolchain(&workshop)?;
        let key = self.key();
        let before = self.outside.stages.get::<Kept>(key)?;
        let mut kept = match before {
            Some(mut kept) if self.has_all(&kept.yielded)? => {
                kept.environment.freshness = Freshness::Cached;
                kept
            }
            Some(_) | None => self.made(key, workshop, toolchain.as_ref())?,
        };
        kept.environment.toolchain = toolchain.as_ref().map(|toolchain| facts::Toolchain {
            root: toolchain.root,
            freshness: toolchain.freshness,
        });
        let Yielded {
            product,
            inputs,
            bases,
        } = kept.yielded;
        let copied = |files, writer: &mut Writer| {
            let place = git_layout::Place::Store(self.outside.store, files);
            let toolchain = toolchain.as_ref().map(|made| (made, self.packages()));
            let source = self.request.source;
            let origins = |sizes: &BTreeSet<u64>| {
                Origins::by_content(toolchain, &bases, self.outside, source, sizes)
            };
            git_layout::copy(place, self.request.platform, None, &origins, writer, task)
        };
        let mut built = match product {
            Product::Layout(files) => copied(&files, writer)?,
            Product::Image { files, layers } => {
                let built = copied(&files, writer)?;
                let layers = built.layers.into_iter().zip(layers);
                Built {
                    layers: layers
                        .map(|(layer, making)| BuiltLayer {
                            step: making.step,
                            made_times: making
                                .made_times
                                .iter()
                                .map(|path| EntryPath::of(path))
                                .collect(),
                            ..layer
                        })
                        .collect(),
                    encoding: Some(self.request.encoding),
                    ..built
                }
            }
            Product::Files(files) => self.with_files(&files, writer, task)?,
        };
        built.inputs.extend(inputs);
        Ok(Built {
            environment: Some(Box::new(kept.environment)),
            ..built
        })
    }

    /// Makes the toolchain's root, or takes it from the store; `None` where nothing is pinned.
    fn toolchain(&self, workshop: &Workshop<'_>) -> Result<Option<Toolchain>, Stop> {
        let packages = self.packages();
        if packages.is_empty() {
            return Ok(None);
        }
        let outside = self.outside;
        toolchain::make(packages, workshop, outside.store, outside.stages).map(Some)
    }

    /// Returns the packages that the lock pins for the platform.
    fn packages(&self) -> &'a [lockfile::Package] {
        let locked = self.outside.lock.platform(self.request.platform);
        locked.map_or(&[], |locked| &locked.packages)
    }

    /// Returns the digest of all that the result depends on.
    fn key(&self) -> Key {
        let outside = self.outside;
        let hashes = |lock: &Lockfile| {
            let mut hashes: Vec<(String, Digest)> = lock
                .pins(self.request.platform)
                .into_iter()
                .map(|pin| (pin.name, pin.digest))
                .collect();
            hashes.sort();
            hashes
        };
        // Where the recipe says itself what writes the bytes, what was asked changes nothing.
        let encoding = (self.request.build.takes_encoding()).then_some((
            self.request.encoding.dialect,
            self.request.encoding.compressor,
        ));
        Key::of(
            "build",
            &(
                self.request.build,
                self.request.source.map(|source| source.tree().to_string()),
                self.now,
                self.request.platform,
                self.request.context,
                encoding,
                outside.values,
                hashes(outside.lock),
                outside.conditions,
                outside.in_force().facts(),
            ),
        )
    }

    /// Returns whether the store has all of it; the bytes are checked when they are read.
    fn has_all(&self, yielded: &Yielded) -> Result<bool, Error> {
        let (Product::Layout(files) | Product::Image { files, .. } | Product::Files(files)) =
            &yielded.product;
        for digest in files.values() {
            if !toolchain::is_kept(digest, self.outside.store)? {
                return Ok(false);
            }
        }
        for base in &yielded.bases {
            if !base.files.are_kept(self.outside.store)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Runs the commands and keeps what they leave.
    fn made<'w>(
        &'w self,
        key: Key,
        mut workshop: Workshop<'w>,
        toolchain: Option<&Toolchain>,
    ) -> Result<Kept, Stop> {
        if let Some(answering) = self.answering()? {
            workshop.connect(answering);
        }
        let yielded = self.yielded(&workshop, toolchain);
        let mut steps = toolchain.map_or_else(Vec::new, |toolchain| toolchain.steps.clone());
        steps.extend(workshop.take_steps());
        let requests = workshop.answered();
        let mut log = workshop.into_log();
        log.rewind().map_err(|source| Error::Keep { source })?;
        let log = toolchain::keep(log, self.outside.store)?;
        let kept = Kept {
            environment: Environment {
                sandbox: self.outside.in_force().facts(),
                toolchain: None,
                steps,
                requests,
                log,
                freshness: Freshness::Fresh,
            },
            yielded: yielded.map_err(|stop| stop.with_log(log))?,
        };
        self.outside.stages.put(key, &kept)?;
        Ok(kept)
    }

    /// Returns what answers the requests of commands; `None` where the recipe has no URL for any.
    fn answering(&self) -> Result<Option<Answering<'_>>, Error> {
        if let Some(recording) = self.outside.recording {
            return Ok(Some(Answering::Outside(recording)));
        }
        if self.outside.lock.files.is_empty() {
            return Ok(None);
        }
        let outside = self.outside;
        let answers = Answers::of(&outside.lock.pins(self.request.platform));
        let replay = answers
            .and_then(|answers| Replay::start(answers, outside.store, outside.scratch))
            .map_err(Error::Replay)?;
        Ok(Some(Answering::Lock(replay)))
    }

    fn yielded(
        &self,
        workshop: &Workshop<'_>,
        toolchain: Option<&Toolchain>,
    ) -> Result<Yielded, Stop> {
        let bases = Locked {
            build: self,
            workshop,
            toolchain,
            used: RefCell::default(),
        };
        let (product, inputs) = match (self.request.build, &self.commands.output) {
            (recipe::Build::Dockerfile { .. }, Output::Image { timestamps }) => {
                self.image(workshop, &bases, *timestamps)?
            }
            (recipe::Build::Dockerfile { .. }, _) => {
                let built = stages::build(&self.plan(workshop, &bases)?)?;
                let run = built.config.run;
                let variables = run.environment.iter();
                let made = Made {
                    root: built.root,
                    environment: variables
                        .filter_map(|variable| variable.split_once('='))
                        .map(|(name, value)| (name.to_owned(), value.to_owned()))
                        .collect(),
                    directory: run.working_directory,
                };
                (self.left(workshop, made)?, built.inputs)
            }
            _ => match toolchain {
                Some(toolchain) => {
                    let made = Made {
                        root: toolchain.root(workshop, self.outside.store)?,
                        environment: BTreeMap::new(),
                        directory: String::new(),
                    };
                    (self.left(workshop, made)?, BTreeMap::new())
                }
                None => {
                    return Err(Stop::failed(
                        "there is nothing to run commands in: the recipe has no [toolchain]",
                    ));
                }
            },
        };
        // What is locked is a material, and told as such.
        let is_of_source = |path: &String, _: &mut Input| !path.contains("://");
        let mut inputs = inputs;
        inputs.retain(is_of_source);
        Ok(Yielded {
            product,
            inputs,
            bases: bases.used.into_inner(),
        })
    }

    /// Runs the recipe's commands and takes what they leave.
    fn left(&self, workshop: &Workshop<'_>, made: Made) -> Result<Product, Stop> {
        self.run(workshop, &made)?;
        let product = self
            .taken(workshop, &made.root)
            .map_err(|stop| stop.at("taking what the commands leave"))?;
        made.root.remove().map_err(Error::Sandbox)?;
        Ok(product)
    }

    /// Follows the Dockerfile, and keeps the image that it makes.
    fn image(
        &self,
        workshop: &Workshop<'_>,
        bases: &Locked<'_>,
        timestamps: Timestamps,
    ) -> Result<(Product, BTreeMap<String, Input>), Stop> {
        let folder = self.folder("layout-")?;
        let place = folder.path().join("image");
        let mut writer = output::Output::Layout(place.clone()).create()?;
        let task = self.progress.begin("writing layers", None);
        let built = stages::build_image(
            &self.plan(workshop, bases)?,
            timestamps,
            &mut WrittenLayers {
                writer: &mut writer,
                task: &*task,
            },
        )?;
        built.root.remove().map_err(Error::Sandbox)?;
        super::write_image(
            &mut writer,
            &built.config,
            &built.base,
            &built.layers,
            self.request.encoding,
            self.request.platform,
        )?;
        writer.finish()?;
        let mut files = self.kept_files(&place)?;
        for layer in &built.base {
            // The base brought it into the store.
            files.insert(blob_path(&layer.digest.hex()), layer.digest);
        }
        let below = built.base.iter().enumerate().map(|(index, _)| LayerMaking {
            step: format!("layer {} of the base", index + 1),
            made_times: Vec::new(),
        });
        let above = built.layers.into_iter().map(|layer| LayerMaking {
            step: layer.step,
            made_times: layer
                .made_times
                .iter()
                .map(|path| path.as_bytes().to_vec())
                .collect(),
        });
        let layers = below.chain(above).collect();
        Ok((Product::Image { files, layers }, built.inputs))
    }

    fn plan<'p>(
        &'p self,
        workshop: &'p Workshop<'_>,
        bases: &'p dyn Bases,
    ) -> Result<stages::Plan<'p>, Stop> {
        let recipe::Build::Dockerfile {
            dockerfile,
            context,
            target,
            arguments,
            overrides,
            ..
        } = self.request.build
        else {
            return Err(Stop::failed("the kind of build has no Dockerfile"));
        };
        Ok(stages::Plan {
            source: super::source(self.request)?,
            dockerfile,
            context,
            context_kind: self.request.context,
            target: target.as_deref(),
            arguments,
            platform: self.request.platform,
            encoding: self.request.encoding,
            now: self.now,
            overrides,
            workshop,
            bases,
        })
    }

    /// Runs the recipe's commands.
    ///
    /// As `docker run` does, they have the variables and the working directory of the image
    /// that a Dockerfile makes.
    fn run(&self, workshop: &Workshop<'_>, made: &Made) -> Result<(), Stop> {
        if self.commands.run.is_empty() {
            return Ok(());
        }
        let source = match self.request.source {
            Some(source) => Some(self.checked_out(source)?),
            None => None,
        };
        let materials = self.materials()?;
        let mut mounts = vec![Mount {
            source: materials.path(),
            destination: MATERIALS,
            access: Access::ReadOnly,
        }];
        mounts.extend(source.as_ref().map(|folder| Mount {
            source: folder.path(),
            destination: SOURCE,
            access: Access::ReadOnly,
        }));
        let mut environment = BTreeMap::from([
            ("PATH".to_owned(), toolchain::PATH.to_owned()),
            ("SOURCE_DATE_EPOCH".to_owned(), self.now.to_string()),
            ("SOURCE".to_owned(), SOURCE.to_owned()),
            ("MATERIALS".to_owned(), MATERIALS.to_owned()),
        ]);
        environment.extend(made.environment.clone());
        let values = self.outside.values.iter();
        environment.extend(values.map(|(name, value)| (name.clone(), value.text.clone())));
        let given = self.commands.environment.iter();
        environment.extend(given.map(|(name, value)| (name.clone(), value.clone())));
        for (number, text) in self.commands.run.iter().enumerate() {
            let first = text.lines().map(str::trim).find(|line| !line.is_empty());
            let name = format!("run {}: {}", number + 1, first.unwrap_or_default());
            let arguments = ["/bin/sh", "-euc", text].map(str::to_owned);
            workshop.run(&Step {
                name: &name,
                root: made.root.path(),
                arguments: &arguments,
                environment: &environment,
                directory: match made.directory.as_str() {
                    "" => "/",
                    directory => directory,
                },
                user: User::default(),
                mounts: &mounts,
            })?;
        }
        Ok(())
    }

    /// Writes the source tree to disk, as a checkout with umask 022 has it.
    fn checked_out(&self, source: &Source) -> Result<tempfile::TempDir, Error> {
        let folder = self.folder("source-")?;
        let time = self.now;
        for entry in source.walk("")? {
            let path = folder.path().join(as_path(&entry.path));
            match entry.kind {
                TreeEntryKind::Directory => fs::create_dir(&path).map_err(cannot_write(&path))?,
                TreeEntryKind::File | TreeEntryKind::Executable => {
                    let mut content = source.open(&entry.path)?;
                    let mode = if entry.kind == TreeEntryKind::File {
                        0o644
                    } else {
                        0o755
                    };
                    Self::write(&path, &mut content, mode, time)?;
                }
                TreeEntryKind::Symlink => {
                    let target = source.link_target(&entry.path)?;
                    symlink(as_path(&target), &path).map_err(cannot_write(&path))?;
                }
                // An empty directory, as git leaves it.
                TreeEntryKind::Submodule => {
                    fs::create_dir(&path).map_err(cannot_write(&path))?;
                }
            }
        }
        Ok(folder)
    }

    /// Writes the locked files and packages to disk: files by name, packages below their archive.
    fn materials(&self) -> Result<tempfile::TempDir, Error> {
        let folder = self.folder("materials-")?;
        let lock = self.outside.lock;
        let packages = self.packages().iter().map(|package| {
            let path = format!("{}/{}", package.pool.archive, package.pool.path);
            (path, package.sha256)
        });
        let files = lock.files.iter();
        let files = files.map(|file| (file.name.clone(), file.sha256));
        for (name, digest) in files.chain(packages) {
            let path = folder.path().join(&name);
            let parent = path.parent().unwrap_or(folder.path());
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(parent)
                .map_err(cannot_write(parent))?;
            let mut content = self.blob(&digest, &name)?;
            Self::write(&path, &mut content, 0o644, self.now)?;
        }
        Ok(folder)
    }

    fn write(path: &Path, content: &mut dyn Read, mode: u32, time: i64) -> Result<(), Error> {
        let written = File::create_new(path).and_then(|mut file| {
            io::copy(content, &mut file)?;
            file.set_permissions(fs::Permissions::from_mode(mode))?;
            rustix::fs::futimens(&file, &at(time)).map_err(io::Error::from)
        });
        written.map_err(cannot_write(path))
    }

    fn folder(&self, prefix: &str) -> Result<tempfile::TempDir, Error> {
        let scratch = self.outside.scratch;
        let folder = tempfile::Builder::new()
            .prefix(prefix)
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir_in(scratch);
        folder.map_err(cannot_write(scratch))
    }

    fn blob(&self, digest: &Digest, what: &str) -> Result<BlobReader, Error> {
        let blob = self.outside.store.read(digest).map_err(Error::Store)?;
        blob.ok_or_else(|| Error::NotKept {
            what: what.to_owned(),
        })
    }

    /// Takes what is the image out of the root file system, and keeps it.
    fn taken(&self, workshop: &Workshop<'_>, root: &RootDirectory) -> Result<Product, Stop> {
        match &self.commands.output {
            Output::Rootfs { path, image } => {
                let tar = self.packed(workshop, root, path, Some(self.now))?;
                let encoding = self.encoding(image);
                self.layout(image, encoding, |writer, step| {
                    let (mut tree, mut spool) = (Tree::new(), Spool::new()?);
                    tree.begin_step();
                    let top = EntryPath::of(b"");
                    let mut input = tar.as_file();
                    unpack::unpack_plain(
                        &mut input,
                        &top,
                        Owner::AsArchived,
                        &mut tree,
                        &mut spool,
                    )?;
                    let times = MadeTimes {
                        default: self.now,
                        known: None,
                        latest: None,
                    };
                    let sink = writer.begin_blob()?;
                    let files = tree.layer();
                    let none = BTreeSet::new();
                    let (sink, layer) =
                        layer::write(&files, &none, &spool, step, encoding, &times, sink)?;
                    writer.end_blob(sink, layer.digest)?;
                    Ok(layer)
                })
            }
            Output::Tar { path, image } => {
                let mut tar = opened(root.path(), path, OFlags::RDONLY)?;
                let encoding = self.encoding(image);
                self.layout(image, encoding, |writer, step| {
                    let sink = writer.begin_blob()?;
                    let (sink, layer) = layer::compressed(&mut tar, step, encoding, sink)?;
                    writer.end_blob(sink, layer.digest)?;
                    Ok(layer)
                })
            }
            Output::Layout { path } => {
                let tar = self.packed(workshop, root, path, None)?;
                self.kept_layout(tar.as_file(), path)
            }
            Output::Files { files, .. } => {
                let kept = files.iter().map(|(tree, inside)| {
                    let file = opened(root.path(), inside, OFlags::RDONLY)?;
                    Ok((tree.clone(), toolchain::keep(file, self.outside.store)?))
                });
                Ok(Product::Files(kept.collect::<Result<_, Stop>>()?))
            }
            Output::Image { .. } => {
                Err(Stop::failed("the kind of build makes no image of its own"))
            }
        }
    }

    /// Packs a directory of the root.
    fn packed(
        &self,
        workshop: &Workshop<'_>,
        root: &RootDirectory,
        path: &str,
        latest: Option<i64>,
    ) -> Result<tempfile::NamedTempFile, Stop> {
        // Only to see that it is there and that no link leads out of the root.
        opened(root.path(), path, OFlags::PATH | OFlags::DIRECTORY)?;
        let directory = root.path().join(path.trim_start_matches('/'));
        let scratch = self.outside.scratch;
        let tar = tempfile::NamedTempFile::new_in(scratch).map_err(cannot_write(scratch))?;
        workshop
            .runtime()
            .pack(&directory, tar.path(), latest, scratch)
            .map_err(Error::Sandbox)?;
        Ok(tar)
    }

    /// Returns what writes the image: as the recipe says, or else as asked for.
    fn encoding(&self, image: &ImageFields) -> Encoding {
        let asked = self.request.encoding;
        Encoding {
            dialect: image.dialect.unwrap_or(asked.dialect),
            compressor: image.gzip.unwrap_or(asked.compressor),
        }
    }

    /// Makes an image of one layer.
    fn layout(
        &self,
        image: &ImageFields,
        encoding: Encoding,
        layer: impl FnOnce(&mut Writer, &str) -> Result<BuiltLayer, Stop>,
    ) -> Result<Product, Stop> {
        let folder = self.folder("layout-")?;
        let place = folder.path().join("image");
        let mut writer = output::Output::Layout(place.clone()).create()?;
        let history = image.history.as_deref().unwrap_or("reprove");
        let layer = layer(&mut writer, history)?;
        let list = |words: &[String]| (!words.is_empty()).then(|| words.to_vec());
        let config = ImageConfig {
            platform: self.request.platform.clone(),
            created: self.now,
            author: None,
            run: RunConfig {
                user: image.user.clone().unwrap_or_default(),
                environment: image
                    .environment
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect(),
                entrypoint: list(&image.entrypoint),
                command: list(&image.command),
                working_directory: image.working_directory.clone().unwrap_or_default(),
                labels: (!image.labels.is_empty()).then(|| image.labels.clone()),
                ..RunConfig::default()
            },
            history: vec![HistoryStep {
                created: None,
                created_by: history.to_owned(),
                author: None,
                comment: None,
                layer: StepLayer::Made,
            }],
            diff_ids: vec![layer.diff_id],
        };
        super::write_image(
            &mut writer,
            &config,
            &[],
            std::slice::from_ref(&layer),
            encoding,
            self.request.platform,
        )?;
        writer.finish()?;
        Ok(Product::Layout(self.kept_files(&place)?))
    }

    /// Keeps the files of a layout that was written.
    fn kept_files(&self, place: &Path) -> Result<BTreeMap<String, Digest>, Error> {
        let mut files = BTreeMap::new();
        for name in ["index.json", "oci-layout"] {
            let path = place.join(name);
            let file = File::open(&path).map_err(cannot_write(&path))?;
            files.insert(name.to_owned(), toolchain::keep(file, self.outside.store)?);
        }
        let blobs = place.join("blobs/sha256");
        for entry in fs::read_dir(&blobs).map_err(cannot_write(&blobs))? {
            let entry = entry.map_err(cannot_write(&blobs))?;
            let path = entry.path();
            let file = File::open(&path).map_err(cannot_write(&path))?;
            let name = blob_path(&entry.file_name().to_string_lossy());
            files.insert(name, toolchain::keep(file, self.outside.store)?);
        }
        Ok(files)
    }

    /// Keeps the files of a packed layout.
    fn kept_layout(&self, tar: &File, path: &str) -> Result<Product, Stop> {
        let broken = |error: io::Error| Error::Keep { source: error };
        let mut archive = tar::Archive::new(BufReader::with_capacity(1 << 18, tar));
        let mut files = BTreeMap::new();
        for entry in archive.entries().map_err(broken)? {
            let entry = entry.map_err(broken)?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let name = name.trim_start_matches("./").to_owned();
            match entry.header().entry_type() {
                tar::EntryType::Directory => {}
                tar::EntryType::Regular => {
                    files.insert(name, toolchain::keep(entry, self.outside.store)?);
                }
                _ => {
                    return Err(Stop::failed(format!(
                        "{path}/{name} is no plain file, which is all that a layout can have"
                    )));
                }
            }
        }
        Ok(Product::Layout(files))
    }

    /// Builds the Dockerfile of `FROM scratch`, with the kept files in place of the tree's.
    fn with_files(
        &self,
        files: &BTreeMap<String, Digest>,
        writer: &mut Writer,
        task: &dyn Task,
    ) -> Result<Built, Stop> {
        let mut replaced = BTreeMap::new();
        for (path, digest) in files {
            let mut content = Vec::new();
            self.blob(digest, path)?
                .read_to_end(&mut content)
                .map_err(|source| Error::Keep { source })?;
            replaced.insert(path.clone(), content);
        }
        let Some(plan) = super::scratch_plan(self.request, &replaced)? else {
            return Err(Stop::failed("the kind of build makes no files"));
        };
        let built = super::scratch_image(plan, writer, task)?;
        Ok(Built { replaced, ..built })
    }
}

/// What a Dockerfile takes from outside, as the recipe and its lock have it.
struct Locked<'a> {
    build: &'a Build<'a>,
    workshop: &'a Workshop<'a>,
    toolchain: Option<&'a Toolchain>,
    /// The images that something was taken of.
    used: RefCell<Vec<UsedBase>>,
}

impl Bases for Locked<'_> {
    fn base(&self, name: &str) -> Result<Option<Base>, Stop> {
        let recipe::Build::Dockerfile { bases, .. } = self.build.request.build else {
            return Ok(None);
        };
        match bases.get(name) {
            None => Ok(None),
            Some(recipe::Base::Toolchain) => {
                let toolchain = self.toolchain.ok_or_else(|| {
                    Stop::failed(format!(
                        "{name} is the toolchain, and the recipe has no [toolchain]"
                    ))
                })?;
                Ok(Some(Base {
                    root: toolchain.root(self.workshop, self.build.outside.store)?,
                    config: RunConfig::default(),
                    author: None,
                    history: Vec::new(),
                    layers: None,
                }))
            }
            Some(recipe::Base::Image(image)) => self.image(image).map(Some),
        }
    }

    fn fetched(&self, url: &str) -> Result<Option<PathBuf>, Stop> {
        let outside = self.build.outside;
        let mut files = outside.lock.files.iter();
        let Some(file) = files.find(|file| file.urls.iter().any(|known| known == url)) else {
            return Ok(None);
        };
        let path = outside.scratch.join(file.sha256.hex());
        if !path.exists() {
            let mut content = self.build.blob(&file.sha256, &file.name)?;
            Build::write(&path, &mut content, 0o600, self.build.now)?;
        }
        Ok(Some(path))
    }
}

impl Locked<'_> {
    /// Makes a root file system of an image.
    fn image(&self, name: &str) -> Result<Base, Stop> {
        let Build {
            request,
            outside,
            progress,
            ..
        } = *self.build;
        let image = BaseImage::find(name, request.platform, outside.access, progress)?;
        let files = image.files(self.workshop, outside.store, outside.stages, progress)?;
        if let Output::Image { .. } = self.build.commands.output {
            // They are part of what is built.
            image.keep(outside.store, progress)?;
        }
        let root = files.root(self.workshop, outside.store)?;
        let diff_ids = image.layers.iter().map(|layer| layer.diff_id).collect();
        let used = UsedBase { files, diff_ids };
        let mut known = self.used.borrow_mut();
        if !known.contains(&used) {
            known.push(used);
        }
        Ok(Base {
            root,
            config: image.run,
            author: image.author,
            history: image.history,
            layers: Some(image.layers),
        })
    }
}

/// Returns where a layout has a blob.
fn blob_path(hex: &str) -> String {
    format!("blobs/sha256/{hex}")
}

/// Opens what is at a path in the root, where no symbolic link may be on the way.
fn opened(root: &Path, path: &str, flags: OFlags) -> Result<File, Stop> {
    let failed = |problem: &str| Stop::failed(format!("{path} {problem}"));
    let root = File::open(root).map_err(cannot_write(root))?;
    let inside = path.trim_start_matches('/');
    match openat2(
        &root,
        inside,
        flags | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
    ) {
        Ok(file) => Ok(File::from(file)),
        Err(rustix::io::Errno::NOENT) => Err(failed("is not there after the commands")),
        Err(rustix::io::Errno::LOOP) => Err(failed("leads through a symbolic link")),
        Err(rustix::io::Errno::NOTDIR) => Err(failed("is not a directory")),
        Err(errno) => Err(Error::Write {
            path: path.into(),
            source: errno.into(),
        }
        .into()),
    }
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// Returns both times of a file that was last changed then, in seconds since the epoch.
fn at(seconds: i64) -> rustix::fs::Timestamps {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    rustix::fs::Timestamps {
        last_access: time,
        last_modification: time,
    }
}
