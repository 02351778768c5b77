//! When a write is visible where.

use std::collections::BTreeMap;

use kv_core::Dot;

/// One write, on its way.
#[derive(Clone, Debug)]
struct Write {
    made_at: u64,
    /// Whether each location shows it.
    seen: Vec<bool>,
    last_at: u64,
}

/// The writes that are watched.
#[derive(Debug, Default)]
pub struct Spread(BTreeMap<Dot, Write>);

impl Spread {
    pub(super) fn made(&mut self, dot: Dot, place: usize, at: u64) {
        let write = Write { made_at: at, seen: Vec::new(), last_at: at };
        self.0.insert(dot, write);
        self.seen(dot, place, at);
    }

    pub(super) fn seen(&mut self, dot: Dot, place: usize, at: u64) {
        let Some(write) = self.0.get_mut(&dot) else { return };
        if write.seen.len() <= place {
            write.seen.resize(place + 1, false);
        }
        if !std::mem::replace(&mut write.seen[place], true) {
            write.last_at = at;
        }
    }

    /// For each write that this many locations show, how many milliseconds that took; rising.
    #[must_use]
    pub fn times(&self, places: usize) -> Vec<u64> {
        let whole = |write: &&Write| write.seen.iter().filter(|seen| **seen).count() == places;
        let mut times: Vec<_> =
            self.0.values().filter(whole).map(|write| write.last_at - write.made_at).collect();
        times.sort_unstable();
        times
    }

    /// How many writes are watched.
    #[must_use]
    pub fn writes(&self) -> usize {
        self.0.len()
    }
}
