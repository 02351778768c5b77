//! A limit under a name, as code that uses one limit in one place wants it.

use crate::clock::{Clock, SystemClock};
use crate::decision::Decision;
use crate::hit::Hit;
use crate::limit::Limit;
use crate::limiter::Limiter;

/// A limit with a name, from [`Limiter::limit`]. Copy it, or make it anew where it is needed: it holds
/// no state. Two with one name, period and algorithm share their counters.
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
    pub(crate) fn new(limiter: &'a Limiter<C>, name: &'a str, limit: Limit) -> Self {
        NamedLimit { limiter, name, limit }
    }

    /// The limit.
    #[must_use]
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// Holds keys to another limit from now on. With the same period and algorithm the counters go on.
    pub fn set_limit(&mut self, limit: Limit) {
        self.limit = limit;
    }

    /// The hit of cost 1 that [`check`](NamedLimit::check) decides on: for [`Limiter::check_all`].
    pub fn hit<'k>(&self, key: &'k (impl AsRef<[u8]> + ?Sized)) -> Hit<'k>
    where
        'a: 'k,
    {
        Hit::new(self.name, key, self.limit)
    }

    /// Decides on a hit of cost 1, and counts it if it is allowed.
    pub fn check(&self, key: &(impl AsRef<[u8]> + ?Sized)) -> Decision {
        self.limiter.check(&self.hit(key))
    }

    /// Decides on a hit of any cost, and counts it if it is allowed.
    pub fn check_n(&self, key: &(impl AsRef<[u8]> + ?Sized), cost: u32) -> Decision {
        self.limiter.check(&self.hit(key).cost(cost))
    }

    /// What [`check`](NamedLimit::check) would decide, without counting.
    pub fn peek(&self, key: &(impl AsRef<[u8]> + ?Sized)) -> Decision {
        self.limiter.peek(&self.hit(key))
    }

    /// Gives back what was counted just now but not used; see [`Limiter::refund`].
    pub fn refund(&self, key: &(impl AsRef<[u8]> + ?Sized), cost: u32) {
        self.limiter.refund(&self.hit(key).cost(cost));
    }

    /// Forgets the key's counter.
    pub fn reset(&self, key: &(impl AsRef<[u8]> + ?Sized)) {
        self.limiter.reset(&self.hit(key));
    }
}
