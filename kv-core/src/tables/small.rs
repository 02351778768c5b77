//! The layouts of the small tables: single rows, origins, vectors, indexes, chunks, marks.

use bytes::Bytes;

use super::{entry_key::EntryKey, layout::Layout, seal::unseal};
use crate::{
    codec::{DecodeError, Reader, put_text},
    engine::{Snapshot, Table},
    error::ReadError,
    types::{
        BodyId, Dot, FeaturesInUse, Hlc, MemberId, NamespaceId, OriginId, Owed, OwedReason,
        SoftwareVersion,
        limits::{CHUNK_BYTES, MAX_KEY_BYTES},
    },
};

/// Reads a value that must be all that there is.
pub(super) fn whole<'a, T>(
    bytes: &'a [u8],
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    let mut reader = Reader::new(bytes);
    let value = read(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// Defines the layout of a table, or of one row of [`Table::Meta`].
macro_rules! layout {
    ($(
        $(#[$doc:meta])*
        $name:ident in $table:ident: $key:ty => $row:ty;
        key $write_key:expr, $read_key:expr;
        row $write_row:expr, $read_row:expr;
    )*) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl Layout for $name {
            const TABLE: Table = Table::$table;
            type Key = $key;
            type Row = $row;

            fn key(key: &$key) -> Vec<u8> {
                let write: fn(&$key) -> Vec<u8> = $write_key;
                write(key)
            }

            fn read_key(bytes: &[u8]) -> Result<$key, DecodeError> {
                let read: fn(&[u8]) -> Result<$key, DecodeError> = $read_key;
                read(bytes)
            }

            fn payload(row: &$row) -> Vec<u8> {
                let write: fn(&$row) -> Vec<u8> = $write_row;
                write(row)
            }

            fn read_payload(bytes: &[u8]) -> Result<$row, DecodeError> {
                let read: fn(&[u8]) -> Result<$row, DecodeError> = $read_row;
                read(bytes)
            }
        }
    )*};
}

layout! {
    /// The row of the format version.
    Format in Meta: () => u32;
    key |()| b"format".to_vec(), |key| named(key, b"format");
    row |version| version.to_be_bytes().to_vec(), |row| whole(row, Reader::u32);

    /// The row of the program that gave the store its format, which therefore reads it.
    FormatBy in Meta: () => SoftwareVersion;
    key |()| b"software".to_vec(), |key| named(key, b"software");
    row |version| {
            let mut row = Vec::new();
            put_text(&mut row, version.as_str());
            row
        },
        |row| whole(row, SoftwareVersion::read);

    /// The row of a migration that is not finished.
    Migrating in Meta: () => Migration;
    key |()| b"migration".to_vec(), |key| named(key, b"migration");
    row |migration| [&migration.from.to_be_bytes()[..], &migration.after].concat(),
        |row| whole(row, |reader| Ok(Migration { from: reader.u32()?, after: reader.rest().to_vec() }));

    /// The row of the features in use.
    InUse in Meta: () => FeaturesInUse;
    key |()| b"features".to_vec(), |key| named(key, b"features");
    row FeaturesInUse::encode, FeaturesInUse::decode;

    /// The row of the location that the store belongs to.
    Identity in Meta: () => MemberId;
    key |()| b"identity".to_vec(), |key| named(key, b"identity");
    row |id| id.0.to_vec(), |row| whole(row, Reader::id).map(MemberId);

    /// The row of a store that rebuilds: it lacks deletions, or everything, until a session brought the rest.
    Rebuilding in Meta: () => ();
    key |()| b"rebuilding".to_vec(), |key| named(key, b"rebuilding");
    row |()| vec![1], |row| match row {
        [1] => Ok(()),
        _ => Err(DecodeError("a mark of another value")),
    };

    /// The row of the clock: the last committed time.
    CommitTime in Meta: () => Hlc;
    key |()| b"commit".to_vec(), |key| named(key, b"commit");
    row |time| number(&time.0), |row| read_number(row).map(Hlc);

    /// The row of the closed timestamp: later writes of this store are later.
    ClosedTime in Meta: () => Hlc;
    key |()| b"closed".to_vec(), |key| named(key, b"closed");
    row |time| number(&time.0), |row| read_number(row).map(Hlc);

    /// The row of the highest time of an entry, if the row of the highest committed time may be lower.
    NewestEntry in Meta: () => Hlc;
    key |()| b"newest".to_vec(), |key| named(key, b"newest");
    row |time| number(&time.0), |row| read_number(row).map(Hlc);

    /// The row of a time that no collected tombstone is later than.
    CollectedUpto in Meta: () => Hlc;
    key |()| b"collected_upto".to_vec(), |key| named(key, b"collected_upto");
    row |time| number(&time.0), |row| read_number(row).map(Hlc);

    /// Local number of an origin → its id.
    OriginIds in Origins: u32 => OriginId;
    key |number| number.to_be_bytes().to_vec(), |key| whole(key, Reader::u32);
    row |id| id.0.to_vec(), |row| whole(row, Reader::id).map(OriginId);

    /// The dot index: the dot of each row → its key.
    Dots in Dots: IndexedDot => EntryKey;
    key IndexedDot::write, IndexedDot::read;
    row |key| key.as_bytes().to_vec(), EntryKey::read;

    /// Local number of an origin → the sequence number up to which nothing is missing.
    Vector in Vector: u32 => u64;
    key |number| number.to_be_bytes().to_vec(), |key| whole(key, Reader::u32);
    row number, read_number;

    /// Local number of an origin → the highest sequence number of a collected tombstone.
    Collected in Collected: u32 => u64;
    key |number| number.to_be_bytes().to_vec(), |key| whole(key, Reader::u32);
    row number, read_number;

    /// Entries by the second of their expiry.
    Expiry in Expiry: Timed => ();
    key Timed::write, Timed::read;
    row |()| Vec::new(), nothing;

    /// Tombstones of deletions by the time of their write → the dot.
    Tombstones in Tombstones: Timed => IndexedDot;
    key Timed::write, Timed::read;
    row IndexedDot::write, IndexedDot::read;

    /// Expired tombstones by the second of their expiry → the dot.
    ExpiredTombstones in ExpiredTombstones: Timed => IndexedDot;
    key Timed::write, Timed::read;
    row IndexedDot::write, IndexedDot::read;

    /// The chunks of large bodies.
    Chunks in Chunks: ChunkKey => Bytes;
    key |key| [&key.body.0.to_be_bytes()[..], &key.index.to_be_bytes()].concat(),
        |key| whole(key, |reader| Ok(ChunkKey { body: BodyId(reader.u64()?), index: reader.u32()? }));
    row |bytes| bytes.to_vec(), |row| match row.len() {
        1..=CHUNK_BYTES => Ok(Bytes::copy_from_slice(row)),
        _ => Err(DecodeError("a chunk of an invalid length")),
    };

    /// Bodies that no entry has: not yet, or no longer.
    Pending in Pending: BodyId => ();
    key |body| body_prefix(*body), |key| whole(key, Reader::u64).map(BodyId);
    row |()| Vec::new(), nothing;

    /// Keys whose rows can't be read here, although the vector counts them.
    OwedRows in Owed: EntryKey => Owed;
    key |key| key.as_bytes().to_vec(), EntryKey::read;
    row write_owed, |row| whole(row, read_owed);

    /// Dropped namespaces that may still have dead rows → the key up to which there are none.
    Purge in Purge: NamespaceId => Vec<u8>;
    key |id| id.0.to_vec(), |key| whole(key, Reader::id).map(NamespaceId);
    row |upto| upto.clone(), |row| match row.len() {
        0..=MAX_KEY_BYTES => Ok(row.to_vec()),
        _ => Err(DecodeError("a key of an invalid length")),
    };
}

/// How far a migration is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Migration {
    /// The format that it migrates from, to the next one.
    pub(crate) from: u32,
    /// Where its step continues, in bytes that only the step understands; empty at the beginning.
    pub(crate) after: Vec<u8>,
}

/// A key of the dot index: a dot with the local number of its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexedDot {
    /// The local number of the origin.
    pub(crate) origin: u32,
    /// The sequence number.
    pub(crate) seq: u64,
}

impl IndexedDot {
    /// Encodes the origin, then the number, so that rows are in the order of their dots.
    fn write(&self) -> Vec<u8> {
        [&self.origin.to_be_bytes()[..], &self.seq.to_be_bytes()].concat()
    }

    /// Decodes what [`IndexedDot::write`] returns.
    fn read(bytes: &[u8]) -> Result<IndexedDot, DecodeError> {
        whole(bytes, |reader| Ok(IndexedDot { origin: reader.u32()?, seq: reader.u64()? }))
    }
}

/// A key of an index by time: seconds in [`Expiry`] and [`ExpiredTombstones`], an [`Hlc`] in
/// [`Tombstones`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Timed {
    /// The time: seconds in the index by expiry, a clock's time in the index of tombstones.
    pub(crate) time: u64,
    /// The entry that the row is about.
    pub(crate) entry: EntryKey,
}

impl Timed {
    /// Encodes the time, then the key of the entry's row, so that rows are in the order of their times.
    fn write(&self) -> Vec<u8> {
        [&self.time.to_be_bytes()[..], self.entry.as_bytes()].concat()
    }

    /// Decodes what [`Timed::write`] returns.
    fn read(bytes: &[u8]) -> Result<Timed, DecodeError> {
        let mut reader = Reader::new(bytes);
        Ok(Timed { time: reader.u64()?, entry: EntryKey::read(reader.rest())? })
    }
}

/// The place of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkKey {
    /// The body.
    pub(crate) body: BodyId,
    /// The place of the chunk in its body, from 0.
    pub(crate) index: u32,
}

/// Returns the bytes that the keys of all chunks of a body start with.
pub(crate) fn body_prefix(body: BodyId) -> Vec<u8> {
    body.0.to_be_bytes().to_vec()
}

/// Reads a chunk without a copy of its bytes.
pub(crate) fn chunk(
    snapshot: &impl Snapshot,
    body: BodyId,
    index: u32,
) -> Result<Option<Bytes>, ReadError> {
    let key = Chunks::key(&ChunkKey { body, index });
    let Some(row) = snapshot.get(Table::Chunks, &key)? else { return Ok(None) };
    let payload = unseal(Table::Chunks, &key, &row).map_err(ReadError::damaged(Table::Chunks))?;
    Ok(Some(row.slice_ref(payload)))
}

/// Checks that the key of a row of the table meta is its name.
fn named(key: &[u8], name: &[u8]) -> Result<(), DecodeError> {
    if key == name { Ok(()) } else { Err(DecodeError("an unknown row of the table meta")) }
}

/// Encodes since when and why a row is owed, and the name of its write if it is known.
fn write_owed(owed: &Owed) -> Vec<u8> {
    let reason = match owed.reason {
        OwedReason::Row => 0,
        OwedReason::Chunk => 1,
        OwedReason::Source => 2,
    };
    let mut out = owed.since_ms.to_be_bytes().to_vec();
    out.push(reason);
    if let Some(dot) = owed.dot {
        out.extend_from_slice(&dot.origin.0);
        out.extend_from_slice(&dot.seq.to_be_bytes());
    }
    out
}

/// See [`write_owed`].
fn read_owed(reader: &mut Reader<'_>) -> Result<Owed, DecodeError> {
    let since_ms = reader.u64()?;
    let reason = match reader.u8()? {
        0 => OwedReason::Row,
        1 => OwedReason::Chunk,
        2 => OwedReason::Source,
        _ => return Err(DecodeError("an unknown reason why a row is owed")),
    };
    let has_dot = reader.remaining() > 0;
    let dot = has_dot.then(|| Ok(Dot { origin: OriginId(reader.id()?), seq: reader.u64()? }));
    Ok(Owed { since_ms, reason, dot: dot.transpose()? })
}

/// Encodes a number in big-endian order.
fn number(number: &u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// Decodes a number that fills the row.
fn read_number(row: &[u8]) -> Result<u64, DecodeError> {
    whole(row, Reader::u64)
}

/// Checks that a row is empty: its key is all that it says.
fn nothing(row: &[u8]) -> Result<(), DecodeError> {
    whole(row, |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::layout::{decode, encode};

    #[test]
    fn a_row_in_another_rows_place_is_an_error() {
        let (key, row) = encode::<Vector>(&1, &7);
        assert_eq!(decode::<Vector>(&key, &row), Ok((1, 7)));
        assert!(decode::<Vector>(&2u32.to_be_bytes(), &row).is_err());
        assert!(decode::<Collected>(&key, &row).is_err());
    }
}
