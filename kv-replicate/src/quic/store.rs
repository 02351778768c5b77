//! The store's side of a replica: the writer thread commits what peers sent, a thread of ours reads
//! for them.

use std::{
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::JoinHandle,
};

use kv_core::{
    Change, Hlc, Members, Mode, OriginId, Replication, Store, StoreView, TurnOutcome,
    commit::Applied,
    commit::Committer,
    engine::{Engine, redb::RedbEngine},
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::StartError;
use crate::{
    Event, Row, StoreState, Work,
    storage::{Applier, durable_state, read, whole},
};

/// How much of a peer's work is done before local writes have their turn: a few milliseconds.
const WORKS_AT_ONCE: usize = 16;

/// How many bytes of local writes may wait for the core. Beyond it they are left out, and peers catch up
/// on them as on anything that is no longer in memory.
const MAX_WRITES_BYTES: usize = 16 << 20;

/// What a store that is replicated tells.
#[derive(Debug)]
pub(super) enum Told {
    /// It is, from this state on.
    Began(Box<StoreState>, [OriginId; 2]),
    /// What the core is to be told.
    Event(Event),
    /// It is replicated no more: it was closed, or another began to replicate it.
    Ended,
}

/// What is known on both sides.
struct Shared {
    /// What peers may see. Changed together with saying so.
    durable: Mutex<Option<Arc<Durable>>>,
    /// Up to when tombstones may go, as long as these are the members.
    stable: Mutex<(Arc<Members>, Hlc)>,
    /// Bytes of local writes that wait for the core.
    waiting: AtomicUsize,
}

/// The store as of a sync, and the number of its last commit.
struct Durable {
    view: StoreView,
    commit: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A store, as the driver sees it.
pub(super) struct StorePort {
    store: Store,
    works: mpsc::Sender<Work>,
    reads: mpsc::Sender<Work>,
    reader: JoinHandle<()>,
    shared: Arc<Shared>,
    has_ended: bool,
}

impl StorePort {
    /// Begins to replicate a store. Blocks until all of it is durable.
    pub(super) fn open(store: Store) -> Result<(StorePort, UnboundedReceiver<Told>), StartError> {
        let (told, hears) = unbounded_channel();
        let (works, to_do) = mpsc::channel();
        let (reads, to_read) = mpsc::channel();
        let shared = Arc::new(Shared {
            durable: Mutex::new(None),
            stable: Mutex::new((Arc::new(Members::default()), Hlc::ZERO)),
            waiting: AtomicUsize::new(0),
        });
        let reader = Reader { shared: Arc::clone(&shared), told: told.clone() };
        let reader = std::thread::Builder::new()
            .name("kv-peer-reader".into())
            .spawn(move || reader.run(&to_read))
            .map_err(|error| StartError::System(format!("thread: {error}")))?;
        let follower = Follower {
            applier: None,
            works: to_do,
            told,
            answers: Vec::new(),
            unsynced: Vec::new(),
            unsynced_bytes: 0,
            state: StoreState::default(),
            shared: Arc::clone(&shared),
        };
        store.replicate(follower)?;
        Ok((StorePort { store, works, reads, reader, shared, has_ended: false }, hears))
    }

    /// Hands over what the core asks.
    pub(super) fn ask(&self, work: Work) {
        let to = if work.is_read() { &self.reads } else { &self.works };
        // If nobody takes it the store is closed, and says so by itself.
        let _closed = to.send(work);
    }

    /// Lets the writer thread see to what it was handed.
    pub(super) fn wake(&self) {
        self.store.wake();
    }

    /// The core has taken these local writes.
    pub(super) fn taken(&self, rows: &[Row]) {
        let bytes = rows.iter().map(Row::weight).sum();
        self.shared.waiting.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Up to when tombstones may go, as long as these are the members.
    pub(super) fn set_stable(&self, members: &Arc<Members>, stable: Hlc) {
        let mut shared = lock(&self.shared.stable);
        if !Arc::ptr_eq(&shared.0, members) {
            shared.0 = Arc::clone(members);
        }
        shared.1 = stable;
    }

    /// The store has said that it is replicated no more: perhaps another does it by now.
    pub(super) fn has_ended(&mut self) {
        self.has_ended = true;
    }

    /// Ends it. Blocks until nothing of it is called any more.
    pub(super) fn close(self) {
        if !self.has_ended
            && let Err(error) = self.store.stop_replicating()
        {
            tracing::warn!(%error, "replication did not end well");
        }
        drop(self.reads);
        if self.reader.join().is_err() {
            tracing::error!("the thread that reads for peers panicked");
        }
    }
}

/// Reads for peers, so that local writes need not wait for it.
struct Reader {
    shared: Arc<Shared>,
    told: UnboundedSender<Told>,
}

impl Reader {
    fn run(&self, works: &mpsc::Receiver<Work>) {
        for work in works {
            let Some(durable) = lock(&self.shared.durable).clone() else { continue };
            if let Some(answer) = read(&durable.view, durable.commit, work) {
                let _over = self.told.send(Told::Event(answer));
            }
        }
    }
}

/// Sits in the writer thread.
struct Follower {
    /// From the beginning on.
    applier: Option<Applier>,
    works: mpsc::Receiver<Work>,
    told: UnboundedSender<Told>,
    /// What the core is to be told once readers see it.
    answers: Vec<Event>,
    /// Local writes that are not durable yet.
    unsynced: Vec<Row>,
    unsynced_bytes: usize,
    state: StoreState,
    shared: Arc<Shared>,
}

impl Follower {
    fn tell(&self, event: Event) {
        let _over = self.told.send(Told::Event(event));
    }

    fn take_state(&mut self, committer: &mut Committer<RedbEngine>) -> Arc<Durable> {
        self.state = durable_state(committer);
        let commit = committer.engine().status().latest;
        Arc::new(Durable { view: committer.view(), commit })
    }

    fn forget_writes(&mut self) {
        self.unsynced.clear();
        let bytes = mem::take(&mut self.unsynced_bytes);
        self.shared.waiting.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Replication<RedbEngine> for Follower {
    fn begin(&mut self, committer: &mut Committer<RedbEngine>) {
        self.applier = Some(Applier::new(committer));
        let durable = self.take_state(committer);
        *lock(&self.shared.durable) = Some(durable);
        let state = Box::new(self.state.clone());
        let _over = self.told.send(Told::Began(state, committer.origins()));
    }

    fn work(&mut self, committer: &mut Committer<RedbEngine>, now_ms: u64) -> TurnOutcome {
        let mut worked = TurnOutcome::default();
        let Some(applier) = &mut self.applier else { return worked };
        for _ in 0..WORKS_AT_ONCE {
            let Ok(work) = self.works.try_recv() else { return worked };
            let done = applier.perform(committer, now_ms, work);
            worked.committed |= done.committed;
            worked.concurrent += done.answer.as_ref().map_or(0, concurrent);
            self.answers.extend(done.answer);
            if applier.has_rolled_back(committer) {
                // The core is to hear of it before anything else is done.
                break;
            }
        }
        worked.more = true;
        worked
    }

    fn published(&mut self, view: &StoreView, writes: Vec<Change>) {
        for event in mem::take(&mut self.answers) {
            self.tell(event);
        }
        for write in writes {
            let row = whole(view, write);
            let bytes = row.weight();
            if self.shared.waiting.load(Ordering::Relaxed) + bytes <= MAX_WRITES_BYTES {
                self.shared.waiting.fetch_add(bytes, Ordering::Relaxed);
                self.unsynced_bytes += bytes;
                self.unsynced.push(row);
            }
        }
    }

    fn synced(&mut self, committer: &mut Committer<RedbEngine>) {
        let new = self.take_state(committer);
        let rows = mem::take(&mut self.unsynced);
        self.unsynced_bytes = 0;
        // Whoever reads for peers sees this state from when the core knows of it, and not before.
        let mut durable = lock(&self.shared.durable);
        self.tell(Event::Synced(self.state.clone()));
        if !rows.is_empty() {
            self.tell(Event::Wrote(rows));
        }
        *durable = Some(new);
    }

    fn rolled_back(&mut self, committer: &mut Committer<RedbEngine>) {
        self.forget_writes();
        if let Some(applier) = &mut self.applier {
            applier.start_over(committer);
        }
        let mode = committer.engine().status().mode;
        let new =
            matches!(mode, Mode::Writer | Mode::Waiting(_)).then(|| self.take_state(committer));
        let mut durable = lock(&self.shared.durable);
        self.tell(Event::RolledBack(self.state.clone()));
        if new.is_some() {
            *durable = new;
        }
    }

    fn stable(&mut self) -> Hlc {
        let (members, stable) = lock(&self.shared.stable).clone();
        // If the members are others than those that the core counted, it has not said yet.
        let is_known = Arc::ptr_eq(&members, &self.state.members) || members == self.state.members;
        if is_known { stable } else { Hlc::ZERO }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.forget_writes();
        let _over = self.told.send(Told::Ended);
    }
}

fn concurrent(answer: &Event) -> usize {
    let Event::Applied { results: Some(results), .. } = answer else { return 0 };
    let is_concurrent = |applied: &&Applied| matches!(applied, Applied::Won { concurrent: true });
    results.iter().filter(is_concurrent).count()
}
