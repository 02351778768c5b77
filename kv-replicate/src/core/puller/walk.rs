//! The way of a session through everything that is missing, round by round.
//!
//! A row that is overwritten at the source moves to another place in the dot index, and a walk over
//! several snapshots may miss it. It can then only be among the writes that the first of these snapshots
//! does not count, so the next round walks those. The vector of the one snapshot of the last round is
//! adopted, and no other.
//!
//! # Why the rounds end
//!
//! The source pins a view at the beginning of each round, and reads from it up to 64 MiB and for 30 s
//! ([`super::super::session_source`]). A round that fits into that shows one snapshot, whatever is written
//! meanwhile, and is the last. A longer round is followed by another over two kinds of rows:
//!
//! - *What was written since the first snapshot.* If writes come at a rate below the link's, each round brings
//!   less than the one before, by the same factor. The least that a round needs is what is written in a few round
//!   trips, which fits into a pinned view.
//! - *Rows of the source's own sessions that no vector counts.* They are sent again only for origins of which the
//!   source has added some since ([`Walk::known`]). A source adds what its own sources have and it lacks, and no
//!   row twice. So with all links up, the rows that are added are in the end those that were written meanwhile.

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
    /// The first snapshot of the former round, whose uncounted rows are here; none if some may be missing.
    known: Option<u64>,
    /// Whether all batches of the round so far came over one link.
    link: Link,
    /// The state of the source's index at the beginning of the session; none until its first batch arrives.
    index: Option<u64>,
}

/// Whether the numbers of a round's snapshots have one meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// All batches came over one link.
    One,
    /// The link was replaced, for example because the source was restarted.
    Replaced,
}

impl Walk {
    /// A walk over everything that a vector does not count.
    pub(super) fn new(since: VersionVector) -> Walk {
        Walk {
            since,
            after: None,
            first: None,
            snapshots: Snapshots::One,
            known: None,
            link: Link::One,
            index: None,
        }
    }

    /// The writes that are not walked.
    pub(super) fn since(&self) -> &VersionVector {
        &self.since
    }

    /// The number of a snapshot of the source that this location has all uncounted rows of, over the same link.
    pub(super) fn known(&self) -> Option<u64> {
        self.known
    }

    /// The row behind which the next batch begins; none at the beginning of a round.
    pub(super) fn after(&self) -> Option<Dot> {
        self.after
    }

    /// Continues behind this row, or from the beginning of the round.
    pub(super) fn go_to(&mut self, after: Option<Dot>) {
        self.after = after;
    }

    /// Leaves out writes that have arrived in other ways. The source may have dropped a tombstone that all have
    /// by now.
    pub(super) fn skip(&mut self, visible: &VersionVector) {
        self.since.merge(visible);
    }

    /// The walk continues on a new link: the numbers of the source's snapshots may have another meaning.
    pub(super) fn interrupted(&mut self) {
        self.snapshots = Snapshots::Several;
        self.link = Link::Replaced;
        self.known = None;
    }

    /// Whether a snapshot counts all that the first one of this round counts, and is read from the index that the session
    /// began with. If not, the source was rolled back or rebuilt, or rows were put back into its index, perhaps behind
    /// this walk: what was walked may not be what it counts.
    pub(super) fn is_from(&self, vector: &VersionVector, index: u64) -> bool {
        self.first.as_ref().is_none_or(|first| vector.covers_all(&first.vector))
            && self.index.is_none_or(|first| first == index)
    }

    /// Takes note of the snapshot that a batch was read from.
    pub(super) fn read_from(&mut self, vector: &VersionVector, (commit, index): (u64, u64)) {
        self.index.get_or_insert(index);
        match &self.first {
            Some(first) if first.commit != commit => self.snapshots = Snapshots::Several,
            Some(_) => {}
            None => self.first = Some(First { vector: vector.clone(), commit }),
        }
    }

    /// A row of this round was passed over, because the source has another one of its key, or none, since: the next
    /// round brings that.
    pub(super) fn needs_another(&mut self) {
        self.snapshots = Snapshots::Several;
    }

    /// Ends a round. Returns whether the walk needs another one; then it stands at its beginning.
    pub(super) fn end_round(&mut self) -> bool {
        if self.snapshots == Snapshots::One {
            return false;
        }
        // Everything that the first snapshot counts has been walked. Later writes are next.
        if let Some(first) = self.first.take() {
            self.since.merge(&first.vector);
            self.known = (self.link == Link::One).then_some(first.commit);
        }
        self.link = Link::One;
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
        walk.read_from(&vector(5), (7, 0));
        walk.read_from(&vector(5), (7, 0));
        assert!(!walk.end_round());
    }

    #[test]
    fn a_round_over_several_snapshots_is_followed_by_one_over_what_came_since_the_first() {
        let mut walk = Walk::new(vector(1));
        walk.read_from(&vector(5), (7, 0));
        walk.read_from(&vector(6), (8, 0));
        walk.go_to(Some(dot(6)));
        assert!(walk.end_round());
        assert_eq!((walk.since(), walk.after()), (&vector(5), None));
        walk.read_from(&vector(6), (9, 0));
        assert!(!walk.end_round());
    }

    #[test]
    fn the_uncounted_rows_of_the_first_snapshot_are_known_unless_the_round_was_interrupted() {
        let mut walk = Walk::new(vector(1));
        let several = |walk: &mut Walk| {
            walk.read_from(&vector(5), (7, 0));
            walk.read_from(&vector(6), (8, 0));
        };
        assert_eq!(walk.known(), None);
        several(&mut walk);
        assert!(walk.end_round());
        assert_eq!(walk.known(), Some(7));
        several(&mut walk);
        walk.interrupted();
        assert_eq!(walk.known(), None, "the source may have been restarted");
        assert!(walk.end_round());
        assert_eq!(walk.known(), None, "the number may be of the former link");
    }

    #[test]
    fn an_interrupted_round_is_followed_by_another() {
        let mut walk = Walk::new(vector(1));
        walk.interrupted();
        walk.read_from(&vector(5), (7, 0));
        assert!(walk.end_round());
    }

    #[test]
    fn a_source_that_was_rolled_back_is_not_believed() {
        let mut walk = Walk::new(vector(1));
        walk.read_from(&vector(5), (7, 0));
        assert!(walk.is_from(&vector(6), 0) && !walk.is_from(&vector(4), 0));
    }

    #[test]
    fn a_session_that_began_before_the_index_was_repaired_is_not_continued_in_any_round() {
        let mut walk = Walk::new(vector(1));
        walk.read_from(&vector(5), (7, 0));
        assert!(walk.is_from(&vector(5), 0) && !walk.is_from(&vector(5), 2));
        walk.interrupted();
        assert!(walk.end_round());
        assert!(!walk.is_from(&vector(5), 2), "the first round may have passed the row");
    }
}
