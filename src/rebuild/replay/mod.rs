//! Replay: requests of a build → locked materials; every other request is refused and named.
//!
//! Comes in: the pins of a lock, the store with their bytes, and HTTP requests
//! from the sandbox. Goes out: exactly the pinned bytes under the URLs that the
//! lock has for them; and afterwards a list of what was served and of what was
//! asked for in vain, which means that the build needs more than its lock says.
//!
//! It is an HTTP proxy on a Unix socket, which the sandbox relays to. For HTTPS
//! it is also the server: it makes a certificate for each host, signed by an
//! authority that lives as long as the value does and whose key is in memory
//! only. Inside, that authority is the only one that is trusted; outside, nobody
//! has heard of it. No name is resolved, and nothing is asked outside.
//!
//! The same proxy writes a lock in the first place: [`Replay::record`] asks
//! outside, keeps what comes and answers with what is kept, so that a build sees
//! the same when it is recorded and when it is replayed. For that reason an
//! answer depends on the URL alone: of the request's headers only `Range` is
//! heeded, and of the response's none is kept.

mod answers;
mod authority;
mod blob;
mod record;
mod server;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

pub use answers::Answers;
use authority::Authority;
pub use record::{NotRecorded, Recorded, Recording};
use server::Server;

use super::sandbox::{AUTHORITY, RELAY_PORT, Relay};
use crate::{digest::Digest, store::Store};

/// A proxy that answers from locked materials; it ends when dropped.
#[derive(Debug)]
pub struct Replay {
    /// With the socket and the authority's certificate; no other user gets into it.
    _folder: TempDir,
    socket: PathBuf,
    authority: PathBuf,
    seen: Arc<Seen>,
    /// `None` when it is to end.
    orders: Option<UnboundedSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

/// A request that was not answered with locked bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// What was asked for, as far as it could be understood.
    pub url: String,
    /// The request's method, such as `GET`.
    pub method: String,
    /// Why it was refused.
    pub why: Why,
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// The lock has no such URL.
    NotLocked,
    /// The lock has it, and the store does not.
    NotKept(Digest),
    /// The store's bytes are no longer what they were; the client got a part at most.
    Rotten(Digest),
    /// The store could not be read.
    Unreadable(String),
    /// Only GET and HEAD can be answered.
    Method,
    /// It is not what a client asks a proxy, or breaks HTTP.
    Malformed,
    /// The client and this end agreed on no encryption, such as when it trusts other authorities.
    NoTls(String),
    /// A connection was asked for, and then nothing over it.
    NothingAsked,
    /// When recording: it cannot be asked outside.
    Unreachable(String),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLocked => f.write_str("it is not in the lock"),
            Self::NotKept(digest) => write!(f, "its locked bytes {digest} are not in the store"),
            Self::Rotten(digest) => {
                write!(
                    f,
                    "the store's bytes are no longer the locked ones, {digest}"
                )
            }
            Self::Unreadable(problem) => write!(f, "the store cannot be read: {problem}"),
            Self::Method => f.write_str("only GET and HEAD can be answered from a lock"),
            Self::Malformed => f.write_str("it is not a request to a proxy"),
            Self::NoTls(problem) => write!(f, "there is no TLS with the client: {problem}"),
            Self::NothingAsked => f.write_str("nothing was asked over the connection"),
            Self::Unreachable(problem) => write!(f, "it cannot be asked for: {problem}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.method, self.url, self.why)
    }
}

/// A locked material that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Served {
    /// The name of its pin.
    pub name: String,
    /// The URL that it was asked for by.
    pub url: String,
    /// The hash of its bytes.
    pub digest: Digest,
}

/// Why requests could not be answered at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The lock has two kinds of bytes for one URL.
    #[error("{url} is both {one} and {other} in the lock")]
    TwoAnswers {
        /// The URL, or the path in an archive of packages.
        url: String,
        /// The name of a pin.
        one: String,
        /// The name of another one.
        other: String,
    },
    /// What the proxy needs could not be made.
    #[error("cannot use {}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The certificate of the authority could not be made.
    #[error("cannot make a certificate")]
    Certificate(#[source] rcgen::Error),
    /// The proxy could not be started.
    #[error("cannot start the proxy for requests of the build")]
    Start {
        /// What the system said.
        source: io::Error,
    },
    /// Nothing can be asked over HTTP.
    #[error("cannot speak HTTP")]
    Http(#[source] reqwest::Error),
}

/// The most refusals that are remembered: enough to see what a build is missing.
const MOST_REFUSALS: usize = 1000;

/// How long requests that are under way are waited for, after whoever made them is gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the proxy has seen so far, shared with its thread.
#[derive(Debug, Default)]
struct Seen {
    state: Mutex<State>,
    /// Told when a connection ends.
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Connections that are open.
    open: usize,
    refused: BTreeSet<Refusal>,
    served: BTreeSet<Served>,
}

impl Seen {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self, refusal: Refusal) {
        let mut state = self.state();
        if state.refused.len() < MOST_REFUSALS {
            state.refused.insert(refusal);
        }
    }
}

/// What the proxy's thread is told.
#[derive(Debug)]
enum Order {
    /// To say when it has taken all connections that were made until then.
    CatchUp(mpsc::Sender<()>),
}

/// The variables that name a proxy, for those that read them in small and in capital letters.
const PROXY_VARIABLES: [&str; 4] = ["http_proxy", "https_proxy", "ftp_proxy", "all_proxy"];

/// The variables that name a file of trusted certificates, and who reads them.
const AUTHORITY_VARIABLES: [(&str, &str); 14] = [
    // OpenSSL, and so Python, Ruby and many others; Go; rustls-native-certs.
    ("SSL_CERT_FILE", AUTHORITY),
    ("CURL_CA_BUNDLE", AUTHORITY),
    ("GIT_SSL_CAINFO", AUTHORITY),
    ("CARGO_HTTP_CAINFO", AUTHORITY),
    // Python: requests, pip, httplib2.
    ("REQUESTS_CA_BUNDLE", AUTHORITY),
    ("PIP_CERT", AUTHORITY),
    ("HTTPLIB2_CA_CERTS", AUTHORITY),
    // Node and npm, which have lists of their own; the third has fetch heed the proxy.
    ("NODE_EXTRA_CA_CERTS", AUTHORITY),
    ("NPM_CONFIG_CAFILE", AUTHORITY),
    ("NODE_USE_ENV_PROXY", "1"),
    ("DENO_CERT", AUTHORITY),
    ("PERL_LWP_SSL_CA_FILE", AUTHORITY),
    ("BUNDLE_SSL_CA_CERT", AUTHORITY),
    ("NIX_SSL_CERT_FILE", AUTHORITY),
];

impl Replay {
    /// Starts to answer from the store; `scratch` is a directory for the socket.
    pub fn start(answers: Answers, store: &Store, scratch: &Path) -> Result<Self, Error> {
        Self::with(server::Source::Lock(answers), store, scratch)
    }

    fn with(source: server::Source, store: &Store, scratch: &Path) -> Result<Self, Error> {
        let folder = tempfile::Builder::new()
            .prefix("replay-")
            .tempdir_in(scratch)
            .map_err(cannot_use(scratch))?;
        let authority = Authority::new().map_err(Error::Certificate)?;
        let certificate = folder.path().join("ca.pem");
        std::fs::write(&certificate, authority.pem()).map_err(cannot_use(&certificate))?;
        let socket = folder.path().join("proxy");
        let listener = server::listen(folder.path()).map_err(cannot_use(&socket))?;
        let seen = Arc::new(Seen::default());
        let server = Server {
            source,
            store: store.clone(),
            authority,
            seen: Arc::clone(&seen),
        };
        let (orders, ordered) = unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| Error::Start { source })?;
        let thread = thread::Builder::new()
            .name("replay".to_owned())
            .spawn(move || {
                runtime.block_on(server.serve(listener, ordered));
                // A name that is being resolved is nothing to wait for.
                runtime.shutdown_background();
            })
            .map_err(|source| Error::Start { source })?;
        Ok(Self {
            _folder: folder,
            socket,
            authority: certificate,
            seen,
            orders: Some(orders),
            thread: Some(thread),
        })
    }

    /// Returns the variables by which programs inside find the proxy and trust it.
    ///
    /// They are the same for every build. No address is exempt from the proxy,
    /// so that a request to `127.0.0.1` is seen too; a build that asks a server
    /// of its own needs `no_proxy`. Java reads none of these.
    pub fn environment() -> BTreeMap<String, String> {
        let proxy = format!("http://127.0.0.1:{RELAY_PORT}");
        let mut variables: BTreeMap<String, String> = AUTHORITY_VARIABLES
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        for name in PROXY_VARIABLES {
            variables.insert(name.to_owned(), proxy.clone());
            variables.insert(name.to_uppercase(), proxy.clone());
        }
        for name in ["no_proxy", "NO_PROXY"] {
            variables.insert(name.to_owned(), String::new());
        }
        variables
    }

    /// Returns what a job needs for its requests to come here.
    pub fn relay(&self) -> Relay<'_> {
        Relay {
            socket: &self.socket,
            authority: &self.authority,
        }
    }

    /// Returns the certificate that clients must trust: a PEM file of this host, gone with the value.
    pub fn authority(&self) -> &Path {
        &self.authority
    }

    /// Returns the requests that were refused so far, by URL, each once; a thousand at most.
    ///
    /// Requests of jobs that have ended are all among them. Empty for a build
    /// that asked for nothing but what is locked.
    pub fn refused(&self) -> Vec<Refusal> {
        self.settle();
        self.seen.state().refused.iter().cloned().collect()
    }

    /// Returns which pins were asked for so far, by name.
    pub fn served(&self) -> Vec<Served> {
        self.settle();
        self.seen.state().served.iter().cloned().collect()
    }

    /// Waits until what clients that are gone have sent is dealt with.
    fn settle(&self) {
        let (done, caught_up) = mpsc::channel();
        if let Some(orders) = &self.orders
            && orders.send(Order::CatchUp(done)).is_ok()
        {
            // A client that is still there may keep its connection open for longer.
            let _ = caught_up.recv_timeout(PATIENCE);
        }
        let state = self.seen.state();
        let ended = &self.seen.ended;
        drop(ended.wait_timeout_while(state, PATIENCE, |state| state.open > 0));
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            // A panic has been printed, and what it was about is over.
            let _ = thread.join();
        }
    }
}

/// Says which file the system's error is about.
fn cannot_use(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { path, source }
}
