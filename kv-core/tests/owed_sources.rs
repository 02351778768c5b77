//! Rows that the source of a session could not read: the receiver owes them, and names them to others.
#![expect(clippy::unwrap_used, reason = "tests")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod common;

use common::{
    NOW, key,
    owed::{Case, THEIRS, is_damaged},
};
use std::sync::Arc;

use kv_core::{
    Dot, Hlc, ListQuery, Operation, Outcome, OwedReason, VersionVector,
    commit::{Applied, Remote},
};

#[test]
fn keys_that_a_source_could_not_read_are_adopted_with_its_vector_if_their_writes_are_missing() {
    let mut case = Case::new();
    for (name, seq) in [("has", 2), ("covered", 3)] {
        let write = case.remote(name, seq, 5, "value");
        case.commit(Operation::Remote(Remote::Next(write)));
    }
    let uncounted = case.remote("uncounted", 9, 5, "value");
    case.commit(Operation::Remote(Remote::Row(uncounted)));
    let damaged = |name, seq| kv_core::DamagedKey {
        namespace: case.namespace,
        key: key(name),
        dot: Dot { origin: THEIRS, seq },
    };
    let damaged = vec![damaged("covered", 3), damaged("uncounted", 9), damaged("missing", 8)];
    let vector: VersionVector = [Dot { origin: THEIRS, seq: 9 }].into_iter().collect();
    let collected = VersionVector::default();
    case.commit(Operation::Remote(Remote::Adopt {
        vector: vector.clone(),
        collected,
        floor: Hlc::ZERO,
        damaged,
    }));
    assert_eq!(case.owed(), [("missing".into(), OwedReason::Source)]);
    let view = case.store.view();
    assert!(view.vector().covers_all(&vector));
    assert!(is_damaged(&case.get("missing")), "nobody may take it for deleted");
    let view = case.store.view();
    let page = view.list(case.namespace, &ListQuery::default(), NOW).unwrap();
    assert_eq!((page.entries.len(), page.damaged), (3, vec![key("missing")]));
    assert_eq!(case.named(7), [8], "it is named to those that lack the write");
    assert_eq!(case.named(9), []);
}

#[test]
fn a_value_that_was_deleted_by_a_write_that_the_source_could_not_read_ends_with_the_answers() {
    for (is_counted, is_deleted, is_owed) in
        [(true, false, true), (false, false, true), (true, true, true), (true, false, false)]
    {
        let mut case = Case::new();
        case.add_member();
        let value = case.remote("k", 2, 5, "value");
        case.commit(Operation::Remote(Remote::Next(value)));
        if is_deleted {
            let (namespace, key) = (case.namespace, key("k"));
            case.commit(Operation::Delete { namespace, key });
        }
        if is_owed {
            // The deletion was damaged at the source, and the others have collected it.
            case.adopt("k", 8);
        }
        let counted =
            if is_counted { case.store.view().vector().clone() } else { VersionVector::default() };
        let (namespace, key, counted) = (case.namespace, key("k"), Arc::new(counted));
        let ended = case.commit(Operation::Remote(Remote::Ended { namespace, key, counted }));
        let is_removed = is_counted && !is_deleted && is_owed;
        let expected = if is_removed { Applied::Removed } else { Applied::Lost };
        assert_eq!(ended, Outcome::Applied(expected));
        case.settle("k", true);
        assert_eq!(case.owed(), []);
        assert_eq!(case.get("k").unwrap(), !is_removed && !is_deleted);
    }
}

#[test]
fn each_write_that_some_source_could_not_read_is_named_to_those_that_lack_it() {
    let mut case = Case::new();
    case.adopt("k", 5);
    case.adopt("k", 8);
    assert_eq!(case.owed(), [("k".into(), OwedReason::Source)]);
    assert_eq!((case.named(1), case.named(5), case.named(8)), (vec![5, 8], vec![8], vec![]));
    let found = case.remote("k", 8, 5, "value");
    case.commit(Operation::Remote(Remote::Found(found)));
    case.settle("k", false);
    assert_eq!(case.named(1), []);
}

#[test]
fn a_vector_is_not_adopted_if_its_source_could_not_read_more_rows_than_there_is_room_for() {
    let mut case = Case::new();
    case.add_member();
    let count = kv_core::limits::MAX_NAMED as u64 + 1;
    let named = |seq: u64| {
        let dot = Dot { origin: THEIRS, seq };
        kv_core::DamagedKey { namespace: case.namespace, key: key(&format!("{seq:06}")), dot }
    };
    let all: Vec<_> = (2..count + 2).map(named).collect();
    let adopt = |damaged: &[kv_core::DamagedKey]| {
        Operation::Remote(Remote::Adopt {
            vector: [Dot { origin: THEIRS, seq: count + 1 }].into_iter().collect(),
            collected: VersionVector::default(),
            floor: Hlc::ZERO,
            damaged: damaged.to_vec(),
        })
    };
    assert_eq!(case.commit(adopt(&all)), Outcome::Applied(Applied::NoRoom));
    let view = case.store.view();
    let room = kv_core::limits::MAX_NAMED;
    assert_eq!((view.vector().get(THEIRS), view.owed().len()), (1, room), "some are reported");
    assert_eq!(case.commit(adopt(&all)), Outcome::Applied(Applied::NoRoom));
    assert_eq!(case.store.view().owed().len(), room);
    // Others have sent some of them.
    let found = Operation::Remote(Remote::Found(case.remote("000002", 2, NOW + 1, "value")));
    case.commit(found);
    case.settle("000002", false);
    assert_eq!(case.commit(adopt(&all)), Outcome::Applied(Applied::Adopted));
    assert_eq!(case.store.view().vector().get(THEIRS), count + 1);
    assert_eq!(case.store.view().owed().len(), room, "the rest is for damage here");
}
