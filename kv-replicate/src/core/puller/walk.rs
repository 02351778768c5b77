//! The way of a session through everything that is missing, round by round.
//!
//! A row that is overwritten at the source moves to another place in the dot index, and a walk over
//! several snapshots may miss it. It can then only be among the writes that the first of these snapshots
//! does not count, so the next round walks those. The vector of the one snapshot of the last round is
//! adopted, and no other.

use kv_core::{Dot, VersionVector};

/// The first snapshot of a round.
#[derive(Clone, Debug)]
struct First {
    /// The writes that it counts.
    vector: VersionVector,
    /// Its number at the source.
    commit: u64,
}

/// Whether the batches of a round were read from one snapshot of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Snapshots {
    /// All batches so far show the same commit.
    One,
    /// The source has committed between two batches, so that another round must follow.
    Several,
}

/// The place of a session in its walk.
#[derive(Debug)]
pub(super) struct Walk {
    /// Writes that this vector counts are not walked.
    since: VersionVector,
    /// The last row that was received in this round; none at its beginning.
    after: Option<Dot>,
    /// The first snapshot of this round; none until its first batch arrives.
    first: Option<First>,
    /// Whether this round saw one snapshot. Only such a round is the last one.
    snapshots: Snapshots,
}

impl Walk {
    /// A walk over everything that a vector does not count.
    pub(super) fn new(since: VersionVector) -> Walk {
        Walk { since, after: None, first: None, snapshots: Snapshots::One }
    }

    /// The writes that are not walked.
    pub(super) fn since(&self) -> &VersionVector {
        &self.since
    }

    /// The row behind which the next batch begins; none at the beginning of a round.
    pub(super) fn after(&self) -> Option<Dot> {
        self.after
    }

    /// Continues behind this row, or from the beginning of the round.
    pub(super) fn go_to(&mut self, after: Option<Dot>) {
        self.after = after;
    }

    /// Leaves out writes that have arrived on other ways. The source may have dropped a tombstone that all have
    /// by now.
    pub(super) fn skip(&mut self, visible: &VersionVector) {
        self.since.merge(visible);
    }

    /// The walk continues on a new link: the numbers of the source's snapshots may have another meaning.
    pub(super) fn interrupted(&mut self) {
        self.snapshots = Snapshots::Several;
    }

    /// Whether a snapshot counts all that the first one of this round counts. If not, the source was rolled back or
    /// rebuilt, and what was walked may not be what it counts.
    pub(super) fn is_from(&self, vector: &VersionVector) -> bool {
        self.first.as_ref().is_none_or(|first| vector.covers_all(&first.vector))
    }

    /// Takes note of the snapshot that a batch was read from.
    pub(super) fn read_from(&mut self, vector: &VersionVector, commit: u64) {
        match &self.first {
            Some(first) if first.commit != commit => self.snapshots = Snapshots::Several,
            Some(_) => {}
            None => self.first = Some(First { vector: vector.clone(), commit }),
        }
    }

    /// Ends a round. Returns whether the walk needs another one; then it stands at its beginning.
    pub(super) fn end_round(&mut self) -> bool {
        if self.snapshots == Snapshots::One {
            return false;
        }
        // Everything that the first snapshot counts has been walked. Later writes are next.
        if let Some(first) = self.first.take() {
            self.since.merge(&first.vector);
        }
        self.after = None;
        self.snapshots = Snapshots::One;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::{dot, vector};

    #[test]
    fn a_round_over_one_snapshot_is_the_last() {
        let mut walk = Walk::new(vector(1));
        walk.read_from(&vector(5), 7);
        walk.read_from(&vector(5), 7);
        assert!(!walk.end_round());
    }

    #[test]
    fn a_round_over_several_snapshots_is_followed_by_one_over_what_came_since_the_first() {
        let mut walk = Walk::new(vector(1));
        walk.read_from(&vector(5), 7);
        walk.read_from(&vector(6), 8);
        walk.go_to(Some(dot(6)));
        assert!(walk.end_round());
        assert_eq!((walk.since(), walk.after()), (&vector(5), None));
        walk.read_from(&vector(6), 9);
        assert!(!walk.end_round());
    }

    #[test]
    fn an_interrupted_round_is_followed_by_another() {
        let mut walk = Walk::new(vector(1));
        walk.interrupted();
        walk.read_from(&vector(5), 7);
        assert!(walk.end_round());
    }

    #[test]
    fn a_source_that_was_rolled_back_is_not_believed() {
        let mut walk = Walk::new(vector(1));
        walk.read_from(&vector(5), 7);
        assert!(walk.is_from(&vector(6)) && !walk.is_from(&vector(4)));
    }
}
