//! Rows by name, for peers that lack them or can't read theirs.

use kv_core::{
    Change, FoundState, OwedReason, ReadError, engine::Snapshot, limits::CHUNK_BYTES, view::View,
};

use crate::{Content, KeyState, Row, inspect::Place, wire::BATCH_BYTES};

/// Reads the rows under the first of these names, as many as one message holds; none if the engine cannot
/// read now.
pub(super) fn read<S: Snapshot>(view: &View<S>, names: &[Place]) -> Option<Vec<KeyState>> {
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for name in names {
        let state = state(view, name).ok()?;
        bytes += state.row.as_ref().map_or(0, Row::weight);
        if bytes > BATCH_BYTES && !rows.is_empty() {
            break;
        }
        rows.push(state);
    }
    Some(rows)
}

/// Reads the row under a name. A value that fits a row comes with it. An owed key is reported as such, whatever
/// row it has. A row whose value can't be read counts as none.
fn state<S: Snapshot>(view: &View<S>, name: &Place) -> Result<KeyState, ReadError> {
    const DAMAGED: KeyState = KeyState { row: None, is_owed: true };
    let found = match view.row(name.namespace, &name.key) {
        Err(ReadError::Damaged { .. }) => return Ok(DAMAGED),
        found => found?,
    };
    let owed = view.owed().get(name.namespace, &name.key);
    if owed.is_some_and(|owed| owed.reason == OwedReason::Chunk) {
        return Ok(DAMAGED);
    }
    let is_owed = owed.is_some();
    let Some(found) = found else { return Ok(KeyState { row: None, is_owed }) };
    let short = match found.state {
        FoundState::Large { body, len, .. } if len <= CHUNK_BYTES as u64 => Some(body),
        _ => None,
    };
    let mut row = Row::from(Change { namespace: name.namespace, key: name.key.clone(), found });
    if let Some(body) = short {
        row.content = match view.chunk(body, 0) {
            Ok(Some(value)) => Content::Value(value),
            Ok(None) | Err(ReadError::Damaged { .. }) => {
                view.note_damaged_chunk(name.namespace, &name.key, body, 0);
                return Ok(DAMAGED);
            }
            Err(error) => return Err(error),
        };
    }
    Ok(KeyState { row: Some(row), is_owed })
}
