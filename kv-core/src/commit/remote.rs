//! Applying the writes of peers: the merge.
//!
//! A write from a live stream is applied only if it is the next of its origin, so that the version vector
//! stays true. Rows of a catch-up session come in any order. Their vector is adopted at the end of the
//! session, because before that it would count rows that are not here.

use std::sync::Arc;

use super::{
    operation::{Applied, NewContent, Remote, RemoteWrite},
    owed::Readable,
    transaction::{Transaction, WriteName, check_upload, unread},
};
use crate::{
    body::NewBodyKind,
    engine::Snapshot,
    error::{ReadError, WriteError},
    tables::EntryKey,
    types::{
        Attributes, Found, FoundState, Merge, NamespaceId, OriginId, OwedReason, Rank, SystemEntry,
        Version, limits::END_OF_TIME, merge,
    },
};

/// Which rows of its key a write replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// Those of earlier versions.
    Earlier,
    /// Those too of its own version that can't be read or were freed.
    AnyOfIts,
}

impl<S: Snapshot> Transaction<'_, S> {
    /// Applies one write, or the end of a session.
    pub(super) fn apply_remote(&mut self, remote: Remote) -> Result<Applied, WriteError> {
        match remote {
            Remote::Next(write) => self.apply_next(write),
            Remote::Row(write) => self.apply_row(write),
            Remote::Found(write) => self.apply_write(write, Over::AnyOfIts),
            Remote::Settled { namespace, key, is_nothing } => {
                self.settle(namespace, &key, is_nothing)
            }
            Remote::Adopt { vector, collected, floor, damaged } => {
                let is_ahead = |own: &OriginId| {
                    let ours = self.state.vector.get(*own);
                    vector.get(*own) > ours || collected.get(*own) > ours
                };
                if self.state.own.iter().any(is_ahead) {
                    return Ok(Applied::NotMade);
                }
                self.adopt_owed(damaged)?;
                Arc::make_mut(&mut self.state.vector).merge(&vector);
                Arc::make_mut(&mut self.state.collected).merge(&collected);
                self.raise_closed(floor);
                Ok(Applied::Adopted)
            }
        }
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
        let applied = self.apply_write(write, Over::Earlier)?;
        if !matches!(applied, Applied::Conflict | Applied::NotMade | Applied::Refused(_)) {
            Arc::make_mut(&mut self.state.vector).raise(dot.origin, dot.seq);
        }
        Ok(applied)
    }

    /// Applies a row of a session, which the vector does not count yet.
    fn apply_row(&mut self, write: RemoteWrite) -> Result<Applied, WriteError> {
        if self.state.vector.covers(write.dot) && !self.repairs(&write)? {
            return Ok(Applied::Known);
        }
        self.apply_write(write, Over::Earlier)
    }

    /// Whether a row has the value of a write that is here as an expired tombstone, because a clock that was
    /// wrong expired it too early.
    fn repairs(&mut self, write: &RemoteWrite) -> Result<bool, WriteError> {
        if !matches!(write.change, NewContent::Put { .. }) {
            return Ok(false);
        }
        match self.row(&EntryKey::new(write.namespace, &write.key)) {
            Ok(current) => Ok(current.is_some_and(|head| {
                head.state == FoundState::ExpiredTombstone
                    && (head.dot, head.version) == (write.dot, version(write))
            })),
            Err(ReadError::Damaged { .. }) => Ok(false),
            Err(error) => Err(unread(error)),
        }
    }

    /// Merges a write with the row of its key.
    fn apply_write(&mut self, write: RemoteWrite, over: Over) -> Result<Applied, WriteError> {
        if let Some(reason) = refusal(&write) {
            return Ok(Applied::Refused(reason));
        }
        let is_own = self.state.own.contains(&write.dot.origin);
        if is_own && !self.state.vector.covers(write.dot) {
            // This store did not give this number.
            return Ok(Applied::NotMade);
        }
        let incoming = match self.system_row(&write) {
            Ok(entry) => entry,
            Err(reason) => return Ok(Applied::Refused(reason)),
        };
        if self.state.namespaces.is_dropped(write.namespace) {
            self.state.clock.receive(self.time.present, write.hlc);
            return Ok(Applied::Dropped);
        }
        check_upload(&write.change)?;
        let key = EntryKey::new(write.namespace, &write.key);
        let current = self.readable_head(&key, over)?;
        let mut merged = self.merge_with(current.as_ref(), &write, incoming.as_ref());
        if merged == Merge::Same
            && over == Over::AnyOfIts
            && self.must_restore(current.as_ref(), &write)?
        {
            merged = Merge::Replace;
        }
        if merged != Merge::Conflict {
            self.state.clock.receive(self.time.present, write.hlc);
        }
        match merged {
            Merge::Conflict => Ok(Applied::Conflict),
            Merge::Same => Ok(Applied::Known),
            Merge::Keep => Ok(Applied::Lost),
            Merge::Replace => {
                let concurrent = is_concurrent(current.as_ref(), &write);
                let name = WriteName { dot: write.dot, version: version(&write), prev: write.prev };
                if current.is_some() && self.owes_chunk(&key) {
                    // The version of the damaged value is known, and this one is not earlier.
                    self.repay(&key);
                }
                self.replace(key, current, name, write.change);
                match incoming {
                    Some(SystemEntry::Namespace(namespace)) => self.register(namespace),
                    Some(SystemEntry::Member(member)) => {
                        Arc::make_mut(&mut self.state.members).insert(member);
                    }
                    None => {}
                }
                Ok(Applied::Won { concurrent })
            }
        }
    }

    /// Whether a row that was found by name replaces the row of the same version that is here: it is a value, and
    /// the value that is here was freed or can't be read.
    fn must_restore(
        &mut self,
        current: Option<&Found<()>>,
        write: &RemoteWrite,
    ) -> Result<bool, WriteError> {
        let Some(head) = current else { return Ok(false) };
        if !matches!(write.change, NewContent::Put { .. }) {
            return Ok(false);
        }
        if head.is_tombstone() {
            return Ok(true);
        }
        let entry = EntryKey::new(write.namespace, &write.key);
        let is_damaged = self.readable(&entry).map_err(unread)? == Readable::Damaged;
        Ok(is_damaged || self.state.owed.get(write.namespace, &write.key).is_some())
    }

    /// Whether only the value of a row is owed, and its head can be read.
    fn owes_chunk(&self, key: &EntryKey) -> bool {
        let (namespace, name) = key.split();
        let owed = self.state.owed.get(namespace, name);
        owed.is_some_and(|owed| owed.reason == OwedReason::Chunk)
    }

    /// Reads the row that a write is merged with. A damaged one counts as none, and is owed: it may be the
    /// later write, which only the other members can tell.
    fn readable_head(
        &mut self,
        key: &EntryKey,
        over: Over,
    ) -> Result<Option<Found<()>>, WriteError> {
        match self.row(key) {
            Err(ReadError::Damaged { .. }) => {
                if over == Over::Earlier {
                    self.owe_row(key);
                }
                Ok(None)
            }
            read => read.map_err(unread),
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
                SystemEntry::decode(&write.key, value).map(Some).map_err(|error| error.0)
            }
            _ => Err("an entry of the system namespace is put, never deleted and never expires"),
        }
    }

    /// Whether this store knows that the namespace or member of an entry has ended.
    fn is_ended(&self, entry: &SystemEntry) -> bool {
        match entry {
            SystemEntry::Namespace(namespace) => self.state.namespaces.is_dropped(namespace.id),
            SystemEntry::Member(member) => {
                self.state.members.get(member.id).is_some_and(|member| member.removed)
            }
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
            is_freed: head.state == FoundState::ExpiredTombstone,
        };
        let there = Rank {
            dropped: incoming.is_some_and(SystemEntry::is_final),
            version: version(write),
            is_freed: matches!(write.change, NewContent::Expired { .. }),
        };
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
        // At equal versions the value replaces its own expired tombstone.
        (Some(loser), Some(prev)) => loser.version > prev && loser.version != version(write),
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
    if write.dot.seq == 0 {
        return Some("sequence numbers begin at 1");
    }
    if write.dot.origin.0 == [0; 16] {
        return Some("an origin whose id is zero");
    }
    if write.hlc.millis() >= END_OF_TIME * 1000 {
        return Some("a write is dated in the year 2200 or later");
    }
    let expires_at = match &write.change {
        NewContent::Put { attributes, .. } => attributes.expires_at,
        NewContent::Expired { expires_at } => Some(*expires_at),
        NewContent::Delete => None,
    };
    if expires_at.is_some_and(|at| at >= END_OF_TIME) {
        return Some("an entry expires in the year 2200 or later");
    }
    None
}
