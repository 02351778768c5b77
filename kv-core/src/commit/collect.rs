//! Collecting tombstones: one that an index by time names, or all on a stretch of a sweep.

use std::ops::{Bound, ControlFlow};

use super::{entry::time_index, gc::GcLimits, sweep::Sweep, transaction::Transaction};
use crate::{
    engine::{Order, Snapshot, Table},
    error::ReadError,
    tables::{self, Dots, EntryKey, IndexedDot, Layout, Timed},
    types::{Found, FoundState},
};

/// How many rows a step of a sweep may read, and how many it may remove, for each row of a step by time.
const READS: usize = 8;
const REMOVALS: usize = 4;

/// The result of looking at a row of an index by time.
pub(super) enum Ended {
    /// The tombstone was collected.
    Collected,
    /// It had been collected or overwritten before: the row was removed.
    Unindexed,
    /// The tombstone stays.
    Stays,
}

impl<S: Snapshot> Transaction<'_, S> {
    /// Collects the tombstone that a row of an index names. If a sweep has collected it, removes that row and the one in
    /// the dot index.
    pub(super) fn collect<T: Layout<Key = Timed, Row = IndexedDot>>(
        &mut self,
        index_key: &[u8],
        row: &[u8],
        limits: &GcLimits,
    ) -> Result<Ended, ReadError> {
        let Timed { time, entry } = T::read_key(index_key).map_err(ReadError::damaged(T::TABLE))?;
        // A damaged row names no dot.
        let dot = tables::decode::<T>(index_key, row).ok().map(|(_, dot)| dot);
        let head = self.tombstone(&entry)?.filter(|head| {
            let is_its = dot.is_none_or(|dot| self.state.is_indexed(dot, head.dot));
            is_its && time_index(head) == Some((T::TABLE, time))
        });
        let Some(head) = head else {
            self.batch.push((T::TABLE, index_key.to_vec(), None));
            // Of what was not collected, a catch-up must know that it is gone.
            if let Some(dot) = dot.filter(|dot| self.state.has_collected(*dot)) {
                tables::delete::<Dots>(&mut self.batch, &dot);
            }
            return Ok(Ended::Unindexed);
        };
        if !self.may_collect(&entry, &head, limits) {
            return Ok(Ended::Stays);
        }
        self.count_collected(&head);
        self.remove(entry, &head);
        Ok(Ended::Collected)
    }

    /// Whether a tombstone may be collected.
    ///
    /// A write that the vector does not count stays: a peer that does not count it either could not learn that it was
    /// collected. So does one whose key is owed: an answer that has an earlier row may be on its way.
    fn may_collect(&self, entry: &EntryKey, head: &Found<()>, limits: &GcLimits) -> bool {
        let (namespace, name) = entry.split();
        let is_owed = self.state.owed.get(namespace, name).is_some();
        let has_ended = match head.state {
            FoundState::ExpiredTombstone => head.expires_at.unwrap_or(0) < limits.collected_end(),
            _ => true,
        };
        has_ended
            && !is_owed
            && head.version.hlc < limits.stable
            && self.state.vector.covers(head.dot)
    }

    /// Records that a tombstone is collected.
    fn count_collected(&mut self, head: &Found<()>) {
        self.state.collected.raise(head.dot.origin, head.dot.seq);
        // No peer knows of a tombstone that is later than the closed timestamp: the store has no peers.
        let upto = head.version.hlc.min(self.state.closed);
        self.state.collected_upto = self.state.collected_upto.max(upto);
    }

    /// Reads the tombstone of a key; none if it has none.
    fn tombstone(&mut self, entry: &EntryKey) -> Result<Option<Found<()>>, ReadError> {
        if let Some(head) = self.rows.get(entry) {
            return Ok(head.clone().filter(Found::is_tombstone));
        }
        match self.view.snapshot.get(Table::Deleted, entry.as_bytes())? {
            Some(row) => self.decode_row((Table::Deleted, entry), &row).map(Some),
            None => Ok(None),
        }
    }

    /// Does a step of the sweep. Returns how many tombstones it collected.
    pub(super) fn sweep(
        &mut self,
        sweep: &mut Sweep,
        limits: &GcLimits,
    ) -> Result<usize, ReadError> {
        let after = sweep.take_place();
        let from = if after.is_empty() { Bound::Unbounded } else { Bound::Excluded(&after[..]) };
        let mut left = limits.rows.saturating_mul(READS);
        let (mut collected, mut last) = (0, None);
        let most = limits.rows.saturating_mul(REMOVALS);
        let (view, bounds) = (self.view, (from, Bound::Unbounded));
        view.snapshot.range(Table::Deleted, bounds, Order::Ascending, &mut |key, row| {
            collected += usize::from(self.collect_at(key, row, limits));
            left -= 1;
            if left > 0 && collected < most {
                return ControlFlow::Continue(());
            }
            last = Some(key.to_vec());
            ControlFlow::Break(())
        })?;
        sweep.stopped_at(last);
        Ok(collected)
    }

    /// Collects a tombstone, if it may be, and leaves its rows in the indexes. Returns whether it did. A damaged row is
    /// left to the step that finds it by its time.
    fn collect_at(&mut self, key: &[u8], row: &[u8], limits: &GcLimits) -> bool {
        let Ok(entry) = EntryKey::read(key) else { return false };
        let Ok(head) = self.decode_row((Table::Deleted, &entry), row) else { return false };
        if !self.may_collect(&entry, &head, limits) {
            return false;
        }
        self.count_collected(&head);
        self.batch.push((Table::Deleted, key.to_vec(), None));
        self.rows.insert(entry, None);
        true
    }
}
