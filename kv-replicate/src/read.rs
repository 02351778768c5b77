//! Reads for peers, from a view that shows durable commits only.

use bytes::Bytes;
use kv_core::{
    Change, Dot, FoundState, NamespaceId, ReadError, VersionVector, engine::Snapshot,
    limits::CHUNK_BYTES, view::View,
};

use crate::{Batch, Event, Row, Unread, Work};

mod inspect;
mod rows;
mod uncounted;

/// About the most bytes of rows in a batch of a catch-up session: what a source holds for each peer that
/// catches up. At a round trip of 100 ms it is 20 MB/s a peer.
pub const BATCH_BYTES: usize = 2 << 20;

/// Number of rows of it that are read before their bytes are counted.
const SLICE_ROWS: usize = 128;

/// A store as of a sync: peers are shown nothing else.
pub struct Durable<S> {
    /// The view, of a durable commit.
    view: View<S>,
    /// The number of the last commit that the view shows.
    commit: u64,
}

impl<S> Durable<S> {
    /// Shows a view, whose last commit has this number.
    pub(crate) fn new(view: View<S>, commit: u64) -> Durable<S> {
        Durable { view, commit }
    }
}

impl<S: Snapshot> Durable<S> {
    /// Does work that reads and returns its answer. None for work that commits.
    #[must_use]
    pub fn read(&self, work: Work) -> Option<Event> {
        match work {
            Work::Read { id, since, after, limit, is_new } => {
                let result = batch(self, (&since, after), limit, is_new);
                Some(Event::Read { id, result })
            }
            Work::ReadBody { id, namespace, key, dot, offset } => {
                let (bytes, is_damaged) = chunk(&self.view, namespace, &key, dot, offset);
                Some(Event::Body { id, bytes, is_damaged })
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
                Some(Event::Uncounted { id, found: uncounted::find(&self.view, &origins) })
            }
            Work::Apply { .. }
            | Work::Adopt { .. }
            | Work::Rebuild { .. }
            | Work::Drop { .. }
            | Work::Rebuilt { .. }
            | Work::Settle { .. }
            | Work::Stage { .. }
            | Work::Discard { .. } => None,
        }
    }
}

/// Rows that a vector lacks, after a dot: `limit` of them, or as many as [`BATCH_BYTES`] takes.
fn batch<S: Snapshot>(
    durable: &Durable<S>,
    (since, after): (&VersionVector, Option<Dot>),
    limit: usize,
    is_new: bool,
) -> Result<Batch, Unread> {
    let Durable { view, commit } = durable;
    let (mut rows, mut next, mut bytes) = (Vec::new(), after, 0);
    let mut damaged = if after.is_none() { view.owed_since(since) } else { Vec::new() };
    loop {
        let some = (limit - rows.len()).min(SLICE_ROWS);
        let read = if is_new {
            view.rows_missing_in(since, next, some)
        } else {
            view.changes(since, next, some)
        };
        let read = read.map_err(|error| match error {
            ReadError::Gone => Unread::Gone(view.collected().clone()),
            _ => Unread::Failed,
        })?;
        next = read.next;
        bytes += read.damaged.iter().map(|damaged| 128 + damaged.key.len()).sum::<usize>();
        damaged.extend(read.damaged);
        for row in read.changes.into_iter().map(Row::from) {
            bytes += row.weight();
            rows.push(row);
        }
        if next.is_none() || rows.len() >= limit || bytes >= BATCH_BYTES {
            break;
        }
    }
    let (vector, collected) = (view.vector().clone(), view.collected().clone());
    damaged.sort_unstable();
    damaged.dedup();
    let floor = view.collected_upto();
    Ok(Batch { rows, damaged, next, vector, collected, floor, commit: *commit })
}

/// Reads the chunk at this offset of a large body; none if the key no longer holds that write or it can't be
/// read. Returns too whether the latter is so.
fn chunk<S: Snapshot>(
    view: &View<S>,
    namespace: NamespaceId,
    key: &[u8],
    dot: Dot,
    offset: u64,
) -> (Option<Bytes>, bool) {
    let found = match view.row(namespace, key) {
        Ok(found) => found.filter(|found| found.dot == dot),
        Err(error) => return (None, matches!(error, ReadError::Damaged { .. })),
    };
    let Some(FoundState::Large { body, .. }) = found.map(|found| found.state) else {
        return (None, false);
    };
    let Ok(index) = u32::try_from(offset / CHUNK_BYTES as u64) else { return (None, false) };
    match view.chunk(body, index) {
        Ok(Some(bytes)) => (Some(bytes), false),
        Ok(None) | Err(ReadError::Damaged { .. }) => {
            view.note_damaged_chunk(namespace, key, body, index);
            (None, true)
        }
        Err(_) => (None, false),
    }
}
