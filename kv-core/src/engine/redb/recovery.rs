//! What becomes of the engine after a failure: it is opened anew, as far as the failure allows.

use std::sync::Arc;

use super::{
    RedbEngine, State, StorageBackend, failed,
    file::{open_database, put_away},
    guard,
    snapshot::view,
};
use crate::engine::{
    EngineError, Mode,
    gate::{Failure, Gate, Gated},
    overlay::Overlay,
};

/// How much room there must be on a disk that was full before it takes writes again: enough that it
/// is not full again at once.
const ROOM_BYTES: usize = 1 << 20;

impl RedbEngine {
    /// Gives the present database up and opens the file anew, as far as its failure allows.
    pub(super) fn recover(&self) {
        let mut state = self.write_state();
        if state.is_closed {
            return;
        }
        state.gate.shut();
        let failure = state.gate.failure();
        state.note(failure);
        state.durable = None;
        state.reopened += 1;
        put_away(state.database.take());
        if let Err(error) = self.reopen_for_writing(&mut state) {
            state.mode = match &state.sync_failed {
                Some(reason) => Mode::ReadOnly(format!("a sync failed: {reason}")),
                None if state.is_full => Mode::Waiting("the disk is full".into()),
                None => Mode::Waiting(error.to_string()),
            };
            if let Err(error) = self.reopen_for_reading(&mut state) {
                state.mode = match &state.mode {
                    Mode::Waiting(_) => Mode::Waiting(error.to_string()),
                    _ => Mode::Closed(error.to_string()),
                };
            }
        }
    }

    /// Opens the file for writing, unless a failure forbids that.
    fn reopen_for_writing(&self, state: &mut State) -> Result<(), EngineError> {
        if let Some(reason) = &state.sync_failed {
            return Err(EngineError::ReadOnly(reason.clone()));
        }
        let gate = Gate::new((self.open_disk)()?);
        let opened = guard(|| {
            if state.is_full {
                find_room(&Gated(Arc::clone(&gate)))?;
            }
            let (database, _) = open_database(&gate, self.cache_bytes)?;
            // Shows that the disk takes writes before writers are let in.
            database.begin_write().map_err(failed)?.commit().map_err(failed)?;
            let durable = view(&database, &gate)?;
            Ok((database, durable))
        });
        match opened {
            Ok((database, durable)) => {
                state.latest = durable.commit();
                state.synced = durable.commit();
                state.database = Some(database);
                state.gate = gate;
                state.mode = Mode::Writer;
                state.is_full = false;
                state.durable = Some(durable);
                Ok(())
            }
            Err(error) => {
                gate.shut();
                state.note(gate.failure());
                Err(error)
            }
        }
    }

    fn reopen_for_reading(&self, state: &mut State) -> Result<(), EngineError> {
        let gate = Gate::new(Arc::new(Overlay::new((self.open_disk)()?)?));
        let (database, durable) = guard(|| open_database(&gate, self.cache_bytes))?;
        state.latest = durable.commit();
        state.database = Some(database);
        state.gate = gate;
        state.durable = Some(durable);
        Ok(())
    }

    /// Whether a full disk has room again. What it has open is left as it is.
    pub(super) fn has_room(&self) -> Result<(), EngineError> {
        let gate = Gate::new((self.open_disk)()?);
        let found = find_room(&Gated(Arc::clone(&gate)));
        if let Some(Failure::Sync(_)) = gate.failure() {
            self.write_state().note(gate.failure());
        }
        found
    }
}

/// Whether the disk has room for more: writes behind the end of the file, and cuts it off again. redb
/// knows how long its part of the file is.
fn find_room(disk: &dyn StorageBackend) -> Result<(), EngineError> {
    let zeros = vec![0; ROOM_BYTES];
    let len = disk.len()?;
    let found = disk
        .set_len(len + ROOM_BYTES as u64)
        .and_then(|()| disk.write(len, &zeros))
        .and_then(|()| disk.sync_data());
    disk.set_len(len)?;
    found.map_err(|_still_full| EngineError::Full)
}
