//! What tests of any kind ask of the machine that they run on.
//!
//! Uses nothing of the library, since its own unit tests use this too.

use std::{
    env, fs,
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, chown},
    path::Path,
    process::Command,
};

/// A small program that is no link to a library, for all that is run inside.
pub(crate) const BUSYBOX: &str = "/bin/busybox";

/// Says loudly that the test that calls it is skipped, and why.
///
/// The line also goes to the file that `REPROVE_SKIPPED` names, since cargo
/// does not show what passing tests print.
pub(crate) fn skip(reason: &str) {
    let thread = std::thread::current();
    let line = format!("skipped: {}: {reason}\n", thread.name().unwrap_or("?"));
    eprint!("{line}");
    if let Some(file) = env::var_os("REPROVE_SKIPPED") {
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(file)
            .unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

/// Says whether a program names no interpreter, which is what loads libraries.
pub(crate) fn is_static(program: &Path) -> bool {
    const INTERPRETER: &[u8] = b"/ld-linux";
    fs::read(program).is_ok_and(|bytes| {
        !bytes[..bytes.len().min(4096)]
            .windows(INTERPRETER.len())
            .any(|window| window == INTERPRETER)
    })
}

/// Set where tests run once more, without root.
const ROOTLESS: &str = "REPROVE_TEST_ROOTLESS";

/// Mounts files over those that say who has subordinate ids, for itself alone, and becomes that user.
const WITHOUT_ROOT: &str = r#"
set -e
for file in passwd subuid subgid; do mount --bind "$1/$file" "/etc/$file"; done
mount --bind "$2" "$1/it"
exec setpriv --reuid 4242 --regid 4242 --clear-groups "$1/it" "$3" --test-threads 2
"#;

/// Runs the tests whose names begin so once more, as a user that is there in a mount namespace only.
///
/// Does nothing where there is no root to do without.
#[track_caller]
pub(crate) fn without_root(tests: &str) {
    if env::var_os(ROOTLESS).is_some() || !rustix::process::geteuid().is_root() {
        return;
    }
    if !Path::new("/etc/subuid").exists() || !Path::new("/etc/subgid").exists() {
        skip("there is no /etc/subuid and /etc/subgid to mount something on");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let file = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let mut passwd = fs::read_to_string("/etc/passwd").unwrap();
    passwd.push_str("reprove-test:x:4242:4242::/nonexistent:/bin/sh\n");
    file("passwd", &passwd);
    file("subuid", "reprove-test:1000000:65536\n");
    file("subgid", "4242:1000000:65536\nreprove-test:2000000:65536\n");
    file("it", "");
    let home = folder.path().join("home");
    fs::create_dir(&home).unwrap();
    chown(&home, Some(4242), Some(4242)).unwrap();
    let skipped = home.join("skipped");
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", WITHOUT_ROOT, "sh"])
        .arg(folder.path())
        .arg(env::current_exe().unwrap())
        .arg(tests)
        .env(ROOTLESS, "1")
        .env("REPROVE_SKIPPED", &skipped)
        .env("TMPDIR", &home)
        .env("HOME", &home)
        .current_dir("/")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for line in fs::read_to_string(skipped).unwrap_or_default().lines() {
        skip(&format!("without root: {line}"));
    }
}
