//! A limit with a name that owns its limiter, for structs, tasks and threads.

use std::sync::Arc;

use crate::clock::{Clock, SystemClock};
use crate::decision::Decision;
use crate::limit::Limit;
use crate::limiter::Limiter;
use crate::named::NamedLimit;
use crate::request::Request;

impl<C: Clock> Limiter<C> {
    /// Returns a limit with a name that shares this limiter, to be stored or moved into a task. The name is
    /// the namespace of its counters.
    pub fn owned_limit(self: &Arc<Self>, name: impl Into<Arc<str>>, limit: Limit) -> OwnedLimit<C> {
        OwnedLimit { limiter: Arc::clone(self), name: name.into(), limit }
    }
}

/// A [`NamedLimit`] without a lifetime. [`Limiter::owned_limit`] returns it.
///
/// A clone costs two increments and has the same counters.
///
/// ```
/// use std::{sync::Arc, thread, time::Duration};
/// use ratelimit::{Limit, Limiter, OwnedLimit};
///
/// struct Service {
///     login: OwnedLimit,
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = Arc::new(Limiter::builder().capacity(1000).build()?);
/// let service = Service { login: limiter.owned_limit("login", Limit::sliding(1, Duration::from_secs(60))?) };
/// let login = service.login.clone();
/// let first = thread::spawn(move || login.check("ip:192.0.2.1").allowed);
/// assert!(first.join().is_ok_and(|allowed| allowed));
/// assert!(!service.login.check("ip:192.0.2.1").allowed);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct OwnedLimit<C: Clock = SystemClock> {
    limiter: Arc<Limiter<C>>,
    name: Arc<str>,
    limit: Limit,
}

impl<C: Clock> Clone for OwnedLimit<C> {
    fn clone(&self) -> Self {
        let (limiter, name) = (Arc::clone(&self.limiter), Arc::clone(&self.name));
        OwnedLimit { limiter, name, limit: self.limit }
    }
}

impl<C: Clock> OwnedLimit<C> {
    /// Returns the same limit with a lifetime.
    #[must_use]
    pub fn as_named(&self) -> NamedLimit<'_, C> {
        self.limiter.limit(&self.name, self.limit)
    }

    /// Returns the limiter.
    #[must_use]
    pub fn limiter(&self) -> &Arc<Limiter<C>> {
        &self.limiter
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the limit.
    #[must_use]
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// Replaces the limit. With the same period and algorithm the counters keep their values.
    pub fn set_limit(&mut self, limit: Limit) {
        self.limit = limit;
    }

    /// Returns the request of cost 1 that [`check`](OwnedLimit::check) decides on, for
    /// [`Limiter::check_all`].
    pub fn request<'k>(&'k self, key: &'k (impl AsRef<[u8]> + ?Sized)) -> Request<'k> {
        self.as_named().request(key)
    }

    /// Decides on a request of cost 1, and counts it if it is allowed.
    pub fn check(&self, key: &(impl AsRef<[u8]> + ?Sized)) -> Decision {
        self.as_named().check(key)
    }

    /// Decides on a request of any cost, and counts it if it is allowed.
    pub fn check_n(&self, key: &(impl AsRef<[u8]> + ?Sized), cost: u32) -> Decision {
        self.as_named().check_n(key, cost)
    }

    /// Returns what [`check`](OwnedLimit::check) would decide, without counting.
    pub fn peek(&self, key: &(impl AsRef<[u8]> + ?Sized)) -> Decision {
        self.as_named().peek(key)
    }

    /// Counts a cost that is known only afterwards, whatever the limit is; see [`Limiter::record`].
    pub fn record(&self, key: &(impl AsRef<[u8]> + ?Sized), cost: u32) -> Decision {
        self.as_named().record(key, cost)
    }

    /// Gives back a cost that was counted but not used; see [`Limiter::refund`].
    pub fn refund(&self, key: &(impl AsRef<[u8]> + ?Sized), cost: u32) {
        self.as_named().refund(key, cost);
    }

    /// Removes the counter of a key, so that its whole limit is free.
    pub fn reset(&self, key: &(impl AsRef<[u8]> + ?Sized)) {
        self.as_named().reset(key);
    }
}
