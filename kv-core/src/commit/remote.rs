//! Applying the writes of peers: the merge.
//!
//! A write from a live stream is applied only if it is the next of its origin, so that the version vector
//! stays true. Rows of a catch-up session come in any order. Their vector is adopted at the end of the
//! session, because before that it would count rows that are not here.

use std::sync::Arc;

use super::{
    operation::{Applied, NewContent, Remote, RemoteWrite},
    transaction::{Transaction, WriteName, check_upload, unread},
};
use crate::{
    body::NewBodyKind,
    engine::Snapshot,
    error::WriteError,
    tables::EntryKey,
    types::{
        Attributes, Found, FoundState, Merge, NamespaceId, OriginId, Rank, SystemEntry, Version,
        merge,
    },
};

/// Times from here on (the year 4199) are rejected: a clock that adopted one would soon have no later
/// times to give.
const MAX_REMOTE_MILLIS: u64 = 1 << 46;

impl<S: Snapshot> Transaction<'_, S> {
    /// Applies one write, or the end of a session.
    pub(super) fn apply_remote(&mut self, remote: Remote) -> Result<Applied, WriteError> {
        match remote {
            Remote::Next(write) => self.apply_next(write),
            Remote::Row(write) => self.apply_row(write),
            Remote::Adopt { vector, collected } => {
                let is_ahead = |own: &OriginId| {
                    let ours = self.state.vector.get(*own);
                    vector.get(*own) > ours || collected.get(*own) > ours
                };
                if self.state.own.iter().any(is_ahead) {
                    return Ok(Applied::NotMade);
                }
                Arc::make_mut(&mut self.state.vector).merge(&vector);
                Arc::make_mut(&mut self.state.collected).merge(&collected);
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
        let applied = self.apply_write(write)?;
        if !matches!(applied, Applied::Conflict | Applied::NotMade | Applied::Refused(_)) {
            Arc::make_mut(&mut self.state.vector).raise(dot.origin, dot.seq);
        }
        Ok(applied)
    }

    /// Applies a row of a session, which the vector does not count yet.
    fn apply_row(&mut self, write: RemoteWrite) -> Result<Applied, WriteError> {
        if self.state.vector.covers(write.dot) {
            return Ok(Applied::Known);
        }
        self.apply_write(write)
    }

    /// Merges a write with the row of its key.
    fn apply_write(&mut self, write: RemoteWrite) -> Result<Applied, WriteError> {
        if let Some(reason) = refusal(&write) {
            return Ok(Applied::Refused(reason));
        }
        if self.state.own.contains(&write.dot.origin) {
            // This store did not give this number.
            return Ok(Applied::NotMade);
        }
        if let NewContent::Joined(row) = &write.change {
            let row = Arc::clone(row);
            return self.apply_joined(&write, &row);
        }
        let incoming = match self.system_row(&write) {
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
