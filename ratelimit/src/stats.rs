//! Counts of what a limiter does, spread over cache lines so that threads do not share one.

use std::sync::atomic::{AtomicU64, Ordering};

/// The stripes that one thread owns each, as long as the thread lives. All other threads share one more
/// stripe.
const OWNED: usize = 63;
/// The stripe of the threads that own none.
const SHARED: usize = OWNED;

/// A bit for each stripe that is owned.
static TAKEN: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static STRIPE: Ownership = Ownership::take();
}

/// The stripe that a thread has in every limiter. A stripe with one writer needs no atomic addition,
/// which would cost as much as the rest of a check.
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
            // Release after this thread's counts, acquire before the counts of the next owner.
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
    recorded: AtomicU64,
    evicted: AtomicU64,
}

/// Counts of what a limiter did.
#[derive(Debug)]
pub(crate) struct Counts {
    stripes: Box<[Stripe]>,
}

/// The counts of a limiter since it was created, and how full it is. [`Limiter::stats`] returns it.
///
/// [`Limiter::stats`]: crate::Limiter::stats
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Requests that `check` and `check_all` decided on. Peeks do not count.
    pub checks: u64,
    /// Requests of `checks` that their limit denied, in shadow mode too.
    pub denials: u64,
    /// Requests of `denials` that shadow mode allowed.
    pub shadowed: u64,
    /// Calls of `record`.
    pub records: u64,
    /// Counters that were evicted while they still counted, because their slot was needed.
    pub evictions: u64,
    /// Slots that hold a counter that still counts. Estimated from a sample if the table has more than
    /// 32,768 slots.
    pub live: u64,
    /// Slots of the table.
    pub slots: u64,
}

impl Counts {
    pub(crate) fn new() -> Counts {
        Counts { stripes: (0..=OWNED).map(|_| Stripe::default()).collect() }
    }

    #[inline]
    fn add(&self, count: fn(&Stripe) -> &AtomicU64) {
        // A thread that is ending has no stripe left.
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

    pub(crate) fn recorded(&self) {
        self.add(|stripe| &stripe.recorded);
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
            records: sum(|stripe| &stripe.recorded),
            evictions: sum(|stripe| &stripe.evicted),
            ..Stats::default()
        }
    }
}
