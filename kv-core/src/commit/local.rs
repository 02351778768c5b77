//! The bytes that the location keeps for itself: rows that no peer gets.

use super::{chunks::check_body, operation::Outcome, read::unread, transaction::Transaction};
use crate::{
    body::NewBody,
    engine::{Snapshot, Table},
    error::{InvalidWrite, ReadError, WriteError},
    tables::{self, LocalParts, Part},
    types::{FoundState, LocalName, limits::MAX_LOCAL_PARTS},
};

impl<S: Snapshot> Transaction<'_, S> {
    /// Replaces the row of the bytes under `name`.
    pub(super) fn save_local(
        &mut self,
        name: &LocalName,
        parts: Vec<NewBody>,
    ) -> Result<Outcome, WriteError> {
        if parts.len() > MAX_LOCAL_PARTS {
            return Err(InvalidWrite::LocalParts.into());
        }
        parts.iter().try_for_each(check_body)?;
        self.free_local(name)?;
        let place = |part: &NewBody| match self.place_body(part) {
            FoundState::Inline(bytes) => Part::Inline(bytes),
            other => Part::Large(other.large().expect("a body is inline or large")),
        };
        let parts = parts.iter().map(place).collect();
        tables::put::<LocalParts>(&mut self.batch, name, &parts);
        Ok(Outcome::Local)
    }

    /// Removes the data under a name, and marks its large bodies as garbage.
    pub(super) fn drop_local(&mut self, name: &LocalName) -> Result<Outcome, WriteError> {
        if self.free_local(name)? {
            tables::delete::<LocalParts>(&mut self.batch, name);
        }
        Ok(Outcome::Local)
    }

    /// Leaves the bodies under `name` to garbage collection, and returns whether there is a row. If the
    /// row is damaged, its bodies are not known any more.
    fn free_local(&mut self, name: &LocalName) -> Result<bool, WriteError> {
        let parts = match self.local_parts(name) {
            Ok(None) => return Ok(false),
            Ok(Some(parts)) => parts,
            Err(ReadError::Damaged { .. }) => Vec::new(),
            Err(error) => return Err(unread(error)),
        };
        for part in parts {
            if let Part::Large(large) = part {
                self.free(large.body);
            }
        }
        Ok(true)
    }

    /// Reads the row of `name` as the operations so far left it.
    fn local_parts(&self, name: &LocalName) -> Result<Option<Vec<Part>>, ReadError> {
        let is_it = |table: Table, key: &[u8]| table == Table::Local && key == name.as_bytes();
        let changed = self.batch.iter().rev().find(|(table, key, _)| is_it(*table, key));
        match changed {
            Some((_, key, Some(row))) => tables::decode::<LocalParts>(key, row)
                .map(|(_, parts)| Some(parts))
                .map_err(ReadError::damaged(Table::Local)),
            Some((.., None)) => Ok(None),
            None => self.view.local(name),
        }
    }
}
