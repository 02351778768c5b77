//! What the location keeps for itself: rows that no peer gets.

use bytes::Bytes;

use super::transaction::{NewRow, Transaction, check_upload, unread};
use crate::{
    body::NewBody,
    engine::Snapshot,
    entry::Attributes,
    error::WriteError,
    local::{self, Part, check_name, check_parts},
    operation::Outcome,
    record::Kind,
    schema::Table,
};

impl<S: Snapshot> Transaction<'_, S> {
    /// Puts a row in the place of what is kept under `name`.
    pub(super) fn save_local(
        &mut self,
        name: &str,
        parts: &[NewBody],
    ) -> Result<Outcome, WriteError> {
        check_name(name)?;
        check_parts(parts)?;
        parts.iter().try_for_each(check_upload)?;
        self.free_local(name)?;
        let attributes = Attributes::default();
        let parts: Vec<Part> = parts
            .iter()
            .map(|part| match self.place_body(&NewRow::Value(part, &attributes)) {
                (Kind::Chunked(large), ..) => Part::Large(large),
                (_, bytes, _) => Part::Inline(bytes),
            })
            .collect();
        let row = local::encode(name.as_bytes(), &parts);
        self.batch.push((Table::Local, name.into(), Some(row)));
        Ok(Outcome::Local)
    }

    pub(super) fn drop_local(&mut self, name: &str) -> Result<Outcome, WriteError> {
        check_name(name)?;
        if self.free_local(name)? {
            self.batch.push((Table::Local, name.into(), None));
        }
        Ok(Outcome::Local)
    }

    /// Leaves the bodies of what is kept under `name` to the sweep; whether there is anything. If
    /// the row can't be read, nobody knows its bodies any more.
    fn free_local(&mut self, name: &str) -> Result<bool, WriteError> {
        let Some(row) = self.local_row(name)? else { return Ok(false) };
        for part in local::decode(name.as_bytes(), &row).unwrap_or_default() {
            if let Part::Large(large) = part {
                self.free(large.body);
            }
        }
        Ok(true)
    }

    /// The row of `name` as the operations so far have left it.
    fn local_row(&self, name: &str) -> Result<Option<Bytes>, WriteError> {
        let is_it = |table: Table, key: &[u8]| table == Table::Local && key == name.as_bytes();
        let changed = self.batch.iter().rev().find(|(table, key, _)| is_it(*table, key));
        if let Some((.., row)) = changed {
            return Ok(row.clone().map(Bytes::from));
        }
        let row = self.view.snapshot.get(Table::Local, name.as_bytes());
        row.map_err(|error| unread(error.into()))
    }
}
