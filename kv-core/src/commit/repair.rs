//! Repairs of what an examination found: rows of the dot index that name no entry, and bodies that nothing refers to.

use super::{operation::Outcome, read::unread, transaction::Transaction};
use crate::{
    engine::Snapshot,
    error::{ReadError, WriteError},
    tables::{self, Dots, IndexedDot, Pending},
    types::BodyId,
    view::{Defect, Repair, Repaired},
};

impl<S: Snapshot> Transaction<'_, S> {
    /// Makes the repairs that are still needed: the store may have changed since the examination.
    pub(super) fn repair(&mut self, repairs: Vec<Repair>) -> Result<Outcome, WriteError> {
        let mut made = Repaired::default();
        for Repair(defect) in repairs {
            match defect {
                Defect::Misindexed(dot) => {
                    made.rows += u64::from(self.unindex(dot).map_err(unread)?);
                }
                Defect::Orphan(body) => {
                    made.bodies += u64::from(self.free_orphan(body).map_err(unread)?);
                }
            }
        }
        Ok(Outcome::Repaired(made))
    }

    /// Leaves a body to garbage collection, unless it is already. Ids of bodies are never used twice, so that nothing can
    /// refer to it by now.
    fn free_orphan(&mut self, body: BodyId) -> Result<bool, ReadError> {
        let is_new = tables::get::<Pending>(&self.view.snapshot, &body)?.is_none();
        if is_new {
            self.free(body);
        }
        Ok(is_new)
    }

    /// Deletes a row of the dot index that names an entry that is not of its dot. Returns whether it still did.
    fn unindex(&mut self, dot: IndexedDot) -> Result<bool, ReadError> {
        let named = match tables::get::<Dots>(&self.view.snapshot, &dot) {
            Err(ReadError::Damaged { .. }) => None,
            named => named?,
        };
        let Some(entry) = named else { return Ok(false) };
        let (namespace, key) = entry.split();
        let is_owed = self.state.owed.get(namespace, key).is_some();
        let is_right = match self.view.names(dot, &entry) {
            Err(ReadError::Damaged { .. }) => true,
            named => named?,
        };
        let is_told = self.view.may_have_ended(&entry)?;
        // An operation of this commit may have moved it: the next examination sees it.
        if is_owed || is_right || is_told || self.has_written(&entry) {
            return Ok(false);
        }
        tables::delete::<Dots>(&mut self.batch, &dot);
        Ok(true)
    }
}
