//! The only module that names `crdts`: version vectors over its `VClock`, the merge over its
//! `LWWReg`.
//!
//! Shapiro, Preguiça, Baquero, Zawirski: "A comprehensive study of Convergent and Commutative
//! Replicated Data Types" (2011), section 3.2.1 for the register.

use crdts::{CmRDT, CvRDT, LWWReg, VClock};

use super::{
    id::OriginId,
    version::{Dot, Version},
};

/// For each origin, the sequence number up to which no write is missing. An origin that is not in
/// the vector counts as 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionVector(VClock<OriginId>);

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

    /// Raises one origin to `seq`, over whatever lies between. The caller knows
    /// ([`VersionVector::validate`]) that nothing is missing there.
    pub fn raise(&mut self, origin: OriginId, seq: u64) {
        self.0.apply(crdts::Dot::new(origin, seq));
    }

    /// Raises every origin to where the other vector stands.
    pub fn merge(&mut self, other: &VersionVector) {
        self.0.merge(other.0.clone());
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

/// The result of merging an incoming row into the stored one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// The stored row wins.
    Keep,
    /// The incoming row wins.
    Replace,
    /// Both rows are the same write.
    Same,
    /// One version has two contents: two stores write under one identity.
    Conflict,
}

/// Merges two last-writer-wins registers. The contents are compared only if the versions are equal.
pub fn merge<V: PartialEq>(current: (V, Version), incoming: (V, Version)) -> Merge {
    let (mut register, incoming) = (
        LWWReg { val: current.0, marker: current.1 },
        LWWReg { val: incoming.0, marker: incoming.1 },
    );
    if register.validate_merge(&incoming).is_err() {
        return Merge::Conflict;
    }
    if register.marker == incoming.marker {
        return Merge::Same;
    }
    let before = register.marker;
    register.merge(incoming);
    if register.marker == before { Merge::Keep } else { Merge::Replace }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Hlc;

    fn version(hlc: u64, origin: u8) -> Version {
        Version { hlc: Hlc(hlc), origin: OriginId([origin; 16]) }
    }

    #[test]
    fn the_later_write_wins_and_the_origin_breaks_ties() {
        assert_eq!(merge(("a", version(1, 9)), ("b", version(2, 1))), Merge::Replace);
        assert_eq!(merge(("a", version(2, 1)), ("b", version(2, 2))), Merge::Replace);
        assert_eq!(merge(("a", version(2, 2)), ("b", version(2, 1))), Merge::Keep);
    }

    #[test]
    fn one_version_with_two_contents_is_a_conflict() {
        assert_eq!(merge(("a", version(1, 1)), ("a", version(1, 1))), Merge::Same);
        assert_eq!(merge(("a", version(1, 1)), ("b", version(1, 1))), Merge::Conflict);
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
