//! Seals: an idle file opens after a crash without a check of its pages.
//!
//! After a crash redb compares the checksums of all pages. If a page differs, it takes the last commit for one that the
//! crash interrupted, and returns to the sync before; if a page of that one differs too, it refuses the file. It can't
//! know that a bit was flipped. So one flipped bit would cost acknowledged writes, or the whole store, although the
//! checksum of its row would show that only that row is damaged.
//!
//! A commit that also stores redb's allocator state needs no such check. It costs a second sync and the state of the
//! allocator, too much for each commit. So the engine makes one once the store is idle.

use std::sync::{Mutex, PoisonError};

use redb::Database;

use super::guard::failed;
use crate::engine::api::{CommitNo, EngineError};

/// A state of the file: how often it was reopened, and its last commit.
type Reached = (u64, CommitNo);

/// Which states of the file are sealed.
#[derive(Debug, Default)]
pub(super) struct Seals(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// The state at the last look.
    last: Option<Reached>,
    /// The state that is sealed.
    sealed: Option<Reached>,
    /// The last commit of a state that could not be sealed. The next attempt follows the next commit, so that a disk
    /// without room for the seal is not opened again and again.
    failed: Option<CommitNo>,
}

impl Seals {
    /// Whether a seal is due: the state is the same as at the last look, and is not sealed.
    pub(super) fn is_due(&self, reached: Reached) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_idle = seen.last.replace(reached) == Some(reached);
        is_idle && seen.sealed != Some(reached) && seen.failed != Some(reached.1)
    }

    /// The state was sealed, or could not be.
    pub(super) fn done(&self, reached: Reached, is_sealed: bool) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if is_sealed {
            seen.sealed = Some(reached);
        } else {
            seen.failed = Some(reached.1);
        }
    }
}

/// Makes a commit without rows that needs no check after a crash.
pub(super) fn seal(database: &Database) -> Result<(), EngineError> {
    let mut transaction = database.begin_write().map_err(failed)?;
    transaction.set_quick_repair(true);
    transaction.commit().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_sealed_once_and_only_if_nothing_was_committed_since_the_last_look() {
        let seals = Seals::default();
        assert!(!seals.is_due((0, 1)), "it is not idle yet");
        assert!(seals.is_due((0, 1)));
        seals.done((0, 1), true);
        assert!(!seals.is_due((0, 1)));
        assert!(!seals.is_due((0, 2)), "there was a commit");
        assert!(seals.is_due((0, 2)));
        seals.done((0, 2), true);
        assert!(!seals.is_due((1, 2)), "it was reopened");
        assert!(seals.is_due((1, 2)));
    }

    #[test]
    fn after_a_seal_that_failed_the_next_one_follows_a_commit() {
        let seals = Seals::default();
        seals.is_due((0, 1));
        assert!(seals.is_due((0, 1)));
        seals.done((0, 1), false);
        for reopened in [1, 1, 2] {
            assert!(!seals.is_due((reopened, 1)));
        }
        seals.is_due((2, 2));
        assert!(seals.is_due((2, 2)));
    }
}
