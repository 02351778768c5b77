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
    header::{CONNECTION, HeaderValue, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS},
    service::{Service, service_fn},
};
use kv_core::limits::MAX_VALUE_BYTES;
use tokio::time::Instant;

use crate::{
    access::Client,
    http::{
        Body, BoxError, RequestBody,
        head::{self, RefusedHead},
        incoming, reply,
    },
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
    /// The client, as far as its access depends on it.
    pub(super) client: Client,
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
        let expects_continue = head::expects_continue(request.headers());
        let (head, incoming) = request.into_parts();
        let (body, fate) = RequestBody::watch(incoming, self.body_timeout);
        let request = Request::from_parts(head, body);
        let (api, mut response) = if progress.is_framed_twice() {
            (Api::None, last(StatusCode::BAD_REQUEST, FRAMED_TWICE, is_http2))
        } else if let Err(refused) = head::check(&request) {
            (Api::None, refuse(refused, request, is_http2).await)
        } else if self.is_reserve && !is_for_operators(request.uri(), request.headers()) {
            let mut busy = last(StatusCode::SERVICE_UNAVAILABLE, BUSY, is_http2);
            busy.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            (Api::None, busy)
        } else {
            self.router.answer(request, &self.client).await
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
                if expects_continue {
                    // The client may send the body all the same, and then its next request follows that.
                    close_after(&mut response, is_http2);
                }
            }
        }
        metrics.requests().answered(api, verb, response.status(), began.elapsed());
        // A browser must not take a value for a page or a script, whatever it looks like.
        response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
        if is_http2 && !response.body().is_end_stream() {
            progress.has_http2_body();
        }
        response.map(|body| Leaving { body, progress })
    }
}

/// The response to a request whose head is refused. Its body is read first, as that of a request which an API
/// refuses, unless its client waits for the response with it or its end is not known.
async fn refuse(
    refused: RefusedHead,
    request: Request<RequestBody>,
    is_http2: bool,
) -> Response<Body> {
    let RefusedHead { status, sentence, is_unframed } = refused;
    if is_unframed {
        return last(status, sentence, is_http2);
    }
    let (head, body) = request.into_parts();
    let mut body = incoming::Incoming::new(body, &head.headers);
    if body.discard_refused(MAX_DISCARDED_BYTES).await {
        reply::text(status, sentence)
    } else {
        last(status, sentence, is_http2)
    }
}

/// A response after which the connection can't be used again.
fn last(status: StatusCode, sentence: &str, is_http2: bool) -> Response<Body> {
    let mut response = reply::text(status, sentence);
    close_after(&mut response, is_http2);
    response
}

/// Closes the connection after this response. HTTP/2 has other means.
fn close_after(response: &mut Response<Body>, is_http2: bool) {
    if !is_http2 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// The value of `X-Content-Type-Options`, on every response.
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
/// How much of a body is read in all before its head is refused: twice the longest value, as in the binding API.
const MAX_DISCARDED_BYTES: u64 = 2 * MAX_VALUE_BYTES;

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
