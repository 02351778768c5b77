//! Seals: an idle file opens after a crash without a check of its pages.
//!
//! After a crash redb compares the checksums of all pages. If a page differs, it takes the last commit for one that the
//! crash interrupted, and returns to the sync before; if a page of that one differs too, it refuses the file. It can't know
//! that a bit was flipped. So one bit, of which the checksum of its row would show that one row is damaged, would cost
//! acknowledged writes, or the whole store.
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
}

impl Seals {
    /// Whether a seal is due: the state is the same as at the last look, and is not sealed.
    pub(super) fn is_due(&self, reached: Reached) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_idle = seen.last.replace(reached) == Some(reached);
        is_idle && seen.sealed != Some(reached)
    }

    /// The state was sealed.
    pub(super) fn sealed(&self, reached: Reached) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).sealed = Some(reached);
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
    use std::{sync::Arc, time::Duration};

    use redb::{StorageBackend, backends::InMemoryBackend};

    use super::*;
    use crate::engine::{
        api::{Engine as _, Snapshot as _, Visibility},
        redb::RedbEngine,
        table::Table,
    };

    const COMMITS: CommitNo = 4;

    /// A value that nothing else in the file looks like.
    fn value(commit: CommitNo) -> Vec<u8> {
        [0xa0_u8.wrapping_add(u8::try_from(commit).unwrap()); 300].to_vec()
    }

    fn open(disk: &Arc<dyn StorageBackend>) -> RedbEngine {
        let disk = Arc::clone(disk);
        RedbEngine::open(Box::new(move || Ok(Arc::clone(&disk))), 1 << 20).unwrap()
    }

    /// The bytes that a crash leaves of an idle store.
    fn crashed() -> Vec<u8> {
        let disk: Arc<dyn StorageBackend> = Arc::new(InMemoryBackend::new());
        let engine = open(&disk);
        for commit in 1..=COMMITS {
            let row = (Table::Entries, vec![u8::try_from(commit).unwrap()], Some(value(commit)));
            engine.commit(commit, vec![row]).unwrap();
            engine.sync(commit).unwrap();
        }
        for _ in 0..2 {
            engine.maintain(Duration::ZERO).unwrap();
        }
        let mut bytes = vec![0; usize::try_from(disk.len().unwrap()).unwrap()];
        disk.read(0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_flipped_bit_costs_no_other_row_after_a_crash_of_an_idle_store() {
        let sound = crashed();
        for damaged in 1..=COMMITS {
            let mut bytes = sound.clone();
            let pattern = value(damaged);
            for at in 0..bytes.len() - pattern.len() {
                if bytes[at..].starts_with(&pattern) {
                    bytes[at + 100] ^= 1;
                }
            }
            assert_ne!(bytes, sound, "the value is in the file as it is");
            let disk: Arc<dyn StorageBackend> = Arc::new(InMemoryBackend::new());
            disk.set_len(bytes.len() as u64).unwrap();
            disk.write(0, &bytes).unwrap();
            let engine = open(&disk);
            assert_eq!(engine.status().latest, COMMITS, "a flipped bit loses a commit");
            let snapshot = engine.snapshot(Visibility::Durable).unwrap();
            for commit in 1..=COMMITS {
                let key = [u8::try_from(commit).unwrap()];
                let row = snapshot.get(Table::Entries, &key).unwrap().expect("the row is there");
                assert_eq!(row == value(commit), commit != damaged, "row {commit}");
            }
        }
    }

    #[test]
    fn a_state_is_sealed_once_and_only_if_nothing_was_committed_since_the_last_look() {
        let seals = Seals::default();
        assert!(!seals.is_due((0, 1)), "it is not idle yet");
        assert!(seals.is_due((0, 1)));
        assert!(seals.is_due((0, 1)), "the last attempt failed");
        seals.sealed((0, 1));
        assert!(!seals.is_due((0, 1)));
        assert!(!seals.is_due((0, 2)), "there was a commit");
        assert!(seals.is_due((0, 2)));
        seals.sealed((0, 2));
        assert!(!seals.is_due((1, 2)), "it was reopened");
        assert!(seals.is_due((1, 2)));
    }
}
