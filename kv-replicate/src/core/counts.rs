//! The counts of this location's durable vector, in the order in which they changed, so that a peer receives only those
//! that have changed since the last progress.
//!
//! Each change has a number of its own, its *state*, and so has each origin: its place in the order in which this process
//! learned of the origins.

use std::collections::BTreeMap;

use kv_core::{Dot, OriginId, VersionVector, limits::MAX_ORIGINS};

use super::local::Local;
use crate::wire::Count;

/// An origin, and how many of its writes are here durably.
#[derive(Debug)]
struct Counted {
    /// The origin.
    origin: OriginId,
    /// The sequence number up to which all are here; 0 if none is counted any more.
    seq: u64,
    /// The state in which it got its number.
    named: u64,
    /// The state in which the count changed last.
    changed: u64,
}

/// What has changed since a state.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Changes {
    /// The state since which it has; 0 if it is everything.
    pub(super) since: u64,
    /// The counts, by rising number.
    pub(super) counts: Vec<Count>,
}

/// The counts: see the module.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// The origins by their numbers.
    origins: Vec<Counted>,
    /// The number of each origin.
    numbers: BTreeMap<OriginId, u32>,
    /// The number of the origin that changed, by state.
    changed: BTreeMap<u64, u32>,
    /// The last state.
    state: u64,
    /// The first state since which the origins have their numbers.
    begun: u64,
    /// The origins that this process writes under, and how often they have changed.
    pair: (Option<[OriginId; 2]>, u64),
}

impl Counts {
    /// The counts of a location that was just started.
    pub(super) fn new(local: &Local) -> Counts {
        Counts { pair: (local.origins(), 1), ..Counts::of(local.durable()) }
    }

    /// The counts of a vector.
    fn of(durable: &VersionVector) -> Counts {
        let mut counts = Counts { begun: 1, ..Counts::default() };
        durable.iter().for_each(|dot| counts.set(dot));
        counts
    }

    /// Takes in that one vector is in the place of another. Returns the counts that have changed.
    pub(super) fn follow(&mut self, before: &VersionVector, after: &VersionVector) -> Vec<Dot> {
        let changes = after.changes(before);
        let is_new = |dot: &&Dot| !self.numbers.contains_key(&dot.origin);
        if self.origins.len() + changes.iter().filter(is_new).count() > MAX_ORIGINS {
            // Origins that are not counted any more still have numbers: all begin again, and all peers receive
            // everything.
            let begun = self.state + 1;
            *self = Counts { state: self.state, begun, pair: self.pair, ..Counts::default() };
            after.iter().for_each(|dot| self.set(dot));
        } else {
            changes.iter().for_each(|dot| self.set(*dot));
        }
        changes
    }

    /// Sets a count.
    fn set(&mut self, dot: Dot) {
        self.state += 1;
        let state = self.state;
        let next = u32::try_from(self.origins.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(dot.origin).or_insert(next);
        match self.origins.get_mut(number as usize) {
            Some(counted) => {
                self.changed.remove(&counted.changed);
                (counted.seq, counted.changed) = (dot.seq, state);
            }
            None => {
                let Dot { origin, seq } = dot;
                self.origins.push(Counted { origin, seq, named: state, changed: state });
            }
        }
        self.changed.insert(state, number);
    }

    /// Takes in the origins that this process writes under. Returns whether they have changed.
    pub(super) fn follow_pair(&mut self, pair: Option<[OriginId; 2]>) -> bool {
        let has_changed = self.pair.0 != pair;
        if has_changed {
            self.pair = (pair, self.pair.1 + 1);
        }
        has_changed
    }

    /// How often the origins that this process writes under have changed.
    pub(super) fn pair(&self) -> u64 {
        self.pair.1
    }

    /// The last state.
    pub(super) fn state(&self) -> u64 {
        self.state
    }

    /// Whether a peer that has acknowledged this state knows the count of an origin.
    pub(super) fn is_acknowledged(&self, origin: OriginId, acknowledged: u64) -> bool {
        let counted = self.numbers.get(&origin).and_then(|at| self.origins.get(*at as usize));
        counted.is_some_and(|it| it.changed <= acknowledged && acknowledged >= self.begun)
    }

    /// What has changed since a state that a peer has acknowledged; everything if it has acknowledged none.
    pub(super) fn since(&self, acknowledged: u64) -> Changes {
        let since = if acknowledged < self.begun { 0 } else { acknowledged };
        let mut numbers: Vec<_> =
            self.changed.range(since + 1..).map(|(_, number)| *number).collect();
        numbers.sort_unstable();
        let count = |number: u32| {
            let counted = self.origins.get(number as usize)?;
            let origin = (counted.named > since).then_some(counted.origin);
            Some(Count { number, origin, seq: counted.seq })
        };
        Changes { since, counts: numbers.into_iter().filter_map(count).collect() }
    }

    /// About how many bytes this takes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.origins.len() * 128
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(id: u8, seq: u64) -> Dot {
        Dot { origin: OriginId([id; 16]), seq }
    }

    fn vector(dots: &[(u8, u64)]) -> VersionVector {
        dots.iter().map(|(id, seq)| dot(*id, *seq)).collect()
    }

    fn named(number: u32, id: u8, seq: u64) -> Count {
        Count { number, origin: Some(OriginId([id; 16])), seq }
    }

    #[test]
    fn a_peer_receives_what_has_changed_since_and_new_origins_by_name() {
        let before = vector(&[(1, 5), (3, 7)]);
        let mut counts = Counts::of(&before);
        let (all, state) = (counts.since(0), counts.state());
        assert_eq!(all.counts, [named(0, 1, 5), named(1, 3, 7)]);
        let after = vector(&[(1, 5), (2, 1), (3, 8)]);
        assert_eq!(counts.follow(&before, &after), [dot(2, 1), dot(3, 8)]);
        let changes = counts.since(state);
        let moved = Count { number: 1, origin: None, seq: 8 };
        assert_eq!(changes.counts, [moved, named(2, 2, 1)]);
        assert_eq!(counts.since(counts.state()).counts, []);
        assert_eq!(counts.since(0).counts.len(), 3, "it has received nothing yet");
    }

    #[test]
    fn counts_that_fall_or_end_are_changes_too() {
        let before = vector(&[(1, 5), (2, 5)]);
        let mut counts = Counts::of(&before);
        let state = counts.state();
        assert_eq!(counts.follow(&before, &vector(&[(1, 4)])), [dot(1, 4), dot(2, 0)]);
        let seqs: Vec<_> = counts.since(state).counts.iter().map(|count| count.seq).collect();
        assert_eq!(seqs, [4, 0]);
    }

    #[test]
    fn numbers_begin_again_before_there_are_too_many() {
        let origin = |n: usize| OriginId((n as u128 + 1).to_be_bytes());
        let of = |n: usize| Dot { origin: origin(n), seq: 1 };
        let first: VersionVector = (0..MAX_ORIGINS).map(of).collect();
        let mut counts = Counts::of(&first);
        let state = counts.state();
        let others: VersionVector = (1..=MAX_ORIGINS).map(of).collect();
        counts.follow(&first, &others);
        let changes = counts.since(state);
        assert_eq!(
            (changes.since, changes.counts.len()),
            (0, MAX_ORIGINS),
            "it receives everything"
        );
        assert!(changes.counts.iter().all(|count| count.origin.is_some()));
    }
}
