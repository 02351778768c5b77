//! Why a call on keys and values failed, whichever API received it.

use std::borrow::Cow;

use http::StatusCode;
use kv_core::{ReadError, WriteError};

use super::invalid::Invalid;
use crate::http::incoming::Unread;

/// Why a call on keys and values failed. Each API gives it a form of its own.
#[derive(Debug, thiserror::Error)]
pub enum KvError {
    /// A part of the request is not valid.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The body of the request was not read whole.
    #[error(transparent)]
    Unread(#[from] Unread),
    /// The store did not write.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The store did not read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A write that the store did not perform, as a response reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwritten {
    /// The status of the response.
    pub status: StatusCode,
    /// What failed, why, and what to do; it says whether something was written.
    pub text: Cow<'static, str>,
    /// Seconds after which the same write may succeed, if it may.
    pub retry_after: Option<u8>,
}

impl Unwritten {
    /// A failure of this status that lasts.
    fn lasting(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Unwritten {
        Unwritten { status, text: text.into(), retry_after: None }
    }

    /// A failure that is temporary.
    fn busy(text: &'static str) -> Unwritten {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Unwritten { status, text: text.into(), retry_after: Some(1) }
    }
}

impl From<WriteError> for Unwritten {
    fn from(error: WriteError) -> Unwritten {
        const INTERNAL: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
        const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
        match error {
            // The API checks its own limits first, so this is one that only the store has.
            WriteError::Invalid(rule) => {
                Unwritten::lasting(StatusCode::BAD_REQUEST, rule.to_string())
            }
            WriteError::Taken(name) => {
                Unwritten::lasting(StatusCode::BAD_REQUEST, name.to_string())
            }
            WriteError::UnknownNamespace(id) => {
                let text = format!("The namespace {id} was dropped. Nothing was written.");
                Unwritten::lasting(StatusCode::NOT_FOUND, text)
            }
            WriteError::QueueFull => Unwritten::busy(
                "Too many writes are waiting. Nothing was written. Try again in a second.",
            ),
            WriteError::DiskFull => Unwritten::lasting(
                StatusCode::INSUFFICIENT_STORAGE,
                "The server's disk is full. Nothing was written. Delete entries or namespaces, or make room on \
                 that disk, and try again.",
            ),
            WriteError::Closed => {
                Unwritten::busy("The server is stopping. Nothing was written. Try again.")
            }
            WriteError::ReadOnly(why) => Unwritten::lasting(
                UNAVAILABLE,
                format!("The server takes no writes now: {why}. Nothing was written."),
            ),
            WriteError::EndOfTime => Unwritten::lasting(
                UNAVAILABLE,
                "The server takes no writes of this key now: its clock shows the year 2200 or later, or \
                 did when the key was last written. Nothing was written. Set the clock of that machine.",
            ),
            error @ (WriteError::Superseded(_) | WriteError::TooManyOrigins) => {
                Unwritten::lasting(UNAVAILABLE, format!("The server takes no writes now: {error}."))
            }
            WriteError::Failed(why) => Unwritten::lasting(
                INTERNAL,
                format!("The write failed: {why}. Nothing was written."),
            ),
            WriteError::OutcomeUnknown(why) => Unwritten::lasting(
                INTERNAL,
                format!(
                    "The outcome of this write is not known: {why}. Read the key back, or write \
                     it again."
                ),
            ),
            other => Unwritten::lasting(INTERNAL, format!("The write failed: {other}.")),
        }
    }
}
