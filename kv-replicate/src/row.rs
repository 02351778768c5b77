//! One write on its way between locations.

use std::sync::Arc;

use bytes::Bytes;
use kv_core::{Change, Dot, FoundState, Hlc, JoinedRow, Key, Metadata, NamespaceId, Version};

/// A write, as it is sent to another location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The name of the write.
    pub dot: Dot,
    /// The time of the write.
    pub hlc: Hlc,
    /// The version that it replaced at the store that made it.
    pub prev: Option<Version>,
    /// The namespace of the key.
    pub namespace: NamespaceId,
    /// The key.
    pub key: Key,
    /// The metadata of the value: JSON text.
    pub metadata: Option<Metadata>,
    /// The expiry of the value, in Unix seconds.
    pub expires_at: Option<u64>,
    /// The change that the write made.
    pub content: Content,
}

/// The change that a write made to its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Put this value of at most one chunk (65,280 bytes).
    Value(Bytes),
    /// Put a value that is fetched piece by piece.
    Large {
        /// The length of the value in bytes, 1 to 26,214,400.
        len: u64,
        /// The BLAKE3 digest of the value.
        digest: [u8; 32],
    },
    /// Deleted the key.
    Deleted,
    /// Put a value that has expired since and was dropped at the source.
    Expired,
    /// Wrote fields of a row of the system namespace. This is the whole row as the source has it; one of its fields
    /// has the dot that it is sent under.
    Joined(Arc<JoinedRow>),
}

/// A write with all of its value that can be read, for the owner of a store that is about to drop it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SalvagedRow {
    /// The write. A value that can be read is in it as a whole, however large it is.
    pub row: Row,
    /// What can be read of a large value of which some is damaged or missing, in the order of the offsets. The write says
    /// how long the value was.
    pub parts: Vec<ValuePart>,
}

/// A part of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValuePart {
    /// Where it begins in the value, in bytes.
    pub offset: u64,
    /// Its bytes.
    pub bytes: Bytes,
}

impl SalvagedRow {
    /// About how many bytes it takes in memory.
    pub(crate) fn weight(&self) -> usize {
        self.row.weight() + self.parts.iter().map(|part| part.bytes.len()).sum::<usize>()
    }
}

/// The state of a key at a location.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyState {
    /// The row of the key, whatever it is; none if the location has none, or none that it can read.
    pub row: Option<Row>,
    /// Whether the location knows that it may lack the latest row of the key: its row is damaged, or a source
    /// named the key as damaged.
    pub is_owed: bool,
}

impl Row {
    /// Returns the version that the write gives its key.
    #[must_use]
    pub fn version(&self) -> Version {
        Version { hlc: self.hlc, origin: self.dot.origin }
    }

    /// Returns about how many bytes the row and its value take, fetched or not.
    pub(crate) fn whole_weight(&self) -> u64 {
        let fetched = match self.content {
            Content::Large { len, .. } => len,
            _ => 0,
        };
        self.weight() as u64 + fetched
    }

    /// Returns about how many bytes the row takes, in memory or on the wire.
    #[must_use]
    pub fn weight(&self) -> usize {
        let value = match &self.content {
            Content::Value(bytes) => bytes.len(),
            Content::Joined(row) => row.encoded_len(),
            _ => 0,
        };
        128 + self.key.len() + self.metadata.as_ref().map_or(0, |text| text.len()) + value
    }
}

impl From<Change> for Row {
    fn from(change: Change) -> Row {
        let found = change.found;
        Row {
            dot: found.dot,
            hlc: found.version.hlc,
            prev: found.prev,
            namespace: change.namespace,
            key: change.key,
            metadata: found.metadata,
            expires_at: found.expires_at,
            content: match found.state {
                FoundState::Inline(value) => Content::Value(value),
                FoundState::Large { len, digest, .. } => Content::Large { len, digest },
                FoundState::Tombstone => Content::Deleted,
                FoundState::ExpiredTombstone => Content::Expired,
                FoundState::Joined(row) => Content::Joined(row),
            },
        }
    }
}
