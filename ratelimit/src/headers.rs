//! The response fields that tell a client of its limit.
//!
//! `RateLimit-Policy` and `RateLimit` as in draft-ietf-httpapi-ratelimit-headers-10 (Structured Fields,
//! RFC 9651), and `Retry-After` (RFC 9110 §10.2.3). Times are whole seconds, rounded up, so that nobody
//! who keeps to them comes too early.

use std::fmt::Write;
use std::time::Duration;

use crate::decision::Decision;
use crate::limit::{Algorithm, Limit};

/// The name of the field that [`policy`] makes.
pub const RATELIMIT_POLICY: &str = "ratelimit-policy";
/// The name of the field that [`state`] makes.
pub const RATELIMIT: &str = "ratelimit";

/// The value of `RateLimit-Policy`: `"login";q=100;w=60`. The quota `q` is the limit's burst for GCRA
/// and its count for the others. The draft's `w` is in whole seconds: for other periods it is left out.
#[must_use]
pub fn policy(name: &str, limit: &Limit) -> String {
    let mut value = String::with_capacity(name.len() + 24);
    push_name(&mut value, name);
    push(&mut value, ";q=", u64::from(limit.burst()));
    if limit.algorithm() != Algorithm::Gcra && limit.period_ms().is_multiple_of(1000) {
        push(&mut value, ";w=", limit.period_ms() / 1000);
    }
    value
}

/// The value of `RateLimit`: `"login";r=50;t=30`: what remains, and the seconds until the limit is whole
/// again (for a denied hit: until it would be allowed, so that `Retry-After` is not before `t`).
#[must_use]
pub fn state(name: &str, decision: &Decision) -> String {
    let mut value = String::with_capacity(name.len() + 24);
    push_name(&mut value, name);
    push(&mut value, ";r=", u64::from(decision.remaining));
    let wait = match decision.retry_after {
        Some(wait) if !wait.is_zero() => wait,
        _ => decision.reset_after,
    };
    push(&mut value, ";t=", seconds(wait));
    value
}

/// The value of `Retry-After` in seconds; `None` if the hit was allowed, or can never be.
#[must_use]
pub fn retry_after(decision: &Decision) -> Option<u64> {
    decision.retry_after.filter(|wait| !wait.is_zero()).map(seconds)
}

/// Whole seconds, rounded up.
#[must_use]
pub fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// A Structured Fields String: printable ASCII, with `"` and `\` escaped. Anything else becomes `?`.
fn push_name(value: &mut String, name: &str) {
    value.push('"');
    for char in name.chars() {
        match char {
            '"' | '\\' => value.extend(['\\', char]),
            ' '..='~' => value.push(char),
            _ => value.push('?'),
        }
    }
    value.push('"');
}

fn push(value: &mut String, parameter: &str, number: u64) {
    write!(value, "{parameter}{number}").expect("a String takes all that is written");
}
