//! The store as its users see it: many readers and writers over one writer thread.

use std::{
    fmt,
    path::Path,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use crossbeam_channel::{SendTimeoutError, Sender, TrySendError};

use crate::{
    NamespaceId, OriginId,
    body::{Bodies, ChunkSource, NewBody, Upload},
    commit::Committer,
    engine::{
        Engine, EngineError, Mode, Snapshot, Status,
        disk::{DataDir, OpenDisk},
        redb::{RedbEngine, RedbSnapshot},
    },
    entry::{Attributes, BodyId},
    error::{OpenError, ReadError, WriteError},
    namespace::{Namespace, Namespaces},
    operation::{Operation, Outcome, Written},
    options::Options,
    ticket::Ticket,
    view::View,
    writer::{Message, Request, Writer},
};

mod local;
mod read;
mod replicate;

/// One location's store. Clones share it; the last one to go closes it.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    published: Arc<Published<RedbSnapshot>>,
    bodies: Arc<Bodies>,
    engine: Arc<RedbEngine>,
    options: Options,
    messages: Sender<Message<RedbEngine>>,
    is_woken: Arc<AtomicBool>,
    origins: [OriginId; 2],
    writer: Mutex<Option<JoinHandle<()>>>,
    /// The writer thread takes messages, and nobody closes the store.
    is_open: Arc<AtomicBool>,
    closed: OnceLock<Result<(), WriteError>>,
    _directory: Option<DataDir>,
}

/// Marks the store as closed when the writer thread ends, also by a panic.
struct EndsWriter(Arc<AtomicBool>);

impl Drop for EndsWriter {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// A view of a [`Store`].
pub type StoreView = View<RedbSnapshot>;

/// The newest view that readers may have: durable, unless the store is relaxed.
pub(crate) struct Published<S> {
    latest: ArcSwap<View<S>>,
    durable: ArcSwap<View<S>>,
}

impl<S> Published<S> {
    fn new(view: View<S>) -> Published<S> {
        let view = Arc::new(view);
        Published { latest: ArcSwap::new(Arc::clone(&view)), durable: ArcSwap::new(view) }
    }

    pub(crate) fn set(&self, view: View<S>) {
        self.latest.store(Arc::new(view));
    }

    /// The latest view survives a crash.
    pub(crate) fn set_durable(&self) {
        self.durable.store(self.latest.load_full());
    }
}

impl<S: Snapshot> ChunkSource for Published<S> {
    fn chunk(&self, body: BodyId, index: u32) -> Result<Option<Bytes>, ReadError> {
        self.latest.load().chunk(body, index)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in a directory with the default [`Options`]; makes both if they are not
    /// there.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing was changed.
    pub fn open(directory: impl AsRef<Path>) -> Result<Store, OpenError> {
        Options::new().open(directory)
    }

    pub(crate) fn start(
        options: Options,
        disk: OpenDisk,
        directory: Option<DataDir>,
    ) -> Result<Store, OpenError> {
        let engine = RedbEngine::open(disk, options.cache_bytes).map_err(|error| match error {
            EngineError::Corrupt(reason) => OpenError::Corrupt(reason),
            other => OpenError::Engine(other),
        })?;
        let engine = Arc::new(engine);
        let mut committer =
            Committer::open(Arc::clone(&engine), &mut || options.environment.random_id())?;
        let published = Arc::new(Published::new(committer.view()));
        let bodies = Arc::clone(committer.bodies());
        let origins = committer.origins();
        let (messages, inbox) = crossbeam_channel::bounded(options.queue_capacity);
        let is_woken = Arc::new(AtomicBool::new(false));
        let shared = (Arc::clone(&published), Arc::clone(&is_woken));
        let writer = Writer::new(committer, shared.0, options.clone(), shared.1);
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
            is_woken,
            origins,
            writer: Mutex::new(Some(writer)),
            is_open,
            closed: OnceLock::new(),
            _directory: directory,
        };
        Ok(Store { shared: Arc::new(shared) })
    }

    /// The namespaces as of now.
    #[must_use]
    pub fn namespaces(&self) -> Arc<Namespaces> {
        Arc::clone(self.shared.published.latest.load().namespaces())
    }

    /// The origins that this store writes under: for entries with the value inline, and for those
    /// with a large one.
    #[must_use]
    pub fn origins(&self) -> [OriginId; 2] {
        self.shared.origins
    }

    /// The store as of its last durable commit: what may leave it for a peer. The same as
    /// [`Store::view`], unless the store is relaxed.
    #[must_use]
    pub fn durable_view(&self) -> Arc<StoreView> {
        self.shared.published.durable.load_full()
    }

    /// A consistent view of the store as of now. Not to be held long: the engine can't use the
    /// space that it shows.
    #[must_use]
    pub fn view(&self) -> Arc<StoreView> {
        self.shared.published.latest.load_full()
    }

    /// What the engine can do at the moment.
    #[must_use]
    pub fn status(&self) -> Status {
        let mut status = self.shared.engine.status();
        if !self.shared.is_open.load(Ordering::Acquire) {
            status.mode = Mode::Closed("the store is closed".into());
        }
        status
    }

    /// The size of the store's file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shared.engine.bytes()
    }

    /// How many large bodies wait to be freed.
    #[must_use]
    pub fn bodies_waiting(&self) -> usize {
        self.shared.bodies.waiting()
    }

    /// How many operations wait for the writer.
    #[must_use]
    pub fn queue_len(&self) -> usize {
        self.shared.messages.len()
    }

    /// How many operations can wait for the writer.
    #[must_use]
    pub fn queue_capacity(&self) -> usize {
        self.shared.options.queue_capacity
    }

    /// The wall clock that the store goes by, in Unix milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.shared.options.environment.now_ms()
    }

    /// Puts a value without metadata or expiry. Blocks until it is durable.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn put(
        &self,
        namespace: NamespaceId,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<Written, WriteError> {
        self.put_with(namespace, key, value, Attributes::default())
    }

    /// Puts a value. Blocks until it is durable.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn put_with(
        &self,
        namespace: NamespaceId,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        attributes: Attributes,
    ) -> Result<Written, WriteError> {
        let body = self.stage(value.as_ref())?;
        let key = Bytes::copy_from_slice(key.as_ref());
        self.written(Operation::Put { namespace, key, body, attributes })
    }

    fn stage(&self, value: &[u8]) -> Result<NewBody, WriteError> {
        let mut upload = self.upload();
        for chunk in upload.push(value)? {
            self.run(chunk)?;
        }
        self.staged(upload)
    }

    /// The body of an upload, once what is left of it is staged.
    fn staged(&self, upload: Upload) -> Result<NewBody, WriteError> {
        let (last, body) = upload.finish();
        if let Some(chunk) = last {
            self.run(chunk)?;
        }
        Ok(body)
    }

    /// Deletes a key, whether it is there or not. Blocks until that is durable.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn delete(
        &self,
        namespace: NamespaceId,
        key: impl AsRef<[u8]>,
    ) -> Result<Written, WriteError> {
        let key = Bytes::copy_from_slice(key.as_ref());
        self.written(Operation::Delete { namespace, key })
    }

    /// Makes a namespace with a title that no other has.
    ///
    /// # Errors
    /// [`WriteError::Taken`] if one has it.
    pub fn create_namespace(&self, title: &str) -> Result<Namespace, WriteError> {
        self.create_namespace_with("", title, None)
    }

    /// Makes a namespace for an account, with a certain id if one is given.
    ///
    /// # Errors
    /// [`WriteError::Taken`] if the account has one with this title, or the id is or was used.
    pub fn create_namespace_with(
        &self,
        account: &str,
        title: &str,
        id: Option<NamespaceId>,
    ) -> Result<Namespace, WriteError> {
        let (account, title) = (account.to_owned(), title.to_owned());
        self.changed(Operation::CreateNamespace { account, title, id })
    }

    /// Gives a namespace another title.
    ///
    /// # Errors
    /// [`WriteError::Taken`] if another has it.
    pub fn rename_namespace(&self, id: NamespaceId, title: &str) -> Result<Namespace, WriteError> {
        self.changed(Operation::RenameNamespace { id, title: title.to_owned() })
    }

    /// Drops a namespace with all its entries, for good: its id is refused from now on.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn drop_namespace(&self, id: NamespaceId) -> Result<Namespace, WriteError> {
        self.changed(Operation::DropNamespace { id })
    }

    /// Takes a value piece by piece: for values that are not to be held in memory.
    #[must_use]
    pub fn upload(&self) -> Upload {
        Upload::new(Arc::clone(&self.shared.bodies))
    }

    /// Hands an operation to the writer and does not wait.
    ///
    /// # Errors
    /// [`WriteError::QueueFull`] if there is no place, [`WriteError::Closed`] after the end.
    pub fn submit(&self, operation: Operation) -> Result<Ticket, WriteError> {
        operation.check()?;
        let (answer, ticket) = oneshot::channel();
        match self
            .shared
            .messages
            .try_send(Message::Request(Box::new(Request { operation, answer })))
        {
            Ok(()) => Ok(Ticket(ticket)),
            Err(TrySendError::Full(_)) => Err(WriteError::QueueFull),
            Err(TrySendError::Disconnected(_)) => Err(WriteError::Closed),
        }
    }

    fn run(&self, operation: Operation) -> Result<Outcome, WriteError> {
        operation.check()?;
        let (answer, ticket) = oneshot::channel();
        let message = Message::Request(Box::new(Request { operation, answer }));
        match self.shared.messages.send_timeout(message, self.shared.options.queue_wait) {
            Ok(()) => Ticket(ticket).wait(),
            Err(SendTimeoutError::Timeout(_)) => Err(WriteError::QueueFull),
            Err(SendTimeoutError::Disconnected(_)) => Err(WriteError::Closed),
        }
    }

    fn written(&self, operation: Operation) -> Result<Written, WriteError> {
        match self.run(operation)? {
            Outcome::Written(written) => Ok(written),
            other => unreachable!("a put or delete answers what it wrote, not {other:?}"),
        }
    }

    fn changed(&self, operation: Operation) -> Result<Namespace, WriteError> {
        match self.run(operation)? {
            Outcome::Namespace(namespace) => Ok(namespace),
            other => unreachable!("a change to a namespace answers it, not {other:?}"),
        }
    }

    /// Makes all durable and closes the store; later calls on any clone answer
    /// [`WriteError::Closed`] or fail to read.
    ///
    /// # Errors
    /// If the last sync failed.
    pub fn close(&self) -> Result<(), WriteError> {
        self.shared.close()
    }
}

impl Shared {
    /// Closes the store, once. Later callers wait for that and get the same result.
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
