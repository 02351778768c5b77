//! How a limiter is made.

use std::sync::atomic::AtomicU64;

use super::{Latest, Limiter, RestoreError, save};
use crate::clock::{Clock, SystemClock, random_secret};
use crate::identity::Identity;
use crate::stats::Counts;
use crate::table::Table;

/// The places of a table if nothing is said: 16 MiB, for about 500,000 live keys.
const DEFAULT_SLOTS: usize = 1 << 20;
/// The bytes of a place.
const SLOT_BYTES: usize = 16;

/// Describes a [`Limiter`].
///
/// Without a word it has room for about 500,000 live keys (16 MiB), a random secret, and the system's
/// clock.
#[derive(Clone, Debug)]
pub struct Builder<C: Clock = SystemClock> {
    slots: usize,
    secret: Option<[u8; 16]>,
    clock: C,
}

/// Why a [`Limiter`] cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The system has no randomness for the secret. Give one with [`Builder::secret`].
    #[error("the system gave no random bytes for the limiter's secret: {0}")]
    Random(String),
}

impl Builder {
    pub(crate) fn new() -> Builder {
        Builder { slots: DEFAULT_SLOTS, secret: None, clock: SystemClock::new() }
    }
}

impl<C: Clock> Builder<C> {
    /// Room for so many keys that count at the same time, at 32 bytes each: of that many, at most 1 in
    /// 100 is forgotten before its time.
    #[must_use]
    pub fn capacity(self, keys: usize) -> Builder<C> {
        Builder { slots: keys.saturating_mul(2), ..self }
    }

    /// So much memory, in bytes: 32 for each live key. It is taken at once and never grows. At least 128.
    #[must_use]
    pub fn memory_bytes(self, bytes: usize) -> Builder<C> {
        Builder { slots: bytes / SLOT_BYTES, ..self }
    }

    /// The secret of the keys' hash. Whoever knows it can make keys that share a counter or crowd one
    /// place of the table; by default it is random.
    #[must_use]
    pub fn secret(self, secret: [u8; 16]) -> Builder<C> {
        Builder { secret: Some(secret), ..self }
    }

    /// Another clock.
    #[must_use]
    pub fn clock<D: Clock>(self, clock: D) -> Builder<D> {
        Builder { slots: self.slots, secret: self.secret, clock }
    }

    /// Makes the limiter, with all counters at zero.
    ///
    /// # Errors
    /// [`BuildError::Random`], if no secret was given and the system has no randomness.
    pub fn build(self) -> Result<Limiter<C>, BuildError> {
        let secret = match self.secret {
            Some(secret) => secret,
            None => random_secret().map_err(|error| BuildError::Random(error.to_string()))?,
        };
        Ok(Limiter {
            clock: self.clock,
            ahead_ms: 0,
            identity: Identity::new(secret),
            table: Table::new(self.slots),
            counts: Counts::new(),
            latest: Latest(AtomicU64::new(0)),
        })
    }

    /// Makes the limiter with the counters that [`Limiter::save`] wrote, all pieces in their order. The
    /// secret is that of the save. The capacity may be another; if it is too small, the least counts
    /// are left out. If the clock stands before the time of the save, it goes on from there.
    ///
    /// # Errors
    /// If the pieces are not whole or not of a known version: then nothing was made.
    pub fn restore<P: AsRef<[u8]>>(
        self,
        pieces: impl IntoIterator<Item = P>,
    ) -> Result<Limiter<C>, RestoreError> {
        save::restore(self.slots, self.clock, pieces)
    }
}
