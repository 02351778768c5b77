//! How much a step of garbage collection does, and how long after it the next one follows.
//!
//! Writers wait for a step, so it takes about as long as a commit, whatever the disk: the number of its rows follows the
//! time that the last step took. While writers have work, a step follows after several times that, so that garbage
//! collection takes a bounded share of the writer thread. A step has no sync of its own: the next commit's covers it.

use std::time::Duration;

/// The time that a step with more to do should take.
const STEP: Duration = Duration::from_millis(5);

/// From the start of a step to the next one, in times of the step: without other work, and with it.
const IDLE: u32 = 2;
const BUSY: u32 = 6;

/// Rows of the first step of a process.
const FIRST_ROWS: usize = 500;
/// The least rows of a step: with fewer, most of its time is that of a commit without rows.
const MIN_ROWS: usize = 32;

/// The pace of garbage collection.
#[derive(Clone, Copy, Debug)]
pub(super) struct GcPace {
    /// The rows of the next step.
    rows: usize,
    /// How long the last step took, at least [`STEP`].
    took: Duration,
}

impl Default for GcPace {
    fn default() -> Self {
        GcPace { rows: FIRST_ROWS, took: STEP }
    }
}

impl GcPace {
    /// The most rows of each kind that the next step changes; never more than `most`.
    pub(super) fn rows(&self, most: usize) -> usize {
        self.rows.min(most)
    }

    /// Records how long a step took that changed `rows` rows, and freed no large bodies. A short step with few rows shows
    /// nothing about a step with many.
    pub(super) fn took(&mut self, took: Duration, rows: usize) {
        self.took = took.max(STEP);
        if took <= STEP && rows * 2 < self.rows {
            return;
        }
        let micros =
            |time: Duration| usize::try_from(time.as_micros()).unwrap_or(usize::MAX).max(1);
        let fitting = self.rows.saturating_mul(micros(STEP)) / micros(took);
        self.rows = fitting.clamp(self.rows / 2, self.rows * 2).max(MIN_ROWS);
    }

    /// Records how long a step took that also freed large bodies.
    pub(super) fn took_for_bodies(&mut self, took: Duration) {
        self.took = took.max(STEP);
    }

    /// The time from the start of a step to the next one while there is more to do.
    pub(super) fn pause(&self, is_busy: bool) -> Duration {
        self.took * if is_busy { BUSY } else { IDLE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs steps whose rows take `micros` microseconds each. Returns the rows of the last one.
    fn run(pace: &mut GcPace, steps: usize, micros: u64) -> usize {
        for _ in 0..steps {
            let rows = pace.rows(usize::MAX);
            pace.took(Duration::from_micros(micros * rows as u64), rows);
        }
        pace.rows(usize::MAX)
    }

    #[test]
    fn steps_take_about_the_same_time_whatever_a_row_takes() {
        let mut pace = GcPace::default();
        assert_eq!(run(&mut pace, 10, 2), 2500);
        assert_eq!(run(&mut pace, 10, 10), 500);
        assert_eq!(run(&mut pace, 10, 100), 50);
        assert_eq!(run(&mut pace, 10, 10_000), MIN_ROWS);
        assert_eq!(run(&mut pace, 10, 10), 500);
    }

    #[test]
    fn one_step_changes_the_rows_by_half_or_twice_at_most_and_a_small_short_one_not_at_all() {
        let mut pace = GcPace::default();
        pace.took(Duration::from_secs(9), FIRST_ROWS);
        assert_eq!(pace.rows(usize::MAX), FIRST_ROWS / 2);
        pace.took(Duration::from_micros(1), FIRST_ROWS / 2);
        assert_eq!(pace.rows(usize::MAX), FIRST_ROWS);
        pace.took(Duration::from_micros(1), 3);
        pace.took_for_bodies(Duration::from_secs(9));
        assert_eq!((pace.rows(usize::MAX), pace.rows(7)), (FIRST_ROWS, 7));
        pace.took(Duration::from_secs(9), 3);
        assert_eq!(pace.rows(usize::MAX), FIRST_ROWS / 2);
    }

    #[test]
    fn steps_take_a_sixth_of_the_time_beside_other_work_and_half_of_it_without() {
        let mut pace = GcPace::default();
        for took in [1, 5, 40].map(Duration::from_millis) {
            pace.took(took, FIRST_ROWS);
            assert!(pace.pause(true) >= took * 6 && pace.pause(false) >= took * 2);
        }
        assert_eq!(pace.pause(true), Duration::from_millis(240));
    }
}
