//! Errors of a replica.

use std::net::SocketAddr;

use kv_core::WriteError;

/// Why a replica did not start. Nothing was changed, and the port is free again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The certificates or the key can't be used, or they name another cluster or member.
    #[error("this location's certificate can't be used: {0}")]
    Identity(String),
    /// The UDP port can't be bound.
    #[error("can't listen on UDP {address}: {source}")]
    Bind {
        /// The address that could not be bound.
        address: SocketAddr,
        /// The reason.
        source: std::io::Error,
    },
    /// The store could not be made durable, or is closed.
    #[error(transparent)]
    Store(#[from] WriteError),
    /// The system gave no randomness or no thread.
    #[error("the system has no {0}")]
    System(String),
}

/// Why a replica did not take another identity. It keeps the one that it has.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The certificates or the key can't be used, or they name another cluster or member.
    #[error(transparent)]
    Unusable(StartError),
    /// The replica or its store was closed.
    #[error("the replica was closed")]
    Closed,
}

/// Why a replica did not answer a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// It does not replicate any more; its status has the reason.
    #[error("this location does not replicate any more")]
    Halted,
    /// The replica or its store was closed.
    #[error("the replica was closed")]
    Closed,
}
