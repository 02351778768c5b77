//! Where many tombstones wait, they are collected by their keys, and their rows in the indexes after that.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{Bound, ControlFlow},
    sync::Arc,
};

use kv_core::{
    Attributes, Hlc, Key, ListQuery, NamespaceId, ReadError, Table, VersionVector,
    commit::{Committer, Creation, GcLimits, GcStep, Operation},
    engine::{Engine, Order, Snapshot, Visibility, disk, redb::RedbEngine},
};
use proptest::prelude::*;

/// Unix milliseconds.
const NOW: u64 = 1_800_000_000_000;

/// A store of one location, whose sweeps begin with three tombstones.
struct Case {
    store: Committer<RedbEngine>,
    namespace: NamespaceId,
    first_id: u8,
}

fn open(engine: Arc<RedbEngine>, first_id: u8) -> Committer<RedbEngine> {
    let mut ids = first_id..=u8::MAX;
    let random = move || Ok([ids.next().unwrap(); 16]);
    let mut store = Committer::open(engine, Creation::default(), random).unwrap();
    store.set_sweep_from(3);
    store
}

impl Case {
    fn new() -> Case {
        let store = open(Arc::new(RedbEngine::open(disk::memory(), 1 << 20).unwrap()), 1);
        let namespace = kv_core::derive_id("", "t", 0);
        let mut case = Case { store, namespace, first_id: 1 };
        let (account, title) = (kv_core::Account::default(), kv_core::Title::new("t").unwrap());
        case.commit(Operation::CreateNamespace { account, title, id: None });
        case
    }

    fn commit(&mut self, operation: Operation) {
        self.store.commit(NOW, vec![operation]).results.remove(0).unwrap();
    }

    fn put(&mut self, key: u8, expires_at: Option<u64>) {
        let mut upload = self.store.upload();
        upload.push(b"value").unwrap();
        let body = upload.finish().1;
        let (namespace, key) = (self.namespace, Key::new([key]).unwrap());
        let attributes = Attributes { metadata: None, expires_at };
        self.commit(Operation::Put { namespace, key, body, attributes });
    }

    fn delete(&mut self, key: u8) {
        let (namespace, key) = (self.namespace, Key::new([key]).unwrap());
        self.commit(Operation::Delete { namespace, key });
    }

    fn step(&mut self, rows: usize, stable: Hlc) -> GcStep {
        let limits =
            GcLimits { rows, bodies: 1, stable, expired_ms: Some(NOW), collects_expired: true };
        self.store.collect_garbage(NOW, &limits).unwrap()
    }

    /// Opens the store again, as another process does.
    fn reopen(&mut self) {
        let engine = Arc::clone(self.store.engine());
        self.first_id += 10;
        self.store = open(engine, self.first_id);
    }

    fn keys_in(&mut self, table: Table) -> Vec<Vec<u8>> {
        let snapshot = self.store.engine().snapshot(Visibility::Latest).unwrap();
        let (mut keys, all) = (Vec::new(), (Bound::Unbounded, Bound::Unbounded));
        snapshot
            .range(table, all, Order::Ascending, &mut |key, _| {
                keys.push(key.to_vec());
                ControlFlow::Continue(())
            })
            .unwrap();
        keys
    }

    /// How many dots the rows of the store have.
    fn dots(&mut self) -> usize {
        let mut dots = 0;
        self.store
            .view()
            .scan(None, None, &mut |row| {
                dots += row.found.unwrap().dots().len();
                ControlFlow::Continue(())
            })
            .unwrap();
        dots
    }

    fn list(&mut self) -> BTreeSet<u8> {
        let page = self.store.view().list(self.namespace, &ListQuery::default(), NOW).unwrap();
        page.entries.iter().map(|listed| listed.key[0]).collect()
    }
}

#[test]
fn many_tombstones_are_collected_by_their_keys_and_leave_the_indexes_by_their_times() {
    let mut case = Case::new();
    // The first deletions are of the last keys.
    (0..100).rev().for_each(|key| case.delete(key));
    let before = case.keys_in(Table::Dots).len();
    assert_eq!(case.step(2, Hlc(u64::MAX)).collected, 2, "nobody knows yet that many wait");
    let step = case.step(2, Hlc(u64::MAX));
    assert_eq!((step.collected, step.unindexed, step.more), (8, 0, true));
    let left: Vec<_> = case.keys_in(Table::Deleted).iter().map(|key| key[16]).collect();
    assert_eq!(left, (8..98).collect::<Vec<_>>());
    assert_eq!(case.keys_in(Table::Tombstones).len(), 98, "the indexes are not touched");
    assert_eq!(case.keys_in(Table::Dots).len(), before - 2);
    let mut steps = 0;
    while !case.keys_in(Table::Deleted).is_empty() {
        assert_eq!(case.step(2, Hlc(u64::MAX)).unindexed, 0);
        steps += 1;
    }
    assert!(steps <= 13, "{steps} steps");
    while case.step(10, Hlc(u64::MAX)).more {}
    assert_eq!(case.keys_in(Table::Tombstones), Vec::<Vec<u8>>::new());
    assert_eq!(case.keys_in(Table::Dots).len(), before - 100);
}

#[test]
fn an_examination_does_not_take_for_damage_what_a_sweep_leaves_in_the_index() {
    let mut case = Case::new();
    (0..20).for_each(|key| case.delete(key));
    case.step(2, Hlc(u64::MAX));
    assert_eq!(case.step(2, Hlc(u64::MAX)).collected, 8);
    assert!(case.keys_in(Table::Dots).len() > case.dots(), "a sweep is under way");
    let found = case.store.view().examine(NOW, &mut |_rows| {}).unwrap();
    assert!(found.is_sound() && found.repairs().is_empty(), "{found:?}");
}

#[test]
fn a_sweep_collects_only_what_is_stable_and_counts_it() {
    let mut case = Case::new();
    (0..19).for_each(|key| case.delete(key));
    let swept = case.store.view().vector().iter().max_by_key(|dot| dot.seq).unwrap();
    case.delete(19);
    let stable = case.store.clock();
    case.delete(5);
    let vector = case.store.view().vector().clone();
    (30..40).for_each(|key| case.delete(key));
    while case.step(2, stable).more {}
    let left: BTreeSet<_> = case.keys_in(Table::Deleted).iter().map(|key| key[16]).collect();
    // The last of the first twenty is at the stable timestamp.
    assert_eq!(left, [5, 19].into_iter().chain(30..40).collect());
    let view = case.store.view();
    assert!(matches!(view.changes(&VersionVector::default(), None, 99), Err(ReadError::Gone)));
    assert!(vector.covers_all(view.collected()) && view.collected().covers(swept));
    assert_eq!(view.changes(&vector, None, 99).unwrap().changes.len(), 10);
}

#[test]
fn a_key_that_is_written_again_after_a_sweep_keeps_its_own_rows_in_the_indexes() {
    let mut case = Case::new();
    (0..20).for_each(|key| case.delete(key));
    case.step(1, Hlc(u64::MAX));
    while !case.keys_in(Table::Deleted).is_empty() {
        case.step(2, Hlc(u64::MAX));
    }
    assert!(case.keys_in(Table::Tombstones).len() > 10);
    case.put(3, None);
    case.delete(4);
    while case.step(2, Hlc::ZERO).more {}
    let stable = case.store.clock();
    while case.step(3, stable).more {}
    assert_eq!(case.keys_in(Table::Deleted).len(), 1);
    assert_eq!(case.keys_in(Table::Tombstones).len(), 1);
    assert_eq!(case.keys_in(Table::Dots).len(), case.dots());
    assert_eq!(case.list(), [3].into_iter().collect());
}

#[test]
fn a_key_that_expires_again_in_the_second_of_a_swept_tombstone_takes_its_place_in_the_index() {
    let mut case = Case::new();
    (0..9).for_each(|key| case.put(key, Some(NOW / 1000 - 1)));
    while !case.keys_in(Table::Expiry).is_empty() {
        case.step(1, Hlc::ZERO);
    }
    while !case.keys_in(Table::Deleted).is_empty() {
        case.step(1, Hlc(u64::MAX));
    }
    assert!(case.keys_in(Table::ExpiredTombstones).len() > 2, "the sweep has left them");
    (0..9).for_each(|key| case.put(key, Some(NOW / 1000 - 1)));
    while case.step(2, Hlc(u64::MAX)).more {}
    case.step(9, Hlc(u64::MAX));
    assert_eq!(case.keys_in(Table::ExpiredTombstones), Vec::<Vec<u8>>::new());
    assert_eq!(case.keys_in(Table::Dots).len(), case.dots());
}

/// Something that happens to a store.
#[derive(Clone, Debug)]
enum Event {
    Put(u8, bool),
    Delete(u8),
    Collect { rows: usize, is_all_stable: bool },
    Reopen,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..40u8, any::<bool>()).prop_map(|(key, expires)| Event::Put(key, expires)),
        8 => (0..40u8).prop_map(Event::Delete),
        5 => (1..5usize, any::<bool>())
            .prop_map(|(rows, is_all_stable)| Event::Collect { rows, is_all_stable }),
        1 => Just(Event::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_happens_between_its_steps_a_sweep_loses_and_leaves_nothing(
        events in proptest::collection::vec(event(), 1..150),
    ) {
        let mut case = Case::new();
        let (mut live, mut stable) = (BTreeMap::new(), Hlc::ZERO);
        for event in events {
            match event {
                Event::Put(key, expires) => {
                    case.put(key, expires.then_some(NOW / 1000 - 1));
                    live.insert(key, expires);
                }
                Event::Delete(key) => {
                    case.delete(key);
                    live.remove(&key);
                }
                Event::Collect { rows, is_all_stable } => {
                    stable = if is_all_stable { case.store.clock() } else { stable };
                    case.step(rows, stable);
                }
                Event::Reopen => case.reopen(),
            }
            let visible = live.iter().filter(|(_, expires)| !**expires).map(|(key, _)| *key);
            prop_assert_eq!(case.list(), visible.collect::<BTreeSet<_>>());
            // What a peer that has everything but the last writes lacks is found.
            let view = case.store.view();
            let all = view.vector().clone();
            prop_assert!(all.covers_all(view.collected()));
            prop_assert_eq!(view.changes(&all, None, 99).unwrap().changes, vec![]);
            for row in case.keys_in(Table::Deleted) {
                prop_assert!(live.get(&row[16]).is_none_or(|expires| *expires));
            }
        }
        let mut steps = 0;
        loop {
            let step = case.step(3, Hlc(u64::MAX));
            if step.is_idle() && !step.more {
                break;
            }
            steps += 1;
            prop_assert!(steps < 500, "it never ends");
        }
        for table in [Table::Deleted, Table::Tombstones, Table::ExpiredTombstones, Table::Expiry] {
            prop_assert_eq!(case.keys_in(table), Vec::<Vec<u8>>::new());
        }
        prop_assert_eq!(case.keys_in(Table::Dots).len(), case.dots());
    }
}
