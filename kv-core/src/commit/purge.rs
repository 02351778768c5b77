//! Dropped namespaces: a walk that removes their dead rows, in bounded steps.

use std::ops::{Bound, ControlFlow};

use super::transaction::Transaction;
use crate::{
    engine::{Snapshot, Table, after_prefix},
    error::ReadError,
    tables::{self, EntryKey, Purge},
    types::{NamespaceId, Version},
};

/// A step of the walk over a dropped namespace.
#[derive(Default)]
pub(super) struct PurgeStep {
    /// Dead rows that were removed.
    pub(super) removed: usize,
    /// Whether the namespace was created again: one at most.
    pub(super) kept: usize,
    /// Whether the row that names the namespace was damaged instead.
    pub(super) is_damaged: bool,
    /// Whether there may be more to do at once.
    pub(super) more: bool,
}

/// The result for a row when garbage collection walks over a dropped namespace.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is dead, and was removed.
    Removed,
    /// It lives, or is gone already.
    Passed,
    /// It lives, and its namespace does not exist.
    Keeps,
}

impl<S: Snapshot> Transaction<'_, S> {
    /// Walks over up to `limit` rows of one dropped namespace and removes the dead ones. If a row is later than the drop
    /// and the namespace does not exist, creates it again. Only a namespace that is registered as dropped is purged.
    pub(super) fn purge(&mut self, limit: usize) -> Result<PurgeStep, ReadError> {
        let mut step = PurgeStep::default();
        let Some((purge_key, id)) = tables::first::<Purge>(&self.view.snapshot, &[])? else {
            return Ok(step);
        };
        let dropped = id.ok().and_then(|id| Some((id, self.state.namespaces.dropped_at(id)?)));
        let Some((id, dropped)) = dropped else {
            let namespace = &purge_key;
            tracing::error!(
                ?namespace,
                "a row of the purge table names a namespace that was not dropped"
            );
            self.batch.push((Table::Purge, purge_key, None));
            return Ok(PurgeStep { is_damaged: true, ..step });
        };
        // If the row is damaged, the walk starts at the beginning.
        let upto = match tables::get::<Purge>(&self.view.snapshot, &id) {
            Ok(upto) => upto.unwrap_or_default(),
            Err(ReadError::Damaged { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        let keys = self.keys_after(id, &upto, limit)?;
        let mut passed = &upto[..];
        for key in &keys {
            match self.purge_row(key, (id, dropped))? {
                Fate::Removed => step.removed += 1,
                Fate::Passed => {}
                Fate::Keeps => match self.keep_namespace(id) {
                    Ok(true) => step.kept += 1,
                    Ok(false) => break,
                    Err(error) => {
                        tracing::warn!(%id, %error, "a namespace with entries later than its drop is not created");
                        break;
                    }
                },
            }
            passed = EntryKey::strip_namespace(key);
        }
        let is_stopped = keys.last().is_some_and(|key| EntryKey::strip_namespace(key) != passed);
        step.more = keys.len() == limit && !is_stopped;
        if keys.len() < limit && !is_stopped {
            if self.state.namespaces.get(id).is_none() {
                self.repay_namespace(id);
            }
            tables::delete::<Purge>(&mut self.batch, &id);
        } else if passed != upto {
            tables::put::<Purge>(&mut self.batch, &id, &passed.to_vec());
        }
        Ok(step)
    }

    /// Reads up to `limit` keys of rows of a namespace after a key in it; from the first one after an empty key.
    fn keys_after(
        &self,
        id: NamespaceId,
        after: &[u8],
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, ReadError> {
        let (lower, end) = (EntryKey::prefix(id, after), after_prefix(&EntryKey::prefix(id, b"")));
        let upper = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut keys = Vec::new();
        let bounds = (Bound::Excluded(&lower[..]), upper);
        tables::visit_rows(&self.view.snapshot, bounds, &mut |(_, key), _| {
            keys.push(key.to_vec());
            if keys.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(keys)
    }

    /// Removes a row of a namespace with its indexes, if it is not later than the drop. Whether a damaged row is later
    /// is not known; it stays in a namespace that exists. In another only the row itself can be deleted, because
    /// nothing else names its indexes.
    fn purge_row(
        &mut self,
        key: &[u8],
        (id, dropped): (NamespaceId, Version),
    ) -> Result<Fate, ReadError> {
        let damaged = ReadError::damaged(Table::Entries);
        let read = EntryKey::read(key)
            .map_err(damaged)
            .and_then(|entry| Ok(self.row(&entry)?.map(|head| (entry, head))));
        let exists = self.state.namespaces.get(id).is_some();
        match read {
            Ok(Some((entry, head))) if head.version <= dropped => self.remove(entry, &head),
            Ok(Some((_, head))) => {
                let is_known = self.state.namespaces.known(id).is_some();
                let keeps = !exists && is_known && head.is_visible(self.time.present.now_ms);
                return Ok(if keeps { Fate::Keeps } else { Fate::Passed });
            }
            Ok(None) => return Ok(Fate::Passed),
            Err(ReadError::Damaged { .. }) => {
                // It may be later than the drop: then another location has it.
                let is_recorded = EntryKey::read(key).is_ok_and(|entry| self.owe_row(&entry));
                // Others would take the key for one that was deleted here, if nothing named it any more.
                if exists || (!is_recorded && self.has_others()) {
                    return Ok(Fate::Passed);
                }
                for table in [Table::Entries, Table::Deleted] {
                    self.batch.push((table, key.to_vec(), None));
                }
            }
            Err(error) => return Err(error),
        }
        Ok(Fate::Removed)
    }
}
