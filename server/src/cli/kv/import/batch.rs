//! Entries on their way from a source to the server.

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::Sender;
use waypost_client::Pair;

use super::super::error::KvError;

/// The most entries of a batch.
const MAX_PAIRS: usize = 1000;
/// The most bytes of values of a batch, but for its last one.
const MAX_BYTES: usize = 4 << 20;

/// Where an import continues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Position {
    /// After so many items of a file.
    Items(u64),
    /// After this path, in the order of their bytes.
    Path(String),
    /// With the page of this cursor.
    Cursor(String),
    /// With this cursor of a Redis process.
    Scan {
        /// The cursor.
        cursor: u64,
        /// The process: another one has other cursors.
        run: String,
    },
}

/// What a source did not hand over, or a server did not take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Left {
    /// Entries that have expired, or expire sooner than the server allows.
    pub(super) expired: u64,
    /// Keys of Redis that are not strings.
    pub(super) not_strings: u64,
    /// Entries that break a rule of the server.
    pub(super) refused: u64,
    /// Why the first of them does.
    pub(super) first: Option<String>,
}

impl Left {
    /// Counts an entry that breaks a rule.
    pub(super) fn refuse(&mut self, why: impl FnOnce() -> String) {
        self.refused += 1;
        self.first.get_or_insert_with(why);
    }

    /// Adds others.
    pub(super) fn add(&mut self, other: Left) {
        self.expired += other.expired;
        self.not_strings += other.not_strings;
        self.refused += other.refused;
        self.first = self.first.take().or(other.first);
    }
}

/// Some entries.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The entries.
    pub(super) pairs: Vec<Pair>,
    /// What was left out before them.
    pub(super) left: Left,
    /// Where the import continues once they are written.
    pub(super) next: Option<Position>,
    /// The bytes of their values.
    bytes: usize,
}

/// The server takes nothing more, because it failed.
#[derive(Debug)]
pub(super) struct Closed;

/// What a source fills, on a thread that may block.
pub(super) struct Feed {
    /// The way to the writer.
    sender: Sender<Result<Batch, KvError>>,
    /// The current batch.
    batch: Batch,
}

impl Feed {
    /// Sends batches to a writer.
    pub(super) fn new(sender: Sender<Result<Batch, KvError>>) -> Feed {
        Feed { sender, batch: Batch::default() }
    }

    /// Hands an entry over. `next` is where the import continues once this entry and all before are written.
    pub(super) fn push(&mut self, pair: Pair, next: Option<Position>) -> Result<(), Closed> {
        // Not before the next entry, so that what a source passes behind its last entry belongs to its batch.
        if self.batch.pairs.len() >= MAX_PAIRS || self.batch.bytes >= MAX_BYTES {
            self.flush()?;
        }
        self.batch.bytes += pair.value.len();
        self.batch.pairs.push(pair);
        self.pass(next);
        Ok(())
    }

    /// Changes where the import continues once all entries so far are written.
    pub(super) fn pass(&mut self, next: Option<Position>) {
        self.batch.next = next.or(self.batch.next.take());
    }

    /// What is left out.
    pub(super) fn left(&mut self) -> &mut Left {
        &mut self.batch.left
    }

    /// Sends the current batch.
    pub(super) fn flush(&mut self) -> Result<(), Closed> {
        let batch = std::mem::take(&mut self.batch);
        self.sender.blocking_send(Ok(batch)).map_err(|_closed| Closed)
    }

    /// Ends the import: with the last batch, or with an error behind it.
    pub(super) fn finish(mut self, result: Result<(), Stop>) {
        let flushed = self.flush();
        if let (Err(Stop::Failed(error)), Ok(())) = (result, flushed) {
            // Without a receiver, there is an error already.
            drop(self.sender.blocking_send(Err(error)));
        }
    }
}

/// Why a source stops before its end.
pub(super) enum Stop {
    /// The writer takes nothing more.
    Closed,
    /// The source failed.
    Failed(KvError),
}

impl From<Closed> for Stop {
    fn from(_: Closed) -> Stop {
        Stop::Closed
    }
}

impl From<KvError> for Stop {
    fn from(error: KvError) -> Stop {
        Stop::Failed(error)
    }
}
