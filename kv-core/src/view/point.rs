//! The view, and reads of single keys.

use std::{
    ops::{Bound, ControlFlow},
    sync::Arc,
};

use bytes::Bytes;

use super::damage::Damage;
use crate::{
    codec::DecodeError,
    engine::{EngineError, Order, Snapshot, Table},
    error::ReadError,
    tables::{self, EntryKey, LocalParts, Origins, Part, Place, decode_entry, split_entry},
    types::{
        AccessTokens, BodyId, Dot, FeaturesInUse, Found, Hlc, LimitOverrides, LocalName, MemberId,
        Members, NamespaceId, Namespaces, OriginId, OriginRegistry, OwedKeys, VersionVector,
    },
};

/// A store as of one commit.
#[derive(Clone)]
pub struct View<S> {
    /// The rows.
    pub(crate) snapshot: S,
    /// The local numbers of origins.
    pub(crate) origins: Arc<Origins>,
    /// All namespaces, dropped ones included.
    pub(crate) namespaces: Arc<Namespaces>,
    /// All members, removed ones included.
    pub(crate) members: Arc<Members>,
    /// All access tokens, revoked ones included.
    pub(crate) tokens: Arc<AccessTokens>,
    /// The overrides of rate limits.
    pub(crate) overrides: Arc<LimitOverrides>,
    /// The features in use.
    pub(crate) features: Arc<FeaturesInUse>,
    /// The origins whose opening rows are here.
    pub(crate) registry: Arc<OriginRegistry>,
    /// The location that the store belongs to.
    pub(crate) member: MemberId,
    /// The origins that this process writes under.
    pub(crate) own: Option<[OriginId; 2]>,
    /// Whether the store rebuilds.
    pub(crate) is_rebuilding: bool,
    /// The writes that the snapshot counts.
    pub(crate) vector: VersionVector,
    /// For each origin, the highest sequence number of a dropped tombstone.
    pub(crate) collected: VersionVector,
    pub(crate) collected_upto: Hlc,
    /// The closed timestamp of the store.
    pub(crate) closed: Hlc,
    /// The keys whose rows are owed.
    pub(crate) owed: Arc<OwedKeys>,
    /// Where readers note damage that they meet.
    pub(crate) damage: Arc<Damage>,
    /// The number of the state of the dot index, before the snapshot was taken or since.
    pub(crate) index: u64,
}

impl<S: Snapshot> View<S> {
    /// The namespaces.
    #[must_use]
    pub fn namespaces(&self) -> &Arc<Namespaces> {
        &self.namespaces
    }

    /// The members of the cluster.
    #[must_use]
    pub fn members(&self) -> &Arc<Members> {
        &self.members
    }

    /// The access tokens, revoked and expired ones included.
    #[must_use]
    pub fn tokens(&self) -> &Arc<AccessTokens> {
        &self.tokens
    }

    /// The overrides of rate limits, expired ones included.
    #[must_use]
    pub fn overrides(&self) -> &Arc<LimitOverrides> {
        &self.overrides
    }

    /// The features that every member has, or had when they came into use.
    #[must_use]
    pub fn features(&self) -> &Arc<FeaturesInUse> {
        &self.features
    }

    /// The origins that the store knows.
    #[must_use]
    pub fn registry(&self) -> &Arc<OriginRegistry> {
        &self.registry
    }

    /// The location that the store belongs to.
    #[must_use]
    pub fn member(&self) -> MemberId {
        self.member
    }

    /// The origins that this process writes under: for entries with inline values, and for entries with large
    /// bodies. None before its first write, and none after a disk failure until the next one.
    #[must_use]
    pub fn own_origins(&self) -> Option<[OriginId; 2]> {
        self.own
    }

    /// Whether the store rebuilds: it lacks deletions, or everything, until a session brought the rest.
    #[must_use]
    pub fn is_rebuilding(&self) -> bool {
        self.is_rebuilding
    }

    /// Whether another process of this location, which started later, has closed the origins of this one. It
    /// then takes no more writes.
    #[must_use]
    pub fn is_superseded(&self) -> bool {
        let own = self.own.iter().flatten();
        own.into_iter().any(|origin| self.registry.is_closed(*origin))
    }

    /// The writes of each origin that this view holds.
    #[must_use]
    pub fn vector(&self) -> &VersionVector {
        &self.vector
    }

    /// The last collected tombstone of each origin.
    #[must_use]
    pub fn collected(&self) -> &VersionVector {
        &self.collected
    }

    /// Whether a tombstone that was collected here may have deleted a write of a peer: it is not counted here, and not
    /// later than the last of them. Entries of the system namespace are never deleted.
    #[must_use]
    pub fn is_late(&self, namespace: NamespaceId, dot: Dot, at: Hlc) -> bool {
        namespace != NamespaceId::SYSTEM && at <= self.collected_upto && !self.vector.covers(dot)
    }

    /// Returns a time that no collected tombstone is later than: here, or at the sources of this store's sessions. A row
    /// of a peer that is not later may have been deleted, unless the peer counts all of [`View::collected`]. Never
    /// later than [`View::closed_timestamp`].
    #[must_use]
    pub fn collected_upto(&self) -> Hlc {
        self.collected_upto
    }

    /// Whether the store has met origins of other locations: rows of them are here, or were.
    #[must_use]
    pub fn has_received(&self) -> bool {
        self.origins.len() > self.registry.count_of(self.member)
    }

    /// The closed timestamp: each write of this store that the view does not count is later. The dropped
    /// tombstones are not later.
    #[must_use]
    pub fn closed_timestamp(&self) -> Hlc {
        self.closed
    }

    /// Reads the parts of the bytes that this location keeps under a name.
    pub(crate) fn local(&self, name: &LocalName) -> Result<Option<Vec<Part>>, ReadError> {
        tables::get::<LocalParts>(&self.snapshot, name)
    }

    /// Rejects reads of a namespace that does not exist or was dropped.
    pub(crate) fn check_namespace(&self, namespace: NamespaceId) -> Result<(), ReadError> {
        match self.namespaces.get(namespace) {
            Some(_) => Ok(()),
            None if namespace == NamespaceId::OVERRIDES => Ok(()),
            None if self.owed.get(NamespaceId::SYSTEM, &namespace.0).is_some() => {
                Err(owed("the row of the namespace"))
            }
            None => Err(ReadError::UnknownNamespace(namespace)),
        }
    }

    /// Whether a reader at `now_ms` (Unix milliseconds) finds this row: it is a value, it has not expired, and it is
    /// later than the last drop of its namespace.
    pub(super) fn shows<V>(&self, namespace: NamespaceId, found: &Found<V>, now_ms: u64) -> bool {
        found.is_visible(now_ms) && !self.namespaces.is_dead(namespace, found.version)
    }

    /// Reads what a reader at `now_ms` (Unix milliseconds) finds under a key.
    ///
    /// # Errors
    /// [`ReadError::UnknownNamespace`], or if the row is damaged or can't be read.
    pub fn get(
        &self,
        namespace: NamespaceId,
        key: &[u8],
        now_ms: u64,
    ) -> Result<Option<Found>, ReadError> {
        self.check_namespace(namespace)?;
        let Some(key) = EntryKey::of(namespace, key) else { return Ok(None) };
        let mut found = None;
        self.snapshot.look(Table::Entries, key.as_bytes(), &mut |row| {
            found = Some(self.visible(&key, row, now_ms, Bytes::copy_from_slice));
        })?;
        found.unwrap_or_else(|| self.missing(&key))
    }

    /// [`View::get`] for several keys. The result has the order of `keys`.
    ///
    /// # Errors
    /// As for [`View::get`].
    pub fn get_many(
        &self,
        namespace: NamespaceId,
        keys: &[&[u8]],
        now_ms: u64,
    ) -> Result<Vec<Option<Found>>, ReadError> {
        self.check_namespace(namespace)?;
        let keys: Vec<_> = keys.iter().map(|key| EntryKey::of(namespace, key)).collect();
        let asked = keys.iter().flatten().map(|key| (Table::Entries, key.as_bytes()));
        let mut rows = self.snapshot.get_many(&asked.collect::<Vec<_>>())?.into_iter();
        let read = |key: &Option<EntryKey>| {
            let Some(key) = key else { return Ok(None) };
            let Some(row) = rows.next().flatten() else { return self.missing(key) };
            self.visible(key, &row, now_ms, |body| row.slice_ref(body))
        };
        keys.iter().map(read).collect()
    }

    /// What a reader finds under a key without an entry: nothing, unless the row is owed and no tombstone is here.
    fn missing(&self, key: &EntryKey) -> Result<Option<Found>, ReadError> {
        let (namespace, name) = key.split();
        if self.owed.get(namespace, name).is_none() {
            return Ok(None);
        }
        match self.row(namespace, name)? {
            Some(_tombstone) => Ok(None),
            None => Err(owed("another location could not send its row")),
        }
    }

    /// Decodes a row that a reader sees. `keep` makes a value of the part of the row that is one.
    fn visible(
        &self,
        key: &EntryKey,
        row: &[u8],
        now_ms: u64,
        keep: impl FnOnce(&[u8]) -> Bytes,
    ) -> Result<Option<Found>, ReadError> {
        let found = self.decode((Table::Entries, key.as_bytes()), row, keep)?;
        Ok(Some(found).filter(|found| self.shows(key.split().0, found, now_ms)))
    }

    /// Reads the row of a key whatever it is, including tombstones. The namespace need not exist.
    ///
    /// # Errors
    /// If the row is damaged or can't be read.
    pub fn row(&self, namespace: NamespaceId, key: &[u8]) -> Result<Option<Found>, ReadError> {
        let Some(key) = EntryKey::of(namespace, key) else { return Ok(None) };
        let Some((table, row)) = tables::row(&self.snapshot, &key)? else { return Ok(None) };
        self.decode((table, key.as_bytes()), &row, |body| row.slice_ref(body)).map(Some)
    }

    /// Decodes the row of a key. `keep` copies or shares the bytes of an inline value.
    pub(super) fn decode(
        &self,
        place: Place<'_>,
        row: &[u8],
        keep: impl FnOnce(&[u8]) -> Bytes,
    ) -> Result<Found, ReadError> {
        match decode_entry(place, row, &self.origins) {
            Ok((head, body)) => Ok(head.with_value(keep(body))),
            Err(error) => {
                if let Ok((namespace, name)) = split_entry(place.1) {
                    self.note_damaged_row(namespace, name);
                }
                Err(ReadError::damaged(place.0)(error))
            }
        }
    }

    /// Reads one chunk of a large body, or returns `None` if there is no such row.
    ///
    /// # Errors
    /// If the row is damaged or can't be read.
    pub fn chunk(&self, body: BodyId, index: u32) -> Result<Option<Bytes>, ReadError> {
        tables::chunk(&self.snapshot, body, index)
    }

    /// Returns the number of rows, without reading them: of entries, of tombstones, and of the system namespace.
    /// Entries that have expired and dead ones of dropped namespaces count as long as their rows are there.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn rows(&self) -> Result<u64, EngineError> {
        Ok(self.snapshot.rows(Table::Entries)? + self.snapshot.rows(Table::Deleted)?)
    }

    /// Counts the rows of the pending table: bodies that no entry has, not yet or no longer.
    ///
    /// # Errors
    /// If the table can't be read.
    pub fn pending(&self) -> Result<usize, EngineError> {
        let mut count = 0;
        let all = (Bound::Unbounded, Bound::Unbounded);
        self.snapshot.range(Table::Pending, all, Order::Ascending, &mut |_, _| {
            count += 1;
            ControlFlow::Continue(())
        })?;
        Ok(count)
    }
}

/// The error of a read that meets an owed row.
fn owed(what: &'static str) -> ReadError {
    ReadError::damaged(Table::Entries)(DecodeError(what))
}
