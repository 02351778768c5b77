//! Rows by name, for peers that lack them or can't read theirs.

use kv_core::{Change, OwedReason, ReadError, engine::Snapshot, view::View};

use super::row_of;
use crate::{KeyState, Row, inspect::Place, wire::BATCH_BYTES};

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
    let change = Change { namespace: name.namespace, key: name.key.clone(), found };
    let row = match row_of(view, change) {
        Err(ReadError::DamagedBody(_)) => return Ok(DAMAGED),
        row => row?,
    };
    Ok(KeyState { row: Some(row), is_owed })
}
