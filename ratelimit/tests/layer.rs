//! The layer around a tower service.
#![cfg(feature = "tower")]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use ratelimit::{Limit, Limiter, ManualClock, RateLimitLayer};
use tower::{Layer, ServiceExt, service_fn};

fn request(user: Option<&str>) -> Request<()> {
    let mut request = Request::new(());
    if let Some(user) = user {
        request.headers_mut().insert("user", user.parse().expect("a header value"));
    }
    request
}

#[tokio::test]
async fn a_request_over_the_limit_gets_429_and_the_time_to_retry() {
    let clock = ManualClock::at(1_700_000_040_000);
    let limiter = Arc::new(Limiter::builder().clock(clock).build().expect("a limiter"));
    let limit = Limit::fixed(1, Duration::from_secs(60)).expect("within bounds");
    let user = |request: &Request<()>| request.headers().get("user").cloned();
    let service = RateLimitLayer::new(limiter, "api", limit, user)
        .layer(service_fn(async |_| Ok::<_, Infallible>(Response::new("hello".to_string()))));

    let first = service.clone().oneshot(request(Some("a"))).await.expect("infallible");
    assert_eq!((first.status(), first.body().as_str()), (StatusCode::OK, "hello"));
    assert_eq!(first.headers()["ratelimit-policy"], r#""api";q=1;w=60"#);
    assert_eq!(first.headers()["ratelimit"], r#""api";r=0;t=60"#);
    assert!(!first.headers().contains_key("retry-after"));

    let second = service.clone().oneshot(request(Some("a"))).await.expect("infallible");
    assert_eq!((second.status(), second.body().as_str()), (StatusCode::TOO_MANY_REQUESTS, ""));
    assert_eq!(second.headers()["retry-after"], "60");

    let other = service.clone().oneshot(request(Some("b"))).await.expect("infallible");
    assert_eq!(other.status(), StatusCode::OK);
    let unlimited = service.oneshot(request(None)).await.expect("infallible");
    assert!(!unlimited.headers().contains_key("ratelimit"));
}

#[tokio::test]
async fn nested_layers_each_add_their_own_fields() {
    let limiter = Arc::new(Limiter::builder().build().expect("a limiter"));
    let limit = |count| Limit::fixed(count, Duration::from_secs(60)).expect("within bounds");
    let user = |request: &Request<()>| request.headers().get("user").cloned();
    let service = service_fn(async |_| Ok::<_, Infallible>(Response::new(String::new())));
    let service = RateLimitLayer::new(Arc::clone(&limiter), "inner", limit(1), user).layer(service);
    let service = RateLimitLayer::new(limiter, "outer", limit(9), user).layer(service);
    let response = service.oneshot(request(Some("a"))).await.expect("infallible");
    let policies: Vec<_> = response.headers().get_all("ratelimit-policy").iter().collect();
    assert_eq!(policies, [r#""inner";q=1;w=60"#, r#""outer";q=9;w=60"#]);
}
