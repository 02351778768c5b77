//! The store's side of a replica: channels and threads around a [`Replicator`], which commits on the store's
//! writer thread. A thread of its own reads for peers, so that local writes do not wait for it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use kv_core::{
    Change, ClusterClock, Hlc, Key, Members, NamespaceId, Replication, Store, StoreView,
    TurnOutcome,
    commit::Committer,
    engine::redb::{RedbEngine, RedbSnapshot},
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::StartError;
use crate::{
    Event, Row, StoreState, Work,
    read::{self, Durable},
    replicator::{Replicator, WriteRoom},
};

/// A message from a replicated store to the driver.
#[derive(Debug)]
pub(super) enum StoreReport {
    /// Replication began with this state.
    Began(Box<StoreState>),
    /// An event for the core.
    Event(Event),
    /// Replication ended: the store was closed, or another replicator took the place.
    Ended,
}

/// State that both sides use.
struct Shared {
    /// The view that peers are shown. Changed together with sending the events that report it to the core.
    durable: Mutex<Option<Arc<Durable<RedbSnapshot>>>>,
    /// The stable timestamp, as long as these are the members.
    stable: Mutex<(Arc<Members>, Hlc)>,
}

/// Locks a mutex, also after a panic of another holder: what it guards is replaced as a whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A store, as the driver sees it.
pub(super) struct StorePort {
    /// The store, to wake its writer thread.
    store: Store,
    /// Work that commits, to the replicator on the writer thread.
    works: mpsc::Sender<Work>,
    /// Work that reads, to the reader's thread.
    reads: mpsc::Sender<Work>,
    /// The thread that reads for peers.
    reader: JoinHandle<()>,
    /// The durable view and the stable timestamp.
    shared: Arc<Shared>,
    /// The count of local writes that wait for the core.
    room: WriteRoom,
    /// Whether replication has ended, so that nothing of the store must be called.
    has_ended: bool,
}

impl StorePort {
    /// Begins to replicate a store. Blocks until everything in it is durable.
    pub(super) fn open(
        store: Store,
    ) -> Result<(StorePort, UnboundedReceiver<StoreReport>), StartError> {
        let (reports, received) = unbounded_channel();
        let (works, to_do) = mpsc::channel();
        let (reads, to_read) = mpsc::channel();
        let shared = Arc::new(Shared {
            durable: Mutex::new(None),
            stable: Mutex::new((Arc::new(Members::default()), Hlc::ZERO)),
        });
        let reader = Reader { shared: Arc::clone(&shared), reports: reports.clone() };
        let reader = std::thread::Builder::new()
            .name("kv-peer-reader".into())
            .spawn(move || reader.run(&to_read))
            .map_err(|error| StartError::System(format!("thread: {error}")))?;
        let replicator = Replicator::default();
        let room = replicator.room();
        let follower = Follower { replicator, works: to_do, reports, shared: Arc::clone(&shared) };
        store.replicate(follower)?;
        Ok((StorePort { store, works, reads, reader, shared, room, has_ended: false }, received))
    }

    /// Hands over a core's work.
    pub(super) fn ask(&self, work: Work) {
        let to = if work.is_read() { &self.reads } else { &self.works };
        // If the other end is gone the store is closed, and `StoreReport::Ended` comes.
        let _closed = to.send(work);
    }

    /// Wakes the writer thread, after work that commits.
    pub(super) fn wake(&self) {
        self.store.wake();
    }

    /// The core has taken these local writes.
    pub(super) fn taken(&self, rows: &[Row]) {
        self.room.release(rows);
    }

    /// Sets the stable timestamp, which counts as long as these are the members.
    pub(super) fn set_stable(&self, members: &Arc<Members>, stable: Hlc) {
        let mut shared = lock(&self.shared.stable);
        if !Arc::ptr_eq(&shared.0, members) {
            shared.0 = Arc::clone(members);
        }
        shared.1 = stable;
    }

    /// Sets the cluster's clock, which is measured against a monotonic clock that shows `at`.
    pub(super) fn set_clock(&self, clock: ClusterClock, at: Duration) {
        self.store.set_clock(clock, at);
    }

    /// `StoreReport::Ended` came: another replicator may have the place by now.
    pub(super) fn has_ended(&mut self) {
        self.has_ended = true;
    }

    /// Ends replication. Blocks until nothing of it is called any more.
    pub(super) fn close(self) {
        if !self.has_ended
            && let Err(error) = self.store.stop_replicating()
        {
            tracing::warn!(%error, "replication did not end well");
        }
        if !self.has_ended {
            // Nobody confirms the clock any more.
            self.store.set_clock(ClusterClock::default(), Duration::ZERO);
        }
        drop(self.reads);
        if self.reader.join().is_err() {
            tracing::error!("the thread that reads for peers panicked");
        }
    }
}

/// Reads for peers.
struct Reader {
    /// Where the durable view is.
    shared: Arc<Shared>,
    /// Where answers go.
    reports: UnboundedSender<StoreReport>,
}

impl Reader {
    /// Reads for peers until the driver drops its end of the channel.
    fn run(&self, works: &mpsc::Receiver<Work>) {
        let mut reader = read::Reader::default();
        for work in works {
            let Some(newest) = lock(&self.shared.durable).clone() else { continue };
            if let Some(answer) = reader.read(&newest, work) {
                let _over = self.reports.send(StoreReport::Event(answer));
            }
        }
    }
}

/// The replicator on the writer thread, with its channels.
struct Follower {
    /// The replicator, which commits and reports.
    replicator: Replicator<RedbSnapshot>,
    /// Work that commits, from the driver.
    works: mpsc::Receiver<Work>,
    /// Where events go. The driver receives them in this order.
    reports: UnboundedSender<StoreReport>,
    /// Where the durable view is published, and where the stable timestamp is read.
    shared: Arc<Shared>,
}

impl Follower {
    /// Sends the events that there are. A reader for peers gets a new durable view when the core can know of
    /// it, and not before.
    fn pass_on(&mut self) {
        let mut durable = lock(&self.shared.durable);
        while let Some(event) = self.replicator.poll_event() {
            let _over = self.reports.send(StoreReport::Event(event));
        }
        *durable = self.replicator.durable().cloned();
    }
}

impl Replication<RedbEngine> for Follower {
    fn begin(&mut self, committer: &mut Committer<RedbEngine>) {
        self.replicator.begin(committer);
        let state = Box::new(self.replicator.state().clone());
        let _over = self.reports.send(StoreReport::Began(state));
        self.pass_on();
    }

    fn work(&mut self, committer: &mut Committer<RedbEngine>, now_ms: u64) -> TurnOutcome {
        while let Ok(work) = self.works.try_recv() {
            self.replicator.push(work);
        }
        self.replicator.work(committer, now_ms)
    }

    fn published(&mut self, view: &StoreView, writes: Vec<Change>) {
        Replication::<RedbEngine>::published(&mut self.replicator, view, writes);
        self.pass_on();
    }

    fn synced(&mut self, committer: &mut Committer<RedbEngine>) {
        self.replicator.synced(committer);
        self.pass_on();
    }

    fn rolled_back(&mut self, committer: &mut Committer<RedbEngine>) {
        self.replicator.rolled_back(committer);
        self.pass_on();
    }

    fn freed_early(&mut self, keys: Vec<(NamespaceId, Key)>) {
        Replication::<RedbEngine>::freed_early(&mut self.replicator, keys);
    }

    fn stable(&mut self) -> Hlc {
        let (members, stable) = lock(&self.shared.stable).clone();
        self.replicator.set_stable(&members, stable);
        Replication::<RedbEngine>::stable(&mut self.replicator)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _over = self.reports.send(StoreReport::Ended);
    }
}
