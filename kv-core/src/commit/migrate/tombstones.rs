//! Format 3: tombstones have a table of their own.

use super::{Slice, Step};
use crate::{
    engine::{Snapshot, Table},
    error::OpenError,
    tables::{self, Apart, EntryKey, ExpiredTombstones, Timed, Tombstones},
};

/// Moves the tombstones of format 2 out of the entries, and writes their dots into their rows in the indexes by time. A row that can't be read stays where it is, and is owed once it is
/// met.
pub(super) const APART: Step = Step { from: 2, slice };

fn slice(snapshot: &dyn Snapshot, after: &[u8]) -> Result<Slice, OpenError> {
    Slice::rewrite(snapshot, Table::Entries, after, &mut |batch, key, row| {
        let Some(Apart { row, index, time, dot }) = tables::set_apart(key, row) else {
            return Ok(());
        };
        let Ok(entry) = EntryKey::read(key) else { return Ok(()) };
        batch.push((Table::Entries, key.to_vec(), None));
        batch.push((Table::Deleted, key.to_vec(), Some(row)));
        let place = Timed { time, entry };
        match index {
            Table::Tombstones => tables::put::<Tombstones>(batch, &place, &dot),
            _ => tables::put::<ExpiredTombstones>(batch, &place, &dot),
        }
        Ok(())
    })
}
