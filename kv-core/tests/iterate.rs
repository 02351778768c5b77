//! Iterators over a namespace, from both ends.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use kv_core::{
    Attributes, ListQuery, NamespaceId, Options, RandomError, ReadError, Store,
    env::{Environment, SystemEnvironment},
};

fn new_store() -> (tempfile::TempDir, Store, NamespaceId) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let namespace = store.namespace("test").unwrap().id;
    (directory, store, namespace)
}

/// Puts the numbers up to `count` under keys of five digits, in batches.
fn fill(store: &Store, namespace: NamespaceId, count: usize) {
    for from in (0..count).step_by(1000) {
        let mut batch = store.batch();
        for n in from..count.min(from + 1000) {
            batch.put(namespace, format!("{n:05}"), format!("{n}")).unwrap();
        }
        store.write(batch).unwrap();
    }
}

fn keys(items: impl Iterator<Item = Result<kv_core::Listed, ReadError>>) -> Vec<String> {
    items.map(|item| String::from_utf8(item.unwrap().key.to_vec()).unwrap()).collect()
}

#[test]
fn all_entries_come_in_order_from_either_end() {
    let (_directory, store, namespace) = new_store();
    assert!(store.iter(namespace).next().is_none());
    assert!(store.iter(namespace).next_back().is_none());
    // Several pages, with values and without.
    fill(&store, namespace, 2500);
    let expected: Vec<String> = (0..2500).map(|n| format!("{n:05}")).collect();
    assert_eq!(keys(store.iter(namespace).keys()), expected);
    let mut reversed = keys(store.iter(namespace).keys().rev());
    reversed.reverse();
    assert_eq!(reversed, expected);
    let mut count = 0;
    for (n, item) in store.iter(namespace).enumerate() {
        let (key, entry) = item.unwrap();
        assert_eq!(key, expected[n]);
        assert_eq!(entry.body.read().unwrap(), n.to_string());
        count += 1;
    }
    assert_eq!(count, 2500);
    let last = store.iter(namespace).next_back().unwrap().unwrap().0;
    assert_eq!(last, "02499");
}

#[test]
fn both_ends_meet_in_the_middle_and_share_no_entry() {
    let (_directory, store, namespace) = new_store();
    fill(&store, namespace, 1000);
    for step in [1, 3, 400] {
        let mut iter = store.iter(namespace);
        let (mut front, mut back) = (Vec::new(), Vec::new());
        loop {
            let before = front.len() + back.len();
            front.extend(iter.by_ref().take(step).map(|item| item.unwrap().0));
            back.extend(iter.next_back().map(|item| item.unwrap().0));
            if front.len() + back.len() == before {
                break;
            }
        }
        assert!(iter.next().is_none() && iter.next_back().is_none());
        back.reverse();
        let all: Vec<_> = front.into_iter().chain(back).collect();
        let expected: Vec<_> = (0..1000).map(|n| format!("{n:05}")).collect();
        assert!(all.iter().zip(&expected).all(|(key, expected)| key == expected));
        assert_eq!(all.len(), 1000);
    }
}

#[test]
fn ranges_and_prefixes_bound_the_keys() {
    let (_directory, store, namespace) = new_store();
    for key in ["a", "b", "ba", "bb", "c"] {
        store.put(namespace, key, "v").unwrap();
    }
    assert_eq!(keys(store.prefix(namespace, "b").keys()), ["b", "ba", "bb"]);
    assert_eq!(keys(store.prefix(namespace, "").keys()).len(), 5);
    assert_eq!(keys(store.prefix(namespace, "d").keys()).len(), 0);
    assert_eq!(keys(store.range(namespace, "b".."c").keys()), ["b", "ba", "bb"]);
    assert_eq!(keys(store.range(namespace, "b"..="c").keys().rev()), ["c", "bb", "ba", "b"]);
    assert_eq!(keys(store.range(namespace, "bb"..).keys()), ["bb", "c"]);
    assert_eq!(keys(store.range(namespace, .."b").keys()), ["a"]);
    assert_eq!(keys(store.range::<&str>(namespace, ..).keys()).len(), 5);
    let after = (Bound::Excluded("b"), Bound::Excluded("bb"));
    assert_eq!(keys(store.range::<&str>(namespace, after).keys()), ["ba"]);
    // No key lies in these.
    assert_eq!(keys(store.range(namespace, "c".."a").keys()).len(), 0);
    let crossed = (Bound::Excluded("b"), Bound::Excluded("b"));
    assert_eq!(keys(store.range::<&str>(namespace, crossed).keys().rev()).len(), 0);
}

#[test]
fn a_prefix_of_0xff_bytes_ends_with_its_namespace() {
    let (_directory, store, namespace) = new_store();
    // An id after this one has its rows behind these.
    let next = store.create_namespace_with("", "next", Some(NamespaceId([0xff; 16]))).unwrap().id;
    for key in [&b"\xfe"[..], b"\xff", b"\xff\xff", b"\xff\xff\x01"] {
        store.put(namespace, key, "v").unwrap();
        store.put(next, key, "v").unwrap();
    }
    for id in [namespace, next] {
        let found = |prefix: &[u8]| store.prefix(id, prefix).keys().count();
        assert_eq!((found(b"\xff"), found(b"\xff\xff"), found(b"\xff\xff\xff")), (3, 2, 0));
        assert_eq!(store.iter(id).keys().rev().count(), 4);
    }
}

/// A wall clock that a test sets.
struct SetClock {
    now_ms: AtomicU64,
    system: SystemEnvironment,
}

impl Environment for SetClock {
    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        self.system.monotonic()
    }

    fn random_id(&self) -> Result<[u8; 16], RandomError> {
        self.system.random_id()
    }
}

#[test]
fn deleted_and_expired_keys_are_skipped() {
    let clock = Arc::new(SetClock {
        now_ms: AtomicU64::new(1_000_000_000_000),
        system: SystemEnvironment::new(),
    });
    let environment: Arc<dyn Environment> = clock.clone();
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new().environment(environment);
    let store = options.open(directory.path()).unwrap();
    let namespace = store.namespace("test").unwrap().id;
    fill(&store, namespace, 300);
    let mut batch = store.batch();
    for n in 0..300 {
        let key = format!("{n:05}");
        let attributes = Attributes { metadata: None, expires_at: Some(1_000_000_010) };
        match n % 3 {
            0 => batch.delete(namespace, key).unwrap(),
            1 => batch.put_with(namespace, key, "soon over", attributes).unwrap(),
            _ => &mut batch,
        };
    }
    store.write(batch).unwrap();
    assert_eq!(store.iter(namespace).count(), 200);
    let mut iter = store.iter(namespace).keys();
    assert_eq!(iter.next().unwrap().unwrap().key, "00001");
    clock.now_ms.store(1_000_000_010_000, Ordering::SeqCst);
    assert_eq!(store.iter(namespace).count(), 100);
    assert_eq!(store.iter(namespace).rev().count(), 100);
    assert_eq!(store.iter(namespace).keys().next().unwrap().unwrap().key, "00002");
}

#[test]
fn large_values_are_read_when_their_entry_is_reached() {
    let (_directory, store, namespace) = new_store();
    for n in 0..5u8 {
        store.put(namespace, [n], vec![n; 100_000]).unwrap();
    }
    let mut iter = store.iter(namespace);
    assert_eq!(iter.next().unwrap().unwrap().1.body.read().unwrap(), vec![0; 100_000]);
    // These were read ahead. The first is replaced, and its old chunks may be freed; the second goes.
    store.put(namespace, [1], vec![7; 100_000]).unwrap();
    store.delete(namespace, [2]).unwrap();
    let is_freed = (0..3000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        store.view().pending().unwrap() == 0
    });
    assert!(is_freed, "the old bodies were not freed");
    let rest: Vec<_> = iter.map(|item| item.unwrap()).collect();
    let keys: Vec<_> = rest.iter().map(|(key, _)| key[0]).collect();
    assert_eq!(keys, [1, 3, 4]);
    let bodies: Vec<u8> =
        rest.into_iter().map(|(_, entry)| entry.body.read().unwrap()[0]).collect();
    assert_eq!(bodies, [7, 3, 4]);
}

#[test]
fn entries_that_do_not_change_come_once_while_others_are_written() {
    let (_directory, store, namespace) = new_store();
    fill(&store, namespace, 1500);
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !is_done.load(Ordering::SeqCst) {
                store.put(namespace, format!("{:05}-new", n % 1500), "new").unwrap();
                store.delete(namespace, format!("{:05}-new", (n + 700) % 1500)).unwrap();
                n += 37;
            }
        });
        for round in 0..6 {
            let mut found = if round % 2 == 0 {
                keys(store.iter(namespace).keys())
            } else {
                let mut found = keys(store.iter(namespace).keys().rev());
                found.reverse();
                found
            };
            assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "in order, each once");
            found.retain(|key| !key.ends_with("-new"));
            assert_eq!(found.len(), 1500);
        }
        is_done.store(true, Ordering::SeqCst);
    });
}

#[test]
fn a_walk_over_very_many_tombstones_takes_several_views() {
    let (_directory, store, namespace) = new_store();
    for from in 0..60 {
        let mut batch = store.batch();
        for n in 0..1000 {
            batch.delete(namespace, format!("{from:02}{n:03}")).unwrap();
        }
        store.write(batch).unwrap();
    }
    store.put(namespace, "3", "v").unwrap();
    assert_eq!(keys(store.iter(namespace).keys()), ["3"]);
    assert_eq!(keys(store.iter(namespace).keys().rev()), ["3"]);
}

#[test]
fn an_unknown_or_dropped_namespace_is_an_error_in_every_read() {
    let (_directory, store, namespace) = new_store();
    store.put(namespace, "k", "v").unwrap();
    let mut iter = store.iter(namespace).keys();
    store.drop_namespace(namespace).unwrap();
    for id in [namespace, NamespaceId([9; 16]), NamespaceId::SYSTEM] {
        let is_unknown = |error: ReadError| match error {
            ReadError::UnknownNamespace(unknown) => unknown == id,
            other => panic!("{other}"),
        };
        assert!(is_unknown(store.get(id, "k").unwrap_err()));
        assert!(is_unknown(store.get_many(id, &["k"]).unwrap_err()));
        assert!(is_unknown(store.get_many(id, &[""; 0]).unwrap_err()));
        assert!(is_unknown(store.list(id, &ListQuery::default()).unwrap_err()));
        for mut iter in [store.iter(id), store.prefix(id, "k"), store.range(id, "a".."z")] {
            assert!(is_unknown(iter.next().unwrap().unwrap_err()));
            assert!(iter.next().is_none(), "it has ended");
        }
        assert!(is_unknown(store.iter(id).keys().next_back().unwrap().unwrap_err()));
    }
    assert!(matches!(iter.next(), Some(Err(ReadError::UnknownNamespace(_)))));
    assert!(iter.next().is_none());
}
