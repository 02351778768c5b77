//! A replicator gets every write that it must send, and commits what it receives.
#![expect(clippy::unwrap_used, reason = "tests")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod common;

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use common::peer;
use kv_core::{
    Change, Dot, Durability, Hlc, Key, MemberId, NamespaceId, Operation, Options, OriginId,
    Replication, Store, StoreView, TurnOutcome, Version, VersionVector,
    commit::Committer,
    commit::{NewContent, Remote, RemoteWrite},
    engine::redb::RedbEngine,
    env::{Environment, RandomError, SystemEnvironment},
};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, PartialEq)]
enum Told {
    Began,
    Published(Vec<u64>),
    Synced(VersionVector),
}

/// Commits the operations in its inbox, and reports the calls that it gets.
struct Follower {
    inbox: Arc<Mutex<Vec<Operation>>>,
    told: mpsc::Sender<Told>,
}

impl Replication<RedbEngine> for Follower {
    fn begin(&mut self, _: &mut Committer<RedbEngine>) {
        let _over = self.told.send(Told::Began);
    }

    fn work(&mut self, committer: &mut Committer<RedbEngine>, now_ms: u64) -> TurnOutcome {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        let operations = std::mem::take(&mut *inbox);
        let committed = !operations.is_empty();
        if committed {
            let results = committer.commit(now_ms, operations).results;
            assert!(results.iter().all(Result::is_ok), "{results:?}");
        }
        TurnOutcome { committed, ..TurnOutcome::default() }
    }

    fn published(&mut self, _: &StoreView, writes: Vec<Change>) {
        let _over = self
            .told
            .send(Told::Published(writes.iter().map(|change| change.found.dot.seq).collect()));
    }

    fn synced(&mut self, committer: &mut Committer<RedbEngine>) {
        let _over = self.told.send(Told::Synced(committer.view().vector().clone()));
    }

    fn rolled_back(&mut self, _: &mut Committer<RedbEngine>) {}

    fn stable(&mut self) -> Hlc {
        Hlc::ZERO
    }
}

struct Fixture {
    store: Store,
    inbox: Arc<Mutex<Vec<Operation>>>,
    told: mpsc::Receiver<Told>,
    _directory: tempfile::TempDir,
}

fn replicated() -> Fixture {
    replicated_with(Durability::Durable)
}

fn replicated_with(durability: Durability) -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new().replicated(true).durability(durability);
    let store = options.open(directory.path()).unwrap();
    let (sender, told) = mpsc::channel();
    let inbox = Arc::new(Mutex::new(Vec::new()));
    store.replicate(Follower { inbox: Arc::clone(&inbox), told: sender }).unwrap();
    Fixture { store, inbox, told, _directory: directory }
}

impl Fixture {
    fn next(&self) -> Told {
        self.told.recv_timeout(PATIENCE).unwrap()
    }

    fn hand(&self, operation: Operation) {
        self.inbox.lock().unwrap().push(operation);
        self.store.wake();
    }

    fn wait_for_sync(&self, covers: impl Fn(&VersionVector) -> bool) {
        loop {
            if let Told::Synced(vector) = self.next()
                && covers(&vector)
            {
                return;
            }
        }
    }
}

const PEER: OriginId = OriginId([9; 16]);

/// Opens the peer's origin, as its first write does.
fn open_peer(store: &Store) {
    let opened = Hlc(1_700_000_000_000 << 16);
    let info = peer::origin([PEER, OriginId([7; 16])], MemberId([8; 16]), opened);
    let write = peer::opening(&info);
    store.submit(Operation::Remote(Remote::Next(write))).unwrap().wait().unwrap();
}

/// A write of the peer behind the opening row of its origin.
fn deletion(number: u64) -> RemoteWrite {
    RemoteWrite {
        dot: Dot { origin: PEER, seq: number + 1 },
        hlc: Hlc(1_700_000_000_000 << 16 | number),
        prev: None::<Version>,
        namespace: NamespaceId([3; 16]),
        key: Key::new("gone").unwrap(),
        change: NewContent::Delete,
    }
}

#[test]
fn a_local_write_is_reported_once_and_then_its_sync() {
    let within = Duration::from_millis(20);
    for durability in [Durability::Durable, Durability::Relaxed { within }] {
        let fixture = replicated_with(durability);
        assert_eq!(fixture.next(), Told::Began);
        let namespace = fixture.store.create_namespace("n").unwrap().id;
        let written = fixture.store.put(namespace, "key", "value").unwrap();
        let (mut numbers, mut is_durable) = (Vec::new(), false);
        while !is_durable {
            match fixture.next() {
                Told::Published(some) => numbers.extend(some),
                Told::Synced(vector) => is_durable = vector.covers(written.dot),
                Told::Began => panic!("it begins once"),
            }
        }
        assert_eq!(numbers, [1, 1, 2, 3], "both origins, the namespace, and the key");
    }
}

#[test]
fn a_remote_write_is_visible_and_soon_durable_on_an_idle_store() {
    let fixture = replicated();
    open_peer(&fixture.store);
    fixture.hand(Operation::Remote(Remote::Next(deletion(1))));
    fixture.wait_for_sync(|vector| vector.get(PEER) == 2);
    assert_eq!(fixture.store.view().vector().get(PEER), 2);
    assert_eq!(fixture.store.durable_view().vector().get(PEER), 2);
}

#[test]
fn a_commit_that_changes_nothing_is_followed_by_a_sync_too() {
    let fixture = replicated();
    let nothing = || Remote::Adopt {
        vector: VersionVector::default(),
        collected: VersionVector::default(),
        floor: kv_core::Hlc::ZERO,
        damaged: Vec::new(),
    };
    for _ in 0..3 {
        fixture.hand(Operation::Remote(nothing()));
        fixture.wait_for_sync(|_| true);
    }
}

#[test]
fn nothing_is_collected_without_a_stable_timestamp() {
    let directory = tempfile::tempdir().unwrap();
    let options = || Options::new().gc_interval(Duration::from_millis(1));
    let store = options().replicated(true).open(directory.path()).unwrap();
    let namespace = store.create_namespace("n").unwrap().id;
    let deleted = store.delete(namespace, "key").unwrap();
    let is_held = |store: &Store| store.view().row(namespace, b"key").unwrap().is_some();
    // Each of these comes after a step of garbage collection.
    for number in 0..20 {
        store.put(namespace, format!("other {number}"), "x").unwrap();
    }
    assert!(is_held(&store), "{deleted:?} is still there");
    store.close().unwrap();
    drop(store);
    let store = options().open(directory.path()).unwrap();
    let mut waited = Duration::ZERO;
    while is_held(&store) {
        assert!(waited < PATIENCE, "alone, a store collects");
        std::thread::sleep(Duration::from_millis(5));
        waited += Duration::from_millis(5);
    }
}

/// Long enough that no timer of the writer hides a message that it did not see.
const NEVER: Duration = Duration::from_secs(3600);

/// Clocks that hand a write to the replicator, and wake the writer, at a certain reading of the writer's thread.
struct WakingClock {
    system: SystemEnvironment,
    readings_left: AtomicUsize,
    inbox: Arc<Mutex<Vec<Operation>>>,
    store: OnceLock<Store>,
    writes: AtomicUsize,
}

impl Environment for WakingClock {
    fn now_ms(&self) -> u64 {
        self.system.now_ms()
    }

    fn monotonic(&self) -> Duration {
        let is_writer = std::thread::current().name() == Some("kv-writer");
        if is_writer
            && self
                .readings_left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                == Ok(1)
        {
            let seq = self.writes.fetch_add(1, Ordering::SeqCst) as u64 + 1;
            self.inbox.lock().unwrap().push(Operation::Remote(Remote::Next(deletion(seq))));
            self.store.get().unwrap().wake();
        }
        self.system.monotonic()
    }

    fn random_id(&self) -> Result<[u8; 16], RandomError> {
        self.system.random_id()
    }
}

#[test]
fn the_writer_misses_no_wake_whenever_it_comes() {
    let inbox = Arc::new(Mutex::new(Vec::new()));
    let clock = Arc::new(WakingClock {
        system: SystemEnvironment::new(),
        readings_left: AtomicUsize::new(0),
        inbox: Arc::clone(&inbox),
        store: OnceLock::new(),
        writes: AtomicUsize::new(0),
    });
    let options = Options::new().gc_interval(NEVER).environment(Arc::<WakingClock>::clone(&clock));
    let store = options.open_disk(kv_core::engine::disk::memory()).unwrap();
    assert!(clock.store.set(store.clone()).is_ok());
    let (sender, told) = mpsc::channel();
    store.replicate(Follower { inbox: Arc::clone(&inbox), told: sender }).unwrap();
    let namespace = store.create_namespace("n").unwrap().id;
    open_peer(&store);
    // The first step of garbage collection is due soon after the start, whatever the interval is.
    std::thread::sleep(Duration::from_millis(100));
    for reading in 1..=12 {
        // The writer is idle when the count begins.
        std::thread::sleep(Duration::from_millis(20));
        clock.readings_left.store(reading, Ordering::SeqCst);
        store.put(namespace, "key", "value").unwrap();
        // A put may need fewer readings than this: the rest comes with empty rounds, once the writer is idle.
        std::thread::sleep(Duration::from_millis(20));
        while clock.readings_left.load(Ordering::SeqCst) > 0 {
            store.wake();
            std::thread::yield_now();
        }
        let seq = clock.writes.load(Ordering::SeqCst) as u64;
        loop {
            let next = told.recv_timeout(Duration::from_secs(10));
            let next = next.unwrap_or_else(|_| panic!("no turn after a wake at reading {reading}"));
            if let Told::Synced(vector) = next
                && vector.get(PEER) == seq + 1
            {
                break;
            }
        }
    }
    store.close().unwrap();
}

#[test]
fn replication_of_an_idle_store_stops_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = Options::new().gc_interval(NEVER).open(directory.path()).unwrap();
    // The first step of garbage collection is due soon after the start, whatever the interval is.
    std::thread::sleep(Duration::from_millis(100));
    let (sender, stopped) = mpsc::channel();
    let stopping = store.clone();
    std::thread::spawn(move || sender.send(stopping.stop_replicating()));
    assert_eq!(stopped.recv_timeout(Duration::from_secs(20)), Ok(Ok(())));
}
