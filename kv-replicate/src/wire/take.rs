//! Values from the front of a message. Every length is checked before its bytes are taken.

use bytes::{Buf, Bytes};
use kv_core::{
    Dot, Hlc, Key, Metadata, NamespaceId, OriginId, UNPLACED, Version, VersionVector,
    limits::{MAX_METADATA_BYTES, MAX_ORIGINS},
};

use super::{
    error::MessageError,
    message::{MAX_ROWS, MAX_SEQ},
};

/// A value, or the reason why the bytes are not a message.
pub(super) type Decoded<T> = Result<T, MessageError>;

/// The next `len` bytes, without a copy.
pub(super) fn bytes(input: &mut Bytes, len: usize) -> Decoded<Bytes> {
    if len > input.len() {
        return Err(MessageError::CutShort);
    }
    Ok(input.split_to(len))
}

/// The next bytes, as many as the array has.
pub(super) fn array<const N: usize>(input: &mut Bytes) -> Decoded<[u8; N]> {
    let mut array = [0; N];
    input.try_copy_to_slice(&mut array)?;
    Ok(array)
}

/// A boolean: one byte, 0 or 1.
pub(super) fn flag(input: &mut Bytes) -> Decoded<bool> {
    match input.try_get_u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(MessageError::Invalid("a boolean is neither 0 nor 1")),
    }
}

/// A value behind a flag, or none.
pub(super) fn optional<T>(
    input: &mut Bytes,
    take: impl FnOnce(&mut Bytes) -> Decoded<T>,
) -> Decoded<Option<T>> {
    flag(input)?.then(|| take(input)).transpose()
}

/// A number in as few bytes as it needs, seven bits in each and the lowest first.
pub(super) fn varint(input: &mut Bytes) -> Decoded<u64> {
    let mut number = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = input.try_get_u8()?;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            break;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            let is_shortest = bits > 0 || shift == 0;
            return if is_shortest { Ok(number) } else { Err(TOO_LONG) };
        }
    }
    Err(TOO_LONG)
}

/// A number in more bytes than it needs, or one that 64 bits do not hold.
const TOO_LONG: MessageError = MessageError::Invalid("a number has too many bytes");

/// A number of rows, within the bound of a message.
pub(super) fn row_count(input: &mut Bytes, most: usize) -> Decoded<usize> {
    let count = usize::from(input.try_get_u16()?);
    if count > most.min(MAX_ROWS) {
        return Err(MessageError::Invalid("a message has too many rows"));
    }
    Ok(count)
}

/// An origin's id, which is not zero.
pub(super) fn origin(input: &mut Bytes) -> Decoded<OriginId> {
    match array(input)? {
        id if id == [0; 16] => Err(MessageError::Invalid("the id of an origin is zero")),
        id => Ok(OriginId(id)),
    }
}

/// The two origins of a process, which differ.
pub(super) fn pair(input: &mut Bytes) -> Decoded<[OriginId; 2]> {
    let pair = [origin(input)?, origin(input)?];
    if pair[0] == pair[1] {
        return Err(MessageError::Invalid("a process has one origin twice"));
    }
    Ok(pair)
}

/// A namespace's id.
pub(super) fn namespace(input: &mut Bytes) -> Decoded<NamespaceId> {
    array(input).map(NamespaceId)
}

/// A time and an origin.
pub(super) fn version(input: &mut Bytes) -> Decoded<Version> {
    Ok(Version { hlc: Hlc(input.try_get_u64()?), origin: origin(input)? })
}

/// The time of the last tombstone that a source has collected.
pub(super) fn floor(input: &mut Bytes) -> Decoded<Hlc> {
    match Hlc(input.try_get_u64()?) {
        floor if floor > Hlc::LAST_CLOSED => {
            Err(MessageError::Invalid("a tombstone was collected that is dated in the year 2200"))
        }
        floor => Ok(floor),
    }
}

/// An origin and a sequence number.
pub(super) fn dot(input: &mut Bytes) -> Decoded<Dot> {
    Ok(Dot { origin: origin(input)?, seq: input.try_get_u64()? })
}

/// The dot of a write, or zeros for one of which nobody knows the dot.
pub(super) fn dot_or_unplaced(input: &mut Bytes) -> Decoded<Dot> {
    let dot = Dot { origin: OriginId(array(input)?), seq: input.try_get_u64()? };
    let is_named = dot.origin != UNPLACED.origin && (1..MAX_SEQ).contains(&dot.seq);
    if is_named || dot == UNPLACED {
        return Ok(dot);
    }
    Err(MessageError::Invalid("a key that can't be read has a dot out of range"))
}

/// A version vector: a count, and dots in the order of their origins.
pub(super) fn vector(input: &mut Bytes) -> Decoded<VersionVector> {
    let count = usize::try_from(input.try_get_u32()?).unwrap_or(usize::MAX);
    if count > MAX_ORIGINS {
        return Err(MessageError::Invalid("a version vector has too many origins"));
    }
    let mut vector = VersionVector::default();
    let mut before = None;
    for _ in 0..count {
        let dot = dot(input)?;
        if before.is_some_and(|before| before >= dot.origin) {
            return Err(MessageError::Invalid("a version vector is not in order"));
        }
        if !(1..MAX_SEQ).contains(&dot.seq) {
            return Err(MessageError::Invalid("a version vector has a number out of range"));
        }
        before = Some(dot.origin);
        vector.raise(dot.origin, dot.seq);
    }
    Ok(vector)
}

/// A key behind its length.
pub(super) fn key(input: &mut Bytes) -> Decoded<Key> {
    let len = usize::from(input.try_get_u16()?);
    // It is copied, so that it does not keep its message in memory.
    Key::new(&bytes(input, len)?[..])
        .map_err(|_length| MessageError::Invalid("a key is empty or too long"))
}

/// Metadata behind its length.
pub(super) fn metadata(input: &mut Bytes) -> Decoded<Metadata> {
    let text = text(input, MAX_METADATA_BYTES)?;
    Metadata::new(text).map_err(|_length| MessageError::Invalid("metadata is too long"))
}

/// A text behind its length.
pub(super) fn text(input: &mut Bytes, most: usize) -> Decoded<Box<str>> {
    let len = usize::from(input.try_get_u16()?);
    if len > most {
        return Err(MessageError::Invalid("a text is too long"));
    }
    let text = bytes(input, len)?;
    let text = std::str::from_utf8(&text);
    text.map(Into::into).map_err(|_invalid| MessageError::Invalid("a text is not UTF-8"))
}
