//! Owed keys under local writes, rebuilds and garbage collection: no earlier row comes back.
#![expect(clippy::unwrap_used, reason = "tests")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod common;

use common::{
    NOW, key,
    owed::{Case, THEIRS, is_damaged, row},
};
use kv_core::{
    Dot, Operation, Outcome, OwedReason,
    commit::{Applied, Remote},
};

#[test]
fn a_local_write_is_later_than_the_damaged_row_that_was_there_however_far_ahead_that_is_dated() {
    // The row that replaces the damaged one before the local write does, if there is one.
    for earlier in [None, Some(5)] {
        for is_batch in [false, true] {
            let mut case = Case::new();
            let ahead = case.remote("k", 2, 90 * NOW, "ahead");
            case.commit(Operation::Remote(Remote::Next(ahead)));
            case.damage_head("k");
            if let Some(time) = earlier {
                let write = case.remote("k", 3, time, "earlier");
                case.commit(Operation::Remote(Remote::Next(write)));
                assert_eq!(case.owed(), [row("k")]);
            }
            case.reopen();
            if is_batch {
                case.batch(&["k", "l", "k"]);
            } else {
                case.put("k", b"local");
            }
            assert_eq!(case.owed(), []);
            let ahead = case.remote("k", 2, 90 * NOW, "ahead");
            let applied = case.commit(Operation::Remote(Remote::Found(ahead)));
            assert_eq!(applied, Outcome::Applied(Applied::Lost));
        }
    }
}

#[test]
fn a_local_write_does_not_end_that_what_a_source_could_not_read_is_owed() {
    let mut case = Case::new();
    case.add_member();
    case.adopt("k", 8);
    case.put("k", b"local");
    assert_eq!(case.owed(), [("k".into(), OwedReason::Source)], "that write may be later");
    assert!(case.get("k").unwrap());
    // The local row is damaged in its turn, and written again.
    case.damage_head("k");
    assert!(is_damaged(&case.get("k")) && case.store.record_damage(NOW));
    assert_eq!(case.owed(), [row("k")]);
    case.put("k", b"local");
    assert_eq!(case.owed(), [("k".into(), OwedReason::Source)]);
    let later = case.remote("k", 8, 90 * NOW, "later");
    let applied = case.commit(Operation::Remote(Remote::Found(later)));
    assert_eq!(applied, Outcome::Applied(Applied::Won { concurrent: true }));
    case.settle("k", false);
    assert_eq!(case.owed(), []);
}

#[test]
fn a_local_write_ends_that_a_key_is_owed_where_there_is_no_other_location() {
    let mut case = Case::new();
    case.adopt("k", 8);
    case.put("k", b"local");
    assert_eq!(case.owed(), []);
}

#[test]
fn the_tombstone_of_an_owed_key_is_not_collected() {
    let mut case = Case::new();
    case.add_member();
    case.adopt("k", 8);
    let (namespace, key) = (case.namespace, key("k"));
    case.commit(Operation::Delete { namespace, key });
    assert_eq!(case.collect(), 0, "an earlier row of it may be on its way");
    case.settle("k", false);
    assert_eq!(case.collect(), 1);
}

#[test]
fn a_row_that_was_found_by_name_does_not_come_back_after_its_deletion_was_collected() {
    let mut case = Case::new();
    let found = case.remote("k", 2, 5, "value");
    case.commit(Operation::Remote(Remote::Next(found)));
    let (namespace, key) = (case.namespace, key("k"));
    case.commit(Operation::Delete { namespace, key });
    assert_eq!(case.collect(), 1);
    for (seq, applied) in [(2, Applied::Lost), (3, Applied::Won { concurrent: false })] {
        let found = case.remote("k", seq, 5, "value");
        let made = case.commit(Operation::Remote(Remote::Found(found)));
        assert_eq!(made, Outcome::Applied(applied), "the vector counts write 2 alone");
    }
}

#[test]
fn garbage_collection_records_the_damage_that_it_meets_and_continues() {
    let mut case = Case::new();
    let namespace = case.namespace;
    for name in ["a", "b", "c"] {
        case.commit(Operation::Delete { namespace, key: key(name) });
    }
    case.damage_tombstone("b");
    let step = case.collect_step();
    assert_eq!((step.collected, step.damaged), (2, 1));
    assert_eq!(case.owed(), [row("b")]);
}

#[test]
fn a_rebuild_leaves_a_damaged_row_that_the_source_lacks_and_owes_it() {
    let mut case = Case::new();
    let write = case.remote("k", 2, 5, "value");
    case.commit(Operation::Remote(Remote::Next(write)));
    case.damage_head("k");
    case.commit(Operation::Remote(Remote::Rebuild));
    let (namespace, dot) = (case.namespace, Dot { origin: THEIRS, seq: 2 });
    let drop = Operation::Remote(Remote::DropRow { namespace, key: key("k"), dot });
    assert_eq!(case.commit(drop), Outcome::Applied(Applied::Lost));
    assert_eq!(case.owed(), [row("k")]);
}
