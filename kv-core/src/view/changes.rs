//! The rows that a version vector lacks: catch-up and change feed in one.
//!
//! The dot index has one row for each key or tombstone. A catch-up from any vector thus reads each missing
//! key once, and nothing else.

use std::ops::{Bound, ControlFlow};

use super::{point::View, unindexed::unindexed};
use crate::{
    engine::Snapshot,
    error::ReadError,
    tables::{self, Dots, EntryKey, IndexedDot, Layout as _},
    types::{Change, DamagedKey, Dot, Key, NamespaceId, OriginId, OwedReason, VersionVector},
};

/// Some of the changes since a vector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The changes by dot: origin by origin, each by sequence number.
    pub changes: Vec<Change>,
    /// The keys of changes that can't be read here: damaged, or owed and not the change that the dot names.
    pub damaged: Vec<DamagedKey>,
    /// Writes of which nothing is left here, although the index names them: tombstones that were damaged, and that every
    /// other location had collected by then. They count as collected.
    pub gone: Vec<Dot>,
    /// Writes whose rows in the index can't be read: what they wrote is found later, see [`View::passed_over`].
    pub unread: Vec<Dot>,
    /// Where to continue; `None` if these were the last of this view.
    pub next: Option<Dot>,
}

impl<S: Snapshot> View<S> {
    /// Reads the changes that `since` lacks after the dot `resume`: at most `limit`, and at least one if
    /// there is one. After the last one, continue from [`View::vector`].
    ///
    /// # Errors
    /// [`ReadError::Gone`] if `since` lacks a tombstone that was collected, or is gone, or if the store can't be read. A
    /// damaged entry is no error: its key is named. A damaged row of the index is one until the writer has written it
    /// again.
    pub fn changes(
        &self,
        since: &VersionVector,
        resume: Option<Dot>,
        limit: usize,
    ) -> Result<Changes, ReadError> {
        if !since.covers_all(&self.collected) {
            return Err(ReadError::Gone);
        }
        let changes = self.rows_missing_in(since, resume, limit)?;
        if !changes.unread.is_empty() {
            return Err(unindexed());
        }
        if changes.gone.is_empty() { Ok(changes) } else { Err(ReadError::Gone) }
    }

    /// [`View::changes`] for an empty replica that also adopts [`View::collected`]: it has nothing that a
    /// collected tombstone would delete.
    ///
    /// Writes whose rows in the index are damaged are passed over: the end of the walk must read [`View::passed_over`].
    ///
    /// # Errors
    /// If the store can't be read, or too many rows of the index are damaged.
    pub fn rows_missing_in(
        &self,
        since: &VersionVector,
        resume: Option<Dot>,
        limit: usize,
    ) -> Result<Changes, ReadError> {
        let limit = limit.clamp(1, usize::MAX - 1);
        let mut origins: Vec<_> = self.indexed_origins()?;
        origins.sort_unstable();
        let mut dots: Vec<(Dot, Option<EntryKey>)> = Vec::new();
        for (origin, number) in origins {
            let seen = match resume {
                Some(resume) if resume.origin > origin => continue,
                Some(resume) if resume.origin == origin => resume.seq.max(since.get(origin)),
                _ => since.get(origin),
            };
            self.read_dots(number, seen, limit + 1, &mut |seq, entry| {
                dots.push((Dot { origin, seq }, entry));
            })?;
            if dots.len() > limit {
                break;
            }
        }
        let more = dots.len() > limit;
        dots.truncate(limit);
        let next = if more { dots.last().map(|(dot, _)| *dot) } else { None };
        let mut read = Changes { next, ..Changes::default() };
        for (dot, entry) in dots {
            match entry {
                Some(entry) => read.add(dot, self.change(dot, &entry)?),
                None => {
                    self.pass_over(dot)?;
                    read.unread.push(dot);
                }
            }
        }
        Ok(read)
    }

    /// Returns the origins that have rows in the dot index, with their numbers: one seek for each. A damaged key of a row
    /// may have the number of no origin.
    fn indexed_origins(&self) -> Result<Vec<(OriginId, u32)>, ReadError> {
        let mut found = Vec::new();
        let mut from = Some(0u32);
        while let Some(origin) = from {
            let start = Dots::key(&IndexedDot { origin, seq: 0 });
            let Some((key, _)) = tables::first::<Dots>(&self.snapshot, &start)? else { break };
            let Some(number) = key.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)) else {
                self.damage.index.note();
                break;
            };
            match self.origin(number) {
                Ok(origin) => found.push((origin, number)),
                Err(_damaged) => self.damage.index.note(),
            }
            from = number.checked_add(1);
        }
        Ok(found)
    }

    /// Visits up to `limit` rows of one origin in the dot index, after `seen`; none of a damaged one.
    fn read_dots(
        &self,
        origin: u32,
        seen: u64,
        limit: usize,
        each: &mut dyn FnMut(u64, Option<EntryKey>),
    ) -> Result<(), ReadError> {
        let [lower, upper] = [seen, u64::MAX].map(|seq| Dots::key(&IndexedDot { origin, seq }));
        let bounds = (Bound::Excluded(&lower[..]), Bound::Included(&upper[..]));
        let mut left = limit;
        tables::visit::<Dots>(&self.snapshot, bounds, &mut |(key, row)| {
            match (Dots::read_key(key), row) {
                (_, Ok((dot, entry))) => each(dot.seq, Some(entry)),
                (Ok(dot), Err(_damaged)) => each(dot.seq, None),
                (Err(_), Err(_damaged)) => self.damage.index.note(),
            }
            left -= 1;
            if left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(())
    }

    /// Reads the change that a row of the index names, whole and under that dot.
    pub(super) fn change(&self, dot: Dot, entry: &EntryKey) -> Result<Named, ReadError> {
        let (namespace, name) = entry.split();
        let key = Key::new(name).expect("the key of an entry is valid");
        let owed = self.owed.get(namespace, name);
        let has_chunks = owed.is_none_or(|owed| owed.reason != OwedReason::Chunk);
        let row = self.row(namespace, name);
        // The rows of the system namespace are never deleted, and the drop of a namespace deletes all of its rows.
        let is_deletable =
            namespace != NamespaceId::SYSTEM && !self.namespaces.is_dropped(namespace);
        if matches!(row, Ok(None)) && owed.is_none() && is_deletable {
            return Ok(Named::Gone);
        }
        match row.map(|found| found.and_then(|found| found.listed_by(dot))) {
            Ok(Some(found)) if has_chunks => Ok(Named::Change(Change { namespace, key, found })),
            // After a damaged entry was replaced, the index still names its dot.
            Ok(_) if owed.is_none() => Ok(Named::Replaced),
            Ok(_) | Err(ReadError::Damaged { .. }) => {
                Ok(Named::Damaged(DamagedKey { namespace, key, dot }))
            }
            Err(error) => Err(error),
        }
    }
}

/// The entry that a row of the dot index names.
pub(super) enum Named {
    /// A change.
    Change(Change),
    /// There is no entry any more, and no other write of this key is known.
    Gone,
    /// The entry has another dot, as after the replacement of a damaged entry.
    Replaced,
    /// The entry of this dot can't be read, and may be the last one of its key.
    Damaged(DamagedKey),
}
