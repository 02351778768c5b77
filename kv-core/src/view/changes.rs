//! The rows that a version vector lacks: catch-up and change feed in one.
//!
//! The dot index has one row for each key or tombstone. A catch-up from any vector thus reads each missing
//! key once, and nothing else.

use super::point::View;
use crate::{
    engine::Snapshot,
    error::ReadError,
    tables::EntryKey,
    types::{Change, DamagedKey, Dot, Key, NamespaceId, OwedReason, UNPLACED, VersionVector},
};

/// Some of the changes since a vector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The changes by dot: origin by origin, each by sequence number.
    pub changes: Vec<Change>,
    /// The keys of changes that can't be read here: damaged, or owed and not the change that the dot names. The first ones
    /// of a walk may be of changes that the index does not name.
    pub damaged: Vec<DamagedKey>,
    /// Writes of which nothing is left here, although the index names them: tombstones that were damaged, and that every
    /// other location had collected by then. They count as collected.
    pub gone: Vec<Dot>,
    /// Where to continue; `None` if these were the last of this view.
    pub next: Option<Dot>,
}

impl<S: Snapshot> View<S> {
    /// Reads the changes that `since` lacks after the dot `resume`: at most `limit`, and at least one if
    /// there is one. After the last one, continue from [`View::vector`].
    ///
    /// # Errors
    /// [`ReadError::Gone`] if `since` lacks a tombstone that was collected, or is gone, or if the store can't be read. A
    /// damaged entry is not an error: its key is named. A damaged row of the index is one until the writer has written it
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
        if changes.gone.is_empty() { Ok(changes) } else { Err(ReadError::Gone) }
    }

    /// [`View::changes`] for an empty replica that also adopts [`View::collected`]: it has nothing that a
    /// collected tombstone would delete.
    ///
    /// A walk of several calls is whole only if [`View::index_number`] of their views is the same.
    ///
    /// # Errors
    /// If the store can't be read, or a row of the index is damaged, until the writer has written that again.
    pub fn rows_missing_in(
        &self,
        since: &VersionVector,
        resume: Option<Dot>,
        limit: usize,
    ) -> Result<Changes, ReadError> {
        let limit = limit.clamp(1, usize::MAX - 1);
        // Most have a row at least: the opening row is never deleted.
        let mut origins: Vec<_> = self.origins.iter().collect();
        origins.sort_unstable();
        let mut dots: Vec<(Dot, EntryKey)> = Vec::new();
        for (origin, number) in origins {
            let seen = match resume {
                Some(resume) if resume.origin > origin => continue,
                Some(resume) if resume.origin == origin => resume.seq.max(since.get(origin)),
                _ => since.get(origin),
            };
            let rows = self.indexed_after(number, seen, limit + 1)?;
            dots.extend(rows.into_iter().map(|(seq, entry)| (Dot { origin, seq }, entry)));
            if dots.len() > limit {
                break;
            }
        }
        let more = dots.len() > limit;
        dots.truncate(limit);
        let next = if more { dots.last().map(|(dot, _)| *dot) } else { None };
        let mut read = Changes { next, ..Changes::default() };
        if resume.is_none() && !since.covers_all(&self.vector) {
            read.damaged = self.unplaced();
        }
        for (dot, entry) in dots {
            match self.change(dot, &entry)? {
                Named::Change(change) => read.changes.push(change),
                Named::Damaged(key) => read.damaged.push(key),
                Named::Gone => read.gone.push(dot),
                Named::Replaced => {}
            }
        }
        Ok(read)
    }

    /// The keys that can't be read here and that the index may not name.
    fn unplaced(&self) -> Vec<DamagedKey> {
        let unplaced = self.owed.iter().filter(|(_, _, owed)| owed.is_unplaced());
        let named = unplaced.map(|(namespace, key, _)| {
            let (key, dot) = (key.clone(), UNPLACED);
            DamagedKey { namespace, key, dot }
        });
        named.collect()
    }

    /// Reads the change that a row of the index names, whole and under that dot.
    fn change(&self, dot: Dot, entry: &EntryKey) -> Result<Named, ReadError> {
        let (namespace, name) = entry.split();
        let key = Key::new(name).expect("the key of an entry is valid");
        let owed = self.owed.get(namespace, name);
        let has_chunks = owed.is_none_or(|owed| owed.reason != OwedReason::Chunk);
        let row = self.row(namespace, name);
        // The rows of the system namespace are never deleted.
        if matches!(row, Ok(None)) && owed.is_none() && namespace != NamespaceId::SYSTEM {
            // The purge of a dropped namespace deletes damaged rows, and knows neither their dots nor their versions: one may
            // be a deletion that is later than the drop. The answers of the others tell (`Remote::Ended`).
            let is_purged = self.namespaces.dropped_at(namespace).is_some();
            let is_collected = self.collected.covers(dot);
            return Ok(if is_purged && !is_collected {
                Named::Damaged(DamagedKey { namespace, key, dot })
            } else {
                Named::Gone
            });
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
enum Named {
    /// A change.
    Change(Change),
    /// There is no entry any more, and no other write of this key is known.
    Gone,
    /// The entry has another dot, as after the replacement of a damaged entry.
    Replaced,
    /// The entry of this dot can't be read, and may be the last one of its key.
    Damaged(DamagedKey),
}
