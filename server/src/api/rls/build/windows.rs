//! The windows of a limit: of a unit, of any other time, or of a calendar.

use ratelimit::Limit;

use super::Problem;
use crate::{
    api::rls::{config, proto::Unit},
    rate_limits::{Description, Period},
};

/// The period of a limit: its unit, or any other time.
pub(super) fn period(written: &config::RateLimit) -> Result<Period, Problem> {
    match (&written.unit, written.period) {
        (Some(_), Some(_)) => Err("rate_limit has `unit` and `period`: use one of them".into()),
        (None, Some(period)) => Ok(period),
        (None, None) => Err(Problem::NoUnit),
        (Some(name), None) => {
            let ms = Unit::named(name).and_then(Unit::ms);
            let ms = ms.ok_or_else(|| Problem::Unit(name.clone()))?;
            Ok(Period::of_ms(ms))
        }
    }
}

/// A limit in windows of the calendar of a time zone.
pub(super) fn calendar(
    written: &config::RateLimit,
    timezone: &str,
    count: u32,
) -> Result<(Limit, Unit), Problem> {
    let unit = written.unit.as_deref().map(str::to_ascii_lowercase);
    let algorithm = match &written.algorithm {
        None => None,
        Some(name) => {
            Some(name.parse().map_err(|source| Problem::Algorithm { name: name.clone(), source })?)
        }
    };
    let described = Description {
        count,
        period: written.period,
        unit: unit.as_deref(),
        timezone: Some(timezone),
        algorithm,
        burst: written.burst,
        scope: written.scope.unwrap_or_default(),
    };
    let unit = unit.as_deref().and_then(Unit::named).unwrap_or(Unit::Unknown);
    Ok((described.limit()?, unit))
}

/// The units, for errors.
pub(super) const UNITS: &str = "second, minute, hour, day, week, month or year";
