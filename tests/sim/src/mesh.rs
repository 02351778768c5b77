//! Locations where nothing goes wrong but cuts: to measure what convergence costs.
//!
//! [`World`](crate::world::World) holds every location against a model again and again, which costs
//! more than what it watches once there are a hundred of them. Here is only the core over the
//! store, a way of one length between any two, and a sync that takes its time. Nothing is by
//! chance: two runs are the same to the byte.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use kv_core::{
    Account, Attributes, Key, NamespaceId, Operation, Software, Title,
    commit::{Committer, Creation, Program},
    derive_id,
    engine::{
        disk::{Directory, memory},
        redb::RedbEngine,
    },
    writer::{Output, Step},
};
use kv_replicate::{Condition, Config, Core, Event, MemberId, Notice, Now, PINNED_BYTES, Unread};
use waypost_disk_tests::rng::Rng;

use crate::{
    node::{START_MS, member},
    store::{self, Store, time},
};

pub mod counted;
mod drive;
pub mod spread;
pub mod traffic;
pub mod turnover;

use counted::{Counted, Rows};
use spread::Spread;
use traffic::Traffic;

/// The parameters of a mesh.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many locations.
    pub places: usize,
    /// How long a message takes, in milliseconds.
    pub latency_ms: u64,
    /// How long a sync takes; what is written meanwhile is of the next.
    pub sync_ms: u64,
    /// Bytes that a ring holds.
    pub backlog_bytes: usize,
    /// How many rows a burst has.
    pub batch_rows: usize,
    /// How many bytes are read from a pinned view.
    pub pinned_bytes: u64,
    /// The cache of each store, in bytes.
    pub cache_bytes: usize,
    /// The program of each location, by its place; this one where there is none.
    pub programs: Vec<Software>,
}

impl Settings {
    /// The program of a location.
    #[must_use]
    pub fn program(&self, place: usize) -> Software {
        self.programs.get(place).cloned().unwrap_or_else(kv_replicate::software)
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            places: 3,
            latency_ms: 50,
            sync_ms: 5,
            backlog_bytes: 8 << 20,
            batch_rows: 128,
            pinned_bytes: PINNED_BYTES,
            cache_bytes: 1 << 20,
            programs: Vec::new(),
        }
    }
}

/// A message that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// When, in virtual milliseconds.
    pub at: u64,
    /// From which location.
    pub from: usize,
    /// To which.
    pub to: usize,
    /// What.
    pub bytes: Bytes,
}

enum Happening {
    Message(Sent),
    Timer(usize),
    Sync(usize),
}

struct Place {
    id: MemberId,
    store: Store<Counted<RedbEngine>>,
    core: Core,
    rows: Arc<Rows>,
    timer: Option<u64>,
    will_sync: bool,
    refusals: Vec<Unread>,
}

/// See the module.
pub struct Mesh {
    settings: Settings,
    now: u64,
    number: u64,
    due: BTreeMap<(u64, u64), Happening>,
    places: Vec<Place>,
    /// The place of each member.
    at: BTreeMap<MemberId, usize>,
    cut: BTreeSet<(usize, usize)>,
    /// The messages that were sent.
    pub traffic: Traffic,
    /// The writes of [`Mesh::put`].
    pub spread: Spread,
    /// All notices of the cores.
    pub notices: Vec<(usize, Notice)>,
    /// All messages, if they are kept.
    pub record: Option<Vec<Sent>>,
}

/// The namespace that [`Mesh::put`] puts into; the first location makes it.
#[must_use]
pub fn namespace() -> NamespaceId {
    derive_id("", "mesh", 0)
}

impl Mesh {
    /// Locations in memory, linked each to each.
    #[must_use]
    pub fn new(settings: Settings) -> Mesh {
        let disks = (0..settings.places).map(|_| memory()).collect();
        Mesh::on(settings, disks)
    }

    /// Locations on these disks, linked each to each.
    ///
    /// # Panics
    /// If one does not open.
    #[must_use]
    pub fn on(settings: Settings, disks: Vec<Arc<dyn Directory>>) -> Mesh {
        let places: Vec<_> = disks
            .into_iter()
            .enumerate()
            .map(|(at, disk)| open(&settings, at, member(at), disk))
            .collect();
        let mut mesh = Mesh {
            settings,
            now: 0,
            number: 0,
            due: BTreeMap::new(),
            at: places.iter().enumerate().map(|(at, place)| (place.id, at)).collect(),
            places,
            cut: BTreeSet::new(),
            traffic: Traffic::default(),
            spread: Spread::default(),
            notices: Vec::new(),
            record: None,
        };
        mesh.found();
        mesh
    }

    /// The first location makes the others members, and they join it. The links go down again, and
    /// what that cost is not counted.
    fn found(&mut self) {
        let members = (0..self.places.len()).map(|at| {
            let (id, name) = (self.places[at].id, format!("location {at}"));
            Operation::PutMember { id, name, addresses: Vec::new() }
        });
        let (account, title) = (Account::default(), Title::new("mesh").expect("a title"));
        let create = Operation::CreateNamespace { account, title, id: None };
        let operations = members.collect::<Vec<_>>().into_iter().chain([create]).collect();
        self.write(0, operations);
        self.connect();
        while !self.places.iter().all(|place| place.core.is_joined()) {
            self.step();
        }
        self.run_until_equal();
        let ways: Vec<_> = self.ways(|_, _| true).collect();
        ways.iter().for_each(|(from, to)| self.part(*from, *to));
        self.due.retain(|_, what| !matches!(what, Happening::Message(_)));
        (self.traffic, self.spread) = (Traffic::default(), Spread::default());
        self.notices.clear();
    }

    /// Tells all locations that links to all others are up.
    pub fn connect(&mut self) {
        let ways: Vec<_> = self.ways(|_, _| true).collect();
        ways.iter().for_each(|(from, to)| self.meet(*from, *to));
    }

    /// A location gets a link to another one.
    fn meet(&mut self, from: usize, to: usize) {
        let peer = self.places[to].id;
        self.tell(from, Event::Connected(peer));
    }

    /// A location's link to another one goes down.
    fn part(&mut self, from: usize, to: usize) {
        let peer = self.places[to].id;
        self.tell(from, Event::Disconnected(peer));
    }

    /// The member that a location is.
    #[must_use]
    pub fn member(&self, place: usize) -> MemberId {
        self.places[place].id
    }

    fn ways(&self, is_one: impl Fn(usize, usize) -> bool) -> impl Iterator<Item = (usize, usize)> {
        let places = self.places.len();
        let all = (0..places).flat_map(move |from| (0..places).map(move |to| (from, to)));
        all.filter(move |(from, to)| from != to && is_one(*from, *to))
    }

    /// Cuts the locations below `first` from the others: what is under way is lost, and both sides
    /// see their links go down.
    pub fn cut(&mut self, first: usize) {
        self.cut = self.ways(|from, to| (from < first) != (to < first)).collect();
        let cut = self.cut.clone();
        self.due.retain(|_, what| {
            !matches!(what, Happening::Message(sent) if cut.contains(&(sent.from, sent.to)))
        });
        cut.iter().for_each(|(from, to)| self.part(*from, *to));
    }

    /// Mends the cut, and both sides see their links come up.
    pub fn heal(&mut self) {
        let cut = std::mem::take(&mut self.cut);
        cut.iter().for_each(|(from, to)| self.meet(*from, *to));
    }

    /// Loses every message from here on, without a notice: what is sent goes into the record alone.
    pub fn isolate(&mut self) {
        self.cut = self.ways(|_, _| true).collect();
    }

    /// The virtual time, in milliseconds.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// The calls of a location's engine.
    #[must_use]
    pub fn rows(&self, place: usize) -> &Rows {
        &self.places[place].rows
    }

    /// A location's store.
    pub fn store(&mut self, place: usize) -> &mut Store<Counted<RedbEngine>> {
        &mut self.places[place].store
    }

    /// A location's core.
    #[must_use]
    pub fn core(&self, place: usize) -> &Core {
        &self.places[place].core
    }

    /// A location answers its next readings for peers with these refusals, the last first.
    pub fn refuse(&mut self, place: usize, refusals: Vec<Unread>) {
        self.places[place].refusals = refusals;
    }

    fn time(&self) -> Now {
        Now { mono: Duration::from_millis(self.now), wall_ms: START_MS + self.now }
    }

    /// Tells a core something, and does all that follows.
    pub fn tell(&mut self, place: usize, event: Event) {
        let now = self.time();
        self.places[place].core.handle_event(now, event);
        self.pump(place);
    }

    /// A location has these conditions from now on.
    pub fn report(&mut self, place: usize, conditions: Vec<Condition>) {
        self.places[place].core.set_conditions(conditions);
        self.pump(place);
    }

    /// The operations that put a value.
    ///
    /// # Panics
    /// If the value is too long for any store.
    #[must_use]
    pub fn put_operations(
        &mut self,
        place: usize,
        key: impl AsRef<[u8]>,
        value: &[u8],
        attributes: Attributes,
    ) -> Vec<Operation> {
        let mut upload = store::upload(&mut self.places[place].store);
        let mut operations = upload.push(value).expect("a value of a store");
        let (last, body) = upload.finish();
        operations.extend(last);
        let (namespace, key) = (namespace(), Key::new(key).expect("a key of a store"));
        operations.push(Operation::Put { namespace, key, body, attributes });
        operations
    }

    /// Puts a value at a location, and watches where it is visible.
    pub fn put(&mut self, place: usize, key: impl AsRef<[u8]>, value: &[u8]) {
        let operations = self.put_operations(place, key, value, Attributes::default());
        for dot in self.write(place, operations) {
            self.spread.made(dot, place, self.now);
        }
    }

    /// Commits local operations; the writes that they made. They leave with the next sync.
    ///
    /// # Panics
    /// If one is refused.
    pub fn write(&mut self, place: usize, operations: Vec<Operation>) -> Vec<kv_core::Dot> {
        let now = self.time();
        self.places[place].follow_clock();
        let rows = store::commit(&mut self.places[place].store, now, (0..).zip(operations));
        self.take_outputs(place);
        self.sync_later(place);
        rows.iter().map(|row| row.dot).collect()
    }

    /// One step of a location's garbage collection.
    ///
    /// # Panics
    /// If it fails.
    pub fn collect_garbage(&mut self, place: usize, rows: usize) {
        let now = self.time();
        self.places[place].follow_clock();
        let Place { store, core, .. } = &mut self.places[place];
        store.config().gc_rows = rows;
        let members = Arc::clone(&store::state(store).members);
        store::replicator(store).set_stable(&members, core.stable());
        store.run(time(now), Step::CollectGarbage);
        self.take_outputs(place);
        self.sync_later(place);
    }

    /// Nothing fails here: the disk is a good one, and no operation is refused.
    fn take_outputs(&mut self, place: usize) {
        while let Some(output) = self.places[place].store.poll_output() {
            match output {
                Output::Answers(answers) => {
                    answers.iter().for_each(|(_, result)| assert!(result.is_ok(), "{result:?}"));
                }
                Output::Synced(result) => assert!(result.is_ok(), "{result:?}"),
                Output::Collected(result) => assert!(result.is_ok(), "{result:?}"),
                _ => {}
            }
        }
    }

    /// Lets so much time pass.
    pub fn run_for(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.due.first_key_value().is_some_and(|((at, _), _)| *at <= end) {
            self.step();
        }
        self.now = end;
    }

    /// Moves the clocks on, and lets nothing happen meanwhile: what was due is late, as after a
    /// machine slept. A quiet day costs nothing this way.
    pub fn skip(&mut self, ms: u64) {
        self.now += ms;
    }

    /// Lets time pass until all hold the same durably; how long that took.
    ///
    /// # Panics
    /// If it takes a virtual hour.
    pub fn run_until_equal(&mut self) -> u64 {
        let start = self.now;
        let mut looked_at = None;
        while looked_at == Some(self.now) || !self.is_equal() {
            looked_at = Some(self.now);
            self.step();
            assert!(self.now < start + 3_600_000, "not equal: {:?}", self.notices.last());
        }
        self.now - start
    }

    /// Whether all hold the same durably. Looked at only once for each time, because that takes long where there are
    /// many.
    fn is_equal(&mut self) -> bool {
        let first = store::state(&self.places[0].store).durable.clone();
        self.places.iter_mut().all(|place| {
            let visible = place.store.committer().view();
            store::state(&place.store).durable == first
                && *visible.vector() == first
                && place.store.sync_due().is_none()
        })
    }
}

impl Place {
    /// The store goes by the clock that its core has found out.
    pub(crate) fn follow_clock(&mut self) {
        self.store.set_clock(self.core.clock());
    }
}

/// Opens a store. Only the first location's is whole from the start.
fn open(settings: &Settings, at: usize, id: MemberId, disk: Arc<dyn Directory>) -> Place {
    let seed = at as u64 ^ u64::from_be_bytes(*id.0.first_chunk().expect("an id has 16 bytes"));
    let mut ids = Rng::new(seed);
    let engine = RedbEngine::open(disk, settings.cache_bytes).expect("a good disk");
    let engine = Counted::new(engine);
    let rows = engine.rows();
    let incarnation = ids.next_u64() | 1;
    let creation = Creation { member: Some(id), is_joining: at > 0 };
    let random = move || Ok(ids.id());
    let software = settings.program(at);
    let (version, features) = (software.version.clone(), software.features);
    let program = Program { version, features, ..Program::default() };
    let committer = Committer::open_as(Arc::new(engine), creation, random, program);
    let committer = committer.expect("a good disk");
    let config = Config {
        cluster: [1; 16],
        member: id,
        incarnation,
        backlog_bytes: settings.backlog_bytes,
        batch_rows: settings.batch_rows,
        pinned_bytes: settings.pinned_bytes,
        max_clock_skew_ms: 500,
        software,
    };
    let now = Now { mono: Duration::ZERO, wall_ms: START_MS };
    let store = store::open(committer, now).expect("a good disk");
    let core = Core::new(config, now, store::state(&store).clone());
    Place { id, store, core, rows, timer: None, will_sync: false, refusals: Vec::new() }
}
