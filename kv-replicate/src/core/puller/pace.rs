//! The pace of a session: when a batch is requested again, and how many bytes are requested at a time.
//!
//! A batch takes about as long as [`SOON`], so that a slow link holds little of a session, and other messages pass: those
//! of other sessions, and the answers of a verification.

use std::time::Duration;

use crate::{core::patience::Patience, wire::BATCH_BYTES as PAGE_BYTES, work::MAX_BATCH_BYTES};

/// How often a batch is requested again before the session is given up.
const MAX_TRIES: u32 = 2;

/// A batch that is here within this time is followed by a longer one.
const SOON: Duration = Duration::from_secs(1);

/// A batch that takes longer is followed by a shorter one.
const LATE: Duration = Duration::from_secs(2);

/// The bytes of the first batch: the rows of some thousand members, so that joining takes few round trips.
const FIRST_BYTES: usize = 512 << 10;

/// The bytes of the shortest batch: one page.
const MIN_BYTES: usize = PAGE_BYTES;

/// The bytes of the longest batch as long as the link is not idle between two batches. Longer ones take more memory.
const USUAL_BYTES: usize = 2 << 20;

/// The link is idle between two batches if this share of the time that a batch takes passes before its first page.
const IDLE_SHARE: u32 = 16;

/// The pace of a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// The wait for the next page.
    patience: Patience,
    /// How often a batch was requested again because a body did not arrive.
    repeats: u32,
    /// About the most bytes of the next batch.
    bytes: usize,
    /// When the last batch was here, or when the session began.
    idle_since: Duration,
    /// How long nothing arrived before the batch that is arriving.
    idle: Duration,
}

impl Pace {
    /// The pace of a session that begins.
    pub(super) fn new(now: Duration) -> Pace {
        let (patience, idle) = (Patience::new(now), Duration::ZERO);
        Pace { patience, repeats: 0, bytes: FIRST_BYTES, idle_since: now, idle }
    }

    /// About how many bytes the next batch may have. One row may have more.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The wait for the next page.
    pub(super) fn patience(&mut self) -> &mut Patience {
        &mut self.patience
    }

    /// When the session last moved.
    pub(super) fn moved_at(&self) -> Duration {
        self.patience.moved_at()
    }

    /// When the wait for the next page is over.
    pub(super) fn timeout(&self) -> Duration {
        self.patience.timeout()
    }

    /// The first page of a batch arrived.
    pub(super) fn first_page(&mut self, now: Duration) {
        self.idle = now.saturating_sub(self.idle_since);
    }

    /// A whole batch arrived, of so many bytes, which was requested at this time.
    pub(super) fn batch(&mut self, bytes: usize, requested_at: Duration, now: Duration) {
        let took = now.saturating_sub(requested_at);
        self.idle_since = now;
        if took > LATE {
            self.bytes = (self.bytes / 2).max(MIN_BYTES);
        } else if took <= SOON && bytes * 2 > self.bytes {
            let was_idle = self.idle * IDLE_SHARE > took;
            let most = if was_idle { MAX_BATCH_BYTES } else { USUAL_BYTES };
            self.bytes = (self.bytes * 2).min(most.max(self.bytes));
        }
    }

    /// The wait is over without an answer. Returns whether it is worth another request.
    pub(super) fn retry(&mut self) -> bool {
        self.patience.timed_out();
        self.patience.repeated() <= MAX_TRIES
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

    /// The session is suspended: repetitions are forgotten, the learned patience and length of batches are kept.
    pub(super) fn suspended(&mut self) {
        self.patience.begin_again();
        self.repeats = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch that takes so long arrives, so long after the one before.
    fn arrives(pace: &mut Pace, bytes: usize, (idle, took): (Duration, Duration)) {
        let requested_at = pace.idle_since;
        pace.first_page(requested_at + idle);
        pace.batch(bytes, requested_at, requested_at + took);
    }

    #[test]
    fn batches_grow_while_they_arrive_soon_and_are_full_and_shrink_when_they_are_late() {
        let late = LATE + Duration::from_millis(1);
        let mut pace = Pace::new(Duration::ZERO);
        let at_once = |took| (Duration::ZERO, took);
        for _ in 0..10 {
            let bytes = pace.bytes();
            arrives(&mut pace, bytes, at_once(SOON));
        }
        assert_eq!(pace.bytes(), USUAL_BYTES);
        arrives(&mut pace, USUAL_BYTES, at_once(late));
        assert_eq!(pace.bytes(), USUAL_BYTES / 2);
        arrives(&mut pace, USUAL_BYTES / 2, at_once(LATE));
        arrives(&mut pace, 100, at_once(SOON));
        assert_eq!(pace.bytes(), USUAL_BYTES / 2, "a batch that is not full shows nothing");
        for _ in 0..10 {
            let bytes = pace.bytes();
            arrives(&mut pace, bytes, at_once(late));
        }
        assert_eq!(pace.bytes(), MIN_BYTES);
    }

    #[test]
    fn batches_grow_further_only_while_the_link_is_idle_between_them() {
        let mut pace = Pace::new(Duration::ZERO);
        for _ in 0..10 {
            let bytes = pace.bytes();
            arrives(&mut pace, bytes, (SOON / 10, SOON));
        }
        assert_eq!(pace.bytes(), MAX_BATCH_BYTES);
        arrives(&mut pace, MAX_BATCH_BYTES, (Duration::ZERO, SOON));
        assert_eq!(pace.bytes(), MAX_BATCH_BYTES, "they are long enough");
    }
}
