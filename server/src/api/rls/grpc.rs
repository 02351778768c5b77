//! gRPC over our own connections: the calls by tonic, what is no call by a sentence.

use std::{future::ready, sync::Arc};

use hyper::{
    Method, Request, Response, StatusCode, Version,
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
};
use tonic::{Status, server::Grpc};
use tonic_prost::ProstCodec;
use tower::service_fn;

use super::{
    decide::decide,
    proto::{
        HealthCheckRequest, HealthCheckResponse, RateLimitRequest, RateLimitResponse, ServingStatus,
    },
};
use crate::{
    app::App,
    body::{Body, RequestBody},
    reply,
};

/// The service's name in gRPC.
const RATE_LIMITS: &str = "envoy.service.ratelimit.v3.RateLimitService";

const SHOULD_RATE_LIMIT: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
const CHECK: &str = "/grpc.health.v1.Health/Check";

/// Where this door is: the paths of its services.
const SERVICES: [&str; 2] =
    ["/envoy.service.ratelimit.v3.RateLimitService/", "/grpc.health.v1.Health/"];

/// The longest message, in bytes. Envoy's requests hold parts of a request's head, which it bounds by
/// 60 KiB.
const MAX_MESSAGE_BYTES: usize = 256 << 10;

/// Whether a path is one of this door's.
pub(crate) fn is_here(path: &str) -> bool {
    SERVICES.iter().any(|service| path.starts_with(service))
}

/// Answers a request.
pub async fn serve(app: &Arc<App>, request: Request<RequestBody>) -> Response<Body> {
    if let Some(refusal) = refuse(&request) {
        return refusal;
    }
    let app = Arc::clone(app);
    let response = match request.uri().path() {
        SHOULD_RATE_LIMIT => {
            let call = move |call: tonic::Request<RateLimitRequest>| {
                ready(should_rate_limit(&app, call.get_ref()).map(tonic::Response::new))
            };
            let codec = ProstCodec::<RateLimitResponse, RateLimitRequest>::default();
            let mut grpc = Grpc::new(codec).max_decoding_message_size(MAX_MESSAGE_BYTES);
            grpc.unary(service_fn(call), request).await
        }
        CHECK => {
            let call = move |call: tonic::Request<HealthCheckRequest>| {
                ready(check(&app, &call.get_ref().service).map(tonic::Response::new))
            };
            let codec = ProstCodec::<HealthCheckResponse, HealthCheckRequest>::default();
            let mut grpc = Grpc::new(codec).max_decoding_message_size(MAX_MESSAGE_BYTES);
            grpc.unary(service_fn(call), request).await
        }
        other => Status::unimplemented(format!("{other} is no method here")).into_http(),
    };
    response.map(Body::new)
}

/// What is told who does not speak gRPC.
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

fn should_rate_limit(app: &App, request: &RateLimitRequest) -> Result<RateLimitResponse, Status> {
    let now_ms = app.rate_limits.limiter().now_ms();
    decide(&app.rls, &app.rate_limits, now_ms, request)
        .map_err(|invalid| Status::invalid_argument(invalid.to_string()))
}

/// Rate limits need no disk, so they are served whatever the store can do; but a server that is about
/// to stop should get no more requests. `ratelimit` is what envoyproxy/ratelimit calls itself.
fn check(app: &App, service: &str) -> Result<HealthCheckResponse, Status> {
    if !matches!(service, "" | "ratelimit" | RATE_LIMITS) {
        return Err(Status::not_found(format!("no service {service:?} is here")));
    }
    let status =
        if app.drain.is_begun() { ServingStatus::NotServing } else { ServingStatus::Serving };
    Ok(HealthCheckResponse { status: status.into() })
}

const NO_HTTP2: &str = "gRPC needs HTTP/2 from the first byte (h2c): of Envoy's cluster say \
    explicit_http_config with http2_protocol_options";

const NO_GRPC: &str = "this path speaks gRPC: POST with the content type application/grpc";
