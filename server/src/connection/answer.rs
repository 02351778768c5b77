//! From a request to its response, recorded for the watch and counted in the metrics.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::{
    Request, Response, StatusCode, Version,
    body::Incoming,
    header::{CONNECTION, HeaderValue, RETRY_AFTER},
    service::{Service, service_fn},
};
use tokio::time::Instant;

use crate::{
    http::{Body, BoxError, RequestBody, reply},
    metrics::{Api, Verb},
    router::Router,
};

use super::{
    activity::{Activity, InProgress},
    places::is_for_operators,
};

/// The parts that the requests of one connection share. Its reference count is this connection's own, so that
/// no other connection contends for it.
pub(super) struct Peer {
    /// Where requests go.
    pub(super) router: Arc<Router>,
    /// How long a request's body may pause.
    pub(super) body_timeout: Duration,
    /// The record of the connection.
    pub(super) activity: Arc<Activity>,
    /// Whether only monitoring and administration are served.
    pub(super) is_reserve: bool,
}

/// The service that responds to the requests of one connection.
pub(super) fn service(
    peer: Peer,
) -> impl Service<
    Request<Incoming>,
    Response = Response<Leaving>,
    Error = Infallible,
    Future: Send + 'static,
> {
    let peer = Arc::new(peer);
    service_fn(move |request: Request<Incoming>| {
        let peer = Arc::clone(&peer);
        let is_http2 = request.version() == Version::HTTP_2;
        // Not when the future is first polled: hyper may read the body before that, and those bytes
        // must not be taken for a head.
        let progress = InProgress::begin(Arc::clone(&peer.activity), is_http2);
        async move { Ok(peer.answer(request, progress).await) }
    })
}

impl Peer {
    /// Responds to a request, and records how the reading of its body ended.
    async fn answer(
        &self,
        request: Request<Incoming>,
        mut progress: InProgress,
    ) -> Response<Leaving> {
        let began = Instant::now();
        let is_http2 = request.version() == Version::HTTP_2;
        let verb = Verb::from(request.method());
        let (head, incoming) = request.into_parts();
        let (body, fate) = RequestBody::watch(incoming, self.body_timeout);
        let request = Request::from_parts(head, body);
        let (api, mut response) = if progress.is_framed_twice() {
            (Api::None, last(StatusCode::BAD_REQUEST, FRAMED_TWICE, is_http2))
        } else if self.is_reserve && !is_for_operators(request.uri(), request.headers()) {
            let mut busy = last(StatusCode::SERVICE_UNAVAILABLE, BUSY, is_http2);
            busy.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            (Api::None, busy)
        } else {
            self.router.answer(request).await
        };
        let metrics = &self.router.app().metrics;
        if let Some(fate) = fate {
            if fate.is_stalled() {
                metrics.connections().cut("body-timeout");
                // Whatever the API responded to such a body.
                response = last(StatusCode::REQUEST_TIMEOUT, STALLED, is_http2);
            }
            if !fate.is_finished() {
                self.activity.left_unread();
            }
        }
        metrics.requests().answered(api, verb, response.status(), began.elapsed());
        if is_http2 && !response.body().is_end_stream() {
            progress.has_http2_body();
        }
        response.map(|body| Leaving { body, progress })
    }
}

/// A response after which the connection can't be used again.
fn last(status: StatusCode, sentence: &str, is_http2: bool) -> Response<Body> {
    let mut response = reply::text(status, sentence);
    if !is_http2 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The refusal of a request whose end is ambiguous.
const FRAMED_TWICE: &str = "the request has both Content-Length and Transfer-Encoding: send one of \
    them, or a proxy on the way may disagree with this server on where the body ends";

/// The refusal of a request on a connection above the bound.
const BUSY: &str = "all connections are in use, or this client's half of them (max-connections): close \
    some, reuse those that are open, or retry later";

/// The refusal of a request whose body stalled.
const STALLED: &str = "no bytes of the request's body arrived for too long, or too few: \
    256 a second are the least (body-timeout)";

/// A response's body, recorded until it was sent or given up.
pub(super) struct Leaving {
    /// The body that the client receives.
    body: Body,
    /// The request, which ends when the body does.
    progress: InProgress,
}

impl http_body::Body for Leaving {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.progress.polled();
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
