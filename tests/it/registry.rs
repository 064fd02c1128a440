//! Images in a real registry, and what one that misbehaves gets said.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::{Arc, Mutex},
    thread,
};

use reprove::{
    digest::Digest,
    image::{Access, registry},
    store::Store,
};
use serde_json::json;

use super::{
    images::{Layout, busybox, layers, open, read},
    support::registry::{Readers, Registry, has, run},
};

#[test]
fn an_image_in_a_registry_is_the_image_that_was_pushed() {
    let temporary = tempfile::tempdir().unwrap();
    let Some(layout) = busybox(temporary.path()) else {
        return;
    };
    if !has(&["skopeo"]) {
        return;
    }
    let Some(registry) = Registry::start(Readers::All) else {
        return;
    };
    let oci = format!("oci:{}", layout.display());
    registry.push(
        &format!("{oci}:busybox:1.37.0-glibc"),
        "library/busybox:1.37",
    );
    let access = Access::default();
    let (published, expected) = read(&oci, &access);
    let digest = published.manifest().unwrap().digest;
    let repository = registry.name("library/busybox");
    for name in [
        format!("{repository}:1.37"),
        format!("docker://{repository}:1.37"),
        format!("{repository}@{digest}"),
        format!("{repository}:gone@{digest}"),
    ] {
        let (image, layers) = read(&name, &access);
        assert_eq!(layers, expected, "{name}");
        assert_eq!(image.manifest(), published.manifest(), "{name}");
        assert_eq!(image.config(), published.config(), "{name}");
        assert_eq!(image.index(), None, "{name}");
    }
    let mirrored = Access {
        mirrors: ["127.0.0.1:1", registry.host.as_str()]
            .map(|host| registry::Mirror {
                registry: "docker.io".to_owned(),
                host: host.to_owned(),
                prefix: String::new(),
            })
            .to_vec(),
        ..Access::default()
    };
    let (image, layers) = read("busybox:1.37", &mirrored);
    assert_eq!(layers, expected);
    assert_eq!(image.name().to_string(), "docker.io/library/busybox:1.37");
}

#[test]
fn a_platform_is_chosen_from_an_index_with_attestations() {
    if !has(&["skopeo"]) {
        return;
    }
    let Some(registry) = Registry::start(Readers::All) else {
        return;
    };
    let temporary = tempfile::tempdir().unwrap();
    let layout = Layout::create(temporary.path());
    let amd64 = layout.image("linux/amd64", "amd64");
    let arm64 = layout.image("linux/arm64", "arm64");
    let index = layout.index(&[
        amd64.clone(),
        arm64.clone(),
        layout.attestation(&amd64),
        layout.attestation(&arm64),
    ]);
    layout.write(std::slice::from_ref(&index));
    let oci = format!("oci:{}", temporary.path().display());
    registry.push(&oci, "made:1");
    let access = Access::default();
    for name in [registry.name("made:1"), oci] {
        for (platform, entry) in [("linux/amd64", &amd64), ("linux/arm64", &arm64)] {
            let image = open(&name, Some(platform), &access).unwrap();
            assert_eq!(
                image.manifest().unwrap().digest.to_string(),
                entry["digest"],
                "{name}"
            );
            assert_eq!(
                image.index().unwrap().digest.to_string(),
                index["digest"],
                "{name}"
            );
            layers(&*image).unwrap();
        }
        let error = open(&name, Some("linux/s390x"), &access)
            .map(|_| ())
            .unwrap_err();
        assert!(
            error.ends_with("has no image for linux/s390x; it has linux/amd64, linux/arm64"),
            "{error}"
        );
        let digest = name.replace(":1", "") + "@" + arm64["digest"].as_str().unwrap();
        if !name.starts_with("oci:") {
            let error = open(&digest, Some("linux/amd64"), &access)
                .map(|_| ())
                .unwrap_err();
            assert!(
                error.ends_with("is for linux/arm64, not for linux/amd64"),
                "{error}"
            );
        }
    }
}

#[test]
fn what_a_registry_serves_wrongly_names_the_blob() {
    let temporary = tempfile::tempdir().unwrap();
    let Some(layout) = busybox(temporary.path()) else {
        return;
    };
    if !has(&["skopeo"]) {
        return;
    }
    let Some(registry) = Registry::start(Readers::All) else {
        return;
    };
    registry.push(&format!("oci:{}", layout.display()), "busybox:1");
    let access = Access::default();
    let name = registry.name("busybox:1");
    let image = open(&name, None, &access).unwrap();
    let layer = registry.blob(&image.layer_descriptor(0).unwrap().digest.hex());
    let good = fs::read(&layer).unwrap();
    let mut flipped = good.clone();
    flipped[2_000_000] ^= 1;
    let mut extended = good.clone();
    extended.push(0);
    let of = format!("layer 1 of {name} should");
    let cases: [(&str, Option<&[u8]>, String); 4] = [
        (
            "flipped",
            Some(&flipped),
            format!("{of} be sha256:436a1b1f"),
        ),
        (
            "cut off",
            Some(&good[..1_000_000]),
            format!("{of} have 2211507 bytes but has 1000000"),
        ),
        (
            "extended",
            Some(&extended),
            format!("{of} have 2211507 bytes but has more"),
        ),
        (
            "missing",
            None,
            format!(
                "cannot get layer 1 of {name} from {}: not found",
                registry.host
            ),
        ),
    ];
    for (case, bytes, problem) in cases {
        match bytes {
            Some(bytes) => fs::write(&layer, bytes).unwrap(),
            None => fs::remove_file(&layer).unwrap(),
        }
        let error = layers(&*open(&name, None, &access).unwrap()).unwrap_err();
        assert!(error.starts_with(&problem), "{case}: {error}");
    }

    let manifest = registry.blob(&image.manifest().unwrap().digest.hex());
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("1.37.0-glibc", "1.38.0-glibc")).unwrap();
    let by_digest = registry.name("busybox@") + &image.manifest().unwrap().digest.to_string();
    for name in [&name, &by_digest] {
        let error = open(name, None, &access).map(|_| ()).unwrap_err();
        // The registry itself refuses by 500 what is not the manifest that it stored.
        let refused = error.contains("should be sha256:7a3ebe5b") || error.contains("status 500");
        assert!(refused, "{error}");
    }
    let error = open(&registry.name("busybox:2"), None, &access)
        .map(|_| ())
        .unwrap_err();
    let host = &registry.host;
    assert_eq!(
        error,
        format!("cannot get the manifest of {host}/busybox:2 from {host}: not found")
    );
}

#[test]
fn a_login_is_taken_from_docker_and_podman_files() {
    let temporary = tempfile::tempdir().unwrap();
    let Some(layout) = busybox(temporary.path()) else {
        return;
    };
    if !has(&["skopeo"]) {
        return;
    }
    let Some(registry) = Registry::start(Readers::Someone) else {
        return;
    };
    registry.push(&format!("oci:{}", layout.display()), "team/busybox:1");
    let name = registry.name("team/busybox:1");
    let host = &registry.host;
    let file = temporary.path().join("config.json");
    let gone = temporary.path().join("gone.json");
    let refused = format!("cannot get the manifest of {name} from {host}: not authorized");
    let cases = [
        (
            "for the registry",
            json!({ "auths": { host: { "auth": "c29tZW9uZTpzZWNyZXQ=" } } }),
            None,
        ),
        (
            "for the repository",
            json!({ "auths": { format!("{host}/team"): { "auth": "c29tZW9uZTpzZWNyZXQ=" } } }),
            None,
        ),
        (
            "wrong",
            json!({ "auths": { host: { "auth": "c29tZW9uZTp3cm9uZw==" } } }),
            Some(format!("{refused}; the login for it was refused")),
        ),
        (
            "for another",
            json!({ "auths": { "other.example": { "auth": "c29tZW9uZTpzZWNyZXQ=" } } }),
            Some(format!(
                "{refused}; no login for it was found (docker login or podman login makes one)"
            )),
        ),
        (
            "broken",
            json!({ "auths": { host: { "auth": "?" } } }),
            Some(format!(
                "cannot get the manifest of {name} from {host}: cannot read the login in {}: Unable to decode credential",
                file.display()
            )),
        ),
    ];
    for (case, text, problem) in cases {
        fs::write(&file, text.to_string()).unwrap();
        let access = Access {
            credentials: Some(registry::logins(vec![gone.clone(), file.clone()])),
            ..Access::default()
        };
        match (open(&name, None, &access), problem) {
            (Ok(image), None) => {
                layers(&*image).unwrap();
            }
            (Err(error), Some(problem)) => assert_eq!(error, problem, "{case}"),
            (result, _) => panic!("{case}: {:?}", result.map(|_| ())),
        }
    }
    let error = open(&name, None, &Access::default())
        .map(|_| ())
        .unwrap_err();
    assert!(error.contains("no login for it was found"), "{error}");
}

#[test]
fn logins_that_podman_writes_are_read() {
    if !has(&["skopeo"]) {
        return;
    }
    let Some(registry) = Registry::start(Readers::Someone) else {
        return;
    };
    let temporary = tempfile::tempdir().unwrap();
    let file = temporary.path().join("auth.json");
    run(Command::new("skopeo")
        .args([
            "login",
            "--tls-verify=false",
            "-u",
            "someone",
            "-p",
            "secret",
            "--authfile",
        ])
        .arg(&file)
        .arg(&registry.host));
    let credential = registry::logins(vec![file])(&registry.host, "any/thing").unwrap();
    assert_eq!(
        credential,
        registry::Credential::Password {
            user: "someone".into(),
            password: "secret".into()
        }
    );
}

/// A registry that answers by a script, since no real one breaks on demand.
struct Scripted {
    host: String,
    seen: Arc<Mutex<Vec<String>>>,
}

/// An answer: head, body, and how many bytes are promised.
#[derive(Clone)]
struct Answer {
    head: String,
    body: Vec<u8>,
    promised: usize,
}

impl Answer {
    fn new(head: &str, body: &[u8]) -> Self {
        Self {
            head: head.to_owned(),
            body: body.to_vec(),
            promised: body.len(),
        }
    }
}

impl Scripted {
    /// Answers each path with the next of its answers, the last one again and again.
    fn start(answers: impl FnOnce(&str) -> BTreeMap<String, Vec<Answer>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let mut answers = answers(&host);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming() {
                // Who hangs up early is the one that is tested; there is no one to tell.
                let _ = answer(&stream.unwrap(), &mut answers, &log);
            }
        });
        Self { host, seen }
    }
}

fn answer(
    stream: &TcpStream,
    answers: &mut BTreeMap<String, Vec<Answer>>,
    log: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut lines = Vec::new();
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let header = |name: &str| {
        lines.iter().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let path = lines[0].split(' ').nth(1).unwrap().to_owned();
    let [range, authorization] = ["range", "authorization"].map(header);
    log.lock().unwrap().push(format!(
        "{path} {} {}",
        range.as_deref().unwrap_or("-"),
        authorization.as_deref().unwrap_or("-")
    ));
    let key = path.split('?').next().unwrap();
    let missing = vec![Answer::new("404 Not Found", b"")];
    let script = answers.entry(key.to_owned()).or_insert(missing);
    let mut answer = if script.len() > 1 {
        script.remove(0)
    } else {
        script[0].clone()
    };
    let from: usize = range
        .filter(|_| answer.head.starts_with("206"))
        .and_then(|range| {
            range
                .strip_prefix("bytes=")?
                .strip_suffix('-')?
                .parse()
                .ok()
        })
        .unwrap_or(0);
    answer.body.drain(..from);
    let length = answer.promised - from;
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n",
        answer.head
    )?;
    stream.write_all(&answer.body)
}

/// An image of which the layer is `layer` bytes long, as answers for `/v2/made`.
fn made() -> (BTreeMap<String, Vec<Answer>>, String, Vec<u8>) {
    let temporary = tempfile::tempdir().unwrap();
    let layout = Layout::create(temporary.path());
    let image = layout.image("linux/amd64", &"content ".repeat(100_000));
    let digest = image["digest"].as_str().unwrap();
    let blob = |digest: &str| {
        fs::read(
            layout
                .0
                .join("blobs/sha256")
                .join(digest.trim_start_matches("sha256:")),
        )
        .unwrap()
    };
    let manifest = blob(digest);
    let parsed: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let config = parsed["config"]["digest"].as_str().unwrap();
    let layer = parsed["layers"][0]["digest"].as_str().unwrap();
    let head = "200 OK\r\nContent-Type: application/vnd.oci.image.manifest.v1+json";
    let answers = [
        (
            "/v2/made/manifests/latest".to_owned(),
            vec![Answer::new(head, &manifest)],
        ),
        (
            format!("/v2/made/blobs/{config}"),
            vec![Answer::new("200 OK", &blob(config))],
        ),
    ];
    (
        answers.into(),
        format!("/v2/made/blobs/{layer}"),
        blob(layer),
    )
}

#[test]
fn a_broken_stream_goes_on_where_it_broke() {
    for (case, head) in [
        ("with ranges", "206 Partial Content"),
        ("without ranges", "200 OK"),
    ] {
        let (mut answers, path, layer) = made();
        let broken = |head: &str, end: usize| Answer {
            head: head.to_owned(),
            body: layer[..end].to_vec(),
            promised: layer.len(),
        };
        let script = vec![
            broken("200 OK", 300_000),
            broken(head, 500_000),
            Answer::new(head, &layer),
        ];
        answers.insert(path.clone(), script);
        let registry = Scripted::start(|_| answers);
        let (_, layers) = read(&format!("{}/made", registry.host), &Access::default());
        assert_eq!(layers[0].digest, Digest::of(&layer), "{case}");
        let seen = registry.seen.lock().unwrap();
        let asked: Vec<&String> = seen.iter().filter(|line| line.starts_with(&path)).collect();
        assert_eq!(asked.len(), 3, "{case}: {asked:?}");
        assert_eq!(*asked[1], format!("{path} bytes=300000- -"), "{case}");
        assert_eq!(*asked[2], format!("{path} bytes=500000- -"), "{case}");
    }
}

#[test]
fn what_was_fetched_is_kept_and_checked_again() {
    let (mut answers, path, layer) = made();
    answers.insert(path, vec![Answer::new("200 OK", &layer)]);
    let registry = Scripted::start(|_| answers);
    let temporary = tempfile::tempdir().unwrap();
    let root = temporary.path().join("store");
    let access = Access {
        store: Some(Store::open(&root).unwrap()),
        ..Access::default()
    };
    let name = format!("{}/made", registry.host);
    let (image, fetched) = read(&name, &access);
    let digest = image.manifest().unwrap().digest;
    assert_eq!(registry.seen.lock().unwrap().len(), 3);
    let (_, kept) = read(&format!("{name}@{digest}"), &access);
    assert_eq!(kept, fetched);
    assert_eq!(registry.seen.lock().unwrap().len(), 3);
    let blob = root.join("sha256").join(Digest::of(&layer).hex());
    fs::write(&blob, &layer[1..]).unwrap();
    let error = layers(&*image).unwrap_err();
    assert!(
        error.contains(&format!("should be {}", Digest::of(&layer))),
        "{error}"
    );
    assert_eq!(layers(&*image).unwrap(), fetched);
    assert_eq!(registry.seen.lock().unwrap().len(), 4);
}

#[test]
fn what_is_not_what_was_asked_for_is_not_kept() {
    let (mut answers, path, layer) = made();
    let mut flipped = layer.clone();
    flipped[100] ^= 1;
    answers.insert(path, vec![Answer::new("200 OK", &flipped)]);
    let registry = Scripted::start(|_| answers);
    let temporary = tempfile::tempdir().unwrap();
    let store = Store::open(&temporary.path().join("store")).unwrap();
    let access = Access {
        store: Some(store.clone()),
        ..Access::default()
    };
    let image = open(&format!("{}/made", registry.host), None, &access).unwrap();
    layers(&*image).unwrap_err();
    let kept: Vec<Digest> = store
        .list()
        .unwrap()
        .into_iter()
        .map(|kept| kept.digest)
        .collect();
    let mut expected = vec![image.manifest().unwrap().digest, image.config().digest];
    expected.sort();
    assert_eq!(kept, expected);
}

#[test]
fn a_stream_that_always_breaks_is_given_up() {
    let (mut answers, path, layer) = made();
    let broken = Answer {
        head: "200 OK".to_owned(),
        body: layer[..1000].to_vec(),
        promised: layer.len(),
    };
    answers.insert(path, vec![broken]);
    let registry = Scripted::start(|_| answers);
    let image = open(&format!("{}/made", registry.host), None, &Access::default()).unwrap();
    layers(&*image).unwrap_err();
}

#[test]
fn what_is_transient_is_tried_again_and_what_is_not_is_said() {
    let refused = br#"{"errors":[{"code":"DENIED","message":"not\u001b for you"}]}"#;
    let cases = [
        ("429 Too Many Requests\r\nRetry-After: 0", 2, None),
        ("503 Service Unavailable\r\nRetry-After: 0", 2, None),
        (
            "429 Too Many Requests\r\nRetry-After: 0",
            9,
            Some("too many requests: not\\033 for you"),
        ),
        (
            "503 Service Unavailable\r\nRetry-After: 0",
            9,
            Some("status 503: not\\033 for you"),
        ),
        ("403 Forbidden", 1, Some("forbidden: not\\033 for you")),
        ("404 Not Found", 1, Some("not found")),
        ("418 Teapot", 1, Some("status 418: not\\033 for you")),
        (
            "401 Unauthorized\r\nWWW-Authenticate: Negotiate",
            1,
            Some("a login of an unknown kind is asked for: \"Negotiate\""),
        ),
    ];
    for (head, times, problem) in cases {
        let (mut answers, path, layer) = made();
        answers.insert(path, vec![Answer::new("200 OK", &layer)]);
        let manifest = answers.get_mut("/v2/made/manifests/latest").unwrap();
        for _ in 0..times {
            manifest.insert(0, Answer::new(head, refused));
        }
        let registry = Scripted::start(|_| answers);
        let name = format!("{}/made", registry.host);
        let result = open(&name, None, &Access::default()).and_then(|image| layers(&*image));
        let expected = problem.map(|problem| {
            format!(
                "cannot get the manifest of {name}:latest from {}: {problem}",
                registry.host
            )
        });
        assert_eq!(result.err(), expected, "{head}");
    }
}

#[test]
fn tokens_are_fetched_with_each_kind_of_login() {
    let credential = |credential: registry::Credential| Access {
        credentials: Some(Arc::new(move |_: &str, _: &str| Ok(credential.clone()))),
        ..Access::default()
    };
    let password = registry::Credential::Password {
        user: "someone".into(),
        password: "secret".into(),
    };
    let identity = registry::Credential::IdentityToken("identity".into());
    let cases = [
        (
            "anonymous",
            Access::default(),
            "/token?scope=repository%3Amade%3Apull&service=it - -",
        ),
        (
            "password",
            credential(password),
            "/token?scope=repository%3Amade%3Apull&service=it - Basic c29tZW9uZTpzZWNyZXQ=",
        ),
        ("identity token", credential(identity), "/token - -"),
    ];
    for (case, access, asked) in cases {
        let registry = Scripted::start(|host| {
            let (mut answers, path, layer) = made();
            answers.insert(path, vec![Answer::new("200 OK", &layer)]);
            let challenge = format!(
                "401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"http://{host}/token\",service=\"it\",scope=\"repository:made:pull\""
            );
            let manifest = answers.get_mut("/v2/made/manifests/latest").unwrap();
            manifest.insert(0, Answer::new(&challenge, b""));
            answers.insert(
                "/token".into(),
                vec![Answer::new("200 OK", br#"{"token":"abc"}"#)],
            );
            answers
        });
        read(&format!("{}/made", registry.host), &access);
        let seen = registry.seen.lock().unwrap();
        assert_eq!(seen[0], "/v2/made/manifests/latest - -", "{case}");
        assert_eq!(seen[1], asked, "{case}");
        assert!(
            seen[2..].iter().all(|line| line.ends_with(" - Bearer abc")),
            "{case}: {seen:?}"
        );
    }
}

#[test]
fn a_manifest_without_end_is_not_read_to_it() {
    let huge = vec![b' '; 5 << 20];
    let registry = Scripted::start(|_| {
        [(
            "/v2/made/manifests/latest".to_owned(),
            vec![Answer::new("200 OK", &huge)],
        )]
        .into()
    });
    let error = open(&format!("{}/made", registry.host), None, &Access::default())
        .map(|_| ())
        .unwrap_err();
    assert!(
        error.ends_with("has more than the 4194304 bytes that are read"),
        "{error}"
    );
}
