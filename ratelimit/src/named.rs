//! A limit with a name, for code that uses one limit in one place.

use crate::clock::{Clock, SystemClock};
use crate::decision::Decision;
use crate::limit::Limit;
use crate::limiter::Limiter;
use crate::request::Request;

impl<C: Clock> Limiter<C> {
    /// Returns a limit with a name, to check keys against. The name is the namespace of its counters.
    pub fn limit<'a>(&'a self, name: &'a str, limit: Limit) -> NamedLimit<'a, C> {
        NamedLimit { limiter: self, name, limit }
    }
}

/// A limit with a name. [`Limiter::limit`] returns it.
///
/// It holds no counters: copy it, or create it where it is needed. Two named limits with the same name,
/// period and algorithm share their counters.
///
/// ```
/// use std::time::Duration;
/// use ratelimit::{Limit, Limiter};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = Limiter::builder().capacity(1000).build()?;
/// let login = limiter.limit("login", Limit::sliding(5, Duration::from_secs(60))?);
/// let decision = login.check("ip:192.0.2.1");
/// assert!(decision.allowed);
/// assert_eq!(decision.remaining, 4);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct NamedLimit<'a, C: Clock = SystemClock> {
    limiter: &'a Limiter<C>,
    name: &'a str,
    limit: Limit,
}

impl<C: Clock> Clone for NamedLimit<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C: Clock> Copy for NamedLimit<'_, C> {}

impl<'a, C: Clock> NamedLimit<'a, C> {
    /// Returns the limiter.
    #[must_use]
    pub fn limiter(&self) -> &'a Limiter<C> {
        self.limiter
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

    /// Returns the request of cost 1 that [`check`](NamedLimit::check) decides on, for
    /// [`Limiter::check_all`].
    pub fn request<'k>(&self, key: &'k (impl AsRef<[u8]> + ?Sized)) -> Request<'k>
    where
        'a: 'k,
    {
        Request::new(self.name, key, self.limit)
    }

    /// Decides on a request of cost 1, and counts it if it is allowed.
    pub fn check(&self, key: &(impl AsRef<[u8]> + ?Sized)) -> Decision {
        self.limiter.check(&self.request(key))
    }

    /// Decides on a request of any cost, and counts it if it is allowed.
    pub fn check_n(&self, key: &(impl AsRef<[u8]> + ?Sized), cost: u32) -> Decision {
        self.limiter.check(&self.request(key).cost(cost))
    }

    /// Returns what [`check`](NamedLimit::check) would decide, without counting.
    pub fn peek(&self, key: &(impl AsRef<[u8]> + ?Sized)) -> Decision {
        self.limiter.peek(&self.request(key))
    }

    /// Counts a cost that is known only afterwards, whatever the limit is; see [`Limiter::record`].
    pub fn record(&self, key: &(impl AsRef<[u8]> + ?Sized), cost: u32) -> Decision {
        self.limiter.record(&self.request(key).cost(cost))
    }

    /// Gives back a cost that was counted but not used; see [`Limiter::refund`].
    pub fn refund(&self, key: &(impl AsRef<[u8]> + ?Sized), cost: u32) {
        self.limiter.refund(&self.request(key).cost(cost));
    }

    /// Removes the counter of a key, so that its whole limit is free.
    pub fn reset(&self, key: &(impl AsRef<[u8]> + ?Sized)) {
        self.limiter.reset(&self.request(key));
    }
}
