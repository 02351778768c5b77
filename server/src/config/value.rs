//! The values of settings, as texts: a time, a size. Each error is a sentence that says
//! what would do.

use std::{fmt, num::NonZeroU32, str::FromStr, time::Duration};

use kv_core::{NamespaceId, limits::MAX_TITLE_BYTES};
use serde::{Deserialize, Deserializer, de::Error as _};
use tracing_subscriber::EnvFilter;

/// Reads a setting of the file that is a text.
pub(super) fn text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    String::deserialize(deserializer)?.parse().map(Some).map_err(D::Error::custom)
}

/// A time of at least `MIN_MS` milliseconds and at most a day: `30s`, `500ms`, `5m`, `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span<const MIN_MS: u64>(Duration);

impl<const MIN_MS: u64> Span<MIN_MS> {
    /// The time.
    #[must_use]
    pub fn get(self) -> Duration {
        self.0
    }
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

impl<const MIN_MS: u64> FromStr for Span<MIN_MS> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ms = amount(text, &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)])
            .ok_or_else(|| format!("{text:?} is no time: say 500ms, 30s, 5m or 1h"))?;
        match ms {
            _ if ms < MIN_MS => Err(format!("{text} is too short: say at least {MIN_MS}ms")),
            _ if ms > DAY_MS => Err(format!("{text} is too long: say at most 24h")),
            _ => Ok(Span(Duration::from_millis(ms))),
        }
    }
}

/// A number of bytes from `MIN` to `MAX`: `65536`, `64KiB`, `512MiB`, `2GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Size<MIN, MAX> {
    /// The number of bytes.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl<const MIN: u64, const MAX: u64> FromStr for Size<MIN, MAX> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = amount(text, &[("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1)])
            .ok_or_else(|| format!("{text:?} is no size: say 64KiB, 512MiB or 2GiB"))?;
        if (MIN..=MAX).contains(&bytes) {
            return Ok(Size(bytes));
        }
        Err(format!("{text} is out of range: say {MIN} to {MAX} bytes"))
    }
}

/// A number from 1 to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count<const MAX: u32>(NonZeroU32);

impl<const MAX: u32> Count<MAX> {
    /// The number.
    #[must_use]
    pub fn get(self) -> NonZeroU32 {
        self.0
    }
}

impl<const MAX: u32> TryFrom<u64> for Count<MAX> {
    type Error = String;

    fn try_from(number: u64) -> Result<Self, String> {
        u32::try_from(number)
            .ok()
            .filter(|number| *number <= MAX)
            .and_then(NonZeroU32::new)
            .map(Count)
            .ok_or_else(|| format!("{number} is out of range: say 1 to {MAX}"))
    }
}

impl<const MAX: u32> FromStr for Count<MAX> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number: u64 =
            text.parse().map_err(|_not_one| format!("{text:?} is no number from 1 to {MAX}"))?;
        number.try_into()
    }
}

impl<'de, const MAX: u32> Deserialize<'de> for Count<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer)?.try_into().map_err(D::Error::custom)
    }
}

/// When a write is acknowledged: `durable`, or `relaxed:100ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durability(pub kv_core::Durability);

impl Default for Durability {
    fn default() -> Self {
        Durability(kv_core::Durability::Durable)
    }
}

impl FromStr for Durability {
    type Err = String;

    fn from_str(text: &str) -> Result<Durability, String> {
        if text == "durable" {
            return Ok(Durability::default());
        }
        let within = text.strip_prefix("relaxed:").ok_or_else(|| {
            format!("{text:?} is no durability: say durable, or relaxed:100ms for any time")
        })?;
        let within = within.parse::<Span<1>>()?.get();
        Ok(Durability(kv_core::Durability::Relaxed { within }))
    }
}

/// A filter of what is logged, as the `tracing` crate has them: `info`, `waypost=debug,info`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        LogFilter("info".into())
    }
}

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<LogFilter, String> {
        match EnvFilter::try_new(text) {
            Ok(_) => Ok(LogFilter(text.into())),
            Err(error) => Err(format!("{text:?} is no log filter: {error}")),
        }
    }
}

/// The title of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Title(String);

impl Title {
    /// Its text.
    #[must_use]
    pub fn get(self) -> String {
        self.0
    }
}

impl FromStr for Title {
    type Err = String;

    fn from_str(text: &str) -> Result<Title, String> {
        if text.is_empty() || text.len() > MAX_TITLE_BYTES {
            let length = text.len();
            return Err(format!(
                "the title of a namespace has 1 to {MAX_TITLE_BYTES} bytes, not {length}"
            ));
        }
        if text.chars().any(char::is_control) {
            return Err(format!("{text:?} is no title: it has a control character"));
        }
        if text.parse::<NamespaceId>().is_ok() {
            return Err(format!("{text} is no title: it looks like the id of a namespace"));
        }
        Ok(Title(text.into()))
    }
}

impl<'de> Deserialize<'de> for Title {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Titles with commas between them; the empty text has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Titles(pub Vec<Title>);

impl FromStr for Titles {
    type Err = String;

    fn from_str(text: &str) -> Result<Titles, String> {
        let titles = text.split(',').filter(|_| !text.is_empty());
        titles.map(str::parse).collect::<Result<_, _>>().map(Titles)
    }
}

/// In the file they are a list: a title there may have a comma.
impl<'de> Deserialize<'de> for Titles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Title::deserialize(deserializer).map(|title| Titles(vec![title]))
    }
}

/// A whole number with one of these units behind it, in the smallest.
fn amount(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_name, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_and_bounds() {
        for (text, ms) in
            [("0s", Some(0)), ("500ms", Some(500)), ("2m", Some(120_000)), ("24h", Some(DAY_MS))]
        {
            assert_eq!(text.parse::<Span<0>>().ok().map(Span::get), ms.map(Duration::from_millis));
        }
        for text in ["", "30", "s", "-1s", "1.5s", "25h", "1d", "99999999999999999999s"] {
            assert!(text.parse::<Span<0>>().is_err(), "{text}");
        }
        assert!("0s".parse::<Span<1>>().is_err());
    }

    #[test]
    fn sizes_have_units_and_bounds() {
        for (text, bytes) in
            [("65536", Some(65_536)), ("64KiB", Some(65_536)), ("8 MiB", Some(8 << 20))]
        {
            assert_eq!(text.parse::<Size<1, { 8 << 20 }>>().ok().map(Size::get), bytes);
        }
        for text in ["", "0", "9MiB", "64kb", "KiB"] {
            assert!(text.parse::<Size<1, { 8 << 20 }>>().is_err(), "{text}");
        }
    }

    #[test]
    fn durability_says_its_time() {
        let relaxed = kv_core::Durability::Relaxed { within: Duration::from_millis(50) };
        assert_eq!("relaxed:50ms".parse(), Ok(Durability(relaxed)));
        assert_eq!("durable".parse(), Ok(Durability(kv_core::Durability::Durable)));
        for text in ["", "relaxed", "relaxed:", "relaxed:0s", "fast"] {
            assert!(text.parse::<Durability>().is_err(), "{text}");
        }
    }

    #[test]
    fn titles_stand_between_commas() {
        let titles = |text: &str| {
            let titles = text.parse::<Titles>()?.0.into_iter().map(Title::get);
            Ok::<Vec<String>, String>(titles.collect())
        };
        assert_eq!(titles(""), Ok(vec![]));
        assert_eq!(titles("a b"), Ok(vec!["a b".into()]));
        assert_eq!(titles("a,\u{fc}"), Ok(vec!["a".into(), "\u{fc}".into()]));
        let long = "x".repeat(513);
        for text in [",", "a,", "a\tb", &long, "0f2ac74b498b48028cb68387c421e279"] {
            assert!(titles(text).is_err(), "{text}");
        }
    }
}
