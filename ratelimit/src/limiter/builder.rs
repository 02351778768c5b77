//! The builder of a limiter.

use std::sync::atomic::AtomicU64;

use super::save::{self, RestoreError};
use super::{Changed, Latest, Limiter};
use crate::clock::{Clock, SystemClock, random_secret};
use crate::global::Globals;
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
    global: Option<[u8; 16]>,
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
        let (slots, clock) = (DEFAULT_SLOTS, SystemClock::new());
        Builder { slots, secret: None, guests: false, global: None, clock }
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
        let Builder { slots, secret, guests, global, .. } = self;
        Builder { slots, secret, guests, global, clock }
    }

    /// Shares the counters of global limits ([`Limit::global`](crate::Limit::global)) with other limiters that have
    /// the same secret: see [`Limiter::global_changes`]. A quarter of the memory is for what other locations count,
    /// about 250 bytes for each key at three locations; the table has the rest.
    #[must_use]
    pub fn global(self, secret: [u8; 16]) -> Builder<C> {
        Builder { global: Some(secret), ..self }
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
        let (slots, budget) = self.split();
        let table = Table::new(slots, self.guests);
        Ok(Limiter {
            globals: self.globals(&table, budget)?,
            clock: self.clock,
            ahead_ms: 0,
            identity: Identity::new(secret, self.guests),
            table,
            counts: Counts::new(),
            changed: Changed::default(),
            latest: Latest(AtomicU64::new(0)),
        })
    }

    /// Returns the slots of the table, and the bytes for what is shared with other locations.
    fn split(&self) -> (usize, usize) {
        match self.global {
            Some(_) => (self.slots - self.slots / 4, self.slots / 4 * SLOT_BYTES),
            None => (self.slots, 0),
        }
    }

    /// Creates what is shared with other locations.
    fn globals(&self, table: &Table, budget: usize) -> Result<Option<Box<Globals>>, BuildError> {
        let Some(secret) = self.global else { return Ok(None) };
        let random = random_secret().map_err(BuildError::Random)?;
        let replica = random.iter().fold(0, |sum: u64, byte| sum.rotate_left(8) ^ u64::from(*byte));
        Ok(Some(Box::new(Globals::new(secret, replica.max(1), table.sets(), budget))))
    }

    /// Creates the limiter with the counters that [`Limiter::save`] wrote: all pieces, in their order.
    ///
    /// The secret is that of the save. The capacity may differ; if it is too small, the counters that weigh
    /// least are left out. Whether [`guests`](Builder::guests) have a share may not differ. If the clock is before the time of the save, the limiter starts at the
    /// time of the save.
    ///
    /// # Errors
    /// [`RestoreError`] if the pieces are incomplete, damaged, or of an unknown version, or if the system returns no
    /// random bytes that global limits need. No limiter is created then.
    pub fn restore<P: AsRef<[u8]>>(
        self,
        pieces: impl IntoIterator<Item = P>,
    ) -> Result<Limiter<C>, RestoreError> {
        let (slots, budget) = self.split();
        let restored = save::restore(slots, self.guests, self.global.is_some(), pieces)?;
        let globals =
            self.globals(&restored.table, budget).map_err(|_no_secret| RestoreError::Random)?;
        let ahead_ms = restored.saved_ms.saturating_sub(self.clock.now_ms());
        Ok(Limiter {
            clock: self.clock,
            ahead_ms,
            identity: restored.identity,
            table: restored.table,
            counts: Counts::new(),
            latest: Latest(AtomicU64::new(restored.saved_ms)),
            changed: Changed::default(),
            globals,
        })
    }
}
