//! The time that the steps of the writer go by: cluster time, and what has certainly passed of it.

use std::time::Duration;

use super::{grace::SeenClock, step::Now};
use crate::cluster_clock::ClusterClock;

/// The cluster's clock, and what the own clocks have shown.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WriterClock {
    /// The cluster's clock, as replication last found it out.
    cluster: ClusterClock,
    /// What the clock has shown to this process.
    seen: SeenClock,
    /// Cluster time at the last step, less the largest skew, in milliseconds since the Unix epoch, if it was confirmed.
    confirmed_ms: Option<u64>,
}

impl WriterClock {
    /// Sets the clock that the next readings go by.
    pub(super) fn set(&mut self, cluster: ClusterClock) {
        self.cluster = cluster;
    }

    /// Takes a reading of the clocks into account. Returns the time with cluster time in place of the own wall clock.
    pub(super) fn read(&mut self, now: Now, grace: Duration, max_skew_ms: u64) -> Now {
        let now = Now { mono: now.mono, wall_ms: self.cluster.now_ms(now.mono, now.wall_ms) };
        self.seen.see(now, grace);
        let is_confirmed = self.cluster.is_confirmed;
        self.confirmed_ms = is_confirmed.then(|| now.wall_ms.saturating_sub(max_skew_ms));
        now
    }

    /// The time up to which the closed timestamp may rise, in milliseconds since the Unix epoch.
    pub(super) fn closing_ms(&self, mono: Duration) -> Option<u64> {
        self.cluster.closing_ms(mono)
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
