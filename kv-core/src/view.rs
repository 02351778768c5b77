//! Reading: a consistent view of a store as of one commit.

use std::{
    ops::{Bound, ControlFlow},
    sync::Arc,
};

use bytes::Bytes;

use crate::{
    Dot, NamespaceId, OriginId, Version,
    crdt::VersionVector,
    engine::{EngineError, Order, Snapshot},
    entry::{BodyId, ListQuery, Listed, Page},
    error::ReadError,
    limits::MAX_LIST_LIMIT,
    local::{self, Part},
    member::Members,
    namespace::Namespaces,
    origins::Origins,
    record::{self, Head, Kind, Large, LocalVersion},
    schema::{self, Table},
};

/// A store as of one commit.
#[derive(Clone)]
pub struct View<S> {
    pub(crate) snapshot: S,
    pub(crate) origins: Arc<Origins>,
    pub(crate) namespaces: Arc<Namespaces>,
    pub(crate) members: Arc<Members>,
    pub(crate) vector: Arc<VersionVector>,
    pub(crate) collected: Arc<VersionVector>,
}

/// What a key holds, in a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which write this is.
    pub version: Version,
    /// Its dot.
    pub dot: Dot,
    /// The version that it replaced where it was written.
    pub prev: Option<Version>,
    /// As in [`Entry`](crate::Entry).
    pub metadata: Option<Box<str>>,
    /// As in [`Entry`](crate::Entry).
    pub expires_at: Option<u64>,
    /// What the row is.
    pub state: FoundState,
}

/// What a row is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundState {
    /// A value in the row.
    Inline(Bytes),
    /// A value in chunks: see [`View::chunk`].
    Large {
        /// Where the chunks are.
        body: BodyId,
        /// The value's length.
        len: u64,
        /// BLAKE3 of the value.
        digest: [u8; 32],
    },
    /// Deleted.
    Tombstone,
    /// Expired, its value freed.
    ExpiredTombstone,
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

    /// What this view holds of each origin's writes.
    #[must_use]
    pub fn vector(&self) -> &VersionVector {
        &self.vector
    }

    /// The highest dropped tombstone or stub of each origin.
    #[must_use]
    pub fn collected(&self) -> &VersionVector {
        &self.collected
    }

    /// The parts of what this location keeps for itself under a name; none if nothing.
    pub(crate) fn local(&self, name: &str) -> Result<Option<Vec<Part>>, ReadError> {
        let row = self.snapshot.get(Table::Local, name.as_bytes())?;
        row.map(|row| local::decode(name.as_bytes(), &row))
            .transpose()
            .map_err(ReadError::damaged(Table::Local))
    }

    /// What a reader at `now_ms` finds under a key.
    ///
    /// # Errors
    /// If the row is damaged or can't be read.
    pub fn get(
        &self,
        namespace: NamespaceId,
        key: &[u8],
        now_ms: u64,
    ) -> Result<Option<Found>, ReadError> {
        let row_key = schema::entry(namespace, key);
        let mut found = Ok(None);
        self.snapshot.look(Table::Entries, &row_key, &mut |row| {
            found = self.visible(&row_key, row, now_ms, Bytes::copy_from_slice);
        })?;
        found
    }

    /// [`View::get`] for several keys, in the order asked.
    ///
    /// # Errors
    /// As for [`View::get`].
    pub fn get_many(
        &self,
        namespace: NamespaceId,
        keys: &[&[u8]],
        now_ms: u64,
    ) -> Result<Vec<Option<Found>>, ReadError> {
        let row_keys: Vec<_> = keys.iter().map(|key| schema::entry(namespace, key)).collect();
        let asked: Vec<_> = row_keys.iter().map(|key| (Table::Entries, &key[..])).collect();
        let rows = self.snapshot.get_many(&asked)?;
        row_keys
            .iter()
            .zip(rows)
            .map(|(key, row)| {
                row.map_or(Ok(None), |row| {
                    self.visible(key, &row, now_ms, |body| row.slice_ref(body))
                })
            })
            .collect()
    }

    /// `keep` makes a value of the part of the row that is one.
    fn visible(
        &self,
        key: &[u8],
        row: &[u8],
        now_ms: u64,
        keep: impl FnOnce(&[u8]) -> Bytes,
    ) -> Result<Option<Found>, ReadError> {
        let (head, body) = decode(key, row)?;
        head.is_visible(now_ms).then(|| self.found(head, keep(body))).transpose()
    }

    /// The row of a key whatever it is, tombstones and stubs included.
    ///
    /// # Errors
    /// As for [`View::get`].
    pub fn row(&self, namespace: NamespaceId, key: &[u8]) -> Result<Option<Found>, ReadError> {
        let row_key = schema::entry(namespace, key);
        let Some(row) = self.snapshot.get(Table::Entries, &row_key)? else {
            return Ok(None);
        };
        let (head, body) = decode(&row_key, &row)?;
        self.found(head, row.slice_ref(body)).map(Some)
    }

    pub(crate) fn found(&self, head: Head, body: Bytes) -> Result<Found, ReadError> {
        let state = match head.kind {
            Kind::Inline(_) => FoundState::Inline(body),
            Kind::Chunked(Large { body, len, digest }) => FoundState::Large { body, len, digest },
            Kind::Tombstone => FoundState::Tombstone,
            Kind::ExpiredTombstone => FoundState::ExpiredTombstone,
        };
        let version = self.version(head.version)?;
        Ok(Found {
            version,
            dot: Dot { origin: version.origin, seq: head.seq },
            prev: head.prev.map(|prev| self.version(prev)).transpose()?,
            metadata: head.metadata,
            expires_at: head.expires_at,
            state,
        })
    }

    fn version(&self, local: LocalVersion) -> Result<Version, ReadError> {
        Ok(Version { hlc: local.hlc, origin: self.origin(local.origin)? })
    }

    pub(crate) fn origin(&self, number: u32) -> Result<OriginId, ReadError> {
        self.origins.id(number).map_err(ReadError::damaged(Table::Origins))
    }

    /// One chunk of a large body; none if there is no such row.
    ///
    /// # Errors
    /// If the row is damaged or can't be read.
    pub fn chunk(&self, body: BodyId, index: u32) -> Result<Option<Bytes>, ReadError> {
        let key = schema::chunk(body, index);
        let Some(row) = self.snapshot.get(Table::Chunks, &key)? else {
            return Ok(None);
        };
        let payload =
            record::unseal(Table::Chunks, &key, &row).map_err(ReadError::damaged(Table::Chunks))?;
        Ok(Some(row.slice_ref(payload)))
    }

    /// A page of the keys that a reader at `now_ms` finds, without their values.
    ///
    /// # Errors
    /// If a row on the way is damaged or can't be read.
    pub fn list(
        &self,
        namespace: NamespaceId,
        query: &ListQuery<'_>,
        now_ms: u64,
    ) -> Result<Page, ReadError> {
        let query = ListQuery { limit: query.limit.clamp(1, MAX_LIST_LIMIT), ..*query };
        self.list_some(namespace, &query, now_ms, usize::MAX).map(|(page, _)| page)
    }

    /// [`View::list`] that reads at most `max_rows` rows, tombstones included; if it stopped for
    /// that, also the key to go on after. With a limit of 0 it only tells whether there is more.
    ///
    /// # Errors
    /// As for [`View::list`].
    pub fn list_some(
        &self,
        namespace: NamespaceId,
        query: &ListQuery<'_>,
        now_ms: u64,
        max_rows: usize,
    ) -> Result<(Page, Option<Vec<u8>>), ReadError> {
        let limit = query.limit;
        let prefix = schema::entry(namespace, query.prefix);
        let after = query.after.map(|after| schema::entry(namespace, after));
        let lower = match &after {
            Some(after) if *after >= prefix => Bound::Excluded(&after[..]),
            _ => Bound::Included(&prefix[..]),
        };
        let end = schema::after_prefix(&prefix);
        let upper = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut page = Page { entries: Vec::new(), complete: true };
        let (mut failure, mut stopped_at, mut rows_left) = (None, None, max_rows);
        let mut visit = |key: &[u8], row: &[u8]| {
            match self.listed(key, row, now_ms) {
                Ok(None) => {}
                Ok(Some(_)) if page.entries.len() == limit => {
                    page.complete = false;
                    return ControlFlow::Break(());
                }
                Ok(Some(listed)) => page.entries.push(listed),
                Err(error) => {
                    failure = Some(error);
                    return ControlFlow::Break(());
                }
            }
            rows_left -= 1;
            if rows_left > 0 {
                return ControlFlow::Continue(());
            }
            page.complete = false;
            stopped_at = Some(key[namespace.0.len()..].to_vec());
            ControlFlow::Break(())
        };
        self.snapshot.range(Table::Entries, (lower, upper), Order::Ascending, &mut visit)?;
        failure.map_or(Ok((page, stopped_at)), Err)
    }

    fn listed(&self, key: &[u8], row: &[u8], now_ms: u64) -> Result<Option<Listed>, ReadError> {
        let damaged = ReadError::damaged(Table::Entries);
        let head = match record::decode_head(key, row) {
            Ok(head) => head,
            Err(reason) => return Err(damaged(reason)),
        };
        if !head.is_visible(now_ms) {
            return Ok(None);
        }
        let (_, name) = schema::split_entry(key).map_err(damaged)?;
        Ok(Some(Listed {
            key: Bytes::copy_from_slice(name),
            version: self.version(head.version)?,
            metadata: head.metadata,
            expires_at: head.expires_at,
        }))
    }

    /// How many rows the pending table has: bodies not yet used or no longer.
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

fn decode<'a>(key: &[u8], row: &'a [u8]) -> Result<(Head, &'a [u8]), ReadError> {
    record::decode_entry(key, row).map_err(ReadError::damaged(Table::Entries))
}
