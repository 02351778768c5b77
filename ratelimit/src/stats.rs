//! Counts of what a limiter does, spread so that threads do not fight for one cache line.

use std::sync::atomic::{AtomicU64, Ordering};

/// The stripes that have one thread each, as long as it lives; one more is shared by all other threads.
const OWNED: usize = 63;
/// The stripe of threads that own none.
const SHARED: usize = OWNED;

/// Which stripes are owned: a bit each.
static TAKEN: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static STRIPE: Ownership = Ownership::take();
}

/// A thread's stripe, of every limiter. A stripe with one writer needs no atomic addition, which would
/// cost a hit as much as all of its counting.
struct Ownership(usize);

impl Ownership {
    fn take() -> Ownership {
        let mut taken = TAKEN.load(Ordering::Acquire);
        loop {
            let free = taken.trailing_ones() as usize;
            if free >= OWNED {
                return Ownership(SHARED);
            }
            let with = taken | 1 << free;
            match TAKEN.compare_exchange(taken, with, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ownership(free),
                Err(now) => taken = now,
            }
        }
    }
}

impl Drop for Ownership {
    fn drop(&mut self) {
        if self.0 != SHARED {
            // Released after this thread's counts, acquired before the next owner's.
            TAKEN.fetch_and(!(1 << self.0), Ordering::AcqRel);
        }
    }
}

/// The counts of one stripe.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe {
    allowed: AtomicU64,
    denied: AtomicU64,
    shadowed: AtomicU64,
    evicted: AtomicU64,
}

/// Counts of what a limiter did.
#[derive(Debug)]
pub(crate) struct Counts {
    stripes: Box<[Stripe]>,
}

/// What a limiter has done since it was built, and how full it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Hits decided on, by `check` and `check_all`; not peeks.
    pub checks: u64,
    /// Those of them that the limit denied, also in shadow mode.
    pub denials: u64,
    /// Those of the denied that shadow mode allowed.
    pub shadowed: u64,
    /// Counters that were given up, still counting, because their place in the table was needed.
    pub evictions: u64,
    /// Places of the table that hold a counter that still counts; estimated from a sample if there are
    /// more than 32,768.
    pub live: u64,
    /// Places of the table.
    pub slots: u64,
}

impl Counts {
    pub(crate) fn new() -> Counts {
        Counts { stripes: (0..=OWNED).map(|_| Stripe::default()).collect() }
    }

    #[inline]
    fn add(&self, count: fn(&Stripe) -> &AtomicU64) {
        // A thread that is ending has no stripe any more.
        let stripe = STRIPE.try_with(|ownership| ownership.0).unwrap_or(SHARED);
        let count = count(&self.stripes[stripe]);
        if stripe == SHARED {
            count.fetch_add(1, Ordering::Relaxed);
        } else {
            count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn checked(&self, within: bool, shadowed: bool) {
        if within {
            self.add(|stripe| &stripe.allowed);
        } else {
            self.add(|stripe| &stripe.denied);
        }
        if shadowed {
            self.add(|stripe| &stripe.shadowed);
        }
    }

    pub(crate) fn evicted(&self) {
        self.add(|stripe| &stripe.evicted);
    }

    pub(crate) fn sum(&self) -> Stats {
        let sum = |count: fn(&Stripe) -> &AtomicU64| {
            self.stripes.iter().map(|stripe| count(stripe).load(Ordering::Relaxed)).sum::<u64>()
        };
        let denials = sum(|stripe| &stripe.denied);
        Stats {
            checks: sum(|stripe| &stripe.allowed) + denials,
            denials,
            shadowed: sum(|stripe| &stripe.shadowed),
            evictions: sum(|stripe| &stripe.evicted),
            ..Stats::default()
        }
    }
}
