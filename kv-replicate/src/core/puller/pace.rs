//! How fast the pages of a source arrive: how long to wait for one, and how many bytes to request at a time.
//!
//! A link queues everything that it is given. Requests that are repeated while their answers are on the way, and
//! batches that are long for the link, fill that queue with rows that were sent before, and everything behind them
//! waits: other pages, and the answers of a verification. So patience follows the time that a page takes, as TCP's
//! timeout follows the round trip (RFC 6298), and a batch takes about as long as [`SOON`].

use std::time::Duration;

use crate::{wire::BATCH_BYTES as PAGE_BYTES, work::MAX_BATCH_BYTES};

/// How long a page may take before its batch is requested again; doubled with each repetition.
const PATIENCE: Duration = Duration::from_secs(1);

/// The longest patience with a source whose pages take long.
const MAX_PATIENCE: Duration = Duration::from_secs(8);

/// How often a batch is requested again before the session is given up.
pub(super) const MAX_TRIES: u32 = 2;

/// A batch that is here within this time is followed by a longer one.
const SOON: Duration = Duration::from_secs(1);

/// A batch that takes longer is followed by a shorter one.
const LATE: Duration = Duration::from_secs(2);

/// The bytes of the first batch, and of the shortest: one page.
const MIN_BYTES: usize = PAGE_BYTES;

/// The pace of a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// The last message of the source or commit of its rows, or the request that waits for an answer.
    moved_at: Duration,
    /// The last request, which may be a repeated one.
    requested_at: Duration,
    /// How long the next page may take.
    patience: Duration,
    /// How often the batch was requested again because it stood still.
    tries: u32,
    /// How often it was requested again because a body did not arrive.
    repeats: u32,
    /// About the most bytes of the next batch.
    bytes: usize,
}

impl Pace {
    /// The pace of a session that begins.
    pub(super) fn new(now: Duration) -> Pace {
        Pace {
            moved_at: now,
            requested_at: now,
            patience: PATIENCE,
            tries: 0,
            repeats: 0,
            bytes: MIN_BYTES,
        }
    }

    /// About how many bytes the next batch may have. One row may have more.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the session last moved.
    pub(super) fn moved_at(&self) -> Duration {
        self.moved_at
    }

    /// When the wait is over.
    pub(super) fn timeout(&self) -> Duration {
        self.moved_at.max(self.requested_at) + self.patience * (1 << self.tries)
    }

    /// A batch is requested.
    pub(super) fn requested(&mut self, now: Duration) {
        (self.moved_at, self.requested_at) = (now, now);
    }

    /// A batch is requested again, which was not answered yet.
    pub(super) fn requested_again(&mut self, now: Duration) {
        self.requested_at = now;
    }

    /// A page that was waited for arrived.
    pub(super) fn page(&mut self, now: Duration) {
        let took = now.saturating_sub(self.moved_at);
        // Pages differ in length, so it falls slowly.
        let patience = (2 * took).max(self.patience * 7 / 8);
        self.patience = patience.clamp(PATIENCE, MAX_PATIENCE);
        self.tries = self.tries.saturating_sub(1);
        self.moved_at = now;
    }

    /// A whole batch arrived, of so many bytes, so long after it was requested.
    pub(super) fn batch(&mut self, bytes: usize, took: Duration) {
        if took <= SOON && bytes * 2 > self.bytes {
            self.bytes = (self.bytes * 2).min(MAX_BATCH_BYTES);
        } else if took > LATE {
            self.bytes = (self.bytes / 2).max(MIN_BYTES);
        }
    }

    /// Something else moved: rows were committed, or a page arrived that is of no use any more. As long as such pages
    /// arrive, those that were requested later are behind them.
    pub(super) fn moved(&mut self, now: Duration) {
        self.moved_at = now;
    }

    /// The wait is over without an answer. Returns whether it is worth another request.
    pub(super) fn retry(&mut self) -> bool {
        self.tries += 1;
        self.tries <= MAX_TRIES
    }

    /// A batch is requested again because a body of it did not arrive. Returns whether it is worth another request.
    pub(super) fn repeat(&mut self) -> bool {
        self.repeats += 1;
        self.repeats <= MAX_TRIES
    }

    /// All bodies of a batch are here.
    pub(super) fn has_bodies(&mut self) {
        self.repeats = 0;
    }

    /// The session is suspended. What is known of the link stays.
    pub(super) fn suspended(&mut self) {
        (self.tries, self.repeats) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn patience_doubles_with_each_repetition_and_follows_the_time_that_pages_take() {
        let mut pace = Pace::new(secs(0));
        for (timeout, is_worth_it) in [(1, true), (3, true), (7, false)] {
            assert_eq!(pace.timeout(), secs(timeout));
            assert_eq!(pace.retry(), is_worth_it);
            pace.requested_again(secs(timeout));
        }
        let mut pace = Pace::new(secs(0));
        pace.retry();
        pace.requested_again(secs(1));
        pace.page(secs(3));
        assert_eq!(pace.timeout(), secs(3 + 6), "twice what the page took");
        pace.requested(secs(4));
        pace.page(secs(4));
        assert_eq!(
            pace.timeout(),
            secs(4) + secs(6) * 7 / 8,
            "a little less after one that came at once"
        );
        pace.page(secs(90));
        assert_eq!(pace.timeout(), secs(90) + MAX_PATIENCE);
    }

    #[test]
    fn batches_grow_while_they_arrive_soon_and_are_full_and_shrink_when_they_are_late() {
        let mut pace = Pace::new(secs(0));
        for _ in 0..10 {
            pace.batch(pace.bytes(), SOON);
        }
        assert_eq!(pace.bytes(), MAX_BATCH_BYTES);
        pace.batch(pace.bytes(), LATE + secs(1));
        assert_eq!(pace.bytes(), MAX_BATCH_BYTES / 2);
        pace.batch(pace.bytes(), LATE);
        pace.batch(100, SOON);
        assert_eq!(pace.bytes(), MAX_BATCH_BYTES / 2, "an empty batch shows nothing");
        for _ in 0..10 {
            pace.batch(pace.bytes(), LATE + secs(1));
        }
        assert_eq!(pace.bytes(), MIN_BYTES);
    }

    #[test]
    fn pages_that_are_of_no_use_any_more_put_off_the_next_request() {
        let mut pace = Pace::new(secs(0));
        pace.moved(secs(5));
        assert_eq!(pace.timeout(), secs(6));
    }
}
