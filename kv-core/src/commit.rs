//! Committing: a batch of operations becomes rows, dots and versions in one step.
//!
//! [`Committer::commit`] is a function of the store's state, the time and the batch. It owns no
//! thread and reads no clock: the writer thread calls it, and so do tests.

use std::{sync::Arc, time::Duration};

use crate::{
    Hlc, OriginId,
    body::{Bodies, BodyReader, ChunkSource, Upload},
    changes::Change,
    engine::{Batch, CommitNo, Engine, EngineError, Mode, Visibility},
    entry::BodyId,
    error::{OpenError, ReadError, WriteError},
    operation::{Operation, Outcome},
    record::Large,
    schema::{self, Table},
    view::{Found, FoundState, View},
};

mod gc;
mod local;
mod members;
mod namespaces;
mod remote;
mod state;
#[cfg(test)]
mod tests;
mod transaction;

pub use gc::{GcLimits, GcStep};
use state::State;
use transaction::Transaction;
pub(crate) use transaction::{check_attributes, check_key};

/// How long the engine may work at its recovery before it says whether there is more to do.
const MAINTAIN_FOR: Duration = Duration::from_millis(50);

/// The one writer of a store.
pub struct Committer<E: Engine> {
    engine: Arc<E>,
    bodies: Arc<Bodies>,
    state: State,
    view: View<E::Snapshot>,
    /// The view is from before the last commit. Taking one costs more than many a commit, and the
    /// one after the sync serves both the readers and the next commit.
    is_view_old: bool,
    /// The last commit that was made, durable or not.
    last: CommitNo,
    /// How often the engine had been opened anew when its state was read.
    reopened: u64,
    /// Bodies that the last sweeps freed, until readers get a view without them.
    claimed: Vec<BodyId>,
    /// Of these, those with chunks left.
    unfinished: Vec<BodyId>,
}

/// What a commit came to.
#[derive(Debug)]
pub struct Committed {
    /// One answer for each operation, in their order. Not to be told to a caller before
    /// [`Committer::sync`], except where `needs_sync` is false.
    pub results: Vec<Result<Outcome, WriteError>>,
    /// Whether an answer promises that the write survives a crash. Pieces of bodies do not: the
    /// put that follows them does.
    pub needs_sync: bool,
    /// The local writes that were made, in the order of their dots, as peers are to get them: each, also
    /// one that a later write of this commit replaced. Not to be sent before [`Committer::sync`].
    pub writes: Vec<Change>,
}

impl<E: Engine> Committer<E>
where
    E::Snapshot: Clone,
{
    /// Takes up the store in `engine`, or makes one there. `random_id` is asked for the ids of a
    /// new store.
    ///
    /// # Errors
    /// If the engine can't be read or written, or holds another format.
    pub fn open(
        engine: Arc<E>,
        random_id: &mut dyn FnMut() -> Result<[u8; 16], String>,
    ) -> Result<Committer<E>, OpenError> {
        let snapshot = engine.snapshot(Visibility::Latest).map_err(OpenError::Engine)?;
        let mut last = engine.status().latest;
        if state::is_new(&snapshot)? {
            let ids = [random_id(), random_id()].map(|id| id.map(OriginId));
            let [small, large] = ids;
            let batch = state::founding_rows(
                small.map_err(OpenError::Random)?,
                large.map_err(OpenError::Random)?,
            );
            last += 1;
            engine.commit(last, batch).map_err(OpenError::Engine)?;
            engine.sync(last).map_err(OpenError::Engine)?;
        }
        let snapshot = engine.snapshot(Visibility::Latest).map_err(OpenError::Engine)?;
        let bodies = Arc::new(Bodies::default());
        let state = State::load(&snapshot)?;
        let (next, pending) = state::bodies(&snapshot, state.clock)?;
        bodies.restart(next, pending);
        let view = state.view(snapshot);
        Ok(Committer {
            engine,
            bodies,
            state,
            view,
            is_view_old: false,
            last,
            reopened: 0,
            claimed: Vec::new(),
            unfinished: Vec::new(),
        })
    }

    /// The store as of the last commit, durable or not; after a failure of the engine, perhaps an
    /// older one.
    #[must_use]
    pub fn view(&mut self) -> View<E::Snapshot> {
        if let Err(error) = self.refresh() {
            tracing::error!(%error, "no view of the last commit");
        }
        self.view.clone()
    }

    fn refresh(&mut self) -> Result<(), EngineError> {
        if self.is_view_old {
            self.view = self.state.view(self.engine.snapshot(Visibility::Latest)?);
            self.is_view_old = false;
        }
        Ok(())
    }

    /// The engine that this committer writes to.
    #[must_use]
    pub fn engine(&self) -> &Arc<E> {
        &self.engine
    }

    pub(crate) fn bodies(&self) -> &Arc<Bodies> {
        &self.bodies
    }

    /// The highest time given or seen.
    #[must_use]
    pub fn clock(&self) -> Hlc {
        self.state.clock.last()
    }

    /// The origins that this store writes under: for entries in rows, and for large bodies.
    #[must_use]
    pub fn origins(&self) -> [OriginId; 2] {
        self.state.own
    }

    /// Takes a value to be put, piece by piece.
    #[must_use]
    pub fn upload(&self) -> Upload {
        Upload::new(Arc::clone(&self.bodies))
    }

    /// A reader of the large body that was found under a key, which reads from `source`; none if
    /// the body has been freed since, or is not large.
    ///
    /// # Errors
    /// If the first chunk can't be read.
    pub fn read_body(
        &self,
        found: &Found,
        source: Arc<dyn ChunkSource>,
    ) -> Result<Option<BodyReader>, ReadError> {
        let FoundState::Large { body, len, digest } = found.state else { return Ok(None) };
        BodyReader::open(&self.bodies, source, Large { body, len, digest })
    }

    /// Makes all the operations, in order and in one step: visible in [`Committer::view`], not yet
    /// durable. An operation that is refused leaves the others as they are.
    pub fn commit(&mut self, now_ms: u64, operations: Vec<Operation>) -> Committed {
        if let Err(error) = self.refresh() {
            return self.refuse_all(operations.len(), &error.into());
        }
        let mut transaction = Transaction::new(&self.state, &self.view, now_ms);
        if let Err(error) = transaction.prefetch(&operations) {
            return self.refuse_all(operations.len(), &error);
        }
        let results: Vec<_> =
            operations.iter().map(|operation| transaction.make(operation)).collect();
        let changes = transaction.finish();
        let needs_sync = !changes.batch.is_empty()
            && results.iter().any(|result| !matches!(result, Ok(Outcome::Staged) | Err(_)));
        match self.write(changes.batch) {
            Ok(()) => {
                self.adopt(changes.state);
                changes.used.iter().for_each(|ticket| ticket.set_used());
                changes.freed.iter().for_each(|body| self.bodies.mark_garbage(*body));
                Committed { results, needs_sync, writes: changes.writes }
            }
            // Refusals too: what an operation was refused for may be what is lost now.
            Err(error) => refused(operations.len(), error),
        }
    }

    fn refuse_all(&mut self, count: usize, error: &ReadError) -> Committed {
        refused(count, self.lost(error))
    }

    /// Makes durable all that was committed.
    ///
    /// # Errors
    /// What was committed since the last sync is then gone, or ([`WriteError::OutcomeUnknown`]) may
    /// be; [`Committer::view`] shows what is there.
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

    /// Takes the store up again if the disk has failed, for a reader perhaps, and the engine can
    /// go on. Cheap if nothing has happened.
    ///
    /// # Errors
    /// If it can't yet.
    pub fn maintain(&mut self) -> Result<(), EngineError> {
        self.engine.maintain(MAINTAIN_FOR)?;
        if self.engine.status().reopened != self.reopened {
            self.reload();
        }
        Ok(())
    }

    fn write(&mut self, batch: Batch) -> Result<(), WriteError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.engine
            .commit(self.last + 1, batch)
            .map_err(|error| self.lost(&ReadError::Engine(error)))?;
        self.last += 1;
        Ok(())
    }

    /// The disk failed: takes up what the engine still has, and says so to the callers.
    fn lost(&mut self, error: &ReadError) -> WriteError {
        if self.engine.status().mode == Mode::Writer
            && let Err(error) = self.engine.maintain(MAINTAIN_FOR)
        {
            tracing::warn!(%error, "the engine does not go on yet");
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

    fn reload(&mut self) {
        let reloaded =
            self.engine.snapshot(Visibility::Latest).map_err(OpenError::Engine).and_then(
                |snapshot| {
                    let state = State::load(&snapshot)?;
                    let bodies = state::bodies(&snapshot, state.clock)?;
                    Ok((state, bodies, snapshot))
                },
            );
        match reloaded {
            Ok((state, (next, pending), snapshot)) => {
                let status = self.engine.status();
                self.last = status.latest;
                self.reopened = status.reopened;
                self.bodies.restart(next, pending);
                self.view = state.view(snapshot);
                self.is_view_old = false;
                self.state = state;
                self.claimed.clear();
                self.unfinished.clear();
            }
            Err(error) => tracing::error!(%error, "the store can't be read after a failure"),
        }
    }

    /// The batch is in the engine: its state is the store's.
    fn adopt(&mut self, state: State) {
        self.state = state;
        self.is_view_old = true;
    }
}

/// Nothing of a commit was made.
fn refused(count: usize, error: WriteError) -> Committed {
    Committed { results: vec![Err(error); count], needs_sync: false, writes: Vec::new() }
}

/// The row of a staged chunk, and the pending row that comes with the first.
fn stage_rows(batch: &mut Batch, chunk: &crate::body::StagedChunk) {
    let body = chunk.ticket.body;
    if chunk.index == 0 {
        let key = schema::body(body);
        let row = crate::record::seal(Table::Pending, &key, Vec::new());
        batch.push((Table::Pending, key, Some(row)));
    }
    let key = schema::chunk(body, chunk.index);
    let row = crate::record::seal(Table::Chunks, &key, chunk.bytes.to_vec());
    batch.push((Table::Chunks, key, Some(row)));
}
