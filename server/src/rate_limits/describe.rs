//! From the description of a limit to the limit.

use std::time::Duration;

use ratelimit::{Algorithm, Calendar, CalendarError, Limit, LimitError};

use super::{period::Period, scope::Scope};

/// The longest namespace or key, in bytes.
pub const MAX_KEY_BYTES: usize = 4096;

/// Why there can be no such limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DescribeError {
    /// A burst with an algorithm that has none.
    #[error("only the algorithm \"gcra\" has a burst: remove `burst`, or use \"gcra\"")]
    Burst,
    /// More than the algorithm can count.
    #[error("{0}. The algorithm \"fixed\" counts up to {max}: use that", max = u32::MAX)]
    Count(LimitError),
    /// A burst with windows of a calendar.
    #[error(
        "windows of a calendar have no burst: remove `burst`, or use `period` in place of `unit`"
    )]
    CalendarBurst,
    /// An algorithm with windows of a calendar.
    #[error(
        "windows of a calendar are counted by the algorithm \"fixed\": remove `algorithm`, or use `period` in place of `unit`"
    )]
    CalendarAlgorithm,
    /// A period beside a unit.
    #[error(
        "use one of `period` and `unit`: a unit stands for windows of the calendar, a period for any time"
    )]
    PeriodAndUnit,
    /// A time zone without a unit.
    #[error("`timezone` goes with `unit`: add `unit`, or remove `timezone`")]
    TimeZoneAlone,
    /// Neither a period nor a unit.
    #[error("`period` is missing: write `period`, or `unit` for windows of the calendar")]
    NoPeriod,
    /// There is no such calendar.
    #[error(transparent)]
    Calendar(#[from] CalendarError),
    /// Any other reason.
    #[error(transparent)]
    Other(LimitError),
}

/// A limit as a caller or a file describes it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Description<'a> {
    /// The cost that is allowed per period.
    pub count: u32,
    /// The period.
    pub period: Option<Period>,
    /// In place of the period: the unit of the calendar.
    pub unit: Option<&'a str>,
    /// Beside the unit: the time zone; UTC by default.
    pub timezone: Option<&'a str>,
    /// The algorithm.
    pub algorithm: Option<Algorithm>,
    /// The burst.
    pub burst: Option<u32>,
    /// Where the requests are counted that it allows.
    pub scope: Scope,
}

/// The time zone of a unit without one.
const DEFAULT_TIMEZONE: &str = "UTC";

impl Description<'_> {
    /// The limit.
    ///
    /// # Errors
    /// See [`DescribeError`].
    pub fn limit(&self) -> Result<Limit, DescribeError> {
        let Description { count, period, unit, timezone, algorithm, burst, scope } = *self;
        let Some(unit) = unit else {
            return match (timezone, period) {
                (Some(_), _) => Err(DescribeError::TimeZoneAlone),
                (None, None) => Err(DescribeError::NoPeriod),
                (None, Some(period)) => {
                    limit(algorithm.unwrap_or_default(), count, period, burst, scope)
                }
            };
        };
        if period.is_some() {
            return Err(DescribeError::PeriodAndUnit);
        }
        if algorithm.is_some_and(|algorithm| algorithm != Algorithm::Fixed) {
            return Err(DescribeError::CalendarAlgorithm);
        }
        if burst.is_some() {
            return Err(DescribeError::CalendarBurst);
        }
        let calendar = Calendar::new(unit.parse()?, timezone.unwrap_or(DEFAULT_TIMEZONE))?;
        let limit = Limit::calendar_windows(count, calendar);
        limit.global(scope.is_global()).map_err(DescribeError::Other)
    }
}

/// The limit that a caller or a file describes. GCRA without a burst allows `count` at once.
///
/// # Errors
/// See [`DescribeError`].
pub fn limit(
    algorithm: Algorithm,
    count: u32,
    period: Period,
    burst: Option<u32>,
    scope: Scope,
) -> Result<Limit, DescribeError> {
    let period = Duration::from_millis(period.ms());
    let limit = match (algorithm, burst) {
        (Algorithm::Gcra, Some(burst)) => Limit::gcra(count, burst, period),
        (_, None) => Limit::new(algorithm, count, period),
        (_, Some(_)) => return Err(DescribeError::Burst),
    };
    let limit = limit.and_then(|limit| limit.global(scope.is_global()));
    limit.map_err(|error| match error {
        LimitError::Count { algorithm, .. } if algorithm != Algorithm::Fixed => {
            DescribeError::Count(error)
        }
        _ => DescribeError::Other(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_stands_for_windows_of_the_calendar_and_a_period_for_any_time() {
        let base = Description { count: 5, ..Description::default() };
        let month = Description { unit: Some("month"), timezone: Some("Europe/Berlin"), ..base };
        let calendar = month.limit().expect("valid").calendar().expect("a calendar");
        assert_eq!(calendar.timezone(), "Europe/Berlin");
        let day = Description { unit: Some("day"), algorithm: Some(Algorithm::Fixed), ..base };
        let calendar = day.limit().expect("valid").calendar().expect("a calendar");
        assert_eq!((calendar.unit().name(), calendar.timezone()), ("day", "UTC"));
        let minute = Description { period: Some(Period::of_ms(60_000)), ..base };
        assert_eq!(minute.limit().expect("valid").calendar(), None);
        let period = minute.period;
        for (wrong, says) in [
            (base, "`period` is missing"),
            (Description { unit: Some("moon"), ..base }, "use day, week, month or year"),
            (Description { timezone: Some("Mars"), ..month }, "\"Mars\" is not a time zone"),
            (Description { timezone: Some("UTC"), ..minute }, "`timezone` goes with `unit`"),
            (Description { period, ..month }, "use one of `period` and `unit`"),
            (Description { burst: Some(1), ..month }, "remove `burst`"),
            (Description { algorithm: Some(Algorithm::Sliding), ..month }, "remove `algorithm`"),
            (Description { scope: Scope::Global, ..month }, "each location counts"),
        ] {
            let error = wrong.limit().expect_err(says).to_string();
            assert!(error.contains(says), "{says:?} is not in {error:?}");
        }
    }
}
