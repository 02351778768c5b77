//! A store that converges with others, as who replicates it sees it.

use std::sync::atomic::Ordering;

use super::Store;
use crate::{
    engine::redb::RedbEngine, error::WriteError, replication::Replication, writer::Message,
};

impl Store {
    /// Lets `replication` take part in what the writer thread does from here on, in the place of who did
    /// before. Blocks until it has begun; all that was committed before is durable then.
    ///
    /// # Errors
    /// If the store can't be made durable, or is closed; nobody replicates it then.
    pub fn replicate(&self, replication: impl Replication<RedbEngine>) -> Result<(), WriteError> {
        self.set_replication(Some(Box::new(replication)))
    }

    /// Ends what [`Store::replicate`] began; nothing of it is called any more when this returns. No
    /// tombstone is collected until somebody replicates the store again, if it has members or was opened as
    /// [`replicated`](crate::Options::replicated).
    ///
    /// # Errors
    /// If what peers sent last could not be made durable, or the store is closed. It has ended then too.
    pub fn stop_replicating(&self) -> Result<(), WriteError> {
        self.set_replication(None)
    }

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

    /// Lets the writer thread call [`Replication::work`] soon. Never waits.
    pub fn wake(&self) {
        if !self.shared.is_woken.swap(true, Ordering::SeqCst) {
            // If there is no place, the thread is at work, and will see to it after what it does.
            let _told = self.shared.messages.try_send(Message::Work);
        }
    }
}
