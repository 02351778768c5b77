//! The rows of keys: values and where large bodies are, in the table of entries; tombstones in one of their own.

use super::{
    entry_key::split,
    origins::Origins,
    seal::{CRC_BYTES, Place as Sealed, seal, unseal},
    small::IndexedDot,
};
use crate::{
    codec::{DecodeError, Reader, put_text},
    engine::Table,
    types::{
        BodyId, Dot, Found, FoundState, Hlc, JoinedRow, Metadata, OriginId, Version,
        limits::{MAX_METADATA_BYTES, MAX_VALUE_BYTES},
    },
};

/// The bits of the first byte that hold the kind: inline, large, tombstone or expired tombstone.
const KIND_MASK: u8 = 0b11;
/// Set if the row names the write that it replaced.
const HAS_PREV: u8 = 1 << 2;
/// Set if the row has an expiry.
const HAS_EXPIRY: u8 = 1 << 3;
/// Set if the row has metadata.
const HAS_METADATA: u8 = 1 << 4;
/// A joined row: its fields follow, and no other bit is set.
const JOINED: u8 = 1 << 5;

/// The place of a key's row: its table, and the key of the row there.
pub(crate) type Place<'a> = (Table, &'a [u8]);

/// The table that has a row: tombstones are apart, so that lists do not meet them.
pub(crate) fn table_of<V>(head: &Found<V>) -> Table {
    if head.is_tombstone() { Table::Deleted } else { Table::Entries }
}

/// The other one of the two tables that have the rows of keys.
pub(crate) fn other_table(table: Table) -> Table {
    if table == Table::Deleted { Table::Entries } else { Table::Deleted }
}

/// Encodes and seals the row of a key, for [`table_of`] it. `inline` is the value of an inline row, else empty.
/// `number` returns the local number of an origin.
pub(crate) fn encode_entry(
    key: &[u8],
    head: &Found<()>,
    inline: &[u8],
    number: &dyn Fn(OriginId) -> u32,
) -> Vec<u8> {
    if let FoundState::Joined(row) = &head.state {
        return encode_joined(key, row, number);
    }
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let kind = match head.state {
        FoundState::Inline(()) => 0,
        FoundState::Large { .. } => 1,
        FoundState::Tombstone => 2,
        FoundState::ExpiredTombstone | FoundState::Joined(_) => 3,
    };
    let mut out = Vec::with_capacity(96 + inline.len());
    out.push(
        kind | flag(head.prev.is_some(), HAS_PREV)
            | flag(head.expires_at.is_some(), HAS_EXPIRY)
            | flag(head.metadata.is_some(), HAS_METADATA),
    );
    let put_version = |out: &mut Vec<u8>, version: Version| {
        out.extend_from_slice(&version.hlc.0.to_be_bytes());
        out.extend_from_slice(&number(version.origin).to_be_bytes());
    };
    put_version(&mut out, head.version);
    out.extend_from_slice(&head.dot.seq.to_be_bytes());
    if let Some(prev) = head.prev {
        put_version(&mut out, prev);
    }
    if let Some(at) = head.expires_at {
        out.extend_from_slice(&at.to_be_bytes());
    }
    if let Some(metadata) = &head.metadata {
        put_text(&mut out, metadata);
    }
    match head.state {
        FoundState::Inline(()) => {
            let len = u32::try_from(inline.len()).expect("an inline body is short");
            out.extend_from_slice(&len.to_be_bytes());
        }
        FoundState::Large { body, len, digest } => {
            out.extend_from_slice(&body.0.to_be_bytes());
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(&digest);
        }
        FoundState::Tombstone | FoundState::ExpiredTombstone | FoundState::Joined(_) => {}
    }
    let mut out = seal(table_of(head), key, out);
    if let FoundState::Inline(()) = head.state {
        let crc = Sealed::new(Table::Entries, key).checksum(inline);
        out.extend_from_slice(inline);
        out.extend_from_slice(&crc.to_be_bytes());
    }
    out
}

/// Encodes and seals a joined row.
fn encode_joined(key: &[u8], row: &JoinedRow, number: &dyn Fn(OriginId) -> u32) -> Vec<u8> {
    let mut out = vec![JOINED];
    row.encode(&mut out, &|out, origin| out.extend_from_slice(&number(origin).to_be_bytes()));
    seal(Table::Entries, key, out)
}

/// Decodes the head of a key's row. Checks its checksum, and not that of an inline body.
pub(crate) fn decode_head(
    place: Place<'_>,
    row: &[u8],
    origins: &Origins,
) -> Result<Found<()>, DecodeError> {
    split_row(place, row, &|number| origins.id(number)).map(|(head, _body)| head)
}

/// Decodes the row of a key: its head and its inline body (empty for the other kinds).
pub(crate) fn decode_entry<'a>(
    place: Place<'_>,
    row: &'a [u8],
    origins: &Origins,
) -> Result<(Found<()>, &'a [u8]), DecodeError> {
    decode(place, row, &|number| origins.id(number))
}

/// A tombstone of format 2, which had both kinds of rows in the table of entries, as format 3 has it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Apart {
    /// The row in the table of tombstones.
    pub(crate) row: Vec<u8>,
    /// The index by time that names it.
    pub(crate) index: Table,
    /// Its time there.
    pub(crate) time: u64,
    /// Its dot.
    pub(crate) dot: IndexedDot,
}

/// Sets a tombstone apart, if a row of the table of entries is one.
pub(crate) fn set_apart(key: &[u8], row: &[u8]) -> Option<Apart> {
    let flags = *row.first()?;
    let is_tombstone = flags & JOINED == 0 && flags & KIND_MASK >= 2;
    let head = unseal(Table::Entries, key, row).ok().filter(|_| is_tombstone)?;
    let mut reader = Reader::new(&head[1..]);
    let (hlc, origin, seq) = (reader.u64().ok()?, reader.u32().ok()?, reader.u64().ok()?);
    if flags & HAS_PREV != 0 {
        reader.take(12).ok()?;
    }
    let expires_at = if flags & HAS_EXPIRY == 0 { 0 } else { reader.u64().ok()? };
    let (index, time) = match flags & KIND_MASK {
        2 => (Table::Tombstones, hlc),
        _ => (Table::ExpiredTombstones, expires_at),
    };
    let row = seal(Table::Deleted, key, head.to_vec());
    Some(Apart { row, index, time, dot: IndexedDot { origin, seq } })
}

/// Finds the id of an origin by its local number.
pub(super) type OriginOf<'o> = &'o dyn Fn(u32) -> Result<OriginId, DecodeError>;

pub(super) fn decode<'a>(
    place: Place<'_>,
    row: &'a [u8],
    origin: OriginOf<'_>,
) -> Result<(Found<()>, &'a [u8]), DecodeError> {
    let (head, body) = split_row(place, row, origin)?;
    match head.state {
        FoundState::Inline(()) => Ok((head, unseal(place.0, place.1, body)?)),
        _ => Ok((head, &[])),
    }
}

/// Splits a row into its head and the sealed inline body after it (empty for the other kinds).
fn split_row<'a>(
    (table, key): Place<'_>,
    row: &'a [u8],
    origin: OriginOf<'_>,
) -> Result<(Found<()>, &'a [u8]), DecodeError> {
    split(key)?;
    let mut reader = Reader::new(row);
    let (head, inline_len) = read_head(&mut reader, origin)?;
    let payload = row.len() - reader.remaining();
    reader.take(CRC_BYTES)?;
    unseal(table, key, &row[..payload + CRC_BYTES])?;
    if table_of(&head) != table {
        return Err(DecodeError("an entry among the tombstones, or the reverse"));
    }
    match inline_len {
        Some(len) if reader.remaining() != len as usize + CRC_BYTES => {
            Err(DecodeError("an inline body of another length"))
        }
        None if reader.remaining() != 0 => Err(DecodeError("bytes left over")),
        _ => Ok((head, reader.rest())),
    }
}

/// Reads a head, and the length of the inline body after it if there is one.
fn read_head(
    reader: &mut Reader<'_>,
    origin: OriginOf<'_>,
) -> Result<(Found<()>, Option<u32>), DecodeError> {
    let flags = reader.u8()?;
    if flags == JOINED {
        let row = JoinedRow::decode(reader, &|reader| origin(reader.u32()?))?;
        return Ok((row.into(), None));
    }
    if flags & !(KIND_MASK | HAS_PREV | HAS_EXPIRY | HAS_METADATA) != 0 {
        return Err(DecodeError("an unknown flag"));
    }
    let version = |reader: &mut Reader<'_>| {
        Ok(Version { hlc: Hlc(reader.u64()?), origin: origin(reader.u32()?)? })
    };
    let has = |flag: u8| flags & flag != 0;
    let made_by = version(reader)?;
    let dot = Dot { origin: made_by.origin, seq: reader.u64()? };
    let prev = has(HAS_PREV).then(|| version(reader)).transpose()?;
    let expires_at = has(HAS_EXPIRY).then(|| reader.u64()).transpose()?;
    let metadata = has(HAS_METADATA).then(|| read_metadata(reader)).transpose()?;
    let (state, inline_len) = match flags & KIND_MASK {
        0 => (FoundState::Inline(()), Some(reader.u32()?)),
        1 => {
            let (body, len) = (BodyId(reader.u64()?), reader.u64()?);
            (FoundState::Large { body, len, digest: reader.digest()? }, None)
        }
        2 => (FoundState::Tombstone, None),
        _ => (FoundState::ExpiredTombstone, None),
    };
    let len = state.large().map_or(inline_len.unwrap_or(0).into(), |large| large.len);
    if len > MAX_VALUE_BYTES {
        return Err(DecodeError("a body over its bound"));
    }
    Ok((Found { version: made_by, dot, prev, metadata, expires_at, state }, inline_len))
}

/// Reads metadata and checks its bound.
fn read_metadata(reader: &mut Reader<'_>) -> Result<Metadata, DecodeError> {
    let text = reader.text(MAX_METADATA_BYTES)?;
    Metadata::new(text).map_err(|_too_long| DecodeError("metadata over its bound"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tables::EntryKey;

    /// Origins whose ids hold their numbers.
    fn id(number: u32) -> OriginId {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        OriginId(id)
    }

    fn number(id: OriginId) -> u32 {
        u32::from_be_bytes(*id.0.first_chunk().unwrap())
    }

    fn version() -> impl Strategy<Value = Version> {
        (any::<u64>(), any::<u32>())
            .prop_map(|(hlc, origin)| Version { hlc: Hlc(hlc), origin: id(origin) })
    }

    fn head_and_body() -> impl Strategy<Value = (Found<()>, Vec<u8>)> {
        let state = prop_oneof![
            Just(FoundState::Inline(())),
            (any::<u64>(), 0..=MAX_VALUE_BYTES, any::<[u8; 32]>()).prop_map(
                |(body, len, digest)| FoundState::Large { body: BodyId(body), len, digest }
            ),
            Just(FoundState::Tombstone),
            Just(FoundState::ExpiredTombstone),
        ];
        (
            version(),
            any::<u64>(),
            proptest::option::of(version()),
            proptest::option::of(any::<u64>()),
            proptest::option::of("\\PC{0,200}"),
            state,
            proptest::collection::vec(any::<u8>(), 0..100),
        )
            .prop_map(|(version, seq, prev, expires_at, metadata, state, body)| {
                let body = if state == FoundState::Inline(()) { body } else { Vec::new() };
                let metadata = metadata.map(|text| Metadata::new(text).unwrap());
                let dot = Dot { origin: version.origin, seq };
                (Found { version, dot, prev, metadata, expires_at, state }, body)
            })
    }

    fn entry(key: &[u8]) -> Vec<u8> {
        EntryKey::of(crate::types::NamespaceId([7; 16]), key).unwrap().as_bytes().to_vec()
    }

    fn decoded<'a>(key: &[u8], row: &'a [u8]) -> Result<(Found<()>, &'a [u8]), DecodeError> {
        // The first byte shows which table a row is for.
        let table = match row.first() {
            Some(flags) if flags & KIND_MASK >= 2 => Table::Deleted,
            _ => Table::Entries,
        };
        decode((table, key), row, &|number| Ok(id(number)))
    }

    proptest! {
        #[test]
        fn a_row_reads_back_as_it_was_written(
            (head, body) in head_and_body(),
            key in proptest::collection::vec(any::<u8>(), 1..20),
        ) {
            let key = entry(&key);
            let row = encode_entry(&key, &head, &body, &number);
            prop_assert_eq!(decoded(&key, &row).unwrap(), (head, &body[..]));
        }

        #[test]
        fn a_damaged_row_is_an_error(
            (head, body) in head_and_body(),
            at: proptest::sample::Index,
            bit in 0u8..8,
        ) {
            let key = entry(b"k");
            let mut row = encode_entry(&key, &head, &body, &number);
            let at = at.index(row.len());
            row[at] ^= 1 << bit;
            prop_assert!(decoded(&key, &row).is_err());
        }

        #[test]
        fn a_row_is_not_a_row_of_the_other_table((head, body) in head_and_body()) {
            let key = entry(b"k");
            let row = encode_entry(&key, &head, &body, &number);
            let other = (other_table(table_of(&head)), &key[..]);
            prop_assert!(decode(other, &row, &|number| Ok(id(number))).is_err());
        }

        #[test]
        fn only_a_tombstone_is_set_apart_and_keeps_its_head((head, body) in head_and_body()) {
            let key = entry(b"k");
            let apart = encode_entry(&key, &head, &body, &number);
            let payload = &apart[..apart.len() - CRC_BYTES];
            let before = if head.is_tombstone() {
                seal(Table::Entries, &key, payload.to_vec())
            } else {
                apart.clone()
            };
            let set_apart = set_apart(&key, &before);
            prop_assert_eq!(set_apart.is_some(), head.is_tombstone());
            if let Some(Apart { row, index, time, dot }) = set_apart {
                prop_assert_eq!(row, apart);
                prop_assert_eq!(dot, IndexedDot { origin: number(head.dot.origin), seq: head.dot.seq });
                let expected = match head.state {
                    FoundState::Tombstone => (Table::Tombstones, head.version.hlc.0),
                    _ => (Table::ExpiredTombstones, head.expires_at.unwrap_or(0)),
                };
                prop_assert_eq!((index, time), expected);
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(row: Vec<u8>) {
            let _ignored = decoded(&entry(b"k"), &row);
        }
    }
}
