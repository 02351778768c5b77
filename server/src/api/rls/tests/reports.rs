//! Usage that is known afterwards, and what a client could send to make a call fail.

use super::super::{MAX_DESCRIPTORS, proto::RateLimitDescriptor};
use super::{OK, OVER, Site, descriptor, header, request};
use crate::api::rls::proto::{RateLimitOverride, RateLimitRequest, Unit};

const TOKENS: &str = "
domain: d
descriptors:
  - key: tokens
    rate_limit: {unit: hour, requests_per_unit: 1000}
  - key: address
    rate_limit: {unit: hour, requests_per_unit: 3}
  - key: failures
    rate_limit: {unit: hour, requests_per_unit: 3, record: true}
  - key: upload
    rate_limit: {unit: hour, requests_per_unit: 10, record: false}
  - key: fixed
    rate_limit: {unit: hour, requests_per_unit: 1000, algorithm: fixed}
  - key: gcra
    rate_limit: {unit: hour, requests_per_unit: 1000, algorithm: gcra}
";

fn with_hits(text: &str, hits: u64) -> RateLimitDescriptor {
    RateLimitDescriptor { hits_addend: Some(hits), ..descriptor(text) }
}

fn of(descriptors: Vec<RateLimitDescriptor>) -> RateLimitRequest {
    RateLimitRequest { descriptors, ..request(&[]) }
}

fn code(site: &Site, descriptors: Vec<RateLimitDescriptor>) -> i32 {
    site.decide(&of(descriptors)).overall_code
}

#[test]
fn a_report_above_what_remains_is_recorded() {
    for key in ["tokens", "fixed", "gcra"] {
        let site = Site::new(TOKENS);
        let mut passed = 0;
        for _ in 0..8 {
            if code(&site, vec![with_hits(key, 0)]) == OK {
                passed += 1;
                code(&site, vec![with_hits(key, 600)]);
            }
        }
        assert_eq!(passed, 2, "{key}");
    }
}

#[test]
fn a_look_is_over_the_limit_until_enough_of_the_window_has_passed() {
    for key in ["tokens", "fixed", "gcra"] {
        let mut site = Site::new(TOKENS);
        for _ in 0..5 {
            code(&site, vec![with_hits(key, 600)]);
        }
        let look = site.decide(&of(vec![with_hits(key, 0)]));
        assert_eq!(look.overall_code, OVER, "{key}");
        assert_eq!(look.statuses[0].limit_remaining, 0);
        let wait = look.statuses[0].duration_until_reset.expect("a time").seconds;
        assert_eq!(header(&look, "retry-after"), Some(wait.to_string()));
        site.now_ms += u64::try_from(wait - 2).unwrap() * 1000;
        assert_eq!(code(&site, vec![with_hits(key, 0)]), OVER, "{key}: {wait}");
        site.now_ms += 2000;
        assert_eq!(code(&site, vec![with_hits(key, 0)]), OK, "{key}: {wait}");
    }
}

#[test]
fn a_look_is_over_the_limit_once_nothing_is_left() {
    let site = Site::new(TOKENS);
    assert_eq!(code(&site, vec![with_hits("tokens", 1000)]), OK);
    assert_eq!(code(&site, vec![with_hits("tokens", 0)]), OVER);
}

#[test]
fn a_report_larger_than_the_limit_counts_and_names_the_time_until_the_counter_is_within_it() {
    let mut site = Site::new(TOKENS);
    let over = site.decide(&of(vec![with_hits("tokens", u64::MAX)]));
    assert_eq!(over.overall_code, OVER);
    let wait = over.statuses[0].duration_until_reset.expect("a time").seconds;
    site.now_ms += u64::try_from(wait).unwrap() * 1000;
    assert_eq!(code(&site, vec![with_hits("tokens", 0)]), OK);
}

#[test]
fn reports_are_recorded_whatever_other_descriptors_decide() {
    let site = Site::new(TOKENS);
    assert_eq!(site.allowed("address"), 3);
    let both = || vec![descriptor("address"), with_hits("tokens", 600)];
    assert_eq!(code(&site, both()), OVER);
    assert_eq!(code(&site, both()), OVER);
    assert_eq!(code(&site, vec![with_hits("tokens", 0)]), OVER);
}

#[test]
fn a_check_beside_a_denied_look_counts_nothing() {
    let site = Site::new(TOKENS);
    code(&site, vec![with_hits("tokens", 2000)]);
    for _ in 0..9 {
        assert_eq!(code(&site, vec![descriptor("address"), with_hits("tokens", 0)]), OVER);
    }
    assert_eq!(site.allowed("address"), 3);
}

#[test]
fn a_rule_decides_whether_its_hits_are_recorded() {
    let site = Site::new(TOKENS);
    for _ in 0..5 {
        code(&site, vec![descriptor("failures")]);
    }
    let mut back = with_hits("failures", 1);
    back.is_negative_hits = true;
    code(&site, vec![back]);
    assert_eq!(code(&site, vec![with_hits("failures", 0)]), OVER, "4 of 3");
    assert_eq!(code(&site, vec![with_hits("upload", 8)]), OK);
    assert_eq!(code(&site, vec![with_hits("upload", 8)]), OVER);
    assert_eq!(code(&site, vec![with_hits("upload", 2)]), OK);
}

#[test]
fn bytes_that_are_not_text_are_counted_like_any_other() {
    let site = Site::new(TOKENS);
    let odd = |value: &[u8]| {
        let mut odd = descriptor("address");
        odd.entries[0].value = value.to_vec();
        odd
    };
    for _ in 0..3 {
        assert_eq!(code(&site, vec![odd(b"\xff"), odd(b"\xfe\0")]), OK);
    }
    assert_eq!(code(&site, vec![odd(b"\xff")]), OVER);
    assert_eq!(code(&site, vec![odd(b"\xef\xbf\xbd")]), OK, "U+FFFD is another value");
    // A key that no limit has, beside a limit that is used up.
    let mut unknown = odd(b"x");
    unknown.entries[0].key = b"\xff".to_vec();
    assert_eq!(code(&site, vec![unknown.clone()]), OK);
    assert_eq!(code(&site, vec![unknown, odd(b"\xff")]), OVER);
}

#[test]
fn a_descriptor_that_cannot_be_decided_on_is_denied_and_lifts_no_other_limit() {
    let site = Site::new(TOKENS);
    let mut many = vec![descriptor("address=0")];
    many.extend((1..=MAX_DESCRIPTORS).map(|n| descriptor(&format!("address={n}"))));
    let response = site.decide(&of(many.clone()));
    assert_eq!((response.overall_code, response.statuses.len()), (OVER, MAX_DESCRIPTORS + 1));
    let codes: Vec<i32> = response.statuses.iter().map(|status| status.code).collect();
    assert_eq!((codes[0], codes[MAX_DESCRIPTORS]), (OK, OVER));
    many.pop();
    assert_eq!(site.decide(&of(many)).overall_code, OK);
    assert_eq!(site.metric("waypost_rls_refused_descriptors_total"), "1");
    let mut odd = descriptor("address=a");
    odd.limit = Some(RateLimitOverride { requests_per_unit: 9, unit: Unit::Unknown.into() });
    assert_eq!(code(&site, vec![odd, descriptor("address=b")]), OVER);
    assert_eq!(site.allowed("address=b"), 3, "nothing was counted");
}
