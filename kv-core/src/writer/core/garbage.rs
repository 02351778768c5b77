//! The step that collects garbage, and what an idle store does beside it.

use super::{SYNC_WITHIN, WriterCore};
use crate::{
    commit::GcLimits,
    engine::{Engine, Mode},
    replication::Replication,
    types::Hlc,
    writer::{
        step::{Now, Output},
        timer::Unsynced,
    },
};

/// Most rows of each kind that one step of garbage collection changes on a full disk: it writes the pages that it changes
/// elsewhere, before the old ones are free.
const ROWS_WITHOUT_ROOM: usize = 256;

/// Most values that were freed too early and are reported at a time.
const MAX_FREED_EARLY: usize = 256;

impl<E, T, R> WriterCore<E, T, R>
where
    E: Engine,
    E::Snapshot: Clone,
    R: Replication<E>,
{
    /// Does one bounded step of garbage collection.
    pub(super) fn collect_garbage(&mut self, now: Now) {
        if self.committer.engine().status().mode != Mode::Writer {
            return self.gc.collected(now.mono, self.config.gc_interval, None);
        }
        self.close_time(now);
        let rows = self.gc.rows(self.config.gc_rows);
        let takes_values = self.committer.engine().room().takes_values;
        let limits = GcLimits {
            rows: if takes_values { rows } else { rows.min(ROWS_WITHOUT_ROOM) },
            bodies: self.config.gc_bodies,
            stable: self.stable(),
            expired_ms: self.expired_ms(),
            collects_expired: self.clock.is_confirmed() || !self.is_in_cluster(),
        };
        let before = self.committer.engine().status().latest;
        let result = self.committer.collect_garbage(now.wall_ms, &limits);
        let is_committed = self.committer.engine().status().latest != before;
        self.gc.collected(now.mono, self.config.gc_interval, result.as_ref().ok().copied());
        let kept = self.committer.take_kept();
        self.has_kept |= !kept.is_empty();
        if self.replicating.is_active() {
            self.writes.extend(kept);
        }
        match &result {
            // A step that found nothing may end a walk, and every commit raises the closed timestamp.
            Ok(_) if is_committed => {
                // The next commit's sync covers it, if there is one soon.
                self.sync.expect(Unsynced::Collected, now.mono + SYNC_WITHIN);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "garbage collection failed"),
        }
        self.roll_back_if_reopened(now, true);
        self.outputs.push(Output::Collected(result));
    }

    /// Raises the closed timestamp of an idle store from time to time, if tombstones wait for it.
    fn close_time(&mut self, now: Now) {
        let interval = self.config.closing_interval;
        if !self.replicating.is_active() || !self.gc.closes_time(now.mono, interval) {
            return;
        }
        match self.committer.close_time() {
            Ok(true) => self.sync.expect(Unsynced::Collected, now.mono),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "the closed timestamp could not be raised"),
        }
        self.report_freed_early(now);
    }

    /// Tells the replicator, on a confirmed clock, which values a wrong clock has freed too early.
    fn report_freed_early(&mut self, now: Now) {
        let is_confirmed = self.clock.is_confirmed();
        let Some(replicator) = self.replicating.active().filter(|_| is_confirmed) else {
            return;
        };
        let cursor = self.gc.freed_early();
        match self.committer.freed_early(now.wall_ms, cursor, MAX_FREED_EARLY) {
            Ok(keys) if keys.is_empty() => {}
            Ok(keys) => {
                replicator.freed_early(keys);
                // It acts on the keys after a sync, which an idle store has no other reason for.
                self.sync.expect(Unsynced::Collected, now.mono);
            }
            Err(error) => tracing::warn!(%error, "the expired tombstones could not be read"),
        }
    }

    /// The time below which tombstones may be collected.
    fn stable(&mut self) -> Hlc {
        if let Some(replicator) = self.replicating.active() {
            return replicator.stable();
        }
        if self.is_in_cluster() {
            return Hlc::ZERO;
        }
        // Nobody else has a row that a tombstone could still have to beat, whatever its time.
        Hlc(u64::MAX)
    }

    /// Whether peers may have what is here.
    fn is_in_cluster(&mut self) -> bool {
        self.replicating.is_active()
            || self.config.is_replicated
            || self.committer.view().members().iter().count() > 0
    }
}
