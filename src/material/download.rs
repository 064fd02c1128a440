//! One file from one place, through broken connections.

use std::{
    error::Error as _,
    io::{self, Read, Write},
    thread,
    time::Duration,
};

use reqwest::{
    StatusCode,
    blocking::{Client, Response},
    header::{RANGE, RETRY_AFTER},
};

use super::{Error, Said};
use crate::{
    digest::Digest,
    progress::Task,
    recipe::lockfile::Pin,
    store::{self, BlobWriter, Store},
};

/// How often one place is asked.
const ATTEMPTS: u32 = 4;

/// How long is waited before the second attempt; it doubles with each.
const BACKOFF: Duration = Duration::from_millis(500);

/// The longest that a place may ask to wait.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// How long nothing may come before a connection is taken to be dead.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes read at a time.
const BUFFER: usize = 1 << 16;

/// What came of asking a place.
pub(super) enum Downloaded {
    /// The bytes are in the store.
    Kept,
    /// They are not to be had there.
    Not(Said),
}

/// Returns what requests are made with.
pub(super) fn client() -> Result<Client, reqwest::Error> {
    Client::builder()
        .user_agent(concat!("reprove/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(20))
        .timeout(TIMEOUT)
        .build()
}

/// An attempt that did not bring all bytes.
enum Failure {
    /// It may go better another time, at the earliest after this time.
    Transient(String, Option<Duration>),
    /// The place has something else.
    Settled(Said),
    /// The place cannot be asked at all.
    Unreachable(String),
    /// The store failed.
    Local(io::Error),
}

/// Asks one place for the pinned bytes, and keeps them.
///
/// What came before a connection broke is not asked for again. Bytes of
/// different places are never put together: what is wrong is one place's.
pub(super) fn download(
    http: &Client,
    url: &str,
    pin: &Pin,
    store: &Store,
    task: &dyn Task,
) -> Result<Downloaded, Error> {
    let failed = |source| Error::Store {
        what: pin.name.clone(),
        source,
    };
    let mut partial = Partial {
        writer: store.writer().map_err(failed)?,
        position: 0,
        size: Size::Exactly(pin.size),
    };
    if let Some(said) = patiently(&pin.name, || partial.go_on(http, url, task))? {
        return Ok(Downloaded::Not(said));
    }
    match partial.writer.finish(Some(&pin.digest)) {
        Ok(_) => Ok(Downloaded::Kept),
        Err(store::Error::Mismatch { actual, .. }) => Ok(Downloaded::Not(Said::OtherBytes(actual))),
        Err(source) => Err(failed(source)),
    }
}

/// Asks one place for bytes of which only the most that there may be is known, and keeps them.
///
/// What broke off is asked for from its beginning: it may have changed since.
pub(super) fn download_unpinned(
    http: &Client,
    url: &str,
    what: &str,
    limit: u64,
    store: &Store,
    task: &dyn Task,
) -> Result<Result<(Digest, u64), Said>, Error> {
    let failed = |source| Error::Store {
        what: what.to_owned(),
        source,
    };
    let begin = || -> Result<Partial, Error> {
        Ok(Partial {
            writer: store.writer().map_err(failed)?,
            position: 0,
            size: Size::AtMost(limit),
        })
    };
    let mut partial = begin()?;
    let said = patiently(what, || {
        if partial.position > 0 {
            partial = begin().map_err(|error| Failure::Local(io::Error::other(error)))?;
        }
        partial.go_on(http, url, task)
    })?;
    if let Some(said) = said {
        return Ok(Err(said));
    }
    let size = partial.position;
    Ok(Ok((partial.writer.finish(None).map_err(failed)?, size)))
}

/// Tries until it goes well, or returns what the place said at last.
fn patiently(
    what: &str,
    mut attempt: impl FnMut() -> Result<(), Failure>,
) -> Result<Option<Said>, Error> {
    let mut backoff = BACKOFF;
    let mut attempts_left = ATTEMPTS;
    loop {
        attempts_left -= 1;
        let said = match attempt() {
            Ok(()) => return Ok(None),
            Err(Failure::Transient(_, wait)) if attempts_left > 0 => {
                thread::sleep(wait.unwrap_or(backoff).min(MAX_WAIT));
                backoff *= 2;
                continue;
            }
            Err(Failure::Transient(problem, _) | Failure::Unreachable(problem)) => {
                Said::Nothing(problem)
            }
            Err(Failure::Settled(said)) => said,
            Err(Failure::Local(source)) => {
                let what = what.to_owned();
                return Err(Error::Io { what, source });
            }
        };
        return Ok(Some(said));
    }
}

/// How many bytes there should be.
#[derive(Clone, Copy)]
enum Size {
    Exactly(u64),
    AtMost(u64),
}

impl Size {
    /// Returns the most bytes that are taken.
    fn most(self) -> u64 {
        match self {
            Self::Exactly(size) | Self::AtMost(size) => size,
        }
    }

    /// Says what a file of `size` bytes is, if it cannot be what is asked for.
    fn refuses(self, size: u64) -> Option<Said> {
        match self {
            Self::Exactly(expected) if size != expected => Some(Said::OtherSize(size)),
            Self::AtMost(limit) if size > limit => Some(Said::MoreBytes),
            Self::Exactly(_) | Self::AtMost(_) => None,
        }
    }
}

/// What one place has served so far.
struct Partial {
    writer: BlobWriter,
    position: u64,
    size: Size,
}

impl Partial {
    /// Asks for what is missing, and reads it to the end.
    fn go_on(&mut self, http: &Client, url: &str, task: &dyn Task) -> Result<(), Failure> {
        let mut get = http.get(url);
        if self.position > 0 {
            get = get.header(RANGE, format!("bytes={}-", self.position));
        }
        let mut response = accepted(get.send().map_err(unanswered)?, self.position)?;
        if self.position > 0 && response.status() == StatusCode::OK {
            // It knows no ranges. That it serves the same again is seen from the hash.
            let skipped = io::copy(&mut (&mut response).take(self.position), &mut io::sink());
            if !skipped.is_ok_and(|skipped| skipped == self.position) {
                return Err(Failure::Transient("breaks off".to_owned(), None));
            }
        } else if let Some(rest) = response.content_length()
            && let Some(said) = self.size.refuses(self.position.saturating_add(rest))
        {
            return Err(Failure::Settled(said));
        }
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = match response.read(&mut buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failure::Transient(format!("breaks off: {error}"), None)),
            };
            if count == 0 {
                break;
            }
            if self.position + count as u64 > self.size.most() {
                return Err(Failure::Settled(Said::MoreBytes));
            }
            self.writer
                .write_all(&buffer[..count])
                .map_err(Failure::Local)?;
            self.position += count as u64;
            task.advance(count as u64);
        }
        match self.size {
            // Without a length in the header, an end looks like any other.
            Size::Exactly(size) if self.position < size => {
                Err(Failure::Transient("breaks off".to_owned(), None))
            }
            Size::Exactly(_) | Size::AtMost(_) => Ok(()),
        }
    }
}

/// Returns the response where it has bytes from `position` on; otherwise what it says.
fn accepted(response: Response, position: u64) -> Result<Response, Failure> {
    let status = response.status();
    match status {
        StatusCode::OK => Ok(response),
        StatusCode::PARTIAL_CONTENT if position > 0 && starts_at(&response, position) => {
            Ok(response)
        }
        StatusCode::RANGE_NOT_SATISFIABLE if position > 0 => {
            Err(Failure::Settled(Said::OtherSize(position)))
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Err(busy(&response)),
        status if status.is_server_error() => Err(busy(&response)),
        status => Err(Failure::Settled(Said::Status(status.as_u16()))),
    }
}

fn starts_at(response: &Response, position: u64) -> bool {
    response
        .headers()
        .get(reqwest::header::CONTENT_RANGE)
        .and_then(|value| value.to_str().ok()?.strip_prefix("bytes "))
        .and_then(|range| range.split('-').next()?.parse::<u64>().ok())
        .is_some_and(|start| start == position)
}

fn busy(response: &Response) -> Failure {
    let wait = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(Duration::from_secs);
    Failure::Transient(format!("answers {}", response.status().as_u16()), wait)
}

/// Says whether a request that was not answered may be tried again.
fn unanswered(error: reqwest::Error) -> Failure {
    // A name that does not resolve or a port that is shut will be so in a second.
    let shut = error.is_builder() || error.is_redirect() || error.is_connect();
    let shut = shut && !error.is_timeout();
    let error = error.without_url();
    let mut problem = vec!["cannot be asked".to_owned(), error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        problem.push(error.to_string());
        source = error.source();
    }
    let problem = problem.join(": ");
    if shut {
        Failure::Unreachable(problem)
    } else {
        Failure::Transient(problem, None)
    }
}
