//! Dockerfile syntax: text → instructions, nothing looked up and nothing run.
//!
//! A port of `BuildKit`'s parser rather than a crate: what `parse-dockerfile` 0.1
//! gives lacks the names of here-documents and the joined text of an
//! instruction, which end up in images, and it takes `\\` at the end of a line
//! for a continuation, which Docker does not.
//!
//! Source: moby/buildkit `frontend/dockerfile/parser` and `instructions`.

pub(crate) mod glob;
pub(crate) mod paths;
pub(crate) mod words;

use words::Lexer;

/// A Dockerfile that Docker would not accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct SyntaxError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: String,
}

/// A Dockerfile, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dockerfile {
    /// The character that takes the meaning from the next.
    pub(crate) escape: char,
    /// The instructions, in order.
    pub(crate) instructions: Vec<Instruction>,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// The line it begins on, counted from 1.
    pub(crate) line: usize,
    /// Its text, continuation lines joined.
    pub(crate) text: String,
    /// Its lines as they are in the file, here-documents and all.
    pub(crate) raw: String,
    /// What it says.
    pub(crate) command: Command,
}

/// What an instruction says, before variables are put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    Add(Transfer),
    Arg(Vec<(String, Option<String>)>),
    Cmd(CommandLine),
    Copy(Transfer),
    Entrypoint(CommandLine),
    Env(Vec<(String, String)>),
    Expose(Vec<String>),
    From(From),
    Healthcheck(Healthcheck),
    Label(Vec<(String, String)>),
    Maintainer(String),
    Onbuild(String),
    Run(Run),
    Shell(Vec<String>),
    StopSignal(String),
    User(String),
    Volume(Vec<String>),
    Workdir(String),
}

/// What FROM begins a stage with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct From {
    pub(crate) image: String,
    /// The stage's name, in lower case.
    pub(crate) stage: Option<String>,
    pub(crate) platform: Option<String>,
}

/// What RUN runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) flags: Vec<Flag>,
    pub(crate) line: RunLine,
}

/// The arguments of RUN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RunLine {
    /// A JSON array.
    Exec(Vec<String>),
    /// For the shell, with the here-documents that it is to read.
    Shell(String),
    /// A here-document that names its interpreter: a file of this name, run by the shell.
    Script { name: String, content: String },
}

/// What ADD or COPY moves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub(crate) flags: Vec<Flag>,
    pub(crate) sources: Vec<String>,
    pub(crate) documents: Vec<HereDocument>,
    pub(crate) destination: String,
}

/// One `--name=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flag {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
}

/// A file whose content is in the Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HereDocument {
    pub(crate) name: String,
    pub(crate) content: String,
    /// Whether variables are put into the content.
    pub(crate) expand: bool,
}

/// The arguments of CMD and ENTRYPOINT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CommandLine {
    /// A JSON array.
    Exec(Vec<String>),
    /// Anything else: for the shell.
    Shell(String),
}

/// The arguments of HEALTHCHECK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Healthcheck {
    None,
    Check {
        command: CommandLine,
        /// Nanoseconds; 0 where not said, as for the others.
        interval: i64,
        timeout: i64,
        start_period: i64,
        start_interval: i64,
        retries: i32,
    },
}

/// Parses the text of a Dockerfile.
pub(crate) fn parse(text: &str) -> Result<Dockerfile, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    read(text, '\\', Some(Vec::new()))
}

/// Parses text that stands in a Dockerfile with this escape character, below its directives.
pub(crate) fn parse_part(text: &str, escape: char) -> Result<Vec<Instruction>, SyntaxError> {
    read(text, escape, None).map(|file| file.instructions)
}

/// Reads instructions; `directives` has those seen, `None` where there can be none any more.
fn read(
    text: &str,
    mut escape: char,
    mut directives: Option<Vec<String>>,
) -> Result<Dockerfile, SyntaxError> {
    let mut lines = text.split_inclusive('\n').enumerate();
    let mut instructions = Vec::new();
    while let Some((index, line)) = lines.next() {
        let line_number = index + 1;
        let mut raw = line.to_owned();
        let at = |problem: String| SyntaxError {
            line: line_number,
            problem,
        };
        let line = without_newline(line).trim_start();
        if let Some(seen) = &mut directives {
            match directive(line) {
                Some((name, value)) => {
                    if seen.contains(&name) {
                        return Err(at(format!("there are two parser directives {name}")));
                    }
                    if name == "escape" {
                        escape = match value {
                            "\\" => '\\',
                            "`" => '`',
                            _ => {
                                return Err(at(format!(
                                    "the escape character is {value:?}, it can be \\ or `"
                                )));
                            }
                        };
                    }
                    seen.push(name);
                }
                None => directives = None,
            }
        }
        if is_comment(line) || line.is_empty() {
            continue;
        }

        let (first, mut continues) = continued(line, escape);
        let mut joined = first.to_owned();
        while continues {
            let Some((_, line)) = lines.next() else {
                break;
            };
            raw.push_str(line);
            let line = without_newline(line);
            if is_comment(line) || line.trim_start().is_empty() {
                continue;
            }
            let (part, more) = continued(line, escape);
            joined.push_str(part);
            continues = more;
        }
        let (keyword, arguments) = keyword(&joined);
        let mut documents = Vec::new();
        if takes_documents(&keyword, arguments) {
            for mut document in documents_of(&joined).map_err(at)? {
                loop {
                    let Some((_, line)) = lines.next() else {
                        return Err(at(format!(
                            "the here-document {} has no end",
                            document.name
                        )));
                    };
                    raw.push_str(line);
                    let bare = line.trim_end_matches(['\r', '\n']);
                    let bare = if document.chomp {
                        bare.trim_start_matches('\t')
                    } else {
                        bare
                    };
                    if bare == document.name {
                        break;
                    }
                    document.content.push_str(line);
                }
                documents.push(document);
            }
        }
        let command = command(&keyword, arguments, &joined, &documents, escape).map_err(at)?;
        instructions.push(Instruction {
            line: line_number,
            text: joined.trim().to_owned(),
            raw,
            command,
        });
    }
    if instructions.is_empty() {
        return Err(SyntaxError {
            line: 1,
            problem: "there are no instructions".to_owned(),
        });
    }
    Ok(Dockerfile {
        escape,
        instructions,
    })
}

fn without_newline(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// Returns the parser directive on this line, its name in lower case.
fn directive(line: &str) -> Option<(String, &str)> {
    let (name, value) = line.strip_prefix('#')?.split_once('=')?;
    let name = name.trim().to_ascii_lowercase();
    let value = value.trim();
    (["syntax", "escape", "check"].contains(&name.as_str()) && !value.is_empty())
        .then_some((name, value))
}

/// Returns the line without its continuation character, and whether it had one.
///
/// An escape character before it takes its meaning.
fn continued(line: &str, escape: char) -> (&str, bool) {
    let bare = line.trim_end_matches([' ', '\t']);
    match bare.strip_suffix(escape) {
        Some(before) if !before.ends_with(escape) => (before, true),
        _ => (line, false),
    }
}

/// Splits an instruction into its keyword in capitals and its arguments.
fn keyword(line: &str) -> (String, &str) {
    let line = line.trim();
    let blank = |character| matches!(character, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ');
    let (keyword, arguments) = line.split_once(blank).unwrap_or((line, ""));
    (
        keyword.to_uppercase(),
        arguments.trim_start_matches(blank).trim(),
    )
}

fn takes_documents(keyword: &str, arguments: &str) -> bool {
    match keyword {
        "ADD" | "COPY" | "RUN" => arguments.contains("<<"),
        "ONBUILD" => {
            let (inner, arguments) = self::keyword(arguments);
            inner != "ONBUILD" && takes_documents(&inner, arguments)
        }
        _ => false,
    }
}

/// A here-document whose content is still to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Document {
    name: String,
    content: String,
    expand: bool,
    chomp: bool,
}

/// Finds the here-documents that a line announces.
fn documents_of(line: &str) -> Result<Vec<Document>, String> {
    let lexer = Lexer {
        raw_quotes: true,
        raw_escapes: true,
        keep_unset: true,
        ..Lexer::new('\\')
    };
    // Quotes that do not close announce no document, and are seen later.
    let words = lexer.words(line, &|_| None).unwrap_or_default();
    let mut documents = Vec::new();
    for word in words {
        documents.extend(document(&word)?);
    }
    Ok(documents)
}

/// Reads `<<NAME` with its dash and quotes; `None` where the word is something else.
fn document(word: &str) -> Result<Option<Document>, String> {
    let rest = word.trim_start_matches(|character: char| character.is_ascii_digit());
    let Some(rest) = rest.strip_prefix("<<") else {
        return Ok(None);
    };
    let (chomp, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.trim_start();
    if rest.is_empty() || rest.contains('<') {
        return Ok(None);
    }
    let lexer = Lexer {
        keep_unset: true,
        ..Lexer::new('\\')
    };
    let words = lexer.words(rest, &|_| None)?;
    let [name] = &words[..] else {
        return Ok(None);
    };
    let raw = Lexer {
        raw_quotes: true,
        ..lexer
    };
    let raw_words = raw.words(rest, &|_| None)?;
    let quotes = |word: &str| word.matches(['\'', '"']).count();
    Ok(Some(Document {
        expand: raw_words
            .first()
            .is_some_and(|raw| quotes(raw) == quotes(name)),
        name: name.clone(),
        content: String::new(),
        chomp,
    }))
}

fn command(
    keyword: &str,
    arguments: &str,
    line: &str,
    documents: &[Document],
    escape: char,
) -> Result<Command, String> {
    let (flags, arguments) = flags(arguments, escape);
    let arguments = arguments.trim();
    let one = || {
        if arguments.is_empty() {
            Err(format!("{keyword} requires exactly one argument"))
        } else {
            Ok(arguments.to_owned())
        }
    };
    let at_least_one = |arguments: Vec<String>| {
        if arguments.is_empty() {
            Err(format!("{keyword} requires at least one argument"))
        } else {
            Ok(arguments)
        }
    };
    let no_flags = || match flags.first() {
        Some(flag) => Err(format!("unknown flag --{} of {keyword}", flag.name)),
        None => Ok(()),
    };
    match keyword {
        "ADD" | "COPY" => {
            let transfer = transfer(keyword, flags, arguments, documents)?;
            Ok(if keyword == "ADD" {
                Command::Add(transfer)
            } else {
                Command::Copy(transfer)
            })
        }
        "ARG" => {
            let words = at_least_one(parse_words(arguments, escape))?;
            let pairs = words.into_iter().map(|word| match word.split_once('=') {
                Some(("", _)) => Err("ARG names cannot be blank".to_owned()),
                Some((name, value)) => Ok((name.to_owned(), Some(value.to_owned()))),
                None => Ok((word, None)),
            });
            pairs.collect::<Result<_, _>>().map(Command::Arg)
        }
        "CMD" => no_flags().and_then(|()| command_line(arguments).map(Command::Cmd)),
        "ENTRYPOINT" => no_flags().and_then(|()| command_line(arguments).map(Command::Entrypoint)),
        "ENV" => no_flags().and_then(|()| pairs(keyword, arguments, escape).map(Command::Env)),
        "LABEL" => no_flags().and_then(|()| pairs(keyword, arguments, escape).map(Command::Label)),
        "EXPOSE" => {
            no_flags()?;
            let mut ports = at_least_one(blank_separated(arguments))?;
            ports.sort();
            Ok(Command::Expose(ports))
        }
        "FROM" => {
            if let Some(flag) = flags.iter().find(|flag| flag.name != "platform") {
                return Err(format!("unknown flag --{} of FROM", flag.name));
            }
            let platform = flags.into_iter().find_map(|flag| flag.value);
            match &blank_separated(arguments)[..] {
                [image] => Ok(Command::From(From {
                    image: image.clone(),
                    stage: None,
                    platform,
                })),
                [image, word, name] if word.eq_ignore_ascii_case("as") => {
                    let name = name.to_lowercase();
                    let valid = name.starts_with(|first: char| first.is_ascii_lowercase())
                        && name
                            .bytes()
                            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
                    if !valid {
                        return Err(format!("invalid name for build stage: {name:?}"));
                    }
                    Ok(Command::From(From {
                        image: image.clone(),
                        stage: Some(name),
                        platform,
                    }))
                }
                _ => Err("FROM requires either one or three arguments".to_owned()),
            }
        }
        "HEALTHCHECK" => healthcheck(&flags, arguments).map(Command::Healthcheck),
        "MAINTAINER" => no_flags().and_then(|()| one()).map(Command::Maintainer),
        "ONBUILD" => {
            no_flags()?;
            let (trigger, trigger_arguments) = self::keyword(arguments);
            match trigger.as_str() {
                "" => return Err("ONBUILD requires at least one argument".to_owned()),
                "ONBUILD" => return Err("ONBUILD cannot have another ONBUILD in it".to_owned()),
                "MAINTAINER" | "FROM" => {
                    return Err(format!("{trigger} cannot be an ONBUILD trigger"));
                }
                _ => {}
            }
            let mut text = line.trim_start()["ONBUILD".len()..].trim_start().to_owned();
            for document in documents {
                text.push('\n');
                text.push_str(&document.content);
                text.push_str(&document.name);
            }
            // Only to refuse now what would be refused later.
            command(&trigger, trigger_arguments, arguments, documents, escape)?;
            Ok(Command::Onbuild(text))
        }
        "RUN" => {
            let known = ["mount", "network", "security", "device"];
            if let Some(flag) = flags
                .iter()
                .find(|flag| !known.contains(&flag.name.as_str()))
            {
                return Err(format!("unknown flag --{} of RUN", flag.name));
            }
            let line = run_line(arguments, documents)?;
            Ok(Command::Run(Run { flags, line }))
        }
        "SHELL" => {
            no_flags()?;
            match json_array(arguments)? {
                Some(shell) => at_least_one(shell).map(Command::Shell),
                None => Err("SHELL requires the arguments to be in JSON form".to_owned()),
            }
        }
        "STOPSIGNAL" => no_flags().and_then(|()| one()).map(Command::StopSignal),
        "USER" => no_flags().and_then(|()| one()).map(Command::User),
        "VOLUME" => {
            no_flags()?;
            let volumes = at_least_one(list(arguments)?)?;
            let volumes: Vec<String> = volumes
                .iter()
                .map(|volume| volume.trim().to_owned())
                .collect();
            if volumes.iter().any(String::is_empty) {
                return Err("VOLUME cannot be an empty string".to_owned());
            }
            Ok(Command::Volume(volumes))
        }
        "WORKDIR" => no_flags().and_then(|()| one()).map(Command::Workdir),
        _ => Err(format!("unknown instruction: {keyword}")),
    }
}

/// Reads the `--name=value` words in front of the arguments.
fn flags(arguments: &str, escape: char) -> (Vec<Flag>, &str) {
    let mut flags = Vec::new();
    let mut rest = arguments.trim_start();
    while rest.starts_with("--") {
        let mut word = String::new();
        let mut quote = None;
        let mut characters = rest.char_indices();
        let mut end = rest.len();
        while let Some((at, character)) = characters.next() {
            match (character, quote) {
                (_, None) if character.is_whitespace() => {
                    end = at;
                    break;
                }
                ('\'' | '"', None) => quote = Some(character),
                (_, Some(open)) if character == open => quote = None,
                _ if character == escape => {
                    word.extend(characters.next().map(|(_, escaped)| escaped));
                }
                _ => word.push(character),
            }
        }
        rest = rest[end..].trim_start();
        let Some(flag) = word.strip_prefix("--").filter(|flag| !flag.is_empty()) else {
            break;
        };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        flags.push(Flag {
            name: name.to_owned(),
            value,
        });
    }
    (flags, rest)
}

/// Reads what RUN runs, its here-documents put in.
fn run_line(arguments: &str, documents: &[Document]) -> Result<RunLine, String> {
    let line = match command_line(arguments)? {
        CommandLine::Exec(words) if documents.is_empty() => return Ok(RunLine::Exec(words)),
        CommandLine::Exec(_) => {
            return Err("RUN in JSON form cannot have a here-document".to_owned());
        }
        CommandLine::Shell(line) => line,
    };
    let Some(first) = documents.first() else {
        return Ok(RunLine::Shell(line));
    };
    if document(&line)?.is_some() {
        let content = if first.chomp {
            without_leading_tabs(&first.content)
        } else {
            first.content.clone()
        };
        return Ok(if content.starts_with("#!") {
            RunLine::Script {
                name: first.name.clone(),
                content,
            }
        } else {
            RunLine::Shell(content)
        });
    }
    // The shell reads them itself.
    let mut line = line;
    for document in documents {
        line.push('\n');
        line.push_str(&document.content);
        line.push_str(&document.name);
    }
    Ok(RunLine::Shell(line))
}

fn transfer(
    keyword: &str,
    flags: Vec<Flag>,
    arguments: &str,
    documents: &[Document],
) -> Result<Transfer, String> {
    let mut words = list(arguments)?;
    let destination = words.pop().filter(|_| !words.is_empty()).ok_or_else(|| {
        format!("{keyword} requires at least two arguments: sources and a destination")
    })?;
    if document(&destination)?.is_some() {
        return Err(format!(
            "{keyword} cannot have a here-document as its destination"
        ));
    }
    let mut transfer = Transfer {
        flags,
        destination,
        ..Transfer::default()
    };
    for word in words {
        let Some(announced) = document(&word)? else {
            transfer.sources.push(word);
            continue;
        };
        let content = documents
            .iter()
            .rev()
            .find(|document| document.name == announced.name)
            .map(|document| document.content.clone())
            .unwrap_or_default();
        transfer.documents.push(HereDocument {
            content: if announced.chomp {
                without_leading_tabs(&content)
            } else {
                content
            },
            name: announced.name,
            expand: announced.expand,
        });
    }
    Ok(transfer)
}

fn without_leading_tabs(text: &str) -> String {
    text.split_inclusive('\n')
        .map(|line| line.trim_start_matches('\t'))
        .collect()
}

/// Reads a JSON array of strings, or else words between blanks.
fn list(arguments: &str) -> Result<Vec<String>, String> {
    Ok(match json_array(arguments)? {
        Some(array) => array,
        None => blank_separated(arguments),
    })
}

fn blank_separated(arguments: &str) -> Vec<String> {
    arguments
        .split(['\t', '\u{b}', '\u{c}', '\r', ' '])
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Reads a JSON array of strings; `None` where it is no JSON array.
fn json_array(arguments: &str) -> Result<Option<Vec<String>>, String> {
    if !arguments.starts_with('[') {
        return Ok(None);
    }
    let Ok(array) = serde_json::from_str::<Vec<serde_json::Value>>(arguments) else {
        return Ok(None);
    };
    array
        .into_iter()
        .map(|value| match value {
            serde_json::Value::String(text) => Ok(text),
            _ => Err("a JSON array can have only strings in it".to_owned()),
        })
        .collect::<Result<_, _>>()
        .map(Some)
}

fn command_line(arguments: &str) -> Result<CommandLine, String> {
    Ok(match json_array(arguments)? {
        Some(array) => CommandLine::Exec(array),
        None => CommandLine::Shell(arguments.to_owned()),
    })
}

/// Reads `name=value name=value` or the old `name value`.
fn pairs(keyword: &str, arguments: &str, escape: char) -> Result<Vec<(String, String)>, String> {
    let words = parse_words(arguments, escape);
    let Some(first) = words.first() else {
        return Err(format!("{keyword} requires at least one argument"));
    };
    if !first.contains('=') {
        let (name, value) = arguments
            .split_once(['\t', '\u{b}', '\u{c}', '\r', ' '])
            .ok_or_else(|| format!("{keyword} must have two arguments"))?;
        let value = value.trim_start_matches(['\t', '\u{b}', '\u{c}', '\r', ' ']);
        return Ok(vec![(name.to_owned(), value.to_owned())]);
    }
    words
        .iter()
        .map(|word| match word.split_once('=') {
            Some(("", _)) => Err(format!("{keyword} names cannot be blank")),
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(format!(
                "there is no = in {word:?}, which must be name=value"
            )),
        })
        .collect()
}

/// Splits at blanks that are neither quoted nor escaped; quotes and escapes stay.
fn parse_words(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut started = false;
    let mut quote = None;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match quote {
            None if character.is_whitespace() => {
                if started {
                    words.push(std::mem::take(&mut word));
                    started = false;
                }
                continue;
            }
            None if matches!(character, '\'' | '"') => quote = Some(character),
            Some(open) if character == open => quote = None,
            _ => {}
        }
        // Between single quotes nothing can be escaped.
        if character == escape && quote != Some('\'') {
            let Some(escaped) = characters.next() else {
                break;
            };
            word.push(character);
            word.push(escaped);
        } else {
            word.push(character);
        }
        started = true;
    }
    if started {
        words.push(word);
    }
    words
}

fn healthcheck(flags: &[Flag], arguments: &str) -> Result<Healthcheck, String> {
    let (kind, rest) = arguments
        .split_once(char::is_whitespace)
        .unwrap_or((arguments, ""));
    let rest = rest.trim_start();
    match kind.to_uppercase().as_str() {
        "" => Err("HEALTHCHECK requires at least one argument".to_owned()),
        "NONE" if rest.is_empty() => Ok(Healthcheck::None),
        "NONE" => Err("HEALTHCHECK NONE takes no arguments".to_owned()),
        "CMD" => {
            let command = command_line(rest)?;
            let empty = match &command {
                CommandLine::Exec(words) => words.is_empty(),
                CommandLine::Shell(text) => text.is_empty(),
            };
            if empty {
                return Err("there is no command after HEALTHCHECK CMD".to_owned());
            }
            let known = [
                "interval",
                "timeout",
                "start-period",
                "start-interval",
                "retries",
            ];
            for (index, flag) in flags.iter().enumerate() {
                if !known.contains(&flag.name.as_str()) {
                    return Err(format!("unknown flag --{} of HEALTHCHECK", flag.name));
                }
                if flags[..index].iter().any(|other| other.name == flag.name) {
                    return Err(format!("--{} is given twice", flag.name));
                }
                if flag.value.is_none() {
                    return Err(format!("--{} has no value", flag.name));
                }
            }
            let value = |name: &str| {
                flags
                    .iter()
                    .find(|flag| flag.name == name)
                    .and_then(|flag| flag.value.as_deref())
                    .unwrap_or_default()
            };
            let retries = match value("retries") {
                "" => 0,
                text => text
                    .parse::<i32>()
                    .ok()
                    .filter(|retries| *retries >= 0)
                    .ok_or_else(|| format!("--retries cannot be {text:?}"))?,
            };
            Ok(Healthcheck::Check {
                command,
                interval: interval(value("interval"))?,
                timeout: interval(value("timeout"))?,
                start_period: interval(value("start-period"))?,
                start_interval: interval(value("start-interval"))?,
                retries,
            })
        }
        other => Err(format!("unknown type {other:?} in HEALTHCHECK (try CMD)")),
    }
}

/// Reads a duration of a health check in nanoseconds, 0 for none.
fn interval(text: &str) -> Result<i64, String> {
    const LEAST: i64 = 1_000_000;
    if text.is_empty() {
        return Ok(0);
    }
    match duration(text) {
        None => Err(format!("{text:?} is not a duration (such as 30s or 1m30s)")),
        Some(0) => Ok(0),
        Some(nanoseconds) if nanoseconds < LEAST => Err(format!("{text} is less than 1ms")),
        Some(nanoseconds) => Ok(nanoseconds),
    }
}

/// Reads a duration as Go's `time.ParseDuration` does, in nanoseconds.
fn duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        let (number, after) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let unit_end = after
            .find(|character: char| character.is_ascii_digit() || character == '.')
            .unwrap_or(after.len());
        let unit: i128 = match &after[..unit_end] {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let whole: i128 = if whole.is_empty() {
            0
        } else {
            whole.parse().ok().filter(|whole| *whole < 1 << 63)?
        };
        total += whole * unit;
        let mut place = unit;
        for digit in fraction.bytes() {
            place /= 10;
            total += i128::from(digit - b'0') * place;
        }
        rest = &after[unit_end..];
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(text: &str) -> Vec<Command> {
        parse(text)
            .unwrap()
            .instructions
            .into_iter()
            .map(|instruction| instruction.command)
            .collect()
    }

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn lines_are_joined_as_docker_joins_them() {
        let cases = [
            ("CMD a \\\n  b", "CMD a   b"),
            ("CMD a \\  \n  # comment\n\n  b", "CMD a   b"),
            ("  cmd a", "cmd a"),
            ("CMD a \\\\\nCMD b", "CMD a \\\\"),
            ("# escape=`\nCMD a `\nb \\\nCMD c", "CMD a b \\"),
            ("# comment\n# escape=`\nCMD a \\\nb", "CMD a b"),
            ("\u{feff}CMD a\r\n", "CMD a"),
            ("CMD a \\", "CMD a"),
        ];
        for (text, joined) in cases {
            assert_eq!(parse(text).unwrap().instructions[0].text, joined, "{text}");
        }
    }

    #[test]
    fn arguments_are_read_by_the_rules_of_their_instruction() {
        let shell = |text: &str| CommandLine::Shell(text.to_owned());
        let exec = |words: &[&str]| CommandLine::Exec(strings(words));
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let cases = [
            ("CMD [\"a\", \"b c\"]", Command::Cmd(exec(&["a", "b c"]))),
            ("CMD ['a']", Command::Cmd(shell("['a']"))),
            ("CMD", Command::Cmd(shell(""))),
            (
                "ENTRYPOINT exec  top -b",
                Command::Entrypoint(shell("exec  top -b")),
            ),
            ("ENTRYPOINT []", Command::Entrypoint(exec(&[]))),
            (
                "ENV a=1 b=\"2 3\" c=4\\ 5",
                Command::Env(vec![
                    pair("a", "1"),
                    pair("b", "\"2 3\""),
                    pair("c", "4\\ 5"),
                ]),
            ),
            (
                "ENV a  some = value ",
                Command::Env(vec![pair("a", "some = value")]),
            ),
            ("LABEL a=", Command::Label(vec![pair("a", "")])),
            (
                "ARG a b=1 c=",
                Command::Arg(vec![
                    ("a".to_owned(), None),
                    ("b".to_owned(), Some("1".to_owned())),
                    ("c".to_owned(), Some(String::new())),
                ]),
            ),
            (
                "EXPOSE 80 443/udp 22",
                Command::Expose(strings(&["22", "443/udp", "80"])),
            ),
            (
                "VOLUME [\"/a\", \" /b\"]",
                Command::Volume(strings(&["/a", "/b"])),
            ),
            ("VOLUME /a /b", Command::Volume(strings(&["/a", "/b"]))),
            ("USER  a b", Command::User("a b".to_owned())),
            (
                "FROM --platform=linux/amd64 scratch AS Base",
                Command::From(From {
                    image: "scratch".to_owned(),
                    stage: Some("base".to_owned()),
                    platform: Some("linux/amd64".to_owned()),
                }),
            ),
            (
                "ONBUILD   add . /app",
                Command::Onbuild("add . /app".to_owned()),
            ),
            ("HEALTHCHECK NONE", Command::Healthcheck(Healthcheck::None)),
            (
                "HEALTHCHECK --interval=1m30s --timeout=1.5s --retries=3 CMD curl  -f x",
                Command::Healthcheck(Healthcheck::Check {
                    command: shell("curl  -f x"),
                    interval: 90_000_000_000,
                    timeout: 1_500_000_000,
                    start_period: 0,
                    start_interval: 0,
                    retries: 3,
                }),
            ),
        ];
        for (text, command) in cases {
            assert_eq!(commands(text), [command], "{text}");
        }
    }

    #[test]
    fn flags_sources_and_here_documents_are_told_apart() {
        let flag = |name: &str, value: Option<&str>| Flag {
            name: name.to_owned(),
            value: value.map(str::to_owned),
        };
        let text = "COPY --chown=1:2 --link a b <<EOF <<-'END' /dir/\n$x\nEOF\n\t$y\n\tEND\nUSER x";
        let expected = Transfer {
            flags: vec![flag("chown", Some("1:2")), flag("link", None)],
            sources: strings(&["a", "b"]),
            documents: vec![
                HereDocument {
                    name: "EOF".to_owned(),
                    content: "$x\n".to_owned(),
                    expand: true,
                },
                HereDocument {
                    name: "END".to_owned(),
                    content: "$y\n".to_owned(),
                    expand: false,
                },
            ],
            destination: "/dir/".to_owned(),
        };
        assert_eq!(
            commands(text),
            [Command::Copy(expected), Command::User("x".to_owned())]
        );
        assert_eq!(
            commands("ADD [\"a b\", \"/\"]"),
            [Command::Add(Transfer {
                sources: strings(&["a b"]),
                destination: "/".to_owned(),
                ..Transfer::default()
            })]
        );
    }

    #[test]
    fn here_documents_of_run_are_for_the_shell_or_a_program_of_their_own() {
        let shell = |text: &str| RunLine::Shell(text.to_owned());
        let cases = [
            ("RUN a  && b", shell("a  && b")),
            (
                "RUN [\"a\", \"b c\"]",
                RunLine::Exec(strings(&["a", "b c"])),
            ),
            ("RUN <<EOF\na $b\n\tc\nEOF\n", shell("a $b\n\tc\n")),
            ("RUN <<-EOF\n\ta\n\tEOF\n", shell("a\n")),
            (
                "RUN <<'EOF'\n#!/bin/x\na\nEOF\n",
                RunLine::Script {
                    name: "EOF".to_owned(),
                    content: "#!/bin/x\na\n".to_owned(),
                },
            ),
            (
                "RUN cat <<A - <<-B >f\n1\nA\n\t2\nB\n",
                shell("cat <<A - <<-B >f\n1\nA\n\t2\nB"),
            ),
        ];
        for (text, line) in cases {
            let flags = Vec::new();
            assert_eq!(
                commands(text),
                [Command::Run(Run { flags, line })],
                "{text}"
            );
        }
        let flags = vec![Flag {
            name: "network".to_owned(),
            value: Some("none".to_owned()),
        }];
        let line = shell("a --b");
        assert_eq!(
            commands("RUN --network=none a --b"),
            [Command::Run(Run { flags, line })]
        );
    }

    #[test]
    fn the_lines_of_an_instruction_are_kept_as_they_are() {
        let text = "FROM x\n# before\nRUN a \\\n# within\n\n  b\nCOPY <<E /\n1\nE\nUSER u";
        let raw: Vec<String> = parse(text)
            .unwrap()
            .instructions
            .into_iter()
            .map(|instruction| instruction.raw)
            .collect();
        assert_eq!(
            raw,
            [
                "FROM x\n",
                "RUN a \\\n# within\n\n  b\n",
                "COPY <<E /\n1\nE\n",
                "USER u"
            ]
        );
    }

    #[test]
    fn what_docker_refuses_is_refused_with_its_line() {
        let cases = [
            ("", 1, "there are no instructions"),
            ("# only\n", 1, "there are no instructions"),
            ("\nBREW coffee", 2, "unknown instruction: BREW"),
            (
                "CMD [\"a\", 1]",
                1,
                "a JSON array can have only strings in it",
            ),
            ("FROM a b", 1, "FROM requires either one or three arguments"),
            (
                "COPY a",
                1,
                "COPY requires at least two arguments: sources and a destination",
            ),
            ("COPY <<EOF /a\nx\n", 1, "the here-document EOF has no end"),
            ("RUN --fast a", 1, "unknown flag --fast of RUN"),
            (
                "# escape=x\nCMD a",
                1,
                "the escape character is \"x\", it can be \\ or `",
            ),
            (
                "# escape=`\n# escape=`\nCMD a",
                2,
                "there are two parser directives escape",
            ),
            ("ENV a", 1, "ENV must have two arguments"),
            (
                "ENV a=1 b",
                1,
                "there is no = in \"b\", which must be name=value",
            ),
            ("ONBUILD FROM x", 1, "FROM cannot be an ONBUILD trigger"),
            (
                "SHELL /bin/sh",
                1,
                "SHELL requires the arguments to be in JSON form",
            ),
            (
                "HEALTHCHECK --interval=1us CMD x",
                1,
                "1us is less than 1ms",
            ),
            (
                "HEALTHCHECK --interval=x CMD x",
                1,
                "\"x\" is not a duration (such as 30s or 1m30s)",
            ),
        ];
        for (text, line, problem) in cases {
            assert_eq!(
                parse(text).unwrap_err(),
                SyntaxError {
                    line,
                    problem: problem.to_owned()
                },
                "{text}"
            );
        }
    }
}
