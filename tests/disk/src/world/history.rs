//! Which states of the store may be found after a crash.

use std::{collections::BTreeMap, sync::Arc};

use kv_core::engine::CommitNo;

use crate::{
    hold,
    model::{State, Write},
    violation::Checked,
};

/// The states after each commit that a crash may leave, by the commit's number.
pub(super) struct History {
    states: BTreeMap<CommitNo, Arc<State>>,
    /// The store's own writes in each commit that is not known to be durable.
    writes: BTreeMap<CommitNo, Vec<Write>>,
    /// The last commit that must survive: it was acknowledged, or found after a crash.
    floor: CommitNo,
    /// The last commit that may be found.
    ceiling: CommitNo,
    now: CommitNo,
}

impl History {
    /// That of a store just founded.
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

    /// A commit was made, with these writes of the store's own.
    pub(super) fn push(&mut self, state: State, writes: Vec<Write>) {
        self.now += 1;
        self.states.split_off(&self.now);
        self.writes.split_off(&self.now);
        self.states.insert(self.now, Arc::new(state));
        self.writes.insert(self.now, writes);
        self.ceiling = self.now;
    }

    /// All that was committed is durable; the store's own writes in it.
    pub(super) fn settle(&mut self) -> Vec<Write> {
        self.floor = self.now;
        self.ceiling = self.now;
        self.states.retain(|commit, _| *commit == self.now);
        self.writes.split_off(&(self.now + 1));
        std::mem::take(&mut self.writes).into_values().flatten().collect()
    }

    /// The store was found at this commit after a failure.
    pub(super) fn found(&mut self, commit: CommitNo) -> Checked {
        hold!(commit >= self.floor, "commit {} was durable; found {commit}", self.floor);
        hold!(
            commit <= self.ceiling,
            "no commit after {} can be there; found {commit}",
            self.ceiling
        );
        self.now = commit;
        Ok(())
    }

    /// All after the commit that must survive is said to be gone.
    pub(super) fn nothing_came(&mut self) -> Checked {
        hold!(
            self.now == self.floor,
            "nothing after commit {} was written, it is said; found {}",
            self.floor,
            self.now
        );
        self.ceiling = self.floor;
        Ok(())
    }
}
