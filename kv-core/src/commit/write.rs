//! The local writes of a transaction: they are checked, and get their time and their number.

use super::{
    chunks::check_upload,
    entry::WriteName,
    operation::{BatchWrite, NewContent, Outcome, Written},
    transaction::Transaction,
};
use crate::{
    body::NewBodyKind,
    engine::Snapshot,
    error::{InvalidWrite, WriteError},
    tables::EntryKey,
    types::{Change, Dot, Found, Hlc, Key, NamespaceId, Version, limits::END_OF_TIME},
};

impl<S: Snapshot> Transaction<'_, S> {
    /// Checks a put or a deletion of a client, and makes it.
    pub(super) fn write(
        &mut self,
        namespace: NamespaceId,
        key: Key,
        content: NewContent,
    ) -> Result<Written, WriteError> {
        self.check_namespace(namespace)?;
        self.check_override((namespace, &key), &content)?;
        check_upload(&content)?;
        check_expiry(&content)?;
        self.write_local(namespace, key, content)
    }

    /// Makes a put unless the key has a living version that is not earlier than `over`.
    pub(super) fn put_over(
        &mut self,
        (namespace, key): (NamespaceId, Key),
        content: NewContent,
        over: Version,
    ) -> Result<Outcome, WriteError> {
        self.check_namespace(namespace)?;
        check_upload(&content)?;
        let current = self.replaceable(&EntryKey::new(namespace, &key))?;
        let is_newer =
            |version| version >= over && !self.state.namespaces.is_dead(namespace, version);
        if current.is_some_and(|head| is_newer(head.version)) {
            return Ok(Outcome::Kept);
        }
        self.write_local(namespace, key, content).map(Outcome::Written)
    }

    /// Rejects writes to a namespace that does not exist or was dropped.
    fn check_namespace(&self, id: NamespaceId) -> Result<(), WriteError> {
        match self.state.namespaces.get(id) {
            Some(_) => Ok(()),
            None if id == NamespaceId::OVERRIDES => Ok(()),
            None if self.state.owed.get(NamespaceId::SYSTEM, &id.0).is_some() => {
                let reason = "the row of the namespace is damaged on this location's disk: it is fetched from the \
                              other locations, if there are any; creating the namespace again repairs it too";
                Err(WriteError::Failed(reason.into()))
            }
            None => Err(WriteError::UnknownNamespace(id)),
        }
    }

    /// Makes all writes of a batch, or none: whatever can fail comes before the first of them.
    pub(super) fn write_batch(
        &mut self,
        writes: Vec<BatchWrite>,
    ) -> Result<Vec<Written>, WriteError> {
        for write in &writes {
            self.check_namespace(write.namespace)?;
            check_upload(&write.content)?;
            check_expiry(&write.content)?;
            let key = EntryKey::new(write.namespace, &write.key);
            let current = self.replaceable(&key)?;
            self.check_time(self.beaten_by_write(&key, current.as_ref()))?;
            self.rows.insert(key, current);
        }
        self.own_pair()?;
        let write = |write: BatchWrite| self.write_local(write.namespace, write.key, write.content);
        writes.into_iter().map(write).collect()
    }

    /// Makes a local write: gives it its time and its number, and puts its row.
    pub(super) fn write_local(
        &mut self,
        namespace: NamespaceId,
        key: Key,
        content: NewContent,
    ) -> Result<Written, WriteError> {
        let entry = EntryKey::new(namespace, &key);
        let current = self.replaceable(&entry)?;
        let origin = self.own_pair()?[usize::from(is_large(&content))];
        let prev = current.as_ref().map(|head| head.version);
        let beaten = self.beaten_by_write(&entry, current.as_ref());
        let version = Version { hlc: self.next_time(beaten)?, origin };
        self.repay_overwritten(&entry);
        let dot = Dot { origin, seq: self.state.vector.get(origin) + 1 };
        self.state.vector.raise(origin, dot.seq);
        let found = self.replace(entry, current, WriteName { dot, version, prev }, content);
        self.writes.push(Change { namespace, key, found });
        Ok(Written { dot, version })
    }

    /// The version that a local write of a key must be later than: that of the row that it replaces, of the last drop of
    /// the namespace, and of a row that was here and can't be read.
    fn beaten_by_write(&self, key: &EntryKey, current: Option<&Found<()>>) -> Option<Version> {
        let dropped = self.state.namespaces.dropped_at(key.split().0);
        let current = current.map(|head| head.version);
        current.max(dropped).max(self.unread_version(key))
    }

    /// Returns the time of the next local write, which replaces this version. It is later than what it
    /// replaces and than the closed timestamp, whatever the clock shows.
    pub(super) fn next_time(&mut self, replaced: Option<Version>) -> Result<Hlc, WriteError> {
        self.check_time(replaced)?;
        let after = replaced.map_or(Hlc::ZERO, |version| version.hlc).max(self.state.closed);
        Ok(self.state.clock.tick(self.time.present, after))
    }

    /// Checks that a local write gets a time that peers accept. (A batch may write a key 1000 times.)
    fn check_time(&self, replaced: Option<Version>) -> Result<(), WriteError> {
        let after = replaced.map_or(Hlc::ZERO, |version| version.hlc).max(self.state.closed);
        let is_late = |ms: u64| ms + 1000 >= Hlc::END.millis();
        if is_late(after.millis()) || self.time.present.admits(Hlc::END) {
            return Err(WriteError::EndOfTime);
        }
        Ok(())
    }
}

/// Whether the content has a body that is stored in chunks. Writes with large bodies have an origin of their
/// own.
fn is_large(content: &NewContent) -> bool {
    match content {
        NewContent::Put { body, .. } => !matches!(body.0, NewBodyKind::Inline(_)),
        NewContent::Delete | NewContent::Expired { .. } | NewContent::Joined(_) => false,
    }
}

/// Checks that the expiry of a local put is one that peers accept.
fn check_expiry(content: &NewContent) -> Result<(), WriteError> {
    match content {
        NewContent::Put { attributes, .. }
            if attributes.expires_at.is_some_and(|at| at >= END_OF_TIME) =>
        {
            Err(InvalidWrite::Expiry.into())
        }
        _ => Ok(()),
    }
}
