//! Applies the algorithm of a [`Limit`] to a counter's payload.

use std::time::Duration;

use crate::algorithm::fixed::Fixed;
use crate::algorithm::gcra::Gcra;
use crate::algorithm::sliding::Sliding;
use crate::algorithm::{Verdict, Window};
use crate::decision::Decision;
use crate::limit::{Algorithm, Limit};

#[inline]
fn sliding(limit: &Limit) -> Sliding {
    Sliding { count: limit.count(), period: limit.period_ms() }
}

#[inline]
fn fixed(limit: &Limit) -> Fixed {
    Fixed { count: limit.count() }
}

/// The window of a limit that a time is in.
#[inline]
fn window(limit: &Limit, now: u64) -> Window {
    match limit.windows() {
        None => Window::aligned(limit.period_ms(), now),
        Some(calendar) => calendar.window(now),
    }
}

#[inline]
fn gcra(limit: &Limit) -> Gcra {
    Gcra { interval: limit.interval(), burst: limit.burst() }
}

/// Decides on a request of `cost` at `now`.
#[inline]
pub(crate) fn check(limit: &Limit, payload: u64, now: u64, cost: u32) -> Verdict {
    match limit.algorithm() {
        Algorithm::Sliding => sliding(limit).check(payload, now, cost),
        Algorithm::Fixed => fixed(limit).check(payload, window(limit, now), cost),
        Algorithm::Gcra => gcra(limit).check(payload, now, cost),
    }
}

/// Counts `cost` whatever the limit is, and returns the new payload.
pub(crate) fn record(limit: &Limit, payload: u64, now: u64, cost: u32) -> u64 {
    match limit.algorithm() {
        Algorithm::Sliding => sliding(limit).record(payload, now, cost),
        Algorithm::Fixed => Fixed::record(payload, window(limit, now), cost),
        Algorithm::Gcra => gcra(limit).record(payload, now, cost),
    }
}

/// Returns what `cost` takes of a counter, in the unit of the algorithm. Sums of demands hold for every
/// limit of that algorithm, so a batch can add them up per counter.
pub(crate) fn demand(limit: &Limit, cost: u32) -> u64 {
    match limit.algorithm() {
        Algorithm::Sliding | Algorithm::Fixed => u64::from(cost),
        Algorithm::Gcra => gcra(limit).demand(cost),
    }
}

/// Returns what [`check`] would decide on a request that takes the last part of `demand`. The `remaining`
/// of the verdict is as it is before all of `demand`.
pub(crate) fn peek(limit: &Limit, payload: u64, now: u64, demand: u64) -> Verdict {
    let before = check(limit, payload, now, 0);
    let retry_ms = match limit.algorithm() {
        Algorithm::Sliding => sliding(limit).wait(payload, now, demand),
        Algorithm::Fixed => fixed(limit).wait(payload, window(limit, now), demand),
        Algorithm::Gcra => gcra(limit).wait(payload, now, demand),
    };
    let payload = (retry_ms == Some(0)).then_some(payload);
    Verdict { payload, retry_ms, ..before }
}

/// Gives back `cost` that was counted at `at`, as seen from `now`. The result is never below zero.
pub(crate) fn refund(limit: &Limit, payload: u64, at: u64, now: u64, cost: u32) -> u64 {
    match limit.algorithm() {
        Algorithm::Sliding => sliding(limit).refund(payload, at, now, cost),
        Algorithm::Fixed => Fixed::refund(payload, window(limit, at), cost),
        Algorithm::Gcra => gcra(limit).refund(payload, at, now, cost),
    }
}

/// Turns a verdict into the result that the caller gets: applies shadow mode.
#[inline]
pub(crate) fn decision(limit: &Limit, verdict: &Verdict) -> Decision {
    let within = verdict.payload.is_some();
    Decision {
        allowed: within || limit.is_shadow(),
        limit: limit.burst(),
        remaining: verdict.remaining,
        reset_after: Duration::from_millis(verdict.reset_ms),
        retry_after: verdict.retry_ms.map(Duration::from_millis),
        shadowed: !within && limit.is_shadow(),
    }
}
