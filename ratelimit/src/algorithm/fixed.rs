//! The fixed window: a count from zero for each window `[i·W, (i+1)·W)`, or for each window of a calendar.
//!
//! Payload: 26 bits of the window's index above 32 bits of count. A request of cost n is allowed iff
//! `cur + n ≤ L`.

use super::{Holding, Verdict, Window};

const COUNT_BITS: u32 = 32;
const INDEX_MASK: u64 = (1 << 26) - 1;

/// A limit of `count` in each window.
#[derive(Clone, Copy)]
pub(crate) struct Fixed {
    pub(crate) count: u32,
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
    /// Decides on a request of `cost` in a window.
    #[inline]
    pub(crate) fn check(self, payload: u64, window: Window, cost: u32) -> Verdict {
        let Window { index, to_end_ms, .. } = window;
        let count = count_in(payload, index);
        match count.checked_add(cost).filter(|after| *after <= self.count) {
            Some(after) => Verdict {
                payload: Some(pack(index, after)),
                remaining: self.count - after,
                reset_ms: if after == 0 { 0 } else { to_end_ms },
                retry_ms: Some(0),
            },
            None => Verdict {
                payload: None,
                remaining: self.count.saturating_sub(count),
                reset_ms: if count == 0 { 0 } else { to_end_ms },
                retry_ms: (cost <= self.count).then_some(to_end_ms),
            },
        }
    }

    /// Counts `cost` whatever the limit is. A count that is full stays full.
    pub(crate) fn record(payload: u64, window: Window, cost: u32) -> u64 {
        pack(window.index, count_in(payload, window.index).saturating_add(cost))
    }

    /// Returns the milliseconds until `demand` fits, or `None` if it never fits.
    pub(crate) fn wait(self, payload: u64, window: Window, demand: u64) -> Option<u64> {
        let room = u64::from(self.count).checked_sub(demand)?;
        let fits = u64::from(count_in(payload, window.index)) <= room;
        Some(if fits { 0 } else { window.to_end_ms })
    }

    /// Gives back `cost` that was counted in a window, if the payload still counts it.
    pub(crate) fn refund(payload: u64, window: Window, cost: u32) -> u64 {
        match count_in(payload, window.index) {
            0 => payload,
            count => pack(window.index, count.saturating_sub(cost)),
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

/// Returns what a payload holds in a window.
pub(crate) fn holding(payload: u64, window: Window) -> Holding {
    let cost = u64::from(count_in(payload, window.index));
    Holding { cost, lasts_ms: window.to_end_ms, age_ms: window.age_ms }
}
