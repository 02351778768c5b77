//! Creating, renaming and dropping namespaces: writes to the system namespace.

use std::sync::Arc;

use super::{operation::NewContent, transaction::Transaction};
use crate::{
    body::NewBody,
    engine::Snapshot,
    error::{Taken, WriteError},
    tables::{self, EntryKey, Purge},
    types::{Account, Attributes, Key, Namespace, NamespaceId, Title, Version, derive_id},
};

impl<S: Snapshot> Transaction<'_, S> {
    /// Creates a namespace under an id, or under one that is derived from its account and title, so that two
    /// locations that create the same namespace at the same time create one.
    pub(super) fn create_namespace(
        &mut self,
        account: Account,
        title: Title,
        id: Option<NamespaceId>,
    ) -> Result<Namespace, WriteError> {
        if let Some(other) = self.state.namespaces.titled(&account, &title) {
            return Err(Taken::Title { title, by: other.id }.into());
        }
        let id = match id {
            Some(id) => self.check_free(id)?,
            None => self.free_id(&account, &title),
        };
        // The row names the write that created the namespace, which is this one: its time is the next that
        // the clock gives.
        // A row that can't be read fails the operation before it opens origins.
        let key = Key::new(id.0).expect("the key of a namespace has 16 bytes");
        let entry = EntryKey::new(NamespaceId::SYSTEM, &key);
        let current = self.replaceable(&entry)?;
        self.rows.insert(entry, current);
        let [origin, _] = self.own_pair()?;
        let created = Version { hlc: self.state.clock.clone().tick(self.now_ms), origin };
        self.put_namespace(Namespace { id, account, title, created, dropped: false })
    }

    /// Checks that no namespace has an id, a dropped one included.
    fn check_free(&self, id: NamespaceId) -> Result<NamespaceId, WriteError> {
        if self.state.namespaces.is_dropped(id) {
            return Err(Taken::DroppedId(id).into());
        }
        if self.state.namespaces.is_taken(id) {
            return Err(Taken::Id(id).into());
        }
        Ok(id)
    }

    /// Derives an id that no namespace has or had.
    fn free_id(&self, account: &str, title: &str) -> NamespaceId {
        (0..=u32::MAX)
            .map(|n| derive_id(account, title, n))
            .find(|id| !self.state.namespaces.is_taken(*id))
            .expect("a title is not dropped 2^32 times")
    }

    /// Changes a title. Rejects one that another namespace of the account has.
    pub(super) fn rename_namespace(
        &mut self,
        id: NamespaceId,
        title: Title,
    ) -> Result<Namespace, WriteError> {
        let namespace = self.live_namespace(id)?;
        match self.state.namespaces.titled(&namespace.account, &title) {
            Some(other) if other.id != id => Err(Taken::Title { title, by: other.id }.into()),
            _ => self.put_namespace(Namespace { title, ..namespace }),
        }
    }

    /// Drops a namespace for good. Its entries are no longer readable from this commit on; garbage collection
    /// deletes their rows.
    pub(super) fn drop_namespace(&mut self, id: NamespaceId) -> Result<Namespace, WriteError> {
        let namespace = self.live_namespace(id)?;
        self.put_namespace(Namespace { dropped: true, ..namespace })
    }

    /// Returns a namespace that exists and is not dropped.
    fn live_namespace(&self, id: NamespaceId) -> Result<Namespace, WriteError> {
        self.state.namespaces.get(id).cloned().ok_or(WriteError::UnknownNamespace(id))
    }

    /// Writes the entry of a namespace, and puts it into the registry.
    fn put_namespace(&mut self, namespace: Namespace) -> Result<Namespace, WriteError> {
        let key = Key::new(namespace.id.0).expect("the key of a namespace has 16 bytes");
        let body = NewBody::inline(namespace.encode());
        let content = NewContent::Put { body, attributes: Attributes::default() };
        self.write_local(NamespaceId::SYSTEM, key, content)?;
        self.register(namespace.clone());
        Ok(namespace)
    }

    /// Updates the registry from a row. A namespace that is now dropped will be purged.
    pub(super) fn register(&mut self, namespace: Namespace) {
        if namespace.dropped {
            tables::put::<Purge>(&mut self.batch, &namespace.id, &());
        }
        let titled = self.state.namespaces.titled(&namespace.account, &namespace.title);
        if let Some(other) = titled.filter(|other| other.id != namespace.id && !namespace.dropped) {
            tracing::warn!(
                one = %other.id,
                two = %namespace.id,
                "two namespaces share a title, and the older one has it: rename one of them"
            );
        }
        Arc::make_mut(&mut self.state.namespaces).insert(namespace);
    }
}
