//! Entries live until they expire, also if a wall clock is wrong for a while.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use kv_core::{
    Attributes, NamespaceId, Options, Store,
    env::{Environment, SystemEnvironment},
};

const START_MS: u64 = 1_700_000_000_000;

const HOUR_MS: u64 = 60 * 60 * 1000;

/// A wall clock that a test sets ahead of the true time, and time that a test lets pass.
struct TestClock {
    ahead_ms: AtomicU64,
    passed_ms: AtomicU64,
    system: SystemEnvironment,
}

impl TestClock {
    fn new() -> Arc<TestClock> {
        let (ahead_ms, passed_ms) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(TestClock { ahead_ms, passed_ms, system: SystemEnvironment::new() })
    }

    fn set_ahead(&self, ms: u64) {
        self.ahead_ms.store(ms, Ordering::SeqCst);
    }

    fn pass(&self, ms: u64) {
        self.passed_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Environment for TestClock {
    fn now_ms(&self) -> u64 {
        let true_ms = START_MS + u64::try_from(self.monotonic().as_millis()).unwrap();
        true_ms + self.ahead_ms.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        self.system.monotonic() + Duration::from_millis(self.passed_ms.load(Ordering::SeqCst))
    }

    fn random_id(&self) -> Result<[u8; 16], kv_core::RandomError> {
        self.system.random_id()
    }
}

fn open(directory: &Path, clock: &Arc<TestClock>) -> Store {
    let clock: Arc<TestClock> = Arc::clone(clock);
    let options = Options::new().environment(clock).gc_interval(Duration::from_millis(10));
    options.open(directory).unwrap()
}

/// Puts entries of all sizes that expire within a day, the first of them in an hour.
fn put_entries(store: &Store, namespace: NamespaceId) {
    for n in 0..13 {
        let expires_at = Some((START_MS + (n + 1) * HOUR_MS) / 1000 + 60);
        let attributes = Attributes { metadata: None, expires_at };
        store.put_with(namespace, format!("entry {n}"), value(n), attributes).unwrap();
    }
}

fn value(n: u64) -> Vec<u8> {
    vec![u8::try_from(n).unwrap(); usize::try_from(n * n * 1000).unwrap()]
}

/// Counts the entries of [`put_entries`] that a reader finds, with their values.
fn entries(store: &Store, namespace: NamespaceId) -> usize {
    let read = |n| Some(store.get(namespace, format!("entry {n}")).unwrap()?.body.read().unwrap());
    (0..13).filter(|n| read(*n).is_some_and(|bytes| bytes == value(*n))).count()
}

/// Waits until garbage was collected: a tombstone is gone.
fn wait_for_gc(store: &Store, namespace: NamespaceId) {
    store.delete(namespace, "canary").unwrap();
    for _ in 0..1000 {
        if store.view().row(namespace, b"canary").unwrap().is_none() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("no garbage was collected within ten seconds");
}

#[test]
fn a_restart_with_a_clock_a_day_ahead_destroys_no_entry() {
    let (clock, directory) = (TestClock::new(), tempfile::tempdir().unwrap());
    let store = open(directory.path(), &clock);
    let namespace = store.create_namespace("test").unwrap().id;
    put_entries(&store, namespace);
    store.close().unwrap();
    drop(store);

    clock.set_ahead(24 * HOUR_MS);
    let store = open(directory.path(), &clock);
    assert_eq!(entries(&store, namespace), 0, "they are hidden");
    wait_for_gc(&store, namespace);
    store.close().unwrap();
    drop(store);

    clock.set_ahead(0);
    let store = open(directory.path(), &clock);
    wait_for_gc(&store, namespace);
    assert_eq!(entries(&store, namespace), 13);
}

#[test]
fn a_clock_that_steps_a_day_ahead_in_a_process_that_ran_for_long_destroys_no_entry() {
    let (clock, directory) = (TestClock::new(), tempfile::tempdir().unwrap());
    let store = open(directory.path(), &clock);
    let namespace = store.create_namespace("test").unwrap().id;
    put_entries(&store, namespace);
    clock.pass(HOUR_MS / 2);
    wait_for_gc(&store, namespace);
    clock.pass(HOUR_MS / 2);
    wait_for_gc(&store, namespace);

    clock.set_ahead(24 * HOUR_MS);
    assert_eq!(entries(&store, namespace), 0, "they are hidden");
    wait_for_gc(&store, namespace);
    clock.pass(HOUR_MS / 100);
    wait_for_gc(&store, namespace);

    clock.set_ahead(0);
    assert_eq!(entries(&store, namespace), 13);
}
