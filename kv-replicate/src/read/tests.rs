//! Reads for peers, from a store in memory.

use kv_core::{
    Account, Attributes, MemberId, Operation, Title,
    commit::{Committer, Creation},
    engine::{disk, redb::RedbEngine},
};

use super::*;

#[test]
fn a_body_that_is_shorter_than_a_peer_believes_is_not_damaged() {
    let engine = Arc::new(RedbEngine::open(disk::memory(), 8 << 20).unwrap());
    let creation = Creation { member: Some(MemberId([1; 16])), is_joining: false };
    let mut last = 0;
    let random = move || {
        last += 1;
        Ok([last; 16])
    };
    let mut committer = Committer::open(engine, creation, random).unwrap();
    let (namespace, key) = (NamespaceId([5; 16]), Key::new("key").unwrap());
    let (account, title) = (Account::default(), Title::new("title").unwrap());
    let mut operations = vec![Operation::CreateNamespace { account, title, id: Some(namespace) }];
    let mut upload = committer.upload();
    for _ in 0..2 {
        operations.extend(upload.push(&vec![7; CHUNK_BYTES]).unwrap());
    }
    let (last, body) = upload.finish();
    operations.extend(last);
    let attributes = Attributes::default();
    operations.push(Operation::Put { namespace, key: key.clone(), body, attributes });
    let committed = committer.commit(1_700_000_000_000, operations);
    assert!(committed.results.iter().all(Result::is_ok));
    let view = committer.view();
    let dot = view.row(namespace, &key).unwrap().unwrap().dot;
    let durable = Durable::new(view, 1, Arc::default());
    let chunk = CHUNK_BYTES as u64;
    let last = durable.body(namespace, &key, dot, chunk);
    assert!(matches!(last, FoundBody::Chunk { is_last: true, .. }));
    for offset in [2 * chunk, 9 * chunk] {
        assert_eq!(durable.body(namespace, &key, dot, offset), FoundBody::Gone);
    }
}
