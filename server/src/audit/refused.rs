//! Requests that were refused because of their tokens: counted by client, with a bound.

use std::collections::{BTreeMap, btree_map::Entry};

use kv_core::AccessTokenId;

/// The most lines between two writes. Refusals of further clients are counted together, by reason.
const MAX_LINES: usize = 64;

/// Why a client was refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Refused {
    /// Its address; none for several.
    pub(super) address: Option<String>,
    /// Its token, if that is known.
    pub(super) token: Option<AccessTokenId>,
    /// Why, as in the metrics.
    pub(super) reason: &'static str,
}

/// Counts of refusals.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<Refused, u64>);

impl Refusals {
    /// Counts a refusal.
    pub(super) fn count(&mut self, refused: Refused) {
        let is_full = self.0.len() >= MAX_LINES;
        match self.0.entry(refused) {
            Entry::Occupied(mut count) => *count.get_mut() += 1,
            Entry::Vacant(place) if !is_full => drop(place.insert(1)),
            Entry::Vacant(place) => {
                let all = Refused { address: None, token: None, ..place.into_key() };
                *self.0.entry(all).or_default() += 1;
            }
        }
    }

    /// The counts.
    pub(super) fn into_counts(self) -> impl Iterator<Item = (Refused, u64)> {
        self.0.into_iter()
    }
}
