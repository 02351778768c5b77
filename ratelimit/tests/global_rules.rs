//! The rules of global limits, one by one.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use ratelimit::{
    Algorithm, Builder, Limit, LimitError, Limiter, ManualClock, Request, StateCursor,
};

/// The start of a window of ten seconds.
const START_MS: u64 = 1_767_225_600_000;
const PERIOD_MS: u64 = 10_000;

fn builder(bytes: usize) -> Builder<ManualClock> {
    let builder = Limiter::builder().memory_bytes(bytes).secret([3; 16]).guests(true);
    builder.global([7; 16]).clock(ManualClock::at(START_MS))
}

fn limiter() -> Limiter<ManualClock> {
    builder(1 << 20).build().expect("the system has random bytes")
}

fn limit(count: u32) -> Limit {
    let limit = Limit::sliding(count, Duration::from_millis(PERIOD_MS));
    limit.and_then(|limit| limit.global(true)).expect("within bounds")
}

/// Sends everything that one limiter knows to another.
fn sync(one: &Limiter<ManualClock>, other: &Limiter<ManualClock>, now: u64) {
    let mut cursor = StateCursor::default();
    while let Some(pieces) = one.global_state(&mut cursor) {
        for piece in pieces {
            other.merge_usage_at(now, &piece).expect("a piece as it was made");
        }
    }
}

/// Checks a key until it is denied. Returns how often it was allowed.
fn use_up(limiter: &Limiter<ManualClock>, now: u64, request: &Request<'_>) -> u32 {
    let mut allowed = 0;
    while limiter.check_at(now, request).allowed {
        allowed += 1;
    }
    allowed
}

#[test]
fn a_limit_by_gcra_is_not_global() {
    let limit = Limit::gcra(5, 5, Duration::from_secs(1)).expect("within bounds");
    assert_eq!(limit.global(true), Err(LimitError::GlobalGcra));
    assert_eq!(limit.global(false).map(|limit| limit.algorithm()), Ok(Algorithm::Gcra));
}

#[test]
fn a_limiter_that_shares_nothing_counts_alone_and_saves_its_counters() {
    let builder = || Limiter::builder().capacity(1000).clock(ManualClock::at(START_MS));
    let alone = builder().build().expect("the system has random bytes");
    let request = Request::new("n", "k", limit(3));
    assert_eq!(use_up(&alone, START_MS, &request), 3);
    assert!(
        alone.check_at(START_MS, &Request::new("n", "k", limit(3).global(false).unwrap())).allowed
    );
    assert!(alone.global_changes_at(START_MS, 3).is_empty());
    assert_eq!(alone.global_state(&mut StateCursor::default()), None);
    let restored = builder().restore(alone.save()).expect("a save");
    assert!(!restored.check_at(START_MS, &request).allowed);
    let shared = builder().global([7; 16]).restore(alone.save()).expect("a save");
    assert!(shared.check_at(START_MS, &request).allowed, "it would report them as its own twice");
}

#[test]
fn a_save_has_no_counters_that_are_shared_and_the_state_has_them() {
    let (one, request) = (limiter(), Request::new("n", "k", limit(3)));
    assert_eq!(use_up(&one, START_MS, &request), 3);
    let restored = builder(1 << 20).restore(one.save()).expect("a save");
    assert!(restored.peek_at(START_MS, &request).allowed);
    sync(&one, &restored, START_MS);
    assert!(!restored.peek_at(START_MS, &request).allowed);
    let _after = restored.record_at(START_MS, &request);
    sync(&restored, &one, START_MS + 1);
    sync(&restored, &one, START_MS + 1);
    assert_eq!(one.peek_at(START_MS + PERIOD_MS * 2 - 1, &request).remaining, 2, "4 in all");
}

#[test]
fn nothing_is_sent_while_nothing_changes() {
    let (one, request) = (limiter(), Request::new("n", "k", limit(3)));
    assert!(one.global_changes_at(START_MS, 3).is_empty());
    assert!(one.check_at(START_MS, &request).allowed);
    assert_eq!(one.global_changes_at(START_MS, 3).len(), 1);
    for ms in 0..3 * PERIOD_MS {
        assert!(one.global_changes_at(START_MS + ms, 3).is_empty());
    }
    assert_eq!(one.global_stats().keys, 0, "what counts nothing is forgotten");
}

#[test]
fn a_count_below_the_threshold_is_reported_within_a_second() {
    let request = Request::new("n", "k", limit(1000)).cost(1);
    let one = limiter();
    assert!(one.check_at(START_MS, &request).allowed);
    assert!(one.global_changes_at(START_MS, 2).is_empty());
    assert!(one.global_changes_at(START_MS + 499, 2).is_empty());
    assert_eq!(one.global_changes_at(START_MS + 500, 2).len(), 1);
    assert!(one.check_at(START_MS + 600, &request.cost(25)).allowed);
    assert_eq!(one.global_changes_at(START_MS + 600, 2).len(), 1, "a twentieth, divided by two");
}

#[test]
fn counts_of_a_clock_that_is_ahead_count_in_their_window() {
    let (one, other, request) = (limiter(), limiter(), Request::new("n", "k", limit(3)));
    let ahead = START_MS + PERIOD_MS;
    assert_eq!(use_up(&one, ahead, &request), 3);
    sync(&one, &other, START_MS + PERIOD_MS - 100);
    assert!(other.check_at(START_MS + PERIOD_MS - 100, &request).allowed, "not yet");
    let _changes = other.global_changes_at(ahead, 2);
    assert!(!other.check_at(ahead, &request).allowed);
    // Further ahead, or behind, is nothing that a clock may show.
    for wrong in [3, 30] {
        let (one, other) = (limiter(), limiter());
        assert_eq!(use_up(&one, START_MS + wrong * PERIOD_MS, &request), 3);
        sync(&one, &other, START_MS);
        assert!(other.peek_at(START_MS, &request).allowed);
        assert!(other.global_stats().refused > 0);
        let (one, other) = (limiter(), limiter());
        assert_eq!(use_up(&one, START_MS, &request), 3);
        sync(&one, &other, START_MS + wrong * PERIOD_MS);
        assert!(other.peek_at(START_MS + wrong * PERIOD_MS, &request).allowed);
    }
}

#[test]
fn a_reset_frees_the_limit_here_and_what_follows_is_reported() {
    let (one, other, request) = (limiter(), limiter(), Request::new("n", "k", limit(10)));
    for limiter in [&one, &other] {
        assert!(limiter.check_at(START_MS, &request.cost(4)).allowed);
    }
    sync(&one, &other, START_MS);
    sync(&other, &one, START_MS);
    one.reset(&request);
    sync(&other, &one, START_MS);
    assert_eq!(one.peek_at(START_MS, &request).remaining, 10, "what was known before is forgotten");
    assert!(one.check_at(START_MS, &request).allowed);
    sync(&one, &other, START_MS);
    assert_eq!(other.peek_at(START_MS, &request).remaining, 1, "4 and 4 and 1");
    assert!(other.check_at(START_MS, &request).allowed);
    sync(&other, &one, START_MS);
    assert_eq!(one.peek_at(START_MS, &request).remaining, 8, "1 and 1");
}

#[test]
fn a_batch_that_is_denied_counts_nothing_of_a_global_limit() {
    let (one, other) = (limiter(), limiter());
    let requests = [Request::new("n", "a", limit(10)), Request::new("n", "b", limit(0))];
    assert!(!one.check_all_at(START_MS, &requests).allowed);
    sync(&one, &other, START_MS);
    assert_eq!(other.peek_at(START_MS, &requests[0]).remaining, 10);
}

#[test]
fn a_key_whose_slot_is_evicted_keeps_what_was_reported() {
    let one = builder(4 << 10).build().expect("the system has random bytes");
    let request = Request::new("n", "k", limit(10));
    assert_eq!(use_up(&one, START_MS, &request), 10);
    assert!(!one.global_changes_at(START_MS, 3).is_empty());
    let month = Limit::sliding(1, Duration::from_secs(2_600_000)).expect("within bounds");
    for key in 0..10_000_u32 {
        let _fills = one.check_at(START_MS, &Request::new("flood", &key.to_be_bytes(), month));
    }
    assert!(!one.peek_at(START_MS, &request).allowed);
    assert!(!one.check_at(START_MS, &request).allowed);
}

#[test]
fn invented_keys_of_a_member_evict_no_key_that_is_used_here() {
    let one = builder(256 << 10).build().expect("the system has random bytes");
    let keys: Vec<String> = (0..50).map(|key| format!("key {key}")).collect();
    for key in &keys {
        assert_eq!(use_up(&one, START_MS, &Request::new("n", key, limit(2))), 2);
    }
    let liar = builder(64 << 20).build().expect("the system has random bytes");
    for key in 0..20_000_u32 {
        let key = key.to_be_bytes();
        let invented = Request::new("invented", &key, limit(1)).cost(u32::MAX);
        let _after = liar.record_at(START_MS, &invented);
    }
    sync(&liar, &one, START_MS);
    let stats = one.global_stats();
    assert!(stats.keys < 1000 && stats.evictions > 15_000, "{stats:?}");
    let _changes = one.global_changes_at(START_MS, 3);
    for key in &keys {
        assert!(!one.peek_at(START_MS, &Request::new("n", key, limit(2))).allowed, "{key}");
    }
}

#[test]
fn keys_that_callers_name_evict_no_key_of_the_configuration() {
    let one = builder(256 << 10).build().expect("the system has random bytes");
    let request = Request::new("n", "k", limit(2));
    assert_eq!(use_up(&one, START_MS, &request), 2);
    for key in 0..20_000_u32 {
        let key = key.to_be_bytes();
        let named = Request::new("named", &key, limit(1).guest(true));
        let _fills = one.check_at(START_MS, &named);
    }
    let other = limiter();
    sync(&one, &other, START_MS);
    assert!(!other.check_at(START_MS, &request).allowed);
}

#[test]
fn no_request_is_lost_between_threads_and_reports() {
    const THREADS: u32 = 3;
    const REQUESTS: u32 = 20_000;
    let (one, other) = (limiter(), limiter());
    let (allowed, is_over) = (AtomicU32::new(0), AtomicBool::new(false));
    let request = Request::new("n", "k", limit(1_000_000));
    let work = |limiter: &Limiter<ManualClock>| {
        for _ in 0..REQUESTS {
            allowed
                .fetch_add(limiter.check_at(START_MS, &request).allowed.into(), Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        let exchange = scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                for (from, to) in [(&one, &other), (&other, &one)] {
                    for piece in from.global_changes_at(START_MS, 1000) {
                        to.merge_usage_at(START_MS, &piece).expect("a piece as it was made");
                    }
                }
            }
        });
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| work(&one))).collect();
        work(&other);
        workers.into_iter().for_each(|it| it.join().expect("no panic"));
        is_over.store(true, Ordering::Release);
        exchange.join().expect("no panic");
    });
    sync(&one, &other, START_MS);
    sync(&other, &one, START_MS);
    let all = allowed.load(Ordering::Relaxed);
    assert_eq!(all, (THREADS + 1) * REQUESTS);
    for limiter in [&one, &other] {
        assert_eq!(limiter.peek_at(START_MS, &request).remaining, 1_000_000 - all);
    }
}
