//! The only module that reads the system's clocks and randomness. Everything else is told.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where a store's threads get time and randomness from.
pub trait Environment: Send + Sync + 'static {
    /// The wall clock: milliseconds since the Unix epoch. May step.
    fn now_ms(&self) -> u64;

    /// A clock that only goes forward, from any start.
    fn monotonic(&self) -> Duration;

    /// Sixteen random bytes.
    ///
    /// # Errors
    /// What the system says, if it has none.
    fn random_id(&self) -> Result<[u8; 16], String>;
}

/// The clocks and randomness of the operating system.
#[derive(Clone, Copy, Debug)]
pub struct SystemEnvironment {
    start: Instant,
}

impl SystemEnvironment {
    /// Starts the monotonic clock at zero.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub fn new() -> SystemEnvironment {
        SystemEnvironment { start: Instant::now() }
    }
}

impl Default for SystemEnvironment {
    fn default() -> Self {
        SystemEnvironment::new()
    }
}

impl Environment for SystemEnvironment {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn random_id(&self) -> Result<[u8; 16], String> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| error.to_string())?;
        Ok(id)
    }
}
