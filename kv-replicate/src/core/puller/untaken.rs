//! Rows of a session that a store does not take: late ones, while it is rebuilt, and values that its disk has no room for.
//!
//! Two parts of a cluster that did not reach each other may each collect tombstones that the other has not received: two
//! processes on copies of a directory stood for the same member. A row of the source may then have been deleted by a
//! tombstone that was collected here. It is not taken, and not counted either: when the source is rebuilt in its turn, it
//! finds that no other member counts the row, and hands it to its owner.

use std::collections::BTreeMap;

use kv_core::{Dot, OriginId, VersionVector, limits::MAX_ORIGINS};

use crate::wire::PageHead;

/// The rows of a session that were not taken.
#[derive(Debug, Default)]
pub(super) struct Untaken {
    /// The first late row of each origin: of at most as many origins as a store may know. A source that names more lies.
    late: BTreeMap<OriginId, u64>,
    /// The disk had no room for a value.
    lacks_room: bool,
}

impl Untaken {
    /// A row was late.
    pub(super) fn note(&mut self, dot: Dot) {
        // One more than a store may know shows that there are too many.
        if self.late.len() <= MAX_ORIGINS {
            let first = self.late.entry(dot.origin).or_insert(dot.seq);
            *first = dot.seq.min(*first);
        }
    }

    /// The disk had no room for a value, so that no vectors may be adopted.
    pub(super) fn lack_room(&mut self) {
        self.lacks_room = true;
    }

    /// Whether the disk had no room for a value.
    pub(super) fn lacks_room(&self) -> bool {
        self.lacks_room
    }

    /// The vectors that may be adopted: they count no late row, and nothing at all if there were too many.
    pub(super) fn without(&self, mut head: PageHead) -> PageHead {
        if self.late.len() > MAX_ORIGINS {
            (head.vector, head.collected) = (VersionVector::default(), VersionVector::default());
        }
        for (origin, first) in &self.late {
            // The opening row of an origin is counted as soon as it is here.
            let counted = first.saturating_sub(1).max(1);
            head.vector.lower(*origin, counted);
            head.collected.lower(*origin, counted);
        }
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::{dot, vector};

    #[test]
    fn the_vectors_count_nothing_from_the_first_late_row_of_an_origin_on() {
        let head = || PageHead { vector: vector(9), collected: vector(7), ..PageHead::default() };
        let mut untaken = Untaken::default();
        assert_eq!(untaken.without(head()).vector, vector(9));
        [6, 4, 8].into_iter().for_each(|seq| untaken.note(dot(seq)));
        let adopted = untaken.without(head());
        assert_eq!((adopted.vector, adopted.collected), (vector(3), vector(3)));
    }

    #[test]
    fn a_source_that_names_more_origins_than_there_can_be_is_remembered_in_bounds_and_counts_nothing()
     {
        let mut untaken = Untaken::default();
        for number in 0..2 * MAX_ORIGINS as u128 {
            untaken.note(Dot { origin: OriginId(number.to_be_bytes()), seq: 2 });
        }
        assert_eq!(untaken.late.len(), MAX_ORIGINS + 1);
        let head = PageHead { vector: vector(9), ..PageHead::default() };
        assert_eq!(untaken.without(head).vector, VersionVector::default());
    }
}
