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
    body::NewBodyKind,
    engine::Snapshot,
    error::WriteError,
    tables::EntryKey,
    types::{
        Attributes, Dot, Found, FoundState, Key, Merge, NamespaceId, OriginEntry, OriginId, Rank,
        SystemEntry, Version, VersionVector, limits::MAX_ORIGINS, merge,
    },
};

/// Times from here on (the year 4199) are rejected: a clock that adopted one would soon have no later
/// times to give.
const MAX_REMOTE_MILLIS: u64 = 1 << 46;

/// The reason to refuse writes of this process's own origins that it has not made.
const FOREIGN: &str = "a write under the origins of this process that it has not made";

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
        if !self.state.registry.contains(write.dot.origin) {
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
        let system = self.system_row(&write).and_then(|entry| {
            self.check_origin(&write, entry.as_ref())?;
            Ok(entry)
        });
        let incoming = match system {
            Ok(entry) => entry,
            Err(reason) => return Ok(Applied::Refused(reason)),
        };
        if self.state.namespaces.is_dropped(write.namespace) {
            self.state.clock.receive(write.hlc);
            return Ok(Applied::Dropped);
        }
        check_upload(&write.change)?;
        let key = EntryKey::new(write.namespace, &write.key);
        let current = self.row(&key).map_err(unread)?;
        let merged = self.merge_with(current.as_ref(), &write, incoming.as_ref());
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
                self.replace(key, current, name, write.change);
                match incoming {
                    Some(SystemEntry::Namespace(namespace)) => self.register(namespace),
                    Some(SystemEntry::Member(member)) => {
                        Arc::make_mut(&mut self.state.members).insert(member);
                    }
                    Some(SystemEntry::Origin(entry)) => self.register_origin(entry),
                    None => {}
                }
                Ok(Applied::Won { concurrent })
            }
        }
    }

    /// Decodes a write to the system namespace, if it is one.
    fn system_row(&self, write: &RemoteWrite) -> Result<Option<SystemEntry>, &'static str> {
        if write.namespace != NamespaceId::SYSTEM {
            return Ok(None);
        }
        match &write.change {
            NewContent::Put { body, attributes } if *attributes == Attributes::default() => {
                let NewBodyKind::Inline(value) = &body.0 else {
                    return Err("an entry of the system namespace with a large body");
                };
                SystemEntry::decode(&write.key, value, write.hlc).map(Some).map_err(|error| error.0)
            }
            _ => Err("an entry of the system namespace is put, never deleted and never expires"),
        }
    }

    /// Checks that the first write of an origin, and no other, is its opening row, and that there is room for the
    /// origins that a write names.
    fn check_origin(
        &self,
        write: &RemoteWrite,
        entry: Option<&SystemEntry>,
    ) -> Result<(), &'static str> {
        let opened = match entry {
            Some(SystemEntry::Origin(OriginEntry::Opened(info))) => Some(info),
            _ => None,
        };
        let prev = write.prev.map(|prev| prev.origin);
        let is_new = |origin: OriginId| self.state.origins.number(origin).is_none();
        if prev.is_some_and(is_new) && self.state.origins.len() >= 2 * MAX_ORIGINS {
            return Err("a write that replaces one of too many origins");
        }
        match opened {
            None if write.dot.seq == 1 => Err("the first write of an origin does not open it"),
            None => Ok(()),
            Some(info) if write.dot != (Dot { origin: info.id, seq: 1 }) || prev.is_some() => {
                Err("an origin is opened by another write than its first")
            }
            Some(info) => {
                let has_room = has_room(&self.state.registry, info.member, 1);
                has_room.then_some(()).ok_or("more origins than a store knows")
            }
        }
    }

    /// Whether this store knows that the namespace or member of an entry has ended.
    fn is_ended(&self, entry: &SystemEntry) -> bool {
        match entry {
            SystemEntry::Namespace(namespace) => self.state.namespaces.is_dropped(namespace.id),
            SystemEntry::Member(member) => {
                self.state.members.get(member.id).is_some_and(|member| member.removed)
            }
            SystemEntry::Origin(_) => false,
        }
    }

    /// Decides whether an incoming write replaces the row that is there. Stores that have both writes decide
    /// alike, in whatever order they arrived.
    fn merge_with(
        &self,
        current: Option<&Found<()>>,
        write: &RemoteWrite,
        incoming: Option<&SystemEntry>,
    ) -> Merge {
        let Some(head) = current else { return Merge::Replace };
        let is_delete = matches!(write.change, NewContent::Delete);
        let here = Rank {
            dropped: incoming.is_some_and(|entry| self.is_ended(entry)),
            version: head.version,
        };
        let there =
            Rank { dropped: incoming.is_some_and(SystemEntry::is_final), version: version(write) };
        merge(
            ((head.dot.seq, head.state == FoundState::Tombstone), here),
            ((write.dot.seq, is_delete), there),
        )
    }
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
    if write.hlc.millis() >= MAX_REMOTE_MILLIS {
        return Some("a time that no clock shows");
    }
    None
}
