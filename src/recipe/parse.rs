//! Reading a recipe's text.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Error, Recipe, TagRule, Variable, build,
    document::{At, Document, Section, hint},
    template::{Template, is_name},
    toolchain,
};
use crate::{digest::Digest, image::Platform};

/// The version of the format that is read.
const SCHEMA: i64 = 1;

/// Placeholders that every recipe has.
const OF_PLATFORM: [&str; 2] = ["os", "architecture"];

pub(super) fn parse(text: &str, called: &str) -> Result<Recipe, Error> {
    let mut top = Document::parse(text, called, "the recipe")?;
    let schema = top
        .integer("schema")?
        .ok_or_else(|| top.missing("schema"))?;
    if schema.value != SCHEMA {
        return Err(top.invalid(
            schema.line,
            format!(
                "schema {} is not known, this reprove reads schema {SCHEMA}",
                schema.value
            ),
        ));
    }
    let name = top.required_text("name")?;
    if name.value.is_empty()
        || !name
            .value
            .chars()
            .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-')
    {
        return Err(top.invalid(
            name.line,
            format!("{:?} is not a name (a-z, 0-9, -)", name.value),
        ));
    }
    let description = top.text("description")?.map(|found| found.value);
    let images = images(&mut top)?;
    let source = top.text("source")?;
    if let Some(source) = &source
        && !["https://", "http://", "file://"]
            .iter()
            .any(|scheme| source.value.starts_with(scheme))
    {
        return Err(top.invalid(
            source.line,
            format!("{:?} is not a URL (https://…)", source.value),
        ));
    }
    let platforms = platforms(&mut top)?;
    let variables = variables(&mut top, &platforms)?;
    let mut placeholders: BTreeSet<String> = variables.keys().cloned().collect();
    placeholders.extend(
        platforms
            .iter()
            .flat_map(|(_, words)| words.keys().cloned()),
    );
    placeholders.extend(OF_PLATFORM.map(str::to_owned));
    let tags = tags(&mut top, &variables, &placeholders)?;
    let toolchain = toolchain::toolchain(&mut top)?;
    let files = toolchain::files(&mut top)?;
    let build = build::build(&mut top, &placeholders)?;
    top.finish()?;
    Ok(Recipe {
        digest: Digest::of(text.as_bytes()),
        text: text.to_owned(),
        name: name.value,
        description,
        images,
        source: source.map(|found| found.value),
        platforms,
        variables,
        tags,
        toolchain,
        files,
        build,
    })
}

fn images(top: &mut Section<'_>) -> Result<Vec<String>, Error> {
    let mut images = Vec::new();
    for image in top.texts("images")? {
        // A whole name, so that it matches as it is written: registry, path, no tag.
        let (registry, path) = image.value.split_once('/').unwrap_or((&image.value, ""));
        let is_registry = registry.contains(['.', ':']) || registry == "localhost";
        if !is_registry || path.is_empty() || path.contains([':', '@']) {
            return Err(top.invalid(
                image.line,
                format!(
                    "{:?} is not an image repository (registry/path without a tag, such as docker.io/library/alpine)",
                    image.value
                ),
            ));
        }
        images.push(image.value);
    }
    Ok(images)
}

type Words = BTreeMap<String, String>;

fn platforms(top: &mut Section<'_>) -> Result<Vec<(Platform, Words)>, Error> {
    let mut platforms: Vec<(Platform, Words)> = Vec::new();
    let Some(section) = top.section("platforms")? else {
        return Ok(platforms);
    };
    let line = section.line;
    for (key, entry) in section.all() {
        let platform: Platform =
            key.value
                .parse()
                .map_err(|error: crate::image::platform::Error| {
                    top.invalid(key.line, error.to_string())
                })?;
        let mut words = BTreeMap::new();
        for (word, value) in entry.section(&key.value)?.all() {
            check_name(top, &word)?;
            let value = value.text(&word.value)?;
            words.insert(word.value, value.value);
        }
        if let Some((first, expected)) = platforms.first()
            && !words.keys().eq(expected.keys())
        {
            let list = |words: &Words| words.keys().cloned().collect::<Vec<_>>().join(", ");
            return Err(top.invalid(
                key.line,
                format!(
                    "every platform needs the same words: {platform} has {}, {first} has {}",
                    list(&words),
                    list(expected)
                ),
            ));
        }
        platforms.push((platform, words));
    }
    if platforms.is_empty() {
        return Err(top.invalid(
            line,
            "[platforms] is empty: leave it out where any platform will do".to_owned(),
        ));
    }
    Ok(platforms)
}

fn variables(
    top: &mut Section<'_>,
    platforms: &[(Platform, Words)],
) -> Result<BTreeMap<String, Variable>, Error> {
    let mut variables = BTreeMap::new();
    let Some(section) = top.section("variables")? else {
        return Ok(variables);
    };
    for (key, entry) in section.all() {
        check_name(top, &key)?;
        if platforms
            .iter()
            .any(|(_, words)| words.contains_key(&key.value))
        {
            return Err(top.invalid(
                key.line,
                format!("{:?} is a word of [platforms] too", key.value),
            ));
        }
        let variable = match entry.text_or_section(&key.value)? {
            Ok(default) => Variable {
                description: None,
                default: Some(default.value),
            },
            Err(mut section) => {
                let variable = Variable {
                    description: section.text("description")?.map(|found| found.value),
                    default: section.text("default")?.map(|found| found.value),
                };
                section.finish()?;
                variable
            }
        };
        variables.insert(key.value, variable);
    }
    Ok(variables)
}

fn check_name(top: &Section<'_>, name: &At<String>) -> Result<(), Error> {
    if !is_name(&name.value) {
        return Err(top.invalid(
            name.line,
            format!(
                "{:?} is not the name of a placeholder (a-z, 0-9, _)",
                name.value
            ),
        ));
    }
    if OF_PLATFORM.contains(&name.value.as_str()) {
        return Err(top.invalid(
            name.line,
            format!("{:?} always stands for the platform's own", name.value),
        ));
    }
    Ok(())
}

fn tags(
    top: &mut Section<'_>,
    variables: &BTreeMap<String, Variable>,
    placeholders: &BTreeSet<String>,
) -> Result<Vec<TagRule>, Error> {
    let mut rules = Vec::new();
    for mut section in top.sections("tag")? {
        let written = section.required_text("match")?;
        let pattern = Template::parse_pattern(&written.value)
            .map_err(|problem| section.invalid(written.line, problem))?;
        let mut allowed = placeholders.clone();
        for name in pattern.names() {
            if !allowed.insert(name.to_owned()) && !variables.contains_key(name) {
                return Err(section.invalid(
                    written.line,
                    format!("{{{name}}} stands for the platform, or twice in the pattern"),
                ));
            }
        }
        let revision = section
            .text("revision")?
            .map(|found| template(&section, &found, &allowed))
            .transpose()?;
        let mut set = BTreeMap::new();
        if let Some(values) = section.section("set")? {
            for (key, value) in values.all() {
                if !variables.contains_key(&key.value) {
                    let known: Vec<&str> = variables.keys().map(String::as_str).collect();
                    return Err(section.invalid(key.line, unknown("variable", &key.value, &known)));
                }
                let value = value.text(&key.value)?;
                set.insert(key.value, template(&section, &value, &allowed)?);
            }
        }
        if revision.is_none() && set.is_empty() {
            return Err(section.invalid(
                section.line,
                "[[tag]] proposes nothing: give revision or set".to_owned(),
            ));
        }
        section.finish()?;
        rules.push(TagRule {
            written: written.value,
            pattern,
            revision,
            set,
        });
    }
    Ok(rules)
}

/// Reads a template all of whose placeholders can have a value.
pub(super) fn template(
    section: &Section<'_>,
    text: &At<String>,
    placeholders: &BTreeSet<String>,
) -> Result<Template, Error> {
    let template =
        Template::parse(&text.value).map_err(|problem| section.invalid(text.line, problem))?;
    for name in template.names() {
        if !placeholders.contains(name) {
            let known: Vec<&str> = placeholders.iter().map(String::as_str).collect();
            return Err(section.invalid(text.line, unknown("placeholder", name, &known)));
        }
    }
    Ok(template)
}

pub(super) fn unknown(what: &str, written: &str, known: &[&str]) -> String {
    format!(
        "there is no {what} {written:?}, {}",
        hint(written, known.iter().copied())
    )
}
