use std::collections::HashMap;

use ratelimit::Limiter;

use super::*;
use crate::{
    api::ratelimit::request,
    metrics::Metrics,
    rate_limits::{NamedLimits, RateLimits},
};

fn rates() -> RateLimits {
    let limiter = Limiter::builder().memory_bytes(1 << 16).build().expect("a limiter");
    RateLimits::new(limiter, NamedLimits::default(), 0, Metrics::new().limits())
}

fn decision(rates: &RateLimits, fields: &str) -> Result<Decision, String> {
    let body = format!(r#"{{"namespace":"n","key":"k","limit":1000,"period":"1d"{fields}}}"#);
    let request = request::parse(body.as_bytes()).map_err(|error| error.to_string())?;
    match run(rates, &Grant::Free, request).map_err(|error| error.to_string())? {
        Outcome::One(checked) => Ok(checked.decision),
        Outcome::Batch { .. } => Err("a batch".into()),
    }
}

#[test]
fn a_record_is_counted_whatever_the_limit_is() {
    let rates = rates();
    let report = r#","record":true,"cost":600"#;
    let first = decision(&rates, report).expect("valid");
    assert_eq!((first.allowed, first.remaining), (true, 400));
    assert!(decision(&rates, r#","peek":true"#).expect("valid").allowed);
    let second = decision(&rates, report).expect("valid");
    assert_eq!((second.allowed, second.remaining), (false, 0));
    let look = decision(&rates, r#","peek":true,"cost":0"#).expect("valid");
    assert_eq!((look.allowed, look.retry_after), (false, second.retry_after));
    assert!(!decision(&rates, "").expect("valid").allowed);
}

#[test]
fn a_record_goes_with_a_cost_and_nothing_else() {
    let rates = rates();
    for (fields, expected) in [
        (r#","record":true,"peek":true"#, "`record` goes with neither `peek` nor `reset`"),
        (r#","record":true,"reset":true"#, "`record` goes with neither `peek` nor `reset`"),
        (r#","record":true,"cost":-1"#, "a record has no `cost` below 0"),
        (r#","record":1"#, "`record`: invalid type: integer `1`, expected a boolean"),
    ] {
        let error = decision(&rates, fields).expect_err(fields);
        assert!(error.contains(expected), "{expected:?} is not in {error:?}");
    }
    assert!(decision(&rates, r#","record":false"#).expect("valid").allowed);
    assert_eq!(decision(&rates, r#","record":true"#).expect("valid").remaining, 998);
}

/// A server of little memory that has one limit, whose counters are in the namespace `n`.
fn configured() -> RateLimits {
    let limiter = Limiter::builder().memory_bytes(1 << 16).guests(true).build().expect("a limiter");
    let toml = "[limits.login]\nlimit = 1000000\nperiod = \"1d\"\nnamespace = \"n\"\n";
    let named: HashMap<String, NamedLimits> = toml::from_str(toml).expect("TOML");
    RateLimits::new(limiter, named["limits"].clone(), 0, Metrics::new().limits())
}

fn remaining(rates: &RateLimits, body: &str) -> u32 {
    let request = request::parse(body.as_bytes()).expect("valid");
    match run(rates, &Grant::Free, request).expect("valid") {
        Outcome::One(checked) => checked.decision.remaining,
        Outcome::Batch { .. } => panic!("a batch"),
    }
}

#[test]
fn no_caller_evicts_a_counter_of_the_configuration() {
    let rates = configured();
    for key in 0..500 {
        remaining(&rates, &format!(r#"{{"name":"login","key":"{key}"}}"#));
    }
    for n in 1..5000 {
        for name in [r#""namespace":"n""#, r#""name":"login""#, r#""namespace":"other""#] {
            let body = format!(r#"{{{name},"key":"{n}","limit":1,"period":"{n}s"}}"#);
            remaining(&rates, &body);
        }
    }
    for key in 0..500 {
        let body = format!(r#"{{"name":"login","key":"{key}","peek":true}}"#);
        assert_eq!(remaining(&rates, &body), 999_999, "{key}");
    }
}

#[test]
fn a_caller_that_knows_no_scope_uses_the_global_limit_of_the_configuration() {
    let limiter = Limiter::builder().memory_bytes(1 << 16).guests(true);
    let toml = "[limits.api]\nlimit = 5\nperiod = \"1d\"\nnamespace = \"n\"\nscope = \"global\"\n";
    let named: HashMap<String, NamedLimits> = toml::from_str(toml).expect("TOML");
    let limiter = limiter.build().expect("a limiter");
    let rates = RateLimits::new(limiter, named["limits"].clone(), 0, Metrics::new().limits());
    assert_eq!(remaining(&rates, r#"{"name":"api","key":"a"}"#), 4);
    let described = r#"{"namespace":"n","key":"a","limit":5,"period":"1d""#;
    assert_eq!(remaining(&rates, &format!("{described}}}")), 3);
    assert_eq!(remaining(&rates, &format!(r#"{described},"scope":"global"}}"#)), 2);
    assert_eq!(remaining(&rates, &format!(r#"{described},"scope":"location"}}"#)), 4);
    assert_eq!(remaining(&rates, r#"{"name":"api","key":"a","limit":9}"#), 5);
    let other = r#"{"namespace":"n","key":"a","limit":5,"period":"2d"}"#;
    assert_eq!(remaining(&rates, other), 4, "another period");
}

#[test]
fn a_caller_can_describe_the_counters_of_the_configuration() {
    let rates = configured();
    remaining(&rates, r#"{"name":"login","key":"a"}"#);
    let same = r#"{"namespace":"n","key":"a","limit":10,"period":"1d""#;
    assert_eq!(remaining(&rates, &format!(r#"{same},"peek":true}}"#)), 9);
    assert_eq!(remaining(&rates, &format!(r#"{same},"reset":true}}"#)), 10);
    assert_eq!(remaining(&rates, r#"{"name":"login","key":"a","peek":true}"#), 1_000_000);
}
