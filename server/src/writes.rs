//! The way of a write to the store: admission first, then the store's queue.

use std::{
    num::NonZeroUsize,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use kv_core::{Operation, Outcome, Store, TicketFuture, WriteError};
use tokio::runtime::Handle;

use crate::{
    admission::{Admission, Permit},
    membership::Membership,
};

/// Submits writes to the store. It admits as many at a time as the store's queue has places, so that
/// a write that is admitted always finds one.
#[derive(Debug)]
pub struct Writes {
    /// The store.
    store: Store,
    /// As many permits as the store's queue has places.
    admission: Admission,
    /// The membership, which may forbid writes; none outside of a cluster.
    membership: Option<Arc<Membership>>,
}

impl Writes {
    /// Writes to `store`, each of which waits at most `wait` to be admitted. A member of a cluster
    /// rejects writes until it has joined.
    #[must_use]
    pub fn new(store: Store, wait: Duration, membership: Option<Arc<Membership>>) -> Writes {
        let capacity = NonZeroUsize::new(store.queue_capacity()).unwrap_or(NonZeroUsize::MIN);
        Writes { admission: Admission::new(capacity, wait), store, membership }
    }

    /// How many writes are in progress.
    #[must_use]
    pub fn in_progress(&self) -> usize {
        self.admission.in_use()
    }

    /// Performs a write. It is durable when this returns, unless the store is relaxed.
    ///
    /// If the caller drops the future while the write waits to be admitted, nothing is written. Later
    /// than that, the write is performed and its outcome is discarded.
    ///
    /// # Errors
    /// [`WriteError::QueueFull`] if the write was not admitted in time, [`WriteError::ReadOnly`] while
    /// the location joins its cluster, and every error of the store.
    pub async fn submit(&self, operation: Operation) -> Result<Outcome, WriteError> {
        self.enqueue(operation).await?.await
    }

    /// Queues a write, and returns once it has its place. Writes that one task queues one after another are performed
    /// in that order.
    ///
    /// # Errors
    /// [`WriteError::QueueFull`] if the write was not admitted in time, [`WriteError::ReadOnly`] while
    /// the location joins its cluster, and if the store takes no writes.
    pub async fn enqueue(&self, operation: Operation) -> Result<Queued, WriteError> {
        if let Some(membership) = &self.membership {
            membership.check_write()?;
        }
        let permit = self.admission.admit().await.map_err(|_refused| WriteError::QueueFull)?;
        let ticket = self.store.submit(operation)?;
        Ok(Queued { ticket: Some((ticket.into_future(), permit)) })
    }
}

/// A write in the store's queue, with its permit: a future of its outcome.
#[must_use]
pub struct Queued {
    /// The write in the store's queue, and its permit until the answer; none once it has been
    /// returned.
    ticket: Option<(TicketFuture, Permit)>,
}

impl Future for Queued {
    type Output = Result<Outcome, WriteError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some((ticket, _permit)) = &mut self.ticket else {
            return Poll::Ready(Err(WriteError::Closed));
        };
        let outcome = std::task::ready!(Pin::new(ticket).poll(cx));
        self.ticket = None;
        Poll::Ready(outcome)
    }
}

impl Drop for Queued {
    /// A dropped future does not remove its write from the queue, so the permit must stay in use
    /// until the write is done: a write that is admitted too early would find the queue full.
    fn drop(&mut self) {
        if let Some((ticket, permit)) = self.ticket.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(async move {
                let _nobody_waits = ticket.await;
                drop(permit);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use kv_core::Options;
    use tempfile::TempDir;

    use super::*;

    fn writes(capacity: usize, wait: Duration) -> (TempDir, Writes) {
        let directory = TempDir::new().unwrap();
        let store = Options::new().queue_capacity(capacity).open(directory.path()).unwrap();
        (directory, Writes::new(store, wait, None))
    }

    fn create(title: &str) -> Operation {
        let title = kv_core::Title::new(title).unwrap();
        Operation::CreateNamespace { account: kv_core::Account::default(), title, id: None }
    }

    #[tokio::test]
    async fn a_write_that_is_not_admitted_in_time_is_refused() {
        let (_directory, writes) = writes(2, Duration::from_millis(20));
        let held = [writes.admission.admit().await, writes.admission.admit().await];
        assert_eq!(writes.in_progress(), 2);
        assert_eq!(writes.submit(create("refused")).await, Err(WriteError::QueueFull));
        drop(held);
        assert!(writes.submit(create("made")).await.is_ok());
        assert_eq!(writes.in_progress(), 0);
        assert_eq!(writes.store.namespaces().iter().count(), 1);
    }

    #[tokio::test]
    async fn a_write_that_waits_gets_the_next_permit() {
        let (_directory, writes) = writes(1, Duration::from_secs(30));
        let held = writes.admission.admit().await;
        let (made, ()) = tokio::join!(writes.submit(create("made")), async { drop(held) });
        assert!(made.is_ok());
    }

    #[tokio::test]
    async fn more_writes_than_permits_all_succeed_if_they_may_wait() {
        let (_directory, writes) = writes(3, Duration::from_secs(30));
        let writes = Arc::new(writes);
        let tasks: Vec<_> = (0..50)
            .map(|n| {
                let writes = Arc::clone(&writes);
                tokio::spawn(async move { writes.submit(create(&n.to_string())).await })
            })
            .collect();
        for task in tasks {
            assert!(task.await.unwrap().is_ok());
        }
    }

    #[tokio::test]
    async fn a_dropped_write_keeps_its_permit_until_it_is_done() {
        let (_directory, writes) = writes(1, Duration::from_secs(30));
        for n in 0..20 {
            {
                let mut dropped = std::pin::pin!(writes.submit(create(&format!("dropped {n}"))));
                let cx = &mut Context::from_waker(std::task::Waker::noop());
                // If it is ready at once there is nothing to drop, which is fine too.
                let _begun = dropped.as_mut().poll(cx).is_ready();
            }
            assert!(writes.submit(create(&format!("next {n}"))).await.is_ok());
        }
        assert_eq!(writes.store.namespaces().iter().count(), 40);
    }
}
