//! The rows of a rebuild that its source does not have.

use std::sync::Arc;

use kv_core::{Dot, Hlc, NamespaceId, VersionVector};

use crate::inspect::{Held, Place, Reading};

/// A row here that the peer does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RowHere {
    /// The row.
    pub(super) place: Place,
    /// The write that it holds.
    pub(super) dot: Dot,
    /// Why the peer does not have it.
    pub(super) there: Absence,
}

/// Why a peer does not have a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absence {
    /// It counts the write, which was deleted there; or it has a later write of the key, which this store does not take
    /// because a tombstone that was collected here may have deleted it.
    Deleted,
    /// It does not count the write, and has collected no tombstone that could have deleted it.
    NotArrived,
    /// It does not count the write, and may have collected a tombstone that deleted it.
    Unknown,
    /// It has a later write of the key, which is not here and replaces the row once a session brings it. It may have
    /// collected a tombstone between the two.
    Replaced,
}

/// The rows of a reading that the peer does not have.
#[derive(Debug, Default)]
pub(super) struct OnlyHere {
    /// The rows.
    pub(super) rows: Vec<RowHere>,
    /// What the peer counts.
    pub(super) vector: Arc<VersionVector>,
    /// The peer's collected vector: the last session may have ended before it dropped some tombstones.
    pub(super) collected: VersionVector,
    /// The peer has collected no later tombstone.
    pub(super) collected_upto: Hlc,
}

impl OnlyHere {
    /// The rows that are here at the last reading, and that the peer does not have.
    pub(super) fn of(reads: Vec<(Place, u32)>, theirs: &Reading, last: &Reading) -> OnlyHere {
        // From a source that counts every tombstone which was collected here, no row is late.
        let knows_all = theirs.vector.covers_all(&last.collected);
        let mut rows = Vec::new();
        for (at, (place, _)) in reads.into_iter().enumerate() {
            let (there, here) = (theirs.rows[at], last.rows[at]);
            let Some(Held::Row(row)) = here.held else { continue };
            // A row that a drop ended is purged here by garbage collection.
            let dropped_at = here.dropped_at.max(there.dropped_at);
            let is_dead = dropped_at.is_some_and(|dropped_at| row.version <= dropped_at);
            let is_system = place.namespace == NamespaceId::SYSTEM;
            if is_dead || is_system {
                continue;
            }
            let (dot, is_late) = (row.dot(), row.version.hlc <= theirs.collected_upto);
            let there = match there.held {
                None if theirs.vector.covers(dot) => Absence::Deleted,
                None if is_late => Absence::Unknown,
                None => Absence::NotArrived,
                Some(Held::Row(later)) if is_late && later.version > row.version => {
                    // One that is late itself is not taken.
                    let comes = knows_all || later.version.hlc > last.collected_upto;
                    if comes { Absence::Replaced } else { Absence::Deleted }
                }
                Some(_) => continue,
            };
            rows.push(RowHere { place, dot, there });
        }
        let (vector, collected) = (Arc::new(theirs.vector.clone()), theirs.collected.clone());
        OnlyHere { rows, vector, collected, collected_upto: theirs.collected_upto }
    }
}

#[cfg(test)]
mod tests {
    use kv_core::{Key, Version};

    use super::*;
    use crate::{
        core::testing::{dot, vector},
        inspect::{Kind, Looked, Summary},
    };

    /// A row of a write with this number, at a time.
    fn row(seq: u64, at: u64) -> Option<Held> {
        let version = Version { hlc: Hlc(at), origin: dot(seq).origin };
        Some(Held::Row(Summary {
            version,
            seq,
            kind: Kind::Value,
            expires_at: None,
            digest: [0; 32],
        }))
    }

    /// A reading of one key.
    fn reading(held: Option<Held>, counted: u64, collected_upto: u64) -> Reading {
        let rows = vec![Looked { is_counted: true, dropped_at: None, held }];
        let (vector, collected) = (vector(counted), vector(counted.min(1)));
        Reading { vector, collected, collected_upto: Hlc(collected_upto), rows }
    }

    fn of(here: &Reading, there: &Reading) -> OnlyHere {
        let place = Place { namespace: NamespaceId([9; 16]), key: Key::new("key").unwrap() };
        OnlyHere::of(vec![(place, 0)], there, here)
    }

    #[test]
    fn a_row_that_the_source_does_not_have_was_deleted_there_or_did_not_arrive_or_it_is_not_known()
    {
        let here = reading(row(3, 30), 3, 0);
        for (counted, collected_upto, there) in [
            (3, 20, Absence::Deleted),
            (3, 40, Absence::Deleted),
            (2, 20, Absence::NotArrived),
            (2, 30, Absence::Unknown),
        ] {
            let found = of(&here, &reading(None, counted, collected_upto));
            assert_eq!(found.rows.first().map(|row| row.there), Some(there), "{counted}");
        }
    }

    #[test]
    fn of_a_row_that_the_source_has_a_later_one_for_the_next_session_is_awaited_if_a_deletion_may_be_between()
     {
        for (collected_upto, later, ours, counted, there) in [
            (20, 40, 0, 2, None),
            (30, 20, 0, 2, None),
            (30, 40, 0, 2, Some(Absence::Replaced)),
            // A late row is not taken, unless its source counts what was collected here.
            (30, 40, 40, 0, Some(Absence::Deleted)),
            (30, 40, 40, 2, Some(Absence::Replaced)),
        ] {
            let here = reading(row(3, 30), 3, ours);
            let found = of(&here, &reading(row(4, later), counted, collected_upto));
            assert_eq!(found.rows.first().map(|row| row.there), there, "{collected_upto} {later}");
        }
    }

    #[test]
    fn what_the_source_has_collected_by_the_reading_is_handed_on() {
        let found = of(&reading(row(3, 30), 3, 0), &reading(None, 3, 40));
        assert_eq!((found.collected, found.collected_upto), (vector(1), Hlc(40)));
        assert_eq!(*found.vector, vector(3));
    }
}
