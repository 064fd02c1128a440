//! Lists of packages: `Packages` files.

use std::{
    io::{BufRead, BufReader, Read, Write as _},
    path::Path,
};

use flate2::read::MultiGzDecoder;
use liblzma::read::XzDecoder;

use super::{Error, Installed, command, io_error};
use crate::digest::Digest;

/// A package as a list has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) architecture: String,
    /// The path within the archive.
    pub(super) path: String,
    pub(super) size: u64,
    pub(super) sha256: Digest,
}

/// The most that a list may inflate to; the largest there are have some hundred MiB.
pub(super) const MOST: u64 = 2 << 30;

/// Returns a list uncompressed, as the name of its file says that it is compressed.
pub(super) fn uncompressed<'a>(path: &str, bytes: &'a [u8]) -> Box<dyn Read + 'a> {
    match path.rsplit_once('.') {
        Some((_, "xz")) => Box::new(XzDecoder::new_multi_decoder(bytes)),
        Some((_, "gz")) => Box::new(MultiGzDecoder::new(bytes)),
        Some(_) | None => Box::new(bytes),
    }
}

/// Calls `with` for each package of a list, in its order, and reads the list to its end.
///
/// Entries without a SHA-256 are passed over. Source: wiki.debian.org/DebianRepository/Format.
pub(super) fn each(what: &str, list: impl Read, with: impl FnMut(&Listed)) -> Result<(), Error> {
    each_within(MOST, what, list, with)
}

fn each_within(
    most: u64,
    what: &str,
    list: impl Read,
    mut with: impl FnMut(&Listed),
) -> Result<(), Error> {
    // One more shows that there is more.
    let mut reader = BufReader::with_capacity(1 << 16, list.take(most + 1));
    let mut fields = Fields::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        let count = reader
            .read_until(b'\n', &mut line)
            .map_err(|error| Error::Malformed {
                what: what.to_owned(),
                problem: error.to_string(),
            })?;
        if line.trim_ascii().is_empty() {
            if let Some(listed) = std::mem::take(&mut fields).listed() {
                with(&listed);
            }
            if count == 0 {
                return if reader.get_ref().limit() == 0 {
                    Err(Error::Malformed {
                        what: what.to_owned(),
                        problem: format!("it has more than {most} bytes"),
                    })
                } else {
                    Ok(())
                };
            }
        } else {
            fields.add(&line);
        }
    }
}

/// Returns what a package says of itself.
pub(super) fn said(bytes: &[u8], scratch: &Path) -> Result<Installed, Error> {
    let mut file =
        tempfile::NamedTempFile::new_in(scratch).map_err(io_error("write in", scratch))?;
    file.write_all(bytes)
        .map_err(io_error("write", file.path()))?;
    let field = |name: &str| -> Result<String, Error> {
        let output = command("dpkg-deb")
            .arg("--field")
            .arg(file.path())
            .arg(name)
            .output()
            .map_err(|source| Error::Program {
                program: "dpkg-deb",
                package: "dpkg",
                source,
            })?;
        // What is no package says nothing, and is then not the one that was wanted.
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    Ok(Installed {
        name: field("Package")?,
        version: field("Version")?,
        architecture: field("Architecture")?,
    })
}

/// What was read of an entry.
#[derive(Default)]
struct Fields {
    name: Option<String>,
    version: Option<String>,
    architecture: Option<String>,
    path: Option<String>,
    size: Option<String>,
    sha256: Option<String>,
}

impl Fields {
    fn add(&mut self, line: &[u8]) {
        // Lines that go on a field begin with a space, and none of these has any.
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            return;
        };
        let field = match &line[..colon] {
            b"Package" => &mut self.name,
            b"Version" => &mut self.version,
            b"Architecture" => &mut self.architecture,
            b"Filename" => &mut self.path,
            b"Size" => &mut self.size,
            b"SHA256" => &mut self.sha256,
            _ => return,
        };
        let value = line[colon + 1..].trim_ascii();
        *field = String::from_utf8(value.to_vec()).ok();
    }

    fn listed(self) -> Option<Listed> {
        Some(Listed {
            name: self.name?,
            version: self.version?,
            architecture: self.architecture?,
            path: self.path?,
            size: self.size?.parse().ok()?,
            sha256: format!("sha256:{}", self.sha256?).parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_and_what_has_no_hash_is_passed_over() {
        let hash = "a".repeat(64);
        let text = format!(
            "Package: bash\nVersion: 5.2-1\nArchitecture: amd64\nDescription: a shell\n Size: 3\n\
             Filename: pool/main/b/bash.deb\nSize: 7\nSHA256: {hash}\n\n\
             Package: old\nVersion: 1\nArchitecture: all\nFilename: pool/old.deb\nSize: 1\nMD5sum: 0\n\n\
             Package: last\nVersion: 1\nArchitecture: all\nFilename: pool/last.deb\nSize: 1\nSHA256: {hash}\n"
        );
        let mut found = Vec::new();
        each("a list", text.as_bytes(), |listed| {
            found.push((listed.name.clone(), listed.path.clone(), listed.size));
        })
        .unwrap();
        assert_eq!(
            found,
            [
                ("bash".to_owned(), "pool/main/b/bash.deb".to_owned(), 7),
                ("last".to_owned(), "pool/last.deb".to_owned(), 1),
            ]
        );
    }

    #[test]
    fn a_list_may_have_just_as_many_bytes_as_are_read() {
        let of = |most| each_within(most, "a list", &b"Package: a\n"[..], |_| {});
        assert!(of(11).is_ok());
        assert!(
            matches!(of(10), Err(Error::Malformed { problem, .. }) if problem == "it has more than 10 bytes")
        );
    }
}
