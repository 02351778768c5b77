//! The body of a request, read under a bound.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use kv_core::limits::MAX_VALUE_BYTES;
use tokio::{sync::Semaphore, time::timeout};

use super::refusal::Refusal;
use crate::body::RequestBody;

/// How much of a body is read before it is refused. A runtime writes its whole body before it looks
/// at the reply, and takes a connection that ends meanwhile for a network's failure.
const MAX_DRAINED_BYTES: u64 = 2 * MAX_VALUE_BYTES;

/// A body of at most so many bytes is read whole without a place: anybody may be slow with one.
pub(super) const SHORT_BYTES: usize = 16 * 1024;

/// How long a longer one waits for its place.
const PLACE_WAIT: Duration = Duration::from_secs(5);

fn no_place() -> Refusal {
    Refusal::busy("Too many long requests are being read. Try again in a second.")
}

/// A request's body that counts what was read of it.
pub(super) struct Incoming {
    body: RequestBody,
    /// What `Content-Length` says.
    declared: Option<u64>,
    read: u64,
    is_ended: bool,
    is_cut: bool,
}

impl Incoming {
    pub(super) fn new(body: RequestBody, headers: &HeaderMap) -> Incoming {
        let declared = headers.get(header::CONTENT_LENGTH);
        let declared = declared.and_then(|value| value.to_str().ok()?.parse().ok());
        Incoming { body, declared, read: 0, is_ended: false, is_cut: false }
    }

    /// The length that the client declared, if it did.
    pub(super) fn declared(&self) -> Option<u64> {
        self.declared
    }

    /// How many bytes were read.
    pub(super) fn read(&self) -> u64 {
        self.read
    }

    /// Whether there is nothing to read, or nothing more. A cheap answer, and not always the truth:
    /// an empty chunked body is only known to be empty when it is read.
    pub(super) fn is_ended(&self) -> bool {
        self.is_ended || http_body::Body::is_end_stream(&self.body)
    }

    /// The next bytes; none at the end. Cancel safe.
    ///
    /// # Errors
    /// If the body breaks off, or is shorter than its declared length.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        while !self.is_ended && !self.is_cut {
            match self.body.frame().await {
                None => self.is_ended = true,
                Some(Err(error)) => {
                    tracing::debug!(%error, "a request's body broke off");
                    self.is_cut = true;
                }
                Some(Ok(frame)) => {
                    // What is not data is trailers, which mean nothing here.
                    let bytes = frame.into_data().unwrap_or_default();
                    self.read += bytes.len() as u64;
                    if !bytes.is_empty() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
        match self.declared {
            Some(declared) if self.read < declared => Err(Refusal::cut_body()),
            _ if self.is_cut => Err(Refusal::cut_body()),
            _ => Ok(None),
        }
    }

    /// Reads what is left and throws it away; `false` if there is too much of it.
    pub(super) async fn drain(&mut self) -> bool {
        while !self.is_ended() && !self.is_cut && self.read <= MAX_DRAINED_BYTES {
            if !matches!(self.next().await, Ok(Some(_))) {
                break;
            }
        }
        self.is_ended() && !self.is_cut
    }

    /// The whole body, if it has at most `limit` bytes. One that is not short takes one of `places`
    /// while it is read.
    pub(super) async fn whole(
        &mut self,
        limit: usize,
        places: &Semaphore,
    ) -> Result<Option<Bytes>, Refusal> {
        let mut whole = BytesMut::new();
        let mut place = None;
        while let Some(bytes) = self.next().await? {
            let length = whole.len() + bytes.len();
            if length > limit {
                return Ok(None);
            }
            if length > SHORT_BYTES && place.is_none() {
                let free = timeout(PLACE_WAIT, places.acquire()).await;
                place = Some(free.ok().and_then(Result::ok).ok_or_else(no_place)?);
            }
            whole.extend_from_slice(&bytes);
        }
        Ok(Some(whole.freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static PLACES: Semaphore = Semaphore::const_new(1);

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
        assert_eq!(body.next().await, Err(Refusal::cut_body()));
        assert_eq!(incoming(b"hello", Some(6)).whole(100, &PLACES).await, Err(Refusal::cut_body()));
    }

    #[tokio::test]
    async fn a_whole_body_is_under_its_limit() {
        assert_eq!(
            incoming(b"hello", None).whole(5, &PLACES).await,
            Ok(Some(Bytes::from("hello")))
        );
        assert_eq!(incoming(b"", None).whole(0, &PLACES).await, Ok(Some(Bytes::new())));
        assert_eq!(incoming(b"hello", None).whole(4, &PLACES).await, Ok(None));
    }

    #[tokio::test]
    async fn a_long_body_is_read_when_there_is_a_place_for_it() {
        const SHORT: &[u8] = &[b'x'; SHORT_BYTES];
        const LONG: &[u8] = &[b'x'; SHORT_BYTES + 1];
        let places = Semaphore::new(1);
        let taken = places.acquire().await.unwrap();
        assert!(incoming(SHORT, None).whole(LONG.len(), &places).await.is_ok());
        let mut long = incoming(LONG, None);
        let (read, ()) = tokio::join!(long.whole(LONG.len(), &places), async { drop(taken) });
        assert_eq!(read, Ok(Some(Bytes::from_static(LONG))));
        assert_eq!(places.available_permits(), 1);
        places.close();
        assert_eq!(incoming(LONG, None).whole(LONG.len(), &places).await, Err(no_place()));
    }

    #[tokio::test]
    async fn a_body_is_drained_to_its_end_but_not_for_ever() {
        assert!(incoming(b"", None).drain().await);
        assert!(incoming(b"hello", Some(5)).drain().await);
        let mut endless = incoming(b"hello", None);
        endless.read = MAX_DRAINED_BYTES + 1;
        assert!(!endless.drain().await);
    }
}
