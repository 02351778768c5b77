//! Recovery: reopens the file after a failure, as far as the failure allows.

use std::sync::Arc;

use super::{
    engine::{RedbEngine, State},
    file::{open_database, put_away, reopen},
    guard::{failed, guard},
    snapshot::view,
};
use crate::engine::{
    api::{EngineError, Mode},
    overlay::Overlay,
    storage::DiskFile,
    watched::{Failure, FirstFailure},
};

/// How much free space a full disk must have before it takes writes again: enough that it is not full
/// again at once.
const ROOM_BYTES: usize = 1 << 20;

impl RedbEngine {
    /// Gives up the open database and reopens the file, as far as the failure allows.
    pub(super) fn recover(&self) {
        let mut state = self.write_state();
        if state.is_closed {
            return;
        }
        state.disk.shut();
        let failure = state.disk.failure();
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
        let disk = FirstFailure::new(self.with_reserve(reopen(&*self.directory)?));
        // A file that was full has free pages after a commit that failed, and takes smaller ones. It is opened at once only
        // if the last attempt led to something.
        let is_worth_while = self.room.has_reserve() && state.has_synced;
        let opened = guard(|| {
            if state.is_full && !is_worth_while {
                find_room(&*disk)?;
            }
            let (database, _) = open_database(&disk, self.cache_bytes)?;
            // Shows that the disk takes writes before writers are admitted.
            database.begin_write().map_err(failed)?.commit().map_err(failed)?;
            let durable = view(&database, &disk)?;
            Ok((database, durable))
        });
        match opened {
            Ok((database, durable)) => {
                state.latest = durable.commit();
                state.synced = durable.commit();
                state.database = Some(database);
                state.disk = disk;
                state.mode = Mode::Writer;
                state.is_full = false;
                state.has_synced = false;
                state.durable = Some(durable);
                Ok(())
            }
            Err(error) => {
                disk.shut();
                state.note(disk.failure());
                Err(error)
            }
        }
    }

    fn reopen_for_reading(&self, state: &mut State) -> Result<(), EngineError> {
        let disk = FirstFailure::new(Arc::new(Overlay::new(reopen(&*self.directory)?)?));
        let (database, durable) = guard(|| open_database(&disk, self.cache_bytes))?;
        state.latest = durable.commit();
        state.database = Some(database);
        state.disk = disk;
        state.durable = Some(durable);
        Ok(())
    }

    /// Checks that a full disk has space again. The open database is not touched.
    pub(super) fn has_free_room(&self) -> Result<(), EngineError> {
        let disk = FirstFailure::new(reopen(&*self.directory)?);
        let found = find_room(&*disk);
        if let Some(Failure::Sync(_)) = disk.failure() {
            self.write_state().note(disk.failure());
        }
        found
    }
}

/// Checks that the disk has space: writes beyond the end of the file, and truncates it again. redb
/// knows how long its part of the file is.
fn find_room(file: &dyn DiskFile) -> Result<(), EngineError> {
    let zeros = vec![0; ROOM_BYTES];
    let len = file.size()?;
    let found = file
        .set_len(len + ROOM_BYTES as u64)
        .and_then(|()| file.write_at(len, &zeros))
        .and_then(|()| file.sync());
    file.set_len(len)?;
    found.map_err(|_still_full| EngineError::Full)
}
