//! The state that all APIs share.

use std::sync::Arc;

use kv_core::{
    MemberId, Mode, Store, WriteError,
    env::{Environment as _, SystemEnvironment},
};

use crate::{
    access::Gate,
    admission::Admission,
    alarms::{self, AlarmBook, Raised, Snapshot, Verdict},
    audit::AuditLog,
    bounds::Bounds,
    budget::Budget,
    drain::Drain,
    membership::Membership,
    metrics::Metrics,
    rate_limits::CurrentLimits,
    writes::Writes,
};

/// A running location: made once, shared by all connections.
#[derive(Debug)]
pub struct App {
    /// The store. Reads go straight to it.
    pub store: Store,
    /// All writes go through this.
    pub writes: Writes,
    /// The bounds of writes that the operator sets.
    pub bounds: Bounds,
    /// Bounds the long request bodies that are in memory at a time; see
    /// [`crate::http::incoming::long_bodies`].
    pub long_bodies: Admission,
    /// Bounds the bytes that requests in progress hold.
    pub budget: Arc<Budget>,
    /// Who sent a request, and what that permits.
    pub gate: Gate,
    /// The rate limits and their counters.
    pub rate_limits: CurrentLimits,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// This location's membership in a cluster, if it is in one.
    pub membership: Option<Arc<Membership>>,
    /// Whether the server is stopping.
    pub drain: Arc<Drain>,
    /// The alarms that last.
    pub alarms: AlarmBook,
    /// Records administrative acts.
    pub audit: AuditLog,
}

/// The state of a location at one moment, with what is derived from it.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The state.
    pub snapshot: Snapshot,
    /// The alarms, with the times since which they last.
    pub alarms: Vec<Raised>,
    /// Whether all is well; none if the location is in no cluster.
    pub verdict: Option<Verdict>,
}

impl App {
    /// Returns the state of this location now, and what is derived from it. Alarms that have risen or ended since the
    /// last call are logged.
    pub async fn observe(&self) -> Observation {
        let member = match &self.membership {
            None => None,
            Some(membership) => Some((membership.as_ref(), membership.state().await)),
        };
        let now = SystemEnvironment::new().now_ms() / 1000;
        let snapshot = Snapshot::of(&self.store, member, &self.alarms, now);
        let called = |id: MemberId| match &snapshot.member {
            Some(member) => member.called(id),
            None => id.to_string(),
        };
        let alarms = self.alarms.observe(now, alarms::alarms(&snapshot), called);
        let verdict =
            (snapshot.member.as_ref()).map(|member| alarms::verdict(member, alarms.len()));
        Observation { snapshot, alarms, verdict }
    }

    /// Whether the store may lack tokens that its cluster has: the location has not joined yet, or rebuilds its store.
    #[must_use]
    pub fn may_lack_tokens(&self) -> bool {
        // A new store that joins is in the same state.
        self.store.view().is_rebuilding()
    }

    /// Returns why this location should get no traffic, or none if it should.
    #[must_use]
    pub fn unready(&self) -> Option<String> {
        if self.drain.is_begun() {
            return Some("draining: this server is about to stop".into());
        }
        match self.store.status().mode {
            Mode::Writer if self.store.view().is_superseded() => {
                Some(WriteError::Superseded(self.store.member()).to_string())
            }
            Mode::Writer => self.membership.as_ref().and_then(|membership| membership.unready()),
            Mode::Waiting(why) => Some(format!("no writes for now: {why}")),
            Mode::ReadOnly(why) => Some(format!("no writes until it is restarted: {why}")),
            Mode::Closed(why) => Some(format!("neither reads nor writes: {why}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ratelimit::Limiter;

    use super::*;
    use crate::{
        http::incoming::long_bodies,
        rate_limits::{NamedLimits, RateLimits},
    };

    #[test]
    fn a_location_is_ready_until_it_drains_or_its_store_rejects_writes() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let app = App {
            writes: Writes::new(store.clone(), Duration::ZERO, None),
            bounds: Bounds::default(),
            long_bodies: long_bodies(),
            budget: Budget::new(1 << 20),
            store,
            gate: Gate::default(),
            rate_limits: CurrentLimits::new(Arc::new(RateLimits::new(
                Limiter::builder().memory_bytes(1 << 16).build().unwrap(),
                NamedLimits::default(),
                0,
                Metrics::new().limits(),
            ))),
            metrics: Arc::default(),
            membership: None,
            drain: Arc::default(),
            alarms: AlarmBook::default(),
            audit: AuditLog::default(),
        };
        assert_eq!(app.unready(), None);
        app.drain.begin();
        assert!(app.unready().unwrap().contains("draining"));
        let app = App { drain: Arc::default(), ..app };
        app.store.close().unwrap();
        assert!(app.unready().unwrap().contains("neither reads nor writes"));
    }
}
