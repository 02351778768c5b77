//! The closed timestamp of an idle store: it rises if a tombstone waits for that.

use std::ops::{Bound, ControlFlow};

use super::{committer::Committer, transaction::Transaction};
use crate::{
    engine::{Engine, EngineError, Order, Snapshot, Table},
    error::WriteError,
    types::Hlc,
    view::View,
};

impl<E: Engine> Committer<E>
where
    E::Snapshot: Clone,
{
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
