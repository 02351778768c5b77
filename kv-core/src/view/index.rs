//! Walks over the dot index, some of whose rows may be damaged.
//!
//! The index row of a write says which key it wrote, and so what a catch-up must send. A walk that meets a damaged row
//! ends with an error, and the index is checked against the entries (`commit/index`). Neither the key nor the place of
//! a damaged row says which write it was of: the check may put rows back at places that a walk has passed. So a walk
//! must begin again unless [`View::index_number`] is the same at its beginning and at its end.
//!
//! A flipped bit in a key may put it out of the order of the table. A search then ends beside that row instead of at
//! its place: so the row before the place where a walk begins is read too, and a walk ends only at a row that can be
//! read. The engine fails if it meets rows that are out of order.

use std::ops::{Bound, ControlFlow};

use super::{
    point::View,
    scan::RowName,
    unindexed::{IndexState, unindexed},
};
use crate::{
    engine::{EngineError, Order, Snapshot, Table},
    error::ReadError,
    tables::{self, Dots, EntryKey, IndexedDot, Layout as _},
    types::Found,
};

/// A row of the index of one origin: its sequence number, and the entry that it names.
pub(super) type IndexRow = (u64, EntryKey);

/// A row of the index; none if it is damaged.
type Placed = Option<(IndexedDot, EntryKey)>;

impl IndexedDot {
    /// The order of rows in the index.
    fn place(&self) -> (u32, u64) {
        (self.origin, self.seq)
    }
}

impl<S: Snapshot> View<S> {
    /// Returns a number of the state of the index: two walks of one process with the same number show the same index,
    /// except for the writes between them. None while the index must be checked.
    #[must_use]
    pub fn index_number(&self) -> Option<u64> {
        let number = self.damage.index.number();
        (number == self.index && number.is_multiple_of(2)).then_some(number)
    }

    /// Returns the state of the index as of now, also if this view is older.
    #[must_use]
    pub fn index_state(&self) -> IndexState {
        self.damage.index.state()
    }

    /// Notes that a row of the index is damaged or missing, so that the index is checked.
    pub(crate) fn note_index(&self) {
        self.note_index_as_of(self.index);
    }

    /// The same for a row of a view with this number.
    pub(crate) fn note_index_as_of(&self, number: u64) {
        self.damage.index.note(number);
    }

    /// Reads up to `limit` rows of one origin in the index, after `seen`, in ascending order.
    ///
    /// # Errors
    /// If a row is damaged or out of order, or the store can't be read.
    pub(super) fn indexed_after(
        &self,
        origin: u32,
        seen: u64,
        limit: usize,
    ) -> Result<Vec<IndexRow>, ReadError> {
        let start = IndexedDot { origin, seq: seen };
        let (mut rows, mut is_damaged) = (Vec::new(), false);
        self.visit_index(&start, Order::Descending, &mut |row| {
            is_damaged = row.is_none();
            ControlFlow::Break(())
        })?;
        self.visit_index(&start, Order::Ascending, &mut |row| {
            is_damaged |= row.is_none();
            let Some((dot, entry)) = row.filter(|_| !is_damaged) else {
                return ControlFlow::Break(());
            };
            if dot.place() > start.place() && dot.origin == origin {
                rows.push((dot.seq, entry));
            }
            until(dot.origin == origin && rows.len() < limit)
        })?;
        if is_damaged {
            self.note_index();
            return Err(unindexed());
        }
        Ok(rows)
    }

    /// Reads the entry that the index names under a dot; none if there is no such row.
    ///
    /// # Errors
    /// If the row is damaged, or the store can't be read.
    pub(crate) fn indexed(&self, dot: &IndexedDot) -> Result<Option<EntryKey>, ReadError> {
        if let Some(entry) = tables::get::<Dots>(&self.snapshot, dot)? {
            return Ok(Some(entry));
        }
        // The search may have ended beside a row whose key is out of order.
        let mut found = None;
        for order in [Order::Descending, Order::Ascending] {
            self.visit_index(dot, order, &mut |row| {
                let Some((of, entry)) = row else { return ControlFlow::Continue(()) };
                let is_beyond = match order {
                    Order::Descending => of.place() < dot.place(),
                    Order::Ascending => of.place() > dot.place(),
                };
                let is_it = of.place() == dot.place();
                found = is_it.then_some(entry).or(found.take());
                until(!is_it && !is_beyond)
            })?;
        }
        Ok(found)
    }

    /// Visits the rows of the index from a dot on, in the order of their places.
    fn visit_index(
        &self,
        from: &IndexedDot,
        order: Order,
        each: &mut dyn FnMut(Placed) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        let from = Dots::key(from);
        let bounds = match order {
            Order::Ascending => (Bound::Included(&from[..]), Bound::Unbounded),
            Order::Descending => (Bound::Unbounded, Bound::Included(&from[..])),
        };
        self.snapshot.range(Table::Dots, bounds, order, &mut |key, row| {
            each(tables::decode::<Dots>(key, row).ok())
        })
    }

    /// Checks that the index names an entry under all of its dots, and notes it if not.
    ///
    /// # Errors
    /// If the engine can't read.
    pub fn check_indexed(
        &self,
        (namespace, key): RowName<'_>,
        found: &Found,
    ) -> Result<(), ReadError> {
        let Some(entry) = EntryKey::of(namespace, key) else { return Ok(()) };
        for dot in found.dots() {
            let Some(origin) = self.origins.number(dot.origin) else { continue };
            match self.indexed(&IndexedDot { origin, seq: dot.seq }) {
                Ok(Some(named)) if named == entry => {}
                Ok(_) | Err(ReadError::Damaged { .. }) => self.note_index(),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Continues while a condition holds.
fn until(goes_on: bool) -> ControlFlow<()> {
    if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}
