//! Garbage collection by the indexes by time: entries that expired, and tombstones of both kinds.

use std::ops::{Bound, ControlFlow};

use super::{
    collect::Ended,
    committer::Committer,
    gc::{GcLimits, GcStep},
    sweep::Sweep,
    transaction::Transaction,
};
use crate::{
    engine::{Engine, Order, Snapshot, Table},
    error::ReadError,
    tables::{ExpiredTombstones, Expiry, IndexedDot, Layout, Timed, Tombstones},
    types::{Found, FoundState, Key, NamespaceId},
    view::View,
};

/// A row of an index by time, as the engine has it: key and bytes.
type IndexRow = (Vec<u8>, Vec<u8>);

impl GcStep {
    /// Replaces expired entries by expired tombstones, and collects tombstones of both kinds: by their times, or, if many
    /// wait, by their keys. Returns whether a bound was reached.
    pub(super) fn end_rows<S: Snapshot>(
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
                tracing::error!(?table, %reason, "garbage collection found a damaged row, and left it");
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
}

impl<E: Engine> Committer<E>
where
    E::Snapshot: Clone,
{
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
}

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
