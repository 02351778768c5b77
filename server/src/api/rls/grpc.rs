//! gRPC on the server's own connections: tonic handles the calls, and requests that are not gRPC
//! receive a sentence.

use std::{future::ready, sync::Arc};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode, Version,
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
};
use tonic::{Code, Status, server::Grpc};
use tonic_health::pb::health_server::HealthServer;
use tonic_prost::ProstCodec;
use tower::{BoxError, Service as _, service_fn};

use super::{
    decide::{decide, denial},
    health::HealthChecks,
    proto::{RateLimitRequest, RateLimitResponse},
    service::Rls,
};
use crate::{
    access::{Grant, Need},
    app::App,
    http::{Body, RequestBody, reply},
};

/// The path of the one method of Envoy's service.
const SHOULD_RATE_LIMIT: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
/// The path of the methods of the health service.
const HEALTH: &str = "/grpc.health.v1.Health/";

/// The paths of this API's services.
const SERVICES: [&str; 2] = ["/envoy.service.ratelimit.v3.RateLimitService/", HEALTH];

/// The longest message, in bytes, as usual in gRPC. A longer one is denied. Envoy's requests contain parts
/// of a client's head, up to 60 KiB by default, in each descriptor.
pub(crate) const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// Whether a path belongs to this API.
pub(crate) fn is_here(path: &str) -> bool {
    SERVICES.iter().any(|service| path.starts_with(service))
}

/// Whether a path is that of the health check, which needs no token.
pub(crate) fn is_health(path: &str) -> bool {
    path.starts_with(HEALTH)
}

/// The response to a request that is refused before it comes here: in the form of gRPC if the client speaks it.
pub(crate) fn refused(
    request: &Request<RequestBody>,
    status: StatusCode,
    text: String,
) -> Response<Body> {
    if refuse(request).is_some() {
        return reply::text(status, text);
    }
    let status = match status {
        StatusCode::UNAUTHORIZED => Status::unauthenticated(text),
        StatusCode::TOO_MANY_REQUESTS => Status::resource_exhausted(text),
        StatusCode::FORBIDDEN => Status::permission_denied(text),
        _ => Status::unimplemented(text),
    };
    status.into_http().map(|body: tonic::body::Body| Body::new(body))
}

/// Responds to a request.
pub async fn serve(
    app: &Arc<App>,
    rls: &Arc<Rls>,
    grant: &Grant,
    request: Request<RequestBody>,
) -> Response<Body> {
    if let Some(refusal) = refuse(&request) {
        return refusal;
    }
    let response = match request.uri().path() {
        SHOULD_RATE_LIMIT => {
            let called = {
                let (app, rls, grant) = (Arc::clone(app), Arc::clone(rls), grant.clone());
                unary(request, move |call| should_rate_limit(&app, &rls, &grant, call)).await
            };
            if is_too_long(&called) { deny(rls).await } else { called }
        }
        path if path.starts_with(HEALTH) => {
            let checks = HealthServer::new(HealthChecks(Arc::clone(&app.drain)));
            let mut checks = checks.max_decoding_message_size(MAX_MESSAGE_BYTES);
            match checks.call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
        other => Status::unimplemented(format!("there is no method {other}")).into_http(),
    };
    response.map(Body::new)
}

/// Handles a call of the one method.
async fn unary<B>(
    request: Request<B>,
    answer: impl Fn(&RateLimitRequest) -> Result<RateLimitResponse, Status> + Send + 'static,
) -> Response<tonic::body::Body>
where
    B: hyper::body::Body<Data: Send, Error: Into<BoxError> + Send> + Send + 'static,
{
    let call = move |call: tonic::Request<RateLimitRequest>| {
        ready(answer(call.get_ref()).map(tonic::Response::new))
    };
    let codec = ProstCodec::<RateLimitResponse, RateLimitRequest>::default();
    let mut grpc = Grpc::new(codec).max_decoding_message_size(MAX_MESSAGE_BYTES);
    grpc.unary(service_fn(call), request).await
}

/// Whether tonic did not read a message because it is too long. Nothing else has this status here.
fn is_too_long(response: &Response<tonic::body::Body>) -> bool {
    Status::from_header_map(response.headers()).is_some_and(|it| it.code() == Code::OutOfRange)
}

/// The response to a message that is too long: a denial, not an error, which Envoy would take for "let the
/// client pass".
async fn deny(rls: &Rls) -> Response<tonic::body::Body> {
    rls.counts.too_long();
    /// An empty message, not compressed.
    const EMPTY: Bytes = Bytes::from_static(&[0; 5]);
    unary(Request::new(Full::new(EMPTY)), |_| Ok(denial())).await
}

/// The response to a request that is not gRPC.
fn refuse(request: &Request<RequestBody>) -> Option<Response<Body>> {
    if request.version() != Version::HTTP_2 {
        return Some(reply::text(StatusCode::BAD_REQUEST, NO_HTTP2));
    }
    if request.method() != Method::POST {
        let mut response = reply::text(StatusCode::METHOD_NOT_ALLOWED, NO_GRPC);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Some(response);
    }
    let kind = request.headers().get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let is_grpc = kind.strip_prefix(b"application/grpc").is_some_and(|rest| {
        rest.is_empty() || rest.starts_with(b";") || rest.starts_with(b"+proto")
    });
    (!is_grpc).then(|| reply::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, NO_GRPC))
}

/// Decides on a request at the current time.
fn should_rate_limit(
    app: &App,
    rls: &Rls,
    grant: &Grant,
    request: &RateLimitRequest,
) -> Result<RateLimitResponse, Status> {
    if let Grant::Scoped { .. } = grant {
        let namespace = format!("rls:{}", request.domain);
        grant.check(Need::Ratelimit(namespace.as_bytes())).map_err(|forbidden| {
            app.metrics.access().refused("scope");
            Status::permission_denied(forbidden.to_string())
        })?;
    }
    let rates = app.rate_limits.load();
    let now_ms = rates.limiter().now_ms();
    decide(rls, &rates, now_ms, request)
        .map_err(|invalid| Status::invalid_argument(invalid.to_string()))
}

/// The response to a client that speaks gRPC over HTTP/1.
const NO_HTTP2: &str = "gRPC needs HTTP/2 from the first byte (h2c): in Envoy's cluster, set \
    explicit_http_config with http2_protocol_options";

/// The response to a client that speaks no gRPC.
const NO_GRPC: &str = "this path speaks gRPC: use POST with the content type application/grpc";
