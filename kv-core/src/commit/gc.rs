//! Taking away what is no longer needed, a bounded step at a time.

use std::{
    ops::{Bound, ControlFlow},
    sync::Arc,
};

use super::{Committer, transaction::Transaction};
use crate::{
    Hlc, NamespaceId,
    engine::{Engine, Order, Snapshot, visit_prefix},
    entry::BodyId,
    error::{ReadError, WriteError},
    record::{Head, Kind},
    schema::{self, Table},
    view::View,
};

/// What a step of the sweep may do.
#[derive(Clone, Copy, Debug)]
pub struct GcLimits {
    /// At most so many rows of each kind of work.
    pub rows: usize,
    /// At most so many large bodies, and of these no more than 64 chunks.
    pub bodies: usize,
    /// Tombstones and stubs of writes before this time may go: no replica will send anything
    /// older. Alone, a store takes its own clock.
    pub stable: Hlc,
    /// How far apart the clocks of the locations can be, in milliseconds: an expired body stays
    /// readable for a reader whose clock is so far behind.
    pub max_skew_ms: u64,
}

/// What a step of the sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GcStep {
    /// Entries that expired and became stubs.
    pub expired: usize,
    /// Tombstones and stubs that were dropped.
    pub collected: usize,
    /// Rows of dropped namespaces.
    pub purged: usize,
    /// Large bodies that were freed.
    pub bodies: usize,
    /// Chunks of these, and of one that is not freed wholly yet.
    pub chunks: usize,
    /// Rows that could not be read, and what was to be done with them was not.
    pub damaged: usize,
    /// Whether a limit was met, so that there may be more to do.
    pub more: bool,
}

impl GcStep {
    /// How many rows were changed.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.expired + self.collected + self.purged + self.bodies + self.chunks + self.damaged
    }

    /// Whether nothing was done.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.rows() == 0
    }
}

impl<E: Engine> Committer<E>
where
    E::Snapshot: Clone,
{
    /// Does one step of the sweep in a commit of its own: visible, not yet durable.
    ///
    /// # Errors
    /// If the engine can't read or write; nothing is swept then.
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
            Ok((changes, swept, unfinished)) => self.write(changes.batch).map(|()| {
                self.adopt(changes.state);
                changes.freed.iter().for_each(|body| self.bodies.mark_garbage(*body));
                self.unfinished.extend(unfinished);
                swept
            }),
            Err(error) => Err(self.lost(&error)),
        };
        match result {
            Ok(_) => self.claimed.extend(bodies),
            Err(_) => self.bodies.unclaim(&bodies),
        }
        result
    }

    /// Readers get [`Committer::view`] as it is now, or a later one: what the last sweeps freed is
    /// beyond their reach.
    pub fn published(&mut self) {
        std::mem::take(&mut self.unfinished)
            .into_iter()
            .for_each(|body| self.bodies.mark_garbage(body));
        self.bodies.freed(&std::mem::take(&mut self.claimed));
    }
}

/// How many chunks of about 64 KiB one step frees: redb reads what it deletes, and writers wait.
const MAX_CHUNKS: usize = 64;

fn gc_rows<S: Snapshot>(
    view: &View<S>,
    state: &super::State,
    now_ms: u64,
    limits: &GcLimits,
    bodies: &[BodyId],
) -> Result<(super::transaction::Changes, GcStep, Vec<BodyId>), ReadError> {
    let mut transaction = Transaction::new(state, view, now_ms);
    let mut swept = GcStep::default();
    let before = now_ms.saturating_sub(limits.max_skew_ms) / 1000;
    let expired = first_keys(view, Table::Expiry, before.saturating_add(1), limits.rows)?;
    for key in &expired {
        let done = transaction.expire(key);
        swept.count(
            done,
            |swept| &mut swept.expired,
            || {
                transaction.batch.push((Table::Expiry, key.clone(), None));
            },
        )?;
    }
    let graves = first_keys(view, Table::Tombstones, limits.stable.0, limits.rows)?;
    for key in &graves {
        let done = transaction.collect(key);
        swept.count(
            done,
            |swept| &mut swept.collected,
            || {
                transaction.batch.push((Table::Tombstones, key.clone(), None));
            },
        )?;
    }
    let (purged, is_damaged) = transaction.purge(limits.rows)?;
    swept.purged = purged;
    swept.damaged += usize::from(is_damaged);
    let mut unfinished = Vec::new();
    for body in bodies {
        let left = MAX_CHUNKS - swept.chunks;
        match transaction.free_chunks(*body, left)? {
            Some(freed) => {
                swept.chunks += freed;
                swept.bodies += 1;
            }
            None => {
                swept.chunks += left;
                unfinished.push(*body);
            }
        }
    }
    swept.more = [expired.len(), graves.len(), swept.purged].contains(&limits.rows)
        || !unfinished.is_empty()
        || (bodies.len() == limits.bodies && !bodies.is_empty());
    Ok((transaction.finish(), swept, unfinished))
}

impl GcStep {
    /// Counts a row that was swept, or one that is damaged: its index row goes, so that the sweep
    /// does not meet it for ever, and it stays what it is until its key is put anew.
    fn count(
        &mut self,
        done: Result<(), ReadError>,
        kind: impl FnOnce(&mut GcStep) -> &mut usize,
        forget: impl FnOnce(),
    ) -> Result<(), ReadError> {
        match done {
            Ok(()) => *kind(self) += 1,
            Err(ReadError::Damaged { table, reason }) => {
                tracing::error!(?table, %reason, "the sweep met a damaged row, and leaves it");
                forget();
                self.damaged += 1;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// The first keys of an index by time, of times before `end`.
fn first_keys<S: Snapshot>(
    view: &View<S>,
    table: Table,
    end: u64,
    limit: usize,
) -> Result<Vec<Vec<u8>>, ReadError> {
    let end = end.to_be_bytes();
    let bounds = (Bound::Unbounded, Bound::Excluded(&end[..]));
    let mut keys = Vec::new();
    view.snapshot.range(table, bounds, Order::Ascending, &mut |key, _| {
        keys.push(key.to_vec());
        if keys.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(keys)
}

impl<S: Snapshot> Transaction<'_, S> {
    /// An entry whose time has come becomes a stub.
    fn expire(&mut self, index_key: &[u8]) -> Result<(), ReadError> {
        let damaged = ReadError::damaged(Table::Expiry);
        let (at, row_key) = schema::split_timed(index_key).map_err(damaged)?;
        let head = self.row(row_key)?;
        let Some(head) = head.filter(|head| head.expires_at == Some(at) && !head.is_tombstone())
        else {
            self.batch.push((Table::Expiry, index_key.to_vec(), None));
            return Ok(());
        };
        self.remove_time_index(row_key, &head);
        if let Some(large) = head.large() {
            self.free(large.body);
        }
        let stub = Head { kind: Kind::ExpiredTombstone, metadata: None, ..head };
        self.put_row(row_key.to_vec(), stub, &[]);
        Ok(())
    }

    /// A tombstone or stub that all know of goes, and the collected vector says so.
    fn collect(&mut self, index_key: &[u8]) -> Result<(), ReadError> {
        let damaged = ReadError::damaged(Table::Tombstones);
        let (hlc, row_key) = schema::split_timed(index_key).map_err(damaged)?;
        let head = self.row(row_key)?;
        let Some(head) = head.filter(|head| head.is_tombstone() && head.version.hlc.0 == hlc)
        else {
            self.batch.push((Table::Tombstones, index_key.to_vec(), None));
            return Ok(());
        };
        let origin = self.state.origins.id(head.version.origin);
        let origin = origin.map_err(ReadError::damaged(Table::Origins))?;
        Arc::make_mut(&mut self.state.collected).raise(origin, head.seq);
        self.remove(row_key.to_vec(), &head);
        Ok(())
    }

    /// Takes away up to `limit` rows of one dropped namespace; how many, and whether the row that
    /// asks for it was damaged instead: only what is registered as dropped is purged.
    fn purge(&mut self, limit: usize) -> Result<(usize, bool), ReadError> {
        let mut first = None;
        let all = (Bound::Unbounded, Bound::Unbounded);
        self.view.snapshot.range(Table::Purge, all, Order::Ascending, &mut |key, _| {
            first = Some(key.to_vec());
            ControlFlow::Break(())
        })?;
        let Some(namespace) = first else { return Ok((0, false)) };
        let id = namespace.as_slice().try_into().map(NamespaceId);
        if !id.is_ok_and(|id| self.state.namespaces.is_dropped(id)) {
            tracing::error!(?namespace, "the sweep met a row to purge what was not dropped");
            self.batch.push((Table::Purge, namespace, None));
            return Ok((0, true));
        }
        let mut keys = Vec::new();
        visit_prefix(&self.view.snapshot, Table::Entries, &namespace, &mut |key, _| {
            keys.push(key.to_vec());
            if keys.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        for key in &keys {
            match self.row(key) {
                Ok(Some(head)) => self.remove(key.clone(), &head),
                Ok(None) => {}
                Err(ReadError::Damaged { .. }) => {
                    self.batch.push((Table::Entries, key.clone(), None));
                }
                Err(error) => return Err(error),
            }
        }
        if keys.len() < limit {
            self.batch.push((Table::Purge, namespace, None));
        }
        Ok((keys.len(), false))
    }

    /// Frees up to `limit` chunks of a body, the first ones first; how many, or none if some are
    /// left.
    fn free_chunks(&mut self, body: BodyId, limit: usize) -> Result<Option<usize>, ReadError> {
        let mut keys = Vec::new();
        visit_prefix(&self.view.snapshot, Table::Chunks, &schema::body(body), &mut |key, _| {
            keys.push(key.to_vec());
            if keys.len() <= limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let is_whole = keys.len() <= limit;
        keys.truncate(limit);
        let freed = keys.len();
        self.batch.extend(keys.into_iter().map(|key| (Table::Chunks, key, None)));
        if is_whole {
            self.batch.push((Table::Pending, schema::body(body), None));
        }
        Ok(is_whole.then_some(freed))
    }
}
