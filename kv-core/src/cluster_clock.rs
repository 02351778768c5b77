//! The clock of the cluster, as replication found it out.

use std::time::Duration;

/// The cluster's clock, measured against this location's monotonic clock, so that a step of the own wall
/// clock does not move it.
///
/// A *zero* is the reading of a wall clock at the zero of the monotonic clock, in milliseconds since the Unix
/// epoch. A store that is not replicated has the default: its own wall clock, not confirmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClusterClock {
    /// The zero of cluster time. None: cluster time is the own wall clock.
    pub zero_ms: Option<i64>,
    /// Whether a majority of the members agrees with cluster time. Only a confirmed clock destroys what has
    /// expired without a grace.
    pub is_confirmed: bool,
    /// The zero of the time up to which the closed timestamp may rise. None: it stays.
    pub closing_zero_ms: Option<i64>,
}

impl ClusterClock {
    /// Returns cluster time, in milliseconds since the Unix epoch, where the own clocks show these times.
    #[must_use]
    pub fn now_ms(&self, mono: Duration, wall_ms: u64) -> u64 {
        self.zero_ms.map_or(wall_ms, |zero_ms| at(zero_ms, mono))
    }

    /// Returns the time up to which the closed timestamp may rise, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn closing_ms(&self, mono: Duration) -> Option<u64> {
        self.closing_zero_ms.map(|zero_ms| at(zero_ms, mono))
    }

    /// Returns the same clock for another monotonic clock, which shows `to` while this one shows `from`.
    #[must_use]
    pub fn rebased(&self, from: Duration, to: Duration) -> ClusterClock {
        let by = millis(from).saturating_sub(millis(to));
        let rebase = |zero_ms: i64| zero_ms.saturating_add(by);
        ClusterClock {
            zero_ms: self.zero_ms.map(rebase),
            is_confirmed: self.is_confirmed,
            closing_zero_ms: self.closing_zero_ms.map(rebase),
        }
    }
}

/// Returns the reading of a clock with this zero; 0 before the Unix epoch.
fn at(zero_ms: i64, mono: Duration) -> u64 {
    u64::try_from(zero_ms.saturating_add(millis(mono))).unwrap_or(0)
}

/// Returns whole milliseconds.
fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_step_of_the_wall_clock_moves_only_a_clock_without_a_zero() {
        let shared = ClusterClock { zero_ms: Some(5_000), ..ClusterClock::default() };
        for (wall_ms, own) in [(6_000, 6_000), (900_000, 900_000), (0, 0)] {
            assert_eq!(shared.now_ms(SECOND, wall_ms), 6_000);
            assert_eq!(ClusterClock::default().now_ms(SECOND, wall_ms), own);
        }
    }

    #[test]
    fn a_rebased_clock_shows_the_same_time() {
        let (zero_ms, closing_zero_ms) = (Some(5_000), Some(4_000));
        let clock = ClusterClock { zero_ms, closing_zero_ms, is_confirmed: true };
        for (from, to) in [(3 * SECOND, SECOND), (SECOND, 3 * SECOND)] {
            let other = clock.rebased(from, to);
            assert_eq!(other.now_ms(to, 0), clock.now_ms(from, 0));
            assert_eq!(other.closing_ms(to), clock.closing_ms(from));
        }
    }
}
