//! Format 3: tombstones have a table of their own.

use super::{Slice, Step};
use crate::{
    engine::{Snapshot, Table},
    error::OpenError,
    tables,
};

/// Moves the tombstones of format 2 out of the entries. A row that can't be read stays where it is, and is owed once it is
/// met.
pub(super) const APART: Step = Step { from: 2, slice };

fn slice(snapshot: &dyn Snapshot, after: &[u8]) -> Result<Slice, OpenError> {
    Slice::rewrite(snapshot, Table::Entries, after, &mut |batch, key, row| {
        if let Some(tombstone) = tables::set_apart(key, row) {
            batch.push((Table::Entries, key.to_vec(), None));
            batch.push((Table::Deleted, key.to_vec(), Some(tombstone)));
        }
        Ok(())
    })
}
