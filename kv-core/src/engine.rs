//! The seam under the store: what it asks of a storage engine, and nothing more.
//!
//! One engine is behind it today, [`redb`]. A commit log in front of redb and an engine on object
//! storage fit the same calls, which is why reads of several rows go in one call and nothing here
//! is asynchronous.

use std::{
    io,
    ops::{Bound, ControlFlow},
    time::Duration,
};

use bytes::Bytes;

use crate::schema::Table;

pub mod disk;
mod gate;
mod overlay;
pub mod redb;

/// The number of a commit: rises by one with each, and goes on after a restart.
pub type CommitNo = u64;

/// Rows to be changed together. `None` deletes the row.
pub type Batch = Vec<(Table, Vec<u8>, Option<Vec<u8>>)>;

/// Which commits a snapshot shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// Those that survive a crash.
    Durable,
    /// All.
    Latest,
}

/// The direction of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// From the smallest key up.
    Ascending,
    /// From the largest key down.
    Descending,
}

/// What an engine can do at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether commits are taken, and if not, why.
    pub mode: Mode,
    /// The last commit that snapshots of [`Visibility::Latest`] show.
    pub latest: CommitNo,
    /// The last commit that survives a crash.
    pub durable: CommitNo,
    /// How often the engine was opened anew after a failure: views from before are of no more use.
    pub reopened: u64,
}

impl Status {
    /// Whether everything that snapshots show survives a crash. After a failure this holds once the engine has
    /// reopened the file for writing; a file that it could only read may have commits that were never synced.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.mode.may_write() && self.durable == self.latest
    }
}

impl Mode {
    /// Whether commits are taken, or will be without a restart.
    #[must_use]
    pub fn may_write(&self) -> bool {
        matches!(self, Mode::Writer | Mode::Waiting(_))
    }
}

/// Whether an engine takes commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Reads and commits.
    Writer,
    /// Reads only, until its trouble is over: the disk is full, say.
    Waiting(String),
    /// Reads only, until it is opened anew.
    ReadOnly(String),
    /// Neither.
    Closed(String),
}

/// Why an engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// There is no room. What was not yet synced is gone; [`Engine::maintain`] goes on when there
    /// is room again.
    #[error("the disk is full")]
    Full,
    /// The engine takes no commits. Nothing was changed.
    #[error("read-only: {0}")]
    ReadOnly(String),
    /// Bytes on the disk are not what was written.
    #[error("damaged data: {0}")]
    Corrupt(String),
    /// A read, write or sync failed.
    #[error("the disk failed: {0}")]
    Io(#[from] io::Error),
    /// The snapshot is from before a failure of the disk; take a new one.
    #[error("this view is from before a failure of the disk; read again")]
    Stale,
    /// The engine was closed.
    #[error("the store is closed")]
    Closed,
}

/// Visits one row, and says whether to go on.
pub type Visitor<'v> = &'v mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// A storage engine: byte-ordered tables, atomic commits, cheap snapshots. Calls may block.
pub trait Engine: Send + Sync + 'static {
    /// A consistent view.
    type Snapshot: Snapshot;

    /// Applies a batch: atomically, in order, visible to snapshots of [`Visibility::Latest`], not yet
    /// durable.
    ///
    /// # Errors
    /// Nothing of the batch is visible then, and nothing that came after the last sync is certain:
    /// take a new snapshot and look.
    fn commit(&self, n: CommitNo, batch: Batch) -> Result<(), EngineError>;

    /// Returns when commit `upto` survives a crash.
    ///
    /// # Errors
    /// As for [`Engine::commit`]; after a failed sync the engine is read-only, because what the
    /// disk holds can't be known.
    fn sync(&self, upto: CommitNo) -> Result<(), EngineError>;

    /// A consistent view: cheap, and not to be held long.
    ///
    /// # Errors
    /// If the engine is closed or can't be read.
    fn snapshot(&self, seen: Visibility) -> Result<Self::Snapshot, EngineError>;

    /// What the engine can do at the moment. Asks the disk nothing: it is called several times a commit.
    fn status(&self) -> Status;

    /// The size of the engine's file or files; 0 if the disk does not say.
    fn bytes(&self) -> u64;

    /// Does background work for about `budget`; true if there is more. Also tries to recover
    /// from a failure.
    ///
    /// # Errors
    /// If the work failed; it may be tried again.
    fn maintain(&self, budget: Duration) -> Result<bool, EngineError>;

    /// Closes the engine; what was committed is durable if this succeeds.
    ///
    /// # Errors
    /// If the last sync failed.
    fn close(&self) -> Result<(), EngineError>;
}

/// A consistent view of an engine.
pub trait Snapshot: Send + Sync + 'static {
    /// One row.
    ///
    /// # Errors
    /// If it can't be read.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// Shows one row where it lies, if it is there: saves a copy to who keeps little of it.
    ///
    /// # Errors
    /// If it can't be read.
    fn look(
        &self,
        table: Table,
        key: &[u8],
        look: &mut dyn FnMut(&[u8]),
    ) -> Result<(), EngineError> {
        if let Some(row) = self.get(table, key)? {
            look(&row);
        }
        Ok(())
    }

    /// Several rows, of several tables, in the order asked.
    ///
    /// # Errors
    /// If one of them can't be read.
    fn get_many(&self, keys: &[(Table, &[u8])]) -> Result<Vec<Option<Bytes>>, EngineError> {
        keys.iter().map(|(table, key)| self.get(*table, key)).collect()
    }

    /// Visits the rows between two bounds, in order, until the visitor breaks.
    ///
    /// # Errors
    /// If one of them can't be read; those before it were visited.
    fn range(
        &self,
        table: Table,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        order: Order,
        visit: Visitor<'_>,
    ) -> Result<(), EngineError>;
}

/// Visits every row whose key starts with `prefix`, from the smallest up.
pub(crate) fn visit_prefix<S: Snapshot>(
    snapshot: &S,
    table: Table,
    prefix: &[u8],
    visit: Visitor<'_>,
) -> Result<(), EngineError> {
    let end = crate::schema::after_prefix(prefix);
    let upper = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    snapshot.range(table, (Bound::Included(prefix), upper), Order::Ascending, visit)
}
