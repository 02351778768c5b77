//! The response fields that describe a client's limit.
//!
//! `RateLimit-Policy` and `RateLimit` follow draft-ietf-httpapi-ratelimit-headers-10 (Structured Fields, RFC
//! 9651), and `Retry-After` follows RFC 9110, section 10.2.3. Times are whole seconds, rounded up, so
//! that a client that waits for them is not early.

use std::fmt::Write;
use std::time::Duration;

use crate::decision::Decision;
use crate::limit::{Algorithm, Limit};

/// The name of the field whose value [`policy`] returns.
pub const RATELIMIT_POLICY: &str = "ratelimit-policy";
/// The name of the field whose value [`state`] returns.
pub const RATELIMIT: &str = "ratelimit";

/// Returns the value of `RateLimit-Policy`: `"login";q=100;w=60`.
///
/// The quota `q` is the limit's burst for GCRA and its count for the window algorithms. The draft's
/// window `w` is in whole seconds; it is left out for GCRA, for windows of a calendar, and for periods that are not
/// whole seconds.
#[must_use]
pub fn policy(name: &str, limit: &Limit) -> String {
    let mut value = String::with_capacity(name.len() + 24);
    push_name(&mut value, name);
    push(&mut value, ";q=", u64::from(limit.burst()));
    let is_periodic = limit.algorithm() != Algorithm::Gcra && limit.windows().is_none();
    if is_periodic && limit.period_ms().is_multiple_of(1000) {
        push(&mut value, ";w=", limit.period_ms() / 1000);
    }
    value
}

/// Returns the value of `RateLimit`: `"login";r=50;t=30`, the cost that remains and the seconds until the
/// window ends ([`Decision::reset_after`]).
///
/// After a denial, `t` is the time until the request would be allowed, so that `Retry-After` is never
/// before `t`.
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

/// Returns the value of `Retry-After` in seconds, or `None` if the request was allowed or never will be.
#[must_use]
pub fn retry_after(decision: &Decision) -> Option<u64> {
    decision.retry_after.filter(|wait| !wait.is_zero()).map(seconds)
}

/// Returns the time in whole seconds, rounded up.
#[must_use]
pub fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// Appends a Structured Fields String: printable ASCII, with `"` and `\` escaped. Any other character
/// becomes `?`.
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
    write!(value, "{parameter}{number}").expect("writing to a String never fails");
}
