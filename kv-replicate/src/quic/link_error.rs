//! Reasons for the end of a link, or of an attempt to make one.

use std::{io, time::Duration};

use quinn::{ClosedStream, ConnectError, ConnectionError, ReadError, ReadExactError, WriteError};
use tokio::task::JoinError;

/// Why a link ended, or was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error("can't connect: {0}")]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Stream(#[from] ClosedStream),
    #[error("can't use this location's certificate: {0}")]
    Tls(#[from] rustls::Error),
    #[error("no address of the member is known")]
    NoAddress,
    #[error("can't resolve the address: {0}")]
    Lookup(#[from] io::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// What happened with one of several addresses.
    #[error("{address}: {source}")]
    At { address: String, source: Box<LinkError> },
    /// The peer did what no location does.
    #[error("the peer violated the protocol: {0}")]
    Violation(&'static str),
    #[error("a task of the link failed: {0}")]
    Task(#[from] JoinError),
    #[error("this location closed the link")]
    Closed,
}

impl LinkError {
    /// An error that concerns one address of a member.
    pub(super) fn at(self, address: &str) -> LinkError {
        LinkError::At { address: address.to_owned(), source: Box::new(self) }
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
