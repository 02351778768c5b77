//! The settings of a store.

use std::{sync::Arc, time::Duration};

use crate::{
    commit::{Creation, MAX_SKEW_MS},
    env::{Environment, SystemEnvironment},
    types::MemberId,
};

/// When a write is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After the write survives a crash. Concurrent writes share a sync.
    Durable,
    /// At once. The write survives a crash after at most `within`. A crash before that loses a write that
    /// was acknowledged and visible.
    Relaxed {
        /// The longest time between a write and the sync that covers it.
        within: Duration,
    },
}

/// Observes the writer thread, which calls it: the methods must not block.
pub trait Observer: Send + Sync + 'static {
    /// Records a commit of `operations` with `bytes` of bodies: it took `commit`, and its sync, if there was one, `sync`.
    fn committed(&self, operations: usize, bytes: usize, commit: Duration, sync: Option<Duration>) {
        let _unused = (operations, bytes, commit, sync);
    }

    /// Records how many remote writes replaced a write that they did not know of: two locations wrote a key at the
    /// same time, and one of the writes is lost.
    fn overwrote_concurrent(&self, writes: usize) {
        let _unused = writes;
    }

    /// Records a step of garbage collection, and how many rows and bodies it changed.
    fn collected(&self, rows: usize) {
        let _unused = rows;
    }

    /// Records how many damaged rows of the index of writes were rewritten or removed.
    fn reindexed(&self, rows: usize) {
        let _unused = rows;
    }
}

/// The observer that does nothing.
struct Silent;

impl Observer for Silent {}

/// The settings of a store. Each has a default.
///
/// ```
/// # fn main() -> Result<(), kv_core::OpenError> {
/// # let directory = tempfile::tempdir().expect("a directory");
/// let store = kv_core::Options::new().cache_bytes(64 << 20).open(directory.path())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Options {
    /// See `Options::cache_bytes`.
    pub(crate) cache_bytes: usize,
    /// See `Options::durability`.
    pub(crate) durability: Durability,
    /// See `Options::queue_capacity`.
    pub(crate) queue_capacity: usize,
    /// See `Options::queue_wait`.
    pub(crate) queue_wait: Duration,
    /// See `Options::expiry_grace`.
    pub(crate) expiry_grace: Duration,
    /// See `Options::max_clock_skew`.
    pub(crate) max_clock_skew: Duration,
    /// See `Options::gc_interval`.
    pub(crate) gc_interval: Duration,
    /// See `Options::replicated`.
    pub(crate) replicated: bool,
    /// See `Options::member` and `Options::joining`.
    pub(crate) creation: Creation,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) environment: Arc<dyn Environment>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            cache_bytes: 256 << 20,
            durability: Durability::Durable,
            queue_capacity: 512,
            queue_wait: Duration::from_secs(5),
            expiry_grace: Duration::from_secs(60 * 60),
            max_clock_skew: Duration::from_millis(MAX_SKEW_MS),
            gc_interval: Duration::from_secs(1),
            replicated: false,
            creation: Creation::default(),
            observer: Arc::new(Silent),
            environment: Arc::new(SystemEnvironment::new()),
        }
    }
}

impl Options {
    /// Returns the defaults.
    #[must_use]
    pub fn new() -> Options {
        Options::default()
    }

    /// Sets the size of the engine's cache in bytes. Default 256 MiB. Other reads come from the system's
    /// page cache, which costs about twice the CPU time.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: usize) -> Options {
        self.cache_bytes = bytes;
        self
    }

    /// Sets when a write is acknowledged. Default [`Durability::Durable`].
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Options {
        self.durability = durability;
        self
    }

    /// Sets how many operations may wait for the writer. Each holds at most 64 KiB of memory; a batch
    /// counts as one operation for each 64 KiB. Default 512, at least 1.
    #[must_use]
    pub fn queue_capacity(mut self, operations: usize) -> Options {
        self.queue_capacity = operations.max(1);
        self
    }

    /// Sets how long a blocking call waits for a place in the queue before it fails with
    /// [`QueueFull`](crate::WriteError::QueueFull). Default 5 s. Async calls wait without a limit.
    #[must_use]
    pub fn queue_wait(mut self, wait: Duration) -> Options {
        self.queue_wait = wait;
        self
    }

    /// Sets for how long this process must have seen an entry expired before it frees its body,
    /// unless a majority of the cluster's members confirms its clock. Default 1 h.
    ///
    /// An expired entry is hidden at once. Until it is freed, it reappears if the clock that hid it was
    /// ahead: a wall clock that is wrong for less than this time destroys nothing, whether it was wrong at
    /// the start of the process or stepped later. The time counts from the start of the process, by the
    /// monotonic clock; after the wall clock stepped forward, it is twice as long at most. The price is
    /// disk space for the entries that expire within this time.
    #[must_use]
    pub fn expiry_grace(mut self, grace: Duration) -> Options {
        self.expiry_grace = grace;
        self
    }

    /// Sets the largest difference between two clocks that are right. Default 500 ms. The time of a write that
    /// is further ahead of this location's time does not move this location's clock.
    #[must_use]
    pub fn max_clock_skew(mut self, skew: Duration) -> Options {
        self.max_clock_skew = skew;
        self
    }

    /// Sets how often the writer collects garbage. Default 1 s.
    #[must_use]
    pub fn gc_interval(mut self, period: Duration) -> Options {
        self.gc_interval = period;
        self
    }

    /// Sets whether the store belongs to a cluster or will join one. Then it collects no tombstones until
    /// replication reports a stable timestamp. Default false; a store that has members always counts as
    /// part of a cluster.
    #[must_use]
    pub fn replicated(mut self, replicated: bool) -> Options {
        self.replicated = replicated;
        self
    }

    /// Sets the location that the store belongs to. A new store gets this identity; a store that exists must have
    /// it. Default: a new store gets a random one, and any store opens.
    #[must_use]
    pub fn member(mut self, id: MemberId) -> Options {
        self.creation.member = Some(id);
        self
    }

    /// Sets that a new store joins a cluster: it serves no peer until it has what they have. A store that exists
    /// does not change, unless nothing was ever written to it and it is another location's: then it becomes a new
    /// one of [`Options::member`]. Default: a new store is whole from the start.
    #[must_use]
    pub fn joining(mut self) -> Options {
        self.creation.is_joining = true;
        self
    }

    /// Sets the observer of the writer thread. Default none.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Options {
        self.observer = observer;
        self
    }

    /// Sets the source of time and randomness. Default the system.
    #[must_use]
    pub fn environment(mut self, environment: Arc<dyn Environment>) -> Options {
        self.environment = environment;
        self
    }
}
