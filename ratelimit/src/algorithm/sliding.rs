//! The sliding window of two counters, in integers.
//!
//! With window `i = now div W`, `e = now mod W`, and the counts of this window and of the one before,
//! it admits a hit of cost n iff `prev·(W−e) + (cur+n)·W ≤ L·W`. This is the rule of Cloudflare ("How we
//! built rate limiting capable of scaling to millions of domains", 2017) without rounding.
//!
//! Payload: 16 bits of the window's index, 21 of the count before, 21 of the current one.

use super::Verdict;
use crate::class::Weight;
use crate::limit::Limit;

const COUNT_BITS: u32 = 21;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const INDEX_MASK: u64 = (1 << 16) - 1;

/// The largest limit that the counts can hold.
pub(crate) const MOST: u32 = (1 << COUNT_BITS) - 1;

/// The two counts, as of the window of `index`.
#[derive(Clone, Copy)]
struct Windows {
    index: u64,
    before: u64,
    current: u64,
}

impl Windows {
    /// Reads a payload, and moves it on to the window of `index`.
    #[inline]
    fn at(payload: u64, index: u64) -> Windows {
        let (before, current) = (payload >> COUNT_BITS & COUNT_MASK, payload & COUNT_MASK);
        match index.wrapping_sub(payload >> (2 * COUNT_BITS)) & INDEX_MASK {
            0 => Windows { index, before, current },
            1 => Windows { index, before: current, current: 0 },
            _ => Windows { index, before: 0, current: 0 },
        }
    }

    #[inline]
    fn pack(self) -> u64 {
        if self.before | self.current == 0 {
            return 0;
        }
        (self.index & INDEX_MASK) << (2 * COUNT_BITS) | self.before << COUNT_BITS | self.current
    }
}

/// `⌈count·left/period⌉`: what the window before still counts. The product is below 2^57.
#[inline]
fn share(count: u64, left: u64, period: u64) -> u64 {
    if count == 0 { 0 } else { (count * left).div_ceil(period) }
}

/// Decides on a hit.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "what remains is at most the limit, a u32")]
pub(crate) fn check(limit: &Limit, payload: u64, now: u64, cost: u32) -> Verdict {
    let period = limit.period_ms();
    let (most, cost) = (u64::from(limit.count()), u64::from(cost));
    let index = now / period;
    let elapsed = now - index * period;
    let left = period - elapsed;
    let mut windows = Windows::at(payload, index);
    // prev·(W−e) + (cur+n)·W ≤ L·W divided by W; all but the share are integers, so it may be rounded up.
    let used = windows.current + share(windows.before, left, period);
    let admitted = used + cost <= most;
    if admitted {
        windows.current += cost;
    }
    let reset_ms = match (windows.current, windows.before) {
        (0, 0) => 0,
        (0, _) => left,
        _ => left + period,
    };
    if admitted {
        let remaining = (most - used - cost) as u32;
        Verdict { payload: Some(windows.pack()), remaining, reset_ms, retry_ms: Some(0) }
    } else {
        let retry_ms = most.checked_sub(cost).map(|room| until(windows, elapsed, period, room));
        let remaining = most.saturating_sub(used) as u32;
        Verdict { payload: None, remaining, reset_ms, retry_ms }
    }
}

/// Milliseconds until `demand` fits, `None` if it never does.
pub(crate) fn wait(limit: &Limit, payload: u64, now: u64, demand: u64) -> Option<u64> {
    let period = limit.period_ms();
    let index = now / period;
    let room = u64::from(limit.count()).checked_sub(demand)?;
    Some(until(Windows::at(payload, index), now - index * period, period, room))
}

/// Milliseconds from `elapsed` until at most `room` is counted: none if it is now.
fn until(windows: Windows, elapsed: u64, period: u64, room: u64) -> u64 {
    if let Some(free) = room.checked_sub(windows.current) {
        let at = falls_to(windows.before, free, period);
        if at < period {
            return at.saturating_sub(elapsed);
        }
    }
    period - elapsed + falls_to(windows.current, room, period)
}

/// The first `e` at which `count·(W−e) ≤ free·W`.
fn falls_to(count: u64, free: u64, period: u64) -> u64 {
    if free >= count { 0 } else { period - free * period / count }
}

/// Takes back hits that were counted in the window of `at`.
pub(crate) fn refund(limit: &Limit, payload: u64, at: u64, now: u64, cost: u32) -> u64 {
    let (period, cost) = (limit.period_ms(), u64::from(cost));
    let index = now / period;
    let mut windows = Windows::at(payload, index);
    match index.saturating_sub(at / period) {
        0 => windows.current = windows.current.saturating_sub(cost),
        1 => windows.before = windows.before.saturating_sub(cost),
        _ => {}
    }
    windows.pack()
}

/// What the payload counts at `now`, rounded up.
pub(crate) fn weight(payload: u64, period: u64, now: u64) -> Weight {
    let index = now / period;
    let elapsed = now - index * period;
    let windows = Windows::at(payload, index);
    let hits = windows.current + share(windows.before, period - elapsed, period);
    Weight { hits, age: if windows.current > 0 { elapsed } else { elapsed + period } }
}
