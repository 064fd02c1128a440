//! What a build that runs commands is given beside the source.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{
    Conditions,
    kept::Stages,
    replay::Recording,
    sandbox::{Limits, Runtime},
};
use crate::{
    digest::Digest,
    image::Access,
    recipe::{Value, lockfile::Lockfile},
    store::Store,
};

/// What a build that runs commands is given beside the source.
#[derive(Clone, Copy)]
pub struct Outside<'a> {
    /// The pins, all of whose bytes are in the store.
    pub lock: &'a Lockfile,
    /// The packages, by digest, that a signature was seen to cover.
    pub signed: &'a BTreeSet<Digest>,
    /// The recipe's values, which commands see as variables.
    pub values: &'a BTreeMap<String, Value>,
    /// How base images are reached.
    pub access: &'a Access,
    /// Has the pinned bytes, and keeps what is built.
    pub store: &'a Store,
    /// What was built before.
    pub stages: &'a Stages,
    /// Runs the commands, where the conditions name no other.
    pub runtime: &'a Runtime,
    /// An empty folder to work in.
    pub scratch: &'a Path,
    /// What commands see of the machine.
    pub conditions: &'a Conditions,
    /// What commands may use up.
    pub limits: Limits,
    /// Asks the outside what commands request, and writes it down; `None` where the lock answers.
    pub recording: Option<&'a Recording>,
}

impl<'a> Outside<'a> {
    /// Returns what runs the commands.
    pub(super) const fn in_force(&self) -> &'a Runtime {
        match &self.conditions.runtime {
            Some(runtime) => runtime,
            None => self.runtime,
        }
    }
}
