//! The ledger of large bodies: which are read, which are garbage, which are being freed.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::types::BodyId;

/// Which bodies have readers, and which are garbage. Readers, uploads and the committer share it.
#[derive(Debug, Default)]
pub(crate) struct Bodies(Mutex<Ledger>);

/// Facts about large bodies that no row records. It is lost with the process and rebuilt from
/// the pending table, see [`Bodies::restart`].
#[derive(Debug, Default)]
struct Ledger {
    /// The id of the next body.
    next: u64,
    /// Rises when the store is reloaded after a failure. Chunks that were staged before are lost.
    epoch: u64,
    pins: HashMap<BodyId, u32>,
    /// Bodies that no row refers to. They are freed once no reader has them open.
    garbage: BTreeSet<BodyId>,
    /// Garbage whose chunks are being freed: no reader can open it.
    claimed: BTreeSet<BodyId>,
}

impl Bodies {
    /// Locks the ledger, also after a panic of a thread that had locked it.
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts over after the store was opened, or reloaded after a failure. `next` is above every id on
    /// disk; `garbage` are the bodies with a row in the pending table.
    pub(crate) fn restart(&self, next: BodyId, garbage: impl IntoIterator<Item = BodyId>) {
        let mut ledger = self.ledger();
        ledger.next = ledger.next.max(next.0);
        ledger.epoch += 1;
        ledger.claimed.clear();
        // A body that became garbage since may be in use again: the commit that replaced it may be lost.
        ledger.garbage = garbage.into_iter().collect();
    }

    /// Gives an id to a new body, with the epoch that it is valid in.
    pub(super) fn allocate(&self) -> (BodyId, u64) {
        let mut ledger = self.ledger();
        ledger.next += 1;
        (BodyId(ledger.next - 1), ledger.epoch)
    }

    /// How often the store was reloaded.
    pub(super) fn epoch(&self) -> u64 {
        self.ledger().epoch
    }

    /// Marks a body as garbage: nothing refers to it any more.
    pub(crate) fn mark_garbage(&self, body: BodyId) {
        self.ledger().garbage.insert(body);
    }

    /// Claims up to `limit` garbage bodies without readers. Until [`Bodies::freed`] no reader can start.
    pub(crate) fn claim(&self, limit: usize) -> Vec<BodyId> {
        let mut ledger = self.ledger();
        let is_free = |body: &&BodyId| !ledger.pins.contains_key(body);
        let free: Vec<_> = ledger.garbage.iter().filter(is_free).take(limit).copied().collect();
        for body in &free {
            ledger.garbage.remove(body);
            ledger.claimed.insert(*body);
        }
        free
    }

    /// Ends the claim on bodies that are gone from the newest view.
    pub(crate) fn freed(&self, bodies: &[BodyId]) {
        let mut ledger = self.ledger();
        for body in bodies {
            ledger.claimed.remove(body);
        }
    }

    /// Ends the claim on bodies that were not freed after all.
    pub(crate) fn unclaim(&self, bodies: &[BodyId]) {
        let mut ledger = self.ledger();
        for body in bodies {
            // If it is no longer claimed, the store was reloaded meanwhile.
            if ledger.claimed.remove(body) {
                ledger.garbage.insert(*body);
            }
        }
    }

    /// Returns how many bodies wait to be freed.
    pub(crate) fn waiting(&self) -> usize {
        let ledger = self.ledger();
        // A body that is freed in several steps is in both.
        ledger.garbage.union(&ledger.claimed).count()
    }

    /// Keeps a body from being freed. Returns `None` if it is being freed already.
    pub(super) fn pin(self: &Arc<Self>, body: BodyId) -> Option<Pin> {
        let mut ledger = self.ledger();
        if ledger.claimed.contains(&body) {
            return None;
        }
        *ledger.pins.entry(body).or_default() += 1;
        Some(Pin { bodies: Arc::clone(self), body })
    }
}

/// Keeps a body from being freed while it lives.
#[derive(Debug)]
pub(super) struct Pin {
    /// Where the pin is counted.
    bodies: Arc<Bodies>,
    /// The body that is read.
    body: BodyId,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut ledger = self.bodies.ledger();
        if let Some(count) = ledger.pins.get_mut(&self.body) {
            *count -= 1;
            if *count == 0 {
                ledger.pins.remove(&self.body);
            }
        }
    }
}
