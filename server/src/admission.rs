//! Admission: at most a given number at a time.
//!
//! A caller that finds no free permit waits for one, in order of arrival and for a bounded time, and is
//! refused after that: a burst is served late, an overload is refused. Everything that the server
//! bounds in number uses this module: writes ([`crate::writes`]), long request bodies in memory
//! ([`crate::http::incoming`]) and connections ([`crate::connection`]). [`Shares`] bounds what one client address has of it.

mod shares;

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use self::shares::{Share, Shares, client_of};

/// A number of permits, and how long to wait for one.
#[derive(Debug)]
pub struct Admission {
    /// The permits that are free, and the line of callers that wait.
    permits: Arc<Semaphore>,
    /// How many permits there are in total.
    capacity: usize,
    /// None: as long as it takes.
    wait: Option<Duration>,
}

/// Permission to be one of those admitted. Dropping it frees it for the next.
#[derive(Debug)]
#[must_use]
pub struct Permit(#[expect(dead_code, reason = "it is held to be dropped")] OwnedSemaphorePermit);

/// No permit became free in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all {capacity} permits stayed in use for {wait:?}")]
pub struct Refused {
    /// How many permits there are.
    pub capacity: usize,
    /// How long the caller waited.
    pub wait: Duration,
}

impl Admission {
    /// `capacity` permits; each caller waits at most `wait` for one. The largest capacity is
    /// [`Semaphore::MAX_PERMITS`], and a larger one is taken for it.
    #[must_use]
    pub fn new(capacity: NonZeroUsize, wait: Duration) -> Admission {
        Admission { wait: Some(wait), ..Admission::patient(capacity) }
    }

    /// `capacity` permits; each caller waits as long as it takes, and is never refused.
    #[must_use]
    pub fn patient(capacity: NonZeroUsize) -> Admission {
        let capacity = capacity.get().min(Semaphore::MAX_PERMITS);
        Admission { permits: Arc::new(Semaphore::new(capacity)), capacity, wait: None }
    }

    /// Waits for a permit. Cancel safe: a caller that is dropped while it waits loses its place in
    /// the line and nothing else.
    ///
    /// # Errors
    /// [`Refused`] if none became free in time.
    pub async fn admit(&self) -> Result<Permit, Refused> {
        let permit = Arc::clone(&self.permits).acquire_owned();
        let refused = Refused { capacity: self.capacity, wait: self.wait.unwrap_or(Duration::MAX) };
        let permit = match self.wait {
            Some(wait) => tokio::time::timeout(wait, permit).await.map_err(|_elapsed| refused)?,
            None => permit.await,
        };
        // An error means that the semaphore is closed, and nothing closes this one.
        permit.map(Permit).map_err(|_closed| refused)
    }

    /// Takes a permit if one is free.
    #[must_use]
    pub fn try_admit(&self) -> Option<Permit> {
        Arc::clone(&self.permits).try_acquire_owned().ok().map(Permit)
    }

    /// How many permits are in use.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.capacity - self.free()
    }

    /// How many permits are free.
    #[must_use]
    pub fn free(&self) -> usize {
        self.permits.available_permits()
    }

    /// How many permits there are.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: NonZeroUsize = NonZeroUsize::new(2).expect("2 is not 0");

    #[tokio::test]
    async fn a_caller_that_finds_no_permit_in_time_is_refused() {
        let admission = Admission::new(TWO, Duration::from_millis(20));
        let held = [admission.admit().await.unwrap(), admission.admit().await.unwrap()];
        assert_eq!((admission.in_use(), admission.free()), (2, 0));
        assert!(admission.try_admit().is_none());
        let refused = Refused { capacity: 2, wait: Duration::from_millis(20) };
        assert_eq!(admission.admit().await.unwrap_err(), refused);
        drop(held);
        assert_eq!(admission.in_use(), 0);
        assert!(admission.admit().await.is_ok());
    }

    #[tokio::test]
    async fn a_caller_that_waits_gets_the_next_permit() {
        for admission in [Admission::patient(TWO), Admission::new(TWO, Duration::from_secs(30))] {
            let held = [admission.admit().await.unwrap(), admission.admit().await.unwrap()];
            let (admitted, ()) = tokio::join!(admission.admit(), async { drop(held) });
            assert!(admitted.is_ok());
        }
    }

    #[tokio::test]
    async fn a_wait_of_zero_takes_a_free_permit() {
        assert!(Admission::new(TWO, Duration::ZERO).admit().await.is_ok());
    }
}
