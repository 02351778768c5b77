//! How a store is to be opened.

use std::{path::Path, sync::Arc, time::Duration};

use crate::{
    engine::disk::{DataDir, OpenDisk},
    env::{Environment, SystemEnvironment},
    error::OpenError,
    store::Store,
};

/// When a write is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When it survives a crash. Concurrent writes share a sync.
    Durable,
    /// At once; it survives a crash after at most `within`, and what a crash takes was
    /// acknowledged and visible before.
    Relaxed {
        /// The longest time between a write and the sync that covers it.
        within: Duration,
    },
}

/// Is told what the writer thread does. Called on that thread: do not block.
pub trait Observer: Send + Sync + 'static {
    /// A commit of `operations` was made in `commit`, and synced in `sync` if it was.
    fn committed(&self, operations: usize, bytes: usize, commit: Duration, sync: Option<Duration>) {
        let _unused = (operations, bytes, commit, sync);
    }

    /// So many remote writes won over one that they did not know of: two were made at the same time
    /// in two locations, and one of them is gone.
    fn overwrote_concurrent(&self, writes: usize) {
        let _unused = writes;
    }

    /// A sweep changed so many rows and bodies.
    fn swept(&self, rows: usize) {
        let _unused = rows;
    }
}

struct Silent;

impl Observer for Silent {}

/// How a store is to be opened. Each setting has a default that serves.
#[derive(Clone)]
pub struct Options {
    pub(crate) cache_bytes: usize,
    pub(crate) durability: Durability,
    pub(crate) queue_capacity: usize,
    pub(crate) queue_wait: Duration,
    pub(crate) max_skew: Duration,
    pub(crate) gc_interval: Duration,
    pub(crate) replicated: bool,
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
            max_skew: Duration::from_millis(500),
            gc_interval: Duration::from_secs(1),
            replicated: false,
            observer: Arc::new(Silent),
            environment: Arc::new(SystemEnvironment::new()),
        }
    }
}

impl Options {
    /// The defaults.
    #[must_use]
    pub fn new() -> Options {
        Options::default()
    }

    /// The most memory that the engine's cache takes, in bytes. Default 256 MiB. Reads beyond it
    /// come from the system's page cache, which costs about twice the CPU.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: usize) -> Options {
        self.cache_bytes = bytes;
        self
    }

    /// When a write is acknowledged. Default [`Durability::Durable`].
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Options {
        self.durability = durability;
        self
    }

    /// How many operations may wait for the writer, each holding at most 64 KiB. Default 512.
    #[must_use]
    pub fn queue_capacity(mut self, operations: usize) -> Options {
        self.queue_capacity = operations.max(1);
        self
    }

    /// How long the blocking calls wait for a place in the queue before they answer
    /// [`QueueFull`](crate::WriteError::QueueFull). Default 5 s.
    #[must_use]
    pub fn queue_wait(mut self, wait: Duration) -> Options {
        self.queue_wait = wait;
        self
    }

    /// How far apart the clocks of the locations can be; the bodies of expired entries are kept
    /// for so long. Default 500 ms, at which a peer's link is parked.
    #[must_use]
    pub fn max_skew(mut self, skew: Duration) -> Options {
        self.max_skew = skew;
        self
    }

    /// How often the writer looks for what has expired or is no longer needed. Default 1 s.
    #[must_use]
    pub fn gc_interval(mut self, period: Duration) -> Options {
        self.gc_interval = period;
        self
    }

    /// Whether the store belongs to a cluster, or is to join one. No tombstone is collected then unless
    /// [`Store::replicate`] says up to when. Default false; a store that has members is taken for one
    /// that belongs to a cluster in any case.
    #[must_use]
    pub fn replicated(mut self, replicated: bool) -> Options {
        self.replicated = replicated;
        self
    }

    /// Who is told what the writer does. Default nobody.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Options {
        self.observer = observer;
        self
    }

    /// Where time and randomness come from. Default the system.
    #[must_use]
    pub fn environment(mut self, environment: Arc<dyn Environment>) -> Options {
        self.environment = environment;
        self
    }

    /// Opens the store in a directory; makes both if they are not there. The directory is locked
    /// until the last handle is gone.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing was changed.
    pub fn open(self, directory: impl AsRef<Path>) -> Result<Store, OpenError> {
        let directory = DataDir::open(directory.as_ref())?;
        let disk = directory.disk();
        Store::start(self, disk, Some(directory))
    }

    /// Opens a store on a disk of the caller's: a test's failing one, say.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_disk(self, disk: OpenDisk) -> Result<Store, OpenError> {
        Store::start(self, disk, None)
    }
}
