//! The store through its public API, over a real file.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use kv_core::{
    Attributes, Body, Durability, Key, ListQuery, Metadata, NamespaceId, OpenError, Operation,
    Options, Store, WriteError,
    env::{Environment, SystemEnvironment},
};

/// A wall clock that a test sets.
struct SetClock {
    now_ms: AtomicU64,
    system: SystemEnvironment,
}

impl SetClock {
    fn at(now_ms: u64) -> Arc<SetClock> {
        Arc::new(SetClock { now_ms: AtomicU64::new(now_ms), system: SystemEnvironment::new() })
    }

    fn set(&self, now_ms: u64) {
        self.now_ms.store(now_ms, Ordering::SeqCst);
    }
}

impl Environment for SetClock {
    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        self.system.monotonic()
    }

    fn random_id(&self) -> Result<[u8; 16], kv_core::RandomError> {
        self.system.random_id()
    }
}

fn new_store() -> (tempfile::TempDir, Store, NamespaceId) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let namespace = store.create_namespace("test").unwrap().id;
    (directory, store, namespace)
}

fn value(store: &Store, namespace: NamespaceId, key: &str) -> Option<Vec<u8>> {
    store.get(namespace, key).unwrap().map(|entry| entry.body.read().unwrap().to_vec())
}

/// Waits for garbage collection in the background.
fn eventually(mut is_so: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it did not happen within ten seconds");
}

#[test]
fn a_closed_store_reopens_with_all_its_entries() {
    let (directory, store, namespace) = new_store();
    let attributes =
        Attributes { metadata: Metadata::new("{\"a\":1}").ok(), expires_at: Some(1 << 32) };
    store.put_with(namespace, "k", "v", attributes.clone()).unwrap();
    store.put(namespace, "gone", "v").unwrap();
    store.delete(namespace, "gone").unwrap();
    let version = store.get(namespace, "k").unwrap().unwrap().version;
    store.close().unwrap();
    drop(store);

    let store = Store::open(directory.path()).unwrap();
    let entry = store.get(namespace, "k").unwrap().unwrap();
    assert_eq!(entry.version, version);
    assert_eq!(entry.metadata, attributes.metadata);
    assert_eq!(entry.expires_at, attributes.expires_at);
    assert_eq!(entry.body.read().unwrap(), "v");
    assert_eq!(value(&store, namespace, "gone"), None);
    assert_eq!(store.namespaces().resolve("test").unwrap().id, namespace);
}

#[test]
fn values_of_every_size_read_back() {
    let (_directory, store, namespace) = new_store();
    for len in [0, 1, 3584, 3585, 65_279, 65_280, 65_281, 130_560, 200_000, 26_214_400] {
        let bytes: Vec<u8> =
            (0..len).map(|i| u8::try_from((i * 7 + i / 251) % 256).unwrap()).collect();
        store.put(namespace, "k", &bytes).unwrap();
        let entry = store.get(namespace, "k").unwrap().unwrap();
        assert_eq!(entry.body.len(), len as u64);
        assert!(entry.body.read().unwrap() == bytes, "{len} bytes");
    }
    let over = vec![0; 26_214_401];
    assert!(matches!(store.put(namespace, "k", over), Err(WriteError::Invalid(_))));
    assert_eq!(store.get(namespace, "k").unwrap().unwrap().body.len(), 26_214_400);
}

#[test]
fn a_large_value_is_read_to_its_end_while_it_is_replaced_and_freed_after() {
    let (_directory, store, namespace) = new_store();
    let old = vec![1; 500_000];
    store.put(namespace, "k", &old).unwrap();
    let Body::Large(mut reader) = store.get(namespace, "k").unwrap().unwrap().body else {
        panic!("a large value is read in chunks");
    };
    let mut read = reader.next_chunk().unwrap().unwrap().to_vec();
    store.put(namespace, "k", "new").unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(store.view().pending().unwrap(), 1, "it waits for its reader");
    while let Some(chunk) = reader.next_chunk().unwrap() {
        read.extend_from_slice(&chunk);
    }
    assert!(read == old);
    drop(reader);
    eventually(|| store.view().pending().unwrap() == 0);
}

#[test]
fn an_abandoned_upload_leaves_nothing_behind() {
    let (_directory, store, namespace) = new_store();
    let mut upload = store.upload();
    for chunk in upload.push(&vec![7; 300_000]).unwrap() {
        store.submit(chunk).unwrap().wait().unwrap();
    }
    drop(upload);
    // Chunks alone are not published; this put is.
    store.put(namespace, "other", "v").unwrap();
    eventually(|| store.view().pending().unwrap() == 0);
    assert_eq!(store.bodies_waiting(), 0);
}

#[test]
fn an_expired_entry_is_hidden_at_once_and_its_body_freed_later() {
    let clock = SetClock::at(1_000_000_000_000);
    let directory = tempfile::tempdir().unwrap();
    let store = Options::new()
        .environment(clock.clone())
        .gc_interval(Duration::from_millis(10))
        .expiry_grace(Duration::from_millis(10))
        .open(directory.path())
        .unwrap();
    let namespace = store.create_namespace("test").unwrap().id;
    let attributes = Attributes { metadata: None, expires_at: Some(1_000_000_060) };
    store.put_with(namespace, "k", vec![0; 100_000], attributes).unwrap();
    clock.set(1_000_000_059_999);
    assert!(store.get(namespace, "k").unwrap().is_some());
    clock.set(1_000_000_060_000);
    assert!(store.get(namespace, "k").unwrap().is_none());
    assert!(store.list(namespace, &ListQuery::default()).unwrap().entries.is_empty());
    assert!(store.view().row(namespace, b"k").unwrap().is_some(), "kept for the grace");
    clock.set(1_000_000_061_000);
    eventually(|| store.view().row(namespace, b"k").unwrap().is_none());
    eventually(|| store.view().pending().unwrap() == 0);
}

#[test]
fn a_list_continues_after_its_last_key_whatever_was_written_meanwhile() {
    let (_directory, store, namespace) = new_store();
    for i in 0..25 {
        store.put(namespace, format!("key-{i:02}"), "v").unwrap();
    }
    store.put(namespace, "other", "v").unwrap();
    let query = ListQuery { prefix: b"key-", after: None, limit: 10 };
    let first = store.list(namespace, &query).unwrap();
    assert_eq!((first.entries.len(), first.complete), (10, false));
    let last = first.entries.last().unwrap().key.clone();
    assert_eq!(last, "key-09");
    store.delete(namespace, &last).unwrap();
    store.put(namespace, "key-09a", "v").unwrap();
    let query = ListQuery { after: Some(&last), limit: 16, ..query };
    let second = store.list(namespace, &query).unwrap();
    assert_eq!(second.entries[0].key, "key-09a");
    assert_eq!((second.entries.len(), second.complete), (16, true), "exactly the limit were left");
}

#[test]
fn namespaces_are_created_renamed_dropped_and_created_again() {
    let (_directory, store, namespace) = new_store();
    store.put(namespace, "k", "v").unwrap();
    assert!(matches!(store.create_namespace("test"), Err(WriteError::Taken(_))));
    store.rename_namespace(namespace, "renamed").unwrap();
    assert!(store.namespaces().resolve("test").is_none());
    let other = store.create_namespace("test").unwrap();
    assert_ne!(other.id, namespace);
    store.drop_namespace(namespace).unwrap();
    assert_eq!(store.put(namespace, "k", "v"), Err(WriteError::UnknownNamespace(namespace)));
    eventually(|| store.view().row(namespace, b"k").unwrap().is_none());
    let again = store.create_namespace_with("", "again", Some(namespace)).unwrap();
    assert_eq!((again.id, again.exists()), (namespace, true));
    assert!(store.get(namespace, "k").unwrap().is_none());
    store.put(namespace, "k", "v").unwrap();
    assert!(store.get(namespace, "k").unwrap().is_some());
}

#[test]
fn a_directory_is_opened_once_and_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    let store = Store::open(&path).unwrap();
    assert!(matches!(Store::open(&path), Err(OpenError::Locked(_))));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    drop(store);
    Store::open(&path).unwrap();
}

#[test]
fn a_full_queue_rejects_submitted_operations() {
    let directory = tempfile::tempdir().unwrap();
    let store = Options::new().queue_capacity(1).open(directory.path()).unwrap();
    let namespace = store.create_namespace("test").unwrap().id;
    let tickets: Vec<_> = (0..2000)
        .map(|i| {
            let key = Key::new(format!("{i}")).unwrap();
            store.submit(Operation::Delete { namespace, key })
        })
        .collect();
    let refused =
        tickets.iter().filter(|ticket| matches!(ticket, Err(WriteError::QueueFull))).count();
    assert!(refused > 0);
    for ticket in tickets.into_iter().flatten() {
        ticket.wait().unwrap();
    }
}

#[test]
fn a_relaxed_write_is_visible_when_it_is_acknowledged_and_durable_when_closed() {
    let directory = tempfile::tempdir().unwrap();
    let relaxed = Durability::Relaxed { within: Duration::from_millis(50) };
    let store = Options::new().durability(relaxed).open(directory.path()).unwrap();
    let namespace = store.create_namespace("test").unwrap().id;
    for i in 0..100 {
        store.put(namespace, "k", format!("{i}")).unwrap();
        assert_eq!(value(&store, namespace, "k").unwrap(), format!("{i}").into_bytes());
    }
    drop(store);
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(value(&store, namespace, "k").unwrap(), b"99");
}

#[test]
fn concurrent_writers_each_find_their_own_writes() {
    let (_directory, store, namespace) = new_store();
    std::thread::scope(|scope| {
        for writer in 0..16 {
            let store = store.clone();
            scope.spawn(move || {
                for i in 0..50 {
                    let key = format!("{writer}-{}", i % 5);
                    store.put(namespace, &key, format!("{i}")).unwrap();
                    assert_eq!(
                        value(&store, namespace, &key).unwrap(),
                        format!("{i}").into_bytes()
                    );
                }
            });
        }
    });
}

#[test]
fn a_list_behind_very_many_tombstones_fills_its_page_exactly() {
    let (_directory, store, namespace) = new_store();
    let deletes = (0..60_000)
        .map(|i| Operation::Delete { namespace, key: Key::new(format!("a{i:05}")).unwrap() });
    let mut waiting = std::collections::VecDeque::new();
    for delete in deletes {
        if waiting.len() == 400 {
            let ticket: kv_core::Ticket = waiting.pop_front().unwrap();
            ticket.wait().unwrap();
        }
        waiting.push_back(store.submit(delete).unwrap());
    }
    for ticket in waiting {
        ticket.wait().unwrap();
    }
    for i in 0..4 {
        store.put(namespace, format!("b{i}"), "v").unwrap();
    }
    let query = ListQuery { limit: 3, ..ListQuery::default() };
    let page = store.list(namespace, &query).unwrap();
    assert_eq!((page.entries.len(), page.complete), (3, false));
    let query = ListQuery { limit: 4, ..query };
    let page = store.list(namespace, &query).unwrap();
    assert_eq!((page.entries.len(), page.complete), (4, true));
}

#[test]
fn a_namespace_is_created_once_and_found_from_then_on() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let made: Vec<_> = std::thread::scope(|scope| {
        let make = || scope.spawn(|| store.namespace("sessions").unwrap());
        let threads: Vec<_> = (0..8).map(|_| make()).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(made.iter().all(|namespace| *namespace == made[0]));
    drop(store);
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(store.namespace("sessions").unwrap(), made[0]);
    assert_eq!(store.namespaces().iter().count(), 1);
    assert!(matches!(store.namespace(""), Err(WriteError::Invalid(_))));
    store.drop_namespace(made[0].id).unwrap();
    let again = store.namespace("sessions").unwrap();
    assert_eq!(again.id, made[0].id, "a title has one id");
    assert!(again.created > made[0].created);
}
