//! The time that the steps of the writer go by: cluster time, and what has certainly passed of it.

use std::time::Duration;

use super::{
    grace::SeenClock,
    step::Now,
    trust::{Evidence, TrustedClock},
};
use crate::cluster_clock::ClusterClock;

/// The cluster's clock, and what the own clocks have shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct WriterClock {
    /// The cluster's clock, as replication last found it out.
    cluster: ClusterClock,
    /// What the clock has shown to this process.
    seen: SeenClock,
    /// How far a confirmed clock is trusted.
    trusted: TrustedClock,
    /// The latest time that it can be, in milliseconds since the Unix epoch; none if nothing tells.
    latest_ms: Option<u64>,
    /// Cluster time at the last step, as far as it is trusted and less the largest skew, in milliseconds since the Unix
    /// epoch, if it was confirmed.
    confirmed_ms: Option<u64>,
}

impl WriterClock {
    /// The clock of a process that starts with a store that was last written at this time, in milliseconds since the Unix
    /// epoch; 0 if it was not.
    pub(super) fn starting(mono: Duration, written_ms: u64) -> WriterClock {
        WriterClock {
            cluster: ClusterClock::default(),
            seen: SeenClock::default(),
            trusted: TrustedClock::starting(mono, written_ms),
            latest_ms: None,
            confirmed_ms: None,
        }
    }

    /// Sets the clock that the next readings go by.
    pub(super) fn set(&mut self, cluster: ClusterClock) {
        self.cluster = cluster;
    }

    /// Takes a reading of the clocks into account. Returns the time with cluster time in place of the own wall clock.
    pub(super) fn read(&mut self, now: Now, grace: Duration, max_skew: Duration) -> Now {
        let now = Now { mono: now.mono, wall_ms: self.cluster.now_ms(now.mono, now.wall_ms) };
        self.seen.see(now, grace);
        // A time that each reading of the grace had passed by the grace.
        let seen_ms = self.seen.expired_ms(grace).map(|ms| ms.saturating_add(millis(grace)));
        let is_confirmed = self.cluster.is_confirmed;
        let evidence = Evidence { seen_ms, grace, max_skew };
        self.latest_ms = self.trusted.latest_ms(now, is_confirmed, evidence);
        let certain_ms = self.trusted(now.wall_ms).saturating_sub(millis(max_skew));
        self.confirmed_ms = is_confirmed.then_some(certain_ms);
        now
    }

    /// The time up to which the closed timestamp may rise, in milliseconds since the Unix epoch.
    pub(super) fn closing_ms(&self, mono: Duration) -> Option<u64> {
        self.cluster.closing_ms(mono).map(|ms| self.trusted(ms))
    }

    /// A time, as far as it is trusted.
    fn trusted(&self, ms: u64) -> u64 {
        self.latest_ms.map_or(ms, |latest| ms.min(latest))
    }

    /// Whether a majority of the members agrees with cluster time.
    pub(super) fn is_confirmed(&self) -> bool {
        self.cluster.is_confirmed
    }

    /// The latest expiry, in Unix milliseconds, that has certainly passed: on a confirmed clock, or for the grace of this
    /// process; none before either.
    pub(super) fn expired_ms(&self, grace: Duration) -> Option<u64> {
        self.confirmed_ms.max(self.seen.expired_ms(grace))
    }
}

/// Returns whole milliseconds.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
