//! The stations use each other one way only, and the outside only where agreed.
//!
//! Reads the sources: comments, texts and tests are left out, the rest is cut
//! into words. What is looked for is named by a crate, a module of `std` or a macro.

use std::{collections::BTreeSet, fs, path::Path};

/// The stations, and those that each may use. Plain values may be used by all.
const USES: &[(&str, &[&str])] = &[
    ("digest", &[]),
    ("pair", &[]),
    ("progress", &[]),
    ("facts", &["dialect", "image"]),
    ("store", &[]),
    ("image", &["progress", "store"]),
    ("source", &["progress"]),
    ("recipe", &["dialect", "image", "source"]),
    ("material", &["progress", "recipe", "store"]),
    (
        "lock",
        &[
            "image", "material", "progress", "rebuild", "recipe", "store",
        ],
    ),
    ("dialect", &["image"]),
    (
        "rebuild",
        &[
            "dialect", "facts", "image", "progress", "recipe", "source", "store",
        ],
    ),
    ("compare", &["image"]),
    ("inventory", &["image"]),
    ("explain", &["compare", "facts", "image", "inventory"]),
    (
        "verdict",
        // The grades of pins are part of what is judged.
        &["compare", "explain", "facts", "image", "recipe"],
    ),
    (
        "report",
        // The facts that these hold are part of the report.
        &[
            "compare",
            "explain",
            "facts",
            "image",
            "inventory",
            "recipe",
            "source",
            "verdict",
        ],
    ),
    (
        "verify",
        &[
            "compare",
            "dialect",
            "explain",
            "facts",
            "image",
            "inventory",
            "lock",
            "material",
            "progress",
            "rebuild",
            "recipe",
            "report",
            "source",
            "store",
            "verdict",
        ],
    ),
];

/// Values that know nothing of any station.
const VALUES: &[&str] = &["digest", "pair"];

/// What of the outside is kept to some modules: its words, and where they may stand.
const OUTSIDE: &[(&str, &[&[&str]], Modules)] = &[
    ("git2", &[&["git2"]], Modules::Only(&["source"])),
    (
        "the command line's crates",
        &[
            &["clap"],
            &["clap_complete"],
            &["clap_mangen"],
            &["indicatif"],
            &["anyhow"],
            &["ctrlc"],
        ],
        Modules::Only(&["cli"]),
    ),
    (
        "similar",
        &[&["similar", "::"]],
        Modules::Only(&["compare"]),
    ),
    (
        // `env::consts` is known when compiling and stays out of this.
        "the environment",
        &[
            &["env", "::", "var"],
            &["env", "::", "vars"],
            &["env", "::", "var_os"],
            &["env", "::", "vars_os"],
            &["env", "::", "args"],
            &["env", "::", "args_os"],
            &["env", "::", "{"],
            &["env", "::", "*"],
            &["current_dir"],
            &["current_exe"],
            &["home_dir"],
            &["temp_dir"],
        ],
        Modules::Only(&["cli"]),
    ),
    (
        "the clock",
        &[&["Instant"], &["::", "now", "("]],
        Modules::Only(&["cli"]),
    ),
    (
        // The store says when blobs were used, and compares that with a time given to it.
        "the type of its times",
        &[&["SystemTime"]],
        Modules::Only(&["cli", "store"]),
    ),
    (
        "printing",
        &[
            &["print", "!"],
            &["println", "!"],
            &["eprint", "!"],
            &["eprintln", "!"],
            &["dbg", "!"],
            // With something in the brackets it is a process that is told where to write.
            &["stdout", "(", ")"],
            &["stderr", "(", ")"],
            &["anstream"],
        ],
        Modules::Only(&["cli"]),
    ),
    (
        "processes",
        &[&["process", "::"], &["::", "process"]],
        Modules::Only(&["rebuild", "lock", "cli", "main"]),
    ),
    (
        "the file system",
        &[
            &["fs", "::"],
            &["::", "fs"],
            &["tempfile"],
            &["OpenOptions"],
        ],
        Modules::AllBut(&["compare", "explain", "verdict", "report", "inventory"]),
    ),
    (
        "the network",
        &[
            &["TcpStream"],
            &["TcpListener"],
            &["UdpSocket"],
            &["UnixStream"],
            &["UnixListener"],
            &["hyper"],
            &["reqwest"],
            &["oci_client"],
            &["tokio"],
        ],
        Modules::Only(&["image", "source", "material", "attest", "rebuild/replay"]),
    ),
];

/// Names of stations, or of modules within one, such as `rebuild/replay`.
enum Modules {
    Only(&'static [&'static str]),
    AllBut(&'static [&'static str]),
}

impl Modules {
    fn has(&self, file: &str) -> bool {
        let is_in = |module: &&str| {
            file.strip_prefix(module)
                .is_some_and(|rest| rest.starts_with('/') || rest == ".rs")
        };
        match self {
            Self::Only(modules) => modules.iter().any(is_in),
            Self::AllBut(modules) => !modules.iter().any(is_in),
        }
    }
}

#[test]
fn each_station_uses_only_the_ones_before_it() {
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for (file, module, words) in sources() {
        if ["lib", "main", "cli"].contains(&module.as_str()) {
            continue;
        }
        let Some((_, allowed)) = USES.iter().find(|(name, _)| *name == module) else {
            panic!("{file}: the module {module} is in no row of USES");
        };
        for used in stations_used(&words) {
            if used != module && !allowed.contains(&&*used) && !VALUES.contains(&&*used) {
                wrong.push(format!("{file} uses {used}"));
            }
        }
        seen.insert(module);
    }
    assert_eq!(wrong, Vec::<String>::new());
    let rows: BTreeSet<String> = USES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(
        seen, rows,
        "the modules that were read, and the rows of USES"
    );
}

#[test]
fn the_outside_is_met_only_where_agreed() {
    let mut wrong = Vec::new();
    for (file, _, words) in sources() {
        for (what, patterns, modules) in OUTSIDE {
            if !modules.has(&file) && patterns.iter().any(|pattern| holds(&words, pattern)) {
                wrong.push(format!("{file} uses {what}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn only_code_that_is_shipped_is_read() {
    let code = r##"
        use crate::{digest::{Digest, DiffId}, image, store::Store as _}; // crate::verify
        /* git2 /* nested */ git2 */
        const TEXT: &str = "git2 \" git2"; const RAW: &[u8] = br#"git2 " git2"#;
        const QUOTE: char = '"'; fn lifetime<'a>(_: &'a str) { crate::pair::Pair::new('\'', 'x'); }
        #[cfg(test)] mod tests { use git2; fn f() { "}" } }
        #[cfg(test)] use git2::Repository;
        #[cfg(test)] #[test] fn g(git2: [u8; 2]) {}
        fn last() { std::env::var("X") }
    "##;
    let words = shipped(&words(code));
    assert!(!holds(&words, &["git2"]), "{words:?}");
    assert!(holds(&words, &["env", "::", "var"]));
    assert!(holds(&words, &["fn", "last"]));
    assert_eq!(
        stations_used(&words),
        ["digest", "image", "pair", "store"]
            .map(str::to_owned)
            .into()
    );
}

/// Returns each source file: its path, its top-level module and its shipped words.
fn sources() -> Vec<(String, String, Vec<String>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inside = path.strip_prefix(&root).unwrap();
                let first = inside.iter().next().unwrap().to_str().unwrap();
                let module = first.strip_suffix(".rs").unwrap_or(first).to_owned();
                // Modules of tests are declared under cfg(test), which their own file does not say.
                if inside
                    .iter()
                    .any(|part| part == "tests" || part == "tests.rs")
                {
                    continue;
                }
                let text = fs::read_to_string(&path).unwrap();
                files.push((inside.display().to_string(), module, shipped(&words(&text))));
            }
        }
    }
    files.sort();
    assert!(!files.is_empty());
    files
}

fn holds(words: &[String], pattern: &[&str]) -> bool {
    words.windows(pattern.len()).any(|window| window == pattern)
}

/// Returns the first module of every path that begins with `crate::`, nested imports included.
fn stations_used(words: &[String]) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for at in 0..words.len() {
        if words[at] != "crate" || words.get(at + 1).is_none_or(|next| next != "::") {
            continue;
        }
        match words.get(at + 2).map(String::as_str) {
            Some("{") => {
                let mut depth = 0;
                let mut first = true;
                for word in &words[at + 2..] {
                    match word.as_str() {
                        "{" => depth += 1,
                        "}" => depth -= 1,
                        "," if depth == 1 => first = true,
                        name if depth == 1 && first => {
                            used.insert(name.to_owned());
                            first = false;
                        }
                        _ => {}
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
            Some(name) => {
                used.insert(name.to_owned());
            }
            None => {}
        }
    }
    used
}

/// Cuts Rust into identifiers, `::` and single characters; leaves out comments and literals.
fn words(code: &str) -> Vec<String> {
    let characters: Vec<char> = code.chars().collect();
    let at = |index: usize| characters.get(index).copied().unwrap_or('\0');
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut words = Vec::new();
    let mut i = 0;
    while i < characters.len() {
        match characters[i] {
            '/' if at(i + 1) == '/' => {
                while i < characters.len() && at(i) != '\n' {
                    i += 1;
                }
            }
            '/' if at(i + 1) == '*' => {
                let mut depth = 0;
                while i < characters.len() {
                    match (at(i), at(i + 1)) {
                        ('/', '*') => (depth, i) = (depth + 1, i + 2),
                        ('*', '/') => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
            '"' => i = after_text(&characters, i + 1),
            '\'' if at(i + 1) == '\\' => {
                i += 3;
                while i < characters.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            }
            '\'' if at(i + 2) == '\'' => i += 3,
            '\'' => i += 1,
            ':' if at(i + 1) == ':' => {
                words.push("::".to_owned());
                i += 2;
            }
            c if is_word(c) => {
                let start = i;
                while is_word(at(i)) {
                    i += 1;
                }
                let word: String = characters[start..i].iter().collect();
                let raw = ["r", "br", "cr"].contains(&word.as_str());
                let hashes = characters[i..].iter().take_while(|&&c| c == '#').count();
                if raw && at(i + hashes) == '"' {
                    i += hashes + 1;
                    while i < characters.len()
                        && !(at(i) == '"' && (1..=hashes).all(|n| at(i + n) == '#'))
                    {
                        i += 1;
                    }
                    i += hashes + 1;
                } else if ["b", "c"].contains(&word.as_str()) && at(i) == '"' {
                    i = after_text(&characters, i + 1);
                } else {
                    words.push(word);
                }
            }
            c if c.is_whitespace() => i += 1,
            c => {
                words.push(c.to_string());
                i += 1;
            }
        }
    }
    words
}

/// Returns where the text that goes on at `i` has ended.
fn after_text(characters: &[char], mut i: usize) -> usize {
    while i < characters.len() && characters[i] != '"' {
        i += if characters[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

/// Takes out the items under `#[cfg(test)]`.
fn shipped(words: &[String]) -> Vec<String> {
    const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut i = 0;
    while i < words.len() {
        if !words[i..].starts_with(&TEST.map(str::to_owned)) {
            kept.push(words[i].clone());
            i += 1;
            continue;
        }
        i += TEST.len();
        // Up to the `;` or the closing brace of the item; its other attributes
        // and its parameters are in brackets.
        let mut depth = 0;
        while i < words.len() {
            let word = words[i].as_str();
            i += 1;
            match word {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" => depth -= 1,
                "}" => {
                    depth -= 1;
                    if depth == 0 {
                        break;
                    }
                }
                ";" if depth == 0 => break,
                _ => {}
            }
        }
    }
    kept
}
