//! Rebuilds a published container image from its source revision and proves, or
//! refutes, that the two are the same.
//!
//! Data goes one way: [`image`] and [`source`] read, [`recipe`] says how,
//! [`rebuild`] makes, [`compare`] sees every difference, [`explain`] names causes,
//! [`verdict`] judges, [`report`] tells. [`verify`] is that flow as prose.

pub mod compare;
pub mod dialect;
pub mod digest;
pub mod explain;
pub mod facts;
pub mod image;
pub mod inventory;
pub mod lock;
pub mod material;
pub mod pair;
pub mod progress;
pub mod rebuild;
pub mod recipe;
pub mod report;
pub mod source;
pub mod store;
pub mod verdict;
pub mod verify;
