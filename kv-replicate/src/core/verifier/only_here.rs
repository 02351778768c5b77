//! The rows of a rebuild that its source does not have.

use kv_core::{Dot, Hlc, NamespaceId, VersionVector};

use crate::inspect::{Held, Place, Reading};

/// A row here that the peer does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::core) struct RowHere {
    /// The row.
    pub(in crate::core) place: Place,
    /// The write that it holds.
    pub(in crate::core) dot: Dot,
    /// The time of the write.
    pub(in crate::core) at: Hlc,
    /// Whether the peer counts the write: it was deleted there, and its tombstone was dropped.
    pub(in crate::core) is_counted: bool,
}

/// The rows here that the peer does not have.
#[derive(Debug, Default)]
pub(super) struct OnlyHere {
    /// The rows.
    pub(super) rows: Vec<RowHere>,
    /// The peer's collected vector, as of the reading that found them.
    pub(super) collected: VersionVector,
}

impl OnlyHere {
    /// Notes rows that are here at the last reading, and that the peer does not have.
    pub(super) fn note(&mut self, reads: Vec<(Place, u32)>, theirs: &Reading, last: &Reading) {
        self.collected.merge(&theirs.collected);
        for (at, (place, _)) in reads.into_iter().enumerate() {
            let (there, here) = (theirs.rows[at], last.rows[at]);
            let Some(Held::Row(row)) = here.held else { continue };
            // A row that a drop ended is purged here by garbage collection.
            let dropped_at = here.dropped_at.max(there.dropped_at);
            let is_dead = dropped_at.is_some_and(|dropped_at| row.version <= dropped_at);
            let is_system = place.namespace == NamespaceId::SYSTEM;
            if there.held.is_none() && !is_dead && !is_system {
                let (dot, at) = (row.dot(), row.version.hlc);
                let is_counted = theirs.vector.covers(dot);
                self.rows.push(RowHere { place, dot, at, is_counted });
            }
        }
    }
}
