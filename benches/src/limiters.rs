//! Our limiter and governor's with the same configuration, and the cost of their checks.

use std::{hash::BuildHasher, hint::black_box, num::NonZeroU32, thread, time::Duration};

use governor::{
    Quota, RateLimiter, clock::Clock, middleware::NoOpMiddleware, state::keyed::DashMapStateStore,
};
use ratelimit::{Limit, Limiter, Request};

use crate::{Failure, meter::Stopwatch, rounds::Sample};

/// governor's limiter for many keys, over its default store.
pub type Governor<C, S> =
    RateLimiter<String, DashMapStateStore<String, S>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// This many requests a minute, and as many at once, by governor.
pub fn governor<C: Clock, S: BuildHasher + Default + Clone>(
    a_minute: NonZeroU32,
    clock: C,
) -> Governor<C, S> {
    RateLimiter::dashmap_with_clock_and_hasher(Quota::per_minute(a_minute), clock, S::default())
}

/// Our limiter with space for some number of keys, and the limit for its checks.
pub struct Ours {
    limiter: Limiter,
    limit: Limit,
}

impl Ours {
    /// A limiter for this number of keys.
    ///
    /// # Errors
    /// If the system has no source of randomness.
    pub fn new(keys: usize, limit: Limit) -> Result<Ours, Failure> {
        Ok(Ours { limiter: Limiter::builder().capacity(keys).build()?, limit })
    }

    /// Whether a request is allowed.
    #[inline]
    pub fn check(&self, key: &str) -> bool {
        black_box(self.limiter.check(&Request::new("bench", key, self.limit))).allowed
    }

    /// How many requests a key has left.
    #[must_use]
    pub fn remaining(&self, key: &str) -> u32 {
        self.limiter.peek(&Request::new("bench", key, self.limit)).remaining
    }
}

/// A minute.
pub const MINUTE: Duration = Duration::from_secs(60);

/// Checks keys on several threads at once, `checks` of them on each. The threads cycle through the
/// list from different starting points. Also counts the allowed requests.
///
/// # Errors
/// If a thread panics.
pub fn check_all(
    threads: usize,
    checks: usize,
    keys: &[String],
    check: impl Fn(&String) -> bool + Sync,
) -> Result<(Sample, u64), Failure> {
    let check = &check;
    let run = |n: usize| {
        let start = n * keys.len() / threads;
        let from_start = keys.iter().cycle().skip(start).take(checks);
        // In a server a checked key was just read from a request, so it is in the cache. The keys
        // of these lists are not, which would cost both sides as much as their own work.
        let mut in_cache = String::new();
        from_start
            .map(|key| {
                in_cache.clear();
                in_cache.push_str(key);
                u64::from(check(black_box(&in_cache)))
            })
            .sum::<u64>()
    };
    let watch = Stopwatch::own()?;
    let allowed = if threads == 1 {
        run(0)
    } else {
        thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|n| scope.spawn(move || run(n))).collect();
            threads.into_iter().try_fold(0, |sum, thread| {
                thread.join().map(|allowed| sum + allowed).map_err(|_panic| "a thread panicked")
            })
        })?
    };
    let operations = (threads * checks) as u64;
    Ok((Sample { operations, cpu: watch.cpu()?, wall: watch.wall() }, allowed))
}
