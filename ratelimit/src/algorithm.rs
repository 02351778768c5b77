//! The three algorithms, as pure functions of a counter's payload, a limit and a time.
//!
//! A payload is 58 bits; zero is a counter that holds nothing. Time is in milliseconds since the Unix
//! epoch. Windows keep the low bits of their index and GCRA the low bits of its time, so an age is known
//! only modulo 2^16 windows (2^26 for the fixed window; 8.7 years for GCRA). The caller sees to it
//! that `now` is not before the time at which the payload was made.

pub(crate) mod fixed;
pub(crate) mod gcra;
pub(crate) mod sliding;

use std::time::Duration;

use crate::decision::Decision;
use crate::limit::{Algorithm, Limit};

/// What an algorithm says of a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The payload with the hit counted; `None` if the limit denies it.
    pub(crate) payload: Option<u64>,
    /// As of after the hit, or of the denial.
    pub(crate) remaining: u32,
    /// Milliseconds until all of the limit is free.
    pub(crate) reset_ms: u64,
    /// Milliseconds until the same hit would be allowed; `None` if never.
    pub(crate) retry_ms: Option<u64>,
}

impl Verdict {
    /// The answer to the caller.
    #[inline]
    pub(crate) fn decision(&self, limit: &Limit) -> Decision {
        let within = self.payload.is_some();
        Decision {
            allowed: within || limit.is_shadow(),
            limit: limit.burst(),
            remaining: self.remaining,
            reset_after: Duration::from_millis(self.reset_ms),
            retry_after: self.retry_ms.map(Duration::from_millis),
            shadowed: !within && limit.is_shadow(),
        }
    }
}

/// Decides on a hit of `cost` at `now`.
#[inline]
pub(crate) fn check(limit: &Limit, payload: u64, now: u64, cost: u32) -> Verdict {
    match limit.algorithm() {
        Algorithm::Sliding => sliding::check(limit, payload, now, cost),
        Algorithm::Fixed => fixed::check(limit, payload, now, cost),
        Algorithm::Gcra => gcra::check(limit, payload, now, cost),
    }
}

/// What a hit of `cost` takes of a counter, in what its algorithm counts: sums of it do not depend on
/// whose limit they are held against.
pub(crate) fn demand(limit: &Limit, cost: u32) -> u64 {
    match limit.algorithm() {
        Algorithm::Sliding | Algorithm::Fixed => u64::from(cost),
        Algorithm::Gcra => gcra::demand(limit, cost),
    }
}

/// What [`check`] would say of a hit that takes the last part of `demand`, with what remains before all
/// of it.
pub(crate) fn peek(limit: &Limit, payload: u64, now: u64, demand: u64) -> Verdict {
    let before = check(limit, payload, now, 0);
    let retry_ms = match limit.algorithm() {
        Algorithm::Sliding => sliding::wait(limit, payload, now, demand),
        Algorithm::Fixed => fixed::wait(limit, payload, now, demand),
        Algorithm::Gcra => gcra::wait(limit, payload, now, demand),
    };
    let payload = (retry_ms == Some(0)).then_some(payload);
    Verdict { payload, retry_ms, ..before }
}

/// Takes back what was counted at `at`, seen from `now`; never below zero.
pub(crate) fn refund(limit: &Limit, payload: u64, at: u64, now: u64, cost: u32) -> u64 {
    match limit.algorithm() {
        Algorithm::Sliding => sliding::refund(limit, payload, at, now, cost),
        Algorithm::Fixed => fixed::refund(limit, payload, at, cost),
        Algorithm::Gcra => gcra::refund(limit, payload, at, now, cost),
    }
}
