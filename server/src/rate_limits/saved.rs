//! The counters across a restart: a clean stop saves them in the location's store, and the next start
//! takes them from there. After a crash there are none, and the running windows start from zero; except for those of
//! calendars, which are saved while the server runs, because a crash must not forget the quota of a month.
//!
//! Nothing here stops a server: if the counters can't be saved or read, they start from zero and the
//! log reports it. In the store they are the limiter's pieces, each after its length in four bytes.

use bytes::{Buf as _, Bytes, BytesMut};
use kv_core::{LocalReader, ReadError, Store};
use ratelimit::{BuildError, Builder, Limiter, RestoreError, StateCursor, UsageError};

/// Their name in the store.
const NAME: &str = "ratelimit";

/// The name of what is known of global limits.
const GLOBAL: &str = "ratelimit-global";
/// The name of the counters of calendars, which stay in the store.
const QUOTAS: &str = "ratelimit-quotas";

/// The size of a length.
const LENGTH_BYTES: usize = 4;

/// No piece is longer. Damaged lengths must not allocate more memory than there is.
const MAX_PIECE_BYTES: usize = 1 << 20;

/// Why no limiter was built from saved counters.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the saved counters are cut short")]
    CutShort,
    #[error("a saved piece is too long")]
    TooLong,
    #[error(transparent)]
    Restore(#[from] RestoreError),
    #[error(transparent)]
    Usage(#[from] UsageError),
}

/// A limiter, and whether it has the counters that the last stop saved.
#[derive(Debug)]
pub(super) struct Restored {
    /// The limiter.
    pub(super) limiter: Limiter,
    /// Whether counters were saved and are in it.
    pub(super) has_counters: bool,
}

/// Builds a limiter with the counters that the last stop saved.
///
/// It also removes them from the store, so that a crash does not restore counters of long ago.
///
/// # Errors
/// If the system provides no randomness for a limiter without counters.
pub(super) fn restore(store: &Store, builder: Builder) -> Result<Restored, BuildError> {
    let restored = match store.local(NAME) {
        Ok(None) => return restore_quotas(store, builder),
        Ok(Some(reader)) => decode(reader, builder.clone()),
        Err(error) => Err(error.into()),
    };
    if let Err(error) = store.drop_local(NAME) {
        tracing::warn!(
            %error,
            "can't remove the saved counters of rate limits: a crash would restore them"
        );
    }
    match restored {
        Ok(limiter) => Ok(Restored { limiter, has_counters: true }),
        Err(error) => {
            tracing::warn!(%error, "the counters of rate limits start from zero");
            builder.build().map(|limiter| Restored { limiter, has_counters: false })
        }
    }
}

/// Takes over what the last stop saved of global limits, and removes it from the store: after a crash, the other locations
/// send what they know.
pub(super) fn restore_global(store: &Store, limiter: &Limiter) {
    let result = match store.local(GLOBAL) {
        Ok(None) => return,
        Ok(Some(reader)) => {
            let mut pieces = Pieces { reader, buffer: BytesMut::new(), error: None };
            let merged = pieces.by_ref().try_for_each(|it| limiter.merge_usage(&it).map(drop));
            pieces.error.map_or(merged.map_err(Unusable::from), Err)
        }
        Err(error) => Err(error.into()),
    };
    if let Err(error) = result {
        tracing::warn!(%error, "the counters of global limits start from what other locations know");
    }
    if let Err(error) = store.drop_local(GLOBAL) {
        tracing::warn!(
            %error,
            "can't remove the saved counters of global limits: a crash would restore them"
        );
    }
}

/// Builds a limiter with the counters of calendars that were saved before a crash.
fn restore_quotas(store: &Store, builder: Builder) -> Result<Restored, BuildError> {
    let restored = match store.local(QUOTAS) {
        Ok(None) => None,
        Ok(Some(reader)) => Some(decode(reader, builder.clone())),
        Err(error) => Some(Err(error.into())),
    };
    match restored {
        Some(Ok(limiter)) => return Ok(Restored { limiter, has_counters: true }),
        Some(Err(error)) => {
            tracing::warn!(%error, "the counters of calendar windows start from zero");
        }
        None => {}
    }
    builder.build().map(|limiter| Restored { limiter, has_counters: false })
}

/// Saves the counters of calendars for a start after a crash. Blocks until they are durable.
pub(super) fn save_quotas(store: &Store, limiter: &Limiter) {
    save_as(store, QUOTAS, limiter.save_calendars());
}

/// Saves the counters of `limiter` for the next start. Blocks until they are durable.
pub(super) fn save(store: &Store, limiter: &Limiter) {
    save_as(store, NAME, limiter.save());
    if limiter.is_global() {
        let mut cursor = StateCursor::default();
        let state = std::iter::from_fn(|| limiter.global_state(&mut cursor)).flatten();
        save_as(store, GLOBAL, state);
    }
}

/// Saves pieces under a name, each behind its length.
fn save_as(store: &Store, name: &str, pieces: impl Iterator<Item = Vec<u8>>) {
    let pieces = pieces.flat_map(|piece| {
        let length = u32::try_from(piece.len()).expect("a piece is short").to_be_bytes();
        [length.to_vec(), piece]
    });
    match store.save_local(name, pieces) {
        Ok(()) => tracing::debug!("the counters of rate limits are saved"),
        Err(error) => tracing::warn!(
            %error,
            "can't save the counters of rate limits: they will start from zero"
        ),
    }
}

/// Builds a limiter from saved counters.
fn decode(reader: LocalReader, builder: Builder) -> Result<Limiter, Unusable> {
    let mut pieces = Pieces { reader, buffer: BytesMut::new(), error: None };
    let restored = builder.restore(pieces.by_ref());
    match pieces.error {
        Some(error) => Err(error),
        None => restored.map_err(Unusable::from),
    }
}

/// The limiter's pieces, read from those of the store.
struct Pieces {
    /// The saved bytes.
    reader: LocalReader,
    /// The bytes that were read and not returned yet.
    buffer: BytesMut,
    /// Why they ended early, if they did.
    error: Option<Unusable>,
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        self.try_next().unwrap_or_else(|error| {
            self.error = Some(error);
            None
        })
    }
}

impl Pieces {
    /// The next piece; none at the end.
    fn try_next(&mut self) -> Result<Option<Bytes>, Unusable> {
        if !self.fill(LENGTH_BYTES)? {
            return if self.buffer.is_empty() { Ok(None) } else { Err(Unusable::CutShort) };
        }
        let length = usize::try_from(self.buffer.get_u32()).unwrap_or(usize::MAX);
        if length > MAX_PIECE_BYTES {
            return Err(Unusable::TooLong);
        }
        if !self.fill(length)? {
            return Err(Unusable::CutShort);
        }
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// Reads until this many bytes are in the buffer; `false` if there are fewer.
    fn fill(&mut self, bytes: usize) -> Result<bool, ReadError> {
        while self.buffer.len() < bytes {
            let Some(chunk) = self.reader.next_chunk()? else { return Ok(false) };
            self.buffer.extend_from_slice(&chunk);
        }
        Ok(true)
    }
}

/// The error of pieces that end too early.
#[cfg(test)]
mod tests {
    use ratelimit::{Limit, Request};

    use super::*;
    use crate::{
        metrics::Metrics,
        rate_limits::{RateLimitSettings, RateLimits},
    };

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        (directory, store)
    }

    /// Large enough that no nine of the keys here share one set of eight slots, except in one run of a
    /// million.
    fn builder() -> Builder {
        Limiter::builder().memory_bytes(4 << 20)
    }

    /// A limiter in which each of `keys` keys has used up its limit.
    fn used_up(keys: u32) -> (Limiter, Limit) {
        let limiter = builder().build().unwrap();
        let limit = Limit::fixed(1, Limit::MAX_PERIOD).unwrap();
        for key in 0..keys {
            assert!(limiter.check(&Request::new("n", &key.to_be_bytes(), limit)).allowed);
        }
        (limiter, limit)
    }

    #[test]
    fn saved_counters_of_many_pieces_are_restored_once() {
        let (_directory, store) = store();
        let (limiter, limit) = used_up(10_000);
        assert!(limiter.save().count() > 2, "there are several pieces");
        save(&store, &limiter);
        let restored = restore(&store, builder()).unwrap();
        assert!(restored.has_counters);
        let denied = (0..10_000u32)
            .filter(|key| {
                !restored.limiter.peek(&Request::new("n", &key.to_be_bytes(), limit)).allowed
            })
            .count();
        assert_eq!(denied, 10_000);
        assert!(!restore(&store, builder()).unwrap().has_counters, "they were removed");
    }

    #[test]
    fn usage_that_was_only_recorded_is_saved() {
        let (_directory, store) = store();
        let limit = Limit::fixed(1, Limit::MAX_PERIOD).unwrap();
        let request = Request::new("n", "k", limit);
        let open = |metrics: &Metrics| {
            RateLimits::open(&store, RateLimitSettings::default(), metrics.limits()).unwrap()
        };
        let rates = open(&Metrics::new());
        rates.save(&store);
        assert!(store.local(NAME).unwrap().is_none(), "there is nothing to save");
        assert!(rates.limiter().record(&request).allowed);
        rates.save(&store);
        assert!(!open(&Metrics::new()).limiter().peek(&request).allowed);
    }

    #[test]
    fn a_crash_forgets_no_quota_and_a_clock_that_went_back_opens_no_second_window() {
        use ratelimit::{Calendar, CalendarUnit, ManualClock};

        let (_directory, store) = store();
        let month = Calendar::new(CalendarUnit::Month, "Europe/Berlin").unwrap();
        let quota = Limit::calendar_windows(2, month);
        let minute = Limit::fixed(1, std::time::Duration::from_secs(60)).unwrap();
        let requests = [quota, minute].map(|limit| Request::new("n", "k", limit));
        let limiter = builder().build().unwrap();
        let now = limiter.now_ms();
        for request in &requests {
            assert!(limiter.check(&request.cost(1)).allowed);
        }
        assert!(limiter.take_changed_calendars() && !limiter.take_changed_calendars());
        save_quotas(&store, &limiter);
        for _ in 0..2 {
            let restored = restore(&store, builder()).unwrap();
            let left = |at: usize| restored.limiter.peek(&requests[at]).remaining;
            assert_eq!((left(0), left(1)), (1, 1), "only the quota was saved");
        }
        let earlier = ManualClock::at(now - 40 * 24 * 3_600_000);
        let reader = store.local(QUOTAS).unwrap().unwrap();
        let mut pieces = Pieces { reader, buffer: BytesMut::new(), error: None };
        let restored = builder().clock(earlier).restore(pieces.by_ref()).unwrap();
        assert_eq!(restored.peek(&requests[0]).remaining, 1);
        // A clean stop saves all of them.
        save(&store, &limiter);
        let restored = restore(&store, builder()).unwrap();
        assert_eq!(restored.limiter.peek(&requests[1]).remaining, 0);
    }

    #[test]
    fn damaged_counters_make_an_empty_limiter() {
        let (_directory, store) = store();
        let (limiter, _) = used_up(1);
        save(&store, &limiter);
        let sound = store.local(NAME).unwrap().unwrap().read().unwrap();
        let mut damages = vec![vec![], vec![0], vec![0xff; 8], vec![0; 4], vec![0; 100]];
        damages.push(sound[..sound.len() - 1].to_vec());
        damages.push([&sound[..], &[0]].concat());
        for at in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[at] ^= 0x10;
            damages.push(damaged);
        }
        for bytes in damages {
            store.save_local(NAME, [&bytes]).unwrap();
            let restored = restore(&store, builder()).unwrap();
            assert!(!restored.has_counters, "{bytes:?}");
            assert!(store.local(NAME).unwrap().is_none());
        }
    }

    #[test]
    fn a_store_that_rejects_writes_does_not_stop_a_start() {
        let (_directory, store) = store();
        let (limiter, limit) = used_up(1);
        save(&store, &limiter);
        store.close().unwrap();
        save(&store, &limiter);
        let restored = restore(&store, builder()).unwrap();
        assert!(restored.limiter.check(&Request::new("n", "k", limit)).allowed);
    }
}
