//! The steps that commit and sync: the batch of callers, and the turn of the replicator.

use std::mem;

use super::{Phase, SYNC_AGAIN, SYNC_WITHIN, Side, WriterCore};
use crate::{
    commit::{Applied, Outcome},
    engine::Engine,
    error::WriteError,
    options::Durability,
    replication::Replication,
    writer::{
        batch::Batch,
        outputs::Notice,
        replicating::Replicating,
        step::{Answer, Now, Output},
        timer::{SyncTimer, Unsynced},
    },
};

impl<E, T, R> WriterCore<E, T, R>
where
    E: Engine,
    E::Snapshot: Clone,
    R: Replication<E>,
{
    /// Records the damage that readers have met. It is synced with the next commit, or soon.
    pub(super) fn record_damage(&mut self, now: Now) {
        if self.committer.record_damage(now.wall_ms) {
            self.sync.expect(Unsynced::Collected, now.mono + SYNC_WITHIN);
            self.roll_back_if_reopened(now, true);
        }
    }

    /// Commits the batch. In durable mode the answers wait for the next sync.
    pub(super) fn commit(&mut self, now: Now) {
        if self.batch.is_empty() {
            return;
        }
        self.turn = Side::Replicator;
        self.gc.worked();
        let Batch { operations, tokens, bytes } = self.batch.take();
        let count = operations.len();
        let committed = self.committer.commit(now.wall_ms, operations);
        let is_durable = self.config.durability == Durability::Durable;
        let must_sync = is_durable && committed.needs_sync;
        // The engine may have been reopened, whether the commit failed or not. What is not durable of this one
        // is published by its sync.
        let has_rolled_back = self.roll_back_if_reopened(now, !must_sync);
        if let Durability::Relaxed { within } = self.config.durability
            && committed.results.iter().any(Result::is_ok)
        {
            self.sync.expect(Unsynced::Acknowledged, now.mono + within);
        }
        if self.replicating.is_active() {
            self.writes.extend(committed.writes);
        }
        // If another commit waits for its sync, these answers may be due to what that one did.
        let awaits_sync = must_sync || !self.held.is_empty();
        let answers = tokens.into_iter().zip(committed.results);
        if awaits_sync {
            self.held.extend(answers);
        } else {
            if committed.needs_sync && !has_rolled_back {
                self.publish(false);
            }
            self.answer(answers.collect());
        }
        self.outputs.push(Output::Committed { operations: count, bytes, awaits_sync });
    }

    /// Syncs, publishes the new view, and releases the answers that waited.
    pub(super) fn sync(&mut self, now: Now) {
        let expected = mem::take(&mut self.sync);
        let result = self.committer.sync();
        let mut answers = mem::take(&mut self.held);
        match &result {
            Ok(()) => {
                self.has_kept = false;
                self.publish(true);
                if self.replicating.is_active() {
                    self.outputs.notice(Notice::Synced);
                }
            }
            Err(error) => {
                // Refusals too: an operation may have been refused because of one that is lost now.
                answers.iter_mut().for_each(|(_, answer)| *answer = Err(error.clone()));
                self.sync_failed(now, &expected, error);
            }
        }
        self.answer(answers);
        self.finish_handover(&result);
        if matches!(self.phase, Phase::Closing) && self.batch.is_empty() {
            self.phase = Phase::Synced(result.clone());
        }
        self.outputs.push(Output::Synced(result));
    }

    /// Handles a failed sync: logs what may be lost, and rolls back if the engine was reopened.
    fn sync_failed(&mut self, now: Now, expected: &SyncTimer, error: &WriteError) {
        if expected.waits_for(Unsynced::Acknowledged) {
            tracing::error!(%error, "a sync failed: acknowledged relaxed writes may be lost");
        } else if expected.due().is_some() {
            tracing::warn!(%error, "a sync failed: replicated or collected rows are not durable yet");
        }
        if expected.waits_for(Unsynced::Replicated) && self.replicating.is_active() {
            // The replicator waits for a sync that succeeds.
            self.sync.expect(Unsynced::Replicated, now.mono + SYNC_AGAIN);
        }
        self.roll_back_if_reopened(now, true);
    }

    /// Ends a handover: the next replicator begins with a store that is durable, or not at all.
    fn finish_handover(&mut self, synced: &Result<(), WriteError>) {
        if !self.replicating.is_handover() {
            return;
        }
        if let (Replicating::Handover(Some(mut replicator)), Ok(())) =
            (self.replicating.take(), synced)
        {
            replicator.begin(&mut self.committer);
            self.replicating = Replicating::Active { replicator, has_work: true };
        }
        self.outputs.push(Output::Replicating(synced.clone()));
    }

    /// Gives the replicator one turn.
    pub(super) fn take_turn(&mut self, now: Now) {
        self.turn = Side::Callers;
        let Some(replicator) = self.replicating.active() else { return };
        let done = replicator.work(&mut self.committer, now.wall_ms);
        self.replicating.set_work(done.more);
        if done.committed {
            self.sync.expect(Unsynced::Replicated, now.mono + SYNC_WITHIN);
        }
        // Work may have reported origins of former processes. If it failed, the store is rolled back before this
        // process writes again: the view of before must not show what is not synced.
        let mut has_rolled_back = self.roll_back_if_reopened(now, true);
        if !has_rolled_back && self.settle_origins(now) {
            self.replicating.set_work(true);
        }
        has_rolled_back |= self.roll_back_if_reopened(now, true);
        let has_unsynced_writes = self.has_kept || !self.held.is_empty() || !self.writes.is_empty();
        if !has_rolled_back && done.committed && !has_unsynced_writes {
            // While answers wait, a view of now would show local writes that are not durable.
            self.publish(false);
        }
        if done.concurrent > 0 {
            self.outputs.push(Output::Concurrent(done.concurrent));
        }
        self.gc.worked();
    }

    /// Closes what former processes of this location left open, and opens this one's origins for that. A
    /// replicated store does so in the first turn of its replicator, and whenever it learns of such origins.
    /// Returns whether something was committed, which needs a sync.
    fn settle_origins(&mut self, now: Now) -> bool {
        let Some(committed) = self.committer.settle_origins(now.wall_ms) else { return false };
        self.writes.extend(committed.writes);
        self.sync.expect(Unsynced::Replicated, now.mono);
        true
    }

    /// Gives readers the current view.
    pub(super) fn publish(&mut self, is_durable: bool) {
        let view = self.committer.view();
        self.outputs.push(Output::Publish { view: view.clone(), is_durable });
        self.outputs.notice(Notice::Published);
        if self.replicating.is_active() {
            let writes = mem::take(&mut self.writes);
            self.outputs.notice(Notice::Replicated { view, writes });
        }
    }

    /// Releases answers to their callers.
    pub(super) fn answer(&mut self, answers: Vec<Answer<T>>) {
        let concurrent = answers.iter().filter(|(_, result)| is_concurrent(result)).count();
        if concurrent > 0 {
            self.outputs.push(Output::Concurrent(concurrent));
        }
        if !answers.is_empty() {
            self.outputs.push(Output::Answers(answers));
        }
    }
}

/// Whether a write replaced one that it did not know of.
fn is_concurrent(result: &Result<Outcome, WriteError>) -> bool {
    matches!(result, Ok(Outcome::Applied(Applied::Won { concurrent: true })))
}
