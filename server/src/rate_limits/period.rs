//! The period of a limit, as people write it.
//!
//! humantime, which reads the times of settings, is not used: it rejects a number without a unit, and accepts sums
//! (`1h 5min`) and months and years of average length.

use std::{fmt, str::FromStr};

use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};

/// The time over which a limit counts, in whole milliseconds. It is written as a number of seconds
/// (`60`, `0.5`), or as a text with a unit (`"500ms"`, `"10s"`, `"5m"`, `"1h"`, `"1d"`).
/// [`ratelimit::Limit`] has the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period(u64);

/// How a period is written, for error messages.
const EXPECTED: &str = "a number of seconds, or a text such as \"10s\" or \"500ms\"";

impl Period {
    /// A period in milliseconds.
    #[must_use]
    pub fn of_ms(ms: u64) -> Period {
        Period(ms)
    }

    /// The number of milliseconds.
    #[must_use]
    pub fn ms(self) -> u64 {
        self.0
    }

    /// None on overflow.
    fn of_seconds(seconds: u64) -> Option<Period> {
        seconds.checked_mul(1000).map(Period)
    }

    /// None if that is not a whole number of milliseconds, or on overflow.
    fn of_fraction(seconds: f64) -> Option<Period> {
        /// The integers below are exact in a float.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let ms = seconds * 1000.0;
        let is_whole = (0.0..EXACT).contains(&ms) && (ms - ms.round()).abs() < 1e-6;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in bounds")]
        is_whole.then(|| Period(ms.round() as u64))
    }
}

/// Why a text is not a period.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a period: use 60, 10s, 500ms, 5m, 1h or 1d")]
pub struct PeriodError(String);

impl FromStr for Period {
    type Err = PeriodError;

    /// Without a unit, the number is in seconds.
    fn from_str(text: &str) -> Result<Period, PeriodError> {
        const UNITS: [(&str, u64); 6] = [
            ("", 1000),
            ("ms", 1),
            ("s", 1000),
            ("m", 60_000),
            ("h", 3_600_000),
            ("d", 86_400_000),
        ];
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
        let ms =
            number.parse().ok().zip(factor).and_then(|(n, factor): (u64, _)| n.checked_mul(factor));
        ms.map(Period).ok_or_else(|| PeriodError(text.into()))
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Period, D::Error> {
        struct Any;

        impl Visitor<'_> for Any {
            type Value = Period;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "`period` as {EXPECTED}")
            }

            fn visit_u64<E: Error>(self, seconds: u64) -> Result<Period, E> {
                Period::of_seconds(seconds).ok_or_else(|| out_of_range(seconds))
            }

            fn visit_i64<E: Error>(self, seconds: i64) -> Result<Period, E> {
                let positive = u64::try_from(seconds).ok().and_then(Period::of_seconds);
                positive.ok_or_else(|| out_of_range(seconds))
            }

            fn visit_f64<E: Error>(self, seconds: f64) -> Result<Period, E> {
                Period::of_fraction(seconds).ok_or_else(|| out_of_range(seconds))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Period, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Any)
    }
}

/// The error for a number of seconds that is out of range.
fn out_of_range<E: Error>(seconds: impl fmt::Display) -> E {
    E::custom(format!("`period` can't be {seconds}: use {EXPECTED}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_has_a_unit_or_is_in_seconds() {
        for (text, ms) in [
            ("60", 60_000),
            ("10s", 10_000),
            ("500ms", 500),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
            ("0", 0),
        ] {
            assert_eq!(text.parse(), Ok(Period(ms)), "{text}");
        }
        for text in
            ["", "s", "-1", "1.5s", "1w", "10 s", "99999999999999999999", "9999999999999999999d"]
        {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }

    #[test]
    fn in_json_it_is_a_number_or_a_text() {
        let read = |text: &str| serde_json::from_str::<Period>(text).ok().map(Period::ms);
        for (json, ms) in
            [("60", 60_000), ("0.5", 500), ("1e1", 10_000), ("0.001", 1), ("\"10s\"", 10_000)]
        {
            assert_eq!(read(json), Some(ms), "{json}");
        }
        for json in
            ["-1", "-0.5", "0.0005", "1e300", "18446744073709551615", "\"x\"", "null", "[]", "true"]
        {
            assert_eq!(read(json), None, "{json}");
        }
    }
}
