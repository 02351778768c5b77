//! The live writes of one origin that can't be applied yet, in the order of their sequence numbers.

use std::collections::VecDeque;

use kv_core::Dot;

use crate::{
    Content, MemberId, Row,
    work::{How, ToApply},
};

/// How many writes may wait behind one whose body is being fetched.
const MAX_WRITES: usize = 256;

/// The bytes of writes that may wait behind one whose body is being fetched.
const MAX_BYTES: usize = 1 << 20;

/// What a write waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// A fetch of its body, which has not begun. An earlier write of its key may be fetched.
    Fetch,
    /// The fetch of this number.
    Fetching(u64),
    /// Nothing. The fetch of this number brought its body, if it has a large one.
    Ready(Option<u64>),
    /// Nothing: it, or a later write of its key, is on its way to the store.
    Passed,
}

/// A write that waits.
#[derive(Debug)]
struct Waiting {
    /// The peer that sent it.
    from: MemberId,
    /// The write.
    row: Row,
    /// What it waits for.
    wait: Wait,
}

impl Waiting {
    /// Whether it can be applied once the writes before it are.
    fn is_ready(&self) -> bool {
        matches!(self.wait, Wait::Ready(_) | Wait::Passed)
    }

    /// Whether it is a write of the same key.
    fn is_of_key(&self, row: &Row) -> bool {
        self.row.namespace == row.namespace && self.row.key == row.key
    }

    /// How it is applied.
    fn into_apply(self) -> ToApply {
        let row = self.row;
        match self.wait {
            Wait::Ready(fetch) => ToApply { row, how: How::Next, fetch },
            _ => ToApply { row, how: How::Skip, fetch: None },
        }
    }
}

/// The writes that wait.
#[derive(Debug, Default)]
pub(super) struct Queue {
    writes: VecDeque<Waiting>,
    /// About how many bytes they take.
    bytes: usize,
}

impl Queue {
    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// About how many bytes the queue takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether another write may wait. One that waits for nothing is not counted.
    pub(super) fn has_room_for(&self, row: &Row) -> bool {
        let is_held_up = !self.writes.iter().all(Waiting::is_ready);
        let is_full = self.writes.len() >= MAX_WRITES || self.bytes + row.weight() > MAX_BYTES;
        !(is_held_up && is_full)
    }

    /// Adds the next write. `is_passed`: it, or a later one of its key, is on its way to the store.
    pub(super) fn push(&mut self, from: MemberId, row: Row, is_passed: bool) {
        let wait = match row.content {
            Content::Large { .. } if is_passed => Wait::Passed,
            Content::Large { .. } => Wait::Fetch,
            _ => Wait::Ready(None),
        };
        self.bytes += row.weight();
        self.writes.push_back(Waiting { from, row, wait });
    }

    /// Takes the writes from the front that wait for nothing, with the last one's sender.
    pub(super) fn take_ready(&mut self) -> Option<(MemberId, Vec<ToApply>)> {
        let count = self.writes.iter().take_while(|waiting| waiting.is_ready()).count();
        let sender = self.writes.get(count.checked_sub(1)?)?.from;
        let ready: Vec<_> = self.writes.drain(..count).collect();
        self.bytes -= ready.iter().map(|waiting| waiting.row.weight()).sum::<usize>();
        Some((sender, ready.into_iter().map(Waiting::into_apply).collect()))
    }

    /// Begins to fetch the bodies of writes, one for each key: of a key that is rewritten fast, the answer may be a
    /// later write than the next.
    pub(super) fn fetch(&mut self, mut begin: impl FnMut(MemberId, Row) -> u64) {
        for at in 0..self.writes.len() {
            let waiting = &self.writes[at];
            if waiting.wait != Wait::Fetch {
                continue;
            }
            let is_of_key = |before: &Waiting| before.is_of_key(&waiting.row);
            let is_fetched = |before: &Waiting| matches!(before.wait, Wait::Fetching(_));
            if !self.writes.range(..at).any(|before| is_fetched(before) && is_of_key(before)) {
                let id = begin(waiting.from, waiting.row.clone());
                self.writes[at].wait = Wait::Fetching(id);
            }
        }
    }

    /// The write that waits for a fetch.
    pub(super) fn waits_for(&self, id: u64) -> Option<Dot> {
        let waiting = self.writes.iter().find(|waiting| waiting.wait == Wait::Fetching(id));
        waiting.map(|waiting| waiting.row.dot)
    }

    /// The write that waits for a fetch is here whole. It was brought by `fetch`, unless its value has expired.
    pub(super) fn fetched(&mut self, id: u64, row: Row, fetch: Option<u64>) {
        let mut writes = self.writes.iter_mut();
        if let Some(waiting) = writes.find(|waiting| waiting.wait == Wait::Fetching(id)) {
            self.bytes = self.bytes + row.weight() - waiting.row.weight();
            (waiting.row, waiting.wait) = (row, Wait::Ready(fetch));
        }
    }

    /// A fetch brought a later write of its key, which is on its way to the store: the write that waits for the
    /// fetch is passed, and so are others up to that one that wait for bodies.
    pub(super) fn pass(&mut self, id: u64, later: &Row) {
        for waiting in &mut self.writes {
            let is_replaced = waiting.is_of_key(later) && waiting.row.version() <= later.version();
            if waiting.wait == Wait::Fetching(id) || (waiting.wait == Wait::Fetch && is_replaced) {
                waiting.wait = Wait::Passed;
            }
        }
    }

    /// The fetches that are under way.
    pub(super) fn fetches(self) -> impl Iterator<Item = u64> {
        self.writes.into_iter().filter_map(|waiting| match waiting.wait {
            Wait::Fetching(id) | Wait::Ready(Some(id)) => Some(id),
            _ => None,
        })
    }
}
