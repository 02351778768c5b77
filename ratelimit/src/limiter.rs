//! The limiter: counters in a table of fixed size, and a clock.

mod all;
mod builder;
mod global;
mod save;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub use builder::{BuildError, Builder};
pub use save::{Damage, RestoreError};

use crate::algorithm::Verdict;
use crate::clock::{Clock, SystemClock};
use crate::decide;
use crate::decision::Decision;
use crate::global::Globals;
use crate::identity::Identity;
use crate::limit::Limit;
use crate::request::Request;
use crate::stats::{Counts, Stats};
use crate::table::{Insertion, Slot, Table, WAYS};

/// The last time, in the year 10889. The bound keeps sums of times from overflowing.
const LAST_MS: u64 = (1 << 48) - 1;
/// The most sets that [`Limiter::stats`] reads.
const SAMPLE: usize = 4096;

/// Counters for any number of keys in a fixed memory.
///
/// Share a limiter by reference or [`Arc`](std::sync::Arc): every method takes `&self`, from any number of
/// threads, and no thread waits for another. [`Limiter::builder`] creates one.
///
/// Each method has a variant that takes the time, `…_at(now_ms, …)`, so that several calls can share one
/// reading of the clock ([`now_ms`](Limiter::now_ms)). A limiter's time never goes back: a call with an
/// earlier time than a previous call happens at the time of the previous call.
///
/// ```
/// use std::time::Duration;
/// use ratelimit::{Limit, Limiter, Request};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = Limiter::builder().capacity(1000).build()?;
/// let limit = Limit::gcra(100, 10, Duration::from_secs(1))?;
/// let upload = Request::new("uploads", "user:1", limit).cost(8);
/// assert!(limiter.check(&upload).allowed);
/// assert!(!limiter.check(&upload).allowed);
/// limiter.refund(&upload);
/// assert!(limiter.peek(&upload).allowed);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Limiter<C: Clock = SystemClock> {
    clock: C,
    /// Added to the clock, if it was before the time of the save that this limiter was restored from.
    ahead_ms: u64,
    identity: Identity,
    table: Table,
    counts: Counts,
    latest: Latest,
    /// What is shared with other locations.
    globals: Option<Box<Globals>>,
    /// A counter of a calendar has changed since it was last asked.
    changed: Changed,
}

/// Whether a counter of a calendar may have changed, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Changed(AtomicBool);

impl Changed {
    /// Records a change. A limit without a calendar costs one comparison.
    #[inline]
    fn note(&self, limit: &Limit) {
        if limit.windows().is_some() && !self.0.load(Ordering::Relaxed) {
            self.0.store(true, Ordering::Release);
        }
    }
}

/// The latest time of any call, on a cache line of its own. It is written at most once a millisecond.
#[derive(Debug)]
#[repr(align(128))]
struct Latest(AtomicU64);

impl Latest {
    /// Records a time, before anything is counted at it.
    #[inline]
    fn note(&self, now: u64) {
        if now > self.0.load(Ordering::Relaxed) {
            self.0.fetch_max(now, Ordering::AcqRel);
        }
    }

    /// Returns the current time. A call after a word was read returns at least the time at which the
    /// word was written, because that time was recorded first.
    #[inline]
    fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

impl<C: Clock> Limiter<C> {
    /// Returns the limiter's time in milliseconds since the Unix epoch: the clock's, or the time of the
    /// restored save if that is later.
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms().saturating_add(self.ahead_ms).min(LAST_MS)
    }

    /// Decides on a request, and counts it if its limit allows it.
    #[inline]
    pub fn check(&self, request: &Request<'_>) -> Decision {
        self.check_at(self.now_ms(), request)
    }

    /// Does the same as [`check`](Limiter::check), at a time from [`now_ms`](Limiter::now_ms).
    #[inline]
    pub fn check_at(&self, now_ms: u64, request: &Request<'_>) -> Decision {
        let (verdict, _at) = self.decide(now_ms, self.identity.of(request), request);
        let decision = decide::decision(&request.limit, &verdict);
        self.counts.checked(verdict.payload.is_some(), decision.shadowed);
        decision
    }

    /// Decides on a request and counts it, in the slot that its key has or gets. Also returns the time at
    /// which it was counted.
    #[inline]
    fn decide(&self, now_ms: u64, hash: u64, request: &Request<'_>) -> (Verdict, u64) {
        self.note(now_ms);
        loop {
            let Some((slot, mut word)) = self.table.find(hash) else {
                match self.decide_on_new(hash, request) {
                    Some(decided) => return decided,
                    None => continue,
                }
            };
            loop {
                let now = self.latest.get();
                let verdict = decide::check(&request.limit, word.payload(), now, request.cost);
                let Some(payload) = verdict.payload.filter(|_| request.cost > 0) else {
                    return (verdict, now);
                };
                match slot.replace(word, payload) {
                    Ok(()) => {
                        self.changed(hash, request);
                        self.changed.note(&request.limit);
                        return (verdict, now);
                    }
                    Err(other) if Slot::same(word, other) && other.payload() != 0 => word = other,
                    Err(_) => break,
                }
            }
        }
    }

    /// Decides on the first request of a key. Returns `None` if another thread has just inserted the key.
    #[cold]
    fn decide_on_new(&self, hash: u64, request: &Request<'_>) -> Option<(Verdict, u64)> {
        let (newcomer, now) = (self.newcomer(request), self.latest.get());
        let (verdict, payload) = self.decide_on_seed(request, newcomer.as_ref(), now);
        if payload == 0 {
            return Some((verdict, now));
        }
        let is_inserted = self.insert(hash, request, payload, now);
        if let Some(newcomer) = newcomer.filter(|_| is_inserted) {
            self.placed(newcomer, hash, request);
        }
        is_inserted.then_some((verdict, now))
    }

    /// Inserts a key with its first payload. Returns false if another thread has just inserted the key.
    fn insert(&self, hash: u64, request: &Request<'_>, payload: u64, now: u64) -> bool {
        let class = self.table.classes().of(&request.limit);
        let (inserted, evicted, is_lost) = match self.table.insert(hash, class, payload, now) {
            Insertion::Done { evicted } => (true, evicted, false),
            Insertion::Exists { evicted } => (false, evicted, false),
            Insertion::Crowded { evicted } => (true, evicted, true),
        };
        self.changed.note(&request.limit);
        for _ in 0..u8::from(evicted) + u8::from(is_lost) {
            self.counts.evicted();
        }
        inserted
    }

    /// Counts a cost that is known only afterwards (tokens, bytes, failed attempts), whatever the limit is.
    ///
    /// The counter may then be above its limit: every [`check`](Limiter::check) and [`peek`](Limiter::peek) is
    /// denied, one of cost 0 too, until enough of the window has passed. A counter that is full stays full:
    /// at 2,097,151 (sliding), at 4,294,967,295 (fixed), or when it takes two years to drain (GCRA).
    ///
    /// The decision describes the counter after the cost: it is `allowed` if the counter is within its limit,
    /// and `retry_after` is the time until it is within its limit again.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ratelimit::{Limit, Limiter};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::builder().capacity(1000).build()?;
    /// let tokens = limiter.limit("tokens", Limit::sliding(1000, Duration::from_secs(60))?);
    /// for _ in 0..2 {
    ///     assert!(tokens.peek("user:1").allowed);
    ///     // … the work, which takes 600 …
    ///     let _after = tokens.record("user:1", 600);
    /// }
    /// assert!(!tokens.peek("user:1").allowed);
    /// # Ok(())
    /// # }
    /// ```
    pub fn record(&self, request: &Request<'_>) -> Decision {
        self.record_at(self.now_ms(), request)
    }

    /// Does the same as [`record`](Limiter::record), at a time from [`now_ms`](Limiter::now_ms).
    pub fn record_at(&self, now_ms: u64, request: &Request<'_>) -> Decision {
        self.note(now_ms);
        let hash = self.identity.of(request);
        let verdict = loop {
            let found = self.table.find(hash);
            let newcomer = if found.is_none() { self.newcomer(request) } else { None };
            let now = self.latest.get();
            let seed = newcomer.as_ref().map_or(0, |newcomer| newcomer.seed);
            let read = found.map_or(seed, |(_, word)| word.payload());
            let payload = decide::record(&request.limit, read, now, request.cost);
            let is_counted = match found {
                _ if request.cost == 0 || payload == 0 => true,
                Some((slot, word)) => {
                    let is_counted = slot.replace(word, payload).is_ok();
                    self.changed.note(&request.limit);
                    is_counted
                }
                None => self.insert(hash, request, payload, now),
            };
            if let Some(newcomer) = newcomer.filter(|_| is_counted && request.cost > 0) {
                self.placed(newcomer, hash, request);
            }
            if is_counted {
                self.changed(hash, request);
                break decide::check(&request.limit, payload, now, 0);
            }
        };
        self.counts.recorded();
        decide::decision(&request.limit, &verdict)
    }

    /// Returns what [`check`](Limiter::check) would decide, without counting. `remaining` is as it is
    /// before the request.
    pub fn peek(&self, request: &Request<'_>) -> Decision {
        self.peek_at(self.now_ms(), request)
    }

    /// Does the same as [`peek`](Limiter::peek), at a time from [`now_ms`](Limiter::now_ms).
    pub fn peek_at(&self, now_ms: u64, request: &Request<'_>) -> Decision {
        self.note(now_ms);
        let found = self.table.find(self.identity.of(request));
        let payload = found.map_or_else(|| self.unplaced(request), |(_, word)| word.payload());
        let demand = decide::demand(&request.limit, request.cost);
        let verdict = decide::peek(&request.limit, payload, self.latest.get(), demand);
        decide::decision(&request.limit, &verdict)
    }

    /// Gives back the cost of a request that was allowed but not used. No counter falls below zero.
    ///
    /// Call it right after the request: the cost is taken from the current window, so a late refund gives
    /// back the cost of other requests.
    pub fn refund(&self, request: &Request<'_>) {
        self.refund_at(self.now_ms(), request);
    }

    /// Does the same as [`refund`](Limiter::refund), at a time from [`now_ms`](Limiter::now_ms).
    pub fn refund_at(&self, now_ms: u64, request: &Request<'_>) {
        self.note(now_ms);
        self.give_back(self.latest.get(), request);
    }

    /// Gives back what was counted at `at`.
    fn give_back(&self, at: u64, request: &Request<'_>) {
        self.change(request, |payload| {
            decide::refund(&request.limit, payload, at, self.latest.get(), request.cost)
        });
    }

    /// Removes the counter of a request, so that its whole limit is free. The cost has no effect. Of a global limit it
    /// removes what was counted here; other locations still count it.
    pub fn reset(&self, request: &Request<'_>) {
        self.forget(request);
    }

    /// Records the time of a call.
    #[inline]
    fn note(&self, now_ms: u64) {
        self.latest.note(now_ms.min(LAST_MS));
    }

    /// Changes the counter of a request, if there is one.
    fn change(&self, request: &Request<'_>, change: impl Fn(u64) -> u64) {
        let hash = self.identity.of(request);
        while let Some((slot, word)) = self.table.find(hash) {
            if slot.replace(word, change(word.payload())).is_ok() {
                self.changed.note(&request.limit);
                return;
            }
        }
    }

    /// Returns what this limiter has done, and how full it is. Reads at most 512 KiB of the table, so a
    /// call every few seconds is cheap.
    pub fn stats(&self) -> Stats {
        let (sets, now) = (self.table.sets(), self.now_ms().max(self.latest.get()));
        let step = sets.div_ceil(SAMPLE);
        let sampled = sets.div_ceil(step);
        let live: usize =
            (0..sets).step_by(step).map(|set| self.table.live(set, now).count()).sum();
        Stats {
            live: (live * sets / sampled) as u64,
            slots: (sets * WAYS) as u64,
            ..self.counts.sum()
        }
    }
}
