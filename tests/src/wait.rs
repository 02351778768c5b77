//! Waits with a time limit.

use std::{thread, time::Duration};

use kv_core::env::{Environment as _, SystemEnvironment};

/// The pause between two checks.
const PAUSE: Duration = Duration::from_millis(5);

/// A monotonic clock for deadlines.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stopwatch(SystemEnvironment);

impl Stopwatch {
    /// Starts the clock.
    #[must_use]
    pub fn start() -> Stopwatch {
        Stopwatch::default()
    }

    /// The time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.monotonic()
    }
}

/// Calls `check` until it returns something or `limit` has passed.
pub fn until<T>(limit: Duration, mut check: impl FnMut() -> Option<T>) -> Option<T> {
    let clock = Stopwatch::start();
    loop {
        if let Some(found) = check() {
            return Some(found);
        }
        if clock.elapsed() > limit {
            return None;
        }
        thread::sleep(PAUSE);
    }
}

/// The wall clock in Unix seconds.
#[must_use]
pub fn unix_seconds() -> u64 {
    SystemEnvironment::new().now_ms() / 1000
}
