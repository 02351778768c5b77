//! The server's own types of values, with their bounds.

use std::{str::FromStr, time::Duration};

use bytesize::ByteSize;
use kv_core::TitleError;
use ratelimit::Algorithm;
use serde::{Deserialize, Deserializer, de::Error as _};

use super::value::{Text, Value, ValueError};
use crate::{
    api::rls::Fields,
    cluster::state::{names::Name, token::Token},
    connection::{Listen, SocketMode},
    logging,
};

/// Types that are texts in the file as well.
macro_rules! written_as_text {
    ($([$($generics:tt)*] $type:ty),+ $(,)?) => {$(
        impl<$($generics)*> Value for $type {
            fn from_text(text: &str) -> Result<Self, ValueError> {
                text.parse().map_err(ValueError::new)
            }

            fn from_file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Text::deserialize(deserializer).map(|Text(value)| value)
            }
        }
    )+};
}

written_as_text!(
    [] Listen,
    [] SocketMode,
    [] LogFilter,
    [] Durability,
    [] Algorithm,
    [] Fields,
    [] Name,
    [] Token,
    [const MIN_MS: u64] Span<MIN_MS>,
    [const MIN: u64, const MAX: u64] Size<MIN, MAX>,
);

/// A time of at least `MIN_MS` milliseconds and at most a day, as `humantime` reads it: `500ms`,
/// `30s`, `5m`, `1h`, `1h 30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span<const MIN_MS: u64>(Duration);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl<const MIN_MS: u64> Span<MIN_MS> {
    /// Returns the time.
    #[must_use]
    pub fn get(self) -> Duration {
        self.0
    }
}

impl<const MIN_MS: u64> FromStr for Span<MIN_MS> {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let time = humantime::parse_duration(text).map_err(|error| {
            ValueError::new(format!("{text:?} is not a time ({error}): write 500ms, 30s, 5m or 1h"))
        })?;
        match time {
            _ if time < Duration::from_millis(MIN_MS) => {
                Err(ValueError::new(format!("{text} is too short: write at least {MIN_MS}ms")))
            }
            _ if time > DAY => {
                Err(ValueError::new(format!("{text} is too long: write at most 24h")))
            }
            _ => Ok(Span(time)),
        }
    }
}

/// A number of bytes from `MIN` to `MAX`, as `bytesize` reads it: `65536`, `64KiB`, `512MiB`, `2GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Size<MIN, MAX> {
    /// Returns the number of bytes.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl<const MIN: u64, const MAX: u64> FromStr for Size<MIN, MAX> {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let ByteSize(bytes) = text.parse().map_err(|_error: String| {
            ValueError::new(format!("{text:?} is not a size: write 64KiB, 512MiB or 2GiB"))
        })?;
        if (MIN..=MAX).contains(&bytes) {
            return Ok(Size(bytes));
        }
        Err(ValueError::new(format!("{text} is out of range: write {MIN} to {MAX} bytes")))
    }
}

/// A whole number from `MIN` to `MAX`. In the file it is an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number<const MIN: u32, const MAX: u32>(u32);

impl<const MIN: u32, const MAX: u32> Number<MIN, MAX> {
    /// Returns the number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }

    fn new(number: u64) -> Result<Self, ValueError> {
        let number = u32::try_from(number).ok().filter(|number| (MIN..=MAX).contains(number));
        number
            .map(Number)
            .ok_or_else(|| ValueError::new(format!("write a number from {MIN} to {MAX}")))
    }
}

impl<const MIN: u32, const MAX: u32> Value for Number<MIN, MAX> {
    fn from_text(text: &str) -> Result<Self, ValueError> {
        let number = text.parse().map_err(ValueError::new).and_then(Self::new);
        number.map_err(|_range| {
            ValueError::new(format!("{text:?} is not a number from {MIN} to {MAX}"))
        })
    }

    fn from_file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        Self::new(number).map_err(|error| D::Error::custom(format!("{number}: {error}")))
    }
}

/// When a write is acknowledged: `durable`, or `relaxed:100ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durability(pub kv_core::Durability);

impl FromStr for Durability {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Durability, ValueError> {
        if text == "durable" {
            return Ok(Durability(kv_core::Durability::Durable));
        }
        let within = text.strip_prefix("relaxed:").ok_or_else(|| {
            ValueError::new(format!(
                "{text:?} is not a durability: write durable, or relaxed:100ms with any time"
            ))
        })?;
        let within = within.parse::<Span<1>>()?.get();
        Ok(Durability(kv_core::Durability::Relaxed { within }))
    }
}

/// A filter of what is logged, in the syntax of the `tracing` crate: `info`, `waypost=debug,info`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// Returns its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LogFilter {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<LogFilter, ValueError> {
        logging::filter(text).map_err(ValueError::new)?;
        Ok(LogFilter(text.into()))
    }
}

/// The title of a namespace: see [`kv_core::Title`]. One that exists may have a title that no new one may have; the start
/// checks the title of one that it creates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Title(String);

impl Title {
    /// Returns its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Title {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Title, ValueError> {
        match kv_core::Title::new(text) {
            Err(error @ (TitleError::Length(_) | TitleError::ControlCharacter)) => {
                Err(ValueError::new(format!("{text:?}: {error}")))
            }
            _ => Ok(Title(text.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::List;

    #[test]
    fn a_time_has_a_unit_and_is_within_its_bounds() {
        for (text, seconds) in
            [("0s", 0.0), ("500ms", 0.5), ("30 s", 30.0), ("2m", 120.0), ("1h 30m", 5400.0)]
        {
            let time = text.parse::<Span<0>>().expect(text).get();
            assert_eq!(time, Duration::from_secs_f64(seconds), "{text}");
        }
        assert_eq!("24h".parse::<Span<0>>().map(Span::get), Ok(DAY));
        for text in ["", "30", "s", "-1s", "25h", "2d", "99999999999999999999s"] {
            assert!(text.parse::<Span<0>>().is_err(), "{text}");
        }
        assert!("0s".parse::<Span<1>>().is_err());
    }

    #[test]
    fn a_namespace_that_exists_may_have_a_title_that_no_new_one_may_have() {
        for title in ["a", " a", "a\u{200b}", "0123456789abcdef0123456789abcdef"] {
            assert_eq!(title.parse::<Title>().expect(title).as_str(), title);
        }
        for title in ["", "a\nb", &"a".repeat(513)] {
            assert!(title.parse::<Title>().is_err(), "{title}");
        }
    }

    #[test]
    fn a_size_has_a_unit_or_is_in_bytes_and_is_within_its_bounds() {
        for (text, bytes) in [("65536", 65_536), ("64KiB", 65_536), ("8 MiB", 8 << 20)] {
            assert_eq!(text.parse::<Size<1, { 8 << 20 }>>().map(Size::get), Ok(bytes), "{text}");
        }
        for text in ["", "0", "9MiB", "64x", "KiB", "-1", "99999999999999999999GiB"] {
            assert!(text.parse::<Size<1, { 8 << 20 }>>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_durability_is_durable_or_relaxed_with_a_time() {
        let relaxed = kv_core::Durability::Relaxed { within: Duration::from_millis(50) };
        assert_eq!("relaxed:50ms".parse(), Ok(Durability(relaxed)));
        assert_eq!("durable".parse(), Ok(Durability(kv_core::Durability::Durable)));
        for text in ["", "relaxed", "relaxed:", "relaxed:0s", "fast"] {
            assert!(text.parse::<Durability>().is_err(), "{text}");
        }
    }

    #[test]
    fn titles_are_separated_by_commas() {
        let titles = |text: &str| {
            List::<Title>::from_text(text)
                .map(|List(titles)| titles.into_iter().map(|Title(text)| text).collect::<Vec<_>>())
        };
        assert_eq!(titles(""), Ok(vec![]));
        assert_eq!(titles("a b"), Ok(vec!["a b".into()]));
        assert_eq!(titles("a,\u{fc}"), Ok(vec!["a".into(), "\u{fc}".into()]));
        let long = "x".repeat(513);
        for text in [",", "a,", "a\tb", &long] {
            assert!(titles(text).is_err(), "{text}");
        }
    }
}
