//! The store's side of the seam: does a core's [`Work`] over a [`Committer`], in the caller's thread.

use std::sync::Arc;

use kv_core::{
    Change, Mode, Operation, Outcome, WriteError,
    commit::{Committed, Committer, GcLimits, GcStep},
    engine::{Engine, Snapshot},
    limits::CHUNK_BYTES,
    view::{FoundState, View},
};

use crate::{Content, Event, Row, StoreState, Work};

mod apply;
mod inspect;
mod read;

pub(crate) use self::{apply::Applier, read::read};
pub use self::{inspect::inspect, read::BATCH_BYTES};

/// A store that replicates, without threads of its own.
pub struct Storage<E: Engine> {
    committer: Committer<E>,
    /// As of the last sync: peers are shown nothing else.
    durable: View<E::Snapshot>,
    durable_commit: u64,
    state: StoreState,
    applier: Applier,
    /// Local writes since the last sync.
    unsent: Vec<Row>,
    is_dirty: bool,
}

impl<E: Engine> Storage<E>
where
    E::Snapshot: Clone,
{
    /// Takes over a committer that was just opened.
    pub fn new(mut committer: Committer<E>) -> Storage<E> {
        let durable = committer.view();
        let applier = Applier::new(&committer);
        Storage {
            state: durable_state(&mut committer),
            durable_commit: committer.engine().status().latest,
            committer,
            durable,
            applier,
            unsent: Vec::new(),
            is_dirty: false,
        }
    }

    /// What is visible and what is durable.
    #[must_use]
    pub fn state(&self) -> &StoreState {
        &self.state
    }

    /// The committer, to read from.
    pub fn committer(&mut self) -> &mut Committer<E> {
        &mut self.committer
    }

    /// Whether something was committed since the last sync.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    /// Makes local operations. Their callers are to be answered after [`Storage::sync`].
    pub fn write(
        &mut self,
        now_ms: u64,
        operations: Vec<Operation>,
    ) -> (Vec<Result<Outcome, WriteError>>, Vec<Row>) {
        let Committed { results, writes, .. } = self.committer.commit(now_ms, operations);
        let view = self.committer.view();
        self.is_dirty = true;
        self.state.visible = view.vector().clone();
        let rows: Vec<Row> = writes.into_iter().map(|write| whole(&view, write)).collect();
        self.unsent.extend(rows.iter().cloned());
        (results, rows)
    }

    /// Makes all durable; what the core is to be told then.
    ///
    /// # Errors
    /// Those of [`Committer::sync`]. [`Storage::failure`] then tells what the core is to be told.
    pub fn sync(&mut self) -> Result<Vec<Event>, WriteError> {
        self.committer.sync()?;
        self.is_dirty = false;
        self.take_state();
        let mut events = vec![Event::Synced(self.state.clone())];
        if !self.unsent.is_empty() {
            events.push(Event::Wrote(std::mem::take(&mut self.unsent)));
        }
        Ok(events)
    }

    fn take_state(&mut self) {
        self.durable = self.committer.view();
        self.durable_commit = self.committer.engine().status().latest;
        self.state = durable_state(&mut self.committer);
    }

    /// What the core is to be told if the disk has failed since this was last asked.
    pub fn failure(&mut self) -> Option<Event> {
        if !self.applier.has_rolled_back(&self.committer) {
            return None;
        }
        self.applier.start_over(&self.committer);
        self.unsent.clear();
        let mode = self.committer.engine().status().mode;
        if matches!(mode, Mode::Writer | Mode::Waiting(_)) {
            self.take_state();
        }
        Some(Event::RolledBack(self.state.clone()))
    }

    /// One step of the sweep, with the core's watermark.
    ///
    /// # Errors
    /// Those of [`Committer::collect_garbage`].
    pub fn collect_garbage(
        &mut self,
        now_ms: u64,
        limits: &GcLimits,
    ) -> Result<GcStep, WriteError> {
        let swept = self.committer.collect_garbage(now_ms, limits)?;
        self.is_dirty |= !swept.is_idle();
        self.committer.published();
        Ok(swept)
    }

    /// Does what a core asks; its answer, if there is one.
    pub fn perform(&mut self, now_ms: u64, work: Work) -> Option<Event> {
        if work.is_read() {
            return read(&self.durable, self.durable_commit, work);
        }
        let done = self.applier.perform(&mut self.committer, now_ms, work);
        if done.committed {
            self.is_dirty = true;
            self.state.visible = self.committer.view().vector().clone();
        }
        done.answer
    }
}

/// The state of a store of which all is durable.
pub(crate) fn durable_state<E: Engine>(committer: &mut Committer<E>) -> StoreState
where
    E::Snapshot: Clone,
{
    let view = committer.view();
    let (vector, closed_timestamp) = (view.vector().clone(), committer.clock());
    let members = Arc::clone(view.members());
    StoreState { visible: vector.clone(), durable: vector, closed_timestamp, members }
}

/// A local write with its value, if that fits a row.
pub(crate) fn whole<S: Snapshot>(view: &View<S>, write: Change) -> Row {
    let body = match write.found.state {
        FoundState::Large { body, len, .. } if len <= CHUNK_BYTES as u64 => Some(body),
        _ => None,
    };
    let mut row = Row::from(write);
    if let Some(value) = body.and_then(|body| view.chunk(body, 0).ok()?) {
        row.content = Content::Value(value);
    }
    row
}
