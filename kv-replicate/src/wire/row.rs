//! Rows inside messages. The message itself carries their dots.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kv_core::{
    Dot, Hlc, JoinedRow, NamespaceId, OriginId,
    codec::Reader,
    limits::{CHUNK_BYTES, MAX_VALUE_BYTES},
};

use super::{
    error::MessageError,
    message::MAX_SEQ,
    put,
    take::{self, Decoded},
};
use crate::row::{Content, Row};

/// Values shorter than this are copied out of their message, because they would keep all of it in memory.
const MAX_COPIED: usize = 8 << 10;

/// The kinds of content, in the lowest two bits of a row's flags.
const VALUE: u8 = 0;
/// A value that is fetched piece by piece.
const LARGE: u8 = 1;
/// A deletion.
const DELETED: u8 = 2;
/// A value that has expired and was dropped.
const EXPIRED: u8 = 3;
/// The bits of the flags that hold the kind of content.
const CONTENT: u8 = 0b11;
/// The replaced version follows.
const HAS_PREV: u8 = 1 << 2;
/// An expiry follows.
const HAS_EXPIRY: u8 = 1 << 3;
/// Metadata follow.
const HAS_METADATA: u8 = 1 << 4;
/// A joined row: its key and its fields follow, and no other bit is set.
const JOINED: u8 = 1 << 5;
/// All bits that have a meaning in other rows. A row with others is invalid.
const ALL: u8 = CONTENT | HAS_PREV | HAS_EXPIRY | HAS_METADATA;

/// The bytes of a row, for a backlog.
pub(crate) fn encode_row(row: &Row) -> Bytes {
    let mut out = BytesMut::with_capacity(row.weight());
    put_row(&mut out, row);
    out.freeze()
}

/// Flags, time, replaced version, namespace, key, expiry, metadata, content.
pub(super) fn put_row(out: &mut BytesMut, row: &Row) {
    if let Content::Joined(joined) = &row.content {
        return put_joined(out, row, joined);
    }
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    let content = match row.content {
        Content::Value(_) => VALUE,
        Content::Large { .. } => LARGE,
        Content::Deleted => DELETED,
        Content::Expired | Content::Joined(_) => EXPIRED,
    };
    out.put_u8(
        content
            | flag(row.prev.is_some(), HAS_PREV)
            | flag(row.expires_at.is_some(), HAS_EXPIRY)
            | flag(row.metadata.is_some(), HAS_METADATA),
    );
    out.put_u64(row.hlc.0);
    if let Some(prev) = row.prev {
        put::version(out, prev);
    }
    out.put_slice(&row.namespace.0);
    put::short(out, &row.key);
    if let Some(at) = row.expires_at {
        out.put_u64(at);
    }
    if let Some(metadata) = &row.metadata {
        put::short(out, metadata.as_bytes());
    }
    match &row.content {
        Content::Value(value) => {
            out.put_u32(u32::try_from(value.len()).expect("a value in a row is short"));
            out.put_slice(value);
        }
        Content::Large { len, digest } => {
            out.put_u64(*len);
            out.put_slice(digest);
        }
        Content::Deleted | Content::Expired | Content::Joined(_) => {}
    }
}

/// Flags, key, fields. The fields hold the times and the dots, and all joined rows are of the system namespace.
fn put_joined(out: &mut BytesMut, row: &Row, joined: &JoinedRow) {
    out.put_u8(JOINED);
    put::short(out, &row.key);
    let mut fields = Vec::with_capacity(joined.encoded_len());
    joined.encode(&mut fields, &|fields, origin| fields.extend_from_slice(&origin.0));
    out.put_slice(&fields);
}

/// See [`put_joined`].
fn take_joined(input: &mut Bytes, dot: Dot) -> Decoded<Row> {
    let key = take::key(input)?;
    let mut reader = Reader::new(input);
    let row = JoinedRow::decode(&mut reader, &|reader| reader.id().map(OriginId))
        .map_err(|error| MessageError::Invalid(error.0))?;
    let taken = input.len() - reader.remaining();
    input.advance(taken);
    if row.dots().iter().any(|dot| dot.seq >= MAX_SEQ) {
        return Err(MessageError::Invalid("a row has a sequence number out of range"));
    }
    let version = row.version_at(dot);
    let version = version
        .ok_or(MessageError::Invalid("a joined row has a dot that none of its fields has"))?;
    Ok(Row {
        dot,
        hlc: version.hlc,
        prev: None,
        namespace: NamespaceId::SYSTEM,
        key,
        metadata: None,
        expires_at: None,
        content: Content::Joined(Arc::new(row)),
    })
}

/// See [`put_row`].
pub(super) fn take_row(input: &mut Bytes, dot: Dot) -> Decoded<Row> {
    let flags = input.try_get_u8()?;
    if dot.seq == 0 || dot.seq >= MAX_SEQ {
        return Err(MessageError::Invalid("a row has a sequence number out of range"));
    }
    if flags == JOINED {
        return take_joined(input, dot);
    }
    if flags & !ALL != 0 {
        return Err(MessageError::Invalid("a row has unknown flags"));
    }
    let has = |flag: u8| flags & flag != 0;
    let hlc = Hlc(input.try_get_u64()?);
    let prev = has(HAS_PREV).then(|| take::version(input)).transpose()?;
    let namespace = take::namespace(input)?;
    let key = take::key(input)?;
    let expires_at = has(HAS_EXPIRY).then(|| input.try_get_u64()).transpose()?;
    let metadata = has(HAS_METADATA).then(|| take::metadata(input)).transpose()?;
    let content = take_content(input, flags & CONTENT)?;
    match (&content, metadata.is_some(), expires_at.is_some()) {
        (Content::Deleted, false, false) | (Content::Expired, false, true) => {}
        (Content::Deleted, ..) => {
            return Err(MessageError::Invalid("a deletion has metadata or an expiry"));
        }
        (Content::Expired, ..) => {
            return Err(MessageError::Invalid(
                "an expired tombstone needs an expiry, and nothing else",
            ));
        }
        (Content::Value(_) | Content::Large { .. } | Content::Joined(_), ..) => {}
    }
    Ok(Row { dot, hlc, prev, namespace, key, metadata, expires_at, content })
}

/// A value behind its length in four bytes; the length and the digest of a large one; or nothing.
fn take_content(input: &mut Bytes, kind: u8) -> Decoded<Content> {
    match kind {
        VALUE => {
            let len = usize::try_from(input.try_get_u32()?).unwrap_or(usize::MAX);
            if len > CHUNK_BYTES {
                return Err(MessageError::Invalid("a value in a row is too long"));
            }
            let value = take::bytes(input, len)?;
            let is_short = len < MAX_COPIED;
            Ok(Content::Value(if is_short { Bytes::copy_from_slice(&value) } else { value }))
        }
        LARGE => {
            let (len, digest) = (input.try_get_u64()?, take::array(input)?);
            if len == 0 || len > MAX_VALUE_BYTES {
                return Err(MessageError::Invalid("a body is empty or too long"));
            }
            Ok(Content::Large { len, digest })
        }
        DELETED => Ok(Content::Deleted),
        _ => Ok(Content::Expired),
    }
}
