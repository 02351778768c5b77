//! Replication, as the replicator of a store sees it.

use std::sync::atomic::Ordering;

use super::handle::Store;
use crate::{
    engine::redb::RedbEngine, error::WriteError, replication::Replication, writer::Message,
};

impl Store {
    /// Makes `replication` the replicator of the store, in place of the former one. Blocks until it has
    /// started; all earlier commits are durable then.
    ///
    /// # Errors
    /// If the earlier commits can't be made durable, or the store is closed. It has no replicator then.
    #[doc(hidden)]
    pub fn replicate(&self, replication: impl Replication<RedbEngine>) -> Result<(), WriteError> {
        self.set_replication(Some(Box::new(replication)))
    }

    /// Stops replication. When this returns, the replicator is no longer called. If the store has members
    /// or was opened as [`replicated`](crate::Options::replicated), it collects no tombstones until it is
    /// replicated again.
    ///
    /// # Errors
    /// If the last writes of peers could not be made durable, or the store is closed. Replication has
    /// stopped then too.
    #[doc(hidden)]
    pub fn stop_replicating(&self) -> Result<(), WriteError> {
        self.set_replication(None)
    }

    /// Hands a replicator to the writer, and waits until it has begun or the former one was dropped.
    fn set_replication(
        &self,
        replication: Option<Box<dyn Replication<RedbEngine>>>,
    ) -> Result<(), WriteError> {
        let (answer, begun) = oneshot::channel();
        match self.shared.messages.send(Message::Replicate(replication, answer)) {
            Ok(()) => begun.recv().unwrap_or(Err(WriteError::Closed)),
            Err(_) => Err(WriteError::Closed),
        }
    }

    /// Makes the writer thread call [`Replication::work`] soon. Never waits.
    #[doc(hidden)]
    pub fn wake(&self) {
        if !self.shared.is_woken.swap(true, Ordering::SeqCst) {
            // If the store is closed there is no work.
            let _closed = self.shared.messages.send(Message::Work);
        }
    }
}
