//! Peers whose clocks are ahead: nothing that they date in the future is applied before its time.

use std::time::Duration;

use kv_core::Hlc;

use super::local::Local;

/// Whether a peer's writes wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Parking {
    /// They are applied as they arrive.
    #[default]
    Clear,
    /// They wait until the wall clock of this location shows this many milliseconds.
    Until(u64),
}

impl Parking {
    /// Parks a peer if its latest write is dated too far ahead. Returns how far, in milliseconds.
    pub(super) fn check(&mut self, local: &Local, latest: Option<Hlc>) -> Option<u64> {
        let latest = latest.map_or(0, Hlc::millis);
        let max_ahead = local.config().max_ahead_ms;
        if latest <= local.wall_ms().saturating_add(max_ahead) {
            return None;
        }
        *self = Parking::Until(latest - max_ahead);
        Some(latest - local.wall_ms())
    }

    /// Ends the wait if it is over. Returns whether it was one.
    pub(super) fn end(&mut self, local: &Local) -> bool {
        let is_over = self.until().is_some_and(|until| until <= local.wall_ms());
        if is_over {
            *self = Parking::Clear;
        }
        is_over
    }

    /// The time of the wall clock at which the wait ends, in milliseconds.
    pub(super) fn until(self) -> Option<u64> {
        match self {
            Parking::Clear => None,
            Parking::Until(until) => Some(until),
        }
    }

    /// When the wait is over, on the monotonic clock, if the wall clock does not step.
    pub(super) fn timeout(self, local: &Local) -> Option<Duration> {
        let wait = self.until()?.saturating_sub(local.wall_ms()).max(1);
        Some(local.mono() + Duration::from_millis(wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::Fixture;

    #[test]
    fn a_peer_is_parked_until_its_writes_are_within_the_bound() {
        let mut fixture = Fixture::new();
        fixture.at_wall(1_000);
        let mut parking = Parking::Clear;
        let written = |ms: u64| Some(Hlc(ms << 16));
        assert_eq!(parking.check(fixture.local(), written(1_500)), None);
        assert_eq!(parking.check(fixture.local(), written(1_800)), Some(800));
        assert_eq!(parking, Parking::Until(1_300));
        assert!(!parking.end(fixture.local()));
        fixture.at_wall(1_300);
        assert!(parking.end(fixture.local()) && parking == Parking::Clear);
    }
}
