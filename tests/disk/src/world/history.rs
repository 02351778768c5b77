//! The states in which a store may be after a crash.

use std::{collections::BTreeMap, sync::Arc};

use kv_core::engine::CommitNo;

use crate::{
    hold,
    model::{State, Write},
    violation::Checked,
};

/// The states that a crash may leave, by the number of their commit.
pub(super) struct History {
    states: BTreeMap<CommitNo, Arc<State>>,
    /// The store's own writes in each commit that is not known to be durable.
    writes: BTreeMap<CommitNo, Vec<Write>>,
    /// The last commit that must survive: it was acknowledged, or found after a crash.
    floor: CommitNo,
    /// The last commit that may have survived.
    ceiling: CommitNo,
    now: CommitNo,
}

impl History {
    /// The history of a new store.
    pub(super) fn new(commit: CommitNo, state: State) -> History {
        let states = BTreeMap::from([(commit, Arc::new(state))]);
        let writes = BTreeMap::new();
        History { states, writes, floor: commit, ceiling: commit, now: commit }
    }

    pub(super) fn state(&self) -> &Arc<State> {
        &self.states[&self.now]
    }

    pub(super) fn at(&self, commit: CommitNo) -> Option<&Arc<State>> {
        self.states.get(&commit)
    }

    /// The state that must survive.
    pub(super) fn durable(&self) -> &Arc<State> {
        &self.states[&self.floor]
    }

    pub(super) fn now(&self) -> CommitNo {
        self.now
    }

    pub(super) fn floor(&self) -> CommitNo {
        self.floor
    }

    /// Records a commit with these writes of the store itself.
    pub(super) fn push(&mut self, state: State, writes: Vec<Write>) {
        self.now += 1;
        self.states.split_off(&self.now);
        self.writes.split_off(&self.now);
        self.states.insert(self.now, Arc::new(state));
        self.writes.insert(self.now, writes);
        self.ceiling = self.now;
    }

    /// Records that all commits are durable. Returns the store's own writes in them.
    pub(super) fn settle(&mut self) -> Vec<Write> {
        self.floor = self.now;
        self.ceiling = self.now;
        self.states.retain(|commit, _| *commit == self.now);
        self.writes.split_off(&(self.now + 1));
        std::mem::take(&mut self.writes).into_values().flatten().collect()
    }

    /// Records the commit at which the store was after a failure.
    pub(super) fn found(&mut self, commit: CommitNo) -> Checked {
        hold!(
            commit >= self.floor,
            "commit {} was durable, but the store has {commit}",
            self.floor
        );
        hold!(
            commit <= self.ceiling,
            "commit {} is the last possible one, but the store has {commit}",
            self.ceiling
        );
        self.now = commit;
        Ok(())
    }

    /// Records that the process has no origins any more.
    pub(super) fn end_origins(&mut self) {
        let state = self.states.get_mut(&self.now).expect("the state of now is kept");
        Arc::make_mut(state).reload();
    }

    /// Checks that the commit that must survive was the last one.
    pub(super) fn nothing_came(&mut self) -> Checked {
        hold!(
            self.now == self.floor,
            "the store reported no write after commit {}, but has {}",
            self.floor,
            self.now
        );
        self.ceiling = self.floor;
        Ok(())
    }
}
