//! The generic cell rate algorithm (ITU-T I.371; Brandan, "Rate limiting, cells, and GCRA").
//!
//! The state is the theoretical arrival time (TAT): the time at which the bucket will be empty. A hit
//! of cost n is admitted iff `max(TAT, t) + n·T − t ≤ B·T`, and moves TAT by `n·T`, where `T = W/L` is
//! the interval of one hit and B the burst.
//!
//! Payload: 58 bits of TAT, 2^-20 ms (1 ns) a unit. T is rounded up, so the bound holds exactly and the
//! rate is low by less than one part in a thousand.

use super::Verdict;
use crate::class::Weight;
use crate::limit::{Limit, MAX_PERIOD_MS};

/// The bits of a fraction of a millisecond.
const FRACTION_BITS: u32 = 20;
const TAT_MASK: u64 = (1 << 58) - 1;
/// The longest that a full bucket takes to drain, in units: a quarter of what TAT can tell.
const MAX_DRAIN: u64 = MAX_PERIOD_MS << FRACTION_BITS;
/// The bits of an interval as a float: six of exponent, three of mantissa.
pub(crate) const FLOAT_BITS: u32 = 9;

/// The largest count for a period: T is at least 2^10 units, so rounding it up is less than 0.1 %.
pub(crate) fn most(period: u64) -> u32 {
    u32::try_from(period << (FRACTION_BITS - 10)).unwrap_or(u32::MAX)
}

/// T in units, rounded up; zero if there is no rate.
pub(crate) fn interval(count: u32, period: u64) -> u64 {
    if count == 0 { 0 } else { (period << FRACTION_BITS).div_ceil(u64::from(count)) }
}

/// The largest burst that drains within the longest period.
pub(crate) fn most_burst(interval: u64) -> u32 {
    MAX_DRAIN.checked_div(interval).map_or(u32::MAX, |most| u32::try_from(most).unwrap_or(u32::MAX))
}

fn units(now: u64) -> u64 {
    now << FRACTION_BITS & TAT_MASK
}

/// How far TAT is ahead of `now`, in units: zero if it has passed. A zero payload has.
#[inline]
fn backlog(payload: u64, now: u64) -> u64 {
    let ahead = payload.wrapping_sub(units(now)) & TAT_MASK;
    if payload == 0 || ahead > MAX_DRAIN { 0 } else { ahead }
}

/// TAT for a backlog. Never zero: the one TAT in 2^58 that would be is a unit later.
#[inline]
fn tat(backlog: u64, now: u64) -> u64 {
    if backlog == 0 { 0 } else { (units(now).wrapping_add(backlog) & TAT_MASK).max(1) }
}

/// Decides on a hit.
#[inline]
pub(crate) fn check(limit: &Limit, payload: u64, now: u64, cost: u32) -> Verdict {
    let interval = limit.interval();
    if interval == 0 {
        let payload = (cost == 0).then_some(payload);
        return Verdict { payload, remaining: 0, reset_ms: 0, retry_ms: payload.map(|_| 0) };
    }
    let tolerance = interval * u64::from(limit.burst());
    let held = backlog(payload, now);
    let taken = interval.saturating_mul(u64::from(cost));
    match held.checked_add(taken).filter(|after| *after <= tolerance) {
        Some(after) => Verdict {
            payload: Some(tat(after, now)),
            remaining: whole(tolerance - after, interval),
            reset_ms: millis(after),
            retry_ms: Some(0),
        },
        None => Verdict {
            payload: None,
            remaining: whole(tolerance.saturating_sub(held), interval),
            reset_ms: millis(held),
            retry_ms: tolerance.checked_sub(taken).map(|room| millis(held - room)),
        },
    }
}

/// What a hit takes, in units: without a rate, more than there can be.
pub(crate) fn demand(limit: &Limit, cost: u32) -> u64 {
    match (limit.interval(), cost) {
        (_, 0) => 0,
        (0, _) => u64::MAX,
        (interval, _) => interval.saturating_mul(u64::from(cost)),
    }
}

/// Milliseconds until `demand`, in units, fits; `None` if it never does.
pub(crate) fn wait(limit: &Limit, payload: u64, now: u64, demand: u64) -> Option<u64> {
    if limit.interval() == 0 {
        return (demand == 0).then_some(0);
    }
    let room = (limit.interval() * u64::from(limit.burst())).checked_sub(demand)?;
    Some(millis(backlog(payload, now).saturating_sub(room)))
}

/// How many intervals fit.
fn whole(units: u64, interval: u64) -> u32 {
    u32::try_from(units / interval).unwrap_or(u32::MAX)
}

/// Units as milliseconds, rounded up.
fn millis(units: u64) -> u64 {
    units.div_ceil(1 << FRACTION_BITS)
}

/// Takes back what was counted at `at`: the bucket is emptied by as much of it as cannot have drained
/// since, and not below empty.
pub(crate) fn refund(limit: &Limit, payload: u64, at: u64, now: u64, cost: u32) -> u64 {
    let drained = now.saturating_sub(at).saturating_mul(1 << FRACTION_BITS);
    let taken = limit.interval().saturating_mul(u64::from(cost));
    let back = taken.saturating_sub(drained);
    tat(backlog(payload, now).saturating_sub(back), now)
}

/// How many hits of a class's interval the bucket holds at `now`.
pub(crate) fn weight(payload: u64, float: u16, now: u64) -> Weight {
    let interval = unfloat(float);
    let held = backlog(payload, now);
    // The more it holds, the later it was hit; an hour stands for a time that is not known.
    let age = (60 * 60 * 1000_u64).saturating_sub(millis(held));
    Weight { hits: held.div_ceil(interval), age }
}

/// An interval as a float, rounded down.
#[expect(
    clippy::cast_possible_truncation,
    reason = "three bits are left, and an exponent below 64"
)]
pub(crate) fn float(interval: u64) -> u16 {
    let exponent = interval.max(8).ilog2();
    let mantissa = (interval.max(8) >> (exponent - 3)) as u16 & 7;
    (exponent as u16) << 3 | mantissa
}

/// The interval that [`float`] was given, or up to an eighth less.
fn unfloat(float: u16) -> u64 {
    let (exponent, mantissa) = ((float >> 3).clamp(3, 60), u64::from(float & 7));
    (8 | mantissa) << (exponent - 3)
}
