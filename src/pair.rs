//! The two sides of every comparison.

use std::{panic::resume_unwind, thread};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The same thing on both sides: as published, and as rebuilt.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub struct Pair<T> {
    /// What was published.
    pub published: T,
    /// What the rebuild gave, or the second image of `reprove diff`.
    pub rebuilt: T,
}

impl<T> Pair<T> {
    /// Returns the pair of both.
    pub const fn new(published: T, rebuilt: T) -> Self {
        Self { published, rebuilt }
    }

    /// Returns the pair of references to both.
    pub const fn as_ref(&self) -> Pair<&T> {
        Pair {
            published: &self.published,
            rebuilt: &self.rebuilt,
        }
    }

    /// Returns the pair of what `of` makes of each side.
    pub fn map<U>(self, mut of: impl FnMut(T) -> U) -> Pair<U> {
        Pair {
            published: of(self.published),
            rebuilt: of(self.rebuilt),
        }
    }

    /// Returns the pair of what `of` makes of each side, both at the same time.
    pub fn map_at_once<U>(self, of: impl Fn(T) -> U + Sync) -> Pair<U>
    where
        T: Send,
        U: Send,
    {
        thread::scope(|scope| {
            let rebuilt = scope.spawn(|| of(self.rebuilt));
            let published = of(self.published);
            let rebuilt = rebuilt.join();
            Pair {
                published,
                rebuilt: rebuilt.unwrap_or_else(|panic| resume_unwind(panic)),
            }
        })
    }

    /// Returns the pair with its sides exchanged.
    #[must_use]
    pub fn swapped(self) -> Self {
        Self {
            published: self.rebuilt,
            rebuilt: self.published,
        }
    }
}

impl<T: PartialEq> Pair<T> {
    /// Returns whether both sides are the same.
    pub fn is_equal(&self) -> bool {
        self.published == self.rebuilt
    }
}
