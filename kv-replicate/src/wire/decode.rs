//! Messages from bytes: each comes from a peer, so that every length is checked.

use bytes::{Buf, Bytes};
use kv_core::{
    DamagedKey, Dot, Features, MemberId,
    limits::{CHUNK_BYTES, MAX_VALUE_BYTES},
};

use crate::condition::{Condition, MAX_CONDITIONS};

use super::{
    envelope::Envelope,
    error::MessageError,
    extension, kind,
    message::{
        End, GetBody, Hello, Live, MAX_ASKED_BYTES, MAX_MESSAGE_BYTES, MAX_ROWS, MAX_USAGE_BYTES,
        Message, NoBody, Page, PageHead, Pull, Reason, Report, Want,
    },
    progress, question,
    row::take_row,
    rows,
    take::{self, Decoded},
};

/// A decoded message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// Its beginning.
    pub(crate) envelope: Envelope,
    /// Its kind.
    pub(crate) kind: u8,
    /// Its content.
    pub(crate) message: Message,
    /// The tags of the optional fields that were skipped, because this program does not know them.
    pub(crate) skipped: Vec<u8>,
}

/// Decodes a message for a program that understands the versions from `range.0` to `range.1`. Long values are slices of
/// its bytes.
pub(crate) fn decode(bytes: &Bytes, range: (u16, u16)) -> Decoded<Received> {
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(MessageError::Invalid("a message is too long"));
    }
    let mut input = bytes.clone();
    let (envelope, kind) = Envelope::take(&mut input)?;
    if !envelope.is_understood(kind, range) {
        return Err(MessageError::Invalid(
            "a message has a version that this location did not offer",
        ));
    }
    let Some(mut message) = message(kind, &mut input)? else {
        let message = Message::Unknown { kind, body: input };
        return Ok(Received { envelope, kind, message, skipped: Vec::new() });
    };
    let skipped = extension::take(&mut message, &input)?;
    Ok(Received { envelope, kind, message, skipped })
}

/// The fixed fields of a message of this kind; none if this program does not know the kind.
fn message(kind: u8, input: &mut Bytes) -> Decoded<Option<Message>> {
    Ok(Some(match kind {
        kind::HELLO => Message::Hello(hello(input)?),
        kind::PROGRESS => Message::Progress(progress::take(input)?),
        kind::WANT => Message::Want(want(input)?),
        kind::BEHIND => Message::Behind,
        kind::LIVE => Message::Live(live(input)?),
        kind::PULL => Message::Pull(pull(input)?),
        kind::PAGE => Message::Page(page(input)?),
        kind::REFUSAL => Message::Refusal { session: input.try_get_u64()?, reason: reason(input)? },
        kind::GET_BODY => Message::GetBody(get_body(input)?),
        kind::PIECE => Message::Piece {
            fetch: input.try_get_u64()?,
            dot: take::dot(input)?,
            offset: input.try_get_u64()?,
            bytes: piece(input)?,
        },
        kind::NO_BODY => Message::NoBody { fetch: input.try_get_u64()?, why: no_body(input)? },
        kind::DONE => Message::Done { session: input.try_get_u64()? },
        kind::REMOVED => {
            let dot = take::dot(input)?;
            Message::Removed(Box::new(take_row(input, dot)?))
        }
        kind::ASK => Message::Ask {
            verify: input.try_get_u64()?,
            step: input.try_get_u32()?,
            ask: question::take_ask(input)?,
        },
        kind::ANSWER => Message::Answer {
            verify: input.try_get_u64()?,
            step: input.try_get_u32()?,
            answer: question::take_answer(input)?,
        },
        kind::GET_ROWS => {
            Message::GetRows { id: input.try_get_u64()?, names: rows::take_names(input)? }
        }
        kind::ROWS => Message::Rows { id: input.try_get_u64()?, rows: rows::take_states(input)? },
        kind::REPORT => Message::Report(report(input)?),
        kind::DURABLE => Message::Durable(take::dot(input)?),
        kind::USAGE => Message::Usage(usage(input)?),
        _ => return Ok(None),
    }))
}

/// Versions, features, cluster, member.
fn hello(input: &mut Bytes) -> Decoded<Hello> {
    Ok(Hello {
        versions: (input.try_get_u16()?, input.try_get_u16()?),
        features: Features::from_bits(input.try_get_u64()?),
        cluster: take::array(input)?,
        member: MemberId(take::array(input)?),
        software: None,
    })
}

/// How far the session is, and the conditions behind their number.
fn report(input: &mut Bytes) -> Decoded<Report> {
    let receiving =
        take::optional(input, |input| Ok((input.try_get_u64()?, input.try_get_u64()?)))?;
    let count = take::row_count(input, MAX_CONDITIONS)?;
    let mut conditions = Vec::with_capacity(count);
    for _ in 0..count {
        conditions.push(Condition {
            code: input.try_get_u16()?,
            for_ms: input.try_get_u64()?,
            about: take::optional(input, |input| take::array(input).map(MemberId))?,
        });
    }
    Ok(Report { conditions, receiving })
}

/// Two origins, and a number for each.
fn want(input: &mut Bytes) -> Decoded<Want> {
    let origins = take::pair(input)?;
    Ok(Want { origins, numbers: [input.try_get_u64()?, input.try_get_u64()?] })
}

/// The dot of the first row, the number of rows, the rows.
fn live(input: &mut Bytes) -> Decoded<Live> {
    let first = take::dot(input)?;
    let count = take::row_count(input, MAX_ROWS)?;
    if count == 0 {
        return Err(MessageError::Invalid("a live message has no rows"));
    }
    if first.seq.checked_add(count as u64).is_none() {
        return Err(MessageError::Invalid("a row has a sequence number out of range"));
    }
    let rows = (first.seq..).take(count).map(|seq| take_row(input, Dot { seq, ..first }));
    Ok(Live { rows: rows.collect::<Decoded<_>>()? })
}

/// Session, batch, whether the receiver is new, the dot to begin behind, the snapshot whose rows the receiver
/// has, the most bytes, vector.
fn pull(input: &mut Bytes) -> Decoded<Pull> {
    Ok(Pull {
        session: input.try_get_u64()?,
        batch: input.try_get_u32()?,
        is_new: take::flag(input)?,
        after: take::optional(input, take::dot)?,
        known: take::optional(input, |input| Ok(input.try_get_u64()?))?,
        bytes: input.try_get_u32()?,
        since: take::vector(input)?,
    })
}

/// Session, batch, stamp, commit, index, vectors in the first page, what follows, the rows with their dots.
fn page(input: &mut Bytes) -> Decoded<Page> {
    let (session, batch) = (input.try_get_u64()?, input.try_get_u32()?);
    let (stamp, commit) = (input.try_get_u64()?, input.try_get_u64()?);
    let index = input.try_get_u16()?;
    let head = take::optional(input, |input| {
        let (vector, collected) = (take::vector(input)?, take::vector(input)?);
        let floor = take::floor(input)?;
        // The state of the index is an optional field.
        let next = take::optional(input, take::dot)?;
        Ok(PageHead { vector, collected, floor, next, index: 0 })
    })?;
    if head.is_some() != (index == 0) {
        return Err(MessageError::Invalid("the first page of a batch, and only it, has vectors"));
    }
    let end = match input.try_get_u8()? {
        0 => End::Page,
        1 => End::Batch(take::dot(input)?),
        2 => End::Round,
        _ => return Err(MessageError::Invalid("a page has an unknown end")),
    };
    let count = take::row_count(input, MAX_ROWS)?;
    let damaged = (0..count).map(|_| damaged_key(input)).collect::<Decoded<_>>()?;
    let count = take::row_count(input, MAX_ROWS)?;
    let mut rows = Vec::with_capacity(count);
    for _ in 0..count {
        let dot = take::dot(input)?;
        rows.push(take_row(input, dot)?);
    }
    Ok(Page { session, batch, stamp, commit, index, head, end, damaged, rows })
}

/// Namespace, key and dot of a row that the source can't read. The dot may be unknown.
fn damaged_key(input: &mut Bytes) -> Decoded<DamagedKey> {
    let (namespace, key) = (take::namespace(input)?, take::key(input)?);
    Ok(DamagedKey { namespace, key, dot: take::dot_or_unplaced(input)? })
}

/// The number of a reason, and its vector.
fn reason(input: &mut Bytes) -> Decoded<Reason> {
    match input.try_get_u8()? {
        1 => Ok(Reason::Gone(take::vector(input)?)),
        2 => Ok(Reason::Busy),
        _ => Err(MessageError::Invalid("a refusal has an unknown reason")),
    }
}

/// Fetch, namespace, dot, offset, length, key.
fn get_body(input: &mut Bytes) -> Decoded<GetBody> {
    let (fetch, namespace) = (input.try_get_u64()?, take::namespace(input)?);
    let (dot, offset, len) = (take::dot(input)?, input.try_get_u64()?, input.try_get_u32()?);
    if offset >= MAX_VALUE_BYTES || offset % CHUNK_BYTES as u64 != 0 || len > MAX_ASKED_BYTES {
        return Err(MessageError::Invalid("a request names a piece that no body has"));
    }
    let key = take::key(input)?;
    Ok(GetBody { fetch, namespace, dot, offset, len, key })
}

/// Why a body is not sent.
fn no_body(input: &mut Bytes) -> Decoded<NoBody> {
    match input.try_get_u8()? {
        0 => Ok(NoBody::Gone),
        1 => Ok(NoBody::Damaged),
        2 => {
            let dot = take::dot(input)?;
            Ok(NoBody::Replaced(Box::new(take_row(input, dot)?)))
        }
        _ => Err(MessageError::Invalid("an unknown reason why a body is not sent")),
    }
}

/// A piece of usage behind its length.
fn usage(input: &mut Bytes) -> Decoded<Bytes> {
    let len = usize::from(input.try_get_u16()?);
    if len > MAX_USAGE_BYTES {
        return Err(MessageError::Invalid("a piece of usage is too long"));
    }
    take::bytes(input, len)
}

/// A piece of a body behind its length.
fn piece(input: &mut Bytes) -> Decoded<Bytes> {
    let len = usize::from(input.try_get_u16()?);
    if len == 0 || len > CHUNK_BYTES {
        return Err(MessageError::Invalid("a piece of a body is empty or too long"));
    }
    take::bytes(input, len)
}
