//! The questions and answers of a verification inside messages.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{
    error::MessageError,
    message::MAX_ROWS,
    put,
    take::{self, Decoded},
};
use crate::inspect::{
    Answer, Ask, Held, Kind, Looked, MAX_ASKED_ROWS, Place, Range, RangeDigest, RangeList, Reading,
    Summary,
};

/// The numbers of the three kinds of question.
const DIGEST: u8 = 1;
/// A list of rows.
const LIST: u8 = 2;
/// Rows by name.
const ROWS: u8 = 3;

/// The state of a name without a row, beside the numbers of [`Kind`].
const DAMAGED: u8 = 4;
/// The state of a name without a row.
const NOTHING: u8 = 5;
/// The bits of a summary's flags that hold the state.
const STATE: u8 = 0b111;
/// An expiry follows.
const HAS_EXPIRY: u8 = 1 << 3;
/// The last drop of the namespace at the sender follows.
const HAS_DROP: u8 = 1 << 4;
/// Set if the sender's vector does not count every write that the row comes from.
const IS_UNCOUNTED: u8 = 1 << 5;

/// The number of the kind, then a range or names of rows.
pub(super) fn put_ask(out: &mut BytesMut, ask: &Ask) {
    match ask {
        Ask::Digest(range) => put_range(out, DIGEST, range),
        Ask::List(range) => put_range(out, LIST, range),
        Ask::Rows(places) => {
            out.put_u8(ROWS);
            put::count(out, places.len());
            places.iter().for_each(|place| put_place(out, place));
        }
    }
}

/// See [`put_ask`].
pub(super) fn take_ask(input: &mut Bytes) -> Decoded<Ask> {
    match input.try_get_u8()? {
        DIGEST => Ok(Ask::Digest(range(input)?)),
        LIST => Ok(Ask::List(range(input)?)),
        ROWS => {
            let count = take::row_count(input, MAX_ASKED_ROWS)?;
            Ok(Ask::Rows((0..count).map(|_| place(input)).collect::<Decoded<_>>()?))
        }
        _ => Err(MessageError::Invalid("a question has an unknown kind")),
    }
}

/// The number of the kind, or 0 for no answer; then a digest, a list, or rows with the vectors of their
/// snapshot.
pub(super) fn put_answer(out: &mut BytesMut, answer: Option<&Answer>) {
    match answer {
        None => out.put_u8(0),
        Some(Answer::Digest(range)) => {
            out.put_u8(DIGEST);
            put::optional(out, range.end.as_ref(), put_place);
            out.put_u32(range.rows);
            out.put_u32(range.damaged);
            out.put_slice(&range.digest);
        }
        Some(Answer::List(list)) => {
            out.put_u8(LIST);
            put::optional(out, list.end.as_ref(), put_place);
            put::count(out, list.rows.len());
            for (place, held) in &list.rows {
                put_place(out, place);
                put_looked(out, &listed(*held));
            }
        }
        Some(Answer::Rows(reading)) => {
            out.put_u8(ROWS);
            put::vector(out, &reading.vector);
            put::vector(out, &reading.collected);
            out.put_u64(reading.collected_upto.0);
            put::count(out, reading.rows.len());
            reading.rows.iter().for_each(|looked| put_looked(out, looked));
        }
    }
}

/// See [`put_answer`].
pub(super) fn take_answer(input: &mut Bytes) -> Decoded<Option<Answer>> {
    Ok(Some(match input.try_get_u8()? {
        0 => return Ok(None),
        DIGEST => Answer::Digest(RangeDigest {
            end: take::optional(input, place)?,
            rows: input.try_get_u32()?,
            damaged: input.try_get_u32()?,
            digest: take::array(input)?,
        }),
        LIST => Answer::List(list(input)?),
        ROWS => {
            let (vector, collected) = (take::vector(input)?, take::vector(input)?);
            let collected_upto = take::floor(input)?;
            let count = take::row_count(input, MAX_ASKED_ROWS)?;
            let rows = (0..count).map(|_| looked(input)).collect::<Decoded<_>>()?;
            Answer::Rows(Reading { vector, collected, collected_upto, rows })
        }
        _ => return Err(MessageError::Invalid("an answer has an unknown kind")),
    }))
}

/// The end of the range, the number of rows, and the rows in the order of their names.
fn list(input: &mut Bytes) -> Decoded<RangeList> {
    let end = take::optional(input, place)?;
    let count = take::row_count(input, MAX_ROWS)?;
    let mut rows: Vec<(Place, Held)> = Vec::with_capacity(count);
    for _ in 0..count {
        let place = place(input)?;
        if rows.last().is_some_and(|(before, _)| *before >= place) {
            return Err(MessageError::Invalid("a list of rows is not in order"));
        }
        match looked(input)? {
            looked @ Looked { held: Some(held), .. } if looked == listed(held) => {
                rows.push((place, held));
            }
            _ => return Err(MessageError::Invalid("a list names a row that does not exist")),
        }
    }
    Ok(RangeList { end, rows })
}

/// A row of a list: lists leave out the other flags.
fn listed(held: Held) -> Looked {
    Looked { is_counted: true, dropped_at: None, held: Some(held) }
}

/// The kind of a question, and the two ends of its range.
fn put_range(out: &mut BytesMut, kind: u8, range: &Range) {
    out.put_u8(kind);
    put::optional(out, range.after.as_ref(), put_place);
    put::optional(out, range.upto.as_ref(), put_place);
}

/// The two ends of a range.
fn range(input: &mut Bytes) -> Decoded<Range> {
    Ok(Range { after: take::optional(input, place)?, upto: take::optional(input, place)? })
}

/// A namespace and a key.
pub(super) fn put_place(out: &mut BytesMut, place: &Place) {
    out.put_slice(&place.namespace.0);
    put::short(out, &place.key);
}

/// A namespace and a key.
pub(super) fn place(input: &mut Bytes) -> Decoded<Place> {
    Ok(Place { namespace: take::namespace(input)?, key: take::key(input)? })
}

/// Flags with the kind of row in the lowest three bits; the drop of the namespace if any; then version, sequence
/// number, expiry, digest.
fn put_looked(out: &mut BytesMut, looked: &Looked) {
    let (state, expires_at) = match &looked.held {
        None => (NOTHING, None),
        Some(Held::Damaged) => (DAMAGED, None),
        Some(Held::Row(summary)) => (summary.kind.number(), summary.expires_at),
    };
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    out.put_u8(
        state
            | flag(expires_at.is_some(), HAS_EXPIRY)
            | flag(looked.dropped_at.is_some(), HAS_DROP)
            | flag(!looked.is_counted, IS_UNCOUNTED),
    );
    if let Some(dropped_at) = looked.dropped_at {
        put::version(out, dropped_at);
    }
    let Some(Held::Row(summary)) = looked.held else { return };
    put::version(out, summary.version);
    out.put_u64(summary.seq);
    if let Some(at) = summary.expires_at {
        out.put_u64(at);
    }
    out.put_slice(&summary.digest);
}

/// See [`put_looked`].
fn looked(input: &mut Bytes) -> Decoded<Looked> {
    let flags = input.try_get_u8()?;
    if flags & !(STATE | HAS_EXPIRY | HAS_DROP | IS_UNCOUNTED) != 0 {
        return Err(MessageError::Invalid("a row has unknown flags"));
    }
    let dropped_at = (flags & HAS_DROP != 0).then(|| take::version(input)).transpose()?;
    let is_counted = flags & IS_UNCOUNTED == 0;
    let has_expiry = flags & HAS_EXPIRY != 0;
    let kind = match (flags & STATE, has_expiry) {
        (0, _) => Kind::Value,
        (1, false) => Kind::Joined,
        (2, false) => Kind::Deleted,
        (3, true) => Kind::Expired,
        (DAMAGED, false) => {
            return Ok(Looked { is_counted, dropped_at, held: Some(Held::Damaged) });
        }
        (NOTHING, false) => return Ok(Looked { is_counted, dropped_at, held: None }),
        _ => return Err(MessageError::Invalid("a row has an unknown kind")),
    };
    let version = take::version(input)?;
    let seq = input.try_get_u64()?;
    if seq == 0 {
        return Err(MessageError::Invalid("a row has the sequence number 0"));
    }
    let expires_at = has_expiry.then(|| input.try_get_u64()).transpose()?;
    let digest = take::array(input)?;
    let held = Held::Row(Summary { version, seq, kind, expires_at, digest });
    Ok(Looked { is_counted, dropped_at, held: Some(held) })
}
