//! Applying the writes of peers: the merge.
//!
//! A write from a live stream is applied only if it is the next of its origin, so that the version vector
//! stays true. Rows of a catch-up session come in any order. Their vector is adopted at the end of the
//! session, because before that it would count rows that are not here.

use std::sync::Arc;

use super::{
    operation::{Applied, NewContent, Remote, RemoteWrite},
    origins::has_room,
    transaction::{Transaction, WriteName, check_upload, unread},
};
use crate::{
    engine::Snapshot,
    error::WriteError,
    tables::{self, EntryKey, Purge},
    types::{
        Dot, Found, FoundState, JoinedRow, Key, Merge, NamespaceId, OriginEntry, OriginId, Version,
        VersionVector, limits::MAX_ORIGINS, merge,
    },
};

/// Times from here on (the year 4199) are rejected: a clock that adopted one would soon have no later
/// times to give.
const MAX_REMOTE_MILLIS: u64 = 1 << 46;

/// The reason to refuse writes of this process's own origins that it has not made.
pub(super) const FOREIGN: &str = "a write under the origins of this process that it has not made";

impl<S: Snapshot> Transaction<'_, S> {
    /// Applies one write, or the end of a session.
    pub(super) fn apply_remote(&mut self, remote: Remote) -> Result<Applied, WriteError> {
        match remote {
            Remote::Next(write) => self.apply_next(write),
            Remote::Row(write) => self.apply_row(write),
            Remote::Adopt { vector, collected } => Ok(self.adopt(&vector, &collected)),
            Remote::Rebuild => {
                self.state.is_rebuilding = true;
                Ok(Applied::Rebuilding)
            }
            Remote::DropRow { namespace, key, dot } => self.drop_row(namespace, &key, dot),
            Remote::Rebuilt { vector, collected } => {
                let applied = self.adopt(&vector, &collected);
                self.state.is_rebuilding &= applied != Applied::Adopted;
                Ok(applied)
            }
        }
    }

    /// Adopts the vectors of a session, as far as the opening rows of its origins are here: an origin without one
    /// was invented, or a later session brings its row.
    fn adopt(&mut self, vector: &VersionVector, collected: &VersionVector) -> Applied {
        let is_ahead = |own: &OriginId| {
            let ours = self.state.vector.get(*own);
            vector.get(*own) > ours || collected.get(*own) > ours
        };
        if self.state.own.iter().flatten().any(is_ahead) {
            return Applied::Refused(FOREIGN);
        }
        let registry = &self.state.registry;
        let known = |vector: &VersionVector| -> VersionVector {
            vector.iter().filter(|dot| registry.contains(dot.origin)).collect()
        };
        let (vector, collected) = (known(vector), known(collected));
        Arc::make_mut(&mut self.state.vector).merge(&vector);
        Arc::make_mut(&mut self.state.collected).merge(&collected);
        Applied::Adopted
    }

    /// Removes a row that the source of a rebuild does not have. It raises no collected vector: that of the source
    /// counts the tombstones that deleted it, and a write that no other location has received has none. Entries of the
    /// system namespace are never deleted.
    fn drop_row(
        &mut self,
        namespace: NamespaceId,
        key: &Key,
        dot: Dot,
    ) -> Result<Applied, WriteError> {
        if !self.state.is_rebuilding || namespace == NamespaceId::SYSTEM {
            return Ok(Applied::Refused("a row that is never dropped"));
        }
        let key = EntryKey::new(namespace, key);
        let Some(head) = self.row(&key).map_err(unread)?.filter(|head| head.dot == dot) else {
            return Ok(Applied::Lost);
        };
        self.remove(key, &head);
        Ok(Applied::Removed)
    }

    /// Applies a write of a live stream, which must be the next one of its origin. A gap is reported, so that
    /// the replicator fills it from a session.
    fn apply_next(&mut self, write: RemoteWrite) -> Result<Applied, WriteError> {
        if self.state.vector.covers(write.dot) {
            return Ok(Applied::Known);
        }
        if let Err(missing) = self.state.vector.validate(write.dot) {
            return Ok(Applied::Gap { missing });
        }
        let dot = write.dot;
        let applied = self.apply_write(write)?;
        if !matches!(applied, Applied::Conflict | Applied::Refused(_)) {
            Arc::make_mut(&mut self.state.vector).raise(dot.origin, dot.seq);
        }
        Ok(applied)
    }

    /// Applies a row of a session, which the vector does not count yet. The opening row of an origin is its first
    /// write, so that it is counted at once. It comes before the other rows of its origin.
    fn apply_row(&mut self, write: RemoteWrite) -> Result<Applied, WriteError> {
        if self.state.vector.covers(write.dot) {
            return Ok(Applied::Known);
        }
        if write.dot.seq == 1 {
            return self.apply_next(write);
        }
        // A row of the system namespace has dots of several origins, some of which may not be opened here yet.
        let is_joined = matches!(write.change, NewContent::Joined(_));
        if !is_joined && !self.state.registry.contains(write.dot.origin) {
            return Ok(Applied::Unopened);
        }
        self.apply_write(write)
    }

    /// Merges a write with the row of its key.
    fn apply_write(&mut self, write: RemoteWrite) -> Result<Applied, WriteError> {
        if let Some(reason) = refusal(&write) {
            return Ok(Applied::Refused(reason));
        }
        if self.state.own.iter().flatten().any(|own| *own == write.dot.origin) {
            return Ok(Applied::Refused(FOREIGN));
        }
        if let Err(reason) = self.check_origin(&write) {
            return Ok(Applied::Refused(reason));
        }
        if let NewContent::Joined(row) = &write.change {
            let row = Arc::clone(row);
            return self.apply_joined(&write, &row);
        }
        if write.namespace == NamespaceId::SYSTEM {
            return Ok(Applied::Refused("a row of the system namespace that is not a joined row"));
        }
        if self.state.namespaces.is_dead(write.namespace, version(&write)) {
            self.state.clock.receive(write.hlc);
            return Ok(Applied::Dropped);
        }
        check_upload(&write.change)?;
        let key = EntryKey::new(write.namespace, &write.key);
        let current = self.row(&key).map_err(unread)?;
        let merged = merge_with(current.as_ref(), &write);
        if merged != Merge::Conflict {
            self.state.clock.receive(write.hlc);
        }
        match merged {
            Merge::Conflict => Ok(Applied::Conflict),
            Merge::Same => Ok(Applied::Known),
            Merge::Keep => Ok(Applied::Lost),
            Merge::Replace => {
                let concurrent = is_concurrent(current.as_ref(), &write);
                let name = WriteName { dot: write.dot, version: version(&write), prev: write.prev };
                let found = self.replace(key, current, name, write.change);
                self.look_for_life(write.namespace, &found);
                Ok(Applied::Won { concurrent })
            }
        }
    }

    /// Lets garbage collection look at a dropped namespace that got an entry later than its drop: it exists then.
    fn look_for_life(&mut self, namespace: NamespaceId, found: &Found) {
        let namespaces = &self.state.namespaces;
        let is_dropped = namespaces.is_dropped(namespace) && namespaces.known(namespace).is_some();
        if is_dropped && found.is_visible(self.now_ms) {
            tables::put::<Purge>(&mut self.batch, &namespace, &Vec::new());
        }
    }

    /// Checks that the first write of an origin, and no other, is its opening row, and that there is room for the
    /// origins that a write names.
    fn check_origin(&self, write: &RemoteWrite) -> Result<(), &'static str> {
        let joined = match &write.change {
            NewContent::Joined(row) => Some(row.as_ref()),
            _ => None,
        };
        let fields = joined.into_iter().flat_map(JoinedRow::dots).map(|dot| dot.origin);
        let named = write.prev.map(|prev| prev.origin).into_iter().chain(fields);
        let is_new = |origin: OriginId| self.state.origins.number(origin).is_none();
        let new = named.filter(|origin| *origin != write.dot.origin && is_new(*origin)).count();
        if new > 0 && self.state.origins.len() + new > 2 * MAX_ORIGINS {
            return Err("a write that names one of too many origins");
        }
        let entry = joined.filter(|_| OriginEntry::is_key(&write.key));
        let opened = match entry.map(|row| OriginEntry::of(&write.key, row)).transpose() {
            Ok(Some(OriginEntry::Opened(info))) => Some(info),
            Ok(_) => None,
            Err(error) => return Err(error.0),
        };
        match opened {
            None if write.dot.seq == 1 => Err("the first write of an origin does not open it"),
            Some(info) if write.dot.seq == 1 && write.dot.origin != info.id => {
                Err("the first write of an origin does not open it")
            }
            None => Ok(()),
            Some(info) if self.state.registry.get(info.id).is_some_and(|known| *known != info) => {
                Err("an origin is opened a second time")
            }
            Some(info) if self.state.registry.contains(info.id) => Ok(()),
            Some(info) => {
                let has_room = has_room(&self.state.registry, info.member, 1);
                has_room.then_some(()).ok_or("more origins than a store knows")
            }
        }
    }
}

/// Decides whether an incoming write replaces the row that is there. Stores that have both writes decide
/// alike, in whatever order they arrived.
fn merge_with(current: Option<&Found<()>>, write: &RemoteWrite) -> Merge {
    let Some(head) = current else { return Merge::Replace };
    let is_delete = matches!(write.change, NewContent::Delete);
    merge(
        ((head.dot.seq, head.state == FoundState::Tombstone), head.version),
        ((write.dot.seq, is_delete), version(write)),
    )
}

/// Whether the writer did not know the write that it replaces.
fn is_concurrent(current: Option<&Found<()>>, write: &RemoteWrite) -> bool {
    match (current, write.prev) {
        (None, _) => false,
        (Some(loser), Some(prev)) => loser.version > prev,
        // The writer found nothing under the key, perhaps because the tombstone was collected there.
        (Some(loser), None) => !loser.is_tombstone(),
    }
}

/// The version of a write: its time, and the origin of its dot.
fn version(write: &RemoteWrite) -> Version {
    Version { hlc: write.hlc, origin: write.dot.origin }
}

/// Returns why no store can have made this write, if so.
fn refusal(write: &RemoteWrite) -> Option<&'static str> {
    let is_zero = |origin: OriginId| origin.0 == [0; 16];
    if is_zero(write.dot.origin) || write.prev.is_some_and(|prev| is_zero(prev.origin)) {
        return Some("an origin whose id is zeros");
    }
    if write.dot.seq == 0 {
        return Some("sequence numbers begin at 1");
    }
    let latest = match &write.change {
        NewContent::Joined(row) => row.latest().version.hlc,
        _ => write.hlc,
    };
    if write.hlc.max(latest).millis() >= MAX_REMOTE_MILLIS {
        return Some("a time that no clock shows");
    }
    None
}
