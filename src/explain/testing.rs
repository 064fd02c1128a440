//! What the tests of the families share.

use super::{Examined, File, examine};
use crate::{
    compare::content::{self, Limits},
    image::EntryPath,
    inventory::Inventory,
    pair::Pair,
};

/// A case: its name, the path, the bytes of both sides, and what is told.
pub(super) type Row<'a> = (&'a str, &'a str, Vec<u8>, Vec<u8>, &'a str);

/// Looks into a file of images without packages.
pub(super) fn examination(path: &str, published: &[u8], rebuilt: &[u8]) -> Examined {
    let none = Inventory::default();
    examination_with(Pair::new(&none, &none), path, published, rebuilt)
}

fn examination_with(
    inventories: Pair<&Inventory>,
    path: &str,
    published: &[u8],
    rebuilt: &[u8],
) -> Examined {
    let bytes = Pair::new(published, rebuilt);
    let content = content::content(path.as_bytes(), bytes, &mut Limits::default());
    examine(&File {
        path: &EntryPath::of(path.as_bytes()),
        bytes,
        content: &content,
        inventories,
    })
}

/// Returns the cause that explains all of a file's difference, if one does.
pub(super) fn examined(path: &str, published: &[u8], rebuilt: &[u8]) -> Option<&'static str> {
    let examined = examination(path, published, rebuilt);
    examined.explanation.map(|explanation| explanation.cause.id)
}

/// Returns the cause that explains all of a file's difference; else what was tried and
/// refused, as `cause: reason`.
pub(super) fn told(path: &str, published: &[u8], rebuilt: &[u8]) -> String {
    let none = Inventory::default();
    told_with(Pair::new(&none, &none), path, published, rebuilt)
}

/// As [`told`], with the packages of both sides.
pub(super) fn told_with(
    inventories: Pair<&Inventory>,
    path: &str,
    published: &[u8],
    rebuilt: &[u8],
) -> String {
    let examined = examination_with(inventories, path, published, rebuilt);
    if let Some(explanation) = examined.explanation {
        assert!(!explanation.evidence.is_empty());
        return explanation.cause.id.to_owned();
    }
    let tried = examined.tried.iter();
    let tried: Vec<String> = tried
        .map(|tried| format!("{}: {}", tried.cause, tried.refused))
        .collect();
    tried.join("; ")
}
