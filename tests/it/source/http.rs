//! Repositories behind git's smart HTTP, served by git's own backend on this machine.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use reprove::{
    progress::{Progress, Silent, Task},
    source::{Error, History, Reachability, Request, Resolution, Source},
};

use super::whole;
use crate::git::{self, Repository};

/// How a server behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// As git's backend does.
    Plain,
    /// As a server that knows no version 2.
    VersionZero,
    /// Breaks off in the middle of every pack.
    BreaksOff,
    /// Turns a byte of every pack.
    Corrupts,
}

/// A web server with git's backend behind it.
struct Server {
    url: String,
    /// How many bytes were sent in answer to requests for packs.
    sent: Arc<AtomicUsize>,
    /// The requests that came, as method and path, with the login if there was one.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn new(root: &Path, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let sent = Arc::new(AtomicUsize::new(0));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let server = Self {
            url,
            sent: Arc::clone(&sent),
            requests: Arc::clone(&requests),
        };
        let root = root.to_owned();
        // Lives as long as the test program; a failed connection is the client's to notice.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (root, sent, requests) =
                    (root.clone(), Arc::clone(&sent), Arc::clone(&requests));
                std::thread::spawn(move || {
                    drop(answer(stream.unwrap(), &root, manner, &sent, &requests));
                });
            }
        });
        server
    }

    fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.url)
    }

    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

fn answer(
    mut stream: TcpStream,
    root: &Path,
    manner: Manner,
    sent: &AtomicUsize,
    requests: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ');
    let (method, target) = (
        words.next().unwrap().to_owned(),
        words.next().unwrap().to_owned(),
    );
    let mut length = 0;
    let mut content_type = String::new();
    let mut protocol = String::new();
    let mut login = String::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "content-type" => value.clone_into(&mut content_type),
            "git-protocol" => value.clone_into(&mut protocol),
            "authorization" => login = format!(" {value}"),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    requests
        .lock()
        .unwrap()
        .push(format!("{method} {path}{login}"));
    if let Some(moved) = path.strip_prefix("/moved/") {
        let location = format!("/{moved}?{query}");
        return write!(
            stream,
            "HTTP/1.1 301 Moved\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    if path.starts_with("/page/") {
        return write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\nConnection: close\r\n\r\nhi!\n"
        );
    }
    if path.starts_with("/private/") {
        return write!(
            stream,
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    if path.starts_with("/garbage/") {
        return write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\nContent-Length: 4\r\nConnection: close\r\n\r\nhi!\n"
        );
    }
    let mut backend = git::command(root, 0);
    backend
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", &method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", content_type)
        .env("CONTENT_LENGTH", length.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if manner != Manner::VersionZero {
        backend.env("GIT_PROTOCOL", protocol);
    }
    let mut child = backend.spawn()?;
    // The backend may end without having read everything.
    let _ = child.stdin.take().unwrap().write_all(&body);
    let output = child.wait_with_output()?.stdout;
    let end = output
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap();
    let headers = String::from_utf8_lossy(&output[..end]).into_owned();
    let mut answer = output[end + 4..].to_vec();
    let status = headers
        .lines()
        .find_map(|line| line.strip_prefix("Status: "))
        .unwrap_or("200 OK")
        .to_owned();
    let whole = answer.len();
    let pack = answer.windows(4).position(|window| window == b"PACK");
    if let Some(start) = pack {
        sent.fetch_add(whole, Ordering::SeqCst);
        match manner {
            Manner::BreaksOff => answer.truncate(start + (whole - start) / 2),
            Manner::Corrupts => {
                let middle = start + (whole - start) / 2;
                answer[middle] ^= 1;
            }
            Manner::Plain | Manner::VersionZero => {}
        }
    }
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{headers}\r\nContent-Length: {whole}\r\nConnection: close\r\n\r\n"
    )?;
    stream.write_all(&answer)
}

/// A served repository with a history of three commits.
struct Project {
    repository: Repository,
    commits: Vec<String>,
    cache: tempfile::TempDir,
}

impl Project {
    fn new() -> Self {
        let repository = Repository::new();
        let mut commits = Vec::new();
        for number in 1..=3_u32 {
            repository.write("file", format!("{number}"));
            // Incompressible, so that what is sent can be told by its size.
            let noise: Vec<u8> = (0..50_000_u32)
                .scan(number, |state, _| {
                    *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    Some(state.to_be_bytes()[0])
                })
                .collect();
            repository.write(&format!("noise{number}"), noise);
            commits.push(repository.commit("x"));
        }
        repository.git(&["tag", "--annotate", "--message", "x", "v1", &commits[0]]);
        Self {
            repository,
            commits,
            cache: tempfile::tempdir().unwrap(),
        }
    }

    /// Serves the repository as `/.git`, with or without what lets a client leave things out.
    fn serve(&self, manner: Manner, filter: &str) -> Server {
        self.repository
            .git(&["config", "uploadpack.allowFilter", filter]);
        Server::new(self.repository.path(), manner)
    }

    fn checkout(&self, url: &str, revision: &str) -> Result<Source, Error> {
        Source::checkout(&request(url, revision), self.cache.path(), &Silent)
    }

    fn packs(&self) -> usize {
        let mut packs = 0;
        for folder in fs::read_dir(self.cache.path()).unwrap() {
            for file in fs::read_dir(folder.unwrap().path().join("objects/pack")).unwrap() {
                let path: PathBuf = file.unwrap().path();
                packs += usize::from(path.extension().is_some_and(|ending| ending == "pack"));
            }
        }
        packs
    }
}

fn request(url: &str, revision: &str) -> Request {
    Request {
        location: url.to_owned(),
        revision: revision.to_owned(),
        mirrors: Vec::new(),
    }
}

#[test]
fn every_way_to_name_a_commit_leads_to_it_over_http() {
    let manners = [
        ("version 2, filter", Manner::Plain, "true"),
        ("version 2", Manner::Plain, "false"),
        ("version 0, filter", Manner::VersionZero, "true"),
        ("version 0", Manner::VersionZero, "false"),
    ];
    for (manner_name, manner, filter) in manners {
        let project = Project::new();
        let server = project.serve(manner, filter);
        let main = Reachability::From {
            reference: "refs/heads/main".to_owned(),
        };
        let tag = Reachability::From {
            reference: "refs/tags/v1".to_owned(),
        };
        let cases = [
            (
                "main",
                2,
                Resolution::Branch {
                    name: "main".to_owned(),
                },
                &main,
            ),
            (
                "HEAD",
                2,
                Resolution::Head {
                    branch: Some("main".to_owned()),
                },
                &main,
            ),
            (
                "v1",
                0,
                Resolution::Tag {
                    name: "v1".to_owned(),
                },
                &tag,
            ),
            (&project.commits[2], 2, Resolution::Commit, &main),
            (&project.commits[1], 1, Resolution::Commit, &main),
            (
                &project.commits[1][..8],
                1,
                Resolution::AbbreviatedCommit,
                &main,
            ),
        ];
        for (revision, index, resolution, reachability) in cases {
            let case = format!("{manner_name}: {revision}");
            let source = project
                .checkout(&server.at(".git"), revision)
                .unwrap_or_else(|error| panic!("{case}: {}", whole(&error)));
            let facts = source.facts();
            assert_eq!(facts.commit.to_string(), project.commits[index], "{case}");
            assert_eq!(facts.resolution, resolution, "{case}");
            assert_eq!(facts.reachability, *reachability, "{case}");
            assert_eq!(facts.history, History::Complete, "{case}");
            assert_eq!(facts.contacted, server.at(".git"));
            assert_eq!(
                source.read("file").unwrap(),
                (index + 1).to_string().as_bytes()
            );
            assert_eq!(source.walk("").unwrap().len(), index + 2);
            // The cache counts for nothing that a fresh one would not say.
            let fresh = tempfile::tempdir().unwrap();
            let again = Source::checkout(
                &request(&server.at(".git"), revision),
                fresh.path(),
                &Silent,
            )
            .unwrap();
            assert_eq!(again.facts(), facts, "{case}");
        }
    }
}

#[test]
fn only_the_commit_asked_for_is_fetched_and_only_once() {
    let project = Project::new();
    let server = project.serve(Manner::Plain, "true");
    project.checkout(&server.at(".git"), "v1").unwrap();
    let one_commit = server.sent.load(Ordering::SeqCst);
    assert!((50_000..60_000).contains(&one_commit), "{one_commit}");
    project.checkout(&server.at(".git"), "v1").unwrap();
    assert_eq!(server.sent.load(Ordering::SeqCst), one_commit);
    assert_eq!(project.packs(), 1);
    // In the middle of history: its files, and commits without theirs.
    project
        .checkout(&server.at(".git"), &project.commits[1])
        .unwrap();
    let more = server.sent.load(Ordering::SeqCst) - one_commit;
    assert!((100_000..110_000).contains(&more), "{more}");
    project
        .checkout(&server.at(".git"), &project.commits[1])
        .unwrap();
    assert_eq!(server.sent.load(Ordering::SeqCst) - one_commit, more);
}

#[test]
fn a_branch_that_moved_is_followed() {
    let project = Project::new();
    let server = project.serve(Manner::Plain, "true");
    let url = server.at(".git");
    project.checkout(&url, &project.commits[1]).unwrap();
    project.repository.write("file", "4");
    let fourth = project.repository.commit("x");
    project.repository.commit("y");
    let source = project.checkout(&url, "main~0").unwrap_err();
    assert!(matches!(source, Error::NoSuchRevision { .. }));
    let source = project.checkout(&url, &fourth).unwrap();
    assert_eq!(source.read("file").unwrap(), b"4");
    let main = Reachability::From {
        reference: "refs/heads/main".to_owned(),
    };
    assert_eq!(source.facts().reachability, main);
    // Pushed by force: what was reachable is no more.
    project
        .repository
        .git(&["reset", "--quiet", "--hard", &project.commits[0]]);
    let source = project.checkout(&url, &fourth).unwrap();
    assert_eq!(source.facts().reachability, Reachability::Unreachable);
    let source = project.checkout(&url, "main").unwrap();
    assert_eq!(source.commit().to_string(), project.commits[0]);
}

#[test]
fn a_commit_that_no_branch_leads_to_is_said_to_be_so() {
    let project = Project::new();
    let dangling = project
        .repository
        .git(&["commit-tree", "-m", "x", "HEAD^{tree}"]);
    project
        .repository
        .git(&["update-ref", "refs/pull/1/head", &dangling]);
    let server = project.serve(Manner::Plain, "true");
    let source = project.checkout(&server.at(".git"), &dangling).unwrap();
    assert_eq!(source.facts().reachability, Reachability::Unreachable);
    // Servers of version 0 give out only what they show.
    let server = project.serve(Manner::VersionZero, "false");
    project
        .repository
        .git(&["update-ref", "-d", "refs/pull/1/head"]);
    let error = project.checkout(&server.at(".git"), &dangling).unwrap_err();
    assert!(matches!(error, Error::NoSuchRevision { .. }), "{error}");
}

#[test]
fn a_shallow_server_is_said_to_be_shallow() {
    for manner in [Manner::Plain, Manner::VersionZero] {
        let project = Project::new();
        let place = tempfile::tempdir().unwrap();
        let url = format!("file://{}", project.repository.path().display());
        git::git(
            place.path(),
            &["clone", "--quiet", "--bare", "--depth=2", &url, "shallow"],
            b"",
            0,
        );
        let folder = place.path().join("shallow");
        git::git(
            &folder,
            &["config", "uploadpack.allowAnySHA1InWant", "true"],
            b"",
            0,
        );
        let dangling = git::git(&folder, &["commit-tree", "-m", "x", "HEAD^{tree}"], b"", 0);
        let server = Server::new(place.path(), manner);
        for _ in 0..2 {
            let source = project.checkout(&server.at("shallow"), &dangling).unwrap();
            assert_eq!(source.facts().history, History::Shallow);
            assert_eq!(source.facts().reachability, Reachability::HistoryCutOff);
        }
        // Whose history grows later.
        git::git(&folder, &["fetch", "--quiet", "--unshallow", &url], b"", 0);
        let source = project.checkout(&server.at("shallow"), &dangling).unwrap();
        assert_eq!(source.facts().history, History::Complete);
        assert_eq!(source.facts().reachability, Reachability::Unreachable);
    }
}

#[test]
fn what_is_served_otherwise_says_why_it_cannot_be_read() {
    let project = Project::new();
    let server = project.serve(Manner::Plain, "true");
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/x", listener.local_addr().unwrap())
    };
    let cases = [
        (
            server.at("nothing"),
            format!(
                "{} answers 404 Not Found: there is no such repository, or it is private",
                server.at("nothing")
            ),
        ),
        (
            server.at("private/x"),
            format!(
                "{} answers 401 Unauthorized: it may be private, then clone it and give the path, or put user and password into the URL",
                server.at("private/x")
            ),
        ),
        (
            server.at("page/x"),
            format!(
                "{} is not served by git's smart HTTP: it answers with text/html",
                server.at("page/x")
            ),
        ),
        (
            server.at("garbage/x"),
            format!(
                "the answer of {} breaks off: a packet has the length \"hi!\\n\"",
                server.at("garbage/x")
            ),
        ),
        (closed.clone(), format!("cannot get {closed}: ")),
    ];
    for (url, message) in cases {
        let error = project.checkout(&url, "main").unwrap_err();
        let text = whole(&error);
        assert!(text.starts_with(&message), "{text}");
    }
    let error = project.checkout(&server.at(".git"), "mian").unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{} has no branch, tag or commit mian (there is main)",
            server.at(".git")
        )
    );
}

#[test]
fn a_pack_that_breaks_off_or_is_damaged_leaves_nothing_behind() {
    let project = Project::new();
    for manner in [Manner::BreaksOff, Manner::Corrupts] {
        let server = project.serve(manner, "true");
        let error = project.checkout(&server.at(".git"), "main").unwrap_err();
        assert!(
            matches!(
                error,
                Error::Interrupted { .. } | Error::Git { .. } | Error::File { .. }
            ),
            "{error:?}"
        );
        assert_eq!(project.packs(), 0);
    }
    for folder in fs::read_dir(project.cache.path()).unwrap() {
        let mut names: Vec<_> = fs::read_dir(folder.unwrap().path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["HEAD", "objects", "refs"]);
    }
}

#[test]
fn the_url_contacted_is_told_apart_from_the_one_named() {
    let project = Project::new();
    let server = project.serve(Manner::Plain, "true");
    let mut request = request("https://example.org/somebody/thing", "main");
    request.mirrors = vec![
        format!(
            "https://example.org/somebody/thing={}",
            server.at("moved/.git")
        )
        .parse()
        .unwrap(),
    ];
    let source = Source::checkout(&request, project.cache.path(), &Silent).unwrap();
    assert_eq!(source.facts().named, "https://example.org/somebody/thing");
    assert_eq!(source.facts().contacted, server.at(".git"));
    assert_eq!(
        server.requests(),
        [
            "GET /moved/.git/info/refs",
            "GET /.git/info/refs",
            "POST /.git/git-upload-pack",
            "POST /.git/git-upload-pack"
        ]
    );
}

#[test]
fn a_login_in_the_url_is_used_and_never_shown() {
    let project = Project::new();
    let server = project.serve(Manner::Plain, "true");
    let with_login = |path: &str| server.at(path).replace("http://", "http://ada:secret@");
    let source = project.checkout(&with_login(".git"), "main").unwrap();
    let login = "Basic YWRhOnNlY3JldA==";
    assert_eq!(
        server.requests(),
        [
            format!("GET /.git/info/refs {login}"),
            format!("POST /.git/git-upload-pack {login}"),
            format!("POST /.git/git-upload-pack {login}")
        ]
    );
    assert!(
        !serde_json::to_string(source.facts())
            .unwrap()
            .contains("secret")
    );
    for url in [
        with_login("nothing"),
        "http://ada:secret@127.0.0.1:1/x".to_owned(),
    ] {
        let error = project.checkout(&url, "main").unwrap_err();
        let text = format!("{} {error:?}", whole(&error));
        assert!(!text.contains("secret"), "{text}");
    }
}

#[test]
fn several_may_fetch_into_one_cache_at_once() {
    let project = Project::new();
    let server = project.serve(Manner::Plain, "true");
    let url = server.at(".git");
    std::thread::scope(|scope| {
        for round in 0..12 {
            let (commits, cache, url) = (&project.commits, project.cache.path(), &url);
            scope.spawn(move || {
                let index = round % 3;
                let request = request(url, &commits[index]);
                let source = Source::checkout(&request, cache, &Silent).unwrap();
                let bytes = source.read("file").unwrap();
                assert_eq!(bytes, (index + 1).to_string().as_bytes());
            });
        }
    });
}

/// Adds up the bytes of all tasks.
#[derive(Default)]
struct Counting(Arc<Mutex<Vec<(String, u64)>>>);

struct Counted(Arc<Mutex<Vec<(String, u64)>>>, usize);

impl Progress for Counting {
    fn begin(&self, what: &str, _: Option<u64>) -> Box<dyn Task> {
        let mut tasks = self.0.lock().unwrap();
        tasks.push((what.to_owned(), 0));
        Box::new(Counted(Arc::clone(&self.0), tasks.len() - 1))
    }

    fn note(&self, _: &str) {}
}

impl Task for Counted {
    fn advance(&self, bytes: u64) {
        self.0.lock().unwrap()[self.1].1 += bytes;
    }
}

#[test]
fn a_fetch_says_how_far_it_is() {
    let project = Project::new();
    let server = project.serve(Manner::Plain, "true");
    let progress = Counting::default();
    let request = request(&server.at(".git"), &project.commits[1]);
    Source::checkout(&request, project.cache.path(), &progress).unwrap();
    let tasks = progress.0.lock().unwrap().clone();
    let named: Vec<&str> = tasks.iter().map(|(what, _)| what.as_str()).collect();
    let url = server.at(".git");
    let commit = &project.commits[1];
    assert_eq!(
        named,
        [
            format!("fetching the commit from {url}"),
            format!("fetching the history from {url}"),
            format!("looking for a branch or tag that leads to {commit}")
        ]
    );
    assert!(tasks[0].1 > 100_000 && tasks[1].1 < 10_000, "{tasks:?}");
}

#[test]
fn a_published_commit_is_fetched_without_the_rest_of_its_repository() {
    let Some(path) = crate::support::test_source("alpinelinux", "docker-alpine") else {
        return;
    };
    let server = Server::new(&path, Manner::Plain);
    let cache = tempfile::tempdir().unwrap();
    let request = request(&server.at(""), "v3.20");
    let source = Source::checkout(&request, cache.path(), &Silent).unwrap();
    assert_eq!(
        source.commit().to_string(),
        "7d63673353bd39d92ba42f6effcc199aeebd45ee"
    );
    let tarball = source
        .entry("x86_64/alpine-minirootfs-3.20.3-x86_64.tar.gz")
        .unwrap();
    assert_eq!(
        tarball.id.to_string(),
        "61208a10ca0fe7488868988803e399d06a1f4007"
    );
    assert_eq!(
        source.read(&tarball.path).unwrap().len() as u64,
        tarball.size.unwrap()
    );
}
