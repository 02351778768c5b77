//! Locations that run a later version of the program, beside others: a rolling upgrade, and back.
//!
//! A later version understands one more version of messages, has features that this one lacks, adds an optional field to
//! each message, and sends messages of a kind that this one does not know. All else is as today.

use bytes::{Bytes, BytesMut};
use kv_core::{Features, Software, SoftwareVersion, codec::put_optional_field};
use kv_replicate::{MAX_MESSAGE_BYTES, OLDEST_WIRE_VERSION, WIRE_VERSION};

/// A feature that no program has.
pub const FEATURE: Features = Features::from_bits(1 << 63);

/// Another feature that no program has.
pub const OTHER: Features = Features::from_bits(1 << 62);

/// The kind of message that only a later version knows.
const KIND: u8 = 250;

/// The optional field that only a later version knows.
const TAG: u8 = 250;

/// The kinds of messages that have one layout in all versions: hello and the notice of a removal. They are sent before
/// the two ends agree on a version, and a later program sends no unknown kind then.
const WITHOUT_VERSION: [u8; 2] = [1, 13];

/// The later program, with these features.
///
/// # Panics
/// Never: its version is short and its range of versions is one.
#[must_use]
pub fn software(features: Features) -> Software {
    let version = SoftwareVersion::new("99.0.0").expect("it is short");
    Software::new(version, (OLDEST_WIRE_VERSION, WIRE_VERSION + 1), features).expect("a range")
}

/// What a program sends in place of a message of this version: the message itself, or, if it is a later one, the message
/// with one more optional field, and one of an unknown kind.
#[must_use]
pub fn sent(software: &Software, bytes: Bytes) -> Vec<Bytes> {
    if software.wire().1 <= WIRE_VERSION {
        return vec![bytes];
    }
    std::iter::once(message(&bytes)).chain(unknown(&bytes)).collect()
}

/// A message as a later version sends it: with one more optional field.
#[must_use]
pub fn message(bytes: &Bytes) -> Bytes {
    let mut message = BytesMut::from(&bytes[..]);
    put_optional_field(&mut message, TAG, b"later");
    if message.len() > MAX_MESSAGE_BYTES { bytes.clone() } else { message.freeze() }
}

/// A message of an unknown kind, with the version and the incarnations of this one; none beside a message that has no
/// version.
#[must_use]
pub fn unknown(bytes: &Bytes) -> Option<Bytes> {
    let mut message = BytesMut::from(&bytes[..bytes.len().min(40)]);
    let kind = message.get_mut(2).filter(|kind| !WITHOUT_VERSION.contains(kind))?;
    *kind = KIND;
    Some(message.freeze())
}
