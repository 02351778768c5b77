//! The bodies of requests and responses.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a response: whole as most are, which costs no box, or any other.
pub struct Body(Kind);

enum Kind {
    Full(Full<Bytes>),
    Other(UnsyncBoxBody<Bytes, BoxError>),
}

impl Body {
    /// A body that is there whole.
    pub fn full(bytes: impl Into<Bytes>) -> Body {
        Body(Kind::Full(Full::new(bytes.into())))
    }

    /// A body of no bytes.
    #[must_use]
    pub fn empty() -> Body {
        Body::full(Bytes::new())
    }

    /// Any other body: a streamed one, say.
    pub fn new<B>(body: B) -> Body
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Body(Kind::Other(body.map_err(Into::into).boxed_unsync()))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("size", &self.size_hint()).finish_non_exhaustive()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Kind::Full(full) => Pin::new(full)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(|never| match never {}))),
            Kind::Other(other) => Pin::new(other).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Full(full) => full.is_end_stream(),
            Kind::Other(other) => other.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Full(full) => full.size_hint(),
            Kind::Other(other) => other.size_hint(),
        }
    }
}

/// The body of a request. If it does not move for a while it ends in [`BodyError::Stalled`]: no
/// door has to watch the clock. (Whatever the door answers then, the client is told 408.)
pub struct RequestBody {
    source: Source,
    watch: Option<Box<Watch>>,
}

/// Where the bytes come from.
enum Source {
    Incoming(Incoming),
    Given(Full<Bytes>),
}

/// What became of a request's body, for the connection to look at afterwards.
#[derive(Debug, Default)]
pub(crate) struct BodyFate {
    is_stalled: AtomicBool,
    is_finished: AtomicBool,
}

impl BodyFate {
    /// It did not move for too long.
    pub(crate) fn is_stalled(&self) -> bool {
        self.is_stalled.load(Ordering::Relaxed)
    }

    /// It was read to its end.
    pub(crate) fn is_finished(&self) -> bool {
        self.is_finished.load(Ordering::Relaxed)
    }
}

/// The clock over a body that is waited for.
struct Watch {
    limit: Duration,
    /// Made when the body first keeps its reader waiting, which most never do.
    timer: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
    fate: Arc<BodyFate>,
}

impl RequestBody {
    /// Watches over `incoming`: it must move at least once in each `limit`. A body that has already
    /// ended, as a GET's, needs no watch and has no fate.
    pub(crate) fn watch(
        incoming: Incoming,
        limit: Duration,
    ) -> (RequestBody, Option<Arc<BodyFate>>) {
        let fate = (!incoming.is_end_stream()).then(Arc::<BodyFate>::default);
        let watch = fate
            .clone()
            .map(|fate| Box::new(Watch { limit, timer: None, is_waiting: false, fate }));
        (RequestBody { source: Source::Incoming(incoming), watch }, fate)
    }
}

impl From<Bytes> for RequestBody {
    fn from(bytes: Bytes) -> RequestBody {
        RequestBody { source: Source::Given(Full::new(bytes)), watch: None }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").field("size", &self.size_hint()).finish_non_exhaustive()
    }
}

/// Why a request's body did not come whole. Nothing of it may be stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// It did not move for as long as the setting `body-timeout` allows.
    #[error("the request's body did not move for {0:?}")]
    Stalled(Duration),
    /// It was cut off, or is not framed as HTTP wants.
    #[error("the request's body was cut off: {0}")]
    Cut(#[source] hyper::Error),
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let polled = match &mut this.source {
            Source::Incoming(incoming) => Pin::new(incoming)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(BodyError::Cut))),
            Source::Given(full) => Pin::new(full)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(|never| match never {}))),
        };
        match (polled, &mut this.watch) {
            (Poll::Ready(frame), Some(watch)) => {
                watch.is_waiting = false;
                if frame.is_none() {
                    watch.fate.is_finished.store(true, Ordering::Relaxed);
                }
                Poll::Ready(frame)
            }
            (Poll::Pending, Some(watch)) => watch.poll_stalled(cx).map(|error| Some(Err(error))),
            (polled, None) => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Incoming(incoming) => incoming.is_end_stream(),
            Source::Given(full) => full.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Incoming(incoming) => incoming.size_hint(),
            Source::Given(full) => full.size_hint(),
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch
            && self.is_end_stream()
        {
            // A reader who knows the length need not ask for the end.
            watch.fate.is_finished.store(true, Ordering::Relaxed);
        }
    }
}

impl Watch {
    /// Ready when the body has kept its reader waiting for too long.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let timer = match (&mut self.timer, self.is_waiting) {
            (Some(timer), true) => timer,
            (Some(timer), false) => {
                timer.as_mut().reset(Instant::now() + self.limit);
                timer
            }
            (none, _) => none.insert(Box::pin(sleep_until(Instant::now() + self.limit))),
        };
        self.is_waiting = true;
        timer.as_mut().poll(cx).map(|()| {
            self.fate.is_stalled.store(true, Ordering::Relaxed);
            BodyError::Stalled(self.limit)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_given_body_is_read_whole() {
        let body = RequestBody::from(Bytes::from_static(b"hello"));
        assert_eq!(body.size_hint().exact(), Some(5));
        let read = body.collect().await.expect("it cannot fail").to_bytes();
        assert_eq!(read, "hello");
    }
}
