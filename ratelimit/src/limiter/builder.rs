//! The builder of a limiter.

use std::sync::atomic::AtomicU64;

use super::save::{self, RestoreError};
use super::{Changed, Latest, Limiter};
use crate::clock::{Clock, SystemClock, random_secret};
use crate::identity::Identity;
use crate::stats::Counts;
use crate::table::Table;

/// The slots of a table by default: 16 MiB, for about 500,000 live keys.
const DEFAULT_SLOTS: usize = 1 << 20;
/// The bytes of a slot.
const SLOT_BYTES: usize = 16;

/// Configures and creates a [`Limiter`].
///
/// By default a limiter holds about 500,000 live keys (16 MiB), has a random secret, and reads the
/// system's clock.
#[derive(Clone, Debug)]
pub struct Builder<C: Clock = SystemClock> {
    slots: usize,
    secret: Option<[u8; 16]>,
    guests: bool,
    clock: C,
}

/// The reason why a [`Limiter`] was not created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The operating system returned no random bytes for the secret. [`Builder::secret`] sets one.
    #[error("the system returned no random bytes for the limiter's secret: {0}")]
    Random(#[source] std::io::Error),
}

impl Limiter {
    /// Returns a builder, which sets the size, the secret and the clock.
    #[must_use]
    pub fn builder() -> Builder {
        Builder { slots: DEFAULT_SLOTS, secret: None, guests: false, clock: SystemClock::new() }
    }
}

impl<C: Clock> Builder<C> {
    /// Sets the number of keys that can count at the same time, at 32 bytes each. Of that many keys, at
    /// most 1 in 100 is evicted.
    #[must_use]
    pub fn capacity(self, keys: usize) -> Builder<C> {
        Builder { slots: keys.saturating_mul(2), ..self }
    }

    /// Sets the memory of the table in bytes: 32 for each live key, and at least 128. It is allocated at
    /// once and does not grow.
    #[must_use]
    pub fn memory_bytes(self, bytes: usize) -> Builder<C> {
        Builder { slots: bytes / SLOT_BYTES, ..self }
    }

    /// Sets the secret of the hash of keys. It is random by default. A client that knows the secret can
    /// choose keys that share a counter or crowd one set of the table.
    #[must_use]
    pub fn secret(self, secret: [u8; 16]) -> Builder<C> {
        Builder { secret: Some(secret), ..self }
    }

    /// Gives guests ([`Limit::guest`](crate::Limit::guest)) one half of the table, and all other limits the
    /// other half. The counters of one half never evict those of the other. Off by default: then guests
    /// are like other limits, and all share the whole table.
    #[must_use]
    pub fn guests(self, guests: bool) -> Builder<C> {
        Builder { guests, ..self }
    }

    /// Sets the clock.
    #[must_use]
    pub fn clock<D: Clock>(self, clock: D) -> Builder<D> {
        Builder { slots: self.slots, secret: self.secret, guests: self.guests, clock }
    }

    /// Creates the limiter, with all counters at zero.
    ///
    /// # Errors
    /// [`BuildError::Random`] if no secret was set and the operating system returns no random bytes.
    pub fn build(self) -> Result<Limiter<C>, BuildError> {
        let secret = match self.secret {
            Some(secret) => secret,
            None => random_secret().map_err(BuildError::Random)?,
        };
        Ok(Limiter {
            clock: self.clock,
            ahead_ms: 0,
            identity: Identity::new(secret, self.guests),
            table: Table::new(self.slots, self.guests),
            counts: Counts::new(),
            changed: Changed::default(),
            latest: Latest(AtomicU64::new(0)),
        })
    }

    /// Creates the limiter with the counters that [`Limiter::save`] wrote: all pieces, in their order.
    ///
    /// The secret is that of the save. The capacity may differ; if it is too small, the counters that weigh
    /// least are left out. Whether [`guests`](Builder::guests) have a share may not differ. If the clock is before the time of the save, the limiter starts at the
    /// time of the save.
    ///
    /// # Errors
    /// [`RestoreError`] if the pieces are incomplete, damaged, or of an unknown version. No limiter is
    /// created then.
    pub fn restore<P: AsRef<[u8]>>(
        self,
        pieces: impl IntoIterator<Item = P>,
    ) -> Result<Limiter<C>, RestoreError> {
        save::restore(self.slots, self.guests, self.clock, pieces)
    }
}
