//! What a limiter answers.

use std::time::Duration;

/// What became of a hit, and what to tell who sent it.
///
/// | field | sliding | fixed | GCRA |
/// |---|---|---|---|
/// | `limit` | the count | the count | the burst |
/// | `remaining` | hits that would be allowed now, one by one | the same | the same |
/// | `reset_after` | until both windows that count have passed | until the window ends | until the bucket is empty |
///
/// All times are rounded up to whole milliseconds. They hold if nothing else comes meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether to go on. In shadow mode always true. Only allowed hits count.
    pub allowed: bool,
    /// The most that `remaining` can be.
    pub limit: u32,
    /// How many hits of cost 1 would be allowed right after this one.
    pub remaining: u32,
    /// The time until `remaining` is `limit` again. Zero if it is now.
    pub reset_after: Duration,
    /// The soonest time after which the same call would be allowed: zero if it was allowed (also by
    /// a peek), `None` if it can never be, for its cost is above the limit.
    pub retry_after: Option<Duration>,
    /// Whether shadow mode allowed what the limit denies. `retry_after` and `remaining` are then those
    /// of the denial, and the hit was not counted.
    pub shadowed: bool,
}

impl Decision {
    /// Whether the limit was kept: `allowed`, and not only by shadow mode.
    #[must_use]
    pub fn within(&self) -> bool {
        self.allowed && !self.shadowed
    }
}

/// What became of hits that were to be allowed all together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllDecision {
    /// Whether to go on. If not, none of the hits was counted.
    pub allowed: bool,
    /// One for each hit, in the order given. If not all were allowed, nothing is counted, and each says
    /// how its counter stands: `remaining` and `reset_after` without any of these hits; `allowed` and
    /// `retry_after` for the hit together with those before it that name the same counter. Who
    /// waits for the longest `retry_after` has them all allowed, if nothing else comes; if one is
    /// `None`, they never can be.
    pub decisions: Vec<Decision>,
}
