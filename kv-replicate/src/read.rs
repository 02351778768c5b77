//! Reads for peers, from a view that shows durable commits only.

use std::sync::Arc;

use bytes::Bytes;
use kv_core::{
    Change, DamagedKey, Dot, Found, FoundState, Key, NamespaceId, ReadError, VersionVector,
    engine::Snapshot,
    limits::CHUNK_BYTES,
    view::{Changes, View},
};

use crate::{Batch, Content, Event, FoundBody, Row, Unread, Work};

mod additions;
mod inspect;
mod pins;
mod rows;
#[cfg(test)]
mod tests;
mod uncounted;
mod whole;

pub(crate) use additions::Additions;
pub use pins::Reader;

/// Number of rows of it that are read before their bytes are counted.
const SLICE_ROWS: usize = 128;

/// A store as of a sync: peers are shown nothing else.
pub struct Durable<S> {
    /// The view, of a durable commit.
    view: View<S>,
    /// The number of the last commit that the view shows.
    commit: u64,
    /// When uncounted rows were added, as of that commit.
    additions: Arc<Additions>,
}

impl<S> Durable<S> {
    /// Shows a view, whose last commit has this number.
    pub(crate) fn new(view: View<S>, commit: u64, additions: Arc<Additions>) -> Durable<S> {
        Durable { view, commit, additions }
    }

    /// The number of the last commit that the view shows.
    #[must_use]
    pub fn commit(&self) -> u64 {
        self.commit
    }
}

impl<S: Snapshot> Durable<S> {
    /// Does work that reads, and returns its answer; none for work that commits. Sessions and bodies with a pinned view
    /// are read from that one, everything else from this view.
    #[must_use]
    pub fn read(&self, work: Work) -> Option<Event> {
        match work {
            Work::Read { id, since, after, limit, bytes, is_new, known, .. } => {
                let result = self.batch(&Wanted { since, after, limit, bytes, is_new, known });
                Some(Event::Read { id, result })
            }
            Work::ReadBody { id, namespace, key, dot, offset, .. } => {
                let found = self.body(namespace, &key, dot, offset);
                Some(Event::Body { id, found })
            }
            Work::ReadRow { id, namespace, key } => {
                let found = self.view.row(namespace, &key).ok().flatten();
                let row = found.map(|found| Row::from(Change { namespace, key, found }));
                Some(Event::RowRead { id, row })
            }
            Work::Inspect { id, ask } => {
                let answer = inspect::answer(&self.view, &ask);
                Some(Event::Inspected { id, answer })
            }
            Work::ReadRows { id, names } => {
                Some(Event::Rows { id, rows: rows::read(&self.view, &names) })
            }
            Work::FindUncounted { id, origins } => {
                Some(Event::Uncounted { id, digest: uncounted::digest(&self.view, &origins) })
            }
            Work::Salvage { id, rows, vector } => {
                let whole::Whole { rows, places } = whole::read_whole(&self.view, rows);
                Some(Event::Salvaged { id, rows, places, vector })
            }
            Work::Apply { .. }
            | Work::Adopt { .. }
            | Work::Rebuild { .. }
            | Work::Disown { .. }
            | Work::Drop { .. }
            | Work::Rebuilt { .. }
            | Work::Settle { .. }
            | Work::Stage { .. }
            | Work::Discard { .. }
            | Work::Unpin { .. } => None,
        }
    }

    /// Reads rows that a vector lacks, after a dot: as many as the limits allow, at least one. Keys whose rows
    /// or values can't be read are named instead.
    fn batch(&self, wanted: &Wanted) -> Result<Batch, Unread> {
        let view = &self.view;
        if !wanted.is_new && !wanted.since.covers_all(view.collected()) {
            return Err(Unread::Gone(view.collected().clone()));
        }
        // While the index is checked, it is not known what a walk lacks.
        let index = view.index_number().ok_or(Unread::Failed)?;
        let (mut rows, mut damaged, mut next, mut bytes) =
            (Vec::new(), Vec::new(), wanted.after, 0);
        'batch: loop {
            let some = (wanted.limit - rows.len()).min(SLICE_ROWS);
            let read = self.slice(wanted, next, some)?;
            bytes += read.damaged.iter().map(named_weight).sum::<usize>();
            damaged.extend(read.damaged);
            for change in read.changes {
                if self.is_known(wanted, change.found.dot) {
                    continue;
                }
                let (namespace, dot) = (change.namespace, change.found.dot);
                let key = change.key.clone();
                let row = match row_of(view, change) {
                    Ok(row) => row,
                    Err(ReadError::Damaged { .. } | ReadError::DamagedBody(_)) => {
                        let key = DamagedKey { namespace, key, dot };
                        bytes += named_weight(&key);
                        damaged.push(key);
                        continue;
                    }
                    Err(_) => return Err(Unread::Failed),
                };
                bytes += row.weight();
                if bytes > wanted.bytes
                    && let Some(last) = rows.last()
                {
                    let last: &Row = last;
                    next = Some(last.dot);
                    break 'batch;
                }
                rows.push(row);
            }
            // The rows of an origin behind a known one are known too.
            let past = |dot: Dot| Dot { seq: u64::MAX, ..dot };
            next = read.next.map(|dot| if self.is_known(wanted, dot) { past(dot) } else { dot });
            if next.is_none() || rows.len() >= wanted.limit || bytes >= wanted.bytes {
                break;
            }
        }
        let (vector, collected) = (view.vector().clone(), view.collected().clone());
        let floor = view.collected_upto();
        Ok(Batch { rows, damaged, next, vector, collected, floor, index, commit: self.commit })
    }

    /// Reads the next few rows of a batch.
    fn slice(&self, wanted: &Wanted, after: Option<Dot>, limit: usize) -> Result<Changes, Unread> {
        let read = self.view.rows_missing_in(&wanted.since, after, limit);
        self.check_gone(wanted, read.map_err(|_error| Unread::Failed)?)
    }

    /// Checks that the receiver needs nothing that is gone.
    fn check_gone(&self, wanted: &Wanted, read: Changes) -> Result<Changes, Unread> {
        if !wanted.is_new && !read.gone.is_empty() {
            let mut gone = self.view.collected().clone();
            read.gone.iter().for_each(|dot| gone.raise(dot.origin, dot.seq));
            return Err(Unread::Gone(gone));
        }
        Ok(read)
    }

    /// Whether the receiver has a row from an earlier snapshot, although no vector counts it.
    fn is_known(&self, wanted: &Wanted, dot: Dot) -> bool {
        let is_unchanged = |commit| self.additions.has_none_after(dot.origin, commit);
        !self.view.vector().covers(dot) && wanted.known.is_some_and(is_unchanged)
    }

    /// Reads the chunk at this offset of a large body, or the row that replaced the write.
    fn body(&self, namespace: NamespaceId, key: &[u8], dot: Dot, offset: u64) -> FoundBody {
        let found = match self.view.row(namespace, key) {
            Ok(Some(found)) => found,
            Err(ReadError::Damaged { .. }) => return FoundBody::Damaged,
            Ok(None) => return FoundBody::Gone,
            Err(_) => return FoundBody::Failed,
        };
        let FoundState::Large { body, len, .. } = found.state else {
            return self.replaced(namespace, key, found);
        };
        if found.dot != dot {
            return self.replaced(namespace, key, found);
        }
        if offset >= len {
            // There is no such chunk, and so none that is damaged.
            return FoundBody::Gone;
        }
        let Ok(index) = u32::try_from(offset / CHUNK_BYTES as u64) else { return FoundBody::Gone };
        match self.view.chunk(body, index) {
            Ok(Some(bytes)) => {
                let is_last = offset + bytes.len() as u64 >= len;
                FoundBody::Chunk { bytes, is_last }
            }
            Ok(None) | Err(ReadError::Damaged { .. }) => {
                self.view.note_damaged_chunk(namespace, key, body, index);
                FoundBody::Damaged
            }
            Err(_) => FoundBody::Failed,
        }
    }

    /// The row that a key holds instead of a write.
    fn replaced(&self, namespace: NamespaceId, key: &[u8], found: Found) -> FoundBody {
        let Ok(key) = Key::new(key) else { return FoundBody::Gone };
        match row_of(&self.view, Change { namespace, key, found }) {
            Ok(row) => FoundBody::Replaced(Box::new(row)),
            Err(ReadError::Damaged { .. } | ReadError::DamagedBody(_)) => FoundBody::Damaged,
            Err(_) => FoundBody::Failed,
        }
    }
}

/// What a receiver wants of a batch: see [`Work::Read`].
struct Wanted {
    since: VersionVector,
    after: Option<Dot>,
    limit: usize,
    bytes: usize,
    is_new: bool,
    known: Option<u64>,
}

/// About how many bytes a key takes that is named as damaged.
fn named_weight(damaged: &DamagedKey) -> usize {
    128 + damaged.key.len()
}

/// The value of a write that fits a row and is stored as a large one; none if it is not such a write. Damage is noted.
fn short_value<S: Snapshot>(view: &View<S>, write: &Change) -> Result<Option<Bytes>, ReadError> {
    let FoundState::Large { body, len, .. } = write.found.state else { return Ok(None) };
    if len > CHUNK_BYTES as u64 {
        return Ok(None);
    }
    match view.chunk(body, 0) {
        Ok(Some(value)) => Ok(Some(value)),
        Ok(None) | Err(ReadError::Damaged { .. }) => {
            view.note_damaged_chunk(write.namespace, &write.key, body, 0);
            Err(ReadError::DamagedBody("a chunk of it can't be read"))
        }
        Err(error) => Err(error),
    }
}

/// A write as peers get it: with its value, if that fits a row. An error if the value can't be read.
fn row_of<S: Snapshot>(view: &View<S>, write: Change) -> Result<Row, ReadError> {
    let value = short_value(view, &write)?;
    let mut row = Row::from(write);
    if let Some(value) = value {
        row.content = Content::Value(value);
    }
    Ok(row)
}

/// A local write as peers get it. A value that can't be read is left to be fetched, which reports it.
pub(crate) fn local_row<S: Snapshot>(view: &View<S>, write: Change) -> Row {
    let value = short_value(view, &write).ok().flatten();
    let mut row = Row::from(write);
    if let Some(value) = value {
        row.content = Content::Value(value);
    }
    row
}
