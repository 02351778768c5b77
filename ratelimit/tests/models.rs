//! Compares each algorithm with a naive model, on random traffic. A failure names its seed.

use std::time::Duration;

use ratelimit::{Algorithm, Decision, Limit, Limiter, ManualClock, Request};

/// A small generator of random numbers (splitmix64; Steele, Lea and Flood, 2014), so that a seed repeats a run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u32) -> u32 {
        u32::try_from(self.next() % u64::from(bound)).expect("below a u32")
    }
}

/// Returns the seeds to run: `WAYPOST_TEST_SEEDS` of them, or a few.
fn seeds() -> std::ops::Range<u64> {
    let seeds = std::env::var("WAYPOST_TEST_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    0..seeds.unwrap_or(200)
}

/// The requests that were allowed, and the rule of the algorithm over them.
struct Model {
    limit: Limit,
    allowed_requests: Vec<(u64, u32)>,
}

impl Model {
    fn sum(&self, from: u64, to: u64) -> u128 {
        let within = self.allowed_requests.iter().filter(|(at, _)| (from..to).contains(at));
        within.map(|(_, cost)| u128::from(*cost)).sum()
    }

    fn would_allow(&self, now: u64, cost: u32) -> bool {
        let (period, count) = (self.limit.period_ms(), u128::from(self.limit.count()));
        let (start, cost) = (now / period * period, u128::from(cost));
        let current = self.sum(start, start + period);
        match self.limit.algorithm() {
            Algorithm::Fixed => current + cost <= count,
            Algorithm::Sliding => {
                let before = self.sum(start.saturating_sub(period), start);
                let (elapsed, period) = (u128::from(now - start), u128::from(period));
                before * (period - elapsed) + (current + cost) * period <= count * period
            }
            Algorithm::Gcra => {
                self.gcra_backlog(now) + cost * u128::from(self.interval())
                    <= u128::from(self.limit.burst()) * u128::from(self.interval())
            }
        }
    }

    /// Returns the interval of GCRA in units of 2^-20 ms, rounded up.
    fn interval(&self) -> u64 {
        (self.limit.period_ms() << 20).div_ceil(u64::from(self.limit.count()))
    }

    fn gcra_backlog(&self, now: u64) -> u128 {
        let mut tat = 0;
        for (at, cost) in &self.allowed_requests {
            tat = tat.max(u128::from(*at) << 20) + u128::from(*cost) * u128::from(self.interval());
        }
        tat.saturating_sub(u128::from(now) << 20)
    }
}

fn random_limit(random: &mut Random, algorithm: Algorithm) -> Limit {
    let period = Duration::from_millis([1, 7, 100, 1000, 60_000][random.below(5) as usize]);
    let count = 1 + random.below(20);
    match algorithm {
        Algorithm::Gcra => Limit::gcra(count, 1 + random.below(30), period),
        _ => Limit::new(algorithm, count, period),
    }
    .expect("within bounds")
}

/// Runs random requests. For each one the limiter and the model must agree, and the waits must be exact.
fn agrees(algorithm: Algorithm) {
    for seed in seeds() {
        let mut random = Random(seed);
        let limit = random_limit(&mut random, algorithm);
        let clock = ManualClock::at(1_700_000_000_000 + u64::from(random.below(100_000)));
        let limiter =
            Limiter::builder().capacity(64).clock(clock.clone()).build().expect("a limiter");
        let mut model = Model { limit, allowed_requests: Vec::new() };
        for step in 0..200 {
            let most = 1 + limit.period_ms() * 2 / u64::from(limit.count());
            let gap = u64::from(random.below(u32::try_from(most).expect("periods are short")));
            clock.advance(Duration::from_millis(gap));
            let now = limiter.now_ms();
            let cost = if random.below(4) == 0 { random.below(8) } else { 1 };
            let request = Request::new("n", "k", limit).cost(cost);
            let expected = model.would_allow(now, cost);
            let peeked = limiter.peek(&request);
            let decision = limiter.check(&request);
            assert_eq!(decision.allowed, expected, "seed {seed} step {step} {limit:?}");
            assert_eq!(peeked.allowed, expected, "a peek of seed {seed} step {step}");
            if expected {
                model.allowed_requests.push((now, cost));
            }
            remaining_is_what_fits(&model, now, &decision, seed);
            retry_is_the_soonest(&model, now, cost, &decision, seed);
            reset_is_when_the_window_ends_or_all_is_free(&model, now, &decision, seed);
        }
        the_bound_holds(&model, seed);
    }
}

/// Runs random requests with a clock that steps both ways. A step back freezes time, so the model's time is the
/// latest time of the clock. The limiter reads its clock or, as for a batch, gets a time.
fn agrees_while_the_clock_steps(algorithm: Algorithm) {
    for seed in seeds() {
        let mut random = Random(seed ^ 0x57E9);
        let limit = random_limit(&mut random, algorithm);
        let mut wall = 1_700_000_000_000 + u64::from(random.below(100_000));
        let clock = ManualClock::at(wall);
        let limiter =
            Limiter::builder().capacity(64).clock(clock.clone()).build().expect("a limiter");
        let mut model = Model { limit, allowed_requests: Vec::new() };
        let mut latest = 0;
        for step in 0..200 {
            let gap = u64::from(random.below(40)) * limit.period_ms() / 20;
            wall = match random.below(8) {
                0 => wall - gap,
                1 => wall - u64::from(random.below(1_000_000)),
                2 => wall + gap,
                _ => wall + gap / u64::from(limit.count()),
            };
            clock.set(wall);
            latest = latest.max(wall);
            let cost = random.below(4);
            let request = Request::new("n", "k", limit).cost(cost);
            if random.below(8) == 0
                && model.allowed_requests.last().is_some_and(|(at, _)| *at == latest)
            {
                // A refund within the frozen moment undoes the request.
                let (_, cost) = model.allowed_requests.pop().expect("there is a last request");
                limiter.refund(&request.cost(cost));
            }
            let expected = model.would_allow(latest, cost);
            let peeked = limiter.peek(&request);
            let decision = match random.below(3) {
                0 => limiter.check_at(latest - u64::from(random.below(1000)), &request),
                1 => limiter.check_all(&[request]).decisions[0],
                _ => limiter.check(&request),
            };
            let context = format!("seed {seed} step {step}: {limit:?} at {wall} of {latest}");
            assert_eq!((peeked.allowed, decision.allowed), (expected, expected), "{context}");
            if expected {
                model.allowed_requests.push((latest, cost));
            }
            remaining_is_what_fits(&model, latest, &decision, seed);
            retry_is_the_soonest(&model, latest, cost, &decision, seed);
            reset_is_when_the_window_ends_or_all_is_free(&model, latest, &decision, seed);
        }
        the_bound_holds(&model, seed);
    }
}

#[test]
fn the_sliding_window_stands_still_while_the_clock_is_back() {
    agrees_while_the_clock_steps(Algorithm::Sliding);
}

#[test]
fn the_fixed_window_stands_still_while_the_clock_is_back() {
    agrees_while_the_clock_steps(Algorithm::Fixed);
}

#[test]
fn gcra_stands_still_while_the_clock_is_back() {
    agrees_while_the_clock_steps(Algorithm::Gcra);
}

/// Returns a limiter of its own after some requests, each at its time. A batch there has no effect on others.
fn replay(before: &[(u64, Request<'_>)], now: u64) -> Limiter<ManualClock> {
    let clock = ManualClock::at(before.first().map_or(now, |(at, _)| *at));
    let limiter = Limiter::builder().capacity(64).clock(clock.clone()).build().expect("a limiter");
    for (at, request) in before {
        let _unread = limiter.check_at(*at, request);
    }
    clock.set(now);
    limiter
}

/// Runs random batches that name few counters, most of them more than once. The decisions of a denied batch
/// describe the counters without the batch, and the batch passes exactly after its longest wait.
fn denied_batches_report_exact_states_and_waits(algorithm: Algorithm) {
    for seed in seeds() {
        let mut random = Random(seed);
        let first = random_limit(&mut random, algorithm);
        let second =
            Limit::new(algorithm, 1 + random.below(20), first.period()).expect("in bounds");
        let keys = ["a", "b", "c"];
        let mut any = |most: u32| {
            let limit = if random.below(4) == 0 { second } else { first };
            let key = keys[random.below(3) as usize];
            (Request::new("n", key, limit).cost(random.below(most)), random.below(4))
        };
        let start = 1_700_000_000_000;
        let before: Vec<(u64, Request<'_>)> = (0..8)
            .scan(start, |now, _| {
                let (request, gap) = any(8);
                *now += u64::from(gap) * first.period_ms() / 8;
                Some((*now, request))
            })
            .collect();
        let now = before.last().expect("eight requests").0;
        let batch: Vec<Request<'_>> = (0..5).map(|_| any(5).0).collect();

        let limiter = replay(&before, now);
        let alone: Vec<Decision> =
            batch.iter().map(|request| limiter.peek(&request.cost(0))).collect();
        let decided = limiter.check_all(&batch);
        if decided.allowed {
            continue;
        }
        for (decision, alone) in decided.decisions.iter().zip(&alone) {
            let state = |decision: &Decision| (decision.remaining, decision.reset_after);
            assert_eq!(state(decision), state(alone), "seed {seed}: {batch:?}");
            assert_eq!(
                decision.allowed,
                decision.retry_after == Some(Duration::ZERO),
                "seed {seed}"
            );
        }
        let waits: Option<Vec<Duration>> =
            decided.decisions.iter().map(|one| one.retry_after).collect();
        let passes = |at: u64| replay(&before, at).check_all(&batch).allowed;
        match waits.and_then(|waits| waits.into_iter().max()) {
            Some(wait) => {
                let wait = u64::try_from(wait.as_millis()).expect("a short wait");
                assert!(wait > 0, "seed {seed}: a denied batch waits");
                assert!(passes(now + wait), "seed {seed}: too early, {batch:?}");
                assert!(!passes(now + wait - 1), "seed {seed}: too late, {batch:?}");
            }
            None => assert!(!passes(now + 100 * first.period_ms()), "seed {seed}: {batch:?}"),
        }
    }
}

#[test]
fn the_sliding_window_reports_exact_states_and_waits_of_denied_batches() {
    denied_batches_report_exact_states_and_waits(Algorithm::Sliding);
}

#[test]
fn the_fixed_window_reports_exact_states_and_waits_of_denied_batches() {
    denied_batches_report_exact_states_and_waits(Algorithm::Fixed);
}

#[test]
fn gcra_reports_exact_states_and_waits_of_denied_batches() {
    denied_batches_report_exact_states_and_waits(Algorithm::Gcra);
}

fn remaining_is_what_fits(model: &Model, now: u64, decision: &Decision, seed: u64) {
    let remaining = decision.remaining;
    assert!(remaining <= decision.limit, "seed {seed}");
    assert!(remaining == 0 || model.would_allow(now, remaining), "seed {seed}: {decision:?}");
    assert!(!model.would_allow(now, remaining + 1), "seed {seed}: {decision:?}");
}

fn retry_is_the_soonest(model: &Model, now: u64, cost: u32, decision: &Decision, seed: u64) {
    let Some(wait) = decision.retry_after else {
        assert!(cost > model.limit.burst(), "seed {seed}: {decision:?}");
        return;
    };
    let wait = u64::try_from(wait.as_millis()).expect("a short wait");
    assert_eq!(wait == 0, decision.allowed, "seed {seed}");
    if wait > 0 {
        assert!(model.would_allow(now + wait, cost), "seed {seed}: too early, {decision:?}");
        assert!(!model.would_allow(now + wait - 1, cost), "seed {seed}: too late, {decision:?}");
    }
}

fn reset_is_when_the_window_ends_or_all_is_free(
    model: &Model,
    now: u64,
    decision: &Decision,
    seed: u64,
) {
    let wait = u64::try_from(decision.reset_after.as_millis()).expect("a short wait");
    if model.limit.algorithm() == Algorithm::Sliding && wait > 0 {
        let period = model.limit.period_ms();
        let retry = decision.retry_after.map_or(0, |retry| retry.as_millis());
        let end = u128::from(period - now % period);
        // Of a batch, it is that of the counter without the batch.
        let wait = u128::from(wait);
        assert!(wait == end || wait == end.max(retry), "seed {seed}: {decision:?}");
        return;
    }
    assert!(model.would_allow(now + wait, model.limit.burst()), "seed {seed}: {decision:?}");
}

/// Checks the bound over every interval that begins and ends with a request.
fn the_bound_holds(model: &Model, seed: u64) {
    let limit = model.limit;
    let (period, count) = (u128::from(limit.period_ms()), u128::from(limit.count()));
    for (first, (from, _)) in model.allowed_requests.iter().enumerate() {
        let mut sum = 0;
        for (to, cost) in &model.allowed_requests[first..] {
            let length = u128::from(to - from);
            if length > period {
                break;
            }
            sum += u128::from(*cost);
            // Both sides are multiplied by the period, so that all terms are integers.
            let bound = match limit.algorithm() {
                Algorithm::Sliding => count * (period + length),
                Algorithm::Fixed => 2 * count * period,
                Algorithm::Gcra => u128::from(limit.burst()) * period + count * length,
            };
            assert!(sum * period <= bound, "seed {seed}: {sum} in {length} ms, {limit:?}");
        }
    }
}

#[test]
fn the_sliding_window_allows_exactly_what_its_rule_allows() {
    agrees(Algorithm::Sliding);
}

#[test]
fn the_fixed_window_allows_exactly_what_its_rule_allows() {
    agrees(Algorithm::Fixed);
}

#[test]
fn gcra_allows_exactly_what_its_rule_allows() {
    agrees(Algorithm::Gcra);
}

#[test]
fn gcra_decides_as_governor_does() {
    use governor::clock::FakeRelativeClock;
    use governor::{Quota, RateLimiter};
    use std::num::NonZeroU32;
    for seed in seeds() {
        let mut random = Random(seed);
        // Rates with a whole number of milliseconds for a request: governor rounds others down, this crate up.
        let count = [1, 2, 4, 5, 8, 10, 20, 50][random.below(8) as usize];
        let burst = 1 + random.below(12);
        let non_zero = |number| NonZeroU32::new(number).expect("above zero");
        let fake = FakeRelativeClock::default();
        let quota = Quota::per_second(non_zero(count)).allow_burst(non_zero(burst));
        let theirs = RateLimiter::direct_with_clock(quota, fake.clone());
        let clock = ManualClock::at(1_700_000_000_000);
        let ours = Limiter::builder().capacity(8).clock(clock.clone()).build().expect("a limiter");
        let limit = Limit::gcra(count, burst, Duration::from_secs(1)).expect("within bounds");
        for step in 0..300 {
            let gap = Duration::from_millis(u64::from(random.below(2000 / count)));
            fake.advance(gap);
            clock.advance(gap);
            let allowed = ours.check(&Request::new("n", "k", limit)).allowed;
            assert_eq!(allowed, theirs.check().is_ok(), "seed {seed} step {step} {limit:?}");
        }
    }
}

/// Runs random checks and records. A record counts whatever the limit is, and the waits of both stay exact
/// while the counter is above its limit.
fn records_count_whatever_the_limit(algorithm: Algorithm) {
    for seed in seeds() {
        let mut random = Random(seed ^ 0x8EC0);
        let limit = random_limit(&mut random, algorithm);
        let clock = ManualClock::at(1_700_000_000_000 + u64::from(random.below(100_000)));
        let limiter =
            Limiter::builder().capacity(64).clock(clock.clone()).build().expect("a limiter");
        let mut model = Model { limit, allowed_requests: Vec::new() };
        for step in 0..100 {
            let gap = u64::from(random.below(8)) * limit.period_ms() / 4;
            clock.advance(Duration::from_millis(gap));
            let now = limiter.now_ms();
            let request = Request::new("n", "k", limit);
            let context = format!("seed {seed} step {step} {limit:?}");
            if random.below(4) == 0 {
                let cost = random.below(3 * limit.count());
                model.allowed_requests.push((now, cost));
                let decision = limiter.record(&request.cost(cost));
                assert_eq!(decision.allowed, model.would_allow(now, 0), "{context}");
                retry_is_the_soonest(&model, now, 0, &decision, seed);
                reset_is_when_the_window_ends_or_all_is_free(&model, now, &decision, seed);
            } else {
                let cost = random.below(3);
                let expected = model.would_allow(now, cost);
                let decision = limiter.check(&request.cost(cost));
                assert_eq!(decision.allowed, expected, "{context}");
                if expected {
                    model.allowed_requests.push((now, cost));
                }
                retry_is_the_soonest(&model, now, cost, &decision, seed);
                reset_is_when_the_window_ends_or_all_is_free(&model, now, &decision, seed);
            }
        }
    }
}

#[test]
fn the_sliding_window_counts_records_above_the_limit() {
    records_count_whatever_the_limit(Algorithm::Sliding);
}

#[test]
fn the_fixed_window_counts_records_above_the_limit() {
    records_count_whatever_the_limit(Algorithm::Fixed);
}

#[test]
fn gcra_counts_records_above_the_burst() {
    records_count_whatever_the_limit(Algorithm::Gcra);
}
