//! The examination of a store, and its repair.

use super::handle::Store;
use crate::{
    commit::{Operation, Outcome},
    error::{ReadError, WriteError},
    view::{Examination, MetDamage, Repaired},
};

/// How many repairs a commit makes, so that other writes wait for a short time.
const AT_ONCE: usize = 256;

impl Store {
    /// Reads every row as of now and checks it: checksums, the dot index both ways, the chunks of large values, bodies
    /// that nothing refers to. Entries are dated in the future if their time is later than `latest_ms`, in Unix
    /// milliseconds. Nothing is changed. It may take long: `progress` gets the number of rows read from time to time.
    /// Blocks; reads and writes continue, and the file grows by what they replace meanwhile.
    ///
    /// # Errors
    /// If the engine can't read. Damaged rows are findings and no errors.
    pub fn examine(
        &self,
        latest_ms: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Examination, ReadError> {
        let view = self.view();
        view.examine(latest_ms, progress)
    }

    /// Makes the repairs of an examination that are still needed, and records its damaged entries, so that a member of a
    /// cluster requests them from the others. Returns what was repaired. Blocks until that is durable.
    ///
    /// If the dot index lacks entries or has damaged rows, its check begins, and continues in the background:
    /// [`StoreView::index_state`](crate::StoreView) says when it has ended.
    ///
    /// # Errors
    /// See [`WriteError`]. Repairs before the error were made.
    pub fn repair(&self, found: &Examination) -> Result<Repaired, WriteError> {
        let mut made = Repaired::default();
        self.view().note_examined(found);
        for met in found.met().chunks(AT_ONCE) {
            self.run(Operation::Owe(met.to_vec()))?;
        }
        for repairs in found.repairs().chunks(AT_ONCE) {
            if let Outcome::Repaired(more) = self.run(Operation::Repair(repairs.to_vec()))? {
                made += more;
            }
        }
        let view = self.view();
        let is_recorded = |met: &&MetDamage| {
            let (namespace, key) = met.entry.split();
            view.owed().get(namespace, key).is_some()
        };
        made.recorded = found.met().iter().filter(is_recorded).count() as u64;
        Ok(made)
    }
}
