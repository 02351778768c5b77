//! Reasons for the end of a link, or of an attempt to make one.

use std::{io, time::Duration};

use quinn::{ClosedStream, ConnectError, ConnectionError, ReadError, ReadExactError, WriteError};
use tokio::task::JoinError;

use super::proven::code;

/// Why a link ended, or was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    /// The connection was lost, closed by the peer, or rejected.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The dial could not begin, for example with an invalid address.
    #[error("can't connect: {0}")]
    Connect(#[from] ConnectError),
    /// A stream ended in the middle of a message.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The peer no longer reads a stream.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A stream was closed before it was used.
    #[error(transparent)]
    Stream(#[from] ClosedStream),
    /// The certificate or the key of this location can't be used.
    #[error("can't use this location's certificate: {0}")]
    Tls(#[from] rustls::Error),
    /// Neither the store nor the configuration has an address of the peer.
    #[error("no address of the member is known")]
    NoAddress,
    /// A host name was not resolved.
    #[error("can't resolve the address: {0}")]
    Lookup(#[from] io::Error),
    /// The attempt took longer than this.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The error of one of several addresses.
    #[error("{address}: {source}")]
    At { address: String, source: Box<LinkError> },
    /// The peer did what no location does.
    #[error("the peer violated the protocol: {0}")]
    Violation(&'static str),
    /// A task of the link panicked or was stopped.
    #[error("a task of the link failed: {0}")]
    Task(#[from] JoinError),
    /// The replica closes.
    #[error("this location closed the link")]
    Closed,
}

impl LinkError {
    /// An error that concerns one address of a member.
    pub(super) fn at(self, address: &str) -> LinkError {
        LinkError::At { address: address.to_owned(), source: Box::new(self) }
    }

    /// Whether the peer has another link of this location: another process runs as this location.
    pub(super) fn is_replaced(&self) -> bool {
        let lost = match self {
            LinkError::Connection(lost)
            | LinkError::Read(ReadError::ConnectionLost(lost))
            | LinkError::Write(WriteError::ConnectionLost(lost)) => lost,
            _ => return false,
        };
        matches!(lost, ConnectionError::ApplicationClosed(close) if close.error_code == code::DOUBLE)
    }
}

impl From<ReadExactError> for LinkError {
    fn from(error: ReadExactError) -> LinkError {
        match error {
            ReadExactError::FinishedEarly(_) => LinkError::Violation("it ended a stream"),
            ReadExactError::ReadError(error) => LinkError::Read(error),
        }
    }
}
