//! Report: one value that says all that was found, and how it is told.
//!
//! The same inputs give the same bytes, but for what stands under `run`.

mod coverage;
mod entries;
mod hex;
pub mod html;
pub mod markdown;
pub mod model;
mod outline;
pub mod sarif;
mod saved;
mod steps;
pub mod text;

pub(crate) use coverage::follow_links;
pub use coverage::{Coverage, Fate, Folder, Shares, State, account, fates};
pub(crate) use entries::Known;
pub use entries::{Entries, EntryRecord, EntryType};
pub use model::Report;
pub use saved::{Error, read};

/// Returns the JSON schema of a report.
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Report)
}

/// Returns the JSON schema of one of [`Entries::records`].
pub fn entry_schema() -> schemars::Schema {
    schemars::schema_for!(EntryRecord)
}
