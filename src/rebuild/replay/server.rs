//! Server: bytes from a client → requests → responses.
//!
//! One thread does all: what takes time is the reading and hashing of blobs,
//! which is done a chunk at a time. How much a client can make it hold is
//! bounded: connections, the size of a request's head, and a chunk of a blob each.

use std::{
    io,
    os::{fd::AsRawFd, unix::net},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, combinators::BoxBody};
use hyper::{
    Method, Request, Response, StatusCode, Uri,
    body::Incoming,
    header::{self, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::fs::{Mode, OFlags};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc::UnboundedReceiver},
};
use tokio_rustls::TlsAcceptor;

use super::{
    Order, Refusal, Seen, Served, Why,
    answers::{Answer, Answers, canonical},
    authority::Authority,
    blob::{Asked, Blob, asked},
    record::{Found, Recorder},
};
use crate::store::Store;

/// The most connections at one time; others wait.
const MOST_CONNECTIONS: usize = 256;
/// The most bytes of a request's head.
const MOST_HEAD: usize = 64 << 10;
/// How long a client may take for a request's head or for a handshake.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(120);

/// What stands for the method and the URL of a request that has none.
const UNREADABLE: &str = "(unreadable)";

/// Where answers come from.
pub(super) enum Source {
    /// A lock alone.
    Lock(Answers),
    /// The outside, which is asked once for each URL.
    Outside(Arc<Recorder>),
}

/// What answers all requests.
pub(super) struct Server {
    pub(super) source: Source,
    pub(super) store: Store,
    pub(super) authority: Authority,
    pub(super) seen: Arc<Seen>,
}

type Reply = Response<BoxBody<Bytes, io::Error>>;

/// A connection that is open, counted.
struct Open {
    seen: Arc<Seen>,
    _permit: OwnedSemaphorePermit,
}

impl Open {
    fn new(seen: &Arc<Seen>, permit: OwnedSemaphorePermit) -> Arc<Self> {
        seen.state().open += 1;
        Arc::new(Self {
            seen: Arc::clone(seen),
            _permit: permit,
        })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.seen.state().open -= 1;
        self.seen.ended.notify_all();
    }
}

/// What a connection is for.
#[derive(Clone)]
enum Line {
    /// Requests to a proxy.
    Proxy,
    /// Requests to a host, within TLS.
    Tunnel {
        /// The URL of its root, which ends with `/`.
        root: Arc<str>,
        /// Whether anything was asked.
        used: Arc<AtomicBool>,
    },
}

/// Makes the socket `proxy` in a folder.
pub(super) fn listen(folder: &Path) -> io::Result<net::UnixListener> {
    // By its number, the folder's path is short enough for a socket's address,
    // which may have 107 bytes.
    let folder = rustix::fs::open(folder, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let path = format!("/proc/self/fd/{}/proxy", folder.as_raw_fd());
    let listener = net::UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl Server {
    /// Answers until there can be no more orders.
    pub(super) async fn serve(
        self,
        listener: net::UnixListener,
        mut orders: UnboundedReceiver<Order>,
    ) {
        let this = Arc::new(self);
        let Ok(listener) = UnixListener::from_std(listener) else {
            return;
        };
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        loop {
            let connection = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, listener.accept().await)
            };
            tokio::select! {
                // Connections first, so that an order to catch up finds none left.
                biased;
                (place, accepted) = connection => match (place, accepted) {
                    (Ok(place), Ok((stream, _))) => {
                        let open = Open::new(&this.seen, place);
                        tokio::spawn(Arc::clone(&this).plain(stream, open));
                    }
                    // Such as too many open files: others may be closed soon.
                    (Ok(_) | Err(_), _) => tokio::time::sleep(Duration::from_millis(50)).await,
                },
                order = orders.recv() => match order {
                    // Whoever asked may have lost patience.
                    Some(Order::CatchUp(done)) => drop(done.send(())),
                    None => return,
                },
            }
        }
    }

    async fn plain(self: Arc<Self>, stream: UnixStream, open: Arc<Open>) {
        self.talk(stream, Line::Proxy, open).await;
    }

    /// Answers the requests of one connection.
    async fn talk<S>(self: &Arc<Self>, stream: S, line: Line, open: Arc<Open>)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let server = Arc::clone(self);
        let asked_on = line.clone();
        let service = service_fn(move |request| {
            let server = Arc::clone(&server);
            let line = asked_on.clone();
            let open = Arc::clone(&open);
            async move { Ok::<_, io::Error>(server.answer(request, &line, &open).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(CLIENT_TIMEOUT)
            .max_buf_size(MOST_HEAD)
            // What sends a request may say that it sends no other.
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        if let Err(error) = connection.await
            && error.is_parse()
        {
            let url = match &line {
                Line::Proxy => UNREADABLE.to_owned(),
                Line::Tunnel { root, used } => {
                    used.store(true, Ordering::Relaxed);
                    root.to_string()
                }
            };
            self.refuse(UNREADABLE, url, Why::Malformed);
        }
    }

    async fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
        line: &Line,
        open: &Arc<Open>,
    ) -> Reply {
        let method = request.method().clone();
        if let Line::Tunnel { used, .. } = line {
            used.store(true, Ordering::Relaxed);
        }
        if method == Method::CONNECT {
            return self.connect(request, line, open);
        }
        let url = match asked_url(&request, line) {
            Ok(url) => url,
            Err(url) => return self.refuse(method.as_str(), url, Why::Malformed),
        };
        if method != Method::GET && method != Method::HEAD {
            return self.refuse(method.as_str(), url, Why::Method);
        }
        let answer = match &self.source {
            Source::Lock(answers) => answers.to(&url).cloned().ok_or(Why::NotLocked),
            Source::Outside(recorder) => match recorder.find(&url).await {
                Ok(Found::Kept(answer)) => Ok(answer),
                Ok(Found::Other { status, body }) => return text(status, body),
                Err(why) => Err(why),
            },
        };
        match answer.and_then(|answer| self.send(&request, &url, &answer)) {
            Ok(reply) => reply,
            Err(why) => self.refuse(method.as_str(), url, why),
        }
    }

    /// Makes a response of locked bytes.
    fn send(&self, request: &Request<Incoming>, url: &str, answer: &Answer) -> Result<Reply, Why> {
        let unreadable = |error: crate::store::Error| Why::Unreadable(error.to_string());
        let reader = self.store.read(&answer.digest).map_err(unreadable)?;
        let reader = reader.ok_or(Why::NotKept(answer.digest))?;
        let blob = Blob::open(reader, answer, &self.seen, url)?;
        self.seen.state().served.insert(Served {
            name: answer.name.clone(),
            url: url.to_owned(),
            digest: answer.digest,
        });

        let headers = request.headers();
        let range = headers.get(header::RANGE);
        // Nothing here has a tag or a date that would meet the condition.
        let range = range.filter(|_| !headers.contains_key(header::IF_RANGE));
        let range = range.and_then(|range| range.to_str().ok());
        let asked = range.map_or(Asked::Whole, |range| asked(range, answer.size));
        let response = Response::builder()
            .header(header::CONTENT_TYPE, media_type(blob.beginning()))
            .header(header::ACCEPT_RANGES, "bytes");
        let size = answer.size;
        let (response, blob, length) = match asked {
            Asked::Whole => (response, Some(blob), size),
            Asked::Part(part) => {
                let length = part.end - part.start;
                let range = format!("bytes {}-{}/{size}", part.start, part.end - 1);
                let response = response
                    .status(StatusCode::PARTIAL_CONTENT)
                    .header(header::CONTENT_RANGE, range);
                (response, Some(blob.part(part)), length)
            }
            Asked::Nothing => {
                let response = response
                    .status(StatusCode::RANGE_NOT_SATISFIABLE)
                    .header(header::CONTENT_RANGE, format!("bytes */{size}"));
                (response, None, 0)
            }
        };
        let body = match blob {
            Some(blob) if request.method() == Method::GET => blob.boxed(),
            Some(_) | None => nothing(),
        };
        Ok(response
            .header(header::CONTENT_LENGTH, length)
            .body(body)
            .expect("these headers are texts without control characters"))
    }

    /// Becomes the host that a client wants to be connected with.
    fn connect(
        self: &Arc<Self>,
        request: Request<Incoming>,
        line: &Line,
        open: &Arc<Open>,
    ) -> Reply {
        let target = request.uri().to_string();
        let root = request
            .uri()
            .authority()
            .filter(|target| target.port_u16().is_some())
            .and_then(|target| canonical(&format!("https://{target}/")));
        let (Line::Proxy, Some(root)) = (line, root) else {
            return self.refuse("CONNECT", target, Why::Malformed);
        };
        let server = Arc::clone(self);
        let open = Arc::clone(open);
        tokio::spawn(async move {
            // Where it fails the client is gone before it asked for anything.
            if let Ok(upgraded) = hyper::upgrade::on(request).await {
                server.tunnel(TokioIo::new(upgraded), &root, open).await;
            }
        });
        Response::new(nothing())
    }

    async fn tunnel(
        self: &Arc<Self>,
        stream: TokioIo<hyper::upgrade::Upgraded>,
        root: &str,
        open: Arc<Open>,
    ) {
        let refuse = |why| {
            self.refuse("CONNECT", root.to_owned(), why);
        };
        let host = host_of(root);
        let config = match self.authority.server_config(&host) {
            Ok(config) => config,
            Err(error) => return refuse(Why::NoTls(error.to_string())),
        };
        let handshake = TlsAcceptor::from(config).accept(stream);
        let stream = match tokio::time::timeout(CLIENT_TIMEOUT, handshake).await {
            Ok(Ok(stream)) => Some(stream),
            // So all is called that is wrong with what the client sends.
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                return refuse(Why::NoTls(error.to_string()));
            }
            // It went away, or will.
            Ok(Err(_)) | Err(_) => None,
        };
        let used = Arc::new(AtomicBool::new(false));
        if let Some(stream) = stream {
            let line = Line::Tunnel {
                root: root.into(),
                used: Arc::clone(&used),
            };
            self.talk(stream, line, open).await;
        }
        let known = match &self.source {
            Source::Lock(answers) => answers.name(root),
            Source::Outside(_) => true,
        };
        if !known && !used.load(Ordering::Relaxed) {
            refuse(Why::NothingAsked);
        }
    }

    /// Remembers a refusal, and says it to the client.
    fn refuse(&self, method: &str, url: String, why: Why) -> Reply {
        let status = match &why {
            Why::NotLocked | Why::Method => StatusCode::FORBIDDEN,
            Why::Malformed | Why::NoTls(_) | Why::NothingAsked => StatusCode::BAD_REQUEST,
            Why::NotKept(_) | Why::Rotten(_) | Why::Unreadable(_) | Why::Unreachable(_) => {
                StatusCode::BAD_GATEWAY
            }
        };
        let refusal = Refusal {
            url,
            method: method.to_owned(),
            why,
        };
        let body = format!("reprove refuses {refusal}\n");
        self.seen.refuse(refusal);
        text(status, body.into())
    }
}

/// Returns the URL that a request is for; where it breaks the rules, what it has in place of one.
///
/// Source: RFC 9112 section 3.2.
fn asked_url(request: &Request<Incoming>, line: &Line) -> Result<String, String> {
    let uri: &Uri = request.uri();
    let whole = || uri.to_string();
    match line {
        Line::Proxy if uri.scheme().is_some() => canonical(&whole()).ok_or_else(whole),
        Line::Proxy => {
            // It was sent to this port as to a web server.
            let host = request.headers().get(header::HOST);
            let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
            Err(format!("http://{host}{}", whole()))
        }
        Line::Tunnel { root, .. } if uri.scheme().is_some() => canonical(&whole())
            .filter(|url| url.starts_with(&**root))
            .ok_or_else(whole),
        Line::Tunnel { root, .. } => {
            let url = format!("{}{}", root.trim_end_matches('/'), whole());
            let is_root = |host: &HeaderValue| {
                let host = host.to_str().ok();
                host.and_then(|host| canonical(&format!("https://{host}/")))
                    .is_some_and(|host| *host == **root)
            };
            match request.headers().get(header::HOST) {
                Some(host) if !is_root(host) => Err(url),
                Some(_) | None => canonical(&url).ok_or(url),
            }
        }
    }
}

/// Returns the host of a URL as a certificate has it.
fn host_of(root: &str) -> String {
    let url = reqwest::Url::parse(root).ok();
    let host = url
        .as_ref()
        .and_then(|url| url.host_str())
        .unwrap_or_default();
    // An address of IPv6.
    host.trim_matches(['[', ']']).to_owned()
}

/// Returns the media type of bytes, as far as clients insist on one.
///
/// pip takes no index of packages that is not called HTML. A lock knows bytes only.
fn media_type(beginning: &[u8]) -> &'static str {
    let text = beginning.trim_ascii_start();
    let begins_with = |tag: &[u8]| {
        text.get(..tag.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(tag))
    };
    if begins_with(b"<!doctype html") || begins_with(b"<html") {
        "text/html; charset=utf-8"
    } else if begins_with(b"{") || begins_with(b"[") {
        "application/json"
    } else {
        "application/octet-stream"
    }
}

fn nothing() -> BoxBody<Bytes, io::Error> {
    Empty::new().map_err(|never| match never {}).boxed()
}

fn text(status: StatusCode, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body).map_err(|never| match never {}).boxed());
    *reply.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    reply.headers_mut().insert(header::CONTENT_TYPE, plain);
    reply
}
