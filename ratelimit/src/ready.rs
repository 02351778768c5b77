//! Waiting until a request is allowed, with the timer of tokio.

use std::time::Duration;

use crate::clock::Clock;
use crate::decision::Decision;
use crate::limiter::Limiter;
use crate::named::NamedLimit;
use crate::owned::OwnedLimit;
use crate::request::Request;

/// A request that no limit ever allows: its cost is above the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cost of {cost} never fits into a limit of {limit}")]
pub struct NeverReady {
    /// The cost of the request.
    pub cost: u32,
    /// The cost that the limit allows at once.
    pub limit: u32,
}

impl<C: Clock> Limiter<C> {
    /// Waits until a request is allowed, and counts it. Needs the feature `tokio`, and a runtime with its timer.
    ///
    /// **Cancellation.** The request is counted in the same poll in which the future ends, so a future that is
    /// dropped before has counted nothing, and one that ended has counted exactly once.
    ///
    /// **Fairness.** There is no queue. Each waiter sleeps until its request would be allowed if no other
    /// came, and then checks again; of several that wake at the same time, as many pass as the limit allows,
    /// and the others sleep again. A request that arrives at that moment may pass before them. The limit is
    /// exact whatever the number of waiters. For strict order, let one task wait for all.
    ///
    /// A waiter notices a refund or a reset only when it wakes. Each attempt counts as a check in
    /// [`Stats`](crate::Stats).
    ///
    /// # Errors
    /// [`NeverReady`] at once, if the cost is above the limit.
    pub async fn until_ready(&self, request: &Request<'_>) -> Result<Decision, NeverReady> {
        loop {
            let decision = self.check(request);
            if decision.allowed {
                return Ok(decision);
            }
            let never = NeverReady { cost: request.cost, limit: decision.limit };
            let wait = decision.retry_after.ok_or(never)?;
            // Never zero, so that no clock makes this a loop that does not yield.
            tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
        }
    }
}

impl<C: Clock> NamedLimit<'_, C> {
    /// Waits until a request of cost 1 is allowed, and counts it; see [`Limiter::until_ready`].
    ///
    /// # Errors
    /// [`NeverReady`] if the limit is zero.
    pub async fn until_ready(
        &self,
        key: &(impl AsRef<[u8]> + ?Sized),
    ) -> Result<Decision, NeverReady> {
        self.until_n_ready(key, 1).await
    }

    /// Waits until a request of any cost is allowed, and counts it; see [`Limiter::until_ready`].
    ///
    /// # Errors
    /// [`NeverReady`] if the cost is above the limit.
    pub async fn until_n_ready(
        &self,
        key: &(impl AsRef<[u8]> + ?Sized),
        cost: u32,
    ) -> Result<Decision, NeverReady> {
        self.limiter().until_ready(&self.request(key).cost(cost)).await
    }
}

impl<C: Clock> OwnedLimit<C> {
    /// Waits until a request of cost 1 is allowed, and counts it; see [`Limiter::until_ready`].
    ///
    /// # Errors
    /// [`NeverReady`] if the limit is zero.
    pub async fn until_ready(
        &self,
        key: &(impl AsRef<[u8]> + ?Sized),
    ) -> Result<Decision, NeverReady> {
        self.as_named().until_ready(key).await
    }

    /// Waits until a request of any cost is allowed, and counts it; see [`Limiter::until_ready`].
    ///
    /// # Errors
    /// [`NeverReady`] if the cost is above the limit.
    pub async fn until_n_ready(
        &self,
        key: &(impl AsRef<[u8]> + ?Sized),
        cost: u32,
    ) -> Result<Decision, NeverReady> {
        self.as_named().until_n_ready(key, cost).await
    }
}
