//! Keys whose rows are owed: this store's vector counts a write of them that can't be read here.

use std::collections::BTreeMap;

use super::{
    id::{NamespaceId, OriginId},
    key::Key,
    limits::MAX_OWED,
    origin::OriginInfo,
    version::Dot,
};

/// Why the row of a key is owed. Where several reasons hold, the first of these counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwedReason {
    /// The row is damaged.
    Row,
    /// A chunk of the value is damaged or missing.
    Chunk,
    /// The location from which this store caught up could not read its row.
    Source,
}

/// How the row of a key came to be owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owed {
    /// When this store noticed, in Unix milliseconds; 0 if that is not known any more.
    pub since_ms: u64,
    /// Why.
    pub reason: OwedReason,
    /// A write that a source could not read, if there is one: always for [`OwedReason::Source`]. It may be later than
    /// anything that was ever here. [`UNPLACED`] if nobody knows which write it is, because the row of the index that said
    /// so is damaged too, here or at the source.
    pub dot: Option<Dot>,
}

/// Stands for a write of which nobody knows the dot. Whoever lacks any write of a source is told the keys of such writes.
pub const UNPLACED: Dot = Dot { origin: OriginId([0; 16]), seq: 0 };

impl Owed {
    /// Joins two reasons why a key is owed. It is owed since the first of them.
    pub(crate) fn and(self, later: Owed) -> Owed {
        let reason = match (self.reason, later.reason) {
            (OwedReason::Row, _) | (_, OwedReason::Row) => OwedReason::Row,
            (OwedReason::Chunk, _) | (_, OwedReason::Chunk) => OwedReason::Chunk,
            (OwedReason::Source, OwedReason::Source) => OwedReason::Source,
        };
        let is_unplaced = self.is_unplaced() || later.is_unplaced();
        let dot = if is_unplaced { Some(UNPLACED) } else { self.dot.or(later.dot) };
        Owed { since_ms: self.since_ms, reason, dot }
    }

    /// Whether no row of the index of writes may name the key.
    pub(crate) fn is_unplaced(self) -> bool {
        self.dot == Some(UNPLACED)
    }

    /// The rest after a later row replaced the damaged one: the writes that a source could not read; none if there are
    /// none.
    pub(crate) fn overwritten(self) -> Option<Owed> {
        self.dot.map(|_| Owed { reason: OwedReason::Source, ..self })
    }
}

/// A key whose row a location can't read, although its vector counts the write.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DamagedKey {
    /// The namespace of the key.
    pub namespace: NamespaceId,
    /// The key.
    pub key: Key,
    /// The write; [`UNPLACED`] if the location does not know which.
    pub dot: Dot,
}

impl DamagedKey {
    /// Whether the location does not know which write of the key it can't read.
    #[must_use]
    pub fn is_unplaced(&self) -> bool {
        self.dot == UNPLACED
    }

    /// Whether the write is the first one of its origin: its opening row.
    #[must_use]
    pub fn is_opening(&self) -> bool {
        let opened = OriginInfo::id_of(&self.key).filter(|_| self.namespace == NamespaceId::SYSTEM);
        self.dot.seq == 1 && opened == Some(self.dot.origin)
    }
}

/// The keys whose rows are owed, in byte order: at most [`MAX_OWED`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwedKeys(BTreeMap<(NamespaceId, Key), Owed>);

impl OwedKeys {
    /// Returns how the row of a key came to be owed; none if it is not.
    #[must_use]
    pub fn get(&self, namespace: NamespaceId, key: &[u8]) -> Option<Owed> {
        // Nearly always there is none, and no key need be made.
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&(namespace, Key::new(key).ok()?)).copied()
    }

    /// Whether no row is owed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns how many rows are owed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no room for another key, so that further damage is not recorded.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.len() >= MAX_OWED
    }

    /// Returns the keys in byte order, by namespace.
    pub fn iter(&self) -> impl Iterator<Item = (NamespaceId, &Key, Owed)> {
        self.0.iter().map(|((namespace, key), owed)| (*namespace, key, *owed))
    }

    /// Returns the keys of a namespace from one on, in byte order.
    pub(crate) fn from(&self, namespace: NamespaceId, key: &[u8]) -> impl Iterator<Item = &Key> {
        let keys = self.0.iter().filter(move |((of, _), _)| *of == namespace);
        let key = key.to_vec();
        keys.map(|((_, key), _)| key).filter(move |at| at.as_bytes() >= &key[..])
    }

    /// Sets how a key is owed.
    pub(crate) fn set(&mut self, namespace: NamespaceId, key: Key, owed: Owed) {
        self.0.insert((namespace, key), owed);
    }

    /// Removes a key.
    pub(crate) fn remove(&mut self, namespace: NamespaceId, key: &Key) {
        self.0.remove(&(namespace, key.clone()));
    }
}
