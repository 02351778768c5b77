//! A store with its threads on a failing disk: reads continue, and writers get the true outcome.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kv_core::{
    Change, Hlc, Mode, NamespaceId, Options, ReadError, Replication, Store, StoreView, TurnOutcome,
    WriteError,
    commit::Committer,
    engine::{
        EngineError,
        disk::{Directory, DiskFile, memory},
        redb::RedbEngine,
    },
};

#[path = "common/disk.rs"]
mod disk;

use disk::wrapped;

/// The calls that the disk rejects from now on.
#[derive(Debug, Default)]
struct Faults {
    full: AtomicBool,
    reads: AtomicBool,
    syncs: AtomicBool,
    /// Reads fail while a sync is under way, which then fails.
    reads_then_sync: Mutex<Option<Store>>,
}

#[derive(Debug)]
struct FailingFile {
    file: Arc<dyn DiskFile>,
    faults: Arc<Faults>,
}

impl FailingFile {
    fn refuse(&self, fault: &AtomicBool, error: io::ErrorKind) -> io::Result<()> {
        if fault.load(Ordering::SeqCst) { Err(error.into()) } else { Ok(()) }
    }
}

impl DiskFile for FailingFile {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.refuse(&self.faults.reads, io::ErrorKind::Other)?;
        self.file.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if len > self.file.size()? {
            self.refuse(&self.faults.full, io::ErrorKind::StorageFull)?;
        }
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        let reader = self.faults.reads_then_sync.lock().unwrap().take();
        if let Some(store) = reader {
            self.faults.reads.store(true, Ordering::SeqCst);
            let namespace = store.namespaces().resolve("test").unwrap().id;
            // Some of these rows are not in the cache.
            let failed = (0..2000).any(|i| store.get(namespace, format!("{i}")).is_err());
            self.faults.reads.store(false, Ordering::SeqCst);
            assert!(failed, "every read came from the cache");
            return Err(io::Error::other("the sync failed"));
        }
        self.refuse(&self.faults.syncs, io::ErrorKind::Other)?;
        self.file.sync()
    }

    fn forget_cached(&self) {
        self.file.forget_cached();
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if offset + data.len() as u64 > self.file.size()? {
            self.refuse(&self.faults.full, io::ErrorKind::StorageFull)?;
        }
        self.file.write_at(offset, data)
    }
}

fn failing_store() -> (Arc<Faults>, Store, NamespaceId) {
    failing_store_in(memory())
}

fn failing_store_in(directory: Arc<dyn Directory>) -> (Arc<Faults>, Store, NamespaceId) {
    let faults = Arc::new(Faults::default());
    let directory = {
        let faults = Arc::clone(&faults);
        wrapped(directory, move |file| Arc::new(FailingFile { file, faults: Arc::clone(&faults) }))
    };
    // A small cache, so that reads reach the disk.
    let store = Options::new().cache_bytes(64 << 10).open_disk(directory).unwrap();
    let namespace = store.create_namespace("test").unwrap().id;
    store.put(namespace, "k", "v").unwrap();
    (faults, store, namespace)
}

fn eventually(mut is_so: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it did not happen within ten seconds");
}

fn fill(store: &Store, namespace: NamespaceId) -> WriteError {
    (0..10_000)
        .find_map(|i| store.put(namespace, format!("fill-{i}"), vec![1; 60_000]).err())
        .expect("the disk is full at some time")
}

#[test]
fn on_a_full_disk_reads_continue_and_writes_resume_when_there_is_space() {
    let (faults, store, namespace) = failing_store();
    faults.full.store(true, Ordering::SeqCst);
    assert_eq!(fill(&store, namespace), WriteError::DiskFull);
    assert!(matches!(store.status().mode, Mode::Waiting(_)));
    for i in 0..100 {
        assert_eq!(store.get(namespace, "k").unwrap().unwrap().body.read().unwrap(), "v");
        assert!(store.get(namespace, format!("fill-{i}")).is_ok());
    }
    assert_eq!(store.put(namespace, "k", "w"), Err(WriteError::DiskFull));
    faults.full.store(false, Ordering::SeqCst);
    eventually(|| store.put(namespace, "k", "w").is_ok());
    assert_eq!(store.get(namespace, "k").unwrap().unwrap().body.read().unwrap(), "w");
}

#[test]
fn after_a_failed_sync_the_outcome_is_unknown_reads_continue_and_writes_are_rejected() {
    let (faults, store, namespace) = failing_store();
    faults.syncs.store(true, Ordering::SeqCst);
    let outcome = store.put(namespace, "k", "w");
    assert!(matches!(outcome, Err(WriteError::OutcomeUnknown(_))), "{outcome:?}");
    faults.syncs.store(false, Ordering::SeqCst);
    assert!(matches!(store.put(namespace, "k", "x"), Err(WriteError::ReadOnly(_))));
    assert!(matches!(store.status().mode, Mode::ReadOnly(_)));
    assert!(store.get(namespace, "k").unwrap().is_some());
}

#[test]
fn a_failed_sync_counts_even_if_a_read_failed_before_it() {
    let (faults, store, namespace) = failing_store();
    for i in 0..2000 {
        store.put(namespace, format!("{i}"), vec![7; 1000]).unwrap();
    }
    *faults.reads_then_sync.lock().unwrap() = Some(store.clone());
    let outcome = store.put(namespace, "k", "w");
    assert!(matches!(outcome, Err(WriteError::OutcomeUnknown(_))), "{outcome:?}");
    assert!(matches!(store.status().mode, Mode::ReadOnly(_)), "{:?}", store.status().mode);
}

#[test]
fn after_a_failed_read_other_reads_succeed_as_soon_as_the_disk_recovers() {
    let (faults, store, namespace) = failing_store();
    for i in 0..2000 {
        store.put(namespace, format!("{i}"), vec![7; 1000]).unwrap();
    }
    faults.reads.store(true, Ordering::SeqCst);
    let failed = (0..2000).find_map(|i| store.get(namespace, format!("{i}")).err());
    assert!(matches!(failed, Some(ReadError::Engine(EngineError::Io(_) | EngineError::Stale))));
    faults.reads.store(false, Ordering::SeqCst);
    eventually(|| (0..2000).all(|i| matches!(store.get(namespace, format!("{i}")), Ok(Some(_)))));
    store.put(namespace, "k", "w").unwrap();
}

#[test]
fn a_store_whose_file_was_removed_does_not_begin_an_empty_one_after_a_failure() {
    let directory = memory();
    let (faults, store, namespace) = failing_store_in(Arc::clone(&directory));
    for i in 0..2000 {
        store.put(namespace, format!("{i}"), vec![7; 1000]).unwrap();
    }
    let [name] = <[String; 1]>::try_from(directory.list().unwrap()).unwrap();
    directory.remove(&name).unwrap();
    faults.reads.store(true, Ordering::SeqCst);
    assert!((0..2000).any(|i| store.get(namespace, format!("{i}")).is_err()));
    faults.reads.store(false, Ordering::SeqCst);
    eventually(|| matches!(store.status().mode, Mode::Waiting(_)));
    assert!(store.put(namespace, "k", "w").is_err());
    assert!(store.get(namespace, "k").is_err(), "a store without rows answers");
    assert_eq!(directory.list().unwrap(), [""; 0], "an empty file was created");
}

/// Records the calls that a replicator gets.
struct Follower(Arc<Mutex<Vec<&'static str>>>);

impl Follower {
    fn note(&self, what: &'static str) {
        self.0.lock().unwrap().push(what);
    }
}

impl Replication<RedbEngine> for Follower {
    fn begin(&mut self, _: &mut Committer<RedbEngine>) {
        self.note("began");
    }

    fn work(&mut self, _: &mut Committer<RedbEngine>, _: u64) -> TurnOutcome {
        TurnOutcome::default()
    }

    fn published(&mut self, _: &StoreView, _: Vec<Change>) {}

    fn synced(&mut self, _: &mut Committer<RedbEngine>) {
        self.note("synced");
    }

    fn rolled_back(&mut self, _: &mut Committer<RedbEngine>) {
        self.note("rolled back");
    }

    fn stable(&mut self) -> Hlc {
        Hlc::ZERO
    }
}

#[test]
fn a_replicator_is_called_after_a_failure_and_after_the_next_sync() {
    let (faults, store, namespace) = failing_store();
    let told = Arc::new(Mutex::new(Vec::new()));
    store.replicate(Follower(Arc::clone(&told))).unwrap();
    faults.full.store(true, Ordering::SeqCst);
    assert_eq!(fill(&store, namespace), WriteError::DiskFull);
    assert_eq!(told.lock().unwrap().last(), Some(&"rolled back"));
    assert!(store.durable_view().row(namespace, b"k").unwrap().is_some(), "peers go on reading");
    faults.full.store(false, Ordering::SeqCst);
    // It comes without any write.
    eventually(|| told.lock().unwrap().last() == Some(&"synced"));
    store.stop_replicating().unwrap();
    told.lock().unwrap().clear();
    eventually(|| store.put(namespace, "k", "w").is_ok());
    assert_eq!(*told.lock().unwrap(), [""; 0], "it is told no more");
}

#[test]
fn a_closed_store_reports_it() {
    let (_faults, store, namespace) = failing_store();
    store.close().unwrap();
    assert_eq!(store.put(namespace, "k", "w"), Err(WriteError::Closed));
    assert!(matches!(store.status().mode, Mode::Closed(_)));
    store.close().unwrap();
}
