//! Reading for peers, from one view that shows durable commits only.

use bytes::Bytes;
use kv_core::{
    Dot, NamespaceId, ReadError, VersionVector,
    engine::Snapshot,
    limits::CHUNK_BYTES,
    view::{FoundState, View},
};

use super::inspect;
use crate::{Batch, Event, Row, Unread, Work};

/// About the most bytes of rows in a burst of a catch-up session: what a source holds for each peer that
/// catches up. At 100 ms there and back it is 20 MB/s a peer.
pub const BATCH_BYTES: usize = 2 << 20;

/// How many rows of it are read before their bytes are looked at.
const SLICE_ROWS: usize = 128;

/// Does work that reads: its answer. None for other work. `commit` is the number of the last commit that
/// the view shows.
pub(crate) fn read<S: Snapshot>(view: &View<S>, commit: u64, work: Work) -> Option<Event> {
    match work {
        Work::Read { id, since, after, limit, is_new } => {
            let result = batch(view, commit, (&since, after), limit, is_new);
            Some(Event::Read { id, result })
        }
        Work::ReadBody { id, namespace, key, dot, offset } => {
            let bytes = chunk(view, namespace, &key, dot, offset);
            Some(Event::Body { id, bytes })
        }
        Work::Inspect { id, ask } => {
            let answer = inspect(view, &ask);
            Some(Event::Inspected { id, answer })
        }
        Work::Apply { .. } | Work::Adopt { .. } | Work::Stage { .. } | Work::Discard { .. } => None,
    }
}

/// Rows that a vector lacks, behind a dot: so many, or as many as [`BATCH_BYTES`] takes.
fn batch<S: Snapshot>(
    view: &View<S>,
    commit: u64,
    (since, after): (&VersionVector, Option<Dot>),
    limit: usize,
    is_new: bool,
) -> Result<Batch, Unread> {
    let (mut rows, mut next, mut bytes) = (Vec::new(), after, 0);
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
        for row in read.changes.into_iter().map(Row::from) {
            bytes += row.weight();
            rows.push(row);
        }
        if next.is_none() || rows.len() >= limit || bytes >= BATCH_BYTES {
            break;
        }
    }
    let (vector, collected) = (view.vector().clone(), view.collected().clone());
    Ok(Batch { rows, next, vector, collected, commit })
}

fn chunk<S: Snapshot>(
    view: &View<S>,
    namespace: NamespaceId,
    key: &[u8],
    dot: Dot,
    offset: u64,
) -> Option<Bytes> {
    let found = view.row(namespace, key).ok()?.filter(|found| found.dot == dot)?;
    let FoundState::Large { body, .. } = found.state else { return None };
    let index = u32::try_from(offset / CHUNK_BYTES as u64).ok()?;
    view.chunk(body, index).ok()?
}
