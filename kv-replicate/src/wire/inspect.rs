//! The bytes of what a verification asks and answers.

use bytes::{BufMut, BytesMut};
use kv_core::{
    Hlc, NamespaceId, OriginId, Version,
    codec::{DecodeError, Reader},
};

use super::{
    MAX_ROWS,
    decode::{Decoded, flag, key, vector},
    encode::{put_count, put_short, put_vector},
};
use crate::inspect::{
    Answer, Ask, Held, Kind, Looked, MAX_ASKED_ROWS, Place, Range, RangeDigest, RangeList, Reading,
    Summary,
};

/// The numbers of the three kinds of question.
const DIGEST: u8 = 1;
const LIST: u8 = 2;
const ROWS: u8 = 3;

/// What stands in a row's place where no row is, beside the numbers of [`Kind`].
const DAMAGED: u8 = 4;
const NOTHING: u8 = 5;
const STATE: u8 = 0b111;
const HAS_EXPIRY: u8 = 1 << 3;
const IS_DROPPED: u8 = 1 << 4;

/// The verification, and which question of it.
fn put_name(out: &mut BytesMut, (verify, step): (u64, u32)) {
    out.put_u64(verify);
    out.put_u32(step);
}

pub(super) fn put_ask(out: &mut BytesMut, name: (u64, u32), ask: &Ask) {
    put_name(out, name);
    match ask {
        Ask::Digest(range) => put_range(out, DIGEST, range),
        Ask::List(range) => put_range(out, LIST, range),
        Ask::Rows(places) => {
            out.put_u8(ROWS);
            put_count(out, places.len());
            places.iter().for_each(|place| put_place(out, place));
        }
    }
}

pub(super) fn ask(reader: &mut Reader<'_>) -> Decoded<Ask> {
    match reader.u8()? {
        DIGEST => Ok(Ask::Digest(range(reader)?)),
        LIST => Ok(Ask::List(range(reader)?)),
        ROWS => {
            let count = asked_rows(reader)?;
            Ok(Ask::Rows((0..count).map(|_| place(reader)).collect::<Decoded<_>>()?))
        }
        _ => Err(DecodeError("an unknown question")),
    }
}

pub(super) fn put_answer(out: &mut BytesMut, name: (u64, u32), answer: Option<&Answer>) {
    put_name(out, name);
    match answer {
        None => out.put_u8(0),
        Some(Answer::Digest(range)) => {
            out.put_u8(DIGEST);
            put_end(out, range.end.as_ref());
            out.put_u32(range.rows);
            out.put_u32(range.damaged);
            out.put_slice(&range.digest);
        }
        Some(Answer::List(list)) => {
            out.put_u8(LIST);
            put_end(out, list.end.as_ref());
            put_count(out, list.rows.len());
            for (place, held) in &list.rows {
                put_place(out, place);
                put_looked(out, &Looked { is_dropped: false, held: Some(*held) });
            }
        }
        Some(Answer::Rows(reading)) => {
            out.put_u8(ROWS);
            put_vector(out, &reading.vector);
            put_vector(out, &reading.collected);
            put_count(out, reading.rows.len());
            reading.rows.iter().for_each(|looked| put_looked(out, looked));
        }
    }
}

pub(super) fn answer(reader: &mut Reader<'_>) -> Decoded<Option<Answer>> {
    Ok(Some(match reader.u8()? {
        0 => return Ok(None),
        DIGEST => Answer::Digest(RangeDigest {
            end: end(reader)?,
            rows: reader.u32()?,
            damaged: reader.u32()?,
            digest: reader.digest()?,
        }),
        LIST => Answer::List(list(reader)?),
        ROWS => {
            let (vector, collected) = (vector(reader)?, vector(reader)?);
            let count = asked_rows(reader)?;
            let rows = (0..count).map(|_| looked(reader)).collect::<Decoded<_>>()?;
            Answer::Rows(Reading { vector, collected, rows })
        }
        _ => return Err(DecodeError("an unknown answer")),
    }))
}

fn list(reader: &mut Reader<'_>) -> Decoded<RangeList> {
    let end = end(reader)?;
    let count = usize::from(reader.u16()?);
    if count > MAX_ROWS {
        return Err(DecodeError("rows over their bound"));
    }
    let mut rows: Vec<(Place, Held)> = Vec::with_capacity(count);
    for _ in 0..count {
        let place = place(reader)?;
        if rows.last().is_some_and(|(before, _)| *before >= place) {
            return Err(DecodeError("a list out of order"));
        }
        match looked(reader)? {
            Looked { is_dropped: false, held: Some(held) } => rows.push((place, held)),
            _ => return Err(DecodeError("a list of what is not there")),
        }
    }
    Ok(RangeList { end, rows })
}

fn asked_rows(reader: &mut Reader<'_>) -> Decoded<usize> {
    let count = usize::from(reader.u16()?);
    if count > MAX_ASKED_ROWS { Err(DecodeError("rows over their bound")) } else { Ok(count) }
}

fn put_range(out: &mut BytesMut, what: u8, range: &Range) {
    out.put_u8(what);
    put_end(out, range.after.as_ref());
    put_end(out, range.upto.as_ref());
}

fn range(reader: &mut Reader<'_>) -> Decoded<Range> {
    Ok(Range { after: end(reader)?, upto: end(reader)? })
}

fn put_end(out: &mut BytesMut, end: Option<&Place>) {
    out.put_u8(u8::from(end.is_some()));
    if let Some(place) = end {
        put_place(out, place);
    }
}

fn end(reader: &mut Reader<'_>) -> Decoded<Option<Place>> {
    flag(reader)?.then(|| place(reader)).transpose()
}

fn put_place(out: &mut BytesMut, place: &Place) {
    out.put_slice(&place.namespace.0);
    put_short(out, &place.key);
}

fn place(reader: &mut Reader<'_>) -> Decoded<Place> {
    let namespace = NamespaceId(reader.id()?);
    let len = usize::from(reader.u16()?);
    Ok(Place { namespace, key: key(reader.take(len)?)? })
}

fn put_looked(out: &mut BytesMut, looked: &Looked) {
    let dropped = if looked.is_dropped { IS_DROPPED } else { 0 };
    let summary = match looked.held {
        None => return out.put_u8(dropped | NOTHING),
        Some(Held::Damaged) => return out.put_u8(dropped | DAMAGED),
        Some(Held::Row(summary)) => summary,
    };
    let expiry = if summary.expires_at.is_some() { HAS_EXPIRY } else { 0 };
    out.put_u8(dropped | expiry | summary.kind.number());
    out.put_u64(summary.version.hlc.0);
    out.put_slice(&summary.version.origin.0);
    out.put_u64(summary.seq);
    if let Some(at) = summary.expires_at {
        out.put_u64(at);
    }
    out.put_slice(&summary.digest);
}

fn looked(reader: &mut Reader<'_>) -> Decoded<Looked> {
    let flags = reader.u8()?;
    if flags & !(STATE | HAS_EXPIRY | IS_DROPPED) != 0 {
        return Err(DecodeError("a row with unknown flags"));
    }
    let is_dropped = flags & IS_DROPPED != 0;
    let has_expiry = flags & HAS_EXPIRY != 0;
    let kind = match (flags & STATE, has_expiry) {
        (0, _) => Kind::Value,
        (2, false) => Kind::Deleted,
        (3, true) => Kind::Expired,
        (DAMAGED, false) => return Ok(Looked { is_dropped, held: Some(Held::Damaged) }),
        (NOTHING, false) => return Ok(Looked { is_dropped, held: None }),
        _ => return Err(DecodeError("a row that none is")),
    };
    let version = Version { hlc: Hlc(reader.u64()?), origin: OriginId(reader.id()?) };
    let seq = reader.u64()?;
    if seq == 0 {
        return Err(DecodeError("sequence numbers begin at 1"));
    }
    let expires_at = if has_expiry { Some(reader.u64()?) } else { None };
    let digest = reader.digest()?;
    Ok(Looked {
        is_dropped,
        held: Some(Held::Row(Summary { version, seq, kind, expires_at, digest })),
    })
}
