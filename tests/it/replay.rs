//! Requests of real clients, on the host and in the sandbox, answered from locked materials.
//!
//! On the host a client reaches the proxy by a port of its own, and is told so
//! by the variables that a build is given.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use reprove::{
    digest::Digest,
    rebuild::{
        replay::{Answers, NotRecorded, Recorded, Replay},
        sandbox::{
            AUTHORITY, Access, DISTRIBUTION_AUTHORITIES, Finished, Mount, Network, RELAY_PORT,
            Relay, User,
        },
    },
    recipe::lockfile::{Archive, Pin, Place, PoolFile},
    store::Store,
};

use crate::support::{
    sandbox::{Inside, Setup, is_running, listing, odd_time, wait_for, without_root},
    skip,
};

/// A store, and pins of what is in it.
struct Locked {
    scratch: tempfile::TempDir,
    store: Store,
    pins: Vec<Pin>,
}

impl Locked {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::open(&scratch.path().join("store")).unwrap();
        Self {
            scratch,
            store,
            pins: Vec::new(),
        }
    }

    /// Keeps and locks some bytes.
    fn with(mut self, name: &str, bytes: &[u8], places: Vec<Place>) -> Self {
        let mut writer = self.store.writer().unwrap();
        writer.write_all(bytes).unwrap();
        self.pins.push(Pin {
            name: name.to_owned(),
            purl: None,
            size: bytes.len() as u64,
            digest: writer.finish(None).unwrap(),
            grade: None,
            places,
        });
        self
    }

    /// The files that most tests ask for.
    fn usual() -> Self {
        let urls = ["http://files.example/a?v=1", "https://files.example/a?v=1"];
        let pool = PoolFile {
            archive: Archive::Debian,
            path: "pool/main/x/x_1+2_all.deb".to_owned(),
        };
        Self::new()
            .with("a", &bytes(), urls.map(url).into())
            .with("empty", b"", vec![url("http://files.example/empty")])
            .with(
                "index",
                b" <!DOCTYPE html>",
                vec![url("http://files.example/simple/")],
            )
            .with(
                "x",
                b"package",
                vec![Place::Pool {
                    file: pool,
                    snapshot: None,
                }],
            )
    }

    fn replay(&self) -> Replay {
        let answers = Answers::of(&self.pins).unwrap();
        Replay::start(answers, &self.store, self.scratch.path()).unwrap()
    }

    /// Changes a byte of what the store has for a pin.
    fn rot(&self, name: &str) {
        let pin = self.pins.iter().find(|pin| pin.name == name).unwrap();
        let path = self
            .scratch
            .path()
            .join("store/sha256")
            .join(pin.digest.hex());
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
    }
}

fn url(text: &str) -> Place {
    Place::Url(text.to_owned())
}

/// What is read in several chunks.
fn bytes() -> Vec<u8> {
    (0..100_000_u32).flat_map(u32::to_le_bytes).collect()
}

fn refused(replay: &Replay) -> Vec<String> {
    let refused = replay.refused();
    refused.iter().map(ToString::to_string).collect()
}

fn served(replay: &Replay) -> Vec<String> {
    let served = replay.served();
    let shown = served
        .iter()
        .map(|served| format!("{}: {}", served.name, served.url));
    shown.collect()
}

/// Sends bytes to the proxy's own socket and reads to the end.
fn say(replay: &Replay, request: &str) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(replay.relay().socket)?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Makes a request; the head of the answer in small letters, and its body.
fn ask(replay: &Replay, method: &str, url: &str, headers: &str) -> (String, Vec<u8>) {
    let request =
        format!("{method} {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    let answer = say(replay, &request).unwrap();
    let end = answer
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    (head.to_lowercase(), answer[end + 4..].to_vec())
}

/// Passes connections to a port of this machine on to the proxy; lives as long as the test program.
fn port_of(replay: &Replay) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let socket = replay.relay().socket.to_owned();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(proxy) = UnixStream::connect(&socket) else {
                return;
            };
            let stream = stream.unwrap();
            let (mut from, mut to) = (stream.try_clone().unwrap(), proxy.try_clone().unwrap());
            // A client that goes away is nothing to tell.
            thread::spawn(move || {
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Write);
            });
            let (mut from, mut to) = (proxy, stream);
            thread::spawn(move || {
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    port
}

/// A client of the host in an environment like that of a build.
struct Client {
    variables: BTreeMap<String, String>,
    home: PathBuf,
}

impl Client {
    fn of(replay: &Replay, home: &Path) -> Self {
        let port = port_of(replay);
        let authority = replay.authority().to_str().unwrap();
        let mut variables = Replay::environment();
        for value in variables.values_mut() {
            *value = value
                .replace(&RELAY_PORT.to_string(), &port.to_string())
                .replace(AUTHORITY, authority);
        }
        Self {
            variables,
            home: home.to_owned(),
        }
    }

    /// Runs a command; whether it succeeded, and its output. `None` and a skip where it is missing.
    fn run(&self, command: &[&str]) -> Option<(bool, Vec<u8>)> {
        let output = Command::new(command[0])
            .args(&command[1..])
            .env_clear()
            .envs(&self.variables)
            .env("HOME", &self.home)
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("GIT_TERMINAL_PROMPT", "0")
            .current_dir(&self.home)
            .stdin(Stdio::null())
            .output();
        match output {
            Ok(output) => Some((output.status.success(), output.stdout)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                skip(&format!("{} is not installed", command[0]));
                None
            }
            Err(error) => panic!("{}: {error}", command[0]),
        }
    }
}

const CURL: [&str; 3] = ["curl", "--silent", "--fail"];
const PYTHON: &str = "import sys, urllib.request as r; \
    sys.stdout.buffer.write(r.urlopen(sys.argv[1], timeout=60).read())";

#[test]
fn real_clients_get_locked_bytes_over_http_and_https() {
    let locked = Locked::usual();
    let replay = locked.replay();
    let client = Client::of(&replay, locked.scratch.path());
    let authority = format!("--ca-certificate={}", replay.authority().display());
    let commands: [&[&str]; 3] = [
        &CURL,
        // On Debian it is built with GnuTLS, which reads no variable.
        &[
            "wget",
            "--quiet",
            "--tries=1",
            &authority,
            "--output-document=-",
        ],
        &["python3", "-c", PYTHON],
    ];
    let mut any = false;
    for command in commands {
        for (url, expected) in [
            ("http://files.example/a?v=1", bytes()),
            ("https://files.example/a?v=1", bytes()),
            ("http://files.example/empty", Vec::new()),
            (
                "https://deb.example/debian/pool/main/x/x_1%2b2_all.deb",
                b"package".to_vec(),
            ),
        ] {
            let Some((succeeded, output)) = client.run(&[command, &[url]].concat()) else {
                break;
            };
            assert!(succeeded && output == expected, "{}: {url}", command[0]);
            any = true;
        }
    }
    assert_eq!(refused(&replay), Vec::<String>::new());
    if any {
        assert_eq!(
            served(&replay),
            [
                "a: http://files.example/a?v=1",
                "a: https://files.example/a?v=1",
                "empty: http://files.example/empty",
                "x: https://deb.example/debian/pool/main/x/x_1%2b2_all.deb",
            ]
        );
    }
}

#[test]
fn what_is_not_locked_is_refused_and_named() {
    let locked = Locked::usual();
    let replay = locked.replay();
    let (head, body) = ask(&replay, "GET", "http://files.example/a?v=2", "");
    assert!(head.starts_with("http/1.1 403 forbidden\r\n"), "{head}");
    assert_eq!(
        String::from_utf8(body).unwrap(),
        "reprove refuses GET http://files.example/a?v=2: it is not in the lock\n"
    );
    for (method, url, headers) in [
        ("GET", "http://files.example/a", ""),
        ("GET", "http://files.example/a", ""),
        ("HEAD", "http://Files.example:80/b#c", ""),
        ("GET", "http://files.example:81/a?v=1", ""),
        (
            "POST",
            "http://files.example/a?v=1",
            "Content-Length: 2\r\n",
        ),
        ("PUT", "http://files.example/a?v=1", "Content-Length: 0\r\n"),
        ("GET", "ftp://files.example/a?v=1", ""),
        ("GET", "/a?v=1", ""),
        ("CONNECT", "files.example", ""),
    ] {
        let (head, _) = ask(&replay, method, url, headers);
        assert!(head.starts_with("http/1.1 4"), "{method} {url}: {head}");
    }
    let _ = say(&replay, "nonsense\r\n\r\n");
    // Without TLS in it, a connection is good for nothing.
    let tunnel = "CONNECT ssh.example:22 HTTP/1.1\r\n\r\nSSH-2.0-client\r\n";
    let _ = say(&replay, tunnel);
    let mut unused = UnixStream::connect(replay.relay().socket).unwrap();
    unused
        .write_all(b"CONNECT unused.example:443 HTTP/1.1\r\n\r\n")
        .unwrap();
    unused.read_exact(&mut [0; 12]).unwrap();
    drop(unused);
    let refused = refused(&replay);
    // rustls says in its own words what it was sent.
    let known = |line: &&String| !line.contains("ssh.example");
    assert_eq!(
        refused.iter().filter(known).collect::<Vec<_>>(),
        [
            "(unreadable) (unreadable): it is not a request to a proxy",
            "CONNECT files.example: it is not a request to a proxy",
            "GET ftp://files.example/a?v=1: it is not in the lock",
            "GET http://files.example/a: it is not in the lock",
            "POST http://files.example/a?v=1: only GET and HEAD can be answered from a lock",
            "PUT http://files.example/a?v=1: only GET and HEAD can be answered from a lock",
            "GET http://files.example/a?v=2: it is not in the lock",
            "HEAD http://files.example/b: it is not in the lock",
            "GET http://files.example:81/a?v=1: it is not in the lock",
            "GET http://x/a?v=1: it is not a request to a proxy",
            "CONNECT https://unused.example/: nothing was asked over the connection",
        ]
        .iter()
        .collect::<Vec<_>>()
    );
    let ssh = "CONNECT https://ssh.example:22/: there is no TLS with the client: ";
    assert!(
        refused.iter().any(|line| line.starts_with(ssh)),
        "{refused:?}"
    );
    assert_eq!(served(&replay), Vec::<String>::new());
}

#[test]
fn over_https_too_the_whole_url_is_named() {
    let locked = Locked::usual();
    let replay = locked.replay();
    let client = Client::of(&replay, locked.scratch.path());
    let commands: [&[&str]; 5] = [
        &["curl", "--silent", "--fail", "https://files.example/a?v=2"],
        &[
            "curl",
            "--silent",
            "--fail",
            "--data",
            "x",
            "https://files.example/a?v=1",
        ],
        &["curl", "--silent", "--fail", "https://192.0.2.1:8443/b"],
        &[
            "curl",
            "--silent",
            "--fail",
            "--header",
            "Host: other.example",
            "https://files.example/a?v=1",
        ],
        &["git", "ls-remote", "https://git.example/repository"],
    ];
    let mut expected = Vec::new();
    for (command, refusal) in commands.into_iter().zip([
        "GET https://files.example/a?v=2: it is not in the lock",
        "POST https://files.example/a?v=1: only GET and HEAD can be answered from a lock",
        "GET https://192.0.2.1:8443/b: it is not in the lock",
        "GET https://files.example/a?v=1: it is not a request to a proxy",
        "GET https://git.example/repository/info/refs?service=git-upload-pack: it is not in the lock",
    ]) {
        if let Some((succeeded, output)) = client.run(command) {
            assert!(!succeeded && output.is_empty(), "{command:?}");
            expected.push(refusal.to_owned());
        }
    }
    let url = |line: &String| line.split(' ').nth(1).unwrap().to_owned();
    expected.sort_by_key(|line| (url(line), line.clone()));
    assert_eq!(refused(&replay), expected);
}

#[test]
fn nobody_outside_trusts_the_authority() {
    let locked = Locked::usual();
    let replay = locked.replay();
    let mut client = Client::of(&replay, locked.scratch.path());
    client
        .variables
        .retain(|name, _| name.to_lowercase().ends_with("_proxy"));
    let command = [&CURL[..], &["https://files.example/a?v=1"]].concat();
    let Some((succeeded, output)) = client.run(&command) else {
        return;
    };
    assert!(!succeeded && output.is_empty());
    let refused = refused(&replay);
    let expected = "CONNECT https://files.example/: there is no TLS with the client: ";
    assert!(
        refused.len() == 1 && refused[0].starts_with(expected),
        "{refused:?}"
    );
    assert_eq!(served(&replay), Vec::<String>::new());

    let other = locked.replay();
    let certificate = |replay: &Replay| fs::read_to_string(replay.authority()).unwrap();
    assert_ne!(certificate(&replay), certificate(&other));
    for replay in [&replay, &other] {
        let folder = replay.authority().parent().unwrap();
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["ca.pem", "proxy"]);
        assert!(!certificate(replay).contains("PRIVATE"));
    }
    let folder = other.authority().parent().unwrap().to_owned();
    drop(other);
    assert!(!folder.exists());
}

#[test]
fn heads_and_ranges_are_answered_as_a_web_server_would() {
    let locked = Locked::usual();
    let replay = locked.replay();
    let all = bytes();
    let size = all.len();
    let url = "http://files.example/a?v=1";
    let last = format!("Range: bytes={}-\r\n", size - 3);
    let beyond = format!("Range: bytes={size}-\r\n");
    let cases: [(&str, &str, u16, &[u8]); 8] = [
        ("GET", "", 200, &all),
        ("HEAD", "", 200, b""),
        ("GET", "Range: bytes=0-0\r\n", 206, &all[..1]),
        (
            "GET",
            "Range: bytes=65530-131080\r\n",
            206,
            &all[65530..131_081],
        ),
        ("GET", &last, 206, &all[size - 3..]),
        ("GET", "Range: bytes=0-1,5-6\r\n", 200, &all),
        ("GET", "Range: bytes=5-\r\nIf-Range: \"x\"\r\n", 200, &all),
        ("GET", &beyond, 416, b""),
    ];
    for (method, headers, status, expected) in cases {
        let (head, body) = ask(&replay, method, url, headers);
        assert!(
            head.starts_with(&format!("http/1.1 {status} ")),
            "{headers}: {head}"
        );
        assert!(body == expected, "{headers}: {} bytes", body.len());
        let length = if method == "HEAD" {
            size
        } else {
            expected.len()
        };
        assert!(
            head.contains(&format!("\r\ncontent-length: {length}\r\n")),
            "{headers}: {head}"
        );
    }
    let (head, _) = ask(&replay, "GET", url, "Range: bytes=-10\r\n");
    let range = format!("content-range: bytes {}-{}/{size}\r\n", size - 10, size - 1);
    assert!(head.contains(&range), "{head}");
    let (head, _) = ask(&replay, "HEAD", "http://files.example/simple/", "");
    assert!(head.contains("content-type: text/html"), "{head}");
    assert_eq!(refused(&replay), Vec::<String>::new());
}

#[test]
fn a_rotten_blob_is_never_served_whole() {
    let url = "http://files.example/a?v=1";
    let size = bytes().len();
    let digest = Digest::of(&bytes());
    let rotten = format!("GET {url}: the store's bytes are no longer the locked ones, {digest}");
    for headers in ["", "Range: bytes=0-99\r\n", "Range: bytes=100-70000\r\n"] {
        let locked = Locked::usual();
        let replay = locked.replay();
        locked.rot("a");
        let (head, body) = ask(&replay, "GET", url, headers);
        let promised = head.split("content-length: ").nth(1).unwrap();
        let promised: usize = promised.lines().next().unwrap().parse().unwrap();
        assert!(promised <= size && body.len() < promised, "{headers}");
        assert_eq!(refused(&replay), [rotten.as_str()], "{headers}");
        // The store has let them go.
        let (head, _) = ask(&replay, "GET", url, headers);
        assert!(head.starts_with("http/1.1 502 "), "{head}");
        let gone = format!("GET {url}: its locked bytes {digest} are not in the store");
        assert_eq!(
            refused(&replay),
            [gone.as_str(), rotten.as_str()],
            "{headers}"
        );
    }

    let mut locked = Locked::usual();
    locked.pins[0].size += 1;
    let replay = locked.replay();
    let (head, body) = ask(&replay, "GET", url, "");
    assert!(head.contains(&format!("content-length: {}", size + 1)));
    assert!(body.len() <= size);
    assert_eq!(refused(&replay), [rotten]);
}

/// Answers every path in its own way.
fn web_server() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let requests = Arc::clone(&asked);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream: TcpStream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let line = lines.next().unwrap().unwrap();
            let head: Vec<String> = lines
                .map(Result::unwrap)
                .take_while(|line| !line.is_empty())
                .collect();
            assert!(!head.iter().any(|line| line.contains("secret")), "{head:?}");
            let path = line.split(' ').nth(1).unwrap().to_owned();
            requests.lock().unwrap().push(line);
            let body = bytes();
            let (status, body): (&str, &[u8]) = match path.as_str() {
                "/a?v=1" => ("200 OK", &body),
                "/moved" => ("302 Found\r\nLocation: /a?v=1", b"over there"),
                _ => ("404 Not Found", b"no"),
            };
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(body).unwrap();
        }
    });
    (format!("http://{address}"), asked)
}

#[test]
fn what_is_recorded_is_replayed_as_the_same_bytes() {
    let locked = Locked::new();
    let (server, asked) = web_server();
    let recording = Replay::record(&locked.store, locked.scratch.path()).unwrap();
    let whole = format!("{server}/a?v=1");
    let moved = format!("{server}/moved");
    let absent = format!("{server}/absent");
    let cases = [
        ("GET", &whole, 200, bytes()),
        ("GET", &whole, 200, bytes()),
        ("HEAD", &moved, 200, Vec::new()),
        ("GET", &moved, 200, bytes()),
        ("GET", &absent, 404, b"no".to_vec()),
    ];
    for (method, url, status, expected) in &cases {
        let (head, body) = ask(&recording.replay, method, url, "Cookie: secret\r\n");
        assert!(
            head.starts_with(&format!("http/1.1 {status} ")),
            "{url}: {head}"
        );
        assert!(body == *expected, "{url}");
    }
    let (head, _) = ask(&recording.replay, "POST", &whole, "Content-Length: 0\r\n");
    assert!(head.starts_with("http/1.1 403 "), "{head}");
    let shut = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let shut = format!("http://{shut}/");
    let (head, _) = ask(&recording.replay, "GET", &shut, "");
    assert!(head.starts_with("http/1.1 502 "), "{head}");

    let recorded = [&whole, &moved].map(|url| Recorded {
        url: url.clone(),
        digest: Digest::of(&bytes()),
        size: bytes().len() as u64,
    });
    assert_eq!(recording.recorded(), recorded);
    assert_eq!(
        recording.not_recorded(),
        [NotRecorded {
            url: absent.clone(),
            status: 404
        }]
    );
    let refused_then = refused(&recording.replay);
    let post = format!("POST {whole}: only GET and HEAD can be answered from a lock");
    assert!(refused_then.contains(&post), "{refused_then:?}");
    let unreachable = format!("GET {shut}: it cannot be asked for: ");
    assert!(
        refused_then
            .iter()
            .any(|line| line.starts_with(&unreachable)),
        "{refused_then:?}"
    );
    assert_eq!(refused_then.len(), 2);
    drop(recording);
    let requests = asked.lock().unwrap().clone();
    assert_eq!(
        requests,
        ["/a?v=1", "/moved", "/a?v=1", "/absent"].map(|path| format!("GET {path} HTTP/1.1"))
    );

    let mut locked = locked;
    locked.pins = recorded
        .iter()
        .map(|recorded| Pin {
            name: recorded.url.clone(),
            purl: None,
            size: recorded.size,
            digest: recorded.digest,
            grade: None,
            places: vec![Place::Url(recorded.url.clone())],
        })
        .collect();
    let replay = locked.replay();
    for (method, url, status, expected) in &cases[..4] {
        let (head, body) = ask(&replay, method, url, "");
        assert!(
            head.starts_with(&format!("http/1.1 {status} ")),
            "{url}: {head}"
        );
        assert!(body == *expected, "{url}");
    }
    assert_eq!(refused(&replay), Vec::<String>::new());
    assert_eq!(asked.lock().unwrap().len(), requests.len());
}

/// Says which processes work in a folder below this one, such as relays.
fn processes_in(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let path = entry.unwrap().path();
        if fs::read_link(path.join("cwd")).is_ok_and(|at| at.starts_with(folder)) {
            let line = fs::read(path.join("cmdline")).unwrap_or_default();
            found.push(String::from_utf8_lossy(&line).replace('\0', " "));
        }
    }
    found
}

/// Returns the variables of a build whose programs are in `PATH`.
fn variables() -> Vec<(String, String)> {
    let mut variables = Replay::environment();
    variables.insert("PATH".to_owned(), "/bin:/usr/bin".to_owned());
    variables.into_iter().collect()
}

/// Says, loudly, where the relay's programs are missing.
fn has_relay() -> bool {
    for program in ["socat", "nsenter"] {
        if Command::new(program).arg("-V").output().is_err() {
            skip(&format!("{program} is not installed"));
            return false;
        }
    }
    true
}

#[test]
fn a_job_gets_locked_bytes_and_leaves_nothing_behind() {
    let Some(inside) = Inside::new() else { return };
    if !has_relay() {
        return;
    }
    let locked = Locked::usual();
    let replay = locked.replay();
    let root = inside.root.path();
    fs::create_dir_all(root.join("etc/ssl/certs")).unwrap();
    let authorities = root.join(&DISTRIBUTION_AUTHORITIES[1..]);
    fs::write(&authorities, "the distribution's\n").unwrap();
    let before = listing(root);
    let variables = variables();
    let environment: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let ann = User {
        uid: 1000,
        gid: 1000,
    };
    let expected = Digest::of(&bytes()).hex();
    let script = "wget -q -O - 'http://files.example/a?v=1' | sha256sum | cut -d' ' -f1; \
        wget -q -O - http://files.example/b || echo refused; \
        cmp /run/reprove/ca.pem /etc/ssl/certs/ca-certificates.crt && echo trusted; \
        (echo >/run/reprove/ca.pem) 2>/dev/null || echo fixed; \
        ls /proc | grep -c '^[0-9]'; netstat -tln | grep -c :3128";
    let mut bundles = Vec::new();
    for user in [User::default(), ann, User::default()] {
        let setup = Setup {
            environment: &environment,
            network: Network::Relayed(replay.relay()),
            user,
            ..Setup::default()
        };
        let done = inside.run(&setup, &["sh", "-c", script]).unwrap();
        assert_eq!(done.ran.outcome, Finished::Succeeded, "{}", done.log);
        let lines: Vec<&str> = done.log.lines().collect();
        let pids: usize = lines[5].parse().unwrap();
        assert_eq!(lines[0], expected, "{}", done.log);
        assert!(lines[1].contains("403 Forbidden"), "{}", done.log);
        assert_eq!(lines[2..5], ["refused", "trusted", "fixed"], "{}", done.log);
        assert!(pids <= 4, "{}", done.log);
        assert_eq!(lines[6], "1", "{}", done.log);
        assert_eq!(processes_in(inside.scratch.path()), Vec::<String>::new());
        assert_eq!(processes_in(locked.scratch.path()), Vec::<String>::new());
        assert_eq!(listing(root), before);
        bundles.push(done.ran.bundle);
    }
    assert_eq!(
        fs::read_to_string(&authorities).unwrap(),
        "the distribution's\n"
    );
    assert_eq!(
        refused(&replay),
        ["GET http://files.example/b: it is not in the lock"]
    );
    assert_eq!(served(&replay), ["a: http://files.example/a?v=1"]);

    // Another run's socket and authority are no difference.
    let other = locked.replay();
    let setup = Setup {
        environment: &environment,
        network: Network::Relayed(other.relay()),
        ..Setup::default()
    };
    let done = inside.run(&setup, &["sh", "-c", script]).unwrap();
    assert_eq!(done.ran.bundle, bundles[0]);
    assert_eq!(bundles[2], bundles[0]);
    for path in [inside.scratch.path(), locked.scratch.path()] {
        let path = path.to_str().unwrap();
        assert!(!bundles[0].config.contains(path), "{}", bundles[0].config);
    }
}

#[test]
fn a_client_inside_gets_locked_bytes_over_https() {
    let Some(inside) = Inside::new() else { return };
    if !has_relay() {
        return;
    }
    if !Path::new("/usr/bin/curl").exists() {
        skip("/usr/bin/curl is not there");
        return;
    }
    let locked = Locked::usual();
    let replay = locked.replay();
    let mounts: Vec<Mount<'_>> = ["/usr", "/lib", "/lib64"]
        .into_iter()
        .filter(|path| Path::new(path).exists())
        .map(|path| Mount {
            source: Path::new(path),
            destination: path,
            access: Access::ReadOnly,
        })
        .collect();
    let variables = variables();
    let environment: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let setup = Setup {
        environment: &environment,
        network: Network::Relayed(replay.relay()),
        mounts: &mounts,
        ..Setup::default()
    };
    let script = "curl -sf 'https://files.example/a?v=1' | sha256sum | cut -d' ' -f1; \
        curl -sf https://other.example/b; echo $?; \
        env -u CURL_CA_BUNDLE -u SSL_CERT_FILE curl -sf 'https://files.example/a?v=1'; echo $?";
    let done = inside.run(&setup, &["sh", "-c", script]).unwrap();
    // 22 is an answer that is an error, 77 and 60 are certificates missing or not trusted.
    let digest = Digest::of(&bytes()).hex();
    let expected = [77, 60].map(|status| format!("{digest}\n22\n{status}\n"));
    assert!(expected.contains(&done.log), "{}", done.log);
    assert_eq!(served(&replay), ["a: https://files.example/a?v=1"]);
    let refused = refused(&replay);
    assert!(
        refused.contains(&"GET https://other.example/b: it is not in the lock".to_owned()),
        "{refused:?}"
    );
    assert!(!inside.root.path().join("run").exists());
}

#[test]
fn a_job_that_is_ended_early_leaves_no_relay() {
    let Some(inside) = Inside::new() else { return };
    if !has_relay() {
        return;
    }
    let locked = Locked::usual();
    let replay = locked.replay();
    let mut setup = Setup {
        network: Network::Relayed(replay.relay()),
        ..Setup::default()
    };
    setup.limits.duration = Duration::from_secs(2);
    // A connection is open when it ends.
    let done = inside
        .run(
            &setup,
            &["sh", "-c", "echo begun; sleep 60 | nc 127.0.0.1 3128"],
        )
        .unwrap();
    assert_eq!(done.ran.outcome, Finished::TimedOut);
    assert_eq!(done.log, "begun\n");
    let absent = inside.run(&setup, &["absent"]).unwrap();
    assert_eq!(absent.ran.outcome, Finished::Failed { status: 127 });
    assert_eq!(processes_in(locked.scratch.path()), Vec::<String>::new());

    let gone = replay.relay().socket.to_owned();
    let authority = locked.scratch.path().join("authority");
    fs::write(&authority, "").unwrap();
    drop(replay);
    let setup = Setup {
        network: Network::Relayed(Relay {
            socket: &gone,
            authority: &authority,
        }),
        ..Setup::default()
    };
    let error = inside
        .run(&setup, &["true"])
        .map(|done| done.ran)
        .unwrap_err();
    assert_eq!(error.to_string(), format!("cannot use {}", gone.display()));
}

/// What a test runs in a process of its own, to end that: a job that sleeps for so long.
const SLEEP: &str = "REPROVE_TEST_REPLAY_SLEEP";

/// Not a test but where [`SLEEP`] is set.
#[test]
fn the_job_of_a_process_that_is_to_be_killed() {
    let Some(seconds) = env::var_os(SLEEP) else {
        return;
    };
    let seconds = seconds.into_string().unwrap();
    let Some(inside) = Inside::new() else { return };
    let locked = Locked::usual();
    let replay = locked.replay();
    let setup = Setup {
        network: Network::Relayed(replay.relay()),
        ..Setup::default()
    };
    let script = format!("sleep {seconds} | nc 127.0.0.1 3128");
    let _ = inside.run(&setup, &["sh", "-c", &script]);
}

#[test]
fn a_program_that_is_killed_leaves_no_relay() {
    if Inside::new().is_none() || !has_relay() {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let seconds = odd_time();
    let mut process = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "replay::the_job_of_a_process_that_is_to_be_killed",
        ])
        .env(SLEEP, &seconds)
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the job runs", || is_running(&seconds));
    let relays = processes_in(temporary.path());
    assert!(
        relays.iter().any(|line| line.starts_with("socat ")),
        "{relays:?}"
    );
    process.kill().unwrap();
    process.wait().unwrap();
    wait_for("the job and its relay have ended", || {
        !is_running(&seconds) && processes_in(temporary.path()).is_empty()
    });
}

#[test]
fn all_of_this_holds_without_root_too() {
    without_root("replay::");
}
