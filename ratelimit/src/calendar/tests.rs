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

/// A unit, a zone, a time, and when its window begins and ends.
const WINDOWS: [(CalendarUnit, &str, &str, &str, &str); 14] = [
    (
        CalendarUnit::Day,
        "UTC",
        "2026-12-01T13:00:00Z",
        "2026-12-01T00:00:00Z",
        "2026-12-02T00:00:00Z",
    ),
    // Clocks go forward: 23 hours.
    (
        CalendarUnit::Day,
        "Europe/Berlin",
        "2026-03-29T12:00:00Z",
        "2026-03-28T23:00:00Z",
        "2026-03-29T22:00:00Z",
    ),
    // Clocks go back: 25 hours.
    (
        CalendarUnit::Day,
        "Europe/Berlin",
        "2026-10-25T12:00:00Z",
        "2026-10-24T22:00:00Z",
        "2026-10-25T23:00:00Z",
    ),
    (
        CalendarUnit::Month,
        "UTC",
        "2028-02-29T23:59:59.999Z",
        "2028-02-01T00:00:00Z",
        "2028-03-01T00:00:00Z",
    ),
    (
        CalendarUnit::Month,
        "UTC",
        "2027-02-28T23:59:59Z",
        "2027-02-01T00:00:00Z",
        "2027-03-01T00:00:00Z",
    ),
    // The month of March begins in winter and ends in summer.
    (
        CalendarUnit::Month,
        "Europe/Berlin",
        "2026-03-01T00:00:00Z",
        "2026-02-28T23:00:00Z",
        "2026-03-31T22:00:00Z",
    ),
    (
        CalendarUnit::Month,
        "America/New_York",
        "2026-12-01T04:59:59Z",
        "2026-11-01T04:00:00Z",
        "2026-12-01T05:00:00Z",
    ),
    (
        CalendarUnit::Year,
        "Asia/Kolkata",
        "2026-12-31T18:29:59Z",
        "2025-12-31T18:30:00Z",
        "2026-12-31T18:30:00Z",
    ),
    (
        CalendarUnit::Year,
        "UTC",
        "2028-06-01T00:00:00Z",
        "2028-01-01T00:00:00Z",
        "2029-01-01T00:00:00Z",
    ),
    (
        CalendarUnit::Week,
        "UTC",
        "2026-12-06T23:00:00Z",
        "2026-11-30T00:00:00Z",
        "2026-12-07T00:00:00Z",
    ),
    (
        CalendarUnit::Week,
        "Pacific/Auckland",
        "2026-12-06T11:00:00Z",
        "2026-12-06T11:00:00Z",
        "2026-12-13T11:00:00Z",
    ),
    // Clocks skip midnight: the day begins at one o'clock.
    (
        CalendarUnit::Day,
        "America/Sao_Paulo",
        "2018-11-04T12:00:00Z",
        "2018-11-04T03:00:00Z",
        "2018-11-05T02:00:00Z",
    ),
    // Midnight comes twice: the day begins with the first.
    (
        CalendarUnit::Day,
        "America/Havana",
        "2018-11-04T12:00:00Z",
        "2018-11-04T04:00:00Z",
        "2018-11-05T05:00:00Z",
    ),
    // The zone skipped December 30.
    (
        CalendarUnit::Day,
        "Pacific/Apia",
        "2011-12-30T09:00:00Z",
        "2011-12-29T10:00:00Z",
        "2011-12-30T10:00:00Z",
    ),
];

#[test]
fn windows_begin_and_end_where_the_calendar_of_the_zone_says() {
    for (unit, zone, at, begin, end) in WINDOWS {
        let found = bounds(unit, zone, at);
        assert_eq!(found, (begin.to_owned(), end.to_owned()), "{unit} {zone} {at}");
    }
}

#[test]
fn windows_follow_each_other_without_gap_and_overlap() {
    for zone in
        ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo", "Africa/Casablanca"]
    {
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
