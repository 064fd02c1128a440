//! What the tests of the families share.

use super::{File, examine};
use crate::{
    compare::content::{self, Limits},
    image::EntryPath,
    inventory::Inventory,
    pair::Pair,
};

/// Returns the cause that explains all of a file's difference, if one does.
pub(super) fn examined(path: &str, published: &[u8], rebuilt: &[u8]) -> Option<&'static str> {
    let none = Inventory::default();
    let bytes = Pair::new(published, rebuilt);
    let content = content::content(path.as_bytes(), bytes, &mut Limits::default());
    let examined = examine(&File {
        path: &EntryPath::of(path.as_bytes()),
        bytes,
        content: &content,
        inventories: Pair::new(&none, &none),
    });
    examined.explanation.map(|explanation| explanation.cause.id)
}
