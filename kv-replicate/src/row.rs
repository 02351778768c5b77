//! One write on its way between locations.

use bytes::Bytes;
use kv_core::{Change, Dot, FoundState, Hlc, Key, Metadata, NamespaceId, Version};

/// A write as another location gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which write.
    pub dot: Dot,
    /// When.
    pub hlc: Hlc,
    /// The version that it replaced where it was made.
    pub prev: Option<Version>,
    /// Where.
    pub namespace: NamespaceId,
    /// Under which key.
    pub key: Key,
    /// JSON text.
    pub metadata: Option<Metadata>,
    /// When it expires, in Unix seconds.
    pub expires_at: Option<u64>,
    /// What it did.
    pub content: Content,
}

/// What a write did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Put this value, at most one chunk of it (65,280 bytes).
    Value(Bytes),
    /// Put a value that is fetched piece by piece.
    Large {
        /// Its length, 1 to 26,214,400.
        len: u64,
        /// BLAKE3 of it.
        digest: [u8; 32],
    },
    /// Deleted the key.
    Deleted,
    /// Put a value that has expired since, and is gone at the source.
    Expired,
}

impl Row {
    /// The version that the write gives its key.
    #[must_use]
    pub fn version(&self) -> Version {
        Version { hlc: self.hlc, origin: self.dot.origin }
    }

    /// About how many bytes it takes, in memory or on the wire.
    #[must_use]
    pub fn weight(&self) -> usize {
        let value = match &self.content {
            Content::Value(bytes) => bytes.len(),
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
            },
        }
    }
}
