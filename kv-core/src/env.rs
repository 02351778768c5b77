//! The clocks and the randomness of the system. Only this module reads them; all others receive values.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use crate::error::RandomError;

/// A source of ids: each call returns 16 random bytes, or fails if the system has no randomness.
pub type RandomIds = dyn FnMut() -> Result<[u8; 16], RandomError> + Send;

/// The source of time and randomness of a store's threads.
pub trait Environment: Send + Sync + 'static {
    /// Returns the wall clock in milliseconds since the Unix epoch. It may step.
    fn now_ms(&self) -> u64;

    /// Returns a clock that only moves forward, from any start.
    fn monotonic(&self) -> Duration;

    /// Returns 16 random bytes.
    ///
    /// # Errors
    /// If the system has no randomness.
    fn random_id(&self) -> Result<[u8; 16], RandomError>;
}

/// The clocks and randomness of the operating system.
#[derive(Clone, Copy, Debug)]
pub struct SystemEnvironment {
    /// The start of the monotonic clock.
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

    fn random_id(&self) -> Result<[u8; 16], RandomError> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| RandomError(error.to_string()))?;
        Ok(id)
    }
}
