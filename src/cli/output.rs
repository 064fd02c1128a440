//! The one place that prints, and the one that writes the files a user asked for.

use std::{
    fs,
    io::{self, BufWriter, ErrorKind, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use anstyle::{AnsiColor, Style};
use anyhow::Context;
use reprove::{facts::BuildFailure, verdict::Obstacle};
use serde::Serialize;

use super::interrupt;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();

/// Text in lines, to be printed.
#[derive(Default)]
pub(crate) struct Page(String);

#[cfg(test)]
impl Page {
    /// Returns its text.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

impl Page {
    /// Adds a line.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) {
        self.0.push_str(text.as_ref());
        self.0.push('\n');
    }

    /// Adds a line with a word in front; an empty word goes on with the one before.
    ///
    /// The value may come from an image: it is shown [`escaped`].
    pub(crate) fn row(&mut self, word: &str, value: impl AsRef<str>) {
        self.line(format!("{word:<10}  {}", escaped(value.as_ref())));
    }

    /// Prints it on standard output.
    pub(crate) fn print(&self) -> anyhow::Result<()> {
        print(&self.0)
    }
}

/// Returns text without its colours, for a file.
pub(crate) fn colourless(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

/// Returns foreign text without characters that would move a terminal's cursor.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// Prints what stands in the way of an answer, and what would settle it.
pub(crate) fn print_obstacle(not_done: &str, obstacle: &Obstacle) -> anyhow::Result<()> {
    let (what, remedy) = (escaped(&obstacle.what), escaped(&obstacle.remedy));
    print(&format!("{not_done}: {what}\nto settle it: {remedy}\n"))
}

/// Prints that a build failed, and what its last lines were.
pub(crate) fn print_failure(not_done: &str, failure: &BuildFailure) -> anyhow::Result<()> {
    print(&failed(not_done, failure))
}

/// Returns that a build failed, in lines.
fn failed(not_done: &str, failure: &BuildFailure) -> String {
    let lines: Vec<String> = failure.problem.lines().map(escaped).collect();
    let step = escaped(&failure.step);
    format!("{not_done}: {step}: {}\n", lines.join("\n"))
}

/// Writes `text` to standard output as it is, colours taken out where it is no terminal.
///
/// A reader that has gone away (`reprove … | head`) is no trouble: the exit
/// status still says what was found.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = anstream::stdout().lock();
    unless_closed(
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush()),
    )
    .context("cannot write to standard output")
}

/// Writes bytes to standard output unchanged: what is not for the eye alone.
pub(crate) fn print_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    unless_closed(stdout.write_all(bytes).and_then(|()| stdout.flush()))
        .context("cannot write to standard output")
}

/// Prints `value` as indented JSON and a line end.
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut stdout = BufWriter::new(io::stdout().lock());
    unless_closed(json(value, &mut stdout).and_then(|()| stdout.flush()))
        .context("cannot write to standard output")
}

/// Writes `value` to a file as indented JSON and a line end.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    write_file_with(path, |file| json(value, file))
}

/// Writes values to a file as JSON, a line each, one after the other.
pub(crate) fn write_json_lines(
    path: &Path,
    values: impl Iterator<Item = impl Serialize>,
) -> anyhow::Result<()> {
    write_file_with(path, |file| {
        for value in values {
            serde_json::to_writer(&mut *file, &value)?;
            file.write_all(b"\n")?;
        }
        Ok(())
    })
}

/// Writes `value` piece by piece: a report of many findings is large, and need not be held as text.
fn json(value: &impl Serialize, mut to: impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut to, value)?;
    to.write_all(b"\n")
}

fn unless_closed(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Prints one line on standard error.
pub(crate) fn log(line: &str) {
    // Where standard error is closed there is nobody to tell.
    drop(writeln!(anstream::stderr(), "{line}"));
}

/// Prints the error as one line, with what would help below it.
pub(crate) fn error(error: &anyhow::Error) {
    log(&format!("{ERROR}error:{ERROR:#} {}", in_one_line(error)));
    if let Some(hint) = super::hint::hint(error) {
        log(&format!("{HINT}hint:{HINT:#} {hint}"));
    }
}

/// Returns the error and its causes, `: ` between them.
///
/// A cause that the text before it already ends with is said once.
fn in_one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        let text = escaped(&text.trim().replace('\n', " "));
        if line.ends_with(&text) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&text);
    }
    line
}

/// Writes a file so that it is there whole or not at all.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write_file_with(path, |file| file.write_all(bytes))
}

fn write_file_with(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> anyhow::Result<()> {
    let write = || -> io::Result<()> {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        // A device or pipe (`--report /dev/stdout`) is written to, not replaced.
        if fs::metadata(path).is_ok_and(|known| !known.is_file()) {
            let mut file = BufWriter::new(fs::OpenOptions::new().write(true).open(path)?);
            content(&mut file)?;
            return file.flush();
        }
        let make = || {
            tempfile::Builder::new()
                // As any file the user makes, not private as temporary files are; the umask applies.
                .permissions(fs::Permissions::from_mode(0o666))
                .tempfile_in(directory)
        };
        let (mut file, _unfinished) = interrupt::unfinished(make)?;
        let mut buffered = BufWriter::new(&mut file);
        content(&mut buffered)?;
        buffered.flush()?;
        drop(buffered);
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn an_error_is_one_line_that_says_each_cause_once() {
        let cases = [
            (
                anyhow!("no space").context("cannot write x"),
                "cannot write x: no space",
            ),
            (anyhow!("b").context("a: b"), "a: b"),
            (
                anyhow!("two\nlines").context("cannot read x"),
                "cannot read x: two lines",
            ),
        ];
        for (error, line) in cases {
            assert_eq!(in_one_line(&error), line);
        }
    }

    #[test]
    fn foreign_text_cannot_move_the_cursor() {
        assert_eq!(escaped("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(escaped("ünïcode \"quoted\""), "ünïcode \"quoted\"");
    }

    #[test]
    fn what_a_failed_build_says_keeps_its_lines_and_nothing_else() {
        let failure = BuildFailure {
            step: "line 2: RUN \u{1b}]0;x\u{7}".to_owned(),
            problem: "one\n\u{1b}[2Jtwo\r".to_owned(),
            log: None,
        };
        assert_eq!(
            failed("no image", &failure),
            "no image: line 2: RUN \\u{1b}]0;x\\u{7}: one\n\\u{1b}[2Jtwo\\r\n"
        );
    }

    #[test]
    fn a_written_file_replaces_the_one_before_and_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("report.json");
        for content in ["one", "two"] {
            write_file(&path, content.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let error = write_file(Path::new("/nonexistent/report.json"), b"").unwrap_err();
        assert!(
            in_one_line(&error).starts_with("cannot write /nonexistent/report.json: No such file")
        );
    }
}
