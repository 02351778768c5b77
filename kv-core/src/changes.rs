//! What a store holds that a version vector lacks: catch-up and change feed in one.
//!
//! The dot index has one row for each key or tombstone, so that catching up from any vector reads
//! what is missing, each key once, and never more.

use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

use crate::{
    Dot, NamespaceId,
    crdt::VersionVector,
    engine::{Order, Snapshot},
    error::ReadError,
    record,
    schema::{self, Table},
    view::{Found, View},
};

/// A row that a vector lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub namespace: NamespaceId,
    /// Which key.
    pub key: Bytes,
    /// What is there; its dot is the change's.
    pub found: Found,
}

/// Some of the changes since a vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// In the order of their dots: origin by origin, each by sequence number.
    pub changes: Vec<Change>,
    /// Where to go on; none if these were the last of this view.
    pub next: Option<Dot>,
}

impl<S: Snapshot> View<S> {
    /// The changes that `since` lacks, at most `limit` (and at least one, if there is one), after
    /// the dot `resume` if there is one. When all were seen, [`View::vector`] is the vector to go
    /// on from.
    ///
    /// # Errors
    /// [`ReadError::Gone`] if a tombstone or stub that `since` lacks was dropped; else if a row is
    /// damaged or can't be read.
    pub fn changes(
        &self,
        since: &VersionVector,
        resume: Option<Dot>,
        limit: usize,
    ) -> Result<Changes, ReadError> {
        if !since.covers_all(&self.collected) {
            return Err(ReadError::Gone);
        }
        self.rows_missing_in(since, resume, limit)
    }

    /// [`View::changes`] for a replica that also takes over [`View::collected`]: it has nothing
    /// that a dropped tombstone would have to delete.
    ///
    /// # Errors
    /// If a row is damaged or can't be read.
    pub fn rows_missing_in(
        &self,
        since: &VersionVector,
        resume: Option<Dot>,
        limit: usize,
    ) -> Result<Changes, ReadError> {
        let limit = limit.clamp(1, usize::MAX - 1);
        let mut origins: Vec<_> = self.indexed_origins()?;
        origins.sort_unstable();
        let mut dots: Vec<(u32, Dot, Vec<u8>)> = Vec::new();
        for (origin, number) in origins {
            let seen = match resume {
                Some(resume) if resume.origin > origin => continue,
                Some(resume) if resume.origin == origin => resume.seq.max(since.get(origin)),
                _ => since.get(origin),
            };
            self.read_dots(number, seen, limit + 1, &mut |seq, entry| {
                dots.push((number, Dot { origin, seq }, entry.to_vec()));
            })?;
            if dots.len() > limit {
                break;
            }
        }
        let more = dots.len() > limit;
        dots.truncate(limit);
        let next = if more { dots.last().map(|(_, dot, _)| *dot) } else { None };
        let changes = dots
            .into_iter()
            .filter_map(|(_, dot, entry)| self.change(dot, &entry).transpose())
            .collect::<Result<_, _>>()?;
        Ok(Changes { changes, next })
    }

    /// The origins that the dot index has rows of, with their numbers: one seek for each.
    fn indexed_origins(&self) -> Result<Vec<(crate::OriginId, u32)>, ReadError> {
        let mut found = Vec::new();
        let mut from = Some(0u32);
        while let Some(number) = from {
            let start = schema::dot(number, 0);
            let mut next = None;
            let bounds = (Bound::Included(&start[..]), Bound::Unbounded);
            self.snapshot.range(Table::Dots, bounds, Order::Ascending, &mut |key, _| {
                next = Some(schema::split_dot(key));
                ControlFlow::Break(())
            })?;
            let Some(dot) = next else { break };
            let (number, _) = dot.map_err(ReadError::damaged(Table::Dots))?;
            found.push((self.origin(number)?, number));
            from = number.checked_add(1);
        }
        Ok(found)
    }

    /// Visits up to `limit` rows of one origin in the dot index, after `seen`.
    fn read_dots(
        &self,
        number: u32,
        seen: u64,
        limit: usize,
        each: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<(), ReadError> {
        let (lower, upper) = (schema::dot(number, seen), schema::dot(number, u64::MAX));
        let bounds = (Bound::Excluded(&lower[..]), Bound::Included(&upper[..]));
        let mut left = limit;
        let mut result = Ok(());
        self.snapshot.range(Table::Dots, bounds, Order::Ascending, &mut |key, row| {
            let read = schema::split_dot(key)
                .and_then(|(_, seq)| Ok((seq, record::unseal(Table::Dots, key, row)?)));
            match read {
                Ok((seq, entry)) => each(seq, entry),
                Err(error) => result = Err(ReadError::damaged(Table::Dots)(error)),
            }
            left -= 1;
            if left > 0 && result.is_ok() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        result
    }

    /// The change that a row of the index names; none if it names an entry that has another dot,
    /// as it does after a damaged entry was replaced.
    fn change(&self, dot: Dot, entry: &[u8]) -> Result<Option<Change>, ReadError> {
        let (namespace, key) =
            schema::split_entry(entry).map_err(ReadError::damaged(Table::Dots))?;
        let found = self.row(namespace, key)?.filter(|found| found.dot == dot);
        Ok(found.map(|found| Change { namespace, key: Bytes::copy_from_slice(key), found }))
    }
}
