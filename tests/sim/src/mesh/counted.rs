//! An engine that counts the rows that it reads: work that can be compared from run to run.

use std::{
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use kv_core::{
    Table,
    engine::{
        Batch, CommitNo, Engine, EngineError, Order, Room, Snapshot, Status, Visibility, Visitor,
    },
};

/// How many rows an engine has read.
#[derive(Debug, Default)]
pub struct Rows {
    read: AtomicU64,
    written: AtomicU64,
    commits: AtomicU64,
}

impl Rows {
    /// Rows read: each that was looked up by its key, there or not, and each that a range visited.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Rows written and deleted.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Commits.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

/// An engine, and the count of what it has read.
#[derive(Debug)]
pub struct Counted<E> {
    engine: E,
    rows: Arc<Rows>,
}

impl<E> Counted<E> {
    /// Counts from here on.
    pub fn new(engine: E) -> Counted<E> {
        Counted { engine, rows: Arc::default() }
    }

    /// The counts, which continue to rise.
    #[must_use]
    pub fn rows(&self) -> Arc<Rows> {
        Arc::clone(&self.rows)
    }
}

impl<E: Engine> Engine for Counted<E> {
    type Snapshot = CountedSnapshot<E::Snapshot>;

    fn commit(&self, n: CommitNo, batch: Batch) -> Result<(), EngineError> {
        self.rows.commits.fetch_add(1, Ordering::Relaxed);
        self.rows.written.fetch_add(batch.len() as u64, Ordering::Relaxed);
        self.engine.commit(n, batch)
    }

    fn sync(&self, upto: CommitNo) -> Result<(), EngineError> {
        self.engine.sync(upto)
    }

    fn snapshot(&self, seen: Visibility) -> Result<Self::Snapshot, EngineError> {
        let snapshot = self.engine.snapshot(seen)?;
        Ok(CountedSnapshot { snapshot, rows: Arc::clone(&self.rows) })
    }

    fn status(&self) -> Status {
        self.engine.status()
    }

    fn room(&self) -> Room {
        self.engine.room()
    }

    fn bytes(&self) -> u64 {
        self.engine.bytes()
    }

    fn maintain(&self, budget: Duration) -> Result<bool, EngineError> {
        self.engine.maintain(budget)
    }

    fn close(&self) -> Result<(), EngineError> {
        self.engine.close()
    }
}

/// A snapshot of a counted engine.
#[derive(Clone, Debug)]
pub struct CountedSnapshot<S> {
    snapshot: S,
    rows: Arc<Rows>,
}

impl<S: Snapshot> Snapshot for CountedSnapshot<S> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.rows.read.fetch_add(1, Ordering::Relaxed);
        self.snapshot.get(table, key)
    }

    fn look(
        &self,
        table: Table,
        key: &[u8],
        look: &mut dyn FnMut(&[u8]),
    ) -> Result<(), EngineError> {
        self.rows.read.fetch_add(1, Ordering::Relaxed);
        self.snapshot.look(table, key, look)
    }

    fn get_many(&self, keys: &[(Table, &[u8])]) -> Result<Vec<Option<Bytes>>, EngineError> {
        self.rows.read.fetch_add(keys.len() as u64, Ordering::Relaxed);
        self.snapshot.get_many(keys)
    }

    fn rows(&self, table: Table) -> Result<u64, EngineError> {
        self.snapshot.rows(table)
    }

    fn range(
        &self,
        table: Table,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        order: Order,
        visit: Visitor<'_>,
    ) -> Result<(), EngineError> {
        self.snapshot.range(table, bounds, order, &mut |key, row| {
            self.rows.read.fetch_add(1, Ordering::Relaxed);
            visit(key, row)
        })
    }
}
