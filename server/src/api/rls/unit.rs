//! Envoy's units of time.

use super::proto::Unit;

/// Milliseconds in a second.
const SECOND_MS: u64 = 1000;
/// Milliseconds in a minute.
const MINUTE_MS: u64 = 60 * SECOND_MS;
/// Milliseconds in an hour.
const HOUR_MS: u64 = 60 * MINUTE_MS;
/// Milliseconds in a day.
const DAY_MS: u64 = 24 * HOUR_MS;

/// The units by name and length in milliseconds. A month and a year are as long as in
/// envoyproxy/ratelimit.
const UNITS: [(&str, Unit, u64); 7] = [
    ("second", Unit::Second, SECOND_MS),
    ("minute", Unit::Minute, MINUTE_MS),
    ("hour", Unit::Hour, HOUR_MS),
    ("day", Unit::Day, DAY_MS),
    ("week", Unit::Week, 7 * DAY_MS),
    ("month", Unit::Month, 30 * DAY_MS),
    ("year", Unit::Year, 365 * DAY_MS),
];

impl Unit {
    /// The unit of this name, in upper or lower case.
    #[must_use]
    pub fn named(name: &str) -> Option<Unit> {
        let found = UNITS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name));
        found.map(|(_, unit, _)| *unit)
    }

    /// The unit that is `ms` milliseconds long; [`Unit::Unknown`] if none is.
    #[must_use]
    pub fn lasting(ms: u64) -> Unit {
        UNITS.iter().find(|(.., length)| *length == ms).map_or(Unit::Unknown, |(_, unit, _)| *unit)
    }

    /// Its length in milliseconds; none for [`Unit::Unknown`].
    #[must_use]
    pub fn ms(self) -> Option<u64> {
        UNITS.iter().find(|(_, unit, _)| *unit == self).map(|(.., ms)| *ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_has_a_name_and_a_length_of_its_own() {
        for (name, unit, ms) in UNITS {
            assert_eq!(Unit::named(name), Some(unit));
            assert_eq!(Unit::named(&name.to_uppercase()), Some(unit));
            assert_eq!(Unit::lasting(ms), unit);
            assert_eq!(unit.ms(), Some(ms));
        }
        assert_eq!(Unit::named("unknown"), None);
        assert_eq!(Unit::lasting(10_000), Unit::Unknown);
        assert_eq!(Unit::Unknown.ms(), None);
    }
}
