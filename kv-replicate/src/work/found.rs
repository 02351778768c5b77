//! The results of reading a store for a core, and of requesting keys from members.

use std::sync::Arc;

use bytes::Bytes;
use kv_core::{DamagedKey, Dot, Hlc, VersionVector};

use crate::{Row, inspect::Place};

/// Rows that were read for a peer.
#[derive(Debug)]
pub struct Batch {
    /// The rows, in the order of their dots; values over one chunk as [`Content::Large`].
    ///
    /// [`Content::Large`]: crate::Content::Large
    pub rows: Vec<Row>,
    /// The keys of rows that can't be read here. Most are counted by the vector; some may be of unfinished sessions.
    pub damaged: Vec<DamagedKey>,
    /// The dot behind which the next batch begins; none if these are all rows.
    pub next: Option<Dot>,
    /// The writes that the snapshot counts.
    pub vector: VersionVector,
    /// The writes whose tombstones may have been collected.
    pub collected: VersionVector,
    /// No later tombstone was collected.
    pub floor: Hlc,
    /// The number of the state of the index that the batch was read from: see
    /// [`View::index_number`](kv_core::view::View::index_number).
    pub index: u64,
    /// The number of the last commit that the snapshot shows. Snapshots with the same number are equal.
    pub commit: u64,
}

/// A chunk of a large body, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundBody {
    /// The chunk.
    Chunk {
        /// Its bytes.
        bytes: Bytes,
        /// Whether the body ends with it.
        is_last: bool,
    },
    /// The write was replaced: the row that the key holds instead, whose values over one chunk are
    /// [`Content::Large`](crate::Content::Large). It is the same write if its value has expired.
    Replaced(Box<Row>),
    /// The key holds nothing.
    Gone,
    /// The engine can't read now.
    Failed,
    /// The row of the key or its value is damaged.
    Damaged,
}

/// Why rows were not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// The vector lacks a tombstone that was collected. Holds the vector of what was collected.
    Gone(VersionVector),
    /// The disk has failed, or the index of rows is damaged.
    Failed,
}

/// A key for which every current member has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The key.
    pub place: Place,
    /// No member has a row of it.
    pub is_nothing: bool,
    /// No member can read its row: all owe the key.
    pub is_destroyed: bool,
    /// If no member has a row, and one can tell: the writes that this one counts. A row here of one of them was deleted.
    pub ended: Option<Arc<VersionVector>>,
}
