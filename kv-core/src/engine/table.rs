//! The tables of an engine.

/// A table of the engine: a map from bytes to bytes in key order. What the bytes mean is the business
/// of the layers above; FORMAT.md describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// Single rows: format version, identity, last commit.
    Meta = 0,
    /// Local number of an origin → its id.
    Origins = 1,
    /// (namespace, key) → the entry there.
    Entries = 2,
    /// (origin, sequence number) → (namespace, key): the dot index.
    Dots = 3,
    /// Origin → the sequence number up to which nothing is missing.
    Vector = 4,
    /// Origin → the highest sequence number of a collected tombstone.
    Collected = 5,
    /// (second, namespace, key): entries by the time of their expiry.
    Expiry = 6,
    /// (time, namespace, key): tombstones of deletions by the time of their write. → The dot.
    Tombstones = 7,
    /// (body, index) → a chunk of a large body.
    Chunks = 8,
    /// Body: no entry has it, either not yet or no longer.
    Pending = 9,
    /// Namespace: it was dropped, and some of its dead rows may still be there. → The key up to which there are none.
    Purge = 10,
    /// Name → the bytes that this location keeps for itself under it.
    Local = 11,
    /// (second, namespace, key): expired tombstones by the time of their expiry. → The dot.
    ExpiredTombstones = 12,
    /// (namespace, key): its row can't be read here, although the vector counts it.
    Owed = 13,
    /// (namespace, key) → the tombstone there, of a deletion or of an entry that expired. A key has a row here or in
    /// the entries, never in both, so that lists do not meet tombstones.
    Deleted = 14,
}

impl Table {
    /// Every table, in the order of their numbers.
    pub const ALL: [Table; 15] = [
        Table::Meta,
        Table::Origins,
        Table::Entries,
        Table::Dots,
        Table::Vector,
        Table::Collected,
        Table::Expiry,
        Table::Tombstones,
        Table::Chunks,
        Table::Pending,
        Table::Purge,
        Table::Local,
        Table::ExpiredTombstones,
        Table::Owed,
        Table::Deleted,
    ];

    /// One more than the highest number of a table.
    pub(crate) const SLOTS: usize = Table::Deleted as usize + 1;

    /// The table's number on disk and in checksums.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }
}
