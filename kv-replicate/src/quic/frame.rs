//! Messages on a stream: each behind its length, a `u32`, big-endian.

use bytes::{Bytes, BytesMut};
use quinn::{ReadExactError, RecvStream};

use super::link::Ended;
use crate::MAX_MESSAGE_BYTES;

/// What goes onto a stream for these messages.
pub(super) fn frames(messages: &mut Vec<Bytes>, chunks: &mut Vec<Bytes>) {
    chunks.clear();
    for message in messages.drain(..) {
        let len = u32::try_from(message.len()).expect("a message is at most 128 KiB");
        chunks.push(Bytes::copy_from_slice(&len.to_be_bytes()));
        chunks.push(message);
    }
}

/// The next message.
///
/// # Errors
/// If the stream or link ends, or a message has no bytes or more than are allowed.
pub(super) async fn read(stream: &mut RecvStream) -> Result<Bytes, Ended> {
    let mut len = [0; 4];
    stream.read_exact(&mut len).await.map_err(ended)?;
    let len = usize::try_from(u32::from_be_bytes(len)).unwrap_or(usize::MAX);
    if len == 0 || len > MAX_MESSAGE_BYTES {
        return Err(Ended::Wrong("it sent a message without bytes, or with too many"));
    }
    let mut message = BytesMut::zeroed(len);
    stream.read_exact(&mut message).await.map_err(ended)?;
    Ok(message.freeze())
}

pub(super) fn ended(error: ReadExactError) -> Ended {
    match error {
        ReadExactError::FinishedEarly(_) => Ended::Wrong("it ended a stream"),
        ReadExactError::ReadError(error) => Ended::Lost(error.to_string()),
    }
}
