//! gRPC on the server's own connections: tonic handles the calls, and requests that are not gRPC
//! receive a sentence.

use std::{future::ready, sync::Arc};

use hyper::{
    Method, Request, Response, StatusCode, Version,
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
};
use tonic::{Status, server::Grpc};
use tonic_health::pb::health_server::HealthServer;
use tonic_prost::ProstCodec;
use tower::{Service as _, service_fn};

use super::{
    decide::decide,
    health::HealthChecks,
    proto::{RateLimitRequest, RateLimitResponse},
    service::Rls,
};
use crate::{
    app::App,
    http::{Body, RequestBody, reply},
};

/// The path of the one method of Envoy's service.
const SHOULD_RATE_LIMIT: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
/// The path of the methods of the health service.
const HEALTH: &str = "/grpc.health.v1.Health/";

/// The paths of this API's services.
const SERVICES: [&str; 2] = ["/envoy.service.ratelimit.v3.RateLimitService/", HEALTH];

/// The longest message, in bytes. Envoy's requests contain parts of a request's head, which Envoy
/// bounds by 60 KiB.
const MAX_MESSAGE_BYTES: usize = 256 << 10;

/// Whether a path belongs to this API.
pub(crate) fn is_here(path: &str) -> bool {
    SERVICES.iter().any(|service| path.starts_with(service))
}

/// Responds to a request.
pub async fn serve(
    app: &Arc<App>,
    rls: &Arc<Rls>,
    request: Request<RequestBody>,
) -> Response<Body> {
    if let Some(refusal) = refuse(&request) {
        return refusal;
    }
    let response = match request.uri().path() {
        SHOULD_RATE_LIMIT => {
            let (app, rls) = (Arc::clone(app), Arc::clone(rls));
            let call = move |call: tonic::Request<RateLimitRequest>| {
                ready(should_rate_limit(&app, &rls, call.get_ref()).map(tonic::Response::new))
            };
            let codec = ProstCodec::<RateLimitResponse, RateLimitRequest>::default();
            let mut grpc = Grpc::new(codec).max_decoding_message_size(MAX_MESSAGE_BYTES);
            grpc.unary(service_fn(call), request).await
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
    request: &RateLimitRequest,
) -> Result<RateLimitResponse, Status> {
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
