//! Times in Unix seconds, as texts for messages.

use time::OffsetDateTime;

/// Formats a time as a day in UTC: `2027-01-15`.
#[must_use]
pub fn day(seconds: u64) -> String {
    match moment(seconds) {
        Some(at) => format!("{}-{:02}-{:02}", at.year(), u8::from(at.month()), at.day()),
        None => format!("second {seconds}"),
    }
}

/// Formats a time as a minute in UTC: `2027-01-15 08:00 UTC`.
#[must_use]
pub fn minute(seconds: u64) -> String {
    let of_day = moment(seconds)
        .map_or_else(String::new, |at| format!(" {:02}:{:02} UTC", at.hour(), at.minute()));
    format!("{}{of_day}", day(seconds))
}

/// The begin of the year 2020, in Unix seconds. A clock that shows an earlier time was never set.
const EARLIEST: u64 = 1_577_836_800;

/// The clock of this machine was never set. Its times would be those of writes and certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the clock of this machine shows {}, which has long passed: set the clock (NTP does it by itself, `date` by hand), and \
     try again", minute(*.0)
)]
pub struct ClockError(pub u64);

/// Checks that the clock of this machine may be right, at a time that it shows, in Unix seconds.
///
/// # Errors
/// If it shows a time before the year 2020.
pub fn check_clock(now: u64) -> Result<(), ClockError> {
    if now < EARLIEST { Err(ClockError(now)) } else { Ok(()) }
}

/// Returns none for times after the year 9999.
fn moment(seconds: u64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_formatted_as_a_day_or_a_minute() {
        assert_eq!(day(1_800_000_000), "2027-01-15");
        assert_eq!(minute(1_800_000_000), "2027-01-15 08:00 UTC");
        assert_eq!(minute(u64::MAX), format!("second {}", u64::MAX));
    }

    #[test]
    fn a_clock_that_was_never_set_is_named_with_what_to_do() {
        assert_eq!(check_clock(EARLIEST), Ok(()));
        for now in [0, 86_400, EARLIEST - 1] {
            let error = check_clock(now).unwrap_err().to_string();
            assert!(error.contains(&minute(now)) && error.contains("set the clock"), "{error}");
        }
    }
}
