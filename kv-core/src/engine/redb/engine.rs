//! The engine: one redb file, reopened after a failure.

use std::{
    io,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use redb::Database;

use super::{
    file::{open_database, open_or_create, put_away, write_batch},
    guard::{failed, guard},
    room::Room,
    seal::{Seals, seal},
    snapshot::{RedbSnapshot, view},
};
use crate::engine::{
    api::{self, Batch, CommitNo, Engine, EngineError, Mode, Status, Visibility},
    reserve::Reserve,
    storage::{Directory, DiskFile},
    watched::{Failure, FirstFailure},
};

/// The engine over one redb file.
pub struct RedbEngine {
    /// Has the file, which is reopened after a failure.
    pub(super) directory: Arc<dyn Directory>,
    /// The size of redb's cache, in bytes.
    pub(super) cache_bytes: usize,
    /// The database, its disk and its mode.
    state: RwLock<State>,
    /// What the disk keeps for the time when it is full.
    reserve: Arc<Reserve>,
    /// Whether the disk has room for values.
    pub(super) room: Room,
    /// Which of its states open without a check after a crash.
    seals: Seals,
}

/// The database that is open, and what the engine knows of its disk.
pub(super) struct State {
    /// `None` when closed. Declared before the disk, so that it is dropped first.
    pub(super) database: Option<Database>,
    /// The disk below the database, which remembers its first failure.
    pub(super) disk: Arc<FirstFailure>,
    /// Whether the engine takes commits.
    pub(super) mode: Mode,
    /// Why the mode is [`Mode::Waiting`]: the disk is full.
    pub(super) is_full: bool,
    /// A sync has succeeded since the file was opened or reopened.
    pub(super) has_synced: bool,
    /// Why a sync failed, if one did. From then on only a new process may write.
    pub(super) sync_failed: Option<String>,
    /// The owner closed it for good.
    pub(super) is_closed: bool,
    /// How often the file was reopened after a failure.
    pub(super) reopened: u64,
    /// The number of the last commit.
    pub(super) latest: CommitNo,
    /// The last commit that survives a crash. After a failed sync, snapshots may be later.
    pub(super) synced: CommitNo,
    /// The snapshot right after the last sync, or right after the file was reopened.
    pub(super) durable: Option<RedbSnapshot>,
}

impl State {
    /// Records what a disk failure means from now on.
    pub(super) fn note(&mut self, failure: Option<Failure>) {
        match failure {
            Some(Failure::Sync(reason)) => {
                self.sync_failed.get_or_insert(reason);
            }
            Some(Failure::Full) => self.is_full = true,
            Some(Failure::Other(_)) | None => {}
        }
    }
}

impl RedbEngine {
    /// Opens the file in a directory, or creates it. `cache_bytes` bounds redb's cache. The directory stays in
    /// use until the engine is dropped.
    ///
    /// # Errors
    /// If the disk fails, or the file is not a store's.
    pub fn open(
        directory: Arc<dyn Directory>,
        cache_bytes: usize,
    ) -> Result<RedbEngine, EngineError> {
        let reserve = Reserve::open(&directory);
        let disk = FirstFailure::new(reserve.behind(open_or_create(&*directory)?));
        let (database, durable) = guard(|| open_database(&disk, cache_bytes))?;
        let state = State {
            latest: durable.commit(),
            synced: durable.commit(),
            database: Some(database),
            disk,
            mode: Mode::Writer,
            is_full: false,
            has_synced: false,
            sync_failed: None,
            is_closed: false,
            reopened: 0,
            durable: Some(durable),
        };
        let (state, seals) = (RwLock::new(state), Seals::default());
        let room = Room::new(Arc::clone(&reserve));
        room.refill();
        Ok(RedbEngine { directory, cache_bytes, state, reserve, room, seals })
    }

    /// The file as it is written: where the disk has no room, the reserve gives some.
    pub(super) fn with_reserve(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        self.reserve.behind(file)
    }

    /// Locks the state, to read it.
    fn read_state(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the state, to change it.
    pub(super) fn write_state(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one write transaction. Recovers if it fails.
    fn transact<T>(
        &self,
        run: impl FnOnce(&Database) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let result = {
            let state = self.read_state();
            match (&state.mode, &state.database) {
                (Mode::Writer, Some(database)) => guard(|| run(database)),
                (Mode::Waiting(_), _) if state.is_full => return Err(EngineError::Full),
                (Mode::Waiting(why) | Mode::ReadOnly(why), _) => {
                    return Err(EngineError::ReadOnly(why.clone()));
                }
                _ => return Err(EngineError::Closed),
            }
        };
        let error = match result {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let failure = self.read_state().disk.failure();
        self.recover();
        Err(match failure {
            Some(Failure::Full) => EngineError::Full,
            Some(Failure::Sync(reason) | Failure::Other(reason)) => {
                EngineError::Io(io::Error::other(reason))
            }
            None => error,
        })
    }

    /// Seals the file if nothing was committed since the last call.
    fn seal_if_idle(&self) -> Result<(), EngineError> {
        let status = self.status();
        let reached = (status.reopened, status.latest);
        if status.durable != status.latest || !self.seals.is_due(reached) {
            return Ok(());
        }
        let sealed = self.transact(seal);
        self.seals.done(reached, sealed.is_ok());
        sealed
    }
}

impl Engine for RedbEngine {
    type Snapshot = RedbSnapshot;

    fn commit(&self, n: CommitNo, batch: Batch) -> Result<(), EngineError> {
        if self.read_state().disk.failure().is_some() {
            // A read has failed: redb would refuse this commit, and commits since the last sync are lost.
            self.recover();
        }
        if self.read_state().latest + 1 != n {
            return Err(EngineError::Stale);
        }
        let removed = self.transact(|database| write_batch(database, n, &batch))?;
        self.write_state().latest = n;
        self.room.committed(removed);
        Ok(())
    }

    fn sync(&self, upto: CommitNo) -> Result<(), EngineError> {
        if self.status().durable >= upto {
            return Ok(());
        }
        self.transact(|database| database.begin_write().map_err(failed)?.commit().map_err(failed))?;
        self.room.synced();
        let mut state = self.write_state();
        state.has_synced = true;
        let Some(database) = &state.database else {
            return Err(EngineError::Closed);
        };
        let durable = guard(|| view(database, &state.disk))?;
        state.synced = durable.commit();
        state.durable = Some(durable);
        Ok(())
    }

    fn snapshot(&self, seen: Visibility) -> Result<RedbSnapshot, EngineError> {
        let state = self.read_state();
        match (&state.durable, &state.database) {
            (_, None) => Err(EngineError::Closed),
            (Some(durable), _)
                if seen == Visibility::Durable && durable.commit() <= state.synced =>
            {
                Ok(durable.clone())
            }
            (_, Some(_)) if seen == Visibility::Durable => Err(EngineError::ReadOnly(
                "a sync failed, so the durable contents of the disk are unknown".into(),
            )),
            (Some(durable), _) if durable.commit() == state.latest => Ok(durable.clone()),
            (_, Some(database)) => guard(|| view(database, &state.disk)),
        }
    }

    fn status(&self) -> Status {
        let state = self.read_state();
        Status {
            mode: state.mode.clone(),
            latest: state.latest,
            durable: state.synced,
            reopened: state.reopened,
        }
    }

    fn room(&self) -> api::Room {
        self.room.seen()
    }

    fn bytes(&self) -> u64 {
        self.read_state().disk.disk.size().unwrap_or(0)
    }

    fn maintain(&self, _budget: Duration) -> Result<bool, EngineError> {
        let (mode, failed, is_full) = {
            let state = self.read_state();
            (state.mode.clone(), state.disk.failure().is_some(), state.is_full)
        };
        match mode {
            Mode::Waiting(_) => {
                if is_full {
                    self.has_free_room()?;
                }
                self.recover();
            }
            Mode::Closed(_) => self.recover(),
            Mode::Writer | Mode::ReadOnly(_) if failed => self.recover(),
            Mode::Writer => {
                self.room.refill();
                self.seal_if_idle()?;
            }
            Mode::ReadOnly(_) => {}
        }
        Ok(false)
    }

    fn close(&self) -> Result<(), EngineError> {
        let mut state = self.write_state();
        state.durable = None;
        state.is_closed = true;
        state.mode = Mode::Closed("closed".into());
        match state.database.take() {
            Some(database) => guard(|| database.close().map_err(failed)),
            None => Ok(()),
        }
    }
}

impl Drop for RedbEngine {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        put_away(state.database.take());
    }
}
