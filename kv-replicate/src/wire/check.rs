//! Checks of bytes from anywhere, for tests and fuzzers.

use bytes::{Bytes, BytesMut};
use kv_core::codec::put_optional_field;

use super::{
    decode::{Received, decode},
    encode::encode,
    envelope::software,
    error::MessageError,
    message::{MAX_MESSAGE_BYTES, Message},
};

/// An optional field that no message has.
const UNKNOWN: u8 = u8::MAX;

/// Decodes bytes from anywhere and formats the message: for a fuzzer. Decodes it once more with an optional field that no
/// message has.
///
/// # Errors
/// If the bytes are not a message.
///
/// # Panics
/// If the unknown field makes a difference.
pub fn check_message(bytes: &[u8]) -> Result<(), MessageError> {
    let received = read(&Bytes::copy_from_slice(bytes))?;
    let _used = format!("{received:?}");
    let is_whole = received.skipped.is_empty() && bytes.len() + 5 <= MAX_MESSAGE_BYTES;
    if is_whole && !matches!(received.message, Message::Unknown { .. }) {
        let mut longer = BytesMut::from(bytes);
        put_optional_field(&mut longer, UNKNOWN, b"00");
        let expected = Received { skipped: vec![UNKNOWN], ..received };
        assert_eq!(read(&longer.freeze()), Ok(expected), "an unknown field is skipped");
    }
    Ok(())
}

/// Decodes a message and encodes it again. A message that a program of this version sent comes out
/// unchanged.
///
/// # Errors
/// If the bytes are not a message.
pub fn reencode_message(bytes: &Bytes) -> Result<Bytes, MessageError> {
    let received = read(bytes)?;
    Ok(encode(received.envelope, &received.message))
}

/// Decodes a message as this program does.
fn read(bytes: &Bytes) -> Result<Received, MessageError> {
    decode(bytes, software().wire())
}
