//! Owed rows: which keys this store can't read although its vector counts them, in a table of their own.
//!
//! A key becomes owed in the commit that meets the damage, or with the vector that counts the write. It stays
//! owed until every member has answered for it ([`Remote::Settled`](super::Remote::Settled)), or until a local
//! write replaces a row that was damaged here.
//!
//! Nobody knows the version of a damaged row, and others may still have that row. So a local write of its key is later
//! than every row that this store has ever had: the row does not come back over it. A write that a source could not
//! read was never here, and the local write may be the earlier one: the key stays owed then.

use std::{collections::BTreeSet, sync::Arc};

use super::{applied::Applied, operation::Outcome, read::unread, transaction::Transaction};
use crate::{
    engine::{Snapshot, Table},
    error::{ReadError, WriteError},
    tables::{self, Dots, EntryKey, OwedRows, decode_entry},
    types::{
        DamagedKey, Dot, Found, Key, NamespaceId, OriginId, Owed, OwedReason, UNPLACED, Version,
        VersionVector,
        limits::{CHUNK_BYTES, MAX_NAMED, MAX_OWED},
    },
    view::{Met, MetDamage},
};

impl<S: Snapshot> Transaction<'_, S> {
    /// Records that the row of a key is owed. Returns whether that is recorded now: not if there is no room, or if no
    /// member else can have an entry of a namespace that was dropped.
    pub(super) fn owe(&mut self, entry: &EntryKey, owed: Owed) -> bool {
        let (namespace, name) = entry.split();
        let before = self.state.owed.get(namespace, name);
        if before.is_none() {
            if self.state.namespaces.is_dropped(namespace) && !self.has_others() {
                return false;
            }
            if self.state.owed.is_full() {
                tracing::error!(
                    "{MAX_OWED} rows are damaged and recorded, and there are more: replace the disk, and let this \
                     location join again with an empty data directory"
                );
                return false;
            }
            tracing::error!(
                %namespace,
                reason = ?owed.reason,
                "a row is damaged: its key is recorded, and its entry is fetched from the other locations"
            );
        }
        let all = before.map_or(owed, |before| before.and(owed));
        if before != Some(all) {
            self.set_owed(entry, all);
        }
        if owed.reason == OwedReason::Row {
            self.restore_opening(entry);
        }
        true
    }

    /// Sets how a key is owed.
    fn set_owed(&mut self, entry: &EntryKey, owed: Owed) {
        let (namespace, name) = entry.split();
        let key = Key::new(name).expect("the key of an entry is valid");
        Arc::make_mut(&mut self.state.owed).set(namespace, key, owed);
        tables::put::<OwedRows>(&mut self.batch, entry, &owed);
    }

    /// Records that the row of a key that an operation met is damaged. Returns as [`Transaction::owe`] does.
    pub(super) fn owe_row(&mut self, entry: &EntryKey) -> bool {
        let owed = Owed { since_ms: self.time.present.now_ms, reason: OwedReason::Row, dot: None };
        self.owe(entry, owed)
    }

    /// A version that no row of a key is later than that was here and can't be read; none if there is no such row.
    pub(super) fn unread_version(&self, entry: &EntryKey) -> Option<Version> {
        let (namespace, name) = entry.split();
        let owed = self.state.owed.get(namespace, name);
        let is_unread = owed.is_some_and(|owed| owed.reason == OwedReason::Row);
        is_unread.then(|| self.newest_version())
    }

    /// A version that no row that was ever here is later than.
    pub(super) fn newest_version(&self) -> Version {
        Version { hlc: self.state.newest, origin: OriginId([u8::MAX; 16]) }
    }

    /// Whether a row of a namespace was here, can't be read, and is recorded.
    pub(super) fn has_unread_in(&self, namespace: NamespaceId) -> bool {
        let mut owed = self.state.owed.iter();
        owed.any(|(of, _, owed)| of == namespace && owed.reason == OwedReason::Row)
    }

    /// A row that is later than every row that was ever here has replaced the row of a key. A write that a source could
    /// not read is still owed, if another location may have it.
    pub(super) fn repay_overwritten(&mut self, entry: &EntryKey) {
        let (namespace, name) = entry.split();
        let Some(before) = self.state.owed.get(namespace, name) else { return };
        match before.overwritten().filter(|_| self.has_others()) {
            Some(left) if left == before => {}
            Some(left) => self.set_owed(entry, left),
            None => self.repay(entry),
        }
    }

    /// Records that the index of writes may not name an owed key: each catch-up from here does.
    pub(super) fn unplace(&mut self, entry: &EntryKey) {
        let (namespace, name) = entry.split();
        if let Some(before) = self.state.owed.get(namespace, name)
            && !before.is_unplaced()
        {
            self.set_owed(entry, Owed { dot: Some(UNPLACED), ..before });
        }
    }

    /// Records that the row of a key is not owed any more.
    pub(super) fn repay(&mut self, entry: &EntryKey) {
        let (namespace, name) = entry.split();
        if self.state.owed.get(namespace, name).is_some() {
            let key = Key::new(name).expect("the key of an entry is valid");
            Arc::make_mut(&mut self.state.owed).remove(namespace, &key);
            tables::delete::<OwedRows>(&mut self.batch, entry);
        }
    }

    /// Forgets the owed keys of a namespace that is dropped, unless another location may have entries of it that are
    /// later than the drop.
    pub(super) fn repay_namespace(&mut self, namespace: NamespaceId) {
        if self.has_others() {
            return;
        }
        let keys: Vec<_> = self.state.owed.from(namespace, b"").cloned().collect();
        keys.iter().for_each(|key| self.repay(&EntryKey::new(namespace, key)));
    }

    /// Records the damage that readers met, unless it has been repaired since.
    pub(super) fn owe_met(&mut self, met: Vec<MetDamage>) -> Result<Outcome, WriteError> {
        for MetDamage { entry, met } in met {
            let found = self.readable(&entry).map_err(unread)?;
            let reason = match (met, found) {
                (_, Readable::Damaged) => OwedReason::Row,
                (Met::Row, Readable::Nothing) if self.lacks_opening(&entry) => OwedReason::Row,
                (Met::Row, _) => continue,
                (Met::Chunk { body, index }, Readable::Large(large)) if large == body => {
                    match self.view.chunk(body, index) {
                        Ok(Some(_)) => continue,
                        Ok(None) | Err(ReadError::Damaged { .. }) => OwedReason::Chunk,
                        Err(error) => return Err(unread(error)),
                    }
                }
                (Met::Chunk { .. }, _) => continue,
            };
            self.owe(&entry, Owed { since_ms: self.time.present.now_ms, reason, dot: None });
        }
        Ok(Outcome::Owed)
    }

    /// Adopts the keys that a source could not read, as far as this store lacks their writes. Each of these writes gets
    /// a row in the index of dots, so that this store names it in its turn. An opening row is counted at once, as it
    /// would be if it were here: then the other writes of its origin can be applied.
    ///
    /// Returns false if there is no room for all of them: then their writes must not be counted. Some are recorded all
    /// the same, so that an operator sees them and other members send them; half of the room is left for damage here.
    ///
    /// A write that the source could not name may be any that this store lacks. If it lacks none that the source counts, it
    /// lacks no such write either.
    ///
    /// # Errors
    /// If the store can't be read.
    pub(super) fn adopt_owed(
        &mut self,
        damaged: Vec<DamagedKey>,
        counted: &VersionVector,
    ) -> Result<bool, WriteError> {
        let mut missing = Vec::new();
        let lacks_some = !self.state.vector.covers_all(counted);
        let openings: BTreeSet<_> =
            damaged.iter().filter(|one| one.is_opening()).map(|one| one.dot).collect();
        for DamagedKey { namespace, key, dot } in damaged {
            if dot == UNPLACED {
                missing.extend(lacks_some.then(|| (EntryKey::new(namespace, &key), dot)));
                continue;
            }
            // The vector that is adopted counts no write of another origin that is not opened here.
            let opening = Dot { seq: 1, ..dot };
            let is_known = self.state.knows_origin(dot.origin) || openings.contains(&opening);
            if self.state.vector.covers(dot) || !is_known {
                continue;
            }
            let entry = EntryKey::new(namespace, &key);
            let has_it = |found: Found<()>| found.dots().into_iter().any(|one| one == dot);
            let is_here = match self.row(&entry) {
                Ok(found) => found.is_some_and(has_it),
                Err(ReadError::Damaged { .. }) => false,
                Err(error) => return Err(unread(error)),
            };
            if !is_here {
                missing.push((entry, dot));
            }
        }
        let has_room = self.leave_out(&mut missing);
        for dot in openings.into_iter().filter(|dot| missing.iter().any(|(_, one)| one == dot)) {
            self.count_unopened(dot.origin);
        }
        missing.retain(|(_, dot)| *dot == UNPLACED || self.state.knows_origin(dot.origin));
        for (entry, dot) in missing {
            let (since_ms, reason) = (self.time.present.now_ms, OwedReason::Source);
            let is_recorded = self.owe(&entry, Owed { since_ms, reason, dot: Some(dot) });
            if is_recorded && dot != UNPLACED {
                let indexed = self.indexed(dot);
                tables::put::<Dots>(&mut self.batch, &indexed, &entry);
            }
        }
        Ok(has_room)
    }

    /// Leaves out keys that there is no room for. Returns whether there is room for all.
    fn leave_out(&self, missing: &mut Vec<(EntryKey, Dot)>) -> bool {
        let is_new = |entry: &EntryKey| {
            let (namespace, name) = entry.split();
            self.state.owed.get(namespace, name).is_none()
        };
        let new: BTreeSet<_> =
            missing.iter().map(|(entry, _)| entry).filter(|entry| is_new(entry)).cloned().collect();
        let is_named = |owed: Owed| owed.reason == OwedReason::Source;
        let named = self.state.owed.iter().filter(|(_, _, owed)| is_named(*owed)).count();
        let left = MAX_OWED.saturating_sub(self.state.owed.len());
        let room = MAX_NAMED.saturating_sub(named).min(left);
        if new.len() <= room {
            return true;
        }
        let left: BTreeSet<_> = new.into_iter().skip(room).collect();
        missing.retain(|(entry, _)| !left.contains(entry));
        tracing::error!(
            "more rows are damaged at a location than this one can record ({MAX_NAMED}), so that it can't catch up from \
             there: replace the disk of that location, and let it join again with an empty data directory"
        );
        false
    }

    /// Ends that a key is owed, because every member has answered for it. If none has a row of it, a row that can't be
    /// read is removed. So is one whose value can't be read, because no member has that value any more: what the others
    /// have of the key is fetched then.
    pub(super) fn settle(
        &mut self,
        namespace: NamespaceId,
        key: &Key,
        is_nothing: bool,
    ) -> Result<Applied, WriteError> {
        let entry = EntryKey::new(namespace, key);
        let is_unread = match self.readable(&entry).map_err(unread)? {
            Readable::Damaged => true,
            Readable::Large(_) => self.lacks_chunk(&entry)?,
            Readable::Nothing | Readable::Short => false,
        };
        if is_unread && !self.give_up(&entry, is_nothing)? {
            return Ok(Applied::Lost);
        }
        self.repay(&entry);
        Ok(Applied::Known)
    }

    /// Removes the value of an owed key that a member has counted and does not have any more. A tombstone stays until it is
    /// collected, and a write that the member does not count was not deleted there. Rows of the system namespace are never
    /// deleted.
    pub(super) fn end_entry(
        &mut self,
        namespace: NamespaceId,
        key: &Key,
        counted: &VersionVector,
    ) -> Result<Applied, WriteError> {
        let entry = EntryKey::new(namespace, key);
        let is_owed = self.state.owed.get(namespace, key).is_some();
        if !is_owed || namespace == NamespaceId::SYSTEM {
            return Ok(Applied::Lost);
        }
        let head = match self.row(&entry) {
            Err(ReadError::Damaged { .. }) => None,
            head => head.map_err(unread)?,
        };
        match head.filter(|head| !head.is_tombstone() && counted.covers(head.dot)) {
            Some(head) => {
                self.remove(entry, &head);
                Ok(Applied::Removed)
            }
            None => Ok(Applied::Lost),
        }
    }

    /// Removes a row that no location can read. Returns false if the key stays owed, because others have an earlier row.
    fn give_up(&mut self, entry: &EntryKey, is_nothing: bool) -> Result<bool, WriteError> {
        let head = match self.row(entry) {
            Ok(head) => head,
            Err(ReadError::Damaged { .. }) if !is_nothing => return Ok(false),
            Err(ReadError::Damaged { .. }) => None,
            Err(error) => return Err(unread(error)),
        };
        tracing::error!(namespace = %entry.split().0, "no location can read a damaged entry: it is removed");
        match head {
            // Its version is known, and is later than what the others have.
            Some(head) => self.remove(entry.clone(), &head),
            // Its row in the dot index stays: it is not known which it is.
            None => self.delete_unread(entry),
        }
        if !is_nothing {
            self.owe_row(entry);
        }
        Ok(is_nothing)
    }

    /// Whether a chunk of the value of a key was met damaged, and still can't be read.
    fn lacks_chunk(&mut self, entry: &EntryKey) -> Result<bool, WriteError> {
        let (namespace, name) = entry.split();
        let owed = self.state.owed.get(namespace, name);
        if owed.is_none_or(|owed| owed.reason != OwedReason::Chunk) {
            return Ok(false);
        }
        let head = self.row(entry).map_err(unread)?;
        let Some(large) = head.and_then(|head| head.large()) else { return Ok(false) };
        for index in 0..u32::try_from(large.len.div_ceil(CHUNK_BYTES as u64)).unwrap_or(u32::MAX) {
            match self.view.chunk(large.body, index) {
                Ok(Some(_)) => {}
                Ok(None) | Err(ReadError::Damaged { .. }) => return Ok(true),
                Err(error) => return Err(unread(error)),
            }
        }
        Ok(false)
    }

    /// Whether the row of a key can be read as a whole, as the operations so far left it. Chunks are not read.
    pub(super) fn readable(&mut self, entry: &EntryKey) -> Result<Readable, ReadError> {
        let head = match self.row(entry) {
            Err(ReadError::Damaged { .. }) => return Ok(Readable::Damaged),
            head => head?,
        };
        let Some(head) = head else { return Ok(Readable::Nothing) };
        if let Some(large) = head.large() {
            return Ok(Readable::Large(large.body));
        }
        if head.is_tombstone() || self.has_written(entry) {
            return Ok(Readable::Short);
        }
        let place = (Table::Entries, entry.as_bytes());
        let row = self.view.snapshot.get(place.0, place.1)?;
        let decoded = row.map(|row| decode_entry(place, &row, &self.state.origins).map(drop));
        Ok(if decoded.transpose().is_ok() { Readable::Short } else { Readable::Damaged })
    }
}

/// Whether a row can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readable {
    /// There is no row.
    Nothing,
    /// It is damaged.
    Damaged,
    /// It can, and has no chunks.
    Short,
    /// It can, and its value is this body.
    Large(crate::types::BodyId),
}
