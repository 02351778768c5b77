//! The steps that reopen and close the engine, and the rollback after it was reopened.

use std::mem;

use super::{Phase, SYNC_AGAIN, WriterCore};
use crate::{
    engine::Engine,
    error::WriteError,
    replication::Replication,
    writer::{
        replicating::Replicating,
        step::{Now, Output},
        timer::{SyncTimer, Unsynced},
    },
};

impl<E, T, R> WriterCore<E, T, R>
where
    E: Engine,
    E::Snapshot: Clone,
    R: Replication<E>,
{
    /// Reopens the engine, and publishes what it still has.
    pub(super) fn recover_now(&mut self, now: Now) {
        self.health.recovered();
        self.gc.recovered(now.mono);
        let result = self.committer.maintain();
        if let Err(error) = &result {
            tracing::debug!(%error, "the engine cannot resume yet");
        }
        self.roll_back_if_reopened(now, true);
        self.outputs.push(Output::Recovered(result));
    }

    /// Rolls back if the engine was reopened: callers whose commits were not synced, the replicator, and, if
    /// `must_publish`, readers, whose view cannot be read any more. Returns whether it was.
    pub(super) fn roll_back_if_reopened(&mut self, now: Now, must_publish: bool) -> bool {
        let status = self.committer.engine().status();
        self.health.note_mode(&status.mode);
        if !self.health.has_reopened(&status) {
            return false;
        }
        if self.sync.waits_for(Unsynced::Acknowledged) {
            tracing::error!("the disk failed: acknowledged relaxed writes may be lost");
        }
        self.sync = SyncTimer::default();
        self.has_kept = false;
        self.writes.clear();
        self.replicating.set_work(true);
        if let Some(replicator) = self.replicating.active() {
            replicator.rolled_back(&mut self.committer);
            let again = status.mode.may_write().then_some(now.mono + SYNC_AGAIN);
            self.sync.set(Unsynced::Replicated, again);
        }
        if must_publish {
            self.publish(status.is_durable());
        }
        let mut lost = mem::take(&mut self.held);
        for (_, answer) in &mut lost {
            let reason = "the disk failed before the sync that covers the write";
            *answer = Err(WriteError::OutcomeUnknown(reason.into()));
        }
        self.answer(lost);
        true
    }

    /// Closes the engine.
    pub(super) fn close_engine(&mut self) {
        let Phase::Synced(synced) = &self.phase else { return };
        let synced = synced.clone();
        self.phase = Phase::Closed;
        self.replicating = Replicating::Nobody;
        let closed = self.committer.engine().close();
        let closed = closed.map_err(|error| WriteError::Failed(error.to_string()));
        self.outputs.push(Output::Closed(synced.and(closed)));
    }
}
