//! Calendar windows: days, weeks, months and years of a time zone, for quotas.
//!
//! A window begins where people say that it does: a month at the first midnight of its first day in the zone. So it has
//! 23, 24 or 25 hours more or less. The zones are those of the IANA database, which is part of the program.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::algorithm::Window;

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;

/// The unit of a [`Calendar`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CalendarUnit {
    /// A day begins at midnight, or, where the clocks skip that, with its first moment.
    Day,
    /// A week begins with Monday.
    Week,
    /// A month begins with its first day.
    Month,
    /// A year begins with January 1.
    Year,
}

impl CalendarUnit {
    /// All units.
    pub const ALL: [CalendarUnit; 4] =
        [CalendarUnit::Day, CalendarUnit::Week, CalendarUnit::Month, CalendarUnit::Year];

    /// Returns the name: `day`, `week`, `month` or `year`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            CalendarUnit::Day => "day",
            CalendarUnit::Week => "week",
            CalendarUnit::Month => "month",
            CalendarUnit::Year => "year",
        }
    }

    /// The length for people who do not need it exactly, in milliseconds.
    fn nominal_ms(self) -> u64 {
        match self {
            CalendarUnit::Day => DAY_MS,
            CalendarUnit::Week => 7 * DAY_MS,
            CalendarUnit::Month => 30 * DAY_MS,
            CalendarUnit::Year => 365 * DAY_MS,
        }
    }
}

impl fmt::Display for CalendarUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The reason why there is no such [`Calendar`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CalendarError {
    /// The text is not the name of a unit.
    #[error("{0:?} is not a unit of a calendar: use day, week, month or year")]
    Unit(String),
    /// The text is not the name of a time zone.
    #[error(
        "{0:?} is not a time zone: use a name of the IANA database such as UTC or Europe/Berlin"
    )]
    TimeZone(String),
}

impl FromStr for CalendarUnit {
    type Err = CalendarError;

    fn from_str(text: &str) -> Result<CalendarUnit, CalendarError> {
        let found = CalendarUnit::ALL.into_iter().find(|unit| unit.name() == text);
        found.ok_or_else(|| CalendarError::Unit(text.chars().take(64).collect()))
    }
}

/// The windows of a unit in a time zone: `month` in `Europe/Berlin`.
///
/// ```
/// use ratelimit::{Calendar, CalendarUnit, Limit};
///
/// let calendar = Calendar::new(CalendarUnit::Month, "Europe/Berlin")?;
/// let quota = Limit::calendar_windows(100_000, calendar);
/// assert_eq!(quota.calendar().map(|calendar| calendar.timezone()), Some("Europe/Berlin"));
/// # Ok::<(), ratelimit::CalendarError>(())
/// ```
///
/// A copy is a reference: each unit of each zone that a process has used stays in memory, a few kilobytes at most.
#[derive(Clone, Copy)]
pub struct Calendar(&'static Windows);

/// The windows of a calendar.
struct Windows {
    unit: CalendarUnit,
    name: String,
    zone: TimeZone,
    /// What names the calendar among the periods of limits, in a save too.
    code: u64,
    /// The window that was used last: the minute at which it begins, then its length in minutes (32 bits each).
    last: AtomicU64,
}

/// All calendars of this process, by their codes: at most four for each zone of the database.
static CALENDARS: RwLock<Vec<Calendar>> = RwLock::new(Vec::new());

/// The bit that the codes of calendars have, and no period in milliseconds. Codes have 54 bits.
const CODE: u64 = 1 << 53;
/// The place of the unit in a code; below it is a hash of the zone's name.
const UNIT_SHIFT: u32 = 51;

/// The longest name of a zone.
const MAX_NAME_BYTES: usize = 64;

/// Returns the code of a calendar: it is the same in every process. FNV-1a (Fowler, Noll, Vo), which distinguishes all
/// names of the database, as a test shows.
fn code(unit: CalendarUnit, name: &str) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    CODE | (unit as u64) << UNIT_SHIFT | hash & ((1 << UNIT_SHIFT) - 1)
}

/// Whether a number is the code of a calendar, known or not.
pub(crate) fn is_code(number: u64) -> bool {
    number >> UNIT_SHIFT == CODE >> UNIT_SHIFT | (number >> UNIT_SHIFT & 3)
}

impl Calendar {
    /// Returns the calendar of a unit and an IANA time zone such as `UTC` or `Europe/Berlin`, in any case.
    ///
    /// # Errors
    /// [`CalendarError::TimeZone`] if there is no such zone.
    pub fn new(unit: CalendarUnit, timezone: &str) -> Result<Calendar, CalendarError> {
        let unknown = || CalendarError::TimeZone(timezone.chars().take(MAX_NAME_BYTES).collect());
        if timezone.len() > MAX_NAME_BYTES {
            return Err(unknown());
        }
        let is_it =
            |one: &&Calendar| one.0.unit == unit && one.0.name.eq_ignore_ascii_case(timezone);
        let known = CALENDARS.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.iter().find(is_it) {
            return Ok(*found);
        }
        drop(known);
        let zone = TimeZone::get(timezone).map_err(|_no_such_zone| unknown())?;
        let name = zone.iana_name().ok_or_else(unknown)?.to_owned();
        let mut all = CALENDARS.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = all.iter().find(is_it) {
            return Ok(*found);
        }
        let (code, last) = (code(unit, &name), AtomicU64::new(0));
        let calendar = Calendar(Box::leak(Box::new(Windows { unit, name, zone, code, last })));
        all.push(calendar);
        Ok(calendar)
    }

    /// Returns the unit.
    #[must_use]
    pub fn unit(self) -> CalendarUnit {
        self.0.unit
    }

    /// Returns the name of the time zone.
    #[must_use]
    pub fn timezone(self) -> &'static str {
        &self.0.name
    }

    /// Returns the calendar with this code, if this process has used it.
    pub(crate) fn of_code(code: u64) -> Option<Calendar> {
        let all = CALENDARS.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|one| one.0.code == code).copied()
    }

    pub(crate) fn code(self) -> u64 {
        self.0.code
    }

    pub(crate) fn nominal_ms(self) -> u64 {
        self.0.unit.nominal_ms()
    }

    /// Returns the window of a time.
    #[inline]
    pub(crate) fn window(self, now_ms: u64) -> Window {
        let last = self.0.last.load(Ordering::Relaxed);
        let (begin, end) = unpacked(last);
        if (begin..end).contains(&now_ms) { window(begin, end, now_ms) } else { self.find(now_ms) }
    }

    /// Finds the window of a time, and keeps it for the next request.
    #[cold]
    fn find(self, now_ms: u64) -> Window {
        let (begin, end) = self.0.bounds(now_ms).unwrap_or_else(|| {
            // Beyond the last date there are no calendars, only days.
            let begin = now_ms - now_ms % DAY_MS;
            (begin, begin + DAY_MS)
        });
        let (first, minutes) = (begin / MINUTE_MS, (end - begin) / MINUTE_MS);
        if first >> 32 == 0 {
            self.0.last.store(first << 32 | minutes, Ordering::Relaxed);
        }
        window(begin, end, now_ms)
    }
}

/// The beginning and the end of a packed window, in milliseconds.
#[inline]
fn unpacked(packed: u64) -> (u64, u64) {
    let begin = packed >> 32;
    (begin * MINUTE_MS, (begin + (packed & u64::from(u32::MAX))) * MINUTE_MS)
}

/// The window as the algorithm has it. Its index is the minute at which it begins.
#[inline]
fn window(begin: u64, end: u64, now_ms: u64) -> Window {
    let (to_end_ms, age_ms) = (end.saturating_sub(now_ms).max(1), now_ms.saturating_sub(begin));
    Window { index: begin / MINUTE_MS, to_end_ms, age_ms }
}

impl Windows {
    /// Computes the window of a time: its beginning and its end, in whole minutes. All zones have had these since 1972.
    fn bounds(&self, now_ms: u64) -> Option<(u64, u64)> {
        let now = Timestamp::from_millisecond(i64::try_from(now_ms).ok()?).ok()?;
        let date = self.zone.to_datetime(now).date();
        let first = match self.unit {
            CalendarUnit::Day => date,
            CalendarUnit::Week => {
                let days = date.weekday().since(Weekday::Monday);
                date.checked_sub(i64::from(days).days()).ok()?
            }
            CalendarUnit::Month => date.first_of_month(),
            CalendarUnit::Year => date.first_of_year(),
        };
        let next = match self.unit {
            CalendarUnit::Day => first.checked_add(1.day()),
            CalendarUnit::Week => first.checked_add(1.week()),
            CalendarUnit::Month => first.checked_add(1.month()),
            CalendarUnit::Year => first.checked_add(1.year()),
        };
        Some((self.begin_of(first)?, self.begin_of(next.ok()?)?))
    }

    /// The first moment of a day.
    fn begin_of(&self, date: Date) -> Option<u64> {
        let begin = self.zone.to_timestamp(date.at(0, 0, 0, 0)).ok()?.as_millisecond();
        let begin = u64::try_from(begin).unwrap_or(0);
        Some(begin - begin % MINUTE_MS)
    }
}

impl PartialEq for Calendar {
    fn eq(&self, other: &Calendar) -> bool {
        self.0.code == other.0.code
    }
}

impl Eq for Calendar {}

impl Hash for Calendar {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.code.hash(state);
    }
}

impl fmt::Debug for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Calendar({} in {})", self.0.unit, self.0.name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn ms(text: &str) -> u64 {
        u64::try_from(text.parse::<Timestamp>().expect(text).as_millisecond()).expect("after 1970")
    }

    fn bounds(unit: CalendarUnit, zone: &str, at: &str) -> (String, String) {
        let calendar = Calendar::new(unit, zone).expect(zone);
        let window = calendar.window(ms(at));
        let show = |ms: u64| Timestamp::from_millisecond(i64::try_from(ms).unwrap()).unwrap();
        let begin = ms(at) - window.age_ms;
        assert_eq!(window.index * MINUTE_MS, begin);
        (show(begin).to_string(), show(ms(at) + window.to_end_ms).to_string())
    }

    #[test]
    fn windows_begin_and_end_where_the_calendar_of_the_zone_says() {
        use CalendarUnit::{Day, Month, Week, Year};
        for (unit, zone, at, begin, end) in [
            (Day, "UTC", "2026-12-01T13:00:00Z", "2026-12-01T00:00:00Z", "2026-12-02T00:00:00Z"),
            // Clocks go forward: 23 hours.
            (
                Day,
                "Europe/Berlin",
                "2026-03-29T12:00:00Z",
                "2026-03-28T23:00:00Z",
                "2026-03-29T22:00:00Z",
            ),
            // Clocks go back: 25 hours.
            (
                Day,
                "Europe/Berlin",
                "2026-10-25T12:00:00Z",
                "2026-10-24T22:00:00Z",
                "2026-10-25T23:00:00Z",
            ),
            (
                Month,
                "UTC",
                "2028-02-29T23:59:59.999Z",
                "2028-02-01T00:00:00Z",
                "2028-03-01T00:00:00Z",
            ),
            (Month, "UTC", "2027-02-28T23:59:59Z", "2027-02-01T00:00:00Z", "2027-03-01T00:00:00Z"),
            // The month of March begins in winter and ends in summer.
            (
                Month,
                "Europe/Berlin",
                "2026-03-01T00:00:00Z",
                "2026-02-28T23:00:00Z",
                "2026-03-31T22:00:00Z",
            ),
            (
                Month,
                "America/New_York",
                "2026-12-01T04:59:59Z",
                "2026-11-01T04:00:00Z",
                "2026-12-01T05:00:00Z",
            ),
            (
                Year,
                "Asia/Kolkata",
                "2026-12-31T18:29:59Z",
                "2025-12-31T18:30:00Z",
                "2026-12-31T18:30:00Z",
            ),
            (Year, "UTC", "2028-06-01T00:00:00Z", "2028-01-01T00:00:00Z", "2029-01-01T00:00:00Z"),
            (Week, "UTC", "2026-12-06T23:00:00Z", "2026-11-30T00:00:00Z", "2026-12-07T00:00:00Z"),
            (
                Week,
                "Pacific/Auckland",
                "2026-12-06T11:00:00Z",
                "2026-12-06T11:00:00Z",
                "2026-12-13T11:00:00Z",
            ),
            // Clocks skip midnight: the day begins at one o'clock.
            (
                Day,
                "America/Sao_Paulo",
                "2018-11-04T12:00:00Z",
                "2018-11-04T03:00:00Z",
                "2018-11-05T02:00:00Z",
            ),
            // Midnight comes twice: the day begins with the first.
            (
                Day,
                "America/Havana",
                "2018-11-04T12:00:00Z",
                "2018-11-04T04:00:00Z",
                "2018-11-05T05:00:00Z",
            ),
            // The zone skipped December 30.
            (
                Day,
                "Pacific/Apia",
                "2011-12-30T09:00:00Z",
                "2011-12-29T10:00:00Z",
                "2011-12-30T10:00:00Z",
            ),
        ] {
            let found = bounds(unit, zone, at);
            assert_eq!(found, (begin.to_owned(), end.to_owned()), "{unit} {zone} {at}");
        }
    }

    #[test]
    fn windows_follow_each_other_without_gap_and_overlap() {
        for zone in [
            "UTC",
            "Europe/Berlin",
            "Australia/Lord_Howe",
            "America/Sao_Paulo",
            "Africa/Casablanca",
        ] {
            for unit in CalendarUnit::ALL {
                let calendar = Calendar::new(unit, zone).expect(zone);
                let mut at = ms("2017-01-01T00:00:00Z");
                while at < ms("2031-01-01T00:00:00Z") {
                    let first = calendar.window(at);
                    let end = at + first.to_end_ms;
                    assert_eq!(calendar.window(end - 1).index, first.index, "{unit} {zone} {at}");
                    assert_eq!(calendar.window(end).age_ms, 0, "{unit} {zone} {at}");
                    at = end;
                }
            }
        }
    }

    #[test]
    fn a_calendar_is_found_by_its_code_and_a_zone_in_any_case() {
        let berlin = Calendar::new(CalendarUnit::Month, "europe/berlin").expect("a zone");
        assert_eq!(berlin, Calendar::new(CalendarUnit::Month, "Europe/Berlin").expect("a zone"));
        assert_ne!(berlin, Calendar::new(CalendarUnit::Day, "Europe/Berlin").expect("a zone"));
        assert_eq!(Calendar::of_code(berlin.code()), Some(berlin));
        assert!(is_code(berlin.code()) && !is_code(crate::algorithm::MAX_PERIOD_MS));
        for name in ["", "Berlin", "Europe/Berlin ", "../etc/passwd", &"x".repeat(1000)] {
            let error = Calendar::new(CalendarUnit::Day, name).expect_err(name);
            assert!(error.to_string().contains("is not a time zone"), "{error}");
        }
    }

    #[test]
    fn no_two_zones_have_one_code() {
        let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
        assert!(names.len() > 400, "{}", names.len());
        let codes: HashSet<u64> = names.iter().map(|name| code(CalendarUnit::Day, name)).collect();
        assert_eq!(codes.len(), names.len());
    }

    #[test]
    fn a_time_beyond_all_dates_has_a_window() {
        let calendar = Calendar::new(CalendarUnit::Year, "UTC").expect("a zone");
        let last = (1 << 48) - 1;
        assert!(calendar.window(last).to_end_ms <= DAY_MS);
        assert!(calendar.window(0).to_end_ms > 0);
    }
}
