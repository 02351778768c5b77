//! The tables of a store and the keys of their rows. FORMAT.md tells the same in prose.

use crate::{
    NamespaceId,
    codec::{DecodeError, Reader},
    entry::BodyId,
};

/// A byte-ordered map of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// Single rows: format version, identity, last commit.
    Meta = 0,
    /// Local number of an origin → its id.
    Origins = 1,
    /// (namespace, key) → the entry, tombstone or stub there.
    Entries = 2,
    /// (origin, sequence number) → (namespace, key): the dot index.
    Dots = 3,
    /// Origin → the sequence number below which nothing is missing.
    Vector = 4,
    /// Origin → the highest sequence number of a tombstone or stub that was dropped.
    Collected = 5,
    /// (second, namespace, key): entries by the time that they expire.
    Expiry = 6,
    /// (time, namespace, key): tombstones and stubs by the time of their write.
    Tombstones = 7,
    /// (body, index) → a piece of a large body.
    Chunks = 8,
    /// Body → why it waits to be freed: not yet used, or no longer.
    Pending = 9,
    /// Namespace: dropped, and some of its rows are still there.
    Purge = 10,
    /// Name → what this location keeps for itself under it.
    Local = 11,
}

impl Table {
    /// Every table, in the order of their numbers.
    pub const ALL: [Table; 12] = [
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
    ];

    /// The table's number on disk and in checksums.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// Row of [`Table::Meta`]: the format version.
pub(crate) const META_FORMAT: &[u8] = b"format";
/// Row of [`Table::Meta`]: who this store is.
pub(crate) const META_IDENTITY: &[u8] = b"identity";
/// Row of [`Table::Meta`]: the last commit's number and time.
pub(crate) const META_COMMIT: &[u8] = b"commit";

pub(crate) fn entry(namespace: NamespaceId, key: &[u8]) -> Vec<u8> {
    [&namespace.0, key].concat()
}

/// Splits (namespace, key), as rows of `Entries` are named and rows of `Dots` say.
pub(crate) fn split_entry(bytes: &[u8]) -> Result<(NamespaceId, &[u8]), DecodeError> {
    let mut reader = Reader::new(bytes);
    Ok((NamespaceId(reader.id()?), reader.rest()))
}

pub(crate) fn dot(origin: u32, seq: u64) -> Vec<u8> {
    [&origin.to_be_bytes()[..], &seq.to_be_bytes()].concat()
}

pub(crate) fn split_dot(bytes: &[u8]) -> Result<(u32, u64), DecodeError> {
    let mut reader = Reader::new(bytes);
    let parts = (reader.u32()?, reader.u64()?);
    reader.end()?;
    Ok(parts)
}

/// A row of `Expiry` (seconds) or `Tombstones` (HLC): a time, then (namespace, key).
pub(crate) fn timed(time: u64, entry: &[u8]) -> Vec<u8> {
    [&time.to_be_bytes()[..], entry].concat()
}

pub(crate) fn split_timed(bytes: &[u8]) -> Result<(u64, &[u8]), DecodeError> {
    let mut reader = Reader::new(bytes);
    Ok((reader.u64()?, reader.rest()))
}

pub(crate) fn chunk(body: BodyId, index: u32) -> Vec<u8> {
    [&body.0.to_be_bytes()[..], &index.to_be_bytes()].concat()
}

pub(crate) fn body(body: BodyId) -> Vec<u8> {
    body.0.to_be_bytes().to_vec()
}

/// The body id at the front of a row of `Chunks` or `Pending`.
pub(crate) fn split_body(bytes: &[u8]) -> Result<BodyId, DecodeError> {
    Ok(BodyId(Reader::new(bytes).u64()?))
}

/// The first key after all that start with `prefix`; none if no key can be.
pub(crate) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_the_next_key_of_its_length() {
        assert_eq!(after_prefix(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(after_prefix(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(after_prefix(b"\xff"), None);
        assert_eq!(after_prefix(b""), None);
    }
}
