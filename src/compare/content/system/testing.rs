//! What the tests of these formats share.

use super::super::{Change, Limits, content};
use crate::pair::Pair;

/// Returns the format, and each value that differs as `place: published | rebuilt`.
pub(super) fn values(path: &str, published: &[u8], rebuilt: &[u8]) -> (String, Vec<String>) {
    let sides = Pair::new(published, rebuilt);
    let content = content(path.as_bytes(), sides, &mut Limits::default());
    let shown = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let values = content.parts.into_iter().map(|part| match part.change {
        Change::Value { published, rebuilt } => {
            format!("{}: {} | {}", part.place, shown(published), shown(rebuilt))
        }
        other => format!("{}: {other:?}", part.place),
    });
    (content.format, values.collect())
}
