//! A real registry for the time of a test: Debian's docker-registry on 127.0.0.1.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use super::skip;

/// A registry of its own, with nothing in it; gone when dropped.
pub(crate) struct Registry {
    process: Child,
    /// Host and port, such as `127.0.0.1:41234`.
    pub(crate) host: String,
    storage: tempfile::TempDir,
}

/// Who may read from the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Everyone.
    All,
    /// The user `someone` with the password `secret`.
    Someone,
}

/// `someone`, `secret`, as htpasswd -B writes it.
const HTPASSWD: &str = "someone:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

impl Registry {
    /// Starts a registry; `None` and a skip where it is not installed.
    pub(crate) fn start(readers: Readers) -> Option<Self> {
        let program = ["/usr/bin/docker-registry", "/usr/bin/registry"]
            .into_iter()
            .find(|path| Path::new(path).exists());
        let Some(program) = program else {
            skip("docker-registry is not installed");
            return None;
        };
        let storage = tempfile::tempdir().unwrap();
        let auth = match readers {
            Readers::All => String::new(),
            Readers::Someone => {
                let path = storage.path().join("htpasswd");
                fs::write(&path, HTPASSWD).unwrap();
                format!(
                    "auth: {{ htpasswd: {{ realm: test, path: {} }} }}\n",
                    path.display()
                )
            }
        };
        let config = storage.path().join("config.yml");
        let root = storage.path().join("data");
        let text = format!(
            "version: 0.1\nstorage: {{ filesystem: {{ rootdirectory: {} }} }}\n\
             http: {{ addr: '127.0.0.1:0' }}\n{auth}",
            root.display()
        );
        fs::write(&config, text).unwrap();
        let mut process = Command::new(program)
            .arg("serve")
            .arg(&config)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut said = String::new();
        let host = loop {
            let mut line = String::new();
            assert!(
                log.read_line(&mut line).unwrap() > 0,
                "docker-registry did not start: {said}"
            );
            if let Some((_, rest)) = line.split_once("listening on ") {
                let end = rest.find(|c: char| !(c.is_ascii_digit() || ".:".contains(c)));
                break rest[..end.unwrap_or(rest.len())].to_owned();
            }
            said += &line;
        };
        // A full pipe would stop it.
        thread::spawn(move || log.read_to_end(&mut Vec::new()));
        Some(Self {
            process,
            host,
            storage,
        })
    }

    /// Returns the name under which `repository` is read.
    pub(crate) fn name(&self, repository: &str) -> String {
        format!("{}/{repository}", self.host)
    }

    /// Copies an image into the registry to the byte, an index with all it has.
    pub(crate) fn push(&self, image: &str, repository: &str) {
        run(Command::new("skopeo")
            .args([
                "copy",
                "--quiet",
                "--all",
                "--preserve-digests",
                "--dest-tls-verify=false",
            ])
            .args(["--insecure-policy", "--dest-creds=someone:secret", image])
            .arg(format!("docker://{}", self.name(repository))));
    }

    /// Returns the file that the registry serves as the blob with these hex digits.
    pub(crate) fn blob(&self, hex: &str) -> PathBuf {
        let blobs = "data/docker/registry/v2/blobs/sha256";
        self.storage
            .path()
            .join(blobs)
            .join(&hex[..2])
            .join(hex)
            .join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It is gone already where a test broke it; then there is nothing to end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs a command that must succeed, and returns what it printed.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Returns whether these programs are installed; says that the test is skipped where not.
pub(crate) fn has(programs: &[&str]) -> bool {
    let missing = programs.iter().find(|program| {
        !["/usr/bin", "/bin", "/usr/sbin", "/usr/local/bin"]
            .iter()
            .any(|folder| Path::new(folder).join(program).exists())
    });
    if let Some(program) = missing {
        skip(&format!("{program} is not installed"));
    }
    missing.is_none()
}
