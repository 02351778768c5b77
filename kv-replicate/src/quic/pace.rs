//! Bounds the rate at which one peer is sent what is not urgent.

use std::num::NonZeroU32;

use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};

/// The most bytes that may be sent at once after a pause, if the bound is no higher: a usual message.
const BURST: u32 = 128 << 10;

/// A bound in bytes per second.
#[derive(Debug)]
pub(super) struct Pace {
    /// The bytes that may be sent now.
    limiter: DefaultDirectRateLimiter,
    /// The clock of the limiter, from which the wait is computed.
    clock: DefaultClock,
}

impl Pace {
    /// A bound on the rate, with bursts of at least [`BURST`].
    pub(super) fn new(bytes_per_second: NonZeroU32) -> Pace {
        let batch = bytes_per_second.max(NonZeroU32::new(BURST).unwrap_or(NonZeroU32::MAX));
        let quota = Quota::per_second(bytes_per_second).allow_burst(batch);
        Pace { limiter: RateLimiter::direct(quota), clock: DefaultClock::default() }
    }

    /// Waits until a message of `bytes` may be sent.
    pub(super) async fn wait(&self, bytes: usize) {
        let mut left = u32::try_from(bytes).unwrap_or(u32::MAX);
        // A check of more than a burst would fail at once.
        while let Some(part) = NonZeroU32::new(left.min(BURST)) {
            while let Ok(Err(not_until)) = self.limiter.check_n(part) {
                tokio::time::sleep(not_until.wait_time_from(self.clock.now())).await;
            }
            left -= part.get();
        }
    }
}
