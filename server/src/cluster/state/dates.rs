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
}
