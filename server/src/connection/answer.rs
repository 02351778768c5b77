//! From a request to its response, seen by the watch and counted.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::{
    Request, Response, StatusCode, Version,
    body::Incoming,
    header::{CONNECTION, HeaderValue},
    service::{Service, service_fn},
};
use tokio::time::Instant;

use crate::{
    api::Api,
    body::{Body, BoxError, RequestBody},
    metrics::Verb,
    reply,
};

use super::{
    Site,
    activity::{Activity, Visit},
};

/// One connection's share: cloned for each request, and no other connection touches its count.
struct Peer {
    site: Arc<Site>,
    activity: Arc<Activity>,
}

/// Answers the requests of one connection.
pub(super) fn service(
    site: Arc<Site>,
    activity: Arc<Activity>,
) -> impl Service<
    Request<Incoming>,
    Response = Response<Leaving>,
    Error = Infallible,
    Future: Send + 'static,
> {
    let peer = Arc::new(Peer { site, activity });
    service_fn(move |request: Request<Incoming>| {
        let peer = Arc::clone(&peer);
        let is_http2 = request.version() == Version::HTTP_2;
        // Here and not when the future is first polled: hyper may read the body in between, and
        // what comes then must not pass for a head.
        let visit = Visit::begin(Arc::clone(&peer.activity), is_http2);
        async move { Ok(peer.answer(request, visit).await) }
    })
}

impl Peer {
    async fn answer(&self, request: Request<Incoming>, mut visit: Visit) -> Response<Leaving> {
        let began = Instant::now();
        let is_http2 = request.version() == Version::HTTP_2;
        let verb = Verb::from(request.method());
        let (head, incoming) = request.into_parts();
        let (body, fate) = RequestBody::watch(incoming, self.site.limits.body);
        let request = Request::from_parts(head, body);
        let (api, mut response) = if visit.is_framed_twice() {
            (Api::None, last(StatusCode::BAD_REQUEST, FRAMED_TWICE, is_http2))
        } else {
            self.site.router.answer(request).await
        };
        let metrics = &self.site.router.app().metrics;
        if let Some(fate) = fate {
            if fate.is_stalled() {
                metrics.cut("body-timeout");
                // Whatever the door made of such a body, this is what became of it.
                response = last(StatusCode::REQUEST_TIMEOUT, STALLED, is_http2);
            }
            if !fate.is_finished() {
                self.activity.left_unread();
            }
        }
        metrics.answered(api, verb, response.status(), began.elapsed());
        if is_http2 && !response.body().is_end_stream() {
            visit.has_http2_body();
        }
        response.map(|body| Leaving { body, visit })
    }
}

/// An answer behind which no other request can be read.
fn last(status: StatusCode, sentence: &str, is_http2: bool) -> Response<Body> {
    let mut response = reply::text(status, sentence);
    if !is_http2 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

const FRAMED_TWICE: &str = "the request has both Content-Length and Transfer-Encoding: send one of \
    them, or a proxy between us may take another part of it for its body";

const STALLED: &str = "the request's body did not move for too long";

/// A response's body, seen until it has left.
pub(super) struct Leaving {
    body: Body,
    visit: Visit,
}

impl http_body::Body for Leaving {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.visit.polled();
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
