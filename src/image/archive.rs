//! Archives: an OCI layout in a tar, and what `docker save` writes.
//!
//! One pass over the tar notes where its files lie; they are then read in place,
//! and nothing is unpacked. A compressed archive cannot be read at a place, so
//! it is inflated once into a temporary file that has no name.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufReader, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

use serde::Deserialize;

use super::{
    Descriptor, Error, Image, ImageName, Manifest, Platform, RawConfig, RawIndex,
    config::MAX_CONFIG,
    entry::Printable,
    json::{self, Document},
    layout::{self, Files, LayoutImage},
    manifest::MAX_MANIFEST,
    pinned::{check_platform, read_limited},
    reference::RegistryName,
};
use crate::{digest::Digest, progress::Progress};

/// The largest compressed archive that is inflated, in bytes of its tar: more
/// than any image has, less than what fills a disk.
const MAX_INFLATED: u64 = 256 << 30;

/// How many symbolic links lead from one to the next before they are taken to be a circle.
const MAX_LINKS: usize = 16;

/// A tar, and where its files lie in it.
#[derive(Debug, Clone)]
struct Archive {
    path: String,
    file: Arc<File>,
    members: Arc<BTreeMap<String, Member>>,
}

#[derive(Debug)]
enum Member {
    File { offset: u64, size: u64 },
    Link(String),
}

impl Archive {
    fn open(path: &Path, progress: &dyn Progress) -> Result<Self, Error> {
        let shown = path.display().to_string();
        let error = |source| Error::File {
            path: shown.clone(),
            source,
        };
        if !fs::metadata(path).map_err(error)?.is_file() {
            return Err(error(io::Error::other("it is not a regular file")));
        }
        let file = plain(&shown, File::open(path).map_err(error)?, progress)?;
        let size = file.metadata().map_err(error)?.len();
        let mut tar = ::tar::Archive::new(BufReader::new(&file));
        let mut members = BTreeMap::new();
        for entry in tar.entries_with_seek().map_err(error)? {
            let entry = entry.map_err(error)?;
            let invalid = |problem: String| Error::Invalid {
                what: shown.clone(),
                problem: format!("{problem} {}", Printable(&entry.path_bytes())),
            };
            let kind = entry.header().entry_type();
            let member = if kind.is_file() {
                let (offset, length) = (entry.raw_file_position(), entry.size());
                if offset.checked_add(length).is_none_or(|end| end > size) {
                    return Err(invalid("ends within".to_owned()));
                }
                Member::File {
                    offset,
                    size: length,
                }
            } else if kind.is_symlink() || kind.is_hard_link() {
                let target = entry.link_name_bytes().unwrap_or_default();
                let target = std::str::from_utf8(&target)
                    .map_err(|_| invalid("has a link that is no text:".to_owned()))?;
                // A hard link's target is a path from the top, a symbolic link's one from here.
                Member::Link(if kind.is_hard_link() {
                    format!("/{target}")
                } else {
                    target.to_owned()
                })
            } else if kind.is_dir() || kind.is_pax_global_extensions() {
                continue;
            } else {
                return Err(invalid(format!(
                    "has an entry of type {:?}:",
                    char::from(kind.as_byte())
                )));
            };
            // What is no text is no file of a layout either.
            let bytes = entry.path_bytes();
            let Some(path) = std::str::from_utf8(&bytes)
                .ok()
                .and_then(|path| resolved("", path))
            else {
                return Err(invalid("has a path that leads out of it:".to_owned()));
            };
            // Unpacked, the last would win; other readers take the first.
            if members.insert(path, member).is_some() {
                return Err(invalid("has two entries".to_owned()));
            }
        }
        drop(tar);
        Ok(Self {
            path: shown,
            file: Arc::new(file),
            members: Arc::new(members),
        })
    }

    /// Opens the member at `path`, through links.
    fn extent(&self, path: &str) -> Result<Extent, Error> {
        let error = |source| Error::File {
            path: format!("{} in {}", path, self.path),
            source,
        };
        let mut wanted = path.to_owned();
        for _ in 0..MAX_LINKS {
            match self.members.get(&wanted) {
                Some(&Member::File { offset, size }) => {
                    return Ok(Extent {
                        file: Arc::clone(&self.file),
                        offset,
                        end: offset + size,
                    });
                }
                Some(Member::Link(target)) => {
                    let directory = wanted
                        .rsplit_once('/')
                        .map_or("", |(directory, _)| directory);
                    wanted = resolved(directory, target).ok_or_else(|| {
                        error(io::Error::other("its link leads out of the archive"))
                    })?;
                }
                None => return Err(error(io::ErrorKind::NotFound.into())),
            }
        }
        Err(error(io::Error::other("its links lead in a circle")))
    }
}

impl Files for Archive {
    fn open(&self, path: &str) -> Result<Box<dyn Read + Send>, Error> {
        Ok(Box::new(self.extent(path)?))
    }
}

/// Returns where `path` leads from `directory`; `None` where that is out of the archive.
fn resolved(directory: &str, path: &str) -> Option<String> {
    let start = if path.starts_with('/') { "" } else { directory };
    let mut components: Vec<&str> = Vec::new();
    for component in start.split('/').chain(path.split('/')) {
        match component {
            "" | "." => {}
            ".." => drop(components.pop()?),
            name => components.push(name),
        }
    }
    Some(components.join("/"))
}

/// How an archive as a whole is compressed: all that `docker load` takes.
enum Format {
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

/// Returns the file itself, or what it is inflated to.
fn plain(path: &str, mut file: File, progress: &dyn Progress) -> Result<File, Error> {
    let error = |source| Error::File {
        path: path.to_owned(),
        source,
    };
    let mut magic = Vec::new();
    (&file).take(6).read_to_end(&mut magic).map_err(error)?;
    file.seek(SeekFrom::Start(0)).map_err(error)?;
    let size = file.metadata().map_err(error)?.len();
    let format = match magic.as_slice() {
        [0x1f, 0x8b, ..] => Format::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Format::Zstd,
        [b'B', b'Z', b'h', ..] => Format::Bzip2,
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Format::Xz,
        _ => return Ok(file),
    };
    let task = progress.begin(&format!("inflating {path}"), Some(size));
    let compressed = BufReader::new(Advancing {
        file: &file,
        task: &*task,
    });
    let inflated: Box<dyn Read> = match format {
        Format::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(compressed)),
        Format::Zstd => Box::new(zstd::Decoder::with_buffer(compressed).map_err(error)?),
        Format::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(compressed)),
        Format::Xz => Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(compressed)),
    };
    let spill_error = |source| Error::File {
        path: format!("a temporary file for {path}"),
        source,
    };
    let mut spill = tempfile::tempfile().map_err(spill_error)?;
    let written = io::copy(&mut inflated.take(MAX_INFLATED + 1), &mut spill).map_err(error)?;
    if written > MAX_INFLATED {
        return Err(Error::Invalid {
            what: path.to_owned(),
            problem: format!("inflates to more than {MAX_INFLATED} bytes"),
        });
    }
    spill.seek(SeekFrom::Start(0)).map_err(spill_error)?;
    Ok(spill)
}

/// Reads a file and says how far it is.
struct Advancing<'a> {
    file: &'a File,
    task: &'a dyn crate::progress::Task,
}

impl Read for Advancing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.task.advance(count as u64);
        Ok(count)
    }
}

/// A part of a file that several may read at once.
#[derive(Debug)]
struct Extent {
    file: Arc<File>,
    offset: u64,
    end: u64,
}

impl Read for Extent {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        let count = self.file.read_at(&mut buffer[..wanted], self.offset)?;
        if count == 0 && wanted > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += count as u64;
        Ok(count)
    }
}

/// Reads the layout in a tar, compressed or not.
pub(super) fn open_oci(
    file: &Path,
    name: ImageName,
    platform: Option<&Platform>,
    progress: &dyn Progress,
) -> Result<LayoutImage, Error> {
    layout::from_files(Box::new(Archive::open(file, progress)?), name, platform)
}

/// An image as `docker save` writes it: a config and layers, with neither manifest nor descriptors.
///
/// Its only identity is the config's digest, which names the layers by their
/// diffIDs; how the layers were compressed when published cannot be known.
pub struct DockerArchive {
    name: ImageName,
    archive: Archive,
    config: RawConfig,
    layers: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

/// Reads a docker-archive, compressed or not; `reference` says which of its images.
pub(super) fn open_docker(
    file: &Path,
    name: ImageName,
    reference: Option<&str>,
    platform: Option<&Platform>,
    progress: &dyn Progress,
) -> Result<DockerArchive, Error> {
    let archive = Archive::open(file, progress)?;
    let what = format!("manifest.json of {name}");
    let bytes = read_limited(&what, archive.extent("manifest.json")?, MAX_MANIFEST)?;
    let images: Vec<RawImage> = json::parse(Document::DockerArchive, &what, &bytes)?;
    let image = one_of(&name, &what, images, reference)?;

    let what = format!("the config of {name}");
    let path = resolved("", &image.config).unwrap_or_else(|| image.config.clone());
    let config = RawConfig::new(read_limited(&what, archive.extent(&path)?, MAX_CONFIG)?);
    let stem = path.rsplit('/').next().unwrap_or_default();
    let stem = stem.strip_suffix(".json").unwrap_or(stem);
    if let Ok(expected) = format!("sha256:{stem}").parse::<Digest>()
        && expected != config.digest
    {
        return Err(Error::DigestMismatch {
            what,
            expected: expected.to_string(),
            actual: config.digest.to_string(),
        });
    }
    let parsed = config.parse(&what)?;
    check_platform(&what, &parsed, None, platform)?;
    let layers: Vec<String> = image
        .layers
        .unwrap_or_default()
        .iter()
        .map(|path| resolved("", path).unwrap_or_else(|| path.clone()))
        .collect();
    if parsed.diff_ids.len() != layers.len() {
        return Err(Error::Invalid {
            what,
            problem: format!(
                "has {} diffIDs for {} layers",
                parsed.diff_ids.len(),
                layers.len()
            ),
        });
    }
    Ok(DockerArchive {
        name,
        archive,
        config,
        layers,
    })
}

/// Returns the image that is meant.
fn one_of(
    name: &ImageName,
    what: &str,
    mut images: Vec<RawImage>,
    reference: Option<&str>,
) -> Result<RawImage, Error> {
    let invalid = |problem| Error::Invalid {
        what: what.to_owned(),
        problem,
    };
    let tags: Vec<&str> = images
        .iter()
        .flat_map(|image| image.repo_tags.iter().flatten())
        .map(String::as_str)
        .collect();
    let has = if tags.is_empty() {
        "nothing with a name".to_owned()
    } else {
        tags.join(", ")
    };
    let Some(reference) = reference else {
        return match images.len() {
            0 => Err(invalid("has no images".to_owned())),
            1 => Ok(images.swap_remove(0)),
            _ => Err(invalid(format!(
                "has several images; name one as {name}:REFERENCE: it has {has}"
            ))),
        };
    };
    // `docker save` writes `busybox:1`, podman `docker.io/library/busybox:1`.
    let complete = |text: &str| text.parse::<RegistryName>().ok();
    let wanted = complete(reference);
    let is_meant = |tag: &String| tag == reference || (wanted.is_some() && complete(tag) == wanted);
    let fits: Vec<usize> = images
        .iter()
        .enumerate()
        .filter(|(_, image)| image.repo_tags.iter().flatten().any(is_meant))
        .map(|(position, _)| position)
        .collect();
    match fits[..] {
        [] => Err(invalid(format!("has no image {reference}; it has {has}"))),
        [position] => Ok(images.swap_remove(position)),
        _ => Err(invalid(format!("has several images called {reference}"))),
    }
}

impl Image for DockerArchive {
    fn name(&self) -> &ImageName {
        &self.name
    }

    fn index(&self) -> Option<&RawIndex> {
        None
    }

    fn manifest(&self) -> Option<&Manifest> {
        None
    }

    fn config(&self) -> &RawConfig {
        &self.config
    }

    fn layer_count(&self) -> usize {
        self.layers.len()
    }

    fn layer_descriptor(&self, _: usize) -> Option<&Descriptor> {
        None
    }

    fn open(&self, index: usize) -> Result<Box<dyn Read + Send + '_>, Error> {
        Ok(Box::new(self.archive.extent(&self.layers[index])?))
    }
}
