//! A fixed time, and predictable ids.

use std::{
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use kv_core::env::Environment;

/// An environment in which the same calls have the same results.
pub struct Still {
    now_ms: u64,
    ids: AtomicU8,
}

impl Still {
    /// An environment with this wall time.
    pub fn at(now_ms: u64) -> Still {
        Still { now_ms, ids: AtomicU8::new(1) }
    }
}

impl Environment for Still {
    fn now_ms(&self) -> u64 {
        self.now_ms
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn random_id(&self) -> Result<[u8; 16], kv_core::RandomError> {
        Ok([self.ids.fetch_add(1, Ordering::Relaxed); 16])
    }
}
