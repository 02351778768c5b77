//! The body of a request, with a bound on the time between two pieces of it.
//!
//! `TimeoutBody` of tower-http 0.7 bounds the same time but is not used, for two reasons. It registers
//! and removes a timer for every frame, also for those that are already there; here a body has a timer
//! only once it keeps its reader waiting. And it does not report to the connection whether the body
//! stalled (then the response is a 408) or was left unread (then the connection must linger).

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
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

/// The body of a request. If no bytes arrive for too long it ends in [`BodyError::Stalled`], so that no
/// API has to watch the clock. (Whatever the API responds then, the client receives a 408.)
pub struct RequestBody {
    /// The bytes.
    source: Source,
    /// The timer; none for a body that is in memory or has ended.
    watch: Option<Box<Watch>>,
}

/// Where the bytes come from.
enum Source {
    /// A body that arrives over a connection.
    Incoming(Incoming),
    /// A body in memory.
    Memory(Full<Bytes>),
}

/// How the reading of a request's body ended. The connection reads this after the response.
#[derive(Debug, Default)]
pub(crate) struct BodyFate {
    /// No bytes arrived for too long.
    is_stalled: AtomicBool,
    /// The body was read to its end.
    is_finished: AtomicBool,
}

impl BodyFate {
    /// Whether no bytes arrived for too long.
    pub(crate) fn is_stalled(&self) -> bool {
        self.is_stalled.load(Ordering::Relaxed)
    }

    /// Whether it was read to its end.
    pub(crate) fn is_finished(&self) -> bool {
        self.is_finished.load(Ordering::Relaxed)
    }
}

/// The timer of a body.
struct Watch {
    /// How long the body may pause.
    limit: Duration,
    /// Made when the body first keeps its reader waiting, which most bodies never do.
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether the timer runs.
    is_waiting: bool,
    /// Where the end of the body is recorded.
    fate: Arc<BodyFate>,
}

impl RequestBody {
    /// Bounds the time between two pieces of `incoming` by `limit`. A body that has already ended, as
    /// that of a GET, needs no timer and has no fate.
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
        RequestBody { source: Source::Memory(Full::new(bytes)), watch: None }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").field("size", &self.size_hint()).finish_non_exhaustive()
    }
}

/// Why a request's body did not arrive whole. Nothing of it may be stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// No bytes arrived for as long as the setting `body-timeout` allows.
    #[error("no bytes of the request's body arrived for {0:?} (body-timeout)")]
    Stalled(Duration),
    /// It was cut off, or its framing is not valid HTTP.
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
            Source::Memory(full) => Pin::new(full)
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
            Source::Memory(full) => full.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Incoming(incoming) => incoming.size_hint(),
            Source::Memory(full) => full.size_hint(),
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch
            && self.is_end_stream()
        {
            // A reader that knows the length need not poll for the end.
            watch.fate.is_finished.store(true, Ordering::Relaxed);
        }
    }
}

impl Watch {
    /// Ready once the body has kept its reader waiting for too long.
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
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_body_in_memory_is_read_whole() {
        let body = RequestBody::from(Bytes::from_static(b"hello"));
        assert_eq!(body.size_hint().exact(), Some(5));
        let read = body.collect().await.expect("it cannot fail").to_bytes();
        assert_eq!(read, "hello");
    }
}
