//! The handle of a store: opening, closing, and what it reports.

use std::{
    fmt,
    path::Path,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use arc_swap::ArcSwap;
use crossbeam_channel::Sender;

use crate::{
    body::Bodies,
    cluster_clock::ClusterClock,
    commit::Committer,
    engine::{
        Engine as _, EngineError, Mode, Room, Status,
        disk::{DataDir, Directory},
        redb::{RedbEngine, RedbSnapshot},
    },
    error::{OpenError, WriteError},
    options::Options,
    places::Places,
    published::Published,
    types::{AccessTokens, LimitOverrides, MemberId, Namespaces, OriginId},
    view::View,
    writer::{Message, SharedWithWriter, Writer},
};

/// One location's store. Clones share it. The last clone that is dropped closes it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// for run in 1..=2 {
///     let store = kv_core::Store::open(directory.path())?;
///     let sessions = store.namespace("sessions")?.id;
///     store.put(sessions, format!("run:{run}"), "hello")?;
///     assert_eq!(store.iter(sessions).count(), run);
///     store.close()?;
/// }
/// # Ok(())
/// # }
/// ```
///
/// All methods may be called from any thread. Reads never wait for writes. Writes wait until they are
/// durable, see [`Durability`](crate::Durability).
#[derive(Clone)]
pub struct Store {
    pub(super) shared: Arc<Shared>,
}

/// What all clones of a store share.
pub(super) struct Shared {
    pub(super) published: Arc<Published<RedbSnapshot>>,
    pub(super) bodies: Arc<Bodies>,
    engine: Arc<RedbEngine>,
    pub(super) options: Options,
    pub(super) messages: Sender<Message<RedbEngine>>,
    /// The places of the requests among `messages`.
    pub(super) places: Arc<Places>,
    pub(super) is_woken: Arc<AtomicBool>,
    /// The cluster's clock, which the writer shares.
    clock: Arc<ArcSwap<ClusterClock>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// The writer thread takes messages, and no call closes the store.
    is_open: Arc<AtomicBool>,
    closed: OnceLock<Result<(), WriteError>>,
}

/// Marks the store as closed when the writer thread ends, even by a panic.
struct EndsWriter(Arc<AtomicBool>);

impl Drop for EndsWriter {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// A view of a [`Store`].
pub type StoreView = View<RedbSnapshot>;

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Options {
    /// Opens the store in a directory. Creates both if they do not exist. The directory is locked until
    /// the last handle is dropped.
    ///
    /// # Errors
    /// See [`OpenError`]. Nothing was changed.
    pub fn open(self, directory: impl AsRef<Path>) -> Result<Store, OpenError> {
        let directory = DataDir::open(directory.as_ref())?;
        Store::start(self, Arc::new(directory))
    }

    /// Opens a store in a directory of the caller's, for example on a failing one in a test.
    ///
    /// # Errors
    /// See [`OpenError`].
    #[doc(hidden)]
    pub fn open_disk(self, directory: Arc<dyn Directory>) -> Result<Store, OpenError> {
        Store::start(self, directory)
    }
}

impl Store {
    /// Opens the store in a directory with the default [`Options`]. Creates both if they do not exist.
    ///
    /// # Errors
    /// See [`OpenError`]. Nothing was changed.
    pub fn open(directory: impl AsRef<Path>) -> Result<Store, OpenError> {
        Options::new().open(directory)
    }

    /// Opens the engine, loads the state and starts the writer's thread.
    fn start(options: Options, directory: Arc<dyn Directory>) -> Result<Store, OpenError> {
        let engine =
            RedbEngine::open(directory, options.cache_bytes).map_err(|error| match error {
                EngineError::Corrupt(reason) => OpenError::Corrupt(reason),
                other => OpenError::Engine(other),
            })?;
        let engine = Arc::new(engine);
        let environment = Arc::clone(&options.environment);
        let random = move || environment.random_id();
        let mut committer = Committer::open(Arc::clone(&engine), options.creation, random)?;
        let published = Arc::new(Published::new(committer.view()));
        let bodies = Arc::clone(committer.bodies());
        // The places bound the requests; there are few messages of other kinds.
        let (messages, inbox) = crossbeam_channel::unbounded();
        let places = Places::new(options.queue_capacity);
        let is_woken = Arc::new(AtomicBool::new(false));
        let clock = Arc::new(ArcSwap::from_pointee(ClusterClock::default()));
        let shared = SharedWithWriter {
            published: Arc::clone(&published),
            is_woken: Arc::clone(&is_woken),
            clock: Arc::clone(&clock),
        };
        let writer = Writer::new(committer, shared, options.clone());
        let is_open = Arc::new(AtomicBool::new(true));
        let ends = EndsWriter(Arc::clone(&is_open));
        let writer = std::thread::Builder::new()
            .name("kv-writer".into())
            .spawn(move || {
                let _ends = ends;
                writer.run(&inbox);
            })
            .map_err(|source| OpenError::Engine(EngineError::Io(source)))?;
        let shared = Shared {
            published,
            bodies,
            engine,
            options,
            messages,
            places,
            is_woken,
            clock,
            writer: Mutex::new(Some(writer)),
            is_open,
            closed: OnceLock::new(),
        };
        Ok(Store { shared: Arc::new(shared) })
    }

    /// Returns the namespaces as of now.
    #[must_use]
    pub fn namespaces(&self) -> Arc<Namespaces> {
        Arc::clone(self.shared.published.load().namespaces())
    }

    /// Returns the access tokens as of now, revoked and expired ones included.
    #[must_use]
    pub fn tokens(&self) -> Arc<AccessTokens> {
        Arc::clone(self.shared.published.load().tokens())
    }

    /// Returns the overrides of rate limits as of now, expired ones included.
    #[must_use]
    pub fn overrides(&self) -> Arc<LimitOverrides> {
        Arc::clone(self.shared.published.load().overrides())
    }

    /// Returns what `read` makes of the overrides of rate limits; `None` if there are none. For a place that many
    /// requests pass: it counts no references.
    #[inline]
    pub fn with_overrides<T>(&self, read: impl FnOnce(&LimitOverrides) -> Option<T>) -> Option<T> {
        let view = self.shared.published.load();
        let overrides = view.overrides();
        if overrides.is_empty() { None } else { read(overrides) }
    }

    /// Returns the location that the store belongs to, see [`Options::member`].
    #[must_use]
    pub fn member(&self) -> MemberId {
        self.shared.published.load().member()
    }

    /// Returns the origins that this process writes under: for entries with inline values, and for entries
    /// with large ones. None before its first write.
    #[must_use]
    pub fn origins(&self) -> Option<[OriginId; 2]> {
        self.shared.published.load().own_origins()
    }

    /// Returns the store as of its last durable commit, which may be sent to a peer. It is the same as
    /// [`Store::view`], unless the store is relaxed.
    #[doc(hidden)]
    #[must_use]
    pub fn durable_view(&self) -> Arc<StoreView> {
        self.shared.published.durable()
    }

    /// Returns a consistent view of the store as of now. It must not be held long: the engine can't reuse
    /// the space of what it shows.
    #[doc(hidden)]
    #[must_use]
    pub fn view(&self) -> Arc<StoreView> {
        self.shared.published.latest()
    }

    /// Returns whether the disk has room for values. If not, puts are refused and deletes are taken.
    #[must_use]
    pub fn room(&self) -> Room {
        self.shared.engine.room()
    }

    /// Returns whether the store takes reads and writes, and what is durable.
    #[must_use]
    pub fn status(&self) -> Status {
        let mut status = self.shared.engine.status();
        if !self.shared.is_open.load(Ordering::Acquire) {
            status.mode = Mode::Closed("the store is closed".into());
        }
        status
    }

    /// Returns the size of the store's file in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shared.engine.bytes()
    }

    /// Returns how many large bodies wait to be freed.
    #[must_use]
    pub fn bodies_waiting(&self) -> usize {
        self.shared.bodies.waiting()
    }

    /// Returns how many operations can wait for the writer, see
    /// [`Options::queue_capacity`](crate::Options::queue_capacity).
    #[must_use]
    pub fn queue_capacity(&self) -> usize {
        self.shared.options.queue_capacity
    }

    /// Returns the time by which entries expire, in Unix milliseconds: cluster time, which is the median of the
    /// clocks of three or more locations, or this machine's wall clock.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        let environment = &self.shared.options.environment;
        let clock = self.shared.clock.load();
        match clock.zero_ms {
            Some(_) => clock.now_ms(environment.monotonic(), 0),
            None => environment.now_ms(),
        }
    }

    /// Sets the clock of the cluster, which shows `at` on the monotonic clock that it is measured against.
    #[doc(hidden)]
    pub fn set_clock(&self, clock: ClusterClock, at: Duration) {
        let own = self.shared.options.environment.monotonic();
        self.shared.clock.store(Arc::new(clock.rebased(at, own)));
    }

    /// Makes all writes durable and closes the store. Later writes on any clone fail with
    /// [`WriteError::Closed`], later reads fail too.
    ///
    /// # Errors
    /// If the last sync failed.
    pub fn close(&self) -> Result<(), WriteError> {
        self.shared.close()
    }
}

impl Shared {
    /// Closes the store once. Later calls wait for that and return the same result.
    fn close(&self) -> Result<(), WriteError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(thread) = writer.take() else {
            return self.closed.get().cloned().unwrap_or(Ok(()));
        };
        self.is_open.store(false, Ordering::Release);
        let (answer, closed) = oneshot::channel();
        let mut result = match self.messages.send(Message::Close(answer)) {
            Ok(()) => closed.recv().unwrap_or(Err(WriteError::Closed)),
            Err(_) => Err(WriteError::Closed),
        };
        if thread.join().is_err() {
            result = Err(WriteError::Failed("the writer thread panicked".into()));
        }
        self.closed.get_or_init(|| result).clone()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "the store was not closed cleanly");
        }
    }
}
