//! A store on a failing disk, its peers and its clients, all in one thread and from one seed.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use kv_core::{
    BodyId, ChunkSource, Hlc, ReadError,
    commit::Committer,
    engine::{
        CommitNo,
        redb::{RedbEngine, RedbSnapshot},
    },
    view::View,
};

use crate::{
    disk::FailingDisk,
    events::{Event, Events},
    model::State,
    rng::Rng,
    violation::Checked,
};

mod call;
mod clients;
mod crash;
mod damage;
mod faults;
mod history;
mod peers;
mod reads;
mod requests;
mod steps;
mod tell;
mod writer;

use clients::{LiveReader, LiveUpload};
pub use damage::Damaged;
pub use faults::Plan;
use history::History;
use peers::{Log, Peer, Session};
use reads::HeldView;
pub use requests::{LOCAL, Request};
use writer::Writer;

/// The result of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The number of operations that were submitted.
    pub operations: u64,
    /// The number of disk faults that occurred.
    pub faults: u64,
    /// The events that occurred.
    pub events: Events,
    /// The trace, if it was requested.
    pub trace: Vec<String>,
}

/// The store's view, shared with readers.
pub struct Published(Mutex<View<RedbSnapshot>>);

impl Published {
    /// The newest view.
    #[must_use]
    pub fn view(&self) -> View<RedbSnapshot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, view: View<RedbSnapshot>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = view;
    }
}

impl ChunkSource for Published {
    fn chunk(&self, body: BodyId, index: u32) -> Result<Option<Bytes>, ReadError> {
        self.view().chunk(body, index)
    }
}

/// An open store.
struct Open {
    /// The writer that ships.
    writer: Writer,
    /// The life of the disk in which it was opened.
    life: u64,
    published: Arc<Published>,
    published_commit: Option<CommitNo>,
    /// How often the engine had reopened its file when the published view was taken.
    published_reopened: u64,
    /// How often the engine had reopened its file when its state was last looked at.
    reopened: u64,
}

/// The simulated world; see the module.
pub struct World {
    rng: Rng,
    /// The disk under the store.
    pub disk: FailingDisk,
    cache_bytes: usize,
    clock_ms: u64,
    plan: Plan,
    open: Option<Open>,
    history: Option<History>,
    uploads: Vec<LiveUpload>,
    readers: Vec<LiveReader>,
    views: Vec<HeldView>,
    peers: Vec<Peer>,
    session: Option<Session>,
    log: Log,
    /// Whether a fault occurred since the store last made a write durable.
    is_troubled: bool,
    /// The number of the disk's faults that were counted.
    seen_faults: usize,
    fill_steps: u64,
    report: Report,
    tracing: bool,
}

impl World {
    /// A new disk with a new store on it.
    ///
    /// # Errors
    /// If the store does not open.
    pub fn new(seed: u64, plan: Plan, tracing: bool) -> Checked<World> {
        let mut rng = Rng::new(seed);
        let disk = FailingDisk::new(rng.fork());
        let cache_bytes = *rng.pick(&[0, 64 << 10, 1 << 20, 16 << 20]);
        let clock_ms = 1_700_000_000_000 + rng.below(1_000_000);
        let peers = (0..2).map(|_| Peer::new(&mut rng)).collect();
        let mut world = World {
            rng,
            disk,
            cache_bytes,
            clock_ms,
            plan,
            open: None,
            history: None,
            uploads: Vec::new(),
            readers: Vec::new(),
            views: Vec::new(),
            peers,
            session: None,
            log: Log::default(),
            is_troubled: false,
            seen_faults: 0,
            fill_steps: 0,
            report: Report::default(),
            tracing,
        };
        world.trace(|| format!("a disk; cache of {cache_bytes} bytes"));
        world.reopen()?;
        Ok(world)
    }

    /// Runs a seed to its end.
    ///
    /// # Errors
    /// The first violation. The trace, if requested, is in the report.
    pub fn run(seed: u64, plan: Plan, tracing: bool) -> (Report, Checked) {
        let mut world = match World::new(seed, plan, tracing) {
            Ok(world) => world,
            Err(violation) => return (Report::default(), Err(violation)),
        };
        let result = world.run_steps();
        let counts = world.disk.counts();
        world.report.events.add(Event::TornWrite, counts.loss.torn as u64);
        world.report.events.add(Event::LostWrite, counts.loss.lost as u64);
        world.report.events.add(Event::LostName, counts.loss.names as u64);
        world.report.faults = counts.fired.len() as u64 + world.report.events.get(Event::PowerLoss);
        // Dropping the remaining state must not trigger more faults.
        world.disk.disarm();
        (std::mem::take(&mut world.report), result)
    }

    fn run_steps(&mut self) -> Checked {
        let steps = self.plan.steps;
        for step in 0..steps * 10 {
            let faults = self.disk.counts().fired.len() as u64;
            let is_enough = self.report.operations >= self.plan.operations
                && faults + self.report.events.get(Event::PowerLoss) >= self.plan.faults;
            if step >= steps && is_enough {
                break;
            }
            self.step()?;
        }
        self.end()
    }

    /// The current state of the model.
    fn state(&self) -> Arc<State> {
        Arc::clone(self.history.as_ref().expect("the store was opened once").state())
    }

    fn open(&mut self) -> &mut Open {
        self.open.as_mut().expect("the store is open between steps")
    }

    /// The store's committer, to read from.
    fn committer(&mut self) -> &mut Committer<RedbEngine> {
        self.open().writer.committer()
    }

    fn count(&mut self, event: Event) {
        self.report.events.count(event);
    }

    fn trace(&mut self, line: impl FnOnce() -> String) {
        if self.tracing {
            self.report.trace.push(line());
        }
    }

    /// The stable timestamp: no replica will write anything below it that another one does not
    /// have.
    fn stable(&self) -> Hlc {
        let history = self.history.as_ref().expect("the store was opened once");
        let ours = history.durable();
        let mut lowest = Hlc(ours.closed.0 + 1);
        for peer in &self.peers {
            lowest = lowest.min(Hlc(peer.state.closed.0 + 1));
        }
        for (dot, write) in self.log.iter() {
            let everywhere = ours.vector.covers(*dot)
                && self.peers.iter().all(|peer| peer.state.vector.covers(*dot));
            if !everywhere {
                lowest = lowest.min(write.row.version.hlc);
            }
        }
        lowest
    }
}
