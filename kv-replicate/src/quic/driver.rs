//! The task that owns the core: hands it events, and carries out its actions.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use kv_core::{ClusterClock, Hlc, MemberId, Members, Store, commit::Applied, env::Environment};
use tokio::{
    sync::{
        Notify,
        mpsc::{self, UnboundedReceiver},
        oneshot, watch,
    },
    task::JoinSet,
    time::MissedTickBehavior,
};

use super::{
    accept::Acceptor,
    attempts::Attempts,
    code,
    config::Config,
    dial::Dialler,
    error::{QueryError, StartError},
    flaps::Flaps,
    input::{Input, Query},
    link::Link,
    pauses::{Moment, Pauses},
    socket::{Port, transport},
    store::{StorePort, StoreReport},
    tls::Tls,
    track::Track,
};
use crate::{Config as CoreConfig, Core, Event, Notice, Now, PINNED_BYTES, Verdict};

mod answers;
mod links;
mod names;
mod paused;
mod status;
mod transmit;

/// How many messages from peers may wait for the core, of all links together.
const INPUTS: usize = 64;

/// How many events the core gets before its actions are carried out.
const INPUTS_AT_ONCE: usize = 64;

/// How often it is noted from which peers messages have arrived: a turn begins at least so often.
const LISTEN: Duration = Duration::from_millis(500);

/// The reason that peers get from a replica that ends although its owner has not closed it.
const ENDED: &str = "its replica has ended, as after its store was closed or has failed: see its log, and restart it";

/// The owner of a core.
pub(super) struct Driver {
    /// The protocol. Only the driver's task uses it.
    core: Core,
    /// The replica's configuration.
    config: Config,
    /// The store, as far as the driver knows it.
    store: StoreSide,
    /// What the driver waits for.
    inbox: Inbox,
    /// The port, and the tasks that use it.
    network: Network,
    /// The links to peers, and the attempts to make them.
    links: Links,
    /// What is known over time of peers and of this process.
    history: History,
    /// The requests that wait for a verification.
    verifying: BTreeMap<MemberId, Vec<oneshot::Sender<Result<Verdict, QueryError>>>>,
}

/// What the driver waits for.
struct Inbox {
    /// Events of the store. Unbounded, but the writes in it are counted by the store's room.
    reports: UnboundedReceiver<StoreReport>,
    /// Reports of links and attempts. Bounded, so that peers wait when the core falls behind.
    inputs: mpsc::Receiver<Input>,
    /// Requests of the replica's owner.
    queries: mpsc::Receiver<Query>,
    /// Becomes true when the owner closes the replica.
    closing: watch::Receiver<bool>,
}

/// The store, as far as the driver knows it.
struct StoreSide {
    /// The way to the store and its threads.
    port: StorePort,
    /// The members that the store last reported.
    members: Arc<Members>,
    /// The cluster's clock that the store uses.
    clock: ClusterClock,
    /// Rows of peers that were applied since the start, for the status.
    rows_taken: u64,
    /// The store has ended replication.
    is_over: bool,
}

/// The port, and the tasks that use it.
struct Network {
    /// The UDP port, which must be freed at the end.
    port: Port,
    /// Dials peers, in tasks of their own.
    dialler: Dialler,
    /// Accepts peers, in a task of its own.
    acceptor: Arc<Acceptor>,
    /// All tasks of links, attempts and handshakes. Dropping it ends them.
    tasks: JoinSet<()>,
    /// Cloned for each task that reports something.
    sender: mpsc::Sender<Input>,
    /// Notified when there is room on a link, or more to be sent on one.
    room: Arc<Notify>,
}

/// The links to peers, and the attempts to make them.
#[derive(Default)]
struct Links {
    /// The links that are up.
    up: BTreeMap<MemberId, Link>,
    /// The peers whose links had no room for all messages.
    full: BTreeSet<MemberId>,
    /// The attempts to reach each wanted peer, those with a link included.
    attempts: BTreeMap<MemberId, Attempts>,
    /// The number of the last link, to distinguish its reports from those of its predecessor.
    last: u64,
    /// The links may have changed: peers may have to be dialled.
    dial: bool,
}

/// What is known over time of peers and of this process.
#[derive(Default)]
struct History {
    /// What is known of each peer that is wanted or linked.
    tracks: BTreeMap<MemberId, Track>,
    /// Which changes of links are logged.
    flaps: BTreeMap<MemberId, Flaps>,
    /// When it was last noted from which peers messages have arrived.
    listened: Moment,
    /// The times for which this process did not run.
    pauses: Pauses,
    /// Since when something that remains of processes that have ended may be missing at a member; none if nothing is.
    unsettled: Option<Moment>,
}

impl Driver {
    /// Begins to replicate a store. Returns the port if that fails.
    pub(super) async fn start(
        config: Config,
        store: Store,
        tls: Arc<Tls>,
        port: Port,
        (queries, closing): (mpsc::Receiver<Query>, watch::Receiver<bool>),
    ) -> Result<Driver, (StartError, Port)> {
        let incarnation = match incarnation(&*config.environment) {
            Ok(incarnation) => incarnation,
            Err(error) => return Err((error, port)),
        };
        let opened = tokio::task::spawn_blocking(move || StorePort::open(store)).await;
        let (store, mut reports) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return Err((error, port)),
            Err(error) => return Err((StartError::System(format!("thread: {error}")), port)),
        };
        let Some(StoreReport::Began(state)) = reports.recv().await else {
            return Err((StartError::Store(kv_core::WriteError::Closed), port));
        };
        let core = CoreConfig {
            cluster: config.cluster,
            member: config.member,
            incarnation,
            software: crate::software(),
            backlog_bytes: config.tuning.backlog_bytes,
            batch_rows: config.tuning.batch_rows,
            pinned_bytes: PINNED_BYTES,
            max_clock_skew_ms: config.tuning.max_clock_skew_ms,
        };
        let members = Arc::clone(&state.members);
        let core = Core::new(core, now(&*config.environment), *state);
        let (sender, inputs) = mpsc::channel(INPUTS);
        let window = quinn::VarInt::from_u32(config.tuning.window_bytes);
        let acceptor = Acceptor::new(&config);
        let dialler = Dialler {
            endpoint: port.endpoint(),
            tls,
            transport: Arc::new(transport(&config.tuning, window)),
            patience: config.tuning.handshake,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&acceptor).run(port.endpoint(), sender.clone()));
        let inbox = Inbox { reports, inputs, queries, closing };
        let room = Arc::new(Notify::new());
        let network = Network { port, dialler, acceptor, tasks, sender, room };
        let clock = ClusterClock::default();
        let store = StoreSide { port: store, members, clock, rows_taken: 0, is_over: false };
        let links = Links { dial: true, ..Links::default() };
        let (history, verifying) = (History::default(), BTreeMap::new());
        Ok(Driver { core, config, store, inbox, network, links, history, verifying })
    }

    /// Runs until the owner closes or drops the replica.
    pub(super) async fn run(mut self) {
        let (mut inputs, mut reports, mut waiting) = (Vec::new(), Vec::new(), None);
        let mut listen = tokio::time::interval(LISTEN);
        listen.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.pump();
            let timer = sleep_until(self.core.poll_timeout(), self.now().mono);
            let mut is_listening = false;
            tokio::select! {
                _some = self.inbox.inputs.recv_many(&mut inputs, INPUTS_AT_ONCE) => {}
                _some = self.inbox.reports.recv_many(&mut reports, INPUTS_AT_ONCE) => {}
                Some(query) = self.inbox.queries.recv() => {
                    // The answer shows what the store has done by now.
                    reports.extend(std::iter::from_fn(|| self.inbox.reports.try_recv().ok()));
                    waiting = Some(query);
                }
                Some(ended) = self.network.tasks.join_next() => {
                    if let Err(error) = ended && error.is_panic() {
                        tracing::error!(%error, "a task of replication panicked");
                    }
                }
                () = self.network.room.notified() => {}
                () = timer => {}
                _tick = listen.tick() => is_listening = true,
                _closed = self.inbox.closing.changed() => break,
            }
            if self.has_paused() {
                // The tick that came late would count as messages of now what has waited since before the pause.
                listen.reset();
            } else if is_listening {
                self.listen();
            }
            reports.drain(..).for_each(|report| self.take_report(report));
            if self.store.is_over {
                tracing::warn!("the store was closed, so replication has ended");
                break;
            }
            inputs.drain(..).for_each(|input| self.take(input));
            if let Some(query) = waiting.take() {
                self.answer(query);
            }
            let now = self.now();
            self.core.handle_timeout(now);
        }
        self.close().await;
    }

    /// Ends the links, the tasks and the threads, and frees the port.
    async fn close(self) {
        let Driver { store, inbox, network, links, .. } = self;
        let Network { port, dialler, mut tasks, .. } = network;
        let Inbox { inputs, queries, .. } = inbox;
        // From here on, requests and reports fail at once.
        drop((inputs, queries));
        let (code, why) = match store.is_over {
            true => (code::HALTED, ENDED),
            false => (code::STOPPING, "this location is shutting down"),
        };
        links.up.values().for_each(|link| link.close(code, why));
        if let Err(error) = tokio::task::spawn_blocking(|| store.port.close()).await {
            tracing::error!(%error, "the store was not released");
        }
        tasks.shutdown().await;
        drop((links, dialler));
        port.close().await;
    }

    /// The time, for the core.
    fn now(&self) -> Now {
        now(&*self.config.environment)
    }

    /// The time, with that for which this process has run.
    fn moment(&self) -> Moment {
        self.history.pauses.moment(self.now().mono)
    }

    /// Hands a report of the store to the core.
    fn take_report(&mut self, report: StoreReport) {
        let event = match report {
            StoreReport::Event(event) => event,
            StoreReport::Began(..) => return,
            StoreReport::Ended => {
                self.store.is_over = true;
                self.store.port.has_ended();
                return;
            }
        };
        match &event {
            Event::Synced(state) | Event::RolledBack(state) => {
                self.links.dial |= self.store.members != state.members;
                self.store.members = Arc::clone(&state.members);
            }
            Event::Wrote(rows) => self.store.port.taken(rows),
            Event::Applied { results: Some(results), .. } => {
                let is_row = |applied: &&Applied| {
                    matches!(applied, Applied::Won { .. } | Applied::Lost | Applied::Dropped)
                };
                self.store.rows_taken += results.iter().filter(is_row).count() as u64;
            }
            _ => {}
        }
        self.tell(event);
    }

    /// Hands an event to the core.
    fn tell(&mut self, event: Event) {
        let now = self.now();
        self.core.handle_event(now, event);
    }

    /// Handles a report of a link or of an attempt.
    fn take(&mut self, input: Input) {
        match input {
            Input::Received { from, number, bytes } => {
                if self.links.up.get(&from).is_some_and(|link| link.number == number) {
                    self.tell(Event::Received { from, bytes });
                }
            }
            Input::Up(proven) => self.up(proven),
            Input::NotReached { peer, error } => self.not_reached(peer, &error),
            Input::Down { peer, number, error } => self.down(peer, number, &error),
            Input::Kept { id, is_kept } => self.tell(Event::Kept { id, is_kept }),
        }
    }

    /// Carries out the actions of the core.
    fn pump(&mut self) {
        self.transmit();
        let mut has_commits = false;
        while let Some(work) = self.core.poll_work() {
            has_commits |= !work.is_read();
            self.store.port.submit(work);
        }
        if has_commits {
            self.store.port.wake();
        }
        while let Some(notice) = self.core.poll_event() {
            match notice {
                Notice::Salvage { id, rows } => self.salvage(id, rows),
                other => self.notice(&other),
            }
        }
        if self.core.halted().is_some() {
            self.halt();
        } else if std::mem::take(&mut self.links.dial) {
            self.dial_missing();
        }
        // A halted core does not learn of anything that would keep a tombstone.
        let stable = if self.core.halted().is_some() { Hlc::ZERO } else { self.core.stable() };
        self.store.port.set_stable(&self.store.members, stable);
        let clock = self.core.clock();
        if self.store.clock != clock {
            self.store.clock = clock;
            self.store.port.set_clock(clock, self.now().mono);
        }
    }

    /// The peers that this location wants links with.
    fn wanted(&self) -> BTreeSet<MemberId> {
        let members = self.store.members.current().map(|member| member.id);
        let bootstrap = self.config.bootstrap.iter().map(|(member, _)| *member);
        let has_left =
            |id: &MemberId| self.store.members.get(*id).is_some_and(|member| member.removed);
        let mut wanted: BTreeSet<_> = members.chain(bootstrap).filter(|id| !has_left(id)).collect();
        wanted.remove(&self.config.member);
        wanted
    }
}

/// The time of an environment.
fn now(environment: &dyn Environment) -> Now {
    Now { mono: environment.monotonic(), wall_ms: environment.now_ms() }
}

/// A random number for this start of the location; not 0.
fn incarnation(environment: &dyn Environment) -> Result<u64, StartError> {
    let id = environment
        .random_id()
        .map_err(|error| StartError::System(format!("randomness: {error}")))?;
    let first = id.first_chunk().copied().expect("an id has 16 bytes");
    Ok(u64::from_be_bytes(first).max(1))
}

/// Waits until a time of the monotonic clock; for ever if there is none.
async fn sleep_until(at: Option<Duration>, now: Duration) {
    match at {
        // The timer counts in milliseconds, and rounds up: the core's time has come when it fires.
        Some(at) => tokio::time::sleep(at.saturating_sub(now)).await,
        None => std::future::pending().await,
    }
}
