//! Bytes from a peer to messages: every length is checked before anything is taken.

use bytes::Bytes;
use kv_core::{
    Dot, Hlc, Key, MemberId, Metadata, NamespaceId, OriginId, Version, VersionVector,
    codec::{DecodeError, Reader},
    limits::{CHUNK_BYTES, MAX_METADATA_BYTES, MAX_VALUE_BYTES},
};

use super::{
    End, GetBody, Hello, Incarnations, Live, MAX_ASKED_BYTES, MAX_MESSAGE_BYTES, MAX_ORIGINS,
    MAX_ROWS, Message, Page, PageHead, Progress, Pull, Reason, WIRE_VERSION,
};
use crate::{
    CLOSED,
    row::{Content, Row},
};

/// Values shorter than this are copied out of their message.
const MAX_COPIED: usize = 8 << 10;

pub(super) type Decoded<T> = Result<T, DecodeError>;

/// Reads a message; values are slices of it.
pub(crate) fn decode(bytes: &Bytes) -> Decoded<(Incarnations, Message)> {
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(DecodeError("a message over its bound"));
    }
    let mut reader = Reader::new(bytes);
    if reader.u16()? != WIRE_VERSION {
        return Err(DecodeError("a message of an unknown version"));
    }
    let kind = reader.u8()?;
    let incarnations = Incarnations { from: reader.u64()?, to: reader.u64()? };
    let message = match kind {
        1 => Message::Hello(hello(&mut reader)?),
        2 => Message::Progress(progress(&mut reader)?),
        3 => Message::Want([reader.u64()?, reader.u64()?]),
        4 => Message::Behind,
        5 => Message::Live(live(bytes, &mut reader)?),
        6 => Message::Pull(pull(&mut reader)?),
        7 => Message::Page(page(bytes, &mut reader)?),
        8 => Message::Refusal { session: reader.u64()?, reason: reason(&mut reader)? },
        9 => Message::GetBody(get_body(&mut reader)?),
        10 => Message::Piece {
            fetch: reader.u64()?,
            offset: reader.u64()?,
            bytes: piece(bytes, reader.rest())?,
        },
        11 => Message::NoBody { fetch: reader.u64()? },
        12 => Message::Done { session: reader.u64()? },
        13 => Message::Removed,
        14 => Message::Ask {
            verify: reader.u64()?,
            step: reader.u32()?,
            ask: super::inspect::ask(&mut reader)?,
        },
        15 => Message::Answer {
            verify: reader.u64()?,
            step: reader.u32()?,
            answer: super::inspect::answer(&mut reader)?,
        },
        _ => return Err(DecodeError("a message of an unknown kind")),
    };
    reader.end()?;
    Ok((incarnations, message))
}

fn hello(reader: &mut Reader<'_>) -> Decoded<Hello> {
    Ok(Hello {
        versions: (reader.u16()?, reader.u16()?),
        features: reader.u64()?,
        cluster: reader.id()?,
        member: MemberId(reader.id()?),
        origins: [OriginId(reader.id()?), OriginId(reader.id()?)],
        received: vector(reader)?,
    })
}

fn progress(reader: &mut Reader<'_>) -> Decoded<Progress> {
    let number = reader.u64()?;
    let (closed_timestamp, resolved) = (Hlc(reader.u64()?), Hlc(reader.u64()?));
    let held = Hlc(reader.u64()?);
    let members = reader.u64()?;
    let durable = vector(reader)?;
    let mut received = durable.clone();
    received.merge(&vector(reader)?);
    Ok(Progress { number, durable, received, closed_timestamp, resolved, held, members })
}

fn live(bytes: &Bytes, reader: &mut Reader<'_>) -> Decoded<Live> {
    let first = dot(reader)?;
    let count = rows(reader)?;
    if count == 0 {
        return Err(DecodeError("a message without its rows"));
    }
    let last = first.seq.checked_add(count as u64);
    last.ok_or(DecodeError("numbers past their end"))?;
    let rows = (first.seq..).take(count).map(|seq| row(bytes, reader, Dot { seq, ..first }));
    Ok(Live { rows: rows.collect::<Decoded<_>>()? })
}

fn pull(reader: &mut Reader<'_>) -> Decoded<Pull> {
    Ok(Pull {
        session: reader.u64()?,
        batch: reader.u32()?,
        is_new: flag(reader)?,
        after: flag(reader)?.then(|| dot(reader)).transpose()?,
        since: vector(reader)?,
    })
}

fn page(bytes: &Bytes, reader: &mut Reader<'_>) -> Decoded<Page> {
    let (session, batch) = (reader.u64()?, reader.u32()?);
    let (stamp, commit, index) = (reader.u64()?, reader.u64()?, reader.u16()?);
    let head = flag(reader)?.then(|| page_head(reader)).transpose()?;
    if head.is_some() != (index == 0) {
        return Err(DecodeError("the first page of a burst, and only it, has a vector"));
    }
    let end = match reader.u8()? {
        0 => End::Page,
        1 => End::Batch(dot(reader)?),
        2 => End::Round,
        _ => return Err(DecodeError("a page with an unknown end")),
    };
    let count = rows(reader)?;
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        let dot = dot(reader)?;
        all.push(row(bytes, reader, dot)?);
    }
    Ok(Page { session, batch, stamp, commit, index, head, end, rows: all })
}

fn page_head(reader: &mut Reader<'_>) -> Decoded<PageHead> {
    Ok(PageHead { vector: vector(reader)?, collected: vector(reader)? })
}

fn reason(reader: &mut Reader<'_>) -> Decoded<Reason> {
    match reader.u8()? {
        1 => Ok(Reason::Gone(vector(reader)?)),
        2 => Ok(Reason::Busy),
        _ => Err(DecodeError("an unknown reason")),
    }
}

fn get_body(reader: &mut Reader<'_>) -> Decoded<GetBody> {
    let (fetch, namespace) = (reader.u64()?, NamespaceId(reader.id()?));
    let (dot, offset, len) = (dot(reader)?, reader.u64()?, reader.u32()?);
    if offset >= MAX_VALUE_BYTES || offset % CHUNK_BYTES as u64 != 0 || len > MAX_ASKED_BYTES {
        return Err(DecodeError("a piece that no body has"));
    }
    let key = key(reader.rest())?;
    Ok(GetBody { fetch, namespace, dot, offset, len, key })
}

fn piece(bytes: &Bytes, piece: &[u8]) -> Decoded<Bytes> {
    if piece.is_empty() || piece.len() > CHUNK_BYTES {
        return Err(DecodeError("a piece of no chunk's length"));
    }
    Ok(bytes.slice_ref(piece))
}

pub(super) fn flag(reader: &mut Reader<'_>) -> Decoded<bool> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError("neither yes nor no")),
    }
}

fn dot(reader: &mut Reader<'_>) -> Decoded<Dot> {
    Ok(Dot { origin: OriginId(reader.id()?), seq: reader.u64()? })
}

pub(super) fn vector(reader: &mut Reader<'_>) -> Decoded<VersionVector> {
    let count = usize::from(reader.u16()?);
    if count > MAX_ORIGINS {
        return Err(DecodeError("a vector over its bound"));
    }
    let mut vector = VersionVector::default();
    let mut before = None;
    for _ in 0..count {
        let dot = dot(reader)?;
        let is_number = (1..=CLOSED).contains(&dot.seq);
        if before.is_some_and(|before| before >= dot.origin) || !is_number {
            return Err(DecodeError("a vector out of order"));
        }
        before = Some(dot.origin);
        vector.raise(dot.origin, dot.seq);
    }
    Ok(vector)
}

fn rows(reader: &mut Reader<'_>) -> Decoded<usize> {
    let count = usize::from(reader.u16()?);
    if count > MAX_ROWS { Err(DecodeError("rows over their bound")) } else { Ok(count) }
}

pub(super) fn key(key: &[u8]) -> Decoded<Key> {
    Key::new(key).map_err(|_length| DecodeError("a key over its bound"))
}

fn metadata(reader: &mut Reader<'_>) -> Decoded<Metadata> {
    let text = reader.text(MAX_METADATA_BYTES)?;
    Metadata::new(text).map_err(|_length| DecodeError("metadata over its bound"))
}

fn row(bytes: &Bytes, reader: &mut Reader<'_>, dot: Dot) -> Decoded<Row> {
    let flags = reader.u8()?;
    if flags >= 1 << 5 || dot.seq == 0 || dot.seq >= CLOSED {
        return Err(DecodeError("a row with unknown flags, or a number that none has"));
    }
    let hlc = Hlc(reader.u64()?);
    let prev = if flags & 1 << 2 != 0 {
        Some(Version { hlc: Hlc(reader.u64()?), origin: OriginId(reader.id()?) })
    } else {
        None
    };
    let namespace = NamespaceId(reader.id()?);
    let len = usize::from(reader.u16()?);
    let key = key(reader.take(len)?)?;
    let expires_at = if flags & 1 << 3 != 0 { Some(reader.u64()?) } else { None };
    let metadata = if flags & 1 << 4 != 0 { Some(metadata(reader)?) } else { None };
    let content = content(bytes, reader, flags & 3)?;
    let has = (metadata.is_some(), expires_at.is_some());
    match content {
        Content::Deleted if has != (false, false) => {
            Err(DecodeError("a deletion with more to say"))
        }
        Content::Expired if has != (false, true) => Err(DecodeError("a stub without its time")),
        content => Ok(Row { dot, hlc, prev, namespace, key, metadata, expires_at, content }),
    }
}

fn content(bytes: &Bytes, reader: &mut Reader<'_>, kind: u8) -> Decoded<Content> {
    match kind {
        0 => {
            let len = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
            if len > CHUNK_BYTES {
                return Err(DecodeError("a value over its bound"));
            }
            let value = reader.take(len)?;
            // A short one would keep its whole message in memory.
            let is_short = len < MAX_COPIED;
            Ok(Content::Value(if is_short {
                Bytes::copy_from_slice(value)
            } else {
                bytes.slice_ref(value)
            }))
        }
        1 => {
            let (len, digest) = (reader.u64()?, reader.digest()?);
            if len == 0 || len > MAX_VALUE_BYTES {
                return Err(DecodeError("a body over its bound"));
            }
            Ok(Content::Large { len, digest })
        }
        2 => Ok(Content::Deleted),
        _ => Ok(Content::Expired),
    }
}
