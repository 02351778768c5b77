//! Values appended to a message. Their bounds were checked when they entered.

use bytes::{BufMut, BytesMut};
use kv_core::{Dot, Version, VersionVector};

/// A count in two bytes.
pub(super) fn count(out: &mut BytesMut, count: usize) {
    out.put_u16(u16::try_from(count).expect("counts of rows and lengths of keys are bounded"));
}

/// A value behind a flag.
pub(super) fn optional<T>(
    out: &mut BytesMut,
    value: Option<T>,
    put: impl FnOnce(&mut BytesMut, T),
) {
    out.put_u8(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

/// A time and an origin.
pub(super) fn version(out: &mut BytesMut, version: Version) {
    out.put_u64(version.hlc.0);
    out.put_slice(&version.origin.0);
}

/// An origin and a sequence number.
pub(super) fn dot(out: &mut BytesMut, dot: Dot) {
    out.put_slice(&dot.origin.0);
    out.put_u64(dot.seq);
}

/// A count, and the dots in the order of their origins.
pub(super) fn vector(out: &mut BytesMut, vector: &VersionVector) {
    let count = u32::try_from(vector.iter().count());
    out.put_u32(count.expect("the origins of a store are bounded"));
    vector.iter().for_each(|next| dot(out, next));
}

/// A number in as few bytes as it needs, seven bits in each and the lowest first.
pub(super) fn varint(out: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        out.put_u8(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    out.put_u8(u8::try_from(number).unwrap_or_default());
}

/// Bytes behind their length.
pub(super) fn short(out: &mut BytesMut, bytes: &[u8]) {
    count(out, bytes.len());
    out.put_slice(bytes);
}
