//! The pace of a session: when a batch is requested again, and how many bytes are requested at a time.
//!
//! A batch takes about as long as [`SOON`], so that a slow link holds little of a session, and other messages pass: those
//! of other sessions, and the answers of a verification.

use std::time::Duration;

use crate::{core::patience::Patience, wire::BATCH_BYTES as PAGE_BYTES, work::MAX_BATCH_BYTES};

/// How often a batch is requested again before the session is given up.
const MAX_TRIES: u32 = 2;

/// A batch that is here within this time is followed by a longer one. The one before it arrives in that time too.
const SOON: Duration = Duration::from_millis(1500);

/// A batch that takes longer is followed by a shorter one. One that is twice as long as one that came soon is not late.
const LATE: Duration = Duration::from_secs(3);

/// The bytes of the first batch: the rows of some thousand members, so that joining takes few round trips.
const FIRST_BYTES: usize = 512 << 10;

/// The bytes of the shortest batch: one page.
const MIN_BYTES: usize = PAGE_BYTES;

/// The pace of a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// The wait for the next page.
    patience: Patience,
    /// How often a batch was requested again because a body did not arrive.
    repeats: u32,
    /// About the most bytes of the next batch.
    bytes: usize,
}

impl Pace {
    /// The pace of a session that begins.
    pub(super) fn new(now: Duration) -> Pace {
        Pace { patience: Patience::new(now), repeats: 0, bytes: FIRST_BYTES }
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

    /// Records that a whole batch of `bytes` arrived, and how long after its request.
    pub(super) fn batch(&mut self, bytes: usize, took: Duration) {
        if took <= SOON && bytes * 2 > self.bytes {
            self.bytes = (self.bytes * 2).min(MAX_BATCH_BYTES);
        } else if took > LATE {
            self.bytes = (self.bytes / 2).max(MIN_BYTES);
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

    #[test]
    fn batches_grow_while_they_arrive_soon_and_are_full_and_shrink_when_they_are_late() {
        let late = LATE + Duration::from_millis(1);
        let mut pace = Pace::new(Duration::ZERO);
        for _ in 0..10 {
            pace.batch(pace.bytes(), SOON);
        }
        assert_eq!(pace.bytes(), MAX_BATCH_BYTES);
        pace.batch(pace.bytes(), late);
        assert_eq!(pace.bytes(), MAX_BATCH_BYTES / 2);
        pace.batch(pace.bytes(), LATE);
        pace.batch(100, SOON);
        assert_eq!(pace.bytes(), MAX_BATCH_BYTES / 2, "a batch that is not full shows nothing");
        for _ in 0..10 {
            pace.batch(pace.bytes(), late);
        }
        assert_eq!(pace.bytes(), MIN_BYTES);
    }

    #[test]
    fn two_batches_hold_what_a_link_of_100_mbit_and_half_a_second_does() {
        let mut pace = Pace::new(Duration::ZERO);
        let bytes_per_second = 12_500_000.0;
        for _ in 0..10 {
            // The batch before arrives first.
            pace.batch(
                pace.bytes(),
                Duration::from_secs_f64(2.0 * pace.bytes() as f64 / bytes_per_second),
            );
        }
        assert!(pace.bytes() as f64 >= 0.5 * bytes_per_second, "{}", pace.bytes());
    }
}
