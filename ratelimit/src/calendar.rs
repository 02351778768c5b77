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

#[cfg(test)]
mod tests;

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
