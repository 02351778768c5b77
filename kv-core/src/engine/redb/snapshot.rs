//! Consistent views of a redb file.

use std::{
    ops::{Bound, ControlFlow, RangeBounds},
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use redb::{
    AccessGuard, Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTableMetadata,
};

use super::{
    guard::{failed, failed_read, guard},
    names::{COMMIT_ROW, definition},
};
use crate::engine::{
    api::{CommitNo, EngineError, Order, Snapshot, Visitor},
    table::Table,
    watched::FirstFailure,
};

/// A consistent view. Cheap to clone.
#[derive(Clone)]
pub struct RedbSnapshot(Arc<View>);

/// An open table of bytes.
type OpenTable = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// A read transaction of redb.
struct View {
    /// The disk below the transaction.
    disk: Arc<FirstFailure>,
    /// redb's transaction, which keeps its pages from being reused.
    transaction: ReadTransaction,
    /// Each is opened when it is first read. A view is taken after each commit, and opening all tables
    /// takes longer than a small commit.
    tables: [OnceLock<OpenTable>; Table::SLOTS],
    /// The number of the last commit that it shows.
    commit: CommitNo,
}

pub(super) fn view(
    database: &Database,
    disk: &Arc<FirstFailure>,
) -> Result<RedbSnapshot, EngineError> {
    let transaction = database.begin_read().map_err(failed)?;
    let tables = std::array::from_fn(|_| OnceLock::new());
    let mut view = View { disk: Arc::clone(disk), transaction, tables, commit: 0 };
    if let Some(row) = view.table(Table::Meta)?.get(COMMIT_ROW).map_err(failed_read)? {
        view.commit =
            u64::from_be_bytes(row.value().try_into().map_err(|_length| corrupt_commit())?);
    }
    Ok(RedbSnapshot(Arc::new(view)))
}

impl View {
    /// Opens a table at its first use.
    fn table(&self, table: Table) -> Result<&OpenTable, EngineError> {
        let place = &self.tables[usize::from(table.number())];
        if let Some(open) = place.get() {
            return Ok(open);
        }
        let open = self.transaction.open_table(definition(table)).map_err(failed)?;
        Ok(place.get_or_init(|| open))
    }
}

/// The error of a commit number that can't be read.
fn corrupt_commit() -> EngineError {
    EngineError::Corrupt("the number of the last commit".into())
}

impl RedbSnapshot {
    /// The number of the last commit in it.
    pub(super) fn commit(&self) -> CommitNo {
        self.0.commit
    }

    /// Opens all tables, so that a lost table is noticed when the store is opened.
    pub(super) fn open_all(&self) -> Result<(), EngineError> {
        Table::ALL.into_iter().try_for_each(|table| self.table(table).map(drop))
    }

    fn table(&self, table: Table) -> Result<&OpenTable, EngineError> {
        self.0.table(table)
    }

    /// Calls redb on this view. A database that was given up is closed too, but then a newer view is
    /// available.
    fn read<T>(&self, call: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
        guard(call).map_err(|error| match error {
            EngineError::Closed if self.0.disk.is_shut() => EngineError::Stale,
            error => error,
        })
    }
}

impl Snapshot for RedbSnapshot {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.read(|| {
            let row = self.table(table)?.get(key).map_err(failed_read)?;
            Ok(row.map(|row| Bytes::copy_from_slice(row.value())))
        })
    }

    fn look(
        &self,
        table: Table,
        key: &[u8],
        look: &mut dyn FnMut(&[u8]),
    ) -> Result<(), EngineError> {
        self.read(|| {
            if let Some(row) = self.table(table)?.get(key).map_err(failed_read)? {
                look(row.value());
            }
            Ok(())
        })
    }

    fn rows(&self, table: Table) -> Result<u64, EngineError> {
        self.read(|| self.table(table)?.len().map_err(failed_read))
    }

    fn range(
        &self,
        table: Table,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        order: Order,
        visit: Visitor<'_>,
    ) -> Result<(), EngineError> {
        if is_empty(bounds) {
            return Ok(());
        }
        self.read(|| {
            let mut rows = self.table(table)?.range::<&[u8]>(bounds).map_err(failed_read)?;
            let mut previous: Option<AccessGuard<'_, &'static [u8]>> = None;
            loop {
                let next = match order {
                    Order::Ascending => rows.next(),
                    Order::Descending => rows.next_back(),
                };
                let Some(row) = next else { return Ok(()) };
                let (key, value) = row.map_err(failed_read)?;
                let before = previous.as_ref().map(AccessGuard::value);
                if !is_in_order(bounds, order, before, key.value()) {
                    return Err(EngineError::Corrupt(format!("rows out of order in {table:?}")));
                }
                if let ControlFlow::Break(()) = visit(key.value(), value.value()) {
                    return Ok(());
                }
                previous = Some(key);
            }
        })
    }
}

/// Whether a key may be the next of a range. Over a damaged tree redb visits keys twice or outside the
/// range, and a caller that continues after the last key of a page would never finish.
fn is_in_order(
    (lower, upper): (Bound<&[u8]>, Bound<&[u8]>),
    order: Order,
    previous: Option<&[u8]>,
    key: &[u8],
) -> bool {
    let rest = match (order, previous) {
        (_, None) => (lower, upper),
        (Order::Ascending, Some(previous)) => (Bound::Excluded(previous), upper),
        (Order::Descending, Some(previous)) => (lower, Bound::Excluded(previous)),
    };
    RangeBounds::<[u8]>::contains(&rest, key)
}

/// Whether no key can lie between the bounds; redb would panic on some of these.
fn is_empty((lower, upper): (Bound<&[u8]>, Bound<&[u8]>)) -> bool {
    match (lower, upper) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(lower), Bound::Included(upper)) => lower > upper,
        (
            Bound::Included(lower) | Bound::Excluded(lower),
            Bound::Included(upper) | Bound::Excluded(upper),
        ) => lower >= upper,
    }
}
