//! Committers over rows that no store writes, and the rows that they write.

mod evolve;
mod examine;
mod joined;
mod rows;
mod walk;

use std::sync::Arc;

use super::*;
use crate::{
    engine::{Batch, Engine as _, Table, disk, redb::RedbEngine},
    error::{OpenError, RandomError},
    tables::{self, ChunkKey, Chunks, Format, Layout as _},
    types::{
        Account, Attributes, BodyId, FoundState, Hlc, Key, NamespaceId, OriginId, OriginInfo,
        Title, VersionVector,
    },
};

fn new_store() -> Committer<RedbEngine> {
    new_store_of(1)
}

/// A store of the location `first`, whose origins are the next two ids.
fn new_store_of(first: u8) -> Committer<RedbEngine> {
    let mut ids = first..=first + 2;
    let random_id = move || ids.next().map(|id| [id; 16]).ok_or_else(RandomError::default);
    let engine = RedbEngine::open(disk::memory(), 1 << 20).unwrap();
    Committer::open(Arc::new(engine), Creation::default(), random_id).unwrap()
}

/// Reopens a store after rows were written to its engine directly.
fn with_rows(
    store: Committer<RedbEngine>,
    batch: Batch,
) -> Result<Committer<RedbEngine>, OpenError> {
    let engine = Arc::clone(store.engine());
    drop(store);
    engine.commit(engine.status().latest + 1, batch).unwrap();
    let mut ids = 4..=5;
    let random_id = move || ids.next().map(|id| [id; 16]).ok_or_else(RandomError::default);
    Committer::open(engine, Creation::default(), random_id)
}

fn chunk_row(body: u64) -> (Table, Vec<u8>, Option<Vec<u8>>) {
    let key = ChunkKey { body: BodyId(body), index: 0 };
    let (key, row) = tables::encode::<Chunks>(&key, &"piece".into());
    (Table::Chunks, key, Some(row))
}

fn chunk_key(body: u64) -> Vec<u8> {
    Chunks::key(&ChunkKey { body: BodyId(body), index: 0 })
}

fn create(title: &str) -> Operation {
    let (account, title) = (Account::default(), Title::new(title).unwrap());
    Operation::CreateNamespace { account, title, id: None }
}

fn put(
    store: &Committer<RedbEngine>,
    namespace: NamespaceId,
    key: &str,
    value: &[u8],
) -> Operation {
    let mut upload = store.upload();
    assert!(upload.push(value).unwrap().is_empty());
    let (_, body) = upload.finish();
    let attributes = Attributes::default();
    Operation::Put { namespace, key: Key::new(key).unwrap(), body, attributes }
}

fn delete(namespace: NamespaceId, key: &str) -> Operation {
    Operation::Delete { namespace, key: Key::new(key).unwrap() }
}

fn body_of_next_upload(store: &Committer<RedbEngine>) -> u64 {
    let mut upload = store.upload();
    assert!(upload.push(&[0; 9000]).unwrap().is_empty());
    match upload.finish().1.0 {
        crate::body::NewBodyKind::Single { ticket, .. } => ticket.body.0,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_store_whose_body_ids_are_used_up_is_rejected() {
    let error = with_rows(new_store(), vec![chunk_row(u64::MAX)]).err().unwrap();
    assert!(matches!(error, OpenError::Corrupt(_)), "{error}");
}

#[test]
fn a_damaged_chunk_does_not_change_the_next_body_id() {
    let (table, _, row) = chunk_row(8);
    let moved = (table, chunk_key(u64::MAX), row);
    let store = with_rows(new_store(), vec![chunk_row(7), moved]).unwrap();
    assert_eq!(body_of_next_upload(&store), 8);
}

#[test]
fn the_id_of_a_body_whose_chunks_are_lost_is_not_reused() {
    let mut store = new_store();
    let id = crate::derive_id("", "t", 0);
    let put = put(&store, id, "k", &[0; 9000]);
    let committed = store.commit(1, vec![create("t"), put]);
    assert!(committed.results.iter().all(Result::is_ok), "{:?}", committed.results);
    let lost = match store.view().row(id, b"k").unwrap().unwrap().state {
        FoundState::Large { body, .. } => body,
        other => panic!("{other:?}"),
    };
    let store = with_rows(store, vec![(Table::Chunks, chunk_key(lost.0), None)]).unwrap();
    assert!(body_of_next_upload(&store) > lost.0);
}

#[test]
fn the_id_of_a_body_whose_chunks_are_lost_is_not_reused_though_the_clock_was_wrong() {
    let mut store = new_store();
    let id = crate::derive_id("", "t", 0);
    store.set_time_bounds(0, None);
    let puts = [&[0; 1][..], &[0; 9000]].map(|value| put(&store, id, "k", value));
    let [small, large] = puts;
    let committed = store.commit(1_000_000, vec![create("t"), small]);
    assert!(committed.results.iter().all(Result::is_ok), "{:?}", committed.results);
    // The clock was far ahead, and is forgotten: the time of this write comes from what it replaces.
    let committed = store.commit(1, vec![large]);
    assert!(committed.results.iter().all(Result::is_ok), "{:?}", committed.results);
    assert_eq!(store.clock(), crate::Hlc::ZERO);
    let lost = match store.view().row(id, b"k").unwrap().unwrap().state {
        FoundState::Large { body, .. } => body,
        other => panic!("{other:?}"),
    };
    let store = with_rows(store, vec![(Table::Chunks, chunk_key(lost.0), None)]).unwrap();
    assert!(body_of_next_upload(&store) > lost.0);
}

#[test]
fn a_store_that_lost_its_format_is_not_created_again() {
    let lost = (Table::Meta, Format::key(&()), None);
    let error = with_rows(new_store(), vec![lost]).err().unwrap();
    assert!(matches!(error, OpenError::Corrupt(_)), "{error}");
}

#[test]
fn changes_without_a_bound_return_all_changes() {
    let mut store = new_store();
    store.commit(1, vec![create("t")]);
    let since = VersionVector::default();
    for limit in [0, 1, usize::MAX] {
        // The rows of both origins, and the namespace.
        let expected = limit.clamp(1, 3);
        assert_eq!(store.view().changes(&since, None, limit).unwrap().changes.len(), expected);
    }
}

#[test]
fn a_commit_returns_each_of_its_writes_including_a_replaced_one() {
    let mut store = new_store();
    let namespace = crate::derive_id("", "t", 0);
    let puts = [&b"old"[..], b"new"].map(|value| put(&store, namespace, "k", value));
    let operations = [create("t")].into_iter().chain(puts).collect();
    let writes = store.commit(1, operations).writes;
    let told: Vec<_> = writes.iter().map(|write| (write.found.dot.seq, &write.key[..])).collect();
    let opened = [2, 3].map(|id| OriginInfo::key(OriginId([id; 16])));
    let [small, large] = [&opened[0][..], &opened[1]];
    assert_eq!(told, [(1, small), (1, large), (2, &namespace.0), (3, b"k"), (4, b"k")]);
    assert_eq!(writes[3].found.state, FoundState::Inline("old".into()));
    assert_eq!(writes[4].found.prev, Some(writes[3].found.version));
    assert_eq!(store.view().row(namespace, b"k").unwrap(), Some(writes[4].found.clone()));
}

#[test]
fn a_store_that_closed_a_time_beyond_all_others_takes_writes_after_the_next_start() {
    for far in [Hlc(u64::MAX), Hlc::END, Hlc(Hlc::LAST_CLOSED.0 + 1)] {
        let mut store = new_store();
        store.commit(1_000, vec![create("t")]);
        let mut rows = Batch::new();
        tables::put::<tables::ClosedTime>(&mut rows, &(), &far);
        tables::put::<tables::CollectedUpto>(&mut rows, &(), &far);
        let mut store = with_rows(store, rows).unwrap();
        assert_eq!(store.closed_timestamp().millis(), 1_000);
        assert_eq!(store.view().collected_upto().millis(), 1_000);
        let committed = store.commit(2_000, vec![create("u")]);
        assert!(committed.results.iter().all(Result::is_ok), "{:?}", committed.results);
        assert_eq!(committed.writes[0].found.version.hlc.millis(), 2_000);
    }
}
