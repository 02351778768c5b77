//! The content of a key's row: the one shape that the disk, readers, commits and peers share.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    attributes::Metadata,
    id::NamespaceId,
    joined::JoinedRow,
    key::Key,
    version::{Dot, Version},
};

/// The id of a large body's chunks in one store. It never leaves the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BodyId(pub u64);

/// A body in chunks: where it is, how long it is, and what it must hash to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Large {
    /// Where the chunks are in this store.
    pub body: BodyId,
    /// The length of the value in bytes.
    pub len: u64,
    /// BLAKE3 of the value: the same at every location.
    pub digest: [u8; 32],
}

/// The row of a key. `V` is how much of an inline value comes with it: the bytes, or `()` where
/// only the head of the row was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<V = Bytes> {
    /// The version of the write that made the row; of a joined row, of the latest write or of the one that it is
    /// listed by.
    pub version: Version,
    /// The dot of that write. Its origin is the version's.
    pub dot: Dot,
    /// The version that the write replaced at the location that made it.
    pub prev: Option<Version>,
    /// See [`Attributes`](super::Attributes).
    pub metadata: Option<Metadata>,
    /// See [`Attributes`](super::Attributes).
    pub expires_at: Option<u64>,
    /// The value or the tombstone.
    pub state: FoundState<V>,
}

/// The value or the tombstone of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundState<V = Bytes> {
    /// A value in the row.
    Inline(V),
    /// A value in chunks.
    Large {
        /// Where the chunks are in this store.
        body: BodyId,
        /// The length of the value in bytes.
        len: u64,
        /// BLAKE3 of the value.
        digest: [u8; 32],
    },
    /// The key was deleted.
    Tombstone,
    /// The value expired, and its body was freed.
    ExpiredTombstone,
    /// A row of the system namespace: fields that merge one by one. It has no metadata, no expiry and no `prev`.
    Joined(Arc<JoinedRow>),
}

impl<V> Found<V> {
    /// Whether the row is a tombstone of either kind: nothing to read, kept until it is stable.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        matches!(self.state, FoundState::Tombstone | FoundState::ExpiredTombstone)
    }

    /// Whether the expiry of the row is at or before a time in Unix milliseconds. A row without an expiry
    /// never expires.
    #[must_use]
    pub fn has_expired(&self, at_ms: u64) -> bool {
        self.expires_at.is_some_and(|at| at.saturating_mul(1000) <= at_ms)
    }

    /// Whether a reader at `now_ms` (Unix milliseconds) finds a value here.
    #[must_use]
    pub fn is_visible(&self, now_ms: u64) -> bool {
        !self.is_tombstone() && !self.has_expired(now_ms)
    }

    /// The fields, if the row is a joined row.
    #[must_use]
    pub fn joined(&self) -> Option<&Arc<JoinedRow>> {
        match &self.state {
            FoundState::Joined(row) => Some(row),
            _ => None,
        }
    }

    /// The dots under which the dot index names the row: one, or of a joined row one for each write that a field comes
    /// from.
    #[must_use]
    pub fn dots(&self) -> Vec<Dot> {
        self.joined().map_or_else(|| vec![self.dot], |row| row.dots().into_iter().collect())
    }

    /// The row as it is listed by one of its dots; `None` if the dot is not one of its.
    pub(crate) fn listed_by(mut self, dot: Dot) -> Option<Self> {
        if let Some(row) = self.joined() {
            let version = row.version_at(dot)?;
            (self.dot, self.version) = (dot, version);
        }
        (self.dot == dot).then_some(self)
    }

    /// The large body, if the value is one.
    #[must_use]
    pub fn large(&self) -> Option<Large> {
        self.state.large()
    }

    /// The same row with another inline value, or with none.
    pub(crate) fn with_value<W>(self, value: W) -> Found<W> {
        let Found { version, dot, prev, metadata, expires_at, state } = self;
        let state = match state {
            FoundState::Inline(_) => FoundState::Inline(value),
            FoundState::Large { body, len, digest } => FoundState::Large { body, len, digest },
            FoundState::Tombstone => FoundState::Tombstone,
            FoundState::ExpiredTombstone => FoundState::ExpiredTombstone,
            FoundState::Joined(row) => FoundState::Joined(row),
        };
        Found { version, dot, prev, metadata, expires_at, state }
    }
}

impl<V> FoundState<V> {
    /// Returns the body in chunks, if the entry has one.
    pub(crate) fn large(&self) -> Option<Large> {
        match *self {
            FoundState::Large { body, len, digest } => Some(Large { body, len, digest }),
            _ => None,
        }
    }
}

impl<V> From<JoinedRow> for Found<V> {
    fn from(row: JoinedRow) -> Found<V> {
        let (version, dot) = (row.latest().version, row.latest().dot());
        let state = FoundState::Joined(Arc::new(row));
        Found { version, dot, prev: None, metadata: None, expires_at: None, state }
    }
}

impl<V> From<Large> for FoundState<V> {
    fn from(large: Large) -> FoundState<V> {
        let Large { body, len, digest } = large;
        FoundState::Large { body, len, digest }
    }
}

/// A row with its name: a local write, or a row that a version vector lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The namespace.
    pub namespace: NamespaceId,
    /// The key.
    pub key: Key,
    /// The row. Its dot is the change's.
    pub found: Found,
}
