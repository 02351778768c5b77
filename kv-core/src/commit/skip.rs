//! Counting the writes of peers whose rows do not come, because a later write of their keys is here.

use super::{
    applied::Applied, operation::SkippedWrite, read::unread, remote::FOREIGN,
    transaction::Transaction,
};
use crate::{
    engine::Snapshot,
    error::{ReadError, WriteError},
    tables::EntryKey,
    types::{NamespaceId, Version},
};

impl<S: Snapshot> Transaction<'_, S> {
    /// Counts the next write of an origin without its row. The key must hold that write or a later one, or the write
    /// must not be later than the drop of its namespace. Otherwise the row is missing, which is reported as a gap, so
    /// that the replicator gets it from a session.
    ///
    /// The first write of an origin is its opening row, and a row of the system namespace is joined of the fields of
    /// several writes: neither is ever replaced by a later write.
    pub(super) fn skip(&mut self, skipped: SkippedWrite) -> Result<Applied, WriteError> {
        let SkippedWrite { dot, hlc, namespace, key } = skipped;
        if self.state.vector.covers(dot) {
            return Ok(Applied::Known);
        }
        if let Err(missing) = self.state.vector.validate(dot) {
            return Ok(Applied::Gap { missing });
        }
        if self.state.own.iter().flatten().any(|own| *own == dot.origin) {
            return Ok(Applied::Refused(FOREIGN));
        }
        if dot.seq == 1 || namespace == NamespaceId::SYSTEM {
            return Ok(Applied::Refused("a joined row that is counted without its fields"));
        }
        let version = Version { hlc, origin: dot.origin };
        let is_dead = self.state.namespaces.is_dead(namespace, version);
        if !is_dead {
            let current = match self.row(&EntryKey::new(namespace, &key)) {
                Err(ReadError::Damaged { .. }) => None,
                read => read.map_err(unread)?,
            };
            match current {
                Some(head) if head.version == version && head.dot != dot => {
                    return Ok(Applied::Conflict);
                }
                Some(head) if head.version >= version => {}
                _ => return Ok(Applied::Gap { missing: dot.seq }),
            }
        }
        self.state.vector.raise(dot.origin, dot.seq);
        Ok(if is_dead { Applied::Dropped } else { Applied::Lost })
    }
}
