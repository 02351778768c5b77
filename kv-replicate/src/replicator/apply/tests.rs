//! Work that commits, on a store in memory.

use kv_core::{
    Account, Key, MemberId, Title,
    commit::Creation,
    engine::{disk, redb::RedbEngine},
    limits::CHUNK_BYTES,
};

use super::*;

fn committer() -> Committer<RedbEngine> {
    let engine = Arc::new(RedbEngine::open(disk::memory(), 8 << 20).unwrap());
    let creation = Creation { member: Some(MemberId([1; 16])), is_joining: false };
    let mut last = 0;
    let random = move || {
        last += 1;
        Ok([last; 16])
    };
    Committer::open(engine, creation, random).unwrap()
}

fn stage(applier: &mut Applier, committer: &mut Committer<RedbEngine>, fetch: u64) {
    for _ in 0..3 {
        let bytes = Bytes::from(vec![0; CHUNK_BYTES]);
        applier.perform(committer, 0, Work::Stage { fetch, bytes });
    }
}

/// A large write whose body has another digest than what was staged.
fn row(seq: u64) -> Row {
    Row {
        dot: Dot { origin: OriginId([7; 16]), seq },
        hlc: Hlc(seq),
        prev: None,
        namespace: NamespaceId([9; 16]),
        key: Key::new(format!("key {seq}")).unwrap(),
        metadata: None,
        expires_at: None,
        content: Content::Large { len: 3 * CHUNK_BYTES as u64, digest: [1; 32] },
    }
}

#[test]
fn the_bodies_of_all_rows_of_a_commit_that_is_not_made_are_dropped() {
    let (mut committer, mut applier) = (committer(), Applier::default());
    applier.begin(&committer);
    let rows = [1, 2].map(|fetch| {
        stage(&mut applier, &mut committer, fetch);
        ToApply { row: row(fetch), how: How::Row, fetch: Some(fetch) }
    });
    let work = Work::Apply { id: 1, epoch: 0, rows: rows.into(), basis: None };
    let done = applier.perform(&mut committer, 0, work);
    assert!(matches!(done.answer, Some(Event::Applied { results: None, .. })));
    assert_eq!(applier.uploads.len(), 0);
}

#[test]
fn after_a_rollback_rows_of_any_origin_may_have_been_added() {
    let (mut committer, mut applier) = (committer(), Applier::default());
    applier.begin(&committer);
    let before = committer.engine().status().latest;
    assert!(applier.additions().has_none_after(OriginId([7; 16]), before));
    stage(&mut applier, &mut committer, 1);
    applier.start_over(&committer);
    assert!(!applier.additions().has_none_after(OriginId([7; 16]), before));
}

#[test]
fn rows_are_not_dropped_if_the_collected_vector_of_the_source_is_not_adopted() {
    const DAY_MS: u64 = 86_400_000;
    let mut committer = committer();
    let create = Operation::CreateNamespace {
        account: Account::default(),
        title: Title::new("t").unwrap(),
        id: Some(NamespaceId([9; 16])),
    };
    let (key, namespace) = (Key::new("k").unwrap(), NamespaceId([9; 16]));
    let (body, attributes) = (committer.upload().finish().1, Attributes::default());
    let put = Operation::Put { namespace, key: key.clone(), body, attributes };
    let rebuild = Operation::Remote(Remote::Rebuild);
    let results = committer.commit(1, vec![create, put, rebuild]).results;
    let Ok(Outcome::Written(written)) = &results[1] else { panic!("{results:?}") };
    let dot = written.dot;
    for (floor_ms, expected) in [(3 * DAY_MS, Applied::FarAhead), (1, Applied::Removed)] {
        let drop = Work::Drop {
            id: 1,
            epoch: 0,
            rows: vec![(Place { namespace, key: key.clone() }, dot)],
            collected: VersionVector::default(),
            floor: Hlc::at_millis(floor_ms),
            resolved_by_most: Hlc::ZERO,
            uncount: None,
        };
        let mut applier = Applier::default();
        applier.begin(&committer);
        let done = applier.perform(&mut committer, 1, drop);
        let Some(Event::Applied { results: Some(results), .. }) = done.answer else { panic!() };
        assert_eq!(results, [expected]);
    }
}
