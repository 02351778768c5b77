//! Creating, renaming and dropping namespaces: writes to their rows in the system namespace.

use std::{
    ops::{Bound, ControlFlow},
    sync::Arc,
};

use super::{read::unread, transaction::Transaction};
use crate::{
    engine::{Snapshot, after_prefix},
    error::{ReadError, Taken, WriteError},
    tables::{self, EntryKey, Purge, decode_head},
    types::{
        Account, FieldNumber, FieldValue, Hlc, JoinedRow, Member, Namespace, NamespaceId, Title,
        Version, derive_id,
    },
};

/// How many rows of a namespace are read at most to find the latest one: about 50 ms of work.
const MAX_NEWEST_ROWS: usize = 50_000;

impl<S: Snapshot> Transaction<'_, S> {
    /// Creates a namespace under an id, or under one that is derived from its account and title, so that two
    /// locations that create the same namespace at the same time create one. A namespace that was dropped is created
    /// again under the id that it had.
    ///
    /// A damaged row is replaced: without other locations nothing else would bring the entries of the namespace back.
    /// Where there are others, the row stays owed until its other fields have come from them, such as a drop.
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
            Some(id) if self.is_taken(id) => return Err(Taken::Id(id).into()),
            Some(id) => id,
            None => self.free_id(&account, &title),
        };
        let fields = vec![Namespace::titled(&account, &title), Namespace::creation()];
        let (key, after) = (Namespace::key(id), self.state.namespaces.dropped_at(id));
        let entry = EntryKey::new(NamespaceId::SYSTEM, &key);
        let before = self.replaceable(&entry)?;
        self.write_fields_over(key, before, fields, after)?;
        if !self.has_others() {
            self.repay(&entry);
        }
        self.known_namespace(id)
    }

    /// Whether other locations may have what is damaged here. One whose own row is damaged counts too.
    pub(super) fn has_others(&self) -> bool {
        let owed =
            self.state.owed.from(NamespaceId::SYSTEM, b"").filter_map(|key| Member::id_of(key));
        let mut members = self.state.members.current().map(|member| member.id).chain(owed);
        members.any(|id| id != self.state.member)
    }

    /// Whether a namespace that exists has this id, or none may have it.
    fn is_taken(&self, id: NamespaceId) -> bool {
        id.is_built_in() || self.state.namespaces.get(id).is_some()
    }

    /// Derives an id that no namespace has. One has it if it was renamed.
    fn free_id(&self, account: &str, title: &str) -> NamespaceId {
        (0..=u32::MAX)
            .map(|n| derive_id(account, title, n))
            .find(|id| !self.is_taken(*id))
            .expect("a store has fewer than 2^32 namespaces")
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
            _ => {
                self.write_namespace(id, vec![Namespace::titled(&namespace.account, &title)], None)
            }
        }
    }

    /// Drops a namespace. The drop is later than every entry that this store holds in it: these are not readable from
    /// this commit on, and garbage collection deletes their rows.
    pub(super) fn drop_namespace(&mut self, id: NamespaceId) -> Result<Namespace, WriteError> {
        let namespace = self.live_namespace(id)?;
        let newest = self.newest_in(id).map_err(unread)?;
        let after = newest.max(namespace.created);
        self.write_namespace(id, vec![Namespace::drop()], Some(after))
    }

    /// Creates a dropped namespace again that has entries later than its drop: puts of a location that did not know of
    /// it. Returns false if this store may not write yet, because it lacks deletions, or has not joined its cluster.
    pub(super) fn keep_namespace(&mut self, id: NamespaceId) -> Result<bool, WriteError> {
        let may_write = !self.state.is_rebuilding;
        if may_write {
            self.write_namespace(id, vec![Namespace::creation()], None)?;
        }
        Ok(may_write)
    }

    /// A version that no entry of a namespace is later than, damaged ones included. Exact only where some entry here is
    /// ahead of the clock, and the namespace has few rows, all of which can be read: a drop that is dated further ahead
    /// than it must be dates all later entries so.
    fn newest_in(&self, id: NamespaceId) -> Result<Version, ReadError> {
        let all = self.newest_version();
        let now = self.state.clock.last().max(Hlc::at_millis(self.time.present.now_ms));
        if all.hlc <= now || self.has_unread_in(id) {
            return Ok(all);
        }
        let rows = self.rows.iter().filter(|(key, _)| key.split().0 == id);
        let changed = rows.filter_map(|(_, head)| head.as_ref().map(|head| head.version));
        let mut newest = changed.max().unwrap_or(Version { hlc: Hlc::ZERO, ..all });
        let (mut left, prefix) = (MAX_NEWEST_ROWS, EntryKey::prefix(id, b""));
        let end = after_prefix(&prefix);
        let upper = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let bounds = (Bound::Included(&prefix[..]), upper);
        tables::visit_rows(&self.view.snapshot, bounds, &mut |place, row| {
            match decode_head(place, row, &self.state.origins) {
                Ok(head) => newest = newest.max(head.version),
                Err(_) => newest = all,
            }
            left -= 1;
            if left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(if left > 0 { newest } else { all })
    }

    /// Returns a namespace that exists.
    fn live_namespace(&self, id: NamespaceId) -> Result<Namespace, WriteError> {
        self.state.namespaces.get(id).cloned().ok_or(WriteError::UnknownNamespace(id))
    }

    /// Writes fields of the row of a namespace, later than its drop, and returns the namespace as it is now.
    fn write_namespace(
        &mut self,
        id: NamespaceId,
        fields: Vec<(FieldNumber, FieldValue)>,
        after: Option<Version>,
    ) -> Result<Namespace, WriteError> {
        let after = after.max(self.state.namespaces.dropped_at(id));
        self.write_fields(Namespace::key(id), fields, after)?;
        self.known_namespace(id)
    }

    /// Returns a namespace that was just written.
    fn known_namespace(&self, id: NamespaceId) -> Result<Namespace, WriteError> {
        self.state.namespaces.known(id).cloned().ok_or(WriteError::UnknownNamespace(id))
    }

    /// Updates the registry from a row. If the namespace was dropped once more, garbage collection looks for dead rows in
    /// it, and for rows that are later than the drop.
    pub(super) fn register(&mut self, id: NamespaceId, row: &JoinedRow) {
        let before = self.state.namespaces.dropped_at(id);
        let namespaces = Arc::make_mut(&mut self.state.namespaces);
        namespaces.insert(id, row);
        if namespaces.dropped_at(id) > before {
            tables::put::<Purge>(&mut self.batch, &id, &Vec::new());
        }
    }
}
