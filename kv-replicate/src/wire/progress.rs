//! Progress: which writes the sender has, and its timestamps.
//!
//! A message says which counts have changed since an earlier one that the receiver has acknowledged, its *base*. The
//! first one on a link has none, and says all. Origins have numbers, so that a count takes a few bytes: the sender
//! names an origin with its number until the receiver has acknowledged that.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kv_core::{Dot, Hlc, OriginId, limits::MAX_ORIGINS};

use super::{
    error::MessageError,
    message::{MAX_ROWS, MAX_SEQ},
    put,
    take::{self, Decoded},
};

/// The most visible writes in a message that the durable counts do not cover.
pub(crate) const MAX_VISIBLE: usize = MAX_ROWS;

/// No digest: the location does not know yet which writes it holds that its vector does not count.
pub(crate) const UNKNOWN: u64 = u64::MAX;

/// A progress message that was received, so that its sender knows the round trip and what it need not repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Echo {
    /// Its number.
    pub(crate) number: u64,
    /// How long ago it arrived, in milliseconds.
    pub(crate) held_ms: u32,
}

/// The origins that the sender's process writes under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Opened {
    /// None before its first write.
    #[default]
    Nothing,
    /// Those of the base.
    AsBefore,
    /// These.
    Pair([OriginId; 2]),
}

/// How many writes of an origin the sender holds durably.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    /// The number that the sender has given to the origin: below [`MAX_ORIGINS`].
    pub(crate) number: u32,
    /// The origin, unless the base has named it or is behind a message that has.
    pub(crate) origin: Option<OriginId>,
    /// The sequence number up to which it holds all; 0 if it counts none any more.
    pub(crate) seq: u64,
}

/// What has changed of the writes that the sender has, and its timestamps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProgressDelta {
    /// Rises with each progress message.
    pub(crate) number: u64,
    /// The number of the acknowledged message that this one builds on; 0 for none: it replaces everything.
    pub(crate) base: u64,
    /// The sender's wall clock, in milliseconds since the Unix epoch.
    pub(crate) wall_ms: u64,
    /// The last progress of the receiver that the sender has taken in; none before the first.
    pub(crate) echo: Option<Echo>,
    /// All writes of the sender's origins up to this time are counted.
    pub(crate) closed_timestamp: Hlc,
    /// Every member's writes up to this time are counted.
    pub(crate) resolved: Hlc,
    /// Every member that the sender knows of has announced to have resolved this time.
    pub(crate) held: Hlc,
    /// The origins that the sender's process writes under.
    pub(crate) opened: Opened,
    /// Whether the sender rebuilds its store.
    pub(crate) rebuilding: bool,
    /// A digest of the writes of ended origins that the sender holds and does not count: 0 if there are none, [`UNKNOWN`]
    /// while it does not know.
    pub(crate) uncounted: u64,
    /// The counts that have changed since the base, by rising number: at most [`MAX_ORIGINS`].
    pub(crate) counts: Vec<Count>,
    /// Visible writes beyond the counts, at most [`MAX_VISIBLE`] and of different origins; only in a message without a
    /// base.
    pub(crate) visible: Vec<Dot>,
}

/// Appends a message.
pub(super) fn put(out: &mut BytesMut, delta: &ProgressDelta) {
    out.put_u64(delta.number);
    out.put_u64(delta.base);
    out.put_u64(delta.wall_ms);
    put::optional(out, delta.echo, |out, echo| {
        out.put_u64(echo.number);
        out.put_u32(echo.held_ms);
    });
    out.put_u64(delta.closed_timestamp.0);
    out.put_u64(delta.resolved.0);
    out.put_u64(delta.held.0);
    match delta.opened {
        Opened::Nothing => out.put_u8(0),
        Opened::Pair(pair) => {
            out.put_u8(1);
            pair.iter().for_each(|origin| out.put_slice(&origin.0));
        }
        Opened::AsBefore => out.put_u8(2),
    }
    out.put_u8(u8::from(delta.rebuilding));
    out.put_u64(delta.uncounted);
    put::varint(out, delta.counts.len() as u64);
    for count in &delta.counts {
        put::varint(out, u64::from(count.number) << 1 | u64::from(count.origin.is_some()));
        count.origin.iter().for_each(|origin| out.put_slice(&origin.0));
        put::varint(out, count.seq);
    }
    if delta.base == 0 {
        put::count(out, delta.visible.len());
        delta.visible.iter().for_each(|dot| put::dot(out, *dot));
    }
}

/// Takes a message.
pub(super) fn take(input: &mut Bytes) -> Decoded<ProgressDelta> {
    let (number, base) = (input.try_get_u64()?, input.try_get_u64()?);
    if base >= number && number > 0 {
        return Err(MessageError::Invalid("a progress message builds on a later one"));
    }
    let wall_ms = input.try_get_u64()?;
    let echo = take::optional(input, |input| {
        Ok(Echo { number: input.try_get_u64()?, held_ms: input.try_get_u32()? })
    })?;
    let (closed_timestamp, resolved) = (Hlc(input.try_get_u64()?), Hlc(input.try_get_u64()?));
    let held = Hlc(input.try_get_u64()?);
    let opened = match input.try_get_u8()? {
        0 => Opened::Nothing,
        1 => Opened::Pair(take::pair(input)?),
        2 if base > 0 => Opened::AsBefore,
        _ => return Err(MessageError::Invalid("a progress message has unknown origins")),
    };
    let (rebuilding, uncounted) = (take::flag(input)?, input.try_get_u64()?);
    let counts = counts(input)?;
    let visible = if base == 0 { visible(input)? } else { Vec::new() };
    Ok(ProgressDelta {
        number,
        base,
        wall_ms,
        echo,
        closed_timestamp,
        resolved,
        held,
        opened,
        rebuilding,
        uncounted,
        counts,
        visible,
    })
}

/// Counts by rising number.
fn counts(input: &mut Bytes) -> Decoded<Vec<Count>> {
    let len = usize::try_from(take::varint(input)?).unwrap_or(usize::MAX);
    // A count takes two bytes at least.
    if len > MAX_ORIGINS || len * 2 > input.len() {
        return Err(MessageError::Invalid("a progress message has too many counts"));
    }
    let (mut counts, mut least) = (Vec::with_capacity(len), 0);
    for _ in 0..len {
        let tag = take::varint(input)?;
        let number = u32::try_from(tag >> 1).unwrap_or(u32::MAX);
        if number < least || number as usize >= MAX_ORIGINS {
            return Err(MessageError::Invalid("the numbers of origins are not in order"));
        }
        least = number + 1;
        let origin = if tag & 1 == 1 { Some(take::origin(input)?) } else { None };
        let seq = take::varint(input)?;
        if seq >= MAX_SEQ {
            return Err(MessageError::Invalid("a count is out of range"));
        }
        counts.push(Count { number, origin, seq });
    }
    Ok(counts)
}

/// Writes that are visible, by rising origin.
fn visible(input: &mut Bytes) -> Decoded<Vec<Dot>> {
    let len = take::row_count(input, MAX_VISIBLE)?;
    let mut dots: Vec<Dot> = Vec::with_capacity(len);
    for _ in 0..len {
        let dot = take::dot(input)?;
        let is_next = dots.last().is_none_or(|before| before.origin < dot.origin);
        if !is_next || !(1..MAX_SEQ).contains(&dot.seq) {
            return Err(MessageError::Invalid("visible writes are not in order or out of range"));
        }
        dots.push(dot);
    }
    Ok(dots)
}
