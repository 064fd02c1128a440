//! What a revision names, and whether a branch or tag leads to it.

use std::collections::{BinaryHeap, HashSet};

use git2::{ErrorCode, ObjectType, Oid};

use super::{
    Error, Reachability, Resolution,
    objects::{Objects, References},
};
use crate::progress::Progress;

/// The fewest digits that an abbreviated commit may have; git itself writes no fewer.
const FEWEST_DIGITS: usize = 7;

/// What a revision turned out to be, by its words and the references alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    /// A reference, and the object it leads to.
    Reference {
        /// What kind of reference.
        resolution: Resolution,
        /// The object, tags peeled as far as they are known.
        id: Oid,
    },
    /// A full object id.
    Full(Oid),
    /// The beginning of an object id, in lower case.
    Abbreviated(String),
}

/// Reads `revision` against the branches and tags of `repository`.
pub(super) fn name(
    revision: &str,
    references: &References,
    repository: &str,
) -> Result<Named, Error> {
    let is_hex = !revision.is_empty() && revision.bytes().all(|byte| byte.is_ascii_hexdigit());
    let as_commit = revision.to_ascii_lowercase();
    // Forty digits are always an id, as git has it: a branch of that name is an attack.
    if is_hex && revision.len() == 40 {
        return Ok(Named::Full(
            Oid::from_str(&as_commit).expect("forty hex digits are an id"),
        ));
    }
    if revision == "HEAD" {
        return match &references.head {
            Some(head) => Ok(Named::Reference {
                resolution: Resolution::Head {
                    branch: head
                        .branch
                        .as_deref()
                        .map(|name| name.strip_prefix("refs/heads/").unwrap_or(name).to_owned()),
                },
                id: head.id,
            }),
            None => Err(no_such(revision, references, repository)),
        };
    }
    let mut found = Vec::new();
    for (full_name, target) in &references.by_name {
        let named = full_name == revision
            || full_name.strip_prefix("refs/") == Some(revision)
            || full_name.strip_prefix("refs/heads/") == Some(revision)
            || full_name.strip_prefix("refs/tags/") == Some(revision)
            || full_name.strip_prefix("refs/remotes/") == Some(revision);
        if named {
            found.push((full_name, target));
        }
    }
    match found[..] {
        [(full_name, target)] => Ok(Named::Reference {
            resolution: resolution(full_name),
            id: target.end(),
        }),
        [] if is_hex && revision.len() < FEWEST_DIGITS => Err(Error::ShortRevision {
            revision: revision.to_owned(),
        }),
        [] if is_hex && revision.len() < 40 => Ok(Named::Abbreviated(as_commit)),
        [] => Err(no_such(revision, references, repository)),
        _ => Err(Error::AmbiguousRevision {
            revision: revision.to_owned(),
            repository: repository.to_owned(),
            candidates: found
                .into_iter()
                .map(|(full_name, target)| format!("{full_name} ({})", target.end()))
                .collect(),
        }),
    }
}

fn resolution(full_name: &str) -> Resolution {
    if let Some(name) = full_name.strip_prefix("refs/tags/") {
        return Resolution::Tag {
            name: name.to_owned(),
        };
    }
    let name = full_name
        .strip_prefix("refs/heads/")
        .or_else(|| full_name.strip_prefix("refs/remotes/"))
        .unwrap_or(full_name);
    Resolution::Branch {
        name: name.to_owned(),
    }
}

/// Says that there is no such revision, and what comes near.
pub(super) fn no_such(revision: &str, references: &References, repository: &str) -> Error {
    /// How alike two names must be for one to be a slip of the other.
    const ALIKE: f64 = 0.75;
    let short = |name: &str| {
        ["refs/heads/", "refs/tags/", "refs/remotes/"]
            .iter()
            .find_map(|prefix| name.strip_prefix(prefix))
            .unwrap_or(name)
            .to_owned()
    };
    let mut similar: Vec<(f64, String)> = references
        .by_name
        .keys()
        .map(|name| short(name))
        .map(|name| (strsim::jaro_winkler(&name, revision), name))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .collect();
    similar.sort_by(|one, other| other.0.total_cmp(&one.0).then_with(|| one.1.cmp(&other.1)));
    similar.dedup_by(|one, other| one.1 == other.1);
    Error::NoSuchRevision {
        revision: revision.to_owned(),
        repository: repository.to_owned(),
        similar: similar.into_iter().take(3).map(|(_, name)| name).collect(),
    }
}

/// Returns the commit that `id` leads to once every tag is peeled.
pub(super) fn peel(objects: &Objects, id: Oid) -> Result<Oid, Error> {
    let repository = objects.lock();
    let object = repository
        .find_object(id, None)
        .map_err(|source| objects.failed(format!("object {id}"), source))?;
    let kind = object.kind().map_or("thing", |kind| kind.str());
    match object.peel(ObjectType::Commit) {
        Ok(commit) => Ok(commit.id()),
        Err(error) if error.code() == ErrorCode::NotFound => {
            Err(objects.failed(format!("the object behind {id}"), error))
        }
        Err(_) => Err(Error::NotACommit {
            id: id.to_string(),
            kind: kind.to_owned(),
        }),
    }
}

/// Returns the commit whose id begins with `digits`.
pub(super) fn complete(
    objects: &Objects,
    digits: &str,
    references: &References,
) -> Result<Oid, Error> {
    let found = objects
        .lock()
        .find_object_by_prefix(digits, None)
        .map(|object| object.id());
    match found {
        Ok(id) => peel(objects, id),
        Err(error) if error.code() == ErrorCode::NotFound => {
            Err(no_such(digits, references, objects.name()))
        }
        Err(error) if error.code() == ErrorCode::Ambiguous => Err(Error::AmbiguousRevision {
            revision: digits.to_owned(),
            repository: objects.name().to_owned(),
            candidates: vec!["several objects begin so, give more digits".to_owned()],
        }),
        Err(source) => Err(objects.failed(format!("object {digits}"), source)),
    }
}

/// Returns the names of `references` in the order in which they are asked.
///
/// The branch of `HEAD` first, then branches, tags, remote-tracking branches,
/// each by name: so the answer does not depend on the order of arrival.
fn in_order(references: &References) -> Vec<(&String, Oid)> {
    let head = references
        .head
        .as_ref()
        .and_then(|head| head.branch.as_ref());
    let mut ordered: Vec<(&String, Oid)> = references
        .by_name
        .iter()
        .map(|(name, target)| (name, target.end()))
        .collect();
    ordered.sort_by_key(|(name, _)| {
        let group = if Some(*name) == head {
            0
        } else if name.starts_with("refs/heads/") {
            1
        } else if name.starts_with("refs/tags/") {
            2
        } else {
            3
        };
        (group, *name)
    });
    ordered
}

/// Returns the first reference whose own commit is `commit`.
pub(super) fn tip(commit: Oid, references: &References) -> Option<&str> {
    in_order(references)
        .into_iter()
        .find(|(_, id)| *id == commit)
        .map(|(name, _)| name.as_str())
}

/// Finds a branch or tag that leads to `commit`, through all of history if need be.
pub(super) fn reachability(
    objects: &Objects,
    commit: Oid,
    references: &References,
    progress: &dyn Progress,
) -> Result<Reachability, Error> {
    if let Some(reference) = tip(commit, references) {
        return Ok(Reachability::From {
            reference: reference.to_owned(),
        });
    }
    // Some twenty microseconds a commit: seconds, in a large repository.
    let _task = progress.begin(
        &format!("looking for a branch or tag that leads to {commit}"),
        None,
    );
    let repository = objects.lock();
    let mut seen = HashSet::new();
    let mut cut_off = false;
    for (reference, id) in in_order(references) {
        // Newest first finds a recent commit early. The order of times is no
        // reason to stop early: clocks are wrong in real histories.
        let mut pending = BinaryHeap::new();
        let Ok(object) = repository.find_object(id, None) else {
            cut_off = true;
            continue;
        };
        match object.peel_to_commit() {
            Ok(tip) => pending.push((tip.time().seconds(), tip.id())),
            // A tag of a tree or blob leads to no commit.
            Err(_) => continue,
        }
        while let Some((_, id)) = pending.pop() {
            if id == commit {
                return Ok(Reachability::From {
                    reference: reference.clone(),
                });
            }
            if !seen.insert(id) {
                continue;
            }
            let read = match repository.find_commit(id) {
                Ok(read) => read,
                Err(source) => return Err(objects.failed(format!("commit {id}"), source)),
            };
            for parent in read.parent_ids() {
                if seen.contains(&parent) && parent != commit {
                    continue;
                }
                match repository.find_commit(parent) {
                    Ok(parent) => pending.push((parent.time().seconds(), parent.id())),
                    Err(error) if error.code() == ErrorCode::NotFound => cut_off = true,
                    Err(source) => return Err(objects.failed(format!("commit {parent}"), source)),
                }
            }
        }
    }
    Ok(if cut_off {
        Reachability::HistoryCutOff
    } else {
        Reachability::Unreachable
    })
}
