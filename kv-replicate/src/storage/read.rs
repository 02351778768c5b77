//! Reading for peers, from one view that shows durable commits only.

use bytes::Bytes;
use kv_core::{
    Dot, NamespaceId, ReadError,
    engine::Snapshot,
    limits::CHUNK_BYTES,
    view::{FoundState, View},
};

use super::inspect;
use crate::{Burst, Event, Row, Unread, Work};

/// Does work that reads: its answer. None for other work. `commit` is the number of the last commit that
/// the view shows.
pub(crate) fn read<S: Snapshot>(view: &View<S>, commit: u64, work: Work) -> Option<Event> {
    match work {
        Work::Read { id, since, after, limit, is_new } => {
            let read = if is_new {
                view.rows_missing_in(&since, after, limit)
            } else {
                view.changes(&since, after, limit)
            };
            let result = match read {
                Ok(read) => Ok(Burst {
                    rows: read.changes.into_iter().map(Row::from).collect(),
                    next: read.next,
                    vector: view.vector().clone(),
                    collected: view.collected().clone(),
                    commit,
                }),
                Err(ReadError::Gone) => Err(Unread::Gone(view.collected().clone())),
                Err(_) => Err(Unread::Failed),
            };
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
