//! The three algorithms, as pure functions of a counter's payload, a time and a cost.
//!
//! This is the lowest layer of the crate: it knows neither [`Limit`](crate::Limit) nor the table. Each
//! submodule has one type with the parameters that its algorithm needs.
//!
//! A payload has [`PAYLOAD_BITS`] bits, and zero is a counter that holds nothing. Times are milliseconds
//! since the Unix epoch. Window algorithms keep the low bits of the window's index and GCRA keeps the
//! low bits of its time, so the age of a payload is known only modulo 2^16 windows (sliding), 2^26
//! windows (fixed) or 8.7 years (GCRA). The caller guarantees that `now` is not before the time at
//! which the payload was written.

pub(crate) mod fixed;
pub(crate) mod gcra;
pub(crate) mod sliding;

/// The bits of a payload.
pub(crate) const PAYLOAD_BITS: u32 = 58;

/// The longest period of a limit in milliseconds: two years of 366 days.
pub(crate) const MAX_PERIOD_MS: u64 = 2 * 366 * 24 * 60 * 60 * 1000;

/// The result of an algorithm for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The payload with the request counted; `None` if the limit denies the request.
    pub(crate) payload: Option<u64>,
    /// The cost that is still free, after the request was counted or denied.
    pub(crate) remaining: u32,
    /// Milliseconds until the window ends, or, with GCRA, until the whole limit is free.
    pub(crate) reset_ms: u64,
    /// Milliseconds until the same request would be allowed; `None` if it never will be.
    pub(crate) retry_ms: Option<u64>,
}

/// The window that a time is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// The number of the window: a later window has a greater one.
    pub(crate) index: u64,
    /// Milliseconds until it ends.
    pub(crate) to_end_ms: u64,
    /// Milliseconds since it began.
    pub(crate) age_ms: u64,
}

impl Window {
    /// Returns the window of `period` milliseconds since the Unix epoch.
    #[inline]
    pub(crate) fn aligned(period: u64, now: u64) -> Window {
        let index = now / period;
        let age_ms = now - index * period;
        Window { index, to_end_ms: period - age_ms, age_ms }
    }
}

/// What a counter holds, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holding {
    /// The cost that counts now, rounded up.
    pub(crate) cost: u64,
    /// Milliseconds until it holds nothing, if nothing else is counted.
    pub(crate) lasts_ms: u64,
    /// Milliseconds since the start of the window in which the counter last changed.
    pub(crate) age_ms: u64,
}
