//! The sweep: where many tombstones wait to be collected, they are collected in the order of their keys.
//!
//! Keys that were deleted one after the other lie far apart in the table of tombstones: collected by their times, almost
//! each of them costs a page that is written again, and the disk is busy for long. A sweep walks over the table by key,
//! and removes at once what may go from a page. The rows in the indexes stay meanwhile; they are removed by their times
//! afterwards, when many of them lie on a page too. A row of the dot index that is left so names nothing, and the
//! collected vector counts its write.

use std::ops::{Bound, ControlFlow};

use super::{gc::GcLimits, transaction::Transaction};
use crate::{
    engine::{Order, Snapshot, Table},
    error::ReadError,
    tables::EntryKey,
    view::View,
};

/// So many waiting tombstones begin a sweep.
const MANY: usize = 10_000;

/// How many rows a step of the sweep may read, and how many it may remove, for each row of a step by time.
const READS: usize = 8;
const REMOVALS: usize = 4;

/// How far the sweep is.
#[derive(Clone, Debug)]
pub(super) struct Sweep {
    /// So many waiting tombstones begin one.
    many: usize,
    /// The key behind which the one under way continues.
    after: Option<Vec<u8>>,
    /// Whether the last step by time left some.
    is_behind: bool,
    /// The times in the two indexes up to which the last sweep has collected what was there.
    swept: [u64; 2],
}

impl Default for Sweep {
    fn default() -> Self {
        Sweep { many: MANY, after: None, is_behind: false, swept: [0; 2] }
    }
}

impl Sweep {
    /// Begins to sweep where so many tombstones wait. For tests.
    pub(super) fn set_many(&mut self, many: usize) {
        self.many = many;
    }

    /// The store was read again after a failure: what was removed may be back.
    pub(super) fn begin_again(&mut self) {
        *self = Sweep { many: self.many, ..Sweep::default() };
    }

    /// The last step collected by time, and left some or not.
    pub(super) fn expect(&mut self, is_behind: bool) {
        self.is_behind = is_behind;
    }

    /// Whether a sweep is under way. Begins one if many tombstones wait that no sweep has seen.
    pub(super) fn is_due<S: Snapshot>(
        &mut self,
        view: &View<S>,
        limits: &GcLimits,
    ) -> Result<bool, ReadError> {
        if self.after.is_some() || !self.is_behind {
            return Ok(self.after.is_some());
        }
        let expired = limits.expired_end().filter(|_| limits.collects_expired).unwrap_or(0);
        let indexes = [(Table::Tombstones, limits.stable.0), (Table::ExpiredTombstones, expired)];
        let mut waiting = 0;
        let mut ends = self.swept;
        for (at, (table, end)) in indexes.into_iter().enumerate() {
            let (from, end) = (self.swept[at].to_be_bytes(), end.to_be_bytes());
            let bounds = (Bound::Included(&from[..]), Bound::Excluded(&end[..]));
            let most = self.many;
            view.snapshot.range(table, bounds, Order::Ascending, &mut |_, _| {
                waiting += 1;
                if waiting < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            view.snapshot.range(table, bounds, Order::Descending, &mut |key, _| {
                let last = key.first_chunk().map_or(0, |time| u64::from_be_bytes(*time));
                ends[at] = last.saturating_add(1);
                ControlFlow::Break(())
            })?;
        }
        if waiting >= self.many {
            (self.after, self.swept) = (Some(Vec::new()), ends);
        }
        Ok(self.after.is_some())
    }
}

impl<S: Snapshot> Transaction<'_, S> {
    /// Does a step of the sweep. Returns how many tombstones it collected.
    pub(super) fn sweep(
        &mut self,
        sweep: &mut Sweep,
        limits: &GcLimits,
    ) -> Result<usize, ReadError> {
        let after = sweep.after.take().unwrap_or_default();
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
        sweep.after = last;
        sweep.is_behind = true;
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
