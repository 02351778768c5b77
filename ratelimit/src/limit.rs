//! What is allowed: so many hits in such a period, counted in one of three ways.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::algorithm::{gcra, sliding};

/// The way in which hits are counted. The front page of the crate compares them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// The window before counts by the share of it that is still within one period.
    #[default]
    Sliding,
    /// Windows aligned to the Unix epoch, each with a count from zero.
    Fixed,
    /// The generic cell rate algorithm (ITU-T I.371): a leaky bucket as a meter.
    Gcra,
}

impl Algorithm {
    /// The name in settings and on the wire: `sliding`, `fixed`, `gcra`.
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

/// Why a [`Limit`] cannot be made. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// The period is not a whole number of milliseconds, or out of bounds.
    #[error("a period is a whole number of milliseconds, from 1 ms to 63244800000 ms (two years)")]
    Period,
    /// The count is more than a counter of this algorithm and period can hold.
    #[error("a {algorithm} limit of {count} in {period_ms} ms is too large: the most is {most}")]
    Count {
        /// The algorithm that was asked for.
        algorithm: Algorithm,
        /// The count that was asked for.
        count: u32,
        /// The period that was asked for, in milliseconds.
        period_ms: u64,
        /// The largest count that is possible with them.
        most: u32,
    },
    /// A burst that would take longer than the longest period to drain, or that is zero.
    #[error(
        "a burst of {burst} is out of bounds: it is from 1 to {most} with this count and period"
    )]
    Burst {
        /// The burst that was asked for.
        burst: u32,
        /// The largest burst that is possible with the count and period.
        most: u32,
    },
    /// The name is none of the three.
    #[error("an algorithm is one of sliding, fixed, gcra")]
    UnknownAlgorithm,
}

/// So many hits in such a period: the threshold that a counter is held against.
///
/// A counter is named by namespace, key, period and algorithm; the count and the burst are not part
/// of its name, so they may change while it runs and it goes on from where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    algorithm: Algorithm,
    shadow: bool,
    count: u32,
    burst: u32,
    period_ms: u64,
    /// GCRA: what one hit costs, in its units of time. Zero for the others, and for a count of zero.
    interval: u64,
}

impl Limit {
    /// The longest period: two years of 366 days.
    pub const MAX_PERIOD: Duration = Duration::from_millis(MAX_PERIOD_MS);

    /// `count` hits in any `period`, by the sliding window of two counters. A count of zero refuses
    /// every hit.
    ///
    /// # Errors
    /// If the period or the count is out of bounds; see [`Limit::most`].
    pub fn sliding(count: u32, period: Duration) -> Result<Limit, LimitError> {
        Limit::new(Algorithm::Sliding, count, period)
    }

    /// `count` hits in each window of `period`. A count of zero refuses every hit.
    ///
    /// # Errors
    /// If the period is out of bounds.
    pub fn fixed(count: u32, period: Duration) -> Result<Limit, LimitError> {
        Limit::new(Algorithm::Fixed, count, period)
    }

    /// `count` hits a `period`, evenly, after at most `burst` at once, by GCRA. `burst` equal to
    /// `count` is the common choice; 1 means that no two hits may come closer than `period / count`.
    /// A count of zero refuses every hit.
    ///
    /// # Errors
    /// If the period, the count or the burst is out of bounds; see [`Limit::most`].
    pub fn gcra(count: u32, burst: u32, period: Duration) -> Result<Limit, LimitError> {
        let limit = Limit::new(Algorithm::Gcra, count, period)?;
        let most = gcra::most_burst(limit.interval);
        if burst == 0 || burst > most {
            return Err(LimitError::Burst { burst, most });
        }
        Ok(Limit { burst, ..limit })
    }

    /// A limit by any algorithm; for GCRA with `burst` equal to `count` (or the largest possible).
    ///
    /// # Errors
    /// If the period or the count is out of bounds; see [`Limit::most`].
    pub fn new(algorithm: Algorithm, count: u32, period: Duration) -> Result<Limit, LimitError> {
        let period_ms = whole_ms(period).ok_or(LimitError::Period)?;
        let most = most(algorithm, period_ms);
        if count > most {
            return Err(LimitError::Count { algorithm, count, period_ms, most });
        }
        let (interval, burst) = match algorithm {
            Algorithm::Gcra => {
                let interval = gcra::interval(count, period_ms);
                (interval, count.min(gcra::most_burst(interval)).max(1))
            }
            Algorithm::Sliding | Algorithm::Fixed => (0, count),
        };
        Ok(Limit { algorithm, shadow: false, count, burst, period_ms, interval })
    }

    /// The largest count of an algorithm for a period; `None` if the period is out of bounds.
    ///
    /// | algorithm | the largest count |
    /// |---|---|
    /// | sliding | 2,097,151 |
    /// | fixed | 4,294,967,295 |
    /// | GCRA | 1,024 for each millisecond of the period |
    #[must_use]
    pub fn most(algorithm: Algorithm, period: Duration) -> Option<u32> {
        Some(most(algorithm, whole_ms(period)?))
    }

    /// In shadow mode a denial is reported ([`Decision::shadowed`](crate::Decision::shadowed)) and the
    /// hit is allowed. Counting is the same: only hits within the limit count.
    #[must_use]
    pub fn shadow(self, shadow: bool) -> Limit {
        Limit { shadow, ..self }
    }

    /// The way in which hits are counted.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Hits a period.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Hits at once: the burst of GCRA; for the others the count.
    #[must_use]
    pub fn burst(&self) -> u32 {
        if self.count == 0 { 0 } else { self.burst }
    }

    /// The period.
    #[must_use]
    pub fn period(&self) -> Duration {
        Duration::from_millis(self.period_ms)
    }

    /// The period in milliseconds.
    #[must_use]
    pub fn period_ms(&self) -> u64 {
        self.period_ms
    }

    /// Whether denials are only reported.
    #[must_use]
    pub fn is_shadow(&self) -> bool {
        self.shadow
    }

    pub(crate) fn interval(&self) -> u64 {
        self.interval
    }
}

pub(crate) const MAX_PERIOD_MS: u64 = 2 * 366 * 24 * 60 * 60 * 1000;

fn whole_ms(period: Duration) -> Option<u64> {
    let ms = u64::try_from(period.as_millis()).ok()?;
    let whole = period.subsec_nanos().is_multiple_of(1_000_000);
    (whole && (1..=MAX_PERIOD_MS).contains(&ms)).then_some(ms)
}

fn most(algorithm: Algorithm, period_ms: u64) -> u32 {
    match algorithm {
        Algorithm::Sliding => sliding::MOST,
        Algorithm::Fixed => u32::MAX,
        Algorithm::Gcra => gcra::most(period_ms),
    }
}
