//! Recipes that lie in a source tree, and built-in ones against the real repositories.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something unexpected is"
)]

use std::{collections::BTreeMap, path::Path};

use reprove::{
    progress::Silent,
    recipe::{self, Build, Found, Origin, Recipe, TreeTrust},
    source::{Request, Source, TreeEntryKind},
};

use crate::git::Repository;

const RECIPE: &str = "schema = 1\nname = \"own\"\n[build]\nkind = \"git-layout\"\nlayout = \".\"\n";

fn checkout(location: &Path, revision: &str) -> Source {
    let request = Request {
        location: location.to_str().unwrap().to_owned(),
        revision: revision.to_owned(),
        mirrors: Vec::new(),
    };
    Source::checkout(&request, Path::new("/nonexistent"), &Silent).unwrap()
}

#[test]
fn the_source_trees_own_recipe_is_followed_only_when_trusted() {
    let repository = Repository::new();
    repository.commit("none");
    let without = checkout(repository.path(), "HEAD");
    assert_eq!(recipe::in_tree(&without, TreeTrust::Trusted).unwrap(), None);
    repository.write(recipe::TREE_RECIPE, RECIPE);
    repository.commit("one");
    let source = checkout(repository.path(), "HEAD");
    assert_eq!(
        recipe::in_tree(&source, TreeTrust::Untrusted).unwrap(),
        None
    );
    assert_eq!(
        recipe::in_tree(&source, TreeTrust::Trusted).unwrap(),
        Some(Found {
            recipe: Recipe::parse(RECIPE, "").unwrap(),
            origin: Origin::SourceTree {
                path: ".reprove/recipe.toml".to_owned()
            },
            lock: None,
        })
    );
    repository.write(recipe::TREE_RECIPE, "schema = 7");
    repository.commit("two");
    let source = checkout(repository.path(), "HEAD");
    assert_eq!(
        recipe::in_tree(&source, TreeTrust::Trusted)
            .unwrap_err()
            .to_string(),
        "line 1 of .reprove/recipe.toml: schema 7 is not known, this reprove reads schema 1"
    );
}

#[test]
fn the_built_in_recipes_lead_to_files_that_are_there() {
    let cases = [
        ("alpine", ("alpinelinux", "docker-alpine"), "3.20", ""),
        (
            "busybox-git",
            ("docker-library", "busybox"),
            "musl",
            "/index.json",
        ),
    ];
    for (name, (owner, repository), tag, beside) in cases {
        let Some(path) = crate::support::test_source(owner, repository) else {
            continue;
        };
        let recipe = recipe::named(name).unwrap().recipe;
        for platform in recipe.platforms() {
            let resolved = recipe
                .for_platform(platform, Some(tag), &BTreeMap::new())
                .unwrap();
            let place = match &resolved.build {
                Build::Scratch { dockerfile, .. } | Build::Dockerfile { dockerfile, .. } => {
                    dockerfile
                }
                Build::Steps(_) => panic!("{} has no place in the tree", resolved.recipe),
                Build::GitLayout { layout, .. } => layout,
            };
            let revision = resolved.revision.unwrap().revision;
            let source = checkout(&path, &revision);
            let found = source.find(format!("{place}{beside}")).unwrap();
            // The musl images are not made for this one.
            let expected =
                if (name, platform.to_string().as_str()) == ("busybox-git", "linux/arm/v5") {
                    None
                } else {
                    Some(TreeEntryKind::File)
                };
            assert_eq!(
                found.map(|entry| entry.kind),
                expected,
                "{name} {platform}: {revision} {place}"
            );
        }
    }
}
