//! Global limits: one limit across all locations.
//!
//! Each location decides alone, on what it has allowed itself and what it has last heard of the others. It reports, per
//! key and window, one absolute count for each process that allowed requests; a receiver keeps the greatest (a grow-only
//! counter, Shapiro et al., "A comprehensive study of Convergent and Commutative Replicated Data Types", 2011). So pieces
//! may be lost, repeated and reordered, and a location may pass on what it has from others.
//!
//! The slot of a key in the table holds the total ([`entry`]). A bit for each set of the table marks what has changed;
//! the rest is only touched when a key is new here, and when usage is exchanged ([`ledger`]).

mod entry;
mod kind;
mod ledger;
mod usage;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) use kind::Kind;
pub(crate) use ledger::{Ledger, Scene};
pub use usage::UsageError;
pub(crate) use usage::decode;

use crate::request::Request;

/// What is shared with other locations.
#[derive(Debug)]
pub(crate) struct Globals {
    /// The key of the hash that names keys at all locations.
    naming: [u8; 32],
    /// A bit for each set of the table.
    dirty: Box<[AtomicU64]>,
    ledger: Mutex<Ledger>,
}

/// How far a peer has been sent everything that is known: see [`Limiter::global_state`](crate::Limiter::global_state).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateCursor(pub(crate) usize);

/// The result of taking over usage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Merged {
    /// How much others have allowed that was not known here.
    pub cost: u64,
}

/// What is known of global limits. [`Limiter::global_stats`](crate::Limiter::global_stats) returns it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GlobalStats {
    /// Keys of global limits that count here or elsewhere.
    pub keys: u64,
    /// Counts of other processes, of all keys.
    pub others: u64,
    /// What was allowed here and not reported yet.
    pub unsent: u64,
    /// Counters that were received and taken over.
    pub merged: u64,
    /// Counters that were received and are of windows that have passed, or that lie ahead.
    pub refused: u64,
    /// Keys that were evicted while they still counted, because there was no room.
    pub evictions: u64,
}

impl Globals {
    pub(crate) fn new(secret: [u8; 16], replica: u64, sets: usize, budget: usize) -> Globals {
        Globals {
            naming: blake3::derive_key("waypost 2026 names of the keys of global limits", &secret),
            dirty: (0..sets.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            ledger: Mutex::new(Ledger::new(replica, budget)),
        }
    }

    /// Returns the name of a counter at all locations. It can't be chosen: two keys share one by chance only.
    pub(crate) fn name(&self, request: &Request<'_>) -> u64 {
        let kind = Kind::of(&request.limit);
        let mut hasher = blake3::Hasher::new_keyed(&self.naming);
        hasher.update(&(kind.period << 1 | u64::from(kind.is_fixed)).to_le_bytes());
        hasher.update(&(request.namespace.len() as u64).to_le_bytes());
        hasher.update(request.namespace);
        hasher.update(request.key);
        let mut name = [0; 8];
        hasher.finalize_xof().fill(&mut name);
        u64::from_le_bytes(name)
    }

    /// Notes that a counter of this set has changed.
    #[inline]
    pub(crate) fn mark(&self, set: usize) {
        let (word, bit) = (&self.dirty[set / 64], 1 << (set % 64));
        if word.load(Ordering::SeqCst) & bit == 0 {
            word.fetch_or(bit, Ordering::SeqCst);
        }
    }

    /// Returns the sets that have changed since the last call.
    pub(crate) fn take_dirty(&self) -> Vec<usize> {
        let mut sets = Vec::new();
        for (at, word) in self.dirty.iter().enumerate() {
            if word.load(Ordering::SeqCst) == 0 {
                continue;
            }
            let mut bits = word.swap(0, Ordering::SeqCst);
            while bits != 0 {
                sets.push(at * 64 + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
        sets
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
