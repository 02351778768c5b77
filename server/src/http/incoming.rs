//! Reading the body of a request under a bound.
//!
//! `http_body_util::Limited` bounds the length too, but it stops at the limit. A client that writes its
//! whole body before it reads the response would then see a broken connection and no response, so
//! here the rest is read and discarded, up to a bound of its own.

use std::{num::NonZeroUsize, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;

use super::{RequestBody, head};
use crate::admission::Admission;

/// A body of at most this many bytes is read without a permit, so that slow clients with short bodies
/// never exclude others.
pub const SHORT_BYTES: usize = 16 * 1024;

/// The permits for long bodies, each of which holds at most 400 KiB: 25 MiB in all. Short bodies hold
/// 16 KiB a connection, which is 160 MB with the default number of connections.
const LONG_BODIES: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not 0");

/// How long a long body waits for its permit.
const LONG_BODY_WAIT: Duration = Duration::from_secs(5);

/// The admission of long bodies.
#[must_use]
pub fn long_bodies() -> Admission {
    Admission::new(LONG_BODIES, LONG_BODY_WAIT)
}

/// Why a body was not read whole. Nothing of it may be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// It was cut off, stalled, or is shorter than its declared length.
    #[error("the request's body was cut off")]
    Cut,
    /// It is longer than the limit.
    #[error("the request's body is longer than {limit} bytes")]
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// Too many long bodies are being read.
    #[error("too many long requests are being read")]
    Busy,
}

/// A request's body that counts what was read of it.
#[derive(Debug)]
pub struct Incoming {
    /// The bytes as they arrive.
    body: RequestBody,
    /// The `Content-Length`.
    declared: Option<u64>,
    /// Whether the client waits for a `100 Continue` before it sends the body. hyper sends that once the body is
    /// read.
    is_awaited: bool,
    /// How many bytes were read.
    read: u64,
    /// Whether the body ended as it should.
    is_ended: bool,
    /// Whether the body was cut off or stalled.
    is_cut: bool,
}

impl Incoming {
    /// The body of a request with these headers.
    #[must_use]
    pub fn new(body: RequestBody, headers: &HeaderMap) -> Incoming {
        let declared = headers.get(header::CONTENT_LENGTH);
        let declared = declared.and_then(|value| value.to_str().ok()?.parse().ok());
        let is_awaited = head::expects_continue(headers);
        Incoming { body, declared, is_awaited, read: 0, is_ended: false, is_cut: false }
    }

    /// The length that the client declared, if it did.
    #[must_use]
    pub fn declared(&self) -> Option<u64> {
        self.declared
    }

    /// How many bytes were read.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.read
    }

    /// Whether there is nothing more to read, as far as is known without reading: an empty chunked
    /// body is only known to be empty once it is read.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.is_ended || http_body::Body::is_end_stream(&self.body)
    }

    /// Returns the next bytes; none at the end. Cancel safe.
    ///
    /// # Errors
    /// [`Unread::Cut`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, Unread> {
        self.is_awaited = false;
        while !self.is_ended && !self.is_cut {
            match self.body.frame().await {
                None => self.is_ended = true,
                Some(Err(error)) => {
                    tracing::debug!(%error, "a request's body was cut off");
                    self.is_cut = true;
                }
                Some(Ok(frame)) => {
                    // Other frames are trailers, which have no meaning here.
                    let bytes = frame.into_data().unwrap_or_default();
                    self.read += bytes.len() as u64;
                    if !bytes.is_empty() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
        if self.is_cut || self.is_short() { Err(Unread::Cut) } else { Ok(None) }
    }

    /// Whether the body ended before its declared length.
    fn is_short(&self) -> bool {
        self.declared.is_some_and(|declared| self.read < declared)
    }

    /// Reads what is left and discards it, until more than `limit` bytes were read in all. Returns
    /// whether the body was read to its end, so that the connection can be used again.
    pub async fn discard(&mut self, limit: u64) -> bool {
        while !self.is_ended() && !self.is_cut && self.read <= limit {
            if !matches!(self.next().await, Ok(Some(_))) {
                break;
            }
        }
        self.is_ended() && !self.is_cut
    }

    /// [`Incoming::discard`] before a refusal. The body of a client that waits for a `100 Continue` is not read: the
    /// client receives the refusal instead, and may not send the body.
    pub async fn discard_refused(&mut self, limit: u64) -> bool {
        !self.is_awaited && self.discard(limit).await
    }

    /// Reads the whole body; without a copy, if it arrived in one piece.
    ///
    /// A body that is not short ([`SHORT_BYTES`]) holds a permit of `admission` while it is read.
    ///
    /// # Errors
    /// See [`Unread`].
    pub async fn whole(
        &mut self,
        limit: usize,
        admission: Option<&Admission>,
    ) -> Result<Bytes, Unread> {
        let is_too_long = self.declared.is_some_and(|length| length > limit as u64);
        if is_too_long {
            return Err(Unread::TooLong { limit });
        }
        let first = self.next().await?.unwrap_or_default();
        let admission = |length: usize| admission.filter(|_| length > SHORT_BYTES);
        let is_whole = self.is_ended() && !self.is_short() && first.len() <= limit;
        if is_whole && admission(first.len()).is_none() {
            return Ok(first);
        }
        let mut permit = None;
        let mut whole = BytesMut::new();
        let mut next = Some(first);
        while let Some(bytes) = next {
            let length = whole.len() + bytes.len();
            if length > limit {
                return Err(Unread::TooLong { limit });
            }
            if let (None, Some(admission)) = (&permit, admission(length)) {
                permit = Some(admission.admit().await.map_err(|_refused| Unread::Busy)?);
            }
            whole.extend_from_slice(&bytes);
            next = self.next().await?;
        }
        Ok(whole.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: NonZeroUsize = NonZeroUsize::MIN;

    fn incoming(bytes: &'static [u8], declared: Option<u64>) -> Incoming {
        let mut headers = HeaderMap::new();
        if let Some(declared) = declared {
            headers.insert(header::CONTENT_LENGTH, declared.into());
        }
        Incoming::new(RequestBody::from(Bytes::from_static(bytes)), &headers)
    }

    #[tokio::test]
    async fn a_body_is_read_once_and_counted() {
        let mut body = incoming(b"hello", Some(5));
        assert_eq!(body.declared(), Some(5));
        assert_eq!(body.next().await, Ok(Some(Bytes::from("hello"))));
        assert_eq!(body.next().await, Ok(None));
        assert_eq!(body.next().await, Ok(None));
        assert_eq!(body.read(), 5);
        assert!(body.is_ended());
    }

    #[tokio::test]
    async fn a_body_shorter_than_declared_is_cut_off() {
        let mut body = incoming(b"hello", Some(6));
        assert_eq!(body.next().await, Ok(Some(Bytes::from("hello"))));
        assert_eq!(body.next().await, Err(Unread::Cut));
        assert_eq!(incoming(b"hello", Some(6)).whole(100, None).await, Err(Unread::Cut));
    }

    #[tokio::test]
    async fn a_whole_body_is_at_most_as_long_as_the_limit() {
        assert_eq!(incoming(b"hello", None).whole(5, None).await, Ok(Bytes::from("hello")));
        assert_eq!(incoming(b"", None).whole(0, None).await, Ok(Bytes::new()));
        let too_long = Err(Unread::TooLong { limit: 4 });
        assert_eq!(incoming(b"hello", None).whole(4, None).await, too_long);
    }

    #[tokio::test]
    async fn a_long_body_waits_for_a_permit() {
        const SHORT: &[u8] = &[b'x'; SHORT_BYTES];
        const LONG: &[u8] = &[b'x'; SHORT_BYTES + 1];
        let admission = Admission::new(ONE, Duration::from_secs(30));
        let held = admission.admit().await.unwrap();
        let read =
            async |bytes, admission| incoming(bytes, None).whole(LONG.len(), admission).await;
        assert!(read(SHORT, Some(&admission)).await.is_ok());
        assert!(read(LONG, None).await.is_ok());
        let (long, ()) = tokio::join!(read(LONG, Some(&admission)), async { drop(held) });
        assert_eq!(long, Ok(Bytes::from_static(LONG)));
        assert_eq!(admission.free(), 1);
        let impatient = Admission::new(ONE, Duration::ZERO);
        let _held = impatient.admit().await.unwrap();
        assert_eq!(read(LONG, Some(&impatient)).await, Err(Unread::Busy));
    }

    #[tokio::test]
    async fn a_body_that_is_declared_too_long_is_refused_before_it_is_read() {
        let mut body = incoming(b"hello", Some(5));
        assert_eq!(body.whole(4, None).await, Err(Unread::TooLong { limit: 4 }));
        assert_eq!(body.read(), 0);
    }

    #[tokio::test]
    async fn the_body_of_a_client_that_waits_for_a_100_continue_is_not_discarded() {
        let mut headers = HeaderMap::new();
        headers.insert(header::EXPECT, "100-continue".parse().unwrap());
        let body = || Incoming::new(RequestBody::from(Bytes::from_static(b"hello")), &headers);
        let mut unread = body();
        assert!(!unread.discard_refused(9).await);
        assert_eq!(unread.read(), 0);
        let mut begun = body();
        assert!(begun.next().await.is_ok(), "the client has its 100 Continue");
        assert!(begun.discard_refused(9).await);
    }

    #[tokio::test]
    async fn a_body_is_discarded_to_its_end_but_not_for_ever() {
        assert!(incoming(b"", None).discard(9).await);
        assert!(incoming(b"hello", Some(5)).discard(9).await);
        let mut endless = incoming(b"hello", None);
        endless.read = 10;
        assert!(!endless.discard(9).await);
    }
}
