//! Recording: requests → what the outside answers, kept and listed to be locked.
//!
//! A URL is asked for once; every request for it is then answered with the same
//! bytes, from the store, as it will be when they are locked. Redirects are
//! followed here, so that the URL that the build asks for is the one that is
//! locked. What is not answered with 200 is passed on and listed apart: a
//! replay will refuse it.

use std::{
    collections::BTreeMap,
    io::Write,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use hyper::StatusCode;
use tokio::sync::OnceCell;

use super::{Error, Replay, Why, answers::Answer, server::Source};
use crate::{digest::Digest, rebuild::with_causes, store::Store};

/// How long nothing may come before a connection is taken to be dead.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The most bytes of one answer that are kept.
const MOST_BYTES: u64 = 16 << 30;
/// The most bytes of an answer other than 200 that are passed on.
const MOST_PASSED_ON: usize = 64 << 10;

/// What was served for a URL, to be locked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Recorded {
    /// The URL that the build asked for.
    pub url: String,
    /// The hash of the bytes that it was given.
    pub digest: Digest,
    /// How many there are.
    pub size: u64,
}

/// An answer that no lock can have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NotRecorded {
    /// The URL that the build asked for.
    pub url: String,
    /// The HTTP status that it was answered with, such as 404.
    pub status: u16,
}

/// What there is for a URL.
#[derive(Debug, Clone)]
pub(super) enum Found {
    /// Bytes in the store.
    Kept(Answer),
    /// Something to pass on.
    Other { status: StatusCode, body: Bytes },
}

type Slot = Arc<OnceCell<Result<Found, Why>>>;

/// Asks outside.
#[derive(Debug)]
pub(super) struct Recorder {
    http: reqwest::Client,
    store: Store,
    slots: Mutex<BTreeMap<String, Slot>>,
}

/// A proxy that asks outside and keeps what it is answered; it ends when dropped.
#[derive(Debug)]
pub struct Recording {
    /// What a job needs, and what could not be answered at all.
    pub replay: Replay,
    recorder: Arc<Recorder>,
}

impl Replay {
    /// Starts to record; `scratch` is a directory for the socket.
    ///
    /// What is served is kept in the store. The outside is asked as this
    /// program's environment says, proxies included, and without any header of
    /// the build's requests.
    pub fn record(store: &Store, scratch: &Path) -> Result<Recording, Error> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("reprove/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(20))
            .read_timeout(TIMEOUT)
            .build()
            .map_err(Error::Http)?;
        let recorder = Arc::new(Recorder {
            http,
            store: store.clone(),
            slots: Mutex::default(),
        });
        let source = Source::Outside(Arc::clone(&recorder));
        let replay = Self::with(source, store, scratch)?;
        Ok(Recording { replay, recorder })
    }
}

impl Recording {
    /// Returns what is to be locked, by URL.
    pub fn recorded(&self) -> Vec<Recorded> {
        self.each(|url, found| match found {
            Found::Kept(answer) => Some(Recorded {
                url: url.to_owned(),
                digest: answer.digest,
                size: answer.size,
            }),
            Found::Other { .. } => None,
        })
    }

    /// Returns what cannot be locked, by URL; a replay will refuse it.
    ///
    /// Requests that got no answer at all are in [`Replay::refused`].
    pub fn not_recorded(&self) -> Vec<NotRecorded> {
        self.each(|url, found| match found {
            Found::Kept(_) => None,
            Found::Other { status, .. } => Some(NotRecorded {
                url: url.to_owned(),
                status: status.as_u16(),
            }),
        })
    }

    fn each<T>(&self, take: impl Fn(&str, &Found) -> Option<T>) -> Vec<T> {
        self.replay.settle();
        let slots = self.recorder.slots.lock();
        let slots = slots.unwrap_or_else(PoisonError::into_inner);
        slots
            .iter()
            .filter_map(|(url, slot)| take(url, slot.get()?.as_ref().ok()?))
            .collect()
    }
}

impl Recorder {
    /// Returns what there is for a URL in its canonical form, and asks for it the first time.
    pub(super) async fn find(&self, url: &str) -> Result<Found, Why> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry(url.to_owned()).or_default())
        };
        slot.get_or_init(|| self.ask(url)).await.clone()
    }

    async fn ask(&self, url: &str) -> Result<Found, Why> {
        let broken = |error: reqwest::Error| Why::Unreachable(with_causes(&error.without_url()));
        let mut response = self.http.get(url).send().await.map_err(broken)?;
        let status = response.status();
        if status != StatusCode::OK {
            let mut body = Vec::new();
            while body.len() < MOST_PASSED_ON
                && let Some(chunk) = response.chunk().await.map_err(broken)?
            {
                body.extend_from_slice(&chunk);
            }
            body.truncate(MOST_PASSED_ON);
            return Ok(Found::Other {
                status,
                body: body.into(),
            });
        }
        let unkept = |error: &dyn std::error::Error| Why::Unreadable(with_causes(error));
        let mut writer = self.store.writer().map_err(|error| unkept(&error))?;
        let mut size = 0;
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            size += chunk.len() as u64;
            if size > MOST_BYTES {
                return Err(Why::Unreachable(format!("more than {MOST_BYTES} bytes")));
            }
            writer.write_all(&chunk).map_err(|error| unkept(&error))?;
        }
        let digest = writer.finish(None).map_err(|error| unkept(&error))?;
        Ok(Found::Kept(Answer {
            name: url.to_owned(),
            digest,
            size,
        }))
    }
}
