//! What every door shares.

use std::sync::Arc;

use kv_core::{Role, Store};

use crate::{
    doors::rls::Rls, drain::Drain, gate::WriteGate, membership::Membership, metrics::Metrics,
    rate_limits::RateLimits,
};

pub use crate::body::{Body, RequestBody};

/// A running location: made once, shared by all connections.
#[derive(Debug)]
pub struct App {
    /// The store. Reads go straight to it.
    pub store: Store,
    /// The gate that all writes go through.
    pub writes: WriteGate,
    /// The rate limits.
    pub rate_limits: Arc<RateLimits>,
    /// What Envoy is limited by.
    pub rls: Rls,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The location's part in its cluster; none if it is in none.
    pub membership: Option<Arc<Membership>>,
    /// Whether the server is on its way out.
    pub drain: Arc<Drain>,
}

impl App {
    /// Why this location should get no traffic, if so.
    #[must_use]
    pub fn unready(&self) -> Option<String> {
        if self.drain.is_begun() {
            return Some("draining: this server is about to stop".into());
        }
        match self.store.status().role {
            Role::Writer => self.membership.as_ref().and_then(|membership| membership.unready()),
            Role::Waiting(why) => Some(format!("no writes for now: {why}")),
            Role::ReadOnly(why) => Some(format!("no writes until it is started again: {why}")),
            Role::Closed(why) => Some(format!("neither reads nor writes: {why}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ratelimit::Limiter;

    use super::*;
    use crate::{
        config::NamedLimits,
        doors::rls::{Domains, Fields},
    };

    #[test]
    fn a_location_is_ready_until_it_drains_or_its_store_takes_no_writes() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let app = App {
            writes: WriteGate::new(store.clone(), Duration::ZERO),
            store,
            rate_limits: Arc::new(RateLimits::new(
                Limiter::builder().memory_bytes(1 << 16).build().unwrap(),
                NamedLimits::default(),
                0,
                Metrics::new().limits(),
            )),
            rls: Rls::new(
                Domains::default(),
                Fields::None,
                Metrics::new().limits(),
                Metrics::new().rls(),
            ),
            metrics: Arc::default(),
            membership: None,
            drain: Arc::default(),
        };
        assert_eq!(app.unready(), None);
        app.drain.begin();
        assert!(app.unready().unwrap().contains("draining"));
        let app = App { drain: Arc::default(), ..app };
        app.store.close().unwrap();
        assert!(app.unready().unwrap().contains("neither reads nor writes"));
    }
}
