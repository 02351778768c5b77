//! Rows of the system namespace that no part of this program interprets.

use std::sync::Arc;

use super::{new_store_of, with_rows};
use crate::{
    commit::{Applied, Committer, NewContent, Operation, Outcome, Remote, RemoteWrite},
    engine::{Snapshot, redb::RedbEngine},
    error::{InvalidWrite, WriteError},
    types::{
        Change, Dot, FieldNumber, FieldValue, Hlc, JoinedRow, Key, NamespaceId, OriginId, Version,
        VersionVector,
    },
    view::View,
};

/// A key of no shape that this program knows.
fn key() -> Key {
    Key::new("unknown row").unwrap()
}

fn field(number: u8, value: &str) -> (FieldNumber, FieldValue) {
    (FieldNumber::new(number).unwrap(), FieldValue::new(value.to_owned()).unwrap())
}

fn write(store: &mut Committer<RedbEngine>, now: u64, fields: &[(u8, &str)]) -> Change {
    let fields = fields.iter().map(|(number, value)| field(*number, value)).collect();
    let committed = store.commit(now, vec![Operation::WriteFields { key: key(), fields }]);
    assert!(committed.results[0].is_ok(), "{:?}", committed.results);
    committed.writes.into_iter().last().unwrap()
}

/// Gives a store the opening rows that another one has: the first write of each origin comes before the others.
pub(super) fn meet(store: &mut Committer<RedbEngine>, other: &mut Committer<RedbEngine>) {
    let changes = other.view().changes(&VersionVector::default(), None, 100).unwrap().changes;
    for opening in changes.iter().filter(|change| change.found.dot.seq == 1) {
        apply(store, Remote::Next(remote(opening)));
        assert!(store.view().vector().covers(opening.found.dot));
    }
}

fn remote(change: &Change) -> RemoteWrite {
    RemoteWrite {
        dot: change.found.dot,
        hlc: change.found.version.hlc,
        prev: None,
        namespace: change.namespace,
        key: change.key.clone(),
        change: NewContent::Joined(Arc::clone(change.found.joined().unwrap())),
    }
}

fn apply(store: &mut Committer<RedbEngine>, remote: Remote) -> Applied {
    match store.commit(1, vec![Operation::Remote(remote)]).results.pop() {
        Some(Ok(Outcome::Applied(applied))) => applied,
        other => panic!("{other:?}"),
    }
}

fn row<S: Snapshot>(view: &View<S>) -> JoinedRow {
    let found = view.row(NamespaceId::SYSTEM, &key()).unwrap().unwrap();
    found.joined().unwrap().as_ref().clone()
}

/// The dots that the index lists the row under, each with the dot of the change.
fn listed<S: Snapshot>(view: &View<S>) -> Vec<Dot> {
    let mut changes = view.changes(&VersionVector::default(), None, 100).unwrap().changes;
    changes.retain(|change| change.key == key());
    assert!(changes.iter().all(|change| change.found.joined() == Some(&Arc::new(row(view)))));
    changes.iter().map(|change| change.found.dot).collect()
}

/// A dot of the store of the location `store`.
fn dot(store: u8, seq: u64) -> Dot {
    Dot { origin: OriginId([store + 1; 16]), seq }
}

#[test]
fn fields_of_one_write_share_a_dot_and_other_fields_stay() {
    let mut store = new_store_of(1);
    write(&mut store, 5, &[(1, "a"), (2, "b")]);
    let second = write(&mut store, 6, &[(2, "c"), (9, "d")]);
    assert_eq!(second.found.dot, dot(1, 3));
    let row = row(&store.view());
    let fields: Vec<_> = row
        .iter()
        .map(|(number, field)| (number.get(), field.seq, field.value.as_bytes().to_vec()))
        .collect();
    let wanted = [(1, 2, "a"), (2, 3, "c"), (9, 3, "d")];
    assert_eq!(fields, wanted.map(|(number, seq, value)| (number, seq, value.as_bytes().to_vec())));
    assert_eq!(second.found.joined().unwrap().as_ref(), &row, "it travels whole");
}

#[test]
fn the_index_lists_a_row_under_the_dot_of_each_field_and_drops_a_dot_that_no_field_has() {
    let mut store = new_store_of(1);
    write(&mut store, 5, &[(1, "a"), (2, "b")]);
    write(&mut store, 6, &[(2, "c")]);
    assert_eq!(listed(&store.view()), [dot(1, 2), dot(1, 3)]);
    write(&mut store, 7, &[(1, "e")]);
    assert_eq!(listed(&store.view()), [dot(1, 3), dot(1, 4)]);
    let mut store = with_rows(store, Vec::new()).unwrap();
    assert_eq!(listed(&store.view()), [dot(1, 3), dot(1, 4)], "the same after a start");
}

#[test]
fn a_live_row_is_joined_whole_and_raises_the_vector_by_its_own_dot_only() {
    let (mut one, mut two, mut three) = (new_store_of(1), new_store_of(3), new_store_of(5));
    let first = write(&mut one, 5, &[(1, "a")]);
    meet(&mut two, &mut one);
    assert_eq!(apply(&mut two, Remote::Next(remote(&first))), Applied::Won { concurrent: false });
    let second = write(&mut two, 6, &[(2, "b")]);
    assert_eq!(second.found.joined().unwrap().dots().len(), 2);
    meet(&mut three, &mut two);
    assert_eq!(
        apply(&mut three, Remote::Next(remote(&second))),
        Applied::Won { concurrent: false }
    );
    assert_eq!(row(&three.view()), row(&two.view()));
    assert!(three.view().vector().covers(dot(3, 2)) && !three.view().vector().covers(dot(1, 2)));
    assert_eq!(listed(&three.view()), [dot(1, 2), dot(3, 2)]);
    assert_eq!(apply(&mut three, Remote::Next(remote(&first))), Applied::Known);
    assert!(three.view().vector().covers(dot(1, 2)), "a row that changes nothing counts too");
}

#[test]
fn stores_that_get_the_writes_in_any_order_hold_the_same_row() {
    let (mut one, mut two) = (new_store_of(1), new_store_of(3));
    let writes = [
        write(&mut one, 5, &[(1, "a"), (2, "a")]),
        write(&mut two, 6, &[(2, "b"), (3, "b")]),
        write(&mut one, 7, &[(3, "c")]),
    ];
    let orders = [[0, 1, 2], [2, 1, 0], [1, 2, 0], [1, 0, 2]];
    let rows = orders.map(|order| {
        let mut store = new_store_of(7);
        meet(&mut store, &mut one);
        meet(&mut store, &mut two);
        for at in order.into_iter().chain(order) {
            apply(&mut store, Remote::Row(remote(&writes[at])));
        }
        row(&store.view())
    });
    assert!(rows.iter().all(|row| *row == rows[0]), "{rows:?}");
    assert_eq!(rows[0].iter().map(|(_, field)| field.seq).collect::<Vec<_>>(), [2, 2, 3]);
}

#[test]
fn a_row_that_breaks_a_rule_is_refused_and_changes_nothing() {
    let (mut one, mut two) = (new_store_of(1), new_store_of(3));
    let write = remote(&write(&mut one, 5, &[(1, "a")]));
    meet(&mut two, &mut one);
    let refused = |store: &mut Committer<RedbEngine>, write: RemoteWrite| {
        let applied = apply(store, Remote::Next(write));
        assert!(matches!(applied, Applied::Refused(_)), "{applied:?}");
    };
    let again = |key: &str, namespace, hlc, row: &JoinedRow| RemoteWrite {
        dot: write.dot,
        hlc,
        prev: None,
        namespace,
        key: Key::new(key).unwrap(),
        change: NewContent::Joined(Arc::new(row.clone())),
    };
    let row = match &write.change {
        NewContent::Joined(row) => row.as_ref().clone(),
        other => panic!("{other:?}"),
    };
    refused(&mut two, again("k", NamespaceId([9; 16]), write.hlc, &row));
    refused(&mut two, again("k", NamespaceId::SYSTEM, Hlc(write.hlc.0 + 1), &row));
    // A field that was written in the year 10889.
    let version = Version { hlc: Hlc(u64::MAX), origin: OriginId([8; 16]) };
    let mut late = row.clone();
    late.join(&JoinedRow::written(version, 1, [field(4, "x")]).unwrap());
    refused(&mut two, again("k", NamespaceId::SYSTEM, write.hlc, &late));
    // A second row under the dots of the first.
    assert_eq!(
        apply(&mut two, Remote::Row(again("k", NamespaceId::SYSTEM, write.hlc, &row))),
        Applied::Won { concurrent: false }
    );
    let other = again("other", NamespaceId::SYSTEM, write.hlc, &row);
    assert_eq!(apply(&mut two, Remote::Row(other)), Applied::Conflict);
    let operation = Operation::WriteFields { key: key(), fields: Vec::new() };
    let result = two.commit(1, vec![operation]).results.pop();
    assert_eq!(result, Some(Err(WriteError::Invalid(InvalidWrite::NoFields))));
}

#[test]
fn the_origins_of_former_processes_are_not_received() {
    let mut store = new_store_of(1);
    write(&mut store, 5, &[(1, "a")]);
    let mut store = with_rows(store, Vec::new()).unwrap();
    write(&mut store, 6, &[(1, "b")]);
    assert_eq!(store.view().registry().len(), 4);
    assert!(!store.view().has_received());
    let mut other = new_store_of(7);
    let theirs = write(&mut other, 7, &[(2, "c")]);
    // Their row comes first: nothing counts it, and the store is not empty.
    apply(&mut store, Remote::Row(remote(&theirs)));
    assert!(store.view().has_received());
}
