//! The streams of a link. A stream begins with the number of its channel (one byte). Messages follow, each
//! behind its length (a `u32`, big-endian).

use bytes::{Bytes, BytesMut};
use quinn::{RecvStream, SendStream};

use super::link_error::LinkError;
use crate::{Channel, MAX_MESSAGE_BYTES};

/// The priority of each channel's stream at the sender.
const PRIORITY: [i32; 4] = [3, 2, 1, 0];

/// The index of a channel among the four, and its number on the wire.
pub(super) fn index(channel: Channel) -> usize {
    match channel {
        Channel::Control => 0,
        Channel::Live => 1,
        Channel::CatchUp => 2,
        Channel::Body => 3,
    }
}

/// Begins a stream of a channel.
pub(super) async fn begin(stream: &mut SendStream, channel: Channel) -> Result<(), LinkError> {
    let index = index(channel);
    stream.set_priority(PRIORITY[index])?;
    let number = u8::try_from(index).unwrap_or_default();
    Ok(stream.write_all(&[number]).await?)
}

/// Reads the number of a stream's channel.
pub(super) async fn number(stream: &mut RecvStream) -> Result<usize, LinkError> {
    let mut number = [0];
    stream.read_exact(&mut number).await?;
    Ok(usize::from(number[0]))
}

/// Frames messages: each goes behind its length.
pub(super) fn frames(messages: &mut Vec<Bytes>, chunks: &mut Vec<Bytes>) {
    chunks.clear();
    for message in messages.drain(..) {
        let len = u32::try_from(message.len()).expect("a message is at most 4 MiB");
        chunks.push(Bytes::copy_from_slice(&len.to_be_bytes()));
        chunks.push(message);
    }
}

/// Reads the next message.
///
/// # Errors
/// If the stream or the link ends, or a message is empty or too long.
pub(super) async fn read(stream: &mut RecvStream) -> Result<Bytes, LinkError> {
    let mut len = [0; 4];
    stream.read_exact(&mut len).await?;
    let len = usize::try_from(u32::from_be_bytes(len)).unwrap_or(usize::MAX);
    if len == 0 || len > MAX_MESSAGE_BYTES {
        return Err(LinkError::Violation("it sent a message that is empty or too long"));
    }
    let mut message = BytesMut::zeroed(len);
    stream.read_exact(&mut message).await?;
    Ok(message.freeze())
}
