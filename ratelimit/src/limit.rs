//! Limits: a count per period, and the algorithm that counts.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::algorithm::{MAX_PERIOD_MS, gcra, sliding};
use crate::calendar::Calendar;

/// The way in which requests are counted. The documentation of the crate compares the algorithms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// The previous window counts by the share of it that is still within one period (Cloudflare, 2017).
    #[default]
    Sliding,
    /// Windows aligned to the Unix epoch, each with a count from zero.
    Fixed,
    /// The generic cell rate algorithm (ITU-T I.371): a leaky bucket as a meter.
    Gcra,
}

impl Algorithm {
    /// Returns the name in settings and on the wire: `sliding`, `fixed` or `gcra`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Sliding => "sliding",
            Algorithm::Fixed => "fixed",
            Algorithm::Gcra => "gcra",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = LimitError;

    fn from_str(name: &str) -> Result<Algorithm, LimitError> {
        match name {
            "sliding" => Ok(Algorithm::Sliding),
            "fixed" => Ok(Algorithm::Fixed),
            "gcra" => Ok(Algorithm::Gcra),
            _ => Err(LimitError::UnknownAlgorithm),
        }
    }
}

/// The reason why a [`Limit`] is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// The period is not a whole number of milliseconds, or is out of bounds.
    #[error("a period is a whole number of milliseconds, from 1 ms to 63244800000 ms (two years)")]
    Period,
    /// The count is more than a counter of this algorithm and period can hold.
    #[error("a {algorithm} limit of {count} in {period_ms} ms is too large: the most is {max}")]
    Count {
        /// The requested algorithm.
        algorithm: Algorithm,
        /// The requested count.
        count: u32,
        /// The requested period in milliseconds.
        period_ms: u64,
        /// The largest count for this algorithm and period.
        max: u32,
    },
    /// The burst is zero, or takes longer than the longest period to drain.
    #[error(
        "a burst of {burst} is out of bounds: it is from 1 to {max} with this count and period"
    )]
    Burst {
        /// The requested burst.
        burst: u32,
        /// The largest burst for this count and period.
        max: u32,
    },
    /// The limit is global and its algorithm is GCRA.
    #[error(
        "a global limit can't use gcra, whose counters of several locations can't be added: use sliding or fixed"
    )]
    GlobalGcra,
    /// The limit is global and has windows of a calendar.
    #[error(
        "a limit with windows of a calendar can't be global, each location counts its own: use a period"
    )]
    GlobalCalendar,
    /// The name is not the name of an algorithm.
    #[error("an algorithm is one of sliding, fixed, gcra")]
    UnknownAlgorithm,
}

/// A count per period, and the algorithm that counts: the threshold that a counter is compared with.
///
/// A counter is named by namespace, key, period and algorithm. The count and the burst are not part of
/// the name, so they may change while the counter is in use, and the counter keeps its value.
///
/// ```
/// use std::time::Duration;
/// use ratelimit::{Limit, LimitError};
///
/// let minute = Duration::from_secs(60);
/// let login = Limit::sliding(5, minute)?;
/// let steady = Limit::gcra(600, 10, minute)?; // 10 a second, at most 10 at once
/// assert_eq!((login.burst(), steady.burst()), (5, 10));
/// assert_eq!(Limit::sliding(5, Duration::ZERO), Err(LimitError::Period));
/// # Ok::<(), LimitError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    algorithm: Algorithm,
    shadow: bool,
    guest: bool,
    global: bool,
    count: u32,
    burst: u32,
    period_ms: u64,
    /// The calendar whose windows count, in place of the period.
    calendar: Option<Calendar>,
    /// For GCRA, what a cost of 1 takes in its units of time. Zero for the window algorithms and for a
    /// count of zero.
    interval: u64,
}

impl Limit {
    /// The longest period: two years of 366 days.
    pub const MAX_PERIOD: Duration = Duration::from_millis(MAX_PERIOD_MS);

    /// Creates a limit of `count` in any `period`, by the sliding window of two counters. A count of
    /// zero denies every request.
    ///
    /// # Errors
    /// [`LimitError::Period`] or [`LimitError::Count`] if one of them is out of bounds; see
    /// [`Limit::max_count`].
    pub fn sliding(count: u32, period: Duration) -> Result<Limit, LimitError> {
        Limit::new(Algorithm::Sliding, count, period)
    }

    /// Creates a limit of `count` in each window of `period`. A count of zero denies every request.
    ///
    /// # Errors
    /// [`LimitError::Period`] if the period is out of bounds.
    pub fn fixed(count: u32, period: Duration) -> Result<Limit, LimitError> {
        Limit::new(Algorithm::Fixed, count, period)
    }

    /// Creates a limit of `count` per `period`, evenly spread, with at most `burst` at once, by GCRA.
    ///
    /// A `burst` equal to `count` is the common choice. A `burst` of 1 means that two requests are at
    /// least `period / count` apart. A count of zero denies every request.
    ///
    /// # Errors
    /// [`LimitError::Period`], [`LimitError::Count`] or [`LimitError::Burst`] if one of them is out of
    /// bounds; see [`Limit::max_count`].
    pub fn gcra(count: u32, burst: u32, period: Duration) -> Result<Limit, LimitError> {
        let limit = Limit::new(Algorithm::Gcra, count, period)?;
        let max = gcra::max_burst(limit.interval);
        if burst == 0 || burst > max {
            return Err(LimitError::Burst { burst, max });
        }
        Ok(Limit { burst, ..limit })
    }

    /// Creates a limit for any algorithm. For GCRA, the burst is `count`, or the largest possible burst
    /// if that is less.
    ///
    /// # Errors
    /// [`LimitError::Period`] or [`LimitError::Count`] if one of them is out of bounds; see
    /// [`Limit::max_count`].
    pub fn new(algorithm: Algorithm, count: u32, period: Duration) -> Result<Limit, LimitError> {
        let period_ms = whole_ms(period).ok_or(LimitError::Period)?;
        let max = max_count(algorithm, period_ms);
        if count > max {
            return Err(LimitError::Count { algorithm, count, period_ms, max });
        }
        let (interval, burst) = match algorithm {
            Algorithm::Gcra => {
                let interval = gcra::interval(count, period_ms);
                (interval, count.min(gcra::max_burst(interval)).max(1))
            }
            Algorithm::Sliding | Algorithm::Fixed => (0, count),
        };
        let (shadow, guest, global, calendar) = (false, false, false, None);
        Ok(Limit { algorithm, shadow, guest, global, count, burst, period_ms, calendar, interval })
    }

    /// Returns this limit with another count: of the same period and algorithm, so of the same counters. A count that
    /// is too large becomes the largest. The burst of GCRA stays, unless it equals the count: then it follows the count.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ratelimit::{Algorithm, Limit};
    /// let limit = Limit::sliding(100, Duration::from_secs(60))?;
    /// assert_eq!(limit.with_count(500), Limit::sliding(500, Duration::from_secs(60))?);
    /// let most = Limit::max_count(Algorithm::Sliding, limit.period());
    /// assert_eq!(Some(limit.with_count(u32::MAX).count()), most);
    /// # Ok::<(), ratelimit::LimitError>(())
    /// ```
    #[must_use]
    pub fn with_count(self, count: u32) -> Limit {
        let count = count.min(max_count(self.algorithm, self.period_ms));
        if self.algorithm != Algorithm::Gcra {
            return Limit { count, burst: count, ..self };
        }
        let interval = gcra::interval(count, self.period_ms);
        let burst = if self.burst == self.count { count } else { self.burst };
        Limit { count, interval, burst: burst.min(gcra::max_burst(interval)).max(1), ..self }
    }

    /// Creates a limit of `count` in each window of a calendar: 100,000 a month, from the first midnight of the month in
    /// a time zone. The algorithm is the fixed window. A count of zero denies every request.
    #[cfg(feature = "calendar")]
    #[must_use]
    pub fn calendar_windows(count: u32, calendar: Calendar) -> Limit {
        Limit {
            algorithm: Algorithm::Fixed,
            shadow: false,
            guest: false,
            global: false,
            count,
            burst: count,
            period_ms: calendar.nominal_ms(),
            calendar: Some(calendar),
            interval: 0,
        }
    }

    /// Returns the calendar whose windows count, if it is one.
    #[cfg(feature = "calendar")]
    #[must_use]
    pub fn calendar(&self) -> Option<Calendar> {
        self.calendar
    }

    /// Returns the largest count of an algorithm for a period, or `None` if the period is out of bounds.
    ///
    /// | algorithm | the largest count |
    /// |---|---|
    /// | sliding | 2,097,151 |
    /// | fixed | 4,294,967,295 |
    /// | GCRA | 1,024 for each millisecond of the period |
    #[must_use]
    pub fn max_count(algorithm: Algorithm, period: Duration) -> Option<u32> {
        Some(max_count(algorithm, whole_ms(period)?))
    }

    /// Turns shadow mode on or off. In shadow mode a denial is reported in
    /// [`Decision::shadowed`](crate::Decision::shadowed) and the request is allowed. Counting does not
    /// change: only requests within the limit count.
    #[must_use]
    pub fn shadow(self, shadow: bool) -> Limit {
        Limit { shadow, ..self }
    }

    /// Makes the limit a guest or not. In a limiter that has a share for guests
    /// ([`Builder::guests`](crate::Builder::guests)), the counters of guests never evict those of other
    /// limits: use it for limits, periods and namespaces that clients name. Elsewhere it has no effect.
    #[must_use]
    pub fn guest(self, guest: bool) -> Limit {
        Limit { guest, ..self }
    }

    /// Makes the limit one limit across all locations or not. A counter of a global limit is another one than that of
    /// the same limit of a location. In a limiter that shares nothing ([`Builder::global`](crate::Builder::global)) a
    /// global limit counts what this limiter allows.
    ///
    /// # Errors
    /// [`LimitError::GlobalGcra`] if the algorithm is GCRA: its state is a time, and times of several locations can't
    /// be added. [`LimitError::GlobalCalendar`] if its windows are those of a calendar.
    pub fn global(self, global: bool) -> Result<Limit, LimitError> {
        if global && self.algorithm == Algorithm::Gcra {
            return Err(LimitError::GlobalGcra);
        }
        if global && self.calendar.is_some() {
            return Err(LimitError::GlobalCalendar);
        }
        Ok(Limit { global, ..self })
    }

    /// Returns the algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the cost that is allowed per period.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Returns the cost that is allowed at once: the burst of GCRA, or the count of a window algorithm.
    #[must_use]
    pub fn burst(&self) -> u32 {
        if self.count == 0 { 0 } else { self.burst }
    }

    /// Returns the period; for windows of a calendar about as long as one of them, such as 30 days for a month.
    #[must_use]
    pub fn period(&self) -> Duration {
        Duration::from_millis(self.period_ms)
    }

    /// Returns a number for the windows of the limit: limits with one number and one algorithm share their counters. It is
    /// the period in milliseconds, or above the longest period for a calendar.
    #[must_use]
    #[inline]
    pub fn window_id(&self) -> u64 {
        self.calendar.map_or(self.period_ms, Calendar::code)
    }

    /// Returns the period in milliseconds.
    #[must_use]
    pub fn period_ms(&self) -> u64 {
        self.period_ms
    }

    /// Returns whether denials are only reported.
    #[must_use]
    pub fn is_shadow(&self) -> bool {
        self.shadow
    }

    /// Returns whether the limit is a guest.
    #[must_use]
    pub fn is_guest(&self) -> bool {
        self.guest
    }

    /// Returns whether the limit is one across all locations.
    #[must_use]
    pub fn is_global(&self) -> bool {
        self.global
    }

    #[inline]
    pub(crate) fn windows(&self) -> Option<Calendar> {
        self.calendar
    }

    pub(crate) fn interval(&self) -> u64 {
        self.interval
    }
}

fn whole_ms(period: Duration) -> Option<u64> {
    let ms = u64::try_from(period.as_millis()).ok()?;
    let whole = period.subsec_nanos().is_multiple_of(1_000_000);
    (whole && (1..=MAX_PERIOD_MS).contains(&ms)).then_some(ms)
}

fn max_count(algorithm: Algorithm, period_ms: u64) -> u32 {
    match algorithm {
        Algorithm::Sliding => sliding::MAX_COUNT,
        Algorithm::Fixed => u32::MAX,
        Algorithm::Gcra => gcra::max_count(period_ms),
    }
}
