//! The writes that a walk passed over, because their rows in the dot index could not be read.

use kv_core::{DamagedKey, ReadError, engine::Snapshot};

use super::{Durable, Wanted, row_of};
use crate::{Row, Unread};

impl<S: Snapshot> Durable<S> {
    /// Reads the writes that walks have passed over and that the receiver lacks, for the last batch of a round, so that
    /// none ends without them. Their number is bounded.
    ///
    /// # Errors
    /// If one is not in the index yet: the receiver requests the batch again some seconds later, or takes another source.
    pub(super) fn passed_over(
        &self,
        wanted: &Wanted,
    ) -> Result<(Vec<Row>, Vec<DamagedKey>), Unread> {
        let read = self.view.passed_over(&wanted.since).map_err(|_error| Unread::Failed)?;
        let read = self.check_gone(wanted, read)?;
        let (mut rows, mut damaged) = (Vec::new(), read.damaged);
        for change in read.changes {
            let (namespace, key, dot) = (change.namespace, change.key.clone(), change.found.dot);
            match row_of(&self.view, change) {
                Ok(row) => rows.push(row),
                Err(ReadError::Damaged { .. } | ReadError::DamagedBody(_)) => {
                    damaged.push(DamagedKey { namespace, key, dot });
                }
                Err(_) => return Err(Unread::Failed),
            }
        }
        Ok((rows, damaged))
    }
}
