//! The admission before the store's queue of writes.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use kv_core::{Operation, Outcome, Store, TicketFuture, WriteError};
use tokio::{
    runtime::Handle,
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore},
};

use crate::membership::Membership;

/// Lets as many writes through as the store's queue has places. The others wait here, in order, for
/// a bounded time: a burst is served late, an overload is refused.
#[derive(Debug)]
pub struct WriteAdmission {
    store: Store,
    places: Arc<Semaphore>,
    wait: Duration,
    membership: Option<Arc<Membership>>,
}

impl WriteAdmission {
    /// A admission in which each write waits at most `wait`.
    #[must_use]
    pub fn new(store: Store, wait: Duration) -> WriteAdmission {
        let places = Arc::new(Semaphore::new(store.queue_capacity()));
        WriteAdmission { store, places, wait, membership: None }
    }

    /// The same admission, shut as long as the location joins its cluster.
    #[must_use]
    pub fn of(mut self, membership: Option<Arc<Membership>>) -> WriteAdmission {
        self.membership = membership;
        self
    }

    /// How many writes are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.store.queue_capacity().saturating_sub(self.places.available_permits())
    }

    /// Makes a write. Durable when this returns, unless the store is relaxed.
    ///
    /// Dropped while it waits for a place, it does nothing; dropped later, the write is made and
    /// nobody hears of it.
    ///
    /// # Errors
    /// [`WriteError::QueueFull`] if there was no place in time, [`WriteError::ReadOnly`] while the location
    /// joins its cluster; else what the store says.
    pub async fn submit(&self, operation: Operation) -> Result<Outcome, WriteError> {
        if let Some(membership) = &self.membership {
            membership.check_write()?;
        }
        let place = self.place().await?;
        let ticket = self.store.submit(operation)?;
        Held { ticket: Some((ticket.into_future(), place)) }.await
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, WriteError> {
        let place = Arc::clone(&self.places).acquire_owned();
        match tokio::time::timeout(self.wait, place).await {
            Ok(place) => place.map_err(|_closed: AcquireError| WriteError::Closed),
            Err(_elapsed) => Err(WriteError::QueueFull),
        }
    }
}

/// A write in the store's queue, and its place there.
struct Held {
    ticket: Option<(TicketFuture, OwnedSemaphorePermit)>,
}

impl Future for Held {
    type Output = Result<Outcome, WriteError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some((ticket, _place)) = &mut self.ticket else {
            return Poll::Ready(Err(WriteError::Closed));
        };
        let answer = std::task::ready!(Pin::new(ticket).poll(cx));
        self.ticket = None;
        Poll::Ready(answer)
    }
}

impl Drop for Held {
    /// A caller who goes away does not take the write out of the queue, so its place stays taken
    /// until the write is made: else those who come after would find no place behind the admission.
    fn drop(&mut self) {
        if let Some((ticket, place)) = self.ticket.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(async move {
                let _nobody_hears = ticket.await;
                drop(place);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use kv_core::Options;
    use tempfile::TempDir;

    use super::*;

    fn admission(capacity: usize, wait: Duration) -> (TempDir, WriteAdmission) {
        let directory = TempDir::new().unwrap();
        let store = Options::new().queue_capacity(capacity).open(directory.path()).unwrap();
        (directory, WriteAdmission::new(store, wait))
    }

    fn create(title: &str) -> Operation {
        let title = kv_core::Title::new(title).unwrap();
        Operation::CreateNamespace { account: kv_core::Account::default(), title, id: None }
    }

    #[tokio::test]
    async fn a_write_that_finds_no_place_in_time_is_refused() {
        let (_directory, admission) = admission(2, Duration::from_millis(20));
        let taken = Arc::clone(&admission.places).acquire_many_owned(2).await.unwrap();
        assert_eq!(admission.under_way(), 2);
        assert_eq!(admission.submit(create("refused")).await, Err(WriteError::QueueFull));
        drop(taken);
        assert!(admission.submit(create("made")).await.is_ok());
        assert_eq!(admission.under_way(), 0);
        assert_eq!(admission.store.namespaces().iter().count(), 1);
    }

    #[tokio::test]
    async fn a_write_that_waits_gets_the_next_place() {
        let (_directory, admission) = admission(1, Duration::from_secs(30));
        let taken = Arc::clone(&admission.places).acquire_owned().await.unwrap();
        let (made, ()) = tokio::join!(admission.submit(create("made")), async { drop(taken) });
        assert!(made.is_ok());
    }

    #[tokio::test]
    async fn more_writes_than_places_are_all_made_if_they_may_wait() {
        let (_directory, admission) = admission(3, Duration::from_secs(30));
        let admission = Arc::new(admission);
        let writes: Vec<_> = (0..50)
            .map(|n| {
                let admission = Arc::clone(&admission);
                tokio::spawn(async move { admission.submit(create(&n.to_string())).await })
            })
            .collect();
        for write in writes {
            assert!(write.await.unwrap().is_ok());
        }
    }

    #[tokio::test]
    async fn a_caller_who_goes_away_keeps_the_place_until_the_write_is_made() {
        let (_directory, admission) = admission(1, Duration::from_secs(30));
        for n in 0..20 {
            {
                let mut gone = std::pin::pin!(admission.submit(create(&format!("gone {n}"))));
                let cx = &mut Context::from_waker(std::task::Waker::noop());
                // If it is ready at once nobody has gone away, which is as well.
                let _begun = gone.as_mut().poll(cx).is_ready();
            }
            assert!(admission.submit(create(&format!("next {n}"))).await.is_ok());
        }
        assert_eq!(admission.store.namespaces().iter().count(), 40);
    }
}
