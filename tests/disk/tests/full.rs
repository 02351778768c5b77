//! A disk that the store itself has filled: deletes, drops and garbage collection make room, and values fit again.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use kv_core::{Mode, NamespaceId, Options, Store, WriteError};
use waypost_disk_tests::{disk::FailingDisk, rng::Rng};

const DISK_BYTES: usize = 8 << 20;

/// A store with a namespace on a small disk.
fn small() -> (FailingDisk, Store, NamespaceId) {
    let disk = FailingDisk::new(Rng::new(1));
    disk.limit(DISK_BYTES);
    let store = open(&disk);
    let namespace = store.create_namespace("test").unwrap().id;
    (disk, store, namespace)
}

fn open(disk: &FailingDisk) -> Store {
    Options::new()
        .cache_bytes(1 << 20)
        .gc_interval(Duration::from_millis(1))
        .open_disk(disk.process())
        .unwrap()
}

/// Puts values under keys that begin with `prefix` until the disk is full. Returns how many fitted.
fn fill(store: &Store, namespace: NamespaceId, prefix: &str, bytes: usize) -> usize {
    for i in 0.. {
        match store.put(namespace, format!("{prefix}{i}"), vec![7; bytes]) {
            Ok(_) => {}
            Err(WriteError::DiskFull) => return i,
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!("no disk is endless")
}

/// Waits for garbage collection, which needs no write to run.
fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        std::thread::yield_now();
    }
}

#[test]
fn on_a_full_disk_deletes_make_room_for_other_values() {
    // Small values in leaves, values of some pages, and large ones in chunks.
    for bytes in [300, 3_000, 20_000, 200_000] {
        let (_disk, store, namespace) = small();
        let filled = fill(&store, namespace, "a", bytes);
        assert!(filled * bytes > DISK_BYTES / 4, "{filled} of {bytes}");
        assert_eq!(store.status().mode, Mode::Writer);
        assert!(!store.room().takes_values && store.room().reserve_bytes > 0);
        for i in 0..filled / 2 {
            store.delete(namespace, format!("a{i}")).unwrap();
        }
        until(|| store.room().takes_values);
        let again = fill(&store, namespace, "b", bytes);
        assert!(again > filled / 8, "{again} of {filled} fitted again");
        assert_eq!((store.status().mode, store.status().reopened), (Mode::Writer, 0));
        for i in filled / 2..filled {
            assert!(store.get(namespace, format!("a{i}")).unwrap().is_some(), "{i}");
        }
    }
}

#[test]
fn on_a_full_disk_a_dropped_namespace_makes_room() {
    let (_disk, store, namespace) = small();
    let filled = fill(&store, namespace, "a", 5000);
    store.drop_namespace(namespace).unwrap();
    until(|| store.room().takes_values);
    let next = store.create_namespace("next").unwrap().id;
    assert!(fill(&store, next, "b", 5000) > filled / 8);
}

#[test]
fn a_full_disk_takes_small_system_rows_and_no_batch_with_a_put() {
    let (_disk, store, namespace) = small();
    fill(&store, namespace, "a", 5000);
    let other = store.create_namespace("other").unwrap().id;
    assert_eq!(store.put(other, "k", "v"), Err(WriteError::DiskFull));
    let mut batch = store.batch();
    batch.delete(namespace, "a1").unwrap();
    batch.put(namespace, "a2", "v").unwrap();
    assert!(matches!(store.write(batch), Err(WriteError::DiskFull)));
    assert!(store.get(namespace, "a1").unwrap().is_some(), "none of it was written");
    let mut batch = store.batch();
    batch.delete(namespace, "a1").unwrap();
    batch.delete(namespace, "a2").unwrap();
    store.write(batch).unwrap();
    assert!(store.get(namespace, "a1").unwrap().is_none());
}

#[test]
fn a_store_that_is_opened_on_the_disk_that_it_filled_takes_deletes() {
    let (disk, store, namespace) = small();
    let filled = fill(&store, namespace, "a", 5000);
    store.close().unwrap();
    drop(store);
    let store = open(&disk);
    fill(&store, namespace, "b", 5000);
    for i in 0..filled / 2 {
        store.delete(namespace, format!("a{i}")).unwrap();
    }
    until(|| store.room().takes_values);
    assert!(fill(&store, namespace, "c", 5000) > filled / 8);
}

#[test]
fn values_and_deletes_in_turn_never_use_up_the_reserve() {
    let (_disk, store, namespace) = small();
    let mut rng = Rng::new(7);
    let filled = fill(&store, namespace, "a", 3000);
    for round in 0..20 {
        for _ in 0..filled / 8 {
            store.delete(namespace, format!("a{}", rng.index(filled))).unwrap();
        }
        for i in 0..filled / 8 {
            match store.put(
                namespace,
                format!("a{}", rng.index(filled)),
                vec![u8::try_from(i % 256).unwrap(); 3000],
            ) {
                Ok(_) | Err(WriteError::DiskFull) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert!(store.room().reserve_bytes > 0, "round {round}");
    }
    assert_eq!((store.status().mode, store.status().reopened), (Mode::Writer, 0));
}
