//! The committer: the one writer of a store.

use std::{sync::Arc, time::Duration};

use super::{
    index::IndexCheck,
    open::{self, Creation, Opened},
    operation::{Operation, Outcome},
    program::Program,
    state::{self, State},
    sweep::Sweep,
    transaction::{Changes, CommitTimes, Transaction},
    upload::Upload,
};
use crate::{
    body::{Bodies, BodyReader, ChunkSource},
    engine::{Batch, CommitNo, Engine, EngineError, Mode, Visibility},
    env::RandomIds,
    error::{OpenError, RandomError, ReadError, WriteError},
    types::{BodyId, Change, Found, Hlc, MemberId, OriginId, OriginRegistry, Present},
    view::{Damage, View},
};

/// How long the engine may work on its recovery before it reports whether there is more to do.
const MAINTAIN_FOR: Duration = Duration::from_millis(50);

/// The one writer of a store.
pub struct Committer<E: Engine> {
    /// The engine that transactions are applied to.
    engine: Arc<E>,
    /// The ledger of large bodies, shared with readers.
    pub(super) bodies: Arc<Bodies>,
    /// The state as of the last commit.
    pub(super) state: State,
    /// The view that was taken last, of durable commits or not.
    pub(super) view: View<E::Snapshot>,
    /// The view is older than the last commit. Taking one costs more than a small commit, and the one
    /// after the sync serves both the readers and the next commit.
    is_view_old: bool,
    /// The last commit, durable or not.
    last: CommitNo,
    /// How often the engine had been reopened when its state was read.
    reopened: u64,
    /// Bodies that garbage collection freed, until readers get a view without them.
    pub(super) claimed: Vec<BodyId>,
    /// Those of them that have chunks left.
    pub(super) unfinished: Vec<BodyId>,
    /// The largest difference between two clocks that are right, in milliseconds.
    max_skew_ms: u64,
    /// The time up to which commits may raise the closed timestamp, in milliseconds since the Unix epoch.
    closing_ms: Option<u64>,
    /// The time that more than half of the other members have resolved.
    resolved_by_most: Hlc,
    /// The damage that readers met and that is not recorded yet.
    pub(super) damage: Arc<Damage>,
    /// Local writes of garbage collection that the driver has not taken.
    pub(super) kept: Vec<Change>,
    /// Gives the ids of new origins.
    pub(super) random: Box<RandomIds>,
    /// The registry and the own origins when it was last checked whether some must be opened or closed.
    pub(super) settled: Option<(Arc<OriginRegistry>, Option<[OriginId; 2]>)>,
    /// The check of the dot index.
    pub(super) index: IndexCheck,
    /// The sweep over the tombstones.
    pub(super) sweep: Sweep,
    /// The program that has opened the store.
    program: Program,
}

/// The largest difference between two clocks that are right, unless it is configured: 500 ms.
pub(crate) const MAX_SKEW_MS: u64 = 500;

/// The outcome of a commit.
#[derive(Debug)]
pub struct Committed {
    /// The outcome of each operation, in their order. Callers must not get them before
    /// [`Committer::sync`], unless `needs_sync` is false.
    pub results: Vec<Result<Outcome, WriteError>>,
    /// Whether an outcome acknowledges a write, which must then survive a crash. Chunks of bodies do not; the put that
    /// follows them does.
    pub needs_sync: bool,
    /// The local writes in the order of their dots, for peers: all of them, including those that a later
    /// write of this commit replaced. They must not be sent before [`Committer::sync`].
    pub writes: Vec<Change>,
}

impl<E: Engine> Committer<E>
where
    E::Snapshot: Clone,
{
    /// Loads the store in `engine`, or creates one there. `random` gives the ids of a new store, and of the
    /// origins of this process.
    ///
    /// # Errors
    /// If the engine can't be read or written, holds a format or uses a feature that this program does not have, or the
    /// store of another location than `creation` names.
    pub fn open(
        engine: Arc<E>,
        creation: Creation,
        random: impl FnMut() -> Result<[u8; 16], RandomError> + Send + 'static,
    ) -> Result<Committer<E>, OpenError> {
        Committer::open_as(engine, creation, random, Program::default())
    }

    /// Loads the store in `engine` as this program does, or creates one there. A store of an older format is migrated
    /// first.
    ///
    /// # Errors
    /// As for [`Committer::open`].
    pub fn open_as(
        engine: Arc<E>,
        creation: Creation,
        random: impl FnMut() -> Result<[u8; 16], RandomError> + Send + 'static,
        program: Program,
    ) -> Result<Committer<E>, OpenError> {
        let mut random: Box<RandomIds> = Box::new(random);
        let Opened { state, snapshot, last } =
            open::open(&*engine, creation, &mut *random, &program)?;
        let bodies = Arc::new(Bodies::default());
        let (next, pending) = state::bodies(&snapshot, &state)?;
        bodies.restart(next, pending);
        let damage = Arc::new(Damage::default());
        state.note_unread_openings(&damage);
        let view = state.view(snapshot, &damage);
        Ok(Committer {
            damage,
            engine,
            bodies,
            state,
            view,
            is_view_old: false,
            last,
            reopened: 0,
            claimed: Vec::new(),
            unfinished: Vec::new(),
            max_skew_ms: MAX_SKEW_MS,
            closing_ms: None,
            resolved_by_most: Hlc::ZERO,
            kept: Vec::new(),
            random,
            settled: None,
            index: IndexCheck::default(),
            sweep: Sweep::default(),
            program,
        })
    }

    /// Returns the store as of the last commit, durable or not. After a failure of the engine it may be
    /// older.
    #[must_use]
    pub fn view(&mut self) -> View<E::Snapshot> {
        if let Err(error) = self.refresh() {
            tracing::error!(%error, "the last commit can't be read: readers keep the view before it");
        }
        self.view.clone()
    }

    /// Takes a new view from the engine, if the current one is older than the last commit.
    pub(super) fn refresh(&mut self) -> Result<(), EngineError> {
        if self.is_view_old {
            let snapshot = self.engine.snapshot(Visibility::Latest)?;
            self.view = self.state.view(snapshot, &self.damage);
            self.is_view_old = false;
        }
        Ok(())
    }

    /// The engine that this committer writes to.
    #[must_use]
    pub fn engine(&self) -> &Arc<E> {
        &self.engine
    }

    /// Returns the ledger of large bodies, which uploads and readers share.
    pub(crate) fn bodies(&self) -> &Arc<Bodies> {
        &self.bodies
    }

    /// The last time given or received.
    #[must_use]
    pub fn clock(&self) -> Hlc {
        self.state.clock.last()
    }

    /// The closed timestamp: each later write of this store is later. It rises with commits, and may be
    /// announced once they are durable.
    #[must_use]
    pub fn closed_timestamp(&self) -> Hlc {
        self.state.closed
    }

    /// Sets how many waiting tombstones begin a sweep over all of them. For tests: the default is 10,000.
    #[doc(hidden)]
    pub fn set_sweep_from(&mut self, tombstones: usize) {
        self.sweep.set_many(tombstones);
    }

    /// Sets how far ahead of cluster time a time may be to count as right, in milliseconds, and up to which
    /// time, in milliseconds since the Unix epoch, the next commits may raise the closed timestamp.
    pub fn set_time_bounds(&mut self, max_skew_ms: u64, closing_ms: Option<u64>) {
        (self.max_skew_ms, self.closing_ms) = (max_skew_ms, closing_ms);
    }

    /// Sets the time that more than half of the other members have resolved, as replication knows it: a source may have
    /// collected tombstones up to there, however far ahead it is.
    pub fn set_resolved_by_most(&mut self, resolved: Hlc) {
        self.resolved_by_most = resolved;
    }

    /// The time of a commit at `now_ms`.
    pub(super) fn times(&self, now_ms: u64) -> CommitTimes {
        let present = Present { now_ms, max_skew_ms: self.max_skew_ms };
        CommitTimes {
            present,
            closing_ms: self.closing_ms,
            resolved_by_most: self.resolved_by_most,
        }
    }

    /// The location that the store belongs to.
    #[must_use]
    pub fn member(&self) -> MemberId {
        self.state.member
    }

    /// The origins that this process writes under: for entries with inline values, and for entries with large
    /// bodies. None before its first write, and none after a disk failure until the next one.
    #[must_use]
    pub fn origins(&self) -> Option<[OriginId; 2]> {
        self.state.own
    }

    /// Starts the upload of a value.
    #[must_use]
    pub fn upload(&self) -> Upload {
        Upload::new(Arc::clone(&self.bodies))
    }

    /// Makes a reader of the large body that was found under a key. Returns `None` if the body has been
    /// freed since, or is not large.
    ///
    /// # Errors
    /// If the first chunk can't be read.
    pub fn read_body(
        &self,
        found: &Found,
        source: Arc<dyn ChunkSource>,
    ) -> Result<Option<BodyReader>, ReadError> {
        let Some(large) = found.large() else { return Ok(None) };
        BodyReader::open(&self.bodies, source, large)
    }

    /// Commits all operations in order and in one step: visible in [`Committer::view`], and not yet
    /// durable. A rejected operation does not affect the others. `now_ms` is cluster time, in milliseconds
    /// since the Unix epoch.
    pub fn commit(&mut self, now_ms: u64, operations: Vec<Operation>) -> Committed {
        if let Err(error) = self.refresh() {
            return self.refuse_all(operations.len(), &error.into());
        }
        let times = self.times(now_ms);
        let mut transaction = Transaction::new(&self.state, &self.view, times);
        transaction.random = Some(&mut *self.random);
        transaction.is_short_of_room = !self.engine.room().takes_values;
        if let Err(error) = transaction.prefetch(&operations) {
            return self.refuse_all(operations.len(), &error);
        }
        let count = operations.len();
        let results: Vec<_> =
            operations.into_iter().map(|operation| transaction.make(operation)).collect();
        transaction.follow_features(&self.program);
        let changes = transaction.finish();
        // Rejections too: the reason of a rejection may be among the lost commits.
        self.write_changes(changes, results).unwrap_or_else(|error| refused(count, error))
    }

    /// Commits the rows of a transaction and adopts its state.
    pub(super) fn write_changes(
        &mut self,
        changes: Changes,
        results: Vec<Result<Outcome, WriteError>>,
    ) -> Result<Committed, WriteError> {
        let is_acknowledged =
            |result| !matches!(result, &Ok(Outcome::Staged | Outcome::Owed) | &Err(_));
        let needs_sync = !changes.writes.is_empty()
            || (!changes.batch.is_empty() && results.iter().any(is_acknowledged));
        self.write(changes.batch)?;
        self.adopt(changes.state);
        changes.used.iter().for_each(|ticket| ticket.set_used());
        changes.freed.iter().for_each(|body| self.bodies.mark_garbage(*body));
        Ok(Committed { results, needs_sync, writes: changes.writes })
    }

    /// The result of a batch that could not be read: every operation fails with the same error.
    fn refuse_all(&mut self, count: usize, error: &ReadError) -> Committed {
        refused(count, self.lost(error))
    }

    /// Whether readers have met damage that can be recorded now.
    #[must_use]
    pub fn has_met_damage(&self) -> bool {
        self.damage.has_some() && self.engine.status().mode == Mode::Writer
    }

    /// Records the damage that readers have met, in a commit of its own, not yet durable. Returns whether there
    /// was any. If the commit fails, other readers will meet it.
    pub fn record_damage(&mut self, now_ms: u64) -> bool {
        if !self.has_met_damage() {
            return false;
        }
        let met = self.damage.take();
        let committed = self.commit(now_ms, vec![Operation::Owe(met)]);
        if let Some(Err(error)) = committed.results.first() {
            tracing::warn!(%error, "damaged rows could not be recorded: they are recorded the next time that they are read");
        }
        true
    }

    /// Makes all commits durable.
    ///
    /// # Errors
    /// Commits since the last sync are lost, or ([`WriteError::OutcomeUnknown`]) may be lost.
    /// [`Committer::view`] shows what is left.
    pub fn sync(&mut self) -> Result<(), WriteError> {
        let upto = self.last;
        let Err(error) = self.engine.sync(upto) else {
            return Ok(());
        };
        let reason = error.to_string();
        let refused = self.lost(&ReadError::Engine(error));
        let is_unknown =
            self.last >= upto || matches!(self.engine.status().mode, Mode::ReadOnly(_));
        Err(if is_unknown { WriteError::OutcomeUnknown(reason) } else { refused })
    }

    /// Reopens the store after a disk failure, including one that a reader met. Cheap if there was none.
    ///
    /// # Errors
    /// If the store can't be reopened yet.
    pub fn maintain(&mut self) -> Result<(), EngineError> {
        let maintained = self.engine.maintain(MAINTAIN_FOR);
        // Work that failed may have reopened the file too.
        if self.engine.status().reopened != self.reopened {
            self.reload();
        }
        maintained.map(drop)
    }

    /// Commits rows under the next number. A batch without rows takes no number.
    pub(super) fn write(&mut self, batch: Batch) -> Result<(), WriteError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.engine
            .commit(self.last + 1, batch)
            .map_err(|error| self.lost(&ReadError::Engine(error)))?;
        self.last += 1;
        Ok(())
    }

    /// Reloads what the engine still has after a failure, and returns the error for the callers.
    pub(super) fn lost(&mut self, error: &ReadError) -> WriteError {
        if self.engine.status().mode == Mode::Writer
            && let Err(error) = self.engine.maintain(MAINTAIN_FOR)
        {
            tracing::warn!(%error, "the engine has not recovered yet");
        }
        let status = self.engine.status();
        if (status.reopened, status.latest) != (self.reopened, self.last) {
            self.reload();
        }
        match error {
            ReadError::Engine(EngineError::Full) => WriteError::DiskFull,
            ReadError::Engine(EngineError::ReadOnly(reason)) => {
                WriteError::ReadOnly(reason.clone())
            }
            ReadError::Engine(EngineError::Closed) => WriteError::Closed,
            other => WriteError::Failed(other.to_string()),
        }
    }

    /// Reads the state again from the engine after a failure, because the last commits may be lost. Whether that
    /// succeeds or not, the process's origins end: it may have given numbers that are lost.
    fn reload(&mut self) {
        self.state.own = None;
        self.view.own = None;
        let reloaded =
            self.engine.snapshot(Visibility::Latest).map_err(OpenError::Engine).and_then(
                |snapshot| {
                    let state = State::load(&snapshot)?;
                    let bodies = state::bodies(&snapshot, &state)?;
                    Ok((state, bodies, snapshot))
                },
            );
        match reloaded {
            Ok((state, (next, pending), snapshot)) => {
                let status = self.engine.status();
                self.last = status.latest;
                self.reopened = status.reopened;
                self.bodies.restart(next, pending);
                state.note_unread_openings(&self.damage);
                self.index.begin_again();
                self.sweep.begin_again();
                self.damage.index.may_be_lost();
                self.view = state.view(snapshot, &self.damage);
                self.is_view_old = false;
                self.state = state;
                self.claimed.clear();
                self.unfinished.clear();
                self.kept.clear();
            }
            Err(error) => tracing::error!(%error, "the store can't be read after a disk failure"),
        }
    }

    /// Adopts the state of a batch that is in the engine.
    pub(super) fn adopt(&mut self, state: State) {
        self.state = state;
        self.is_view_old = true;
    }
}

/// Rejects all operations of a commit.
fn refused(count: usize, error: WriteError) -> Committed {
    Committed { results: vec![Err(error); count], needs_sync: false, writes: Vec::new() }
}
