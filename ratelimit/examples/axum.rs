//! Limits in an axum service: requests by a layer, and the tokens that they take by `record`.
//!
//! `cargo run -p waypost-ratelimit --example axum -- serve` serves it on 127.0.0.1:3000. Without
//! `serve` it sends itself a few requests and ends.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use ratelimit::{Limit, Limiter, OwnedLimit, RateLimitLayer, headers};
use tower::ServiceExt as _;

/// What the handlers share.
#[derive(Clone)]
struct App {
    /// Tokens that a user may take.
    tokens: OwnedLimit,
}

/// Answers unless the user has taken more tokens than the limit, and records those that the answer took.
async fn answer(State(app): State<App>, fields: HeaderMap) -> Response {
    let user = fields.get("x-user").map_or(&b""[..], |user| user.as_bytes());
    let look = app.tokens.peek(user);
    if !look.allowed {
        let wait = headers::retry_after(&look).unwrap_or_default();
        return (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, wait.to_string())]).into_response();
    }
    let (text, tokens) = ("an answer\n", 600);
    let after = app.tokens.record(user, tokens);
    ([("x-tokens-left", after.remaining.to_string())], text).into_response()
}

fn router() -> Result<Router, Box<dyn Error>> {
    let limiter = Arc::new(Limiter::builder().capacity(100_000).build()?);
    let minute = Duration::from_secs(60);
    let tokens = limiter.owned_limit("tokens", Limit::sliding(1000, minute)?);
    let by_user = |request: &Request| request.headers().get("x-user").cloned();
    let layer = RateLimitLayer::new(limiter, "requests", Limit::gcra(60, 10, minute)?, by_user);
    Ok(Router::new().route("/", get(answer)).layer(layer).with_state(App { tokens }))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let router = router()?;
    if std::env::args().nth(1).as_deref() == Some("serve") {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
        return Ok(axum::serve(listener, router).await?);
    }
    for _ in 0..3 {
        let request = Request::get("/").header("x-user", "a").body(Body::empty())?;
        let response = router.clone().oneshot(request).await?;
        println!("{} {:?}", response.status(), response.headers());
    }
    Ok(())
}
