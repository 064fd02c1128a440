//! A server of git's smart HTTP: its greeting, its branches and tags, its answers.
//!
//! Only URLs, status, content type and framing are judged here; what to ask for
//! is settled in the `remote` module.
//!
//! Source: git `Documentation/gitprotocol-http.adoc`, `gitprotocol-v2.adoc`,
//! and for servers that know no version 2 `gitprotocol-pack.adoc`.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read},
    time::Duration,
};

use git2::Oid;
use reqwest::{
    Url,
    blocking::{Client, Response},
    header::CONTENT_TYPE,
    redirect::Policy,
};

use super::{
    Error,
    objects::{Head, References, Target},
    pkt_line::{self, Packet},
    redacted,
};

/// Some hosts show a web page to clients that are not called so.
const USER_AGENT: &str = concat!("git/2.0 (reprove ", env!("CARGO_PKG_VERSION"), ")");

/// How long a server may be silent. Servers that are busy say so every few seconds.
const SILENCE: Duration = Duration::from_secs(120);

/// How long a server may take to answer the knock.
const CONNECT: Duration = Duration::from_secs(30);

/// How many bytes a list of branches and tags may have; the largest public ones have some 20 MB.
const LONGEST_LIST: u64 = 256 << 20;

/// How many redirections are followed, as curl and git have it.
const MOST_REDIRECTIONS: usize = 10;

/// A server that answered.
pub(super) struct Server {
    client: Client,
    /// The repository's URL after redirections.
    base: Url,
    /// The same as messages show it.
    pub(super) shown: String,
    /// What it can do.
    pub(super) dialect: Dialect,
}

/// The versions of the protocol.
pub(super) enum Dialect {
    /// Branches and tags are asked for; the features of `fetch` are these words.
    Two { fetch: BTreeSet<String> },
    /// Branches and tags were in the greeting, with these capabilities.
    Zero {
        capabilities: BTreeSet<String>,
        references: References,
        shallow: Vec<Oid>,
    },
}

impl Dialect {
    /// Returns whether the server can leave things out by `feature`: `shallow` or `filter`.
    pub(super) fn has(&self, feature: &str) -> bool {
        match self {
            Self::Two { fetch } => fetch.contains(feature),
            Self::Zero { capabilities, .. } => capabilities.contains(feature),
        }
    }
}

impl Server {
    pub(super) fn greet(url: &Url, shown: &str) -> Result<Self, Error> {
        let failed = |source: reqwest::Error| Error::Http {
            url: shown.to_owned(),
            source: source.without_url(),
        };
        let client = Client::builder()
            .user_agent(USER_AGENT)
            .timeout(SILENCE)
            .connect_timeout(CONNECT)
            .redirect(Policy::custom(|attempt| {
                let secure = |url: &Url| url.scheme() == "https";
                let previous = attempt.previous();
                if previous.len() > MOST_REDIRECTIONS {
                    attempt.error("too many redirections")
                } else if previous.last().is_some_and(secure) && !secure(attempt.url()) {
                    attempt.error("redirected from https to http")
                } else {
                    attempt.follow()
                }
            }))
            .build()
            .map_err(failed)?;
        let mut greeting = url.clone();
        greeting.set_fragment(None);
        greeting.set_path(&format!("{}/info/refs", url.path().trim_end_matches('/')));
        greeting.set_query(Some("service=git-upload-pack"));
        let response = client
            .get(greeting)
            .header("Git-Protocol", "version=2")
            .send()
            .map_err(failed)?;
        let base = base_of(response.url(), url, shown)?;
        let shown = if plain(&base) == plain(url) {
            shown.to_owned()
        } else {
            redacted(base.as_str())
        };
        let mut body = checked(
            response,
            &shown,
            "application/x-git-upload-pack-advertisement",
        )?
        .take(LONGEST_LIST);
        let dialect = read_greeting(&mut body, &shown)?;
        Ok(Self {
            client,
            base,
            shown,
            dialect,
        })
    }

    pub(super) fn post(&self, message: Vec<u8>) -> Result<Response, Error> {
        let mut url = self.base.clone();
        url.set_path(&format!(
            "{}/git-upload-pack",
            self.base.path().trim_end_matches('/')
        ));
        let mut request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/x-git-upload-pack-request")
            .body(message);
        if matches!(self.dialect, Dialect::Two { .. }) {
            request = request.header("Git-Protocol", "version=2");
        }
        let response = request.send().map_err(|source| Error::Http {
            url: self.shown.clone(),
            source: source.without_url(),
        })?;
        checked(
            response,
            &self.shown,
            "application/x-git-upload-pack-result",
        )
    }

    pub(super) fn references(&self) -> Result<References, Error> {
        let references = match &self.dialect {
            Dialect::Zero { references, .. } => return Ok(references.clone()),
            Dialect::Two { .. } => {
                let mut message = Vec::new();
                pkt_line::line(&mut message, "command=ls-refs");
                pkt_line::line(&mut message, "object-format=sha1");
                pkt_line::delimiter(&mut message);
                for argument in [
                    "peel",
                    "symrefs",
                    "ref-prefix HEAD",
                    "ref-prefix refs/heads/",
                    "ref-prefix refs/tags/",
                ] {
                    pkt_line::line(&mut message, argument);
                }
                pkt_line::flush(&mut message);
                let mut body = self.post(message)?.take(LONGEST_LIST);
                let mut references = References::default();
                while let Packet::Data(data) = packet(&mut body, &self.shown)? {
                    read_reference(text(&data, &self.shown)?, &mut references).ok_or_else(
                        || {
                            self.problem(format!(
                                "a reference that cannot be read: {:?}",
                                super::show(&data)
                            ))
                        },
                    )?;
                }
                references
            }
        };
        Ok(references)
    }

    pub(super) fn problem(&self, problem: String) -> Error {
        Error::Protocol {
            url: self.shown.clone(),
            problem,
        }
    }
}

/// Reads `OID NAME[ symref-target:NAME][ peeled:OID]`.
fn read_reference(line: &str, references: &mut References) -> Option<()> {
    let mut words = line.split(' ');
    let id = words.next()?;
    let name = words.next()?;
    let mut target = None;
    let mut peeled = None;
    for word in words {
        if let Some(name) = word.strip_prefix("symref-target:") {
            target = Some(name.to_owned());
        } else if let Some(id) = word.strip_prefix("peeled:") {
            peeled = Some(oid(id)?);
        }
    }
    if id == "unborn" {
        return Some(());
    }
    let id = oid(id)?;
    if name == "HEAD" {
        references.head = Some(Head { branch: target, id });
    } else if is_wanted(name) {
        references
            .by_name
            .insert(name.to_owned(), Target { id, peeled });
    }
    Some(())
}

/// Returns whether a reference is a branch or tag. Servers need not heed `ref-prefix`.
fn is_wanted(name: &str) -> bool {
    name.starts_with("refs/heads/") || name.starts_with("refs/tags/")
}

pub(super) fn oid(text: &str) -> Option<Oid> {
    (text.len() == 40)
        .then(|| Oid::from_str(text).ok())
        .flatten()
}

/// Returns the repository's URL after redirections, with the login where the host is the same.
fn base_of(answered: &Url, asked: &Url, shown: &str) -> Result<Url, Error> {
    let path = answered.path();
    let Some(path) = path.strip_suffix("/info/refs") else {
        return Err(Error::Protocol {
            url: shown.to_owned(),
            problem: format!("a redirection to {}", redacted(answered.as_str())),
        });
    };
    let mut base = answered.clone();
    base.set_path(path);
    base.set_query(None);
    if base.origin() == asked.origin() {
        let failed = |()| Error::Protocol {
            url: shown.to_owned(),
            problem: "a URL that can carry no login".to_owned(),
        };
        base.set_username(asked.username()).map_err(failed)?;
        base.set_password(asked.password()).map_err(failed)?;
    }
    Ok(base)
}

/// Returns the URL without login, query and a slash at its end.
pub(super) fn plain(url: &Url) -> String {
    let mut url = url.clone();
    url.set_fragment(None);
    url.set_query(None);
    redacted(url.as_str()).trim_end_matches('/').to_owned()
}

/// Checks status and content type.
fn checked(response: Response, shown: &str, expected: &str) -> Result<Response, Error> {
    if !response.status().is_success() {
        return Err(Error::Status {
            url: shown.to_owned(),
            status: response.status(),
        });
    }
    let content_type = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("no content type");
    if content_type != expected {
        return Err(Error::NotAGitServer {
            url: shown.to_owned(),
            content_type: content_type.to_owned(),
        });
    }
    Ok(response)
}

/// Reads a packet that must be there; a server's complaint becomes an error.
pub(super) fn packet(body: &mut impl Read, shown: &str) -> Result<Packet, Error> {
    let interrupted = |source| Error::Interrupted {
        url: shown.to_owned(),
        source,
    };
    let packet = pkt_line::read(body)
        .map_err(interrupted)?
        .ok_or_else(|| interrupted(io::ErrorKind::UnexpectedEof.into()))?;
    if let Packet::Data(data) = &packet
        && let Some(message) = data.strip_prefix(b"ERR ")
    {
        return Err(refused(message, shown));
    }
    Ok(packet)
}

pub(super) fn refused(message: &[u8], shown: &str) -> Error {
    Error::Refused {
        url: shown.to_owned(),
        message: super::show(message.trim_ascii()),
    }
}

/// Returns a line without its end.
pub(super) fn text<'a>(data: &'a [u8], shown: &str) -> Result<&'a str, Error> {
    let line = data.strip_suffix(b"\n").unwrap_or(data);
    std::str::from_utf8(line).map_err(|_| Error::Protocol {
        url: shown.to_owned(),
        problem: format!("a line that is not UTF-8: {:?}", super::show(line)),
    })
}

fn read_greeting(body: &mut impl Read, shown: &str) -> Result<Dialect, Error> {
    let mut first = packet(body, shown)?;
    if matches!(&first, Packet::Data(data) if data.starts_with(b"# service=")) {
        packet(body, shown)?;
        first = packet(body, shown)?;
    }
    match &first {
        Packet::Data(data) if text(data, shown)? == "version 2" => read_version_two(body, shown),
        _ => read_version_zero(first, body, shown),
    }
}

fn read_version_two(body: &mut impl Read, shown: &str) -> Result<Dialect, Error> {
    let mut capabilities = BTreeMap::new();
    while let Packet::Data(data) = packet(body, shown)? {
        let line = text(&data, shown)?;
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        capabilities.insert(name.to_owned(), value.to_owned());
    }
    let problem = |problem: String| Error::Protocol {
        url: shown.to_owned(),
        problem,
    };
    if let Some(format) = capabilities.get("object-format")
        && format != "sha1"
    {
        return Err(problem(format!(
            "object format {format}, reprove reads sha1 only"
        )));
    }
    match (capabilities.get("ls-refs"), capabilities.get("fetch")) {
        (Some(_), Some(fetch)) => Ok(Dialect::Two {
            fetch: fetch.split(' ').map(str::to_owned).collect(),
        }),
        _ => Err(problem(
            "version 2 of git's protocol but without ls-refs and fetch".to_owned(),
        )),
    }
}

fn read_version_zero(
    mut next: Packet,
    body: &mut impl Read,
    shown: &str,
) -> Result<Dialect, Error> {
    let problem = |what: &str| Error::Protocol {
        url: shown.to_owned(),
        problem: what.to_owned(),
    };
    let mut references = References::default();
    let mut capabilities: Option<BTreeSet<String>> = None;
    let mut shallow = Vec::new();
    while let Packet::Data(data) = next {
        let line = text(&data, shown)?;
        // The capabilities hide behind a NUL in the first line.
        let line = if let Some((line, words)) = line.split_once('\0') {
            capabilities = Some(words.split(' ').map(str::to_owned).collect());
            line
        } else {
            line
        };
        if let Some(id) = line.strip_prefix("shallow ").and_then(oid) {
            shallow.push(id);
        } else if line != "version 1" {
            let (id, name) = line
                .split_once(' ')
                .and_then(|(id, name)| Some((oid(id)?, name)))
                .ok_or_else(|| problem("a reference that cannot be read"))?;
            match name.strip_suffix("^{}") {
                // An empty repository lists its capabilities under a name that cannot be.
                Some("capabilities") => {}
                Some(tag) => {
                    if let Some(target) = references.by_name.get_mut(tag) {
                        target.peeled = Some(id);
                    }
                }
                None if name == "HEAD" => {
                    references.head = Some(Head { branch: None, id });
                }
                None if is_wanted(name) => {
                    references
                        .by_name
                        .insert(name.to_owned(), Target { id, peeled: None });
                }
                None => {}
            }
        }
        next = packet(body, shown)?;
    }
    let capabilities = capabilities.ok_or_else(|| problem("no list of capabilities"))?;
    for word in &capabilities {
        if let Some(format) = word.strip_prefix("object-format=")
            && format != "sha1"
        {
            return Err(problem(&format!(
                "object format {format}, reprove reads sha1 only"
            )));
        }
        if let (Some(head), Some(branch)) =
            (&mut references.head, word.strip_prefix("symref=HEAD:"))
        {
            head.branch = Some(branch.to_owned());
        }
    }
    if !capabilities.contains("side-band-64k") {
        return Err(problem("no side-band-64k among its capabilities"));
    }
    Ok(Dialect::Zero {
        capabilities,
        references,
        shallow,
    })
}
