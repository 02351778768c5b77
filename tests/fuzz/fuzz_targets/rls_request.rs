//! A request of Envoy: any bytes are decoded and decided, or rejected.
//!
//! Each request is sent twice at the same time: if it was denied, it is denied again.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use waypost::{
    api::rls::{
        Rls, decide,
        proto::{Code, RateLimitRequest, RateLimitResponse},
    },
    app::App,
};
use waypost_fuzz::server::{app, envoy};

static APP: LazyLock<Arc<App>> = LazyLock::new(app);

static RLS: LazyLock<Rls> = LazyLock::new(envoy);

const NOW_MS: u64 = 1_800_000_000_000;

fn check(request: &RateLimitRequest, response: &RateLimitResponse) {
    assert_eq!(response.statuses.len(), request.descriptors.len());
    let is_over = response.statuses.iter().any(|status| status.code() == Code::OverLimit);
    let overall = if is_over { Code::OverLimit } else { Code::Ok };
    assert_eq!(response.overall_code(), overall);
    for status in &response.statuses {
        assert_ne!(status.code(), Code::Unknown);
        let Some(limit) = &status.current_limit else {
            // No limit applies, or it could not be decided on.
            continue;
        };
        assert!(status.limit_remaining <= limit.requests_per_unit);
        assert!(status.duration_until_reset.is_some_and(|time| time.seconds >= 0));
    }
    let bytes = response.encode_to_vec();
    assert_eq!(RateLimitResponse::decode(&bytes[..]).as_ref(), Ok(response));
}

fuzz_target!(|input: &[u8]| {
    let Ok(request) = RateLimitRequest::decode(input) else { return };
    let decide = || decide(&RLS, &APP.rate_limits.load(), NOW_MS, &request);
    let (first, second) = (decide(), decide());
    let (Ok(first), Ok(second)) = (&first, &second) else {
        assert_eq!(first, second);
        assert!(first.is_err_and(|invalid| !invalid.to_string().is_empty()));
        return;
    };
    check(&request, first);
    check(&request, second);
    let gives_back = request.descriptors.iter().any(|descriptor| descriptor.is_negative_hits);
    if !gives_back && first.overall_code() == Code::OverLimit {
        assert_eq!(second.overall_code(), Code::OverLimit);
    }
});
