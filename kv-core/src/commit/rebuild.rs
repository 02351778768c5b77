//! What a rebuild removes: rows that its source does not have, and what the source does not count.

use super::{applied::Applied, read::unread, transaction::Transaction};
use crate::{
    engine::Snapshot,
    error::{ReadError, WriteError},
    tables::EntryKey,
    types::{Dot, Key, NamespaceId, OriginId, VersionVector},
};

impl<S: Snapshot> Transaction<'_, S> {
    /// Removes a row that the source of a rebuild does not have. It raises no collected vector: that of the source
    /// counts the tombstones that deleted it, and a write that no other location has received has none. Entries of the
    /// system namespace are never deleted.
    pub(super) fn drop_row(
        &mut self,
        namespace: NamespaceId,
        key: &Key,
        dot: Dot,
    ) -> Result<Applied, WriteError> {
        if !self.state.is_rebuilding || namespace == NamespaceId::SYSTEM {
            return Ok(Applied::Refused("a row that is never dropped"));
        }
        let key = EntryKey::new(namespace, key);
        let head = match self.row(&key) {
            Err(ReadError::Damaged { .. }) => {
                // It is not known which write it is. The other members are queried once the rebuild has ended.
                self.owe_row(&key);
                None
            }
            read => read.map_err(unread)?,
        };
        let Some(head) = head.filter(|head| head.dot == dot) else { return Ok(Applied::Lost) };
        self.remove(key, &head);
        Ok(Applied::Removed)
    }

    /// Lowers the vectors to what the source of a rebuild counts. A process whose origins a later one has closed keeps
    /// them all the same: it gives no number again.
    pub(super) fn uncount(&mut self, source: &VersionVector) -> Applied {
        if !self.state.is_rebuilding {
            return Applied::Refused("writes that are always counted");
        }
        let is_beyond = |dot: &Dot| !source.covers(*dot);
        let beyond: Vec<_> = self.state.vector.iter().filter(is_beyond).collect();
        let own = self.state.writes_under().into_iter().flatten().collect::<Vec<_>>();
        if beyond.iter().any(|dot| own.contains(&dot.origin)) {
            self.state.own = None;
        }
        for Dot { origin, .. } in beyond {
            // The opening row of an origin is counted as soon as it is here.
            let counted = source.get(origin).max(1);
            self.state.vector.lower(origin, counted);
            self.state.collected.lower(origin, counted);
        }
        Applied::Uncounted
    }

    /// Lowers the vector to the opening row of an origin, if more is counted than its process has made, and the collected
    /// vector to what it has made: these tombstones were there. Of a closed origin nobody knows any more what was made.
    pub(super) fn disown(&mut self, origin: OriginId, made: u64) -> Applied {
        let is_own = self.state.writes_under().is_some_and(|own| own.contains(&origin));
        let is_closed = self.state.registry.is_closed(origin);
        if is_own || is_closed || self.state.vector.get(origin) <= made {
            return Applied::Known;
        }
        self.state.vector.lower(origin, 1);
        self.state.collected.lower(origin, made.max(1));
        Applied::Uncounted
    }
}
