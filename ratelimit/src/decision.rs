//! The result of a request.

use std::time::Duration;

/// The result of one request, with the figures that a client needs.
///
/// | field | sliding | fixed | GCRA |
/// |---|---|---|---|
/// | `limit` | the count | the count | the burst |
/// | `remaining` | the cost that would be allowed now | the same | the same |
/// | `reset_after` | until the current window ends | the same | until the bucket is empty |
///
/// All times are rounded up to whole milliseconds. They hold as long as no other request arrives.
///
/// `reset_after` is at most the period, or `retry_after` if that is longer; with GCRA it is longer if the burst is above
/// the count. `retry_after` is exact. With the fixed window it is at most the period, and with GCRA for a cost up to the
/// count. With the sliding window it is at most the period and cost / count of a period: what was counted in the current
/// window is counted less and less in the next one.
#[must_use = "a request that is not `allowed` must not proceed"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether the request may proceed. Always true in shadow mode. Only allowed requests count.
    pub allowed: bool,
    /// The largest possible value of `remaining`.
    pub limit: u32,
    /// The cost that would be allowed right after this request.
    pub remaining: u32,
    /// The time until the current window ends, or with GCRA until `remaining` equals `limit` again; zero if nothing is
    /// counted. After a denial it is at least `retry_after`.
    pub reset_after: Duration,
    /// The time after which the same call would be allowed. Zero if it was allowed, also by a peek; `None`
    /// if it will never be allowed, because its cost is above the limit. Of
    /// [`record`](crate::Limiter::record), the time after which the counter is within its limit again.
    pub retry_after: Option<Duration>,
    /// Whether shadow mode allowed a request that the limit denies. `retry_after` and `remaining` are then
    /// those of the denial, and the request was not counted.
    pub shadowed: bool,
}

impl Decision {
    /// Returns whether the request was within its limit: allowed, and not only by shadow mode.
    #[must_use]
    pub fn within(&self) -> bool {
        self.allowed && !self.shadowed
    }
}

/// The result of a batch that is counted as a whole or not at all.
#[must_use = "a batch that is not `allowed` must not proceed"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllDecision {
    /// Whether the batch may proceed. If not, none of its requests was counted.
    pub allowed: bool,
    /// One decision for each request, in the order given.
    ///
    /// If the batch was denied, nothing is counted, and each decision describes its counter:
    /// `remaining` and `reset_after` without any request of the batch; `allowed` and `retry_after` for
    /// the request together with those before it that name the same counter. The batch passes after the
    /// longest `retry_after`, if no other request arrives. If one `retry_after` is `None`, the batch
    /// never passes.
    pub decisions: Vec<Decision>,
}
