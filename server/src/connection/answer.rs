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
    Request, Response, StatusCode, Uri, Version,
    body::Incoming,
    header::{CONNECTION, HeaderValue, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS},
    service::{Service, service_fn},
};
use kv_core::limits::MAX_VALUE_BYTES;
use tokio::time::Instant;

use crate::{
    access::Client,
    api::rls,
    budget::{Account, BODY_BYTES, Charge, RESPONSE_BYTES},
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
    /// What the connection holds.
    pub(super) account: Arc<Account>,
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
        let metrics = &self.router.app().metrics;
        let is_http2 = request.version() == Version::HTTP_2;
        let verb = Verb::from(request.method());
        let expects_continue = head::expects_continue(request.headers());
        let (head, incoming) = request.into_parts();
        let is_operators = is_for_operators(&head.uri, &head.headers);
        let holds = (&self.account, most_bytes_of_body(&head.uri));
        let (body, fate) = RequestBody::watch(incoming, self.body_timeout, holds, is_operators);
        let request = Request::from_parts(head, body);
        let (api, mut response) = if progress.is_framed_twice() {
            (Api::None, last(StatusCode::BAD_REQUEST, FRAMED_TWICE, is_http2))
        } else if let Err(refused) = head::check(&request) {
            (Api::None, refuse(refused, request, is_http2).await)
        } else if self.is_reserve && !is_operators {
            (Api::None, busy(BUSY, is_http2))
        } else if !is_operators && !self.account.has_room() {
            metrics.connections().shed();
            (Api::None, busy(SHED, is_http2))
        } else {
            self.router.answer(request, &self.client).await
        };
        if let Some(fate) = fate {
            if fate.is_shed() {
                metrics.connections().shed();
                response = busy(SHED, is_http2);
            }
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
        let charge = self.charge(&mut response, is_operators, is_http2);
        metrics.requests().answered(api, verb, response.status(), began.elapsed());
        // A browser must not take a value for a page or a script, whatever it looks like.
        response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
        if is_http2 && !response.body().is_end_stream() {
            progress.has_http2_body();
        }
        response.map(|body| Leaving { body, progress, charge, is_http2 })
    }

    /// Charges a response, or replaces it by a refusal if it does not fit into the budget.
    fn charge(&self, response: &mut Response<Body>, is_operators: bool, is_http2: bool) -> Charge {
        let bytes = response.body().size_hint().upper().unwrap_or(u64::MAX).min(RESPONSE_BYTES);
        // The response to a write is short, and must say whether it was done.
        if is_operators || bytes <= SHORT_BYTES {
            return self.account.charge_anyway(bytes);
        }
        self.account.charge(bytes).unwrap_or_else(|| {
            self.router.app().metrics.connections().shed();
            *response = busy(SHED, is_http2);
            self.account.charge_anyway(SHORT_BYTES)
        })
    }
}

/// How many bytes of a body are in memory at a time. Messages of gRPC are whole, however long they are.
fn most_bytes_of_body(uri: &Uri) -> u64 {
    if rls::is_here(uri.path()) { rls::MAX_MESSAGE_BYTES as u64 } else { BODY_BYTES }
}

/// A response of this length, in bytes, is sent whatever is left of the budget.
const SHORT_BYTES: u64 = 4 << 10;

/// The refusal of a request that another time may have room.
fn busy(sentence: &str, is_http2: bool) -> Response<Body> {
    let mut busy = last(StatusCode::SERVICE_UNAVAILABLE, sentence, is_http2);
    busy.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    busy
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

/// The refusal of a request that the budget has no room for.
const SHED: &str = "the requests in progress hold all the memory that they may (budget): read responses faster, send \
    fewer requests at a time, or retry later";

/// The refusal of a request whose body stalled.
const STALLED: &str = "no bytes of the request's body arrived for too long, or too few: \
    256 a second are the least (body-timeout)";

/// A response's body, recorded until it was sent or given up.
pub(super) struct Leaving {
    /// The body that the client receives.
    body: Body,
    /// The request, which ends when the body does.
    progress: InProgress,
    /// What the response holds.
    charge: Charge,
    /// Whether HTTP/2 sends it, which keeps any piece for as long as its client opens no window.
    is_http2: bool,
}

impl http_body::Body for Leaving {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.progress.polled();
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let Poll::Ready(Some(Ok(frame))) = polled else { return polled };
        self.charge.moved();
        let frame = frame.map_data(|bytes| {
            if self.is_http2 || bytes.len() as u64 > SHORT_BYTES {
                self.charge.on_their_way(bytes)
            } else {
                bytes
            }
        });
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
