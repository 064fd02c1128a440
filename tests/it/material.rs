//! Materials from a real web server on this machine that behaves in many ways.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
};

use reprove::{
    digest::Digest,
    material::{Error, Fetched, Mirrors, Network, Said, Source, fetch},
    progress::Silent,
    recipe::lockfile::{Archive, Pin, Place, PoolFile},
    store::Store,
};

/// What the server has, long enough to break off in the middle.
fn bytes() -> Vec<u8> {
    (0..300_000_u32).flat_map(u32::to_le_bytes).collect()
}

/// A web server whose paths say how it behaves.
struct Server {
    url: String,
    /// The requests that came, as path and `Range`.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&requests);
        // Lives as long as the test program; a failed connection is the client's to notice.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let heard = Arc::clone(&heard);
                std::thread::spawn(move || drop(answer(stream.unwrap(), &heard)));
            }
        });
        Self { url, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn answer(mut stream: TcpStream, requests: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut range = String::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(": ") else {
            break;
        };
        if name.eq_ignore_ascii_case("range") {
            range.push_str(value);
        }
    }
    let is_first = {
        let mut requests = requests.lock().unwrap();
        let is_first = !requests.iter().any(|request| request.starts_with(&path));
        requests.push(format!("{path} {range}").trim_end().to_owned());
        is_first
    };
    let bytes = bytes();
    let from = range
        .strip_prefix("bytes=")
        .and_then(|range| range.strip_suffix('-')?.parse::<usize>().ok())
        .unwrap_or(0);
    let whole = |stream: &mut TcpStream, bytes: &[u8]| {
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            bytes.len()
        )?;
        stream.write_all(bytes)
    };
    let rest = |stream: &mut TcpStream| {
        write!(
            stream,
            "HTTP/1.1 206 Partial\r\nContent-Range: bytes {from}-{}/{}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            bytes.len() - 1,
            bytes.len(),
            bytes.len() - from
        )?;
        stream.write_all(&bytes[from..])
    };
    let half = |stream: &mut TcpStream| {
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            bytes.len()
        )?;
        stream.write_all(&bytes[..bytes.len() / 2])
    };
    match path.as_str() {
        "/breaks-once" | "/breaks-once-knows-no-range" if is_first => half(&mut stream),
        "/breaks-once" if from > 0 => rest(&mut stream),
        "/breaks-always" => half(&mut stream),
        "/busy-once" if is_first => write!(
            stream,
            "HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ),
        "/whole" | "/debian/pool/whole" | "/breaks-once-knows-no-range" | "/busy-once" => {
            whole(&mut stream, &bytes)
        }
        "/busy-always" => write!(
            stream,
            "HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ),
        "/moved" => write!(
            stream,
            "HTTP/1.1 302 Moved\r\nLocation: /whole\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ),
        "/other" => whole(&mut stream, &vec![0; bytes.len()]),
        "/short" => whole(&mut stream, &bytes[1..]),
        "/long" => {
            write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            stream.write_all(&bytes)?;
            stream.write_all(b"!")
        }
        _ => write!(
            stream,
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ),
    }
}

fn pin(name: &str, places: Vec<Place>) -> Pin {
    let bytes = bytes();
    Pin {
        name: name.to_owned(),
        purl: None,
        size: bytes.len() as u64,
        digest: Digest::of(&bytes),
        grade: None,
        places,
    }
}

fn at(server: &Server, paths: &[&str]) -> Vec<Pin> {
    let places = paths
        .iter()
        .map(|path| Place::Url(format!("{}/{path}", server.url)))
        .collect();
    vec![pin("thing", places)]
}

fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("store")).unwrap();
    (directory, store)
}

fn fetched(pins: &[Pin], store: &Store) -> Result<Fetched, Error> {
    fetch(pins, &Mirrors::default(), store, &Silent)
}

fn sources(fetched: &Fetched) -> Vec<Source> {
    let materials = fetched.materials.iter();
    materials.map(|material| material.from.clone()).collect()
}

fn answers(fetched: &Fetched) -> Vec<String> {
    let said = fetched.gone.iter().flat_map(|gone| &gone.answers);
    said.map(|answer| answer.said.to_string()).collect()
}

#[test]
fn what_breaks_off_goes_on_where_it_broke_and_what_is_busy_is_asked_again() {
    let middle = bytes().len() / 2;
    for (path, requests) in [
        ("whole", vec!["/whole".to_owned()]),
        (
            "breaks-once",
            vec![
                "/breaks-once".to_owned(),
                format!("/breaks-once bytes={middle}-"),
            ],
        ),
        (
            "breaks-once-knows-no-range",
            vec![
                "/breaks-once-knows-no-range".to_owned(),
                format!("/breaks-once-knows-no-range bytes={middle}-"),
            ],
        ),
        ("busy-once", vec!["/busy-once".to_owned(); 2]),
        ("moved", vec!["/moved".to_owned(), "/whole".to_owned()]),
    ] {
        let (_directory, store) = store();
        let server = Server::start();
        let found = fetched(&at(&server, &[path]), &store).unwrap();
        let url = format!("{}/{path}", server.url);
        assert_eq!(sources(&found), [Source::Url(url)], "{path}");
        assert_eq!(server.requests(), requests, "{path}");
        assert_eq!(store.list().unwrap().len(), 1, "{path}");
    }
}

#[test]
fn a_place_that_has_something_else_is_passed_over() {
    let (_directory, store) = store();
    let server = Server::start();
    let found = fetched(
        &at(&server, &["none", "other", "short", "long", "whole"]),
        &store,
    );
    let url = format!("{}/whole", server.url);
    assert_eq!(sources(&found.unwrap()), [Source::Url(url)]);
    assert_eq!(
        server.requests(),
        ["/none", "/other", "/short", "/long", "/whole"]
    );
}

#[test]
fn bytes_that_are_nowhere_are_gone_and_each_place_is_said() {
    let (_directory, store) = store();
    let server = Server::start();
    let pins = at(&server, &["none", "other", "short", "long"]);
    let found = fetched(&pins, &store).unwrap();
    assert_eq!(found.materials, []);
    let size = bytes().len();
    assert_eq!(
        answers(&found),
        [
            "answers 404".to_owned(),
            Said::OtherBytes(Digest::of(&vec![0; size])).to_string(),
            format!("has {} bytes", size - 1),
            "has more bytes".to_owned(),
        ]
    );
    assert_eq!(store.list().unwrap(), []);
}

#[test]
fn a_place_that_cannot_be_asked_is_trouble_and_no_proof_that_bytes_are_gone() {
    let (_directory, store) = store();
    let server = Server::start();
    // Nothing listens on the port once the listener is dropped.
    let shut = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let shut = Place::Url(format!("http://me:secret@{shut}/thing"));
    for (place, said) in [
        (shut, "cannot be asked"),
        (
            Place::Url(format!("{}/busy-always", server.url)),
            "answers 503",
        ),
    ] {
        let none = Place::Url(format!("{}/none", server.url));
        let pins = [pin("thing", vec![none, place])];
        let error = fetched(&pins, &store).unwrap_err().to_string();
        let begin = format!(
            "cannot fetch thing: {}/none answers 404; http://127",
            server.url
        );
        assert!(error.starts_with(&begin), "{error}");
        assert!(error.contains(said), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
    let error = fetched(&at(&server, &["breaks-always"]), &store).unwrap_err();
    assert!(error.to_string().contains("breaks off"), "{error}");
}

#[test]
fn what_is_kept_is_verified_and_not_asked_for_again() {
    let (directory, store) = store();
    let server = Server::start();
    let pins = at(&server, &["whole"]);
    fetched(&pins, &store).unwrap();
    let offline = Mirrors {
        network: Network::Offline,
        ..Mirrors::default()
    };
    let again = fetch(&pins, &offline, &store, &Silent).unwrap();
    assert_eq!(sources(&again), [Source::Store]);
    assert_eq!(server.requests().len(), 1);

    let blob = directory
        .path()
        .join("store/sha256")
        .join(Digest::of(&bytes()).hex());
    spoil(&blob);
    let error = fetch(&pins, &offline, &store, &Silent).unwrap_err();
    assert_eq!(
        error.to_string(),
        "not in the cache, and the network is not to be used: thing"
    );
    fetched(&pins, &store).unwrap();
    assert_eq!(server.requests().len(), 2);
    assert_eq!(fs::read(blob).unwrap(), bytes());
}

fn spoil(blob: &Path) {
    let mut changed = fs::read(blob).unwrap();
    changed[7] ^= 1;
    fs::write(blob, changed).unwrap();
}

#[test]
fn a_pin_of_the_right_hash_and_another_size_is_refused() {
    let (_directory, store) = store();
    let server = Server::start();
    let mut pins = at(&server, &["whole"]);
    fetched(&pins, &store).unwrap();
    pins[0].size += 1;
    let error = fetched(&pins, &store).unwrap_err().to_string();
    assert_eq!(error, "thing has 1200000 bytes, but its pin says 1200001");
}

#[test]
fn many_are_fetched_at_once_in_order_from_the_mirrors_of_their_archive() {
    let (_directory, store) = store();
    let server = Server::start();
    let file = |path: &str| PoolFile {
        archive: Archive::Debian,
        path: format!("pool/{path}"),
    };
    let pins: Vec<Pin> = (0..20)
        .map(|number| {
            let path = if number == 13 { "none" } else { "whole" };
            let place = Place::Pool {
                file: file(path),
                snapshot: None,
            };
            let mut pin = pin(&number.to_string(), vec![place]);
            if number == 13 {
                pin.digest = Digest::of(b"none");
            }
            pin
        })
        .collect();
    let mirrors = Mirrors {
        given: vec![format!("debian={}/debian", server.url).parse().unwrap()],
        ..Mirrors::default()
    };
    let found = fetch(&pins, &mirrors, &store, &Silent).unwrap();
    let names: Vec<String> = found
        .materials
        .iter()
        .map(|material| material.pin.name.clone())
        .collect();
    let expected: Vec<String> = (0..20)
        .filter(|number| *number != 13)
        .map(|number: u32| number.to_string())
        .collect();
    assert_eq!(names, expected);
    assert_eq!(answers(&found), ["answers 404"]);
    assert_eq!(
        fetched(&pins[13..14], &store).unwrap_err().to_string(),
        "no mirror of the archive debian is known, for 13: give --mirror debian=URL"
    );
}
