//! Registries: manifests and blobs over HTTP, by tag or digest.
//!
//! What is served is never believed: manifests are hashed, blobs are read by
//! those who check them. A broken stream goes on where it broke, what is
//! transient is tried again a few times, and what the registry refuses is said
//! in words. See the OCI distribution-spec.
//!
//! oci-client reads a manifest of any size into memory, cannot exchange Docker's
//! identity tokens, and drops why a login was refused and when to come back;
//! so requests are made here. Its reading of references is used.

use std::{
    collections::BTreeSet,
    fmt,
    fs::File,
    io::{self, Read, Write as _},
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use docker_credential::{CredentialRetrievalError, DockerCredential};
use reqwest::{
    StatusCode,
    blocking::{Client, Response},
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RANGE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::Deserialize;

use super::{
    Descriptor, Error, ImageName, MediaType, Platform,
    manifest::{MAX_MANIFEST, Served},
    pinned::{Blobs, Contents, PinnedImage, Root, from_io, read_limited},
    reference::{RegistryName, Selection},
};
use crate::{
    digest::Digest,
    store::{self, BlobWriter, Store},
};

/// How a registry is reached.
#[derive(Clone, Default)]
pub struct Access {
    /// Registries, as host or `host:port`, that are asked over plain HTTP.
    ///
    /// Those on this machine's loopback always are.
    pub plain_http: BTreeSet<String>,
    /// What is asked before the registry itself, in this order.
    pub mirrors: Vec<Mirror>,
    /// Gives the login for a registry; `None` for no logins at all.
    pub credentials: Option<Arc<Credentials>>,
    /// Keeps what was fetched, and gives it back by digest; `None` to fetch it each time.
    pub store: Option<Store>,
    /// Whether registries are asked at all.
    pub reach: Reach,
}

/// Whether registries are asked for what is not in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// They are.
    #[default]
    Registries,
    /// They are not: [`Refusal::Offline`].
    StoreOnly,
}

/// A registry that has what another one has.
///
/// Where a name has a digest, it does not matter who serves the bytes; where it
/// has only a tag, the mirror says what the tag means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The registry that is mirrored, such as `docker.io`.
    pub registry: String,
    /// The mirror's host, and port where it has one.
    pub host: String,
    /// What comes before the repository there; empty for nothing.
    pub prefix: String,
}

/// Returns the login for a registry and repository.
pub type Credentials = dyn Fn(&str, &str) -> Result<Credential, LoginError> + Send + Sync;

/// A login.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// None.
    Anonymous,
    /// A user's name and password.
    Password {
        /// Name.
        user: String,
        /// Password, or what stands for it.
        password: String,
    },
    /// A token that is exchanged for another one, as `az acr login` leaves it.
    IdentityToken(String),
}

/// Why a login could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the login in {}", path.display())]
pub struct LoginError {
    /// The file that has the login, or names the program that has it.
    pub path: PathBuf,
    /// What is wrong.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// What a registry said in place of what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Status 404.
    #[error("not found")]
    NotFound,
    /// It was not asked, since the store alone was to be used.
    #[error("it is not in the cache, and offline no registry is asked")]
    Offline,
    /// Status 401, or no token was given.
    #[error("not authorized{}", hint(*.login))]
    Unauthorized {
        /// Whether a login was tried.
        login: Login,
    },
    /// Status 403.
    #[error("forbidden{}", said(.message))]
    Forbidden {
        /// What it said.
        message: String,
    },
    /// Status 429, repeatedly.
    #[error("too many requests{}", said(.message))]
    TooManyRequests {
        /// What it said.
        message: String,
    },
    /// Any other status.
    #[error("status {status}{}", said(.message))]
    Status {
        /// The status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// It asks for a login of a kind that is not known.
    #[error("a login of an unknown kind is asked for: {challenge:?}")]
    UnknownChallenge {
        /// What it asks for.
        challenge: String,
    },
    /// It, or its token server, gave something that is no token.
    #[error("the answer of {realm} is not a token")]
    NoToken {
        /// The token server.
        realm: String,
    },
    /// Nothing was reached, or the connection broke.
    #[error("the connection failed")]
    Connection(#[source] reqwest::Error),
}

/// Whether a login was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// There is none.
    None,
    /// There is one.
    Tried,
}

fn hint(login: Login) -> &'static str {
    match login {
        Login::None => "; no login for it was found (docker login or podman login makes one)",
        Login::Tried => "; the login for it was refused",
    }
}

fn said(message: &str) -> String {
    if message.is_empty() {
        String::new()
    } else {
        format!(": {message}")
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("plain_http", &self.plain_http)
            .field("mirrors", &self.mirrors)
            .field("store", &self.store)
            .field("reach", &self.reach)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Password { .. } => "Password(…)",
            Self::IdentityToken(_) => "IdentityToken(…)",
        })
    }
}

/// Returns the logins in files as Docker (`config.json`) and Podman (`auth.json`) write them.
///
/// The first file that has one for the registry counts, within a file the one
/// for the longest part of the name, as Podman has it. Files that are not there
/// are passed over. Credential helpers that a file names are run.
pub fn logins(files: Vec<PathBuf>) -> Arc<Credentials> {
    Arc::new(move |registry, repository| {
        for path in &files {
            let error = |source| LoginError {
                path: path.clone(),
                source,
            };
            let text = match File::open(path).map(|file| file.take(MAX_ANSWER)) {
                Ok(mut file) => {
                    let mut text = Vec::new();
                    file.read_to_end(&mut text)
                        .map_err(|source| error(source.into()))?;
                    text
                }
                Err(source) if source.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(error(source.into())),
            };
            for key in login_keys(registry, repository) {
                match docker_credential::get_credential_from_reader(text.as_slice(), &key) {
                    Ok(DockerCredential::UsernamePassword(user, password)) if user == "<token>" => {
                        return Ok(Credential::IdentityToken(password));
                    }
                    Ok(DockerCredential::UsernamePassword(user, password)) => {
                        return Ok(Credential::Password { user, password });
                    }
                    Ok(DockerCredential::IdentityToken(token)) => {
                        return Ok(Credential::IdentityToken(token));
                    }
                    Err(CredentialRetrievalError::NoCredentialConfigured) => {}
                    // What helpers say where they have nothing, by Docker's protocol.
                    Err(failure @ CredentialRetrievalError::HelperFailure { .. })
                        if failure.to_string().contains("credentials not found") => {}
                    Err(source) => return Err(error(source.into())),
                }
            }
        }
        Ok(Credential::Anonymous)
    })
}

/// Returns the names under which a login may be kept, the closest first.
fn login_keys(registry: &str, repository: &str) -> Vec<String> {
    let whole = format!("{registry}/{repository}");
    let mut keys: Vec<String> = whole
        .match_indices('/')
        .map(|(end, _)| whole[..end].to_owned())
        .rev()
        .collect();
    keys.insert(0, whole.clone());
    if registry == "docker.io" {
        keys.push("https://index.docker.io/v1/".to_owned());
    }
    keys
}

/// The largest answer that is read where it is neither manifest nor blob, in bytes.
const MAX_ANSWER: u64 = 1 << 20;

/// How often something transient is tried.
const ATTEMPTS: u32 = 4;

/// How long is waited before the second attempt; it doubles with each.
const BACKOFF: Duration = Duration::from_millis(500);

/// The longest that a registry may ask to wait.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// How long nothing may come before a connection is taken to be dead.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Where a repository is reached.
#[derive(Debug)]
struct Endpoint {
    host: String,
    /// Such as `https://registry-1.docker.io/v2/library/busybox`.
    address: String,
    registry: String,
    repository: String,
    authorization: Mutex<Option<String>>,
}

impl Endpoint {
    fn new(access: &Access, host: &str, registry: &str, repository: &str) -> Self {
        let scheme = if access.plain_http.contains(host) || is_loopback(host) {
            "http"
        } else {
            "https"
        };
        // Docker's registry has another address than its name.
        let address = if host == "docker.io" {
            "registry-1.docker.io"
        } else {
            host
        };
        Self {
            host: host.to_owned(),
            address: format!("{scheme}://{address}/v2/{repository}"),
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            authorization: Mutex::new(None),
        }
    }

    fn authorization(&self) -> Option<String> {
        self.authorization
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Returns whether `host` is this machine by itself, which Docker asks over plain HTTP.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost"
        || name
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// One repository, and all that may have it.
struct Repository {
    http: Client,
    credentials: Option<Arc<Credentials>>,
    plain_http: BTreeSet<String>,
    store: Option<Store>,
    reach: Reach,
    endpoints: Vec<Endpoint>,
}

/// A failed attempt.
enum Failure {
    /// It may go better another time, at the earliest after this time.
    Transient(Refusal, Option<Duration>),
    Final(Box<dyn std::error::Error + Send + Sync>),
}

impl Failure {
    fn into_source(self) -> Box<dyn std::error::Error + Send + Sync> {
        match self {
            Self::Transient(refusal, _) => refusal.into(),
            Self::Final(source) => source,
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Final(refusal.into())
    }
}

/// What is asked for.
struct Request<'a> {
    what: &'a str,
    /// After the repository's address, such as `blobs/sha256:…`.
    path: String,
    accept: Option<String>,
    from: u64,
}

impl Repository {
    fn new(name: &RegistryName, access: &Access) -> Result<Self, Error> {
        let http = Client::builder()
            .user_agent(concat!("reprove/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(20))
            .timeout(TIMEOUT)
            .build()
            .map_err(|source| Error::Registry {
                what: name.repository.clone(),
                registry: name.registry.clone(),
                source: source.into(),
            })?;
        let mut endpoints: Vec<Endpoint> = access
            .mirrors
            .iter()
            .filter(|mirror| mirror.registry == name.registry)
            .map(|mirror| {
                let prefix = mirror.prefix.trim_matches('/');
                let repository = match prefix {
                    "" => name.repository.clone(),
                    prefix => format!("{prefix}/{}", name.repository),
                };
                Endpoint::new(access, &mirror.host, &mirror.host, &repository)
            })
            .collect();
        endpoints.push(Endpoint::new(
            access,
            &name.registry,
            &name.registry,
            &name.repository,
        ));
        Ok(Self {
            http,
            credentials: access.credentials.clone(),
            plain_http: access.plain_http.clone(),
            store: access.store.clone(),
            reach: access.reach,
            endpoints,
        })
    }

    /// Asks each endpoint in turn, and returns the first answer that is what was asked for.
    fn get(&self, request: &Request<'_>) -> Result<Response, Error> {
        if self.reach == Reach::StoreOnly {
            return Err(Error::Registry {
                what: request.what.to_owned(),
                registry: self
                    .endpoints
                    .last()
                    .map_or("a registry", |it| &it.host)
                    .to_owned(),
                source: Refusal::Offline.into(),
            });
        }
        let mut last = None;
        for endpoint in &self.endpoints {
            match patiently(|| self.get_once(endpoint, request)) {
                Ok(response) => return Ok(response),
                Err(failure) => {
                    last = Some(Error::Registry {
                        what: request.what.to_owned(),
                        registry: endpoint.host.clone(),
                        source: failure.into_source(),
                    });
                }
            }
        }
        Err(last.expect("the registry itself is an endpoint"))
    }

    fn get_once(&self, endpoint: &Endpoint, request: &Request<'_>) -> Result<Response, Failure> {
        let address = format!("{}/{}", endpoint.address, request.path);
        let mut may_log_in = true;
        loop {
            let mut get = self.http.get(&address);
            if let Some(accept) = &request.accept {
                get = get.header(ACCEPT, accept);
            }
            if request.from > 0 {
                get = get.header(RANGE, format!("bytes={}-", request.from));
            }
            if let Some(authorization) = endpoint.authorization() {
                get = get.header(AUTHORIZATION, authorization);
            }
            let response = get.send().map_err(broken)?;
            if response.status() == StatusCode::UNAUTHORIZED && may_log_in {
                may_log_in = false;
                let authorization = self.log_in(endpoint, &response)?;
                *endpoint
                    .authorization
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = Some(authorization);
                continue;
            }
            return self.accepted(endpoint, response);
        }
    }

    /// Returns the response where it is a success; otherwise what it says.
    fn accepted(&self, endpoint: &Endpoint, response: Response) -> Result<Response, Failure> {
        let status = response.status();
        if matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
            return Ok(response);
        }
        let wait = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let message = message(response);
        Err(match status {
            StatusCode::NOT_FOUND => Refusal::NotFound.into(),
            StatusCode::UNAUTHORIZED => match self.login(endpoint) {
                Ok(Credential::Anonymous) => Refusal::Unauthorized { login: Login::None }.into(),
                Ok(_) => Refusal::Unauthorized {
                    login: Login::Tried,
                }
                .into(),
                Err(error) => Failure::Final(error.into()),
            },
            StatusCode::FORBIDDEN => Refusal::Forbidden { message }.into(),
            StatusCode::TOO_MANY_REQUESTS => {
                Failure::Transient(Refusal::TooManyRequests { message }, wait)
            }
            status if status.is_server_error() => Failure::Transient(
                Refusal::Status {
                    status: status.as_u16(),
                    message,
                },
                wait,
            ),
            status => Refusal::Status {
                status: status.as_u16(),
                message,
            }
            .into(),
        })
    }

    fn login(&self, endpoint: &Endpoint) -> Result<Credential, LoginError> {
        match &self.credentials {
            Some(credentials) => credentials(&endpoint.registry, &endpoint.repository),
            None => Ok(Credential::Anonymous),
        }
    }

    /// Returns what to put into `Authorization`, after a response that asks for it.
    ///
    /// Source: distribution/distribution `docs/content/spec/auth`.
    fn log_in(&self, endpoint: &Endpoint, response: &Response) -> Result<String, Failure> {
        let login = self
            .login(endpoint)
            .map_err(|error| Failure::Final(error.into()))?;
        let challenge: Vec<&str> = response
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        let challenge = challenge.join(", ");
        let unknown = || {
            Failure::from(Refusal::UnknownChallenge {
                challenge: challenge.clone(),
            })
        };
        let challenges = http_auth::parse_challenges(&challenge).map_err(|_| unknown())?;
        let of = |scheme: &str| {
            challenges
                .iter()
                .find(|challenge| challenge.scheme.eq_ignore_ascii_case(scheme))
        };
        if let Some(bearer) = of("bearer") {
            let parameter = |name: &str| {
                let found = bearer
                    .params
                    .iter()
                    .find(|(key, _)| key.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.to_unescaped())
            };
            let realm = parameter("realm").ok_or_else(unknown)?;
            let scope = parameter("scope")
                .unwrap_or_else(|| format!("repository:{}:pull", endpoint.repository));
            return self.token(endpoint, &login, &realm, parameter("service"), scope);
        }
        match (of("basic"), login) {
            (Some(_), Credential::Password { user, password }) => Ok(format!(
                "Basic {}",
                STANDARD.encode(format!("{user}:{password}"))
            )),
            (Some(_), Credential::Anonymous) => {
                Err(Refusal::Unauthorized { login: Login::None }.into())
            }
            (_, _) => Err(unknown()),
        }
    }

    fn token(
        &self,
        endpoint: &Endpoint,
        login: &Credential,
        realm: &str,
        service: Option<String>,
        scope: String,
    ) -> Result<String, Failure> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        // A registry on plain HTTP may have its token server there; any other must not
        // make the password travel in the clear.
        if !realm.starts_with("https://") && !endpoint.address.starts_with("http://") {
            return Err(Refusal::UnknownChallenge {
                challenge: realm.to_owned(),
            }
            .into());
        }
        let mut fields = vec![("scope", scope)];
        fields.extend(service.map(|service| ("service", service)));
        let request = match login {
            Credential::Anonymous => self.http.get(realm).query(&fields),
            Credential::Password { user, password } => self
                .http
                .get(realm)
                .query(&fields)
                .basic_auth(user, Some(password)),
            Credential::IdentityToken(token) => {
                fields.push(("grant_type", "refresh_token".to_owned()));
                fields.push(("client_id", "reprove".to_owned()));
                fields.push(("refresh_token", token.clone()));
                self.http.post(realm).form(&fields)
            }
        };
        let response = request.send().map_err(broken)?;
        if matches!(
            response.status(),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
        ) {
            let login = match login {
                Credential::Anonymous => Login::None,
                Credential::Password { .. } | Credential::IdentityToken(_) => Login::Tried,
            };
            return Err(Refusal::Unauthorized { login }.into());
        }
        let response = self.accepted(endpoint, response)?;
        let no_token = || {
            Failure::from(Refusal::NoToken {
                realm: realm.to_owned(),
            })
        };
        let mut text = Vec::new();
        response
            .take(MAX_ANSWER)
            .read_to_end(&mut text)
            .map_err(|_| no_token())?;
        let answer: Answer = serde_json::from_slice(&text).map_err(|_| no_token())?;
        let token = answer.token.or(answer.access_token).ok_or_else(no_token)?;
        // A header cannot have line breaks in it, nor a token.
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(no_token());
        }
        Ok(format!("Bearer {token}"))
    }

    /// Opens an address outside of the registry, which gets no login.
    fn get_elsewhere(&self, request: &Request<'_>, address: &str) -> Result<Response, Error> {
        let endpoint = Endpoint {
            host: address.to_owned(),
            address: address.to_owned(),
            registry: String::new(),
            repository: String::new(),
            authorization: Mutex::new(None),
        };
        patiently(|| {
            let mut get = self.http.get(address);
            if request.from > 0 {
                get = get.header(RANGE, format!("bytes={}-", request.from));
            }
            self.accepted(&endpoint, get.send().map_err(broken)?)
        })
        .map_err(|failure| Error::Registry {
            what: request.what.to_owned(),
            registry: endpoint.host.clone(),
            source: failure.into_source(),
        })
    }
}

/// Tries again what is transient, each time after a longer wait.
fn patiently<T>(mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    let mut backoff = BACKOFF;
    for _ in 1..ATTEMPTS {
        match attempt() {
            Err(Failure::Transient(_, wait)) => {
                thread::sleep(wait.unwrap_or(backoff).min(MAX_WAIT));
                backoff *= 2;
            }
            result => return result,
        }
    }
    attempt()
}

/// Says whether a request that was not answered may be tried again.
fn broken(error: reqwest::Error) -> Failure {
    // A name that does not resolve or a port that is shut will be so in a second.
    if error.is_builder() || error.is_redirect() || error.is_connect() && !error.is_timeout() {
        Refusal::Connection(error).into()
    } else {
        Failure::Transient(Refusal::Connection(error), None)
    }
}

/// Returns what a registry says in an answer that is no success, on one line.
fn message(response: Response) -> String {
    #[derive(Deserialize)]
    struct Envelope {
        errors: Vec<Said>,
    }
    #[derive(Deserialize)]
    struct Said {
        #[serde(default)]
        message: String,
    }
    let mut text = Vec::new();
    // What cannot be read is not said; the status is.
    if response.take(MAX_ANSWER).read_to_end(&mut text).is_err() {
        return String::new();
    }
    let message = serde_json::from_slice::<Envelope>(&text).map_or_else(
        |_| String::new(),
        |envelope| {
            let said: Vec<String> = envelope
                .errors
                .into_iter()
                .map(|said| said.message)
                .collect();
            said.join(", ")
        },
    );
    super::entry::Printable(message.as_bytes())
        .to_string()
        .chars()
        .take(300)
        .collect()
}

/// Finds the image that `name` means at this moment.
pub(super) fn open(
    name: &RegistryName,
    platform: Option<&Platform>,
    access: &Access,
) -> Result<PinnedImage, Error> {
    let repository = Repository::new(name, access)?;
    let what = format!("the manifest of {name}");
    let reference = match (&name.digest, &name.tag) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(tag)) => tag.clone(),
        (None, None) => "latest".to_owned(),
    };
    let kept = match &name.digest {
        Some(digest) => repository.kept(&what, digest)?,
        None => None,
    };
    let (bytes, stated) = match kept {
        Some(reader) => (read_limited(&what, reader, MAX_MANIFEST)?, None),
        None => repository.root(&what, &reference, name.digest)?,
    };
    let served = Served::parse(&what, &bytes, stated.as_ref())?;
    let root = Root {
        what,
        bytes,
        served,
        contents: Contents::Own,
    };
    let name = ImageName::Registry(name.clone());
    PinnedImage::pin(
        name,
        Box::new(repository),
        root,
        &Selection::default(),
        platform,
    )
}

impl Repository {
    /// Fetches what a tag or digest leads to, and what the registry says that it is.
    fn root(
        &self,
        what: &str,
        reference: &str,
        digest: Option<Digest>,
    ) -> Result<(Vec<u8>, Option<MediaType>), Error> {
        let response = self.get(&manifest_request(what, reference))?;
        let header = |name: &str| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        let stated = header(CONTENT_TYPE.as_str())
            .map(|text| MediaType(text.split(';').next().unwrap_or_default().trim().to_owned()));
        // Registries of files serve manifests as text/plain; what it is, the document says then.
        let stated = stated
            .filter(|stated| stated.is_index() || stated.is_manifest() || stated.is_schema_1());
        let promised = header("docker-content-digest").and_then(|text| text.parse::<Digest>().ok());
        let bytes = read_limited(what, response, MAX_MANIFEST)?;
        let actual = Digest::of(&bytes);
        for expected in [digest, promised].into_iter().flatten() {
            if expected != actual {
                return Err(Error::DigestMismatch {
                    what: what.to_owned(),
                    expected: expected.to_string(),
                    actual: actual.to_string(),
                });
            }
        }
        let mut keeping = self.keeping(what, actual, Box::new(bytes.as_slice()))?;
        io::copy(&mut keeping, &mut io::sink()).map_err(|error| from_io(what, error))?;
        drop(keeping);
        Ok((bytes, stated))
    }

    /// Opens what the store has.
    fn kept(&self, what: &str, digest: &Digest) -> Result<Option<store::BlobReader>, Error> {
        match &self.store {
            Some(store) => store
                .read(digest)
                .map_err(|source| store_error(what, source)),
            None => Ok(None),
        }
    }

    /// Has what is read from `reader` kept in the store, if there is one.
    fn keeping<'a>(
        &self,
        what: &str,
        digest: Digest,
        reader: Box<dyn Read + Send + 'a>,
    ) -> Result<Box<dyn Read + Send + 'a>, Error> {
        let Some(store) = &self.store else {
            return Ok(reader);
        };
        let writer = store.writer().map_err(|source| store_error(what, source))?;
        Ok(Box::new(Keeping {
            what: what.to_owned(),
            digest,
            reader,
            writer: Some(writer),
        }))
    }
}

fn store_error(what: &str, source: store::Error) -> Error {
    Error::Store {
        what: what.to_owned(),
        source,
    }
}

/// Writes what is read from it to the store; it is kept once it was read whole and is what it should be.
struct Keeping<'a> {
    what: String,
    digest: Digest,
    reader: Box<dyn Read + Send + 'a>,
    writer: Option<BlobWriter>,
}

impl Read for Keeping<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        if let Some(writer) = &mut self.writer {
            writer.write_all(&buffer[..count])?;
        }
        if count == 0
            && !buffer.is_empty()
            && let Some(writer) = self.writer.take()
        {
            match writer.finish(Some(&self.digest)) {
                // That it is another blob is said by whoever checks it.
                Ok(_) | Err(store::Error::Mismatch { .. }) => {}
                Err(source) => return Err(io::Error::other(store_error(&self.what, source))),
            }
        }
        Ok(count)
    }
}

fn manifest_request<'a>(what: &'a str, reference: &str) -> Request<'a> {
    let accept = [
        MediaType::OCI_INDEX,
        MediaType::DOCKER_INDEX,
        MediaType::OCI_MANIFEST,
        MediaType::DOCKER_MANIFEST,
    ];
    Request {
        what,
        path: format!("manifests/{reference}"),
        accept: Some(accept.join(", ")),
        from: 0,
    }
}

impl Blobs for Repository {
    fn open_manifest(
        &self,
        what: &str,
        descriptor: &Descriptor,
    ) -> Result<Box<dyn Read + Send + '_>, Error> {
        if let Some(kept) = self.kept(what, &descriptor.digest)? {
            return Ok(Box::new(kept));
        }
        let request = manifest_request(what, &descriptor.digest.to_string());
        self.keeping(what, descriptor.digest, Box::new(self.get(&request)?))
    }

    fn open_blob(
        &self,
        what: &str,
        descriptor: &Descriptor,
        urls: &[String],
    ) -> Result<Box<dyn Read + Send + '_>, Error> {
        if let Some(kept) = self.kept(what, &descriptor.digest)? {
            return Ok(Box::new(kept));
        }
        let mut blob = Blob {
            repository: self,
            what: what.to_owned(),
            digest: descriptor.digest,
            size: descriptor.size,
            urls: urls.to_vec(),
            position: 0,
            response: None,
            resumptions_left: ATTEMPTS,
        };
        blob.connect()?;
        self.keeping(what, descriptor.digest, Box::new(blob))
    }
}

/// The bytes of a blob, from wherever it is served, through broken connections.
struct Blob<'a> {
    repository: &'a Repository,
    what: String,
    digest: Digest,
    size: u64,
    urls: Vec<String>,
    position: u64,
    response: Option<Response>,
    resumptions_left: u32,
}

impl Blob<'_> {
    /// Asks for what is left of the blob.
    fn connect(&mut self) -> Result<(), Error> {
        let request = Request {
            what: &self.what,
            path: format!("blobs/{}", self.digest),
            accept: None,
            from: self.position,
        };
        let mut result = self.repository.get(&request);
        for address in &self.urls {
            let is_missing = matches!(&result, Err(Error::Registry { source, .. })
                if matches!(source.downcast_ref(), Some(Refusal::NotFound)));
            if !is_missing {
                break;
            }
            if self.repository.may_ask(address) {
                result = self.repository.get_elsewhere(&request, address);
            }
        }
        let mut response = result?;
        if self.position > 0 && response.status() == StatusCode::OK {
            // It knows no ranges: what was had already comes again. That it is the same is seen
            // from the digest.
            let skipped = io::copy(&mut (&mut response).take(self.position), &mut io::sink());
            if !skipped.is_ok_and(|skipped| skipped == self.position) {
                return Err(Error::File {
                    path: self.what.clone(),
                    source: io::ErrorKind::UnexpectedEof.into(),
                });
            }
        }
        self.response = Some(response);
        Ok(())
    }
}

impl Repository {
    /// Returns whether a manifest's word is enough to ask there.
    fn may_ask(&self, address: &str) -> bool {
        let plain = address
            .strip_prefix("http://")
            .map(|rest| rest.split('/').next().unwrap_or_default());
        address.starts_with("https://") || plain.is_some_and(|host| self.plain_http.contains(host))
    }
}

impl Read for Blob<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(response) = &mut self.response else {
                return Ok(0);
            };
            let problem = match response.read(buffer) {
                Ok(0) if !buffer.is_empty() && self.position < self.size => {
                    io::ErrorKind::UnexpectedEof.into()
                }
                Ok(count) => {
                    self.position += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            let ended = problem.kind() == io::ErrorKind::UnexpectedEof;
            if self.resumptions_left == 0 {
                // Whoever checks the size says what is missing.
                self.response = None;
                return if ended { Ok(0) } else { Err(problem) };
            }
            self.resumptions_left -= 1;
            match self.connect() {
                Ok(()) => {}
                // There is no more: the registry itself has too little.
                Err(Error::Registry { source, .. })
                    if matches!(
                        source.downcast_ref(),
                        Some(Refusal::Status { status: 416, .. })
                    ) =>
                {
                    self.response = None;
                    return Ok(0);
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }
}
