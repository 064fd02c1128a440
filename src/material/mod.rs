//! Materials: the bytes that a lock pins, from wherever they are to be had, in the store.
//!
//! Pins come in; out come the materials, every byte of them verified, and the
//! pins whose bytes are gone, with what each place answered. That bytes are
//! gone is an answer; that a place could not be asked is an error, since they
//! may well be there. Who serves the bytes does not matter, and is said.

mod download;
mod mirrors;

use std::{
    fmt, io,
    num::NonZeroUsize,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use reqwest::blocking::Client;

use self::download::{Downloaded, download, download_unpinned};
pub use self::mirrors::{Mirror, Mirrors, Network, snapshot_of};
use crate::{
    digest::Digest,
    progress::Progress,
    recipe::lockfile::{Archive, Pin, Place},
    store::{self, Store},
};

/// What became of some pins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fetched {
    /// What is in the store now, in the order of the pins.
    pub materials: Vec<Material>,
    /// What is nowhere, in the order of the pins.
    pub gone: Vec<Gone>,
}

/// Pinned bytes that are in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Material {
    /// What was pinned.
    pub pin: Pin,
    /// Where the bytes came from.
    pub from: Source,
}

/// Where a material's bytes came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// They were in the store already.
    Store,
    /// They were served at this URL, given without password.
    Url(String),
}

/// Pinned bytes that no place has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    /// What was pinned.
    pub pin: Pin,
    /// What each place answered, in the order asked.
    pub answers: Vec<Answer>,
}

/// What a place answered in place of the bytes asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The URL, given without password.
    pub url: String,
    /// What it answered.
    pub said: Said,
}

/// What a place has in place of the bytes asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// This HTTP status, such as 404.
    Status(u16),
    /// As many other bytes.
    OtherBytes(Digest),
    /// This many bytes.
    OtherSize(u64),
    /// More bytes than there should be.
    MoreBytes,
    /// Nothing that settles anything: it could not be reached, or failed repeatedly.
    Nothing(String),
}

/// Why we could not find out whether the bytes are to be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing can be asked over HTTP.
    #[error("cannot speak HTTP")]
    Http(#[source] reqwest::Error),
    /// The store failed.
    #[error("cannot keep {what}")]
    Store {
        /// The material.
        what: String,
        /// What the store said.
        source: store::Error,
    },
    /// The store could not be read or written.
    #[error("cannot keep {what}")]
    Io {
        /// The material.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The hash is right, so the pin has a wrong size.
    #[error("{what} has {actual} bytes, but its pin says {expected}")]
    WrongSize {
        /// The material.
        what: String,
        /// The size of the pin.
        expected: u64,
        /// The size of what has the hash of the pin.
        actual: u64,
    },
    /// Places that may have the bytes gave no answer.
    #[error("cannot fetch {what}: {}", listed(answers))]
    Unreachable {
        /// The material.
        what: String,
        /// What each place answered, in the order asked.
        answers: Vec<Answer>,
    },
    /// No place has it, and there is no hash to know it by elsewhere.
    #[error("nobody has {what}: {}", listed(answers))]
    Nowhere {
        /// The material.
        what: String,
        /// What each place answered, in the order asked.
        answers: Vec<Answer>,
    },
    /// It is nowhere in the store, and nothing else may be asked.
    #[error("not in the cache, and the network is not to be used: {}", missing.join(", "))]
    Offline {
        /// The materials.
        missing: Vec<String>,
    },
    /// There is no mirror to ask.
    #[error("no mirror of the archive {archive} is known, for {what}: give --mirror {archive}=URL")]
    NoMirror {
        /// The material.
        what: String,
        /// The archive.
        archive: Archive,
    },
}

fn listed(answers: &[Answer]) -> String {
    let answers: Vec<String> = answers.iter().map(Answer::to_string).collect();
    answers.join("; ")
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.url, self.said)
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "answers {status}"),
            Self::OtherBytes(digest) => write!(f, "has other bytes, {digest}"),
            Self::OtherSize(size) => write!(f, "has {size} bytes"),
            Self::MoreBytes => f.write_str("has more bytes"),
            Self::Nothing(problem) => f.write_str(problem),
        }
    }
}

/// How many files are fetched at the same time; more would be a burden on mirrors.
const WORKERS: NonZeroUsize = NonZeroUsize::new(6).expect("it is not 0");

/// Brings all pinned bytes into the store; what is there already is read and verified.
///
/// Where there are several failures, the first in the order of the pins is returned.
pub fn fetch(
    pins: &[Pin],
    mirrors: &Mirrors,
    store: &Store,
    progress: &dyn Progress,
) -> Result<Fetched, Error> {
    let total = pins.iter().map(|pin| pin.size).sum();
    let whole = progress.begin(&format!("fetching {} materials", pins.len()), Some(total));
    let whole = Mutex::new(whole);
    let http = match mirrors.network {
        Network::Online => Some(download::client().map_err(Error::Http)?),
        Network::Offline => None,
    };
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let outcomes = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..WORKERS.get().min(pins.len()) {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(pin) = pins.get(number) else { break };
                    let outcome = fetch_one(pin, mirrors, http.as_ref(), store, progress);
                    failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
                    locked(&whole).advance(pin.size);
                    locked(&outcomes).push((number, outcome));
                }
            });
        }
    });
    let mut outcomes = outcomes
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|(number, _)| *number);
    let mut fetched = Fetched::default();
    let mut missing = Vec::new();
    for (number, outcome) in outcomes {
        let pin = pins[number].clone();
        match outcome? {
            Outcome::Here(from) => fetched.materials.push(Material { pin, from }),
            Outcome::Gone(answers) => fetched.gone.push(Gone { pin, answers }),
            Outcome::NotKept => missing.push(pin.name),
        }
    }
    if missing.is_empty() {
        Ok(fetched)
    } else {
        Err(Error::Offline { missing })
    }
}

/// What became of one pin.
enum Outcome {
    Here(Source),
    Gone(Vec<Answer>),
    /// Nothing was asked.
    NotKept,
}

fn fetch_one(
    pin: &Pin,
    mirrors: &Mirrors,
    http: Option<&Client>,
    store: &Store,
    progress: &dyn Progress,
) -> Result<Outcome, Error> {
    if is_kept(pin, store)? {
        return Ok(Outcome::Here(Source::Store));
    }
    let Some(http) = http else {
        return Ok(Outcome::NotKept);
    };
    let task = progress.begin(&format!("fetching {}", pin.name), Some(pin.size));
    let mut answers = Vec::new();
    for url in mirrors.urls(&pin.name, &pin.places)? {
        let said = match download(http, &url, pin, store, &*task)? {
            Downloaded::Kept => return Ok(Outcome::Here(Source::Url(without_password(&url)))),
            Downloaded::Not(said) => said,
        };
        let answer = Answer {
            url: without_password(&url),
            said,
        };
        progress.note(&format!("{}: {answer}", pin.name));
        answers.push(answer);
    }
    if is_open(&answers) {
        let what = pin.name.clone();
        return Err(Error::Unreachable { what, answers });
    }
    Ok(Outcome::Gone(answers))
}

/// Returns whether one of the places gave no answer.
fn is_open(answers: &[Answer]) -> bool {
    let mut said = answers.iter().map(|answer| &answer.said);
    said.any(|said| matches!(said, Said::Nothing(_)))
}

/// Bytes that were not pinned when they were fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpinned {
    /// The hash of what was served.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The URL that served it, given without password.
    pub url: String,
}

/// Brings what a place serves at this moment into the store, to be pinned.
///
/// The first place that has anything counts; more than `limit` bytes are not taken.
pub fn fetch_unpinned(
    what: &str,
    places: &[Place],
    limit: u64,
    mirrors: &Mirrors,
    store: &Store,
    progress: &dyn Progress,
) -> Result<Unpinned, Error> {
    if mirrors.network == Network::Offline {
        let missing = vec![what.to_owned()];
        return Err(Error::Offline { missing });
    }
    let http = download::client().map_err(Error::Http)?;
    let task = progress.begin(&format!("fetching {what}"), None);
    let mut answers = Vec::new();
    for url in mirrors.urls(what, places)? {
        let shown = without_password(&url);
        match download_unpinned(&http, &url, what, limit, store, &*task)? {
            Ok((digest, size)) => {
                return Ok(Unpinned {
                    digest,
                    size,
                    url: shown,
                });
            }
            Err(said) => answers.push(Answer { url: shown, said }),
        }
    }
    let what = what.to_owned();
    Err(if is_open(&answers) {
        Error::Unreachable { what, answers }
    } else {
        Error::Nowhere { what, answers }
    })
}

/// Returns whether the store has the bytes, all of which it reads.
fn is_kept(pin: &Pin, store: &Store) -> Result<bool, Error> {
    let what = || pin.name.clone();
    let reader = store.read(&pin.digest).map_err(|source| Error::Store {
        what: what(),
        source,
    })?;
    let Some(mut reader) = reader else {
        return Ok(false);
    };
    match io::copy(&mut reader, &mut io::sink()) {
        Ok(actual) if actual == pin.size => Ok(true),
        Ok(actual) => Err(Error::WrongSize {
            what: what(),
            expected: pin.size,
            actual,
        }),
        // The disk has changed them; the store has let them go.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(false),
        Err(source) => Err(Error::Io {
            what: what(),
            source,
        }),
    }
}

/// Returns a URL as it may be shown.
fn without_password(url: &str) -> String {
    match reqwest::Url::parse(url) {
        Ok(mut parsed) if !parsed.username().is_empty() || parsed.password().is_some() => {
            // Only URLs without a host cannot have a user, and this one had one.
            let cleared = parsed.set_username("").and(parsed.set_password(None));
            cleared.map_or_else(|()| "a URL with a password".to_owned(), |()| parsed.into())
        }
        Ok(_) | Err(_) => url.to_owned(),
    }
}

/// Locks also where another worker panicked, which the scope then passes on.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
