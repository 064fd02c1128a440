//! What a recipe calls for from outside: packages to build in, and files.

use super::{
    Error,
    document::Section,
    lockfile::{PoolFile, Suite, file_name, parsed, places},
};

/// The packages that a build is run in; a lock says which versions, and their hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    /// Where packages are looked for; the first counts where several have the same version.
    pub suites: Vec<Suite>,
    /// The parts of each suite, such as `main`.
    pub components: Vec<String>,
    /// The names of the packages; what they depend on comes with them.
    pub packages: Vec<String>,
    /// Whether what they recommend comes too.
    pub recommends: Recommends,
    /// Whether the distribution's essential packages come too.
    pub essential: Essential,
}

/// Whether packages that others recommend are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recommends {
    /// They are, as apt does it where nothing else is said.
    Taken,
    /// They are left out.
    LeftOut,
}

/// Whether essential packages are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Essential {
    /// They are: the result is a system that programs can run in.
    Taken,
    /// Only as far as others depend on them.
    LeftOut,
}

/// A file from outside that is no package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutsideFile {
    /// What it is called.
    pub name: String,
    /// Where it is, the first to be asked first.
    pub urls: Vec<String>,
    /// Where a distribution keeps the same bytes.
    pub pool: Option<PoolFile>,
}

/// Reads `[toolchain]`.
pub(super) fn toolchain(top: &mut Section<'_>) -> Result<Option<Toolchain>, Error> {
    let Some(mut section) = top.section("toolchain")? else {
        return Ok(None);
    };
    let mut suites = Vec::new();
    for suite in section.texts("suites")? {
        suites.push(parsed(&section, &suite)?);
    }
    let components = words(&mut section, "components", is_component)?;
    let packages = words(&mut section, "packages", is_package)?;
    if suites.is_empty() {
        return Err(section.missing("suites"));
    }
    if packages.is_empty() {
        return Err(section.missing("packages"));
    }
    let toolchain = Toolchain {
        suites,
        components: if components.is_empty() {
            vec!["main".to_owned()]
        } else {
            components
        },
        packages,
        recommends: match section.boolean("recommends")? {
            Some(true) | None => Recommends::Taken,
            Some(false) => Recommends::LeftOut,
        },
        essential: match section.boolean("essential")? {
            Some(true) | None => Essential::Taken,
            Some(false) => Essential::LeftOut,
        },
    };
    section.finish()?;
    Ok(Some(toolchain))
}

fn words(
    section: &mut Section<'_>,
    key: &'static str,
    is_valid: fn(&str) -> bool,
) -> Result<Vec<String>, Error> {
    let mut words = Vec::new();
    for word in section.texts(key)? {
        if !is_valid(&word.value) {
            let problem = format!("{:?} can be none of {key}", word.value);
            return Err(section.invalid(word.line, problem));
        }
        words.push(word.value);
    }
    Ok(words)
}

/// Source: Debian Policy, 5.6.1; two letters at least, so that no option is ever meant.
fn is_package(text: &str) -> bool {
    text.len() >= 2
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text
            .bytes()
            // A trailing plus or minus means something else to apt, which is told names only.
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.'))
        && !text.ends_with('-')
}

fn is_component(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// Reads each `[[file]]`.
pub(super) fn files(top: &mut Section<'_>) -> Result<Vec<OutsideFile>, Error> {
    let mut files: Vec<OutsideFile> = Vec::new();
    for mut section in top.sections("file")? {
        let name = file_name(&mut section)?;
        if files.iter().any(|file| file.name == name.value) {
            let problem = format!("two files are called {:?}", name.value);
            return Err(section.invalid(name.line, problem));
        }
        let (urls, pool) = places(&mut section)?;
        section.finish()?;
        files.push(OutsideFile {
            name: name.value,
            urls,
            pool,
        });
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::super::Recipe;
    use super::*;

    const TEXT: &str = r#"schema = 1
name = "thing"

[toolchain]
suites = ["debian/trixie", "debian-security/trixie-security"]
packages = ["gcc", "libstdc++6"]
recommends = false

[[file]]
name = "thing.tar.gz"
urls = ["https://example.org/thing.tar.gz"]
archive = "debian"
path = "pool/main/t/thing.tar.gz"

[build]
kind = "scratch"
dockerfile = "Dockerfile"
"#;

    #[test]
    fn what_is_called_for_from_outside_is_read() {
        let recipe = Recipe::parse(TEXT, "it").unwrap();
        let suite = |text: &str| text.parse::<Suite>().unwrap();
        assert_eq!(
            recipe.toolchain(),
            Some(&Toolchain {
                suites: vec![
                    suite("debian/trixie"),
                    suite("debian-security/trixie-security")
                ],
                components: vec!["main".to_owned()],
                packages: vec!["gcc".to_owned(), "libstdc++6".to_owned()],
                recommends: Recommends::LeftOut,
                essential: Essential::Taken,
            })
        );
        assert_eq!(
            recipe.files(),
            [OutsideFile {
                name: "thing.tar.gz".to_owned(),
                urls: vec!["https://example.org/thing.tar.gz".to_owned()],
                pool: Some(PoolFile {
                    archive: super::super::lockfile::Archive::Debian,
                    path: "pool/main/t/thing.tar.gz".to_owned()
                }),
            }]
        );
    }

    #[test]
    fn a_file_is_called_by_a_path_that_leads_nowhere_else() {
        for name in ["/etc/passwd", "../out", "a/../../b", "a//b", ".", ""] {
            let text = TEXT.replace("\"thing.tar.gz\"\nurls", &format!("\"{name}\"\nurls"));
            let error = Recipe::parse(&text, "it").unwrap_err().to_string();
            assert!(
                error.ends_with("is not a relative path without . and .."),
                "{error}"
            );
        }
    }

    #[test]
    fn nothing_that_apt_would_take_for_something_else_is_the_name_of_a_package() {
        let cases = [
            (
                "\"gcc\"",
                "\"-y\"",
                "line 6 of it: \"-y\" can be none of packages",
            ),
            (
                "\"gcc\"",
                "\"gcc-\"",
                "line 6 of it: \"gcc-\" can be none of packages",
            ),
            (
                "\"gcc\"",
                "\"gcc=1\"",
                "line 6 of it: \"gcc=1\" can be none of packages",
            ),
            (
                "\"gcc\"",
                "\"?essential\"",
                "line 6 of it: \"?essential\" can be none of packages",
            ),
            (
                "recommends = false",
                "recommends = \"no\"",
                "line 7 of it: \"recommends\" of [toolchain] should be true or false but is of type string",
            ),
            (
                "recommends = false",
                "recommend = false",
                "line 7 of it: [toolchain] has no key \"recommend\", did you mean \"recommends\"?",
            ),
        ];
        for (written, instead, expected) in cases {
            let error = Recipe::parse(&TEXT.replacen(written, instead, 1), "it").unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }
}
