//! The bounds that an operator sets for writes of keys.

use std::{sync::Arc, time::Duration};

use kv_core::NamespaceId;
use ratelimit::{BuildError, Limit, Limiter, OwnedLimit};

/// The least time until an entry expires in Workers KV, in seconds.
const MIN_TTL: u64 = 60;

/// The memory in which writes are counted if there may be one a second to a key: for more than 100,000 keys a second.
const COUNTERS_BYTES: usize = 4 << 20;

/// The most namespaces of an account of Workers KV.
const MAX_NAMESPACES: usize = 1000;

/// A key was put less than a second ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "429 Too Many Requests: strict is set, and a key may be put once a second, as in Workers KV."
)]
pub struct TooOften;

/// The bounds that an operator sets for writes of keys. The default is those of Workers KV, without its bound on the rate of
/// writes.
#[derive(Debug)]
pub struct Bounds {
    /// The least time until an entry expires, in seconds.
    min_ttl: u64,
    /// At most one write a second to a key; none if there is no such bound.
    rate: Option<OwnedLimit>,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { min_ttl: MIN_TTL, rate: None }
    }
}

impl Bounds {
    /// The bounds with this least time until an entry expires; if they are strict, all those of Workers KV.
    ///
    /// # Errors
    /// If the counters can't be made.
    pub fn new(min_ttl: Duration, is_strict: bool) -> Result<Bounds, BuildError> {
        if !is_strict {
            return Ok(Bounds { min_ttl: min_ttl.as_secs().max(1), rate: None });
        }
        let limiter = Arc::new(Limiter::builder().memory_bytes(COUNTERS_BYTES).build()?);
        let limit = Limit::gcra(1, 1, Duration::from_secs(1)).expect("one a second is a limit");
        Ok(Bounds { rate: Some(limiter.owned_limit("writes", limit)), ..Bounds::default() })
    }

    /// The least time until an entry expires, in seconds.
    #[must_use]
    pub fn min_ttl(&self) -> u64 {
        self.min_ttl
    }

    /// The most namespaces; none if there is no such bound.
    #[must_use]
    pub fn max_namespaces(&self) -> Option<usize> {
        self.rate.as_ref().map(|_| MAX_NAMESPACES)
    }

    /// Counts a put of a key.
    ///
    /// # Errors
    /// If it was put less than a second ago and that is a bound.
    pub fn check_put(&self, namespace: NamespaceId, key: &[u8]) -> Result<(), TooOften> {
        let Some(rate) = &self.rate else { return Ok(()) };
        if rate.check(&[&namespace.0, key].concat()).allowed { Ok(()) } else { Err(TooOften) }
    }
}
