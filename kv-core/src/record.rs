//! The layout of the rows, and their checksums. FORMAT.md tells the same in prose.
//!
//! Every row ends in a CRC-32C over its table, its key and what stands before it, so that neither
//! damaged bytes nor a row in another's place become a value. An entry with an inline body has two:
//! one for the head, so that a list need not read bodies, and one for the body.

use crate::{
    Hlc,
    codec::{DecodeError, Reader, put_text},
    entry::BodyId,
    limits::{MAX_METADATA_BYTES, MAX_VALUE_BYTES},
    schema::Table,
};

/// The version of the format that this crate writes, and the only one that it reads.
pub const FORMAT_VERSION: u32 = 1;

const CRC_BYTES: usize = 4;

/// The checksum of a row's place, which those of its payloads go on from.
fn place(table: Table, key: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&[table.number()]), key)
}

fn checksum(table: Table, key: &[u8], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(place(table, key), payload)
}

/// Appends the checksum of `payload` as the row `key` of `table`.
pub(crate) fn seal(table: Table, key: &[u8], mut payload: Vec<u8>) -> Vec<u8> {
    let crc = checksum(table, key, &payload);
    payload.extend_from_slice(&crc.to_be_bytes());
    payload
}

/// The payload of a sealed row.
pub(crate) fn unseal<'a>(table: Table, key: &[u8], row: &'a [u8]) -> Result<&'a [u8], DecodeError> {
    unseal_at(place(table, key), row)
}

fn unseal_at(place: u32, row: &[u8]) -> Result<&[u8], DecodeError> {
    let (payload, crc) = row.split_last_chunk().ok_or(DecodeError("shorter than its checksum"))?;
    if u32::from_be_bytes(*crc) != crc32c::crc32c_append(place, payload) {
        return Err(DecodeError("wrong checksum"));
    }
    Ok(payload)
}

/// A version as rows hold it: with the origin's local number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocalVersion {
    pub(crate) hlc: Hlc,
    pub(crate) origin: u32,
}

/// What an entry's row says before its inline body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) version: LocalVersion,
    pub(crate) seq: u64,
    pub(crate) prev: Option<LocalVersion>,
    pub(crate) expires_at: Option<u64>,
    pub(crate) metadata: Option<Box<str>>,
    pub(crate) kind: Kind,
}

/// The four kinds of row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The body stands behind the head; its length.
    Inline(u32),
    /// The body is in chunks.
    Chunked(Large),
    /// Deleted.
    Tombstone,
    /// Expired, its body freed.
    ExpiredTombstone,
}

/// A body in chunks: where it is, how long, and what it must hash to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Large {
    pub(crate) body: BodyId,
    pub(crate) len: u64,
    /// BLAKE3 of the whole body: the same at every location, unlike the body's local id.
    pub(crate) digest: [u8; 32],
}

impl Head {
    /// Whether the row is a tombstone or a stub: nothing to read, kept until it is stable.
    pub(crate) fn is_tombstone(&self) -> bool {
        matches!(self.kind, Kind::Tombstone | Kind::ExpiredTombstone)
    }

    /// Whether a reader at `now_ms` finds a value here.
    pub(crate) fn is_visible(&self, now_ms: u64) -> bool {
        !self.is_tombstone() && self.expires_at.is_none_or(|at| at.saturating_mul(1000) > now_ms)
    }

    pub(crate) fn large(&self) -> Option<Large> {
        match self.kind {
            Kind::Chunked(large) => Some(large),
            _ => None,
        }
    }
}

const KIND_MASK: u8 = 0b11;
const HAS_PREV: u8 = 1 << 2;
const HAS_EXPIRY: u8 = 1 << 3;
const HAS_METADATA: u8 = 1 << 4;

/// Writes an entry's row. `inline` is the body of an inline row, else empty.
pub(crate) fn encode_entry(key: &[u8], head: &Head, inline: &[u8]) -> Vec<u8> {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let kind = match head.kind {
        Kind::Inline(_) => 0,
        Kind::Chunked(_) => 1,
        Kind::Tombstone => 2,
        Kind::ExpiredTombstone => 3,
    };
    let mut out = Vec::with_capacity(96 + inline.len());
    out.push(
        kind | flag(head.prev.is_some(), HAS_PREV)
            | flag(head.expires_at.is_some(), HAS_EXPIRY)
            | flag(head.metadata.is_some(), HAS_METADATA),
    );
    put_version(&mut out, head.version);
    out.extend_from_slice(&head.seq.to_be_bytes());
    if let Some(prev) = head.prev {
        put_version(&mut out, prev);
    }
    if let Some(at) = head.expires_at {
        out.extend_from_slice(&at.to_be_bytes());
    }
    if let Some(metadata) = &head.metadata {
        put_text(&mut out, metadata);
    }
    match head.kind {
        Kind::Inline(len) => out.extend_from_slice(&len.to_be_bytes()),
        Kind::Chunked(large) => {
            out.extend_from_slice(&large.body.0.to_be_bytes());
            out.extend_from_slice(&large.len.to_be_bytes());
            out.extend_from_slice(&large.digest);
        }
        Kind::Tombstone | Kind::ExpiredTombstone => {}
    }
    let mut out = seal(Table::Entries, key, out);
    if let Kind::Inline(_) = head.kind {
        let crc = checksum(Table::Entries, key, inline);
        out.extend_from_slice(inline);
        out.extend_from_slice(&crc.to_be_bytes());
    }
    out
}

fn put_version(out: &mut Vec<u8>, version: LocalVersion) {
    out.extend_from_slice(&version.hlc.0.to_be_bytes());
    out.extend_from_slice(&version.origin.to_be_bytes());
}

fn read_version(reader: &mut Reader<'_>) -> Result<LocalVersion, DecodeError> {
    Ok(LocalVersion { hlc: Hlc(reader.u64()?), origin: reader.u32()? })
}

/// Reads the head of an entry's row and checks its checksum, not that of an inline body.
pub(crate) fn decode_head(key: &[u8], row: &[u8]) -> Result<Head, DecodeError> {
    split_row(place(Table::Entries, key), row).map(|(head, _body)| head)
}

/// Reads an entry's row whole: its head and, of an inline row, its body.
pub(crate) fn decode_entry<'a>(key: &[u8], row: &'a [u8]) -> Result<(Head, &'a [u8]), DecodeError> {
    let place = place(Table::Entries, key);
    let (head, body) = split_row(place, row)?;
    let body = if let Kind::Inline(_) = head.kind { unseal_at(place, body)? } else { &[] };
    Ok((head, body))
}

/// The head, and the sealed inline body behind it (empty for the other kinds).
fn split_row(place: u32, row: &[u8]) -> Result<(Head, &[u8]), DecodeError> {
    let mut reader = Reader::new(row);
    let head = read_head(&mut reader)?;
    let payload = row.len() - reader.remaining();
    reader.take(CRC_BYTES)?;
    unseal_at(place, &row[..payload + CRC_BYTES])?;
    if let Kind::Inline(len) = head.kind {
        if reader.remaining() != len as usize + CRC_BYTES {
            return Err(DecodeError("an inline body of another length"));
        }
    } else if reader.remaining() != 0 {
        return Err(DecodeError("bytes left over"));
    }
    Ok((head, reader.rest()))
}

fn read_head(reader: &mut Reader<'_>) -> Result<Head, DecodeError> {
    let flags = reader.u8()?;
    if flags & !(KIND_MASK | HAS_PREV | HAS_EXPIRY | HAS_METADATA) != 0 {
        return Err(DecodeError("an unknown flag"));
    }
    let version = read_version(reader)?;
    let seq = reader.u64()?;
    let prev = if flags & HAS_PREV != 0 { Some(read_version(reader)?) } else { None };
    let expires_at = if flags & HAS_EXPIRY != 0 { Some(reader.u64()?) } else { None };
    let metadata = if flags & HAS_METADATA != 0 {
        Some(reader.text(MAX_METADATA_BYTES)?.into())
    } else {
        None
    };
    let kind = match flags & KIND_MASK {
        0 => Kind::Inline(reader.u32()?),
        1 => Kind::Chunked(Large {
            body: BodyId(reader.u64()?),
            len: reader.u64()?,
            digest: reader.digest()?,
        }),
        2 => Kind::Tombstone,
        _ => Kind::ExpiredTombstone,
    };
    if head_len_over(&kind) {
        return Err(DecodeError("a body over its bound"));
    }
    Ok(Head { version, seq, prev, expires_at, metadata, kind })
}

fn head_len_over(kind: &Kind) -> bool {
    match kind {
        Kind::Inline(len) => u64::from(*len) > MAX_VALUE_BYTES,
        Kind::Chunked(large) => large.len > MAX_VALUE_BYTES,
        Kind::Tombstone | Kind::ExpiredTombstone => false,
    }
}

/// A row that holds one number.
pub(crate) fn encode_number(table: Table, key: &[u8], number: u64) -> Vec<u8> {
    seal(table, key, number.to_be_bytes().to_vec())
}

/// Reads a row that holds one number.
pub(crate) fn decode_number(table: Table, key: &[u8], row: &[u8]) -> Result<u64, DecodeError> {
    let mut reader = Reader::new(unseal(table, key, row)?);
    let number = reader.u64()?;
    reader.end()?;
    Ok(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version() -> impl Strategy<Value = LocalVersion> {
        (any::<u64>(), any::<u32>())
            .prop_map(|(hlc, origin)| LocalVersion { hlc: Hlc(hlc), origin })
    }

    fn head_and_body() -> impl Strategy<Value = (Head, Vec<u8>)> {
        let kind = prop_oneof![
            Just(Kind::Inline(0)),
            (any::<u64>(), 0..=MAX_VALUE_BYTES, any::<[u8; 32]>()).prop_map(
                |(body, len, digest)| Kind::Chunked(Large { body: BodyId(body), len, digest })
            ),
            Just(Kind::Tombstone),
            Just(Kind::ExpiredTombstone),
        ];
        (
            version(),
            any::<u64>(),
            proptest::option::of(version()),
            proptest::option::of(any::<u64>()),
            proptest::option::of("\\PC{0,200}"),
            kind,
            proptest::collection::vec(any::<u8>(), 0..100),
        )
            .prop_map(|(version, seq, prev, expires_at, metadata, kind, body)| {
                let (kind, body) = match kind {
                    Kind::Inline(_) => (Kind::Inline(u32::try_from(body.len()).unwrap()), body),
                    other => (other, Vec::new()),
                };
                let metadata = metadata.map(Into::into);
                (Head { version, seq, prev, expires_at, metadata, kind }, body)
            })
    }

    proptest! {
        #[test]
        fn a_row_reads_back_as_it_was_written((head, body) in head_and_body(), key: Vec<u8>) {
            let row = encode_entry(&key, &head, &body);
            prop_assert_eq!(decode_head(&key, &row).unwrap(), head.clone());
            prop_assert_eq!(decode_entry(&key, &row).unwrap(), (head, &body[..]));
        }

        #[test]
        fn a_damaged_row_is_an_error(
            (head, body) in head_and_body(),
            at: proptest::sample::Index,
            bit in 0u8..8,
        ) {
            let mut row = encode_entry(b"k", &head, &body);
            let at = at.index(row.len());
            row[at] ^= 1 << bit;
            prop_assert!(decode_entry(b"k", &row).is_err());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(row: Vec<u8>) {
            let _ignored = decode_entry(b"k", &row);
        }
    }

    #[test]
    fn a_row_in_another_keys_place_is_an_error() {
        let row = encode_number(Table::Vector, b"one", 7);
        assert_eq!(decode_number(Table::Vector, b"one", &row), Ok(7));
        assert!(decode_number(Table::Vector, b"two", &row).is_err());
        assert!(decode_number(Table::Collected, b"one", &row).is_err());
    }
}
