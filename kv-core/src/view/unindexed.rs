//! What readers note of the dot index: that a row of it is damaged, and which writes they passed over for that.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{codec::DecodeError, engine::Table, error::ReadError, types::Dot};

/// The most writes that walks pass over in one process: a batch must have room for all of them. A walk that meets more
/// fails until they are in the index again.
const MAX_PASSED: usize = 64;

/// The damage of the index that readers met. All views of a store share it.
#[derive(Debug, Default)]
pub(crate) struct IndexDamage {
    /// Whether the index must be checked.
    is_due: AtomicBool,
    /// The writes that walks have passed over since the process began.
    passed: Mutex<BTreeSet<Dot>>,
}

impl IndexDamage {
    /// Notes that a row of the index is damaged or missing.
    pub(crate) fn note(&self) {
        if !self.is_due.swap(true, Ordering::AcqRel) {
            tracing::error!(
                "a row of the index of writes is damaged: the index is checked against the entries, and its rows are \
                 written again; check the disk"
            );
        }
    }

    /// Whether damage was noted since the last call.
    pub(crate) fn take_due(&self) -> bool {
        self.is_due.swap(false, Ordering::AcqRel)
    }

    /// Notes that a walk passes over a write. Returns false if there is no room for it.
    pub(super) fn pass(&self, dot: Dot) -> bool {
        self.note();
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        passed.contains(&dot) || (passed.len() < MAX_PASSED && passed.insert(dot))
    }

    /// The writes that walks have passed over.
    pub(super) fn passed(&self) -> Vec<Dot> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}

/// The error of a walk that must not go on over a damaged row of the index.
pub(super) fn unindexed() -> ReadError {
    ReadError::damaged(Table::Dots)(DecodeError("the key of a write can't be read"))
}
