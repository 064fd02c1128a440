//! Binary packages: a `.deb` → its control data, its files, and the same package uncompressed.
//!
//! Source: deb(5), deb-control(5).

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, BufWriter, Read, Seek as _, Write as _},
    path::Path,
};

use crate::{
    digest::Digest,
    image::{Entry, EntryKind, tar::Reader},
};

/// Control files are small; more is no package of a distribution.
const MOST_OF_CONTROL: u64 = 64 << 20;

/// What is known of a package once it is unpacked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Deb {
    /// The fields of its control file, by name in lower case; folded lines are joined.
    pub(super) fields: BTreeMap<String, String>,
    /// The hashes of its files' contents.
    pub(super) contents: Vec<Digest>,
    /// The latest time that one of its files has, in seconds since the epoch.
    pub(super) latest: i64,
}

/// Reads a package and writes it uncompressed: as a package to `deb`, its files also to `data`.
pub(super) fn unpack(package: impl Read, deb: &Path, data: &Path) -> io::Result<Deb> {
    let mut members = ar::Archive::new(package);
    let mut output = ar::Builder::new(BufWriter::new(File::create_new(deb)?));
    let mut found = Deb::default();
    let (mut has_control, mut has_data) = (false, false);
    while let Some(member) = members.next_entry() {
        let member = member?;
        let name = String::from_utf8_lossy(member.header().identifier()).into_owned();
        if name == "debian-binary" {
            let mut version = Vec::new();
            member.take(64).read_to_end(&mut version)?;
            if !version.starts_with(b"2.") {
                return Err(invalid("it is not of format 2"));
            }
            append(
                &mut output,
                "debian-binary",
                version.len() as u64,
                &version[..],
            )?;
        } else if let Some(suffix) = name.strip_prefix("control.tar") {
            let mut control = Vec::new();
            let plain = inflated(suffix, member)?;
            plain.take(MOST_OF_CONTROL).read_to_end(&mut control)?;
            found.fields = fields(&control)?;
            append(
                &mut output,
                "control.tar",
                control.len() as u64,
                &control[..],
            )?;
            has_control = true;
        } else if let Some(suffix) = name.strip_prefix("data.tar") {
            let mut file = File::create_new(data)?;
            let mut plain = Copying {
                input: inflated(suffix, member)?,
                copy: BufWriter::with_capacity(1 << 18, &file),
            };
            files(&mut plain, &mut found)?;
            io::copy(&mut plain, &mut io::sink())?;
            plain.copy.flush()?;
            drop(plain);
            let size = file.stream_position()?;
            file.rewind()?;
            append(&mut output, "data.tar", size, File::open(data)?)?;
            has_data = true;
        }
    }
    output
        .into_inner()?
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    if has_control && has_data {
        Ok(found)
    } else {
        Err(invalid("it has no control.tar and data.tar"))
    }
}

fn append(
    output: &mut ar::Builder<BufWriter<File>>,
    name: &str,
    size: u64,
    content: impl Read,
) -> io::Result<()> {
    output.append(&ar::Header::new(name.as_bytes().to_vec(), size), content)
}

fn invalid(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

fn inflated<'a>(suffix: &str, member: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let member = BufReader::with_capacity(1 << 16, member);
    Ok(match suffix {
        "" => Box::new(member),
        ".gz" => Box::new(flate2::bufread::MultiGzDecoder::new(member)),
        ".xz" => Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(member)),
        ".zst" => Box::new(zstd::stream::read::Decoder::with_buffer(member)?),
        ".bz2" => Box::new(bzip2::bufread::MultiBzDecoder::new(member)),
        other => {
            return Err(invalid(&format!(
                "it is compressed in an unknown way, {other}"
            )));
        }
    })
}

/// Copies what is read through it.
struct Copying<R, W> {
    input: R,
    copy: W,
}

impl<R: Read, W: io::Write> Read for Copying<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.copy.write_all(&buffer[..count])?;
        Ok(count)
    }
}

/// Notes what is in a tar of files.
fn files(tar: impl Read, found: &mut Deb) -> io::Result<()> {
    let mut reader = Reader::new(BufReader::with_capacity(1 << 16, tar), "data.tar");
    loop {
        let entry = reader.entry_with(|_| {});
        let entry = entry.map_err(io::Error::other)?;
        let Some(Entry { kind, mtime, .. }) = entry else {
            return Ok(());
        };
        found.latest = found.latest.max(mtime.seconds);
        if let EntryKind::File {
            content: digest,
            size,
            ..
        } = kind
            && size > 0
        {
            found.contents.push(digest);
        }
    }
}

/// Reads the control file in a tar of control files.
fn fields(tar: &[u8]) -> io::Result<BTreeMap<String, String>> {
    let mut archive = tar::Archive::new(tar);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path_bytes().into_owned();
        if path.strip_prefix(b"./").unwrap_or(&path) == b"control" {
            let mut text = String::new();
            entry.read_to_string(&mut text)?;
            return Ok(parsed(&text));
        }
    }
    Err(invalid("it has no control file"))
}

fn parsed(text: &str) -> BTreeMap<String, String> {
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    let mut last = None;
    for line in text.lines() {
        if line.starts_with([' ', '\t']) {
            if let Some(value) = last.as_ref().and_then(|name| fields.get_mut(name)) {
                value.push('\n');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            let name = name.to_ascii_lowercase();
            fields.insert(name.clone(), value.trim().to_owned());
            last = Some(name);
        }
    }
    fields
}

impl Deb {
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    /// Returns its name.
    pub(super) fn name(&self) -> &str {
        self.field("package")
    }

    /// Returns whether the distribution's programs take it for granted.
    pub(super) fn is_essential(&self) -> bool {
        self.field("essential") == "yes"
    }

    /// Returns the names that others may need it by.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let provided = self.field("provides").split(',').map(name_of);
        std::iter::once(self.name()).chain(provided)
    }

    /// Returns every name that it depends on; of alternatives each.
    pub(super) fn needs(&self) -> impl Iterator<Item = &str> {
        ["pre-depends", "depends"]
            .into_iter()
            .flat_map(|field| self.field(field).split([',', '|']).map(name_of))
    }
}

/// Returns the name in a relation such as ` libc6:any (>= 2.38)`.
fn name_of(relation: &str) -> &str {
    let relation = relation.trim();
    let end = relation
        .find([' ', '(', ':', '['])
        .unwrap_or(relation.len());
    &relation[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deb(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = ar::Builder::new(Vec::new());
        for (name, content) in members {
            let header = ar::Header::new(name.as_bytes().to_vec(), content.len() as u64);
            builder.append(&header, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn tar(files: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(1_700_000_000);
            builder
                .append_data(&mut header, path, content.as_bytes())
                .unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn a_package_comes_out_uncompressed_with_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let control = tar(&[(
            "./control",
            "Package: thing\nEssential: yes\nProvides: other (= 1), more\nPre-Depends: libc6:any (>= 2) | musl\nDepends: a,\n b [amd64]\n",
        )]);
        let data = tar(&[("./usr/bin/thing", "binary"), ("./empty", "")]);
        let compressed = zstd::encode_all(&data[..], 3).unwrap();
        let package = deb(&[
            ("debian-binary", b"2.0\n"),
            ("control.tar", &control),
            ("data.tar.zst", &compressed),
        ]);
        let (plain, files) = (folder.path().join("thing.deb"), folder.path().join("data"));
        let found = unpack(&package[..], &plain, &files).unwrap();
        assert_eq!(found.contents, [Digest::of(b"binary")]);
        assert_eq!(found.latest, 1_700_000_000);
        assert!(found.is_essential());
        assert_eq!(
            found.names().collect::<Vec<_>>(),
            ["thing", "other", "more"]
        );
        assert_eq!(
            found.needs().collect::<Vec<_>>(),
            ["libc6", "musl", "a", "b"]
        );
        assert_eq!(std::fs::read(&files).unwrap(), data);
        let again = deb(&[
            ("debian-binary", b"2.0\n"),
            ("control.tar", &control),
            ("data.tar", &data),
        ]);
        assert_eq!(std::fs::read(&plain).unwrap(), again);
    }

    #[test]
    fn what_is_no_package_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let control = tar(&[("./control", "Package: thing\n")]);
        let cases: [(&str, Vec<u8>); 4] = [
            ("nothing", Vec::new()),
            (
                "no data",
                deb(&[("debian-binary", b"2.0\n"), ("control.tar", &control)]),
            ),
            ("another format", deb(&[("debian-binary", b"3.0\n")])),
            (
                "unknown compression",
                deb(&[("control.tar", &control), ("data.tar.rar", b"")]),
            ),
        ];
        for (case, package) in cases {
            let files = folder.path().join(format!("{case}.data"));
            let plain = folder.path().join(format!("{case}.deb"));
            assert!(unpack(&package[..], &plain, &files).is_err(), "{case}");
        }
    }
}
