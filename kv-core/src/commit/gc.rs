//! Garbage collection, in bounded steps.

use std::ops::{Bound, ControlFlow};

use super::{
    collect::Ended,
    committer::Committer,
    sweep::Sweep,
    transaction::{Changes, Transaction},
};
use crate::{
    engine::{Engine, EngineError, Order, Snapshot, Table, after_prefix, visit_prefix},
    error::{ReadError, WriteError},
    tables::{
        self, EntryKey, ExpiredTombstones, Expiry, IndexedDot, Layout, Pending, Purge, Timed,
        Tombstones, body_prefix,
    },
    types::{BodyId, Change, Found, FoundState, Hlc, Key, NamespaceId, Version},
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
    /// The latest expiry, in Unix milliseconds, that has certainly passed: entries that expired by then
    /// become expired tombstones, and stable expired tombstones are collected. `None` if the clock can't
    /// be trusted yet: expired entries are hidden and stay. The writer core computes it from
    /// [`Options::expiry_grace`](crate::Options::expiry_grace).
    pub expired_ms: Option<u64>,
    /// Whether stable expired tombstones are collected. On a clock that nobody confirms they stay where peers
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
    fn expired_end(&self) -> Option<u64> {
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

    /// Raises the closed timestamp in a commit of its own, if a tombstone waits for it: an idle store makes no
    /// commit that would raise it. Returns whether it did.
    ///
    /// # Errors
    /// If the engine can't read or write.
    pub fn close_time(&mut self) -> Result<bool, WriteError> {
        if let Err(error) = self.refresh() {
            return Err(self.lost(&error.into()));
        }
        let times = self.times(0);
        let waits = times.closing_ms.map(|closing_ms| waits_for(&self.view, closing_ms));
        match waits.transpose() {
            Ok(Some(true)) => {}
            Ok(_) => return Ok(false),
            Err(error) => return Err(self.lost(&error.into())),
        }
        let mut transaction = Transaction::new(&self.state, &self.view, times);
        transaction.raise_closed(times.closing_ms.map_or(Hlc::ZERO, Hlc::at_millis));
        let changes = transaction.finish();
        self.write(changes.batch)?;
        self.adopt(changes.state);
        Ok(true)
    }

    /// Returns keys whose values were freed although their expiry is still ahead of `now_ms`: a clock was wrong.
    /// Each call continues behind `cursor`, the place where the last one ended; it is empty at the end.
    ///
    /// # Errors
    /// If the table can't be read.
    pub fn freed_early(
        &mut self,
        now_ms: u64,
        cursor: &mut Vec<u8>,
        limit: usize,
    ) -> Result<Vec<(NamespaceId, Key)>, ReadError> {
        self.refresh()?;
        let first = (now_ms / 1000 + 1).to_be_bytes().to_vec();
        let from = std::mem::take(cursor).max(first);
        let bounds = (Bound::Excluded(&from[..]), Bound::Unbounded);
        let (mut keys, table) = (Vec::new(), Table::ExpiredTombstones);
        self.view.snapshot.range(table, bounds, Order::Ascending, &mut |key, _| {
            keys.push(key.to_vec());
            if keys.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        if keys.len() == limit {
            *cursor = keys.last().cloned().unwrap_or_default();
        }
        // A damaged row of the index names no key.
        let entries = keys.iter().filter_map(|key| ExpiredTombstones::read_key(key).ok());
        let names = entries.filter_map(|timed| {
            let (namespace, name) = timed.entry.split();
            Some((namespace, Key::new(name).ok()?))
        });
        Ok(names.collect())
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

/// How many chunks of about 64 KiB one step frees. redb reads what it deletes, and writers wait.
const MAX_CHUNKS: usize = 64;

/// A step of the walk over a dropped namespace.
#[derive(Default)]
struct PurgeStep {
    /// Dead rows that were removed.
    removed: usize,
    /// See [`GcStep::kept`].
    kept: usize,
    /// Whether the row that names the namespace was damaged instead.
    is_damaged: bool,
    /// Whether there may be more to do at once.
    more: bool,
}

/// The result for a row when garbage collection walks over a dropped namespace.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is dead, and was removed.
    Removed,
    /// It lives, or is gone already.
    Passed,
    /// It lives, and its namespace does not exist.
    Keeps,
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

impl GcStep {
    /// Replaces expired entries by expired tombstones, and collects tombstones of both kinds: by their times, or, if many
    /// wait, by their keys. Returns whether a bound was reached.
    fn end_rows<S: Snapshot>(
        &mut self,
        transaction: &mut Transaction<'_, S>,
        limits: &GcLimits,
        sweep: &mut Sweep,
    ) -> Result<bool, ReadError> {
        let (view, rows) = (transaction.view, limits.rows);
        let mut has_more = sweep.is_due(view, limits.stable, limits.collected_end())?;
        if has_more {
            self.collected += transaction.sweep(sweep, limits)?;
        } else {
            has_more = self.collect_by_time(transaction, limits)?;
            sweep.expect(has_more);
        }
        let Some(end) = limits.expired_end() else { return Ok(has_more) };
        let expired = first_rows::<S, Expiry>(view, end, rows)?;
        for (key, _) in &expired {
            let done = transaction.expire(key).map(|()| true);
            self.expired += self.count::<Expiry, _>(done, key, transaction)?;
        }
        Ok(has_more || expired.len() == rows)
    }

    /// Collects the first tombstones of both kinds by their times, and removes the index rows of those that a sweep has
    /// collected. Returns whether there is more to do at once: a bound was reached, and not because of rows that stay.
    fn collect_by_time<S: Snapshot>(
        &mut self,
        transaction: &mut Transaction<'_, S>,
        limits: &GcLimits,
    ) -> Result<bool, ReadError> {
        let (view, rows) = (transaction.view, limits.rows);
        let deleted = first_rows::<S, Tombstones>(view, limits.stable.0, rows)?;
        let ended_deleted = self.collect_all::<Tombstones, S>(transaction, limits, &deleted)?;
        // Rows that are not stable yet may delay stable ones behind them, until the member returns that
        // keeps them.
        let end = limits.collected_end();
        let expired = first_rows::<S, ExpiredTombstones>(view, end, rows)?;
        let ended = self.collect_all::<ExpiredTombstones, S>(transaction, limits, &expired)?;
        Ok((deleted.len() == rows && ended_deleted > 0) || ended == rows)
    }

    /// Collects tombstones that an index by time names. Returns how many rows of the index are done.
    fn collect_all<T: Layout<Key = Timed, Row = IndexedDot>, S: Snapshot>(
        &mut self,
        transaction: &mut Transaction<'_, S>,
        limits: &GcLimits,
        rows: &[IndexRow],
    ) -> Result<usize, ReadError> {
        let mut ended = 0;
        for (key, row) in rows {
            let done = match transaction.collect::<T>(key, row, limits) {
                Ok(Ended::Collected) => {
                    self.collected += 1;
                    Ok(true)
                }
                Ok(Ended::Unindexed) => {
                    self.unindexed += 1;
                    Ok(true)
                }
                Ok(Ended::Stays) => Ok(false),
                Err(error) => Err(error),
            };
            ended += self.count::<T, _>(done, key, transaction)?;
        }
        Ok(ended)
    }

    /// Returns how many rows of an index were done, and counts a damaged one. The index row of a damaged
    /// row is deleted, so that no later step meets it; the row stays until its key is written again.
    fn count<T: Layout<Key = Timed>, S: Snapshot>(
        &mut self,
        done: Result<bool, ReadError>,
        index_key: &[u8],
        transaction: &mut Transaction<'_, S>,
    ) -> Result<usize, ReadError> {
        match done {
            Ok(is_done) => Ok(usize::from(is_done)),
            Err(ReadError::Damaged { table, reason }) => {
                tracing::error!(?table, %reason, "garbage collection met a damaged row and left it");
                if let Ok(Timed { entry, .. }) = T::read_key(index_key) {
                    transaction.owe_row(&entry);
                }
                transaction.batch.push((T::TABLE, index_key.to_vec(), None));
                self.damaged += 1;
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether a tombstone can become stable only after the closed timestamp has risen to this time. The index
/// of expired tombstones has their expiry, which is later than their write.
fn waits_for<S: Snapshot>(view: &View<S>, closing_ms: u64) -> Result<bool, EngineError> {
    let (from, to) = (view.closed, Hlc::at_millis(closing_ms));
    let seconds = |time: Hlc| time.millis() / 1000;
    Ok(has_key(view, Table::Tombstones, (from.0, to.0))?
        || has_key(view, Table::ExpiredTombstones, (seconds(from), seconds(to)))?)
}

/// Whether an index by time has a row in this range, the end not included.
fn has_key<S: Snapshot>(
    view: &View<S>,
    table: Table,
    (from, to): (u64, u64),
) -> Result<bool, EngineError> {
    if from >= to {
        return Ok(false);
    }
    let (from, to) = (from.to_be_bytes(), to.to_be_bytes());
    let bounds = (Bound::Included(&from[..]), Bound::Excluded(&to[..]));
    let mut has_one = false;
    view.snapshot.range(table, bounds, Order::Ascending, &mut |_, _| {
        has_one = true;
        ControlFlow::Break(())
    })?;
    Ok(has_one)
}

/// A row of an index by time, as the engine has it: key and bytes.
type IndexRow = (Vec<u8>, Vec<u8>);

/// Reads the first rows of an index by time, of times before `end`.
fn first_rows<S: Snapshot, T: Layout>(
    view: &View<S>,
    end: u64,
    limit: usize,
) -> Result<Vec<IndexRow>, ReadError> {
    let end = end.to_be_bytes();
    let bounds = (Bound::Unbounded, Bound::Excluded(&end[..]));
    let mut rows = Vec::new();
    view.snapshot.range(T::TABLE, bounds, Order::Ascending, &mut |key, row| {
        rows.push((key.to_vec(), row.to_vec()));
        if rows.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(rows)
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
        self.put_row((Some(Table::Entries), entry), Found { state, metadata: None, ..head }, &[]);
        Ok(())
    }

    /// Walks over up to `limit` rows of one dropped namespace and removes the dead ones. If a row is later than the drop
    /// and the namespace does not exist, creates it again. Only a namespace that is registered as dropped is purged.
    fn purge(&mut self, limit: usize) -> Result<PurgeStep, ReadError> {
        let mut step = PurgeStep::default();
        let Some((purge_key, id)) = tables::first::<Purge>(&self.view.snapshot, &[])? else {
            return Ok(step);
        };
        let dropped = id.ok().and_then(|id| Some((id, self.state.namespaces.dropped_at(id)?)));
        let Some((id, dropped)) = dropped else {
            let namespace = &purge_key;
            tracing::error!(?namespace, "a row asks to purge a namespace that was not dropped");
            self.batch.push((Table::Purge, purge_key, None));
            return Ok(PurgeStep { is_damaged: true, ..step });
        };
        // If the row is damaged, the walk starts at the beginning.
        let upto = match tables::get::<Purge>(&self.view.snapshot, &id) {
            Ok(upto) => upto.unwrap_or_default(),
            Err(ReadError::Damaged { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        let keys = self.keys_after(id, &upto, limit)?;
        let mut passed = &upto[..];
        for key in &keys {
            match self.purge_row(key, (id, dropped))? {
                Fate::Removed => step.removed += 1,
                Fate::Passed => {}
                Fate::Keeps => match self.keep_namespace(id) {
                    Ok(true) => step.kept += 1,
                    Ok(false) => break,
                    Err(error) => {
                        tracing::warn!(%id, %error, "a namespace with entries later than its drop is not created");
                        break;
                    }
                },
            }
            passed = EntryKey::strip_namespace(key);
        }
        let is_stopped = keys.last().is_some_and(|key| EntryKey::strip_namespace(key) != passed);
        step.more = keys.len() == limit && !is_stopped;
        if keys.len() < limit && !is_stopped {
            if self.state.namespaces.get(id).is_none() {
                self.repay_namespace(id);
            }
            tables::delete::<Purge>(&mut self.batch, &id);
        } else if passed != upto {
            tables::put::<Purge>(&mut self.batch, &id, &passed.to_vec());
        }
        Ok(step)
    }

    /// Reads up to `limit` keys of rows of a namespace after a key in it; from the first one after an empty key.
    fn keys_after(
        &self,
        id: NamespaceId,
        after: &[u8],
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, ReadError> {
        let (lower, end) = (EntryKey::prefix(id, after), after_prefix(&EntryKey::prefix(id, b"")));
        let upper = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut keys = Vec::new();
        let bounds = (Bound::Excluded(&lower[..]), upper);
        tables::visit_rows(&self.view.snapshot, bounds, &mut |(_, key), _| {
            keys.push(key.to_vec());
            if keys.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(keys)
    }

    /// Removes a row of a namespace with its indexes, if it is not later than the drop. Of a damaged row nobody knows;
    /// it stays in a namespace that exists. In another only the row itself can be deleted, because nothing else names its
    /// indexes.
    fn purge_row(
        &mut self,
        key: &[u8],
        (id, dropped): (NamespaceId, Version),
    ) -> Result<Fate, ReadError> {
        let damaged = ReadError::damaged(Table::Entries);
        let read = EntryKey::read(key)
            .map_err(damaged)
            .and_then(|entry| Ok(self.row(&entry)?.map(|head| (entry, head))));
        let exists = self.state.namespaces.get(id).is_some();
        match read {
            Ok(Some((entry, head))) if head.version <= dropped => self.remove(entry, &head),
            Ok(Some((_, head))) => {
                let is_known = self.state.namespaces.known(id).is_some();
                let keeps = !exists && is_known && head.is_visible(self.time.present.now_ms);
                return Ok(if keeps { Fate::Keeps } else { Fate::Passed });
            }
            Ok(None) => return Ok(Fate::Passed),
            Err(ReadError::Damaged { .. }) => {
                // It may be later than the drop: then another location has it.
                if let Ok(entry) = EntryKey::read(key) {
                    self.owe_row(&entry);
                }
                if exists {
                    return Ok(Fate::Passed);
                }
                for table in [Table::Entries, Table::Deleted] {
                    self.batch.push((table, key.to_vec(), None));
                }
            }
            Err(error) => return Err(error),
        }
        Ok(Fate::Removed)
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
