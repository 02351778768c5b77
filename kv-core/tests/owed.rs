//! Damaged rows: which keys a store owes, what readers get meanwhile, and what ends it.
#![expect(clippy::unwrap_used, reason = "tests")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod common;

use common::{
    NOW, key,
    owed::{Case, THEIRS, is_damaged, row},
};
use kv_core::{
    Dot, Hlc, Key, ListQuery, Operation, Outcome, OwedReason, ReadError, VersionVector,
    commit::{Applied, GcLimits, NewContent, Remote},
};

#[test]
fn a_damaged_row_that_a_reader_meets_is_recorded_over_a_restart_until_a_local_write() {
    for damage in [Case::damage_head, Case::damage_value] {
        let mut case = Case::new();
        case.put("k", b"value");
        damage(&mut case, "k");
        assert!(is_damaged(&case.get("k")));
        assert!(case.store.record_damage(NOW) && case.owed() == [row("k")]);
        assert!(is_damaged(&case.get("k")) && !case.store.record_damage(NOW), "once is enough");
        case.reopen();
        assert_eq!(case.owed(), [row("k")]);
        case.put("k", b"another");
        assert_eq!((case.owed(), case.get("k").unwrap()), (vec![], true));
    }
}

#[test]
fn damage_that_was_repaired_before_it_is_recorded_is_not_owed() {
    let mut case = Case::new();
    case.put("k", b"value");
    case.damage_head("k");
    assert!(is_damaged(&case.get("k")));
    case.put("k", b"another");
    case.store.record_damage(NOW);
    assert_eq!(case.owed(), []);
}

#[test]
fn a_list_names_the_damaged_key_and_continues() {
    let mut case = Case::new();
    ["a", "b", "c", "d"].iter().for_each(|name| case.put(name, b"value"));
    case.damage_head("b");
    let view = case.store.view();
    let list = |after: Option<&[u8]>, limit| {
        let query = ListQuery { prefix: b"", after, limit };
        let page = view.list(case.namespace, &query, NOW).unwrap();
        let names =
            |keys: Vec<&Key>| keys.into_iter().map(|key| key.to_vec()).collect::<Vec<_>>().concat();
        let entries = names(page.entries.iter().map(|entry| &entry.key).collect());
        (entries, names(page.damaged.iter().collect()), page.complete)
    };
    assert_eq!(list(None, 10), (b"acd".to_vec(), b"b".to_vec(), true));
    assert_eq!(list(None, 2), (b"ac".to_vec(), b"b".to_vec(), false));
    assert_eq!(list(Some(b"c"), 2), (b"d".to_vec(), vec![], true));
}

#[test]
fn a_row_of_a_peer_replaces_a_damaged_one_which_stays_owed() {
    let mut case = Case::new();
    case.put("k", b"value");
    case.damage_head("k");
    let write = case.remote("k", 2, 5, "older");
    let applied = case.commit(Operation::Remote(Remote::Next(write)));
    assert_eq!(applied, Outcome::Applied(Applied::Won { concurrent: false }));
    assert_eq!(case.owed(), [row("k")], "a later write may have been there");
    assert!(case.store.view().vector().covers(Dot { origin: THEIRS, seq: 2 }));
    case.settle("k", false);
    assert_eq!((case.owed(), case.get("k").unwrap()), (vec![], true));
}

#[test]
fn a_row_that_was_found_by_name_restores_its_own_version() {
    for damage in [Case::damage_head, Case::damage_value] {
        let mut case = Case::new();
        let write = case.remote("k", 2, 5, "value");
        case.commit(Operation::Remote(Remote::Next(write)));
        damage(&mut case, "k");
        assert!(is_damaged(&case.get("k")));
        let found = case.remote("k", 2, 5, "value");
        case.commit(Operation::Remote(Remote::Found(found)));
        assert!(case.get("k").unwrap());
    }
}

#[test]
fn a_value_that_was_found_by_name_replaces_its_expired_tombstone() {
    let mut case = Case::new();
    let mut expired = case.remote("k", 2, 5, "");
    expired.change = NewContent::Expired { expires_at: 1 };
    case.commit(Operation::Remote(Remote::Next(expired)));
    for (time, is_there) in [(4, false), (5, true)] {
        let found = case.remote("k", 2, time, "value");
        case.commit(Operation::Remote(Remote::Found(found)));
        assert_eq!(case.get("k").unwrap(), is_there, "{time}");
    }
}

#[test]
fn a_row_that_no_member_has_is_removed_and_one_that_a_member_has_is_not() {
    let mut case = Case::new();
    case.put("k", b"value");
    case.damage_head("k");
    assert!(is_damaged(&case.get("k")));
    case.store.record_damage(NOW);
    case.settle("k", false);
    assert_eq!(case.owed(), [row("k")], "what others have did not come");
    case.settle("k", true);
    assert_eq!((case.owed(), case.get("k").unwrap()), (vec![], false));
}

#[test]
fn a_row_whose_value_no_location_can_read_gives_way_to_the_earlier_one_of_the_others() {
    for is_chunk in [false, true] {
        let mut case = Case::new();
        case.put("k", &vec![b'v'; if is_chunk { 150_000 } else { 100 }]);
        if is_chunk {
            case.damage_chunk("k");
        } else {
            case.damage_value("k");
            assert!(is_damaged(&case.get("k")));
        }
        case.store.record_damage(NOW);
        let earlier = case.remote("k", 2, 5, "earlier");
        let applied = case.commit(Operation::Remote(Remote::Found(earlier)));
        assert_eq!(applied, Outcome::Applied(Applied::Lost), "its version is known");
        case.settle("k", false);
        assert_eq!(case.owed(), [row("k")]);
        assert!(is_damaged(&case.get("k")), "nobody may take it for deleted");
        let earlier = case.remote("k", 2, 5, "earlier");
        case.commit(Operation::Remote(Remote::Found(earlier)));
        case.settle("k", false);
        assert_eq!((case.owed(), case.get("k").unwrap()), (vec![], true));
        assert!(!is_chunk || case.store.view().pending().unwrap() == 1, "its chunks are freed");
    }
}

#[test]
fn a_deletion_whose_tombstone_was_damaged_and_settled_counts_as_collected() {
    let mut case = Case::new();
    let (namespace, key) = (case.namespace, key("k"));
    case.commit(Operation::Delete { namespace, key });
    case.damage_tombstone("k");
    assert!(case.store.view().row(namespace, b"k").is_err() && case.store.record_damage(NOW));
    let read = |case: &mut Case| {
        case.store
            .view()
            .changes(&VersionVector::default(), None, 99)
            .map(|changes| changes.damaged.len())
    };
    assert_eq!(read(&mut case).unwrap(), 1);
    case.settle("k", true);
    assert!(matches!(read(&mut case), Err(ReadError::Gone)));
    let limits = GcLimits {
        rows: 9,
        bodies: 9,
        stable: Hlc(u64::MAX),
        expired_ms: None,
        collects_expired: true,
    };
    case.store.collect_garbage(NOW, &limits).unwrap();
    assert!(matches!(read(&mut case), Err(ReadError::Gone)), "the index names it still");
    case.put("k", b"value");
    assert_eq!(read(&mut case).unwrap(), 0);
}

#[test]
fn a_damaged_chunk_is_owed_until_the_value_is_replaced() {
    let mut case = Case::new();
    case.put("k", &vec![b'v'; 150_000]);
    let body = case.damage_chunk("k");
    let view = case.store.view();
    assert!(view.chunk(body, 1).is_err());
    case.store.record_damage(NOW);
    assert_eq!(case.owed(), [("k".into(), OwedReason::Chunk)]);
    let since = VersionVector::default();
    let changes = case.store.view().changes(&since, None, 9).unwrap();
    assert!(changes.changes.iter().all(|change| change.key != key("k")), "nobody can fetch it");
    assert_eq!(changes.damaged.iter().map(|damaged| &damaged.key).collect::<Vec<_>>(), [&key("k")]);
    let later = case.remote("k", 2, 2 * NOW, "later");
    case.commit(Operation::Remote(Remote::Next(later)));
    assert_eq!(case.owed(), [], "the version of what was damaged is known");
}
