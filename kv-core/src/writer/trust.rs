//! The time that cannot be later, although a majority of the members agrees with a later one.
//!
//! Members on one machine, or behind one wrong time server, may all be wrong for a while, and confirm each other. What
//! follows from a time for good, an entry that is freed and a time that is closed, must not follow from such a while. So a
//! confirmed time counts only as far as the running time of this process bears it out: from the first one that was
//! plausible on, it goes forward like the monotonic clock. A later one counts once the process has seen it for the expiry
//! grace ([`super::grace`]).

use std::time::Duration;

use super::step::Now;

/// The facts that bound the confirmed clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence {
    /// The time that each reading of the last grace had reached, in milliseconds since the Unix epoch; none before the
    /// process has run for as long.
    pub(super) seen_ms: Option<u64>,
    /// The expiry grace.
    pub(super) grace: Duration,
    /// The largest difference between two clocks that are right.
    pub(super) max_skew: Duration,
}

/// The confirmed clock, as far as it is trusted.
#[derive(Clone, Copy, Debug)]
pub(super) struct TrustedClock {
    /// The time of the last write of the processes before this one, at the zero of the monotonic clock and in milliseconds
    /// since the Unix epoch; none if there was no write.
    written_ms: Option<i128>,
    /// What the clock shows there; none before the first confirmed reading.
    zero_ms: Option<i128>,
}

impl TrustedClock {
    /// The clock of a process that starts with a store that was last written at this time, in milliseconds since the Unix
    /// epoch; 0 if it was not.
    pub(super) fn starting(mono: Duration, written_ms: u64) -> TrustedClock {
        let written_ms = (written_ms > 0).then(|| i128::from(written_ms) - millis(mono));
        TrustedClock { written_ms, zero_ms: None }
    }

    /// Takes a reading into account. Returns the latest time that it can be, in milliseconds since the Unix epoch; none if
    /// nothing tells.
    pub(super) fn latest_ms(&mut self, now: Now, is_confirmed: bool, by: Evidence) -> Option<u64> {
        let mono = millis(now.mono);
        let zero = |ms: u64| i128::from(ms) - mono;
        let seen = by.seen_ms.map(zero);
        // A store that was stopped for longer than the grace, or that nobody wrote to, waits for it.
        let since = self.written_ms.map(|written| written + millis(by.grace));
        if is_confirmed && self.zero_ms.is_none() {
            let own = zero(now.wall_ms);
            self.zero_ms = Some(since.map_or(own, |since| since.min(own)));
        }
        self.zero_ms = self.zero_ms.map(|own| own.max(seen.unwrap_or(own)));
        let latest = self.zero_ms.or(since.map(|since| since.max(seen.unwrap_or(since))))?;
        u64::try_from(latest + mono + millis(by.max_skew)).ok()
    }
}

/// Returns whole milliseconds.
fn millis(time: Duration) -> i128 {
    i128::try_from(time.as_millis()).unwrap_or(i128::MAX >> 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL_MS: u64 = 1_700_000_000_000;

    const HOUR_MS: u64 = 60 * 60 * 1000;

    const DAY_MS: u64 = 24 * HOUR_MS;

    /// By how much more than `WALL_MS` and so many seconds it may be after these, in milliseconds.
    fn latest(
        clock: &mut TrustedClock,
        (seconds, ahead_ms): (u64, u64),
        seen_ms: Option<u64>,
    ) -> Option<u64> {
        let (grace, max_skew) = (Duration::from_millis(HOUR_MS), Duration::ZERO);
        let wall_ms = WALL_MS + seconds * 1000 + ahead_ms;
        let now = Now { mono: Duration::from_secs(seconds), wall_ms };
        let by = Evidence { seen_ms, grace, max_skew };
        clock.latest_ms(now, true, by).map(|ms| ms - WALL_MS - seconds * 1000)
    }

    fn starting(written_ms: u64) -> TrustedClock {
        TrustedClock::starting(Duration::ZERO, written_ms)
    }

    #[test]
    fn a_step_that_all_confirm_counts_only_once_it_was_seen_for_the_grace() {
        let mut clock = starting(0);
        assert_eq!(latest(&mut clock, (0, 0), None), Some(0));
        assert_eq!(latest(&mut clock, (10, DAY_MS), None), Some(0));
        assert_eq!(latest(&mut clock, (20, 0), None), Some(0), "it is right again");
        let seen = Some(WALL_MS + DAY_MS + 30_000);
        assert_eq!(latest(&mut clock, (30, DAY_MS), seen), Some(DAY_MS));
    }

    #[test]
    fn a_clock_that_is_ahead_when_a_process_starts_does_not_count_before_the_grace() {
        let mut clock = starting(WALL_MS);
        assert_eq!(latest(&mut clock, (0, DAY_MS), None), Some(HOUR_MS));
        assert_eq!(latest(&mut clock, (5, DAY_MS), None), Some(HOUR_MS));
    }

    #[test]
    fn a_process_that_starts_soon_after_the_last_write_goes_by_its_clock() {
        assert_eq!(latest(&mut starting(WALL_MS), (0, 60_000), None), Some(60_000));
    }

    #[test]
    fn a_clock_that_steps_back_and_is_set_right_again_counts_at_once() {
        let mut clock = starting(0);
        latest(&mut clock, (0, DAY_MS), None);
        assert_eq!(latest(&mut clock, (5, 0), None), Some(DAY_MS));
        assert_eq!(latest(&mut clock, (9, DAY_MS), None), Some(DAY_MS));
    }
}
