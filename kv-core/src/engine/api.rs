//! The traits of a storage engine: everything that the store needs from one.
//!
//! There is one engine today, over redb. A commit log in front of redb and an engine on object storage
//! fit the same calls. For them, one call reads several rows. Nothing here is asynchronous.

use std::{
    io,
    ops::{Bound, ControlFlow},
    time::Duration,
};

use bytes::Bytes;

use super::table::Table;

/// The number of a commit. It rises by one with each commit and continues after a restart.
pub type CommitNo = u64;

/// Rows that change together: table, key, row. `None` deletes the row.
pub type Batch = Vec<(Table, Vec<u8>, Option<Vec<u8>>)>;

/// Which commits a snapshot shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// Only commits that survive a crash.
    Durable,
    /// All commits.
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

/// The state of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether it takes commits, and if not, why.
    pub mode: Mode,
    /// The last commit that snapshots of [`Visibility::Latest`] show.
    pub latest: CommitNo,
    /// The last commit that survives a crash.
    pub durable: CommitNo,
    /// How often the engine was reopened after a failure. Earlier snapshots can no longer be read.
    pub reopened: u64,
}

impl Status {
    /// Whether everything that snapshots show survives a crash. After a failure this holds once the engine
    /// has reopened the file for writing; a file that it could only read may have commits that were never
    /// synced.
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

/// How much room the disk has for what a store writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Whether values may be written. If not, the disk was full, and what is left of the reserve is for
    /// commits that make room: deletes and garbage collection.
    pub takes_values: bool,
    /// How much room is reserved now, in bytes.
    pub reserve_bytes: u64,
}

impl Default for Room {
    fn default() -> Room {
        Room { takes_values: true, reserve_bytes: 0 }
    }
}

/// Whether an engine takes commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It reads and commits.
    Writer,
    /// It only reads until a temporary failure is over, for example a full disk; the reason.
    Waiting(String),
    /// It only reads until the process is restarted; the reason.
    ReadOnly(String),
    /// It neither reads nor commits; the reason.
    Closed(String),
}

/// Why an engine call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The disk is full. Commits since the last sync are lost. [`Engine::maintain`] resumes commits when
    /// there is space again.
    #[error("the disk is full")]
    Full,
    /// The engine takes no commits. Nothing was changed.
    #[error("read-only: {0}")]
    ReadOnly(String),
    /// Bytes on the disk are not the bytes that were written.
    #[error("damaged data: {0}")]
    Corrupt(String),
    /// A read, write or sync failed.
    #[error("the disk failed: {0}")]
    Io(#[from] io::Error),
    /// The snapshot is older than a disk failure. Take a new one.
    #[error("this view is older than a disk failure: read again")]
    Stale,
    /// The engine was closed.
    #[error("the store is closed")]
    Closed,
}

/// Visits one row, key and bytes, and returns whether to continue.
pub type Visitor<'v> = &'v mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// A storage engine: byte-ordered tables, atomic commits, cheap snapshots. Calls may block.
pub trait Engine: Send + Sync + 'static {
    /// A consistent view.
    type Snapshot: Snapshot;

    /// Applies a batch atomically and in order. It is visible to snapshots of [`Visibility::Latest`] and
    /// not yet durable.
    ///
    /// # Errors
    /// Nothing of the batch is visible then. Commits since the last sync may be lost: take a new
    /// snapshot.
    fn commit(&self, n: CommitNo, batch: Batch) -> Result<(), EngineError>;

    /// Returns when commit `upto` survives a crash.
    ///
    /// # Errors
    /// As for [`Engine::commit`]. After a failed sync the engine is read-only, because the contents of
    /// the disk are unknown.
    fn sync(&self, upto: CommitNo) -> Result<(), EngineError>;

    /// Takes a consistent view. It is cheap, and must not be held long.
    ///
    /// # Errors
    /// If the engine is closed or can't be read.
    fn snapshot(&self, seen: Visibility) -> Result<Self::Snapshot, EngineError>;

    /// Returns the state of the engine without access to the disk: it is called several times a commit.
    fn status(&self) -> Status;

    /// Returns how much room the disk has, without access to the disk.
    fn room(&self) -> Room {
        Room::default()
    }

    /// Returns the size of the engine's files in bytes; 0 if it is unknown.
    fn bytes(&self) -> u64;

    /// Does background work for about `budget`, and tries to recover from a failure. Returns whether
    /// there is more work.
    ///
    /// # Errors
    /// If the work failed. It may be retried.
    fn maintain(&self, budget: Duration) -> Result<bool, EngineError>;

    /// Closes the engine. If this succeeds, all commits are durable.
    ///
    /// # Errors
    /// If the last sync failed.
    fn close(&self) -> Result<(), EngineError>;
}

/// A consistent view of an engine.
pub trait Snapshot: Send + Sync + 'static {
    /// Reads one row.
    ///
    /// # Errors
    /// If it can't be read.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// Calls `look` with one row where it lies, if it exists. A caller that keeps little of the row saves
    /// a copy.
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

    /// Reads several rows of several tables. The result has the order of `keys`.
    ///
    /// # Errors
    /// If one of them can't be read.
    fn get_many(&self, keys: &[(Table, &[u8])]) -> Result<Vec<Option<Bytes>>, EngineError> {
        keys.iter().map(|(table, key)| self.get(*table, key)).collect()
    }

    /// Visits the rows between two bounds in order until the visitor breaks.
    ///
    /// # Errors
    /// If one of them can't be read. The rows before it were visited.
    fn range(
        &self,
        table: Table,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        order: Order,
        visit: Visitor<'_>,
    ) -> Result<(), EngineError>;

    /// Returns the number of rows of a table, without visiting them.
    ///
    /// # Errors
    /// If it can't be read.
    fn rows(&self, table: Table) -> Result<u64, EngineError>;
}

/// Visits every row whose key starts with `prefix`, in ascending order.
pub(crate) fn visit_prefix<S: Snapshot>(
    snapshot: &S,
    table: Table,
    prefix: &[u8],
    visit: Visitor<'_>,
) -> Result<(), EngineError> {
    let end = after_prefix(prefix);
    let upper = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    snapshot.range(table, (Bound::Included(prefix), upper), Order::Ascending, visit)
}

/// Returns the first key after all that start with `prefix`, or `None` if there can't be one.
pub(crate) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_the_next_key_of_its_length() {
        assert_eq!(after_prefix(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(after_prefix(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(after_prefix(b"\xff"), None);
        assert_eq!(after_prefix(b""), None);
    }
}
