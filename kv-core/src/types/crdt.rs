//! The only module that names `crdts`: version vectors over its `VClock`, the merge over its
//! `LWWReg`.
//!
//! Shapiro, Preguiça, Baquero, Zawirski: "A comprehensive study of Convergent and Commutative
//! Replicated Data Types" (2011), section 3.2.1 for the register.

use std::sync::Arc;

use crdts::{CmRDT, CvRDT, LWWReg, VClock};

use super::{
    id::OriginId,
    version::{Dot, Version},
};

/// For each origin, the sequence number up to which no write is missing. An origin that is not in
/// the vector counts as 0.
///
/// Clones share their memory until one of them changes: a store of hundreds of locations passes its vector on with each
/// commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionVector(Arc<VClock<OriginId>>);

impl VersionVector {
    /// Returns the sequence number that the vector has reached for an origin.
    #[must_use]
    pub fn get(&self, origin: OriginId) -> u64 {
        self.0.get(&origin)
    }

    /// Whether the vector counts this write.
    #[must_use]
    pub fn covers(&self, dot: Dot) -> bool {
        dot.seq <= self.get(dot.origin)
    }

    /// Whether the vector counts every write that the other counts.
    #[must_use]
    pub fn covers_all(&self, other: &VersionVector) -> bool {
        other.iter().all(|dot| self.covers(dot))
    }

    /// Checks that a write is the next of its origin, or counted already.
    ///
    /// # Errors
    /// The first sequence number that is missing before it.
    pub fn validate(&self, dot: Dot) -> Result<(), u64> {
        let op = crdts::Dot::new(dot.origin, dot.seq);
        self.0.validate_op(&op).map_err(|gap| gap.counter_range.start)
    }

    /// Raises one origin to `seq`, including everything in between. The caller knows
    /// ([`VersionVector::validate`]) that nothing is missing there.
    pub fn raise(&mut self, origin: OriginId, seq: u64) {
        if seq <= self.get(origin) {
            return;
        }
        self.clock().apply(crdts::Dot::new(origin, seq));
    }

    /// Lowers one origin to `seq`, if it stands higher: writes behind it are not counted any more.
    pub fn lower(&mut self, origin: OriginId, seq: u64) {
        if self.get(origin) <= seq {
            return;
        }
        if seq == 0 {
            self.clock().dots.remove(&origin);
        } else {
            self.clock().dots.insert(origin, seq);
        }
    }

    /// Raises every origin to where the other vector stands.
    pub fn merge(&mut self, other: &VersionVector) {
        if !Arc::ptr_eq(&self.0, &other.0) {
            other.iter().for_each(|dot| self.raise(dot.origin, dot.seq));
        }
    }

    fn clock(&mut self) -> &mut VClock<OriginId> {
        Arc::make_mut(&mut self.0)
    }

    /// How many origins the vector counts writes of.
    pub(crate) fn len(&self) -> usize {
        self.0.dots.len()
    }

    /// Returns the counts that differ from those of an older vector, by origin id; 0 for an origin that is not counted any
    /// more.
    #[must_use]
    pub fn changes(&self, before: &VersionVector) -> Vec<Dot> {
        let mut changes = Vec::new();
        if Arc::ptr_eq(&self.0, &before.0) {
            return changes;
        }
        let gone = |dot: Dot| Dot { seq: 0, ..dot };
        let mut before = before.iter().peekable();
        for dot in self.iter() {
            while let Some(lost) = before.next_if(|former| former.origin < dot.origin) {
                changes.push(gone(lost));
            }
            if before.next_if(|former| former.origin == dot.origin) != Some(dot) {
                changes.push(dot);
            }
        }
        changes.extend(before.map(gone));
        changes
    }

    /// The last write of each origin that the vector counts, by origin id.
    pub fn iter(&self) -> impl Iterator<Item = Dot> + '_ {
        self.0.iter().map(|dot| Dot { origin: *dot.actor, seq: dot.counter })
    }
}

impl FromIterator<Dot> for VersionVector {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> Self {
        let mut vector = VersionVector::default();
        for dot in dots {
            vector.raise(dot.origin, dot.seq);
        }
        vector
    }
}

/// The rank of a row in a merge: the larger version wins. At equal versions a value beats the expired tombstone
/// that a location made of it, so that the rows of peers repair what a wrong clock freed too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank {
    /// The row's version.
    pub version: Version,
    /// The row is an expired tombstone.
    pub is_freed: bool,
}

/// The result of merging an incoming row into the stored one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// The stored row wins.
    Keep,
    /// The incoming row wins.
    Replace,
    /// Both rows are the same write, and the stored one has the value if one of them has.
    Same,
    /// One version has two contents: two stores write under one identity.
    Conflict,
}

/// Merges two last-writer-wins registers. The contents are compared only if the versions are equal.
pub fn merge<V: PartialEq>(current: (V, Rank), incoming: (V, Rank)) -> Merge {
    let is_repaired = current.1.is_freed && !incoming.1.is_freed;
    let register = |(val, rank): (V, Rank)| LWWReg { val, marker: rank.version };
    let (mut register, incoming) = (register(current), register(incoming));
    if register.validate_merge(&incoming).is_err() {
        return Merge::Conflict;
    }
    if register.marker == incoming.marker {
        return if is_repaired { Merge::Replace } else { Merge::Same };
    }
    let before = register.marker;
    register.merge(incoming);
    if register.marker == before { Merge::Keep } else { Merge::Replace }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Hlc;

    fn rank(hlc: u64, origin: u8) -> Rank {
        let version = Version { hlc: Hlc(hlc), origin: OriginId([origin; 16]) };
        Rank { version, is_freed: false }
    }

    fn freed(hlc: u64, origin: u8) -> Rank {
        Rank { is_freed: true, ..rank(hlc, origin) }
    }

    #[test]
    fn the_later_write_wins_and_the_origin_breaks_ties() {
        assert_eq!(merge(("a", rank(1, 9)), ("b", rank(2, 1))), Merge::Replace);
        assert_eq!(merge(("a", rank(2, 1)), ("b", rank(2, 2))), Merge::Replace);
        assert_eq!(merge(("a", rank(2, 2)), ("b", rank(2, 1))), Merge::Keep);
    }

    #[test]
    fn one_version_with_two_contents_is_a_conflict() {
        assert_eq!(merge(("a", rank(1, 1)), ("a", rank(1, 1))), Merge::Same);
        assert_eq!(merge(("a", rank(1, 1)), ("b", rank(1, 1))), Merge::Conflict);
    }

    #[test]
    fn a_value_beats_its_expired_tombstone_and_no_other() {
        assert_eq!(merge(("a", freed(1, 1)), ("a", rank(1, 1))), Merge::Replace);
        assert_eq!(merge(("a", rank(1, 1)), ("a", freed(1, 1))), Merge::Same);
        assert_eq!(merge(("a", freed(1, 1)), ("a", freed(1, 1))), Merge::Same);
        assert_eq!(merge(("a", freed(1, 1)), ("b", rank(1, 1))), Merge::Conflict);
        assert_eq!(merge(("a", freed(2, 1)), ("b", rank(1, 1))), Merge::Keep);
        assert_eq!(merge(("a", rank(1, 1)), ("b", freed(2, 1))), Merge::Replace);
    }

    #[test]
    fn the_changes_of_a_vector_are_what_was_raised_lowered_added_and_removed() {
        let dot = |byte, seq| Dot { origin: OriginId([byte; 16]), seq };
        let before: VersionVector =
            [dot(1, 5), dot(2, 5), dot(3, 5), dot(4, 5)].into_iter().collect();
        let mut after = before.clone();
        assert_eq!(after.changes(&before), []);
        after.raise(dot(2, 0).origin, 7);
        after.lower(dot(3, 0).origin, 1);
        after.lower(dot(4, 0).origin, 0);
        after.raise(dot(9, 0).origin, 2);
        assert_eq!(after.changes(&before), [dot(2, 7), dot(3, 1), dot(4, 0), dot(9, 2)]);
        assert_eq!(before.get(dot(2, 0).origin), 5, "a clone changes alone");
    }

    #[test]
    fn a_vector_rejects_a_gap_and_names_where_it_begins() {
        let origin = OriginId([1; 16]);
        let mut vector = VersionVector::default();
        assert_eq!(vector.validate(Dot { origin, seq: 1 }), Ok(()));
        vector.raise(origin, 1);
        assert_eq!(vector.validate(Dot { origin, seq: 4 }), Err(2));
        assert_eq!(vector.validate(Dot { origin, seq: 1 }), Ok(()));
    }
}
