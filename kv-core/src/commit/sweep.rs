//! The sweep: where many tombstones wait to be collected, they are collected in the order of their keys.
//!
//! Keys that were deleted one after the other lie far apart in the table of tombstones: collected by their times, almost
//! each of them rewrites a page, and the disk is busy for a long time. A sweep walks over the table by key,
//! and removes at once what may go from a page. The rows in the indexes stay meanwhile; they are removed by their times
//! afterwards, when many of them lie on a page too. A row of the dot index that is left so names nothing, and the
//! collected vector counts its write.

use std::ops::{Bound, ControlFlow};

use crate::{
    engine::{Order, Snapshot, Table},
    error::ReadError,
    types::Hlc,
    view::View,
};

/// How many waiting tombstones begin a sweep.
const MANY: usize = 10_000;

/// How far the sweep is.
#[derive(Clone, Debug)]
pub(super) struct Sweep {
    /// How many waiting tombstones begin one.
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
    /// Sets how many waiting tombstones begin a sweep. For tests.
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

    /// Takes the key behind which the next step begins; empty at the beginning.
    pub(super) fn take_place(&mut self) -> Vec<u8> {
        self.after.take().unwrap_or_default()
    }

    /// A step has ended at a key, or at the end of the table.
    pub(super) fn stopped_at(&mut self, key: Option<Vec<u8>>) {
        self.after = key;
        self.is_behind = true;
    }

    /// Whether a sweep is under way. Begins one if many tombstones wait that no sweep has seen: of deletions before one
    /// time, or with an expiry before another one.
    pub(super) fn is_due<S: Snapshot>(
        &mut self,
        view: &View<S>,
        stable: Hlc,
        expired: u64,
    ) -> Result<bool, ReadError> {
        if self.after.is_some() || !self.is_behind {
            return Ok(self.after.is_some());
        }
        let indexes = [(Table::Tombstones, stable.0), (Table::ExpiredTombstones, expired)];
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
