//! The input of a [`WriterCore`](super::WriterCore) and its output.

use std::time::Duration;

use crate::{
    commit::{GcStep, Outcome},
    engine::EngineError,
    error::WriteError,
    options::{Durability, Options},
    view::View,
};

/// Most rows of each kind that one step of garbage collection changes, however fast the disk is.
const GC_ROWS: usize = 4000;

/// Most large bodies that one step of garbage collection frees.
const GC_BODIES: usize = 64;

/// How often an idle store raises its closed timestamp.
const CLOSING_INTERVAL: Duration = Duration::from_secs(10);

/// The time, as a driver reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// A clock that never steps back, from any start.
    pub mono: Duration,
    /// The wall clock: milliseconds since the Unix epoch. May step.
    pub wall_ms: u64,
}

/// How a writer commits, syncs and collects garbage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriterConfig {
    /// When a write is acknowledged.
    pub durability: Durability,
    /// Time between two rounds of garbage collection.
    pub gc_interval: Duration,
    /// Most rows of each kind that one step of garbage collection changes. A step changes fewer if they take long.
    pub gc_rows: usize,
    /// Most large bodies that one step of garbage collection frees.
    pub gc_bodies: usize,
    /// For how long this process must have seen an entry expired before it frees it: see
    /// [`Options::expiry_grace`].
    pub expiry_grace: Duration,
    /// The largest difference between two clocks that are right: see [`Options::max_clock_skew`].
    pub max_clock_skew: Duration,
    /// How often an idle store raises its closed timestamp, if tombstones wait for it.
    pub closing_interval: Duration,
    /// Whether the store belongs to a cluster or is about to join one: no tombstone is collected then
    /// without a replicator.
    pub is_replicated: bool,
}

impl Default for WriterConfig {
    fn default() -> WriterConfig {
        WriterConfig::from(&Options::default())
    }
}

impl From<&Options> for WriterConfig {
    fn from(options: &Options) -> WriterConfig {
        WriterConfig {
            durability: options.durability,
            gc_interval: options.gc_interval,
            gc_rows: GC_ROWS,
            gc_bodies: GC_BODIES,
            expiry_grace: options.expiry_grace,
            max_clock_skew: options.max_clock_skew,
            closing_interval: CLOSING_INTERVAL,
            is_replicated: options.replicated,
        }
    }
}

/// A piece of work that may block on the engine. The driver decides when it runs.
///
/// Every step may run at any time; one that has nothing to do changes nothing.
/// [`WriterCore::next_step`](super::WriterCore::next_step) returns the step that is due, in the order in which
/// the store's thread runs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Reopens the engine after a failure, if it can be.
    Recover,
    /// Commits the batch.
    Commit,
    /// Makes everything committed durable, publishes it and releases the answers that waited for it.
    Sync,
    /// Lets the replicator commit what peers sent.
    Turn,
    /// Collects garbage: one bounded step.
    CollectGarbage,
    /// Closes the engine. Due after [`WriterCore::close`](super::WriterCore::close) and the last sync.
    Close,
}

/// The answer to one operation, with the token that the driver gave for it.
pub type Answer<T> = (T, Result<Outcome, WriteError>);

/// A task of the driver after a step. The driver does each before it takes the next one, and all of them before
/// it runs the next step.
pub enum Output<S, T> {
    /// Give readers this view.
    Publish {
        /// The view.
        view: View<S>,
        /// Whether everything that it shows survives a crash.
        is_durable: bool,
    },
    /// Answer these callers. In durable mode an answer that acknowledges a write comes after the sync that
    /// covers it.
    Answers(Vec<Answer<T>>),
    /// A batch was committed, or refused as a whole.
    Committed {
        /// Operations in it.
        operations: usize,
        /// Bytes of bodies in it.
        bytes: usize,
        /// Whether its answers wait for a sync.
        awaits_sync: bool,
    },
    /// A sync ended.
    Synced(Result<(), WriteError>),
    /// How many remote writes replaced a write that they did not know of.
    Concurrent(usize),
    /// A step of garbage collection ended.
    Collected(Result<GcStep, WriteError>),
    /// [`Step::Recover`] ended.
    Recovered(Result<(), EngineError>),
    /// The oldest unanswered call of [`WriterCore::replicate`](super::WriterCore::replicate) took effect, or
    /// failed: nothing replicates the store then.
    Replicating(Result<(), WriteError>),
    /// The store is closed. The error is that of the last sync, or of closing the engine.
    Closed(Result<(), WriteError>),
}
