//! What two locations ask of their stores when one verifies that both hold the same.
//!
//! A row is compared by what must be the same everywhere: its name, version and dot, whether it is a value,
//! deleted or expired, its expiry, its metadata, and its value. How a store keeps a value is its own affair,
//! so that a value counts by its length and BLAKE3, which a large one's row carries. The pieces of a large
//! value are not read again: what its row says is believed. `prev` only tells how a write came to be.

use kv_core::{Dot, Found, FoundState, Key, NamespaceId, Version, VersionVector};

/// The name of a row. Orders as stores do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Which namespace; [`NamespaceId::SYSTEM`] too.
    pub namespace: NamespaceId,
    /// Which key.
    pub key: Key,
}

/// A question to a store, to be answered from one snapshot that shows durable commits only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A digest over the rows of a range.
    Digest(Range),
    /// The rows of a range, each with its digest.
    List(Range),
    /// These rows, at most [`MAX_ASKED_ROWS`].
    Rows(Vec<Place>),
}

/// The rows after a place and up to another; all where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// Not this one itself.
    pub after: Option<Place>,
    /// This one too.
    pub upto: Option<Place>,
}

/// The most rows that are asked for by name at a time.
pub const MAX_ASKED_ROWS: usize = 64;

/// The answer to an [`Ask`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Ask::Digest`].
    Digest(RangeDigest),
    /// To [`Ask::List`].
    List(RangeList),
    /// To [`Ask::Rows`].
    Rows(Reading),
}

/// What a range holds, in short. Rows of namespaces that are dropped here do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeDigest {
    /// Up to where it goes: to the end of what was asked, or less if that is much.
    pub end: Option<Place>,
    /// How many rows it counts.
    pub rows: u32,
    /// How many rows can't be read.
    pub damaged: u32,
    /// BLAKE3 over the digests of its rows.
    pub digest: [u8; 32],
}

/// What a range holds. Rows of namespaces that are dropped here are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeList {
    /// Up to where it goes: to the end of what was asked, or less if that is much.
    pub end: Option<Place>,
    /// The rows, by name.
    pub rows: Vec<(Place, Held)>,
}

/// Rows by name, and what their snapshot counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The snapshot's vector.
    pub vector: VersionVector,
    /// What was collected.
    pub collected: VersionVector,
    /// What was asked for, in that order.
    pub rows: Vec<Looked>,
}

/// What a store says of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looked {
    /// Its namespace is dropped here.
    pub is_dropped: bool,
    /// The row there, if there is one.
    pub held: Option<Held>,
}

/// What stands in a row's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// A row.
    Row(Summary),
    /// Bytes that can't be read.
    Damaged,
}

/// A row in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its version.
    pub version: Version,
    /// The number of its dot, which is of the version's origin.
    pub seq: u64,
    /// What it is.
    pub kind: Kind,
    /// When it expires, in Unix seconds.
    pub expires_at: Option<u64>,
    /// BLAKE3 over all that must be the same.
    pub digest: [u8; 32],
}

/// What a row is, however a store keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A value.
    Value,
    /// A tombstone.
    Deleted,
    /// A value that has expired and is gone.
    Expired,
}

impl Kind {
    /// The number that digests and messages have for it: that of a row on its way.
    pub(crate) fn number(self) -> u8 {
        match self {
            Kind::Value => 0,
            Kind::Deleted => 2,
            Kind::Expired => 3,
        }
    }
}

impl Summary {
    /// Of what a store holds under a name.
    #[must_use]
    pub fn of(namespace: NamespaceId, key: &[u8], found: &Found) -> Summary {
        let (kind, len, value) = match &found.state {
            FoundState::Inline(value) => {
                (Kind::Value, value.len() as u64, *blake3::hash(value).as_bytes())
            }
            FoundState::Large { len, digest, .. } => (Kind::Value, *len, *digest),
            FoundState::Tombstone => (Kind::Deleted, 0, [0; 32]),
            FoundState::ExpiredTombstone => (Kind::Expired, 0, [0; 32]),
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

    /// Its dot.
    #[must_use]
    pub fn dot(&self) -> Dot {
        Dot { origin: self.version.origin, seq: self.seq }
    }
}

/// Adds bytes, or that there are none, so that no two ways to fill a row give the same bytes.
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
    fn a_value_counts_the_same_in_its_row_and_in_pieces() {
        let (body, len, of_value) = (BodyId(7), 5, *blake3::hash(b"value").as_bytes());
        let large = Found { state: FoundState::Large { body, len, digest: of_value }, ..found() };
        assert_eq!(digest(&large), digest(&found()));
    }

    #[test]
    fn whatever_must_be_the_same_changes_the_digest() {
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
    fn how_a_write_came_to_be_does_not_count() {
        let prev = Some(found().version);
        assert_eq!(digest(&Found { prev, ..found() }), digest(&found()));
    }
}
