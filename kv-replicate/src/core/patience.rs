//! How long to wait for what was requested from a peer before it is requested again.
//!
//! A link queues everything that it is given: a request that is repeated while its answer is on the way is answered
//! twice, and the second answer delays everything behind it. So patience follows the time that messages take, as TCP's
//! timeout follows the round trip (RFC 6298), and doubles with each repetition.

use std::time::Duration;

/// How long a message may take at first.
const SHORTEST: Duration = Duration::from_secs(1);

/// The longest patience before it is doubled.
const LONGEST: Duration = Duration::from_secs(8);

/// How often it is doubled at most.
const MAX_DOUBLED: u32 = 3;

/// The wait for an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// The last message that arrived, or the request that waits for an answer.
    moved_at: Duration,
    /// The last request, which may be a repeated one.
    requested_at: Duration,
    /// How long the next message may take.
    patience: Duration,
    /// How often the request was repeated.
    repeated: u32,
}

impl Patience {
    /// The wait for the answer to a first request.
    pub(super) fn new(now: Duration) -> Patience {
        Patience { moved_at: now, requested_at: now, patience: SHORTEST, repeated: 0 }
    }

    /// The last message that arrived, or the request that waits for an answer.
    pub(super) fn moved_at(&self) -> Duration {
        self.moved_at
    }

    /// The time of the last request.
    pub(super) fn requested_at(&self) -> Duration {
        self.requested_at
    }

    /// How often the request was repeated since the last message that was waited for, or a little more.
    pub(super) fn repeated(&self) -> u32 {
        self.repeated
    }

    /// When the request is repeated.
    pub(super) fn timeout(&self) -> Duration {
        let doubled = self.patience * (1 << self.repeated.min(MAX_DOUBLED));
        self.moved_at.max(self.requested_at) + doubled
    }

    /// Something else is requested.
    pub(super) fn requested(&mut self, now: Duration) {
        (self.moved_at, self.requested_at) = (now, now);
    }

    /// The same is requested again.
    pub(super) fn requested_again(&mut self, now: Duration) {
        self.requested_at = now;
    }

    /// The wait is over without an answer.
    pub(super) fn timed_out(&mut self) {
        self.repeated += 1;
    }

    /// A message that was waited for arrived.
    pub(super) fn arrived(&mut self, now: Duration) {
        let took = now.saturating_sub(self.moved_at);
        // Messages differ in length, so it falls slowly.
        let patience = (2 * took).max(self.patience * 7 / 8);
        self.patience = patience.clamp(SHORTEST, LONGEST);
        self.repeated = self.repeated.saturating_sub(1);
        self.moved_at = now;
    }

    /// Something else happened that the wait is put off by.
    pub(super) fn moved(&mut self, now: Duration) {
        self.moved_at = now;
    }

    /// Forgets the repetitions, and keeps the patience that was learned.
    pub(super) fn begin_again(&mut self) {
        self.repeated = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn patience_doubles_with_each_repetition() {
        let mut patience = Patience::new(secs(0));
        for timeout in [1, 3, 7, 15, 23] {
            assert_eq!(patience.timeout(), secs(timeout));
            patience.timed_out();
            patience.requested_again(secs(timeout));
        }
    }

    #[test]
    fn patience_follows_the_time_that_messages_take() {
        let mut patience = Patience::new(secs(0));
        patience.timed_out();
        patience.requested_again(secs(1));
        patience.arrived(secs(3));
        assert_eq!(patience.timeout(), secs(3 + 6), "twice what the message took");
        patience.requested(secs(4));
        patience.arrived(secs(4));
        let less = secs(6) * 7 / 8;
        assert_eq!(patience.timeout(), secs(4) + less, "a little less after one that came at once");
        patience.arrived(secs(90));
        assert_eq!(patience.timeout(), secs(90) + LONGEST);
    }

    #[test]
    fn messages_that_are_of_no_use_any_more_put_off_the_next_request() {
        let mut patience = Patience::new(secs(0));
        patience.moved(secs(5));
        assert_eq!(patience.timeout(), secs(6));
    }
}
