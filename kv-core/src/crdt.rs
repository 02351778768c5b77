//! The only module that names `crdts`: version vectors over its `VClock`, the merge over its
//! `LWWReg`.
//!
//! Shapiro, Preguiça, Baquero, Zawirski: "A comprehensive study of Convergent and Commutative
//! Replicated Data Types" (2011), section 3.2.1 for the register.

use crdts::{CmRDT, CvRDT, LWWReg, VClock};

use crate::{Dot, OriginId, Version};

/// For each origin, the sequence number below which nothing is missing. An origin that is not
/// there stands at 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionVector(VClock<OriginId>);

impl VersionVector {
    /// The sequence number that this vector has reached for an origin.
    #[must_use]
    pub fn get(&self, origin: OriginId) -> u64 {
        self.0.get(&origin)
    }

    /// Whether a write is among those that the vector counts.
    #[must_use]
    pub fn covers(&self, dot: Dot) -> bool {
        dot.seq <= self.get(dot.origin)
    }

    /// Whether the vector counts every write that the other counts.
    #[must_use]
    pub fn covers_all(&self, other: &VersionVector) -> bool {
        other.iter().all(|dot| self.covers(dot))
    }

    /// Whether a write is the next of its origin, or counted already.
    ///
    /// # Errors
    /// The first number that is missing before it, if any is.
    pub fn validate(&self, dot: Dot) -> Result<(), u64> {
        let op = crdts::Dot::new(dot.origin, dot.seq);
        self.0.validate_op(&op).map_err(|gap| gap.counter_range.start)
    }

    /// Raises one origin to `seq`, over whatever lies between: for one who knows
    /// ([`VersionVector::validate`]) that nothing is missing there.
    pub fn raise(&mut self, origin: OriginId, seq: u64) {
        self.0.apply(crdts::Dot::new(origin, seq));
    }

    /// Raises every origin to what the other vector has reached.
    pub fn merge(&mut self, other: &VersionVector) {
        self.0.merge(other.0.clone());
    }

    /// The last write that is counted of each origin, by origin id.
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

/// What a row is worth in a merge: a dropped namespace beats any other row of that namespace,
/// whatever the versions; otherwise the larger version wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// The row says that its namespace is dropped for good.
    pub dropped: bool,
    /// The row's version.
    pub version: Version,
}

/// What merging an incoming row into the one that is there comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// The row that is there wins.
    Keep,
    /// The incoming row wins.
    Replace,
    /// Both are the same write.
    Same,
    /// One version names two different contents: two stores write under one identity.
    Conflict,
}

/// Merges two last-writer-wins registers; `content` is compared only where the ranks are equal.
pub fn merge<V: PartialEq>(current: (V, Rank), incoming: (V, Rank)) -> Merge {
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
    use crate::Hlc;

    fn rank(dropped: bool, hlc: u64, origin: u8) -> Rank {
        Rank { dropped, version: Version { hlc: Hlc(hlc), origin: OriginId([origin; 16]) } }
    }

    #[test]
    fn the_later_write_wins_and_the_origin_breaks_ties() {
        assert_eq!(merge(("a", rank(false, 1, 9)), ("b", rank(false, 2, 1))), Merge::Replace);
        assert_eq!(merge(("a", rank(false, 2, 1)), ("b", rank(false, 2, 2))), Merge::Replace);
        assert_eq!(merge(("a", rank(false, 2, 2)), ("b", rank(false, 2, 1))), Merge::Keep);
    }

    #[test]
    fn a_drop_beats_a_later_write() {
        assert_eq!(merge(("a", rank(true, 1, 1)), ("b", rank(false, 9, 1))), Merge::Keep);
        assert_eq!(merge(("a", rank(false, 9, 1)), ("b", rank(true, 1, 1))), Merge::Replace);
    }

    #[test]
    fn one_version_with_two_contents_is_a_conflict() {
        assert_eq!(merge(("a", rank(false, 1, 1)), ("a", rank(false, 1, 1))), Merge::Same);
        assert_eq!(merge(("a", rank(false, 1, 1)), ("b", rank(false, 1, 1))), Merge::Conflict);
    }

    #[test]
    fn a_vector_refuses_a_gap_and_names_where_it_begins() {
        let origin = OriginId([1; 16]);
        let mut vector = VersionVector::default();
        assert_eq!(vector.validate(Dot { origin, seq: 1 }), Ok(()));
        vector.raise(origin, 1);
        assert_eq!(vector.validate(Dot { origin, seq: 4 }), Err(2));
        assert_eq!(vector.validate(Dot { origin, seq: 1 }), Ok(()));
    }
}
