//! What the users of a store read: an entry, several, a list. Each from the newest view, without waiting for
//! writes.

use std::sync::Arc;

use super::Store;
use crate::{
    NamespaceId,
    body::BodyReader,
    engine::EngineError,
    entry::{Body, Entry, ListQuery, Page},
    error::ReadError,
    limits::MAX_LIST_LIMIT,
    record::Large,
    view::{Found, FoundState},
    writer::Message,
};

/// How many rows a list reads in one view: about 50 ms of work.
const LIST_STRETCH: usize = 50_000;

impl Store {
    /// What a key holds; none if there is nothing, or it has expired.
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
                let view = self.shared.published.latest.load();
                self.seen(view.get(namespace, key.as_ref(), self.now_ms()))?
            };
            let Some(found) = found else { return Ok(None) };
            let version = found.version;
            if let Some(entry) = self.entry(found)? {
                return Ok(Some(entry));
            }
            look_again(&mut missed, version)?;
        }
    }

    /// What several keys hold, all as of one moment, in the order asked.
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
            for found in found {
                let Some(found) = found else {
                    entries.push(None);
                    continue;
                };
                let version = found.version;
                let Some(entry) = self.entry(found)? else {
                    look_again(&mut missed, version)?;
                    continue 'again;
                };
                entries.push(Some(entry));
            }
            return Ok(entries);
        }
    }

    /// Tells the writer of a read that failed: the engine must be opened anew before others succeed.
    pub(super) fn seen<T>(&self, read: Result<T, ReadError>) -> Result<T, ReadError> {
        if let Err(ReadError::Engine(EngineError::Io(_) | EngineError::Stale)) = &read {
            // If there is no place, the writer is at work and will see it itself.
            let _told = self.shared.messages.try_send(Message::Recover);
        }
        read
    }

    /// None if the entry's body is gone since it was found.
    fn entry(&self, found: Found) -> Result<Option<Entry>, ReadError> {
        let body = match found.state {
            FoundState::Inline(bytes) => Body::Inline(bytes),
            FoundState::Large { body, len, digest } => {
                let source = Arc::clone(&self.shared.published);
                let large = Large { body, len, digest };
                match BodyReader::open(&self.shared.bodies, source, large)? {
                    Some(reader) => Body::Large(reader),
                    None => return Ok(None),
                }
            }
            FoundState::Tombstone | FoundState::ExpiredTombstone => return Ok(None),
        };
        let Found { version, metadata, expires_at, .. } = found;
        Ok(Some(Entry { version, metadata, expires_at, body }))
    }

    /// A page of a namespace's keys in byte order, without values.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn list(&self, namespace: NamespaceId, query: &ListQuery<'_>) -> Result<Page, ReadError> {
        let mut page = Page { entries: Vec::new(), complete: false };
        let mut after = query.after.map(<[u8]>::to_vec);
        let limit = query.limit.clamp(1, MAX_LIST_LIMIT);
        loop {
            let left = limit - page.entries.len();
            let query = ListQuery { after: after.as_deref(), limit: left, ..*query };
            // A view for each stretch: many tombstones must not make one view live long.
            let (part, stopped_at) =
                self.seen(self.view().list_some(namespace, &query, self.now_ms(), LIST_STRETCH))?;
            page.entries.extend(part.entries);
            page.complete = part.complete;
            match stopped_at {
                Some(key) => after = Some(key),
                None => return Ok(page),
            }
        }
    }
}

/// A body was gone when its reader was made. It was replaced and freed since, and something newer is
/// there; the same one a second time means that its chunks are lost.
pub(super) fn look_again<T: PartialEq + Copy>(
    missed: &mut Option<T>,
    name: T,
) -> Result<(), ReadError> {
    if missed.replace(name) == Some(name) {
        return Err(ReadError::DamagedBody("its chunks are missing"));
    }
    Ok(())
}
