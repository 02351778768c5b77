//! Reasons for the end of a link, or of an attempt to make one.

use std::{io, time::Duration};

use kv_core::visible::is_invisible;
use quinn::{ClosedStream, ConnectError, ConnectionError, ReadError, ReadExactError, WriteError};
use tokio::task::JoinError;

use super::code;

/// Why a link ended, or was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    /// The connection was lost, closed by the peer, or rejected.
    #[error("{}", connection(.0))]
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
    /// Each address of the member failed.
    #[error("{}", join(.0))]
    All(Vec<LinkError>),
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

/// The most characters of a peer's reason.
const MAX_REASON: usize = 400;

/// Why a connection was lost, in words. A peer's reason may hold anything: it is cut, and characters that would act on a
/// terminal are replaced.
fn connection(error: &ConnectionError) -> String {
    match error {
        ConnectionError::TimedOut => "no message from it for too long".into(),
        ConnectionError::ApplicationClosed(close) if !close.reason.is_empty() => {
            format!("it closed the link: {}", printable(&close.reason))
        }
        other => printable(other.to_string().as_bytes()),
    }
}

/// A text without control characters and without invisible ones, and not too long.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let visible = |c: char| if c.is_control() || is_invisible(c) { '\u{fffd}' } else { c };
    text.chars().take(MAX_REASON).map(visible).collect()
}

/// Several errors in one line.
fn join(errors: &[LinkError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl LinkError {
    /// The reason of a peer that does not replicate any more, if that is what ended the link.
    pub(super) fn halted(&self) -> Option<String> {
        match self {
            LinkError::At { source, .. } => return source.halted(),
            LinkError::All(errors) => return errors.iter().find_map(LinkError::halted),
            _ => {}
        }
        match self.lost()? {
            ConnectionError::ApplicationClosed(close) if close.error_code == code::HALTED => {
                Some(printable(&close.reason))
            }
            _ => None,
        }
    }

    /// Whether somebody has answered there: the location is reached, and the link fails for another reason.
    pub(super) fn is_answer(&self) -> bool {
        let lost = match self {
            LinkError::At { source, .. } => return source.is_answer(),
            LinkError::All(errors) => return errors.iter().any(LinkError::is_answer),
            LinkError::Violation(_) => return true,
            LinkError::Connection(lost)
            | LinkError::Read(ReadError::ConnectionLost(lost))
            | LinkError::Write(WriteError::ConnectionLost(lost)) => lost,
            _ => return false,
        };
        matches!(
            lost,
            ConnectionError::ApplicationClosed(_)
                | ConnectionError::ConnectionClosed(_)
                | ConnectionError::TransportError(_)
                | ConnectionError::VersionMismatch
        )
    }

    /// An error that concerns one address of a member.
    pub(super) fn at(self, address: &str) -> LinkError {
        LinkError::At { address: address.to_owned(), source: Box::new(self) }
    }

    /// Whether the peer has closed the link because it shuts down.
    pub(super) fn is_stop(&self) -> bool {
        matches!(self.lost(), Some(ConnectionError::ApplicationClosed(close)) if close.error_code == code::STOPPING)
    }

    /// Whether the link ended because nothing arrived on it for too long.
    pub(super) fn is_timeout(&self) -> bool {
        matches!(self.lost(), Some(ConnectionError::TimedOut))
    }

    /// How the connection was lost, if that is the reason.
    fn lost(&self) -> Option<&ConnectionError> {
        match self {
            LinkError::Connection(lost)
            | LinkError::Read(ReadError::ConnectionLost(lost))
            | LinkError::Write(WriteError::ConnectionLost(lost)) => Some(lost),
            _ => None,
        }
    }

    /// Whether the peer has another link of this location: another process runs as this location.
    pub(super) fn is_replaced(&self) -> bool {
        matches!(self.lost(), Some(ConnectionError::ApplicationClosed(close)) if close.error_code == code::DOUBLE)
    }
}

impl From<ReadExactError> for LinkError {
    fn from(error: ReadExactError) -> LinkError {
        match error {
            ReadExactError::FinishedEarly(_) => LinkError::Violation("it ended a stream"),
            ReadExactError::ReadError(ReadError::ConnectionLost(error)) => {
                LinkError::Connection(error)
            }
            ReadExactError::ReadError(error) => LinkError::Read(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use quinn::{ApplicationClose, VarInt};

    use super::*;

    fn closed(code: VarInt, reason: &'static str) -> LinkError {
        let close = ApplicationClose { error_code: code, reason: reason.as_bytes().into() };
        LinkError::Connection(ConnectionError::ApplicationClosed(close))
    }

    #[test]
    fn a_peer_that_has_halted_gives_its_reason_whichever_address_it_was_dialled_at() {
        assert_eq!(closed(code::GOING, "shutting down").halted(), None);
        let stopped = closed(code::STOPPING, "shutting down");
        assert!(stopped.is_stop() && stopped.halted().is_none() && !stopped.is_replaced());
        let halted = || closed(code::HALTED, "it was removed");
        assert_eq!(halted().halted().as_deref(), Some("it was removed"));
        let tried = vec![LinkError::NoAddress.at("a:1"), halted().at("b:2")];
        assert_eq!(LinkError::All(tried).halted().as_deref(), Some("it was removed"));
    }

    #[test]
    fn a_refusal_is_an_answer_and_silence_is_none() {
        assert!(closed(code::GOING, "bye").at("a:1").is_answer());
        assert!(LinkError::Connection(ConnectionError::VersionMismatch).is_answer());
        let silent = || LinkError::Timeout(Duration::from_secs(5)).at("b:2");
        assert!(!silent().is_answer());
        assert!(LinkError::All(vec![silent(), closed(code::GOING, "bye").at("a:1")]).is_answer());
        assert!(!LinkError::Connection(ConnectionError::TimedOut).is_answer());
    }

    #[test]
    fn all_addresses_that_were_tried_are_named_with_their_errors() {
        let timeout = || LinkError::Timeout(Duration::from_secs(5));
        let all = LinkError::All(vec![timeout().at("a:1"), closed(code::GOING, "bye").at("b:2")]);
        let text = all.to_string();
        assert_eq!(text, "a:1: no answer within 5s; b:2: it closed the link: bye");
    }

    #[test]
    fn the_reason_of_a_peer_can_not_forge_lines_of_the_log() {
        let text = closed(code::GOING, "a\nERROR b\x1b[2J\u{202e}c").to_string();
        assert!(!text.contains(char::is_control) && !text.contains('\u{202e}'), "{text:?}");
    }
}
