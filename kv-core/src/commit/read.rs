//! What a transaction reads: the rows of the keys that its operations touch, as those so far left them.

use super::{
    operation::{Operation, Remote},
    transaction::Transaction,
};
use crate::{
    engine::{Snapshot, Table},
    error::{ReadError, WriteError},
    tables::{self, EntryKey, decode_head},
    types::Found,
};

impl<S: Snapshot> Transaction<'_, S> {
    /// Reads all rows that the operations touch in one call.
    pub(super) fn prefetch(&mut self, operations: &[Operation]) -> Result<(), ReadError> {
        let mut keys = Vec::new();
        operations.iter().for_each(|operation| touched(operation, &mut keys));
        let without = self.prefetch_from(Table::Entries, keys)?;
        for key in self.prefetch_from(Table::Deleted, without)? {
            self.rows.insert(key, None);
        }
        Ok(())
    }

    /// Reads the rows of one table, and returns the keys that have none there.
    fn prefetch_from(
        &mut self,
        table: Table,
        keys: Vec<EntryKey>,
    ) -> Result<Vec<EntryKey>, ReadError> {
        let asked: Vec<_> = keys.iter().map(|key| (table, key.as_bytes())).collect();
        let rows = self.view.snapshot.get_many(&asked)?;
        let mut without = Vec::new();
        for (key, row) in keys.into_iter().zip(rows) {
            let Some(row) = row else {
                without.push(key);
                continue;
            };
            // A damaged row fails its own operation, not the others: see `row`.
            if let Ok(head) = decode_head((table, key.as_bytes()), &row, &self.state.origins) {
                self.rows.insert(key, Some(head));
            }
        }
        Ok(without)
    }

    /// Reads the row that a local write replaces. A damaged row counts as none, and is owed until the write repairs it.
    /// Its dot stays in the index, because it is not known which it was; a catch-up skips it.
    ///
    /// # Errors
    /// If the row can't be read now, or is damaged and there is no room to record that.
    pub(super) fn replaceable(&mut self, key: &EntryKey) -> Result<Option<Found<()>>, WriteError> {
        match self.row(key) {
            Err(error @ ReadError::Damaged { .. }) if !self.owe_row(key) => Err(unread(error)),
            Err(ReadError::Damaged { .. }) => Ok(None),
            read => read.map_err(unread),
        }
    }

    /// Reads the head of a row as the operations so far left it.
    pub(super) fn row(&mut self, key: &EntryKey) -> Result<Option<Found<()>>, ReadError> {
        if let Some(head) = self.rows.get(key) {
            return Ok(head.clone());
        }
        let Some((table, row)) = tables::row(&self.view.snapshot, key)? else { return Ok(None) };
        self.decode_row((table, key), &row).map(Some)
    }

    /// Decodes the row of a key that the view has in a table.
    pub(super) fn decode_row(
        &mut self,
        (table, key): (Table, &EntryKey),
        row: &[u8],
    ) -> Result<Found<()>, ReadError> {
        decode_head((table, key.as_bytes()), row, &self.state.origins).map_err(|error| {
            self.unread.insert(key.clone());
            ReadError::damaged(table)(error)
        })
    }

    /// Whether an operation of this transaction has written the row of a key.
    pub(super) fn has_written(&self, key: &EntryKey) -> bool {
        let is_it = |(table, at, _): &(Table, Vec<u8>, Option<Vec<u8>>)| {
            matches!(table, Table::Entries | Table::Deleted) && at == key.as_bytes()
        };
        self.batch.iter().any(is_it)
    }

    /// Deletes the row of a key that can't be read, in whichever table it is. Its row in the dot index stays, because it
    /// is not known which it is.
    pub(super) fn delete_unread(&mut self, key: &EntryKey) {
        self.note_override(key, None);
        for table in [Table::Entries, Table::Deleted] {
            self.batch.push((table, key.as_bytes().to_vec(), None));
        }
        self.rows.insert(key.clone(), None);
    }
}

/// Explains why nothing was written where a row can't be read.
pub(super) fn unread(error: ReadError) -> WriteError {
    WriteError::Failed(error.to_string())
}

/// Adds the rows that an operation touches.
fn touched(operation: &Operation, keys: &mut Vec<EntryKey>) {
    match operation {
        Operation::Put { namespace, key, .. }
        | Operation::PutOver { namespace, key, .. }
        | Operation::Delete { namespace, key } => {
            keys.push(EntryKey::new(*namespace, key));
        }
        Operation::Batch(writes) => {
            keys.extend(writes.iter().map(|write| EntryKey::new(write.namespace, &write.key)));
        }
        Operation::Remote(Remote::Next(write) | Remote::Row(write) | Remote::Found(write)) => {
            keys.push(EntryKey::new(write.namespace, &write.key));
        }
        Operation::Remote(Remote::DropRow { namespace, key, .. }) => {
            keys.push(EntryKey::new(*namespace, key));
        }
        Operation::Remote(Remote::Skip(skipped)) => {
            keys.push(EntryKey::new(skipped.namespace, &skipped.key));
        }
        _ => {}
    }
}
