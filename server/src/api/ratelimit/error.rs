//! Why a request is refused. Nothing was counted.

use hyper::StatusCode;

use crate::{
    access::Forbidden,
    rate_limits::{DescribeError, PeriodError},
};

/// Why a request is refused. Each text names the field, the reason, and what to send instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// The body of a POST is empty.
    #[error("the body is empty: send a check as JSON")]
    Empty,
    /// The body is not JSON, or a field of it is wrong.
    #[error("{0}")]
    Json(String),
    /// `all` in a body without `checks`.
    #[error("`all` goes with `checks`: remove it")]
    AllWithoutChecks,
    /// Fields of a check beside `checks`.
    #[error("with `checks`, put these fields inside each check: only `all` goes beside it")]
    BesideChecks,
    /// A parameter of a query that is wrong.
    #[error("`{field}` is {value}: use {expected}")]
    Parameter {
        /// Its name.
        field: String,
        /// Its value, quoted and shortened.
        value: String,
        /// The value to send instead.
        expected: &'static str,
    },
    /// A namespace or key that is too long.
    #[error("`{field}` has {length} bytes, and the maximum is {maximum}: hash longer ones", maximum = crate::rate_limits::MAX_KEY_BYTES)]
    TooLong {
        /// Its name.
        field: String,
        /// Its length, in bytes.
        length: usize,
    },
    /// A part of a query that is not UTF-8.
    #[error("`{0}` is not UTF-8")]
    NotText(String),
    /// A parameter that is given twice.
    #[error("`{0}` is given more than once")]
    Twice(String),
    /// A parameter that does not exist.
    #[error(
        "unknown field {0:?}: a GET has name, or namespace, limit, period or unit and timezone, algorithm and burst; key, \
         key_header or trusted_proxies, cost; status, headers"
    )]
    Unknown(String),
    /// A parameter that belongs in the body of a POST.
    #[error("{0} goes in the body of a POST")]
    BelongsInBody(String),
    /// A period that is not one.
    #[error("`period`: {0}")]
    Period(#[from] PeriodError),
    /// A field that is missing.
    #[error(
        "`{0}` is missing: send namespace, key, limit and period, or the name of a limit of the \
         configuration"
    )]
    Missing(&'static str),
    /// A limit that is not configured.
    #[error(
        "no limit has the name {0:?}: add [limits.{0}] to the server's configuration, or send namespace, \
         limit and period"
    )]
    UnknownLimit(String),
    /// A cost that is out of range.
    #[error("`cost` is {0}: use -{max} to {max}", max = u32::MAX)]
    Cost(i64),
    /// Fields that exclude each other.
    #[error("{0}")]
    Conflict(&'static str),
    /// A request without the header that has the key.
    #[error(
        "the request has no X-Forwarded-For with an address: let the proxy send one, or name the key by \
        `key` or `key_header`"
    )]
    NoAddress,
    /// A limit that can't be.
    #[error(transparent)]
    Limit(#[from] DescribeError),
    /// The token of the caller does not permit it.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// A check of a batch that is refused.
    #[error("check {number} of the batch: {source}")]
    InBatch {
        /// Its place in the batch, from 1.
        number: usize,
        /// Why.
        source: Box<Invalid>,
    },
}

impl Invalid {
    /// The status of the response.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Invalid::Forbidden(_) => StatusCode::FORBIDDEN,
            Invalid::InBatch { source, .. } => source.status(),
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// Refuses a value of a parameter, of which at most 40 bytes are repeated.
    pub(super) fn parameter(name: &str, value: &[u8], expected: &'static str) -> Invalid {
        let value = &value[..value.len().min(40)];
        let value = format!("{:?}", String::from_utf8_lossy(value));
        Invalid::Parameter { field: name.to_owned(), value, expected }
    }

    /// Refuses a namespace or key that is too long.
    pub(super) fn check_length(field: &str, bytes: &[u8]) -> Result<(), Invalid> {
        let length = bytes.len();
        if length > crate::rate_limits::MAX_KEY_BYTES {
            return Err(Invalid::TooLong { field: field.to_owned(), length });
        }
        Ok(())
    }
}

/// The start of a text that a client sent, to repeat it.
pub(super) fn start(text: &str) -> String {
    text.chars().take(64).collect()
}
