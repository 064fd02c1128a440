//! Dockerfiles that are really run, on a root of busybox, in a real runtime.
//!
//! Run by root, all of this is run once more without root, by a user that is
//! there in a mount namespace only.

#[path = "../../../tests/it/support/machine.rs"]
mod machine;

use std::{
    env,
    fmt::Write as _,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::{Command, Stdio},
};

use self::machine::{BUSYBOX, is_static, skip, without_root};
use super::*;
use crate::{
    dialect::{Compressor, TarDialect},
    digest::{DiffId, Digest},
    image::{Access, EntryKind, EntryPath, MediaType, tar::Reader},
    progress::Silent,
    rebuild::{
        base::{BaseImage, testing},
        kept::{Reuse, Stages},
        sandbox::{Limits, Runtime},
        workshop::Conditions,
    },
    recipe::Edit,
    source,
    store::Store,
};

/// What the build calls now.
const NOW: i64 = 1_700_000_000;

/// A source, and what it is built with.
struct Bench {
    runtime: Runtime,
    scratch: tempfile::TempDir,
    repository: tempfile::TempDir,
}

/// What is told of a build besides the source.
#[derive(Default)]
struct Options<'a> {
    target: Option<&'a str>,
    arguments: &'a [(&'a str, &'a str)],
    overrides: Vec<Override>,
}

/// What a build came to.
struct Done {
    /// A line for each file: path, type, mode, owners, and target or content.
    files: Vec<String>,
    stages: Built,
    log: String,
    steps: Vec<String>,
    /// The tar of all files.
    tar: Vec<u8>,
}

impl Bench {
    /// `None` and a skip where there is no runtime or no busybox.
    fn new(files: &[(&str, &str)]) -> Option<Self> {
        let files: Vec<(&str, &[u8])> = files
            .iter()
            .map(|(path, content)| (*path, content.as_bytes()))
            .collect();
        Self::with(&files)
    }

    fn with(files: &[(&str, &[u8])]) -> Option<Self> {
        let scratch = tempfile::tempdir().unwrap();
        let runtime = match Runtime::find(scratch.path()) {
            Ok(runtime) => runtime,
            Err(error) => {
                skip(&error.to_string());
                return None;
            }
        };
        if !is_static(Path::new(BUSYBOX)) {
            skip(&format!("{BUSYBOX} is not there or not linked statically"));
            return None;
        }
        let repository = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = repository.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
        }
        git(repository.path(), &["init", "--quiet"]);
        git(repository.path(), &["add", "--all"]);
        git(repository.path(), &["commit", "--quiet", "-m", "source"]);
        Some(Self {
            runtime,
            scratch,
            repository,
        })
    }

    fn build(&self, options: &Options<'_>) -> Result<Done, String> {
        let (stages, steps, log) = self.followed(options, build)?;
        let path = self.scratch.path().join("result.tar");
        self.runtime
            .pack(stages.root.path(), &path, None, self.scratch.path())
            .unwrap();
        let tar = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        Ok(Done {
            files: listing(&tar),
            stages,
            log,
            steps,
            tar,
        })
    }

    /// Has a plan followed; returns the steps that were run and their output too.
    fn followed<T>(
        &self,
        options: &Options<'_>,
        follow: impl FnOnce(&Plan<'_>) -> Result<T, Stop>,
    ) -> Result<(T, Vec<String>, String), String> {
        let cache = tempfile::tempdir().unwrap();
        let request = source::Request {
            location: self.repository.path().to_str().unwrap().to_owned(),
            revision: "HEAD".to_owned(),
            mirrors: Vec::new(),
        };
        let source = Source::checkout(&request, cache.path(), &Silent).unwrap();
        let conditions = Conditions::default();
        let limits = Limits {
            memory_in_bytes: 512 << 20,
            ..Limits::default()
        };
        let scratch = self.scratch.path();
        let workshop = Workshop::new(&self.runtime, scratch, &conditions, limits, &Silent).unwrap();
        let arguments = options
            .arguments
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let followed = follow(&Plan {
            source: &source,
            dockerfile: "Dockerfile",
            context: "",
            context_kind: Context::Checkout,
            target: options.target,
            arguments: &arguments,
            platform: &"linux/amd64".parse().unwrap(),
            encoding: Encoding {
                dialect: TarDialect::BuildKit,
                compressor: Compressor::Uncompressed,
            },
            now: NOW,
            overrides: &options.overrides,
            workshop: &workshop,
            bases: &Bottles {
                bench: self,
                workshop: &workshop,
            },
        });
        let steps = workshop.take_steps();
        let mut file = workshop.into_log();
        let mut log = String::new();
        std::io::Seek::rewind(&mut file).unwrap();
        std::io::Read::read_to_string(&mut file, &mut log).unwrap();
        match followed {
            Ok(built) => Ok((
                built,
                steps.into_iter().map(|step| step.name).collect(),
                log,
            )),
            Err(Stop::Failed(failure)) => Err(format!("{}: {}", failure.step, failure.problem)),
            Err(Stop::Error(error @ Error::NotSupported { .. })) => Err(error.to_string()),
            Err(Stop::Error(error)) => panic!("{error:?}"),
        }
    }

    #[track_caller]
    fn built(&self) -> Done {
        self.build(&Options::default()).unwrap()
    }
}

/// Lists a tar: busybox and its links aside.
fn listing(tar: &[u8]) -> Vec<String> {
    let mut reader = Reader::new(tar, "the result");
    let mut lines = Vec::new();
    loop {
        let mut content = Vec::new();
        let entry = reader
            .entry_with(|piece| content.extend_from_slice(piece))
            .unwrap();
        let Some(entry) = entry else {
            return lines;
        };
        if entry.path.as_bytes().starts_with(b"bin/") {
            continue;
        }
        let mut line = format!(
            "{} {:o} {}:{} ",
            entry.path, entry.mode, entry.uid, entry.gid
        );
        match &entry.kind {
            EntryKind::File { .. } => write!(line, "f {}", String::from_utf8_lossy(&content)),
            EntryKind::Directory => write!(line, "d"),
            EntryKind::Symlink { target } => {
                write!(line, "l {}", String::from_utf8_lossy(target))
            }
            EntryKind::HardLink { target } => write!(line, "h {target}"),
            other => write!(line, "{other:?}"),
        }
        .unwrap();
        lines.push(line.trim_end().to_owned());
    }
}

impl Done {
    /// Returns the lines of paths below `folder`, without it.
    fn below(&self, folder: &str) -> Vec<&str> {
        self.files
            .iter()
            .filter_map(|line| line.strip_prefix(folder))
            .filter(|line| line.starts_with('/'))
            .collect()
    }

    /// Returns the lines of paths that are not in what every root begins with.
    fn brought(&self) -> Vec<&str> {
        let mut files = self.below("");
        files.retain(|line| !line.starts_with("/etc") && !line.starts_with("/bin"));
        files
    }

    /// Returns the content of a file.
    #[track_caller]
    fn content(&self, path: &str) -> String {
        let path = EntryPath::of(path.as_bytes());
        let mut reader = Reader::new(self.tar.as_slice(), "the result");
        loop {
            let mut content = Vec::new();
            let entry = reader
                .entry_with(|piece| content.extend_from_slice(piece))
                .unwrap()
                .expect("the file should be there");
            if entry.path == path {
                return String::from_utf8(content).unwrap();
            }
        }
    }
}

/// Runs git without this machine's or user's settings.
fn git(folder: &Path, arguments: &[&str]) {
    let output = Command::new("git")
        .current_dir(folder)
        .args(arguments)
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap())
        .env("HOME", "/nonexistent")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env("GIT_AUTHOR_NAME", "Ada")
        .env("GIT_AUTHOR_EMAIL", "ada@example.org")
        .env("GIT_COMMITTER_NAME", "Ada")
        .env("GIT_COMMITTER_EMAIL", "ada@example.org")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// What stands for the layer of every base.
fn base_layer() -> BaseLayer {
    let digest = Digest::from_bytes([7; 32]);
    BaseLayer {
        media_type: MediaType(MediaType::OCI_LAYER.to_owned()),
        digest,
        size: 1,
        diff_id: DiffId::from_uncompressed(digest),
    }
}

/// Keeps layers as they are written.
#[derive(Default)]
struct Kept(Vec<Vec<u8>>);

impl Layers for Kept {
    type Sink = Vec<u8>;

    fn begin(&mut self) -> Result<Self::Sink, Error> {
        Ok(Vec::new())
    }

    fn end(&mut self, sink: Self::Sink, _: &BuiltLayer) -> Result<(), Error> {
        self.0.push(sink);
        Ok(())
    }

    fn times(&self, _: usize) -> Option<&BTreeMap<EntryPath, i64>> {
        None
    }
}

/// Images of busybox, and those that have a digest.
struct Bottles<'a> {
    bench: &'a Bench,
    workshop: &'a Workshop<'a>,
}

impl Bottles<'_> {
    fn image(&self, name: &str) -> Result<Base, Stop> {
        let folder = self.bench.scratch.path();
        let store = Store::open(&folder.join("blobs")).unwrap();
        let stages = Stages::new(folder.join("stages"), Reuse::Allowed);
        let platform = "linux/amd64".parse().unwrap();
        let image = BaseImage::find(name, &platform, &Access::default(), &Silent)?;
        let files = image.files(self.workshop, &store, &stages, &Silent)?;
        Ok(Base {
            root: files.root(self.workshop, &store)?,
            config: image.run,
            author: image.author,
            history: image.history,
            layers: Some(image.layers),
        })
    }
}

impl Bases for Bottles<'_> {
    fn base(&self, name: &str) -> Result<Option<Base>, Stop> {
        if name.contains('@') {
            return self.image(name).map(Some);
        }
        if !["base", "docker.io/library/base:1", "triggers", "toolchain"].contains(&name) {
            return Ok(None);
        }
        let root = RootDirectory::new(&self.bench.runtime, self.bench.scratch.path()).unwrap();
        fill(root.path());
        Ok(Some(Base {
            root,
            config: RunConfig {
                environment: vec!["PATH=/bin".to_owned(), "FROM_BASE=yes".to_owned()],
                command: Some(vec!["sh".to_owned()]),
                on_build: if name == "triggers" {
                    vec![
                        "RUN echo of the base >/triggered".to_owned(),
                        "COPY a /by/trigger".to_owned(),
                    ]
                } else {
                    Vec::new()
                },
                ..RunConfig::default()
            },
            author: None,
            history: Vec::new(),
            layers: (name != "toolchain").then(|| vec![base_layer()]),
        }))
    }

    fn fetched(&self, url: &str) -> Result<Option<PathBuf>, Stop> {
        if url != "https://example.org/files/a.tar?x=1" {
            return Ok(None);
        }
        let path = self.bench.scratch.path().join("fetched");
        fs::write(&path, "fetched\n").unwrap();
        Ok(Some(path))
    }
}

/// Makes a root of busybox with three accounts.
fn fill(root: &Path) {
    let bin = root.join("bin");
    fs::create_dir(&bin).unwrap();
    fs::copy(BUSYBOX, bin.join("busybox")).unwrap();
    let applets = Command::new(BUSYBOX).arg("--list").output().unwrap().stdout;
    for applet in String::from_utf8(applets).unwrap().lines() {
        if applet != "busybox" {
            symlink("busybox", bin.join(applet)).unwrap();
        }
    }
    let etc = root.join("etc");
    fs::create_dir(&etc).unwrap();
    fs::write(
        etc.join("passwd"),
        "root:x:0:0::/root:/bin/sh\nann:x:1000:1001::/home/ann:/bin/sh\n",
    )
    .unwrap();
    fs::write(etc.join("group"), "root:x:0:\nstaff:x:50:\n").unwrap();
    let tmp = root.join("tmp");
    fs::create_dir(&tmp).unwrap();
    fs::set_permissions(&tmp, fs::Permissions::from_mode(0o1777)).unwrap();
    for path in [root, &bin, &etc] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    for path in [etc.join("passwd"), etc.join("group")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    }
}

#[test]
fn only_the_stages_that_the_target_needs_are_built() {
    let dockerfile = "\
ARG BASE=base
FROM ${BASE} AS One
RUN mkdir -p /out && echo one >/out/one && chown 7:8 /out/one && ln /out/one /out/same
FROM base AS unused
RUN false
FROM one AS two
RUN echo two >>/out/one
FROM scratch
COPY --from=one /out/ /from-one/
COPY --from=TWO --chown=ann /out/* /from-two/
COPY --from=docker.io/library/base:1 /etc/group /group
COPY --from=0 /bin/busybox /sh
";
    let Some(bench) = Bench::new(&[("Dockerfile", dockerfile)]) else {
        return;
    };
    let done = bench.built();
    let busybox = fs::read(BUSYBOX).unwrap();
    let busybox = String::from_utf8_lossy(&busybox);
    assert!(
        done.files
            .iter()
            .any(|line| *line == format!("/sh 755 0:0 f {busybox}").trim_end())
    );
    let files: Vec<&str> = done
        .files
        .iter()
        .map(String::as_str)
        .filter(|line| !line.starts_with("/sh "))
        .collect();
    assert_eq!(
        files,
        [
            "/ 755 0:0 d",
            "/from-one 755 0:0 d",
            "/from-one/one 644 7:8 f one",
            // Names of one file stay so.
            "/from-one/same 644 7:8 h /from-one/one",
            "/from-two 755 0:0 d",
            // There is no /etc/passwd to look the name up in; a pattern copies each file by itself.
            "/from-two/one 644 0:0 f one\ntwo",
            "/from-two/same 644 0:0 f one\ntwo",
            "/group 644 0:0 f root:x:0:\nstaff:x:50:",
        ]
    );
    assert_eq!(
        done.steps,
        [
            "Dockerfile line 3: RUN mkdir -p /out && echo one >/out/one && chown 7:8 /out/one && ln /out/one /out/same",
            "Dockerfile line 7: RUN echo two >>/out/one",
        ]
    );

    let target = |name| {
        let options = Options {
            target: Some(name),
            ..Options::default()
        };
        bench.build(&options)
    };
    assert_eq!(target("One").unwrap().content("out/one"), "one\n");
    assert_eq!(target("2").unwrap().content("out/one"), "one\ntwo\n");
    assert_eq!(
        target("three").err().unwrap(),
        "Dockerfile: there is no stage three"
    );
    assert_eq!(
        target("unused").err().unwrap(),
        "Dockerfile line 5: RUN false: it ended with status 1"
    );
}

#[test]
fn arguments_and_variables_are_in_scope_as_in_buildkit() {
    let dockerfile = "\
ARG GLOBAL=global
ARG GIVEN=default
ARG TAG=1
FROM docker.io/library/base:${TAG} AS one
ARG GLOBAL
ARG INNER=\"${GLOBAL}-inner\" UNSET
ENV KEPT=${INNER} FROM_BASE=${FROM_BASE}-changed
ENV INNER=env
RUN env | sort >/env
RUN echo \"$GIVEN\" >/given
FROM one
MAINTAINER Ada
ARG GIVEN
RUN env | sort >/env-two; echo '$KEPT' \"$GIVEN\" \"$TAG\" >/two
ARG SOURCE_DATE_EPOCH
RUN echo $SOURCE_DATE_EPOCH >/epoch
";
    let Some(bench) = Bench::new(&[("Dockerfile", dockerfile)]) else {
        return;
    };
    let options = Options {
        arguments: &[("GIVEN", "given"), ("NOT_DECLARED", "x")],
        ..Options::default()
    };
    let done = bench.build(&options).unwrap();
    let env = "FROM_BASE=yes-changed\nGLOBAL=global\nHOME=/root\nINNER=env\nKEPT=global-inner\n\
        LC_ALL=C.UTF-8\nPATH=/bin\nPWD=/\nSHLVL=1\nTZ=UTC\n";
    assert_eq!(done.content("env"), env);
    assert_eq!(done.content("given"), "\n");
    assert_eq!(
        done.content("env-two"),
        env.replace("GLOBAL", "GIVEN=given\nGLOBAL")
    );
    assert_eq!(done.content("two"), "$KEPT given \n");
    assert_eq!(done.content("epoch"), format!("{NOW}\n"));
    assert_eq!(done.stages.config.author.as_deref(), Some("Ada"));
    assert_eq!(
        done.stages.config.run.environment,
        [
            "PATH=/bin",
            "FROM_BASE=yes-changed",
            "KEPT=global-inner",
            "INNER=env"
        ]
    );
    let history: Vec<&str> = done
        .stages
        .config
        .history
        .iter()
        .map(|step| step.created_by.as_str())
        .collect();
    assert_eq!(
        history[4..6],
        [
            "RUN |3 GLOBAL=global INNER=env UNSET= /bin/sh -c env | sort >/env # buildkit",
            "RUN |3 GLOBAL=global INNER=env UNSET= /bin/sh -c echo \"$GIVEN\" >/given # buildkit",
        ]
    );
}

#[test]
fn commands_run_by_the_shell_or_by_themselves_and_read_here_documents() {
    let dockerfile = "\
FROM base
RUN [\"/bin/busybox\", \"touch\", \"/a b\"]
SHELL [\"/bin/sh\", \"-eu\", \"-c\"]
RUN case $- in *e*) case $- in *u*) echo eu >/options; esac; esac
RUN <<EOF
name=x
echo \"a $name
\tb\" >/document
EOF
RUN <<-'EOF'
\techo chomped >/chomped
\tEOF
RUN <<SCRIPT
#!/bin/awk -f
BEGIN { print ENVIRON[\"PATH\"], ARGV[0] >\"/script\" }
SCRIPT
RUN cat <<ONE - <<TWO >/both
one $PATH
ONE
two
TWO
COPY <<EOF <<'RAW' /copied/
path $PATH
EOF
path $PATH
RAW
RUN for i in 1 2; do \\
# a comment
      echo $i >>/loop; \\

    done
";
    let Some(bench) = Bench::new(&[("Dockerfile", dockerfile)]) else {
        return;
    };
    let done = bench.built();
    let mut files: Vec<&str> = done.below("");
    files.retain(|line| !line.starts_with("/etc") && !line.starts_with("/tmp"));
    assert_eq!(
        files,
        [
            "/ 755 0:0 d",
            "/a b 644 0:0 f",
            "/bin 755 0:0 d",
            "/both 644 0:0 f two",
            "/chomped 644 0:0 f chomped",
            "/copied 755 0:0 d",
            "/copied/EOF 644 0:0 f path /bin",
            "/copied/RAW 644 0:0 f path $PATH",
            "/document 644 0:0 f a x\n\tb",
            "/loop 644 0:0 f 1\n2",
            "/options 644 0:0 f eu",
            "/script 644 0:0 f /bin awk",
        ]
    );
}

#[test]
fn users_own_what_they_make_and_directories_of_workdir_are_theirs() {
    let dockerfile = "\
FROM base
RUN mkdir -m 700 /private && chown 1000:50 /private
WORKDIR /root-made/deep
USER ann
WORKDIR /anns
WORKDIR deep
RUN id -u >id; id -g >>id; pwd >>id; echo ~ $HOME >>id
USER ann:staff
WORKDIR /private/more
RUN touch file
USER 5
RUN echo $HOME; touch /tmp/five
USER root
COPY --chown=ann:staff --chmod=640 file /private/copied
COPY --chown=ann dir /dir
COPY --chown=7 dir/sub /tmp/
COPY file file2 /private/
";
    let Some(bench) = Bench::new(&[
        ("Dockerfile", dockerfile),
        ("file", "file\n"),
        ("file2", "file2\n"),
        ("dir/sub/x", "x\n"),
    ]) else {
        return;
    };
    let done = bench.built();
    assert_eq!(
        done.brought(),
        [
            "/ 755 0:0 d",
            "/anns 755 1000:1001 d",
            "/anns/deep 755 1000:1001 d",
            "/anns/deep/id 644 1000:1001 f 1000\n1001\n/anns/deep\n/home/ann /home/ann",
            "/dir 755 1000:1001 d",
            "/dir/sub 755 1000:1001 d",
            "/dir/sub/x 644 1000:1001 f x",
            "/private 700 1000:50 d",
            "/private/copied 640 1000:50 f file",
            "/private/file 644 0:0 f file",
            "/private/file2 644 0:0 f file2",
            "/private/more 755 1000:50 d",
            "/private/more/file 644 1000:50 f",
            "/root-made 755 0:0 d",
            "/root-made/deep 755 0:0 d",
            "/tmp 1777 0:0 d",
            "/tmp/five 644 5:0 f",
            "/tmp/x 644 7:7 f x",
        ]
    );
    assert!(done.log.contains("\n/\n"), "{}", done.log);
    assert_eq!(done.stages.config.run.working_directory, "/private/more");
}

fn an_override(instruction: &str, replacement: Option<&str>, edits: &[(&str, &str)]) -> Override {
    Override {
        instruction: instruction.to_owned(),
        replacement: replacement.map(str::to_owned),
        edits: edits
            .iter()
            .map(|(replace, with)| Edit {
                replace: (*replace).to_owned(),
                with: (*with).to_owned(),
            })
            .collect(),
        reason: "a test".to_owned(),
        skips: None,
    }
}

#[test]
fn overrides_take_the_place_of_instructions() {
    let dockerfile = "FROM base\nRUN fetch it\nRUN echo a >/a && \\\n# why\n  verify && \\\n  echo b >/b\nRUN echo c >/c\n";
    let Some(bench) = Bench::new(&[("Dockerfile", dockerfile)]) else {
        return;
    };
    let options = Options {
        overrides: vec![
            an_override("fetch", None, &[]),
            an_override(
                "verify",
                None,
                &[("verify && \\\n", ""), ("echo b", "echo 'b b'")],
            ),
            an_override("echo c", Some("ENV c=1\nRUN echo $c >/c"), &[]),
        ],
        ..Options::default()
    };
    let done = bench.build(&options).unwrap();
    assert_eq!(done.content("a"), "a\n");
    assert_eq!(done.content("b"), "b b\n");
    assert_eq!(done.content("c"), "1\n");
    let options = Options {
        overrides: vec![an_override("echo", None, &[])],
        ..Options::default()
    };
    assert_eq!(
        bench.build(&options).err().unwrap(),
        "Dockerfile: the override \"echo\" fits the instructions of the lines 3, 7, and must fit one"
    );
}

#[test]
fn what_cannot_be_done_is_said_with_its_line() {
    let cases = [
        (
            "FROM base\nRUN echo first; echo last >&2; exit 3",
            "Dockerfile line 2: RUN echo first; echo last >&2; exit 3: it ended with status 3\n    first\n    last",
        ),
        (
            "FROM debian",
            "Dockerfile line 1: FROM debian: line 1 takes the image debian, of which the recipe says nothing",
        ),
        (
            "FROM scratch AS a\nONBUILD COPY --from=base /etc /etc\nFROM a",
            "Dockerfile line 3 has the trigger ONBUILD COPY --from=base /etc /etc, which takes files from elsewhere, which is not supported",
        ),
        (
            "FROM scratch AS a\nONBUILD EXPOSE x\nFROM a",
            "Dockerfile line 3: ONBUILD EXPOSE x: ",
        ),
        (
            "FROM --platform=linux/arm64 base",
            "Dockerfile line 1: FROM --platform=linux/arm64 base: it is for the platform linux/arm64, and the build for linux/amd64",
        ),
        (
            "FROM base\nRUN --network=host true",
            "Dockerfile line 2 has --network=host, which is not supported",
        ),
        (
            "FROM base\nRUN --mount=type=secret,id=x true",
            "Dockerfile line 2 has --mount=type=secret,id=x, which is not supported",
        ),
        (
            "FROM base\nRUN --mount=type=bind,target=/x,uid=1 true",
            "Dockerfile line 2 has --mount=type=bind,target=/x,uid=1, which is not supported",
        ),
        (
            "FROM base\nCOPY --parents a /",
            "Dockerfile line 2 has --parents, which is not supported",
        ),
        (
            "FROM base\nCOPY --link --chown=ann a /",
            "Dockerfile line 2 has --link and --chown=ann, and no accounts for that, which is not supported",
        ),
        (
            "FROM base\nCOPY --exclude=a a /",
            "Dockerfile line 2: COPY --exclude=a a /: --exclude of a, which is a source itself, is not supported",
        ),
        (
            "FROM base\nCOPY --exclude=[ . /x",
            "Dockerfile line 2: COPY --exclude=[ . /x: \"[\" is no pattern",
        ),
        (
            "FROM base\nADD https://example.org/other /",
            "Dockerfile line 2: ADD https://example.org/other /: fetches https://example.org/other, which the lock does not have",
        ),
        (
            "FROM base\nADD --checksum=sha256:00 https://example.org/files/a.tar?x=1 /",
            "Dockerfile line 2: ADD --checksum=sha256:00 https://example.org/files/a.tar?x=1 /: https://example.org/files/a.tar?x=1 should be sha256:00 but is sha256:",
        ),
        (
            "FROM base\nCOPY --from=base /absent /",
            "Dockerfile line 2: COPY --from=base /absent /: /absent is not in base",
        ),
        (
            "FROM base\nUSER bob\nRUN true",
            "Dockerfile line 3: RUN true: there is no user bob",
        ),
        (
            "RUN true",
            "Dockerfile line 1: RUN true: there is no FROM before it",
        ),
    ];
    for (dockerfile, expected) in cases {
        let Some(bench) = Bench::new(&[("Dockerfile", dockerfile), ("a", "")]) else {
            return;
        };
        let said = bench.build(&Options::default()).err().unwrap();
        let end = if expected.ends_with([':', ' ']) {
            expected.len()
        } else {
            said.len()
        };
        assert_eq!(&said[..end.min(said.len())], expected, "{dockerfile}");
    }
}

#[test]
fn there_is_no_network_and_what_is_mounted_leaves_no_trace() {
    let dockerfile = "\
FROM base AS other
RUN mkdir /data && echo data >/data/file
FROM base
RUN cat /etc/hosts; cat /etc/resolv.conf; stat -c '%a %Y %n' /etc/resolv.conf /etc/hosts
RUN (echo x >/etc/resolv.conf) 2>/dev/null || echo cannot write
RUN --network=none ! nslookup example.org && ! wget -q http://192.0.2.1/ && ip addr | grep -c inet
RUN --mount=from=other,source=/data,target=/mnt/data --mount=target=/context \\
  --mount=type=bind,source=sub/x,target=/one \\
  --mount=type=cache,target=/var/cache/x,id=1,sharing=locked --mount=type=tmpfs,target=rel \\
  cat /mnt/data/file /context/sub/x /one && touch /var/cache/x/made /rel/made && \\
  ! touch /mnt/data/file 2>/dev/null && stat -c '%a %u' /var/cache/x /rel
RUN find / -xdev -path /proc -prune -o -path /dev -prune -o -path /bin -prune -o -print | sort
";
    let Some(bench) = Bench::new(&[("Dockerfile", dockerfile), ("sub/x", "x\n")]) else {
        return;
    };
    let done = bench.built();
    let lines: Vec<&str> = done
        .log
        .lines()
        .filter(|line| !line.starts_with("==>"))
        .collect();
    let expected = format!(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         # There is no network.\n644 {NOW} /etc/resolv.conf\n644 {NOW} /etc/hosts\n\
         cannot write"
    );
    let expected: Vec<&str> = expected.lines().collect();
    assert_eq!(lines[..expected.len()], expected);
    let rest = lines[expected.len()..].join("\n");
    assert!(
        rest.ends_with(
            "data\nx\nx\n755 0\n1777 0\n/\n/etc\n/etc/group\n/etc/hosts\n/etc/passwd\n/etc/resolv.conf\n/tmp"
        ),
        "{rest}"
    );
    assert_eq!(
        done.files
            .iter()
            .map(|line| line.split(' ').next().unwrap())
            .collect::<Vec<_>>(),
        ["/", "/bin", "/etc", "/etc/group", "/etc/passwd", "/tmp"]
    );
}

#[test]
fn files_are_added_copied_and_put_over_what_is_there() {
    let dockerfile = "\
FROM base
RUN mkdir -p -m 750 /usr/lib && ln -s usr/lib /lib && echo old >/usr/lib/file && touch -d @5 /usr/lib /usr /tmp
COPY new /lib/file
COPY new /tmp/
ADD https://example.org/files/a.tar?x=1 /fetched/
ADD --chmod=600 --chown=1:2 https://example.org/files/a.tar?x=1 /named
COPY tree/* /patterns/
COPY tree /tree
";
    let Some(bench) = Bench::new(&[
        ("Dockerfile", dockerfile),
        ("new", "new\n"),
        ("tree/a", "a\n"),
        ("tree/sub/b", "b\n"),
        (".dockerignore", "tree/ignored\n"),
        ("tree/ignored", ""),
    ]) else {
        return;
    };
    let done = bench.built();
    assert_eq!(
        done.brought(),
        [
            "/ 755 0:0 d",
            "/fetched 755 0:0 d",
            "/fetched/a.tar 600 0:0 f fetched",
            "/lib 777 0:0 l usr/lib",
            "/named 600 1:2 f fetched",
            "/patterns 755 0:0 d",
            "/patterns/a 644 0:0 f a",
            "/patterns/b 644 0:0 f b",
            "/tmp 1777 0:0 d",
            "/tmp/new 644 0:0 f new",
            "/tree 755 0:0 d",
            "/tree/a 644 0:0 f a",
            "/tree/sub 755 0:0 d",
            "/tree/sub/b 644 0:0 f b",
            "/usr 755 0:0 d",
            "/usr/lib 750 0:0 d",
            "/usr/lib/file 644 0:0 f new",
        ]
    );
    // What is copied has the time of the build, and so has a directory that gets a name.
    let mut times = BTreeMap::new();
    let mut reader = Reader::new(done.tar.as_slice(), "the result");
    while let Some(entry) = reader.entry_with(|_| {}).unwrap() {
        times.insert(entry.path.to_string(), entry.mtime.seconds);
    }
    for (path, time) in [
        ("/usr/lib/file", NOW),
        ("/usr/lib", NOW),
        ("/usr", 5),
        ("/tmp", NOW),
        ("/", NOW),
        ("/tree/sub", NOW),
    ] {
        assert_eq!(times[path], time, "{path}");
    }
    let inputs: Vec<&str> = done.stages.inputs.keys().map(String::as_str).collect();
    assert_eq!(
        inputs,
        [
            "Dockerfile",
            "https://example.org/files/a.tar?x=1",
            "new",
            "tree/a",
            "tree/sub/b"
        ]
    );
}

#[test]
fn triggers_are_followed_before_a_stage_and_handed_on_to_no_other() {
    let dockerfile = "\
FROM triggers AS one
RUN cat /triggered && test -e /by/trigger && rm /triggered
ONBUILD RUN echo of the stage >/staged
ONBUILD WORKDIR /srv
FROM one AS two
COPY a .
FROM two
RUN ! test -e /triggered
";
    let Some(bench) = Bench::new(&[("Dockerfile", dockerfile), ("a", "a\n")]) else {
        return;
    };
    let done = bench.built();
    assert_eq!(
        done.brought(),
        [
            "/ 755 0:0 d",
            "/by 755 0:0 d",
            "/by/trigger 644 0:0 f a",
            "/srv 755 0:0 d",
            "/srv/a 644 0:0 f a",
            "/staged 644 0:0 f of the stage",
            "/tmp 1777 0:0 d",
        ]
    );
    let config = done.stages.config;
    assert_eq!(config.run.on_build, Vec::<String>::new());
    let history: Vec<&str> = config
        .history
        .iter()
        .map(|step| step.created_by.as_str())
        .collect();
    assert_eq!(
        history,
        [
            "RUN /bin/sh -c echo of the base >/triggered # buildkit",
            "COPY a /by/trigger # buildkit",
            "RUN /bin/sh -c cat /triggered && test -e /by/trigger && rm /triggered # buildkit",
            "RUN /bin/sh -c echo of the stage >/staged # buildkit",
            "WORKDIR /srv",
            "COPY a . # buildkit",
            "RUN /bin/sh -c ! test -e /triggered # buildkit",
        ]
    );
}

#[test]
fn what_is_excluded_is_not_copied_and_directories_lead_to_what_is_not() {
    let dockerfile = "\
FROM base AS other
COPY tree /tree
RUN ln /tree/a.md /tree/z && echo x >/tree/c.txt
FROM base
COPY --exclude=*.md --exclude=sub/skip tree /top
COPY --exclude=sub --exclude=!sub/skip tree /but
COPY --exclude=**/*.md tree /deep
ADD --exclude=/sub tree /rooted
COPY --from=other --exclude=*.md --exclude=sub tree /from
";
    let Some(bench) = Bench::new(&[
        ("Dockerfile", dockerfile),
        ("tree/a.md", "a\n"),
        ("tree/b", "b\n"),
        ("tree/sub/c.md", "c\n"),
        ("tree/sub/skip", "skip\n"),
    ]) else {
        return;
    };
    let done = bench.built();
    let names = |folder: &str| -> Vec<String> {
        let lines = done.below(folder).into_iter();
        let names = lines.map(|line| line.split(' ').next().unwrap().to_owned());
        names.filter(|name| name != "/").collect()
    };
    let cases: [(&str, &[&str]); 5] = [
        ("/top", &["/b", "/sub", "/sub/c.md"]),
        ("/but", &["/a.md", "/b", "/sub", "/sub/skip"]),
        ("/deep", &["/b", "/sub", "/sub/skip"]),
        // A pattern is held against a path that begins with no slash.
        (
            "/rooted",
            &["/a.md", "/b", "/sub", "/sub/c.md", "/sub/skip"],
        ),
        // The other name of what is left out is a file of its own.
        ("/from", &["/b", "/c.txt", "/z"]),
    ];
    for (folder, expected) in cases {
        assert_eq!(names(folder), expected, "{folder}");
    }
    assert_eq!(done.content("/from/z"), "a\n");
}

#[test]
fn what_is_linked_is_made_on_nothing_and_laid_over_what_is_there() {
    let dockerfile = "\
FROM base
RUN mkdir -m 700 /real /real/sub && echo old >/real/sub/file && echo kept >/real/kept && \\
    ln -s real /link && echo plain >/plain
COPY --link a /link/
COPY --link --chown=5:6 tree /real/sub
COPY --link=false a /real/followed
COPY --link --chmod=600 a /real/with-mode
COPY --link tree /plain
WORKDIR /real
ADD --link a here
";
    let Some(bench) = Bench::new(&[
        ("Dockerfile", dockerfile),
        ("a", "a\n"),
        ("tree/file", "new\n"),
    ]) else {
        return;
    };
    let mut kept = Kept::default();
    let (_, _, _) = bench
        .followed(&Options::default(), |plan| {
            build_image(plan, Timestamps::Rewritten, &mut kept)
        })
        .unwrap();
    let layers: Vec<Vec<String>> = kept.0.iter().map(|tar| listing(tar)).collect();
    let linked = [
        &["/link 755 0:0 d", "/link/a 644 0:0 f a"][..],
        &[
            "/real 755 5:6 d",
            "/real/sub 755 5:6 d",
            "/real/sub/file 644 5:6 f new",
        ],
        &["/real 755 5:6 d", "/real/followed 644 0:0 f a"],
        &["/real 755 5:6 d", "/real/with-mode 600 0:0 f a"],
        &["/plain 755 0:0 d", "/plain/file 644 0:0 f new"],
        &[],
        &["/real 755 0:0 d", "/real/here 644 0:0 f a"],
    ];
    assert_eq!(layers[1..], linked);

    let done = bench.built();
    let mut files = done.below("");
    files.retain(|line| {
        ["/link", "/plain", "/real"]
            .iter()
            .any(|it| line.starts_with(it))
    });
    assert_eq!(
        files,
        [
            "/link 755 0:0 d",
            "/link/a 644 0:0 f a",
            "/plain 755 0:0 d",
            "/plain/file 644 0:0 f new",
            "/real 755 0:0 d",
            "/real/followed 644 0:0 f a",
            "/real/here 644 0:0 f a",
            "/real/kept 644 0:0 f kept",
            "/real/sub 755 5:6 d",
            "/real/sub/file 644 5:6 f new",
            "/real/with-mode 600 0:0 f a",
        ]
    );
}

#[test]
fn what_is_written_to_a_mount_is_lost_with_the_command() {
    let dockerfile = "\
FROM base AS other
RUN mkdir /data && echo data >/data/file
FROM base
RUN --mount=source=sub,target=/m,rw --mount=from=other,source=/data,target=/d,rw=true \\
  echo more >>/m/x && echo more >>/d/file && touch /d/new && cat /m/x /d/file
RUN --mount=source=sub,target=/m --mount=from=other,target=/d,source=data \\
  cat /m/x /d/file && ! test -e /d/new
RUN --mount=type=cache,target=/c,from=other,source=/data cat /c/file && rm /c/file
RUN --mount=type=cache,target=/c,uid=1000,gid=1001,mode=0700,id=c stat -c '%a %u:%g' /c && ls /c
COPY --from=other /data /data
";
    let Some(bench) = Bench::new(&[("Dockerfile", dockerfile), ("sub/x", "x\n")]) else {
        return;
    };
    let done = bench.built();
    let lines: Vec<&str> = done
        .log
        .lines()
        .filter(|line| !line.starts_with("==>"))
        .collect();
    let expected = [
        "x",
        "more",
        "data",
        "more",
        "x",
        "data",
        "data",
        "700 1000:1001",
    ];
    assert_eq!(lines, expected);
    assert_eq!(done.below("/data"), ["/file 644 0:0 f data"]);
}

#[test]
fn two_builds_give_the_same_bytes() {
    let dockerfile = "\
FROM base AS one
WORKDIR /made
COPY . context
RUN mkdir -p /etc/x && touch -h -d @7 /etc/x /etc/passwd /etc/group /etc /bin/* /bin /tmp /
FROM one
COPY --from=one /made /copied
";
    let Some(bench) = Bench::new(&[("Dockerfile", dockerfile), ("sub/x", "x\n")]) else {
        return;
    };
    let (one, other) = (bench.built(), bench.built());
    assert_eq!(one.files, other.files);
    assert!(one.tar == other.tar);
}

/// What is the same in `buildah`, which has its own ways with owners of COPY --from and WORKDIR.
const COMPARED: &str = "\
FROM scratch AS root
ADD rootfs.tar /
FROM root AS builder
ARG WHO=world
ENV PATH=/bin GREETING=\"hello $WHO\"
SHELL [\"/bin/sh\", \"-ec\"]
WORKDIR /src/app
COPY src/ .
COPY --chown=ann:staff src/a.txt /owned/
RUN echo \"$GREETING\" >greeting; mkdir out; cp a.txt out/; ln out/a.txt out/b; \\
# a comment
    chmod 4711 out/a.txt; chown 7:8 out/sub out/b 2>/dev/null || chown 7:8 out/b; ln -s a.txt out/link
USER ann
RUN id -u >/tmp/id; id -g >>/tmp/id; echo $HOME >>/tmp/id
USER 0
RUN [\"touch\", \"a b\"]
FROM root
COPY --from=builder --chown=1:2 /src/app/out /final/
COPY --from=0 /etc/passwd /copied
COPY --from=builder --chown=ann:staff /src/app/* /tmp/id /named/
COPY --from=builder --chown=ann /owned /src/app/out/link /links/
RUN [\"/bin/busybox\", \"rm\", \"-r\", \"/etc/removed\"]
ADD inner.tar /unpacked
WORKDIR /made/deep
";

#[test]
fn a_dockerfile_of_many_stages_gives_the_files_that_buildah_gives() {
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fill(root.path());
    fs::create_dir(root.path().join("etc/removed")).unwrap();
    fs::write(root.path().join("etc/removed/file"), "").unwrap();
    let tar = |folder: &Path| {
        let output = Command::new("tar")
            .args(["--create", "--numeric-owner", "--owner=0", "--group=0"])
            .arg("--directory")
            .arg(folder)
            .arg(".")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let rootfs = tar(root.path());
    let inner = tempfile::tempdir().unwrap();
    fs::write(inner.path().join("inner"), "inner\n").unwrap();
    let inner = tar(inner.path());
    let Some(bench) = Bench::with(&[
        ("Dockerfile", COMPARED.as_bytes()),
        ("rootfs.tar", &rootfs),
        ("inner.tar", &inner),
        ("src/a.txt", b"a\n"),
        ("src/sub/b.txt", b"b\n"),
    ]) else {
        return;
    };
    let storage = tempfile::tempdir().unwrap();
    let buildah = || {
        let mut command = Command::new("buildah");
        command
            .args(["--storage-driver", "vfs", "--root"])
            .arg(storage.path().join("root"))
            .arg("--runroot")
            .arg(storage.path().join("run"));
        command
    };
    // Whether this machine lets buildah work at all is not what is tested.
    match buildah().arg("info").output() {
        Ok(output) if output.status.success() => {}
        _ => return skip("buildah does not work here"),
    }
    let theirs = storage.path().join("theirs.tar");
    let output = buildah()
        .args(["build", "--isolation", "chroot", "--output"])
        .arg(format!("type=tar,dest={}", theirs.display()))
        .arg(bench.repository.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    // buildah leaves what it mounts at.
    let stubs = [
        "/ ",
        "/dev ",
        "/etc/hostname ",
        "/etc/hosts ",
        "/etc/resolv.conf ",
        "/proc ",
        "/run ",
        "/sys ",
    ];
    let compared = |files: Vec<String>| {
        let mut files: Vec<String> = files
            .into_iter()
            .filter(|line| !stubs.iter().any(|stub| line.starts_with(stub)))
            .collect();
        files.sort();
        files
    };
    let theirs = compared(listing(&fs::read(theirs).unwrap()));
    let ours = compared(bench.built().files);
    assert_eq!(ours, theirs);
}

#[test]
fn an_image_has_a_layer_of_each_change_and_the_history_of_all() {
    let dockerfile = "\
FROM base AS one
RUN mkdir -p /a/b && echo 1 >/a/b/file && echo 2 >/a/keep && ln /a/keep /a/second && \\
    rm -r /tmp && mkdir /new && touch /new/.x
COPY file /a/
FROM base AS other
RUN touch /other
FROM one
ARG WHO=x
WORKDIR /a/w
COPY --from=other /other .
RUN rm -r /a/b && chmod 700 /new && echo 3 >>/a/second && rm /etc/group && ln -s x /etc/group
RUN true
RUN touch /a/w/t && rm /a/w/t; mkdir /etc/d; rm -r /new && echo file >/new && chown 5:6 /new
";
    let Some(bench) = Bench::new(&[("Dockerfile", dockerfile), ("file", "file\n")]) else {
        return;
    };
    let image = |timestamps| {
        let mut kept = Kept::default();
        let (image, _, _) = bench
            .followed(&Options::default(), |plan| {
                build_image(plan, timestamps, &mut kept)
            })
            .unwrap();
        (image, kept.0)
    };
    let (one, layers) = image(Timestamps::Rewritten);
    let layers: Vec<Vec<String>> = layers.iter().map(|tar| listing(tar)).collect();
    assert_eq!(
        layers,
        [
            &[
                "/a 755 0:0 d",
                "/a/b 755 0:0 d",
                "/a/b/file 644 0:0 f 1",
                "/a/keep 644 0:0 f 2",
                "/a/second 644 0:0 h /a/keep",
                "/new 755 0:0 d",
                "/new/.x 644 0:0 f",
                "/.wh.tmp 0 0:0 f",
            ][..],
            &["/a 755 0:0 d", "/a/file 644 0:0 f file"],
            &["/a 755 0:0 d", "/a/w 755 0:0 d"],
            &["/a 755 0:0 d", "/a/w 755 0:0 d", "/a/w/other 644 0:0 f"],
            &[
                "/a 755 0:0 d",
                "/a/.wh.b 0 0:0 f",
                // All names of a file that is changed.
                "/a/keep 644 0:0 f 2\n3",
                "/a/second 644 0:0 h /a/keep",
                "/etc 755 0:0 d",
                "/etc/group 777 0:0 l x",
                "/new 700 0:0 d",
            ],
            &[],
            // That names came and went in a directory does not show, nor does what was below one.
            &["/etc 755 0:0 d", "/etc/d 755 0:0 d", "/new 644 5:6 f file"],
        ]
    );
    let history: Vec<(&str, StepLayer)> = one
        .config
        .history
        .iter()
        .map(|step| (step.created_by.as_str(), step.layer))
        .collect();
    assert_eq!(
        history[1..7],
        [
            ("COPY file /a/ # buildkit", StepLayer::Made),
            ("ARG WHO=x", StepLayer::None),
            ("WORKDIR /a/w", StepLayer::Made),
            ("COPY /other . # buildkit", StepLayer::Made),
            (
                "RUN |1 WHO=x /bin/sh -c rm -r /a/b && chmod 700 /new && echo 3 >>/a/second && \
                 rm /etc/group && ln -s x /etc/group # buildkit",
                StepLayer::Made
            ),
            ("RUN |1 WHO=x /bin/sh -c true # buildkit", StepLayer::Made),
        ]
    );
    assert_eq!(one.base, [base_layer()]);
    let mut diff_ids = vec![base_layer().diff_id];
    diff_ids.extend(one.layers.iter().map(|layer| layer.diff_id));
    assert_eq!(one.config.diff_ids, diff_ids);

    let (other, _) = image(Timestamps::Rewritten);
    assert_eq!(one.layers, other.layers);
    let (kept, tars) = image(Timestamps::Kept);
    assert_ne!(kept.layers[0].diff_id, one.layers[0].diff_id);
    let mut reader = Reader::new(tars[0].as_slice(), "the layer");
    let entry = reader.entry_with(|_| {}).unwrap().unwrap();
    assert!(entry.mtime.seconds > NOW, "{entry:?}");
}

#[test]
fn commands_find_the_files_of_a_base_image_and_its_layers_stay_below_theirs() {
    let mut first = tar::Builder::new(Vec::new());
    for (path, mode, kind, content) in [
        ("bin", 0o755, tar::EntryType::Directory, &b""[..]),
        (
            "bin/busybox",
            0o755,
            tar::EntryType::Regular,
            &fs::read(BUSYBOX).unwrap_or_default(),
        ),
        ("opt", 0o755, tar::EntryType::Directory, b""),
        ("opt/gone", 0o644, tar::EntryType::Regular, b"gone\n"),
        ("data", 0o750, tar::EntryType::Directory, b""),
        ("data/old", 0o644, tar::EntryType::Regular, b"old\n"),
    ] {
        let file = testing::File {
            kind,
            path,
            mode,
            content: "",
        };
        testing::append(&mut first, &file, content);
    }
    let second = testing::layer(&[
        "- 0 opt/.wh.gone",
        "- 0 data/.wh..wh..opq",
        "- 4640 data/new new",
        "h 4640 data/second data/new",
        "c 666 data/device 3",
    ]);
    let layers = [first.into_inner().unwrap(), second];
    let folder = tempfile::tempdir().unwrap();
    let running = serde_json::json!({ "Env": ["PATH=/bin", "A=b"], "WorkingDir": "/data" });
    let name = testing::layout(folder.path(), &layers, None, &running);
    let dockerfile = format!(
        "\
FROM {name}
RUN [\"busybox\", \"sh\", \"-c\", \"busybox find /opt /data ! -type c | busybox sort | \\
    busybox xargs busybox stat -c '%n %a %u:%g %Y' >/found && busybox rm second\"]
COPY --from={name} data/second /copied
ENV C=$A
"
    );
    let Some(bench) = Bench::new(&[("Dockerfile", &dockerfile)]) else {
        return;
    };
    let image = || {
        let mut kept = Kept::default();
        let (image, _, _) = bench
            .followed(&Options::default(), |plan| {
                build_image(plan, Timestamps::Rewritten, &mut kept)
            })
            .unwrap();
        (image, kept.0)
    };
    let (built, tars) = image();
    let found = "\
/data 750 3:4 1600000000
/data/new 4640 3:4 1600000000
/data/second 4640 3:4 1600000000
/opt 755 3:4 1600000000
";
    let above: Vec<Vec<String>> = tars.iter().map(|tar| listing(tar)).collect();
    assert_eq!(
        above,
        [
            vec![
                "/data 750 3:4 d".to_owned(),
                "/data/.wh.second 0 0:0 f".to_owned(),
                format!("/found 644 0:0 f {}", found.trim_end()),
            ],
            vec!["/copied 4640 3:4 f new".to_owned()],
        ]
    );
    let below: Vec<DiffId> = layers.iter().map(|layer| DiffId::of(layer)).collect();
    assert_eq!(built.config.diff_ids[..2], below);
    let media_type = MediaType(MediaType::OCI_LAYER.to_owned());
    let base: Vec<BaseLayer> = layers
        .iter()
        .map(|layer| BaseLayer {
            media_type: media_type.clone(),
            digest: Digest::of(layer),
            size: layer.len() as u64,
            diff_id: DiffId::of(layer),
        })
        .collect();
    assert_eq!(built.base, base);
    assert_eq!(built.config.author.as_deref(), Some("Ada"));
    assert_eq!(built.config.run.working_directory, "/data");
    assert_eq!(built.config.run.environment, ["PATH=/bin", "A=b", "C=b"]);
    let history = &built.config.history;
    assert_eq!(
        history[0].created.as_deref(),
        Some("2020-01-01T00:00:00.5Z")
    );
    assert_eq!(history.len(), 5);

    // The root is in the store now, and no layer is read again.
    let store = Store::open(&bench.scratch.path().join("blobs")).unwrap();
    for layer in &layers {
        let blob = format!("base/blobs/sha256/{}", Digest::of(layer).hex());
        fs::remove_file(folder.path().join(blob)).unwrap();
        fs::remove_file(store.path(&Digest::of(layer))).unwrap();
    }
    let (again, _) = image();
    assert_eq!(again.config, built.config);
}

#[test]
fn an_image_is_made_on_layers_and_not_on_mere_files() {
    let dockerfile = "FROM toolchain AS tools\nRUN true\nFROM tools\nFROM base\nCOPY --from=tools /etc/group /\n";
    let Some(bench) = Bench::new(&[("Dockerfile", dockerfile)]) else {
        return;
    };
    let image = |target| {
        let options = Options {
            target,
            ..Options::default()
        };
        let built = bench.followed(&options, |plan| {
            build_image(plan, Timestamps::Kept, &mut Kept::default())
        });
        built.map(|(image, _, _)| image.layers.len())
    };
    assert_eq!(image(None), Ok(1));
    assert_eq!(
        image(Some("1")),
        Err(
            "Dockerfile line 1: FROM toolchain AS tools: what stands for toolchain has no layers \
             that an image could be made on: give an image by its digest"
                .to_owned()
        )
    );
}

#[test]
fn all_of_this_holds_without_root_too() {
    without_root("rebuild::stages::");
}
