//! What every door shares.

use std::sync::Arc;

use kv_core::{Mode, Store};

use crate::{
    admission::WriteAdmission, api::rls::Rls, drain::Drain, membership::Membership,
    metrics::Metrics, rate_limits::RateLimits,
};

pub use crate::body::{Body, RequestBody};

/// A running location: made once, shared by all connections.
#[derive(Debug)]
pub struct App {
    /// The store. Reads go straight to it.
    pub store: Store,
    /// The admission that all writes go through.
    pub writes: WriteAdmission,
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
        match self.store.status().mode {
            Mode::Writer => self.membership.as_ref().and_then(|membership| membership.unready()),
            Mode::Waiting(why) => Some(format!("no writes for now: {why}")),
            Mode::ReadOnly(why) => Some(format!("no writes until it is started again: {why}")),
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
        api::rls::{Domains, Fields},
        config::NamedLimits,
    };

    #[test]
    fn a_location_is_ready_until_it_drains_or_its_store_takes_no_writes() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let app = App {
            writes: WriteAdmission::new(store.clone(), Duration::ZERO),
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
