//! Applying what peers send: the merge.
//!
//! A write from a live stream is applied only if it is the next of its origin, so that the vector
//! stays true. Rows of a catch-up session come in any order; the vector is adopted at its end, for
//! until then it would claim what is not here.

use std::sync::Arc;

use super::transaction::{
    NewRow, Transaction, WriteName, check_attributes, check_key, check_upload, unread,
};
use crate::{
    NamespaceId, OriginId, Version,
    body::NewBodyKind,
    crdt::{Merge, Rank, merge},
    engine::Snapshot,
    entry::Attributes,
    error::WriteError,
    operation::{Applied, Remote, RemoteChange, RemoteWrite},
    record::{Head, Kind},
    schema,
    system::SystemEntry,
};

/// Times from here on (the year 4199) are refused: a clock that took one over would soon have no later
/// ones to give.
const MAX_REMOTE_MILLIS: u64 = 1 << 46;

impl<S: Snapshot> Transaction<'_, S> {
    pub(super) fn apply_remote(&mut self, remote: &Remote) -> Result<Applied, WriteError> {
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
                Arc::make_mut(&mut self.state.vector).merge(vector);
                Arc::make_mut(&mut self.state.collected).merge(collected);
                Ok(Applied::Adopted)
            }
        }
    }

    fn apply_next(&mut self, write: &RemoteWrite) -> Result<Applied, WriteError> {
        if self.state.vector.covers(write.dot) {
            return Ok(Applied::Known);
        }
        if let Err(missing) = self.state.vector.validate(write.dot) {
            return Ok(Applied::Gap { missing });
        }
        let applied = self.apply_write(write)?;
        if !matches!(applied, Applied::Conflict | Applied::NotMade | Applied::Refused(_)) {
            Arc::make_mut(&mut self.state.vector).raise(write.dot.origin, write.dot.seq);
        }
        Ok(applied)
    }

    fn apply_row(&mut self, write: &RemoteWrite) -> Result<Applied, WriteError> {
        if self.state.vector.covers(write.dot) {
            return Ok(Applied::Known);
        }
        self.apply_write(write)
    }

    fn apply_write(&mut self, write: &RemoteWrite) -> Result<Applied, WriteError> {
        if let Some(reason) = refusal(write) {
            return Ok(Applied::Refused(reason));
        }
        if self.state.own.contains(&write.dot.origin) {
            // A number of ours that we did not give.
            return Ok(Applied::NotMade);
        }
        let incoming = match self.system_row(write) {
            Ok(entry) => entry,
            Err(reason) => return Ok(Applied::Refused(reason)),
        };
        if self.state.namespaces.is_dropped(write.namespace) {
            self.state.clock.receive(write.hlc);
            return Ok(Applied::Dropped);
        }
        if let RemoteChange::Put { body, .. } = &write.change {
            check_upload(body)?;
        }
        let row_key = schema::entry(write.namespace, &write.key);
        let current = self.row(&row_key).map_err(unread)?;
        let merged = self.merge_with(current.as_ref(), write, incoming.as_ref())?;
        if merged != Merge::Conflict {
            self.state.clock.receive(write.hlc);
        }
        match merged {
            Merge::Conflict => Ok(Applied::Conflict),
            Merge::Same => Ok(Applied::Known),
            Merge::Keep => Ok(Applied::Lost),
            Merge::Replace => {
                let concurrent = self.is_concurrent(current.as_ref(), write)?;
                self.put_remote(row_key, current, write);
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

    /// What a write to the system namespace says, if it is one.
    fn system_row(&self, write: &RemoteWrite) -> Result<Option<SystemEntry>, &'static str> {
        if write.namespace != NamespaceId::SYSTEM {
            return Ok(None);
        }
        match &write.change {
            RemoteChange::Put { body, attributes } if *attributes == Attributes::default() => {
                let NewBodyKind::Inline(value) = &body.0 else {
                    return Err("an entry of the system namespace with a large body");
                };
                SystemEntry::decode(&write.key, value).map(Some).map_err(|error| error.0)
            }
            _ => Err("an entry of the system namespace is put, never deleted and never expires"),
        }
    }

    /// Whether the end of what a system entry names is known here.
    fn is_ended(&self, entry: &SystemEntry) -> bool {
        match entry {
            SystemEntry::Namespace(namespace) => self.state.namespaces.is_dropped(namespace.id),
            SystemEntry::Member(member) => {
                self.state.members.get(member.id).is_some_and(|member| member.removed)
            }
        }
    }

    fn merge_with(
        &self,
        current: Option<&Head>,
        write: &RemoteWrite,
        incoming: Option<&SystemEntry>,
    ) -> Result<Merge, WriteError> {
        let Some(head) = current else {
            return Ok(Merge::Replace);
        };
        let is_delete = matches!(write.change, RemoteChange::Delete);
        let here = Rank {
            dropped: incoming.is_some_and(|entry| self.is_ended(entry)),
            version: self.version(head.version)?,
        };
        let there =
            Rank { dropped: incoming.is_some_and(SystemEntry::is_final), version: version(write) };
        Ok(merge(
            ((head.seq, head.kind == Kind::Tombstone), here),
            ((write.dot.seq, is_delete), there),
        ))
    }

    /// Whether the write that is replaced was unknown to the one that replaces it.
    fn is_concurrent(
        &self,
        current: Option<&Head>,
        write: &RemoteWrite,
    ) -> Result<bool, WriteError> {
        let Some(loser) = current else {
            return Ok(false);
        };
        Ok(match write.prev {
            Some(prev) => self.version(loser.version)? > prev,
            // Made where nothing was there, perhaps because the tombstone was gone already.
            None => !loser.is_tombstone(),
        })
    }

    fn put_remote(&mut self, row_key: Vec<u8>, current: Option<Head>, write: &RemoteWrite) {
        let name = WriteName { dot: write.dot, version: version(write), prev: write.prev };
        let row = match &write.change {
            RemoteChange::Put { body, attributes } => NewRow::Value(body, attributes),
            RemoteChange::Delete => NewRow::Tombstone,
            RemoteChange::Expired { expires_at } => {
                NewRow::ExpiredTombstone { expires_at: *expires_at }
            }
        };
        self.replace(row_key, current, name, &row);
    }
}

fn version(write: &RemoteWrite) -> Version {
    Version { hlc: write.hlc, origin: write.dot.origin }
}

/// Why no store could have made this write, if so.
fn refusal(write: &RemoteWrite) -> Option<&'static str> {
    if write.dot.seq == 0 {
        return Some("sequence numbers begin at 1");
    }
    if write.hlc.millis() >= MAX_REMOTE_MILLIS {
        return Some("a time that no clock shows");
    }
    if check_key(&write.key).is_err() {
        return Some("a key over its bound");
    }
    match &write.change {
        RemoteChange::Put { attributes, .. } if check_attributes(attributes).is_err() => {
            Some("metadata over its bound")
        }
        _ => None,
    }
}
