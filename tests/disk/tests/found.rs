//! Bugs that random runs found, each as a test.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use kv_core::{
    Account, Attributes, FoundState, Key, Mode, NamespaceId, Operation, Title, WriteError,
    commit::{Committer, Creation, GcLimits},
    derive_id,
    engine::{Engine, Visibility, redb::RedbEngine},
};
use waypost_disk_tests::{
    disk::{Armed, Call, FailingDisk, Fault, Keep},
    rng::Rng,
};

const NOW: u64 = 1_700_000_000_000;

type Store = Committer<RedbEngine>;

/// Opens a store without a cache, so that reads reach the disk, and writes reach it before their
/// sync.
fn open(disk: &FailingDisk) -> Result<Store, kv_core::OpenError> {
    let engine = RedbEngine::open(disk.process(), 0).map_err(kv_core::OpenError::Engine)?;
    let mut rng = Rng::new(7);
    Committer::open(Arc::new(engine), Creation::default(), move || Ok(rng.id()))
}

/// A store with one namespace, synced.
fn new_store(seed: u64) -> (FailingDisk, Store, NamespaceId) {
    let disk = FailingDisk::new(Rng::new(seed));
    let mut store = open(&disk).unwrap();
    let create = Operation::CreateNamespace {
        account: Account::default(),
        title: Title::new("t").unwrap(),
        id: None,
    };
    store.commit(NOW, vec![create]);
    store.sync().unwrap();
    (disk, store, derive_id("", "t", 0))
}

/// The operations of a put: the pieces of its body, and then the put itself.
fn put(store: &Store, namespace: NamespaceId, key: &'static str, value: &[u8]) -> Vec<Operation> {
    let mut upload = store.upload();
    let mut operations = upload.push(value).unwrap();
    let (last, body) = upload.finish();
    operations.extend(last);
    let (key, attributes) = (Key::new(key).unwrap(), Attributes::default());
    operations.push(Operation::Put { namespace, key, body, attributes });
    operations
}

fn fail(on: Call, after: u64, keep: Keep, evict: bool) -> Armed {
    Armed { on: Some(on), after, fault: Fault::Fail { keep, evict } }
}

/// The complete value of a key.
fn value(store: &mut Store, namespace: NamespaceId, key: &str) -> Option<Vec<u8>> {
    let view = store.view();
    match view.row(namespace, key.as_bytes()).unwrap()?.state {
        FoundState::Inline(bytes) => Some(bytes.to_vec()),
        FoundState::Large { body, len, .. } => {
            let mut whole = Vec::new();
            for index in 0.. {
                if whole.len() as u64 >= len {
                    break;
                }
                whole.extend_from_slice(
                    &view.chunk(body, index).unwrap().expect("the chunk exists"),
                );
            }
            Some(whole)
        }
        FoundState::Tombstone | FoundState::ExpiredTombstone | FoundState::Joined(_) => None,
    }
}

#[test]
fn a_file_whose_creation_was_interrupted_is_recreated() {
    for keep in [Keep::Nothing, Keep::All, Keep::Writes(50), Keep::Sectors(50)] {
        for after in 0..60 {
            let disk = FailingDisk::new(Rng::new(after));
            disk.arm(Armed { on: None, after, fault: Fault::PowerLoss(keep) });
            let first = open(&disk).is_ok();
            disk.power_loss(Keep::Nothing);
            disk.disarm();
            if let Err(error) = open(&disk) {
                panic!("{keep:?} at call {after} (opened: {first}): {error}");
            }
        }
    }
}

#[test]
fn after_a_failed_sync_no_write_is_reported_as_durable() {
    let (disk, mut store, namespace) = new_store(1);
    let before = store.engine().status().durable;
    let operations = put(&store, namespace, "k", b"v");
    store.commit(NOW, operations);
    // The writes that the sync should have covered are lost but still visible, as on Linux.
    disk.arm(fail(Call::Sync, 0, Keep::Nothing, false));
    assert!(matches!(store.sync(), Err(WriteError::OutcomeUnknown(_))));
    let status = store.engine().status();
    assert!(matches!(status.mode, Mode::ReadOnly(_)), "{status:?}");
    assert_eq!((status.latest, status.durable), (before + 1, before));
    assert!(store.engine().snapshot(Visibility::Durable).is_err());
    assert!(store.sync().is_err(), "a second sync must not succeed");
    disk.power_loss(Keep::All);
    let mut store = open(&disk).unwrap();
    assert_eq!(value(&mut store, namespace, "k"), None);
}

#[test]
fn after_a_failed_sync_nothing_is_written_even_after_other_failures() {
    for second in [Call::Open, Call::Read] {
        let (disk, mut store, namespace) = new_store(2);
        let operations = put(&store, namespace, "k", b"v");
        store.commit(NOW, operations);
        disk.arm(fail(Call::Sync, 0, Keep::Nothing, false));
        store.sync().unwrap_err();
        let writes = disk.counts().writes;
        for _ in 0..3 {
            disk.arm(fail(second, 0, Keep::All, false));
            let _fails = store.view().row(namespace, b"k");
            let operations = put(&store, namespace, "other", b"v");
            assert!(store.commit(NOW, operations).results[0].is_err());
            let _fails = store.maintain();
            disk.disarm();
            store.maintain().unwrap();
            assert!(matches!(store.engine().status().mode, Mode::ReadOnly(_)));
            assert!(value(&mut store, namespace, "k").is_some(), "reads must still succeed");
        }
        assert_eq!(disk.counts().writes, writes);
    }
}

#[test]
fn a_sync_that_fails_after_another_failure_is_not_forgotten() {
    for after in 0..30 {
        let (disk, mut store, namespace) = new_store(after);
        let operations = put(&store, namespace, "k", &[1; 9000]);
        disk.arm(fail(Call::Write, after, Keep::All, false));
        disk.arm(fail(Call::Sync, 0, Keep::Nothing, false));
        store.commit(NOW, operations);
        let first = store.sync();
        disk.disarm();
        for value in [2, 3] {
            let operations = put(&store, namespace, "k", &[value; 9000]);
            store.commit(NOW, operations);
            let _refused = store.sync();
        }
        disk.power_loss(Keep::Nothing);
        if let Err(error) = open(&disk) {
            panic!("write {after} failed, then the sync ({first:?}): {error}");
        }
    }
}

#[test]
fn a_put_rejected_because_of_a_lost_commit_succeeds_later() {
    for after in 0..40 {
        let (disk, mut store, namespace) = new_store(3);
        let mut operations = vec![Operation::DropNamespace { id: namespace }];
        operations.extend(put(&store, namespace, "k", b"v"));
        disk.arm(fail(Call::Read, after, Keep::All, false));
        let results = store.commit(NOW, operations).results;
        if results[0].is_err() {
            let refused = results[1].as_ref().unwrap_err();
            assert!(!matches!(refused, WriteError::UnknownNamespace(_)), "read {after}");
        }
    }
}

#[test]
fn a_body_that_a_lost_commit_freed_is_not_freed_by_the_next_gc() {
    let large = vec![7; 9000];
    let limits = GcLimits {
        rows: 10,
        bodies: 10,
        stable: kv_core::Hlc(0),
        expired_ms: None,
        collects_expired: true,
    };
    for after in 0..40 {
        let (disk, mut store, namespace) = new_store(4);
        let operations = put(&store, namespace, "k", &large);
        store.commit(NOW, operations);
        store.sync().unwrap();
        // The value is replaced and not synced; then the disk fails, and GC notices it.
        let operations = put(&store, namespace, "k", b"small");
        store.commit(NOW, operations);
        let _newest = store.view();
        disk.arm(fail(Call::Write, after, Keep::All, false));
        let mut step = store.collect_garbage(NOW, &limits);
        disk.disarm();
        for _ in 0..3 {
            let _later = store.sync();
            store.published();
            step = store.collect_garbage(NOW, &limits);
        }
        step.unwrap();
        store.sync().unwrap();
        let there = value(&mut store, namespace, "k").unwrap();
        assert!(there == large || there == b"small", "write {after}");
    }
}
