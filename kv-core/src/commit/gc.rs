//! Garbage collection, in bounded steps.

use std::{
    ops::{Bound, ControlFlow},
    sync::Arc,
};

use super::{
    committer::Committer,
    state::State,
    transaction::{Changes, Transaction},
};
use crate::{
    engine::{Engine, Order, Snapshot, Table, visit_prefix},
    error::{ReadError, WriteError},
    tables::{self, EntryKey, Expiry, Layout, Pending, Purge, Timed, Tombstones, body_prefix},
    types::{BodyId, Found, FoundState, Hlc},
    view::View,
};

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
    /// The largest difference between the clocks of the locations, in milliseconds. An expired body stays
    /// for this long, for a reader whose clock is behind.
    pub max_skew_ms: u64,
}

/// The result of one step of garbage collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GcStep {
    /// Entries that became expired tombstones.
    pub expired: usize,
    /// Tombstones that were collected.
    pub collected: usize,
    /// Rows of dropped namespaces that were removed.
    pub purged: usize,
    /// Large bodies that were freed.
    pub bodies: usize,
    /// Chunks that were freed, including those of a body that has more.
    pub chunks: usize,
    /// Damaged rows, which were left as they are.
    pub damaged: usize,
    /// Whether a bound was reached, so that there may be more to do.
    pub more: bool,
}

impl GcStep {
    /// Returns how many rows were changed.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.expired + self.collected + self.purged + self.bodies + self.chunks + self.damaged
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
    /// Does one step in a commit of its own: visible, and not yet durable.
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
        let made = gc_rows(&self.view, &self.state, now_ms, limits, &bodies);
        let result = match made {
            Ok((changes, step, unfinished)) => self.write(changes.batch).map(|()| {
                self.adopt(changes.state);
                changes.freed.iter().for_each(|body| self.bodies.mark_garbage(*body));
                self.unfinished.extend(unfinished);
                step
            }),
            Err(error) => Err(self.lost(&error)),
        };
        match result {
            Ok(_) => self.claimed.extend(bodies),
            Err(_) => self.bodies.unclaim(&bodies),
        }
        result
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

/// How many chunks of about 64 KiB one step frees. redb reads what it deletes, and writers wait.
const MAX_CHUNKS: usize = 64;

/// Computes one step: expired rows, then tombstones, then dropped namespaces, then the chunks of freed
/// bodies. Returns the rows to write, what they do, and the bodies that have chunks left.
fn gc_rows<S: Snapshot>(
    view: &View<S>,
    state: &State,
    now_ms: u64,
    limits: &GcLimits,
    bodies: &[BodyId],
) -> Result<(Changes, GcStep, Vec<BodyId>), ReadError> {
    let mut transaction = Transaction::new(state, view, now_ms);
    let mut step = GcStep::default();
    let before = now_ms.saturating_sub(limits.max_skew_ms) / 1000;
    let expired = first_keys::<S, Expiry>(view, before.saturating_add(1), limits.rows)?;
    for key in &expired {
        let done = transaction.expire(key);
        step.expired += step.count::<Expiry, _>(done, key, &mut transaction)?;
    }
    let tombstones = first_keys::<S, Tombstones>(view, limits.stable.0, limits.rows)?;
    for key in &tombstones {
        if transaction.is_uncounted(key) {
            continue;
        }
        let done = transaction.collect(key);
        step.collected += step.count::<Tombstones, _>(done, key, &mut transaction)?;
    }
    let (purged, is_damaged) = transaction.purge(limits.rows)?;
    step.purged = purged;
    step.damaged += usize::from(is_damaged);
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
    step.more = [expired.len(), step.collected, step.purged].contains(&limits.rows)
        || !unfinished.is_empty()
        || (bodies.len() == limits.bodies && !bodies.is_empty());
    Ok((transaction.finish(), step, unfinished))
}

impl GcStep {
    /// Counts a row of an index as done, or as damaged. The index row of a damaged row is deleted, so
    /// that no later step meets it; the row stays until its key is written again.
    fn count<T: Layout, S: Snapshot>(
        &mut self,
        done: Result<(), ReadError>,
        index_key: &[u8],
        transaction: &mut Transaction<'_, S>,
    ) -> Result<usize, ReadError> {
        match done {
            Ok(()) => Ok(1),
            Err(ReadError::Damaged { table, reason }) => {
                tracing::error!(?table, %reason, "garbage collection met a damaged row and left it");
                transaction.batch.push((T::TABLE, index_key.to_vec(), None));
                self.damaged += 1;
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }
}

/// Reads the first keys of an index by time, of times before `end`.
fn first_keys<S: Snapshot, T: Layout>(
    view: &View<S>,
    end: u64,
    limit: usize,
) -> Result<Vec<Vec<u8>>, ReadError> {
    let end = end.to_be_bytes();
    let bounds = (Bound::Unbounded, Bound::Excluded(&end[..]));
    let mut keys = Vec::new();
    view.snapshot.range(T::TABLE, bounds, Order::Ascending, &mut |key, _| {
        keys.push(key.to_vec());
        if keys.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(keys)
}

impl<S: Snapshot> Transaction<'_, S> {
    /// Turns an entry whose expiry has passed into an expired tombstone.
    fn expire(&mut self, index_key: &[u8]) -> Result<(), ReadError> {
        let Timed { time, entry } =
            Expiry::read_key(index_key).map_err(ReadError::damaged(Table::Expiry))?;
        let head = self.row(&entry)?;
        let Some(head) = head.filter(|head| head.expires_at == Some(time) && !head.is_tombstone())
        else {
            self.batch.push((Table::Expiry, index_key.to_vec(), None));
            return Ok(());
        };
        self.remove_time_index(&entry, &head);
        if let Some(large) = head.large() {
            self.free(large.body);
        }
        let state = FoundState::ExpiredTombstone;
        self.put_row(entry, Found { state, metadata: None, ..head }, &[]);
        Ok(())
    }

    /// Whether a row of the index of tombstones is of a write that the vector does not count. It stays: a peer whose
    /// vector does not count it either could not learn that it was collected.
    fn is_uncounted(&mut self, index_key: &[u8]) -> bool {
        let Ok(Timed { time, entry }) = Tombstones::read_key(index_key) else { return false };
        let Ok(Some(head)) = self.row(&entry) else { return false };
        let is_it = head.is_tombstone() && head.version.hlc.0 == time;
        is_it && !self.state.vector.covers(head.dot)
    }

    /// Collects a tombstone that is stable, and records it in the collected vector.
    fn collect(&mut self, index_key: &[u8]) -> Result<(), ReadError> {
        let Timed { time, entry } =
            Tombstones::read_key(index_key).map_err(ReadError::damaged(Table::Tombstones))?;
        let head = self.row(&entry)?;
        let Some(head) = head.filter(|head| head.is_tombstone() && head.version.hlc.0 == time)
        else {
            self.batch.push((Table::Tombstones, index_key.to_vec(), None));
            return Ok(());
        };
        Arc::make_mut(&mut self.state.collected).raise(head.dot.origin, head.dot.seq);
        self.remove(entry, &head);
        Ok(())
    }

    /// Removes up to `limit` rows of one dropped namespace. Returns how many, and whether the row that
    /// names the namespace was damaged instead: only a namespace that is registered as dropped is purged.
    fn purge(&mut self, limit: usize) -> Result<(usize, bool), ReadError> {
        let Some((purge_key, id)) = tables::first::<Purge>(&self.view.snapshot, &[])? else {
            return Ok((0, false));
        };
        let Some(id) = id.ok().filter(|id| self.state.namespaces.is_dropped(*id)) else {
            let namespace = &purge_key;
            tracing::error!(?namespace, "a row asks to purge a namespace that was not dropped");
            self.batch.push((Table::Purge, purge_key, None));
            return Ok((0, true));
        };
        let mut keys = Vec::new();
        let prefix = EntryKey::prefix(id, b"");
        visit_prefix(&self.view.snapshot, Table::Entries, &prefix, &mut |key, _| {
            keys.push(key.to_vec());
            if keys.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        for key in &keys {
            self.purge_row(key)?;
        }
        if keys.len() < limit {
            tables::delete::<Purge>(&mut self.batch, &id);
        }
        Ok((keys.len(), false))
    }

    /// Deletes a row of a dropped namespace with its indexes. Of a damaged row only the row itself can be
    /// deleted, because nothing else names its indexes.
    fn purge_row(&mut self, key: &[u8]) -> Result<(), ReadError> {
        let damaged = ReadError::damaged(Table::Entries);
        let read = EntryKey::read(key)
            .map_err(damaged)
            .and_then(|entry| Ok(self.row(&entry)?.map(|head| (entry, head))));
        match read {
            Ok(Some((entry, head))) => self.remove(entry, &head),
            Ok(None) => {}
            Err(ReadError::Damaged { .. }) => {
                self.batch.push((Table::Entries, key.to_vec(), None));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Frees up to `limit` chunks of a body, the first ones first. Returns how many, or `None` if the body
    /// has more.
    fn free_chunks(&mut self, body: BodyId, limit: usize) -> Result<Option<usize>, ReadError> {
        let mut keys = Vec::new();
        visit_prefix(&self.view.snapshot, Table::Chunks, &body_prefix(body), &mut |key, _| {
            keys.push(key.to_vec());
            if keys.len() <= limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let is_whole = keys.len() <= limit;
        keys.truncate(limit);
        let freed = keys.len();
        self.batch.extend(keys.into_iter().map(|key| (Table::Chunks, key, None)));
        if is_whole {
            tables::delete::<Pending>(&mut self.batch, &body);
        }
        Ok(is_whole.then_some(freed))
    }
}
