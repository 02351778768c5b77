//! The writes that a walk passed over, because their rows in the dot index could not be read.

use kv_core::{DamagedKey, ReadError, engine::Snapshot};

use super::{Durable, Wanted, row_of};
use crate::{Row, Unread};

impl<S: Snapshot> Durable<S> {
    /// Adds the writes that walks have passed over and that the receiver lacks to the last batch of a round, so that none
    /// ends without them. Their number is bounded. If one is not in the index yet, the batch fails: the receiver requests
    /// it again some seconds later, or takes another source.
    pub(super) fn passed_over(
        &self,
        wanted: &Wanted,
        (rows, damaged): (&mut Vec<Row>, &mut Vec<DamagedKey>),
    ) -> Result<(), Unread> {
        let read = self.view.passed_over(&wanted.since).map_err(|_error| Unread::Failed)?;
        let read = self.check_gone(wanted, read)?;
        damaged.extend(read.damaged);
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
        Ok(())
    }
}
