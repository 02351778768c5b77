//! Waiting for something to come true.

use std::{thread, time::Duration};

use kv_core::env::{Environment as _, SystemEnvironment};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// A clock that only goes forward, for deadlines.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stopwatch(SystemEnvironment);

impl Stopwatch {
    /// Starts it.
    #[must_use]
    pub fn start() -> Stopwatch {
        Stopwatch::default()
    }

    /// Since its start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.monotonic()
    }
}

/// Looks until there is something, for at most `limit`.
pub fn until<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let clock = Stopwatch::start();
    loop {
        if let Some(found) = look() {
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
