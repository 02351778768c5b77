//! A walk over every row, in the order of namespaces and keys, to compare two stores.
//!
//! Unlike a list it shows tombstones, the system namespace and the rows of dropped namespaces, and a damaged
//! row does not end it.

use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

use super::point::View;
use crate::{
    codec::DecodeError,
    engine::Snapshot,
    error::ReadError,
    tables::{self, EntryKey, split_entry},
    types::{Found, NamespaceId},
};

/// The name of a row: its namespace and its key.
pub type RowName<'a> = (NamespaceId, &'a [u8]);

/// A row on a walk.
#[derive(Debug)]
pub struct Scanned<'a> {
    /// Its name; `None` if the bytes there are not a valid name.
    pub name: Option<RowName<'a>>,
    /// The row; [`ReadError::Damaged`] if it can't be decoded.
    pub found: Result<Found, ReadError>,
}

impl<S: Snapshot> View<S> {
    /// Visits every row after one name and up to and including another, until the visitor breaks. `None`
    /// stands for the start or the end of the store. Neither name need exist.
    ///
    /// # Errors
    /// If the engine can't read. The rows before were visited. A damaged row is visited and is not an
    /// error.
    pub fn scan(
        &self,
        after: Option<RowName<'_>>,
        upto: Option<RowName<'_>>,
        visit: &mut dyn FnMut(Scanned<'_>) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let place = |(namespace, key): RowName<'_>| EntryKey::prefix(namespace, key);
        let (after, upto) = (after.map(place), upto.map(place));
        if after.as_ref().zip(upto.as_ref()).is_some_and(|(after, upto)| after >= upto) {
            // An engine may reject bounds that cross.
            return Ok(());
        }
        let lower = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let upper = upto.as_deref().map_or(Bound::Unbounded, Bound::Included);
        tables::visit_rows(&self.snapshot, (lower, upper), &mut |(table, key), row| {
            let name = split_entry(key).ok();
            let found = match name {
                Some(_) => self.decode((table, key), row, Bytes::copy_from_slice),
                None => Err(ReadError::damaged(table)(DecodeError("an invalid name of a row"))),
            };
            visit(Scanned { name, found })
        })?;
        Ok(())
    }
}
