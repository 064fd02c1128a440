//! Coverage: every entry and byte of the published image is accounted for.

use std::{collections::BTreeMap, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    compare::Location,
    explain::Finding,
    image::{EntryPath, Layer},
    verdict::Acceptance,
};

/// How much of the published image is the same, and what became of the rest.
///
/// The sums close: the four parts of each add up to its total.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Coverage {
    /// Entries of all layers.
    pub entries: Shares,
    /// Bytes of content of all entries.
    pub bytes: Shares,
}

/// Parts of a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Shares {
    /// No finding is about it.
    pub identical: u64,
    /// Every finding about it has a known cause.
    pub explained: u64,
    /// A waiver accepts a finding about it, and the others have a known cause.
    pub waived: u64,
    /// Some finding about it has no known cause and no waiver.
    pub unexplained: u64,
    /// All of it.
    pub total: u64,
}

/// What became of an entry; the worst finding counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Identical,
    Explained,
    Waived,
    Unexplained,
}

impl Coverage {
    /// Accounts for every entry of the published layers.
    ///
    /// A finding about a path is held against every entry of that path.
    pub fn of(layers: &[Arc<Layer>], findings: &[Finding], acceptances: &[Acceptance]) -> Self {
        let mut states: BTreeMap<&EntryPath, State> = BTreeMap::new();
        for (finding, acceptance) in findings.iter().zip(acceptances) {
            let Location::Entry { path, .. } = &finding.difference.location else {
                continue;
            };
            let state = match (acceptance, &finding.explanation) {
                (Acceptance::Waived(_), _) => State::Waived,
                (_, Some(_)) => State::Explained,
                (_, None) => State::Unexplained,
            };
            let worst = states.entry(path).or_insert(State::Identical);
            *worst = (*worst).max(state);
        }
        let mut coverage = Self::default();
        for entry in layers.iter().flat_map(|layer| &layer.entries) {
            let state = states.get(&entry.path).copied().unwrap_or(State::Identical);
            coverage.entries.add(state, 1);
            coverage.bytes.add(state, entry.kind.size());
        }
        coverage
    }
}

impl Shares {
    fn add(&mut self, state: State, amount: u64) {
        self.total += amount;
        *match state {
            State::Identical => &mut self.identical,
            State::Explained => &mut self.explained,
            State::Waived => &mut self.waived,
            State::Unexplained => &mut self.unexplained,
        } += amount;
    }
}
