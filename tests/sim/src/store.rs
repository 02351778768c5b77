//! The store of a location: the writer and the replicator that ship, driven by hand.

use std::time::Duration;

use kv_core::{
    Operation, Upload,
    commit::Committer,
    engine::Engine,
    writer::{self, Output, Step, WriterConfig, WriterCore},
};
use kv_replicate::{
    Now, Row, StoreState,
    replicator::{Replicator, local_row},
};

/// A writer whose callers are numbers.
pub type Store<E> = WriterCore<E, u64, Replicator<<E as Engine>::Snapshot>>;

/// An output of a [`Store`].
pub type StoreOutput<E> = Output<<E as Engine>::Snapshot, u64>;

/// How the stores of the tests are configured: garbage goes in small steps.
#[must_use]
pub fn config() -> WriterConfig {
    WriterConfig {
        gc_interval: Duration::from_millis(500),
        gc_rows: 50,
        gc_bodies: 8,
        closing_interval: Duration::from_secs(2),
        is_replicated: true,
        ..WriterConfig::default()
    }
}

/// The time as a writer takes it.
#[must_use]
pub fn time(now: Now) -> writer::Now {
    writer::Now { mono: now.mono, wall_ms: now.wall_ms }
}

/// Takes over a committer that was just opened, and begins to replicate it; none if its disk failed.
pub fn open<E: Engine>(committer: Committer<E>, now: Now) -> Option<Store<E>>
where
    E::Snapshot: Clone,
{
    let mut store = WriterCore::new(committer, config(), now.mono);
    store.replicate(Some(Replicator::default()));
    store.run(time(now), Step::Sync);
    while store.poll_output().is_some() {}
    store.replicator().is_some().then_some(store)
}

/// The replicator of a store.
///
/// # Panics
/// If nothing replicates it.
pub fn replicator<E: Engine>(store: &mut Store<E>) -> &mut Replicator<E::Snapshot>
where
    E::Snapshot: Clone,
{
    store.replicator_mut().expect("a store is replicated from its start on")
}

/// The store as of its last sync.
///
/// # Panics
/// If nothing replicates it.
#[must_use]
pub fn state<E: Engine>(store: &Store<E>) -> &StoreState
where
    E::Snapshot: Clone,
{
    store.replicator().expect("a store is replicated from its start on").state()
}

/// Commits local operations under these tokens; the writes that they made, as peers will get them. Their answers
/// come with the next sync.
pub fn commit<E: Engine>(
    store: &mut Store<E>,
    now: Now,
    operations: impl IntoIterator<Item = (u64, Operation)>,
) -> Vec<Row>
where
    E::Snapshot: Clone,
{
    let before = store.unpublished().len();
    for (token, operation) in operations {
        store.request(token, operation);
    }
    store.run(time(now), Step::Commit);
    unpublished(store, before)
}

/// The local writes that no published view shows, after the first `before`.
pub fn unpublished<E: Engine>(store: &mut Store<E>, before: usize) -> Vec<Row>
where
    E::Snapshot: Clone,
{
    let view = store.committer().view();
    let writes = store.unpublished().get(before..).unwrap_or_default();
    writes.iter().map(|write| local_row(&view, write.clone())).collect()
}

/// Takes a value to be put, piece by piece.
pub fn upload<E: Engine>(store: &mut Store<E>) -> Upload
where
    E::Snapshot: Clone,
{
    store.committer().upload()
}
