//! A connection on which both ends have proven their identity.

use std::time::Duration;

use kv_core::MemberId;
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::time::timeout;

use super::{code, link_error::LinkError, stream};
use crate::Channel;

/// A connection on which both ends have proven their identity, and its control stream.
#[derive(Debug)]
pub(super) struct Proven {
    /// The member that the peer's certificate names.
    pub(super) peer: MemberId,
    /// The QUIC connection.
    pub(super) connection: Connection,
    /// This location dialled.
    pub(super) is_ours: bool,
    /// Both directions of the control stream, behind its number.
    pub(super) control: (SendStream, RecvStream),
    /// The addresses at which the peer was dialled before, with their errors.
    pub(super) failed: Vec<String>,
}

impl Proven {
    /// Opens the control stream, on which each end sends its channel's number. Until then the end that
    /// dialled can't know whether the other has accepted its certificate.
    pub(super) async fn new(
        peer: MemberId,
        connection: Connection,
        is_ours: bool,
        patience: Duration,
    ) -> Result<Proven, LinkError> {
        let opened = timeout(patience, open(&connection, is_ours)).await;
        match opened.unwrap_or(Err(LinkError::Violation("it does not open its control stream"))) {
            Ok(control) => Ok(Proven { peer, connection, is_ours, control, failed: Vec::new() }),
            Err(error) => {
                close(&connection, code::WRONG, &error);
                Err(error)
            }
        }
    }
}

/// Opens or accepts the control stream, and exchanges its number.
async fn open(
    connection: &Connection,
    is_ours: bool,
) -> Result<(SendStream, RecvStream), LinkError> {
    let (mut send, mut receive) =
        if is_ours { connection.open_bi().await? } else { connection.accept_bi().await? };
    stream::begin(&mut send, Channel::Control).await?;
    if stream::number(&mut receive).await? != stream::index(Channel::Control) {
        return Err(LinkError::Violation("its first stream is not for control"));
    }
    Ok((send, receive))
}

/// Closes a connection, and gives the peer the reason.
pub(super) fn close(connection: &Connection, code: VarInt, reason: &LinkError) {
    connection.close(code, reason.to_string().as_bytes());
}
