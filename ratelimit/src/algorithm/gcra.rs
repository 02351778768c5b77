//! The generic cell rate algorithm: ITU-T Recommendation I.371 (Traffic control and congestion control
//! in B-ISDN), Annex A; for HTTP, Brandur Leach, "Rate Limiting, Cells, and GCRA" (2015).
//!
//! The state is the theoretical arrival time (TAT): the time at which the bucket will be empty. A
//! request of cost n is allowed iff `max(TAT, t) + n·T − t ≤ B·T`, and it moves TAT by `n·T`. `T = W/L`
//! is the interval that a cost of 1 takes, and B is the burst.
//!
//! Payload: 58 bits of TAT in units of 2^-20 ms (about 1 ns). T is rounded up, so the bound holds exactly
//! and the rate is low by less than one part in a thousand.

use super::{Holding, MAX_PERIOD_MS, PAYLOAD_BITS, Verdict};

/// The bits of the fraction of a millisecond.
const FRACTION_BITS: u32 = 20;
const TAT_MASK: u64 = (1 << PAYLOAD_BITS) - 1;
/// The longest time in units that a full bucket takes to drain: a quarter of the range of TAT.
const MAX_DRAIN: u64 = MAX_PERIOD_MS << FRACTION_BITS;
/// The bits of a drain as a float: six of exponent, three of mantissa.
pub(crate) const FLOAT_BITS: u32 = 9;

/// A bucket that holds a cost of `burst` and drains a cost of 1 in `interval` units.
#[derive(Clone, Copy)]
pub(crate) struct Gcra {
    /// Zero if the limit allows nothing.
    pub(crate) interval: u64,
    pub(crate) burst: u32,
}

/// Returns the largest count for a period. T is then at least 2^10 units, so that rounding it up costs
/// less than 0.1 %.
pub(crate) fn max_count(period: u64) -> u32 {
    u32::try_from(period << (FRACTION_BITS - 10)).unwrap_or(u32::MAX)
}

/// Returns T in units, rounded up, or zero if there is no rate.
pub(crate) fn interval(count: u32, period: u64) -> u64 {
    if count == 0 { 0 } else { (period << FRACTION_BITS).div_ceil(u64::from(count)) }
}

/// Returns the largest burst that drains within the longest period.
pub(crate) fn max_burst(interval: u64) -> u32 {
    MAX_DRAIN.checked_div(interval).map_or(u32::MAX, |max| u32::try_from(max).unwrap_or(u32::MAX))
}

fn units(now: u64) -> u64 {
    now << FRACTION_BITS & TAT_MASK
}

/// Returns how far TAT is ahead of `now`, in units: zero if it has passed, as for a zero payload.
#[inline]
fn backlog(payload: u64, now: u64) -> u64 {
    let ahead = payload.wrapping_sub(units(now)) & TAT_MASK;
    if payload == 0 || ahead > MAX_DRAIN { 0 } else { ahead }
}

/// Returns the TAT of a backlog. It is never zero, because a zero payload is an empty counter: the one
/// TAT in 2^58 that would be zero is a unit later.
#[inline]
fn tat(backlog: u64, now: u64) -> u64 {
    if backlog == 0 { 0 } else { (units(now).wrapping_add(backlog) & TAT_MASK).max(1) }
}

impl Gcra {
    /// Decides on a request of `cost` at `now`.
    #[inline]
    pub(crate) fn check(self, payload: u64, now: u64, cost: u32) -> Verdict {
        if self.interval == 0 {
            let payload = (cost == 0).then_some(payload);
            return Verdict { payload, remaining: 0, reset_ms: 0, retry_ms: payload.map(|_| 0) };
        }
        let tolerance = self.tolerance();
        let held = backlog(payload, now);
        let taken = self.interval.saturating_mul(u64::from(cost));
        match held.checked_add(taken).filter(|after| *after <= tolerance) {
            Some(after) => Verdict {
                payload: Some(tat(after, now)),
                remaining: whole(tolerance - after, self.interval),
                reset_ms: millis(after),
                retry_ms: Some(0),
            },
            None => Verdict {
                payload: None,
                remaining: whole(tolerance.saturating_sub(held), self.interval),
                reset_ms: millis(held),
                retry_ms: tolerance.checked_sub(taken).map(|room| millis(held - room)),
            },
        }
    }

    /// Counts `cost` whatever the burst is. A bucket holds at most what drains within the longest period.
    pub(crate) fn record(self, payload: u64, now: u64, cost: u32) -> u64 {
        let taken = self.interval.saturating_mul(u64::from(cost));
        tat(backlog(payload, now).saturating_add(taken).min(MAX_DRAIN), now)
    }

    /// Returns what a cost takes, in units. Without a rate it is more than there can be.
    pub(crate) fn demand(self, cost: u32) -> u64 {
        match (self.interval, cost) {
            (_, 0) => 0,
            (0, _) => u64::MAX,
            (interval, _) => interval.saturating_mul(u64::from(cost)),
        }
    }

    /// Returns the milliseconds until `demand`, in units, fits, or `None` if it never fits.
    pub(crate) fn wait(self, payload: u64, now: u64, demand: u64) -> Option<u64> {
        if self.interval == 0 {
            return (demand == 0).then_some(0);
        }
        let room = self.tolerance().checked_sub(demand)?;
        Some(millis(backlog(payload, now).saturating_sub(room)))
    }

    /// Gives back `cost` that was counted at `at`: drains the bucket by the part of it that cannot have
    /// drained since, and not below empty.
    pub(crate) fn refund(self, payload: u64, at: u64, now: u64, cost: u32) -> u64 {
        let drained = now.saturating_sub(at).saturating_mul(1 << FRACTION_BITS);
        let taken = self.interval.saturating_mul(u64::from(cost));
        let back = taken.saturating_sub(drained);
        tat(backlog(payload, now).saturating_sub(back), now)
    }

    /// Returns the units of a full bucket.
    #[inline]
    fn tolerance(self) -> u64 {
        self.interval * u64::from(self.burst)
    }
}

/// Returns how many intervals fit.
fn whole(units: u64, interval: u64) -> u32 {
    u32::try_from(units / interval).unwrap_or(u32::MAX)
}

/// Converts units to milliseconds, rounded up.
fn millis(units: u64) -> u64 {
    units.div_ceil(1 << FRACTION_BITS)
}

/// The parts of a full bucket in which [`holding`] counts.
pub(crate) const PARTS: u64 = 8;

/// Returns what a payload holds at `now`, as parts of the full bucket, whose drain is given as a [`float`].
pub(crate) fn holding(payload: u64, float: u16, now: u64) -> Holding {
    let held = backlog(payload, now);
    // The payload has no time of the last change. A bucket that holds more was probably filled later;
    // an hour stands for the unknown age of an empty one.
    let age_ms = (60 * 60 * 1000_u64).saturating_sub(millis(held));
    Holding { cost: (held * PARTS).div_ceil(unfloat(float)), lasts_ms: millis(held), age_ms }
}

/// Returns the units in which a full bucket drains, as a float, rounded down.
#[expect(
    clippy::cast_possible_truncation,
    reason = "three bits are left, and an exponent below 64"
)]
pub(crate) fn float(drain: u64) -> u16 {
    let exponent = drain.max(8).ilog2();
    let mantissa = (drain.max(8) >> (exponent - 3)) as u16 & 7;
    (exponent as u16) << 3 | mantissa
}

/// Returns the units that [`float`] was given, or up to an eighth less.
fn unfloat(float: u16) -> u64 {
    let (exponent, mantissa) = ((float >> 3).clamp(3, 60), u64::from(float & 7));
    (8 | mantissa) << (exponent - 3)
}
