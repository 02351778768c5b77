//! What readers note of the dot index: that a row of it is damaged or missing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::{codec::DecodeError, engine::Table, error::ReadError};

/// The state of the index of writes, from which peers catch up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IndexState {
    /// No damage of it is known.
    #[default]
    Sound,
    /// A row of it is damaged or missing: it is checked against the entries. Nobody catches up from here meanwhile.
    Checking,
    /// The same, and more entries are damaged than can be recorded, so that a check could not remove its damaged rows. It is
    /// checked again once other keys are owed.
    Undecided,
}

/// The damage of the index. All views of a store share it, and each also has the number as of its creation.
#[derive(Debug, Default)]
pub(crate) struct IndexDamage {
    /// Even: no damage is known that a check has not repaired. Odd: a check is due or under way. It only rises, so that
    /// two equal even numbers show that nothing was put back between them.
    number: AtomicU64,
    /// Whether the last check could not record all damaged entries.
    is_undecided: AtomicBool,
}

impl IndexDamage {
    /// The present number.
    pub(crate) fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// Notes that a row of the index is damaged or missing in a view with this number. What an older view shows may have
    /// been repaired.
    pub(super) fn note(&self, number: u64) {
        let (due, order) = (number | 1, Ordering::AcqRel);
        if due != number
            && self.number.compare_exchange(number, due, order, Ordering::Acquire).is_ok()
        {
            tracing::error!(
                "a row of the index of writes is damaged: the index is checked against the entries, and its rows are \
                 written again; check the disk"
            );
        }
    }

    /// The state of the index.
    pub(super) fn state(&self) -> IndexState {
        match (self.is_due(), self.is_undecided.load(Ordering::Acquire)) {
            (false, _) => IndexState::Sound,
            (true, false) => IndexState::Checking,
            (true, true) => IndexState::Undecided,
        }
    }

    /// Whether a check is due or under way.
    pub(crate) fn is_due(&self) -> bool {
        self.number() % 2 == 1
    }

    /// Repairs of the index may be lost, if there were any: it is checked again.
    pub(crate) fn may_be_lost(&self) {
        self.is_undecided.store(false, Ordering::Release);
        if self.number() > 0 {
            self.number.fetch_or(1, Ordering::AcqRel);
        }
    }

    /// A check has ended that could not record all damaged entries.
    pub(crate) fn is_undecided(&self) {
        self.is_undecided.store(true, Ordering::Release);
    }

    /// A check has found or written the row of every entry that can be read, and recorded the others. Views that are created from here on show that.
    pub(crate) fn is_checked(&self) {
        self.is_undecided.store(false, Ordering::Release);
        let number = self.number();
        self.number.store(number + number % 2, Ordering::Release);
    }
}

/// The error of a walk that must stop at a damaged row of the index.
pub(super) fn unindexed() -> ReadError {
    ReadError::damaged(Table::Dots)(DecodeError("the key of a write can't be read"))
}
