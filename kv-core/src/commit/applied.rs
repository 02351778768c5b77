//! The outcome of work that a peer has caused: of its rows, and of the vectors of a session.

use crate::types::Dot;

/// The outcome of a remote write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It won and is visible.
    Won {
        /// The writer did not know the write that it replaced.
        concurrent: bool,
    },
    /// The stored write is later.
    Lost,
    /// It was applied before.
    Known,
    /// It is not later than the drop of its namespace: it is counted and not stored.
    Dropped,
    /// The vector of a session was adopted, as far as the opening rows of its origins are here or owed.
    Adopted,
    /// The source of a session could not read more rows than a store can record. Its vector was not adopted.
    NoRoom,
    /// The last tombstone that the source of a session has collected is later than the clocks of today, and most other
    /// members have not resolved that time. Nothing was adopted: the own clock is behind, or the source lies.
    FarAhead,
    /// The store rebuilds from here on.
    Rebuilding,
    /// The row was removed.
    Removed,
    /// The vectors count no more than the source of the rebuild.
    Uncounted,
    /// Its sender may not know that it was deleted, by a tombstone that was collected here: see
    /// [`View::is_late`](crate::view::View::is_late). Nothing was changed. The replicator decides so, not the commit.
    Late(Dot),
    /// The disk has no room for its value. Nothing was changed. The replicator decides so, not the commit.
    Full,
    /// The opening row of the write's origin is not here. Nothing was changed.
    Unopened,
    /// It opens an origin, and there is no room for more origins. Nothing was changed.
    Ignored,
    /// Earlier writes of its origin are missing. Nothing was changed.
    Gap {
        /// The first missing sequence number.
        missing: u64,
    },
    /// Another write has this version: two other stores share one identity. Nothing was changed.
    Conflict,
    /// No store can have made this write. Nothing was changed.
    Refused(&'static str),
}
