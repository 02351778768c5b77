//! Applying the writes of peers: the merge.
//!
//! A write from a live stream is applied only if it is the next of its origin, so that the version vector
//! stays true. Rows of a catch-up session come in any order. Their vector is adopted at the end of the
//! session, because before that it would count rows that are not here.

use std::sync::Arc;

use super::{
    applied::Applied,
    chunks::check_upload,
    entry::WriteName,
    operation::{NewContent, Remote, RemoteWrite},
    owed::Readable,
    read::unread,
    transaction::Transaction,
};
use crate::{
    engine::Snapshot,
    error::{ReadError, WriteError},
    tables::{self, EntryKey, Purge},
    types::{
        DamagedKey, Dot, Found, FoundState, Hlc, JoinedRow, Merge, Namespace, NamespaceId,
        OriginEntry, OriginId, OwedReason, Present, Rank, Version, VersionVector,
        limits::{END_OF_TIME, MAX_AHEAD_MS, MAX_ORIGINS},
        merge,
    },
};

/// Which rows of its key a write replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// Those of earlier versions.
    Earlier,
    /// Those too of its own version that can't be read or were freed.
    AnyOfIts,
}

/// The reason to refuse writes of this process's own origins that it has not made.
pub(super) const FOREIGN: &str = "a write under the origins of this process that it has not made";

/// The reason to refuse the first write of an origin that is another row than its opening row.
const NOT_OPENED: &str = "the first write of an origin does not open it";

impl<S: Snapshot> Transaction<'_, S> {
    /// Applies one write, or the end of a session.
    pub(super) fn apply_remote(&mut self, remote: Remote) -> Result<Applied, WriteError> {
        match remote {
            Remote::Next(write) => self.apply_next(write),
            Remote::Row(write) => self.apply_row(write),
            Remote::Found(write) => self.apply_write(write, Over::AnyOfIts),
            Remote::Skip(skipped) => self.skip(skipped),
            Remote::Ended { namespace, key, counted } => self.end_entry(namespace, &key, &counted),
            Remote::Settled { namespace, key, is_nothing, is_destroyed } => {
                if is_nothing && let Some(settled) = self.settle_destroyed_opening(namespace, &key)
                {
                    return settled;
                }
                // Nobody can put an entry of a namespace that was dropped, or of the system namespace. But a namespace of
                // which the row is destroyed can be created again.
                let is_namespace = Namespace::id_of(&key).is_some();
                let can_be_put = (namespace != NamespaceId::SYSTEM || is_namespace)
                    && !self.state.namespaces.is_dropped(namespace);
                if is_nothing && is_destroyed && can_be_put {
                    return Ok(Applied::Lost);
                }
                self.settle(namespace, &key, is_nothing)
            }
            Remote::Adopt { vector, collected, floor, damaged } => {
                self.adopt((&vector, &collected), floor, damaged)
            }
            Remote::Rebuild => {
                self.state.is_rebuilding = true;
                Ok(Applied::Rebuilding)
            }
            Remote::DropRow { namespace, key, dot } => self.drop_row(namespace, &key, dot),
            Remote::Uncount { vector } => Ok(self.uncount(&vector)),
            Remote::Disown { origin, made } => Ok(self.disown(origin, made)),
            Remote::Rebuilt { vector, collected, floor, damaged } => {
                let applied = self.adopt((&vector, &collected), floor, damaged)?;
                self.state.is_rebuilding &= applied != Applied::Adopted;
                Ok(applied)
            }
        }
    }

    /// Adopts the vectors of a session, as far as the opening rows of its origins are here, or are owed because the
    /// source could not read them: another origin without one was invented, or a later session brings its row.
    ///
    /// The keys that the source could not read become owed, and the store's later writes are later than `floor`.
    fn adopt(
        &mut self,
        (vector, collected): (&VersionVector, &VersionVector),
        floor: Hlc,
        damaged: Vec<DamagedKey>,
    ) -> Result<Applied, WriteError> {
        let is_ahead = |own: &OriginId| {
            let ours = self.state.vector.get(*own);
            vector.get(*own) > ours || collected.get(*own) > ours
        };
        if self.state.writes_under().iter().flatten().any(is_ahead) {
            return Ok(Applied::Refused(FOREIGN));
        }
        if !self.may_be_floor(floor) {
            return Ok(Applied::FarAhead);
        }
        if !self.adopt_owed(damaged, vector)? {
            return Ok(Applied::NoRoom);
        }
        let state = &self.state;
        let known = |vector: &VersionVector| -> VersionVector {
            vector.iter().filter(|dot| state.knows_origin(dot.origin)).collect()
        };
        let (vector, mut collected) = (known(vector), known(collected));
        self.state.vector.merge(&vector);
        // No store collects a tombstone that it does not count. Others would have to rebuild for one that does not exist.
        for dot in collected.clone().iter() {
            collected.lower(dot.origin, self.state.vector.get(dot.origin));
        }
        self.state.collected.merge(&collected);
        self.raise_closed(floor);
        self.state.collected_upto = self.state.collected_upto.max(floor);
        Ok(Applied::Adopted)
    }

    /// Whether a source can have collected tombstones up to this time. Every member has closed it then, this location too
    /// if it was a member: so it is not later than its own closed timestamp, or than the present. If all clocks were ahead for
    /// long, it is later for one that joins, or was restored: then most other members have resolved it. A lower one can't be
    /// adopted in its place: a local write before the true one would lose to a tombstone that a third location still has.
    fn may_be_floor(&self, floor: Hlc) -> bool {
        let Present { now_ms, max_skew_ms } = self.time.present;
        let max_skew_ms = max_skew_ms.saturating_add(MAX_AHEAD_MS);
        let is_near = Present { now_ms, max_skew_ms }.admits(floor);
        let is_reached = floor <= self.state.closed.max(self.time.resolved_by_most);
        (is_reached || is_near) && floor <= Hlc::LAST_CLOSED
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
        if !matches!(applied, Applied::Conflict | Applied::Refused(_) | Applied::Ignored) {
            self.state.vector.raise(dot.origin, dot.seq);
        }
        Ok(applied)
    }

    /// Applies a row of a session, which the vector does not count yet. The opening row of an origin is its first
    /// write, so that it is counted at once. It comes before the other rows of its origin.
    fn apply_row(&mut self, write: RemoteWrite) -> Result<Applied, WriteError> {
        if self.state.vector.covers(write.dot) && !self.repairs(&write)? {
            return Ok(Applied::Known);
        }
        if write.dot.seq == 1 {
            return self.apply_next(write);
        }
        // A row of the system namespace has dots of several origins, some of which may not be opened here yet.
        let is_joined = matches!(write.change, NewContent::Joined(_));
        if !is_joined && !self.state.knows_origin(write.dot.origin) {
            return Ok(Applied::Unopened);
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
        let is_own = self.state.writes_under().is_some_and(|own| own.contains(&write.dot.origin));
        if is_own && !self.state.vector.covers(write.dot) {
            return Ok(Applied::Refused(FOREIGN));
        }
        if let Err(applied) = self.check_origin(&write) {
            return Ok(applied);
        }
        if let NewContent::Joined(row) = &write.change {
            let row = Arc::clone(row);
            return self.apply_joined(&write, &row, over);
        }
        if write.namespace == NamespaceId::SYSTEM {
            return Ok(Applied::Refused("a row of the system namespace that is not a joined row"));
        }
        if self.state.namespaces.is_dead(write.namespace, version(&write)) {
            self.state.clock.receive(self.time.present, write.hlc);
            return Ok(Applied::Dropped);
        }
        check_upload(&write.change)?;
        let key = EntryKey::new(write.namespace, &write.key);
        let current = self.readable_head(&key, over)?;
        if over == Over::AnyOfIts && self.has_ended(&key, write.dot).map_err(unread)? {
            return Ok(Applied::Lost);
        }
        let mut merged = merge_with(current.as_ref(), &write);
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
                    self.repay_overwritten(&key);
                }
                let found = self.replace(key, current, name, write.change);
                self.look_for_life(write.namespace, &found);
                Ok(Applied::Won { concurrent })
            }
        }
    }

    /// Whether a write was deleted here, and its tombstone collected: the vector counts the write, nothing is left of
    /// it, and nothing is owed. A row that was found by name may arrive so late.
    fn has_ended(&mut self, key: &EntryKey, dot: Dot) -> Result<bool, ReadError> {
        let (namespace, name) = key.split();
        let is_counted = self.state.vector.covers(dot);
        if !is_counted || self.state.owed.get(namespace, name).is_some() {
            return Ok(false);
        }
        match self.row(key) {
            Err(ReadError::Damaged { .. }) => Ok(false),
            row => row.map(|row| row.is_none()),
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
    /// later write: only the other members know.
    pub(super) fn readable_head(
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

    /// Lets garbage collection look at a dropped namespace that got an entry later than its drop: it exists then.
    fn look_for_life(&mut self, namespace: NamespaceId, found: &Found) {
        let namespaces = &self.state.namespaces;
        let is_dropped = namespaces.is_dropped(namespace) && namespaces.known(namespace).is_some();
        if is_dropped && found.is_visible(self.time.present.now_ms) {
            tables::put::<Purge>(&mut self.batch, &namespace, &Vec::new());
        }
    }

    /// Checks that the first write of an origin, and no other, is its opening row, and that there is room for the
    /// origins that a write names.
    fn check_origin(&self, write: &RemoteWrite) -> Result<(), Applied> {
        let joined = match &write.change {
            NewContent::Joined(row) => Some(row.as_ref()),
            _ => None,
        };
        let fields = joined.into_iter().flat_map(JoinedRow::dots).map(|dot| dot.origin);
        let named = write.prev.map(|prev| prev.origin).into_iter().chain(fields);
        let is_new = |origin: OriginId| self.state.origins.number(origin).is_none();
        let new = named.filter(|origin| *origin != write.dot.origin && is_new(*origin)).count();
        if new > 0 && self.state.origins.len() + new > 2 * MAX_ORIGINS {
            return Err(Applied::Refused("a write that names one of too many origins"));
        }
        let entry = joined.filter(|_| OriginEntry::is_key(&write.key));
        let opened = match entry.map(|row| OriginEntry::of(&write.key, row)).transpose() {
            Ok(Some(OriginEntry::Opened(info))) => Some(info),
            Ok(_) => None,
            Err(error) => return Err(Applied::Refused(error.0)),
        };
        match opened {
            None if write.dot.seq == 1 => Err(Applied::Refused(NOT_OPENED)),
            Some(info) if write.dot.seq == 1 && write.dot.origin != info.id => {
                Err(Applied::Refused(NOT_OPENED))
            }
            None => Ok(()),
            Some(info) => self.check_opening(&info),
        }
    }
}

/// Decides whether an incoming write replaces the row that is there. Stores that have both writes decide
/// alike, whatever the order in which they arrived.
fn merge_with(current: Option<&Found<()>>, write: &RemoteWrite) -> Merge {
    let Some(head) = current else { return Merge::Replace };
    let is_delete = matches!(write.change, NewContent::Delete);
    let here = Rank { version: head.version, is_freed: head.state == FoundState::ExpiredTombstone };
    let is_freed = matches!(write.change, NewContent::Expired { .. });
    let there = Rank { version: version(write), is_freed };
    merge(
        ((head.dot.seq, head.state == FoundState::Tombstone), here),
        ((write.dot.seq, is_delete), there),
    )
}

/// Whether the writer did not know the write that it replaces.
fn is_concurrent(current: Option<&Found<()>>, write: &RemoteWrite) -> bool {
    match (current, write.prev) {
        (None, _) => false,
        // At equal versions the value replaces its own expired tombstone.
        (Some(loser), Some(prev)) => loser.version > prev && loser.version != version(write),
        // The writer found nothing under the key, for example because the tombstone was collected there.
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
        NewContent::Joined(row) => {
            row.iter().map(|(_, field)| field.version.hlc).max().unwrap_or(write.hlc)
        }
        _ => write.hlc,
    };
    if write.hlc.max(latest) >= Hlc::END {
        return Some("a write is dated in the year 2200 or later");
    }
    let expires_at = match &write.change {
        NewContent::Put { attributes, .. } => attributes.expires_at,
        NewContent::Expired { expires_at } => Some(*expires_at),
        NewContent::Delete | NewContent::Joined(_) => None,
    };
    if expires_at.is_some_and(|at| at >= END_OF_TIME) {
        return Some("an entry expires in the year 2200 or later");
    }
    None
}
