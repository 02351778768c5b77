//! Why a call failed.

use std::{error::Error as StdError, io, sync::Arc, time::Duration};

use http::StatusCode;

use crate::address::Address;

/// An error of any kind below a call.
pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no connection to the server. Nothing was sent.
    #[error("can't reach {address}: {reason}")]
    Connect {
        /// The server.
        address: Address,
        /// Why not.
        reason: ConnectError,
    },
    /// No response, or no more of it, arrived in time. The server may have performed the call.
    #[error("no answer from {address} for {} s; the call may or may not have been performed", timeout.as_secs())]
    TimedOut {
        /// The server.
        address: Address,
        /// How long the client waited.
        timeout: Duration,
    },
    /// The connection ended before the response. The server may have performed the call.
    #[error(
        "the connection to {address} broke: {reason}; the call may or may not have been performed"
    )]
    Broken {
        /// The server.
        address: Address,
        /// The error of the connection.
        reason: BoxError,
    },
    /// The server refused the call.
    #[error("{message}")]
    Refused {
        /// The status of the response.
        status: StatusCode,
        /// The number of the error in Cloudflare's API, such as 10013 for a namespace that does not exist; none if the
        /// response is not one of this API, but of a proxy before it.
        code: Option<u32>,
        /// What the server reports.
        message: String,
        /// After how long a retry may help, if the server named a time.
        retry_after: Option<Duration>,
        /// Whether a retry may help.
        is_retryable: bool,
    },
    /// The response is not one of this API: the address may be that of another server.
    #[error(
        "the response of {address} (status {status}) is not one of this API: check the address"
    )]
    NotThisApi {
        /// The server.
        address: Address,
        /// The status of the response.
        status: StatusCode,
    },
    /// The value that was to be sent can't be read.
    #[error("can't read the value: {0}")]
    Upload(io::Error),
    /// The request can't be written: a key or a text is too long for a URI.
    #[error("the request can't be written: {0}")]
    Request(#[from] http::Error),
    /// What was to be sent is not JSON.
    #[error("the request can't be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nothing listens at the address.
    #[error("no server listens there")]
    NoServer,
    /// The machine can't be reached.
    #[error("{0}")]
    Unreachable(Arc<io::Error>),
    /// The server did not accept TLS, or its certificate is not trusted.
    #[error("can't establish TLS: {0}")]
    Tls(Arc<io::Error>),
}

impl Error {
    /// Whether the same call may succeed later. If it is a write that [may have been performed](Self::is_unknown), retry it only
    /// if performing it twice is harmless, as it is for all calls of a [`Namespace`](crate::Namespace).
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::Connect { reason, .. } => !matches!(reason, ConnectError::Tls(_)),
            Error::TimedOut { .. } | Error::Broken { .. } => true,
            Error::Refused { is_retryable, .. } => *is_retryable,
            _ => false,
        }
    }

    /// Whether the server may have performed the call.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        match self {
            Error::TimedOut { .. } | Error::Broken { .. } => true,
            Error::Refused { status, .. } => {
                status.is_server_error() && *status != StatusCode::SERVICE_UNAVAILABLE
            }
            _ => false,
        }
    }

    /// After how long a retry may help, if the server named a time.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The number of the error in Cloudflare's API, if the server refused the call.
    #[must_use]
    pub fn code(&self) -> Option<u32> {
        match self {
            Error::Refused { code, .. } => *code,
            _ => None,
        }
    }

    /// Whether the namespace does not exist.
    #[must_use]
    pub fn is_no_namespace(&self) -> bool {
        matches!(self.code(), Some(10011 | 10013))
    }
}
