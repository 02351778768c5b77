//! Whole requests against whole configurations, without a network.

use std::time::Duration;

use ratelimit::{Algorithm, Limiter};

use super::{
    Domains, Fields, Invalid, Rls, decide, parse,
    proto::{
        Code, DescriptorStatus, Entry, RateLimitDescriptor, RateLimitOverride, RateLimitRequest,
        RateLimitResponse, Unit,
    },
};
use crate::{
    metrics::{Gauges, Metrics},
    rate_limits::{NamedLimits, RateLimits},
};

mod accepted;
mod overrides;
mod refused;
mod reports;
mod tree;

/// A service whose clock does not advance by itself.
struct Site {
    rls: Rls,
    rates: RateLimits,
    metrics: Metrics,
    now_ms: u64,
}

/// The beginning of a day, and of a week since the epoch, so that no window ends soon.
const START_MS: u64 = 2950 * 7 * 24 * 3600 * 1000;

fn domains(yaml: &str) -> Domains {
    let mut domains = Domains::default();
    for domain in parse(yaml).expect("YAML") {
        domains.add(&domain, Algorithm::Sliding).expect("a domain");
    }
    domains
}

/// A service with these domains.
fn with_domains(domains: Domains) -> Site {
    let metrics = Metrics::new();
    let limiter = Limiter::builder().memory_bytes(1 << 16).secret([7; 16]).guests(true);
    let limiter = limiter.build().expect("a limiter");
    let rates = RateLimits::new(limiter, NamedLimits::default(), 10, metrics.limits());
    let rls = Rls::new(domains, Fields::XRateLimit, metrics.limits(), metrics.rls());
    rates.add_spaces(rls.domains().spaces());
    Site { rls, rates, metrics, now_ms: START_MS }
}

impl Site {
    fn new(yaml: &str) -> Site {
        with_domains(domains(yaml))
    }

    fn decide(&self, request: &RateLimitRequest) -> RateLimitResponse {
        decide(&self.rls, &self.rates, self.now_ms, request).expect("a valid request")
    }

    /// One descriptor, and its status.
    fn hit(&self, text: &str) -> DescriptorStatus {
        let response = self.decide(&request(&[text]));
        assert_eq!(response.statuses.len(), 1);
        assert_eq!(response.overall_code, response.statuses[0].code);
        response.statuses[0].clone()
    }

    /// How often a descriptor is allowed until it is denied, of at most 100.
    fn allowed(&self, text: &str) -> usize {
        self.allowed_in("d", text)
    }

    /// The same in another domain.
    fn allowed_in(&self, domain: &str, text: &str) -> usize {
        let request = RateLimitRequest { domain: domain.into(), ..request(&[text]) };
        (0..100).take_while(|_| self.decide(&request).overall_code == OK).count()
    }

    fn metric(&self, name: &str) -> String {
        let now = Gauges { limits: self.rates.gauges(), ..Gauges::default() };
        let text = self.metrics.render(&now, None);
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).to_owned()
    }
}

const OK: i32 = Code::Ok as i32;
const OVER: i32 = Code::OverLimit as i32;

/// `k=v,k2=v2`.
fn descriptor(text: &str) -> RateLimitDescriptor {
    let entries = text.split(',').map(|entry| {
        let (key, value) = entry.split_once('=').unwrap_or((entry, ""));
        Entry { key: key.into(), value: value.into() }
    });
    RateLimitDescriptor { entries: entries.collect(), ..Default::default() }
}

fn request(descriptors: &[&str]) -> RateLimitRequest {
    RateLimitRequest {
        domain: "d".into(),
        descriptors: descriptors.iter().map(|text| descriptor(text)).collect(),
        hits_addend: 0,
    }
}

fn header(response: &RateLimitResponse, name: &str) -> Option<String> {
    let found = response.response_headers_to_add.iter().find(|field| field.key == name);
    found.map(|field| field.value.clone())
}

const TWO: &str = "
domain: d
descriptors:
  - key: user
    rate_limit: {unit: minute, requests_per_unit: 2, name: per_user}
  - key: all
    rate_limit: {unit: hour, requests_per_unit: 5}
";

#[test]
fn a_status_has_the_limit_and_what_remains_of_it() {
    let site = Site::new(TWO);
    let status = site.hit("user=a");
    let limit = status.current_limit.expect("a limit applied");
    assert_eq!((limit.requests_per_unit, limit.unit()), (2, Unit::Minute));
    assert_eq!(limit.name, "per_user");
    assert_eq!((status.code, status.limit_remaining), (OK, 1));
    assert!(status.duration_until_reset.is_some_and(|it| (1..=120).contains(&it.seconds)));
    assert_eq!(site.hit("user=a").limit_remaining, 0);
    let denied = site.hit("user=a");
    assert_eq!((denied.code, denied.limit_remaining), (OVER, 0));
    assert_eq!(site.hit("user=b").code, OK);
}

#[test]
fn a_client_that_waits_until_the_reset_of_a_denial_is_allowed() {
    for algorithm in ["sliding", "fixed", "gcra"] {
        let mut site = Site::new(&format!(
            "{{domain: d, descriptors: [{{key: k, rate_limit: {{period: 1500ms, \
             requests_per_unit: 3, algorithm: {algorithm}}}}}]}}"
        ));
        site.now_ms += 700;
        assert_eq!(site.allowed("k=a"), 3, "{algorithm}");
        let wait = site.hit("k=a").duration_until_reset.expect("a time");
        site.now_ms += u64::try_from(wait.seconds).unwrap() * 1000;
        assert_eq!(site.hit("k=a").code, OK, "{algorithm}");
    }
}

#[test]
fn the_statuses_are_in_the_order_of_the_descriptors() {
    let site = Site::new(TWO);
    let response = site.decide(&request(&["none=x", "all", "user=a"]));
    let shown: Vec<_> = response.statuses.iter().map(|it| (it.code, it.limit_remaining)).collect();
    assert_eq!(shown, [(OK, 0), (OK, 4), (OK, 1)]);
    assert_eq!(response.statuses[0].current_limit, None);
    assert_eq!(response.statuses[0].duration_until_reset, None);
    assert_eq!(response.overall_code, OK);
    assert_eq!(site.metric("waypost_rls_unmatched_descriptors_total"), "1");
}

#[test]
fn a_request_that_one_limit_denies_uses_up_no_other() {
    let site = Site::new(TWO);
    assert_eq!(site.allowed("user=a"), 2);
    for _ in 0..20 {
        let response = site.decide(&request(&["user=a", "all"]));
        let codes: Vec<i32> = response.statuses.iter().map(|status| status.code).collect();
        assert_eq!((codes, response.overall_code), (vec![OVER, OK], OVER));
    }
    assert_eq!(site.allowed("all"), 5);
}

#[test]
fn the_addend_of_a_descriptor_replaces_that_of_the_request() {
    let site = Site::new(TWO);
    let mut three = request(&["all"]);
    three.hits_addend = 3;
    assert_eq!(site.decide(&three).statuses[0].limit_remaining, 2);
    assert_eq!(site.decide(&three).statuses[0].code, OVER);
    three.descriptors[0].hits_addend = Some(0);
    let peeked = &site.decide(&three).statuses[0];
    assert_eq!((peeked.code, peeked.limit_remaining), (OK, 2));
    three.descriptors[0].hits_addend = Some(u64::MAX);
    assert_eq!(site.decide(&three).statuses[0].code, OVER);
    three.descriptors[0].hits_addend = Some(2);
    assert_eq!(site.decide(&three).statuses[0].limit_remaining, 0);
}

#[test]
fn a_denial_leaves_the_remainder_for_requests_of_a_lower_cost() {
    let site = Site::new(TWO);
    let mut three = request(&["all"]);
    three.hits_addend = 3;
    assert_eq!(site.decide(&three).statuses[0].limit_remaining, 2);
    let denied = site.decide(&three);
    let status = &denied.statuses[0];
    assert_eq!((status.code, status.limit_remaining), (OVER, 2));
    assert_eq!(header(&denied, "x-ratelimit-remaining").as_deref(), Some("2"));
    assert_eq!(site.allowed("all"), 2);
}

#[test]
fn a_denial_of_one_counter_twice_has_the_time_until_both_are_allowed() {
    let mut site = Site::new(TWO);
    assert_eq!(site.allowed("user=a"), 2);
    site.now_ms += 65_000;
    let both = request(&["user=a", "user=a"]);
    let denied = site.decide(&both);
    assert_eq!(denied.overall_code, OVER);
    let remaining: Vec<_> = denied.statuses.iter().map(|it| it.limit_remaining).collect();
    assert_eq!(remaining, [0, 0]);
    let wait = header(&denied, "retry-after").expect("a time").parse::<u64>().unwrap();
    assert_eq!(wait, 55);
    site.now_ms += wait * 1000;
    assert_eq!(site.decide(&both).overall_code, OK);
}

#[test]
fn negative_hits_are_refunded() {
    let site = Site::new(TWO);
    assert_eq!(site.allowed("all"), 5);
    let mut back = request(&["all"]);
    back.descriptors[0].hits_addend = Some(2);
    back.descriptors[0].is_negative_hits = true;
    let status = &site.decide(&back).statuses[0];
    assert_eq!((status.code, status.limit_remaining), (OK, 2));
    assert_eq!(site.allowed("all"), 2);
}

#[test]
fn nothing_is_refunded_beside_a_denial() {
    let site = Site::new(TWO);
    assert_eq!(site.allowed("all"), 5);
    while site.decide(&request(&["user=a"])).statuses[0].code == OK {}
    let mut both = request(&["all", "user=a"]);
    both.descriptors[0].hits_addend = Some(2);
    both.descriptors[0].is_negative_hits = true;
    let answer = site.decide(&both);
    assert_eq!((answer.statuses[0].code, answer.statuses[1].code), (OK, OVER));
    assert_eq!(site.allowed("all"), 0, "nothing was refunded");
}

#[test]
fn a_limit_in_the_request_replaces_the_configured_one() {
    let site = Site::new(TWO);
    let mut own = request(&["user=a"]);
    let limit = RateLimitOverride { requests_per_unit: 1, unit: Unit::Hour.into() };
    own.descriptors[0].limit = Some(limit);
    let status = site.decide(&own).statuses[0].clone();
    let current = status.current_limit.clone().expect("a limit applied");
    assert_eq!((current.requests_per_unit, current.unit()), (1, Unit::Hour));
    assert_eq!((status.code, status.limit_remaining), (OK, 0));
    assert_eq!(site.decide(&own).statuses[0].code, OVER);
    // Also for a descriptor that is not configured, and if it is too large for the sliding window.
    let mut other = request(&["other=x"]);
    other.descriptors[0].limit =
        Some(RateLimitOverride { requests_per_unit: u32::MAX, unit: Unit::Second.into() });
    let status = &site.decide(&other).statuses[0];
    assert_eq!((status.code, status.limit_remaining), (OK, u32::MAX - 1));
    for unit in [0, 8, -1] {
        other.descriptors[0].limit = Some(RateLimitOverride { requests_per_unit: 1, unit });
        let status = site.decide(&other).statuses[0].clone();
        assert_eq!((status.code, status.current_limit), (OVER, None));
    }
}

#[test]
fn shadow_mode_counts_and_responds_ok() {
    let site = Site::new(
        "
domain: d
descriptors:
  - key: k
    shadow_mode: true
    rate_limit: {unit: hour, requests_per_unit: 2}
  - key: strict
    rate_limit: {unit: hour, requests_per_unit: 4}
",
    );
    assert_eq!(site.allowed("k=a"), 100);
    let shadowed = site.hit("k=a");
    assert_eq!((shadowed.code, shadowed.limit_remaining), (OK, 0));
    let denials = "waypost_ratelimit_shadow_denials_total{limit=\"rls:d.k\"}";
    assert_eq!(site.metric(denials), "99");
    // It does not deny others, and they do not hide it.
    for _ in 0..4 {
        assert_eq!(site.decide(&request(&["k=a", "strict"])).overall_code, OK);
    }
    assert_eq!(site.decide(&request(&["k=a", "strict"])).overall_code, OVER);
    assert_eq!(site.metric(denials), "104");
}

#[test]
fn a_limit_can_replace_another() {
    let site = Site::new(
        "
domain: d
descriptors:
  - key: a
    rate_limit: {unit: hour, requests_per_unit: 1, name: narrow}
  - key: b
    rate_limit: {unit: hour, requests_per_unit: 3, replaces: [{name: narrow}]}
  - key: free
    rate_limit: {unlimited: true, replaces: [{name: narrow}]}
",
    );
    for remaining in [2, 1, 0] {
        let response = site.decide(&request(&["a=1", "b=1"]));
        assert_eq!(response.statuses[0].current_limit, None);
        assert_eq!(response.statuses[1].limit_remaining, remaining);
    }
    assert_eq!(site.decide(&request(&["a=1", "b=1"])).overall_code, OVER);
    assert_eq!(site.allowed("a=1"), 1);
    assert_eq!(site.decide(&request(&["a=1", "free"])).overall_code, OK);
}

#[test]
fn an_unlimited_descriptor_has_everything_remaining() {
    let site = Site::new("{domain: d, descriptors: [{key: k, rate_limit: {unlimited: true}}]}");
    let status = site.hit("k=a");
    assert_eq!((status.code, status.limit_remaining), (OK, u32::MAX));
    assert_eq!(status.current_limit, None);
    assert_eq!(site.metric("waypost_ratelimit_checks_total{limit=\"rls:d.k\"}"), "1");
}

#[test]
fn an_unknown_domain_is_allowed_and_counted() {
    let site = Site::new(TWO);
    let mut other = request(&["user=a", "all"]);
    other.domain = "other".into();
    for _ in 0..9 {
        let response = site.decide(&other);
        assert_eq!((response.overall_code, response.statuses.len()), (OK, 2));
        assert!(response.statuses.iter().all(|status| status.current_limit.is_none()));
    }
    assert_eq!(site.metric("waypost_rls_unknown_domains_total"), "9");
}

#[test]
fn an_invalid_request_is_refused() {
    let site = Site::new(TWO);
    let refused = |request: &RateLimitRequest| {
        decide(&site.rls, &site.rates, site.now_ms, request).expect_err("it is invalid")
    };
    assert_eq!(refused(&request(&[])), Invalid::NoDescriptors);
    let no_domain = RateLimitRequest { domain: String::new(), ..request(&["all"]) };
    assert_eq!(refused(&no_domain), Invalid::NoDomain);
    assert_eq!(refused(&no_domain).to_string(), "rate limit domain must not be empty");
    // Without entries it leads to the root.
    let mut bare = request(&["all"]);
    bare.descriptors[0].entries.clear();
    assert_eq!(site.decide(&bare).statuses[0].current_limit, None);
}

#[test]
fn the_headers_describe_the_nearest_limit() {
    let site = Site::new(TWO);
    let response = site.decide(&request(&["all", "user=a", "none"]));
    assert_eq!(header(&response, "x-ratelimit-limit").as_deref(), Some("2"));
    assert_eq!(header(&response, "x-ratelimit-remaining").as_deref(), Some("1"));
    assert_eq!(header(&response, "retry-after"), None);
    assert_eq!(site.allowed("all"), 4);
    let response = site.decide(&request(&["all", "user=a"]));
    assert_eq!(header(&response, "x-ratelimit-limit").as_deref(), Some("5"));
    let reset = header(&response, "x-ratelimit-reset");
    assert!(reset.is_some() && reset == header(&response, "retry-after"));
    assert!(site.decide(&request(&["none"])).response_headers_to_add.is_empty());
}

#[test]
fn an_operator_finds_a_counter_by_its_name() {
    let site = Site::new(TWO);
    assert_eq!(site.allowed("user=a"), 2);
    let request = ratelimit::Request {
        namespace: b"rls:d",
        key: b"user=a,",
        limit: ratelimit::Limit::sliding(2, Duration::from_secs(60)).unwrap(),
        cost: 1,
    };
    site.rates.limiter().reset(&request);
    assert_eq!(site.allowed("user=a"), 2);
    let gauges = site.rates.gauges();
    let denied = gauges.denied.first().expect("denied keys are watched");
    assert_eq!((&denied.namespace[..], &denied.key[..]), ("rls:d", "user=a,"));
}

#[test]
fn a_changed_limit_continues_from_its_count() {
    let mut site = Site::new(TWO);
    assert_eq!(site.allowed("user=a"), 2);
    site.rls = Rls::new(
        domains(&TWO.replace("requests_per_unit: 2", "requests_per_unit: 7")),
        Fields::None,
        site.metrics.limits(),
        site.metrics.rls(),
    );
    assert_eq!(site.allowed("user=a"), 5);
}
