//! Rows inside messages. The message itself carries their dots.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kv_core::{
    Dot, Hlc,
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
/// All bits that have a meaning. A row with others is invalid.
const ALL: u8 = CONTENT | HAS_PREV | HAS_EXPIRY | HAS_METADATA;

/// The bytes of a row, for a backlog.
pub(crate) fn encode_row(row: &Row) -> Bytes {
    let mut out = BytesMut::with_capacity(row.weight());
    put_row(&mut out, row);
    out.freeze()
}

/// Flags, time, replaced version, namespace, key, expiry, metadata, content.
pub(super) fn put_row(out: &mut BytesMut, row: &Row) {
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    let content = match row.content {
        Content::Value(_) => VALUE,
        Content::Large { .. } => LARGE,
        Content::Deleted => DELETED,
        Content::Expired => EXPIRED,
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
        Content::Deleted | Content::Expired => {}
    }
}

/// See [`put_row`].
pub(super) fn take_row(input: &mut Bytes, dot: Dot) -> Decoded<Row> {
    let flags = input.try_get_u8()?;
    if flags & !ALL != 0 {
        return Err(MessageError::Invalid("a row has unknown flags"));
    }
    if dot.seq == 0 || dot.seq >= MAX_SEQ {
        return Err(MessageError::Invalid("a row has a sequence number out of range"));
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
        (Content::Value(_) | Content::Large { .. }, ..) => {}
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
