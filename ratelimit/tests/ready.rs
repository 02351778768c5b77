//! Waiting for a limit, with a clock that follows the paused timer of tokio.

use std::sync::Arc;
use std::time::Duration;

use ratelimit::{Algorithm, Clock, Limit, Limiter, NeverReady};
use tokio::time::Instant;

const START: u64 = 1_700_000_040_000;
const ALL: [Algorithm; 3] = [Algorithm::Sliding, Algorithm::Fixed, Algorithm::Gcra];

/// The time of a runtime whose timer is paused: it advances when all tasks sleep.
struct RuntimeClock(Instant);

impl Clock for RuntimeClock {
    fn now_ms(&self) -> u64 {
        START + u64::try_from(self.0.elapsed().as_millis()).expect("a short test")
    }
}

fn limiter() -> Arc<Limiter<RuntimeClock>> {
    let clock = RuntimeClock(Instant::now());
    Arc::new(Limiter::builder().capacity(8).clock(clock).build().expect("a limiter"))
}

fn limit(algorithm: Algorithm, count: u32) -> Limit {
    Limit::new(algorithm, count, Duration::from_secs(60)).expect("within bounds")
}

#[tokio::test(start_paused = true)]
async fn a_waiter_passes_as_soon_as_the_limit_allows_it() {
    for algorithm in ALL {
        let named = limiter().owned_limit("n", limit(algorithm, 2));
        assert!(named.check_n("k", 2).allowed);
        let wait = named.check("k").retry_after.expect("it will be allowed");
        let start = Instant::now();
        let decision = named.until_ready("k").await.expect("it fits");
        assert!(decision.allowed);
        assert_eq!(start.elapsed().as_millis(), wait.as_millis(), "{algorithm}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_dropped_has_counted_nothing() {
    for algorithm in ALL {
        let named = limiter().owned_limit("n", limit(algorithm, 1));
        assert!(named.check("k").allowed);
        let wait = named.peek("k").retry_after.expect("it will be allowed");
        let cancelled = tokio::time::timeout(wait / 2, named.until_ready("k")).await;
        assert!(cancelled.is_err(), "{algorithm}: it still waits");
        tokio::time::sleep(wait).await;
        assert!(named.check("k").allowed, "{algorithm}");
    }
}

#[tokio::test(start_paused = true)]
async fn many_waiters_all_pass_and_never_more_than_the_limit_at_a_time() {
    for algorithm in ALL {
        let named = limiter().owned_limit("n", limit(algorithm, 3));
        let start = Instant::now();
        let mut waiters = tokio::task::JoinSet::new();
        for _ in 0..30 {
            let named = named.clone();
            waiters.spawn(async move { named.until_ready("k").await.map(|_| start.elapsed()) });
        }
        let mut times = Vec::new();
        while let Some(passed) = waiters.join_next().await {
            times.push(passed.expect("no panic").expect("it fits"));
        }
        times.sort();
        assert_eq!(times.len(), 30, "{algorithm}");
        // No bound of an algorithm allows more than twice its limit in one period.
        for (first, last) in times.iter().zip(&times[6..]) {
            assert!(*last - *first >= Duration::from_secs(20), "{algorithm}: {times:?}");
        }
    }
}

#[tokio::test]
async fn what_never_fits_is_an_error_at_once() {
    let limiter = limiter();
    let named = limiter.limit("n", limit(Algorithm::Gcra, 5));
    let error = named.until_n_ready("k", 6).await.expect_err("it never fits");
    assert_eq!(error, NeverReady { cost: 6, limit: 5 });
    assert_eq!(error.to_string(), "a cost of 6 never fits into a limit of 5");
    let shadow = limiter.limit("n", limit(Algorithm::Gcra, 5).shadow(true));
    assert!(shadow.until_n_ready("k", 6).await.expect("shadow mode allows it").shadowed);
}
