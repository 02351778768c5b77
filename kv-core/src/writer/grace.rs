//! How much of an expiry's past this process has seen, by its own running time.

use std::time::Duration;

use super::step::Now;

/// The readings of the wall clock in this process, measured against its monotonic clock.
///
/// A clock that is not confirmed may be wrong, at the start of a process or after a step. So an
/// expiry counts as passed only if *every* reading of the last `grace` of running time was later: a clock
/// that is ahead for less than that frees nothing. Clocks that drift, step forward, or step back and forth
/// need no case of their own.
///
/// The readings are kept as the least difference between the two clocks in two windows, each at least
/// `grace` long. The older one is dropped when the newer one is full, so a step forward counts after one to
/// two graces, and a step back counts at once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SeenClock {
    /// The window before the current one.
    former: Option<Window>,
    /// The window that takes readings.
    current: Option<Window>,
    /// The monotonic clock at the last reading.
    last: Duration,
}

/// Readings without a gap.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// The monotonic clock at the first of them.
    start: Duration,
    /// The least wall clock at the zero of the monotonic clock, in milliseconds since the Unix epoch.
    zero_ms: i128,
}

impl SeenClock {
    /// Takes a reading into account.
    pub(super) fn see(&mut self, now: Now, grace: Duration) {
        let zero_ms = i128::from(now.wall_ms) - millis(now.mono);
        self.last = now.mono;
        match &mut self.current {
            Some(window) if now.mono.saturating_sub(window.start) < grace => {
                window.zero_ms = window.zero_ms.min(zero_ms);
            }
            full => {
                let former = full.replace(Window { start: now.mono, zero_ms });
                // Without a grace, each reading counts at once.
                self.former = former.filter(|_| !grace.is_zero());
            }
        }
    }

    /// Returns the latest expiry, in Unix milliseconds, that each reading of the last `grace` had passed;
    /// none if the readings do not go back that far.
    pub(super) fn expired_ms(&self, grace: Duration) -> Option<u64> {
        let windows = || [self.former, self.current].into_iter().flatten();
        let start = windows().map(|window| window.start).min()?;
        let zero_ms = windows().map(|window| window.zero_ms).min()?;
        if self.last.saturating_sub(start) < grace {
            return None;
        }
        u64::try_from(zero_ms + millis(self.last) - millis(grace)).ok()
    }
}

/// Returns whole milliseconds.
fn millis(time: Duration) -> i128 {
    i128::try_from(time.as_millis()).unwrap_or(i128::MAX >> 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(60);

    const WALL_MS: u64 = 1_700_000_000_000;

    const DAY_MS: u64 = 24 * 60 * 60 * 1000;

    /// A clock that is read every second, in seconds of the process and milliseconds of error.
    fn read(clock: &mut SeenClock, seconds: std::ops::RangeInclusive<u64>, ahead_ms: i64) {
        for second in seconds {
            let wall_ms = (WALL_MS + second * 1000).saturating_add_signed(ahead_ms);
            clock.see(Now { mono: Duration::from_secs(second), wall_ms }, GRACE);
        }
    }

    /// Returns how long before the true time of the last reading an entry must have expired.
    fn age_ms(clock: &SeenClock) -> Option<i128> {
        let at = clock.expired_ms(GRACE)?;
        Some(i128::from(WALL_MS) + millis(clock.last) - i128::from(at))
    }

    #[test]
    fn nothing_has_expired_for_certain_before_the_process_ran_for_the_grace() {
        let mut clock = SeenClock::default();
        assert_eq!(age_ms(&clock), None);
        read(&mut clock, 5..=64, 0);
        assert_eq!(age_ms(&clock), None);
        read(&mut clock, 65..=65, 0);
        assert_eq!(age_ms(&clock), Some(60_000));
        read(&mut clock, 66..=1000, 0);
        assert_eq!(age_ms(&clock), Some(60_000), "while the clock is right, it is the grace");
    }

    #[test]
    fn a_start_with_a_wrong_clock_is_forgotten_when_the_clock_is_right_again() {
        let mut clock = SeenClock::default();
        read(&mut clock, 0..=59, DAY_MS.cast_signed());
        assert_eq!(age_ms(&clock), None);
        read(&mut clock, 60..=60, 0);
        assert_eq!(age_ms(&clock), Some(60_000));
    }

    #[test]
    fn a_step_forward_counts_after_one_to_two_graces() {
        let mut clock = SeenClock::default();
        read(&mut clock, 0..=300, 0);
        read(&mut clock, 301..=360, DAY_MS.cast_signed());
        assert_eq!(age_ms(&clock), Some(60_000), "as if the clock had not stepped");
        read(&mut clock, 361..=420, DAY_MS.cast_signed());
        assert_eq!(age_ms(&clock), Some(60_000 - i128::from(DAY_MS)));
    }

    #[test]
    fn a_step_back_counts_at_once() {
        let mut clock = SeenClock::default();
        read(&mut clock, 0..=300, 0);
        read(&mut clock, 301..=301, -10_000);
        assert_eq!(age_ms(&clock), Some(70_000));
    }

    #[test]
    fn a_clock_that_creeps_ahead_is_noticed_like_one_that_steps() {
        let mut clock = SeenClock::default();
        read(&mut clock, 0..=300, 0);
        for second in 301..=330 {
            read(&mut clock, second..=second, (second - 300).cast_signed() * 900);
        }
        assert_eq!(age_ms(&clock), Some(60_000));
    }

    #[test]
    fn without_a_grace_an_entry_may_go_as_soon_as_it_has_expired() {
        let mut clock = SeenClock::default();
        for second in 0..3 {
            let wall_ms = WALL_MS + second * 1000;
            clock.see(Now { mono: Duration::from_secs(second), wall_ms }, Duration::ZERO);
            assert_eq!(clock.expired_ms(Duration::ZERO), Some(wall_ms));
        }
    }
}
