//! A walk over every row of a store.

use std::ops::ControlFlow;

use super::{create, delete, new_store, put, with_rows};
use crate::{
    commit::Committer,
    engine::{Snapshot, Table, redb::RedbEngine},
    tables::EntryKey,
    types::{FoundState, NamespaceId, OriginId, OriginInfo},
    view::{RowName, View},
};

fn store() -> (Committer<RedbEngine>, NamespaceId) {
    let mut store = new_store();
    let namespace = crate::derive_id("", "one", 0);
    store.commit(1, vec![create("one")]);
    for key in ["a", "b", "c"] {
        let put = put(&store, namespace, key, b"");
        store.commit(1, vec![put]);
    }
    store.commit(1, vec![delete(namespace, "b")]);
    (store, namespace)
}

/// Walks over a view. Returns the key of each row, and whether it can be read.
fn walk<S: Snapshot>(
    view: &View<S>,
    after: Option<RowName<'_>>,
    upto: Option<RowName<'_>>,
) -> Vec<(Option<Vec<u8>>, bool)> {
    let mut seen = Vec::new();
    view.scan(after, upto, &mut |row| {
        seen.push((row.name.map(|(_, key)| key.to_vec()), row.found.is_ok()));
        ControlFlow::Continue(())
    })
    .unwrap();
    seen
}

/// The rows of the origins that the store opened with its first write.
fn opened() -> [(Option<Vec<u8>>, bool); 2] {
    [2, 3].map(|id| key(&OriginInfo::key(OriginId([id; 16]))))
}

fn key(key: &[u8]) -> (Option<Vec<u8>>, bool) {
    (Some(key.to_vec()), true)
}

#[test]
fn a_walk_shows_the_system_namespace_and_tombstones_in_order() {
    let (mut store, namespace) = store();
    let view = store.view();
    let mut system = [&opened()[..], &[key(&namespace.0)]].concat();
    system.sort();
    let all = [&system[..], &[key(b"a"), key(b"b"), key(b"c")]].concat();
    assert_eq!(walk(&view, None, None), all);
    let mut deleted = 0;
    view.scan(None, None, &mut |row| {
        deleted += usize::from(row.found.unwrap().state == FoundState::Tombstone);
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(deleted, 1);
}

#[test]
fn a_walk_starts_after_one_name_and_ends_at_another() {
    let (mut store, namespace) = store();
    let view = store.view();
    let name = |key: &'static [u8]| Some((namespace, key));
    assert_eq!(walk(&view, name(b"a"), name(b"bb")), [key(b"b")]);
    assert_eq!(walk(&view, name(b"b"), None), [key(b"c")]);
    assert_eq!(walk(&view, name(b"c"), name(b"a")), []);
    assert_eq!(walk(&view, name(b"a"), name(b"a")), []);
}

#[test]
fn a_walk_continues_over_damaged_rows_and_invalid_names() {
    let (store, namespace) = store();
    let key_of_b = EntryKey::prefix(namespace, b"b");
    let damaged = (Table::Entries, key_of_b, Some(vec![1, 2, 3]));
    let nameless = (Table::Entries, b"short".to_vec(), Some(vec![1, 2, 3]));
    let mut store = with_rows(store, vec![damaged, nameless]).unwrap();
    let mut seen = walk(&store.view(), None, None);
    seen.sort();
    let rows =
        [(None, false), key(&namespace.0), key(b"a"), (Some(b"b".to_vec()), false), key(b"c")];
    let mut all = [&rows[..], &opened()].concat();
    all.sort();
    assert_eq!(seen, all);
}
