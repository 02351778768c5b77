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
    engine::Snapshot,
    error::WriteError,
    tables::{self, EntryKey, Purge},
    types::{Found, FoundState, Merge, NamespaceId, OriginId, Version, merge},
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
