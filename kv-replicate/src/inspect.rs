//! Questions to the stores of two locations, when one verifies that both hold the same.
//!
//! A row is compared by everything that must be the same everywhere: its key, version and dot, whether it
//! is a value, deleted or expired, its expiry, its metadata, and its value. Stores may keep a value in
//! different ways, so a value counts by its length and its BLAKE3 digest, which the row of a large value
//! carries. The pieces of a large value are not read again. `prev` does not count: it only records how a
//! write came about.

use kv_core::{Dot, Found, FoundState, Hlc, Key, NamespaceId, Version, VersionVector};

/// The name of a row. It orders as stores do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The namespace, possibly [`NamespaceId::SYSTEM`].
    pub namespace: NamespaceId,
    /// The key.
    pub key: Key,
}

/// A question to a store, to be answered from one snapshot that shows durable commits only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A digest over the rows of a range.
    Digest(Range),
    /// The rows of a range, each with its digest.
    List(Range),
    /// These rows by name, at most [`MAX_ASKED_ROWS`].
    Rows(Vec<Place>),
}

/// The rows behind one place and up to another. Without a place, the range has no end on that side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The place before the first row.
    pub after: Option<Place>,
    /// The place of the last row.
    pub upto: Option<Place>,
}

/// The most rows that one question names.
pub const MAX_ASKED_ROWS: usize = 64;

/// The answer to an [`Ask`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The answer to [`Ask::Digest`].
    Digest(RangeDigest),
    /// The answer to [`Ask::List`].
    List(RangeList),
    /// The answer to [`Ask::Rows`].
    Rows(Reading),
}

/// A digest over the rows of a range. Rows that are dead here, because they are not later than the drop of their
/// namespace, do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeDigest {
    /// The end of the range that was read: the end of the question's range, or an earlier one if that has
    /// many rows.
    pub end: Option<Place>,
    /// How many rows it covers.
    pub rows: u32,
    /// How many rows can't be read or are owed.
    pub damaged: u32,
    /// BLAKE3 over the digests of its rows.
    pub digest: [u8; 32],
}

/// The rows of a range. Rows that are dead here are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeList {
    /// The end of the range that was read: the end of the question's range, or an earlier one if that has
    /// many rows.
    pub end: Option<Place>,
    /// The rows, by name.
    pub rows: Vec<(Place, Held)>,
}

/// Rows by name, with the vectors of their snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The snapshot's vector.
    pub vector: VersionVector,
    /// The writes whose tombstones may have been collected.
    pub collected: VersionVector,
    /// A time that none of these tombstones is later than.
    pub collected_upto: Hlc,
    /// The rows, in the order of the question.
    pub rows: Vec<Looked>,
}

/// The state of one name in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looked {
    /// Whether the vector of the reading counts every write that the row comes from; true if there is no row.
    pub is_counted: bool,
    /// The last drop of its namespace here: rows that are not later are dead, and need not be held anywhere.
    pub dropped_at: Option<Version>,
    /// The row of that name, if there is one.
    pub held: Option<Held>,
}

/// The row at a place, or its remains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// A row.
    Row(Summary),
    /// Bytes that can't be read.
    Damaged,
}

/// A summary of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The version of the row; of a joined row that of the write that came last.
    pub version: Version,
    /// The sequence number of its dot, whose origin is the version's.
    pub seq: u64,
    /// Whether it is a value, a deletion, an expired value or a joined row.
    pub kind: Kind,
    /// Its expiry, in Unix seconds.
    pub expires_at: Option<u64>,
    /// BLAKE3 over everything that must be the same.
    pub digest: [u8; 32],
}

/// The kind of a row, however a store keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A value.
    Value,
    /// A tombstone.
    Deleted,
    /// An expired tombstone.
    Expired,
    /// A joined row of the system namespace.
    Joined,
}

impl Kind {
    /// Its number in digests and messages.
    pub(crate) fn number(self) -> u8 {
        match self {
            Kind::Value => 0,
            Kind::Joined => 1,
            Kind::Deleted => 2,
            Kind::Expired => 3,
        }
    }
}

impl Summary {
    /// Returns the summary of a row.
    #[must_use]
    pub fn of(namespace: NamespaceId, key: &[u8], found: &Found) -> Summary {
        let (kind, len, value) = match &found.state {
            FoundState::Inline(value) => {
                (Kind::Value, value.len() as u64, *blake3::hash(value).as_bytes())
            }
            FoundState::Large { len, digest, .. } => (Kind::Value, *len, *digest),
            FoundState::Tombstone => (Kind::Deleted, 0, [0; 32]),
            FoundState::ExpiredTombstone => (Kind::Expired, 0, [0; 32]),
            FoundState::Joined(row) => {
                let mut fields = Vec::with_capacity(row.encoded_len());
                row.encode(&mut fields, &|fields, origin| fields.extend_from_slice(&origin.0));
                (Kind::Joined, fields.len() as u64, *blake3::hash(&fields).as_bytes())
            }
        };
        let mut hasher = blake3::Hasher::new();
        hasher.update(&namespace.0);
        put_bytes(&mut hasher, Some(key));
        hasher.update(&found.version.hlc.0.to_be_bytes());
        hasher.update(&found.version.origin.0);
        hasher.update(&found.dot.seq.to_be_bytes());
        hasher.update(&[kind.number()]);
        put_bytes(&mut hasher, found.expires_at.map(u64::to_be_bytes).as_ref().map(|at| &at[..]));
        put_bytes(&mut hasher, found.metadata.as_ref().map(|text| text.as_bytes()));
        hasher.update(&len.to_be_bytes());
        hasher.update(&value);
        let digest = *hasher.finalize().as_bytes();
        let (version, seq, expires_at) = (found.version, found.dot.seq, found.expires_at);
        Summary { version, seq, kind, expires_at, digest }
    }

    /// Returns the dot of the row.
    #[must_use]
    pub fn dot(&self) -> Dot {
        Dot { origin: self.version.origin, seq: self.seq }
    }
}

/// Hashes bytes behind their length, or their absence, so that no two rows give the same input.
fn put_bytes(hasher: &mut blake3::Hasher, bytes: Option<&[u8]>) {
    let len = bytes.map_or(u64::MAX, |bytes| bytes.len() as u64);
    hasher.update(&len.to_be_bytes());
    hasher.update(bytes.unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kv_core::{BodyId, Hlc, Metadata, OriginId};

    use super::*;

    fn found() -> Found {
        let version = Version { hlc: Hlc(5), origin: OriginId([1; 16]) };
        Found {
            version,
            dot: Dot { origin: version.origin, seq: 3 },
            prev: None,
            metadata: Metadata::new("m").ok(),
            expires_at: Some(9),
            state: FoundState::Inline(Bytes::from_static(b"value")),
        }
    }

    fn digest(found: &Found) -> [u8; 32] {
        Summary::of(NamespaceId([2; 16]), b"key", found).digest
    }

    #[test]
    fn a_value_has_the_same_digest_in_its_row_and_in_pieces() {
        let (body, len, of_value) = (BodyId(7), 5, *blake3::hash(b"value").as_bytes());
        let large = Found { state: FoundState::Large { body, len, digest: of_value }, ..found() };
        assert_eq!(digest(&large), digest(&found()));
    }

    #[test]
    fn everything_that_must_be_the_same_changes_the_digest() {
        let version = found().version;
        let dot = Dot { seq: 4, ..found().dot };
        let others = [
            Found { version: Version { hlc: Hlc(6), ..version }, ..found() },
            Found { version: Version { origin: OriginId([9; 16]), ..version }, ..found() },
            Found { dot, ..found() },
            Found { metadata: None, ..found() },
            Found { metadata: Metadata::new("").ok(), ..found() },
            Found { expires_at: None, ..found() },
            Found { expires_at: Some(8), ..found() },
            Found { state: FoundState::Inline(Bytes::from_static(b"valuf")), ..found() },
            Found { state: FoundState::ExpiredTombstone, ..found() },
            Found { state: FoundState::Tombstone, ..found() },
        ];
        let mut digests: Vec<_> = others.iter().map(digest).collect();
        digests.push(digest(&found()));
        digests.push(Summary::of(NamespaceId([2; 16]), b"kez", &found()).digest);
        digests.push(Summary::of(NamespaceId([3; 16]), b"key", &found()).digest);
        let count = digests.len();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), count);
    }

    #[test]
    fn the_replaced_version_does_not_change_the_digest() {
        let prev = Some(found().version);
        assert_eq!(digest(&Found { prev, ..found() }), digest(&found()));
    }
}
