//! The sandbox, seen from inside: a root file system of busybox, and a real runtime.
//!
//! Run by root, all of this is run once more without root, by a user that is
//! there in a mount namespace only.

use std::{
    env, fs, io,
    net::TcpListener,
    os::{
        linux::{fs::MetadataExt as _, net::SocketAddrExt},
        unix::{
            fs::{FileExt as _, symlink},
            net::{SocketAddr, UnixListener},
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use reprove::{
    facts::{LimitedBy, Privileges},
    rebuild::sandbox::{self, Access, Finished, Job, Limits, Mount, Network, RootDirectory, User},
};

use crate::support::{
    sandbox::{Inside, Setup, is_running, listing, odd_time, wait_for, without_root},
    skip,
};

#[test]
fn host_name_ids_umask_and_environment_are_as_promised() {
    let Some(inside) = Inside::new() else { return };
    let script = "hostname; id -u; id -g; id -G; umask; pwd; env | sort; \
        touch /tmp/made; stat -c %a /tmp/made";
    assert_eq!(
        inside.sh(script),
        "builder\n0\n0\n0\n0022\n/\nHOME=/root\nLC_ALL=C.UTF-8\nPATH=/bin\nPWD=/\nSHLVL=1\nTZ=UTC\n644\n"
    );
    let ann = User {
        uid: 1000,
        gid: 1001,
    };
    let setup = Setup {
        user: ann,
        hostname: "other",
        directory: "/tmp",
        ..Setup::default()
    };
    assert_eq!(
        inside.sh_with(
            &setup,
            "hostname; id -u; id -g; id -G; pwd; grep Cap[IPE] /proc/self/status"
        ),
        "other\n1000\n1001\n1001\n/tmp\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\n\
         CapEff:\t0000000000000000\n"
    );
    let setup = Setup {
        environment: &[
            ("PATH", "/bin"),
            ("HOME", "/home/ann"),
            ("TZ", "CET"),
            ("A", "b=c\nd"),
        ],
        ..setup
    };
    assert_eq!(
        inside.run(&setup, &["env"]).unwrap().log,
        "A=b=c\nd\nHOME=/home/ann\nLC_ALL=C.UTF-8\nPATH=/bin\nTZ=CET\n"
    );
}

#[test]
fn nothing_outside_is_reached_over_a_network() {
    let Some(inside) = Inside::new() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let name = format!("reprove-{}", odd_time());
    let _abstract =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let seen = fs::read_to_string("/proc/net/unix").unwrap();
    assert!(seen.contains(&name), "it is there to be seen from outside");
    // Even with a name server set there is no way to it.
    fs::write(
        inside.root.path().join("etc/resolv.conf"),
        "nameserver 192.0.2.1\noptions timeout:1 attempts:1\n",
    )
    .unwrap();
    let script = format!(
        "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '; tail -n +2 /proc/net/route; \
         grep -c {name} /proc/net/unix; \
         nc -w 3 127.0.0.1 {port} </dev/null 2>&1; nc -w 3 192.0.2.1 80 </dev/null 2>&1; \
         nslookup -type=a name.example 2>&1 | grep -o -e 'Network is unreachable' -e 'Address family not supported' | head -n 1; \
         ping -c 1 -w 2 192.0.2.1 2>&1 | tail -n 1; true"
    );
    let cases = [
        (
            Network::None,
            "lo\n0\n\
             nc: socket: Address family not supported by protocol\n\
             nc: socket: Address family not supported by protocol\n\
             Address family not supported\n\
             ping: can't create raw socket: Address family not supported by protocol\n",
        ),
        (
            Network::Loopback,
            "lo\n0\n\
             nc: can't connect to remote host (127.0.0.1): Connection refused\n\
             nc: can't connect to remote host (192.0.2.1): Network is unreachable\n\
             Network is unreachable\n\
             ping: sendto: Network is unreachable\n",
        ),
    ];
    for (network, expected) in cases {
        let setup = Setup {
            network,
            ..Setup::default()
        };
        assert_eq!(inside.sh_with(&setup, &script), expected, "{network:?}");
    }
    assert_eq!(
        listener.accept().unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
}

#[test]
fn loopback_works_where_it_is_asked_for() {
    let Some(inside) = Inside::new() else { return };
    let setup = Setup {
        network: Network::Loopback,
        ..Setup::default()
    };
    // nc ends with its peer's words, so its own must be there to be read before.
    let script = "echo hello >/tmp/hello; nc -l -p 8000 </tmp/hello & \
        until nc 127.0.0.1 8000 </dev/null 2>/dev/null; do sleep 0.1; done";
    assert_eq!(inside.sh_with(&setup, script), "hello\n");
}

#[test]
fn nothing_of_the_host_is_seen_but_what_is_mounted() {
    let Some(inside) = Inside::new() else { return };
    let canary = inside.scratch.path().join("canary");
    fs::write(&canary, "host").unwrap();
    let mounts = [Mount {
        source: &canary,
        destination: "/inputs/file",
        access: Access::ReadOnly,
    }];
    let setup = Setup {
        mounts: &mounts,
        ..Setup::default()
    };
    let script = format!(
        "ls -A / /inputs /dev | grep -v -x core; ls /proc | grep '^[0-9]'; cat /inputs/file; echo; \
         test -e {} || echo not there; \
         cut -d' ' -f2,3 /proc/mounts | grep -v -e '^/proc/' -e '^/ ' -e /dev/. -e /inputs",
        canary.display()
    );
    let seen = inside.sh_with(&setup, &script);
    let pids: Vec<&str> = seen
        .lines()
        .filter(|line| line.parse::<u32>().is_ok())
        .collect();
    assert_eq!(pids[0], "1", "{seen}");
    assert!(pids.len() <= 3, "{seen}");
    let seen: Vec<&str> = seen
        .lines()
        .filter(|line| line.parse::<u32>().is_err())
        .collect();
    assert_eq!(
        seen.join("\n"),
        "/:\nbin\ndev\netc\ninputs\nproc\ntmp\n\n/dev:\nfd\nfull\nnull\nptmx\npts\nrandom\nshm\n\
         stderr\nstdin\nstdout\ntty\nurandom\nzero\n\n/inputs:\nfile\nhost\nnot there\n\
         /proc proc\n/dev tmpfs"
    );
}

#[test]
fn nothing_is_written_outside_but_to_a_writable_mount() {
    let Some(inside) = Inside::new() else { return };
    let folders = ["read", "write"].map(|name| inside.scratch.path().join(name));
    for folder in &folders {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("file"), "before").unwrap();
    }
    let mounts = [
        Mount {
            source: &folders[0],
            destination: "/read",
            access: Access::ReadOnly,
        },
        Mount {
            source: &folders[1],
            destination: "/write",
            access: Access::Writable,
        },
    ];
    let setup = Setup {
        mounts: &mounts,
        ..Setup::default()
    };
    let device = fs::metadata("/").unwrap().st_dev();
    let (major, minor) = ((device >> 8) & 0xfff, device & 0xff);
    let script = format!(
        "for try in 'echo x >/read/file' 'rm /read/file' 'touch /read/new' \
           'mount -o remount,rw /read' 'umount /read' 'mount -t tmpfs none /tmp' \
           'echo 1 >/proc/sys/kernel/panic' 'echo h >/proc/sysrq-trigger' 'hostname other' \
           'unshare -U true' 'unshare -m true' \
           'mknod /tmp/disk b {major} {minor} && dd if=/tmp/disk of=/dev/null count=1'; do \
           (eval \"$try\") 2>/dev/null && echo \"$try\"; done; \
         echo after >/write/file; rm -f /tmp/disk; date -s 2001-01-01 2>&1 | head -n 1"
    );
    assert_eq!(
        inside.sh_with(&setup, &script),
        "date: can't set date: Operation not permitted\n"
    );
    let content = |folder: &Path| fs::read_to_string(folder.join("file")).unwrap();
    assert_eq!(content(&folders[0]), "before");
    assert_eq!(content(&folders[1]), "after\n");
    assert_eq!(fs::read_dir(&folders[0]).unwrap().count(), 1);
}

#[test]
fn each_limit_ends_the_job_and_says_so() {
    let Some(inside) = Inside::new() else { return };
    let limits = Setup::default().limits;
    let run = |limits, script: &str| {
        let setup = Setup {
            limits,
            ..Setup::default()
        };
        inside.run(&setup, &["sh", "-c", script]).unwrap()
    };
    if inside.runtime.facts().limited_by == LimitedBy::ResourceLimits {
        skip("memory is limited by control groups only, which cannot be used here");
    } else {
        let little = Limits {
            memory_in_bytes: 32 << 20,
            ..limits
        };
        let done = run(little, "tail /dev/zero");
        assert_eq!(done.ran.outcome, Finished::OutOfMemory, "{}", done.log);
        let done = run(little, "sh -c 'tail /dev/zero'; true");
        assert_eq!(done.ran.outcome, Finished::Succeeded, "{}", done.log);
    }

    let few = Limits {
        processes: 30,
        ..limits
    };
    let done = run(few, "for i in $(seq 100); do sleep 60 & done");
    assert!(
        matches!(done.ran.outcome, Finished::Failed { .. }),
        "{:?}",
        done.ran
    );
    assert!(done.log.contains("can't fork"), "{}", done.log);

    let short = Limits {
        duration: Duration::from_secs(1),
        ..limits
    };
    let seconds = odd_time();
    let done = run(
        short,
        &format!("echo begun; (trap '' TERM; sleep {seconds}) & sleep {seconds}"),
    );
    assert_eq!(done.ran.outcome, Finished::TimedOut);
    assert_eq!(done.log, "begun\n");
    assert!(!is_running(&seconds));

    let terse = Limits {
        log_in_bytes: 1001,
        ..limits
    };
    let done = run(terse, "yes");
    assert_eq!(done.ran.outcome, Finished::LogFull);
    assert_eq!(done.log, "y\n".repeat(501)[..1001]);
    let done = run(terse, "yes | head -c 1001");
    assert_eq!(done.ran.outcome, Finished::Succeeded);

    assert_eq!(
        run(limits, "ulimit -n; ulimit -Hn; ulimit -c").log,
        "1024\n4096\n0\n"
    );
}

#[test]
fn how_a_job_ends_is_told_with_its_last_lines() {
    let Some(inside) = Inside::new() else { return };
    let cases: &[(&[&str], Finished)] = &[
        (&["true"], Finished::Succeeded),
        (&["sh", "-c", "exit 3"], Finished::Failed { status: 3 }),
        (&["sh", "-c", "exit 137"], Finished::Failed { status: 137 }),
        (
            &["sh", "-c", "exec >/dev/null 2>&1; sleep 0.3; exit 4"],
            Finished::Failed { status: 4 },
        ),
        (
            &["sh", "-c", "(sleep 60; echo late) & echo early"],
            Finished::Succeeded,
        ),
        (&["/bin/absent"], Finished::Failed { status: 127 }),
        (&["absent"], Finished::Failed { status: 127 }),
        (&["/etc/passwd"], Finished::Failed { status: 127 }),
    ];
    for (arguments, expected) in cases {
        let done = inside.run(&Setup::default(), arguments).unwrap();
        assert_eq!(done.ran.outcome, *expected, "{arguments:?}: {}", done.log);
    }
    let done = inside
        .run(
            &Setup::default(),
            &[
                "sh",
                "-c",
                "echo out; echo err >&2; echo out; echo err >&2; printf end",
            ],
        )
        .unwrap();
    assert_eq!(done.log, "out\nerr\nout\nerr\nend");
    assert_eq!(done.ran.last_lines, ["out", "err", "out", "err", "end"]);

    let relative = Setup {
        directory: "tmp",
        ..Setup::default()
    };
    assert_eq!(
        inside
            .run(&relative, &["true"])
            .map(|done| done.ran)
            .unwrap_err()
            .to_string(),
        "the working directory should be an absolute path but is \"tmp\""
    );
}

#[test]
fn a_job_that_is_cancelled_ends_at_once() {
    let Some(inside) = Inside::new() else { return };
    let seconds = odd_time();
    let arguments = ["sleep".to_owned(), seconds.clone()];
    let job = Job {
        root: inside.root.path(),
        arguments: &arguments,
        environment: &[("PATH".to_owned(), "/bin".to_owned())].into(),
        directory: "/",
        user: User::default(),
        mounts: &[],
        network: Network::None,
        hostname: "builder",
        limits: Limits::default(),
    };
    let ran = inside
        .runtime
        .run(&job, inside.scratch.path(), &mut io::sink(), &|| {
            is_running(&seconds)
        })
        .unwrap();
    assert_eq!(ran.outcome, Finished::Cancelled);
    assert!(!is_running(&seconds));
}

#[test]
fn no_mount_point_remains_and_no_time_is_changed() {
    let Some(inside) = Inside::new() else { return };
    let root = inside.root.path();
    symlink("../run/resolv.conf", root.join("etc/resolv.conf")).unwrap();
    let file = inside.scratch.path().join("file");
    fs::write(&file, "nameserver 127.0.0.1\n").unwrap();
    let mounts = ["/etc/resolv.conf", "/etc/hosts", "/deep/er/file"].map(|destination| Mount {
        source: &file,
        destination,
        access: Access::ReadOnly,
    });
    let setup = Setup {
        mounts: &mounts,
        ..Setup::default()
    };
    let before = listing(root);
    inside.sh_with(
        &setup,
        "cat /etc/resolv.conf /etc/hosts /deep/er/file /dev/null",
    );
    assert_eq!(listing(root), before);

    inside.sh_with(
        &setup,
        "echo x >/etc/made; rm /etc/made; rm /etc/passwd; mkdir /run/kept",
    );
    assert!(root.join("run/kept").is_dir());
    assert!(!root.join("run/resolv.conf").exists());
    assert!(!root.join("deep").exists());
    assert!(!root.join("etc/passwd").exists());
}

#[test]
fn equal_jobs_have_equal_bundles_wherever_they_run() {
    let (Some(one), Some(other)) = (Inside::new(), Inside::new()) else {
        return;
    };
    let bundle = |inside: &Inside, hostname| {
        let source = inside.scratch.path().join("source");
        fs::write(&source, "").unwrap();
        let mounts = [Mount {
            source: &source,
            destination: "/source",
            access: Access::ReadOnly,
        }];
        let setup = Setup {
            mounts: &mounts,
            hostname,
            ..Setup::default()
        };
        inside.run(&setup, &["true"]).unwrap().ran.bundle
    };
    let first = bundle(&one, "builder");
    assert_eq!(first, bundle(&other, "builder"));
    assert_ne!(first.digest, bundle(&one, "other").digest);
    for path in [one.scratch.path(), one.root.path()] {
        assert!(
            !first.config.contains(path.to_str().unwrap()),
            "{}",
            first.config
        );
    }
}

#[test]
fn owners_set_user_id_and_device_nodes_are_kept_as_far_as_may_be() {
    let Some(inside) = Inside::new() else { return };
    let script = "cd /tmp; umask 077; mkdir private; echo x >private/file; chown -R 1000:65534 private; \
        cp /bin/busybox su; chmod 4755 su; mkfifo fifo; ln private/file link; ln -s nowhere symlink; \
        find . | sort | xargs stat -c '%n %a %u %g %F'";
    assert_eq!(
        inside.sh(script),
        ". 1777 0 0 directory\n./fifo 600 0 0 fifo\n./link 600 1000 65534 regular file\n\
         ./private 700 1000 65534 directory\n./private/file 600 1000 65534 regular file\n\
         ./su 4755 0 0 regular file\n./symlink 777 0 0 symbolic link\n"
    );
    let ann = Setup {
        user: User {
            uid: 1000,
            gid: 1000,
        },
        ..Setup::default()
    };
    // busybox gives up what set-user-ID gives it, so it is asked whether that would be given.
    assert_eq!(
        inside.sh_with(
            &ann,
            "grep NoNewPrivs /proc/self/status; grep ' / ' /proc/mounts | grep -c nosuid; true"
        ),
        "NoNewPrivs:\t0\n0\n"
    );
    assert_eq!(
        inside.sh("chroot / id -u; su -s /bin/sh ann -c 'id -u'"),
        "0\n1000\n"
    );
    let made = inside
        .sh("mknod /tmp/null c 1 3 2>/dev/null && echo x >/tmp/null && echo made; rm -f /tmp/null");
    match inside.runtime.facts().privileges {
        Privileges::Root => assert_eq!(made, "made\n"),
        Privileges::Rootless => assert_eq!(made, ""),
    }

    let scratch = inside.scratch.path();
    let tars = ["one.tar", "other.tar"].map(|name| scratch.join(name));
    inside
        .runtime
        .pack(inside.root.path(), &tars[0], None, scratch)
        .unwrap();
    let copy = RootDirectory::new(&inside.runtime, scratch).unwrap();
    inside
        .runtime
        .unpack(&tars[0], copy.path(), scratch)
        .unwrap();
    inside
        .runtime
        .pack(copy.path(), &tars[1], None, scratch)
        .unwrap();
    assert!(fs::read(&tars[0]).unwrap() == fs::read(&tars[1]).unwrap());

    let path = copy.path().to_owned();
    copy.remove().unwrap();
    assert!(!path.exists());
}

#[test]
fn a_directory_in_which_something_still_changes_is_packed_again() {
    let Some(inside) = Inside::new() else { return };
    let scratch = inside.scratch.path();
    let (tree, tar) = (scratch.join("tree"), scratch.join("tree.tar"));
    fs::create_dir(&tree).unwrap();
    // So large that it is being read when it changes.
    let file = fs::File::create(tree.join("file")).unwrap();
    file.set_len(64 << 20).unwrap();
    let writing = thread::spawn(move || {
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(600) {
            file.write_all_at(b"written", 0).unwrap();
            thread::sleep(Duration::from_millis(1));
        }
    });
    inside.runtime.pack(&tree, &tar, None, scratch).unwrap();
    writing.join().unwrap();
    let mut archive = tar::Archive::new(fs::File::open(&tar).unwrap());
    let mut sizes = Vec::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        sizes.push((entry.path().unwrap().into_owned(), entry.size()));
    }
    let expected = [("./", 0), ("./file", 64 << 20)].map(|(path, size)| (path.into(), size));
    assert_eq!(sizes, expected);
}

#[test]
fn fsync_does_nothing() {
    let Some(inside) = Inside::new() else { return };
    // A terminal or /dev/null cannot be synced, which fsync would say.
    inside.sh("dd if=/dev/zero of=/dev/null count=1 conv=fsync; sync");
}

/// What a test runs in a process of its own, to end that: a job that sleeps for so long.
const SLEEP: &str = "REPROVE_TEST_SANDBOX_SLEEP";

/// Not a test but where [`SLEEP`] is set.
#[test]
fn the_job_of_a_process_that_is_to_be_ended() {
    let Some(seconds) = env::var_os(SLEEP) else {
        return;
    };
    let seconds = seconds.into_string().unwrap();
    let Some(inside) = Inside::new() else { return };
    if env::args().any(|argument| argument == "--nocapture") {
        let seconds = seconds.clone();
        thread::spawn(move || {
            wait_for("the job runs", || is_running(&seconds));
            sandbox::stop();
            assert!(!is_running(&seconds));
            std::process::exit(130);
        });
    }
    let script = format!("mkdir -m 700 /tmp/d; chown 5:5 /tmp/d; touch /tmp/d/f; sleep {seconds}");
    let done = inside.run(
        &Setup {
            limits: Limits::default(),
            ..Setup::default()
        },
        &["sh", "-c", &script],
    );
    assert_eq!(done.unwrap().ran.outcome, Finished::Cancelled);
    // The process is ended by the thread above.
    thread::sleep(Duration::from_secs(20));
}

fn process_with_job(seconds: &str, temporary: &Path, arguments: &[&str]) -> Child {
    Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "sandbox::the_job_of_a_process_that_is_to_be_ended",
        ])
        .args(arguments)
        .env(SLEEP, seconds)
        .env("TMPDIR", temporary)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_program_that_is_killed_leaves_no_container() {
    if Inside::new().is_none() {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let seconds = odd_time();
    let mut process = process_with_job(&seconds, temporary.path(), &[]);
    wait_for("the job runs", || is_running(&seconds));
    process.kill().unwrap();
    process.wait().unwrap();
    wait_for("the job has ended", || !is_running(&seconds));
    let temporary = temporary.path().to_str().unwrap().to_owned();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&temporary), "{mounts}");
}

#[test]
fn stopping_ends_the_job_and_removes_its_root() {
    if Inside::new().is_none() {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let seconds = odd_time();
    let mut process = process_with_job(&seconds, temporary.path(), &["--nocapture"]);
    assert_eq!(process.wait().unwrap().code(), Some(130));
    assert!(!is_running(&seconds));
    let left: Vec<_> = listing(temporary.path())
        .into_iter()
        .map(|(path, ..)| path)
        .filter(|path| path.ends_with("rootfs"))
        .collect();
    assert_eq!(left, Vec::<PathBuf>::new());
}

#[test]
fn all_of_this_holds_without_root_too() {
    without_root("sandbox::");
}
