//! The public API of the limiter: costs, refunds, batches, clocks, threads, floods, saves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ratelimit::{Algorithm, Limit, Limiter, ManualClock, Request};

const START: u64 = 1_700_000_040_000;
const MINUTE: Duration = Duration::from_secs(60);
const ALL: [Algorithm; 3] = [Algorithm::Sliding, Algorithm::Fixed, Algorithm::Gcra];

fn limiter(keys: usize) -> (Limiter<ManualClock>, ManualClock) {
    let clock = ManualClock::at(START);
    let builder = Limiter::builder().capacity(keys).secret([7; 16]).clock(clock.clone());
    (builder.build().expect("a limiter"), clock)
}

fn limit(algorithm: Algorithm, count: u32) -> Limit {
    Limit::new(algorithm, count, MINUTE).expect("within bounds")
}

#[test]
fn a_refund_gives_back_exactly_its_cost() {
    for algorithm in ALL {
        let (limiter, _clock) = limiter(8);
        let request = Request::new("n", "k", limit(algorithm, 10));
        assert_eq!(limiter.check(&request.cost(10)).remaining, 0);
        limiter.refund(&request.cost(3));
        assert_eq!(limiter.peek(&request).remaining, 3, "{algorithm}");
    }
}

#[test]
fn a_refund_of_more_than_was_taken_frees_the_limit_and_no_more() {
    for algorithm in ALL {
        let (limiter, _clock) = limiter(8);
        let request = Request::new("n", "k", limit(algorithm, 10));
        let _unread = limiter.check(&request);
        limiter.refund(&request.cost(5));
        assert_eq!(limiter.check(&request.cost(10)).remaining, 0, "{algorithm}");
        assert!(!limiter.check(&request).allowed, "{algorithm}");
    }
}

#[test]
fn a_reset_key_has_its_whole_limit_and_no_more() {
    for algorithm in ALL {
        let (limiter, _clock) = limiter(8);
        let request = Request::new("n", "k", limit(algorithm, 2));
        let _unread = limiter.check(&request.cost(2));
        limiter.reset(&request);
        assert!(limiter.check(&request.cost(2)).allowed, "{algorithm}");
        assert!(!limiter.check(&request).allowed, "{algorithm}");
    }
}

#[test]
fn a_limit_of_zero_denies_every_request_for_ever() {
    for algorithm in ALL {
        let (limiter, _clock) = limiter(8);
        let decision = limiter.check(&Request::new("n", "k", limit(algorithm, 0)));
        assert!(!decision.allowed, "{algorithm}");
        assert_eq!(decision.retry_after, None, "{algorithm}");
    }
}

#[test]
fn a_changed_limit_keeps_the_count() {
    for algorithm in [Algorithm::Sliding, Algorithm::Fixed] {
        let (limiter, _clock) = limiter(8);
        let _unread = limiter.check(&Request::new("n", "k", limit(algorithm, 10)).cost(8));
        let wider = limiter.check(&Request::new("n", "k", limit(algorithm, 20)));
        assert_eq!(wider.remaining, 11, "{algorithm}");
        assert!(
            !limiter.check(&Request::new("n", "k", limit(algorithm, 5))).allowed,
            "{algorithm}"
        );
    }
}

#[test]
fn each_namespace_period_and_algorithm_has_its_own_counter() {
    let (limiter, _clock) = limiter(8);
    let minute = limit(Algorithm::Sliding, 1);
    let second = Limit::sliding(1, Duration::from_secs(1)).expect("within bounds");
    let others = [
        Request::new("n", "k", second),
        Request::new("n", "k", limit(Algorithm::Fixed, 1)),
        Request::new("m", "k", minute),
        Request::new("nk", "", minute),
    ];
    assert!(limiter.check(&Request::new("n", "k", minute)).allowed);
    for request in others {
        assert!(limiter.check(&request).allowed, "{request:?}");
    }
    assert!(!limiter.check(&Request::new("n", "k", minute)).allowed);
}

#[test]
fn shadow_mode_allows_and_reports_what_it_would_have_denied() {
    let (limiter, _clock) = limiter(8);
    let request = Request::new("n", "k", limit(Algorithm::Sliding, 1).shadow(true));
    assert!(limiter.check(&request).within());
    let over = limiter.check(&request);
    assert!(over.allowed && over.shadowed && !over.within());
    let stats = limiter.stats();
    assert_eq!((stats.checks, stats.denials, stats.shadowed), (2, 1, 1));
}

#[test]
fn a_clock_that_goes_back_gives_no_key_a_second_window() {
    for algorithm in ALL {
        let (limiter, clock) = limiter(8);
        let request = Request::new("n", "k", limit(algorithm, 5));
        assert!(limiter.check(&request.cost(5)).allowed);
        for back in [1, 30_000, 60_000, 600_000, START] {
            clock.set(START - back);
            assert!(!limiter.check(&request).allowed, "{algorithm}, {back} ms back");
        }
        clock.set(START + 200_000);
        assert!(limiter.check(&request).allowed, "{algorithm}");
    }
}

#[test]
fn a_batch_with_a_denied_request_counts_no_request() {
    let (limiter, _clock) = limiter(8);
    let (a, b) = (limit(Algorithm::Sliding, 5), limit(Algorithm::Gcra, 2));
    let requests =
        [Request::new("a", "k", a).cost(2), Request::new("b", "k", b), Request::new("a", "k", a)];
    assert!(limiter.check_all(&requests).allowed);
    let denied = limiter.check_all(&requests);
    assert!(!denied.allowed);
    assert_eq!(limiter.peek(&requests[0]).remaining, 2);
    assert_eq!(limiter.peek(&requests[1]).remaining, 1);
    assert_eq!(denied.decisions.len(), 3);
}

#[test]
fn a_denied_batch_reports_its_counters_without_the_batch() {
    for algorithm in ALL {
        let (limiter, _clock) = limiter(8);
        let request = Request::new("n", "k", limit(algorithm, 3));
        let denied = limiter.check_all(&[request, request.cost(3), request]);
        assert!(!denied.allowed, "{algorithm}");
        let states: Vec<_> =
            denied.decisions.iter().map(|one| (one.remaining, one.reset_after)).collect();
        assert_eq!(states, [(3, Duration::ZERO); 3], "{algorithm}");
        let retries: Vec<_> = denied.decisions.iter().map(|one| one.retry_after).collect();
        assert_eq!(retries, [Some(Duration::ZERO), None, None], "{algorithm}: 1, 4 and 5 of 3");
        assert_eq!(limiter.peek(&request).remaining, 3, "{algorithm}");
    }
}

#[test]
fn a_denied_batch_passes_after_its_longest_wait() {
    let limit = Limit::sliding(3, Duration::from_secs(6)).expect("within bounds");
    let (limiter, clock) = limiter(8);
    let request = Request::new("n", "k", limit);
    assert!(limiter.check(&request).allowed);
    let denied = limiter.check_all(&[request; 3]);
    let waits: Vec<_> = denied.decisions.iter().map(|one| one.retry_after).collect();
    // The request counts until the window after its own has passed.
    let wait = Duration::from_secs(12);
    assert_eq!(waits, [Some(Duration::ZERO), Some(Duration::ZERO), Some(wait)]);
    clock.advance(wait - Duration::from_millis(1));
    assert!(!limiter.check_all(&[request; 3]).allowed);
    clock.advance(Duration::from_millis(1));
    assert!(limiter.check_all(&[request; 3]).allowed);
}

#[test]
fn threads_with_one_new_key_are_allowed_exactly_its_limit() {
    const THREADS: u32 = 64;
    for algorithm in ALL {
        for round in 0..20 {
            let (limiter, _clock) = limiter(4);
            let limit = limit(algorithm, 1000);
            let (admitted, start) = (AtomicU64::new(0), std::sync::Barrier::new(THREADS as usize));
            std::thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| {
                        start.wait();
                        for _ in 0..40 {
                            let allowed = limiter.check(&Request::new("n", "k", limit)).allowed;
                            admitted.fetch_add(u64::from(allowed), Ordering::Relaxed);
                        }
                    });
                }
            });
            assert_eq!(admitted.into_inner(), 1000, "{algorithm}, round {round}");
            let stats = limiter.stats();
            let checks = u64::from(THREADS) * 40;
            assert_eq!((stats.checks, stats.denials), (checks, checks - 1000));
            assert_eq!(stats.live, 1, "{algorithm}: one key has one slot");
        }
    }
}

#[test]
fn threads_with_as_many_new_keys_as_slots_are_allowed_exactly_their_limits() {
    for round in 0..200_u32 {
        let (limiter, _clock) = limiter(4);
        let limit = limit(Algorithm::Sliding, 3);
        let admitted = AtomicU64::new(0);
        let start = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    for key in 0..8_u32 {
                        let key = (round * 8 + key).to_le_bytes();
                        let allowed = limiter.check(&Request::new("n", &key, limit)).allowed;
                        admitted.fetch_add(u64::from(allowed), Ordering::Relaxed);
                    }
                });
            }
        });
        let evictions = limiter.stats().evictions;
        if evictions == 0 {
            assert_eq!(admitted.into_inner(), 24, "round {round}");
        }
    }
}

#[test]
fn threads_that_check_batches_are_never_allowed_too_much() {
    let (limiter, _clock) = limiter(64);
    let limit = limit(Algorithm::Sliding, 100);
    let admitted = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (limiter, admitted) = (&limiter, &admitted);
            scope.spawn(move || {
                for _ in 0..200 {
                    let (a, b) = (Request::new("a", "k", limit), Request::new("b", "k", limit));
                    let requests = if thread % 2 == 0 { [a, b] } else { [b, a] };
                    let allowed = limiter.check_all(&requests).allowed;
                    admitted.fetch_add(u64::from(allowed), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(admitted.into_inner(), 100);
    assert_eq!(limiter.peek(&Request::new("b", "k", limit)).remaining, 0);
}

/// Returns how many random keys flood a table: `WAYPOST_TEST_FLOOD`, or as many as take a second.
fn flood_keys() -> u64 {
    std::env::var("WAYPOST_TEST_FLOOD").ok().and_then(|keys| keys.parse().ok()).unwrap_or(400_000)
}

#[test]
fn a_flood_of_random_keys_evicts_no_key_at_its_limit() {
    for algorithm in ALL {
        for count in [1, 5, 100] {
            let (limiter, clock) = limiter(10_000);
            let limit = limit(algorithm, count);
            let victim = |key: u32| key.to_le_bytes();
            for key in 0..1000 {
                assert!(limiter.check(&Request::new("n", &victim(key), limit).cost(count)).allowed);
            }
            for flood in 0..flood_keys() {
                let _unread = limiter.check(&Request::new("n", &flood.to_le_bytes(), limit));
            }
            // Requests the whole limit, so that a single counted request is enough for a denial.
            clock.advance(Duration::from_millis(100));
            let evicted = (0..1000)
                .filter(|key| {
                    limiter.check(&Request::new("n", &victim(*key), limit).cost(count)).allowed
                })
                .count();
            assert_eq!(evicted, 0, "{algorithm}, limit {count}");
            assert!(limiter.stats().evictions > 0, "the flood filled the table");
        }
    }
}

#[test]
fn a_table_evicts_at_most_one_in_a_hundred_of_the_keys_of_its_capacity() {
    let (limiter, _clock) = limiter(100_000);
    let limit = limit(Algorithm::Sliding, 10);
    for key in 0..100_000_u32 {
        let _unread = limiter.check(&Request::new("n", &key.to_le_bytes(), limit));
    }
    let stats = limiter.stats();
    assert!(stats.evictions <= 1000, "{stats:?}");
    assert_eq!(stats.slots, 200_000);
}

#[test]
fn counters_survive_a_restart_into_a_table_of_another_size() {
    for keys in [60, 1000, 4000, 10_007, 40_000] {
        let (before, _clock) = limiter(4000);
        for algorithm in ALL {
            for key in 0..500_u32 {
                let _unread = before
                    .check(&Request::new("n", &key.to_le_bytes(), limit(algorithm, 9)).cost(9));
            }
        }
        let pieces: Vec<Vec<u8>> = before.save().collect();
        assert!(pieces.iter().all(|piece| piece.len() <= 65_536));
        let clock = ManualClock::at(START + 5000);
        let builder = Limiter::builder().capacity(keys).clock(clock);
        let after = builder.restore(&pieces).expect("what was saved");
        let mut denied = 0;
        for algorithm in ALL {
            for key in 0..500_u32 {
                let key = key.to_le_bytes();
                let request = Request::new("n", &key, limit(algorithm, 9)).cost(9);
                denied += usize::from(!after.peek(&request).allowed);
            }
        }
        if keys >= 4000 {
            assert_eq!(denied, 1500, "{keys} keys");
        } else {
            assert!(denied > 100, "{keys} keys: {denied}");
        }
    }
}

#[test]
fn a_restart_with_an_earlier_clock_begins_at_the_time_of_the_save() {
    let (before, _clock) = limiter(8);
    let pieces: Vec<Vec<u8>> = before.save().collect();
    let clock = ManualClock::at(START - 1_000_000);
    let after = Limiter::builder().clock(clock.clone()).restore(pieces).expect("what was saved");
    assert_eq!(after.now_ms(), START);
    clock.advance(Duration::from_secs(5));
    assert_eq!(after.now_ms(), START + 5000);
}

#[test]
fn damaged_saves_are_refused_and_never_panic() {
    let (before, _clock) = limiter(10_000);
    for key in 0..6000_u32 {
        let _unread =
            before.check(&Request::new("n", &key.to_le_bytes(), limit(Algorithm::Sliding, 9)));
    }
    let pieces: Vec<Vec<u8>> = before.save().collect();
    assert!(pieces.len() > 1);
    let refused = |pieces: &[Vec<u8>]| Limiter::builder().capacity(8).restore(pieces).is_err();
    assert!(refused(&[]));
    assert!(refused(&pieces[1..]));
    assert!(refused(&pieces[..pieces.len() - 1]));
    for at in (0..pieces[0].len()).step_by(97) {
        let mut damaged = pieces.clone();
        damaged[0][at] ^= 0x10;
        assert!(refused(&damaged), "byte {at}");
        assert!(refused(&[pieces[0][..at].to_vec()]), "cut at {at}");
    }
}

#[test]
fn threads_share_a_limiter_through_an_arc() {
    let limiter = Arc::new(Limiter::builder().capacity(8).build().expect("a limiter"));
    let other = Arc::clone(&limiter);
    let limit = Limit::gcra(1, 1, MINUTE).expect("within bounds");
    let first = std::thread::spawn(move || other.check(&Request::new("n", "k", limit)).allowed);
    assert!(first.join().expect("no panic"));
    assert!(!limiter.check(&Request::new("n", "k", limit)).allowed);
}

#[test]
fn a_record_above_the_limit_denies_until_enough_of_the_window_has_passed() {
    for algorithm in ALL {
        let (limiter, clock) = limiter(8);
        let request = Request::new("n", "k", limit(algorithm, 1000));
        assert!(limiter.record(&request.cost(600)).allowed);
        let over = limiter.record(&request.cost(600));
        assert!(!over.allowed, "{algorithm}");
        assert_eq!(over.remaining, 0, "{algorithm}");
        let look = limiter.check(&request.cost(0));
        assert_eq!((look.allowed, look.retry_after), (false, over.retry_after), "{algorithm}");
        let wait = over.retry_after.expect("it will be within its limit again");
        clock.advance(wait - Duration::from_millis(1));
        assert!(!limiter.peek(&request.cost(0)).allowed, "{algorithm}");
        clock.advance(Duration::from_millis(1));
        assert!(limiter.peek(&request.cost(0)).allowed, "{algorithm}");
    }
    assert_eq!(limiter(8).0.stats().records, 0);
}

#[test]
fn a_counter_that_is_full_stays_full() {
    for algorithm in ALL {
        for count in [0, 1, 2_000_000] {
            let (limiter, _clock) = limiter(8);
            let request = Request::new("n", "k", limit(algorithm, count)).cost(u32::MAX);
            for _ in 0..3 {
                let over = limiter.record(&request);
                assert!(!over.allowed || count == 0, "{algorithm} of {count}");
                assert!(over.reset_after <= Limit::MAX_PERIOD, "{algorithm} of {count}: {over:?}");
            }
            assert!(!limiter.check(&request.cost(1)).allowed, "{algorithm} of {count}");
            assert_eq!(limiter.stats().records, 3);
        }
    }
}

#[test]
fn threads_that_record_lose_no_cost() {
    for algorithm in ALL {
        let (limiter, _clock) = limiter(8);
        let request = Request::new("n", "k", limit(algorithm, 4000));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let _unread = limiter.record(&request);
                    }
                });
            }
        });
        assert!(limiter.peek(&request.cost(0)).allowed, "{algorithm}");
        assert_eq!(limiter.peek(&request).remaining, 0, "{algorithm}");
    }
}
