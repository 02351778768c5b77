//! A store on a failing disk, its peers and its clients, all in one thread and by one seed.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use kv_core::{
    BodyId, Hlc, ReadError,
    body::ChunkSource,
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

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Operations that were submitted.
    pub operations: u64,
    /// Faults of the disk that came.
    pub faults: u64,
    /// What happened.
    pub events: Events,
    /// What was done, if that was asked for.
    pub trace: Vec<String>,
}

/// The store's view as readers have it.
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

/// A store that is open.
struct Open {
    /// The writer that ships.
    writer: Writer,
    /// The life of the disk in which it was opened.
    life: u64,
    published: Arc<Published>,
    published_commit: Option<CommitNo>,
    /// How often the engine had opened its file anew when that view was taken.
    published_reopened: u64,
}

/// See the module.
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
    /// A fault came since the store last took a write and made it durable.
    is_troubled: bool,
    /// How many of the disk's faults were looked at.
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
    /// The first rule that was found broken; the trace, if asked for, is in the report.
    pub fn run(seed: u64, plan: Plan, tracing: bool) -> (Report, Checked) {
        let mut world = match World::new(seed, plan, tracing) {
            Ok(world) => world,
            Err(violation) => return (Report::default(), Err(violation)),
        };
        let result = world.run_steps();
        let counts = world.disk.counts();
        world.report.events.add(Event::TornWrite, counts.loss.torn as u64);
        world.report.events.add(Event::LostWrite, counts.loss.lost as u64);
        world.report.faults = counts.fired.len() as u64 + world.report.events.get(Event::PowerLoss);
        // What is left in memory must not make new trouble on its way out.
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

    /// The present state of the model.
    fn state(&self) -> Arc<State> {
        Arc::clone(self.history.as_ref().expect("a store was opened").state())
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

    /// The time below which no replica will write anything that another does not have.
    fn stable(&self) -> Hlc {
        let history = self.history.as_ref().expect("a store was opened");
        let ours = history.durable();
        let mut lowest = Hlc(ours.clock.0 + 1);
        for peer in &self.peers {
            lowest = lowest.min(Hlc(peer.state.clock.0 + 1));
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
