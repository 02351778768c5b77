//! The store with its threads: it sends no result before the sync that covers the write.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    future::{Future, IntoFuture},
    io,
    pin::pin,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use kv_core::{
    Attributes, Key, Metadata, NamespaceId, Operation, Options, Store, WriteError,
    engine::disk::{Directory, DiskFile},
};
use waypost_disk_tests::{
    disk::{Armed, Call, FailingDisk, Fault, Image, Keep},
    rng::Rng,
};

/// Holds syncs up until the test lets them pass.
#[derive(Debug, Default)]
struct Latch {
    state: Mutex<Held>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Held {
    is_shut: bool,
    /// Whether a sync is held up.
    is_waiting: bool,
    /// Whether the awaited result may be ready.
    is_woken: bool,
}

impl Latch {
    fn change(&self, change: impl FnOnce(&mut Held)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }

    fn await_that(&self, is_so: impl Fn(&Held) -> bool) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |held| !is_so(held)).unwrap());
    }

    fn pass(&self) {
        if self.state.lock().unwrap().is_shut {
            self.change(|held| held.is_waiting = true);
            self.await_that(|held| !held.is_waiting);
        }
    }
}

impl Wake for Latch {
    fn wake(self: Arc<Self>) {
        self.change(|held| held.is_woken = true);
    }
}

/// A file, or the directory, whose syncs a latch holds up.
#[derive(Debug)]
struct Latched<T: ?Sized> {
    inner: Arc<T>,
    latch: Arc<Latch>,
}

impl DiskFile for Latched<dyn DiskFile> {
    fn size(&self) -> io::Result<u64> {
        self.inner.size()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(offset, out)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write_at(offset, data)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.latch.pass();
        self.inner.sync()
    }

    fn forget_cached(&self) {
        self.inner.forget_cached();
    }
}

impl Latched<dyn Directory> {
    fn latch(&self, inner: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(Latched { inner, latch: Arc::clone(&self.latch) })
    }
}

impl Directory for Latched<dyn Directory> {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.latch(self.inner.open(name)?))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.latch(self.inner.create(name)?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn sync(&self) -> io::Result<()> {
        self.latch.pass();
        self.inner.sync()
    }
}

fn latched(disk: &FailingDisk, latch: &Arc<Latch>) -> Arc<dyn Directory> {
    Arc::new(Latched { inner: disk.process(), latch: Arc::clone(latch) })
}

fn namespace(store: &Store) -> NamespaceId {
    store.create_namespace("t").unwrap().id
}

/// Whether a result arrives before the sync that covers the write has passed.
fn is_acknowledged_too_early() -> bool {
    let (disk, latch) = (FailingDisk::new(Rng::new(1)), Arc::new(Latch::default()));
    let store = Options::new().open_disk(disk.process()).unwrap();
    let namespace = namespace(&store);
    store.close().unwrap();
    // Reopen the store, so that no earlier sync is still in progress.
    let store = Options::new().open_disk(latched(&disk, &latch)).unwrap();
    latch.change(|held| held.is_shut = true);
    let (_, body) = store.upload().finish();
    let (key, attributes) = (Key::new("k").unwrap(), Attributes::default());
    let put = Operation::Put { namespace, key, body, attributes };
    let mut ticket = pin!(store.submit(put).unwrap().into_future());
    let waker = Waker::from(Arc::clone(&latch));
    let mut context = Context::from_waker(&waker);
    while ticket.as_mut().poll(&mut context).is_pending() {
        latch.await_that(|held| held.is_waiting || held.is_woken);
        // A sync that starts while there is no result may pass.
        latch.change(|held| held.is_waiting &= held.is_woken);
    }
    // No sync can have passed since the result arrived.
    let is_early = read_from(disk.image(), namespace, "k").is_none();
    latch.change(|held| *held = Held::default());
    store.close().unwrap();
    is_early
}

#[test]
fn no_write_is_acknowledged_before_its_sync() {
    assert!(!is_acknowledged_too_early());
}

#[test]
fn every_acknowledged_write_is_covered_by_a_later_sync() {
    let disk = FailingDisk::new(Rng::new(2));
    let store = Options::new().open_disk(disk.process()).unwrap();
    let namespace = namespace(&store);
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let (store, disk) = (store.clone(), disk.clone());
            scope.spawn(move || {
                for i in 0..12 {
                    let key = format!("{writer}-{i}");
                    let value = vec![writer; if i % 4 == 0 { 9000 } else { 10 }];
                    let before = disk.counts().syncs;
                    store.put(namespace, &key, &value).unwrap();
                    let (after, image) = (disk.counts(), disk.image());
                    assert!(after.syncs > before, "{key} was not synced");
                    if i % 3 == 0 {
                        // The power fails at this moment, and all unsynced writes are lost.
                        assert_eq!(read_from(image, namespace, &key), Some(value), "{key}");
                    }
                }
            });
        }
    });
}

fn read_from(image: Image, namespace: NamespaceId, key: &str) -> Option<Vec<u8>> {
    let disk = FailingDisk::holding(image, Rng::new(0));
    let store = Options::new().open_disk(disk.process()).unwrap();
    let entry = store.get(namespace, key).unwrap();
    entry.map(|entry| entry.body.read().unwrap().to_vec())
}

#[test]
fn acknowledged_writes_survive_a_power_loss() {
    let mut total = 0;
    for seed in 0..20 {
        let disk = FailingDisk::new(Rng::new(seed));
        let store = Options::new().open_disk(disk.process()).unwrap();
        let namespace = namespace(&store);
        let mut rng = Rng::new(seed);
        let keep = Keep::random(&mut rng);
        let after = 20 + rng.below(400);
        disk.arm(Armed { on: None, after, fault: Fault::PowerLoss(keep) });
        let acknowledged = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for writer in 0..4u8 {
                let (store, acknowledged) = (store.clone(), &acknowledged);
                scope.spawn(move || {
                    for i in 0..200 {
                        let key = format!("{writer}-{i}");
                        let value = vec![writer; if i % 8 == 0 { 70_000 } else { 10 }];
                        let attributes = Attributes {
                            metadata: Some(Metadata::new(format!("{i}")).unwrap()),
                            expires_at: Some(4_000_000_000 + i),
                        };
                        if store.put_with(namespace, &key, &value, attributes.clone()).is_err() {
                            return;
                        }
                        acknowledged.lock().unwrap().push((key, value, attributes));
                    }
                });
            }
        });
        drop(store);
        disk.power_loss(keep);
        disk.disarm();
        let store = Options::new().open_disk(disk.process()).unwrap();
        let acknowledged = acknowledged.into_inner().unwrap();
        total += acknowledged.len();
        for (key, value, attributes) in acknowledged {
            let entry = store.get(namespace, &key).unwrap();
            let entry = entry.unwrap_or_else(|| panic!("seed {seed}: {key} is missing"));
            assert_eq!(entry.metadata, attributes.metadata);
            assert_eq!(entry.expires_at, attributes.expires_at);
            assert!(entry.body.read().unwrap() == value, "seed {seed}: {key}");
        }
    }
    assert!(total > 200, "only {total} acknowledged writes");
}

/// The state that the result of its only put implies for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Present,
    Absent,
    Unknown,
}

fn expected(answer: &Result<kv_core::Written, WriteError>) -> Expected {
    match answer {
        Ok(_) => Expected::Present,
        Err(WriteError::OutcomeUnknown(_)) => Expected::Unknown,
        Err(_) => Expected::Absent,
    }
}

fn random_fault(rng: &mut Rng) -> Armed {
    let fail = Fault::Fail { keep: Keep::random(rng), evict: rng.chance(50) };
    let after = 20 + rng.below(200);
    match rng.below(5) {
        0 => Armed { on: Some(Call::Read), after: rng.below(20), fault: fail },
        1 => Armed { on: Some(Call::Write), after, fault: fail },
        2 => Armed { on: Some(Call::Sync), after: rng.below(20), fault: fail },
        3 => Armed { on: Some(Call::Write), after, fault: Fault::Full },
        _ => Armed { on: None, after, fault: Fault::PowerLoss(Keep::random(rng)) },
    }
}

/// Puts from several threads during faults. Returns the results.
fn put_among_faults(seed: u64, disk: &FailingDisk, rng: &mut Rng) -> Vec<(String, Expected)> {
    let options = Options::new().cache_bytes(*rng.pick(&[0, 1 << 20]));
    let store = options.open_disk(disk.process()).unwrap();
    let namespace = store.namespaces().resolve("t").map(|found| found.id);
    let namespace = namespace.unwrap_or_else(|| self::namespace(&store));
    for _ in 0..2 {
        disk.arm(random_fault(rng));
    }
    let answers = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (store, answers) = (store.clone(), &answers);
            scope.spawn(move || {
                for i in 0..40 {
                    let key = format!("{seed}-{writer}-{i}");
                    let value = key.repeat(if i % 8 == 0 { 9000 } else { 1 });
                    let answer = store.put(namespace, &key, value);
                    answers.lock().unwrap().push((key, expected(&answer)));
                }
            });
        }
    });
    answers.into_inner().unwrap()
}

#[test]
fn every_result_is_correct_whatever_fails() {
    let seeds = std::env::var("WAYPOST_TEST_SEEDS").map_or(200, |text| text.parse().unwrap());
    let mut counts = [0; 3];
    for seed in 0..seeds / 4u64 {
        let mut rng = Rng::new(seed);
        let disk = FailingDisk::new(rng.fork());
        let answers = put_among_faults(seed, &disk, &mut rng);
        disk.power_loss(Keep::random(&mut rng));
        disk.disarm();
        disk.make_room();
        let store = Options::new().open_disk(disk.process()).unwrap();
        let Some(namespace) = store.namespaces().resolve("t").map(|found| found.id) else {
            panic!("seed {seed}: the namespace is missing")
        };
        for (key, expected) in answers {
            counts[expected as usize] += 1;
            let entry = store.get(namespace, &key).unwrap();
            let value = entry.map(|entry| entry.body.read().unwrap());
            if let Some(value) = &value {
                assert!(value.len() % key.len() == 0 && value.starts_with(key.as_bytes()));
            }
            match expected {
                Expected::Present => assert!(value.is_some(), "seed {seed}: {key} is missing"),
                Expected::Absent => assert!(value.is_none(), "seed {seed}: {key} exists"),
                Expected::Unknown => {}
            }
        }
    }
    assert!(counts.iter().all(|count| *count > 20), "{counts:?}");
}

#[test]
fn an_acknowledged_write_is_visible_at_once_or_the_read_fails() {
    let mut acknowledged = 0;
    for after in 0..60 {
        let disk = FailingDisk::new(Rng::new(after));
        let store = Options::new().cache_bytes(0).open_disk(disk.process()).unwrap();
        let namespace = namespace(&store);
        store.put(namespace, "k", "old").unwrap();
        let fail = Fault::Fail { keep: Keep::All, evict: false };
        disk.arm(Armed { on: Some(Call::Read), after, fault: fail });
        if store.put(namespace, "k", "new").is_err() {
            continue;
        }
        acknowledged += 1;
        if let Ok(entry) = store.get(namespace, "k") {
            assert_eq!(entry.unwrap().body.read().unwrap(), "new", "read {after}");
        }
    }
    assert!(acknowledged > 0, "every put failed");
}

#[test]
fn a_value_is_read_completely_while_it_is_replaced_and_collected() {
    let disk = FailingDisk::new(Rng::new(3));
    let options = Options::new().cache_bytes(1 << 20).gc_interval(Duration::from_millis(1));
    let store = options.open_disk(disk.process()).unwrap();
    let namespace = namespace(&store);
    let value = |i: u8| vec![i; 150_000];
    store.put(namespace, "k", value(0)).unwrap();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut last = 0;
                while !is_done.load(Ordering::Relaxed) {
                    let entry = store.get(namespace, "k").unwrap().expect("the key always exists");
                    let read = entry.body.read().unwrap();
                    assert!(read[..] == value(read[0])[..], "a mix of values");
                    assert!(read[0] >= last, "{} after {last}", read[0]);
                    last = read[0];
                }
            });
        }
        for i in 1..=120 {
            store.put(namespace, "k", value(i)).unwrap();
        }
        is_done.store(true, Ordering::Relaxed);
    });
    store.close().unwrap();
    let store = Options::new().open_disk(disk.process()).unwrap();
    while store.bodies_waiting() > 0 {
        std::thread::yield_now();
    }
    assert_eq!(store.view().pending().unwrap(), 0);
}
