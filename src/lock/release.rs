//! Signed indexes: `InRelease` files.

use std::{collections::BTreeMap, fs, path::Path};

use jiff::{Timestamp, fmt::rfc2822};

use super::{Error, Index, Suite, command, io_error};
use crate::{digest::Digest, recipe::lockfile::Fingerprint};

/// A signed index, of which only what is signed was read.
pub(super) struct Verified {
    /// The primary keys whose signatures are good.
    pub(super) signed_by: Vec<Fingerprint>,
    /// When it was made.
    pub(super) date: Option<Timestamp>,
    /// Until when it may be used, where it says so.
    pub(super) valid_until: Option<Timestamp>,
    /// What it names, by path.
    files: BTreeMap<String, (Digest, u64)>,
}

/// Checks a signed index, and reads it.
///
/// One good signature is enough, as it is for apt: indexes are signed by the
/// keys of several releases, of which a keyring need not have all. A signature
/// that is wrong, or made by a key that has expired or was revoked, or over a
/// hash weaker than SHA-256, does not count.
pub(super) fn verify(
    suite: &Suite,
    bytes: &[u8],
    keyring: &Path,
    scratch: &Path,
) -> Result<Verified, Error> {
    let what = format!("the signed index of {suite}");
    let (text, signed_by) = signed_text(&what, bytes, keyring, scratch)?;
    let malformed = |problem: String| Error::Malformed {
        what: what.clone(),
        problem,
    };
    let text = String::from_utf8(text).map_err(|_| malformed("it is not UTF-8".to_owned()))?;
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    let mut files = BTreeMap::new();
    let mut field = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix(' ') {
            if field == "SHA256" {
                let (path, file) = named_file(rest)
                    .ok_or_else(|| malformed(format!("{rest:?} is no hash, size and path")))?;
                files.insert(path, file);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            field = name;
            fields.insert(name.to_owned(), value.trim().to_owned());
        }
    }
    let names: Vec<&str> = ["Suite", "Codename"]
        .iter()
        .filter_map(|field| fields.get(*field).map(String::as_str))
        .collect();
    // Debian's security suites were once in folders such as buster/updates.
    let asked = [
        suite.name.as_str(),
        suite.name.strip_suffix("/updates").unwrap_or(&suite.name),
    ];
    if !names.iter().any(|name| asked.contains(name)) {
        return Err(Error::OtherSuite {
            suite: suite.clone(),
            actual: names.join(" or "),
        });
    }
    let time = |field: &str| {
        let text = fields.get(field)?;
        Some(parse_time(text).ok_or_else(|| malformed(format!("{text:?} is no time"))))
    };
    Ok(Verified {
        signed_by,
        date: time("Date").transpose()?,
        valid_until: time("Valid-Until").transpose()?,
        files,
    })
}

/// Reads a time such as `Sat, 21 Nov 2026 09:15:44 UTC`.
fn parse_time(text: &str) -> Option<Timestamp> {
    // RFC 2822 has no UTC, which is what Debian writes.
    let text = text.strip_suffix("UTC").map(|text| format!("{text}GMT"))?;
    rfc2822::DateTimeParser::new().parse_timestamp(&text).ok()
}

fn named_file(line: &str) -> Option<(String, (Digest, u64))> {
    let mut words = line.split_ascii_whitespace();
    let digest = format!("sha256:{}", words.next()?).parse().ok()?;
    let size = words.next()?.parse().ok()?;
    let path = words.next()?.to_owned();
    words.next().is_none().then_some((path, (digest, size)))
}

impl Verified {
    /// Returns the list of a component's packages for an architecture.
    pub(super) fn index(
        &self,
        suite: &Suite,
        component: &str,
        architecture: &str,
    ) -> Result<Index, Error> {
        [".xz", ".gz"]
            .iter()
            .map(|suffix| format!("{component}/binary-{architecture}/Packages{suffix}"))
            .find_map(|path| {
                let (sha256, size) = *self.files.get(&path)?;
                Some(Index {
                    suite: suite.clone(),
                    path,
                    size,
                    sha256,
                })
            })
            .ok_or_else(|| Error::NoSuchIndex {
                suite: suite.clone(),
                component: component.to_owned(),
                architecture: architecture.to_owned(),
            })
    }

    /// Returns the hash of a list before it was compressed, where that is named too.
    pub(super) fn uncompressed(&self, index: &Index) -> Option<Digest> {
        let (path, _) = index.path.rsplit_once('.')?;
        self.files.get(path).map(|(digest, _)| *digest)
    }

    /// Returns whether it names this file.
    pub(super) fn names(&self, index: &Index) -> bool {
        self.files.get(&index.path) == Some(&(index.sha256, index.size))
    }
}

const BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const END: &str = "-----END PGP SIGNATURE-----";

/// Returns what is signed of a clear-signed text, and by which primary keys.
fn signed_text(
    what: &str,
    bytes: &[u8],
    keyring: &Path,
    scratch: &Path,
) -> Result<(Vec<u8>, Vec<Fingerprint>), Error> {
    let bad = |problem: String| Error::BadSignature {
        what: what.to_owned(),
        keyring: keyring.to_owned(),
        problem,
    };
    // Nothing but one signed message: what stood around it would be read by others unsigned.
    let lines = |marker: &str| {
        let begins = |line: &&[u8]| line.starts_with(marker.as_bytes());
        bytes.split(|&byte| byte == b'\n').filter(begins).count()
    };
    let whole = bytes.starts_with(BEGIN.as_bytes())
        && bytes.trim_ascii_end().ends_with(END.as_bytes())
        && lines(BEGIN) == 1
        && lines(END) == 1;
    if !whole {
        return Err(bad("it is not one clear-signed text".to_owned()));
    }
    let folder = tempfile::tempdir_in(scratch).map_err(io_error("make a folder in", scratch))?;
    let signed = folder.path().join("signed");
    let text = folder.path().join("text");
    fs::write(&signed, bytes).map_err(io_error("write", &signed))?;
    let output = command("gpgv")
        .arg("--homedir")
        .arg(folder.path())
        .args(["--status-fd", "1", "--keyring"])
        .arg(keyring)
        .arg("--output")
        .args([&text, &signed])
        .output()
        .map_err(|source| Error::Program {
            program: "gpgv",
            package: "gpgv",
            source,
        })?;
    let keys = good_keys(&String::from_utf8_lossy(&output.stdout)).map_err(&bad)?;
    if keys.is_empty() {
        let said = String::from_utf8_lossy(&output.stderr);
        let mut said: Vec<&str> = said
            .lines()
            .filter_map(|line| line.strip_prefix("gpgv: "))
            .map(str::trim)
            .filter(|line| !line.starts_with("Signature made"))
            .collect();
        said.dedup();
        return Err(bad(said.join(", ")));
    }
    let text = fs::read(&text).map_err(io_error("read", &text))?;
    Ok((text, keys))
}

/// Reads from gpgv's status which primary keys made good signatures.
///
/// Source: gnupg, `doc/DETAILS`, "Format of the --status-fd output". Each
/// signature has one line that says how good it is, then `VALIDSIG`, which is
/// also said of signatures by expired and revoked keys.
fn good_keys(status: &str) -> Result<Vec<Fingerprint>, String> {
    // RFC 9580, 9.5: SHA-256, SHA-384, SHA-512.
    const HASHES: [&str; 3] = ["8", "9", "10"];
    let mut keys = Vec::new();
    let mut is_good = false;
    for line in status.lines() {
        let Some(line) = line.strip_prefix("[GNUPG:] ") else {
            continue;
        };
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            [
                "NEWSIG" | "EXPSIG" | "EXPKEYSIG" | "REVKEYSIG" | "ERRSIG",
                ..,
            ] => is_good = false,
            ["BADSIG", ..] => return Err("a signature is wrong".to_owned()),
            ["GOODSIG", ..] => is_good = true,
            ["VALIDSIG", .., hash, class, primary]
                if is_good && HASHES.contains(&hash) && ["00", "01"].contains(&class) =>
            {
                keys.push(primary.parse()?);
            }
            _ => {}
        }
    }
    keys.sort();
    keys.dedup();
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "41587F7DB8C774BCCF131416762F67A0B2C39DE4";

    #[test]
    fn only_good_signatures_by_keys_in_force_over_a_strong_hash_count() {
        let status = |how: &str, hash: &str| {
            format!(
                "[GNUPG:] NEWSIG\n[GNUPG:] {how} 762F67A0B2C39DE4 A Key\n\
                 [GNUPG:] VALIDSIG {KEY} 2026-11-21 1795252690 0 4 0 22 {hash} 01 {KEY}\n"
            )
        };
        let good = || Ok(vec![KEY.parse().unwrap()]);
        let cases = [
            ("good", status("GOODSIG", "8"), good()),
            ("SHA-1", status("GOODSIG", "2"), Ok(Vec::new())),
            ("expired key", status("EXPKEYSIG", "8"), Ok(Vec::new())),
            ("revoked key", status("REVKEYSIG", "8"), Ok(Vec::new())),
            (
                "another one is unknown",
                format!(
                    "[GNUPG:] NEWSIG\n[GNUPG:] ERRSIG 0 1 8 01 1 9\n{}",
                    status("GOODSIG", "10")
                ),
                good(),
            ),
            (
                "an expired one after a good one",
                status("GOODSIG", "8") + &status("EXPKEYSIG", "8").replace(KEY, &"A".repeat(40)),
                good(),
            ),
            (
                "a wrong one after a good one",
                status("GOODSIG", "8")
                    + "[GNUPG:] NEWSIG\n[GNUPG:] BADSIG 762F67A0B2C39DE4 A Key\n",
                Err("a signature is wrong".to_owned()),
            ),
        ];
        for (case, status, expected) in cases {
            assert_eq!(good_keys(&status), expected, "{case}");
        }
    }

    #[test]
    fn times_are_read_as_archives_write_them() {
        for (text, expected) in [
            (
                "Sat, 21 Nov 2026 09:15:44 UTC",
                Some("2026-11-21T09:15:44Z"),
            ),
            ("Sat, 08 Aug 2026  9:15:44 UTC", None),
            ("2026-11-21", None),
        ] {
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!(parse_time(text), expected, "{text}");
        }
    }
}
