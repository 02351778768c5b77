//! Rows and peers that say what no store says: found by the fuzzer.

use super::*;
use crate::{
    engine::{disk, redb::RedbEngine},
    record::seal,
};

fn new_store() -> Committer<RedbEngine> {
    let mut ids = [1, 2].into_iter();
    let mut random_id = || ids.next().map(|id| [id; 16]).ok_or_else(String::new);
    let engine = RedbEngine::open(disk::memory(), 1 << 20).unwrap();
    Committer::open(Arc::new(engine), &mut random_id).unwrap()
}

/// The store again, after rows were put into it behind its back.
fn with_rows(
    store: Committer<RedbEngine>,
    batch: Batch,
) -> Result<Committer<RedbEngine>, OpenError> {
    let engine = Arc::clone(store.engine());
    drop(store);
    engine.commit(engine.status().latest + 1, batch).unwrap();
    Committer::open(engine, &mut || Err("the store has its ids".into()))
}

fn chunk_row(body: u64) -> (Table, Vec<u8>, Option<Vec<u8>>) {
    let key = schema::chunk(BodyId(body), 0);
    let row = seal(Table::Chunks, &key, b"piece".to_vec());
    (Table::Chunks, key, Some(row))
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
fn a_store_whose_body_ids_are_used_up_is_refused() {
    let error = with_rows(new_store(), vec![chunk_row(u64::MAX)]).err().unwrap();
    assert!(matches!(error, OpenError::Corrupt(_)), "{error}");
}

#[test]
fn a_damaged_chunk_does_not_say_where_body_ids_go_on() {
    let (table, _, row) = chunk_row(8);
    let moved = (table, schema::chunk(BodyId(u64::MAX), 0), row);
    let store = with_rows(new_store(), vec![chunk_row(7), moved]).unwrap();
    assert_eq!(body_of_next_upload(&store), 8);
}

#[test]
fn the_id_of_a_body_whose_chunks_are_lost_is_not_given_again() {
    let mut store = new_store();
    let id = crate::derive_id("", "t", 0);
    let create = Operation::CreateNamespace { account: String::new(), title: "t".into(), id: None };
    let mut upload = store.upload();
    assert!(upload.push(&[0; 9000]).unwrap().is_empty());
    let (_, body) = upload.finish();
    let attributes = crate::Attributes::default();
    let put = Operation::Put { namespace: id, key: "k".into(), body, attributes };
    let committed = store.commit(1, vec![create, put]);
    assert!(committed.results.iter().all(Result::is_ok), "{:?}", committed.results);
    let lost = match store.view().row(id, b"k").unwrap().unwrap().state {
        crate::view::FoundState::Large { body, .. } => body,
        other => panic!("{other:?}"),
    };
    let store = with_rows(store, vec![(Table::Chunks, schema::chunk(lost, 0), None)]).unwrap();
    assert!(body_of_next_upload(&store) > lost.0);
}

#[test]
fn a_store_that_lost_its_format_is_not_begun_anew() {
    let lost = (Table::Meta, schema::META_FORMAT.to_vec(), None);
    let error = with_rows(new_store(), vec![lost]).err().unwrap();
    assert!(matches!(error, OpenError::Corrupt(_)), "{error}");
}

#[test]
fn changes_without_a_bound_are_all_changes() {
    let mut store = new_store();
    store.commit(
        1,
        vec![Operation::CreateNamespace { account: String::new(), title: "t".into(), id: None }],
    );
    let since = crate::VersionVector::default();
    for limit in [0, 1, usize::MAX] {
        assert_eq!(store.view().changes(&since, None, limit).unwrap().changes.len(), 1);
    }
}

#[test]
fn a_commit_tells_each_of_its_writes_also_one_that_it_replaced() {
    let mut store = new_store();
    let namespace = crate::derive_id("", "t", 0);
    let create = Operation::CreateNamespace { account: String::new(), title: "t".into(), id: None };
    let put = |store: &Committer<RedbEngine>, value: &[u8]| {
        let mut upload = store.upload();
        assert!(upload.push(value).unwrap().is_empty());
        let (_, body) = upload.finish();
        Operation::Put { namespace, key: "k".into(), body, attributes: Default::default() }
    };
    let operations = vec![create, put(&store, b"old"), put(&store, b"new")];
    let writes = store.commit(1, operations).writes;
    let told: Vec<_> = writes.iter().map(|write| (write.found.dot.seq, &write.key[..])).collect();
    assert_eq!(told, [(1, &namespace.0[..]), (2, b"k"), (3, b"k")]);
    assert_eq!(writes[1].found.state, FoundState::Inline("old".into()));
    assert_eq!(writes[2].found.prev, Some(writes[1].found.version));
    assert_eq!(store.view().row(namespace, b"k").unwrap(), Some(writes[2].found.clone()));
}
