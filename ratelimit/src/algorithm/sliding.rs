//! The sliding window of two counters, in integers.
//!
//! With window `i = now div W`, `e = now mod W`, and the counts of this window and of the previous one, a
//! request of cost n is allowed iff `prev·(W−e) + (cur+n)·W ≤ L·W`. This is Cloudflare's rule (Julien
//! Desgats, "How we built rate limiting capable of scaling to millions of domains", 2017) without
//! rounding.
//!
//! Payload: 16 bits of the window's index, 21 bits of the previous count, 21 bits of the current count.

use super::{Holding, Verdict};

const COUNT_BITS: u32 = 21;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const INDEX_MASK: u64 = (1 << 16) - 1;

/// The largest limit that the counts can hold.
pub(crate) const MAX_COUNT: u32 = (1 << COUNT_BITS) - 1;

/// A limit of `count` in any `period` milliseconds.
#[derive(Clone, Copy)]
pub(crate) struct Sliding {
    pub(crate) count: u32,
    pub(crate) period: u64,
}

/// The two counts, as of the window of `index`.
#[derive(Clone, Copy)]
struct Windows {
    index: u64,
    previous: u64,
    current: u64,
}

impl Windows {
    /// Reads a payload and advances it to the window of `index`.
    #[inline]
    fn at(payload: u64, index: u64) -> Windows {
        let (previous, current) = (payload >> COUNT_BITS & COUNT_MASK, payload & COUNT_MASK);
        match index.wrapping_sub(payload >> (2 * COUNT_BITS)) & INDEX_MASK {
            0 => Windows { index, previous, current },
            1 => Windows { index, previous: current, current: 0 },
            _ => Windows { index, previous: 0, current: 0 },
        }
    }

    #[inline]
    fn pack(self) -> u64 {
        if self.previous | self.current == 0 {
            return 0;
        }
        (self.index & INDEX_MASK) << (2 * COUNT_BITS) | self.previous << COUNT_BITS | self.current
    }
}

/// Returns `⌈count·left/period⌉`: what the previous window still counts. The product is below 2^57.
#[inline]
fn share(count: u64, left: u64, period: u64) -> u64 {
    if count == 0 { 0 } else { (count * left).div_ceil(period) }
}

impl Sliding {
    /// Decides on a request of `cost` at `now`.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "`remaining` is at most the limit, a u32")]
    pub(crate) fn check(self, payload: u64, now: u64, cost: u32) -> Verdict {
        let period = self.period;
        let (max, cost) = (u64::from(self.count), u64::from(cost));
        let index = now / period;
        let elapsed = now - index * period;
        let left = period - elapsed;
        let mut windows = Windows::at(payload, index);
        // This is `prev·(W−e) + (cur+n)·W ≤ L·W` divided by W. All terms but the share are integers, so
        // the share may be rounded up.
        let used = windows.current + share(windows.previous, left, period);
        let allowed = used + cost <= max;
        if allowed {
            windows.current += cost;
        }
        let reset_ms = if windows.current | windows.previous == 0 { 0 } else { left };
        if allowed {
            let remaining = (max - used - cost) as u32;
            Verdict { payload: Some(windows.pack()), remaining, reset_ms, retry_ms: Some(0) }
        } else {
            let retry_ms = max.checked_sub(cost).map(|room| until(windows, elapsed, period, room));
            let remaining = max.saturating_sub(used) as u32;
            let reset_ms = reset_ms.max(retry_ms.unwrap_or(0));
            Verdict { payload: None, remaining, reset_ms, retry_ms }
        }
    }

    /// Counts `cost` whatever the limit is. A count that is full stays full.
    pub(crate) fn record(self, payload: u64, now: u64, cost: u32) -> u64 {
        let mut windows = Windows::at(payload, now / self.period);
        windows.current = (windows.current + u64::from(cost)).min(COUNT_MASK);
        windows.pack()
    }

    /// Returns the milliseconds until `demand` fits, or `None` if it never fits.
    pub(crate) fn wait(self, payload: u64, now: u64, demand: u64) -> Option<u64> {
        let index = now / self.period;
        let room = u64::from(self.count).checked_sub(demand)?;
        Some(until(Windows::at(payload, index), now - index * self.period, self.period, room))
    }

    /// Gives back `cost` that was counted in the window of `at`.
    pub(crate) fn refund(self, payload: u64, at: u64, now: u64, cost: u32) -> u64 {
        let (period, cost) = (self.period, u64::from(cost));
        let index = now / period;
        let mut windows = Windows::at(payload, index);
        match index.saturating_sub(at / period) {
            0 => windows.current = windows.current.saturating_sub(cost),
            1 => windows.previous = windows.previous.saturating_sub(cost),
            _ => {}
        }
        windows.pack()
    }
}

/// Returns the milliseconds from `elapsed` until at most `room` is counted; zero if that is so now.
fn until(windows: Windows, elapsed: u64, period: u64, room: u64) -> u64 {
    if let Some(free) = room.checked_sub(windows.current) {
        let at = falls_to(windows.previous, free, period);
        if at < period {
            return at.saturating_sub(elapsed);
        }
    }
    period - elapsed + falls_to(windows.current, room, period)
}

/// Returns the first `e` at which `count·(W−e) ≤ free·W`.
fn falls_to(count: u64, free: u64, period: u64) -> u64 {
    if free >= count { 0 } else { period - free * period / count }
}

/// Returns the counts of the windows before `index` and of `index`.
#[expect(clippy::cast_possible_truncation, reason = "a count has 21 bits")]
pub(crate) fn counts(payload: u64, index: u64) -> [u32; 2] {
    let windows = Windows::at(payload, index);
    [windows.previous as u32, windows.current as u32]
}

/// Returns the payload with these counts of the windows before `index` and of `index`. A count that is full stays full.
pub(crate) fn payload(index: u64, counts: [u32; 2]) -> u64 {
    let [previous, current] = counts.map(|count| u64::from(count).min(COUNT_MASK));
    Windows { index, previous, current }.pack()
}

/// Returns what a payload holds at `now`.
pub(crate) fn holding(payload: u64, period: u64, now: u64) -> Holding {
    let index = now / period;
    let elapsed = now - index * period;
    let left = period - elapsed;
    let windows = Windows::at(payload, index);
    let cost = windows.current + share(windows.previous, left, period);
    if windows.current > 0 {
        Holding { cost, lasts_ms: left + period, age_ms: elapsed }
    } else {
        Holding { cost, lasts_ms: left, age_ms: elapsed + period }
    }
}
