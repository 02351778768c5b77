//! A replicator gets every write that it must send, and commits what it receives.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use kv_core::{
    Change, Dot, Durability, Hlc, Key, NamespaceId, Operation, Options, OriginId, Replication,
    Store, StoreView, TurnOutcome, Version, VersionVector,
    commit::Committer,
    commit::{NewContent, Remote, RemoteWrite},
    engine::redb::RedbEngine,
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

fn deletion(seq: u64) -> RemoteWrite {
    RemoteWrite {
        dot: Dot { origin: OriginId([9; 16]), seq },
        hlc: Hlc(1_700_000_000_000 << 16 | seq),
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
        assert_eq!(numbers, [1, 2], "the namespace, and the key");
    }
}

#[test]
fn a_remote_write_is_visible_and_soon_durable_on_an_idle_store() {
    let fixture = replicated();
    fixture.hand(Operation::Remote(Remote::Next(deletion(1))));
    fixture.wait_for_sync(|vector| vector.get(OriginId([9; 16])) == 1);
    assert_eq!(fixture.store.view().vector().get(OriginId([9; 16])), 1);
    assert_eq!(fixture.store.durable_view().vector().get(OriginId([9; 16])), 1);
}

#[test]
fn a_commit_that_changes_nothing_is_followed_by_a_sync_too() {
    let fixture = replicated();
    let nothing =
        || Remote::Adopt { vector: VersionVector::default(), collected: VersionVector::default() };
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
