//! The fixed window: a count for each window `[i·W, (i+1)·W)`, from zero.
//!
//! Payload: 26 bits of the window's index above 32 bits of count. Admits a hit of cost n iff
//! `cur + n ≤ L`.

use super::Verdict;
use crate::class::Weight;
use crate::limit::Limit;

const COUNT_BITS: u32 = 32;
const INDEX_MASK: u64 = (1 << 26) - 1;

/// The count of a payload in the window of `index`.
#[expect(clippy::cast_possible_truncation, reason = "the low 32 bits are the count")]
fn count_in(payload: u64, index: u64) -> u32 {
    if payload >> COUNT_BITS == index & INDEX_MASK { payload as u32 } else { 0 }
}

fn pack(index: u64, count: u32) -> u64 {
    if count == 0 { 0 } else { (index & INDEX_MASK) << COUNT_BITS | u64::from(count) }
}

/// Decides on a hit.
#[inline]
pub(crate) fn check(limit: &Limit, payload: u64, now: u64, cost: u32) -> Verdict {
    let period = limit.period_ms();
    let index = now / period;
    let to_end = period - (now - index * period);
    let count = count_in(payload, index);
    match count.checked_add(cost).filter(|after| *after <= limit.count()) {
        Some(after) => Verdict {
            payload: Some(pack(index, after)),
            remaining: limit.count() - after,
            reset_ms: if after == 0 { 0 } else { to_end },
            retry_ms: Some(0),
        },
        None => Verdict {
            payload: None,
            remaining: limit.count().saturating_sub(count),
            reset_ms: if count == 0 { 0 } else { to_end },
            retry_ms: (cost <= limit.count()).then_some(to_end),
        },
    }
}

/// Milliseconds until `demand` fits, `None` if it never does.
pub(crate) fn wait(limit: &Limit, payload: u64, now: u64, demand: u64) -> Option<u64> {
    let period = limit.period_ms();
    let room = u64::from(limit.count()).checked_sub(demand)?;
    let fits = u64::from(count_in(payload, now / period)) <= room;
    Some(if fits { 0 } else { period - now % period })
}

/// Takes back hits of the window of `at`, if it is still the one that counts.
pub(crate) fn refund(limit: &Limit, payload: u64, at: u64, cost: u32) -> u64 {
    let index = at / limit.period_ms();
    match count_in(payload, index) {
        0 => payload,
        count => pack(index, count.saturating_sub(cost)),
    }
}

/// What the payload counts at `now`.
pub(crate) fn weight(payload: u64, period: u64, now: u64) -> Weight {
    Weight { hits: u64::from(count_in(payload, now / period)), age: now % period }
}
