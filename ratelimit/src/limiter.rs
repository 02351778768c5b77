//! The limiter: counters in a table of fixed size, and a clock.

mod all;
mod builder;
mod save;

use std::sync::atomic::{AtomicU64, Ordering};

pub use builder::{BuildError, Builder};
pub use save::RestoreError;

use crate::algorithm::{self, Verdict};
use crate::clock::{Clock, SystemClock};
use crate::decision::Decision;
use crate::hit::Hit;
use crate::identity::Identity;
use crate::limit::Limit;
use crate::named::NamedLimit;
use crate::stats::{Counts, Stats};
use crate::table::{Insertion, Slot, Table};

/// The last time there is, the year 10889: sums of times cannot overflow.
const LAST_MS: u64 = (1 << 48) - 1;
/// How many sets [`Limiter::stats`] looks at.
const SAMPLE: usize = 4096;

/// Many counters in a fixed memory. Share it by reference or [`Arc`](std::sync::Arc); every call takes
/// `&self`, from any number of threads, and none waits for another.
///
/// Each call has a form that takes the time, `…_at(now_ms, …)`, so that a batch reads the clock once
/// ([`now_ms`](Limiter::now_ms)). A limiter's time never goes back: a call with a time before one that
/// it has seen happens at the one it has seen.
#[derive(Debug)]
pub struct Limiter<C: Clock = SystemClock> {
    clock: C,
    /// Added to the clock: it stood before the time of the save that this limiter goes on from.
    ahead_ms: u64,
    identity: Identity,
    table: Table,
    counts: Counts,
    latest: Latest,
}

/// The latest time that a call came with, on a line of its own: written at most once a millisecond.
#[derive(Debug)]
#[repr(align(128))]
struct Latest(AtomicU64);

impl Latest {
    /// Notes a time, before anything is counted at it.
    #[inline]
    fn note(&self, now: u64) {
        if now > self.0.load(Ordering::Relaxed) {
            self.0.fetch_max(now, Ordering::AcqRel);
        }
    }

    /// Now. Asked after a word was read, this is not before the time at which it was written: that was
    /// noted first.
    #[inline]
    fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

impl Limiter {
    /// Describes a limiter: how large, with what secret and clock.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }
}

impl<C: Clock> Limiter<C> {
    /// Now, as this limiter's windows see it: the clock, never before the time of a restored save.
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms().saturating_add(self.ahead_ms).min(LAST_MS)
    }

    /// A limit under a name, to check keys against. The name is the namespace of its counters.
    pub fn limit<'a>(&'a self, name: &'a str, limit: Limit) -> NamedLimit<'a, C> {
        NamedLimit::new(self, name, limit)
    }

    /// Decides on a hit, and counts it if it is allowed by its limit.
    #[inline]
    pub fn check(&self, hit: &Hit<'_>) -> Decision {
        self.check_at(self.now_ms(), hit)
    }

    /// [`check`](Limiter::check) at a time from [`now_ms`](Limiter::now_ms).
    #[inline]
    pub fn check_at(&self, now_ms: u64, hit: &Hit<'_>) -> Decision {
        let (verdict, _at) = self.decide(now_ms, self.identity.of(hit), hit);
        let decision = verdict.decision(&hit.limit);
        self.counts.checked(verdict.payload.is_some(), decision.shadowed);
        decision
    }

    /// Decides on a hit and counts it, on the place that it has or is given; also, at what time.
    #[inline]
    fn decide(&self, now_ms: u64, hash: u64, hit: &Hit<'_>) -> (Verdict, u64) {
        self.latest.note(now_ms.min(LAST_MS));
        loop {
            let Some((slot, mut word)) = self.table.find(hash) else {
                match self.decide_on_new(hash, hit) {
                    Some(decided) => return decided,
                    None => continue,
                }
            };
            loop {
                let now = self.latest.get();
                let verdict = algorithm::check(&hit.limit, word.payload(), now, hit.cost);
                let Some(payload) = verdict.payload.filter(|_| hit.cost > 0) else {
                    return (verdict, now);
                };
                match slot.replace(word, payload) {
                    Ok(()) => return (verdict, now),
                    Err(other) if Slot::same(word, other) && other.payload() != 0 => word = other,
                    Err(_) => break,
                }
            }
        }
    }

    /// Decides on the first hit of a key. `None` if another thread has just brought the key.
    #[cold]
    fn decide_on_new(&self, hash: u64, hit: &Hit<'_>) -> Option<(Verdict, u64)> {
        let now = self.latest.get();
        let verdict = algorithm::check(&hit.limit, 0, now, hit.cost);
        let Some(payload) = verdict.payload.filter(|payload| *payload != 0) else {
            return Some((verdict, now));
        };
        let class = self.table.classes().of(&hit.limit);
        match self.table.insert(hash, class, payload, now) {
            Insertion::Done { evicted } => {
                self.count_evicted(evicted);
                Some((verdict, now))
            }
            Insertion::Exists { evicted } => {
                self.count_evicted(evicted);
                None
            }
            Insertion::Crowded { evicted } => {
                self.count_evicted(evicted);
                self.counts.evicted();
                Some((verdict, now))
            }
        }
    }

    fn count_evicted(&self, evicted: bool) {
        if evicted {
            self.counts.evicted();
        }
    }

    /// What [`check`](Limiter::check) would decide, without counting: `remaining` is as it is before
    /// the hit.
    pub fn peek(&self, hit: &Hit<'_>) -> Decision {
        self.peek_at(self.now_ms(), hit)
    }

    /// [`peek`](Limiter::peek) at a time from [`now_ms`](Limiter::now_ms).
    pub fn peek_at(&self, now_ms: u64, hit: &Hit<'_>) -> Decision {
        self.latest.note(now_ms.min(LAST_MS));
        let payload = self.table.find(self.identity.of(hit)).map_or(0, |(_, word)| word.payload());
        let demand = algorithm::demand(&hit.limit, hit.cost);
        algorithm::peek(&hit.limit, payload, self.latest.get(), demand).decision(&hit.limit)
    }

    /// Gives back the cost of a hit that was allowed just now but not used. It is taken from the window
    /// that runs, so give back at once: later, it would be the hits of others that are given back. No
    /// counter falls below zero.
    pub fn refund(&self, hit: &Hit<'_>) {
        self.refund_at(self.now_ms(), hit);
    }

    /// [`refund`](Limiter::refund) at a time from [`now_ms`](Limiter::now_ms).
    pub fn refund_at(&self, now_ms: u64, hit: &Hit<'_>) {
        self.latest.note(now_ms.min(LAST_MS));
        self.give_back(self.latest.get(), hit);
    }

    /// Takes back what was counted at `at`.
    fn give_back(&self, at: u64, hit: &Hit<'_>) {
        self.change(hit, |payload| {
            algorithm::refund(&hit.limit, payload, at, self.latest.get(), hit.cost)
        });
    }

    /// Forgets a hit's counter, as if it had never been hit. The cost plays no part.
    pub fn reset(&self, hit: &Hit<'_>) {
        self.change(hit, |_| 0);
    }

    /// Changes a hit's counter, if it has one.
    fn change(&self, hit: &Hit<'_>, change: impl Fn(u64) -> u64) {
        let hash = self.identity.of(hit);
        while let Some((slot, word)) = self.table.find(hash) {
            if slot.replace(word, change(word.payload())).is_ok() {
                return;
            }
        }
    }

    /// What this limiter has done, and how full it is. Looks at a part of the table of at most 512 KiB: made
    /// to be asked every few seconds.
    pub fn stats(&self) -> Stats {
        let (sets, now) = (self.table.sets(), self.now_ms().max(self.latest.get()));
        let step = sets.div_ceil(SAMPLE);
        let sampled = sets.div_ceil(step);
        let live: usize =
            (0..sets).step_by(step).map(|set| self.table.live(set, now).count()).sum();
        Stats {
            live: (live * sets / sampled) as u64,
            slots: (sets * crate::table::WAYS) as u64,
            ..self.counts.sum()
        }
    }
}
