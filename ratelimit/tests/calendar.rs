//! Limits in windows of a calendar. Times are arguments.

use std::time::Duration;

use ratelimit::{Calendar, CalendarUnit, Limit, Limiter, ManualClock, Request, headers};

/// 2026-10-25T12:00:00Z: in Berlin the day of 25 hours ends at 23:00Z, the month on the 31st at 23:00Z.
const NOON: u64 = 1_792_929_600_000;
const HOUR: u64 = 3_600_000;

fn limiter(now: u64) -> (Limiter<ManualClock>, ManualClock) {
    let clock = ManualClock::at(now);
    let builder = Limiter::builder().capacity(1000).secret([7; 16]).clock(clock.clone());
    (builder.build().expect("a limiter"), clock)
}

fn berlin(unit: CalendarUnit, count: u32) -> Limit {
    Limit::calendar_windows(count, Calendar::new(unit, "Europe/Berlin").expect("a zone"))
}

fn hours(hours: u64) -> Duration {
    Duration::from_millis(hours * HOUR)
}

#[test]
fn a_quota_is_free_again_when_the_window_of_the_calendar_ends() {
    for (unit, to_end) in [
        (CalendarUnit::Day, 11),
        (CalendarUnit::Week, 11),
        (CalendarUnit::Month, 6 * 24 + 11),
        (CalendarUnit::Year, 67 * 24 + 11),
    ] {
        let (limiter, _clock) = limiter(NOON);
        let request = Request::new("n", "k", berlin(unit, 2));
        let first = limiter.check_at(NOON, &request);
        assert_eq!((first.allowed, first.remaining, first.reset_after), (true, 1, hours(to_end)));
        assert!(limiter.check_at(NOON, &request).allowed);
        let denied = limiter.check_at(NOON, &request);
        assert_eq!((denied.allowed, denied.retry_after), (false, Some(hours(to_end))));
        assert_eq!(headers::retry_after(&denied), Some(to_end * 3600));
        let end = NOON + to_end * HOUR;
        assert!(!limiter.peek_at(end - 1, &request).allowed, "{unit}");
        let next = limiter.check_at(end, &request);
        assert_eq!((next.allowed, next.remaining), (true, 1), "{unit}");
    }
}

#[test]
fn a_clock_that_goes_back_opens_no_second_window() {
    let (limiter, clock) = limiter(NOON);
    let request = Request::new("n", "k", berlin(CalendarUnit::Day, 1));
    assert!(limiter.check(&request).allowed);
    clock.set(NOON - 24 * HOUR);
    assert!(!limiter.check(&request).allowed);
    clock.set(NOON + 11 * HOUR);
    assert!(limiter.check(&request).allowed);
    clock.set(NOON);
    assert!(!limiter.check(&request).allowed);
}

#[test]
fn calendars_and_periods_have_their_own_counters() {
    let (limiter, _clock) = limiter(NOON);
    let day = Duration::from_secs(24 * 3600);
    let utc = Calendar::new(CalendarUnit::Day, "UTC").expect("a zone");
    for limit in [
        berlin(CalendarUnit::Day, 1),
        berlin(CalendarUnit::Month, 1),
        Limit::calendar_windows(1, utc),
        Limit::fixed(1, day).expect("valid"),
    ] {
        let request = Request::new("n", "k", limit);
        assert!(limiter.check(&request).allowed, "{limit:?}");
        assert!(!limiter.check(&request).allowed, "{limit:?}");
    }
    // Another count of the same calendar is another threshold on the same counter.
    let more = Request::new("n", "k", berlin(CalendarUnit::Day, 3));
    assert_eq!(limiter.peek(&more).remaining, 2);
}

#[test]
fn usage_is_recorded_refunded_and_reset_in_its_window() {
    let (limiter, _clock) = limiter(NOON);
    let request = Request::new("n", "k", berlin(CalendarUnit::Month, 10));
    assert!(!limiter.record(&request.cost(15)).allowed);
    assert!(!limiter.peek(&request).allowed);
    limiter.refund(&request.cost(6));
    assert_eq!(limiter.peek(&request).remaining, 1);
    limiter.reset(&request);
    assert_eq!(limiter.peek(&request).remaining, 10);
    let policy = headers::policy("quota", &request.limit);
    assert_eq!(policy, "\"quota\";q=10", "a month has no length in seconds");
}

#[test]
fn a_save_keeps_quotas_and_a_save_of_calendars_nothing_else() {
    let (limiter, _clock) = limiter(NOON);
    let quota = Request::new("n", "k", berlin(CalendarUnit::Month, 9));
    let minute = Limit::fixed(9, Duration::from_secs(60)).expect("valid");
    let minute = Request::new("n", "k", minute);
    assert!(!limiter.take_changed_calendars());
    let _counted = limiter.check(&minute);
    assert!(!limiter.take_changed_calendars(), "only calendars count");
    let _counted = limiter.check(&quota.cost(4));
    assert!(limiter.take_changed_calendars() && !limiter.take_changed_calendars());
    let restore = |pieces: Vec<Vec<u8>>, now| {
        let clock = ManualClock::at(now);
        Limiter::builder().capacity(1000).clock(clock).restore(pieces).expect("a sound save")
    };
    for now in [NOON, NOON - 400 * 24 * HOUR] {
        let all = restore(limiter.save().collect(), now);
        assert_eq!((all.peek(&quota).remaining, all.peek(&minute).remaining), (5, 8));
        let quotas = restore(limiter.save_calendars().collect(), now);
        assert_eq!((quotas.peek(&quota).remaining, quotas.peek(&minute).remaining), (5, 9));
    }
    let later = restore(limiter.save().collect(), NOON + 40 * 24 * HOUR);
    assert_eq!(later.peek(&quota).remaining, 9, "the month is over");
}

#[test]
fn a_flood_of_short_periods_evicts_no_quota() {
    let (limiter, _clock) = limiter(NOON);
    let quota = berlin(CalendarUnit::Month, 10);
    for key in 0..100_u32 {
        let _counted = limiter.check(&Request::new("q", &key.to_be_bytes(), quota).cost(5));
    }
    let second = Limit::sliding(10, Duration::from_secs(1)).expect("valid");
    for key in 0..50_000_u32 {
        let _counted = limiter.check(&Request::new("f", &key.to_be_bytes(), second).cost(10));
    }
    let kept = (0..100_u32)
        .filter(|key| limiter.peek(&Request::new("q", &key.to_be_bytes(), quota)).remaining == 5);
    assert_eq!(kept.count(), 100);
}
