//! When a write is visible where.

use std::collections::BTreeMap;

use kv_core::Dot;

/// One write, on its way.
#[derive(Clone, Copy, Debug)]
struct Write {
    made_at: u64,
    /// A bit for each location that shows it.
    seen: u128,
    last_at: u64,
}

/// The writes that are watched.
#[derive(Debug, Default)]
pub struct Spread(BTreeMap<Dot, Write>);

impl Spread {
    pub(super) fn made(&mut self, dot: Dot, place: usize, at: u64) {
        self.0.insert(dot, Write { made_at: at, seen: 1 << place, last_at: at });
    }

    pub(super) fn seen(&mut self, dot: Dot, place: usize, at: u64) {
        if let Some(write) = self.0.get_mut(&dot)
            && write.seen & 1 << place == 0
        {
            write.seen |= 1 << place;
            write.last_at = at;
        }
    }

    /// For each write that so many locations show, how many milliseconds that took; rising.
    #[must_use]
    pub fn times(&self, places: usize) -> Vec<u64> {
        let whole = |write: &&Write| write.seen.count_ones() as usize == places;
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
