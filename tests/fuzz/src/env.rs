//! A fixed time, and predictable ids.

use std::{
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use kv_core::env::Environment;

/// The environment of one process, in which the same calls have the same results.
pub struct Still {
    now_ms: u64,
    process: u8,
    ids: AtomicU8,
}

impl Still {
    /// The environment, with this wall time, of the process with this number. Each process that opens the same
    /// store needs a number of its own: no two processes ever draw the same id.
    pub fn at(now_ms: u64, process: u8) -> Still {
        Still { now_ms, process, ids: AtomicU8::new(1) }
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
        let mut id = [self.process; 16];
        id[0] = self.ids.fetch_add(1, Ordering::Relaxed);
        Ok(id)
    }
}
