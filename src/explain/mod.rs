//! Explanation: a difference becomes a finding, with its likely cause or none.
//!
//! Pure. A cause accepts nothing and hides nothing: it says why, with the
//! evidence it saw. A path alone never explains; a recogniser looks at the
//! values, and at whether anything else differs at the same place.

mod config;
mod image;
mod layer;
mod risk;

use std::{borrow::Cow, collections::BTreeMap};

pub use risk::Risk;

use crate::{
    compare::{Attribute, Difference, Location},
    image::EntryPath,
};

/// A known reason why two builds of one source differ.
#[derive(Debug)]
pub struct Cause {
    /// The cause's name in reports and policies; never renamed.
    pub id: &'static str,
    /// What happened, in a few words.
    pub title: &'static str,
    /// What would have avoided it.
    pub advice: &'static str,
    /// Returns the evidence if this is why, `None` if it is not.
    recognise: fn(&Difference, &Context<'_>) -> Option<Cow<'static, str>>,
}

/// A difference with its likely cause.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What was seen.
    pub difference: Difference,
    /// Why it differs; `None` where nothing known explains it.
    pub explanation: Option<Explanation>,
    /// What makes it worth a look whatever its cause; the worst first.
    pub risks: Vec<Risk>,
}

/// Why a difference is there.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The cause.
    pub cause: &'static Cause,
    /// What was seen that says so.
    pub evidence: Cow<'static, str>,
}

/// What recognisers may look at besides the difference itself.
pub(crate) struct Context<'a> {
    /// Paths whose modification time the rebuild had to choose itself.
    chosen_times: &'a dyn Fn(&EntryPath) -> bool,
    /// How many differences other than times each path has.
    beyond_times: BTreeMap<&'a EntryPath, usize>,
}

/// Returns all causes, by family; the first one that recognises a difference explains it.
pub fn causes() -> impl Iterator<Item = &'static Cause> {
    [config::CAUSES, image::CAUSES, layer::CAUSES]
        .into_iter()
        .flatten()
}

/// Returns the finding of every difference, in the same order.
///
/// `chosen_times` says of which paths the rebuild had to choose the modification
/// time itself, since neither the source nor its archives record one.
pub fn findings(
    differences: Vec<Difference>,
    chosen_times: &dyn Fn(&EntryPath) -> bool,
) -> Vec<Finding> {
    let explained: Vec<(Option<Explanation>, Vec<Risk>)> = {
        let mut beyond_times = BTreeMap::new();
        for difference in &differences {
            if let Location::Entry { path, .. } = &difference.location
                && !matches!(
                    difference.attribute,
                    Attribute::Mtime | Attribute::Atime | Attribute::Ctime
                )
            {
                *beyond_times.entry(path).or_default() += 1;
            }
        }
        let context = Context {
            chosen_times,
            beyond_times,
        };
        differences
            .iter()
            .map(|difference| (explanation(difference, &context), risk::risks(difference)))
            .collect()
    };
    differences
        .into_iter()
        .zip(explained)
        .map(|(difference, (explanation, risks))| Finding {
            difference,
            explanation,
            risks,
        })
        .collect()
}

fn explanation(difference: &Difference, context: &Context<'_>) -> Option<Explanation> {
    causes().find_map(|cause| {
        let evidence = (cause.recognise)(difference, context)?;
        Some(Explanation { cause, evidence })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compare::{Bearing, Value, Visibility},
        image::Timestamp,
        pair::Pair,
    };

    fn at(path: &str, attribute: Attribute) -> Difference {
        let layer = Pair::new(Some(0), Some(0));
        let path = EntryPath::of(path.as_bytes());
        let bearing = if attribute == Attribute::Mtime {
            Bearing::Times
        } else {
            Bearing::Files
        };
        let time = |seconds| Some(Value::Time(Timestamp::from_seconds(seconds)));
        Difference {
            location: Location::Entry {
                layer,
                path,
                visibility: Visibility::Visible,
            },
            attribute,
            values: Pair::new(time(1), time(2)),
            bearing,
        }
    }

    fn ids(differences: Vec<Difference>) -> Vec<Option<&'static str>> {
        findings(differences, &|path| path.as_bytes() == b"copied")
            .iter()
            .map(|finding| {
                finding
                    .explanation
                    .as_ref()
                    .map(|explanation| explanation.cause.id)
            })
            .collect()
    }

    #[test]
    fn a_time_is_explained_only_where_nothing_else_differs() {
        assert_eq!(ids(vec![at("a", Attribute::Mtime)]), [Some("tar.mtime")]);
        assert_eq!(
            ids(vec![at("a", Attribute::Content), at("a", Attribute::Mtime)]),
            [None, None]
        );
        assert_eq!(
            ids(vec![at("copied", Attribute::Mtime)]),
            [Some("git.checkout-time")]
        );
    }

    #[test]
    fn every_cause_has_a_name_of_its_own() {
        let mut ids: Vec<&str> = causes().map(|cause| cause.id).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }
}
