//! Checks of bytes from anywhere, for tests and fuzzers.

use bytes::Bytes;

use super::{decode::decode, encode::encode, error::MessageError};

/// Decodes bytes from anywhere and formats the message: for a fuzzer.
///
/// # Errors
/// If the bytes are not a message.
pub fn check_message(bytes: &[u8]) -> Result<(), MessageError> {
    let (_, message) = decode(&Bytes::copy_from_slice(bytes))?;
    let _used = format!("{message:?}");
    Ok(())
}

/// Decodes a message and encodes it again. A message that a program of this version sent comes out
/// unchanged.
///
/// # Errors
/// If the bytes are not a message.
pub fn reencode_message(bytes: &Bytes) -> Result<Bytes, MessageError> {
    let (incarnations, message) = decode(bytes)?;
    Ok(encode(incarnations, &message))
}
