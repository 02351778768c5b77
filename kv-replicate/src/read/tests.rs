//! Reads for peers, from a store in memory.

use kv_core::{
    Account, Attributes, MemberId, Operation, Table, Title,
    commit::{Committer, Creation},
    engine::{Engine as _, disk, redb::RedbEngine},
};

use super::*;
use crate::{ValuePart, inspect::Place};

const NAMESPACE: NamespaceId = NamespaceId([5; 16]);

fn key() -> Key {
    Key::new("key").unwrap()
}

fn open(engine: &Arc<RedbEngine>) -> Committer<RedbEngine> {
    let creation = Creation { member: Some(MemberId([1; 16])), is_joining: false };
    let mut last = 0;
    let random = move || {
        last += 1;
        Ok([last; 16])
    };
    Committer::open(Arc::clone(engine), creation, random).unwrap()
}

/// A store with a value of so many chunks.
fn stored(chunks: usize) -> (Arc<RedbEngine>, Committer<RedbEngine>) {
    let engine = Arc::new(RedbEngine::open(disk::memory(), 8 << 20).unwrap());
    let mut committer = open(&engine);
    let (account, title) = (Account::default(), Title::new("title").unwrap());
    let mut operations = vec![Operation::CreateNamespace { account, title, id: Some(NAMESPACE) }];
    let mut upload = committer.upload();
    for _ in 0..chunks {
        operations.extend(upload.push(&vec![7; CHUNK_BYTES]).unwrap());
    }
    let (last, body) = upload.finish();
    operations.extend(last);
    let attributes = Attributes::default();
    operations.push(Operation::Put { namespace: NAMESPACE, key: key(), body, attributes });
    let committed = committer.commit(1_700_000_000_000, operations);
    assert!(committed.results.iter().all(Result::is_ok));
    (engine, committer)
}

#[test]
fn a_body_that_is_shorter_than_a_peer_believes_is_not_damaged() {
    let (_engine, mut committer) = stored(2);
    let view = committer.view();
    let dot = view.row(NAMESPACE, &key()).unwrap().unwrap().dot;
    let durable = Durable::new(view, 1, Arc::default());
    let chunk = CHUNK_BYTES as u64;
    let last = durable.body(NAMESPACE, &key(), dot, chunk);
    assert!(matches!(last, FoundBody::Chunk { is_last: true, .. }));
    for offset in [2 * chunk, 9 * chunk] {
        assert_eq!(durable.body(NAMESPACE, &key(), dot, offset), FoundBody::Gone);
    }
}

#[test]
fn of_a_value_with_a_damaged_chunk_the_owner_gets_the_others() {
    for damaged in [None, Some(1_u32)] {
        let (engine, mut committer) = stored(3);
        let found = committer.view().row(NAMESPACE, &key()).unwrap().unwrap();
        let body = found.large().unwrap().body;
        if let Some(index) = damaged {
            let chunk = [&body.0.to_be_bytes()[..], &index.to_be_bytes()].concat();
            let rows = vec![(Table::Chunks, chunk, Some(vec![1; 9]))];
            engine.commit(engine.status().latest + 1, rows).unwrap();
            committer = open(&engine);
        }
        let wanted = vec![(Place { namespace: NAMESPACE, key: key() }, found.dot)];
        let whole::Whole { rows, places } = whole::read_whole(&committer.view(), wanted);
        assert_eq!((rows.len(), places.len()), (1, 1));
        let bytes = Bytes::from(vec![7; CHUNK_BYTES]);
        if damaged.is_some() {
            let part =
                |index| ValuePart { offset: index * CHUNK_BYTES as u64, bytes: bytes.clone() };
            assert_eq!(rows[0].parts, [part(0), part(2)]);
            let len = 3 * CHUNK_BYTES as u64;
            assert!(matches!(rows[0].row.content, Content::Large { len: all, .. } if all == len));
        } else {
            assert_eq!(rows[0].parts, []);
            assert_eq!(rows[0].row.content, Content::Value(bytes.repeat(3).into()));
        }
    }
}
