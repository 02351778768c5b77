//! Bounds the rate at which one peer is sent what is not urgent.

use std::num::NonZeroU32;

use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};

use crate::MAX_MESSAGE_BYTES;

/// A bound in bytes per second.
#[derive(Debug)]
pub(super) struct Pace {
    /// The bytes that may be sent now.
    limiter: DefaultDirectRateLimiter,
    /// The clock of the limiter, from which the wait is computed.
    clock: DefaultClock,
}

impl Pace {
    /// A bound on the rate, with bursts of at least one message.
    pub(super) fn new(bytes_per_second: NonZeroU32) -> Pace {
        let message = u32::try_from(MAX_MESSAGE_BYTES).unwrap_or(u32::MAX);
        let batch = bytes_per_second.max(NonZeroU32::new(message).unwrap_or(NonZeroU32::MAX));
        let quota = Quota::per_second(bytes_per_second).allow_burst(batch);
        Pace { limiter: RateLimiter::direct(quota), clock: DefaultClock::default() }
    }

    /// Waits until a message of so many bytes may be sent.
    pub(super) async fn wait(&self, bytes: usize) {
        let Some(bytes) = u32::try_from(bytes).ok().and_then(NonZeroU32::new) else { return };
        // A check of more than a burst fails at once; no message is as long.
        while let Ok(Err(not_until)) = self.limiter.check_n(bytes) {
            tokio::time::sleep(not_until.wait_time_from(self.clock.now())).await;
        }
    }
}
