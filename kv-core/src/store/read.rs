//! Reads: an entry, several entries, a list. Each uses the newest view and never waits for writes.

use std::sync::Arc;

use bytes::Bytes;

use super::handle::Store;
use crate::{
    body::{Body, BodyReader, ChunkSource, Entry},
    engine::{EngineError, redb::RedbSnapshot},
    error::ReadError,
    published::Published,
    types::{
        BodyId, Found, FoundState, Large, ListQuery, NamespaceId, OwedKeys, Page, Version,
        limits::MAX_LIST_LIMIT,
    },
    writer::Message,
};

/// How many rows a list reads in one view: about 50 ms of work.
pub(super) const LIST_STRETCH: usize = 50_000;

impl Store {
    /// Reads the entry of a key. Returns `None` if there is none, or it has expired.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn get(
        &self,
        namespace: NamespaceId,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<Entry>, ReadError> {
        let mut missed = None;
        loop {
            let found = {
                let view = self.shared.published.load();
                self.seen(view.get(namespace, key.as_ref(), self.now_ms()))?
            };
            let Some(found) = found else { return Ok(None) };
            let version = found.version;
            if let Some(entry) = self.entry((namespace, key.as_ref()), found)? {
                return Ok(Some(entry));
            }
            self.look_again(&mut missed, version, (namespace, key.as_ref()))?;
        }
    }

    /// Returns the keys whose rows can't be read, although this store counts their writes: damaged here, or at
    /// the location from which it caught up. In a cluster their entries are fetched from the other locations;
    /// a put or a delete of a key repairs it too. Damage that no read has met yet is not among them.
    #[must_use]
    pub fn owed(&self) -> OwedKeys {
        self.view().owed().clone()
    }

    /// Whether the row of a namespace can't be read, so that a name that no namespace has may be its name.
    #[must_use]
    pub fn lacks_namespaces(&self) -> bool {
        let view = self.shared.published.load();
        let mut system = view.owed().iter().take_while(|(id, ..)| *id == NamespaceId::SYSTEM);
        system.any(|(_, key, _)| key.len() == NamespaceId::SYSTEM.0.len())
    }

    /// Reads the entries of several keys as of one moment. The result has the order of `keys`.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn get_many(
        &self,
        namespace: NamespaceId,
        keys: &[impl AsRef<[u8]>],
    ) -> Result<Vec<Option<Entry>>, ReadError> {
        let keys: Vec<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
        let mut missed = None;
        'again: loop {
            let found = self.seen(self.view().get_many(namespace, &keys, self.now_ms()))?;
            let mut entries = Vec::with_capacity(found.len());
            for (key, found) in keys.iter().zip(found) {
                let Some(found) = found else {
                    entries.push(None);
                    continue;
                };
                let version = found.version;
                let Some(entry) = self.entry((namespace, key), found)? else {
                    self.look_again(&mut missed, version, (namespace, key))?;
                    continue 'again;
                };
                entries.push(Some(entry));
            }
            return Ok(entries);
        }
    }

    /// Reports a failed read to the writer: the engine must be reopened before other reads succeed.
    pub(super) fn seen<T>(&self, read: Result<T, ReadError>) -> Result<T, ReadError> {
        if let Err(ReadError::Engine(EngineError::Io(_) | EngineError::Stale)) = &read {
            // A writer that is busy notices the failure by itself.
            if self.shared.messages.len() < self.shared.options.queue_capacity {
                let _closed = self.shared.messages.send(Message::Recover);
            }
        }
        read
    }

    /// Makes an entry of a row. Returns `None` if its body was freed since.
    pub(super) fn entry(
        &self,
        (namespace, key): (NamespaceId, &[u8]),
        found: Found,
    ) -> Result<Option<Entry>, ReadError> {
        let body = match found.state {
            FoundState::Inline(bytes) => Body::Inline(bytes),
            FoundState::Large { body, len, digest } => {
                let published = Arc::clone(&self.shared.published);
                let source = Arc::new(NamedChunks { published, namespace, key: key.into() });
                let large = Large { body, len, digest };
                match BodyReader::open(&self.shared.bodies, source, large)? {
                    Some(reader) => Body::Large(reader),
                    None => return Ok(None),
                }
            }
            FoundState::Tombstone | FoundState::ExpiredTombstone | FoundState::Joined(_) => {
                return Ok(None);
            }
        };
        let Found { version, metadata, expires_at, .. } = found;
        Ok(Some(Entry { version, metadata, expires_at, body }))
    }

    /// [`look_again`] for the value of a key. Lost chunks are noted.
    fn look_again(
        &self,
        missed: &mut Option<Version>,
        version: Version,
        (namespace, key): (NamespaceId, &[u8]),
    ) -> Result<(), ReadError> {
        let again = look_again(missed, version);
        if again.is_err() {
            let view = self.view();
            if let Ok(Some(Found { state: FoundState::Large { body, .. }, .. })) =
                view.row(namespace, key)
            {
                view.note_damaged_chunk(namespace, key, body, 0);
            }
        }
        again
    }

    /// Lists a page of the keys of a namespace in byte order, without values. [`Store::iter`] walks over all
    /// of them.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn list(&self, namespace: NamespaceId, query: &ListQuery<'_>) -> Result<Page, ReadError> {
        let mut page = Page { entries: Vec::new(), damaged: Vec::new(), complete: false };
        let mut after = query.after.map(<[u8]>::to_vec);
        let limit = query.limit.clamp(1, MAX_LIST_LIMIT);
        loop {
            let left = limit - page.entries.len();
            let query = ListQuery { after: after.as_deref(), limit: left, ..*query };
            // Each stretch has its own view, so that no view is kept long because of many tombstones.
            let (part, stopped_at) =
                self.seen(self.view().list_some(namespace, &query, self.now_ms(), LIST_STRETCH))?;
            page.entries.extend(part.entries);
            let room = MAX_LIST_LIMIT - page.damaged.len();
            page.damaged.extend(part.damaged.into_iter().take(room));
            page.complete = part.complete;
            match stopped_at {
                Some(key) => after = Some(key),
                None => return Ok(page),
            }
        }
    }
}

/// The chunks of a value, with the name of its key: damage is noted under it.
struct NamedChunks {
    /// The views that the chunks are read from.
    published: Arc<Published<RedbSnapshot>>,
    /// The namespace of the key.
    namespace: NamespaceId,
    /// The key.
    key: Box<[u8]>,
}

impl ChunkSource for NamedChunks {
    fn chunk(&self, body: BodyId, index: u32) -> Result<Option<Bytes>, ReadError> {
        let view = self.published.load();
        let read = view.chunk(body, index);
        // Without its first chunk a body may have been freed; from then on its reader keeps it.
        if matches!(read, Err(ReadError::Damaged { .. })) || matches!(read, Ok(None) if index > 0) {
            view.note_damaged_chunk(self.namespace, &self.key, body, index);
        }
        read
    }
}

/// Handles a body that was freed before its reader was made: a newer entry is there. If it is the same
/// entry a second time, its chunks are lost.
pub(super) fn look_again<T: PartialEq + Copy>(
    missed: &mut Option<T>,
    name: T,
) -> Result<(), ReadError> {
    if missed.replace(name) == Some(name) {
        return Err(ReadError::DamagedBody("its chunks are missing"));
    }
    Ok(())
}
