//! What readers note: keys whose rows they could not read, until the writer records them.

use std::{
    collections::BTreeMap,
    mem,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{point::View, unindexed::IndexDamage};
use crate::{
    engine::Snapshot,
    tables::EntryKey,
    types::{BodyId, NamespaceId, OwedKeys, OwedReason},
};

/// The most keys that wait. What is left out is met again by the next reader.
const MAX_MET: usize = 1024;

/// The damage that a reader met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Met {
    /// The row can't be read.
    Row,
    /// This chunk of the value is damaged or missing.
    Chunk {
        /// The body.
        body: BodyId,
        /// The place of the chunk in it.
        index: u32,
    },
}

/// A key with damage that a reader met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetDamage {
    /// The key's row.
    pub(crate) entry: EntryKey,
    /// The damage.
    pub(crate) met: Met,
}

/// The damage that readers met and that is not recorded yet. All views of a store share it.
#[derive(Debug, Default)]
pub(crate) struct Damage {
    /// Whether there is any: readers of this flag take no lock.
    has_some: AtomicBool,
    /// By key.
    met: Mutex<BTreeMap<EntryKey, Met>>,
    /// Rows of the dot index.
    pub(crate) index: IndexDamage,
}

impl Damage {
    /// Notes that a key can't be read.
    pub(crate) fn note(&self, entry: EntryKey, met: Met) {
        let mut all = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < MAX_MET {
            all.entry(entry).or_insert(met);
            self.has_some.store(true, Ordering::Release);
        }
    }

    /// Whether something waits to be recorded.
    pub(crate) fn has_some(&self) -> bool {
        self.has_some.load(Ordering::Acquire)
    }

    /// Takes what waits.
    pub(crate) fn take(&self) -> Vec<MetDamage> {
        let mut all = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        self.has_some.store(false, Ordering::Release);
        let met = mem::take(&mut *all).into_iter();
        met.map(|(entry, met)| MetDamage { entry, met }).collect()
    }
}

impl<S: Snapshot> View<S> {
    /// The keys whose rows are owed: damaged here, or at the source from which this store caught up.
    #[must_use]
    pub fn owed(&self) -> &OwedKeys {
        &self.owed
    }

    /// Notes that a row can't be read, so that the writer records its key.
    pub fn note_damaged_row(&self, namespace: NamespaceId, key: &[u8]) {
        self.note(namespace, key, Met::Row);
    }

    /// Notes that a chunk of a value can't be read, so that the writer records its key.
    pub fn note_damaged_chunk(&self, namespace: NamespaceId, key: &[u8], body: BodyId, index: u32) {
        self.note(namespace, key, Met::Chunk { body, index });
    }

    /// Notes damage, unless it is recorded.
    fn note(&self, namespace: NamespaceId, key: &[u8], met: Met) {
        let is_recorded = match self.owed.get(namespace, key).map(|owed| owed.reason) {
            None | Some(OwedReason::Source) => false,
            Some(OwedReason::Chunk) => matches!(met, Met::Chunk { .. }),
            Some(OwedReason::Row) => true,
        };
        if !is_recorded && let Some(entry) = EntryKey::of(namespace, key) {
            self.damage.note(entry, met);
        }
    }
}
