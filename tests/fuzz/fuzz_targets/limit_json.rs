//! Requests to `/ratelimit`, as JSON and as queries, and the responses.
#![no_main]

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use waypost::{
    access::Grant,
    api::ratelimit::{
        self, query,
        request::{self, Check, MAX_CHECKS, MAX_KEY_BYTES},
    },
    app::App,
    http::RequestBody,
};
use waypost_fuzz::server;

static APP: LazyLock<Arc<App>> = LazyLock::new(server::app);

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().build().expect("the runtime starts"));

fn check_lengths(check: &Check<'_>) {
    for text in [&check.namespace, &check.key].into_iter().flatten() {
        assert!(text.len() <= MAX_KEY_BYTES);
    }
}

fn check_request(input: &[u8]) -> bool {
    match request::parse(input) {
        Ok(request::Request::One(check)) => check_lengths(&check),
        Ok(request::Request::Batch { checks, .. }) => {
            assert!(checks.len() <= MAX_CHECKS);
            checks.iter().for_each(check_lengths);
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return false;
        }
    }
    true
}

/// The status and the body of the response to a request.
fn answer(method: Method, target: &str, body: &[u8]) -> Option<(StatusCode, Value)> {
    let body = RequestBody::from(Bytes::copy_from_slice(body));
    // An invalid query can't become a request.
    let request = Request::builder().method(method).uri(target).body(body).ok()?;
    let (head, body) = RUNTIME.block_on(async {
        let (head, body) = ratelimit::serve(&APP, &Grant::Free, request).await.into_parts();
        (head, body.collect().await.expect("an answer is there whole").to_bytes())
    });
    Some((head.status, serde_json::from_slice(&body).expect("the response is JSON")))
}

fn check_answer(status: StatusCode, response: &Value, denied: StatusCode) {
    if status == StatusCode::BAD_REQUEST {
        assert!(response["error"].as_str().is_some_and(|sentence| !sentence.is_empty()));
        return;
    }
    let success = response["success"].as_bool().expect("the response has success");
    assert_eq!(status, if success { StatusCode::OK } else { denied });
}

fuzz_target!(|input: &[u8]| {
    let is_read = check_request(input);
    let (status, response) =
        answer(Method::POST, "/ratelimit?status=429", input).expect("the target is a path");
    assert!(is_read || status == StatusCode::BAD_REQUEST);
    check_answer(status, &response, StatusCode::TOO_MANY_REQUESTS);

    let Ok(text) = str::from_utf8(input) else { return };
    if let Ok(query) = query::parse(text) {
        check_lengths(&query.check);
    }
    if let Some((status, response)) = answer(Method::GET, &format!("/ratelimit?{text}"), b"") {
        let denied = query::parse(text.split('#').next().unwrap_or(text));
        let denied = denied.map_or(StatusCode::OK, |query| query.form.denied);
        check_answer(status, &response, denied);
    }
});
