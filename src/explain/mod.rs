//! Explanation: a difference becomes a finding, with its likely cause or none.
//!
//! Pure. A cause accepts nothing and hides nothing: it says why, with the
//! evidence it saw. A path alone never explains; a recogniser looks at the
//! values, and at whether anything else differs at the same place.

mod accounts;
mod archive;
mod binary;
mod caches;
mod config;
mod databases;
mod dates;
mod document;
mod drift;
mod git;
mod identity;
mod image;
mod keys;
mod layer;
mod logs;
mod machine;
mod order;
mod pkcs12;
mod risk;
mod rpm;
#[cfg(test)]
mod testing;

use std::{borrow::Cow, collections::BTreeMap};

pub use risk::Risk;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    compare::{Attribute, Difference, Location, content::Content},
    image::EntryPath,
    inventory::Inventory,
    pair::Pair,
};

/// A known reason why two builds of one source differ.
#[derive(Debug)]
pub struct Cause {
    /// The cause's name in reports and policies; never renamed.
    pub id: &'static str,
    /// What lies behind it, shared with other causes.
    pub root: Root,
    /// What happened, in a few words.
    pub title: &'static str,
    /// What would have avoided it.
    pub advice: &'static str,
    /// Finds out whether this is why.
    recognise: Recogniser,
}

/// What lies behind a cause: few things explain many differences.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Root {
    /// The time of the build got into the image: no `SOURCE_DATE_EPOCH`, or a tool that ignores it.
    Clock,
    /// Something was drawn at random: a key, an id.
    Randomness,
    /// Something of the machine that built it: its name, its network, its paths, its processor.
    Machine,
    /// Things were done or listed in another order.
    Order,
    /// Other versions of the same packages were installed.
    Versions,
    /// Another builder, or another version of it, described the image.
    Builder,
    /// The same files were packed by another program or in another way.
    Packing,
}

/// How a cause is recognised.
#[derive(Debug)]
enum Recogniser {
    /// By the difference: returns the evidence if this is why, `None` if it is not.
    Difference(fn(&Difference, &Context<'_>) -> Option<Cow<'static, str>>),
    /// By the bytes of a file that both sides have, and that differ.
    File(fn(&File<'_>) -> Recognition),
    /// By what one side has and the other has not.
    Alone(fn(&Alone<'_>) -> Recognition),
}

/// A file whose bytes differ, with all that there is to tell why.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// Its path.
    pub path: &'a EntryPath,
    /// Its bytes on each side.
    pub bytes: Pair<&'a [u8]>,
    /// What differs inside.
    pub content: &'a Content,
    /// The packages of each image.
    pub inventories: Pair<&'a Inventory>,
}

/// A file or folder that one side has and the other has not, with nothing out of the
/// ordinary in its mode, its owner and its attributes.
#[derive(Debug, Clone, Copy)]
pub struct Alone<'a> {
    /// Its path.
    pub path: &'a EntryPath,
    /// Its bytes; `None` for a folder.
    pub bytes: Option<&'a [u8]>,
    /// The packages of the image that has it.
    pub inventory: &'a Inventory,
    /// The packages of the other image.
    pub other: &'a Inventory,
}

/// What a recogniser says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Recognition {
    /// The file is none that this cause is about.
    Elsewhere,
    /// The file is one, and something differs that the cause does not account for: what.
    Refused(Cow<'static, str>),
    /// This is why, and nothing else differs in the file: the evidence.
    Explained(Cow<'static, str>),
}

/// What was found out of a file whose bytes differ, or which only one side has.
#[derive(Debug, Clone, Default)]
pub struct Examined {
    /// Why; `None` where nothing known explains all of it.
    pub explanation: Option<Explanation>,
    /// The causes that were tried, and what they do not account for.
    pub tried: Vec<Tried>,
    /// What its bytes say that makes it worth a look whatever its cause.
    pub risks: Vec<Risk>,
}

/// A cause that might have been it and was not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tried {
    /// The cause's name.
    pub cause: Cow<'static, str>,
    /// What it does not account for.
    pub refused: Cow<'static, str>,
}

/// A difference with its likely cause.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What was seen.
    pub difference: Difference,
    /// Why it differs; `None` where nothing known explains it.
    pub explanation: Option<Explanation>,
    /// The causes that were tried in vain, where nothing explains it.
    pub tried: Vec<Tried>,
    /// What makes it worth a look whatever its cause; the worst first.
    pub risks: Vec<Risk>,
}

/// Why a difference is there.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The cause.
    pub cause: &'static Cause,
    /// What was seen that says so.
    pub evidence: Cow<'static, str>,
}

/// What recognisers may look at besides the difference itself.
pub(crate) struct Context<'a> {
    /// Paths whose modification time the rebuild had to choose itself.
    chosen_times: &'a dyn Fn(&EntryPath) -> bool,
    /// How many differences other than times each path has that nothing explains.
    beyond_times: BTreeMap<&'a EntryPath, usize>,
}

/// Returns all causes, by family; the first one that recognises a difference explains it.
pub fn causes() -> impl Iterator<Item = &'static Cause> {
    [
        config::CAUSES,
        image::CAUSES,
        layer::CAUSES,
        identity::CAUSES,
        keys::CAUSES,
        accounts::CAUSES,
        logs::CAUSES,
        caches::CAUSES,
        machine::CAUSES,
        databases::CAUSES,
        rpm::CAUSES,
        git::CAUSES,
        archive::CAUSES,
        // Before causes that would take a document's dates for a compiler's.
        document::CAUSES,
        binary::CAUSES,
        // Last, since it is tried on every file that a package owns.
        drift::CAUSES,
    ]
    .into_iter()
    .flatten()
}

/// Finds out why the bytes of a file differ.
pub fn examine(file: &File<'_>) -> Examined {
    let examined = examined_by(|recogniser| match recogniser {
        Recogniser::File(recognise) => recognise(file),
        Recogniser::Difference(_) | Recogniser::Alone(_) => Recognition::Elsewhere,
    });
    Examined {
        risks: risk::of_bytes(file.bytes),
        ..examined
    }
}

/// Finds out why only one side has a file or a folder.
pub fn examine_alone(file: &Alone<'_>) -> Examined {
    let examined = examined_by(|recogniser| match recogniser {
        Recogniser::Alone(recognise) => recognise(file),
        Recogniser::Difference(_) | Recogniser::File(_) => Recognition::Elsewhere,
    });
    Examined {
        risks: risk::of_bytes(Pair::new(file.bytes.unwrap_or_default(), b"")),
        ..examined
    }
}

fn examined_by(recognise: impl Fn(&Recogniser) -> Recognition) -> Examined {
    let mut examined = Examined::default();
    for cause in causes() {
        match recognise(&cause.recognise) {
            Recognition::Elsewhere => {}
            Recognition::Refused(refused) => examined.tried.push(Tried {
                cause: Cow::Borrowed(cause.id),
                refused,
            }),
            Recognition::Explained(evidence) => {
                return Examined {
                    explanation: Some(Explanation { cause, evidence }),
                    ..Examined::default()
                };
            }
        }
    }
    examined
}

/// What is known of the files and times that differ.
pub struct Known<'a> {
    /// Says of which paths the rebuild had to choose the modification time itself,
    /// since neither the source nor its archives record one.
    pub chosen_times: &'a dyn Fn(&EntryPath) -> bool,
    /// Returns what was found out of the file there, whose bytes differ or which only one side has.
    pub examined: &'a dyn Fn(&Location) -> Option<&'a Examined>,
}

impl Default for Known<'_> {
    /// Nothing is.
    fn default() -> Self {
        Self {
            chosen_times: &|_| false,
            examined: &|_| None,
        }
    }
}

/// Returns the finding of every difference, in the same order.
pub fn findings(differences: Vec<Difference>, known: &Known<'_>) -> Vec<Finding> {
    let explained: Vec<_> = {
        let examined = |difference: &Difference| match difference.attribute {
            Attribute::Content | Attribute::Size | Attribute::Presence => {
                (known.examined)(&difference.location)
            }
            _ => None,
        };
        let mut beyond_times = BTreeMap::new();
        for difference in &differences {
            if let Location::Entry { path, .. } = &difference.location
                && !matches!(
                    difference.attribute,
                    Attribute::Mtime | Attribute::Atime | Attribute::Ctime
                )
                && examined(difference).is_none_or(|examined| examined.explanation.is_none())
            {
                *beyond_times.entry(path).or_default() += 1;
            }
        }
        let context = Context {
            chosen_times: known.chosen_times,
            beyond_times,
        };
        differences
            .iter()
            .map(|difference| {
                let examined = examined(difference).cloned().unwrap_or_default();
                let explanation = examined
                    .explanation
                    .or_else(|| explanation(difference, &context));
                let mut risks = risk::risks(difference);
                risks.extend(examined.risks);
                risks.sort_unstable();
                risks.dedup();
                (explanation, examined.tried, risks)
            })
            .collect()
    };
    differences
        .into_iter()
        .zip(explained)
        .map(|(difference, (explanation, tried, risks))| Finding {
            difference,
            explanation,
            tried,
            risks,
        })
        .collect()
}

fn explanation(difference: &Difference, context: &Context<'_>) -> Option<Explanation> {
    causes().find_map(|cause| {
        let Recogniser::Difference(recognise) = &cause.recognise else {
            return None;
        };
        let evidence = recognise(difference, context)?;
        Some(Explanation { cause, evidence })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compare::{Bearing, Value, Visibility},
        image::Timestamp,
    };

    fn at(path: &str, attribute: Attribute) -> Difference {
        let layer = Pair::new(Some(0), Some(0));
        let path = EntryPath::of(path.as_bytes());
        let bearing = if attribute == Attribute::Mtime {
            Bearing::Times
        } else {
            Bearing::Files
        };
        let time = |seconds| Some(Value::Time(Timestamp::from_seconds(seconds)));
        Difference {
            location: Location::Entry {
                layer,
                path,
                visibility: Visibility::Visible,
            },
            attribute,
            values: Pair::new(time(1), time(2)),
            bearing,
        }
    }

    fn ids(differences: Vec<Difference>) -> Vec<Option<&'static str>> {
        let known = Known {
            chosen_times: &|path| path.as_bytes() == b"copied",
            examined: &|_| None,
        };
        findings(differences, &known)
            .iter()
            .map(|finding| {
                finding
                    .explanation
                    .as_ref()
                    .map(|explanation| explanation.cause.id)
            })
            .collect()
    }

    #[test]
    fn a_time_is_explained_only_where_nothing_else_differs() {
        assert_eq!(ids(vec![at("a", Attribute::Mtime)]), [Some("tar.mtime")]);
        assert_eq!(
            ids(vec![at("a", Attribute::Content), at("a", Attribute::Mtime)]),
            [None, None]
        );
        assert_eq!(
            ids(vec![at("copied", Attribute::Mtime)]),
            [Some("git.checkout-time")]
        );
    }

    #[test]
    fn a_program_is_a_risk_wherever_it_lies() {
        let found = |published: &[u8], rebuilt: &[u8]| {
            let examined = testing::examination("srv/x", published, rebuilt);
            let known = Known {
                examined: &|_| Some(&examined),
                ..Known::default()
            };
            findings(vec![at("srv/x", Attribute::Content)], &known)
                .remove(0)
                .risks
        };
        assert_eq!(found(b"one", b"two"), []);
        assert_eq!(found(b"one", b"\x7fELF"), [Risk::Executable]);
        assert_eq!(found(b"\x7fELF1", b"\x7fELF2"), [Risk::Executable]);
    }

    #[test]
    fn every_cause_has_a_name_of_its_own() {
        let mut ids: Vec<&str> = causes().map(|cause| cause.id).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }

    /// Files that some cause is about, and what such a file begins with.
    const FILES: [(&str, &[u8]); 32] = [
        ("etc/machine-id", b""),
        (
            "etc/ssh/ssh_host_rsa_key",
            b"-----BEGIN OPENSSH PRIVATE KEY-----\n",
        ),
        ("etc/ssh/ssh_host_rsa_key.pub", b"ssh-rsa AAAA"),
        (
            "etc/ssl/private/ssl-cert-snakeoil.key",
            b"-----BEGIN PRIVATE KEY-----\n",
        ),
        (
            "etc/ssl/certs/ssl-cert-snakeoil.pem",
            b"-----BEGIN CERTIFICATE-----\n",
        ),
        ("etc/ssl/certs/java/cacerts", b"\xfe\xed\xfe\xed\0\0\0\x02"),
        (
            "etc/ssl/certs/ca-certificates.crt",
            b"-----BEGIN CERTIFICATE-----\n",
        ),
        ("etc/passwd", b"root:x:"),
        ("etc/shadow", b"root:x:"),
        ("etc/hosts", b"127.0.0.1 "),
        ("etc/resolv.conf", b"nameserver "),
        ("etc/cron.d/x", b"17 3 "),
        ("etc/ld.so.cache", b"glibc-ld.so.cache1.1"),
        ("etc/ld.so.cache", b"ld.so-1.7.0\0"),
        ("var/cache/ldconfig/aux-cache", b"glibc-ld.so.auxcache-2.0"),
        ("var/cache/fontconfig/x.cache-8", b"\x04\xfc\x02\xfc"),
        ("var/log/dpkg.log", b"2026-11-26 01:35:24 "),
        ("var/log/apt/term.log", b"256 SHA256:"),
        ("var/lib/dpkg/status", b"Package: "),
        ("var/lib/systemd/random-seed", b""),
        ("lib/apk/db/installed", b"P:"),
        ("lib/apk/db/scripts.tar", b""),
        ("etc/mtab", b"proc /proc "),
        ("etc/pki/java/cacerts", b"\x30\x82\x01\x00\x02\x01\x03"),
        ("srv/.git/index", b"DIRC\0\0\0\x02\0\0\0\x01"),
        ("var/cache/apt/pkgcache.bin", b""),
        ("var/lib/apt/lists/x_InRelease", b"Date: "),
        ("var/lib/dnf/history.sqlite", b"SQLite format 3\0\x02\0"),
        (
            "var/lib/rpm/Packages",
            b"\0\0\0\0\0\0\0\0\0\0\0\0\x61\x15\x06\0",
        ),
        ("var/lib/rpm/Packages.db", b"RpmP\0\0\0\0"),
        ("var/lib/rpm/rpmdb.sqlite", b"SQLite format 3\0\x02\0"),
        ("usr/share/gems/specifications/x.gemspec", b"  s.date = \""),
    ];

    proptest::proptest! {
        #[test]
        fn any_bytes_can_be_examined(
            which in 0..FILES.len(),
            one in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
            other in "[ -~\n]{0,200}",
        ) {
            let (path, start) = FILES[which];
            let sides = [[start, &one].concat(), [start, other.as_bytes()].concat()];
            testing::told(path, &sides[0], &sides[1]);
            testing::told(path, &sides[1], &sides[0]);
        }
    }
}
