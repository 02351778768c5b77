//! Examinations of damaged stores, and the rows that are there after a repair.

use super::*;
use crate::{
    engine::Snapshot as _,
    tables::{Dots, EntryKey, IndexedDot, Pending},
    types::{Hlc, MemberId},
    view::{Examination, IndexState},
};

/// The time of all commits, in Unix milliseconds.
const NOW_MS: u64 = 1_800_000_000_000;

fn examine(store: &mut Committer<RedbEngine>) -> Examination {
    store.view().examine(NOW_MS + 60_000, &mut |_rows| {}).expect("it can be read")
}

/// A store with a namespace of three entries, of which one is large.
fn filled() -> (Committer<RedbEngine>, NamespaceId) {
    let mut store = new_store();
    let made = store.commit(NOW_MS, vec![create("pages")]);
    let Ok(Outcome::Namespace(namespace)) = &made.results[0] else { panic!("a namespace") };
    let id = namespace.id;
    for (key, value) in [("a", vec![1; 10]), ("b", vec![2; 20]), ("large", vec![3; 9_000])] {
        let operation = put(&store, id, key, &value);
        store.commit(NOW_MS, vec![operation]).results.remove(0).unwrap();
    }
    (store, id)
}

fn entry(namespace: NamespaceId, key: &str) -> EntryKey {
    EntryKey::new(namespace, &Key::new(key).unwrap())
}

/// The key in the dot index of an entry.
fn indexed(store: &mut Committer<RedbEngine>, namespace: NamespaceId, key: &str) -> IndexedDot {
    let view = store.view();
    let row = view.row(namespace, key.as_bytes()).unwrap().expect("the entry");
    let origin = view.origins.number(row.dot.origin).expect("a known origin");
    IndexedDot { origin, seq: row.dot.seq }
}

/// Makes the repairs of an examination. Returns how many rows of the index were removed and bodies freed.
fn repair(store: &mut Committer<RedbEngine>, found: &Examination) -> [u64; 2] {
    let operation = Operation::Repair(found.repairs().to_vec());
    match store.commit(NOW_MS, vec![operation]).results.remove(0).unwrap() {
        Outcome::Repaired(made) => [made.rows, made.bodies],
        other => panic!("{other:?}"),
    }
}

/// Has the index checked as the examination says, to the end.
fn check_index(store: &mut Committer<RedbEngine>, found: &Examination) {
    let limits = GcLimits {
        rows: 64,
        bodies: 4,
        stable: Hlc::ZERO,
        expired_ms: None,
        collects_expired: false,
    };
    store.view().note_examined(found);
    assert_eq!(store.view().index_state(), IndexState::Checking);
    while store.collect_garbage(NOW_MS, &limits).unwrap().more {}
}

#[test]
fn a_store_is_sound() {
    let (mut store, _) = filled();
    let found = examine(&mut store);
    assert!(found.is_sound() && found.repairs().is_empty(), "{found:?}");
    assert_eq!(found.future.count, 0);
}

#[test]
fn an_entry_that_the_index_does_not_name_is_found_and_named_again() {
    let (mut store, id) = filled();
    let lost = indexed(&mut store, id, "a");
    let mut batch = Batch::new();
    tables::delete::<Dots>(&mut batch, &lost);
    let mut store = with_rows(store, batch).unwrap();
    let found = examine(&mut store);
    assert_eq!(found.unindexed.first, [(id, Key::new("a").unwrap())]);
    assert!(!found.is_sound() && found.needs_index_check());
    assert_eq!(repair(&mut store, &found), [0, 0], "the check of the index does it");
    let number = store.view().index_number();
    check_index(&mut store, &found);
    assert!(examine(&mut store).is_sound());
    // A row was put at a place that a catch-up may have passed.
    assert_eq!((store.view().index_state(), number), (IndexState::Sound, Some(0)));
    assert_ne!(store.view().index_number(), number);
    store.view().note_examined(&found);
    assert_eq!(store.view().index_state(), IndexState::Sound, "it was checked since");
}

#[test]
fn a_damaged_row_of_the_index_is_found_and_made_again_by_the_check() {
    let (mut store, id) = filled();
    let key = Dots::key(&indexed(&mut store, id, "a"));
    let row = store.view().snapshot.get(Table::Dots, &key).unwrap();
    let mut damaged = row.expect("a row").to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let mut store = with_rows(store, vec![(Table::Dots, key, Some(damaged))]).unwrap();
    let found = examine(&mut store);
    assert_eq!(found.damaged_rows.get(&Table::Dots), Some(&1));
    assert_eq!((found.unindexed.count, found.repairs().len()), (1, 0));
    assert_eq!(store.view().index_state(), IndexState::Sound, "an examination changes nothing");
    check_index(&mut store, &found);
    assert!(examine(&mut store).is_sound());
}

#[test]
fn a_tombstone_beside_the_entry_of_its_key_is_a_damaged_row() {
    let (mut store, id) = filled();
    store.commit(NOW_MS, vec![delete(id, "b")]).results.remove(0).unwrap();
    let kept = store.view().snapshot.get(Table::Deleted, entry(id, "b").as_bytes()).unwrap();
    let kept = kept.expect("a tombstone").to_vec();
    let later = put(&store, id, "b", b"later");
    store.commit(NOW_MS, vec![later]).results.remove(0).unwrap();
    let row = (Table::Deleted, entry(id, "b").as_bytes().to_vec(), Some(kept));
    let mut store = with_rows(store, vec![row]).unwrap();
    assert_eq!(examine(&mut store).damaged_rows.get(&Table::Deleted), Some(&1));
}

#[test]
fn rows_of_the_index_that_name_another_entry_or_none_are_found_and_removed() {
    let (mut store, id) = filled();
    let right = indexed(&mut store, id, "b");
    let mut batch = Batch::new();
    for (seq, key) in [(70, "a"), (71, "nothing")] {
        tables::put::<Dots>(&mut batch, &IndexedDot { seq, ..right }, &entry(id, key));
    }
    let mut store = with_rows(store, batch).unwrap();
    let found = examine(&mut store);
    assert_eq!((found.misindexed, found.unindexed.count), (2, 0));
    assert_eq!(repair(&mut store, &found), [2, 0]);
    assert!(examine(&mut store).is_sound());
}

#[test]
fn a_row_of_the_index_of_an_entry_that_is_gone_stays_where_others_must_be_told_of_it() {
    let (mut store, id) = filled();
    let right = indexed(&mut store, id, "b");
    let (name, addresses) = ("other".into(), vec!["other:1".into()]);
    let member = Operation::PutMember { id: MemberId([6; 16]), name, addresses };
    store.commit(NOW_MS, vec![member]).results.remove(0).unwrap();
    let mut batch = Batch::new();
    tables::put::<Dots>(&mut batch, &IndexedDot { seq: 71, ..right }, &entry(id, "nothing"));
    let mut store = with_rows(store, batch).unwrap();
    let found = examine(&mut store);
    assert!(found.is_sound() && found.repairs().is_empty(), "{found:?}");
}

#[test]
fn a_row_of_the_index_that_has_become_right_since_is_not_removed() {
    let (mut store, id) = filled();
    let right = indexed(&mut store, id, "b");
    let point_to = |store, key| {
        let mut batch = Batch::new();
        tables::put::<Dots>(&mut batch, &right, &entry(id, key));
        with_rows(store, batch).unwrap()
    };
    let mut store = point_to(store, "a");
    let found = examine(&mut store);
    assert_eq!((found.misindexed, found.unindexed.count), (1, 1));
    let mut store = point_to(store, "b");
    assert_eq!(repair(&mut store, &found), [0, 0]);
    assert!(examine(&mut store).is_sound());
}

#[test]
fn a_body_that_nothing_refers_to_is_found_and_left_to_garbage_collection() {
    let (store, _) = filled();
    let mut store = with_rows(store, vec![chunk_row(1_000)]).unwrap();
    let found = examine(&mut store);
    assert_eq!(found.orphans.first, [BodyId(1_000)]);
    assert!(found.orphaned_bytes > 0);
    assert_eq!(repair(&mut store, &found), [0, 1]);
    let pending = Pending::key(&BodyId(1_000));
    assert!(store.view().snapshot.get(Table::Pending, &pending).unwrap().is_some());
    assert!(examine(&mut store).is_sound());
}

#[test]
fn bodies_are_compared_with_their_entries_whatever_number_of_them_is_held_at_a_time() {
    let (mut store, id) = filled();
    for key in ["l1", "l2", "l3", "l4"] {
        let operation = put(&store, id, key, &[4; 9_000]);
        store.commit(NOW_MS, vec![operation]).results.remove(0).unwrap();
    }
    let large = store.view().row(id, b"l3").unwrap().and_then(|row| row.large());
    let body = large.expect("a large value").body;
    let lost = (Table::Chunks, chunk_key(body.0), None);
    let mut store = with_rows(store, vec![lost, chunk_row(1_000), chunk_row(2_000)]).unwrap();
    let whole = examine(&mut store);
    assert_eq!(whole.damaged.first, [(id, Key::new("l3").unwrap())]);
    assert_eq!(whole.orphans.first, [BodyId(1_000), BodyId(2_000)], "all entries can be read");
    for at_once in 1..8 {
        let view = store.view();
        let parts = view.examine_in_parts(NOW_MS + 60_000, at_once, &mut |_rows| {});
        assert_eq!(parts.expect("it can be read"), whole, "{at_once} bodies at a time");
    }
}

#[test]
fn damaged_entries_and_values_that_lack_a_chunk_are_found_and_no_body_is_freed_meanwhile() {
    let (mut store, id) = filled();
    let large = store.view().row(id, b"large").unwrap().and_then(|row| row.large());
    let body = large.expect("a large value").body;
    let mut row = store.view().snapshot.get(Table::Entries, entry(id, "a").as_bytes()).unwrap();
    let mut damaged = row.take().expect("a row").to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let batch = vec![
        (Table::Entries, entry(id, "a").as_bytes().to_vec(), Some(damaged)),
        (Table::Chunks, chunk_key(body.0), None),
        chunk_row(1_000),
    ];
    let mut store = with_rows(store, batch).unwrap();
    let found = examine(&mut store);
    let named: Vec<_> = found.damaged.first.iter().map(|(_, key)| key.clone()).collect();
    assert_eq!(named, [Key::new("a").unwrap(), Key::new("large").unwrap()]);
    assert_eq!(found.met().len(), 2, "the store can record them");
    assert_eq!(found.orphans.count, 0, "the damaged entry may refer to any body");
}

#[test]
fn an_entry_that_is_dated_in_the_future_is_found_and_is_not_damage() {
    let (mut store, id) = filled();
    let later = put(&store, id, "b", b"later");
    store.commit(NOW_MS + 3_600_000, vec![later]).results.remove(0).unwrap();
    let found = examine(&mut store);
    assert_eq!(found.future.first, [((id, Key::new("b").unwrap()), NOW_MS + 3_600_000)]);
    assert!(found.is_sound());
}
