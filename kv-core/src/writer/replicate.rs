//! The turns of who replicates the store: see [`Replication`].

use std::{sync::atomic::Ordering, time::Duration};

use super::Writer;
use crate::{engine::Engine, error::WriteError, replication::Replication, types::Hlc};

/// How soon what peers sent is made durable, if no local write does it before: a sync for each of their
/// messages would cost more than all else.
const SYNC_WITHIN: Duration = Duration::from_millis(30);

impl<E: Engine> Writer<E>
where
    E::Snapshot: Clone,
{
    /// Who replicates the store begins, or ends.
    pub(super) fn replicate(
        &mut self,
        replication: Option<Box<dyn Replication<E>>>,
        answer: oneshot::Sender<Result<(), WriteError>>,
    ) {
        let is_due = replication.is_some() || self.sync_by.is_some();
        self.replication = None;
        self.writes.clear();
        let result = if is_due { self.sync() } else { Ok(()) };
        (self.work_again, self.sync_by) = (false, None);
        if result.is_err() {
            self.after_failure();
        } else if let Some(mut replication) = replication {
            replication.begin(&mut self.committer);
            self.replication = Some(replication);
        }
        let _nobody_waits = answer.send(result);
    }

    /// Lets who replicates commit what peers sent.
    pub(super) fn work(&mut self) {
        let Some(replication) = &mut self.replication else { return };
        // Whatever comes from here on wakes this thread again.
        self.is_woken.store(false, Ordering::SeqCst);
        let now_ms = self.options.environment.now_ms();
        let worked = replication.work(&mut self.committer, now_ms);
        self.work_again = worked.more;
        if self.committer.engine().status().reopened != self.reopened {
            self.after_failure();
        } else if worked.committed {
            let by = self.now() + SYNC_WITHIN;
            self.sync_by.get_or_insert(by);
            self.publish();
        }
        if worked.concurrent > 0 {
            self.options.observer.overwrote_concurrent(worked.concurrent);
        }
    }

    /// Up to when tombstones may go.
    pub(super) fn stable(&mut self) -> Hlc {
        match &mut self.replication {
            Some(replication) => replication.stable(),
            None if self.options.replicated
                || self.committer.view().members().iter().count() > 0 =>
            {
                Hlc::ZERO
            }
            // Alone, the low-watermark of all replicas is this store's own promise: whatever it
            // writes next is later than all that it wrote.
            None => Hlc(self.committer.clock().0.saturating_add(1)),
        }
    }
}
