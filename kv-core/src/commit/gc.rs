//! Garbage collection, in bounded steps.

use super::{
    committer::Committer,
    sweep::Sweep,
    transaction::{Changes, Transaction},
};
use crate::{
    engine::{Engine, Snapshot},
    error::{ReadError, WriteError},
    types::{BodyId, Change, Hlc},
};

/// How many chunks of about 64 KiB one step frees. redb reads what it deletes, and writers wait.
const MAX_CHUNKS: usize = 64;

/// The bounds of one step of garbage collection.
#[derive(Clone, Copy, Debug)]
pub struct GcLimits {
    /// The most rows of each kind of work.
    pub rows: usize,
    /// The most large bodies. A step frees at most 64 chunks of them.
    pub bodies: usize,
    /// The stable timestamp: tombstones of earlier writes are collected, because no replica will send
    /// anything older. A store without peers uses its own clock.
    pub stable: Hlc,
    /// The latest expiry, in Unix milliseconds, that has certainly passed: entries that expired by then
    /// become expired tombstones, and stable expired tombstones are collected. `None` if the clock can't
    /// be trusted yet: expired entries are hidden and stay. The writer core computes it from
    /// [`Options::expiry_grace`](crate::Options::expiry_grace).
    pub expired_ms: Option<u64>,
    /// Whether stable expired tombstones are collected. On a clock that is not confirmed they stay where peers
    /// may have the values: without them, nothing would show that a value was freed too early.
    pub collects_expired: bool,
}

/// The result of one step of garbage collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GcStep {
    /// Entries that became expired tombstones.
    pub expired: usize,
    /// Tombstones that were collected.
    pub collected: usize,
    /// Dead rows of dropped namespaces that were removed.
    pub purged: usize,
    /// Dropped namespaces that were created again, because they have entries later than their drop.
    pub kept: usize,
    /// Large bodies that were freed.
    pub bodies: usize,
    /// Chunks that were freed, including those of a body that has more.
    pub chunks: usize,
    /// Damaged rows, which were left as they are.
    pub damaged: usize,
    /// Rows of the indexes that were removed, of tombstones that a sweep had collected.
    pub unindexed: usize,
    /// Rows of the dot index that were damaged or missing, and were written again or removed.
    pub reindexed: usize,
    /// Whether a bound was reached, so that there may be more to do.
    pub more: bool,
}

impl GcLimits {
    /// The first Unix second that has not certainly passed; none if that is not known of any.
    pub(super) fn expired_end(&self) -> Option<u64> {
        self.expired_ms.map(|ms| (ms / 1000).saturating_add(1))
    }

    /// Expired tombstones with an expiry before this Unix second are collected.
    pub(super) fn collected_end(&self) -> u64 {
        self.expired_end().filter(|_| self.collects_expired).unwrap_or(0)
    }
}

impl GcStep {
    /// Returns how many rows were changed.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.expired
            + self.collected
            + self.purged
            + self.kept
            + self.bodies
            + self.chunks
            + self.damaged
            + self.unindexed
            + self.reindexed
    }

    /// Whether the step did nothing.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.rows() == 0
    }
}

impl<E: Engine> Committer<E>
where
    E::Snapshot: Clone,
{
    /// Does one step in a commit of its own: visible, and not yet durable. `now_ms` is cluster time, in Unix
    /// milliseconds.
    ///
    /// # Errors
    /// If the engine can't read or write. Nothing is collected then.
    pub fn collect_garbage(
        &mut self,
        now_ms: u64,
        limits: &GcLimits,
    ) -> Result<GcStep, WriteError> {
        if let Err(error) = self.refresh() {
            return Err(self.lost(&error.into()));
        }
        let bodies = self.bodies.claim(limits.bodies);
        let mut transaction = Transaction::new(&self.state, &self.view, self.times(now_ms));
        transaction.random = Some(&mut *self.random);
        let mut sweep = self.sweep.clone();
        let made = gc_rows(transaction, limits, &bodies, &mut sweep);
        let result = match made {
            Ok((changes, step, unfinished)) => self.write(changes.batch).map(|()| {
                self.adopt(changes.state);
                self.sweep = sweep;
                changes.freed.iter().for_each(|body| self.bodies.mark_garbage(*body));
                self.kept.extend(changes.writes);
                self.unfinished.extend(unfinished);
                step
            }),
            Err(error) => Err(self.lost(&error)),
        };
        match result {
            Ok(_) => self.claimed.extend(bodies),
            Err(_) => self.bodies.unclaim(&bodies),
        }
        let mut step = result?;
        let (reindexed, more) = self.check_index(now_ms)?;
        step.reindexed = reindexed;
        step.more |= more;
        Ok(step)
    }

    /// Takes the local writes of garbage collection since the last call, for peers: creations of namespaces, behind the
    /// opening rows of this process's origins if it had none. They must not be sent before [`Committer::sync`].
    pub fn take_kept(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.kept)
    }

    /// Records that readers get the present [`Committer::view`], or a later one. They can no longer reach
    /// the bodies that earlier steps freed.
    pub fn published(&mut self) {
        std::mem::take(&mut self.unfinished)
            .into_iter()
            .for_each(|body| self.bodies.mark_garbage(body));
        self.bodies.freed(&std::mem::take(&mut self.claimed));
    }
}

/// Computes one step: expired rows, then tombstones, then dropped namespaces, then the chunks of freed
/// bodies. Returns the rows to write, what they do, and the bodies that have chunks left.
fn gc_rows<S: Snapshot>(
    mut transaction: Transaction<'_, S>,
    limits: &GcLimits,
    bodies: &[BodyId],
    sweep: &mut Sweep,
) -> Result<(Changes, GcStep, Vec<BodyId>), ReadError> {
    let mut step = GcStep::default();
    step.more = step.end_rows(&mut transaction, limits, sweep)?;
    let purge = transaction.purge(limits.rows)?;
    (step.purged, step.kept) = (purge.removed, purge.kept);
    step.damaged += usize::from(purge.is_damaged);
    let mut unfinished = Vec::new();
    for body in bodies {
        let left = MAX_CHUNKS - step.chunks;
        match transaction.free_chunks(*body, left)? {
            Some(freed) => {
                step.chunks += freed;
                step.bodies += 1;
            }
            None => {
                step.chunks += left;
                unfinished.push(*body);
            }
        }
    }
    step.more |= purge.more
        || !unfinished.is_empty()
        || (bodies.len() == limits.bodies && !bodies.is_empty());
    Ok((transaction.finish(), step, unfinished))
}
