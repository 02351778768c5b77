//! The fixed window: a count from zero for each window `[i·W, (i+1)·W)`.
//!
//! Payload: 26 bits of the window's index above 32 bits of count. A request of cost n is allowed iff
//! `cur + n ≤ L`.

use super::{Holding, Verdict};

const COUNT_BITS: u32 = 32;
const INDEX_MASK: u64 = (1 << 26) - 1;

/// A limit of `count` in each window of `period` milliseconds.
#[derive(Clone, Copy)]
pub(crate) struct Fixed {
    pub(crate) count: u32,
    pub(crate) period: u64,
}

/// Returns the count of a payload in the window of `index`.
#[expect(clippy::cast_possible_truncation, reason = "the low 32 bits are the count")]
fn count_in(payload: u64, index: u64) -> u32 {
    if payload >> COUNT_BITS == index & INDEX_MASK { payload as u32 } else { 0 }
}

fn pack(index: u64, count: u32) -> u64 {
    if count == 0 { 0 } else { (index & INDEX_MASK) << COUNT_BITS | u64::from(count) }
}

impl Fixed {
    /// Decides on a request of `cost` at `now`.
    #[inline]
    pub(crate) fn check(self, payload: u64, now: u64, cost: u32) -> Verdict {
        let index = now / self.period;
        let to_end = self.period - (now - index * self.period);
        let count = count_in(payload, index);
        match count.checked_add(cost).filter(|after| *after <= self.count) {
            Some(after) => Verdict {
                payload: Some(pack(index, after)),
                remaining: self.count - after,
                reset_ms: if after == 0 { 0 } else { to_end },
                retry_ms: Some(0),
            },
            None => Verdict {
                payload: None,
                remaining: self.count.saturating_sub(count),
                reset_ms: if count == 0 { 0 } else { to_end },
                retry_ms: (cost <= self.count).then_some(to_end),
            },
        }
    }

    /// Counts `cost` whatever the limit is. A count that is full stays full.
    pub(crate) fn record(self, payload: u64, now: u64, cost: u32) -> u64 {
        let index = now / self.period;
        pack(index, count_in(payload, index).saturating_add(cost))
    }

    /// Returns the milliseconds until `demand` fits, or `None` if it never fits.
    pub(crate) fn wait(self, payload: u64, now: u64, demand: u64) -> Option<u64> {
        let room = u64::from(self.count).checked_sub(demand)?;
        let fits = u64::from(count_in(payload, now / self.period)) <= room;
        Some(if fits { 0 } else { self.period - now % self.period })
    }

    /// Gives back `cost` that was counted at `at`, if the payload still counts that window.
    pub(crate) fn refund(self, payload: u64, at: u64, cost: u32) -> u64 {
        let index = at / self.period;
        match count_in(payload, index) {
            0 => payload,
            count => pack(index, count.saturating_sub(cost)),
        }
    }
}

/// Returns the counts of the windows before `index`, which is not kept, and of `index`.
pub(crate) fn counts(payload: u64, index: u64) -> [u32; 2] {
    [0, count_in(payload, index)]
}

/// Returns the payload with this count in the window of `index`; that of the window before is not kept.
pub(crate) fn payload(index: u64, counts: [u32; 2]) -> u64 {
    pack(index, counts[1])
}

/// Returns what a payload holds at `now`.
pub(crate) fn holding(payload: u64, period: u64, now: u64) -> Holding {
    let (cost, age_ms) = (u64::from(count_in(payload, now / period)), now % period);
    Holding { cost, lasts_ms: period - age_ms, age_ms }
}
