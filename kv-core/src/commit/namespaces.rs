//! Making, renaming and dropping namespaces: writes to the system namespace.

use std::sync::Arc;

use bytes::Bytes;

use super::transaction::{NewRow, Transaction};
use crate::{
    NamespaceId, Version,
    body::{NewBody, NewBodyKind},
    engine::Snapshot,
    entry::Attributes,
    error::WriteError,
    namespace::{Namespace, check_title, derive_id},
    record::seal,
    schema::Table,
};

impl<S: Snapshot> Transaction<'_, S> {
    pub(super) fn create_namespace(
        &mut self,
        account: &str,
        title: &str,
        id: Option<NamespaceId>,
    ) -> Result<Namespace, WriteError> {
        check_title(account, title).map_err(WriteError::Invalid)?;
        if let Some(there) = self.state.namespaces.titled(account, title) {
            let text = format!("a namespace titled {title:?} exists already: {}", there.id);
            return Err(WriteError::Taken(text));
        }
        let id = match id {
            Some(id) => self.check_free(id)?,
            None => self.free_id(account, title),
        };
        // The row says which write made the namespace, and that write is this one: its time is
        // the next that the clock gives.
        let created =
            Version { hlc: self.state.clock.clone().tick(self.now_ms), origin: self.state.own[0] };
        self.put_namespace(Namespace {
            id,
            account: account.to_owned(),
            title: title.to_owned(),
            created,
            dropped: false,
        })
    }

    fn check_free(&self, id: NamespaceId) -> Result<NamespaceId, WriteError> {
        if self.state.namespaces.is_dropped(id) {
            let text = format!("the namespace {id} was dropped, and its id can't be used again");
            return Err(WriteError::Taken(text));
        }
        if self.state.namespaces.is_taken(id) {
            return Err(WriteError::Taken(format!("a namespace with the id {id} exists already")));
        }
        Ok(id)
    }

    fn free_id(&self, account: &str, title: &str) -> NamespaceId {
        (0..=u32::MAX)
            .map(|n| derive_id(account, title, n))
            .find(|id| !self.state.namespaces.is_taken(*id))
            .expect("a title is not dropped 2^32 times")
    }

    pub(super) fn rename_namespace(
        &mut self,
        id: NamespaceId,
        title: &str,
    ) -> Result<Namespace, WriteError> {
        let mut namespace = self.live_namespace(id)?;
        check_title(&namespace.account, title).map_err(WriteError::Invalid)?;
        match self.state.namespaces.titled(&namespace.account, title) {
            Some(other) if other.id != id => {
                let text = format!("a namespace titled {title:?} exists already: {}", other.id);
                Err(WriteError::Taken(text))
            }
            _ => {
                title.clone_into(&mut namespace.title);
                self.put_namespace(namespace)
            }
        }
    }

    pub(super) fn drop_namespace(&mut self, id: NamespaceId) -> Result<Namespace, WriteError> {
        let namespace = self.live_namespace(id)?;
        self.put_namespace(Namespace { dropped: true, ..namespace })
    }

    fn live_namespace(&self, id: NamespaceId) -> Result<Namespace, WriteError> {
        self.state.namespaces.get(id).cloned().ok_or(WriteError::UnknownNamespace(id))
    }

    fn put_namespace(&mut self, namespace: Namespace) -> Result<Namespace, WriteError> {
        let body = NewBody(NewBodyKind::Inline(Bytes::from(namespace.encode())));
        let attributes = Attributes::default();
        let row = NewRow::Value(&body, &attributes);
        self.write_local(NamespaceId::SYSTEM, &namespace.id.0, &row)?;
        self.register(namespace.clone());
        Ok(namespace)
    }

    /// The registry follows the row; a namespace that is now dropped is to be purged.
    pub(super) fn register(&mut self, namespace: Namespace) {
        if namespace.dropped {
            let key = namespace.id.0.to_vec();
            let row = seal(Table::Purge, &key, Vec::new());
            self.batch.push((Table::Purge, key, Some(row)));
        }
        let titled = self.state.namespaces.titled(&namespace.account, &namespace.title);
        if let Some(other) = titled.filter(|other| other.id != namespace.id && !namespace.dropped) {
            tracing::warn!(
                one = %other.id,
                two = %namespace.id,
                "two namespaces have one title: the older answers to it; rename one of them"
            );
        }
        Arc::make_mut(&mut self.state.namespaces).insert(namespace);
    }
}
