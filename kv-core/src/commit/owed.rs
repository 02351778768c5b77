//! Owed rows: which keys this store can't read although its vector counts them, in a table of their own.
//!
//! A key becomes owed in the commit that meets the damage, or with the vector that counts the write. It stays
//! owed until every member has answered for it ([`Remote::Settled`](super::Remote::Settled)), or until a local
//! write or a drop of the namespace makes the row unimportant.

use std::sync::Arc;

use super::{
    operation::{Applied, Outcome},
    transaction::{Transaction, unread},
};
use crate::{
    engine::{Snapshot, Table},
    error::{ReadError, WriteError},
    tables::{self, EntryKey, OwedRows, decode_entry},
    types::{DamagedKey, Key, NamespaceId, Owed, OwedKeys, OwedReason, limits::MAX_OWED},
    view::{Met, MetDamage},
};

impl<S: Snapshot> Transaction<'_, S> {
    /// Records that the row of a key is owed.
    pub(super) fn owe(&mut self, entry: &EntryKey, owed: Owed) {
        let (namespace, name) = entry.split();
        let is_known = self.state.owed.get(namespace, name).is_some();
        if is_known || self.state.namespaces.is_dropped(namespace) {
            return;
        }
        if self.state.owed.is_full() {
            tracing::error!(
                "{MAX_OWED} rows are damaged and recorded, and there are more: replace the disk, and let this \
                 location join again with an empty data directory"
            );
            return;
        }
        tracing::error!(
            %namespace,
            reason = ?owed.reason,
            "a row is damaged: its key is recorded, and its entry is fetched from the other locations"
        );
        let key = Key::new(name).expect("the key of an entry is valid");
        Arc::make_mut(&mut self.state.owed).insert(namespace, key, owed);
        tables::put::<OwedRows>(&mut self.batch, entry, &owed);
    }

    /// Records that the row of a key that an operation met is damaged.
    pub(super) fn owe_row(&mut self, entry: &EntryKey) {
        let owed = Owed { since_ms: self.time.present.now_ms, reason: OwedReason::Row, dot: None };
        self.owe(entry, owed);
    }

    /// Records that the row of a key is not owed any more.
    pub(super) fn repay(&mut self, entry: &EntryKey) {
        let (namespace, name) = entry.split();
        if self.state.owed.get(namespace, name).is_some() {
            let key = Key::new(name).expect("the key of an entry is valid");
            Arc::make_mut(&mut self.state.owed).remove(namespace, &key);
            tables::delete::<OwedRows>(&mut self.batch, entry);
        }
    }

    /// Forgets the owed keys of a namespace that is dropped.
    pub(super) fn repay_namespace(&mut self, namespace: NamespaceId) {
        let keys: Vec<_> = self.state.owed.from(namespace, b"").cloned().collect();
        keys.iter().for_each(|key| self.repay(&EntryKey::new(namespace, key)));
    }

    /// Records the damage that readers met, unless it has been repaired since.
    pub(super) fn owe_met(&mut self, met: Vec<MetDamage>) -> Result<Outcome, WriteError> {
        for MetDamage { entry, met } in met {
            let found = self.readable(&entry).map_err(unread)?;
            let reason = match (met, found) {
                (_, Readable::Damaged) => OwedReason::Row,
                (Met::Row, _) => continue,
                (Met::Chunk { body, index }, Readable::Large(large)) if large == body => {
                    match self.view.chunk(body, index) {
                        Ok(Some(_)) => continue,
                        Ok(None) | Err(ReadError::Damaged { .. }) => OwedReason::Chunk,
                        Err(error) => return Err(unread(error)),
                    }
                }
                (Met::Chunk { .. }, _) => continue,
            };
            self.owe(&entry, Owed { since_ms: self.time.present.now_ms, reason, dot: None });
        }
        Ok(Outcome::Owed)
    }

    /// Adopts the keys that a source could not read, as far as this store lacks their writes.
    ///
    /// # Errors
    /// If there is no room for them: then their writes must not be counted.
    pub(super) fn adopt_owed(&mut self, damaged: Vec<DamagedKey>) -> Result<(), WriteError> {
        let mut owed = OwedKeys::default();
        for DamagedKey { namespace, key, dot } in damaged {
            let entry = EntryKey::new(namespace, &key);
            let has_it = |found: &crate::types::Found<()>| found.dot == dot;
            let is_here = match self.row(&entry) {
                Ok(found) => found.as_ref().is_some_and(has_it),
                Err(ReadError::Damaged { .. }) => false,
                Err(error) => return Err(unread(error)),
            };
            let is_known = self.state.owed.get(namespace, &key).is_some();
            if !is_here && !is_known && !self.state.vector.covers(dot) {
                let reason = OwedReason::Source;
                owed.insert(
                    namespace,
                    key,
                    Owed { since_ms: self.time.present.now_ms, reason, dot: Some(dot) },
                );
            }
        }
        if self.state.owed.len() + owed.len() > MAX_OWED {
            let reason = "more rows are damaged at the source than a location can keep a list of";
            return Err(WriteError::Failed(reason.into()));
        }
        for (namespace, key, owed) in owed.iter() {
            self.owe(&EntryKey::new(namespace, key), owed);
        }
        Ok(())
    }

    /// Ends that a key is owed, because every member has answered for it. If none has a row of it, a row
    /// that can't be read is removed.
    pub(super) fn settle(
        &mut self,
        namespace: NamespaceId,
        key: &Key,
        is_nothing: bool,
    ) -> Result<Applied, WriteError> {
        let entry = EntryKey::new(namespace, key);
        match self.readable(&entry).map_err(unread)? {
            Readable::Damaged if !is_nothing => return Ok(Applied::Lost),
            Readable::Damaged => {
                self.batch.push((Table::Entries, entry.as_bytes().to_vec(), None));
                self.forget_row(&entry);
            }
            Readable::Nothing | Readable::Short | Readable::Large(_) => {}
        }
        self.repay(&entry);
        Ok(Applied::Known)
    }

    /// Whether the row of a key can be read as a whole, as the operations so far left it. Chunks are not read.
    pub(super) fn readable(&mut self, entry: &EntryKey) -> Result<Readable, ReadError> {
        let head = match self.row(entry) {
            Err(ReadError::Damaged { .. }) => return Ok(Readable::Damaged),
            head => head?,
        };
        let Some(head) = head else { return Ok(Readable::Nothing) };
        if let Some(large) = head.large() {
            return Ok(Readable::Large(large.body));
        }
        if self.has_written(entry) {
            return Ok(Readable::Short);
        }
        let row = self.view.snapshot.get(Table::Entries, entry.as_bytes())?;
        let decoded =
            row.map(|row| decode_entry(entry.as_bytes(), &row, &self.state.origins).map(drop));
        Ok(if decoded.transpose().is_ok() { Readable::Short } else { Readable::Damaged })
    }
}

/// Whether a row can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readable {
    /// There is no row.
    Nothing,
    /// It is damaged.
    Damaged,
    /// It can, and has no chunks.
    Short,
    /// It can, and its value is this body.
    Large(crate::types::BodyId),
}
