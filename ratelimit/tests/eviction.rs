//! Which counters a full table keeps.

use std::time::Duration;

use ratelimit::{Algorithm, Limit, Limiter, ManualClock, Request, RestoreError};

const START: u64 = 1_700_000_040_000;
const ALL: [Algorithm; 3] = [Algorithm::Sliding, Algorithm::Fixed, Algorithm::Gcra];
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
const KEYS: u32 = 1000;

fn limiter(keys: usize, guests: bool) -> (Limiter<ManualClock>, ManualClock) {
    let clock = ManualClock::at(START);
    let builder = Limiter::builder().capacity(keys).secret([7; 16]).guests(guests);
    (builder.clock(clock.clone()).build().expect("a limiter"), clock)
}

fn limit(algorithm: Algorithm, count: u32, period: Duration) -> Limit {
    Limit::new(algorithm, count, period).expect("within bounds")
}

/// Sends `cost` for each of many keys.
fn fill(limiter: &Limiter<ManualClock>, name: &str, limit: Limit, keys: u32, cost: u32) {
    for key in 0..keys {
        let _unread = limiter.check(&Request::new(name, &key.to_le_bytes(), limit).cost(cost));
    }
}

/// Returns how many of the first keys have lost their counter.
fn lost(limiter: &Limiter<ManualClock>, name: &str, limit: Limit) -> usize {
    let whole = |key: u32| {
        limiter.peek(&Request::new(name, &key.to_le_bytes(), limit)).remaining == limit.burst()
    };
    (0..KEYS).filter(|key| whole(*key)).count()
}

#[test]
fn a_flood_of_short_periods_evicts_no_long_counter_near_its_limit() {
    for algorithm in ALL {
        for (flood, cost) in [(1000, 900), (1000, 1000), (1, 1), (100, 60)] {
            let (limiter, _clock) = limiter(10_000, false);
            let long = limit(algorithm, 5, DAY);
            fill(&limiter, "long", long, KEYS, 4);
            fill(&limiter, "flood", limit(algorithm, flood, SECOND), 200_000, cost);
            assert_eq!(lost(&limiter, "long", long), 0, "{algorithm}, {cost} of {flood} a second");
            assert!(limiter.stats().evictions > 0, "the flood filled the table");
        }
    }
}

#[test]
fn a_flood_of_long_periods_evicts_no_short_counter_at_its_limit() {
    for algorithm in ALL {
        let (limiter, _clock) = limiter(10_000, false);
        let minute = limit(algorithm, 5, SECOND * 60);
        fill(&limiter, "minute", minute, KEYS, 5);
        fill(&limiter, "flood", limit(algorithm, 1000, DAY), 200_000, 1);
        assert_eq!(lost(&limiter, "minute", minute), 0, "{algorithm}");
        assert!(limiter.stats().evictions > 0, "the flood filled the table");
    }
}

#[test]
fn guests_never_evict_others() {
    for algorithm in ALL {
        let (limiter, _clock) = limiter(10_000, true);
        // The weakest counters that there can be.
        let own = limit(algorithm, 1_000_000, SECOND * 60);
        fill(&limiter, "n", own, KEYS, 1);
        for ms in 1..=5000 {
            let odd = limit(algorithm, 1, Duration::from_millis(DAY.as_secs() * 1000 + ms));
            let odd = odd.guest(true);
            for key in 0..40_u32 {
                let _unread = limiter.check(&Request::new("n", &key.to_le_bytes(), odd));
            }
        }
        assert!(limiter.stats().evictions > 0, "the flood filled its share");
        assert_eq!(lost(&limiter, "n", own), 0, "{algorithm}");
        // A limit that arrives afterwards still has a class, so it is saved.
        let late = limit(algorithm, 1, SECOND * 61);
        let _unread = limiter.check(&Request::new("late", "k", late));
        let pieces: Vec<Vec<u8>> = limiter.save().collect();
        let builder = Limiter::builder().capacity(20_000).clock(ManualClock::at(START));
        let after = builder.clone().guests(true).restore(&pieces).expect("what was saved");
        assert!(!after.peek(&Request::new("late", "k", late)).allowed, "{algorithm}");
        assert_eq!(lost(&after, "n", own), 0, "{algorithm}");
        let guest = limit(algorithm, 1, DAY + Duration::from_millis(1)).guest(true);
        let kept = lost(&limiter, "n", guest);
        assert_eq!(lost(&after, "n", guest), kept, "{algorithm}: guests are saved, too");
        assert_eq!(builder.restore(&pieces).err(), Some(RestoreError::Guests));
    }
}

#[test]
fn a_guest_without_a_share_is_like_any_other() {
    let (limiter, _clock) = limiter(8, false);
    let one = limit(Algorithm::Sliding, 1, DAY);
    assert!(limiter.check(&Request::new("n", "k", one.guest(true))).allowed);
    assert!(!limiter.check(&Request::new("n", "k", one)).allowed);
}

#[test]
fn an_expired_counter_is_evicted_before_one_that_lasts() {
    for algorithm in ALL {
        let (limiter, clock) = limiter(10_000, false);
        fill(&limiter, "short", limit(algorithm, 5, SECOND), 200_000, 5);
        clock.advance(SECOND * 3);
        let long = limit(algorithm, 1_000_000, SECOND * 60);
        let before = limiter.stats().evictions;
        fill(&limiter, "long", long, KEYS, 1);
        assert_eq!((lost(&limiter, "long", long), limiter.stats().evictions), (0, before));
    }
}
